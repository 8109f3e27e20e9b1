//! What leads back to persons, and the purposes that are asked for: decided in one place, refusals on the record first.

use cordon_access::{Action, Authorizer, Decision, Privilege, Purpose, Request};
use cordon_audit::{Event, Label};
use cordon_pipeline::error::ExitKind;
use cordon_pipeline::project::OpenProject;

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
    let action = Action::Privileged(privilege);
    let decision = project.project.grants.decide(&Request { user, purpose, dataset: about, columns: &[], action });
    if decision.allowed {
        return Ok(());
    }
    denied(project, user, Some(purpose), &format!("{privilege}: {about}"), Vec::new())?;
    Err(Failure::new(
        ExitKind::Denied,
        format!(
            "`{user}` may not {} for {}\n  help: it takes a role with `actions: [{{ allow: [{privilege}], purposes: \
             [{}] }}]` in cordon.yaml; reading tables does not imply it",
            match privilege {
                Privilege::Reveal => "ask to reveal what tokens stand for",
                Privilege::ApproveReveal => "decide about revealing tokens",
                Privilege::Shred => "ask to destroy what stands behind a token",
                Privilege::ApproveShred => "decide about destroying what stands behind tokens",
                Privilege::Translate => "ask which tokens of one recipient are which of another",
                Privilege::ApproveTranslate => "decide about translating tokens between recipients",
                Privilege::JoinRecipients => "query tables of several recipients together",
                Privilege::ReadQuarantine => "see quarantined records",
                Privilege::UnwrapKeys => "unwrap data keys",
                Privilege::Retain => "remove what is past its retention",
                Privilege::Hold => "place or release legal holds",
            },
            purpose.name(),
            purpose.name(),
        ),
    ))
}

/// What a person typed to justify an access to PHI.
pub fn check_reason(text: &str) -> Result<(), Failure> {
    if text.trim().chars().count() < 8 {
        return Err(Failure::usage("say why in `--reason`, in at least 8 characters: it goes on the record"));
    }
    Ok(())
}

pub fn denied(
    project: &OpenProject,
    user: &str,
    purpose: Option<Purpose>,
    dataset: &str,
    columns: Vec<String>,
) -> Result<(), Failure> {
    project.audit(&Event::AccessDenied {
        principal: user.to_owned(),
        purpose,
        dataset: dataset.to_owned(),
        columns,
        why: Decision::denied().why,
    })?;
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
