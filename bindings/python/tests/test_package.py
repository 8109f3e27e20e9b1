"""What the package does, by the rows that `cordon run` made of the same files."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import duckdb
import pandas
import polars
import pyarrow
import pytest

import cordon
from conftest import Hospital, as_text

TABLES = ["patients", "encounters", "conditions", "medications", "procedures", "claims", "devices", "notes"]


@pytest.mark.parametrize("dataset", TABLES)
def test_rows_are_those_of_a_run(hospital: Hospital, dataset: str) -> None:
    raw = pyarrow.Table.from_pylist(hospital.raw(dataset))
    recipe = cordon.compile(hospital.policy)
    safe, failed = recipe.apply(raw, dataset, failures="return")
    assert safe.num_rows + failed.num_rows == raw.num_rows
    table = hospital.table(dataset)
    assert len(table) == safe.num_rows > 10
    assert list(table[0]) == safe.column_names == recipe.schema(dataset).names
    assert as_text(safe.to_pylist()) == as_text(table)
    ones = recipe.apply(raw, dataset, failures="return", threads=1)
    assert ones[0].equals(safe) and ones[1].equals(failed)


def test_frames_come_back_as_what_they_are(hospital: Hospital) -> None:
    raw = pyarrow.Table.from_pylist(hospital.raw("patients"))
    recipe = cordon.compile(hospital.policy)
    want = as_text(recipe.apply(raw, "patients").to_pylist())
    frame = recipe.apply(raw.to_pandas(), "patients")
    assert isinstance(frame, pandas.DataFrame)
    assert as_text(pyarrow.Table.from_pandas(frame, preserve_index=False).cast(recipe.schema("patients")).to_pylist()) == want
    for given in (polars.from_arrow(raw), polars.from_arrow(raw).lazy()):
        frame = recipe.apply(given, "patients")
        assert isinstance(frame, polars.DataFrame)
        assert as_text(frame.to_dicts()) == want
    raw_batches = raw.combine_chunks().to_batches(max_chunksize=7)
    relation = duckdb.from_arrow(raw)
    reader = pyarrow.RecordBatchReader.from_batches(raw.schema, raw_batches)
    for given in (relation, reader, raw.combine_chunks().to_batches()[0]):
        table = recipe.apply(given, "patients")
        assert isinstance(table, pyarrow.Table)
        assert as_text(table.to_pylist()) == want
    with pytest.raises(TypeError):
        recipe.apply([{"patient_id": "1"}], "patients")


def test_nothing_is_passed_on_that_a_rule_cannot_handle(hospital: Hospital) -> None:
    secret = "Zebediah-Quux-1948"
    recipe = cordon.compile(hospital.policy)
    rows = hospital.raw("patients")[:5]
    rows[1]["birth_date"] = secret
    rows[3]["patient_id"] = None
    raw = pyarrow.Table.from_pylist(rows)
    with pytest.raises(cordon.DataError) as told:
        recipe.apply(raw, "patients")
    assert [(row, field) for row, field, _ in told.value.args[1]] == [(1, "birth_date"), (3, "patient_id")]
    assert secret not in str(told.value) and secret not in repr(told.value)
    safe, failed = recipe.apply(raw, "patients", failures="return")
    assert (safe.num_rows, failed.column("row").to_pylist()) == (3, [1, 3])
    assert safe.equals(recipe.apply(raw.take([0, 2, 4]), "patients"))
    assert secret not in str(failed.to_pylist())


def test_columns_that_do_not_fit_are_refused(hospital: Hospital, tmp_path: pathlib.Path) -> None:
    recipe = cordon.compile(hospital.policy)
    raw = pyarrow.Table.from_pylist(hospital.raw("patients")[:5])
    with pytest.raises(cordon.PolicyError, match="patient_id"):
        recipe.apply(raw.drop_columns(["patient_id"]), "patients")
    more = raw.append_column("nickname", pyarrow.array(["Zeb"] * 5))
    assert "nickname" not in recipe.apply(more, "patients").column_names
    with pytest.raises(cordon.PolicyError, match="tables of policy"):
        recipe.apply(raw, "patient")
    with pytest.raises(cordon.PolicyError, match="documents"):
        recipe.apply(raw, "fhir")
    with pytest.raises(cordon.PolicyError, match="say which"):
        recipe.apply(raw)
    # Numbers of which one is missing are floats in pandas, and would be other people.
    frame = raw.to_pandas()
    frame["mrn"] = [1.0, 2.0, None, 4.0, 5.0]
    with pytest.raises(cordon.PolicyError, match="floating-point"):
        recipe.apply(frame, "patients")
    whole = frame.assign(mrn=frame["mrn"].astype("Int64"))
    text = frame.assign(mrn=["1", "2", None, "4", "5"])
    assert recipe.apply(whole, "patients")["mrn"].tolist() == recipe.apply(text, "patients")["mrn"].tolist()
    policy = tmp_path / "bad.yaml"
    policy.write_text(hospital.policy.read_text().replace("{ kind: ssn }", "{ kind: ssn, action: keep }"))
    with pytest.raises(cordon.PolicyError, match=r"bad\.yaml:\d+.*"):
        cordon.compile(policy)


def test_what_is_done_is_on_the_record(hospital: Hospital) -> None:
    recipe = cordon.Project(hospital.path, user="ada").compile("safe-harbor-hospital")
    raw = pyarrow.Table.from_pylist(hospital.raw("claims"))
    safe, failed = recipe.apply(raw, "claims", failures="return")
    entry = hospital.record()[-1]
    event = entry["event"]
    assert (entry["principal"]["user"], event["kind"], event["by"], event["dataset"]) == ("ada", "rows_deidentified", "python", "claims")
    assert (event["rows_read"], event["rows_written"], event["failed"]) == (raw.num_rows, safe.num_rows, failed.num_rows)
    assert event["policy_hash"] == recipe.hash and event["key_ids"] == recipe.project.key_ids
    hospital.cordon("audit", "verify")


def test_without_keys_there_are_no_rows(hospital: Hospital, tmp_path: pathlib.Path) -> None:
    raw = pyarrow.Table.from_pylist(hospital.raw("patients")[:5])
    shutil.copy(hospital.policy, tmp_path / "policy.yaml")
    recipe = cordon.compile(tmp_path / "policy.yaml")
    assert recipe.method == "safe-harbor" and recipe.hash == cordon.compile(hospital.policy).hash
    with pytest.raises(cordon.KeysError, match="no `cordon.yaml`"):
        recipe.apply(raw, "patients")
    other = tmp_path / "clinic"
    shutil.copytree(hospital.path, other)
    (other / "secrets" / "root.key").write_text("ab" * 32 + "\n")
    with pytest.raises(cordon.KeysError):
        cordon.Project(other)
    shutil.copy(hospital.path / "secrets" / "root.key", other / "secrets" / "root.key")
    os.chmod(other / "secrets" / "root.key", 0o600)
    assert cordon.compile(hospital.policy, project=other).apply(raw, "patients").num_rows == 5
    # A record that was put back to an older copy is noticed.
    older = tmp_path / "audit"
    shutil.copytree(other / ".cordon" / "audit", older)
    cordon.compile(hospital.policy, project=other).apply(raw, "patients")
    shutil.rmtree(other / ".cordon" / "audit")
    shutil.copytree(older, other / ".cordon" / "audit")
    with pytest.raises(cordon.KeysError):
        cordon.compile(hospital.policy, project=other).apply(raw, "patients")
    with pytest.raises(cordon.KeysError, match="recipient"):
        cordon.compile(hospital.policy, recipient="nobody").apply(raw, "patients")


def test_a_recipient_has_tokens_of_its_own(hospital: Hospital) -> None:
    file = hospital.path / "cordon.yaml"
    if "recipients:" not in file.read_text():
        file.write_text(file.read_text() + "\nrecipients:\n  heart-study: { description: a study }\n")
    raw = pyarrow.Table.from_pylist(hospital.raw("patients")[:50])
    own = cordon.compile(hospital.policy).apply(raw, "patients")
    study = cordon.compile(hospital.policy, recipient="heart-study")
    theirs = study.apply(raw, "patients")
    assert not set(own["patient_id"].to_pylist()) & set(theirs["patient_id"].to_pylist())
    assert theirs.equals(cordon.compile(hospital.policy, recipient="heart-study").apply(raw, "patients"))


def test_looking(hospital: Hospital) -> None:
    text = "Gesehen: Dr. Ólafsson 😀 saw Mary Okafor, MRN: 00-1234, on March 4th, 2021."
    spans = cordon.detect(text)
    found = {(span.kind, text[span.start : span.end]) for span in spans}
    assert ("medical-record-number", "00-1234") in found and ("service-date", "March 4th, 2021") in found
    columns = {column.name: column for column in cordon.inspect(pyarrow.Table.from_pylist(hospital.raw("patients")))}
    assert columns["ssn"].kind == "ssn" and columns["birth_date"].kind == "birth-date"
    assert columns["ssn"].rows == len(hospital.raw("patients"))
    assert not any("Zeb" in str(column) for column in columns.values())
    explained = cordon.compile(hospital.policy).explain()
    assert explained["method"] == "safe-harbor" and len(explained["identifiers"]) == 18


def test_what_the_readme_says_runs_as_written(hospital: Hospital, tmp_path: pathlib.Path) -> None:
    """The first snippet, in a process of its own beside a folder `clinic`."""
    readme = pathlib.Path(os.environ["CORDON_PYTHON"]) / "README.md"
    snippet = readme.read_text().split("```python\n")[1].split("```")[0]
    copy = tmp_path / "clinic"
    shutil.copytree(hospital.path, copy)
    shutil.copy(hospital.policy, copy / "policies" / "safe-harbor.yaml")
    read = "import pandas\npatients = pandas.read_csv('clinic/data/csv/patients.csv', dtype=str)\n"
    after = "\nassert len(safe) == len(patients) and 'ssn' not in safe.columns\n"
    subprocess.run([sys.executable, "-c", read + snippet + after], cwd=tmp_path, check=True, timeout=300)
