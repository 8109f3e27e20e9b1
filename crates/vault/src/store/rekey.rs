//! New keys for a vault in a folder, and for the dossiers beside it.
//!
//! All of both is written once more beside the old, under the new keys, and then one file says that the new is in use ([`generation`]).
//! Killed before, the old is what it was and the next change of keys begins again; killed after, the new is whole.
//!
//! - Frames keep their places, lengths and numbers, and what stands in them under the keys of slots stays byte for byte: those keys are not
//!   the vault's, and no part of their streams may mask two things. So places of origin, which say whose token is older, stay true.
//! - Blind indexes are made anew from the values. Of what was destroyed there is no value any more: noise takes its place.
//! - The index is written again from the log, as after damage.
//! - Dossiers stand at keyed hashes of tokens, and move to those of the new key. They do not say of which token they are; the vault knows all
//!   tokens there are.
//!
//! Who has the vault open with the old keys is refused with the next batch, before anything is looked up and, under the lock, before
//! anything is written: under the old index a value would get a second token.

use std::{collections::HashMap, path::Path, sync::Arc};

use cordon_crypto::KeyedHash;
use cordon_phi::Token;

use super::{
    TokenVault, VaultKeys,
    check::walk,
    error::VaultError,
    frame::{Frame, Plain, Position},
    generation,
    link::Merge,
    log::Log,
    manifest::{Ancestor, Keys, Manifest},
    writer::{self, Writer},
};
use crate::dossier::DossierStore;

/// How far a change of keys is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RekeyStep {
    /// Entries of the vault.
    Values {
        done: u64,
        of: u64,
    },
    /// The index is written.
    Index,
    Dossiers {
        done: u64,
        of: u64,
    },
    /// All is written and on disk.
    Switching,
    /// The new keys are in use; what was under the old ones is still there.
    Switched,
    Removed,
}

/// What a change of keys came to, without naming anybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rekeyed {
    /// Values with their tokens.
    pub values: u64,
    /// Entries whose keys were destroyed: what was left of them is gone.
    pub destroyed: u64,
    pub merges: u64,
    pub dossiers: u64,
    /// Dossiers under tokens that the vault does not know: nobody could have asked for them. They are left out.
    pub unknown: u64,
}

impl TokenVault {
    /// Puts the vault, and the dossiers beside it, under other keys. Tokens stay what they are. Afterwards this handle, and every other that
    /// has the vault or the dossiers open, is refused with [`VaultError::Rekeyed`]. `dossiers` must be given where there are any: without
    /// them they would be another vault's.
    ///
    /// Memory stays flat. The disk needs room for all of it once more.
    pub fn rekey(
        &self,
        dossiers: Option<&DossierStore>,
        new: &VaultKeys,
        tell: &mut dyn FnMut(RekeyStep),
    ) -> Result<Rekeyed, VaultError> {
        if let Some(dossiers) = dossiers {
            dossiers.sync()?;
            // Afterwards nobody knows any more what stands at the places of people who were destroyed.
            dossiers.sweep()?;
        }
        self.see_merges()?;
        self.exclusive(|writer| {
            let keys = Keys::bind(new, &writer.manifest.vault);
            if keys.are_those_of(&self.dir)? {
                return Err(VaultError::SameKeys { place: self.top.display().to_string() });
            }
            let number = self.number + 1;
            let begun = || [Some(self.top.as_path()), dossiers.map(DossierStore::top)].into_iter().flatten();
            let staged = begun().try_for_each(|top| generation::begin(top, number).map(drop)).and_then(|()| {
                let mut done = self.stage(writer, new, &keys, number, tell)?;
                if let Some(dossiers) = dossiers {
                    self.stage_dossiers(dossiers, writer, &keys, number, &mut done, tell)?;
                }
                tell(RekeyStep::Switching);
                generation::switch(&self.top, number)?;
                Ok(done)
            });
            let done = staged.inspect_err(|_| {
                // Unless it is in use after all.
                if generation::current(&self.top).is_ok_and(|now| now == self.number) {
                    begun().for_each(|top| drop(generation::discard(&generation::folder(top, number))));
                }
            })?;
            tell(RekeyStep::Switched);
            begun().try_for_each(|top| generation::remove_before(top, number))?;
            tell(RekeyStep::Removed);
            Ok(done)
        })
    }

    /// Whether this handle's keys are the vault's: nobody has changed them since it was opened.
    pub(crate) fn must_be_current(&self) -> Result<(), VaultError> {
        if generation::current(&self.top)? == self.number {
            return Ok(());
        }
        Err(VaultError::Rekeyed { place: self.top.display().to_string() })
    }

    fn stage(
        &self,
        writer: &Writer,
        new: &VaultKeys,
        keys: &Keys,
        number: u32,
        tell: &mut dyn FnMut(RekeyStep),
    ) -> Result<Rekeyed, VaultError> {
        let folder = generation::folder(&self.top, number);
        let mut manifest = writer.manifest.clone();
        let mut done = Rekeyed { merges: self.merges.count(), ..Rekeyed::default() };
        let of = writer.domains.values().sum();
        let mut leaves = self.subjects.leaves();
        let mut hashes: HashMap<String, KeyedHash> = HashMap::new();
        let log = Log::new(&folder, manifest.vault, keys.values.clone());
        tell(RekeyStep::Values { done: 0, of });
        manifest.synced = reseal(&self.log, &log, &writer.position, |frame| {
            let domain = frame.domain()?;
            if !hashes.contains_key(domain) {
                hashes.insert(domain.to_owned(), keys.blind.derive(domain));
            }
            let (plain, live) = frame.under(hashes.get(domain), &mut leaves)?;
            done.values += live;
            done.destroyed += frame.count as u64 - live;
            tell(RekeyStep::Values { done: done.values + done.destroyed, of });
            Some(plain)
        })?;
        let merges = Log::of_merges(&folder, manifest.vault, &keys.values);
        manifest.merged =
            reseal(&self.merges.log, &merges, &writer.merged, |frame| Some(frame.under(None, &mut leaves)?.0))?;
        drop(leaves);
        manifest.ancestors.push(Ancestor { end: writer.position, merged: writer.merged });
        (manifest.epoch, manifest.floor) = (writer.epoch, writer.floor);
        (manifest.next_run, manifest.closed, manifest.runs) = (1, Vec::new(), Vec::new());
        manifest.store(&folder, keys)?;
        tell(RekeyStep::Index);
        self.index(&folder, new, writer)?;
        generation::sync_all(&folder)?;
        Ok(done)
    }

    /// Reads what was written as any process will, and writes its index.
    fn index(&self, folder: &Path, new: &VaultKeys, writer: &Writer) -> Result<(), VaultError> {
        let vault = writer::open(folder, new, Arc::clone(&self.subjects), self.options.clone())?;
        let same = vault.exclusive(|staged| {
            vault.flush(staged)?;
            Ok(staged.domains == writer.domains && vault.merges.count() == self.merges.count())
        })?;
        if !same {
            return Err(VaultError::damaged(folder, 0, "it does not hold what was written"));
        }
        let lock = folder.join("lock");
        std::fs::remove_file(&lock).map_err(VaultError::io("remove", &lock))
    }

    fn stage_dossiers(
        &self,
        dossiers: &DossierStore,
        writer: &Writer,
        keys: &Keys,
        number: u32,
        done: &mut Rekeyed,
        tell: &mut dyn FnMut(RekeyStep),
    ) -> Result<(), VaultError> {
        let of_people = keys.people();
        let (moved, unknown) = dossiers.rekey(
            number,
            &keys.values.derive("dossiers v1"),
            &|token| of_people.tag128(&token.0),
            &|each| self.each_token([&writer.position, &writer.merged], each),
            tell,
        )?;
        (done.dossiers, done.unknown) = (moved, unknown);
        generation::sync_all(&generation::folder(dossiers.top(), number))
    }

    /// Every token that anything may stand under, some more than once. For who holds the lock.
    fn each_token(&self, [end, merged]: [&Position; 2], each: &mut dyn FnMut(&Token)) -> Result<(), VaultError> {
        let mut leaves = self.subjects.leaves();
        walk(&self.log, &Log::NOWHERE, end, |frame, _| {
            frame.entries(&mut leaves).flatten().for_each(|entry| each(&entry.token));
            Ok(true)
        })?;
        walk(&self.merges.log, &Log::NOWHERE, merged, |frame, _| {
            for (merge, _) in Merge::all_in(frame, &mut leaves) {
                each(&merge.token);
                each(&merge.root);
            }
            Ok(true)
        })
    }
}

/// Writes a log once more, frame by frame at the same places, and puts it on disk. Gives where it ends.
fn reseal(
    old: &Log,
    new: &Log,
    end: &Position,
    mut each: impl FnMut(&Frame) -> Option<Plain>,
) -> Result<Position, VaultError> {
    let mut at = new.create(&Log::NOWHERE)?;
    let next = |at: &Position| {
        new.segment(at.segment)?.sync()?;
        new.create(at)
    };
    let elsewhere =
        |at: &Position| VaultError::damaged(&old.path(at.segment), at.offset.into(), "a frame has another length");
    walk(old, &Log::NOWHERE, end, |frame, from| {
        while at.segment < from.segment {
            at = next(&at)?;
        }
        if at.place() != from.place() || at.sequence != from.sequence {
            return Err(elsewhere(from));
        }
        let what = "an entry is not under the key of its slot";
        let plain =
            each(frame).ok_or_else(|| VaultError::damaged(&old.path(from.segment), from.offset.into(), what))?;
        new.append(&mut at, &plain)?;
        Ok(true)
    })?;
    while at.segment < end.segment {
        at = next(&at)?;
    }
    if at.place() != end.place() || at.sequence != end.sequence {
        return Err(elsewhere(end));
    }
    new.segment(at.segment)?.sync()?;
    Ok(at)
}

/// Of several versions of the keys those that the vault in `top` is under.
pub(super) fn known<'a>(
    top: &Path,
    versions: &'a [(u32, VaultKeys)],
) -> Result<Option<&'a (u32, VaultKeys)>, VaultError> {
    let dir = generation::folder(top, generation::current(top)?);
    let id = Manifest::vault_id(&dir)?;
    for version in versions {
        if Keys::bind(&version.1, &id).are_those_of(&dir)? {
            return Ok(Some(version));
        }
    }
    Ok(None)
}
