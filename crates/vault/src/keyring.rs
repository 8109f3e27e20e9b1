//! The local key ring: every key of an installation in one small file, wrapped under a root key that is not in it.
//!
//! The root key comes from a passphrase (Argon2id, RFC 9106), from a key file, or stands in the ring itself, wrapped by a
//! key that a [`KeyStore`] keeps: then only who may use that key opens the ring. Each key is wrapped with AES-KWP
//! (RFC 5649, SP 800-38F) under a key of its own, HKDF(root, salt = ring id, info = purpose, id, version), so that a
//! wrapped key moved to another entry or another ring does not unwrap. A new root wraps the same keys again and touches
//! no data. Killed at any instant, the file is the old ring or the new one.
//!
//! What the ring does not notice: an older copy of the whole file put back with its root secret still known.
//!
//! ```
//! use cordon_crypto::VaultKey;
//! use cordon_vault::{KeyRing, RootSecret};
//!
//! # let scratch = tempfile::tempdir()?;
//! # let (path, key_file) = (scratch.path().join("keyring.json"), scratch.path().join("root.key"));
//! KeyRing::generate_key_file(&key_file)?; // or RootSecret::Passphrase
//! let root = RootSecret::KeyFile(key_file);
//! let ring = KeyRing::create(&path, &root, "2026-11-23T12:00:00Z")?;
//!
//! let again = KeyRing::open(&path, &root)?;
//! assert_eq!(ring.key::<VaultKey>()?.dangerous_expose(), again.key::<VaultKey>()?.dangerous_expose());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod atomic;
mod error;
mod file;
mod root;
mod rotate;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cordon_crypto::{
    Argon2Params, AuditSealKey, AuditSigningSeed, BlindIndexKey, CryptoError, DateShiftKey, FpeKey, HashKey,
    LocalMasterKeys, MasterKeys, PurposeKey, RootKey, SealKey, SigningKey, SigningKeys, SubjectSealKey, SurrogateKey,
    TableMasterKey, VaultKey, Versions,
};
use cordon_keystore::{KeyStore, Place, StoreStatus};
use zeroize::Zeroizing;

use crate::store::VaultKeys;
pub use error::KeyRingError;
use file::{Entry, RingFile};
pub use root::RootSecret;
pub use rotate::{KeyVersion, REKEYED, ROTATED, why_not_rotated};

/// The master keys of tables, without their versions: the footer, and one for each class of columns.
pub const TABLE_MASTER_KEYS: [&str; 4] = ["cordon-footer", "cordon-direct", "cordon-quasi", "cordon-clinical"];

/// The purposes of which a ring holds one key each; its id is the purpose.
const SINGLE: [&str; 10] = [
    BlindIndexKey::PURPOSE,
    VaultKey::PURPOSE,
    DateShiftKey::PURPOSE,
    SurrogateKey::PURPOSE,
    HashKey::PURPOSE,
    FpeKey::PURPOSE,
    SealKey::PURPOSE,
    SubjectSealKey::PURPOSE,
    AuditSealKey::PURPOSE,
    AuditSigningSeed::PURPOSE,
];

/// An open key ring. Holds the keys in clear, wiped when dropped.
pub struct KeyRing {
    path: PathBuf,
    file: RingFile,
    /// In the order of the entries of the file.
    keys: Vec<Zeroizing<[u8; 32]>>,
    /// What stood in the file when it was read or written, to notice that somebody else wrote it since.
    written: Vec<u8>,
    store: Option<Arc<dyn KeyStore>>,
}

/// What may be told about the key in a store that wraps the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRoot {
    pub place: Place,
    pub status: StoreStatus,
}

impl StoredRoot {
    /// The newest version, if another wrapped the root.
    pub fn outdated(&self) -> Option<&str> {
        self.status.newest.as_deref().filter(|newest| self.status.version.as_deref() != Some(*newest))
    }
}

/// What may be told about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    pub purpose: String,
    pub id: String,
    pub version: u32,
    /// RFC 3339.
    pub created: String,
}

impl KeyRing {
    /// Makes a ring with new keys for every purpose. A file that is there already is never replaced: it may hold the
    /// only keys to data. `now` is an RFC 3339 time.
    pub fn create(path: &Path, root: &RootSecret, now: &str) -> Result<Self, KeyRingError> {
        Self::create_with(path, root, now, Argon2Params::default())
    }

    /// With other costs of guessing the passphrase.
    pub fn create_with(path: &Path, root: &RootSecret, now: &str, params: Argon2Params) -> Result<Self, KeyRingError> {
        let singles = SINGLE.iter().map(|purpose| (*purpose, *purpose));
        let masters = TABLE_MASTER_KEYS.iter().map(|id| (TableMasterKey::PURPOSE, *id));
        let entries: Vec<Entry> = singles.chain(masters).map(|(purpose, id)| Entry::new(purpose, id, now)).collect();
        let mut keys = Vec::with_capacity(entries.len());
        for _ in &entries {
            let mut key = Zeroizing::new([0; 32]);
            cordon_crypto::random_bytes(key.as_mut_slice())?;
            keys.push(key);
        }
        let store = root.store();
        let ring_id = file::new_id()?;
        let (root, root_key) = root::new_root(root, params, &ring_id)?;
        let mut file = RingFile::new(ring_id, root, entries);
        file.wrap(&root_key, &keys)?;
        let written = file.to_bytes()?;
        atomic::Replacement::prepare(path, &written, None)?.commit()?;
        Ok(Self { path: path.to_owned(), file, keys, written, store })
    }

    /// Opens a ring and unwraps all its keys: what is damaged is found now and not in the middle of a run.
    pub fn open(path: &Path, root: &RootSecret) -> Result<Self, KeyRingError> {
        Self::from_bytes(path, atomic::read(path)?, root)
    }

    fn from_bytes(path: &Path, written: Vec<u8>, root: &RootSecret) -> Result<Self, KeyRingError> {
        let file = RingFile::parse(path, &written)?;
        let root_key = root::root_key(root, &file.root, path, &file.ring_id)?;
        let keys = file.unwrap(&root_key, path)?;
        Ok(Self { path: path.to_owned(), file, keys, written, store: root.store() })
    }

    /// What a ring's file says to who has no secret: its id, and its keys by name. For telling copies apart, not for trusting.
    pub fn told(path: &Path) -> Result<(String, Vec<KeyStatus>), KeyRingError> {
        let file = RingFile::parse(path, &atomic::read(path)?)?;
        Ok((file.ring_id.clone(), file.keys.iter().map(status_of).collect()))
    }

    /// What names this ring, in the audit log and in lineage. Not secret.
    pub fn id(&self) -> &str {
        &self.file.ring_id
    }

    /// The newest key of a purpose. Table master keys are several of one purpose: see [`KeyRing::master_keys`].
    pub fn key<K: PurposeKey>(&self) -> Result<K, KeyRingError> {
        self.held()
            .filter(|(entry, _)| entry.purpose == K::PURPOSE && entry.id == K::PURPOSE)
            .max_by_key(|(entry, _)| entry.version)
            .map(|(_, key)| K::from_bytes(**key))
            .ok_or(KeyRingError::NoKey { purpose: K::PURPOSE })
    }

    /// A purpose's key in all its versions: the newest seals, the others open what is older.
    pub fn versions<K: PurposeKey>(&self) -> Result<Versions<K>, KeyRingError> {
        let held = self.held().filter(|(entry, _)| entry.purpose == K::PURPOSE && entry.id == K::PURPOSE);
        Versions::new(held.map(|(entry, key)| (entry.version, K::from_bytes(**key))))
            .ok_or(KeyRingError::NoKey { purpose: K::PURPOSE })
    }

    /// The keys of the vault by version, the two of each together.
    pub fn vault_keys(&self) -> Result<Vec<(u32, VaultKeys)>, KeyRingError> {
        let (blind, values) = (self.versions::<BlindIndexKey>()?, self.versions::<VaultKey>()?);
        let pair = |(version, values): (u32, &VaultKey)| {
            let blind = BlindIndexKey::from_bytes(*blind.get(version)?.dangerous_expose());
            Some((version, VaultKeys { blind, values: VaultKey::from_bytes(*values.dangerous_expose()) }))
        };
        Ok(values.iter().filter_map(pair).collect())
    }

    /// The key that signs the audit log, and those before it.
    pub fn audit_signing_keys(&self) -> Result<SigningKeys, KeyRingError> {
        let seeds = self.versions::<AuditSigningSeed>()?;
        SigningKeys::new(seeds.iter().map(|(_, seed)| SigningKey::for_audit(seed)))
            .ok_or(KeyRingError::NoKey { purpose: AuditSigningSeed::PURPOSE })
    }

    /// The key that signs the audit log.
    pub fn audit_signing_key(&self) -> Result<SigningKey, KeyRingError> {
        Ok(SigningKey::for_audit(&self.key()?))
    }

    /// The master keys of tables under `<id>.v<version>`, e.g. `cordon-footer.v1`, every version of them.
    pub fn master_keys(&self) -> Arc<dyn MasterKeys> {
        let masters = self.held().filter(|(entry, _)| entry.purpose == TableMasterKey::PURPOSE).fold(
            LocalMasterKeys::new(),
            |masters, (entry, key)| {
                let id = format!("{}.v{}", entry.id, entry.version);
                masters.with(id, &TableMasterKey::from_bytes(**key))
            },
        );
        Arc::new(masters)
    }

    pub fn status(&self) -> Vec<KeyStatus> {
        self.file.keys.iter().map(status_of).collect()
    }

    /// The key in a store that wraps the root, if one does.
    pub fn root_place(&self) -> Option<&Place> {
        self.store.as_ref().map(|store| store.place())
    }

    /// The same, with what the store says about it now.
    pub fn stored_root(&self) -> Result<Option<StoredRoot>, KeyRingError> {
        let (Some(store), Some(wrapped)) = (&self.store, self.file.root.wrapped()) else { return Ok(None) };
        let status = store.status(wrapped).map_err(|error| KeyRingError::Store { error, also: String::new() })?;
        Ok(Some(StoredRoot { place: store.place().clone(), status }))
    }

    /// A new root key under the newest version of the same key in the same store; `false` where no store keeps the root.
    pub fn renew_root(&mut self) -> Result<bool, KeyRingError> {
        let Some(store) = self.store.clone() else { return Ok(false) };
        self.rotate_root(&RootSecret::Store(store))?;
        Ok(true)
    }

    /// Wraps the same keys under another root. The old passphrase or key file opens nothing afterwards, except copies
    /// of the file that were made before.
    pub fn rotate_root(&mut self, new: &RootSecret) -> Result<(), KeyRingError> {
        self.rotate_root_with(new, Argon2Params::default())
    }

    /// With other costs of guessing the passphrase.
    pub fn rotate_root_with(&mut self, new: &RootSecret, params: Argon2Params) -> Result<(), KeyRingError> {
        let (file, written) = self.under_root(new, params)?;
        let committed = atomic::Replacement::prepare(&self.path, &written, Some(&self.written))?.commit();
        if !matches!(committed, Err(KeyRingError::NotReplaced { .. })) {
            // Also when the directory could not be synced: the new file is in place.
            (self.file, self.written, self.store) = (file, written, new.store());
        }
        committed
    }

    fn under_root(&self, new: &RootSecret, params: Argon2Params) -> Result<(RingFile, Vec<u8>), KeyRingError> {
        let (root, root_key) = root::new_root(new, params, &self.file.ring_id)?;
        let mut file = self.file.clone();
        file.root = root;
        file.wrap(&root_key, &self.keys)?;
        let written = file.to_bytes()?;
        Ok((file, written))
    }

    /// Writes a new random key file: 64 hexadecimal digits and a newline, readable by its owner only.
    pub fn generate_key_file(path: &Path) -> Result<(), KeyRingError> {
        root::write_key_file(path, &RootKey::generate())
    }

    fn held(&self) -> impl Iterator<Item = (&Entry, &Zeroizing<[u8; 32]>)> {
        self.file.keys.iter().zip(&self.keys)
    }
}

fn status_of(entry: &Entry) -> KeyStatus {
    KeyStatus {
        purpose: entry.purpose.clone(),
        id: entry.id.clone(),
        version: entry.version,
        created: entry.created.clone(),
    }
}

impl From<CryptoError> for KeyRingError {
    fn from(source: CryptoError) -> Self {
        Self::Crypto(source)
    }
}
