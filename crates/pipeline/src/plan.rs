//! What a run has to do: which files are new or changed, and how they are grouped into units.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use chrono::{Datelike, NaiveDate};
use cordon_audit::Sources;
use cordon_crypto::KeyedHash;
use cordon_deid::kernel::Kernel;
use cordon_deid::recipe::Recipe;

use crate::config::Format;
use crate::error::RunError;
use crate::project::{OpenProject, Pipeline};
use crate::run;
use crate::source::{self, SourceFile};
use crate::state::{Done, FileRecord, UnitRecord};

/// A unit is read, written and journaled together.
pub struct Unit {
    pub id: String,
    pub dataset: String,
    pub files: Vec<PlannedFile>,
}

impl Unit {
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|planned| planned.file.stamp.size).sum()
    }
}

#[derive(Clone)]
pub struct PlannedFile {
    pub file: SourceFile,
    /// Keyed hash of the file's name: names of files can name patients.
    pub source_id: String,
    /// Of what the rows depend on in the pipeline file.
    pub read_with: String,
    /// The day on which its content was first committed, where that is as it was.
    pub since: Option<NaiveDate>,
    pub content: Content,
}

/// Where a file's content comes from.
#[derive(Clone)]
pub enum Content {
    /// The file itself, of the source of this number in the pipeline.
    File(usize),
    Quarantine(Arc<ReplayInput>),
}

/// Quarantined records of one file. Each is read by itself: put in a row, one could swallow the next.
pub struct ReplayInput {
    /// The file's columns, for formats that have them.
    pub header: Vec<String>,
    pub records: Vec<ReplayRecord>,
}

pub struct ReplayRecord {
    /// Its place in the file it came from.
    pub line: u64,
    pub raw: Vec<u8>,
}

/// Small files share a unit up to this size, so that a folder of many does not make many tiny parts.
const UNIT_BYTES: u64 = 64 << 20;
/// And up to this count.
const UNIT_FILES: usize = 500;
/// And of notes, each of which is one row.
const UNIT_NOTES: usize = 8192;

/// What rows depend on besides their file: a unit made under anything else is made again.
pub(crate) struct Basis {
    /// The policy, the keys, and what means a person.
    pub made_under: String,
    /// How many pairs of people have turned out to be one: tokens from before stand for nobody now.
    pub merges: u64,
    year: i32,
    age_bound: BTreeSet<String>,
}

impl Basis {
    pub fn new(made_under: String, merges: u64, recipe: &Recipe) -> Self {
        let by_age = |kernel: &Kernel| match kernel {
            Kernel::Year(rule) => rule.cap.is_some(),
            Kernel::AgeFromBirth(_) => true,
            _ => false,
        };
        let tables = recipe
            .tables
            .iter()
            .filter(|(_, table)| table.rules.iter().filter_map(|rule| rule.kernel.as_ref()).any(by_age));
        // Resources hold birth dates wherever they like.
        let age_bound = tables.map(|(name, _)| name).chain(recipe.documents.keys()).cloned().collect();
        Self { made_under, merges, year: recipe.ages_capped_at.max(recipe.reference_date).year(), age_bound }
    }

    /// What an interrupted run must have in common with this one to be carried on.
    pub fn key(&self) -> String {
        format!("{}+{}", self.made_under, self.merges)
    }

    /// The year that a unit of the dataset is bound to.
    pub fn ages_of(&self, dataset: &str) -> Option<i32> {
        self.age_bound.contains(dataset).then_some(self.year)
    }

    /// Whether rows hold tokens from before some people turned out to be one. They are made again where their files are there, and else
    /// stay: they show nothing that they should not.
    fn unjoins(&self, unit: &UnitRecord) -> bool {
        unit.merges != self.merges
    }

    /// Why the unit's rows may not stay as they are.
    fn outdates(&self, unit: &UnitRecord) -> Option<&'static str> {
        if unit.made_under != self.made_under {
            return Some("the policy, a key or the recipient changed");
        }
        // Whose birth year could show then may be over 89 by now, 164.514(b)(2)(i)(C).
        unit.ages_of.is_some_and(|year| year < self.year).then_some("ages are counted at a later year")
    }
}

pub struct Plan {
    pub units: Vec<Unit>,
    /// What was done before, renamed files under their new names.
    pub done: Done,
    pub unchanged: usize,
    /// Files that are gone while their rows hold tokens from before people turned out to be one.
    pub unjoined: usize,
    /// The files that are there.
    pub present: BTreeSet<String>,
}

/// The files of all sources as they were when the run began, by their ids. What comes later is for the next run: it must not be
/// written before it was read for who its people are.
#[derive(Clone)]
pub(crate) struct Listing(BTreeMap<String, PlannedFile>);

impl Listing {
    pub fn take(project: &OpenProject, pipeline: &Pipeline) -> Result<Self, RunError> {
        let names = project.source_ids()?;
        let mut present = BTreeMap::new();
        for (number, section) in pipeline.file.sources.iter().enumerate() {
            let keys = Arc::new(project.project.source_keys(&project.ring, section.encryption.as_ref())?);
            for file in source::list(&project.root, &project.project.stores, &pipeline.path, section, &keys)? {
                let source_id = source_id(&names, &file.dataset, &file.key);
                let read_with = read_with(pipeline, &file);
                present.entry(source_id.clone()).or_insert(PlannedFile {
                    file,
                    source_id,
                    read_with,
                    since: None,
                    content: Content::File(number),
                });
            }
        }
        Ok(Self(present))
    }
}

impl Plan {
    pub(crate) fn make(
        Listing(present): Listing,
        mut done: Done,
        basis: &Basis,
        journaled: &BTreeMap<String, Vec<(String, UnitRecord)>>,
    ) -> Result<Self, RunError> {
        follow_renames(&mut done, &present);
        // A file that was refused and is gone has nothing to say any more.
        done.units.retain(|_, unit| {
            !unit.is_refusal() || unit.files.iter().any(|file| present.contains_key(&file.source_id))
        });
        let mut stale = BTreeSet::new();
        let mut unchanged_since: BTreeMap<String, Option<NaiveDate>> = BTreeMap::new();
        let mut unjoined = 0;
        let mut known = BTreeSet::new();
        for unit in done.units.values() {
            let outdated = basis.outdates(unit);
            for file in &unit.files {
                known.insert(file.source_id.clone());
                match (present.get(&file.source_id), outdated) {
                    (Some(now), None) if file.refused.is_none() && !basis.unjoins(unit) && !has_changed(file, now)? => {
                    }
                    // Its rows would only come to go again.
                    (Some(now), _) if file.retired && !has_changed(file, now)? => {}
                    (None, _) if file.retired => {}
                    (Some(now), _) => {
                        if file.refused.is_none() && !has_changed(file, now)? {
                            let since = unchanged_since.entry(file.source_id.clone()).or_default();
                            *since = file.since().max(*since);
                        }
                        stale.insert(file.source_id.clone());
                    }
                    // Its rows stay as they are: nothing asks for making them again.
                    (None, None) => unjoined += usize::from(basis.unjoins(unit) && file.refused.is_none()),
                    (None, Some(why)) => {
                        return Err(RunError::usage(
                            format!("`{}` is gone, and its rows must be made again because {why}", file.name),
                            "put the file back, or remove the table and the pipeline's state to start afresh",
                        ));
                    }
                }
            }
        }
        let unchanged = known.iter().filter(|id| present.contains_key(*id) && !stale.contains(*id)).count();
        let here = present.keys().cloned().collect();
        let open: Vec<PlannedFile> = present
            .into_values()
            .filter(|planned| !known.contains(&planned.source_id) || stale.contains(&planned.source_id))
            .map(|planned| PlannedFile { since: unchanged_since.get(&planned.source_id).copied().flatten(), ..planned })
            .collect();
        Ok(Self { units: group(open, journaled)?, done, unchanged, unjoined, present: here })
    }

    /// What is going to be read, as the record tells it.
    pub(crate) fn sources(&self, project: &OpenProject) -> Sources {
        let files = self.units.iter().flat_map(|unit| &unit.files);
        run::sources(project, files.map(|file| file.source_id.as_str()))
    }

    pub fn bytes(&self) -> u64 {
        self.units.iter().map(Unit::bytes).sum()
    }
}

impl Done {
    /// Takes out what the fresh units replace, and tells what of each unit that loses files stays.
    pub(crate) fn replaced_by(&self, fresh: &BTreeMap<String, UnitRecord>, basis: &Basis) -> Replaced {
        let files = || fresh.values().flat_map(|unit| &unit.files);
        let refused: BTreeSet<&str> =
            files().filter(|file| file.refused.is_some()).map(|file| file.source_id.as_str()).collect();
        let made: BTreeSet<&str> =
            files().filter(|file| file.refused.is_none()).map(|file| file.source_id.as_str()).collect();
        let mut replaced = Replaced::default();
        for (id, unit) in &self.units {
            let leaves = |file: &FileRecord| {
                let source = file.source_id.as_str();
                // Good rows do not go for a file that cannot be read, unless they may not stay as they are.
                let withdrawn = refused.contains(source) && (unit.is_refusal() || basis.outdates(unit).is_some());
                made.contains(source) || withdrawn
            };
            let leaving: BTreeSet<u32> =
                (0..).zip(&unit.files).filter(|(_, file)| leaves(file)).map(|(n, _)| n).collect();
            if leaving.len() == unit.files.len() {
                replaced.whole.insert(id.clone());
            } else if !leaving.is_empty() {
                replaced.partly.insert(id.clone(), leaving);
            }
        }
        replaced
    }
}

/// Units that fresh ones replace.
#[derive(Default)]
pub(crate) struct Replaced {
    pub whole: BTreeSet<String>,
    /// With the numbers of the files that leave.
    pub partly: BTreeMap<String, BTreeSet<u32>>,
}

/// The name by which manifests and the audit log know a file.
pub(crate) fn source_id(names: &KeyedHash, dataset: &str, key: &[u8]) -> String {
    let tag = names.tag_parts(&[dataset.as_bytes(), key]);
    data_encoding::HEXLOWER.encode(tag.get(..16).unwrap_or_default())
}

fn read_with(pipeline: &Pipeline, file: &SourceFile) -> String {
    use sha2::{Digest, Sha256};
    let table = pipeline.table(&file.dataset);
    let text = match file.format {
        Format::Notes => serde_json::to_vec(&(file.format, &*file.notes, table)),
        _ => serde_json::to_vec(&(file.format, &*file.csv, table)),
    };
    let text = text.unwrap_or_default();
    data_encoding::HEXLOWER.encode(Sha256::digest(text).get(..16).unwrap_or_default())
}

/// Size and time tell in most cases; the content decides.
fn has_changed(before: &FileRecord, now: &PlannedFile) -> Result<bool, RunError> {
    if before.read_with != now.read_with {
        return Ok(true);
    }
    if before.stamp == now.file.stamp {
        return Ok(false);
    }
    Ok(before.stamp.size != now.file.stamp.size
        || source::hash_file(&now.file)?.is_none_or(|hash| hash != before.sha256))
}

/// A file that came under a new name, or compressed, is the one that is gone: its rows must not come twice.
fn follow_renames(done: &mut Done, present: &BTreeMap<String, PlannedFile>) {
    let mut known = BTreeSet::new();
    let mut gone: BTreeMap<(String, String), Vec<FileRecord>> = BTreeMap::new();
    for unit in done.units.values() {
        for file in &unit.files {
            if known.insert(file.source_id.clone()) && !present.contains_key(&file.source_id) && file.refused.is_none()
            {
                gone.entry((unit.dataset.clone(), file.sha256.clone())).or_default().push(file.clone());
            }
        }
    }
    if gone.is_empty() {
        return;
    }
    let mut moved: BTreeMap<String, &PlannedFile> = BTreeMap::new();
    for planned in present.values().filter(|planned| !known.contains(&planned.source_id)) {
        let like = |file: &&FileRecord| {
            file.stamp.size == planned.file.stamp.size
                || source::uncompressed(&file.name) == source::uncompressed(&planned.file.name)
        };
        // Only what could be the same is read for its hash.
        if !gone.values().flatten().any(|file| like(&file)) {
            continue;
        }
        // A file that cannot be read is refused later, with its reason.
        let Ok(Some(hash)) = source::hash_file(&planned.file) else { continue };
        let Some(same) = gone.get_mut(&(planned.file.dataset.clone(), hash)) else { continue };
        if let Some(at) = same.iter().rposition(|file| is_named_alike(file, planned)) {
            let file = same.swap_remove(at);
            moved.insert(file.source_id, planned);
        }
    }
    for file in done.units.values_mut().flat_map(|unit| &mut unit.files) {
        if let Some(planned) = moved.get(&file.source_id) {
            file.name.clone_from(&planned.file.name);
            file.source_id.clone_from(&planned.source_id);
            file.stamp = planned.file.stamp;
        }
    }
}

/// Of a note its own name is data, as its text is: two of one text may be of two persons.
fn is_named_alike(before: &FileRecord, now: &PlannedFile) -> bool {
    let own = |name| source::uncompressed(Path::new(name).file_name().and_then(|own| own.to_str()).unwrap_or(name));
    now.file.format != Format::Notes || own(&before.name) == own(&now.file.name)
}

/// Groups files by dataset. Units that an interrupted run had finished stay as they were grouped.
fn group(
    open: Vec<PlannedFile>,
    journaled: &BTreeMap<String, Vec<(String, UnitRecord)>>,
) -> Result<Vec<Unit>, RunError> {
    let mut by_source: BTreeMap<String, PlannedFile> =
        open.into_iter().map(|planned| (planned.source_id.clone(), planned)).collect();
    let mut units = Vec::new();
    for (id, records) in journaled {
        let mut files = Vec::new();
        let mut dataset = String::new();
        for (_, record) in records {
            dataset.clone_from(&record.dataset);
            for file in &record.files {
                match by_source.remove(&file.source_id) {
                    Some(planned) if !has_changed(file, &planned)? => files.push(planned),
                    _ => {
                        return Err(RunError::usage(
                            format!("`{}` changed while the run that read it was interrupted", file.name),
                            "start the run afresh with `--restart`",
                        ));
                    }
                }
            }
        }
        units.push(Unit { id: id.clone(), dataset, files });
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
            let most = if planned.file.format == Format::Notes { UNIT_NOTES } else { UNIT_FILES };
            if !group.is_empty() && (size + planned.file.stamp.size > UNIT_BYTES || group.len() >= most) {
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

/// Named after its files and what they looked like, so that a changed file makes a new unit.
fn unit_of(dataset: &str, files: Vec<PlannedFile>) -> Unit {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for planned in &files {
        hash.update(planned.source_id.as_bytes());
        hash.update(planned.read_with.as_bytes());
        hash.update(planned.file.stamp.size.to_le_bytes());
        hash.update(planned.file.stamp.modified_ns.to_le_bytes());
        hash.update(planned.file.stamp.version.to_le_bytes());
    }
    let id = data_encoding::HEXLOWER.encode(hash.finalize().get(..10).unwrap_or_default());
    Unit { id, dataset: dataset.to_owned(), files }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chrono::NaiveDate;
    use cordon_deid::policy::check::{CompileOptions, compile};

    use super::*;
    use crate::source::Stamp;
    use crate::state::{Counts, Noticed};

    const POLICY: &str = "
policy: test
method: safe-harbor
datasets:
  people:
    fields:
      born: { kind: birth-date }
  visits:
    fields:
      day: { kind: service-date }
  costs:
    fields:
      amount: { kind: financial }
";

    fn basis(policy: &str, year: i32) -> Basis {
        let run_date = NaiveDate::from_ymd_opt(year, 6, 1).unwrap();
        let recipe = compile(policy, Path::new("test.yaml"), CompileOptions::on(run_date)).unwrap();
        Basis::new("policy and keys".to_owned(), 0, &recipe)
    }

    fn unit(basis: &Basis, dataset: &str, names: &[&str], refused: bool) -> UnitRecord {
        let file = |name: &&str| FileRecord {
            name: (*name).to_owned(),
            source_id: (*name).to_owned(),
            read_as: (*name).to_owned(),
            stamp: Stamp { size: 1, modified_ns: 1, version: 0 },
            sha256: String::new(),
            read_with: String::new(),
            refused: refused.then(|| "broken".to_owned()),
            counts: Counts::default(),
            since: None,
            retired: false,
        };
        UnitRecord {
            made_under: basis.made_under.clone(),
            merges: basis.merges,
            ages_of: basis.ages_of(dataset),
            dataset: dataset.to_owned(),
            files: names.iter().map(file).collect(),
            parts: Vec::new(),
            quarantine: None,
            noticed: Noticed::default(),
        }
    }

    #[test]
    fn a_birth_year_that_could_show_is_looked_at_again_in_a_later_year() {
        let then = basis(POLICY, 2026);
        let (people, visits) = (unit(&then, "people", &["p"], false), unit(&then, "visits", &["v"], false));
        let costs = unit(&then, "costs", &["c"], false);
        assert!(basis(POLICY, 2026).outdates(&people).is_none());
        assert!(basis(POLICY, 2027).outdates(&people).is_some());
        assert!(basis(POLICY, 2027).outdates(&visits).is_some(), "an old year of service shows an age too");
        assert!(basis(POLICY, 2027).outdates(&costs).is_none(), "no year stands in it");
        let fixed = POLICY.replace("datasets:", "reference-date: 2026-01-01\ndatasets:");
        let people = unit(&basis(&fixed, 2026), "people", &["p"], false);
        assert!(basis(&fixed, 2030).outdates(&people).is_some(), "nobody may show as over 89 on the day of the run");
    }

    #[test]
    fn good_rows_stay_beside_a_refusal_unless_they_may_not() {
        let now = basis(POLICY, 2026);
        let old = Basis { made_under: "another policy".to_owned(), ..basis(POLICY, 2026) };
        let mut done = Done::default();
        done.units.insert("kept".to_owned(), unit(&now, "visits", &["a", "b"], false));
        done.units.insert("refused before".to_owned(), unit(&now, "visits", &["a"], true));
        done.units.insert("outdated".to_owned(), unit(&old, "visits", &["a", "c"], false));
        done.units.insert("other".to_owned(), unit(&now, "visits", &["z"], false));
        let fresh = BTreeMap::from([
            ("1".to_owned(), unit(&now, "visits", &["a"], true)),
            ("2".to_owned(), unit(&now, "visits", &["c"], false)),
        ]);
        let replaced = done.replaced_by(&fresh, &now);
        assert_eq!(replaced.whole, BTreeSet::from(["outdated".to_owned(), "refused before".to_owned()]));
        assert!(replaced.partly.is_empty());
        let fresh = BTreeMap::from([("1".to_owned(), unit(&now, "visits", &["a"], false))]);
        let replaced = done.replaced_by(&fresh, &now);
        assert_eq!(replaced.partly.get("kept"), Some(&BTreeSet::from([0])));
    }
}
