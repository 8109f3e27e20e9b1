//! FHIR and other documents as they come: what is bad costs itself, and every record is accounted for.

use std::io::Write;

use serde_json::Value;

use crate::support::Folder;

const SHIPPED: &str = include_str!("../../../deid/policies/fhir-r4.yaml");

fn folder() -> Folder {
    let folder = Folder::with(
        &SHIPPED.replace("policy: safe-harbor-fhir", "policy: test"),
        "  - { dataset: fhir, path: \"in/*\", format: fhir }",
    );
    // A table belongs to one pipeline.
    std::fs::remove_file(folder.path().join("pipelines/nightly.yaml")).unwrap();
    folder
}

fn reasons(folder: &Folder) -> Vec<String> {
    let list = folder.cordon(&["quarantine", "list", "--format", "json"]).ok().json();
    list.as_array().unwrap().iter().map(|line| line["reason"].as_str().unwrap().to_owned()).collect()
}

/// Rows in = rows out + quarantined + excluded.
fn assert_counts(report: &Value) {
    let count = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(count("rows_in"), count("rows_out") + count("quarantined") + count("excluded"), "{report}");
}

const PATIENT: &str = r#"{"resourceType":"Patient","id":"a","gender":"female"}"#;

#[test]
fn bad_lines_are_put_aside_and_what_is_excluded_is_counted() {
    let folder = folder();
    let mut text = Vec::from(format!("{PATIENT}\n"));
    text.extend_from_slice(b"{\"resourceType\":\"Patient\",\"id\":\"b\",\"id\":\"c\"}\n");
    text.extend_from_slice(b"{\"resourceType\":\"Patient\",\"id\":\"\xff\"}\n");
    text.extend_from_slice(b"{\"resourceType\":\"Media\",\"status\":\"completed\"}\n");
    text.extend_from_slice(b"{\"resourceType\":\"Patient\",\"id\":\"d\",\"mrn\":\"1\",\"john@x.org\":2}\n");
    folder.write("in/a.ndjson", text);
    let said = folder.cordon(&["run", "test", "--format", "json"]).exits(3);
    let report = said.json();
    assert_counts(&report);
    assert_eq!((&report["rows_out"], &report["quarantined"], &report["excluded"]), (&2.into(), &2.into(), &1.into()));
    assert_eq!(report["left_out"]["fhir"]["excluded"]["Media"], 1);
    assert_eq!(report["left_out"]["fhir"]["elements"]["Patient.?"], 2);
    assert!(!said.all().contains("john@x.org"));
    let mut found = reasons(&folder);
    found.sort();
    assert_eq!(found, ["a key stands twice in one object", "not UTF-8"]);
}

#[test]
fn files_that_are_cut_or_empty_are_refused() {
    let folder = folder();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for number in 0..20_000 {
        writeln!(gz, r#"{{"resourceType":"Patient","id":"p{number}"}}"#).unwrap();
    }
    let whole = gz.finish().unwrap();
    folder.write("in/cut.ndjson.gz", &whole[..whole.len() / 2]);
    folder.write("in/one.ndjson.gz", &whole[..1]);
    folder.write("in/empty.ndjson.gz", "");
    folder.write("in/empty.ndjson", "");
    folder.write("in/good.ndjson", PATIENT);
    let report = folder.run_json("test", 3);
    assert_counts(&report);
    assert_eq!(report["rows_out"], 1);
    let refused = report["files_refused"].as_array().unwrap();
    assert_eq!(refused.len(), 4, "{refused:?}");
    let saying = |what: &str| refused.iter().filter(|file| file[1].as_str().unwrap().contains(what)).count();
    assert_eq!((saying("truncated"), saying("empty")), (2, 2));
}

#[test]
fn a_resource_of_200_mb_is_put_aside_in_bounded_memory() {
    let folder = folder();
    let path = folder.path().join("in/huge.ndjson");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    writeln!(file, "{PATIENT}").unwrap();
    file.write_all(b"{\"resourceType\":\"Patient\",\"id\":\"").unwrap();
    let block = vec![b'x'; 1 << 20];
    for _ in 0..200 {
        file.write_all(&block).unwrap();
    }
    file.write_all(b"\"}\n{\"resourceType\":\"Patient\",\"id\":\"z\"}\n").unwrap();
    file.into_inner().unwrap();
    let zeros = format!("[{}0]", "0,".repeat(50 << 20));
    folder.write("in/zeros.json", zeros);
    let report = folder.run_json("test", 3);
    assert_counts(&report);
    assert_eq!((&report["rows_out"], &report["quarantined"]), (&2.into(), &2.into()));
}

#[test]
fn a_replayed_entry_of_a_bundle_keeps_its_id_and_its_subject() {
    let folder = folder();
    folder.write(
        "in/bundle.json",
        r#"{"resourceType":"Bundle","type":"transaction","entry":[
        {"fullUrl":"urn:uuid:1","resource":{"resourceType":"Patient","id":"p"}},
        {"fullUrl":"urn:uuid:2","resource":{"resourceType":"Condition","subject":{"reference":"urn:uuid:1"},
         "onsetDateTime":"last week","code":{"coding":[{"system":"http://s","code":"1"}]}}}]}"#,
    );
    let report = folder.run_json("test", 3);
    assert_counts(&report);
    let rules = folder
        .read("policies/test.yaml")
        .replace(
            "      elements:\n",
            "      elements:\n        Condition.onset.ofType(dateTime): { kind: service-date, action: drop }\n",
        )
        .replace("          onset_year: onsetDateTime\n", "");
    folder.write("policies/test.yaml", rules);
    folder.cordon(&["quarantine", "replay", "test"]).ok();
    let joined = "SELECT count(*) FROM fhir_condition c JOIN fhir_patient p ON c.subject = p.id WHERE c.id IS NOT NULL";
    assert_eq!(folder.count(joined), 1);
}

#[test]
fn keys_of_lines_are_not_shown() {
    let policy = "
policy: test
method: safe-harbor
datasets:
  labs:
    fields:
      code: { kind: clinical }
";
    let folder = Folder::with(policy, "  - { dataset: labs, path: in/a.ndjson }");
    folder.write("in/a.ndjson", "{\"code\":\"1\",\"john@x.org\":1,\"999-94-5397\":2}\n");
    let said = folder.cordon(&["run", "test", "--format", "json"]).ok();
    assert_eq!(said.json()["undeclared"]["labs"][0], "?");
    assert!(!said.all().contains("john@x.org") && !said.all().contains("999-94-5397"));
    folder.write("in/a.ndjson", "{\"code\":\"2\",\"john@x.org\":1}\n");
    let said = folder.cordon(&["run", "test"]).ok();
    assert!(!said.all().contains("john@x.org"));
}

#[test]
fn a_parquet_file_is_read_for_what_rules_read() {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray, TimestampMillisecondArray};

    let policy = "
policy: test
method: safe-harbor
datasets:
  labs:
    fields:
      code: { kind: clinical }
      day: { kind: service-date, action: year }
      scan: { kind: photo, action: drop }
";
    let folder = Folder::with(policy, "  - { dataset: labs, path: in/a.parquet }");
    let columns: [(&str, ArrayRef); 3] = [
        ("code", Arc::new(StringArray::from(vec!["a", "b", "c"]))),
        ("day", Arc::new(TimestampMillisecondArray::from(vec![0, i64::MAX, 1]))),
        ("scan", Arc::new(BinaryArray::from(vec![&b"\xff"[..], b"\xd8", b"x"]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    folder.write("in/a.parquet", bytes);
    let report = folder.run_json("test", 3);
    assert_counts(&report);
    assert_eq!((&report["rows_out"], &report["quarantined"]), (&2.into(), &1.into()));
    assert_eq!(folder.csv("SELECT code FROM labs ORDER BY code"), "code\na\nc\n");
}
