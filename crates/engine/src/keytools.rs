//! Data keys of Parquet files, in the format of parquet-java's key tools (`PKMT1`).
//!
//! Each file gets fresh data keys, one for the footer and one for each column, each wrapped by the master key of the
//! column's class. The wrapped key stands as JSON ("key material") in the file or beside it, so that Spark and pyarrow read
//! our files with the same key service, and we theirs. Algorithm AES_GCM_V1, encrypted footer, always: a plaintext footer
//! shows the schema, and AES_GCM_CTR_V1 does not authenticate the pages.
//!
//! Where a request to the key service costs time, data keys are wrapped by a key-encryption key, one for each master key and
//! process, and only that by the service ("double wrapping").
//!
//! Two limits of the Parquet crate that we stand on: it takes and keeps keys as plain `Vec<u8>` while a file is open,
//! so they are not wiped there (they are here), and it writes bloom filters in clear, so they are never turned on.

mod layout;
mod material;
mod rewrap;
mod used;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arrow_schema::Schema;
use async_trait::async_trait;
use cordon_crypto::{CryptoError, MasterKeys};
use cordon_phi::KeyClass;
use datafusion::config::EncryptionFactoryOptions;
use datafusion::execution::parquet_encryption::EncryptionFactory;
use datafusion::object_store::path::Path as ObjectPath;
use parquet::arrow::ArrowSchemaConverter;
use parquet::encryption::decrypt::{FileDecryptionProperties, KeyRetriever};
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::errors::ParquetError;
use zeroize::Zeroizing;

pub use layout::{DataKeyBits, EncryptionLayout, KeyScope, MaterialStorage};
use material::{KEK_ID_LEN, MATERIAL_TYPE, Material, Reference, unwrap_locally, wrap_locally};
pub(crate) use material::{keys_digest, material_name, material_owner, read_external, write_external};
pub use used::MasterVersion;
pub(crate) use used::masters_in;

use crate::errors::{EngineError, ExecutionProblem};
use crate::tables::TableStore;

/// Arrow field metadata: the class of the master key that protects the column. Absent or unknown means
/// [`KeyClass::Direct`], the most protected one.
pub const KEY_CLASS_METADATA: &str = "cordon.key-class";

/// How long an unwrapped key may be kept, so that a revoked master key stops working soon, and how long a key-encryption key
/// wraps, so that a new version of its master is taken up.
const CACHE_LIFETIME: Duration = Duration::from_mins(10);
/// More than the columns of a thousand open files; past this the oldest half is forgotten.
const CACHE_ENTRIES: usize = 65_536;
/// As long as the longest data key, whatever the data keys are.
const KEK_LEN: usize = 32;

/// Makes and finds the data keys of Parquet files under a service of master keys.
#[derive(Clone)]
pub struct KeyTools(Arc<Inner>);

struct Inner {
    masters: Arc<dyn MasterKeys>,
    names: MasterKeyNames,
    layout: EncryptionLayout,
    /// By master key. Held while one is made: of many writers one asks the service.
    keks: Mutex<HashMap<String, Kek>>,
    unwrapped: Mutex<HashMap<CacheKey, Arc<Slot>>>,
    /// The last key that was not given.
    refused: Mutex<Option<(Instant, KeyError)>>,
}

/// What is unwrapped by what: the wrapped text is public, it stands in the file.
type CacheKey = (String, String);

/// One wrapped key. Held while it is unwrapped: of many readers one asks the service, and those who waited meanwhile get its answer,
/// also where that is an error.
#[derive(Default)]
struct Slot(Mutex<Option<Unwrapped>>);

struct Unwrapped {
    key: Result<Zeroizing<Vec<u8>>, CryptoError>,
    since: Instant,
}

/// A key-encryption key that wraps data keys in this process.
#[derive(Clone)]
struct Kek {
    key: Zeroizing<Vec<u8>>,
    id: [u8; KEK_ID_LEN],
    wrapped: String,
    since: Instant,
}

/// The keys of one new file.
pub(crate) struct FileKeys {
    pub(crate) properties: Arc<FileEncryptionProperties>,
    /// What has to stand beside the file, and the digest of the keys in it.
    pub(crate) external: Option<(Vec<u8>, String)>,
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
    /// Keys of a service that counts versions itself: `PREFIX-footer` and so on.
    pub fn unversioned(prefix: &str) -> Self {
        let named = |what: &str| format!("{prefix}-{what}");
        Self {
            footer: named("footer"),
            direct: named(KeyClass::Direct.name()),
            quasi: named(KeyClass::Quasi.name()),
            clinical: named(KeyClass::Clinical.name()),
        }
    }

    fn for_class(&self, class: KeyClass) -> &str {
        match class {
            KeyClass::Direct => &self.direct,
            KeyClass::Quasi => &self.quasi,
            KeyClass::Clinical => &self.clinical,
        }
    }
}

fn properties_of(retriever: MaterialRetriever) -> Result<Arc<FileDecryptionProperties>, EngineError> {
    FileDecryptionProperties::with_key_retriever(Arc::new(retriever))
        .build()
        .map_err(|error| EngineError::parquet(&error))
}

impl KeyTools {
    pub fn new(masters: Arc<dyn MasterKeys>) -> Self {
        Self::with_names(masters, MasterKeyNames::default())
    }

    pub fn with_names(masters: Arc<dyn MasterKeys>, names: MasterKeyNames) -> Self {
        Self::with_layout(masters, names, EncryptionLayout::default())
    }

    pub fn with_layout(masters: Arc<dyn MasterKeys>, names: MasterKeyNames, layout: EncryptionLayout) -> Self {
        let (keks, unwrapped, refused) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { masters, names, layout, keks, unwrapped, refused }))
    }

    /// Fresh keys for one file. Never use the result for a second file.
    pub(crate) fn new_file(&self, schema: &Schema) -> Result<FileKeys, EngineError> {
        let leaves = ArrowSchemaConverter::new().convert(schema).map_err(|error| EngineError::parquet(&error))?;
        let mut keys = NewKeys { tools: self, external: BTreeMap::new(), data_keys: BTreeMap::new() };
        let (footer, metadata) = keys.make(self.footer_master(), None)?;
        let mut builder = FileEncryptionProperties::builder(footer).with_footer_key_metadata(metadata);
        if self.0.layout.keys == KeyScope::Column {
            for (index, leaf) in leaves.columns().iter().enumerate() {
                let master = self.0.names.for_class(key_class(schema, leaves.get_column_root_idx(index)));
                let (key, metadata) = keys.make(master, Some(index))?;
                builder = builder.with_column_key_and_metadata(&leaf.path().string(), key, metadata);
            }
        }
        let external = match self.0.layout.material {
            MaterialStorage::Internal => None,
            MaterialStorage::External => Some((write_external(&keys.external)?, keys_digest(&keys.data_keys))),
        };
        Ok(FileKeys { properties: builder.build().map_err(|error| EngineError::parquet(&error))?, external })
    }

    /// The master keys of all classes that new files are wrapped under.
    pub fn newest_masters(&self) -> [&str; 4] {
        let names = &self.0.names;
        [&names.footer, &names.direct, &names.quasi, &names.clinical].map(String::as_str)
    }

    /// The master keys that new files are wrapped under, for the manifest.
    pub fn master_key_ids(&self, schema: &Schema) -> Vec<String> {
        let mut ids = vec![self.footer_master().to_owned()];
        if self.0.layout.keys == KeyScope::Column {
            let columns = 0..schema.fields().len();
            ids.extend(columns.map(|root| self.0.names.for_class(key_class(schema, root)).to_owned()));
        }
        ids.sort();
        ids.dedup();
        ids
    }

    /// Who has a uniform file's one key reads direct identifiers with it.
    fn footer_master(&self) -> &str {
        match self.0.layout.keys {
            KeyScope::Column => &self.0.names.footer,
            KeyScope::Uniform => &self.0.names.direct,
        }
    }

    /// Finds the keys of any file whose key material stands in the file itself.
    pub fn decryption_properties(&self) -> Result<Arc<FileDecryptionProperties>, EngineError> {
        properties_of(MaterialRetriever { tools: self.clone(), load: None, loaded: OnceLock::new() })
    }

    /// Finds the keys of a file whose key material may stand beside it, in `_KEY_MATERIAL_FOR_<file>.json`, as
    /// parquet-java's `HadoopFSKeyMaterialStore` puts it.
    pub fn decryption_properties_for(&self, file: &Path) -> Result<Arc<FileDecryptionProperties>, EngineError> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let beside = file.with_file_name(material_name(&name));
        self.decryption_properties_with(Arc::new(move || match std::fs::read(&beside) {
            Ok(json) => read_external(&json, &beside).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EngineError::io("read external key material", &beside, &error)),
        }))
    }

    /// The same, wherever the material is. It is asked for when the file says that it stands outside.
    pub(crate) fn decryption_properties_with(&self, load: Load) -> Result<Arc<FileDecryptionProperties>, EngineError> {
        properties_of(MaterialRetriever { tools: self.clone(), load: Some(load), loaded: OnceLock::new() })
    }

    /// Material for a data key, as it stands in the file or in the file beside it.
    fn material_of(
        &self,
        key: &[u8],
        master: &str,
        is_footer: bool,
        storage: MaterialStorage,
    ) -> Result<Material, EngineError> {
        let at = |error: &CryptoError| EngineError::key(error, master);
        let (wrapped_dek, kek) = if self.0.layout.double_wrapping {
            let kek = self.kek(master)?;
            (wrap_locally(&kek.key, &kek.id, key)?, Some(kek))
        } else {
            (self.0.masters.wrap_key(key, master).map_err(|error| at(&error))?, None)
        };
        Ok(Material {
            key_material_type: MATERIAL_TYPE.to_owned(),
            internal_storage: (storage == MaterialStorage::Internal).then_some(true),
            is_footer_key: is_footer,
            // parquet-java requires both in a footer's material and allows them nowhere else.
            kms_instance_id: is_footer.then(|| "DEFAULT".to_owned()),
            kms_instance_url: is_footer.then(|| "DEFAULT".to_owned()),
            master_key_id: master.to_owned(),
            wrapped_dek,
            double_wrapping: kek.is_some(),
            key_encryption_key_id: kek.as_ref().map(|kek| data_encoding::BASE64.encode(&kek.id)),
            wrapped_kek: kek.map(|kek| kek.wrapped),
            key_reference: None,
        })
    }

    /// The key-encryption key of a master key, made and wrapped where there is none that is young enough.
    fn kek(&self, master: &str) -> Result<Kek, EngineError> {
        let mut keks = self.0.keks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kek) = keks.get(master).filter(|kek| kek.since.elapsed() < CACHE_LIFETIME) {
            return Ok(kek.clone());
        }
        let (mut key, mut id) = (Zeroizing::new(vec![0; KEK_LEN]), [0; KEK_ID_LEN]);
        cordon_crypto::random_bytes(&mut key).map_err(|_| EngineError::Randomness)?;
        cordon_crypto::random_bytes(&mut id).map_err(|_| EngineError::Randomness)?;
        let wrapped = self.0.masters.wrap_key(&key, master).map_err(|error| EngineError::key(&error, master))?;
        let kek = Kek { key, id, wrapped, since: Instant::now() };
        keks.insert(master.to_owned(), kek.clone());
        Ok(kek)
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
        let kek_id = data_encoding::BASE64.decode(kek_id.as_bytes()).map_err(|_| KeyError::Malformed)?;
        unwrap_locally(&kek, &kek_id, &material.wrapped_dek)
    }

    fn unwrap_by_master(&self, wrapped: &str, master: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let asked = Instant::now();
        let slot = self.slot((master.to_owned(), wrapped.to_owned()));
        // Only who wants the same key waits here: the service may be slow, and other keys must stay reachable.
        let mut held = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = held.as_ref().filter(|known| match &known.key {
            Ok(_) => known.since.elapsed() < CACHE_LIFETIME,
            Err(_) => known.since >= asked,
        });
        let key = if let Some(known) = fresh {
            known.key.clone()
        } else {
            let key = self.0.masters.unwrap_key(wrapped, master);
            *held = Some(Unwrapped { key: key.clone(), since: Instant::now() });
            key
        };
        key.map_err(|source| {
            let refused = KeyError::Denied { master: master.to_owned(), source };
            *self.0.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), refused.clone()));
            refused
        })
    }

    /// Readers of Parquet keep of an error below them its text only, which is not used. Where one that began at `since` failed at what is
    /// stored, and a key has been refused meanwhile, that is why.
    pub(crate) fn explained(&self, error: EngineError, since: Instant) -> EngineError {
        let unclear = [ExecutionProblem::StoredForm, ExecutionProblem::Storage, ExecutionProblem::Other];
        if !matches!(error, EngineError::Execution(problem) if unclear.contains(&problem)) {
            return error;
        }
        let refused = self.0.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match &*refused {
            Some((at, refused)) if *at >= since => refused.clone().into(),
            _ => error,
        }
    }

    fn slot(&self, key: CacheKey) -> Arc<Slot> {
        // A panic elsewhere cannot leave a half-written entry: inserts are single steps.
        let mut slots = self.0.unwrapped.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&key) {
            return Arc::clone(slot);
        }
        if slots.len() >= CACHE_ENTRIES {
            // What is in use stays with whoever uses it.
            slots.retain(|_, slot| {
                slot.0.try_lock().is_ok_and(|held| {
                    held.as_ref().is_some_and(|known| known.since.elapsed() < CACHE_LIFETIME / 2 && known.key.is_ok())
                })
            });
        }
        let slot = Arc::new(Slot::default());
        if slots.len() < CACHE_ENTRIES {
            slots.insert(key, Arc::clone(&slot));
        }
        slot
    }
}

/// Data keys of one file while they are made.
struct NewKeys<'a> {
    tools: &'a KeyTools,
    external: BTreeMap<String, String>,
    /// By reference, for the digest.
    data_keys: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

impl NewKeys<'_> {
    /// A key, and what the file says of it. `column`: its number, or `None` for the footer.
    fn make(&mut self, master: &str, column: Option<usize>) -> Result<(Vec<u8>, Vec<u8>), EngineError> {
        let layout = self.tools.0.layout;
        let mut key = vec![0u8; layout.key_bits.bytes()];
        cordon_crypto::random_bytes(&mut key).map_err(|_| EngineError::Randomness)?;
        let material = self.tools.material_of(&key, master, column.is_none(), layout.material)?;
        let json = serde_json::to_vec(&material).map_err(|_| EngineError::Internal("key material"))?;
        if layout.material == MaterialStorage::Internal {
            return Ok((key, json));
        }
        let reference = column.map_or_else(|| "footerKey".to_owned(), |column| format!("columnKey{column}"));
        let metadata = serde_json::to_vec(&Reference::outside(&reference));
        let metadata = metadata.map_err(|_| EngineError::Internal("key metadata"))?;
        let text = String::from_utf8(json).map_err(|_| EngineError::Internal("key material"))?;
        self.data_keys.insert(reference.clone(), Zeroizing::new(key.clone()));
        self.external.insert(reference, text);
        Ok((key, metadata))
    }
}

/// Which master key protects what stands under the top-level field `root`.
fn key_class(schema: &Schema, root: usize) -> KeyClass {
    let name = schema.fields().get(root).and_then(|field| field.metadata().get(KEY_CLASS_METADATA));
    KeyClass::ALL.into_iter().find(|class| name.is_some_and(|name| name == class.name())).unwrap_or(KeyClass::Direct)
}

/// Finds external key material; `None` where there is none.
pub(crate) type Load = Arc<dyn Fn() -> Result<Option<BTreeMap<String, String>>, EngineError> + Send + Sync>;

struct MaterialRetriever {
    tools: KeyTools,
    load: Option<Load>,
    loaded: OnceLock<Result<BTreeMap<String, String>, EngineError>>,
}

impl MaterialRetriever {
    fn key(&self, metadata: &[u8]) -> Result<Zeroizing<Vec<u8>>, EngineError> {
        let material: Material = serde_json::from_slice(metadata).map_err(|_| KeyError::UnknownMaterial)?;
        if material.internal_storage != Some(false) {
            return Ok(self.tools.unwrap_material(&material)?);
        }
        let reference = material.key_reference.as_deref().ok_or(KeyError::Malformed)?;
        let loaded = self.loaded.get_or_init(|| match &self.load {
            Some(load) => load()?.ok_or_else(|| KeyError::NoExternalMaterial.into()),
            None => Err(KeyError::NoExternalMaterial.into()),
        });
        let outside = match loaded {
            Ok(all) => all.get(reference).ok_or(KeyError::NoExternalMaterial)?,
            Err(error) => return Err(error.clone()),
        };
        let material: Material = serde_json::from_str(outside).map_err(|_| KeyError::UnknownMaterial)?;
        Ok(self.tools.unwrap_material(&material)?)
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
    /// Only who wraps it was asked for.
    #[error("the key of a column was not asked for")]
    NotAsked,
}

/// Hands the keys to DataFusion. Given to each table's scan as an object: naming keys in SQL options would show them in
/// plans. Files are read only: what writes tables is [`TableStore`].
pub struct CordonEncryptionFactory {
    store: TableStore,
}

impl CordonEncryptionFactory {
    pub fn new(store: TableStore) -> Self {
        Self { store }
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
        _schema: &arrow_schema::SchemaRef,
        _file_path: &ObjectPath,
    ) -> datafusion::error::Result<Option<Arc<FileEncryptionProperties>>> {
        Err(EngineError::Refused { reason: "a plan writes no Parquet files" }.into_datafusion())
    }

    async fn get_file_decryption_properties(
        &self,
        _config: &EncryptionFactoryOptions,
        file_path: &ObjectPath,
    ) -> datafusion::error::Result<Option<Arc<FileDecryptionProperties>>> {
        self.store.keys_of(file_path.as_ref()).map(Some).map_err(EngineError::into_datafusion)
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

    /// Unwraps everything to one key, and counts.
    #[derive(Default)]
    struct Counting(std::sync::atomic::AtomicUsize);

    impl MasterKeys for Counting {
        fn wrap_key(&self, _: &[u8], id: &str) -> Result<String, CryptoError> {
            Err(CryptoError::UnknownMasterKey { id: id.to_owned() })
        }

        fn unwrap_key(&self, _: &str, _: &str) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok(Zeroizing::new(vec![7; 16]))
        }
    }

    #[test]
    fn keys_are_kept_for_a_bounded_time_and_in_a_bounded_number() {
        let masters = Arc::new(Counting::default());
        let tools = KeyTools::new(Arc::clone(&masters) as Arc<dyn MasterKeys>);
        let asked = || masters.0.load(std::sync::atomic::Ordering::SeqCst);
        for _ in 0..3 {
            tools.unwrap_by_master("wrapped", "master").unwrap();
        }
        assert_eq!(asked(), 1);
        let slot = tools.slot(("master".to_owned(), "wrapped".to_owned()));
        // As if its time had passed; a machine that has just started has no time so long ago.
        if let Some(then) = Instant::now().checked_sub(CACHE_LIFETIME) {
            slot.0.lock().unwrap().as_mut().unwrap().since = then;
            tools.unwrap_by_master("wrapped", "master").unwrap();
            assert_eq!(asked(), 2);
        }
        for number in 0..CACHE_ENTRIES + 10 {
            tools.unwrap_by_master(&number.to_string(), "master").unwrap();
        }
        assert!(tools.0.unwrapped.lock().unwrap().len() <= CACHE_ENTRIES);
    }

    #[test]
    fn material_is_spelt_as_parquet_java_spells_it() {
        let json = r#"{"keyMaterialType":"PKMT1","internalStorage":true,"isFooterKey":true,"kmsInstanceID":"DEFAULT","kmsInstanceURL":"DEFAULT","masterKeyID":"kf","wrappedDEK":"AAAA","doubleWrapping":false}"#;
        let material: Material = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&material).unwrap(), json);
    }
}
