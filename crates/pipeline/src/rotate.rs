//! Rotation of purpose keys: new versions in the ring, the audit log under them, and what is sealed sealed again.
//!
//! What is to be done is written down before anything changes, and forgotten when all of it is done; each step can be repeated. So a
//! rotation that was killed at any instant is carried on by the next one:
//!
//! 1. The plan: which versions are to be made. On the record.
//! 2. The ring is replaced by one that holds them too. From here on whatever is written is written under them.
//! 3. The audit log goes on in a new segment; the key before signs that.
//! 4. State and quarantine are sealed again, file by file. Manifests and parts stay as they are, and stay readable.
//! 5. Signing keys that the log has left are removed from the ring: they could only forge.
//!
//! No run goes on meanwhile. A query that does fails at its next audit entry, and is asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cordon_audit::{Event, KeyOperationKind, Outcome};
use cordon_crypto::{AuditSealKey, AuditSigningSeed, SealKey, TableMasterKey};
use cordon_engine::tables::{KeyUse, PartInfo};
use cordon_vault::keyring::{KeyRing, KeyStatus, KeyVersion, RootSecret};
use serde::{Deserialize, Serialize};

use crate::error::RunError;
use crate::project::OpenProject;
use crate::quarantine;
use crate::run::{PipelineLock, fail_point, now};
use crate::sealed::{self, read_sealed, write_sealed};
use crate::state::JournalEntry;

/// What a rotation came to.
#[derive(Debug, Serialize)]
pub struct Rotation {
    /// One that had been interrupted was carried on.
    pub resumed: bool,
    /// The versions that it made.
    pub versions: Vec<String>,
    /// Files that were sealed again now.
    pub resealed: usize,
    /// Files that could not be, as they are damaged or of another kind. They are as readable as before.
    pub left: Vec<PathBuf>,
    /// Versions that left the ring.
    pub retired: Vec<String>,
}

/// What is going on, for whoever waits.
pub enum RotateStep<'a> {
    Resumed { versions: &'a [KeyVersion] },
    Added { versions: &'a [KeyVersion] },
    LogContinued,
    Sealing { done: usize, of: usize },
}

/// One version of a key, and what stands under it.
pub struct VersionUse {
    pub key: KeyStatus,
    pub is_newest: bool,
    /// `None` where it is not counted: keys that are not rotated.
    pub files: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Plan {
    begun: String,
    versions: Vec<KeyVersion>,
}

impl OpenProject {
    fn plan_file(&self) -> PathBuf {
        self.state_root().join("rotation.sealed")
    }

    pub(crate) fn state_root(&self) -> PathBuf {
        self.root.join(&self.project.file.storage.state)
    }

    /// The versions that an interrupted rotation was to make.
    pub fn interrupted_rotation(&self) -> Result<Option<Vec<KeyVersion>>, RunError> {
        let plan: Option<Plan> = read_sealed(&self.plan_file(), &self.seal_key()?)?;
        Ok(plan.map(|plan| plan.versions))
    }
}

/// Makes a new version of each key of the purposes, or carries on a rotation that was interrupted, whatever the purposes.
pub fn rotate(
    project: OpenProject,
    root: &RootSecret,
    user: &str,
    purposes: &[&str],
    tell: &dyn Fn(RotateStep<'_>),
) -> Result<Rotation, RunError> {
    let _locks = lock_all(&project)?;
    let pending = project.interrupted_rotation()?;
    let resumed = pending.is_some();
    let versions = match pending {
        Some(versions) => versions,
        None => {
            let mut versions = Vec::new();
            for purpose in purposes {
                versions.extend(project.ring.next_versions(purpose)?);
            }
            if versions.is_empty() {
                return Err(RunError::Internal("a rotation of nothing"));
            }
            let plan = Plan { begun: now(), versions };
            write_sealed(&project.plan_file(), &project.seal_key()?, &plan)?;
            plan.versions
        }
    };
    if resumed {
        tell(RotateStep::Resumed { versions: &versions });
    }
    fail_point("rotate-planned");
    record(&project, KeyOperationKind::Rotated, &versions, Outcome::Begun)?;
    let (project, mut rotation) = match renew(project, root, user, &versions, tell) {
        Ok(renewed) => renewed,
        Err((project, error)) => {
            // The log may be what failed; the first error is the one to show.
            let _ = project.map(|project| record(&project, KeyOperationKind::Rotated, &versions, Outcome::Failed));
            return Err(error);
        }
    };
    rotation.resumed = resumed;
    fs::remove_file(project.plan_file())
        .and_then(|()| sealed::sync_folder(&project.state_root()))
        .map_err(|error| RunError::io("remove", &project.plan_file(), &error))?;
    Ok(rotation)
}

/// Steps 2 to 5. With the error comes the project, as far as it is still open.
fn renew(
    mut project: OpenProject,
    root: &RootSecret,
    user: &str,
    versions: &[KeyVersion],
    tell: &dyn Fn(RotateStep<'_>),
) -> Result<(OpenProject, Rotation), (Option<Box<OpenProject>>, RunError)> {
    if let Err(error) = project.ring.rotate(root, versions, &now()) {
        return Err((Some(Box::new(project)), error.into()));
    }
    fail_point("rotate-added");
    tell(RotateStep::Added { versions });
    // With the new versions: the log of before would go on under the old ones.
    let mut project = project.reopened(user).map_err(|error| (None, error))?;
    match finish(&mut project, root, versions, tell) {
        Ok(rotation) => Ok((project, rotation)),
        Err(error) => Err((Some(Box::new(project)), error)),
    }
}

fn finish(
    project: &mut OpenProject,
    root: &RootSecret,
    versions: &[KeyVersion],
    tell: &dyn Fn(RotateStep<'_>),
) -> Result<Rotation, RunError> {
    record(project, KeyOperationKind::Rotated, versions, Outcome::Done)?;
    fail_point("rotate-log");
    tell(RotateStep::LogContinued);
    let (resealed, left) = reseal_all(project, versions, tell)?;
    fail_point("rotate-resealed");
    let mut retired = Vec::new();
    if project.evidence()?.log.last_key()? == Some(project.audit_log().verifying_key()) {
        retired = older_than_newest(&project.ring, AuditSigningSeed::PURPOSE);
        remove(project, root, &retired)?;
    }
    fail_point("rotate-retired");
    Ok(Rotation {
        resumed: false,
        versions: versions.iter().map(KeyVersion::name).collect(),
        resealed,
        left,
        retired: retired.iter().map(KeyVersion::name).collect(),
    })
}

/// Removes from the ring the old versions that nothing stands under any more.
pub fn retire(project: &mut OpenProject, root: &RootSecret) -> Result<Vec<String>, RunError> {
    let _locks = lock_all(project)?;
    if project.interrupted_rotation()?.is_some() {
        return Err(RunError::usage("a rotation was interrupted", "finish it first:  cordon keys rotate"));
    }
    let unused: Vec<KeyVersion> = key_use(project)?
        .into_iter()
        .filter(|version| version.files == Some(0))
        .map(|version| version.key.key_version())
        .filter(|version| project.ring.why_kept(version).is_none())
        .collect();
    remove(project, root, &unused)?;
    Ok(unused.iter().map(KeyVersion::name).collect())
}

fn remove(project: &mut OpenProject, root: &RootSecret, versions: &[KeyVersion]) -> Result<(), RunError> {
    if versions.is_empty() {
        return Ok(());
    }
    record(project, KeyOperationKind::Retired, versions, Outcome::Begun)?;
    if let Err(error) = project.ring.retire(root, versions) {
        record(project, KeyOperationKind::Retired, versions, Outcome::Failed)?;
        return Err(error.into());
    }
    record(project, KeyOperationKind::Retired, versions, Outcome::Done)
}

fn record(
    project: &OpenProject,
    what: KeyOperationKind,
    versions: &[KeyVersion],
    outcome: Outcome,
) -> Result<(), RunError> {
    let key_ids = versions.iter().map(KeyVersion::name).collect();
    project.audit(&Event::KeyOperation { what, key_ids, outcome }).map(drop)
}

/// Keeps runs and other rotations out: what they have open they would write under the keys that they know.
fn lock_all(project: &OpenProject) -> Result<Vec<PipelineLock>, RunError> {
    let mut locks = vec![PipelineLock::take_for(project.state_root().join("keys.lock"), "another change of keys")?];
    for pipeline in pipelines(project) {
        locks.push(project.lock_pipeline(&pipeline)?);
    }
    Ok(locks)
}

/// Those that have a file, and those that have left something.
fn pipelines(project: &OpenProject) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = project.project.names_in("pipelines").into_iter().collect();
    for folder in [project.state_root(), project.root.join(&project.project.file.storage.quarantine)] {
        names.extend(
            fs::read_dir(folder)
                .into_iter()
                .flatten()
                .flatten()
                .filter(|entry| entry.path().is_dir())
                .filter_map(|entry| entry.file_name().into_string().ok()),
        );
    }
    names
}

/// A file that is sealed by the project's key, and how.
struct Sealed {
    path: PathBuf,
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole,
    Journal,
    Quarantine,
}

impl Sealed {
    fn version(&self) -> Result<Option<u32>, RunError> {
        sealed::version_of(&self.path, self.form == Form::Journal)
    }
}

/// State and quarantine. The mark of the audit log is not among them: each entry replaces it.
fn sealed_files(project: &OpenProject) -> Vec<Sealed> {
    let mut files = Vec::new();
    let state = project.state_root();
    let passing = [state.join("audit.sealed"), project.plan_file()];
    let states = pipelines(project).into_iter().map(|pipeline| project.state_folder(&pipeline));
    for path in std::iter::once(state).chain(states).flat_map(|folder| sealed_in(&folder)) {
        let form =
            if path.file_name().is_some_and(|name| name == "journal.sealed") { Form::Journal } else { Form::Whole };
        if !passing.contains(&path) {
            files.push(Sealed { path, form });
        }
    }
    for pipeline in pipelines(project) {
        let found = sealed_in(&project.quarantine_folder(&pipeline));
        files.extend(found.into_iter().map(|path| Sealed { path, form: Form::Quarantine }));
    }
    files
}

fn sealed_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.is_file() && path.extension().is_some_and(|end| end == "sealed")).collect();
    paths.sort();
    paths
}

fn reseal_all(
    project: &OpenProject,
    versions: &[KeyVersion],
    tell: &dyn Fn(RotateStep<'_>),
) -> Result<(usize, Vec<PathBuf>), RunError> {
    let keys = project.seal_key()?;
    let mut stale = Vec::new();
    for file in sealed_files(project) {
        if file.version()?.is_some_and(|version| version != keys.newest()) {
            stale.push(file);
        }
    }
    if stale.is_empty() {
        return Ok((0, Vec::new()));
    }
    record(project, KeyOperationKind::Resealed, versions, Outcome::Begun)?;
    let (mut resealed, mut left) = (0, Vec::new());
    for (done, file) in stale.iter().enumerate() {
        tell(RotateStep::Sealing { done, of: stale.len() });
        let outcome = match file.form {
            Form::Whole => sealed::reseal(&file.path, &keys, false),
            Form::Journal => sealed::reseal(&file.path, &keys, true),
            Form::Quarantine => quarantine::reseal(&file.path, &keys),
        };
        match outcome {
            Ok(changed) => resealed += usize::from(changed),
            Err(RunError::Damaged { path, .. } | RunError::OtherVersion { path }) => left.push(path),
            Err(error) => return Err(error),
        }
        fail_point("rotate-sealing");
    }
    record(project, KeyOperationKind::Resealed, versions, Outcome::Done)?;
    Ok((resealed, left))
}

fn older_than_newest(ring: &KeyRing, purpose: &str) -> Vec<KeyVersion> {
    let newest: Vec<KeyVersion> = ring.newest().iter().map(KeyStatus::key_version).collect();
    let of_purpose = ring.status().into_iter().filter(|key| key.purpose == purpose);
    of_purpose.map(|key| key.key_version()).filter(|version| !newest.contains(version)).collect()
}

/// Every key of the ring, and how many files stand under each version. Where nothing was ever rotated there is nothing to
/// count, and no store is asked.
pub fn key_use(project: &OpenProject) -> Result<Vec<VersionUse>, RunError> {
    let mut all = uncounted(&project.ring);
    if all.iter().all(|version| version.is_newest) {
        return Ok(all);
    }
    let counted = Counted::of(project)?;
    for version in &mut all {
        version.files = counted.files(&version.key);
    }
    Ok(all)
}

/// The keys alone.
pub fn uncounted(ring: &KeyRing) -> Vec<VersionUse> {
    let newest: Vec<KeyVersion> = ring.newest().iter().map(KeyStatus::key_version).collect();
    let all = ring.status().into_iter();
    all.map(|key| VersionUse { is_newest: newest.contains(&key.key_version()), key, files: None }).collect()
}

/// Numbers of files by what they stand under.
struct Counted {
    tables: KeyUse,
    sealed: BTreeMap<u32, u64>,
    log: BTreeMap<u32, u64>,
    /// The version that signs the log's last segment is the newest.
    is_signed_by_newest: bool,
}

impl Counted {
    fn of(project: &OpenProject) -> Result<Self, RunError> {
        let mut tables = KeyUse::default();
        for table in project.tables().tables()? {
            tables.add(project.tables().key_use(&table)?);
        }
        for part in staged(project)? {
            for id in part.key_ids {
                *tables.parts.entry(id).or_default() += 1;
            }
        }
        let mut sealed = BTreeMap::new();
        for file in sealed_files(project) {
            if let Some(version) = file.version()? {
                *sealed.entry(version).or_default() += 1;
            }
        }
        let log = project.evidence()?.log;
        let is_signed_by_newest = log.last_key()? == Some(project.audit_log().verifying_key());
        Ok(Self { tables, sealed, log: log.seal_versions()?, is_signed_by_newest })
    }

    fn files(&self, key: &KeyStatus) -> Option<u64> {
        let of = |counts: &BTreeMap<u32, u64>| counts.get(&key.version).copied().unwrap_or_default();
        match key.purpose.as_str() {
            TableMasterKey::PURPOSE => Some(self.tables.parts.get(&key.name()).copied().unwrap_or_default()),
            SealKey::PURPOSE => Some(of(&self.tables.manifests) + of(&self.sealed)),
            AuditSealKey::PURPOSE => Some(of(&self.log)),
            // What it signed is verified by what stands in the log itself.
            AuditSigningSeed::PURPOSE if self.is_signed_by_newest => Some(0),
            _ => None,
        }
    }
}

/// Parts of runs that were interrupted: they come into tables when those are carried on.
fn staged(project: &OpenProject) -> Result<Vec<PartInfo>, RunError> {
    let mut parts = Vec::new();
    for pipeline in pipelines(project) {
        let path = project.journal_file(&pipeline);
        for entry in sealed::entries::<JournalEntry>(&path, &project.seal_key()?)? {
            match entry {
                JournalEntry::Started { .. } => {}
                JournalEntry::Unit { records, .. } => {
                    parts.extend(records.into_iter().flat_map(|(_, unit)| unit.parts).map(|part| part.info));
                }
                JournalEntry::Prepared(prepared) => {
                    parts.extend(prepared.tables.into_values().flat_map(|change| change.add));
                }
            }
        }
    }
    Ok(parts)
}
