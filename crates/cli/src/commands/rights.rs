//! What leads back to persons, and the purposes that are asked for: decided in one place, refusals on the record first.

use cordon_access::{Principal, Privilege, Purpose};
use cordon_audit::{Event, Label};
use cordon_pipeline::project::OpenProject;
use cordon_query::rights;
pub use cordon_query::rights::denied;

use crate::ui::Failure;

/// Reads a purpose. One that does not exist is an access that was asked for and not given.
pub fn purpose(project: &OpenProject, user: &str, text: &str) -> Result<Purpose, Failure> {
    match text.parse() {
        Ok(purpose) => Ok(purpose),
        Err(error) => {
            denied(project, user, None, "*", Vec::new())?;
            Err(Failure::usage(format!("{error}")))
        }
    }
}

/// Only a role that names the privilege has it: no grant to read implies it.
pub fn require(
    project: &OpenProject,
    user: &str,
    purpose: Purpose,
    privilege: Privilege,
    about: &str,
) -> Result<(), Failure> {
    rights::require(project, &Principal::named(user), &purpose.into(), privilege, about).map_err(Failure::query)
}

/// What a person typed to justify an access to PHI.
pub fn check_reason(text: &str) -> Result<(), Failure> {
    if !rights::says_why(text) {
        return Err(Failure::usage("say why in `--reason`, in at least 8 characters: it goes on the record"));
    }
    Ok(())
}

/// Puts a look at lists and states on the record.
pub fn inspected(project: &OpenProject, what: &'static str, subject: Option<&str>) -> Result<(), Failure> {
    look(project, what, subject, None)
}

/// The same, by a user of the project.
pub fn inspected_by(
    project: &OpenProject,
    what: &'static str,
    subject: Option<&str>,
    user: &str,
) -> Result<(), Failure> {
    look(project, what, subject, Some(user))
}

fn look(project: &OpenProject, what: &'static str, subject: Option<&str>, user: Option<&str>) -> Result<(), Failure> {
    project.audit(&Event::Inspected {
        what: Label::new(what),
        subject: subject.map(str::to_owned),
        principal: user.map(str::to_owned),
        purpose: None,
    })?;
    Ok(())
}
