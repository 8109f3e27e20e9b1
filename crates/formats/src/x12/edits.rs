//! New texts for places of a record, and the record written with them.

use std::borrow::Cow;
use std::ops::Range;

use thiserror::Error;

use super::interchange::{Delimiters, Segment, Transaction, Value};

/// Why an edit is not possible. Positions only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EditError {
    /// Edits come in the order of the record and do not overlap.
    #[error("the edit at byte {offset} begins before the one before it ends")]
    OutOfOrder {
        /// Where it begins.
        offset: usize,
    },
    /// It ends behind the record, or before it begins.
    #[error("the edit at byte {offset} is not within the record")]
    OutOfBounds {
        /// Where it begins.
        offset: usize,
    },
    /// A value that would end its element or its segment.
    #[error("the new value at byte {offset} holds a delimiter of elements or segments")]
    Delimiter {
        /// Where the old value begins.
        offset: usize,
    },
}

/// Writes `bytes` behind `out` with other bytes in some places, which ascend and do not overlap.
///
/// # Errors
/// When a place is not within the bytes or not behind the place before it; `out` is as it was then.
pub fn splice<T: AsRef<[u8]>>(
    bytes: &[u8],
    edits: impl IntoIterator<Item = (Range<usize>, T)>,
    out: &mut Vec<u8>,
) -> Result<(), EditError> {
    let before = out.len();
    let mut kept = 0;
    for (span, text) in edits {
        let offset = span.start;
        let wrong = if span.end < offset || span.end > bytes.len() {
            EditError::OutOfBounds { offset }
        } else if let Some(between) = bytes.get(kept..offset) {
            out.extend_from_slice(between);
            out.extend_from_slice(text.as_ref());
            kept = span.end;
            continue;
        } else {
            EditError::OutOfOrder { offset }
        };
        out.truncate(before);
        return Err(wrong);
    }
    out.extend_from_slice(bytes.get(kept..).unwrap_or_default());
    Ok(())
}

/// A text that can stand in a component: X12 has no escapes, so delimiters and control characters become blanks.
pub fn escape<'t>(text: &'t str, delimiters: &Delimiters) -> Cow<'t, str> {
    let parts = |byte: u8| byte.is_ascii_control() || delimiters.has(byte);
    if !text.bytes().any(parts) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().map(|c| if u8::try_from(c).is_ok_and(parts) { ' ' } else { c });
    Cow::Owned(escaped.collect())
}

/// What is to change in one record, collected in its order. It holds PHI: no `Debug`.
///
/// One may serve for many records: [`Edits::clear`] keeps its room.
#[derive(Default)]
pub struct Edits {
    texts: Vec<u8>,
    edits: Vec<Edit>,
}

struct Edit {
    span: Range<usize>,
    text: Range<usize>,
}

impl Edits {
    pub fn clear(&mut self) {
        self.texts.clear();
        self.edits.clear();
    }

    pub fn len(&self) -> usize {
        self.edits.len()
    }

    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// A text instead of a value, without delimiters and encoded as the record is: [`escape`] and [`encode`].
    ///
    /// # Errors
    /// When the value stands before one that was edited.
    pub fn replace(&mut self, value: &Value<'_>, text: &str) -> Result<(), EditError> {
        let syntax = value.syntax();
        // In a record of mixed encodings a value that reads as UTF-8 is written as such.
        let old = value.bytes();
        let is_utf8 = syntax.is_utf8 || !old.is_ascii() && std::str::from_utf8(old).is_ok();
        self.push(value.span(), &encode(&escape(text, &syntax.delimiters), is_utf8))
    }

    /// Bytes instead of a value as they are: delimiters of repetitions and components in them part.
    ///
    /// # Errors
    /// When the value stands before one that was edited, or the bytes hold a delimiter of elements or segments.
    pub fn replace_raw(&mut self, value: &Value<'_>, bytes: &[u8]) -> Result<(), EditError> {
        let Delimiters { element, segment, .. } = value.syntax().delimiters;
        let span = value.span();
        if memchr::memchr2(element, segment, bytes).is_some() {
            return Err(EditError::Delimiter { offset: span.start });
        }
        self.push(span, bytes)
    }

    /// Leaves a segment out, with its terminator and line end. SE-1 and IEA-1 count on: who writes the file corrects them.
    ///
    /// # Errors
    /// When it stands before a value that was edited, or one of its values was.
    pub fn remove(&mut self, segment: &Segment<'_>) -> Result<(), EditError> {
        self.push(segment.line_span(), &[])
    }

    fn push(&mut self, span: Range<usize>, text: &[u8]) -> Result<(), EditError> {
        if self.edits.last().is_some_and(|last| last.span.end > span.start) {
            return Err(EditError::OutOfOrder { offset: span.start });
        }
        let start = self.texts.len();
        self.texts.extend_from_slice(text);
        self.edits.push(Edit { span, text: start..self.texts.len() });
        Ok(())
    }

    /// Writes the record with its changes behind `out`.
    ///
    /// # Errors
    /// When the edits are of a longer record.
    pub fn write(&self, record: &Transaction<'_>, out: &mut Vec<u8>) -> Result<(), EditError> {
        out.reserve(record.bytes().len() + self.texts.len());
        let text = |edit: &Edit| self.texts.get(edit.text.clone()).unwrap_or_default();
        splice(record.bytes(), self.edits.iter().map(|edit| (edit.span.clone(), text(edit))), out)
    }
}

/// A text in UTF-8, or in Latin-1 for a record that is not UTF-8; what Latin-1 has not becomes `?`.
pub fn encode(text: &str, is_utf8: bool) -> Cow<'_, [u8]> {
    if is_utf8 || text.is_ascii() {
        return Cow::Borrowed(text.as_bytes());
    }
    Cow::Owned(text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect())
}
