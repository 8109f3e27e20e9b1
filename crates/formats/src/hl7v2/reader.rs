//! Cuts a stream into messages in bounded memory.
//!
//! A message begins at a line that is an MSH segment and ends where the next one begins. Batch files put FHS and BHS
//! segments before and BTS and FTS segments behind messages: each is a record of its own. Nothing of a file is dropped: its
//! records and rejects, one after the other, are its bytes, with blank lines, byte-order marks and MLLP frames belonging to
//! the record that they stand before or behind. Only a file of nothing but blanks has no record.

use std::io::Read;
use std::ops::Range;

use serde::Serialize;
use thiserror::Error;

use super::charset::Charset;
use super::message::{Delimiters, Message, ParseError, Syntax, indent, line_end, parse};
use crate::error::FormatError;

/// Largest message that is accepted unless told otherwise.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 16 << 20;

/// How much is read at once while a message is longer than a batch.
const GROW_BYTES: usize = 1 << 20;

/// Enough to see a byte-order mark.
const MIN_BATCH_BYTES: usize = 64;

/// What begins with a line can be told when so much of it is there.
const TELLING_BYTES: usize = 64;

/// Bounds of what is read.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// A larger message is set aside.
    pub max_message_bytes: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES }
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordKind {
    /// MSH and what follows.
    Message,
    /// FHS.
    FileHeader,
    /// BHS.
    BatchHeader,
    /// BTS.
    BatchTrailer,
    /// FTS.
    FileTrailer,
}

impl RecordKind {
    /// What begins with this line.
    fn of(line: &[u8]) -> Option<Self> {
        let (name, rest) = line.split_at_checked(3)?;
        let trailer = match name {
            b"MSH" | b"FHS" | b"BHS" => None,
            b"BTS" => Some(Self::BatchTrailer),
            b"FTS" => Some(Self::FileTrailer),
            _ => return None,
        };
        if trailer.is_some() {
            let ends_name = rest.first().is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b' ');
            return trailer.filter(|_| ends_name);
        }
        Delimiters::of_header(line)?;
        Some(match name {
            b"MSH" => Self::Message,
            b"FHS" => Self::FileHeader,
            _ => Self::BatchHeader,
        })
    }
}

/// A record of a [`MessageBatch`].
#[derive(Clone, Debug)]
pub struct Record {
    pub kind: RecordKind,
    /// Where it is in the batch's bytes, with everything that stands around it.
    pub span: Range<usize>,
    /// The physical line on which it begins, from 1.
    pub line: u64,
    /// What a trailer is read by: the delimiters of the header before it.
    delimiters: Delimiters,
}

/// What is wrong with one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum RejectReason {
    /// Lines that belong to no message: without MSH there are no delimiters.
    #[error("no MSH segment before it")]
    NoHeader,
    #[error("the message is longer than {limit} bytes")]
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
pub struct MessageBatch {
    /// What spans point into.
    pub bytes: Vec<u8>,
    pub records: Vec<Record>,
    /// In the order of the file, as the records are; their lines tell how both mix.
    pub rejects: Vec<Reject>,
}

impl MessageBatch {
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

    /// The record of this number taken apart; a trailer by the delimiters of the header before it.
    ///
    /// # Errors
    /// When there is no such record; every record that a reader made is one message.
    pub fn parse(&self, index: usize) -> Result<Message<'_>, ParseError> {
        let record = self.records.get(index).ok_or(ParseError::NoHeader)?;
        let bytes = self.raw(index);
        match record.kind {
            RecordKind::BatchTrailer | RecordKind::FileTrailer => {
                let charset = Charset::of_message(std::iter::empty(), bytes);
                Message::read(bytes, Syntax::new(record.delimiters, charset), None)
            }
            _ => parse(bytes),
        }
    }
}

/// Reads messages, batch files and MLLP frames.
pub struct MessageReader<R> {
    reader: R,
    max_bytes: usize,
    /// What was read and not handed out; the pending record begins at `start`.
    bytes: Vec<u8>,
    start: usize,
    /// The line that is looked at, and up to where it has no end.
    line_start: usize,
    scanned: usize,
    line: u64,
    /// The line is longer than a message may be: it was judged by its beginning.
    is_mid_line: bool,
    pending: Pending,
    delimiters: Delimiters,
    source: Source,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Unread,
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
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Blanks,
    /// Text without a header; one that follows takes it in.
    Headless,
    Record(RecordKind),
}

impl Pending {
    fn blanks() -> Self {
        // Blanks belong to what stands before them: only a file begins with some of their own.
        Self { what: What::Blanks, line: 1, cut: None }
    }
}

impl<R: Read> MessageReader<R> {
    pub fn new(reader: R, options: ReadOptions) -> Self {
        Self {
            reader,
            max_bytes: options.max_message_bytes.max(1),
            bytes: Vec::new(),
            start: 0,
            line_start: 0,
            scanned: 0,
            line: 1,
            is_mid_line: false,
            pending: Pending::blanks(),
            delimiters: Delimiters::USUAL,
            source: Source::Unread,
        }
    }

    /// The next records, about `max_bytes` of them; `None` at the end of the stream. A batch may hold rejects alone.
    ///
    /// # Errors
    /// When the source fails; then every later call fails too.
    pub fn next_batch(&mut self, max_bytes: usize) -> Result<Option<MessageBatch>, FormatError> {
        if self.source == Source::Failed {
            return Err(FormatError::FailedBefore);
        }
        let max_bytes = max_bytes.max(MIN_BATCH_BYTES);
        loop {
            if let Err(error) = self.fill(max_bytes) {
                self.source = Source::Failed;
                return Err(error);
            }
            let mut batch = MessageBatch::default();
            while let Some((end, next)) = self.next_line() {
                self.take_line(end, next, &mut batch);
            }
            self.judge_long_line(&mut batch);
            if self.at_end() {
                self.close(self.bytes.len(), &mut batch);
                self.start = self.bytes.len();
            }
            if self.start > 0 {
                let rest = self.bytes.split_off(self.start);
                batch.bytes = std::mem::replace(&mut self.bytes, rest);
                self.line_start = self.line_start.saturating_sub(self.start);
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

    fn at_end(&self) -> bool {
        self.source == Source::Ended
    }

    /// Reads until there are `max_bytes`, or some more when that much is waiting already.
    fn fill(&mut self, max_bytes: usize) -> Result<(), FormatError> {
        if self.at_end() {
            return Ok(());
        }
        let have = self.bytes.len();
        let want = if have < max_bytes { max_bytes - have } else { GROW_BYTES.min(have) };
        let read = self.reader.by_ref().take(want as u64).read_to_end(&mut self.bytes)?;
        let is_start = self.source == Source::Unread;
        self.source = if read < want { Source::Ended } else { Source::Open };
        if is_start {
            let is_wide =
                [&b"\xFF\xFE"[..], b"\xFE\xFF", b"\0\0\xFE\xFF"].iter().any(|mark| self.bytes.starts_with(mark));
            if is_wide {
                return Err(FormatError::NotUtf8Text);
            }
        }
        Ok(())
    }

    /// Where the text of the line that is looked at ends, and where the next one begins, when both are known.
    fn next_line(&mut self) -> Option<(usize, usize)> {
        let rest = self.bytes.get(self.scanned..).unwrap_or_default();
        let (end, next) = line_end(rest);
        let (end, next) = (self.scanned + end, self.scanned + next);
        // The LF of a CRLF may not be read yet.
        let is_open = next == self.bytes.len() && self.bytes.get(end).is_none_or(|byte| *byte == b'\r');
        if is_open && !self.at_end() {
            self.scanned = end;
            return None;
        }
        (next > self.line_start).then_some((end, next))
    }

    fn take_line(&mut self, end: usize, next: usize, batch: &mut MessageBatch) {
        if !std::mem::take(&mut self.is_mid_line) {
            self.judge(end, batch);
        }
        // The end of a frame is no end of a line.
        self.line += u64::from(matches!(self.bytes.get(end), Some(b'\r' | b'\n')));
        self.line_start = next;
        self.scanned = next;
    }

    fn judge_long_line(&mut self, batch: &mut MessageBatch) {
        let end = self.bytes.len();
        let is_long = end - self.line_start > self.max_bytes.max(TELLING_BYTES);
        if is_long && !self.is_mid_line && !self.at_end() {
            self.judge(end, batch);
            self.is_mid_line = true;
        }
    }

    /// Whether the line up to `end` begins a record or belongs to the pending one.
    fn judge(&mut self, end: usize, batch: &mut MessageBatch) {
        let start = self.line_start;
        let line = self.bytes.get(start..end).unwrap_or_default();
        let text = line.get(indent(line)..).unwrap_or_default();
        let begun = match RecordKind::of(text) {
            None if text.trim_ascii().is_empty() => return,
            None => What::Headless,
            Some(kind) => What::Record(kind),
        };
        let declared = Delimiters::of_header(text);
        // What is too long before a message is so whether it was read at once or in pieces.
        let is_over = start - self.start > self.max_bytes;
        let belongs = match (self.pending.what, begun) {
            (What::Blanks, What::Record(_)) if is_over => false,
            (What::Blanks, What::Headless) if is_over => {
                self.pending.what = begun;
                true
            }
            (What::Blanks, _) => {
                self.pending.line = self.line;
                self.pending.what = begun;
                true
            }
            // The segments of a message, and lines before its MSH.
            (What::Record(RecordKind::Message) | What::Headless, What::Headless) => true,
            (What::Headless, What::Record(RecordKind::Message)) if self.pending.cut.is_none() && !is_over => {
                self.pending.what = begun;
                true
            }
            _ => false,
        };
        if !belongs {
            self.close(start, batch);
            self.pending = Pending { what: begun, line: self.line, cut: None };
        }
        self.delimiters = declared.unwrap_or(self.delimiters);
    }

    /// Ends the pending record before `end`.
    fn close(&mut self, end: usize, batch: &mut MessageBatch) {
        let span = self.start..end;
        let bytes = self.bytes.get(span.clone()).unwrap_or_default();
        let Pending { what, line, cut } = std::mem::replace(&mut self.pending, Pending::blanks());
        let limit = self.max_bytes;
        let what = match (what, cut) {
            (_, Some((raw, cut))) => {
                let reason = RejectReason::TooLong { limit };
                batch.rejects.push(Reject { line, raw, cut: cut + bytes.len() as u64, reason });
                None
            }
            (What::Blanks, None) if bytes.len() <= limit => return,
            (_, None) if bytes.len() > limit => {
                let (raw, tail) = bytes.split_at(limit);
                let reason = RejectReason::TooLong { limit };
                batch.rejects.push(Reject { line, raw: raw.to_vec(), cut: tail.len() as u64, reason });
                None
            }
            (What::Headless | What::Blanks, None) => {
                batch.rejects.push(Reject { line, raw: bytes.to_vec(), cut: 0, reason: RejectReason::NoHeader });
                None
            }
            (What::Record(kind), None) => Some(kind),
        };
        if let Some(kind) = what {
            batch.records.push(Record { kind, span, line, delimiters: self.delimiters });
        }
        self.start = end;
    }

    /// Drops what was read of a pending record that is too large, but for its head and a line that may begin another.
    fn bound(&mut self) {
        let is_over = self.line_start > self.max_bytes || (self.is_mid_line && self.bytes.len() > self.max_bytes);
        if self.at_end() || !(is_over || self.pending.cut.is_some()) {
            return;
        }
        let keep = if self.is_mid_line { self.scanned } else { self.line_start };
        let dropped = self.bytes.get(..keep).unwrap_or_default();
        if let Some((_, cut)) = &mut self.pending.cut {
            *cut += dropped.len() as u64;
        } else {
            let (head, tail) = dropped.split_at(dropped.len().min(self.max_bytes));
            self.pending.cut = Some((head.to_vec(), tail.len() as u64));
        }
        if self.pending.what == What::Blanks {
            self.pending.what = What::Headless;
        }
        self.bytes.drain(..keep);
        self.line_start = 0;
        self.scanned -= keep;
    }
}
