//! `cordon audit list|verify|head`

use std::process::ExitCode;

use cordon_audit::{Anchor, Event, Filter};
use cordon_pipeline::error::ExitKind;

use super::{Outcome, Place};
use crate::args::AuditCommand;
use crate::ui::{Failure, Ui};

pub fn audit(ui: &Ui, place: &Place, command: AuditCommand) -> Outcome {
    let project = place.open()?;
    match command {
        AuditCommand::List { last, kind, user } => {
            let filter = Filter { last: Some(last), kind, user, ..Filter::default() };
            let entries = project.audit_log().list(&filter)?.collect::<Result<Vec<_>, _>>()?;
            ui.object(&entries);
            ui.table(
                &["#", "time", "user", "event", "details"],
                entries.iter().map(|entry| {
                    vec![
                        entry.seq.to_string(),
                        entry.time.clone(),
                        entry.principal.user.clone(),
                        entry.event.kind().to_owned(),
                        entry.event.summary(),
                    ]
                }),
            );
            Ok(ExitCode::SUCCESS)
        }
        AuditCommand::Verify { anchor } => {
            let mut anchors = project.audit_anchors()?;
            for text in &anchor {
                anchors.push(text.parse::<Anchor>().map_err(|error| Failure::usage(error.to_string()))?);
            }
            let report = project.audit_log().verify(&anchors)?;
            if !report.is_valid() {
                ui.object(&report);
                return Err(Failure::new(ExitKind::Integrity, report.to_string()));
            }
            project.audit(&Event::AuditVerified { entries: report.entries })?;
            ui.object(&report);
            ui.say(format!(
                "{} entries: every hash, link and signature is right, and {} anchors agree",
                report.entries,
                anchors.len()
            ));
            Ok(ExitCode::SUCCESS)
        }
        AuditCommand::Head => {
            let head = project.audit_log().head()?;
            let key = data_encoding::HEXLOWER.encode(&project.ring.audit_signing_key()?.verifying_key().0);
            ui.object(&serde_json::json!({ "seq": head.seq, "hash": head.hash_hex(), "verifying_key": key }));
            ui.say(format!("anchor         {}:{}\nverifying key  {key}", head.seq, head.hash_hex()));
            ui.hint("Keep the anchor where nobody who can write here can change it, then:  cordon audit verify --anchor SEQ:HASH");
            Ok(ExitCode::SUCCESS)
        }
    }
}
