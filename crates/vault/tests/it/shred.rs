//! One person destroyed: gone here, in every process and in every copy, and everybody else as before.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use cordon_phi::{
    Dossiers as _, Identifier, IdentifierKind, IdentityStore as _, KnownFacts, Token, TokenStore as _, Whose,
};
use cordon_vault::{DossierOptions, DossierStore, TokenVault, VaultError};

use crate::{keys, name, same, scratch, tiny, tokens, try_open, try_subjects};

const PATIENTS: u64 = 1_000;
/// One of those who were two people at first.
const GONE: u64 = 417;

/// A vault whose subject keys are not in its folder.
pub(crate) fn vault(home: &Path) -> Arc<TokenVault> {
    try_vault(home).unwrap_or_else(|error| panic!("{error}"))
}

fn try_vault(home: &Path) -> Result<Arc<TokenVault>, VaultError> {
    TokenVault::open(&home.join("vault"), keys(), try_subjects(home)?, tiny()).map(Arc::new)
}

pub(crate) fn dossiers(home: &Path, vault: &Arc<TokenVault>) -> DossierStore {
    let options = DossierOptions { memory_bytes: 64 << 10, fan_in: 2 };
    DossierStore::open(&home.join("dossiers"), Arc::clone(vault), options).unwrap_or_else(|error| panic!("{error}"))
}

fn mrn(n: u64) -> String {
    format!("mrn-{n:06}")
}

fn ssn(n: u64) -> String {
    format!("900-00-{n:04}")
}

pub(crate) fn town(n: u64) -> String {
    format!("Canarytown{n:05}")
}

/// Links each patient's numbers, in two steps for some, so that there are merges; and says where they live.
pub(crate) fn admit(vault: &TokenVault, dossiers: &DossierStore, patients: impl Iterator<Item = u64> + Clone) {
    for n in patients.clone() {
        let (mrn, ssn) = (mrn(n), ssn(n));
        let of = |namespace, value| Identifier { namespace, value };
        let (one, other) = (of("mrn", mrn.as_bytes()), of("ssn", ssn.as_bytes()));
        let mut out = Vec::new();
        if n.is_multiple_of(3) {
            vault.link(&[one], &[1], &mut out).unwrap();
            vault.link(&[other], &[1], &mut out).unwrap();
        }
        let (one, other) = (of("mrn", mrn.as_bytes()), of("ssn", ssn.as_bytes()));
        vault.link(&[one, other], &[2], &mut out).unwrap();
    }
    let (subjects, mut facts) = (people(vault, patients.clone()), KnownFacts::default());
    for n in patients {
        facts.push(IdentifierKind::City, Whose::Subject, &town(n));
    }
    dossiers.add(&subjects, &facts).unwrap();
    dossiers.sync().unwrap();
    vault.sync().unwrap();
}

pub(crate) fn people(vault: &TokenVault, patients: impl Iterator<Item = u64>) -> Vec<Token> {
    let values: Vec<String> = patients.map(mrn).collect();
    let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
    let mut out = Vec::new();
    vault.get_or_create("mrn", &values, &mut out).unwrap();
    out
}

pub(crate) fn towns(dossiers: &DossierStore, subjects: &[Token]) -> Vec<Option<String>> {
    let mut known = Vec::new();
    dossiers.known(subjects, &mut known).unwrap();
    known.iter().map(|facts| facts.iter().next().map(|fact| fact.text.to_owned())).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &to.join(file.file_name()));
        } else {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

fn copy_data(from: &Path, to: &Path) {
    for folder in ["vault", "dossiers"] {
        let _ = fs::remove_dir_all(to.join(folder));
        copy(&from.join(folder), &to.join(folder));
    }
}

fn others() -> impl Iterator<Item = u64> + Clone {
    (0..PATIENTS).filter(|n| *n != GONE)
}

/// What holds of the person who was destroyed, in whichever copy. `old` are the tokens from before.
fn is_gone(home: &Path, old: &[Token]) {
    let vault = vault(home);
    let dossiers = dossiers(home, &vault);
    let gone = old[GONE as usize];
    for domain in ["mrn", "ssn"] {
        assert!(vault.reveal(domain, &gone).unwrap().is_none());
    }
    assert!(towns(&dossiers, &[gone])[0].is_none());
    let report = vault.verify().unwrap();
    assert!(report.destroyed >= 2, "{}", report.destroyed);
    dossiers.verify().unwrap();

    let standing: Vec<Token> = others().map(|n| old[n as usize]).collect();
    same(&people(&vault, others()), &standing);
    let found = towns(&dossiers, &standing);
    assert!(others().zip(found).all(|(n, found)| found == Some(town(n))));
    let next = old[GONE as usize + 1];
    assert_eq!(vault.reveal("ssn", &next).unwrap().unwrap().expose_phi(), &ssn(GONE + 1));

    // The same person comes again, and is another.
    admit(&vault, &dossiers, GONE..=GONE);
    let again = people(&vault, GONE..=GONE)[0];
    assert!(!old.contains(&again));
    assert_eq!(vault.reveal("ssn", &again).unwrap().unwrap().expose_phi(), &ssn(GONE));
    assert_eq!(towns(&dossiers, &[again]), [Some(town(GONE))]);
    assert!(towns(&dossiers, &[gone])[0].is_none());
    assert!(vault.reveal("mrn", &gone).unwrap().is_none());
    vault.verify().unwrap();
}

#[test]
fn one_of_a_thousand_is_gone_here_and_in_an_old_copy() {
    let home = scratch();
    let home = home.path();
    let backup = scratch();
    let vault_here = vault(home);
    let dossiers_here = dossiers(home, &vault_here);
    admit(&vault_here, &dossiers_here, 0..PATIENTS);
    let old = people(&vault_here, 0..PATIENTS);
    copy_data(home, backup.path());
    // A night's work later.
    tokens(&vault_here, "visit", 0..3_000);

    let done = vault_here.shred(&[old[GONE as usize]], Some(&dossiers_here)).unwrap();
    assert_eq!((done.entries, done.dossiers, done.merges), (2, 1, 1));
    assert_eq!(done.domains, [("mrn".to_owned(), 1), ("ssn".to_owned(), 1)]);
    let again = vault_here.shred(&[old[GONE as usize]], Some(&dossiers_here)).unwrap();
    assert_eq!((again.entries, again.dossiers), (0, 0));
    drop((dossiers_here, vault_here));

    is_gone(home, &old);
    // The old copy, with the keys of today.
    copy_data(backup.path(), home);
    is_gone(home, &old);
    // With the keys of the day of the copy it would not be opened, once anything newer was.
    assert!(try_vault(home).is_ok());
}

#[test]
fn whoever_was_merged_goes_as_a_whole() {
    let home = scratch();
    let vault = vault(home.path());
    let dossiers = dossiers(home.path(), &vault);
    let of = |namespace, value: &'static str| Identifier { namespace, value: value.as_bytes() };
    let mut out = Vec::new();
    for group in [[of("mrn", "A1")], [of("mrn", "A2")], [of("ssn", "A3")], [of("mrn", "B1")]] {
        vault.link(&group, &[1], &mut out).unwrap();
    }
    let first: Vec<Token> = out.iter().map(|token| token.unwrap()).collect();
    let mut facts = KnownFacts::default();
    for fact in ["A-one", "A-two", "A-three", "B"] {
        facts.push(IdentifierKind::City, Whose::Subject, fact);
    }
    dossiers.add(&first, &facts).unwrap();
    dossiers.sync().unwrap();
    vault.link(&[of("mrn", "A1"), of("mrn", "A2"), of("mrn", "A2"), of("ssn", "A3")], &[2, 4], &mut out).unwrap();
    let mut roots = first.clone();
    vault.roots(&mut roots).unwrap();
    assert!(roots[0] == roots[1] && roots[1] == roots[2] && roots[3] == first[3]);
    // Not on disk yet, and known to nobody else.
    let mut facts = KnownFacts::default();
    facts.push(IdentifierKind::City, Whose::Subject, "A-late");
    dossiers.add(&roots[..1], &facts).unwrap();

    let done = vault.shred(&first[1..2], Some(&dossiers)).unwrap();
    assert_eq!((done.entries, done.merges, done.dossiers), (3, 2, 3));
    dossiers.sync().unwrap();
    let found = towns(&dossiers, &first);
    assert_eq!(found, [None, None, None, Some("B".to_owned())]);
    let mut now = first.clone();
    vault.roots(&mut now).unwrap();
    same(&now, &first);
    for token in &first[..3] {
        assert!(vault.reveal("mrn", token).unwrap().is_none() && vault.reveal("ssn", token).unwrap().is_none());
    }
    let mut again = Vec::new();
    vault.link(&[of("mrn", "A1"), of("ssn", "A3")], &[1, 2], &mut again).unwrap();
    assert!(again[0] != again[1] && again.iter().all(|token| !first.contains(&token.unwrap())));
    vault.verify().unwrap();
}

#[test]
fn another_process_notices() {
    let home = scratch();
    let (here, there) = (vault(home.path()), vault(home.path()));
    let (dossiers_here, dossiers_there) = (dossiers(home.path(), &here), dossiers(home.path(), &there));
    admit(&here, &dossiers_here, 0..50);
    let old = people(&there, 0..50);
    assert_eq!(towns(&dossiers_there, &old)[7], Some(town(7)));
    let mut facts = KnownFacts::default();
    facts.push(IdentifierKind::City, Whose::Subject, "Written too late");
    dossiers_there.add(&old[7..8], &facts).unwrap();

    here.shred(&[old[7]], Some(&dossiers_here)).unwrap();
    // It still had the token in its hands.
    dossiers_there.sync().unwrap();
    assert!(towns(&dossiers_there, &old)[7].is_none() && towns(&dossiers_here, &old)[7].is_none());
    let now = people(&there, 0..50);
    assert!(now[7] != old[7] && !old.contains(&now[7]));
    same(&people(&here, 0..50), &now);
    same(&now[8..], &old[8..]);
    assert!(there.reveal("ssn", &old[7]).unwrap().is_none());
    here.verify().unwrap();
    there.verify().unwrap();
}

#[test]
fn a_stolen_folder_tells_no_value_no_equality_and_no_length() {
    let home = scratch();
    let mut sizes = BTreeMap::new();
    for length in [1, 11, 12] {
        let home = home.path().join(length.to_string());
        let vault = vault(&home);
        let value = "x".repeat(length);
        for domain in ["project-a", "project-b"] {
            vault.get_or_create(domain, &[value.as_bytes()], &mut Vec::new()).unwrap();
        }
        vault.sync().unwrap();
        sizes.entry(fs::metadata(home.join("vault/log-00000001")).unwrap().len()).or_insert(length);
    }
    assert_eq!(sizes.len(), 1, "the sizes of files tell lengths");

    let vault = vault(home.path());
    for domain in ["project-a", "project-b"] {
        tokens(&vault, domain, 0..2_000);
    }
    let a = tokens(&vault, "project-a", 0..2_000);
    let b = tokens(&vault, "project-b", 0..2_000);
    assert!(a.iter().all(|token| !b.contains(token)));
    vault.sync().unwrap();
    drop(vault);
    let mut seen = std::collections::HashSet::new();
    for file in fs::read_dir(home.path().join("vault")).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        assert!((0..20).all(|n| memchr::memmem::find(&bytes, name(n).as_bytes()).is_none()));
        assert!(memchr::memmem::find(&bytes, b"project-").is_none());
        assert!(a.iter().chain(&b).all(|token| memchr::memmem::find(&bytes, &token.0).is_none()));
    }
    // Blind index and masked token of each entry of the index: none stands twice, in whichever domain.
    let runs = crate::files(&home.path().join("vault"), "run-");
    assert!(!runs.is_empty());
    for run in runs {
        let bytes = fs::read(run).unwrap();
        for entry in bytes.chunks_exact(45).take(500) {
            assert!(seen.insert(entry[..16].to_vec()) && seen.insert(entry[16..32].to_vec()));
        }
    }
}

#[test]
fn older_subject_keys_are_refused_with_their_remedy() {
    let home = scratch();
    let here = vault(home.path());
    let dossiers = dossiers(home.path(), &here);
    admit(&here, &dossiers, 0..5);
    let old = fs::read(home.path().join("subject-keys")).unwrap();
    here.shred(&people(&here, 2..3), Some(&dossiers)).unwrap();
    drop((dossiers, here));
    fs::write(home.path().join("subject-keys"), old).unwrap();
    let error = try_vault(home.path()).err().unwrap();
    assert!(matches!(error, VaultError::OldSubjectKeys { .. }), "{error}");
    assert!(error.to_string().contains("restore the newest copy of that file"));
    fs::remove_file(home.path().join("subject-keys")).unwrap();
    let error = try_vault(home.path()).err().unwrap();
    assert!(matches!(error, VaultError::OtherSubjectKeys { .. }), "{error}");
}

#[test]
fn an_index_that_is_written_again_is_without_the_person() {
    let dir = scratch();
    let vault = crate::open(dir.path());
    let old: Vec<Token> = (0..10).flat_map(|part| tokens(&vault, "mrn", part * 300..(part + 1) * 300)).collect();
    vault.shred(&old[100..110], None).unwrap();
    drop(vault);
    for run in crate::files(dir.path(), "run-") {
        fs::write(run, b"gone").unwrap();
    }
    let vault = try_open(dir.path()).unwrap();
    let now = tokens(&vault, "mrn", 0..3_000);
    same(&now[..100], &old[..100]);
    same(&now[110..], &old[110..]);
    assert!(now[100..110].iter().all(|token| !old.contains(token)));
    assert!(vault.stats().unwrap().rebuilt_runs > 0);
    let more = tokens(&vault, "visit", 0..5_000);
    assert_eq!(more.len(), 5_000);
    let report = vault.verify().unwrap();
    assert_eq!((report.tokens, report.destroyed), (8_000, 10));
}
