//! Rows, and how it went with them.

use arrow_schema::SchemaRef;
use cordon_engine::{EngineError, OutputRule, QueryStream, StillAllowed, Withheld};
use cordon_pipeline::error::engine_exit;

use crate::QueryError;
use crate::asked::Asked;
use crate::questions::blocking;

/// A question that is on the record, and its rows.
pub struct Answer {
    rows: QueryStream,
    record: Record,
    rule: Option<OutputRule>,
}

/// The rows of an answer. Its errors hold no value.
pub type Rows = QueryStream;

impl Answer {
    pub(crate) fn new(rows: QueryStream, mut record: Record, rule: Option<OutputRule>) -> Self {
        record.withheld = Some(Box::new(rows.withheld()));
        Self { rows, record, rule }
    }

    /// The rule under which the answer stands, where only aggregates may leave: to be told with it.
    pub fn output_rule(&self) -> Option<OutputRule> {
        self.rule
    }

    pub fn schema(&self) -> &SchemaRef {
        self.rows.schema()
    }

    /// The rows, and what has to be told when they are where they were to go.
    pub fn into_parts(self) -> (Rows, Record) {
        (self.rows, self.record)
    }
}

/// What is still to be written about a question: how it ended. Where nobody says it, because whoever asked went away, that is what is
/// written.
pub struct Record {
    asked: Option<Asked>,
    withheld: Option<Box<dyn Fn() -> Option<Withheld> + Send>>,
    allowed: StillAllowed,
}

impl Record {
    pub(crate) fn new(asked: Asked, allowed: StillAllowed) -> Self {
        Self { asked: Some(asked), withheld: None, allowed }
    }

    /// Whether the asker may see still what was computed: to be asked by whoever hands out rows some time after they came.
    pub fn still_allowed(&self) -> bool {
        (self.allowed)()
    }

    /// So many rows have left by now: where it ends early, that is on the record.
    pub fn left(&mut self, rows: u64) {
        if let Some(asked) = &mut self.asked {
            asked.left(rows);
        }
    }

    /// It was ended by whoever answers, for this reason.
    pub async fn ended(mut self, why: &'static str) -> Result<(), QueryError> {
        match self.asked.take() {
            Some(asked) => blocking(move || Ok(asked.failed(why)?)).await,
            None => Ok(()),
        }
    }

    /// The question's name in the audit log.
    pub fn id(&self) -> &str {
        self.asked.as_ref().map_or("", Asked::id)
    }

    /// All rows are where they were to go.
    pub async fn finished(mut self, rows: u64) -> Result<(), QueryError> {
        let withheld = self.withheld.as_ref().and_then(|withheld| withheld());
        match self.asked.take() {
            Some(asked) => blocking(move || Ok(asked.finished(rows, withheld)?)).await,
            None => Ok(()),
        }
    }

    /// The rows ended with an error, which comes back for whoever asked; a record that could not be written comes in its place.
    pub async fn failed(mut self, error: EngineError) -> QueryError {
        let what = engine_exit(&error).0;
        let written = match self.asked.take() {
            Some(asked) => blocking(move || Ok(asked.failed(what)?)).await,
            None => Ok(()),
        };
        written.err().unwrap_or(QueryError::Engine(error))
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // It writes that it was abandoned, and that takes a moment. A runtime that is being shut down drops what waits for a thread.
        if let (Some(asked), Ok(runtime)) = (self.asked.take(), tokio::runtime::Handle::try_current()) {
            drop(runtime.spawn_blocking(move || drop(asked)));
        }
    }
}
