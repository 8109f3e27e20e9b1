//! Ages in whole years, with "90 or older" as one category.

use std::sync::Arc;

use arrow_array::StringViewArray;
use arrow_array::types::Int32Type;
use serde::{Deserialize, Serialize};

use super::date::Stamp;
use super::keep::{any_date, decimal};
use super::text::to_primitive;
use super::{DateFormats, Day, Outcome, Reason};

/// The age at `reference` in whole years, `cap` and everything over it as `cap`: with 90, the category "90 or older"
/// of 164.514(b)(2)(i)(C).
///
/// Of a partial birth date the oldest possible age counts: born on the first day that the date can mean. Somebody born
/// on 29 February is a year older on 1 March of years without that day. A birth after the reference date gives null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgeRule {
    pub reference: Day,
    #[serde(default = "ninety")]
    pub cap: u32,
    #[serde(default)]
    pub formats: DateFormats,
}

fn ninety() -> u32 {
    90
}

/// Ages at one day.
pub(super) struct YearsAt {
    year: i32,
    month: u32,
    day: u32,
}

impl YearsAt {
    pub(super) fn new(reference: Day) -> Self {
        let (year, month, day) = reference.ymd();
        Self { year, month, day }
    }

    /// Whole years from birth; negative before it. The parts that a partial date lacks are the first of their kind,
    /// so the age is the oldest possible one.
    #[inline]
    pub(super) fn of(&self, birth: &Stamp) -> i32 {
        let before_birthday = (self.month, self.day) < (birth.month, birth.day);
        self.year - birth.year - i32::from(before_birthday)
    }
}

pub(super) fn from_birth(rule: &AgeRule, values: &StringViewArray) -> Outcome {
    let age = YearsAt::new(rule.reference);
    let cap = i32::try_from(rule.cap).unwrap_or(i32::MAX);
    let (ages, failures) = to_primitive::<Int32Type>(values, |_, text| {
        let years = any_date(text, &rule.formats)?.map(|birth| age.of(&birth));
        Ok(years.filter(|years| *years >= 0).map(|years| years.min(cap)))
    });
    Outcome { values: Arc::new(ages), failures }
}

/// Nobody has been older; exports write 999 and the like for "unknown", which is not "90 or older".
const OLDEST: f64 = 150.0;

pub(super) fn cap(cap: u32, values: &StringViewArray) -> Outcome {
    let cap = i32::try_from(cap).unwrap_or(i32::MAX);
    let (ages, failures) = to_primitive::<Int32Type>(values, |_, text| match decimal(text)? {
        Some(years) if (0.0..=OLDEST).contains(&years) => Ok(Some((years as i32).min(cap))),
        Some(_) => Err(Reason::AgeOutOfRange),
        None => Ok(None),
    });
    Outcome { values: Arc::new(ages), failures }
}
