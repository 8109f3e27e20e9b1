//! Killed, full, not writable: what was acknowledged is there, what was not is told.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use cordon_audit::{Anchor, Digest, Event, Filter, FindingKind, verify_public};

use crate::child::{THREADS, appender, appender_in_shell, told};
use crate::support::*;

fn torn_events(dir: &std::path::Path) -> Vec<Event> {
    let log = open(dir).unwrap();
    let filter = Filter { kind: Some("torn_tail".into()), ..Filter::default() };
    log.list(filter).unwrap().map(|entry| entry.unwrap().event.clone()).collect()
}

#[test]
fn an_append_that_was_cut_at_any_byte_is_moved_aside_and_recorded() {
    let (dir, receipts) = log_of(2, None);
    let before = fs::read(segment(dir.path(), 1)).unwrap();
    let longer = copy(dir.path());
    open(longer.path()).unwrap().append(&event(3)).unwrap();
    let after = fs::read(segment(longer.path(), 1)).unwrap();

    for kept in (before.len() + 1..after.len()).step_by(7).chain([after.len() - 1]) {
        let torn = copy(dir.path());
        fs::write(segment(torn.path(), 1), &after[..kept]).unwrap();
        assert_eq!(verify(torn.path()).findings[0].kind, FindingKind::UnfinishedTail);

        let events = torn_events(torn.path());
        let [Event::TornTail { file, offset, bytes, sha256, segment: 1 }] = events.as_slice() else {
            panic!("{events:?}");
        };
        let piece = &after[before.len()..kept];
        assert_eq!((*offset, *bytes), (before.len() as u64, piece.len() as u64));
        assert_eq!(*sha256, Digest::of(&[piece]));
        assert_eq!(fs::read(torn.path().join(file)).unwrap(), piece);
        let report = verify_with(torn.path(), &receipts);
        assert_eq!((report.findings.as_slice(), report.entries), ([].as_slice(), 3));
    }
}

#[test]
fn a_whole_entry_that_the_head_does_not_know_yet_stays() {
    let (dir, _) = log_of(2, None);
    let head = fs::read(dir.path().join("head")).unwrap();
    let third = open(dir.path()).unwrap().append(&event(3)).unwrap();
    fs::write(dir.path().join("head"), head).unwrap();
    assert!(verify(dir.path()).is_intact(), "a lag of one is what a killed writer leaves");

    let log = open(dir.path()).unwrap();
    assert_eq!(log.head().unwrap(), third);
    assert_eq!(log.append(&event(4)).unwrap().seq, 4);
    assert!(verify(dir.path()).is_intact());
}

#[test]
fn killed_between_moving_aside_and_recording_is_recorded_later() {
    let (dir, _) = log_of(1, None);
    fs::write(dir.path().join("torn-00000001-0000000700-0.pending"), b"piece").unwrap();
    let events = torn_events(dir.path());
    assert!(matches!(&events[..], [Event::TornTail { bytes: 5, segment: 1, offset: 700, .. }]));
    assert!(dir.path().join("torn-00000001-0000000700-0.bin").exists());
    assert_eq!(torn_events(dir.path()).len(), 1, "once");
}

#[test]
fn killed_while_the_log_or_a_segment_was_made() {
    // Segment 1 is there, its head is not.
    let (dir, _) = log_of(0, None);
    fs::remove_file(dir.path().join("head")).unwrap();
    open(dir.path()).unwrap().append(&event(1)).unwrap();
    assert!(verify(dir.path()).is_intact());

    // A new segment with its header only.
    let (dir, _) = log_of(3, Some(1));
    let (header, frames) = cut(&segment(dir.path(), 3));
    assert_eq!(frames.len(), 1);
    let (short, receipts) = {
        let short = tempfile::tempdir().unwrap();
        let receipts = fill(short.path(), 2, Some(1));
        (short, receipts)
    };
    // Made by the log itself: cut entry 3 off before its head was written.
    let head = fs::read(short.path().join("head")).unwrap();
    let size = fs::metadata(segment(short.path(), 1)).unwrap().len();
    open_sized(short.path(), size + 8).unwrap().append(&event(3)).unwrap();
    fs::write(short.path().join("head"), head).unwrap();
    let (own_header, _) = cut(&segment(short.path(), 3));
    assert_eq!(own_header.len(), header.len());
    join(&segment(short.path(), 3), &own_header, &[]);
    assert!(verify_with(short.path(), &receipts).is_intact());
    let log = open_sized(short.path(), size + 8).unwrap();
    drop(log);
    let log = open_sized(short.path(), size + 8).unwrap();
    assert_eq!(log.append(&event(3)).unwrap().seq, 3);
    assert!(verify_with(short.path(), &receipts).is_intact());
}

#[test]
fn kill_9_while_appending_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<Anchor> = Vec::new();
    for round in 0..40_u64 {
        // Alone, and many whose entries reach the disk together.
        let threads = if round % 2 == 0 { "1" } else { "20" };
        let mut child = appender(dir.path(), u64::MAX).env(THREADS, threads).spawn().unwrap();
        let mut told_so_far = BufReader::new(child.stdout.take().unwrap());
        let mut output = Vec::new();
        while !output.windows(8).any(|word| word == b"receipt ") {
            assert!(told_so_far.read_until(b'\n', &mut output).unwrap() > 0);
        }
        // It is at work now; the moments are spread over the length of some appends.
        std::thread::sleep(Duration::from_micros(round * 3_701 % 40_000));
        child.kill().unwrap();
        told_so_far.read_to_end(&mut output).unwrap();
        child.wait().unwrap();
        let (receipts, errors) = told(&output);
        assert_eq!(errors, [] as [&str; 0]);
        acknowledged.extend(receipts.iter().map(|(seq, hash)| Anchor { seq: *seq, hash: hash.parse().unwrap() }));
    }
    let log = open(dir.path()).unwrap();
    let report = log.verify(&acknowledged).unwrap();
    assert_eq!(report.findings, []);
    assert!(report.entries >= acknowledged.len() as u64);
    let mut numbers: Vec<u64> = acknowledged.iter().map(|anchor| anchor.seq).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), acknowledged.len(), "no place was given out twice");
    eprintln!("{} receipts, {} entries, 40 writers killed at work", acknowledged.len(), report.entries);
}

#[test]
fn a_full_disk_fails_the_append_and_not_the_log() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap();
    // 8 blocks of 512 bytes; the signal is ignored so that the write fails instead.
    let output = appender_in_shell("trap '' XFSZ; ulimit -f 8", dir.path(), 40).output().unwrap();
    let (receipts, errors) = told(&output.stdout);
    assert!(!receipts.is_empty() && !errors.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(receipts.len() + errors.len(), 40);
    assert!(errors.iter().all(|error| error.starts_with("audit log: cannot write audit-00000001.log")), "{errors:?}");

    let anchors: Vec<Anchor> =
        receipts.iter().map(|(seq, hash)| Anchor { seq: *seq, hash: hash.parse().unwrap() }).collect();
    let report = verify_public(dir.path(), public(), &anchors).unwrap();
    assert_eq!((report.findings.as_slice(), report.entries), ([].as_slice(), receipts.len() as u64));
    let next = open(dir.path()).unwrap().append(&event(1)).unwrap();
    assert_eq!(next.seq, receipts.len() as u64 + 1);
    assert!(verify_public(dir.path(), public(), &anchors).unwrap().is_intact());
}

#[test]
fn a_head_that_cannot_be_written_fails_the_append_and_never_lags_by_more_than_one() {
    let (dir, receipts) = log_of(2, None);
    let log = open(dir.path()).unwrap();
    // A directory of that name stands in the way of the new head.
    let obstacle = dir.path().join("head.new");
    fs::create_dir(&obstacle).unwrap();
    for _ in 0..3 {
        assert!(log.append(&event(3)).is_err());
        assert!(verify_with(dir.path(), &receipts).is_intact());
    }
    fs::remove_dir(&obstacle).unwrap();
    log.append(&event(3)).unwrap();
    let report = verify_with(dir.path(), &receipts);
    assert!(report.is_intact() && report.entries <= 4);
}

#[test]
fn a_directory_that_may_only_be_read_can_be_proven_and_not_written() {
    let (dir, receipts) = log_of(3, None);
    let everyone = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for entry in fs::read_dir(dir.path()).unwrap() {
        everyone(&entry.unwrap().path(), 0o444);
    }
    everyone(dir.path(), 0o555);
    let mut child = appender(dir.path(), 1);
    if fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0) {
        child.uid(65_534); // permissions do not hold back root
    }
    match child.output() {
        Ok(output) => {
            let (none, errors) = told(&output.stdout);
            assert!(none.is_empty());
            assert!(errors.len() == 1 && errors[0].contains("cannot open lock"), "{output:?}");
        }
        Err(error) => eprintln!("skipped: another user cannot run this binary ({error})"),
    }
    assert!(verify_with(dir.path(), &receipts).is_intact());
    everyone(dir.path(), 0o755);
}

#[test]
fn what_is_too_large_is_refused_before_anything_is_written() {
    let (dir, _) = log_of(1, None);
    let log = open(dir.path()).unwrap();
    let huge = Event::ProjectInitialised { project: "x".repeat(2 << 20) };
    assert!(matches!(log.append(&huge), Err(cordon_audit::AuditError::TooLarge { .. })));
    assert_eq!(log.append(&event(2)).unwrap().seq, 2);
    assert!(verify(dir.path()).is_intact());
}
