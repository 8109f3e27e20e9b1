//! HL7 v2 by policy: laws, and real messages.

mod exports;
mod laws;

use std::path::Path;

use arrow_array::cast::AsArray;
use cordon_deid::document::{DocumentOutput, Documents};
use cordon_deid::hl7v2::Hl7v2Recipe;
use cordon_deid::policy::check::{CompileOptions, compile};
use cordon_deid::yaml::Issues;
use cordon_formats::hl7v2::{MessageReader, ReadOptions};

pub const SHIPPED: &str = include_str!("../../../policies/hl7v2.yaml");
pub const LIMITED: &str = include_str!("../../../policies/hl7v2-limited-data-set.yaml");

pub fn recipe(policy: &str) -> Result<Hl7v2Recipe, Issues> {
    let run_date = "2026-01-01".parse().unwrap();
    let mut recipe = compile(policy, Path::new("policies/test.yaml"), CompileOptions::on(run_date))?;
    match recipe.documents.shift_remove("hl7") {
        Some(Documents::Hl7v2(recipe)) => Ok(recipe),
        _ => panic!("the policy has a dataset `hl7`"),
    }
}

/// What came of all messages of a text.
pub fn run(recipe: &Hl7v2Recipe, text: &[u8]) -> Vec<DocumentOutput> {
    let env = crate::fhir::env();
    let mut reader = MessageReader::new(text, ReadOptions::default());
    let mut out = Vec::new();
    while let Some(batch) = reader.next_batch(1 << 20).unwrap() {
        out.push(recipe.apply(&batch, &env).unwrap_or_else(|error| panic!("{error}")));
    }
    out
}

/// The messages that came out.
pub fn messages(outputs: &[DocumentOutput]) -> Vec<String> {
    let tables = outputs.iter().flat_map(|output| &output.tables).filter(|(name, _)| name == "message");
    tables
        .flat_map(|(_, rows)| {
            let texts = rows.column_by_name("message").unwrap().as_string_view();
            texts.iter().map(|text| text.unwrap().to_owned()).collect::<Vec<_>>()
        })
        .collect()
}
