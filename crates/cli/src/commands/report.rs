//! `cordon report`

use std::collections::BTreeMap;
use std::process::ExitCode;

use cordon_pipeline::error::ExitKind;
use cordon_pipeline::report::{FoundReport, read, runs};
use cordon_pipeline::state::{Found, Totals};

use super::{Outcome, Place, rights};
use crate::args::ReportArgs;
use crate::ui::{Failure, Ui, plural};

pub fn report(ui: &Ui, place: &Place, args: &ReportArgs) -> Outcome {
    let project = place.open()?;
    let pipeline = project.project.pipeline(&args.pipeline)?;
    rights::inspected(&project, "report", Some(&pipeline.name))?;
    if args.list {
        let runs = runs(&project, &pipeline);
        ui.object(&runs);
        ui.table(&["run"], runs.into_iter().map(|run| vec![run]));
        return Ok(ExitCode::SUCCESS);
    }
    let Some(report) = read(&project, &pipeline, args.run.as_deref())? else {
        let what = match &args.run {
            Some(run) => format!("there is no report of a run `{run}`"),
            None => format!("no run of pipeline `{}` has found anything yet", pipeline.name),
        };
        let help = format!("list those that there are:  cordon report {} --list", pipeline.name);
        return Err(Failure::new(ExitKind::Failure, format!("{what}\n  help: {help}")));
    };
    ui.object(&report);
    print(ui, &report);
    Ok(ExitCode::SUCCESS)
}

fn print(ui: &Ui, report: &FoundReport) {
    ui.say(format!(
        "run        {}{}\npolicy     {} (SHA-256 {})\nmethod     {}, ages counted at {}\nfiles      {} read, {} refused as a whole, {} \
         unchanged since an earlier run and not in this report\n",
        report.run,
        if report.is_replay { ", of what was in quarantine" } else { "" },
        report.policy,
        report.policy_sha256,
        report.method,
        report.reference_date,
        report.files_read,
        report.files_refused,
        report.files_unchanged
    ));
    print_totals(ui, &report.found);
    for (dataset, found) in &report.found {
        ui.say(format!("\n{dataset}: values by kind and by what was done"));
        let lines = found.values.iter().flat_map(|(kind, deeds)| {
            deeds.iter().map(move |(deed, count)| {
                let why = (deed == "keep").then(|| found.kept_because.get(kind)).flatten();
                vec![kind.clone(), deed.clone(), count.to_string(), why.cloned().unwrap_or_default()]
            })
        });
        ui.table(&["kind", "done", "values", "why it stays"], lines);
        if found.texts_scrubbed > 0 {
            let texts = found.texts_scrubbed;
            ui.say(format!("\n{dataset}: replaced within {texts} scrubbed text{}", plural(texts as usize)));
            ui.table(
                &["kind", "known from records", "detected"],
                found
                    .spans
                    .iter()
                    .map(|(kind, spans)| vec![kind.clone(), spans.known.to_string(), spans.detected.to_string()]),
            );
        }
    }
}

/// One line for each dataset.
pub fn print_totals(ui: &Ui, found: &BTreeMap<String, Found>) {
    if found.is_empty() {
        return;
    }
    let head = ["dataset", "format", "records", "kept", "changed", "removed", "left empty", "not passed", "in texts"];
    ui.table(
        &head,
        found.iter().map(|(dataset, found)| {
            let Totals { kept, changed, removed, left_empty, not_passed } = found.totals();
            let spans: u64 = found.spans.values().map(|spans| spans.known + spans.detected).sum();
            let formats: Vec<&str> = found.formats.iter().map(String::as_str).collect();
            let numbers = [found.records.rows_out, kept, changed, removed, left_empty, not_passed, spans];
            [dataset.clone(), formats.join(", ")].into_iter().chain(numbers.map(|number| number.to_string())).collect()
        }),
    );
}
