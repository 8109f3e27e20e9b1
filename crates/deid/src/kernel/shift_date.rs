//! Dates moved by the subject's own number of days.
//!
//! What moves is the day of the civil date as written. Time of day and offset stay, so intervals and order of one
//! subject's dates are kept to the microsecond among dates of equal offset, and in civil time across the changes of
//! summer time.
//!
//! A partial date keeps its precision: its first day is moved, and the year or the month of the outcome is given.
//! Hence a moved month or year never comes after a moved date that the original one held, the order of partial dates
//! is kept, and an interval between them is off by less than one unit of the precision.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::types::{Date32Type, TimestampMicrosecondType};
use arrow_schema::DataType;
use cordon_crypto::KeyedHash;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::date::parse_written;
use super::keep::whole_date;
use super::text::{to_primitive, to_text, trimmed};
use super::{Column, DateFormats, Day, Outcome, Reason};

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

pub(super) fn apply(rule: &ShiftRule, column: &Column<'_>, key: &KeyedHash) -> Outcome {
    let mut shifts = Shifts::new(key.derive(&rule.domain), rule.max_days);
    let formats = &rule.formats;
    let mut shift_of = |row| column.subject(row).map(|subject| shifts.of(subject)).ok_or(Reason::NoSubject);
    let (values, failures): (ArrayRef, _) = match rule.form {
        ShiftForm::Date => {
            let (days, failures) = to_primitive::<Date32Type>(column.values, |row, text| {
                let Some(stamp) = whole_date(text, formats)? else {
                    return Ok(None);
                };
                Ok(Some(moved(stamp.to_day(), shift_of(row)?)?.0))
            });
            (Arc::new(days), failures)
        }
        ShiftForm::Timestamp => {
            let (instants, failures) = to_primitive::<TimestampMicrosecondType>(column.values, |row, text| {
                let Some(stamp) = whole_date(text, formats)? else {
                    return Ok(None);
                };
                let shift = shift_of(row)?;
                moved(stamp.to_day(), shift)?;
                Ok(Some(stamp.to_micros() + i64::from(shift) * 86_400_000_000))
            });
            (Arc::new(instants.with_timezone("UTC")), failures)
        }
        ShiftForm::Text => {
            let (texts, failures) = to_text(column.values, |row, text, out| {
                let Some(written) = parse_written(text, formats) else {
                    return if trimmed(text).is_empty() { Ok(false) } else { Err(Reason::NotADate) };
                };
                let day = moved(written.stamp.to_day(), shift_of(row)?)?;
                written.write_moved(day, formats, out).ok_or(Reason::DateOutOfRange)?;
                Ok(true)
            });
            (Arc::new(texts), failures)
        }
    };
    Outcome { values, failures }
}

/// The years 1 to 9999, as days since 1970-01-01.
const DAYS: std::ops::RangeInclusive<i32> = -719_162..=2_932_896;

pub(super) fn moved(day: Day, shift: i32) -> Result<Day, Reason> {
    let moved = Day(day.0.saturating_add(shift));
    DAYS.contains(&moved.0).then_some(moved).ok_or(Reason::DateOutOfRange)
}

/// The shifts of the subjects of one batch: rows of one subject mostly stand together, and one HMAC a row costs more
/// than everything else here.
pub(super) struct Shifts<'a> {
    key: KeyedHash,
    max_days: u32,
    known: HashMap<&'a str, i32>,
    last: (&'a str, i32),
}

impl<'a> Shifts<'a> {
    pub(super) fn new(key: KeyedHash, max_days: u32) -> Self {
        // No subject has an empty identity, so the first never matches.
        Self { key, max_days: max_days.clamp(1, 3_652_058), known: HashMap::new(), last: ("", 0) }
    }

    #[inline]
    pub(super) fn of(&mut self, subject: &'a str) -> i32 {
        if self.last.0 != subject {
            let (key, max_days) = (&self.key, self.max_days);
            let days = *self.known.entry(subject).or_insert_with(|| days(&key.tag(subject.as_bytes()), max_days));
            self.last = (subject, days);
        }
        self.last.1
    }
}

/// Maps a tag evenly to the days from -max to max without 0.
fn days(tag: &[u8; 32], max_days: u32) -> i32 {
    let choices = u64::from(max_days) * 2;
    // Numbers beyond the last whole multiple of the choices would make the first choices likelier: they are skipped.
    // That all four fall there has a probability under 2^-160.
    let beyond = u64::MAX - u64::MAX % choices;
    let (lanes, _) = tag.as_chunks::<8>();
    let mut numbers = lanes.iter().map(|lane| u64::from_be_bytes(*lane));
    let choice = numbers.find(|number| *number < beyond).unwrap_or_default() % choices;
    let offset = choice as i64 - i64::from(max_days);
    (if offset < 0 { offset } else { offset + 1 }) as i32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_shift_is_reached_evenly_and_none_is_zero() {
        let key = KeyedHash::new(&[7; 32]);
        let mut counts = [0_u32; 21];
        for subject in 0..20_000_u32 {
            let days = days(&key.tag(&subject.to_be_bytes()), 10);
            *counts.get_mut((days + 10) as usize).unwrap() += 1;
        }
        assert_eq!(counts.get(10), Some(&0));
        // 1,000 each, give or take five standard deviations.
        assert!(counts.iter().enumerate().all(|(at, count)| at == 10 || (845..1155).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_range_is_that_of_the_calendar() {
        let ends = (Day::from_ymd(1, 1, 1).unwrap().0, Day::from_ymd(9999, 12, 31).unwrap().0);
        assert_eq!((*DAYS.start(), *DAYS.end()), ends);
    }
}
