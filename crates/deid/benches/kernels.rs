//! Nanoseconds a value, for each kernel: `cargo bench -p cordon-deid`. Divan's item rate is values a second.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use arrow_array::StringViewArray;
use cordon_crypto::{FpeKey, KeyedHash};
use cordon_deid::kernel::{
    AgeRule, Alphabet, BinRule, Column, DateFormats, Day, DeidKeys, Env, FpeRule, Kernel, Parse, ScrubRule, ScrubWith,
    ShiftForm, ShiftRule, SurrogateKind, SurrogateRule, Vintage, YearRule, Zip3Rule, text_of,
};
use cordon_phi::{Dossiers, IdentifierKind, KnownFacts, NameDraw, Token, TokenError, TokenStore, Whose};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

fn main() {
    divan::main();
}

const ROWS: usize = 8192;
const REFERENCE: Day = Day(19_844);

#[derive(Default)]
struct Memory(Mutex<HashMap<Vec<u8>, u128>>);

impl TokenStore for Memory {
    fn get_or_create(&self, _: &str, values: &[&[u8]], out: &mut Vec<Token>) -> Result<(), TokenError> {
        let mut known = self.0.lock().unwrap();
        for value in values {
            let next = known.len() as u128;
            let token = known.get(*value).copied().unwrap_or_else(|| {
                known.insert(value.to_vec(), next);
                next
            });
            out.push(Token(token.to_be_bytes()));
        }
        Ok(())
    }
}

fn run(bencher: Bencher<'_, '_>, kernel: &Kernel, subjects: usize, value: impl Fn(usize) -> String) {
    let keys = DeidKeys {
        hash: KeyedHash::new(&[1; 32]),
        shift: KeyedHash::new(&[2; 32]),
        surrogate: KeyedHash::new(&[3; 32]),
        fpe: FpeKey::from_bytes([4; 32]),
    };
    let env = Env { tokens: Arc::new(Memory::default()), keys: Arc::new(keys), dossiers: None };
    let values: StringViewArray = (0..ROWS).map(|row| Some(value(row))).collect();
    // Rows of one subject stand together, as exports have them.
    let subjects: StringViewArray =
        (0..ROWS).map(|row| Some(format!("patient-identity-{}", row * subjects / ROWS))).collect();
    let column = Column { values: &values, subjects: Some(&subjects) };
    bencher.counter(ItemsCount::new(ROWS)).bench(|| kernel.apply(&column, &env).unwrap());
}

fn date(row: usize) -> String {
    Day(-10_000 + (row as i32 * 37) % 28_000).to_string()
}

fn instant(row: usize) -> String {
    format!("{}T{:02}:{:02}:00Z", date(row), row % 24, row % 60)
}

fn year_rule(capped: bool) -> Kernel {
    Kernel::Year(YearRule { reference: REFERENCE, cap: capped.then_some(89), formats: DateFormats::builtin() })
}

fn shift_rule(form: ShiftForm) -> Kernel {
    Kernel::ShiftDate(ShiftRule { max_days: 365, domain: String::new(), form, formats: DateFormats::builtin() })
}

fn fpe_rule(alphabet: Alphabet) -> Kernel {
    Kernel::Fpe(FpeRule { alphabet, domain: "ssn".to_owned() })
}

#[divan::bench]
fn keep_text(bencher: Bencher<'_, '_>) {
    run(bencher, &Kernel::Keep(Parse::Text), 1, date);
}

#[divan::bench]
fn keep_integer(bencher: Bencher<'_, '_>) {
    run(bencher, &Kernel::Keep(Parse::Integer), 1, |row| (row * 7919).to_string());
}

#[divan::bench]
fn keep_decimal(bencher: Bencher<'_, '_>) {
    run(bencher, &Kernel::Keep(Parse::Decimal), 1, |row| format!("{}.{}", row % 500, row % 100));
}

#[divan::bench]
fn keep_date(bencher: Bencher<'_, '_>) {
    run(bencher, &Kernel::Keep(Parse::Date(DateFormats::builtin())), 1, date);
}

#[divan::bench]
fn keep_timestamp(bencher: Bencher<'_, '_>) {
    run(bencher, &Kernel::Keep(Parse::Timestamp(DateFormats::builtin())), 1, instant);
}

#[divan::bench]
fn keep_timestamp_with_offset(bencher: Bencher<'_, '_>) {
    let offset = |row| instant(row).replace('Z', "-05:00");
    run(bencher, &Kernel::Keep(Parse::Timestamp(DateFormats::builtin())), 1, offset);
}

#[divan::bench]
fn year(bencher: Bencher<'_, '_>) {
    run(bencher, &year_rule(false), 1, date);
}

#[divan::bench]
fn year_that_shows_an_age(bencher: Bencher<'_, '_>) {
    run(bencher, &year_rule(true), 1, date);
}

#[divan::bench]
fn age_from_birth(bencher: Bencher<'_, '_>) {
    let rule = AgeRule { reference: REFERENCE, release: None, cap: 90, formats: DateFormats::builtin() };
    run(bencher, &Kernel::AgeFromBirth(rule), 1, date);
}

#[divan::bench]
fn age_cap(bencher: Bencher<'_, '_>) {
    run(bencher, &Kernel::AgeCap { cap: 90 }, 1, |row| (row % 110).to_string());
}

#[divan::bench]
fn zip3(bencher: Bencher<'_, '_>) {
    run(bencher, &Kernel::Zip3(Zip3Rule::default()), 1, |row| format!("{:05}", row * 12 % 100_000));
}

#[divan::bench]
fn zip3_of_zip_plus_4(bencher: Bencher<'_, '_>) {
    run(bencher, &Kernel::Zip3(Zip3Rule::default()), 1, |row| format!("{:05}-{:04}", row * 12 % 100_000, row % 10_000));
}

#[divan::bench]
fn bin_by_edges(bencher: Bencher<'_, '_>) {
    let rule = BinRule::Edges(vec![18.0, 40.0, 65.0]);
    run(bencher, &Kernel::Bin(rule), 1, |row| (row % 110).to_string());
}

#[divan::bench]
fn bin_by_width(bencher: Bencher<'_, '_>) {
    run(bencher, &Kernel::Bin(BinRule::Width { width: 10.0, origin: 0.0 }), 1, |row| (row % 110).to_string());
}

#[divan::bench]
fn first_chars(bencher: Bencher<'_, '_>) {
    run(bencher, &Kernel::FirstChars { n: 3 }, 1, |row| format!("I{row:06}"));
}

#[divan::bench(args = [100, 1000, 8192])]
fn shift_date_typed(bencher: Bencher<'_, '_>, subjects: usize) {
    run(bencher, &shift_rule(ShiftForm::Date), subjects, date);
}

#[divan::bench(args = [100, 1000, 8192])]
fn shift_date_text(bencher: Bencher<'_, '_>, subjects: usize) {
    run(bencher, &shift_rule(ShiftForm::Text), subjects, instant);
}

#[divan::bench]
fn token(bencher: Bencher<'_, '_>) {
    run(bencher, &Kernel::Token { domain: "d".to_owned() }, 1, |row| format!("mrn-{row:07}"));
}

#[divan::bench]
fn hash(bencher: Bencher<'_, '_>) {
    run(bencher, &Kernel::Hash { domain: "d".to_owned() }, 1, |row| format!("mrn-{row:07}"));
}

#[divan::bench]
fn fpe_digits(bencher: Bencher<'_, '_>) {
    run(bencher, &fpe_rule(Alphabet::Digits), 1, |row| format!("999-{:02}-{:04}", row % 100, row % 10_000));
}

#[divan::bench(args = [SurrogateKind::FullName, SurrogateKind::Email, SurrogateKind::Phone])]
fn surrogate(bencher: Bencher<'_, '_>, kind: SurrogateKind) {
    run(bencher, &Kernel::Surrogate(SurrogateRule { kind, of_value: false }), 1000, |row| format!("name {row}"));
}

/// Notes of some 500 bytes; bytes a second besides.
fn note(row: usize) -> String {
    format!(
        "Patient: Maria Hernandez   MRN: 00{:06}\n\nMrs. Hernandez is a 7{}-year-old woman with Parkinson disease and hypertension, seen on \
         March {}, 2021 at Lakewood General Hospital. BP 120/80, HR 72, afebrile. Continue metoprolol 25 mg BID and carbidopa \
         levodopa 25/100. Troponin negative, Na 140, K 4.1, Cr 0.9. Lungs clear to auscultation bilaterally, no murmurs. Her \
         daughter Ngozi (617-482-0{:03}) will drive her home to Duluth, MN 55802. Follow up in two weeks. \n\nSigned: Samir K. \
         Rao, MD",
        row * 37 % 1_000_000,
        row % 10,
        1 + row % 28,
        row % 1000
    )
}

/// What records say of the one subject of a bench.
struct Dossier;

impl Dossiers for Dossier {
    fn add(&self, _: &[Token], _: &KnownFacts) -> Result<(), TokenError> {
        Ok(())
    }

    fn draws(&self, subjects: &[Token], out: &mut Vec<Option<NameDraw>>) -> Result<(), TokenError> {
        out.extend(subjects.iter().map(|_| Some(NameDraw::default())));
        Ok(())
    }

    fn decide(&self, _: &[Token], _: &mut [NameDraw]) -> Result<(), TokenError> {
        Ok(())
    }

    fn known(&self, subjects: &[Token], out: &mut Vec<KnownFacts>) -> Result<(), TokenError> {
        use IdentifierKind::{
            BirthDate, City, Email, MedicalRecordNumber, Name, Phone, PostalCode, Ssn, StreetAddress,
        };
        use Whose::{Provider, Relative, Subject};
        for subject in subjects {
            let mut facts = KnownFacts::default();
            let n = subject.0[15];
            facts.push(Name, Subject, "Maria Elena\u{1f}Hernandez Vega");
            facts.push(Name, Subject, "Maria\u{1f}Vega");
            facts.push(BirthDate, Subject, "1957-03-15");
            facts.push(MedicalRecordNumber, Subject, &format!("00{n:06}"));
            facts.push(Ssn, Subject, &format!("219-09-9{n:03}"));
            facts.push(StreetAddress, Subject, &format!("{n} North Elm Street Apt 4"));
            facts.push(City, Subject, "Duluth");
            facts.push(PostalCode, Subject, "55802");
            facts.push(Phone, Subject, &format!("617-482-0{n:03}"));
            facts.push(Email, Subject, "maria.hernandez57@example.org");
            for name in ["Ngozi\u{1f}Hernandez", "Juan Carlos\u{1f}Hernandez", "Ana\u{1f}Vega"] {
                facts.push(Name, Relative, name);
            }
            for name in
                ["Samir K\u{1f}Rao", "Chidi\u{1f}Okafor", "Grace\u{1f}Lindqvist", "Wei\u{1f}Zhang", "Ann\u{1f}Moore"]
            {
                facts.push(Name, Provider, name);
            }
            for number in 0..10 {
                facts.push(IdentifierKind::UniqueId, Subject, &format!("ENC{n:03}{number:05}"));
            }
            out.push(facts);
        }
        Ok(())
    }
}

#[divan::bench(args = [(false, false), (true, false), (false, true), (true, true)])]
fn scrub(bencher: Bencher<'_, '_>, (surrogates, known): (bool, bool)) {
    let with =
        if surrogates { ScrubWith::Surrogate { max_days: 365, domain: String::new() } } else { ScrubWith::Label };
    let rule = ScrubRule {
        with,
        reference: REFERENCE,
        vintage: Vintage::Union,
        limited: false,
        keep_organizations: false,
        known,
    };
    let bytes: usize = (0..ROWS).map(|row| note(row).len()).sum();
    // 2,048 subjects of four notes each.
    let values: StringViewArray = (0..ROWS).map(|row| Some(note(row))).collect();
    let people: StringViewArray = (0..ROWS).map(|row| Some(format!("patient-{}", row / 4))).collect();
    let (env, token) = tokens_env();
    let subjects = text_of(&token.apply(&Column { values: &people, subjects: None }, &env).unwrap().values);
    let kernel = Kernel::Scrub(rule);
    let column = Column { values: &values, subjects: Some(&subjects) };
    bencher
        .counter(ItemsCount::new(ROWS))
        .counter(BytesCount::new(bytes))
        .bench(|| kernel.apply(&column, &env).unwrap());
}

fn tokens_env() -> (Env, Kernel) {
    let keys = DeidKeys {
        hash: KeyedHash::new(&[1; 32]),
        shift: KeyedHash::new(&[2; 32]),
        surrogate: KeyedHash::new(&[3; 32]),
        fpe: FpeKey::from_bytes([4; 32]),
    };
    let env = Env { tokens: Arc::new(Memory::default()), keys: Arc::new(keys), dossiers: Some(Arc::new(Dossier)) };
    (env, Kernel::Token { domain: "patient".to_owned() })
}
