//! The value itself, in the type that it claims to have.

use std::sync::Arc;

use arrow_array::StringViewArray;

use super::{Outcome, Parse};

pub(super) fn apply(parse: &Parse, values: &StringViewArray) -> Outcome {
    match parse {
        Parse::Text => Outcome::complete(Arc::new(values.clone())),
        _ => super::pending(values),
    }
}
