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
    let said = folder.cordon(&["vault", "verify"]);
    assert!(matches!(said.code, 6 | 7), "{}: {}", said.code, said.all());
    assert!(said.err.contains("vault"), "{}", said.err);
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
