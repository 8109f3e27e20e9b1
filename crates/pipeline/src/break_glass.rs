//! Accesses in emergencies, and that somebody else looks at each.
//!
//! Whoever asks for the purpose `emergency` gives a reason, gets at once what grants open for it, and is on this list until another
//! person has closed it (164.312(a)(2)(ii), 164.308(a)(1)(ii)(D)). The list follows from the audit log alone.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use cordon_access::same_user;
use cordon_audit::{Entry, Event, ReviewOutcome, WriterInfo};
use serde::{Deserialize, Serialize};

use crate::error::RunError;
use crate::from_log::FromLog;
use crate::project::OpenProject;

/// One query that was asked in an emergency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmergencyAccess {
    /// The query's name in the audit log.
    pub query: String,
    pub principal: String,
    pub at: DateTime<Utc>,
    pub reason: String,
    pub datasets: Vec<String>,
    /// `None` while nobody has closed it.
    pub review: Option<Review>,
    /// The operating system's user behind it.
    os_user: String,
}

/// What another person found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    pub by: String,
    pub at: DateTime<Utc>,
    pub outcome: ReviewOutcome,
    pub reason: String,
}

/// Why somebody may not close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReviewed {
    #[error("there is no such access in an emergency\n  help: `cordon access review` lists those that are open")]
    Absent,
    #[error("it was reviewed already\n  help: `cordon access review --all` says by whom")]
    Closed,
    #[error("nobody reviews an access of their own\n  help: another person with the action `review-access` must")]
    Own,
    #[error(
        "the access was made by the same user of the operating system\n  help: another person must review it, from an \
         account of their own (`access.reveal.system-users-apart`)"
    )]
    SameSystemUser,
}

/// By query, in the order in which they were asked.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Emergencies {
    accesses: Vec<EmergencyAccess>,
    by_query: BTreeMap<String, usize>,
}

impl FromLog for Emergencies {
    const FILE: &'static str = "emergencies.sealed";

    fn apply(&mut self, entry: &Entry) -> bool {
        match &entry.event {
            Event::BreakGlass { query, principal, reason, datasets } => {
                self.by_query.insert(query.clone(), self.accesses.len());
                self.accesses.push(EmergencyAccess {
                    query: query.clone(),
                    principal: principal.clone(),
                    at: entry.time,
                    reason: reason.clone(),
                    datasets: datasets.clone(),
                    review: None,
                    os_user: entry.writer.principal.os_user.clone(),
                });
                true
            }
            Event::BreakGlassReviewed { query, principal, outcome, reason } => {
                let access = self.by_query.get(query).and_then(|at| self.accesses.get_mut(*at));
                // The first one counts.
                let Some(access) = access.filter(|access| access.review.is_none()) else { return false };
                let (by, reason) = (principal.clone(), reason.clone());
                access.review = Some(Review { by, at: entry.time, outcome: *outcome, reason });
                true
            }
            _ => false,
        }
    }
}

impl EmergencyAccess {
    /// Open for longer than the project allows.
    pub fn is_overdue(&self, within: TimeDelta, now: DateTime<Utc>) -> bool {
        self.review.is_none() && now - self.at > within
    }
}

impl OpenProject {
    /// All accesses in emergencies, the oldest first.
    pub fn emergencies(&self) -> Result<Vec<EmergencyAccess>, RunError> {
        Ok(self.read_from_log::<Emergencies>()?.accesses)
    }

    /// Within what time they are to be reviewed.
    pub fn review_within(&self) -> TimeDelta {
        TimeDelta::seconds(self.project.file.access.break_glass.review_within.seconds() as i64)
    }

    /// Closes one. Whoever calls this has checked the right to.
    pub fn review_emergency(
        &self,
        query: &str,
        by: &str,
        outcome: ReviewOutcome,
        reason: &str,
    ) -> Result<Result<(), NotReviewed>, RunError> {
        let accesses = self.emergencies()?;
        let Some(access) = accesses.iter().find(|access| access.query == query) else {
            return Ok(Err(NotReviewed::Absent));
        };
        let os_user = WriterInfo::for_user(by).principal.os_user;
        let refused = if same_user(&access.principal, by) {
            Some(NotReviewed::Own)
        } else if self.project.file.access.reveal.system_users_apart && access.os_user == os_user {
            Some(NotReviewed::SameSystemUser)
        } else {
            access.review.is_some().then_some(NotReviewed::Closed)
        };
        if let Some(refused) = refused {
            return Ok(Err(refused));
        }
        self.audit(&Event::BreakGlassReviewed {
            query: query.to_owned(),
            principal: by.to_owned(),
            outcome,
            reason: reason.to_owned(),
        })?;
        Ok(Ok(()))
    }
}
