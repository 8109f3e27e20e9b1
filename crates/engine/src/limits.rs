//! How much one query may give, how long it may take, and for how long whoever asked may see it.

use std::pin::Pin;
use std::sync::Arc;
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

/// Whether what was decided when a query began still holds. Asked before each batch of rows leaves, so it is quick.
pub type StillAllowed = Arc<dyn Fn() -> bool + Send + Sync>;

/// The limits of a query that runs.
pub(crate) struct Watch {
    limits: QueryLimits,
    allowed: Option<StillAllowed>,
    given: u64,
    alarm: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Watch {
    pub(crate) fn new(limits: QueryLimits, allowed: Option<StillAllowed>) -> Self {
        Self { limits, allowed, given: 0, alarm: None }
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

    /// Whether so many more rows may leave.
    pub(crate) fn rows(&mut self, rows: usize) -> Result<(), EngineError> {
        if self.allowed.as_ref().is_some_and(|allowed| !allowed()) {
            return Err(EngineError::Revoked);
        }
        self.given += rows as u64;
        match self.limits.rows {
            Some(limit) if self.given > limit => Err(EngineError::Limit(QueryLimit::Rows { limit })),
            _ => Ok(()),
        }
    }
}
