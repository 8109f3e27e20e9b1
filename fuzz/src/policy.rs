//! The policy language, and the paths in it.

use std::path::Path;

use cordon_deid::policy::check::{CompileOptions, compile as compile_text};
use cordon_formats::ccda;

pub fn warm() {
    for policy in crate::seeds::POLICIES {
        let _said = compile_at(policy);
    }
}

/// What is said of a policy: its hash, or what is wrong with it.
fn compile_at(text: &str) -> Result<String, String> {
    let options = CompileOptions::on("2026-01-01".parse().expect("a day"));
    match compile_text(text, Path::new("policies/p.yaml"), options) {
        Ok(recipe) => {
            for documents in recipe.documents.values() {
                assert!(documents.schemas().iter().all(|(_, schema)| !schema.fields().is_empty()));
            }
            Ok(recipe.hash)
        }
        Err(issues) => {
            assert!(!issues.0.is_empty(), "refused without a reason");
            // A lone CR ends a line of YAML too.
            let lines = text.chars().filter(|c| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')).count()
                as u64
                + 2;
            for issue in &issues.0 {
                assert!(
                    issue.position.line <= lines && !issue.message.is_empty(),
                    "a place that the file does not have"
                );
            }
            Err(issues.to_string())
        }
    }
}

pub fn compile(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert!(compile_at(text) == compile_at(text), "the same policy compiles otherwise");
}

/// A path in the place of a rule of each format, whatever it is.
pub fn paths(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    let key = serde_json::to_string(path).expect("text");
    for section in [
        "fhir: { fhir: { elements",
        "hl7: { hl7v2: { subject: PID-3, elements",
        "c: { ccda: { subject: { id: \"//id\" }, elements",
    ] {
        let policy = format!(
            "policy: p\nmethod: safe-harbor\ndatasets:\n  {section}: {{ ? {key}\n : {{ kind: name, action: drop }} }} }} }}\n"
        );
        let _ = compile_at(&policy);
    }
    match ccda::Path::parse(path) {
        Ok(parsed) => {
            let one = ccda::PathSet::new(vec![parsed.clone()]);
            assert!(one.paths() == [parsed]);
        }
        Err(error) => assert!(error.at <= path.len() && path.is_char_boundary(error.at)),
    }
}
