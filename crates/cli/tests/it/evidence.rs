//! The record as an auditor meets it: read without being changed, and telling of what was taken away.

use std::fs;

use crate::support::{Folder, SmallDisk, copy_tree, snapshot};

const POLICY: &str = "
policy: test
method: safe-harbor
datasets:
  visits:
    fields:
      code: { kind: clinical }
  costs:
    fields:
      amount: { kind: financial, type: decimal }
";

/// Two tables; `visits` has two versions.
fn folder() -> Folder {
    let folder = Folder::with(
        POLICY,
        "  - { dataset: visits, path: \"in/v*.csv\" }\n  - { dataset: costs, path: in/costs.csv }",
    );
    folder.write("in/v1.csv", "code\nE11\n");
    folder.write("in/costs.csv", "amount\n10.5\n");
    folder.run_json("test", 0);
    folder.write("in/v1.csv", "code\nE11\nI10\n");
    folder.run_json("test", 0);
    folder
}

#[test]
fn a_table_that_is_set_back_or_removed_is_found() {
    let folder = folder();
    folder.cordon(&["audit", "verify"]).ok();
    let newest = folder.path().join("warehouse/visits/_manifest/v0000000002.sealed");
    let aside = folder.path().join("aside");
    fs::rename(&newest, &aside).unwrap();
    assert_eq!(folder.count("SELECT count(*) FROM visits"), 1, "the table answers from its first version");
    let said = folder.cordon(&["audit", "verify"]).exits(7);
    assert!(said.err.contains("visits") && said.err.contains("version 2"), "{}", said.err);
    let said = folder.cordon(&["audit", "verify", "--format", "json"]).exits(7).json();
    assert_eq!((&said["tables"][0]["committed"], &said["tables"][0]["found"]), (&2.into(), &1.into()));
    fs::rename(&aside, &newest).unwrap();
    folder.cordon(&["audit", "verify"]).ok();

    let table = folder.path().join("warehouse/costs");
    fs::rename(&table, &aside).unwrap();
    let said = folder.cordon(&["audit", "verify"]).exits(7);
    assert!(said.err.contains("costs") && said.err.contains("not there"), "{}", said.err);
    fs::rename(&aside, &table).unwrap();
    // The folder of all tables.
    let warehouse = folder.path().join("warehouse");
    fs::rename(&warehouse, &aside).unwrap();
    folder.cordon(&["audit", "verify"]).exits(7);
    fs::rename(&aside, &warehouse).unwrap();
    folder.cordon(&["audit", "verify"]).ok();
}

#[test]
fn a_damaged_table_stands_in_nobody_elses_way() {
    let folder = folder();
    let config = folder.read("cordon.yaml").replace(
        "    - name: engineering",
        "    - name: visitors\n      grants:\n        - { datasets: [visits], columns: [code], purposes: [research] }\n    - name: engineering",
    );
    folder.write("cordon.yaml", config.replace("  users:\n", "  users:\n    - { name: ana, roles: [visitors] }\n"));
    let manifest = folder.path().join("warehouse/costs/_manifest/v0000000001.sealed");
    let mut bytes = fs::read(&manifest).unwrap();
    bytes[60] ^= 1;
    fs::write(&manifest, bytes).unwrap();
    let ana = |query: &str| folder.cordon(&["sql", query, "--as", "ana", "--purpose", "research", "--format", "csv"]);
    assert_eq!(ana("SELECT count(*) AS n FROM visits").ok().out, "n\n2\n");
    let hidden = ana("SELECT * FROM costs").exits(4);
    assert!(!hidden.err.contains("damaged") && !hidden.err.contains("costs"), "{}", hidden.err);
    // Who may see it is told what is the matter with it.
    let said = folder.cordon(&["sql", "SELECT * FROM costs", "--as", "engineer", "--purpose", "operations"]).exits(7);
    assert!(said.err.contains("damaged"), "{}", said.err);
    assert_eq!(folder.count("SELECT count(*) FROM visits"), 2);
    let unreadable = folder.audit("table_unreadable");
    assert!(!unreadable.is_empty() && unreadable.iter().all(|event| event["table"] == "costs"), "{unreadable:?}");
    folder.cordon(&["tables", "verify"]).exits(7);
    folder.cordon(&["tables", "verify", "visits"]).ok();
}

#[test]
fn how_a_table_was_made_can_be_seen_and_its_bytes_checked() {
    let folder = folder();
    let history = folder.cordon(&["tables", "history", "visits", "--format", "json"]).ok().json();
    let versions = history.as_array().unwrap();
    assert_eq!(versions.len(), 2);
    let newest = &versions[1];
    let made = &newest["provenance"];
    assert_eq!(
        (&made["policy"], &made["pipeline"], &made["method"]),
        (&"test".into(), &"test".into(), &"safe-harbor".into())
    );
    assert_eq!(made["policy_sha256"].as_str().unwrap().len(), 64);
    assert_eq!(newest["sources"][0]["sha256"].as_str().unwrap().len(), 64);
    assert!(!newest["key_ids"].as_array().unwrap().is_empty());
    // The audit entry that it names is the one about its commit.
    let list = folder.cordon(&["audit", "list", "-n", "1000", "--format", "json"]).ok().json();
    let entry = list.as_array().unwrap().iter().find(|entry| entry["seq"] == made["audit"]["seq"]).unwrap();
    assert_eq!((&entry["event"]["kind"], &entry["event"]["version"]), (&"table_committed".into(), &2.into()));
    assert!(!history.to_string().contains("v1.csv"), "names of files may name patients");
    folder.cordon(&["tables", "history", "nothing"]).exits(2);

    folder.cordon(&["tables", "verify"]).ok();
    let part = newest["parts"][0]["file"].as_str().unwrap();
    let path = folder.path().join("warehouse/visits/data").join(part);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let said = folder.cordon(&["tables", "verify"]).exits(7);
    assert!(said.err.contains("visits") && !said.err.contains("table costs"), "{}", said.err);
}

#[test]
fn evidence_is_read_where_nothing_can_be_written() {
    let folder = folder();
    let head = folder.cordon(&["audit", "head", "--format", "json"]).ok().json();
    let anchor = format!("{}:{}", head["seq"], head["hash"].as_str().unwrap());
    let key = head["verifying_key"].as_str().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(copy.path(), "20m") else { return };
    copy_tree(&folder.path(), &disk.0);
    fs::set_permissions(
        disk.0.join("secrets/root.key"),
        fs::metadata(folder.path().join("secrets/root.key")).unwrap().permissions(),
    )
    .unwrap();
    let remount = |how: &str| {
        let done = std::process::Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&disk.0).status();
        assert!(done.unwrap().success());
    };
    remount("ro");
    let project = disk.0.to_str().unwrap();
    let cordon = |args: &[&str]| folder.cordon(&[&["--project", project][..], args].concat());
    let verified = cordon(&["audit", "verify", "--anchor", &anchor]).ok();
    assert!(verified.err.contains("Not recorded"), "{}", verified.err);
    assert!(cordon(&["audit", "list"]).ok().out.contains("table_committed"));
    cordon(&["audit", "verify", "--key", key, "--anchor", &anchor]).ok();
    let wrong = anchor.replace(':', ":00").chars().take(anchor.len()).collect::<String>();
    cordon(&["audit", "verify", "--anchor", &wrong]).exits(7);

    // With the public key alone, where there is neither project nor root key.
    let log = disk.0.join(".cordon/audit");
    let log = log.to_str().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let public = |args: &[&str]| {
        let all = [&["audit", "verify", "--log", log, "--key"][..], args].concat();
        crate::support::said(crate::support::binary().args(all).current_dir(&elsewhere).output().unwrap())
    };
    public(&[key]).ok();
    public(&[key, "--anchor", &anchor]).ok();
    public(&["00"]).exits(2);
    public(&[&"ab".repeat(32)]).exits(7);

    // The last entry is changed: said, and left as it is.
    remount("rw");
    let segment = disk.0.join(".cordon/audit/audit-00000001.log");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.len() - 120;
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let before = snapshot(&disk.0.join(".cordon/audit"));
    for args in [&["audit", "verify"][..], &["audit", "verify", "--key", key]] {
        let said = cordon(args).exits(7);
        assert!(said.err.contains("changed") || said.err.contains("removed"), "{}", said.err);
        assert!(snapshot(&disk.0.join(".cordon/audit")) == before, "verification changed the evidence");
    }
}

#[test]
fn a_rotation_is_on_the_record_with_its_outcome() {
    let folder = folder();
    assert_eq!(folder.audit("key_operation")[0]["what"], "created");
    let rotate = |env: &str, value: &str| {
        let output = crate::support::binary()
            .args(["keys", "rotate-root", "--new-passphrase-env", env])
            .env(env, value)
            .current_dir(folder.path())
            .output();
        crate::support::said(output.unwrap())
    };
    // Too short to be a passphrase.
    assert_ne!(rotate("NEW_ROOT", "short").code, 0);
    let outcomes = |folder: &Folder| -> Vec<String> {
        let events = folder.audit("key_operation");
        let rotations = events.iter().filter(|event| event["what"] == "root_rotated");
        rotations.map(|event| event["outcome"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(outcomes(&folder), ["begun", "failed"]);
    // A key file's name is read as `keys.root` is: against the project, wherever the program is run.
    let project = folder.path();
    let from = tempfile::tempdir().unwrap();
    let args = ["--project", project.to_str().unwrap(), "keys", "rotate-root", "--new-key-file", "secrets/new.key"];
    let said = crate::support::said(crate::support::binary().args(args).current_dir(&from).output().unwrap()).ok();
    assert!(said.out.contains("key-file: secrets/new.key"), "{}", said.out);
    assert!(folder.path().join("secrets/new.key").is_file());
    let config = folder.read("cordon.yaml").replace("secrets/root.key", "secrets/new.key");
    folder.write("cordon.yaml", config);
    assert_eq!(outcomes(&folder), ["begun", "failed", "begun", "done"]);
}

#[test]
fn looking_is_on_the_record() {
    let folder = folder();
    for args in [
        &["tables", "--as", "engineer", "--purpose", "operations"][..],
        &["tables", "history", "visits"],
        &["tables", "verify"],
        &["quarantine", "list"],
        &["keys", "status"],
        &["vault", "status"],
        &["vault", "verify"],
    ] {
        let before = folder.audit("inspected").len();
        folder.cordon(args).ok();
        assert_eq!(folder.audit("inspected").len(), before + 1, "{args:?}");
    }
    let said = folder.cordon(&["audit", "list", "--kind", "acces_denied"]).exits(2);
    assert!(said.err.contains("access_denied"), "{}", said.err);
    let listed = folder.cordon(&["audit", "list"]).ok();
    assert!(listed.out.contains("system user"), "{}", listed.out);
}
