//! Configurations of the Microsoft FHIR anonymizer as policies.

use std::path::Path;

use cordon_deid::policy::check::{CompileOptions, compile};
use cordon_deid::policy::import::{ImportError, ImportOptions, Imported, import};
use cordon_phi::Method;
use serde_json::Value;

use crate::pieces::dice;

const METHODS: [Method; 3] = [Method::SafeHarbor, Method::LimitedDataSet, Method::ExpertDetermination];

pub fn warm() {
    for method in METHODS {
        let _said = run(r#"{"fhirPathRules":[{"path":"Resource","method":"keep"}]}"#, method);
    }
}

fn run(text: &str, method: Method) -> Result<Imported, ImportError> {
    import(text, &ImportOptions { name: "imported", method, run_date: "2026-01-01".parse().expect("a day") })
}

/// What is made compiles, unless it says why not; each rule is accounted for, and no key is in it.
pub fn read(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let method = METHODS[dice(data) as usize % METHODS.len()];
    let lines = text.lines().count() + 1;
    let made = match run(text, method) {
        Ok(made) => made,
        Err(error) => {
            assert!(error.line <= lines, "a place that the file does not have");
            return;
        }
    };
    let again = run(text, method).unwrap_or_else(|error| panic!("{error}"));
    assert!(again.policy == made.policy && again.problems == made.problems, "the same file becomes another policy");
    let options = CompileOptions::on("2026-01-01".parse().expect("a day"));
    if let Err(issues) = compile(&made.policy, Path::new("policies/p.yaml"), options) {
        panic!("it does not compile: {issues} (it said {:?})\n{}", made.problems, made.policy);
    }
    assert!(made.problems.is_empty(), "it compiles and says that it does not: {:?}", made.problems);
    assert!(made.lines.iter().all(|line| line.line <= lines && !line.becomes.is_empty()));
    let config: Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).expect("it was JSON");
    let rules = config["fhirPathRules"].as_array().expect("rules");
    for rule in rules {
        let path = rule["path"].as_str().expect("a path");
        assert!(made.lines.iter().any(|line| line.path == path), "a rule is in no line");
    }
    // A key is not copied; where a rule holds the same text it is no secret.
    let empty = run(r#"{"fhirPathRules":[]}"#, method).unwrap_or_else(|error| panic!("{error}"));
    let said = config["fhirPathRules"].to_string() + &empty.policy;
    for key in ["dateShiftKey", "cryptoHashKey", "encryptKey"] {
        if let Some(secret) = config["parameters"][key].as_str().filter(|secret| secret.len() >= 8) {
            let told = made.lines.iter().any(|line| line.becomes.contains(secret) || line.path.contains(secret));
            assert!(said.contains(secret) || !made.policy.contains(secret) && !told, "a key is copied");
        }
    }
}
