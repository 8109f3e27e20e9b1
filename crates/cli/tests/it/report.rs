//! What a run found and what it did with it, told by dataset: numbers that agree with what was sent, and never a value.

use serde_json::Value;

use crate::support::Folder;

const POLICY: &str = "policy: test
method: safe-harbor
subject: { domain: patient }
datasets:
  people:
    subject: mrn
    fields:
      mrn:   { kind: medical-record-number, action: token, domain: patient }
      name:  { kind: name }
      born:  { kind: birth-date }
      zip:   { kind: postal-code, otherwise: blank }
      sex:   { kind: demographic }
      note:  { kind: free-text, action: scrub }
";

const ROWS: &str = "mrn,name,born,zip,sex,note,CANARYCOLUMN
CANARY1,Canaryson,1970-02-03,02139,F,Call 617-555-0143.,CANARY2
CANARY3,Canarydottir,1980-02-03,nowhere,,,
CANARY4,Canaryman,CANARYDAY,02139,M,Nothing.,CANARY5
";

/// Every key is a word of the program and every leaf a number.
fn holds_numbers_alone(found: &Value) {
    let kinds = cordon_phi::IdentifierKind::ALL.iter().map(|kind| kind.name());
    let kinds: Vec<&str> = kinds.chain(["structure", "excluded", "undeclared"]).collect();
    const DEEDS: [&str; 18] = [
        "keep",
        "drop",
        "blank",
        "redact",
        "year",
        "age",
        "age-cap",
        "zip3",
        "bin",
        "first-chars",
        "shift-date",
        "token",
        "hash",
        "encrypt",
        "surrogate",
        "scrub",
        "left-empty",
        "not-passed",
    ];
    for (kind, deeds) in found["values"].as_object().unwrap() {
        assert!(kinds.contains(&kind.as_str()), "{kind}");
        for (deed, count) in deeds.as_object().unwrap() {
            assert!(DEEDS.contains(&deed.as_str()) && count.is_u64(), "{deed}");
        }
    }
    for (kind, spans) in found["spans"].as_object().unwrap() {
        assert!(kinds.contains(&kind.as_str()) && spans["known"].is_u64() && spans["detected"].is_u64(), "{kind}");
    }
}

#[test]
fn a_table_is_told_in_numbers_and_the_report_stays() {
    let folder = Folder::with(POLICY, "  - { dataset: people, format: csv, path: \"people/*.csv\" }");
    folder.write("people/a.csv", ROWS);
    // The third row's date is none.
    let report = folder.run_json("test", 3);
    let found = &report["found"]["people"];
    let want = serde_json::json!({
        "medical-record-number": { "token": 2 },
        "name": { "drop": 2 },
        "birth-date": { "year": 2 },
        "postal-code": { "zip3": 1, "left-empty": 1 },
        "demographic": { "keep": 1 },
        "free-text": { "scrub": 1 },
        "undeclared": { "not-passed": 1 },
    });
    assert_eq!(found["values"], want, "{found}");
    assert_eq!(found["spans"], serde_json::json!({ "phone": { "known": 0, "detected": 1 } }));
    assert_eq!(found["texts_scrubbed"], 1);
    assert_eq!(found["formats"], serde_json::json!(["csv"]));
    let records = &found["records"];
    assert_eq!((&records["rows_in"], &records["rows_out"], &records["quarantined"]), (&3.into(), &2.into(), &1.into()));
    assert!(found["kept_because"]["demographic"].as_str().unwrap().contains("164.514"));
    holds_numbers_alone(found);

    // A run that reads nothing finds nothing, and says so; the report of the one before it stays.
    let again = folder.run_json("test", 0);
    assert_eq!((&again["files_unchanged"], &again["found"]), (&1.into(), &serde_json::json!({})));
    let kept = folder.cordon(&["report", "test", "--format", "json"]).ok().json();
    assert_eq!((&kept["run"], &kept["found"]), (&report["run"], &report["found"]));
    assert_eq!(kept["policy_sha256"].as_str().unwrap().len(), 64);

    // A second file is told alone.
    folder.write("people/b.csv", "mrn,name,born,zip,sex,note\nCANARY9,Canarykin,1990-02-03,,F,\n");
    let second = folder.run_json("test", 0);
    assert_eq!(second["found"]["people"]["values"]["medical-record-number"]["token"], 1, "{second}");
    let run = report["run"].as_str().unwrap();
    let first = folder.cordon(&["report", "test", run, "--format", "json"]).ok().json();
    assert_eq!(first["found"], report["found"]);
    let listed = folder.cordon(&["report", "test", "--list", "--format", "json"]).ok().json();
    assert_eq!(listed, serde_json::json!([run, second["run"]]));
    let unknown = folder.cordon(&["report", "test", "another"]).exits(1);
    assert!(unknown.all().contains("no report of a run `another`"), "{}", unknown.all());

    let told = folder.cordon(&["report", "test", run]).ok().all();
    for line in ["not passed", "medical-record-number", "left-empty", "replaced within 1 scrubbed text"] {
        assert!(told.contains(line), "{line}: {told}");
    }
    for secret in ["CANARY", "Canary", "617", "02139", "1970", "nowhere"] {
        assert!(!told.contains(secret), "{secret}");
        assert!(!kept.to_string().contains(secret), "{secret}");
        for file in folder.written() {
            let bytes = std::fs::read(&file).unwrap();
            assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()) || secret.len() < 6, "{secret}");
        }
    }
}

#[test]
fn six_formats_are_told_and_known_identifiers_apart_from_detected_ones() {
    let folder = Folder::init("research");
    folder.synth(12, &["--formats", "csv,fhir,hl7v2,ccda,x12,notes", "--seed", "5", "--clean"]);
    let report = folder.run_json("nightly", 0);
    let found = report["found"].as_object().unwrap();
    let formats: Vec<&str> =
        found.values().flat_map(|found| found["formats"].as_array().unwrap()).filter_map(Value::as_str).collect();
    for format in ["csv", "fhir", "hl7v2", "ccda", "x12", "notes"] {
        assert!(formats.contains(&format), "{format}: {formats:?}");
    }
    let (mut rows_in, mut known) = (0, 0);
    for found in found.values() {
        holds_numbers_alone(found);
        rows_in += found["records"]["rows_in"].as_u64().unwrap();
        let spans = found["spans"].as_object().unwrap().values();
        known += spans.map(|spans| spans["known"].as_u64().unwrap()).sum::<u64>();
    }
    assert_eq!(report["rows_in"], rows_in);
    assert!(known > 0, "{report}");
}
