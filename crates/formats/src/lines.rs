//! Splits a stream into lines in bounded memory.
//!
//! Newline-delimited JSON, be it flat tables or FHIR resources, is read through [`LineReader`]: many
//! lines a batch in one allocation, each with its number, and a line that is too long is set aside
//! without ever being held whole.

use std::io::Read;
use std::ops::Range;

use memchr::{memchr, memchr_iter, memrchr};

use crate::error::{FormatError, Reject, RejectReason};

/// Longest line that is accepted unless told otherwise.
pub const DEFAULT_MAX_LINE_BYTES: usize = 16 << 20;

/// How much is read at once while a line is longer than a batch.
const GROW_BYTES: usize = 1 << 20;

/// Enough to see a byte-order mark before the first line is handed out.
const MIN_BATCH_BYTES: usize = 64;

/// Reads lines that end in LF or CRLF; the last one may lack its end.
///
/// Lines of nothing but ASCII white space are skipped but counted. A UTF-8 byte-order mark in front of
/// the first line is dropped. Whether a line is UTF-8 is left to whoever parses it.
pub struct LineReader<R> {
    reader: R,
    max_line_bytes: usize,
    /// The beginning of a line whose end has not been read yet.
    carry: Vec<u8>,
    /// The number of the next line.
    line: u64,
    /// A too long line whose end has not been read yet.
    skipping: Option<Skip>,
    at_start: bool,
    at_end: bool,
    has_failed: bool,
}

/// Some lines. It holds PHI: no `Debug`.
pub struct LineBatch {
    /// What the spans point into.
    pub bytes: Vec<u8>,
    /// Where each line is in `bytes`, without its line end.
    pub spans: Vec<Range<usize>>,
    /// The number of each line, from 1; as long as `spans`.
    pub lines: Vec<u64>,
    /// Lines that were too long, in the order of the file.
    pub rejects: Vec<Reject>,
}

impl LineBatch {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, spans: Vec::new(), lines: Vec::new(), rejects: Vec::new() }
    }

    /// The lines with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.lines.iter().zip(&self.spans).filter_map(|(&line, span)| Some((line, self.bytes.get(span.clone())?)))
    }
}

impl<R: Read> LineReader<R> {
    /// Reads with the default bound of one line, [`DEFAULT_MAX_LINE_BYTES`].
    pub fn new(reader: R) -> Self {
        Self::with_max_line_bytes(reader, DEFAULT_MAX_LINE_BYTES)
    }

    /// Reads with a bound of one line in bytes.
    pub fn with_max_line_bytes(reader: R, max_line_bytes: usize) -> Self {
        Self {
            reader,
            max_line_bytes: max_line_bytes.max(1),
            carry: Vec::new(),
            line: 1,
            skipping: None,
            at_start: true,
            at_end: false,
            has_failed: false,
        }
    }

    /// The next lines, about `max_bytes` of them; `None` at the end of the stream.
    ///
    /// A batch may hold rejects alone. One line longer than `max_bytes` but within the bound of a line
    /// makes a batch of its own.
    ///
    /// # Errors
    /// When the source fails; then every later call fails too, since a decoder that failed may go on to say
    /// that it is at its end.
    pub fn next_batch(&mut self, max_bytes: usize) -> Result<Option<LineBatch>, FormatError> {
        if self.has_failed {
            return Err(FormatError::FailedBefore);
        }
        let max_bytes = max_bytes.max(MIN_BATCH_BYTES);
        loop {
            let mut batch = LineBatch::new(std::mem::take(&mut self.carry));
            if let Err(error) = self.fill(&mut batch.bytes, max_bytes) {
                self.has_failed = true;
                return Err(error);
            }
            if self.skipping.is_some() {
                self.skip(&mut batch);
            } else {
                self.split(&mut batch);
            }
            if !batch.spans.is_empty() || !batch.rejects.is_empty() {
                return Ok(Some(batch));
            }
            if self.at_end && self.carry.is_empty() && self.skipping.is_none() {
                return Ok(None);
            }
        }
    }

    /// Reads until there are `max_bytes`, or some more when that much is waiting already.
    fn fill(&mut self, bytes: &mut Vec<u8>, max_bytes: usize) -> Result<(), FormatError> {
        if self.at_end {
            return Ok(());
        }
        let want = if bytes.len() < max_bytes { max_bytes - bytes.len() } else { GROW_BYTES.min(bytes.len()) };
        bytes.reserve_exact(want);
        let read = self.reader.by_ref().take(want as u64).read_to_end(bytes)?;
        self.at_end = read < want;
        if self.at_start {
            drop_byte_order_mark(bytes)?;
            self.at_start = false;
        }
        Ok(())
    }

    /// Notes every complete line; what follows the last line end is carried to the next batch.
    fn split(&mut self, batch: &mut LineBatch) {
        let complete =
            if self.at_end { batch.bytes.len() } else { memrchr(b'\n', &batch.bytes).map_or(0, |last| last + 1) };
        self.carry = batch.bytes.split_off(complete);
        if let Some(skip) = Skip::of(&self.carry, self.max_line_bytes) {
            self.skipping = Some(skip);
            self.carry = Vec::new();
        }
        let lines = batch.bytes.as_slice();
        let unended = !lines.is_empty() && !lines.ends_with(b"\n");
        let mut start = 0;
        for end in memchr_iter(b'\n', lines).chain(unended.then_some(lines.len())) {
            let line = self.line;
            self.line += 1;
            let ended = lines.get(start..end).unwrap_or_default();
            let text = ended.strip_suffix(b"\r").unwrap_or(ended);
            if let Some(skip) = Skip::of(ended, self.max_line_bytes) {
                batch.rejects.push(self.too_long(line, skip));
            } else if !text.trim_ascii().is_empty() {
                batch.spans.push(start..start + text.len());
                batch.lines.push(line);
            }
            start = end + 1;
        }
    }

    /// Drops bytes up to the end of the line that is too long.
    fn skip(&mut self, batch: &mut LineBatch) {
        let Some(mut skip) = self.skipping.take() else {
            return;
        };
        match memchr(b'\n', &batch.bytes) {
            Some(end) => {
                self.carry = batch.bytes.split_off(end + 1);
                batch.bytes.pop();
                skip.drop_bytes(&batch.bytes);
            }
            None if self.at_end => skip.drop_bytes(&batch.bytes),
            None => {
                skip.drop_bytes(&batch.bytes);
                batch.bytes.clear();
                self.skipping = Some(skip);
                return;
            }
        }
        batch.bytes.clear();
        batch.rejects.push(self.too_long(self.line, skip));
        self.line += 1;
    }

    fn too_long(&self, line: u64, skip: Skip) -> Reject {
        Reject {
            line,
            raw: skip.head,
            cut: skip.dropped - u64::from(skip.ends_in_cr),
            reason: RejectReason::RecordTooLong { limit: self.max_line_bytes },
        }
    }
}

/// A line that is too long, as far as it was read: only its head is kept.
struct Skip {
    head: Vec<u8>,
    dropped: u64,
    /// Whether the last dropped byte may be half of a CRLF, which is no part of the line.
    ends_in_cr: bool,
}

impl Skip {
    /// `None` while the text is within the limit, not counting a CR that may belong to the line end.
    fn of(text: &[u8], limit: usize) -> Option<Self> {
        if text.strip_suffix(b"\r").unwrap_or(text).len() <= limit {
            return None;
        }
        let (head, tail) = text.split_at(limit);
        let mut skip = Self { head: head.to_vec(), dropped: 0, ends_in_cr: false };
        skip.drop_bytes(tail);
        Some(skip)
    }

    fn drop_bytes(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.dropped += bytes.len() as u64;
            self.ends_in_cr = *last == b'\r';
        }
    }
}

/// Drops the mark of UTF-8; text with the mark of UTF-16 or UTF-32 is refused, for every byte of it would
/// be misread.
pub(crate) fn drop_byte_order_mark(bytes: &mut Vec<u8>) -> Result<(), FormatError> {
    let utf16 = bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF");
    if utf16 || bytes.starts_with(b"\0\0\xFE\xFF") {
        return Err(FormatError::NotUtf8Text);
    }
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        bytes.drain(..3);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    /// Hands out a few bytes at a time.
    struct Dribble<'a>(&'a [u8], usize);

    impl Read for Dribble<'_> {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let n = self.1.min(buf.len()).min(self.0.len());
            buf[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    type Seen = (Vec<(u64, Vec<u8>)>, Vec<(u64, Vec<u8>, u64)>);

    fn read_all(bytes: &[u8], chunk: usize, max_line: usize, batch: usize) -> Seen {
        let mut reader = LineReader::with_max_line_bytes(Dribble(bytes, chunk), max_line);
        let (mut lines, mut rejects) = (Vec::new(), Vec::new());
        while let Some(batch) = reader.next_batch(batch).unwrap() {
            assert_eq!(batch.lines.len(), batch.spans.len());
            lines.extend(batch.iter().map(|(n, text)| (n, text.to_vec())));
            rejects.extend(batch.rejects.into_iter().map(|r| (r.line, r.raw, r.cut)));
        }
        assert!(reader.next_batch(batch).unwrap().is_none());
        (lines, rejects)
    }

    /// The same by the book, on the whole text.
    fn by_the_book(bytes: &[u8], max_line: usize) -> Seen {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let (mut lines, mut rejects) = (Vec::new(), Vec::new());
        for (n, text) in (1..).zip(bytes.split(|b| *b == b'\n')) {
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if text.len() > max_line {
                let cut = (text.len() - max_line) as u64;
                rejects.push((n, text[..max_line].to_vec(), cut));
            } else if !text.trim_ascii().is_empty() {
                lines.push((n, text.to_vec()));
            }
        }
        (lines, rejects)
    }

    #[test]
    fn lines_carry_their_numbers_and_blank_ones_count() {
        let (lines, rejects) = read_all(b"\xEF\xBB\xBFa\n\r\n  \nb\r\n\nc", 3, 100, 64);
        let want = [(1, b"a".to_vec()), (4, b"b".to_vec()), (6, b"c".to_vec())];
        assert_eq!(lines, want);
        assert!(rejects.is_empty());
    }

    #[test]
    fn a_too_long_line_is_cut_and_the_next_one_read() {
        let text = [b"ok\n".as_slice(), &[b'x'; 1000], b"\r\nnext\n"].concat();
        let (lines, rejects) = read_all(&text, 7, 10, 64);
        assert_eq!(lines, [(1, b"ok".to_vec()), (3, b"next".to_vec())]);
        assert_eq!(rejects, [(2, vec![b'x'; 10], 990)]);
    }

    #[test]
    fn utf16_is_refused() {
        let mut reader = LineReader::new(b"\xFF\xFE{\0}\0".as_slice());
        assert!(matches!(reader.next_batch(100), Err(FormatError::NotUtf8Text)));
    }

    #[test]
    fn a_source_that_fails_is_not_the_end() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::TimedOut.into())
            }
        }
        let mut reader = LineReader::new(b"{}\n".as_slice().chain(Fails));
        assert!(matches!(reader.next_batch(100), Err(FormatError::Io(_))));
    }

    proptest! {
        #[test]
        fn chunks_and_batches_do_not_show(
            text in "(\u{FEFF})?[ax \r\n]{0,300}",
            chunk in 1usize..50,
            max_line in 1usize..80,
            batch in 1usize..200,
        ) {
            let text = text.as_bytes();
            let want = by_the_book(text, max_line);
            prop_assert!(read_all(text, chunk, max_line, batch) == want);
        }
    }
}
