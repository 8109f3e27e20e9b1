//! Texts scrubbed with what records say of their subject: `cases/narrative/<law>.yaml`, and laws for every fact and spelling.
//!
//! A case has facts (`[WHOSE] KIND: TEXT`, of names with `given | family`) and texts with what must come out with labels and with
//! surrogates. In the latter `{first}`, `{last}`, `{phone}` … stand for what the kernel `surrogate` gives for the subject, `{FIRST}`
//! for it in capitals, `{f}` and `{l}` for initials, `{relative NAME first}` for somebody else's.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use arrow_array::{Array, StringViewArray};
use cordon_deid::kernel::{Column, Day, Env, Kernel, ScrubRule, ScrubWith, SurrogateKind, SurrogateRule, Vintage, text_of};
use cordon_phi::{Dossiers, IdentifierKind, Known, KnownFacts, Token, TokenError, Whose};
use serde::Deserialize;

use super::kernel_cases::env;

/// A store of dossiers in memory.
#[derive(Default)]
pub struct Shelf(Mutex<HashMap<Token, Vec<(IdentifierKind, Whose, String)>>>);

impl Dossiers for Shelf {
    fn add(&self, subjects: &[Token], facts: &KnownFacts) -> Result<(), TokenError> {
        let mut shelf = self.0.lock().unwrap();
        for (subject, known) in subjects.iter().zip(facts.iter()) {
            shelf.entry(*subject).or_default().push((known.kind, known.whose, known.text.to_owned()));
        }
        Ok(())
    }

    fn known(&self, subjects: &[Token], out: &mut Vec<KnownFacts>) -> Result<(), TokenError> {
        let shelf = self.0.lock().unwrap();
        for subject in subjects {
            let mut facts = KnownFacts::default();
            for (kind, whose, text) in shelf.get(subject).into_iter().flatten() {
                facts.push(*kind, *whose, text);
            }
            out.push(facts);
        }
        Ok(())
    }
}

pub const SUBJECT: Token = Token([7; 16]);

pub fn spelled(token: Token) -> String {
    data_encoding::BASE32_NOPAD.encode(&token.0).to_lowercase()
}

pub fn env_with(subject: Token, facts: &KnownFacts) -> Env {
    let shelf = Shelf::default();
    shelf.add(&vec![subject; facts.len()], facts).unwrap();
    Env { dossiers: Some(Arc::new(shelf)), ..env() }
}

pub fn scrub(surrogates: bool) -> Kernel {
    let with = if surrogates { ScrubWith::Surrogate { max_days: 365, domain: String::new() } } else { ScrubWith::Label };
    Kernel::Scrub(ScrubRule {
        with,
        reference: Day(20_454),
        vintage: Vintage::Union,
        limited: false,
        keep_organizations: false,
        known: true,
    })
}

pub fn apply(kernel: &Kernel, texts: &[&str], subject: &str, env: &Env) -> Vec<String> {
    let values: StringViewArray = texts.iter().map(|text| Some(*text)).collect();
    let subjects: StringViewArray = texts.iter().map(|_| Some(subject)).collect();
    let outcome = kernel.apply(&Column { values: &values, subjects: Some(&subjects) }, env).unwrap();
    assert!(outcome.failures.is_empty());
    text_of(&outcome.values).iter().map(|text| text.unwrap_or_default().to_owned()).collect()
}

pub fn surrogate(kind: SurrogateKind, seed: &str, env: &Env) -> String {
    apply(&Kernel::Surrogate(SurrogateRule { kind, of_value: false }), &["x"], seed, env).remove(0)
}

/// The seed of somebody who is not the subject, as structured data have it.
fn seed_of_other(role: &str, name: &str, env: &Env) -> String {
    let mut words: Vec<String> = name.split_whitespace().map(str::to_lowercase).collect();
    words.sort();
    let subject = if role == "provider" { String::new() } else { spelled(SUBJECT) };
    let identity = format!("{role}\u{1f}{subject}\u{1f}{}", words.join(" "));
    let mut tokens = Vec::new();
    env.tokens.get_or_create("other people", &[identity.as_bytes()], &mut tokens).unwrap();
    spelled(tokens[0])
}

pub fn facts_of(lines: &[String]) -> KnownFacts {
    let mut facts = KnownFacts::default();
    for line in lines {
        let (what, text) = line.split_once(": ").unwrap_or_else(|| panic!("a fact without its kind: {line}"));
        let (whose, kind) = match what.split_once(' ') {
            Some(("relative", kind)) => (Whose::Relative, kind),
            Some(("provider", kind)) => (Whose::Provider, kind),
            Some((other, _)) => panic!("nobody is {other}"),
            None if what == "organization" => (Whose::Organization, what),
            None => (Whose::Subject, what),
        };
        let kind = if kind == "mrn" { "medical-record-number" } else { kind };
        let kind: IdentifierKind = kind.parse().unwrap_or_else(|_| panic!("no kind: {line}"));
        let text = match text.split_once('|').filter(|_| kind == IdentifierKind::Name) {
            Some((given, family)) => format!("{}{}{}", given.trim(), Known::BETWEEN_NAMES, family.trim()),
            None => text.to_owned(),
        };
        assert!(facts.push(kind, whose, &text), "{line}");
    }
    facts
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    facts: Vec<String>,
    notes: Vec<Note>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    #[serde(rename = "in")]
    text: String,
    label: Option<String>,
    surrogate: Option<String>,
    /// Nothing of it is replaced, either way.
    #[serde(default)]
    stays: bool,
}

/// The expected text with its places filled.
fn filled(expected: &str, env: &Env) -> String {
    let mut out = String::new();
    let mut rest = expected;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (place, behind) = after.split_once('}').unwrap();
        rest = behind;
        let words: Vec<&str> = place.split(' ').collect();
        let (seed, what) = match words.as_slice() {
            [role, name @ .., what] => (seed_of_other(role, &name.join(" "), env), *what),
            [what] => (spelled(SUBJECT), *what),
            [] => panic!("an empty place"),
        };
        let kind = match what.to_lowercase().as_str() {
            "first" | "f" => SurrogateKind::FirstName,
            "last" | "l" => SurrogateKind::LastName,
            "phone" | "phone-end" => SurrogateKind::Phone,
            "number" => SurrogateKind::RecordNumber,
            "ssn" | "ssn-end" => SurrogateKind::Ssn,
            "email" => SurrogateKind::Email,
            "street" => SurrogateKind::StreetAddress,
            "city" => SurrogateKind::City,
            other => panic!("no place {other}"),
        };
        let value = surrogate(kind, &seed, env);
        let value = match what {
            "f" | "l" => value[..1].to_owned(),
            "FIRST" | "LAST" => value.to_uppercase(),
            "phone-end" => value[value.len() - 8..].to_owned(),
            "ssn-end" => value[value.len() - 4..].to_owned(),
            _ if what.starts_with(char::is_uppercase) => value.to_lowercase(),
            _ => value,
        };
        out.push_str(&value);
    }
    out.push_str(rest);
    out
}

fn check(path: &Path) -> (usize, Vec<String>) {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let case: Case = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap())
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let env = env_with(SUBJECT, &facts_of(&case.facts));
    let mut wrong = Vec::new();
    for note in &case.notes {
        let expected = [note.label.as_ref(), note.surrogate.as_ref()];
        assert!(note.stays || expected.iter().any(Option::is_some), "{name}: nothing is expected of {:?}", note.text);
        for (surrogates, expected) in [false, true].into_iter().zip(expected) {
            let stays = note.stays.then_some(&note.text);
            let Some(expected) = expected.or(stays) else { continue };
            let expected = if surrogates { filled(expected, &env) } else { expected.clone() };
            let found = apply(&scrub(surrogates), &[&note.text], &spelled(SUBJECT), &env).remove(0);
            if found != expected {
                wrong.push(format!("{name}: {:?}\n  expected {expected:?}\n  found    {found:?}", note.text));
            }
        }
    }
    (case.notes.len(), wrong)
}

#[test]
fn cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/narrative");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut count, mut wrong) = (0, Vec::new());
    for file in &files {
        let (notes, found) = check(file);
        count += notes;
        wrong.extend(found);
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 60, "{count}");
}
