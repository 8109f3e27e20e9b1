//! The keys of single people, in one file from which any of them can be destroyed.
//!
//! ```text
//! magic 8 | version 4 | id 16 | version of the key 4 | check of the key 16 | generation 8 | epoch 8 | epoch of the key 8 | next slot 8 | checksum 16
//! sealed: tombstones u32, 16 each | a puncturable key
//! ```
//!
//! A vault puts what it knows of a person under the keys of *slots*, numbers that it draws here and that are never drawn
//! twice. Destroying a slot replaces the file by one from which its key cannot be had. What a backup of the vault says
//! under that key is then noise, for as long as no older copy of this file is found *and* opened: so the file stands beside
//! the key ring and not in the vault's folder, it is sealed under a key of the ring of its own, and it is not copied with the data.
//!
//! A *tombstone* is a keyed hash of a token that was destroyed, so that a process which still has the token in its hands
//! writes nothing under it any more.
//!
//! Whoever destroyed somebody seals the file under a new key of the ring ([`SubjectKeys::reseal`]) and destroys the key before: then
//! a copy from before is of no use with the ring that is in use. The head says under which version of the key the file is, and of which
//! epoch it was when that key was new.
//!
//! The file is only ever replaced as a whole, by who holds the lock (`flock`) beside it. Other processes see the new epoch
//! before they read or give out anything: they look at the head of the file with every batch. All methods may be called from
//! several threads.
//!
//! ```
//! use cordon_crypto::SubjectSealKey;
//! use cordon_vault::SubjectKeys;
//!
//! # let scratch = tempfile::tempdir()?;
//! # let path = scratch.path().join("subject-keys");
//! let keys = SubjectKeys::create(&path, &SubjectSealKey::generate())?;
//! let slots = keys.lease(2, 0)?;
//! assert!(keys.leaf(slots.start)?.is_some());
//! keys.destroy(&[slots.start], &[])?;
//! assert!(keys.leaf(slots.start)?.is_none() && keys.leaf(slots.start + 1)?.is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{
    ffi::OsString,
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    ops::Range,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
};

use cordon_crypto::{KeyedHash, Leaves, PuncturableKey, Sealer, SubjectSealKey, Versions, same_tag, sub_key};
use zeroize::Zeroizing;

use crate::store::{
    error::VaultError,
    manifest::{Fields, checksum, replace},
    writer::Exclusive,
};

const MAGIC: [u8; 8] = *b"CORDSUBK";
const VERSION: u32 = 2;
const HEAD: usize = 96;
/// Largest file that is read: more than [`PuncturableKey`] takes.
const LARGEST: u64 = 1 << 30;
/// Handles with remembered nodes that wait for the next batch.
const MOST_IDLE: usize = 8;

/// A keyed hash of a token, from who knows tokens.
pub type Tombstone = [u8; 16];

/// The file, open. See the [module's](self) words on how.
pub struct SubjectKeys {
    path: PathBuf,
    lock: File,
    seal: RwLock<Seal>,
    state: RwLock<Arc<State>>,
    /// Threads write one after the other, as processes do.
    writer: Mutex<()>,
    idle: Mutex<Vec<(u64, Leaves)>>,
}

/// What the file says.
#[derive(Clone)]
struct State {
    id: [u8; 16],
    /// Goes up with every writing.
    generation: u64,
    /// Goes up with every destruction.
    epoch: u64,
    /// Version of the key that seals the file.
    key_version: u32,
    /// The epoch when the file was first sealed under that.
    key_epoch: u64,
    next: u64,
    keys: Arc<PuncturableKey>,
    /// In order.
    tombstones: Arc<Vec<Tombstone>>,
}

/// What the head of a file says to who has no key: for telling copies apart, not for trusting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubjectKeysHead {
    /// Names the file: copies of one have the same.
    pub id: [u8; 16],
    /// The version of the ring's key that opens it.
    pub key_version: u32,
    /// Goes up with every destruction.
    pub epoch: u64,
    /// Goes up with every writing.
    pub generation: u64,
}

impl SubjectKeysHead {
    pub fn read(path: &Path) -> Result<Self, VaultError> {
        let head = checked_head(path)?.1;
        Ok(Self { id: head.id, key_version: head.key_version, epoch: head.epoch, generation: head.generation })
    }
}

/// The key in all its versions.
struct Seal(Vec<SealVersion>);

struct SealVersion {
    version: u32,
    sealer: Sealer,
    check: KeyedHash,
}

impl Seal {
    fn new(keys: &Versions<SubjectSealKey>) -> Self {
        let of = |(version, key): (u32, &SubjectSealKey)| SealVersion {
            version,
            sealer: Sealer::new(&sub_key(key, "subject keys v1")),
            check: KeyedHash::for_key(key).derive("subject keys check v1"),
        };
        Self(keys.iter().map(of).collect())
    }

    fn of(&self, version: u32, path: &Path) -> Result<&SealVersion, VaultError> {
        let found = self.0.iter().find(|known| known.version == version);
        found.ok_or_else(|| VaultError::SubjectKeysRenewed { path: path.to_owned(), version })
    }
}

impl SubjectKeys {
    /// Makes a new file under a key that was never renewed. One that is there is never replaced: without it a vault is noise.
    pub fn create(path: &Path, key: &SubjectSealKey) -> Result<Self, VaultError> {
        Self::create_with(path, &key.into())
    }

    /// The same, under the newest version of the key.
    pub fn create_with(path: &Path, versions: &Versions<SubjectSealKey>) -> Result<Self, VaultError> {
        let lock = lock_file(path)?;
        let held = hold(path, &lock)?;
        if path.try_exists().map_err(VaultError::io("look for", path))? {
            return Err(VaultError::SubjectKeysExist { path: path.to_owned() });
        }
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        let keys = Arc::new(PuncturableKey::generate()?);
        let (key_version, key_epoch) = (versions.newest(), 1);
        let tombstones = Arc::default();
        let state = State { id, generation: 1, epoch: 1, key_version, key_epoch, next: 0, keys, tombstones };
        let seal = Seal::new(versions);
        write(path, &state, &seal)?;
        drop(held);
        Ok(Self::with(path, lock, seal, state))
    }

    /// Opens the file, which must be there, with a key that was never renewed.
    pub fn open(path: &Path, key: &SubjectSealKey) -> Result<Self, VaultError> {
        Self::open_with(path, &key.into())
    }

    /// The same, with whichever version of the key it is under.
    pub fn open_with(path: &Path, versions: &Versions<SubjectSealKey>) -> Result<Self, VaultError> {
        let seal = Seal::new(versions);
        // Before a lock is made beside it: a folder that is not mounted stays as it is.
        let state = load(path, &seal)?;
        Ok(Self::with(path, lock_file(path)?, seal, state))
    }

    /// Opens the file, or makes a new one where there is none. For who knows that there is no vault yet.
    pub fn open_or_create(path: &Path, key: &SubjectSealKey) -> Result<Self, VaultError> {
        Self::open_or_create_with(path, &key.into())
    }

    /// The same, under the newest version of the key.
    pub fn open_or_create_with(path: &Path, versions: &Versions<SubjectSealKey>) -> Result<Self, VaultError> {
        match Self::open_with(path, versions) {
            Err(VaultError::NoSubjectKeys { .. }) => match Self::create_with(path, versions) {
                Err(VaultError::SubjectKeysExist { .. }) => Self::open_with(path, versions),
                made => made,
            },
            opened => opened,
        }
    }

    fn with(path: &Path, lock: File, seal: Seal, state: State) -> Self {
        Self {
            path: path.to_owned(),
            lock,
            seal: RwLock::new(seal),
            state: RwLock::new(Arc::new(state)),
            writer: Mutex::new(()),
            idle: Mutex::default(),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names the file: a vault belongs to one.
    pub fn id(&self) -> [u8; 16] {
        self.state().id
    }

    /// Goes up with every destruction. As far as this process knows: see [`Self::refresh`].
    pub fn epoch(&self) -> u64 {
        self.state().epoch
    }

    /// Sees what other processes destroyed: one small read if there is nothing. Gives the epoch. Before a batch is answered.
    pub fn refresh(&self) -> Result<u64, VaultError> {
        let known = self.state();
        let head = read_head(&self.path)?.1;
        if head.id == known.id && head.epoch == known.epoch && head.generation >= known.generation {
            return Ok(known.epoch);
        }
        let state = load(&self.path, &self.seal.read().unwrap_or_else(PoisonError::into_inner))?;
        self.adopt(state)
    }

    /// `count` slots in a row that nobody has and nobody will get again, none below `floor`. Each call writes the file: ask
    /// for many.
    pub fn lease(&self, count: u64, floor: u64) -> Result<Range<u64>, VaultError> {
        self.change(|state| {
            let from = state.next.max(floor);
            let end = from.checked_add(count).filter(|end| *end <= PuncturableKey::SLOTS);
            state.next = end.ok_or_else(|| VaultError::Full { file: self.path.clone() })?;
            Ok((true, from..state.next))
        })
    }

    /// The key of a slot; `None` for one that was destroyed. For many use [`Self::leaves`].
    pub fn leaf(&self, slot: u64) -> Result<Option<Zeroizing<[u8; 32]>>, VaultError> {
        self.refresh()?;
        Ok(self.state().keys.leaf(slot))
    }

    /// For many leaves of the epoch that is known now. Not for longer than a batch.
    pub fn leaves(&self) -> LeafReader<'_> {
        let state = self.state();
        let mut idle = self.idle();
        idle.retain(|(epoch, _)| *epoch == state.epoch);
        let leaves = idle.pop().map(|(_, leaves)| leaves);
        drop(idle);
        let leaves = leaves.unwrap_or_else(|| Leaves::new(Arc::clone(&state.keys)));
        LeafReader { of: self, epoch: state.epoch, leaves: Some(leaves) }
    }

    /// Whether the key of a slot was destroyed, as far as this process knows.
    pub fn is_destroyed(&self, slot: u64) -> bool {
        !self.state().keys.holds(slot)
    }

    /// Whether anything was ever destroyed, as far as this process knows.
    pub fn any_destroyed(&self) -> bool {
        !self.state().keys.is_whole()
    }

    /// Whether this is one of what was destroyed, as far as this process knows.
    pub fn is_tombstone(&self, of: &Tombstone) -> bool {
        self.state().tombstones.binary_search(of).is_ok()
    }

    /// All of them, in order.
    pub fn tombstones(&self) -> Arc<Vec<Tombstone>> {
        Arc::clone(&self.state().tombstones)
    }

    /// Destroys the keys of `slots` for good and remembers `tombstones`. When this returns, the file from which they could be had
    /// is replaced on disk. What is destroyed already stays so: after a kill, call it again.
    pub fn destroy(&self, slots: &[u64], tombstones: &[Tombstone]) -> Result<(), VaultError> {
        self.change(|state| {
            let known = |of: &Tombstone| state.tombstones.binary_search(of).is_ok();
            if !slots.iter().any(|slot| state.keys.holds(*slot)) && tombstones.iter().all(known) {
                return Ok((false, ()));
            }
            let mut keys = PuncturableKey::from_bytes(&state.keys.to_bytes())?;
            keys.puncture(slots)?;
            let mut all = state.tombstones.to_vec();
            all.extend_from_slice(tombstones);
            all.sort_unstable();
            all.dedup();
            (state.keys, state.tombstones) = (Arc::new(keys), Arc::new(all));
            state.epoch += 1;
            Ok((true, ()))
        })
    }

    /// The version of the key that the file is under, as far as this process knows.
    pub fn key_version(&self) -> u32 {
        self.state().key_version
    }

    /// Whether keys were destroyed since the file came under its key: copies from before are opened by it too.
    pub fn is_renewal_due(&self) -> bool {
        let state = self.state();
        state.epoch > state.key_epoch
    }

    /// Seals the file under the newest version of the key, of which the version it is under must be one: what that opens is gone with
    /// the old copies of the file. Killed at any instant, it is under the one or the other. Other processes that have it open must open
    /// it again.
    pub fn reseal(&self, versions: &Versions<SubjectSealKey>) -> Result<(), VaultError> {
        let _one = self.writer();
        let _held = hold(&self.path, &self.lock)?;
        let mut seal = self.seal.write().unwrap_or_else(PoisonError::into_inner);
        let new = Seal::new(versions);
        let mut state = load(&self.path, &new)?;
        if state.key_version != versions.newest() {
            state.generation += 1;
            (state.key_version, state.key_epoch) = (versions.newest(), state.epoch);
            write_over(&self.path, &state, &new)?;
        }
        *seal = new;
        drop(seal);
        self.adopt(state).map(drop)
    }

    /// Whether the file is the one that a vault knows by its id, and no older copy than of the epoch that the vault has seen:
    /// a vault keeps both.
    pub fn check(&self, id: &[u8; 16], epoch: u64) -> Result<(), VaultError> {
        let state = self.state();
        if state.id != *id {
            return Err(VaultError::OtherSubjectKeys { path: self.path.clone() });
        }
        if state.epoch < epoch {
            return Err(VaultError::OldSubjectKeys { path: self.path.clone() });
        }
        Ok(())
    }

    /// Changes the file, if `work` says so, as the only one in all processes.
    fn change<T>(&self, work: impl FnOnce(&mut State) -> Result<(bool, T), VaultError>) -> Result<T, VaultError> {
        let _one = self.writer();
        let _held = hold(&self.path, &self.lock)?;
        let seal = self.seal.read().unwrap_or_else(PoisonError::into_inner);
        // An older copy is not written on.
        self.adopt(load(&self.path, &seal)?)?;
        let mut state = State::clone(&self.state());
        let epoch = state.epoch;
        let (changed, done) = work(&mut state)?;
        if changed {
            state.generation += 1;
            if state.epoch == epoch {
                write(&self.path, &state, &seal)?;
            } else {
                write_over(&self.path, &state, &seal)?;
            }
        }
        drop(seal);
        self.adopt(state)?;
        Ok(done)
    }

    /// Takes over what stands in the file.
    fn adopt(&self, state: State) -> Result<u64, VaultError> {
        let mut known = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.id != known.id {
            return Err(VaultError::OtherSubjectKeys { path: self.path.clone() });
        }
        if state.epoch < known.epoch {
            return Err(VaultError::OldSubjectKeys { path: self.path.clone() });
        }
        if state.epoch > known.epoch {
            self.idle().clear();
        }
        let epoch = state.epoch;
        *known = Arc::new(state);
        Ok(epoch)
    }

    fn state(&self) -> Arc<State> {
        let state: RwLockReadGuard<'_, Arc<State>> = self.state.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&state)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(u64, Leaves)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// [`Leaves`] that go back to where they came from.
pub struct LeafReader<'a> {
    of: &'a SubjectKeys,
    epoch: u64,
    leaves: Option<Leaves>,
}

impl LeafReader<'_> {
    /// Of the keys that are read.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn leaf(&mut self, slot: u64) -> Option<&[u8; 32]> {
        self.leaves.as_mut()?.leaf(slot)
    }

    pub fn holds(&self, slot: u64) -> bool {
        self.leaves.as_ref().is_some_and(|leaves| leaves.holds(slot))
    }
}

impl Drop for LeafReader<'_> {
    fn drop(&mut self) {
        if let Some(leaves) = self.leaves.take()
            && self.of.epoch() == self.epoch
        {
            let mut idle = self.of.idle();
            if idle.len() < MOST_IDLE {
                idle.push((self.epoch, leaves));
            }
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn lock_file(path: &Path) -> Result<File, VaultError> {
    let folder = folder_of(path);
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder).map_err(VaultError::io("create", folder))?;
    let mut name = OsString::from(path.file_name().unwrap_or_default());
    name.push(".lock");
    let path = path.with_file_name(name);
    let mut open = OpenOptions::new();
    open.read(true).write(true).create(true).truncate(false).mode(0o600);
    open.open(&path).map_err(VaultError::io("open for writing", &path))
}

fn hold<'a>(path: &Path, lock: &'a File) -> Result<Exclusive<'a>, VaultError> {
    Exclusive::take(folder_of(path), lock)
}

struct Head {
    bytes: [u8; HEAD],
    version: u32,
    id: [u8; 16],
    key_version: u32,
    check: [u8; 16],
    generation: u64,
    epoch: u64,
    key_epoch: u64,
    next: u64,
    sum: [u8; 16],
}

fn read_head(path: &Path) -> Result<(File, Head), VaultError> {
    let mut file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => VaultError::NoSubjectKeys { path: path.to_owned() },
        _ => VaultError::io("open", path)(error),
    })?;
    let mut bytes = [0; HEAD];
    match file.read_exact(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(VaultError::damaged(path, 0, "the subject keys are cut short"));
        }
        other => other.map_err(VaultError::io("read", path))?,
    }
    let mut from = Fields(&bytes);
    let mut head = || {
        (from.array::<8>()? == MAGIC).then_some(())?;
        Some(Head {
            bytes,
            version: from.u32()?,
            id: from.array()?,
            key_version: from.u32()?,
            check: from.array()?,
            generation: from.u64()?,
            epoch: from.u64()?,
            key_epoch: from.u64()?,
            next: from.u64()?,
            sum: from.array()?,
        })
    };
    head().map(|head| (file, head)).ok_or_else(|| VaultError::damaged(path, 0, "these are no subject keys"))
}

/// As it was written, by whoever; of the format that is known.
fn checked_head(path: &Path) -> Result<(File, Head), VaultError> {
    let (file, head) = read_head(path)?;
    // Of another format the checksum may stand elsewhere.
    if head.version != VERSION {
        return Err(VaultError::Version { dir: path.to_owned(), found: head.version, known: VERSION });
    }
    if checksum(head.bytes.get(..HEAD - 16).unwrap_or_default()) != head.sum {
        return Err(VaultError::damaged(path, 0, "the head of the subject keys has a wrong checksum"));
    }
    Ok((file, head))
}

fn load(path: &Path, seal: &Seal) -> Result<State, VaultError> {
    const ATTEMPTS: usize = 3;
    for _ in 1..ATTEMPTS {
        match load_once(path, seal) {
            // What was read may have been replaced, and overwritten, meanwhile.
            Err(VaultError::Damaged { .. }) => {}
            loaded => return loaded,
        }
    }
    load_once(path, seal)
}

fn load_once(path: &Path, seal: &Seal) -> Result<State, VaultError> {
    let (mut file, head) = checked_head(path)?;
    let seal = seal.of(head.key_version, path)?;
    if !same_tag(&head.check, &seal.check.tag128(&head.id)) {
        return Err(VaultError::WrongKey { which: SubjectSealKey::PURPOSE, dir: path.to_owned() });
    }
    let damaged = |what| VaultError::damaged(path, HEAD as u64, what);
    if file.metadata().map_err(VaultError::io("read", path))?.len() > LARGEST {
        return Err(damaged("the subject keys are far larger than they can be"));
    }
    let mut body = Vec::new();
    file.read_to_end(&mut body).map_err(VaultError::io("read", path))?;
    let body = seal.sealer.open(&head.bytes, &body).map_err(|_| damaged("the subject keys are not authentic"))?;
    let body = Zeroizing::new(body);
    let parse = || {
        let mut from = Fields(&body);
        let count = from.u32()? as usize;
        let tombstones = from.bytes(count.checked_mul(size_of::<Tombstone>())?)?.as_chunks().0.to_vec();
        let in_order = tombstones.is_sorted_by(|one: &Tombstone, other| one < other);
        let keys = PuncturableKey::from_bytes(from.0).ok()?;
        (in_order && head.next <= PuncturableKey::SLOTS).then_some((keys, tombstones))
    };
    let (keys, tombstones) = parse().ok_or_else(|| damaged("the subject keys hold what they cannot"))?;
    let Head { id, key_version, generation, epoch, key_epoch, next, .. } = head;
    Ok(State {
        id,
        generation,
        epoch,
        key_version,
        key_epoch,
        next,
        keys: Arc::new(keys),
        tombstones: Arc::new(tombstones),
    })
}

fn write(path: &Path, state: &State, seal: &Seal) -> Result<(), VaultError> {
    let mut bytes = Vec::with_capacity(HEAD);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&state.id);
    let seal = seal.of(state.key_version, path)?;
    bytes.extend_from_slice(&state.key_version.to_le_bytes());
    bytes.extend_from_slice(&seal.check.tag128(&state.id));
    for number in [state.generation, state.epoch, state.key_epoch, state.next] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&checksum(&bytes));
    let keys = state.keys.to_bytes();
    let mut body = Zeroizing::new(Vec::with_capacity(4 + state.tombstones.len() * size_of::<Tombstone>() + keys.len()));
    body.extend_from_slice(&(state.tombstones.len() as u32).to_le_bytes());
    body.extend(state.tombstones.iter().flatten());
    body.extend_from_slice(&keys);
    let sealed = seal.sealer.seal(&bytes, &body)?;
    bytes.extend_from_slice(&sealed);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("subject-keys");
    replace(folder_of(path), name, &bytes)
}

/// The same, and then zeros over what the old file held, as far as the file system lets them come there. A copy that hangs on
/// the same inode is let alone: it may be somebody's backup.
fn write_over(path: &Path, state: &State, seal: &Seal) -> Result<(), VaultError> {
    let old = OpenOptions::new().write(true).open(path);
    write(path, state, seal)?;
    if let Ok(mut old) = old
        && let Ok(about) = old.metadata()
        && about.nlink() == 0
    {
        let zeros = vec![0; about.len() as usize];
        let _ = old.write_all(&zeros).and_then(|()| old.sync_data());
    }
    Ok(())
}
