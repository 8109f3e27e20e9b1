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
/// A year that shows an age over `cap` at `reference` gives null: the clause puts all elements of such a date,
/// "including year", into the one category "90 or older", which the age kernel reports. That holds for every date of
/// a person, not only the birth: who was admitted in 1928 is as old at least. Which dates are whose cannot be told
/// from here, so a year is left out too often rather than too seldom. The age is exact when the day is known; of a
/// partial date the oldest possible age counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct YearRule {
    /// The day at which ages are reckoned; the policy says whether it is the day of service or of release.
    pub reference: Day,
    /// The highest age that a year may show; `None` where the method lets all years stay.
    #[serde(default = "eighty_nine")]
    pub cap: Option<u32>,
    #[serde(default)]
    pub formats: DateFormats,
}

#[expect(clippy::unnecessary_wraps, reason = "the default of an optional field")]
fn eighty_nine() -> Option<u32> {
    Some(89)
}

pub(super) fn apply(rule: &YearRule, values: &StringViewArray) -> Outcome {
    let (years, failures) = if let Some(cap) = rule.cap {
        let (age, cap) = (YearsAt::new(rule.reference), i64::from(cap));
        to_primitive::<Int32Type>(values, |_, text| {
            let stamp = any_date(text, &rule.formats)?;
            Ok(stamp.filter(|date| i64::from(age.of(date)) <= cap).map(|date| date.year))
        })
    } else {
        to_primitive::<Int32Type>(values, |_, text| Ok(any_date(text, &rule.formats)?.map(|stamp| stamp.year)))
    };
    Outcome { values: Arc::new(years), failures }
}
