//! Rules for what takes two persons: turning tokens back, and destroying what stands behind them.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::wildcard::fold;

/// How requests to reveal or destroy are decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RevealRules {
    /// The longest time for which an approval may open something: `30m`, `24h`, `7d`; at most 30 days.
    pub lifetime: Lifetime,
    /// How many persons must approve, the one who asks not counted: 1 to 5.
    pub approvals: Approvals,
    /// Whoever asks and whoever approves must be different users of the operating system too. The names behind `--as` are
    /// believed; these come from the kernel.
    pub system_users_apart: bool,
}

impl Default for RevealRules {
    fn default() -> Self {
        Self { lifetime: Lifetime::DEFAULT, approvals: Approvals(1), system_users_apart: false }
    }
}

/// A number of persons, 1 to 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Approvals(u8);

impl Approvals {
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

impl TryFrom<u8> for Approvals {
    type Error = &'static str;

    fn try_from(count: u8) -> Result<Self, &'static str> {
        if (1..=5).contains(&count) { Ok(Self(count)) } else { Err("approvals are 1 to 5 persons") }
    }
}

impl From<Approvals> for u8 {
    fn from(approvals: Approvals) -> Self {
        approvals.0
    }
}

impl JsonSchema for Approvals {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Approvals".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": 5 })
    }
}

/// A time span in whole seconds, from one second to 30 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lifetime(u64);

/// The text is no time span that is allowed.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not a time span from 1s to 30d; write a number and s, m, h or d, such as `24h`")]
pub struct BadLifetime;

impl Lifetime {
    /// A day.
    pub const DEFAULT: Self = Self(24 * 3600);
    const MAX: u64 = 30 * 24 * 3600;
    const UNITS: [(char, u64); 4] = [('d', 24 * 3600), ('h', 3600), ('m', 60), ('s', 1)];

    pub fn from_seconds(seconds: u64) -> Result<Self, BadLifetime> {
        if (1..=Self::MAX).contains(&seconds) { Ok(Self(seconds)) } else { Err(BadLifetime) }
    }

    /// At most 30.
    pub(crate) const fn days(days: u8) -> Self {
        let seconds = days as u64 * 24 * 3600;
        Self(if seconds > Self::MAX { Self::MAX } else { seconds })
    }

    pub fn seconds(self) -> u64 {
        self.0
    }
}

impl FromStr for Lifetime {
    type Err = BadLifetime;

    fn from_str(text: &str) -> Result<Self, BadLifetime> {
        let mut digits = text.chars();
        let unit = digits.next_back().ok_or(BadLifetime)?;
        let (_, seconds) = Self::UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(BadLifetime)?;
        let digits = digits.as_str();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BadLifetime);
        }
        let count: u64 = digits.parse().map_err(|_| BadLifetime)?;
        Self::from_seconds(count.checked_mul(seconds).ok_or(BadLifetime)?)
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A day is told as 24h: that is how it is asked for.
        let whole = |unit: u64| self.0.is_multiple_of(unit) && self.0 / unit > 1;
        let (unit, seconds) = Self::UNITS.into_iter().find(|(_, unit)| whole(*unit)).unwrap_or(('s', 1));
        write!(f, "{}{unit}", self.0 / seconds)
    }
}

impl TryFrom<String> for Lifetime {
    type Error = BadLifetime;

    fn try_from(text: String) -> Result<Self, BadLifetime> {
        text.parse()
    }
}

impl From<Lifetime> for String {
    fn from(lifetime: Lifetime) -> Self {
        lifetime.to_string()
    }
}

impl JsonSchema for Lifetime {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Lifetime".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+[smhd]$" })
    }
}

/// Whether two names are one person's. Users may not differ by case alone, so that nobody is two by spelling.
pub fn same_user(one: &str, other: &str) -> bool {
    fold(one.trim()) == fold(other.trim())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_lifetime_is_a_number_and_a_unit_within_bounds() {
        for (text, seconds) in [("1s", 1), ("90m", 5400), ("24h", 86_400), ("30d", 30 * 86_400)] {
            assert_eq!(text.parse::<Lifetime>().unwrap().seconds(), seconds);
            let again = text.parse::<Lifetime>().unwrap().to_string();
            assert_eq!(again.parse::<Lifetime>().unwrap().seconds(), seconds);
        }
        for text in ["", "h", "24", "0s", "31d", "+1h", "-1h", "1 h", "1.5h", "1w", "99999999999999999999d", "24ĥ"] {
            assert_eq!(text.parse::<Lifetime>(), Err(BadLifetime), "{text}");
        }
        assert_eq!(Lifetime::DEFAULT.to_string(), "24h");
    }

    #[test]
    fn rules_that_would_open_too_much_are_refused() {
        let read = |text: &str| serde_saphyr::from_str::<RevealRules>(text);
        assert_eq!(read("{}").unwrap(), RevealRules::default());
        assert_eq!(read("{ lifetime: 8h, approvals: 2 }").unwrap().approvals.get(), 2);
        for wrong in ["approvals: 0", "approvals: 6", "lifetime: 31d", "lifetime: 24", "lifetme: 24h"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nobody_is_two_by_spelling() {
        assert!(same_user("Ana", "ana") && same_user("ana ", "ANA"));
        assert!(!same_user("ana", "anna"));
    }
}
