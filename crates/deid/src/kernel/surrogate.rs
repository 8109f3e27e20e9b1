//! Invented values that look real.
//!
//! What is invented follows from the key and the subject, so that one person has one name, one address and one number
//! of each kind in every table and note. A row without a subject fails: what follows from the value is derived from
//! information about the individual, which 164.514(c)(1) forbids. An expert may let it follow from the value, so that
//! equal values stay equal; a full name then has nothing in common with its parts. Nothing of the value shows in the
//! outcome, except by the chance that the pools hold it.
//!
//! The pools of names are those of the crate `fake`. They are part of what a name is drawn from: when they change,
//! every surrogate does, and a test notices.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use cordon_crypto::KeyedHash;
use fake::locales::{Data, EN};
use hashbrown::HashSet;
use serde::{Deserialize, Serialize};

use super::text::{to_text, trimmed};
use super::{Column, Outcome, Reason};

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
    /// In 555-0100 to 555-0199, which the numbering plan keeps for fiction.
    Phone,
    /// From the surrogate name, at example.org, .com or .net (RFC 2606).
    Email,
    /// With an area number of 900 to 999, which is never issued.
    Ssn,
    /// Eight digits.
    RecordNumber,
    /// Below https://example.org/ (RFC 2606).
    Url,
    Company,
}

const FIRST_NAMES: &[&str] = EN::NAME_FIRST_NAME;
const LAST_NAMES: &[&str] = EN::NAME_LAST_NAME;
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

    fn write(self, draw: &Draw, out: &mut String) -> std::fmt::Result {
        let (first, last) = (draw.from(0, FIRST_NAMES), draw.from(1, LAST_NAMES));
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
                write!(out, "{hundreds}{tens}{one}-555-01{:02}", draw.number(3, 100))
            }
            Self::Ssn => {
                // Groups 50 and above with an area number of 900 to 999 are tax-payer numbers (ITIN).
                let (area, group, serial) = (draw.number(1, 100), 1 + draw.number(2, 49), 1 + draw.number(3, 9999));
                write!(out, "9{area:02}-{group:02}-{serial:04}")
            }
            Self::RecordNumber => write!(out, "{}", 10_000_000 + draw.number(0, 90_000_000)),
            Self::Url => write!(out, "https://example.org/{:012x}", draw.number(0, 1 << 48)),
            Self::Company => match draw.number(2, 3) {
                0 => write!(out, "{last} {}", draw.from(3, COMPANY_SUFFIXES)),
                1 => write!(out, "{last}-{}", draw.from(3, LAST_NAMES)),
                _ => write!(out, "{last} and {}", draw.from(3, LAST_NAMES)),
            },
        }
    }
}

pub(super) fn apply(rule: SurrogateRule, column: &Column<'_>, key: &KeyedHash) -> Outcome {
    let key = key.derive(rule.kind.label());
    let (values, failures) = to_text(column.values, |row, value, out| {
        if trimmed(value).is_empty() {
            return Ok(false);
        }
        // The first part keeps a value from being taken for a subject of the same spelling.
        let (what, of): (&[u8], _) = match column.subject(row) {
            Some(subject) => (b"subject", subject),
            None if rule.of_value => (b"value", value),
            None => return Err(Reason::NoSubject),
        };
        Ok(rule.kind.write(&Draw::new(key.tag_parts(&[what, of.as_bytes()])), out).is_ok())
    });
    Outcome { values: Arc::new(values), failures }
}

/// What [`apply`] gives for every value of a subject.
pub(super) fn of_subject(kind: SurrogateKind, key: &KeyedHash, subject: &str, out: &mut String) -> bool {
    let tag = key.derive(kind.label()).tag_parts(&[b"subject", trimmed(subject).as_bytes()]);
    kind.write(&Draw::new(tag), out).is_ok()
}

/// Invents in place of one value of a subject: the same value, however it is punctuated, gives the same.
pub(super) fn invent(kind: SurrogateKind, key: &KeyedHash, subject: &str, value: &str, out: &mut String) -> bool {
    let tag = key.derive(kind.label()).tag_parts(&[b"value of subject", subject.as_bytes(), folded(value).as_bytes()]);
    kind.write(&Draw::new(tag), out).is_ok()
}

/// A name in place of one word of a name of a subject's texts: a given name for a given name, and never the word itself.
pub(super) fn invent_name(key: &KeyedHash, subject: &str, word: &str) -> &'static str {
    static GIVEN: LazyLock<HashSet<String>> = LazyLock::new(|| FIRST_NAMES.iter().map(|name| folded(name)).collect());
    let (key, word) = (key.derive("word of a name"), folded(word));
    let pool = if GIVEN.contains(&word) { FIRST_NAMES } else { LAST_NAMES };
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

    fn from<'a>(&self, lane: usize, pool: &[&'a str]) -> &'a str {
        pool.get(self.number(lane, pool.len())).copied().unwrap_or_default()
    }
}

/// The letters of a name as they stand in an address: `O'Hara` is `ohara`.
fn push_plain(out: &mut String, name: &str) {
    out.extend(name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A failure here means: with this version of `fake`, every subject of every existing data set gets another name.
    #[test]
    fn the_pools_are_those_that_existing_surrogates_were_drawn_from() {
        let pools = [FIRST_NAMES, LAST_NAMES, STREET_SUFFIXES, CITY_PREFIXES, CITY_SUFFIXES, COMPANY_SUFFIXES];
        let text = pools.map(|pool| pool.join(",")).join(";");
        let fingerprint = KeyedHash::new(&[0; 32]).tag(text.as_bytes());
        assert_eq!(
            data_encoding::HEXLOWER.encode(&fingerprint),
            "dc5861c7cec8ce895b0d7123009bbf7b3a595b66f7ed1c979c5dc8cada4b26f7"
        );
    }
}
