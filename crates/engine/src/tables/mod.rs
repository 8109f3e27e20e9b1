//! Encrypted tables on a file system or in an object store: parts, manifests, and commits that are seen whole or not at all.
//!
//! ```text
//! <root>/<table>/data/<run>-<random>.parquet   immutable parts, encrypted from their first byte
//! <root>/<table>/data/_KEY_MATERIAL_FOR_<part>.json   its wrapped keys, where they are kept outside
//! <root>/<table>/_staging/<run>/               parts of a run that is not committed; of an object store beside the project
//! <root>/<table>/_manifest/v0000000007.sealed  one sealed manifest a version; the highest one is the table
//! ```
//!
//! A commit makes everything it names durable, then publishes its manifest under a name that may not exist yet
//! (link(2) fails if it does, and so does a conditional put), so that of two commits to one version exactly one wins. A manifest holds the digest of each
//! part's footer: the footer is authenticated and names every page, so that a part that was swapped for another one, even
//! for an older part under the same keys, is found before it is read.

mod key_use;
mod manifest;
mod part;
mod place;
mod rewrap;
mod row_digest;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use cordon_crypto::{CryptoError, KeyedHash, SealKeys};
use cordon_storage::Store;
use datafusion::object_store::ObjectStore;
use datafusion::object_store::local::LocalFileSystem;
use parquet::encryption::decrypt::FileDecryptionProperties;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use sha2::{Digest, Sha256};

pub use key_use::{KeyUse, PartCount};
pub use manifest::{AuditAnchor, Manifest, PartInfo, Provenance, SourceRef};
pub use manifest::{decode_schema, encode_schema};
pub use part::{ENTROPY_METADATA, PartCompression, PartOptions, PartWriter};
pub(crate) use place::{PartFile, read_material};
use place::{Place, list, lock_file, make_dir, sync_dir};
pub use rewrap::{RewrapProgress, Rewrapped};
use row_digest::RowDigest;
pub use row_digest::rows_digest;

use crate::errors::EngineError;
use crate::inputs::ParquetInput;
use crate::keytools::{KeyError, KeyTools, material_name, material_owner};

const DATA: &str = "data";
const STAGING: &str = "_staging";
const MANIFESTS: &str = "_manifest";
const LOCK: &str = ".lock";
const SUB_KEY: &str = "cordon/manifest/v1";
/// A commit that is tried again within so many later commits is recognised and not applied twice.
const REMEMBERED_COMMITS: usize = 64;

/// Footers of an object store that are fetched at once.
const CHECKS: usize = 16;

/// A recovery that comes in between costs one try.
const STAGE_TRIES: usize = 8;

/// All tables under one root. Cheap to clone.
#[derive(Clone)]
pub struct TableStore(Arc<Inner>);

struct Inner {
    place: Place,
    /// Staged parts are below it, by table and run.
    staging: PathBuf,
    keys: KeyTools,
    seal: SealKeys,
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
    pub fn open(root: impl Into<PathBuf>, keys: KeyTools, seal: impl Into<SealKeys>) -> Result<Self, EngineError> {
        let root = root.into();
        let root = absolute(&root)?;
        Ok(Self::at(Place::Folder(root.clone()), root, keys, seal.into()))
    }

    /// Tables in an object store. What is not committed waits below `staging`, on a disk of this machine, encrypted as it will be.
    pub fn open_objects(
        store: Store,
        staging: impl Into<PathBuf>,
        keys: KeyTools,
        seal: impl Into<SealKeys>,
    ) -> Result<Self, EngineError> {
        Ok(Self::at(Place::Objects(store), absolute(&staging.into())?, keys, seal.into()))
    }

    fn at(place: Place, staging: PathBuf, keys: KeyTools, seal: SealKeys) -> Self {
        Self(Arc::new(Inner { place, staging, keys, seal }))
    }

    /// What a query reads parts from, by [`TableVersion::part_key`].
    pub(crate) fn objects(&self) -> Result<Arc<dyn ObjectStore>, EngineError> {
        match &self.0.place {
            Place::Folder(root) => match LocalFileSystem::new_with_prefix(root) {
                Ok(files) => Ok(Arc::new(files)),
                Err(_) => Err(EngineError::Internal("object store of the tables")),
            },
            Place::Objects(store) => Ok(store.object_store()),
        }
    }

    pub fn keys(&self) -> &KeyTools {
        &self.0.keys
    }

    pub(crate) fn seal_keys(&self) -> &SealKeys {
        &self.0.seal
    }

    /// One version, as long as its manifest is kept.
    pub(crate) fn version(&self, table: &str, version: u64) -> Result<TableVersion, EngineError> {
        check_name("table", table)?;
        self.read_version(table, version)
    }

    /// Names of the tables that have at least one version, sorted.
    pub fn tables(&self) -> Result<Vec<String>, EngineError> {
        let mut names = Vec::new();
        for name in self.0.place.names()? {
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
        let dir = self.staging(table).join(run);
        for _ in 0..STAGE_TRIES {
            make_dir(&dir)?;
            // The folders above may be as new.
            dir.ancestors().skip(1).take(3).try_for_each(sync_dir)?;
            let lock = lock_file(&dir)?;
            // Another worker of the same run may hold it too, hence shared.
            lock.lock_shared().map_err(|error| EngineError::io("lock the staging folder", &dir, &error))?;
            // A recovery may have removed the folder while this waited: then the lock keeps nobody out.
            if is_named(&lock, &dir.join(LOCK)) {
                // From the first version of the key: what was written before a rotation is to be compared with what comes after.
                let digest = RowDigest::new(&KeyedHash::for_key(self.0.seal.first_key()).derive("digests of rows"));
                return Ok(Staging { dir, run: run.to_owned(), keys: self.0.keys.clone(), digest, lock });
            }
        }
        Err(EngineError::Internal("the staging folder is removed again and again"))
    }

    /// Publishes a new version and returns its number.
    pub fn commit(&self, table: &str, commit: &Commit) -> Result<u64, EngineError> {
        check_name("table", table)?;
        self.0.place.prepare(table)?;
        // Only spares honest writers a conflict; what decides is the exclusive publication below.
        let _held = self.0.place.hold(table)?;

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
            self.adopt(table, part)?;
        }
        self.0.place.settle(table)?;
        self.publish(table, &manifest)?;
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
        commit.add.iter().try_for_each(|part| self.find_staged(table, part).map(drop))
    }

    /// Whether a part that another process staged can be found from here, whole.
    pub fn has_staged(&self, table: &str, part: &PartInfo) -> Result<(), EngineError> {
        check_name("table", table)?;
        self.find_staged(table, part).map(drop)
    }

    /// Moves a staged part into the table; one that a killed commit had moved before is accepted.
    fn adopt(&self, table: &str, part: &PartInfo) -> Result<(), EngineError> {
        match self.find_staged(table, part)? {
            Some(from) => self.0.place.adopt(table, part, &from),
            None => Ok(()),
        }
    }

    /// Where the part waits to be moved; `None` when it is in the table's folder already.
    fn find_staged(&self, table: &str, part: &PartInfo) -> Result<Option<PathBuf>, EngineError> {
        if self.0.place.part_len(table, &part.file)? == Some(part.bytes) {
            return Ok(None);
        }
        let from = self.staging(table).join(&part.run).join(&part.file);
        let len = fs::metadata(&from).map_err(|error| EngineError::io("find the staged part", &from, &error))?.len();
        if len != part.bytes {
            return Err(EngineError::Damaged { what: "staged part", path: from });
        }
        let name = material_name(&part.file);
        let beside = from.with_file_name(&name);
        if part.external_keys.is_some() && !beside.exists() && self.0.place.part_len(table, &name)?.is_none() {
            return Err(EngineError::Damaged { what: "staged part's key material", path: beside });
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
        let path = self.0.place.shown(table, DATA, &part.file);
        self.check_footer(table, part)?;
        let keys = self.part_keys(table, &part.file)?;
        let Some(current) = self.current(table)? else { return Err(EngineError::NoSuchTable) };
        let mut writer = staging.part(&current.schema, options)?;
        let mut wanted = keep.iter().peekable();
        let mut at = 0;
        for batch in ParquetInput::with_properties(self.0.place.open_part(table, part)?, &path, keys, 8192, None)? {
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

    /// One column of a part, in the order of its rows: what tells which of them [`Self::copy_rows`] is to keep.
    pub fn column(&self, table: &str, part: &PartInfo, name: &str) -> Result<ParquetInput, EngineError> {
        check_name("table", table)?;
        self.check_footer(table, part)?;
        let path = self.0.place.shown(table, DATA, &part.file);
        let keys = self.part_keys(table, &part.file)?;
        ParquetInput::with_properties(self.0.place.open_part(table, part)?, &path, keys, 8192, Some(name))
    }

    fn publish(&self, table: &str, manifest: &Manifest) -> Result<(), EngineError> {
        let json = serde_json::to_vec(manifest).map_err(|_| EngineError::Internal("manifest"))?;
        let context = manifest_context(table, manifest.version);
        let sealed = self.0.seal.seal(SUB_KEY, &context, &json).map_err(|_| EngineError::Randomness)?;
        self.0.place.publish(table, &manifest_name(manifest.version), manifest.version, &sealed)
    }

    /// After a crash: removes staged parts of runs that are neither alive nor in `resuming`, drafts of manifests, and
    /// parts that no manifest names. A run in `resuming` keeps all its parts.
    pub fn recover(&self, table: &str, resuming: &[&str]) -> Result<Recovered, EngineError> {
        check_name("table", table)?;
        let mut done = Recovered::default();
        if let Place::Folder(root) = &self.0.place
            && !root.join(table).is_dir()
        {
            return Ok(done);
        }
        self.0.place.prepare(table)?;
        let _held = self.0.place.hold(table)?;

        let mut live = BTreeSet::new();
        let staging = self.staging(table);
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
        self.0.place.remove_drafts(table)?;
        let parts = self.0.place.parts(table)?;
        if parts.is_empty() {
            return Ok(done);
        }
        let mut named = BTreeSet::new();
        for version in self.history(table)? {
            named.extend(version.manifest.parts.iter().map(|part| part.file.clone()));
        }
        let now = SystemTime::now();
        // Parts before what holds their keys: no reader is to see one whose keys are gone.
        let (materials, parts): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|(name, _)| material_owner(name).is_some());
        for (name, since) in parts.into_iter().chain(materials) {
            let part = material_owner(&name).unwrap_or(&name);
            let resumes = part.rsplit_once('-').is_some_and(|(run, _)| live.contains(run) || resuming.contains(&run));
            if !named.contains(part) && !resumes && self.0.place.is_orphaned(since, now) {
                self.0.place.remove_part(table, &name)?;
                done.orphans += usize::from(name.ends_with(".parquet"));
            }
        }
        Ok(done)
    }

    /// Removes parts that the newest version does not name and that have been out of it for longer than `grace`.
    /// Their manifests stay: they are the record of how earlier versions were made.
    pub fn vacuum(&self, table: &str, grace: Duration, now: SystemTime) -> Result<usize, EngineError> {
        check_name("table", table)?;
        let Some(current) = self.current(table)? else {
            return Ok(0);
        };
        let _held = self.0.place.hold(table)?;
        let published: BTreeMap<String, SystemTime> = self.0.place.manifests(table)?.into_iter().collect();
        // A part retires when the first version without it is published.
        let mut retired: BTreeMap<String, SystemTime> = BTreeMap::new();
        let mut alive: BTreeSet<String> = BTreeSet::new();
        let mut external: BTreeSet<String> = BTreeSet::new();
        for version in self.history(table)? {
            let outside = version.manifest.parts.iter().filter(|part| part.external_keys.is_some());
            external.extend(outside.map(|part| part.file.clone()));
            // One that came in between is of this instant.
            let published = published.get(&manifest_name(version.manifest.version)).copied().unwrap_or(now);
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
            let old = now.duration_since(since).is_ok_and(|age| age >= grace);
            if old && self.0.place.part_len(table, &file)?.is_some() {
                self.0.place.remove_with_keys(table, &file, external.contains(&file))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn staging(&self, table: &str) -> PathBuf {
        self.0.staging.join(table).join(STAGING)
    }

    fn versions(&self, table: &str) -> Result<Vec<u64>, EngineError> {
        let manifests = self.0.place.manifests(table)?;
        let mut versions: Vec<u64> = manifests.iter().filter_map(|(name, _)| manifest_version(name)).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    fn latest(&self, table: &str) -> Result<Option<u64>, EngineError> {
        Ok(self.versions(table)?.pop())
    }

    fn read_version(&self, table: &str, version: u64) -> Result<TableVersion, EngineError> {
        let name = manifest_name(version);
        let sealed = self.0.place.manifest(table, &name)?;
        let damaged = || EngineError::Damaged { what: "manifest", path: self.0.place.shown(table, MANIFESTS, &name) };
        let json =
            self.0.seal.open(SUB_KEY, &manifest_context(table, version), &sealed).map_err(|error| match error {
                CryptoError::UnknownVersion { .. } => EngineError::key(&error, "seal"),
                _ => damaged(),
            })?;
        let manifest: Manifest = serde_json::from_slice(&json).map_err(|_| damaged())?;
        let schema = manifest.arrow_schema().ok_or_else(damaged)?;
        Ok(TableVersion { table: table.to_owned(), manifest: Arc::new(manifest), schema, store: self.clone() })
    }
}

impl TableVersion {
    pub fn rows(&self) -> u64 {
        self.manifest.parts.iter().map(|part| part.rows).sum()
    }

    /// What tells the parts from all others: their names, and what binds their content.
    pub(crate) fn parts_digest(&self) -> String {
        let mut hash = Sha256::new();
        for part in &self.manifest.parts {
            for text in [&part.file, &part.footer_sha256] {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text);
            }
        }
        data_encoding::HEXLOWER.encode(&hash.finalize())
    }

    /// Of all rows, in whatever order and however they are parted; `None` where a part is older than such digests.
    pub fn rows_digest(&self) -> Option<String> {
        rows_digest(self.manifest.parts.iter().map(|part| part.rows_digest.as_deref()))
    }

    /// Whether the version, or one shortly before it, is of this commit.
    pub fn has_commit(&self, id: &str) -> bool {
        self.manifest.recent_commits.iter().any(|known| known == id)
    }

    /// Where the part stands: of an object store its address.
    pub fn part_path(&self, part: &PartInfo) -> PathBuf {
        self.store.0.place.shown(&self.table, DATA, &part.file)
    }

    /// Where the part stands below the root of the store, with `/` between the names.
    pub(crate) fn part_key(&self, part: &PartInfo) -> String {
        format!("{}/{DATA}/{}", self.table, part.file)
    }

    /// Cheap and done before each scan: sizes, magic bytes and footers are those of the manifest.
    pub fn check_footers(&self) -> Result<(), EngineError> {
        self.each_part(|part| self.store.check_footer(&self.table, part))
    }

    /// The same for the parts whose [`Self::part_key`] is one of these, and whether their keys can be had.
    pub(crate) fn check_parts(&self, keys: &BTreeSet<String>) -> Result<(), EngineError> {
        let mut part = self.clone();
        let mut manifest = Manifest::clone(&self.manifest);
        manifest.parts.retain(|part| keys.contains(&self.part_key(part)));
        part.manifest = Arc::new(manifest);
        part.check_footers()?;
        part.check_footer_key()
    }

    fn each_part(&self, check: impl Fn(&PartInfo) -> Result<(), EngineError> + Sync) -> Result<(), EngineError> {
        self.store.each_of(&self.manifest.parts, check)
    }

    /// Whether the footer key can be had, and the key material of each part that has it beside it. Asked before a scan, because
    /// DataFusion turns the answer into text.
    pub(crate) fn check_footer_key(&self) -> Result<(), EngineError> {
        let Some(part) = self.manifest.parts.first() else {
            return Ok(());
        };
        self.each_part(|part| match part.external_keys {
            Some(_) if self.store.0.place.material(&self.table, &part.file)?.is_none() => {
                Err(KeyError::NoExternalMaterial.into())
            }
            _ => Ok(()),
        })?;
        let file = self.store.0.place.open_part(&self.table, part)?;
        ParquetMetaDataReader::new()
            .with_decryption_properties(Some(self.store.part_keys(&self.table, &part.file)?))
            .with_page_index_policy(PageIndexPolicy::Skip)
            .parse_and_finish(&file)
            .map(drop)
            .map_err(|error| EngineError::parquet_at("read the part", &self.part_path(part), &error))
    }

    /// Reads every byte of every part and compares it with the manifest; key material beside a part is opened, and must hold the
    /// part's keys.
    pub fn verify(&self) -> Result<(), EngineError> {
        self.each_part(|part| {
            self.store.check_footer(&self.table, part)?;
            part::check_content(&self.store.0.place.open_part(&self.table, part)?, part, &self.part_path(part))?;
            self.store.check_material(&self.table, part)
        })
    }
}

impl TableStore {
    /// How to read a part, by [`TableVersion::part_key`].
    pub(crate) fn keys_of(&self, key: &str) -> Result<Arc<FileDecryptionProperties>, EngineError> {
        match key.split_once('/').and_then(|(table, rest)| Some((table, rest.strip_prefix(DATA)?.strip_prefix('/')?))) {
            Some((table, file)) => self.part_keys(table, file),
            None => self.0.keys.decryption_properties(),
        }
    }

    /// Of an object store several at once: each is a wait for the network.
    fn each_of(
        &self,
        parts: &[PartInfo],
        check: impl Fn(&PartInfo) -> Result<(), EngineError> + Sync,
    ) -> Result<(), EngineError> {
        if matches!(self.0.place, Place::Folder(_)) || parts.len() < 2 {
            return parts.iter().try_for_each(check);
        }
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..parts.len().min(CHECKS))
                .map(|_| {
                    scope.spawn(|| {
                        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                            check(part)?;
                        }
                        Ok(())
                    })
                })
                .collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().unwrap_or(Err(EngineError::Internal("check of the parts"))))
        })
    }

    fn part_keys(&self, table: &str, file: &str) -> Result<Arc<FileDecryptionProperties>, EngineError> {
        let (store, table, file) = (self.clone(), table.to_owned(), file.to_owned());
        self.0.keys.decryption_properties_with(Arc::new(move || store.0.place.material(&table, &file)))
    }

    fn check_footer(&self, table: &str, part: &PartInfo) -> Result<(), EngineError> {
        let path = self.0.place.shown(table, DATA, &part.file);
        self.0.place.check_head(&path)?;
        part::check_footer(|most| self.0.place.tail(table, part, most), part, &path)
    }
}

/// Where one run puts the parts of one table until it commits them.
pub struct Staging {
    dir: PathBuf,
    run: String,
    keys: KeyTools,
    digest: RowDigest,
    lock: File,
}

impl Staging {
    pub fn part(&self, schema: &SchemaRef, options: &PartOptions) -> Result<PartWriter, EngineError> {
        let file = format!("{}-{}.parquet", self.run, random_name()?);
        PartWriter::create(&self.dir, file, &self.run, &self.keys, self.digest.clone(), schema, options)
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

fn absolute(root: &Path) -> Result<PathBuf, EngineError> {
    make_dir(root)?;
    // So that a later change of directory moves nothing.
    root.canonicalize().map_err(|error| EngineError::io("open the table store", root, &error))
}

fn random_name() -> Result<String, EngineError> {
    let mut bytes = [0; 8];
    cordon_crypto::random_bytes(&mut bytes).map_err(|_| EngineError::Randomness)?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}

/// Whether the open file is the one that stands under the name now.
fn is_named(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let held = file.metadata().map(|held| (held.dev(), held.ino()));
    let named = fs::metadata(path).map(|named| (named.dev(), named.ino()));
    matches!((held, named), (Ok(held), Ok(named)) if held == named)
}
