//! `cordon quarantine list|show|replay`

use std::process::ExitCode;

use cordon_access::Privilege;
use cordon_audit::Event;
use cordon_pipeline::error::ExitKind;
use cordon_pipeline::progress::Meter;
use cordon_pipeline::replay::{find, listing, replay};

use super::{Outcome, Place, rights, run};
use crate::args::QuarantineCommand;
use crate::ui::{Failure, Ui};

pub fn quarantine(ui: &Ui, place: &Place, command: QuarantineCommand) -> Outcome {
    let project = place.open()?;
    match command {
        QuarantineCommand::List { dataset } => {
            rights::inspected(&project, "quarantine list", dataset.as_deref())?;
            let mut lines = listing(&project)?;
            lines.retain(|line| dataset.as_ref().is_none_or(|dataset| *dataset == line.dataset));
            ui.object(&lines);
            if lines.is_empty() {
                ui.say("The quarantine is empty.");
            } else {
                ui.table(
                    &["id", "dataset", "file", "line", "field", "reason"],
                    lines.into_iter().map(|line| {
                        vec![
                            line.id,
                            line.dataset,
                            line.file,
                            if line.line == 0 { "whole file".to_owned() } else { line.line.to_string() },
                            line.field.unwrap_or_else(|| "–".to_owned()),
                            line.reason,
                        ]
                    }),
                );
            }
            Ok(ExitCode::SUCCESS)
        }
        QuarantineCommand::Show { id, user, purpose, reason } => {
            let purpose = rights::purpose(&project, &user, &purpose)?;
            rights::check_reason(&reason)?;
            rights::require(&project, &user, purpose, Privilege::ReadQuarantine, "quarantine")?;
            let record = find(&project, &id)?
                .ok_or_else(|| Failure::new(ExitKind::Failure, format!("there is no record `{id}` in quarantine")))?;
            // On the record before it leaves.
            project.audit(&Event::QuarantineShown {
                principal: user,
                purpose,
                run: id,
                table: record.origin.dataset.clone(),
                rows: 1,
                reason,
            })?;
            let text = String::from_utf8_lossy(record.expose_phi());
            if ui.json() {
                ui.object(&serde_json::json!({
                    "id": record.id, "dataset": record.origin.dataset, "file": record.origin.file,
                    "line": record.entry.line, "field": record.entry.field, "reason": record.entry.reason,
                    "record": text,
                }));
            } else {
                ui.result(&text);
            }
            Ok(ExitCode::SUCCESS)
        }
        QuarantineCommand::Replay { pipeline, dataset } => {
            let pipeline = project.project.pipeline(&pipeline)?;
            let meter = Meter::default();
            let report =
                ui.with_progress(&meter, |tell| replay(&project, &pipeline, dataset.as_deref(), &meter, tell))?;
            ui.object(&report);
            if report.rows_in == 0 {
                ui.say(
                    "There is nothing to replay. (Refused files are read again by the next run once they are mended.)",
                );
            } else {
                run::print_report(ui, &report);
            }
            Ok(run::exit_of(&report))
        }
    }
}
