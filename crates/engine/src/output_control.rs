//! Tables of which only statistics may leave.
//!
//! A query over such a table is cut in two at its aggregate. What stands below is checked against an allow-list ([`shape`], [`allowed`]) and
//! run so that each group's subjects are known; of the groups only those leave that [`cordon_risk`] lets pass ([`release`]). What stands
//! above (HAVING, ORDER BY, LIMIT, further aggregates) is run over what was released and never sees anything else, so it can be anything. What
//! cannot be proven to fit is refused, and no query is altered. Groups that may not leave are absent and not blank: the values that a small
//! group is grouped by are values of few persons too.

pub(crate) mod allowed;
pub(crate) mod release;
pub(crate) mod shape;
mod subject;
mod total;

use std::fmt;
use std::sync::{Arc, OnceLock};

use cordon_crypto::KeyedHash;
use cordon_risk::{Partition, Rules};

use crate::errors::EngineError;

pub(crate) use subject::{HIDDEN, subject_column, with_subject};

/// Arrow field metadata: `true` for the column that says whose a row is.
pub const SUBJECT_METADATA: &str = "cordon.subject";

/// How a table's statistics are controlled.
#[derive(Clone)]
pub struct OutputControl {
    pub rules: Rules,
    /// What counts are rounded to.
    pub rounding: Option<u32>,
    /// Subjects are remembered by it, never by their tokens.
    pub subjects: KeyedHash,
    pub memory: Arc<dyn ReleaseMemory>,
}

/// What was released before to whoever asks.
pub trait ReleaseMemory: Send + Sync {
    /// Durable when it returns: after that the release leaves. An error keeps it back.
    fn admit(&self, release: Vec<Partition>, smallest: usize) -> Result<(), EngineError>;
}

impl fmt::Debug for OutputControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputControl")
            .field("rules", &self.rules)
            .field("rounding", &self.rounding)
            .finish_non_exhaustive()
    }
}

/// The rule under which a query's answer stands: to be told to whoever asks, with every answer, since whether it withheld anything says
/// something of those who were withheld.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputRule {
    pub smallest: usize,
    pub rounding: Option<u32>,
}

/// What was withheld: for the record and not for whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withheld {
    pub released: usize,
    /// Groups that are sensitive themselves.
    pub sensitive: usize,
    /// Groups that would have given these away.
    pub complements: usize,
}

/// Filled when the release was decided on.
pub(crate) type Outcome = Arc<OnceLock<Withheld>>;

pub(crate) fn refused(reason: &'static str) -> EngineError {
    EngineError::Disclosure { kind: "output control", reason }
}
