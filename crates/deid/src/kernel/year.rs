//! The year of a date.

use std::sync::Arc;

use arrow_array::StringViewArray;
use arrow_array::types::Int32Type;
use serde::{Deserialize, Serialize};

use super::age::YearsAt;
use super::keep::any_date;
use super::text::to_primitive;
use super::{DateFormats, Day, Outcome};

/// The year alone, 164.514(b)(2)(i)(C).
///
/// With `birth`, a year that shows an age over `cap` at `reference` gives null: the clause puts all elements of such
/// a date, "including year", into the one category "90 or older", which the age kernel reports. The age is exact when
/// the day is known; of a partial date the oldest possible age counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    #[serde(default)]
    pub formats: DateFormats,
}

fn eighty_nine() -> u32 {
    89
}

pub(super) fn apply(rule: &YearRule, values: &StringViewArray) -> Outcome {
    let (years, failures) = if rule.birth {
        let (age, cap) = (YearsAt::new(rule.reference), i64::from(rule.cap));
        to_primitive::<Int32Type>(values, |_, text| {
            let stamp = any_date(text, &rule.formats)?;
            Ok(stamp.filter(|birth| i64::from(age.of(birth)) <= cap).map(|birth| birth.year))
        })
    } else {
        to_primitive::<Int32Type>(values, |_, text| Ok(any_date(text, &rule.formats)?.map(|stamp| stamp.year)))
    };
    Outcome { values: Arc::new(years), failures }
}
