#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr)]
//! The vault as its users meet it: through files, processes and accidents.

mod basics;
mod damage;
mod disk;
mod dossiers;
mod link;
mod postgres;
mod postgres_dossiers;
mod postgres_rekey;
mod postgres_server;
mod processes;
mod recipients;
mod rekey;
mod shred;
mod shred_killed;
mod subject_keys;

use std::{path::Path, sync::Arc};

use cordon_crypto::{BlindIndexKey, SubjectSealKey, VaultKey};
use cordon_phi::{Token, TokenStore as _};
use cordon_vault::{SubjectKeys, TokenVault, VaultError, VaultKeys, VaultOptions};

/// In memory where there is such a place: these tests kill processes and not machines, and `sync` a thousand times.
/// Waits until a spawned process has told something.
fn told_something(told: &std::path::Path, child: &mut std::process::Child) {
    let until = std::time::Instant::now() + std::time::Duration::from_mins(2);
    while std::fs::metadata(told).map_or(0, |file| file.len()) == 0 {
        assert!(std::time::Instant::now() < until && child.try_wait().unwrap().is_none(), "nothing was ever told");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

fn keys() -> VaultKeys {
    VaultKeys { blind: BlindIndexKey::from_bytes([1; 32]), values: VaultKey::from_bytes([2; 32]) }
}

/// In the temporary folder that `dir` is in: copies of a vault there are read with the same.
fn subjects(dir: &Path) -> Arc<SubjectKeys> {
    try_subjects(dir).unwrap_or_else(|error| panic!("{error}"))
}

fn try_subjects(dir: &Path) -> Result<Arc<SubjectKeys>, VaultError> {
    let temporary = |path: &&Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".tmp"));
    let home = dir.ancestors().find(temporary).unwrap_or(dir);
    let key = SubjectSealKey::from_bytes([3; 32]);
    SubjectKeys::open_or_create(&home.join("subject-keys"), &key).map(Arc::new)
}

/// Sizes so small that a few thousand values flush, merge and roll many times.
fn tiny() -> VaultOptions {
    VaultOptions { memory_entries: 500, cache_entries: 400, segment_bytes: 32 << 10, fan_in: 2 }
}

fn open(dir: &Path) -> TokenVault {
    try_open(dir).unwrap_or_else(|error| panic!("{error}"))
}

fn try_open(dir: &Path) -> Result<TokenVault, VaultError> {
    TokenVault::open(dir, keys(), try_subjects(dir)?, tiny())
}

fn name(n: u64) -> String {
    format!("canary-{n:05}")
}

fn tokens(vault: &TokenVault, domain: &str, numbers: impl IntoIterator<Item = u64>) -> Vec<Token> {
    try_tokens(vault, domain, numbers).unwrap()
}

fn try_tokens(
    vault: &TokenVault,
    domain: &str,
    numbers: impl IntoIterator<Item = u64>,
) -> Result<Vec<Token>, cordon_phi::TokenError> {
    let values: Vec<String> = numbers.into_iter().map(name).collect();
    let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
    let mut out = Vec::new();
    vault.get_or_create(domain, &values, &mut out)?;
    assert_eq!(out.len(), values.len());
    Ok(out)
}

/// `Token` has no `Debug`, so that none stands in a log by accident.
#[track_caller]
fn same(left: &[Token], right: &[Token]) {
    assert!(left == right, "tokens differ");
}

fn files(dir: &Path, prefix: &str) -> Vec<std::path::PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix))
        .collect();
    found.sort();
    found
}
