//! Random pseudonyms from the vault.

use std::sync::Arc;

use arrow_array::StringViewArray;
use cordon_phi::{Token, TokenError, TokenStore};

use super::text::trimmed;
use super::{Env, KernelError, Outcome, base32};

/// The spelled token that the project itself knows each value by: what is made up and shifted follows from it, and dossiers stand
/// under it. It is never shown: a recipient has other ones.
pub(crate) fn tokens_of(values: &StringViewArray, domain: &str, env: &Env) -> Result<StringViewArray, KernelError> {
    spelled(values, |there, tokens| env.tokens.get_or_create_own(domain, there, tokens))
}

pub(super) fn apply(domain: &str, values: &StringViewArray, store: &dyn TokenStore) -> Result<Outcome, KernelError> {
    let spelled = spelled(values, |there, tokens| store.get_or_create(domain, there, tokens))?;
    Ok(Outcome::complete(Arc::new(spelled)))
}

fn spelled(
    values: &StringViewArray,
    ask: impl FnOnce(&[&[u8]], &mut Vec<Token>) -> Result<(), TokenError>,
) -> Result<StringViewArray, KernelError> {
    // One call a batch: the store looks up equal values once and may sort the rest as its files like.
    let there: Vec<&[u8]> =
        values.iter().flatten().map(trimmed).filter(|text| !text.is_empty()).map(str::as_bytes).collect();
    let mut tokens = Vec::with_capacity(there.len());
    ask(&there, &mut tokens)?;
    if tokens.len() != there.len() {
        // A store that loses count would give one person's pseudonym to another.
        return Err(TokenError::Damaged("it gave another number of tokens than it was asked for".to_owned()).into());
    }
    let mut tokens = tokens.into_iter();
    let spelled = base32::spell_column(values, |_| tokens.next().map_or([0; 16], |Token(bits)| bits));
    spelled.ok_or(KernelError::Shape)
}
