//! Changed, removed, inserted, re-ordered, cut off: always found.

use std::fs;

use cordon_audit::{
    Anchor, AuditError, AuditLog, AuditReader, Digest, FindingKind, Receipt, WriterInfo, verify_public,
};

use crate::support::*;

#[test]
fn an_untouched_log_is_intact() {
    for per_segment in [None, Some(1), Some(2)] {
        for entries in 0..6 {
            let (dir, receipts) = log_of(entries, per_segment);
            let report = verify_with(dir.path(), &receipts);
            assert_eq!(report.findings, []);
            assert_eq!(report.entries, entries);
            assert_eq!(report.last, receipts.last().copied());
            let opened = AuditReader::open(dir.path(), seal(), public()).verify(&[]).unwrap();
            assert!(opened.is_intact() && opened.opened && opened.clock_set_back == 0);
        }
    }
}

#[test]
fn no_byte_of_any_file_may_change() {
    let (dir, _) = log_of(3, Some(2));
    assert_eq!(segments(dir.path()).len(), 2);
    let reader = AuditReader::open(dir.path(), seal(), public());
    let mut flipped = 0;
    for path in segments(dir.path()).into_iter().chain([dir.path().join("head")]) {
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, &bad).unwrap();
            assert!(!verify(dir.path()).is_intact(), "{} byte {at}", path.display());
            flipped += 1;
            assert!(at % 37 != 0 || !reader.verify(&[]).unwrap().is_intact());
        }
        fs::write(&path, &good).unwrap();
    }
    assert!(verify(dir.path()).is_intact());
    eprintln!("{flipped} flips, all found");
}

#[test]
fn the_report_says_what_kind_at_which_entry_in_which_file() {
    let (dir, _) = log_of(6, Some(3));
    let second = segment(dir.path(), 2);
    let (header, frames) = cut(&second);
    assert_eq!(frames.len(), 3);
    let found = |frames: &[Vec<u8>]| {
        join(&second, &header, frames);
        let findings = verify(dir.path()).findings;
        assert!(findings[0].file.contains("audit-00000002.log"));
        (findings[0].kind, findings[0].seq)
    };
    let [four, five, six] = [0, 1, 2].map(|at| frames[at].clone());
    let mut changed = five.clone();
    changed[30] ^= 1;
    assert_eq!(found(&[four.clone(), changed, six.clone()]), (FindingKind::Changed, 5));
    assert_eq!(found(&[four.clone(), six.clone()]), (FindingKind::Missing, 5));
    assert_eq!(found(&[four.clone(), six.clone(), five.clone()]), (FindingKind::Missing, 5));
    assert_eq!(found(&[four.clone(), five.clone(), five.clone(), six.clone()]), (FindingKind::OutOfPlace, 5));
    assert_eq!(found(&[four.clone(), five.clone()]), (FindingKind::Shortened, 6));
    assert_eq!(found(&[four, five, six, b"more".to_vec()]), (FindingKind::UnfinishedTail, 7));
}

#[test]
fn no_entry_may_be_removed_repeated_or_moved() {
    let (dir, _) = log_of(7, Some(3));
    for path in segments(dir.path()) {
        let (header, frames) = cut(&path);
        let refuse = |frames: &[Vec<u8>], what: &str| {
            join(&path, &header, frames);
            assert!(!verify(dir.path()).is_intact(), "{what} in {}", path.display());
        };
        for at in 0..frames.len() {
            let mut without = frames.clone();
            without.remove(at);
            refuse(&without, "removed");
            let mut other = frames.clone();
            other.truncate(at);
            refuse(&other, "cut off");
            for to in 0..=frames.len() {
                let mut twice = frames.clone();
                twice.insert(to, frames[at].clone());
                refuse(&twice, "repeated");
            }
            for with in at + 1..frames.len() {
                let mut swapped = frames.clone();
                swapped.swap(at, with);
                refuse(&swapped, "swapped");
            }
        }
        join(&path, &header, &frames);
    }
    assert!(verify(dir.path()).is_intact());
}

#[test]
fn no_file_may_be_cut_at_any_byte() {
    let (dir, _) = log_of(2, Some(1));
    for path in segments(dir.path()).into_iter().chain([dir.path().join("head")]) {
        let good = fs::read(&path).unwrap();
        for len in 0..good.len() {
            fs::write(&path, &good[..len]).unwrap();
            assert!(!verify(dir.path()).is_intact(), "{} cut to {len}", path.display());
        }
        fs::write(&path, &good).unwrap();
    }
}

#[test]
fn no_segment_may_be_removed_swapped_or_repeated() {
    let (dir, _) = log_of(7, Some(2));
    let count = segments(dir.path()).len() as u32;
    assert_eq!(count, 4);
    for number in 1..=count {
        let without = copy(dir.path());
        fs::remove_file(segment(without.path(), number)).unwrap();
        assert!(!verify(without.path()).is_intact());
        // And with the names closed up again.
        for later in number..count {
            fs::rename(segment(without.path(), later + 1), segment(without.path(), later)).unwrap();
        }
        assert!(!verify(without.path()).is_intact());

        let repeated = copy(dir.path());
        fs::copy(segment(dir.path(), number), segment(repeated.path(), count + 1)).unwrap();
        assert!(!verify(repeated.path()).is_intact());

        for other in number + 1..=count {
            let swapped = copy(dir.path());
            fs::copy(segment(dir.path(), number), segment(swapped.path(), other)).unwrap();
            fs::copy(segment(dir.path(), other), segment(swapped.path(), number)).unwrap();
            assert!(!verify(swapped.path()).is_intact());
        }
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(!verify(empty.path()).is_intact());
    assert!(verify_public(&empty.path().join("absent"), public(), &[]).is_err());
}

#[test]
fn an_old_head_is_noticed_and_an_old_directory_needs_anchors() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 2, None);
    let old = copy(dir.path());
    // More than reach the disk together, which is what a killed writer leaves.
    let receipts = fill(dir.path(), 65, None);
    assert_eq!(receipts[64].seq, 67);

    // Head put back: entries 3 to 67 could be cut off next.
    fs::copy(old.path().join("head"), dir.path().join("head")).unwrap();
    assert_eq!(verify(dir.path()).findings[0].kind, FindingKind::HeadBehind);

    // Everything put back: consistent in itself, but the table that carries receipt 5 knows better.
    assert!(verify(old.path()).is_intact());
    let report = verify_with(old.path(), &receipts);
    assert!(report.findings.iter().all(|finding| finding.kind == FindingKind::AnchorMissing));
    assert_eq!(report.findings.len(), receipts.len());
}

#[test]
fn another_log_of_the_same_keys_does_not_pass_for_this_one() {
    let (dir, receipts) = log_of(3, None);
    let (other, _) = log_of(3, None);
    assert!(verify(other.path()).is_intact());
    let report = verify_with(other.path(), &receipts);
    assert!(report.findings.iter().all(|finding| finding.kind == FindingKind::AnchorMismatch));
    assert_eq!(report.findings.len(), 3);
    // Nor does its head or one of its segments.
    for name in ["head", "audit-00000001.log"] {
        let mixed = copy(dir.path());
        fs::copy(other.path().join(name), mixed.path().join(name)).unwrap();
        assert!(!verify(mixed.path()).is_intact());
        assert!(open(mixed.path()).is_err());
    }
}

#[test]
fn an_anchor_at_zero_pins_the_log_itself() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    let beginning = Anchor::from(log.head().unwrap());
    assert_eq!(beginning.seq, 0);
    log.append(&event(1)).unwrap();
    assert!(log.verify(&[beginning]).unwrap().is_intact());
    let (other, _) = log_of(1, None);
    assert_eq!(
        verify_public(other.path(), public(), &[beginning]).unwrap().findings[0].kind,
        FindingKind::AnchorMismatch
    );
    let never = Anchor { seq: 9, hash: Digest([0; 32]) };
    assert_eq!(log.verify(&[never]).unwrap().findings[0].kind, FindingKind::AnchorMissing);
}

#[test]
fn a_stranger_with_the_directory_cannot_append_or_re_sign() {
    let (dir, _) = log_of(2, None);
    let stranger = cordon_crypto::SigningKey::from_seed(&[9; 32]);
    let writer = cordon_audit::WriterInfo::for_user("mallory");
    let opened = cordon_audit::AuditLog::open(dir.path(), seal(), stranger, writer.clone());
    assert!(matches!(opened.err(), Some(AuditError::OtherKeys { .. })));
    let other_seal = cordon_crypto::AuditSealKey::from_bytes([8; 32]);
    let opened = cordon_audit::AuditLog::open(dir.path(), other_seal, sign(), writer);
    assert!(matches!(opened.err(), Some(AuditError::OtherKeys { which: "seal key" })));
    let stranger = cordon_crypto::SigningKey::from_seed(&[9; 32]).verifying_key();
    assert!(!verify_public(dir.path(), stranger, &[]).unwrap().is_intact());
}

#[test]
fn nothing_is_appended_to_a_log_whose_end_was_changed() {
    let (dir, _) = log_of(4, Some(2));
    let last = segment(dir.path(), 2);
    let good = fs::read(&last).unwrap();
    let (header, frames) = cut(&last);

    // While it is open.
    let log = open_sized(dir.path(), 1 << 20).unwrap();
    join(&last, &header, &frames[..1]);
    assert!(matches!(log.append(&event(5)), Err(AuditError::Tampered(found)) if found.kind == FindingKind::Shortened));
    assert!(matches!(log.append(&event(5)), Err(AuditError::Tampered(_))));

    // When it is opened: shortened, changed, without its head, without its last segment.
    assert!(matches!(open(dir.path()).err(), Some(AuditError::Tampered(_))));
    let mut bad = good.clone();
    let at = bad.len() - 110;
    bad[at] ^= 1;
    fs::write(&last, &bad).unwrap();
    assert!(matches!(open(dir.path()).err(), Some(AuditError::Tampered(_))));
    fs::write(&last, &good).unwrap();
    let headless = copy(dir.path());
    fs::remove_file(headless.path().join("head")).unwrap();
    assert!(matches!(open(headless.path()).err(), Some(AuditError::Tampered(_))));
    fs::remove_file(&last).unwrap();
    assert!(open(dir.path()).is_err());

    // Put back, it goes on.
    fs::write(&last, &good).unwrap();
    assert_eq!(log.append(&event(5)).unwrap().seq, 5);
    assert!(verify(dir.path()).is_intact());
}

#[test]
fn a_receipt_survives_as_text() {
    let receipt = Receipt { seq: 7, hash: Digest::of(&[b"x"]) };
    let text = receipt.hash.to_string();
    assert_eq!(text.parse(), Ok(receipt.hash));
    assert!("xyz".parse::<Digest>().is_err());
}

#[test]
fn a_log_that_is_gone_does_not_begin_again() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("audit");
    let open = || AuditLog::open_existing(&place, seal(), sign(), WriterInfo::for_user("ada"));
    assert!(matches!(open(), Err(AuditError::Tampered(finding)) if finding.kind == FindingKind::HeadMissing));
    assert!(!place.exists());
    fill(&place, 2, None);
    open().unwrap();
}

#[test]
fn a_log_says_whether_it_reaches_as_far_as_it_did() {
    let (dir, receipts) = log_of(3, Some(2));
    let log = open(dir.path()).unwrap();
    for receipt in &receipts {
        log.reaches(&Anchor::from(*receipt)).unwrap();
    }
    let beyond = Anchor { seq: 4, ..Anchor::from(receipts[2]) };
    assert!(
        matches!(log.reaches(&beyond), Err(AuditError::Tampered(finding)) if finding.kind == FindingKind::Shortened)
    );
    let other = Anchor { hash: receipts[1].hash, ..Anchor::from(receipts[2]) };
    assert!(log.reaches(&other).is_err());
}
