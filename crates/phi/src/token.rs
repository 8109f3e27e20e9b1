//! Pseudonyms that mean nothing outside the vault.

use thiserror::Error;

/// A random 128-bit pseudonym, not derived from the person it stands for (164.514(c)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub [u8; 16]);

/// Why a token could not be had. Carries no value.
#[derive(Debug, Error)]
pub enum TokenError {
    #[error("the token vault is not available: {0}")]
    Unavailable(String),
    #[error("the token vault is damaged: {0}")]
    Damaged(String),
}

/// What names of token domains begin with that hold the tokens of a recipient, made of the project's own. No policy may name one.
pub const RECIPIENT_DOMAINS: &str = "recipient:";

/// Where tokens come from: batches in, batches out, never one call a value.
pub trait TokenStore: Send + Sync {
    /// Appends to `out` one token for each of `values`, in order: the one that the value already has in `domain`, or
    /// a new random one. Equal values get equal tokens within a domain, also when they stand twice in one batch.
    fn get_or_create(&self, domain: &str, values: &[&[u8]], out: &mut Vec<Token>) -> Result<(), TokenError>;

    /// As [`Self::get_or_create`], of the project's own tokens, for what follows from a person and is not shown. A store that gives a
    /// recipient tokens of its own gives other ones here.
    fn get_or_create_own(&self, domain: &str, values: &[&[u8]], out: &mut Vec<Token>) -> Result<(), TokenError> {
        self.get_or_create(domain, values, out)
    }
}
