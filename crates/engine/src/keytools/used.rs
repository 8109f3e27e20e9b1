//! Which master keys wrap a file's keys, by the words of the file and of what stands beside it. No data key is unwrapped for
//! that but the one of the footer, behind which a file says what wraps the keys of its columns.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use parquet::encryption::decrypt::{FileDecryptionProperties, KeyRetriever};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};

use super::material::Material;
use super::rewrap::{parse, version};
use super::{KeyError, KeyTools};
use crate::errors::EngineError;
use crate::tables::PartFile;

/// One version of a master key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MasterVersion {
    /// As key material names it: `cordon-direct.v2` of a key ring, which counts in the name, `cordon-direct` of a store.
    pub id: String,
    /// The version by which a store that counts itself wrapped: 3 in `vault:v3:…`.
    pub stored: Option<u32>,
}

impl MasterVersion {
    fn of(material: &Material) -> Self {
        let wrapped = material.wrapped_kek.as_deref().unwrap_or(&material.wrapped_dek);
        let stored = version(wrapped).and_then(|version| version.strip_prefix('v')?.parse().ok());
        Self { id: material.master_key_id.clone(), stored }
    }
}

impl KeyTools {
    /// Of material inside a file. Where the footer's key cannot be had, what the file says in clear of that, and the master keys under
    /// which it was `written`: material inside stays as it is.
    pub(crate) fn masters_within(
        &self,
        file: &PartFile,
        path: &Path,
        written: &[String],
    ) -> Result<BTreeSet<MasterVersion>, EngineError> {
        let noting = Arc::new(Noting { tools: self.clone(), found: Mutex::default() });
        let keys = FileDecryptionProperties::with_key_retriever(Arc::clone(&noting) as Arc<dyn KeyRetriever>)
            .build()
            .map_err(|error| EngineError::parquet(&error))?;
        let read = ParquetMetaDataReader::new()
            .with_decryption_properties(Some(keys))
            .with_page_index_policy(PageIndexPolicy::Skip)
            .parse_and_finish(file)
            .map_err(|error| EngineError::parquet_at("read the part", path, &error));
        let mut found = std::mem::take(&mut *noting.found.lock().unwrap_or_else(PoisonError::into_inner));
        match (read, found.first().and_then(|footer| footer.stored)) {
            (Err(EngineError::KeyDenied { .. }), stored) => {
                found.extend(written.iter().map(|id| MasterVersion { id: id.clone(), stored }));
            }
            (read, _) => drop(read?),
        }
        Ok(found)
    }
}

/// Of material beside a file.
pub(crate) fn masters_in(external: &BTreeMap<String, String>) -> Result<BTreeSet<MasterVersion>, EngineError> {
    external.values().map(|text| Ok(MasterVersion::of(&parse(text)?))).collect()
}

struct Noting {
    tools: KeyTools,
    found: Mutex<BTreeSet<MasterVersion>>,
}

impl KeyRetriever for Noting {
    fn retrieve_key(&self, key_metadata: &[u8]) -> Result<Vec<u8>, ParquetError> {
        let failed = |error: KeyError| ParquetError::External(Box::new(EngineError::from(error)));
        let material: Material = serde_json::from_slice(key_metadata).map_err(|_| failed(KeyError::UnknownMaterial))?;
        self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(MasterVersion::of(&material));
        if !material.is_footer_key {
            // A column whose key cannot be had is passed over.
            return Err(failed(KeyError::NotAsked));
        }
        let key = self.tools.unwrap_material(&material).map_err(failed)?;
        Ok(key.to_vec())
    }
}
