//! Ages in whole years, with "90 or older" as one category.

use std::sync::Arc;

use arrow_array::StringViewArray;
use arrow_array::types::Int32Type;
use serde::{Deserialize, Serialize};

use super::date::Stamp;
use super::keep::{any_date, decimal};
use super::text::{to_primitive, to_text, trimmed};
use super::{DateFormats, Day, Outcome, Reason};

/// The age at `reference` in whole years, `cap` and everything over it as `cap`: with 90, the category "90 or older"
/// of 164.514(b)(2)(i)(C).
///
/// Of a partial birth date the oldest possible age counts: born on the first day that the date can mean. Somebody born
/// on 29 February is a year older on 1 March of years without that day. A birth after the reference date gives null.
///
/// Who is `cap` years old at `release` counts as `cap` at `reference` too: an age of 80 at a day ten years ago, which
/// the policy states, shows an age of 90 today.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgeRule {
    pub reference: Day,
    /// The day on which the data is released, where that is after the reference date.
    #[serde(default)]
    pub release: Option<Day>,
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
    let (age, later) = (YearsAt::new(rule.reference), rule.release.map(YearsAt::new));
    let cap = i32::try_from(rule.cap).unwrap_or(i32::MAX);
    let (ages, failures) = to_primitive::<Int32Type>(values, |_, text| {
        let years = any_date(text, &rule.formats)?.map(|birth| {
            let old = later.as_ref().is_some_and(|later| later.of(&birth) >= cap);
            if old { cap } else { age.of(&birth).min(cap) }
        });
        Ok(years.filter(|years| *years >= 0))
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

/// The units in which spans of a life are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpanUnit {
    Years,
    Months,
    Weeks,
    Days,
    Hours,
    Minutes,
    Seconds,
}

impl SpanUnit {
    pub(crate) const ALL: [Self; 7] =
        [Self::Years, Self::Months, Self::Weeks, Self::Days, Self::Hours, Self::Minutes, Self::Seconds];

    /// The unit that a code of UCUM or an English word means; `None` for what is no span of time.
    pub(crate) fn of(text: &str) -> Option<Self> {
        const WORDS: [(SpanUnit, &[&str]); 7] = [
            (
                SpanUnit::Years,
                &["a", "a_j", "a_g", "a_t", "y", "yr", "yrs", "yo", "year", "years", "{year}", "{years}"],
            ),
            (SpanUnit::Months, &["mo", "mo_s", "mo_j", "mo_g", "mos", "mth", "mths", "month", "months", "{month}"]),
            (SpanUnit::Weeks, &["wk", "wks", "week", "weeks"]),
            (SpanUnit::Days, &["d", "day", "days"]),
            (SpanUnit::Hours, &["h", "hr", "hrs", "hour", "hours"]),
            (SpanUnit::Minutes, &["min", "mins", "minute", "minutes"]),
            (SpanUnit::Seconds, &["s", "sec", "secs", "second", "seconds"]),
        ];
        let text = trimmed(text);
        let text = text.split_once("(s)").filter(|(_, rest)| rest.is_empty()).map_or(text, |(word, _)| word);
        WORDS.iter().find(|(_, words)| words.iter().any(|word| word.eq_ignore_ascii_case(text))).map(|(unit, _)| *unit)
    }

    /// Ninety years in this unit; of ninety years the shortest, as the century without a leap day makes them.
    fn ninety_years(self) -> f64 {
        const DAYS: f64 = 32_871.0;
        match self {
            Self::Years => 90.0,
            Self::Months => 1080.0,
            Self::Weeks => (DAYS / 7.0).floor(),
            Self::Days => DAYS,
            Self::Hours => DAYS * 24.0,
            Self::Minutes => DAYS * 1440.0,
            Self::Seconds => DAYS * 86_400.0,
        }
    }

    /// What stands in place of a span that shows an age over 89; `None` where the span may stay as it is.
    pub(crate) fn cap(self, text: &str) -> Option<String> {
        let number = decimal(text).ok().flatten()?;
        let most = self.ninety_years();
        (number.abs() >= most).then(|| format!("{most}"))
    }
}

pub(super) fn cap_span(unit: SpanUnit, values: &StringViewArray) -> Outcome {
    let (spans, failures) = to_text(values, |_, text, out| {
        if trimmed(text).is_empty() {
            return Ok(false);
        }
        decimal(text)?;
        out.push_str(unit.cap(text).as_deref().unwrap_or(text));
        Ok(true)
    });
    Outcome { values: Arc::new(spans), failures }
}
