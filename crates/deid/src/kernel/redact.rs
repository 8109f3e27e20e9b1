//! A fixed text in place of every value.

use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::{Array, StringViewArray};

use super::Outcome;

pub(super) fn apply(with: &str, values: &StringViewArray) -> Outcome {
    // One copy of the text, however many rows show it.
    let mut out = StringViewBuilder::with_capacity(values.len()).with_deduplicate_strings();
    for row in 0..values.len() {
        out.append_option(values.is_valid(row).then_some(with));
    }
    Outcome::complete(Arc::new(out.finish()))
}
