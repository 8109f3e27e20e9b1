//! Keyed pseudonyms.

use arrow_array::StringViewArray;

use super::Outcome;
use super::crypto_seam::KeyedHash;

pub(super) fn apply(_domain: &str, values: &StringViewArray, _key: &KeyedHash) -> Outcome {
    super::pending(values)
}
