//! `cordon access lint`

use std::process::ExitCode;

use cordon_access::{Dataset, Known, Records};
use cordon_pipeline::error::ExitKind;
use cordon_pipeline::policies::now;
use cordon_pipeline::project::OpenProject;
use cordon_query::Stored;

use super::{Outcome, rights};
use crate::ui::{Failure, Ui, plural};

/// What is stored, and what pipelines may yet write.
pub fn datasets(project: &OpenProject) -> Result<Vec<Known>, Failure> {
    let mut all: Vec<Known> = Stored::read(project)?.known().collect();
    for known in project.project.datasets_to_be() {
        if !all.iter().any(|stored| stored.name == known.name) {
            all.push(known);
        }
    }
    all.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(all)
}

pub fn lint(ui: &Ui, project: &OpenProject) -> Outcome {
    let policies = project.policies()?;
    let source = project.policy_source()?;
    rights::inspected(project, "access rules", None)?;
    let known = datasets(project)?;
    let mut found: Vec<(serde_json::Value, String)> = Vec::new();
    let tables = known.iter().map(|known| (known.name.clone(), known.columns.iter().cloned().collect())).collect();
    for issue in project.project.unmatched_grants(&tables).0 {
        let told = issue.to_string();
        found.push((serde_json::json!({ "problem": told }), told));
    }
    if let Some(service) = policies.service() {
        let columns: Vec<Vec<&str>> =
            known.iter().map(|known| known.columns.iter().map(String::as_str).collect()).collect();
        let datasets: Vec<Dataset<'_>> =
            known.iter().zip(&columns).map(|(known, columns)| Dataset { name: &known.name, columns }).collect();
        let problems = Records::read(&source.documents(), service.name())
            .and_then(|records| records.lint(service, &datasets, now()))
            .map_err(|error| Failure::usage(error.to_string()))?;
        for problem in problems {
            let object = serde_json::json!({
                "policy_id": problem.policy_id, "policy": problem.policy, "field": problem.field, "problem": problem.what,
            });
            found.push((object, problem.to_string()));
        }
    }
    if let Some(trouble) = source.trouble() {
        ui.hint(format!("warning: {trouble}"));
    }
    let (objects, lines): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    ui.object(
        &serde_json::json!({ "service": policies.service().map(cordon_access::Service::name), "problems": objects }),
    );
    if lines.is_empty() {
        ui.say("Nothing is wrong with the rules of who may read what.");
        return Ok(ExitCode::SUCCESS);
    }
    ui.say(lines.join("\n"));
    ui.hint(format!("{} problem{}", lines.len(), plural(lines.len())));
    Ok(ExitCode::from(ExitKind::Usage as u8))
}
