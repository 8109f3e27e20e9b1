//! The audit log and the tables against each other, read without changing either.
//!
//! The tables' manifests name entries of the log, so that the log cannot be cut behind their back; the log names the
//! versions of tables, so that a table cannot be set back to an earlier one behind its.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cordon_audit::{Anchor, AuditReader, Event, Filter, VerifyReport};
use cordon_crypto::{AuditSealKey, SealKey};
use cordon_custody::AuditMark;
use cordon_engine::tables::TableStore;
use cordon_vault::keyring::KeyRing;
use serde::Serialize;

use crate::error::RunError;
use crate::project::{AskPassphrase, Existing, OpenProject, Project, Warehouse};
use crate::retain::STOPPED;

/// A project's record as an auditor reads it: nothing is locked, healed, appended or made.
pub struct Evidence {
    pub log: AuditReader,
    /// `None` where the folder of tables does not exist.
    tables: Option<TableStore>,
    /// How far the log had come, as the project's state says.
    reached: Option<Anchor>,
}

/// A project of which only the keys are open.
pub struct ReadOnly {
    project: Project,
    ring: KeyRing,
    pub evidence: Evidence,
}

impl ReadOnly {
    /// Opens the log for writing after all, to say that somebody has read.
    pub fn record(self, user: &str, event: &Event) -> Result<(), RunError> {
        OpenProject::new(self.project, self.ring, user, Existing::Must)?.audit(event).map(drop)
    }
}

/// A table that does not have what the log says was committed to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableFinding {
    pub table: String,
    /// What the log says.
    pub committed: u64,
    /// What there is; 0 for no table.
    pub found: u64,
}

impl fmt::Display for TableFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, committed, found } = self;
        match found {
            0 => write!(f, "table {table}: version {committed} was committed and the table is not there"),
            _ => write!(f, "table {table}: version {committed} was committed and version {found} is the newest there"),
        }
    }
}

/// What verification found.
#[derive(Serialize)]
pub struct Findings {
    #[serde(flatten)]
    pub log: VerifyReport,
    pub tables: Vec<TableFinding>,
    /// Tables of which a version was committed twice, by two runs: the first was removed in between.
    pub made_again: Vec<String>,
}

impl Findings {
    pub fn is_intact(&self) -> bool {
        self.log.is_intact() && self.tables.is_empty()
    }
}

impl Project {
    /// The record, for reading only.
    pub fn open_read_only(self, ask: AskPassphrase<'_>) -> Result<ReadOnly, RunError> {
        let ring = KeyRing::open(&self.keyring_path(), &self.root_secret(ask)?)?;
        let evidence = Evidence::new(&self, &ring)?;
        Ok(ReadOnly { project: self, ring, evidence })
    }
}

impl OpenProject {
    /// The record of a project whose keys are in hand already.
    pub fn evidence(&self) -> Result<Evidence, RunError> {
        Evidence::new(&self.project, &self.ring)
    }
}

impl Evidence {
    fn new(project: &Project, ring: &KeyRing) -> Result<Self, RunError> {
        let key = ring.audit_signing_key()?.verifying_key();
        let log = AuditReader::open(&project.audit_folder(), ring.versions::<AuditSealKey>()?, key)
            .before_rotation(ring.audit_signing_keys()?.verifying_keys());
        let there = match project.warehouse() {
            Warehouse::Folder(folder) => folder.is_dir(),
            Warehouse::Objects(_) => true,
        };
        let tables = if there { Some(project.table_store(ring)?) } else { None };
        let state = project.root.join(&project.file.storage.state);
        let reached = AuditMark::new(&state, ring.versions::<SealKey>()?).read()?;
        Ok(Self { log, tables, reached })
    }

    /// Proves the log, that `anchors` and those of the tables are in it, and that each table has what it says.
    pub fn verify(&self, anchors: &[Anchor]) -> Result<Findings, RunError> {
        let mut anchors = anchors.to_vec();
        anchors.extend(self.anchors()?);
        let log = self.log.verify(&anchors)?;
        // Of a log that is not whole nothing is concluded about tables.
        let (tables, made_again) = if log.is_intact() { self.compare()? } else { Default::default() };
        Ok(Findings { log, tables, made_again })
    }

    /// What the tables remember of the log.
    fn anchors(&self) -> Result<Vec<Anchor>, RunError> {
        let mut anchors: Vec<Anchor> = self.reached.into_iter().collect();
        let Some(store) = &self.tables else { return Ok(anchors) };
        for table in store.tables()? {
            for version in store.history(&table)? {
                if let Some(anchor) = &version.manifest.provenance.audit {
                    let hash = anchor.hash.parse().map_err(|_| RunError::Internal("an anchor"))?;
                    anchors.push(Anchor { seq: anchor.seq, hash });
                }
            }
        }
        Ok(anchors)
    }

    /// The log is read before the tables, so that a commit in between is not taken for a loss.
    fn compare(&self) -> Result<(Vec<TableFinding>, Vec<String>), RunError> {
        let commits = Commits::read(&self.log)?;
        let mut findings = Vec::new();
        for (table, newest) in &commits.newest {
            let current = match &self.tables {
                Some(store) => store.current(table)?,
                None => None,
            };
            let found = current.map_or(0, |version| version.manifest.version);
            // The entry stands before the version can be read: a run that was stopped in between is no loss. Its next
            // run publishes the version before it does anything else.
            let in_flight = commits.may_be_unpublished(newest) && found + 1 == newest.version;
            if found < newest.version && !in_flight {
                findings.push(TableFinding { table: table.clone(), committed: newest.version, found });
            }
        }
        Ok((findings, commits.made_again.into_iter().collect()))
    }
}

/// What the log says of commits.
#[derive(Default)]
struct Commits {
    newest: BTreeMap<String, Commit>,
    made_again: BTreeSet<String>,
    /// Pipelines by run.
    pipelines: BTreeMap<String, String>,
    /// When each run, and each pipeline's last run, was heard of in a way that comes after all commits before it.
    finished: BTreeMap<String, u64>,
    started: BTreeMap<String, u64>,
    last_start: u64,
}

struct Commit {
    seq: u64,
    version: u64,
    run: String,
    /// The pipeline that made the table, as far as it is known.
    pipeline: Option<String>,
    /// The one before, should this one be withdrawn.
    before: Option<Box<Commit>>,
}

impl Commits {
    fn read(log: &AuditReader) -> Result<Self, RunError> {
        let mut commits = Self::default();
        for entry in log.list(Filter::default())? {
            let entry = entry?;
            commits.add(entry.seq, &entry.event);
        }
        Ok(commits)
    }

    fn add(&mut self, seq: u64, event: &Event) {
        match event {
            Event::RunStarted { run, pipeline, .. } | Event::RowsRetired { run, pipeline, .. } => {
                self.pipelines.insert(run.clone(), pipeline.clone());
                self.started.insert(pipeline.clone(), seq);
                self.last_start = seq;
            }
            Event::RunFinished { run, .. } | Event::QuarantineReplayed { run, .. } => {
                self.finished.insert(run.clone(), seq);
            }
            Event::TableCommitted { run, table, version, .. } => {
                let before = self.newest.get(table);
                if before.is_some_and(|before| *version <= before.version && before.run != *run) {
                    self.made_again.insert(table.clone());
                }
                // A replay tells no pipeline of its own: it is that of the runs that made the table.
                let known = before.and_then(|before| before.pipeline.clone());
                let pipeline = self.pipelines.get(run).cloned().or(known);
                let before = self.newest.remove(table).and_then(|before| {
                    if before.run == *run { before.before } else { Some(Box::new(Commit { before: None, ..before })) }
                });
                let commit = Commit { seq, version: *version, run: run.clone(), pipeline, before };
                self.newest.insert(table.clone(), commit);
            }
            // A removal that a hold stopped between its entry and its publication.
            Event::RunFailed { run, what } if *what == STOPPED => {
                let stopped: Vec<String> = self
                    .newest
                    .iter()
                    .filter(|(_, commit)| commit.run == *run)
                    .map(|(table, _)| table.clone())
                    .collect();
                for table in stopped {
                    if let Some(before) = self.newest.remove(&table).and_then(|commit| commit.before) {
                        self.newest.insert(table, *before);
                    }
                }
            }
            _ => {}
        }
    }

    /// Neither its run nor any later one of the pipeline came to a point that is behind the publication.
    fn may_be_unpublished(&self, commit: &Commit) -> bool {
        let started = match &commit.pipeline {
            Some(pipeline) => self.started.get(pipeline).copied().unwrap_or_default(),
            None => self.last_start,
        };
        !self.finished.contains_key(&commit.run) && started < commit.seq
    }
}

#[cfg(test)]
mod tests {
    use cordon_audit::{Digest, Sources};

    use super::*;

    fn committed(run: &str, version: u64) -> Event {
        Event::TableCommitted {
            run: run.to_owned(),
            table: "t".to_owned(),
            version,
            rows: 1,
            rows_digest: None,
            quarantined: 0,
            sources: Sources::default(),
            policy_hash: Digest::of(&[b"p"]),
            key_ids: Vec::new(),
        }
    }

    fn started(run: &str) -> Event {
        Event::RunStarted {
            run: run.to_owned(),
            pipeline: "p".to_owned(),
            policy_hash: Digest::of(&[b"p"]),
            sources: Sources::default(),
            key_ids: Vec::new(),
        }
    }

    fn finished(run: &str) -> Event {
        Event::RunFinished { run: run.to_owned(), rows_read: 1, rows_written: 1, quarantined: 0 }
    }

    fn read(events: &[Event]) -> Commits {
        let mut commits = Commits::default();
        for (seq, event) in (1..).zip(events) {
            commits.add(seq, event);
        }
        commits
    }

    fn unpublished(events: &[Event]) -> bool {
        let commits = read(events);
        commits.newest.get("t").is_some_and(|newest| commits.may_be_unpublished(newest))
    }

    #[test]
    fn only_the_last_commit_of_a_stopped_run_may_be_missing() {
        assert!(unpublished(&[started("a"), committed("a", 1)]));
        assert!(!unpublished(&[started("a"), committed("a", 1), finished("a")]));
        assert!(!unpublished(&[started("a"), committed("a", 1), started("b")]), "what comes next publishes it first");
        assert!(!unpublished(&[started("a"), committed("a", 1), started("a")]));
        // A replay: its pipeline is known by the table.
        assert!(unpublished(&[started("a"), committed("a", 1), finished("a"), committed("r", 2)]));
        assert!(!unpublished(&[started("a"), committed("a", 1), finished("a"), committed("r", 2), started("b")]));
    }

    #[test]
    fn a_version_that_two_runs_committed_was_removed_in_between() {
        assert!(read(&[committed("a", 1), committed("a", 1)]).made_again.is_empty(), "a resumed run says it again");
        assert!(read(&[committed("a", 1), committed("b", 2)]).made_again.is_empty());
        assert_eq!(read(&[committed("a", 2), committed("b", 2)]).made_again.len(), 1);
    }
}
