//! New texts for places of a record, and the record written with them.

use std::ops::Range;

use thiserror::Error;

use super::value::{Syntax, Value};

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
    /// A value that would end its segment, or more than itself.
    #[error("the new value at byte {offset} holds what ends a value or a segment")]
    Delimiter {
        /// Where the old value begins.
        offset: usize,
    },
}

/// A segment with all that goes when it is left out: its end, and what stands before it.
pub trait Line {
    fn line_span(&self) -> Range<usize>;
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

    /// A text instead of a value, spelled as its record is.
    ///
    /// # Errors
    /// When the value stands before one that was edited.
    pub fn replace(&mut self, value: &Value<'_, impl Syntax>, text: &str) -> Result<(), EditError> {
        self.push(value.span(), &value.syntax.spell(value.bytes, text))
    }

    /// Bytes instead of a value as they are: delimiters of its parts in them part, escape sequences are some.
    ///
    /// # Errors
    /// When the value stands before one that was edited, or the bytes hold what ends a value or a segment.
    pub fn replace_raw(&mut self, value: &Value<'_, impl Syntax>, bytes: &[u8]) -> Result<(), EditError> {
        let span = value.span();
        if value.syntax.is_ended_by(bytes) {
            return Err(EditError::Delimiter { offset: span.start });
        }
        self.push(span, bytes)
    }

    /// Leaves a segment out, with its end. What counts segments (SE-1) counts on: who writes the record corrects it.
    ///
    /// # Errors
    /// When it stands before a value that was edited, or one of its values was.
    pub fn remove(&mut self, segment: &impl Line) -> Result<(), EditError> {
        self.push(segment.line_span(), &[])
    }

    /// Bytes in place of a span, whatever they are.
    ///
    /// # Errors
    /// When the span begins before the end of one that was edited.
    pub fn push(&mut self, span: Range<usize>, text: &[u8]) -> Result<(), EditError> {
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
    pub fn write(&self, record: &impl AsRef<[u8]>, out: &mut Vec<u8>) -> Result<(), EditError> {
        let bytes = record.as_ref();
        out.reserve(bytes.len() + self.texts.len());
        let text = |edit: &Edit| self.texts.get(edit.text.clone()).unwrap_or_default();
        splice(bytes, self.edits.iter().map(|edit| (edit.span.clone(), text(edit))), out)
    }
}
