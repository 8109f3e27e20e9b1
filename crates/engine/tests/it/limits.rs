//! What a query may use, and that it lets go of it.

use std::time::{Duration, Instant};

use cordon_engine::{AuthorizedView, EngineError, QueryEngine, QueryLimit, QueryLimits, QueryOptions};
use futures::{StreamExt, TryStreamExt};

use crate::support::{hospital, tmp_dir};

/// Gives its first row late, if ever.
const ENDLESS: &str = "select count(*) from generate_series(1, 1000000000000) s where s.value % 7 = 8";

fn engine(dir: &std::path::Path, rows: usize, options: QueryOptions) -> QueryEngine {
    let options = QueryOptions { tmp_dir: tmp_dir(), threads: 2, ..options };
    QueryEngine::new(options, hospital(dir, rows)).unwrap()
}

async fn settled(engine: &QueryEngine) -> (usize, u64) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let held = (engine.memory_in_use(), engine.spill_bytes());
        if held == (0, 0) || Instant::now() > until {
            return held;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_rows_than_the_limit_are_an_error_and_no_cut_result() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), 500, QueryOptions { max_rows: Some(100), ..QueryOptions::default() });
    let session = engine.session(&[AuthorizedView::all("patients")]).unwrap();
    let run = async |sql: &str, own: Option<u64>| {
        let query = session.plan(sql).await.unwrap().with_limits(QueryLimits { rows: own, deadline: None });
        query
            .execute()
            .unwrap()
            .try_collect::<Vec<_>>()
            .await
            .map(|batches| batches.iter().map(arrow_array::RecordBatch::num_rows).sum())
    };
    let over = |limit| Err::<usize, _>(EngineError::Limit(QueryLimit::Rows { limit }));
    assert_eq!(run("select age from patients", None).await, over(100));
    assert_eq!(run("select age from patients limit 100", None).await, Ok(100));
    assert_eq!(run("select age from patients limit 101", None).await, over(100));
    assert_eq!(run("select age from patients limit 11", Some(10)).await, over(10));
    // A caller's own limit takes no other one off.
    assert_eq!(run("select age from patients limit 101", Some(1000)).await, over(100));
    assert_eq!(run("select count(*) from patients", Some(1)).await, Ok(1));
    assert_eq!(run("select count(*) from patients", Some(0)).await, over(0));
    assert_eq!(settled(&engine).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_ends_at_its_deadline_also_before_its_first_row() {
    let dir = tempfile::tempdir().unwrap();
    let time = Some(Duration::from_millis(700));
    let engine = engine(dir.path(), 3000, QueryOptions { max_time: time, ..QueryOptions::default() });
    let session = engine.session(&[AuthorizedView::all("patients")]).unwrap();
    let begun = Instant::now();
    let mut stream = session.plan(ENDLESS).await.unwrap().execute().unwrap();
    assert_eq!(stream.next().await, Some(Err(EngineError::Limit(QueryLimit::Time))));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // The stream is still there: what it held is not.
    assert_eq!(settled(&engine).await, (0, 0));
    assert_eq!(stream.next().await, None);

    let query = session.plan("select age from patients").await.unwrap();
    let past = QueryLimits { rows: None, deadline: Some(Instant::now()) };
    let mut stream = query.with_limits(past).execute().unwrap();
    assert_eq!(stream.next().await, Some(Err(EngineError::Limit(QueryLimit::Time))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_dropped_frees_memory_and_temporary_files() {
    let dir = tempfile::tempdir().unwrap();
    let small = QueryOptions { memory_limit: 24 << 20, ..QueryOptions::default() };
    let engine = engine(dir.path(), 200_000, small);
    let session = engine.session(&[AuthorizedView::all("patients")]).unwrap();
    // Its first rows come while all others are still in temporary files.
    let mut stream = session.plan("select name, age from patients order by name").await.unwrap().execute().unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    assert!(engine.spill_bytes() > 0 && engine.memory_in_use() > 0);
    drop(stream);
    assert_eq!(settled(&engine).await, (0, 0));
    assert_eq!(std::fs::read_dir(tmp_dir()).unwrap().count(), 0);
    // And one that has not given a row yet.
    let mut stream = session.plan(ENDLESS).await.unwrap().execute().unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(500), stream.next()).await.is_err());
    drop(stream);
    assert_eq!(settled(&engine).await, (0, 0));
}
