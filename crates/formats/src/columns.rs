//! Builds string view columns whose views point into the text as it was read.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::make_view;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, StringViewArray};
use arrow_buffer::{Buffer, NullBufferBuilder};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::error::FormatError;

/// A text of at most this many bytes stands in its view (Arrow columnar format, "Variable-size Binary View").
const INLINE: u32 = 12;

const RAW_BUFFER: u32 = 0;
const SIDE_BUFFER: u32 = 1;

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

    /// Hands the fields noted so far to their columns.
    pub(crate) fn end_block(&mut self, raw: &[u8], meaning: &Meaning) {
        let width = self.columns.len();
        for (i, column) in self.columns.iter_mut().enumerate() {
            let spans = self.spans.get(i..).unwrap_or_default();
            column.extend(spans, width, raw, &self.side, meaning);
        }
        self.spans.clear();
    }

    /// The batch, and where its rows came from.
    pub(crate) fn finish(
        self,
        schema: &SchemaRef,
        text: &Buffer,
        records: Vec<Origin>,
    ) -> Result<(RecordBatch, RowOrigins), FormatError> {
        let side = Buffer::from_vec(self.side);
        let columns: Result<Vec<_>, _> = self.columns.into_iter().map(|column| column.finish(text, &side)).collect();
        // The number of rows is said, for a table may have no columns.
        let rows = RecordBatchOptions::new().with_row_count(Some(records.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(schema), columns?, &rows)
            .map_err(|_| FormatError::Batch { doing: "joining the columns" })?;
        let text = text.clone();
        Ok((batch, RowOrigins { text, records }))
    }
}

/// What text means beyond its bytes.
pub(crate) struct Meaning {
    null_values: Vec<Vec<u8>>,
    trim: bool,
}

impl Meaning {
    /// Nothing beyond: only what is no value is null.
    pub(crate) fn none() -> Self {
        Self::new(&[], false)
    }

    pub(crate) fn new(null_values: &[String], trim: bool) -> Self {
        Self { null_values: null_values.iter().map(|v| v.clone().into_bytes()).collect(), trim }
    }

    fn is_plain(&self) -> bool {
        self.null_values.is_empty() && !self.trim
    }
}

/// One column of a batch under construction.
pub(crate) struct Column {
    views: Vec<u128>,
    nulls: NullBufferBuilder,
    /// Whether any view points into a buffer. Without one the column does not keep the text alive.
    points: bool,
}

impl Column {
    pub(crate) fn new(rows: usize) -> Self {
        Self { views: Vec::with_capacity(rows), nulls: NullBufferBuilder::new(rows), points: false }
    }

    /// Appends one field of each record: the spans, `step` apart.
    pub(crate) fn extend(&mut self, spans: &[Span], step: usize, raw: &[u8], side: &[u8], meaning: &Meaning) {
        let spans = spans.iter().step_by(step);
        if meaning.is_plain() {
            let mut longest = 0;
            for span in spans {
                longest = longest.max(span.len());
                self.nulls.append(span.len() != 0 || span.is_quoted());
                self.views.push(view(*span, raw, side));
            }
            self.points |= longest > INLINE;
        } else {
            for span in spans {
                self.push_with_meaning(*span, raw, side, meaning);
            }
        }
    }

    fn push_with_meaning(&mut self, span: Span, raw: &[u8], side: &[u8], meaning: &Meaning) {
        let mut text = span.text(raw, side);
        let mut start = span.start;
        if meaning.trim {
            let before = text.len();
            text = text.trim_ascii_start();
            start += (before - text.len()) as u32;
            text = text.trim_ascii_end();
        }
        if (text.is_empty() && !span.is_quoted()) || meaning.null_values.iter().any(|v| v == text) {
            self.nulls.append_null();
            self.views.push(0);
        } else {
            self.nulls.append_non_null();
            self.points |= text.len() > INLINE as usize;
            self.views.push(make_view(text, buffer_of(span), start));
        }
    }

    /// The array, over the chunk's text and the text that had to be written anew.
    pub(crate) fn finish(self, raw: &Buffer, side: &Buffer) -> Result<ArrayRef, FormatError> {
        let buffers = if self.points { vec![raw.clone(), side.clone()] } else { Vec::new() };
        let nulls = self.nulls.build();
        // Arrow's message may quote the text.
        StringViewArray::try_new(self.views.into(), buffers, nulls)
            .map(|array| Arc::new(array) as ArrayRef)
            .map_err(|_| FormatError::Batch { doing: "building a column" })
    }
}

fn buffer_of(span: Span) -> u32 {
    if span.is_unescaped() { SIDE_BUFFER } else { RAW_BUFFER }
}

/// The view of a field. Sixteen bytes are loaded whatever the length and the surplus masked, which spares the
/// jump by length that `make_view` takes.
#[inline]
fn view(span: Span, raw: &[u8], side: &[u8]) -> u128 {
    let from = if span.is_unescaped() { side } else { raw };
    let start = span.start as usize;
    let len = span.len();
    let Some(bytes) = from.get(start..).and_then(|rest| rest.first_chunk::<16>()) else {
        return make_view(span.text(raw, side), buffer_of(span), span.start);
    };
    let bytes = u128::from_le_bytes(*bytes);
    if len <= INLINE {
        let text = bytes & ((1 << (8 * len)) - 1);
        u128::from(len) | (text << 32)
    } else {
        let prefix = bytes & 0xFFFF_FFFF;
        let place = u128::from(buffer_of(span)) | (u128::from(span.start) << 32);
        u128::from(len) | (prefix << 32) | (place << 64)
    }
}
