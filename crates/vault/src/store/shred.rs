//! Destroying one person: the keys of all that the vault knows of them.

use std::collections::{BTreeMap, HashSet};

use cordon_phi::Token;

use super::{TokenVault, check::walk, error::VaultError, frame::Position, link::Merge, log::Log};
use crate::{
    dossier::DossierStore,
    recipient::{Given, own_of, recipient_of},
    subject_keys::Tombstone,
};

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
    /// Their tokens that recipients were given.
    given: HashSet<Token>,
}

impl TokenVault {
    /// Destroys the people of `tokens`: each entry, in all domains, and each merge and dossier of whoever these tokens, or tokens
    /// that are one with them or were made of them for a recipient, stand for. Afterwards a value of theirs counts as never seen, here and in every copy of
    /// vault and dossiers, whenever it was made, as long as the subject keys in use are these.
    ///
    /// The point of no return is one replacement of one file: killed before, nothing has happened; after, everything has. Reads
    /// the log from its beginning. Whoever calls it writes the audit entry first, and counts people whose identifiers were
    /// never linked by each of their tokens.
    pub fn shred(&self, tokens: &[Token], dossiers: Option<&DossierStore>) -> Result<Shredded, VaultError> {
        self.see_merges()?;
        let tokens = &own_of(self, tokens)?;
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
            let tombstones: Vec<Tombstone> =
                people.iter().chain(&found.given).map(|token| self.tombstone(token)).collect();
            let dossier_slots = dossiers.map_or(Ok(Vec::new()), |dossiers| dossiers.slots(&tombstones))?;
            found.slots.extend_from_slice(&dossier_slots);
            self.subjects.destroy(&found.slots, &tombstones)?;
            self.catch_up(writer)?;
            // What another process wrote of them while this one was looking.
            let late = dossiers.map_or(Ok(0), DossierStore::sweep)?;
            if late > 0 {
                self.catch_up(writer)?;
            }
            self.note_epoch(writer)?;
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
            let domain = frame.domain().unwrap_or_default();
            if recipient_of(domain).is_some() {
                for (entry, value) in frame.with_values(&mut leaves).flatten() {
                    if Given::of(domain, entry.token, &value).is_some_and(|given| people.contains(&given.own)) {
                        found.slots.push(entry.slot);
                        found.given.insert(entry.token);
                    }
                }
            } else {
                let theirs = frame.entries(&mut leaves).flatten().filter(|entry| people.contains(&entry.token));
                found.slots.extend(theirs.map(|entry| entry.slot));
            }
            let count = (found.slots.len() - before) as u64;
            if count > 0 {
                *found.domains.entry(domain.to_owned()).or_default() += count;
            }
            Ok(true)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::{fs, path::Path, sync::Arc};

    use cordon_crypto::{BlindIndexKey, SubjectSealKey, VaultKey};
    use cordon_phi::{
        Dossiers as _, Identifier, IdentifierKind, IdentityStore as _, KnownFacts, NameDraw, TokenStore as _, Whose,
    };
    use memchr::memmem;

    use super::*;
    use crate::{DossierOptions, SubjectKeys, VaultKeys, VaultOptions, store::read};

    fn open(dir: &Path, subjects: &Arc<SubjectKeys>) -> (Arc<TokenVault>, DossierStore) {
        let keys = VaultKeys { blind: BlindIndexKey::from_bytes([1; 32]), values: VaultKey::from_bytes([2; 32]) };
        let options = VaultOptions { memory_entries: 40, cache_entries: 40, segment_bytes: 4 << 10, fan_in: 2 };
        let vault = Arc::new(TokenVault::open(&dir.join("vault"), keys, Arc::clone(subjects), options).unwrap());
        let dossiers = DossierStore::open(&dir.join("dossiers"), Arc::clone(&vault), DossierOptions::default());
        (vault, dossiers.unwrap())
    }

    /// All that the keys of the vault and the keys in `subjects` open: frames, merges, runs and dossiers, as they stand below
    /// their seals and as they are without their masks.
    fn everything(vault: &TokenVault, dossiers: &DossierStore) -> Vec<Vec<u8>> {
        let mut opened = dossiers.everything();
        let mut leaves = vault.subjects.leaves();
        let (end, merged) = vault.exclusive(|writer| Ok((writer.position, writer.merged))).unwrap();
        for (log, end) in [(&vault.log, end), (&vault.merges.log, merged)] {
            walk(log, &Log::NOWHERE, &end, |frame, _| {
                opened.push(frame.below_the_seal().to_vec());
                for (entry, value) in frame.with_values(&mut leaves).flatten() {
                    opened.extend([entry.token.0.to_vec(), value.to_vec()]);
                }
                Ok(true)
            })
            .unwrap();
        }
        for run in read(&vault.runs).iter() {
            opened.push(fs::read(&run.path).unwrap());
            let mut scan = run.scan();
            while let Some(stored) = scan.next().unwrap_or_default() {
                opened.extend(stored.open(&mut leaves).map(|entry| entry.token.0.to_vec()));
            }
        }
        opened
    }

    #[test]
    fn with_all_other_keys_in_hand_nothing_of_the_person_is_found() {
        let home = tempfile::tempdir().unwrap();
        let (here, copy) = (home.path().join("here"), home.path().join("copy"));
        let key = SubjectSealKey::generate();
        let subjects = Arc::new(SubjectKeys::create(&home.path().join("subject-keys"), &key).unwrap());
        let (vault, dossiers) = open(&here, &subjects);
        let names = |n: usize| [format!("mrn-{n:06}"), format!("900-00-{n:04}"), format!("Canarytown{n:04}")];
        let mut tokens = Vec::new();
        let mut facts = KnownFacts::default();
        for n in 0..60 {
            let [mrn, ssn, town] = names(n);
            let of = |namespace, value| Identifier { namespace, value };
            let (mrn, ssn) = (of("mrn", mrn.as_bytes()), of("ssn", ssn.as_bytes()));
            let mut out = Vec::new();
            vault.link(&[mrn, ssn], &[1, 2], &mut out).unwrap();
            vault.link(&[mrn, ssn], &[2], &mut out).unwrap();
            tokens.push(out[2].unwrap());
            facts.push(IdentifierKind::City, Whose::Subject, &town);
        }
        dossiers.add(&tokens, &facts).unwrap();
        let own: Vec<&[u8]> = tokens.iter().map(|token| token.0.as_slice()).collect();
        let given = ["recipient:a", "recipient:b"].map(|domain| {
            let mut given = Vec::new();
            vault.get_or_create(domain, &own, &mut given).unwrap();
            given
        });
        // How a recipient's made-up names are drawn stands under its tokens.
        let mut draws = vec![NameDraw { given_skips: 3, ..NameDraw::default() }; given[0].len()];
        dossiers.decide(&given[0], &mut draws).unwrap();
        dossiers.sync().unwrap();
        vault.sync().unwrap();
        for folder in ["vault", "dossiers"] {
            fs::create_dir_all(copy.join(folder)).unwrap();
            for file in fs::read_dir(here.join(folder)).unwrap() {
                let file = file.unwrap();
                fs::copy(file.path(), copy.join(folder).join(file.file_name())).unwrap();
            }
        }
        // By the token that one of the recipients has.
        let done = vault.shred(&given[1][9..10], Some(&dossiers)).unwrap();
        assert_eq!((done.entries, done.merges, done.dossiers), (4, 1, 2));
        let by_domain = ["mrn", "recipient:a", "recipient:b", "ssn"].map(|domain| (domain.to_owned(), 1));
        assert_eq!(done.domains, by_domain);
        drop((vault, dossiers, subjects));
        let subjects = Arc::new(SubjectKeys::open(&home.path().join("subject-keys"), &key).unwrap());
        for dir in [here, copy] {
            let (vault, dossiers) = open(&dir, &subjects);
            let opened = everything(&vault, &dossiers);
            let holds = |bytes: &[u8]| opened.iter().any(|part| memmem::find(part, bytes).is_some());
            for n in [8, 10] {
                assert!(names(n).iter().all(|name| holds(name.as_bytes())), "the attack finds what is there");
                assert!(holds(&tokens[n].0) && given.iter().all(|given| holds(&given[n].0)));
            }
            assert!(!names(9).iter().any(|name| holds(name.as_bytes())));
            assert!(!holds(&tokens[9].0) && !given.iter().any(|given| holds(&given[9].0)));
        }
    }
}
