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

use super::interchange::{
    Envelope, HEADER_BYTES, ParseError, Transaction, behind, header, indent, name_of, parse, text_end,
};
use crate::error::FormatError;
use crate::segments::{Batch, Cutter, Names, Spanned, Stream, next_batch};

/// Largest transaction set that is accepted unless told otherwise.
pub const DEFAULT_MAX_TRANSACTION_BYTES: usize = 64 << 20;

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

/// Some records of a file of interchanges. It holds PHI: no `Debug`.
pub type TransactionBatch = Batch<Record>;

impl Spanned for Record {
    fn span(&self) -> Range<usize> {
        self.span.clone()
    }
}

impl Batch<Record> {
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
    stream: Stream<R>,
    /// The segment that is looked at with blanks before it, its text, and up to where it has no end.
    at: usize,
    text: usize,
    scanned: usize,
    line: u64,
    /// The segment is longer than a set may be: it was judged by its beginning.
    is_mid_segment: bool,
    pending: Pending,
    envelope: Option<Arc<Envelope>>,
}

/// The record that is not at its end.
struct Pending {
    what: What,
    line: u64,
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

const BLANKS: Pending = Pending { what: What::Blanks, line: 0, envelope: None };

/// A segment that is read to its end: where its text ends, and where the next one begins.
#[derive(Clone, Copy)]
struct Found {
    end: usize,
    next: usize,
}

impl<R: Read> Cutter for TransactionReader<R> {
    type Source = R;
    type Record = Record;

    fn stream(&mut self) -> &mut Stream<R> {
        &mut self.stream
    }

    fn take_segments(&mut self, batch: &mut TransactionBatch) {
        while let Some(found) = self.next_segment() {
            self.take_segment(found, batch);
        }
        self.judge_long_segment(batch);
    }

    fn end(&mut self, batch: &mut TransactionBatch) {
        let end = self.stream.bytes.len();
        self.close(end, batch);
        self.at = end;
    }

    fn shift(&mut self, by: usize) {
        self.at = self.at.saturating_sub(by);
        self.text = self.text.saturating_sub(by);
        self.scanned = self.scanned.saturating_sub(by);
    }

    /// But for its head and a segment that may begin another.
    fn bound(&mut self) {
        // Blanks without an end are a text too.
        let is_flood = self.text - self.at > self.stream.max_bytes;
        let is_over = self.at > self.stream.max_bytes
            || is_flood
            || (self.is_mid_segment && self.stream.bytes.len() > self.stream.max_bytes);
        if self.stream.at_end() || !(is_over || self.stream.is_cut()) {
            return;
        }
        let keep = if self.is_mid_segment {
            self.scanned.min(self.stream.bytes.len())
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
        if keep > self.at {
            self.line += lines_in(self.stream.bytes.get(self.at..keep).unwrap_or_default());
        }
        self.stream.drop_front(keep);
        self.shift(keep);
    }
}

impl<R: Read> TransactionReader<R> {
    pub fn new(reader: R, options: ReadOptions) -> Self {
        let names = Names { header: "ISA", record: "transaction set" };
        Self {
            stream: Stream::new(reader, options.max_transaction_bytes, names),
            at: 0,
            text: 0,
            scanned: 0,
            line: 1,
            is_mid_segment: false,
            pending: BLANKS,
            envelope: None,
        }
    }

    /// The next records, about `max_bytes` of them; `None` at the end of the stream. A batch may hold rejects alone.
    ///
    /// # Errors
    /// When the source fails; then every later call fails too.
    pub fn next_batch(&mut self, max_bytes: usize) -> Result<Option<TransactionBatch>, FormatError> {
        next_batch(self, max_bytes)
    }

    /// The end of the segment that is looked at, when it is known.
    fn next_segment(&mut self) -> Option<Found> {
        let len = self.stream.bytes.len();
        if self.at >= len {
            return None;
        }
        if !self.is_mid_segment {
            self.text = self.text.max(self.at);
            self.text += indent(self.stream.bytes.get(self.text..).unwrap_or_default());
            // A byte-order mark, or a name, may not be whole.
            if len - self.text < HEADER_BYTES && !self.stream.at_end() {
                return None;
            }
            if self.text >= len {
                return Some(Found { end: len, next: len });
            }
            let rest = self.stream.bytes.get(self.text..).unwrap_or_default();
            if let Some((_, end)) = header(rest) {
                let end = self.text + end;
                return Some(Found { end, next: behind(&self.stream.bytes, end) });
            }
        }
        self.scanned = self.scanned.max(self.text);
        let found = match self.envelope.as_deref().map(|envelope| *envelope.delimiters()) {
            None => self.next_header(self.scanned)?,
            Some(delimiters) => {
                let end = memchr(delimiters.segment, self.stream.bytes.get(self.scanned..).unwrap_or_default());
                let Some(end) = end.map(|end| self.scanned + end) else {
                    self.scanned = len;
                    return self
                        .stream
                        .at_end()
                        .then(|| self.lost_header(len).unwrap_or(Found { end: len, next: len }));
                };
                // The line end behind it, or an ISA within it, may not be read yet.
                self.scanned = end;
                if end + HEADER_BYTES > len && !self.stream.at_end() {
                    return None;
                }
                self.lost_header(end).unwrap_or(Found { end, next: behind(&self.stream.bytes, end) })
            }
        };
        Some(found)
    }

    /// Without delimiters: the text up to the next ISA segment.
    fn next_header(&mut self, from: usize) -> Option<Found> {
        let len = self.stream.bytes.len();
        for hit in memmem::find_iter(self.stream.bytes.get(from..).unwrap_or_default(), b"ISA").map(|hit| from + hit) {
            if hit + HEADER_BYTES > len && !self.stream.at_end() {
                self.scanned = hit;
                return None;
            }
            // Of a text that was dropped so far, the header stands where the rest begins.
            if (hit > self.at || self.is_mid_segment)
                && header(self.stream.bytes.get(hit..).unwrap_or_default()).is_some()
            {
                return Some(Found { end: hit, next: hit });
            }
        }
        self.scanned = len.saturating_sub(2).max(from);
        self.stream.at_end().then_some(Found { end: len, next: len })
    }

    /// An IEA segment whose terminator was lost where files were joined: it ends where an ISA segment begins.
    fn lost_header(&self, end: usize) -> Option<Found> {
        let text = self.stream.bytes.get(self.text..end).unwrap_or_default();
        if self.is_mid_segment || !text.starts_with(b"IEA") {
            return None;
        }
        let hit = self.text + memmem::find(text, b"ISA")?;
        header(self.stream.bytes.get(hit..)?)?;
        Some(Found { end: hit, next: hit })
    }

    fn take_segment(&mut self, found: Found, batch: &mut TransactionBatch) {
        if !std::mem::take(&mut self.is_mid_segment) {
            self.judge(found.end, batch);
        }
        self.line += lines_in(self.stream.bytes.get(self.at..found.next).unwrap_or_default());
        self.at = found.next;
        self.text = found.next;
        self.scanned = found.next;
    }

    fn judge_long_segment(&mut self, batch: &mut TransactionBatch) {
        let end = self.stream.bytes.len();
        let is_long = end - self.at > self.stream.max_bytes.max(2 * HEADER_BYTES);
        if is_long && !self.is_mid_segment && !self.stream.at_end() && end - self.text >= HEADER_BYTES {
            self.judge(end, batch);
            self.is_mid_segment = true;
        }
    }

    /// Whether the segment whose text ends at `end` begins a record or belongs to the pending one.
    fn judge(&mut self, end: usize, batch: &mut TransactionBatch) {
        let (start, text) = (self.at, self.text);
        let rest = self.stream.bytes.get(text..).unwrap_or_default();
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
        let has_terminator = self.stream.bytes.get(end) == Some(&segment);
        let end = text_end(&self.stream.bytes, text, end, has_terminator, segment);
        let value = self.stream.bytes.get(text..end).unwrap_or_default();
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
        let line = self.line + lines_in(self.stream.bytes.get(self.at..self.text).unwrap_or_default());
        self.pending = Pending { what, line, envelope };
    }

    /// Ends the pending record before `end`.
    fn close(&mut self, end: usize, batch: &mut TransactionBatch) {
        let Pending { what, line, envelope } = std::mem::replace(&mut self.pending, BLANKS);
        let kind = match what {
            What::Blanks if !self.stream.is_cut() => return,
            What::Blanks | What::Headless => None,
            What::Open => Some(RecordKind::Transaction),
            What::Record(kind) => Some(kind),
        };
        let known = kind.zip(envelope);
        let record = known.map(|(kind, envelope)| move |span| Record { kind, span, line, envelope });
        self.stream.close(end, line, batch, record);
    }
}

fn lines_in(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}
