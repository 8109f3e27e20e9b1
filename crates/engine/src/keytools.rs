//! Data keys of Parquet files, in the format of parquet-java's key tools (`PKMT1`).
//!
//! Each file gets fresh 256-bit data keys, one for the footer and one for each column, each wrapped by the master key
//! of the column's class. The wrapped key stands in the file as JSON ("key material, internal storage"), so that Spark
//! and pyarrow read our files with the same key service, and we theirs. Algorithm AES_GCM_V1, encrypted footer, always:
//! a plaintext footer shows the schema, and AES_GCM_CTR_V1 does not authenticate the pages.
//!
//! Two limits of the Parquet crate that we stand on: it takes and keeps keys as plain `Vec<u8>` while a file is open,
//! so they are not wiped there (they are here), and it writes bloom filters in clear, so they are never turned on.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow_schema::Schema;
use async_trait::async_trait;
use cordon_crypto::{CryptoError, MasterKeys};
use cordon_phi::KeyClass;
use data_encoding::BASE64;
use datafusion::config::EncryptionFactoryOptions;
use datafusion::execution::parquet_encryption::EncryptionFactory;
use datafusion::object_store::path::Path as ObjectPath;
use parquet::arrow::ArrowSchemaConverter;
use parquet::encryption::decrypt::{FileDecryptionProperties, KeyRetriever};
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::errors::ParquetError;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::errors::EngineError;

/// Arrow field metadata: the class of the master key that protects the column. Absent or unknown means
/// [`KeyClass::Direct`], the most protected one.
pub const KEY_CLASS_METADATA: &str = "cordon.key-class";

/// The format that parquet-java's `KeyMaterial` names in `keyMaterialType`.
const MATERIAL_TYPE: &str = "PKMT1";
/// How long an unwrapped key may be kept, so that a revoked master key stops working soon.
const CACHE_LIFETIME: Duration = Duration::from_mins(10);
/// More than the columns of a thousand open files; past this the oldest half is forgotten.
const CACHE_ENTRIES: usize = 65_536;
const DATA_KEY_LEN: usize = 32;

/// Makes and finds the data keys of Parquet files under a service of master keys.
#[derive(Clone)]
pub struct KeyTools(Arc<Inner>);

struct Inner {
    masters: Arc<dyn MasterKeys>,
    names: MasterKeyNames,
    unwrapped: Mutex<HashMap<CacheKey, Unwrapped>>,
}

/// What is unwrapped by what: the wrapped text is public, it stands in the file.
type CacheKey = (String, String);

struct Unwrapped {
    key: Zeroizing<Vec<u8>>,
    since: Instant,
}

/// Identifiers of the master keys that new files are written under.
#[derive(Clone)]
pub struct MasterKeyNames {
    pub footer: String,
    pub direct: String,
    pub quasi: String,
    pub clinical: String,
}

impl Default for MasterKeyNames {
    fn default() -> Self {
        let first = |what: &str| format!("cordon-{what}.v1");
        Self {
            footer: first("footer"),
            direct: first(KeyClass::Direct.name()),
            quasi: first(KeyClass::Quasi.name()),
            clinical: first(KeyClass::Clinical.name()),
        }
    }
}

impl MasterKeyNames {
    fn for_class(&self, class: KeyClass) -> &str {
        match class {
            KeyClass::Direct => &self.direct,
            KeyClass::Quasi => &self.quasi,
            KeyClass::Clinical => &self.clinical,
        }
    }
}

/// The JSON of parquet-java's `KeyMaterial` and `KeyMetadata`, both in one.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    key_material_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    internal_storage: Option<bool>,
    #[serde(default)]
    is_footer_key: bool,
    #[serde(default, rename = "kmsInstanceID", skip_serializing_if = "Option::is_none")]
    kms_instance_id: Option<String>,
    #[serde(default, rename = "kmsInstanceURL", skip_serializing_if = "Option::is_none")]
    kms_instance_url: Option<String>,
    #[serde(default, rename = "masterKeyID", skip_serializing_if = "String::is_empty")]
    master_key_id: String,
    #[serde(default, rename = "wrappedDEK", skip_serializing_if = "String::is_empty")]
    wrapped_dek: String,
    #[serde(default)]
    double_wrapping: bool,
    #[serde(default, rename = "keyEncryptionKeyID", skip_serializing_if = "Option::is_none")]
    key_encryption_key_id: Option<String>,
    #[serde(default, rename = "wrappedKEK", skip_serializing_if = "Option::is_none")]
    wrapped_kek: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_reference: Option<String>,
}

impl KeyTools {
    pub fn new(masters: Arc<dyn MasterKeys>) -> Self {
        Self::with_names(masters, MasterKeyNames::default())
    }

    pub fn with_names(masters: Arc<dyn MasterKeys>, names: MasterKeyNames) -> Self {
        Self(Arc::new(Inner { masters, names, unwrapped: Mutex::default() }))
    }

    /// Fresh keys for one file. Never use the result for a second file.
    pub fn encryption_properties(&self, schema: &Schema) -> Result<Arc<FileEncryptionProperties>, EngineError> {
        let leaves = ArrowSchemaConverter::new().convert(schema).map_err(|error| EngineError::parquet(&error))?;
        let (footer, footer_material) = self.new_key(&self.0.names.footer, true)?;
        let mut builder = FileEncryptionProperties::builder(footer).with_footer_key_metadata(footer_material);
        for (index, leaf) in leaves.columns().iter().enumerate() {
            let master = self.0.names.for_class(key_class(schema, leaves.get_column_root_idx(index)));
            let (key, material) = self.new_key(master, false)?;
            builder = builder.with_column_key_and_metadata(&leaf.path().string(), key, material);
        }
        builder.build().map_err(|error| EngineError::parquet(&error))
    }

    /// The master keys that [`Self::encryption_properties`] wraps with, for the manifest.
    pub fn master_key_ids(&self, schema: &Schema) -> Vec<String> {
        let mut ids = vec![self.0.names.footer.clone()];
        ids.extend((0..schema.fields().len()).map(|root| self.0.names.for_class(key_class(schema, root)).to_owned()));
        ids.sort();
        ids.dedup();
        ids
    }

    /// Finds the keys of any file whose key material stands in the file itself.
    pub fn decryption_properties(&self) -> Result<Arc<FileDecryptionProperties>, EngineError> {
        self.properties_with(HashMap::new())
    }

    /// Finds the keys of a file whose key material may stand beside it, in `_KEY_MATERIAL_FOR_<file>.json`, as
    /// parquet-java's `HadoopFSKeyMaterialStore` puts it.
    pub fn decryption_properties_for(&self, file: &Path) -> Result<Arc<FileDecryptionProperties>, EngineError> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let beside = file.with_file_name(format!("_KEY_MATERIAL_FOR_{name}.json"));
        let external = match std::fs::read(&beside) {
            Ok(json) => serde_json::from_slice(&json)
                .map_err(|_| EngineError::Damaged { what: "external key material", path: beside })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => HashMap::new(),
            Err(error) => {
                return Err(EngineError::io("read external key material", &beside, &error));
            }
        };
        self.properties_with(external)
    }

    fn properties_with(&self, external: HashMap<String, String>) -> Result<Arc<FileDecryptionProperties>, EngineError> {
        let retriever = Arc::new(MaterialRetriever { tools: self.clone(), external });
        FileDecryptionProperties::with_key_retriever(retriever).build().map_err(|error| EngineError::parquet(&error))
    }

    fn new_key(&self, master: &str, is_footer: bool) -> Result<(Vec<u8>, Vec<u8>), EngineError> {
        let mut key = vec![0u8; DATA_KEY_LEN];
        cordon_crypto::random_bytes(&mut key).map_err(|_| EngineError::Randomness)?;
        let wrapped = self.0.masters.wrap_key(&key, master).map_err(|error| EngineError::key(&error, master))?;
        let material = Material {
            key_material_type: MATERIAL_TYPE.to_owned(),
            internal_storage: Some(true),
            is_footer_key: is_footer,
            // parquet-java requires both in a footer's material and allows them nowhere else.
            kms_instance_id: is_footer.then(|| "DEFAULT".to_owned()),
            kms_instance_url: is_footer.then(|| "DEFAULT".to_owned()),
            master_key_id: master.to_owned(),
            wrapped_dek: wrapped,
            double_wrapping: false,
            key_encryption_key_id: None,
            wrapped_kek: None,
            key_reference: None,
        };
        let json = serde_json::to_vec(&material).map_err(|_| EngineError::Internal("key material"))?;
        Ok((key, json))
    }

    fn unwrap_material(&self, material: &Material) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        if material.key_material_type != MATERIAL_TYPE {
            return Err(KeyError::UnknownMaterial);
        }
        if !material.double_wrapping {
            return self.unwrap_by_master(&material.wrapped_dek, &material.master_key_id);
        }
        let (Some(kek_id), Some(wrapped_kek)) = (&material.key_encryption_key_id, &material.wrapped_kek) else {
            return Err(KeyError::Malformed);
        };
        let kek = self.unwrap_by_master(wrapped_kek, &material.master_key_id)?;
        let kek_id = BASE64.decode(kek_id.as_bytes()).map_err(|_| KeyError::Malformed)?;
        unwrap_locally(&kek, &kek_id, &material.wrapped_dek)
    }

    fn unwrap_by_master(&self, wrapped: &str, master: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let cache_key = (master.to_owned(), wrapped.to_owned());
        let now = Instant::now();
        if let Some(known) = self.cache().get(&cache_key)
            && now.duration_since(known.since) < CACHE_LIFETIME
        {
            return Ok(known.key.clone());
        }
        // The lock is not held here: the key service may be slow, and other keys must stay reachable.
        let key = self
            .0
            .masters
            .unwrap_key(wrapped, master)
            .map_err(|source| KeyError::Denied { master: master.to_owned(), source })?;
        let mut cache = self.cache();
        if cache.len() >= CACHE_ENTRIES {
            cache.retain(|_, entry| now.duration_since(entry.since) < CACHE_LIFETIME / 2);
        }
        if cache.len() < CACHE_ENTRIES {
            cache.insert(cache_key, Unwrapped { key: key.clone(), since: now });
        }
        Ok(key)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, HashMap<CacheKey, Unwrapped>> {
        // A panic elsewhere cannot leave a half-written entry: inserts are single steps.
        self.0.unwrapped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which master key protects what stands under the top-level field `root`.
fn key_class(schema: &Schema, root: usize) -> KeyClass {
    let name = schema.fields().get(root).and_then(|field| field.metadata().get(KEY_CLASS_METADATA));
    KeyClass::ALL.into_iter().find(|class| name.is_some_and(|name| name == class.name())).unwrap_or(KeyClass::Direct)
}

/// parquet-java's `KeyToolkit.decryptKeyLocally`: base64 of nonce || ciphertext || tag, the KEK's own id as AAD. The KEK
/// of other writers has 128 bits by default.
fn unwrap_locally(kek: &[u8], aad: &[u8], wrapped: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let algorithm = match kek.len() {
        16 => &AES_128_GCM,
        32 => &AES_256_GCM,
        _ => return Err(KeyError::Malformed),
    };
    let sealed = BASE64.decode(wrapped.as_bytes()).map_err(|_| KeyError::Malformed)?;
    let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(KeyError::Malformed)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| KeyError::Malformed)?;
    let key = LessSafeKey::new(UnboundKey::new(algorithm, kek).map_err(|_| KeyError::Malformed)?);
    let mut body = Zeroizing::new(body.to_vec());
    let len = key.open_in_place(nonce, Aad::from(aad), &mut body).map_err(|_| KeyError::Authentication)?.len();
    body.truncate(len);
    Ok(body)
}

struct MaterialRetriever {
    tools: KeyTools,
    external: HashMap<String, String>,
}

impl MaterialRetriever {
    fn key(&self, metadata: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let material: Material = serde_json::from_slice(metadata).map_err(|_| KeyError::UnknownMaterial)?;
        if material.internal_storage != Some(false) {
            return self.tools.unwrap_material(&material);
        }
        let reference = material.key_reference.as_deref().ok_or(KeyError::Malformed)?;
        let outside = self.external.get(reference).ok_or(KeyError::NoExternalMaterial)?;
        let material: Material = serde_json::from_str(outside).map_err(|_| KeyError::UnknownMaterial)?;
        self.tools.unwrap_material(&material)
    }
}

impl KeyRetriever for MaterialRetriever {
    fn retrieve_key(&self, key_metadata: &[u8]) -> Result<Vec<u8>, ParquetError> {
        let key = self.key(key_metadata).map_err(|error| ParquetError::External(Box::new(error)))?;
        Ok(key.to_vec())
    }
}

/// Why a data key could not be had. Carries key names only.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the master key {master} does not unwrap this file's keys: {source}")]
    Denied { master: String, source: CryptoError },
    #[error("the file's keys are not in the key-tools format (PKMT1)")]
    UnknownMaterial,
    #[error("the file's key material is malformed")]
    Malformed,
    #[error("the file's key material stands outside the file and is not there")]
    NoExternalMaterial,
    #[error("a key of the file does not authenticate under its key-encryption key")]
    Authentication,
}

/// Hands the keys to DataFusion. Given to each table's scan as an object: naming keys in SQL options would show them in
/// plans.
pub struct CordonEncryptionFactory {
    tools: KeyTools,
}

impl CordonEncryptionFactory {
    pub fn new(tools: KeyTools) -> Self {
        Self { tools }
    }
}

impl fmt::Debug for CordonEncryptionFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CordonEncryptionFactory")
    }
}

#[async_trait]
impl EncryptionFactory for CordonEncryptionFactory {
    async fn get_file_encryption_properties(
        &self,
        _config: &EncryptionFactoryOptions,
        schema: &arrow_schema::SchemaRef,
        _file_path: &ObjectPath,
    ) -> datafusion::error::Result<Option<Arc<FileEncryptionProperties>>> {
        self.tools.encryption_properties(schema).map(Some).map_err(EngineError::into_datafusion)
    }

    async fn get_file_decryption_properties(
        &self,
        _config: &EncryptionFactoryOptions,
        _file_path: &ObjectPath,
    ) -> datafusion::error::Result<Option<Arc<FileDecryptionProperties>>> {
        self.tools.decryption_properties().map(Some).map_err(EngineError::into_datafusion)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;
    use arrow_schema::{DataType, Field};

    fn field(name: &str, class: Option<&str>) -> Field {
        let field = Field::new(name, DataType::Utf8View, true);
        match class {
            Some(class) => field.with_metadata(HashMap::from([(KEY_CLASS_METADATA.to_owned(), class.to_owned())])),
            None => field,
        }
    }

    #[test]
    fn a_column_without_a_class_is_a_direct_identifier() {
        let schema = Schema::new(vec![
            field("a", Some("clinical")),
            field("b", None),
            field("c", Some("no-such-class")),
            field("d", Some("quasi")),
        ]);
        let classes: Vec<_> = (0..4).map(|root| key_class(&schema, root)).collect();
        assert_eq!(classes, [KeyClass::Clinical, KeyClass::Direct, KeyClass::Direct, KeyClass::Quasi]);
    }

    #[test]
    fn material_is_spelt_as_parquet_java_spells_it() {
        let json = r#"{"keyMaterialType":"PKMT1","internalStorage":true,"isFooterKey":true,"kmsInstanceID":"DEFAULT","kmsInstanceURL":"DEFAULT","masterKeyID":"kf","wrappedDEK":"AAAA","doubleWrapping":false}"#;
        let material: Material = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&material).unwrap(), json);
    }
}
