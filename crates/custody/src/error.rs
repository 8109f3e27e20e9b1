//! What can go wrong with keys, vault and record, and what to do about it. No value of the data is ever in a message.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use cordon_audit::AuditError;
use cordon_crypto::CryptoError;
use cordon_deid::yaml::Issues;
use cordon_phi::TokenError;
use cordon_vault::{KeyRingError, VaultError};
use thiserror::Error;

#[derive(Debug, Error)]
pub enum CustodyError {
    #[error("{0}")]
    Config(#[from] Issues),
    #[error("{message}\n  help: {help}")]
    Usage { message: String, help: String },
    #[error("no space left on the disk: cannot {what} {path}\n  help: free some space and run again; nothing is lost", path = .path.display())]
    NoSpace { what: &'static str, path: PathBuf },
    #[error("cannot {what} {path}: {kind}", path = .path.display())]
    Io { what: &'static str, path: PathBuf, kind: String },
    #[error(
        "{path} is sealed under a version of its key that the key ring does not hold\n  help: if keys were rotated while this \
         command ran, run it again; otherwise restore the key ring that belongs to it",
        path = .path.display()
    )]
    OtherVersion { path: PathBuf },
    #[error("{path} {how}", path = .path.display())]
    Damaged { path: PathBuf, how: &'static str },
    #[error(transparent)]
    Keys(#[from] KeyRingError),
    #[error("cryptography: {0}")]
    Crypto(#[from] CryptoError),
    #[error("{0}\n  help: vault and key ring belong together; restore both from one backup")]
    VaultKey(String),
    #[error(transparent)]
    Vault(#[from] TokenError),
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl CustodyError {
    pub(crate) fn io(what: &'static str, path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::NoSpace { what, path: path.to_path_buf() }
            }
            // The kind only: an error's own text may hold more than we know.
            kind => Self::Io { what, path: path.to_path_buf(), kind: kind.to_string() },
        }
    }

    pub(crate) fn damaged(path: &Path, how: &'static str) -> Self {
        Self::Damaged { path: path.to_path_buf(), how }
    }

    pub(crate) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), help: help.into() }
    }
}

impl From<VaultError> for CustodyError {
    fn from(error: VaultError) -> Self {
        match &error {
            VaultError::Io { doing, path, source } => Self::io(doing, path, source),
            VaultError::DatabaseConfig { place, what } => {
                Self::usage(format!("{place}: {what}"), "docs/vault.md says how a vault in PostgreSQL is configured")
            }
            VaultError::WrongKey { .. } | VaultError::WrongDatabaseKey { .. } => Self::VaultKey(error.to_string()),
            VaultError::SubjectKeysRenewed { path, .. } => Self::OtherVersion { path: path.clone() },
            _ => Self::Vault(error.into()),
        }
    }
}
