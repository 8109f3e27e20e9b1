//! Tables of messages: one row a message, and for each kind of segment one row a segment.
//!
//! A table's columns come from the dictionary alone, so that parts written by different runs agree. What a table has no
//! column for (more fields, further repetitions of a component, sub-components of their own) stands in the text of its
//! field, and in the text of the message.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use arrow_array::builder::{Int32Builder, StringViewBuilder};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::dictionary::Dictionary;
use super::message::{Message, Segment, Value};
use crate::error::FormatError;

/// The table of messages.
pub const MESSAGE: &str = "message";

/// The table of lines that are no segment, and of segments that neither the standard has nor a Z begins.
pub const OTHER: &str = "other";

/// So many fields has a segment that the dictionary does not know.
const UNKNOWN_FIELDS: usize = 30;

/// So many components has a value whose type another field tells (OBX-5).
const VARYING_COMPONENTS: usize = 6;

/// The columns of every segment table before its fields.
const KEYS: [&str; 4] = ["control_id", "patient", "segment", "parent"];

const MESSAGE_COLUMNS: [&str; 11] = [
    "control_id",
    "type",
    "trigger",
    "version",
    "sent",
    "sending_application",
    "sending_facility",
    "receiving_application",
    "receiving_facility",
    "patient",
    "message",
];

/// The columns of one kind of segment.
struct Layout {
    schema: SchemaRef,
    /// For each field from 1: its first column behind the keys, and how many components follow it.
    fields: Vec<(usize, usize)>,
}

/// Layouts by the name of the segment; `""` for what is neither known nor a Z segment.
struct Layouts {
    known: HashMap<&'static str, Layout>,
    vendor: Layout,
    other: Layout,
}

static LAYOUTS: LazyLock<Layouts> = LazyLock::new(|| {
    let known = Dictionary::get().segments().map(|segment| (segment.name, Layout::of(segment.name)));
    Layouts { known: known.collect(), vendor: Layout::unknown(&[]), other: Layout::unknown(&["name"]) }
});

impl Layout {
    fn of(segment: &str) -> Self {
        let dictionary = Dictionary::get();
        let defined = dictionary.segment(segment).map(|segment| segment.fields.as_slice()).unwrap_or_default();
        let prefix = segment.to_ascii_lowercase();
        let mut names = Vec::new();
        let mut fields = Vec::new();
        for field in defined {
            let number = field.number;
            // A number that no version has takes no column.
            fields.resize(number.saturating_sub(1), (names.len(), 0));
            let first = names.len();
            names.push(format!("{prefix}_{number}_{}", field.name));
            if field.data_type == "varies" {
                names.extend((1..=VARYING_COMPONENTS).map(|component| format!("{prefix}_{number}_{component}")));
            } else if let Some(composite) = dictionary.data_type(field.data_type) {
                let parts = composite.components.iter();
                names.extend(parts.map(|part| format!("{prefix}_{number}_{}_{}", part.number, part.name)));
            }
            fields.push((first, names.len() - first - 1));
        }
        Self { schema: schema(&KEYS, &names), fields }
    }

    fn unknown(more_keys: &[&str]) -> Self {
        let keys: Vec<&str> = KEYS.iter().chain(more_keys).copied().collect();
        let names: Vec<String> = (1..=UNKNOWN_FIELDS).map(|number| format!("field_{number}")).collect();
        let first = more_keys.len();
        Self { schema: schema(&keys, &names), fields: (first..first + UNKNOWN_FIELDS).map(|at| (at, 0)).collect() }
    }
}

/// The number of the field that a segment's column comes from; `None` for the columns before the fields.
pub fn column_field(name: &str) -> Option<u16> {
    let (_, rest) = name.split_once('_')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..digits)?.parse().ok()
}

fn schema(keys: &[&str], names: &[String]) -> SchemaRef {
    let type_of = |name: &str| match name {
        "segment" | "parent" => DataType::Int32,
        _ => DataType::Utf8View,
    };
    let names = keys.iter().copied().chain(names.iter().map(String::as_str));
    let fields = names.map(|name| Field::new(name, type_of(name), name != "segment"));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The table that a segment goes to: its name in small letters, or [`OTHER`].
pub fn table_name(segment: &Segment<'_>) -> Cow<'static, str> {
    match table_of(segment.name()) {
        [] => Cow::Borrowed(OTHER),
        name => Cow::Owned(String::from_utf8_lossy(name).to_ascii_lowercase()),
    }
}

/// The name of a segment that has a table of its own; else nothing.
fn table_of(name: &[u8]) -> &[u8] {
    let is_vendors = matches!(name, [b'Z', rest @ ..]
        if rest.len() == 2 && rest.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()));
    if is_vendors || Dictionary::get().segment(name).is_some() { name } else { &[] }
}

/// The columns of a table by its name: `message`, `pid`, `zpi`, `other`; `None` when there is no such table.
pub fn table_schema(table: &str) -> Option<SchemaRef> {
    if table == MESSAGE {
        return Some(message_schema());
    }
    if table == OTHER {
        return Some(Arc::clone(&LAYOUTS.other.schema));
    }
    let name = table.to_ascii_uppercase();
    let has_table = table != name && !table_of(name.as_bytes()).is_empty();
    has_table.then(|| Arc::clone(&layout(name.as_bytes()).schema))
}

fn message_schema() -> SchemaRef {
    schema(&MESSAGE_COLUMNS, &[])
}

fn layout(name: &[u8]) -> &'static Layout {
    let name = std::str::from_utf8(name).unwrap_or_default();
    match LAYOUTS.known.get(name) {
        Some(layout) => layout,
        None if name.is_empty() => &LAYOUTS.other,
        None => &LAYOUTS.vendor,
    }
}

/// A message as text. A byte-order mark before a segment is one in UTF-8 alone: in another encoding, and where what says that it
/// is UTF-8 is not, it would become three letters before the segment's name, and what was read as a segment would be none
/// when it is read again.
fn text_of<'m>(message: &Message<'m>) -> Cow<'m, str> {
    const MARK: &[u8] = b"\xEF\xBB\xBF";
    let bytes = message.bytes();
    let charset = message.charset().of_value(bytes);
    if charset.name() == "UTF-8" || memchr::memmem::find(bytes, MARK).is_none() {
        return charset.decode(bytes);
    }
    let mut kept = Vec::with_capacity(bytes.len());
    // Before segments and behind them, in lines of nothing else too.
    let mut put = |mut between: &[u8], segment: &[u8]| {
        while let Some((byte, rest)) = between.split_first() {
            if let Some(behind) = between.strip_prefix(MARK) {
                between = behind;
            } else {
                kept.push(*byte);
                between = rest;
            }
        }
        kept.extend_from_slice(segment);
    };
    let mut at = 0;
    for segment in message.segments() {
        put(bytes.get(at..segment.span().start).unwrap_or_default(), segment.bytes());
        at = segment.span().end;
    }
    put(bytes.get(at..).unwrap_or_default(), &[]);
    Cow::Owned(charset.decode(&kept).into_owned())
}

/// Tables of messages: `message` first, then those of the segments that occur, by name.
///
/// Texts are unescaped; what is missing or empty is null, HL7's null (`""`) an empty text.
///
/// # Errors
/// When Arrow refuses a batch: a table of more text than its offsets count.
pub fn flatten(messages: &[Message<'_>]) -> Result<Vec<(String, RecordBatch)>, FormatError> {
    let mut message_table = Table::new(message_schema());
    let mut tables: BTreeMap<&[u8], SegmentTable> = BTreeMap::new();
    for message in messages {
        let control_id = header_text(message, 10);
        let control_id = control_id.as_deref();
        let patients = Patients::of(message);
        message_table.add_message(message, control_id, patients.first.as_deref());
        let mut parents = Parents::default();
        let mut patient = patients.first.as_deref();
        let mut seen = 0;
        for segment in message.segments() {
            let place = segment.index() as i32 + 1;
            if segment.name() == b"PID" {
                patient = patients.of_each.get(seen).and_then(Option::as_deref);
                seen += 1;
            }
            let parent = parents.next(segment.name(), place);
            let name = table_of(segment.name());
            let table = tables.entry(name).or_insert_with(|| SegmentTable::new(layout(name), name.is_empty()));
            table.add(&segment, control_id, patient, place, parent);
        }
    }
    let mut out = vec![(MESSAGE.to_owned(), message_table.finish()?)];
    for (name, table) in tables {
        let name = if name.is_empty() { OTHER.to_owned() } else { String::from_utf8_lossy(name).to_ascii_lowercase() };
        out.push((name, table.finish()?));
    }
    Ok(out)
}

/// The text of a header's field; null when empty.
fn header_text<'m>(message: &'m Message<'_>, number: usize) -> Option<Cow<'m, str>> {
    cell(message.header()?.field(number)?)
}

/// What a value is in a cell.
fn cell(value: Value<'_>) -> Option<Cow<'_, str>> {
    if value.is_empty() {
        None
    } else if value.is_null() {
        Some(Cow::Borrowed(""))
    } else {
        Some(value.text())
    }
}

/// PID-3.1 of each PID segment of a message.
struct Patients<'m> {
    first: Option<Cow<'m, str>>,
    of_each: Vec<Option<Cow<'m, str>>>,
}

impl<'m> Patients<'m> {
    fn of(message: &'m Message<'_>) -> Self {
        let all = message.segments().filter(|segment| segment.name() == b"PID");
        let of_each: Vec<_> = all.map(|pid| pid.field(3).and_then(|ids| cell(ids.component(1)?))).collect();
        Self { first: of_each.first().cloned().flatten(), of_each }
    }
}

/// Which segment governs another: HL7's groups, as far as names tell them.
#[derive(Default)]
struct Parents {
    /// The open heads of groups with their levels and places.
    open: Vec<(u8, [u8; 3], i32)>,
    /// What a comment is on: the segment before it.
    before: Option<i32>,
}

/// Heads of groups: a head ends all that are open of its level or a deeper one.
fn level_of(name: &[u8]) -> Option<u8> {
    Some(match name {
        b"PID" | b"SCH" => 1,
        b"PV1" | b"RGS" => 2,
        b"ORC" | b"FT1" | b"PRB" | b"GOL" | b"PTH" | b"TXA" => 3,
        b"OBR" | b"RXO" | b"RXE" | b"RXD" | b"RXG" | b"RXA" | b"RQD" | b"ODS" | b"ODT" | b"IN1" | b"PR1" | b"AIS"
        | b"AIG" | b"AIL" | b"AIP" => 4,
        b"SPM" => 5,
        _ => return None,
    })
}

impl Parents {
    fn next(&mut self, name: &[u8], place: i32) -> Option<i32> {
        let parent = match name {
            b"MSH" | b"FHS" | b"BHS" | b"BTS" | b"FTS" | b"DSC" | b"EVN" | b"SFT" | b"UAC" | b"MSA" | b"ERR"
            | b"PID" => None,
            b"NTE" | b"" => return self.before,
            b"PD1" | b"NK1" | b"AL1" | b"IAM" | b"IN1" | b"GT1" | b"ARV" | b"MRG" | b"ACC" | b"UB1" | b"UB2" => {
                self.nearest(|head| head == b"PID")
            }
            b"IN2" | b"IN3" => self.nearest(|head| head == b"IN1"),
            b"PV2" => self.nearest(|head| head == b"PV1"),
            b"RGS" => self.nearest(|head| head == b"SCH"),
            // Insurance and appointment resources head nothing but what is named above.
            _ => {
                let level = level_of(name).unwrap_or(u8::MAX);
                let mut above = self.open.iter().rev().filter(|(other, ..)| *other < level);
                above.find(|(_, head, _)| head != b"IN1" && head != b"SCH").map(|(.., place)| *place)
            }
        };
        if let (Some(level), Ok(name)) = (level_of(name), <[u8; 3]>::try_from(name)) {
            // The patient of an appointment does not end it.
            self.open.retain(|(other, head, _)| *other < level || (head == b"SCH" && name != *b"SCH"));
            self.open.push((level, name, place));
        }
        self.before = Some(place);
        parent
    }

    fn nearest(&self, is: impl Fn(&[u8; 3]) -> bool) -> Option<i32> {
        self.open.iter().rev().find(|(_, head, _)| is(head)).map(|(.., place)| *place)
    }
}

/// Columns of text of which most have no value in most rows: those without any cost nothing.
struct Table {
    schema: SchemaRef,
    columns: Vec<Option<StringViewBuilder>>,
    rows: usize,
}

impl Table {
    fn new(schema: SchemaRef) -> Self {
        let columns = schema.fields().iter().map(|_| None).collect();
        Self { schema, columns, rows: 0 }
    }

    fn set(&mut self, column: usize, text: Option<&str>) {
        let (Some(column), Some(text)) = (self.columns.get_mut(column), text) else {
            return;
        };
        let values = column.get_or_insert_with(|| StringViewBuilder::with_capacity(self.rows + 1));
        pad(values, self.rows);
        values.append_value(text);
    }

    fn add_message(&mut self, message: &Message<'_>, control_id: Option<&str>, patient: Option<&str>) {
        let text = |number| header_text(message, number);
        let part = |number, part| message.header()?.field(number)?.component(part).and_then(cell);
        // Of an HD the namespace, or where that is empty the universal id.
        let first = |number| part(number, 1).or_else(|| part(number, 2));
        let event = message.find(b"EVN").and_then(|event| cell(event.field(1)?));
        let cells = [
            control_id.map(Cow::Borrowed),
            part(9, 1),
            part(9, 2).or(event),
            part(12, 1),
            text(7),
            first(3),
            first(4),
            first(5),
            first(6),
            patient.map(Cow::Borrowed),
            Some(text_of(message)),
        ];
        for (column, cell) in cells.into_iter().enumerate() {
            self.set(column, cell.as_deref());
        }
        self.rows += 1;
    }

    fn finish(self) -> Result<RecordBatch, FormatError> {
        self.finish_with(Vec::new())
    }

    /// The batch, with columns that are not of text by their place.
    fn finish_with(self, mut others: Vec<(usize, ArrayRef)>) -> Result<RecordBatch, FormatError> {
        let none = new_null_array(&DataType::Utf8View, self.rows);
        let mut columns = Vec::with_capacity(self.columns.len());
        for (at, column) in self.columns.into_iter().enumerate() {
            let other = others.iter().position(|(place, _)| *place == at).map(|found| others.swap_remove(found).1);
            columns.push(match (column, other) {
                (_, Some(other)) => other,
                (None, None) => Arc::clone(&none),
                (Some(mut values), None) => {
                    pad(&mut values, self.rows);
                    Arc::new(values.finish()) as ArrayRef
                }
            });
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(self.rows));
        RecordBatch::try_new_with_options(self.schema, columns, &rows)
            .map_err(|_| FormatError::Batch { doing: "joining the columns" })
    }
}

fn pad(values: &mut StringViewBuilder, rows: usize) {
    use arrow_array::builder::ArrayBuilder;
    for _ in values.len()..rows {
        values.append_null();
    }
}

/// The rows of one kind of segment.
struct SegmentTable {
    layout: &'static Layout,
    /// The table [`OTHER`] tells the names of its segments.
    has_names: bool,
    table: Table,
    places: Int32Builder,
    parents: Int32Builder,
}

impl SegmentTable {
    fn new(layout: &'static Layout, has_names: bool) -> Self {
        Self {
            layout,
            has_names,
            table: Table::new(Arc::clone(&layout.schema)),
            places: Int32Builder::new(),
            parents: Int32Builder::new(),
        }
    }

    fn add(
        &mut self,
        segment: &Segment<'_>,
        control_id: Option<&str>,
        patient: Option<&str>,
        place: i32,
        parent: Option<i32>,
    ) {
        let table = &mut self.table;
        table.set(0, control_id);
        table.set(1, patient);
        self.places.append_value(place);
        self.parents.append_option(parent);
        if self.has_names && !segment.is_text() {
            table.set(KEYS.len(), std::str::from_utf8(segment.name()).ok());
        }
        for (field, (first, components)) in segment.fields().zip(&self.layout.fields) {
            let value = field.value;
            if value.is_empty() {
                continue;
            }
            let column = KEYS.len() + first;
            if *components == 0 {
                table.set(column, cell(value).as_deref());
                continue;
            }
            let first_repetition = value.repetitions().next();
            for (at, part) in first_repetition.iter().flat_map(Value::components).take(*components).enumerate() {
                table.set(column + 1 + at, cell(part).as_deref());
            }
            table.set(column, cell(value).as_deref());
        }
        table.rows += 1;
    }

    fn finish(mut self) -> Result<RecordBatch, FormatError> {
        let places: ArrayRef = Arc::new(self.places.finish());
        let parents: ArrayRef = Arc::new(self.parents.finish());
        self.table.finish_with(vec![(2, places), (3, parents)])
    }
}
