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
}

impl AuditMark {
    pub fn new(state: &Path, key: SealKeys) -> Self {
        Self { path: state.join("audit.sealed"), key, last: Mutex::default() }
    }

    pub fn read(&self) -> Result<Option<Anchor>, CustodyError> {
        read_sealed(&self.path, &self.key)
    }

    /// Remembers the entry. Another process may have been faster: an older mark is only a weaker one.
    pub fn raise(&self, anchor: Anchor) -> Result<(), CustodyError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if anchor.seq > *last {
            write_sealed(&self.path, &self.key, &anchor)?;
            *last = anchor.seq;
        }
        Ok(())
    }
}
