//! How values of a message are spelled anew.

use std::ops::Range;

use super::escape::escape;
use super::message::{Message, Segment, Value, has_line_end};
use crate::segments::{Line, Spelled};

impl Spelled for Value<'_> {
    fn span(&self) -> Range<usize> {
        Value::span(self)
    }

    /// Escaped by the message's delimiters and encoded as the value is.
    fn spell(&self, text: &str) -> Vec<u8> {
        let syntax = self.syntax();
        let charset = syntax.charset.of_value(self.bytes());
        charset.encode(&escape(text, &syntax.delimiters)).into_owned()
    }

    fn is_ended_by(&self, bytes: &[u8]) -> bool {
        has_line_end(bytes)
    }
}

impl Line for Segment<'_> {
    fn line_span(&self) -> Range<usize> {
        Segment::line_span(self)
    }
}

impl AsRef<[u8]> for Message<'_> {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}
