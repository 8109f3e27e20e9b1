//! Reading Parquet files that others wrote, encrypted or not, as batches.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use cordon_storage::{Object, Store};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::encryption::decrypt::{FileDecryptionProperties, KeyRetriever};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use zeroize::Zeroizing;

use crate::errors::EngineError;
use crate::keytools::{KeyError, KeyTools, Load, material_name, read_external};
use crate::tables::{PartFile, read_material};

/// No key material is near as large.
const MOST_MATERIAL: u64 = 64 << 20;

/// Where the keys of an encrypted input come from.
#[derive(Clone, Default)]
pub struct InputKeys {
    /// Key material in the format of parquet-java's key tools, inside the file or beside it.
    pub tools: Option<KeyTools>,
    /// Data keys under the names that stand in the file as they are, for files that were written without key tools.
    pub named: HashMap<String, Zeroizing<Vec<u8>>>,
    /// The one key of a file that has one for all of it, whatever the file says of it.
    pub uniform: Option<Zeroizing<Vec<u8>>>,
    /// For files that do not store the AAD prefix they were written with.
    pub aad_prefix: Option<Vec<u8>>,
}

impl InputKeys {
    /// Whether there are any.
    pub fn are_named(&self) -> bool {
        self.tools.is_some() || self.uniform.is_some() || !self.named.is_empty()
    }
}

/// A Parquet file, read batch by batch.
pub struct ParquetInput {
    path: PathBuf,
    schema: SchemaRef,
    rows: u64,
    reader: ParquetRecordBatchReader,
}

impl ParquetInput {
    pub fn open(path: &Path, keys: &InputKeys, batch_rows: usize) -> Result<Self, EngineError> {
        let file = File::open(path).map_err(|error| EngineError::io("read the Parquet file", path, &error))?;
        let beside = path.with_file_name(material_name(&file_name(path)));
        let load = Arc::new(move || read_material(&beside));
        Self::of(PartFile::Local(Arc::new(file)), path, keys, load, batch_rows)
    }

    /// A file of an object store, with key material beside it where it says so.
    pub fn open_object(
        store: &Store,
        object: &Object,
        keys: &InputKeys,
        batch_rows: usize,
    ) -> Result<Self, EngineError> {
        let shown = PathBuf::from(format!("{}/{}", store.location(), object.key));
        let file = PartFile::object(store.clone(), object.key.clone(), object.size);
        let (folder, name) =
            object.key.rsplit_once('/').map_or(("", object.key.as_str()), |(folder, name)| (folder, name));
        let name = material_name(name);
        let beside = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let (store, at) = (store.clone(), PathBuf::from(format!("{}/{beside}", store.location())));
        let load = Arc::new(move || {
            let json = store.small(&beside, MOST_MATERIAL)?;
            json.map(|json| read_external(&json, &at)).transpose()
        });
        Self::of(file, &shown, keys, load, batch_rows)
    }

    fn of(file: PartFile, path: &Path, keys: &InputKeys, load: Load, batch_rows: usize) -> Result<Self, EngineError> {
        let encrypted_footer = encrypted_footer(&file, path)?;
        if !encrypted_footer && (keys.uniform.is_some() || !keys.are_named()) {
            return Self::with_options(file, path, ArrowReaderOptions::new(), batch_rows, None);
        }
        let opened = Self::with_properties(file, path, keys.properties(load)?, batch_rows, None);
        match opened {
            // A footer that does not authenticate says no more than that.
            Err(EngineError::Damaged { .. }) if encrypted_footer && keys.uniform.is_some() => {
                let reason = "the key that is named for the file does not open it, or the file is damaged".to_owned();
                Err(EngineError::KeyMaterial { reason })
            }
            opened => opened,
        }
    }

    /// With one column, where it is named.
    pub(crate) fn with_properties(
        file: PartFile,
        path: &Path,
        keys: Arc<FileDecryptionProperties>,
        batch_rows: usize,
        only: Option<&str>,
    ) -> Result<Self, EngineError> {
        let options = ArrowReaderOptions::new().with_file_decryption_properties(keys);
        Self::with_options(file, path, options, batch_rows, only)
    }

    fn with_options(
        file: PartFile,
        path: &Path,
        options: ArrowReaderOptions,
        batch_rows: usize,
        only: Option<&str>,
    ) -> Result<Self, EngineError> {
        let at = |error: &ParquetError| EngineError::parquet_at("read the Parquet file", path, error);
        let mut builder =
            ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).map_err(|error| at(&error))?;
        if let Some(name) = only {
            let column = builder
                .schema()
                .index_of(name)
                .map_err(|_| EngineError::Damaged { what: "columns of the part", path: path.to_owned() })?;
            let mask = ProjectionMask::roots(builder.parquet_schema(), [column]);
            builder = builder.with_projection(mask);
        }
        let rows = builder.metadata().file_metadata().num_rows().max(0) as u64;
        let schema = builder.schema().clone();
        let reader = builder.with_batch_size(batch_rows.max(1)).build().map_err(|error| at(&error))?;
        Ok(Self { path: path.to_owned(), schema, rows, reader })
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }
}

impl Iterator for ParquetInput {
    type Item = Result<RecordBatch, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        Some(batch.map_err(|error| match EngineError::arrow(&error) {
            EngineError::Execution(_) => EngineError::Damaged { what: "Parquet file", path: self.path.clone() },
            other => other,
        }))
    }
}

impl InputKeys {
    fn properties(&self, load: Load) -> Result<Arc<FileDecryptionProperties>, EngineError> {
        if let Some(key) = &self.uniform {
            let mut builder = FileDecryptionProperties::builder(key.to_vec());
            if let Some(prefix) = &self.aad_prefix {
                builder = builder.with_aad_prefix(prefix.clone());
            }
            return builder.build().map_err(|error| EngineError::parquet(&error));
        }
        if self.named.is_empty() {
            let tools = self.tools.as_ref().ok_or(EngineError::KeyMaterial {
                reason: "the file is encrypted and no keys are configured for it".to_owned(),
            })?;
            return tools.decryption_properties_with(load);
        }
        let mut builder = FileDecryptionProperties::with_key_retriever(Arc::new(NamedKeys(self.named.clone())));
        if let Some(prefix) = &self.aad_prefix {
            builder = builder.with_aad_prefix(prefix.clone());
        }
        builder.build().map_err(|error| EngineError::parquet(&error))
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

struct NamedKeys(HashMap<String, Zeroizing<Vec<u8>>>);

impl KeyRetriever for NamedKeys {
    fn retrieve_key(&self, key_metadata: &[u8]) -> Result<Vec<u8>, ParquetError> {
        let key = std::str::from_utf8(key_metadata).ok().and_then(|name| self.0.get(name));
        key.map(|key| key.to_vec()).ok_or_else(|| ParquetError::External(Box::new(KeyError::UnknownMaterial)))
    }
}

fn encrypted_footer(file: &PartFile, path: &Path) -> Result<bool, EngineError> {
    let Some(at) = file.len().checked_sub(4) else {
        return Err(EngineError::Damaged { what: "Parquet file", path: path.to_owned() });
    };
    let magic =
        file.get_bytes(at, 4).map_err(|error| EngineError::parquet_at("read the Parquet file", path, &error))?;
    Ok(magic.as_ref() == b"PARE")
}
