//! What stands in the place of a masked value: Hive's mask functions on Arrow arrays.
//!
//! Each gives a defined result for every type and every value, of the same type as before. What cannot be masked becomes
//! NULL and is never shown. Two things are stricter than Hive: a value that the shown characters would show whole is masked
//! whole, and letters of scripts without capitals are letters, not "other characters" that stay.

use std::fmt;
use std::sync::Arc;

use arrow_array::builder::{GenericStringBuilder, StringViewBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, ArrowTimestampType, Date32Type, Date64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, OffsetSizeTrait, PrimitiveArray, new_null_array};
use arrow_schema::{DataType, TimeUnit};
use cordon_crypto::KeyedHash;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;

/// Which characters of a value are masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Whole,
    /// All but so many, which are shown.
    AllButFirst(usize),
    AllButLast(usize),
    First(usize),
    Last(usize),
}

/// What characters are replaced with; `None` keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Style {
    upper: Option<u8>,
    lower: Option<u8>,
    digit: Option<u8>,
    other: Option<u8>,
    /// What stands for digits of numbers.
    number: u8,
    /// Of dates; months count from 0, as in Hive.
    day: Option<u32>,
    month: Option<u32>,
    year: Option<i64>,
}

/// `mask(value)`: the defaults of Hive's function. Its year 0 is no year of SQL's calendar; it is 1 here, as in Impala.
const HIVE: Style = Style {
    upper: Some(b'X'),
    lower: Some(b'x'),
    digit: Some(b'n'),
    other: None,
    number: 1,
    day: Some(1),
    month: Some(0),
    year: Some(1),
};
/// As Ranger's definition of Hive calls the functions for MASK_SHOW_LAST_4 and the like.
const RANGER: Style = Style { upper: Some(b'x'), lower: Some(b'x'), digit: Some(b'x'), ..HIVE };

#[derive(Clone)]
enum How {
    Chars(Part, Style),
    /// Of the name's own defaults, which the call may change with its further arguments.
    Call(Part),
    Hash(Arc<KeyedHash>),
}

/// One mask as a function of SQL.
struct MaskFunction {
    name: &'static str,
    how: How,
    signature: Signature,
}

/// MASK.
pub(crate) fn redact() -> ScalarUDF {
    one("mask", How::Chars(Part::Whole, HIVE))
}

pub(crate) fn show_last_4() -> ScalarUDF {
    one("mask_show_last_n", How::Chars(Part::AllButLast(4), RANGER))
}

pub(crate) fn show_first_4() -> ScalarUDF {
    one("mask_show_first_n", How::Chars(Part::AllButFirst(4), RANGER))
}

/// MASK_DATE_SHOW_YEAR.
pub(crate) fn show_year() -> ScalarUDF {
    one("mask", How::Chars(Part::Whole, Style { year: None, ..RANGER }))
}

/// MASK_HASH.
pub(crate) fn hash(key: &Arc<KeyedHash>) -> ScalarUDF {
    one("mask_hash", How::Hash(Arc::clone(key)))
}

fn one(name: &'static str, how: How) -> ScalarUDF {
    MaskFunction { name, how, signature: Signature::any(1, Volatility::Immutable) }.into()
}

/// Hive's functions for the expressions of policies. Queries do not have them: with `mask_hash` in hand, guesses could be
/// compared with masked values.
pub(crate) fn for_policies(key: &Arc<KeyedHash>) -> Vec<Arc<ScalarUDF>> {
    let call = |name, part| {
        let signature = Signature::variadic_any(Volatility::Immutable);
        Arc::new(ScalarUDF::from(MaskFunction { name, how: How::Call(part), signature }))
    };
    vec![
        call("mask", Part::Whole),
        call("mask_first_n", Part::First(4)),
        call("mask_last_n", Part::Last(4)),
        call("mask_show_first_n", Part::AllButFirst(4)),
        call("mask_show_last_n", Part::AllButLast(4)),
        Arc::new(hash(key)),
    ]
}

impl fmt::Debug for MaskFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for MaskFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && match (&self.how, &other.how) {
                (How::Chars(part, style), How::Chars(other_part, other_style)) => {
                    part == other_part && style == other_style
                }
                (How::Call(part), How::Call(other)) => part == other,
                (How::Hash(key), How::Hash(other)) => Arc::ptr_eq(key, other),
                _ => false,
            }
    }
}

impl Eq for MaskFunction {}

impl std::hash::Hash for MaskFunction {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for MaskFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.first().cloned().ok_or_else(|| DataFusionError::Plan("a mask takes a value".to_owned()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut values = args.args.into_iter();
        let Some(value) = values.next() else {
            return Err(DataFusionError::Plan("a mask takes a value".to_owned()));
        };
        let (part, style) = match &self.how {
            How::Hash(key) => return each(value, |array| hashed(array, key)),
            How::Chars(part, style) => (*part, *style),
            How::Call(part) => called(*part, &values.collect::<Vec<_>>())?,
        };
        each(value, |array| masked(array, part, &style))
    }
}

fn each(value: ColumnarValue, mask: impl Fn(&ArrayRef) -> ArrayRef) -> Result<ColumnarValue> {
    match value {
        ColumnarValue::Array(array) => Ok(ColumnarValue::Array(mask(&array))),
        ColumnarValue::Scalar(scalar) => {
            let masked = mask(&scalar.to_array()?);
            ScalarValue::try_from_array(&masked, 0).map(ColumnarValue::Scalar)
        }
    }
}

/// `mask(value, upper, lower, digit, other, number, day, month, year)`; the others have the number of characters before
/// `upper`. As in Hive, -1 keeps what there is and what makes no sense is the default.
fn called(part: Part, args: &[ColumnarValue]) -> Result<(Part, Style)> {
    let mut args = args.iter();
    let mut next = || match args.next() {
        None => Ok(None),
        Some(ColumnarValue::Scalar(scalar)) if scalar.is_null() => Ok(None),
        Some(ColumnarValue::Scalar(scalar)) => {
            Ok(scalar.cast_to(&DataType::Utf8)?.try_as_str().flatten().map(str::to_owned))
        }
        Some(ColumnarValue::Array(_)) => Err(DataFusionError::Plan("how to mask is constant".to_owned())),
    };
    let number = |text: Option<String>| text.and_then(|text| text.trim().parse::<i64>().ok());
    let count = |text, default| number(text).map_or(default, |n| usize::try_from(n).unwrap_or(0));
    let part = match part {
        Part::Whole => Part::Whole,
        Part::AllButFirst(n) => Part::AllButFirst(count(next()?, n)),
        Part::AllButLast(n) => Part::AllButLast(count(next()?, n)),
        Part::First(n) => Part::First(count(next()?, n)),
        Part::Last(n) => Part::Last(count(next()?, n)),
    };
    let character = |text: Option<String>, default: Option<u8>| match text.as_deref() {
        None | Some("") => default,
        Some("-1") => None,
        Some(text) => text.bytes().next().filter(u8::is_ascii).or(default.or(HIVE.lower)),
    };
    let of_date = |text: Option<String>, default: Option<u32>, fits: std::ops::RangeInclusive<i64>| match number(text) {
        Some(-1) => None,
        Some(n) if fits.contains(&n) => u32::try_from(n).ok(),
        _ => default,
    };
    let style = Style {
        upper: character(next()?, HIVE.upper),
        lower: character(next()?, HIVE.lower),
        digit: character(next()?, HIVE.digit),
        other: character(next()?, HIVE.other),
        number: number(next()?).and_then(|n| u8::try_from(n).ok()).filter(|n| *n <= 9).unwrap_or(HIVE.number),
        day: of_date(next()?, HIVE.day, 1..=31),
        month: of_date(next()?, HIVE.month, 0..=11),
        year: match number(next()?) {
            Some(-1) => None,
            Some(0) | None => HIVE.year,
            year => year.filter(|year| (1..=9999).contains(year)).or(HIVE.year),
        },
    };
    Ok((part, style))
}

fn masked(array: &ArrayRef, part: Part, style: &Style) -> ArrayRef {
    use DataType::{
        Date32, Date64, Int8, Int16, Int32, Int64, LargeUtf8, Timestamp, UInt8, UInt16, UInt32, UInt64, Utf8, Utf8View,
    };
    let text = Text::new(part, style);
    match array.data_type() {
        Utf8 => text.of(array.as_string::<i32>()),
        LargeUtf8 => text.of(array.as_string::<i64>()),
        Utf8View => {
            let array = array.as_string_view();
            let mut builder = StringViewBuilder::with_capacity(array.len());
            let mut scratch = String::new();
            for value in array {
                match value {
                    Some(value) => {
                        scratch.clear();
                        text.write(value, &mut scratch);
                        builder.append_value(&scratch);
                    }
                    None => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }
        Int8 => numbers::<Int8Type>(array, part, style.number),
        Int16 => numbers::<Int16Type>(array, part, style.number),
        Int32 => numbers::<Int32Type>(array, part, style.number),
        Int64 => numbers::<Int64Type>(array, part, style.number),
        UInt8 => numbers::<UInt8Type>(array, part, style.number),
        UInt16 => numbers::<UInt16Type>(array, part, style.number),
        UInt32 => numbers::<UInt32Type>(array, part, style.number),
        UInt64 => numbers::<UInt64Type>(array, part, style.number),
        Date32 => Arc::new(array.as_primitive::<Date32Type>().unary_opt::<_, Date32Type>(|days| {
            masked_date(i64::from(days), style).and_then(|days| i32::try_from(days).ok())
        })),
        Date64 => Arc::new(array.as_primitive::<Date64Type>().unary_opt::<_, Date64Type>(|milliseconds| {
            masked_date(milliseconds.div_euclid(86_400_000), style)?.checked_mul(86_400_000)
        })),
        // Hive masks no times. A date that only keeps its year is one, whether or not it has a time of day.
        Timestamp(unit, _) if style.year.is_none() => match unit {
            TimeUnit::Second => times::<TimestampSecondType>(array, 86_400, style),
            TimeUnit::Millisecond => times::<TimestampMillisecondType>(array, 86_400_000, style),
            TimeUnit::Microsecond => times::<TimestampMicrosecondType>(array, 86_400_000_000, style),
            TimeUnit::Nanosecond => times::<TimestampNanosecondType>(array, 86_400_000_000_000, style),
        },
        other => new_null_array(other, array.len()),
    }
}

/// How texts are masked, made ready once for a whole array.
struct Text {
    part: Part,
    style: Style,
    ascii: [u8; 128],
}

impl Text {
    fn new(part: Part, style: &Style) -> Self {
        let ascii = std::array::from_fn(|at| {
            let byte = u8::try_from(at).unwrap_or(b'x');
            let class = match byte {
                b'A'..=b'Z' => style.upper,
                b'a'..=b'z' => style.lower,
                b'0'..=b'9' => style.digit,
                _ => style.other,
            };
            class.unwrap_or(byte)
        });
        Self { part, style: *style, ascii }
    }

    fn of<O: OffsetSizeTrait>(&self, array: &arrow_array::GenericStringArray<O>) -> ArrayRef {
        // No text grows, so that its offsets fit as they did before.
        let mut builder = GenericStringBuilder::<O>::with_capacity(array.len(), array.value_data().len());
        for value in array {
            match value {
                Some(value) => {
                    self.write(value, &mut builder);
                    builder.append_value("");
                }
                None => builder.append_null(),
            }
        }
        Arc::new(builder.finish())
    }

    fn write(&self, value: &str, out: &mut impl fmt::Write) {
        let at = |n: usize| value.char_indices().nth(n).map_or(value.len(), |(at, _)| at);
        // Where the last `n` characters begin.
        let from_end = |n: usize| match n.checked_sub(1) {
            None => value.len(),
            Some(before) => value.char_indices().rev().nth(before).map_or(0, |(at, _)| at),
        };
        let (masked, split) = match self.part {
            Part::Whole => (Sides::BOTH, value.len()),
            Part::AllButFirst(n) => match at(n) {
                split if split == value.len() => (Sides::BOTH, split),
                split => (Sides { first: false, second: true }, split),
            },
            Part::AllButLast(n) => match from_end(n) {
                0 => (Sides::BOTH, 0),
                split => (Sides { first: true, second: false }, split),
            },
            Part::First(n) => (Sides { first: true, second: false }, at(n)),
            Part::Last(n) => (Sides { first: false, second: true }, from_end(n)),
        };
        let (first, second) = value.split_at_checked(split).unwrap_or((value, ""));
        for (text, masked) in [(first, masked.first), (second, masked.second)] {
            if masked {
                self.mask(text, out);
            } else {
                let _ = out.write_str(text); // into memory: it does not fail
            }
        }
    }

    fn mask(&self, text: &str, out: &mut impl fmt::Write) {
        for character in text.chars() {
            let shown = if let Some(byte) = self.ascii.get(character as usize) {
                char::from(*byte)
            } else {
                let class = if character.is_uppercase() {
                    self.style.upper
                } else if character.is_numeric() {
                    self.style.digit
                } else {
                    self.style.lower
                };
                class.map_or(character, char::from)
            };
            let _ = out.write_char(shown);
        }
    }
}

/// Which of the two halves of a text are masked.
struct Sides {
    first: bool,
    second: bool,
}

impl Sides {
    const BOTH: Self = Self { first: true, second: true };
}

fn numbers<T>(array: &ArrayRef, part: Part, digit: u8) -> ArrayRef
where
    T: ArrowPrimitiveType,
    T::Native: Into<i128> + TryFrom<i128>,
{
    let array: &PrimitiveArray<T> = array.as_primitive();
    Arc::new(array.unary_opt::<_, T>(|value| {
        let value: i128 = value.into();
        let masked = masked_number(u64::try_from(value.unsigned_abs()).ok()?, part, u64::from(digit));
        let masked = i128::from(masked?);
        T::Native::try_from(if value < 0 { -masked } else { masked }).ok()
    }))
}

/// Each masked digit of the number replaced; zero has one digit.
fn masked_number(value: u64, part: Part, digit: u64) -> Option<u64> {
    let mut digits = 1;
    let mut rest = value / 10;
    while rest != 0 {
        rest /= 10;
        digits += 1;
    }
    // Counted from the right: which digits are replaced.
    let (from, to) = match part {
        Part::Whole => (0, digits),
        Part::AllButFirst(n) | Part::AllButLast(n) if n >= digits => (0, digits),
        Part::AllButFirst(n) => (0, digits - n),
        Part::AllButLast(n) => (n, digits),
        Part::First(n) => (digits.saturating_sub(n), digits),
        Part::Last(n) => (0, n.min(digits)),
    };
    let (mut masked, mut position, mut rest) = (0_u64, 1_u64, value);
    for place in 0..digits {
        let shown = if (from..to).contains(&place) { digit } else { rest % 10 };
        masked = masked.checked_add(shown.checked_mul(position)?)?;
        rest /= 10;
        if place + 1 < digits {
            position = position.checked_mul(10)?;
        }
    }
    Some(masked)
}

fn times<T: ArrowTimestampType>(array: &ArrayRef, day: i64, style: &Style) -> ArrayRef {
    let zone = match array.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let array: &PrimitiveArray<T> = array.as_primitive();
    let masked: PrimitiveArray<T> = array.unary_opt(|time| masked_date(time.div_euclid(day), style)?.checked_mul(day));
    Arc::new(masked.with_timezone_opt(zone))
}

/// In days from 1970-01-01.
fn masked_date(days: i64, style: &Style) -> Option<i64> {
    let (year, month, day) = civil(days)?;
    let year = style.year.unwrap_or(year);
    let month = style.month.map_or(month, |month| i64::from(month) + 1);
    let day = style.day.map_or(day, i64::from);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    days_of(year, month, day.min(longest))
}

/// The proleptic Gregorian calendar in eras of 400 years, whose years begin in March so that a leap day is the last of one.
fn civil(days: i64) -> Option<(i64, i64, i64)> {
    let days = days.checked_add(719_468)?;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Some((year, month, day))
}

fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let days = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    era.checked_mul(146_097)?.checked_add(days)?.checked_sub(719_468)
}

fn hashed(array: &ArrayRef, key: &KeyedHash) -> ArrayRef {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let write = |value: &str, out: &mut dyn FnMut(&str)| {
        let mut hexadecimal = [0_u8; 64];
        for (pair, byte) in hexadecimal.chunks_exact_mut(2).zip(key.tag(value.as_bytes())) {
            for (place, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                *place = DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
            }
        }
        out(std::str::from_utf8(&hexadecimal).unwrap_or_default());
    };
    macro_rules! hashes {
        ($array:expr, $builder:expr) => {{
            let mut builder = $builder;
            for value in $array {
                match value {
                    Some(value) => write(value, &mut |text| builder.append_value(text)),
                    None => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }};
    }
    let rows = array.len();
    match array.data_type() {
        // Offsets of 32 bits hold the hashes of so many rows; no batch has them.
        DataType::Utf8 if rows < (i32::MAX / 64) as usize => {
            hashes!(array.as_string::<i32>(), GenericStringBuilder::<i32>::with_capacity(rows, rows * 64))
        }
        DataType::LargeUtf8 => {
            hashes!(array.as_string::<i64>(), GenericStringBuilder::<i64>::with_capacity(rows, rows * 64))
        }
        DataType::Utf8View => hashes!(array.as_string_view(), StringViewBuilder::with_capacity(rows)),
        other => new_null_array(other, rows),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use arrow::compute::cast;
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    use arrow_array::{
        BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int8Array, Int16Array, Int32Array,
        Int64Array, LargeStringArray, ListArray, StringArray, StringViewArray, StructArray, UInt64Array,
    };
    use arrow_schema::Field;

    use super::*;

    fn style(function: &ScalarUDF) -> (Part, Style) {
        let function = (function.inner().as_ref() as &dyn std::any::Any).downcast_ref::<MaskFunction>().unwrap();
        match function.how {
            How::Chars(part, style) => (part, style),
            _ => panic!("not of characters"),
        }
    }

    fn shown(array: &ArrayRef) -> Vec<String> {
        let options = FormatOptions::default().with_null("NULL");
        let format = ArrayFormatter::try_new(array, &options).unwrap();
        (0..array.len()).map(|row| format.value(row).to_string()).collect()
    }

    fn apply(function: &ScalarUDF, array: impl Array + 'static) -> Vec<String> {
        let (part, style) = style(function);
        let array: ArrayRef = Arc::new(array);
        let masked = masked(&array, part, &style);
        assert_eq!(masked.data_type(), array.data_type());
        assert_eq!(masked.len(), array.len());
        shown(&masked)
    }

    #[test]
    fn texts_are_masked_by_class_of_character() {
        let texts = ["Ada-17 b.", "Łódź Ñ", "José 李明 ٣", "", "a\u{301}"];
        assert_eq!(apply(&redact(), StringArray::from(texts.to_vec())), ["Xxx-nn x.", "Xxxx X", "Xxxx xx n", "", "xx"]);
        let last = |texts: &[&str]| apply(&show_last_4(), StringArray::from(texts.to_vec()));
        assert_eq!(
            last(&["078-05-1120", "12345", "1234", "a", "", "é李明ñx"]),
            ["xxx-xx-1120", "x2345", "xxxx", "x", "", "x李明ñx"]
        );
        let first = |texts: &[&str]| apply(&show_first_4(), StringArray::from(texts.to_vec()));
        assert_eq!(
            first(&["078-05-1120", "12345", "1234", "李明李明李"]),
            ["078-xx-xxxx", "1234x", "xxxx", "李明李明x"]
        );
        assert_eq!(apply(&show_year(), StringArray::from(vec!["1931-05-17"])), ["xxxx-xx-xx"]);
    }

    #[test]
    fn every_form_of_text_is_masked_alike() {
        let texts =
            vec![Some("Ada Lovelace 1815"), None, Some(""), Some("a long text that no view holds within itself, 42")];
        for function in [redact(), show_last_4(), show_first_4(), show_year()] {
            let plain = apply(&function, StringArray::from(texts.clone()));
            assert_eq!(plain, apply(&function, LargeStringArray::from(texts.clone())));
            assert_eq!(plain, apply(&function, StringViewArray::from(texts.clone())));
            assert_eq!(plain[1], "NULL");
        }
    }

    #[test]
    fn numbers_keep_sign_and_length() {
        assert_eq!(
            apply(&redact(), Int32Array::from(vec![0, 7, -42, i32::MIN, i32::MAX])),
            ["1", "1", "-11", "-1111111111", "1111111111"]
        );
        assert_eq!(apply(&redact(), Int8Array::from(vec![i8::MIN, 99])), ["-111", "11"]);
        assert_eq!(apply(&redact(), UInt64Array::from(vec![u64::MAX])), ["11111111111111111111"]);
        assert_eq!(
            apply(&show_last_4(), Int64Array::from(vec![123_456, 1234, 0, -98_765, i64::MAX])),
            ["113456", "1111", "1", "-18765", "1111111111111115807"]
        );
        assert_eq!(
            apply(&show_first_4(), Int64Array::from(vec![123_456, 12, i64::MIN])),
            ["123411", "11", "-9223111111111111111"]
        );
        assert_eq!(apply(&show_first_4(), Int16Array::from(vec![i16::MAX, i16::MIN])), ["32761", "-32761"]);
    }

    #[test]
    fn dates_keep_what_is_asked_for() {
        let dates =
            || Date32Array::from(vec![Some(0), Some(-14_109), Some(19_782), None, Some(i32::MIN), Some(i32::MAX)]);
        assert_eq!(apply(&redact(), dates())[..4], ["0001-01-01", "0001-01-01", "0001-01-01", "NULL"]);
        assert_eq!(apply(&show_year(), dates())[..4], ["1970-01-01", "1931-01-01", "2024-01-01", "NULL"]);
        // The first day of the first year that there is lies before it.
        let masked = masked(&(Arc::new(dates()) as ArrayRef), Part::Whole, &style(&show_year()).1);
        assert!(masked.is_null(4) && masked.is_valid(5));
        for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
            for zone in [None, Some("+02:00".into())] {
                let times = cast(
                    &Int64Array::from(vec![Some(1_709_164_800), None]),
                    &DataType::Timestamp(TimeUnit::Second, None),
                );
                let times = cast(&times.unwrap(), &DataType::Timestamp(unit, zone)).unwrap();
                let year = masked_ref(&times, &show_year());
                let seconds =
                    cast(&cast(&year, &DataType::Timestamp(TimeUnit::Second, None)).unwrap(), &DataType::Int64);
                assert_eq!(shown(&seconds.unwrap())[1], "NULL");
                assert_eq!(masked_ref(&times, &redact()).null_count(), 2);
            }
        }
    }

    fn masked_ref(array: &ArrayRef, function: &ScalarUDF) -> ArrayRef {
        let (part, style) = style(function);
        let masked = masked(array, part, &style);
        assert_eq!(masked.data_type(), array.data_type());
        masked
    }

    #[test]
    fn the_calendar_is_right_on_every_day() {
        let mut expected = (1600, 1, 1);
        let mut day = days_of(1600, 1, 1).unwrap();
        while expected != (2401, 1, 1) {
            assert_eq!(civil(day), Some(expected));
            assert_eq!(days_of(expected.0, expected.1, expected.2), Some(day));
            let leap = expected.0 % 4 == 0 && (expected.0 % 100 != 0 || expected.0 % 400 == 0);
            let days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            expected = match expected {
                (year, 12, 31) => (year + 1, 1, 1),
                (year, month, of_month) if of_month == days[month as usize - 1] => (year, month + 1, 1),
                (year, month, of_month) => (year, month, of_month + 1),
            };
            day += 1;
        }
    }

    #[test]
    fn what_cannot_be_masked_is_null() {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), Some(2)])]);
        let field = Arc::new(Field::new("a", DataType::Utf8, true));
        let structure = StructArray::from(vec![(field, Arc::new(StringArray::from(vec!["secret"])) as ArrayRef)]);
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(Float64Array::from(vec![1.5])),
            Arc::new(Decimal128Array::from(vec![12_345])),
            Arc::new(BooleanArray::from(vec![true])),
            Arc::new(BinaryArray::from_vec(vec![b"secret"])),
            Arc::new(list),
            Arc::new(structure),
            cast(&Int32Array::from(vec![1]), &DataType::Time32(TimeUnit::Second)).unwrap(),
            cast(
                &StringArray::from(vec!["secret"]),
                &DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            )
            .unwrap(),
        ];
        let key = KeyedHash::new(&[1; 32]);
        for array in &arrays {
            for function in [redact(), show_last_4(), show_first_4(), show_year()] {
                assert_eq!(masked_ref(array, &function).logical_null_count(), 1, "{}", array.data_type());
            }
            assert_eq!(hashed(array, &key).data_type(), array.data_type());
            assert_eq!(hashed(array, &key).logical_null_count(), 1, "{}", array.data_type());
        }
        assert_eq!(hashed(&(Arc::new(Int32Array::from(vec![7])) as ArrayRef), &key).null_count(), 1);
    }

    #[test]
    fn a_hash_is_keyed() {
        let array: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("")]));
        let one = shown(&hashed(&array, &KeyedHash::new(&[1; 32])));
        assert_eq!(one[0].len(), 64);
        assert_eq!(one[1], "NULL");
        assert_ne!(one, shown(&hashed(&array, &KeyedHash::new(&[2; 32]))));
        let views: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), None, Some("")]));
        assert_eq!(one, shown(&hashed(&views, &KeyedHash::new(&[1; 32]))));
        // SHA-256 of "a", which anyone can look up.
        assert_ne!(one[0], "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb");
    }

    #[test]
    fn calls_of_hives_functions_are_read_as_there() {
        let scalars = |values: &[&str]| -> Vec<ColumnarValue> {
            values.iter().map(|text| ColumnarValue::Scalar(ScalarValue::from(*text))).collect()
        };
        let apply = |part, args: &[&str], value: &str| {
            let (part, style) = called(part, &scalars(args)).unwrap();
            shown(&masked(&(Arc::new(StringArray::from(vec![value])) as ArrayRef), part, &style)).remove(0)
        };
        assert_eq!(apply(Part::Whole, &["U", "-1", "#", "*"], "Ab 7"), "Ub*#");
        assert_eq!(apply(Part::First(4), &["2"], "Ada-17"), "Xxa-17");
        assert_eq!(apply(Part::Last(4), &[], "Ada-1785"), "Ada-nnnn");
        assert_eq!(apply(Part::AllButFirst(4), &["0"], "Ada"), "Xxx");
        assert_eq!(apply(Part::AllButLast(4), &["-3"], "Ada"), "Xxx");
        assert_eq!(apply(Part::Whole, &["é"], "A"), "X");
        let (part, style) = called(Part::Whole, &scalars(&["x", "x", "x", "-1", "9", "-1", "1", "2023"])).unwrap();
        let dates: ArrayRef = Arc::new(Date32Array::from(vec![19_813]));
        // 2024-03-31 with February of 2023: the day is the last that there is.
        assert_eq!(shown(&masked(&dates, part, &style)), ["2023-02-28"]);
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![i32::MAX, 12]));
        assert_eq!(shown(&masked(&numbers, part, &style)), ["NULL", "99"]);
    }
}
