//! The keys of single people: what is destroyed stays so, in every process and after every accident.

use std::{collections::BTreeSet, fs, path::Path};

use cordon_crypto::{SubjectSealKey, Versions};
use cordon_vault::{SubjectKeys, SubjectKeysHead, VaultError};

use crate::scratch;

fn key() -> SubjectSealKey {
    SubjectSealKey::from_bytes([3; 32])
}

fn open(path: &Path) -> SubjectKeys {
    SubjectKeys::open(path, &key()).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(path: &Path) -> VaultError {
    match SubjectKeys::open(path, &key()) {
        Err(error) => error,
        Ok(_) => panic!("hostile subject keys were opened"),
    }
}

#[test]
fn what_is_destroyed_is_gone_for_every_process_and_the_rest_stays() {
    let dir = scratch();
    let path = dir.path().join("subject-keys");
    let keys = SubjectKeys::create(&path, &key()).unwrap();
    let other = open(&path);
    let slots = keys.lease(100, 0).unwrap();
    let before: Vec<_> = slots.clone().map(|slot| keys.leaf(slot).unwrap().unwrap()).collect();
    let mut cached = other.leaves();
    assert!(slots.clone().all(|slot| cached.leaf(slot).is_some()));
    drop(cached);

    keys.destroy(&[3, 50], &[[9; 16]]).unwrap();
    keys.destroy(&[3], &[[9; 16], [1; 16]]).unwrap();
    assert_eq!(other.refresh().unwrap(), keys.epoch());
    let mut cached = other.leaves();
    for (slot, before) in slots.zip(before) {
        let expected = (!matches!(slot, 3 | 50)).then_some(*before);
        assert_eq!(cached.leaf(slot).copied(), expected);
        assert_eq!(other.leaf(slot).unwrap().map(|leaf| *leaf), expected);
    }
    assert!(other.is_tombstone(&[1; 16]) && other.is_tombstone(&[9; 16]) && !other.is_tombstone(&[2; 16]));
    // Nothing to do, nothing written.
    let bytes = fs::read(&path).unwrap();
    keys.destroy(&[50], &[[1; 16]]).unwrap();
    assert!(bytes == fs::read(&path).unwrap());
    drop(cached);
    assert!(open(&path).leaf(3).unwrap().is_none());
}

#[test]
fn no_slot_is_given_twice() {
    let dir = scratch();
    let path = dir.path().join("subject-keys");
    drop(SubjectKeys::create(&path, &key()).unwrap());
    let leases: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let keys = open(&path);
                    (1..=20).flat_map(|count| keys.lease(count, 0).unwrap()).collect::<Vec<u64>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let distinct: BTreeSet<u64> = leases.iter().copied().collect();
    assert_eq!((distinct.len(), leases.len()), (840, 840));
    let keys = open(&path);
    assert_eq!(keys.lease(1, 5_000).unwrap(), 5_000..5_001);
    assert_eq!(keys.lease(1, 0).unwrap(), 5_001..5_002);
    assert!(matches!(keys.lease(1 << 40, 0), Err(VaultError::Full { .. })));
    assert!(keys.lease(u64::MAX, 0).is_err());
}

#[test]
fn hostile_files_are_refused() {
    let dir = scratch();
    let path = dir.path().join("subject-keys");
    let keys = SubjectKeys::create(&path, &key()).unwrap();
    keys.destroy(&[3], &[[9; 16]]).unwrap();
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(if whole.len() > 4_000 { 7 } else { 1 }).chain(0..96) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&path, flipped).unwrap();
        refused(&path);
        fs::write(&path, &whole[..at]).unwrap();
        assert!(matches!(refused(&path), VaultError::Damaged { .. }));
    }
    fs::write(&path, [whole.as_slice(), b"x"].concat()).unwrap();
    assert!(matches!(refused(&path), VaultError::Damaged { .. }));
    fs::write(&path, &whole).unwrap();
    let wrong = SubjectKeys::open(&path, &SubjectSealKey::generate()).err().unwrap();
    assert!(matches!(wrong, VaultError::WrongKey { which: "subject-keys", .. }));
    fs::remove_file(&path).unwrap();
    assert!(matches!(refused(&path), VaultError::NoSubjectKeys { .. }));
    assert!(matches!(keys.refresh(), Err(VaultError::NoSubjectKeys { .. })));
}

#[test]
fn an_older_copy_is_noticed_by_who_saw_a_newer_one() {
    let dir = scratch();
    let path = dir.path().join("subject-keys");
    let keys = SubjectKeys::create(&path, &key()).unwrap();
    let old = fs::read(&path).unwrap();
    keys.destroy(&[3], &[]).unwrap();
    fs::write(&path, &old).unwrap();
    let error = keys.refresh().err().unwrap();
    assert!(matches!(error, VaultError::OldSubjectKeys { .. }), "{error}");
    assert!(error.to_string().contains("restore the newest copy"));
    assert!(keys.destroy(&[4], &[]).is_err() && keys.lease(1, 0).is_err());

    fs::remove_file(&path).unwrap();
    drop(SubjectKeys::create(&path, &key()).unwrap());
    assert!(matches!(keys.refresh(), Err(VaultError::OtherSubjectKeys { .. })));
    assert!(matches!(SubjectKeys::create(&path, &key()), Err(VaultError::SubjectKeysExist { .. })));
}

#[test]
fn resealed_keys_are_the_same_and_old_copies_need_the_old_key() {
    let dir = scratch();
    let path = dir.path().join("subject-keys");
    let keys = SubjectKeys::create(&path, &key()).unwrap();
    let leaf = keys.leaf(7).unwrap().unwrap();
    assert!(!keys.is_renewal_due());
    let before = fs::read(&path).unwrap();
    keys.destroy(&[8], &[]).unwrap();
    assert!(keys.is_renewal_due() && open(&path).is_renewal_due());

    let new = [9; 32];
    let both = Versions::new([(1, key()), (2, SubjectSealKey::from_bytes(new))]).unwrap();
    let only = Versions::new([(2, SubjectSealKey::from_bytes(new))]).unwrap();
    keys.reseal(&both).unwrap();
    let sealed = fs::read(&path).unwrap();
    keys.reseal(&both).unwrap();
    assert!(sealed == fs::read(&path).unwrap(), "once is enough");
    assert!(!keys.is_renewal_due() && keys.key_version() == 2);
    assert!(matches!(refused(&path), VaultError::SubjectKeysRenewed { version: 2, .. }));
    let again = SubjectKeys::open_with(&path, &only).unwrap();
    assert_eq!(*again.leaf(7).unwrap().unwrap(), *leaf);
    assert!(again.leaf(8).unwrap().is_none());
    let head = SubjectKeysHead::read(&path).unwrap();
    assert_eq!((head.key_version, head.epoch), (2, 2));

    // What was written stays under the key that it is under, and the other process notices.
    keys.destroy(&[7], &[]).unwrap();
    assert!(again.leaf(7).unwrap().is_none() && again.is_renewal_due());
    // The copy of before, with what the ring holds now: not even who never saw the newer one opens it.
    fs::write(&path, &before).unwrap();
    let old = SubjectKeys::open_with(&path, &only).err().unwrap();
    assert!(matches!(old, VaultError::SubjectKeysRenewed { version: 1, .. }), "{old}");
    // Of another key of that version it is said as that.
    let other = Versions::new([(1, SubjectSealKey::generate())]).unwrap();
    let wrong = SubjectKeys::open_with(&path, &other).err().unwrap();
    assert!(matches!(wrong, VaultError::WrongKey { .. }), "{wrong}");
}

#[test]
fn files_of_the_format_before_are_refused() {
    let dir = scratch();
    let path = dir.path().join("subject-keys");
    drop(SubjectKeys::create(&path, &key()).unwrap());
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(refused(&path), VaultError::Version { found: 1, known: 2, .. }));
}

/// Nodes are random: what stands in the file in clear, or what a killed writer left, would be found.
#[test]
fn a_killed_writer_leaves_the_old_file_or_the_new_one() {
    let dir = scratch();
    let path = dir.path().join("subject-keys");
    let keys = SubjectKeys::create(&path, &key()).unwrap();
    // As a process does that is killed before it renames.
    fs::write(dir.path().join("subject-keys.tmp"), b"half").unwrap();
    assert!(open(&path).leaf(1).unwrap().is_some());
    keys.destroy(&[1], &[]).unwrap();
    assert!(open(&path).leaf(1).unwrap().is_none());
}
