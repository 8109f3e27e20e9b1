//! Key material beside objects: there with each part, and wrapped anew without the data, also when it is killed half-way.

use std::collections::BTreeMap;
use std::io::Read;

use cordon_storage::Store;
use serde_json::json;

use super::*;

const EXTERNAL: &str = "  encryption: { key-material: external }\n";

/// Everything in the table's folder.
fn objects(store: &Store, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    let read = |object: cordon_storage::Object| {
        let mut bytes = Vec::new();
        store.reader(&object).unwrap().read_to_end(&mut bytes).unwrap();
        (object.key, bytes)
    };
    store.list(prefix).map(|object| read(object.unwrap())).collect()
}

fn is_material(key: &str) -> bool {
    key.rsplit_once('/').is_some_and(|(_, name)| name.starts_with("_KEY_MATERIAL_FOR_"))
}

fn count(all: &BTreeMap<String, Vec<u8>>, mark: &str) -> usize {
    let holds = |bytes: &[u8]| bytes.windows(mark.len()).any(|part| part == mark.as_bytes());
    all.iter().filter(|(key, bytes)| is_material(key) && holds(bytes)).count()
}

fn rewrapped_in(clinic: &Clinic, store: &Store, prefix: &str, put: &dyn Fn(&str, &[u8])) {
    for number in 0..3 {
        put(&format!("in/{number}.csv"), rows(number * 20..number * 20 + 20).as_bytes());
        clinic.run(0);
    }
    let before = objects(store, prefix);
    assert_eq!(before.keys().filter(|key| is_material(key)).count(), 3, "{:?}", before.keys());
    assert_eq!(count(&before, "cordon-direct.v1"), 3);
    for (key, bytes) in &before {
        assert!(is_material(key) || bytes.starts_with(b"PARE") && bytes.ends_with(b"PARE"), "{key}");
    }
    // Killed after two of three.
    let rotate = ["keys", "rotate", "--purpose", "table-master", "--format", "json"];
    let killed = clinic.command(&rotate).env("CORDON_FAIL_AT", "rotate-rewrapping").output().unwrap();
    assert!(!killed.status.success());
    let half = objects(store, prefix);
    assert_eq!((count(&half, "cordon-direct.v2"), count(&half, "cordon-direct.v1")), (2, 1));
    assert_eq!(clinic.count("SELECT count(*) FROM visits"), 60);
    let rest = clinic.cordon(&rotate).ok().json();
    assert_eq!((&rest["resumed"], &rest["rewrapped"], &rest["inside"]), (&json!(true), &json!(1), &json!(0)));
    let after = objects(store, prefix);
    assert_eq!((count(&after, "cordon-direct.v2"), count(&after, ".v1")), (3, 0));
    assert!(before.keys().eq(after.keys()));
    assert!(before.iter().all(|(key, bytes)| is_material(key) || after[key] == *bytes), "no data changed");

    // Nothing stands under the old ones any more.
    let gone = clinic.cordon(&["keys", "retire", "--format", "json"]).ok().json();
    assert!(gone["retired"].as_array().unwrap().contains(&json!("cordon-direct.v1")), "{gone}");
    assert_eq!(clinic.count("SELECT count(name) FROM visits"), 60);
    clinic.cordon(&["tables", "verify"]).ok();
    // A run that was killed while it committed, between material and part or after.
    for (number, step) in ["prepared", "committing", "committed"].into_iter().enumerate() {
        put(&format!("in/more{number}.csv"), rows(100 + number * 10..110 + number * 10).as_bytes());
        let killed = clinic.command(&["run", "test", "-q"]).env("CORDON_FAIL_AT", step).output().unwrap();
        assert!(!killed.status.success(), "{step}");
        clinic.cordon(&rotate).ok();
        clinic.cordon(&["keys", "retire"]).ok();
        clinic.run(0);
        assert_eq!(clinic.count("SELECT count(name) FROM visits"), 70 + 10 * number as i64, "{step}");
    }
    clinic.cordon(&["tables", "verify"]).ok();
    clinic.cordon(&["audit", "verify"]).ok();
}

/// Without its material a part is not read, and that is said.
fn without_material(clinic: &Clinic, store: &Store, prefix: &str) {
    let rotate = ["keys", "rotate", "--purpose", "table-master"];
    let query = ["sql", "SELECT * FROM visits", "--as", "engineer", "--purpose", "operations"];
    // Whichever part it is of.
    let mut all: Vec<_> = objects(store, prefix).into_iter().filter(|(key, _)| is_material(key)).collect();
    let (last, _) = all.pop().unwrap();
    for (material, kept) in all {
        store.remove(&material).unwrap();
        clinic.cordon(&query).exits(5);
        store.put_new(&material, kept).unwrap();
        clinic.cordon(&query).ok();
    }
    store.remove(&last).unwrap();
    clinic.cordon(&query).exits(5);
    clinic.cordon(&["tables", "verify"]).exits(7);
    assert_ne!(clinic.cordon(&rotate).code, 0, "what has no keys is not passed over");
}

#[test]
fn key_material_in_s3_is_wrapped_anew() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(&scratch.path().join("pki")) else { return };
    let Some(s3) = S3::start(&pki) else { return };
    let clinic =
        Clinic::new("s3://lake/tables", &(s3.yaml(5) + EXTERNAL), SOURCES.replace("s3://lake/in", "in").as_str());
    let put = |name: &str, content: &[u8]| clinic.folder.write(name, content);
    let lake = s3.store_as(ADMIN, "lake");
    rewrapped_in(&clinic, &lake, "tables/visits/data", &put);

    // Files in a store that have their key material beside them, as a source.
    let policy =
        "policy: again\nmethod: safe-harbor\ndatasets:\n  again:\n    fields:\n      code: { kind: clinical }\n";
    clinic.folder.write("policies/again.yaml", policy);
    let source = "{ dataset: again, path: \"s3://lake/tables/visits/data/*.parquet\", encryption: project }";
    clinic.folder.write("pipelines/again.yaml", format!("pipeline: again\npolicy: again\nsources:\n  - {source}\n"));
    clinic.cordon(&["run", "again", "-q"]).ok();
    assert_eq!(clinic.count("SELECT count(code) FROM again"), clinic.count("SELECT count(code) FROM visits"));
    without_material(&clinic, &lake, "tables/visits/data");
}

#[test]
fn key_material_in_azure_is_wrapped_anew() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(&scratch.path().join("pki")) else { return };
    let Some(azure) = Azure::start(&pki) else { return };
    let clinic =
        Clinic::new("az://tables/clinic", &(azure.yaml() + EXTERNAL), SOURCES.replace("s3://lake/in", "in").as_str());
    let put = |name: &str, content: &[u8]| clinic.folder.write(name, content);
    rewrapped_in(&clinic, &azure.store("tables"), "clinic/visits/data", &put);
    without_material(&clinic, &azure.store("tables"), "clinic/visits/data");
}
