//! What a run tells while it works: counts and names of datasets, never a value or a file's content.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counters that every worker adds to and the display reads.
#[derive(Clone, Default)]
pub struct Meter {
    /// Bytes of input passed, as they stand on disk.
    pub bytes: Arc<AtomicU64>,
    pub rows: Arc<AtomicU64>,
    pub quarantined: Arc<AtomicU64>,
    /// Set from outside: the run stops at the next batch and can be resumed.
    pub stop: Arc<AtomicBool>,
}

impl Meter {
    pub fn add_rows(&self, count: usize) {
        self.rows.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub fn add_quarantined(&self, count: u64) {
        self.quarantined.fetch_add(count, Ordering::Relaxed);
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Ends what watches some work, however the work ends.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What happens in a run, for whoever shows it.
pub enum Progress<'a> {
    /// Files to read and their bytes; what is done already is not counted.
    Planned {
        files: usize,
        bytes: u64,
        unchanged: usize,
    },
    /// A resumed run takes over what an interrupted one had finished.
    Resumed {
        units: usize,
    },
    /// Files are read for who their people are.
    Learning {
        dataset: &'a str,
        files: usize,
    },
    Reading {
        dataset: &'a str,
        files: usize,
    },
    /// A dataset's fields that the policy does not name; they do not pass.
    Undeclared {
        dataset: &'a str,
        fields: &'a [String],
    },
    /// A file was refused as a whole.
    Refused {
        file: &'a str,
        reason: &'a str,
    },
    Committed {
        table: &'a str,
        version: u64,
        rows: u64,
    },
}
