//! New keys for the vault: the same tokens in tables of before and after, by all who ask, and backups of before with their own keys only.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::backup::{at, backup};
use crate::postgres_server::{Server, is_installed};
use crate::support::{Folder, Said, assert_encrypted, binary, copy_tree, said};

/// Who people are by two numbers; names are made up, so that there are dossiers.
const POLICY: &str = "
policy: test
method: expert-determination
expert: { name: x, document: y }
datasets:
  people:
    subject: id
    fields:
      id: { kind: unique-id, action: token, domain: patient }
      mrn: { kind: medical-record-number, action: token, domain: mrn }
      first: { kind: name, action: surrogate, surrogate: first-name }
      row: { kind: operational }
";

const SOURCES: &str = "  - { dataset: people, path: \"in/*.csv\", identity: { id: patient, mrn: mrn } }";

fn people(range: std::ops::Range<usize>, run: &str) -> String {
    let names = ["Ann", "Bob", "Cyd", "Dee", "Eve"];
    let lines = range.map(|n| format!("CANARYp{n:05},CANARYm{n:05},{},{run}{n}\n", names[n % 5]));
    format!("id,mrn,first,row\n{}", lines.collect::<String>())
}

fn folder() -> Folder {
    let folder = Folder::with(POLICY, SOURCES);
    folder.write("in/a.csv", people(0..300, "a"));
    folder.run_json("test", 0);
    folder
}

/// Of each row what it says of its person.
fn rows(folder: &Folder) -> BTreeMap<String, String> {
    let text = folder.csv("SELECT row, id, mrn, first FROM people");
    let lines = text.lines().skip(1).map(|line| line.split_once(',').unwrap());
    lines.map(|(row, rest)| (row.to_owned(), rest.to_owned())).collect()
}

/// What a run after the change says of the same people, in the order of before.
fn again(folder: &Folder, name: &str) -> BTreeMap<String, String> {
    folder.write(&format!("in/{name}.csv"), people(0..300, name));
    folder.run_json("test", 0);
    let all = rows(folder).into_iter();
    all.filter_map(|(row, rest)| Some((format!("a{}", row.strip_prefix(name)?), rest))).collect()
}

fn rekey(folder: &Folder, more: &[&str], fail_at: Option<&str>) -> Said {
    let mut command = binary();
    command.args(["vault", "rekey", "--format", "json"]).args(more).current_dir(folder.path());
    command.env("CORDON_TEST_OWNER", "owner-pw");
    if let Some(at) = fail_at {
        command.env("CORDON_FAIL_AT", at);
    }
    said(command.output().unwrap())
}

fn files(folder: &Folder, id: &str, version: u64) -> Option<u64> {
    let status = folder.cordon(&["keys", "status", "--format", "json"]).ok().json();
    let all = status.as_array().unwrap();
    all.iter().find(|key| key["id"] == id && key["version"] == version).and_then(|key| key["files"].as_u64())
}

fn has_version(folder: &Folder, id: &str, version: u64) -> bool {
    let status = folder.cordon(&["keys", "status", "--format", "json"]).ok().json();
    status.as_array().unwrap().iter().any(|key| key["id"] == id && key["version"] == version)
}

fn verified(folder: &Folder) {
    for args in [["vault", "verify"], ["audit", "verify"], ["tables", "verify"]] {
        folder.cordon(&args).ok();
    }
}

#[test]
fn tables_of_before_and_after_have_the_same_tokens() {
    let folder = folder();
    let before = rows(&folder);
    assert_eq!(before.len(), 300);
    let said = rekey(&folder, &["--keep-old-keys"], None).ok().json();
    assert_eq!((&said["resumed"], &said["retired"]), (&Value::Bool(false), &serde_json::json!([])));
    assert_eq!(said["versions"], serde_json::json!(["vault.v2", "blind-index.v2"]));
    assert!(said["values"] == 600 && said["dossiers"].as_u64() >= Some(300) && said["unknown"] == 0, "{said}");
    assert_eq!(rows(&folder), before, "no table changed");
    assert!(again(&folder, "b") == before, "the same people got other tokens or names");
    verified(&folder);
    // Vault and dossiers under the new, nothing under the old, until these go.
    assert_eq!([1, 2].map(|version| files(&folder, "vault", version)), [Some(0), Some(2)]);
    assert_eq!([1, 2].map(|version| files(&folder, "blind-index", version)), [Some(0), Some(1)]);
    let gone = folder.cordon(&["keys", "retire", "--format", "json"]).ok().json();
    assert_eq!(gone["retired"], serde_json::json!(["blind-index.v1", "vault.v1"]));

    // Once more, and the old ones go at once.
    let said = rekey(&folder, &[], None).ok().json();
    assert_eq!(said["retired"], serde_json::json!(["vault.v2", "blind-index.v2"]));
    assert!(!has_version(&folder, "vault", 2) && has_version(&folder, "vault", 3));
    assert!(again(&folder, "c") == before);
    verified(&folder);
    assert_encrypted(&folder.written());
    let steps: Vec<(String, String)> = folder
        .audit("key_operation")
        .iter()
        .filter(|event| event["key_ids"].to_string().contains("vault.v2"))
        .map(|event| (event["what"].as_str().unwrap().to_owned(), event["outcome"].as_str().unwrap().to_owned()))
        .collect();
    let expected = [("rotated", "begun"), ("rotated", "done"), ("resealed", "begun"), ("resealed", "done")];
    assert_eq!(steps[..4], expected.map(|(what, outcome)| (what.to_owned(), outcome.to_owned())));
    assert!(steps[4..].iter().all(|(what, _)| what == "retired"), "{steps:?}");

    // Other keys do not do it, and say who does; a run that goes on keeps it out.
    let told = folder.cordon(&["keys", "rotate", "--purpose", "vault"]).exits(2);
    assert!(told.err.contains("cordon vault rekey"), "{}", told.err);
    folder.cordon(&["vault", "rekey", "--owner", "somebody"]).exits(2);
    let lock = fs::File::open(folder.path().join(".cordon/state/test/lock")).unwrap();
    lock.lock().unwrap();
    rekey(&folder, &[], None).exits(8);
    drop(lock);
    assert!(has_version(&folder, "vault", 3) && !has_version(&folder, "vault", 4));
}

#[test]
fn killed_at_each_step_all_works_and_it_is_carried_on() {
    let steps = [
        "rekey-planned",
        "rekey-added",
        "rekey-values",
        "rekey-index",
        "rekey-dossiers",
        "rekey-switching",
        "rekey-switched",
        "rekey-written",
        "rekey-retired",
    ];
    let folder = folder();
    let before = rows(&folder);
    for (round, at) in (1..).zip(steps) {
        assert_ne!(rekey(&folder, &[], Some(at)).code, 0, "{at}");
        let hint = folder.cordon(&["keys", "status"]).ok();
        assert!(hint.err.contains("cordon vault rekey"), "{at}: {}", hint.err);
        // Whatever comes in between works, under whichever keys.
        assert!(again(&folder, &format!("x{round}-")) == before, "{at}");
        folder.cordon(&["vault", "verify"]).ok();
        let said = rekey(&folder, &[], None).ok().json();
        assert_eq!(said["resumed"], true, "{at}");
        assert_eq!(said["versions"][0], format!("vault.v{}", round + 1), "{at}: made once");
        assert!(!has_version(&folder, "vault", round) && !has_version(&folder, "blind-index", round), "{at}");
        for place in [".cordon/vault", ".cordon/dossiers"] {
            let left = fs::read_dir(folder.path().join(place)).unwrap().flatten();
            let left = left.filter(|entry| entry.file_name().to_string_lossy().starts_with("rekeyed-")).count();
            assert_eq!(left, 1, "{at}: {place}");
        }
        assert!(again(&folder, &format!("y{round}-")) == before, "{at}");
    }
    verified(&folder);
}

/// Restored beside the project, with the root's secret and the sources; a key ring that is given is there already.
fn restored(folder: &Folder, backup: &Path, ring: Option<&Path>) -> Folder {
    let new = Folder { dir: tempfile::tempdir().unwrap() };
    if let Some(ring) = ring {
        fs::create_dir_all(new.path().join(".cordon")).unwrap();
        fs::copy(ring, new.path().join(".cordon/keyring.json")).unwrap();
    }
    at(&["backup", "restore"], &[backup, &new.path()]).ok();
    for sources in ["secrets", "in"] {
        copy_tree(&folder.path().join(sources), &new.path().join(sources));
    }
    new
}

#[test]
fn backups_of_before_open_with_their_own_key_ring_only() {
    let folder = folder();
    let before = rows(&folder);
    let old = backup(&folder, "old", &["--tables"]);
    rekey(&folder, &[], None).ok();
    let new = backup(&folder, "new", &["--tables"]);
    assert!(new.join("data/.cordon/vault/CURRENT").is_file() && !old.join("data/.cordon/vault/CURRENT").exists());
    for dir in [&old, &new] {
        let restored = restored(&folder, dir, None);
        assert_eq!(rows(&restored), before);
        assert!(again(&restored, "b") == before);
        verified(&restored);
    }
    let restored = restored(&folder, &old, Some(&folder.path().join(".cordon/keyring.json")));
    for args in [&["vault", "verify"][..], &["run", "test"]] {
        let told = restored.cordon(args).exits(5);
        assert!(told.err.contains("restore both from one backup"), "{}", told.err);
    }
    assert!(again(&folder, "b") == before);
}

#[test]
fn in_postgresql_the_owner_does_it_and_the_same_people_have_the_same_tokens() {
    if !is_installed() {
        return;
    }
    let server = Server::start();
    let folder = Folder::with(POLICY, SOURCES);
    let dir = server.dir.path().display();
    let section = format!(
        "vault:\n  postgres:\n    host: 127.0.0.1\n    port: {}\n    database: vault\n    user: cert_user\n    ca-file: {dir}/ca.crt\n    \
         client-certificate: {dir}/client.crt\n    client-key: {dir}/client.key\n",
        server.port
    );
    let config = folder.read("cordon.yaml");
    folder.write("cordon.yaml", config.replace("vault: { path: .cordon/vault }", &section));
    let owner = ["--owner", "vault_owner", "--password-env", "CORDON_TEST_OWNER"];
    let migrate = binary()
        .args(["vault", "migrate"])
        .args(owner)
        .env("CORDON_TEST_OWNER", "owner-pw")
        .current_dir(folder.path())
        .output();
    said(migrate.unwrap()).ok();
    folder.write("in/a.csv", people(0..300, "a"));
    folder.run_json("test", 0);
    let before = rows(&folder);

    let told = rekey(&folder, &[], None).exits(2);
    assert!(told.err.contains("--owner"), "{}", told.err);
    assert!(!has_version(&folder, "vault", 2));
    for (round, at) in (1..).zip([None, Some("rekey-values"), Some("rekey-switching"), Some("rekey-switched")]) {
        if at.is_some() {
            assert_ne!(rekey(&folder, &owner, at).code, 0, "{at:?}");
            assert!(again(&folder, &format!("x{round}-")) == before, "{at:?}");
        }
        let said = rekey(&folder, &owner, None).ok().json();
        assert_eq!(said["resumed"], at.is_some(), "{at:?}");
        assert_eq!(said["versions"][0], format!("vault.v{}", round + 1), "{at:?}");
        assert!(!has_version(&folder, "vault", round), "{at:?}");
        assert!(again(&folder, &format!("y{round}-")) == before, "{at:?}");
    }
    verified(&folder);
}
