//! `cordon run`

use std::process::ExitCode;
use std::sync::atomic::Ordering;

use cordon_pipeline::error::ExitKind;
use cordon_pipeline::progress::Meter;
use cordon_pipeline::project::OpenProject;
use cordon_pipeline::run::{RunReport, discard_interrupted, run as run_pipeline};

use super::{Outcome, Place};
use crate::args::RunArgs;
use crate::ui::{Failure, Ui, plural};

pub fn run(ui: &Ui, place: &Place, args: &RunArgs) -> Outcome {
    let project = place.open()?;
    let report = run_named(ui, &project, &args.pipeline, args.restart)?;
    ui.object(&report);
    print_report(ui, &report);
    Ok(exit_of(&report))
}

pub fn run_named(ui: &Ui, project: &OpenProject, name: &str, restart: bool) -> Result<RunReport, Failure> {
    let pipeline = project.project.pipeline(name)?;
    if restart {
        discard_interrupted(project, &pipeline)?;
    }
    let meter = Meter::default();
    let stop = meter.stop.clone();
    // Ctrl-C ends the run at the next batch; what is done is kept and the next run carries on.
    let interrupts = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        if let Ok(runtime) = runtime {
            runtime.block_on(async {
                if tokio::signal::ctrl_c().await.is_ok() {
                    stop.store(true, Ordering::Relaxed);
                }
            });
        }
    });
    let report = ui.with_progress(&meter, |tell| run_pipeline(project, &pipeline, &meter, tell));
    drop(interrupts);
    Ok(report?)
}

pub fn exit_of(report: &RunReport) -> ExitCode {
    if report.quarantined > 0 || !report.files_refused.is_empty() {
        return ExitCode::from(ExitKind::Quarantined as u8);
    }
    ExitCode::SUCCESS
}

pub fn print_report(ui: &Ui, report: &RunReport) {
    if report.files_read == 0 && report.files_refused.is_empty() && report.tables.is_empty() {
        ui.say(format!("Nothing to do: all {} files are unchanged since the last run.", report.files_unchanged));
        return;
    }
    ui.say(format!(
        "{}{} rows in = {} rows out + {} in quarantine{}, from {} file{}, in {:.1} s",
        if report.resumed { "(resumed) " } else { "" },
        report.rows_in,
        report.rows_out,
        report.quarantined,
        if report.excluded > 0 { format!(" + {} excluded by the policy", report.excluded) } else { String::new() },
        report.files_read,
        plural(report.files_read as usize),
        report.seconds
    ));
    ui.table(
        &["table", "rows", "version"],
        report.tables.iter().map(|table| vec![table.table.clone(), table.rows.to_string(), table.version.to_string()]),
    );
    for (dataset, fields) in &report.undeclared {
        let some: Vec<&str> = fields.iter().take(6).map(String::as_str).collect();
        let more = if fields.len() > 6 { format!(" and {} more", fields.len() - 6) } else { String::new() };
        ui.hint(format!("Not passed on, because the policy does not name them ({dataset}): {}{more}", some.join(", ")));
    }
    for (dataset, left_out) in &report.left_out {
        let parts = [
            (
                "extensions, identifiers and addresses that the policy does not list",
                left_out.unlisted.values().sum::<u64>(),
            ),
            ("references that lead nowhere", left_out.references),
        ];
        for (what, count) in parts.into_iter().filter(|(_, count): &(&str, u64)| *count > 0) {
            ui.hint(format!("Left out ({dataset}): {count} {what}"));
        }
    }
    for (file, reason) in &report.files_refused {
        ui.say(format!("Refused: {file}: {reason}"));
    }
    if report.quarantined > 0 || !report.files_refused.is_empty() {
        ui.hint("See what is in quarantine and why:  cordon quarantine list");
    }
}
