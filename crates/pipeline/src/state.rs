//! What a pipeline has done: the base of resuming and of incremental runs. Sealed, like everything at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use chrono::NaiveDate;
use cordon_deid::policy::explain::why;
use cordon_deid::policy::file::Action;
use cordon_deid::tally::Tally;
use cordon_engine::tables::PartInfo;
use cordon_phi::Method;
use cordon_vault::Mark;
use serde::{Deserialize, Serialize};

use crate::source::Stamp;

/// All units that the pipeline's tables are made of.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Done {
    pub units: BTreeMap<String, UnitRecord>,
    /// Quarantined records that a replay has brought into the tables.
    pub replayed: Replayed,
    /// Where the vault stood when the last tokens of the tables were given out: another vault, or an older copy of it,
    /// would give known people second tokens.
    pub vault: Option<Mark>,
    /// Where the dossiers stood: an older copy would know less of people than their notes were scrubbed by.
    #[serde(default)]
    pub dossiers: Option<Mark>,
}

/// Fields that did not pass because the policy does not name them, by dataset.
pub type Undeclared = BTreeMap<String, BTreeSet<String>>;

/// A unit is what is read, written and journaled together: one large file, or a handful of small ones.
#[derive(Clone, Serialize, Deserialize)]
pub struct UnitRecord {
    /// Hash of the policy and ids of the keys it ran under: when they change, its files are read again.
    pub made_under: String,
    /// How many pairs of people had turned out to be one when it was made.
    #[serde(default)]
    pub merges: u64,
    /// The year at which ages were counted, where they were: a birth year that may show today may not in a later year.
    pub ages_of: Option<i32>,
    pub dataset: String,
    pub files: Vec<FileRecord>,
    pub parts: Vec<PartRecord>,
    /// Where something was put aside.
    pub quarantine: Option<QuarantineRef>,
    pub noticed: Noticed,
}

/// What did not pass, as a run tells it.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Noticed {
    pub undeclared: Undeclared,
    /// By dataset.
    pub left_out: BTreeMap<String, LeftOut>,
    /// What was found and what was done with it, by dataset.
    #[serde(default)]
    pub found: BTreeMap<String, Found>,
    /// Rows that were not written because they are past their retention, by table.
    #[serde(default)]
    pub expired: BTreeMap<String, u64>,
}

impl Noticed {
    pub fn add(&mut self, other: Self) {
        for (dataset, fields) in other.undeclared {
            self.undeclared.entry(dataset).or_default().extend(fields);
        }
        for (dataset, left_out) in other.left_out {
            self.left_out.entry(dataset).or_default().add(left_out);
        }
        for (dataset, found) in other.found {
            self.found.entry(dataset).or_default().add(found);
        }
        for (table, rows) in other.expired {
            *self.expired.entry(table).or_default() += rows;
        }
    }
}

/// What stood in the records of a dataset that a run read and wrote, and what was done with it: numbers, kinds and actions.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Found {
    pub formats: BTreeSet<String>,
    /// Rows, documents, messages or transaction sets: read, written, put aside, and left out as the policy wants it. Only what
    /// was written is counted below, and what was left out.
    pub records: Counts,
    /// Numbers of values by kind and by what was done, as [`cordon_deid::tally`] counts them.
    pub values: BTreeMap<String, BTreeMap<String, u64>>,
    /// Why the policy's method lets values of a kind stay, for the kinds of which some stayed.
    pub kept_because: BTreeMap<String, String>,
    /// Of those values, texts that were scrubbed.
    pub texts_scrubbed: u64,
    /// What was replaced within them, by kind.
    pub spans: BTreeMap<String, Spans>,
}

/// What became of values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub kept: u64,
    pub changed: u64,
    pub removed: u64,
    pub left_empty: u64,
    pub not_passed: u64,
}

/// How many stretches of text were replaced.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub struct Spans {
    /// Because the subject's records say what stood there.
    pub known: u64,
    /// Because the detector found them.
    pub detected: u64,
}

impl Found {
    pub fn of(tally: &Tally, method: Method) -> Self {
        let mut found = Self::default();
        for (kind, deed, count) in tally.values() {
            *found.values.entry(kind.to_owned()).or_default().entry(deed.to_owned()).or_default() += count;
            if deed == Action::Scrub.name() {
                found.texts_scrubbed += count;
            }
            if deed == Action::Keep.name()
                && let Ok(known) = kind.parse()
            {
                found.kept_because.insert(kind.to_owned(), why(method, known, Action::Keep).to_owned());
            }
        }
        for (kind, known, detected) in tally.spans() {
            found.spans.insert(kind.to_owned(), Spans { known, detected });
        }
        found
    }

    /// How many values became what: kept as they were, changed, removed by a rule, left empty by one, and not passed for want of one.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for (deed, count) in self.values.values().flatten() {
            *match deed.as_str() {
                "keep" => &mut totals.kept,
                "drop" | "blank" => &mut totals.removed,
                "left-empty" => &mut totals.left_empty,
                "not-passed" => &mut totals.not_passed,
                _ => &mut totals.changed,
            } += count;
        }
        totals
    }

    /// Adds what another part of the run found.
    pub fn add(&mut self, other: Self) {
        self.formats.extend(other.formats);
        self.records.add(other.records);
        for (kind, deeds) in other.values {
            let own = self.values.entry(kind).or_default();
            for (deed, count) in deeds {
                *own.entry(deed).or_default() += count;
            }
        }
        self.kept_because.extend(other.kept_because);
        self.texts_scrubbed += other.texts_scrubbed;
        for (kind, Spans { known, detected }) in other.spans {
            let own = self.spans.entry(kind).or_default();
            own.known += known;
            own.detected += detected;
        }
    }
}

/// What was left out of documents as the policy wants it, by path or resource type.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct LeftOut {
    /// Elements that the format does not define, that have another form than it gives them, or that no rule is for.
    pub elements: BTreeMap<String, u64>,
    /// Extensions, identifiers and addresses of definitions that the policy does not list.
    pub unlisted: BTreeMap<String, u64>,
    /// References that do not say what they point to, or point to what is left out.
    pub references: u64,
    /// Resources of types that the policy excludes.
    pub excluded: BTreeMap<String, u64>,
}

impl LeftOut {
    /// Adds what another part of the run left out.
    pub fn add(&mut self, other: Self) {
        for (all, more) in [
            (&mut self.elements, other.elements),
            (&mut self.unlisted, other.unlisted),
            (&mut self.excluded, other.excluded),
        ] {
            for (path, count) in more {
                *all.entry(path).or_insert(0) += count;
            }
        }
        self.references += other.references;
    }

    /// Whether nothing was left out.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty() && self.unlisted.is_empty() && self.excluded.is_empty() && self.references == 0
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub struct FileRecord {
    pub name: String,
    /// Keyed hash of the name: what manifests and the audit log carry.
    pub source_id: String,
    /// The hash of the name under which it was read, should it have been renamed since. Parts and quarantine keep that.
    pub read_as: String,
    pub stamp: Stamp,
    /// Of the content, any compression taken off.
    pub sha256: String,
    /// Of the format, the dialect and the table: what of the pipeline file the rows depend on.
    pub read_with: String,
    /// Why the file was refused as a whole; every run tries it again. Such a file stands in a unit of its own.
    pub refused: Option<String>,
    pub counts: Counts,
    /// The day, `YYYY-MM-DD`, on which its content was first committed; not while the run that read it goes on.
    #[serde(default)]
    pub since: Option<String>,
    /// All its rows are past their retention: it is not read again unless its content changes.
    #[serde(default)]
    pub retired: bool,
}

impl FileRecord {
    pub fn since(&self) -> Option<NaiveDate> {
        self.since.as_ref()?.parse().ok()
    }
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub struct Counts {
    pub rows_in: u64,
    pub rows_out: u64,
    pub quarantined: u64,
    /// FHIR resources of types that the policy excludes: in = out + quarantined + excluded.
    #[serde(default)]
    pub excluded: u64,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.rows_in += other.rows_in;
        self.rows_out += other.rows_out;
        self.quarantined += other.quarantined;
        self.excluded += other.excluded;
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub struct PartRecord {
    pub table: String,
    pub info: PartInfo,
    /// Which file its rows came from, in the order of the part: number of the unit's file, and rows.
    pub runs: Vec<(u32, u64)>,
}

impl PartRecord {
    /// The places of the rows whose file is wanted.
    pub fn places(&self, wanted: impl Fn(u32) -> bool) -> Vec<Range<u64>> {
        let mut places: Vec<Range<u64>> = Vec::new();
        let mut at = 0;
        for (file, rows) in &self.runs {
            if wanted(*file) {
                match places.last_mut().filter(|last| last.end == at) {
                    Some(last) => last.end += rows,
                    None => places.push(at..at + rows),
                }
            }
            at += rows;
        }
        places
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub struct QuarantineRef {
    pub file: String,
    /// Entries in the file, also those of files that are no longer the unit's.
    pub entries: u64,
    /// The day, `YYYY-MM-DD`, on which they were put aside; not while the run that does goes on.
    #[serde(default)]
    pub since: Option<String>,
}

impl UnitRecord {
    /// Whether rows of the unit went to the table.
    pub fn made_of(&self, table: &str) -> bool {
        self.parts.iter().any(|part| part.table == table)
    }

    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.files.iter().for_each(|file| sum.add(file.counts));
        sum
    }

    /// It only says why its file was refused.
    pub fn is_refusal(&self) -> bool {
        self.files.iter().all(|file| file.refused.is_some())
    }
}

/// Numbers of quarantined records, by the file that holds them: ranges, since most replays take all of a file.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Replayed(BTreeMap<String, Vec<Range<u64>>>);

impl Replayed {
    pub fn contains(&self, file: &str, number: u64) -> bool {
        self.0.get(file).is_some_and(|ranges| {
            let at = ranges.partition_point(|range| range.end <= number);
            ranges.get(at).is_some_and(|range| range.contains(&number))
        })
    }

    pub fn insert(&mut self, file: &str, number: u64) {
        let ranges = self.0.entry(file.to_owned()).or_default();
        let at = ranges.partition_point(|range| range.end < number);
        match ranges.get_mut(at) {
            Some(range) if range.contains(&number) => {}
            Some(range) if range.end == number => {
                range.end += 1;
                let end = range.end;
                if ranges.get(at + 1).is_some_and(|next| next.start == end) {
                    let next = ranges.remove(at + 1);
                    if let Some(range) = ranges.get_mut(at) {
                        range.end = next.end;
                    }
                }
            }
            Some(range) if range.start == number + 1 => range.start = number,
            _ => ranges.insert(at, number..number + 1),
        }
    }

    pub fn forget(&mut self, file: &str) {
        self.0.remove(file);
    }
}

/// An entry of the journal of a run that has not finished.
#[derive(Serialize, Deserialize)]
pub enum JournalEntry {
    /// The run's identity: a resumed run carries on only under the same.
    Started { run: String, made_under: String, reference_date: String },
    /// The unit's parts are durable in staging, its tokens in the vault, its rejects in quarantine.
    Unit { id: String, records: Vec<(String, UnitRecord)> },
    /// Everything is ready and was checked: from here the commit is only carried out, as often as it takes.
    Prepared(Box<Prepared>),
}

/// All that a commit needs. Nothing else is asked for when it is carried out: by then the policy may have been edited.
#[derive(Clone, Serialize, Deserialize)]
pub struct Prepared {
    pub run: String,
    pub policy: MadeUnder,
    pub done: Done,
    /// For each table: parts to add and to take out.
    pub tables: BTreeMap<String, Change>,
    /// Nothing of what the tables held before stays.
    pub replace: bool,
    /// The units that this run made, for its report.
    pub fresh: Vec<String>,
    /// Files that did not have to be read.
    pub unchanged: u64,
    /// The rows come from quarantine.
    pub is_replay: bool,
    /// Rows go because they are past their retention, unless a hold has come meanwhile.
    #[serde(default)]
    pub is_retention: bool,
}

/// How the rows were made, for manifest and audit log.
#[derive(Clone, Serialize, Deserialize)]
pub struct MadeUnder {
    pub name: String,
    pub sha256: String,
    pub method: String,
    #[serde(default)]
    pub recipient: Option<String>,
    pub reference_date: String,
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Change {
    /// The table's columns, as [`cordon_engine::tables::encode_schema`] writes them.
    pub schema: String,
    pub add: Vec<PartInfo>,
    /// Files of parts.
    pub remove: Vec<String>,
    /// Where the rows that stay were made under something else than what the commit names.
    #[serde(default)]
    pub policy: Option<MadeUnder>,
}

impl Done {
    /// What is committed now and was not before is of this day.
    pub(crate) fn settle(&mut self, day: NaiveDate) {
        let day = day.to_string();
        for unit in self.units.values_mut() {
            for file in &mut unit.files {
                file.since.get_or_insert_with(|| day.clone());
            }
            if let Some(held) = &mut unit.quarantine {
                held.since.get_or_insert_with(|| day.clone());
            }
        }
    }

    /// From when content is that was committed before, by file and digest; of what came more than once, the last time.
    pub(crate) fn known_since(&self) -> BTreeMap<(String, String), String> {
        let mut known: BTreeMap<(String, String), String> = BTreeMap::new();
        for file in self.units.values().flat_map(|unit| &unit.files) {
            if let Some(since) = &file.since {
                let known = known.entry((file.source_id.clone(), file.sha256.clone())).or_default();
                // Days are written so that they sort.
                if since > known {
                    known.clone_from(since);
                }
            }
        }
        known
    }

    /// The quarantine files that something still refers to.
    pub fn quarantine_files(&self) -> BTreeSet<&str> {
        self.units.values().filter_map(|unit| unit.quarantine.as_ref()).map(|held| held.file.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn replayed_numbers_are_kept_as_ranges_in_any_order() {
        let mut replayed = Replayed::default();
        for number in [5, 1, 2, 9, 4, 3, 3, 8, 12] {
            replayed.insert("f", number);
        }
        assert_eq!(replayed.0.get("f").unwrap(), &[1..6, 8..10, 12..13]);
        for number in 0..15 {
            assert_eq!(replayed.contains("f", number), [1, 2, 3, 4, 5, 8, 9, 12].contains(&number), "{number}");
        }
        assert!(!replayed.contains("g", 1));
    }
}
