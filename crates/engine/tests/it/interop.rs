//! pyarrow reads what we write and we read what it writes, through its KMS client interface.

use std::process::Command;

use cordon_engine::{InputKeys, ParquetInput};

use crate::support::{all_keys, hospital, master_bytes};

const SCRIPT: &str = include_str!("interop.py");

fn python() -> Option<String> {
    let python = std::env::var("CORDON_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let ready = Command::new(&python).args(["-c", "import pyarrow.parquet.encryption, cryptography"]).output();
    if ready.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    eprintln!("skipped: {python} cannot import pyarrow and cryptography (set CORDON_TEST_PYTHON)");
    None
}

#[test]
fn pyarrow_and_we_read_each_other_and_nobody_reads_without_keys() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(&dir.path().join("tables"), 500);
    let version = store.current("patients").unwrap().unwrap();
    let ours = version.part_path(&version.manifest.parts[0]);
    let names = ["footer", "direct", "quasi", "clinical"];
    let keys: Vec<String> = names
        .iter()
        .map(|name| format!("cordon-{name}.v1={}", data_encoding::HEXLOWER.encode(&master_bytes(name))))
        .collect();
    let output = Command::new(python)
        .args(["-c", SCRIPT, ours.to_str().unwrap(), dir.path().to_str().unwrap(), &keys.join(",")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for file in ["single-256", "double-256", "double-128"] {
        let path = dir.path().join(format!("{file}.parquet"));
        let with = InputKeys { tools: Some(all_keys()), ..InputKeys::default() };
        let rows: usize = ParquetInput::open(&path, &with, 1024)
            .and_then(|input| input.map(|batch| batch.map(|batch| batch.num_rows())).sum())
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(rows, 500, "{file}");
        assert!(ParquetInput::open(&path, &InputKeys::default(), 1024).is_err(), "{file}");
    }
}
