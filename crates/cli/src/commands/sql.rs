//! `cordon sql` and `cordon tables`

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

use cordon_access::{Action, Authorizer, Decision, Purpose, Request};
use cordon_audit::{DatasetAccess, Event, Label, Statement};
use cordon_engine::output::{OutputFormat as Format, write_result};
use cordon_engine::{AuthorizedView, EngineError, PlanProblemKind, QueryEngine, QueryOptions};
use cordon_pipeline::error::{ExitKind, RunError, engine_exit};
use cordon_pipeline::project::OpenProject;
use cordon_pipeline::run::new_run_id;

use super::{Outcome, Place};
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
    out.flush().map_err(|error| {
        Failure::new(ExitKind::Storage, format!("the result could not be written: {}", error.kind()))
    })?;
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
    let seen = authorise(project, user, purpose)?;
    if seen.open.is_empty() {
        return Err(nothing_granted(project, user, purpose, "*")?);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(project.project.threads)
        .enable_all()
        .build()
        .map_err(|_| Failure::from(RunError::Internal("the query runtime")))?;
    let options = QueryOptions {
        memory_limit: project.project.memory,
        tmp_dir: project.tmp_folder(),
        threads: project.project.threads,
        ..QueryOptions::default()
    };
    let views: Vec<AuthorizedView> = seen
        .open
        .iter()
        .filter_map(|(table, decision)| AuthorizedView::from_decision(table.clone(), decision.clone()))
        .collect();
    let engine = QueryEngine::new(options, project.tables().clone())?;
    let id = new_run_id();
    let known: BTreeSet<String> = seen
        .open
        .iter()
        .flat_map(|(table, decision)| decision.columns.iter().chain([table]).map(|name| name.to_lowercase()))
        .collect();
    let statement = Statement::without_literals(sql, |name| known.contains(&name.to_lowercase()));
    let started = |access: Vec<DatasetAccess>| Event::QueryStarted {
        query: id.clone(),
        principal: user.to_owned(),
        purpose,
        statement_tag: project.audit_log().tag("statement", sql.as_bytes()),
        statement: statement.clone(),
        access,
    };
    runtime.block_on(async {
        let planned = match engine.session(&views)?.plan(sql).await {
            Ok(planned) => planned,
            Err(error) => {
                if is_unknown_table(&error) {
                    deny(project, user, purpose, "a table that is not there for the user")?;
                } else {
                    project.audit(&started(Vec::new()))?;
                    failed(project, &id, &error)?;
                }
                return Err(query_failure(&error));
            }
        };
        let access = planned
            .touched()
            .iter()
            .map(|touched| DatasetAccess {
                dataset: touched.table.clone(),
                columns: touched.columns.clone(),
                why: seen.open.get(&touched.table).map(|decision| decision.why.clone()).unwrap_or_default(),
            })
            .collect();
        // Durable before the first row leaves.
        project.audit(&started(access))?;
        let format = match format {
            OutputFormat::Text => Format::Table,
            OutputFormat::Json => Format::Json,
            OutputFormat::Csv => Format::Csv,
            OutputFormat::Arrow => Format::Arrow,
        };
        let written = match planned.execute() {
            Ok(stream) => write_result(stream, format, out).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(rows) => {
                project.audit(&Event::QueryFinished { query: id.clone(), rows })?;
                Ok(rows)
            }
            Err(error) => {
                failed(project, &id, &error)?;
                Err(query_failure(&error))
            }
        }
    })
}

fn failed(project: &OpenProject, query: &str, error: &EngineError) -> Result<(), Failure> {
    let what = Label::new(engine_exit(error).0);
    project.audit(&Event::QueryFailed { query: query.to_owned(), what })?;
    Ok(())
}

fn is_unknown_table(error: &EngineError) -> bool {
    match error {
        EngineError::NoSuchTable => true,
        EngineError::Planning(problem) => problem.kind == PlanProblemKind::UnknownTable,
        _ => false,
    }
}

fn query_failure(error: &EngineError) -> Failure {
    Failure::new(engine_exit(error).1, error.to_string())
}

/// What a user may see of the tables for a purpose.
struct Seen {
    open: BTreeMap<String, Decision>,
}

fn authorise(project: &OpenProject, user: &str, purpose: Purpose) -> Result<Seen, Failure> {
    let mut open = BTreeMap::new();
    for table in project.tables().tables()? {
        let Some(version) = project.tables().current(&table)? else { continue };
        let names: Vec<&str> = version.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let request = Request { user, purpose, dataset: &table, columns: &names, action: Action::Read };
        let decision = project.project.grants.decide(&request);
        if decision.allowed {
            open.insert(table, decision);
        }
    }
    Ok(Seen { open })
}

fn deny(project: &OpenProject, user: &str, purpose: Purpose, dataset: &str) -> Result<(), Failure> {
    project.audit(&Event::AccessDenied {
        principal: user.to_owned(),
        purpose: Some(purpose),
        dataset: dataset.to_owned(),
        columns: Vec::new(),
        why: Decision::denied().why,
    })?;
    Ok(())
}

/// The denial, put on the record first.
fn nothing_granted(project: &OpenProject, user: &str, purpose: Purpose, dataset: &str) -> Result<Failure, Failure> {
    deny(project, user, purpose, dataset)?;
    Ok(Failure::new(
        ExitKind::Denied,
        format!(
            "`{user}` may read nothing for {}\n  help: users and their grants are in cordon.yaml under `access`; \
             a grant holds for the purposes that it names",
            purpose.name()
        ),
    ))
}

fn parse_purpose(text: &str) -> Result<Purpose, Failure> {
    text.parse().map_err(|error| Failure::usage(format!("{error}")))
}

pub fn tables(ui: &Ui, place: &Place, args: &TablesArgs) -> Outcome {
    let purpose = parse_purpose(&args.purpose)?;
    let project = place.open_as(&args.user)?;
    let seen = authorise(&project, &args.user, purpose)?;
    if seen.open.is_empty() {
        return Err(nothing_granted(&project, &args.user, purpose, "*")?);
    }
    let mut listing = Vec::new();
    for (table, decision) in &seen.open {
        let rows = project.tables().current(table)?.map_or(0, |version| version.rows());
        listing.push((table, rows, &decision.columns));
    }
    let objects: Vec<_> = listing
        .iter()
        .map(|(table, rows, columns)| serde_json::json!({ "table": table, "rows": rows, "columns": columns }))
        .collect();
    ui.object(&objects);
    ui.table(
        &["table", "rows", "columns"],
        listing.into_iter().map(|(table, rows, columns)| vec![table.clone(), rows.to_string(), columns.join(", ")]),
    );
    Ok(ExitCode::SUCCESS)
}
