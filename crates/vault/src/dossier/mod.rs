//! What records say of each person, kept until notes are read: names, addresses, numbers, and whose they are.
//!
//! | file | what | if it is damaged |
//! |---|---|---|
//! | `run-NNNNNNNN` | people in order of their tokens, in sealed blocks | an error |
//! | `MANIFEST` | which runs there are | an error |
//! | `lock` | empty; held (`flock`) by the process that writes | |
//!
//! Facts are added to memory (bounded); when that is full, or at a [`DossierStore::sync`], they become a run. Runs of one
//! size are merged, and of equal facts one stays. Of a person the 512 newest facts are kept, and at most 64 KiB of them: a
//! number that thousands of records share by mistake must not cost more with every record. Those that come again with each
//! record, as names do, stay new. A text of more than 1 KiB is no identifier and is not kept.
//!
//! Facts stand under the token that stood for the person when they were added. What is known of a person is what
//! stands under any token that was ever theirs, which the vault knows.
//!
//! Beside the facts stands how the person's made-up name is drawn, decided when the person is first written. It belongs to the one
//! token that the name follows from: when two people turn out to be one, the name of the token that stands for both stays. Where two
//! processes decide it at the same time, the second to write fails ([`VaultError::Overtaken`]).
//!
//! Nothing is in clear on disk, neither texts nor tokens. Files are sealed under keys that derive from the vault's, for this one
//! vault; in them what is known of a person is under a key of that person's own, which [`TokenVault::shred`] destroys.
//!
//! ```
//! # use cordon_crypto::{BlindIndexKey, VaultKey};
//! use cordon_phi::{Dossiers, IdentifierKind, KnownFacts, TokenStore, Whose};
//! use cordon_vault::{DossierOptions, DossierStore, TokenVault, VaultKeys, VaultOptions};
//!
//! # let scratch = tempfile::tempdir()?;
//! # let subjects = std::sync::Arc::new(cordon_vault::SubjectKeys::create(
//! #     &scratch.path().join("subject-keys"), &cordon_crypto::SubjectSealKey::generate())?);
//! # let keys = VaultKeys { blind: BlindIndexKey::generate(), values: VaultKey::generate() };
//! # let vault = TokenVault::open(&scratch.path().join("vault"), keys, subjects, VaultOptions::default())?;
//! let vault = std::sync::Arc::new(vault);
//! let dossiers = DossierStore::open(&scratch.path().join("dossiers"), vault.clone(), DossierOptions::default())?;
//!
//! let mut subjects = Vec::new();
//! vault.get_or_create("mrn", &[b"A-17"], &mut subjects)?;
//! let mut facts = KnownFacts::default();
//! facts.push(IdentifierKind::City, Whose::Subject, "Springfield");
//! dossiers.add(&subjects, &facts)?;
//!
//! let mut known = Vec::new();
//! dossiers.known(&subjects, &mut known)?;
//! assert_eq!(known[0].len(), 1);
//! dossiers.sync()?; // before the records count as read
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod buffer;
mod facts;
mod manifest;
mod run;

use std::{
    collections::HashSet,
    fs::{DirBuilder, File, OpenOptions},
    ops::Range,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use cordon_crypto::KeyedHash;
use cordon_phi::{Dossiers, KnownFacts, NameDraw, Token, TokenError};
use data_encoding::HEXLOWER;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use self::{
    buffer::Buffer,
    manifest::Manifest,
    run::{Run, RunWriter},
};
use crate::{
    store::{TokenVault, error::VaultError, table::Key, writer::Exclusive},
    subject_keys::{LeafReader, Tombstone},
};

/// People who are looked up together.
const AT_ONCE: usize = 1 << 13;
/// Up to so many facts of a person, what is on disk is not written again.
const FEW: usize = facts::MOST_FACTS / 2;
/// Draws that are remembered: 24 MiB, or so.
const MOST_DRAWS: usize = 1 << 20;
/// Runs up to this size are of the smallest.
const SMALL: u64 = 64 << 10;
/// Slots that a process asks for at first; each time twice as many, up to the other.
const FEWEST_SLOTS: u64 = 1 << 6;
const MOST_SLOTS: u64 = 1 << 16;

/// Sizes.
#[derive(Clone, Debug)]
pub struct DossierOptions {
    /// Facts not yet on disk, in bytes of memory, or so. At most 2 GiB.
    pub memory_bytes: usize,
    /// So many runs of one size become one of the next.
    pub fan_in: usize,
}

impl Default for DossierOptions {
    fn default() -> Self {
        Self { memory_bytes: 64 << 20, fan_in: 6 }
    }
}

/// What a store holds, without naming anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DossierStats {
    pub runs: usize,
    /// Dossiers in all runs: a person who is in two counts twice.
    pub people: u64,
    pub bytes: u64,
}

/// A place in the history of one store.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DossierMark {
    store: String,
    generation: u64,
}

/// What is known of each person. See the [module's](self) words on how.
pub struct DossierStore {
    dir: PathBuf,
    vault: Arc<TokenVault>,
    keys: KeyedHash,
    options: DossierOptions,
    lock: File,
    state: RwLock<State>,
    /// Threads write one after the other, as processes do.
    writer: Mutex<()>,
    /// Draws that were decided or looked up. They never change.
    draws: Mutex<(u64, HashMap<Token, NameDraw>)>,
    /// Slots that are this process's to use, and how many it asked for last.
    slots: Mutex<(Range<u64>, u64)>,
    /// Threads decide one after the other.
    deciding: Mutex<()>,
}

struct State {
    generation: u64,
    /// The oldest first.
    runs: Arc<[Arc<Run>]>,
    /// On its way to disk.
    frozen: Option<Arc<Buffer>>,
    active: Buffer,
}

impl DossierStore {
    /// Opens the store in `dir`, or makes a new one where there is none. It belongs to this one vault.
    pub fn open(dir: &Path, vault: Arc<TokenVault>, mut options: DossierOptions) -> Result<Self, VaultError> {
        options.fan_in = options.fan_in.max(2);
        options.memory_bytes = options.memory_bytes.clamp(1 << 12, 2 * Buffer::MOST_BYTES);
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(dir).map_err(VaultError::io("create", dir))?;
        let lock_path = dir.join("lock");
        let mut open = OpenOptions::new();
        open.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = open.open(&lock_path).map_err(VaultError::io("open for writing", &lock_path))?;
        let keys = vault.hash_for("dossiers v1");
        let state = State { generation: 0, runs: Arc::new([]), frozen: None, active: Buffer::like(None) };
        let store = Self {
            dir: dir.to_owned(),
            vault,
            keys,
            options,
            lock,
            state: RwLock::new(state),
            writer: Mutex::new(()),
            draws: Mutex::default(),
            slots: Mutex::new((0..0, 0)),
            deciding: Mutex::new(()),
        };
        {
            let _held = Exclusive::take(dir, &store.lock)?;
            if !Manifest::exists(dir)? {
                if runs_on_disk(dir).next().is_some() {
                    return Err(VaultError::damaged(&dir.join("MANIFEST"), 0, "the file is missing"));
                }
                let mut id = [0; 16];
                getrandom::fill(&mut id)?;
                Manifest::new(id).store(dir, &store.keys)?;
            }
            let manifest = store.refresh()?;
            // What a killed process was writing, or had merged and not yet removed.
            for (id, path) in runs_on_disk(dir) {
                if manifest.runs.iter().all(|run| run.id != id) {
                    let _ = std::fs::remove_file(path);
                }
            }
        }
        // What somebody who was killed had not got to.
        store.sweep()?;
        Ok(store)
    }

    /// Opens a store that must be there: without what was known, notes would be cleared with less knowledge than promised.
    pub fn open_existing(dir: &Path, vault: Arc<TokenVault>, options: DossierOptions) -> Result<Self, VaultError> {
        if !Manifest::exists(dir)? && runs_on_disk(dir).next().is_none() {
            return Err(VaultError::NoDossiers { dir: dir.to_owned() });
        }
        Self::open(dir, vault, options)
    }

    /// Returns when everything that was added is on disk. Facts that were not may be lost with the process: records count
    /// as read after this.
    pub fn sync(&self) -> Result<(), VaultError> {
        self.flush(1)
    }

    /// Where the store stands, for who wants to know later that it is still the same and no older copy. After a
    /// [`Self::sync`], or the mark is of what was there before.
    pub fn mark(&self) -> Result<DossierMark, VaultError> {
        let manifest = Manifest::load(&self.dir, &self.keys)?;
        Ok(DossierMark { store: HEXLOWER.encode(&manifest.store), generation: manifest.generation })
    }

    /// Whether the store is the one of `mark` and was written to no less often. An older copy that was put back and written to
    /// since, before anybody asked, is not noticed.
    pub fn contains(&self, mark: &DossierMark) -> Result<bool, VaultError> {
        let now = self.mark()?;
        Ok(now.store == mark.store && now.generation >= mark.generation)
    }

    pub fn stats(&self) -> Result<DossierStats, VaultError> {
        self.see_new_runs()?;
        let runs = Arc::clone(&self.read().runs);
        let sum = |of: fn(&Run) -> u64| runs.iter().map(|run| of(run)).sum();
        Ok(DossierStats { runs: runs.len(), people: sum(|run| run.meta.people), bytes: sum(|run| run.meta.bytes) })
    }

    /// Reads every byte on disk: authentic, in order, as many people as were written. The first damage is the error.
    pub fn verify(&self) -> Result<DossierStats, VaultError> {
        let stats = self.stats()?;
        let runs = Arc::clone(&self.read().runs);
        let mut leaves = self.vault.subjects.leaves();
        for run in runs.iter() {
            let (mut scan, mut piece) = (run.scan(), Zeroizing::default());
            let (mut last, mut people) = (None, 0);
            while let Some(at) = scan.next(&mut piece, &mut leaves)? {
                let mut facts = KnownFacts::default();
                let whole = facts::each(&piece).try_fold(0, |sum, fact| {
                    facts::read(fact, &mut facts)?;
                    Some(sum + fact.len())
                });
                if last >= Some(at.place) || whole != Some(piece.len()) {
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

    fn add_all(&self, subjects: &[Token], facts: &KnownFacts) -> Result<(), VaultError> {
        if subjects.len() != facts.len() {
            return Err(VaultError::Uneven { what: "subjects and facts" });
        }
        let mut subjects = subjects.to_vec();
        self.vault.see_merges()?;
        self.vault.to_roots(&mut subjects);
        let full = self.options.memory_bytes / 2;
        let mut rest = subjects.iter().zip(facts.iter()).peekable();
        loop {
            {
                let mut state = self.write();
                while state.active.used() < full || state.active.is_empty() {
                    let Some((subject, fact)) = rest.next() else { return Ok(()) };
                    state.active.add(*subject, &fact);
                }
            }
            if rest.peek().is_none() {
                return Ok(());
            }
            self.flush(full)?;
        }
    }

    fn draws_all(&self, subjects: &[Token], out: &mut Vec<Option<NameDraw>>) -> Result<(), VaultError> {
        let mut roots = subjects.to_vec();
        self.vault.see_merges()?;
        self.vault.to_roots(&mut roots);
        let start = out.len();
        let epoch = self.vault.subjects.epoch();
        {
            let known = self.remembered(epoch);
            out.extend(roots.iter().map(|root| known.get(root).copied()));
        }
        let drawn = out.get_mut(start..).unwrap_or_default();
        let asked = roots.iter().zip(drawn.iter());
        let mut missing: Vec<Token> = asked.filter(|(_, draw)| draw.is_none()).map(|(root, _)| *root).collect();
        if missing.is_empty() {
            return Ok(());
        }
        missing.sort_unstable();
        missing.dedup();
        self.see_new_runs()?;
        let mut found: HashMap<Token, NameDraw> = HashMap::new();
        for people in missing.chunks(AT_ONCE) {
            let wanted: Vec<(Token, u32)> = people.iter().copied().zip(0..).collect();
            let pieces = self.pieces(&wanted)?;
            for (token, number) in wanted {
                let pieces = pieces.of(number);
                if let Some(draw) = pieces.into_iter().flat_map(facts::each).find(|fact| facts::is_draw(fact)) {
                    let damaged = || VaultError::damaged(&self.dir, 0, "a dossier holds what is no draw");
                    found.insert(token, facts::draw(draw).ok_or_else(damaged)?);
                }
            }
        }
        for (root, draw) in roots.iter().zip(drawn) {
            *draw = draw.or_else(|| found.get(root).copied());
        }
        self.remember(epoch, found);
        Ok(())
    }

    fn decide_all(&self, subjects: &[Token], draws: &mut [NameDraw]) -> Result<(), VaultError> {
        if subjects.len() != draws.len() {
            return Err(VaultError::Uneven { what: "subjects and draws" });
        }
        let _one = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut standing, mut new) = (Vec::new(), HashMap::new());
        let epoch = self.vault.subjects.refresh()?;
        self.draws_all(subjects, &mut standing)?;
        let mut roots = subjects.to_vec();
        self.vault.to_roots(&mut roots);
        {
            let mut state = self.write();
            for ((root, draw), standing) in roots.iter().zip(draws).zip(standing) {
                if let Some(standing) = standing.or_else(|| new.get(root).copied()) {
                    *draw = standing;
                    continue;
                }
                state.active.decide(*root, *draw);
                new.insert(*root, *draw);
            }
        }
        self.remember(epoch, new);
        self.flush(self.options.memory_bytes / 2)
    }

    fn remember(&self, epoch: u64, draws: HashMap<Token, NameDraw>) {
        let mut known = self.remembered(epoch);
        if known.len() + draws.len() > MOST_DRAWS {
            known.clear();
        }
        known.extend(draws.into_iter().take(MOST_DRAWS));
    }

    /// What is remembered of another epoch of the subject keys may be of people who were destroyed.
    fn remembered(&self, epoch: u64) -> Remembered<'_> {
        let mut draws = self.draws.lock().unwrap_or_else(PoisonError::into_inner);
        if draws.0 != epoch {
            *draws = (epoch, HashMap::new());
        }
        Remembered(draws)
    }

    fn known_all(&self, subjects: &[Token], out: &mut Vec<KnownFacts>) -> Result<(), VaultError> {
        self.see_new_runs()?;
        let mut roots = subjects.to_vec();
        self.vault.see_merges()?;
        self.vault.to_roots(&mut roots);
        roots.chunks(AT_ONCE).try_for_each(|people| self.known_of(people, out))
    }

    fn known_of(&self, subjects: &[Token], out: &mut Vec<KnownFacts>) -> Result<(), VaultError> {
        let mut people = subjects.to_vec();
        people.sort_unstable();
        people.dedup();
        let mut wanted = Vec::with_capacity(people.len());
        self.vault.members(&people, |person, token| wanted.push((token, person)));
        if !wanted.is_sorted() {
            wanted.sort_unstable();
        }
        let pieces = self.pieces(&wanted)?;
        let mut kept = Vec::new();
        for subject in subjects {
            let of_person = match people.binary_search(subject) {
                Ok(person) => pieces.of(person as u32),
                Err(_) => Vec::new(),
            };
            facts::newest(&of_person, &mut kept);
            let mut known = KnownFacts::default();
            for fact in &kept {
                let read = facts::read(fact, &mut known);
                read.ok_or_else(|| VaultError::damaged(&self.dir, 0, "a dossier holds what is no fact"))?;
            }
            out.push(known);
        }
        Ok(())
    }

    /// What is known under each of `wanted`, which are in order; their numbers say whose it is.
    fn pieces(&self, wanted: &[(Token, u32)]) -> Result<Pieces, VaultError> {
        let mut pieces = Pieces::default();
        let mut places: Vec<(Key, u32)> = Vec::with_capacity(wanted.len());
        let mut standing = Vec::with_capacity(wanted.len());
        for (token, number) in wanted {
            let tombstone = self.vault.tombstone(token);
            if !self.vault.subjects.is_tombstone(&tombstone) {
                places.push((Key::from_bytes(tombstone), *number));
                standing.push((*token, *number));
            }
        }
        let wanted = standing.as_slice();
        places.sort_unstable();
        let (runs, frozen) = {
            let state = self.read();
            pieces.take(&state.active, u32::MAX, wanted);
            (Arc::clone(&state.runs), state.frozen.clone())
        };
        if let Some(frozen) = frozen {
            pieces.take(&frozen, u32::MAX - 1, wanted);
        }
        pieces.read(&runs, &places, &mut self.vault.subjects.leaves())?;
        pieces.sort();
        Ok(pieces)
    }

    /// Writes what is in memory, if that is `least` bytes or more.
    fn flush(&self, least: usize) -> Result<(), VaultError> {
        let _one = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // What could not be written the last time, and then the rest.
        loop {
            let (frozen, left) = {
                let mut state = self.write();
                match state.frozen.clone() {
                    Some(left) => (left, true),
                    None if state.active.is_empty() || state.active.used() < least => return Ok(()),
                    None => {
                        // Filled up once, it will be so again; at the end of a file it may not.
                        let next = Buffer::like((least > 1).then_some(&state.active));
                        let frozen = Arc::new(std::mem::replace(&mut state.active, next));
                        state.frozen = Some(Arc::clone(&frozen));
                        (frozen, false)
                    }
                }
            };
            let _held = Exclusive::take(&self.dir, &self.lock)?;
            let mut manifest = self.refresh()?;
            let runs = Arc::clone(&self.read().runs);
            match self.write_run(manifest.next_run, &frozen, &runs)? {
                Some(run) => {
                    manifest.runs.push(run.meta);
                    let runs = runs.iter().cloned().chain([Arc::new(run)]).collect();
                    self.publish(&mut manifest, runs, true)?;
                }
                None => self.write().frozen = None,
            }
            self.merge_due(&mut manifest)?;
            if !left {
                return Ok(());
            }
        }
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
            pieces.read(runs, &wanted, &mut leaves)?;
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
                    // Where some will have to go, what came again is written again, so that it counts as new.
                    if kept.len() + new.len() <= FEW {
                        let known: HashSet<&[u8]> = kept.iter().copied().collect();
                        new.retain(|fact| !known.contains(fact));
                    }
                }
                if new.is_empty() {
                    continue;
                }
                let writer = match &mut writer {
                    Some(writer) => writer,
                    empty => empty.insert(RunWriter::create(&self.dir, &self.keys, id, all.len() as u64)?),
                };
                let slot = match pieces.slots.get(&number) {
                    Some(slot) => *slot,
                    None => self.slot()?,
                };
                writer.push(*place, slot, &new, &mut leaves)?;
            }
        }
        writer.map(RunWriter::finish).transpose()
    }

    fn merge_due(&self, manifest: &mut Manifest) -> Result<(), VaultError> {
        while let Some(count) = due(manifest, self.options.fan_in) {
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
            match self.publish(manifest, now, false) {
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
    fn publish(&self, manifest: &mut Manifest, runs: Arc<[Arc<Run>]>, written: bool) -> Result<(), VaultError> {
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
        if written {
            state.frozen = None;
        }
        Ok(())
    }

    /// What whoever has the vault's keys and these subject keys sees.
    #[cfg(test)]
    pub(crate) fn everything(&self) -> Vec<Vec<u8>> {
        let mut leaves = self.vault.subjects.leaves();
        let runs = Arc::clone(&self.read().runs);
        runs.iter().flat_map(|run| run.everything(&mut leaves)).collect()
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
    pub(crate) fn slots(&self, tombstones: &[Tombstone]) -> Result<Vec<u64>, VaultError> {
        let mut places: Vec<(Key, u32)> = tombstones.iter().map(|place| Key::from_bytes(*place)).zip(0..).collect();
        places.sort_unstable();
        self.see_new_runs()?;
        let runs = Arc::clone(&self.read().runs);
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
    pub(crate) fn sweep(&self) -> Result<u64, VaultError> {
        let subjects = &self.vault.subjects;
        subjects.refresh()?;
        let tombstones = subjects.tombstones();
        if tombstones.is_empty() {
            return Ok(0);
        }
        let _one = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let _held = Exclusive::take(&self.dir, &self.lock)?;
        let slots = self.slots(&tombstones)?;
        if !slots.is_empty() {
            subjects.destroy(&slots, &[])?;
        }
        Ok(slots.len() as u64)
    }

    fn see_new_runs(&self) -> Result<(), VaultError> {
        if Manifest::generation(&self.dir)? != self.read().generation {
            self.refresh()?;
        }
        Ok(())
    }

    /// Takes over the manifest that another process wrote.
    fn refresh(&self) -> Result<Manifest, VaultError> {
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

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dossiers for DossierStore {
    fn add(&self, subjects: &[Token], facts: &KnownFacts) -> Result<(), TokenError> {
        Ok(self.add_all(subjects, facts)?)
    }

    fn known(&self, subjects: &[Token], out: &mut Vec<KnownFacts>) -> Result<(), TokenError> {
        let before = out.len();
        self.known_all(subjects, out).map_err(|error| {
            out.truncate(before);
            error.into()
        })
    }

    fn draws(&self, subjects: &[Token], out: &mut Vec<Option<NameDraw>>) -> Result<(), TokenError> {
        let before = out.len();
        self.draws_all(subjects, out).map_err(|error| {
            out.truncate(before);
            error.into()
        })
    }

    fn decide(&self, subjects: &[Token], draws: &mut [NameDraw]) -> Result<(), TokenError> {
        Ok(self.decide_all(subjects, draws)?)
    }
}

/// Draws that are remembered, of one epoch.
struct Remembered<'a>(MutexGuard<'a, (u64, HashMap<Token, NameDraw>)>);

impl std::ops::Deref for Remembered<'_> {
    type Target = HashMap<Token, NameDraw>;

    fn deref(&self) -> &Self::Target {
        &self.0.1
    }
}

impl std::ops::DerefMut for Remembered<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0.1
    }
}

/// Pieces of several people, out of memory and runs.
#[derive(Default)]
struct Pieces {
    bytes: Zeroizing<Vec<u8>>,
    /// Whose, how old, from where to where.
    spans: Vec<(u32, u32, usize, usize)>,
    /// Of those who are in runs.
    slots: HashMap<u32, u64>,
}

impl Pieces {
    fn take(&mut self, buffer: &Buffer, age: u32, wanted: &[(Token, u32)]) {
        let mut facts = Vec::new();
        for (token, number) in wanted {
            if let Some(person) = buffer.find(token) {
                buffer.facts(person, &mut facts);
                let start = self.bytes.len();
                for fact in &facts {
                    self.bytes.extend_from_slice(fact);
                }
                self.spans.push((*number, age, start, self.bytes.len()));
            }
        }
    }

    fn read(
        &mut self,
        runs: &[Arc<Run>],
        wanted: &[(Key, u32)],
        leaves: &mut LeafReader<'_>,
    ) -> Result<(), VaultError> {
        for (age, run) in (0..).zip(runs) {
            run.find(wanted, leaves, |number, slot, piece| {
                self.slots.insert(number, slot);
                let start = self.bytes.len();
                self.bytes.extend_from_slice(piece);
                self.spans.push((number, age, start, self.bytes.len()));
            })?;
        }
        Ok(())
    }

    fn sort(&mut self) {
        self.spans.sort_unstable();
    }

    /// Of one person, the oldest first.
    fn of(&self, person: u32) -> Vec<&[u8]> {
        let start = self.spans.partition_point(|(of, ..)| *of < person);
        let spans = self.spans.get(start..).unwrap_or_default().iter().take_while(|(of, ..)| *of == person);
        spans.filter_map(|(_, _, from, to)| self.bytes.get(*from..*to)).collect()
    }
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
