//! Parquet files that others encrypted, as sources: with the same master keys, those of another store, or one key; and not without.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::rewrap::{CLASSES, folder, policy};
use crate::servers::{Bao, absent, private_file, python};
use crate::support::{Folder, Said, assert_encrypted, copy_tree};

fn source(folder: &Folder, path: &str, encryption: &str) {
    let source = format!("  - {{ dataset: visits, path: \"{path}\"{encryption} }}\n");
    folder.write("pipelines/test.yaml", format!("pipeline: test\npolicy: test\nsources:\n{source}"));
}

fn transit(bao: &Bao, token: &str) -> String {
    let ca = bao.pki.path("ca.pem");
    format!(
        "{{ address: \"{}\", ca-file: \"{ca}\", auth: {{ token-file: \"{token}\" }}, timeout-seconds: 5 }}",
        bao.address
    )
}

fn run(folder: &Folder) -> Said {
    folder.cordon(&["run", "test", "--format", "json", "-q"])
}

fn says_no_value(said: &Said) {
    assert!(!said.all().contains("CANARY"), "{}", said.all());
}

#[test]
fn files_of_spark_and_pyarrow_are_read_with_their_keys_and_not_without() {
    let modules = "import pyspark, pyarrow.parquet.encryption";
    let ready = Command::new(python()).args(["-c", modules]).output();
    if !ready.is_ok_and(|out| out.status.success()) || Command::new("javac").arg("-version").output().is_err() {
        return absent("pyspark, pyarrow or javac").unwrap_or_default();
    }
    let Some(bao) = Bao::start() else { return };
    for class in CLASSES {
        bao.run(&["write", "-f", &format!("transit/keys/cordon-{class}"), "type=aes256-gcm96"]);
    }
    let token = bao.token("tables", &policy());
    let folder = folder();
    let scratch = folder.dir.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let key = [7_u8; 32];
    let args = json!([folder.path().join("in"), data_encoding::HEXLOWER.encode(&key), scratch]);
    let mut number = 0;
    let in_files = CLASSES.map(|class| {
        number += 1;
        let (id, master) = (format!("cordon-{class}"), data_encoding::HEXLOWER.encode(&[number; 32]));
        private_file(&scratch.join(format!("{id}.key")), &master);
        (id, master)
    });
    bao.python(&token, include_str!("encrypted_sources.py"), &args);

    // No keys are named: encrypted files are refused one by one, with the reason, and the plain one is read.
    source(&folder, "in/*.parquet", "");
    let none = run(&folder).exits(3);
    says_no_value(&none);
    let report = none.json();
    let refused = report["files_refused"].as_array().unwrap();
    assert_eq!((refused.len(), &report["rows_out"]), (4, &json!(4)), "{report}");
    assert!(refused.iter().all(|file| file[1].as_str().unwrap().contains("no keys are configured")), "{report}");

    // Keys are named, and cannot be had: the run stops and tells which key of which store. Nothing changes.
    let wrong = private_file(&folder.dir.path().join("wrong.token"), "s.wrong-canary");
    source(&folder, "in/*.parquet", &format!(", encryption: {{ transit: {} }}", transit(&bao, &wrong)));
    let stopped = run(&folder).exits(5);
    assert!(
        stopped.err.contains("cordon-footer") && stopped.err.contains("does not take these credentials"),
        "{}",
        stopped.err
    );
    assert!(!stopped.all().contains("s.wrong-canary"));
    // Those of the project are others.
    source(&folder, "in/*.parquet", ", encryption: project");
    let others = run(&folder).exits(5);
    says_no_value(&others);
    assert_eq!(folder.count("SELECT count(*) FROM visits"), 4);

    // The store that wrapped them.
    source(&folder, "in/*.parquet", &format!(", encryption: {{ transit: {} }}", transit(&bao, &token)));
    let report = run(&folder).exits(0).json();
    assert_eq!((&report["files_read"], &report["rows_out"]), (&json!(4), &json!(16)), "{report}");
    assert_eq!(folder.count("SELECT count(DISTINCT patient) FROM visits"), 20);
    assert_encrypted(&folder.written());
    assert_eq!(run(&folder).exits(0).json()["files_read"], 0, "read once");

    // With the project's own master keys in that store nothing more has to be named; without what belongs beside a file it is not read.
    let second = crate::rewrap::folder();
    copy_tree(&folder.path().join("in"), &second.path().join("in"));
    let masters = format!("keys:\n  masters: {{ transit: {} }}\n", transit(&bao, &token));
    second.write("cordon.yaml", second.read("cordon.yaml").replacen("keys:\n", &masters, 1));
    source(&second, "in/*.parquet", ", encryption: project");
    let material = second.path().join("in/_KEY_MATERIAL_FOR_beside.parquet.json");
    let kept = fs::read(&material).unwrap();
    fs::remove_file(&material).unwrap();
    let lost = run(&second).exits(5);
    assert!(lost.err.contains("stands outside the file and is not there"), "{}", lost.err);
    says_no_value(&lost);
    fs::write(&material, kept).unwrap();
    assert_eq!(run(&second).exits(0).json()["rows_out"], 20);

    uniform(&scratch, &key);
    by_files(&scratch, &in_files);
}

/// Master keys in files, which Spark has too.
fn by_files(scratch: &Path, masters: &[(String, String)]) {
    let folder = folder();
    let written = fs::read_dir(scratch.join("files")).unwrap().flatten().map(|entry| entry.path());
    let written = written.filter(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    for (number, path) in written.enumerate() {
        fs::create_dir_all(folder.path().join("in")).unwrap();
        fs::copy(path, folder.path().join(format!("in/spark{number}.parquet"))).unwrap();
    }
    fs::create_dir_all(folder.path().join("secrets")).unwrap();
    let named = |ids: &[(String, String)]| {
        let files: Vec<String> = ids.iter().map(|(id, _)| format!("{id}: secrets/{id}.key")).collect();
        source(&folder, "in/*.parquet", &format!(", encryption: {{ key-files: {{ {} }} }}", files.join(", ")));
    };
    let keep = |id: &str, key: &str| private_file(&folder.path().join(format!("secrets/{id}.key")), key);
    for (id, key) in masters {
        keep(id, key);
    }
    // A key that is missing, another one, and none.
    named(&masters[1..]);
    let missing = run(&folder).exits(5);
    assert!(missing.err.contains(&masters[0].0), "{}", missing.err);
    named(masters);
    keep(&masters[1].0, &masters[0].1);
    let wrong = run(&folder).exits(3);
    assert!(wrong.out.contains("belongs to another key"), "{}", wrong.out);
    keep(&masters[1].0, "00112233445566778899aabbccddeeff");
    assert!(run(&folder).exits(2).err.contains("256 bits"));
    for said in [&missing, &wrong] {
        says_no_value(said);
    }
    keep(&masters[1].0, &masters[1].1);
    let report = run(&folder).exits(0).json();
    assert_eq!(report["rows_out"], 4, "{report}");
    assert_encrypted(&folder.written());
}

/// One key for a file, from a file.
fn uniform(scratch: &Path, key: &[u8]) {
    let folder = folder();
    fs::create_dir_all(folder.path().join("in")).unwrap();
    fs::copy(scratch.join("uniform.parquet"), folder.path().join("in/uniform.parquet")).unwrap();
    fs::create_dir_all(folder.path().join("secrets")).unwrap();
    let at = folder.path().join("secrets/uniform.key");
    source(&folder, "in/*.parquet", ", encryption: { key-file: secrets/uniform.key }");
    run(&folder).exits(6);
    private_file(&at, "no key at all");
    let none = run(&folder).exits(2);
    assert!(none.err.contains("holds no key") && !none.all().contains("at all"), "{}", none.err);
    private_file(&at, &data_encoding::HEXLOWER.encode(&[8; 32]));
    let wrong = run(&folder).exits(5);
    assert!(wrong.err.contains("does not open it"), "{}", wrong.err);
    says_no_value(&wrong);
    private_file(&at, &data_encoding::HEXLOWER.encode(key));
    fs::set_permissions(&at, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(run(&folder).exits(2).err.contains("0600"));
    fs::set_permissions(&at, fs::Permissions::from_mode(0o600)).unwrap();
    let report = run(&folder).exits(0).json();
    assert_eq!(report["rows_out"], 4, "{report}");
    // A file that is damaged is told as what it may be, and nothing of it comes into the table.
    let path = folder.path().join("in/uniform.parquet");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    fs::write(folder.path().join("in/damaged.parquet"), bytes).unwrap();
    assert_ne!(run(&folder).code, 0);
    assert_eq!(folder.count("SELECT count(*) FROM visits"), 4);
}
