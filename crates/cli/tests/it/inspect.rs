//! What files seem to hold, and the draft of a policy that comes of it.

use std::fs;

use serde_json::Value;

use crate::support::{Folder, shared};

fn columns(report: &Value, dataset: &str) -> Vec<(String, String, f64)> {
    let file = report.as_array().unwrap().iter().find(|file| file["dataset"] == dataset).unwrap();
    let columns = file["columns"].as_array().unwrap().iter();
    columns
        .map(|column| {
            let text = |name: &str| column[name].as_str().unwrap().to_owned();
            (text("column"), text("kind"), column["confidence"].as_f64().unwrap())
        })
        .collect()
}

#[test]
fn a_drafted_policy_runs_and_lets_no_identifier_through() {
    let folder = Folder::init("hospital");
    folder.synth(200, &["--clean", "--formats", "csv"]);
    let said = folder
        .cordon(&["inspect", "data/csv/patients.csv", "--policy", "policies/draft.yaml", "--format", "json"])
        .ok();
    // Not a value of the file is in what is said of it.
    let mut reader = csv::Reader::from_path(folder.path().join("data/csv/patients.csv")).unwrap();
    let header = reader.headers().unwrap().clone();
    let ssn = header.iter().position(|name| name == "ssn").unwrap();
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert!(records.iter().all(|record| record[ssn].is_empty() || !said.out.contains(&record[ssn])));
    let found = columns(&said.json(), "patients");
    for (column, kind) in [("ssn", "ssn"), ("email", "email"), ("birth_date", "birth-date"), ("zip", "postal-code")] {
        let (_, is, confidence) = found.iter().find(|(name, ..)| name == column).unwrap();
        assert_eq!(is, kind, "{column}");
        assert!(*confidence >= 0.5, "{column}");
    }
    folder.write(
        "pipelines/draft.yaml",
        "pipeline: draft\npolicy: draft\nsources:\n  - { dataset: patients, path: data/csv/patients.csv }\nsink: { prefix: draft_ }\n",
    );
    let report = folder.run_json("draft", 0);
    assert_eq!(report["rows_in"], report["rows_out"]);
    let out = folder.csv("SELECT * FROM draft_patients");
    for record in &records {
        assert!(record[ssn].is_empty() || !out.contains(&record[ssn]));
    }
    // A draft is never written over.
    folder.cordon(&["inspect", "data/csv/patients.csv", "--policy", "policies/draft.yaml"]).exits(2);
    assert!(fs::read_to_string(folder.path().join("policies/draft.yaml")).unwrap().contains("method: safe-harbor"));
}

#[test]
fn what_identifies_in_a_real_export_is_seen() {
    let Some(data) = shared("synthea-csv") else { return };
    let folder = Folder::init("synthea");
    let said = folder.cordon(&["inspect", data.to_str().unwrap(), "--format", "json"]).ok();
    let report = said.json();
    let truth = include_str!("inspect_truth.txt");
    let (mut right, mut wrong) = (0, Vec::new());
    for line in truth.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let (dataset, column) = (words.next().unwrap(), words.next().unwrap());
        let kinds: Vec<&str> = words.collect();
        let found = columns(&report, dataset);
        let (_, kind, _) =
            found.iter().find(|(name, ..)| name == column).unwrap_or_else(|| panic!("{dataset} {column}"));
        if kinds.contains(&kind.as_str()) {
            right += 1;
        } else {
            wrong.push(format!("{dataset}.{column}: {kind}, not {}", kinds.join(" or ")));
        }
    }
    eprintln!("{right} right, {} wrong: {wrong:#?}", wrong.len());
    assert!(right * 10 >= (right + wrong.len()) * 9, "{right} right, wrong: {wrong:#?}");
}

#[test]
fn the_sign_between_columns_is_told_from_the_header() {
    let folder = Folder::init("hospital");
    folder.write("in/tabs.csv", "mrn\tbirth_date\n7\t1957-03-01\n8\t1960-04-02\n");
    folder.write("in/bars.txt", "mrn|email\n7|a@example.org\n8|b@example.org\n");
    folder.write("in/one.csv", "mrn\n7\n");
    let report = folder.cordon(&["inspect", "in", "--format", "json"]).ok().json();
    assert_eq!(columns(&report, "tabs")[1].1, "birth-date");
    assert_eq!(columns(&report, "bars")[1].1, "email");
    assert_eq!(columns(&report, "one").len(), 1);
}

#[test]
fn what_is_no_table_is_said() {
    let folder = Folder::init("hospital");
    folder.write("in/picture.png", [0x89, b'P', b'N', b'G']);
    let said = folder.cordon(&["inspect", "in/picture.png"]).exits(2);
    assert!(said.err.contains("no table"), "{}", said.err);
    folder.cordon(&["inspect", "in/none"]).exits(6);
    folder.write("in/headless.csv", "Doe,1957-03-01,jane@example.org\nRoe,1960-04-02,ann@example.org\n");
    let said = folder.cordon(&["inspect", "in/headless.csv"]).exits(2);
    assert!(said.err.contains("names of columns"), "{}", said.err);
    assert!(["Doe", "1957", "jane"].iter().all(|value| !said.all().contains(value)), "{}", said.all());
    folder.write("in/keys.ndjson", "{\"mrn\":\"77\",\"john@example.org\":\"x\"}\n");
    let said = folder.cordon(&["inspect", "in/keys.ndjson"]).ok();
    assert!(said.out.contains("mrn") && !said.all().contains("john@"), "{}", said.all());
}
