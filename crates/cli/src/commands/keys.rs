//! `cordon keys status|rotate-root|unwrap-dek`

use std::io::Read;
use std::process::ExitCode;

use cordon_access::Privilege;
use cordon_audit::{Event, KeyOperationKind, Outcome as RecordedOutcome};
use cordon_pipeline::project::OpenProject;
use cordon_vault::keyring::{KeyRing, RootSecret};
use zeroize::Zeroizing;

use super::{Outcome, Place, rights};
use crate::args::KeysCommand;
use crate::ui::{Failure, Ui};

pub fn keys(ui: &Ui, place: &Place, command: KeysCommand) -> Outcome {
    match command {
        KeysCommand::Status => {
            let project = place.open()?;
            rights::inspected(&project, "key status", None)?;
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
            let mut project = place.open()?;
            let (new, config) = match (new_key_file, new_passphrase_env) {
                (Some(path), None) => {
                    // Against the project, as `keys.root` is read.
                    let path = project.root.join(path);
                    if !path.exists() {
                        KeyRing::generate_key_file(&path)?;
                    }
                    let written = path.strip_prefix(&project.root).unwrap_or(&path);
                    let config = format!("{{ key-file: {} }}", written.display());
                    (RootSecret::KeyFile(path), config)
                }
                (None, Some(name)) => {
                    let passphrase = std::env::var(&name).unwrap_or_default();
                    if passphrase.is_empty() {
                        return Err(Failure::usage(format!("the environment variable `{name}` holds no passphrase")));
                    }
                    let config = format!("{{ passphrase-env: {name} }}");
                    (RootSecret::Passphrase(Zeroizing::new(passphrase)), config)
                }
                _ => {
                    return Err(Failure::usage(
                        "say the new root: `--new-key-file FILE` or `--new-passphrase-env NAME`",
                    ));
                }
            };
            let record = |project: &OpenProject, outcome| {
                project.audit(&Event::KeyOperation {
                    what: KeyOperationKind::RootRotated,
                    key_ids: project.key_ids(),
                    outcome,
                })
            };
            record(&project, RecordedOutcome::Begun)?;
            if let Err(error) = project.ring.rotate_root(&new) {
                record(&project, RecordedOutcome::Failed)?;
                return Err(error.into());
            }
            record(&project, RecordedOutcome::Done)?;
            ui.object(&serde_json::json!({ "rotated": true, "root": config }));
            ui.say(format!(
                "All keys are wrapped under the new root. Write  root: {config}  in cordon.yaml, then destroy the old one."
            ));
            Ok(ExitCode::SUCCESS)
        }
        KeysCommand::UnwrapDek { master_key, user, purpose } => unwrap_dek(ui, place, &master_key, &user, &purpose),
    }
}

/// A reader outside this program gets a data key only where a role names that right: the key opens its columns past all
/// grants. Each attempt is on the record before a key leaves.
fn unwrap_dek(ui: &Ui, place: &Place, master_key: &str, user: &str, purpose: &str) -> Outcome {
    let project = place.open_as(user)?;
    let purpose = rights::purpose(&project, user, purpose)?;
    let about = format!("master key {master_key}");
    rights::require(&project, user, purpose, Privilege::UnwrapKeys, &about)?;
    let mut wrapped = String::new();
    std::io::stdin()
        .take(4096)
        .read_to_string(&mut wrapped)
        .map_err(|_| Failure::usage("the wrapped key on standard input is not text"))?;
    let key = project.ring.master_keys().unwrap_key(wrapped.trim(), master_key);
    project.audit(&Event::DekUnwrapped {
        principal: user.to_owned(),
        purpose,
        dataset: "*".to_owned(),
        master_key_id: master_key.to_owned(),
        keys: u64::from(key.is_ok()),
        outcome: if key.is_ok() { RecordedOutcome::Done } else { RecordedOutcome::Failed },
    })?;
    let key = Zeroizing::new(data_encoding::BASE64.encode(&key?));
    if ui.json() {
        ui.object(&serde_json::json!({ "key": *key }));
    } else {
        ui.result(&key);
    }
    Ok(ExitCode::SUCCESS)
}
