//! The year of a date.

use arrow_array::StringViewArray;
use serde::{Deserialize, Serialize};

use super::{Day, Outcome};

/// The year alone, 164.514(b)(2)(i)(C).
///
/// With `birth`, a year that shows an age over `cap` at `reference` gives null: the clause puts all elements of such
/// a date, "including year", into the one category "90 or older", which the age kernel reports. The age is exact when
/// the day is known; of a partial date the oldest possible age counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct YearRule {
    /// Whether the dates are dates of birth.
    #[serde(default)]
    pub birth: bool,
    /// The day at which ages are reckoned; the policy says whether it is the day of service or of release.
    pub reference: Day,
    /// The highest age whose birth year may show.
    #[serde(default = "eighty_nine")]
    pub cap: u32,
}

fn eighty_nine() -> u32 {
    89
}

pub(super) fn apply(_rule: &YearRule, values: &StringViewArray) -> Outcome {
    super::pending(values)
}
