//! `cordon audit list|verify|head`

use std::path::Path;
use std::process::ExitCode;

use cordon_audit::{Anchor, Event, Filter, VerifyReport, verify_public};
use cordon_crypto::VerifyingKey;
use cordon_deid::yaml::nearest;
use cordon_pipeline::error::ExitKind;
use cordon_pipeline::evidence::{Findings, ReadOnly};

use super::{Outcome, Place, ask_passphrase, os_user};
use crate::args::AuditCommand;
use crate::ui::{Failure, Ui, plural};

/// Reading changes nothing of what is read: it works on a copy that may not be written, and leaves evidence as it is. That
/// somebody read is recorded afterwards, where the log can be written.
pub fn audit(ui: &Ui, place: &Place, command: AuditCommand) -> Outcome {
    match command {
        AuditCommand::List { last, kind, user } => list(ui, place, last, kind, user),
        AuditCommand::Verify { anchor, key: Some(key), log } => {
            let folder = match log {
                Some(folder) => folder,
                None => place.project()?.audit_folder(),
            };
            verify_with_key(ui, &folder, &key, &anchors(&anchor)?)
        }
        AuditCommand::Verify { anchor, .. } => verify(ui, place, &anchors(&anchor)?),
        AuditCommand::Head => {
            let evidence = place.project()?.open_read_only(&ask_passphrase)?.evidence;
            let head = evidence.log.head()?;
            let key = data_encoding::HEXLOWER.encode(&evidence.log.verifying_key().0);
            ui.object(&serde_json::json!({ "seq": head.seq, "hash": head.hash.to_string(), "verifying_key": key }));
            ui.say(format!("anchor         {}:{}\nverifying key  {key}", head.seq, head.hash));
            ui.hint("Keep both where nobody who can write here can change them, then:  cordon audit verify --anchor SEQ:HASH");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn list(ui: &Ui, place: &Place, last: usize, kind: Option<String>, user: Option<String>) -> Outcome {
    if let Some(kind) = &kind
        && !Event::KINDS.contains(&kind.as_str())
    {
        let help = nearest(kind, Event::KINDS.iter().copied())
            .map_or_else(|| format!("kinds: {}", Event::KINDS.join(", ")), |near| format!("did you mean `{near}`?"));
        return Err(Failure::usage(format!("there is no kind of entry `{kind}`\n  help: {help}")));
    }
    let project = place.project()?.open_read_only(&ask_passphrase)?;
    let filter = Filter { last: Some(last), kind, user, ..Filter::default() };
    let entries = project.evidence.log.list(filter)?.collect::<Result<Vec<_>, _>>()?;
    record(ui, project, &Event::AuditShown { entries: entries.len() as u64 });
    ui.object(&entries);
    ui.table(
        &["#", "time", "user", "system user", "event", "details"],
        entries.iter().map(|entry| {
            vec![
                entry.seq.to_string(),
                entry.time.format("%Y-%m-%d %H:%M:%S").to_string(),
                entry.event.principal().unwrap_or(&entry.writer.principal.user).to_owned(),
                entry.writer.principal.os_user.clone(),
                entry.event.kind().to_owned(),
                details(&entry.event),
            ]
        }),
    );
    Ok(ExitCode::SUCCESS)
}

fn verify(ui: &Ui, place: &Place, anchors: &[Anchor]) -> Outcome {
    let project = place.project()?.open_read_only(&ask_passphrase)?;
    let findings = project.evidence.verify(anchors)?;
    ui.object(&findings);
    if !findings.is_intact() {
        return Err(Failure::new(ExitKind::Integrity, told(&findings)));
    }
    let report = &findings.log;
    record(ui, project, &Event::AuditVerified { entries: report.entries, anchors: report.anchors, findings: 0 });
    ui.say(format!(
        "{} entries: every hash, link and signature is right, {} anchors agree, and each table has the version that was \
         committed last",
        report.entries, report.anchors
    ));
    for table in &findings.made_again {
        ui.hint(format!("Note: versions of table {table} were removed once and made again later."));
    }
    Ok(ExitCode::SUCCESS)
}

/// Hashes, links and signatures only, for who has the public key and no other.
fn verify_with_key(ui: &Ui, folder: &Path, key: &str, anchors: &[Anchor]) -> Outcome {
    let report = verify_public(folder, verifying_key(key)?, anchors)?;
    ui.object(&report);
    if !report.is_intact() {
        return Err(Failure::new(ExitKind::Integrity, told_of_log(&report)));
    }
    ui.say(format!(
        "{} entries: every hash, link and signature is right, and {} anchor{} agree. Contents were not opened, and tables not \
         compared: that takes the project's keys.",
        report.entries,
        report.anchors,
        plural(anchors.len())
    ));
    Ok(ExitCode::SUCCESS)
}

/// A copy that cannot be written is read all the same; whoever reads it is told that this is on no record.
fn record(ui: &Ui, project: ReadOnly, event: &Event) {
    if let Err(error) = project.record(&os_user(), event) {
        ui.hint(format!("Not recorded: {error}"));
    }
}

pub fn told(findings: &Findings) -> String {
    if !findings.log.is_intact() {
        return told_of_log(&findings.log);
    }
    let lines: Vec<String> = findings.tables.iter().take(20).map(|finding| format!("  {finding}")).collect();
    format!(
        "the log is whole, and {} table{} not what it says: versions were removed or older ones put back\n{}",
        findings.tables.len(),
        if findings.tables.len() == 1 { " is" } else { "s are" },
        lines.join("\n")
    )
}

fn told_of_log(report: &VerifyReport) -> String {
    let lines: Vec<String> = report.findings.iter().take(20).map(|finding| format!("  {finding}")).collect();
    format!(
        "the audit log is not as it was written: {} finding(s), {} entries proven, {} anchors checked\n{}",
        report.findings.len(),
        report.entries,
        report.anchors,
        lines.join("\n")
    )
}

fn anchors(texts: &[String]) -> Result<Vec<Anchor>, Failure> {
    texts.iter().map(|text| parse_anchor(text)).collect()
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
        .filter(|(name, value)| {
            !value.is_null()
                && !matches!(name.as_str(), "kind" | "key_ids" | "statement_tag" | "policy_hash" | "principal")
        })
        .map(|(name, value)| format!("{name}={}", shown(value)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A verifying key as `cordon audit head` prints it.
pub(super) fn verifying_key(text: &str) -> Result<VerifyingKey, Failure> {
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    let wrong = || Failure::usage("a verifying key is 64 hexadecimal digits, as `cordon audit head` prints it");
    bytes.and_then(|bytes| bytes.try_into().ok()).map(VerifyingKey).ok_or_else(wrong)
}
