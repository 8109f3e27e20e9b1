//! New versions of purpose keys, and the end of old ones. The ring's file is replaced as a whole: killed at any instant,
//! it has the new versions or it has not.

use cordon_crypto::{
    AuditSealKey, AuditSigningSeed, BlindIndexKey, DateShiftKey, FpeKey, HashKey, RootKey, SealKey, SubjectSealKey,
    SurrogateKey, TableMasterKey, VaultKey, random_bytes,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::file::Entry;
use super::root::RootSecret;
use super::{KeyRing, KeyRingError, KeyStatus, atomic, root};

/// The purposes whose keys can be rotated.
pub const ROTATED: [&str; 5] = [
    TableMasterKey::PURPOSE,
    SealKey::PURPOSE,
    AuditSealKey::PURPOSE,
    AuditSigningSeed::PURPOSE,
    SubjectSealKey::PURPOSE,
];

/// The purposes whose keys are changed together, with all that stands under them ([`crate::TokenVault::rekey`]).
pub const REKEYED: [&str; 2] = [VaultKey::PURPOSE, BlindIndexKey::PURPOSE];

/// From the first version of these, names are derived that must not change: of files in manifests, and tags in the audit log.
const NAMING: [&str; 2] = [SealKey::PURPOSE, AuditSealKey::PURPOSE];

/// Why a purpose's key gets no new version by itself; `None` for one that does.
pub fn why_not_rotated(purpose: &str) -> Option<&'static str> {
    const PSEUDONYMS: &str = "pseudonyms are made with it, and under another key the same people would get others: old and new \
                              tables would no longer join, and whoever holds both could link them";
    const VAULT: &str = "all of vault and dossiers has to be written anew under it, which `cordon vault rekey` does";
    match purpose {
        HashKey::PURPOSE | FpeKey::PURPOSE | DateShiftKey::PURPOSE | SurrogateKey::PURPOSE => Some(PSEUDONYMS),
        VaultKey::PURPOSE | BlindIndexKey::PURPOSE => Some(VAULT),
        purpose if ROTATED.contains(&purpose) => None,
        _ => Some("there is no such key"),
    }
}

/// One version of a key, named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyVersion {
    pub purpose: String,
    pub id: String,
    pub version: u32,
}

impl KeyVersion {
    /// As it stands in files: `cordon-footer.v2`.
    pub fn name(&self) -> String {
        format!("{}.v{}", self.id, self.version)
    }
}

impl KeyStatus {
    pub fn name(&self) -> String {
        self.key_version().name()
    }

    pub fn key_version(&self) -> KeyVersion {
        KeyVersion { purpose: self.purpose.clone(), id: self.id.clone(), version: self.version }
    }
}

impl KeyRing {
    /// The version of each key that new things are made under.
    pub fn newest(&self) -> Vec<KeyStatus> {
        let mut newest: Vec<KeyStatus> = Vec::new();
        for key in self.status() {
            match newest.iter_mut().find(|known| known.purpose == key.purpose && known.id == key.id) {
                Some(known) if known.version < key.version => *known = key,
                Some(_) => {}
                None => newest.push(key),
            }
        }
        newest
    }

    /// The newest version of a master key of tables, as it stands in files.
    pub fn newest_master_key(&self, id: &str) -> Result<String, KeyRingError> {
        let newest = self.newest().into_iter().find(|key| key.purpose == TableMasterKey::PURPOSE && key.id == id);
        newest.map(|key| key.name()).ok_or(KeyRingError::NoKey { purpose: TableMasterKey::PURPOSE })
    }

    /// The versions of a purpose's keys that are older than the newest.
    pub fn older_versions(&self, purpose: &str) -> Vec<KeyVersion> {
        let newest: Vec<KeyVersion> = self.newest().iter().map(KeyStatus::key_version).collect();
        let of_purpose = self.status().into_iter().filter(|key| key.purpose == purpose);
        of_purpose.map(|key| key.key_version()).filter(|version| !newest.contains(version)).collect()
    }

    /// What a rotation of a purpose would add: the next version of each of its keys.
    pub fn next_versions(&self, purpose: &str) -> Result<Vec<KeyVersion>, KeyRingError> {
        if let Some(why) = why_not_rotated(purpose).filter(|_| !REKEYED.contains(&purpose)) {
            return Err(KeyRingError::NotRotated { purpose: purpose.to_owned(), why });
        }
        let newest = self.newest().into_iter().filter(|key| key.purpose == purpose);
        Ok(newest.map(|key| KeyVersion { version: key.version + 1, ..key.key_version() }).collect())
    }

    /// Adds these versions, each with a new random key; one that is there already stays as it is, so that an interrupted
    /// rotation can be repeated. Older versions stay for what was made under them. `now` is an RFC 3339 time.
    pub fn rotate(&mut self, root: &RootSecret, versions: &[KeyVersion], now: &str) -> Result<(), KeyRingError> {
        let root_key = self.root_key(root)?;
        let (mut file, mut keys) = (self.file.clone(), self.keys.clone());
        for wanted in versions {
            let next = self.next_versions(&wanted.purpose)?;
            if self.status().iter().any(|key| key.key_version() == *wanted) {
                continue;
            }
            if !next.contains(wanted) {
                return Err(KeyRingError::NotRotated {
                    purpose: wanted.purpose.clone(),
                    why: "that is not the version after its newest",
                });
            }
            let mut key = Zeroizing::new([0; 32]);
            random_bytes(key.as_mut_slice())?;
            keys.push(key);
            file.keys.push(Entry::of_version(&wanted.purpose, &wanted.id, wanted.version, now));
        }
        if file.keys.len() == self.file.keys.len() {
            return Ok(());
        }
        self.replace(&root_key, file, keys)
    }

    /// Removes old versions for good. That nothing stands under them any more is for the caller to have found out; the newest version,
    /// and the first where names are derived from it, are kept from him too. One that is not there was removed before.
    pub fn retire(&mut self, root: &RootSecret, versions: &[KeyVersion]) -> Result<(), KeyRingError> {
        let root_key = self.root_key(root)?;
        for version in versions {
            if let Some(why) = self.why_kept(version) {
                return Err(KeyRingError::NotRetired { id: version.id.clone(), version: version.version, why });
            }
        }
        let is_leaving = |entry: &Entry| {
            versions.iter().any(|leaving| {
                (&leaving.purpose, &leaving.id, leaving.version) == (&entry.purpose, &entry.id, entry.version)
            })
        };
        let mut file = self.file.clone();
        let mut keys = self.keys.clone();
        let mut staying = self.file.keys.iter().map(|entry| !is_leaving(entry));
        keys.retain(|_| staying.next().unwrap_or(true));
        file.keys.retain(|entry| !is_leaving(entry));
        if file.keys.len() == self.file.keys.len() {
            return Ok(());
        }
        self.replace(&root_key, file, keys)
    }

    /// Why a version may not be removed, whatever stands under it.
    pub fn why_kept(&self, version: &KeyVersion) -> Option<&'static str> {
        if self.newest().iter().any(|key| key.key_version() == *version) {
            return Some("it is the newest");
        }
        if version.version == 1 && NAMING.contains(&version.purpose.as_str()) {
            return Some("names are derived from it that must stay the same");
        }
        None
    }

    fn root_key(&self, root: &RootSecret) -> Result<RootKey, KeyRingError> {
        root::root_key(root, &self.file.root, &self.path, &self.file.ring_id)
    }

    fn replace(
        &mut self,
        root: &RootKey,
        mut file: super::file::RingFile,
        keys: Vec<Zeroizing<[u8; 32]>>,
    ) -> Result<(), KeyRingError> {
        file.wrap(root, &keys)?;
        let written = file.to_bytes()?;
        let committed = atomic::Replacement::prepare(&self.path, &written, Some(&self.written))?.commit();
        if !matches!(committed, Err(KeyRingError::NotReplaced { .. })) {
            // Also when the directory could not be synced: the new file is in place.
            (self.file, self.keys, self.written) = (file, keys, written);
        }
        committed
    }
}
