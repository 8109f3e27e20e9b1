//! A cluster of Apache Spark: this program is sent to its executors, once a session, and does there what it is told.

pub mod queries;
mod units;

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use cordon_pipeline::error::{ExitKind, RunError};
use cordon_pipeline::source::Hashed;
use cordon_spark::{Endpoint, PythonFunction, Session, SparkError, worker_python};

use super::{Place, os_user};
use crate::args::{ClusterArgs, EngineArgs, EngineName};
use crate::ui::{Failure, Ui};

pub use queries::Queries;
pub use units::Units;

/// What executors import: it hands orders to the program.
const WORKER: &str = include_str!("spark/cordon_worker.py");
const MODULE: &str = "cordon_worker";
/// The executors' Python, until they say otherwise.
const PYTHON: &str = "3.12";
/// Each order is a row of its own, and each row is a task's, or a batch of its own where a function takes it.
const SETTINGS: [(&str, &str); 2] =
    [("spark.sql.leafNodeDefaultParallelism", "1000000"), ("spark.sql.execution.arrow.maxRecordsPerBatch", "1")];

/// A cluster that is reached when there is something to do.
pub struct Spark {
    endpoint: Endpoint,
    /// Where executors find the project.
    project: String,
    /// Executors have the program already.
    installed: bool,
    tell: Box<dyn Fn(String) + Send + Sync>,
    open: Mutex<Standing>,
}

/// How it stands with the session.
#[derive(Default)]
enum Standing {
    #[default]
    Closed,
    Open(Arc<Opened>),
    Failed(Instant, Trouble),
}

/// How soon it is noticed that a session is open by now, or that nobody waits for it any more.
const LOOK: Duration = Duration::from_millis(50);
/// A cluster that could not be reached is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);

struct Opened {
    session: Session,
    /// Of the program as it was sent; empty where it was not.
    name: String,
    digest: String,
    python: Mutex<Python>,
}

/// The minor version of the executors' Python.
#[derive(Clone)]
struct Python {
    version: String,
    /// By Spark, and not a guess.
    is_told: bool,
}

/// What went wrong with a cluster, for units and queries alike.
#[derive(Clone)]
struct Trouble {
    exit: ExitKind,
    text: String,
}

impl From<Trouble> for RunError {
    fn from(Trouble { exit, text }: Trouble) -> Self {
        Self::Elsewhere { exit, text }
    }
}

impl Spark {
    /// The cluster that is asked for on the command line, where one is.
    pub fn asked(args: &EngineArgs, ui: &Ui, place: &Place) -> Result<Option<Self>, Failure> {
        let ClusterArgs { remote, executor_project, installed } = &args.cluster;
        match args.engine {
            EngineName::Embedded if remote.is_some() || executor_project.is_some() || *installed => {
                Err(Failure::usage(
                    "`--remote`, `--executor-project` and `--installed` are for a cluster\n  help: add `--engine spark`",
                ))
            }
            EngineName::Embedded => Ok(None),
            EngineName::Spark => {
                let ui = ui.clone();
                Self::new(&args.cluster, &place.project()?.root, move |text| ui.hint(text)).map(Some)
            }
        }
    }

    /// `tell` is told which Spark it is, once it is reached.
    pub fn new(
        args: &ClusterArgs,
        project: &Path,
        tell: impl Fn(String) + Send + Sync + 'static,
    ) -> Result<Self, Failure> {
        let Some(remote) = args.remote.clone().or_else(|| std::env::var("SPARK_REMOTE").ok()) else {
            return Err(Failure::usage(
                "`--engine spark` needs a Spark Connect server\n  help: say `--remote sc://HOST:15002/;use_ssl=true`, or set SPARK_REMOTE",
            ));
        };
        let endpoint = Endpoint::parse(&remote, &|name| std::env::var(name).ok())
            .map_err(|error| Failure::new(ExitKind::Usage, told(&error)))?;
        let project = args.executor_project.as_deref().unwrap_or(project);
        let Some(project) = project.to_str().map(str::to_owned) else {
            return Err(Failure::usage(
                "the path of the project's folder is not UTF-8, and cannot be told to executors",
            ));
        };
        Ok(Self { endpoint, project, installed: args.installed, tell: Box::new(tell), open: Mutex::default() })
    }

    /// The session, with the program there. `goes_on` is asked between steps, and where it says no there is none.
    fn open(&self, goes_on: &dyn Fn() -> bool) -> Result<Option<Arc<Opened>>, Trouble> {
        let mut open = loop {
            match self.open.try_lock() {
                Ok(open) => break open,
                Err(TryLockError::Poisoned(open)) => break open.into_inner(),
                // Somebody else opens it.
                Err(TryLockError::WouldBlock) if goes_on() => std::thread::sleep(LOOK),
                Err(TryLockError::WouldBlock) => return Ok(None),
            }
        };
        match &*open {
            Standing::Open(open) => return Ok(Some(Arc::clone(open))),
            // Who waited for the one that tried need not try as well.
            Standing::Failed(at, trouble) if at.elapsed() < AGAIN => return Err(trouble.clone()),
            _ => {}
        }
        let opened = self.opened(goes_on);
        *open = match &opened {
            Ok(Some(opened)) => Standing::Open(Arc::clone(opened)),
            Ok(None) => Standing::Closed,
            Err(trouble) => Standing::Failed(Instant::now(), trouble.clone()),
        };
        opened
    }

    fn opened(&self, goes_on: &dyn Fn() -> bool) -> Result<Option<Arc<Opened>>, Trouble> {
        let session = Session::open(&self.endpoint, &os_user()).map_err(|error| self.trouble(&error))?;
        if !goes_on() {
            return Ok(None);
        }
        (self.tell)(format!("Spark {} at {}", session.version(), self.endpoint.shown()));
        session
            .add_artifact(&format!("pyfiles/{MODULE}.py"), &mut WORKER.as_bytes(), WORKER.len() as u64)
            .and_then(|()| session.set(&SETTINGS))
            .map_err(|error| self.trouble(&error))?;
        if !goes_on() {
            return Ok(None);
        }
        let (name, digest) = if self.installed { Default::default() } else { self.send_program(&session)? };
        if !goes_on() {
            return Ok(None);
        }
        let python = Mutex::new(Python { version: PYTHON.to_owned(), is_told: false });
        Ok(Some(Arc::new(Opened { session, name, digest, python })))
    }

    fn is_open(&self) -> bool {
        self.open.try_lock().is_ok_and(|open| matches!(*open, Standing::Open(_)))
    }

    /// The next one who needs it opens another session.
    fn forget(&self, opened: &Arc<Opened>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*open, Standing::Open(open) if Arc::ptr_eq(open, opened)) {
            *open = Standing::Closed;
        }
    }

    /// Ends what is still done there. What is just being opened is not waited for.
    pub fn close(&self) {
        let open = self.open.try_lock().map(|mut open| std::mem::replace(&mut *open, Standing::Closed));
        if let Ok(Standing::Open(open)) = open {
            open.session.close();
        }
    }

    /// Sends this very program. What arrives is hashed again before it runs.
    fn send_program(&self, session: &Session) -> Result<(String, String), Trouble> {
        let failed = |_| unsent();
        // Not by its name: another one may stand there since this one was begun.
        let mut file = File::open("/proc/self/exe").map_err(failed)?;
        let mut hashed = Hashed::new(&mut file);
        let length = io::copy(&mut hashed, &mut io::sink()).map_err(failed)?;
        let digest = hashed.hash().hex();
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let name = format!("cordon-{}", digest.get(..16).unwrap_or_default());
        session.add_artifact(&format!("files/{name}"), &mut file, length).map_err(|error| self.trouble(&error))?;
        Ok((name, digest))
    }

    /// What went wrong, and with which server.
    fn trouble(&self, error: &SparkError) -> Trouble {
        let exit = match error {
            SparkError::Endpoint { .. } => ExitKind::Usage,
            SparkError::Unreachable { .. } | SparkError::NotTrusted { .. } | SparkError::Refused => ExitKind::Storage,
            _ => ExitKind::Failure,
        };
        Trouble { exit, text: format!("{}: {}", self.endpoint.shown(), told(error)) }
    }
}

fn unsent() -> Trouble {
    Trouble {
        exit: ExitKind::Storage,
        text: "this program cannot be read, to send it to the executors\n  help: install it there, set CORDON_PROGRAM in their \
               environment, and say `--installed`"
            .to_owned(),
    }
}

fn told(error: &SparkError) -> String {
    format!("{error}\n  help: {}", error.help())
}

impl Opened {
    fn python(&self) -> Python {
        self.python.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is worth another attempt, because executors have another Python than was thought.
    fn has_learned(&self, error: &SparkError, from: &Python) -> Result<bool, Trouble> {
        let Some(theirs) = worker_python(error) else { return Ok(false) };
        let mut python = self.python.lock().unwrap_or_else(PoisonError::into_inner);
        // Another job may have learned it meanwhile.
        if python.version != from.version {
            return Ok(true);
        }
        if from.is_told {
            return Err(Trouble {
                exit: ExitKind::Usage,
                text: format!(
                    "executors have Python {} and {theirs}\n  help: give all executors of the cluster one version of Python",
                    from.version
                ),
            });
        }
        *python = Python { version: theirs, is_told: true };
        Ok(true)
    }
}

/// A trouble of an executor's program, as it wrote it.
fn on_executor(code: i32, text: Option<&str>) -> Trouble {
    let text = text.filter(|text| !text.is_empty()).unwrap_or("its program ended and does not say why");
    Trouble { exit: ExitKind::of(u8::try_from(code).unwrap_or(1)), text: format!("on an executor: {}", as_told(text)) }
}

/// What the program wrote there as JSON.
fn as_told(text: &str) -> String {
    let last = text.lines().last().unwrap_or_default();
    let parsed: Option<serde_json::Value> = serde_json::from_str(last).ok();
    match parsed.as_ref().and_then(|told| told.get("error")?.as_str()) {
        Some(error) => error.to_owned(),
        None => text.to_owned(),
    }
}

/// A function of the module that was sent.
fn function<'a>(
    name: &'a str,
    arguments: &'a [cordon_spark::Argument<'a>],
    returns: &'a str,
    python: &'a Python,
) -> PythonFunction<'a> {
    PythonFunction { module: MODULE, name, arguments, returns, python: &python.version }
}
