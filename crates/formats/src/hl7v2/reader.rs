//! Cuts a stream into messages in bounded memory.
//!
//! A message begins at a line that is an MSH segment and ends where the next one begins. Batch files put FHS and BHS
//! segments before and BTS and FTS segments behind messages: each is a record of its own. Nothing of a file is dropped: its
//! records and rejects, one after the other, are its bytes, with blank lines, byte-order marks and MLLP frames belonging to
//! the record that they stand before or behind. Only a file of nothing but blanks has no record.

use std::io::Read;
use std::ops::Range;

use serde::Serialize;

use super::charset::Charset;
use super::message::{Delimiters, Message, ParseError, Syntax, indent, line_end, parse};
use crate::error::FormatError;
use crate::segments::{Batch, Cutter, Names, Spanned, Stream, next_batch};

/// Largest message that is accepted unless told otherwise.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 16 << 20;

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

/// Some records of a file of messages.
pub type MessageBatch = Batch<Record>;

impl Spanned for Record {
    fn span(&self) -> Range<usize> {
        self.span.clone()
    }
}

impl Batch<Record> {
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
    stream: Stream<R>,
    /// The line that is looked at, and up to where it has no end.
    line_start: usize,
    scanned: usize,
    line: u64,
    /// The line is longer than a message may be: it was judged by its beginning.
    is_mid_line: bool,
    pending: Pending,
    delimiters: Delimiters,
}

/// The record that is not at its end.
#[derive(Clone, Copy)]
struct Pending {
    what: What,
    line: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Blanks,
    /// Text without a header; one that follows takes it in.
    Headless,
    Record(RecordKind),
}

/// Blanks belong to what stands before them: only a file begins with some of their own.
const BLANKS: Pending = Pending { what: What::Blanks, line: 1 };

impl<R: Read> Cutter for MessageReader<R> {
    type Source = R;
    type Record = Record;

    fn stream(&mut self) -> &mut Stream<R> {
        &mut self.stream
    }

    fn take_segments(&mut self, batch: &mut MessageBatch) {
        while let Some((end, next)) = self.next_line() {
            self.take_line(end, next, batch);
        }
        self.judge_long_line(batch);
    }

    fn end(&mut self, batch: &mut MessageBatch) {
        self.close(self.stream.bytes.len(), batch);
    }

    fn shift(&mut self, by: usize) {
        self.line_start = self.line_start.saturating_sub(by);
        self.scanned = self.scanned.saturating_sub(by);
    }

    /// But for its head and a line that may begin another.
    fn bound(&mut self) {
        let (most, len) = (self.stream.max_bytes, self.stream.bytes.len());
        let is_over = self.line_start > most || (self.is_mid_line && len > most);
        if self.stream.at_end() || !(is_over || self.stream.is_cut()) {
            return;
        }
        let keep = if self.is_mid_line { self.scanned } else { self.line_start };
        self.stream.drop_front(keep);
        if self.pending.what == What::Blanks {
            self.pending.what = What::Headless;
        }
        self.line_start = 0;
        self.scanned -= keep;
    }
}

impl<R: Read> MessageReader<R> {
    pub fn new(reader: R, options: ReadOptions) -> Self {
        let names = Names { header: "MSH", record: "message" };
        Self {
            stream: Stream::new(reader, options.max_message_bytes, names),
            line_start: 0,
            scanned: 0,
            line: 1,
            is_mid_line: false,
            pending: BLANKS,
            delimiters: Delimiters::USUAL,
        }
    }

    /// The next records, about `max_bytes` of them; `None` at the end of the stream. A batch may hold rejects alone.
    ///
    /// # Errors
    /// When the source fails; then every later call fails too.
    pub fn next_batch(&mut self, max_bytes: usize) -> Result<Option<MessageBatch>, FormatError> {
        next_batch(self, max_bytes)
    }

    /// Where the text of the line that is looked at ends, and where the next one begins, when both are known.
    fn next_line(&mut self) -> Option<(usize, usize)> {
        let rest = self.stream.bytes.get(self.scanned..).unwrap_or_default();
        let (end, next) = line_end(rest);
        let (end, next) = (self.scanned + end, self.scanned + next);
        // The LF of a CRLF may not be read yet.
        let is_open = next == self.stream.bytes.len() && self.stream.bytes.get(end).is_none_or(|byte| *byte == b'\r');
        if is_open && !self.stream.at_end() {
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
        self.line += u64::from(matches!(self.stream.bytes.get(end), Some(b'\r' | b'\n')));
        self.line_start = next;
        self.scanned = next;
    }

    fn judge_long_line(&mut self, batch: &mut MessageBatch) {
        let end = self.stream.bytes.len();
        let is_long = end - self.line_start > self.stream.max_bytes.max(TELLING_BYTES);
        if is_long && !self.is_mid_line && !self.stream.at_end() {
            self.judge(end, batch);
            self.is_mid_line = true;
        }
    }

    /// Whether the line up to `end` begins a record or belongs to the pending one.
    fn judge(&mut self, end: usize, batch: &mut MessageBatch) {
        let start = self.line_start;
        let line = self.stream.bytes.get(start..end).unwrap_or_default();
        let text = line.get(indent(line)..).unwrap_or_default();
        let begun = match RecordKind::of(text) {
            None if text.trim_ascii().is_empty() => return,
            None => What::Headless,
            Some(kind) => What::Record(kind),
        };
        let declared = Delimiters::of_header(text);
        // What is too long before a message is so whether it was read at once or in pieces.
        let is_over = self.stream.pending(start) > self.stream.max_bytes;
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
            (What::Headless, What::Record(RecordKind::Message)) if !self.stream.is_cut() && !is_over => {
                self.pending.what = begun;
                true
            }
            _ => false,
        };
        if !belongs {
            self.close(start, batch);
            self.pending = Pending { what: begun, line: self.line };
        }
        self.delimiters = declared.unwrap_or(self.delimiters);
    }

    /// Ends the pending record before `end`.
    fn close(&mut self, end: usize, batch: &mut MessageBatch) {
        let Pending { what, line } = std::mem::replace(&mut self.pending, BLANKS);
        let kind = match what {
            What::Blanks if !self.stream.is_cut() && self.stream.pending(end) <= self.stream.max_bytes => return,
            What::Blanks | What::Headless => None,
            What::Record(kind) => Some(kind),
        };
        let delimiters = self.delimiters;
        self.stream.close(end, line, batch, kind.map(|kind| move |span| Record { kind, span, line, delimiters }));
    }
}
