//! What files seem to hold, and the draft of a policy that comes of it.

use std::collections::BTreeMap;
use std::fs;

use cordon_phi::IdentifierKind;
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

/// Fields of HL7 v2 against `cases/inspect/hl7v2.yaml`; tables have their test in `cordon-detect`.
#[test]
fn fields_of_real_messages_are_what_the_standard_says() {
    type Truth = BTreeMap<String, BTreeMap<u16, String>>;
    let Some(data) = shared("hl7v2") else { return };
    let folder = Folder::init("hospital");
    let said =
        folder.cordon(&["inspect", data.to_str().unwrap(), "--policy", "policies/draft.yaml", "--format", "json"]);
    let found: BTreeMap<String, String> =
        columns(&said.ok().json(), "hl7").into_iter().map(|(path, kind, _)| (path, kind)).collect();
    let truth: Truth = serde_saphyr::from_str(include_str!("../../../../cases/inspect/hl7v2.yaml")).unwrap();
    let code = ["clinical", "operational", "demographic", "financial", "state"];
    let is_harmless = |kind: &str| kind.parse::<IdentifierKind>().unwrap().clause().is_none();
    let (mut judged, mut right, mut leaked, mut wrong) = (0, 0, 0, Vec::new());
    for (segment, fields) in &truth {
        for (number, written) in fields {
            let Some(kind) = found.get(&format!("{segment}-{number}")) else { continue };
            let wanted: Vec<&str> = written.split('|').map(str::trim).collect();
            judged += 1;
            if wanted.contains(&kind.as_str()) || wanted.contains(&"code") && code.contains(&kind.as_str()) {
                right += 1;
                continue;
            }
            let is_leak = is_harmless(kind) && wanted.iter().all(|kind| *kind != "code" && !is_harmless(kind));
            leaked += usize::from(is_leak);
            wrong.push(format!("{segment}-{number}: {kind} for {written}{}", if is_leak { " LEAKED" } else { "" }));
        }
    }
    let table = format!("{judged} fields judged, {right} right, {leaked} leaked\n{}", wrong.join("\n"));
    eprintln!("{table}");
    assert!(judged > 300 && leaked == 0 && right * 100 >= judged * 95, "{table}");
    // What nobody knows is named as such, and the draft is a policy.
    assert!(found.keys().all(|path| path == "?" || path.contains('-')), "{found:?}");
    folder.cordon(&["policy", "check"]).ok();
}

#[test]
fn paths_of_documents_are_profiled_and_what_no_rule_reaches_is_in_the_draft() {
    let folder = Folder::init("hospital");
    folder.write(
        "in/a.hl7",
        "MSH|^~\\&|A|B||||||ADT^A08|1|P|2.5\rPID|1||77^^^GH^MR||Doe^Jane||19570301|F\rZPX|1|219-09-9999|x\rOBX|1|TX|n||seen by her daughter\rQQQ|7\r",
    );
    folder.write("in/b.xml", CDA);
    folder.write(
        "in/c.json",
        r#"{"resourceType":"Patient","id":"p","name":[{"family":"Doe"}],"birthDate":"1957-03-01","oddity":"219-09-9999",
            "contained":[{"resourceType":"Organization","name":"General"}]}"#,
    );
    let said = folder.cordon(&["inspect", "in", "--policy", "policies/draft.yaml", "--format", "json"]).ok();
    let report = said.json();
    let kind = |dataset: &str, path: &str| {
        let found = columns(&report, dataset);
        found.into_iter().find(|(name, ..)| name == path).map_or_else(|| panic!("{path}"), |(_, kind, _)| kind)
    };
    for (dataset, path, is) in [
        ("hl7", "PID-3", "medical-record-number"),
        ("hl7", "PID-5", "name"),
        ("hl7", "PID-7", "birth-date"),
        ("hl7", "ZPX-2", "ssn"),
        ("hl7", "OBX-5", "free-text"),
        ("ccda", "ClinicalDocument/recordTarget/patientRole/id/@extension", "medical-record-number"),
        ("ccda", "patientRole/patient/name/family", "name"),
        ("ccda", "recordTarget/patientRole/patient/birthTime/@value", "birth-date"),
        ("ccda", "section/text", "free-text"),
        ("fhir", "Patient.name.family", "name"),
        ("fhir", "Patient.birthDate", "birth-date"),
        ("fhir", "Patient.?", "ssn"),
        ("fhir", "Organization.name", "free-text"),
    ] {
        assert_eq!(kind(dataset, path), is, "{path}");
    }
    kind("hl7", "?");
    // Names that no format has are data, as values are.
    for word in ["QQQ", "oddity", "Jane", "1957", "219-09", "daughter"] {
        assert!(!said.all().contains(word), "{word}");
    }
    let draft = fs::read_to_string(folder.path().join("policies/draft.yaml")).unwrap();
    assert!(draft.contains("ZPX-2: { kind: free-text, action: drop }") && draft.contains("looks like ssn"), "{draft}");
    folder.cordon(&["policy", "check"]).ok();
}

const CDA: &str = r#"<ClinicalDocument xmlns="urn:hl7-org:v3"><recordTarget><patientRole><id root="1.3" extension="0007"/><patient>
<name><given>Jane</given><family>Doe</family></name><birthTime value="19570301"/></patient></patientRole></recordTarget>
<component><structuredBody><component><section><text><paragraph>seen by her daughter</paragraph></text></section></component>
</structuredBody></component></ClinicalDocument>"#;

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
    assert!(said.err.contains("no table and no document"), "{}", said.err);
    folder.cordon(&["inspect", "in/none"]).exits(6);
    folder.write("in/headless.csv", "Doe,1957-03-01,jane@example.org\nRoe,1960-04-02,ann@example.org\n");
    let said = folder.cordon(&["inspect", "in/headless.csv"]).exits(2);
    assert!(said.err.contains("names of columns"), "{}", said.err);
    assert!(["Doe", "1957", "jane"].iter().all(|value| !said.all().contains(value)), "{}", said.all());
    folder.write("in/keys.ndjson", "{\"mrn\":\"77\",\"john@example.org\":\"x\"}\n");
    let said = folder.cordon(&["inspect", "in/keys.ndjson"]).ok();
    assert!(said.out.contains("mrn") && !said.all().contains("john@"), "{}", said.all());
}
