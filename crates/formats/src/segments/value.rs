//! Values of a record: bytes, their place, and the parts that delimiters make of them.

use std::ops::Range;

/// What values of a record are read and written by: its delimiters and its character set.
pub trait Syntax {
    /// What stands between repetitions, and between components; nothing where they do not part.
    fn repetition(&self) -> Option<u8>;
    fn component(&self) -> Option<u8>;

    /// Where a delimiter stands first.
    fn find(&self, delimiter: u8, bytes: &[u8]) -> Option<usize>;

    /// A text as it stands in place of these bytes: escaped, and in the record's character set.
    fn spell(&self, old: &[u8], text: &str) -> Vec<u8>;

    /// Whether bytes in a value's place would end more than its parts.
    fn is_ended_by(&self, bytes: &[u8]) -> bool;
}

/// A value or a part of one: bytes and their place. It holds PHI: no `Debug`.
pub struct Value<'m, S> {
    pub(crate) bytes: &'m [u8],
    pub(crate) start: usize,
    /// Nothing in it is a delimiter.
    pub(crate) is_whole: bool,
    pub(crate) syntax: &'m S,
}

impl<S> Clone for Value<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Value<'_, S> {}

impl<'m, S: Syntax> Value<'m, S> {
    pub(crate) fn part(self, range: Range<usize>) -> Self {
        let start = self.start + range.start;
        Self { bytes: self.bytes.get(range).unwrap_or_default(), start, ..self }
    }

    /// As it stands in the record.
    pub fn bytes(&self) -> &'m [u8] {
        self.bytes
    }

    /// Where in the record.
    pub fn span(&self) -> Range<usize> {
        self.start..self.start + self.bytes.len()
    }

    /// Not valued: nothing is said of it.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Its repetitions; one when it does not repeat.
    pub fn repetitions(&self) -> Split<'m, S> {
        self.split(self.syntax.repetition())
    }

    /// The components of a repetition.
    pub fn components(&self) -> Split<'m, S> {
        self.split(self.syntax.component())
    }

    /// The repetition of this number, from 1.
    pub fn repetition(&self, number: usize) -> Option<Self> {
        self.repetitions().nth(number.checked_sub(1)?)
    }

    /// The component of this number, from 1; of a value with several repetitions, of the first.
    pub fn component(&self, number: usize) -> Option<Self> {
        self.repetitions().next()?.components().nth(number.checked_sub(1)?)
    }

    pub(crate) fn split(&self, delimiter: Option<u8>) -> Split<'m, S> {
        Split { rest: Some(*self), delimiter: delimiter.filter(|_| !self.is_whole) }
    }
}

/// Parts of a value in order, also empty ones; always at least one.
pub struct Split<'m, S> {
    rest: Option<Value<'m, S>>,
    delimiter: Option<u8>,
}

impl<S> Clone for Split<'_, S> {
    fn clone(&self) -> Self {
        Self { rest: self.rest, delimiter: self.delimiter }
    }
}

impl<'m, S: Syntax> Iterator for Split<'m, S> {
    type Item = Value<'m, S>;

    #[inline]
    fn next(&mut self) -> Option<Value<'m, S>> {
        let rest = self.rest.take()?;
        let Some(end) = self.delimiter.and_then(|delimiter| rest.syntax.find(delimiter, rest.bytes)) else {
            return Some(rest);
        };
        self.rest = Some(rest.part(end + 1..rest.bytes.len()));
        Some(rest.part(0..end))
    }
}
