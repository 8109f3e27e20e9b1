//! The kernels against `cases/kernels/<kernel>/<law>.yaml`: a kernel as the recipe writes it, and rows of what goes in
//! and what must come out. Adding a case needs no compile. Keys are fixed, tokens count upwards.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow_array::{Array, StringViewArray};
use cordon_crypto::{FpeKey, KeyedHash};
use cordon_deid::kernel::{Column, DeidKeys, Env, Kernel, Reason, text_of};
use cordon_phi::{Token, TokenError, TokenStore};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    kernel: Kernel,
    rows: Vec<Row>,
}

/// A row without `out` and `fails` must be null.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(rename = "in")]
    input: Option<String>,
    subject: Option<String>,
    /// As [`text_of`] spells it.
    out: Option<String>,
    fails: Option<Reason>,
}

/// Gives the numbers 1, 2, 3 … as tokens.
#[derive(Default)]
pub struct Counter(Mutex<HashMap<(String, Vec<u8>), u128>>);

impl TokenStore for Counter {
    fn get_or_create(&self, domain: &str, values: &[&[u8]], out: &mut Vec<Token>) -> Result<(), TokenError> {
        let mut known = self.0.lock().unwrap();
        for value in values {
            let next = known.len() as u128 + 1;
            let token = *known.entry((domain.to_owned(), value.to_vec())).or_insert(next);
            out.push(Token(token.to_be_bytes()));
        }
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
    Env { tokens: Arc::new(Counter::default()), keys: Arc::new(keys), dossiers: None }
}

/// What is wrong with a file of cases, a line for each row.
fn check(path: &Path) -> Vec<String> {
    let name = path.display();
    let case: Case = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap())
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let values: StringViewArray = case.rows.iter().map(|row| row.input.as_deref()).collect();
    let subjects: StringViewArray = case.rows.iter().map(|row| row.subject.as_deref()).collect();
    let outcome = case.kernel.apply(&Column { values: &values, subjects: Some(&subjects) }, &env()).unwrap();
    assert_eq!(outcome.values.data_type(), &case.kernel.output_type(), "{name}");
    assert_eq!(outcome.values.len(), values.len(), "{name}");
    assert!(outcome.failures.is_sorted_by_key(|failure| failure.row), "{name}");
    let reasons: HashMap<_, _> = outcome.failures.iter().map(|failure| (failure.row, failure.reason)).collect();
    let texts = text_of(&outcome.values);
    let mut wrong = Vec::new();
    for (at, row) in case.rows.iter().enumerate() {
        let found = (texts.is_valid(at).then(|| texts.value(at)), reasons.get(&at).copied());
        if found != (row.out.as_deref(), row.fails) {
            let expected = (&row.out, row.fails);
            wrong.push(format!("{name} row {}: in {:?}, expected {expected:?}, found {found:?}", at + 1, row.input));
        }
    }
    wrong
}

fn files(kernel: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/kernels").join(kernel);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

macro_rules! kernels {
    ($($name:ident = $folder:literal;)*) => {
        $(
            #[test]
            fn $name() {
                let files = files($folder);
                assert!(!files.is_empty(), "no case for {}", $folder);
                let wrong: Vec<_> = files.iter().flat_map(|path| check(path)).collect();
                assert!(wrong.is_empty(), "{}", wrong.join("\n"));
            }
        )*

        /// A folder that no test reads would be a law that nobody keeps.
        #[test]
        fn every_folder_of_cases_is_read() {
            let mut known = vec![$($folder),*];
            known.sort_unstable();
            let found: Vec<_> =
                files("").iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
            assert_eq!(found, known);
        }
    };
}

kernels! {
    keep = "keep";
    redact = "redact";
    year = "year";
    age_from_birth = "age-from-birth";
    age_cap = "age-cap";
    span_cap = "span-cap";
    zip3 = "zip3";
    bin = "bin";
    first_chars = "first-chars";
    shift_date = "shift-date";
    token = "token";
    hash = "hash";
    fpe = "fpe";
    surrogate = "surrogate";
    scrub = "scrub";
}
