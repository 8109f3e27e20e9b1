//! What a version of a table is made of and how it was made.

use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::errors::EngineError;

/// One version of a table. Sealed before it is written: names of files and counts say something about patients too.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    pub table: String,
    pub version: u64,
    pub parent: Option<u64>,
    pub provenance: Provenance,
    /// Master keys under which the columns of the parts are encrypted.
    pub key_ids: Vec<String>,
    /// For people: name, type and class of each column.
    pub columns: Vec<ColumnInfo>,
    /// For programs: an Arrow IPC stream that holds the schema and no batch, in base64.
    pub schema: String,
    pub parts: Vec<PartInfo>,
    pub recent_commits: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnInfo {
    pub name: String,
    pub data_type: String,
    pub metadata: std::collections::BTreeMap<String, String>,
}

/// How the version was made (promise 9).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// RFC 3339; given by the caller, who owns the clock.
    pub created: String,
    pub cordon_version: String,
    pub run: String,
    #[serde(default)]
    pub pipeline: String,
    pub policy: String,
    pub policy_sha256: String,
    /// The HIPAA method.
    #[serde(default)]
    pub method: String,
    /// Whom the rows were made for; the project itself where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// The day at which ages were counted.
    #[serde(default)]
    pub reference_date: String,
    /// The last audit entry before the commit, so that the log cannot be cut behind the table's back.
    pub audit: Option<AuditAnchor>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditAnchor {
    pub seq: u64,
    pub hash: String,
}

/// A finished, immutable part. Serialisable, so that a run's checkpoint can hold it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartInfo {
    pub file: String,
    /// The run that staged it.
    pub run: String,
    pub rows: u64,
    pub bytes: u64,
    /// Of the whole file, hexadecimal.
    pub sha256: String,
    /// Of the encrypted footer, its length and the magic: what binds every page.
    pub footer_sha256: String,
    pub sources: Vec<SourceRef>,
    /// The master keys when it was written: material beside it may have been wrapped anew since ([`TableStore::key_use`]).
    ///
    /// [`TableStore::key_use`]: super::TableStore::key_use
    pub key_ids: Vec<String>,
    /// Where the key material stands beside the file: the digest of the data keys in it, which wrapping them anew does not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_keys: Option<String>,
    /// Of its rows in whatever order ([`rows_digest`](super::rows_digest)); older parts have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_digest: Option<String>,
}

/// An input that a part's rows came from. The id is a keyed hash: names of exports may name patients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRef {
    pub id: String,
    pub sha256: String,
}

impl Manifest {
    pub(super) fn new(
        table: &str,
        version: u64,
        parent: Option<u64>,
        schema: &SchemaRef,
        parts: Vec<PartInfo>,
        recent_commits: Vec<String>,
        provenance: Provenance,
    ) -> Result<Self, EngineError> {
        let mut key_ids: Vec<String> = parts.iter().flat_map(|part| part.key_ids.iter().cloned()).collect();
        key_ids.sort();
        key_ids.dedup();
        let columns = schema
            .fields()
            .iter()
            .map(|field| ColumnInfo {
                name: field.name().clone(),
                data_type: field.data_type().to_string(),
                metadata: field.metadata().iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            })
            .collect();
        Ok(Self {
            table: table.to_owned(),
            version,
            parent,
            provenance,
            key_ids,
            columns,
            schema: encode_schema(schema)?,
            parts,
            recent_commits,
        })
    }

    pub(super) fn arrow_schema(&self) -> Option<SchemaRef> {
        decode_schema(&self.schema)
    }
}

/// What [`encode_schema`] wrote.
pub fn decode_schema(text: &str) -> Option<SchemaRef> {
    let bytes = BASE64.decode(text.as_bytes()).ok()?;
    let reader = arrow_ipc::reader::StreamReader::try_new(bytes.as_slice(), None).ok()?;
    Some(reader.schema())
}

/// A schema as text, for manifests and journals.
pub fn encode_schema(schema: &Arc<Schema>) -> Result<String, EngineError> {
    let encode = || {
        let mut writer = arrow_ipc::writer::StreamWriter::try_new(Vec::new(), schema)?;
        writer.finish()?;
        writer.into_inner()
    };
    encode().map(|bytes| BASE64.encode(&bytes)).map_err(|error| EngineError::arrow(&error))
}
