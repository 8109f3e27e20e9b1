//! Several writers, one chain.

use std::collections::BTreeSet;
use std::sync::Arc;

use cordon_audit::Anchor;

use crate::child::{appender, told};
use crate::support::*;

#[test]
fn threads_share_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(open_sized(dir.path(), 4_000).unwrap());
    let other = Arc::new(open_sized(dir.path(), 4_000).unwrap());
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let log = Arc::clone(if number % 2 == 0 { &log } else { &other });
            std::thread::spawn(move || (0..25).map(|n| log.append(&event(n)).unwrap()).collect::<Vec<_>>())
        })
        .collect();
    // Readers do not mind the writers, nor the other way round.
    for _ in 0..5 {
        assert!(log.verify(&[]).unwrap().is_intact());
    }
    let receipts: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let places: BTreeSet<u64> = receipts.iter().map(|receipt| receipt.seq).collect();
    assert_eq!(places, (1..=100).collect());
    let anchors: Vec<_> = receipts.into_iter().map(Anchor::from).collect();
    let report = log.verify(&anchors).unwrap();
    assert_eq!(report.findings, []);
    assert!(report.segments > 5);
}

#[test]
fn what_many_append_at_one_time_reaches_the_disk_together_and_each_is_told_of_its_own() {
    const THREADS: u64 = 100;
    let dir = tempfile::tempdir().unwrap();
    // Small enough that some of what is written together goes on in the next segment.
    let log = open_sized(dir.path(), 20_000).unwrap();
    let barrier = std::sync::Barrier::new(THREADS as usize);
    let begun = std::time::Instant::now();
    let told: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (log, barrier) = (&log, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    (0..5)
                        .map(|number| {
                            let number = thread * 5 + number;
                            if number % 50 == 49 {
                                // It fails alone, also where it came with others.
                                let huge = cordon_audit::Event::ProjectInitialised { project: "x".repeat(2 << 20) };
                                assert!(matches!(log.append(&huge), Err(cordon_audit::AuditError::TooLarge { .. })));
                            }
                            (number, log.append(&event(number)).unwrap())
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    eprintln!("{} entries of {THREADS} threads in {:.2?}", told.len(), begun.elapsed());
    let places: BTreeSet<u64> = told.iter().map(|(_, receipt)| receipt.seq).collect();
    assert_eq!(places, (1..=THREADS * 5).collect());
    let anchors: Vec<Anchor> = told.iter().map(|(_, receipt)| (*receipt).into()).collect();
    assert_eq!(log.verify(&anchors).unwrap().findings, []);
    let entries: std::collections::BTreeMap<u64, _> = log
        .list(cordon_audit::Filter::default())
        .unwrap()
        .map(|entry| entry.map(|entry| (entry.seq, entry.event.clone())).unwrap())
        .collect();
    for (number, receipt) in told {
        let is = serde_json::to_value(&entries[&receipt.seq]).unwrap();
        assert_eq!(is, serde_json::to_value(event(number)).unwrap(), "a receipt is for one's own entry");
    }
}

#[test]
fn processes_share_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..3).map(|_| appender(dir.path(), 40).spawn().unwrap()).collect();
    let log = open(dir.path()).unwrap();
    let mut anchors: Vec<Anchor> = (0..40).map(|n| log.append(&event(n)).unwrap().into()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let (receipts, errors) = told(&output.stdout);
        assert_eq!((receipts.len(), errors.len()), (40, 0));
        anchors.extend(receipts.iter().map(|(seq, hash)| Anchor { seq: *seq, hash: hash.parse().unwrap() }));
    }
    let places: BTreeSet<u64> = anchors.iter().map(|anchor| anchor.seq).collect();
    assert_eq!(places, (1..=160).collect());
    let report = log.verify(&anchors).unwrap();
    assert_eq!((report.findings.as_slice(), report.entries), ([].as_slice(), 160));
    assert_eq!(log.list(cordon_audit::Filter::default()).unwrap().map(Result::unwrap).count(), 160);
}
