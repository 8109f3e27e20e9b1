//! What the key tools of encrypted Parquet ask of a key management service: wrap a data key, unwrap it again.
//!
//! The local form is base64( nonce (12) ‖ AES-256-GCM(master key, aad = master key id, data key) ‖ tag (16) ), so that
//! a small `KmsClient` on the side of Spark or pyarrow reads our files and we read theirs.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::{CryptoError, Sealer, TableMasterKey};

/// A key management service, as far as tables need one. Ids of master keys are public: they stand in the files.
pub trait MasterKeys: Send + Sync {
    fn wrap_key(&self, key: &[u8], master_key_id: &str) -> Result<String, CryptoError>;

    fn unwrap_key(&self, wrapped: &str, master_key_id: &str) -> Result<Zeroizing<Vec<u8>>, CryptoError>;
}

/// Master keys held in this process.
#[derive(Default)]
pub struct LocalMasterKeys(BTreeMap<String, Sealer>);

impl LocalMasterKeys {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces the key of this id.
    #[must_use]
    pub fn with(mut self, id: impl Into<String>, key: &TableMasterKey) -> Self {
        self.0.insert(id.into(), Sealer::for_key(key));
        self
    }

    /// The ids that can be used, in order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    fn master(&self, id: &str) -> Result<&Sealer, CryptoError> {
        self.0.get(id).ok_or_else(|| CryptoError::UnknownMasterKey { id: id.to_owned() })
    }
}

impl MasterKeys for LocalMasterKeys {
    fn wrap_key(&self, key: &[u8], master_key_id: &str) -> Result<String, CryptoError> {
        let sealed = self.master(master_key_id)?.seal(master_key_id.as_bytes(), key)?;
        Ok(BASE64.encode(&sealed))
    }

    fn unwrap_key(&self, wrapped: &str, master_key_id: &str) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let master = self.master(master_key_id)?;
        let sealed =
            BASE64.decode(wrapped.as_bytes()).map_err(|_| CryptoError::Malformed { what: "wrapped data key" })?;
        Ok(Zeroizing::new(master.open(master_key_id.as_bytes(), &sealed)?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn keys() -> LocalMasterKeys {
        let key = TableMasterKey::from_bytes([1; 32]);
        LocalMasterKeys::new().with("a.v1", &key).with("b.v1", &key)
    }

    #[test]
    fn a_data_key_comes_back_under_its_master_only() {
        let wrapped = keys().wrap_key(&[7; 16], "a.v1").unwrap();
        assert_eq!(*keys().unwrap_key(&wrapped, "a.v1").unwrap(), [7; 16]);
        assert_eq!(keys().unwrap_key(&wrapped, "b.v1").err(), Some(CryptoError::Authentication));
        assert_eq!(
            keys().unwrap_key(&wrapped, "c.v1").err(),
            Some(CryptoError::UnknownMasterKey { id: "c.v1".into() })
        );
        assert!(keys().unwrap_key("not base64!", "a.v1").is_err());
    }

    #[test]
    fn the_form_is_nonce_ciphertext_tag() {
        let wrapped = BASE64.decode(keys().wrap_key(&[7; 32], "a.v1").unwrap().as_bytes()).unwrap();
        assert_eq!(wrapped.len(), 12 + 32 + 16);
        assert_eq!(crate::open(&[1; 32], b"a.v1", &wrapped).unwrap(), [7; 32]);
    }
}
