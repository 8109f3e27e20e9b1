//! Queries whose stages are carried out elsewhere: the same answers, and nothing to see on the way.
//!
//! The machines here are engines of their own over the same folder, in this process; `crates/cli/tests/it/spark/queries.rs` has a cluster.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cordon_crypto::SealKey;
use cordon_engine::{
    AuthorizedSession, AuthorizedView, EngineError, ExecutionProblem, Fault, Job, Piece, QueryCluster, QueryEngine,
    TableStore,
};
use futures::TryStreamExt;

use crate::planted::{Outcome, SECRET, in_parts, kind, outcome, sorted, views};
use crate::random_queries::random_query;
use crate::support::{all_keys, commit};

/// Changes what is on its way, and says how often it arrives.
type Meddle = Box<dyn Fn(&mut Piece) -> usize + Send + Sync>;

/// Carries out each task on an engine of its own.
struct Here {
    engines: Box<dyn Fn() -> QueryEngine + Send + Sync>,
    meddle: Mutex<Option<Meddle>>,
    /// Everything that a cluster sees.
    seen: Mutex<Vec<Vec<u8>>>,
    jobs: AtomicUsize,
    stages: AtomicUsize,
    /// After each piece that comes back it waits until nobody wants more.
    slow: AtomicBool,
    stopped: AtomicBool,
}

impl Here {
    fn new(engines: impl Fn() -> QueryEngine + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            engines: Box::new(engines),
            meddle: Mutex::default(),
            seen: Mutex::default(),
            jobs: AtomicUsize::default(),
            stages: AtomicUsize::default(),
            slow: AtomicBool::default(),
            stopped: AtomicBool::default(),
        })
    }
}

impl QueryCluster for Here {
    fn carry_out(
        &self,
        job: &Job,
        goes_on: &(dyn Fn() -> bool + Sync),
        came: &mut dyn FnMut(Piece) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_stack_size(cordon_engine::STACK)
            .enable_all()
            .build()
            .unwrap();
        self.jobs.fetch_add(1, Ordering::Relaxed);
        self.stages.fetch_add(job.stages.len(), Ordering::Relaxed);
        let mut sent: Vec<Vec<Piece>> = Vec::new();
        for (number, stage) in job.stages.iter().enumerate() {
            self.seen.lock().unwrap().push(stage.order.clone());
            let mut waiting: BTreeMap<u32, Vec<(u32, Vec<u8>)>> = BTreeMap::new();
            for input in &stage.inputs {
                for piece in std::mem::take(&mut sent[*input]) {
                    if piece.side == u32::MAX {
                        return came(piece);
                    }
                    waiting.entry(piece.task).or_default().push((piece.side, piece.sealed));
                }
            }
            if stage.inputs.is_empty() {
                waiting = (0..stage.tasks).map(|task| (task, Vec::new())).collect();
            }
            let mut pieces = Vec::new();
            for (task, inputs) in waiting {
                if !goes_on() {
                    self.stopped.store(true, Ordering::Relaxed);
                    return Ok(());
                }
                // Some twice: what is sent is what the second attempt sent.
                for _attempt in 0..=usize::from(task % 3 == 1) {
                    let engine = (self.engines)();
                    let mut taken = engine.inputs();
                    for (side, sealed) in &inputs {
                        taken.add(*side, sealed.clone())?;
                    }
                    pieces.retain(|(of, _)| *of != task);
                    let mut out = |piece: Piece| {
                        pieces.push((task, piece));
                        Ok(())
                    };
                    runtime.block_on(engine.carry_out(&stage.order, task, taken, &mut out))?;
                }
            }
            let meddle = self.meddle.lock().unwrap();
            let mut arrive = Vec::new();
            for (_, mut piece) in pieces {
                self.seen.lock().unwrap().push(piece.sealed.clone());
                let times = meddle.as_ref().map_or(1, |meddle| meddle(&mut piece));
                let copy = |_| Piece { task: piece.task, side: piece.side, sealed: piece.sealed.clone() };
                arrive.extend((0..times).map(copy));
            }
            if number + 1 < job.stages.len() {
                // In no order that anybody could rely on.
                arrive.reverse();
                sent.push(arrive);
                continue;
            }
            for piece in arrive {
                came(piece)?;
                let begun = Instant::now();
                while self.slow.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_secs(20) {
                    if !goes_on() {
                        self.stopped.store(true, Ordering::Relaxed);
                        return Ok(());
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
        Ok(())
    }
}

struct Spread {
    _dir: tempfile::TempDir,
    store: TableStore,
    here: AuthorizedSession,
    on_cluster: AuthorizedSession,
    /// Without a policy, here and there.
    all: [AuthorizedSession; 2],
    cluster: Arc<Here>,
}

fn spread(parts: usize) -> Spread {
    let dir = tempfile::tempdir().unwrap();
    let (store, options) = in_parts(dir.path(), parts);
    let engine = QueryEngine::new(options.clone(), store.clone()).unwrap();
    let cluster = Here::new({
        let store = store.clone();
        move || QueryEngine::new(options.clone(), store.clone()).unwrap()
    });
    let on_cluster = engine.session(&views()).unwrap().on_cluster(Arc::clone(&cluster) as Arc<dyn QueryCluster>, 0);
    let open = [AuthorizedView::all("people"), AuthorizedView::all("visits")];
    let session = || engine.session(&open).unwrap();
    let all = [session(), session().on_cluster(Arc::clone(&cluster) as Arc<dyn QueryCluster>, 0)];
    Spread { _dir: dir, store, all, here: engine.session(&views()).unwrap(), on_cluster, cluster }
}

fn told(outcome: &Outcome) -> String {
    match sorted(outcome) {
        Ok(lines) => lines.iter().take(12).cloned().collect::<Vec<_>>().join("\n    "),
        Err(error) => kind(&error),
    }
}

fn same(one: &Outcome, other: &Outcome) -> bool {
    match (one, other) {
        (Ok(_), Ok(_)) => sorted(one) == sorted(other),
        (Err(one), Err(other)) => kind(one) == kind(other),
        _ => false,
    }
}

/// Every other of the queries.
async fn half(of: u64) {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (count, seed) = (number("CORDON_PROPERTY_QUERIES", 120), number("CORDON_PROPERTY_SEED", 2));
    let spread = spread(5);
    let (mut rows, mut otherwise, mut differ) = (0, 0, Vec::new());
    for n in (of..count).step_by(2) {
        let sql = random_query(seed, n);
        // Every third without a policy.
        let [open, open_there] = &spread.all;
        let (one, other) = if n % 3 == 0 { (open, open_there) } else { (&spread.here, &spread.on_cluster) };
        let (here, there) = (outcome(one, &sql).await, outcome(other, &sql).await);
        rows += usize::from(here.as_ref().is_ok_and(|lines| lines.len() > 1));
        if same(&here, &there) {
            continue;
        }
        // Which of its parts a query comes to evaluate depends on how it is planned. Only errors by values may differ so, never rows.
        let by_value = |outcome: &Outcome| {
            use ExecutionProblem::{Conversion, DivisionByZero, ManyRows, Overflow};
            matches!(outcome, Err(EngineError::Execution(Conversion | DivisionByZero | ManyRows | Overflow)))
        };
        if by_value(&here) || by_value(&there) {
            otherwise += 1;
            continue;
        }
        differ.push(format!("query {n}: {sql}\n  here: {}\n  there: {}", told(&here), told(&there)));
    }
    let (jobs, stages) = (&spread.cluster.jobs, &spread.cluster.stages);
    let (jobs, stages) = (jobs.load(Ordering::Relaxed), stages.load(Ordering::Relaxed));
    eprintln!("{} queries: {rows} with rows, {otherwise} otherwise planned, {jobs} jobs, {stages} stages", count / 2);
    let some = differ.iter().take(8).cloned().collect::<Vec<_>>().join("\n");
    assert!(differ.is_empty(), "{} of {} differ:\n{some}", differ.len(), count / 2);
    assert!(rows as u64 * 10 >= count / 2 * 6 && otherwise as u64 * 20 <= count / 2);
    assert!(jobs as u64 * 10 >= count / 2 * 8, "most queries are carried out elsewhere");
    assert!(stages > jobs + jobs / 2, "and rows are parted on the way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_queries_on_a_cluster_are_answered_as_here() {
    half(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_random_queries_on_a_cluster_are_answered_as_here() {
    half(1).await;
}

const PARTED: &str = "select t1.dept, v.kind, count(*) as n, min(t1.name) as name, sum(t1.id) as ids from people t1 join visits v \
                      on t1.id = v.person where t1.note <> 'CANARYLITERAL' group by t1.dept, v.kind";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_sees_no_row_no_name_and_no_literal() {
    let spread = spread(5);
    let here = outcome(&spread.here, PARTED).await;
    assert!(here.as_ref().unwrap().len() > 5);
    assert_eq!(sorted(&here), sorted(&outcome(&spread.on_cluster, PARTED).await));
    assert!(spread.cluster.stages.load(Ordering::Relaxed) >= 4, "both tables are parted by the key, and the groups");
    let seen = spread.cluster.seen.lock().unwrap().concat();
    assert!(seen.len() > 4000);
    for word in [SECRET, "CANARY", "people", "visits", "dept", "kind", "select", "icu", "Xxx", "nnn"] {
        assert!(!seen.windows(word.len()).any(|window| window == word.as_bytes()), "{word}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_fails_is_told_as_it_would_be_here() {
    let spread = spread(5);
    for sql in [
        "select dept, max(1 / (id - id)) from people group by dept",
        "select cast(note as int) from people where note = 'abc'",
        "select v.kind, sum(cast(v.remark as int)) from visits v join people p on p.id = v.person group by v.kind",
    ] {
        let (here, there) = (outcome(&spread.here, sql).await, outcome(&spread.on_cluster, sql).await);
        assert_eq!(here.unwrap_err(), there.unwrap_err(), "{sql}");
    }
    assert!(spread.cluster.jobs.load(Ordering::Relaxed) >= 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_that_are_changed_put_elsewhere_lost_or_doubled_are_noticed() {
    /// What becomes of a piece, the first one or any; how often it arrives.
    type Change = fn(&mut Piece, bool) -> usize;
    let changes: [(&str, Change); 9] = [
        ("a byte", |piece, _| {
            *piece.sealed.last_mut().unwrap() ^= 1;
            1
        }),
        ("another task's", |piece, _| {
            piece.task = (piece.task + 1) % 5;
            1
        }),
        ("the other side's", |piece, is_first| {
            piece.side = 1 - piece.side.min(1);
            usize::from(!is_first)
        }),
        ("another number", |piece, _| {
            piece.sealed[4] ^= 1;
            1
        }),
        ("another sender", |piece, _| {
            piece.sealed[0] ^= 1;
            1
        }),
        ("cut", |piece, _| {
            piece.sealed.truncate(20);
            1
        }),
        ("one is lost", |_, is_first| usize::from(!is_first)),
        ("one is doubled", |_, is_first| 1 + usize::from(is_first)),
        ("all are lost", |_, _| 0),
    ];
    for (what, change) in changes {
        for sql in [PARTED, "select id, name from people"] {
            let spread = spread(5);
            assert!(outcome(&spread.on_cluster, sql).await.unwrap().len() > 5);
            let later = AtomicBool::new(false);
            let meddle = move |piece: &mut Piece| change(piece, !later.swap(true, Ordering::Relaxed));
            *spread.cluster.meddle.lock().unwrap() = Some(Box::new(meddle));
            let error = outcome(&spread.on_cluster, sql).await.unwrap_err().to_string();
            let noticed = ["not of this query", "are missing", "did not come", "that is not there"];
            assert!(noticed.iter().any(|words| error.contains(words)), "{what}: {sql}: {error}");
        }
    }
    // What an earlier query sent is nothing for a later one.
    let spread = spread(5);
    let kept: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let keep = Arc::clone(&kept);
    *spread.cluster.meddle.lock().unwrap() = Some(Box::new(move |piece| {
        keep.lock().unwrap().push(piece.sealed.clone());
        1
    }));
    let sql = "select id from people";
    outcome(&spread.on_cluster, sql).await.unwrap();
    let at = AtomicUsize::new(0);
    *spread.cluster.meddle.lock().unwrap() = Some(Box::new(move |piece| {
        piece.sealed.clone_from(&kept.lock().unwrap()[at.fetch_add(1, Ordering::Relaxed)]);
        1
    }));
    let error = outcome(&spread.on_cluster, sql).await.unwrap_err();
    assert!(error.to_string().contains("not of this query"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_for_tasks_is_answered_all_the_same() {
    let spread = spread(5);
    let [here, there] = &spread.all;
    for sql in [
        "with recursive r as (select min(id) as id from people union all select r.id + 1 from r join people p on p.id = r.id + 1) select count(*) from r",
        "select a, count(*) from (select distinct dept as a, age as b from people where id < 0) group by rollup (a)",
        "select p.dept, count(*) from people p join visits v on p.id = v.person and v.vid < 0 group by cube (p.dept)",
        "select count(*), max(p.id) from people p join visits v on p.id = v.person where v.vid < 0",
        "select id, (select max(age) from people) - age from people",
        "select id from people where age > (select avg(age) from people) order by id desc",
        "select count(*) from (select random() as r from people) where r >= 0",
        "select p.id, v.vid from people p left join visits v on p.id < v.vid and v.vid < 9",
        "select p.id, count(*) over (order by p.id rows between 2 preceding and current row) from people p order by 1",
        "select count(*) from people a cross join visits b",
        "select * from (values (1), (2)) as x(a) join people p on p.id = x.a",
        "select dept from people intersect select kind from visits",
        "select id from people where id not in (select person from visits where person is not null and vid > 380)",
        "select dept, string_agg(phone, ',' order by id) from people group by dept",
        "select id from people order by age, id limit 5 offset 3",
    ] {
        let (one, other) = (outcome(here, sql).await, outcome(there, sql).await);
        assert!(one.as_ref().is_ok_and(|lines| lines.len() > 1), "{sql}: {}", told(&one));
        if sql.contains("order by id desc") || sql.contains("order by 1") || sql.contains("limit") {
            assert_eq!(one, other, "{sql}");
        } else {
            assert_eq!(sorted(&one), sorted(&other), "{sql}");
        }
    }
    assert!(spread.cluster.jobs.load(Ordering::Relaxed) >= 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_reads_on_a_cluster_what_it_saw_first() {
    let spread = spread(5);
    let sql = "select count(*) as n, sum(vid) as s from visits";
    let before = outcome(&spread.on_cluster, sql).await.unwrap();
    let version = spread.store.current("visits").unwrap().unwrap();
    let row = spread.here.plan("select 1").await.unwrap().execute().unwrap().try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(row[0].num_rows(), 1);
    // Half of the parts leave the table meanwhile.
    let gone: Vec<String> = version.manifest.parts.iter().take(2).map(|part| part.file.clone()).collect();
    let mut change = commit("run-2", &version.schema, Vec::new());
    change.remove_parts = gone;
    spread.store.commit("visits", &change).unwrap();
    assert_eq!(outcome(&spread.on_cluster, sql).await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_of_another_project_and_of_other_tables_are_not_carried_out() {
    let (spread, stranger) = (spread(5), spread(5));
    outcome(&spread.on_cluster, "select id from people").await.unwrap();
    let order = spread.cluster.seen.lock().unwrap()[0].clone();
    let carry_out = async |engine: QueryEngine, order: &[u8]| {
        let mut sent = Vec::new();
        let mut out = |piece: Piece| {
            sent.push(piece);
            Ok(())
        };
        engine.carry_out(order, 0, engine.inputs(), &mut out).await.map(|()| sent)
    };
    // By its own machines it is.
    let sent = carry_out((spread.cluster.engines)(), &order).await.unwrap();
    assert!(sent.len() == 2 && sent.iter().all(|piece| piece.side == 0), "rows, and that these are all: {sent:?}");
    // Other tables under the same keys: it says so, to whoever asked and nobody else.
    let sent = carry_out((stranger.cluster.engines)(), &order).await.unwrap();
    assert!(matches!(sent.as_slice(), [piece] if piece.side == u32::MAX), "{sent:?}");
    // Other keys.
    let dir = tempfile::tempdir().unwrap();
    let (_, options) = in_parts(dir.path(), 1);
    let other = TableStore::open(dir.path(), all_keys(), SealKey::generate()).unwrap();
    let error = carry_out(QueryEngine::new(options, other).unwrap(), &order).await.unwrap_err();
    let refused = |error: &EngineError| matches!(error, EngineError::Elsewhere { fault: Fault::Usage, text } if text.contains("does not open under the key"));
    assert!(refused(&error), "{error}");
    let mut damaged = order.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let error = carry_out((spread.cluster.engines)(), &damaged).await.unwrap_err();
    assert!(refused(&error), "{error}");
    // And of a query over other tables whoever asks hears that.
    let elsewhere = Here::new(move || (stranger.cluster.engines)());
    let dir = tempfile::tempdir().unwrap();
    let (store, options) = in_parts(dir.path(), 5);
    let engine = QueryEngine::new(options, store).unwrap();
    let session = engine.session(&views()).unwrap().on_cluster(elsewhere, 0);
    let error = outcome(&session, "select id from people").await.unwrap_err();
    assert!(error.to_string().contains("not the one that the query is about"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_no_more_rows_stops_the_machines() {
    let spread = spread(5);
    spread.cluster.slow.store(true, Ordering::Relaxed);
    let mut rows = spread.on_cluster.plan("select id from people").await.unwrap().execute().unwrap();
    assert!(rows.try_next().await.unwrap().unwrap().num_rows() > 0);
    assert!(!spread.cluster.stopped.load(Ordering::Relaxed));
    drop(rows);
    let begun = Instant::now();
    while !spread.cluster.stopped.load(Ordering::Relaxed) {
        assert!(begun.elapsed() < Duration::from_secs(10), "the job goes on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // A limit is somebody who wants no more.
    spread.cluster.stopped.store(false, Ordering::Relaxed);
    assert_eq!(outcome(&spread.on_cluster, "select id from people limit 3").await.unwrap().len(), 4);
    let begun = Instant::now();
    while !spread.cluster.stopped.load(Ordering::Relaxed) {
        assert!(begun.elapsed() < Duration::from_secs(10), "the job goes on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_tables_and_what_has_no_table_stay_here() {
    let spread = spread(5);
    let dir = tempfile::tempdir().unwrap();
    let (store, options) = in_parts(dir.path(), 5);
    let engine = QueryEngine::new(options, store).unwrap();
    let cluster = Arc::clone(&spread.cluster);
    let session = engine.session(&views()).unwrap().on_cluster(cluster, 1 << 30);
    outcome(&session, "select count(*) from people").await.unwrap();
    for sql in ["select 1 as one", "show tables", "explain select id from people", "describe people"] {
        let (here, there) =
            (outcome(&spread.here, sql).await.unwrap(), outcome(&spread.on_cluster, sql).await.unwrap());
        assert_eq!(here, there);
    }
    assert_eq!(spread.cluster.jobs.load(Ordering::Relaxed), 0);
}
