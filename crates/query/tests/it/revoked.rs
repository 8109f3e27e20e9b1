//! A right that is taken away ends what is under way.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use cordon_access::Purpose;
use cordon_audit::{Event, Filter};
use cordon_engine::EngineError;
use cordon_pipeline::error::ExitKind;
use cordon_query::{QueryError, Rows};
use futures::StreamExt;

use crate::clinic::{Clinic, ROWS, question};

const ALL: &str = "SELECT day, code FROM visits";

/// Rows until the end, and how it ended.
async fn rest(rows: &mut Rows) -> (usize, Option<EngineError>) {
    let mut count = 0;
    while let Some(batch) = rows.next().await {
        match batch {
            Ok(batch) => count += batch.num_rows(),
            Err(error) => return (count, Some(error)),
        }
    }
    (count, None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_is_taken_away_cuts_its_queries_at_the_next_batch() {
    let clinic = Clinic::new();
    let ask = async |sql: &str| clinic.questions.ask(question("ana", Purpose::Research, sql)).await;

    let (mut rows, record) = ask(ALL).await.unwrap().into_parts();
    let id = record.id().to_owned();
    assert!(rows.next().await.unwrap().is_ok());
    clinic.change("name: ana, roles: [research]", "name: ana, roles: [engineering]");
    let (more, error) = rest(&mut rows).await;
    assert_eq!((more, error.clone()), (0, Some(EngineError::Revoked)), "not a row more");
    assert!(rows.next().await.is_none());
    assert!(matches!(record.failed(error.unwrap()).await, QueryError::Engine(EngineError::Revoked)));
    assert_eq!(clinic.recorded(&id), ["query_started", "query_failed"]);
    assert_eq!(ask(ALL).await.map(drop).unwrap_err().exit(), ExitKind::Denied);

    // Given back: a new query runs, and a change that is none of its business cuts it not.
    clinic.change("name: ana, roles: [engineering]", "name: ana, roles: [research]");
    let (mut rows, record) = ask(ALL).await.unwrap().into_parts();
    let first = rows.next().await.unwrap().unwrap().num_rows();
    clinic.change("name: eve, roles: [engineering]", "name: eve, roles: [research]");
    let (more, error) = rest(&mut rows).await;
    assert_eq!((first + more, error), (ROWS, None));
    record.finished(ROWS as u64).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_is_taken_away_cuts_only_who_reads_it() {
    let clinic = Clinic::new();
    let ask =
        async |sql: &str| clinic.questions.ask(question("ana", Purpose::Research, sql)).await.unwrap().into_parts();
    let (mut codes, of_codes) = ask("SELECT code FROM visits").await;
    let (mut days, of_days) = ask("SELECT day FROM visits").await;
    let (codes_first, days_first) = (codes.next().await.unwrap().unwrap(), days.next().await.unwrap().unwrap());
    assert!(codes_first.num_rows() > 0);
    clinic.change("columns: [day, code]", "columns: [day]");
    assert_eq!(rest(&mut codes).await, (0, Some(EngineError::Revoked)));
    let (more, error) = rest(&mut days).await;
    assert_eq!((days_first.num_rows() + more, error), (ROWS, None));
    drop((of_codes, of_days));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_control_that_is_set_while_a_query_runs_cuts_it_and_holds_for_the_next() {
    let clinic = Clinic::new();
    let ask = async || clinic.questions.ask(question("ana", Purpose::Research, ALL)).await;
    let (mut rows, record) = ask().await.unwrap().into_parts();
    assert!(rows.next().await.unwrap().is_ok() && record.still_allowed());
    clinic.change("\naccess:", "\naccess:\n  output-control:\n    - { datasets: [costs] }");
    assert!(record.still_allowed(), "of another dataset");
    clinic.change("datasets: [costs]", "datasets: [visits]");
    assert!(!record.still_allowed());
    assert_eq!(rest(&mut rows).await, (0, Some(EngineError::Revoked)));
    let refused = ask().await.map(drop).unwrap_err();
    assert!(matches!(refused, QueryError::Engine(EngineError::Disclosure { .. })), "{refused}");
    assert_eq!(refused.exit(), ExitKind::Denied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_answer_is_on_the_record_too() {
    let clinic = Clinic::new();
    let denied = || {
        let entries = clinic.project.audit_log().list(cordon_audit::Filter::default()).unwrap().map(Result::unwrap);
        entries.filter(|entry| entry.event.kind() == "access_denied").count()
    };
    // An emergency without a reason.
    let refused = clinic.questions.ask(question("ana", Purpose::Emergency, ALL)).await.map(drop).unwrap_err();
    assert!(matches!(refused, QueryError::NoReason) && denied() == 1, "{refused}");
    // A text that is longer than an entry may be.
    let long = format!("SELECT day FROM visits WHERE code IN ({})", "\"code\",".repeat(200_000));
    let refused = clinic.questions.ask(question("ana", Purpose::Research, &long)).await.map(drop).unwrap_err();
    assert!(matches!(refused, QueryError::Engine(EngineError::Planning(_))), "{refused}");
    assert_eq!(denied(), 2);
    // A plan that nobody could walk, from a short text: refused, and at once.
    let mut with = "WITH c0 AS (SELECT code FROM visits)".to_owned();
    for number in 1..=40 {
        let before = number - 1;
        let _ = write!(with, ", c{number} AS (SELECT * FROM c{before} UNION ALL SELECT * FROM c{before})");
    }
    let begun = Instant::now();
    let question = question("ana", Purpose::Research, &format!("{with} SELECT count(*) FROM c40"));
    let refused = clinic.questions.describe(question.clone()).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("too often"), "{refused}");
    let refused = clinic.questions.ask(question).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("too often") && begun.elapsed() < Duration::from_secs(30), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_read_may_have_taken_a_right_away() {
    let clinic = Clinic::new();
    let ask = async || clinic.questions.ask(question("ana", Purpose::Research, ALL)).await;
    let (mut rows, record) = ask().await.unwrap().into_parts();
    assert!(rows.next().await.unwrap().is_ok());
    clinic.change("\naccess:", "\naccess: [");
    assert_eq!(rest(&mut rows).await, (0, Some(EngineError::Revoked)));
    drop(record);
    let refused = ask().await.map(drop).unwrap_err();
    assert!(!refused.to_string().contains("ana"), "{refused}");
    clinic.change("\naccess: [", "\naccess:");
    let (mut rows, _record) = ask().await.unwrap().into_parts();
    assert_eq!(rest(&mut rows).await, (ROWS, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_watches_sees_a_written_file_by_itself() {
    let clinic = Clinic::new();
    let source = clinic.project.policy_source().unwrap();
    let (before, watch) = (source.generation(), source.watch());
    let path = clinic.path("cordon.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    std::fs::write(&path, text.replace("name: ana, roles: [research]", "name: ana, roles: [engineering]")).unwrap();
    let begun = Instant::now();
    while source.generation() == before {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody looked");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(watch);
}

#[test]
fn a_process_that_ends_records_what_it_abandons() {
    let clinic = Clinic::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let asked = runtime.block_on(clinic.questions.ask(question("ana", Purpose::Research, ALL)));
    let (rows, record) = asked.unwrap().into_parts();
    let id = record.id().to_owned();
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    // A runtime of this kind carries nothing out any more.
    let entered = handle.enter();
    drop((rows, record));
    drop(entered);
    assert_eq!(clinic.recorded(&id), ["query_started", "query_failed"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_early_an_asker_goes_away_what_began_on_the_record_ends_there() {
    let clinic = Clinic::new();
    let going = || {
        let mut going = BTreeSet::new();
        let entries = clinic.project.audit_log().list(Filter::default()).unwrap();
        for entry in entries.map(Result::unwrap) {
            match &entry.event {
                Event::QueryStarted { query, .. } => drop(going.insert(query.clone())),
                Event::QueryFinished { query, .. } | Event::QueryFailed { query, .. } => assert!(going.remove(query)),
                _ => {}
            }
        }
        going
    };
    for millis in (0..60).step_by(2) {
        let asking = clinic.questions.ask(question("ana", Purpose::Research, ALL));
        drop(tokio::time::timeout(Duration::from_millis(millis), asking).await);
    }
    let begun = Instant::now();
    while !going().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", going());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_whose_asker_goes_away_is_recorded_as_that() {
    let clinic = Clinic::new();
    let answer = clinic.questions.ask(question("ana", Purpose::Research, ALL)).await.unwrap();
    let (rows, record) = answer.into_parts();
    let id = record.id().to_owned();
    drop((rows, record));
    let begun = Instant::now();
    while clinic.recorded(&id) != ["query_started", "query_failed"] {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", clinic.recorded(&id));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
