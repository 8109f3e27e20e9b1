//! Disks that are full or may not be written to.

use std::{path::Path, process::Command};

use cordon_phi::TokenError;

use crate::{open, same, tokens, try_open, try_tokens};

/// A file system of its own, gone when dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(at: &'a Path, options: &str) -> Option<Self> {
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

fn mount(how: &[&str], at: &Path) -> bool {
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
