//! A query that does not fit into memory goes to disk, sealed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cordon_engine::AuthorizedView;
use futures::TryStreamExt;

use crate::support::{CANARY, engine, holds, hospital, tmp_dir};

/// Temporary files have no name; the system still shows this process the bytes of those that it holds open.
fn open_temporary_files(below: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            std::fs::read_link(path)
                .is_ok_and(|to| to.to_string_lossy().contains(below) && to.to_string_lossy().ends_with("(deleted)"))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_spills_is_sealed_and_the_answer_is_right() {
    const ROWS: usize = 200_000;
    let dir = tempfile::tempdir().unwrap();
    let store = hospital(&dir.path().join("tables"), ROWS);
    let engine = engine(&store, 24 << 20);
    let session = engine.session(&[AuthorizedView::all("patients")]).unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let sealed_bytes = Arc::new(AtomicUsize::new(0));
    let watcher = {
        let (stop, sealed_bytes) = (Arc::clone(&stop), Arc::clone(&sealed_bytes));
        let below = tmp_dir().to_string_lossy().into_owned();
        std::thread::spawn(move || {
            let mut found = false;
            while !stop.load(Ordering::Relaxed) {
                for path in open_temporary_files(&below) {
                    let bytes = std::fs::read(path).unwrap_or_default();
                    found |= holds(&bytes, CANARY) || holds(&bytes, "ARROW") || holds(&bytes, "GENDER");
                    sealed_bytes.fetch_max(bytes.len(), Ordering::Relaxed);
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            found
        })
    };

    let query = session.plan("select name, age from patients order by name desc").await.unwrap();
    let batches: Vec<_> = query.execute().unwrap().try_collect().await.unwrap();
    let names: Vec<String> = batches
        .iter()
        .flat_map(|batch| {
            let names = batch.column(0).as_any().downcast_ref::<arrow_array::StringViewArray>().unwrap();
            names.iter().map(|name| name.unwrap().to_owned()).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(names.len(), ROWS);
    assert!(names.is_sorted_by(|a, b| a >= b));
    let distinct = session.plan("select name, count(*) as n from patients group by name").await.unwrap();
    let groups: Vec<_> = distinct.execute().unwrap().try_collect().await.unwrap();
    assert_eq!(groups.iter().map(arrow_array::RecordBatch::num_rows).sum::<usize>(), ROWS);

    stop.store(true, Ordering::Relaxed);
    assert!(!watcher.join().unwrap(), "a temporary file holds a value in clear");
    assert!(engine.peak_spill_bytes() > 1 << 20, "nothing was spilled: {}", engine.peak_spill_bytes());
    if cfg!(target_os = "linux") {
        assert!(sealed_bytes.load(Ordering::Relaxed) > 100_000, "the watcher saw no temporary file");
    }
    assert_eq!(std::fs::read_dir(tmp_dir()).unwrap().count(), 0);
}
