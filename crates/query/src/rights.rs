//! What leads back to persons takes an action of its own; a refusal is on the record before it is told.

use cordon_access::{Decision, Principal, Privilege, Purpose, PurposeOfUse};
use cordon_audit::Event;
use cordon_pipeline::error::RunError;
use cordon_pipeline::project::OpenProject;

use crate::QueryError;

/// Only a role that names the privilege has it: no grant to read implies it.
pub fn require(
    project: &OpenProject,
    principal: &Principal,
    usage: &PurposeOfUse,
    privilege: Privilege,
    about: &str,
) -> Result<(), QueryError> {
    if project.may(principal, usage, privilege, about) {
        return Ok(());
    }
    let (user, purpose) = (&principal.name, usage.purpose);
    denied(project, user, Some(purpose), &format!("{privilege}: {about}"), Vec::new())?;
    Err(QueryError::NoRight { user: user.clone(), privilege, purpose })
}

/// Puts on the record that something was asked for and not given.
pub fn denied(
    project: &OpenProject,
    user: &str,
    purpose: Option<Purpose>,
    dataset: &str,
    columns: Vec<String>,
) -> Result<(), RunError> {
    project.audit(&Event::AccessDenied {
        principal: user.to_owned(),
        purpose,
        dataset: dataset.to_owned(),
        columns,
        why: Decision::denied().why,
    })?;
    Ok(())
}

/// Whether a reason that a person typed is long enough to say something.
pub fn says_why(reason: &str) -> bool {
    reason.trim().chars().count() >= 8
}
