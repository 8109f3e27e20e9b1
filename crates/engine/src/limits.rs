//! How much one query may give and how long it may take.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::errors::{EngineError, QueryLimit};

/// `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryLimits {
    /// A query that would give more fails; what was given until then is not the whole.
    pub rows: Option<u64>,
    /// When the query ends at the latest, as far as somebody waits for its rows.
    pub deadline: Option<Instant>,
}

impl QueryLimits {
    /// What both allow.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let least = |one: Option<u64>, two: Option<u64>| one.into_iter().chain(two).min();
        Self { rows: least(self.rows, other.rows), deadline: self.deadline.into_iter().chain(other.deadline).min() }
    }
}

/// The limits of a query that runs.
pub(crate) struct Watch {
    limits: QueryLimits,
    given: u64,
    alarm: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Watch {
    pub(crate) fn new(limits: QueryLimits) -> Self {
        Self { limits, given: 0, alarm: None }
    }

    /// Whether the time is over; wakes the task when it will be.
    pub(crate) fn time(&mut self, context: &mut Context<'_>) -> Result<(), EngineError> {
        let Some(deadline) = self.limits.deadline else {
            return Ok(());
        };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        match (Instant::now() >= deadline, alarm.as_mut().poll(context)) {
            (false, Poll::Pending) => Ok(()),
            _ => Err(EngineError::Limit(QueryLimit::Time)),
        }
    }

    pub(crate) fn rows(&mut self, rows: usize) -> Result<(), EngineError> {
        self.given += rows as u64;
        match self.limits.rows {
            Some(limit) if self.given > limit => Err(EngineError::Limit(QueryLimit::Rows { limit })),
            _ => Ok(()),
        }
    }
}
