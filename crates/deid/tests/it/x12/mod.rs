//! X12 by policy: laws, real interchanges, and attempts to smuggle.

mod canary;
mod exports;
pub mod laws;

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_schema::DataType;
use cordon_deid::document::{DocumentOutput, Documents};
use cordon_deid::policy::check::{CompileOptions, compile};
use cordon_deid::x12::X12Recipe;
use cordon_deid::yaml::Issues;
use cordon_formats::x12::{ReadOptions, TransactionBatch, TransactionReader};
use indexmap::IndexMap;

pub const SHIPPED: &str = include_str!("../../../policies/x12.yaml");
pub const LIMITED: &str = include_str!("../../../policies/x12-limited-data-set.yaml");

/// Every value stays: by expert determination, each with a reason.
pub fn keep_everything() -> String {
    let types = [
        "name",
        "organization",
        "address",
        "date",
        "time",
        "phone",
        "fax",
        "email",
        "url",
        "id",
        "code",
        "demographic",
        "clinical",
        "amount",
        "number",
        "text",
    ];
    let rules = types.map(|name| format!("        {name}: {{ kind: free-text, action: keep, because: a test }}\n"));
    format!(
        "policy: all\nmethod: expert-determination\nexpert: {{ name: x, document: y }}\ndatasets:\n  x12:\n    x12:\n      types:\n{}",
        rules.concat()
    )
}

pub fn recipe(policy: &str) -> Result<X12Recipe, Issues> {
    recipe_with(policy, &IndexMap::new())
}

/// With identities declared: places and namespaces.
pub fn recipe_with(policy: &str, identities: &IndexMap<String, String>) -> Result<X12Recipe, Issues> {
    let all = IndexMap::from([("x12".to_owned(), identities.clone())]);
    let options = CompileOptions { identities: Some(&all), ..CompileOptions::on("2026-01-01".parse().unwrap()) };
    let mut recipe = compile(policy, Path::new("policies/test.yaml"), options)?;
    match recipe.documents.shift_remove("x12") {
        Some(Documents::X12(recipe)) => Ok(recipe),
        _ => panic!("the policy has a dataset `x12`"),
    }
}

pub fn batches(text: &[u8]) -> Vec<TransactionBatch> {
    let mut reader = TransactionReader::new(text, ReadOptions::default());
    std::iter::from_fn(|| reader.next_batch(1 << 20).unwrap()).collect()
}

/// What came of all sets of a text.
pub fn run(recipe: &X12Recipe, text: &[u8]) -> Vec<DocumentOutput> {
    let env = crate::fhir::env();
    let apply = |batch: &TransactionBatch| recipe.apply(batch, &env).unwrap_or_else(|error| panic!("{error}"));
    batches(text).iter().map(apply).collect()
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

/// The sets that came out.
pub fn sets(outputs: &[DocumentOutput]) -> Vec<String> {
    column(outputs, "transaction", "text").into_iter().map(Option::unwrap).collect()
}

/// Everything that came out, as text.
pub fn everything(outputs: &[DocumentOutput]) -> String {
    let mut out = String::new();
    for (_, rows) in outputs.iter().flat_map(|output| &output.tables) {
        for column in rows.columns().iter().filter(|column| *column.data_type() == DataType::Utf8View) {
            for text in column.as_string_view().iter().flatten() {
                out.push_str(text);
                out.push('\n');
            }
        }
    }
    out
}
