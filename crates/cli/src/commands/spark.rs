//! A run's units on Apache Spark: this program is sent to the executors, once a session, and carries out orders there.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, BinaryArray, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use cordon_pipeline::cluster::Cluster;
use cordon_pipeline::error::{ExitKind, RunError};
use cordon_pipeline::progress::Meter;
use cordon_pipeline::source::Hashed;
use cordon_spark::{Argument, Endpoint, PythonFunction, Session, SparkError, Told, worker_python};

use super::{Place, os_user};
use crate::args::RunArgs;
use crate::ui::{Failure, Ui};

/// What executors import: it hands orders to the program.
const WORKER: &str = include_str!("spark/cordon_worker.py");
const MODULE: &str = "cordon_worker";
const RETURNS: &str = r#"{"type":"struct","fields":[{"name":"answer","type":"binary","nullable":true,"metadata":{}},{"name":"code","type":"integer","nullable":true,"metadata":{}},{"name":"trouble","type":"string","nullable":true,"metadata":{}}]}"#;
/// The executors' Python, until they say otherwise.
const PYTHON: &str = "3.12";
/// Orders that go out together: a server takes messages of 128 MiB.
const TOGETHER: usize = 32 << 20;

/// A cluster that is reached when there is something to do.
pub struct Spark<'a> {
    ui: &'a Ui,
    endpoint: Endpoint,
    /// Where executors find the project.
    project: String,
    /// Executors have the program already.
    installed: bool,
    open: Mutex<Option<Arc<Opened>>>,
}

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

impl<'a> Spark<'a> {
    pub fn new(ui: &'a Ui, place: &Place, args: &RunArgs) -> Result<Self, Failure> {
        let Some(remote) = args.remote.clone().or_else(|| std::env::var("SPARK_REMOTE").ok()) else {
            return Err(Failure::usage(
                "`--engine spark` needs a Spark Connect server\n  help: say `--remote sc://HOST:15002/;use_ssl=true`, or set SPARK_REMOTE",
            ));
        };
        let endpoint = Endpoint::parse(&remote, &|name| std::env::var(name).ok())
            .map_err(|error| Failure::new(ExitKind::Usage, told(&error)))?;
        let project = match &args.executor_project {
            Some(path) => path.clone(),
            None => place.project()?.root,
        };
        let Some(project) = project.to_str().map(str::to_owned) else {
            return Err(Failure::usage(
                "the path of the project's folder is not UTF-8, and cannot be told to executors",
            ));
        };
        Ok(Self { ui, endpoint, project, installed: args.installed, open: Mutex::default() })
    }

    fn open(&self, meter: &Meter) -> Result<Arc<Opened>, RunError> {
        let goes_on = || if meter.stopped() { Err(RunError::Interrupted) } else { Ok(()) };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*open {
            return Ok(Arc::clone(open));
        }
        let session = Session::open(&self.endpoint, &os_user()).map_err(|error| elsewhere(&self.endpoint, &error))?;
        goes_on()?;
        self.ui.hint(format!("Spark {} at {}", session.version(), self.endpoint.shown()));
        session
            .add_artifact(&format!("pyfiles/{MODULE}.py"), &mut WORKER.as_bytes(), WORKER.len() as u64)
            .map_err(|error| elsewhere(&self.endpoint, &error))?;
        goes_on()?;
        let (name, digest) = if self.installed { Default::default() } else { send_program(&self.endpoint, &session)? };
        goes_on()?;
        let python = Mutex::new(Python { version: PYTHON.to_owned(), is_told: false });
        let opened = Arc::new(Opened { session, name, digest, python });
        *open = Some(Arc::clone(&opened));
        Ok(opened)
    }

    pub fn close(self) {
        let open = self.open.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = open.and_then(Arc::into_inner) {
            open.session.close();
        }
    }
}

/// Sends this very program. What arrives is hashed again before it runs.
fn send_program(endpoint: &Endpoint, session: &Session) -> Result<(String, String), RunError> {
    let failed = |_| unsent();
    let path = std::env::current_exe().map_err(failed)?;
    let mut file = File::open(path).map_err(failed)?;
    let mut hashed = Hashed::new(&mut file);
    let length = io::copy(&mut hashed, &mut io::sink()).map_err(failed)?;
    let digest = hashed.hash().hex();
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let name = format!("cordon-{}", digest.get(..16).unwrap_or_default());
    session.add_artifact(&format!("files/{name}"), &mut file, length).map_err(|error| elsewhere(endpoint, &error))?;
    Ok((name, digest))
}

fn unsent() -> RunError {
    RunError::Elsewhere {
        exit: ExitKind::Storage,
        text: "this program cannot be read, to send it to the executors\n  help: install it there, set CORDON_PROGRAM in their \
               environment, and say `--installed`"
            .to_owned(),
    }
}

fn told(error: &SparkError) -> String {
    format!("{error}\n  help: {}", error.help())
}

/// What went wrong, and with which server.
fn elsewhere(endpoint: &Endpoint, error: &SparkError) -> RunError {
    let exit = match error {
        SparkError::Endpoint { .. } => ExitKind::Usage,
        SparkError::Unreachable { .. } | SparkError::NotTrusted { .. } | SparkError::Refused => ExitKind::Storage,
        SparkError::Cancelled => return RunError::Interrupted,
        _ => ExitKind::Failure,
    };
    RunError::Elsewhere { exit, text: format!("{}: {}", endpoint.shown(), told(error)) }
}

impl Cluster for Spark<'_> {
    fn carry_out(
        &self,
        run: &str,
        orders: Vec<Vec<u8>>,
        meter: &Meter,
        answered: &mut dyn FnMut(&[u8]) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let over = AtomicBool::new(false);
        let opened = self.open(meter)?;
        let groups = grouped(&orders);
        let most = groups.iter().map(|group| group.len()).max().unwrap_or(1).to_string();
        opened
            .session
            .set(&[
                ("spark.sql.leafNodeDefaultParallelism", &most),
                ("spark.sql.execution.arrow.maxRecordsPerBatch", "1"),
            ])
            .map_err(|error| elsewhere(&self.endpoint, &error))?;
        let queue = Mutex::new(groups.into_iter());
        std::thread::scope(|scope| {
            let _over = Over(&over);
            let canceller = opened.session.canceller();
            scope.spawn({
                let (over, canceller) = (&over, canceller.clone());
                move || {
                    while !over.load(Ordering::Relaxed) {
                        if meter.stopped() {
                            return canceller.cancel();
                        }
                        std::thread::sleep(LOOK);
                    }
                }
            });
            let (sender, answers) = mpsc::sync_channel(0);
            for _ in 0..AT_ONCE {
                let (opened, queue, over, sender) = (&opened, &queue, &over, sender.clone());
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let group = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some(group) = group else { return };
                        let mut hand_over = |batch| {
                            if sender.send(Ok(batch)).is_ok() {
                                ControlFlow::Continue(())
                            } else {
                                ControlFlow::Break(())
                            }
                        };
                        if let Err(error) = self.job(opened, run, group, meter, &mut hand_over) {
                            let _ = sender.send(Err(error));
                            return;
                        }
                    }
                });
            }
            drop(sender);
            for batch in answers {
                // What is wrong with one job ends them all.
                batch.and_then(|batch| take(&batch, answered)).inspect_err(|_| canceller.cancel())?;
            }
            if meter.stopped() { Err(RunError::Interrupted) } else { Ok(()) }
        })
    }
}

/// Jobs that a session has going at a time. Spark hands over what a job came to in the order of its tasks: of several jobs with tasks
/// of about one size, nothing that is done waits long for what is not.
const AT_ONCE: usize = 8;
/// Tasks of a job, at least; of very many more, so that there are enough to do.
const TASKS: usize = 16;
/// How soon a stop is noticed.
const LOOK: Duration = Duration::from_millis(200);

/// Orders in groups that go out together, in their order.
fn grouped(orders: &[Vec<u8>]) -> Vec<&[Vec<u8>]> {
    let most = TASKS.max(orders.len() / (8 * AT_ONCE));
    let mut groups = Vec::new();
    let mut rest = orders;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take(most).take_while(|order| {
            bytes += order.len();
            bytes <= TOGETHER
        });
        let (group, after) = rest.split_at(fits.count().max(1));
        groups.push(group);
        rest = after;
    }
    groups
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Spark<'_> {
    /// One job, with a task for each order.
    fn job(
        &self,
        opened: &Opened,
        run: &str,
        orders: &[Vec<u8>],
        meter: &Meter,
        hand_over: &mut dyn FnMut(RecordBatch) -> ControlFlow<()>,
    ) -> Result<(), RunError> {
        let schema = Arc::new(Schema::new(vec![Field::new("order", DataType::Binary, false)]));
        let column = BinaryArray::from_iter_values(orders);
        let input = RecordBatch::try_new(schema, vec![Arc::new(column)])
            .map_err(|_| RunError::Internal("orders for a cluster"))?;
        let arguments = [
            Argument::Text(&opened.name),
            Argument::Text(&opened.digest),
            Argument::Text(&self.project),
            Argument::Text(run),
        ];
        loop {
            let python = opened.python();
            let function = PythonFunction {
                module: MODULE,
                name: "carry_out",
                arguments: &arguments,
                returns: RETURNS,
                python: &python.version,
            };
            let mapped = opened.session.map_in_arrow(&input, &function, &mut |told| match told {
                Told::Tasks { .. } => ControlFlow::Continue(()),
                Told::Batch(batch) => hand_over(batch),
            });
            let Err(error) = mapped else { return Ok(()) };
            if meter.stopped() {
                return Err(RunError::Interrupted);
            }
            match worker_python(&error) {
                // Another job may have learned it meanwhile.
                Some(_) if opened.python().version != python.version => {}
                Some(theirs) if !python.is_told => opened.learn(theirs),
                Some(theirs) => {
                    return Err(RunError::Elsewhere {
                        exit: ExitKind::Usage,
                        text: format!(
                            "executors have Python {} and {theirs}\n  help: give all executors of the cluster one version of Python",
                            python.version
                        ),
                    });
                }
                None => return Err(elsewhere(&self.endpoint, &error)),
            }
        }
    }
}

impl Opened {
    fn python(&self) -> Python {
        self.python.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, version: String) {
        *self.python.lock().unwrap_or_else(PoisonError::into_inner) = Python { version, is_told: true };
    }
}

/// Hands on the answers of a batch.
fn take(batch: &RecordBatch, answered: &mut dyn FnMut(&[u8]) -> Result<(), RunError>) -> Result<(), RunError> {
    let strange = || RunError::Internal("an answer of the cluster");
    let answers =
        batch.column_by_name("answer").and_then(|column| column.as_binary_opt::<i32>()).ok_or_else(strange)?;
    let codes =
        batch.column_by_name("code").and_then(|column| column.as_primitive_opt::<Int32Type>()).ok_or_else(strange)?;
    let troubles =
        batch.column_by_name("trouble").and_then(|column| column.as_string_opt::<i32>()).ok_or_else(strange)?;
    for row in 0..batch.num_rows() {
        if answers.is_valid(row) {
            answered(answers.value(row))?;
            continue;
        }
        let text = Some(troubles).filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row));
        let text = text.filter(|text| !text.is_empty()).unwrap_or("its program ended and does not say why");
        return Err(RunError::Elsewhere {
            exit: ExitKind::of(u8::try_from(codes.value(row)).unwrap_or(1)),
            text: format!("on an executor: {}", as_told(text)),
        });
    }
    Ok(())
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
