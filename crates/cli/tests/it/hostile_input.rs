//! Bad input: a clear result, the promised exit code, and the rest of the data passes.

use std::io::Write;

use serde_json::Value;

use crate::support::{Folder, binary, said};

const POLICY: &str = "
policy: test
method: safe-harbor
datasets:
  labs:
    subject: patient
    fields:
      patient: { kind: medical-record-number }
      code: { kind: clinical }
      value: { kind: clinical, type: decimal }
      day: { kind: service-date }
";

fn folder() -> Folder {
    Folder::with(POLICY, "  - { dataset: labs, path: \"in/*.csv*\" }")
}

const HEADER: &str = "patient,code,value,day\n";

fn reasons(folder: &Folder) -> Vec<(u64, Option<String>, String)> {
    let list = folder.cordon(&["quarantine", "list", "--format", "json"]).ok().json();
    list.as_array()
        .unwrap()
        .iter()
        .map(|line| {
            let field = line["field"].as_str().map(str::to_owned);
            (line["line"].as_u64().unwrap(), field, line["reason"].as_str().unwrap().to_owned())
        })
        .collect()
}

#[test]
fn a_truncated_gzip_is_refused_as_a_whole_and_taken_once_it_is_mended() {
    let folder = folder();
    let mut rows = String::from(HEADER);
    for number in 0..50_000 {
        rows.push_str(&format!("p{number},4548-4,{}.5,2020-01-0{}\n", number % 97, 1 + number % 9));
    }
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(rows.as_bytes()).unwrap();
    let whole = gz.finish().unwrap();
    folder.write("in/cut.csv.gz", &whole[..whole.len() / 2]);
    folder.write("in/good.csv", format!("{HEADER}p1,4548-4,6.5,2020-01-02\n"));
    let report = folder.run_json("test", 3);
    assert_eq!(report["rows_out"], 1, "the other file passes, and nothing of the broken one does");
    assert!(report["files_refused"][0][1].as_str().unwrap().contains("truncated"));
    assert_eq!(reasons(&folder)[0].0, 0);
    assert_eq!(folder.count("SELECT count(*) FROM labs"), 1);

    folder.write("in/cut.csv.gz", &whole);
    folder.run_json("test", 0);
    assert_eq!(folder.count("SELECT count(*) FROM labs"), 50_001);
    assert!(reasons(&folder).is_empty());
}

#[test]
fn invalid_utf8_ragged_rows_and_wrong_types_are_put_aside_one_by_one() {
    let folder = folder();
    let mut text = Vec::from(HEADER);
    text.extend_from_slice(b"p1,4548-4,6.5,2020-01-02\n");
    text.extend_from_slice(b"p2,45\xff48,6.5,2020-01-02\n");
    text.extend_from_slice(b"p3,4548-4,6.5\n");
    text.extend_from_slice(b"p4,4548-4,6.5,2020-01-02,extra\n");
    text.extend_from_slice(b"p5,4548-4,six,2020-01-02\n");
    text.extend_from_slice(b"p6,4548-4,6.5,2020-02-30\n");
    text.extend_from_slice(b",4548-4,6.5,2020-01-02\n");
    text.extend_from_slice(b"p8,4548-4,7.5,2021-01-02\n");
    folder.write("in/a.csv", text);
    let report = folder.run_json("test", 3);
    assert_eq!((&report["rows_in"], &report["rows_out"]), (&Value::from(8), &Value::from(2)));
    let mut found = reasons(&folder);
    found.sort();
    let fields: Vec<_> = found.iter().map(|(line, field, _)| (*line, field.as_deref())).collect();
    assert_eq!(fields, [(3, None), (4, None), (5, None), (6, Some("value")), (7, Some("day")), (8, Some("patient"))]);
}

#[test]
fn a_line_of_200_mb_is_put_aside_in_bounded_memory() {
    let folder = folder();
    let path = folder.path().join("in/huge.csv");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    file.write_all(HEADER.as_bytes()).unwrap();
    file.write_all(b"p1,4548-4,6.5,2020-01-02\np2,").unwrap();
    let block = vec![b'x'; 1 << 20];
    for _ in 0..200 {
        file.write_all(&block).unwrap();
    }
    file.write_all(b",6.5,2020-01-02\np3,4548-4,7.5,2021-01-02\n").unwrap();
    file.into_inner().unwrap();
    let config = folder.read("cordon.yaml");
    assert!(config.contains("memory: 1GiB"));
    folder.write("cordon.yaml", config.replace("memory: 1GiB", "memory: 256MiB"));
    let (report, peak) = run_measured(&folder);
    assert_eq!((&report["rows_out"], &report["quarantined"]), (&Value::from(2), &Value::from(1)));
    assert_eq!(reasons(&folder)[0].0, 3);
    assert!(peak < 256 << 20, "{} MiB at its peak", peak >> 20);
}

#[test]
fn resources_of_many_types_and_many_threads_stay_within_the_memory_they_may_use() {
    let folder = Folder::init("hospital");
    folder.synth(400, &["--clean", "--formats", "fhir"]);
    let config = folder.read("cordon.yaml");
    folder
        .write("cordon.yaml", config.replace("memory: 1GiB", "memory: 256MiB").replace("threads: 0 ", "threads: 16 "));
    let pipeline: Vec<String> = folder.read("pipelines/nightly.yaml").lines().map(str::to_owned).collect();
    let fhir_only = pipeline.iter().filter(|line| !line.contains("dataset:") || line.contains("dataset: fhir"));
    folder.write(
        "pipelines/nightly.yaml",
        fhir_only.map(String::as_str).collect::<Vec<_>>().join("\n").replace("pipeline: nightly", "pipeline: test"),
    );
    std::fs::rename(folder.path().join("pipelines/nightly.yaml"), folder.path().join("pipelines/test.yaml")).unwrap();
    let (report, peak) = run_measured(&folder);
    assert!(report["rows_out"].as_u64().unwrap() > 400);
    assert!(peak < 256 << 20, "{} MiB at its peak", peak >> 20);
}

/// The report of a run and its peak of resident memory, looked at often; that of the program itself, which debuggers make large, is its file's.
fn run_measured(folder: &Folder) -> (Value, u64) {
    let mut child = binary()
        .args(["run", "test", "--format", "json", "-q"])
        .current_dir(folder.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")).and_then(|kib| kib.trim().parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0) << 10);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let said = said(child.wait_with_output().unwrap());
    assert!(peak > 0 && matches!(said.code, 0 | 3), "{}", said.code);
    (said.json(), peak)
}

#[test]
fn a_missing_column_refuses_the_file_and_names_the_column() {
    let folder = folder();
    folder.write("in/a.csv", "patient,code,day\np1,4548-4,2020-01-02\n");
    let report = folder.run_json("test", 3);
    assert!(report["files_refused"][0][1].as_str().unwrap().contains("`value`"));
    assert!(folder.tables().is_empty());
}

#[test]
fn empty_and_headless_files_are_clear() {
    let folder = folder();
    folder.write("in/empty.csv", "");
    folder.write("in/only_header.csv", HEADER);
    let report = folder.run_json("test", 3);
    assert_eq!(report["files_refused"].as_array().unwrap().len(), 1);
    assert_eq!(report["rows_in"], 0);
}

#[test]
fn a_bundle_nested_ten_thousand_deep_is_refused_without_harm() {
    let folder = Folder::init("hospital");
    folder.write(
        "pipelines/test.yaml",
        "pipeline: test\npolicy: safe-harbor-hospital\nsources:\n  - { dataset: fhir, path: \"in/*\", format: fhir }\nsink: { prefix: t_ }\n",
    );
    let deep = format!(
        "{{\"resourceType\":\"Patient\",\"id\":\"a\",\"extension\":{}1{}}}\n",
        "[{\"extension\":".repeat(10_000),
        "}]".repeat(10_000)
    );
    folder.write("in/deep.ndjson", format!("{deep}{}\n", r#"{"resourceType":"Patient","id":"b","gender":"female"}"#));
    let report = folder.run_json("test", 3);
    assert_eq!(report["rows_out"].as_u64().unwrap() + report["quarantined"].as_u64().unwrap(), 2);
    let bundle = format!(
        "{{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":{}1{}}}",
        "[{\"resource\":{\"resourceType\":\"Bundle\",\"entry\":".repeat(10_000),
        "}}]".repeat(10_000)
    );
    folder.write("in/bundle.json", bundle);
    let said = folder.cordon(&["run", "test", "-q"]);
    assert_eq!(said.code, 3, "{}", said.err);
}

#[test]
fn configuration_mistakes_point_at_line_and_column() {
    let folder = folder();
    folder.write("in/a.csv", HEADER);
    folder.write("policies/test.yaml", POLICY.replace("kind: clinical }", "kind: clinicall }"));
    let said = folder.cordon(&["run", "test"]).exits(2);
    assert!(said.err.contains("policies/test.yaml:9:"), "{}", said.err);
    folder
        .write("policies/test.yaml", POLICY.replace("action", "x").replace("  labs:", "  labs:\n    sujbect: patient"));
    assert!(folder.cordon(&["run", "test"]).exits(2).err.contains("sujbect"));
    folder.write("policies/test.yaml", POLICY.replace("kind: service-date", "kind: service-date, action: shift-date"));
    let said = folder.cordon(&["policy", "check"]).exits(2);
    assert!(said.err.contains("164.514(b)(2)(i)(C)") && said.err.contains("help:"), "{}", said.err);
    folder
        .write("policies/test.yaml", POLICY.replace("medical-record-number", "medical-record-number, action: encrypt"));
    assert!(folder.cordon(&["policy", "check"]).exits(2).err.contains("164.514(c)"));
    let said = folder.cordon(&["run", "tset"]).exits(2);
    assert!(said.err.contains("did you mean `test`"), "{}", said.err);
}
