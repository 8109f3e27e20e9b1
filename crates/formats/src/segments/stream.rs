//! A stream that is cut into records in bounded memory.

use std::io::Read;
use std::ops::Range;

use serde::Serialize;
use thiserror::Error;

use crate::error::FormatError;

/// How much is read at once while a record is longer than a batch.
const GROW_BYTES: usize = 1 << 20;

/// Enough to see a byte-order mark.
const MIN_BATCH_BYTES: usize = 64;

/// What is wrong with one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum RejectReason {
    /// Text that belongs to no record: without a header there are no delimiters.
    #[error("no {header} segment before it")]
    NoHeader {
        /// `MSH`, `ISA`.
        header: &'static str,
    },
    #[error("the {record} is longer than {limit} bytes")]
    TooLong {
        /// `message`, `transaction set`.
        record: &'static str,
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

/// A record that has its place in a batch.
pub trait Spanned {
    /// Where it is in the batch's bytes, with everything that stands around it.
    fn span(&self) -> Range<usize>;
}

/// Some records. It holds PHI: no `Debug`.
pub struct Batch<R> {
    /// What spans point into.
    pub bytes: Vec<u8>,
    pub records: Vec<R>,
    /// In the order of the file, as the records are; their lines tell how both mix.
    pub rejects: Vec<Reject>,
}

impl<R> Default for Batch<R> {
    fn default() -> Self {
        Self { bytes: Vec::new(), records: Vec::new(), rejects: Vec::new() }
    }
}

impl<R: Spanned> Batch<R> {
    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The record of this number as it was read.
    pub fn raw(&self, index: usize) -> &[u8] {
        let span = self.records.get(index).map(Spanned::span);
        span.and_then(|span| self.bytes.get(span)).unwrap_or_default()
    }
}

/// What a format calls its records, for whoever reads why one was set aside.
#[derive(Clone, Copy)]
pub(crate) struct Names {
    pub(crate) header: &'static str,
    pub(crate) record: &'static str,
}

/// How far the stream is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Untouched,
    Open,
    Ended,
    Failed,
}

/// What was read of a stream and not handed out: the record that is not at its end, and what stands behind it.
pub(crate) struct Stream<R> {
    reader: R,
    names: Names,
    pub(crate) max_bytes: usize,
    /// The pending record begins at `start`.
    pub(crate) bytes: Vec<u8>,
    start: usize,
    source: Source,
    /// The pending record is too large: what is kept of it, and how much is not.
    cut: Option<(Vec<u8>, u64)>,
}

/// Cuts a stream: knows where records begin.
pub(crate) trait Cutter {
    type Source: Read;
    type Record;

    fn stream(&mut self) -> &mut Stream<Self::Source>;

    /// Takes every segment whose end is there.
    fn take_segments(&mut self, batch: &mut Batch<Self::Record>);

    /// The stream is at its end, and with it the pending record.
    fn end(&mut self, batch: &mut Batch<Self::Record>);

    /// So many bytes at the front are gone.
    fn shift(&mut self, by: usize);

    /// Drops what was read of a pending record that is too large.
    fn bound(&mut self);
}

/// The next records, about `max_bytes` of them; `None` at the end of the stream. A batch may hold rejects alone.
pub(crate) fn next_batch<C: Cutter>(cutter: &mut C, max_bytes: usize) -> Result<Option<Batch<C::Record>>, FormatError> {
    let max_bytes = max_bytes.max(MIN_BATCH_BYTES);
    loop {
        cutter.stream().fill(max_bytes)?;
        let mut batch = Batch::default();
        cutter.take_segments(&mut batch);
        if cutter.stream().at_end() {
            cutter.end(&mut batch);
            let stream = cutter.stream();
            stream.start = stream.bytes.len();
        }
        let gone = cutter.stream().hand_out(&mut batch.bytes);
        cutter.shift(gone);
        cutter.bound();
        if !batch.records.is_empty() || !batch.rejects.is_empty() {
            return Ok(Some(batch));
        }
        if cutter.stream().at_end() {
            return Ok(None);
        }
    }
}

impl<R: Read> Stream<R> {
    pub(crate) fn new(reader: R, max_bytes: usize, names: Names) -> Self {
        let max_bytes = max_bytes.max(1);
        Self { reader, names, max_bytes, bytes: Vec::new(), start: 0, source: Source::Untouched, cut: None }
    }

    pub(crate) fn at_end(&self) -> bool {
        self.source == Source::Ended
    }

    /// How long the pending record is if it ends before `end`.
    pub(crate) fn pending(&self, end: usize) -> usize {
        end.saturating_sub(self.start)
    }

    /// Whether a part of the pending record was dropped.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.is_some()
    }

    /// Reads until there are `max_bytes`, or some more when that much is waiting already.
    fn fill(&mut self, max_bytes: usize) -> Result<(), FormatError> {
        match self.source {
            Source::Failed => return Err(FormatError::FailedBefore),
            Source::Ended => return Ok(()),
            Source::Untouched | Source::Open => {}
        }
        let is_first = std::mem::replace(&mut self.source, Source::Failed) == Source::Untouched;
        let have = self.bytes.len();
        let want = if have < max_bytes { max_bytes - have } else { GROW_BYTES.min(have) };
        let read = self.reader.by_ref().take(want as u64).read_to_end(&mut self.bytes)?;
        let is_wide =
            || [&b"\xFF\xFE"[..], b"\xFE\xFF", b"\0\0\xFE\xFF"].iter().any(|mark| self.bytes.starts_with(mark));
        if is_first && is_wide() {
            return Err(FormatError::NotUtf8Text);
        }
        self.source = if read < want { Source::Ended } else { Source::Open };
        Ok(())
    }

    /// Ends the pending record before `end`: it is handed out, or set aside when it is too large or none.
    pub(crate) fn close<T>(
        &mut self,
        end: usize,
        line: u64,
        batch: &mut Batch<T>,
        record: Option<impl FnOnce(Range<usize>) -> T>,
    ) {
        let span = self.start..end;
        let bytes = self.bytes.get(span.clone()).unwrap_or_default();
        let Names { header, record: name } = self.names;
        let limit = self.max_bytes;
        let reason = RejectReason::TooLong { record: name, limit };
        if let Some((raw, cut)) = self.cut.take() {
            batch.rejects.push(Reject { line, raw, cut: cut + bytes.len() as u64, reason });
        } else if bytes.len() > limit {
            let (raw, tail) = bytes.split_at(limit);
            batch.rejects.push(Reject { line, raw: raw.to_vec(), cut: tail.len() as u64, reason });
        } else if let Some(record) = record {
            batch.records.push(record(span));
        } else {
            let reason = RejectReason::NoHeader { header };
            batch.rejects.push(Reject { line, raw: bytes.to_vec(), cut: 0, reason });
        }
        self.start = end;
    }

    /// Hands out what stands before the pending record; says how much.
    fn hand_out(&mut self, out: &mut Vec<u8>) -> usize {
        let gone = std::mem::take(&mut self.start);
        if gone > 0 {
            let rest = self.bytes.split_off(gone);
            *out = std::mem::replace(&mut self.bytes, rest);
        }
        gone
    }

    /// Drops the first bytes of the pending record, but for its head.
    pub(crate) fn drop_front(&mut self, keep_from: usize) {
        let dropped = self.bytes.get(..keep_from).unwrap_or_default();
        if let Some((_, cut)) = &mut self.cut {
            *cut += dropped.len() as u64;
        } else {
            let (head, tail) = dropped.split_at(dropped.len().min(self.max_bytes));
            self.cut = Some((head.to_vec(), tail.len() as u64));
        }
        self.bytes.drain(..keep_from.min(self.bytes.len()));
    }
}
