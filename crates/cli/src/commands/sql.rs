//! `cordon sql`

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Stdout, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cordon_access::{Action, Authorizer, Decision, Privilege, Purpose, Request};
use cordon_audit::{DatasetAccess, Event, Label, Statement};
use cordon_engine::output::{OutputFormat as Format, write_result};
use cordon_engine::{AuthorizedView, EngineError, PlanProblemKind, QueryEngine, QueryOptions};
use cordon_pipeline::error::{ExitKind, RunError, engine_exit};
use cordon_pipeline::project::OpenProject;
use cordon_pipeline::run::new_run_id;

use super::{Outcome, Place, rights};
use crate::args::{OutputFormat, SqlArgs};
use crate::ui::{Failure, Ui, plural};

pub fn sql(ui: &Ui, place: &Place, args: &SqlArgs) -> Outcome {
    let format = match &args.output {
        Some(path) => file_format(ui.format, path)?,
        None => ui.format,
    };
    let project = place.open_as(&args.user)?;
    let ask = |out: &mut dyn Output| query(&project, &args.query, &args.user, &args.purpose, format, out);
    if let Some(path) = &args.output {
        let rows = ask(&mut NewFile::at(path))?;
        ui.object(&serde_json::json!({ "rows": rows, "output": path }));
        ui.hint(format!("{rows} row{}", plural(rows as usize)));
    } else {
        ask(&mut BufWriter::new(io::stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A file holds all rows, so it is never the table for people, which is cut.
fn file_format(asked: OutputFormat, path: &Path) -> Result<OutputFormat, Failure> {
    if asked != OutputFormat::Text {
        return Ok(asked);
    }
    match path.extension().and_then(|extension| extension.to_str()).map(str::to_lowercase).as_deref() {
        Some("csv") => Ok(OutputFormat::Csv),
        Some("json") => Ok(OutputFormat::Json),
        Some("arrow" | "arrows") => Ok(OutputFormat::Arrow),
        _ => Err(Failure::usage(
            "say how the file is to be written: `--format csv`, `json` or `arrow`, or a name that ends in .csv, .json or .arrow",
        )),
    }
}

/// Where a result goes.
pub trait Output: Write + Send {
    /// All rows are written: what was prepared is put in its place.
    fn keep(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for BufWriter<Stdout> {}
impl Output for Vec<u8> {}
impl Output for io::Sink {}

/// A file that appears under its name when it is whole. Until then the rows, which are in clear, stand beside it for its
/// owner only; nothing is made before the first byte, which comes after the query's entry in the log.
struct NewFile {
    path: PathBuf,
    beside: PathBuf,
    file: Option<BufWriter<File>>,
}

impl NewFile {
    fn at(path: &Path) -> Self {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}.part", std::process::id()));
        Self { path: path.to_owned(), beside: path.with_file_name(name), file: None }
    }

    fn open(&mut self) -> io::Result<&mut BufWriter<File>> {
        if self.file.is_none() {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.beside)?;
            self.file = Some(BufWriter::new(file));
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.open()?.flush()
    }
}

impl Output for NewFile {
    fn keep(&mut self) -> io::Result<()> {
        let file = self.open()?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&self.beside, &self.path)?;
        self.file = None;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Rows of a query that failed are nobody's result.
            let _ = fs::remove_file(&self.beside);
        }
    }
}

/// Plans, puts the query on the record, and only then lets rows leave.
pub fn query(
    project: &OpenProject,
    sql: &str,
    user: &str,
    purpose: &str,
    format: OutputFormat,
    out: &mut dyn Output,
) -> Result<u64, Failure> {
    let purpose = rights::purpose(project, user, purpose)?;
    let store = Stored::read(project)?;
    let open = store.authorise(project, user, purpose);
    let asked = Asked::new(project, &store, &open, sql, user, purpose);
    if open.is_empty() {
        asked.started(Vec::new())?;
        asked.deny_named()?;
        asked.failed("denied")?;
        return Err(nothing_granted(user, purpose));
    }
    let views: Vec<AuthorizedView> = open
        .iter()
        .filter_map(|(table, decision)| AuthorizedView::from_decision(table.clone(), decision.clone()))
        .collect();
    let (runtime, engine) = match prepare(project) {
        Ok(ready) => ready,
        Err(error) => {
            asked.started(Vec::new())?;
            asked.failed(error.kind())?;
            return Err(error.into());
        }
    };
    runtime.block_on(async {
        let planned = match engine.session(&views) {
            Ok(session) => session.plan(sql).await,
            Err(error) => Err(error),
        };
        let planned = match planned {
            Ok(planned) => planned,
            Err(error) => {
                asked.started(Vec::new())?;
                return Err(asked.not_planned(&error)?);
            }
        };
        let access = planned
            .touched()
            .iter()
            .map(|touched| DatasetAccess {
                dataset: touched.table.clone(),
                columns: touched.columns.clone(),
                why: open.get(&touched.table).map(|decision| decision.why.clone()).unwrap_or_default(),
            })
            .collect();
        // Durable before the first row leaves.
        asked.started(access)?;
        asked.for_one_recipient(planned.touched().iter().map(|touched| touched.table.as_str()))?;
        let format = match format {
            OutputFormat::Text => Format::Table,
            OutputFormat::Json => Format::Json,
            OutputFormat::Csv => Format::Csv,
            OutputFormat::Arrow => Format::Arrow,
        };
        let written = match planned.execute() {
            Ok(stream) => write_result(stream, format, &mut *out).await,
            Err(error) => Err(error),
        };
        let kept = written.and_then(|rows| {
            let place = Path::new("the output");
            out.keep().map(|()| rows).map_err(|error| EngineError::io("write the result", place, &error))
        });
        match kept {
            Ok(rows) => {
                project.audit(&Event::QueryFinished { query: asked.id.clone(), rows })?;
                Ok(rows)
            }
            Err(error) => {
                asked.failed(engine_exit(&error).0)?;
                Err(query_failure(&error))
            }
        }
    })
}

fn prepare(project: &OpenProject) -> Result<(tokio::runtime::Runtime, QueryEngine), RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(project.project.threads)
        .enable_all()
        .build()
        .map_err(|_| RunError::Internal("the query runtime"))?;
    let options = QueryOptions {
        memory_limit: project.project.memory,
        tmp_dir: project.tmp_folder(),
        threads: project.project.threads,
        ..QueryOptions::default()
    };
    Ok((runtime, QueryEngine::new(options, project.tables().clone())?))
}

/// All tables and columns that there are, whoever may see them.
pub struct Stored {
    columns: BTreeMap<String, Vec<String>>,
    /// Whom each table was made for.
    recipients: BTreeMap<String, Option<String>>,
    /// Tables that cannot be opened: they must not stand in the way of the others.
    damaged: BTreeMap<String, RunError>,
}

impl Stored {
    /// A table that cannot be opened is left out, and that goes on the record.
    pub fn read(project: &OpenProject) -> Result<Self, Failure> {
        let mut stored = Self { columns: BTreeMap::new(), recipients: BTreeMap::new(), damaged: BTreeMap::new() };
        for table in project.tables().tables()? {
            match project.tables().current(&table) {
                Ok(Some(version)) => {
                    let names = version.schema.fields().iter().map(|field| field.name().clone());
                    stored.columns.insert(table.clone(), names.collect());
                    stored.recipients.insert(table, version.manifest.provenance.recipient.clone());
                }
                Ok(None) => {}
                Err(error) => {
                    let what = Label::new(engine_exit(&error).0);
                    project.audit(&Event::TableUnreadable { table: table.clone(), what })?;
                    stored.damaged.insert(table, error.into());
                }
            }
        }
        Ok(stored)
    }

    /// What a user may see of the tables for a purpose.
    pub fn authorise(&self, project: &OpenProject, user: &str, purpose: Purpose) -> BTreeMap<String, Decision> {
        let mut open = BTreeMap::new();
        for (table, columns) in &self.columns {
            let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
            let request = Request { user, purpose, dataset: table, columns: &columns, action: Action::Read };
            let decision = project.project.grants.decide(&request);
            if decision.allowed {
                open.insert(table.clone(), decision);
            }
        }
        open
    }
}

/// One question, for the record.
struct Asked<'a> {
    project: &'a OpenProject,
    store: &'a Stored,
    open: &'a BTreeMap<String, Decision>,
    id: String,
    user: &'a str,
    purpose: Purpose,
    sql: &'a str,
    /// With every name that exists, also where the user may not know of it: the record is not for the user.
    statement: Statement,
    /// All names in the text, in small letters.
    named: BTreeSet<String>,
}

impl<'a> Asked<'a> {
    fn new(
        project: &'a OpenProject,
        store: &'a Stored,
        open: &'a BTreeMap<String, Decision>,
        sql: &'a str,
        user: &'a str,
        purpose: Purpose,
    ) -> Self {
        let tables = store.columns.keys().chain(store.damaged.keys());
        let known: BTreeSet<String> =
            tables.chain(store.columns.values().flatten()).map(|name| name.to_lowercase()).collect();
        let named = RefCell::new(BTreeSet::new());
        let statement = Statement::without_literals(sql, |name| {
            let name = name.to_lowercase();
            let is_known = known.contains(&name);
            named.borrow_mut().insert(name);
            is_known
        });
        Self { project, store, open, id: new_run_id(), user, purpose, sql, statement, named: named.into_inner() }
    }

    fn started(&self, access: Vec<DatasetAccess>) -> Result<(), Failure> {
        self.project.audit(&Event::QueryStarted {
            query: self.id.clone(),
            principal: self.user.to_owned(),
            purpose: self.purpose,
            statement_tag: self.project.audit_log().tag("statement", self.sql.as_bytes()),
            statement: self.statement.clone(),
            access,
        })?;
        Ok(())
    }

    fn failed(&self, what: &'static str) -> Result<(), Failure> {
        self.project.audit(&Event::QueryFailed { query: self.id.clone(), what: Label::new(what) })?;
        Ok(())
    }

    fn deny(&self, dataset: &str, columns: Vec<String>) -> Result<(), Failure> {
        rights::denied(self.project, self.user, Some(self.purpose), dataset, columns)
    }

    /// Tables that were made for different recipients are not put together, in whatever way: what their tokens hide, their other columns
    /// may show. It takes an action of its own.
    fn for_one_recipient<'t>(&self, tables: impl Iterator<Item = &'t str> + Clone) -> Result<(), Failure> {
        let recipients: BTreeSet<Option<&str>> =
            tables.clone().map(|table| self.store.recipients.get(table).and_then(Option::as_deref)).collect();
        if recipients.len() < 2 {
            return Ok(());
        }
        let about = tables.collect::<Vec<_>>().join(", ");
        rights::require(self.project, self.user, self.purpose, Privilege::JoinRecipients, &about).or_else(|refused| {
            self.failed("denied")?;
            Err(refused)
        })
    }

    /// The tables that the text names, each with the columns that it names and that `hidden` is true of.
    fn named_tables(&self, hidden: impl Fn(&str, &str) -> bool) -> Vec<(String, Vec<String>)> {
        let tables = self.store.columns.iter().filter(|(table, _)| self.named.contains(*table));
        tables
            .map(|(table, columns)| {
                let named = columns
                    .iter()
                    .filter(|column| self.named.contains(&column.to_lowercase()) && hidden(table, column))
                    .cloned();
                (table.clone(), named.collect())
            })
            .collect()
    }

    /// Denials of all that the text names and that exists.
    fn deny_named(&self) -> Result<(), Failure> {
        let named = self.named_tables(|_, _| true);
        if named.is_empty() {
            return self.deny("*", Vec::new());
        }
        named.into_iter().try_for_each(|(table, columns)| self.deny(&table, columns))
    }

    /// Why there is no plan. What exists and looks absent to the user is a denial on the record, although the answer
    /// does not tell it from a slip of the pen.
    fn not_planned(&self, error: &EngineError) -> Result<Failure, Failure> {
        let (what, _) = engine_exit(error);
        if matches!(error, EngineError::Refused { .. }) {
            self.deny_named()?;
        } else if matches!(error, EngineError::Planning(_) | EngineError::NoSuchTable) {
            let sees = |table: &str, column: &str| {
                self.open.get(table).is_some_and(|decision| decision.columns.iter().any(|seen| seen == column))
            };
            let mut denied = self.named_tables(|table, column| !sees(table, column));
            denied.retain(|(table, columns)| !columns.is_empty() || !self.open.contains_key(table));
            let nothing_hidden = denied.is_empty();
            for (table, columns) in denied {
                self.deny(&table, columns)?;
            }
            if nothing_hidden && is_unknown_table(error) {
                if let Some(damage) = self.damaged_and_granted() {
                    self.failed(damage.kind())?;
                    return Ok(Failure::new(damage.exit(), damage.to_string()));
                }
                self.deny("_", Vec::new())?;
            }
        }
        self.failed(what)?;
        Ok(query_failure(error))
    }

    /// A table that the text names, that the user may see something of, and that cannot be opened.
    fn damaged_and_granted(&self) -> Option<&RunError> {
        let grants = &self.project.project.grants;
        let mut damaged = self.store.damaged.iter();
        damaged
            .find(|(table, _)| self.named.contains(*table) && grants.covers(self.user, self.purpose, table))
            .map(|(_, error)| error)
    }
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

pub fn nothing_granted(user: &str, purpose: Purpose) -> Failure {
    Failure::new(
        ExitKind::Denied,
        format!(
            "`{user}` may read nothing for {}\n  help: users and their grants are in cordon.yaml under `access`; \
             a grant holds for the purposes that it names",
            purpose.name()
        ),
    )
}
