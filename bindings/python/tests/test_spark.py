"""The same rows on Spark, classic and Connect: executors are processes of their own."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any, Iterator

import pyarrow
import pytest
from pyspark.sql import SparkSession

import cordon
import cordon.spark
from conftest import Hospital, as_text

TABLES = ["patients", "encounters", "claims", "notes"]
# Executors run the Python that has the package.
os.environ["PYSPARK_PYTHON"] = sys.executable


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    events = tmp_path_factory.mktemp("events")
    session = (
        SparkSession.builder.master("local-cluster[2,1,1024]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.eventLog.enabled", "true")
        .config("spark.eventLog.compress", "false")
        .config("spark.eventLog.dir", events.as_uri())
        .config("spark.executorEnv.PYTHONPATH", os.environ.get("PYTHONPATH", ""))
        .getOrCreate()
    )
    session.events = events
    yield session
    session.stop()


def frame(spark: SparkSession, hospital: Hospital, dataset: str) -> Any:
    rows = hospital.raw(dataset)
    schema = ", ".join(f"`{name}` string" for name in rows[0])
    return spark.createDataFrame([tuple(row.values()) for row in rows], schema).repartition(3)


@pytest.mark.parametrize("dataset", TABLES)
def test_rows_are_those_of_a_run(spark: SparkSession, hospital: Hospital, dataset: str) -> None:
    safe = cordon.spark.deidentify(frame(spark, hospital, dataset), hospital.policy, dataset, failures="keep")
    rows = [row.asDict() for row in safe.collect()]
    assert len(rows) == len(hospital.raw(dataset))
    good = [row for row in rows if row.pop("cordon_failure") is None]
    assert as_text(good) == as_text(hospital.table(dataset))


def test_a_row_that_fails_fails_the_job_or_stays_empty(spark: SparkSession, hospital: Hospital) -> None:
    secret = "Zebediah-Quux-1948"
    rows = hospital.raw("patients")[:20]
    rows[7]["birth_date"] = secret
    schema = ", ".join(f"`{name}` string" for name in rows[0])
    df = spark.createDataFrame([tuple(row.values()) for row in rows], schema)
    with pytest.raises(Exception) as told:
        cordon.spark.deidentify(df, hospital.policy, "patients").collect()
    assert "birth_date" in str(told.value) and secret not in str(told.value)
    kept = cordon.spark.deidentify(df, hospital.policy, "patients", failures="keep").collect()
    odd = [row.asDict() for row in kept if row["cordon_failure"] is not None]
    assert len(kept) == 20 and len(odd) == 1 and odd[0].pop("cordon_failure").startswith("birth_date: ")
    assert set(odd[0].values()) == {None}
    with pytest.raises(cordon.PolicyError, match="patient_id"):
        cordon.spark.deidentify(df.drop("patient_id"), hospital.policy, "patients")


def test_sql_and_the_record(spark: SparkSession, hospital: Hospital) -> None:
    cordon.spark.register_view(spark, "safe_claims", frame(spark, hospital, "claims"), hospital.policy, "claims", failures="keep")
    assert spark.sql("select count(*) from safe_claims").first()[0] == len(hospital.raw("claims"))
    event = hospital.record()[-1]["event"]
    assert (event["kind"], event["by"], event["dataset"]) == ("rows_deidentified", "spark", "claims")


def test_streaming(spark: SparkSession, hospital: Hospital, tmp_path: pathlib.Path) -> None:
    source = frame(spark, hospital, "encounters")
    source.write.parquet(str(tmp_path / "in"))
    stream = spark.readStream.schema(source.schema).parquet(str(tmp_path / "in"))
    safe = cordon.spark.deidentify(stream, hospital.policy, "encounters", failures="keep")
    query = safe.writeStream.format("memory").queryName("streamed").trigger(availableNow=True).start()
    query.awaitTermination(300)
    rows = [row.asDict() for row in spark.table("streamed").collect()]
    good = [row for row in rows if row.pop("cordon_failure") is None]
    assert as_text(good) == as_text(hospital.table("encounters"))


def test_executors_with_other_keys_do_nothing(spark: SparkSession, hospital: Hospital, tmp_path: pathlib.Path) -> None:
    other = Hospital(tmp_path / "other", 20)
    recipe = cordon.compile(hospital.policy)
    schema = pyarrow.Table.from_pylist(hospital.raw("patients")).schema
    handle = recipe._native.handle("patients", schema, recipe.project._native, None, False)
    moved = handle.replace(str(hospital.path).encode(), str(other.path).encode())
    assert moved != handle
    with pytest.raises(cordon.KeysError, match="another key ring"):
        cordon._cordon.apply_to_batches(moved, iter([]))
    with pytest.raises(cordon.PolicyError):
        cordon._cordon.apply_to_batches(handle.replace(b"safe-harbor-hospital", b"safe-harbor-hospitaL"), iter([]))


def test_nothing_of_a_key_or_a_patient_is_in_plans_and_event_logs(spark: SparkSession, hospital: Hospital) -> None:
    key = (hospital.path / "secrets" / "root.key").read_text().strip().lower()
    rows = hospital.raw("patients")
    spark.createDataFrame([tuple(row.values()) for row in rows], ", ".join(f"`{name}` string" for name in rows[0])).write.mode(
        "overwrite"
    ).parquet(str(hospital.path.parent / "raw.parquet"))
    df = spark.read.parquet(str(hospital.path.parent / "raw.parquet"))
    safe = cordon.spark.deidentify(df, hospital.policy, "patients")
    safe.write.mode("overwrite").parquet(str(hospital.path.parent / "safe.parquet"))
    logs = b"".join(path.read_bytes() for path in spark.events.rglob("*") if path.is_file())
    assert b"MapInArrow" in logs or b"mapInArrow" in logs
    for needle in [key.encode(), bytes.fromhex(key), *(row["ssn"].encode() for row in rows if row["ssn"])]:
        assert needle not in logs


def test_connect(hospital: Hospital, tmp_path: pathlib.Path) -> None:
    """A session of Spark Connect, in a process of its own."""
    raw = tmp_path / "claims.parquet"
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(hospital.raw("claims")), raw)
    script = f"""
from pyspark.sql import SparkSession
import cordon.spark
spark = SparkSession.builder.remote("local[2]").config("spark.ui.enabled", "false").getOrCreate()
safe = cordon.spark.deidentify(spark.read.parquet({str(raw)!r}), {str(hospital.policy)!r}, "claims", failures="keep")
import pyarrow.parquet
good = safe.where("cordon_failure is null").drop("cordon_failure").toArrow()
pyarrow.parquet.write_table(good, {str(tmp_path / "safe.parquet")!r})
assert type(spark).__module__.startswith("pyspark.sql.connect")
spark.stop()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    table = pyarrow.parquet.read_table(tmp_path / "safe.parquet")
    want = cordon.compile(hospital.policy).apply(pyarrow.Table.from_pylist(hospital.raw("claims")), "claims", failures="return")
    assert sorted(table["claim_id"].to_pylist()) == sorted(want[0]["claim_id"].to_pylist())


def test_what_the_readme_says_runs_as_written(hospital: Hospital, tmp_path: pathlib.Path) -> None:
    """The second snippet, in a process of its own beside a folder `clinic`; a session of Connect."""
    snippet = (pathlib.Path(os.environ["CORDON_PYTHON"]) / "README.md").read_text().split("```python\n")[2].split("```")[0]
    copy = tmp_path / "clinic"
    shutil.copytree(hospital.path, copy)
    shutil.copy(hospital.policy, copy / "policies" / "safe-harbor.yaml")
    before = """
from pyspark.sql import SparkSession
spark = SparkSession.builder.remote("local[2]").config("spark.ui.enabled", "false").getOrCreate()
patients = spark.read.csv("clinic/data/csv/patients.csv", header=True)
"""
    after = "\nassert safe.count() == patients.count() and 'ssn' not in safe.columns\nspark.stop()\n"
    done = subprocess.run([sys.executable, "-c", before + snippet + after], cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
