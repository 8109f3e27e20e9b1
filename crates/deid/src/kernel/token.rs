//! Random pseudonyms from the vault.

use std::sync::Arc;

use arrow_array::StringViewArray;
use cordon_phi::{Token, TokenError, TokenStore};

use super::text::trimmed;
use super::{Column, Env, Kernel, KernelError, Outcome, base32, text_of};

/// The spelled token of each value: what people are known by, and what is made up for them follows from.
pub(crate) fn tokens_of(values: &StringViewArray, domain: &str, env: &Env) -> Result<StringViewArray, KernelError> {
    let kernel = Kernel::Token { domain: domain.to_owned() };
    Ok(text_of(&kernel.apply(&Column { values, subjects: None }, env)?.values))
}

pub(super) fn apply(domain: &str, values: &StringViewArray, store: &dyn TokenStore) -> Result<Outcome, KernelError> {
    // One call a batch: the store looks up equal values once and may sort the rest as its files like.
    let there: Vec<&[u8]> =
        values.iter().flatten().map(trimmed).filter(|text| !text.is_empty()).map(str::as_bytes).collect();
    let mut tokens = Vec::with_capacity(there.len());
    store.get_or_create(domain, &there, &mut tokens)?;
    if tokens.len() != there.len() {
        // A store that loses count would give one person's pseudonym to another.
        return Err(TokenError::Damaged("it gave another number of tokens than it was asked for".to_owned()).into());
    }
    let mut tokens = tokens.into_iter();
    let spelled = base32::spell_column(values, |_| tokens.next().map_or([0; 16], |Token(bits)| bits));
    let spelled = spelled.ok_or(KernelError::Shape)?;
    Ok(Outcome::complete(Arc::new(spelled)))
}
