//! Destroying one person: the keys of all that the vault knows of them.

use std::collections::{BTreeMap, HashSet};

use cordon_phi::Token;

use super::{TokenVault, check::walk, error::VaultError, frame::Position, link::Merge, log::Log};
use crate::{dossier::DossierStore, subject_keys::Tombstone};

/// What was destroyed, without naming anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shredded {
    /// Values with their tokens.
    pub entries: u64,
    /// The same by domain.
    pub domains: Vec<(String, u64)>,
    /// Pairs of tokens that were one person.
    pub merges: u64,
    pub dossiers: u64,
}

/// What stands in the log of people.
#[derive(Default)]
struct Found {
    slots: Vec<u64>,
    domains: BTreeMap<String, u64>,
}

impl TokenVault {
    /// Destroys the people of `tokens`: each entry, in all domains, and each merge and dossier of whoever these tokens, or tokens
    /// that are one with them, stand for. Afterwards a value of theirs counts as never seen, here and in every copy of
    /// vault and dossiers, whenever it was made, as long as the subject keys in use are these.
    ///
    /// The point of no return is one replacement of one file: killed before, nothing has happened; after, everything has. Reads
    /// the log from its beginning. Whoever calls it writes the audit entry first, and counts people whose identifiers were
    /// never linked by each of their tokens.
    pub fn shred(&self, tokens: &[Token], dossiers: Option<&DossierStore>) -> Result<Shredded, VaultError> {
        self.see_merges()?;
        let mut people = self.people(tokens);
        let end = self.exclusive(|writer| Ok(writer.position))?;
        let mut found = Found::default();
        self.find_in_log(&Log::NOWHERE, &end, &people, &mut found)?;
        self.exclusive(|writer| {
            // What has come since, and all of it if they turned out to be more people.
            let now = self.people(tokens);
            let from = if now == people { end } else { Log::NOWHERE };
            if now != people {
                found = Found::default();
                people = now;
            }
            self.find_in_log(&from, &writer.position, &people, &mut found)?;
            let entries = found.slots.len() as u64;
            let mut leaves = self.subjects.leaves();
            walk(&self.merges.log, &Log::NOWHERE, &writer.merged, |frame, _| {
                let theirs = Merge::all_in(frame, &mut leaves)
                    .filter(|(merge, _)| people.contains(&merge.token) || people.contains(&merge.root));
                found.slots.extend(theirs.map(|(_, slot)| slot));
                Ok(true)
            })?;
            drop(leaves);
            let merges = found.slots.len() as u64 - entries;
            let tombstones: Vec<Tombstone> = people.iter().map(|token| self.tombstone(token)).collect();
            let dossier_slots = dossiers.map_or(Ok(Vec::new()), |dossiers| dossiers.slots(&tombstones))?;
            found.slots.extend_from_slice(&dossier_slots);
            self.subjects.destroy(&found.slots, &tombstones)?;
            self.catch_up(writer)?;
            // What another process wrote of them while this one was looking.
            let late = dossiers.map_or(Ok(0), |dossiers| dossiers.sweep())?;
            if late > 0 {
                self.catch_up(writer)?;
            }
            let domains = std::mem::take(&mut found.domains).into_iter().collect();
            Ok(Shredded { entries, domains, merges, dossiers: dossier_slots.len() as u64 + late })
        })
    }

    /// What stays of a token when it is destroyed.
    pub(crate) fn tombstone(&self, token: &Token) -> Tombstone {
        self.tombs.tag128(&token.0)
    }

    /// These tokens and all that are one with them.
    fn people(&self, tokens: &[Token]) -> HashSet<Token> {
        let mut people = HashSet::new();
        self.members(tokens, |_, member| people.extend([member]));
        people
    }

    fn find_in_log(
        &self,
        from: &Position,
        end: &Position,
        people: &HashSet<Token>,
        found: &mut Found,
    ) -> Result<(), VaultError> {
        let mut leaves = self.subjects.leaves();
        walk(&self.log, from, end, |frame, _| {
            let before = found.slots.len();
            let theirs = frame.entries(&mut leaves).flatten().filter(|entry| people.contains(&entry.token));
            found.slots.extend(theirs.map(|entry| entry.slot));
            let count = (found.slots.len() - before) as u64;
            if count > 0 {
                *found.domains.entry(frame.domain().unwrap_or_default().to_owned()).or_default() += count;
            }
            Ok(true)
        })
    }
}
