//! Finds protected health information in columns and in free text. No I/O, no clock, no environment.

pub mod tagger;

use cordon_phi::IdentifierKind;

/// Bytes `start..end` of a text that seem to hold an identifier. Both are character boundaries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
    pub kind: IdentifierKind,
    /// From 0 to 1.
    pub score: f32,
    /// What found it.
    pub source: &'static str,
}
