//! Units of a run on other machines: what goes there, what is done there, what comes back.
//!
//! A unit is what a run reads, writes and journals together, so a unit is what travels, and not its rows: whoever carries it out has
//! the same program and the same project folder, reads the files itself, and leaves encrypted parts, quarantine and tokens where a run on
//! one machine leaves them. Only the record of the unit comes back. So the rows are the same bytes by whomever they were made, and a
//! cluster sees no row and no key. What it does see, orders and answers, is sealed under the project's key: names of files can name
//! patients.
//!
//! A cluster may carry out an order twice, or begin it and be killed. Parts have names of their own each time, and only those of the one
//! answer that was taken are committed; tokens are the same however often they are asked for.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDate, Utc};
use cordon_deid::policy::check::CompileOptions;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::{ExitKind, RunError};
use crate::people::{Marks, People};
use crate::plan::{Basis, Content, PlannedFile, Unit};
use crate::progress::{Meter, Over, Progress};
use crate::project::{OpenProject, Pipeline};
use crate::retention::Keeping;
use crate::run::{Context, fail_point};
use crate::sealed::{read_sealed, write_sealed};
use crate::source::Whereabouts;
use crate::state::UnitRecord;
use crate::unit::{self, Records};

/// What a cluster is told of an order.
pub struct SealedOrder {
    /// Of the files of its unit, as they lie: how long it takes, nearly.
    pub bytes: u64,
    pub sealed: Vec<u8>,
}

/// Machines that carry out orders. Nothing that they are given or give back is in clear.
pub trait Cluster: Sync {
    /// Has every order carried out by an [`Executor`], and hands over answers as they come, in any order.
    ///
    /// Orders come with the largest first. One may be carried out more than once; one of its answers is handed over, or several. Ends
    /// early, with [`RunError::Interrupted`], when the meter says that the run is to stop.
    fn carry_out(
        &self,
        run: &str,
        orders: Vec<SealedOrder>,
        meter: &Meter,
        answered: &mut dyn FnMut(&[u8]) -> Result<(), RunError>,
    ) -> Result<(), RunError>;
}

/// Key label of orders and answers, below the project's seal key.
const SUB_KEY: &str = "cordon/cluster/v1";
const ORDER: &[u8] = b"cordon order v1";

/// Bound to the run, to what was to be done, and to the word that was given for it.
fn answer_label(run: &str, task: Task, word: &str) -> Vec<u8> {
    let task = match task {
        Task::Learn => "learn",
        Task::Write => "write",
    };
    ["cordon answer v1", run, task, word].join("\0").into_bytes()
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Task {
    /// Read for who its people are.
    Learn,
    Write,
}

/// What is to be done with one unit, and all that must be so for that.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    /// Of the program.
    version: String,
    run: String,
    pipeline: String,
    task: Task,
    made_under: String,
    /// What `cordon.yaml` and the pipeline's file say.
    said: String,
    merges: u64,
    reference_date: NaiveDate,
    /// By which rows are past their retention or not.
    time: DateTime<Utc>,
    marks: Marks,
    /// What stands in the folder of the run's own machine: who finds something else there has another folder.
    word: String,
    /// Which machine that is, and since when it runs.
    machine: Option<String>,
    unit: String,
    dataset: String,
    files: Vec<OrderedFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderedFile {
    /// The number of its source in the pipeline.
    section: usize,
    whereabouts: Whereabouts,
    source_id: String,
    read_with: String,
    since: Option<NaiveDate>,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    unit: String,
    what: Came,
}

/// What an order came to.
#[derive(Serialize, Deserialize)]
enum Came {
    Learned,
    Written { records: Records, rows: u64, quarantined: u64 },
    Failed { exit: ExitKind, text: String },
}

/// A word in the project's folder while a run has units carried out: who finds it has the very folder, and the run goes on.
pub(crate) struct Meeting {
    path: PathBuf,
    word: String,
}

fn meeting_path(project: &OpenProject, pipeline: &str) -> PathBuf {
    project.state_folder(pipeline).join("meeting.sealed")
}

/// Nobody finds a word of before.
pub(crate) fn dismiss(project: &OpenProject, pipeline: &str) -> Result<(), RunError> {
    let path = meeting_path(project, pipeline);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(RunError::io("remove", &path, &error)),
        _ => Ok(()),
    }
}

impl Meeting {
    pub fn call(project: &OpenProject, pipeline: &str) -> Result<Self, RunError> {
        let mut random = [0; 16];
        cordon_crypto::random_bytes(&mut random)?;
        let (path, word) = (meeting_path(project, pipeline), data_encoding::HEXLOWER.encode(&random));
        write_sealed(&path, &project.seal_key()?, &word)?;
        Ok(Self { path, word })
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        // Where it stays, whoever locks the pipeline next removes it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// This machine since it was started; `None` where that cannot be told.
fn machine() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

/// A run's units on a cluster.
pub(crate) struct Dispatch<'a, 'b> {
    pub context: &'a Context<'b>,
    pub team: &'a Team<'a>,
    pub basis: &'a Basis,
}

/// Those who carry out a run's units, and the word by which they know it.
pub(crate) struct Team<'a> {
    pub cluster: &'a dyn Cluster,
    pub meeting: Meeting,
}

impl Dispatch<'_, '_> {
    /// Has units read, de-identified and written. Hands over what each came to, under the names by which state and journal know it.
    pub fn write(
        &self,
        units: &[&Unit],
        done: &mut dyn FnMut(&str, Records) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let meter = self.context.meter;
        self.each(Task::Write, units, &mut |unit, came| {
            let Came::Written { records, rows, quarantined } = came else {
                return Err(RunError::Internal("an executor's answer"));
            };
            meter.rows.fetch_add(rows, Ordering::Relaxed);
            meter.add_quarantined(quarantined);
            for record in records.iter().map(|(_, record)| record) {
                self.arrived(record)?;
                for (file, reason) in record.files.iter().filter_map(|file| Some((file, file.refused.as_ref()?))) {
                    (self.context.tell)(Progress::Refused { file: &file.name, reason });
                }
                for (dataset, fields) in &record.noticed.undeclared {
                    let fields: Vec<String> = fields.iter().cloned().collect();
                    (self.context.tell)(Progress::Undeclared { dataset, fields: &fields });
                }
            }
            done(&unit.id, records)
        })
    }

    /// What an answer names must be where this machine looks for it.
    fn arrived(&self, record: &UnitRecord) -> Result<(), RunError> {
        let elsewhere = |what: &str| {
            RunError::usage(
                format!("{what} that an executor says it wrote is not there"),
                "`storage.warehouse`, `staging` and `quarantine` must be places that all machines share",
            )
        };
        let project = self.context.project;
        for part in &record.parts {
            project.tables().has_staged(&part.table, &part.info).map_err(|_| elsewhere("a part of a table"))?;
        }
        let aside = record.quarantine.as_ref();
        let folder = project.quarantine_folder(&self.context.pipeline.name);
        if aside.is_some_and(|aside| !folder.join(&aside.file).is_file()) {
            return Err(elsewhere("a file of quarantine"));
        }
        Ok(())
    }

    /// Has units read for who their people are.
    pub fn learn(&self, units: &[&Unit]) -> Result<(), RunError> {
        self.each(Task::Learn, units, &mut |_, came| match came {
            Came::Learned => Ok(()),
            _ => Err(RunError::Internal("an executor's answer")),
        })
    }

    fn each(
        &self,
        task: Task,
        units: &[&Unit],
        done: &mut dyn FnMut(&Unit, Came) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        if units.is_empty() {
            return Ok(());
        }
        let seal = self.context.project.seal_key()?;
        let mut sorted = units.to_vec();
        sorted.sort_by_key(|unit| Reverse(unit.bytes()));
        let machine = machine();
        let order = |unit: &Unit| -> Result<SealedOrder, RunError> {
            let text = serde_json::to_vec(&self.order(task, unit, machine.clone())?);
            let text = Zeroizing::new(text.map_err(|_| RunError::Internal("an order"))?);
            Ok(SealedOrder { bytes: unit.bytes(), sealed: seal.seal(SUB_KEY, ORDER, &text)? })
        };
        let orders = sorted.iter().map(|unit| order(unit)).collect::<Result<Vec<_>, RunError>>()?;
        let label = answer_label(&self.context.run, task, &self.team.meeting.word);
        let mut open: BTreeMap<&str, &Unit> = units.iter().map(|unit| (unit.id.as_str(), *unit)).collect();
        self.team.cluster.carry_out(&self.context.run, orders, self.context.meter, &mut |sealed| {
            let text = Zeroizing::new(seal.open(SUB_KEY, &label, sealed).map_err(|_| foreign())?);
            let answer: Answer = serde_json::from_slice(&text).map_err(|_| foreign())?;
            // A second answer to one order is of rows that nobody commits.
            let Some(unit) = open.remove(answer.unit.as_str()) else { return Ok(()) };
            if let Came::Failed { exit, text } = answer.what {
                return Err(RunError::Elsewhere { exit, text });
            }
            self.context.meter.bytes.fetch_add(unit.bytes(), Ordering::Relaxed);
            done(unit, answer.what)
        })?;
        if open.is_empty() {
            return Ok(());
        }
        Err(RunError::Elsewhere {
            exit: ExitKind::Failure,
            text: format!(
                "the cluster ended without an answer for {} of {} units\n  help: run it again: what was answered is kept",
                open.len(),
                units.len()
            ),
        })
    }

    fn order(&self, task: Task, unit: &Unit, machine: Option<String>) -> Result<Order, RunError> {
        let ordered = |planned: &PlannedFile| match planned.content {
            Content::File(section) => Ok(OrderedFile {
                section,
                whereabouts: Whereabouts::of(&planned.file),
                source_id: planned.source_id.clone(),
                read_with: planned.read_with.clone(),
                since: planned.since,
            }),
            Content::Quarantine(_) => Err(RunError::Internal("a replay on a cluster")),
        };
        Ok(Order {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            run: self.context.run.clone(),
            pipeline: self.context.pipeline.name.clone(),
            task,
            made_under: self.basis.made_under.clone(),
            said: self.context.project.said(self.context.pipeline),
            merges: self.basis.merges,
            reference_date: self.context.recipe.reference_date,
            time: self.context.keeping.time(),
            marks: self.context.marked().clone(),
            word: self.team.meeting.word.clone(),
            machine,
            unit: unit.id.clone(),
            dataset: unit.dataset.clone(),
            files: unit.files.iter().map(ordered).collect::<Result<_, _>>()?,
        })
    }
}

fn foreign() -> RunError {
    RunError::Elsewhere {
        exit: ExitKind::Keys,
        text: "an answer from the cluster does not open under the project's key\n  help: executors must have the project's folder with \
               the key ring that is here"
            .to_owned(),
    }
}

/// Carries out orders, on a machine of a cluster, with the project's keys in hand.
pub struct Executor {
    project: Arc<OpenProject>,
    meter: Meter,
    /// Vault and dossiers as the last order wanted them.
    people: Option<(String, Marks, People)>,
    /// For which pipeline that was, and by which word.
    last: Option<(String, String)>,
}

impl Executor {
    /// `meter`: to stop what is being done, from another thread.
    pub fn new(project: Arc<OpenProject>, meter: Meter) -> Self {
        Self { project, meter, people: None, last: None }
    }

    /// Whether the run of the last order is over: there is nothing to wait for, and keys are not to stay in memory.
    pub fn is_dismissed(&self) -> bool {
        self.last.as_ref().is_some_and(|(pipeline, word)| matches!(self.finds(pipeline, word), Ok(false)))
    }

    /// Carries out one order, and says what it came to, sealed as the order is: what went wrong may name a file.
    ///
    /// # Errors
    /// Where the order does not open under this project's key.
    pub fn carry_out(&mut self, sealed: &[u8]) -> Result<Vec<u8>, RunError> {
        let seal = self.project.seal_key()?;
        let other = || {
            RunError::usage(
                "an order does not open under the key of the project that this executor has",
                "executors need the project's folder as it is on the machine that runs the pipeline; `CORDON_PROJECT` says where",
            )
        };
        let text = Zeroizing::new(seal.open(SUB_KEY, ORDER, sealed).map_err(|_| other())?);
        let order: Order = serde_json::from_slice(&text).map_err(|_| {
            RunError::usage(
                "an order is of another version of Cordon",
                "give executors the program that runs the pipeline",
            )
        })?;
        let label = answer_label(&order.run, order.task, &order.word);
        self.last = Some((order.pipeline.clone(), order.word.clone()));
        let unit = order.unit.clone();
        let what =
            self.patiently(&order).unwrap_or_else(|error| Came::Failed { exit: error.exit(), text: told(&error) });
        let text = serde_json::to_vec(&Answer { unit, what }).map_err(|_| RunError::Internal("an answer"))?;
        Ok(seal.seal(SUB_KEY, &label, &Zeroizing::new(text))?)
    }

    /// What may pass is tried again: a run ends with the first unit that fails.
    fn patiently(&mut self, order: &Order) -> Result<Came, RunError> {
        let mut pauses = PAUSES.iter();
        loop {
            match self.attempt(order) {
                Err(error) if matches!(error.exit(), ExitKind::Storage | ExitKind::Busy) && !self.meter.stopped() => {
                    let Some(pause) = pauses.next() else { return Err(error) };
                    std::thread::sleep(*pause);
                    self.people = None;
                }
                outcome => return outcome,
            }
        }
    }

    fn attempt(&mut self, order: &Order) -> Result<Came, RunError> {
        let differs = |what: &str| {
            RunError::usage(
                format!("the project of this executor is not that of the run: {what}"),
                "executors need the very folder of the project, on a file system that all machines share; `CORDON_PROJECT` says where it is",
            )
        };
        let project = &self.project;
        if order.version != env!("CARGO_PKG_VERSION") {
            return Err(differs("its program is of another version"));
        }
        if !self.is_met(order)? {
            return Err(differs("it is a copy, or the run is over"));
        }
        let pipeline = project.project.pipeline(&order.pipeline)?;
        let recipe = pipeline.compile(CompileOptions::on(order.reference_date))?;
        if project.made_under(&pipeline, &recipe) != order.made_under || project.said(&pipeline) != order.said {
            return Err(differs(
                "its policy, pipeline, keys or `cordon.yaml` are others, or changed since the run began",
            ));
        }
        if !project.is_vault_shared() && order.machine != machine() {
            return Err(RunError::usage(
                "the vault is in a folder, which one machine can have open at a time, and this executor is on another one",
                "move the vault to PostgreSQL (docs/vault.md), or run the pipeline without `--engine spark`",
            ));
        }
        let people = match self.people.take() {
            Some((name, marks, people)) if name == order.pipeline && marks == order.marks => people,
            _ => order.marks.open(project, &pipeline)?,
        };
        self.people = Some((order.pipeline.clone(), order.marks.clone(), people.clone()));
        let unit = Unit {
            id: order.unit.clone(),
            dataset: order.dataset.clone(),
            files: order.files.iter().map(|file| file.planned(project, &pipeline)).collect::<Result<_, _>>()?,
        };
        let meter = Meter::default();
        let basis = Basis::new(order.made_under.clone(), order.merges, &recipe);
        let mut attempt = [0; 6];
        cordon_crypto::random_bytes(&mut attempt)?;
        let mut context =
            Context::new(project, &pipeline, &recipe, order.run.clone(), &meter, &|_| {}, order.marks.clone())
                .with(&people)
                .keeping(Keeping::at(project, order.time)?);
        context.attempt = Some(data_encoding::HEXLOWER.encode(&attempt));
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Whoever goes on for a run that is over leaves things where nobody looks for them.
            scope.spawn(|| {
                let mut looked = Instant::now();
                while !over.load(Ordering::Relaxed) {
                    if self.meter.stopped() || (looked.elapsed() > LOOK && !self.is_met(order).unwrap_or(true)) {
                        meter.stop.store(true, Ordering::Relaxed);
                        return;
                    }
                    if looked.elapsed() > LOOK {
                        looked = Instant::now();
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            let _over = Over(&over);
            match order.task {
                Task::Learn => {
                    unit::learn(&context, &unit)?;
                    people.sync()?;
                    Ok(Came::Learned)
                }
                Task::Write => {
                    let processed = unit::process(&context, &unit, &basis)?;
                    fail_point("executed");
                    let rows = meter.rows.load(Ordering::Relaxed);
                    let quarantined = meter.quarantined.load(Ordering::Relaxed);
                    Ok(Came::Written { records: processed.records, rows, quarantined })
                }
            }
        })
    }

    /// Whether the run that gave the order goes on, in this very folder.
    fn is_met(&self, order: &Order) -> Result<bool, RunError> {
        self.finds(&order.pipeline, &order.word)
    }

    fn finds(&self, pipeline: &str, word: &str) -> Result<bool, RunError> {
        let met: Option<String> = read_sealed(&meeting_path(&self.project, pipeline), &self.project.seal_key()?)?;
        Ok(met.as_deref() == Some(word))
    }
}

/// Between attempts at a unit.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// How often an executor looks whether its run goes on.
const LOOK: Duration = Duration::from_secs(5);

/// With the machine, which whoever mends it has to find.
fn told(error: &RunError) -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("on the executor at {}: {error}", name.trim())
}

impl OrderedFile {
    fn planned(&self, project: &OpenProject, pipeline: &Pipeline) -> Result<PlannedFile, RunError> {
        let section = pipeline.file.sources.get(self.section).ok_or(RunError::Internal("an order's source"))?;
        let keys = Arc::new(project.project.source_keys(&project.ring, section.encryption.as_ref())?);
        let file = self.whereabouts.clone().file(&project.root, &project.project.stores, section, &keys)?;
        let (source_id, read_with) = (self.source_id.clone(), self.read_with.clone());
        Ok(PlannedFile { file, source_id, read_with, since: self.since, content: Content::File(self.section) })
    }
}
