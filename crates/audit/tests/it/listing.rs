//! What is recorded can be read by whoever has the key, and by nobody else.

use std::fs;

use chrono::DateTime;
use cordon_access::{Purpose, Reason};
use cordon_audit::{AuditReader, DatasetAccess, Entry, Event, Filter, RequestedAct, Sources, Statement};

use crate::support::*;

fn query(log: &cordon_audit::AuditLog, principal: &str, dataset: &str) -> Event {
    let sql = format!("select city from {dataset} where name = '{CANARY}'");
    Event::QueryStarted {
        research_project: None,
        client: None,
        query: "q1".into(),
        principal: principal.into(),
        purpose: Purpose::Research,
        statement_tag: log.tag("statement", sql.as_bytes()),
        statement: Statement::without_literals(&sql, |name| ["city", "name", dataset].contains(&name)),
        access: vec![DatasetAccess {
            dataset: dataset.into(),
            columns: vec!["city".into()],
            why: vec![Reason::Grant { role: "analyst".into(), grant: 0 }],
        }],
    }
}

fn list(reader: &AuditReader, filter: Filter) -> Vec<u64> {
    reader.list(filter).unwrap().map(|entry| entry.unwrap().seq).collect()
}

#[test]
fn entries_are_found_by_time_kind_user_dataset_and_from_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_sized(dir.path(), 2_000).unwrap();
    log.append(&Event::ProjectInitialised { project: "clinic".into() }).unwrap();
    log.append(&query(&log, "boris", "patients")).unwrap();
    log.append(&event(3)).unwrap();
    log.append(&query(&log, "ada", "claims")).unwrap();
    let committed = Event::TableCommitted {
        run: "r1".into(),
        table: "patients".into(),
        version: 2,
        rows: 10,
        rows_digest: None,
        quarantined: 1,
        sources: Sources { count: 1, ids: vec![log.tag("source", b"smith.csv")] },
        policy_hash: cordon_audit::Digest([3; 32]),
        key_ids: vec!["cordon-direct.v1".into()],
    };
    log.append(&committed).unwrap();

    let reader = AuditReader::open(dir.path(), seal(), public());
    let all = Filter::default;
    assert_eq!(list(&reader, all()), [1, 2, 3, 4, 5]);
    assert_eq!(list(&reader, Filter { kind: Some("query_started".into()), ..all() }), [2, 4]);
    assert_eq!(list(&reader, Filter { user: Some("boris".into()), ..all() }), [2]);
    assert_eq!(list(&reader, Filter { user: Some("ada".into()), ..all() }), [1, 2, 3, 4, 5]);
    assert_eq!(list(&reader, Filter { dataset: Some("patients".into()), ..all() }), [2, 5]);
    assert_eq!(list(&reader, Filter { last: Some(2), ..all() }), [4, 5]);
    assert_eq!(list(&reader, Filter { last: Some(9), ..all() }), [1, 2, 3, 4, 5]);
    assert_eq!(list(&reader, Filter { last: Some(0), ..all() }), [] as [u64; 0]);
    assert_eq!(list(&reader, Filter { last: Some(1), kind: Some("query_started".into()), ..all() }), [4]);
    let second = DateTime::from_timestamp(1_800_000_001, 0);
    assert_eq!(list(&reader, Filter { since: second, ..all() }), [2, 3, 4, 5]);
    assert_eq!(list(&reader, Filter { until: second, ..all() }), [1]);

    let last: Entry = log.list(Filter { last: Some(1), ..all() }).unwrap().next().unwrap().unwrap();
    assert_eq!(last.event, committed);
    assert_eq!(last.hash, log.head().unwrap().hash);
    let text = serde_json::to_string(&last).unwrap();
    for part in
        ["\"time\":\"2027-01-15T08:00:04.000000Z\"", "\"user\":\"ada\"", "\"kind\":\"table_committed\"", "\"pid\":"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn nothing_can_be_read_without_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    let request = Event::TokenRequested {
        request: CANARY.into(),
        act: RequestedAct::Reveal,
        principal: CANARY.into(),
        purpose: Purpose::Emergency,
        domain: CANARY.into(),
        tokens: vec![log.tag("token", CANARY.as_bytes())],
        reason: CANARY.into(),
        lifetime_seconds: 60,
        times: None,
        crosswalk: None,
    };
    log.append(&request).unwrap();
    log.append(&query(&log, CANARY, CANARY)).unwrap();
    // A torn piece too.
    let path = segment(dir.path(), 1);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, [&bytes[..], &bytes[HEADER..HEADER + 300]].concat()).unwrap();
    open(dir.path()).unwrap();

    let mut files = 0;
    for entry in fs::read_dir(dir.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        files += 1;
        for word in [CANARY, "Canary", "6789", "token_requested", "select", "ada", "principal"] {
            assert!(!bytes.windows(word.len()).any(|window| window == word.as_bytes()), "{word}");
        }
    }
    assert_eq!(files, 4, "segment, head, lock, torn piece");

    let wrong = cordon_crypto::AuditSealKey::from_bytes([1; 32]);
    let reader = AuditReader::open(dir.path(), wrong, public());
    assert!(reader.list(Filter::default()).unwrap().next().unwrap().is_err());
    assert!(!reader.verify(&[]).unwrap().is_intact());
}

#[test]
fn a_damaged_entry_ends_the_list_with_an_error() {
    let (dir, _) = log_of(5, None);
    let path = segment(dir.path(), 1);
    let (header, mut frames) = cut(&path);
    frames[2][40] ^= 1;
    join(&path, &header, &frames);
    let reader = AuditReader::open(dir.path(), seal(), public());
    for last in [None, Some(4)] {
        let seen: Vec<_> = reader.list(Filter { last, ..Filter::default() }).unwrap().collect();
        assert!(seen.last().unwrap().is_err());
        assert_eq!(seen.iter().filter(|entry| entry.is_err()).count(), 1);
    }
}
