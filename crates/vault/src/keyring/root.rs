//! Where the root key comes from, and how a wrong one is known.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cordon_crypto::{Argon2Params, KeyedHash, RootKey, argon2id, random_bytes, same_tag};
use cordon_keystore::{KeyStore, Trouble};
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{KeyRingError, atomic};

/// The least that NIST SP 800-63B (rev. 3, section 5.1.1.2) lets a secret be.
const SHORTEST_PASSPHRASE: usize = 8;

/// What opens a key ring.
pub enum RootSecret {
    Passphrase(Zeroizing<String>),
    /// A file of 64 hexadecimal digits and a newline that only its owner may read.
    KeyFile(PathBuf),
    /// A key that never leaves its store.
    Store(Arc<dyn KeyStore>),
}

impl RootSecret {
    pub fn passphrase(text: impl Into<String>) -> Self {
        Self::Passphrase(Zeroizing::new(text.into()))
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Passphrase(_) => PASSPHRASE,
            Self::KeyFile(_) => KEY_FILE,
            Self::Store(_) => STORE,
        }
    }

    pub(super) fn store(&self) -> Option<Arc<dyn KeyStore>> {
        match self {
            Self::Store(store) => Some(Arc::clone(store)),
            Self::Passphrase(_) | Self::KeyFile(_) => None,
        }
    }
}

const PASSPHRASE: &str = "passphrase";
const KEY_FILE: &str = "key file";
const STORE: &str = "key store";

/// What the ring's file says about its root.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Root {
    Passphrase {
        /// Argon2id, version 0x13.
        memory_kib: u32,
        passes: u32,
        lanes: u32,
        /// Base64.
        salt: String,
        /// Hex: what the right passphrase gives.
        check: String,
    },
    KeyFile {
        /// Hex: what the right key file gives.
        fingerprint: String,
    },
    /// A random root key, which is here only as the store wrapped it.
    Store {
        /// Which key wrapped it, for people: the configuration says where to ask.
        place: String,
        wrapped: String,
        /// Hex: what the right root key gives.
        check: String,
    },
}

impl Root {
    fn kind(&self) -> &'static str {
        match self {
            Self::Passphrase { .. } => PASSPHRASE,
            Self::KeyFile { .. } => KEY_FILE,
            Self::Store { .. } => STORE,
        }
    }

    pub(super) fn wrapped(&self) -> Option<&str> {
        match self {
            Self::Store { wrapped, .. } => Some(wrapped),
            Self::Passphrase { .. } | Self::KeyFile { .. } => None,
        }
    }

    /// Every field, for the checks of the file.
    pub(super) fn parts(&self) -> Vec<Vec<u8>> {
        let mut parts = vec![self.kind().as_bytes().to_vec()];
        match self {
            Self::Passphrase { memory_kib, passes, lanes, salt, check } => {
                parts.extend([memory_kib, passes, lanes].map(|n| n.to_be_bytes().to_vec()));
                parts.extend([salt, check].map(|text| text.as_bytes().to_vec()));
            }
            Self::KeyFile { fingerprint } => parts.push(fingerprint.as_bytes().to_vec()),
            Self::Store { place, wrapped, check } => {
                parts.extend([place, wrapped, check].map(|text| text.as_bytes().to_vec()));
            }
        }
        parts
    }
}

/// The root of a new ring, or a new root of an old one.
pub(super) fn new_root(
    secret: &RootSecret,
    params: Argon2Params,
    ring_id: &str,
) -> Result<(Root, RootKey), KeyRingError> {
    match secret {
        RootSecret::Passphrase(passphrase) => {
            if passphrase.chars().count() < SHORTEST_PASSPHRASE {
                return Err(KeyRingError::PassphraseTooShort { least: SHORTEST_PASSPHRASE });
            }
            let mut salt = [0; 16];
            random_bytes(&mut salt)?;
            let key = argon2id(passphrase.as_bytes(), &salt, params)?;
            let Argon2Params { memory_kib, passes, lanes } = params;
            let (salt, check) = (BASE64.encode(&salt), check_value(&key));
            Ok((Root::Passphrase { memory_kib, passes, lanes, salt, check }, key))
        }
        RootSecret::KeyFile(path) => {
            let key = read_key_file(path)?;
            Ok((Root::KeyFile { fingerprint: fingerprint(&key) }, key))
        }
        RootSecret::Store(store) => {
            let key = RootKey::generate();
            let wrapped = store
                .wrap_proven(key.dangerous_expose(), ring_id)
                .map_err(|error| KeyRingError::Store { error, also: String::new() })?;
            Ok((Root::Store { place: store.place().to_string(), wrapped, check: check_value(&key) }, key))
        }
    }
}

/// The root key of the ring at `path`, or why the secret does not give it.
pub(super) fn root_key(secret: &RootSecret, root: &Root, path: &Path, ring_id: &str) -> Result<RootKey, KeyRingError> {
    match (secret, root) {
        (RootSecret::Passphrase(passphrase), Root::Passphrase { memory_kib, passes, lanes, salt, check }) => {
            let salt = BASE64.decode(salt.as_bytes()).map_err(|_| KeyRingError::Damaged {
                path: path.to_owned(),
                what: "the salt of its passphrase".to_owned(),
            })?;
            let params = Argon2Params { memory_kib: *memory_kib, passes: *passes, lanes: *lanes };
            let key = argon2id(passphrase.as_bytes(), &salt, params)?;
            if same_tag(check_value(&key).as_bytes(), check.as_bytes()) {
                Ok(key)
            } else {
                Err(KeyRingError::WrongPassphrase { path: path.to_owned() })
            }
        }
        (RootSecret::KeyFile(key_file), Root::KeyFile { fingerprint: expected }) => {
            let key = read_key_file(key_file)?;
            let found = fingerprint(&key);
            if same_tag(found.as_bytes(), expected.as_bytes()) {
                Ok(key)
            } else {
                Err(KeyRingError::WrongKeyFile {
                    key_file: key_file.clone(),
                    path: path.to_owned(),
                    expected: expected.clone(),
                    found,
                })
            }
        }
        (RootSecret::Store(store), Root::Store { place, wrapped, check }) => {
            let key = store.unwrap(wrapped, ring_id).map_err(|error| {
                let elsewhere = *place != store.place().to_string();
                let about = matches!(error.trouble, Trouble::WrongKey | Trouble::KeyMissing);
                let also = if elsewhere && about { format!("; it was wrapped by {place}") } else { String::new() };
                KeyRingError::Store { error, also }
            })?;
            let key = RootKey::from_bytes(*key);
            if same_tag(check_value(&key).as_bytes(), check.as_bytes()) {
                Ok(key)
            } else {
                Err(KeyRingError::WrongRoot { path: path.to_owned(), place: Box::new(store.place().clone()) })
            }
        }
        _ => Err(KeyRingError::OtherRoot { path: path.to_owned(), needed: root.kind(), given: secret.kind() }),
    }
}

/// Shows nothing of the key but whether it is the right one; whoever has the file can try passphrases anyway, at the
/// cost of Argon2id each.
fn check_value(key: &RootKey) -> String {
    HEXLOWER.encode(&KeyedHash::for_key(key).derive("cordon/keyring/check/v1").tag128(b""))
}

fn fingerprint(key: &RootKey) -> String {
    HEXLOWER.encode(&KeyedHash::for_key(key).derive("cordon/keyring/fingerprint/v1").tag128(b""))
}

fn read_key_file(path: &Path) -> Result<RootKey, KeyRingError> {
    let io = |doing| move |source| KeyRingError::Io { doing, path: path.to_owned(), source };
    let malformed = || KeyRingError::NotAKeyFile { path: path.to_owned() };
    let file = File::open(path).map_err(io("open the key file"))?;
    // Asked of the open file and not of its name, which could change in between.
    let metadata = file.metadata().map_err(io("look at the key file"))?;
    if !metadata.is_file() {
        return Err(malformed());
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyRingError::KeyFilePermissions { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(Vec::with_capacity(128));
    file.take(128).read_to_end(&mut text).map_err(io("read the key file"))?;
    let digits = text.strip_suffix(b"\n").unwrap_or(&text);
    let digits = digits.strip_suffix(b"\r").unwrap_or(digits);
    let bytes = Zeroizing::new(HEXLOWER_PERMISSIVE.decode(digits).map_err(|_| malformed())?);
    let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| malformed())?;
    Ok(RootKey::from_bytes(key))
}

pub(super) fn write_key_file(path: &Path, key: &RootKey) -> Result<(), KeyRingError> {
    let io = |doing| move |source| KeyRingError::Io { doing, path: path.to_owned(), source };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|source| {
            match source.kind() {
                std::io::ErrorKind::AlreadyExists => KeyRingError::Exists { path: path.to_owned() },
                _ => io("create the key file")(source),
            }
        })?;
    let mut text = Zeroizing::new(HEXLOWER.encode(key.dangerous_expose()));
    text.push('\n');
    file.write_all(text.as_bytes()).map_err(io("write the key file"))?;
    file.sync_all().map_err(io("write the key file"))?;
    atomic::sync_directory(path).map_err(io("write the directory of the key file"))
}
