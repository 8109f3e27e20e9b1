//! What can be wrong with a key store, told apart because each asks for another remedy.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// Which store and which key in it. Not secret: errors, the audit log and `cordon keys status` show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// As `keys.root` in `cordon.yaml` calls it.
    pub kind: &'static str,
    pub key: String,
    /// An address, a region, a token of an HSM.
    pub at: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} key `{}` at {}", self.kind, self.key, self.at)
    }
}

/// A store that did not do what was asked, and what to do about it. Holds nothing of what the store sent but words
/// that this crate knows.
#[derive(Debug, Error)]
#[error("{place}: {trouble}\n  help: {}", trouble.help())]
pub struct KeyStoreError {
    pub place: Arc<Place>,
    pub trouble: Trouble,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Trouble {
    #[error("the store cannot be reached: {how}")]
    Down { how: &'static str },
    #[error("the store did not answer within {seconds} s")]
    Slow { seconds: u64 },
    #[error("the store has a fault of its own (status {status})")]
    Broken { status: u16 },
    #[error("the store asks to come back later, and did so for {seconds} s")]
    Throttled { seconds: u64 },
    #[error("the store is sealed or not initialised")]
    Sealed,
    #[error("the certificate of the store is not trusted: {how}")]
    NotTrusted { how: &'static str },
    #[error("the store does not take the certificate of this machine")]
    CertificateRefused,
    #[error("{what}")]
    NoCredentials { what: String },
    #[error("the store does not take these credentials: {what}")]
    CredentialsRefused { what: &'static str },
    #[error("these credentials may not {what}")]
    Forbidden { what: &'static str },
    #[error("there is no such key in the store, or it was deleted")]
    KeyMissing,
    #[error("the key is there and cannot be used: {how}")]
    KeyUnusable { how: String },
    #[error("the key can leave its store: it is marked as exportable")]
    Exportable,
    #[error("what is to be unwrapped was not wrapped by this key for this key ring")]
    WrongKey,
    #[error("the version of the key that wrapped it is not to be used any more")]
    VersionRetired,
    #[error("wrong configuration: {what}")]
    Configuration { what: String },
    #[error("the store sends the request elsewhere (status {status})")]
    Redirected { status: u16 },
    #[error("the PIN is locked after wrong ones, or expired")]
    PinLocked,
    #[error("the store refused the request ({what})")]
    Refused { what: String },
    #[error("the answer is not one of such a store: {what}")]
    Answer { what: &'static str },
}

impl Trouble {
    /// What somebody can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Down { .. } => {
                "start it, or correct the address in `keys.root`; nothing was changed, and the same command goes on"
            }
            Self::Slow { .. } | Self::Broken { .. } | Self::Throttled { .. } => {
                "look at the store; nothing was changed, and the same command goes on; `timeout-seconds` says how long to wait"
            }
            Self::Sealed => "unseal it; nothing was changed, and the same command goes on",
            Self::NotTrusted { .. } => {
                "name the certificate of its authority as `ca-file` in `keys.root`, and the server by a name that its certificate holds"
            }
            Self::CertificateRefused => "renew it, or have the store trust its authority",
            Self::NoCredentials { .. } => "docs/keys.md lists the places where credentials are looked for",
            Self::CredentialsRefused { .. } => "they are wrong, expired or revoked: renew them",
            Self::Forbidden { .. } => "docs/keys.md has the least policy that this store needs",
            Self::KeyMissing => {
                "correct `key` in `keys.root`, or restore the key; without it nothing can be read, and nobody can make it again"
            }
            Self::KeyUnusable { .. } => "enable the key, or choose one of the kind that docs/keys.md names",
            Self::Exportable => "make another that cannot be exported: only then it is certain that nobody has a copy",
            Self::WrongKey => {
                "name the key and store in `keys.root` that wrapped this ring, or restore the ring that belongs here"
            }
            Self::VersionRetired => "allow that version again, run `cordon keys rotate-root`, and retire it then",
            Self::Configuration { .. } => "correct `keys.root` in cordon.yaml; docs/keys.md explains it",
            Self::Redirected { .. } => {
                "name that address itself in `keys.root`: no credential is sent where a server points to"
            }
            Self::PinLocked => "the security officer of the token sets a new one",
            Self::Refused { .. } => "the store's own log says more",
            Self::Answer { .. } => "check the address: something else may answer there",
        }
    }

    /// Whether the same request may do better in a moment.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, Self::Down { .. } | Self::Broken { .. } | Self::Throttled { .. })
    }
}

/// Puts the place to a trouble.
pub(crate) trait At<T> {
    fn at(self, place: &Arc<Place>) -> Result<T, KeyStoreError>;
}

impl<T> At<T> for Result<T, Trouble> {
    fn at(self, place: &Arc<Place>) -> Result<T, KeyStoreError> {
        self.map_err(|trouble| KeyStoreError { place: Arc::clone(place), trouble })
    }
}
