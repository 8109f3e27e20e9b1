//! Identifiers of one person, and people who turn out to be one.

use std::{
    collections::{BTreeSet, HashMap},
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use cordon_phi::{Identifier, IdentityStore as _, Linked, Token, TokenStore as _};
use cordon_vault::{TokenVault, VaultError, VaultOptions};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use crate::{files, keys, open, same, scratch, subjects, told_something, try_open};

const SPACES: [&str; 3] = ["patient", "mrn", "member"];

/// The identifier of a number: namespace and value.
fn named(n: u32) -> (&'static str, String) {
    (SPACES[n as usize % 3], format!("canary-{:05}", n / 3))
}

fn try_link(vault: &TokenVault, groups: &[Vec<u32>]) -> Result<(Vec<Option<Token>>, Linked), cordon_phi::TokenError> {
    let names: Vec<_> = groups.iter().flatten().map(|n| named(*n)).collect();
    let all: Vec<_> =
        names.iter().map(|(namespace, value)| Identifier { namespace, value: value.as_bytes() }).collect();
    let mut end = 0;
    let ends: Vec<usize> = groups.iter().map(|group| (end += group.len(), end).1).collect();
    let mut out = Vec::new();
    let linked = vault.link(&all, &ends, &mut out)?;
    assert_eq!(out.len(), groups.len());
    Ok((out, linked))
}

fn link(vault: &TokenVault, groups: &[Vec<u32>]) -> (Vec<Option<Token>>, u64) {
    let (tokens, linked) = try_link(vault, groups).unwrap();
    (tokens, linked.merged)
}

fn link_one(vault: &TokenVault, group: &[u32]) -> Token {
    link(vault, &[group.to_vec()]).0[0].unwrap()
}

fn token(vault: &TokenVault, n: u32) -> Token {
    let (namespace, value) = named(n);
    let mut out = Vec::new();
    vault.get_or_create(namespace, &[value.as_bytes()], &mut out).unwrap();
    out[0]
}

fn root(vault: &TokenVault, token: Token) -> Token {
    let mut tokens = [token];
    vault.roots(&mut tokens).unwrap();
    tokens[0]
}

#[test]
fn identifiers_of_one_record_have_one_token_in_every_namespace() {
    let dir = scratch();
    let vault = open(dir.path());
    let (tokens, merged) = link(&vault, &[vec![0, 1, 2], vec![], vec![3, 4], vec![5]]);
    assert!(merged == 0 && tokens[1].is_none());
    for (n, of) in [(0, 0), (1, 0), (2, 0), (3, 2), (4, 2), (5, 3)] {
        assert!(Some(token(&vault, n)) == tokens[of], "{n}");
    }
    assert!(tokens[0] != tokens[2] && tokens[2] != tokens[3]);
    // An identifier that comes later, alone or with one that is known.
    assert!(link_one(&vault, &[7, 4]) == tokens[2].unwrap());
    assert!(token(&open(dir.path()), 7) == tokens[2].unwrap());
    assert_eq!(vault.merges().unwrap(), 0);
    assert_eq!(vault.verify().unwrap().tokens, 7);
    // The merges are a header, and nothing else is written for people who are not merged.
    assert_eq!(files(dir.path(), "merges-")[0].metadata().unwrap().len(), 64);
}

#[test]
fn the_oldest_token_stands_for_all_also_where_only_a_young_identifier_tells() {
    let dir = scratch();
    let vault = open(dir.path());
    let first = token(&vault, 0);
    let second = token(&vault, 3);
    // A third identifier joins the first person after the second one has come.
    assert!(link_one(&vault, &[0, 1]) == first);
    // Another process reads from the log how old that is.
    let other = open(dir.path());
    let (tokens, merged) = link(&other, &[vec![3, 1]]);
    assert!(merged == 1 && tokens[0] == Some(first));
    for vault in [&vault, &other] {
        assert!(token(vault, 3) == first && root(vault, second) == first && root(vault, first) == first);
        assert_eq!(vault.merges().unwrap(), 1);
        assert_eq!(vault.stats().unwrap().merges, 1);
        assert_eq!(vault.verify().unwrap().merges, 1);
    }
}

#[test]
fn groups_of_one_batch_that_share_an_identifier_are_one_person() {
    let dir = scratch();
    let vault = open(dir.path());
    // Unknown ones, in a chain, and the first and last group meet in the middle one.
    let (tokens, merged) = link(&vault, &[vec![0, 1], vec![9], vec![4, 5], vec![1, 2, 4]]);
    assert!(merged == 0 && tokens[0] == tokens[2] && tokens[0] == tokens[3] && tokens[1] != tokens[0]);
    // Known ones: a chain of merges in one call, the oldest in the middle.
    let old = token(&vault, 30);
    let others: Vec<Token> = [33, 36, 39].map(|n| token(&vault, n)).to_vec();
    let (tokens, merged) = link(&vault, &[vec![33, 36], vec![30, 39], vec![36, 39], vec![40, 33]]);
    assert!(merged == 3 && tokens.iter().all(|token| *token == Some(old)));
    assert!(others.iter().all(|token| root(&vault, *token) == old));
    assert!(token(&vault, 40) == old);
    assert_eq!(vault.merges().unwrap(), 3);
    // Nothing is merged twice.
    assert_eq!(link(&vault, &[vec![33, 36, 39, 30, 40]]).1, 0);
}

#[test]
fn the_order_within_a_group_and_of_groups_changes_nothing() {
    let mut rng = StdRng::seed_from_u64(5);
    for round in 0..30 {
        let home = scratch();
        let (one, other) = (home.path().join("one"), home.path().join("other"));
        {
            let vault = open(&one);
            link(&vault, &[vec![0, 1], vec![3], vec![6, 7], vec![9]]);
            for n in 12..20 {
                token(&vault, n);
            }
            link(&vault, &[vec![6, 20], vec![13, 21]]);
        }
        copy(&one, &other);
        let mut groups = vec![vec![0, 3, 50], vec![9, 7, 13], vec![14, 15, 50], vec![21, 20]];
        let vault = open(&one);
        let expected = link(&vault, &groups).1;
        groups.shuffle(&mut rng);
        for group in &mut groups {
            group.shuffle(&mut rng);
        }
        let shuffled = open(&other);
        assert_eq!(link(&shuffled, &groups).1, expected, "round {round}");
        for n in (0..22).filter(|n| ![2, 4, 5, 8, 10, 11].contains(n)) {
            assert!(token(&vault, n) == token(&shuffled, n), "round {round}: {n}");
        }
    }
}

#[test]
fn groups_must_end_where_the_identifiers_do() {
    let dir = scratch();
    let vault = open(dir.path());
    let all = [Identifier { namespace: "mrn", value: b"x" }, Identifier { namespace: "mrn", value: b"y" }];
    let long = "d".repeat(2_000);
    for ends in [&[1][..], &[], &[3], &[2, 1, 2], &[1, 3]] {
        let mut out = vec![None];
        assert!(vault.link(&all, ends, &mut out).is_err());
        assert_eq!(out.len(), 1);
    }
    for namespace in ["", &long] {
        assert!(vault.link(&[Identifier { namespace, value: b"x" }], &[1], &mut Vec::new()).is_err());
    }
    assert_eq!(vault.verify().unwrap().tokens, 0);
}

#[test]
fn reveal_finds_all_identifiers_under_any_token_of_the_person() {
    let dir = scratch();
    let vault = open(dir.path());
    let (young, old) = (31, 1);
    let tokens = [token(&vault, old), token(&vault, young)];
    link(&vault, &[vec![old, young, 0], vec![61, 31]]);
    let third = token(&vault, 100);
    for asked in tokens {
        let all = vault.reveal_all("mrn", &asked).unwrap();
        let all: Vec<&str> = all.iter().map(|value| value.expose_phi().as_str()).collect();
        assert!(all == ["canary-00000", "canary-00010", "canary-00020"]);
        assert!(vault.reveal("mrn", &asked).unwrap().unwrap().expose_phi() == "canary-00000");
        assert_eq!(vault.reveal_all("patient", &asked).unwrap().len(), 1);
        assert!(vault.reveal("member", &asked).unwrap().is_none());
    }
    assert_eq!(vault.reveal_all("mrn", &third).unwrap().len(), 1);
}

/// People as plain sets, and of each token the call that made it.
#[derive(Default)]
struct Model {
    person: HashMap<u32, usize>,
    tokens: Vec<Token>,
    made: HashMap<Token, u64>,
    merges: u64,
}

impl Model {
    /// Takes over a call's groups and answers.
    fn link(&mut self, call: u64, groups: &[Vec<u32>], given: &[Option<Token>]) {
        for (group, given) in groups.iter().zip(given).filter(|(group, _)| !group.is_empty()) {
            let known: BTreeSet<usize> = group.iter().filter_map(|n| self.person.get(n).copied()).collect();
            let person = known.first().copied().unwrap_or_else(|| {
                // What is new in this call may be someone older by another group of it.
                self.made.entry(given.unwrap()).or_insert(call);
                self.tokens.push(given.unwrap());
                self.tokens.len() - 1
            });
            let tokens: BTreeSet<Token> = known.iter().map(|of| self.tokens[*of]).collect();
            if let Some(oldest) = tokens.iter().min_by_key(|token| (self.made[token], token.0)) {
                self.tokens[person] = *oldest;
                self.merges += tokens.len() as u64 - 1;
            }
            for of in self.person.values_mut().filter(|of| known.contains(of)) {
                *of = person;
            }
            self.person.extend(group.iter().map(|n| (*n, person)));
        }
    }

    fn token(&self, n: u32) -> Token {
        self.tokens[self.person[&n]]
    }
}

#[test]
fn several_handles_agree_with_a_simple_model() {
    let dir = scratch();
    let mut rng = StdRng::seed_from_u64(0x11_4e);
    let options = VaultOptions { memory_entries: 120, cache_entries: 64, segment_bytes: 4 << 10, fan_in: 2 };
    let open = || TokenVault::open(dir.path(), keys(), subjects(dir.path()), options.clone()).unwrap();
    let mut handles: Vec<_> = (0..3).map(|_| open()).collect();
    let mut model = Model::default();
    let mut all_tokens: Vec<(u32, Token)> = Vec::new();
    for call in 0..400 {
        let at = rng.random_range(0..handles.len());
        if rng.random_bool(0.05) {
            handles[at] = open();
        }
        let vault = &handles[at];
        let groups: Vec<Vec<u32>> = (0..rng.random_range(1..12))
            .map(|_| {
                // Near numbers, so that people grow and meet, and do not all become one.
                let near = rng.random_range(0..900);
                (0..rng.random_range(0..4)).map(|_| near + rng.random_range(0..4)).collect()
            })
            .collect();
        if rng.random_bool(0.2) {
            let n = rng.random_range(0..900);
            let token = token(vault, n);
            model.link(call, &[vec![n]], &[Some(token)]);
        } else {
            let (given, _) = link(vault, &groups);
            model.link(call, &groups, &given);
            for (group, token) in groups.iter().zip(&given).filter(|(group, _)| !group.is_empty()) {
                assert!(*token == Some(model.token(group[0])), "call {call}");
            }
        }
        if rng.random_bool(0.1) {
            vault.sync().unwrap();
        }
        let reader = &handles[rng.random_range(0..3)];
        for n in (0..6).map(|_| rng.random_range(0..900)).filter(|n| model.person.contains_key(n)).collect::<Vec<_>>() {
            let now = token(reader, n);
            assert!(now == model.token(n), "call {call}: {n}");
            all_tokens.push((n, now));
        }
        assert_eq!(reader.merges().unwrap(), model.merges);
    }
    assert!(model.merges > 50, "{}", model.merges);
    handles.push(open());
    for vault in &handles {
        for n in model.person.keys() {
            assert!(token(vault, *n) == model.token(*n));
        }
        // What was given out once leads to the person for ever.
        for (n, token) in &all_tokens {
            assert!(root(vault, *token) == model.token(*n));
        }
        vault.verify().unwrap();
    }
}

#[test]
fn threads_that_merge_agree() {
    let dir = scratch();
    let vault = open(dir.path());
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let vault = &vault;
            scope.spawn(move || {
                for round in 0..60 {
                    let from = (round + thread * 13) % 60 * 9;
                    // Each thread knows other pairs of the same people.
                    let groups: Vec<Vec<u32>> = (0..9).map(|n| vec![from + n, from + (n + thread + 1) % 9]).collect();
                    link(vault, &groups);
                }
            });
        }
    });
    for from in (0..60).map(|round| round * 9) {
        let first = token(&vault, from);
        assert!((from..from + 9).all(|n| token(&vault, n) == first), "{from}");
    }
    vault.verify().unwrap();
}

const BLOCKS: u32 = 300;
const BLOCK: u32 = 8;

#[test]
fn killed_at_any_instant_nobody_is_two() {
    let dir = scratch();
    let mut rng = StdRng::seed_from_u64(0xdead);
    let rounds = std::env::var("CORDON_KILLS").map_or(25, |n| n.parse().unwrap());
    let mut all: Vec<(Vec<u32>, Token)> = Vec::new();
    let watcher = open(dir.path());
    for round in 0..rounds {
        let mut children: Vec<_> = (0..2).map(|n| spawn(dir.path(), round * 2 + n)).collect();
        for (n, child) in (0..).zip(&mut children) {
            if round % 2 == 1 {
                // However slow the machine is, in some rounds something was told by then.
                told_something(&told_path(dir.path(), round * 2 + n), child);
            }
            std::thread::sleep(Duration::from_micros(rng.random_range(1_000..60_000)));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        for n in 0..2 {
            all.extend(told(dir.path(), round * 2 + n));
        }
        let fresh = open(dir.path());
        for vault in [&watcher, &fresh] {
            let mut roots: Vec<Token> = all.iter().map(|(_, token)| *token).collect();
            vault.roots(&mut roots).unwrap();
            let groups: Vec<Vec<u32>> = all.iter().map(|(group, _)| group.clone()).collect();
            let (now, merged) = link(vault, &groups);
            assert_eq!(merged, 0, "round {round}: a merge was lost");
            assert!(now.iter().zip(&roots).all(|(now, root)| *now == Some(*root)), "round {round}: two tokens");
        }
        assert_eq!(watcher.merges().unwrap(), fresh.merges().unwrap());
        if round % 5 == 4 {
            fresh.verify().unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    }
    assert!(all.len() > 500, "only {} groups before the kills", all.len());
    let merges = watcher.merges().unwrap();
    assert!(merges > 20, "only {merges} merges");
    eprintln!("{rounds} rounds, {} groups, {merges} merges", all.len());
}

/// Not a test of its own: what the spawned processes do.
#[test]
fn child() {
    let Ok(dir) = std::env::var("CORDON_LINK_CHILD") else {
        return;
    };
    let seed = std::env::var("CORDON_LINK_SEED").unwrap().parse().unwrap();
    let dir = Path::new(&dir);
    let mut rng = StdRng::seed_from_u64(seed);
    let vault = open(dir);
    let mut told = std::fs::File::create(told_path(dir, seed)).unwrap();
    loop {
        let groups: Vec<Vec<u32>> = (0..rng.random_range(1..100))
            .map(|_| {
                let block = rng.random_range(0..BLOCKS) * BLOCK;
                (0..3).map(|_| block + rng.random_range(0..BLOCK)).collect()
            })
            .collect();
        let (tokens, _) = link(&vault, &groups);
        if rng.random_bool(0.3) {
            vault.sync().unwrap();
        }
        let mut lines = Vec::new();
        for (group, token) in groups.iter().zip(tokens) {
            lines.extend(group.iter().flat_map(|n| n.to_le_bytes()));
            lines.extend_from_slice(&token.unwrap().0);
        }
        told.write_all(&lines).unwrap();
    }
}

fn spawn(dir: &Path, seed: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "link::child", "--nocapture"]);
    command.env("CORDON_LINK_CHILD", dir).env("CORDON_LINK_SEED", seed.to_string());
    command.stdout(Stdio::null()).spawn().unwrap()
}

fn told_path(dir: &Path, seed: u64) -> std::path::PathBuf {
    dir.with_extension(format!("linked-{seed}"))
}

fn told(dir: &Path, seed: u64) -> Vec<(Vec<u32>, Token)> {
    let path = told_path(dir, seed);
    let Ok(bytes) = std::fs::read(&path) else {
        return Vec::new();
    };
    std::fs::remove_file(path).unwrap();
    let numbers = |record: &[u8]| record[..12].chunks(4).map(|n| u32::from_le_bytes(n.try_into().unwrap())).collect();
    let records = bytes.chunks_exact(28);
    records.map(|record| (numbers(record), Token(*record.last_chunk().unwrap()))).collect()
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).unwrap();
    for file in files(from, "") {
        std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

/// A vault with three merges, synced.
fn merged(dir: &Path) -> [Token; 4] {
    let vault = open(dir);
    let tokens = [0, 3, 6, 9].map(|n| token(&vault, n));
    for pair in [[0, 3], [6, 9], [3, 9]] {
        link(&vault, &[pair.to_vec()]);
    }
    vault.sync().unwrap();
    tokens
}

fn refused(dir: &Path) -> bool {
    match try_open(dir) {
        Err(VaultError::Damaged { .. }) => true,
        Err(error) => panic!("not said to be damage: {error}"),
        Ok(_) => false,
    }
}

#[test]
fn no_byte_of_the_merges_may_change_and_none_may_go() {
    let home = scratch();
    let (good, bad) = (home.path().join("good"), home.path().join("bad"));
    merged(&good);
    let file = files(&good, "merges-").pop().unwrap();
    let bytes = std::fs::read(&file).unwrap();
    copy(&good, &bad);
    let file = bad.join(file.file_name().unwrap());
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&file, &damaged).unwrap();
        assert!(refused(&bad), "byte {at} flipped");
        assert!(std::fs::read(&file).unwrap() == damaged, "a damaged file is left as it is");
        std::fs::write(&file, &bytes[..at]).unwrap();
        assert!(refused(&bad), "cut to {at}");
        assert_eq!(file.metadata().unwrap().len(), at as u64);
    }
    std::fs::remove_file(&file).unwrap();
    assert!(refused(&bad), "removed");
    std::fs::write(&file, &bytes).unwrap();
    open(&bad).verify().unwrap();
}

#[test]
fn an_older_file_of_merges_is_found() {
    let home = scratch();
    let (good, bad, old) = (home.path().join("good"), home.path().join("bad"), home.path().join("old"));
    merged(&good);
    copy(&good, &old);
    let older = open(&old).mark().unwrap();
    let vault = open(&good);
    token(&vault, 30);
    link(&vault, &[vec![0, 30]]);
    vault.sync().unwrap();
    let mark = vault.mark().unwrap();
    assert!(vault.contains(&older).unwrap() && vault.contains(&mark).unwrap());
    let name = files(&old, "merges-").pop().unwrap();
    copy(&good, &bad);
    std::fs::copy(&name, bad.join(name.file_name().unwrap())).unwrap();
    assert!(refused(&bad));
    // The manifest put back with it, or all of the vault: its mark tells.
    std::fs::copy(old.join("MANIFEST"), bad.join("MANIFEST")).unwrap();
    assert!(!open(&bad).contains(&mark).unwrap());
    let copied = open(&old);
    assert!(!copied.contains(&mark).unwrap() && copied.contains(&older).unwrap());
    // Another merge since, so that there are as many.
    token(&copied, 30);
    link(&copied, &[vec![0, 30]]);
    copied.sync().unwrap();
    assert!(!copied.contains(&mark).unwrap() && copied.contains(&older).unwrap());
    // Merges of another vault.
    let other = home.path().join("other");
    merged(&other);
    let foreign = files(&other, "merges-").pop().unwrap();
    std::fs::copy(&foreign, bad.join(foreign.file_name().unwrap())).unwrap();
    assert!(refused(&bad));
    // A mark from before there were merges has none.
    let mut before = serde_json::to_value(&older).unwrap();
    before.as_object_mut().unwrap().remove("merged");
    assert!(vault.contains(&serde_json::from_value(before).unwrap()).unwrap());
}

#[test]
fn a_merge_that_was_not_synced_may_be_torn_and_is_made_again() {
    let home = scratch();
    let (good, bad) = (home.path().join("good"), home.path().join("bad"));
    let tokens = merged(&good);
    let file = files(&good, "merges-").pop().unwrap();
    let synced = file.metadata().unwrap().len();
    let young = token(&open(&good), 30);
    link(&open(&good), &[vec![0, 30]]);
    let bytes = std::fs::read(&file).unwrap();
    for keep in synced as usize..bytes.len() {
        copy(&good, &bad);
        std::fs::write(bad.join(file.file_name().unwrap()), &bytes[..keep]).unwrap();
        let vault = open(&bad);
        assert_eq!(vault.merges().unwrap(), 3);
        assert!(token(&vault, 30) == young);
        assert!(link(&vault, &[vec![30, 9]]) == (vec![Some(tokens[0])], 1));
        vault.verify().unwrap();
    }
    // A vault in which nobody was ever merged may have no file at all, as older ones have none.
    let plain = home.path().join("plain");
    let token_before = token(&open(&plain), 1);
    std::fs::remove_file(files(&plain, "merges-").pop().unwrap()).unwrap();
    let vault = open(&plain);
    assert!(token(&vault, 1) == token_before && link_one(&vault, &[1, 2]) == token_before);
}

#[test]
fn merges_are_not_in_clear_on_disk() {
    let dir = scratch();
    let tokens = merged(dir.path());
    for file in files(dir.path(), "log-").into_iter().chain(files(dir.path(), "merges-")) {
        let bytes = std::fs::read(&file).unwrap();
        let stands = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert!(tokens.iter().all(|token| !stands(&token.0)) && !stands(b"canary") && !stands(b"mrn"));
    }
}

#[test]
fn many_groups_in_one_call_are_taken_in_parts() {
    let dir = scratch();
    let vault = open(dir.path());
    // The last group joins two people of the first part, and one person of the last is known from the first.
    let mut groups: Vec<Vec<u32>> = (0..60_000).map(|n| vec![n * 3, n * 3 + 1]).collect();
    groups.push(vec![0, 3]);
    groups.push(vec![6, 59_999 * 3]);
    let (tokens, merged) = link(&vault, &groups);
    assert!(merged == 1 && tokens[0] == tokens[1] && tokens[0] == tokens[60_000]);
    assert!(tokens[2] == tokens[59_999] && tokens[2] == tokens[60_001]);
    let distinct: BTreeSet<[u8; 16]> = tokens.iter().map(|token| token.unwrap().0).collect();
    assert_eq!(distinct.len(), 59_998);
    let (again, merged) = link(&vault, &groups);
    assert!(merged == 0 && again == tokens);
}

/// Prints what a million groups cost, and what a merge of every second pair does. `cargo nextest run --run-ignored all`.
#[test]
#[ignore = "takes a while; prints figures"]
fn a_million_groups() {
    let dir = scratch();
    let vault = TokenVault::open(dir.path(), keys(), subjects(dir.path()), VaultOptions::default()).unwrap();
    let groups: Vec<Vec<u32>> = (0..1_000_000).map(|n| vec![n * 3, n * 3 + 1, n * 3 + 2]).collect();
    let pairs: Vec<Vec<u32>> = (0..500_000).map(|n| vec![n * 6, n * 6 + 3]).collect();
    let run = |what: &str, groups: &[Vec<u32>], per_group: usize| {
        let (names, start, cpu) = (Duration::ZERO, Instant::now(), cpu_seconds());
        let mut making = names;
        let mut merged = 0;
        for groups in groups.chunks(8_192) {
            let before = Instant::now();
            let names: Vec<_> = groups.iter().flatten().map(|n| named(*n)).collect();
            let all: Vec<_> =
                names.iter().map(|(namespace, value)| Identifier { namespace, value: value.as_bytes() }).collect();
            let ends: Vec<usize> = (1..=groups.len()).map(|n| n * per_group).collect();
            making += before.elapsed();
            merged += vault.link(&all, &ends, &mut Vec::new()).unwrap().merged;
        }
        let cpu = cpu_seconds() - cpu - making.as_secs_f64();
        let count = groups.len() * per_group;
        eprintln!(
            "{what}: {count} identifiers, {merged} merged, {:.2} s, {:.0} k identifiers per CPU second; peak memory {} MB",
            start.elapsed().as_secs_f64(),
            count as f64 / cpu / 1e3,
            peak_megabytes(),
        );
    };
    run("first seen", &groups, 3);
    run("seen", &groups, 3);
    run("merging", &pairs, 2);
    run("seen and merged", &groups, 3);
    assert_eq!(vault.merges().unwrap(), 500_000);
    let start = Instant::now();
    vault.sync().unwrap();
    drop(vault);
    let vault = TokenVault::open(dir.path(), keys(), subjects(dir.path()), VaultOptions::default()).unwrap();
    eprintln!("synced and opened again in {:.2} s", start.elapsed().as_secs_f64());
    assert_eq!(vault.merges().unwrap(), 500_000);
    let firsts = link(&vault, &pairs[..1_000]).0;
    same(
        &firsts.into_iter().flatten().collect::<Vec<_>>(),
        &(0..1_000).map(|n| token(&vault, n * 6 + 3)).collect::<Vec<_>>(),
    );
}

pub(crate) fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

pub(crate) fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}
