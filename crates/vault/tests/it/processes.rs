//! Threads and processes at once, and processes that are killed.

use std::{
    collections::HashMap,
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Barrier,
    time::Duration,
};

use cordon_phi::Token;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{open, same, scratch, tokens, told_something};

const VALUES: u64 = 12_000;

#[test]
fn threads_agree() {
    let dir = scratch();
    let vault = open(dir.path());
    let start = Barrier::new(4);
    let all: Vec<Vec<Token>> = std::thread::scope(|scope| {
        let work = |thread: u64| {
            let (vault, start) = (&vault, &start);
            move || {
                start.wait();
                let mut got = vec![Token([0; 16]); 6_000];
                for batch in 0..30_u64 {
                    // Each thread goes through the same values from another end.
                    let from = (batch + thread * 7) % 30 * 200;
                    let batch = tokens(vault, "mrn", from..from + 200);
                    got[from as usize..from as usize + 200].copy_from_slice(&batch);
                }
                got
            }
        };
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(work(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for got in &all {
        same(got, &all[0]);
    }
    assert_eq!(vault.verify().unwrap().tokens, 6_000);
}

#[test]
fn processes_agree() {
    let dir = scratch();
    let here = open(dir.path());
    let mut children: Vec<_> = (0..3).map(|n| spawn(dir.path(), n, Some(60))).collect();
    let mut got = HashMap::new();
    for from in (0..VALUES).step_by(400) {
        let batch = tokens(&here, "mrn", from..from + 400);
        got.extend((from..from + 400).zip(batch));
    }
    for (n, child) in children.iter_mut().enumerate() {
        assert!(child.wait().unwrap().success());
        for (value, token) in told(dir.path(), n as u64) {
            assert!(got[&value] == token, "value {value} has two tokens");
        }
    }
    assert_eq!(here.verify().unwrap().tokens, VALUES);
    assert_eq!(open(dir.path()).verify().unwrap().tokens, VALUES);
}

#[test]
fn killed_at_any_instant_nothing_told_is_lost() {
    let dir = scratch();
    let mut rng = StdRng::seed_from_u64(0x5eed);
    let rounds = std::env::var("CORDON_KILLS").map_or(25, |n| n.parse().unwrap());
    let mut known = HashMap::<u64, Token>::new();
    for round in 0..rounds {
        let mut children: Vec<_> = (0..2).map(|n| spawn(dir.path(), round * 2 + n, None)).collect();
        for (n, child) in (0..).zip(&mut children) {
            if round % 2 == 1 {
                // However slow the machine is, in some rounds something was told by then.
                told_something(&told_path(dir.path(), round * 2 + n), child);
            }
            std::thread::sleep(Duration::from_micros(rng.random_range(1_000..60_000)));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let vault = open(dir.path());
        for n in 0..2 {
            for (value, token) in told(dir.path(), round * 2 + n) {
                let before = known.insert(value, token);
                assert!(before.is_none_or(|before| before == token), "round {round}: two tokens");
            }
        }
        let values: Vec<_> = known.keys().copied().collect();
        let again = tokens(&vault, "mrn", values.iter().copied());
        for (value, token) in values.iter().zip(again) {
            assert!(known[value] == token, "round {round}: a token was lost");
        }
        if round % 5 == 4 {
            vault.verify().unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    }
    assert!(known.len() > 500, "only {} values before the kills", known.len());
    let stats = open(dir.path()).stats().unwrap();
    assert_eq!(stats.rebuilt_runs, 0);
    eprintln!("{rounds} rounds, {} values, {} runs", known.len(), stats.runs);
}

/// Not a test of its own: what the spawned processes do.
#[test]
fn child() {
    let Ok(dir) = std::env::var("CORDON_VAULT_CHILD") else {
        return;
    };
    let seed = std::env::var("CORDON_VAULT_SEED").unwrap().parse().unwrap();
    let batches = std::env::var("CORDON_VAULT_BATCHES").ok().map_or(u64::MAX, |n| n.parse().unwrap());
    let dir = Path::new(&dir);
    let mut rng = StdRng::seed_from_u64(seed);
    let vault = open(dir);
    let mut told = std::fs::File::create(told_path(dir, seed)).unwrap();
    for _ in 0..batches {
        let from = rng.random_range(0..VALUES);
        let values: Vec<u64> = (from..VALUES.min(from + rng.random_range(1..300))).collect();
        let tokens = tokens(&vault, "mrn", values.iter().copied());
        if rng.random_bool(0.3) {
            vault.sync().unwrap();
        }
        let mut lines = Vec::new();
        for (value, token) in values.iter().zip(tokens) {
            lines.extend_from_slice(&value.to_le_bytes());
            lines.extend_from_slice(&token.0);
        }
        told.write_all(&lines).unwrap();
    }
}

fn spawn(dir: &Path, seed: u64, batches: Option<u64>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "processes::child", "--nocapture"]);
    command.env("CORDON_VAULT_CHILD", dir).env("CORDON_VAULT_SEED", seed.to_string());
    if let Some(batches) = batches {
        command.env("CORDON_VAULT_BATCHES", batches.to_string());
    }
    command.stdout(Stdio::null()).spawn().unwrap()
}

fn told_path(dir: &Path, seed: u64) -> std::path::PathBuf {
    dir.with_extension(format!("told-{seed}"))
}

/// The (value, token) pairs that a child was given. Its last record may be cut short.
fn told(dir: &Path, seed: u64) -> Vec<(u64, Token)> {
    let path = told_path(dir, seed);
    let Ok(bytes) = std::fs::read(&path) else {
        return Vec::new();
    };
    std::fs::remove_file(path).unwrap();
    let records = bytes.chunks_exact(24);
    records.map(|r| (u64::from_le_bytes(*r.first_chunk().unwrap()), Token(*r.last_chunk().unwrap()))).collect()
}
