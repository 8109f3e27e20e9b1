//! What can go wrong, said with file and offset and never with a value.

use std::{
    io,
    path::{Path, PathBuf},
};

use cordon_crypto::CryptoError;
use cordon_phi::TokenError;
use thiserror::Error;

/// Why a vault could not do what was asked. Carries no value and no token.
#[derive(Debug, Error)]
pub enum VaultError {
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// The bytes on disk are not what was written. Nothing is changed on disk when this is said.
    #[error("{} is damaged at byte {offset}: {what}; restore it from a backup", file.display())]
    Damaged { file: PathBuf, offset: u64, what: &'static str },
    #[error("there is no vault in {}; if its disk is not mounted, mount it; else restore it from a backup", dir.display())]
    Missing { dir: PathBuf },
    #[error("the {which} key is not the one that the vault {} was made with", dir.display())]
    WrongKey { which: &'static str, dir: PathBuf },
    #[error("the vault {} has format version {found}, this program knows version {known}", dir.display())]
    Version { dir: PathBuf, found: u32, known: u32 },
    #[error("a value of {len} bytes is too long for the vault (at most {max})")]
    TooLong { len: usize, max: usize },
    #[error("{what} do not go together: not as many of the one as of the other")]
    Uneven { what: &'static str },
    #[error("there are no dossiers in {}; if their disk is not mounted, mount it; else restore them from a backup", dir.display())]
    NoDossiers { dir: PathBuf },
    #[error("the dossiers in {} belong to another vault, or to this one as it was under other keys", dir.display())]
    OtherVault { dir: PathBuf },
    #[error("there are no subject keys at {}: without them no token and no value of the vault can be read; if their disk is not mounted, mount it; else restore the newest copy of that file", path.display())]
    NoSubjectKeys { path: PathBuf },
    #[error("{} exists already and is not replaced: without it a vault cannot be read", path.display())]
    SubjectKeysExist { path: PathBuf },
    #[error("the subject keys {} are not those of this vault; restore the file that was made with it", path.display())]
    OtherSubjectKeys { path: PathBuf },
    /// Of an older copy, people who were destroyed since could be read again.
    #[error("the subject keys {} are an older copy: keys were destroyed since; restore the newest copy of that file", path.display())]
    OldSubjectKeys { path: PathBuf },
    /// Somebody was destroyed, and the file sealed under a new key of the ring.
    #[error("the subject keys {} are sealed under version {version} of their key, which the key ring in use does not hold; if somebody was destroyed while this command ran, run it again, else restore the newest copy of the key ring", path.display())]
    SubjectKeysRenewed { path: PathBuf, version: u32 },
    /// What is looked up or written with the old ones would be as if nobody had ever been seen.
    #[error(
        "the keys of the vault were changed while this command ran, and nothing more is read or written with the old ones: {place}; run it again"
    )]
    Rekeyed { place: String },
    #[error("the vault is under these keys already: {place}")]
    SameKeys { place: String },
    #[error("people are being destroyed faster than the vault can answer; try again")]
    Busy,
    /// Records that were written already may show another made-up name than the one that stands.
    #[error("another run decided meanwhile how somebody's made-up name is drawn; run again")]
    Overtaken,
    #[error("{} holds as much as one file can", file.display())]
    Full { file: PathBuf },
    #[error("{place}: {what}")]
    DatabaseConfig { place: String, what: String },
    #[error("{place}: cannot {doing}: {what}")]
    Database { place: String, doing: &'static str, what: String },
    #[error("{place} is damaged: {what}; restore it from a backup")]
    DamagedRows { place: String, what: &'static str },
    #[error("the {which} key is not the one that the vault was made with: {place}")]
    WrongDatabaseKey { which: &'static str, place: String },
    #[error("{place} has format {found}, this program knows format {known}{}", if found < known { "; run `cordon vault migrate`" } else { "" })]
    DatabaseVersion { place: String, found: i32, known: i32 },
    #[error("a domain name must have 1 to {max} bytes")]
    DomainName { max: usize },
    #[error("the operating system gave no random bytes: {0}")]
    Entropy(#[from] getrandom::Error),
    #[error("cannot seal a part of the vault: {0}")]
    Crypto(#[from] CryptoError),
}

impl VaultError {
    /// For `map_err`: what was being done to which file.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    pub(crate) fn damaged(file: &Path, offset: u64, what: &'static str) -> Self {
        Self::Damaged { file: file.to_owned(), offset, what }
    }
}

impl From<VaultError> for TokenError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Damaged { .. } | VaultError::DamagedRows { .. } => Self::Damaged(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// A run that does not hold what was written. Not an error yet: the log can write it again.
pub(crate) struct RunDamage {
    pub id: u64,
    pub path: PathBuf,
    pub offset: u64,
}

/// What stopped a look-up.
pub(crate) enum Fault {
    Run(RunDamage),
    /// Somebody was destroyed since: what was looked up may be of that person.
    Destroyed,
    Vault(VaultError),
}

impl From<RunDamage> for Fault {
    fn from(damage: RunDamage) -> Self {
        Self::Run(damage)
    }
}

impl From<VaultError> for Fault {
    fn from(error: VaultError) -> Self {
        Self::Vault(error)
    }
}

impl From<Fault> for VaultError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Run(run) => Self::damaged(&run.path, run.offset, "an index run is not authentic"),
            Fault::Destroyed => Self::Busy,
            Fault::Vault(error) => error,
        }
    }
}
