//! `cordon keys status|rotate-root|unwrap-dek`

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use cordon_access::Privilege;
use cordon_audit::{Event, KeyOperationKind, Outcome as RecordedOutcome, StoreUse};
use cordon_pipeline::config::RootSection;
use cordon_pipeline::project::{OpenProject, parse_root};
use cordon_vault::keyring::{KeyRing, KeyRingError, RootSecret, StoredRoot};
use zeroize::Zeroizing;

use super::{Outcome, Place, ask_passphrase, rights};
use crate::args::KeysCommand;
use crate::ui::{Failure, Ui};

pub fn keys(ui: &Ui, place: &Place, command: KeysCommand) -> Outcome {
    match command {
        KeysCommand::Status => {
            let project = place.open()?;
            rights::inspected(&project, "key status", None)?;
            let status = project.ring.status();
            let stored = project.ring.stored_root()?;
            let root = stored.iter().map(|root| {
                serde_json::json!({
                    "purpose": "root", "id": root.place.to_string(), "store": root.place.kind, "key": root.place.key,
                    "at": root.place.at, "version": root.status.version, "newest": root.status.newest,
                    "about": root.status.about,
                })
            });
            let keys = status.iter().map(|key| {
                serde_json::json!({
                    "purpose": key.purpose, "id": key.id, "version": key.version, "created": key.created,
                })
            });
            ui.object(&root.chain(keys).collect::<Vec<_>>());
            let root = stored.iter().map(|root| {
                let version = root.status.version.clone().unwrap_or_default();
                vec!["root".to_owned(), format!("{}, {}", root.place, root.status.about), version, String::new()]
            });
            let keys = status
                .iter()
                .map(|key| vec![key.purpose.clone(), key.id.clone(), key.version.to_string(), key.created.clone()]);
            ui.table(&["purpose", "key", "version", "made"], root.chain(keys));
            if let Some(newest) = stored.iter().find_map(StoredRoot::outdated) {
                ui.hint(format!(
                    "The store has version {newest} of its key: `cordon keys rotate-root` wraps the root under it."
                ));
            }
            Ok(ExitCode::SUCCESS)
        }
        KeysCommand::RotateRoot { new_key_file, new_passphrase_env, new_root } => {
            let mut project = place.open()?;
            let (new, config) = match (new_key_file, new_passphrase_env, new_root) {
                (None, None, Some(text)) => {
                    let root = parse_root(&text, "--new-root")?;
                    if let RootSection::KeyFile(path) = &root {
                        make_key_file(&project.root.join(path))?;
                    }
                    (project.project.secret_of(&root, &ask_passphrase)?, text.trim().to_owned())
                }
                (None, None, None) if project.ring.root_place().is_some() => return renew(ui, project),
                (Some(path), None, None) => {
                    // Against the project, as `keys.root` is read.
                    let path = project.root.join(path);
                    make_key_file(&path)?;
                    let written = path.strip_prefix(&project.root).unwrap_or(&path);
                    let config = format!("{{ key-file: {} }}", written.display());
                    (RootSecret::KeyFile(path), config)
                }
                (None, Some(name), None) => {
                    let passphrase = std::env::var(&name).unwrap_or_default();
                    if passphrase.is_empty() {
                        return Err(Failure::usage(format!("the environment variable `{name}` holds no passphrase")));
                    }
                    let config = format!("{{ passphrase-env: {name} }}");
                    (RootSecret::Passphrase(Zeroizing::new(passphrase)), config)
                }
                _ => {
                    return Err(Failure::usage(
                        "say the new root: `--new-key-file FILE`, `--new-passphrase-env NAME` or `--new-root '{ … }'`",
                    ));
                }
            };
            rotated(&mut project, |ring| ring.rotate_root(&new))?;
            ui.object(&serde_json::json!({ "rotated": true, "root": config }));
            ui.say(format!(
                "All keys are wrapped under the new root. Write  root: {config}  in cordon.yaml, then destroy the old one."
            ));
            Ok(ExitCode::SUCCESS)
        }
        KeysCommand::UnwrapDek { master_key, user, purpose } => unwrap_dek(ui, place, &master_key, &user, &purpose),
    }
}

fn make_key_file(path: &Path) -> Result<(), Failure> {
    if !path.exists() {
        KeyRing::generate_key_file(path)?;
    }
    Ok(())
}

/// The same key in the same store, its newest version.
fn renew(ui: &Ui, mut project: OpenProject) -> Outcome {
    rotated(&mut project, |ring| ring.renew_root().map(drop))?;
    let version = project.ring.stored_root()?.and_then(|root| root.status.version);
    let place = project.ring.root_place().map(ToString::to_string).unwrap_or_default();
    ui.object(&serde_json::json!({ "rotated": true, "root": place, "version": version }));
    let version = version.map(|version| format!(", version {version}")).unwrap_or_default();
    ui.say(format!("All keys are wrapped under a new root, and that by {place}{version}. cordon.yaml stays as it is."));
    Ok(ExitCode::SUCCESS)
}

/// On the record before and after.
fn rotated(
    project: &mut OpenProject,
    rotate: impl FnOnce(&mut KeyRing) -> Result<(), KeyRingError>,
) -> Result<(), Failure> {
    let record = |project: &OpenProject, outcome| {
        project.audit(&Event::KeyOperation { what: KeyOperationKind::RootRotated, key_ids: project.key_ids(), outcome })
    };
    record(project, RecordedOutcome::Begun)?;
    if let Err(error) = rotate(&mut project.ring) {
        record(project, RecordedOutcome::Failed)?;
        return Err(error.into());
    }
    project.record_store_use(StoreUse::Wrapped)?;
    record(project, RecordedOutcome::Done)?;
    Ok(())
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
    let key = project.project.masters(&project.ring)?.unwrap_key(wrapped.trim(), master_key);
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
