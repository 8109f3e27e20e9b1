//! Documents that are changed in place: HL7 v2, X12, C-CDA.
//!
//! A format's walk meets values and says for each what is done with it ([`Settled`]). What stays is not touched, byte for
//! byte. What one rule touches in a whole batch is gathered into one column, the kernel that serves tables runs over it
//! once, and its results go back to their places as [`Change`]s of spans, which the format splices in its own spelling.
//!
//! A format adds its language of paths, its dictionary of types and its walk; the rest is here.

mod plan;
mod rules;

use std::collections::BTreeMap;

use arrow_array::RecordBatch;

pub(crate) use plan::{Change, Done, Person, Plan, Replacement, SeedBy};
pub(crate) use rules::{Issue, Rule, Rules};

pub use crate::fhir::FailureReason;

/// What came of a batch of documents. It holds what the policy lets out, and nothing else.
pub struct DocumentOutput {
    /// Rows by table.
    pub tables: Vec<(String, RecordBatch)>,
    /// Documents that made it into the tables.
    pub documents: u64,
    /// Documents that a rule could not handle, by their number in the batch; these are in no table.
    pub failures: Vec<DocumentFailure>,
    /// What was left out because no rule names it, by place: never a value, and `?` for names that the format does not know.
    pub undeclared: BTreeMap<String, u64>,
}

/// A document that is in no table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentFailure {
    /// Its number in the batch.
    pub index: usize,
    pub path: String,
    pub reason: FailureReason,
}
