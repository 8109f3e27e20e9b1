//! Commits, crashes and tampering.

use std::fs;
use std::sync::{Arc, Barrier};
use std::time::{Duration, SystemTime};

use cordon_crypto::SealKey;
use cordon_engine::tables::Recovered;
use cordon_engine::{EngineError, InputKeys, ParquetInput, PartOptions, TableStore};

use crate::support::{CANARY, all_bytes, all_keys, commit, holds, hospital, patients, patients_schema, stage, store};

#[test]
fn every_part_begins_and_ends_with_pare_and_nothing_is_in_clear() {
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(dir.path(), 5000);
    let version = store.current("patients").unwrap().unwrap();
    assert_eq!((version.manifest.version, version.rows()), (1, 5000));
    assert_eq!(
        version.manifest.key_ids,
        ["cordon-clinical.v1", "cordon-direct.v1", "cordon-footer.v1", "cordon-quasi.v1"]
    );
    version.verify().unwrap();
    let mut parts = 0;
    for (path, bytes) in all_bytes(dir.path()) {
        // `cost` and `Id` are names of columns: not even they may be read.
        for word in [CANARY, "GENDER", "visits", "cordon.key-class", "a.csv"] {
            assert!(!holds(&bytes, word), "{word} in {}", path.display());
        }
        if path.extension().is_some_and(|extension| extension == "parquet") {
            parts += 1;
            assert_eq!((&bytes[..4], &bytes[bytes.len() - 4..]), (&b"PARE"[..], &b"PARE"[..]));
        }
    }
    assert_eq!(parts, 1);
}

#[test]
fn a_commit_is_applied_once_and_parts_can_be_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(dir.path(), 10);
    let schema = patients_schema();
    let part = stage(&store, "patients", "run-2", &patients(10, 30), "b.csv");
    let second = commit("run-2", &schema, vec![part]);
    store.check("patients", &second).unwrap();
    assert_eq!(store.commit("patients", &second).unwrap(), 2);
    assert_eq!(store.commit("patients", &second).unwrap(), 2, "tried again after a crash");
    store.check("patients", &second).unwrap();
    let version = store.current("patients").unwrap().unwrap();
    assert_eq!(version.rows(), 30);

    // a.csv has changed: its old part leaves as its new one comes.
    let old = version.manifest.parts.iter().find(|part| part.sources[0].id == "a.csv").unwrap().file.clone();
    let part = stage(&store, "patients", "run-3", &patients(0, 7), "a.csv");
    let mut third = commit("run-3", &schema, vec![part]);
    third.remove_parts = vec![old, "left already".into()];
    assert_eq!(store.commit("patients", &third).unwrap(), 3);
    assert_eq!(store.current("patients").unwrap().unwrap().rows(), 27);
    assert_eq!(store.history("patients").unwrap().len(), 3);
}

#[test]
fn a_commit_that_cannot_be_carried_out_is_known_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(dir.path(), 10);
    let part = stage(&store, "patients", "run-2", &patients(10, 30), "b.csv");
    let good = commit("run-2", &patients_schema(), vec![part]);
    store.check("patients", &good).unwrap();
    fs::remove_file(dir.path().join("patients/_staging/run-2").join(&good.add[0].file)).unwrap();
    assert!(store.check("patients", &good).is_err(), "a part is missing");

    let other = Arc::new(arrow_schema::Schema::new(vec![arrow_schema::Field::new(
        "other",
        arrow_schema::DataType::Int64,
        true,
    )]));
    let wrong = commit("run-3", &other, vec![]);
    assert!(matches!(store.check("patients", &wrong), Err(EngineError::SchemaMismatch { .. })));
    let mut replaced = commit("run-3", &other, vec![]);
    replaced.replace = true;
    store.check("patients", &replaced).unwrap();
}

#[test]
fn rows_are_copied_by_their_places() {
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(dir.path(), 20_000);
    let old = store.current("patients").unwrap().unwrap().manifest.parts[0].clone();
    let staging = store.stage("patients", "run-2").unwrap();
    let copy = |keep: &[std::ops::Range<u64>]| {
        store.copy_rows(
            "patients",
            &old,
            keep,
            &staging,
            &PartOptions::default(),
            vec![crate::support::source("a.csv")],
        )
    };
    let part = copy(&[0..1, 8_000..8_500, 19_999..20_000]).unwrap();
    assert_eq!(part.rows, 502);
    assert!(copy(&[0..1, 19_999..20_001]).is_err(), "more than there is");
    let mut next = commit("run-2", &patients_schema(), vec![part]);
    next.remove_parts = vec![old.file.clone()];
    store.commit("patients", &next).unwrap();
    let version = store.current("patients").unwrap().unwrap();
    version.verify().unwrap();
    let path = version.part_path(&version.manifest.parts[0]);
    let keys = InputKeys { tools: Some(store.keys().clone()), ..InputKeys::default() };
    let copied: Vec<_> = ParquetInput::open(&path, &keys, 100_000).unwrap().map(Result::unwrap).collect();
    let all = patients(0, 20_000);
    let expected = [all.slice(0, 1), all.slice(8_000, 500), all.slice(19_999, 1)];
    let expected = arrow::compute::concat_batches(&all.schema(), &expected).unwrap();
    let copied = arrow::compute::concat_batches(&copied[0].schema(), &copied).unwrap();
    assert_eq!(copied.columns(), expected.columns());
}

#[test]
fn of_two_commits_to_one_version_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(dir.path(), 10);
    let barrier = Arc::new(Barrier::new(4));
    let results: Vec<_> = (0..4)
        .map(|i| {
            let (store, barrier) = (store.clone(), Arc::clone(&barrier));
            std::thread::spawn(move || {
                let run = format!("race-{i}");
                let part = stage(&store, "patients", &run, &patients(0, 5), &run);
                let mut commit = commit(&run, &patients_schema(), vec![part]);
                commit.base = Some(1);
                barrier.wait();
                store.commit("patients", &commit)
            })
        })
        .collect::<Vec<_>>()
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    assert_eq!(results.iter().filter(|result| **result == Ok(2)).count(), 1, "{results:?}");
    assert_eq!(
        results.iter().filter(|result| matches!(result, Err(EngineError::Conflict { version: 2, .. }))).count(),
        3,
        "{results:?}"
    );
    assert_eq!(store.current("patients").unwrap().unwrap().rows(), 15);
}

#[test]
fn recovery_removes_what_no_manifest_names_and_no_living_run_holds() {
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(dir.path(), 10);
    let dead = stage(&store, "patients", "dead", &patients(0, 5), "x");
    stage(&store, "patients", "resumed", &patients(0, 5), "y");
    let alive = store.stage("patients", "alive").unwrap();
    let mut part = alive.part(&patients_schema(), &PartOptions::default()).unwrap();
    part.write(&patients(0, 5)).unwrap();
    // Killed between the move of its part and the manifest.
    let data = dir.path().join("patients/data");
    fs::rename(dir.path().join("patients/_staging/dead").join(&dead.file), data.join(&dead.file)).unwrap();
    fs::write(dir.path().join("patients/_manifest/.draft-1"), b"half").unwrap();

    let done = store.recover("patients", &["resumed"]).unwrap();
    assert_eq!(done, Recovered { staged_parts: 0, orphans: 1, kept_runs: 2 });
    assert!(!data.join(&dead.file).exists());
    assert!(dir.path().join("patients/_staging/resumed").exists());
    let part = part.finish(vec![crate::support::source("z")]).unwrap();
    store.commit("patients", &commit("alive", &patients_schema(), vec![part])).unwrap();
    alive.remove().unwrap();
    assert_eq!(store.current("patients").unwrap().unwrap().rows(), 15);

    // A commit that was killed after its parts were moved is tried again with the same parts.
    let part = stage(&store, "patients", "moved", &patients(0, 3), "m");
    fs::rename(dir.path().join("patients/_staging/moved").join(&part.file), data.join(&part.file)).unwrap();
    assert_eq!(store.recover("patients", &["moved", "resumed"]).unwrap().orphans, 0);
    store.commit("patients", &commit("moved", &patients_schema(), vec![part])).unwrap();
    assert_eq!(store.current("patients").unwrap().unwrap().rows(), 18);
}

#[test]
fn vacuum_waits_and_keeps_what_is_current() {
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(dir.path(), 10);
    let part = stage(&store, "patients", "run-2", &patients(0, 4), "a.csv");
    let mut second = commit("run-2", &patients_schema(), vec![part]);
    second.replace = true;
    store.commit("patients", &second).unwrap();
    let now = SystemTime::now();
    let hour = Duration::from_hours(1);
    assert_eq!(store.vacuum("patients", hour, now).unwrap(), 0);
    assert_eq!(store.vacuum("patients", hour, now + 2 * hour).unwrap(), 1);
    assert_eq!(store.vacuum("patients", hour, now + 2 * hour).unwrap(), 0);
    store.current("patients").unwrap().unwrap().verify().unwrap();
    assert_eq!(fs::read_dir(dir.path().join("patients/data")).unwrap().count(), 1);
}

#[test]
fn a_part_or_manifest_that_was_changed_or_swapped_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(dir.path(), 1000);
    let version = store.current("patients").unwrap().unwrap();
    let path = version.part_path(&version.manifest.parts[0]);
    let good = fs::read(&path).unwrap();
    let damaged = |result: Result<(), EngineError>| {
        matches!(result, Err(EngineError::Damaged { .. } | EngineError::NotEncrypted { .. }))
    };
    for (at, by_footer) in [(good.len() / 2, false), (good.len() - 20, true), (0, true), (good.len() - 1, true)] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        assert!(damaged(version.verify()), "byte {at}");
        assert_eq!(version.check_footers().is_err(), by_footer, "byte {at}");
    }
    // Another part with the same rows under the same master keys.
    let other = stage(&store, "patients", "other", &patients(0, 1000), "a.csv");
    fs::copy(dir.path().join("patients/_staging/other").join(&other.file), &path).unwrap();
    assert!(damaged(version.check_footers()));

    // A manifest of another table or version, or under another key.
    let manifest = dir.path().join("patients/_manifest/v0000000001.sealed");
    fs::copy(&manifest, dir.path().join("patients/_manifest/v0000000002.sealed")).unwrap();
    assert!(matches!(store.current("patients"), Err(EngineError::Damaged { .. })));
    let stranger = TableStore::open(dir.path(), all_keys(), SealKey::from_bytes([1; 32])).unwrap();
    assert!(matches!(stranger.history("patients"), Err(EngineError::Damaged { .. })));
}

#[test]
fn names_and_schemas_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(dir.path(), 10);
    for name in ["", "..", "../x", "Patients", "a/b", "1a", "a-b", "_manifest"] {
        assert_eq!(store.current(name).err(), Some(EngineError::InvalidName { what: "table" }), "{name}");
    }
    assert!(store.stage("patients", "../up").is_err());
    let other = patients(0, 3).project(&[0, 1]).unwrap();
    let part = stage(&store, "patients", "narrow", &other, "n");
    let mismatch = store.commit("patients", &commit("narrow", &other.schema(), vec![part]));
    assert_eq!(mismatch, Err(EngineError::SchemaMismatch { table: "patients".into() }));
    assert_eq!(store.tables().unwrap(), ["patients"]);
}

#[test]
fn a_folder_that_may_not_be_written_says_so_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let before = hospital(dir.path(), 10);
    drop(before);
    let error = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
    assert!(matches!(EngineError::io("write", dir.path(), &error), EngineError::ReadOnly { .. }));
    assert_eq!(store(dir.path()).current("patients").unwrap().unwrap().rows(), 10);
}

/// Needs a small file system that may be filled: `mount -t tmpfs -o size=2m tmpfs DIR`.
#[test]
fn a_full_disk_says_so_and_loses_nothing() {
    let Some(disk) = std::env::var_os("CORDON_TEST_SMALL_DISK") else {
        eprintln!("skipped: CORDON_TEST_SMALL_DISK does not name a folder on a small file system");
        return;
    };
    let dir = tempfile::tempdir_in(disk).unwrap();
    let store = hospital(dir.path(), 100);
    let staging = store.stage("patients", "big").unwrap();
    let result = (|| {
        let options = PartOptions { row_group_rows: 20_000, ..PartOptions::default() };
        let mut part = staging.part(&patients_schema(), &options)?;
        for from in 0..100 {
            part.write(&patients(from * 20_000, (from + 1) * 20_000))?;
        }
        part.finish(vec![]).map(drop)
    })();
    assert!(matches!(result, Err(EngineError::NoSpace { .. })), "{result:?}");
    staging.remove().unwrap();
    let current = store.current("patients").unwrap().unwrap();
    current.verify().unwrap();
    assert_eq!(current.rows(), 100);
    // There is room again.
    let part = stage(&store, "patients", "small", &patients(0, 10), "s");
    store.commit("patients", &commit("small", &patients_schema(), vec![part])).unwrap();
}
