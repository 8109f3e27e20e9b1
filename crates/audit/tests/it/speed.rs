//! Figures, printed; the assertion is only that a long log is whole. `CORDON_AUDIT_ENTRIES=100000` with optimised
//! signatures (`CARGO_PROFILE_DEV_PACKAGE_RING_OPT_LEVEL=3`, or a release build) tells what to expect in use.

use std::time::Instant;

use cordon_audit::{AuditReader, Filter};

use crate::support::*;

#[test]
fn a_long_log() {
    // In memory: the figures are about hashing and signatures, not about this disk's fsync.
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: no /dev/shm");
        return;
    };
    let entries: u64 = std::env::var("CORDON_AUDIT_ENTRIES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_000);
    let log = open_sized(dir.path(), 16 << 20).unwrap();
    let start = Instant::now();
    for number in 0..entries {
        log.append(&event(number)).unwrap();
    }
    let appended = start.elapsed();

    let start = Instant::now();
    let report = verify(dir.path());
    let public = start.elapsed();
    assert_eq!(
        (report.findings.as_slice(), report.entries),
        ([].as_slice(), entries)
    );

    let reader = AuditReader::open(dir.path(), &seal(), crate::support::public());
    let start = Instant::now();
    assert!(reader.verify(&[]).unwrap().is_intact());
    let opened = start.elapsed();

    let start = Instant::now();
    assert_eq!(
        reader
            .list(Filter {
                last: Some(10),
                ..Filter::default()
            })
            .unwrap()
            .count(),
        10
    );
    eprintln!(
        "{entries} entries, {} bytes: append {appended:.1?} (no disk), verify {public:.1?}, verify and open {opened:.1?}, last ten {:.1?}",
        report.bytes,
        start.elapsed()
    );
}

#[test]
fn durable_appends_a_second_on_this_disk() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let log = open(dir.path()).unwrap();
    let start = Instant::now();
    for number in 0..100 {
        log.append(&event(number)).unwrap();
    }
    eprintln!("{:.2?} for one durable append", start.elapsed() / 100);
}
