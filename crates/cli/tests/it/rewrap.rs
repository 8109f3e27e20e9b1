//! Key material beside files, wrapped under newer master keys by `cordon keys rotate`: no data change, it can be killed at any step, and who
//! reads the files without Cordon goes on doing so.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::servers::{Bao, absent, python};
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
pub(crate) const CLASSES: [&str; 4] = ["footer", "direct", "quasi", "clinical"];

/// A table to be, with key material as is said.
pub(crate) fn folder() -> Folder {
    let folder = Folder::with(POLICY, "  - { dataset: visits, path: \"in/*.csv\" }");
    fs::remove_file(folder.path().join("pipelines/nightly.yaml")).unwrap();
    folder
}

fn set_material(folder: &Folder, material: &str) {
    let config = folder.read("cordon.yaml");
    let lines = config.split_inclusive('\n').filter(|line| !line.contains("key-material:"));
    let config = lines.collect::<String>();
    let section = format!("storage:\n  encryption: {{ key-material: {material} }}\n");
    assert!(config.contains("storage:\n"));
    folder.write("cordon.yaml", config.replacen("storage:\n", &section, 1));
}

/// Three people in a file of their own, and with it in a part of its own.
fn add(folder: &Folder, number: usize) {
    let rows = (0..3).map(|n| format!("CANARY{number}{n},2020-01-0{},E1{number}\n", n + 1)).collect::<String>();
    folder.write(&format!("in/{number}.csv"), format!("patient,day,code\n{rows}"));
    assert_eq!(folder.run_json("test", 0)["files_read"], 1);
}

fn keys(folder: &Folder, args: &[&str], fail_at: Option<&str>) -> Said {
    let mut command = binary();
    command.args(["keys"]).args(args).args(["--format", "json"]).current_dir(folder.path());
    if let Some(at) = fail_at {
        command.env("CORDON_FAIL_AT", at);
    }
    said(command.output().unwrap())
}

/// Number of files, and how many of them have their keys inside, under one version of a master key.
fn stands(folder: &Folder, id: &str, version: u64) -> Option<(u64, u64)> {
    let status = keys(folder, &["status"], None).ok().json();
    // Those of a store come behind those of the ring.
    let found = status.as_array().unwrap().iter().rev().find(|key| key["id"] == id && key["version"] == version)?;
    Some((found["files"].as_u64()?, found["inside"].as_u64()?))
}

/// Data as they are on the disk, and key material.
fn on_disk(folder: &Folder) -> (BTreeMap<PathBuf, Vec<u8>>, BTreeMap<PathBuf, String>) {
    let mut files = Vec::new();
    collect(&folder.path().join("warehouse/visits/data"), &mut files);
    let (data, material): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| file.extension().is_some_and(|extension| extension == "parquet"));
    let data = data.into_iter().map(|file| (file.clone(), fs::read(&file).unwrap())).collect();
    (data, material.into_iter().map(|file| (file.clone(), fs::read_to_string(&file).unwrap())).collect())
}

fn under(material: &BTreeMap<PathBuf, String>, mark: &str) -> usize {
    material.values().filter(|text| text.contains(mark)).count()
}

fn told(folder: &Folder, what: &str) -> Vec<String> {
    let events = folder.audit("key_operation").into_iter().filter(|event| event["what"] == what);
    events.map(|event| event["outcome"].as_str().unwrap().to_owned()).collect()
}

pub(crate) fn policy() -> String {
    let rule = |class: &str| {
        format!(
            "path \"transit/keys/cordon-{class}\" {{ capabilities = [\"read\"] }}\n\
             path \"transit/encrypt/cordon-{class}\" {{ capabilities = [\"update\"] }}\n\
             path \"transit/decrypt/cordon-{class}\" {{ capabilities = [\"update\"] }}\n"
        )
    };
    CLASSES.into_iter().map(rule).collect()
}

/// The master keys of the project are in OpenBao from here on.
pub(crate) fn masters_in(folder: &Folder, bao: &Bao) -> String {
    for class in CLASSES {
        bao.run(&["write", "-f", &format!("transit/keys/cordon-{class}"), "type=aes256-gcm96"]);
    }
    let token = bao.token("tables", &policy());
    let masters = format!(
        "keys:\n  masters: {{ transit: {{ address: \"{}\", ca-file: \"{}\", auth: {{ token-file: \"{token}\" }}, timeout-seconds: 5 }} }}\n",
        bao.address,
        bao.pki.path("ca.pem")
    );
    folder.write("cordon.yaml", folder.read("cordon.yaml").replacen("keys:\n", &masters, 1));
    token
}

fn rotate_in(bao: &Bao) {
    for class in CLASSES {
        bao.run(&["write", "-f", &format!("transit/keys/cordon-{class}/rotate")]);
    }
}

/// By others, with a token alone.
fn read_by_others(folder: &Folder, bao: &Bao, token: &str, rows: usize, with_spark: bool) {
    let args = ["tables", "files", "visits", "--as", "engineer", "--purpose", "operations", "--format", "json"];
    let listed = folder.cordon(&args).ok().json();
    let files: Vec<&Value> = listed["files"].as_array().unwrap().iter().map(|file| &file["file"]).collect();
    let args = json!([files, folder.path().join("scratch"), rows, with_spark]);
    bao.python(token, include_str!("rewrap.py"), &args);
}

#[test]
fn master_keys_rotated_in_a_store_are_followed_and_spark_and_pyarrow_read_after_a_kill_half_way() {
    let ready = Command::new(python()).args(["-c", "import pyspark, pyarrow.parquet.encryption"]).output();
    if !ready.is_ok_and(|out| out.status.success()) || Command::new("javac").arg("-version").output().is_err() {
        return absent("pyspark, pyarrow or javac").unwrap_or_default();
    }
    let Some(bao) = Bao::start() else { return };
    let folder = folder();
    let token = masters_in(&folder, &bao);
    add(&folder, 0);
    set_material(&folder, "external");
    (1..4).for_each(|number| add(&folder, number));
    assert_eq!(stands(&folder, "cordon-direct", 1), Some((4, 1)));
    let (before, (data, material)) = (folder.everything(), on_disk(&folder));
    assert_eq!((data.len(), material.len()), (4, 3));

    // Killed after two of four.
    rotate_in(&bao);
    let ring = fs::read(folder.path().join(".cordon/keyring.json")).unwrap();
    assert_ne!(keys(&folder, &["rotate", "--purpose", "table-master"], Some("rotate-rewrapping")).code, 0);
    let (_, half) = on_disk(&folder);
    let done = half.iter().filter(|(path, text)| material[*path] != **text).count();
    assert!((1..=2).contains(&done), "{done}");
    assert_eq!(folder.everything(), before);
    let status = folder.cordon(&["keys", "status"]).ok();
    assert!(status.err.contains("interrupted") && status.err.contains("key material of tables"), "{}", status.err);
    assert!(status.err.contains("cordon keys rewrap"), "{}", status.err);
    // A run in between writes under what is the newest by then.
    add(&folder, 4);
    read_by_others(&folder, &bao, &token, 15, false);

    // Killed again, and carried on to the end.
    assert_ne!(keys(&folder, &["rotate", "--all"], Some("rotate-rewrapped")).code, 0);
    let rest = keys(&folder, &["rotate", "--all"], None).ok().json();
    assert_eq!((&rest["resumed"], &rest["inside"], &rest["versions"]), (&json!(true), &json!(1), &json!([])));
    let (same, anew) = on_disk(&folder);
    assert!(data.iter().all(|(path, bytes)| same[path] == *bytes), "no data changed");
    assert_eq!((anew.len(), under(&anew, "vault:v2:"), under(&anew, "vault:v1:")), (4, 4, 0));
    assert_eq!(
        fs::read(folder.path().join(".cordon/keyring.json")).unwrap(),
        ring,
        "the ring makes no versions of these"
    );
    for class in CLASSES {
        let id = format!("cordon-{class}");
        let newest = stands(&folder, &id, 2);
        assert!(newest.is_none_or(|(files, inside)| inside == 0 && files == 4), "{id}: {newest:?}");
    }
    assert_eq!(
        (stands(&folder, "cordon-direct", 1), stands(&folder, "cordon-direct", 2)),
        (Some((1, 1)), Some((4, 0)))
    );
    let status = folder.cordon(&["keys", "status"]).ok();
    assert!(
        !status.err.contains("interrupted") && status.err.contains("until they are written again"),
        "{}",
        status.err
    );
    assert!(!status.err.contains("`cordon keys rewrap` wraps"), "{}", status.err);
    assert_eq!(folder.count("SELECT count(*) FROM visits"), 15);
    read_by_others(&folder, &bao, &token, 15, true);
    folder.cordon(&["tables", "verify"]).ok();
    folder.cordon(&["audit", "verify"]).ok();
    let told = told(&folder, "rewrapped");
    assert!(
        told.iter().filter(|outcome| *outcome == "begun").count() >= 2 && told.last().unwrap() == "done",
        "{told:?}"
    );
    assert_encrypted(&folder.written());

    // The old version may go for all but the file that has its keys inside, and that is said.
    for class in CLASSES {
        bao.run(&["write", &format!("transit/keys/cordon-{class}/config"), "min_decryption_version=2"]);
    }
    let status = folder.cordon(&["keys", "status"]).ok();
    assert!(status.err.contains("version 1 is not to be used any more, and 1 file(s)"), "{}", status.err);
    let late = folder.cordon(&["sql", "SELECT * FROM visits", "--as", "engineer", "--purpose", "operations"]).exits(5);
    assert!(late.err.contains("not to be used any more"), "{}", late.err);
    assert!(!late.all().contains("CANARY"));
}

#[test]
fn a_store_that_stops_half_way_stops_the_rotation_and_nothing_else() {
    let Some(mut bao) = Bao::start() else { return };
    let folder = folder();
    masters_in(&folder, &bao);
    set_material(&folder, "external");
    (0..2).for_each(|number| add(&folder, number));
    let before = folder.everything();
    let (_, material) = on_disk(&folder);
    rotate_in(&bao);
    bao.seal();
    let sealed = keys(&folder, &["rotate", "--purpose", "table-master"], None).exits(5);
    assert!(sealed.err.contains("is sealed"), "{}", sealed.err);
    assert_eq!(on_disk(&folder).1, material, "nothing was changed");
    assert_eq!(told(&folder, "rewrapped"), ["begun", "failed"]);
    bao.stop();
    // The ring is told all the same.
    let down = folder.cordon(&["keys", "status"]).ok();
    assert!(down.err.contains("were not counted") && down.err.contains("interrupted"), "{}", down.err);
    bao.restart();
    bao.unseal();
    assert_eq!(keys(&folder, &["rotate", "--all"], None).ok().json()["rewrapped"], 2);
    assert_eq!(folder.everything(), before);
}

#[test]
fn master_keys_of_the_ring_leave_it_when_key_material_was_wrapped_anew() {
    let folder = folder();
    add(&folder, 0);
    set_material(&folder, "external");
    (1..4).for_each(|number| add(&folder, number));
    let (before, (data, _)) = (folder.everything(), on_disk(&folder));
    assert_ne!(keys(&folder, &["rotate", "--purpose", "table-master"], Some("rotate-rewrapping")).code, 0);
    assert_eq!(folder.everything(), before);
    folder.cordon(&["keys", "retire"]).exits(2);
    // Another purpose than was begun with carries it on.
    let rest = keys(&folder, &["rotate", "--purpose", "seal"], None).ok().json();
    assert_eq!((&rest["resumed"], &rest["inside"]), (&json!(true), &json!(1)));
    let (same, anew) = on_disk(&folder);
    assert!(data == same, "no data changed");
    assert_eq!((under(&anew, "cordon-direct.v2"), under(&anew, ".v1")), (3, 0));
    assert_eq!(
        (stands(&folder, "cordon-direct", 1), stands(&folder, "cordon-direct", 2)),
        (Some((1, 1)), Some((3, 0)))
    );
    let status = folder.cordon(&["keys", "status"]).ok();
    assert!(
        status.err.contains("until they are written again") && !status.err.contains("interrupted"),
        "{}",
        status.err
    );
    files_are_told_to_who_may_unwrap_keys(&folder);
    // Kept for the file that has its keys inside.
    let gone = keys(&folder, &["retire"], None).ok().json();
    assert!(!gone["retired"].as_array().unwrap().contains(&json!("cordon-direct.v1")), "{gone}");
    assert_eq!(folder.everything(), before);
}

/// Of four parts, three have their keys beside them.
fn files_are_told_to_who_may_unwrap_keys(folder: &Folder) {
    let ask = |user: &str, purpose: &str, more: &[&str]| {
        folder.cordon(&[&["tables", "files", "visits", "--as", user, "--purpose", purpose], more].concat())
    };
    let told = ask("engineer", "operations", &["--format", "json"]).ok().json();
    let files = told["files"].as_array().unwrap();
    let of = |material: &str| files.iter().filter(|file| file["key_material"] == material).count();
    assert_eq!((told["table"].as_str(), of("internal"), of("external")), (Some("visits"), 1, 3));
    assert_eq!(files.iter().map(|file| file["rows"].as_u64().unwrap()).sum::<u64>(), 12);
    let lines = ask("engineer", "operations", &[]).ok().out;
    let paths: Vec<&str> = files.iter().map(|file| file["file"].as_str().unwrap()).collect();
    assert_eq!(lines.lines().collect::<Vec<_>>(), paths);
    assert!(paths.iter().all(|path| fs::read(path).unwrap().starts_with(b"PARE")));
    // Who may read all of it may not have its files; nor for another purpose, nor of what is not there.
    for (user, purpose) in [("analyst", "research"), ("engineer", "research"), ("privacy-officer", "operations")] {
        let denied = ask(user, purpose, &[]).exits(4);
        assert!(denied.out.is_empty() && denied.err.contains("unwrap"), "{}", denied.all());
    }
    let denied = folder.audit("access_denied");
    assert_eq!(denied.iter().filter(|event| event["dataset"] == "unwrap-keys: table visits").count(), 3);
    assert!(
        folder
            .audit("inspected")
            .iter()
            .any(|event| event["what"] == "table files" && event["principal"] == "engineer")
    );
    folder.cordon(&["tables", "files", "nothing", "--as", "engineer", "--purpose", "operations"]).exits(2);
}

#[test]
fn what_waits_to_be_committed_is_wrapped_anew_too() {
    for at in ["journaled", "prepared", "committing"] {
        let folder = folder();
        set_material(&folder, "external");
        add(&folder, 0);
        folder.write("in/1.csv", "patient,day,code\nCANARY1,2022-01-02,J45\n");
        let mut run = binary();
        run.args(["run", "test", "-q"]).current_dir(folder.path()).env("CORDON_FAIL_AT", at);
        assert!(!run.output().unwrap().status.success(), "{at}");
        keys(&folder, &["rotate", "--purpose", "table-master"], None).ok();
        for class in CLASSES {
            let old = stands(&folder, &format!("cordon-{class}"), 1);
            assert_eq!(old, Some((0, 0)), "{at}: {class}");
        }
        // Nothing stands under the old versions, neither in tables nor on the way: they can go.
        let gone = keys(&folder, &["retire"], None).ok().json();
        assert!(gone["retired"].as_array().unwrap().contains(&json!("cordon-direct.v1")), "{at}: {gone}");
        folder.cordon(&["run", "test", "-q"]).exits(0);
        assert_eq!(folder.count("SELECT count(*) FROM visits"), 4, "{at}");
        folder.cordon(&["tables", "verify"]).ok();
        // Without new keys: all of it is current.
        let again = keys(&folder, &["rewrap"], None).ok().json();
        assert_eq!((&again["rewrapped"], &again["versions"]), (&json!(0), &json!([])), "{at}");
    }
}
