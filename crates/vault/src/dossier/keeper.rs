//! What both kinds of dossiers do alike: facts wait in memory, whose they are is asked of the vault, names are decided once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use cordon_phi::{Dossiers, KnownFacts, NameDraw, Token, TokenError};
use hashbrown::HashMap;

use super::{DossierOptions, buffer::Buffer, facts, pieces::Pieces};
use crate::{
    store::{error::VaultError, table::Key},
    subject_keys::{SubjectKeys, Tombstone},
};

/// People who are looked up together.
pub(super) const AT_ONCE: usize = 1 << 13;
/// Draws that are remembered: 24 MiB, or so.
const MOST_DRAWS: usize = 1 << 20;

/// What dossiers ask of the vault that they belong to.
pub trait People: Send + Sync {
    fn subject_keys(&self) -> &SubjectKeys;

    /// Sees who turned out to be one, and whom other processes destroyed.
    fn see_others(&self) -> Result<(), VaultError>;

    /// The token that stands for the person of each, as far as this process knows.
    fn to_roots(&self, tokens: &mut [Token]);

    /// Every token of the person of each of `tokens`, as far as this process knows: `each` gets the number of the one and
    /// the other.
    fn members(&self, tokens: &[Token], each: &mut dyn FnMut(u32, Token));

    /// What stays of a token when it is destroyed. Before that it says where the token's dossier stands.
    fn tombstone(&self, token: &Token) -> Tombstone;
}

/// Where dossiers stand when they are out of memory. What is there of a person who was destroyed is as if it were not.
pub trait Shelf: Send + Sync {
    type Vault: People;

    fn vault(&self) -> &Self::Vault;

    /// Appends what stands at each of `places`, which come in order, each once.
    fn find(&self, places: &[(Key, u32)], pieces: &mut Pieces) -> Result<(), VaultError>;

    /// Puts there what is new in `buffer`. Durable when it returns; repeated, it adds nothing.
    fn put(&self, buffer: &Buffer) -> Result<(), VaultError>;

    /// Decides draws, durably and for all processes; gives those that stand. Nothing from a kind that keeps them with the facts
    /// until these are put there.
    fn decide(&self, new: &[(Token, NameDraw)]) -> Result<Option<Vec<NameDraw>>, VaultError>;

    /// That something there is not what was written.
    fn damaged(&self, what: &'static str) -> VaultError;
}

/// What is known of each person. See the [module's](super) words on how.
pub struct Keeper<S> {
    pub(crate) shelf: S,
    options: DossierOptions,
    memory: RwLock<Memory>,
    /// Threads write one after the other.
    writer: Mutex<()>,
    /// Draws that were decided or looked up, of one epoch of the subject keys. They never change.
    draws: Mutex<(u64, HashMap<Token, NameDraw>)>,
    /// Threads decide one after the other.
    deciding: Mutex<()>,
}

struct Memory {
    /// On its way to the shelf.
    frozen: Option<Arc<Buffer>>,
    active: Buffer,
}

impl<S: Shelf> Keeper<S> {
    pub(crate) fn on(shelf: S, mut options: DossierOptions) -> Self {
        options.memory_bytes = options.memory_bytes.clamp(1 << 12, 2 * Buffer::MOST_BYTES);
        Self {
            shelf,
            options,
            memory: RwLock::new(Memory { frozen: None, active: Buffer::like(None) }),
            writer: Mutex::new(()),
            draws: Mutex::default(),
            deciding: Mutex::new(()),
        }
    }

    /// Returns when everything that was added is on disk. Facts that were not may be lost with the process: records count
    /// as read after this.
    pub fn sync(&self) -> Result<(), VaultError> {
        self.flush(1)
    }

    fn vault(&self) -> &S::Vault {
        self.shelf.vault()
    }

    fn add_all(&self, subjects: &[Token], facts: &KnownFacts) -> Result<(), VaultError> {
        if subjects.len() != facts.len() {
            return Err(VaultError::Uneven { what: "subjects and facts" });
        }
        let subjects = self.roots_of(subjects)?;
        let full = self.options.memory_bytes / 2;
        let mut rest = subjects.iter().zip(facts.iter()).peekable();
        loop {
            {
                let mut memory = self.write();
                while memory.active.used() < full || memory.active.is_empty() {
                    let Some((subject, fact)) = rest.next() else { return Ok(()) };
                    memory.active.add(*subject, &fact);
                }
            }
            if rest.peek().is_none() {
                return Ok(());
            }
            self.flush(full)?;
        }
    }

    fn roots_of(&self, subjects: &[Token]) -> Result<Vec<Token>, VaultError> {
        let mut roots = subjects.to_vec();
        self.vault().see_others()?;
        self.vault().to_roots(&mut roots);
        Ok(roots)
    }

    fn draws_all(&self, subjects: &[Token], out: &mut Vec<Option<NameDraw>>) -> Result<(), VaultError> {
        let roots = self.roots_of(subjects)?;
        let start = out.len();
        let epoch = self.vault().subject_keys().epoch();
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
        let mut found: HashMap<Token, NameDraw> = HashMap::new();
        for people in missing.chunks(AT_ONCE) {
            let wanted: Vec<(Token, u32)> = people.iter().copied().zip(0..).collect();
            let pieces = self.pieces(&wanted)?;
            for (token, number) in wanted {
                let pieces = pieces.of(number);
                if let Some(draw) = pieces.into_iter().flat_map(facts::each).find(|fact| facts::is_draw(fact)) {
                    let damaged = || self.shelf.damaged("a dossier holds what is no draw");
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
        let mut standing = Vec::new();
        let epoch = self.vault().subject_keys().refresh()?;
        self.draws_all(subjects, &mut standing)?;
        let mut roots = subjects.to_vec();
        self.vault().to_roots(&mut roots);
        let (mut new, mut numbers): (Vec<(Token, NameDraw)>, HashMap<Token, usize>) = <_>::default();
        for ((root, draw), standing) in roots.iter().zip(&mut *draws).zip(&standing) {
            match standing {
                Some(standing) => *draw = *standing,
                None => {
                    numbers.entry(*root).or_insert_with(|| {
                        new.push((*root, *draw));
                        new.len() - 1
                    });
                }
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        if let Some(decided) = self.shelf.decide(&new)? {
            new.iter_mut().zip(decided).for_each(|((_, draw), decided)| *draw = decided);
        } else {
            let mut memory = self.write();
            for (root, draw) in &new {
                memory.active.decide(*root, *draw);
            }
        }
        for (root, draw) in roots.iter().zip(draws) {
            if let Some((_, decided)) = numbers.get(root).and_then(|number| new.get(*number)) {
                *draw = *decided;
            }
        }
        self.remember(epoch, new.into_iter().collect());
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
        let roots = self.roots_of(subjects)?;
        roots.chunks(AT_ONCE).try_for_each(|people| self.known_of(people, out))
    }

    fn known_of(&self, subjects: &[Token], out: &mut Vec<KnownFacts>) -> Result<(), VaultError> {
        let mut people = subjects.to_vec();
        people.sort_unstable();
        people.dedup();
        let mut wanted = Vec::with_capacity(people.len());
        self.vault().members(&people, &mut |person, token| wanted.push((token, person)));
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
                read.ok_or_else(|| self.shelf.damaged("a dossier holds what is no fact"))?;
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
            let tombstone = self.vault().tombstone(token);
            if !self.vault().subject_keys().is_tombstone(&tombstone) {
                places.push((Key::from_bytes(tombstone), *number));
                standing.push((*token, *number));
            }
        }
        places.sort_unstable();
        // Memory first: what leaves it meanwhile is on the shelf, and read twice rather than not at all.
        let frozen = {
            let memory = self.read();
            pieces.take(&memory.active, u32::MAX, &standing);
            memory.frozen.clone()
        };
        if let Some(frozen) = frozen {
            pieces.take(&frozen, u32::MAX - 1, &standing);
        }
        self.shelf.find(&places, &mut pieces)?;
        pieces.sort();
        Ok(pieces)
    }

    /// Writes what is in memory, if that is `least` bytes or more.
    fn flush(&self, least: usize) -> Result<(), VaultError> {
        let _one = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // What could not be written the last time, and then the rest.
        loop {
            let (frozen, left) = {
                let mut memory = self.write();
                match memory.frozen.clone() {
                    Some(left) => (left, true),
                    None if memory.active.is_empty() || memory.active.used() < least => return Ok(()),
                    None => {
                        // Filled up once, it will be so again; at the end of a file it may not.
                        let next = Buffer::like((least > 1).then_some(&memory.active));
                        let frozen = Arc::new(std::mem::replace(&mut memory.active, next));
                        memory.frozen = Some(Arc::clone(&frozen));
                        (frozen, false)
                    }
                }
            };
            self.shelf.put(&frozen)?;
            self.write().frozen = None;
            if !left {
                return Ok(());
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Memory> {
        self.memory.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Shelf> Dossiers for Keeper<S> {
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
