//! `cordon backup create|verify|restore`

use std::process::ExitCode;

use cordon_pipeline::backup::{self, BackupReport};
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
            ui.hint(if report.keys {
                "Keep `keys/` apart from `data/`, and the root's secret apart from both: it is in neither."
            } else {
                "The key ring is not in it: without a copy of that nothing of this can be read."
            });
            Ok(ExitCode::SUCCESS)
        }
        BackupCommand::Verify { dir, keys, key } => {
            let verified = backup::verify(&dir, keys.as_deref(), key.as_deref().map(verifying_key).transpose()?)?;
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
            Ok(ExitCode::SUCCESS)
        }
        BackupCommand::Restore { dir, into, keys, key } => {
            let report = backup::restore(&dir, keys.as_deref(), key.as_deref().map(verifying_key).transpose()?, &into)?;
            ui.object(&report);
            ui.say(told("Restored", &report));
            if !report.keys {
                ui.hint("Put the key ring in its place, as `keys.keyring` in cordon.yaml says.");
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
