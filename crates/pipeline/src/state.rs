//! What a pipeline has done: the base of resuming and of incremental runs. Sealed, like everything at rest.

use std::collections::{BTreeMap, BTreeSet};

use cordon_engine::tables::PartInfo;
use serde::{Deserialize, Serialize};

use crate::source::Stamp;

/// All units that the pipeline's tables are made of.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Done {
    pub units: BTreeMap<String, UnitRecord>,
    /// Quarantined records that a replay has brought into the tables.
    pub replayed: BTreeSet<String>,
}

/// A unit is what is read, written and replaced together: one large file, or a handful of small ones.
#[derive(Clone, Serialize, Deserialize)]
pub struct UnitRecord {
    /// Hash of the policy and ids of the keys it ran under: when they change, the unit is done again.
    pub made_under: String,
    pub dataset: String,
    pub files: Vec<FileRecord>,
    /// Parts by table.
    pub parts: Vec<(String, PartInfo)>,
    /// The quarantine file's name, where something was put aside.
    pub quarantine: Option<String>,
    pub rows_in: u64,
    pub rows_out: u64,
    pub quarantined: u64,
    /// FHIR resources of types that the policy excludes.
    #[serde(default)]
    pub excluded: u64,
}

impl UnitRecord {
    /// Whether rows of the unit went to the table.
    pub fn made_of(&self, table: &str) -> bool {
        self.parts.iter().any(|(name, _)| name == table)
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub struct FileRecord {
    pub name: String,
    /// Keyed hash of the name: what manifests and the audit log carry.
    pub source_id: String,
    pub stamp: Stamp,
    pub sha256: String,
    /// Why the file was refused as a whole; it is tried again when it changes.
    pub refused: Option<String>,
}

/// An entry of the journal of a run that has not finished.
#[derive(Serialize, Deserialize)]
pub enum JournalEntry {
    /// The run's identity: a resumed run carries on only under the same.
    Started { run: String, made_under: String, reference_date: String },
    /// The unit's parts are durable in staging, its tokens in the vault, its rejects in quarantine.
    Unit { id: String, record: UnitRecord },
    /// Everything is ready: from here the commit is only carried out, as often as it takes.
    Prepared(Prepared),
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Prepared {
    pub run: String,
    pub done: Done,
    /// For each table: parts to add, and sources whose parts are taken out.
    pub tables: BTreeMap<String, Change>,
    /// Nothing of what the tables held before stays.
    pub replace: bool,
    /// Quarantine files that nothing refers to afterwards.
    pub obsolete: Vec<String>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Change {
    pub add: Vec<PartInfo>,
    pub remove: Vec<String>,
}

impl Done {
    /// The units whose quarantine still holds records that were not replayed.
    pub fn quarantine_files(&self) -> impl Iterator<Item = &str> {
        self.units.values().filter_map(|unit| unit.quarantine.as_deref())
    }
}
