//! `cordon keys status|rotate|rewrap|retire|rotate-root|unwrap-dek`

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use cordon_access::Privilege;
use cordon_audit::{Event, KeyOperationKind, Outcome as RecordedOutcome, StoreUse};
use cordon_pipeline::config::RootSection;
use cordon_pipeline::project::{OpenProject, parse_root};
use cordon_pipeline::rotate::{self, KeysInUse, RotateStep, Rotation, StoredUse, VersionUse};
use cordon_vault::keyring::{
    KeyRing, KeyRingError, KeyStatus, KeyVersion, ROTATED, RootSecret, StoredRoot, why_not_rotated,
};
use zeroize::Zeroizing;

use super::{Outcome, Place, ask_passphrase, os_user, rights};
use crate::args::KeysCommand;
use crate::ui::{Failure, Ui};

pub fn keys(ui: &Ui, place: &Place, command: KeysCommand) -> Outcome {
    match command {
        KeysCommand::Status => status(ui, place),
        KeysCommand::Rotate { purpose, all } => rotate_keys(ui, place, &purpose, all),
        // Of no purpose: nothing new is made.
        KeysCommand::Rewrap => rotate_keys(ui, place, &[], false),
        KeysCommand::Retire => {
            let (mut project, root) = open_with_root(place)?;
            let retired = rotate::retire(&mut project, &root)?;
            ui.object(&serde_json::json!({ "retired": retired }));
            ui.say(match retired.as_slice() {
                [] => "No old version can go: files stand under each of them, or it is kept (`cordon keys status`)."
                    .to_owned(),
                gone => format!("Removed from the key ring: {}", gone.join(", ")),
            });
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

fn status(ui: &Ui, place: &Place) -> Outcome {
    let project = place.open()?;
    rights::inspected(&project, "key status", None)?;
    // The ring is told also where a table's store cannot be asked.
    let (in_use, uncounted) = match rotate::key_use(&project) {
        Ok(keys) => (keys, None),
        Err(error) => (rotate::uncounted(&project), Some(error)),
    };
    let KeysInUse { ring: keys, stored: masters, subject_keys_due } = in_use;
    let stored = project.ring.stored_root()?;
    let pending = project.interrupted_rotation()?;
    let now = rotate::today();
    let age = |key: &KeyStatus| {
        chrono::DateTime::parse_from_rfc3339(&key.created).ok().map(|made| (now - made.to_utc()).num_days().max(0))
    };
    let is_due = |version: &VersionUse| {
        version.is_newest
            && why_not_rotated(&version.key.purpose).is_none()
            && project.project.rotate_after.zip(age(&version.key)).is_some_and(|(most, age)| age >= i64::from(most))
    };
    let root = stored.iter().map(|root| {
        serde_json::json!({
            "purpose": "root", "id": root.place.to_string(), "store": root.place.kind, "key": root.place.key,
            "at": root.place.at, "version": root.status.version, "newest": root.status.newest,
            "about": root.status.about,
        })
    });
    let objects = keys.iter().map(|version| {
        let VersionUse { key, is_newest, files, inside } = version;
        serde_json::json!({
            "purpose": key.purpose, "id": key.id, "version": key.version, "created": key.created,
            "is_newest": is_newest, "files": files, "inside": inside, "age_days": age(key), "due": is_due(version),
            "rotates": why_not_rotated(&key.purpose).is_none(),
        })
    });
    let in_store = masters.iter().map(|master| {
        serde_json::json!({
            "purpose": "table-master", "id": master.key, "store": master.store, "version": master.version,
            "newest": master.newest, "is_newest": master.version == master.newest, "allowed": master.is_allowed,
            "files": master.files, "inside": master.inside,
        })
    });
    ui.object(&root.chain(objects).chain(in_store).collect::<Vec<_>>());
    let root = stored.iter().map(|root| {
        let version = root.status.version.clone().unwrap_or_default();
        let place = format!("{}, {}", root.place, root.status.about);
        vec!["root".to_owned(), place, version, String::new(), String::new()]
    });
    let rows = keys.iter().map(|version| {
        let VersionUse { key, is_newest, files, inside } = version;
        let files = match files {
            Some(files) if *is_newest => files.to_string(),
            Some(files) if *inside > 0 => format!("{files}, read only, {inside} with keys inside"),
            Some(files) => format!("{files}, read only"),
            None => String::new(),
        };
        vec![key.purpose.clone(), key.id.clone(), key.version.to_string(), key.created.clone(), files]
    });
    let kept = masters.iter().map(|master| {
        let StoredUse { key, version, newest, files, inside, .. } = master;
        let about = match (version == newest, inside) {
            (true, _) => String::new(),
            (false, 0) => ", read only".to_owned(),
            (false, inside) => format!(", read only, {inside} with keys inside"),
        };
        vec![
            "table-master".to_owned(),
            format!("{key}, in a store"),
            version.to_string(),
            String::new(),
            format!("{files}{about}"),
        ]
    });
    ui.table(&["purpose", "key", "version", "made", "files"], root.chain(rows).chain(kept));
    if let Some(newest) = stored.iter().find_map(StoredRoot::outdated) {
        ui.hint(format!(
            "The store has version {newest} of its key: `cordon keys rotate-root` wraps the root under it."
        ));
    }
    if let Some(error) = uncounted {
        ui.hint(format!("Files were not counted: {error}"));
    }
    if let Some(plan) = pending {
        ui.hint(format!("A rotation was interrupted: `cordon keys rotate --all` carries it on ({}).", plan.told()));
    }
    if let Some(versions) = project.interrupted_rekey()? {
        ui.hint(format!(
            "New keys for the vault were begun: `cordon vault rekey` carries it on ({}).",
            versions.join(", ")
        ));
    }
    if subject_keys_due {
        ui.hint(
            "Somebody was destroyed since the subject keys came under their key: `cordon keys rotate --purpose subject-keys` makes copies \
             from before useless.",
        );
    }
    older_masters(ui, &keys, &masters);
    let due: Vec<String> = keys.iter().filter(|version| is_due(version)).map(|version| version.key.name()).collect();
    if !due.is_empty() {
        let most = project.project.rotate_after.unwrap_or_default();
        ui.hint(format!(
            "Older than {most} days, by `keys.rotate-after`: {}. `cordon keys rotate --all`",
            due.join(", ")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// What still stands under older master keys, and what changes that.
fn older_masters(ui: &Ui, keys: &[VersionUse], masters: &[StoredUse]) {
    let in_ring = keys.iter().filter(|version| version.key.purpose == "table-master" && !version.is_newest);
    let in_store = masters.iter().filter(|master| master.version != master.newest);
    let older: Vec<(u64, u64)> = in_ring
        .map(|version| (version.files.unwrap_or_default(), version.inside))
        .chain(in_store.clone().map(|master| (master.files, master.inside)))
        .collect();
    if older.iter().any(|(files, inside)| files > inside) {
        ui.hint(
            "Key material beside files is under older master keys: `cordon keys rewrap` wraps it under the newest.",
        );
    }
    if older.iter().any(|(_, inside)| *inside > 0) {
        ui.hint(
            "Files with their keys inside stay under their master keys until they are written again: when their source or their policy \
             changes, or `cordon retain` takes rows from them. With `storage.encryption: { key-material: external }` new files need no \
             rewriting.",
        );
    }
    for master in masters.iter().filter(|master| !master.is_allowed && master.files > 0) {
        ui.hint(format!(
            "{}: version {} is not to be used any more, and {} file(s) are under it: allow it again, `cordon keys rewrap`, retire it then.",
            master.store, master.version, master.files
        ));
    }
    for master in masters.iter().filter(|master| master.version == master.newest && master.newest > 1) {
        let is_free = in_store.clone().all(|older| older.key != master.key || older.files == 0);
        if is_free {
            ui.hint(format!("{}: nothing is under versions before {}.", master.store, master.newest));
        }
    }
}

/// With what opens the ring, for who replaces it.
pub(super) fn open_with_root(place: &Place) -> Result<(OpenProject, RootSecret), Failure> {
    let project = place.project()?;
    let root = project.root_secret(&ask_passphrase)?;
    Ok((project.open_with(&root, &os_user())?, root))
}

fn rotate_keys(ui: &Ui, place: &Place, purposes: &[String], all: bool) -> Outcome {
    let purposes: Vec<&str> = if all { ROTATED.to_vec() } else { purposes.iter().map(String::as_str).collect() };
    for purpose in &purposes {
        if let Some(why) = why_not_rotated(purpose) {
            return Err(Failure::usage(format!(
                "the key for `{purpose}` is not rotated: {why}\n  help: purposes that are: {}",
                ROTATED.join(", ")
            )));
        }
    }
    let (project, root) = open_with_root(place)?;
    let rotation = rotate::rotate(project, &root, &os_user(), &purposes, &|step| match step {
        RotateStep::Resumed { plan } => ui.hint(format!("Carrying on an interrupted rotation: {}", plan.told())),
        RotateStep::Added { versions } => ui.hint(format!("In the key ring: {}", names(versions))),
        RotateStep::LogContinued => ui.hint("The audit log goes on under the newest keys."),
        RotateStep::Sealing { done, of } => {
            if done % 100 == 0 {
                ui.hint(format!("Sealing again: {done} of {of} files"));
            }
        }
        RotateStep::Rewrapping { table, done, of } => {
            if done % 100 == 0 || done == of {
                ui.hint(format!("Key material of table {table}: {done} of {of} files"));
            }
        }
    })?;
    ui.object(&rotation);
    told(ui, &rotation);
    Ok(ExitCode::SUCCESS)
}

fn told(ui: &Ui, rotation: &Rotation) {
    let were = |count: u64| if count == 1 { " was" } else { "s were" };
    if !rotation.versions.is_empty() {
        ui.say(format!(
            "New data are written under {}. What is older stays readable; {} file{} of state and quarantine sealed again.",
            rotation.versions.join(", "),
            rotation.resealed,
            were(rotation.resealed as u64),
        ));
    }
    if rotation.versions.is_empty() || rotation.rewrapped > 0 {
        ui.say(format!(
            "The key material of {} file{} wrapped under the newest master keys; no data changed.",
            rotation.rewrapped,
            were(rotation.rewrapped)
        ));
    }
    if rotation.inside > 0 {
        ui.hint(format!(
            "{} files have their keys inside and stay as they are (`cordon keys status`).",
            rotation.inside
        ));
    }
    for path in &rotation.left {
        ui.hint(format!("Not sealed again, as it does not open: {}", path.display()));
    }
    if rotation.resumed {
        ui.hint("This finished what had been begun; call it again for another rotation.");
    }
    if rotation.retired.iter().any(|version| version.starts_with("audit-signing.")) {
        ui.hint("The audit log has a new verifying key: keep what `cordon audit head` prints now beside the old one.");
    }
}

fn names(versions: &[KeyVersion]) -> String {
    versions.iter().map(KeyVersion::name).collect::<Vec<_>>().join(", ")
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
