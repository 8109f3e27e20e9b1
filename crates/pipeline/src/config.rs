//! The project folder as written: `cordon.yaml` and `pipelines/*.yaml`. [`crate::project`] checks and opens it.

use std::collections::BTreeMap;

use cordon_access::AccessFile;
pub use cordon_custody::config::{AuditSection, KeysSection, MastersSection, RootSection, VaultSection};
use cordon_deid::policy::file::PolicyFile;
use cordon_deid::yaml::At;
use cordon_formats::{CsvOptions, NotesOptions};
use cordon_keystore::config::TransitMastersConfig;
use cordon_storage::StoreSettings;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::retention::RetentionSection;
use crate::server_config::ServerSection;

/// The JSON Schemas of `cordon.yaml`, `policies/*.yaml` and `pipelines/*.yaml`, made from the types.
pub fn schema_texts() -> [(&'static str, String); 3] {
    // A schema is a JSON value already: it can always be printed.
    let text = |schema: schemars::Schema| serde_json::to_string_pretty(&schema).unwrap_or_default();
    [
        ("project", text(schemars::schema_for!(ProjectFile))),
        ("policy", text(schemars::schema_for!(PolicyFile))),
        ("pipeline", text(schemars::schema_for!(PipelineFile))),
    ]
}

/// `cordon.yaml`: where keys, vault, audit log and tables are, and who may query.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "Cordon project")]
pub struct ProjectFile {
    /// The project's name.
    pub project: At<String>,
    pub keys: KeysSection,
    #[serde(default)]
    pub vault: VaultSection,
    #[serde(default)]
    pub audit: AuditSection,
    #[serde(default)]
    pub storage: StorageSection,
    #[serde(default)]
    pub run: RunSection,
    /// How long things stay.
    #[serde(default)]
    pub retention: RetentionSection,
    /// Whom tables are made for: research projects, partners, the public. The tokens, shifts and made-up names of one are not those of
    /// another.
    #[serde(default)]
    pub recipients: BTreeMap<String, At<RecipientSection>>,
    /// Users, roles, and what each role may read and do.
    #[serde(default)]
    pub access: AccessFile,
    /// Whom `cordon serve` serves, and where.
    #[serde(default)]
    pub server: Option<ServerSection>,
}

/// One that gets tables: two projects of one organisation that must not join their data are two recipients.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RecipientSection {
    /// Who it is, for people.
    #[serde(default)]
    pub description: Option<String>,
}

/// Where tables and the runs' own records are kept. Everything there is encrypted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct StorageSection {
    /// The folder of tables, or an address in an object store: `s3://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`,
    /// `abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PREFIX` or `gs://BUCKET/PREFIX`.
    pub warehouse: At<String>,
    /// How object stores are reached, each by the address of its bucket. No credentials: they come from the environment.
    pub stores: BTreeMap<String, At<StoreSettings>>,
    /// Where encrypted parts wait that are not committed to an object store yet.
    pub staging: String,
    /// What each run has done so far: the base of resuming and of incremental runs.
    pub state: String,
    /// Records that could not be processed.
    pub quarantine: String,
    /// Spill files of large queries.
    pub tmp: String,
    /// How new files of tables are encrypted. Older files stay as they are and are read.
    pub encryption: EncryptionSection,
}

/// How new files of tables are encrypted: always by AES-GCM, with the footer.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct EncryptionSection {
    /// 128 or 256.
    pub key_bits: KeyBits,
    /// Whether the wrapped keys stand in each file or beside it.
    pub key_material: KeyMaterial,
    /// A key for each column, or one for the file.
    pub keys: KeysOf,
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(try_from = "u16")]
#[schemars(with = "u16")]
pub enum KeyBits {
    Bits128,
    #[default]
    Bits256,
}

impl TryFrom<u16> for KeyBits {
    type Error = &'static str;

    fn try_from(bits: u16) -> Result<Self, Self::Error> {
        match bits {
            128 => Ok(Self::Bits128),
            256 => Ok(Self::Bits256),
            _ => Err("keys have 128 or 256 bits"),
        }
    }
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyMaterial {
    #[default]
    Internal,
    /// In `_KEY_MATERIAL_FOR_<file>.json` beside each file: a new master key is a new small file.
    External,
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeysOf {
    /// A key for each column, under the master key of its class.
    #[default]
    Columns,
    /// One key for the whole file, under the master key of direct identifiers: for DuckDB.
    Uniform,
}

impl Default for StorageSection {
    fn default() -> Self {
        Self {
            warehouse: At::unplaced("warehouse".to_owned()),
            stores: BTreeMap::new(),
            staging: ".cordon/staging".to_owned(),
            state: ".cordon/state".to_owned(),
            quarantine: ".cordon/quarantine".to_owned(),
            tmp: ".cordon/tmp".to_owned(),
            encryption: EncryptionSection::default(),
        }
    }
}

/// How much of the machine a run or a query may use.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RunSection {
    /// Memory, such as `1GiB` or `512MiB`.
    pub memory: At<String>,
    /// Worker threads; 0 means one for each processor.
    pub threads: usize,
}

impl Default for RunSection {
    fn default() -> Self {
        Self { memory: At::unplaced("1GiB".to_owned()), threads: 0 }
    }
}

/// `pipelines/<name>.yaml`: sources → datasets → tables, under one policy.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "Cordon pipeline")]
pub struct PipelineFile {
    /// The pipeline's name; the file is `pipelines/<name>.yaml`.
    pub pipeline: At<String>,
    #[serde(default)]
    pub description: Option<String>,
    /// The policy under which every source is de-identified: `policies/<name>.yaml`.
    pub policy: At<String>,
    /// Whom the tables are made for, one of `recipients` in `cordon.yaml`. Without it they have the project's own tokens.
    #[serde(default)]
    pub recipient: Option<At<String>>,
    /// Where data come from.
    pub sources: Vec<SourceSection>,
    /// Where tables go.
    #[serde(default)]
    pub sink: SinkSection,
}

/// One source: files of one dataset.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SourceSection {
    /// The dataset of the policy whose rules apply.
    pub dataset: At<String>,
    /// Files, as a path or a glob (`*`, `**`, `?`, `[…]`, `{a,b}`), relative to the project folder, or of an object store
    /// (`s3://BUCKET/exports/*.csv.gz`).
    pub path: At<String>,
    /// The format; without it, the file name says (`.csv`, `.tsv`, `.parquet`, `.ndjson`, `.jsonl`, `.hl7`, `.dcm`); FHIR, C-CDA, X12 and notes are always said.
    #[serde(default)]
    pub format: Option<Format>,
    /// The dialect of CSV files.
    #[serde(default)]
    pub csv: Option<CsvOptions>,
    /// How notes are named and encoded.
    #[serde(default)]
    pub notes: Option<At<NotesOptions>>,
    /// No file is no mistake.
    #[serde(default)]
    pub optional: bool,
    /// Where the keys of encrypted Parquet files are. Files that are not encrypted are read all the same.
    #[serde(default)]
    pub encryption: Option<SourceKeys>,
    /// Which identifiers mean the person: for each place its namespace, a token domain. Records that share one are the same person's, in every
    /// format and run. A place is a column, `PID-3[MR]`, `Patient.identifier[SYSTEM]`, `recordTarget/patientRole/id[OID]`, `NM1*IL-09`.
    #[serde(default)]
    pub identity: IndexMap<String, String>,
}

/// Keys of encrypted Parquet files, never the keys themselves: `project`, `{ transit: { … } }`, `{ key-files: { ID: PATH } }` or `{ key-file:
/// PATH }`.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "one a source")]
pub enum SourceKeys {
    /// The master keys of the project's own tables, wherever `keys.masters` says. Key material is that of parquet-java's key tools,
    /// in the files or beside them.
    Project,
    /// Master keys in another transit engine of OpenBao or HashiCorp Vault. Files name their keys; `prefix` says nothing here.
    Transit(TransitMastersConfig),
    /// One key for all of a file: 32, 48 or 64 hexadecimal digits in a file that only its owner can read, relative to the project folder.
    KeyFile(String),
    /// Master keys by the ids that files name, as `cordon.interop.FileKmsClient` has them on Spark: each 64 hexadecimal digits in a file that
    /// only its owner can read, relative to the project folder. Key material is that of parquet-java's key tools.
    KeyFiles(BTreeMap<String, String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// RFC 4180 and its dialects, plain or compressed by gzip or zstd.
    Csv,
    Parquet,
    /// One flat JSON object a line.
    Ndjson,
    /// FHIR R4: resources one a line, or bundles.
    Fhir,
    /// HL7 v2 messages, any number in a file, batch files and MLLP frames too.
    Hl7v2,
    /// CDA R2 documents: C-CDA, CCD, eICR; one or several in a file.
    Ccda,
    /// X12 transaction sets of HIPAA: claims, remittances, enrolment, eligibility, claim status; any number in a file.
    X12,
    /// Plain text files, each of them one row of a table: `file_name`, `text`, and what `notes.name` takes from the name.
    Notes,
    /// DICOM files (PS3.10), one data set a file.
    Dicom,
}

impl Format {
    /// As pipeline files spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Ndjson => "ndjson",
            Self::Fhir => "fhir",
            Self::Hl7v2 => "hl7v2",
            Self::Ccda => "ccda",
            Self::X12 => "x12",
            Self::Notes => "notes",
            Self::Dicom => "dicom",
        }
    }
}

/// Where tables go.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct SinkSection {
    /// Put before every table's name.
    pub prefix: String,
}
