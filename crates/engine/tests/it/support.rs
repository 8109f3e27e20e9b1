//! A small hospital in an encrypted store.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use cordon_crypto::{LocalMasterKeys, SealKey, TableMasterKey};
use cordon_engine::{
    AuthorizedSession, AuthorizedView, Commit, ENTROPY_METADATA, EngineError, KEY_CLASS_METADATA, KeyTools, PartInfo,
    PartOptions, Provenance, QueryEngine, QueryOptions, SourceRef, TableStore,
};
use futures::TryStreamExt;

/// A value that may not be seen outside a result.
pub const CANARY: &str = "Canary-Zebediah-078051120";

pub fn shared(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CORDON_SHARED_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let path = root.join(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}

pub fn master_bytes(name: &str) -> [u8; 32] {
    let mut bytes = [7; 32];
    bytes[0] = name.len() as u8;
    bytes[1] = name.as_bytes()[0];
    bytes
}

pub fn masters(names: &[&str]) -> LocalMasterKeys {
    names.iter().fold(LocalMasterKeys::new(), |keys, name| {
        keys.with(format!("cordon-{name}.v1"), &TableMasterKey::from_bytes(master_bytes(name)))
    })
}

pub fn all_keys() -> KeyTools {
    KeyTools::new(Arc::new(masters(&["footer", "direct", "quasi", "clinical"])))
}

pub fn store_with(root: &Path, keys: KeyTools) -> TableStore {
    TableStore::open(root, keys, SealKey::from_bytes([9; 32])).unwrap()
}

pub fn store(root: &Path) -> TableStore {
    store_with(root, all_keys())
}

fn field(name: &str, data_type: DataType, class: &str) -> Field {
    let metadata = HashMap::from([(KEY_CLASS_METADATA.to_owned(), class.to_owned())]);
    Field::new(name, data_type, true).with_metadata(metadata)
}

pub fn patients_schema() -> SchemaRef {
    let mut token = field("Id", DataType::Utf8View, "direct");
    token.set_metadata(HashMap::from([
        (KEY_CLASS_METADATA.to_owned(), "direct".to_owned()),
        (ENTROPY_METADATA.to_owned(), "high".to_owned()),
    ]));
    Arc::new(Schema::new(vec![
        token,
        field("name", DataType::Utf8View, "direct"),
        field("GENDER", DataType::Utf8View, "quasi"),
        field("birth", DataType::Date32, "quasi"),
        field("age", DataType::Int32, "quasi"),
        field("cost", DataType::Float64, "clinical"),
        field("visits", DataType::Int64, "clinical"),
    ]))
}

/// Rows `from..to`; every name holds the canary.
pub fn patients(from: usize, to: usize) -> RecordBatch {
    let text = |make: &dyn Fn(usize) -> String| -> StringViewArray { (from..to).map(|i| Some(make(i))).collect() };
    RecordBatch::try_new(
        patients_schema(),
        vec![
            Arc::new(text(&|i| format!("tok{:023}", i.wrapping_mul(0x9E37_79B9_7F4A_7C15)))),
            Arc::new(text(&|i| format!("{CANARY}-{i}"))),
            Arc::new(text(&|i| if i % 2 == 0 { "F".into() } else { "M".into() })),
            Arc::new((from..to).map(|i| Some(-(i as i32 % 20_000))).collect::<Date32Array>()),
            Arc::new((from..to).map(|i| Some(20 + (i % 60) as i32)).collect::<Int32Array>()),
            Arc::new((from..to).map(|i| Some(i as f64 * 1.5)).collect::<Float64Array>()),
            Arc::new((from..to).map(|i| (i % 10 != 0).then_some(i as i64)).collect::<Int64Array>()),
        ],
    )
    .unwrap()
}

pub fn source(name: &str) -> SourceRef {
    SourceRef { id: name.to_owned(), sha256: format!("sha-{name}") }
}

pub fn stage(store: &TableStore, table: &str, run: &str, batch: &RecordBatch, from: &str) -> PartInfo {
    let staging = store.stage(table, run).unwrap();
    let mut part = staging.part(&batch.schema(), &PartOptions::default()).unwrap();
    part.write(batch).unwrap();
    part.finish(vec![source(from)]).unwrap()
}

pub fn commit(id: &str, schema: &SchemaRef, add: Vec<PartInfo>) -> Commit {
    let provenance = Provenance { created: "2026-11-23T00:00:00Z".into(), run: id.into(), ..Provenance::default() };
    Commit { id: id.into(), base: None, schema: schema.clone(), add, remove_parts: vec![], replace: false, provenance }
}

/// A store with `patients`, `rows` of them.
pub fn hospital(root: &Path, rows: usize) -> TableStore {
    let store = store(root);
    let part = stage(&store, "patients", "run-1", &patients(0, rows), "a.csv");
    store.commit("patients", &commit("run-1", &patients_schema(), vec![part])).unwrap();
    store
}

/// Where engines spill to; it lives as long as the process.
pub fn tmp_dir() -> PathBuf {
    static TMP: std::sync::LazyLock<tempfile::TempDir> = std::sync::LazyLock::new(|| tempfile::tempdir().unwrap());
    TMP.path().to_owned()
}

pub fn engine(store: &TableStore, memory_limit: usize) -> QueryEngine {
    let tmp_dir = tmp_dir();
    let options = QueryOptions { memory_limit, tmp_dir, tmp_limit: 1 << 30, threads: 2, ..QueryOptions::default() };
    QueryEngine::new(options, store.clone()).unwrap()
}

pub fn full_session(store: &TableStore) -> AuthorizedSession {
    engine(store, 256 << 20).session(&[AuthorizedView::all("patients")]).unwrap()
}

pub async fn rows(session: &AuthorizedSession, sql: &str) -> Result<Vec<RecordBatch>, EngineError> {
    session.plan(sql).await?.execute()?.try_collect().await
}

/// The rows as text, one line each.
pub async fn lines(session: &AuthorizedSession, sql: &str) -> Result<Vec<String>, EngineError> {
    let mut text = Vec::new();
    let stream = session.plan(sql).await?.execute()?;
    cordon_engine::write_result(stream, cordon_engine::OutputFormat::Csv, &mut text).await?;
    Ok(String::from_utf8(text).unwrap().lines().skip(1).map(str::to_owned).collect())
}

/// Every byte of every file below a folder.
pub fn all_bytes(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.clone(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found
}

pub fn holds(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}
