//! Invented values that look real.
//!
//! What is invented follows from the key and the subject, so that one person has one name, one address and one number
//! of each kind in every table and note. A row without a subject fails: what follows from the value is derived from
//! information about the individual, which 164.514(c)(1) forbids. An expert may let it follow from the value, so that
//! equal values stay equal; a full name then has nothing in common with its parts. Nothing of the value shows in the
//! outcome, except by the chance that the pools hold it, and how it was written: a phone number and a social security number
//! keep their signs, a name, an address and a company all capitals or none ([`spelling`](super::spelling)).
//!
//! Family names are the most frequent of the census of 1990, given names those that it has for women or for men alone, less
//! those that are words of medicine (`names/*.txt`). Each is as likely as any other whatever the person's own name is: the made-up
//! one tells nothing of origin, and two people with one made-up name nothing of either. All else is drawn from lists of the
//! crate `fake`. The pools are part of what is drawn: when they change, every surrogate does, and a test notices.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use cordon_crypto::KeyedHash;
use cordon_phi::{NameDraw, Sex};
use fake::locales::{Data, EN};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::naming::Draws;
use super::spelling::{keep_case, push_phone, push_ssn};
use super::text::{to_text, trimmed};
use super::{Column, Env, KernelError, Outcome, Reason};

/// Which value is invented, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SurrogateRule {
    pub kind: SurrogateKind,
    /// Without a subject it follows from the value: by expert determination only.
    #[serde(default)]
    pub of_value: bool,
}

/// What is invented. One subject has one name, address, number … of each kind, everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SurrogateKind {
    FirstName,
    LastName,
    /// The first and the last name of the same subject.
    FullName,
    StreetAddress,
    City,
    /// In 555-0100 to 555-0199, which the numbering plan keeps for fiction. In the signs of the value, without its extension.
    Phone,
    /// From the surrogate name, at example.org, .com or .net (RFC 2606).
    Email,
    /// With an area number of 900 to 999, which is never issued. In the signs of the value.
    Ssn,
    /// Eight digits.
    RecordNumber,
    /// Below https://example.org/ (RFC 2606).
    Url,
    Company,
}

/// What a draw is for, where it is for a subject.
const SUBJECT: &[u8] = b"subject";

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let lines = |text: &'static str| text.lines().collect::<Vec<_>>();
    let (female, male) = (lines(include_str!("names/female.txt")), lines(include_str!("names/male.txt")));
    let given = [&female[..], &male[..]].concat();
    Names { family: lines(include_str!("names/family.txt")), female, male, given }
});

struct Names {
    family: Vec<&'static str>,
    female: Vec<&'static str>,
    male: Vec<&'static str>,
    /// Those of women and of men.
    given: Vec<&'static str>,
}

const STREET_SUFFIXES: &[&str] = EN::ADDRESS_STREET_SUFFIX;
const CITY_PREFIXES: &[&str] = EN::ADDRESS_CITY_PREFIX;
const CITY_SUFFIXES: &[&str] = EN::ADDRESS_CITY_SUFFIX;
const COMPANY_SUFFIXES: &[&str] = EN::COMPANY_SUFFIX;

impl SurrogateKind {
    /// What the kind is drawn by. Names and e-mail addresses share one draw, as they show the same name.
    fn label(self) -> &'static str {
        match self {
            Self::FirstName | Self::LastName | Self::FullName | Self::Email => "name",
            Self::StreetAddress => "street-address",
            Self::City => "city",
            Self::Phone => "phone",
            Self::Ssn => "ssn",
            Self::RecordNumber => "record-number",
            Self::Url => "url",
            Self::Company => "company",
        }
    }

    fn is_of_name(self) -> bool {
        matches!(self, Self::FirstName | Self::LastName | Self::FullName | Self::Email)
    }

    /// Writes it as `written` was.
    fn write(self, draw: &Drawn, written: &str, out: &mut String) -> std::fmt::Result {
        let start = out.len();
        self.write_plain(draw, written, out)?;
        match self {
            Self::FirstName | Self::LastName | Self::FullName | Self::StreetAddress | Self::City | Self::Company => {
                keep_case(out, start, written);
            }
            Self::Phone | Self::Email | Self::Ssn | Self::RecordNumber | Self::Url => {}
        }
        Ok(())
    }

    fn write_plain(self, drawn: &Drawn, written: &str, out: &mut String) -> std::fmt::Result {
        let names = &*NAMES;
        let Drawn { draw, first, last } = drawn;
        match self {
            Self::FirstName => out.write_str(first),
            Self::LastName => out.write_str(last),
            Self::FullName => write!(out, "{first} {last}"),
            Self::Email => {
                let domain = draw.from(2, &["com", "net", "org"]);
                push_plain(out, first);
                out.push('.');
                push_plain(out, last);
                write!(out, "{}@example.{domain}", draw.number(3, 100))
            }
            Self::StreetAddress => {
                write!(out, "{} {last} {}", 1 + draw.number(2, 9999), draw.from(3, STREET_SUFFIXES))
            }
            Self::City => {
                // One in eight has no prefix.
                let prefix = draw.number(2, CITY_PREFIXES.len() + 1);
                if let Some(prefix) = CITY_PREFIXES.get(prefix) {
                    write!(out, "{prefix} ")?;
                }
                write!(out, "{last}{}", draw.from(3, CITY_SUFFIXES))
            }
            Self::Phone => {
                // Area codes are [2-9][0-8][0-9]; those that end in 11 are services.
                let (two, one) = (draw.number(1, 8 * 9), draw.number(2, 10));
                let (hundreds, tens) = (2 + two / 9, two % 9);
                let one = if (tens, one) == (1, 1) { 2 } else { one };
                let [t, o] = two_digits(draw.number(3, 100));
                let digits = [digit(hundreds), digit(tens), digit(one), b'5', b'5', b'5', b'0', b'1', t, o];
                if push_phone(out, &digits, written) || push_phone(out, &digits, "000-000-0000") {
                    Ok(())
                } else {
                    Err(std::fmt::Error)
                }
            }
            Self::Ssn => {
                // Groups 50 and above with an area number of 900 to 999 are tax-payer numbers (ITIN).
                let (area, group, serial) = (draw.number(1, 100), 1 + draw.number(2, 49), 1 + draw.number(3, 9999));
                let ([a, b], [c, d]) = (two_digits(area), two_digits(group));
                let ([e, f], [g, h]) = (two_digits(serial / 100), two_digits(serial % 100));
                let digits = [b'9', a, b, c, d, e, f, g, h];
                if push_ssn(out, &digits, written) || push_ssn(out, &digits, "000-00-0000") {
                    Ok(())
                } else {
                    Err(std::fmt::Error)
                }
            }
            Self::RecordNumber => write!(out, "{}", 10_000_000 + draw.number(0, 90_000_000)),
            Self::Url => write!(out, "https://example.org/{:012x}", draw.number(0, 1 << 48)),
            Self::Company => match draw.number(2, 3) {
                0 => write!(out, "{last} {}", draw.from(3, COMPANY_SUFFIXES)),
                1 => write!(out, "{last}-{}", draw.from(3, &names.family)),
                _ => write!(out, "{last} and {}", draw.from(3, &names.family)),
            },
        }
    }
}

pub(super) fn apply(rule: SurrogateRule, column: &Column<'_>, env: &Env) -> Result<Outcome, KernelError> {
    let key = env.keys.surrogate.derive(rule.kind.label());
    let draws = if rule.kind.is_of_name() { Draws::of(column, env)? } else { Draws::default() };
    let (values, failures) = to_text(column.values, |row, value, out| {
        if trimmed(value).is_empty() {
            return Ok(false);
        }
        // The first part keeps a value from being taken for a subject of the same spelling.
        let (what, of): (&[u8], _) = match column.subject(row) {
            Some(subject) => (SUBJECT, subject),
            None if rule.of_value => (b"value", value),
            None => return Err(Reason::NoSubject),
        };
        Ok(rule.kind.write(&Drawn::new(&key, what, of, draws.get(of)), trimmed(value), out).is_ok())
    });
    Ok(Outcome { values: Arc::new(values), failures })
}

/// What [`apply`] gives for a value of a subject.
pub(super) fn of_subject(
    kind: SurrogateKind,
    key: &KeyedHash,
    subject: &str,
    name: NameDraw,
    value: &str,
    out: &mut String,
) -> bool {
    let name = if kind.is_of_name() { name } else { NameDraw::default() };
    let drawn = Drawn::new(&key.derive(kind.label()), SUBJECT, trimmed(subject), name);
    kind.write(&drawn, trimmed(value), out).is_ok()
}

/// The made-up given name of a subject.
pub(super) fn given_name(key: &KeyedHash, subject: &str, name: NameDraw) -> &'static str {
    Drawn::new(&key.derive(SurrogateKind::FirstName.label()), SUBJECT, subject, name).first
}

/// The made-up family name of a subject.
pub(super) fn family_name(key: &KeyedHash, subject: &str, name: NameDraw) -> &'static str {
    Drawn::new(&key.derive(SurrogateKind::LastName.label()), SUBJECT, subject, name).last
}

/// Invents in place of one value of a subject: the same value, however it is punctuated, gives the same, punctuated as it is.
pub(super) fn invent(kind: SurrogateKind, key: &KeyedHash, subject: &str, value: &str, out: &mut String) -> bool {
    let tag = key.derive(kind.label()).tag_parts(&[b"value of subject", subject.as_bytes(), folded(value).as_bytes()]);
    kind.write(&Drawn::of(Draw::new(tag)), trimmed(value), out).is_ok()
}

/// A name in place of one word of a name of a subject's texts: a woman's given name for a woman's, a man's for a man's,
/// and never the word itself.
pub(super) fn invent_name(key: &KeyedHash, subject: &str, word: &str) -> &'static str {
    /// Whether a given name is a woman's, a man's or either's.
    static GIVEN: LazyLock<HashMap<String, &'static [&'static str]>> = LazyLock::new(|| {
        let names = &*NAMES;
        // A later one takes the place of an earlier.
        let lists = [(EN::NAME_FIRST_NAME, &names.given), (&names.female, &names.female), (&names.male, &names.male)];
        lists.iter().flat_map(|(list, pool)| list.iter().map(|name| (folded(name), pool.as_slice()))).collect()
    });
    let (key, word) = (key.derive("word of a name"), folded(word));
    let pool = GIVEN.get(&word).copied().unwrap_or(&NAMES.family);
    let draws =
        (0..8_u8).map(|again| Draw::new(key.tag_parts(&[subject.as_bytes(), word.as_bytes(), &[again]])).from(0, pool));
    let initial = word.chars().count() == 1;
    let mut others = draws.filter(|name| {
        let name = folded(name);
        name != word && !(initial && name.starts_with(&word))
    });
    others.next().unwrap_or("X")
}

/// Letters and digits in lower case: what makes a value itself in running text.
fn folded(value: &str) -> String {
    value.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// A draw, with the names of people that it gives.
struct Drawn {
    draw: Draw,
    first: &'static str,
    last: &'static str,
}

impl Drawn {
    fn new(key: &KeyedHash, what: &[u8], of: &str, name: NameDraw) -> Self {
        let mut drawn = Self::of(Draw::new(key.tag_parts(&[what, of.as_bytes()])));
        let again = |skips: u8| Draw::new(key.tag_parts(&[what, of.as_bytes(), &[skips]]));
        let names = &*NAMES;
        let pool = match name.sex {
            None => &names.given,
            Some(Sex::Female) => &names.female,
            Some(Sex::Male) => &names.male,
        };
        if name.given_skips > 0 {
            drawn.first = again(name.given_skips).from(0, pool);
        } else if name.sex.is_some() {
            drawn.first = drawn.draw.from(0, pool);
        }
        if name.family_skips > 0 {
            drawn.last = again(name.family_skips).from(1, &names.family);
        }
        drawn
    }

    fn of(draw: Draw) -> Self {
        let (first, last) = (draw.from(0, &NAMES.given), draw.from(1, &NAMES.family));
        Self { draw, first, last }
    }
}

/// Four independent numbers.
struct Draw([u64; 4]);

impl Draw {
    fn new(tag: [u8; 32]) -> Self {
        let (lanes, _) = tag.as_chunks::<8>();
        let mut lanes = lanes.iter().map(|lane| u64::from_be_bytes(*lane));
        Self(std::array::from_fn(|_| lanes.next().unwrap_or_default()))
    }

    /// From 0 to `choices` - 1. The unevenness, under 2^-16 for every choice made here, tells nothing about anybody.
    fn number(&self, lane: usize, choices: usize) -> usize {
        let number = self.0.get(lane).copied().unwrap_or_default();
        ((u128::from(number) * choices as u128) >> 64) as usize
    }

    fn from(&self, lane: usize, pool: &[&'static str]) -> &'static str {
        pool.get(self.number(lane, pool.len())).copied().unwrap_or_default()
    }
}

fn digit(number: usize) -> u8 {
    b'0' + (number % 10) as u8
}

fn two_digits(number: usize) -> [u8; 2] {
    [digit(number / 10), digit(number)]
}

/// The letters of a name as they stand in an address: `O'Hara` is `ohara`.
fn push_plain(out: &mut String, name: &str) {
    out.extend(name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A failure here means: with these lists, every subject of every existing data set gets another name.
    #[test]
    fn the_pools_are_those_that_existing_surrogates_were_drawn_from() {
        let names = &*NAMES;
        let pools = [
            &names.female,
            &names.male,
            names.family.as_slice(),
            STREET_SUFFIXES,
            CITY_PREFIXES,
            CITY_SUFFIXES,
            COMPANY_SUFFIXES,
        ];
        let text = pools.map(|pool| pool.join(",")).join(";");
        let fingerprint = KeyedHash::new(&[0; 32]).tag(text.as_bytes());
        assert_eq!(
            data_encoding::HEXLOWER.encode(&fingerprint),
            "200c84981c0f3b7965520e5b0f35a61e458396d01f54b22edf198092972e3457"
        );
    }

    #[test]
    fn pools_are_large_and_of_names_alone() {
        let names = &*NAMES;
        assert_eq!((names.family.len(), names.female.len(), names.male.len()), (10_000, 1956, 994));
        for name in names.family.iter().chain(&names.given) {
            assert!(name.len() > 2 && name.bytes().all(|byte| byte.is_ascii_alphabetic()), "{name}");
        }
        for pool in [&names.family, &names.given] {
            let mut folded: Vec<String> = pool.iter().map(|name| super::folded(name)).collect();
            folded.sort_unstable();
            folded.dedup();
            assert_eq!(folded.len(), pool.len(), "no name twice");
        }
    }
}
