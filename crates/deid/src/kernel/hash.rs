//! Keyed pseudonyms.

use std::sync::Arc;

use arrow_array::StringViewArray;

use super::{Outcome, base32};
use cordon_crypto::KeyedHash;

pub(super) fn apply(domain: &str, values: &StringViewArray, key: &KeyedHash) -> Outcome {
    let key = key.derive(domain);
    Outcome::complete(Arc::new(base32::spell_column(values, |value| key.tag128(value))))
}
