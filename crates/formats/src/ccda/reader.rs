//! Streams of documents: one a file, or several written one behind the other.

use std::io::Read;
use std::ops::Range;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use memchr::memmem;
use serde::Serialize;
use thiserror::Error;

use super::tape::{Broken, Document, Limits, XmlError, XmlProblem, tape};
use super::types::{CdaType, State};
use crate::error::FormatError;

/// Bounds of what is read.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// The largest file; it is held in memory.
    pub max_bytes: usize,
    pub limits: Limits,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, limits: Limits::default() }
    }
}

/// What is wrong with one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum RejectReason {
    /// Not XML as it may be sent; the byte is counted from the start of the document.
    #[error("not XML: {problem} (line {line}, byte {offset})")]
    NotXml {
        problem: XmlProblem,
        offset: usize,
        /// The line of the file on which the parser stopped, from 1.
        line: u64,
    },
    #[error("the root element is none of CDA")]
    NotCda,
    #[error("the bytes are not of the encoding {encoding}")]
    WrongEncoding {
        /// The encoding that the file says it has; UTF-8 when it says nothing.
        encoding: &'static str,
    },
    #[error("an encoding that is not known")]
    UnknownEncoding,
    #[error("the file is longer than {limit} bytes")]
    TooLong { limit: usize },
}

/// One document that was set aside. It holds PHI: no `Debug`, no `Serialize`.
pub struct Reject {
    /// The line on which the document begins, from 1.
    pub line: u64,
    /// The document as it was, up to the reader's limit; converted, where others of its file could be read.
    pub raw: Vec<u8>,
    /// How many bytes were dropped behind `raw`; 0 when it is whole.
    pub cut: u64,
    pub reason: RejectReason,
}

/// Some documents, taken apart. It holds PHI: no `Debug`.
#[derive(Default)]
pub struct DocumentBatch {
    pub documents: Vec<Document>,
    pub rejects: Vec<Reject>,
}

/// Reads CDA documents.
///
/// A file holds one document or several, each with its XML declaration or root element behind the other. After a
/// document that is broken, the next XML declaration begins another.
pub struct DocumentReader<R> {
    source: Source<R>,
    options: ReadOptions,
}

enum Source<R> {
    Unread(R),
    Text(Contents),
    Failed,
    Done,
}

/// A file's text, and how far it is read.
struct Contents {
    text: String,
    at: usize,
    line: u64,
    converted_from: Option<&'static str>,
}

impl<R: Read> DocumentReader<R> {
    pub fn new(reader: R, options: ReadOptions) -> Self {
        Self { source: Source::Unread(reader), options }
    }

    /// The next documents, about `max_bytes` of them; `None` at the end of the stream.
    ///
    /// # Errors
    /// When the source fails; then every later call fails too.
    pub fn next_batch(&mut self, max_bytes: usize) -> Result<Option<DocumentBatch>, FormatError> {
        let mut batch = DocumentBatch::default();
        match std::mem::replace(&mut self.source, Source::Failed) {
            Source::Unread(reader) => match self.read(reader)? {
                Ok(text) => self.source = Source::Text(text),
                Err(reject) => {
                    batch.rejects.push(reject);
                    self.source = Source::Done;
                    return Ok(Some(batch));
                }
            },
            Source::Failed => return Err(FormatError::FailedBefore),
            other => self.source = other,
        }
        if let Source::Text(text) = &mut self.source {
            let start = text.at;
            while text.at < text.text.len() && text.at - start < max_bytes.max(1) {
                text.next(self.options.limits, &mut batch);
            }
            if text.at >= text.text.len() {
                self.source = Source::Done;
            }
        }
        let is_empty = batch.documents.is_empty() && batch.rejects.is_empty();
        Ok((!is_empty).then_some(batch))
    }

    fn read(&self, mut reader: R) -> Result<Result<Contents, Reject>, FormatError> {
        let limit = self.options.max_bytes;
        let mut bytes = Vec::new();
        reader.by_ref().take(limit as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > limit {
            let mut cut = (bytes.len() - limit) as u64;
            bytes.truncate(limit);
            cut += std::io::copy(&mut reader, &mut std::io::sink())?;
            return Ok(Err(Reject { line: 1, raw: bytes, cut, reason: RejectReason::TooLong { limit } }));
        }
        Ok(match decode(bytes) {
            Ok((text, converted_from)) => Ok(Contents { text, at: 0, line: 1, converted_from }),
            Err((raw, reason)) => Err(Reject { line: 1, raw, cut: 0, reason }),
        })
    }
}

impl Contents {
    /// One document, or what is between two.
    fn next(&mut self, limits: Limits, batch: &mut DocumentBatch) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if rest.trim_start_matches('\u{FEFF}').trim_ascii_start().is_empty() {
            self.at = self.text.len();
            return;
        }
        let (end, outcome) = match tape(rest, limits) {
            Ok((tape, end)) => {
                let whole = if self.at == 0 && end == rest.len() {
                    std::mem::take(&mut self.text)
                } else {
                    rest.get(..end).unwrap_or_default().to_owned()
                };
                let document = Document::new(whole, tape, self.line, self.converted_from);
                let root = State::START.enter(&document, document.root());
                let outcome =
                    if root.cda_type() == CdaType::Unknown { Err((document.into_text(), None)) } else { Ok(document) };
                (end, outcome)
            }
            Err(Broken { error, seen }) => {
                // The declaration of the broken document itself must not be found again.
                let from = seen.max(1);
                let behind = rest.as_bytes().get(from..).unwrap_or_default();
                let next = memmem::find(behind, b"<?xml ").map(|at| from + at);
                let end = next.filter(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
                let raw = rest.get(..end).unwrap_or_default().to_owned();
                (end, Err((raw, Some(error))))
            }
        };
        let lines = |text: &str| memchr::memchr_iter(b'\n', text.as_bytes()).count() as u64;
        let line = self.line;
        match outcome {
            Ok(document) => {
                self.line += lines(document.text());
                batch.documents.push(document);
            }
            Err((raw, error)) => {
                self.line += lines(&raw);
                let not_xml = |XmlError { problem, offset }| {
                    let before = raw.as_bytes().get(..offset).unwrap_or(raw.as_bytes());
                    let line = line + memchr::memchr_iter(b'\n', before).count() as u64;
                    RejectReason::NotXml { problem, offset, line }
                };
                let reason = error.map_or(RejectReason::NotCda, not_xml);
                batch.rejects.push(Reject { line, raw: raw.into_bytes(), cut: 0, reason });
            }
        }
        self.at += end.max(1);
        if self.text.is_empty() {
            self.at = 0;
        }
    }
}

/// Text, and its encoding where that was not UTF-8.
type Decoded = (String, Option<&'static str>);

/// The bytes as UTF-8, and what they were when they were something else.
fn decode(bytes: Vec<u8>) -> Result<Decoded, (Vec<u8>, RejectReason)> {
    let (encoding, mark) = match bytes.as_slice() {
        [0xFE, 0xFF, ..] => (UTF_16BE, 2),
        [0xFF, 0xFE, ..] => (UTF_16LE, 2),
        [0, b'<', 0, ..] => (UTF_16BE, 0),
        [b'<', 0, _, 0, ..] => (UTF_16LE, 0),
        [0xEF, 0xBB, 0xBF, ..] => (UTF_8, 0),
        _ => match declared(&bytes).map(<[u8]>::to_owned) {
            None => (UTF_8, 0),
            Some(label) => match Encoding::for_label(&label) {
                // Text in memory is often said to be UTF-16 and then written as UTF-8.
                Some(encoding) if encoding == UTF_16LE || encoding == UTF_16BE => (UTF_8, 0),
                Some(encoding) if encoding.is_ascii_compatible() => (encoding, 0),
                _ => return Err((bytes, RejectReason::UnknownEncoding)),
            },
        },
    };
    let wrong = RejectReason::WrongEncoding { encoding: encoding.name() };
    if encoding == UTF_8 {
        return match String::from_utf8(bytes) {
            Ok(text) => Ok((text, None)),
            Err(error) => Err((error.into_bytes(), wrong)),
        };
    }
    let content = bytes.get(mark..).unwrap_or_default();
    let Some(text) = encoding.decode_without_bom_handling_and_without_replacement(content) else {
        return Err((bytes, wrong));
    };
    let mut text = text.into_owned();
    if text.len() == bytes.len() && text.is_ascii() {
        // The same bytes mean the same in UTF-8: nothing was converted.
        return Ok((text, None));
    }
    if let Some(label) = label_span(text.as_bytes()) {
        text.replace_range(label, "UTF-8");
    }
    Ok((text, Some(encoding.name())))
}

fn declared(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(label_span(bytes)?)
}

/// Where an XML declaration says the encoding.
fn label_span(bytes: &[u8]) -> Option<Range<usize>> {
    let start = bytes.len() - bytes.trim_ascii_start().len();
    let declaration = bytes.get(start..)?.strip_prefix(b"<?xml")?;
    let declaration = declaration.get(..memmem::find(declaration, b"?>")?.min(1024))?;
    let from = memmem::find(declaration, b"encoding")? + b"encoding".len();
    let after = declaration.get(from..)?;
    let equals = after.iter().position(|byte| !byte.is_ascii_whitespace())?;
    let after_equals = after.get(equals..)?.strip_prefix(b"=")?;
    let open = after_equals.iter().position(|byte| !byte.is_ascii_whitespace())?;
    let quote = *after_equals.get(open).filter(|quote| matches!(quote, b'"' | b'\''))?;
    let value = after_equals.get(open + 1..)?;
    let length = memchr::memchr(quote, value)?;
    let at = start + 5 + from + equals + 1 + open + 1;
    Some(at..at + length)
}
