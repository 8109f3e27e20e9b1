//! Encrypted tables on a file system: parts, manifests, and commits that are seen whole or not at all.
//!
//! ```text
//! <root>/<table>/data/<run>-<random>.parquet   immutable parts, encrypted from their first byte
//! <root>/<table>/_staging/<run>/               parts of a run that is not committed
//! <root>/<table>/_manifest/v0000000007.sealed  one sealed manifest a version; the highest one is the table
//! ```
//!
//! A commit makes everything it names durable, then publishes its manifest under a name that may not exist yet
//! (link(2) fails if it does), so that of two commits to one version exactly one wins. A manifest holds the digest of each
//! part's footer: the footer is authenticated and names every page, so that a part that was swapped for another one, even
//! for an older part under the same keys, is found before it is read.

mod manifest;
mod part;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use cordon_crypto::{SealKey, Sealer, sub_key};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};

pub use manifest::{AuditAnchor, Manifest, PartInfo, Provenance, SourceRef};
pub use manifest::{decode_schema, encode_schema};
pub use part::{ENTROPY_METADATA, PartCompression, PartOptions, PartWriter};

use crate::errors::EngineError;
use crate::inputs::{InputKeys, ParquetInput};
use crate::keytools::KeyTools;

const DATA: &str = "data";
const STAGING: &str = "_staging";
const MANIFESTS: &str = "_manifest";
const LOCK: &str = ".lock";
/// A commit that is tried again within so many later commits is recognised and not applied twice.
const REMEMBERED_COMMITS: usize = 64;

/// A recovery that comes in between costs one try.
const STAGE_TRIES: usize = 8;

/// All tables under one root. Cheap to clone.
#[derive(Clone)]
pub struct TableStore(Arc<Inner>);

struct Inner {
    root: PathBuf,
    keys: KeyTools,
    sealer: Sealer,
}

/// What a commit changes. A table is made by its first commit.
pub struct Commit {
    /// Makes a repeated commit harmless: one that is already in the table's recent history is not applied again.
    pub id: String,
    /// The version that the writer read; if the table has moved on, the commit fails with
    /// [`EngineError::Conflict`]. `None`: whatever the table holds by then (0 means: the table does not exist).
    pub base: Option<u64>,
    pub schema: SchemaRef,
    pub add: Vec<PartInfo>,
    /// Files of the parts that leave the table. One that the table does not hold has left it already.
    pub remove_parts: Vec<String>,
    /// All earlier parts leave, and the schema may change.
    pub replace: bool,
    pub provenance: Provenance,
}

/// One version of a table, as its manifest says.
#[derive(Clone)]
pub struct TableVersion {
    pub table: String,
    pub manifest: Arc<Manifest>,
    pub schema: SchemaRef,
    store: TableStore,
}

/// What [`TableStore::recover`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    pub staged_parts: usize,
    pub orphans: usize,
    /// Runs whose writer is alive or that the caller wants to resume.
    pub kept_runs: usize,
}

impl TableStore {
    pub fn open(root: impl Into<PathBuf>, keys: KeyTools, seal: &SealKey) -> Result<Self, EngineError> {
        let root = root.into();
        make_dir(&root)?;
        // An absolute root, so that a later change of directory moves nothing.
        let root = root.canonicalize().map_err(|error| EngineError::io("open the table store", &root, &error))?;
        Ok(Self(Arc::new(Inner { root, keys, sealer: Sealer::new(&sub_key(seal, "cordon/manifest/v1")) })))
    }

    pub fn root(&self) -> &Path {
        &self.0.root
    }

    pub fn keys(&self) -> &KeyTools {
        &self.0.keys
    }

    /// Names of the tables that have at least one version, sorted.
    pub fn tables(&self) -> Result<Vec<String>, EngineError> {
        let mut names = Vec::new();
        for name in list(&self.0.root)? {
            if valid_name(&name) && self.latest(&name)?.is_some() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The newest version; `None` when the table does not exist.
    pub fn current(&self, table: &str) -> Result<Option<TableVersion>, EngineError> {
        check_name("table", table)?;
        match self.latest(table)? {
            Some(version) => self.read_version(table, version).map(Some),
            None => Ok(None),
        }
    }

    /// The manifests that are kept, oldest first.
    pub fn history(&self, table: &str) -> Result<Vec<TableVersion>, EngineError> {
        check_name("table", table)?;
        self.versions(table)?.into_iter().map(|version| self.read_version(table, version)).collect()
    }

    /// A place for the parts of `run`. While it lives, [`Self::recover`] leaves the run alone, from any process.
    pub fn stage(&self, table: &str, run: &str) -> Result<Staging, EngineError> {
        check_name("table", table)?;
        if run.is_empty() || !run.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
            return Err(EngineError::InvalidName { what: "run" });
        }
        let dir = self.dir(table, STAGING).join(run);
        for _ in 0..STAGE_TRIES {
            make_dir(&dir)?;
            // The folders above may be as new.
            dir.ancestors().skip(1).take(3).try_for_each(sync_dir)?;
            let lock = lock_file(&dir)?;
            // Another worker of the same run may hold it too, hence shared.
            lock.lock_shared().map_err(|error| EngineError::io("lock the staging folder", &dir, &error))?;
            // A recovery may have removed the folder while this waited: then the lock keeps nobody out.
            if is_named(&lock, &dir.join(LOCK)) {
                return Ok(Staging { dir, run: run.to_owned(), keys: self.0.keys.clone(), lock });
            }
        }
        Err(EngineError::Internal("the staging folder is removed again and again"))
    }

    /// Publishes a new version and returns its number.
    pub fn commit(&self, table: &str, commit: &Commit) -> Result<u64, EngineError> {
        check_name("table", table)?;
        let manifests = self.dir(table, MANIFESTS);
        let data = self.dir(table, DATA);
        make_dir(&manifests)?;
        make_dir(&data)?;
        let lock = lock_file(&manifests)?;
        // Only spares honest writers a conflict; what decides is the exclusive publication below.
        lock.lock().map_err(|error| EngineError::io("lock the table", &manifests, &error))?;

        let before = self.current(table)?;
        if let Some(before) = before.as_ref().filter(|before| before.has_commit(&commit.id)) {
            return Ok(before.manifest.version);
        }
        let parent = before.as_ref().map_or(0, |before| before.manifest.version);
        if commit.base.is_some_and(|base| base != parent) {
            return Err(EngineError::Conflict { table: table.to_owned(), version: parent });
        }
        let manifest = next_manifest(table, before.as_ref(), commit)?;

        for part in &commit.add {
            self.adopt(table, &data, part)?;
        }
        sync_dir(&data)?;
        // The folders may be as new as what is in them.
        sync_dir(&self.0.root.join(table))?;
        sync_dir(&self.0.root)?;
        self.publish(table, &manifests, &manifest)?;
        Ok(manifest.version)
    }

    /// Whether [`Self::commit`] could be carried out now: the columns fit and every part is in its place. A commit that
    /// is the table's already could.
    pub fn check(&self, table: &str, commit: &Commit) -> Result<(), EngineError> {
        check_name("table", table)?;
        let before = self.current(table)?;
        if before.as_ref().is_some_and(|before| before.has_commit(&commit.id)) {
            return Ok(());
        }
        next_manifest(table, before.as_ref(), commit)?;
        let data = self.dir(table, DATA);
        commit.add.iter().try_for_each(|part| self.find_staged(table, &data, part).map(drop))
    }

    /// Moves a staged part into the table; one that a killed commit had moved before is accepted.
    fn adopt(&self, table: &str, data: &Path, part: &PartInfo) -> Result<(), EngineError> {
        let Some(from) = self.find_staged(table, data, part)? else { return Ok(()) };
        let to = data.join(&part.file);
        fs::rename(&from, &to).map_err(|error| EngineError::io("move the staged part", &to, &error))
    }

    /// Where the part waits to be moved; `None` when it is in the table's folder already.
    fn find_staged(&self, table: &str, data: &Path, part: &PartInfo) -> Result<Option<PathBuf>, EngineError> {
        let size = |path: &Path| fs::metadata(path).map(|meta| meta.len());
        if size(&data.join(&part.file)).is_ok_and(|len| len == part.bytes) {
            return Ok(None);
        }
        let from = self.dir(table, STAGING).join(&part.run).join(&part.file);
        let len = size(&from).map_err(|error| EngineError::io("find the staged part", &from, &error))?;
        if len != part.bytes {
            return Err(EngineError::Damaged { what: "staged part", path: from });
        }
        Ok(Some(from))
    }

    /// Stages a new part that holds the rows of `part` at the places in `keep`, which are in order and do not overlap.
    /// For rows whose source is gone while others of the part are made again.
    pub fn copy_rows(
        &self,
        table: &str,
        part: &PartInfo,
        keep: &[Range<u64>],
        staging: &Staging,
        options: &PartOptions,
        sources: Vec<SourceRef>,
    ) -> Result<PartInfo, EngineError> {
        check_name("table", table)?;
        let path = self.dir(table, DATA).join(&part.file);
        part::check_footer(&path, part)?;
        let keys = InputKeys { tools: Some(self.0.keys.clone()), ..InputKeys::default() };
        let Some(current) = self.current(table)? else { return Err(EngineError::NoSuchTable) };
        let mut writer = staging.part(&current.schema, options)?;
        let mut wanted = keep.iter().peekable();
        let mut at = 0;
        for batch in ParquetInput::open(&path, &keys, 8192)? {
            let batch = batch?;
            let end = at + batch.num_rows() as u64;
            while let Some(range) = wanted.peek() {
                let (from, to) = (range.start.max(at), range.end.min(end));
                if from < to {
                    let rows = batch.slice((from - at) as usize, (to - from) as usize);
                    let rows = RecordBatch::try_new(current.schema.clone(), rows.columns().to_vec())
                        .map_err(|error| EngineError::arrow(&error))?;
                    writer.write(&rows)?;
                }
                if range.end > end {
                    break;
                }
                wanted.next();
            }
            at = end;
        }
        if at != part.rows || writer.rows() != keep.iter().map(|range| range.end - range.start).sum::<u64>() {
            return Err(EngineError::Damaged { what: "part", path });
        }
        writer.finish(sources)
    }

    fn publish(&self, table: &str, dir: &Path, manifest: &Manifest) -> Result<(), EngineError> {
        let json = serde_json::to_vec(manifest).map_err(|_| EngineError::Internal("manifest"))?;
        let sealed = self
            .0
            .sealer
            .seal(&manifest_context(table, manifest.version), &json)
            .map_err(|_| EngineError::Randomness)?;
        let draft = dir.join(format!(".draft-{}", random_name()?));
        let written = (|| {
            write_durably(&draft, &sealed)?;
            let name = dir.join(manifest_name(manifest.version));
            fs::hard_link(&draft, &name).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    EngineError::Conflict { table: table.to_owned(), version: manifest.version }
                }
                _ => EngineError::io("publish the manifest", &name, &error),
            })
        })();
        let removed = fs::remove_file(&draft);
        written?;
        sync_dir(dir)?;
        removed.map_err(|error| EngineError::io("remove a draft", &draft, &error))
    }

    /// After a crash: removes staged parts of runs that are neither alive nor in `resuming`, drafts of manifests, and
    /// parts that no manifest names. A run in `resuming` keeps all its parts.
    pub fn recover(&self, table: &str, resuming: &[&str]) -> Result<Recovered, EngineError> {
        check_name("table", table)?;
        let mut done = Recovered::default();
        let manifests = self.dir(table, MANIFESTS);
        if !self.0.root.join(table).is_dir() {
            return Ok(done);
        }
        make_dir(&manifests)?;
        let lock = lock_file(&manifests)?;
        lock.lock().map_err(|error| EngineError::io("lock the table", &manifests, &error))?;

        let mut live = BTreeSet::new();
        let staging = self.dir(table, STAGING);
        for run in list(&staging)? {
            let dir = staging.join(&run);
            // Held until the folder is gone: a writer that comes for the run in between finds it locked, not half removed.
            let lock = lock_file(&dir)?;
            let alive = lock.try_lock().is_err();
            if alive || resuming.contains(&run.as_str()) {
                done.kept_runs += 1;
                live.insert(run);
                continue;
            }
            done.staged_parts += list(&dir)?.iter().filter(|name| name.ends_with(".parquet")).count();
            fs::remove_dir_all(&dir).map_err(|error| EngineError::io("remove staged parts", &dir, &error))?;
            drop(lock);
        }
        for name in list(&manifests)?.iter().filter(|name| name.starts_with(".draft-")) {
            remove(&manifests.join(name))?;
        }
        let mut named = BTreeSet::new();
        for version in self.history(table)? {
            named.extend(version.manifest.parts.iter().map(|part| part.file.clone()));
        }
        let data = self.dir(table, DATA);
        for name in list(&data)? {
            let resumes = name.rsplit_once('-').is_some_and(|(run, _)| live.contains(run) || resuming.contains(&run));
            if !named.contains(&name) && !resumes {
                remove(&data.join(&name))?;
                done.orphans += 1;
            }
        }
        Ok(done)
    }

    /// Removes parts that the newest version does not name and that have been out of it for longer than `grace`.
    /// Their manifests stay: they are the record of how earlier versions were made.
    pub fn vacuum(&self, table: &str, grace: Duration, now: SystemTime) -> Result<usize, EngineError> {
        check_name("table", table)?;
        let manifests = self.dir(table, MANIFESTS);
        let Some(current) = self.current(table)? else {
            return Ok(0);
        };
        let lock = lock_file(&manifests)?;
        lock.lock().map_err(|error| EngineError::io("lock the table", &manifests, &error))?;
        // A part retires when the first version without it is published.
        let mut retired: BTreeMap<String, SystemTime> = BTreeMap::new();
        let mut alive: BTreeSet<String> = BTreeSet::new();
        for version in self.history(table)? {
            let path = manifests.join(manifest_name(version.manifest.version));
            let published = fs::metadata(&path)
                .and_then(|meta| meta.modified())
                .map_err(|error| EngineError::io("read the manifest", &path, &error))?;
            let next: BTreeSet<String> = version.manifest.parts.iter().map(|part| part.file.clone()).collect();
            for gone in alive.difference(&next) {
                retired.insert(gone.clone(), published);
            }
            alive = next;
        }
        for part in &current.manifest.parts {
            retired.remove(&part.file);
        }
        let mut removed = 0;
        for (file, since) in retired {
            let path = self.dir(table, DATA).join(&file);
            if now.duration_since(since).is_ok_and(|age| age >= grace) && path.exists() {
                remove(&path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn dir(&self, table: &str, room: &str) -> PathBuf {
        self.0.root.join(table).join(room)
    }

    fn versions(&self, table: &str) -> Result<Vec<u64>, EngineError> {
        let mut versions: Vec<u64> =
            list(&self.dir(table, MANIFESTS))?.iter().filter_map(|name| manifest_version(name)).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    fn latest(&self, table: &str) -> Result<Option<u64>, EngineError> {
        Ok(self.versions(table)?.pop())
    }

    fn read_version(&self, table: &str, version: u64) -> Result<TableVersion, EngineError> {
        let path = self.dir(table, MANIFESTS).join(manifest_name(version));
        let sealed = fs::read(&path).map_err(|error| EngineError::io("read the manifest", &path, &error))?;
        let damaged = || EngineError::Damaged { what: "manifest", path: path.clone() };
        let json = self.0.sealer.open(&manifest_context(table, version), &sealed).map_err(|_| damaged())?;
        let manifest: Manifest = serde_json::from_slice(&json).map_err(|_| damaged())?;
        let schema = manifest.arrow_schema().ok_or_else(damaged)?;
        Ok(TableVersion { table: table.to_owned(), manifest: Arc::new(manifest), schema, store: self.clone() })
    }
}

impl TableVersion {
    pub fn rows(&self) -> u64 {
        self.manifest.parts.iter().map(|part| part.rows).sum()
    }

    /// Whether the version, or one shortly before it, is of this commit.
    pub fn has_commit(&self, id: &str) -> bool {
        self.manifest.recent_commits.iter().any(|known| known == id)
    }

    pub fn part_path(&self, part: &PartInfo) -> PathBuf {
        self.store.dir(&self.table, DATA).join(&part.file)
    }

    /// Where the part stands below the root of the store, with `/` between the names.
    pub(crate) fn part_key(&self, part: &PartInfo) -> String {
        format!("{}/{DATA}/{}", self.table, part.file)
    }

    /// Cheap and done before each scan: sizes, magic bytes and footers are those of the manifest.
    pub fn check_footers(&self) -> Result<(), EngineError> {
        self.manifest.parts.iter().try_for_each(|part| part::check_footer(&self.part_path(part), part))
    }

    /// Whether the footer key can be had. Asked before a scan, because DataFusion turns the answer into text.
    pub(crate) fn check_footer_key(&self) -> Result<(), EngineError> {
        let Some(part) = self.manifest.parts.first() else {
            return Ok(());
        };
        let path = self.part_path(part);
        let file = File::open(&path).map_err(|error| EngineError::io("read the part", &path, &error))?;
        ParquetMetaDataReader::new()
            .with_decryption_properties(Some(self.store.0.keys.decryption_properties()?))
            .with_page_index_policy(PageIndexPolicy::Skip)
            .parse_and_finish(&file)
            .map(drop)
            .map_err(|error| EngineError::parquet_at("read the part", &path, &error))
    }

    /// Reads every byte of every part and compares it with the manifest.
    pub fn verify(&self) -> Result<(), EngineError> {
        self.manifest.parts.iter().try_for_each(|part| part::check_all(&self.part_path(part), part))
    }
}

/// Where one run puts the parts of one table until it commits them.
pub struct Staging {
    dir: PathBuf,
    run: String,
    keys: KeyTools,
    lock: File,
}

impl Staging {
    pub fn part(&self, schema: &SchemaRef, options: &PartOptions) -> Result<PartWriter, EngineError> {
        let file = format!("{}-{}.parquet", self.run, random_name()?);
        PartWriter::create(&self.dir, file, &self.run, &self.keys, schema, options)
    }

    /// Makes the names of its parts durable.
    pub fn sync(&self) -> Result<(), EngineError> {
        sync_dir(&self.dir)
    }

    /// After the last commit of the run: nothing of it is left here.
    pub fn remove(self) -> Result<(), EngineError> {
        drop(self.lock);
        fs::remove_dir_all(&self.dir).map_err(|error| EngineError::io("remove the staging folder", &self.dir, &error))
    }
}

fn next_manifest(table: &str, before: Option<&TableVersion>, commit: &Commit) -> Result<Manifest, EngineError> {
    let mut parts = Vec::new();
    let mut recent = Vec::new();
    let (mut parent, mut version) = (None, 1);
    if let Some(before) = before {
        let manifest = &before.manifest;
        parent = Some(manifest.version);
        version = manifest.version + 1;
        recent.clone_from(&manifest.recent_commits);
        if !commit.replace {
            if !same_columns(&before.schema, &commit.schema) {
                return Err(EngineError::SchemaMismatch { table: table.to_owned() });
            }
            let leaving: BTreeSet<&str> = commit.remove_parts.iter().map(String::as_str).collect();
            parts.extend(manifest.parts.iter().filter(|part| !leaving.contains(part.file.as_str())).cloned());
        }
    }
    recent.push(commit.id.clone());
    let excess = recent.len().saturating_sub(REMEMBERED_COMMITS);
    recent.drain(..excess);
    parts.extend(commit.add.iter().cloned());
    Manifest::new(table, version, parent, &commit.schema, parts, recent, commit.provenance.clone())
}

/// Names, types and nullability; metadata (which says how a column was made) may change from run to run.
fn same_columns(a: &Schema, b: &Schema) -> bool {
    a.fields().len() == b.fields().len()
        && a.fields().iter().zip(b.fields()).all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type())
}

/// Bound into the seal, so that no manifest can be taken for one of another table or version.
fn manifest_context(table: &str, version: u64) -> Vec<u8> {
    format!("cordon/manifest/v1\0{table}\0{version}").into_bytes()
}

fn manifest_name(version: u64) -> String {
    format!("v{version:010}.sealed")
}

fn manifest_version(name: &str) -> Option<u64> {
    name.strip_prefix('v')?.strip_suffix(".sealed")?.parse().ok()
}

/// Whether a table may have this name: what SQL takes unquoted and every file system takes as it is.
pub fn valid_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() <= 128
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn check_name(what: &'static str, name: &str) -> Result<(), EngineError> {
    if valid_name(name) { Ok(()) } else { Err(EngineError::InvalidName { what }) }
}

fn random_name() -> Result<String, EngineError> {
    let mut bytes = [0; 8];
    cordon_crypto::random_bytes(&mut bytes).map_err(|_| EngineError::Randomness)?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}

/// Makes a folder and those above it, durably: a part is only as durable as the names that lead to it.
fn make_dir(path: &Path) -> Result<(), EngineError> {
    let new: Vec<&Path> =
        path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
    fs::create_dir_all(path).map_err(|error| EngineError::io("make the folder", path, &error))?;
    for folder in new.iter().rev() {
        let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_dir(above)?;
    }
    Ok(())
}

/// Names in a folder; none when the folder does not exist.
fn list(dir: &Path) -> Result<Vec<String>, EngineError> {
    let failed = |error: &io::Error| EngineError::io("list the folder", dir, error);
    match fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_, _>>()
            .map_err(|error| failed(&error)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(failed(&error)),
    }
}

fn remove(path: &Path) -> Result<(), EngineError> {
    fs::remove_file(path).map_err(|error| EngineError::io("remove the file", path, &error))
}

fn lock_file(dir: &Path) -> Result<File, EngineError> {
    let path = dir.join(LOCK);
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| EngineError::io("open the lock", &path, &error))
}

/// Whether the open file is the one that stands under the name now.
fn is_named(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let held = file.metadata().map(|held| (held.dev(), held.ino()));
    let named = fs::metadata(path).map(|named| (named.dev(), named.ino()));
    matches!((held, named), (Ok(held), Ok(named)) if held == named)
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    let write = || {
        let mut file = File::options().create_new(true).write(true).open(path)?;
        io::Write::write_all(&mut file, bytes)?;
        file.sync_all()
    };
    write().map_err(|error| EngineError::io("write the manifest", path, &error))
}

/// A new name is durable only when its folder is.
fn sync_dir(dir: &Path) -> Result<(), EngineError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| EngineError::io("make the folder durable", dir, &error))
}
