//! Arrow's types and values as PostgreSQL's, and back for parameters.

use std::fmt::{Display, LowerExp, Write};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_cast::display::{ArrayFormatter, DurationFormat, FormatOptions};
use arrow_cast::{CastOptions, cast, cast_with_options};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use bytes::{BufMut, BytesMut};

use super::wire::{Out, put_text};

pub const BOOL: u32 = 16;
pub const BYTEA: u32 = 17;
pub const INT8: u32 = 20;
pub const INT2: u32 = 21;
pub const INT4: u32 = 23;
pub const TEXT: u32 = 25;
pub const FLOAT4: u32 = 700;
pub const FLOAT8: u32 = 701;
pub const DATE: u32 = 1082;
pub const TIMESTAMP: u32 = 1114;
pub const TIMESTAMPTZ: u32 = 1184;
pub const NUMERIC: u32 = 1700;
const OTHER_TEXTS: [u32; 5] = [0, 18, 19, 705, 1043];
const BPCHAR: u32 = 1042;

/// Days, and microseconds, from 1970 to 2000, where PostgreSQL begins to count.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;

/// A value cannot be told in the form that was asked for, or not be read in the form that it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit;

/// PostgreSQL's type for one of Arrow's. What has no like is text.
pub fn oid(data_type: &DataType) -> u32 {
    match data_type {
        DataType::Boolean => BOOL,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => INT2,
        DataType::Int32 | DataType::UInt16 => INT4,
        DataType::Int64 | DataType::UInt32 => INT8,
        DataType::UInt64 | DataType::Decimal128(..) => NUMERIC,
        DataType::Float16 | DataType::Float32 => FLOAT4,
        DataType::Float64 => FLOAT8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => BYTEA,
        DataType::Date32 | DataType::Date64 => DATE,
        DataType::Timestamp(_, None) => TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => TIMESTAMPTZ,
        DataType::Dictionary(_, values) => oid(values),
        _ => TEXT,
    }
}

/// As `format_type` names it.
pub fn name(oid: u32) -> &'static str {
    match oid {
        BOOL => "boolean",
        BYTEA => "bytea",
        INT8 => "bigint",
        INT2 => "smallint",
        INT4 => "integer",
        FLOAT4 => "real",
        FLOAT8 => "double precision",
        DATE => "date",
        TIMESTAMP => "timestamp without time zone",
        TIMESTAMPTZ => "timestamp with time zone",
        NUMERIC => "numeric",
        _ => "text",
    }
}

pub fn size(oid: u32) -> i16 {
    match oid {
        BOOL => 1,
        INT2 => 2,
        INT4 | FLOAT4 | DATE => 4,
        INT8 | FLOAT8 | TIMESTAMP | TIMESTAMPTZ => 8,
        _ => -1,
    }
}

/// Which columns go as text and which in binary: none said is text, one is for all.
#[derive(Clone, Default)]
pub struct Formats(pub Vec<bool>);

impl Formats {
    pub fn binary(&self, column: usize) -> bool {
        match self.0.as_slice() {
            [] => false,
            [one] => *one,
            all => all.get(column).copied().unwrap_or(false),
        }
    }
}

pub fn row_description(out: &mut Out, schema: &Schema, formats: &Formats) {
    out.message(b'T', |out| {
        out.put_i16(schema.fields().len() as i16);
        for (number, field) in schema.fields().iter().enumerate() {
            let oid = oid(field.data_type());
            put_text(out, field.name());
            out.put_i32(0);
            out.put_i16(0);
            out.put_u32(oid);
            out.put_i16(size(oid));
            out.put_i32(-1);
            out.put_i16(formats.binary(number).into());
        }
    });
}

/// A batch in few types: wide ones stand for narrow, so that rows are written by few kinds of writers.
fn plain(array: &ArrayRef) -> Result<ArrayRef, Unfit> {
    let to = match array.data_type() {
        DataType::Dictionary(_, values) => {
            let values = cast(array, values).map_err(|_| Unfit)?;
            return plain(&values);
        }
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Timestamp(unit, zone) if *unit != TimeUnit::Microsecond => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        _ => return Ok(Arc::clone(array)),
    };
    cast(array, &to).map_err(|_| Unfit)
}

/// The rows of a batch as DataRow messages.
pub struct RowWriter {
    columns: Vec<(ArrayRef, bool)>,
}

impl RowWriter {
    pub fn new(batch: &RecordBatch, formats: &Formats) -> Result<Self, Unfit> {
        let columns = batch
            .columns()
            .iter()
            .enumerate()
            .map(|(number, array)| Ok((plain(array)?, formats.binary(number))))
            .collect::<Result<_, _>>()?;
        Ok(Self { columns })
    }

    /// Writes rows from `from` on until `most` bytes wait or `rows` are written; says how many there were.
    pub fn write(&self, out: &mut Out, from: usize, rows: usize, most: usize) -> Result<usize, Unfit> {
        let options = FormatOptions::default()
            .with_display_error(false)
            .with_duration_format(DurationFormat::ISO8601)
            .with_date_format(Some("%Y-%m-%d"))
            .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
            .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"));
        let formatters = self
            .columns
            .iter()
            .map(|(array, _)| ArrayFormatter::try_new(array.as_ref(), &options).map_err(|_| Unfit))
            .collect::<Result<Vec<_>, _>>()?;
        let mut written = 0;
        while written < rows && out.0.len() < most {
            let row = from + written;
            let mut unfit = None;
            out.message(b'D', |out| {
                out.put_i16(self.columns.len() as i16);
                for ((array, binary), formatter) in self.columns.iter().zip(&formatters) {
                    if array.is_null(row) {
                        out.put_i32(-1);
                        continue;
                    }
                    let at = out.len();
                    out.put_i32(0);
                    let put =
                        if *binary { put_binary(out, array, row) } else { put_as_text(out, array, row, formatter) };
                    unfit = unfit.or(put.err());
                    let length = i32::try_from(out.len() - at - 4).unwrap_or(i32::MAX);
                    if let Some(place) = out.get_mut(at..at + 4) {
                        place.copy_from_slice(&length.to_be_bytes());
                    }
                }
            });
            if let Some(unfit) = unfit {
                return Err(unfit);
            }
            written += 1;
        }
        Ok(written)
    }
}

fn put_as_text(out: &mut BytesMut, array: &ArrayRef, row: usize, formatter: &ArrayFormatter<'_>) -> Result<(), Unfit> {
    match array.data_type() {
        DataType::Boolean => out.put_u8(if array.as_boolean().value(row) { b't' } else { b'f' }),
        DataType::Utf8 => out.extend_from_slice(array.as_string::<i32>().value(row).as_bytes()),
        DataType::Binary => {
            out.extend_from_slice(b"\\x");
            out.extend_from_slice(data_encoding::HEXLOWER.encode(array.as_binary::<i32>().value(row)).as_bytes());
        }
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            float(out, f64::from(value), &value)?;
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            float(out, value, &value)?;
        }
        _ => write!(out, "{}", formatter.value(row)).map_err(|_| Unfit)?,
    }
    Ok(())
}

/// As short as it can be read back from. Arrow's own words for 1 are `1.0`.
fn float<T: Display + LowerExp>(out: &mut BytesMut, size: f64, value: &T) -> Result<(), Unfit> {
    if size.is_infinite() {
        out.extend_from_slice(if size > 0.0 { b"Infinity" } else { b"-Infinity" });
        return Ok(());
    }
    let plain = size == 0.0 || size.is_nan() || (1e-4..1e15).contains(&size.abs());
    if plain { write!(out, "{value}") } else { write!(out, "{value:e}") }.map_err(|_| Unfit)
}

fn put_binary(out: &mut BytesMut, array: &ArrayRef, row: usize) -> Result<(), Unfit> {
    fn at<T: ArrowPrimitiveType>(array: &ArrayRef, row: usize) -> T::Native {
        array.as_primitive::<T>().value(row)
    }
    match array.data_type() {
        DataType::Boolean => out.put_u8(array.as_boolean().value(row).into()),
        DataType::Int8 => out.put_i16(at::<Int8Type>(array, row).into()),
        DataType::UInt8 => out.put_i16(at::<UInt8Type>(array, row).into()),
        DataType::Int16 => out.put_i16(at::<Int16Type>(array, row)),
        DataType::UInt16 => out.put_i32(at::<UInt16Type>(array, row).into()),
        DataType::Int32 => out.put_i32(at::<Int32Type>(array, row)),
        DataType::UInt32 => out.put_i64(at::<UInt32Type>(array, row).into()),
        DataType::Int64 => out.put_i64(at::<Int64Type>(array, row)),
        DataType::UInt64 => numeric(out, &at::<UInt64Type>(array, row).to_string())?,
        DataType::Decimal128(..) => {
            let text = array.as_primitive::<Decimal128Type>().value_as_string(row);
            numeric(out, &text)?;
        }
        DataType::Float32 => out.put_f32(at::<Float32Type>(array, row)),
        DataType::Float64 => out.put_f64(at::<Float64Type>(array, row)),
        DataType::Utf8 => out.extend_from_slice(array.as_string::<i32>().value(row).as_bytes()),
        DataType::Binary => out.extend_from_slice(array.as_binary::<i32>().value(row)),
        DataType::Date32 => out.put_i32(at::<Date32Type>(array, row).checked_sub(EPOCH_DAYS).ok_or(Unfit)?),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            out.put_i64(at::<TimestampMicrosecondType>(array, row).checked_sub(EPOCH_MICROSECONDS).ok_or(Unfit)?);
        }
        // What has no like in PostgreSQL is text, which is the same in both forms.
        _ => {
            let formatter = ArrayFormatter::try_new(array.as_ref(), &FormatOptions::default()).map_err(|_| Unfit)?;
            put_as_text(out, array, row, &formatter)?;
        }
    }
    Ok(())
}

/// `numeric` in binary: groups of four digits, the weight of the first, sign, and digits behind the point.
fn numeric(out: &mut BytesMut, text: &str) -> Result<(), Unfit> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = whole.trim_start_matches('0');
    let padded_whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let padded_fraction = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
    let mut weight = (padded_whole.len() / 4) as i16 - 1;
    let digits = padded_whole + &padded_fraction;
    let mut groups = Vec::new();
    for group in digits.as_bytes().chunks(4) {
        let group = std::str::from_utf8(group).ok().and_then(|group| group.parse::<i16>().ok()).ok_or(Unfit)?;
        groups.push(group);
    }
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    weight -= leading as i16;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    out.put_i16(groups.len() as i16);
    out.put_i16(if groups.is_empty() { 0 } else { weight });
    out.put_i16(if negative && !groups.is_empty() { 0x4000 } else { 0 });
    out.put_i16(fraction.len() as i16);
    for group in groups {
        out.put_i16(group);
    }
    Ok(())
}

/// A parameter as the only value of an array, of the type that the client or, where it says none, the statement says.
pub fn parameter(
    value: Option<&[u8]>,
    binary: bool,
    said: u32,
    inferred: Option<&DataType>,
) -> Result<ArrayRef, Unfit> {
    let oid = if OTHER_TEXTS.contains(&said) { inferred.map_or(TEXT, oid) } else { said };
    let to = match oid {
        BOOL => DataType::Boolean,
        BYTEA => DataType::Binary,
        INT2 => DataType::Int16,
        INT4 => DataType::Int32,
        INT8 => DataType::Int64,
        FLOAT4 => DataType::Float32,
        FLOAT8 => DataType::Float64,
        DATE => DataType::Date32,
        TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        NUMERIC => match inferred {
            Some(inferred @ DataType::Decimal128(..)) => inferred.clone(),
            _ => DataType::Float64,
        },
        TEXT | BPCHAR => DataType::Utf8,
        // What is not known is taken where it comes as text, and goes as text.
        _ if !binary => DataType::Utf8,
        _ => return Err(Unfit),
    };
    let Some(bytes) = value else { return Ok(arrow_array::new_null_array(&to, 1)) };
    if binary { from_binary(bytes, oid) } else { from_text(bytes, &to) }
}

fn from_text(bytes: &[u8], to: &DataType) -> Result<ArrayRef, Unfit> {
    let text = std::str::from_utf8(bytes).map_err(|_| Unfit)?;
    let text = match to {
        DataType::Utf8 => return Ok(Arc::new(StringArray::from(vec![text]))),
        DataType::Binary => {
            let digits = text.strip_prefix("\\x").ok_or(Unfit)?;
            let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map_err(|_| Unfit)?;
            return Ok(Arc::new(BinaryArray::from(vec![bytes.as_slice()])));
        }
        DataType::Boolean => match text.trim().to_ascii_lowercase().as_str() {
            "t" | "true" | "on" | "yes" | "y" | "1" => "true",
            "f" | "false" | "off" | "no" | "n" | "0" => "false",
            _ => return Err(Unfit),
        },
        // The JDBC driver sends a zone behind a date.
        DataType::Date32 => text.split(' ').next().unwrap_or_default(),
        _ => text.trim(),
    };
    let array: ArrayRef = Arc::new(StringArray::from(vec![text]));
    cast_with_options(&array, to, &CastOptions { safe: false, ..CastOptions::default() }).map_err(|_| Unfit)
}

fn from_binary(bytes: &[u8], oid: u32) -> Result<ArrayRef, Unfit> {
    fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Unfit> {
        bytes.try_into().map_err(|_| Unfit)
    }
    let moment = || i64::from_be_bytes(fixed(bytes)?).checked_add(EPOCH_MICROSECONDS).ok_or(Unfit);
    Ok(match oid {
        BOOL => Arc::new(BooleanArray::from(vec![fixed::<1>(bytes)? != [0]])),
        INT2 => Arc::new(Int16Array::from(vec![i16::from_be_bytes(fixed(bytes)?)])),
        INT4 => Arc::new(Int32Array::from(vec![i32::from_be_bytes(fixed(bytes)?)])),
        INT8 => Arc::new(Int64Array::from(vec![i64::from_be_bytes(fixed(bytes)?)])),
        FLOAT4 => Arc::new(Float32Array::from(vec![f32::from_be_bytes(fixed(bytes)?)])),
        FLOAT8 => Arc::new(Float64Array::from(vec![f64::from_be_bytes(fixed(bytes)?)])),
        BYTEA => Arc::new(BinaryArray::from(vec![bytes])),
        DATE => {
            let days = i32::from_be_bytes(fixed(bytes)?).checked_add(EPOCH_DAYS).ok_or(Unfit)?;
            Arc::new(arrow_array::Date32Array::from(vec![days]))
        }
        TIMESTAMP => Arc::new(TimestampMicrosecondArray::from(vec![moment()?])),
        TIMESTAMPTZ => Arc::new(TimestampMicrosecondArray::from(vec![moment()?]).with_timezone("UTC")),
        TEXT | BPCHAR => Arc::new(StringArray::from(vec![std::str::from_utf8(bytes).map_err(|_| Unfit)?])),
        _ => return Err(Unfit),
    })
}

/// A batch of texts: what the server answers itself.
pub fn texts(names: &[&str], rows: &[Vec<Option<String>>]) -> RecordBatch {
    let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
    let columns: Vec<ArrayRef> = (0..names.len())
        .map(|column| {
            let values = rows.iter().map(|row| row.get(column).cloned().flatten());
            Arc::new(values.collect::<StringArray>()) as ArrayRef
        })
        .collect();
    let schema = Arc::new(Schema::new(fields));
    RecordBatch::try_new(schema.clone(), columns).unwrap_or_else(|_| RecordBatch::new_empty(schema))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn binary_numeric(text: &str) -> Vec<i16> {
        let mut out = BytesMut::new();
        numeric(&mut out, text).unwrap();
        out.chunks(2).map(|pair| i16::from_be_bytes(pair.try_into().unwrap())).collect()
    }

    /// As PostgreSQL 15's `numeric_send` gives them.
    #[test]
    fn numbers_are_those_of_postgresql() {
        assert_eq!(binary_numeric("0"), [0, 0, 0, 0]);
        assert_eq!(binary_numeric("1"), [1, 0, 0, 0, 1]);
        assert_eq!(binary_numeric("-12345.678"), [3, 1, 0x4000, 3, 1, 2345, 6780]);
        assert_eq!(binary_numeric("0.0001"), [1, -1, 0, 4, 1]);
        assert_eq!(binary_numeric("10000"), [1, 1, 0, 0, 1]);
        assert_eq!(binary_numeric("0.00"), [0, 0, 0, 2]);
    }

    #[test]
    fn parameters_come_as_their_type_and_nothing_else() {
        let int = parameter(Some(b"42"), false, 0, Some(&DataType::Int64)).unwrap();
        assert_eq!(int.as_primitive::<Int64Type>().value(0), 42);
        let int = parameter(Some(&[0, 0, 0, 7]), true, INT4, None).unwrap();
        assert_eq!(int.as_primitive::<Int32Type>().value(0), 7);
        let date = parameter(Some(b"2000-01-02 +00"), false, 0, Some(&DataType::Date32)).unwrap();
        assert_eq!(date.as_primitive::<Date32Type>().value(0), EPOCH_DAYS + 1);
        let text = parameter(Some(b"'; DROP TABLE x; --"), false, 1043, None).unwrap();
        assert_eq!(text.as_string::<i32>().value(0), "'; DROP TABLE x; --");
        assert!(parameter(None, false, INT8, None).unwrap().is_null(0));
        assert_eq!(parameter(Some(b"many"), false, INT8, None).err(), Some(Unfit));
        assert_eq!(parameter(Some(b"abc"), true, INT8, None).err(), Some(Unfit));
        assert_eq!(parameter(Some(b"\xff"), false, TEXT, None).err(), Some(Unfit));
        assert_eq!(parameter(Some(b"x"), true, 600, None).err(), Some(Unfit));
    }
}
