//! What can go wrong with a project or a run, and what to do about it. No value of the data is ever in a message.

use std::path::{Path, PathBuf};

use cordon_audit::AuditError;
use cordon_crypto::CryptoError;
use cordon_custody::CustodyError;
use cordon_deid::kernel::KernelError;
use cordon_deid::yaml::Issues;
use cordon_engine::{EngineError, Fault, PlanProblemKind};
use cordon_phi::TokenError;
use cordon_storage::StorageError;
use cordon_vault::{KeyRingError, VaultError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

#[derive(Debug, Error)]
pub enum RunError {
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
    #[error(
        "another run of pipeline `{pipeline}` is active\n  help: wait for it, or stop it; a stopped run can be resumed"
    )]
    Busy { pipeline: String },
    #[error("{what} is going on\n  help: wait for it to end")]
    Occupied { what: &'static str },
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
    #[error(transparent)]
    Engine(EngineError),
    #[error("{0}\n  help: run again when it can be reached; nothing is lost")]
    Store(StorageError),
    #[error("{0}\n  help: docs/storage.md says how a store is configured and where its credentials come from")]
    StoreSetup(StorageError),
    #[error(
        "the Ranger policies of `{service}` are not known: {why}\n  help: nobody reads anything until they are; docs/access.md says more"
    )]
    PoliciesUnknown { service: String, why: String },
    /// On a machine of a cluster, or with the cluster itself.
    #[error("{text}")]
    Elsewhere { exit: ExitKind, text: String },
    #[error("the run was interrupted; run it again to resume")]
    Interrupted,
    #[error("internal error in {0}; please report it")]
    Internal(&'static str),
}

/// What the process says to its caller by its exit code; documented in `docs/exit-codes.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitKind {
    Failure = 1,
    Usage = 2,
    Quarantined = 3,
    Denied = 4,
    Keys = 5,
    Storage = 6,
    Integrity = 7,
    Busy = 8,
}

impl ExitKind {
    /// What another process of this program ended with; a failure where that is none of these.
    pub fn of(code: u8) -> Self {
        let all =
            [Self::Usage, Self::Quarantined, Self::Denied, Self::Keys, Self::Storage, Self::Integrity, Self::Busy];
        all.into_iter().find(|kind| *kind as u8 == code).unwrap_or(Self::Failure)
    }
}

impl RunError {
    pub(crate) fn io(what: &'static str, path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<StorageError>()) {
            return error.clone().into();
        }
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

    pub fn exit(&self) -> ExitKind {
        match self {
            Self::Config(_) | Self::Usage { .. } => ExitKind::Usage,
            Self::Keys(_) | Self::Crypto(_) | Self::VaultKey(_) | Self::OtherVersion { .. } => ExitKind::Keys,
            Self::NoSpace { .. }
            | Self::Io { .. }
            | Self::Store(_)
            | Self::StoreSetup(_)
            | Self::Vault(TokenError::Unavailable(_)) => ExitKind::Storage,
            Self::Damaged { .. } | Self::Vault(TokenError::Damaged(_)) => ExitKind::Integrity,
            Self::Busy { .. } | Self::Occupied { .. } => ExitKind::Busy,
            Self::PoliciesUnknown { .. } => ExitKind::Denied,
            Self::Audit(error) => audit_exit(error),
            Self::Elsewhere { exit, .. } => *exit,
            Self::Engine(error) => engine_exit(error).1,
            Self::Interrupted | Self::Internal(_) => ExitKind::Failure,
        }
    }
}

impl RunError {
    /// What kind of trouble, for the audit log.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Config(_) => "configuration",
            Self::Usage { .. } => "usage",
            Self::NoSpace { .. } => "no space",
            Self::Io { .. } => "input or output",
            Self::Damaged { .. } => "damaged",
            Self::Busy { .. } | Self::Occupied { .. } => "busy",
            Self::Keys(_) | Self::VaultKey(_) | Self::OtherVersion { .. } => "keys",
            Self::Crypto(_) => "cryptography",
            Self::Vault(_) => "vault",
            Self::Audit(_) => "audit",
            Self::Store(_) | Self::StoreSetup(_) => "object store",
            Self::Engine(_) => "engine",
            Self::PoliciesUnknown { .. } => "policies",
            Self::Elsewhere { .. } => "cluster",
            Self::Interrupted => "interrupted",
            Self::Internal(_) => "internal",
        }
    }
}

/// The kind of an engine's error, for the audit log, and the exit code that goes with it.
pub fn engine_exit(error: &EngineError) -> (&'static str, ExitKind) {
    match error {
        EngineError::NoSpace { .. } => ("no space", ExitKind::Storage),
        EngineError::ReadOnly { .. } | EngineError::Io { .. } => ("input or output", ExitKind::Storage),
        EngineError::Storage(_) => ("object store", ExitKind::Storage),
        EngineError::Damaged { .. } | EngineError::NotEncrypted { .. } => ("damaged", ExitKind::Integrity),
        EngineError::KeyDenied { .. } | EngineError::KeyMaterial { .. } => ("keys", ExitKind::Keys),
        EngineError::NoSuchTable => ("no such table", ExitKind::Denied),
        EngineError::Refused { .. } => ("refused", ExitKind::Denied),
        EngineError::Disclosure { kind, .. } => (kind, ExitKind::Denied),
        EngineError::Planning(problem) if problem.kind == PlanProblemKind::UnknownTable => {
            ("no such table", ExitKind::Denied)
        }
        EngineError::Planning(_) => ("not a valid query", ExitKind::Usage),
        EngineError::Execution(_) => ("failed on its data", ExitKind::Failure),
        EngineError::Limit(_) => ("limit", ExitKind::Failure),
        EngineError::Revoked => ("revoked", ExitKind::Denied),
        EngineError::Elsewhere { fault, .. } => (
            "cluster",
            match fault {
                Fault::Usage => ExitKind::Usage,
                Fault::Denied => ExitKind::Denied,
                Fault::Keys => ExitKind::Keys,
                Fault::Storage => ExitKind::Storage,
                Fault::Integrity => ExitKind::Integrity,
                Fault::Failure => ExitKind::Failure,
            },
        ),
        _ => ("engine", ExitKind::Failure),
    }
}

fn audit_exit(error: &AuditError) -> ExitKind {
    match error {
        AuditError::Io { .. } => ExitKind::Storage,
        AuditError::Tampered(_) | AuditError::Entry { .. } => ExitKind::Integrity,
        AuditError::OtherKeys { .. } => ExitKind::Keys,
        _ => ExitKind::Failure,
    }
}

impl From<EngineError> for RunError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Storage(error) => error.into(),
            error => Self::Engine(error),
        }
    }
}

impl From<StorageError> for RunError {
    fn from(error: StorageError) -> Self {
        if error.is_passing() { Self::Store(error) } else { Self::StoreSetup(error) }
    }
}

impl From<CustodyError> for RunError {
    fn from(error: CustodyError) -> Self {
        match error {
            CustodyError::Config(issues) => Self::Config(issues),
            CustodyError::Usage { message, help } => Self::Usage { message, help },
            CustodyError::NoSpace { what, path } => Self::NoSpace { what, path },
            CustodyError::Io { what, path, kind } => Self::Io { what, path, kind },
            CustodyError::OtherVersion { path } => Self::OtherVersion { path },
            CustodyError::Damaged { path, how } => Self::Damaged { path, how },
            CustodyError::Keys(error) => Self::Keys(error),
            CustodyError::Crypto(error) => Self::Crypto(error),
            CustodyError::VaultKey(error) => Self::VaultKey(error),
            CustodyError::Vault(error) => Self::Vault(error),
            CustodyError::Audit(error) => Self::Audit(error),
        }
    }
}

impl From<VaultError> for RunError {
    fn from(error: VaultError) -> Self {
        CustodyError::from(error).into()
    }
}

impl From<KernelError> for RunError {
    fn from(error: KernelError) -> Self {
        match error {
            KernelError::Token(error) => Self::Vault(error),
            KernelError::Crypto(error) => Self::Crypto(error),
            KernelError::Shape => Self::Internal("a kernel's output"),
        }
    }
}
