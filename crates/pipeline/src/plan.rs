//! What a run has to do: which files are new or changed, and how they are grouped into units.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cordon_crypto::KeyedHash;

use crate::error::RunError;
use crate::run::Context;
use crate::source::{self, SourceFile};
use crate::state::{Done, FileRecord, UnitRecord};

/// A unit is read, written, journaled and later replaced together.
pub struct Unit {
    pub id: String,
    pub dataset: String,
    pub files: Vec<PlannedFile>,
}

#[derive(Clone)]
pub struct PlannedFile {
    pub file: SourceFile,
    /// Keyed hash of the file's name: names of files can name patients.
    pub source_id: String,
    /// The content, where it comes from quarantine instead of the file itself.
    pub replay: Option<Arc<ReplayInput>>,
}

/// Quarantined records of one file, as a file of the same sort.
pub struct ReplayInput {
    pub bytes: Vec<u8>,
    /// From a line here to the line in the file.
    pub lines: BTreeMap<u64, u64>,
}

/// Small files share a unit up to this size, so that a folder of many does not make many tiny parts.
const UNIT_BYTES: u64 = 64 << 20;
/// And up to this count.
const UNIT_FILES: usize = 500;

pub struct Plan {
    pub units: Vec<Unit>,
    /// Units of earlier runs whose rows are replaced.
    pub superseded: BTreeSet<String>,
    pub unchanged: usize,
}

impl Plan {
    pub(crate) fn make(
        context: &Context<'_>,
        done: &Done,
        made_under: &str,
        journaled: &BTreeMap<String, UnitRecord>,
    ) -> Result<Self, RunError> {
        let names = context.project.source_ids()?;
        let mut present: BTreeMap<String, PlannedFile> = BTreeMap::new();
        for section in &context.pipeline.file.sources {
            for file in source::list(&context.project.root, &context.pipeline.path, section)? {
                let source_id = source_id(&names, &file.dataset, &file.name);
                present.entry(source_id.clone()).or_insert(PlannedFile { file, source_id, replay: None });
            }
        }
        let mut superseded = BTreeSet::new();
        for (id, unit) in &done.units {
            let mut stale = unit.made_under != made_under;
            for file in &unit.files {
                if let Some(now) = present.get(&file.source_id) {
                    stale |= has_changed(file, &now.file)?;
                }
            }
            if stale {
                superseded.insert(id.clone());
            }
        }
        spread(done, &mut superseded);
        let mut unchanged = BTreeSet::new();
        for (id, unit) in &done.units {
            if !superseded.contains(id) {
                unchanged.extend(unit.files.iter().map(|file| file.source_id.clone()));
                continue;
            }
            // Rows of one part belong to all files of its unit: they are made again together.
            if let Some(lost) = unit.files.iter().find(|file| !present.contains_key(&file.source_id)) {
                return Err(RunError::usage(
                    format!(
                        "`{}` is gone, and its rows must be made again because the policy, a key or a file read \
                         together with it changed",
                        lost.name
                    ),
                    "put the file back, or remove the table and the pipeline's state to start afresh",
                ));
            }
        }
        let open: Vec<PlannedFile> =
            present.into_values().filter(|planned| !unchanged.contains(&planned.source_id)).collect();
        let units = group(open, journaled)?;
        Ok(Self { units, superseded, unchanged: unchanged.len() })
    }

    pub fn bytes(&self) -> u64 {
        self.units.iter().flat_map(|unit| &unit.files).map(|planned| planned.file.stamp.size).sum()
    }
}

/// Units that share a file are replaced together: a replay's rows belong to the files they came from.
fn spread(done: &Done, superseded: &mut BTreeSet<String>) {
    loop {
        let files: BTreeSet<&str> = superseded
            .iter()
            .filter_map(|id| done.units.get(id))
            .flat_map(|unit| unit.files.iter().map(|file| file.source_id.as_str()))
            .collect();
        let more: Vec<String> = done
            .units
            .iter()
            .filter(|(id, unit)| {
                !superseded.contains(*id) && unit.files.iter().any(|file| files.contains(file.source_id.as_str()))
            })
            .map(|(id, _)| id.clone())
            .collect();
        if more.is_empty() {
            return;
        }
        superseded.extend(more);
    }
}

/// The name by which manifests and the audit log know a file.
pub(crate) fn source_id(names: &KeyedHash, dataset: &str, name: &str) -> String {
    let tag = names.tag_parts(&[dataset.as_bytes(), name.as_bytes()]);
    data_encoding::HEXLOWER.encode(tag.get(..16).unwrap_or_default())
}

/// Size and time tell in most cases; the content decides.
fn has_changed(before: &FileRecord, now: &SourceFile) -> Result<bool, RunError> {
    if before.stamp == now.stamp {
        return Ok(false);
    }
    Ok(before.stamp.size != now.stamp.size || source::hash_file(&now.path)? != before.sha256)
}

/// Groups files by dataset. Units that an interrupted run had finished stay as they were grouped.
fn group(open: Vec<PlannedFile>, journaled: &BTreeMap<String, UnitRecord>) -> Result<Vec<Unit>, RunError> {
    let mut by_source: BTreeMap<String, PlannedFile> =
        open.into_iter().map(|planned| (planned.source_id.clone(), planned)).collect();
    let mut units = Vec::new();
    for (id, record) in journaled {
        let mut files = Vec::new();
        for file in &record.files {
            match by_source.remove(&file.source_id) {
                Some(planned) if !has_changed(file, &planned.file)? => files.push(planned),
                _ => {
                    return Err(RunError::usage(
                        format!("`{}` changed while the run that read it was interrupted", file.name),
                        "start the run afresh with `--restart`",
                    ));
                }
            }
        }
        units.push(Unit { id: id.clone(), dataset: record.dataset.clone(), files });
    }
    let mut datasets: BTreeMap<String, Vec<PlannedFile>> = BTreeMap::new();
    for planned in by_source.into_values() {
        datasets.entry(planned.file.dataset.clone()).or_default().push(planned);
    }
    for (dataset, mut files) in datasets {
        files.sort_by(|a, b| a.file.name.cmp(&b.file.name));
        let mut group: Vec<PlannedFile> = Vec::new();
        let mut size = 0;
        for planned in files {
            if !group.is_empty() && (size + planned.file.stamp.size > UNIT_BYTES || group.len() >= UNIT_FILES) {
                units.push(unit_of(&dataset, std::mem::take(&mut group)));
                size = 0;
            }
            size += planned.file.stamp.size;
            group.push(planned);
        }
        if !group.is_empty() {
            units.push(unit_of(&dataset, group));
        }
    }
    Ok(units)
}

/// Named after its first file and what that file looked like, so that a changed file makes a new unit.
fn unit_of(dataset: &str, files: Vec<PlannedFile>) -> Unit {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for planned in &files {
        hash.update(planned.source_id.as_bytes());
        hash.update(planned.file.stamp.size.to_le_bytes());
        hash.update(planned.file.stamp.modified_ns.to_le_bytes());
    }
    let id = data_encoding::HEXLOWER.encode(hash.finalize().get(..10).unwrap_or_default());
    Unit { id, dataset: dataset.to_owned(), files }
}
