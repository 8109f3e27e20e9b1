//! Texts scrubbed with what records say of their subject: `cases/narrative/<law>.yaml`, and laws for every fact and spelling.
//!
//! A case has facts (`[WHOSE] KIND: TEXT`, of names with `given | family`) and texts with what must come out with labels and with
//! surrogates. In the latter `{first}`, `{last}`, `{phone}` … stand for what the kernel `surrogate` gives for the subject, `{FIRST}`
//! for it in capitals, `{f}` and `{l}` for initials, `{relative NAME first}` for somebody else's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow_array::{Array, StringViewArray};
use cordon_deid::kernel::{
    Column, Day, Env, Kernel, ScrubRule, ScrubWith, SurrogateKind, SurrogateRule, Vintage, text_of,
};
use cordon_phi::{Dossiers, IdentifierKind, Known, KnownFacts, NameDraw, Token, TokenError, Whose};
use serde::Deserialize;

use super::kernel_cases::env;

type Facts = Vec<(IdentifierKind, Whose, String)>;

/// A store of dossiers in memory.
#[derive(Default)]
pub struct Shelf(Mutex<HashMap<Token, Facts>>, Mutex<HashMap<Token, NameDraw>>);

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

    fn draws(&self, subjects: &[Token], out: &mut Vec<Option<NameDraw>>) -> Result<(), TokenError> {
        let draws = self.1.lock().unwrap();
        out.extend(subjects.iter().map(|subject| draws.get(subject).copied()));
        Ok(())
    }

    fn decide(&self, subjects: &[Token], draws: &mut [NameDraw]) -> Result<(), TokenError> {
        let mut known = self.1.lock().unwrap();
        for (subject, draw) in subjects.iter().zip(draws) {
            *draw = *known.entry(*subject).or_insert(*draw);
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
    let with =
        if surrogates { ScrubWith::Surrogate { max_days: 365, domain: String::new() } } else { ScrubWith::Label };
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
    surrogate_of(kind, "x", seed, env)
}

fn surrogate_of(kind: SurrogateKind, written: &str, seed: &str, env: &Env) -> String {
    apply(&Kernel::Surrogate(SurrogateRule { kind, of_value: false }), &[written], seed, env).remove(0)
}

/// The seed of somebody who is not the subject, as structured data have it.
fn seed_of_other(role: &str, name: &str, env: &Env) -> String {
    let mut words: Vec<String> = name.split_whitespace().map(str::to_lowercase).collect();
    words.sort();
    let subject = if role == "provider" { String::new() } else { spelled(SUBJECT) };
    let identity = format!("{role}\u{1f}{subject}\u{1f}{}", words.join(" "));
    let mut tokens = Vec::new();
    env.tokens.get_or_create("other people", &[identity.as_bytes()], &mut tokens).unwrap();
    spelled(tokens[0]) + "+"
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
        // `{phone=617.555.0143}`: as structured data give it for a number so written.
        let (place, written) = place.split_once('=').unwrap_or((place, "x"));
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
        let value = surrogate_of(kind, written, &seed, env);
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

/// A small generator of its own, so that the spellings are the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }

    /// One letter more, less, other, or two swapped; another word than before, and none of the language.
    fn slip(&mut self, word: &str) -> String {
        use cordon_detect::tagger::{Tagger, features, lexicon::flag};
        const WORDS: u32 = flag::ENGLISH | flag::COMMON | flag::CLINICAL | flag::DRUG | flag::EPONYM | flag::LABEL;
        for _ in 0..100 {
            let mut letters: Vec<char> = word.chars().collect();
            let at = self.roll(letters.len() - 1);
            let letter = (b'a' + self.roll(26) as u8) as char;
            match self.roll(4) {
                0 => letters.insert(at + 1, letter),
                1 => {
                    letters.remove(at + 1);
                }
                2 => letters[at + 1] = letter,
                _ if at > 0 => letters.swap(at, at + 1),
                _ => {}
            }
            let slipped: String = letters.into_iter().collect();
            let mut folded = Vec::new();
            features::fold(&slipped, &mut folded);
            let flags = Tagger::shipped().flags(&folded);
            if slipped != word
                && flags & (WORDS | flag::FIRST | flag::LAST | flag::NICK | flag::TITLE | flag::STATE) == 0
            {
                return slipped;
            }
        }
        word.to_owned()
    }
}

const GIVEN: [&str; 16] = [
    "Marguerite",
    "Thelonious",
    "Guadalupe",
    "Chukwuemeka",
    "Svetlana",
    "Hiroshi",
    "Bartholomew",
    "Ximena",
    "Oluwaseun",
    "Katarzyna",
    "Mary-Ann",
    "Jean-Luc",
    "José",
    "Zoë",
    "Aoife",
    "Nguyet",
];
const FAMILY: [&str; 16] = [
    "Wojciechowski",
    "Hernandez",
    "Okonkwo",
    "Papadopoulos",
    "O'Shaughnessy",
    "van der Linden",
    "De la Fuente",
    "Yamamoto",
    "Kowalczyk",
    "Garcia Lorca",
    "Featherstonehaugh",
    "McAllister",
    "Szymańska",
    "Al-Rashid",
    "Nguyen",
    "Ramaswamy",
];
const FRAMES: [&str; 8] = [
    "Seen today: {} for follow up of hypertension.",
    "Per {}, the pain is worse at night.",
    "Assessment and plan for {}. Continue lisinopril 10 mg daily.",
    "{} denies chest pain, fever, or chills.",
    "spoke with {} by phone; no new complaints",
    "PATIENT {} TOLERATED PROCEDURE WELL",
    "I reviewed the record of {} and agree.",
    "- {}\n- labs stable\n",
];

fn title_less(text: &str) -> String {
    let mut folded = Vec::new();
    cordon_detect::tagger::features::fold(text, &mut folded);
    String::from_utf8_lossy(&folded).into_owned()
}

fn words_of(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'' && !('\u{300}'..='\u{36f}').contains(&c))
        .map(title_less)
        .filter(|word| word.len() > 2)
        .collect()
}

/// The ways in which a name is written.
fn spell_name(dice: &mut Dice, given: &str, family: &str) -> String {
    let initial = &given[..given.char_indices().nth(1).unwrap().0];
    let mut parts = [given.to_owned(), family.to_owned()];
    if dice.roll(3) == 0 {
        let part = dice.roll(2);
        let words: Vec<&str> = parts[part].split(' ').collect();
        let longest = words.iter().max_by_key(|word| word.len()).unwrap().to_string();
        if longest.chars().count() > 4 && longest.chars().all(char::is_alphabetic) {
            let slipped = dice.slip(&longest);
            parts[part] = parts[part].replace(&longest, &slipped);
        }
    }
    let [given, family] = parts;
    let spelled = match dice.roll(11) {
        0 => format!("{given} {family}"),
        1 => format!("{family}, {given}"),
        2 => format!("{family},{given}"),
        3 => format!("{initial}. {family}"),
        4 => format!("{family}, {initial}."),
        5 => format!("Mr. {family}"),
        6 => format!("{given} {family}'s"),
        7 => format!("{given}\n{family}"),
        8 => format!("{given} X. {family}"),
        9 => format!("{given} {}", family.replace(['\'', '-'], "")),
        _ => format!("{given} {}", family.replace(' ', "")),
    };
    match dice.roll(4) {
        0 => spelled.to_uppercase(),
        1 => spelled.to_lowercase(),
        _ => spelled,
    }
}

#[test]
fn no_spelling_of_a_name_survives() {
    let mut dice = Dice(20_260_101);
    let mut leaks = Vec::new();
    let (mut count, mut unknown) = (0, 0);
    for person in 0..400 {
        let (given, family) = (dice.pick(&GIVEN), dice.pick(&FAMILY));
        let facts = facts_of(&[format!("name: {given} | {family}")]);
        let env = env_with(SUBJECT, &facts);
        let spellings: Vec<(String, String)> = (0..8)
            .map(|_| {
                let spelled = spell_name(&mut dice, given, family);
                (dice.pick(&FRAMES).replace("{}", &spelled), spelled)
            })
            .collect();
        let texts: Vec<&str> = spellings.iter().map(|(text, _)| text.as_str()).collect();
        // The detector alone misses some: what is shown here is not its doing.
        let detected = apply(&scrub(false), &texts, "nobody", &env);
        unknown += spellings.iter().zip(detected).filter(|((_, spelled), found)| found.contains(spelled)).count();
        for surrogates in [false, true] {
            let found = apply(&scrub(surrogates), &texts, &spelled(SUBJECT), &env);
            for ((text, spelled), found) in spellings.iter().zip(found) {
                count += 1;
                let standing = words_of(&found);
                const NOBODY: [&str; 8] = ["van", "der", "mcallister's", "name", "and", "the", "al", "fuentes"];
                let made_up = if surrogates { surrogate_names(&env) } else { Vec::new() };
                for word in words_of(spelled) {
                    let word = word.strip_suffix("'s").unwrap_or(&word).to_owned();
                    if standing.contains(&word) && !NOBODY.contains(&word.as_str()) && !made_up.contains(&word) {
                        leaks.push(format!("{person} {surrogates} {word} of {given}|{family}: {text:?} -> {found:?}"));
                    }
                }
            }
        }
    }
    assert!(unknown > 100, "{unknown}");
    assert!(leaks.is_empty(), "{} of {count}:\n{}", leaks.len(), leaks[..leaks.len().min(25)].join("\n"));
}

fn surrogate_names(env: &Env) -> Vec<String> {
    [SurrogateKind::FirstName, SurrogateKind::LastName]
        .map(|kind| surrogate(kind, &spelled(SUBJECT), env).to_lowercase())
        .to_vec()
}

/// A value of a kind, and the ways in which it is written.
fn spell_value(dice: &mut Dice, kind: usize) -> (String, String) {
    let digits = |dice: &mut Dice, count: usize| -> String {
        (0..count).map(|at| char::from(b'0' + if at == 0 { 2 + dice.roll(8) } else { dice.roll(10) } as u8)).collect()
    };
    match kind {
        0 => {
            let n = digits(dice, 10);
            let (a, b, c) = (&n[..3], &n[3..6], &n[6..]);
            let written = match dice.roll(8) {
                0 => format!("({a}) {b}-{c}"),
                1 => format!("{a}-{b}-{c}"),
                2 => format!("{a}.{b}.{c}"),
                3 => n.clone(),
                4 => format!("+1 {a} {b} {c}"),
                5 => format!("1-{a}-{b}-{c}"),
                6 => format!("{a}/{b}-{c}"),
                _ => format!("({a}){b}-{c}"),
            };
            (format!("phone: {a}-{b}-{c}"), written)
        }
        1 => {
            let n = digits(dice, 9);
            let (a, b, c) = (&n[..3], &n[3..5], &n[5..]);
            let written = match dice.roll(4) {
                0 => format!("{a}-{b}-{c}"),
                1 => n.clone(),
                2 => format!("{a} {b} {c}"),
                _ => format!("{a}.{b}.{c}"),
            };
            (format!("ssn: {a}-{b}-{c}"), written)
        }
        2 => {
            let count = 7 + dice.roll(4);
            let n = digits(dice, count);
            let written = match dice.roll(5) {
                0 => n.clone(),
                1 => format!("000{n}"),
                2 => format!("{}-{}", &n[..3], &n[3..]),
                3 => format!("#{n}"),
                // Two digits swapped or one doubled.
                _ => format!("{}{}{}", &n[..4], &n[3..4], &n[4..]),
            };
            (format!("mrn: {n}"), written)
        }
        3 => {
            let n = digits(dice, 6);
            let written = match dice.roll(4) {
                0 => format!("abq{n}"),
                1 => format!("ABQ-{n}"),
                2 => format!("ABQ {n}"),
                _ => format!("abq/{n}"),
            };
            (format!("health-plan-id: ABQ{n}"), written)
        }
        _ => {
            let n = 1 + dice.roll(9998);
            let street = dice.pick(&["Kensington", "Wisteria", "Thornbury", "Quarry Hill", "Saint Clair"]);
            let (long, short) =
                [("Street", "St."), ("Avenue", "Ave"), ("Boulevard", "Blvd"), ("Lane", "Ln")][dice.roll(4)];
            let written = match dice.roll(6) {
                0 => format!("{n} {street} {short}"),
                1 => format!("{n} {} {}", street.to_uppercase(), long.to_uppercase()),
                2 => format!("{n} {street}"),
                3 => format!("{n} {}, apt 9", street.to_lowercase()),
                4 => format!("{n} {} {short} #9", street.replace("Saint", "St.")),
                _ => format!("{n} {street}\n{long}"),
            };
            (format!("street-address: {n} {street} {long} Apt 9"), written)
        }
    }
}

#[test]
fn no_spelling_of_a_number_or_street_survives() {
    let mut dice = Dice(7);
    let mut leaks = Vec::new();
    for kind in 0..5 {
        for _ in 0..400 {
            let (fact, written) = spell_value(&mut dice, kind);
            let env = env_with(SUBJECT, &facts_of(std::slice::from_ref(&fact)));
            let text = format!("Reached via {written} on file. Potassium 4.1, BP 120/80.");
            let found = apply(&scrub(false), &[&text], &spelled(SUBJECT), &env).remove(0);
            let wanted: Vec<String> = words_of(&written).into_iter().filter(|word| word != "apt").collect();
            let standing = words_of(&found);
            if wanted.iter().any(|word| standing.contains(word)) || !found.contains("Potassium 4.1, BP 120/80.") {
                leaks.push(format!("{fact}: {text:?} -> {found:?}"));
            }
        }
    }
    assert!(leaks.is_empty(), "{}:\n{}", leaks.len(), leaks[..leaks.len().min(25)].join("\n"));
}

#[test]
fn a_text_without_a_known_subject_is_scrubbed_as_ever() {
    let env = env_with(SUBJECT, &facts_of(&["name: Maria | Hernandez".to_owned()]));
    let text = "the zyxw protocol of marai";
    let values = StringViewArray::from(vec![Some(text), Some(text), None, Some("")]);
    let other = spelled(Token([9; 16]));
    let subjects = StringViewArray::from(vec![None, Some(other.as_str()), Some("p1"), Some("p1")]);
    for surrogates in [false, true] {
        let outcome = scrub(surrogates).apply(&Column { values: &values, subjects: Some(&subjects) }, &env).unwrap();
        assert!(outcome.failures.is_empty());
        let texts = text_of(&outcome.values);
        assert_eq!((texts.value(0), texts.value(1)), (text, text));
        assert!(texts.is_null(2) && texts.value(3).is_empty());
    }
}

#[test]
fn hostile_texts_and_dossiers_take_no_longer_than_their_length() {
    let mut lines: Vec<String> = (0..400).map(|n| format!("name: Aaaaa{n} | Hernandez")).collect();
    lines.extend((0..400).map(|n| format!("street-address: {n} Elm Street")));
    let env = env_with(SUBJECT, &facts_of(&lines));
    let words = ["hernandez ", "elm-", "1-", "M.", "(((O'", "(MH) hernandez "];
    for text in words.map(|word| word.repeat(20_000 / word.len())) {
        let start = std::time::Instant::now();
        apply(&scrub(true), &[&text], &spelled(SUBJECT), &env);
        assert!(start.elapsed().as_secs() < 30, "{}", &text[..8]);
    }
}

#[test]
fn texts_of_others_are_touched_by_a_dossier_in_no_word() {
    let named = std::env::var_os("CORDON_SHARED_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).map(|root| root.join("shared/data"));
    let file = named.or(beside).unwrap().join("notes/asq-phi-half.txt");
    let Ok(text) = std::fs::read_to_string(&file) else {
        eprintln!("skipped: {} is not there", file.display());
        return;
    };
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.starts_with(['{', '=']) && !line.is_empty()).take(250).collect();
    for (given, family) in [("Rose", "Brown"), ("Martin", "Waters"), ("Hector", "Marin"), ("Grace", "Parkinson")] {
        let facts =
            [format!("name: {given} | {family}"), "city: Orange".to_owned(), "relative name: Joy | Young".to_owned()];
        let env = env_with(SUBJECT, &facts_of(&facts));
        let known = apply(&scrub(false), &lines, &spelled(SUBJECT), &env);
        let detected = apply(&scrub(false), &lines, "nobody", &env);
        let changed = known.iter().zip(&detected).filter(|(known, detected)| known != detected).count();
        assert!(changed <= 1, "{given} {family}: {changed} of {}", lines.len());
    }
}

fn lines(list: &str) -> std::collections::HashSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernel/names").join(list);
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn made_up_given_names_go_with_the_sex_of_the_dossier_wherever_they_stand() {
    let (female, male) = (lines("female.txt"), lines("male.txt"));
    let mut seen = [0, 0];
    for number in 0..120_u8 {
        let subject = Token([number; 16]);
        for (said, pool) in
            [(&["f"][..], Some(&female)), (&["m"][..], Some(&male)), (&["f", "m"][..], None), (&[][..], None)]
        {
            let mut facts = facts_of(&["name: Maria|Hernandez".to_owned()]);
            for sex in said {
                facts.push(IdentifierKind::Demographic, Whose::Subject, sex);
            }
            let env = env_with(subject, &facts);
            let seed = spelled(subject);
            let first = surrogate(SurrogateKind::FirstName, &seed, &env);
            if let Some(pool) = pool {
                assert!(pool.contains(&first), "{first} is no name of {said:?}");
            } else {
                seen[0] += usize::from(female.contains(&first));
                seen[1] += usize::from(male.contains(&first));
            }
            // In notes, whole names and mail addresses alike.
            let note = apply(&scrub(true), &["Maria was seen."], &seed, &env).remove(0);
            assert_eq!(note, format!("{first} was seen."));
            assert!(surrogate(SurrogateKind::FullName, &seed, &env).starts_with(&first));
            assert!(surrogate(SurrogateKind::Email, &seed, &env).starts_with(&first.to_lowercase()));
        }
    }
    assert!(seen.iter().all(|count| *count > 30), "of those without, names are of both: {seen:?}");
}

#[test]
fn nobody_is_given_a_name_of_their_own() {
    for number in 0..60_u8 {
        let subject = Token([number; 16]);
        let seed = spelled(subject);
        let by_chance = env_with(subject, &facts_of(&["name: Maria|Hernandez".to_owned()]));
        let name = |kind, env: &Env| surrogate(kind, &seed, env);
        let (first, last) = (name(SurrogateKind::FirstName, &by_chance), name(SurrogateKind::LastName, &by_chance));
        // As some record may spell it.
        let env = env_with(subject, &facts_of(&[format!("name: {}|Vega-{last}", first.to_uppercase())]));
        let (other_first, other_last) = (name(SurrogateKind::FirstName, &env), name(SurrogateKind::LastName, &env));
        assert_ne!(other_first, first);
        assert_ne!(other_last, last);
        assert_eq!(name(SurrogateKind::FullName, &env), format!("{other_first} {other_last}"));
        let note = apply(&scrub(true), &["Mr. Vega was seen."], &seed, &env);
        assert_eq!(note, [format!("Mr. {other_last} was seen.")]);
    }
}

#[test]
fn what_records_say_later_changes_no_name() {
    let seed = spelled(SUBJECT);
    let env = env_with(SUBJECT, &facts_of(&["name: Maria|Hernandez".to_owned()]));
    let names = |env: &Env| [SurrogateKind::FirstName, SurrogateKind::LastName].map(|kind| surrogate(kind, &seed, env));
    let before = names(&env);
    let mut later = facts_of(&[format!("name: {}|{}", before[0], before[1])]);
    for sex in ["f", "m", "f"] {
        later.push(IdentifierKind::Demographic, Whose::Subject, sex);
        env.dossiers.as_ref().unwrap().add(&vec![SUBJECT; later.len()], &later).unwrap();
        assert_eq!(names(&env), before);
    }
}
