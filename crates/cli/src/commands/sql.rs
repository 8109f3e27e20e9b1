//! `cordon sql`

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Stdout, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cordon_access::{Principal, PurposeOfUse};
use cordon_engine::output::{OutputFormat as Format, write_telling};
use cordon_engine::{EngineError, OutputRule, QueryCluster};
use cordon_pipeline::error::{ExitKind, RunError};
use cordon_pipeline::project::OpenProject;
use cordon_query::{QueryError, Question, Questions, Record};

use super::signals::{self, Work};
use super::spark::{Queries, Spark};
use super::{Outcome, Place, rights};
use crate::args::{OutputFormat, SqlArgs};
use crate::ui::{self, Failure, Ui, plural};

pub fn sql(ui: &Ui, place: &Place, args: &SqlArgs) -> Outcome {
    let format = match &args.output {
        Some(path) => file_format(ui.format, path)?,
        None => ui.format,
    };
    let spark = Spark::asked(&args.on, ui, place)?;
    let project = Arc::new(place.open_as(&args.user)?);
    let bar = ui.tasks();
    let cluster = spark.map(|spark| {
        let bar = bar.clone();
        let progress = move |done, all| {
            bar.set_length(all);
            bar.set_position(done);
        };
        Arc::new(Queries::new(spark, progress))
    });
    let usage = |purpose| PurposeOfUse { purpose, project: args.research_project.clone(), reason: args.reason.clone() };
    let purpose = rights::purpose(&project, &args.user, &args.purpose)?;
    let begun = Begun::default();
    let work = Work::default();
    signals::watch(&work, Some(ENDING), {
        let (begun, cluster, ui) = (begun.clone(), cluster.clone(), Ui::new(ui.format, ui.quiet));
        move |code| {
            begun.give_up();
            if code == ExitKind::Failure as i32 {
                signals::say(move || ui.failure(&interrupted()));
                if let Some(cluster) = cluster {
                    cluster.close();
                }
            }
        }
    });
    let ask = |out: &mut dyn Output| {
        let questions = match &cluster {
            Some(cluster) => {
                let cluster = Arc::clone(cluster) as Arc<dyn QueryCluster>;
                Questions::new(Arc::clone(&project)).on_cluster(cluster, 0)
            }
            None => Questions::new(Arc::clone(&project)),
        };
        let way = Way { format, begun: &begun, heeded: Some(&work) };
        let answered = asked(&questions, &args.query, &args.user, usage(purpose), &way, out);
        bar.finish_and_clear();
        if let Some(cluster) = &cluster {
            cluster.close();
        }
        answered
    };
    if let Some(path) = &args.output {
        let (rows, rule) = ask(&mut NewFile::at(path, &begun))?;
        tell_kept(ui, &project);
        ui.object(&serde_json::json!({ "rows": rows, "output": path }));
        ui.hint(format!("{rows} row{}", plural(rows as usize)));
        tell(ui, rule);
    } else {
        let (_, rule) = ask(&mut BufWriter::new(io::stdout()))?;
        tell_kept(ui, &project);
        tell(ui, rule);
    }
    Ok(ExitCode::SUCCESS)
}

/// With every such answer, whether anything was withheld or not: that says something too.
fn tell(ui: &Ui, rule: Option<OutputRule>) {
    let Some(OutputRule { smallest, rounding }) = rule else { return };
    let rounding = rounding.map_or(String::new(), |base| format!("; counts are rounded to multiples of {base}"));
    ui.hint(format!(
        "groups of fewer than {smallest} persons, and groups that would give one away, are not shown if there are any{rounding}"
    ));
}

/// Policies of an Admin that does not answer may have changed since they were confirmed: for programs and people alike.
fn tell_kept(ui: &Ui, project: &OpenProject) {
    let Some(since) = project.policy_source().ok().and_then(|source| source.unconfirmed()) else { return };
    let seconds = since.as_secs();
    let text = format!(
        "the Ranger Admin did not answer: the policies are those that it confirmed {} ago",
        match seconds {
            0..120 => format!("{seconds} s"),
            120..7200 => format!("{} min", seconds / 60),
            _ => format!("{} h", seconds / 3600),
        }
    );
    if ui.json() {
        ui::line_to_stderr(
            &serde_json::json!({ "warning": text, "policies_confirmed_seconds_ago": seconds }).to_string(),
        );
    } else {
        ui.hint(text);
    }
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

    /// Nobody gets the rest.
    fn discard(&mut self) {}
}

impl Output for BufWriter<Stdout> {
    fn discard(&mut self) {
        // Dropped, it would still write what it holds.
        drop(std::mem::replace(self, BufWriter::new(io::stdout())).into_parts());
    }
}

impl Output for Vec<u8> {}
impl Output for io::Sink {}

/// A file that appears under its name when it is whole. Until then the rows, which are in clear, stand beside it for its
/// owner only; nothing is made before the first byte, which comes after the query's entry in the log.
struct NewFile {
    path: PathBuf,
    beside: PathBuf,
    file: Option<BufWriter<File>>,
    begun: Begun,
}

impl NewFile {
    fn at(path: &Path, begun: &Begun) -> Self {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}.part", std::process::id()));
        Self { path: path.to_owned(), beside: path.with_file_name(name), file: None, begun: begun.clone() }
    }

    fn open(&mut self) -> io::Result<&mut BufWriter<File>> {
        if self.file.is_none() {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.beside)?;
            self.begun.lock().beside = Some(self.beside.clone());
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
        self.begun.lock().beside = None;
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

/// What a query has begun: given up where a signal ends it, whoever then does that.
#[derive(Clone, Default)]
struct Begun(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    /// That it was given up has to be on the record.
    record: Option<Record>,
    /// Rows in clear that nobody will get.
    beside: Option<PathBuf>,
}

impl Begun {
    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up(&self) {
        let mut open = self.lock();
        if let Some(beside) = open.beside.take() {
            let _ = fs::remove_file(beside);
        }
        // While it is written nothing more leaves, and nobody ends the process.
        drop(open.record.take());
    }
}

fn interrupted() -> Failure {
    Failure::new(ExitKind::Failure, "the query was interrupted")
}

/// How a question is asked and answered.
struct Way<'a> {
    format: OutputFormat,
    begun: &'a Begun,
    /// Where signals end the query and not the process: what was begun elsewhere ends too, rows in clear do not stay beside a file that nobody
    /// gets, and the record says that it was given up.
    heeded: Option<&'a Work>,
}

/// The same for a purpose that needs no more said.
pub fn query(
    project: &Arc<OpenProject>,
    sql: &str,
    user: &str,
    purpose: &str,
    format: OutputFormat,
    out: &mut dyn Output,
) -> Result<u64, Failure> {
    let purpose = rights::purpose(project, user, purpose)?;
    let way = Way { format, begun: &Begun::default(), heeded: None };
    asked(&Questions::new(Arc::clone(project)), sql, user, purpose.into(), &way, out).map(|(rows, _)| rows)
}

/// How soon Ctrl-C is noticed.
const LOOK: Duration = Duration::from_millis(100);
/// How long a query that was interrupted may take to look up from its work: an alert of an emergency is told by then.
const ENDING: Duration = Duration::from_secs(7);

/// Plans, puts the query on the record, and only then lets rows leave.
fn asked(
    questions: &Questions,
    sql: &str,
    user: &str,
    usage: PurposeOfUse,
    way: &Way<'_>,
    out: &mut dyn Output,
) -> Result<(u64, Option<OutputRule>), Failure> {
    let question = Question { principal: Principal::named(user), usage, sql: sql.to_owned() };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(questions.project().project.threads)
        .thread_stack_size(cordon_engine::STACK)
        .enable_all()
        .build()
        .map_err(|_| RunError::Internal("the query runtime"))?;
    let format = match way.format {
        OutputFormat::Text => Format::Table,
        OutputFormat::Json => Format::Json,
        OutputFormat::Csv => Format::Csv,
        OutputFormat::Arrow => Format::Arrow,
    };
    let begun = way.begun;
    let answering = async {
        let answer = questions.ask(question).await?;
        let rule = answer.output_rule();
        let (rows, record) = answer.into_parts();
        begun.lock().record = Some(record);
        let mut left = |rows| {
            if let Some(record) = &mut begun.lock().record {
                record.left(rows);
            }
        };
        let written = write_telling(rows, format, &mut *out, &mut left).await;
        let kept = written.and_then(|rows| {
            let place = Path::new("the output");
            out.keep().map(|()| rows).map_err(|error| EngineError::io("write the result", place, &error))
        });
        Ok::<_, QueryError>((kept, rule))
    };
    let stopped = async {
        loop {
            tokio::time::sleep(LOOK).await;
            if way.heeded.is_some_and(|work| work.stop.load(Ordering::Relaxed)) {
                return;
            }
        }
    };
    let answered = runtime.block_on(async {
        tokio::select! {
            answered = answering => Some(answered),
            () = stopped => None,
        }
    });
    // What is where it was to go is told as that, whatever comes now.
    let told = answered.map(|answered| {
        let (kept, rule) = answered?;
        let record = begun.lock().record.take();
        let record = record.ok_or(RunError::Interrupted)?;
        runtime.block_on(async {
            match kept {
                Ok(rows) => record.finished(rows).await.map(|()| (rows, rule)),
                Err(error) => Err(record.failed(error).await),
            }
        })
    });
    if let Some(work) = way.heeded {
        work.over.store(true, Ordering::Relaxed);
    }
    if let Some(told) = told {
        return told.map_err(Failure::query);
    }
    begun.give_up();
    out.discard();
    // What looks up from its work only later does not keep the process.
    runtime.shutdown_timeout(ENDING);
    Err(interrupted())
}
