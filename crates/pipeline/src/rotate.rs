//! Rotation of purpose keys: new versions in the ring, the audit log under them, and what is sealed sealed again.
//!
//! What is to be done is written down before anything changes, and forgotten when all of it is done; each step can be repeated. So a
//! rotation that was killed at any instant is carried on by the next one:
//!
//! 1. The plan: which versions are to be made. On the record.
//! 2. The ring is replaced by one that holds them too. From here on whatever is written is written under them.
//! 3. The audit log goes on in a new segment; the key before signs that.
//! 4. State and quarantine are sealed again, file by file. Manifests and parts stay as they are, and stay readable.
//! 5. Key material that stands beside parts is wrapped under the newest master keys, part by part; the parts stay as they are. Where
//!    the master keys are in a store, which makes their versions, this is all that a rotation of them does.
//! 6. The subject keys are sealed under the newest version of their key, and the versions before leave the ring (decision 0016).
//! 7. Signing keys that the log has left are removed from the ring: they could only forge.
//!
//! No run goes on meanwhile. A query that does fails at its next audit entry, and is asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cordon_audit::{Event, KeyOperationKind, Outcome};
use cordon_crypto::{AuditSealKey, AuditSigningSeed, BlindIndexKey, SealKey, SubjectSealKey, TableMasterKey, VaultKey};
use cordon_engine::keytools::MasterVersion;
use cordon_engine::tables::{KeyUse, PartCount, PartInfo, RewrapProgress, Rewrapped};
use cordon_vault::keyring::{KeyStatus, KeyVersion, RootSecret};
use serde::{Deserialize, Serialize};

use crate::error::RunError;
use crate::project::OpenProject;
use crate::quarantine;
use crate::run::{PipelineLock, fail_point, now};
use crate::sealed::{self, read_sealed, write_sealed};
use crate::shred;
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
    /// Files whose key material, which stands beside them, was wrapped anew now.
    pub rewrapped: u64,
    /// Files with their key material inside: they stay under the master keys that they are under until they are written again.
    pub inside: u64,
    /// Versions that left the ring.
    pub retired: Vec<String>,
}

/// What is going on, for whoever waits.
pub enum RotateStep<'a> {
    Resumed { plan: &'a Plan },
    Added { versions: &'a [KeyVersion] },
    LogContinued,
    Sealing { done: usize, of: usize },
    Rewrapping { table: &'a str, done: usize, of: usize },
}

/// One version of a key, and what stands under it.
pub struct VersionUse {
    pub key: KeyStatus,
    pub is_newest: bool,
    /// `None` where it is not counted: keys that are not rotated.
    pub files: Option<u64>,
    /// Of the files, those with their key material inside.
    pub inside: u64,
}

/// One version of a master key that is kept in a store, and what stands under it.
pub struct StoredUse {
    pub key: String,
    /// Kind, key and place.
    pub store: String,
    pub version: u64,
    /// The newest version in the store.
    pub newest: u64,
    /// The store unwraps with this version.
    pub is_allowed: bool,
    pub files: u64,
    /// Of the files, those with their key material inside.
    pub inside: u64,
}

/// All keys, by version.
pub struct KeysInUse {
    pub ring: Vec<VersionUse>,
    /// Where the master keys of tables are in a store.
    pub stored: Vec<StoredUse>,
    /// Keys of persons were destroyed, and the file of subject keys is not under a new key yet.
    pub subject_keys_due: bool,
}

/// What a rotation is to do.
#[derive(Serialize, Deserialize)]
pub struct Plan {
    begun: String,
    pub versions: Vec<KeyVersion>,
    /// Key material beside parts is wrapped anew.
    #[serde(default)]
    pub rewrap: bool,
}

impl Plan {
    /// For people.
    pub fn told(&self) -> String {
        let versions = self.versions.iter().map(KeyVersion::name);
        let rewrap = self.rewrap.then(|| "key material of tables".to_owned());
        versions.chain(rewrap).collect::<Vec<_>>().join(", ")
    }
}

impl OpenProject {
    fn plan_file(&self) -> PathBuf {
        self.state_root().join("rotation.sealed")
    }

    pub(crate) fn state_root(&self) -> PathBuf {
        self.root.join(&self.project.file.storage.state)
    }

    /// What an interrupted rotation was to do.
    pub fn interrupted_rotation(&self) -> Result<Option<Plan>, RunError> {
        read_sealed(&self.plan_file(), &self.seal_key()?)
    }
}

/// Makes a new version of each key of the purposes, or carries on a rotation that was interrupted, whatever the purposes. Of no purpose,
/// nothing is made, and key material of tables is wrapped under the newest master keys that there are.
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
    let plan = if let Some(plan) = pending {
        plan
    } else {
        let mut versions = Vec::new();
        // A store makes the versions of what it keeps.
        let in_ring =
            |purpose: &&&str| **purpose != TableMasterKey::PURPOSE || !project.project.keeps_masters_in_store();
        for purpose in purposes.iter().filter(in_ring) {
            versions.extend(project.ring.next_versions(purpose)?);
        }
        let rewrap = purposes.is_empty() || purposes.contains(&TableMasterKey::PURPOSE);
        let plan = Plan { begun: now(), versions, rewrap };
        write_sealed(&project.plan_file(), &project.seal_key()?, &plan)?;
        plan
    };
    if resumed {
        tell(RotateStep::Resumed { plan: &plan });
    }
    fail_point("rotate-planned");
    record_some(&project, KeyOperationKind::Rotated, &plan.versions, Outcome::Begun)?;
    let (project, mut rotation) = match renew(project, root, user, &plan, tell) {
        Ok(renewed) => renewed,
        Err(Stopped { project, error }) => {
            // The log may be what failed; the first error is the one to show.
            let record = |project: &OpenProject| {
                record_some(project, KeyOperationKind::Rotated, &plan.versions, Outcome::Failed)
            };
            let _ = project.map(|project| record(&project));
            return Err(error);
        }
    };
    rotation.resumed = resumed;
    fs::remove_file(project.plan_file())
        .and_then(|()| sealed::sync_folder(&project.state_root()))
        .map_err(|error| RunError::io("remove", &project.plan_file(), &error))?;
    Ok(rotation)
}

/// Why a rotation stopped, and the project, as far as it is still open.
struct Stopped {
    project: Option<Box<OpenProject>>,
    error: RunError,
}

/// Steps 2 to 7.
fn renew(
    mut project: OpenProject,
    root: &RootSecret,
    user: &str,
    plan: &Plan,
    tell: &dyn Fn(RotateStep<'_>),
) -> Result<(OpenProject, Rotation), Stopped> {
    if let Err(error) = project.ring.rotate(root, &plan.versions, &now()) {
        return Err(Stopped { project: Some(Box::new(project)), error: error.into() });
    }
    fail_point("rotate-added");
    if !plan.versions.is_empty() {
        tell(RotateStep::Added { versions: &plan.versions });
    }
    // With the new versions: the log of before would go on under the old ones.
    let mut project = project.reopened(user).map_err(|error| Stopped { project: None, error })?;
    match finish(&mut project, root, plan, tell) {
        Ok(rotation) => Ok((project, rotation)),
        Err(error) => Err(Stopped { project: Some(Box::new(project)), error }),
    }
}

fn finish(
    project: &mut OpenProject,
    root: &RootSecret,
    plan: &Plan,
    tell: &dyn Fn(RotateStep<'_>),
) -> Result<Rotation, RunError> {
    let versions = &plan.versions;
    record_some(project, KeyOperationKind::Rotated, versions, Outcome::Done)?;
    fail_point("rotate-log");
    let of = |purpose: &str| versions.iter().any(|version| version.purpose == purpose);
    if of(AuditSealKey::PURPOSE) || of(AuditSigningSeed::PURPOSE) {
        tell(RotateStep::LogContinued);
    }
    let (resealed, left) = reseal_all(project, versions, tell)?;
    fail_point("rotate-resealed");
    let material = if plan.rewrap { rewrap(project, tell)? } else { Rewrapped::default() };
    fail_point("rotate-rewrapped");
    let mut retired = Vec::new();
    if of(SubjectSealKey::PURPOSE) {
        retired.extend(shred::reseal_subject_keys(project, root)?);
    }
    if project.evidence()?.log.last_key()? == Some(project.audit_log().verifying_key()) {
        let older = project.ring.older_versions(AuditSigningSeed::PURPOSE);
        remove(project, root, &older)?;
        retired.extend(older);
    }
    fail_point("rotate-retired");
    Ok(Rotation {
        resumed: false,
        versions: versions.iter().map(KeyVersion::name).collect(),
        resealed,
        left,
        rewrapped: material.rewrapped,
        inside: material.internal,
        retired: retired.iter().map(KeyVersion::name).collect(),
    })
}

/// Wraps the key material beside parts under the newest master keys: of tables, and of what waits to come into them.
fn rewrap(project: &OpenProject, tell: &dyn Fn(RotateStep<'_>)) -> Result<Rewrapped, RunError> {
    let masters = || project.tables().keys().newest_masters().map(str::to_owned).to_vec();
    let record = |outcome| {
        let event = Event::KeyOperation { what: KeyOperationKind::Rewrapped, key_ids: masters(), outcome };
        project.audit(&event).map(drop)
    };
    record(Outcome::Begun)?;
    let work = || -> Result<Rewrapped, RunError> {
        let tables = project.tables();
        let mut all = tables.rewrap_key_material(&mut |RewrapProgress { table, done, parts }| {
            tell(RotateStep::Rewrapping { table, done, of: parts });
            if done * 2 >= parts {
                fail_point("rotate-rewrapping");
            }
        })?;
        for (table, part) in staged(project)? {
            all.add(tables.rewrap_staged(&table, &part)?);
        }
        Ok(all)
    };
    let done = work();
    record(if done.is_ok() { Outcome::Done } else { Outcome::Failed })?;
    done
}

/// Removes from the ring the old versions that nothing stands under any more.
pub fn retire(project: &mut OpenProject, root: &RootSecret) -> Result<Vec<String>, RunError> {
    let _locks = lock_all(project)?;
    if project.interrupted_rotation()?.is_some() {
        return Err(RunError::usage("a rotation was interrupted", "finish it first:  cordon keys rotate"));
    }
    let unused: Vec<KeyVersion> = key_use(project)?
        .ring
        .into_iter()
        .filter(|version| version.files == Some(0))
        .map(|version| version.key.key_version())
        .filter(|version| project.ring.why_kept(version).is_none())
        .collect();
    remove(project, root, &unused)?;
    Ok(unused.iter().map(KeyVersion::name).collect())
}

pub(crate) fn remove(project: &mut OpenProject, root: &RootSecret, versions: &[KeyVersion]) -> Result<(), RunError> {
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

/// Nothing is said of none.
fn record_some(
    project: &OpenProject,
    what: KeyOperationKind,
    versions: &[KeyVersion],
    outcome: Outcome,
) -> Result<(), RunError> {
    if versions.is_empty() { Ok(()) } else { record(project, what, versions, outcome) }
}

pub(crate) fn record(
    project: &OpenProject,
    what: KeyOperationKind,
    versions: &[KeyVersion],
    outcome: Outcome,
) -> Result<(), RunError> {
    let key_ids = versions.iter().map(KeyVersion::name).collect();
    project.audit(&Event::KeyOperation { what, key_ids, outcome }).map(drop)
}

/// Keeps runs and other rotations out: what they have open they would write under the keys that they know.
pub(crate) fn lock_all(project: &OpenProject) -> Result<Vec<PipelineLock>, RunError> {
    let mut locks = vec![PipelineLock::take_for(project.state_root().join("keys.lock"), "another change of keys")?];
    let memories = project.state_root().join(crate::output_memory::LOCK);
    locks.push(PipelineLock::take_for(memories, "a query over a table of which only aggregates leave")?);
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

/// The time that ages of keys are counted at.
pub fn today() -> chrono::DateTime<chrono::Utc> {
    crate::run::clock()
}

/// Every key, and how many files stand under each version. Where nothing was ever rotated there is nothing to count.
pub fn key_use(project: &OpenProject) -> Result<KeysInUse, RunError> {
    let mut all = uncounted(project);
    let stored = project.project.stored_masters(&project.ring)?;
    if stored.is_none() && all.ring.iter().all(|version| version.is_newest) {
        return Ok(all);
    }
    let counted = Counted::of(project)?;
    for version in &mut all.ring {
        (version.files, version.inside) = counted.files(&version.key);
    }
    let Some(stored) = stored else { return Ok(all) };
    for key in project.tables().keys().newest_masters() {
        let (newest, oldest) = stored.versions(key)?;
        let used = counted.tables.parts.keys().filter(|master| master.id == key).filter_map(|master| master.stored);
        let versions: BTreeSet<u64> = used.map(u64::from).chain([newest]).collect();
        for version in versions {
            let of = MasterVersion { id: key.to_owned(), stored: u32::try_from(version).ok() };
            let PartCount { files, inside } = counted.tables.parts.get(&of).copied().unwrap_or_default();
            let store = stored.place(key).to_string();
            let is_allowed = version >= oldest;
            all.stored.push(StoredUse { key: key.to_owned(), store, version, newest, is_allowed, files, inside });
        }
    }
    Ok(all)
}

/// The keys of the ring alone.
pub fn uncounted(project: &OpenProject) -> KeysInUse {
    let newest: Vec<KeyVersion> = project.ring.newest().iter().map(KeyStatus::key_version).collect();
    let version =
        |key: KeyStatus| VersionUse { is_newest: newest.contains(&key.key_version()), key, files: None, inside: 0 };
    let ring = project.ring.status().into_iter().map(version).collect();
    // A file that is not there or does not open is told by who needs it.
    let subject_keys_due = project.subject_keys().is_ok_and(|keys| keys.is_renewal_due());
    KeysInUse { ring, stored: Vec::new(), subject_keys_due }
}

/// Numbers of files by what they stand under.
struct Counted {
    tables: KeyUse,
    sealed: BTreeMap<u32, u64>,
    log: BTreeMap<u32, u64>,
    /// The version that signs the log's last segment is the newest.
    is_signed_by_newest: bool,
    /// The version that the file of subject keys is under.
    subject_keys: Option<u32>,
    /// The version that the vault is under, and of how many stores; `None` where it cannot be asked.
    vault: Option<(u32, u64)>,
}

impl Counted {
    fn of(project: &OpenProject) -> Result<Self, RunError> {
        let mut tables = KeyUse::default();
        for table in project.tables().tables()? {
            tables.add(project.tables().key_use(&table)?);
        }
        let mut waiting: BTreeMap<String, Vec<PartInfo>> = BTreeMap::new();
        for (table, part) in staged(project)? {
            waiting.entry(table).or_default().push(part);
        }
        for (table, parts) in waiting {
            tables.add(project.tables().key_use_of(&table, &parts)?);
        }
        let mut sealed = BTreeMap::new();
        for file in sealed_files(project) {
            if let Some(version) = file.version()? {
                *sealed.entry(version).or_default() += 1;
            }
        }
        let log = project.evidence()?.log;
        let is_signed_by_newest = log.last_key()? == Some(project.audit_log().verifying_key());
        let subject_keys = project.subject_keys().ok().map(|keys| keys.key_version());
        let vault = project.vault_key_use().unwrap_or_default();
        Ok(Self { tables, sealed, log: log.seal_versions()?, is_signed_by_newest, subject_keys, vault })
    }

    /// And how many of them have their key material inside.
    fn files(&self, key: &KeyStatus) -> (Option<u64>, u64) {
        let of = |counts: &BTreeMap<u32, u64>| counts.get(&key.version).copied().unwrap_or_default();
        let files = match key.purpose.as_str() {
            TableMasterKey::PURPOSE => {
                let master = MasterVersion { id: key.name(), stored: None };
                let PartCount { files, inside } = self.tables.parts.get(&master).copied().unwrap_or_default();
                return (Some(files), inside);
            }
            SealKey::PURPOSE => Some(of(&self.tables.manifests) + of(&self.sealed)),
            AuditSealKey::PURPOSE => Some(of(&self.log)),
            // What it signed is verified by what stands in the log itself.
            AuditSigningSeed::PURPOSE if self.is_signed_by_newest => Some(0),
            SubjectSealKey::PURPOSE => self.subject_keys.map(|version| u64::from(version == key.version)),
            VaultKey::PURPOSE => self.vault.map(|(version, stores)| u64::from(version == key.version) * stores),
            BlindIndexKey::PURPOSE => self.vault.map(|(version, _)| u64::from(version == key.version)),
            _ => None,
        };
        (files, 0)
    }
}

/// Parts of runs that were interrupted, by the tables that they come into when those are carried on.
fn staged(project: &OpenProject) -> Result<Vec<(String, PartInfo)>, RunError> {
    let mut parts = Vec::new();
    for pipeline in pipelines(project) {
        let path = project.journal_file(&pipeline);
        for entry in sealed::entries::<JournalEntry>(&path, &project.seal_key()?)? {
            match entry {
                JournalEntry::Started { .. } => {}
                JournalEntry::Unit { records, .. } => {
                    let units = records.into_iter().flat_map(|(_, unit)| unit.parts);
                    parts.extend(units.map(|part| (part.table, part.info)));
                }
                JournalEntry::Prepared(prepared) => {
                    let changes = prepared.tables.into_iter();
                    parts.extend(
                        changes
                            .flat_map(|(table, change)| change.add.into_iter().map(move |part| (table.clone(), part))),
                    );
                }
            }
        }
    }
    Ok(parts)
}
