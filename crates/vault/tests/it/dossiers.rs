//! What is known of a person, through runs, merges of people, processes and accidents.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use cordon_phi::{
    Dossiers as _, Identifier, IdentifierKind, IdentityStore as _, KnownFacts, NameDraw, Sex, Token, TokenError, Whose,
};
use cordon_vault::{DossierOptions, DossierStore, TokenVault, VaultError, VaultOptions};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    files, keys,
    link::{cpu_seconds, peak_megabytes},
    open, scratch, subjects, tokens, told_something,
};

type Fact = (IdentifierKind, Whose, String);

/// So small that a few hundred facts are a run.
fn tiny() -> DossierOptions {
    DossierOptions { memory_bytes: 24 << 10, fan_in: 2 }
}

fn store(home: &Path, vault: &Arc<TokenVault>) -> DossierStore {
    try_store(home, vault).unwrap_or_else(|error| panic!("{error}"))
}

fn try_store(home: &Path, vault: &Arc<TokenVault>) -> Result<DossierStore, VaultError> {
    DossierStore::open(&home.join("dossiers"), Arc::clone(vault), tiny())
}

fn vault(home: &Path) -> Arc<TokenVault> {
    Arc::new(open(&home.join("vault")))
}

fn add(store: &DossierStore, facts: &[(Token, Fact)]) {
    let mut all = KnownFacts::default();
    for (_, (kind, whose, text)) in facts {
        all.push(*kind, *whose, text);
    }
    store.add(&facts.iter().map(|(token, _)| *token).collect::<Vec<_>>(), &all).unwrap();
}

fn try_known(store: &DossierStore, subjects: &[Token]) -> Result<Vec<Vec<Fact>>, TokenError> {
    let mut out = Vec::new();
    store.known(subjects, &mut out)?;
    assert_eq!(out.len(), subjects.len());
    let list = |facts: &KnownFacts| facts.iter().map(|fact| (fact.kind, fact.whose, fact.text.to_owned())).collect();
    Ok(out.iter().map(list).collect())
}

fn known(store: &DossierStore, subject: Token) -> Vec<Fact> {
    try_known(store, &[subject]).unwrap().pop().unwrap()
}

fn name(text: &str) -> Fact {
    (IdentifierKind::Name, Whose::Subject, text.to_owned())
}

fn link(vault: &TokenVault, pair: [u64; 2]) {
    let values = pair.map(crate::name);
    let all = values.each_ref().map(|value| Identifier { namespace: "mrn", value: value.as_bytes() });
    vault.link(&all, &[2], &mut Vec::new()).unwrap();
}

/// Facts of few kinds and texts, so that many come twice.
fn some_fact(rng: &mut StdRng) -> Fact {
    let kind = IdentifierKind::ALL[rng.random_range(0..4)];
    let whose = Whose::ALL[rng.random_range(0..2)];
    (kind, whose, format!("canary {} \u{1f}Zoë", rng.random_range(0..6)))
}

#[test]
fn what_was_added_is_known_once_and_in_the_order_of_the_subjects() {
    let home = scratch();
    let vault = vault(home.path());
    let store = store(home.path(), &vault);
    let people = tokens(&vault, "mrn", 0..3);
    let twice = (people[0], (IdentifierKind::City, Whose::Relative, "Springfield".to_owned()));
    for _ in 0..2 {
        add(&store, &[(people[1], name("Ann\u{1f}Lee")), twice.clone(), (people[0], name("Bo")), twice.clone()]);
        for _ in 0..2 {
            let all = try_known(&store, &[people[0], people[2], people[1], people[0]]).unwrap();
            assert_eq!(all[0], [name("Bo"), twice.1.clone()]);
            assert!(all[1].is_empty() && all[3] == all[0]);
            assert_eq!(all[2], [name("Ann\u{1f}Lee")]);
            store.sync().unwrap();
        }
    }
    // What is known already made no second run.
    assert_eq!(store.stats().unwrap().runs, 1);
    let facts = KnownFacts::default();
    store.add(&[], &facts).unwrap();
    assert!(store.add(&people, &facts).is_err());
}

#[test]
fn several_handles_agree_with_a_simple_model() {
    let home = scratch();
    let mut rng = StdRng::seed_from_u64(0xd0_55);
    let vaults: Vec<_> = (0..2).map(|_| vault(home.path())).collect();
    let mut stores: Vec<_> = (0..3).map(|n| store(home.path(), &vaults[n % 2])).collect();
    let people = tokens(&vaults[0], "mrn", 0..150);
    // Of each person the number of the one who stands for them.
    let mut same: Vec<usize> = (0..150).collect();
    let mut model: BTreeMap<usize, BTreeSet<Fact>> = BTreeMap::new();
    for round in 0..300 {
        let at = rng.random_range(0..3);
        let facts: Vec<(usize, Fact)> =
            (0..rng.random_range(0..60)).map(|_| (rng.random_range(0..150), some_fact(&mut rng))).collect();
        add(&stores[at], &facts.iter().map(|(n, fact)| (people[*n], fact.clone())).collect::<Vec<_>>());
        for (n, fact) in facts {
            model.entry(same[n]).or_default().insert(fact);
        }
        if rng.random_bool(0.2) {
            let pair = [rng.random_range(0..150), rng.random_range(0..150)];
            link(&vaults[rng.random_range(0..2)], pair);
            let (one, other) = (same[pair[0] as usize], same[pair[1] as usize]);
            if one != other {
                let facts = model.remove(&other).unwrap_or_default();
                model.entry(one).or_default().extend(facts);
                same.iter_mut().filter(|of| **of == other).for_each(|of| *of = one);
            }
        }
        if rng.random_bool(0.1) {
            stores[at].sync().unwrap();
            stores[at] = store(home.path(), &vaults[at % 2]);
        }
        if round % 20 == 19 {
            for store in &stores {
                store.sync().unwrap();
            }
            let asked: Vec<usize> = (0..200).map(|_| rng.random_range(0..150)).collect();
            for store in &stores {
                let found = try_known(store, &asked.iter().map(|n| people[*n]).collect::<Vec<_>>()).unwrap();
                for (n, facts) in asked.iter().zip(found) {
                    let count = facts.len();
                    let facts: BTreeSet<Fact> = facts.into_iter().collect();
                    assert_eq!(facts.len(), count, "a fact twice");
                    assert!(facts == model.get(&same[*n]).cloned().unwrap_or_default(), "round {round}: {n}");
                }
            }
            stores[0].verify().unwrap();
        }
    }
    let stats = stores[0].stats().unwrap();
    assert_eq!(files(&home.path().join("dossiers"), "run-").len(), stats.runs);
    assert!(stats.runs < 12, "{} runs", stats.runs);
}

#[test]
fn of_too_many_facts_the_newest_stay_and_what_comes_again_is_new() {
    let home = scratch();
    let vault = vault(home.path());
    let store = store(home.path(), &vault);
    let person = tokens(&vault, "mrn", [1])[0];
    for visit in 0..3_000 {
        let number = (IdentifierKind::UniqueId, Whose::Subject, format!("visit {visit}"));
        add(&store, &[(person, number), (person, name("Ann"))]);
        if visit % 70 == 0 {
            store.sync().unwrap();
        }
    }
    for _ in 0..2 {
        let facts = known(&store, person);
        assert_eq!(facts.len(), 512);
        assert!(facts.contains(&name("Ann")), "a name that every record gives");
        for visit in 2_600..3_000 {
            assert!(facts.iter().any(|fact| fact.2 == format!("visit {visit}")), "{visit}");
        }
        store.sync().unwrap();
    }
    // Texts that are no identifiers.
    let other = tokens(&vault, "mrn", [2])[0];
    add(&store, &[(other, name(&"x".repeat(1_025))), (other, name(&"y".repeat(1_024)))]);
    assert_eq!(known(&store, other), [name(&"y".repeat(1_024))]);
}

#[test]
fn nothing_is_in_clear_on_disk() {
    let home = scratch();
    let vault = vault(home.path());
    let store = store(home.path(), &vault);
    let people = tokens(&vault, "mrn", 0..200);
    let mut rng = StdRng::seed_from_u64(9);
    for _ in 0..20 {
        add(&store, &people.iter().map(|token| (*token, some_fact(&mut rng))).collect::<Vec<_>>());
    }
    store.sync().unwrap();
    let all = files(&home.path().join("dossiers"), "");
    assert!(all.len() > 2);
    for file in all {
        let bytes = std::fs::read(&file).unwrap();
        let stands = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        for text in ["canary", "Zo", "name", "street"] {
            assert!(text.len() < 4 || !stands(text.as_bytes()), "{}", file.display());
        }
        // Not even the half of a token.
        let halves: BTreeSet<&[u8]> = people.iter().flat_map(|token| token.0.chunks(8)).collect();
        assert!(!bytes.windows(8).any(|window| halves.contains(window)), "{}", file.display());
        let file_name = file.file_name().unwrap().to_str().unwrap();
        assert!(["MANIFEST", "lock"].contains(&file_name) || file_name.starts_with("run-"));
    }
}

#[test]
fn dossiers_belong_to_one_vault() {
    let home = scratch();
    let mine = vault(home.path());
    let dir = home.path().join("dossiers");
    assert!(matches!(DossierStore::open_existing(&dir, Arc::clone(&mine), tiny()), Err(VaultError::NoDossiers { .. })));
    assert!(!dir.exists());
    drop(store(home.path(), &mine));
    DossierStore::open_existing(&dir, mine, tiny()).map(drop).unwrap();
    let other = Arc::new(open(&home.path().join("other")));
    assert!(matches!(DossierStore::open(&dir, other, tiny()), Err(VaultError::OtherVault { .. })));
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).unwrap();
    for file in files(from, "") {
        std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

#[test]
fn no_byte_may_change_and_none_may_go() {
    let home = scratch();
    let (dir, good) = (home.path().join("dossiers"), home.path().join("good"));
    let vault = vault(home.path());
    let people = tokens(&vault, "mrn", 0..4);
    let expected = {
        let store = store(home.path(), &vault);
        for (at, token) in people.iter().enumerate() {
            add(&store, &[(*token, name(&format!("canary {at}")))]);
        }
        store.sync().unwrap();
        try_known(&store, &people).unwrap()
    };
    copy(&dir, &good);
    let refused = |what: &str| {
        let found = try_store(home.path(), &vault).and_then(|store| store.verify().map(|_| store));
        match found {
            Err(VaultError::Damaged { .. } | VaultError::Version { .. } | VaultError::OtherVault { .. }) => {}
            Err(error) => panic!("{what}: {error}"),
            Ok(_) => panic!("{what}: not noticed"),
        }
    };
    for file in files(&good, "").iter().filter(|file| file.metadata().unwrap().len() > 0) {
        let bytes = std::fs::read(file).unwrap();
        let name = file.file_name().unwrap();
        let bad = dir.join(name);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            std::fs::write(&bad, damaged).unwrap();
            refused(&format!("{} at {at}", name.display()));
            if at % 7 == 0 {
                std::fs::write(&bad, &bytes[..at]).unwrap();
                refused(&format!("{} cut to {at}", name.display()));
            }
        }
        std::fs::remove_file(&bad).unwrap();
        refused(&format!("{} removed", name.display()));
        std::fs::write(&bad, &bytes).unwrap();
    }
    assert_eq!(try_known(&store(home.path(), &vault), &people).unwrap(), expected);
}

#[test]
fn a_mark_tells_an_older_copy_and_another_store() {
    let home = scratch();
    let (dir, old) = (home.path().join("dossiers"), home.path().join("old"));
    let vault = vault(home.path());
    let person = tokens(&vault, "mrn", [1])[0];
    let (first, second) = {
        let store = store(home.path(), &vault);
        let first = store.mark().unwrap();
        copy(&dir, &old);
        add(&store, &[(person, name("Ann"))]);
        store.sync().unwrap();
        let second = store.mark().unwrap();
        assert!(store.contains(&first).unwrap() && store.contains(&second).unwrap());
        (first, second)
    };
    copy(&old, &dir);
    let older = store(home.path(), &vault);
    assert!(older.contains(&first).unwrap() && !older.contains(&second).unwrap());
    let other = DossierStore::open(&home.path().join("other"), vault, tiny()).unwrap();
    assert!(!other.contains(&first).unwrap());
}

#[test]
fn blocks_and_runs_may_not_change_places() {
    let home = scratch();
    let dir = home.path().join("dossiers");
    let vault = vault(home.path());
    let people = tokens(&vault, "mrn", 0..300);
    // Three at a time would be merged.
    let options = DossierOptions { fan_in: 3, memory_bytes: 1 << 20 };
    let store = DossierStore::open(&dir, Arc::clone(&vault), options.clone()).unwrap();
    for round in 0..2 {
        add(&store, &people.iter().map(|token| (*token, name(&format!("person in {round}")))).collect::<Vec<_>>());
        store.sync().unwrap();
    }
    drop(store);
    let runs = files(&dir, "run-");
    assert_eq!(runs.len(), 2);
    let good = std::fs::read(&runs[0]).unwrap();
    std::fs::copy(&runs[1], &runs[0]).unwrap();
    assert!(matches!(DossierStore::open(&dir, Arc::clone(&vault), options.clone()), Err(VaultError::Damaged { .. })));
    // Two blocks of one run: all but the last are of one length here.
    let mut bad = good.clone();
    let length = 4_160 + 28;
    bad[..length].copy_from_slice(&good[length..2 * length]);
    bad[length..2 * length].copy_from_slice(&good[..length]);
    std::fs::write(&runs[0], bad).unwrap();
    let store = DossierStore::open(&dir, vault, options).unwrap();
    assert!(matches!(try_known(&store, &people), Err(TokenError::Damaged(_))));
    assert!(matches!(store.verify(), Err(VaultError::Damaged { .. })));
}

#[test]
fn threads_add_and_ask_at_once() {
    let home = scratch();
    let vault = vault(home.path());
    let store = store(home.path(), &vault);
    let people = tokens(&vault, "mrn", 0..400);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (store, people) = (&store, &people);
            scope.spawn(move || {
                for round in 0..40 {
                    let from = (round + thread * 13) % 40 * 10;
                    let mine: Vec<_> =
                        people[from..from + 10].iter().map(|token| (*token, name(&format!("by {thread}")))).collect();
                    add(store, &mine);
                    let found = try_known(store, &people[from..from + 10]).unwrap();
                    assert!(found.iter().all(|facts| facts.contains(&name(&format!("by {thread}")))));
                    if round % 9 == 0 {
                        store.sync().unwrap();
                    }
                }
            });
        }
    });
    let found = try_known(&store, &people).unwrap();
    assert!(found.iter().all(|facts| facts.len() == 3));
    store.verify().unwrap();
}

const PEOPLE: u64 = 300;

#[test]
fn killed_at_any_instant_nothing_synced_is_lost() {
    let home = scratch();
    let mut rng = StdRng::seed_from_u64(0xbad);
    let rounds = std::env::var("CORDON_KILLS").map_or(20, |n| n.parse().unwrap());
    let vault = vault(home.path());
    let people = tokens(&vault, "mrn", 0..PEOPLE);
    vault.sync().unwrap();
    let watcher = store(home.path(), &vault);
    let mut told_facts: HashMap<u64, BTreeSet<String>> = HashMap::new();
    for round in 0..rounds {
        let mut children: Vec<_> = (0..2).map(|n| spawn(home.path(), round * 2 + n)).collect();
        for (n, child) in (0..).zip(&mut children) {
            if round % 2 == 1 {
                // However slow the machine is, in some rounds something was told by then.
                told_something(&told_path(home.path(), round * 2 + n), child);
            }
            std::thread::sleep(Duration::from_micros(rng.random_range(5_000..80_000)));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        for n in 0..2 {
            for (person, number) in told(home.path(), round * 2 + n) {
                told_facts.entry(person).or_default().insert(text(number));
            }
        }
        let fresh = store(home.path(), &vault);
        for store in [&watcher, &fresh] {
            for (person, found) in (0..).zip(try_known(store, &people).unwrap()) {
                let found: BTreeSet<String> = found.into_iter().map(|(.., text)| text).collect();
                let expected = told_facts.get(&person).cloned().unwrap_or_default();
                assert!(found.is_superset(&expected), "round {round}: a fact was lost");
            }
        }
        fresh.verify().unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(files(&home.path().join("dossiers"), "run-").len(), fresh.stats().unwrap().runs, "strays");
    }
    let count: usize = told_facts.values().map(BTreeSet::len).sum();
    assert!(count > 500, "only {count} facts before the kills");
    eprintln!("{rounds} rounds, {count} facts");
}

fn text(number: u32) -> String {
    format!("canary {}", number % 200)
}

/// Not a test of its own: what the spawned processes do.
#[test]
fn child() {
    let Ok(home) = std::env::var("CORDON_DOSSIER_CHILD") else {
        return;
    };
    let home = Path::new(&home);
    let seed = std::env::var("CORDON_DOSSIER_SEED").unwrap().parse().unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    let vault = vault(home);
    let people = tokens(&vault, "mrn", 0..PEOPLE);
    let store = store(home, &vault);
    let mut told = std::fs::File::create(told_path(home, seed)).unwrap();
    loop {
        let facts: Vec<(u64, u32)> = (0..200).map(|_| (rng.random_range(0..PEOPLE), rng.random())).collect();
        add(&store, &facts.iter().map(|(n, number)| (people[*n as usize], name(&text(*number)))).collect::<Vec<_>>());
        store.sync().unwrap();
        let lines: Vec<u8> =
            facts.iter().flat_map(|(n, number)| [n.to_le_bytes().as_slice(), &number.to_le_bytes()].concat()).collect();
        told.write_all(&lines).unwrap();
    }
}

fn spawn(home: &Path, seed: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "dossiers::child", "--nocapture"]);
    command.env("CORDON_DOSSIER_CHILD", home).env("CORDON_DOSSIER_SEED", seed.to_string());
    command.stdout(Stdio::null()).spawn().unwrap()
}

fn told_path(home: &Path, seed: u64) -> std::path::PathBuf {
    home.join(format!("told-{seed}"))
}

fn told(home: &Path, seed: u64) -> Vec<(u64, u32)> {
    let path = told_path(home, seed);
    let Ok(bytes) = std::fs::read(&path) else {
        return Vec::new();
    };
    std::fs::remove_file(path).unwrap();
    let record = |record: &[u8]| {
        let (person, number) = record.split_first_chunk().unwrap();
        (u64::from_le_bytes(*person), u32::from_le_bytes(number.try_into().unwrap()))
    };
    bytes.chunks_exact(12).map(record).collect()
}

/// Prints what two million facts cost. `cargo nextest run --run-ignored all`.
#[test]
#[ignore = "takes a while; prints figures"]
fn two_million_facts() {
    const PEOPLE: u64 = 200_000;
    const BATCH: usize = 8_192;
    let home = scratch();
    let vault =
        TokenVault::open(&home.path().join("vault"), keys(), subjects(home.path()), VaultOptions::default()).unwrap();
    let vault = Arc::new(vault);
    let people = tokens(&vault, "mrn", 0..PEOPLE);
    let options = DossierOptions { memory_bytes: 32 << 20, ..DossierOptions::default() };
    let store = DossierStore::open(&home.path().join("dossiers"), vault, options).unwrap();
    let before = peak_megabytes();
    for pass in ["first seen", "seen"] {
        let mut cpu = 0.0;
        for (batch, people) in (0..).zip(people.chunks(BATCH / 10)) {
            let mut facts = KnownFacts::default();
            let mut subjects = Vec::new();
            for (n, token) in (0..).zip(people) {
                for (number, kind) in (0..10).zip(IdentifierKind::ALL) {
                    facts.push(*kind, Whose::Subject, &format!("text {batch} of {n} {number}"));
                    subjects.push(*token);
                }
            }
            let start = cpu_nanoseconds();
            store.add(&subjects, &facts).unwrap();
            cpu += (cpu_nanoseconds() - start) as f64 / 1e9;
        }
        let start = (cpu_nanoseconds(), Instant::now());
        store.sync().unwrap();
        cpu += (cpu_nanoseconds() - start.0) as f64 / 1e9;
        eprintln!(
            "{pass}: {:.2} M facts added per CPU second, sync {:.2} s; {:?}; memory {before} to {} MB",
            PEOPLE as f64 * 10.0 / cpu / 1e6,
            start.1.elapsed().as_secs_f64(),
            store.stats().unwrap(),
            peak_megabytes()
        );
    }
    let mut shuffled = people;
    let mut rng = StdRng::seed_from_u64(2);
    rand::seq::SliceRandom::shuffle(&mut shuffled[..], &mut rng);
    for pass in ["first", "again"] {
        let start = (cpu_seconds(), Instant::now());
        for subjects in shuffled.chunks(BATCH) {
            let mut out = Vec::new();
            store.known(subjects, &mut out).unwrap();
            assert!(out.iter().all(|facts| facts.len() == 10));
        }
        eprintln!(
            "known, {pass}: {:.0} k people a second, {:.2} s CPU",
            PEOPLE as f64 / start.1.elapsed().as_secs_f64() / 1e3,
            cpu_seconds() - start.0
        );
    }
}

/// Of this thread.
fn cpu_nanoseconds() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

fn draws(store: &DossierStore, subjects: &[Token]) -> Vec<Option<NameDraw>> {
    let mut out = Vec::new();
    store.draws(subjects, &mut out).unwrap();
    out
}

fn decide(store: &DossierStore, subject: Token, draw: NameDraw) -> NameDraw {
    let mut draws = [draw];
    store.decide(&[subject], &mut draws).unwrap();
    draws[0]
}

const FEMALE: NameDraw = NameDraw { sex: Some(Sex::Female), given_skips: 0, family_skips: 2 };
const MALE: NameDraw = NameDraw { sex: Some(Sex::Male), given_skips: 1, family_skips: 0 };

#[test]
fn how_a_name_is_drawn_is_decided_once() {
    let home = scratch();
    let vault = vault(home.path());
    let people = tokens(&vault, "mrn", 1..4);
    {
        let store = store(home.path(), &vault);
        assert_eq!(draws(&store, &people), [None, None, None]);
        assert_eq!(decide(&store, people[0], FEMALE), FEMALE);
        assert_eq!(decide(&store, people[0], MALE), FEMALE, "before it is on disk");
        store.sync().unwrap();
        assert_eq!(decide(&store, people[0], MALE), FEMALE);
        assert_eq!(decide(&store, people[1], NameDraw::default()), NameDraw::default());
        // Of one asked for twice, the first.
        let mut twice = [MALE, FEMALE];
        store.decide(&[people[2], people[2]], &mut twice).unwrap();
        assert_eq!(twice, [MALE, MALE]);
        store.sync().unwrap();
        assert_eq!(known(&store, people[0]), [], "it is nothing that a note could name");
    }
    // Many facts of later runs drop none of it.
    for run in 0..6 {
        let store = store(home.path(), &vault);
        assert_eq!(draws(&store, &people), [Some(FEMALE), Some(NameDraw::default()), Some(MALE)]);
        assert_eq!(decide(&store, people[1], MALE), NameDraw::default());
        let many: Vec<_> = (0..700)
            .map(|n| (people[n % 3], (IdentifierKind::City, Whose::Subject, format!("Town {run} {n}"))))
            .collect();
        add(&store, &many);
        store.sync().unwrap();
        store.verify().unwrap();
    }
    let store = store(home.path(), &vault);
    assert_eq!(draws(&store, &people), [Some(FEMALE), Some(NameDraw::default()), Some(MALE)]);
    assert!(!known(&store, people[0]).is_empty());
}

#[test]
fn of_two_who_are_one_the_name_of_the_token_that_stays_stays() {
    let home = scratch();
    let vault = vault(home.path());
    let people = tokens(&vault, "mrn", 1..4);
    let store = store(home.path(), &vault);
    decide(&store, people[0], NameDraw::default());
    decide(&store, people[1], FEMALE);
    store.sync().unwrap();
    let merge = |pair: [u64; 2]| {
        link(&vault, pair);
        let mut root = [people[pair[0] as usize - 1]];
        vault.roots(&mut root).unwrap();
        root[0]
    };
    let stays = merge([1, 2]);
    let its = if stays == people[0] { NameDraw::default() } else { FEMALE };
    assert_eq!(draws(&store, &people), [Some(its), Some(its), None]);
    assert_eq!(decide(&store, people[1], MALE), its);
    let reopened = self::store(home.path(), &vault);
    assert_eq!(draws(&reopened, &people), [Some(its), Some(its), None]);
    // Who was never written has no name that could change.
    let stays = merge([3, 1]);
    assert_eq!(draws(&reopened, &[people[2]]), [(stays != people[2]).then_some(its)]);
}

#[test]
fn who_decides_second_does_not_write() {
    let home = scratch();
    let vault = vault(home.path());
    let people = tokens(&vault, "mrn", 1..3);
    let (one, other) = (store(home.path(), &vault), store(home.path(), &vault));
    for (person, draw, also, ends) in [(people[0], FEMALE, FEMALE, true), (people[1], FEMALE, MALE, false)] {
        decide(&one, person, draw);
        decide(&other, person, also);
        one.sync().unwrap();
        assert_eq!(other.sync().is_ok(), ends);
    }
    assert!(matches!(other.sync(), Err(VaultError::Overtaken)));
    let third = store(home.path(), &vault);
    assert_eq!(draws(&third, &people), [Some(FEMALE), Some(FEMALE)]);
}
