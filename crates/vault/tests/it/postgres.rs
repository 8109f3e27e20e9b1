//! The vault in a real PostgreSQL, over TLS.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use cordon_crypto::{BlindIndexKey, SubjectSealKey, VaultKey};
use cordon_phi::{
    Dossiers as _, Identifier, IdentifierKind, IdentityStore as _, KnownFacts, Token, TokenStore as _, Whose,
};
use cordon_vault::recipient::{RecipientDossiers, RecipientTokens, given_to, owners};
use cordon_vault::{
    DossierKeeper as _, DossierOptions, PostgresConfig, PostgresDossiers, PostgresVault, Shredded, SubjectKeys, Vault,
    VaultError, VaultKeys, postgres::migrate,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::postgres_server::{Server, is_installed};

const WRITER: &str = "CORDON_TEST_POSTGRES_WRITER";

pub fn keys() -> VaultKeys {
    VaultKeys { blind: BlindIndexKey::from_bytes([1; 32]), values: VaultKey::from_bytes([2; 32]) }
}

pub fn subject_keys(base: &Path) -> Arc<SubjectKeys> {
    let key = SubjectSealKey::from_bytes([3; 32]);
    Arc::new(SubjectKeys::open_or_create(&base.join("subject-keys"), &key).unwrap())
}

pub fn config(port: u16, user: &str, pgpass: &str) -> PostgresConfig {
    serde_json::from_value(serde_json::json!({
        "host": "127.0.0.1", "port": port, "database": "vault", "user": user, "ca-file": "ca.crt", "pgpass": pgpass,
    }))
    .unwrap()
}

pub fn work(server: &Server) -> PostgresConfig {
    config(server.port, "cordon", "work.pgpass")
}

pub fn migrated() -> Server {
    let server = Server::start();
    let owner = config(server.port, "vault_owner", "owner.pgpass");
    let done = migrate(&work(&server), &owner, server.dir.path(), &keys(), &subject_keys(server.dir.path())).unwrap();
    assert_eq!((done.from, done.to), (0, 3));
    let again = migrate(&work(&server), &owner, server.dir.path(), &keys(), &subject_keys(server.dir.path())).unwrap();
    assert_eq!((again.from, again.to), (3, 3));
    server
}

pub fn open_as(config: &PostgresConfig, base: &Path) -> Result<PostgresVault, VaultError> {
    PostgresVault::open(config, base, keys(), subject_keys(base), 1 << 16)
}

pub fn open(server: &Server) -> PostgresVault {
    open_as(&work(server), server.dir.path()).unwrap()
}

pub fn tokens(vault: &PostgresVault, domain: &str, values: &[String]) -> Vec<Token> {
    let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
    let mut out = Vec::new();
    vault.get_or_create(domain, &values, &mut out).unwrap();
    out
}

pub fn named(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("patient-{n:06}")).collect()
}

#[test]
fn one_token_a_value_in_every_process_and_none_across_domains() {
    if !is_installed() {
        return;
    }
    let server = migrated();
    let (one, other) = (open(&server), open(&server));
    let all = named(0..40_000);
    let first = tokens(&one, "mrn", &all);
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), all.len());
    assert!(tokens(&one, "mrn", &all) == first && tokens(&other, "mrn", &all) == first);
    let elsewhere = tokens(&other, "ssn", &all[..100]);
    assert!(elsewhere.iter().all(|token| !first.contains(token)));
    let twice = tokens(&one, "mrn", &["new".into(), "new".into()]);
    assert!(twice[0] == twice[1]);

    let mark = one.mark().unwrap();
    assert!(other.contains(&mark).unwrap());
    let revealed = other.reveal_all("mrn", &first[17]).unwrap();
    assert!(revealed.len() == 1 && revealed[0].expose_phi() == "patient-000017");
    assert!(other.reveal_all("ssn", &first[17]).unwrap().is_empty());
    assert!(other.reveal_all("nothing", &first[17]).unwrap().is_empty());
    let stats = one.stats().unwrap();
    assert_eq!(stats.domains, [("mrn".to_owned(), 40_001), ("ssn".to_owned(), 100)]);
    assert_eq!(one.verify().unwrap().tokens, 40_101);

    // An older copy knows nothing of the mark.
    server.admin("vault", "DELETE FROM cordon.marks");
    assert!(!other.contains(&mark).unwrap());
    // A row that was moved to another's place is found.
    server.admin("vault", "UPDATE cordon.tokens SET sealed = (SELECT sealed FROM cordon.tokens LIMIT 1)");
    assert!(matches!(one.verify(), Err(VaultError::DamagedRows { .. })));
}

#[test]
fn people_are_linked_across_processes() {
    if !is_installed() {
        return;
    }
    let server = migrated();
    let (one, other) = (open(&server), open(&server));
    let id = |namespace, value: &'static str| Identifier { namespace, value: value.as_bytes() };
    let link = |vault: &PostgresVault, of: &[Identifier<'_>], ends: &[usize]| {
        let mut out = Vec::new();
        let linked = vault.link(of, ends, &mut out).unwrap();
        (out, linked.merged)
    };
    let mrn = tokens(&one, "mrn", &["m1".into()])[0];
    let ssn = tokens(&other, "ssn", &["s1".into()])[0];
    assert!(mrn != ssn);
    let (both, merged) = link(&other, &[id("ssn", "s1"), id("mrn", "m1"), id("member", "p1")], &[3]);
    assert!(both == [Some(mrn)] && merged == 1);
    // The older stays, everywhere.
    assert!(tokens(&one, "ssn", &["s1".into()])[0] == mrn && tokens(&one, "member", &["p1".into()])[0] == mrn);
    assert_eq!(one.merges().unwrap(), 1);
    let mut roots = [ssn];
    one.roots(&mut roots).unwrap();
    assert!(roots == [mrn]);
    assert!(link(&one, &[id("ssn", "s1"), id("mrn", "m1")], &[2]) == (vec![Some(mrn)], 0));
    // Groups that share what nobody has seen are one person's.
    let (two, _) = link(&one, &[id("a", "1"), id("b", "1"), id("b", "1"), id("c", "1")], &[2, 4, 4]);
    assert!(two[0] == two[1] && two[0].is_some() && two[2].is_none());
    assert!(tokens(&other, "c", &["1".into()])[0] == two[0].unwrap());
    let report = other.verify().unwrap();
    assert_eq!((report.tokens, report.merges), (6, 1));
    // All of a person goes at once, and comes back as somebody else.
    let done = other.shred(&[ssn]).unwrap();
    let domains = ["member", "mrn", "ssn"].map(|domain| (domain.to_owned(), 1));
    assert_eq!((done.entries, done.merges, done.dossiers, done.domains), (3, 1, 0, domains.to_vec()));
    assert_eq!(other.verify().unwrap().destroyed, 4);
    assert_eq!(other.shred(&[ssn]).unwrap(), Shredded::default());
    assert!(one.reveal_all("mrn", &mrn).unwrap().is_empty());
    let after = tokens(&one, "mrn", &["m1".into()])[0];
    assert!(after != mrn && tokens(&other, "mrn", &["m1".into()])[0] == after);
    assert!(tokens(&other, "ssn", &["s1".into()])[0] != after);
    assert!(tokens(&other, "c", &["1".into()])[0] == two[0].unwrap());
    one.verify().unwrap();
}

#[test]
fn many_who_write_and_link_the_same_people_at_once_agree() {
    if !is_installed() {
        return;
    }
    let server = migrated();
    let vaults: Vec<PostgresVault> = (0..4).map(|_| open(&server)).collect();
    let given: Vec<Vec<Token>> = thread::scope(|scope| {
        let run = |number: usize, vault: &PostgresVault| {
            for start in (0..3_000).step_by(300) {
                let names = named(start..start + 300);
                if number.is_multiple_of(2) {
                    tokens(vault, "mrn", &names);
                    continue;
                }
                let (spaces, mut of, mut ends) = (["mrn", "ssn"], Vec::new(), Vec::new());
                for name in &names {
                    of.extend(spaces.map(|namespace| Identifier { namespace, value: name.as_bytes() }));
                    ends.push(of.len());
                }
                vault.link(&of, &ends, &mut Vec::new()).unwrap();
            }
        };
        let all: Vec<_> = vaults.iter().enumerate().map(|(n, vault)| scope.spawn(move || run(n, vault))).collect();
        for one in all {
            one.join().unwrap();
        }
        vaults.iter().map(|vault| tokens(vault, "mrn", &named(0..3_000))).collect()
    });
    assert!(given.iter().all(|one| *one == given[0]));
    assert!(tokens(&vaults[0], "ssn", &named(0..3_000)) == given[0]);
    assert_eq!(vaults[0].verify().unwrap().tokens, 6_000);
}

#[test]
fn what_is_not_trusted_is_refused_and_no_credential_is_shown() {
    if !is_installed() {
        return;
    }
    let server = migrated();
    let base = server.dir.path();
    let refused = |change: &[(&str, serde_json::Value)], says: &str| {
        let mut text = serde_json::json!({ "host": "127.0.0.1", "port": server.port, "database": "vault",
            "user": "cordon", "ca-file": "ca.crt", "pgpass": "work.pgpass", "retry-seconds": 1 });
        for (name, value) in change {
            text[name] = value.clone();
        }
        let error = open_as(&serde_json::from_value(text).unwrap(), base).err().unwrap().to_string();
        assert!(error.contains(says), "{says}: {error}");
        assert!(error.contains("127.0.0.1") || error.contains("localhost"), "{error}");
        for secret in ["work-pw", "other-pw", "plain-pw", "owner-pw"] {
            assert!(!error.contains(secret));
        }
    };
    refused(&[("pgpass", "wrong.pgpass".into())], "does not let the role");
    refused(&[("ca-file", "other.crt".into())], "not trusted");
    // The certificate is for the address.
    refused(&[("host", "localhost".into())], "not trusted");
    refused(&[("plain-on-this-machine", true.into())], "does not let the role");
    refused(&[("database", "nothing".into())], "no such database");
    refused(&[("schema", "nothing".into())], "cordon vault migrate");
    refused(&[("port", 1.into())], "refused");
    let cert = |name: &str| {
        [
            ("user", "cert_user".into()),
            ("pgpass", serde_json::Value::Null),
            ("client-certificate", format!("{name}.crt").into()),
            ("client-key", format!("{name}.key").into()),
        ]
    };
    refused(&cert("stranger"), "cannot open the vault");
    // Who is let in by certificate but was granted nothing.
    refused(&cert("client"), "may not see it");
    let other = VaultKeys { blind: BlindIndexKey::generate(), values: VaultKey::from_bytes([2; 32]) };
    let wrong = PostgresVault::open(&work(&server), base, other, subject_keys(base), 0);
    assert!(matches!(wrong, Err(VaultError::WrongDatabaseKey { .. })));

    let mut by_cert = config(server.port, "cert_user", "x");
    by_cert.pgpass = None;
    (by_cert.client_certificate, by_cert.client_key) = (Some("client.crt".into()), Some("client.key".into()));
    let owner = config(server.port, "vault_owner", "owner.pgpass");
    migrate(&by_cert, &owner, base, &keys(), &subject_keys(base)).unwrap();
    assert!(open_as(&by_cert, base).is_ok());
    server.admin("vault", "INSERT INTO cordon.migrations (format) VALUES (4)");
    assert!(matches!(
        migrate(&work(&server), &owner, base, &keys(), &subject_keys(base)),
        Err(VaultError::DatabaseVersion { found: 4, .. })
    ));
    assert!(matches!(open_as(&work(&server), base), Err(VaultError::DatabaseVersion { found: 4, .. })));
}

#[test]
fn an_older_format_is_refused_until_it_is_migrated() {
    if !is_installed() {
        return;
    }
    let server = migrated();
    let given = tokens(&open(&server), "mrn", &named(0..10));
    server.admin(
        "vault",
        "DELETE FROM cordon.migrations WHERE format >= 2; DROP TABLE cordon.dossiers, cordon.kinds; \
         ALTER TABLE cordon.vault DROP COLUMN rekeyed",
    );
    let error = open_as(&work(&server), server.dir.path()).err().unwrap().to_string();
    assert!(error.contains("has format 1") && error.contains("cordon vault migrate"), "{error}");
    let owner = config(server.port, "vault_owner", "owner.pgpass");
    let done = migrate(&work(&server), &owner, server.dir.path(), &keys(), &subject_keys(server.dir.path())).unwrap();
    assert_eq!((done.from, done.to), (1, 3));
    assert!(tokens(&open(&server), "mrn", &named(0..10)) == given);
}

#[test]
fn the_working_role_can_add_and_read_and_no_more() {
    if !is_installed() {
        return;
    }
    let server = migrated();
    tokens(&open(&server), "mrn", &named(0..10));
    server.admin("vault", "CREATE SCHEMA private; CREATE TABLE private.t (x int)");
    assert!(server.may("SELECT count(*) FROM cordon.tokens"));
    for not in [
        "DELETE FROM cordon.tokens",
        "TRUNCATE cordon.tokens",
        "DROP TABLE cordon.tokens",
        "ALTER TABLE cordon.tokens ADD x int",
        "UPDATE cordon.tokens SET blind = gen_random_uuid()",
        "UPDATE cordon.tokens SET domain = 1",
        "UPDATE cordon.vault SET id = gen_random_uuid()",
        "DELETE FROM cordon.marks",
        "DELETE FROM cordon.dossiers",
        "TRUNCATE cordon.dossiers",
        "UPDATE cordon.dossiers SET place = gen_random_uuid()",
        "UPDATE cordon.dossiers SET slot = 1",
        "UPDATE cordon.kinds SET sealed = ''",
        "DELETE FROM cordon.kinds",
        "INSERT INTO cordon.migrations (format) VALUES (9)",
        "CREATE TABLE cordon.t (x int)",
        "CREATE FUNCTION cordon.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP SCHEMA cordon CASCADE",
        "SELECT * FROM private.t",
        "SELECT setval('cordon.slots', 1)",
    ] {
        assert!(!server.may(not), "{not}");
    }
}

#[test]
fn a_stolen_database_tells_numbers_of_rows() {
    if !is_installed() {
        return;
    }
    let server = migrated();
    let vault = Arc::new(open(&server));
    let values: Vec<String> = (0..500).map(|n| format!("PLANTED-{n:04}-{}", "x".repeat(n % 20))).collect();
    let first = tokens(&vault, "PLANTEDmrn", &values);
    let second = tokens(&vault, "PLANTEDssn", &values);
    let of = [
        Identifier { namespace: "PLANTEDmrn", value: values[0].as_bytes() },
        Identifier { namespace: "PLANTEDssn", value: values[1].as_bytes() },
    ];
    vault.link(&of, &[2], &mut Vec::new()).unwrap();
    // Of everybody the same facts, and of some a few more.
    let dossiers = PostgresDossiers::open(Arc::clone(&vault), DossierOptions::default()).unwrap();
    for more in 0..2 {
        let (mut facts, mut whose) = (KnownFacts::default(), Vec::new());
        for (number, token) in first.iter().enumerate().filter(|(number, _)| more == 0 || number % 2 == 0) {
            facts.push(IdentifierKind::City, Whose::Subject, "PLANTEDtown");
            facts.push(IdentifierKind::Name, Whose::Relative, &format!("PLANTEDkin-{more}-{}", number % 3));
            whose.extend([*token; 2]);
        }
        dossiers.add(&whose, &facts).unwrap();
        dossiers.sync().unwrap();
    }
    let sizes = server.admin("vault", "SELECT DISTINCT octet_length(sealed) FROM cordon.dossiers ORDER BY 1");
    assert_eq!(sizes, "92\n156");
    let alike = "SELECT count(*) - count(DISTINCT sealed) FROM cordon.dossiers";
    assert_eq!(server.admin("vault", alike), "0");
    let slots = "SELECT count(*) FROM (SELECT slot FROM cordon.dossiers UNION SELECT slot FROM cordon.tokens) AS s";
    assert_eq!(server.admin("vault", slots), "1500");
    let places = "SELECT count(*) FROM cordon.dossiers JOIN cordon.tokens ON place = blind";
    assert_eq!(server.admin("vault", places), "0");
    assert_eq!(dossiers.verify().unwrap().people, 500);
    server.sql("CHECKPOINT");
    let mut all = server.dump();
    let lengths = server.admin("vault", "SELECT DISTINCT octet_length(sealed) FROM cordon.tokens");
    assert_eq!(lengths, "92");
    let equal = "SELECT count(*) - count(DISTINCT sealed) + count(*) - count(DISTINCT blind) FROM cordon.tokens";
    assert_eq!(server.admin("vault", equal), "0");
    server.down("fast");
    let mut folders = vec![server.data()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                all.extend(fs::read(entry.path()).unwrap());
            }
        }
    }
    assert!(all.len() > 1 << 20 && memchr::memmem::find(&all, b"cordon").is_some());
    assert!(memchr::memmem::find(&all, b"PLANTED").is_none());
    // Nor the names of kinds, which would say what a list is of.
    assert!(memchr::memmem::find(&all, b"medical-record-number").is_none());
    for token in first.iter().chain(&second).step_by(50) {
        assert!(memchr::memmem::find(&all, &token.0).is_none());
    }
}

#[test]
fn recipients_have_tokens_of_their_own_that_a_stolen_database_does_not_join() {
    if !is_installed() {
        return;
    }
    let server = migrated();
    let vaults: [Arc<dyn Vault>; 2] = [Arc::new(open(&server)), Arc::new(open(&server))];
    let values = named(0..3_000);
    let give = |vault: &Arc<dyn Vault>, recipient: &str| {
        let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
        let mut out = Vec::new();
        RecipientTokens::new(Arc::clone(vault), recipient).get_or_create("mrn", &values, &mut out).unwrap();
        out
    };
    // Two runs at once for each of two recipients.
    let [a, a_too, b, b_too] = thread::scope(|scope| {
        let give = &give;
        [(0, "a"), (1, "a"), (0, "b"), (1, "b")]
            .map(|(vault, recipient)| (&vaults[vault], recipient))
            .map(|(vault, recipient)| scope.spawn(move || give(vault, recipient)))
            .map(|run| run.join().unwrap())
    });
    assert!(a == a_too && b == b_too);
    let own = tokens(&open(&server), "mrn", &values);
    assert_eq!(a.iter().chain(&b).chain(&own).collect::<HashSet<_>>().len(), 9_000);

    // No two rows have anything in common, and none holds a token or a name in clear.
    let equal = "SELECT count(*) - count(DISTINCT sealed) + count(*) - count(DISTINCT blind) FROM cordon.tokens";
    assert_eq!(server.admin("vault", equal), "0");
    assert_eq!(server.admin("vault", "SELECT DISTINCT octet_length(sealed) FROM cordon.tokens"), "92");
    assert_eq!(server.admin("vault", "SELECT count(*) FROM cordon.tokens"), "9000");
    let dump = server.dump();
    for token in a.iter().chain(&b).chain(&own).step_by(100) {
        assert!(memchr::memmem::find(&dump, &token.0).is_none());
        let hex = data_encoding::HEXLOWER.encode(&token.0);
        assert!(memchr::memmem::find(&dump, hex.as_bytes()).is_none());
    }
    assert!(memchr::memmem::find(&dump, b"recipient:").is_none());

    let vault = &vaults[0];
    let behind = owners(&**vault, &[a[7], b[7], own[7]]).unwrap();
    assert!(behind == [Some(("a".to_owned(), own[7])), Some(("b".to_owned(), own[7])), None]);
    assert!(given_to(&**vault, "b", &own[..9]).unwrap() == b[..9].iter().copied().map(Some).collect::<Vec<_>>());
    // Destroyed by one recipient's token, in all of them.
    let holder = Arc::new(open(&server));
    let dossiers = PostgresDossiers::open(Arc::clone(&holder), DossierOptions::default()).unwrap();
    let dossiers = Arc::new(dossiers);
    let of_b = RecipientDossiers::new(dossiers.clone(), Arc::new(RecipientTokens::new(holder.clone(), "b")));
    of_b.decide(&own[7..9], &mut [cordon_phi::NameDraw::default(); 2]).unwrap();
    dossiers.sync().unwrap();
    let done = holder.shred(&a[7..8]).unwrap();
    let domains = ["mrn", "recipient:a", "recipient:b"].map(|domain| (domain.to_owned(), 1));
    assert_eq!((done.domains.as_slice(), done.dossiers), (&domains[..], 1));
    let mut draws = Vec::new();
    dossiers.draws(&b[7..9], &mut draws).unwrap();
    assert!(draws[0].is_none() && draws[1].is_some());
    assert!(owners(&**vault, &[a[7], b[7]]).unwrap() == [None, None]);
    assert!(vault.reveal("mrn", &own[7]).unwrap().is_none());
    for (recipient, before) in [("a", &a), ("b", &b)] {
        let after = give(vault, recipient);
        assert!((0..values.len()).all(|n| (before[n] == after[n]) == (n != 7)));
    }
    vault.verify().unwrap();
}

#[test]
fn a_server_that_stops_in_the_middle_and_comes_back_loses_nothing() {
    if !is_installed() {
        return;
    }
    let server = migrated();
    let vault = open(&server);
    let given = thread::scope(|scope| {
        let writer =
            scope.spawn(|| (0..60).map(|n| tokens(&vault, "mrn", &named(n * 500..(n + 1) * 500))).collect::<Vec<_>>());
        for _ in 0..2 {
            thread::sleep(Duration::from_millis(300));
            server.down("immediate");
            thread::sleep(Duration::from_millis(200));
            server.up();
        }
        writer.join().unwrap()
    });
    assert!(tokens(&open(&server), "mrn", &named(0..30_000)) == given.concat());
    assert_eq!(vault.verify().unwrap().tokens, 30_000);

    server.down("immediate");
    let mut short = work(&server);
    short.retry_seconds = 1;
    let error = open_as(&short, server.dir.path()).err().unwrap().to_string();
    assert!(error.contains("127.0.0.1") && error.contains("refused"), "{error}");
    server.up();
    assert!(tokens(&vault, "mrn", &named(0..1)) == given[0][..1]);
}

/// Runs only as another process of the test below.
#[test]
fn writes_until_it_is_killed() {
    let Ok(told) = std::env::var(WRITER) else { return };
    let (base, port) = told.split_once('|').unwrap();
    let vault = open_as(&config(port.parse().unwrap(), "cordon", "work.pgpass"), Path::new(base)).unwrap();
    for round in 0.. {
        tokens(&vault, "mrn", &named(round * 100..round * 100 + 400));
    }
}

#[test]
fn of_two_who_write_the_same_people_one_is_killed() {
    if !is_installed() {
        return;
    }
    let seed = std::env::var("CORDON_KILL_SEED").map_or(7, |seed| seed.parse().unwrap());
    let kills = std::env::var("CORDON_KILLS").map_or(6, |kills| kills.parse().unwrap());
    let mut rng = StdRng::seed_from_u64(seed);
    let server = migrated();
    let vault = open(&server);
    let mut given: Vec<Token> = Vec::new();
    for round in 0..kills {
        let mut other = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "postgres::writes_until_it_is_killed", "--nocapture"])
            .env(WRITER, format!("{}|{}", server.dir.path().display(), server.port))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let killer = thread::spawn({
            let wait = rng.random_range(50..500);
            move || {
                thread::sleep(Duration::from_millis(wait));
                other.kill().unwrap();
                other.wait().unwrap();
            }
        });
        for _ in 0..10 {
            let from = given.len() as u32;
            given.extend(tokens(&vault, "mrn", &named(from..from + 250)));
        }
        killer.join().unwrap();
        let all = named(0..given.len() as u32);
        assert!(tokens(&open(&server), "mrn", &all) == given, "round {round} of seed {seed}");
    }
    let report = vault.verify().unwrap();
    assert_eq!(report.tokens, vault.stats().unwrap().domains[0].1);
    assert_eq!(given.iter().collect::<HashSet<_>>().len(), given.len());
}

#[test]
fn who_was_shredded_stays_so_when_an_old_copy_of_the_keys_comes_back() {
    if !is_installed() {
        return;
    }
    let server = migrated();
    let file = server.dir.path().join("subject-keys");
    let vault = open(&server);
    let all = named(0..1_000);
    let first = tokens(&vault, "mrn", &all);
    let old = fs::read(&file).unwrap();
    assert_eq!(vault.shred(&first[400..401]).unwrap().entries, 1);
    let vault = open(&server);
    assert!(vault.reveal_all("mrn", &first[400]).unwrap().is_empty());
    let again = tokens(&vault, "mrn", &all);
    let changed: Vec<usize> = (0..1_000).filter(|n| again[*n] != first[*n]).collect();
    assert_eq!(changed, [400]);
    fs::write(&file, old).unwrap();
    let base = server.dir.path();
    assert!(matches!(open_as(&work(&server), base), Err(VaultError::OldSubjectKeys { .. })));
    fs::remove_file(&file).unwrap();
    assert!(matches!(open_as(&work(&server), base), Err(VaultError::OtherSubjectKeys { .. })));
}

#[test]
fn a_batch_that_was_taken_for_new_gives_who_was_there_the_same_and_who_was_destroyed_another() {
    if !is_installed() {
        return;
    }
    let server = migrated();
    // Without a cache everything is asked of the server.
    let base = server.dir.path();
    let vault = PostgresVault::open(&work(&server), base, keys(), subject_keys(base), 0).unwrap();
    let other = open(&server);
    let first = tokens(&vault, "mrn", &named(0..1_000));
    let theirs = tokens(&other, "mrn", &named(1_000..1_300));
    assert_eq!(vault.shred(&[first[400]]).unwrap().entries, 1);
    // 400 of before, one of them destroyed, 300 of another process, and 800 new ones.
    let mixed = tokens(&vault, "mrn", &named(600..2_100).into_iter().chain(named(400..401)).collect::<Vec<_>>());
    assert!(mixed[..400] == first[600..] && mixed[400..700] == theirs);
    assert!(!first.contains(&mixed[1_500]));
    // And where nothing is new.
    assert!(tokens(&vault, "mrn", &named(600..2_100)) == mixed[..1_500]);
    assert!(tokens(&open(&server), "mrn", &named(400..401))[0] == mixed[1_500]);
    let report = other.verify().unwrap();
    assert_eq!((report.tokens, report.destroyed), (2_100, 0));
    assert_eq!(mixed.iter().collect::<HashSet<_>>().len(), mixed.len());
}
