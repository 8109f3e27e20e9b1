//! `cordon retain`: removes what is past its retention and under no hold.
//!
//! Rows leave a table as they come to it: what is to change is prepared, checked and journaled, then committed as a new version, so that
//! a kill at any instant is carried on by the next `cordon retain` or `cordon run`. One table is one commit: a hold that comes in
//! between stops what has not been committed. Parts all of whose rows go are left out; of others a copy is made without them.
//! The old parts go from the disk when [`Retention::versions`](crate::retention::Retention) has passed.
//!
//! The pipeline's state keeps the files whose rows went, so that the next run does not read them again. Where one is read again all the
//! same, because it changed or the policy did, [`Keeping`](crate::retention::Keeping) leaves out what is past its retention.
//!
//! The audit log is never removed; see `docs/decisions/0022`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::time::SystemTime;

use arrow_array::RecordBatch;
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use cordon_audit::{Event, Filter, Label};
use cordon_deid::policy::check::CompileOptions;
use cordon_engine::tables::{Manifest, Staging, TableVersion, encode_schema};
use serde::Serialize;

use crate::error::RunError;
use crate::holds::{Holds, InForce};
use crate::project::{KnownTables, OpenProject};
use crate::quarantine;
use crate::replay::is_waiting;
use crate::report;
use crate::retention::Cut;
use crate::reveal::Desk;
use crate::run::{
    OpenJournal, PipelineLock, clock, commit_of, fail_point, new_run_id, publish, record_failure_of, tidy,
};
use crate::sealed::read_sealed;
use crate::state::{Change, Done, FileRecord, JournalEntry, MadeUnder, PartRecord, Prepared, UnitRecord};
use crate::unit::part_options;

/// What went, or would go.
#[derive(Serialize)]
pub struct RetainReport {
    /// The time as of which things are past their retention.
    pub at: String,
    pub dry_run: bool,
    pub tables: Vec<TableRetained>,
    pub quarantine: Vec<QuarantineRetained>,
    pub run_reports: Vec<ReportsRetained>,
    pub requests: Option<RequestsRetained>,
    /// Parts of earlier versions that went from the disk.
    pub old_parts: u64,
    pub audit: AuditRetained,
    /// Pipelines that could not be looked at, each with the reason.
    pub skipped: Vec<Skipped>,
}

#[derive(Serialize)]
pub struct TableRetained {
    pub table: String,
    pub pipeline: String,
    pub keep: String,
    /// The column whose date counts; else when rows were committed.
    pub by: Option<String>,
    /// Rows of earlier days are past it.
    pub before: String,
    pub rows: u64,
    /// Rows that are past it.
    pub past: u64,
    /// Parts all of whose rows are.
    pub whole_parts: u64,
    /// Parts of which a copy is made without them.
    pub copied_parts: u64,
    pub held_by: Vec<String>,
    /// The new version, where rows went.
    pub version: Option<u64>,
}

#[derive(Serialize)]
pub struct QuarantineRetained {
    pub pipeline: String,
    pub keep: String,
    pub before: String,
    pub files: u64,
    pub records: u64,
    pub reasons: BTreeMap<String, u64>,
    pub held_by: Vec<String>,
    pub removed: bool,
}

#[derive(Serialize)]
pub struct ReportsRetained {
    pub pipeline: String,
    pub keep: String,
    pub before: String,
    pub reports: u64,
    pub held_by: Vec<String>,
    pub removed: bool,
}

/// Files of requests to reveal or to destroy, with the tokens that they were about.
#[derive(Serialize)]
pub struct RequestsRetained {
    pub keep: String,
    pub before: String,
    pub requests: u64,
    pub held_by: Vec<String>,
    pub removed: bool,
}

#[derive(Serialize)]
pub struct AuditRetained {
    pub keep: String,
    pub entries: u64,
    /// Of the first entry.
    pub oldest: Option<String>,
    /// Whether the first entry is past its retention. It stays all the same.
    pub past: bool,
}

#[derive(Serialize)]
pub struct Skipped {
    pub pipeline: String,
    pub why: String,
    #[serde(skip)]
    pub error: RunError,
}

/// Removes what is past its retention, or, as a dry run, says what would go at some time.
pub fn retain(project: &OpenProject, dry_run: bool, at: Option<DateTime<Utc>>) -> Result<RetainReport, RunError> {
    let now = clock();
    let at = at.unwrap_or(now);
    if at > now && !dry_run {
        return Err(RunError::usage(
            "what is not past its retention yet cannot be removed",
            "add `--dry-run` to see what would go by then",
        ));
    }
    if !dry_run {
        // Of a log that is not whole, who could say which holds are in force?
        let found = project.evidence()?.log.verify(&[])?;
        if let Some(finding) = found.findings.first() {
            return Err(cordon_audit::AuditError::Tampered(finding.clone()).into());
        }
    }
    check_settings(project)?;
    let mut report = RetainReport {
        at: at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        dry_run,
        tables: Vec::new(),
        quarantine: Vec::new(),
        run_reports: Vec::new(),
        requests: None,
        old_parts: 0,
        audit: audit(project, at)?,
        skipped: Vec::new(),
    };
    for pipeline in with_state(project)? {
        if let Err(error) = of_pipeline(project, &pipeline, dry_run, at, &mut report) {
            report.skipped.push(Skipped { pipeline, why: error.to_string(), error });
        }
    }
    report.requests = requests(project, dry_run, now, at)?;
    Ok(report)
}

/// Requests that are closed, and of which nothing was heard for so long. The log keeps what was asked, by whom, and what became of it.
fn requests(
    project: &OpenProject,
    dry_run: bool,
    now: DateTime<Utc>,
    at: DateTime<Utc>,
) -> Result<Option<RequestsRetained>, RunError> {
    let Some(keep) = &project.project.retention.requests else { return Ok(None) };
    let before = keep.before(at);
    let desk = Desk::new(project, now);
    // While any hold is in force: nobody can tell whether a request is about what it is on.
    let held = project.holds_in_force()?;
    let mut told = RequestsRetained {
        keep: keep.to_string(),
        before: before.to_string(),
        requests: 0,
        held_by: held.holds.all().iter().map(|hold| hold.name.clone()).collect(),
        removed: false,
    };
    let may = !dry_run && told.held_by.is_empty();
    told.requests = desk.retire(before, may, |requests| {
        let event = Event::RequestsRetired { requests, keep: keep.to_string(), before: before.to_string() };
        project.audit(&event).map(drop)
    })?;
    told.removed = may && told.requests > 0;
    Ok(Some(told))
}

/// A rule that fits nothing is a slip of the pen: whoever wrote it believes that something goes which stays.
fn check_settings(project: &OpenProject) -> Result<(), RunError> {
    let mut known: KnownTables = project.project.tables_to_be();
    for table in project.tables().tables()? {
        if let Some(version) = project.tables().current(&table)? {
            known.insert(table, version.schema.fields().iter().map(|field| field.name().clone()).collect());
        }
    }
    let issues = project.project.retention.unmatched(&known);
    if issues.0.is_empty() { Ok(()) } else { Err(issues.into()) }
}

/// Pipelines that have written something, also those whose files are gone.
pub(crate) fn with_state(project: &OpenProject) -> Result<BTreeSet<String>, RunError> {
    let folder = project.root.join(&project.project.file.storage.state);
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(&folder).map_err(|error| RunError::io("list", &folder, &error))? {
        let entry = entry.map_err(|error| RunError::io("list", &folder, &error))?;
        if let Ok(name) = entry.file_name().into_string()
            && (project.state_file(&name).is_file() || project.journal_file(&name).is_file())
        {
            names.insert(name);
        }
    }
    Ok(names)
}

fn audit(project: &OpenProject, at: DateTime<Utc>) -> Result<AuditRetained, RunError> {
    let keep = &project.project.retention.audit;
    let oldest = project.audit_log().list(Filter::default())?.next().transpose()?.map(|entry| entry.time);
    Ok(AuditRetained {
        keep: keep.to_string(),
        entries: project.audit_log().head()?.seq,
        oldest: oldest.map(|time| time.date_naive().to_string()),
        past: oldest.is_some_and(|time| time.date_naive() < keep.before(at)),
    })
}

fn of_pipeline(
    project: &OpenProject,
    pipeline: &str,
    dry_run: bool,
    at: DateTime<Utc>,
    report: &mut RetainReport,
) -> Result<(), RunError> {
    let _lock: PipelineLock = project.lock_pipeline(pipeline)?;
    let mut journal = OpenJournal::open(project, pipeline)?;
    if !dry_run {
        journal.carry_out(project, pipeline)?;
    }
    if !journal.is_empty() {
        return Err(RunError::usage(
            format!("a run of `{pipeline}` was interrupted"),
            format!("finish it first:  cordon run {pipeline}"),
        ));
    }
    let state = project.state_file(pipeline);
    let done: Done = read_sealed(&state, &project.seal_key()?)?.unwrap_or_default();
    let mut work = Work { project, pipeline, at, dry_run, journal, done, holds: project.holds()? };
    for table in work.tables() {
        report.tables.extend(work.table(&table)?);
    }
    report.quarantine.extend(work.quarantine()?);
    report.run_reports.extend(work.run_reports()?);
    report.old_parts += if dry_run { 0 } else { tidy(project, pipeline, &work.done)? as u64 };
    Ok(())
}

/// One pipeline, whose lock is held.
struct Work<'a> {
    project: &'a OpenProject,
    pipeline: &'a str,
    at: DateTime<Utc>,
    dry_run: bool,
    journal: OpenJournal,
    done: Done,
    holds: Holds,
}

/// What stays of one part.
struct Left {
    places: Vec<Range<u64>>,
    /// Which file the rows that stay come from, as [`PartRecord::runs`].
    runs: Vec<(u32, u64)>,
    rows: u64,
}

impl Work<'_> {
    fn tables(&self) -> BTreeSet<String> {
        self.done.units.values().flat_map(|unit| &unit.parts).map(|part| part.table.clone()).collect()
    }

    fn table(&mut self, table: &str) -> Result<Option<TableRetained>, RunError> {
        let project = self.project;
        let Some(rule) = project.project.retention.rule(table).cloned() else { return Ok(None) };
        let Some(version) = project.tables().current(table)? else { return Ok(None) };
        let exact = version.manifest.provenance.method == cordon_phi::Method::SafeHarbor.name();
        let cut = Cut::new(table, &rule, &version.schema, exact, self.at)?;
        let left = self.left(table, &version, &cut)?;
        let mut told = TableRetained {
            table: table.to_owned(),
            pipeline: self.pipeline.to_owned(),
            keep: rule.keep.to_string(),
            by: rule.by.clone(),
            before: cut.before.to_string(),
            rows: version.rows(),
            past: left.iter().map(|(info, left)| info.1 - left.rows).sum(),
            whole_parts: left.values().filter(|left| left.rows == 0).count() as u64,
            copied_parts: left.values().filter(|left| left.rows > 0).count() as u64,
            held_by: self.holds.over(table).into_iter().map(str::to_owned).collect(),
            version: None,
        };
        if told.past > 0 && told.held_by.is_empty() && !self.dry_run {
            told.version = Some(self.remove_rows(&told, &version, &left)?);
        }
        Ok(Some(told))
    }

    /// Of each part that loses rows, by file and number of rows, what stays.
    fn left(&self, table: &str, version: &TableVersion, cut: &Cut) -> Result<BTreeMap<(String, u64), Left>, RunError> {
        let named: BTreeSet<&str> = version.manifest.parts.iter().map(|part| part.file.as_str()).collect();
        let mut all = BTreeMap::new();
        for unit in self.done.units.values() {
            for part in unit.parts.iter().filter(|part| part.table == table) {
                if !named.contains(part.info.file.as_str()) {
                    return Err(RunError::damaged(
                        &self.project.state_file(self.pipeline),
                        "names a part that its table has not: state and tables are not of one time",
                    ));
                }
                let left = self.left_of(unit, part, cut)?;
                if left.rows < part.info.rows {
                    all.insert((part.info.file.clone(), part.info.rows), left);
                }
            }
        }
        Ok(all)
    }

    fn left_of(&self, unit: &UnitRecord, part: &PartRecord, cut: &Cut) -> Result<Left, RunError> {
        let since = |file: u32| unit.files.get(file as usize).and_then(FileRecord::since);
        let mut left = Left { places: Vec::new(), runs: Vec::new(), rows: 0 };
        let Some(name) = cut.column() else {
            left.places = part.places(|file| !cut.takes(since(file)));
            left.runs = part.runs.iter().filter(|(file, _)| !cut.takes(since(*file))).copied().collect();
            left.rows = left.runs.iter().map(|(_, rows)| rows).sum();
            return Ok(left);
        };
        let mut runs = part.runs.iter().copied();
        let (mut file, mut of_file) = (0, 0);
        let mut at = 0;
        for batch in self.project.tables().column(&part.table, &part.info, name)? {
            let batch: RecordBatch = batch?;
            for goes in cut.ages(batch.column(0).as_ref())? {
                while of_file == 0 {
                    let next = runs.next();
                    (file, of_file) = next.ok_or(RunError::Internal("the files of a part"))?;
                }
                of_file -= 1;
                if !goes.unwrap_or_else(|| cut.takes(since(file))) {
                    left.keep(at, file);
                }
                at += 1;
            }
        }
        if at != part.info.rows {
            return Err(RunError::Internal("the rows of a part"));
        }
        Ok(left)
    }

    /// Commits the table without the rows that are past their retention. Returns the new version.
    fn remove_rows(
        &mut self,
        told: &TableRetained,
        version: &TableVersion,
        left: &BTreeMap<(String, u64), Left>,
    ) -> Result<u64, RunError> {
        let (project, table) = (self.project, told.table.as_str());
        let run = new_run_id();
        project.audit(&Event::RowsRetired {
            run: run.clone(),
            pipeline: self.pipeline.to_owned(),
            table: table.to_owned(),
            rows: told.past,
            staying: told.rows - told.past,
            keep: told.keep.clone(),
            by: told.by.clone(),
            before: told.before.clone(),
        })?;
        let staging = project.tables().stage(table, &run)?;
        let outcome = self.commit_rows(&run, table, version, left, &staging);
        if let Err(error) = &outcome {
            record_failure_of(project, &run, error);
        }
        let done = outcome?;
        staging.remove()?;
        self.done = done;
        project.tables().current(table)?.map(|version| version.manifest.version).ok_or(RunError::Internal("a commit"))
    }

    fn commit_rows(
        &mut self,
        run: &str,
        table: &str,
        version: &TableVersion,
        left: &BTreeMap<(String, u64), Left>,
        staging: &Staging,
    ) -> Result<Done, RunError> {
        let project = self.project;
        let mut next = self.done.clone();
        let mut change = Change {
            schema: encode_schema(&version.schema)?,
            policy: Some(made_under(&version.manifest)),
            ..Change::default()
        };
        let options = part_options(project.project.memory / 4);
        for unit in next.units.values_mut() {
            let before = files_with_rows(unit);
            let mut parts = Vec::new();
            for part in std::mem::take(&mut unit.parts) {
                let key = (part.info.file.clone(), part.info.rows);
                let Some(left) = left.get(&key).filter(|_| part.table == table) else {
                    parts.push(part);
                    continue;
                };
                change.remove.push(part.info.file.clone());
                if left.rows == 0 {
                    continue;
                }
                let here: BTreeSet<&str> = left
                    .runs
                    .iter()
                    .filter_map(|(file, _)| unit.files.get(*file as usize))
                    .map(|file| file.read_as.as_str())
                    .collect();
                let sources = part.info.sources.iter().filter(|source| here.contains(source.id.as_str())).cloned();
                let sources = sources.collect();
                let info = project.tables().copy_rows(table, &part.info, &left.places, staging, &options, sources)?;
                change.add.push(info.clone());
                parts.push(PartRecord { table: part.table, info, runs: left.runs.clone() });
            }
            unit.parts = parts;
            retire_files(unit, &before);
        }
        staging.sync()?;
        fail_point("copied");
        let tables = BTreeMap::from([(table.to_owned(), change)]);
        self.decide(run, next, tables, made_under(&version.manifest))
    }

    /// Journals the removal and carries it out. Returns the state as it is then.
    fn decide(
        &mut self,
        run: &str,
        next: Done,
        tables: BTreeMap<String, Change>,
        policy: MadeUnder,
    ) -> Result<Done, RunError> {
        let prepared = Prepared {
            run: run.to_owned(),
            policy,
            done: next,
            tables,
            replace: false,
            fresh: Vec::new(),
            unchanged: 0,
            is_replay: false,
            is_retention: true,
        };
        for (table, change) in &prepared.tables {
            self.project.tables().check(table, &commit_of(self.pipeline, &prepared, change, None)?)?;
        }
        let entry = JournalEntry::Prepared(Box::new(prepared));
        self.journal.append(&entry)?;
        fail_point("prepared");
        let JournalEntry::Prepared(prepared) = entry else { return Err(RunError::Internal("a removal")) };
        if is_stopped(self.project, self.pipeline, &prepared)? {
            self.journal.clear()?;
            return Err(RunError::usage(
                "a legal hold came before the removal was carried out",
                "nothing was removed; see  cordon hold list",
            ));
        }
        publish(self.project, self.pipeline, &prepared, &|_| {})?;
        self.journal.clear()?;
        Ok(prepared.done)
    }

    /// Records that were put aside so long ago go, replayed ones too.
    fn quarantine(&mut self) -> Result<Option<QuarantineRetained>, RunError> {
        let project = self.project;
        let Some(keep) = &project.project.retention.quarantine else { return Ok(None) };
        let before = keep.before(self.at);
        let is_past = |unit: &UnitRecord| {
            let since = unit.quarantine.as_ref().and_then(|held| held.since.as_ref()?.parse::<NaiveDate>().ok());
            since.is_some_and(|since| since < before)
        };
        let mut told = QuarantineRetained {
            pipeline: self.pipeline.to_owned(),
            keep: keep.to_string(),
            before: before.to_string(),
            files: 0,
            records: 0,
            reasons: BTreeMap::new(),
            held_by: self.held_by()?,
            removed: false,
        };
        let mut next = self.done.clone();
        for unit in next.units.values_mut().filter(|unit| is_past(unit)) {
            let Some(held) = unit.quarantine.take() else { continue };
            told.files += 1;
            quarantine::read(&project.quarantine_folder(self.pipeline), &held, &project.seal_key()?, |record| {
                if is_waiting(&self.done, unit, &held, &record) {
                    told.records += 1;
                    *told.reasons.entry(record.entry.reason).or_default() += 1;
                }
                Ok(())
            })?;
            next.replayed.forget(&held.file);
        }
        if told.files > 0 && told.held_by.is_empty() && !self.dry_run {
            let run = new_run_id();
            project.audit(&Event::QuarantineRetired {
                run: run.clone(),
                pipeline: self.pipeline.to_owned(),
                files: told.files,
                records: told.records,
                reasons: told.reasons.clone(),
                keep: told.keep.clone(),
                before: told.before.clone(),
            })?;
            let policy = MadeUnder {
                name: String::new(),
                sha256: String::new(),
                method: String::new(),
                reference_date: String::new(),
            };
            match self.decide(&run, next, BTreeMap::new(), policy) {
                Ok(done) => self.done = done,
                Err(error) => {
                    record_failure_of(project, &run, &error);
                    return Err(error);
                }
            }
            told.removed = true;
        }
        Ok(Some(told))
    }

    fn run_reports(&self) -> Result<Option<ReportsRetained>, RunError> {
        let project = self.project;
        let Some(keep) = &project.project.retention.run_reports else { return Ok(None) };
        let before = keep.before(self.at);
        let past: Vec<String> = report::runs_of(project, self.pipeline)
            .into_iter()
            .filter(|run| reported(project, self.pipeline, run).is_some_and(|day| day < before))
            .collect();
        let mut told = ReportsRetained {
            pipeline: self.pipeline.to_owned(),
            keep: keep.to_string(),
            before: before.to_string(),
            reports: past.len() as u64,
            held_by: self.held_by()?,
            removed: false,
        };
        if !past.is_empty() && told.held_by.is_empty() && !self.dry_run {
            let held = project.holds_in_force()?;
            if is_held(project, &held.holds, self.pipeline, &self.done)? {
                return Ok(Some(told));
            }
            project.audit(&Event::ReportsRetired {
                pipeline: self.pipeline.to_owned(),
                reports: told.reports,
                keep: told.keep.clone(),
                before: told.before.clone(),
            })?;
            for run in past {
                let path = project.report_file(self.pipeline, &run);
                fs::remove_file(&path).map_err(|error| RunError::io("remove", &path, &error))?;
            }
            told.removed = true;
        }
        Ok(Some(told))
    }

    /// The holds on any table of the pipeline: they keep what was put aside on the way there, and what was told of it.
    fn held_by(&self) -> Result<Vec<String>, RunError> {
        if self.holds.all().is_empty() {
            return Ok(Vec::new());
        }
        let tables = tables_of(self.project, self.pipeline, &self.done)?;
        Ok(self.holds.over_any(tables.iter().map(String::as_str)).into_iter().map(str::to_owned).collect())
    }
}

impl Left {
    fn keep(&mut self, at: u64, file: u32) {
        match self.places.last_mut().filter(|last| last.end == at) {
            Some(last) => last.end += 1,
            None => self.places.push(at..at + 1),
        }
        match self.runs.last_mut().filter(|(last, _)| *last == file) {
            Some((_, rows)) => *rows += 1,
            None => self.runs.push((file, 1)),
        }
        self.rows += 1;
    }
}

/// The day of the run, or of the file where that is later: a run that was carried on has the name that it began with.
fn reported(project: &OpenProject, pipeline: &str, run: &str) -> Option<NaiveDate> {
    let named = NaiveDateTime::parse_from_str(run.get(..15)?, "%Y%m%dT%H%M%S").ok()?.date();
    let modified: SystemTime = fs::metadata(project.report_file(pipeline, run)).ok()?.modified().ok()?;
    // A test sets the clock and not that of the disk.
    if cfg!(debug_assertions) && std::env::var_os("CORDON_NOW").is_some() {
        return Some(named);
    }
    Some(named.max(DateTime::<Utc>::from(modified).date_naive()))
}

fn made_under(manifest: &Manifest) -> MadeUnder {
    let made = &manifest.provenance;
    MadeUnder {
        name: made.policy.clone(),
        sha256: made.policy_sha256.clone(),
        method: made.method.clone(),
        reference_date: made.reference_date.clone(),
    }
}

fn files_with_rows(unit: &UnitRecord) -> BTreeSet<u32> {
    unit.parts.iter().flat_map(|part| &part.runs).map(|(file, _)| *file).collect()
}

/// Files that have lost their last row need not be read again. Where records of theirs may be replayed, they are.
fn retire_files(unit: &mut UnitRecord, before: &BTreeSet<u32>) {
    let after = files_with_rows(unit);
    if unit.quarantine.is_some() {
        return;
    }
    for (number, file) in (0..).zip(&mut unit.files) {
        file.retired |= before.contains(&number) && !after.contains(&number);
    }
}

/// All tables of a pipeline: those that it has written, and those that it may.
pub(crate) fn tables_of(project: &OpenProject, pipeline: &str, done: &Done) -> Result<BTreeSet<String>, RunError> {
    let mut tables: BTreeSet<String> =
        done.units.values().flat_map(|unit| &unit.parts).map(|part| part.table.clone()).collect();
    if let Ok(pipeline) = project.project.pipeline(pipeline)
        && let Ok(recipe) = pipeline.compile(CompileOptions::on(NaiveDate::default()))
    {
        tables.extend(pipeline.may_write(&recipe).into_keys());
    }
    for table in project.tables().tables()? {
        let version = project.tables().current(&table)?;
        if version.is_some_and(|version| version.manifest.provenance.pipeline == pipeline) {
            tables.insert(table);
        }
    }
    Ok(tables)
}

/// Whether a hold is on any table of the pipeline.
pub(crate) fn is_held(project: &OpenProject, holds: &Holds, pipeline: &str, done: &Done) -> Result<bool, RunError> {
    // Nobody has to look at tables for that.
    if holds.all().is_empty() {
        return Ok(false);
    }
    let tables = tables_of(project, pipeline, done)?;
    Ok(!holds.over_any(tables.iter().map(String::as_str)).is_empty())
}

/// Whether a removal that was decided may not be carried out any more, because a hold has come. It is on the record then that
/// nothing came of it.
pub(crate) fn is_stopped(project: &OpenProject, pipeline: &str, prepared: &Prepared) -> Result<bool, RunError> {
    if !prepared.is_retention || !is_on_hold(project, &project.holds()?, pipeline, prepared)? {
        return Ok(false);
    }
    project.audit(&Event::RunFailed { run: prepared.run.clone(), what: STOPPED })?;
    Ok(true)
}

/// What the record says of a removal that was decided and not carried out.
pub(crate) const STOPPED: Label = Label::new("stopped by a legal hold");

/// That no hold is on what is to be removed, for as long as the answer is kept.
pub(crate) fn none_held(project: &OpenProject, pipeline: &str, prepared: &Prepared) -> Result<InForce, RunError> {
    let held = project.holds_in_force()?;
    if is_on_hold(project, &held.holds, pipeline, prepared)? {
        return Err(RunError::usage(
            "a legal hold came while rows were about to be removed",
            "nothing was removed; see  cordon hold list",
        ));
    }
    Ok(held)
}

fn is_on_hold(project: &OpenProject, holds: &Holds, pipeline: &str, prepared: &Prepared) -> Result<bool, RunError> {
    if prepared.tables.is_empty() {
        return is_held(project, holds, pipeline, &prepared.done);
    }
    for table in prepared.tables.keys().filter(|table| !holds.over(table).is_empty()) {
        // What has left is gone from the table; its parts stay.
        if !project.tables().current(table)?.is_some_and(|version| version.has_commit(&prepared.run)) {
            return Ok(true);
        }
    }
    Ok(false)
}
