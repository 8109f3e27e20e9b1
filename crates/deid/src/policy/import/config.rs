//! A configuration of the Microsoft FHIR anonymizer, as it is written.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::ImportError;

/// Rules in their order, of which the first that matches an element settles it and all that is in it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Config {
    pub fhir_path_rules: Vec<RuleSection>,
    #[serde(default)]
    pub parameters: Parameters,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuleSection {
    pub path: String,
    pub method: String,
    #[serde(default)]
    pub replace_with: Option<Value>,
    #[serde(default)]
    pub cases: Option<Map<String, Value>>,
}

/// Keys are taken note of and never read further.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Parameters {
    pub date_shift_key: Value,
    pub date_shift_scope: Option<String>,
    pub date_shift_fixed_offset_in_days: Option<i64>,
    pub crypto_hash_key: Value,
    pub encrypt_key: Value,
    pub enable_partial_ages_for_redact: bool,
    pub enable_partial_dates_for_redact: bool,
    pub enable_partial_zip_codes_for_redact: bool,
    pub restricted_zip_code_tabulation_areas: Vec<String>,
    pub custom_settings: Value,
}

/// Reads a configuration, and the line on which each rule begins.
pub(super) fn read(text: &str) -> Result<(Config, Vec<usize>), ImportError> {
    let text = text.trim_start_matches('\u{feff}');
    let config: Config =
        serde_json::from_str(text).map_err(|error| ImportError { line: error.line(), column: error.column() })?;
    let lines = rule_lines(text);
    Ok((config, lines))
}

/// Where the objects in `fhirPathRules` begin.
fn rule_lines(text: &str) -> Vec<usize> {
    const KEY: &str = "\"fhirPathRules\"";
    let Some(start) = text.find(KEY) else { return Vec::new() };
    let mut line = 1 + text.bytes().take(start).filter(|byte| *byte == b'\n').count();
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let mut lines = Vec::new();
    for byte in text.bytes().skip(start + KEY.len()) {
        match byte {
            b'\n' => line += 1,
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => {
                if depth == 1 && byte == b'{' {
                    lines.push(line);
                }
                depth += 1;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    break;
                }
            }
            _ => {}
        }
    }
    lines
}
