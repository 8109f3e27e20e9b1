//! What a run found and what it did with it, kept beside the pipeline's state: numbers, kinds and actions, and never a value.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::error::RunError;
use crate::project::{OpenProject, Pipeline};
use crate::run::RunReport;
use crate::sealed::{read_sealed, write_sealed};
use crate::state::{Found, Prepared};

/// So many reports of a pipeline are kept.
const MOST: usize = 1000;

/// What one run found in the records that it read. Files that were unchanged since an earlier run are in that run's report.
#[derive(Serialize, Deserialize)]
pub struct FoundReport {
    pub run: String,
    pub pipeline: String,
    pub policy: String,
    pub policy_sha256: String,
    pub method: String,
    pub reference_date: String,
    /// The records came from quarantine.
    pub is_replay: bool,
    pub files_read: u64,
    pub files_unchanged: u64,
    /// Files that were refused as a whole; nothing of them is counted.
    pub files_refused: u64,
    /// By dataset.
    pub found: std::collections::BTreeMap<String, Found>,
}

impl FoundReport {
    fn of(pipeline: &str, prepared: &Prepared) -> Self {
        let report = RunReport::of(pipeline, prepared, Vec::new());
        Self {
            run: report.run,
            pipeline: report.pipeline,
            policy: report.policy,
            policy_sha256: prepared.policy.sha256.clone(),
            method: prepared.policy.method.clone(),
            reference_date: prepared.policy.reference_date.clone(),
            is_replay: prepared.is_replay,
            files_read: report.files_read,
            files_unchanged: report.files_unchanged,
            files_refused: report.files_refused.len() as u64,
            found: report.found,
        }
    }
}

/// Keeps the report of a run that found something. To keep it again changes nothing.
pub(crate) fn keep(project: &OpenProject, pipeline: &str, prepared: &Prepared) -> Result<(), RunError> {
    let report = FoundReport::of(pipeline, prepared);
    if report.found.is_empty() {
        return Ok(());
    }
    write_sealed(&project.report_file(pipeline, &report.run), &project.seal_key()?, &report)?;
    let mut runs = runs_of(project, pipeline);
    runs.truncate(runs.len().saturating_sub(MOST));
    for run in runs {
        let path = project.report_file(pipeline, &run);
        fs::remove_file(&path).map_err(|error| RunError::io("remove", &path, &error))?;
    }
    Ok(())
}

/// The runs of which a report is kept, the oldest first.
pub fn runs(project: &OpenProject, pipeline: &Pipeline) -> Vec<String> {
    runs_of(project, &pipeline.name)
}

pub(crate) fn runs_of(project: &OpenProject, pipeline: &str) -> Vec<String> {
    let entries = fs::read_dir(project.state_folder(pipeline)).into_iter().flatten().flatten();
    let mut runs: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(name.strip_prefix("report-")?.strip_suffix(".sealed")?.to_owned())
        })
        .collect();
    runs.sort();
    runs
}

/// The report of a run, or of the last one that found something.
pub fn read(project: &OpenProject, pipeline: &Pipeline, run: Option<&str>) -> Result<Option<FoundReport>, RunError> {
    let runs = runs(project, pipeline);
    let wanted = match run {
        Some(run) => runs.iter().find(|known| *known == run),
        None => runs.last(),
    };
    let Some(wanted) = wanted else { return Ok(None) };
    read_sealed(&project.report_file(&pipeline.name, wanted), &project.seal_key()?)
}
