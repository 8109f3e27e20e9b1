//! `cordon keys status|rotate-root|unwrap-dek`

use std::io::Read;
use std::process::ExitCode;

use cordon_access::{Action, Authorizer, Decision, Purpose, Request};
use cordon_audit::{Event, KeyOperationKind};
use cordon_pipeline::error::ExitKind;
use cordon_pipeline::project::OpenProject;
use cordon_vault::keyring::{KeyRing, RootSecret};
use zeroize::Zeroizing;

use super::{Outcome, Place, ask_passphrase};
use crate::args::KeysCommand;
use crate::ui::{Failure, Ui};

pub fn keys(ui: &Ui, place: &Place, command: KeysCommand) -> Outcome {
    match command {
        KeysCommand::Status => {
            let project = place.open()?;
            let status = project.ring.status();
            let objects: Vec<_> = status
                .iter()
                .map(|key| {
                    serde_json::json!({
                        "purpose": key.purpose, "id": key.id, "version": key.version, "created": key.created,
                    })
                })
                .collect();
            ui.object(&objects);
            ui.table(
                &["purpose", "key", "version", "made"],
                status
                    .iter()
                    .map(|key| vec![key.purpose.clone(), key.id.clone(), key.version.to_string(), key.created.clone()]),
            );
            Ok(ExitCode::SUCCESS)
        }
        KeysCommand::RotateRoot { new_key_file, new_passphrase_env } => {
            let new = match (new_key_file, new_passphrase_env) {
                (Some(path), None) => {
                    if !path.exists() {
                        KeyRing::generate_key_file(&path)?;
                    }
                    RootSecret::KeyFile(path)
                }
                (None, Some(name)) => {
                    let passphrase = std::env::var(&name).unwrap_or_default();
                    if passphrase.is_empty() {
                        return Err(Failure::usage(format!("the environment variable `{name}` holds no passphrase")));
                    }
                    RootSecret::Passphrase(Zeroizing::new(passphrase))
                }
                _ => {
                    return Err(Failure::usage(
                        "say the new root: `--new-key-file FILE` or `--new-passphrase-env NAME`",
                    ));
                }
            };
            let project = place.open()?;
            project.audit(&Event::KeyOperation { what: KeyOperationKind::RootRotated, key_ids: project.key_ids() })?;
            let plain = place.project()?;
            let mut ring = KeyRing::open(&plain.keyring_path(), &plain.root_secret(&ask_passphrase)?)?;
            ring.rotate_root(&new)?;
            ui.object(&serde_json::json!({ "rotated": true }));
            ui.say("All keys are wrapped under the new root. Change `keys.root` in cordon.yaml to it, then destroy the old one.");
            Ok(ExitCode::SUCCESS)
        }
        KeysCommand::UnwrapDek { master_key, user, purpose } => unwrap_dek(ui, place, &master_key, &user, &purpose),
    }
}

/// A reader outside this program gets a data key only where a grant lets its user read at all; each key is on the record.
fn unwrap_dek(ui: &Ui, place: &Place, master_key: &str, user: &str, purpose: &str) -> Outcome {
    let purpose: Purpose = purpose.parse().map_err(|error| Failure::usage(format!("{error}")))?;
    let project = place.open_as(user)?;
    if !may_read_everything(&project, user, purpose)? {
        project.audit(&Event::AccessDenied {
            principal: user.to_owned(),
            purpose: Some(purpose),
            dataset: format!("master key {master_key}"),
            columns: Vec::new(),
            why: Decision::denied().why,
        })?;
        return Err(Failure::new(
            ExitKind::Denied,
            format!(
                "`{user}` may not unwrap data keys for {}: a master key opens columns of every table, and a grant on all of them is needed",
                purpose.name()
            ),
        ));
    }
    let mut wrapped = String::new();
    std::io::stdin()
        .take(4096)
        .read_to_string(&mut wrapped)
        .map_err(|_| Failure::usage("the wrapped key on standard input is not text"))?;
    let key = project.ring.master_keys().unwrap_key(wrapped.trim(), master_key)?;
    project.audit(&Event::DekUnwrapped {
        principal: user.to_owned(),
        dataset: "*".to_owned(),
        master_key_id: master_key.to_owned(),
        keys: 1,
    })?;
    ui.result(&data_encoding::BASE64.encode(&key));
    Ok(ExitCode::SUCCESS)
}

/// Whether the user's grants for the purpose open every column of every table.
pub fn may_read_everything(project: &OpenProject, user: &str, purpose: Purpose) -> Result<bool, Failure> {
    let tables = project.tables().tables()?;
    for table in &tables {
        let Some(version) = project.tables().current(table)? else { continue };
        let names: Vec<&str> = version.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let request = Request { user, purpose, dataset: table, columns: &names, action: Action::Read };
        let decision = project.project.grants.decide(&request);
        if !decision.allowed || decision.columns.len() != names.len() {
            return Ok(false);
        }
    }
    Ok(!tables.is_empty())
}
