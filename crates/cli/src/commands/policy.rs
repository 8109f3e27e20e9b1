//! `cordon policy explain|check|import`

use std::process::ExitCode;

use chrono::Utc;
use cordon_deid::policy::check::{CompileOptions, compile};
use cordon_deid::policy::explain::{Explanation, explain};
use cordon_deid::policy::import::{ImportOptions, Status, import as from_ms_fhir_anonymizer};
use cordon_deid::recipe::Recipe;
use cordon_deid::yaml::nearest;
use cordon_phi::Method;
use cordon_pipeline::error::ExitKind;
use cordon_pipeline::project::Project;

use super::{Outcome, Place};
use crate::args::{ImportArgs, ImportMethod, ImportTool, PolicyCommand};
use crate::ui::{Failure, Ui, plural};

pub fn policy(ui: &Ui, place: &Place, command: PolicyCommand) -> Outcome {
    if let PolicyCommand::Import(args) = command {
        return import(ui, &args);
    }
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
        PolicyCommand::Import(args) => import(ui, &args),
    }
}

/// The policy goes to the output or to the file that is named; what became of each rule beside it.
fn import(ui: &Ui, args: &ImportArgs) -> Outcome {
    let ImportTool::MsFhirAnonymizer = args.tool;
    let stem = args.output.as_ref().and_then(|path| path.file_stem()).map(|stem| stem.to_string_lossy().into_owned());
    let name = args.name.clone().or(stem).unwrap_or_else(|| "imported".to_owned());
    if !name.starts_with(|c: char| c.is_ascii_alphabetic())
        || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    {
        return Err(Failure::usage(
            "a policy's name is of letters, digits, `-` and `_`\n  help: give it one with `--name`",
        ));
    }
    let method = match args.method {
        ImportMethod::SafeHarbor => Method::SafeHarbor,
        ImportMethod::LimitedDataSet => Method::LimitedDataSet,
        ImportMethod::ExpertDetermination => Method::ExpertDetermination,
    };
    let text = std::fs::read_to_string(&args.file).map_err(|error| disk("read", &args.file, &error))?;
    let options = ImportOptions { name: &name, method, run_date: Utc::now().date_naive() };
    let made = from_ms_fhir_anonymizer(&text, &options)
        .map_err(|error| Failure::usage(format!("{}: {error}", args.file.display())))?;
    match &args.output {
        Some(path) => write_new(path, &made.policy)?,
        None if !ui.json() => ui.result(made.policy.trim_end()),
        None => {}
    }
    ui.object(&serde_json::json!({
        "policy": made.policy, "compiles": made.problems.is_empty(), "problems": made.problems, "rules": made.lines,
    }));
    let header = ["line", "rule", "method", "result", "clause", "here"];
    let rows = made.lines.iter().map(|line| {
        vec![
            if line.line > 0 { line.line.to_string() } else { "–".to_owned() },
            line.path.clone(),
            line.method.clone(),
            line.status.name().to_owned(),
            line.clause.clone().unwrap_or_default(),
            line.becomes.clone(),
        ]
    });
    if args.output.is_some() {
        ui.table(&header, rows);
    } else {
        // The policy alone is the result, as it may be written to a file.
        rows.for_each(|row| ui.hint(row.join("\t")));
    }
    if !made.problems.is_empty() {
        return Err(Failure::usage(format!(
            "the policy is not valid under {} yet:\n{}",
            method.name(),
            made.problems.join("\n")
        )));
    }
    if let Some(path) = &args.output {
        let count = |status| made.lines.iter().filter(|line| line.status == status).count();
        ui.say(format!(
            "{}: {} rules mapped, {} stricter, {} forbidden by {}, {} without counterpart. Read each line before anything runs \
             under it.",
            path.display(),
            count(Status::Mapped),
            count(Status::Stricter),
            count(Status::Forbidden),
            method.name(),
            count(Status::Unmapped),
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn disk(what: &str, path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::new(ExitKind::Storage, format!("cannot {what} {} ({})", path.display(), error.kind()))
}

/// What somebody has read is not written over.
fn write_new(path: &std::path::Path, text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let written = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    match written.and_then(|mut file| file.write_all(text.as_bytes())) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Failure::usage(format!("{} is there already\n  help: name a file that does not exist", path.display())))
        }
        written => written.map_err(|error| disk("write", path, &error)),
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
        let known = project.tables_to_be();
        let unmatched = project.unmatched_grants(&known).0.into_iter().chain(project.retention.unmatched(&known).0);
        wrong.extend(unmatched.map(|issue| issue.to_string()));
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
