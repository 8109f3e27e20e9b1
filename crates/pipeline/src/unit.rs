//! One unit of a run: its files are read here, de-identified by workers, and written as encrypted parts.
//!
//! Readers hand batches to workers through a bounded channel, so memory is bounded by the channel's depth and by one
//! share of it for each worker's open parts. A file that turns out to be broken half-way is refused as a whole: what was
//! written of the unit is thrown away and the unit starts again without it, so a table never holds half a file.

mod read;
mod rows;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrow_select::filter::filter_record_batch;
use chrono::NaiveDate;
use cordon_deid::kernel::Env;
use cordon_deid::recipe::BoundTable;
use cordon_deid::survey::Survey;
use cordon_deid::tally::Tally;
use cordon_engine::tables::{PartOptions, PartWriter, SourceRef};
use cordon_formats::{NotesBatch, NotesOptions, NotesReader};
use cordon_vault::Vault;
use crossbeam_channel::{Receiver, Sender, bounded};

use self::read::{Reader, read_file};
use self::rows::Rows;
use crate::documents::{DocumentBatch, Failed};
use crate::error::RunError;
use crate::people;
use crate::plan::{Basis, Unit};
use crate::progress::Progress;
use crate::quarantine::{Origin, QuarantineWriter};
use crate::run::Context;
use crate::state::{Counts, FileRecord, Found, Noticed, PartRecord, QuarantineRef, UnitRecord};

/// A file is refused as a whole.
struct Refusal {
    /// Which of the unit's files.
    index: usize,
    reason: String,
}

enum Stop {
    File(Refusal),
    Run(RunError),
}

impl<E: Into<RunError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Run(error.into())
    }
}

/// Of a unit, and of each of its files that was refused, under the names by which state and journal know them.
pub type Records = Vec<(String, UnitRecord)>;

/// What a unit came to.
pub struct Processed {
    pub records: Records,
    /// Numbers of the files that were refused.
    pub refused: BTreeSet<usize>,
}

/// Reads, de-identifies and writes one unit. When this returns, all of it is durable but not yet visible.
pub fn process(context: &Context<'_>, unit: &Unit, basis: &Basis) -> Result<Processed, RunError> {
    (context.tell)(Progress::Reading { dataset: &unit.dataset, files: unit.files.len() });
    let people = context.people()?;
    let env = &people.env;
    let mut refused: BTreeMap<usize, String> = BTreeMap::new();
    loop {
        let passed = context.meter.bytes.load(Ordering::Relaxed);
        let rows = context.meter.rows.load(Ordering::Relaxed);
        let put_aside = context.meter.quarantined.load(Ordering::Relaxed);
        match attempt(context, unit, env, &mut refused) {
            Ok(attempt) => {
                people.sync()?;
                for part in &attempt.parts {
                    context.staging(&part.table)?.sync()?;
                }
                return Ok(attempt.into_records(unit, basis, &refused));
            }
            Err(Stop::Run(error)) => return Err(error),
            Err(Stop::File(refusal)) => {
                context.meter.bytes.store(passed, Ordering::Relaxed);
                context.meter.rows.store(rows, Ordering::Relaxed);
                context.meter.quarantined.store(put_aside, Ordering::Relaxed);
                refuse(context, unit, &mut refused, refusal);
            }
        }
    }
}

fn refuse(context: &Context<'_>, unit: &Unit, refused: &mut BTreeMap<usize, String>, refusal: Refusal) {
    if let Some(planned) = unit.files.get(refusal.index) {
        (context.tell)(Progress::Refused { file: &planned.file.name, reason: &refusal.reason });
    }
    refused.insert(refusal.index, refusal.reason);
}

/// What a successful attempt leaves. Files are named by their number in the unit.
struct Attempt {
    hashes: BTreeMap<usize, String>,
    counts: BTreeMap<u32, Counts>,
    parts: Vec<PartRecord>,
    quarantine: Option<QuarantineRef>,
    noticed: Noticed,
}

impl Attempt {
    /// The unit's record, and one of its own for each file that was refused: it alone is tried again.
    fn into_records(mut self, unit: &Unit, basis: &Basis, refused: &BTreeMap<usize, String>) -> Processed {
        let record = |files, parts, quarantine, noticed| UnitRecord {
            made_under: basis.made_under.clone(),
            merges: basis.merges,
            ages_of: basis.ages_of(&unit.dataset),
            dataset: unit.dataset.clone(),
            files,
            parts,
            quarantine,
            noticed,
        };
        let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
        let mut files = Vec::new();
        let mut records = Vec::new();
        for (index, planned) in unit.files.iter().enumerate() {
            let file = FileRecord {
                name: planned.file.name.clone(),
                source_id: planned.source_id.clone(),
                read_as: planned.source_id.clone(),
                stamp: planned.file.stamp,
                sha256: self.hashes.remove(&index).unwrap_or_default(),
                read_with: planned.read_with.clone(),
                refused: refused.get(&index).cloned(),
                counts: self.counts.get(&(index as u32)).copied().unwrap_or_default(),
                since: None,
                retired: false,
            };
            if file.refused.is_some() {
                records
                    .push((format!("{}-r{index}", unit.id), record(vec![file], Vec::new(), None, Noticed::default())));
            } else {
                numbers.insert(index as u32, files.len() as u32);
                files.push(file);
            }
        }
        for part in &mut self.parts {
            for (file, _) in &mut part.runs {
                *file = numbers.get(file).copied().unwrap_or(*file);
            }
        }
        if !files.is_empty() {
            records.push((unit.id.clone(), record(files, self.parts, self.quarantine, self.noticed)));
        }
        Processed { records, refused: refused.keys().copied().collect() }
    }
}

/// A batch on its way to a worker.
enum Work<'a> {
    Table {
        origin: Arc<OriginSlot>,
        bound: Arc<BoundTable<'a>>,
        batch: Box<dyn Rows>,
    },
    Documents {
        origin: Arc<OriginSlot>,
        batch: DocumentBatch<'a>,
    },
    /// One row of each file.
    Notes {
        origins: Vec<Arc<OriginSlot>>,
        bound: Arc<BoundTable<'a>>,
        batch: NotesBatch,
    },
}

/// Notes on their way into a batch, and the file of each.
struct WaitingNotes<'a> {
    options: Arc<NotesOptions>,
    reader: NotesReader,
    bound: Arc<BoundTable<'a>>,
    origins: Vec<Arc<OriginSlot>>,
}

/// So many notes, or bytes of them, go to a worker together.
const NOTES_TOGETHER: usize = 512;
const NOTES_BYTES: usize = 4 << 20;

/// Where records of one file come from; its place in the quarantine is taken when the first one is put aside.
struct OriginSlot {
    origin: Arc<Origin>,
    /// The file's number in the unit.
    index: u32,
    number: Arc<Mutex<Option<usize>>>,
    /// What is replayed keeps the lines it had in its file.
    lines: Option<Vec<u64>>,
}

impl OriginSlot {
    fn line(&self, line: u64) -> u64 {
        match self.lines.as_deref() {
            None => line,
            Some([only]) => *only,
            Some(lines) => lines.get((line as usize).saturating_sub(1)).copied().unwrap_or(line),
        }
    }
}

/// The quarantine file of the unit, and how many records of each file stand in it.
struct Aside {
    writer: QuarantineWriter,
    of_file: BTreeMap<u32, u64>,
}

/// What a unit is read for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    /// To write its rows.
    Write,
    /// To know who its people are. Nothing is put aside or reported: that comes when it is read to be written.
    Learn,
}

/// What workers share.
struct Shared<'a, 'b> {
    task: Task,
    context: &'a Context<'b>,
    env: &'a Env,
    quarantine: Mutex<Aside>,
    noticed: Mutex<Noticed>,
    tally: Mutex<Tally>,
    /// Files read to their end, by their number.
    sources: Mutex<BTreeMap<u32, SourceRef>>,
    failed: AtomicBool,
    part_options: PartOptions,
    /// What the open parts of one worker may hold in memory.
    worker_bytes: usize,
    /// From when the content of each file of the unit is.
    since: Vec<Option<NaiveDate>>,
}

impl Shared<'_, '_> {
    fn put_aside(
        &self,
        slot: &OriginSlot,
        line: u64,
        field: Option<String>,
        reason: String,
        cut: bool,
        raw: &[u8],
    ) -> Result<(), RunError> {
        if self.task == Task::Learn {
            return Ok(());
        }
        let mut quarantine = lock(&self.quarantine);
        let mut number = lock(&slot.number);
        let origin = match *number {
            Some(origin) => origin,
            None => *number.insert(quarantine.writer.origin(&slot.origin)?),
        };
        quarantine.writer.put(origin, slot.line(line), field, reason, cut, raw)?;
        *quarantine.of_file.entry(slot.index).or_default() += 1;
        self.context.meter.add_quarantined(1);
        Ok(())
    }

    fn report_undeclared(&self, dataset: &str, fields: Vec<String>) {
        if fields.is_empty() || self.task == Task::Learn {
            return;
        }
        let mut all = lock(&self.noticed);
        let known = all.undeclared.entry(dataset.to_owned()).or_default();
        let fresh: Vec<String> = fields.into_iter().filter(|field| known.insert(field.clone())).collect();
        drop(all);
        if !fresh.is_empty() {
            (self.context.tell)(Progress::Undeclared { dataset, fields: &fresh });
        }
    }
}

/// A poisoned lock means that another worker panicked; its panic is reported by the scope.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So much of a worker's memory makes row groups that are worth writing; where `run.memory` gives less, fewer work.
const LEAST_WORKER_BYTES: usize = 8 << 20;
/// About what a batch takes on its way: text, columns and what is made of them.
const BATCH_MEMORY: usize = 16 << 20;

fn attempt(
    context: &Context<'_>,
    unit: &Unit,
    env: &Env,
    refused: &mut BTreeMap<usize, String>,
) -> Result<Attempt, Stop> {
    let (shared, limits) = Shared::new(Task::Write, context, unit, env)?;
    let read = drive(&shared, unit, &limits, refused, worker)?;
    let mut counts = read.counts;
    let mut parts = Vec::new();
    for (mine, more) in read.worked {
        parts.extend(mine);
        for (file, some) in more {
            counts.entry(file).or_default().add(some);
        }
    }
    let aside = shared.quarantine.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (file, some) in aside.of_file {
        counts.entry(file).or_default().quarantined += some;
    }
    let mut noticed = shared.noticed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let tally = shared.tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut found = Found::of(&tally, context.recipe.method);
    for counts in counts.values() {
        found.records.add(*counts);
    }
    let read_files = (0..).zip(&unit.files).filter(|(index, _)| !refused.contains_key(index));
    found.formats = read_files.map(|(_, file)| file.file.format.name().to_owned()).collect();
    if !found.formats.is_empty() {
        noticed.found.insert(unit.dataset.clone(), found);
    }
    Ok(Attempt { hashes: read.hashes, counts, parts, quarantine: aside.writer.finish()?, noticed })
}

/// Reads a unit for who its people are: their identifiers are linked in the vault. To do it again changes nothing.
///
/// A file that cannot be read is left to the run that writes, which says so.
pub fn learn(context: &Context<'_>, unit: &Unit) -> Result<(), RunError> {
    let people = context.people()?;
    let mut skipped = BTreeMap::new();
    loop {
        let (shared, limits) = Shared::new(Task::Learn, context, unit, &people.env)?;
        let learner =
            |shared: &Shared<'_, '_>, receiver: &Receiver<Work<'_>>| learner(shared, receiver, &*people.vault);
        match drive(&shared, unit, &limits, &mut skipped, learner) {
            Ok(_) => return Ok(()),
            Err(Stop::Run(error)) => return Err(error),
            Err(Stop::File(refusal)) => {
                skipped.insert(refusal.index, refusal.reason);
            }
        }
    }
}

/// How many threads work on a unit, and how many batches wait for them.
struct Limits {
    threads: usize,
    waiting: usize,
}

impl<'a, 'b> Shared<'a, 'b> {
    fn new(task: Task, context: &'a Context<'b>, unit: &Unit, env: &'a Env) -> Result<(Self, Limits), RunError> {
        let project = context.project;
        // A quarter of the memory each for the vault, for batches on their way, and for open parts.
        let share = project.project.memory / 4;
        let threads = project.project.threads.clamp(1, (share / LEAST_WORKER_BYTES).max(1));
        let worker_bytes = share / threads;
        let attempt = context.attempt.as_ref().map(|attempt| format!("-{attempt}")).unwrap_or_default();
        let quarantine_name = format!("{}-{}{attempt}.sealed", context.run, unit.id);
        let folder = project.quarantine_folder(&context.pipeline.name);
        let shared = Self {
            task,
            context,
            env,
            quarantine: Mutex::new(Aside {
                writer: QuarantineWriter::new(folder.join(&quarantine_name), project.seal_key()?),
                of_file: BTreeMap::new(),
            }),
            noticed: Mutex::default(),
            tally: Mutex::default(),
            sources: Mutex::new(BTreeMap::new()),
            failed: AtomicBool::new(false),
            part_options: part_options(worker_bytes),
            worker_bytes,
            since: unit.files.iter().map(|file| file.since).collect(),
        };
        Ok((shared, Limits { threads, waiting: (share / BATCH_MEMORY).clamp(1, threads * 2) }))
    }
}

/// What reading a unit came to; files are named by their number.
struct UnitRead<T> {
    hashes: BTreeMap<usize, String>,
    counts: BTreeMap<u32, Counts>,
    worked: Vec<T>,
}

/// Reads the files of a unit here, with workers on their batches.
fn drive<'a, T: Send>(
    shared: &Shared<'a, '_>,
    unit: &Unit,
    limits: &Limits,
    refused: &mut BTreeMap<usize, String>,
    work: impl Fn(&Shared<'a, '_>, &Receiver<Work<'a>>) -> Result<T, RunError> + Sync,
) -> Result<UnitRead<T>, Stop> {
    let context = shared.context;
    let (sender, receiver) = bounded::<Work<'_>>(limits.waiting);
    let mut hashes = BTreeMap::new();
    let mut counts: BTreeMap<u32, Counts> = BTreeMap::new();
    let (read, worked) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..limits.threads)
            .map(|_| {
                let (work, receiver) = (&work, receiver.clone());
                scope.spawn(move || {
                    let outcome = work(shared, &receiver);
                    if outcome.is_err() {
                        shared.failed.store(true, Ordering::Relaxed);
                        // Let the reader's sends end instead of waiting for ever.
                        while receiver.recv().is_ok() {}
                    }
                    outcome
                })
            })
            .collect();
        drop(receiver);
        let mut read = Ok(());
        let notes = RefCell::new(None);
        for (index, planned) in unit.files.iter().enumerate() {
            if refused.contains_key(&index) {
                continue;
            }
            let reader = Reader { shared, index, planned, sender: &sender, began: Cell::new(false), notes: &notes };
            match read_file(&reader) {
                Ok((hash, rejected)) => {
                    let source = SourceRef { id: planned.source_id.clone(), sha256: hash.clone() };
                    lock(&shared.sources).insert(index as u32, source);
                    hashes.insert(index, hash);
                    counts.entry(index as u32).or_default().rows_in += rejected;
                }
                // Nothing of it has gone anywhere: the others need not be read again.
                Err(Stop::File(refusal)) if !reader.began.get() && shared.task == Task::Learn => {
                    refused.insert(refusal.index, refusal.reason);
                }
                Err(Stop::File(refusal)) if !reader.began.get() => refuse(context, unit, refused, refusal),
                Err(stop) => {
                    read = Err(stop);
                    break;
                }
            }
        }
        if read.is_ok() {
            read = send_notes(shared, &sender, notes.into_inner());
        }
        drop(sender);
        let worked: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        (read, worked)
    });
    let mut all = Vec::new();
    let mut failure = None;
    for outcome in worked {
        match outcome {
            Ok(Ok(done)) => all.push(done),
            Ok(Err(error)) => failure = Some(error),
            Err(_) => return Err(Stop::Run(RunError::Internal("a worker"))),
        }
    }
    if let Some(error) = failure {
        return Err(Stop::Run(error));
    }
    read?;
    Ok(UnitRead { hashes, counts, worked: all })
}

/// Takes batches until there are no more; tells the vault who is in them.
fn learner(shared: &Shared<'_, '_>, receiver: &Receiver<Work<'_>>, vault: &dyn Vault) -> Result<(), RunError> {
    let mut survey = Survey::default();
    while let Ok(work) = receiver.recv() {
        if shared.failed.load(Ordering::Relaxed) {
            break;
        }
        survey.clear();
        match work {
            Work::Table { bound, batch, .. } => bound.survey(batch.batch(), &mut survey),
            Work::Notes { bound, batch, .. } => bound.survey(&batch.batch, &mut survey),
            Work::Documents { batch, .. } => batch.survey(&mut survey),
        }
        people::tell(&survey, vault, shared.env.dossiers.as_deref())?;
    }
    Ok(())
}

/// How parts are laid out that may take so much memory while they are open.
pub(crate) fn part_options(bytes: usize) -> PartOptions {
    PartOptions { row_group_bytes: bytes.clamp(4 << 20, 64 << 20), ..PartOptions::default() }
}

/// Hands the notes that wait to the workers.
fn send_notes<'a>(
    shared: &Shared<'a, '_>,
    sender: &Sender<Work<'a>>,
    waiting: Option<WaitingNotes<'a>>,
) -> Result<(), Stop> {
    let Some(WaitingNotes { mut reader, bound, origins, .. }) = waiting else { return Ok(()) };
    let Some(batch) = reader.take().map_err(|_| RunError::Internal("a batch of notes"))? else { return Ok(()) };
    if shared.context.meter.stopped()
        || shared.failed.load(Ordering::Relaxed)
        || sender.send(Work::Notes { origins, bound, batch }).is_err()
    {
        return Err(Stop::Run(RunError::Interrupted));
    }
    Ok(())
}

/// A part that a worker is writing, and whose rows are in it.
struct Output {
    writer: PartWriter,
    runs: Vec<(u32, u64)>,
}

/// Takes batches until there are no more; returns its parts.
fn worker<'a>(
    shared: &Shared<'a, '_>,
    receiver: &Receiver<Work<'a>>,
) -> Result<(Vec<PartRecord>, BTreeMap<u32, Counts>), RunError> {
    let mut outputs: HashMap<String, Output> = HashMap::new();
    let mut all: BTreeMap<u32, Counts> = BTreeMap::new();
    let mut tally = Tally::default();
    while let Ok(work) = receiver.recv() {
        if shared.failed.load(Ordering::Relaxed) {
            break;
        }
        match work {
            Work::Table { origin, bound, batch } => {
                let applied = bound.apply(batch.batch(), shared.env)?;
                tally.add(&applied.tally);
                if let Some(unread) = batch.unread() {
                    let failed: BTreeSet<usize> = applied.failures.iter().map(|failure| failure.row).collect();
                    let good = (0..batch.batch().num_rows()).filter(|row| !failed.contains(row));
                    tally.add(&bound.tally_unread(&unread, &good.map(|row| batch.place(row))));
                }
                for failure in &applied.failures {
                    shared.put_aside(
                        &origin,
                        batch.line(failure.row),
                        Some(failure.field.clone()),
                        failure.reason.to_string(),
                        false,
                        &batch.raw(failure.row),
                    )?;
                }
                let table = shared.context.pipeline.table(&origin.origin.dataset);
                let counts = all.entry(origin.index).or_default();
                counts.rows_in += batch.batch().num_rows() as u64;
                counts.rows_out += applied.batch.num_rows() as u64;
                let runs = [(origin.index, applied.batch.num_rows() as u64)];
                write(shared, &mut outputs, &table, &bound.schema(), &applied.batch, &runs)?;
            }
            Work::Notes { origins, bound, batch } => {
                let applied = bound.apply(&batch.batch, shared.env)?;
                tally.add(&applied.tally);
                let mut failed = applied.failures.iter().peekable();
                let mut runs: Vec<(u32, u64)> = Vec::new();
                for (row, origin) in origins.iter().enumerate() {
                    let counts = all.entry(origin.index).or_default();
                    counts.rows_in += 1;
                    if let Some(failure) = failed.next_if(|failure| failure.row == row) {
                        let raw = batch.rows.raw(row).unwrap_or_default();
                        let (field, reason) = (failure.field.clone(), failure.reason.to_string());
                        shared.put_aside(origin, 1, Some(field), reason, false, raw)?;
                    } else {
                        counts.rows_out += 1;
                        runs.push((origin.index, 1));
                    }
                }
                let Some(origin) = origins.first() else { continue };
                let table = shared.context.pipeline.table(&origin.origin.dataset);
                write(shared, &mut outputs, &table, &bound.schema(), &applied.batch, &runs)?;
            }
            Work::Documents { origin, batch } => {
                let came = batch.apply(shared.env)?;
                tally.add(&came.tally);
                for Failed { line, path, reason, raw } in came.failures {
                    shared.put_aside(&origin, line, Some(path), reason, false, &raw)?;
                }
                let dataset = &origin.origin.dataset;
                shared.report_undeclared(dataset, came.left_out.elements.keys().cloned().collect());
                let counts = all.entry(origin.index).or_default();
                counts.rows_in += came.read;
                counts.rows_out += came.written;
                counts.excluded += came.excluded;
                if !came.left_out.is_empty() {
                    lock(&shared.noticed).left_out.entry(dataset.clone()).or_default().add(came.left_out);
                }
                for (kind, rows) in &came.tables {
                    let table = shared.context.pipeline.document_table(dataset, kind);
                    let runs = [(origin.index, rows.num_rows() as u64)];
                    write(shared, &mut outputs, &table, &rows.schema(), rows, &runs)?;
                }
            }
        }
    }
    lock(&shared.tally).add(&tally);
    let sources = lock(&shared.sources).clone();
    let mut parts = Vec::new();
    for (table, Output { writer, runs }) in outputs {
        let files: BTreeSet<u32> = runs.iter().map(|(file, _)| *file).collect();
        let of_part = files.iter().filter_map(|file| sources.get(file)).cloned().collect();
        parts.push(PartRecord { table, info: writer.finish(of_part)?, runs });
    }
    Ok((parts, all))
}

/// The rows without those that are past their retention.
fn unexpired(
    shared: &Shared<'_, '_>,
    table: &str,
    schema: &SchemaRef,
    rows: &RecordBatch,
    runs: &[(u32, u64)],
) -> Result<(RecordBatch, Vec<(u32, u64)>), RunError> {
    let all = || (rows.clone(), runs.to_vec());
    let Some(cut) = shared.context.keeping.cut(table, schema, shared.context.recipe.method)? else { return Ok(all()) };
    let since = |file: u32| shared.since.get(file as usize).copied().flatten();
    let Some(stays) = cut.staying(rows, runs.iter().map(|(file, count)| (since(*file), *count)))? else {
        return Ok(all());
    };
    let mut at = 0;
    let staying = runs.iter().map(|(file, count)| {
        let of_file = stays.slice(at, *count as usize);
        at += *count as usize;
        (*file, of_file.true_count() as u64)
    });
    let runs = staying.filter(|(_, count)| *count > 0).collect();
    let left = filter_record_batch(rows, &stays).map_err(|_| RunError::Internal("rows that stay"))?;
    let gone = rows.num_rows() - left.num_rows();
    *lock(&shared.noticed).expired.entry(table.to_owned()).or_default() += gone as u64;
    Ok((left, runs))
}

/// Writes rows to the worker's part of a table. `runs`: of which file they are, in their order.
fn write(
    shared: &Shared<'_, '_>,
    outputs: &mut HashMap<String, Output>,
    table: &str,
    schema: &SchemaRef,
    rows: &RecordBatch,
    runs: &[(u32, u64)],
) -> Result<(), RunError> {
    shared.context.meter.add_rows(rows.num_rows());
    let (rows, runs) = &unexpired(shared, table, schema, rows, runs)?;
    if rows.num_rows() == 0 {
        return Ok(());
    }
    if !outputs.contains_key(table) {
        let writer = shared.context.staging(table)?.part(schema, &shared.part_options)?;
        outputs.insert(table.to_owned(), Output { writer, runs: Vec::new() });
    }
    if let Some(output) = outputs.get_mut(table) {
        output.writer.write(rows)?;
        for (file, rows) in runs {
            match output.runs.last_mut().filter(|(last, _)| last == file) {
                Some((_, count)) => *count += rows,
                None => output.runs.push((*file, *rows)),
            }
        }
    }
    // A single part ends its row groups by itself; many together could hold a multiple of what one may.
    let held = || outputs.values().map(|output| output.writer.memory()).sum::<usize>();
    if outputs.len() > 1
        && held() > shared.worker_bytes
        && let Some(largest) = outputs.values_mut().max_by_key(|output| output.writer.memory())
    {
        largest.writer.flush()?;
    }
    Ok(())
}
