//! Quarantined records, listed and processed again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use chrono::Utc;
use cordon_audit::Event;
use cordon_deid::policy::check::CompileOptions;
use serde::Serialize;

use crate::config::Format;
use crate::error::RunError;
use crate::plan::{PlannedFile, ReplayInput, Unit};
use crate::progress::{Meter, Progress};
use crate::project::{OpenProject, Pipeline};
use crate::quarantine::{self, Origin, Quarantined};
use crate::run::{Context, OpenJournal, RunReport, carry_out, new_run_id};
use crate::sealed::read_sealed;
use crate::source::{SourceFile, Stamp};
use crate::state::{Change, Done, FileRecord, JournalEntry, Prepared};
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

/// Everything in quarantine that has not been replayed.
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
        for file in done.quarantine_files() {
            quarantine::read(&project.quarantine_folder().join(file), &project.seal_key()?, |record| {
                if done.replayed.contains(&record.id) { Ok(()) } else { visit(&pipeline, record) }
            })?;
        }
    }
    Ok(())
}

/// Processes the quarantined records of a pipeline again, under its policy as it is now.
///
/// Records that pass join the tables; the others stay in quarantine with their new reason. Files that were refused as
/// a whole are not replayed: the next run reads them again once they change.
pub fn replay(
    project: &OpenProject,
    pipeline: &Pipeline,
    dataset: Option<&str>,
    meter: &Meter,
    tell: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<RunReport, RunError> {
    let started = std::time::Instant::now();
    let _lock = project.lock_pipeline(&pipeline.name)?;
    let mut journal = OpenJournal::open(project, pipeline)?;
    if !journal.is_empty() {
        return Err(RunError::usage(
            format!("a run of `{}` was interrupted", pipeline.name),
            format!("finish it first:  cordon run {}", pipeline.name),
        ));
    }
    let recipe = pipeline.compile(CompileOptions::on(Utc::now().date_naive()))?;
    let made_under = project.made_under(&recipe);
    let run = new_run_id();
    let context =
        Context { project, pipeline, recipe: &recipe, run: run.clone(), meter, tell, staging: Mutex::default() };
    let mut done: Done = read_sealed(&project.state_file(&pipeline.name), &project.seal_key()?)?.unwrap_or_default();

    let mut taken = Vec::new();
    let mut inputs: BTreeMap<String, Vec<Input>> = BTreeMap::new();
    for unit in done.units.values() {
        let Some(file) = &unit.quarantine else { continue };
        quarantine::read(&project.quarantine_folder().join(file), &project.seal_key()?, |record| {
            let wanted = dataset.is_none_or(|dataset| record.origin.dataset == dataset);
            // What was cut is not the whole record any more.
            if wanted && !record.is_file() && !record.entry.cut && !done.replayed.contains(&record.id) {
                taken.push(record.id.clone());
                let of_dataset = inputs.entry(record.origin.dataset.clone()).or_default();
                let at = of_dataset.iter().position(|input| input.origin.source_id == record.origin.source_id);
                let input = if let Some(input) = at.and_then(|at| of_dataset.get_mut(at)) {
                    input
                } else {
                    let known = unit.files.iter().find(|file| file.source_id == record.origin.source_id);
                    of_dataset.push(Input::new(record.origin.clone(), known.cloned()));
                    match of_dataset.last_mut() {
                        Some(input) => input,
                        None => return Err(RunError::Internal("replay")),
                    }
                };
                input.add(&record);
            }
            Ok(())
        })?;
    }
    let mut report = RunReport::new(&context);
    if taken.is_empty() {
        return Ok(report);
    }
    let mut tables: BTreeMap<String, Change> = BTreeMap::new();
    for (number, (dataset, inputs)) in inputs.into_iter().enumerate() {
        let records: Vec<FileRecord> = inputs.iter().filter_map(|input| input.known.clone()).collect();
        let files = inputs.into_iter().map(Input::into_planned).collect();
        let unit = Unit { id: format!("replay{number}"), dataset, files };
        let (mut record, noticed) = unit::process(&context, &unit, &made_under)?;
        // The rows belong to the files they came from: when one changes, they are made again with it.
        for file in &mut record.files {
            if let Some(known) = records.iter().find(|known| known.source_id == file.source_id) {
                let refused = file.refused.take();
                *file = FileRecord { refused, ..known.clone() };
            }
        }
        report.add(&record, noticed);
        for (table, part) in &record.parts {
            tables.entry(table.clone()).or_default().add.push(part.clone());
        }
        done.units.insert(format!("{run}-{number}"), record);
    }
    done.replayed.extend(taken);
    let prepared = Prepared { run: run.clone(), done, tables, obsolete: Vec::new(), replace: false };
    journal.restart(&run, &made_under, recipe.reference_date)?;
    journal.append(&JournalEntry::Prepared(prepared.clone()))?;
    report.tables = carry_out(project, pipeline, &prepared, Some(recipe.reference_date), tell)?;
    project.audit(&Event::QuarantineReplayed {
        run,
        table: pipeline.name.clone(),
        replayed: report.rows_out,
        remaining: report.quarantined,
    })?;
    journal.clear()?;
    context.clear_staging()?;
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// The records of one file, put together as a small file of the same sort.
struct Input {
    origin: Origin,
    known: Option<FileRecord>,
    bytes: Vec<u8>,
    next_line: u64,
    lines: BTreeMap<u64, u64>,
}

impl Input {
    fn new(origin: Origin, known: Option<FileRecord>) -> Self {
        let mut bytes = Vec::new();
        let mut next_line = 1;
        if origin.format == Format::Csv && origin.csv.has_header {
            for (number, name) in origin.header.iter().enumerate() {
                if number > 0 {
                    bytes.push(origin.csv.delimiter);
                }
                bytes.extend_from_slice(name.as_bytes());
            }
            bytes.push(b'\n');
            next_line = 2;
        }
        Self { origin, known, bytes, next_line, lines: BTreeMap::new() }
    }

    fn add(&mut self, record: &Quarantined) {
        let raw = record.expose_phi();
        self.lines.insert(self.next_line, record.entry.line);
        self.bytes.extend_from_slice(raw);
        self.bytes.push(b'\n');
        self.next_line += 1 + memchr::memchr_iter(b'\n', raw).count() as u64;
    }

    fn into_planned(self) -> PlannedFile {
        let stamp = Stamp { size: self.bytes.len() as u64, modified_ns: 0 };
        PlannedFile {
            file: SourceFile {
                dataset: self.origin.dataset,
                format: self.origin.format,
                csv: Arc::new(self.origin.csv),
                path: std::path::PathBuf::from(&self.origin.file),
                name: self.origin.file,
                stamp,
            },
            source_id: self.origin.source_id,
            replay: Some(Arc::new(ReplayInput { bytes: self.bytes, lines: self.lines })),
        }
    }
}
