//! `cordon run`

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cordon_pipeline::cluster::Cluster;
use cordon_pipeline::error::ExitKind;
use cordon_pipeline::progress::Meter;
use cordon_pipeline::project::OpenProject;
use cordon_pipeline::run::{RunReport, discard_interrupted, run as run_pipeline};

use super::report::print_totals;
use super::signals::{self, Work};
use super::spark::{Spark, Units};
use super::{Outcome, Place};
use crate::args::RunArgs;
use crate::ui::{Failure, Ui, plural};

pub fn run(ui: &Ui, place: &Place, args: &RunArgs) -> Outcome {
    let spark = Spark::asked(&args.on, ui, place)?;
    let project = place.open()?;
    let units = spark.as_ref().map(Units);
    let cluster = units.as_ref().map(|units| units as &dyn Cluster);
    let report = run_named(ui, &project, &args.pipeline, cluster, args.restart);
    if let Some(spark) = spark {
        spark.close();
    }
    let report = report?;
    ui.object(&report);
    print_report(ui, &report);
    warn_of_grants(ui, &project)?;
    Ok(exit_of(&report))
}

pub fn run_named(
    ui: &Ui,
    project: &OpenProject,
    name: &str,
    cluster: Option<&dyn Cluster>,
    restart: bool,
) -> Result<RunReport, Failure> {
    let pipeline = project.project.pipeline(name)?;
    if restart {
        discard_interrupted(project, &pipeline)?;
    }
    let meter = Meter::default();
    let work = Work { stop: Arc::clone(&meter.stop), ..Work::default() };
    // A run ends at the next batch; what is done is kept and the next run carries on. To end it at once loses nothing either.
    signals::watch(&work, None, |_| {});
    let report = ui.with_progress(&meter, |tell| run_pipeline(project, &pipeline, cluster, &meter, tell));
    work.over.store(true, Ordering::Relaxed);
    Ok(report?)
}

/// Names in grants that fit no table or column are most likely slips of the pen, and one in `except` leaves a column open.
fn warn_of_grants(ui: &Ui, project: &OpenProject) -> Result<(), Failure> {
    let mut known = project.project.tables_to_be();
    for table in project.tables().tables()? {
        if let Ok(Some(version)) = project.tables().current(&table) {
            let columns = version.schema.fields().iter().map(|field| field.name().clone());
            known.entry(table).or_default().extend(columns);
        }
    }
    for issue in project.project.unmatched_grants(&known).0 {
        ui.hint(format!("warning: {issue}"));
    }
    Ok(())
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
    print_totals(ui, &report.found);
    if !report.found.is_empty() {
        ui.hint(format!("By kind and action:  cordon report {}", report.pipeline));
    }
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
    for (table, rows) in &report.expired {
        ui.hint(format!("Past their retention, and not written to {table}: {rows} row{}", plural(*rows as usize)));
    }
    if report.people_joined > 0 {
        ui.say(format!(
            "{} pair{} of people turned out to be one; what had been written of them before is made again",
            report.people_joined,
            plural(report.people_joined as usize)
        ));
    }
    if report.files_unjoined > 0 {
        ui.hint(format!(
            "The rows of {} file{} that are gone keep tokens from before people turned out to be one; put the files back and run \
             again to join them",
            report.files_unjoined,
            plural(report.files_unjoined as usize)
        ));
    }
    for (file, reason) in &report.files_refused {
        ui.say(format!("Refused: {file}: {reason}"));
    }
    if report.quarantined > 0 || !report.files_refused.is_empty() {
        ui.hint("See what is in quarantine and why:  cordon quarantine list");
    }
}
