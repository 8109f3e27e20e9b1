//! From fields of text to columns of strings.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_buffer::Buffer;
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::error::FormatError;

/// So many records are cut into fields before their columns are built: as much text as stays in the
/// processor's cache meanwhile.
pub(crate) const BLOCK_ROWS: usize = 512;

/// Where the rows of a batch came from, and how they were written. It holds PHI: no `Debug`.
#[derive(Clone)]
pub struct RowOrigins {
    text: Buffer,
    records: Vec<Origin>,
}

/// The line and the bytes of one row.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    line: u64,
    start: u32,
    end: u32,
}

impl Origin {
    pub(crate) fn new(line: u64, start: usize, end: usize) -> Self {
        Self { line, start: start as u32, end: end as u32 }
    }

    pub(crate) fn line(self) -> u64 {
        self.line
    }

    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl RowOrigins {
    pub(crate) fn new(text: Buffer, records: Vec<Origin>) -> Self {
        Self { text, records }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The physical line on which a row begins, from 1.
    pub fn line(&self, row: usize) -> Option<u64> {
        self.records.get(row).map(|origin| origin.line)
    }

    /// A row's bytes as they stand in the file, without the line end. Read again behind the same header
    /// and with the same options they give the same row.
    pub fn raw(&self, row: usize) -> Option<&[u8]> {
        self.text.get(self.records.get(row)?.range())
    }
}

/// The schema of text columns with these names.
pub(crate) fn text_schema(names: &[String]) -> SchemaRef {
    let column = |name: &String| Field::new(name, DataType::Utf8View, true);
    Arc::new(Schema::new(names.iter().map(column).collect::<Vec<_>>()))
}

/// A batch under construction.
pub(crate) struct BatchBuilder {
    columns: Vec<Column>,
    /// The fields of the current block, record by record.
    pub(crate) spans: Vec<Span>,
    /// Text that had quotes taken out of it.
    pub(crate) side: Vec<u8>,
}

impl BatchBuilder {
    pub(crate) fn new(width: usize, rows: usize) -> Self {
        Self {
            columns: (0..width).map(|_| Column::new(rows)).collect(),
            spans: Vec::with_capacity(width * rows.min(BLOCK_ROWS)),
            side: Vec::new(),
        }
    }

    /// Hands the fields noted so far, all of them within `block` of the text, to their columns.
    pub(crate) fn end_block(&mut self, raw: &[u8], block: Range<usize>, meaning: &Meaning) {
        let start = block.start;
        let raw = utf8(raw.get(block).unwrap_or_default());
        let side = utf8(&self.side);
        let text = Text { raw: &raw, start, side: &side };
        let width = self.columns.len();
        for (i, column) in self.columns.iter_mut().enumerate() {
            let spans = self.spans.get(i..).unwrap_or_default();
            column.extend(spans, width, text, meaning);
        }
        self.spans.clear();
        self.side.clear();
    }

    /// The batch, and where its rows came from.
    pub(crate) fn finish(
        self,
        schema: &SchemaRef,
        text: &Buffer,
        records: Vec<Origin>,
    ) -> Result<(RecordBatch, RowOrigins), FormatError> {
        let finish = |mut column: Column| Arc::new(column.values.finish()) as ArrayRef;
        let columns = self.columns.into_iter().map(finish).collect();
        // The number of rows is said, for a table may have no columns.
        let rows = RecordBatchOptions::new().with_row_count(Some(records.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &rows)
            .map_err(|_| FormatError::Batch { doing: "joining the columns" })?;
        let text = text.clone();
        Ok((batch, RowOrigins { text, records }))
    }
}

/// What spans point into.
#[derive(Clone, Copy)]
struct Text<'a> {
    raw: &'a str,
    /// Where `raw` begins in what the spans count from.
    start: usize,
    side: &'a str,
}

impl<'a> Text<'a> {
    #[inline]
    fn of(self, span: Span) -> &'a str {
        let start = span.start as usize;
        let (text, start) = if span.is_unescaped() { (self.side, start) } else { (self.raw, start - self.start) };
        text.get(start..start + span.len() as usize).unwrap_or_default()
    }
}

/// The bytes as text of the same length. What is not UTF-8 belongs to records that were set aside and is
/// blotted out.
fn utf8(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    Cow::Owned(text)
}

/// A field's text: where, how long, and how it was written.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) start: u32,
    packed: u32,
}

const QUOTED: u32 = 1 << 31;
const UNESCAPED: u32 = 1 << 30;

impl Span {
    fn new(start: usize, len: usize, flags: u32) -> Self {
        Self { start: start as u32, packed: len as u32 | flags }
    }

    /// Text as it stands; empty, it is no value.
    pub(crate) fn unquoted(start: usize, len: usize) -> Self {
        Self::new(start, len, 0)
    }

    /// Text between quotes.
    pub(crate) fn quoted(start: usize, len: usize) -> Self {
        Self::new(start, len, QUOTED)
    }

    /// Text that had to be written anew, into the side buffer.
    pub(crate) fn unescaped(start: usize, len: usize) -> Self {
        Self::new(start, len, QUOTED | UNESCAPED)
    }

    /// No value.
    pub(crate) fn null() -> Self {
        Self::new(0, 0, 0)
    }

    pub(crate) fn len(self) -> u32 {
        self.packed & !(QUOTED | UNESCAPED)
    }

    /// Without this, an empty text is no value at all.
    pub(crate) fn is_quoted(self) -> bool {
        self.packed & QUOTED != 0
    }

    /// Whether the text is in the side buffer, since quotes had to be taken out of it.
    pub(crate) fn is_unescaped(self) -> bool {
        self.packed & UNESCAPED != 0
    }

    pub(crate) fn text<'a>(self, raw: &'a [u8], side: &'a [u8]) -> &'a [u8] {
        let start = self.start as usize;
        let from = if self.is_unescaped() { side } else { raw };
        from.get(start..start + self.len() as usize).unwrap_or_default()
    }
}

/// What text means beyond its bytes.
pub(crate) struct Meaning {
    null_values: Vec<String>,
    trim: bool,
}

impl Meaning {
    /// Nothing beyond: only what is no value is null.
    pub(crate) fn none() -> Self {
        Self::new(&[], false)
    }

    pub(crate) fn new(null_values: &[String], trim: bool) -> Self {
        Self { null_values: null_values.to_vec(), trim }
    }

    fn is_plain(&self) -> bool {
        self.null_values.is_empty() && !self.trim
    }

    fn of<'a>(&self, span: Span, text: Text<'a>) -> Option<&'a str> {
        let mut value = text.of(span);
        if self.trim {
            value = value.trim_ascii();
        }
        let is_null = (value.is_empty() && !span.is_quoted()) || self.null_values.iter().any(|null| null == value);
        (!is_null).then_some(value)
    }
}

/// One column of a batch under construction.
///
/// The builder copies what does not fit a view. A view into the text as it was read would spare that, but
/// Arrow's checked constructor then looks at every value's UTF-8 once more, which costs a third of the
/// whole time; and a batch would keep all of the file's text alive.
struct Column {
    values: StringViewBuilder,
}

impl Column {
    fn new(rows: usize) -> Self {
        Self { values: StringViewBuilder::with_capacity(rows) }
    }

    /// Appends one field of each record: the spans, `step` apart.
    fn extend(&mut self, spans: &[Span], step: usize, text: Text<'_>, meaning: &Meaning) {
        let spans = spans.iter().step_by(step);
        if meaning.is_plain() {
            for span in spans {
                if span.len() == 0 && !span.is_quoted() {
                    self.values.append_null();
                } else {
                    self.values.append_value(text.of(*span));
                }
            }
        } else {
            for span in spans {
                self.values.append_option(meaning.of(*span, text));
            }
        }
    }
}
