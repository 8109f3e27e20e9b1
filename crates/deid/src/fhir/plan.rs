//! What is to be written for a batch: kept spans of the input, and places for what the kernels will give.

use super::recipe::Gathered;
use crate::tally::Class;

/// A step of writing. Spans are of the batch's text, unless they say otherwise.
#[derive(Clone, Copy)]
pub(super) enum Op {
    /// Members or items as they stand, commas between them included.
    Copy {
        start: u32,
        end: u32,
    },
    /// Members as they stand that mean nothing alone: an object with nothing else is left out.
    Label {
        start: u32,
        end: u32,
        /// How many values that are.
        count: u32,
    },
    /// A member of the plan's own text.
    Literal {
        start: u32,
        end: u32,
    },
    /// Opens an object or array; `key` is 0..0 within an array. `aligned` arrays keep a `null` where an item goes, for a
    /// sibling `_name` array counts on their places (R4, json.html#primitive).
    Open {
        key: Key,
        array: bool,
        aligned: bool,
    },
    Close,
    /// A result of a kernel. `before` stands in front of it within the quotes, a span of the plan's own text.
    Slot {
        key: Key,
        column: Gathered,
        bare: bool,
        row: u32,
        before: (u32, u32),
        class: Class,
    },
    /// A text that is written anew from pieces, of which some are results of kernels.
    Composed {
        key: Key,
        /// From and to which of the pieces.
        pieces: (u32, u32),
        /// As base64; else as a JSON text.
        base64: bool,
        class: Class,
    },
    /// The place of an item that is not there.
    Null,
}

/// A part of a text that is written anew.
#[derive(Clone, Copy)]
pub(super) enum Piece {
    /// A span of the plan's own text.
    Own { start: u32, end: u32 },
    /// A result of a kernel; `markup`: it stands between tags.
    Slot { column: Gathered, row: u32, markup: bool },
}

/// Where a key stands between its quotes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Key {
    pub start: u32,
    pub end: u32,
}

/// A value for a table's column.
#[derive(Clone, Copy)]
pub(super) enum Cell {
    Slot {
        column: Gathered,
        row: u32,
    },
    /// A span of the batch's text, unescaped already.
    Text {
        start: u32,
        end: u32,
    },
    /// A span of the plan's own text.
    Own {
        start: u32,
        end: u32,
    },
}

/// The plan for one resource.
pub(super) struct Planned {
    /// The operations up to here are this resource's.
    pub ops_end: usize,
    pub id: Option<Cell>,
    pub subject: Option<Cell>,
    /// The captured cells up to here are this resource's.
    pub cells_end: usize,
    /// The counts up to here are this resource's.
    pub counts_end: usize,
    pub failed: Option<(String, super::output::FailureReason)>,
}
