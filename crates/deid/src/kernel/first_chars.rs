//! The beginning of a text.

use std::sync::Arc;

use arrow_array::Array;
use arrow_array::StringViewArray;
use arrow_array::builder::StringViewBuilder;

use super::Outcome;

pub(super) fn apply(n: usize, values: &StringViewArray) -> Outcome {
    // The result is copied, not a view into the input: the rest of the text must not travel with it.
    let mut out = StringViewBuilder::with_capacity(values.len());
    for value in values {
        out.append_option(value.map(|text| {
            let end = text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
            text.get(..end).unwrap_or_default()
        }));
    }
    Outcome::complete(Arc::new(out.finish()))
}
