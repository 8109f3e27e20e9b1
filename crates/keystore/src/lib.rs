//! Stores that keep a key nobody can copy, under which the root key of a key ring is wrapped, or data keys of tables
//! ([`TransitMasters`]); and the credentials with which these and other services of a cloud are asked ([`credentials`]).
//!
//! This crate exists so that a stolen disk, with the whole project and its ring on it, opens nothing: what unwraps the
//! root never leaves an HSM or a key service, and whoever wants it has to ask there, by name and on that record. It
//! does network and PKCS#11 I/O and nothing else. It refuses plain HTTP beyond this machine, redirects, keys
//! that can be exported, and to put into an error anything that a store sent.
//!
//! | store | binds to the ring by | tried against |
//! |---|---|---|
//! | OpenBao, HashiCorp Vault (`transit`) | `associated_data`, `context` | OpenBao |
//! | HSM (`pkcs11`) | AES-GCM's associated data | SoftHSM |
//! | AWS KMS (`aws-kms`) | the encryption context | moto, an emulator |
//! | Azure Key Vault (`azure-key-vault`) | nothing: RSA | the documented interface only |
//! | Google Cloud KMS (`google-kms`) | additional authenticated data | the documented interface only |
//!
//! Every store also gives the wrong answer away by the ring's own check: see `cordon_vault::keyring`.
//!
//! ```
//! use std::path::Path;
//!
//! let text = r#"{ "transit": { "address": "http://bao.example:8200", "key": "cordon" } }"#;
//! let config: cordon_keystore::StoreConfig = serde_json::from_str(text)?;
//! let error = cordon_keystore::open(&config, Path::new(".")).err().map(|error| error.to_string());
//! assert!(error.is_some_and(|error| error.contains("write `https`")));
//! # Ok::<(), serde_json::Error>(())
//! ```
#![forbid(unsafe_code)]

mod aws;
mod azure;
pub mod config;
pub mod credentials;
mod error;
pub mod fetch;
mod google;
mod http;
mod masters;
mod pkcs11;
pub mod ranger;
mod secret;
mod sigv4;
mod transit;
pub mod webhook;

use std::path::Path;
use std::sync::Arc;

use cordon_crypto::same_tag;
use zeroize::Zeroizing;

pub use config::StoreConfig;
pub use error::{KeyStoreError, Place, Trouble};
pub use http::is_loopback;
pub use masters::TransitMasters;

/// Wraps and unwraps a root key with a key that stays where it is. `ring` names the key ring, in hexadecimal digits: what
/// was wrapped for one ring is not to be unwrapped for another.
pub trait KeyStore: Send + Sync {
    fn place(&self) -> &Place;
    /// Text, to be kept as it is. Refuses a key that can be exported.
    fn wrap(&self, key: &[u8; 32], ring: &str) -> Result<String, KeyStoreError>;
    fn unwrap(&self, wrapped: &str, ring: &str) -> Result<Zeroizing<[u8; 32]>, KeyStoreError>;

    /// Wraps, and unwraps what came of it: what cannot be opened again is found before anything depends on it, also where
    /// the credentials may wrap and not unwrap.
    fn wrap_proven(&self, key: &[u8; 32], ring: &str) -> Result<String, KeyStoreError> {
        let wrapped = self.wrap(key, ring)?;
        if same_tag(self.unwrap(&wrapped, ring)?.as_slice(), key) {
            return Ok(wrapped);
        }
        let trouble = Trouble::Answer { what: "it unwraps another key than it wrapped" };
        Err(KeyStoreError { place: Arc::new(self.place().clone()), trouble })
    }

    /// Asks the store about the key, and says which version wrapped this.
    fn status(&self, wrapped: &str) -> Result<StoreStatus, KeyStoreError>;
}

/// What may be told about a key in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// The version that wrapped, where the store counts versions.
    pub version: Option<String>,
    /// The version that would wrap now.
    pub newest: Option<String>,
    /// Such as its algorithm.
    pub about: String,
}

/// The store that a configuration names. Reads its certificates; the store itself is asked when it is needed.
pub fn open(config: &StoreConfig, base: &Path) -> Result<Arc<dyn KeyStore>, KeyStoreError> {
    Ok(match config {
        StoreConfig::Transit(config) => Arc::new(transit::Transit::open(config, base)?),
        StoreConfig::Pkcs11(config) => Arc::new(pkcs11::Pkcs11Store::open(config, base)?),
        StoreConfig::AwsKms(config) => Arc::new(aws::AwsKms::open(config, base)?),
        StoreConfig::AzureKeyVault(config) => Arc::new(azure::AzureKeyVault::open(config, base)?),
        StoreConfig::GoogleKms(config) => Arc::new(google::GoogleKms::open(config, base)?),
    })
}
