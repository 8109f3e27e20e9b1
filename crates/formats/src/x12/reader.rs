//! Cuts a stream into transaction sets and segments of envelopes in bounded memory.
//!
//! A transaction set begins at ST and ends with SE, or where the next set or a segment of the envelope begins. ISA, GS, GE
//! and IEA are records of their own, and so is every segment between sets. Nothing of a file is dropped: its records and
//! rejects, one after the other, are its bytes, with line ends, blanks and byte-order marks belonging to the record that
//! they stand before or behind. Counts (SE-1, GE-1, IEA-1) are not looked at.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use memchr::{memchr, memchr_iter, memmem};
use serde::Serialize;
use thiserror::Error;

use super::interchange::{
    Envelope, HEADER_BYTES, ParseError, Transaction, behind, header, indent, name_of, parse, text_end,
};
use crate::error::FormatError;

/// Largest transaction set that is accepted unless told otherwise.
pub const DEFAULT_MAX_TRANSACTION_BYTES: usize = 64 << 20;

/// How much is read at once while a set is longer than a batch.
const GROW_BYTES: usize = 1 << 20;

/// Enough to see a byte-order mark.
const MIN_BATCH_BYTES: usize = 64;

/// Bounds of what is read.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// A larger transaction set is set aside.
    pub max_transaction_bytes: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { max_transaction_bytes: DEFAULT_MAX_TRANSACTION_BYTES }
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordKind {
    /// ISA.
    InterchangeHeader,
    /// GS.
    GroupHeader,
    /// ST to SE.
    Transaction,
    /// GE.
    GroupTrailer,
    /// IEA.
    InterchangeTrailer,
    /// A segment that stands in no set: TA1, or what is lost.
    Other,
}

impl RecordKind {
    fn of(name: &[u8]) -> Self {
        match name {
            b"ISA" => Self::InterchangeHeader,
            b"GS" => Self::GroupHeader,
            b"ST" => Self::Transaction,
            b"GE" => Self::GroupTrailer,
            b"IEA" => Self::InterchangeTrailer,
            _ => Self::Other,
        }
    }
}

/// A record of a [`TransactionBatch`]. Its envelope holds identifiers of senders: no `Debug`.
#[derive(Clone)]
pub struct Record {
    pub kind: RecordKind,
    /// Where it is in the batch's bytes, with everything that stands around it.
    pub span: Range<usize>,
    /// The physical line on which it begins, from 1.
    pub line: u64,
    /// What governs it: the ISA and GS segments before it, or itself.
    pub envelope: Arc<Envelope>,
}

/// What is wrong with one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum RejectReason {
    /// Text that belongs to no interchange: without ISA there are no delimiters.
    #[error("no ISA segment before it")]
    NoHeader,
    #[error("the transaction set is longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
}

/// One record that was set aside. It holds PHI: no `Debug`, no `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct Reject {
    /// The physical line on which it begins, from 1.
    pub line: u64,
    /// The record as it was, up to the reader's limit.
    pub raw: Vec<u8>,
    /// How many bytes were dropped behind `raw`; 0 when it is whole.
    pub cut: u64,
    pub reason: RejectReason,
}

/// Some records. It holds PHI: no `Debug`.
#[derive(Default)]
pub struct TransactionBatch {
    /// What spans point into.
    pub bytes: Vec<u8>,
    pub records: Vec<Record>,
    /// In the order of the file, as the records are; their lines tell how both mix.
    pub rejects: Vec<Reject>,
}

impl TransactionBatch {
    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The record of this number as it was read.
    pub fn raw(&self, index: usize) -> &[u8] {
        let span = self.records.get(index).map(|record| record.span.clone());
        span.and_then(|span| self.bytes.get(span)).unwrap_or_default()
    }

    /// The record of this number taken apart.
    ///
    /// # Errors
    /// When there is no such record, or a reader was allowed records of more than 4 GiB.
    pub fn parse(&self, index: usize) -> Result<Transaction<'_>, ParseError> {
        let record = self.records.get(index).ok_or(ParseError::NoRecord)?;
        parse(self.raw(index), &record.envelope)
    }
}

/// Reads interchanges, as many as the stream has.
pub struct TransactionReader<R> {
    reader: R,
    max_bytes: usize,
    /// What was read and not handed out; the pending record begins at `start`.
    bytes: Vec<u8>,
    start: usize,
    /// The segment that is looked at with blanks before it, its text, and up to where it has no end.
    at: usize,
    text: usize,
    scanned: usize,
    line: u64,
    /// The segment is longer than a set may be: it was judged by its beginning.
    is_mid_segment: bool,
    pending: Pending,
    envelope: Option<Arc<Envelope>>,
    source: Source,
}

/// How far the stream is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Untouched,
    Open,
    Ended,
    Failed,
}

/// The record that is not at its end.
struct Pending {
    what: What,
    line: u64,
    /// It is too large: what is kept of it, and how much is not.
    cut: Option<(Vec<u8>, u64)>,
    envelope: Option<Arc<Envelope>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Blanks,
    /// Text without an ISA before it.
    Headless,
    /// A set without its SE yet.
    Open,
    Record(RecordKind),
}

impl Pending {
    fn blanks() -> Self {
        Self { what: What::Blanks, line: 0, cut: None, envelope: None }
    }
}

/// A segment that is read to its end: where its text ends, and where the next one begins.
#[derive(Clone, Copy)]
struct Found {
    end: usize,
    next: usize,
}

impl<R: Read> TransactionReader<R> {
    pub fn new(reader: R, options: ReadOptions) -> Self {
        Self {
            reader,
            max_bytes: options.max_transaction_bytes.max(1),
            bytes: Vec::new(),
            start: 0,
            at: 0,
            text: 0,
            scanned: 0,
            line: 1,
            is_mid_segment: false,
            pending: Pending::blanks(),
            envelope: None,
            source: Source::Untouched,
        }
    }

    /// The next records, about `max_bytes` of them; `None` at the end of the stream. A batch may hold rejects alone.
    ///
    /// # Errors
    /// When the source fails; then every later call fails too.
    pub fn next_batch(&mut self, max_bytes: usize) -> Result<Option<TransactionBatch>, FormatError> {
        if self.source == Source::Failed {
            return Err(FormatError::FailedBefore);
        }
        let max_bytes = max_bytes.max(MIN_BATCH_BYTES);
        loop {
            if let Err(error) = self.fill(max_bytes) {
                self.source = Source::Failed;
                return Err(error);
            }
            let mut batch = TransactionBatch::default();
            while let Some(found) = self.next_segment() {
                self.take_segment(found, &mut batch);
            }
            self.judge_long_segment(&mut batch);
            if self.at_end() {
                self.close(self.bytes.len(), &mut batch);
                self.start = self.bytes.len();
                self.at = self.start;
            }
            if self.start > 0 {
                let rest = self.bytes.split_off(self.start);
                batch.bytes = std::mem::replace(&mut self.bytes, rest);
                self.at = self.at.saturating_sub(self.start);
                self.text = self.text.saturating_sub(self.start);
                self.scanned = self.scanned.saturating_sub(self.start);
                self.start = 0;
            }
            self.bound();
            if !batch.records.is_empty() || !batch.rejects.is_empty() {
                return Ok(Some(batch));
            }
            if self.at_end() {
                return Ok(None);
            }
        }
    }

    /// Reads until there are `max_bytes`, or some more when that much is waiting already.
    fn fill(&mut self, max_bytes: usize) -> Result<(), FormatError> {
        if self.at_end() {
            return Ok(());
        }
        let have = self.bytes.len();
        let want = if have < max_bytes { max_bytes - have } else { GROW_BYTES.min(have) };
        let read = self.reader.by_ref().take(want as u64).read_to_end(&mut self.bytes)?;
        let before = std::mem::replace(&mut self.source, if read < want { Source::Ended } else { Source::Open });
        let is_wide =
            || [&b"\xFF\xFE"[..], b"\xFE\xFF", b"\0\0\xFE\xFF"].iter().any(|mark| self.bytes.starts_with(mark));
        if before == Source::Untouched && is_wide() {
            return Err(FormatError::NotUtf8Text);
        }
        Ok(())
    }

    fn at_end(&self) -> bool {
        self.source == Source::Ended
    }

    /// The end of the segment that is looked at, when it is known.
    fn next_segment(&mut self) -> Option<Found> {
        let len = self.bytes.len();
        if self.at >= len {
            return None;
        }
        if !self.is_mid_segment {
            self.text = self.text.max(self.at);
            self.text += indent(self.bytes.get(self.text..).unwrap_or_default());
            // A byte-order mark, or a name, may not be whole.
            if len - self.text < HEADER_BYTES && !self.at_end() {
                return None;
            }
            if self.text >= len {
                return Some(Found { end: len, next: len });
            }
            let rest = self.bytes.get(self.text..).unwrap_or_default();
            if let Some((_, end)) = header(rest) {
                let end = self.text + end;
                return Some(Found { end, next: behind(&self.bytes, end) });
            }
        }
        self.scanned = self.scanned.max(self.text);
        let found = match self.envelope.as_deref().map(|envelope| *envelope.delimiters()) {
            None => self.next_header(self.scanned)?,
            Some(delimiters) => {
                let end = memchr(delimiters.segment, self.bytes.get(self.scanned..).unwrap_or_default());
                let Some(end) = end.map(|end| self.scanned + end) else {
                    self.scanned = len;
                    return self.at_end().then(|| self.lost_header(len).unwrap_or(Found { end: len, next: len }));
                };
                // The line end behind it, or an ISA within it, may not be read yet.
                self.scanned = end;
                if end + HEADER_BYTES > len && !self.at_end() {
                    return None;
                }
                self.lost_header(end).unwrap_or(Found { end, next: behind(&self.bytes, end) })
            }
        };
        Some(found)
    }

    /// Without delimiters: the text up to the next ISA segment.
    fn next_header(&mut self, from: usize) -> Option<Found> {
        let len = self.bytes.len();
        for hit in memmem::find_iter(self.bytes.get(from..).unwrap_or_default(), b"ISA").map(|hit| from + hit) {
            if hit + HEADER_BYTES > len && !self.at_end() {
                self.scanned = hit;
                return None;
            }
            // Of a text that was dropped so far, the header stands where the rest begins.
            if (hit > self.at || self.is_mid_segment) && header(self.bytes.get(hit..).unwrap_or_default()).is_some() {
                return Some(Found { end: hit, next: hit });
            }
        }
        self.scanned = len.saturating_sub(2).max(from);
        self.at_end().then_some(Found { end: len, next: len })
    }

    /// An IEA segment whose terminator was lost where files were joined: it ends where an ISA segment begins.
    fn lost_header(&self, end: usize) -> Option<Found> {
        let text = self.bytes.get(self.text..end).unwrap_or_default();
        if self.is_mid_segment || !text.starts_with(b"IEA") {
            return None;
        }
        let hit = self.text + memmem::find(text, b"ISA")?;
        header(self.bytes.get(hit..)?)?;
        Some(Found { end: hit, next: hit })
    }

    fn take_segment(&mut self, found: Found, batch: &mut TransactionBatch) {
        if !std::mem::take(&mut self.is_mid_segment) {
            self.judge(found.end, batch);
        }
        self.line += lines_in(self.bytes.get(self.at..found.next).unwrap_or_default());
        self.at = found.next;
        self.text = found.next;
        self.scanned = found.next;
    }

    fn judge_long_segment(&mut self, batch: &mut TransactionBatch) {
        let end = self.bytes.len();
        let is_long = end - self.at > self.max_bytes.max(2 * HEADER_BYTES);
        if is_long && !self.is_mid_segment && !self.at_end() && end - self.text >= HEADER_BYTES {
            self.judge(end, batch);
            self.is_mid_segment = true;
        }
    }

    /// Whether the segment whose text ends at `end` begins a record or belongs to the pending one.
    fn judge(&mut self, end: usize, batch: &mut TransactionBatch) {
        let (start, text) = (self.at, self.text);
        let rest = self.bytes.get(text..).unwrap_or_default();
        let new = if rest.starts_with(b"ISA") { Envelope::new(rest, &[]) } else { None };
        if let Some(new) = new {
            self.envelope = Some(Arc::new(new));
        }
        let Some(envelope) = self.envelope.clone() else {
            if self.pending.what == What::Blanks && end > text {
                self.begin(What::Headless, None);
            }
            return;
        };
        let segment = envelope.delimiters().segment;
        let has_terminator = self.bytes.get(end) == Some(&segment);
        let end = text_end(&self.bytes, text, end, has_terminator, segment);
        let value = self.bytes.get(text..end).unwrap_or_default();
        let element = envelope.delimiters().element;
        let name = name_of(value, element);
        if value.is_empty() && self.pending.what != What::Headless {
            // A terminator without a segment is a blank too.
            return;
        }
        match (self.pending.what, name) {
            (What::Open, b"SE") => {
                self.pending.what = What::Record(RecordKind::Transaction);
                return;
            }
            (What::Open, name) if RecordKind::of(name) == RecordKind::Other => return,
            _ => {}
        }
        let kind = RecordKind::of(name);
        let governing = match kind {
            RecordKind::GroupHeader => Arc::new(envelope.with_group(value)),
            _ => envelope,
        };
        // Behind GE there is no group.
        self.envelope = Some(match kind {
            RecordKind::GroupTrailer => Arc::new(governing.with_group(&[])),
            _ => Arc::clone(&governing),
        });
        if self.pending.what != What::Blanks {
            self.close(start, batch);
        }
        let what = if kind == RecordKind::Transaction { What::Open } else { What::Record(kind) };
        self.begin(what, Some(governing));
    }

    fn begin(&mut self, what: What, envelope: Option<Arc<Envelope>>) {
        let line = self.line + lines_in(self.bytes.get(self.at..self.text).unwrap_or_default());
        let cut = self.pending.cut.take();
        self.pending = Pending { what, line, cut, envelope };
    }

    /// Ends the pending record before `end`.
    fn close(&mut self, end: usize, batch: &mut TransactionBatch) {
        let span = self.start..end;
        let bytes = self.bytes.get(span.clone()).unwrap_or_default();
        let Pending { what, line, cut, envelope } = std::mem::replace(&mut self.pending, Pending::blanks());
        let limit = self.max_bytes;
        let kind = match what {
            What::Blanks if cut.is_none() => return,
            What::Blanks | What::Headless => None,
            What::Open => Some(RecordKind::Transaction),
            What::Record(kind) => Some(kind),
        };
        if let Some((raw, cut)) = cut {
            let reason = RejectReason::TooLong { limit };
            batch.rejects.push(Reject { line, raw, cut: cut + bytes.len() as u64, reason });
        } else if bytes.len() > limit {
            let (raw, tail) = bytes.split_at(limit);
            let reason = RejectReason::TooLong { limit };
            batch.rejects.push(Reject { line, raw: raw.to_vec(), cut: tail.len() as u64, reason });
        } else if let (Some(kind), Some(envelope)) = (kind, envelope) {
            batch.records.push(Record { kind, span, line, envelope });
        } else {
            batch.rejects.push(Reject { line, raw: bytes.to_vec(), cut: 0, reason: RejectReason::NoHeader });
        }
        self.start = end;
    }

    /// Drops what was read of a pending record that is too large, but for its head and a segment that may begin another.
    fn bound(&mut self) {
        // Blanks without an end are a text too.
        let is_flood = self.text - self.at > self.max_bytes;
        let is_over =
            self.at > self.max_bytes || is_flood || (self.is_mid_segment && self.bytes.len() > self.max_bytes);
        if self.at_end() || !(is_over || self.pending.cut.is_some()) {
            return;
        }
        let keep = if self.is_mid_segment {
            self.scanned.min(self.bytes.len())
        } else if is_flood {
            self.text
        } else {
            self.at
        };
        if keep == 0 {
            return;
        }
        if self.pending.what == What::Blanks {
            self.begin(What::Headless, None);
        }
        let dropped = self.bytes.get(..keep).unwrap_or_default();
        if let Some((_, cut)) = &mut self.pending.cut {
            *cut += dropped.len() as u64;
        } else {
            let (head, tail) = dropped.split_at(dropped.len().min(self.max_bytes));
            self.pending.cut = Some((head.to_vec(), tail.len() as u64));
        }
        if keep > self.at {
            self.line += lines_in(self.bytes.get(self.at..keep).unwrap_or_default());
        }
        self.bytes.drain(..keep);
        self.at = self.at.saturating_sub(keep);
        self.text = self.text.saturating_sub(keep);
        self.scanned = self.scanned.saturating_sub(keep);
    }
}

fn lines_in(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}
