//! Every rule of a table on every text, and what the other targets need to run policies.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, StringViewArray};
use cordon_crypto::{FpeKey, KeyedHash};
use cordon_deid::document::Documents;
use cordon_deid::kernel::{DeidKeys, Env};
use cordon_deid::policy::check::{CompileOptions, compile};
use cordon_deid::recipe::Recipe;
use cordon_phi::{Token, TokenError, TokenStore};

/// Tokens without a vault: this one may derive them, for nobody's identity is at stake.
struct Foretold;

impl TokenStore for Foretold {
    fn get_or_create(&self, domain: &str, values: &[&[u8]], out: &mut Vec<Token>) -> Result<(), TokenError> {
        static KEY: OnceLock<KeyedHash> = OnceLock::new();
        let key = KEY.get_or_init(|| KeyedHash::new(&[5; 32])).derive(domain);
        out.extend(values.iter().map(|value| {
            let tag = key.tag(value);
            Token(*tag.first_chunk().expect("16 bytes"))
        }));
        Ok(())
    }
}

pub fn env() -> Env {
    static KEYS: OnceLock<Arc<DeidKeys>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        Arc::new(DeidKeys {
            hash: KeyedHash::new(&[1; 32]),
            shift: KeyedHash::new(&[2; 32]),
            surrogate: KeyedHash::new(&[3; 32]),
            fpe: FpeKey::from_bytes([4; 32]),
        })
    });
    Env { tokens: Arc::new(Foretold), keys: Arc::clone(keys), dossiers: None }
}

/// A dataset of documents of a policy that ships.
pub fn shipped(policy: &str, dataset: &str) -> Documents {
    let mut recipe = compiled(policy);
    recipe.documents.shift_remove(dataset).expect("the dataset")
}

fn compiled(policy: &str) -> Recipe {
    let options = CompileOptions::on("2026-01-01".parse().expect("a day"));
    compile(policy, Path::new("policies/p.yaml"), options).unwrap_or_else(|issues| panic!("{issues}"))
}

/// Each action on columns that all hold the same texts.
const POLICY: &str = "
policy: fuzz
method: expert-determination
expert: { name: A, document: B }
subject: { domain: patient }
datasets:
  t:
    subject: who
    fields:
      who: { kind: unique-id, action: token, domain: patient }
      text: { kind: clinical, action: keep, because: measured }
      whole: { kind: clinical, action: keep, type: integer }
      decimal: { kind: clinical, action: keep, type: decimal }
      truth: { kind: clinical, action: keep, type: boolean }
      born: { kind: birth-date, action: year }
      seen: { kind: service-date, action: shift-date }
      age: { kind: age, action: age-cap }
      zip: { kind: postal-code, action: zip3 }
      first: { kind: name, action: first-chars, chars: 2, because: initials }
      hash: { kind: account-number, action: hash, domain: a }
      name: { kind: name, action: surrogate }
      street: { kind: street-address, action: surrogate }
      phone: { kind: phone, action: surrogate }
      ssn: { kind: ssn, action: surrogate }
      email: { kind: email, action: surrogate }
      note: { kind: free-text, action: scrub, because: read by a person }
";

fn recipe() -> &'static Recipe {
    static RECIPE: OnceLock<Recipe> = OnceLock::new();
    RECIPE.get_or_init(|| compiled(POLICY))
}

pub fn warm() {
    recipe();
    run(&[Some("Dr. Okafor, 2020-01-02")]);
}

/// Texts of the output's rows, and the rows that failed.
type Out = (Vec<Vec<Option<String>>>, Vec<(usize, String)>);

fn run(values: &[Option<&str>]) -> Out {
    let table = &recipe().tables["t"];
    let names: Vec<String> = table.rules.iter().map(|rule| rule.input.clone()).collect();
    let bound = table.bind(&names).unwrap_or_else(|error| panic!("{error}"));
    let column: ArrayRef = Arc::new(values.iter().copied().collect::<StringViewArray>());
    let batch = RecordBatch::try_from_iter_with_nullable(names.iter().map(|name| (name, Arc::clone(&column), true)));
    let applied = bound.apply(&batch.expect("columns of one length"), &env()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(applied.batch.num_rows() + applied.failures.len(), values.len(), "a row is nowhere");
    let texts: Vec<ArrayRef> = applied
        .batch
        .columns()
        .iter()
        .map(|column| {
            let shown = |row: usize| {
                if column.is_null(row) {
                    return None;
                }
                let whole = column.as_primitive_opt::<Int32Type>().map(|column| column.value(row).to_string());
                whole
                    .or_else(|| column.as_primitive_opt::<Int64Type>().map(|column| column.value(row).to_string()))
                    .or_else(|| {
                        column
                            .as_primitive_opt::<Float64Type>()
                            .map(|column| format!("{:x}", column.value(row).to_bits()))
                    })
                    .or_else(|| column.as_primitive_opt::<Date32Type>().map(|column| column.value(row).to_string()))
                    .or_else(|| column.as_boolean_opt().map(|column| column.value(row).to_string()))
            };
            let cells: StringViewArray =
                column.as_string_view_opt().cloned().unwrap_or_else(|| (0..column.len()).map(shown).collect());
            Arc::new(cells) as ArrayRef
        })
        .collect();
    let rows = (0..applied.batch.num_rows()).map(|row| {
        let cell = |column: &ArrayRef| {
            let column = column.as_string_view();
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        texts.iter().map(cell).collect()
    });
    let failures =
        applied.failures.iter().map(|failure| (failure.row, format!("{}: {}", failure.field, failure.reason)));
    (rows.collect(), failures.collect())
}

/// A row gives what it gives alone: batches are no part of the result.
pub fn apply(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let values: Vec<Option<&str>> = text.split('\n').map(|line| (line != "NULL").then_some(line)).collect();
    let (rows, failures) = run(&values);
    let mut rows = rows.into_iter();
    for (row, value) in values.iter().enumerate().take(24) {
        let (alone, failed) = run(&[*value]);
        match failures.iter().find(|(at, _)| *at == row) {
            Some((_, why)) => assert!(failed.len() == 1 && failed[0].1 == *why, "it fails otherwise alone"),
            None => assert!(Some(&alone[0]) == rows.next().as_ref(), "other results in other batches"),
        }
    }
}
