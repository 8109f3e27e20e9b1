//! The rules as pure functions over columns: Arrow arrays in, one Arrow array out.
//!
//! What holds for every kernel:
//!
//! - Null in, null out, and no failure.
//! - The empty string counts as "no value" and gives null, except in [`Kernel::Keep`] of text, [`Kernel::Redact`],
//!   [`Kernel::FirstChars`] and [`Kernel::Scrub`], which keep or replace text as it stands. Kernels that parse or identify (tokens, hashes,
//!   surrogates, subjects) also trim white space first: `" 7"` and `"7"` are one number.
//! - A value that a rule cannot handle gives null and a [`Failure`] that says where and what kind. It never passes
//!   through unchanged (the pipeline sends it to quarantine) and it is never in the failure's text.
//! - No clock, no environment, no randomness: a kernel gives the same bytes for the same column, rule and [`Env`].

mod age;
mod base32;
mod bin;
pub mod date;
mod first_chars;
mod fpe;
mod hash;
mod keep;
mod naming;
pub(crate) mod narrative;
mod redact;
mod scrub;
mod shift_date;
mod spelling;
mod surrogate;
mod text;
mod token;
mod year;
mod zip3;

use std::sync::Arc;

use arrow_array::{ArrayRef, StringViewArray, new_null_array};
use arrow_schema::{DataType, TimeUnit};
use cordon_crypto::{CryptoError, FpeKey, KeyedHash};
use cordon_phi::{Dossiers, TokenError, TokenStore};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::tally::Spans;

pub use age::{AgeRule, SpanUnit};
pub use bin::BinRule;
pub use date::{DateFormats, Day};
pub use fpe::{Alphabet, FpeRule, fpe_decrypt};
pub(crate) use keep::day_of;
pub(crate) use naming::seeds_of_others;
pub use scrub::{ScrubRule, ScrubWith};
pub use shift_date::{ShiftForm, ShiftRule};
pub use surrogate::{SurrogateKind, SurrogateRule};
pub use text::text_of;
pub(crate) use text::trimmed;
pub(crate) use token::tokens_of;
pub use year::YearRule;
pub use zip3::{Otherwise, RESTRICTED_2000, RESTRICTED_2010, Vintage, Zip3Rule};

/// One column of a batch, as the source spelled it.
pub struct Column<'a> {
    pub values: &'a StringViewArray,
    /// Whose row each value stands in; of the same length as `values`.
    pub subjects: Option<&'a StringViewArray>,
}

impl<'a> Column<'a> {
    /// The subject of a row, without white space around it; an empty identity is nobody's, as it would make one person
    /// of many.
    fn subject(&self, row: usize) -> Option<&'a str> {
        let subjects = self.subjects?;
        // `is_valid` and `value` panic past the end; a shorter column of subjects must not.
        let known = row < arrow_array::Array::len(subjects) && arrow_array::Array::is_valid(subjects, row);
        known.then(|| text::trimmed(subjects.value(row))).filter(|subject| !subject.is_empty())
    }
}

/// What a kernel made of a column.
pub struct Outcome {
    /// As long as the input; a row that failed is null.
    pub values: ArrayRef,
    /// In the order of their rows.
    pub failures: Vec<Failure>,
}

impl Outcome {
    fn complete(values: ArrayRef) -> Self {
        Self { values, failures: Vec::new() }
    }
}

/// Where a rule could not handle a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    pub row: usize,
    pub reason: Reason,
}

/// Why a rule could not handle a value. Says what kind of trouble, never the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    #[error("not a date in an accepted form")]
    NotADate,
    #[error("a date without its day, where a whole date is needed")]
    PartialDate,
    #[error("the date falls outside the years 0001 to 9999")]
    DateOutOfRange,
    #[error("not a whole number")]
    NotAnInteger,
    #[error("not a decimal number")]
    NotADecimal,
    #[error("not a truth value")]
    NotABoolean,
    #[error("not a postal code of the United States")]
    NotAPostalCode,
    #[error("too few characters for format-preserving encryption")]
    TooShortForEncryption,
    #[error("a character outside the alphabet of the rule")]
    OutsideAlphabet,
    #[error("no subject on the row, so the rule cannot tell whose value it is")]
    NoSubject,
    #[error("an age outside the human range")]
    AgeOutOfRange,
}

/// Why a whole batch failed. Carries no value.
#[derive(Debug, Error)]
pub enum KernelError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// A column's length or type is not what its rule promised.
    #[error("a rule gave a column of another shape than it promised")]
    Shape,
}

/// The secrets of the keyed kernels, one for each purpose.
pub struct DeidKeys {
    pub hash: KeyedHash,
    pub shift: KeyedHash,
    pub surrogate: KeyedHash,
    pub fpe: FpeKey,
}

/// What kernels need beyond the column: where tokens come from, and the keys.
#[derive(Clone)]
pub struct Env {
    pub tokens: Arc<dyn TokenStore>,
    pub keys: Arc<DeidKeys>,
    /// What is known of each subject, for [`Kernel::Scrub`] and names that are made up; only where identities are declared, so that a subject is a token.
    pub dossiers: Option<Arc<dyn Dossiers>>,
}

/// What is done with one declared field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kernel {
    /// The value itself, in the type that it claims to have.
    Keep(Parse),
    /// Nothing but nulls, of this type.
    #[serde(skip)]
    Null(DataType),
    /// A fixed text in place of every value that is there.
    Redact { with: String },
    /// The year of a date (clause C), with the rule for ages over 89.
    Year(YearRule),
    /// Whole years from a birth date to a reference date, 90 and over as one.
    AgeFromBirth(AgeRule),
    /// An age in years, everything from `cap` up as `cap`: `cap: 90` makes the category "90 or older".
    AgeCap { cap: u32 },
    /// A span of time as it stands, 90 years and more as 90 years.
    SpanCap { unit: SpanUnit },
    /// The first three digits of a ZIP code, 000 for thinly peopled ones (clause B).
    Zip3(Zip3Rule),
    /// A range in place of a number.
    Bin(BinRule),
    /// The first `n` characters (Unicode scalar values).
    FirstChars { n: usize },
    /// A date moved by the subject's own number of days. Not Safe Harbor: month and day stay date elements.
    ShiftDate(ShiftRule),
    /// A random pseudonym from the vault (164.514(c)).
    Token { domain: String },
    /// A keyed pseudonym. Derived from the value, so 164.514(c) does not cover it.
    Hash { domain: String },
    /// Format-preserving encryption, FF1. Derived from the value, as [`Kernel::Hash`].
    Fpe(FpeRule),
    /// An invented value that looks real.
    Surrogate(SurrogateRule),
    /// Free text with what identifies taken out, as far as it is recognised.
    Scrub(ScrubRule),
}

/// The type that kept text is read as.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parse {
    /// As it stands, the empty string included.
    Text,
    /// 64-bit, an optional sign and digits.
    Integer,
    /// 64-bit floating point. `NaN` is a missing value and gives null; infinities fail.
    Decimal,
    /// `true/false`, `t/f`, `yes/no`, `y/n`, `1/0` in any case.
    Boolean,
    /// A day. Partial dates fail rather than gain an invented day; a time of day is dropped.
    Date(DateFormats),
    /// An instant in microseconds. Without an offset the time is taken for UTC; a bare date is its midnight.
    Timestamp(DateFormats),
}

impl Kernel {
    /// The type of [`Outcome::values`].
    pub fn output_type(&self) -> DataType {
        match self {
            Self::Keep(Parse::Integer) => DataType::Int64,
            Self::Keep(Parse::Decimal) => DataType::Float64,
            Self::Keep(Parse::Boolean) => DataType::Boolean,
            Self::Keep(Parse::Date(_)) => DataType::Date32,
            Self::Keep(Parse::Timestamp(_)) => timestamp_type(),
            Self::ShiftDate(rule) => rule.output_type(),
            Self::Null(data_type) => data_type.clone(),
            Self::Year(_) | Self::AgeFromBirth(_) | Self::AgeCap { .. } => DataType::Int32,
            Self::Keep(Parse::Text)
            | Self::Redact { .. }
            | Self::SpanCap { .. }
            | Self::Zip3(_)
            | Self::Bin(_)
            | Self::FirstChars { .. }
            | Self::Token { .. }
            | Self::Hash { .. }
            | Self::Fpe(_)
            | Self::Surrogate(_)
            | Self::Scrub(_) => DataType::Utf8View,
        }
    }

    /// Applies the rule to a column. `Err` means that nothing of the batch may be used.
    pub fn apply(&self, column: &Column<'_>, env: &Env) -> Result<Outcome, KernelError> {
        self.apply_telling(column, env, &mut None)
    }

    /// As [`Kernel::apply`]; [`Kernel::Scrub`] also tells what it replaced in each text.
    pub(crate) fn apply_telling(
        &self,
        column: &Column<'_>,
        env: &Env,
        told: &mut Option<Box<Spans>>,
    ) -> Result<Outcome, KernelError> {
        let values = column.values;
        Ok(match self {
            Self::Keep(parse) => keep::apply(parse, values),
            Self::Null(data_type) => Outcome::complete(new_null_array(data_type, arrow_array::Array::len(values))),
            Self::Redact { with } => redact::apply(with, values),
            Self::Year(rule) => year::apply(rule, values),
            Self::AgeFromBirth(rule) => age::from_birth(rule, values),
            Self::AgeCap { cap } => age::cap(*cap, values),
            Self::SpanCap { unit } => age::cap_span(*unit, values),
            Self::Zip3(rule) => zip3::apply(*rule, values),
            Self::Bin(rule) => bin::apply(rule, values),
            Self::FirstChars { n } => first_chars::apply(*n, values),
            Self::ShiftDate(rule) => shift_date::apply(rule, column, &env.keys.shift),
            Self::Token { domain } => token::apply(domain, values, env.tokens.as_ref())?,
            Self::Hash { domain } => hash::apply(domain, values, &env.keys.hash)?,
            Self::Fpe(rule) => fpe::apply(rule, values, &env.keys.fpe)?,
            Self::Surrogate(rule) => surrogate::apply(*rule, column, env)?,
            Self::Scrub(rule) => scrub::apply(rule, column, env, told.insert(Box::default()))?,
        })
    }

    /// Whether the outcome depends on whose value it is.
    pub(crate) fn needs_subject(&self) -> bool {
        match self {
            Self::ShiftDate(_) | Self::Surrogate(_) => true,
            Self::Scrub(rule) => rule.known || rule.with != ScrubWith::Label,
            _ => false,
        }
    }

    /// How dates move under it: the domain and the furthest.
    pub(crate) fn shift(&self) -> Option<(&str, u32)> {
        match self {
            Self::ShiftDate(rule) => Some((&rule.domain, rule.max_days)),
            Self::Scrub(ScrubRule { with: ScrubWith::Surrogate { max_days, domain }, .. }) => Some((domain, *max_days)),
            _ => None,
        }
    }
}

fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}
