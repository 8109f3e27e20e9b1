//! `cordon sql` and `cordon tables`

use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

use cordon_access::{Purpose, Request};
use cordon_audit::Event;
use cordon_engine::EngineError;
use cordon_engine::output::{Format, write_results};
use cordon_engine::session::{AuthorizedView, QueryEngine, QueryOptions};
use cordon_pipeline::error::{ExitKind, RunError};
use cordon_pipeline::project::OpenProject;

use super::{Outcome, Place, os_user};
use crate::args::{OutputFormat, SqlArgs, TablesArgs};
use crate::ui::{Failure, Ui, plural};

pub fn sql(ui: &Ui, place: &Place, args: &SqlArgs) -> Outcome {
    let project = place.open_as(&args.user)?;
    let mut out: Box<dyn Write + Send> = match &args.output {
        Some(path) => {
            let file = File::create(path).map_err(|error| {
                Failure::new(ExitKind::Storage, format!("cannot create {}: {}", path.display(), error.kind()))
            })?;
            Box::new(BufWriter::new(file))
        }
        None => Box::new(BufWriter::new(std::io::stdout())),
    };
    let rows = query(&project, &args.query, &args.user, &args.purpose, ui.format, &mut out)?;
    out.flush().map_err(|error| Failure::new(ExitKind::Storage, format!("the result could not be written: {}", error.kind())))?;
    if args.output.is_some() {
        ui.hint(format!("{rows} row{}", plural(rows as usize)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Plans, puts the query on the record, and only then lets rows leave.
pub fn query(
    project: &OpenProject,
    sql: &str,
    user: &str,
    purpose: &str,
    format: OutputFormat,
    out: &mut (dyn Write + Send),
) -> Result<u64, Failure> {
    let purpose = parse_purpose(purpose)?;
    let (views, denied) = authorise(project, user, purpose)?;
    if views.is_empty() {
        deny(project, user, purpose, denied)?;
        return Err(nothing_granted(project, user, purpose));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(project.project.threads)
        .build()
        .map_err(|_| Failure::from(RunError::Internal("the query runtime")))?;
    let engine = QueryEngine::new(
        QueryOptions {
            memory_limit: project.project.memory,
            tmp_dir: project.tmp_folder(),
            threads: project.project.threads,
        },
        project.tables().clone(),
    )?;
    runtime.block_on(async {
        let planned = match engine.session(views)?.plan(sql).await {
            Ok(planned) => planned,
            Err(error) => {
                let unknown = error.unknown_table().filter(|name| denied.iter().any(|table| table == name));
                if let Some(name) = unknown {
                    deny(project, user, purpose, vec![name.to_owned()])?;
                } else {
                    project.audit(&Event::QueryFailed {
                        user: user.to_owned(),
                        purpose: purpose.name().to_owned(),
                        kind: error.kind().to_owned(),
                        os_user: os_user(),
                    })?;
                }
                return Err(query_failure(error));
            }
        };
        project.audit(&Event::QueryStarted {
            user: user.to_owned(),
            purpose: purpose.name().to_owned(),
            statement: planned.normalized_sql().to_owned(),
            datasets: planned.touched().to_vec(),
            os_user: os_user(),
        })?;
        let format = match format {
            OutputFormat::Text => Format::Table,
            OutputFormat::Json => Format::Json,
            OutputFormat::Csv => Format::Csv,
            OutputFormat::Arrow => Format::Arrow,
        };
        let written = async { write_results(planned.execute().await?, format, out).await }.await;
        match written {
            Ok(rows) => {
                project.audit(&Event::QueryFinished {
                    user: user.to_owned(),
                    purpose: purpose.name().to_owned(),
                    rows,
                })?;
                Ok(rows)
            }
            Err(error) => {
                project.audit(&Event::QueryFailed {
                    user: user.to_owned(),
                    purpose: purpose.name().to_owned(),
                    kind: error.kind().to_owned(),
                    os_user: os_user(),
                })?;
                Err(query_failure(error))
            }
        }
    })
}

fn query_failure(error: EngineError) -> Failure {
    let exit = if error.unknown_table().is_some() { ExitKind::Denied } else { RunError::from_engine_exit(&error) };
    Failure::new(exit, error.to_string())
}

/// The views that the user may see for the purpose, and the tables that stay out of sight.
fn authorise(project: &OpenProject, user: &str, purpose: Purpose) -> Result<(Vec<AuthorizedView>, Vec<String>), Failure> {
    let mut views = Vec::new();
    let mut denied = Vec::new();
    for table in project.tables().tables()? {
        let Some(manifest) = project.tables().current(&table)? else { continue };
        let names: Vec<&str> = manifest.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let decision = project.project.grants.decide(&Request::read(user, purpose, &table, &names));
        if decision.allowed && !decision.columns.is_empty() {
            views.push(AuthorizedView::new(table, decision.columns));
        } else {
            denied.push(table);
        }
    }
    Ok((views, denied))
}

fn deny(project: &OpenProject, user: &str, purpose: Purpose, datasets: Vec<String>) -> Result<(), Failure> {
    project.audit(&Event::AccessDenied {
        user: user.to_owned(),
        purpose: purpose.name().to_owned(),
        datasets,
        os_user: os_user(),
    })?;
    Ok(())
}

fn nothing_granted(project: &OpenProject, user: &str, purpose: Purpose) -> Failure {
    let hint = if project.project.grants.knows(user) {
        "ask for a grant in cordon.yaml, or state another purpose"
    } else {
        "users are listed in cordon.yaml under `access.users`"
    };
    Failure::new(ExitKind::Denied, format!("`{user}` may read nothing for {}\n  help: {hint}", purpose.name()))
}

fn parse_purpose(text: &str) -> Result<Purpose, Failure> {
    text.parse().map_err(|error| Failure::usage(format!("{error}")))
}

pub fn tables(ui: &Ui, place: &Place, args: &TablesArgs) -> Outcome {
    let purpose = parse_purpose(&args.purpose)?;
    let project = place.open_as(&args.user)?;
    let (views, denied) = authorise(&project, &args.user, purpose)?;
    if views.is_empty() {
        deny(&project, &args.user, purpose, denied)?;
        return Err(nothing_granted(&project, &args.user, purpose));
    }
    let mut listing = Vec::new();
    for view in &views {
        let rows = project.tables().current(view.table())?.map_or(0, |manifest| manifest.rows());
        listing.push(serde_json::json!({ "table": view.table(), "rows": rows, "columns": view.columns() }));
    }
    ui.object(&listing);
    ui.table(
        &["table", "rows", "columns"],
        views.iter().zip(&listing).map(|(view, row)| {
            vec![
                view.table().to_owned(),
                row.get("rows").map(ToString::to_string).unwrap_or_default(),
                view.columns().join(", "),
            ]
        }),
    );
    Ok(ExitCode::SUCCESS)
}
