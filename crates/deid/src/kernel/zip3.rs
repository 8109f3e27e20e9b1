//! The first three digits of a ZIP code.

use std::sync::{Arc, LazyLock};

use arrow_array::builder::StringViewBuilder;
use arrow_array::{Array, StringViewArray};
use serde::{Deserialize, Serialize};

use super::text::trimmed;
use super::{Failure, Outcome, Reason};

/// The first three digits of a ZIP code, 164.514(b)(2)(i)(B); `000` where all ZIP codes with these digits together
/// hold 20,000 people or fewer.
///
/// Read as ZIP codes: five digits, ZIP+4 with a hyphen, a space or nothing between; and the same with the leading zero
/// that spreadsheets take away (`2139` for `02139`). Three digits are read only where the rule says that the field
/// holds prefixes: `501` may be the prefix, or what a spreadsheet left of `00501`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Zip3Rule {
    pub vintage: Vintage,
    pub otherwise: Otherwise,
    /// The field may hold three-digit prefixes.
    pub of_prefixes: bool,
}

/// Which census says where 20,000 people or fewer live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vintage {
    /// ZCTAs of 2000, as in the guidance of HHS.
    #[serde(rename = "2000")]
    Census2000,
    /// ZCTAs of 2010.
    #[serde(rename = "2010")]
    Census2010,
    /// ZCTAs of 2020; the same set as 2010.
    #[serde(rename = "2020")]
    Census2020,
    /// Restricted by any census: the safe choice for data of many years.
    #[default]
    Union,
}

/// What becomes of a text that is no postal code of the United States.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Otherwise {
    #[default]
    Fail,
    Null,
}

/// Prefixes with 20,000 people or fewer by the counts of 2000, as the guidance of HHS lists them (2012).
pub const RESTRICTED_2000: [u16; 17] =
    [36, 59, 63, 102, 203, 556, 692, 790, 821, 823, 830, 831, 878, 879, 884, 890, 893];

/// Prefixes with 20,000 people or fewer by the ZCTA counts of 2010; those of 2020 give the same set.
pub const RESTRICTED_2010: [u16; 18] =
    [36, 59, 102, 202, 203, 204, 205, 369, 556, 692, 753, 772, 821, 823, 878, 879, 884, 893];

impl Vintage {
    /// Whether a prefix (0 to 999) must become `000`.
    pub fn restricts(self, prefix: u16) -> bool {
        match self {
            Self::Census2000 => RESTRICTED_2000.contains(&prefix),
            Self::Census2010 | Self::Census2020 => RESTRICTED_2010.contains(&prefix),
            Self::Union => RESTRICTED_2000.contains(&prefix) || RESTRICTED_2010.contains(&prefix),
        }
    }
}

pub(super) fn apply(rule: Zip3Rule, values: &StringViewArray) -> Outcome {
    let shown = shown(rule.vintage);
    let mut out = StringViewBuilder::with_capacity(values.len());
    let mut failures = Vec::new();
    for (row, value) in values.iter().enumerate() {
        let prefix = value.and_then(|text| {
            let read = |text: &str| prefix(text.as_bytes(), rule.of_prefixes);
            read(text).or_else(|| read(trimmed(text)))
        });
        let digits = prefix.and_then(|prefix| {
            let start = usize::from(prefix) * 3;
            shown.get(start..start + 3)
        });
        if let Some(digits) = digits {
            out.append_value(digits);
        } else {
            out.append_null();
            let is_absent = value.is_none_or(|text| trimmed(text).is_empty());
            if !is_absent && rule.otherwise == Otherwise::Fail {
                failures.push(Failure { row, reason: Reason::NotAPostalCode });
            }
        }
    }
    Outcome { values: Arc::new(out.finish()), failures }
}

/// The three digits that stand for a ZIP code of all its five or nine digits. `None` if this is none.
pub(super) fn prefix_of_five(text: &str, vintage: Vintage) -> Option<&'static str> {
    let text = trimmed(text);
    if text.bytes().take_while(u8::is_ascii_digit).count() < 5 {
        return None;
    }
    let start = usize::from(prefix(text.as_bytes(), false)?) * 3;
    shown(vintage).get(start..start + 3)
}

/// What each prefix becomes, three digits behind three digits. Made once, as batches of documents can be short.
fn shown(vintage: Vintage) -> &'static str {
    type Table = LazyLock<String>;
    fn table(vintage: Vintage) -> String {
        let spell = |prefix| {
            if vintage.restricts(prefix) { "000".to_owned() } else { format!("{prefix:03}") }
        };
        (0..1000).map(spell).collect()
    }
    static OF_2000: Table = LazyLock::new(|| table(Vintage::Census2000));
    static OF_2010: Table = LazyLock::new(|| table(Vintage::Census2010));
    static OF_ANY: Table = LazyLock::new(|| table(Vintage::Union));
    match vintage {
        Vintage::Census2000 => &OF_2000,
        Vintage::Census2010 | Vintage::Census2020 => &OF_2010,
        Vintage::Union => &OF_ANY,
    }
}

/// The first three digits as a number. `None` if this is no ZIP code.
#[inline]
fn prefix(text: &[u8], of_prefixes: bool) -> Option<u16> {
    match text {
        [a, b, c, d, e] => digits([*a, *b, *c]).filter(|_| all_digits(&[*d, *e])),
        [a, b, c, rest @ ..] if plus_four(rest, 2) => digits([*a, *b, *c]),
        [a, b, c] if of_prefixes => digits([*a, *b, *c]),
        // The leading zero is lost.
        [b, c, rest @ ..] if plus_four(rest, 2) || (rest.len() == 2 && all_digits(rest)) => digits([b'0', *b, *c]),
        _ => None,
    }
}

/// The end of a ZIP code and the four digits of ZIP+4, or a bare hyphen, which exports leave where they are unknown.
fn plus_four(text: &[u8], first: usize) -> bool {
    let Some((end, four)) = text.split_at_checked(first) else {
        return false;
    };
    let four = match four {
        [b'-'] => &[],
        [b'-' | b' ', four @ ..] | four if four.len() == 4 => four,
        _ => return false,
    };
    all_digits(end) && all_digits(four)
}

#[inline]
fn all_digits(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_digit)
}

#[inline]
fn digits(text: [u8; 3]) -> Option<u16> {
    all_digits(&text).then(|| text.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')))
}
