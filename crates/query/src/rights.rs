//! What leads back to persons takes an action of its own; a refusal is on the record before it is told.

use cordon_access::{Decision, Principal, Privilege, Purpose, PurposeOfUse};
use cordon_audit::{DeniedToo, Event};
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
    denied_all(project, user, purpose, vec![DeniedToo { dataset: dataset.to_owned(), columns }])
}

/// The same of all that one question asked for: one entry, however many they are. Of nothing it is `_`.
pub fn denied_all(
    project: &OpenProject,
    user: &str,
    purpose: Option<Purpose>,
    mut all: Vec<DeniedToo>,
) -> Result<(), RunError> {
    let others = all.split_off(all.len().min(1));
    let first = all.pop().unwrap_or_else(|| DeniedToo { dataset: "_".to_owned(), columns: Vec::new() });
    project.audit(&Event::AccessDenied {
        principal: user.to_owned(),
        purpose,
        dataset: first.dataset,
        columns: first.columns,
        why: Decision::denied().why,
        others,
    })?;
    Ok(())
}

/// Whether a reason that a person typed is long enough to say something.
pub fn says_why(reason: &str) -> bool {
    reason.trim().chars().count() >= 8
}
