//! Runs: one person in every format, incremental, quarantine and its replay, every table format.

use serde_json::Value;

use crate::support::{Folder, assert_encrypted};

#[test]
fn one_patient_has_one_token_in_csv_and_in_fhir() {
    let folder = Folder::init("hospital");
    folder.synth(150, &["--clean"]);
    let report = folder.run_json("nightly", 0);
    assert_eq!(report["quarantined"], 0);
    let patients = folder.count("SELECT count(*) FROM patients");
    assert_eq!(patients, 150);
    assert_eq!(folder.count("SELECT count(*) FROM patients p JOIN fhir_patient f ON f.id = p.patient_id"), patients);
    let observations = folder.count("SELECT count(*) FROM observations");
    assert_eq!(
        folder.count("SELECT count(*) FROM observations o JOIN fhir_patient f ON f.id = o.patient_id"),
        observations
    );
    assert_encrypted(&folder.written());
}

#[test]
fn dirt_goes_to_quarantine_with_line_and_reason_and_the_rest_passes() {
    let folder = Folder::init("hospital");
    folder.synth(2000, &["--formats", "csv,fhir"]);
    let report = folder.run_json("nightly", 3);
    assert_eq!(
        report["rows_in"].as_u64().unwrap(),
        report["rows_out"].as_u64().unwrap() + report["quarantined"].as_u64().unwrap()
    );
    let list = folder.cordon(&["quarantine", "list", "--format", "json"]).ok().json();
    let list = list.as_array().unwrap();
    assert_eq!(list.len() as u64, report["quarantined"].as_u64().unwrap());
    assert!(list.iter().all(|line| line["line"].as_u64().unwrap() > 0 && !line["reason"].as_str().unwrap().is_empty()));
}

#[test]
fn a_file_that_is_done_is_not_done_again_and_a_changed_one_is() {
    let policy = "
policy: test
method: safe-harbor
datasets:
  visits:
    subject: patient
    fields:
      patient: { kind: medical-record-number }
      day: { kind: service-date }
";
    let folder = Folder::with(policy, "  - { dataset: visits, path: \"in/*.csv\" }");
    folder.write("in/a.csv", "patient,day\np1,2020-01-02\np2,2021-05-06\n");
    folder.write("in/b.csv", "patient,day\np1,2022-01-02\n");
    assert_eq!(folder.run_json("test", 0)["rows_out"], 3);
    let again = folder.run_json("test", 0);
    assert_eq!((&again["rows_in"], &again["files_unchanged"]), (&Value::from(0), &Value::from(2)));
    let before = folder.sql("SELECT DISTINCT patient FROM visits WHERE day = 2020");

    folder.write("in/a.csv", "patient,day\np1,2020-01-02\np2,2021-05-06\np3,2023-05-06\n");
    folder.write("in/c.csv", "patient,day\np9,2019-01-02\n");
    folder.run_json("test", 0);
    assert_eq!(folder.count("SELECT count(*) FROM visits"), 5);
    assert_eq!(folder.sql("SELECT DISTINCT patient FROM visits WHERE day = 2020"), before, "tokens stay");

    // Touched but the same: not read again.
    folder.write("in/c.csv", "patient,day\np9,2019-01-02\n");
    assert_eq!(folder.run_json("test", 0)["rows_in"], 0);

    // A changed policy makes everything again, under it.
    folder.write("policies/test.yaml", policy.replace("service-date }", "service-date, action: drop }"));
    folder.run_json("test", 0);
    assert_eq!(folder.count("SELECT count(*) FROM visits"), 5);
    assert!(!folder.csv("SELECT * FROM visits").contains("day"));
}

#[test]
fn what_was_withdrawn_leaves_the_disk_although_nothing_changes_any_more() {
    let policy = "
policy: test
method: safe-harbor
datasets:
  visits:
    fields:
      code: { kind: clinical }
      day: { kind: service-date }
";
    let folder = Folder::with(policy, "  - { dataset: visits, path: \"in/*.csv\" }");
    folder.write("in/a.csv", "code,day\nE11,2020-01-02\n");
    folder.run_json("test", 0);
    // The policy was too generous and is mended: what it let through is replaced, and its parts wait for readers.
    folder.write("policies/test.yaml", policy.replace("service-date }", "service-date, action: drop }"));
    folder.run_json("test", 0);
    let parts = || std::fs::read_dir(folder.path().join("warehouse/visits/data")).unwrap().count();
    assert_eq!(parts(), 2);
    folder.run_json("test", 0);
    assert_eq!(parts(), 2, "readers have an hour");
    // An hour later. Nothing of the pipeline has changed since.
    let earlier = std::time::SystemTime::now() - std::time::Duration::from_hours(2);
    for manifest in std::fs::read_dir(folder.path().join("warehouse/visits/_manifest")).unwrap().flatten() {
        std::fs::File::options().write(true).open(manifest.path()).unwrap().set_modified(earlier).unwrap();
    }
    assert_eq!(folder.run_json("test", 0)["rows_in"], 0);
    assert_eq!(parts(), 1);
    assert_eq!(folder.csv("SELECT * FROM visits"), "code\nE11\n");
}

#[test]
fn quarantined_rows_are_replayed_once_the_policy_can_read_them() {
    let policy = |formats: &str| {
        format!(
            "
policy: test
method: safe-harbor
datasets:
  visits:
    subject: patient
    fields:
      patient: {{ kind: medical-record-number }}
      day: {{ kind: service-date{formats} }}
      note: {{ kind: clinical }}
"
        )
    };
    let folder = Folder::with(&policy(""), "  - { dataset: visits, path: \"in/*.csv\" }");
    folder.write("in/a.csv", "patient,day,note\np1,2020-01-02,x\np2,06.05.2021,\"two\nlines\"\np3,2021-13-45,z\n");
    let report = folder.run_json("test", 3);
    assert_eq!((&report["rows_out"], &report["quarantined"]), (&Value::from(1), &Value::from(2)));
    let list = folder.cordon(&["quarantine", "list", "--format", "json"]).ok().json();
    assert_eq!((&list[0]["line"], &list[0]["field"]), (&Value::from(3), &Value::from("day")));
    assert_eq!(list[1]["line"], 5);
    let id = list[0]["id"].as_str().unwrap();
    let show = |more: &[&str]| folder.cordon(&[&["quarantine", "show", id][..], more].concat());
    show(&["--as", "engineer", "--purpose", "operations", "--reason", "short"]).exits(2);
    show(&["--reason", "to mend the date format"]).exits(2);
    let shown = show(&["--as", "engineer", "--purpose", "operations", "--reason", "to mend the date format"]).ok();
    assert!(shown.out.contains("06.05.2021"));

    // Nothing changed: the same rows stay where they are.
    let report = folder.cordon(&["quarantine", "replay", "test", "--format", "json"]).exits(3).json();
    assert_eq!((&report["rows_in"], &report["rows_out"]), (&Value::from(2), &Value::from(0)));
    let list = folder.cordon(&["quarantine", "list", "--format", "json"]).ok().json();
    assert_eq!((list.as_array().unwrap().len(), &list[1]["line"]), (2, &Value::from(5)), "lines are those of the file");

    folder.write("policies/test.yaml", policy(", formats: [\"%d.%m.%Y\"]"));
    let report = folder.cordon(&["quarantine", "replay", "test", "--format", "json"]).exits(3).json();
    assert_eq!((&report["rows_out"], &report["quarantined"]), (&Value::from(1), &Value::from(1)));
    assert_eq!(folder.count("SELECT count(*) FROM visits WHERE day = 2021"), 1);
    let list = folder.cordon(&["quarantine", "list", "--format", "json"]).ok().json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    let audit = folder.cordon(&["audit", "list", "--format", "json"]).ok().out;
    assert!(audit.contains("quarantine_shown") && audit.contains("quarantine_replayed"));
}

#[test]
fn parquet_ndjson_and_compressed_csv_give_the_same_rows() {
    let folder = Folder::init("hospital");
    folder.synth(60, &["--clean", "--formats", "csv,parquet"]);
    let policy = folder.read("policies/safe-harbor-hospital.yaml");
    let (head, _) = policy.split_once("  encounters:\n").unwrap();
    let names = ["from_csv", "from_gz", "from_zst", "from_parquet", "from_ndjson"];
    let datasets: String = names
        .iter()
        .map(|_name| head.split_once("  patients:").unwrap().1.to_owned())
        .zip(names)
        .map(|(section, name)| format!("  {name}:{section}"))
        .collect();
    let (top, _) = head.split_once("  patients:").unwrap();
    folder.write(
        "policies/test.yaml",
        format!("{top}{datasets}").replace("policy: safe-harbor-hospital", "policy: test"),
    );
    let csv = std::fs::read(folder.path().join("data/csv/patients.csv")).unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, &csv).unwrap();
    folder.write("in/p.csv.gz", gz.finish().unwrap());
    folder.write("in/p.csv.zst", zstd::encode_all(csv.as_slice(), 1).unwrap());
    let mut reader = csv::Reader::from_reader(csv.as_slice());
    let header = reader.headers().unwrap().clone();
    let lines: String = reader
        .records()
        .map(|record| {
            let record = record.unwrap();
            let object: serde_json::Map<String, Value> = header
                .iter()
                .zip(record.iter())
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| (name.to_owned(), Value::from(value)))
                .collect();
            format!("{}\n", Value::Object(object))
        })
        .collect();
    folder.write("in/p.ndjson", lines);
    folder.write(
        "pipelines/test.yaml",
        "pipeline: test\npolicy: test\nsources:
  - { dataset: from_csv, path: data/csv/patients.csv }
  - { dataset: from_gz, path: in/p.csv.gz }
  - { dataset: from_zst, path: in/p.csv.zst }
  - { dataset: from_parquet, path: data/parquet/patients.parquet }
  - { dataset: from_ndjson, path: in/p.ndjson }
",
    );
    folder.run_json("test", 0);
    // The record number is a token in a domain of its own in each dataset; all else must agree.
    let rows = |table: &str| {
        folder.csv(&format!("SELECT patient_id, mrn, birth_date, death_date, age, zip, state, gender, race FROM {table} ORDER BY patient_id"))
    };
    let first = rows("from_csv");
    assert_eq!(first.lines().count(), 61);
    for name in names {
        assert_eq!(rows(name), first, "{name}");
    }
}

#[test]
fn what_the_data_has_and_the_policy_does_not_name_never_passes() {
    let policy = "
policy: test
method: safe-harbor
undeclared: UNDECLARED
datasets:
  visits:
    fields:
      code: { kind: clinical }
";
    let folder = Folder::with(&policy.replace("UNDECLARED", "drop"), "  - { dataset: visits, path: in/a.csv }");
    folder.write("in/a.csv", "code,surprise\nE11,secret-value\n");
    let report = folder.run_json("test", 0);
    assert_eq!(report["undeclared"]["visits"][0], "surprise");
    assert_eq!(folder.csv("SELECT * FROM visits"), "code\nE11\n");

    folder.write("policies/test.yaml", policy.replace("UNDECLARED", "fail"));
    let report = folder.run_json("test", 3);
    assert!(report["files_refused"][0][1].as_str().unwrap().contains("surprise"));
}
