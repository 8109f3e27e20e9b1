//! Dossiers in a folder: runs of people, written once each and merged. See [`super`] for the files.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    ops::Range,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use cordon_crypto::KeyedHash;
use cordon_phi::{NameDraw, Token};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::{
    DossierMark, DossierOptions, DossierStats, DossierStore,
    buffer::Buffer,
    facts,
    keeper::{AT_ONCE, People, Shelf},
    manifest::{self, Manifest},
    pieces::Pieces,
    run::{self, Run, RunWriter},
};
use crate::{
    store::{TokenVault, error::VaultError, generation, table::Key, writer::Exclusive},
    subject_keys::{LeafReader, SubjectKeys, Tombstone},
};

/// Runs up to this size are of the smallest.
const SMALL: u64 = 64 << 10;
/// Slots that a process asks for at first; each time twice as many, up to the other.
const FEWEST_SLOTS: u64 = 1 << 6;
const MOST_SLOTS: u64 = 1 << 16;

/// Runs in a folder, and which there are.
pub struct Folder {
    /// What the store is named by.
    pub(super) top: PathBuf,
    /// Where its files are: as often as the vault's keys were changed, it is another.
    pub(super) dir: PathBuf,
    pub(super) vault: Arc<TokenVault>,
    pub(super) keys: KeyedHash,
    /// So many runs of one size become one.
    fan_in: usize,
    lock: File,
    state: RwLock<State>,
    /// Threads write one after the other, as processes do.
    writer: Mutex<()>,
    /// Slots that are this process's to use, and how many it asked for last.
    slots: Mutex<(Range<u64>, u64)>,
}

pub(super) struct State {
    generation: u64,
    /// The oldest first.
    pub(super) runs: Arc<[Arc<Run>]>,
}

impl DossierStore {
    /// Opens the store in `dir`, or makes a new one where there is none. It belongs to this one vault.
    pub fn open(top: &Path, vault: Arc<TokenVault>, options: DossierOptions) -> Result<Self, VaultError> {
        let number = vault.number;
        let dir = &generation::folder(top, number);
        if top.is_dir() && generation::is_of_another(top, number)? {
            return Err(VaultError::OtherVault { dir: top.to_owned() });
        }
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(dir).map_err(VaultError::io("create", dir))?;
        let lock_path = top.join("lock");
        let mut open = OpenOptions::new();
        open.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = open.open(&lock_path).map_err(VaultError::io("open for writing", &lock_path))?;
        let keys = vault.hash_for("dossiers v1");
        let folder = Folder {
            top: top.to_owned(),
            dir: dir.clone(),
            vault,
            keys,
            fan_in: options.fan_in.max(2),
            lock,
            state: RwLock::new(State { generation: 0, runs: Arc::new([]) }),
            writer: Mutex::new(()),
            slots: Mutex::new((0..0, 0)),
        };
        {
            let _held = folder.hold()?;
            folder.vault.must_be_current()?;
            if !Manifest::exists(dir)? {
                if runs_on_disk(dir).next().is_some() {
                    return Err(VaultError::damaged(&dir.join("MANIFEST"), 0, "the file is missing"));
                }
                let mut id = [0; 16];
                getrandom::fill(&mut id)?;
                Manifest::new(id).store(dir, &folder.keys)?;
            }
            let manifest = folder.refresh()?;
            // What a killed process was writing, or had merged and not yet removed.
            for (id, path) in runs_on_disk(dir) {
                if manifest.runs.iter().all(|run| run.id != id) {
                    let _ = std::fs::remove_file(path);
                }
            }
        }
        // What whoever changed the keys had not got to; what cannot be removed now is tried again.
        let _ = generation::remove_before(top, number);
        // What somebody who was killed had not got to.
        folder.sweep()?;
        Ok(Self::on(folder, options))
    }

    /// Opens a store that must be there: without what was known, notes would be cleared with less knowledge than promised.
    pub fn open_existing(top: &Path, vault: Arc<TokenVault>, options: DossierOptions) -> Result<Self, VaultError> {
        let dir = generation::folder(top, vault.number);
        let is_of_another = top.is_dir() && generation::is_of_another(top, vault.number)?;
        if !is_of_another && !Manifest::exists(&dir)? && runs_on_disk(&dir).next().is_none() {
            return Err(VaultError::NoDossiers { dir: top.to_owned() });
        }
        Self::open(top, vault, options)
    }

    /// Where the store stands, for who wants to know later that it is still the same and no older copy. After a
    /// [`Self::sync`], or the mark is of what was there before.
    pub fn mark(&self) -> Result<DossierMark, VaultError> {
        let manifest = Manifest::load(&self.shelf.dir, &self.shelf.keys)?;
        Ok(DossierMark { store: HEXLOWER.encode(&manifest.store), generation: manifest.generation })
    }

    /// Whether the store is the one of `mark` and was written to no less often. An older copy that was put back and written to
    /// since, before anybody asked, is not noticed.
    pub fn contains(&self, mark: &DossierMark) -> Result<bool, VaultError> {
        let now = self.mark()?;
        Ok(now.store == mark.store && now.generation >= mark.generation)
    }

    pub fn stats(&self) -> Result<DossierStats, VaultError> {
        let runs = self.shelf.newest_runs()?;
        let sum = |of: fn(&Run) -> u64| runs.iter().map(|run| of(run)).sum();
        Ok(DossierStats { runs: runs.len(), people: sum(|run| run.meta.people), bytes: sum(|run| run.meta.bytes) })
    }

    /// Reads every byte on disk: authentic, in order, as many people as were written. The first damage is the error.
    pub fn verify(&self) -> Result<DossierStats, VaultError> {
        let stats = self.stats()?;
        let runs = Arc::clone(&self.shelf.read().runs);
        let mut leaves = self.shelf.vault.subjects.leaves();
        for run in runs.iter() {
            let (mut scan, mut piece) = (run.scan(), Zeroizing::default());
            let (mut last, mut people) = (None, 0);
            while let Some(at) = scan.next(&mut piece, &mut leaves)? {
                if last >= Some(at.place) || !facts::are_whole(&piece) {
                    return Err(VaultError::damaged(&run.path, 0, "a run of dossiers is not in order"));
                }
                last = Some(at.place);
                people += 1;
            }
            if people != run.meta.people {
                return Err(VaultError::damaged(&run.path, 0, "a run holds other people than were written"));
            }
        }
        Ok(stats)
    }

    /// The slots on disk of the people of `tombstones` that are not destroyed.
    pub(crate) fn slots(&self, tombstones: &[Tombstone]) -> Result<Vec<u64>, VaultError> {
        self.shelf.slots_of(tombstones)
    }

    /// Destroys what still stands of people who were destroyed. Gives the number of slots.
    pub(crate) fn sweep(&self) -> Result<u64, VaultError> {
        self.shelf.sweep()
    }

    /// What whoever has the vault's keys and these subject keys sees.
    #[cfg(test)]
    pub(crate) fn everything(&self) -> Vec<Vec<u8>> {
        let mut leaves = self.shelf.vault.subjects.leaves();
        let runs = Arc::clone(&self.shelf.read().runs);
        runs.iter().flat_map(|run| run.everything(&mut leaves)).collect()
    }
}

impl Folder {
    pub(super) fn hold(&self) -> Result<Exclusive<'_>, VaultError> {
        Exclusive::take(&self.top, &self.lock)
    }

    /// Nothing if all is known already.
    fn write_run(&self, id: u64, buffer: &Buffer, runs: &[Arc<Run>]) -> Result<Option<Run>, VaultError> {
        let subjects = &self.vault.subjects;
        subjects.refresh()?;
        let tombstoned = buffer.people().into_iter().map(|(token, person)| (self.vault.tombstone(&token), person));
        // Whoever was destroyed while this process knew them stays so.
        let mut all: Vec<(Key, u32)> = tombstoned
            .filter(|(tombstone, _)| !subjects.is_tombstone(tombstone))
            .map(|(tombstone, person)| (Key::from_bytes(tombstone), person))
            .collect();
        all.sort_unstable();
        let mut writer = None;
        let mut leaves = subjects.leaves();
        for people in all.chunks(AT_ONCE) {
            let wanted: Vec<(Key, u32)> = people.iter().map(|(place, _)| *place).zip(0..).collect();
            let mut pieces = Pieces::default();
            read(runs, &wanted, &mut leaves, &mut pieces)?;
            pieces.sort();
            let (mut new, mut kept) = (Vec::new(), Vec::new());
            for (number, (place, person)) in (0..).zip(people) {
                buffer.facts(*person, &mut new);
                let on_disk = pieces.of(number);
                if !on_disk.is_empty() {
                    facts::newest(&on_disk, &mut kept);
                    if let (Some(standing), Some(own)) = (facts::draw_in(&kept), facts::draw_in(&new))
                        && standing != own
                    {
                        return Err(VaultError::Overtaken);
                    }
                    facts::retain_new(&mut new, &kept);
                }
                if new.is_empty() {
                    continue;
                }
                let writer = match &mut writer {
                    Some(writer) => writer,
                    empty => empty.insert(RunWriter::create(&self.dir, &self.keys, id, all.len() as u64)?),
                };
                let slot = pieces.slot(number).map_or_else(|| self.slot(), Ok)?;
                writer.push(*place, slot, &new, &mut leaves)?;
            }
        }
        writer.map(RunWriter::finish).transpose()
    }

    fn merge_due(&self, manifest: &mut Manifest) -> Result<(), VaultError> {
        while let Some(count) = due(manifest, self.fan_in) {
            let runs = Arc::clone(&self.read().runs);
            let (kept, parts) = runs.split_at_checked(runs.len().saturating_sub(count)).unwrap_or((&[], &runs));
            let merging: Vec<&Run> = parts.iter().map(|run| &**run).collect();
            let merged = match run::merge(&self.dir, &self.keys, manifest.next_run, &merging, &self.vault.subjects) {
                // Nothing is lost without this merge; a later one tries again.
                Err(VaultError::Io { .. }) => return Ok(()),
                merged => merged?,
            };
            manifest.runs.truncate(kept.len());
            manifest.runs.push(merged.meta);
            let now = kept.iter().cloned().chain([Arc::new(merged)]).collect();
            match self.publish(manifest, now) {
                Err(VaultError::Io { .. }) => return Ok(()),
                published => published?,
            }
            for part in parts {
                // Who still reads it keeps it open.
                let _ = std::fs::remove_file(&part.path);
            }
        }
        Ok(())
    }

    /// Makes `runs`, the last of which is new, what there is, on disk and in memory.
    fn publish(&self, manifest: &mut Manifest, runs: Arc<[Arc<Run>]>) -> Result<(), VaultError> {
        manifest.next_run += 1;
        if let Err(error) = manifest.store(&self.dir, &self.keys) {
            // Nobody will ever know of the new run, unless the manifest is in place after all.
            if Manifest::generation(&self.dir).is_ok_and(|now| now == manifest.generation) {
                let _ = runs.last().map(|run| std::fs::remove_file(&run.path));
            }
            return Err(error);
        }
        let mut state = self.write();
        (state.runs, state.generation) = (runs, manifest.generation);
        Ok(())
    }

    /// A slot for a person who has none.
    fn slot(&self) -> Result<u64, VaultError> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let (free, leased) = &mut *slots;
        if free.is_empty() {
            *leased = (*leased * 2).clamp(FEWEST_SLOTS, MOST_SLOTS);
            *free = self.vault.subjects.lease(*leased, 0)?;
        }
        free.next().ok_or_else(|| VaultError::Full { file: self.vault.subjects.path().to_owned() })
    }

    /// The slots on disk of the people of `tombstones` that are not destroyed.
    fn slots_of(&self, tombstones: &[Tombstone]) -> Result<Vec<u64>, VaultError> {
        let mut places: Vec<(Key, u32)> = tombstones.iter().map(|place| Key::from_bytes(*place)).zip(0..).collect();
        places.sort_unstable();
        let runs = self.newest_runs()?;
        let mut leaves = self.vault.subjects.leaves();
        let mut slots = Vec::new();
        for run in runs.iter() {
            run.find(&places, &mut leaves, |_, slot, _| slots.push(slot))?;
        }
        slots.sort_unstable();
        slots.dedup();
        Ok(slots)
    }

    /// Destroys what still stands of people who were destroyed: written by a process that had their tokens, before it saw.
    /// What is written afterwards is without them.
    fn sweep(&self) -> Result<u64, VaultError> {
        let subjects = &self.vault.subjects;
        subjects.refresh()?;
        let tombstones = subjects.tombstones();
        if tombstones.is_empty() {
            return Ok(0);
        }
        let _one = self.writer();
        let _held = self.hold()?;
        self.vault.must_be_current()?;
        let slots = self.slots_of(&tombstones)?;
        if !slots.is_empty() {
            subjects.destroy(&slots, &[])?;
        }
        Ok(slots.len() as u64)
    }

    /// Those that other processes wrote among them.
    fn newest_runs(&self) -> Result<Arc<[Arc<Run>]>, VaultError> {
        let look = || {
            if Manifest::generation(&self.dir)? != self.read().generation {
                self.refresh()?;
            }
            Ok(Arc::clone(&self.read().runs))
        };
        // What was removed when the keys were changed is not damaged.
        look().or_else(|error| self.vault.must_be_current().and(Err(error)))
    }

    /// Takes over the manifest that another process wrote.
    pub(super) fn refresh(&self) -> Result<Manifest, VaultError> {
        /// Whoever reads without the lock may be overtaken by a merge, though hardly often in a row.
        const ATTEMPTS: usize = 100;
        for _ in 0..ATTEMPTS {
            let manifest = Manifest::load(&self.dir, &self.keys)?;
            let (known, generation) = {
                let state = self.read();
                (Arc::clone(&state.runs), state.generation)
            };
            if generation == manifest.generation {
                return Ok(manifest);
            }
            let open = |meta: &manifest::RunMeta| match known.iter().find(|run| run.meta.id == meta.id) {
                Some(run) => Ok(Some(Arc::clone(run))),
                None => Ok(run::open(&self.dir, &self.keys, *meta)?.map(Arc::new)),
            };
            let runs = manifest.runs.iter().map(open).collect::<Result<Option<Vec<_>>, VaultError>>()?;
            match runs {
                Some(runs) => {
                    let mut state = self.write();
                    if state.generation < manifest.generation {
                        (state.runs, state.generation) = (runs.into(), manifest.generation);
                    }
                    return Ok(manifest);
                }
                None if Manifest::generation(&self.dir)? == manifest.generation => break,
                None => {}
            }
        }
        Err(VaultError::damaged(&self.dir, 0, "a run of dossiers is missing"))
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf for Folder {
    type Vault = TokenVault;

    fn vault(&self) -> &TokenVault {
        &self.vault
    }

    fn find(&self, places: &[(Key, u32)], pieces: &mut Pieces) -> Result<(), VaultError> {
        read(&self.newest_runs()?, places, &mut self.vault.subjects.leaves(), pieces)
    }

    fn put(&self, buffer: &Buffer) -> Result<(), VaultError> {
        let _one = self.writer();
        let _held = self.hold()?;
        self.vault.must_be_current()?;
        let mut manifest = self.refresh()?;
        let runs = Arc::clone(&self.read().runs);
        if let Some(run) = self.write_run(manifest.next_run, buffer, &runs)? {
            manifest.runs.push(run.meta);
            let runs = runs.iter().cloned().chain([Arc::new(run)]).collect();
            self.publish(&mut manifest, runs)?;
        }
        self.merge_due(&mut manifest)
    }

    /// A run for the few people of each batch would cost more than the rare case that two processes disagree.
    fn decide(&self, _: &[(Token, NameDraw)]) -> Result<Option<Vec<NameDraw>>, VaultError> {
        Ok(None)
    }

    fn damaged(&self, what: &'static str) -> VaultError {
        VaultError::damaged(&self.dir, 0, what)
    }
}

impl People for TokenVault {
    fn subject_keys(&self) -> &SubjectKeys {
        &self.subjects
    }

    fn see_others(&self) -> Result<(), VaultError> {
        self.see_merges()
    }

    fn to_roots(&self, tokens: &mut [Token]) {
        self.to_roots(tokens);
    }

    fn members(&self, tokens: &[Token], each: &mut dyn FnMut(u32, Token)) {
        self.members(tokens, each);
    }

    fn tombstone(&self, token: &Token) -> Tombstone {
        self.tombstone(token)
    }
}

fn read(
    runs: &[Arc<Run>],
    wanted: &[(Key, u32)],
    leaves: &mut LeafReader<'_>,
    pieces: &mut Pieces,
) -> Result<(), VaultError> {
    for (age, run) in (0..).zip(runs) {
        run.find(wanted, leaves, |number, slot, piece| pieces.push(number, age, slot, piece))?;
    }
    Ok(())
}

fn runs_on_disk(dir: &Path) -> impl Iterator<Item = (u64, PathBuf)> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().filter_map(|file| {
        let id = file.file_name().to_str()?.strip_prefix("run-")?.parse().ok()?;
        Some((id, file.path()))
    })
}

/// How many of the newest runs should be one: enough of one size, or smaller.
fn due(manifest: &Manifest, fan_in: usize) -> Option<usize> {
    let size = |bytes: u64| (bytes / SMALL + 1).ilog(fan_in as u64);
    let largest = manifest.runs.iter().map(|run| size(run.bytes)).max()?;
    (0..=largest)
        .map(|most| manifest.runs.iter().rev().take_while(|run| size(run.bytes) <= most).count())
        .find(|count| *count >= fan_in)
}
