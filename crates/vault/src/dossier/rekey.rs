//! Dossiers under other keys, and at the places that these give them, for [`crate::TokenVault::rekey`].
//!
//! A place does not say of which token it is. So some hundred thousand of them at a time, in their order, are held against all tokens
//! that the vault knows; pieces and slots stay, each piece with a new nonce.

use cordon_crypto::KeyedHash;
use cordon_phi::Token;
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    DossierStore, facts,
    folder::Folder,
    run::{self, Run, RunWriter},
};
use crate::{
    store::{RekeyStep, error::VaultError, generation, table::Key},
    subject_keys::{LeafReader, Tombstone},
};

/// People whose tokens are looked for together.
const AT_ONCE: usize = 1 << 20;
/// What is sorted by new places in memory.
const MOST_BYTES: usize = 32 << 20;

/// Gives all tokens that there are.
type EachToken<'a> = &'a dyn Fn(&mut dyn FnMut(&Token)) -> Result<(), VaultError>;
/// The place of a token.
type PlaceOf<'a> = &'a dyn Fn(&Token) -> Tombstone;

impl DossierStore {
    pub(crate) fn top(&self) -> &std::path::Path {
        &self.shelf.top
    }

    /// Writes all dossiers to the folder of that number. Gives how many there are, and how many stand under no token of the vault, which are
    /// left out. For who holds the vault's lock: nobody opens a store of dossiers meanwhile, and who has one open is refused once he
    /// gets this one's.
    pub(crate) fn rekey(
        &self,
        number: u32,
        keys: &KeyedHash,
        place_of: PlaceOf<'_>,
        tokens: EachToken<'_>,
        tell: &mut dyn FnMut(RekeyStep),
    ) -> Result<(u64, u64), VaultError> {
        let old = &self.shelf;
        let _one = old.writer();
        let _held = old.hold()?;
        let mut manifest = old.refresh()?;
        let runs: Vec<_> = old.read().runs.to_vec();
        let dir = generation::folder(&old.top, number);
        let (mut moved, mut unknown) = (0, 0);
        if !runs.is_empty() {
            // In one row first, each person once, without those who were destroyed.
            let parts: Vec<&Run> = runs.iter().map(|run| &**run).collect();
            let all = run::merge(&dir, &old.keys, manifest.next_run, &parts, &old.vault.subjects)?;
            let mut out = Out { dir: &dir, keys, next: manifest.next_run + 1, runs: Vec::new() };
            (moved, unknown) = old.move_all(&all, &mut out, place_of, tokens, tell)?;
            std::fs::remove_file(&all.path).map_err(VaultError::io("remove", &all.path))?;
            manifest.runs.clear();
            manifest.runs.extend(out.finish(old)?.map(|run| run.meta));
            manifest.next_run = manifest.runs.last().map_or(1, |run| run.id + 1);
        }
        manifest.store(&dir, keys)?;
        Ok((moved, unknown))
    }
}

impl Folder {
    fn move_all(
        &self,
        all: &Run,
        out: &mut Out<'_>,
        place_of: PlaceOf<'_>,
        tokens: EachToken<'_>,
        tell: &mut dyn FnMut(RekeyStep),
    ) -> Result<(u64, u64), VaultError> {
        let subjects = &self.vault.subjects;
        let (mut leaves, mut piece) = (subjects.leaves(), Zeroizing::new(Vec::new()));
        let (mut ahead, mut behind) = (all.scan(), all.scan());
        let (mut moved, mut unknown) = (0, 0);
        let mut places: Vec<Key> = Vec::new();
        let mut sorted = Sorted::new();
        loop {
            tell(RekeyStep::Dossiers { done: moved + unknown, of: all.meta.people });
            places.clear();
            while places.len() < AT_ONCE
                && let Some(at) = ahead.next(&mut piece, &mut leaves)?
            {
                places.push(at.place);
            }
            let (Some(first), Some(last)) = (places.first().copied(), places.last().copied()) else { break };
            let mut now: Vec<Option<Key>> = vec![None; places.len()];
            tokens(&mut |token| {
                let place = Key::from_bytes(self.vault.tombstone(token));
                if place < first || place > last {
                    return;
                }
                let number = places.binary_search(&place).ok();
                if let Some(now) = number.and_then(|number| now.get_mut(number))
                    && now.is_none()
                {
                    *now = Some(Key::from_bytes(place_of(token)));
                }
            })?;
            for now in &now {
                let Some(at) = behind.next(&mut piece, &mut leaves)? else { break };
                match now {
                    Some(place) if at.live => {
                        sorted.push(*place, at.slot, &piece);
                        moved += 1;
                    }
                    _ => unknown += 1,
                }
                if sorted.bytes.len() > MOST_BYTES {
                    out.write(&mut sorted, &mut leaves)?;
                }
            }
        }
        out.write(&mut sorted, &mut leaves)?;
        Ok((moved, unknown))
    }
}

/// Dossiers that wait to be put in order.
struct Sorted {
    /// Place, slot, and where its bytes begin and end.
    people: Vec<(Key, u64, usize, usize)>,
    bytes: Zeroizing<Vec<u8>>,
}

impl Sorted {
    /// With room for all, so that no growing vector leaves a copy behind.
    fn new() -> Self {
        Self { people: Vec::new(), bytes: Zeroizing::new(Vec::with_capacity(MOST_BYTES + 2 * facts::MOST_BYTES)) }
    }

    fn push(&mut self, place: Key, slot: u64, piece: &[u8]) {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(piece);
        self.people.push((place, slot, from, self.bytes.len()));
    }
}

/// Runs under the new keys.
struct Out<'a> {
    dir: &'a std::path::Path,
    keys: &'a KeyedHash,
    next: u64,
    runs: Vec<Run>,
}

impl Out<'_> {
    fn write(&mut self, sorted: &mut Sorted, leaves: &mut LeafReader<'_>) -> Result<(), VaultError> {
        if sorted.people.is_empty() {
            return Ok(());
        }
        sorted.people.sort_unstable();
        let mut writer = RunWriter::create(self.dir, self.keys, self.next, sorted.people.len() as u64)?;
        for (place, slot, from, to) in &sorted.people {
            writer.push(*place, *slot, &[sorted.bytes.get(*from..*to).unwrap_or_default()], leaves)?;
        }
        self.runs.push(writer.finish()?);
        self.next += 1;
        sorted.people.clear();
        sorted.bytes.zeroize();
        Ok(())
    }

    /// As one run.
    fn finish(mut self, of: &Folder) -> Result<Option<Run>, VaultError> {
        if self.runs.len() > 1 {
            let parts: Vec<&Run> = self.runs.iter().collect();
            let one = run::merge(self.dir, self.keys, self.next, &parts, &of.vault.subjects)?;
            for part in std::mem::replace(&mut self.runs, vec![one]) {
                std::fs::remove_file(&part.path).map_err(VaultError::io("remove", &part.path))?;
            }
        }
        Ok(self.runs.pop())
    }
}
