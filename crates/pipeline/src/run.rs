//! A run: read → de-identify → write → commit, in parallel, in bounded memory, on the record.
//!
//! What makes a run safe to kill at any instant is the order of things:
//!
//! 1. A unit's tokens are durable in the vault, its parts in staging and its rejects in quarantine *before* the
//!    journal says that the unit is done.
//! 2. The journal says what is to be committed, all of it and checked, *before* the first table changes. From then on a
//!    resumed run only carries that out; each step can be repeated without harm.
//! 3. The audit log says that a table is committed *before* the new version can be read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use chrono::{DateTime, Datelike, NaiveDate, SecondsFormat, Utc};
use cordon_audit::{Digest, Event, Label, Sources};
use cordon_deid::policy::check::CompileOptions;
use cordon_deid::recipe::Recipe;
use cordon_engine::EngineError;
use cordon_engine::tables::{AuditAnchor, Commit, Provenance, Staging, decode_schema, encode_schema, rows_digest};
use indexmap::IndexMap;
use serde::Serialize;

use crate::cluster::{Cluster, Dispatch, Meeting, Team};
use crate::error::RunError;
use crate::people::{Marks, People};
use crate::plan::{Basis, Listing, Plan, Unit};
use crate::progress::{Meter, Progress};
use crate::project::{OpenProject, Pipeline};
use crate::retention::Keeping;
use crate::sealed::{Journal, clear_temporary, read_sealed, write_sealed};
use crate::state::{
    Change, Counts, Done, Found, JournalEntry, LeftOut, MadeUnder, Noticed, PartRecord, Prepared, UnitRecord,
};
use crate::{report, retain, unit};

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
    /// Pairs of people who turned out to be one, by identifiers that this run read: what was written of them is made again.
    pub people_joined: u64,
    /// Files that are gone, so that their rows keep tokens from before people turned out to be one.
    pub files_unjoined: u64,
    /// FHIR resources of types that the policy excludes: rows in = rows out + quarantined + excluded.
    pub excluded: u64,
    pub tables: Vec<TableReport>,
    /// Fields that the policy does not name, by dataset: none of them passed.
    pub undeclared: BTreeMap<String, BTreeSet<String>>,
    /// What was left out of documents, by dataset.
    pub left_out: BTreeMap<String, LeftOut>,
    /// What this run found in the records that it read and what it did with it, by dataset. Files that were unchanged since an earlier
    /// run are not in it.
    pub found: BTreeMap<String, Found>,
    /// Of the rows out, those that were not written because they are past their retention, by table.
    pub expired: BTreeMap<String, u64>,
    pub seconds: f64,
}

impl RunReport {
    pub(crate) fn new(pipeline: &str, run: &str, policy: &str) -> Self {
        Self {
            run: run.to_owned(),
            pipeline: pipeline.to_owned(),
            policy: policy.to_owned(),
            resumed: false,
            files_read: 0,
            files_unchanged: 0,
            files_refused: Vec::new(),
            rows_in: 0,
            rows_out: 0,
            quarantined: 0,
            excluded: 0,
            people_joined: 0,
            files_unjoined: 0,
            tables: Vec::new(),
            undeclared: BTreeMap::new(),
            left_out: BTreeMap::new(),
            found: BTreeMap::new(),
            expired: BTreeMap::new(),
            seconds: 0.0,
        }
    }

    /// Of a commit that was carried out, whoever had prepared it.
    pub(crate) fn of(pipeline: &str, prepared: &Prepared, tables: Vec<TableReport>) -> Self {
        let mut report = Self::new(pipeline, &prepared.run, &prepared.policy.name);
        report.files_unchanged = prepared.unchanged;
        prepared.fresh_units().for_each(|unit| report.add(unit));
        report.tables = tables;
        report
    }

    pub(crate) fn add(&mut self, record: &UnitRecord) {
        let Counts { rows_in, rows_out, quarantined, excluded } = record.counts();
        self.rows_in += rows_in;
        self.rows_out += rows_out;
        self.quarantined += quarantined;
        self.excluded += excluded;
        for file in &record.files {
            match &file.refused {
                None => self.files_read += 1,
                Some(reason) => self.files_refused.push((file.name.clone(), reason.clone())),
            }
        }
        self.notice(record.noticed.clone());
    }

    fn notice(&mut self, noticed: Noticed) {
        let mut all = Noticed {
            undeclared: std::mem::take(&mut self.undeclared),
            left_out: std::mem::take(&mut self.left_out),
            found: std::mem::take(&mut self.found),
            expired: std::mem::take(&mut self.expired),
        };
        all.add(noticed);
        (self.undeclared, self.left_out) = (all.undeclared, all.left_out);
        (self.found, self.expired) = (all.found, all.expired);
    }

    /// With what an interrupted run had left to be committed before this one.
    fn after(mut self, carried: Self) -> Self {
        self.resumed = true;
        self.files_read += carried.files_read;
        self.rows_in += carried.rows_in;
        self.rows_out += carried.rows_out;
        self.quarantined += carried.quarantined;
        self.excluded += carried.excluded;
        // What was refused then was tried again now.
        for table in carried.tables {
            if !self.tables.iter().any(|now| now.table == table.table) {
                self.tables.push(table);
            }
        }
        self.notice(Noticed {
            undeclared: carried.undeclared,
            left_out: carried.left_out,
            found: carried.found,
            expired: carried.expired,
        });
        self
    }
}

#[derive(Serialize)]
pub struct TableReport {
    pub table: String,
    pub version: u64,
    pub rows: u64,
    /// Of all its rows, in whatever order: the same for the same rows under the same keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_digest: Option<String>,
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
    staging: Mutex<BTreeMap<String, Arc<Staging>>>,
    /// Opened when the first unit needs it.
    people: Mutex<Option<People>>,
    /// Where vault and dossiers stood when the tables were last changed.
    marks: Marks,
    /// What of the rows is past its retention already.
    pub(crate) keeping: Keeping,
    /// Of a unit that may be made more than once at a time: what tells this one's quarantine from another's.
    pub(crate) attempt: Option<String>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        project: &'a OpenProject,
        pipeline: &'a Pipeline,
        recipe: &'a Recipe,
        run: String,
        meter: &'a Meter,
        tell: &'a (dyn Fn(Progress<'_>) + Sync),
        marks: Marks,
    ) -> Self {
        let keeping = Keeping::default();
        let (staging, people) = (Mutex::default(), Mutex::default());
        Self { project, pipeline, recipe, run, meter, tell, staging, people, marks, keeping, attempt: None }
    }

    /// Rows that are past their retention are not written.
    pub(crate) fn keeping(self, keeping: Keeping) -> Self {
        Self { keeping, ..self }
    }

    pub(crate) fn staging(&self, table: &str) -> Result<Arc<Staging>, RunError> {
        let mut all = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(staging) = all.get(table) {
            return Ok(Arc::clone(staging));
        }
        let staging = Arc::new(self.project.tables().stage(table, &self.run)?);
        all.insert(table.to_owned(), Arc::clone(&staging));
        Ok(staging)
    }

    /// With stores that are open already.
    pub(crate) fn with(self, people: &People) -> Self {
        *self.people.lock().unwrap_or_else(PoisonError::into_inner) = Some(people.clone());
        self
    }

    /// The vault and what goes with it.
    pub(crate) fn people(&self) -> Result<People, RunError> {
        let mut opened = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(people) = &*opened {
            return Ok(people.clone());
        }
        let people = self.marks.open(self.project, self.pipeline)?;
        *opened = Some(people.clone());
        Ok(people)
    }

    /// Where vault and dossiers stood before.
    pub(crate) fn marked(&self) -> &Marks {
        &self.marks
    }

    /// Where vault and dossiers stand now; as before where no unit needed them.
    pub(crate) fn marks(&self) -> Result<Marks, RunError> {
        match &*self.people.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(people) => people.marks(&self.marks),
            None => Ok(self.marks.clone()),
        }
    }

    /// After the commit: nothing of the run stays in staging, but for what somebody is still at who lost a race for a unit. The next run
    /// clears that.
    pub(crate) fn clear_staging(self) {
        let all = self.staging.into_inner().unwrap_or_else(PoisonError::into_inner);
        for staging in all.into_values() {
            if let Some(staging) = Arc::into_inner(staging) {
                let _ = staging.remove();
            }
        }
    }
}

/// Ends the process where a test says so: a kill at exactly this place. Not in the program as it is shipped.
pub(crate) fn fail_point(name: &str) {
    if cfg!(debug_assertions) && std::env::var("CORDON_FAIL_AT").is_ok_and(|at| at == name) {
        std::process::abort();
    }
}

/// The time. A test may say another to a program that was built for tests.
pub(crate) fn clock() -> DateTime<Utc> {
    let told = if cfg!(debug_assertions) { std::env::var("CORDON_NOW").ok() } else { None };
    told.and_then(|told| told.parse().ok()).unwrap_or_else(Utc::now)
}

/// Runs a pipeline to its end, or carries on where an interrupted run stopped: here, or on a cluster.
pub fn run(
    project: &OpenProject,
    pipeline: &Pipeline,
    cluster: Option<&dyn Cluster>,
    meter: &Meter,
    tell: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<RunReport, RunError> {
    let mut begun = None;
    let outcome = run_to_end(project, pipeline, cluster, meter, tell, &mut begun);
    if let Err(error) = &outcome {
        record_failure(project, pipeline, begun, error);
    }
    outcome
}

/// Puts on the record that a run failed, also one that was refused before its start was on it. The log may be what
/// failed; the first error is the one to show.
pub(crate) fn record_failure(project: &OpenProject, pipeline: &Pipeline, begun: Option<String>, error: &RunError) {
    let run = begun.unwrap_or_else(|| {
        let run = new_run_id();
        if let Ok(recipe) = pipeline.compile(CompileOptions::on(Utc::now().date_naive())) {
            let _ = project.audit(&started(project, pipeline, &recipe, &run, Sources::default()));
        }
        run
    });
    let _ = project.audit(&Event::RunFailed { run, what: Label::new(error.kind()) });
}

/// That a removal failed which is on the record already.
pub(crate) fn record_failure_of(project: &OpenProject, run: &str, error: &RunError) {
    let _ = project.audit(&Event::RunFailed { run: run.to_owned(), what: Label::new(error.kind()) });
}

pub(crate) fn started(
    project: &OpenProject,
    pipeline: &Pipeline,
    recipe: &Recipe,
    run: &str,
    sources: Sources,
) -> Event {
    Event::RunStarted {
        run: run.to_owned(),
        pipeline: pipeline.name.clone(),
        policy_hash: digest(&recipe.hash),
        sources,
        key_ids: project.key_ids(),
    }
}

fn run_to_end(
    project: &OpenProject,
    pipeline: &Pipeline,
    cluster: Option<&dyn Cluster>,
    meter: &Meter,
    tell: &(dyn Fn(Progress<'_>) + Sync),
    begun: &mut Option<String>,
) -> Result<RunReport, RunError> {
    let clock = std::time::Instant::now();
    let _lock = project.lock_pipeline(&pipeline.name)?;
    let mut journal = OpenJournal::open(project, &pipeline.name)?;
    project.need_vault()?;

    // What an interrupted run had decided to commit is committed first.
    let mut carried = None;
    if let Some(prepared) = journal.prepared.take() {
        if retain::is_stopped(project, &pipeline.name, &prepared)? {
            journal.clear()?;
        } else {
            *begun = Some(prepared.run.clone());
            let tables = carry_out(project, &pipeline.name, &prepared, tell)?;
            journal.clear()?;
            carried = Some(RunReport::of(&pipeline.name, &prepared, tables));
            *begun = None;
        }
    }

    let done: Done = read_sealed(&project.state_file(&pipeline.name), &project.seal_key()?)?.unwrap_or_default();
    let mut recipe = pipeline.compile(CompileOptions::on(Utc::now().date_naive()))?;
    let people = Marks::of(&done).open(project, pipeline)?;
    let made_under = project.made_under(pipeline, &recipe);
    let before = people.vault.merges()?;
    let team = match cluster {
        Some(cluster) => Some(Team { cluster, meeting: Meeting::call(project, &pipeline.name)? }),
        None => None,
    };
    let new = new_run_id();
    let listing = Listing::take(project, pipeline)?;
    if !pipeline.identities().is_empty() {
        let basis = Basis::new(made_under.clone(), before, &recipe);
        let context =
            Context::new(project, pipeline, &recipe, new.clone(), meter, tell, Marks::of(&done)).with(&people);
        let plan = Plan::make(listing.clone(), done.clone(), &basis, &BTreeMap::new())?;
        learn(&context, team.as_ref(), plan, &basis, begun)?;
    }
    let basis = Basis::new(made_under, people.vault.merges()?, &recipe);
    let mut resumed = carried.is_some();
    let run = if let Some((run, reference)) = journal.resumable(&basis.key(), recipe.reference_date.year()) {
        resumed = true;
        recipe = pipeline.compile(CompileOptions::on(reference))?;
        run
    } else {
        journal.restart(&new, &basis.key(), recipe.reference_date)?;
        new
    };
    sweep(project, &pipeline.name, &done, journal.units.values().flatten().map(|(_, unit)| unit))?;
    let keeping = Keeping::now(project)?;
    let context = Context::new(project, pipeline, &recipe, run, meter, tell, Marks::of(&done));
    let context = context.with(&people).keeping(keeping);
    own_tables(&context)?;
    let plan = Plan::make(listing, done, &basis, &journal.units)?;

    project.audit(&started(project, pipeline, &recipe, &context.run, plan.sources(project)))?;
    *begun = Some(context.run.clone());
    tell(Progress::Planned {
        files: plan.units.iter().map(|unit| unit.files.len()).sum(),
        bytes: plan.bytes(),
        unchanged: plan.unchanged,
    });
    if !journal.units.is_empty() {
        tell(Progress::Resumed { units: journal.units.len() });
        // The display counts what was read before as read.
        let before = plan.units.iter().filter(|unit| journal.units.contains_key(&unit.id));
        let bytes = before.flat_map(|unit| &unit.files).map(|file| file.file.stamp.size).sum();
        meter.bytes.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
    }
    let mut report = work(&context, team, &mut journal, &plan, &basis)?;
    report.resumed = resumed;
    report.people_joined = basis.merges.saturating_sub(before);
    report.files_unjoined = plan.unjoined as u64;
    if let Some(carried) = carried {
        report = report.after(carried);
    }
    report.seconds = clock.elapsed().as_secs_f64();
    context.clear_staging();
    Ok(report)
}

/// Reads what is new or changed for who its people are, before anything of it is written.
fn learn(
    context: &Context<'_>,
    team: Option<&Team<'_>>,
    mut plan: Plan,
    basis: &Basis,
    begun: &mut Option<String>,
) -> Result<(), RunError> {
    if !plan.units.is_empty() {
        context.project.audit(&Event::LearningStarted {
            run: context.run.clone(),
            pipeline: context.pipeline.name.clone(),
            policy_hash: digest(&context.recipe.hash),
            sources: plan.sources(context.project),
            key_ids: context.project.key_ids(),
        })?;
        *begun = Some(context.run.clone());
    }
    // Rows that give several identifiers come first: whoever is known by one of them alone would get a token that is given up.
    let identities = context.pipeline.identities();
    let turn = |unit: &Unit| {
        let places = identities.get(&unit.dataset).map_or(0, IndexMap::len);
        (context.recipe.documents.contains_key(&unit.dataset) || places < 2, Reverse(places))
    };
    plan.units.sort_by_key(turn);
    let read = context.meter.bytes.load(std::sync::atomic::Ordering::Relaxed);
    let telling = |unit: &Unit| {
        (context.tell)(Progress::Learning { dataset: &unit.dataset, files: unit.files.len() });
    };
    match team {
        None => {
            for unit in &plan.units {
                telling(unit);
                unit::learn(context, unit)?;
            }
        }
        Some(team) => {
            let dispatch = Dispatch { context, team, basis };
            // What has another turn waits.
            for together in plan.units.chunk_by(|a, b| turn(a) == turn(b)) {
                let units: Vec<&Unit> = together.iter().inspect(|unit| telling(unit)).collect();
                dispatch.learn(&units)?;
            }
        }
    }
    context.meter.bytes.store(read, std::sync::atomic::Ordering::Relaxed);
    context.people()?.sync()?;
    fail_point("learned");
    Ok(())
}

/// A table has one pipeline: another one's first run would take its rows for leftovers.
fn own_tables(context: &Context<'_>) -> Result<(), RunError> {
    for table in context.pipeline.tables_of(context.recipe) {
        let Some(version) = context.project.tables().current(&table)? else { continue };
        // Of a table that is newer than the record, rows would be written twice, and people given second tokens.
        if let Some(audit) = &version.manifest.provenance.audit
            && audit.seq > context.project.audit_log().head()?.seq
        {
            return Err(RunError::damaged(
                Path::new(&format!("table `{table}`")),
                "is newer than the project's record: the project was restored from an older backup than its tables; restore a backup with \
                 its tables, or move the table away and run the pipeline again",
            ));
        }
        let owner = &version.manifest.provenance.pipeline;
        if *owner != context.pipeline.name {
            return Err(RunError::usage(
                format!("the table `{table}` was made by pipeline `{owner}`"),
                "give this pipeline a `prefix` of its own, or remove the table's folder if it is not wanted any more",
            ));
        }
    }
    Ok(())
}

/// Removes what runs left that were killed or started afresh: quarantine that nothing refers to, half-written files. What was put
/// aside goes with the tables that it did not come to: while a hold is on one of them, all of it stays.
fn sweep<'a>(
    project: &OpenProject,
    pipeline: &str,
    done: &'a Done,
    journaled: impl Iterator<Item = &'a UnitRecord>,
) -> Result<(), RunError> {
    clear_temporary(&project.state_folder(pipeline))?;
    let held = project.holds_in_force()?;
    if retain::is_held(project, &held.holds, pipeline, done)? {
        return Ok(());
    }
    let mut wanted = done.quarantine_files();
    wanted.extend(journaled.filter_map(|unit| unit.quarantine.as_ref()).map(|held| held.file.as_str()));
    let folder = project.quarantine_folder(pipeline);
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_none_or(|name| !wanted.contains(name)) {
            fs::remove_file(entry.path()).map_err(|error| RunError::io("remove", &entry.path(), &error))?;
        }
    }
    Ok(())
}

fn work(
    context: &Context<'_>,
    team: Option<Team<'_>>,
    journal: &mut OpenJournal,
    plan: &Plan,
    basis: &Basis,
) -> Result<RunReport, RunError> {
    let project = context.project;
    for table in context.pipeline.tables_of(context.recipe) {
        project.tables().recover(&table, &[&context.run])?;
    }
    let mut done_now = std::mem::take(&mut journal.units);
    let open: Vec<&Unit> = plan.units.iter().filter(|unit| !done_now.contains_key(&unit.id)).collect();
    let mut done = |id: &str, records| {
        fail_point("unit");
        let entry = JournalEntry::Unit { id: id.to_owned(), records };
        journal.append(&entry)?;
        fail_point("journaled");
        if let JournalEntry::Unit { id, records } = entry {
            done_now.insert(id, records);
        }
        Ok(())
    };
    match team {
        None => {
            for unit in open {
                done(&unit.id, unit::process(context, unit, basis)?.records)?;
            }
        }
        Some(team) => {
            // While they are held, nobody clears away what executors leave there.
            for table in context.pipeline.tables_of(context.recipe) {
                context.staging(&table)?;
            }
            Dispatch { context, team: &team, basis }.write(&open, &mut done)?;
        }
    }
    let fresh = done_now.into_values().flatten().collect();
    let prepared = prepare(context, plan, basis, fresh)?;
    finish(context, journal, prepared)
}

/// Journals what was prepared and carries it out.
pub(crate) fn finish(
    context: &Context<'_>,
    journal: &mut OpenJournal,
    prepared: Prepared,
) -> Result<RunReport, RunError> {
    // What cannot be carried out must not be decided: nothing but carrying it out would ever be done again.
    for (table, change) in &prepared.tables {
        context.project.tables().check(table, &commit_of(&context.pipeline.name, &prepared, change, None)?)?;
    }
    let entry = JournalEntry::Prepared(Box::new(prepared));
    journal.append(&entry)?;
    fail_point("prepared");
    let JournalEntry::Prepared(prepared) = entry else { return Err(RunError::Internal("a commit")) };
    let tables = carry_out(context.project, &context.pipeline.name, &prepared, context.tell)?;
    journal.clear()?;
    Ok(RunReport::of(&context.pipeline.name, &prepared, tables))
}

/// What the tables will be made of, and what has to change for that.
fn prepare(
    context: &Context<'_>,
    plan: &Plan,
    basis: &Basis,
    fresh: BTreeMap<String, UnitRecord>,
) -> Result<Prepared, RunError> {
    let mut next = plan.done.clone();
    let mut tables: BTreeMap<String, Change> = BTreeMap::new();
    let replaced = next.replaced_by(&fresh, basis);
    for id in &replaced.whole {
        let Some(old) = next.units.remove(id) else { continue };
        for part in old.parts {
            tables.entry(part.table).or_default().remove.push(part.info.file);
        }
        if let Some(held) = old.quarantine {
            next.replayed.forget(&held.file);
        }
    }
    for (id, leaving) in &replaced.partly {
        if let Some(unit) = next.units.get_mut(id) {
            keep_rest(context, unit, leaving, &mut tables)?;
        }
    }
    // When nothing of the old stays, the tables may change their columns with the policy.
    let replace = next.units.values().all(|unit| unit.parts.is_empty());
    let mut names = Vec::new();
    let since = plan.done.known_since();
    for (id, mut record) in fresh {
        for file in &mut record.files {
            file.since = since.get(&(file.source_id.clone(), file.sha256.clone())).cloned();
        }
        for part in &record.parts {
            tables.entry(part.table.clone()).or_default().add.push(part.info.clone());
        }
        let id = if next.units.contains_key(&id) { format!("{id}-{}", context.run) } else { id };
        names.push(id.clone());
        next.units.insert(id, record);
    }
    let marks = context.marks()?;
    // Also what others have written since, up to where the marks are: a mark behind what is durable would be found nowhere.
    context.people()?.sync()?;
    (next.vault, next.dossiers) = (marks.vault, marks.dossiers);
    Ok(Prepared {
        run: context.run.clone(),
        policy: made_under(context.pipeline, context.recipe),
        done: next,
        tables: with_schemas(context, tables)?,
        replace,
        fresh: names,
        unchanged: plan.unchanged as u64,
        is_replay: false,
        is_retention: false,
    })
}

pub(crate) fn made_under(pipeline: &Pipeline, recipe: &Recipe) -> MadeUnder {
    MadeUnder {
        name: recipe.name.clone(),
        sha256: recipe.hash.clone(),
        method: recipe.method.name().to_owned(),
        recipient: pipeline.recipient().map(str::to_owned),
        reference_date: recipe.reference_date.to_string(),
    }
}

/// Writes the columns of each table beside its change. A table that only loses rows keeps the columns it has.
pub(crate) fn with_schemas(
    context: &Context<'_>,
    mut tables: BTreeMap<String, Change>,
) -> Result<BTreeMap<String, Change>, RunError> {
    let schemas = context.pipeline.schemas(context.recipe);
    for (table, change) in &mut tables {
        change.schema = match (schemas.get(table), context.project.tables().current(table)?) {
            (Some(schema), _) => encode_schema(schema)?,
            (None, Some(version)) => encode_schema(&version.schema)?,
            (None, None) => return Err(RunError::Internal("a table without a schema")),
        };
    }
    Ok(tables)
}

/// Takes files out of a unit whose other files are not made again: rows that share a part with theirs are copied.
fn keep_rest(
    context: &Context<'_>,
    unit: &mut UnitRecord,
    leaving: &BTreeSet<u32>,
    tables: &mut BTreeMap<String, Change>,
) -> Result<(), RunError> {
    let staying: Vec<u32> = (0..unit.files.len() as u32).filter(|file| !leaving.contains(file)).collect();
    let renumbered: BTreeMap<u32, u32> = staying.iter().copied().zip(0..).collect();
    let options = unit::part_options(context.project.project.memory / 4);
    let mut parts = Vec::new();
    for part in std::mem::take(&mut unit.parts) {
        let places = part.places(|file| renumbered.contains_key(&file));
        let rows: u64 = places.iter().map(|place| place.end - place.start).sum();
        let runs: Vec<(u32, u64)> =
            part.runs.iter().filter_map(|(file, rows)| Some((*renumbered.get(file)?, *rows))).collect();
        if rows == part.info.rows {
            parts.push(PartRecord { runs, ..part });
            continue;
        }
        let change = tables.entry(part.table.clone()).or_default();
        change.remove.push(part.info.file.clone());
        if rows == 0 {
            continue;
        }
        let gone: BTreeSet<&str> = leaving
            .iter()
            .filter_map(|file| unit.files.get(*file as usize))
            .map(|file| file.read_as.as_str())
            .collect();
        let sources = part.info.sources.iter().filter(|source| !gone.contains(source.id.as_str())).cloned().collect();
        let staging = context.staging(&part.table)?;
        let info = context.project.tables().copy_rows(&part.table, &part.info, &places, &staging, &options, sources)?;
        staging.sync()?;
        change.add.push(info.clone());
        parts.push(PartRecord { table: part.table, info, runs });
    }
    unit.parts = parts;
    let mut number = 0..;
    unit.files.retain(|_| number.next().is_some_and(|number| !leaving.contains(&number)));
    Ok(())
}

pub(crate) fn commit_of(
    pipeline: &str,
    prepared: &Prepared,
    change: &Change,
    audit: Option<AuditAnchor>,
) -> Result<Commit, RunError> {
    let policy = change.policy.as_ref().unwrap_or(&prepared.policy);
    Ok(Commit {
        id: prepared.run.clone(),
        base: None,
        schema: decode_schema(&change.schema).ok_or(RunError::Internal("a table's schema"))?,
        add: change.add.clone(),
        remove_parts: change.remove.clone(),
        replace: prepared.replace,
        provenance: Provenance {
            created: now(),
            cordon_version: env!("CARGO_PKG_VERSION").to_owned(),
            run: prepared.run.clone(),
            pipeline: pipeline.to_owned(),
            policy: policy.name.clone(),
            policy_sha256: policy.sha256.clone(),
            method: policy.method.clone(),
            recipient: policy.recipient.clone(),
            reference_date: policy.reference_date.clone(),
            audit,
        },
    })
}

/// Commits what was prepared. Each step may have been done before.
pub(crate) fn carry_out(
    project: &OpenProject,
    pipeline: &str,
    prepared: &Prepared,
    tell: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Vec<TableReport>, RunError> {
    let reports = publish(project, pipeline, prepared, tell)?;
    tidy(project, pipeline, &prepared.done)?;
    Ok(reports)
}

/// The part of [`carry_out`] that is seen.
pub(crate) fn publish(
    project: &OpenProject,
    pipeline: &str,
    prepared: &Prepared,
    tell: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Vec<TableReport>, RunError> {
    // Until rows have left their table, no hold may come in between.
    let _held = if prepared.is_retention { Some(retain::none_held(project, pipeline, prepared)?) } else { None };
    // Before anything is said or done: an entry about a commit that cannot be would be false.
    for (table, change) in &prepared.tables {
        project.tables().check(table, &commit_of(pipeline, prepared, change, None)?)?;
    }
    let mut reports = Vec::new();
    for (table, change) in &prepared.tables {
        let before = project.tables().current(table)?;
        if !before.as_ref().is_some_and(|version| version.has_commit(&prepared.run)) {
            let receipt = project.audit(&Event::TableCommitted {
                run: prepared.run.clone(),
                table: table.clone(),
                version: before.as_ref().map_or(0, |version| version.manifest.version) + 1,
                rows: change.add.iter().map(|part| part.rows).sum(),
                rows_digest: rows_digest(change.add.iter().map(|part| part.rows_digest.as_deref()))
                    .map(|hex| digest(&hex)),
                quarantined: prepared
                    .done
                    .units
                    .values()
                    .filter(|unit| unit.made_of(table))
                    .map(|unit| unit.counts().quarantined)
                    .sum(),
                sources: sources(
                    project,
                    change.add.iter().flat_map(|part| part.sources.iter().map(|source| source.id.as_str())),
                ),
                policy_hash: digest(&change.policy.as_ref().unwrap_or(&prepared.policy).sha256),
                key_ids: project.key_ids(),
            })?;
            fail_point("committing");
            let anchor = AuditAnchor { seq: receipt.seq, hash: receipt.hash.to_string() };
            project.tables().commit(table, &commit_of(pipeline, prepared, change, Some(anchor))?)?;
            fail_point("committed");
        }
        let Some(version) = project.tables().current(table)? else { return Err(RunError::Internal("a commit")) };
        let (number, rows) = (version.manifest.version, version.rows());
        tell(Progress::Committed { table, version: number, rows });
        reports.push(TableReport { table: table.clone(), version: number, rows, rows_digest: version.rows_digest() });
    }
    let mut done = prepared.done.clone();
    done.settle(clock().date_naive());
    write_sealed(&project.state_file(pipeline), &project.seal_key()?, &done)?;
    fail_point("state");
    report::keep(project, pipeline, prepared)?;
    record_end(project, prepared)?;
    fail_point("recorded");
    Ok(reports)
}

/// Removes what nothing refers to any more and no hold is on. Returns how many parts of earlier versions that were.
pub(crate) fn tidy(project: &OpenProject, pipeline: &str, done: &Done) -> Result<usize, RunError> {
    sweep(project, pipeline, done, std::iter::empty())?;
    let mut removed = 0;
    let held = project.holds_in_force()?;
    // Of every table of the pipeline: what was withdrawn must not stay until its table happens to change again.
    for table in project.tables().tables()? {
        let owner = project.tables().current(&table)?.map(|version| version.manifest.provenance.pipeline.clone());
        if owner.as_deref() == Some(pipeline) && held.holds.over(&table).is_empty() {
            // For queries that are reading them, parts stay for a while.
            let grace = project.project.retention.versions;
            removed += project.tables().vacuum(&table, grace, SystemTime::from(clock()))?;
        }
    }
    Ok(removed)
}

/// That the run is over goes on the record before the journal forgets it: killed in between, it is said twice.
fn record_end(project: &OpenProject, prepared: &Prepared) -> Result<(), RunError> {
    let mut counts = Counts::default();
    prepared.fresh_units().for_each(|unit| counts.add(unit.counts()));
    if prepared.is_replay {
        for (table, change) in &prepared.tables {
            project.audit(&Event::QuarantineReplayed {
                run: prepared.run.clone(),
                table: table.clone(),
                replayed: change.add.iter().map(|part| part.rows).sum(),
                remaining: counts.quarantined,
            })?;
        }
    }
    project.audit(&Event::RunFinished {
        run: prepared.run.clone(),
        rows_read: counts.rows_in,
        rows_written: counts.rows_out,
        quarantined: counts.quarantined,
    })?;
    Ok(())
}

impl Prepared {
    /// The units that the run made.
    pub(crate) fn fresh_units(&self) -> impl Iterator<Item = &UnitRecord> {
        self.fresh.iter().filter_map(|id| self.done.units.get(id))
    }
}

fn digest(policy_sha256: &str) -> Digest {
    policy_sha256.parse().unwrap_or_else(|_| Digest::of(&[policy_sha256.as_bytes()]))
}

/// At most so many files are named in one entry; the count is always whole.
const MOST_SOURCES: usize = 1000;

pub(crate) fn sources<'a>(project: &OpenProject, ids: impl Iterator<Item = &'a str>) -> Sources {
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
    units: BTreeMap<String, Vec<(String, UnitRecord)>>,
    prepared: Option<Prepared>,
}

impl OpenJournal {
    pub(crate) fn open(project: &OpenProject, pipeline: &str) -> Result<Self, RunError> {
        let (journal, entries) = Journal::open(&project.journal_file(pipeline), project.seal_key()?)?;
        let mut open =
            Self { journal, run: None, made_under: None, reference: None, units: BTreeMap::new(), prepared: None };
        for entry in entries {
            match entry {
                JournalEntry::Started { run, made_under, reference_date } => {
                    open.run = Some(run);
                    open.made_under = Some(made_under);
                    open.reference = reference_date.parse().ok();
                }
                JournalEntry::Unit { id, records } => {
                    open.units.insert(id, records);
                }
                JournalEntry::Prepared(prepared) => open.prepared = Some(*prepared),
            }
        }
        Ok(open)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.run.is_none() && self.prepared.is_none()
    }

    /// The run to carry on, and the day at which it counts ages, where it is of the same policy, keys and year.
    fn resumable(&self, made_under: &str, year: i32) -> Option<(String, NaiveDate)> {
        let (run, reference) = (self.run.clone()?, self.reference?);
        (self.made_under.as_deref() == Some(made_under) && reference.year() == year).then_some((run, reference))
    }

    /// Whether a commit was decided. Asks the file: an append that failed may have left nothing.
    pub(crate) fn is_decided(&self) -> Result<bool, RunError> {
        let entries: Vec<JournalEntry> = self.journal.entries()?;
        Ok(entries.iter().any(|entry| matches!(entry, JournalEntry::Prepared(_))))
    }

    /// Carries out a commit that was decided.
    pub(crate) fn carry_out(&mut self, project: &OpenProject, pipeline: &str) -> Result<(), RunError> {
        let Some(prepared) = self.prepared.take() else { return Ok(()) };
        if !retain::is_stopped(project, pipeline, &prepared)? {
            carry_out(project, pipeline, &prepared, &|_| {})?;
        }
        self.clear()
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
    format!("{}-{}", clock().format("%Y%m%dT%H%M%S"), data_encoding::HEXLOWER.encode(&random))
}

pub(crate) fn now() -> String {
    clock().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// An exclusive lock that ends with the process, however it ends.
pub struct PipelineLock {
    _file: File,
    pub path: PathBuf,
}

impl PipelineLock {
    pub(crate) fn take(path: PathBuf, pipeline: &str) -> Result<Self, RunError> {
        Self::lock(path, || RunError::Busy { pipeline: pipeline.to_owned() })
    }

    /// Of something else than a pipeline.
    pub(crate) fn take_for(path: PathBuf, what: &'static str) -> Result<Self, RunError> {
        Self::lock(path, || RunError::Occupied { what })
    }

    fn lock(path: PathBuf, busy: impl Fn() -> RunError) -> Result<Self, RunError> {
        use rustix::fs::{FlockOperation, flock};
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| RunError::io("create", folder, &error))?;
        }
        let file = File::create(&path).map_err(|error| RunError::io("open", &path, &error))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| busy())?;
        Ok(Self { _file: file, path })
    }
}

/// Forgets what an interrupted run had done, unless a table has changed already: then the rest is carried out.
pub fn discard_interrupted(project: &OpenProject, pipeline: &Pipeline) -> Result<(), RunError> {
    let _lock = project.lock_pipeline(&pipeline.name)?;
    let mut journal = OpenJournal::open(project, &pipeline.name)?;
    if let Some(prepared) = &journal.prepared {
        for table in prepared.tables.keys() {
            if project.tables().current(table)?.is_some_and(|version| version.has_commit(&prepared.run)) {
                return Ok(());
            }
        }
    }
    journal.prepared = None;
    journal.clear()
}

/// What the journal refuses to decide, said so that somebody can mend it.
pub(crate) fn as_replay_problem(error: RunError, pipeline: &Pipeline) -> RunError {
    match error {
        RunError::Engine(EngineError::SchemaMismatch { .. }) => RunError::usage(
            "the policy now makes other columns than the tables have".to_owned(),
            format!("make the tables again under it, quarantined records included:  cordon run {}", pipeline.name),
        ),
        error => error,
    }
}
