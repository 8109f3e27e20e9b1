//! How much may be done before an answer is given up.

/// The work would take longer than somebody may be kept waiting. What could not be worked out does not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is too much to be worked out")]
pub struct TooMuchWork;

/// Steps that may still be taken, each about a subject's part looked at.
pub(crate) struct Work(usize);

impl Work {
    pub(crate) fn new(steps: usize) -> Self {
        Self(steps)
    }

    pub(crate) fn spend(&mut self, steps: usize) -> Result<(), TooMuchWork> {
        let left = self.0.checked_sub(steps);
        self.0 = left.unwrap_or(0);
        left.map(drop).ok_or(TooMuchWork)
    }
}
