//! Columns of any Arrow type as columns of text, without loss.
//!
//! Rules that take text (tokens, hashes, dates in their own spelling) apply to Parquet as well as to CSV.
//! For that every type has one spelling here: ISO 8601 for dates and times, all digits of a number, JSON for
//! lists. Binary has none, and is refused rather than guessed.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, OffsetSizeTrait, RecordBatch, RecordBatchOptions, StringViewArray, StructArray, new_null_array,
};
use arrow_buffer::NullBuffer;
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, Fields, Schema};

use crate::error::{FormatError, HeaderProblem};

/// A batch whose columns are all text.
pub struct TextColumns {
    pub batch: RecordBatch,
    /// Values that have no text form, such as a time outside its type's calendar, by row and column of `batch`; null there.
    pub unreadable: Vec<(usize, usize)>,
}

/// The names of the columns that [`text_columns`] gives: a struct's members are named `parent.member`.
///
/// # Errors
/// [`FormatError::Header`] when two columns have the same name after flattening.
pub fn text_names(schema: &Schema) -> Result<Vec<String>, FormatError> {
    fn names(prefix: &str, fields: &Fields, out: &mut Vec<String>) {
        for field in fields {
            let name = format!("{prefix}{}", field.name());
            match field.data_type() {
                DataType::Struct(members) => names(&format!("{name}."), members, out),
                _ => out.push(name),
            }
        }
    }
    let mut out = Vec::new();
    names("", schema.fields(), &mut out);
    let mut seen = HashMap::with_capacity(out.len());
    for (i, name) in out.iter().enumerate() {
        if let Some(first) = seen.insert(name.as_str(), i) {
            return Err(HeaderProblem::Duplicate { first: first + 1, second: i + 1 }.into());
        }
    }
    Ok(out)
}

/// The batch with every column as `Utf8View`; those that are not `needed`, by their position among [`text_names`], are null.
///
/// A struct becomes its members, named `parent.member`; a null struct has null members. Lists and maps
/// become JSON text (a map as the list of its entries, since its keys may repeat). A timestamp with
/// a time zone keeps its instant and is spelled in UTC, or with its offset where that is what the type names.
/// Null stays null.
///
/// # Errors
/// [`FormatError::NoTextForm`] for needed columns of binary, intervals, durations and unions; [`FormatError::Header`]
/// when two columns have the same name after flattening.
pub fn text_columns(batch: &RecordBatch, needed: impl Fn(usize) -> bool) -> Result<TextColumns, FormatError> {
    let names = text_names(batch.schema_ref())?;
    let mut flat = Flat { columns: Vec::with_capacity(names.len()), unreadable: Vec::new() };
    for (i, array) in batch.columns().iter().enumerate() {
        flat.add(i + 1, array, None, &needed)?;
    }
    let fields: Fields = names.into_iter().map(|name| Field::new(name, DataType::Utf8View, true)).collect();
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let text = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), flat.columns, &rows);
    Ok(TextColumns { batch: text.map_err(|_| refused())?, unreadable: flat.unreadable })
}

/// Where the columns of a batch hold something, in the order and under the names of [`text_names`]; `None`: in every row.
pub fn filled(batch: &RecordBatch) -> Vec<Option<NullBuffer>> {
    fn add(array: &ArrayRef, nulls: Option<&NullBuffer>, out: &mut Vec<Option<NullBuffer>>) {
        let nulls = NullBuffer::union(nulls, array.logical_nulls().as_ref());
        match array.as_struct_opt() {
            Some(parent) => {
                for member in parent.columns() {
                    add(member, nulls.as_ref(), out);
                }
            }
            None => out.push(nulls),
        }
    }
    let mut out = Vec::new();
    for column in batch.columns() {
        add(column, None, &mut out);
    }
    out
}

/// Columns of text while they are made.
struct Flat {
    columns: Vec<ArrayRef>,
    unreadable: Vec<(usize, usize)>,
}

impl Flat {
    /// Appends a column, or the members of a struct; `nulls` are those of the structs around it.
    fn add(
        &mut self,
        position: usize,
        array: &ArrayRef,
        nulls: Option<&NullBuffer>,
        needed: &impl Fn(usize) -> bool,
    ) -> Result<(), FormatError> {
        let nulls = NullBuffer::union(nulls, array.logical_nulls().as_ref());
        if let Some(parent) = array.as_struct_opt() {
            for member in parent.columns() {
                self.add(position, member, nulls.as_ref(), needed)?;
            }
            return Ok(());
        }
        let column = self.columns.len();
        if !needed(column) {
            self.columns.push(new_null_array(&DataType::Utf8View, array.len()));
            return Ok(());
        }
        let text = match text(position, array) {
            Ok(text) => text,
            Err(FormatError::Batch { .. }) => {
                let mut values = StringViewBuilder::with_capacity(array.len());
                let mut odd = Vec::new();
                readable(position, array, 0, &mut values, &mut odd)?;
                let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
                self.unreadable.extend(odd.into_iter().filter(|row| !is_null(*row)).map(|row| (row, column)));
                values.finish()
            }
            Err(error) => return Err(error),
        };
        let own = text.logical_nulls();
        let (views, buffers, _) = text.into_parts();
        let nulls = NullBuffer::union(nulls.as_ref(), own.as_ref());
        let text = StringViewArray::try_new(views, buffers, nulls).map_err(|_| refused())?;
        self.columns.push(Arc::new(text));
        Ok(())
    }
}

/// The text of what can be written, found by halving what cannot; the rows of the others.
fn readable(
    position: usize,
    array: &ArrayRef,
    first: usize,
    values: &mut StringViewBuilder,
    odd: &mut Vec<usize>,
) -> Result<(), FormatError> {
    match text(position, array) {
        Ok(text) => text.iter().for_each(|value| values.append_option(value)),
        Err(FormatError::Batch { .. }) if array.len() > 1 => {
            let half = array.len() / 2;
            readable(position, &array.slice(0, half), first, values, odd)?;
            readable(position, &array.slice(half, array.len() - half), first + half, values, odd)?;
        }
        Err(FormatError::Batch { .. }) => {
            values.append_null();
            odd.push(first);
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The text of each value of an array that is no struct.
fn text(position: usize, array: &ArrayRef) -> Result<StringViewArray, FormatError> {
    use DataType as T;
    let no_text = |data_type| Err(FormatError::NoTextForm { column: position, data_type });
    let cast_to = |array: &ArrayRef, to: &DataType| {
        // Not `safe`: that would make null of what cannot be written.
        let options = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(array, to, &options).map_err(|_| refused())
    };
    let plain: ArrayRef = match array.data_type() {
        T::Null => new_null_array(&T::Utf8View, array.len()),
        T::Utf8View => Arc::clone(array),
        T::Utf8 | T::LargeUtf8 => cast_to(array, &T::Utf8View)?,
        T::Boolean
        | T::Int8
        | T::Int16
        | T::Int32
        | T::Int64
        | T::UInt8
        | T::UInt16
        | T::UInt32
        | T::UInt64
        | T::Float16
        | T::Float32
        | T::Float64
        | T::Decimal32(..)
        | T::Decimal64(..)
        | T::Decimal128(..)
        | T::Decimal256(..)
        | T::Date32
        | T::Date64
        | T::Time32(_)
        | T::Time64(_)
        | T::Timestamp(_, None) => cast_to(&cast_to(array, &T::LargeUtf8)?, &T::Utf8View)?,
        T::Timestamp(unit, Some(zone)) => {
            // A zone's name needs a time zone database to be spelled; the instant does not.
            let is_offset = zone.starts_with(['+', '-']);
            let utc = T::Timestamp(*unit, Some("+00:00".into()));
            let array = if is_offset { Arc::clone(array) } else { cast_to(array, &utc)? };
            cast_to(&cast_to(&array, &T::LargeUtf8)?, &T::Utf8View)?
        }
        T::Dictionary(_, values) => return text(position, &cast_to(array, values)?),
        T::RunEndEncoded(_, values) => {
            return text(position, &cast_to(array, values.data_type())?);
        }
        T::List(_) | T::LargeList(_) | T::FixedSizeList(..) | T::Map(..) | T::Struct(_) => {
            return json(position, array);
        }
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => {
            return no_text("Binary");
        }
        T::Interval(_) => return no_text("Interval"),
        T::Duration(_) => return no_text("Duration"),
        T::Union(..) => return no_text("Union"),
        T::ListView(_) | T::LargeListView(_) => return no_text("ListView"),
    };
    Ok(plain.as_string_view().clone())
}

/// The JSON of each value. A null array slot is null here, a null inside of a list is `null`.
fn json(position: usize, array: &ArrayRef) -> Result<StringViewArray, FormatError> {
    match array.data_type() {
        DataType::List(_) => list_json(position, array.as_list::<i32>()),
        DataType::LargeList(_) => list_json(position, array.as_list::<i64>()),
        DataType::FixedSizeList(_, size) => {
            let values = json(position, array.as_fixed_size_list().values())?;
            let size = usize::try_from(*size).unwrap_or_default();
            // Values of a sliced array begin with the slice.
            Ok(joined(array.as_ref(), &values, |row| (row * size, (row + 1) * size)))
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            let entries = json(position, &entries)?;
            let offsets = map.value_offsets();
            Ok(joined(array.as_ref(), &entries, |row| bounds(offsets, row)))
        }
        DataType::Struct(fields) => struct_json(position, array.as_struct(), fields),
        data_type => {
            let text = text(position, array)?;
            if data_type.is_integer() || is_exact(data_type) {
                return Ok(text);
            }
            let mut quoted = StringViewBuilder::with_capacity(text.len());
            let mut json = String::new();
            for value in &text {
                quoted.append_option(value.map(|value| {
                    json.clear();
                    push_quoted(&mut json, value);
                    json.as_str()
                }));
            }
            Ok(quoted.finish())
        }
    }
}

/// Whether a value's text is JSON already. Floats are not: NaN and the infinities have no JSON number.
fn is_exact(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
    )
}

fn list_json<O: OffsetSizeTrait>(
    position: usize,
    list: &arrow_array::GenericListArray<O>,
) -> Result<StringViewArray, FormatError> {
    let values = json(position, list.values())?;
    let offsets = list.value_offsets();
    Ok(joined(list, &values, |row| bounds(offsets, row)))
}

fn bounds<O: OffsetSizeTrait>(offsets: &[O], row: usize) -> (usize, usize) {
    let at = |row: usize| offsets.get(row).map_or(0, |offset| offset.as_usize());
    (at(row), at(row + 1))
}

/// `[a,b]` for the values from and to which each row reaches.
fn joined(rows: &dyn Array, values: &StringViewArray, reach: impl Fn(usize) -> (usize, usize)) -> StringViewArray {
    let mut out = StringViewBuilder::with_capacity(rows.len());
    let mut json = String::new();
    for row in 0..rows.len() {
        if rows.is_null(row) {
            out.append_null();
            continue;
        }
        json.clear();
        json.push('[');
        let (from, to) = reach(row);
        for i in from..to {
            if i > from {
                json.push(',');
            }
            json.push_str(value_or_null(values, i));
        }
        json.push(']');
        out.append_value(&json);
    }
    out.finish()
}

fn struct_json(position: usize, array: &StructArray, fields: &Fields) -> Result<StringViewArray, FormatError> {
    let members: Result<Vec<_>, _> = array.columns().iter().map(|c| json(position, c)).collect();
    let members = members?;
    let mut out = StringViewBuilder::with_capacity(array.len());
    let mut json = String::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            out.append_null();
            continue;
        }
        json.clear();
        json.push('{');
        for (i, (field, member)) in fields.iter().zip(&members).enumerate() {
            if i > 0 {
                json.push(',');
            }
            push_quoted(&mut json, field.name());
            json.push(':');
            json.push_str(value_or_null(member, row));
        }
        json.push('}');
        out.append_value(&json);
    }
    Ok(out.finish())
}

fn value_or_null(values: &StringViewArray, i: usize) -> &str {
    if i < values.len() && values.is_valid(i) { values.value(i) } else { "null" }
}

/// A JSON string (RFC 8259, 7).
fn push_quoted(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            c if c < ' ' => {
                let hex = |n: u32| char::from_digit(n, 16).unwrap_or('0');
                json.push_str("\\u00");
                json.push(hex(c as u32 / 16));
                json.push(hex(c as u32 % 16));
            }
            c => json.push(c),
        }
    }
    json.push('"');
}

/// Arrow's own message may quote the value.
fn refused() -> FormatError {
    FormatError::Batch { doing: "writing a column as text" }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use arrow_array::builder::{Int32Builder, ListBuilder, MapBuilder, StringBuilder};
    use arrow_array::types::Int32Type;
    use arrow_array::*;

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap()
    }

    /// Each column as `name: a, b`, null as `~`.
    fn shown(batch: &RecordBatch) -> Vec<String> {
        let text = text_columns(batch, |_| true).unwrap().batch;
        let fields = text.schema();
        let columns = fields.fields().iter().zip(text.columns());
        columns
            .map(|(field, column)| {
                let values = column.as_string_view().iter();
                let values: Vec<_> = values.map(|v| v.unwrap_or("~").to_owned()).collect();
                format!("{}: {}", field.name(), values.join(" "))
            })
            .collect()
    }

    #[test]
    fn each_type_has_its_spelling() {
        let micros = 1_577_934_245_123_456_i64;
        let stamps = |zone: Option<&str>| -> ArrayRef {
            let array = TimestampMicrosecondArray::from(vec![Some(micros), None]);
            Arc::new(match zone {
                Some(zone) => array.with_timezone(zone),
                None => array,
            })
        };
        let decimals = Decimal128Array::from(vec![Some(-12_340), None]).with_precision_and_scale(10, 2).unwrap();
        let dictionary: DictionaryArray<Int32Type> = vec![Some("x"), None].into_iter().collect();
        let batch = batch(vec![
            ("bool", Arc::new(BooleanArray::from(vec![Some(true), None]))),
            ("i64", Arc::new(Int64Array::from(vec![Some(i64::MIN), None]))),
            ("u64", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None]))),
            ("f64", Arc::new(Float64Array::from(vec![Some(0.1), Some(f64::NAN)]))),
            ("f32", Arc::new(Float32Array::from(vec![Some(0.1), Some(1.0)]))),
            ("decimal", Arc::new(decimals)),
            ("date", Arc::new(Date32Array::from(vec![Some(18_263), Some(-1)]))),
            ("local", stamps(None)),
            ("utc", stamps(Some("UTC"))),
            ("zone", stamps(Some("America/New_York"))),
            ("offset", stamps(Some("-05:00"))),
            ("time", Arc::new(Time32SecondArray::from(vec![Some(3_661), None]))),
            ("dictionary", Arc::new(dictionary)),
            ("large", Arc::new(LargeStringArray::from(vec![Some(""), None]))),
            ("null", Arc::new(NullArray::new(2))),
        ]);
        assert_eq!(
            shown(&batch),
            [
                "bool: true ~",
                "i64: -9223372036854775808 ~",
                "u64: 18446744073709551615 ~",
                "f64: 0.1 NaN",
                "f32: 0.1 1.0",
                "decimal: -123.40 ~",
                "date: 2020-01-02 1969-12-31",
                "local: 2020-01-02T03:04:05.123456 ~",
                "utc: 2020-01-02T03:04:05.123456Z ~",
                "zone: 2020-01-02T03:04:05.123456Z ~",
                "offset: 2020-01-01T22:04:05.123456-05:00 ~",
                "time: 01:01:01 ~",
                "dictionary: x ~",
                "large:  ~",
                "null: ~ ~",
            ]
        );
    }

    #[test]
    fn structs_flatten_and_lists_are_json() {
        let int = |values: Vec<Option<i32>>| -> ArrayRef { Arc::new(Int32Array::from(values)) };
        let inner = StructArray::from(vec![(
            Arc::new(Field::new("c", DataType::Int32, true)),
            int(vec![Some(1), None, Some(3)]),
        )]);
        let outer = StructArray::new(
            vec![Arc::new(Field::new("b", inner.data_type().clone(), true))].into(),
            vec![Arc::new(inner)],
            Some(vec![true, true, false].into()),
        );
        let mut list = ListBuilder::new(StringBuilder::new());
        list.append_value([Some("x\"\u{1}"), None]);
        list.append_null();
        list.append_value([] as [Option<&str>; 0]);
        let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        map.keys().append_value("k");
        map.values().append_value(7);
        map.append(true).unwrap();
        map.append(false).unwrap();
        map.append(true).unwrap();
        let batch =
            batch(vec![("a", Arc::new(outer)), ("list", Arc::new(list.finish())), ("map", Arc::new(map.finish()))]);
        assert_eq!(
            shown(&batch),
            ["a.b.c: 1 ~ ~", "list: [\"x\\\"\\u0001\",null] ~ []", "map: [{\"keys\":\"k\",\"values\":7}] ~ []",]
        );
        let tail = shown(&batch.slice(1, 2));
        assert_eq!(tail[1], "list: ~ []");
        assert_eq!(tail[2], "map: ~ []");
    }

    #[test]
    fn what_has_no_text_is_refused_by_place() {
        let binary: ArrayRef = Arc::new(BinaryArray::from(vec![&b"canary"[..]]));
        let one: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        let error = text_columns(&batch(vec![("canary", Arc::clone(&one)), ("b", Arc::clone(&binary))]), |_| true)
            .err()
            .unwrap();
        let message = error.to_string();
        assert!(message.contains("column 2") && message.contains("Binary"));
        assert!(!message.contains("canary"));
        // The year 292278994 is in no calendar of ours, and not null either.
        let far: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![Some(0), Some(i64::MAX), None, Some(1)]));
        let text = text_columns(&batch(vec![("t", far)]), |_| true).unwrap();
        assert_eq!(text.unreadable, [(1, 0)]);
        let values: Vec<_> = text.batch.column(0).as_string_view().iter().collect();
        assert_eq!(values, [Some("1970-01-01T00:00:00"), None, None, Some("1970-01-01T00:00:00.001")]);
        // What nobody needs may be of any type.
        let batch = batch(vec![("n", one), ("b", binary)]);
        assert_eq!(text_names(batch.schema_ref()).unwrap(), ["n", "b"]);
        let text = text_columns(&batch, |column| column == 0).unwrap();
        assert_eq!((text.batch.column(0).null_count(), text.batch.column(1).null_count()), (0, 1));
    }

    #[test]
    fn one_name_is_one_column() {
        let inner: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        let field = Arc::new(Field::new("b", DataType::Int32, true));
        let outer: ArrayRef = Arc::new(StructArray::from(vec![(field, Arc::clone(&inner))]));
        let error = text_columns(&batch(vec![("a.b", inner), ("a", outer)]), |_| true).err().unwrap();
        let (first, second) = (1, 2);
        assert!(matches!(
            error,
            FormatError::Header(HeaderProblem::Duplicate { first: f, second: s }) if (f, s) == (first, second)
        ));
    }
}
