//! The file as written: JSON, for people to look at and for backups to compare; every byte that matters is checked.
//!
//! Three checks, because they answer different questions. `checksum` needs no secret and tells a damaged head from a
//! wrong secret. The check value of the root tells a wrong secret. `seal` needs the root key and covers every field, so
//! that no entry is left out, renamed or dated otherwise.

use std::path::Path;

use cordon_crypto::{CryptoError, KeyedHash, RootKey, kdf, random_bytes, same_tag, unwrap, wrap};
use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::KeyRingError;
use super::root::Root;

const FORMAT: &str = "cordon-keyring";
const VERSION: u32 = 1;

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RingFile {
    format: String,
    version: u32,
    pub(super) ring_id: String,
    pub(super) root: Root,
    checksum: String,
    pub(super) keys: Vec<Entry>,
    seal: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) purpose: String,
    pub(super) id: String,
    pub(super) version: u32,
    pub(super) created: String,
    /// Base64 of the AES-KWP form.
    wrapped: String,
}

impl Entry {
    pub(super) fn new(purpose: &str, id: &str, created: &str) -> Self {
        Self {
            purpose: purpose.to_owned(),
            id: id.to_owned(),
            version: 1,
            created: created.to_owned(),
            wrapped: String::new(),
        }
    }

    pub(super) fn of_version(purpose: &str, id: &str, version: u32, created: &str) -> Self {
        Self { version, ..Self::new(purpose, id, created) }
    }

    /// For messages: which key this is.
    fn name(&self) -> String {
        if self.purpose == self.id {
            format!("the key for {} (version {})", self.purpose, self.version)
        } else {
            format!("the key for {}, {}.v{}", self.purpose, self.id, self.version)
        }
    }

    /// The key that wraps this entry's key and no other.
    fn wrapping_key(&self, root: &RootKey, ring_id: &str) -> Zeroizing<[u8; 32]> {
        let mut info = b"cordon/keyring/wrap/v1".to_vec();
        for part in [self.purpose.as_bytes(), self.id.as_bytes(), &self.version.to_be_bytes()] {
            info.extend_from_slice(&(part.len() as u64).to_be_bytes());
            info.extend_from_slice(part);
        }
        kdf::hkdf_key(root.dangerous_expose(), ring_id.as_bytes(), &info)
    }

    fn unwrap(&self, root: &RootKey, ring_id: &str) -> Result<Zeroizing<[u8; 32]>, CryptoError> {
        const MALFORMED: CryptoError = CryptoError::Malformed { what: "wrapped key" };
        let wrapped = BASE64.decode(self.wrapped.as_bytes()).map_err(|_| MALFORMED)?;
        let key = unwrap(self.wrapping_key(root, ring_id).as_slice(), &wrapped)?;
        let mut out = Zeroizing::new([0; 32]);
        if key.len() != out.len() {
            return Err(MALFORMED);
        }
        out.copy_from_slice(&key);
        Ok(out)
    }
}

/// The identity of a new ring.
pub(super) fn new_id() -> Result<String, KeyRingError> {
    let mut id = [0; 16];
    random_bytes(&mut id)?;
    Ok(HEXLOWER.encode(&id))
}

impl RingFile {
    /// A ring whose keys are not wrapped yet.
    pub(super) fn new(ring_id: String, root: Root, keys: Vec<Entry>) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            ring_id,
            root,
            checksum: String::new(),
            keys,
            seal: String::new(),
        }
    }

    /// Wraps `keys`, which are in the order of the entries, and renews the checks.
    pub(super) fn wrap(&mut self, root: &RootKey, keys: &[Zeroizing<[u8; 32]>]) -> Result<(), KeyRingError> {
        for (entry, key) in self.keys.iter_mut().zip(keys) {
            let kek = entry.wrapping_key(root, &self.ring_id);
            entry.wrapped = BASE64.encode(&wrap(kek.as_slice(), key.as_slice())?);
        }
        self.checksum = self.checksum();
        self.seal = self.seal(root);
        Ok(())
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, KeyRingError> {
        let malformed = |_| KeyRingError::Crypto(CryptoError::Malformed { what: "key ring" });
        let mut bytes = serde_json::to_vec_pretty(self).map_err(malformed)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads the form and checks what can be checked without a secret.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, KeyRingError> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let damaged = |what: String| KeyRingError::Damaged { path: path.to_owned(), what };
        // serde's own words may quote the file.
        let json = |error: serde_json::Error| {
            damaged(format!("line {}, column {} is not as it was written", error.line(), error.column()))
        };
        let head: Head = serde_json::from_slice(bytes).map_err(json)?;
        if head.format != FORMAT {
            return Err(damaged("it does not say that it is a key ring".to_owned()));
        }
        if head.version != VERSION {
            return Err(KeyRingError::Version { path: path.to_owned(), found: head.version });
        }
        let file: Self = serde_json::from_slice(bytes).map_err(json)?;
        if file.checksum != file.checksum() {
            return Err(damaged("its head is not as it was written".to_owned()));
        }
        Ok(file)
    }

    /// All keys, in the order of the entries. The root key must have passed its check value already.
    pub(super) fn unwrap(&self, root: &RootKey, path: &Path) -> Result<Vec<Zeroizing<[u8; 32]>>, KeyRingError> {
        let damaged = |what: String| KeyRingError::Damaged { path: path.to_owned(), what };
        let mut keys = Vec::with_capacity(self.keys.len());
        for entry in &self.keys {
            let key = entry.unwrap(root, &self.ring_id).map_err(|_| damaged(entry.name()))?;
            keys.push(key);
        }
        if !same_tag(self.seal.as_bytes(), self.seal(root).as_bytes()) {
            return Err(damaged("the list of its keys is not as it was written".to_owned()));
        }
        Ok(keys)
    }

    /// Finds accidents, not attackers: its key is public.
    fn checksum(&self) -> String {
        let parts = self.head();
        let hash = KeyedHash::new(&[0; 32]).derive("cordon/keyring/checksum/v1");
        HEXLOWER.encode(&hash.tag_parts(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>()))
    }

    fn seal(&self, root: &RootKey) -> String {
        let mut parts = self.head();
        for entry in &self.keys {
            let texts = [&entry.purpose, &entry.id, &entry.created, &entry.wrapped];
            parts.extend(texts.map(|text| text.as_bytes().to_vec()));
            parts.push(entry.version.to_be_bytes().to_vec());
        }
        let hash = KeyedHash::for_key(root).derive("cordon/keyring/seal/v1");
        let mut tag = hash.tag_parts(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let seal = HEXLOWER.encode(&tag);
        tag.zeroize();
        seal
    }

    fn head(&self) -> Vec<Vec<u8>> {
        let mut parts = vec![
            self.format.as_bytes().to_vec(),
            self.version.to_be_bytes().to_vec(),
            self.ring_id.as_bytes().to_vec(),
        ];
        parts.extend(self.root.parts());
        parts
    }
}
