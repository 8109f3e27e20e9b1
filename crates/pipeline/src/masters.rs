//! Master keys of tables, and how new files are encrypted, as `cordon.yaml` says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use cordon_crypto::{LocalMasterKeys, MasterKeys, TableMasterKey};
use cordon_engine::InputKeys;
use cordon_engine::keytools::{DataKeyBits, EncryptionLayout, KeyScope, KeyTools, MasterKeyNames, MaterialStorage};
use cordon_keystore::TransitMasters;
use cordon_keystore::config::TransitMastersConfig;
use cordon_vault::keyring::KeyRing;
use cordon_vault::{KeyRingError, TABLE_MASTER_KEYS};
use data_encoding::HEXLOWER_PERMISSIVE;
use zeroize::Zeroizing;

use crate::config::{KeyBits, KeyMaterial, KeysOf, MastersSection, SourceKeys};
use crate::error::RunError;
use crate::project::Project;

impl Project {
    /// The master keys that wrap and unwrap data keys. A key store is asked when one is needed.
    pub fn masters(&self, ring: &KeyRing) -> Result<Arc<dyn MasterKeys>, RunError> {
        Ok(match self.stored_masters(ring)? {
            None => ring.master_keys(),
            Some(stored) => Arc::new(stored),
        })
    }

    /// Whether the master keys for new files are kept in a store, which counts their versions.
    pub fn keeps_masters_in_store(&self) -> bool {
        matches!(self.file.keys.masters, MastersSection::Transit(_))
    }

    /// The store of the master keys; `None` where they are in the ring.
    pub(crate) fn stored_masters(&self, ring: &KeyRing) -> Result<Option<TransitMasters>, RunError> {
        let MastersSection::Transit(config) = &self.file.keys.masters else { return Ok(None) };
        self.transit_masters(config, ring.master_keys()).map(Some)
    }

    /// What opens the encrypted files of a source. Nothing is asked of a store yet.
    pub(crate) fn source_keys(&self, ring: &KeyRing, keys: Option<&SourceKeys>) -> Result<InputKeys, RunError> {
        let mut input = InputKeys::default();
        match keys {
            None => {}
            Some(SourceKeys::Project) => input.tools = Some(self.key_tools(ring)?),
            Some(SourceKeys::Transit(config)) => {
                // What was not wrapped by that store is wrapped by nothing that was named for the source.
                let masters = self.transit_masters(config, Arc::new(LocalMasterKeys::new()))?;
                input.tools = Some(KeyTools::new(Arc::new(masters)));
            }
            Some(SourceKeys::KeyFile(path)) => input.uniform = Some(key_file(&self.root.join(path))?),
            Some(SourceKeys::KeyFiles(files)) => {
                let mut masters = LocalMasterKeys::new();
                for (id, path) in files {
                    masters = masters.with(id, &master_key_file(&self.root.join(path))?);
                }
                input.tools = Some(KeyTools::new(Arc::new(masters)));
            }
        }
        Ok(input)
    }

    fn transit_masters(
        &self,
        config: &TransitMastersConfig,
        held: Arc<dyn MasterKeys>,
    ) -> Result<TransitMasters, RunError> {
        let opened = TransitMasters::open(config, &self.root, held);
        Ok(opened.map_err(|error| KeyRingError::Store { error, also: String::new() })?)
    }

    pub(crate) fn key_tools(&self, ring: &KeyRing) -> Result<KeyTools, RunError> {
        let (names, stored) = match &self.file.keys.masters {
            MastersSection::Ring => (newest_names(ring)?, false),
            MastersSection::Transit(config) => (MasterKeyNames::unversioned(&config.prefix), true),
        };
        let file = self.file.storage.encryption;
        let layout = EncryptionLayout {
            key_bits: match file.key_bits {
                KeyBits::Bits128 => DataKeyBits::Bits128,
                KeyBits::Bits256 => DataKeyBits::Bits256,
            },
            material: match file.key_material {
                KeyMaterial::Internal => MaterialStorage::Internal,
                KeyMaterial::External => MaterialStorage::External,
            },
            keys: match file.keys {
                KeysOf::Columns => KeyScope::Column,
                KeysOf::Uniform => KeyScope::Uniform,
            },
            // The ring is in memory: there each data key has its own wrapping.
            double_wrapping: stored,
        };
        Ok(KeyTools::with_layout(self.masters(ring)?, names, layout))
    }
}

/// A data key in hexadecimal digits, of a length that Parquet knows.
fn key_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, RunError> {
    let text =
        Zeroizing::new(fs::read_to_string(path).map_err(|error| RunError::io("read the key file", path, &error))?);
    let mode =
        fs::metadata(path).map_err(|error| RunError::io("read the key file", path, &error))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(RunError::usage(
            format!("others than its owner can read {}", path.display()),
            "a key file has mode 0600",
        ));
    }
    let key = HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).map(Zeroizing::new).ok();
    key.filter(|key| [16, 24, 32].contains(&key.len())).ok_or_else(|| {
        RunError::usage(
            format!("{} holds no key", path.display()),
            "write 32, 48 or 64 hexadecimal digits in it: keys of Parquet have 128, 192 or 256 bits",
        )
    })
}

/// A master key, which has 256 bits.
fn master_key_file(path: &Path) -> Result<TableMasterKey, RunError> {
    let key: Option<Zeroizing<[u8; 32]>> = key_file(path)?.as_slice().try_into().map(Zeroizing::new).ok();
    let key = key.ok_or_else(|| {
        RunError::usage(
            format!("{} holds no master key", path.display()),
            "write 64 hexadecimal digits in it: a master key has 256 bits",
        )
    })?;
    Ok(TableMasterKey::from_bytes(*key))
}

/// New parts are written under the newest master keys.
fn newest_names(ring: &KeyRing) -> Result<MasterKeyNames, RunError> {
    let [footer, direct, quasi, clinical] = TABLE_MASTER_KEYS.map(|id| ring.newest_master_key(id));
    Ok(MasterKeyNames { footer: footer?, direct: direct?, quasi: quasi?, clinical: clinical? })
}
