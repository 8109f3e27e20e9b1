//! Figures, printed; the assertion is only that a long log is whole. `CORDON_AUDIT_ENTRIES=100000` with optimised
//! signatures (`CARGO_PROFILE_DEV_PACKAGE_RING_OPT_LEVEL=3`, or a release build) tells what to expect in use.

use std::time::Instant;

use cordon_audit::{AuditReader, Filter};

use crate::support::*;

/// Processor time of this process so far, in seconds: on a busy machine the clock tells about the others.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

fn measured<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (start, before) = (Instant::now(), cpu());
    let done = work();
    eprintln!("{what}: {:.2?}, {:.2} s of processor", start.elapsed(), cpu() - before);
    done
}

#[test]
fn a_long_log() {
    // In memory: the figures are about hashing and signatures, not about this disk's fsync.
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: no /dev/shm");
        return;
    };
    let entries = std::env::var("CORDON_AUDIT_ENTRIES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_u64);
    let log = open_sized(dir.path(), 16 << 20).unwrap();
    measured(&format!("{entries} entries appended, without a disk"), || {
        for number in 0..entries {
            log.append(&event(number)).unwrap();
        }
    });
    let report = measured("verified with the public key", || verify(dir.path()));
    assert_eq!((report.findings.as_slice(), report.entries), ([].as_slice(), entries));
    let reader = AuditReader::open(dir.path(), seal(), public());
    assert!(measured("verified and opened", || reader.verify(&[]).unwrap().is_intact()));
    let last = Filter { last: Some(10), ..Filter::default() };
    assert_eq!(measured("last ten listed", || reader.list(last).unwrap().count()), 10);
    eprintln!("{} bytes", report.bytes);
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
