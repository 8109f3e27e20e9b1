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

const VISITS: &str = "
policy: test
method: safe-harbor
datasets:
  visits:
    subject: patient
    fields:
      patient: { kind: medical-record-number }
      day: { kind: service-date }
";

fn visits(source: &str) -> Folder {
    Folder::with(VISITS, &format!("  - {{ dataset: visits, {source} }}"))
}

fn waiting(folder: &Folder) -> Vec<u64> {
    let list = folder.cordon(&["quarantine", "list", "--format", "json"]).ok().json();
    list.as_array().unwrap().iter().map(|line| line["line"].as_u64().unwrap()).collect()
}

fn replayed(folder: &Folder, code: i32) -> Value {
    folder.cordon(&["quarantine", "replay", "test", "--format", "json", "-q"]).exits(code).json()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, bytes).unwrap();
    gz.finish().unwrap()
}

#[test]
fn a_replayed_record_neither_swallows_nor_breaks_another() {
    // An opened quote first, then good rows, a blank-looking one, a comment sign, and the two-line one.
    let folder = visits("path: in/a.csv, csv: { comment: \"#\" }");
    folder.write(
        "in/a.csv",
        "patient,day\np1,2020-13-01\np2,\"2020-13-02\"\np3,2020-13-03,more\n\"p\n4\",2020-13-04\np5,2020-01-05\np6,\"2020-13-06\n",
    );
    assert_eq!(folder.run_json("test", 3)["rows_out"], 1);
    assert_eq!(waiting(&folder).len(), 5);
    let report = replayed(&folder, 3);
    assert_eq!((&report["rows_in"], &report["quarantined"]), (&Value::from(5), &Value::from(5)));
    assert_eq!(waiting(&folder).len(), 5, "each is there once");

    folder.write("policies/test.yaml", VISITS.replace("service-date }", "service-date, formats: [\"%Y-%d-%m\"] }"));
    let report = replayed(&folder, 3);
    assert_eq!((&report["rows_out"], &report["quarantined"]), (&Value::from(3), &Value::from(2)));
    let mut lines = waiting(&folder);
    lines.sort_unstable();
    assert_eq!(lines, [4, 8], "ragged and unterminated stay, at their own lines");
    assert_eq!(folder.count("SELECT count(*) FROM visits"), 4);
}

#[test]
fn replay_reads_headerless_files_and_odd_headers() {
    let policy = "
policy: test
method: safe-harbor
datasets:
  visits:
    subject: column_1
    fields:
      column_1: { kind: medical-record-number }
      column_2: { kind: service-date }
  odd:
    subject: \"patient, id\"
    fields:
      \"patient, id\": { kind: medical-record-number, as: patient }
      day: { kind: service-date }
";
    let sources =
        "  - { dataset: visits, path: in/a.csv, csv: { has-header: false } }\n  - { dataset: odd, path: in/b.csv }";
    let folder = Folder::with(policy, sources);
    folder.write("in/a.csv", "p0,2020-01-01\np1,2020-01-02,ragged\np2,2020-13-03\n");
    folder.write("in/b.csv", "\"patient, id\",day\np1,2020-13-02\n");
    folder.run_json("test", 3);
    assert_eq!(waiting(&folder).len(), 3);
    folder.write("policies/test.yaml", policy.replace("service-date }", "service-date, formats: [\"%Y-%d-%m\"] }"));
    let report = replayed(&folder, 3);
    assert_eq!((&report["rows_out"], &report["quarantined"]), (&Value::from(2), &Value::from(1)), "{report}");
    assert_eq!(waiting(&folder), [2], "the ragged record is not forgotten");
}

#[test]
fn a_replay_that_the_policy_refuses_as_a_whole_forgets_nothing() {
    let folder = visits("path: in/a.csv");
    folder.write("in/a.csv", "patient,day\np1,2020-01-02\np2,2020-13-02\n");
    folder.run_json("test", 3);
    folder.write("policies/test.yaml", format!("{VISITS}      extra: {{ kind: clinical, action: drop }}\n"));
    let report = replayed(&folder, 3);
    assert!(report["files_refused"][0][1].as_str().unwrap().contains("extra"), "{report}");
    assert_eq!(waiting(&folder), [3]);
}

#[test]
fn a_replay_that_does_not_fit_the_tables_is_refused_and_the_next_run_works() {
    let folder = visits("path: in/a.csv");
    folder.write("in/a.csv", "patient,day\np1,2020-01-02\np2,2020-13-02\n");
    folder.run_json("test", 3);
    folder.write("policies/test.yaml", VISITS.replace("service-date }", "service-date, action: drop }"));
    let said = folder.cordon(&["quarantine", "replay", "test"]).exits(2);
    assert!(said.err.contains("cordon run test"), "{}", said.err);
    assert_eq!(waiting(&folder), [3]);
    folder.run_json("test", 0);
    assert_eq!(folder.count("SELECT count(*) FROM visits"), 2);
    let audit = folder.cordon(&["audit", "list", "-n", "100", "--kind", "run_failed", "--format", "json"]).ok();
    assert!(audit.out.contains("usage"), "{}", audit.out);
}

#[test]
fn a_mended_pipeline_file_reads_its_files_again() {
    let folder = visits("path: in/a.csv");
    folder.write("in/a.csv", "patient|day\np1|2020-01-02\n");
    folder.run_json("test", 3);
    assert_eq!(folder.run_json("test", 3)["files_refused"].as_array().unwrap().len(), 1, "it is tried each time");
    assert_eq!(waiting(&folder), [0], "and listed once");
    let pipeline = folder.read("pipelines/test.yaml");
    folder.write("pipelines/test.yaml", pipeline.replace("in/a.csv", "in/a.csv, csv: { delimiter: \"|\" }"));
    assert_eq!(folder.run_json("test", 0)["rows_out"], 1);
    assert!(waiting(&folder).is_empty());
    // What is read as no value changes rows of a file that was fine.
    folder.write(
        "pipelines/test.yaml",
        pipeline.replace("in/a.csv", "in/a.csv, csv: { delimiter: \"|\", null-values: [\"2020-01-02\"] }"),
    );
    assert_eq!(folder.run_json("test", 0)["rows_in"], 1);
    assert_eq!(folder.count("SELECT count(day) FROM visits"), 0);
    folder.write(
        "pipelines/test.yaml",
        format!("{pipeline}sink: {{ prefix: new_ }}\n").replace("in/a.csv", "in/a.csv, csv: { delimiter: \"|\" }"),
    );
    folder.run_json("test", 0);
    assert_eq!(folder.count("SELECT count(*) FROM new_visits"), 1);
}

#[test]
fn a_table_belongs_to_one_pipeline() {
    let folder = visits("path: in/a.csv");
    folder.write("in/a.csv", "patient,day\np1,2020-01-02\n");
    folder.run_json("test", 0);
    folder
        .write("pipelines/other.yaml", folder.read("pipelines/test.yaml").replace("pipeline: test", "pipeline: other"));
    for name in ["test", "other"] {
        let said = folder.cordon(&["run", name]).exits(2);
        assert!(said.err.contains("visits") && said.err.contains("prefix"), "{}", said.err);
    }
    std::fs::remove_file(folder.path().join("pipelines/test.yaml")).unwrap();
    let said = folder.cordon(&["run", "other"]).exits(2);
    assert!(said.err.contains("`test`"), "{}", said.err);
    assert_eq!(folder.count("SELECT count(*) FROM visits"), 1);
}

#[test]
fn a_renamed_or_compressed_file_does_not_come_twice() {
    let folder = visits("path: \"in/*.csv*\"");
    let (one, two) = ("patient,day\np1,2020-01-02\np2,2020-13-02\n", "patient,day\np3,2021-01-02\n");
    folder.write("in/one.csv", one);
    folder.write("in/two.csv", two);
    folder.run_json("test", 3);
    std::fs::rename(folder.path().join("in/one.csv"), folder.path().join("in/three.csv")).unwrap();
    std::fs::remove_file(folder.path().join("in/two.csv")).unwrap();
    folder.write("in/two.csv.gz", gz(two.as_bytes()));
    let report = folder.run_json("test", 0);
    assert_eq!((&report["rows_in"], &report["files_unchanged"]), (&Value::from(0), &Value::from(2)));
    assert_eq!(folder.count("SELECT count(*) FROM visits"), 2);
    assert_eq!(waiting(&folder), [3], "what it left in quarantine moves with it");
    folder.write("in/three.csv", "patient,day\np1,2020-01-02\np2,2020-12-02\n");
    assert_eq!(folder.run_json("test", 0)["rows_out"], 2);
    assert_eq!(folder.count("SELECT count(*) FROM visits"), 3);
    assert!(waiting(&folder).is_empty());
}

#[test]
fn no_file_is_passed_over_in_silence() {
    use std::os::unix::ffi::OsStrExt;
    let folder = visits("path: \"in/**/*.csv\"");
    folder.write("in/a.csv", "patient,day\np1,2020-01-02\n");
    for (name, patient) in [(&b"in/\xff.csv"[..], "p2"), (&b"in/\xfe.csv"[..], "p3")] {
        let path = folder.path().join(std::ffi::OsStr::from_bytes(name));
        std::fs::write(path, format!("patient,day\n{patient},2020-01-02\n")).unwrap();
    }
    assert_eq!(folder.run_json("test", 0)["files_read"], 3);
    assert_eq!(folder.count("SELECT count(*) FROM visits"), 3);
    // A folder that cannot be listed, whoever asks: it leads into itself.
    std::os::unix::fs::symlink(folder.path().join("in"), folder.path().join("in/loop")).unwrap();
    folder.cordon(&["run", "test", "-q"]).exits(6);
}

#[test]
fn files_of_a_unit_come_and_go_one_by_one() {
    let folder = visits("path: \"in/*.csv*\"");
    for day in 1..=5 {
        folder.write(
            &format!("in/day{day}.csv"),
            format!("patient,day\np{day},201{day}-01-02\nq{day},201{day}-01-02\nbad,2020-13-0{day}\n"),
        );
    }
    folder.run_json("test", 3);
    assert_eq!(folder.count("SELECT count(*) FROM visits"), 10);
    std::fs::remove_file(folder.path().join("in/day1.csv")).unwrap();
    folder.write("in/day5.csv", "patient,day\np5,2025-01-02\n");
    let report = folder.run_json("test", 0);
    assert_eq!((&report["files_read"], &report["rows_in"]), (&Value::from(1), &Value::from(1)), "only what changed");
    let years = |year: i32| folder.count(&format!("SELECT count(*) FROM visits WHERE day = {year}"));
    assert_eq!((years(2011), years(2012), years(2015), years(2025)), (2, 2, 0, 1), "removed files keep their rows");
    assert_eq!(folder.count("SELECT count(*) FROM visits"), 9);
    assert_eq!(waiting(&folder).len(), 4, "and their quarantine");

    // A damaged delivery does not take good rows out, night after night, until it is mended.
    let whole = gz(format!("patient,day\n{}", "p2,2026-01-02\n".repeat(5001)).as_bytes());
    folder.write("in/day2.csv", &whole[..whole.len() / 2]);
    for _ in 0..2 {
        let report = folder.run_json("test", 3);
        assert_eq!(report["files_refused"].as_array().unwrap().len(), 1);
        assert_eq!((years(2012), folder.count("SELECT count(*) FROM visits")), (2, 9));
    }
    folder.write("in/day2.csv", &whole);
    folder.run_json("test", 0);
    assert_eq!((years(2012), years(2026)), (0, 5001));
    assert_eq!(waiting(&folder).len(), 3);
    assert_eq!(folder.run_json("test", 0)["rows_in"], 0);
}
