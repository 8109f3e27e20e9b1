//! Queries by more than one machine: a plan is cut into stages, and stages are carried out elsewhere.
//!
//! A stage is what one task can do by itself: read some parts of a table behind its policy, or take the rows that other stages sent it,
//! and compute what of the plan needs nothing else. Where rows have to come together by a key (joins, groups, windows), they are parted by
//! it as they are between threads of one machine, and travel sealed. What cannot be parted (the last merge, limits, scalar subqueries,
//! what draws random numbers) is computed here over what comes.
//!
//! No plan travels. An order says what was asked and as whom, in names, versions of tables and decisions, and whoever carries it out plans
//! the very same question with the very same program, and compares. So every function, mask and row filter is the one that runs here, and a
//! cluster needs to know of none.
//!
//! A task is a function of what it takes: pieces are numbered and read in one order, so that a task that is done anew sends what it sent
//! before, and one that is missing or came twice is noticed.
//!
//! Orders are sealed under the project's key, rows under a key of the query that stands in its orders: a cluster sees no row, no name of
//! a column and no literal.

mod cut;
mod exchange;
mod gather;
mod order;
mod source;
mod task;

use std::fmt;

use crate::errors::EngineError;

pub use exchange::Inputs;
pub use task::Output;

pub(crate) use cut::{Partitions, Spread};
pub(crate) use gather::Way;
pub(crate) use order::{Asked, Order};

/// Machines that carry out stages of queries. Nothing that they are given or give back is in clear.
pub trait QueryCluster: Send + Sync {
    /// Has every task of every stage carried out by [`QueryEngine::carry_out`](crate::QueryEngine::carry_out), hands what one stage sends
    /// to those that take it, and hands over what the last stage sends, while it comes: what one task sends in its order, and each task's
    /// once.
    ///
    /// Blocks. Ends early, without an error, when `goes_on` says so; it is asked often. An error of `came` ends it with that error.
    fn carry_out(
        &self,
        job: &Job,
        goes_on: &(dyn Fn() -> bool + Sync),
        came: &mut dyn FnMut(Piece) -> Result<(), EngineError>,
    ) -> Result<(), EngineError>;
}

/// Stages that depend on each other; the last one's rows come back.
#[derive(Clone)]
pub struct Job {
    pub stages: Vec<JobStage>,
}

/// What tasks do, each by itself.
#[derive(Clone)]
pub struct JobStage {
    /// What is to be done, sealed; the same for all its tasks.
    pub order: Vec<u8>,
    /// Earlier stages whose pieces its tasks take, each those of its number. Where there are none, tasks read tables.
    pub inputs: Vec<usize>,
    /// How many tasks there are. Each is to be carried out; each has pieces to take where its stage takes some.
    pub tasks: u32,
}

/// Rows on their way, sealed.
pub struct Piece {
    /// The task that takes it or, of the last stage, the one that sent it.
    pub task: u32,
    /// What it is for the one that takes it.
    pub side: u32,
    pub sealed: Vec<u8>,
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece({}, {}, {} bytes)", self.task, self.side, self.sealed.len())
    }
}
