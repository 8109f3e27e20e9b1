//! Backups: whole while runs go on, found when they are not as they were made, and a project again when they are put back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::support::{Folder, Said, SmallDisk, binary, collect, copy_tree, said};

const POLICY: &str = "
policy: test
method: safe-harbor
datasets:
  visits:
    subject: patient
    fields:
      patient: { kind: medical-record-number }
      day: { kind: service-date }
";

/// One table, and one record in quarantine.
fn folder() -> Folder {
    let folder = Folder::with(POLICY, "  - { dataset: visits, path: \"in/*.csv\" }");
    folder.write("in/a.csv", "patient,day\np1,2020-01-02\np2,2021-05-06\np3,2021-05-06,extra,cells\n");
    folder.run_json("test", 3);
    folder
}

pub(crate) fn backup(folder: &Folder, name: &str, more: &[&str]) -> PathBuf {
    let dir = folder.dir.path().join(name);
    let mut args = vec!["backup", "create", dir.to_str().unwrap()];
    args.extend(more);
    folder.cordon(&args).ok();
    dir
}

pub(crate) fn at(args: &[&str], paths: &[&Path]) -> Said {
    said(binary().args(args).args(paths).output().unwrap())
}

/// Restored elsewhere, with the root's secret and the sources, which no backup holds.
fn restored(folder: &Folder, dir: &Path, tables: bool) -> Folder {
    let new = Folder { dir: tempfile::tempdir().unwrap() };
    at(&["backup", "restore"], &[dir, &new.path()]).ok();
    copy_tree(&folder.path().join("secrets"), &new.path().join("secrets"));
    if folder.path().join("in").exists() {
        copy_tree(&folder.path().join("in"), &new.path().join("in"));
    }
    if !tables {
        copy_tree(&folder.path().join("warehouse"), &new.path().join("warehouse"));
    }
    new
}

#[test]
fn a_restored_project_goes_on_on_another_path() {
    let folder = folder();
    let before = folder.everything();
    let dir = backup(&folder, "b", &["--tables"]);
    at(&["backup", "verify"], &[&dir]).ok();
    let secret = fs::read(folder.path().join("secrets/root.key")).unwrap();
    let mut files = Vec::new();
    collect(&dir, &mut files);
    for file in files {
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(60).any(|some| some == &secret[..60]), "the root's secret is in {}", file.display());
    }

    let new = restored(&folder, &dir, true);
    assert_eq!(new.everything(), before);
    for args in [&["vault", "verify"][..], &["audit", "verify"], &["tables", "verify"], &["report", "test"]] {
        new.cordon(args).ok();
    }
    let told = new.audit("backup_restored");
    assert_eq!(told.len(), 1, "once");
    assert!(told[0]["audit_seq"].as_u64().unwrap() > 3);
    assert_eq!(folder.audit("backup_made").len(), 2, "begun and done");
    assert_eq!(folder.audit("backup_made")[1]["list"], told[0]["list"], "which backup");

    assert_eq!(new.run_json("test", 0)["files_read"], 0);
    new.write("in/b.csv", "patient,day\np1,2022-03-04\n");
    assert_eq!(new.run_json("test", 0)["files_read"], 1);
    assert_eq!(new.count("SELECT count(*) FROM visits"), 3);
    assert_eq!(new.count("SELECT count(DISTINCT patient) FROM visits"), 2, "known people keep their tokens");
    new.cordon(&["audit", "verify"]).ok();
}

#[test]
fn what_is_not_as_it_was_made_is_found_and_not_restored() {
    let folder = folder();
    let dir = backup(&folder, "b", &["--tables"]);
    let mut files = Vec::new();
    collect(&dir, &mut files);
    let verify = || at(&["backup", "verify"], &[&dir]);
    let target = folder.dir.path().join("target");
    let refused = |what: &str| {
        verify().exits(7);
        at(&["backup", "restore"], &[&dir, &target]).exits(7);
        assert!(!target.exists(), "{what}: nothing was put in place");
    };
    for file in &files {
        let good = fs::read(file).unwrap();
        let mut bad = good.clone();
        match bad.get_mut(good.len() / 2) {
            Some(byte) => *byte ^= 1,
            None => bad.push(0),
        }
        fs::write(file, &bad).unwrap();
        refused(&format!("changed {}", file.display()));
        fs::remove_file(file).unwrap();
        refused(&format!("missing {}", file.display()));
        fs::write(file, &good).unwrap();
    }
    fs::write(dir.join("data/.cordon/vault/run-00000099"), b"extra").unwrap();
    refused("extra");
    fs::remove_file(dir.join("data/.cordon/vault/run-00000099")).unwrap();
    verify().ok();

    // Signed by another project's key: whole in itself, and not ours.
    let ours = folder.cordon(&["audit", "head", "--format", "json"]).ok().json();
    let theirs = self::folder();
    let other = backup(&theirs, "b", &[]);
    at(&["backup", "verify", "--key", ours["verifying_key"].as_str().unwrap()], &[&dir]).ok();
    at(&["backup", "verify", "--key", ours["verifying_key"].as_str().unwrap()], &[&other]).exits(7);
    at(&["backup", "verify"], &[&other]).ok();
}

#[test]
fn nothing_is_replaced_and_key_files_in_place_stay() {
    let folder = folder();
    let dir = backup(&folder, "b", &[]);
    let said = folder.cordon(&["backup", "create", dir.to_str().unwrap()]).exits(2);
    assert!(said.err.contains("not empty"), "{}", said.err);
    at(&["backup", "restore"], &[&dir, &folder.path()]).exits(2);

    // Keys kept elsewhere.
    let kept = folder.dir.path().join("safe");
    fs::rename(dir.join("keys"), &kept).unwrap();
    at(&["backup", "verify"], &[&dir]).exits(7);
    at(&["backup", "verify", "--keys", kept.to_str().unwrap()], &[&dir]).ok();
    let target = folder.dir.path().join("target");
    fs::create_dir_all(target.join(".cordon")).unwrap();
    folder.cordon(&["keys", "rotate", "--purpose", "seal"]).ok();
    let newer = fs::read(folder.path().join(".cordon/keyring.json")).unwrap();
    fs::write(target.join(".cordon/keyring.json"), &newer).unwrap();
    at(&["backup", "restore", "--keys", kept.to_str().unwrap()], &[&dir, &target]).ok();
    assert_eq!(fs::read(target.join(".cordon/keyring.json")).unwrap(), newer);

    // Without keys: the ring is put in place by hand.
    let dir = backup(&folder, "c", &["--without-keys", "--tables"]);
    assert!(!dir.join("keys").exists());
    let new = restored(&folder, &dir, true);
    new.cordon(&["audit", "verify"]).exits(5);
    fs::copy(folder.path().join(".cordon/keyring.json"), new.path().join(".cordon/keyring.json")).unwrap();
    new.cordon(&["audit", "verify"]).ok();
    assert_eq!(new.count("SELECT count(*) FROM visits"), 2);
}

#[test]
fn tables_that_are_newer_than_the_backup_are_not_written_to() {
    let folder = folder();
    let dir = backup(&folder, "b", &[]);
    folder.write("in/b.csv", "patient,day\np4,2022-03-04\n");
    folder.run_json("test", 0);
    // The tables were not lost: they have a person whom the restored vault does not know.
    let new = restored(&folder, &dir, false);
    let said = new.cordon(&["run", "test"]).exits(7);
    assert!(said.err.contains("newer than the project's record"), "{}", said.err);
    assert_eq!(new.count("SELECT count(*) FROM visits"), 3, "they are read");
    new.cordon(&["audit", "verify"]).exits(7);
}

#[test]
fn a_full_disk_leaves_no_backup_that_looks_like_one() {
    let folder = folder();
    let Some(disk) = SmallDisk::mount(&folder.dir.path().join("small"), "16k") else { return };
    let dir = disk.0.join("b");
    folder.cordon(&["backup", "create", dir.to_str().unwrap(), "--tables"]).exits(6);
    at(&["backup", "verify"], &[&dir]).exits(7);
    assert_eq!(folder.audit("backup_made")[1]["outcome"], "failed");
    folder.cordon(&["run", "test"]).exits(0);
    drop(disk);
}

#[test]
fn a_backup_while_a_run_goes_on_is_whole_wherever_the_run_is_killed() {
    let calm = Folder::init("hospital");
    calm.synth(300, &[]);
    let began = std::time::Instant::now();
    calm.run_json("nightly", 3);
    let whole = began.elapsed().as_millis() as u64;
    let counts = |folder: &Folder| -> Vec<(String, i64)> {
        let count = |table: String| (table.clone(), folder.count(&format!("SELECT count(*) FROM {table}")));
        folder.tables().into_iter().map(count).collect()
    };
    let people = |folder: &Folder| folder.count("SELECT count(DISTINCT patient_id) FROM patients");
    let expected = (counts(&calm), people(&calm));
    for part in [1, 3, 5, 7] {
        let folder = Folder::init("hospital");
        copy_tree(&calm.path().join("data"), &folder.path().join("data"));
        let mut run = binary()
            .args(["run", "nightly", "-q"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(whole * part / 8));
        let dir = backup(&folder, "b", &["--tables"]);
        run.kill().unwrap();
        run.wait().unwrap();
        at(&["backup", "verify"], &[&dir]).ok();
        let new = restored(&folder, &dir, true);
        copy_tree(&calm.path().join("data"), &new.path().join("data"));
        new.cordon(&["audit", "verify"]).ok();
        new.cordon(&["vault", "verify"]).ok();
        let said = new.cordon(&["run", "nightly", "-q"]);
        assert!([0, 3].contains(&said.code), "{part}/8: {}", said.all());
        assert_eq!((counts(&new), people(&new)), expected, "{part}/8");
        new.cordon(&["audit", "verify"]).ok();
        new.cordon(&["tables", "verify"]).ok();
    }
}
