//! A purpose key in all its versions: what is written is sealed under the newest and says so, what is older still opens.
//!
//! Sealed form: version (4 bytes, big endian) ‖ the form of [`crate::seal()`], with the version bound in front of the
//! context. A sealed stream has the version in front of its header, and bound into its file key.

use std::io::{self, Read, Write};

use crate::{CryptoError, PurposeKey, SealKey, SealedReader, SealedWriter, open, seal, sub_key};

/// All versions of the key that seals state.
pub type SealKeys = Versions<SealKey>;

/// At least one version of a key.
pub struct Versions<K> {
    older: Vec<(u32, K)>,
    newest: (u32, K),
}

impl<K: PurposeKey> Versions<K> {
    /// `None` where there is no version at all.
    pub fn new(keys: impl IntoIterator<Item = (u32, K)>) -> Option<Self> {
        let mut older: Vec<(u32, K)> = keys.into_iter().collect();
        older.sort_by_key(|(version, _)| *version);
        let newest = older.pop()?;
        Some(Self { older, newest })
    }

    /// The version that new things are sealed under.
    pub fn newest(&self) -> u32 {
        self.newest.0
    }

    pub fn newest_key(&self) -> &K {
        &self.newest.1
    }

    /// The oldest version. Names that must not change when the key does are derived from it.
    pub fn first_key(&self) -> &K {
        self.older.first().map_or(&self.newest.1, |(_, key)| key)
    }

    pub fn get(&self, version: u32) -> Option<&K> {
        self.iter().find(|(known, _)| *known == version).map(|(_, key)| key)
    }

    /// The oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &K)> {
        self.older.iter().chain([&self.newest]).map(|(version, key)| (*version, key))
    }

    /// Seals under a sub-key of the newest version. `label` names the use, `aad` what it is.
    pub fn seal(&self, label: &str, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let version = self.newest().to_be_bytes();
        let sealed = seal(&sub_key(self.newest_key(), label), &[&version, aad].concat(), plaintext)?;
        Ok([version.as_slice(), &sealed].concat())
    }

    /// Opens what [`Versions::seal`] made under any version that is here.
    pub fn open(&self, label: &str, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let (version, sealed) =
            sealed.split_first_chunk::<4>().ok_or(CryptoError::Malformed { what: "sealed value" })?;
        open(&sub_key(self.of(*version)?, label), &[version, aad].concat(), sealed)
    }

    /// A stream sealed under the newest version.
    pub fn writer<W: Write>(&self, mut inner: W, label: &str, info: &[u8]) -> io::Result<SealedWriter<W>> {
        let version = self.newest().to_be_bytes();
        inner.write_all(&version)?;
        SealedWriter::new(inner, &sub_key(self.newest_key(), label), &[&version, info].concat())
    }

    /// Reads a stream of any version that is here.
    pub fn reader<R: Read>(&self, mut inner: R, label: &str, info: &[u8]) -> io::Result<SealedReader<R>> {
        let mut version = [0; 4];
        inner.read_exact(&mut version)?;
        let key = self.of(version).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        SealedReader::new(inner, &sub_key(key, label), &[&version, info].concat())
    }

    fn of(&self, version: [u8; 4]) -> Result<&K, CryptoError> {
        let version = u32::from_be_bytes(version);
        self.get(version).ok_or(CryptoError::UnknownVersion { purpose: K::PURPOSE })
    }
}

/// Under which version something was sealed, as it says itself: for counting, not for trusting.
pub fn sealed_version(sealed: &[u8]) -> Option<u32> {
    sealed.first_chunk().map(|version| u32::from_be_bytes(*version))
}

impl<K: PurposeKey> Clone for Versions<K> {
    fn clone(&self) -> Self {
        let copy = |(version, key): &(u32, K)| (*version, K::from_bytes(*key.dangerous_expose()));
        Self { older: self.older.iter().map(copy).collect(), newest: copy(&self.newest) }
    }
}

/// A key that was never rotated.
impl<K: PurposeKey> From<K> for Versions<K> {
    fn from(key: K) -> Self {
        Self { older: Vec::new(), newest: (1, key) }
    }
}

impl<K: PurposeKey> From<&K> for Versions<K> {
    fn from(key: &K) -> Self {
        K::from_bytes(*key.dangerous_expose()).into()
    }
}

impl<K: PurposeKey> From<&Versions<K>> for Versions<K> {
    fn from(keys: &Versions<K>) -> Self {
        keys.clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn keys(versions: &[u32]) -> SealKeys {
        Versions::new(versions.iter().map(|version| (*version, SealKey::from_bytes([*version as u8; 32])))).unwrap()
    }

    #[test]
    fn the_newest_seals_and_every_one_opens() {
        let (before, after) = (keys(&[1]), keys(&[2, 1]));
        let (old, new) = (before.seal("use", b"a", b"x").unwrap(), after.seal("use", b"a", b"x").unwrap());
        assert_eq!((sealed_version(&old), sealed_version(&new)), (Some(1), Some(2)));
        assert_eq!(after.open("use", b"a", &old).unwrap(), b"x");
        assert_eq!(after.open("use", b"a", &new).unwrap(), b"x");
        assert_eq!(before.open("use", b"a", &new), Err(CryptoError::UnknownVersion { purpose: "seal" }));
        assert_eq!(keys(&[2]).open("use", b"a", &old), Err(CryptoError::UnknownVersion { purpose: "seal" }));
        assert_eq!(after.first_key().dangerous_expose(), before.first_key().dangerous_expose());
    }

    #[test]
    fn the_version_cannot_be_changed_nor_the_use() {
        // Two versions that hold the same key: only what is bound tells them apart.
        let same = Versions::new([(1, SealKey::from_bytes([7; 32])), (2, SealKey::from_bytes([7; 32]))]).unwrap();
        let mut sealed = same.seal("use", b"a", b"x").unwrap();
        assert_eq!(same.open("other use", b"a", &sealed), Err(CryptoError::Authentication));
        if let Some(byte) = sealed.get_mut(3) {
            *byte = 1;
        }
        assert_eq!(same.open("use", b"a", &sealed), Err(CryptoError::Authentication));
        assert!(same.open("use", b"a", &[0, 0]).is_err());
        assert!(SealKeys::new([]).is_none());
    }

    #[test]
    fn streams_say_their_version_too() {
        let mut writer = keys(&[1]).writer(Vec::new(), "use", b"file").unwrap();
        writer.write_all(b"content").unwrap();
        let bytes = writer.finish().unwrap();
        let mut text = Vec::new();
        keys(&[1, 3]).reader(bytes.as_slice(), "use", b"file").unwrap().read_to_end(&mut text).unwrap();
        assert_eq!(text, b"content");
        assert!(keys(&[3]).reader(bytes.as_slice(), "use", b"file").is_err());
        assert!(keys(&[1]).reader(&[0_u8, 0][..], "use", b"file").is_err());
    }
}
