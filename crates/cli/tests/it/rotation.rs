//! New keys: what is new stands under them, what is old stays readable, and a rotation that was killed is carried on.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Folder, Said, assert_encrypted, binary, collect, said};

const POLICY: &str = "
policy: test
method: safe-harbor
datasets:
  visits:
    subject: patient
    fields:
      patient: { kind: medical-record-number }
      day: { kind: service-date }
      code: { kind: clinical }
";

/// One table, and one record in quarantine.
fn folder() -> Folder {
    let folder = Folder::with(POLICY, "  - { dataset: visits, path: \"in/*.csv\" }");
    folder.write("in/a.csv", "patient,day,code\np1,2020-01-02,E11\np2,2021-05-06,I10\np3,2021-05-06,I10,extra,cells\n");
    folder.run_json("test", 3);
    folder
}

fn status(folder: &Folder) -> Vec<Value> {
    folder.cordon(&["keys", "status", "--format", "json"]).ok().json().as_array().unwrap().clone()
}

fn version_of<'a>(status: &'a [Value], id: &str, version: u64) -> Option<&'a Value> {
    status.iter().find(|key| key["id"] == id && key["version"] == version)
}

fn files(status: &[Value], id: &str, version: u64) -> Option<u64> {
    version_of(status, id, version)?["files"].as_u64()
}

fn rotate(folder: &Folder, fail_at: Option<&str>) -> Said {
    let mut command = binary();
    command.args(["keys", "rotate", "--all", "--format", "json"]).current_dir(folder.path());
    if let Some(at) = fail_at {
        command.env("CORDON_FAIL_AT", at);
    }
    said(command.output().unwrap())
}

fn head_key(folder: &Folder) -> String {
    let head = folder.cordon(&["audit", "head", "--format", "json"]).ok().json();
    head["verifying_key"].as_str().unwrap().to_owned()
}

fn everything_works(folder: &Folder, before: &std::collections::BTreeSet<String>) {
    assert_eq!(&folder.everything(), before, "old files read");
    folder.cordon(&["audit", "verify"]).ok();
    folder.cordon(&["vault", "verify"]).ok();
    folder.cordon(&["tables", "verify"]).ok();
    assert_eq!(folder.cordon(&["quarantine", "list", "--format", "json"]).ok().json().as_array().unwrap().len(), 1);
    folder.cordon(&["report", "test"]).ok();
}

#[test]
fn new_data_stand_under_new_keys_and_old_data_are_read() {
    let folder = folder();
    let (before, old_key) = (folder.everything(), head_key(&folder));
    let source = folder.cordon(&["tables", "history", "visits", "--format", "json"]).ok().json();
    let said = rotate(&folder, None).ok().json();
    assert_eq!(said["resumed"], false);
    assert_eq!(said["versions"].as_array().unwrap().len(), 8);
    assert_eq!(said["left"], serde_json::json!([]));
    assert!(said["resealed"].as_u64().unwrap() >= 3, "state, report and quarantine: {said}");
    everything_works(&folder, &before);

    let keys = status(&folder);
    assert!(files(&keys, "cordon-footer", 1).unwrap() > 0 && files(&keys, "cordon-footer", 2) == Some(0));
    assert_eq!(files(&keys, "seal", 1), Some(1), "the manifest");
    assert!(version_of(&keys, "audit-signing", 1).is_none(), "a key that could only forge is gone");
    assert!(version_of(&keys, "hash", 2).is_none() && version_of(&keys, "vault", 2).is_none());

    // Files that were read stay read: their names hash as before.
    assert_eq!(folder.run_json("test", 0)["files_read"], 0);
    folder.write("in/b.csv", "patient,day,code\np1,2022-01-02,J45\n");
    assert_eq!(folder.run_json("test", 0)["files_read"], 1);
    assert_eq!(folder.count("SELECT count(*) FROM visits"), 3);
    assert_eq!(folder.count("SELECT count(DISTINCT patient) FROM visits"), 2, "pseudonyms stayed");
    let keys = status(&folder);
    assert!(files(&keys, "cordon-footer", 1).unwrap() > 0 && files(&keys, "cordon-footer", 2).unwrap() > 0);
    let history = folder.cordon(&["tables", "history", "visits", "--format", "json"]).ok().json();
    assert_eq!(history.as_array().unwrap().len(), source.as_array().unwrap().len() + 1);
    let newest = history.as_array().unwrap().iter().max_by_key(|version| version["version"].as_u64()).unwrap();
    let ids: Vec<&str> = newest["key_ids"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(ids.contains(&"cordon-footer.v1") && ids.contains(&"cordon-footer.v2"), "{ids:?}");
    assert_encrypted(&folder.written());

    // The log under either key, and not under another.
    let new_key = head_key(&folder);
    assert_ne!(new_key, old_key);
    for key in [&old_key, &new_key] {
        folder.cordon(&["audit", "verify", "--key", key]).ok();
    }
    let mut wrong = new_key.into_bytes();
    wrong[0] = if wrong[0] == b'0' { b'1' } else { b'0' };
    folder.cordon(&["audit", "verify", "--key", std::str::from_utf8(&wrong).unwrap()]).exits(7);
    let told: Vec<(String, String)> = folder
        .audit("key_operation")
        .iter()
        .map(|event| (event["what"].as_str().unwrap().to_owned(), event["outcome"].as_str().unwrap().to_owned()))
        .collect();
    for step in [("rotated", "begun"), ("rotated", "done"), ("resealed", "done"), ("retired", "done")] {
        assert!(told.contains(&(step.0.to_owned(), step.1.to_owned())), "{step:?} of {told:?}");
    }
}

#[test]
fn killed_at_each_step_it_is_carried_on() {
    carried_on(&["rotate-planned", "rotate-added", "rotate-log", "rotate-sealing", "rotate-resealed"]);
}

#[test]
fn killed_at_each_later_step_it_is_carried_on() {
    carried_on(&["rotate-rewrapped", "renew-resealed", "renew-retired", "rotate-retired"]);
}

fn carried_on(steps: &[&str]) {
    for &at in steps {
        let folder = folder();
        let before = folder.everything();
        assert_ne!(rotate(&folder, Some(at)).code, 0, "{at}");
        // Whatever comes in between works, under whichever keys.
        assert_eq!(folder.everything(), before, "{at}");
        let hint = folder.cordon(&["keys", "status"]).ok();
        assert!(hint.err.contains("interrupted"), "{at}: {}", hint.err);
        folder.write("in/b.csv", "patient,day,code\np1,2022-01-02,J45\n");
        assert_eq!(folder.run_json("test", 0)["files_read"], 1, "{at}");
        folder.cordon(&["keys", "retire"]).exits(2);

        let said = rotate(&folder, None).ok().json();
        assert_eq!((&said["resumed"], &said["left"]), (&Value::Bool(true), &serde_json::json!([])), "{at}");
        assert_eq!(said["versions"].as_array().unwrap().len(), 8, "{at}");
        let keys = status(&folder);
        assert!(keys.iter().all(|key| key["version"].as_u64().unwrap() <= 2), "{at}: made once");
        assert!(version_of(&keys, "audit-signing", 1).is_none(), "{at}");
        assert!(version_of(&keys, "subject-keys", 1).is_none(), "{at}");
        assert_eq!(files(&keys, "subject-keys", 2), Some(1), "{at}");
        assert_eq!(folder.count("SELECT count(*) FROM visits"), 3, "{at}");
        folder.cordon(&["audit", "verify"]).ok();
        folder.cordon(&["tables", "verify"]).ok();
        // And the next one is a new one.
        let said = rotate(&folder, None).ok().json();
        assert_eq!(said["resumed"], false, "{at}");
        assert!(version_of(&status(&folder), "seal", 3).is_some(), "{at}");
        folder.cordon(&["audit", "verify"]).ok();
    }
}

#[test]
fn a_run_that_was_interrupted_before_is_carried_on_after() {
    for at in ["journaled", "committing", "state"] {
        let folder = folder();
        folder.write("in/b.csv", "patient,day,code\np1,2022-01-02,J45\n");
        let killed = binary()
            .args(["run", "test", "-q"])
            .current_dir(folder.path())
            .env("CORDON_FAIL_AT", at)
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(!killed.success(), "{at}");
        // Its staged parts count: the keys that open them may not go.
        rotate(&folder, None).ok();
        folder.cordon(&["keys", "retire"]).ok();
        folder.cordon(&["run", "test", "-q"]).exits(0);
        assert_eq!(folder.count("SELECT count(*) FROM visits"), 3, "{at}");
        folder.cordon(&["audit", "verify"]).ok();
        folder.cordon(&["tables", "verify"]).ok();
    }
}

#[test]
fn versions_go_when_nothing_stands_under_them() {
    let folder = folder();
    rotate(&folder, None).ok();
    rotate(&folder, None).ok();
    let said = folder.cordon(&["keys", "retire", "--format", "json"]).ok().json();
    let gone: Vec<&str> = said["retired"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(gone.contains(&"cordon-footer.v2") && gone.contains(&"seal.v2"), "{gone:?}");
    assert!(
        !gone.contains(&"cordon-footer.v1") && gone.iter().all(|id| id.rsplit_once(".v").unwrap().1 != "3"),
        "{gone:?}"
    );
    let keys = status(&folder);
    assert!(version_of(&keys, "seal", 2).is_none() && version_of(&keys, "seal", 1).is_some());
    assert_eq!(folder.count("SELECT count(*) FROM visits"), 2);
    folder.cordon(&["audit", "verify"]).ok();
    folder.cordon(&["tables", "verify"]).ok();
    assert_eq!(folder.run_json("test", 0)["files_read"], 0);
    let said = folder.cordon(&["keys", "retire", "--format", "json"]).ok().json();
    assert_eq!(said["retired"], serde_json::json!([]));
}

#[test]
fn what_makes_pseudonyms_is_not_rotated_and_no_run_may_be_active() {
    let folder = folder();
    let ring = fs::read(folder.path().join(".cordon/keyring.json")).unwrap();
    for purpose in ["hash", "fpe", "date-shift", "surrogate"] {
        let said = folder.cordon(&["keys", "rotate", "--purpose", purpose]).exits(2);
        assert!(said.err.contains("pseudonyms"), "{}", said.err);
    }
    for purpose in ["vault", "blind-index", "moon"] {
        folder.cordon(&["keys", "rotate", "--purpose", "seal", "--purpose", purpose]).exits(2);
    }
    folder.cordon(&["keys", "rotate"]).exits(2);

    let lock = fs::File::open(folder.path().join(".cordon/state/test/lock")).unwrap();
    lock.lock().unwrap();
    folder.cordon(&["keys", "rotate", "--all"]).exits(8);
    drop(lock);
    assert_eq!(fs::read(folder.path().join(".cordon/keyring.json")).unwrap(), ring, "nothing was changed");

    folder.cordon(&["keys", "rotate", "--purpose", "table-master"]).ok();
    let keys = status(&folder);
    assert!(version_of(&keys, "cordon-direct", 2).is_some() && version_of(&keys, "seal", 2).is_none());
}

#[test]
fn an_old_ring_with_new_data_is_refused_and_nothing_is_dropped() {
    let folder = folder();
    let ring = folder.path().join(".cordon/keyring.json");
    let old = fs::read(&ring).unwrap();
    rotate(&folder, None).ok();
    let new = fs::read(&ring).unwrap();
    let before = everything_in(&folder.path().join(".cordon/state"));
    fs::write(&ring, old).unwrap();
    for args in [&["run", "test"][..], &["keys", "status"], &["audit", "list"], &["keys", "rotate", "--all"]] {
        let said = folder.cordon(args);
        assert_eq!(said.code, 5, "{args:?}: {}", said.all());
    }
    assert_eq!(everything_in(&folder.path().join(".cordon/state")), before);
    fs::write(&ring, new).unwrap();
    folder.cordon(&["audit", "verify"]).ok();
    assert_eq!(folder.run_json("test", 0)["files_read"], 0);
}

fn everything_in(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    collect(folder, &mut files);
    files.sort();
    files.into_iter().map(|file| (file.clone(), fs::read(&file).unwrap())).collect()
}

#[test]
fn keys_that_are_due_are_told() {
    let folder = folder();
    let config = folder.read("cordon.yaml");
    folder.write("cordon.yaml", config.replace("keys:\n", "keys:\n  rotate-after: 365d\n"));
    assert!(!folder.cordon(&["keys", "status"]).ok().err.contains("rotate-after"));
    assert!(status(&folder).iter().all(|key| key["due"] == false));
    // Some time later.
    let later = |days: i64| (chrono::Utc::now() + chrono::Duration::days(days)).to_rfc3339();
    let then = |days: i64, format: &str| {
        let mut command = binary();
        command.args(["keys", "status", "--format", format]).current_dir(folder.path()).env("CORDON_NOW", later(days));
        said(command.output().unwrap()).ok()
    };
    assert!(then(364, "json").json().as_array().unwrap().iter().all(|key| key["due"] == false));
    let due: Vec<String> = then(366, "json")
        .json()
        .as_array()
        .unwrap()
        .iter()
        .filter(|key| key["due"] == true)
        .map(|key| key["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        ["cordon-footer", "seal", "audit-seal", "audit-signing", "subject-keys"]
            .iter()
            .all(|id| due.contains(&(*id).to_owned())),
        "{due:?}"
    );
    assert!(["hash", "vault", "blind-index"].iter().all(|id| !due.contains(&(*id).to_owned())), "{due:?}");
    let told = then(366, "text").err;
    assert!(told.contains("Older than 365 days") && told.contains("cordon-direct.v1"), "{told}");
    for wrong in ["0d", "a year", "365", "99999d", "-1d"] {
        folder.write("cordon.yaml", config.replace("keys:\n", &format!("keys:\n  rotate-after: {wrong}\n")));
        folder.cordon(&["keys", "status"]).exits(2);
    }
}
