//! A policy made of another tool's configuration, and the report beside it.

use crate::support::{Folder, binary, said};

const CONFIG: &str = r#"{
  "fhirPathRules": [
    {"path": "nodesByType('HumanName')", "method": "redact"},
    {"path": "nodesByType('date')", "method": "dateShift"},
    {"path": "Patient.contact.where(true)", "method": "keep"}
  ],
  "parameters": {"dateShiftKey": "CANARYKEY", "cryptoHashKey": "CANARYKEY"}
}"#;

#[test]
fn a_configuration_becomes_a_policy_of_a_project() {
    let folder = Folder::init("fhir");
    folder.write("anonymizer.json", CONFIG);
    let made = folder.cordon(&["policy", "import", "anonymizer.json", "--output", "policies/taken-over.yaml"]).ok();
    for says in ["dateShift", "164.514(b)(2)(i)(C)", "forbidden", "unmapped", "not copied", "policies/taken-over.yaml"]
    {
        assert!(made.out.contains(says), "{says}: {}", made.out);
    }
    let policy = folder.read("policies/taken-over.yaml");
    assert!(
        policy.contains("policy: taken-over\n") && !policy.contains("CANARYKEY") && !made.all().contains("CANARYKEY")
    );
    folder.cordon(&["policy", "check"]).ok();
    let again =
        folder.cordon(&["policy", "import", "anonymizer.json", "--output", "policies/taken-over.yaml"]).exits(2);
    assert!(again.err.contains("is there already"));
    // It runs.
    let pipeline = folder.read("pipelines/nightly.yaml").replace("safe-harbor-fhir", "taken-over");
    folder.write("pipelines/nightly.yaml", pipeline);
    let patient = r#"{"resourceType":"Patient","id":"p","name":[{"family":"Canaryson"}],"birthDate":"1980-02-03","gender":"male"}"#;
    folder.write("data/fhir/patients.ndjson", patient);
    folder.run_json("nightly", 0);
    let rows = folder.csv("SELECT * FROM fhir_patient");
    assert!(rows.contains("1980") && rows.contains("male"), "{rows}");
    assert!(!rows.contains("1980-02") && !rows.contains("Canaryson"), "{rows}");
}

#[test]
fn without_a_project_it_goes_to_the_output_or_to_programs() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.json"), CONFIG).unwrap();
    let run = |args: &[&str]| said(binary().args(["policy", "import"]).args(args).current_dir(&dir).output().unwrap());
    let printed =
        run(&["a.json", "--as", "ms-fhir-anonymizer", "--method", "expert-determination", "--name", "ours"]).ok();
    assert!(printed.out.contains("policy: ours\nmethod: expert-determination\n") && printed.out.contains("shift-date"));
    assert!(printed.err.contains("Patient.contact.where(true)") && !printed.out.contains("where(true)"));
    let json = run(&["a.json", "--method", "limited-data-set", "--format", "json"]).ok().json();
    assert_eq!(json["compiles"], true);
    let rules = json["rules"].as_array().unwrap();
    let named = rules.iter().find(|rule| rule["path"] == "nodesByType('HumanName')").unwrap();
    assert_eq!((named["line"].as_u64(), named["status"].as_str()), (Some(3), Some("mapped")));
    assert!(run(&["a.json", "--name", "x: y"]).exits(2).err.contains("letters, digits"));
    std::fs::write(dir.path().join("b.json"), "{ CANARY").unwrap();
    let refused = run(&["b.json"]).exits(2);
    assert!(refused.err.contains("b.json") && refused.err.contains("line 1") && !refused.all().contains("CANARY"));
    run(&["absent.json"]).exits(6);
}
