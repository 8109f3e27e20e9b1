//! Two clusters: one for what works and what a function can do wrong, one with a token for what stands between.

use std::io::{Cursor, Read};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use cordon_spark::{
    Argument, Endpoint, Flow, PythonFunction, Session, SparkError, Told, partition_keys, worker_python,
};
use sha2::{Digest, Sha256};

use crate::cluster::{Cluster, behind_tls};
use crate::servers::Pki;

const WORKER: &[u8] = include_bytes!("worker.py");
const IDS: &str = r#"{"type":"struct","fields":[{"name":"id","type":"long","nullable":true,"metadata":{}}]}"#;

fn endpoint(address: &str, token: Option<&str>) -> Endpoint {
    Endpoint::parse(address, &|_| token.map(str::to_owned)).unwrap()
}

/// With the functions of the tests, and a partition for each of up to 32 rows.
fn opened(address: &str, token: Option<&str>) -> Session {
    let session = Session::open(&endpoint(address, token), "tester").unwrap();
    session.add_artifact("pyfiles/cordon_spark_worker.py", &mut &*WORKER, WORKER.len() as u64).unwrap();
    session.set(&[("spark.sql.leafNodeDefaultParallelism", "32")]).unwrap();
    session
}

fn function<'a>(name: &'a str, arguments: &'a [Argument<'a>], returns: &'a str, python: &'a str) -> PythonFunction<'a> {
    PythonFunction { module: "cordon_spark_worker", name, arguments, returns, python }
}

fn ids(count: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
    RecordBatch::try_from_iter([("id", ids)]).unwrap()
}

/// All rows' ids, and when the first batch came before the end.
fn run(session: &Session, rows: i64, function: &PythonFunction<'_>) -> Result<(Vec<i64>, Duration, u64), SparkError> {
    let (mut found, mut first, mut progress) = (Vec::new(), None, 0);
    session.map_in_arrow(&ids(rows), function, &mut |told| {
        match told {
            Told::Batch(batch) => {
                first.get_or_insert_with(Instant::now);
                found.extend(batch.column(0).as_primitive::<Int64Type>().values());
            }
            Told::Tasks { done, all, .. } => {
                assert!(done <= all);
                progress = progress.max(all);
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok((found, first.map_or(Duration::ZERO, |first| first.elapsed()), progress))
}

#[test]
fn a_cluster_runs_what_is_shipped_and_says_what_goes_wrong() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let python = cluster.python.clone();
    let session = opened(&cluster.address(), None);
    assert!(session.version().starts_with(char::is_numeric), "{}", session.version());

    not_whole(&session);
    shipped(&session, &python);
    eprintln!("a name that is taken: {:?}", session.add_artifact("files/cordon", &mut &b"other"[..], 5));
    large_cells_and_odd_names(&session, &python);
    streams(&session, &python);
    parted(&session, &python);

    let error = run(&session, 2, &function("same", &[], IDS, "2.7")).unwrap_err();
    assert_eq!(worker_python(&error).as_deref(), Some(&*python), "{error:?}");

    let error = run(&session, 2, &function("fails", &[], IDS, &python)).unwrap_err();
    let said = format!("{error} {error:?} {}", error.help());
    assert!(matches!(error, SparkError::Failed { python: None, .. }), "{said}");
    assert!(!said.contains("Zebediah") && !said.contains("worker.py") && said.lines().count() == 1, "{said}");
    eprintln!("an exception: {error}");
    let error = run(&session, 2, &function("nowhere", &[], IDS, &python)).unwrap_err();
    eprintln!("no such function: {error}");
    let error = session.set(&[("spark.sql.shuffle.partitions", "none")]).unwrap_err();
    assert!(matches!(error, SparkError::Failed { .. }), "{error:?}");
    eprintln!("a bad setting: {error}");

    stopped(&session, &python);
    cancelled(&session, &python);
    session.close();
}

/// What cannot be read to its end is not shipped, and its name is not taken.
fn not_whole(session: &Session) {
    for (there, told) in [(3 << 20, 4 << 20), (4 << 20, 3 << 20), (9, 10), (10, 9)] {
        let error = session.add_artifact("files/cordon", &mut std::io::repeat(7).take(there), told).unwrap_err();
        assert!(matches!(error, SparkError::Input { .. }), "{error:?}");
    }
}

/// Rows of two functions together, each in the partition that its key is made for.
fn parted(session: &Session, python: &str) {
    const PARTITIONS: u32 = 7;
    let field =
        |name: &str, kind: &str| format!(r#"{{"name":"{name}","type":"{kind}","nullable":true,"metadata":{{}}}}"#);
    let returns =
        |fields: [&str; 3]| format!(r#"{{"type":"struct","fields":[{}]}}"#, fields.join(",").trim_end_matches(','));
    let keyed = returns([&field("key", "integer"), &field("wanted", "long"), &field("id", "long")]);
    let found = returns([&field("wanted", "long"), &field("partition", "long"), ""]);
    let keys: Vec<u8> = partition_keys(PARTITIONS).iter().flat_map(|key| key.to_le_bytes()).collect();
    let arguments = [Argument::Bytes(&keys)];
    let (first, last) = (function("keyed", &arguments, &keyed, python), function("where", &[], &found, python));
    let (some, others) = (ids(3), ids(2));
    let of = [&some, &others].map(|rows| Flow::Mapped(Box::new(Flow::Rows(rows)), &first));
    let parted = Flow::Parted { of: of.into(), by: "key", partitions: PARTITIONS };
    let mut rows = 0;
    session
        .execute(&Flow::Mapped(Box::new(parted), &last), &|| true, &mut |told| {
            if let Told::Batch(batch) = told {
                rows += batch.num_rows();
                assert_eq!(batch.column(0).as_ref(), batch.column(1).as_ref());
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(rows, 5 * PARTITIONS as usize);
}

fn shipped(session: &Session, python: &str) {
    let bytes: Vec<u8> = (0..5_u64 << 20).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    session.add_artifact("files/cordon", &mut Cursor::new(&bytes), bytes.len() as u64).unwrap();
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(&bytes));
    let field =
        |name: &str, kind: &str| format!(r#"{{"name":"{name}","type":"{kind}","nullable":true,"metadata":{{}}}}"#);
    let fields = [
        field("id", "long"),
        field("names", "string"),
        field("partition", "long"),
        field("told", "string"),
        field("digest", "string"),
        field("file", "string"),
    ];
    let returns = format!(r#"{{"type":"struct","fields":[{}]}}"#, fields.join(","));
    let arguments = [Argument::Text("Zoë"), Argument::Bytes(&[0, 255]), Argument::Int(-7)];
    let mut partitions = Vec::new();
    session
        .map_in_arrow(&ids(8), &function("seen", &arguments, &returns, python), &mut |told| {
            if let Told::Batch(batch) = told {
                let texts = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
                for row in 0..batch.num_rows() {
                    assert_eq!(texts("told").value(row), "Zoë|00ff|-7");
                    assert_eq!(texts("digest").value(row), digest);
                    assert_eq!(texts("names").value(row), "id");
                    partitions.push(batch.column_by_name("partition").unwrap().as_primitive::<Int64Type>().value(row));
                }
                if partitions.len() == 1 {
                    eprintln!("on an executor: {}", texts("file").value(0));
                }
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(partitions, (0..8).collect::<Vec<_>>(), "a row a partition");
}

fn large_cells_and_odd_names(session: &Session, python: &str) {
    let large = vec![7; 12 << 20];
    let cells: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![Some(&large), None, Some(b"")]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["one", "two", "three"]));
    let batch = RecordBatch::try_from_iter([("a.b`c d", cells), ("Zoë", texts)]).unwrap();
    let returns = r#"{"type":"struct","fields":[{"name":"a.b`c d","type":"binary","nullable":true,"metadata":{}},
        {"name":"Zoë","type":"string","nullable":true,"metadata":{}}]}"#;
    let mut rows = Vec::new();
    session
        .map_in_arrow(&batch, &function("same", &[], returns, python), &mut |told| {
            if let Told::Batch(batch) = told {
                for row in 0..batch.num_rows() {
                    let cell = batch.column(0).as_binary::<i32>();
                    let cell = cell.is_valid(row).then(|| cell.value(row).to_vec());
                    rows.push((cell, batch.column(1).as_string::<i32>().value(row).to_owned()));
                }
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    let named = |cell, name: &str| (cell, name.to_owned());
    assert!(rows == [named(Some(large), "one"), named(None, "two"), named(Some(Vec::new()), "three")]);
}

fn streams(session: &Session, python: &str) {
    let (found, before, tasks) = run(session, 8, &function("slow", &[Argument::Int(10)], IDS, python)).unwrap();
    assert_eq!(found, (0..8).collect::<Vec<_>>());
    assert!(before > Duration::from_secs(2), "the first batch came {before:?} before the end");
    assert_eq!(tasks, 8);
}

fn stopped(session: &Session, python: &str) {
    let begun = Instant::now();
    let mut seen = 0;
    session
        .map_in_arrow(&ids(32), &function("slow", &[Argument::Int(20)], IDS, python), &mut |told| match told {
            Told::Batch(_) => {
                seen += 1;
                ControlFlow::Break(())
            }
            Told::Tasks { .. } => ControlFlow::Continue(()),
        })
        .unwrap();
    assert!(seen == 1 && begun.elapsed() < Duration::from_secs(15), "{seen} {:?}", begun.elapsed());
    // The executors are free again.
    let begun = Instant::now();
    run(session, 2, &function("same", &[], IDS, python)).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

fn cancelled(session: &Session, python: &str) {
    let canceller = session.canceller();
    let cancelling = thread::spawn(move || {
        thread::sleep(Duration::from_secs(3));
        canceller.cancel();
        Instant::now()
    });
    let error = run(session, 4, &function("slow", &[Argument::Int(6000)], IDS, python)).unwrap_err();
    assert!(matches!(error, SparkError::Cancelled), "{error:?}");
    let took = cancelling.join().unwrap().elapsed();
    eprintln!("cancelled in {took:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    let error = run(session, 1, &function("same", &[], IDS, python)).unwrap_err();
    assert!(matches!(error, SparkError::Cancelled), "{error:?}");
}

#[test]
fn a_token_tls_and_a_server_that_goes_away() {
    let Some(cluster) = Cluster::start(&["spark.connect.authenticate.token=hush-2718"]) else { return };
    let python = cluster.python.clone();
    for token in [None, Some("hush-2719")] {
        let error = Session::open(&endpoint(&cluster.address(), token), "tester").err().unwrap();
        assert!(matches!(error, SparkError::Refused), "{error:?}");
        assert!(!format!("{error} {error:?} {}", error.help()).contains("hush"));
    }
    let session = opened(&cluster.address(), Some("hush-2718"));
    assert_eq!(run(&session, 2, &function("same", &[], IDS, &python)).unwrap().0, [0, 1]);

    let dir = tempfile::tempdir().unwrap();
    if let Some(pki) = Pki::make(&dir.path().join("pki")) {
        over_tls(&cluster, &pki, &python);
    }

    // Stopped: nothing is cut, and nobody answers.
    let error = gone(&session, &python, || cluster.signal("-STOP"), Duration::from_secs(75));
    eprintln!("stopped: {error}");
    cluster.signal("-CONT");
    drop(session);
    let session = opened(&cluster.address(), Some("hush-2718"));
    let error = gone(&session, &python, || cluster.signal("-KILL"), Duration::from_secs(5));
    eprintln!("killed: {error}");
    let begun = Instant::now();
    session.close();
    assert!(begun.elapsed() < Duration::from_secs(6));
}

fn over_tls(cluster: &Cluster, pki: &Pki, python: &str) {
    let port = behind_tls(pki, cluster.port);
    let ca_file = pki.path("ca.pem");
    let session = opened(&format!("sc://localhost:{port}/;use_ssl=true;ca_file={ca_file}"), Some("hush-2718"));
    assert_eq!(run(&session, 3, &function("same", &[], IDS, python)).unwrap().0, [0, 1, 2]);
    session.close();
    pki.authority("other");
    for parameters in [format!(";ca_file={}", pki.path("other.pem")), String::new()] {
        let address = format!("sc://localhost:{port}/;use_ssl=true{parameters}");
        let error = Session::open(&endpoint(&address, Some("hush-2718")), "tester").err().unwrap();
        assert!(matches!(error, SparkError::NotTrusted { .. }), "{error:?}");
    }
    // Of TLS in front of it nothing is known to Spark itself.
    let plain = format!("sc://localhost:{}/;use_ssl=true;ca_file={ca_file}", cluster.port);
    let error = Session::open(&endpoint(&plain, None), "tester").err().unwrap();
    eprintln!("TLS to a server without: {error}");
    assert!(matches!(error, SparkError::Protocol { .. } | SparkError::Unreachable { .. }), "{error:?}");
}

/// What an operation ends with, after `what` was done to the server in its midst.
fn gone(session: &Session, python: &str, what: impl FnOnce() + Send, patience: Duration) -> SparkError {
    let (error, took) = thread::scope(|scope| {
        let doing = scope.spawn(|| {
            thread::sleep(Duration::from_secs(4));
            what();
            Instant::now()
        });
        let error = run(session, 4, &function("slow", &[Argument::Int(6000)], IDS, python)).unwrap_err();
        (error, doing.join().unwrap().elapsed())
    });
    assert!(matches!(error, SparkError::Unreachable { .. }) && took < patience, "{error:?} after {took:?}");
    error
}
