//! `cordon retain`

use std::process::ExitCode;

use chrono::{DateTime, NaiveDate, Utc};
use cordon_access::{Privilege, Purpose};
use cordon_pipeline::retain::{RetainReport, retain as apply};

use super::{Outcome, Place, os_user, rights};
use crate::args::RetainArgs;
use crate::ui::{Ui, plural};

pub fn retain(ui: &Ui, place: &Place, args: &RetainArgs) -> Outcome {
    let user = args.user.clone().unwrap_or_else(os_user);
    let project = place.open_as(&user)?;
    if let Some(user) = &args.user {
        rights::require(&project, user, Purpose::Operations, Privilege::Retain, "retention")?;
    }
    if args.dry_run {
        rights::inspected(&project, "retention", None)?;
    }
    let mut report = apply(&project, args.dry_run, args.at.map(end_of))?;
    ui.object(&report);
    print(ui, &report);
    // What could be done is done; the first that could not says how this ends.
    if report.skipped.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(report.skipped.swap_remove(0).error.into())
}

/// On that day, as it is over.
fn end_of(day: NaiveDate) -> DateTime<Utc> {
    day.and_hms_opt(23, 59, 59).unwrap_or_default().and_utc()
}

fn print(ui: &Ui, report: &RetainReport) {
    let outcome = |past: u64, held_by: &[String], gone: Option<String>| match gone {
        _ if past == 0 => "nothing is past it".to_owned(),
        _ if !held_by.is_empty() => format!("stays: on hold ({})", held_by.join(", ")),
        Some(gone) => gone,
        None => "would go".to_owned(),
    };
    let told = report.tables.iter().map(|table| {
        let by = table.by.as_deref().unwrap_or("committed");
        let gone = table.version.map(|version| format!("gone with version {version}"));
        vec![
            table.table.clone(),
            format!("{} by {by}", table.keep),
            table.before.clone(),
            format!("{} of {} rows", table.past, table.rows),
            outcome(table.past, &table.held_by, gone),
        ]
    });
    let quarantine = report.quarantine.iter().map(|held| {
        let gone = held.removed.then(|| "gone".to_owned());
        vec![
            format!("quarantine of {}", held.pipeline),
            held.keep.clone(),
            held.before.clone(),
            format!("{} records in {} file{}", held.records, held.files, plural(held.files as usize)),
            outcome(held.files, &held.held_by, gone),
        ]
    });
    let reports = report.run_reports.iter().map(|held| {
        let gone = held.removed.then(|| "gone".to_owned());
        vec![
            format!("reports of {}", held.pipeline),
            held.keep.clone(),
            held.before.clone(),
            held.reports.to_string(),
            outcome(held.reports, &held.held_by, gone),
        ]
    });
    let requests = report.requests.iter().map(|held| {
        let gone = held.removed.then(|| "gone".to_owned());
        vec![
            "requests".to_owned(),
            held.keep.clone(),
            held.before.clone(),
            held.requests.to_string(),
            outcome(held.requests, &held.held_by, gone),
        ]
    });
    let audit = &report.audit;
    let lines: Vec<_> = told.chain(quarantine).chain(reports).chain(requests).collect();
    if lines.is_empty() {
        ui.say("Nothing that there is has a retention: see `retention` in cordon.yaml.");
    } else {
        ui.table(&["what", "kept", "past it is what is before", "past it", "so"], lines);
    }
    for held in report.quarantine.iter().filter(|held| held.records > 0) {
        for (reason, records) in &held.reasons {
            ui.hint(format!("In quarantine of {}: {records} because of: {reason}", held.pipeline));
        }
    }
    if report.old_parts > 0 {
        ui.say(format!("{} file{} of old versions removed", report.old_parts, plural(report.old_parts as usize)));
    }
    if let Some(oldest) = &audit.oldest {
        ui.say(format!(
            "The audit log ({} entries from {oldest} on) is kept for at least {}{}",
            audit.entries,
            audit.keep,
            if audit.past { "; older entries stay: this version removes none" } else { "" }
        ));
    }
    for skipped in &report.skipped {
        ui.hint(format!("Not looked at: pipeline {}", skipped.pipeline));
    }
    if report.dry_run {
        ui.hint("Nothing was removed: this was a dry run");
    }
}

/// `YYYY-MM-DD`.
pub fn parse_day(text: &str) -> Result<NaiveDate, String> {
    text.parse().map_err(|_| "write it as YYYY-MM-DD".to_owned())
}
