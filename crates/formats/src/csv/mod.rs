//! Delimited text as columns of strings, fast and without letting one bad record stop the rest.
//!
//! The text is read in chunks of some MiB and cut into fields a few hundred records at a time, so that it is
//! still in the processor's cache when the columns are built. Whether it is UTF-8 is asked of whole chunks;
//! only of one that is not, each record is looked at.
//!
//! Quotes decide where a record ends, whatever its length. A stray opening quote therefore swallows what
//! follows up to the next quote, and the record that comes of it is set aside. To begin anew at the next
//! line instead would read the inside of a long quoted note as rows, and let it out through the wrong columns.

mod options;
mod scan;

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_schema::SchemaRef;

pub use self::options::CsvOptions;
use self::scan::{Dialect, Found, Record, Skipper};
use crate::columns::{BLOCK_ROWS, BatchBuilder, Meaning, Origin, RowOrigins, Span, text_schema};
use crate::error::{FormatError, HeaderProblem, Reject, RejectReason};
use crate::lines::drop_byte_order_mark;

/// How much is read at once of a record that is too long.
const SKIP_BYTES: usize = 1 << 20;

/// Enough to see a byte-order mark in the first chunk.
const MIN_READ_BYTES: usize = 64;

/// Reads delimited text into batches.
pub struct CsvReader<R> {
    reader: R,
    dialect: Dialect,
    meaning: Meaning,
    options: CsvOptions,
    header: Vec<String>,
    schema: SchemaRef,
    chunk: Chunk,
    /// The number of the next line.
    line: u64,
    at_start: bool,
    at_end: bool,
    has_failed: bool,
}

/// Some rows. It holds PHI: no `Debug`.
pub struct CsvBatch {
    /// One `Utf8View` column for each name of the header; it may have no rows.
    pub batch: RecordBatch,
    /// Where each row came from.
    pub rows: RowOrigins,
    /// The records between these rows that could not become one.
    pub rejects: Vec<Reject>,
}

/// A piece of the file, shared with the batches that were cut from it.
struct Chunk {
    text: Buffer,
    /// Where the next record begins.
    at: usize,
    /// No further record is complete.
    is_used_up: bool,
    /// Some of it is not UTF-8.
    is_suspect: bool,
    /// A line end was added behind the last record of the file.
    is_ended: bool,
}

impl<R: Read> CsvReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When the options contradict each other, when there is no header, or when it does not give each
    /// column a name of its own.
    pub fn new(reader: R, options: CsvOptions) -> Result<Self, FormatError> {
        let mut this = Self::with_header(reader, options, Vec::new())?;
        this.header = this.read_header()?;
        this.schema = text_schema(&this.header);
        Ok(this)
    }

    /// Reads records of a file whose columns are known: the text holds records only.
    ///
    /// # Errors
    /// When the options contradict each other.
    pub fn with_header(reader: R, options: CsvOptions, header: Vec<String>) -> Result<Self, FormatError> {
        options.check()?;
        Ok(Self {
            reader,
            dialect: Dialect::new(&options),
            meaning: Meaning::new(&options.null_values, options.trim),
            options,
            schema: text_schema(&header),
            header,
            chunk: Chunk::new(Vec::new(), false),
            line: 1,
            at_start: true,
            at_end: false,
            has_failed: false,
        })
    }

    /// The columns' names.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// The schema of every batch: the header's names, all `Utf8View`.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The next rows; `None` at the end of the file. A batch may hold rejects alone.
    ///
    /// # Errors
    /// When the source fails. The place in the file is lost with it, so every later call fails too.
    pub fn next_batch(&mut self) -> Result<Option<CsvBatch>, FormatError> {
        if self.has_failed {
            return Err(FormatError::FailedBefore);
        }
        let next = self.read_batch();
        self.has_failed = next.is_err();
        next
    }

    fn read_batch(&mut self) -> Result<Option<CsvBatch>, FormatError> {
        loop {
            if self.chunk.is_used_up {
                if self.at_end {
                    return Ok(None);
                }
                if let Some(reject) = self.load()? {
                    return self.rejects_only(vec![reject]).map(Some);
                }
            }
            let batch = self.cut()?;
            if !batch.rows.is_empty() || !batch.rejects.is_empty() {
                return Ok(Some(batch));
            }
        }
    }

    fn rejects_only(&self, rejects: Vec<Reject>) -> Result<CsvBatch, FormatError> {
        let none = BatchBuilder::new(self.header.len(), 0);
        let (batch, rows) = none.finish(&self.schema, &self.chunk.text, Vec::new())?;
        Ok(CsvBatch { batch, rows, rejects })
    }

    /// Cuts the next batch from the chunk.
    fn cut(&mut self) -> Result<CsvBatch, FormatError> {
        let text = self.chunk.text.clone();
        let width = self.header.len();
        let rows = self.options.batch_rows;
        // What the chunk can still hold at one byte a field, so that short files stay small.
        let expected = rows.min((text.len() - self.chunk.at) / (2 * width).max(1) + 1);
        let mut batch = BatchBuilder::new(width, expected);
        let mut records = Vec::with_capacity(expected);
        let mut rejects = Vec::new();
        while records.len() < rows && !self.chunk.is_used_up {
            let most = BLOCK_ROWS.min(rows - records.len());
            let start = self.chunk.at;
            self.cut_block(&text, most, &mut batch, &mut records, &mut rejects);
            batch.end_block(&text, start..self.chunk.at, &self.meaning);
        }
        let (batch, rows) = batch.finish(&self.schema, &text, records)?;
        Ok(CsvBatch { batch, rows, rejects })
    }

    /// Finds the fields of the next records.
    fn cut_block(
        &mut self,
        text: &[u8],
        most: usize,
        batch: &mut BatchBuilder,
        records: &mut Vec<Origin>,
        rejects: &mut Vec<Reject>,
    ) {
        let width = self.header.len();
        let full = records.len() + most;
        while records.len() < full {
            let start = self.chunk.at;
            let spans = batch.spans.len();
            let side = batch.side.len();
            let found = self.dialect.record(text, start, width, &mut batch.spans, &mut batch.side);
            let reason = match found {
                Found::Record(record) => {
                    let line = self.line;
                    self.line += record.lines;
                    self.chunk.at = record.next;
                    let fields = batch.spans.get(spans..).unwrap_or_default();
                    let problem = self.problem(text, start, &record, fields, &batch.side);
                    let Some(reason) = problem else {
                        records.push(Origin::new(line, start, record.end));
                        continue;
                    };
                    let raw = text.get(start..record.end).unwrap_or_default();
                    Some(self.reject(line, raw, reason))
                }
                Found::Nothing { next } => {
                    self.line += 1;
                    self.chunk.at = next;
                    continue;
                }
                Found::Incomplete => {
                    self.chunk.is_used_up = true;
                    self.unterminated(text)
                }
            };
            batch.spans.truncate(spans);
            batch.side.truncate(side);
            rejects.extend(reason);
            if self.chunk.is_used_up {
                return;
            }
        }
    }

    /// What is left at the end of the file and is no record.
    fn unterminated(&mut self, text: &[u8]) -> Option<Reject> {
        let end = text.len() - usize::from(self.chunk.is_ended);
        let raw = text.get(self.chunk.at..end).unwrap_or_default();
        if !self.at_end || raw.is_empty() {
            return None;
        }
        self.chunk.at = text.len();
        let reason =
            if raw.len() > self.options.max_record_bytes { self.too_long() } else { RejectReason::UnterminatedQuote };
        Some(self.reject(self.line, raw, reason))
    }

    fn problem(
        &self,
        text: &[u8],
        start: usize,
        record: &Record,
        fields: &[Span],
        side: &[u8],
    ) -> Option<RejectReason> {
        let expected = self.header.len();
        if record.end - start > self.options.max_record_bytes {
            return Some(self.too_long());
        }
        if record.fields != expected {
            return Some(RejectReason::Ragged { expected, found: record.fields });
        }
        if !self.chunk.is_suspect || std::str::from_utf8(text.get(start..record.end)?).is_ok() {
            return None;
        }
        let is_bad = |field: &Span| std::str::from_utf8(field.text(text, side)).is_err();
        Some(RejectReason::InvalidUtf8 { column: fields.iter().position(is_bad).map_or(0, |i| i + 1) })
    }

    fn too_long(&self) -> RejectReason {
        RejectReason::RecordTooLong { limit: self.options.max_record_bytes }
    }

    fn reject(&self, line: u64, raw: &[u8], reason: RejectReason) -> Reject {
        let kept = raw.len().min(self.options.max_record_bytes);
        Reject { line, raw: raw.get(..kept).unwrap_or_default().to_vec(), cut: (raw.len() - kept) as u64, reason }
    }

    /// Reads the next chunk behind what is left of the last one. If that is a record which is too long
    /// already, reads over the rest of it first and returns it.
    fn load(&mut self) -> Result<Option<Reject>, FormatError> {
        let Chunk { text, at, .. } = std::mem::replace(&mut self.chunk, Chunk::new(Vec::new(), false));
        let left = text.len() - at;
        if left > self.options.max_record_bytes {
            return self.skip(text.get(at..).unwrap_or_default());
        }
        let mut after_cr = left == 0 && text.last() == Some(&b'\r');
        // A record longer than a chunk is read again from its beginning: double what is held each time.
        let want = self.options.batch_bytes.max(left).max(MIN_READ_BYTES);
        // The memory serves again unless a batch's origins still hold it: new pages cost a fifth of the time.
        let mut bytes = match text.into_vec::<u8>() {
            Ok(mut bytes) => {
                bytes.drain(..at);
                bytes
            }
            Err(text) => {
                let mut bytes = Vec::with_capacity(left + want + 1);
                bytes.extend_from_slice(text.get(at..).unwrap_or_default());
                bytes
            }
        };
        bytes.reserve_exact(want + 1);
        self.read_more(&mut bytes, want)?;
        if self.at_start {
            self.at_start = false;
            drop_byte_order_mark(&mut bytes)?;
        }
        after_cr &= bytes.first() == Some(&b'\n');
        self.chunk = Chunk::new(bytes, self.at_end);
        self.chunk.at = usize::from(after_cr);
        Ok(None)
    }

    fn read_more(&mut self, bytes: &mut Vec<u8>, want: usize) -> Result<(), FormatError> {
        let read = self.reader.by_ref().take(want as u64).read_to_end(bytes)?;
        self.at_end = read < want;
        Ok(())
    }

    /// Reads over a record that is too long, of which `seen` was read already.
    fn skip(&mut self, seen: &[u8]) -> Result<Option<Reject>, FormatError> {
        let mut reject = self.reject(self.line, seen, self.too_long());
        let mut skipper = Skipper::new(self.dialect.clone());
        let mut end = skipper.feed(seen);
        let mut bytes = seen.to_vec();
        while end.is_none() && !self.at_end {
            bytes.clear();
            self.read_more(&mut bytes, SKIP_BYTES)?;
            end = skipper.feed(&bytes);
        }
        self.line += skipper.lines;
        reject.cut = skipper.bytes - reject.raw.len() as u64;
        // The line end itself is read again as a blank line, which counts it.
        let rest = bytes.split_off(end.unwrap_or(bytes.len()));
        self.chunk = Chunk::new(rest, self.at_end);
        Ok((!skipper.is_comment()).then_some(reject))
    }

    fn read_header(&mut self) -> Result<Vec<String>, FormatError> {
        let mut spans = Vec::new();
        let mut side = Vec::new();
        loop {
            if self.chunk.is_used_up {
                if self.at_end {
                    return Err(HeaderProblem::Missing.into());
                }
                if self.load()?.is_some() {
                    return Err(self.header_too_long());
                }
            }
            let text = self.chunk.text.clone();
            let start = self.chunk.at;
            spans.clear();
            side.clear();
            match self.dialect.record(&text, start, usize::MAX, &mut spans, &mut side) {
                Found::Nothing { next } => {
                    self.line += 1;
                    self.chunk.at = next;
                }
                Found::Incomplete => {
                    self.chunk.is_used_up = true;
                    if let Some(reject) = self.unterminated(&text) {
                        return Err(match reject.reason {
                            RejectReason::RecordTooLong { .. } => self.header_too_long(),
                            _ => HeaderProblem::UnterminatedQuote.into(),
                        });
                    }
                }
                Found::Record(record) if record.end - start > self.options.max_record_bytes => {
                    return Err(self.header_too_long());
                }
                Found::Record(record) if self.options.has_header => {
                    self.line += record.lines;
                    self.chunk.at = record.next;
                    let names = spans.iter().map(|span| span.text(&text, &side));
                    return Ok(column_names(names)?);
                }
                Found::Record(record) => {
                    return Ok((1..=record.fields).map(|i| format!("column_{i}")).collect());
                }
            }
        }
    }

    fn header_too_long(&self) -> FormatError {
        let limit = self.options.max_record_bytes;
        HeaderProblem::TooLong { limit }.into()
    }
}

/// The header alone, for who only wants to know what a file holds.
pub fn csv_header<R: Read>(reader: R, options: &CsvOptions) -> Result<Vec<String>, FormatError> {
    let options = CsvOptions { batch_bytes: options.batch_bytes.min(64 << 10), ..options.clone() };
    CsvReader::new(reader, options).map(|reader| reader.header)
}

fn column_names<'a>(names: impl Iterator<Item = &'a [u8]>) -> Result<Vec<String>, HeaderProblem> {
    let mut header = Vec::new();
    let mut seen = HashMap::new();
    for (column, name) in (1..).zip(names) {
        let name = std::str::from_utf8(name).map_err(|_| HeaderProblem::InvalidUtf8 { column })?;
        let name = name.trim();
        if name.is_empty() {
            return Err(HeaderProblem::EmptyName { column });
        }
        if let Some(first) = seen.insert(name.to_owned(), column) {
            return Err(HeaderProblem::Duplicate { first, second: column });
        }
        header.push(name.to_owned());
    }
    Ok(header)
}

impl Chunk {
    /// At the end of the file a last record without a line end gets one.
    fn new(mut bytes: Vec<u8>, is_last: bool) -> Self {
        let is_ended = is_last && !matches!(bytes.last(), None | Some(b'\n' | b'\r'));
        if is_ended {
            bytes.push(b'\n');
        }
        // An unfinished character at the end belongs to a record that is read again with what follows.
        let is_suspect = std::str::from_utf8(&bytes).is_err_and(|e| e.error_len().is_some());
        Self { at: 0, is_used_up: bytes.is_empty(), is_suspect, is_ended, text: Buffer::from_vec(bytes) }
    }
}
