//! `cordon backup create|verify|restore`

use std::process::ExitCode;

use cordon_pipeline::backup::{self, BackupReport, Origin, RestoreOptions};
use cordon_pipeline::error::ExitKind;

use super::audit::verifying_key;
use super::{Outcome, Place};
use crate::args::BackupCommand;
use crate::ui::{Failure, Ui, human_bytes};

pub fn backup(ui: &Ui, place: &Place, command: BackupCommand) -> Outcome {
    match command {
        BackupCommand::Create { dir, without_keys, tables } => {
            let project = place.open()?;
            let report = backup::create(&project, &dir, !without_keys, tables)?;
            ui.object(&report);
            ui.say(told("Copied", &report));
            if !tables {
                ui.hint("Tables are not in it: `--tables` copies them too.");
            }
            if let Some(place) = &report.database {
                ui.hint(format!(
                    "The tokens are not in it: they are in {place}. Dump that now, and keep the dump with this backup: a dump from before does not \
                     fit (docs/vault.md, \"Backups\")."
                ));
            }
            ui.hint(if report.keys {
                "Keep `keys/` apart from `data/`, and the root's secret apart from both: it is in neither."
            } else {
                "The key ring is not in it: without a copy of that nothing of this can be read."
            });
            Ok(ExitCode::SUCCESS)
        }
        BackupCommand::Verify { dir, keys, key, database } => {
            let key = key.as_deref().map(verifying_key).transpose()?;
            let verified = backup::verify(&dir, keys.as_deref(), key, database.as_deref())?;
            ui.object(&verified);
            if !verified.findings.is_empty() {
                let lines: Vec<String> = verified
                    .findings
                    .iter()
                    .take(20)
                    .map(|finding| format!("  {} {}", finding.path, finding.what))
                    .collect();
                return Err(Failure::new(
                    ExitKind::Integrity,
                    format!(
                        "the backup is not as it was made: {} finding(s)\n{}",
                        verified.findings.len(),
                        lines.join("\n")
                    ),
                ));
            }
            ui.say(told("As it was made:", &verified.report));
            match (&verified.report.database, &database) {
                (Some(place), None) => ui.hint(format!(
                    "The tokens are in {place}, which was not looked at: `--database DIR` does, DIR being where paths of `vault.postgres` lead from."
                )),
                (Some(place), Some(_)) => ui.say(format!("{place} has all that it counts on")),
                (None, _) => {}
            }
            Ok(ExitCode::SUCCESS)
        }
        BackupCommand::Restore { dir, into, keys, key, subject_keys, keyring, certificate, database } => {
            let options = RestoreOptions {
                keys: keys.as_deref(),
                key: key.as_deref().map(verifying_key).transpose()?,
                subject_keys: subject_keys.as_deref(),
                keyring: keyring.as_deref(),
                certificates: &certificate,
                database: database.as_deref(),
            };
            let restored = backup::restore(&dir, &into, &options)?;
            ui.object(&restored);
            let report = &restored.report;
            ui.say(told("Restored", report));
            match restored.subject_keys {
                Some(Origin::Place) => ui.say("The subject keys that were in the folder are the newest: they stayed."),
                Some(Origin::Given) => ui.say("The subject keys are those that were given: they are the newest."),
                Some(Origin::Backup) => {}
                None => ui.hint("Put the newest subject-keys beside the key ring: without them no token can be read."),
            }
            if restored.keyring.is_none() {
                ui.hint("Put the key ring in its place, as `keys.keyring` in cordon.yaml says.");
            }
            if let (Some(place), None) = (&report.database, &database) {
                ui.hint(format!(
                    "The tokens are in {place}: restore its dump from after this backup. The first command that opens the project looks."
                ));
            }
            ui.hint(
                "Put the root's secret where `keys.root` says; the first command puts the restore on the record. Then:  cordon audit \
                 verify, cordon vault verify",
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn told(what: &str, report: &BackupReport) -> String {
    format!(
        "{what} {} files, {}, made {}, at entry {} of the audit log",
        report.files,
        human_bytes(report.bytes),
        report.created,
        report.audit_seq
    )
}
