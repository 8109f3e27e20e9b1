//! FHIR R4 by policy: laws as cases, real exports, and attempts to smuggle.

mod attachments;
mod canary;
mod cases;
mod exports;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use cordon_crypto::{FpeKey, KeyedHash};
use cordon_deid::document::Documents;
use cordon_deid::fhir::{FhirFailure, FhirRecipe};
use cordon_deid::kernel::{DeidKeys, Env};
use cordon_deid::policy::check::{CompileOptions, compile};
use cordon_deid::yaml::Issues;
use cordon_formats::fhir::{ReadOptions, RejectReason, ResourceReader};
use cordon_phi::{Token, TokenError, TokenStore};
use sha2::{Digest, Sha256};

pub const SHIPPED: &str = include_str!("../../../policies/fhir-r4.yaml");
pub const LIMITED: &str = include_str!("../../../policies/fhir-r4-limited-data-set.yaml");

/// Tokens that a test can foretell.
pub struct Foretold;

pub fn token(domain: &str, value: &str) -> Token {
    let digest = Sha256::digest(format!("{domain}|{value}"));
    Token(digest[..16].try_into().unwrap())
}

pub fn token_text(domain: &str, value: &str) -> String {
    data_encoding::BASE32_NOPAD.encode(&token(domain, value).0).to_lowercase()
}

impl TokenStore for Foretold {
    fn get_or_create(&self, domain: &str, values: &[&[u8]], out: &mut Vec<Token>) -> Result<(), TokenError> {
        out.extend(values.iter().map(|value| token(domain, std::str::from_utf8(value).unwrap())));
        Ok(())
    }
}

pub fn env() -> Env {
    let keys = DeidKeys {
        hash: KeyedHash::new(&[1; 32]),
        shift: KeyedHash::new(&[2; 32]),
        surrogate: KeyedHash::new(&[3; 32]),
        fpe: FpeKey::from_bytes([4; 32]),
    };
    Env { tokens: Arc::new(Foretold), keys: Arc::new(keys), dossiers: None }
}

/// The FHIR recipe of a policy's dataset `fhir`, at a fixed day.
pub fn recipe(policy: &str) -> Result<FhirRecipe, Issues> {
    let run_date = "2026-01-01".parse().unwrap();
    let mut recipe = compile(policy, Path::new("policies/test.yaml"), CompileOptions::on(run_date))?;
    match recipe.documents.shift_remove("fhir") {
        Some(Documents::Fhir(recipe)) => Ok(recipe),
        _ => panic!("the policy has a dataset `fhir`"),
    }
}

pub fn shipped() -> FhirRecipe {
    recipe(SHIPPED).unwrap_or_else(|issues| panic!("{issues}"))
}

/// Everything that came of a stream.
#[derive(Default)]
pub struct Ran {
    pub tables: Vec<(String, RecordBatch)>,
    pub failures: Vec<FhirFailure>,
    pub rejects: Vec<RejectReason>,
    pub undeclared: BTreeMap<String, u64>,
    pub excluded: u64,
    pub unresolved: u64,
    pub read: usize,
}

impl Ran {
    /// The resources that came out, in the order of the tables.
    pub fn resources(&self) -> Vec<(String, String)> {
        let mut out = Vec::new();
        for (name, batch) in &self.tables {
            let column = batch.column_by_name("resource").unwrap().as_string_view();
            out.extend(column.iter().map(|json| (name.clone(), json.unwrap().to_owned())));
        }
        out
    }

    /// A text column's values over all batches of a table.
    pub fn column(&self, table: &str, column: &str) -> Vec<Option<String>> {
        let batches = self.tables.iter().filter(|(name, _)| name == table);
        batches
            .flat_map(|(_, batch)| {
                let text = cordon_deid::kernel::text_of(batch.column_by_name(column).unwrap());
                text.iter().map(|value| value.map(str::to_owned)).collect::<Vec<_>>()
            })
            .collect()
    }
}

pub fn run(recipe: &FhirRecipe, input: impl Read) -> Ran {
    let env = env();
    let mut reader = ResourceReader::new(input, ReadOptions::default());
    let mut ran = Ran::default();
    while let Some(batch) = reader.next_batch(256 << 10).unwrap() {
        let output = recipe.apply(&batch, &env).unwrap_or_else(|error| panic!("{error}"));
        ran.read += batch.len();
        ran.rejects.extend(batch.rejects.iter().map(|reject| reject.reason));
        ran.tables.extend(output.tables);
        ran.failures.extend(output.failures);
        for (path, count) in output.undeclared {
            *ran.undeclared.entry(path).or_insert(0) += count;
        }
        ran.excluded += output.excluded.values().sum::<u64>();
        ran.unresolved += output.unresolved_references;
    }
    ran
}
