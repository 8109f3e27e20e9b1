//! `cordon policy explain|check`

use std::process::ExitCode;

use chrono::Utc;
use cordon_deid::policy::check::{CompileOptions, compile};
use cordon_deid::policy::explain::{Explanation, explain};
use cordon_deid::recipe::Recipe;
use cordon_deid::yaml::nearest;
use cordon_pipeline::project::Project;

use super::{Outcome, Place};
use crate::args::PolicyCommand;
use crate::ui::{Failure, Ui, plural};

pub fn policy(ui: &Ui, place: &Place, command: PolicyCommand) -> Outcome {
    let project = place.project()?;
    match command {
        PolicyCommand::Explain { name, dataset } => {
            let recipe = load(&project, &name)?;
            let mut explanation = explain(&recipe);
            if let Some(dataset) = dataset {
                explanation.datasets.retain(|lines| lines.dataset == dataset);
                if explanation.datasets.is_empty() {
                    return Err(Failure::usage(format!("policy `{name}` has no dataset `{dataset}`")));
                }
            }
            ui.object(&explanation);
            print(ui, &explanation);
            Ok(ExitCode::SUCCESS)
        }
        PolicyCommand::Check => check(ui, &project),
    }
}

fn load(project: &Project, name: &str) -> Result<Recipe, Failure> {
    let shown = std::path::PathBuf::from("policies").join(format!("{name}.yaml"));
    let text = std::fs::read_to_string(project.root.join(&shown)).map_err(|_| {
        let known = project.names_in("policies");
        let help = nearest(name, known.iter().map(String::as_str)).map_or_else(
            || format!("policies of this project: {}", known.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        Failure::usage(format!("there is no policy `{name}`\n  help: {help}"))
    })?;
    compile(&text, &shown, CompileOptions::on(Utc::now().date_naive()))
        .map_err(|issues| Failure::usage(issues.to_string()))
}

fn check(ui: &Ui, project: &Project) -> Outcome {
    let mut wrong = Vec::new();
    let (policies, pipelines) = (project.names_in("policies"), project.names_in("pipelines"));
    for name in &policies {
        if let Err(failure) = load(project, name) {
            wrong.push(failure.message);
        }
    }
    for name in &pipelines {
        if let Err(error) = project.pipeline(name) {
            wrong.push(error.to_string());
        }
    }
    wrong.dedup();
    // With a policy that is not valid, its tables are not known, and grants on them would look wrong too.
    if wrong.is_empty() {
        wrong.extend(project.unmatched_grants(&project.tables_to_be()).0.iter().map(ToString::to_string));
    }
    if !wrong.is_empty() {
        return Err(Failure::usage(wrong.join("\n")));
    }
    ui.object(&serde_json::json!({ "policies": policies, "pipelines": pipelines, "ok": true }));
    ui.say(format!(
        "{} polic{} and {} pipeline{}: all valid, and each name in a grant fits a table or column",
        policies.len(),
        if policies.len() == 1 { "y" } else { "ies" },
        pipelines.len(),
        plural(pipelines.len())
    ));
    Ok(ExitCode::SUCCESS)
}

fn print(ui: &Ui, explanation: &Explanation) {
    ui.say(format!(
        "Policy {}: {}, {}\nAges are counted at {}. SHA-256 of the policy: {}",
        explanation.policy, explanation.method, explanation.clause, explanation.reference_date, explanation.hash
    ));
    for dataset in &explanation.datasets {
        ui.say(format!(
            "\nDataset {} (subject: {}; undeclared fields: {})",
            dataset.dataset,
            dataset.subject.as_deref().unwrap_or("none"),
            dataset.undeclared
        ));
        ui.table(
            &["field", "column", "kind", "identifier", "action", "why", "key"],
            dataset.fields.iter().map(|line| {
                vec![
                    line.field.clone(),
                    line.column.clone().unwrap_or_else(|| "–".to_owned()),
                    line.kind.to_owned(),
                    line.letter.map_or_else(|| "–".to_owned(), |letter| letter.to_string()),
                    line.action.to_owned(),
                    line.why.clone(),
                    if line.column.is_some() { line.key.to_owned() } else { "–".to_owned() },
                ]
            }),
        );
    }
    ui.say("\nThe eighteen identifiers of 164.514(b)(2)(i):");
    ui.table(
        &["", "identifier", "settled by"],
        explanation.identifiers.iter().map(|line| {
            let fields = if line.fields.is_empty() {
                "no declared field holds it; undeclared fields never pass".to_owned()
            } else if line.fields.len() > 6 {
                format!(
                    "{}; and {} more",
                    line.fields.iter().take(6).cloned().collect::<Vec<_>>().join("; "),
                    line.fields.len() - 6
                )
            } else {
                line.fields.join("; ")
            };
            vec![line.letter.to_string(), line.title.to_owned(), fields]
        }),
    );
}
