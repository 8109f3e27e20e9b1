//! Key material beside parts: there with the part, gone with it, and wrapped anew without the data.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cordon_crypto::{LocalMasterKeys, TableMasterKey};
use cordon_engine::keytools::{DataKeyBits, EncryptionLayout, KeyScope, MaterialStorage};
use cordon_engine::tables::{Recovered, Rewrapped};
use cordon_engine::{EngineError, KeyTools, MasterKeyNames, TableStore};

use crate::support::{
    CANARY, all_bytes, commit, full_session, holds, lines, patients, patients_schema, stage, store_with,
};

fn masters(versions: &[u8]) -> Arc<LocalMasterKeys> {
    let names = ["footer", "direct", "quasi", "clinical"];
    let keys = names.into_iter().flat_map(|name| versions.iter().map(move |version| (name, *version)));
    Arc::new(keys.fold(LocalMasterKeys::new(), |keys, (name, version)| {
        let mut bytes = [version; 32];
        bytes[0] = name.as_bytes()[0];
        keys.with(format!("cordon-{name}.v{version}"), &TableMasterKey::from_bytes(bytes))
    }))
}

fn names(version: u8) -> MasterKeyNames {
    let name = |what: &str| format!("cordon-{what}.v{version}");
    MasterKeyNames { footer: name("footer"), direct: name("direct"), quasi: name("quasi"), clinical: name("clinical") }
}

const OUTSIDE: EncryptionLayout = EncryptionLayout {
    key_bits: DataKeyBits::Bits128,
    material: MaterialStorage::External,
    keys: KeyScope::Column,
    double_wrapping: false,
};

fn at(root: &Path, versions: &[u8], newest: u8, layout: EncryptionLayout) -> TableStore {
    store_with(root, KeyTools::with_layout(masters(versions), names(newest), layout))
}

fn add(store: &TableStore, run: &str, from: usize, to: usize) -> std::path::PathBuf {
    let part = stage(store, "patients", run, &patients(from, to), run);
    store.commit("patients", &commit(run, &patients_schema(), vec![part.clone()])).unwrap();
    let version = store.current("patients").unwrap().unwrap();
    let path = version.part_path(&part);
    path.with_file_name(format!("_KEY_MATERIAL_FOR_{}.json", part.file))
}

async fn count(store: &TableStore) -> String {
    lines(&full_session(store), "select count(name) from patients").await.unwrap().remove(0)
}

#[tokio::test]
async fn material_comes_and_goes_with_its_part() {
    let dir = tempfile::tempdir().unwrap();
    let store = at(dir.path(), &[1], 1, OUTSIDE);
    let first = add(&store, "run-1", 0, 50);
    assert!(first.exists());
    assert_eq!(count(&store).await, "50");
    store.current("patients").unwrap().unwrap().verify().unwrap();

    // Without it, or with another part's, nothing is read, and verification says which file.
    let kept = fs::read(&first).unwrap();
    let second = add(&store, "run-2", 50, 80);
    fs::copy(&second, &first).unwrap();
    let wrong = store.current("patients").unwrap().unwrap().verify().unwrap_err();
    assert!(matches!(&wrong, EngineError::Damaged { path, .. } if *path == first), "{wrong}");
    assert!(lines(&full_session(&store), "select name from patients").await.is_err());
    fs::remove_file(&first).unwrap();
    assert!(lines(&full_session(&store), "select name from patients").await.is_err());
    assert!(store.current("patients").unwrap().unwrap().verify().is_err());
    fs::write(&first, kept).unwrap();
    assert_eq!(count(&store).await, "80");

    // A part that left takes its material with it; so does one that no manifest names.
    let part = stage(&store, "patients", "run-3", &patients(0, 10), "c");
    let mut replace = commit("run-3", &patients_schema(), vec![part]);
    replace.replace = true;
    store.commit("patients", &replace).unwrap();
    let later = SystemTime::now() + Duration::from_hours(1);
    assert_eq!(store.vacuum("patients", Duration::from_mins(1), later).unwrap(), 2);
    assert!(!first.exists() && !second.exists());
    let data = dir.path().join("patients/data");
    for name in ["gone-00.parquet", "_KEY_MATERIAL_FOR_gone-00.parquet.json", ".draft-0011"] {
        fs::write(data.join(name), "x").unwrap();
    }
    let recovered = Recovered { staged_parts: 0, orphans: 1, kept_runs: 0 };
    assert_eq!(store.recover("patients", &[]).unwrap(), recovered);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 2);
    assert_eq!(count(&store).await, "10");
    for (path, bytes) in all_bytes(dir.path()) {
        assert!(!holds(&bytes, CANARY), "{}", path.display());
        let part = path.extension().is_some_and(|extension| extension == "parquet");
        assert!(!part || bytes.starts_with(b"PARE") && bytes.ends_with(b"PARE"), "{}", path.display());
    }
}

#[tokio::test]
async fn a_staged_part_without_its_material_is_not_committed() {
    let dir = tempfile::tempdir().unwrap();
    let store = at(dir.path(), &[1], 1, OUTSIDE);
    let part = stage(&store, "patients", "run-1", &patients(0, 5), "a");
    let staged = dir.path().join("patients/_staging/run-1");
    fs::remove_file(staged.join(format!("_KEY_MATERIAL_FOR_{}.json", part.file))).unwrap();
    let wanted = commit("run-1", &patients_schema(), vec![part]);
    assert!(store.check("patients", &wanted).is_err());
    assert!(store.commit("patients", &wanted).is_err());
    assert!(store.current("patients").unwrap().is_none());
}

#[tokio::test]
async fn re_wrapping_is_safe_to_kill_and_changes_no_data() {
    let dir = tempfile::tempdir().unwrap();
    let store = at(dir.path(), &[1], 1, OUTSIDE);
    let materials: Vec<_> = (0..4).map(|run| add(&store, &format!("run-{run}"), run * 10, run * 10 + 10)).collect();
    let inside = EncryptionLayout { material: MaterialStorage::Internal, ..OUTSIDE };
    add(&at(dir.path(), &[1], 1, inside), "run-in", 40, 50);
    let before: Vec<_> = all_bytes(dir.path()).into_iter().filter(|(path, _)| !materials.contains(path)).collect();

    // Ended after the second file.
    let newer = at(dir.path(), &[1, 2], 2, OUTSIDE);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        newer.rewrap_key_material(&mut |progress| assert!(progress.done < 2, "ended here"))
    }));
    assert!(ended.is_err());
    assert_eq!(count(&newer).await, "50");
    let rest = newer.rewrap_key_material(&mut |_| {}).unwrap();
    assert_eq!(rest, Rewrapped { rewrapped: 2, current: 2, internal: 1 });
    let again = newer.rewrap_key_material(&mut |_| {}).unwrap();
    assert_eq!(again, Rewrapped { rewrapped: 0, current: 4, internal: 1 });
    newer.current("patients").unwrap().unwrap().verify().unwrap();
    for material in &materials {
        let text = fs::read_to_string(material).unwrap();
        assert!(text.contains("cordon-direct.v2") && !text.contains(".v1"), "{text}");
    }
    let after: Vec<_> = all_bytes(dir.path()).into_iter().filter(|(path, _)| !materials.contains(path)).collect();
    assert!(before == after, "only key material changed");

    // Material of another part is not taken for this one's.
    fs::copy(&materials[1], &materials[0]).unwrap();
    let third = at(dir.path(), &[1, 2, 3], 3, OUTSIDE);
    let error = third.rewrap_key_material(&mut |_| {}).unwrap_err();
    assert!(matches!(&error, EngineError::Damaged { path, .. } if *path == materials[0]), "{error}");
}
