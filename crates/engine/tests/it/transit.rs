//! Master keys in OpenBao: Spark, pyarrow and DuckDB read our files with nothing but a token for it, and we read theirs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use cordon_engine::keytools::{DataKeyBits, EncryptionLayout, KeyScope, MaterialStorage};
use cordon_engine::{EngineError, InputKeys, KeyTools, MasterKeyNames, ParquetInput, TableStore};
use cordon_keystore::TransitMasters;
use cordon_keystore::config::TransitMastersConfig;

use crate::servers::{Bao, absent, python};
use crate::support::{
    CANARY, all_bytes, commit, full_session, holds, lines, masters, patients, patients_schema, rows, stage, store_with,
};

const SCRIPT: &str = include_str!("transit.py");
const CLASSES: [&str; 4] = ["footer", "direct", "quasi", "clinical"];

fn policy(classes: &[&str]) -> String {
    let rule = |class: &&str| {
        format!(
            "path \"transit/keys/cordon-{class}\" {{ capabilities = [\"read\"] }}\n\
             path \"transit/encrypt/cordon-{class}\" {{ capabilities = [\"update\"] }}\n\
             path \"transit/decrypt/cordon-{class}\" {{ capabilities = [\"update\"] }}\n"
        )
    };
    classes.iter().map(rule).collect()
}

fn tools(bao: &Bao, token_file: &str, layout: EncryptionLayout) -> KeyTools {
    let config: TransitMastersConfig = serde_json::from_value(serde_json::json!({
        "address": bao.address, "ca-file": bao.pki.path("ca.pem"), "auth": { "token-file": token_file },
        "timeout-seconds": 2,
    }))
    .unwrap();
    let held = Arc::new(masters(&CLASSES));
    let masters = TransitMasters::open(&config, Path::new("/"), held).unwrap();
    KeyTools::with_layout(Arc::new(masters), MasterKeyNames::unversioned("cordon"), layout)
}

fn layout(bits: DataKeyBits, material: MaterialStorage, keys: KeyScope) -> EncryptionLayout {
    EncryptionLayout { key_bits: bits, material, keys, double_wrapping: true }
}

/// Requests of this kind that the store answered, by its own record.
fn asked(bao: &Bao, operation: &str) -> usize {
    let path = format!("\"path\":\"transit/{operation}/");
    bao.audit_file().lines().filter(|line| line.contains("\"type\":\"response\"") && line.contains(&path)).count()
}

fn fill(store: &TableStore) {
    let parts = [0, 200, 400].map(|from| {
        let to = (from + 200).min(500);
        stage(store, "patients", &format!("run-{from}"), &patients(from, to), "a.csv")
    });
    store.commit("patients", &commit("run", &patients_schema(), parts.to_vec())).unwrap();
}

fn files(store: &TableStore) -> Vec<String> {
    let version = store.current("patients").unwrap().unwrap();
    version.manifest.parts.iter().map(|part| version.part_path(part).to_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_pyarrow_duckdb_and_we_read_each_other_through_transit() {
    let ready = Command::new(python()).args(["-c", "import pyspark, pyarrow.parquet.encryption, duckdb"]).output();
    if !ready.is_ok_and(|out| out.status.success()) || Command::new("javac").arg("-version").output().is_err() {
        return absent("pyspark, pyarrow, duckdb or javac").unwrap_or_default();
    }
    let Some(bao) = Bao::start() else { return };
    for class in CLASSES {
        bao.run(&["write", "-f", &format!("transit/keys/cordon-{class}"), "type=aes256-gcm96"]);
    }
    let token = bao.token("tables", &policy(&CLASSES));
    let dir = tempfile::tempdir().unwrap();
    let inside = layout(DataKeyBits::Bits256, MaterialStorage::Internal, KeyScope::Column);
    let outside = layout(DataKeyBits::Bits128, MaterialStorage::External, KeyScope::Column);
    let uniform = layout(DataKeyBits::Bits256, MaterialStorage::Internal, KeyScope::Uniform);

    // Three parts of seven columns: each master key is asked once, for writing and for reading what was written.
    let inner = store_with(&dir.path().join("inside"), tools(&bao, &token, inside));
    fill(&inner);
    assert_eq!(asked(&bao, "encrypt"), 4);
    let reader = store_with(&dir.path().join("inside"), tools(&bao, &token, inside));
    let sums = "select count(name), count(\"GENDER\"), sum(age), sum(cost) from patients";
    let seen = lines(&full_session(&reader), sums).await.unwrap();
    assert_eq!(asked(&bao, "decrypt"), 4);
    let outer = store_with(&dir.path().join("outside"), tools(&bao, &token, outside));
    fill(&outer);
    let single = store_with(&dir.path().join("uniform"), tools(&bao, &token, uniform));
    fill(&single);
    for store in [&outer, &single] {
        assert_eq!(lines(&full_session(store), sums).await.unwrap(), seen);
        store.current("patients").unwrap().unwrap().verify().unwrap();
    }

    let theirs = dir.path().join("theirs");
    bao.python(
        &token,
        SCRIPT,
        &serde_json::json!({
            "inside": files(&inner), "outside": files(&outer), "uniform": files(&single), "out": theirs, "spark": true,
        }),
    );
    let mut others = 0;
    for (path, bytes) in all_bytes(dir.path()) {
        assert!(!holds(&bytes, CANARY), "{}", path.display());
        if path.extension().is_none_or(|extension| extension != "parquet") {
            continue;
        }
        assert!(bytes.starts_with(b"PARE") && bytes.ends_with(b"PARE"), "{}", path.display());
        if path.starts_with(&theirs) {
            let keys = InputKeys { tools: Some(tools(&bao, &token, inside)), ..InputKeys::default() };
            let count = ParquetInput::open(&path, &keys, 1024)
                .and_then(|input| input.map(|batch| batch.map(|batch| batch.num_rows())).sum::<Result<usize, _>>())
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(count, 500, "{}", path.display());
            assert!(ParquetInput::open(&path, &InputKeys::default(), 1024).is_err());
            others += 1;
        }
    }
    assert_eq!(others, 6, "Spark and pyarrow wrote three files each");

    // Rotated in the store: what is beside parts is re-wrapped, and old versions may go.
    for class in CLASSES {
        bao.run(&["write", "-f", &format!("transit/keys/cordon-{class}/rotate")]);
    }
    assert_eq!(lines(&full_session(&outer), sums).await.unwrap(), seen);
    assert_eq!(outer.rewrap_key_material(&mut |_| {}).unwrap().rewrapped, 3);
    assert_eq!(outer.rewrap_key_material(&mut |_| {}).unwrap().current, 3);
    assert_eq!(inner.rewrap_key_material(&mut |_| {}).unwrap().internal, 3);
    for class in CLASSES {
        bao.run(&["write", &format!("transit/keys/cordon-{class}/config"), "min_decryption_version=2"]);
    }
    let anew = store_with(&dir.path().join("outside"), tools(&bao, &token, outside));
    assert_eq!(lines(&full_session(&anew), sums).await.unwrap(), seen);
    bao.python(
        &token,
        SCRIPT,
        &serde_json::json!({ "inside": [], "outside": files(&outer), "uniform": [], "spark": false }),
    );
    let old = store_with(&dir.path().join("inside"), tools(&bao, &token, inside));
    let error = rows(&full_session(&old), "select age from patients").await.unwrap_err().to_string();
    assert!(error.contains("cordon-footer") && error.contains("not to be used any more"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_one_key_fails_only_queries_of_its_columns_and_resumes() {
    let Some(mut bao) = Bao::start() else { return };
    for class in CLASSES {
        bao.run(&["write", "-f", &format!("transit/keys/cordon-{class}"), "type=aes256-gcm96"]);
    }
    let token = bao.token("tables", &policy(&CLASSES));
    let dir = tempfile::tempdir().unwrap();
    let inside = layout(DataKeyBits::Bits256, MaterialStorage::Internal, KeyScope::Column);
    fill(&store_with(dir.path(), tools(&bao, &token, inside)));

    let fewer = bao.token("fewer", &policy(&["footer", "quasi", "clinical"]));
    let store = store_with(dir.path(), tools(&bao, &fewer, inside));
    assert_eq!(lines(&full_session(&store), "select count(age) from patients").await.unwrap(), ["500"]);
    let error = rows(&full_session(&store), "select name from patients").await.unwrap_err();
    assert!(matches!(&error, EngineError::KeyDenied { master, .. } if master == "cordon-direct"), "{error}");
    let said = error.to_string();
    let place = format!("transit key `cordon-direct` at {}/transit", bao.address);
    assert!(said.contains(&place) && said.contains("may not decrypt") && said.contains("help:"), "{said}");
    let secret = fs::read_to_string(&fewer).unwrap();
    assert!(!said.contains(secret.trim()) && !said.contains(CANARY) && !said.contains("vault:v"), "{said}");

    // Sealed, down, and back: the same tools go on.
    let store = store_with(dir.path(), tools(&bao, &token, inside));
    bao.seal();
    let error = rows(&full_session(&store), "select name from patients").await.unwrap_err().to_string();
    assert!(error.contains("is sealed"), "{error}");
    bao.stop();
    let error = rows(&full_session(&store), "select name from patients").await.unwrap_err().to_string();
    assert!(error.contains("cannot be reached"), "{error}");
    bao.restart();
    bao.unseal();
    assert_eq!(lines(&full_session(&store), "select count(name) from patients").await.unwrap(), ["500"]);

    // Files from before the store had the master keys.
    let ring = tempfile::tempdir().unwrap();
    fill(&crate::support::store(ring.path()));
    let store = store_with(ring.path(), tools(&bao, &token, inside));
    assert_eq!(lines(&full_session(&store), "select count(name) from patients").await.unwrap(), ["500"]);
}
