//! A run: read → de-identify → write → commit, in parallel, in bounded memory, on the record.
//!
//! What makes a run safe to kill at any instant is the order of things:
//!
//! 1. A unit's tokens are durable in the vault, its parts in staging and its rejects in quarantine *before* the
//!    journal says that the unit is done.
//! 2. The journal says what is to be committed *before* the first table changes. From then on a resumed run only
//!    carries that out; each step can be repeated without harm.
//! 3. The audit log says that a table is committed *before* the new version can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use chrono::{NaiveDate, SecondsFormat, Utc};
use cordon_audit::{Digest, Event, Label, Sources};
use cordon_deid::policy::check::CompileOptions;
use cordon_deid::recipe::Recipe;
use cordon_engine::tables::{AuditAnchor, Commit, Provenance, Staging};
use serde::Serialize;

use crate::error::RunError;
use crate::plan::Plan;
use crate::progress::{Meter, Progress};
use crate::project::{OpenProject, Pipeline};
use crate::sealed::{Journal, read_sealed, write_sealed};
use crate::state::{Change, Done, JournalEntry, Prepared, UnitRecord};
use crate::unit;

/// What a run came to.
#[derive(Serialize)]
pub struct RunReport {
    pub run: String,
    pub pipeline: String,
    pub policy: String,
    /// An interrupted run was carried on.
    pub resumed: bool,
    pub files_read: u64,
    pub files_unchanged: u64,
    /// Files refused as a whole, with the reason.
    pub files_refused: Vec<(String, String)>,
    pub rows_in: u64,
    pub rows_out: u64,
    pub quarantined: u64,
    /// FHIR resources of types that the policy excludes: rows in = rows out + quarantined + excluded.
    pub excluded: u64,
    pub tables: Vec<TableReport>,
    /// Fields that the policy does not name, by dataset: none of them passed.
    pub undeclared: BTreeMap<String, BTreeSet<String>>,
    /// What was left out of FHIR resources, by dataset. Of the units that an interrupted run had finished, only
    /// `excluded` is known.
    pub left_out: BTreeMap<String, unit::LeftOut>,
    pub seconds: f64,
}

impl RunReport {
    pub(crate) fn new(context: &Context<'_>) -> Self {
        Self {
            run: context.run.clone(),
            pipeline: context.pipeline.name.clone(),
            policy: context.recipe.name.clone(),
            resumed: false,
            files_read: 0,
            files_unchanged: 0,
            files_refused: Vec::new(),
            rows_in: 0,
            rows_out: 0,
            quarantined: 0,
            excluded: 0,
            tables: Vec::new(),
            undeclared: BTreeMap::new(),
            left_out: BTreeMap::new(),
            seconds: 0.0,
        }
    }

    pub(crate) fn add(&mut self, record: &UnitRecord, noticed: unit::Noticed) {
        self.rows_in += record.rows_in;
        self.rows_out += record.rows_out;
        self.quarantined += record.quarantined;
        self.excluded += record.excluded;
        for file in &record.files {
            match &file.refused {
                None => self.files_read += 1,
                Some(reason) => self.files_refused.push((file.name.clone(), reason.clone())),
            }
        }
        self.notice(noticed);
    }

    fn notice(&mut self, noticed: unit::Noticed) {
        for (dataset, fields) in noticed.undeclared {
            self.undeclared.entry(dataset).or_default().extend(fields);
        }
        for (dataset, left_out) in noticed.left_out {
            self.left_out.entry(dataset).or_default().add(left_out);
        }
    }
}

#[derive(Serialize)]
pub struct TableReport {
    pub table: String,
    pub version: u64,
    pub rows: u64,
}

/// Everything that the parts of a run share.
pub struct Context<'a> {
    pub project: &'a OpenProject,
    pub pipeline: &'a Pipeline,
    pub recipe: &'a Recipe,
    pub run: String,
    pub meter: &'a Meter,
    pub tell: &'a (dyn Fn(Progress<'_>) + Sync),
    /// Staging folders by table. While they are held, nobody clears the run's parts away.
    pub(crate) staging: Mutex<BTreeMap<String, Arc<Staging>>>,
}

impl Context<'_> {
    pub(crate) fn staging(&self, table: &str) -> Result<Arc<Staging>, RunError> {
        let mut all = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(staging) = all.get(table) {
            return Ok(Arc::clone(staging));
        }
        let staging = Arc::new(self.project.tables().stage(table, &self.run)?);
        all.insert(table.to_owned(), Arc::clone(&staging));
        Ok(staging)
    }

    /// After the commit: nothing of the run stays in staging.
    pub(crate) fn clear_staging(self) -> Result<(), RunError> {
        let all = self.staging.into_inner().unwrap_or_else(PoisonError::into_inner);
        for staging in all.into_values() {
            if let Some(staging) = Arc::into_inner(staging) {
                staging.remove()?;
            }
        }
        Ok(())
    }
}

/// Runs a pipeline to its end, or carries on where an interrupted run stopped.
pub fn run(
    project: &OpenProject,
    pipeline: &Pipeline,
    meter: &Meter,
    tell: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<RunReport, RunError> {
    let started = std::time::Instant::now();
    let _lock = project.lock_pipeline(&pipeline.name)?;
    let mut journal = OpenJournal::open(project, pipeline)?;
    let mut resumed = false;

    // What an interrupted run had decided to commit is committed first.
    if let Some(prepared) = journal.prepared.take() {
        resumed = true;
        carry_out(project, pipeline, &prepared, journal.reference, tell)?;
        journal.clear()?;
    }

    let reference = journal.reference.unwrap_or_else(|| Utc::now().date_naive());
    let recipe = pipeline.compile(CompileOptions::on(reference))?;
    let made_under = project.made_under(&recipe);
    let run = if journal.is_of(&made_under) {
        resumed = true;
        journal.run.clone().unwrap_or_default()
    } else {
        let run = new_run_id();
        journal.restart(&run, &made_under, recipe.reference_date)?;
        run
    };
    let context = Context { project, pipeline, recipe: &recipe, run, meter, tell, staging: Mutex::default() };
    let done: Done = read_sealed(&project.state_file(&pipeline.name), &project.seal_key()?)?.unwrap_or_default();
    let plan = Plan::make(&context, &done, &made_under, &journal.units)?;

    project.audit(&Event::RunStarted {
        run: context.run.clone(),
        pipeline: pipeline.name.clone(),
        policy_hash: policy_digest(&recipe),
        sources: sources(project, plan.units.iter().flat_map(|unit| &unit.files).map(|file| file.source_id.as_str())),
        key_ids: project.key_ids(),
    })?;
    tell(Progress::Planned {
        files: plan.units.iter().map(|unit| unit.files.len()).sum(),
        bytes: plan.bytes(),
        unchanged: plan.unchanged,
    });
    if !journal.units.is_empty() {
        tell(Progress::Resumed { units: journal.units.len() });
    }
    let outcome = work(&context, &mut journal, &plan, &done, &made_under);
    match outcome {
        Ok(mut report) => {
            report.resumed = resumed;
            report.seconds = started.elapsed().as_secs_f64();
            project.audit(&Event::RunFinished {
                run: context.run.clone(),
                rows_read: report.rows_in,
                rows_written: report.rows_out,
                quarantined: report.quarantined,
            })?;
            context.clear_staging()?;
            Ok(report)
        }
        Err(error) => {
            // The log may be what failed; the first error is the one to show.
            let _ = project.audit(&Event::RunFailed { run: context.run.clone(), what: Label::new(error.kind()) });
            Err(error)
        }
    }
}

fn work(
    context: &Context<'_>,
    journal: &mut OpenJournal,
    plan: &Plan,
    done: &Done,
    made_under: &str,
) -> Result<RunReport, RunError> {
    let project = context.project;
    for table in context.pipeline.tables_of(context.recipe) {
        project.tables().recover(&table, &[&context.run])?;
    }
    let mut report = RunReport::new(context);
    report.files_unchanged = plan.unchanged as u64;
    let mut fresh: BTreeMap<String, UnitRecord> = std::mem::take(&mut journal.units);
    for unit in &plan.units {
        if fresh.contains_key(&unit.id) {
            continue;
        }
        let (record, noticed) = unit::process(context, unit, made_under)?;
        report.notice(noticed);
        journal.append(&JournalEntry::Unit { id: unit.id.clone(), record: record.clone() })?;
        fresh.insert(unit.id.clone(), record);
    }
    for record in fresh.values() {
        report.add(record, unit::Noticed::default());
    }
    let prepared = prepare(context, plan, done, fresh);
    journal.append(&JournalEntry::Prepared(prepared.clone()))?;
    report.tables = carry_out(project, context.pipeline, &prepared, Some(context.recipe.reference_date), context.tell)?;
    journal.clear()?;
    Ok(report)
}

/// What the tables will be made of, and what has to change for that.
fn prepare(context: &Context<'_>, plan: &Plan, done: &Done, fresh: BTreeMap<String, UnitRecord>) -> Prepared {
    let mut next = done.clone();
    let mut tables: BTreeMap<String, Change> = BTreeMap::new();
    let mut obsolete = Vec::new();
    for id in &plan.superseded {
        if let Some(old) = next.units.remove(id) {
            for (table, part) in old.parts {
                let gone = &mut tables.entry(table).or_default().remove;
                gone.extend(part.sources.into_iter().map(|source| source.id));
            }
            if let Some(file) = old.quarantine {
                let stem = file.trim_end_matches(".sealed").to_owned() + "-";
                next.replayed.retain(|id| !id.starts_with(&stem));
                obsolete.push(file);
            }
        }
    }
    // When nothing of the old stays, the tables may change their columns with the policy.
    let replace = next.units.is_empty();
    for change in tables.values_mut() {
        change.remove.sort();
        change.remove.dedup();
    }
    for (id, record) in fresh {
        for (table, part) in &record.parts {
            tables.entry(table.clone()).or_default().add.push(part.clone());
        }
        next.units.insert(id, record);
    }
    Prepared { run: context.run.clone(), done: next, tables, obsolete, replace }
}

/// How long parts of earlier versions stay for queries that are reading them.
const VACUUM_GRACE: Duration = Duration::from_hours(1);

/// Commits what was prepared. Each step may have been done before.
pub(crate) fn carry_out(
    project: &OpenProject,
    pipeline: &Pipeline,
    prepared: &Prepared,
    reference: Option<NaiveDate>,
    tell: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Vec<TableReport>, RunError> {
    let recipe = pipeline.compile(CompileOptions::on(reference.unwrap_or_else(|| Utc::now().date_naive())))?;
    let mut reports = Vec::new();
    let schemas = pipeline.schemas(&recipe);
    for (table, change) in &prepared.tables {
        let Some(schema) = schemas.get(table) else { return Err(RunError::Internal("a table without a schema")) };
        let before = project.tables().current(table)?;
        let done = before.as_ref().is_some_and(|version| version.manifest.provenance.run == prepared.run);
        if !done {
            let receipt = project.audit(&Event::TableCommitted {
                run: prepared.run.clone(),
                table: table.clone(),
                version: before.as_ref().map_or(0, |version| version.manifest.version) + 1,
                rows: change.add.iter().map(|part| part.rows).sum(),
                quarantined: prepared
                    .done
                    .units
                    .values()
                    .filter(|unit| unit.made_of(table))
                    .map(|unit| unit.quarantined)
                    .sum(),
                sources: sources(
                    project,
                    change.add.iter().flat_map(|part| part.sources.iter().map(|source| source.id.as_str())),
                ),
                policy_hash: policy_digest(&recipe),
                key_ids: project.key_ids(),
            })?;
            project.tables().commit(
                table,
                &Commit {
                    id: prepared.run.clone(),
                    base: None,
                    schema: Arc::clone(schema),
                    add: change.add.clone(),
                    remove_sources: change.remove.clone(),
                    replace: prepared.replace,
                    provenance: Provenance {
                        created: now(),
                        cordon_version: env!("CARGO_PKG_VERSION").to_owned(),
                        run: prepared.run.clone(),
                        pipeline: pipeline.name.clone(),
                        policy: recipe.name.clone(),
                        policy_sha256: recipe.hash.clone(),
                        method: recipe.method.name().to_owned(),
                        reference_date: recipe.reference_date.to_string(),
                        audit: Some(AuditAnchor { seq: receipt.seq, hash: receipt.hash.to_string() }),
                    },
                },
            )?;
        }
        let Some(version) = project.tables().current(table)? else { return Err(RunError::Internal("a commit")) };
        let (number, rows) = (version.manifest.version, version.rows());
        tell(Progress::Committed { table, version: number, rows });
        reports.push(TableReport { table: table.clone(), version: number, rows });
    }
    write_sealed(&project.state_file(&pipeline.name), &project.seal_key()?, &prepared.done)?;
    for file in &prepared.obsolete {
        let path = project.quarantine_folder().join(file);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(RunError::io("remove", &path, &error));
            }
            _ => {}
        }
    }
    // Of every table of the pipeline: what was withdrawn must not stay until its table happens to change again.
    for table in schemas.keys() {
        project.tables().vacuum(table, VACUUM_GRACE, SystemTime::now())?;
    }
    Ok(reports)
}

fn policy_digest(recipe: &Recipe) -> Digest {
    recipe.hash.parse().unwrap_or_else(|_| Digest::of(&[recipe.hash.as_bytes()]))
}

/// At most so many files are named in one entry; the count is always whole.
const MOST_SOURCES: usize = 1000;

fn sources<'a>(project: &OpenProject, ids: impl Iterator<Item = &'a str>) -> Sources {
    let ids: BTreeSet<&str> = ids.collect();
    Sources {
        count: ids.len() as u64,
        ids: ids.iter().take(MOST_SOURCES).map(|id| project.audit_log().tag("source", id.as_bytes())).collect(),
    }
}

/// The journal of a run that may have been interrupted.
pub(crate) struct OpenJournal {
    journal: Journal,
    run: Option<String>,
    made_under: Option<String>,
    reference: Option<NaiveDate>,
    units: BTreeMap<String, UnitRecord>,
    prepared: Option<Prepared>,
}

impl OpenJournal {
    pub(crate) fn open(project: &OpenProject, pipeline: &Pipeline) -> Result<Self, RunError> {
        let (journal, entries) = Journal::open(&project.journal_file(&pipeline.name), project.seal_key()?)?;
        let mut open =
            Self { journal, run: None, made_under: None, reference: None, units: BTreeMap::new(), prepared: None };
        for entry in entries {
            match entry {
                JournalEntry::Started { run, made_under, reference_date } => {
                    open.run = Some(run);
                    open.made_under = Some(made_under);
                    open.reference = reference_date.parse().ok();
                }
                JournalEntry::Unit { id, record } => {
                    open.units.insert(id, record);
                }
                JournalEntry::Prepared(prepared) => open.prepared = Some(prepared),
            }
        }
        Ok(open)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.run.is_none() && self.prepared.is_none()
    }

    fn is_of(&self, made_under: &str) -> bool {
        self.run.is_some() && self.made_under.as_deref() == Some(made_under)
    }

    pub(crate) fn append(&mut self, entry: &JournalEntry) -> Result<(), RunError> {
        self.journal.append(entry)
    }

    pub(crate) fn clear(&mut self) -> Result<(), RunError> {
        self.run = None;
        self.made_under = None;
        self.reference = None;
        self.units.clear();
        self.journal.clear()
    }

    pub(crate) fn restart(&mut self, run: &str, made_under: &str, reference: NaiveDate) -> Result<(), RunError> {
        self.clear()?;
        self.append(&JournalEntry::Started {
            run: run.to_owned(),
            made_under: made_under.to_owned(),
            reference_date: reference.to_string(),
        })
    }
}

/// Sortable by time, unique by chance: run ids stand in file names and in the audit log.
pub fn new_run_id() -> String {
    let mut random = [0; 6];
    // Without randomness the clock's nanoseconds must do: an id is no secret.
    if cordon_crypto::random_bytes(&mut random).is_err() {
        let [a, b, c, d] = Utc::now().timestamp_subsec_nanos().to_le_bytes();
        let [e, f, ..] = std::process::id().to_le_bytes();
        random = [a, b, c, d, e, f];
    }
    format!("{}-{}", Utc::now().format("%Y%m%dT%H%M%S"), data_encoding::HEXLOWER.encode(&random))
}

pub(crate) fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// An exclusive lock that ends with the process, however it ends.
pub struct PipelineLock {
    _file: File,
    pub path: PathBuf,
}

impl PipelineLock {
    pub(crate) fn take(path: PathBuf, pipeline: &str) -> Result<Self, RunError> {
        use rustix::fs::{FlockOperation, flock};
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| RunError::io("create", folder, &error))?;
        }
        let file = File::create(&path).map_err(|error| RunError::io("open", &path, &error))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| RunError::Busy { pipeline: pipeline.to_owned() })?;
        Ok(Self { _file: file, path })
    }
}

/// Forgets what an interrupted run had done, unless it had begun to commit: that is carried out.
pub fn discard_interrupted(project: &OpenProject, pipeline: &Pipeline) -> Result<(), RunError> {
    let _lock = project.lock_pipeline(&pipeline.name)?;
    let mut journal = OpenJournal::open(project, pipeline)?;
    if journal.prepared.is_none() {
        journal.clear()?;
    }
    Ok(())
}
