#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use cordon_keystore::KeyStoreError;
use tempfile::TempDir;

use super::*;

const NOW: &str = "2026-11-23T12:00:00Z";
const CHEAP: Argon2Params = Argon2Params { memory_kib: 64, passes: 1, lanes: 1 };

/// Wraps under a key that it keeps, for the ring that it is told, and counts versions.
struct MemoryStore {
    place: Place,
    keys: Vec<[u8; 32]>,
    /// Says yes, and gives another key.
    lies: bool,
}

impl MemoryStore {
    fn new(keys: &[[u8; 32]]) -> Self {
        let place = Place { kind: "memory", key: "k".to_owned(), at: "here".to_owned() };
        Self { place, keys: keys.to_vec(), lies: false }
    }

    fn secret(keys: &[[u8; 32]]) -> RootSecret {
        RootSecret::Store(Arc::new(Self::new(keys)))
    }

    fn wrong(&self) -> KeyStoreError {
        KeyStoreError { place: Arc::new(self.place.clone()), trouble: cordon_keystore::Trouble::WrongKey }
    }
}

impl KeyStore for MemoryStore {
    fn place(&self) -> &Place {
        &self.place
    }

    fn wrap(&self, key: &[u8; 32], ring: &str) -> Result<String, KeyStoreError> {
        let sealed = cordon_crypto::seal(self.keys.last().unwrap(), ring.as_bytes(), key).unwrap();
        Ok(format!("{}:{}", self.keys.len(), data_encoding::BASE64.encode(&sealed)))
    }

    fn unwrap(&self, wrapped: &str, ring: &str) -> Result<Zeroizing<[u8; 32]>, KeyStoreError> {
        let (version, sealed) = wrapped.split_once(':').ok_or_else(|| self.wrong())?;
        let index = version.parse::<usize>().map_err(|_| self.wrong())?.wrapping_sub(1);
        let key = self.keys.get(index).ok_or_else(|| self.wrong())?;
        let sealed = data_encoding::BASE64.decode(sealed.as_bytes()).map_err(|_| self.wrong())?;
        let opened = cordon_crypto::open(key, ring.as_bytes(), &sealed).map_err(|_| self.wrong())?;
        let mut out = Zeroizing::new([0; 32]);
        out.copy_from_slice(&opened);
        out[0] ^= u8::from(self.lies);
        Ok(out)
    }

    fn status(&self, wrapped: &str) -> Result<StoreStatus, KeyStoreError> {
        let version = wrapped.split_once(':').map(|(version, _)| version.to_owned());
        Ok(StoreStatus { version, newest: Some(self.keys.len().to_string()), about: String::new() })
    }
}

struct Scratch {
    dir: TempDir,
}

impl Scratch {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    fn ring(&self) -> PathBuf {
        self.dir.path().join("keyring.json")
    }

    fn key_file(&self, name: &str) -> RootSecret {
        let path = self.dir.path().join(name);
        KeyRing::generate_key_file(&path).unwrap();
        RootSecret::KeyFile(path)
    }

    fn with_key_file() -> (Self, RootSecret, KeyRing) {
        let scratch = Self::new();
        let root = scratch.key_file("root.key");
        let ring = KeyRing::create(&scratch.ring(), &root, NOW).unwrap();
        (scratch, root, ring)
    }

    fn with_store() -> (Self, RootSecret, KeyRing) {
        let scratch = Self::new();
        let root = MemoryStore::secret(&[[7; 32]]);
        let ring = KeyRing::create(&scratch.ring(), &root, NOW).unwrap();
        (scratch, root, ring)
    }

    fn with_passphrase() -> (Self, RootSecret, KeyRing) {
        let scratch = Self::new();
        let root = RootSecret::passphrase("correct horse");
        let ring = KeyRing::create_with(&scratch.ring(), &root, NOW, CHEAP).unwrap();
        (scratch, root, ring)
    }
}

/// Every key of the ring, for comparison.
fn all(ring: &KeyRing) -> Vec<[u8; 32]> {
    ring.keys.iter().map(|key| **key).collect()
}

#[track_caller]
fn refused(result: Result<KeyRing, KeyRingError>) -> KeyRingError {
    match result {
        Ok(_) => panic!("opened"),
        Err(error) => error,
    }
}

#[test]
fn what_is_made_opens_again() {
    for (scratch, root, ring) in [Scratch::with_key_file(), Scratch::with_passphrase(), Scratch::with_store()] {
        let again = KeyRing::open(&scratch.ring(), &root).unwrap();
        assert!(all(&ring) == all(&again));
        assert_eq!(ring.id(), again.id());
        assert_eq!(ring.status(), again.status());
        assert_eq!(ring.status()[0].created, NOW);
        assert_eq!(fs::metadata(scratch.ring()).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn every_purpose_has_a_key_of_its_own() {
    let (_scratch, _, ring) = Scratch::with_key_file();
    let exposed = [
        *ring.key::<BlindIndexKey>().unwrap().dangerous_expose(),
        *ring.key::<VaultKey>().unwrap().dangerous_expose(),
        *ring.key::<DateShiftKey>().unwrap().dangerous_expose(),
        *ring.key::<SurrogateKey>().unwrap().dangerous_expose(),
        *ring.key::<HashKey>().unwrap().dangerous_expose(),
        *ring.key::<FpeKey>().unwrap().dangerous_expose(),
        *ring.key::<SealKey>().unwrap().dangerous_expose(),
        *ring.key::<AuditSealKey>().unwrap().dangerous_expose(),
        *ring.key::<cordon_crypto::SubjectSealKey>().unwrap().dangerous_expose(),
        *ring.key::<AuditSigningSeed>().unwrap().dangerous_expose(),
    ];
    assert_eq!(exposed.iter().collect::<BTreeSet<_>>().len(), exposed.len());
    assert_eq!(all(&ring).iter().collect::<BTreeSet<_>>().len(), exposed.len() + 4);
    assert!(matches!(ring.key::<RootKey>(), Err(KeyRingError::NoKey { purpose: "root" })));
    assert!(ring.key::<TableMasterKey>().is_err());
    let seed = ring.key::<AuditSigningSeed>().unwrap();
    assert_eq!(ring.audit_signing_key().unwrap().verifying_key(), SigningKey::for_audit(&seed).verifying_key());
}

#[test]
fn master_keys_wrap_for_the_same_ring_and_id_only() {
    let (scratch, root, ring) = Scratch::with_key_file();
    let (_other, _, stranger) = Scratch::with_key_file();
    let again = KeyRing::open(&scratch.ring(), &root).unwrap();
    for id in ["cordon-footer.v1", "cordon-direct.v1", "cordon-quasi.v1", "cordon-clinical.v1"] {
        let wrapped = ring.master_keys().wrap_key(&[5; 32], id).unwrap();
        assert_eq!(*again.master_keys().unwrap_key(&wrapped, id).unwrap(), [5; 32]);
        assert!(stranger.master_keys().unwrap_key(&wrapped, id).is_err());
    }
    assert!(matches!(
        ring.master_keys().wrap_key(&[5; 32], "cordon-footer"),
        Err(CryptoError::UnknownMasterKey { .. })
    ));
}

#[test]
fn a_wrong_secret_is_told_from_damage() {
    let (scratch, _, _) = Scratch::with_passphrase();
    let error = refused(KeyRing::open(&scratch.ring(), &RootSecret::passphrase("incorrect horse")));
    assert!(matches!(error, KeyRingError::WrongPassphrase { .. }), "{error}");
    let error = refused(KeyRing::open(&scratch.ring(), &scratch.key_file("k")));
    assert!(matches!(error, KeyRingError::OtherRoot { .. }), "{error}");

    let (scratch, _, _) = Scratch::with_key_file();
    let error = refused(KeyRing::open(&scratch.ring(), &scratch.key_file("other.key")));
    assert!(matches!(error, KeyRingError::WrongKeyFile { .. }));
    assert!(error.to_string().contains("other.key"), "{error}");
    let error = refused(KeyRing::open(&scratch.ring(), &RootSecret::passphrase("correct horse")));
    assert!(matches!(error, KeyRingError::OtherRoot { .. }), "{error}");
}

#[test]
fn a_damaged_salt_is_damage_and_not_a_wrong_passphrase() {
    let (scratch, root, ring) = Scratch::with_passphrase();
    let mut file = ring.file.clone();
    let file::RingFile { root: root::Root::Passphrase { salt, .. }, .. } = &mut file else {
        panic!("a passphrase");
    };
    *salt = data_encoding::BASE64.encode(&[0; 16]);
    fs::write(scratch.ring(), file.to_bytes().unwrap()).unwrap();
    let error = refused(KeyRing::open(&scratch.ring(), &root));
    assert!(matches!(error, KeyRingError::Damaged { .. }), "{error}");
}

#[test]
fn a_damaged_key_says_which() {
    let (scratch, root, _) = Scratch::with_key_file();
    let text = fs::read_to_string(scratch.ring()).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (index, name) in [(1, "vault"), (10, "cordon-footer.v1")] {
        let good = json["keys"][index]["wrapped"].clone();
        let other = json["keys"][2]["wrapped"].clone();
        json["keys"][index]["wrapped"] = other; // a good one, of another entry
        fs::write(scratch.ring(), json.to_string()).unwrap();
        let error = refused(KeyRing::open(&scratch.ring(), &root)).to_string();
        assert!(error.contains(name), "{error}");
        json["keys"][index]["wrapped"] = good;
    }
    fs::write(scratch.ring(), json.to_string()).unwrap();
    assert!(KeyRing::open(&scratch.ring(), &root).is_ok(), "blanks do not matter");

    let entries = json["keys"].as_array_mut().unwrap();
    entries.pop();
    fs::write(scratch.ring(), json.to_string()).unwrap();
    let error = refused(KeyRing::open(&scratch.ring(), &root));
    assert!(matches!(error, KeyRingError::Damaged { .. }), "{error}");
}

/// Any byte changed: refused, or the same keys (blanks between the fields). Never other keys. Of a ring with a
/// passphrase only the head is other than of a ring with a key file.
#[test]
fn no_changed_byte_gives_other_keys() {
    let cases = [
        (Scratch::with_key_file(), None),
        (Scratch::with_passphrase(), Some("\"keys\"")),
        (Scratch::with_store(), Some("\"keys\"")),
    ];
    for ((scratch, root, ring), end) in cases {
        let good = fs::read(scratch.ring()).unwrap();
        let text = str::from_utf8(&good).unwrap();
        let end = end.map_or(good.len(), |end| text.find(end).unwrap());
        let mut refused = 0;
        for at in 0..end {
            let mut damaged = good.clone();
            damaged[at] ^= [0x01, 0x20, 0x80, 0x02][at % 4];
            match KeyRing::from_bytes(&scratch.ring(), damaged, &root) {
                Ok(opened) => {
                    assert!(good[at].is_ascii_whitespace(), "byte {at}");
                    assert!(all(&opened) == all(&ring) && opened.status() == ring.status());
                }
                Err(KeyRingError::WrongPassphrase { .. } | KeyRingError::WrongKeyFile { .. }) => {
                    panic!("damage of byte {at} was taken for a wrong secret")
                }
                Err(_) => refused += 1,
            }
        }
        assert!(refused > end / 2);
        for length in 0..good.len() - 2 {
            fs::write(scratch.ring(), &good[..length]).unwrap();
            assert!(KeyRing::open(&scratch.ring(), &root).is_err(), "cut at {length}");
        }
    }
}

#[test]
fn a_ring_is_never_replaced_by_a_new_one() {
    let (scratch, root, _) = Scratch::with_key_file();
    let before = fs::read(scratch.ring()).unwrap();
    let error = refused(KeyRing::create(&scratch.ring(), &root, NOW));
    assert!(matches!(error, KeyRingError::Exists { .. }), "{error}");
    assert_eq!(fs::read(scratch.ring()).unwrap(), before);
    let error = refused(KeyRing::open(&scratch.dir.path().join("none.json"), &root));
    assert!(matches!(error, KeyRingError::Missing { .. }), "{error}");
}

#[test]
fn a_new_root_keeps_the_keys_and_shuts_out_the_old() {
    let (scratch, old, mut ring) = Scratch::with_key_file();
    let (keys, status) = (all(&ring), ring.status());
    let new = RootSecret::passphrase("another horse");
    ring.rotate_root_with(&new, CHEAP).unwrap();
    let opened = KeyRing::open(&scratch.ring(), &new).unwrap();
    assert!(all(&opened) == keys && opened.status() == status);
    assert!(all(&ring) == keys);
    assert!(KeyRing::open(&scratch.ring(), &old).is_err());
    // And back, by the ring that rotated.
    ring.rotate_root(&old).unwrap();
    assert!(all(&KeyRing::open(&scratch.ring(), &old).unwrap()) == keys);
    assert_eq!(fs::read_dir(scratch.dir.path()).unwrap().count(), 2, "ring and key file only");
}

#[test]
fn a_rotation_that_is_killed_leaves_the_old_ring_or_the_new() {
    let (scratch, old, ring) = Scratch::with_key_file();
    let new = scratch.key_file("new.key");
    let (_, written) = ring.under_root(&new, CHEAP).unwrap();
    let opens = |root: &RootSecret| KeyRing::open(&scratch.ring(), root).is_ok();

    // Killed while the new one was written beside the old: a piece of it is left lying there.
    let left = scratch.dir.path().join(".keyring.json.new");
    fs::write(&left, &written[..written.len() / 2]).unwrap();
    assert!(opens(&old) && !opens(&new));

    let replacement = atomic::Replacement::prepare(&scratch.ring(), &written, Some(&ring.written)).unwrap();
    assert_eq!(fs::read(&left).unwrap(), written);
    assert!(opens(&old) && !opens(&new));
    replacement.commit().unwrap();
    assert!(!opens(&old) && opens(&new));
    assert!(!left.exists());
}

#[test]
fn a_ring_that_somebody_else_rotated_is_not_overwritten() {
    let (scratch, root, mut ring) = Scratch::with_key_file();
    let mut other = KeyRing::open(&scratch.ring(), &root).unwrap();
    let (theirs, ours) = (scratch.key_file("theirs.key"), scratch.key_file("ours.key"));
    other.rotate_root(&theirs).unwrap();
    assert!(matches!(ring.rotate_root(&ours), Err(KeyRingError::Changed { .. })));
    assert!(KeyRing::open(&scratch.ring(), &theirs).is_ok());
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let (scratch, root, _) = Scratch::with_key_file();
    let RootSecret::KeyFile(path) = &root else { panic!("a key file") };
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    for mode in [0o640, 0o604, 0o620, 0o602, 0o644, 0o777] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let error = refused(KeyRing::open(&scratch.ring(), &root));
        assert!(matches!(error, KeyRingError::KeyFilePermissions { .. }), "{mode:o}: {error}");
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        assert!(KeyRing::open(&scratch.ring(), &root).is_ok(), "{mode:o}");
    }
}

#[test]
fn what_is_not_a_key_file_is_refused_and_a_key_file_is_never_replaced() {
    let (scratch, root, _) = Scratch::with_key_file();
    let RootSecret::KeyFile(path) = &root else { panic!("a key file") };
    assert!(matches!(KeyRing::generate_key_file(path), Err(KeyRingError::Exists { .. })));
    let good = fs::read_to_string(path).unwrap();
    for bad in ["", "\n", &good[1..], &format!("0{good}"), &format!("{good}\n"), &good.replacen(&good[..1], "g", 1)] {
        fs::write(path, bad).unwrap();
        let error = refused(KeyRing::open(&scratch.ring(), &root));
        assert!(matches!(error, KeyRingError::NotAKeyFile { .. }), "{error}");
    }
    for as_good in [good.trim_end(), &good.to_uppercase(), &good.replace('\n', "\r\n")] {
        fs::write(path, as_good).unwrap();
        assert!(KeyRing::open(&scratch.ring(), &root).is_ok());
    }
    fs::remove_file(path).unwrap();
    let error = refused(KeyRing::open(&scratch.ring(), &root));
    assert!(error.to_string().contains("root.key"), "{error}");
    let directory = RootSecret::KeyFile(scratch.dir.path().to_owned());
    assert!(KeyRing::open(&scratch.ring(), &directory).is_err());
}

#[test]
fn a_short_passphrase_is_refused() {
    let scratch = Scratch::new();
    let root = RootSecret::passphrase("7 chars");
    let error = refused(KeyRing::create_with(&scratch.ring(), &root, NOW, CHEAP));
    assert!(matches!(error, KeyRingError::PassphraseTooShort { .. }), "{error}");
    assert!(!scratch.ring().exists());
}

#[test]
fn another_version_is_not_called_damage() {
    let (scratch, root, _) = Scratch::with_key_file();
    let text = fs::read_to_string(scratch.ring()).unwrap();
    fs::write(scratch.ring(), text.replacen("\"version\": 1", "\"version\": 2", 1)).unwrap();
    let error = refused(KeyRing::open(&scratch.ring(), &root));
    assert!(matches!(error, KeyRingError::Version { found: 2, .. }), "{error}");
}

#[test]
fn a_store_opens_the_ring_that_it_wrapped_and_no_other() {
    let (scratch, _, ring) = Scratch::with_store();
    let error = refused(KeyRing::open(&scratch.ring(), &MemoryStore::secret(&[[8; 32]])));
    assert!(
        matches!(&error, KeyRingError::Store { error, .. }
        if error.trouble == cordon_keystore::Trouble::WrongKey),
        "{error}"
    );
    let error = refused(KeyRing::open(&scratch.ring(), &RootSecret::passphrase("correct horse")));
    assert!(matches!(error, KeyRingError::OtherRoot { needed: "key store", .. }), "{error}");
    let text = fs::read_to_string(scratch.ring()).unwrap();
    assert!(all(&ring).iter().all(|key| !text.contains(&data_encoding::HEXLOWER.encode(key))));

    // A root of another ring of the same store, put here with checksum and all.
    let (other, root, _) = Scratch::with_store();
    let stranger = file::RingFile::parse(&other.ring(), &fs::read(other.ring()).unwrap()).unwrap();
    let mut moved = ring.file.clone();
    moved.root = stranger.root;
    moved.wrap(&RootKey::generate(), &ring.keys).unwrap();
    fs::write(scratch.ring(), moved.to_bytes().unwrap()).unwrap();
    assert!(matches!(refused(KeyRing::open(&scratch.ring(), &root)), KeyRingError::Store { .. }));
}

#[test]
fn a_store_that_gives_another_key_is_found_when_wrapping_and_when_opening() {
    let lying = RootSecret::Store(Arc::new(MemoryStore { lies: true, ..MemoryStore::new(&[[7; 32]]) }));
    let (scratch, _, mut ring) = Scratch::with_store();
    assert!(matches!(refused(KeyRing::open(&scratch.ring(), &lying)), KeyRingError::WrongRoot { .. }));
    let before = fs::read(scratch.ring()).unwrap();
    assert!(matches!(ring.rotate_root(&lying), Err(KeyRingError::Store { .. })));
    assert_eq!(fs::read(scratch.ring()).unwrap(), before);
    let fresh = Scratch::new();
    assert!(KeyRing::create(&fresh.ring(), &lying, NOW).is_err() && !fresh.ring().exists());
}

#[test]
fn a_root_moves_to_a_newer_version_to_another_kind_and_back() {
    let (scratch, _, ring) = Scratch::with_store();
    let keys = all(&ring);
    let rotated = MemoryStore::secret(&[[7; 32], [9; 32]]);
    let mut ring = KeyRing::open(&scratch.ring(), &rotated).unwrap();
    let status = ring.stored_root().unwrap().unwrap().status;
    assert_eq!((status.version.as_deref(), status.newest.as_deref()), (Some("1"), Some("2")));
    assert!(ring.renew_root().unwrap());
    assert_eq!(ring.stored_root().unwrap().unwrap().status.version.as_deref(), Some("2"));
    assert!(KeyRing::open(&scratch.ring(), &MemoryStore::secret(&[[7; 32]])).is_err());

    ring.rotate_root(&scratch.key_file("root.key")).unwrap();
    assert!(ring.stored_root().unwrap().is_none() && ring.root_place().is_none() && !ring.renew_root().unwrap());
    assert!(KeyRing::open(&scratch.ring(), &rotated).is_err());
    ring.rotate_root(&rotated).unwrap();
    assert!(all(&KeyRing::open(&scratch.ring(), &rotated).unwrap()) == keys);
}

fn next(ring: &KeyRing) -> Vec<KeyVersion> {
    ROTATED.iter().flat_map(|purpose| ring.next_versions(purpose).unwrap()).collect()
}

#[test]
fn a_rotation_adds_versions_and_keeps_the_old_ones() {
    let (scratch, root, mut ring) = Scratch::with_key_file();
    let before = all(&ring);
    let wanted = next(&ring);
    assert_eq!(wanted.len(), 8);
    assert!(wanted.iter().all(|key| key.version == 2));
    ring.rotate(&root, &wanted, "2027-01-01T00:00:00Z").unwrap();

    let again = KeyRing::open(&scratch.ring(), &root).unwrap();
    for ring in [&ring, &again] {
        assert_eq!(all(ring)[..before.len()], before, "what was there stays");
        let seal = ring.versions::<SealKey>().unwrap();
        assert_eq!(seal.newest(), 2);
        assert_eq!(seal.first_key().dangerous_expose(), &before_of(&before, ring, "seal"));
        assert_eq!(ring.newest_master_key("cordon-direct").unwrap(), "cordon-direct.v2");
        assert_eq!(ring.audit_signing_keys().unwrap().verifying_keys().len(), 2);
        assert_eq!(ring.newest().iter().filter(|key| key.created.starts_with("2027")).count(), 8);
        // A wrapped data key of before, and one of now.
        let masters = ring.master_keys();
        for id in ["cordon-quasi.v1", "cordon-quasi.v2"] {
            let wrapped = masters.wrap_key(&[3; 32], id).unwrap();
            assert_eq!(*masters.unwrap_key(&wrapped, id).unwrap(), [3; 32]);
        }
    }
    let (one, two) = (ring.versions::<SealKey>().unwrap(), again.versions::<SealKey>().unwrap());
    assert_eq!(one.newest_key().dangerous_expose(), two.newest_key().dangerous_expose());
    assert_ne!(one.newest_key().dangerous_expose(), one.first_key().dangerous_expose());
}

/// The key of a purpose as the ring held it first.
fn before_of(before: &[[u8; 32]], ring: &KeyRing, purpose: &str) -> [u8; 32] {
    let at = ring.status().iter().position(|key| key.purpose == purpose && key.version == 1).unwrap();
    before[at]
}

#[test]
fn a_rotation_can_be_repeated_and_two_do_not_mix() {
    let (scratch, root, mut ring) = Scratch::with_key_file();
    let mut other = KeyRing::open(&scratch.ring(), &root).unwrap();
    let wanted = next(&ring);
    ring.rotate(&root, &wanted, NOW).unwrap();
    let after = all(&ring);
    ring.rotate(&root, &wanted, NOW).unwrap();
    assert_eq!(all(&ring), after, "repeated, nothing is added");
    assert!(matches!(other.rotate(&root, &wanted, NOW), Err(KeyRingError::Changed { .. })));
    assert_eq!(all(&KeyRing::open(&scratch.ring(), &root).unwrap()), after);

    let skipped = KeyVersion { version: 9, ..wanted[0].clone() };
    assert!(matches!(ring.rotate(&root, &[skipped], NOW), Err(KeyRingError::NotRotated { .. })));
    for purpose in ["hash", "fpe", "date-shift", "surrogate", "moon"] {
        assert!(matches!(ring.next_versions(purpose), Err(KeyRingError::NotRotated { .. })), "{purpose}");
        let wanted = KeyVersion { purpose: purpose.to_owned(), id: purpose.to_owned(), version: 2 };
        assert!(matches!(ring.rotate(&root, &[wanted], NOW), Err(KeyRingError::NotRotated { .. })), "{purpose}");
    }
    let wrong = RootSecret::passphrase("not the root of this ring");
    assert!(ring.rotate(&wrong, &next(&ring), NOW).is_err());
    assert_eq!(all(&KeyRing::open(&scratch.ring(), &root).unwrap()), after);
}

#[test]
fn the_keys_of_the_vault_have_versions_in_pairs() {
    let (_scratch, root, mut ring) = Scratch::with_key_file();
    let wanted: Vec<KeyVersion> = REKEYED.iter().flat_map(|purpose| ring.next_versions(purpose).unwrap()).collect();
    assert_eq!(wanted.len(), 2);
    assert!(REKEYED.iter().all(|purpose| why_not_rotated(purpose).is_some_and(|why| why.contains("vault rekey"))));
    // One of the two alone is no version.
    ring.rotate(&root, &wanted[..1], NOW).unwrap();
    assert_eq!(ring.vault_keys().unwrap().iter().map(|(version, _)| *version).collect::<Vec<_>>(), [1]);
    ring.rotate(&root, &wanted, NOW).unwrap();
    let both = ring.vault_keys().unwrap();
    assert!(both.len() == 2 && both[0].1.blind.dangerous_expose() != both[1].1.blind.dangerous_expose());
}

#[test]
fn old_versions_go_and_the_newest_and_the_naming_ones_stay() {
    let (scratch, root, mut ring) = Scratch::with_key_file();
    for _ in 0..2 {
        let wanted = next(&ring);
        ring.rotate(&root, &wanted, NOW).unwrap();
    }
    let version = |id: &str, version| {
        let key = ring.status().into_iter().find(|key| key.id == id).unwrap();
        KeyVersion { version, ..key.key_version() }
    };
    let kept = [version("seal", 1), version("audit-seal", 1), version("seal", 3), version("cordon-footer", 3)];
    let leaving = [version("seal", 2), version("cordon-footer", 1), version("audit-signing", 1)];
    for kept in &kept {
        let refused = ring.retire(&root, std::slice::from_ref(kept));
        assert!(matches!(refused, Err(KeyRingError::NotRetired { .. })), "{}", kept.name());
    }
    let before = ring.status().len();
    ring.retire(&root, &leaving).unwrap();
    ring.retire(&root, &leaving).unwrap();
    let again = KeyRing::open(&scratch.ring(), &root).unwrap();
    assert_eq!((ring.status().len(), again.status().len()), (before - 3, before - 3));
    let seal: Vec<u32> = again.versions::<SealKey>().unwrap().iter().map(|(version, _)| version).collect();
    assert_eq!(seal, [1, 3]);
    assert!(again.master_keys().wrap_key(&[1; 32], "cordon-footer.v1").is_err());
    // And under another root they are the same.
    let mut again = again;
    let new = RootSecret::KeyFile(scratch.ring().with_file_name("new.key"));
    KeyRing::generate_key_file(&scratch.ring().with_file_name("new.key")).unwrap();
    again.rotate_root(&new).unwrap();
    assert_eq!(all(&KeyRing::open(&scratch.ring(), &new).unwrap()), all(&ring));
}
