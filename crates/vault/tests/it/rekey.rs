//! New keys for a vault in a folder: every token as before, the old keys good for nothing, whatever happens meanwhile.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cordon_crypto::{BlindIndexKey, VaultKey};
use cordon_phi::{
    Dossiers, Identifier, IdentifierKind, KnownFacts, NameDraw, Token, TokenError, TokenStore as _, Whose,
};
use cordon_vault::{
    DossierKeeper, DossierOptions, DossierStore, RekeyStep, Rekeyed, TokenVault, Vault, VaultError, VaultKeys,
    VaultOptions,
    recipient::{RecipientDossiers, RecipientTokens},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    disk::{Mounted, mount},
    files,
    link::{cpu_seconds, peak_megabytes},
    name, scratch, tiny, try_subjects,
};

pub(crate) const PEOPLE: u64 = 10_000;
/// They had two tokens each, and turned out to be one.
const MERGED: u64 = 200;
const GIVEN: u64 = 800;
const TOLD: u64 = 500;
const DRAWN: u64 = 150;
/// Destroyed before the keys are changed.
pub(crate) const GONE: u64 = 137;

pub(crate) fn keys_of(number: u8) -> VaultKeys {
    VaultKeys {
        blind: BlindIndexKey::from_bytes([2 * number + 1; 32]),
        values: VaultKey::from_bytes([2 * number + 2; 32]),
    }
}

pub(crate) fn versions(numbers: std::ops::RangeInclusive<u8>) -> Vec<(u32, VaultKeys)> {
    numbers.map(|number| (u32::from(number) + 1, keys_of(number))).collect()
}

/// The vault under whichever of the keys, with the dossiers beside it.
fn open_with(home: &Path, numbers: std::ops::RangeInclusive<u8>) -> (Arc<TokenVault>, Arc<DossierStore>, u32) {
    if !home.join("vault").exists() {
        TokenVault::open(&home.join("vault"), keys_of(*numbers.start()), try_subjects(home).unwrap(), tiny()).unwrap();
    }
    let (vault, version) = try_open(home, numbers).unwrap_or_else(|error| panic!("{error}"));
    let dossiers = dossiers(home, &vault).unwrap_or_else(|error| panic!("{error}"));
    (vault, Arc::new(dossiers), version)
}

fn try_open(home: &Path, numbers: std::ops::RangeInclusive<u8>) -> Result<(Arc<TokenVault>, u32), VaultError> {
    let (vault, version) =
        TokenVault::open_with(&home.join("vault"), &versions(numbers), &try_subjects(home)?, &tiny())?;
    Ok((Arc::new(vault), version))
}

fn dossiers(home: &Path, vault: &Arc<TokenVault>) -> Result<DossierStore, VaultError> {
    DossierStore::open(&home.join("dossiers"), Arc::clone(vault), DossierOptions { memory_bytes: 24 << 10, fan_in: 2 })
}

fn town(n: u64) -> String {
    format!("Canarytown{n:05}")
}

pub(crate) fn ask(vault: &dyn Vault, domain: &str, numbers: impl IntoIterator<Item = u64>) -> Vec<Token> {
    try_ask(vault, domain, numbers).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn try_ask(
    vault: &dyn Vault,
    domain: &str,
    numbers: impl IntoIterator<Item = u64>,
) -> Result<Vec<Token>, TokenError> {
    let values: Vec<String> = numbers.into_iter().map(name).collect();
    let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
    let mut out = Vec::new();
    vault.get_or_create(domain, &values, &mut out)?;
    Ok(out)
}

fn draw(n: u64) -> NameDraw {
    NameDraw { given_skips: n as u8 % 3, family_skips: n as u8 % 2, ..NameDraw::default() }
}

/// Values of three domains, merges, tokens of recipients, and what is known of people and of their names.
pub(crate) fn fill(vault: &Arc<dyn Vault>, dossiers: &Arc<dyn DossierKeeper>) {
    ask(&**vault, "mrn", 0..PEOPLE);
    ask(&**vault, "ssn", 0..PEOPLE / 2);
    for n in 0..MERGED {
        let value = name(n);
        let all = ["mrn", "ssn", "member"].map(|namespace| Identifier { namespace, value: value.as_bytes() });
        assert_eq!(vault.link(&all, &[3], &mut Vec::new()).unwrap().merged, 1);
    }
    for recipient in ["a", "b"] {
        given(vault, recipient, 0..GIVEN);
    }
    let people = ask(&**vault, "mrn", 0..PEOPLE);
    let mut facts = KnownFacts::default();
    for n in 0..TOLD {
        facts.push(IdentifierKind::City, Whose::Subject, &town(n));
    }
    dossiers.add(&people[..TOLD as usize], &facts).unwrap();
    let mut draws: Vec<NameDraw> = (0..DRAWN).map(draw).collect();
    dossiers.decide(&people[..DRAWN as usize], &mut draws).unwrap();
    let mut others: Vec<NameDraw> = (0..DRAWN).map(|n| draw(n + 1)).collect();
    of_recipient(vault, dossiers).decide(&people[..DRAWN as usize], &mut others).unwrap();
    dossiers.sync().unwrap();
    vault.sync().unwrap();
}

fn given(vault: &Arc<dyn Vault>, recipient: &str, numbers: std::ops::Range<u64>) -> Vec<Token> {
    let values: Vec<String> = numbers.map(name).collect();
    let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
    let mut out = Vec::new();
    RecipientTokens::new(Arc::clone(vault), recipient).get_or_create("mrn", &values, &mut out).unwrap();
    out
}

fn of_recipient(vault: &Arc<dyn Vault>, dossiers: &Arc<dyn DossierKeeper>) -> RecipientDossiers {
    let tokens = Arc::new(RecipientTokens::new(Arc::clone(vault), "a"));
    RecipientDossiers::new(dossiers.clone() as Arc<dyn Dossiers>, tokens)
}

/// All that can be asked of people who were not destroyed.
#[derive(PartialEq)]
pub(crate) struct Seen {
    tokens: BTreeMap<&'static str, Vec<Token>>,
    towns: Vec<Option<String>>,
    draws: Vec<Option<NameDraw>>,
    given_draws: Vec<Option<NameDraw>>,
    merges: u64,
    /// Values behind some tokens, in the order in which they came.
    revealed: Vec<Vec<String>>,
}

impl Seen {
    /// The token of the person who is destroyed; call it before.
    pub fn token_of_gone(vault: &dyn Vault) -> Token {
        ask(vault, "mrn", [GONE])[0]
    }
}

pub(crate) fn seen(vault: &Arc<dyn Vault>, dossiers: &Arc<dyn DossierKeeper>) -> Seen {
    let others = |most: u64| (0..most).filter(|n| *n != GONE);
    let mrn = ask(&**vault, "mrn", others(PEOPLE));
    let of = |most: u64| &mrn[..others(most).count()];
    let mut tokens = BTreeMap::new();
    tokens.insert("ssn", ask(&**vault, "ssn", others(PEOPLE / 2)));
    tokens.insert("member", ask(&**vault, "member", others(MERGED)));
    for (name, recipient) in [("a", "a"), ("b", "b")] {
        let mut all = given(vault, recipient, 0..GONE);
        all.extend(given(vault, recipient, GONE + 1..GIVEN));
        tokens.insert(name, all);
    }
    let mut known = Vec::new();
    dossiers.known(of(TOLD), &mut known).unwrap();
    let towns = known.iter().map(|facts| facts.iter().next().map(|fact| fact.text.to_owned())).collect();
    let (mut draws, mut given_draws) = (Vec::new(), Vec::new());
    dossiers.draws(of(DRAWN), &mut draws).unwrap();
    of_recipient(vault, dossiers).draws(of(DRAWN), &mut given_draws).unwrap();
    let merges = vault.merges().unwrap();
    let reveal = |at: usize| {
        let found = ["mrn", "ssn"].map(|domain| vault.reveal_all(domain, &mrn[at]).unwrap());
        found.into_iter().flatten().map(|value| value.expose_phi().clone()).collect()
    };
    let revealed = [3, 300, 9_000].map(reveal).to_vec();
    tokens.insert("mrn", mrn);
    Seen { tokens, towns, draws, given_draws, merges, revealed }
}

fn world(home: &Path, numbers: std::ops::RangeInclusive<u8>) -> (Arc<dyn Vault>, Arc<dyn DossierKeeper>, u32) {
    let (vault, dossiers, version) = open_with(home, numbers);
    (vault, dossiers, version)
}

fn rekey(home: &Path, from: u8, to: u8) -> Result<Rekeyed, VaultError> {
    let (vault, dossiers, _) = open_with(home, from..=from);
    vault.rekey(Some(&dossiers), &keys_of(to), &mut |_| {})
}

/// Everything below a folder.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(tree(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Blind indexes in a folder's runs: they stand there in clear.
fn indexes(folder: &Path) -> HashSet<[u8; 16]> {
    let first = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        bytes.chunks_exact(45).take(100).map(|entry| *entry.first_chunk().unwrap()).collect::<Vec<_>>()
    };
    files(folder, "run-").iter().flat_map(|path| first(path)).collect()
}

fn is_refused<T>(done: Result<T, TokenError>) {
    let error = done.err().unwrap().to_string();
    assert!(error.contains("keys of the vault were changed"), "{error}");
}

#[test]
fn all_is_as_before_and_the_old_keys_are_good_for_nothing() {
    let home = scratch();
    let home = home.path();
    let (vault, store, _) = world(home, 0..=0);
    fill(&vault, &store);
    let before = seen(&vault, &store);
    let gone = Seen::token_of_gone(&*vault);
    let (old, old_dossiers, _) = open_with(home, 0..=0);
    old.shred(&[gone], Some(&old_dossiers)).unwrap();
    let marks = (vault.mark().unwrap(), store.mark().unwrap());
    let standing = seen(&vault, &store);
    assert!(standing == before);
    let destroyed = old.verify().unwrap().destroyed;
    let domains = vault.stats().unwrap().domains;
    let old_indexes = indexes(&home.join("vault"));
    let copy = home.join("copy");
    copy_tree(home, &copy, &["vault", "dossiers"]);

    let mut steps = Vec::new();
    let (again, again_dossiers, _) = open_with(home, 0..=0);
    let done = again.rekey(Some(&again_dossiers), &keys_of(1), &mut |step| steps.push(step)).unwrap();
    assert_eq!(done.values + done.destroyed, domains.iter().map(|(_, count)| count).sum::<u64>());
    assert!(done.destroyed >= 5 && done.unknown == 0 && done.dossiers >= TOLD - 1, "{done:?}");
    assert_eq!(done.merges, before.merges);
    assert!(
        steps.contains(&RekeyStep::Index)
            && steps.ends_with(&[RekeyStep::Switching, RekeyStep::Switched, RekeyStep::Removed])
    );

    // Whoever has it open is refused, with whatever he asks.
    for (vault, store) in [(&vault, &store), (&(old.clone() as _), &(old_dossiers.clone() as _))] {
        let (vault, store): (&Arc<dyn Vault>, &Arc<dyn DossierKeeper>) = (vault, store);
        is_refused(try_ask(&**vault, "mrn", [5]));
        is_refused(try_ask(&**vault, "mrn", [PEOPLE + 5]));
        let value = name(7);
        let one = Identifier { namespace: "mrn", value: value.as_bytes() };
        is_refused(vault.link(&[one], &[1], &mut Vec::new()));
        is_refused(vault.roots(&mut [gone]));
        assert!(matches!(vault.reveal_all("mrn", &gone), Err(VaultError::Rekeyed { .. })));
        assert!(matches!(vault.verify(), Err(VaultError::Rekeyed { .. })));
        is_refused(store.known(&[gone], &mut Vec::new()));
    }
    assert!(matches!(old.rekey(None, &keys_of(2), &mut |_| {}), Err(VaultError::Rekeyed { .. })));
    assert!(matches!(old.shred(&[gone], None), Err(VaultError::Rekeyed { .. })));

    // Nothing is left of before, and the old keys open nothing of what is there.
    for folder in ["vault", "dossiers"] {
        for file in tree(&home.join(folder)) {
            let name = file.strip_prefix(home.join(folder)).unwrap().display().to_string();
            assert!(name.starts_with("rekeyed-0001/") || ["lock", "CURRENT"].contains(&name.as_str()), "{name}");
        }
    }
    assert!(matches!(try_open(home, 0..=0), Err(VaultError::WrongKey { .. })));
    let new_indexes = indexes(&home.join("vault/rekeyed-0001"));
    assert!(old_indexes.len() >= 100 && new_indexes.len() >= 100 && old_indexes.is_disjoint(&new_indexes));

    let (vault, store, version) = world(home, 0..=1);
    assert_eq!(version, 2);
    assert_eq!(vault.stats().unwrap().domains, domains);
    assert!(seen(&vault, &store) == before);
    assert_eq!(vault.stats().unwrap().domains, domains, "nobody got a second token");
    assert_eq!(vault.verify().unwrap().destroyed, destroyed);
    store.verify().unwrap();
    assert!(vault.contains(&marks.0).unwrap() && store.contains(&marks.1).unwrap());
    assert!(vault.reveal_all("mrn", &gone).unwrap().is_empty());
    let somebody_else = ask(&*vault, "mrn", [GONE, PEOPLE + 1]);
    assert!(somebody_else[0] != gone);
    let second = vault.mark().unwrap();

    // Once more.
    rekey(home, 1, 2).unwrap();
    is_refused(try_ask(&*vault, "mrn", [5]));
    let (vault, store, version) = world(home, 0..=2);
    assert_eq!(version, 3);
    assert!(seen(&vault, &store) == before);
    assert!(ask(&*vault, "mrn", [GONE, PEOPLE + 1]) == somebody_else);
    assert!([&marks.0, &second].iter().all(|mark| vault.contains(mark).unwrap()));
    assert!(store.contains(&marks.1).unwrap());
    vault.verify().unwrap();
    store.verify().unwrap();
    assert!(!home.join("vault/rekeyed-0001").exists() && !home.join("dossiers/rekeyed-0001").exists());
    // Somebody who is destroyed now goes from here too.
    let person = ask(&*vault, "mrn", [GONE + 1])[0];
    let (one, dossiers, _) = open_with(home, 2..=2);
    assert!(one.shred(&[person], Some(&dossiers)).unwrap().dossiers >= 1);
    assert!(vault.reveal_all("mrn", &person).unwrap().is_empty());
    drop((vault, store, one, dossiers));

    // The copy of before: with its keys as it was, but for who was destroyed since, and a mark of later is not in it.
    for folder in ["vault", "dossiers"] {
        fs::remove_dir_all(home.join(folder)).unwrap();
    }
    copy_tree(&copy, home, &["vault", "dossiers"]);
    assert!(matches!(try_open(home, 1..=2), Err(VaultError::WrongKey { .. })));
    let (vault, store, version) = world(home, 0..=2);
    assert_eq!(version, 1);
    assert!(ask(&*vault, "mrn", GONE + 2..PEOPLE) == before.tokens["mrn"][GONE as usize + 1..]);
    assert!(!vault.contains(&second).unwrap() && vault.contains(&marks.0).unwrap());
    assert!(vault.reveal_all("mrn", &person).unwrap().is_empty());
    store.verify().unwrap();
}

#[test]
fn dossiers_and_vaults_of_different_keys_do_not_go_together() {
    let home = scratch();
    let home = home.path();
    let (vault, store, _) = world(home, 0..=0);
    fill(&vault, &store);
    drop((vault, store));
    let (before, after) = (home.join("before"), home.join("after"));
    copy_tree(home, &before, &["vault", "dossiers"]);
    rekey(home, 0, 1).unwrap();
    copy_tree(home, &after, &["vault", "dossiers"]);
    for (vault, other, number) in [(&after, &before, 1), (&before, &after, 0)] {
        for (folder, of) in [("vault", vault), ("dossiers", other)] {
            fs::remove_dir_all(home.join(folder)).unwrap();
            copy_tree(of, home, &[folder]);
        }
        let (vault, _) = try_open(home, number..=number).unwrap();
        assert!(matches!(dossiers(home, &vault), Err(VaultError::OtherVault { .. })));
        let existing =
            DossierStore::open_existing(&home.join("dossiers"), Arc::clone(&vault), DossierOptions::default());
        assert!(matches!(existing, Err(VaultError::OtherVault { .. })));
    }
    // Without the file that says which folder it is, no new vault comes to be.
    fs::remove_dir_all(home.join("vault")).unwrap();
    copy_tree(&after, home, &["vault"]);
    let current = home.join("vault/CURRENT");
    let bytes = fs::read(&current).unwrap();
    fs::remove_file(&current).unwrap();
    assert!(matches!(try_open(home, 1..=1), Err(VaultError::Missing { .. } | VaultError::Damaged { .. })));
    assert!(TokenVault::open(&home.join("vault"), keys_of(1), try_subjects(home).unwrap(), tiny()).is_err());
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(&current, changed).unwrap();
        assert!(try_open(home, 1..=1).is_err(), "{at}");
    }
    fs::write(&current, bytes).unwrap();
    try_open(home, 1..=1).unwrap();
    let (vault, _) = try_open(home, 1..=1).unwrap();
    assert!(matches!(vault.rekey(None, &keys_of(1), &mut |_| {}), Err(VaultError::SameKeys { .. })));
}

pub(crate) fn copy_tree(from: &Path, to: &Path, folders: &[&str]) {
    for folder in folders {
        for file in tree(&from.join(folder)) {
            let target = to.join(file.strip_prefix(from).unwrap());
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(&file, target).unwrap();
        }
    }
}

/// Not a test of its own: what the spawned process does.
#[test]
fn child() {
    let Ok(home) = std::env::var("CORDON_REKEY_HOME") else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let (from, stop) = (number("CORDON_REKEY_FROM") as u8, number("CORDON_REKEY_STOP"));
    let home = Path::new(&home);
    let (vault, dossiers, _) = open_with(home, from..=from);
    fs::write(home.join("ready"), b"").unwrap();
    let mut step = 0;
    let done = vault.rekey(Some(&dossiers), &keys_of(from + 1), &mut |_| {
        step += 1;
        if step == stop {
            std::process::abort();
        }
    });
    done.unwrap();
    fs::write(home.join("steps"), step.to_string()).unwrap();
}

fn spawn(home: &Path, from: u8, stop: u64) -> std::process::Child {
    let _ = fs::remove_file(home.join("ready"));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "rekey::child", "--nocapture"]).env("CORDON_REKEY_HOME", home);
    command.env("CORDON_REKEY_FROM", from.to_string()).env("CORDON_REKEY_STOP", stop.to_string());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + Duration::from_mins(1);
    while !home.join("ready").exists() {
        assert!(Instant::now() < until && child.try_wait().unwrap().is_none_or(|end| !end.success()));
        thread::sleep(Duration::from_micros(200));
    }
    child
}

#[test]
fn killed_at_any_instant_it_is_under_the_old_keys_or_the_new() {
    let home = scratch();
    let home = home.path();
    let (vault, store, _) = world(home, 0..=0);
    fill(&vault, &store);
    let before = seen(&vault, &store);
    drop((vault, store));
    let began = Instant::now();
    assert!(spawn(home, 0, u64::MAX).wait().unwrap().success());
    let span = began.elapsed();
    let steps: u64 = fs::read_to_string(home.join("steps")).unwrap().parse().unwrap();
    assert!(steps > 20, "{steps}");
    let seed = 0x5eed;
    let mut rng = StdRng::seed_from_u64(seed);
    let rounds = std::env::var("CORDON_KILLS").map_or(16, |n| n.parse().unwrap());
    let (mut at, mut old, mut new) = (1, 0, 0);
    for round in 0..rounds {
        // Between two steps, or anywhere.
        let (stop, delay) = match round % 4 {
            0 => (rng.random_range(1..=steps), None),
            1 => (steps - rng.random_range(0..4), None),
            _ => (u64::MAX, Some(span.mul_f64(rng.random_range(0.0..1.1)))),
        };
        let mut child = spawn(home, at, stop);
        if let Some(delay) = delay {
            thread::sleep(delay);
            let _ = child.kill();
        }
        child.wait().unwrap();
        let (vault, store, version) = world(home, at..=at + 1);
        if version == u32::from(at) + 1 {
            old += 1;
            assert!(try_open(home, at + 1..=at + 1).is_err(), "seed {seed}, round {round}");
        } else {
            new += 1;
            at += 1;
            assert!(try_open(home, at - 1..=at - 1).is_err(), "seed {seed}, round {round}");
        }
        if round % 4 == 3 {
            assert!(seen(&vault, &store) == before, "seed {seed}, round {round}");
            vault.verify().unwrap_or_else(|error| panic!("seed {seed}, round {round}: {error}"));
            store.verify().unwrap_or_else(|error| panic!("seed {seed}, round {round}: {error}"));
        } else {
            assert!(ask(&*vault, "mrn", GONE + 1..PEOPLE) == before.tokens["mrn"][GONE as usize..]);
        }
    }
    rekey(home, at, at + 1).unwrap();
    let (vault, store, _) = world(home, at + 1..=at + 1);
    assert!(seen(&vault, &store) == before);
    for folder in ["vault", "dossiers"] {
        assert_eq!(files(&home.join(folder), "rekeyed-").len(), 1, "what was begun is gone");
    }
    eprintln!("{rounds} kills within {span:?}, {steps} steps: {old} under the old keys, {new} under the new");
}

/// Whoever writes while the keys are changed writes before, or not at all: no value has two tokens.
#[test]
fn writers_at_once_are_refused_and_what_they_had_been_given_stays() {
    let home = scratch();
    let home = home.path();
    let (vault, store, _) = world(home, 0..=0);
    fill(&vault, &store);
    drop((vault, store));
    let stop = AtomicBool::new(false);
    let begun = std::sync::Barrier::new(4);
    let given: Vec<(u64, Vec<Token>, TokenError)> = thread::scope(|scope| {
        let writers: Vec<_> = (0..3_u64)
            .map(|writer| {
                let (stop, begun) = (&stop, &begun);
                scope.spawn(move || {
                    let (vault, dossiers, _) = open_with(home, 0..=0);
                    let from = PEOPLE * (writer + 2);
                    let mut all = Vec::new();
                    loop {
                        let at = from + all.len() as u64;
                        match try_ask(&*vault, "mrn", at..at + 20) {
                            Ok(tokens) => all.extend(tokens),
                            Err(error) => {
                                is_refused(try_ask(&*vault, "mrn", [at]));
                                let mut facts = KnownFacts::default();
                                facts.push(IdentifierKind::City, Whose::Subject, "Canary");
                                is_refused(dossiers.add(&all[..1], &facts));
                                return (from, all, error);
                            }
                        }
                        if all.len() == 100 {
                            begun.wait();
                        }
                        assert!(!stop.load(Ordering::Relaxed), "it was not refused");
                    }
                })
            })
            .collect();
        begun.wait();
        rekey(home, 0, 1).unwrap();
        thread::sleep(Duration::from_secs(2));
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let (vault, _, _) = world(home, 1..=1);
    let count = |vault: &Arc<dyn Vault>| vault.stats().unwrap().domains;
    let before = count(&vault);
    for (from, tokens, error) in given {
        assert!(error.to_string().contains("keys of the vault were changed"), "{error}");
        assert!(ask(&*vault, "mrn", from..from + tokens.len() as u64) == tokens);
    }
    assert_eq!(count(&vault), before, "all of it was in the vault");
    vault.verify().unwrap();
}

#[test]
fn a_full_disk_is_said_and_nothing_is_lost() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::new(place.path(), "size=6m,mode=700") else { return };
    // The subject keys are looked for in the temporary folder's own place, which is the small disk.
    let home = disk.0;
    let (vault, store, _) = world(home, 0..=0);
    fill(&vault, &store);
    let before = seen(&vault, &store);
    drop((vault, store));
    let used = tree(home).iter().map(|path| path.metadata().unwrap().len()).sum::<u64>();
    let mut said = 0;
    for quarters in [5, 6, 7] {
        let size = format!("remount,size={}k", used * quarters / 4 / 1024);
        assert!(mount(&["-o", &size], disk.0));
        match rekey(home, 0, 1) {
            Err(error) => {
                assert!(
                    matches!(error, VaultError::Io { .. }) && error.to_string().contains("No space left"),
                    "{error}"
                );
                said += 1;
            }
            Ok(_) => break,
        }
        for folder in ["vault", "dossiers"] {
            assert!(files(&home.join(folder), "rekeyed-").is_empty(), "what was begun is gone");
        }
        let (vault, _) = try_open(home, 0..=1).unwrap();
        assert!(ask(&*vault, "mrn", GONE + 1..PEOPLE) == before.tokens["mrn"][GONE as usize..]);
    }
    assert!(said > 0);
    assert!(mount(&["-o", "remount,size=32m"], disk.0));
    let under_old = try_open(home, 0..=0).is_ok();
    if under_old {
        rekey(home, 0, 1).unwrap();
    }
    let (vault, store, _) = world(home, 1..=1);
    assert!(seen(&vault, &store) == before);
}

/// `N=1000000 DIR=… cargo nextest run -p cordon-vault --release --run-ignored only -E 'test(cost_of_new_keys)' --no-capture`
#[test]
#[ignore = "a measurement"]
fn cost_of_new_keys() {
    let n = std::env::var("N").map_or(1_000_000, |n| n.parse().unwrap());
    let scratch = tempfile::tempdir().unwrap();
    let home = std::env::var("DIR").map_or(scratch.path().to_owned(), PathBuf::from).join("rekey");
    let open = |number: u8| {
        let options = VaultOptions::default();
        let subjects = try_subjects(scratch.path()).unwrap();
        let vault = TokenVault::open(&home.join("vault"), keys_of(number), subjects, options).unwrap();
        Arc::new(vault)
    };
    let with_dossiers = |vault: &Arc<TokenVault>| {
        DossierStore::open(&home.join("dossiers"), Arc::clone(vault), DossierOptions::default()).unwrap()
    };
    let (made, rss) = {
        let vault = open(0);
        let dossiers = with_dossiers(&vault);
        for from in (0..n).step_by(8_192) {
            let people = ask(&*vault, "mrn", from..n.min(from + 8_192));
            if std::env::var("DOSSIERS").is_ok() {
                let mut facts = KnownFacts::default();
                for _ in &people {
                    facts.push(IdentifierKind::City, Whose::Subject, "Springfield");
                }
                dossiers.add(&people, &facts).unwrap();
            }
        }
        vault.sync().unwrap();
        dossiers.sync().unwrap();
        (ask(&*vault, "mrn", (0..n).step_by(997)), peak_megabytes())
    };
    let vault = open(0);
    let dossiers = with_dossiers(&vault);
    let (cpu, began) = (cpu_seconds(), Instant::now());
    let done = vault.rekey(Some(&dossiers), &keys_of(1), &mut |_| {}).unwrap();
    let (cpu, wall) = (cpu_seconds() - cpu, began.elapsed().as_secs_f64());
    drop((vault, dossiers));
    assert!(ask(&*open(1), "mrn", (0..n).step_by(997)) == made);
    eprintln!(
        "{n} values: {:.2} µs CPU a value, {:.0} values a second wall; peak memory {} MB, {rss} MB before; {done:?}",
        cpu / n as f64 * 1e6,
        n as f64 / wall,
        peak_megabytes()
    );
    let _ = fs::remove_dir_all(&home);
}
