//! Builds string view columns whose views point into the text as it was read.

use std::sync::Arc;

use arrow_array::builder::make_view;
use arrow_array::{ArrayRef, StringViewArray};
use arrow_buffer::{Buffer, NullBufferBuilder};

use super::scan::Span;
use crate::error::FormatError;

/// A text of at most this many bytes stands in its view (Arrow columnar format, "Variable-size Binary View").
const INLINE: u32 = 12;

const RAW_BUFFER: u32 = 0;
const SIDE_BUFFER: u32 = 1;

/// What text means beyond its bytes.
pub(super) struct Meaning {
    null_values: Vec<Vec<u8>>,
    trim: bool,
}

impl Meaning {
    pub(super) fn new(null_values: &[String], trim: bool) -> Self {
        Self {
            null_values: null_values.iter().map(|v| v.clone().into_bytes()).collect(),
            trim,
        }
    }

    fn is_plain(&self) -> bool {
        self.null_values.is_empty() && !self.trim
    }
}

/// One column of a batch under construction.
pub(super) struct Column {
    views: Vec<u128>,
    nulls: NullBufferBuilder,
    /// Whether any view points into a buffer. Without one the column does not keep the text alive.
    points: bool,
}

impl Column {
    pub(super) fn new(rows: usize) -> Self {
        Self {
            views: Vec::with_capacity(rows),
            nulls: NullBufferBuilder::new(rows),
            points: false,
        }
    }

    /// Appends one field of each record: the spans, `step` apart.
    pub(super) fn extend(
        &mut self,
        spans: &[Span],
        step: usize,
        raw: &[u8],
        side: &[u8],
        meaning: &Meaning,
    ) {
        let spans = spans.iter().step_by(step);
        if meaning.is_plain() {
            let mut longest = 0;
            for span in spans {
                longest = longest.max(span.len());
                self.nulls.append(span.len() != 0 || span.is_quoted());
                self.views.push(view(*span, raw, side));
            }
            self.points |= longest > INLINE;
        } else {
            for span in spans {
                self.push_with_meaning(*span, raw, side, meaning);
            }
        }
    }

    fn push_with_meaning(&mut self, span: Span, raw: &[u8], side: &[u8], meaning: &Meaning) {
        let mut text = span.text(raw, side);
        let mut start = span.start;
        if meaning.trim {
            let before = text.len();
            text = text.trim_ascii_start();
            start += (before - text.len()) as u32;
            text = text.trim_ascii_end();
        }
        if (text.is_empty() && !span.is_quoted()) || meaning.null_values.iter().any(|v| v == text) {
            self.nulls.append_null();
            self.views.push(0);
        } else {
            self.nulls.append_non_null();
            self.points |= text.len() > INLINE as usize;
            self.views.push(make_view(text, buffer_of(span), start));
        }
    }

    /// The array, over the chunk's text and the text that had to be written anew.
    pub(super) fn finish(self, raw: &Buffer, side: &Buffer) -> Result<ArrayRef, FormatError> {
        let buffers = if self.points {
            vec![raw.clone(), side.clone()]
        } else {
            Vec::new()
        };
        let nulls = self.nulls.build();
        // Arrow's message may quote the text.
        StringViewArray::try_new(self.views.into(), buffers, nulls)
            .map(|array| Arc::new(array) as ArrayRef)
            .map_err(|_| FormatError::Batch {
                doing: "building a column",
            })
    }
}

fn buffer_of(span: Span) -> u32 {
    if span.is_unescaped() {
        SIDE_BUFFER
    } else {
        RAW_BUFFER
    }
}

/// The view of a field. Sixteen bytes are loaded whatever the length and the surplus masked, which spares the
/// jump by length that `make_view` takes.
#[inline]
fn view(span: Span, raw: &[u8], side: &[u8]) -> u128 {
    let from = if span.is_unescaped() { side } else { raw };
    let start = span.start as usize;
    let len = span.len();
    let Some(bytes) = from.get(start..).and_then(|rest| rest.first_chunk::<16>()) else {
        return make_view(span.text(raw, side), buffer_of(span), span.start);
    };
    let bytes = u128::from_le_bytes(*bytes);
    if len <= INLINE {
        let text = bytes & ((1 << (8 * len)) - 1);
        u128::from(len) | (text << 32)
    } else {
        let prefix = bytes & 0xFFFF_FFFF;
        let place = u128::from(buffer_of(span)) | (u128::from(span.start) << 32);
        u128::from(len) | (prefix << 32) | (place << 64)
    }
}
