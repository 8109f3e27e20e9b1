//! Quarantined records, listed and processed again.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::Utc;
use cordon_deid::policy::check::CompileOptions;
use serde::Serialize;

use crate::error::RunError;
use crate::people::Marks;
use crate::plan::{Basis, Content, PlannedFile, ReplayInput, ReplayRecord, Unit};
use crate::progress::{Meter, Progress};
use crate::project::{OpenProject, Pipeline};
use crate::quarantine::{self, Origin, Quarantined};
use crate::recipient;
use crate::retention::Keeping;
use crate::run::{
    Context, OpenJournal, RunReport, as_replay_problem, finish, made_under, new_run_id, record_failure, sources,
    started, with_schemas,
};
use crate::sealed::read_sealed;
use crate::source::SourceFile;
use crate::state::{Change, Done, FileRecord, Prepared, QuarantineRef, UnitRecord};
use crate::unit;

/// One line of `cordon quarantine list`: where and why, never the record.
#[derive(Serialize)]
pub struct Line {
    pub id: String,
    pub pipeline: String,
    pub dataset: String,
    pub file: String,
    /// Zero for a file as a whole.
    pub line: u64,
    pub field: Option<String>,
    pub reason: String,
}

/// Everything in quarantine that has not been replayed, in the order of files and lines.
pub fn listing(project: &OpenProject) -> Result<Vec<Line>, RunError> {
    let mut lines = Vec::new();
    each(project, |pipeline, record| {
        lines.push(Line {
            id: record.id,
            pipeline: pipeline.to_owned(),
            dataset: record.origin.dataset,
            file: record.origin.file,
            line: record.entry.line,
            field: record.entry.field,
            reason: record.entry.reason,
        });
        Ok(())
    })?;
    // Workers put records aside as they come to them.
    lines.sort_by(|a, b| (&a.pipeline, &a.dataset, &a.file, a.line).cmp(&(&b.pipeline, &b.dataset, &b.file, b.line)));
    Ok(lines)
}

/// One record by its id.
pub fn find(project: &OpenProject, id: &str) -> Result<Option<Quarantined>, RunError> {
    let mut found = None;
    each(project, |_, record| {
        if record.id == id {
            found = Some(record);
        }
        Ok(())
    })?;
    Ok(found)
}

fn each(
    project: &OpenProject,
    mut visit: impl FnMut(&str, Quarantined) -> Result<(), RunError>,
) -> Result<(), RunError> {
    for pipeline in project.project.names_in("pipelines") {
        let done: Done = read_sealed(&project.state_file(&pipeline), &project.seal_key()?)?.unwrap_or_default();
        for (id, unit) in &done.units {
            for file in &unit.files {
                if let Some(reason) = &file.refused {
                    let origin = Origin::of_file(&unit.dataset, &file.name, &file.source_id);
                    visit(&pipeline, Quarantined::of_file(format!("file-{id}"), origin, reason.clone()))?;
                }
            }
            if let Some(held) = &unit.quarantine {
                let folder = project.quarantine_folder(&pipeline);
                quarantine::read(&folder, held, &project.seal_key()?, |record| {
                    if is_waiting(&done, unit, held, &record) { visit(&pipeline, record) } else { Ok(()) }
                })?;
            }
        }
    }
    Ok(())
}

/// Neither replayed nor of a file that was read again since.
pub(crate) fn is_waiting(done: &Done, unit: &UnitRecord, held: &QuarantineRef, record: &Quarantined) -> bool {
    !done.replayed.contains(&held.file, record.number)
        && unit.files.iter().any(|file| file.read_as == record.origin.source_id)
}

/// Processes the quarantined records of a pipeline again, under its policy as it is now.
///
/// Records that pass join the tables; the others stay in quarantine with their new reason, and those of a file that
/// the policy refuses as a whole with their old one. Files that were refused are not replayed: each run reads them again.
pub fn replay(
    project: &OpenProject,
    pipeline: &Pipeline,
    dataset: Option<&str>,
    meter: &Meter,
    tell: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<RunReport, RunError> {
    let mut begun = None;
    let outcome = replay_to_end(project, pipeline, dataset, meter, tell, &mut begun)
        .map_err(|error| as_replay_problem(error, pipeline));
    if let Err(error) = &outcome {
        record_failure(project, pipeline, begun, error);
    }
    outcome
}

/// So many bytes of records are taken out of quarantine at once, for each dataset.
const AT_ONCE: usize = 16 << 20;
/// What a record costs beside its bytes.
const RECORD_COST: usize = 64;

fn replay_to_end(
    project: &OpenProject,
    pipeline: &Pipeline,
    dataset: Option<&str>,
    meter: &Meter,
    tell: &(dyn Fn(Progress<'_>) + Sync),
    begun: &mut Option<String>,
) -> Result<RunReport, RunError> {
    let clock = std::time::Instant::now();
    let _lock = project.lock_pipeline(&pipeline.name)?;
    let mut journal = OpenJournal::open(project, &pipeline.name)?;
    if !journal.is_empty() {
        return Err(RunError::usage(
            format!("a run of `{}` was interrupted", pipeline.name),
            format!("finish it first:  cordon run {}", pipeline.name),
        ));
    }
    project.need_vault()?;
    let recipe = pipeline.compile(CompileOptions::on(Utc::now().date_naive()))?;
    let done: Done = read_sealed(&project.state_file(&pipeline.name), &project.seal_key()?)?.unwrap_or_default();
    recipient::own_tables(project, pipeline, &recipe)?;
    let keeping = Keeping::now(project)?;
    let context =
        Context::new(project, pipeline, &recipe, new_run_id(), meter, tell, Marks::of(&done)).keeping(keeping);
    // Records that join people now are written with what was known before; the next run makes all of them again.
    let merges = context.people()?.vault.merges()?;
    let basis = Basis::new(project.made_under(pipeline, &recipe), merges, &recipe);

    let mut replay =
        Replay { context: &context, basis: &basis, next: done.clone(), fresh: Vec::new(), refused: Vec::new() };
    let mut waiting: BTreeMap<String, Pending> = BTreeMap::new();
    for unit in done.units.values() {
        let Some(held) = &unit.quarantine else { continue };
        if dataset.is_some_and(|dataset| dataset != unit.dataset) {
            continue;
        }
        quarantine::read(&project.quarantine_folder(&pipeline.name), held, &project.seal_key()?, |record| {
            // What was cut is not the whole record any more.
            if record.entry.cut || !is_waiting(&done, unit, held, &record) {
                return Ok(());
            }
            let Some(known) = unit.files.iter().find(|file| file.read_as == record.origin.source_id) else {
                return Ok(());
            };
            if begun.is_none() {
                let named = done.units.values().flat_map(|unit| &unit.files).map(|file| file.source_id.as_str());
                let event = started(project, pipeline, &recipe, &context.run, sources(project, named));
                project.audit(&event)?;
                *begun = Some(context.run.clone());
            }
            let pending = waiting.entry(unit.dataset.clone()).or_default();
            pending.add(known, held, record);
            if pending.bytes >= AT_ONCE {
                replay.process(&unit.dataset, std::mem::take(pending))?;
            }
            Ok(())
        })?;
    }
    for (dataset, pending) in waiting {
        replay.process(&dataset, pending)?;
    }
    let Replay { mut next, fresh, refused, .. } = replay;
    if begun.is_none() {
        return Ok(RunReport::new(&pipeline.name, &context.run, &recipe.name));
    }
    let mut tables: BTreeMap<String, Change> = BTreeMap::new();
    for part in fresh.iter().filter_map(|id| next.units.get(id)).flat_map(|unit| &unit.parts) {
        tables.entry(part.table.clone()).or_default().add.push(part.info.clone());
    }
    let marks = context.marks()?;
    (next.vault, next.dossiers) = (marks.vault, marks.dossiers);
    let prepared = Prepared {
        run: context.run.clone(),
        policy: made_under(pipeline, &recipe),
        done: next,
        tables: with_schemas(&context, tables)?,
        replace: false,
        fresh,
        unchanged: 0,
        is_replay: true,
        is_retention: false,
    };
    journal.restart(&context.run, &basis.key(), recipe.reference_date)?;
    let finished = finish(&context, &mut journal, prepared);
    if finished.is_err() && !journal.is_decided()? {
        // Nothing was decided: there is nothing to carry on.
        journal.clear()?;
    }
    let mut report = finished?;
    report.files_refused.extend(refused);
    context.clear_staging();
    report.seconds = clock.elapsed().as_secs_f64();
    Ok(report)
}

/// Records of one dataset on their way back.
#[derive(Default)]
struct Pending {
    files: BTreeMap<(String, Vec<String>), Waiting>,
    bytes: usize,
}

struct Waiting {
    origin: Origin,
    known: FileRecord,
    records: Vec<ReplayRecord>,
    /// Quarantine file and number of each.
    taken: Vec<(Arc<str>, u64)>,
}

impl Pending {
    fn add(&mut self, known: &FileRecord, held: &QuarantineRef, record: Quarantined) {
        let key = (known.source_id.clone(), record.origin.header.clone());
        let waiting = self.files.entry(key).or_insert_with(|| Waiting {
            origin: record.origin.clone(),
            known: known.clone(),
            records: Vec::new(),
            taken: Vec::new(),
        });
        let name = match waiting.taken.last() {
            Some((last, _)) if **last == *held.file => Arc::clone(last),
            _ => Arc::from(held.file.as_str()),
        };
        waiting.taken.push((name, record.number));
        let line = record.entry.line;
        let raw = record.into_raw();
        self.bytes += raw.len() + RECORD_COST;
        waiting.records.push(ReplayRecord { line, raw });
    }
}

struct Replay<'a, 'b> {
    context: &'a Context<'b>,
    basis: &'a Basis,
    next: Done,
    fresh: Vec<String>,
    refused: Vec<(String, String)>,
}

impl Replay<'_, '_> {
    fn process(&mut self, dataset: &str, pending: Pending) -> Result<(), RunError> {
        let mut known = Vec::new();
        let mut taken = Vec::new();
        let mut files = Vec::new();
        for waiting in pending.files.into_values() {
            files.push(PlannedFile {
                file: SourceFile {
                    dataset: dataset.to_owned(),
                    format: waiting.origin.format,
                    csv: Arc::new(waiting.origin.csv),
                    notes: Arc::new(waiting.origin.notes),
                    keys: Arc::default(),
                    path: waiting.known.name.clone().into(),
                    object: None,
                    name: waiting.known.name.clone(),
                    key: Vec::new(),
                    stamp: waiting.known.stamp,
                },
                source_id: waiting.known.source_id.clone(),
                read_with: waiting.known.read_with.clone(),
                since: None,
                content: Content::Quarantine(Arc::new(ReplayInput {
                    header: waiting.origin.header,
                    records: waiting.records,
                })),
            });
            known.push(waiting.known);
            taken.push(waiting.taken);
        }
        let id = format!("replay{}", self.fresh.len());
        let unit = Unit { id: id.clone(), dataset: dataset.to_owned(), files };
        if !self.context.pipeline.identities().is_empty() {
            unit::learn(self.context, &unit)?;
            self.context.people()?.sync()?;
        }
        let processed = unit::process(self.context, &unit, self.basis)?;
        for (_, record) in processed.records {
            if record.is_refusal() {
                // Its records stay where they are, with the reasons they had.
                self.refused.extend(record.files.into_iter().map(|file| (file.name, file.refused.unwrap_or_default())));
                continue;
            }
            // The rows belong to the files they came from: when one changes, they are made again with it.
            let mut record = record;
            for file in &mut record.files {
                if let Some(known) = known.iter().find(|known| known.source_id == file.source_id) {
                    file.sha256.clone_from(&known.sha256);
                }
            }
            let id = format!("{}-{id}", self.context.run);
            self.fresh.push(id.clone());
            self.next.units.insert(id, record);
        }
        let passed = (0..).zip(taken).filter(|(index, _)| !processed.refused.contains(index));
        for (file, number) in passed.flat_map(|(_, taken)| taken) {
            self.next.replayed.insert(&file, number);
        }
        Ok(())
    }
}
