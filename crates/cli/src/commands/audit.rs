//! `cordon audit list|verify|head`

use std::process::ExitCode;

use cordon_audit::{Anchor, Event, Filter, VerifyReport};
use cordon_pipeline::error::ExitKind;

use super::{Outcome, Place};
use crate::args::AuditCommand;
use crate::ui::{Failure, Ui};

pub fn audit(ui: &Ui, place: &Place, command: AuditCommand) -> Outcome {
    let project = place.open()?;
    match command {
        AuditCommand::List { last, kind, user } => {
            let filter = Filter { last: Some(last), kind, user, ..Filter::default() };
            let entries = project.audit_log().list(filter)?.collect::<Result<Vec<_>, _>>()?;
            project.audit(&Event::AuditShown { entries: entries.len() as u64 })?;
            ui.object(&entries);
            ui.table(
                &["#", "time", "user", "event", "details"],
                entries.iter().map(|entry| {
                    vec![
                        entry.seq.to_string(),
                        entry.time.format("%Y-%m-%d %H:%M:%S").to_string(),
                        entry.event.principal().unwrap_or(&entry.writer.principal.user).to_owned(),
                        entry.event.kind().to_owned(),
                        details(&entry.event),
                    ]
                }),
            );
            Ok(ExitCode::SUCCESS)
        }
        AuditCommand::Verify { anchor } => {
            let mut anchors = project.audit_anchors()?;
            for text in &anchor {
                anchors.push(parse_anchor(text)?);
            }
            let report = project.audit_log().verify(&anchors)?;
            if !report.is_intact() {
                ui.object(&report);
                return Err(Failure::new(ExitKind::Integrity, findings(&report)));
            }
            project.audit(&Event::AuditVerified { entries: report.entries, anchors: report.anchors, findings: 0 })?;
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
            let key = data_encoding::HEXLOWER.encode(&project.audit_log().verifying_key().0);
            ui.object(&serde_json::json!({ "seq": head.seq, "hash": head.hash.to_string(), "verifying_key": key }));
            ui.say(format!("anchor         {}:{}\nverifying key  {key}", head.seq, head.hash));
            ui.hint("Keep the anchor where nobody who can write here can change it, then:  cordon audit verify --anchor SEQ:HASH");
            Ok(ExitCode::SUCCESS)
        }
    }
}

pub fn findings(report: &VerifyReport) -> String {
    let lines: Vec<String> = report.findings.iter().take(20).map(|finding| format!("  {finding}")).collect();
    format!(
        "the audit log is not as it was written: {} finding(s), {} entries proven, {} anchors checked\n{}",
        report.findings.len(),
        report.entries,
        report.anchors,
        lines.join("\n")
    )
}

fn parse_anchor(text: &str) -> Result<Anchor, Failure> {
    let wrong = || Failure::usage("an anchor is `SEQ:HASH`, as `cordon audit head` prints it");
    let (seq, hash) = text.split_once(':').ok_or_else(wrong)?;
    Ok(Anchor { seq: seq.parse().map_err(|_| wrong())?, hash: hash.parse().map_err(|_| wrong())? })
}

/// The event's own fields in one line.
fn details(event: &Event) -> String {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(event) else { return String::new() };
    let shown = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(items) if items.len() > 4 => format!("{} items", items.len()),
        serde_json::Value::Object(object) => {
            object.get("count").map_or_else(|| value.to_string(), |count| format!("{count} files"))
        }
        other => other.to_string(),
    };
    fields
        .iter()
        .filter(|(name, _)| {
            !matches!(name.as_str(), "kind" | "key_ids" | "statement_tag" | "policy_hash" | "principal")
        })
        .map(|(name, value)| format!("{name}={}", shown(value)))
        .collect::<Vec<_>>()
        .join(" ")
}
