//! Tokens a second and nanoseconds of CPU a value: first seen, seen in the same order, seen in another order, put under new keys.
//!
//! `N=20000000 cargo bench -p cordon-vault`; also `BATCH` (8192), `DIR` (a temporary folder), `ONLY` (`first`, or `seen`, `random`
//! or `rekey` with a `DIR` from before), `MEMORY` and `FAN_IN`.
#![allow(clippy::print_stdout, clippy::expect_used)]

#[path = "measure/mod.rs"]
mod measure;

use std::{path::Path, time::Instant};

use cordon_crypto::{BlindIndexKey, KeyedHash, SubjectSealKey, VaultKey};
use cordon_phi::{Token, TokenStore as _};
use cordon_vault::{SubjectKeys, TokenVault, VaultKeys, VaultOptions};

use measure::{cpu_seconds, number, peak_megabytes, shuffled, texts};

fn main() {
    let n = number("N", 2_000_000);
    let batch = number("BATCH", 8_192);
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let given = std::env::var("DIR").ok();
    let dir = given.as_deref().map_or(scratch.path(), Path::new).join("vault");
    let open = || {
        let subjects = SubjectKeys::open_or_create(&dir.with_extension("keys"), &SubjectSealKey::from_bytes([3; 32]));
        let keys = VaultKeys { blind: BlindIndexKey::from_bytes([1; 32]), values: VaultKey::from_bytes([2; 32]) };
        let defaults = VaultOptions::default();
        let options = VaultOptions {
            memory_entries: number("MEMORY", defaults.memory_entries as u64) as usize,
            fan_in: number("FAN_IN", defaults.fan_in as u64) as usize,
            ..defaults
        };
        TokenVault::open(&dir, keys, subjects.expect("the subject keys open").into(), options).expect("the vault opens")
    };
    println!("{n} values of 11 bytes, batches of {batch}");
    // What the processor does today, for comparison: the one part that no vault can leave out.
    let hash = KeyedHash::new(&[1; 32]);
    measure("blind index alone", 2_000_000, || {
        for i in 0..2_000_000_u32 {
            let [a, b, c, d] = i.to_le_bytes();
            std::hint::black_box(hash.tag128(&[a, b, c, d, 0, 0, 0, 0, 0, 0, 0]));
        }
    });
    let vault = open();
    let only = std::env::var("ONLY").unwrap_or_default();
    let sample = n.min(4_000_000);
    let shuffled = |i: u64| shuffled(i, n);
    match only.as_str() {
        "rekey" => return rekey(&vault, n),
        "seen" => return phase("seen, same order", &vault, n, batch, |i| i),
        "random" => return phase("seen, random order", &vault, sample, batch, shuffled),
        _ => {}
    }
    phase("first seen", &vault, n, batch, |i| i);
    if only == "first" {
        println!("peak memory {} MB", peak_megabytes());
        return;
    }
    measure("sync", 1, || vault.sync().expect("synced"));
    phase("seen, same order", &vault, n, batch, |i| i);
    phase("seen, random order", &vault, sample, batch, shuffled);
    phase("seen, a thousand hot", &vault, sample, batch, |i| shuffled(i) % 1_000);
    drop(vault);
    let mut reopened = None;
    measure("open", 1, || reopened = Some(open()));
    let vault = reopened.expect("open");
    phase("seen after opening", &vault, n.min(4_000_000), batch, |i| i);
    let stats = vault.stats().expect("stats");
    println!(
        "log {:.1} and index {:.1} bytes a token, {} runs; peak memory {} MB",
        stats.log_bytes as f64 / n as f64,
        stats.index_bytes as f64 / n as f64,
        stats.runs,
        peak_megabytes()
    );
    rekey(&vault, n);
}

fn rekey(vault: &TokenVault, n: u64) {
    let new = VaultKeys { blind: BlindIndexKey::from_bytes([4; 32]), values: VaultKey::from_bytes([5; 32]) };
    measure("new keys", n, || {
        let done = vault.rekey(None, &new, &mut |_| {}).expect("new keys");
        assert_eq!(done.values, n);
    });
    println!("peak memory {} MB", peak_megabytes());
}

fn phase(name: &str, vault: &TokenVault, n: u64, batch: u64, value: impl Fn(u64) -> u64) {
    // Making the values is not what is measured: its CPU time is taken off.
    let mut text = Vec::new();
    let mut out: Vec<Token> = Vec::with_capacity(batch as usize);
    let make = |from: u64, text: &mut Vec<[u8; 11]>| texts(from..n.min(from + batch), text, &value);
    let cpu = cpu_seconds();
    for from in (0..n).step_by(batch as usize) {
        make(from, &mut text);
        std::hint::black_box(text.iter().map(<[u8; 11]>::as_slice).collect::<Vec<_>>());
    }
    let making = cpu_seconds() - cpu;
    let started = Instant::now();
    let cpu = cpu_seconds();
    for from in (0..n).step_by(batch as usize) {
        make(from, &mut text);
        let values: Vec<&[u8]> = text.iter().map(<[u8; 11]>::as_slice).collect();
        out.clear();
        vault.get_or_create("ssn", &values, &mut out).expect("tokens");
    }
    report(name, n, cpu_seconds() - cpu - making, started.elapsed().as_secs_f64());
}

fn measure(name: &str, n: u64, work: impl FnOnce()) {
    let (started, cpu) = (Instant::now(), cpu_seconds());
    work();
    report(name, n, cpu_seconds() - cpu, started.elapsed().as_secs_f64());
}

fn report(name: &str, n: u64, cpu: f64, wall: f64) {
    let each = cpu / n as f64 * 1e9;
    if n == 1 {
        println!("{name:>22}: {cpu:.3} s CPU, {wall:.3} s wall");
    } else {
        println!("{name:>22}: {each:.0} ns CPU a value, {:.2} M/s wall", n as f64 / wall / 1e6);
    }
}
