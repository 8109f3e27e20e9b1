//! Columns as text again, for documents, and the writing of columns of text.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StringViewArray};

/// A kernel's outcome as the text that stands in a document: a year as `1957`, a date as ISO 8601.
///
/// A type that no kernel gives comes out as nulls: a value that we cannot spell must not be guessed.
pub fn text_of(values: &ArrayRef) -> StringViewArray {
    if let Some(text) = values.as_string_view_opt() {
        return text.clone();
    }
    StringViewArray::new_null(values.len())
}
