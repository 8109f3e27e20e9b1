//! Why an entry could not be written or read.

use std::io;

use cordon_crypto::CryptoError;
use thiserror::Error;

use crate::Finding;

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AuditError {
    #[error("audit log: cannot {doing} {file}: {source}")]
    Io { doing: &'static str, file: String, source: io::Error },
    /// What is on disk is not what was written. Nothing more is written until somebody has looked.
    #[error("the audit log was changed: {0}; nothing is recorded until it is repaired or restored")]
    Tampered(Finding),
    #[error("the audit log belongs to other keys than these ({which})")]
    OtherKeys { which: &'static str },
    #[error("the audit log was written by an earlier version of cordon, whose logs this one does not read")]
    OldFormat,
    #[error("audit entry {seq} cannot be opened")]
    Entry { seq: u64 },
    #[error("an audit entry of {bytes} bytes is more than the {limit} allowed")]
    TooLarge { bytes: usize, limit: usize },
    /// After a failed fdatasync nobody knows what is on disk; a new `open` finds out.
    #[error("the audit log failed to reach the disk earlier and must be opened again")]
    Poisoned,
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

impl AuditError {
    pub(crate) fn io(doing: &'static str, file: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, file: file.to_owned(), source }
    }

    /// The same, for one more of those whom it is about.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Io { doing, file, source } => {
                let source = source.raw_os_error().map_or_else(|| source.kind().into(), io::Error::from_raw_os_error);
                Self::Io { doing, file: file.clone(), source }
            }
            Self::Tampered(finding) => Self::Tampered(finding.clone()),
            Self::OtherKeys { which } => Self::OtherKeys { which },
            Self::OldFormat => Self::OldFormat,
            Self::Entry { seq } => Self::Entry { seq: *seq },
            Self::TooLarge { bytes, limit } => Self::TooLarge { bytes: *bytes, limit: *limit },
            Self::Poisoned => Self::Poisoned,
            Self::Crypto(error) => Self::Crypto(error.clone()),
        }
    }
}
