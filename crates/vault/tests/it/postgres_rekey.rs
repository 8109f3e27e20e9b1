//! New keys for a vault in PostgreSQL, while others have it open.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use cordon_phi::{Identifier, IdentityStore as _, Token, TokenError};
use cordon_vault::{
    DossierKeeper, DossierOptions, PostgresDossiers, PostgresVault, Rekeyed, Vault, VaultError, postgres::migrate,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    name,
    postgres::{config, migrated, subject_keys, work},
    postgres_server::{Server, is_installed},
    rekey::{GONE, PEOPLE, Seen, ask, fill, keys_of, seen, try_ask, versions},
};

fn try_open(base: &Path, port: u16, numbers: std::ops::RangeInclusive<u8>) -> Result<Arc<PostgresVault>, VaultError> {
    let config = config(port, "cordon", "work.pgpass");
    PostgresVault::open_with(&config, base, &versions(numbers), subject_keys(base), 1 << 12).map(Arc::new)
}

fn world(server: &Server, numbers: std::ops::RangeInclusive<u8>) -> (Arc<dyn Vault>, Arc<dyn DossierKeeper>, u32) {
    let vault = try_open(server.dir.path(), server.port, numbers).unwrap_or_else(|error| panic!("{error}"));
    let version = vault.key_version();
    (vault.clone(), dossiers(&vault), version)
}

fn dossiers(vault: &Arc<PostgresVault>) -> Arc<PostgresDossiers> {
    let options = DossierOptions { memory_bytes: 24 << 10, ..DossierOptions::default() };
    Arc::new(PostgresDossiers::open(Arc::clone(vault), options).unwrap())
}

fn rekey(base: &Path, port: u16, from: u8, to: u8, stop: u64) -> Result<Rekeyed, VaultError> {
    let owner = config(port, "vault_owner", "owner.pgpass");
    let vault = PostgresVault::open_with(&owner, base, &versions(from..=from), subject_keys(base), 0)?;
    let mut step = 0;
    vault.rekey("cordon", &keys_of(to), &mut |_| {
        step += 1;
        if step == stop {
            std::process::abort();
        }
    })
}

fn is_refused<T>(done: Result<T, TokenError>) {
    let error = done.err().unwrap().to_string();
    assert!(error.contains("keys of the vault were changed"), "{error}");
}

#[test]
fn all_is_as_before_and_the_old_keys_are_good_for_nothing() {
    if !is_installed() {
        return;
    }
    let server = migrated();
    let base = server.dir.path();
    let (vault, store, _) = world(&server, 0..=0);
    fill(&vault, &store);
    let before = seen(&vault, &store);
    let gone = Seen::token_of_gone(&*vault);
    let old = try_open(base, server.port, 0..=0).unwrap();
    assert!(old.shred(&[gone]).unwrap().entries >= 5);
    let person = ask(&*vault, "mrn", [GONE + 300])[0];
    let mark = vault.mark().unwrap();
    let live = vault.verify().unwrap();
    let dump = server.dump();

    let done = rekey(base, server.port, 0, 1, u64::MAX).unwrap();
    assert_eq!((done.values, done.destroyed, done.merges), (live.tokens, 5, before_merges(&vault)));
    assert!(done.unknown == 0 && done.dossiers >= 600, "{done:?}");

    // Whoever has it open finds no table of his: nothing new, no link, no dossier.
    is_refused(try_ask(&*vault, "mrn", [PEOPLE + 5]));
    let values = [name(PEOPLE + 7), name(8)];
    let pair = values.each_ref().map(|value| Identifier { namespace: "mrn", value: value.as_bytes() });
    is_refused(vault.link(&pair, &[2], &mut Vec::new()));
    is_refused(store.known(&[person], &mut Vec::new()));
    assert!(matches!(vault.reveal_all("mrn", &gone), Err(VaultError::Rekeyed { .. })));
    assert!(matches!(vault.verify(), Err(VaultError::Rekeyed { .. })));
    assert!(matches!(old.shred(&[gone]), Err(VaultError::Rekeyed { .. })));
    assert!(matches!(try_open(base, server.port, 0..=0), Err(VaultError::WrongDatabaseKey { .. })));
    assert_eq!(
        server.admin(
            "vault",
            "SELECT count(*) FROM pg_tables WHERE tablename IN ('tokens', 'domains', 'dossiers', 'kinds')"
        ),
        "0"
    );

    let (vault, store, version) = world(&server, 0..=1);
    assert_eq!(version, 2);
    assert!(seen(&vault, &store) == before);
    let now = vault.verify().unwrap();
    assert_eq!((now.tokens, now.merges), (live.tokens, live.merges));
    store.verify().unwrap();
    assert!(vault.contains(&mark).unwrap() && vault.reveal_all("mrn", &gone).unwrap().is_empty());
    let somebody_else = ask(&*vault, "mrn", [GONE, PEOPLE + 1]);
    assert!(somebody_else[0] != gone);
    // A new domain comes after the old ones.
    ask(&*vault, "encounter", 0..10);
    vault.verify().unwrap();

    // The working role may what it could, and no more.
    assert!(server.may("SELECT count(*) FROM cordon.tokens_1"));
    for denied in [
        "DELETE FROM cordon.tokens_1",
        "DROP TABLE cordon.tokens_1",
        "UPDATE cordon.tokens_1 SET blind = blind",
        "CREATE TABLE cordon.x ()",
    ] {
        assert!(!server.may(denied), "{denied}");
    }
    let owner = config(server.port, "vault_owner", "owner.pgpass");
    let again = migrate(&work(&server), &owner, base, &keys_of(1), &subject_keys(base)).unwrap();
    assert_eq!((again.from, again.to), (3, 3));
    ask(&*vault, "mrn", [PEOPLE + 2]);

    // Once more, and not by who does not own it, nor under the same keys.
    assert!(matches!(rekey(base, server.port, 1, 1, u64::MAX), Err(VaultError::SameKeys { .. })));
    let mine = try_open(base, server.port, 1..=1).unwrap();
    let denied = mine.rekey("cordon", &keys_of(2), &mut |_| {}).unwrap_err().to_string();
    assert!(denied.contains("lacks a privilege"), "{denied}");
    rekey(base, server.port, 1, 2, u64::MAX).unwrap();
    is_refused(try_ask(&*vault, "mrn", [PEOPLE + 9]));
    let (vault, store, version) = world(&server, 0..=2);
    assert_eq!(version, 3);
    assert!(seen(&vault, &store) == before);
    assert!(ask(&*vault, "mrn", [GONE, PEOPLE + 1]) == somebody_else);
    assert!(vault.contains(&mark).unwrap());
    vault.verify().unwrap();
    store.verify().unwrap();

    // A dump of before: refused with the new keys, and with its own as it was.
    server.restore(&dump);
    assert!(matches!(try_open(base, server.port, 1..=2), Err(VaultError::WrongDatabaseKey { .. })));
    let (vault, store, version) = world(&server, 0..=2);
    assert_eq!(version, 1);
    assert!(seen(&vault, &store) == before);
}

fn before_merges(vault: &Arc<dyn Vault>) -> u64 {
    vault.merges().unwrap()
}

/// Several machines give out tokens, link people and destroy somebody while another changes the keys.
#[test]
fn writers_at_once_are_refused_and_what_they_had_been_given_stays() {
    if !is_installed() {
        return;
    }
    let server = migrated();
    let (base, port) = (server.dir.path(), server.port);
    let (vault, store, _) = world(&server, 0..=0);
    fill(&vault, &store);
    let until = Instant::now() + Duration::from_mins(3);
    let given: Vec<(u64, Vec<Token>)> = thread::scope(|scope| {
        let writers: Vec<_> = (0..4_u64)
            .map(|writer| {
                scope.spawn(move || {
                    let vault = try_open(base, port, 0..=0).unwrap();
                    // Two of them over the same values.
                    let from = PEOPLE * (writer / 2 + 2);
                    let mut all: Vec<Token> = Vec::new();
                    let error = loop {
                        let at = from + all.len() as u64;
                        let tokens = if writer % 2 == 0 {
                            try_ask(&*vault, "mrn", at..at + 50)
                        } else {
                            let values: Vec<String> = (at..at + 50).map(name).collect();
                            let each =
                                values.iter().map(|value| Identifier { namespace: "mrn", value: value.as_bytes() });
                            let (each, ends): (Vec<_>, Vec<usize>) = (each.collect(), (1..=50).collect());
                            let mut out = Vec::new();
                            vault.link(&each, &ends, &mut out).map(|_| out.into_iter().flatten().collect())
                        };
                        match tokens {
                            Ok(tokens) => all.extend(tokens),
                            Err(error) => break error,
                        }
                        assert!(Instant::now() < until, "it was not refused");
                    };
                    is_refused::<()>(Err(error));
                    (from, all)
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(500));
        let done = rekey(base, port, 0, 1, u64::MAX).unwrap();
        assert!(done.values > PEOPLE);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let (vault, store, _) = world(&server, 1..=1);
    let count = vault.stats().unwrap().domains;
    for (from, tokens) in given {
        assert!(!tokens.is_empty());
        assert!(ask(&*vault, "mrn", from..from + tokens.len() as u64) == tokens, "a value got two tokens");
    }
    assert_eq!(vault.stats().unwrap().domains, count, "all of it was in the vault");
    vault.verify().unwrap();
    store.verify().unwrap();
}

/// Not a test of its own: what the spawned process does.
#[test]
fn child() {
    let Ok(base) = std::env::var("CORDON_REKEY_BASE") else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let from = number("CORDON_REKEY_FROM") as u8;
    rekey(Path::new(&base), number("CORDON_REKEY_PORT") as u16, from, from + 1, number("CORDON_REKEY_STOP")).unwrap();
}

fn spawn(server: &Server, from: u8, stop: u64) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "postgres_rekey::child", "--nocapture"]).env("CORDON_REKEY_BASE", server.dir.path());
    command.env("CORDON_REKEY_PORT", server.port.to_string()).env("CORDON_REKEY_STOP", stop.to_string());
    command.env("CORDON_REKEY_FROM", from.to_string());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn killed_or_cut_off_at_any_instant_it_is_under_the_old_keys_or_the_new() {
    if !is_installed() {
        return;
    }
    let server = migrated();
    let (base, port) = (server.dir.path(), server.port);
    let (vault, store, _) = world(&server, 0..=0);
    fill(&vault, &store);
    let before = seen(&vault, &store);
    drop((vault, store));
    let began = Instant::now();
    assert!(spawn(&server, 0, u64::MAX).wait().unwrap().success());
    let span = began.elapsed();
    let seed = 0x5eed;
    let mut rng = StdRng::seed_from_u64(seed);
    let rounds = std::env::var("CORDON_KILLS").map_or(8, |n| n.parse().unwrap());
    let (mut at, mut old, mut new) = (1, 0, 0);
    for round in 0..rounds {
        let stop = if round % 4 == 1 { rng.random_range(1..8) } else { u64::MAX };
        let mut child = spawn(&server, at, stop);
        if stop == u64::MAX {
            thread::sleep(span.mul_f64(rng.random_range(0.0..1.1)));
            if round % 4 == 3 {
                // The server goes and comes back; it is begun again by itself, or gives up.
                server.down("immediate");
                server.up();
            } else {
                let _ = child.kill();
            }
        }
        child.wait().unwrap();
        // The server may not have seen yet that somebody is gone.
        let vault =
            try_open(base, port, at..=at + 1).unwrap_or_else(|error| panic!("seed {seed}, round {round}: {error}"));
        if vault.key_version() == u32::from(at) + 1 {
            old += 1;
        } else {
            new += 1;
            at += 1;
        }
        drop(vault);
        let (vault, store, _) = world(&server, at..=at);
        assert!(seen(&vault, &store) == before, "seed {seed}, round {round}");
        vault.verify().unwrap_or_else(|error| panic!("seed {seed}, round {round}: {error}"));
    }
    rekey(base, port, at, at + 1, u64::MAX).unwrap();
    let (vault, store, _) = world(&server, at + 1..=at + 1);
    assert!(seen(&vault, &store) == before);
    let tables = server
        .admin("vault", "SELECT count(*) FROM pg_tables WHERE schemaname = 'cordon' AND tablename LIKE 'tokens%'");
    assert_eq!(tables, "1", "nothing that was begun is left");
    eprintln!("{rounds} kills within {span:?}: {old} under the old keys, {new} under the new");
}
