//! What HL7 v2 and X12 have in common: records of segments, cut from a stream in bounded memory and written with changes.
//!
//! Where a record begins, what parts its values and how a text is spelled in it, each format says for itself.

mod edits;
mod stream;
mod value;

pub use edits::{EditError, Edits, Line, splice};
pub use stream::{Batch, Reject, RejectReason, Spanned};
pub(crate) use stream::{Cutter, Names, Stream, next_batch};
pub use value::{Split, Syntax, Value};
