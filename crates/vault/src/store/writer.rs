//! Everything that changes a vault, all of it under its lock: new tokens, runs, the manifest, repairs.

use std::{
    collections::BTreeMap,
    fs::{DirBuilder, File, OpenOptions},
    ops::Range,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use cordon_phi::Token;
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

use super::{
    Answer, Asked, NONE, TokenVault, VaultKeys, VaultOptions, WARM,
    cache::Cache,
    error::{Fault, RunDamage, VaultError},
    frame::{Frame, New, Plain, Position, TARGET_BYTES},
    generation,
    link::Merges,
    log::{Follow, Log, SEGMENT_HEADER, Step},
    manifest::{Keys, Manifest, RunMeta},
    marks::Marks,
    read,
    run::{self, Run, RunWriter},
    table::{Entry, Lookup as _, Table},
    write,
};
use crate::subject_keys::SubjectKeys;

/// What this process knows of the vault on disk.
pub(super) struct Writer {
    pub manifest: Manifest,
    /// The log is read, and appended to, up to here.
    pub position: Position,
    /// Lengths of the segments before the one of `position`.
    pub closed: Vec<u32>,
    /// Tokens by domain, up to `position`.
    pub domains: BTreeMap<String, u64>,
    /// The same as `position`, of the merges.
    pub merged: Position,
    /// Of the subject keys, up to which all is known.
    pub epoch: u64,
    /// Slots that are this process's to use, and how many it asked for last.
    slots: Range<u64>,
    leased: u64,
    /// No slot from here on is in use in the vault.
    pub floor: u64,
    /// Of entries of this process in the table.
    marks: Marks,
}

/// Slots that a process asks for at first; each time twice as many, up to the other.
const FEWEST_SLOTS: u64 = 1 << 12;
const MOST_SLOTS: u64 = 1 << 20;

impl Writer {
    /// `count` slots in a row; gives the first.
    fn slots(&mut self, subjects: &SubjectKeys, count: usize) -> Result<u64, VaultError> {
        let count = count as u64;
        if self.slots.end - self.slots.start < count {
            self.leased = (self.leased * 2).clamp(FEWEST_SLOTS, MOST_SLOTS).max(count);
            self.slots = subjects.lease(self.leased, self.floor)?;
        }
        let first = self.slots.start;
        self.slots.start += count;
        Ok(first)
    }
}

/// The advisory lock between processes; threads of this one are kept apart by the writer's mutex.
pub(crate) struct Exclusive<'a>(&'a File);

impl<'a> Exclusive<'a> {
    pub fn take(dir: &Path, file: &'a File) -> Result<Self, VaultError> {
        loop {
            match flock(file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Self(file)),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(VaultError::io("lock", &dir.join("lock"))(error.into())),
            }
        }
    }
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}

pub(super) fn open(
    top: &Path,
    keys: &VaultKeys,
    subjects: Arc<SubjectKeys>,
    mut options: VaultOptions,
) -> Result<TokenVault, VaultError> {
    options.fan_in = options.fan_in.max(2);
    options.memory_entries = options.memory_entries.max(1);
    options.segment_bytes = options.segment_bytes.clamp(1 << 12, 2 << 30);

    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(top).map_err(VaultError::io("create", top))?;
    let lock_path = top.join("lock");
    let mut open = OpenOptions::new();
    open.read(true).write(true).create(true).truncate(false).mode(0o600);
    let lock = open.open(&lock_path).map_err(VaultError::io("open for writing", &lock_path))?;
    let held = Exclusive::take(top, &lock)?;

    let number = generation::current(top)?;
    let dir = &generation::folder(top, number);
    if generation::is_of_another(top, number)? {
        return Err(VaultError::damaged(
            &top.join("CURRENT"),
            0,
            "it is not the one that belongs to what stands beside it",
        ));
    }
    if number == 0 && !Manifest::exists(dir)? {
        make(dir, keys, &subjects)?;
    }
    let keys = Keys::bind(keys, &Manifest::vault_id(dir)?);
    let manifest = Manifest::load(dir, &keys)?;
    subjects.refresh()?;
    subjects.check(&manifest.subjects, manifest.epoch)?;
    remove_strays(dir, &manifest);
    let log = Log::new(dir, manifest.vault, keys.values.clone());
    check_segments(&log, &manifest)?;
    let merges = Merges::open(Log::of_merges(dir, manifest.vault, &keys.values), &manifest)?;
    // Whoever changed the keys may have been killed before he had; what cannot be removed now is tried again.
    let _ = generation::remove_before(top, number);
    drop(held);

    let vault = TokenVault {
        top: top.to_owned(),
        number,
        dir: dir.clone(),
        tombs: keys.people(),
        keys,
        log,
        lock,
        table: RwLock::new(Table::new()),
        cache: RwLock::new(Cache::new(options.cache_entries)),
        runs: RwLock::new(Arc::new([])),
        writer: Mutex::new(Writer {
            position: Log::START,
            merged: Log::START,
            closed: Vec::new(),
            domains: BTreeMap::new(),
            // An older generation than any on disk: the first to hold the lock loads it.
            manifest: Manifest::new(manifest.vault, manifest.subjects),
            epoch: 0,
            slots: 0..0,
            leased: 0,
            floor: 0,
            marks: Marks::default(),
        }),
        subjects,
        shreds: AtomicU64::new(0),
        options,
        epoch: AtomicU64::new(0),
        rebuilt: AtomicU64::new(0),
        merges,
    };
    vault.exclusive(|_| Ok(()))?;
    Ok(vault)
}

fn make(dir: &Path, keys: &VaultKeys, subjects: &SubjectKeys) -> Result<(), VaultError> {
    let unborn = Log::new(dir, [0; 16], Keys::bind(keys, &[0; 16]).values);
    for segment in 1..=2 {
        // A log without a manifest: only the very first header may stand there, of a process that was killed here.
        let length = std::fs::metadata(unborn.path(segment)).map_or(0, |found| found.len());
        if length > SEGMENT_HEADER.into() {
            return Err(VaultError::damaged(&dir.join("MANIFEST"), 0, "the file is missing"));
        }
    }
    let mut vault = [0; 16];
    getrandom::fill(&mut vault)?;
    let keys = Keys::bind(keys, &vault);
    let log = Log::new(dir, vault, keys.values.clone());
    log.create(&Log::NOWHERE)?;
    log.segment(1)?.sync()?;
    Manifest::new(vault, subjects.id()).store(dir, &keys)
}

/// Runs that no manifest names are what a killed process was writing, or what it had merged and not yet removed.
fn remove_strays(dir: &Path, manifest: &Manifest) {
    for file in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = file.file_name();
        let id = name.to_str().and_then(|name| name.strip_prefix("run-")?.parse::<u64>().ok());
        if id.is_some_and(|id| manifest.runs.iter().all(|run| run.id != id)) {
            let _ = std::fs::remove_file(file.path());
        }
    }
}

fn check_segments(log: &Log, manifest: &Manifest) -> Result<(), VaultError> {
    for (number, expected) in (1..).zip(&manifest.closed) {
        let segment = log.segment(number)?;
        let found = segment.len()?;
        if found != u64::from(*expected) {
            return Err(VaultError::damaged(
                &segment.path,
                found.min((*expected).into()),
                "the file has another length",
            ));
        }
    }
    Ok(())
}

impl TokenVault {
    /// Does `work` as the only one in all processes, knowing all that was appended before.
    pub(super) fn exclusive<T>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let mut writer = self.writer();
        let _held = self.hold()?;
        self.catch_up(&mut writer)?;
        work(&mut writer)
    }

    pub(super) fn hold(&self) -> Result<Exclusive<'_>, VaultError> {
        Exclusive::take(&self.top, &self.lock)
    }

    /// Gives tokens to what has none.
    pub(super) fn create(&self, domain: &str, asked: &mut Asked<Token>, values: &[&[u8]]) -> Result<(), Fault> {
        let random = random_bytes(asked.answers.iter().filter(|answer| **answer == NONE).count() * 16)?;

        let mut writer = self.writer();
        let _held = self.hold()?;
        self.catch_up(&mut writer)?;
        self.look_again(asked, &writer)?;
        let mut new = Vec::with_capacity(random.len() / 16);
        let unseen = asked.unique.iter().zip(asked.answers.iter_mut()).filter(|(_, answer)| **answer == NONE);
        for (((key, place), answer), fresh) in unseen.zip(random.as_chunks::<16>().0) {
            let value = values.get(*place as usize).copied().unwrap_or_default();
            *answer = Token(*fresh);
            new.push(New { key: *key, token: Token(*fresh), value, origin: None });
        }
        Ok(self.append(&mut writer, domain, &new)?)
    }

    /// Answers what has come since the look-up. For who holds the lock and has caught up: what is not answered then has no
    /// token.
    pub(super) fn look_again<A: Answer>(&self, asked: &mut Asked<A>, writer: &Writer) -> Result<(), Fault> {
        if asked.shreds != writer.epoch {
            return Err(Fault::Destroyed);
        }
        if self.epoch.load(Ordering::Acquire) == asked.epoch {
            return Ok(());
        }
        let table = read(&self.table);
        for (keys, answers) in asked.unique.chunks(WARM).zip(asked.answers.chunks_mut(WARM)) {
            table.warm(keys.iter().map(|(key, _)| *key));
            for ((key, _), answer) in keys.iter().zip(answers).filter(|(_, answer)| answer.is_none()) {
                *answer = table.get(*key).map_or(A::NONE, A::of);
            }
        }
        drop(table);
        // What has come since is in the table, unless it has been written as a run: then these are other runs.
        let now = Arc::clone(&read(&self.runs));
        if !Arc::ptr_eq(&now, &asked.runs) {
            self.find_in_runs(&now, &asked.unique, &mut asked.answers)?;
        }
        Ok(())
    }

    /// Goes on in a new segment when this one is full.
    pub(super) fn roll(&self, writer: &mut Writer) -> Result<(), VaultError> {
        if writer.position.offset >= self.options.segment_bytes {
            self.log.segment(writer.position.segment)?.sync()?;
            let next = self.log.create(&writer.position)?;
            writer.closed.push(writer.position.offset);
            writer.position = next;
        }
        Ok(())
    }

    pub(super) fn append(&self, writer: &mut Writer, domain: &str, new: &[New<'_>]) -> Result<(), VaultError> {
        if read(&self.table).len() + new.len() > self.options.memory_entries {
            self.flush(writer)?;
        }
        let mut rest = new;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |new: &&New<'_>| {
                bytes += new.bytes();
                bytes <= TARGET_BYTES
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (now, later) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            rest = later;
            self.roll(writer)?;
            let place = writer.position.place();
            let first = writer.slots(&self.subjects, now.len())?;
            let plain = self.masked(domain, now, first, place)?;
            self.log.append(&mut writer.position, &plain)?;
            writer.marks.extend(first, plain.marks());
            writer.floor = writer.floor.max(first + now.len() as u64);
            let mut table = write(&self.table);
            let mut slots = first..;
            for some in now.chunks(WARM) {
                table.warm(some.iter().map(|new| new.key));
                for (new, slot) in some.iter().zip(&mut slots) {
                    let place = new.origin.unwrap_or(place);
                    table.insert(Entry { key: new.key, token: new.token, place, slot });
                }
            }
            drop(table);
            self.epoch.fetch_add(1, Ordering::Release);
            count_domain(&mut writer.domains, domain, now.len());
        }
        Ok(())
    }

    /// The content of a frame that will stand at `place`, under the keys of the slots from `first` on.
    pub(super) fn masked(&self, domain: &str, new: &[New<'_>], first: u64, place: u64) -> Result<Plain, VaultError> {
        let plain = Plain::new(domain, new, first, place, &mut self.subjects.leaves());
        // A slot that was just leased: the file is not the one that it was leased from.
        plain.ok_or_else(|| VaultError::OtherSubjectKeys { path: self.subjects.path().to_owned() })
    }

    /// As [`Writer::slots`], for merges.
    pub(super) fn slots(&self, writer: &mut Writer, count: usize) -> Result<u64, VaultError> {
        let first = writer.slots(&self.subjects, count)?;
        writer.floor = writer.floor.max(first + count as u64);
        Ok(first)
    }

    /// Puts into the manifest which epoch of the subject keys was seen: an older copy of them is refused from now on.
    pub(super) fn note_epoch(&self, writer: &mut Writer) -> Result<(), VaultError> {
        let mut manifest = writer.manifest.clone();
        (manifest.epoch, manifest.floor) = (writer.epoch, writer.floor);
        manifest.store(&self.dir, &self.keys)?;
        writer.manifest = manifest;
        Ok(())
    }

    /// Forgets what was read under keys that were destroyed since.
    fn forget(&self, writer: &mut Writer, epoch: u64) -> Result<(), VaultError> {
        write(&self.table).clear();
        writer.marks.clear();
        write(&self.cache).clear(epoch);
        self.read_merges_again(&writer.merged)?;
        // The table is read again from where the runs end.
        writer.manifest.generation = 0;
        writer.epoch = epoch;
        Ok(())
    }

    /// Reads what other processes wrote since.
    pub(super) fn catch_up(&self, writer: &mut Writer) -> Result<(), VaultError> {
        // Whoever gets past this under the lock is alone until he lets go of it.
        self.must_be_current()?;
        let epoch = self.subjects.refresh()?;
        if epoch != writer.epoch {
            self.forget(writer, epoch)?;
        }
        if Manifest::generation(&self.dir)? != writer.manifest.generation {
            self.reload(writer)?;
        }
        let mut reader = self.log.reader();
        loop {
            let segment = self.log.segment(writer.position.segment)?;
            if segment.len()? != u64::from(writer.position.offset) {
                match reader.step(&writer.position)? {
                    Step::Frame(frame, next) => {
                        self.absorb(writer, &frame)?;
                        writer.position = next;
                    }
                    Step::Bad(what) => {
                        cut_torn_end(&self.log, &writer.position, &writer.manifest.synced, what)?;
                        reader = self.log.reader();
                    }
                    Step::End => {
                        let offset = segment.len()?;
                        return Err(VaultError::damaged(&segment.path, offset, "the log is shorter than it was"));
                    }
                }
                continue;
            }
            let next = match self.log.follow(&writer.position)? {
                Follow::Segment(next) => next,
                Follow::Torn => self.log.create(&writer.position)?,
                Follow::Nothing => break,
            };
            writer.closed.push(writer.position.offset);
            writer.position = next;
        }
        if writer.position.sequence < writer.manifest.synced.sequence {
            let path = self.log.path(writer.position.segment);
            let offset = writer.position.offset.into();
            return Err(VaultError::damaged(&path, offset, "the log is shorter than it was when it was last synced"));
        }
        self.catch_up_merges(writer)?;
        self.shreds.store(writer.epoch, Ordering::Release);
        Ok(())
    }

    /// Puts another process's frame into the table.
    fn absorb(&self, writer: &mut Writer, frame: &Frame) -> Result<(), VaultError> {
        if read(&self.table).len() + frame.count > self.options.memory_entries {
            self.flush(writer)?;
        }
        writer.floor = writer.floor.max(frame.end());
        let entries: Vec<Entry> = frame.entries(&mut self.subjects.leaves()).flatten().collect();
        let mut table = write(&self.table);
        for entry in entries {
            if table.insert(entry).is_some_and(|token| token != entry.token) {
                return Err(two_tokens(&self.log, frame.place));
            }
        }
        drop(table);
        self.epoch.fetch_add(1, Ordering::Release);
        count_domain(&mut writer.domains, frame.domain().unwrap_or_default(), frame.count);
        Ok(())
    }

    /// Takes over the manifest that another process wrote.
    fn reload(&self, writer: &mut Writer) -> Result<(), VaultError> {
        let manifest = Manifest::load(&self.dir, &self.keys)?;
        self.subjects.check(&manifest.subjects, manifest.epoch)?;
        writer.floor = writer.floor.max(manifest.floor);
        let known = Arc::clone(&read(&self.runs));
        let mut runs = Vec::with_capacity(manifest.runs.len());
        let mut damaged = Vec::new();
        for meta in &manifest.runs {
            match known.iter().find(|run| run.id == meta.id) {
                Some(run) => runs.push(Arc::clone(run)),
                None => match Run::open(&self.dir, &self.keys.values, meta.id, meta.entries) {
                    Ok(run) => runs.push(Arc::new(run)),
                    Err(damage) => damaged.push(damage),
                },
            }
        }
        *write(&self.runs) = runs.into();
        let covered = manifest.covered();
        if covered.sequence >= writer.position.sequence || writer.manifest.generation == 0 {
            write(&self.table).clear();
            writer.marks.clear();
            writer.closed.clone_from(&manifest.closed);
            writer.domains = manifest.domains();
            writer.position = covered;
        }
        writer.manifest = manifest;
        self.epoch.fetch_add(1, Ordering::Release);
        let rebuilt = damaged.iter().try_for_each(|damage| self.rebuild(writer, damage.id));
        if rebuilt.is_err() {
            // Not to be relied on: whoever takes the lock next starts over.
            writer.manifest.generation = 0;
        }
        rebuilt
    }

    /// Writes the table as a run.
    pub(super) fn flush(&self, writer: &mut Writer) -> Result<(), VaultError> {
        let table = read(&self.table);
        if table.is_empty() {
            return Ok(());
        }
        // The manifest must not say more than the log holds after a power cut.
        self.log.segment(writer.position.segment)?.sync()?;
        let run = write_run(self, writer.manifest.next_run, &table, &writer.marks)?;
        drop(table);

        let mut manifest = writer.manifest.clone();
        let mut domains = writer.domains.clone();
        for (domain, before) in manifest.domains() {
            domains.entry(domain).and_modify(|count| *count -= before);
        }
        domains.retain(|_, count| *count > 0);
        let from = manifest.covered();
        manifest.runs.push(RunMeta { id: run.id, entries: run.entries, level: 0, from, to: writer.position, domains });
        manifest.next_run += 1;
        manifest.synced = writer.position;
        manifest.closed.clone_from(&writer.closed);
        (manifest.epoch, manifest.floor) = (writer.epoch, writer.floor);
        manifest.store(&self.dir, &self.keys)?;
        writer.manifest = manifest;

        // First the run, then the table: a look-up between the two finds the entries in both.
        let runs: Vec<_> = read(&self.runs).iter().cloned().chain([Arc::new(run)]).collect();
        *write(&self.runs) = runs.into();
        write(&self.table).clear();
        writer.marks.clear();
        self.epoch.fetch_add(1, Ordering::Release);

        while let Some(ids) = due(&writer.manifest, self.options.fan_in) {
            match self.merge(writer, &ids) {
                Ok(()) => {}
                Err(Fault::Run(damage)) => self.rebuild(writer, damage.id)?,
                // The index is whole without this merge; a later flush tries again.
                Err(Fault::Vault(VaultError::Io { .. })) => break,
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(())
    }

    fn merge(&self, writer: &mut Writer, ids: &[u64]) -> Result<(), Fault> {
        let runs = Arc::clone(&read(&self.runs));
        let parts: Vec<&Run> = runs.iter().filter(|run| ids.contains(&run.id)).map(|run| &**run).collect();
        let merged = run::merge(&self.dir, &self.keys.values, writer.manifest.next_run, &parts, &self.subjects)?;

        let metas: Vec<_> = writer.manifest.runs.iter().filter(|meta| ids.contains(&meta.id)).collect();
        let (Some(first), Some(last)) = (metas.first(), metas.last()) else {
            return Ok(());
        };
        let mut domains = BTreeMap::new();
        for (domain, count) in metas.iter().flat_map(|meta| &meta.domains) {
            *domains.entry(domain.clone()).or_default() += count;
        }
        let meta = RunMeta {
            id: merged.id,
            entries: merged.entries,
            level: last.level + 1,
            from: first.from,
            to: last.to,
            domains,
        };
        Ok(self.replace(writer, ids, meta, merged)?)
    }

    /// Puts `run` in the place of the runs `ids`, on disk and in memory.
    fn replace(&self, writer: &mut Writer, ids: &[u64], meta: RunMeta, run: Run) -> Result<(), VaultError> {
        let mut manifest = writer.manifest.clone();
        let at = manifest.runs.iter().position(|meta| ids.contains(&meta.id)).unwrap_or(0);
        manifest.runs.retain(|meta| !ids.contains(&meta.id));
        manifest.next_run = meta.id + 1;
        manifest.runs.insert(at, meta);
        manifest.store(&self.dir, &self.keys)?;
        writer.manifest = manifest;

        let kept = read(&self.runs).iter().filter(|run| !ids.contains(&run.id)).cloned().collect::<Vec<_>>();
        *write(&self.runs) = kept.into_iter().chain([Arc::new(run)]).collect();
        for id in ids {
            // A process that still reads the old run keeps it open.
            let _ = std::fs::remove_file(run::path(&self.dir, *id));
        }
        Ok(())
    }

    /// Writes a damaged run again, if nobody else has.
    pub(super) fn repair(&self, damage: &RunDamage) -> Result<(), VaultError> {
        self.exclusive(|writer| self.rebuild(writer, damage.id))
    }

    fn rebuild(&self, writer: &mut Writer, id: u64) -> Result<(), VaultError> {
        let Some(meta) = writer.manifest.runs.iter().find(|meta| meta.id == id).cloned() else {
            return Ok(());
        };
        let mut parts = Vec::new();
        let mut next = writer.manifest.next_run;
        let mut table = Table::new();
        let marks = Marks::default();
        let mut reader = self.log.reader();
        let mut leaves = self.subjects.leaves();
        let mut given = 0;
        let mut at = meta.from;
        while at.sequence < meta.to.sequence {
            let segment = self.log.segment(at.segment)?;
            match reader.step(&at)? {
                Step::Frame(frame, behind) => {
                    given += frame.count as u64;
                    for entry in frame.entries(&mut leaves).flatten() {
                        if table.insert(entry).is_some() {
                            return Err(two_tokens(&self.log, frame.place));
                        }
                    }
                    at = behind;
                }
                Step::End => {
                    let Follow::Segment(next) = self.log.follow(&at)? else {
                        return Err(VaultError::damaged(&segment.path, at.offset.into(), "the log ends too early"));
                    };
                    at = next;
                }
                Step::Bad(what) => {
                    return Err(VaultError::damaged(&segment.path, at.offset.into(), what));
                }
            }
            if table.len() >= self.options.memory_entries {
                parts.push(write_run(self, next, &table, &marks)?);
                next += 1;
                table.clear();
            }
        }
        if !table.is_empty() || parts.is_empty() {
            parts.push(write_run(self, next, &table, &marks)?);
            next += 1;
        }
        drop(table);
        let run = match (parts.pop(), parts.is_empty()) {
            (Some(only), true) => only,
            (last, _) => {
                parts.extend(last);
                let all: Vec<&Run> = parts.iter().collect();
                let merged = run::merge(&self.dir, &self.keys.values, next, &all, &self.subjects)?;
                for part in &parts {
                    let _ = std::fs::remove_file(&part.path);
                }
                merged
            }
        };
        if given != meta.domains.values().sum::<u64>() {
            return Err(VaultError::damaged(
                &self.log.path(meta.from.segment),
                0,
                "the log holds other tokens than it did",
            ));
        }
        let meta = RunMeta { id: run.id, entries: run.entries, ..meta };
        self.replace(writer, &[id], meta, run)?;
        self.rebuilt.fetch_add(1, Ordering::Relaxed);
        self.epoch.fetch_add(1, Ordering::Release);
        Ok(())
    }

    pub(super) fn sync_log(&self) -> Result<(), VaultError> {
        let segment = {
            let writer = self.writer();
            let noted = writer.epoch == writer.manifest.epoch;
            if noted && writer.position == writer.manifest.synced && writer.merged == writer.manifest.merged {
                return Ok(());
            }
            writer.position.segment
        };
        // Most of the waiting is done before anybody is kept out.
        self.log.segment(segment)?.sync()?;
        self.exclusive(|writer| {
            self.log.segment(writer.position.segment)?.sync()?;
            let mut manifest = writer.manifest.clone();
            if writer.merged != manifest.merged {
                self.merges.log.segment(writer.merged.segment)?.sync()?;
                manifest.merged = writer.merged;
            }
            manifest.synced = writer.position;
            (manifest.epoch, manifest.floor) = (writer.epoch, writer.floor);
            manifest.store(&self.dir, &self.keys)?;
            writer.manifest = manifest;
            Ok(())
        })
    }
}

/// What a killed process, or a machine that lost power, left at the end: never given out by a `sync`, so it goes. Anything
/// else that does not open is damage, and stays as it is.
pub(super) fn cut_torn_end(log: &Log, at: &Position, synced: &Position, what: &'static str) -> Result<(), VaultError> {
    let segment = log.segment(at.segment)?;
    let promised = at.sequence < synced.sequence;
    let last = matches!(log.follow(at), Ok(Follow::Nothing));
    if promised || !last || log.reader().any_after(at.segment, at.offset)? {
        return Err(VaultError::damaged(&segment.path, at.offset.into(), what));
    }
    segment.cut(at.offset.into())
}

/// From ChaCha20 with a fresh seed of the operating system for each batch; nothing that is not random goes in.
pub(crate) fn random_bytes(count: usize) -> Result<Vec<u8>, VaultError> {
    let mut bytes = vec![0; count];
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed)?;
    ChaCha20Rng::from_seed(*seed).fill_bytes(&mut bytes);
    Ok(bytes)
}

fn write_run(vault: &TokenVault, id: u64, table: &Table, marks: &Marks) -> Result<Run, VaultError> {
    let mut run = RunWriter::create(&vault.dir, &vault.keys.values, id, table.len() as u64)?;
    let mut leaves = vault.subjects.leaves();
    table.iter().try_for_each(|entry| run.push(entry, marks.get(entry.slot), &mut leaves))?;
    run.finish()
}

/// The newest runs, if there are enough of one size.
fn due(manifest: &Manifest, fan_in: usize) -> Option<Vec<u64>> {
    let newest = manifest.runs.get(manifest.runs.len().checked_sub(fan_in)?..)?;
    let level = newest.first()?.level;
    newest.iter().all(|run| run.level == level).then(|| newest.iter().map(|run| run.id).collect())
}

fn count_domain(domains: &mut BTreeMap<String, u64>, domain: &str, new: usize) {
    match domains.get_mut(domain) {
        Some(count) => *count += new as u64,
        None => drop(domains.insert(domain.to_owned(), new as u64)),
    }
}

fn two_tokens(log: &Log, place: u64) -> VaultError {
    let offset = place & u64::from(u32::MAX);
    VaultError::damaged(&log.path((place >> 32) as u32), offset, "a value has two tokens")
}
