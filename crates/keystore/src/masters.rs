//! Master keys of tables that stay in the transit engine: what the key tools of encrypted Parquet ask for, as other
//! readers ask for it.
//!
//! The name of the master key is that of the transit key, and nothing is bound in but the key itself: what is wrapped here
//! (`vault:v1:…`) is unwrapped by any `KmsClient` of Spark or pyarrow that knows `transit/decrypt/NAME` and has a token,
//! and the reverse.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use cordon_crypto::{CryptoError, MasterKeys};
use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::config::{TransitConfig, TransitMastersConfig};
use crate::error::Trouble;
use crate::transit::Transit;
use crate::{KeyStoreError, Place};

/// Data keys and what wraps them have 16, 24 or 32 bytes.
const KEY_LENGTHS: [usize; 3] = [16, 24, 32];
/// What transit's texts begin with.
const WRAPPED: &str = "vault:v";

/// Master keys in the transit engine, and beside them those that earlier files were wrapped under.
pub struct TransitMasters {
    transit: Transit,
    prefix: String,
    held: Arc<dyn MasterKeys>,
    /// Keys that were looked at before they wrapped.
    checked: Mutex<BTreeSet<String>>,
}

impl TransitMasters {
    /// Reads certificates; the store is asked when a key is needed. `held`: master keys elsewhere, whose wrapped texts are not
    /// transit's. They are never wrapped with.
    pub fn open(config: &TransitMastersConfig, base: &Path, held: Arc<dyn MasterKeys>) -> Result<Self, KeyStoreError> {
        let place = TransitConfig {
            address: config.address.clone(),
            mount: config.mount.clone(),
            key: config.prefix.clone(),
            namespace: config.namespace.clone(),
            ca_file: config.ca_file.clone(),
            auth: config.auth.clone(),
            timeout_seconds: config.timeout_seconds,
        };
        let transit = Transit::open(&place, base)?;
        Ok(Self { transit, prefix: config.prefix.clone(), held, checked: Mutex::default() })
    }

    /// What the names of the keys for new files begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Where the key of this name is.
    pub fn place(&self, key: &str) -> Place {
        self.transit.place_of(key)
    }

    /// The newest version of the key of this name, and the oldest that the store still unwraps with.
    pub fn versions(&self, id: &str) -> Result<(u64, u64), CryptoError> {
        let asked = check_id(id).and_then(|()| self.transit.versions(id));
        asked.map_err(|trouble| self.told(id, &trouble))
    }

    fn wrap(&self, key: &[u8], id: &str) -> Result<String, Trouble> {
        check_id(id)?;
        if !self.checked().contains(id) {
            self.transit.check_wrapping(id)?;
            self.checked().insert(id.to_owned());
        }
        let key = Zeroizing::new(BASE64.encode(key));
        let body = Zeroizing::new(format!(r#"{{"plaintext":"{}"}}"#, *key));
        self.transit.encrypt(id, body.as_bytes())
    }

    fn unwrap(&self, wrapped: &str, id: &str) -> Result<Zeroizing<Vec<u8>>, Trouble> {
        check_id(id)?;
        let body = serde_json::json!({ "ciphertext": wrapped }).to_string();
        let text = self.transit.decrypt(id, body.as_bytes())?;
        let key = Zeroizing::new(BASE64.decode(text.as_bytes()).unwrap_or_default());
        if KEY_LENGTHS.contains(&key.len()) { Ok(key) } else { Err(Trouble::WrongKey) }
    }

    fn checked(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self, id: &str, trouble: &Trouble) -> CryptoError {
        // The words for the root fit but for these.
        let (what, help) = match trouble {
            Trouble::WrongKey => (
                "what is to be unwrapped was not wrapped by this key".to_owned(),
                "name the store that wrapped it in `keys.masters`, or restore its key".to_owned(),
            ),
            Trouble::KeyMissing => (
                trouble.to_string(),
                "make it, or correct `prefix` in `keys.masters`; what a key that was deleted wrapped cannot be read again"
                    .to_owned(),
            ),
            Trouble::VersionRetired => {
                (trouble.to_string(), "allow that version again, re-wrap what is under it, and retire it then".to_owned())
            }
            _ => (trouble.to_string(), trouble.help().replace("`keys.root`", "`keys.masters`")),
        };
        CryptoError::KeyService { told: format!("{}: {what}\n  help: {help}", self.place(id)) }
    }
}

impl MasterKeys for TransitMasters {
    fn wrap_key(&self, key: &[u8], master_key_id: &str) -> Result<String, CryptoError> {
        self.wrap(key, master_key_id).map_err(|trouble| self.told(master_key_id, &trouble))
    }

    fn unwrap_key(&self, wrapped: &str, master_key_id: &str) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        if !wrapped.starts_with(WRAPPED) {
            return self.held.unwrap_key(wrapped, master_key_id);
        }
        self.unwrap(wrapped, master_key_id).map_err(|trouble| self.told(master_key_id, &trouble))
    }
}

/// Names come from files too: what could lead to another path of the store is no name.
fn check_id(id: &str) -> Result<(), Trouble> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !id.is_empty() && id.len() <= 256 && id.bytes().all(plain) && id.bytes().any(|byte| byte != b'.') {
        return Ok(());
    }
    Err(Trouble::Configuration { what: "the name of a master key is none that transit could have".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_to_another_path() {
        for id in ["", ".", "..", "a/b", "../sys/seal", "a?b", "a%2fb", "a b", &"a".repeat(257)] {
            assert!(check_id(id).is_err(), "{id}");
        }
        for id in ["cordon-footer", "k_1.v2", "kf"] {
            assert!(check_id(id).is_ok(), "{id}");
        }
    }
}
