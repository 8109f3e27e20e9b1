//! Disks that are full or may not be written to.

use std::{path::Path, process::Command, sync::Arc};

use cordon_phi::{Dossiers as _, Identifier, IdentifierKind, IdentityStore as _, KnownFacts, TokenError, Whose};
use cordon_vault::{DossierOptions, DossierStore};

use crate::{name, open, same, scratch, tokens, try_open, try_tokens};

/// A file system of its own, gone when dropped.
pub(crate) struct Mounted<'a>(pub &'a Path);

impl<'a> Mounted<'a> {
    pub fn new(at: &'a Path, options: &str) -> Option<Self> {
        let mounted = mount(&["-t", "tmpfs", "-o", options, "tmpfs"], at);
        if !mounted {
            eprintln!("skipped: cannot mount a small file system here (needs root)");
        }
        mounted.then_some(Self(at))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

pub(crate) fn mount(how: &[&str], at: &Path) -> bool {
    Command::new("mount").args(how).arg(at).status().is_ok_and(|status| status.success())
}

#[test]
fn a_full_disk_is_said_and_survived() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::new(home.path(), "size=600k,mode=700") else {
        return;
    };
    let dir = disk.0.join("vault");
    let vault = open(&dir);
    let mut known = Vec::new();
    let full = loop {
        let from = known.len() as u64;
        match try_tokens(&vault, "mrn", from..from + 100) {
            Ok(new) => known.extend(new),
            Err(error) => break error,
        }
        assert!(known.len() < 100_000, "the disk does not fill");
    };
    assert!(matches!(&full, TokenError::Unavailable(_)), "{full}");
    assert!(full.to_string().contains("No space left"), "{full}");
    // What was known is still known, and in a new process too.
    same(&tokens(&vault, "mrn", 0..known.len() as u64), &known);
    assert!(try_tokens(&vault, "mrn", [999_999]).is_err() || known.len() > 1_000);

    // Room again: it goes on as if nothing had been.
    assert!(mount(&["-o", "remount,size=8m"], disk.0));
    let more = tokens(&vault, "mrn", 0..known.len() as u64 + 1_000);
    same(&more[..known.len()], &known);
    vault.verify().unwrap();
    drop(vault);
    let vault = open(&dir);
    same(&tokens(&vault, "mrn", 0..more.len() as u64), &more);
    vault.verify().unwrap();
}

#[test]
fn a_folder_that_may_not_be_written_is_said_at_once() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::new(home.path(), "size=4m,mode=700") else {
        return;
    };
    let dir = disk.0.join("vault");
    tokens(&open(&dir), "mrn", [1]);
    assert!(mount(&["-o", "remount,ro"], disk.0));
    let error = try_open(&dir).err().unwrap().to_string();
    assert!(error.contains("cannot open for writing") && error.contains("lock"), "{error}");
}

#[test]
fn people_are_linked_and_merged_when_there_is_room_again() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::new(home.path(), "size=400k,mode=700") else {
        return;
    };
    let vault = open(&disk.0.join("vault"));
    // Two people each, who turn out to be one at once.
    let link = |n: u64| {
        let values = [n * 2, n * 2 + 1].map(name);
        let [one, other] = values.each_ref().map(|value| Identifier { namespace: "mrn", value: value.as_bytes() });
        let mut out = Vec::new();
        vault.link(&[one, other], &[1, 2], &mut out)?;
        vault.link(&[other, one], &[2], &mut out).map(|linked| (out[2], linked.merged))
    };
    let mut known = Vec::new();
    let full = loop {
        match link(known.len() as u64) {
            Ok((token, merged)) => {
                assert_eq!(merged, 1);
                known.push(token.unwrap());
            }
            Err(error) => break error,
        }
        assert!(known.len() < 100_000, "the disk does not fill");
    };
    assert!(matches!(&full, TokenError::Unavailable(_)) && full.to_string().contains("No space left"), "{full}");
    assert!(mount(&["-o", "remount,size=8m"], disk.0));
    let (last, _) = link(known.len() as u64).unwrap();
    known.push(last.unwrap());
    vault.verify().unwrap();
    for vault in [&vault, &open(&disk.0.join("vault"))] {
        for first in [0, 1] {
            same(&tokens(vault, "mrn", (0..known.len() as u64).map(|n| n * 2 + first)), &known);
        }
        assert_eq!(vault.merges().unwrap(), known.len() as u64);
    }
}

#[test]
fn dossiers_survive_a_full_disk() {
    let (home, place) = (scratch(), tempfile::tempdir().unwrap());
    let Some(disk) = Mounted::new(place.path(), "size=300k,mode=700") else {
        return;
    };
    let vault = Arc::new(open(&home.path().join("vault")));
    let people = tokens(&vault, "mrn", 0..500);
    let options = DossierOptions { memory_bytes: 24 << 10, fan_in: 3 };
    let open = || DossierStore::open(&disk.0.join("dossiers"), Arc::clone(&vault), options.clone()).unwrap();
    let store = open();
    let add = |from: usize| {
        let mut facts = KnownFacts::default();
        for n in from..from + 100 {
            facts.push(IdentifierKind::Name, Whose::Subject, &name(n as u64));
        }
        let subjects: Vec<_> = (from..from + 100).map(|n| people[n % 500]).collect();
        store.add(&subjects, &facts)?;
        Ok(store.sync()?)
    };
    let mut added = 0;
    let full: TokenError = loop {
        match add(added) {
            Ok(()) => added += 100,
            Err(error) => break error,
        }
        assert!(added < 100_000, "the disk does not fill");
    };
    assert!(matches!(&full, TokenError::Unavailable(_)) && full.to_string().contains("No space left"), "{full}");
    let count = |store: &DossierStore| {
        let mut out = Vec::new();
        store.known(&people, &mut out).unwrap();
        out.iter().map(KnownFacts::len).sum::<usize>()
    };
    // What could not be written is kept in memory, and goes to disk when there is room.
    assert_eq!(count(&store), added + 100);
    assert!(mount(&["-o", "remount,size=8m"], disk.0));
    add(added).unwrap();
    assert_eq!(count(&store), added + 100);
    assert_eq!(count(&open()), added + 100);
    open().verify().unwrap();
}
