//! What stands behind one person's token is destroyed by two persons, in copies too, and a certificate says so.

use std::fs;

use crate::support::{Folder, Said, binary, copy_tree, said};

pub(crate) const CANARY: &str = "CANARY-MRN-7";

const POLICY: &str = "
policy: test
method: safe-harbor
datasets:
  visits:
    subject: patient
    fields:
      patient: { kind: medical-record-number }
      number: { kind: clinical }
";

const PEOPLE: usize = 1000;

/// A thousand people, and the token of each in order.
pub(crate) fn folder() -> (Folder, Vec<String>) {
    let folder = Folder::with(POLICY, "  - { dataset: visits, path: in/*.csv }");
    folder.write("in/a.csv", visits(0));
    folder.run_json("test", 0);
    let tokens = tokens(&folder, "2000");
    assert_eq!(tokens.len(), PEOPLE);
    (folder, tokens)
}

fn name(n: usize) -> String {
    if n == 7 { CANARY.to_owned() } else { format!("p-{n:04}") }
}

/// Everybody once, in the order of their numbers.
fn visits(later: usize) -> String {
    let lines = (0..PEOPLE).map(|n| format!("{},{}\n", name(n), 1000 + later * PEOPLE + n));
    format!("patient,number\n{}", lines.collect::<String>())
}

/// The tokens of rows before a number, in order.
fn tokens(folder: &Folder, before: &str) -> Vec<String> {
    let rows = folder.sql(&format!(
        "SELECT patient FROM visits WHERE CAST(number AS BIGINT) < {before} ORDER BY CAST(number AS BIGINT)"
    ));
    rows.iter().map(|row| row["patient"].as_str().unwrap().to_owned()).collect()
}

pub(crate) fn ask(folder: &Folder, token: &str, shred: bool) -> String {
    let mut args =
        vec!["token", "request", "--domain", "patient", "--as", "privacy-officer", "--reason", "the patient asked"];
    args.extend(["--purpose", "required-by-law"]);
    args.extend(shred.then_some("--shred"));
    args.push(token);
    folder.cordon(&args).ok().out.trim().to_owned()
}

pub(crate) fn approve(folder: &Folder, id: &str, user: &str) -> Said {
    folder.cordon(&["token", "approve", id, "--as", user, "--reason", "checked with the ward"])
}

pub(crate) fn shred(folder: &Folder, id: &str, user: &str, certificate: &str) -> Said {
    let file = folder.path().join(certificate).display().to_string();
    folder.cordon(&["vault", "shred", id, "--as", user, "--certificate", &file])
}

pub(crate) fn revealed(folder: &Folder, token: &str) -> Said {
    let id = ask(folder, token, false);
    approve(folder, &id, "compliance-officer").ok();
    folder.cordon(&["token", "reveal", &id, "--as", "privacy-officer"])
}

#[test]
fn one_of_a_thousand_is_gone_also_from_an_old_copy_and_the_others_are_not() {
    let (folder, before) = folder();
    let copy = folder.path().join("copy-of-the-vault");
    copy_tree(&folder.path().join(".cordon/vault"), &copy);
    assert_eq!(revealed(&folder, &before[7]).ok().out, format!("{}\t{CANARY}\n", before[7]));

    let id = ask(&folder, &before[7], true);
    let early = shred(&folder, &id, "privacy-officer", "early.json").exits(4);
    assert!(early.err.contains("not approved yet"), "{}", early.err);
    approve(&folder, &id, "privacy-officer").exits(4);
    approve(&folder, &id, "compliance-officer").ok();
    shred(&folder, &id, "compliance-officer", "early.json").exits(4);
    assert!(!folder.path().join("early.json").exists() && folder.audit("subject_shredded").is_empty());
    let done = shred(&folder, &id, "privacy-officer", "certificate.json").ok();
    assert!(done.out.contains("behind 1 token any more"), "{}", done.out);
    let events = folder.audit("subject_shredded");
    assert_eq!(events.iter().map(|event| event["outcome"].as_str().unwrap()).collect::<Vec<_>>(), ["begun", "done"]);

    for restored in [false, true] {
        if restored {
            fs::remove_dir_all(folder.path().join(".cordon/vault")).unwrap();
            copy_tree(&copy, &folder.path().join(".cordon/vault"));
        }
        let gone = revealed(&folder, &before[7]).exits(1);
        assert!(!gone.all().contains(CANARY));
        assert_eq!(revealed(&folder, &before[8]).ok().out, format!("{}\tp-0008\n", before[8]));
        folder.cordon(&["vault", "verify"]).ok();
    }
    // The copy is older than the tables by nothing but what was destroyed.
    folder.write("in/b.csv", visits(1));
    folder.run_json("test", 0);
    let now = tokens(&folder, "3000").split_off(PEOPLE);
    for (n, (before, now)) in before.iter().zip(&now).enumerate() {
        assert_eq!(before == now, n != 7, "{n}");
    }
    assert_eq!(revealed(&folder, &now[7]).ok().out, format!("{}\t{CANARY}\n", now[7]));
    assert!(!before.contains(&now[7]));
    folder.cordon(&["audit", "verify"]).ok();
}

#[test]
fn a_certificate_says_what_was_done_and_no_letter_of_it_can_be_changed() {
    let (folder, tokens) = folder();
    let id = ask(&folder, &tokens[7], true);
    approve(&folder, &id, "compliance-officer").ok();
    shred(&folder, &id, "privacy-officer", "certificate.json").ok();
    let text = folder.read("certificate.json");
    assert!(!text.contains(CANARY) && !text.contains(&tokens[7]));
    let file = folder.path().join("certificate.json").display().to_string();
    let outside = |args: &[&str]| folder.cordon(&[&["vault", "check-certificate"], args].concat());
    let key = folder.cordon(&["audit", "head", "--format", "json"]).ok().json()["verifying_key"].clone();
    let said = outside(&[&file, "--key", key.as_str().unwrap()]).ok();
    assert!(said.out.contains("asked by privacy-officer, approved by compliance-officer"), "{}", said.out);
    outside(&[&file, "--key", &"ab".repeat(32)]).exits(7);

    let forged = folder.path().join("forged.json");
    let statement: serde_json::Value = serde_json::from_str(&text).unwrap();
    let entry = statement["statement"]["audit_entry"]["seq"].to_string();
    for (from, to) in [
        ("privacy-officer", "somebody-else"),
        ("\"patient\"", "\"payer\""),
        (&format!("\"seq\": {entry}"), "\"seq\": 1"),
        ("required-by-law", "research"),
        ("\"statement\": {", "\"statement\": { \"more\": 1,"),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(&forged, text.replacen(from, to, 1)).unwrap();
        outside(&[&forged.display().to_string()]).exits(7);
    }
    // Another one of the same, and none over one that is there.
    shred(&folder, &id, "privacy-officer", "certificate.json").exits(2);
    shred(&folder, &id, "privacy-officer", "again.json").ok();
    let again: serde_json::Value = serde_json::from_str(&folder.read("again.json")).unwrap();
    assert_eq!(again["statement"], statement["statement"]);
    assert_eq!(folder.audit("subject_shredded").len(), 2);
}

#[test]
fn nothing_is_destroyed_under_a_legal_hold() {
    let (folder, tokens) = folder();
    let id = ask(&folder, &tokens[7], true);
    approve(&folder, &id, "compliance-officer").ok();
    let hold =
        ["hold", "place", "lawsuit", "--tables", "visits", "--as", "privacy-officer", "--reason", "a lawsuit is near"];
    folder.cordon(&hold).ok();
    let said = shred(&folder, &id, "privacy-officer", "certificate.json").exits(4);
    assert!(said.err.contains("lawsuit") && !folder.path().join("certificate.json").exists(), "{}", said.err);
    folder.cordon(&["hold", "release", "lawsuit", "--as", "privacy-officer", "--reason", "it was settled"]).ok();
    shred(&folder, &id, "privacy-officer", "certificate.json").ok();
}

#[test]
fn a_destruction_that_was_killed_is_carried_on() {
    carried_on(&["shred-begun", "shredded", "renew-begun"]);
}

#[test]
fn a_renewal_that_was_killed_is_carried_on() {
    carried_on(&["renew-added", "renew-resealed", "renew-retired"]);
}

fn carried_on(steps: &[&str]) {
    for &at in steps {
        let (folder, tokens) = folder();
        let id = ask(&folder, &tokens[7], true);
        approve(&folder, &id, "compliance-officer").ok();
        let file = folder.path().join("certificate.json").display().to_string();
        let args = ["vault", "shred", &id, "--as", "privacy-officer", "--certificate", &file];
        let killed = said(binary().args(args).current_dir(folder.path()).env("CORDON_FAIL_AT", at).output().unwrap());
        assert_ne!(killed.code, 0, "{at}");
        // Whatever comes between: the one who asked carries it on.
        folder.cordon(&["token", "revoke", &id, "--as", "compliance-officer", "--reason", "it comes too late"]);
        shred(&folder, &id, "privacy-officer", "certificate.json").ok();
        revealed(&folder, &tokens[7]).exits(1);
        revealed(&folder, &tokens[6]).ok();
        folder.cordon(&["vault", "check-certificate", &file]).ok();
        // The key of before has left the ring, and what is left of the file is under the new one.
        assert_eq!(versions(&folder), [2], "{at}");
        assert!(!folder.cordon(&["keys", "status"]).ok().err.contains("subject-keys"), "{at}");
        folder.cordon(&["vault", "verify"]).ok();
        folder.cordon(&["audit", "verify"]).ok();
        assert_eq!(folder.run_json("test", 0)["files_read"], 0, "{at}");
    }
}

/// Of the key that the subject keys are under, as the ring holds it.
fn versions(folder: &Folder) -> Vec<u64> {
    let status = folder.cordon(&["keys", "status", "--format", "json"]).ok().json();
    let of = |key: &&serde_json::Value| key["purpose"] == "subject-keys";
    status.as_array().unwrap().iter().filter(of).map(|key| key["version"].as_u64().unwrap()).collect()
}

fn put_back(folder: &Folder, name: &str, bytes: &[u8]) {
    fs::write(folder.path().join(".cordon").join(name), bytes).unwrap();
}

#[test]
fn an_old_copy_of_the_subject_keys_is_of_no_use_with_the_ring_in_use() {
    let (folder, tokens) = folder();
    let file = |name: &str| fs::read(folder.path().join(".cordon").join(name)).unwrap();
    let (old, old_ring) = (file("subject-keys"), file("keyring.json"));
    let copy = folder.path().join("copy-of-the-vault");
    copy_tree(&folder.path().join(".cordon/vault"), &copy);
    assert_eq!(versions(&folder), [1]);
    let id = ask(&folder, &tokens[7], true);
    approve(&folder, &id, "compliance-officer").ok();
    let done = shred(&folder, &id, "privacy-officer", "certificate.json").ok();
    assert!(done.err.contains("open nothing with the key ring as it is now"), "{}", done.err);
    assert_eq!(versions(&folder), [2]);
    let certificate: serde_json::Value = serde_json::from_str(&folder.read("certificate.json")).unwrap();
    assert_eq!(certificate["statement"]["epoch"], folder.audit("subject_shredded")[1]["epoch"]);
    assert_eq!(certificate["statement"]["epoch"], 2);
    let told = folder.audit("key_operation");
    let about = |what: &str, key: &str, outcome: &str| {
        told.iter().any(|event| event["what"] == what && event["key_ids"][0] == key && event["outcome"] == outcome)
    };
    assert!(about("rotated", "subject-keys.v2", "done") && about("retired", "subject-keys.v1", "done"), "{told:?}");

    // The thief's vault and subject keys are of the day before; the ring is what this machine has now.
    let (new, new_ring) = (file("subject-keys"), file("keyring.json"));
    fs::remove_dir_all(folder.path().join(".cordon/vault")).unwrap();
    copy_tree(&copy, &folder.path().join(".cordon/vault"));
    put_back(&folder, "subject-keys", &old);
    let refused = revealed(&folder, &tokens[7]).exits(5);
    assert!(refused.err.contains("subject-keys") && !refused.all().contains(CANARY), "{}", refused.err);
    folder.cordon(&["vault", "verify"]).exits(5);
    // With the ring of the day before as well it opens: that copy is what has to be destroyed.
    put_back(&folder, "keyring.json", &old_ring);
    assert!(revealed(&folder, &tokens[7]).ok().out.contains(CANARY));
    put_back(&folder, "keyring.json", &new_ring);
    put_back(&folder, "subject-keys", &new);
    revealed(&folder, &tokens[7]).exits(1);
    assert_eq!(revealed(&folder, &tokens[8]).ok().out, format!("{}\tp-0008\n", tokens[8]));
}

#[test]
fn while_a_run_goes_on_the_person_is_destroyed_and_the_key_is_renewed_later() {
    let (folder, tokens) = folder();
    let old = fs::read(folder.path().join(".cordon/subject-keys")).unwrap();
    let lock = fs::File::open(folder.path().join(".cordon/state/test/lock")).unwrap();
    lock.lock().unwrap();
    let id = ask(&folder, &tokens[7], true);
    approve(&folder, &id, "compliance-officer").ok();
    let done = shred(&folder, &id, "privacy-officer", "certificate.json").ok();
    assert!(done.err.contains("rotate --purpose subject-keys"), "{}", done.err);
    revealed(&folder, &tokens[7]).exits(1);
    assert_eq!(versions(&folder), [1]);
    assert!(folder.cordon(&["keys", "status"]).ok().err.contains("rotate --purpose subject-keys"));
    drop(lock);
    folder.cordon(&["keys", "rotate", "--purpose", "subject-keys"]).ok();
    assert_eq!(versions(&folder), [2]);
    assert!(!folder.cordon(&["keys", "status"]).ok().err.contains("rotate --purpose subject-keys"));
    put_back(&folder, "subject-keys", &old);
    folder.cordon(&["vault", "verify"]).exits(5);
}
