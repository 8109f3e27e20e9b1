//! C-CDA by policy: laws, and real documents.

mod canary;
mod exports;
mod laws;

use std::path::Path;

use arrow_array::cast::AsArray;
use cordon_deid::ccda::CcdaRecipe;
use cordon_deid::document::{DocumentOutput, Documents};
use cordon_deid::policy::check::{CompileOptions, compile};
use cordon_deid::yaml::Issues;
use cordon_formats::ccda::{DocumentReader, ReadOptions};

pub const SHIPPED: &str = include_str!("../../../policies/ccda.yaml");
pub const LIMITED: &str = include_str!("../../../policies/ccda-limited-data-set.yaml");

pub fn recipe(policy: &str) -> Result<CcdaRecipe, Issues> {
    let run_date = "2026-01-01".parse().unwrap();
    let mut recipe = compile(policy, Path::new("policies/test.yaml"), CompileOptions::on(run_date))?;
    match recipe.documents.shift_remove("ccda") {
        Some(Documents::Ccda(recipe)) => Ok(*recipe),
        _ => panic!("the policy has a dataset `ccda`"),
    }
}

/// What came of all documents of a text.
pub fn run(recipe: &CcdaRecipe, text: &[u8]) -> Vec<DocumentOutput> {
    let env = crate::fhir::env();
    let mut reader = DocumentReader::new(text, ReadOptions::default());
    let mut out = Vec::new();
    while let Some(batch) = reader.next_batch(1 << 20).unwrap() {
        out.push(recipe.apply(&batch, &env).unwrap_or_else(|error| panic!("{error}")));
    }
    out
}

/// A text column of a table, over all outputs.
pub fn column(outputs: &[DocumentOutput], table: &str, column: &str) -> Vec<Option<String>> {
    let tables = outputs.iter().flat_map(|output| &output.tables).filter(|(name, _)| name == table);
    tables
        .flat_map(|(_, rows)| {
            let texts = rows.column_by_name(column).unwrap().as_string_view();
            texts.iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
        })
        .collect()
}

/// The documents that came out.
pub fn documents(outputs: &[DocumentOutput]) -> Vec<String> {
    column(outputs, "document", "xml").into_iter().map(Option::unwrap).collect()
}
