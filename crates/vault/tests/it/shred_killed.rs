//! A destruction that is killed inside: the person is wholly there or, when it is done again, wholly gone, and nobody else is harmed.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use cordon_crypto::{BlindIndexKey, SubjectSealKey, VaultKey};
use cordon_phi::{Identifier, IdentityStore as _, Token, TokenStore as _};
use cordon_vault::{PostgresConfig, PostgresVault, SubjectKeys, Vault as _, VaultKeys, postgres::migrate};
use data_encoding::HEXLOWER;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    postgres_server::{Server, is_installed},
    same, scratch,
    shred::{admit, dossiers, people, town, towns, vault},
};

const PEOPLE: u64 = 300;

fn rounds(most: u64) -> u64 {
    std::env::var("CORDON_KILLS").map_or(most, |n| n.parse().unwrap())
}

/// What the parent has in hand of a child that destroys somebody.
struct Destroying {
    child: Child,
    dir: std::path::PathBuf,
}

impl Destroying {
    fn start(test: &str, home: &Path, token: Token, more: &str) -> Self {
        let dir = home.join("signs");
        fs::create_dir_all(&dir).unwrap();
        for sign in ["ready", "done"] {
            let _ = fs::remove_file(dir.join(sign));
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]).env("CORDON_SHRED_HOME", home).env("CORDON_SHRED_MORE", more);
        command.env("CORDON_SHRED_TOKEN", HEXLOWER.encode(&token.0)).stdout(Stdio::null());
        let mut started = Self { child: command.spawn().unwrap(), dir };
        let until = Instant::now() + Duration::from_mins(1);
        while !started.has("ready") {
            assert!(Instant::now() < until && started.child.try_wait().unwrap().is_none(), "it does not begin");
            std::thread::sleep(Duration::from_micros(100));
        }
        started
    }

    fn has(&self, sign: &str) -> bool {
        self.dir.join(sign).exists()
    }

    /// How long it takes when nobody kills it.
    fn undisturbed(mut self) -> Duration {
        let began = Instant::now();
        assert!(self.child.wait().unwrap().success());
        began.elapsed()
    }

    /// Whether it was done by then.
    fn killed_after(mut self, delay: Duration) -> bool {
        std::thread::sleep(delay);
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.has("done")
    }
}

/// What a child is told, and nothing where this is no child.
fn told() -> Option<(std::path::PathBuf, Token, String)> {
    let home = std::env::var("CORDON_SHRED_HOME").ok()?;
    let token = HEXLOWER.decode(std::env::var("CORDON_SHRED_TOKEN").unwrap().as_bytes()).unwrap();
    Some((home.into(), Token(token.try_into().unwrap()), std::env::var("CORDON_SHRED_MORE").unwrap()))
}

fn sign(home: &Path, name: &str) {
    fs::write(home.join("signs").join(name), b"").unwrap();
}

/// Not a test of its own: what the spawned process does.
#[test]
fn child() {
    let Some((home, token, _)) = told() else { return };
    let vault = vault(&home);
    let dossiers = dossiers(&home, &vault);
    sign(&home, "ready");
    vault.shred(&[token], Some(&dossiers)).unwrap();
    sign(&home, "done");
}

#[test]
fn in_a_folder_somebody_is_wholly_there_or_wholly_gone() {
    let home = scratch();
    let home = home.path();
    let old = {
        let vault = vault(home);
        let dossiers = dossiers(home, &vault);
        admit(&vault, &dossiers, 0..PEOPLE);
        people(&vault, 0..PEOPLE)
    };
    let span = Destroying::start("shred_killed::child", home, old[0], "").undisturbed();
    let mut rng = StdRng::seed_from_u64(0x5eed);
    let (mut whole, mut gone) = (0, 0);
    let rounds = rounds(24);
    for round in 1..=rounds.min(PEOPLE - 2) {
        let token = old[round as usize];
        let begun = Destroying::start("shred_killed::child", home, token, "");
        let was_done = begun.killed_after(span.mul_f64(rng.random_range(0.0..1.1)));

        let vault = vault(home);
        let dossiers = dossiers(home, &vault);
        let found = || {
            let values = ["mrn", "ssn"].map(|domain| vault.reveal(domain, &token).unwrap().is_some());
            [values[0], values[1], towns(&dossiers, &[token])[0].is_some()]
        };
        let now = found();
        assert!(now == [true; 3] || now == [false; 3], "round {round}: {now:?}");
        assert!(!was_done || now == [false; 3], "round {round}: said to be gone");
        if now[0] {
            whole += 1;
        } else {
            gone += 1;
        }
        vault.verify().unwrap_or_else(|error| panic!("round {round}: {error}"));
        vault.shred(&[token], Some(&dossiers)).unwrap();
        assert_eq!(found(), [false; 3], "round {round}");
        vault.verify().unwrap_or_else(|error| panic!("round {round}: {error}"));
        dossiers.verify().unwrap();

        let others = round + 1..PEOPLE;
        same(&people(&vault, others.clone()), &old[round as usize + 1..]);
        let kept = towns(&dossiers, &old[round as usize + 1..]);
        assert!(others.zip(kept).all(|(n, found)| found == Some(town(n))), "round {round}");
        let next = round + 1;
        assert_eq!(
            vault.reveal("ssn", &old[next as usize]).unwrap().unwrap().expose_phi(),
            &format!("900-00-{next:04}")
        );
    }
    eprintln!("{rounds} kills within {span:?}: {whole} wholly there, {gone} wholly gone");
}

fn keys() -> VaultKeys {
    VaultKeys { blind: BlindIndexKey::from_bytes([1; 32]), values: VaultKey::from_bytes([2; 32]) }
}

fn subject_keys(base: &Path) -> Arc<SubjectKeys> {
    Arc::new(SubjectKeys::open_or_create(&base.join("subject-keys"), &SubjectSealKey::from_bytes([3; 32])).unwrap())
}

fn config(port: &str, user: &str, pgpass: &str) -> PostgresConfig {
    serde_json::from_value(serde_json::json!({
        "host": "127.0.0.1", "port": port.parse::<u16>().unwrap(), "database": "vault", "user": user, "ca-file": "ca.crt",
        "pgpass": pgpass,
    }))
    .unwrap()
}

fn database(home: &Path, port: &str) -> PostgresVault {
    PostgresVault::open(&config(port, "cordon", "work.pgpass"), home, keys(), subject_keys(home), 1 << 12).unwrap()
}

/// Not a test of its own: what the spawned process does.
#[test]
fn database_child() {
    let Some((home, token, port)) = told() else { return };
    let vault = database(&home, &port);
    sign(&home, "ready");
    vault.shred(&[token]).unwrap();
    sign(&home, "done");
}

/// Of each person the token, after two steps of linking for some.
fn linked(vault: &PostgresVault, range: std::ops::Range<u64>) -> Vec<Token> {
    let mut tokens = Vec::new();
    for n in range {
        let (mrn, ssn) = (format!("mrn-{n:06}"), format!("900-00-{n:04}"));
        let of = |namespace, value: &'static str| Identifier { namespace, value: value.as_bytes() };
        let (mrn, ssn): (&'static str, &'static str) = (mrn.leak(), ssn.leak());
        let mut out = Vec::new();
        if n.is_multiple_of(3) {
            vault.link(&[of("mrn", mrn)], &[1], &mut out).unwrap();
            vault.link(&[of("ssn", ssn)], &[1], &mut out).unwrap();
        }
        out.clear();
        vault.link(&[of("mrn", mrn), of("ssn", ssn)], &[2], &mut out).unwrap();
        tokens.push(out[0].unwrap());
    }
    tokens
}

#[test]
fn in_a_database_somebody_is_wholly_there_or_wholly_gone() {
    const PEOPLE: u64 = 60;
    if !is_installed() {
        return;
    }
    let server = Server::start();
    let (home, port) = (server.dir.path(), server.port.to_string());
    let (work, owner) = (config(&port, "cordon", "work.pgpass"), config(&port, "vault_owner", "owner.pgpass"));
    migrate(&work, &owner, home, &keys(), &subject_keys(home)).unwrap();
    let old = linked(&database(home, &port), 0..PEOPLE);
    let names = |range: std::ops::Range<u64>| range.map(|n| format!("mrn-{n:06}")).collect::<Vec<String>>();
    let span = Destroying::start("shred_killed::database_child", home, old[0], &port).undisturbed();
    let mut rng = StdRng::seed_from_u64(0x5eed);
    let (mut whole, mut gone) = (0, 0);
    let rounds = rounds(16);
    for round in 1..=rounds.min(PEOPLE - 2) {
        let token = old[round as usize];
        let begun = Destroying::start("shred_killed::database_child", home, token, &port);
        let was_done = begun.killed_after(span.mul_f64(rng.random_range(0.0..1.1)));

        let vault = database(home, &port);
        let found = || ["mrn", "ssn"].map(|domain| vault.reveal(domain, &token).unwrap().is_some());
        let now = found();
        assert!(now == [true; 2] || now == [false; 2], "round {round}: {now:?}");
        assert!(!was_done || now == [false; 2], "round {round}: said to be gone");
        if now[0] {
            whole += 1;
        } else {
            gone += 1;
        }
        vault.verify().unwrap_or_else(|error| panic!("round {round}: {error}"));
        vault.shred(&[token]).unwrap();
        assert_eq!(found(), [false; 2], "round {round}");
        vault.verify().unwrap_or_else(|error| panic!("round {round}: {error}"));
        let values = names(round + 1..PEOPLE);
        let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
        let mut others = Vec::new();
        vault.get_or_create("mrn", &values, &mut others).unwrap();
        same(&others, &old[round as usize + 1..]);
    }
    eprintln!("{rounds} kills within {span:?}: {whole} wholly there, {gone} wholly gone");
}
