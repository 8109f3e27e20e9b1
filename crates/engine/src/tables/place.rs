//! Where committed tables stand: a folder, or below a prefix of an object store. The names are the same in both.
//!
//! What makes a commit seen whole or not at all is that a manifest's name can be taken once: link(2) fails where the name is
//! taken, and so does a conditional put. What makes a part seen whole is the rename, or that an upload's object appears when it is
//! complete.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cordon_storage::{Store, Trouble};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::part::MAGIC;
use super::{DATA, LOCK, MANIFESTS, PartInfo, random_name};
use crate::errors::EngineError;
use crate::keytools::{material_name, read_external};

/// No manifest is near as large.
const MOST_MANIFEST: u64 = 256 << 20;
/// In an object store, where no lock keeps anybody out, what no manifest names is somebody's until it is as old as this.
const ORPHANED: Duration = Duration::from_hours(24);

pub(super) enum Place {
    Folder(PathBuf),
    Objects(Store),
}

/// Held while a table changes. Between machines it keeps nobody out: what decides is who takes the next manifest's name.
pub(super) struct Held(#[expect(dead_code, reason = "the lock goes with it")] Option<File>);

impl Place {
    /// How a file of a table is shown.
    pub(super) fn shown(&self, table: &str, room: &str, file: &str) -> PathBuf {
        match self {
            Self::Folder(root) => root.join(table).join(room).join(file),
            Self::Objects(store) => format!("{}/{table}/{room}/{file}", store.location()).into(),
        }
    }

    /// Names at the root; not all need be tables.
    pub(super) fn names(&self) -> Result<Vec<String>, EngineError> {
        match self {
            Self::Folder(root) => list(root),
            Self::Objects(store) => Ok(store.names("")?.1),
        }
    }

    /// Names of a table's manifests, and since when each is there.
    pub(super) fn manifests(&self, table: &str) -> Result<Vec<(String, SystemTime)>, EngineError> {
        self.room(table, MANIFESTS)
    }

    /// Names of the parts in a table's folder, and since when each is there.
    pub(super) fn parts(&self, table: &str) -> Result<Vec<(String, SystemTime)>, EngineError> {
        self.room(table, DATA)
    }

    fn room(&self, table: &str, room: &str) -> Result<Vec<(String, SystemTime)>, EngineError> {
        match self {
            Self::Folder(root) => {
                let dir = root.join(table).join(room);
                let mut found = Vec::new();
                for name in list(&dir)? {
                    match fs::metadata(dir.join(&name)).and_then(|meta| meta.modified()) {
                        Ok(modified) => found.push((name, modified)),
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => return Err(EngineError::io("list the folder", &dir, &error)),
                    }
                }
                Ok(found)
            }
            Self::Objects(store) => {
                let (objects, _) = store.names(&format!("{table}/{room}"))?;
                let name = |key: &str| key.rsplit_once('/').map_or(key, |(_, name)| name).to_owned();
                Ok(objects.into_iter().map(|object| (name(&object.key), object.modified)).collect())
            }
        }
    }

    pub(super) fn manifest(&self, table: &str, name: &str) -> Result<Vec<u8>, EngineError> {
        let path = self.shown(table, MANIFESTS, name);
        match self {
            Self::Folder(_) => fs::read(&path).map_err(|error| EngineError::io("read the manifest", &path, &error)),
            Self::Objects(store) => match store.small(&key(table, MANIFESTS, name), MOST_MANIFEST)? {
                Some(bytes) => Ok(bytes.into()),
                None => Err(EngineError::io("read the manifest", &path, &io::ErrorKind::NotFound.into())),
            },
        }
    }

    /// Publishes a manifest under a name that nobody has taken.
    pub(super) fn publish(&self, table: &str, name: &str, version: u64, sealed: &[u8]) -> Result<(), EngineError> {
        let conflict = || EngineError::Conflict { table: table.to_owned(), version };
        let Self::Folder(root) = self else { return self.put_manifest(table, name, sealed, conflict) };
        let dir = root.join(table).join(MANIFESTS);
        let draft = dir.join(format!("{DRAFT}{}", random_name()?));
        let written = (|| {
            write_durably(&draft, sealed, "write the manifest")?;
            let name = dir.join(name);
            fs::hard_link(&draft, &name).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => conflict(),
                _ => EngineError::io("publish the manifest", &name, &error),
            })
        })();
        let removed = fs::remove_file(&draft);
        written?;
        sync_dir(&dir)?;
        removed.map_err(|error| EngineError::io("remove a draft", &draft, &error))
    }

    fn put_manifest(
        &self,
        table: &str,
        name: &str,
        sealed: &[u8],
        conflict: impl Fn() -> EngineError,
    ) -> Result<(), EngineError> {
        let Self::Objects(store) = self else { return Ok(()) };
        let key = key(table, MANIFESTS, name);
        match store.put_new(&key, sealed.to_vec()) {
            Ok(()) => Ok(()),
            // A request whose answer was lost is sent again, and then finds its own.
            Err(error) if error.trouble == Trouble::Exists => match store.small(&key, MOST_MANIFEST)? {
                Some(there) if there == sealed => Ok(()),
                _ => Err(conflict()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// How long the part is, where it is in the table's folder.
    pub(super) fn part_len(&self, table: &str, file: &str) -> Result<Option<u64>, EngineError> {
        match self {
            Self::Folder(root) => Ok(fs::metadata(root.join(table).join(DATA).join(file)).map(|meta| meta.len()).ok()),
            Self::Objects(store) => Ok(store.find(&key(table, DATA, file))?.map(|object| object.size)),
        }
    }

    /// A staged part comes into the table's folder, its key material first: who sees the part finds it.
    pub(super) fn adopt(&self, table: &str, part: &PartInfo, from: &Path) -> Result<(), EngineError> {
        if part.external_keys.is_some() {
            let name = material_name(&part.file);
            let from = from.with_file_name(&name);
            // A commit that was killed in between had moved it before.
            let there = from.try_exists().map_err(|error| EngineError::io("find the key material", &from, &error))?;
            if there || self.part_len(table, &name)?.is_none() {
                self.move_in(table, &name, &from)?;
            }
        }
        self.move_in(table, &part.file, from)
    }

    fn move_in(&self, table: &str, file: &str, from: &Path) -> Result<(), EngineError> {
        match self {
            Self::Folder(root) => {
                let to = root.join(table).join(DATA).join(file);
                fs::rename(from, &to).map_err(|error| EngineError::io("move the staged part", &to, &error))
            }
            // The staged one goes with its folder, once the commit is done.
            Self::Objects(store) => Ok(store.upload(&key(table, DATA, file), from)?),
        }
    }

    /// External key material of a part; `None` where there is none.
    pub(super) fn material(&self, table: &str, file: &str) -> Result<Option<BTreeMap<String, String>>, EngineError> {
        let name = material_name(file);
        let path = self.shown(table, DATA, &name);
        match self {
            Self::Folder(_) => read_material(&path),
            Self::Objects(store) => {
                let json = store.small(&key(table, DATA, &name), MOST_MANIFEST)?;
                json.map(|json| read_external(&json, &path)).transpose()
            }
        }
    }

    /// Replaces the key material of a part: readers find the old or the new. `scratch`: a folder of this machine.
    pub(super) fn replace_material(
        &self,
        table: &str,
        file: &str,
        json: &[u8],
        scratch: &Path,
    ) -> Result<(), EngineError> {
        let name = material_name(file);
        match self {
            Self::Folder(root) => replace_file(&root.join(table).join(DATA).join(name), json),
            Self::Objects(store) => {
                make_dir(scratch)?;
                let draft = draft_in(scratch)?;
                write_durably(&draft, json, "write the key material")?;
                let put = store.upload(&key(table, DATA, &name), &draft);
                remove(&draft)?;
                Ok(put?)
            }
        }
    }

    /// Makes the names of the parts durable; an object's is with the object.
    pub(super) fn settle(&self, table: &str) -> Result<(), EngineError> {
        let Self::Folder(root) = self else { return Ok(()) };
        let table = root.join(table);
        // The folders may be as new as what is in them.
        [&table.join(DATA), &table, root].into_iter().try_for_each(|dir| sync_dir(dir))
    }

    /// The part first: no reader is to see one whose keys are gone.
    pub(super) fn remove_with_keys(&self, table: &str, file: &str, external: bool) -> Result<(), EngineError> {
        self.remove_part(table, file)?;
        let name = material_name(file);
        if external && self.part_len(table, &name)?.is_some() {
            self.remove_part(table, &name)?;
        }
        Ok(())
    }

    pub(super) fn remove_part(&self, table: &str, file: &str) -> Result<(), EngineError> {
        match self {
            Self::Folder(root) => remove(&root.join(table).join(DATA).join(file)),
            Self::Objects(store) => Ok(store.remove(&key(table, DATA, file))?),
        }
    }

    /// Whether a part that no manifest names may be removed, if its run is not alive.
    pub(super) fn is_orphaned(&self, since: SystemTime, now: SystemTime) -> bool {
        match self {
            Self::Folder(_) => true,
            Self::Objects(_) => now.duration_since(since).is_ok_and(|age| age >= ORPHANED),
        }
    }

    /// Drafts of manifests that a killed commit left.
    pub(super) fn remove_drafts(&self, table: &str) -> Result<(), EngineError> {
        let Self::Folder(root) = self else {
            if let Self::Objects(store) = self {
                // Parts of a part, whose writer was killed: nobody sees them, and they cost money.
                store.give_up_uploads(&format!("{table}/{DATA}"), ORPHANED)?;
            }
            // Of HDFS; they may be those of a commit that is under way elsewhere.
            let now = SystemTime::now();
            let drafts = self
                .manifests(table)?
                .into_iter()
                .filter(|(name, since)| name.starts_with(DRAFT) && self.is_orphaned(*since, now));
            return drafts.into_iter().try_for_each(|(name, _)| match self {
                Self::Objects(store) => Ok(store.remove(&key(table, MANIFESTS, &name))?),
                Self::Folder(_) => Ok(()),
            });
        };
        let dir = root.join(table).join(MANIFESTS);
        list(&dir)?.iter().filter(|name| name.starts_with(DRAFT)).try_for_each(|name| remove(&dir.join(name)))
    }

    /// Makes the folders of a table, where folders are needed.
    pub(super) fn prepare(&self, table: &str) -> Result<(), EngineError> {
        let Self::Folder(root) = self else { return Ok(()) };
        make_dir(&root.join(table).join(MANIFESTS))?;
        make_dir(&root.join(table).join(DATA))
    }

    /// Waits until nobody else of this machine changes the table. Only spares honest writers a conflict.
    pub(super) fn hold(&self, table: &str) -> Result<Held, EngineError> {
        let Self::Folder(root) = self else { return Ok(Held(None)) };
        let dir = root.join(table).join(MANIFESTS);
        let lock = lock_file(&dir)?;
        lock.lock().map_err(|error| EngineError::io("lock the table", &dir, &error))?;
        Ok(Held(Some(lock)))
    }

    pub(super) fn open_part(&self, table: &str, part: &PartInfo) -> Result<PartFile, EngineError> {
        let path = self.shown(table, DATA, &part.file);
        match self {
            Self::Folder(_) => match File::open(&path) {
                Ok(file) => Ok(PartFile::Local(Arc::new(file))),
                Err(error) => Err(EngineError::io("read the part", &path, &error)),
            },
            Self::Objects(store) => {
                let key = key(table, DATA, &part.file);
                let Some(object) = store.find(&key)? else {
                    return Err(EngineError::io("read the part", &path, &io::ErrorKind::NotFound.into()));
                };
                Ok(PartFile::Object(Arc::new(RemoteFile::new(store.clone(), key, object.size))))
            }
        }
    }

    /// Whether a part begins as an encrypted one does. Of an object that is looked at with all its bytes: it would be one more request
    /// for what the footer's digest tells already.
    pub(super) fn check_head(&self, path: &Path) -> Result<(), EngineError> {
        let Self::Folder(_) = self else { return Ok(()) };
        let mut head = Vec::with_capacity(MAGIC.len());
        File::open(path)
            .and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut head))
            .map_err(|error| EngineError::io("read the part", path, &error))?;
        if head == MAGIC { Ok(()) } else { Err(EngineError::NotEncrypted { path: path.to_owned() }) }
    }

    /// The end of a part and how long it is: of an object in one request.
    pub(super) fn tail(&self, table: &str, part: &PartInfo, most: u64) -> Result<(Bytes, u64), EngineError> {
        let path = self.shown(table, DATA, &part.file);
        match self {
            Self::Folder(_) => read_tail(&path, most).map_err(|error| EngineError::io("read the part", &path, &error)),
            Self::Objects(store) => Ok(store.tail(&key(table, DATA, &part.file), most)?),
        }
    }
}

const DRAFT: &str = ".draft-";

fn draft_in(dir: &Path) -> Result<PathBuf, EngineError> {
    Ok(dir.join(format!("{DRAFT}{}", random_name()?)))
}

/// Drafts of key material that were on their way into an object store when somebody was killed. Nobody else may be replacing any.
pub(super) fn remove_scratch(scratch: &Path) -> Result<(), EngineError> {
    list(scratch)?.iter().filter(|name| name.starts_with(DRAFT)).try_for_each(|name| remove(&scratch.join(name)))
}

/// Replaces key material on a disk of this machine.
pub(super) fn replace_file(path: &Path, json: &[u8]) -> Result<(), EngineError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let draft = draft_in(dir)?;
    write_durably(&draft, json, "write the key material")?;
    fs::rename(&draft, path).map_err(|error| EngineError::io("replace the key material", path, &error))?;
    sync_dir(dir)
}

/// External key material on a disk of this machine; `None` where there is none.
pub(crate) fn read_material(path: &Path) -> Result<Option<BTreeMap<String, String>>, EngineError> {
    match fs::read(path) {
        Ok(json) => read_external(&json, path).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(EngineError::io("read the key material", path, &error)),
    }
}

fn key(table: &str, room: &str, file: &str) -> String {
    format!("{table}/{room}/{file}")
}

pub(super) fn read_tail(path: &Path, most: u64) -> io::Result<(Bytes, u64)> {
    use std::io::{Seek, SeekFrom};
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(most)))?;
    let mut tail = Vec::with_capacity(most.min(len) as usize);
    file.read_to_end(&mut tail)?;
    Ok((tail.into(), len))
}

/// A part that is read at any of its places.
#[derive(Clone)]
pub(crate) enum PartFile {
    Local(Arc<File>),
    Object(Arc<RemoteFile>),
}

impl PartFile {
    pub(crate) fn object(store: Store, key: String, len: u64) -> Self {
        Self::Object(Arc::new(RemoteFile::new(store, key, len)))
    }
}

impl Length for PartFile {
    fn len(&self) -> u64 {
        match self {
            Self::Local(file) => Length::len(file.as_ref()),
            Self::Object(object) => object.len,
        }
    }
}

impl ChunkReader for PartFile {
    type T = Box<dyn Read + Send>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        match self {
            Self::Local(file) => Ok(Box::new(file.get_read(start)?)),
            Self::Object(object) => Ok(Box::new(FromPlace { object: Arc::clone(object), at: start })),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        match self {
            Self::Local(file) => file.get_bytes(start, length),
            Self::Object(object) => {
                object.bytes(start, length).map_err(|error| ParquetError::External(Box::new(error)))
            }
        }
    }
}

/// An object in blocks, the last few of which are kept: the reader goes through the columns of a row group side by side.
pub(crate) struct RemoteFile {
    store: Store,
    key: String,
    len: u64,
    blocks: Mutex<Vec<(u64, Bytes)>>,
}

const BLOCK: u64 = 1 << 20;
const KEPT_BLOCKS: usize = 32;

impl RemoteFile {
    fn new(store: Store, key: String, len: u64) -> Self {
        Self { store, key, len, blocks: Mutex::default() }
    }

    fn bytes(&self, start: u64, length: usize) -> io::Result<Bytes> {
        let end = start.saturating_add(length as u64);
        if end > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if length as u64 > BLOCK {
            return Ok(self.store.range(&self.key, start..end)?);
        }
        let mut out = Vec::with_capacity(length);
        let mut at = start;
        while at < end {
            let block = self.block(at / BLOCK)?;
            let from = (at % BLOCK) as usize;
            let take = block.len().saturating_sub(from).min((end - at) as usize);
            let bytes = block.get(from..from + take).filter(|bytes| !bytes.is_empty());
            out.extend_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            at += take as u64;
        }
        Ok(out.into())
    }

    fn block(&self, number: u64) -> io::Result<Bytes> {
        let known = |blocks: &mut Vec<(u64, Bytes)>| {
            let at = blocks.iter().position(|(known, _)| *known == number)?;
            let block = blocks.remove(at);
            blocks.push(block.clone());
            Some(block.1)
        };
        if let Some(block) = known(&mut self.blocks.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(block);
        }
        let start = number * BLOCK;
        let bytes = self.store.range(&self.key, start..(start + BLOCK).min(self.len))?;
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if blocks.len() >= KEPT_BLOCKS {
            blocks.remove(0);
        }
        blocks.push((number, bytes.clone()));
        Ok(bytes)
    }
}

struct FromPlace {
    object: Arc<RemoteFile>,
    at: u64,
}

impl Read for FromPlace {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.object.len.saturating_sub(self.at);
        let within = BLOCK - self.at % BLOCK;
        let length = (buffer.len() as u64).min(left).min(within) as usize;
        let bytes = self.object.bytes(self.at, length)?;
        if let Some(place) = buffer.get_mut(..bytes.len()) {
            place.copy_from_slice(&bytes);
        }
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }
}

/// Makes a folder and those above it, durably: a part is only as durable as the names that lead to it.
pub(super) fn make_dir(path: &Path) -> Result<(), EngineError> {
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
pub(super) fn list(dir: &Path) -> Result<Vec<String>, EngineError> {
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

pub(super) fn remove(path: &Path) -> Result<(), EngineError> {
    fs::remove_file(path).map_err(|error| EngineError::io("remove the file", path, &error))
}

pub(super) fn lock_file(dir: &Path) -> Result<File, EngineError> {
    let path = dir.join(LOCK);
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| EngineError::io("open the lock", &path, &error))
}

pub(super) fn write_durably(path: &Path, bytes: &[u8], what: &'static str) -> Result<(), EngineError> {
    let write = || {
        let mut file = File::options().create_new(true).write(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| EngineError::io(what, path, &error))
}

/// A new name is durable only when its folder is.
pub(super) fn sync_dir(dir: &Path) -> Result<(), EngineError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| EngineError::io("make the folder durable", dir, &error))
}
