//! How values of a record are parted and spelled anew.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2};

use super::interchange::{Delimiters, Segment, Syntax, Transaction};
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
        memchr(delimiter, bytes)
    }

    /// Without delimiters, and encoded as the record is: [`escape`] and [`encode`].
    fn spell(&self, old: &[u8], text: &str) -> Vec<u8> {
        encode(&escape(text, &self.delimiters), self.is_utf8 || in_utf8(old)).into_owned()
    }

    fn is_ended_by(&self, bytes: &[u8]) -> bool {
        let Delimiters { element, segment, .. } = self.delimiters;
        memchr2(element, segment, bytes).is_some()
    }
}

impl segments::Line for Segment<'_> {
    fn line_span(&self) -> Range<usize> {
        Segment::line_span(self)
    }
}

impl AsRef<[u8]> for Transaction<'_> {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
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

/// Whether a value of a record of mixed encodings is in UTF-8: what stands in its place is written as it was.
pub fn in_utf8(value: &[u8]) -> bool {
    !value.is_ascii() && std::str::from_utf8(value).is_ok()
}

/// A text in UTF-8, or in Latin-1 for a record that is not UTF-8; what Latin-1 has not becomes `?`.
pub fn encode(text: &str, is_utf8: bool) -> Cow<'_, [u8]> {
    if is_utf8 || text.is_ascii() {
        return Cow::Borrowed(text.as_bytes());
    }
    Cow::Owned(text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect())
}
