//! `cordon synth`

use std::path::Path;
use std::process::ExitCode;

use cordon_pipeline::error::ExitKind;
use cordon_synth::{Dirt, Formats, Hospital, Summary, SynthOptions};
use indicatif::{ProgressBar, ProgressStyle};

use super::Outcome;
use crate::args::{SynthArgs, SynthFormat};
use crate::ui::{Failure, Ui, human_bytes};

pub fn synth(ui: &Ui, args: &SynthArgs) -> Outcome {
    let wants = |format| args.formats.contains(&format);
    let options = SynthOptions {
        patients: args.patients,
        seed: args.seed,
        dirt: if args.clean { Dirt::none() } else { Dirt::default() },
        formats: Formats {
            csv: wants(SynthFormat::Csv),
            parquet: wants(SynthFormat::Parquet),
            fhir: wants(SynthFormat::Fhir),
            hl7v2: wants(SynthFormat::Hl7v2),
            ccda: wants(SynthFormat::Ccda),
            x12: wants(SynthFormat::X12),
            notes: wants(SynthFormat::Notes),
        },
        truth: args.truth,
        ..SynthOptions::default()
    };
    let summary = generate(ui, &args.dir, options)?;
    let files: Vec<_> = summary
        .files
        .iter()
        .map(|file| serde_json::json!({ "path": file.path, "rows": file.rows, "bytes": file.bytes }))
        .collect();
    ui.object(&serde_json::json!({
        "patients": summary.patients, "bytes": summary.bytes(), "bad_rows": summary.bad_rows.len(), "files": files,
    }));
    // A folder of a file a document is one entry, and its rows are files.
    let count: u64 = summary.files.iter().map(|file| if file.path.ends_with('/') { file.rows } else { 1 }).sum();
    ui.say(format!(
        "A synthetic hospital of {} patients in {}: {} files, {}, {} rows spoiled on purpose. No person in it exists.",
        summary.patients,
        args.dir.display(),
        count,
        human_bytes(summary.bytes()),
        summary.bad_rows.len()
    ));
    Ok(ExitCode::SUCCESS)
}

pub fn generate(ui: &Ui, dir: &Path, options: SynthOptions) -> Result<Summary, Failure> {
    let bar = if ui.quiet || ui.json() { ProgressBar::hidden() } else { ProgressBar::new(options.patients) };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {bar:30} {pos}/{len} patients  {msg}  about {eta} left")
    {
        bar.set_style(style);
    }
    let summary = Hospital::new(options).write(dir, &|progress| {
        bar.set_position(progress.patients);
        bar.set_message(human_bytes(progress.bytes));
    });
    bar.finish_and_clear();
    summary.map_err(|error| Failure::new(ExitKind::Storage, error.to_string()))
}
