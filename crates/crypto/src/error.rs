//! What can go wrong, without ever saying on which value.

use thiserror::Error;

/// Why a cryptographic operation was refused. Carries lengths and names of keys, never bytes of data or of a key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// Wrong key, wrong context or changed bytes: by design nobody can tell which.
    #[error("authentication failed: the key or its context is wrong, or the data was changed")]
    Authentication,
    #[error("a key of {found} bytes does not fit {algorithm}")]
    KeyLength { algorithm: &'static str, found: usize },
    /// Sealed under a version that is not here: after the key was rotated, by another project, or before versions were written down.
    #[error("sealed under a version of the key for {purpose} that is not in the key ring")]
    UnknownVersion { purpose: &'static str },
    #[error("no master key is known as \"{id}\"")]
    UnknownMasterKey { id: String },
    /// What a key service says that did not wrap or unwrap, in its client's words.
    #[error("{told}")]
    KeyService { told: String },
    /// SP 800-38G rev. 1, section 5.2: so few values that they could all be tried.
    #[error(
        "values of {length} digits in radix {radix} are too few to hide: format-preserving encryption asks for at least {} possible values",
        crate::MIN_DOMAIN
    )]
    DomainTooSmall { radix: u32, length: usize },
    #[error("radix {radix} is outside 2 to 65536")]
    Radix { radix: u32 },
    #[error("position {position} holds a digit outside the alphabet")]
    DigitOutsideAlphabet { position: usize },
    #[error("malformed {what}")]
    Malformed { what: &'static str },
    /// The last chunk is missing: the writer was killed or the end was cut off.
    #[error("the sealed stream ends before its last chunk")]
    Truncated,
    #[error("too much data for {what}")]
    TooLong { what: &'static str },
    #[error("parameters of {algorithm} are outside what is allowed")]
    Parameters { algorithm: &'static str },
    #[error("the operating system gave no random bytes")]
    Randomness,
}
