//! Texts scrubbed with what records say of their subject, whatever those and these are.
//!
//! An input has facts, one a line (a byte for the kind, one for whose it is, and its text), an empty line, and texts, one a line.

use std::sync::{Arc, OnceLock};

use arrow_array::{Array, StringViewArray};
use cordon_deid::kernel::{Column, Day, Env, Kernel, ScrubRule, ScrubWith, Vintage, text_of};
use cordon_phi::{Dossiers, IdentifierKind, Known, KnownFacts, NameDraw, Token, TokenError, Whose};

use crate::kernels::env;

const SUBJECT: Token = Token([7; 16]);
/// As the vault spells it, and a person of whom nothing is known.
const SPELLED: [&str; 2] = ["a4dqobyha4dqobyha4dqobyha4", "bfqsyijbfqsyijbfqsyijbfqsy"];

/// No dossier has more facts, or longer ones.
const MOST_FACTS: usize = 512;
const MOST_BYTES: usize = 64 << 10;

/// Facts that are always known. Their words are no words of the language and no names that are made up.
const OWN: [(IdentifierKind, &str); 6] = [
    (IdentifierKind::Name, "Chukwuemeka\u{1f}Featherstonehaugh"),
    (IdentifierKind::Phone, "617-482-9035"),
    (IdentifierKind::Ssn, "219-47-8836"),
    (IdentifierKind::MedicalRecordNumber, "80467731"),
    (IdentifierKind::Email, "cfeather1957@example.org"),
    (IdentifierKind::StreetAddress, "4817 Thornbury Lane"),
];

/// Spellings of them of which nothing is left where blanks stand around them.
pub const SPELLINGS: [&str; 14] = [
    "Chukwuemeka Featherstonehaugh",
    "FEATHERSTONEHAUGH, CHUKWUEMEKA",
    "C. Featherstonehaugh",
    "Featherstonehaugh",
    "Chukwuemeka",
    "featherstonehaugh",
    "Mr. Featherstonehaugh",
    "617-482-9035",
    "(617) 482-9035",
    "219-47-8836",
    "80467731",
    "cfeather1957@example.org",
    "4817 Thornbury Lane",
    "4817 Thornbury Ln",
];

struct Shelf(Vec<(IdentifierKind, Whose, String)>);

impl Dossiers for Shelf {
    fn add(&self, _: &[Token], _: &KnownFacts) -> Result<(), TokenError> {
        Ok(())
    }

    fn known(&self, subjects: &[Token], out: &mut Vec<KnownFacts>) -> Result<(), TokenError> {
        for subject in subjects {
            let mut facts = KnownFacts::default();
            for (kind, whose, text) in self.0.iter().filter(|_| *subject == SUBJECT) {
                facts.push(*kind, *whose, text);
            }
            out.push(facts);
        }
        Ok(())
    }

    fn draws(&self, subjects: &[Token], out: &mut Vec<Option<NameDraw>>) -> Result<(), TokenError> {
        out.extend(subjects.iter().map(|_| None));
        Ok(())
    }

    fn decide(&self, _: &[Token], _: &mut [NameDraw]) -> Result<(), TokenError> {
        Ok(())
    }
}

/// The facts and texts of an input.
fn parts(text: &str) -> (Shelf, Vec<&str>) {
    let (facts, texts) = text.split_once("\n\n").unwrap_or(("", text));
    let mut known: Vec<_> = OWN.iter().map(|(kind, text)| (*kind, Whose::Subject, (*text).to_owned())).collect();
    let mut bytes = 0;
    for line in facts.split('\n').take(MOST_FACTS - OWN.len()) {
        let mut chars = line.chars();
        let (Some(kind), Some(whose)) = (chars.next(), chars.next()) else { continue };
        let kind = IdentifierKind::ALL[(kind as usize).wrapping_sub('a' as usize) % IdentifierKind::ALL.len()];
        let whose = Whose::ALL[(whose as usize).wrapping_sub('0' as usize) % Whose::ALL.len()];
        bytes += chars.as_str().len();
        if bytes < MOST_BYTES {
            known.push((kind, whose, chars.as_str().replacen('|', &Known::BETWEEN_NAMES.to_string(), 1)));
        }
    }
    (Shelf(known), texts.split('\n').collect())
}

fn scrub(with: ScrubWith) -> Kernel {
    Kernel::Scrub(ScrubRule {
        with,
        reference: Day(20_454),
        vintage: Vintage::Union,
        limited: false,
        keep_organizations: false,
        known: true,
    })
}

fn kernels() -> &'static [Kernel; 2] {
    static KERNELS: OnceLock<[Kernel; 2]> = OnceLock::new();
    KERNELS.get_or_init(|| {
        let surrogate = ScrubWith::Surrogate { max_days: 365, domain: "shift".to_owned() };
        [scrub(ScrubWith::Label), scrub(surrogate)]
    })
}

pub fn warm() {
    find(b"a0Jane|Doe\n\nJane Doe, 3/4/2021");
}

fn run(kernel: &Kernel, rows: &[(&str, &str)], env: &Env) -> Vec<String> {
    let values: StringViewArray = rows.iter().map(|(_, text)| Some(*text)).collect();
    let subjects: StringViewArray = rows.iter().map(|(subject, _)| Some(*subject)).collect();
    let column = Column { values: &values, subjects: Some(&subjects) };
    let outcome = kernel.apply(&column, env).unwrap_or_else(|error| panic!("{error}"));
    assert!(outcome.failures.is_empty() && outcome.values.null_count() == 0 && outcome.values.len() == rows.len());
    text_of(&outcome.values).iter().map(|text| text.unwrap_or_default().to_owned()).collect()
}

pub fn find(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (shelf, texts) = parts(&text);
    let with_dossiers = Env { dossiers: Some(Arc::new(shelf)), ..env() };
    for (kernel, labels) in kernels().iter().zip([true, false]) {
        // Texts of the subject and of somebody of whom nothing is known, in turn.
        let rows: Vec<(&str, &str)> =
            texts.iter().enumerate().map(|(at, text)| (SPELLED[usize::from(at % 3 == 2)], *text)).collect();
        let done = run(kernel, &rows, &with_dossiers);
        for ((subject, text), out) in rows.iter().zip(&done) {
            assert!(!text.is_empty() || out.is_empty(), "a text of nothing");
            if labels {
                assert!(is_text_with_labels(text, out), "what was not found is not what it was");
            }
            if *subject == SPELLED[0] {
                nothing_known_stays(text, out);
            }
        }
        // A text gives what it gives alone, and for whom nothing is known what it gives without dossiers.
        for (row, out) in rows.iter().zip(&done).take(6) {
            assert!(run(kernel, &[*row], &with_dossiers)[0] == *out, "other results in other batches");
            if row.0 == SPELLED[1] {
                assert!(run(kernel, &[*row], &env())[0] == *out, "somebody else's dossier is used");
            }
        }
        spellings(kernel, &texts, &with_dossiers);
    }
}

/// A mark that does not make a longer name, word or number of what stands next to it.
fn parts_words(c: Option<char>) -> bool {
    c.is_none_or(|c| matches!(c, ' ' | '\n' | '\t'))
}

/// Where a spelling stands with blanks around it.
fn stands(text: &str, spelling: &str) -> bool {
    text.match_indices(spelling).any(|(at, _)| {
        parts_words(text[..at].chars().next_back()) && parts_words(text[at + spelling.len()..].chars().next())
    })
}

fn nothing_known_stays(text: &str, out: &str) {
    for spelling in SPELLINGS {
        assert!(!stands(text, spelling) || !stands(out, spelling), "`{spelling}` is left standing");
    }
}

/// A known spelling put into a text of the subject is gone, and what stands around it is not the worse for it.
fn spellings(kernel: &Kernel, texts: &[&str], env: &Env) {
    // So many times a long text would measure the check.
    let Some(text) = texts.first().filter(|text| text.len() < 16 << 10) else { return };
    let at = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let (before, behind) = text.split_at(at);
    let within: Vec<String> = SPELLINGS.iter().map(|spelling| format!("{before} {spelling} {behind}")).collect();
    let rows: Vec<(&str, &str)> = within.iter().map(|text| (SPELLED[0], text.as_str())).collect();
    for ((_, text), out) in rows.iter().zip(run(kernel, &rows, env)) {
        nothing_known_stays(text, &out);
    }
}

const LABELS: [&str; 25] = [
    "[NAME]",
    "[DATE]",
    "[DATE ]",
    "[ZIP]",
    "[ADDRESS]",
    "[CITY]",
    "[COUNTY]",
    "[LOCATION]",
    "[PHONE]",
    "[FAX]",
    "[EMAIL]",
    "[SSN]",
    "[MRN]",
    "[PLAN ID]",
    "[ACCOUNT]",
    "[LICENCE]",
    "[VEHICLE]",
    "[DEVICE]",
    "[URL]",
    "[IP ADDRESS]",
    "[BIOMETRIC]",
    "[PHOTO]",
    "[ORGANIZATION]",
    "[STATE]",
    "[ID]",
];

/// Labels and digits aside (of a ZIP code three may stay or become 000), nothing is there that was not, and in its order.
fn is_text_with_labels(text: &str, out: &str) -> bool {
    let mut left: String = out.chars().filter(|c| !c.is_ascii_digit()).collect();
    for label in LABELS {
        left = left.replace(label, "");
    }
    left = left.replace(" or older", "");
    let mut chars = text.chars();
    left.chars().all(|wanted| chars.any(|c| c == wanted))
}
