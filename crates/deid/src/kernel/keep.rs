//! The value itself, in the type that it claims to have.

use std::sync::Arc;

use arrow_array::builder::BooleanBuilder;
use arrow_array::types::{Date32Type, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, StringViewArray};

use super::date::{self, DateFormats, Precision, Stamp};
use super::text::{to_primitive, trimmed};
use super::{Day, Failure, Outcome, Parse, Reason};

pub(super) fn apply(parse: &Parse, values: &StringViewArray) -> Outcome {
    let (values, failures): (ArrayRef, _) = match parse {
        Parse::Text => (Arc::new(values.clone()), Vec::new()),
        Parse::Integer => {
            let (numbers, failures) = to_primitive::<Int64Type>(values, |_, text| integer(trimmed(text)));
            (Arc::new(numbers), failures)
        }
        Parse::Decimal => {
            let (numbers, failures) = to_primitive::<Float64Type>(values, |_, text| decimal(text));
            (Arc::new(numbers), failures)
        }
        Parse::Boolean => booleans(values),
        Parse::Date(formats) => {
            let (days, failures) = to_primitive::<Date32Type>(values, |_, text| {
                whole_date(text, formats).map(|stamp| stamp.map(|stamp| stamp.to_day().0))
            });
            (Arc::new(days), failures)
        }
        Parse::Timestamp(formats) => {
            let (instants, failures) = to_primitive::<TimestampMicrosecondType>(values, |_, text| {
                whole_date(text, formats).map(|stamp| stamp.map(|stamp| stamp.to_micros()))
            });
            (Arc::new(instants.with_timezone("UTC")), failures)
        }
    };
    Outcome { values, failures }
}

fn integer(text: &str) -> Result<Option<i64>, Reason> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Reason::NotAnInteger)
}

/// A number; `NaN`, which exports write for "missing", gives `None`.
pub(super) fn decimal(text: &str) -> Result<Option<f64>, Reason> {
    let text = trimmed(text);
    if text.is_empty() {
        return Ok(None);
    }
    let number: f64 = text.parse().map_err(|_| Reason::NotADecimal)?;
    // An overflow reads as infinity too: a value that big was never measured.
    if number.is_infinite() {
        return Err(Reason::NotADecimal);
    }
    Ok((!number.is_nan()).then_some(number))
}

fn booleans(values: &StringViewArray) -> (ArrayRef, Vec<Failure>) {
    let mut out = BooleanBuilder::with_capacity(values.len());
    let mut failures = Vec::new();
    for (row, value) in values.iter().enumerate() {
        let made = value.map_or(Ok(None), |text| boolean(trimmed(text))).unwrap_or_else(|reason| {
            failures.push(Failure { row, reason });
            None
        });
        out.append_option(made);
    }
    (Arc::new(out.finish()), failures)
}

fn boolean(text: &str) -> Result<Option<bool>, Reason> {
    const YES: [&str; 5] = ["true", "t", "yes", "y", "1"];
    const NO: [&str; 5] = ["false", "f", "no", "n", "0"];
    let is_in = |words: [&str; 5]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    match () {
        () if text.is_empty() => Ok(None),
        () if is_in(YES) => Ok(Some(true)),
        () if is_in(NO) => Ok(Some(false)),
        () => Err(Reason::NotABoolean),
    }
}

/// A date, or `None` where there is no value.
#[inline]
pub(super) fn any_date(text: &str, formats: &DateFormats) -> Result<Option<Stamp>, Reason> {
    match date::parse(text, formats) {
        Some(stamp) => Ok(Some(stamp)),
        None if trimmed(text).is_empty() => Ok(None),
        None => Err(Reason::NotADate),
    }
}

/// The day of a whole date in a built-in format.
pub(crate) fn day_of(text: &str) -> Option<Day> {
    whole_date(text, &DateFormats::builtin()).ok()?.map(|stamp| stamp.to_day())
}

/// A date whose day is known, or `None` where there is no value.
#[inline]
pub(super) fn whole_date(text: &str, formats: &DateFormats) -> Result<Option<Stamp>, Reason> {
    match any_date(text, formats)? {
        Some(stamp) if stamp.precision < Precision::Day => Err(Reason::PartialDate),
        stamp => Ok(stamp),
    }
}
