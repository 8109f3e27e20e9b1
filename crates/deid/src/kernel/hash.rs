//! Keyed pseudonyms.

use std::sync::Arc;

use arrow_array::StringViewArray;

use super::{KernelError, Outcome, base32};
use cordon_crypto::KeyedHash;

pub(super) fn apply(domain: &str, values: &StringViewArray, key: &KeyedHash) -> Result<Outcome, KernelError> {
    let key = key.derive(domain);
    let spelled = base32::spell_column(values, |value| key.tag128(value)).ok_or(KernelError::Shape)?;
    Ok(Outcome::complete(Arc::new(spelled)))
}
