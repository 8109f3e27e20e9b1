//! New keys: the log goes on, the old key vouches for the new one, and either proves all of it.

use std::fs;
use std::path::Path;

use cordon_audit::{Anchor, AuditError, AuditLog, AuditReader, Event, Filter, FindingKind, WriterInfo, verify_public};
use cordon_crypto::{AuditSealKey, SigningKey, SigningKeys, VerifyingKey, Versions};

use crate::support::*;

fn signer(number: u8) -> SigningKey {
    SigningKey::from_seed(&[number; 32])
}

fn seals(versions: &[u32]) -> Versions<AuditSealKey> {
    // Version 1 is the one of `support`.
    Versions::new(versions.iter().map(|version| (*version, AuditSealKey::from_bytes([5 + *version as u8; 32]))))
        .unwrap()
}

fn signers(numbers: &[u8]) -> SigningKeys {
    SigningKeys::new(numbers.iter().map(|number| signer(*number))).unwrap()
}

fn open_under(dir: &Path, versions: &[u32], numbers: &[u8]) -> Result<AuditLog, AuditError> {
    AuditLog::open(dir, seals(versions), signers(numbers), WriterInfo::for_user("ada"))
}

fn public_of(number: u8) -> VerifyingKey {
    signer(number).verifying_key()
}

/// Two entries under the first keys, two under the second, two under the third; segments 1 to 3.
fn rotated_twice() -> (tempfile::TempDir, Vec<Anchor>) {
    let dir = tempfile::tempdir().unwrap();
    let mut anchors = Vec::new();
    for (versions, numbers) in [(&[1][..], &[5][..]), (&[1, 2], &[5, 7]), (&[1, 2, 3], &[7, 8])] {
        let log = open_under(dir.path(), versions, numbers).unwrap();
        for number in 0..2 {
            anchors.push(Anchor::from(log.append(&event(number)).unwrap()));
        }
    }
    assert_eq!(segments(dir.path()).len(), 3);
    (dir, anchors)
}

#[test]
fn every_key_that_the_log_had_proves_all_of_it() {
    let (dir, anchors) = rotated_twice();
    for number in [5, 7, 8] {
        let report = verify_public(dir.path(), public_of(number), &anchors).unwrap();
        assert_eq!((report.findings.as_slice(), report.entries), ([].as_slice(), 6));
    }
    assert!(!verify_public(dir.path(), public_of(9), &anchors).unwrap().is_intact());
    let reader = AuditReader::open(dir.path(), seals(&[1, 2, 3]), public_of(8));
    let report = reader.verify(&anchors).unwrap();
    assert!(report.is_intact() && report.opened, "{:?}", report.findings);
    assert_eq!(reader.list(Filter::default()).unwrap().flatten().count(), 6);
    assert_eq!(reader.list(Filter { last: Some(3), ..Filter::default() }).unwrap().count(), 3);
    assert_eq!(reader.seal_versions().unwrap().into_iter().collect::<Vec<_>>(), [(1, 1), (2, 1), (3, 1)]);

    // Without a version of the seal key the chain still holds, and its entries do not open.
    let reader = AuditReader::open(dir.path(), seals(&[1, 3]), public_of(8));
    let report = reader.verify(&[]).unwrap();
    assert_eq!(report.findings[0].kind, FindingKind::NotReadable);
    assert_eq!((report.findings[0].seq, report.entries), (3, 4));
}

#[test]
fn no_byte_of_a_rotated_log_may_change() {
    let (dir, _) = rotated_twice();
    for path in segments(dir.path()).into_iter().chain([dir.path().join("head")]) {
        let good = fs::read(&path).unwrap();
        // Every byte of a header, and of the rest some.
        for at in (0..good.len().min(HEADER)).chain((HEADER..good.len()).step_by(11)) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, &bad).unwrap();
            for number in [5, 8] {
                let report = verify_public(dir.path(), public_of(number), &[]).unwrap();
                assert!(!report.is_intact(), "{} byte {at} under key {number}", path.display());
            }
        }
        fs::write(&path, &good).unwrap();
    }
}

#[test]
fn the_old_key_alone_cannot_go_on_nor_rewrite_what_was_before() {
    let (dir, _) = rotated_twice();
    // Who has an old ring: the log has moved on.
    assert!(matches!(open_under(dir.path(), &[1], &[5]), Err(AuditError::OtherKeys { .. })));
    assert!(matches!(open_under(dir.path(), &[1, 2], &[5, 7]), Err(AuditError::OtherKeys { .. })));

    // A thief of the first key makes a first segment of his own; the second segment pins the one that was.
    let forged = tempfile::tempdir().unwrap();
    let log = open_under(forged.path(), &[1], &[5]).unwrap();
    log.append(&event(8)).unwrap();
    log.append(&event(9)).unwrap();
    let spoiled = copy(dir.path());
    fs::copy(segment(forged.path(), 1), segment(spoiled.path(), 1)).unwrap();
    assert!(!verify_public(spoiled.path(), public_of(8), &[]).unwrap().is_intact());
    assert!(!verify_public(spoiled.path(), public_of(5), &[]).unwrap().is_intact());

    // Cut back to before the rotation and gone on under the first key: the newest key finds it, and so does the reader.
    let cut_back = tempfile::tempdir().unwrap();
    let log = open_under(cut_back.path(), &[1], &[5]).unwrap();
    log.append(&event(0)).unwrap();
    assert!(!verify_public(cut_back.path(), public_of(7), &[]).unwrap().is_intact());
    let reader = AuditReader::open(cut_back.path(), seals(&[1, 2]), public_of(7)).before_rotation(vec![public_of(5)]);
    assert_eq!(reader.verify(&[]).unwrap().findings[0].kind, FindingKind::OldKey);
}

#[test]
fn a_stranger_cannot_hand_the_log_over_to_himself() {
    let (dir, _) = log_of(2, None);
    // His ring holds a key of his own beside one that the log does not know.
    assert!(matches!(open_under(dir.path(), &[1, 2], &[8, 9]), Err(AuditError::OtherKeys { .. })));
    // A segment that names the log's key before it, and whose first signature is not that key's.
    let other = tempfile::tempdir().unwrap();
    fs::remove_dir(other.path()).unwrap();
    let log = open_under(other.path(), &[1], &[9]).unwrap();
    log.append(&event(0)).unwrap();
    let spoiled = copy(dir.path());
    let bytes = fs::read(segment(other.path(), 1)).unwrap();
    fs::write(segment(spoiled.path(), 2), bytes).unwrap();
    assert!(!verify(spoiled.path()).is_intact());
}

#[test]
fn killed_while_the_keys_change_it_goes_on() {
    // The new segment is there, and the head is still of the old one.
    let dir = tempfile::tempdir().unwrap();
    open_under(dir.path(), &[1], &[5]).unwrap().append(&event(1)).unwrap();
    let head = fs::read(dir.path().join("head")).unwrap();
    let log = open_under(dir.path(), &[1, 2], &[5, 7]).unwrap();
    assert_eq!(segments(dir.path()).len(), 1, "opening alone changes no key");
    log.append(&event(2)).unwrap();
    drop(log);
    let second = segment(dir.path(), 2);
    let (header, frames) = cut(&second);
    for kept in [0, 1] {
        join(&second, &header, &frames[..kept]);
        fs::write(dir.path().join("head"), &head).unwrap();
        let report = verify_public(dir.path(), public_of(5), &[]).unwrap();
        assert!(report.is_intact(), "{kept}: {:?}", report.findings);
        let log = open_under(dir.path(), &[1, 2], &[5, 7]).unwrap();
        assert_eq!(log.append(&event(3)).unwrap().seq, 2 + kept as u64);
        drop(log);
        for number in [5, 7] {
            assert!(verify_public(dir.path(), public_of(number), &[]).unwrap().is_intact());
        }
        // The old signing key may be forgotten then.
        open_under(dir.path(), &[1, 2], &[7]).unwrap().append(&event(4)).unwrap();
    }
}

#[test]
fn a_writer_with_the_old_keys_stops_when_another_has_rotated() {
    let dir = tempfile::tempdir().unwrap();
    let old = open_under(dir.path(), &[1], &[5]).unwrap();
    old.append(&event(1)).unwrap();
    let new = open_under(dir.path(), &[1, 2], &[5, 7]).unwrap();
    old.append(&event(2)).unwrap();
    new.append(&event(3)).unwrap();
    assert!(matches!(old.append(&event(4)), Err(AuditError::OtherKeys { .. })));
    new.append(&event(5)).unwrap();
    let report = verify_public(dir.path(), public_of(7), &[]).unwrap();
    assert_eq!((report.findings.as_slice(), report.entries), ([].as_slice(), 4));
}

#[test]
fn tags_stay_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let before = open_under(dir.path(), &[1], &[5]).unwrap().tag("source", b"a.csv");
    let log = open_under(dir.path(), &[1, 2], &[5, 7]).unwrap();
    assert_eq!(log.tag("source", b"a.csv"), before);
    log.append(&Event::AuditShown { entries: 1 }).unwrap();
}

#[test]
fn a_log_of_an_earlier_format_is_refused_as_such() {
    let (dir, _) = log_of(1, None);
    let path = segment(dir.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[7] = b'1';
    fs::write(&path, bytes).unwrap();
    assert!(matches!(open(dir.path()), Err(AuditError::OldFormat)));
    assert!(!verify(dir.path()).is_intact());
}
