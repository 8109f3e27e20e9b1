//! Columns as text again, for documents; and the loops that all kernels share.

use std::fmt::Write as _;

use arrow_array::builder::StringViewBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, PrimitiveArray, StringViewArray};
use arrow_buffer::NullBufferBuilder;
use arrow_schema::{DataType, TimeUnit};

use super::{Day, Failure, Reason};

/// A kernel's outcome as the text that stands in a document: a year as `1957`, a date or instant as ISO 8601.
///
/// Instants are spelled in UTC, with a fraction only where there is one. A type that no kernel gives comes out as
/// nulls: a value that we cannot spell must not be guessed.
pub fn text_of(values: &ArrayRef) -> StringViewArray {
    match values.data_type() {
        DataType::Utf8View => values.as_string_view().clone(),
        DataType::Int32 => spelled::<Int32Type>(values, |out, number| write!(out, "{number}")),
        DataType::Int64 => spelled::<Int64Type>(values, |out, number| write!(out, "{number}")),
        DataType::Float64 => spelled::<Float64Type>(values, |out, number| write!(out, "{number}")),
        DataType::Date32 => spelled::<Date32Type>(values, |out, days| write!(out, "{}", Day(days))),
        DataType::Timestamp(TimeUnit::Microsecond, _) => spelled::<TimestampMicrosecondType>(values, spell_instant),
        DataType::Boolean => {
            let mut out = StringViewBuilder::with_capacity(values.len());
            for value in values.as_boolean() {
                out.append_option(value.map(|truth| if truth { "true" } else { "false" }));
            }
            out.finish()
        }
        _ => StringViewArray::new_null(values.len()),
    }
}

fn spelled<T: ArrowPrimitiveType>(
    values: &ArrayRef,
    spell: impl Fn(&mut String, T::Native) -> std::fmt::Result,
) -> StringViewArray {
    let mut out = StringViewBuilder::with_capacity(values.len());
    let mut line = String::new();
    for value in values.as_primitive::<T>() {
        line.clear();
        let written = value.is_some_and(|value| spell(&mut line, value).is_ok());
        out.append_option(written.then_some(line.as_str()));
    }
    out.finish()
}

fn spell_instant(out: &mut String, micros: i64) -> std::fmt::Result {
    const MICROS_A_DAY: i64 = 86_400_000_000;
    let (days, in_day) = (micros.div_euclid(MICROS_A_DAY), micros.rem_euclid(MICROS_A_DAY));
    let (seconds, fraction) = (in_day / 1_000_000, in_day % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    write!(out, "{}T{hour:02}:{minute:02}:{second:02}", Day(days as i32))?;
    if fraction != 0 {
        write!(out, ".{fraction:06}")?;
        out.truncate(out.trim_end_matches('0').len());
    }
    out.write_char('Z')
}

/// Takes white space off both ends, no-break spaces too. Nearly all values have none.
#[inline]
pub(crate) fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic() => text,
        _ => text.trim(),
    }
}

/// Maps the values that are there to numbers. `None` is null, `Err` is null and a failure.
#[inline]
pub(super) fn to_primitive<T: ArrowPrimitiveType>(
    values: &StringViewArray,
    mut make: impl FnMut(usize, &str) -> Result<Option<T::Native>, Reason>,
) -> (PrimitiveArray<T>, Vec<Failure>) {
    let mut numbers = Vec::with_capacity(values.len());
    let mut nulls = NullBufferBuilder::new(values.len());
    let mut failures = Vec::new();
    for (row, value) in values.iter().enumerate() {
        let made = value.map_or(Ok(None), |text| make(row, text)).unwrap_or_else(|reason| {
            failures.push(Failure { row, reason });
            None
        });
        numbers.push(made.unwrap_or_default());
        nulls.append(made.is_some());
    }
    (PrimitiveArray::new(numbers.into(), nulls.finish()), failures)
}

/// Maps the values that are there to text, written to a line that is reused. `Ok(false)` is null, `Err` is null and a
/// failure.
#[inline]
pub(super) fn to_text(
    values: &StringViewArray,
    mut write: impl FnMut(usize, &str, &mut String) -> Result<bool, Reason>,
) -> (StringViewArray, Vec<Failure>) {
    let mut out = StringViewBuilder::with_capacity(values.len());
    let mut failures = Vec::new();
    let mut line = String::new();
    for (row, value) in values.iter().enumerate() {
        line.clear();
        let written = value.map_or(Ok(false), |text| write(row, text, &mut line)).unwrap_or_else(|reason| {
            failures.push(Failure { row, reason });
            false
        });
        if written {
            out.append_value(&line);
        } else {
            out.append_null();
        }
    }
    (out.finish(), failures)
}
