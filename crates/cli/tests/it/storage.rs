//! Wrong keys, damage, no space, no permission: a clear error, the right exit code, and nothing lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::{Folder, SmallDisk, binary, collect, said};

fn small() -> Folder {
    let policy = "
policy: test
method: safe-harbor
datasets:
  visits:
    subject: patient
    fields:
      patient: { kind: medical-record-number }
      day: { kind: service-date }
";
    let folder = Folder::with(policy, "  - { dataset: visits, path: \"in/*.csv\" }");
    folder.write("in/a.csv", "patient,day\np1,2020-01-02\np2,2021-05-06\n");
    folder
}

#[test]
fn a_wrong_passphrase_is_said_and_the_right_one_still_works() {
    let dir = tempfile::tempdir().unwrap();
    let cordon = |passphrase: &str, args: &[&str]| {
        said(binary().args(args).current_dir(&dir).env("P", passphrase).output().unwrap())
    };
    cordon("correct horse battery", &["init", "p", "--passphrase-env", "P"]).ok();
    cordon("correct horse battery", &["--project", "p", "keys", "status"]).ok();
    let wrong = cordon("incorrect horse", &["--project", "p", "keys", "status"]).exits(5);
    assert!(wrong.err.to_lowercase().contains("passphrase") && !wrong.err.contains("incorrect horse"), "{}", wrong.err);
    cordon("", &["--project", "p", "keys", "status"]).exits(2);
    cordon("correct horse battery", &["--project", "p", "audit", "verify"]).ok();
}

#[test]
fn the_root_key_rotates_without_touching_data() {
    let folder = small();
    folder.run_json("test", 0);
    let before = folder.everything();
    let files: Vec<_> = {
        let mut files = Vec::new();
        collect(&folder.path().join("warehouse"), &mut files);
        files.iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
    };
    folder.cordon(&["keys", "rotate-root", "--new-key-file", "secrets/new.key"]).ok();
    folder.cordon(&["keys", "status"]).exits(5);
    let config = folder.read("cordon.yaml").replace("secrets/root.key", "secrets/new.key");
    folder.write("cordon.yaml", config);
    assert_eq!(folder.everything(), before);
    for (file, content) in files {
        assert_eq!(fs::read(&file).unwrap(), content, "{}", file.display());
    }
}

#[test]
fn a_damaged_vault_stops_the_run_before_anything_is_written() {
    let folder = small();
    folder.run_json("test", 0);
    let mut files = Vec::new();
    collect(&folder.path().join(".cordon/vault"), &mut files);
    for file in files.iter().filter(|file| fs::metadata(file).unwrap().len() > 100) {
        let mut bytes = fs::read(file).unwrap();
        let middle = bytes.len() / 3;
        bytes[middle] ^= 0x40;
        fs::write(file, bytes).unwrap();
    }
    let said = folder.cordon(&["vault", "verify"]).exits(7);
    assert!(said.err.contains("vault"), "{}", said.err);

    let state = fs::read(folder.path().join(".cordon/state/test/done.sealed")).unwrap();
    folder.write("in/b.csv", "patient,day\np3,2020-01-02\n");
    folder.cordon(&["run", "test", "-q"]).exits(7);
    assert_eq!(fs::read(folder.path().join(".cordon/state/test/done.sealed")).unwrap(), state);
    assert_eq!(folder.count("SELECT count(*) FROM visits"), 2);
}

#[test]
fn a_vault_that_is_gone_or_old_does_not_become_a_new_one() {
    let folder = small();
    let copy = folder.dir.path().join("old");
    let vault = folder.path().join(".cordon/vault");
    let copied = |from: &std::path::Path, to: &std::path::Path| {
        assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    };
    folder.run_json("test", 0);
    copied(&vault, &copy);
    folder.write("in/b.csv", "patient,day\np3,2020-01-02\n");
    folder.run_json("test", 0);
    fs::rename(&vault, folder.dir.path().join("away")).unwrap();
    let said = folder.cordon(&["run", "test", "-q"]).exits(6);
    assert!(said.err.contains("no vault") && said.err.contains("mount"), "{}", said.err);
    assert!(!vault.join("MANIFEST").exists());
    copied(&copy, &vault);
    folder.write("in/c.csv", "patient,day\np3,2020-01-02\n");
    let said = folder.cordon(&["run", "test", "-q"]).exits(7);
    assert!(said.err.contains("older copy"), "{}", said.err);
    fs::remove_dir_all(&vault).unwrap();
    fs::rename(folder.dir.path().join("away"), &vault).unwrap();
    folder.run_json("test", 0);
    assert_eq!(folder.count("SELECT count(DISTINCT patient) FROM visits"), 3);
}

#[test]
fn an_audit_log_that_is_gone_or_was_put_back_stops_everything() {
    let folder = small();
    folder.run_json("test", 0);
    let audit = folder.path().join(".cordon/audit");
    let old = folder.dir.path().join("old");
    assert!(Command::new("cp").arg("-a").arg(&audit).arg(&old).status().unwrap().success());
    folder.count("SELECT count(*) FROM visits");
    let new = folder.dir.path().join("new");
    fs::rename(&audit, &new).unwrap();
    let query = ["sql", "SELECT count(*) FROM visits", "--as", "engineer", "--purpose", "operations"];
    for args in [&["run", "test", "-q"][..], &query, &["audit", "verify"]] {
        folder.cordon(args).exits(7);
    }
    assert!(!audit.join("head").exists(), "no new log takes the place of the old one");
    // The copy agrees with every table; only the mark outside of it knows of the query since.
    fs::rename(&old, &audit).unwrap();
    for args in [&["run", "test", "-q"][..], &query, &["audit", "verify"]] {
        folder.cordon(args).exits(7);
    }
    fs::remove_dir_all(&audit).unwrap();
    fs::rename(&new, &audit).unwrap();
    folder.cordon(&["audit", "verify"]).ok();
    // Without the mark the log begins a new one, on the record.
    fs::remove_file(folder.path().join(".cordon/state/audit.sealed")).unwrap();
    folder.cordon(&["audit", "verify"]).ok();
    assert!(
        folder
            .cordon(&["audit", "list", "--kind", "anchor_missing", "--format", "json"])
            .ok()
            .out
            .contains("anchor_missing")
    );
}

#[test]
fn sealed_files_cannot_stand_in_for_one_another() {
    let folder = small();
    folder.write(
        "pipelines/more.yaml",
        folder.read("pipelines/test.yaml").replace("pipeline: test", "pipeline: more").replace("in/*", "more/*")
            + "sink: { prefix: more_ }\n",
    );
    folder.write("in/a.csv", "patient,day\np1,2020-01-02\np2,2020-13-06\n");
    folder.write("more/a.csv", "patient,day\np1,2020-01-02\np2,2020-13-06\n");
    for pipeline in ["test", "more"] {
        folder.run_json(pipeline, 3);
    }
    let swap = |one: &std::path::Path, other: &std::path::Path| {
        let (a, b) = (fs::read(one).unwrap(), fs::read(other).unwrap());
        fs::write(one, b).unwrap();
        fs::write(other, a).unwrap();
    };
    let states = ["test", "more"].map(|name| folder.path().join(".cordon/state").join(name).join("done.sealed"));
    let held = ["test", "more"].map(|name| {
        let mut files = Vec::new();
        collect(&folder.path().join(".cordon/quarantine").join(name), &mut files);
        assert_eq!(files.len(), 1);
        files.remove(0)
    });
    for [one, other] in [&states, &held] {
        swap(one, other);
        folder.cordon(&["quarantine", "list"]).exits(7);
        swap(one, other);
    }
    folder.cordon(&["quarantine", "list"]).ok();
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let folder = small();
    let key = folder.path().join("secrets/root.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let said = folder.cordon(&["keys", "status"]).exits(5);
    assert!(said.err.contains("root.key"), "{}", said.err);
}

#[test]
fn a_full_disk_is_said_and_the_run_resumes_when_there_is_space() {
    let folder = Folder::init("hospital");
    folder.synth(600, &["--clean", "--formats", "csv,fhir"]);
    let Some(disk) = SmallDisk::mount(&folder.path().join("warehouse"), "600k") else { return };
    let said = folder.cordon(&["run", "nightly", "-q"]).exits(6);
    assert!(said.err.contains("space"), "{}", said.err);
    let grown = Command::new("mount").args(["-o", "remount,size=200m"]).arg(&disk.0).status().unwrap();
    assert!(grown.success());
    folder.run_json("nightly", 0);
    assert_eq!(folder.count("SELECT count(*) FROM patients"), 600);
    folder.cordon(&["audit", "verify"]).ok();
    drop(disk);
}

#[test]
fn a_full_disk_under_the_vault_and_the_log_loses_nothing() {
    let folder = Folder::init("hospital");
    folder.synth(600, &["--clean", "--formats", "csv"]);
    folder.write(
        "pipelines/nightly.yaml",
        folder
            .read("pipelines/nightly.yaml")
            .lines()
            .filter(|line| !line.contains("dataset: fhir"))
            .collect::<Vec<_>>()
            .join("\n"),
    );
    let state = folder.path().join(".cordon");
    let kept = folder.path().join("kept");
    fs::rename(&state, &kept).unwrap();
    let Some(disk) = SmallDisk::mount(&state, "300k") else { return };
    let copied = Command::new("cp").args(["-a"]).arg(kept.join(".")).arg(&state).status().unwrap();
    assert!(copied.success());
    let said = folder.cordon(&["run", "nightly", "-q"]);
    assert_ne!(said.code, 0);
    assert!(said.err.contains("space") || said.err.contains("full"), "{}", said.err);
    assert!(Command::new("mount").args(["-o", "remount,size=200m"]).arg(&disk.0).status().unwrap().success());
    folder.run_json("nightly", 0);
    assert_eq!(folder.count("SELECT count(DISTINCT patient_id) FROM patients"), 600);
    folder.cordon(&["audit", "verify"]).ok();
    folder.cordon(&["vault", "verify"]).ok();
    drop(disk);
}

#[test]
fn a_read_only_warehouse_is_said() {
    let folder = small();
    let Some(disk) = SmallDisk::mount(&folder.path().join("warehouse"), "1m") else { return };
    assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(&disk.0).status().unwrap().success());
    let said = folder.cordon(&["run", "test", "-q"]).exits(6);
    assert!(said.err.contains("read-only") || said.err.contains("permitted"), "{}", said.err);
    drop(disk);
}
