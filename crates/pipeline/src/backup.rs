//! Backups of a project, and their way back (164.308(a)(7)(ii)(A) and (B)).
//!
//! ```text
//! DIR/data/…        configuration, vault, dossiers, audit log, state, quarantine, staging, tables where they are asked for
//! DIR/keys/…        the key ring, apart, so that it can be kept elsewhere
//! DIR/BACKUP.json   every file with its length and SHA-256; written last, so that a backup without it is none
//! DIR/BACKUP.sig    its signature by the key of the audit log
//! ```
//!
//! Runs may go on. While files are copied, the locks of dossiers, vault and audit log are held: whoever wants to write there waits, so none
//! of them is torn, and no commit can be announced in between. Journals are copied before the state that takes them over, state before the
//! vault whose tokens it counts on. What a journal does not name yet is no part of the backup's truth, however much of it was written.
//!
//! The secret of the root is never copied, and nothing is opened: all of it is sealed as it stands.
//!
//! A vault in PostgreSQL is not in it: its server has dumps of its own. The backup leaves a mark in the database and remembers it, so that a
//! dump from before the backup is told from one that has all that the backup counts on.

mod key_files;

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use cordon_audit::{Digest, Event, Filter, Outcome};
use cordon_crypto::VerifyingKey;
use cordon_vault::PostgresVault;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::{ProjectFile, RootSection};
use crate::error::RunError;
use crate::project::{OpenProject, Warehouse};
use crate::run::{PipelineLock, now};
use crate::sealed::{sync_folder, write_atomically};
pub use key_files::Origin;
use key_files::{Copies, SubjectKeysListed};

const LIST: &str = "BACKUP.json";
const SIGNATURE: &str = "BACKUP.sig";
const DATA: &str = "data";
const KEYS: &str = "keys";
const FORMAT: &str = "cordon-backup";
const VERSION: u32 = 2;
/// What the first command of a restored project puts on the record.
const MARK: &str = "restored.json";
/// The file beside the ring, which is kept with it.
const SUBJECT_KEYS: &str = "subject-keys";
/// Files of requests, without which the log's requests open nothing.
const REQUESTS: &str = ".cordon/requests";
/// Largest list that is read: some millions of files.
const MOST_LIST: u64 = 1 << 30;
const LOCK_TRIES: usize = 3000;
const LOCK_PAUSE: Duration = Duration::from_millis(200);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    format: String,
    version: u32,
    cordon: String,
    created: String,
    ring: String,
    /// Of the audit log, hexadecimal: the list is signed by it.
    verifying_key: String,
    /// Where the audit log ended.
    audit_seq: u64,
    audit_hash: String,
    tables: bool,
    /// As they were, also where the key files are not in the backup.
    subject_keys: Option<SubjectKeysListed>,
    /// The database that the tokens are in, and are not in the backup.
    database: Option<Database>,
    files: Vec<Listed>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Database {
    place: String,
    /// Left in it before anything was copied.
    mark: cordon_vault::Mark,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    /// `data/…` or `keys/…`, and behind it the path in the project folder.
    path: String,
    bytes: u64,
    sha256: String,
}

impl Listed {
    fn is_key(&self) -> bool {
        self.path.starts_with("keys/")
    }

    /// The path in the project folder; `None` for one that leads out of it.
    fn in_project(&self) -> Option<PathBuf> {
        let (part, path) = self.path.split_once('/')?;
        let path = Path::new(path);
        let is_normal = path.components().all(|part| matches!(part, Component::Normal(_)));
        ([DATA, KEYS].contains(&part) && is_normal && path.file_name().is_some()).then(|| path.to_path_buf())
    }
}

/// What a backup holds.
#[derive(Debug, Serialize)]
pub struct BackupReport {
    pub created: String,
    pub files: usize,
    pub bytes: u64,
    pub tables: bool,
    /// The key ring is with it.
    pub keys: bool,
    /// Of the list of its files: what the audit log says.
    pub list_sha256: String,
    pub verifying_key: String,
    pub audit_seq: u64,
    /// How often keys of persons had been destroyed.
    pub subject_epoch: Option<u64>,
    /// Where the tokens are, if not in the backup.
    pub database: Option<String>,
}

/// What a project was restored from, and with which key files.
#[derive(Debug, Serialize)]
pub struct Restored {
    #[serde(flatten)]
    pub report: BackupReport,
    pub subject_keys: Option<Origin>,
    pub keyring: Option<Origin>,
}

/// What a restore is given besides the backup.
#[derive(Default)]
pub struct RestoreOptions<'a> {
    /// Where the backup's `keys` folder is, if elsewhere.
    pub keys: Option<&'a Path>,
    /// The verifying key that must have signed the list.
    pub key: Option<VerifyingKey>,
    /// A copy of the subject keys that may be newer.
    pub subject_keys: Option<&'a Path>,
    /// A copy of the key ring that may be newer.
    pub keyring: Option<&'a Path>,
    /// Of people who were destroyed: the subject keys must be as new as each of them says.
    pub certificates: &'a [PathBuf],
    /// Where paths of `vault.postgres` lead from: the database is asked for the backup's mark.
    pub database: Option<&'a Path>,
}

/// A file that is not as the list says.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct BackupFinding {
    pub path: String,
    pub what: &'static str,
}

#[derive(Serialize)]
pub struct Verified {
    #[serde(flatten)]
    pub report: BackupReport,
    pub findings: Vec<BackupFinding>,
}

/// What a project was restored from. In clear: it holds numbers and hashes.
#[derive(Serialize, Deserialize)]
struct Mark {
    created: String,
    list_sha256: String,
    audit_seq: u64,
    /// The subject keys must not be older.
    subject_epoch: u64,
    /// What the vault's database must have.
    database: Option<cordon_vault::Mark>,
    /// It is on the record; what is left is to look at what could not be looked at.
    recorded: bool,
}

/// Makes a backup in a folder that is empty or not there yet.
pub fn create(project: &OpenProject, to: &Path, with_keys: bool, with_tables: bool) -> Result<BackupReport, RunError> {
    let config = &project.project.file;
    let roots = Roots::of(project, with_tables)?;
    must_be_empty(to, &[])?;
    let _keys_stay =
        PipelineLock::take_for(project.state_root().join("keys.lock"), "a change of keys, or another backup,")?;
    let nothing = Digest::of(&[]);
    project.audit(&Event::BackupMade { files: 0, bytes: 0, list: nothing, outcome: Outcome::Begun })?;
    make_private(to)?;
    let copied = (|| {
        // What the backup counts on is in the database by then.
        let postgres = config.vault.postgres.as_ref();
        let database =
            postgres.map(|vault| Ok::<_, RunError>(Database { place: vault.place(), mark: project.vault()?.mark()? }));
        let database = database.transpose()?;
        copy_all(project, config, &roots, to, with_keys).map(|copied| (copied, database))
    })();
    let made = copied.and_then(|((files, end), database)| {
        // Of the copy: somebody may have been destroyed since.
        let subject_keys = Path::new(&config.keys.keyring).with_file_name(SUBJECT_KEYS);
        let subject_keys = if with_keys { to.join(KEYS).join(subject_keys) } else { project.subject_keys_file() };
        let list = List {
            format: FORMAT.to_owned(),
            version: VERSION,
            cordon: env!("CARGO_PKG_VERSION").to_owned(),
            created: now(),
            ring: project.ring.id().to_owned(),
            verifying_key: HEXLOWER.encode(&project.audit_log().verifying_key().0),
            audit_seq: end.seq,
            audit_hash: end.hash.to_string(),
            tables: with_tables,
            subject_keys: SubjectKeysListed::of(&subject_keys)?,
            database,
            files,
        };
        let text = serde_json::to_vec_pretty(&list).map_err(|_| RunError::Internal("a list of files"))?;
        let signature = project.ring.audit_signing_key()?.sign(&text);
        write_atomically(&to.join(SIGNATURE), HEXLOWER.encode(&signature).as_bytes())?;
        write_atomically(&to.join(LIST), &text)?;
        Ok((list.report(&text), Digest::of(&[&text])))
    });
    let said = match &made {
        Ok((report, list)) => {
            Event::BackupMade { files: report.files as u64, bytes: report.bytes, list: *list, outcome: Outcome::Done }
        }
        Err(_) => Event::BackupMade { files: 0, bytes: 0, list: nothing, outcome: Outcome::Failed },
    };
    let recorded = project.audit(&said);
    let (report, _) = made?;
    recorded?;
    Ok(report)
}

/// Which places are copied, in the order that keeps them consistent.
struct Roots {
    before_log: Vec<PathBuf>,
    /// The tables' folder, where only its staging is copied.
    staged: Option<PathBuf>,
    /// The root's secret, should it stand among them.
    never: Vec<PathBuf>,
}

impl Roots {
    fn of(project: &OpenProject, with_tables: bool) -> Result<Self, RunError> {
        let ProjectFile { storage, vault, audit, keys, .. } = &project.project.file;
        let mut places =
            vec![&storage.quarantine, &vault.dossiers, &vault.path, &storage.staging, &audit.path, &storage.state];
        places.push(&keys.keyring);
        let mut before_log: Vec<PathBuf> =
            ["cordon.yaml", "policies", "pipelines", ".cordon/schema", REQUESTS].map(PathBuf::from).into();
        match (project.project.warehouse(), with_tables) {
            (Warehouse::Objects(_), true) => {
                return Err(RunError::usage(
                    "the tables stand in an object store, which has copies and versions of its own",
                    "leave out `--tables`; parts that wait to be committed are in the backup all the same",
                ));
            }
            (Warehouse::Folder(_), true) => places.push(&storage.warehouse.value),
            (_, false) => {}
        }
        if let Some(outside) = places.iter().find(|place| !is_inside(place)) {
            return Err(RunError::usage(
                format!("`{outside}` in cordon.yaml leads out of the project folder"),
                "a backup holds what is in the project folder: give paths relative to it",
            ));
        }
        // Quarantine before the vault: an entry that is named is there, one that is not named is nobody's.
        before_log.extend([&storage.quarantine, &vault.dossiers, &vault.path, &storage.staging].map(PathBuf::from));
        if with_tables {
            before_log.push(PathBuf::from(&storage.warehouse.value));
        }
        // What waits to be committed belongs to the journals, not to the tables.
        let staged = matches!(project.project.warehouse(), Warehouse::Folder(_)) && is_inside(&storage.warehouse.value);
        let staged = (staged && !with_tables).then(|| PathBuf::from(&storage.warehouse.value));
        let never = match &keys.root {
            RootSection::KeyFile(path) | RootSection::PassphraseFile(path) => vec![project.root.join(path)],
            _ => Vec::new(),
        };
        Ok(Self { before_log, staged, never })
    }
}

fn is_inside(path: &str) -> bool {
    let path = Path::new(path);
    path.is_relative() && path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

fn copy_all(
    project: &OpenProject,
    config: &ProjectFile,
    roots: &Roots,
    to: &Path,
    with_keys: bool,
) -> Result<(Vec<Listed>, cordon_audit::Receipt), RunError> {
    let held = hold(&[project.dossier_folder(), project.vault_folder(), project.project.audit_folder()])?;
    let mut copy = Copy { root: &project.root, to, never: &roots.never, files: Vec::new() };
    let state = Path::new(&config.storage.state);
    // A journal is cleared when the state has taken it over: copied after the state, both could lack what it said.
    copy.tree(state, DATA, &|path| path.file_name().is_some_and(|name| name == "journal.sealed"))?;
    copy.tree(state, DATA, &|path| path.file_name().is_none_or(|name| name != "journal.sealed"))?;
    for place in &roots.before_log {
        copy.tree(place, DATA, &|_| true)?;
    }
    if let Some(warehouse) = &roots.staged {
        copy.tree(warehouse, DATA, &|path| path.components().any(|part| part.as_os_str() == "_staging"))?;
    }
    copy.tree(Path::new(&config.audit.path), DATA, &|_| true)?;
    let end = project.audit_log().head()?;
    if with_keys {
        copy.tree(Path::new(&config.keys.keyring), KEYS, &|_| true)?;
        copy.tree(&Path::new(&config.keys.keyring).with_file_name(SUBJECT_KEYS), KEYS, &|_| true)?;
    }
    drop(held);
    let mut files = copy.files;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((files, end))
}

/// Takes the locks of several stores, all or none at a time: whoever holds one and waits for another is not waited for.
fn hold(folders: &[PathBuf]) -> Result<Vec<File>, RunError> {
    for _ in 0..LOCK_TRIES {
        let mut held = Vec::new();
        let mut all = true;
        for folder in folders.iter().filter(|folder| folder.is_dir()) {
            let path = folder.join("lock");
            let failed = |error: std::io::Error| RunError::io("lock", &path, &error);
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(failed)?;
            match file.try_lock() {
                Ok(()) => held.push(file),
                Err(fs::TryLockError::WouldBlock) => {
                    all = false;
                    break;
                }
                Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        if all {
            return Ok(held);
        }
        drop(held);
        std::thread::sleep(LOCK_PAUSE);
    }
    Err(RunError::Occupied { what: "writing to vault or audit log, without a pause for ten minutes," })
}

struct Copy<'a> {
    root: &'a Path,
    to: &'a Path,
    never: &'a [PathBuf],
    files: Vec<Listed>,
}

impl Copy<'_> {
    /// Copies a file, or a folder with all below it, as far as it is there.
    fn tree(&mut self, place: &Path, part: &str, wanted: &dyn Fn(&Path) -> bool) -> Result<(), RunError> {
        let place: PathBuf = place.components().filter(|part| !matches!(part, Component::CurDir)).collect();
        for path in files_in(&self.root.join(&place))? {
            let passing = path.file_name().is_some_and(|name| {
                let name = name.as_encoded_bytes();
                [&b"lock"[..], b".lock", b"keys.lock", MARK.as_bytes()].contains(&name) || name.ends_with(b".tmp")
            });
            if passing || self.never.contains(&path) || !wanted(&path) {
                continue;
            }
            let Ok(relative) = path.strip_prefix(self.root) else { continue };
            let Some(name) = relative.to_str() else {
                return Err(RunError::usage(
                    format!("the name of {} is no text", path.display()),
                    "rename it: a list of files must be able to name it",
                ));
            };
            let listed = format!("{part}/{name}");
            if let Some((bytes, sha256)) = copy_file(&path, &self.to.join(&listed))? {
                self.files.push(Listed { path: listed, bytes, sha256 });
            }
        }
        Ok(())
    }
}

/// All files at or below a path, no links. What is not there has none.
fn files_in(place: &Path) -> Result<Vec<PathBuf>, RunError> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(place).follow_links(false).sort_by_file_name() {
        match entry {
            Ok(entry) if entry.file_type().is_file() => files.push(entry.into_path()),
            Ok(_) => {}
            Err(error) => match error.io_error() {
                // A run may remove what it had staged.
                Some(gone) if gone.kind() == std::io::ErrorKind::NotFound => {}
                Some(gone) => return Err(RunError::io("list", place, gone)),
                None => return Err(RunError::Internal("a folder that holds itself")),
            },
        }
    }
    Ok(files)
}

/// Length and SHA-256 of what was copied; `None` where the file is gone by now.
fn copy_file(from: &Path, to: &Path) -> Result<Option<(u64, String)>, RunError> {
    let input = match File::open(from) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RunError::io("open", from, &error)),
    };
    let folder = to.parent().unwrap_or(Path::new("."));
    make_private(folder)?;
    let failed = |error: std::io::Error| RunError::io("write", to, &error);
    let mut output = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(failed)?;
    let counted = read_through(input, from, |bytes| output.write_all(bytes).map_err(failed))?;
    output.sync_all().map_err(failed)?;
    sync_folder(folder).map_err(failed)?;
    Ok(Some(counted))
}

fn read_through(
    mut input: File,
    path: &Path,
    mut each: impl FnMut(&[u8]) -> Result<(), RunError>,
) -> Result<(u64, String), RunError> {
    let mut hash = Sha256::new();
    let mut count = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = input.read(&mut buffer).map_err(|error| RunError::io("read", path, &error))?;
        if read == 0 {
            return Ok((count, HEXLOWER.encode(&hash.finalize())));
        }
        let bytes = buffer.get(..read).unwrap_or_default();
        hash.update(bytes);
        count += read as u64;
        each(bytes)?;
    }
}

impl List {
    fn report(&self, text: &[u8]) -> BackupReport {
        BackupReport {
            created: self.created.clone(),
            files: self.files.len(),
            bytes: self.files.iter().map(|file| file.bytes).sum(),
            tables: self.tables,
            keys: self.files.iter().any(Listed::is_key),
            list_sha256: HEXLOWER.encode(&Sha256::digest(text)),
            verifying_key: self.verifying_key.clone(),
            audit_seq: self.audit_seq,
            subject_epoch: self.subject_keys.as_ref().map(|keys| keys.epoch),
            database: self.database.as_ref().map(|database| database.place.clone()),
        }
    }
}

/// The list, when its signature is right: by `key`, or else by the key that it names itself.
fn read_list(dir: &Path, key: Option<VerifyingKey>) -> Result<(List, Vec<u8>), RunError> {
    let path = dir.join(LIST);
    let read = |path: &Path| -> Result<Vec<u8>, RunError> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                RunError::damaged(path, "is not there: this is no backup, or one that was not finished")
            }
            _ => RunError::io("read", path, &error),
        };
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(MOST_LIST).read_to_end(&mut bytes)).map_err(failed)?;
        Ok(bytes)
    };
    let text = read(&path)?;
    let signature = HEXLOWER_PERMISSIVE
        .decode(&read(&dir.join(SIGNATURE))?)
        .map_err(|_| RunError::damaged(&dir.join(SIGNATURE), "is not a signature"))?;
    let list: List = serde_json::from_slice(&text)
        .map_err(|_| RunError::damaged(&path, "was changed, or written by another version"))?;
    if list.format != FORMAT || list.version != VERSION {
        return Err(RunError::damaged(&path, "was written by another version"));
    }
    let named = HEXLOWER_PERMISSIVE.decode(list.verifying_key.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    let named = named.map(VerifyingKey).ok_or_else(|| RunError::damaged(&path, "names no verifying key"))?;
    if key.unwrap_or(named).verify(&text, &signature).is_err() {
        return Err(RunError::damaged(&path, "is not as it was signed, or by another key"));
    }
    Ok((list, text))
}

/// Reads all of a backup and compares it with its list. `keys` is where its `keys` folder is kept, if elsewhere; `database` where paths of
/// `vault.postgres` lead from, for a look at whether the database has what the backup counts on.
pub fn verify(
    dir: &Path,
    keys: Option<&Path>,
    key: Option<VerifyingKey>,
    database: Option<&Path>,
) -> Result<Verified, RunError> {
    let (list, text) = read_list(dir, key)?;
    let mut findings = Vec::new();
    let mut find = |path: &str, what| findings.push(BackupFinding { path: path.to_owned(), what });
    for file in &list.files {
        if file.in_project().is_none() {
            find(&file.path, "leads out of the project folder");
            continue;
        }
        let path = place_of(dir, keys, file);
        match File::open(&path) {
            Ok(input) => {
                let (bytes, sha256) = read_through(input, &path, |_| Ok(()))?;
                if bytes != file.bytes || sha256 != file.sha256 {
                    find(&file.path, "is not as it was written");
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => find(&file.path, "is missing"),
            Err(error) => return Err(RunError::io("open", &path, &error)),
        }
    }
    let known: std::collections::BTreeSet<PathBuf> = list.files.iter().map(|file| place_of(dir, keys, file)).collect();
    let mut there = files_in(dir)?;
    if let Some(keys) = keys {
        there.extend(files_in(keys)?);
    }
    for path in there {
        if !known.contains(&path) && path != dir.join(LIST) && path != dir.join(SIGNATURE) {
            let shown = path.strip_prefix(dir).unwrap_or(&path);
            find(&shown.to_string_lossy(), "is not of this backup");
        }
    }
    if let (Some(known), Some(base)) = (&list.database, database)
        && findings.is_empty()
    {
        let file = read_config(dir)?;
        let config =
            file.vault.postgres.as_ref().ok_or(RunError::damaged(dir, "names no database in its cordon.yaml"))?;
        if !PostgresVault::holds_mark(config, base, &known.mark)? {
            let what = "is older than the backup, or another vault: restore a dump that was made after the backup";
            findings.push(BackupFinding { path: known.place.clone(), what });
        }
    }
    Ok(Verified { report: list.report(&text), findings })
}

/// The `cordon.yaml` of a backup.
fn read_config(dir: &Path) -> Result<ProjectFile, RunError> {
    let path = dir.join(DATA).join("cordon.yaml");
    let text = fs::read(&path).map_err(|error| RunError::io("read", &path, &error))?;
    Ok(cordon_deid::yaml::parse(&String::from_utf8_lossy(&text), Path::new("cordon.yaml"))?)
}

fn place_of(dir: &Path, keys: Option<&Path>, file: &Listed) -> PathBuf {
    match (keys, file.path.strip_prefix("keys/")) {
        (Some(keys), Some(path)) => keys.join(path),
        _ => dir.join(&file.path),
    }
}

/// Puts a backup into a folder that is empty, or holds nothing but key files. Of the subject keys the newest copy comes, or stays, in place,
/// and none that is older than what is known. Nothing is put in place before all of the backup was found to be as it was
/// written, and `cordon.yaml`, which makes it a project, comes last.
pub fn restore(dir: &Path, project: &Path, given: &RestoreOptions<'_>) -> Result<Restored, RunError> {
    let RestoreOptions { keys, key, .. } = *given;
    let verified = verify(dir, keys, key, given.database)?;
    if let Some(finding) = verified.findings.first() {
        return Err(RunError::Damaged { path: dir.join(&finding.path), how: finding.what });
    }
    let (list, _) = read_list(dir, key)?;
    let file = read_config(dir)?;
    let keyring: PathBuf =
        Path::new(&file.keys.keyring).components().filter(|part| !matches!(part, Component::CurDir)).collect();
    let subject_keys = keyring.with_file_name(SUBJECT_KEYS);
    must_be_empty(project, &[keyring.clone(), subject_keys.clone()])?;
    let listed = |wanted: &Path| {
        let file = list.files.iter().find(|file| file.is_key() && file.in_project().is_some_and(|path| path == wanted));
        file.map(|file| place_of(dir, keys, file))
    };
    let copies = |path: &Path, given| Copies { place: project.join(path), given, backup: listed(path) };
    let certified = key_files::certified(&list.ring, given.certificates)?;
    let newest = key_files::newest_subject_keys(
        &copies(&subject_keys, given.subject_keys),
        list.subject_keys.as_ref(),
        certified,
    )?;
    let ring = key_files::ring_for(&copies(&keyring, given.keyring), &list.ring, newest.as_ref())?;
    make_private(project)?;
    let is_config = |file: &&Listed| file.path == "data/cordon.yaml";
    let put = |file: &Listed| -> Result<(), RunError> {
        let (from, Some(path)) = (place_of(dir, keys, file), file.in_project()) else {
            return Err(RunError::Internal("a path of a backup"));
        };
        // Hashed again: what was checked before may have been changed since.
        match copy_file(&from, &project.join(path))? {
            Some((bytes, sha256)) if bytes == file.bytes && sha256 == file.sha256 => Ok(()),
            _ => Err(RunError::damaged(&from, "was changed while it was restored")),
        }
    };
    list.files.iter().filter(|file| !file.is_key() && !is_config(file)).try_for_each(put)?;
    if let Some(ring) = &ring {
        ring.put(&project.join(&keyring))?;
    }
    if let Some(newest) = &newest {
        newest.put(&project.join(&subject_keys))?;
    }
    let config = list.files.iter().find(is_config).ok_or(RunError::damaged(dir, "holds no cordon.yaml"))?;
    let report = verified.report;
    let mark = Mark {
        created: report.created.clone(),
        list_sha256: report.list_sha256.clone(),
        audit_seq: report.audit_seq,
        subject_epoch: certified.max(report.subject_epoch.unwrap_or_default()),
        database: list.database.as_ref().map(|database| database.mark.clone()),
        recorded: false,
    };
    write_mark(&project.join(&file.storage.state).join(MARK), &mark)?;
    put(config)?;
    let origin = |chosen: Option<&key_files::Chosen>| chosen.map(|chosen| chosen.origin);
    Ok(Restored { subject_keys: origin(newest.as_ref()), keyring: origin(ring.as_ref()), report })
}

fn write_mark(path: &Path, mark: &Mark) -> Result<(), RunError> {
    let mark = serde_json::to_vec(mark).map_err(|_| RunError::Internal("a mark"))?;
    write_atomically(path, &mark)
}

/// Puts on the record, once, that the project was restored: everything newer than the backup is not in it. Before that, that key files and
/// database which came by another way are no older than the backup counts on.
pub(crate) fn record_restored(project: &OpenProject) -> Result<(), RunError> {
    let path = project.state_root().join(MARK);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(RunError::io("read", &path, &error)),
    };
    let wrong = || RunError::damaged(&path, "is not as a restore wrote it");
    let mut mark: Mark = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
    let all_seen = look(project, &mark)?;
    if !mark.recorded {
        let list = mark.list_sha256.parse().map_err(|_| wrong())?;
        project.audit(&Event::BackupRestored { created: mark.created.clone(), list, audit_seq: mark.audit_seq })?;
        mark.recorded = true;
    }
    if !all_seen {
        return write_mark(&path, &mark);
    }
    fs::remove_file(&path)
        .and_then(|()| sync_folder(&project.state_root()))
        .map_err(|error| RunError::io("remove", &path, &error))
}

/// Whether all was there to be looked at; what is older is an error.
fn look(project: &OpenProject, mark: &Mark) -> Result<bool, RunError> {
    let file = project.subject_keys_file();
    if !file.exists() {
        return Ok(false);
    }
    let mut needed = mark.subject_epoch;
    for entry in project.audit_log().list(Filter::default())? {
        if let Event::SubjectShredded { epoch, .. } = entry?.event {
            needed = needed.max(epoch);
        }
    }
    if project.subject_keys()?.epoch() < needed {
        return Err(RunError::damaged(
            &file,
            "is an older copy: by it people could be read again who were destroyed since; put the newest copy in its place, with the \
             key ring that opens it",
        ));
    }
    let Some(mark) = &mark.database else { return Ok(true) };
    // One that cannot be asked now is asked by the next command; whoever needs it says why.
    match project.vault().and_then(|vault| Ok(vault.contains(mark)?)) {
        Ok(true) => Ok(true),
        Ok(false) => Err(RunError::damaged(
            &project.vault_place(),
            "is older than the backup that the project was restored from, or another vault; restore a dump that was made after the backup",
        )),
        Err(_) => Ok(false),
    }
}

fn must_be_empty(folder: &Path, but: &[PathBuf]) -> Result<(), RunError> {
    for path in if folder.exists() { files_in(folder)? } else { Vec::new() } {
        if path.strip_prefix(folder).is_ok_and(|path| !but.contains(&path.to_path_buf())) {
            return Err(RunError::usage(
                format!("{} is not empty", folder.display()),
                "name a folder that is empty or does not exist; nothing is replaced",
            ));
        }
    }
    Ok(())
}

fn make_private(folder: &Path) -> Result<(), RunError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| RunError::io("create", folder, &error))
}
