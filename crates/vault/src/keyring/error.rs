//! What can be wrong with a key ring, told apart because each asks for another remedy.

use std::io;
use std::path::PathBuf;

use cordon_crypto::CryptoError;
use cordon_keystore::{KeyStoreError, Place};
use thiserror::Error;

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyRingError {
    #[error("there is no key ring at {}", path.display())]
    Missing { path: PathBuf },
    #[error("{} exists already and is not replaced: it may hold the only keys to your data", path.display())]
    Exists { path: PathBuf },
    #[error("the passphrase is not the one of the key ring {}", path.display())]
    WrongPassphrase { path: PathBuf },
    #[error("the key file {} (fingerprint {found}) is not the one of the key ring {} (fingerprint {expected})",
        key_file.display(), path.display())]
    WrongKeyFile { key_file: PathBuf, path: PathBuf, expected: String, found: String },
    #[error("the key ring {} opens with a {needed}, not with a {given}", path.display())]
    OtherRoot { path: PathBuf, needed: &'static str, given: &'static str },
    #[error("{error}{also}")]
    Store { error: KeyStoreError, also: String },
    #[error("{place} unwraps the root of the key ring {} to something else than its root; restore the ring from a backup",
        path.display())]
    WrongRoot { path: PathBuf, place: Box<Place> },
    #[error("the passphrase is shorter than {least} characters")]
    PassphraseTooShort { least: usize },
    #[error("the key ring {} is damaged: {what}; restore it from a backup", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("the key ring {} is of version {found}, which this program does not know", path.display())]
    Version { path: PathBuf, found: u32 },
    #[error("the key file {} can be read or changed by others (mode {mode:04o}): restrict it to its owner, mode 0600",
        path.display())]
    KeyFilePermissions { path: PathBuf, mode: u32 },
    #[error("{} is not a key file: 64 hexadecimal digits and a newline are expected", path.display())]
    NotAKeyFile { path: PathBuf },
    #[error("the key ring {} was changed by somebody else since it was opened; open it again", path.display())]
    Changed { path: PathBuf },
    #[error("the key ring holds no single key for {purpose}")]
    NoKey { purpose: &'static str },
    #[error("the key for {purpose} is not rotated: {why}")]
    NotRotated { purpose: String, why: &'static str },
    #[error("version {version} of the key {id} stays in the key ring: {why}")]
    NotRetired { id: String, version: u32, why: &'static str },
    #[error("cannot {doing} {}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// The file is as it was before.
    #[error("cannot put the new key ring in the place of {}", path.display())]
    NotReplaced { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Crypto(CryptoError),
}
