//! Tokens a second from a vault in a PostgreSQL of the bench's own, over TLS on this machine, with its log on disk.
//!
//! `N=10000000 cargo bench -p cordon-vault --bench postgres`; also `BATCH` (8192, as runs ask), `THREADS` (2), and `SERVER`, lines
//! for postgresql.conf in the place of those below, or nothing for the server's defaults.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing
)]

#[path = "measure/mod.rs"]
mod measure;
#[path = "../tests/it/postgres_server.rs"]
mod postgres_server;

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use cordon_crypto::{BlindIndexKey, SubjectSealKey, VaultKey};
use cordon_phi::TokenStore as _;
use cordon_vault::{PostgresConfig, PostgresVault, SubjectKeys, Vault as _, VaultKeys, postgres::migrate};

use measure::{cpu_seconds, number, peak_megabytes, resident_megabytes, shuffled, texts};
use postgres_server::Server;

/// What `docs/vault.md` recommends.
const RECOMMENDED: &str =
    "shared_buffers = 1GB\nmax_wal_size = 8GB\ncheckpoint_timeout = 30min\nwal_compression = on\n";

fn main() {
    if !postgres_server::is_installed() {
        return;
    }
    let n = number("N", 1_000_000);
    let batch = number("BATCH", 8_192);
    let threads = number("THREADS", 2);
    let settings = std::env::var("SERVER").unwrap_or_else(|_| RECOMMENDED.to_owned());
    let server = Server::start();
    let mut file = std::fs::OpenOptions::new().append(true).open(server.data().join("postgresql.conf")).unwrap();
    file.write_all(settings.as_bytes()).unwrap();
    server.down("fast");
    server.up();
    let base = server.dir.path();
    let config = |user: &str, pgpass: &str| -> PostgresConfig {
        serde_json::from_value(serde_json::json!({ "host": "127.0.0.1", "port": server.port, "database": "vault",
            "user": user, "ca-file": "ca.crt", "pgpass": pgpass }))
        .unwrap()
    };
    let keys = || VaultKeys { blind: BlindIndexKey::from_bytes([1; 32]), values: VaultKey::from_bytes([2; 32]) };
    let path = base.join("subject-keys");
    let subjects =
        || Arc::new(SubjectKeys::open_or_create(&path, &SubjectSealKey::from_bytes([3; 32])).expect("subject keys"));
    let work = config("cordon", "work.pgpass");
    migrate(&work, &config("vault_owner", "owner.pgpass"), base, &keys(), &subjects()).expect("migrated");
    let open = |cache| PostgresVault::open(&work, base, keys(), subjects(), cache).expect("the vault opens");

    println!("{n} values of 11 bytes, batches of {batch}, {threads} threads; {}", settings.trim().replace('\n', ", "));
    let began = resident_megabytes();
    let cache = 6 << 18;
    let vault = open(cache);
    let tenth = (n / 10).max(1);
    phase("first seen, a tenth", &vault, &server, 0..tenth, batch, threads, |i| i);
    let after_tenth = resident_megabytes();
    phase("first seen, the rest", &vault, &server, tenth..n, batch, threads, |i| i);
    println!("memory {began} MB at first, {after_tenth} MB after a tenth, {} MB after all", resident_megabytes());
    drop(vault);
    // Another process, which remembers nothing.
    let vault = open(cache);
    let sample = n.min(2_000_000);
    phase("seen, same order", &vault, &server, 0..sample, batch, threads, |i| i);
    drop(vault);
    let vault = open(cache);
    phase("seen, random order", &vault, &server, 0..sample, batch, threads, |i| shuffled(i, n));
    phase("seen, a thousand hot", &vault, &server, 0..sample, batch, threads, |i| shuffled(i, n) % 1_000);
    let stats = vault.stats().expect("stats");
    println!(
        "table {:.0} and index {:.0} bytes a token; our peak memory {} MB",
        stats.log_bytes as f64 / n as f64,
        stats.index_bytes as f64 / n as f64,
        peak_megabytes()
    );
}

fn phase(
    name: &str,
    vault: &PostgresVault,
    server: &Server,
    range: std::ops::Range<u64>,
    batch: u64,
    threads: u64,
    value: impl Fn(u64) -> u64 + Sync,
) {
    let next = AtomicU64::new(range.start);
    let (cpu, theirs, started) = (cpu_seconds(), server_cpu(server), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let (mut text, mut out) = (Vec::new(), Vec::new());
                loop {
                    let from = next.fetch_add(batch, Ordering::Relaxed);
                    if from >= range.end {
                        return;
                    }
                    texts(from..range.end.min(from + batch), &mut text, &value);
                    let values: Vec<&[u8]> = text.iter().map(<[u8; 11]>::as_slice).collect();
                    out.clear();
                    vault.get_or_create("ssn", &values, &mut out).expect("tokens");
                }
            });
        }
    });
    let (seconds, n) = (started.elapsed().as_secs_f64(), (range.end - range.start) as f64);
    let micros = |seconds: f64| seconds / n * 1e6;
    println!(
        "{name:>22}: {:.1} k/s wall; µs CPU a value: ours {:.2}, the server's {:.2}",
        n / seconds / 1e3,
        micros(cpu_seconds() - cpu),
        micros(server_cpu(server) - theirs),
    );
}

/// User and system time of the server and of those of its processes that ended.
fn server_cpu(server: &Server) -> f64 {
    let pid = std::fs::read_to_string(server.data().join("postmaster.pid")).unwrap();
    let first = pid.lines().next().unwrap().to_owned();
    let mut sum = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((name, fields)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let own = name.split(' ').next() == Some(first.as_str());
        if own || fields[1] == first {
            sum += fields[11..if own { 15 } else { 13 }].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>();
        }
    }
    sum as f64 / 100.0
}
