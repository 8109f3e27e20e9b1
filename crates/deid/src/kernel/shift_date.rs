//! Dates moved by the subject's own number of days.

use arrow_schema::DataType;
use serde::{Deserialize, Serialize};

use cordon_crypto::KeyedHash;
use super::{Column, DateFormats, Outcome};

/// Moves each date by a number of days that is secret, never 0, and the same for all dates of one subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShiftRule {
    /// The furthest that a date moves, either way.
    #[serde(default = "a_year")]
    pub max_days: u32,
    /// Subjects are moved alike wherever the domain is the same.
    #[serde(default)]
    pub domain: String,
    #[serde(default)]
    pub form: ShiftForm,
    #[serde(default)]
    pub formats: DateFormats,
}

/// What the moved dates are given as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShiftForm {
    /// Arrow `Date32`.
    Date,
    /// Arrow timestamps, microseconds, UTC.
    Timestamp,
    /// Text in the spelling and precision of the input.
    #[default]
    Text,
}

fn a_year() -> u32 {
    365
}

impl ShiftRule {
    pub(super) fn output_type(&self) -> DataType {
        match self.form {
            ShiftForm::Date => DataType::Date32,
            ShiftForm::Timestamp => super::timestamp_type(),
            ShiftForm::Text => DataType::Utf8View,
        }
    }
}

pub(super) fn apply(_rule: &ShiftRule, column: &Column<'_>, _key: &KeyedHash) -> Outcome {
    super::pending(column.values)
}
