//! How far the audit log had come, kept outside of its folder: a log that was put back to an older copy does not reach it.
//!
//! Whoever can put back this file too is found only by an anchor kept elsewhere.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cordon_audit::Anchor;
use cordon_crypto::SealKeys;

use crate::error::CustodyError;
use crate::sealed::{read_sealed, write_sealed};

/// The last entry that this project has seen on the record.
pub struct AuditMark {
    path: PathBuf,
    key: SealKeys,
    /// Threads write one after the other, and never an older entry over a newer one.
    last: Mutex<u64>,
    /// The newest that a thread wants remembered, so that one writes for all who wait.
    wanted: Mutex<Option<Anchor>>,
}

impl AuditMark {
    pub fn new(state: &Path, key: SealKeys) -> Self {
        Self { path: state.join("audit.sealed"), key, last: Mutex::default(), wanted: Mutex::default() }
    }

    pub fn read(&self) -> Result<Option<Anchor>, CustodyError> {
        read_sealed(&self.path, &self.key)
    }

    /// Remembers the entry. Another process may have been faster: an older mark is only a weaker one.
    pub fn raise(&self, anchor: Anchor) -> Result<(), CustodyError> {
        let newest = |wanted: &mut Option<Anchor>| {
            let newer = wanted.filter(|wanted| wanted.seq > anchor.seq).unwrap_or(anchor);
            *wanted = Some(newer);
            newer
        };
        newest(&mut self.wanted.lock().unwrap_or_else(PoisonError::into_inner));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if anchor.seq > *last {
            let newest = newest(&mut self.wanted.lock().unwrap_or_else(PoisonError::into_inner));
            write_sealed(&self.path, &self.key, &newest)?;
            *last = newest.seq;
        }
        Ok(())
    }
}
