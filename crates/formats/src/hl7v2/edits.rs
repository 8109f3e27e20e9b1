//! How values of a message are parted and spelled anew.

use std::ops::Range;

use super::escape::escape;
use super::message::{Message, Segment, Syntax, has_line_end};
use crate::segments;

impl segments::Syntax for Syntax {
    fn repetition(&self) -> Option<u8> {
        self.delimiters.repetition
    }

    fn component(&self) -> Option<u8> {
        self.delimiters.component
    }

    #[inline]
    fn find(&self, delimiter: u8, bytes: &[u8]) -> Option<usize> {
        self.width.find(delimiter, bytes)
    }

    /// Escaped by the message's delimiters and encoded as the value is.
    fn spell(&self, old: &[u8], text: &str) -> Vec<u8> {
        self.charset.of_value(old).encode(&escape(text, &self.delimiters)).into_owned()
    }

    fn is_ended_by(&self, bytes: &[u8]) -> bool {
        has_line_end(bytes)
    }
}

impl segments::Line for Segment<'_> {
    fn line_span(&self) -> Range<usize> {
        Segment::line_span(self)
    }
}

impl AsRef<[u8]> for Message<'_> {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}
