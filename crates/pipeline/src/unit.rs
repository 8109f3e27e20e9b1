//! One unit of a run: its files are read here, de-identified by workers, and written as encrypted parts.
//!
//! Readers hand batches to workers through a bounded channel, so memory is bounded by the channel's depth and by one
//! share of it for each worker's open parts. A file that turns out to be broken half-way is refused as a whole: what was
//! written of the unit is thrown away and the unit starts again without it, so a table never holds half a file.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::RecordBatch;
use arrow_buffer::NullBuffer;
use arrow_schema::SchemaRef;
use cordon_deid::ccda::CcdaRecipe;
use cordon_deid::dicom::DicomRecipe;
use cordon_deid::document::Documents;
use cordon_deid::fhir::FhirRecipe;
use cordon_deid::hl7v2::Hl7v2Recipe;
use cordon_deid::kernel::Env;
use cordon_deid::recipe::{BoundTable, TableRecipe};
use cordon_deid::survey::Survey;
use cordon_deid::tally::Tally;
use cordon_deid::x12::X12Recipe;
use cordon_engine::EngineError;
use cordon_engine::tables::{PartOptions, PartWriter, SourceRef};
use cordon_formats::ccda::{self, DocumentReader};
use cordon_formats::dicom;
use cordon_formats::fhir::{ReadError, ReadOptions, ResourceReader};
use cordon_formats::hl7v2::{self, MessageReader};
use cordon_formats::x12::{self, TransactionReader};
use cordon_formats::{
    CsvBatch, CsvOptions, CsvReader, FormatError, NdjsonBatch, NdjsonOptions, NdjsonReader, NotesBatch, NotesOptions,
    NotesReader, Reject, filled, open_decoded, text_columns, text_names,
};
use cordon_vault::TokenVault;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::Format;
use crate::documents::{DocumentBatch, Failed, position};
use crate::error::RunError;
use crate::people;
use crate::plan::{Basis, PlannedFile, ReplayInput, Unit};
use crate::progress::Progress;
use crate::quarantine::{Origin, QuarantineWriter};
use crate::run::Context;
use crate::source::{Hashed, Metered, uncompressed};
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

/// What a unit came to, under the names by which state and journal know it.
pub struct Processed {
    pub records: Vec<(String, UnitRecord)>,
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

/// Text columns with a way back to the record that each row came from.
trait Rows: Send {
    fn batch(&self) -> &RecordBatch;
    fn line(&self, row: usize) -> u64;
    fn raw(&self, row: usize) -> Vec<u8>;
    fn rejects(&mut self) -> Vec<Reject>;
    /// Of columns that no rule reads, and that were not decoded: where they hold something, by row as they were read.
    fn unread(&self) -> Option<Vec<Option<NullBuffer>>> {
        None
    }
    /// Which row of what was read a row is.
    fn place(&self, row: usize) -> usize {
        row
    }
}

impl Rows for CsvBatch {
    fn batch(&self) -> &RecordBatch {
        &self.batch
    }
    fn line(&self, row: usize) -> u64 {
        self.rows.line(row).unwrap_or(0)
    }
    fn raw(&self, row: usize) -> Vec<u8> {
        self.rows.raw(row).unwrap_or_default().to_vec()
    }
    fn rejects(&mut self) -> Vec<Reject> {
        std::mem::take(&mut self.rejects)
    }
}

impl Rows for NdjsonBatch {
    fn batch(&self) -> &RecordBatch {
        &self.batch
    }
    fn line(&self, row: usize) -> u64 {
        self.rows.line(row).unwrap_or(0)
    }
    fn raw(&self, row: usize) -> Vec<u8> {
        self.rows.raw(row).unwrap_or_default().to_vec()
    }
    fn rejects(&mut self) -> Vec<Reject> {
        std::mem::take(&mut self.rejects)
    }
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

/// Rows of a Parquet file; a row that is put aside is kept as a CSV record of its columns' text.
struct ParquetRows {
    /// The columns that rules read, as text; the others are null.
    batch: RecordBatch,
    /// All columns as they are in the file.
    whole: RecordBatch,
    first: u64,
    /// The rows of `whole` that are rows of `batch`, where some were put aside.
    kept: Option<Vec<usize>>,
}

/// A row as CSV, with what has a text form: what no rule reads may be of any type.
fn parquet_record(whole: &RecordBatch, row: usize) -> Vec<u8> {
    if row >= whole.num_rows() {
        return Vec::new();
    }
    let row = whole.slice(row, 1);
    let text = text_columns(&row, |_| true).map(|text| text.batch).or_else(|_| {
        let readable = |column: &usize| text_columns(&row, |at| at == *column).is_ok();
        let columns = text_names(row.schema_ref()).map_or(0, |names| names.len());
        let readable: Vec<usize> = (0..columns).filter(readable).collect();
        text_columns(&row, |column| readable.contains(&column)).map(|text| text.batch)
    });
    text.map_or_else(|_| Vec::new(), |text| csv_record(&text, 0))
}

impl Rows for ParquetRows {
    fn batch(&self) -> &RecordBatch {
        &self.batch
    }
    fn line(&self, row: usize) -> u64 {
        self.first + self.place(row) as u64
    }
    fn raw(&self, row: usize) -> Vec<u8> {
        parquet_record(&self.whole, self.place(row))
    }
    fn rejects(&mut self) -> Vec<Reject> {
        Vec::new()
    }
    fn unread(&self) -> Option<Vec<Option<NullBuffer>>> {
        Some(filled(&self.whole))
    }
    fn place(&self, row: usize) -> usize {
        self.kept.as_ref().map_or(row, |kept| kept.get(row).copied().unwrap_or(row))
    }
}

fn csv_record(batch: &RecordBatch, row: usize) -> Vec<u8> {
    use arrow_array::{Array, StringViewArray};
    let mut record = Vec::new();
    for (number, column) in batch.columns().iter().enumerate() {
        if number > 0 {
            record.push(b',');
        }
        let Some(text) = column.as_any().downcast_ref::<StringViewArray>().filter(|text| text.is_valid(row)) else {
            continue;
        };
        record.push(b'"');
        for byte in text.value(row).bytes() {
            if byte == b'"' {
                record.push(b'"');
            }
            record.push(byte);
        }
        record.push(b'"');
    }
    record
}

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
        let learner = |shared: &Shared<'_, '_>, receiver: &Receiver<Work<'_>>| learner(shared, receiver, &people.vault);
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
        let quarantine_name = format!("{}-{}.sealed", context.run, unit.id);
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
fn learner(shared: &Shared<'_, '_>, receiver: &Receiver<Work<'_>>, vault: &TokenVault) -> Result<(), RunError> {
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

fn origin_of(planned: &PlannedFile, header: Vec<String>) -> Origin {
    Origin {
        dataset: planned.file.dataset.clone(),
        file: planned.file.name.clone(),
        source_id: planned.source_id.clone(),
        format: planned.file.format,
        csv: (*planned.file.csv).clone(),
        notes: (*planned.file.notes).clone(),
        header,
    }
}

/// Reads one file to its end and sends its batches. Returns its SHA-256 and the number of records put aside.
fn read_file(reader: &Reader<'_, '_, '_>) -> Result<(String, u64), Stop> {
    let planned = reader.planned;
    if let Some(replay) = &planned.replay {
        return reader.replay(replay).map(|rejected| (String::new(), rejected));
    }
    let path = &planned.file.path;
    if planned.file.stamp.size == 0 && !matches!(planned.file.format, Format::Csv | Format::Parquet) {
        // Neither form has a header that could be missed: a transfer that failed would pass for a day without records.
        return Err(reader.refuse_for("the file is empty".to_owned()));
    }
    let metered = Metered::new(planned.file.open()?, Arc::clone(&reader.shared.context.meter.bytes));
    if planned.file.format == Format::Parquet {
        // Parquet is read at random: its hash is taken in a pass of its own.
        let mut hashed = Hashed::new(metered);
        let hash = hashed.hash();
        let mut buffer = vec![0; 1 << 20];
        while hashed.read(&mut buffer).map_err(|error| RunError::io("read", path, &error))? > 0 {}
        return reader.parquet().map(|rejected| (hash.hex(), rejected));
    }
    let hashed = Hashed::new(open_decoded(metered).map_err(|error| reader.refuse(&error))?);
    let hash = hashed.hash();
    let rejected = match planned.file.format {
        Format::Csv => reader.csv(hashed)?,
        Format::Ndjson => reader.ndjson(hashed)?,
        Format::Fhir | Format::Parquet => reader.fhir(hashed)?,
        Format::Hl7v2 => reader.hl7v2(hashed)?,
        Format::Ccda => reader.ccda(hashed)?,
        Format::X12 => reader.x12(hashed)?,
        Format::Notes => reader.note(hashed)?,
        Format::Dicom => reader.dicom(hashed)?,
    };
    Ok((hash.hex(), rejected))
}

struct Reader<'a, 'b, 's> {
    shared: &'s Shared<'a, 'b>,
    index: usize,
    planned: &'s PlannedFile,
    sender: &'s Sender<Work<'a>>,
    /// Something of the file has gone to a worker or to quarantine.
    began: Cell<bool>,
    /// Notes of this and earlier files that have not gone to a worker yet.
    notes: &'s RefCell<Option<WaitingNotes<'a>>>,
}

/// Why reading stopped: the text itself, or anything else.
enum Trouble {
    Text(String),
    Stop(Stop),
}

impl<E: Into<Stop>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Stop(error.into())
    }
}

/// What came out of some text.
#[derive(Default)]
struct Seen {
    rows: u64,
    rejected: u64,
}

impl<'a> Reader<'a, '_, '_> {
    fn csv(&self, input: impl Read) -> Result<u64, Stop> {
        let options = (*self.planned.file.csv).clone();
        let reader = CsvReader::new(input, options).map_err(|error| self.refuse(&error))?;
        let header = reader.header().to_vec();
        let bound = self.bind(&header)?;
        let seen = self.csv_rows(reader, &self.slot(header), &bound);
        self.whole(seen)
    }

    fn csv_rows(
        &self,
        mut reader: CsvReader<impl Read>,
        origin: &Arc<OriginSlot>,
        bound: &Arc<BoundTable<'a>>,
    ) -> Result<Seen, Trouble> {
        let mut seen = Seen::default();
        while let Some(mut batch) = reader.next_batch().map_err(|error| self.trouble(&error))? {
            seen.rows += batch.batch.num_rows() as u64;
            seen.rejected += self.put_aside_rejects(origin, batch.rejects())?;
            self.send(Work::Table { origin: Arc::clone(origin), bound: Arc::clone(bound), batch: Box::new(batch) })?;
        }
        Ok(seen)
    }

    fn ndjson(&self, input: impl Read) -> Result<u64, Stop> {
        let declared = self.declared()?;
        let bound = self.bind(&declared)?;
        let seen = self.ndjson_rows(input, &declared, &self.slot(declared.clone()), &bound);
        self.whole(seen)
    }

    fn declared(&self) -> Result<Vec<String>, Stop> {
        let mut declared: Vec<String> = self.table()?.rules.iter().map(|rule| rule.input.clone()).collect();
        declared.sort();
        declared.dedup();
        Ok(declared)
    }

    fn ndjson_rows(
        &self,
        input: impl Read,
        declared: &[String],
        origin: &Arc<OriginSlot>,
        bound: &Arc<BoundTable<'a>>,
    ) -> Result<Seen, Trouble> {
        let recipe = self.table()?;
        let mut seen = Seen::default();
        let mut reader =
            NdjsonReader::new(input, declared, NdjsonOptions::default()).map_err(|error| self.refuse(&error))?;
        while let Some(mut batch) = reader.next_batch().map_err(|error| self.trouble(&error))? {
            seen.rows += batch.batch.num_rows() as u64;
            seen.rejected += self.put_aside_rejects(origin, batch.rejects())?;
            let undeclared: Vec<String> = batch.undeclared.keys().cloned().collect();
            if !undeclared.is_empty() && recipe.undeclared == cordon_deid::policy::file::Undeclared::Fail {
                return Err(self.refuse_for("the file has keys that the policy does not declare".to_owned()).into());
            }
            self.shared.report_undeclared(&self.planned.file.dataset, undeclared);
            self.send(Work::Table { origin: Arc::clone(origin), bound: Arc::clone(bound), batch: Box::new(batch) })?;
        }
        Ok(seen)
    }

    fn parquet(&self) -> Result<u64, Stop> {
        let reader = self.planned.file.parquet(8192).map_err(|error| self.parquet_trouble(error))?;
        let mut fitted: Option<(Arc<BoundTable<'a>>, Arc<OriginSlot>, Vec<String>)> = None;
        let (mut first, mut rejected) = (1, 0);
        for batch in reader {
            let whole = batch.map_err(|error| self.parquet_trouble(error))?;
            if fitted.is_none() {
                let header = text_names(whole.schema_ref()).map_err(|error| self.refuse(&error))?;
                let bound = self.bind(&header)?;
                let mut origin = origin_of(self.planned, header.clone());
                // What is put aside of a Parquet file is kept, and replayed, as CSV.
                origin.format = Format::Csv;
                origin.csv = CsvOptions::default();
                fitted = Some((bound, self.slot_of(origin), header));
            }
            let Some((bound, origin, header)) = &fitted else { continue };
            let text =
                text_columns(&whole, |column| bound.needed.contains(&column)).map_err(|error| self.refuse(&error))?;
            let rows = whole.num_rows();
            let (mut batch, mut kept) = (text.batch, None);
            if !text.unreadable.is_empty() {
                let odd: BTreeMap<usize, usize> = text.unreadable.into_iter().rev().collect();
                for (row, column) in &odd {
                    let (line, raw) = (first + *row as u64, parquet_record(&whole, *row));
                    let reason = "a value outside its type's calendar".to_owned();
                    self.began.set(true);
                    self.shared.put_aside(origin, line, header.get(*column).cloned(), reason, false, &raw)?;
                    rejected += 1;
                }
                let good: Vec<usize> = (0..rows).filter(|row| !odd.contains_key(row)).collect();
                let places: arrow_array::UInt64Array = good.iter().map(|row| *row as u64).collect();
                batch = arrow_select::take::take_record_batch(&batch, &places)
                    .map_err(|_| RunError::Internal("rows of a Parquet file"))?;
                kept = Some(good);
            }
            let batch = Box::new(ParquetRows { batch, whole, first, kept });
            first += rows as u64;
            self.send(Work::Table { origin: Arc::clone(origin), bound: Arc::clone(bound), batch })?;
        }
        Ok(rejected)
    }

    /// A store that cannot be reached is no fault of the file.
    fn parquet_trouble(&self, error: EngineError) -> Stop {
        match error {
            EngineError::Storage(error) => RunError::from(error).into(),
            error => self.refuse_for(error.to_string()),
        }
    }

    /// One row; it goes to a worker with those of other files.
    fn note(&self, input: impl Read) -> Result<u64, Stop> {
        let seen = self.note_row(input, None);
        self.whole(seen)
    }

    /// Reads a note; what is replayed has a slot of its own.
    fn note_row(&self, input: impl Read, slot: Option<&Arc<OriginSlot>>) -> Result<Seen, Trouble> {
        let file = &self.planned.file;
        let name = file.path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| self.refuse_for("the file's name is not UTF-8".to_owned()))?;
        let mut waiting = self.notes.borrow_mut();
        if waiting.as_ref().is_some_and(|waiting| waiting.options != file.notes) {
            send_notes(self.shared, self.sender, waiting.take())?;
        }
        if waiting.is_none() {
            let reader = NotesReader::new((*file.notes).clone()).map_err(|error| self.refuse(&error))?;
            let bound = self.bind(reader.header())?;
            *waiting = Some(WaitingNotes { options: Arc::clone(&file.notes), reader, bound, origins: Vec::new() });
        }
        let Some(notes) = waiting.as_mut() else { return Err(Stop::Run(RunError::Internal("notes")).into()) };
        let slot = || slot.cloned().unwrap_or_else(|| self.slot(Vec::new()));
        let rejected = notes.reader.read(uncompressed(name), input).map_err(|error| self.trouble(&error))?;
        if let Some(reject) = rejected {
            self.reject(&slot(), reject.line, &reject.reason, reject.cut, &reject.raw)?;
            return Ok(Seen { rows: 0, rejected: 1 });
        }
        notes.origins.push(slot());
        let (count, bytes) = notes.reader.waiting();
        if count >= NOTES_TOGETHER || bytes >= NOTES_BYTES {
            send_notes(self.shared, self.sender, waiting.take())?;
        }
        Ok(Seen { rows: 1, rejected: 0 })
    }

    fn fhir(&self, input: impl Read) -> Result<u64, Stop> {
        let recipe = self.resource_rules()?;
        let seen = self.fhir_documents(input, &self.slot(Vec::new()), recipe);
        self.whole(seen)
    }

    fn hl7v2(&self, input: impl Read) -> Result<u64, Stop> {
        let recipe = self.message_rules()?;
        let seen = self.hl7v2_messages(input, &self.slot(Vec::new()), recipe);
        self.whole(seen)
    }

    fn ccda(&self, input: impl Read) -> Result<u64, Stop> {
        let recipe = self.ccda_rules()?;
        let seen = self.ccda_documents(input, &self.slot(Vec::new()), recipe);
        self.whole(seen)
    }

    fn x12(&self, input: impl Read) -> Result<u64, Stop> {
        let recipe = self.x12_rules()?;
        let seen = self.x12_sets(input, &self.slot(Vec::new()), recipe);
        self.whole(seen)
    }

    fn dicom(&self, input: impl Read) -> Result<u64, Stop> {
        let recipe = self.dicom_rules()?;
        let seen = self.dicom_file(input, &self.slot(Vec::new()), recipe);
        self.whole(seen)
    }

    /// The rules of the file's dataset, which must be of its format.
    fn rules<R>(&self, format: &str, of: impl FnOnce(&'a Documents) -> Option<&'a R>) -> Result<&'a R, Stop> {
        let dataset = &self.planned.file.dataset;
        let documents = self.shared.context.recipe.documents.get(dataset);
        documents.and_then(of).ok_or_else(|| {
            let declared = documents.map_or("a table", Documents::format);
            self.refuse_for(format!("the policy declares `{dataset}` as {declared} and the files are {format}"))
        })
    }

    fn resource_rules(&self) -> Result<&'a FhirRecipe, Stop> {
        self.rules("FHIR", Documents::fhir)
    }

    fn message_rules(&self) -> Result<&'a Hl7v2Recipe, Stop> {
        self.rules("HL7 v2", Documents::hl7v2)
    }

    fn ccda_rules(&self) -> Result<&'a CcdaRecipe, Stop> {
        self.rules("C-CDA", Documents::ccda)
    }

    fn x12_rules(&self) -> Result<&'a X12Recipe, Stop> {
        self.rules("X12", Documents::x12)
    }

    fn x12_sets(&self, input: impl Read, origin: &Arc<OriginSlot>, recipe: &'a X12Recipe) -> Result<Seen, Trouble> {
        let defaults = x12::ReadOptions::default();
        let most = defaults.max_transaction_bytes.min(self.shared.context.project.project.memory / 8);
        let mut reader = TransactionReader::new(input, x12::ReadOptions { max_transaction_bytes: most });
        let mut seen = Seen::default();
        while let Some(mut batch) = reader.next_batch(DOCUMENT_BATCH).map_err(|error| self.trouble(&error))? {
            for reject in std::mem::take(&mut batch.rejects) {
                self.reject(origin, reject.line, &reject.reason, reject.cut, &reject.raw)?;
                seen.rejected += 1;
            }
            seen.rows += self.hand_on(origin, DocumentBatch::X12(recipe, Box::new(batch)))?;
        }
        Ok(seen)
    }

    fn dicom_rules(&self) -> Result<&'a DicomRecipe, Stop> {
        self.rules("DICOM", Documents::dicom)
    }

    /// One file is one document. What of it is pixel data that do not stay passes by without being held.
    fn dicom_file(&self, input: impl Read, origin: &Arc<OriginSlot>, recipe: &'a DicomRecipe) -> Result<Seen, Trouble> {
        let defaults = dicom::Limits::default();
        // A file is held as it was read, as it is written, and as its rows, and some wait for workers.
        let limits = dicom::Limits { max_bytes: self.shared.context.project.project.memory / 16, ..defaults };
        let file = dicom::read(input, limits, |file| recipe.pixels(file)).map_err(|error| match error {
            dicom::ReadError::Source(error) => self.trouble(&error),
            dicom::ReadError::Broken(error) if matches!(error.problem, dicom::Problem::TooLong { .. }) => {
                Trouble::Text(format!("{error}; raise `run.memory` in cordon.yaml, of which a sixteenth may hold it"))
            }
            dicom::ReadError::Broken(error) => Trouble::Text(error.to_string()),
        })?;
        Ok(Seen { rows: self.hand_on(origin, DocumentBatch::Dicom(recipe, vec![file]))?, rejected: 0 })
    }

    fn ccda_documents(
        &self,
        input: impl Read,
        origin: &Arc<OriginSlot>,
        recipe: &'a CcdaRecipe,
    ) -> Result<Seen, Trouble> {
        let defaults = ccda::ReadOptions::default();
        let most = defaults.max_bytes.min(self.shared.context.project.project.memory / 8);
        let mut reader = DocumentReader::new(input, ccda::ReadOptions { max_bytes: most, ..defaults });
        let mut seen = Seen::default();
        while let Some(mut batch) = reader.next_batch(DOCUMENT_BATCH).map_err(|error| self.trouble(&error))? {
            for reject in std::mem::take(&mut batch.rejects) {
                self.reject(origin, reject.line, &reject.reason, reject.cut, &reject.raw)?;
                seen.rejected += 1;
            }
            seen.rows += self.hand_on(origin, DocumentBatch::Ccda(recipe, Box::new(batch)))?;
        }
        Ok(seen)
    }

    fn hl7v2_messages(
        &self,
        input: impl Read,
        origin: &Arc<OriginSlot>,
        recipe: &'a Hl7v2Recipe,
    ) -> Result<Seen, Trouble> {
        let mut reader = MessageReader::new(input, hl7v2::ReadOptions::default());
        let mut seen = Seen::default();
        while let Some(mut batch) = reader.next_batch(DOCUMENT_BATCH).map_err(|error| self.trouble(&error))? {
            for reject in std::mem::take(&mut batch.rejects) {
                self.reject(origin, reject.line, &reject.reason, reject.cut, &reject.raw)?;
                seen.rejected += 1;
            }
            seen.rows += self.hand_on(origin, DocumentBatch::Hl7v2(recipe, Box::new(batch)))?;
        }
        Ok(seen)
    }

    fn fhir_documents(
        &self,
        input: impl Read,
        origin: &Arc<OriginSlot>,
        recipe: &'a FhirRecipe,
    ) -> Result<Seen, Trouble> {
        // A document is held in memory until it has been read; everything else of the run has the other three quarters.
        let project = &self.shared.context.project.project;
        let options = ReadOptions { max_document_bytes: project.memory / 4, ..ReadOptions::default() };
        let mut reader = ResourceReader::new(input, options);
        let broken = |error: ReadError| match error {
            ReadError::Format(error) => self.trouble(&error),
            ReadError::DocumentTooLarge { limit } => Trouble::Text(format!(
                "the document is larger than {limit} bytes; export it as NDJSON, or raise `run.memory` in cordon.yaml, of \
                 which a quarter may hold it"
            )),
        };
        let mut seen = Seen::default();
        while let Some(mut batch) = reader.next_batch(DOCUMENT_BATCH).map_err(broken)? {
            for reject in std::mem::take(&mut batch.rejects) {
                self.reject(origin, position(reject.origin), &reject.reason, reject.cut, &reject.raw)?;
                seen.rejected += 1;
            }
            seen.rows += self.hand_on(origin, DocumentBatch::Fhir(recipe, Box::new(batch)))?;
        }
        Ok(seen)
    }

    /// Reads quarantined records again, each by itself, so that none can swallow or break another. Records that are
    /// one line whatever they hold are read together. Returns how many were put aside again without becoming a row.
    fn replay(&self, input: &ReplayInput) -> Result<u64, Stop> {
        enum Target<'a> {
            Csv(Arc<BoundTable<'a>>),
            Ndjson(Arc<BoundTable<'a>>, Vec<String>),
            Fhir(&'a FhirRecipe),
            Hl7v2(&'a Hl7v2Recipe),
            Ccda(&'a CcdaRecipe),
            X12(&'a X12Recipe),
            Notes,
            Dicom(&'a DicomRecipe),
        }
        let format = self.planned.file.format;
        let target = match format {
            Format::Csv | Format::Parquet => Target::Csv(self.bind(&input.header)?),
            Format::Ndjson => {
                let declared = self.declared()?;
                Target::Ndjson(self.bind(&declared)?, declared)
            }
            Format::Fhir => Target::Fhir(self.resource_rules()?),
            Format::Hl7v2 => Target::Hl7v2(self.message_rules()?),
            Format::Ccda => Target::Ccda(self.ccda_rules()?),
            Format::X12 => Target::X12(self.x12_rules()?),
            Format::Notes => Target::Notes,
            Format::Dicom => Target::Dicom(self.dicom_rules()?),
        };
        let origin = Arc::new(origin_of(self.planned, input.header.clone()));
        let number = Arc::new(Mutex::new(None));
        let mut rejected = 0;
        let mut rest = input.records.as_slice();
        while !rest.is_empty() {
            let lines = rest
                .iter()
                .take(REPLAYED_TOGETHER)
                .take_while(|record| is_one_line(&record.raw, format, &self.planned.file.csv));
            let (group, after) = rest.split_at(lines.count().max(1));
            rest = after;
            let mut text = Vec::with_capacity(group.iter().map(|record| record.raw.len() + 1).sum());
            for record in group {
                if !text.is_empty() {
                    text.push(b'\n');
                }
                text.extend_from_slice(&record.raw);
            }
            let slot = Arc::new(OriginSlot {
                origin: Arc::clone(&origin),
                index: self.index as u32,
                number: Arc::clone(&number),
                lines: Some(group.iter().map(|record| record.line).collect()),
            });
            let seen = match &target {
                Target::Csv(bound) => {
                    let options = CsvOptions { batch_bytes: text.len() + 64, ..(*self.planned.file.csv).clone() };
                    let reader = CsvReader::with_header(text.as_slice(), options, input.header.clone())
                        .map_err(|error| self.refuse(&error))?;
                    self.csv_rows(reader, &slot, bound)
                }
                Target::Ndjson(bound, declared) => self.ndjson_rows(text.as_slice(), declared, &slot, bound),
                Target::Fhir(recipe) => self.fhir_documents(text.as_slice(), &slot, recipe),
                Target::Hl7v2(recipe) => self.hl7v2_messages(text.as_slice(), &slot, recipe),
                Target::Ccda(recipe) => self.ccda_documents(text.as_slice(), &slot, recipe),
                Target::X12(recipe) => self.x12_sets(text.as_slice(), &slot, recipe),
                Target::Notes => self.note_row(text.as_slice(), Some(&slot)),
                Target::Dicom(recipe) => self.dicom_file(text.as_slice(), &slot, recipe),
            };
            let alone = group.len() == 1;
            let why = match seen {
                Ok(seen) if seen.rows + seen.rejected == group.len() as u64 || (alone && seen.rows > 0) => {
                    rejected += seen.rejected;
                    continue;
                }
                Ok(_) if alone => "the record reads as nothing".to_owned(),
                Err(Trouble::Text(reason)) if alone => reason,
                Ok(_) | Err(Trouble::Text(_)) => return Err(Stop::Run(RunError::Internal("a replay"))),
                Err(Trouble::Stop(stop)) => return Err(stop),
            };
            self.began.set(true);
            self.shared.put_aside(&slot, 0, None, why, false, &text)?;
            rejected += 1;
        }
        Ok(rejected)
    }

    /// Trouble with the text of a file that is read as a whole refuses it.
    fn whole(&self, seen: Result<Seen, Trouble>) -> Result<u64, Stop> {
        match seen {
            Ok(seen) => Ok(seen.rejected),
            Err(Trouble::Text(reason)) => Err(self.refuse_for(reason)),
            Err(Trouble::Stop(stop)) => Err(stop),
        }
    }

    /// Sets a record aside that could not be read. `cut`: so many bytes are missing from `raw`.
    fn reject(
        &self,
        slot: &OriginSlot,
        line: u64,
        why: &impl fmt::Display,
        cut: u64,
        raw: &[u8],
    ) -> Result<(), RunError> {
        self.began.set(true);
        self.shared.put_aside(slot, line, None, why.to_string(), cut > 0, raw)
    }

    /// Hands documents to the workers; says how many.
    fn hand_on(&self, origin: &Arc<OriginSlot>, batch: DocumentBatch<'a>) -> Result<u64, Stop> {
        let count = batch.len();
        self.send(Work::Documents { origin: Arc::clone(origin), batch })?;
        Ok(count)
    }

    fn put_aside_rejects(&self, slot: &OriginSlot, rejects: Vec<Reject>) -> Result<u64, RunError> {
        let count = rejects.len() as u64;
        for reject in rejects {
            self.reject(slot, reject.line, &reject.reason, reject.cut, &reject.raw)?;
        }
        Ok(count)
    }

    fn table(&self) -> Result<&'a TableRecipe, Stop> {
        let dataset = &self.planned.file.dataset;
        self.shared.context.recipe.tables.get(dataset).ok_or_else(|| {
            self.refuse_for(format!("the policy declares `{dataset}` as documents and the files are tables"))
        })
    }

    fn bind(&self, header: &[String]) -> Result<Arc<BoundTable<'a>>, Stop> {
        let bound = self.table()?.bind(header).map_err(|error| self.refuse_for(error.to_string()))?;
        self.shared.report_undeclared(&self.planned.file.dataset, bound.undeclared.clone());
        Ok(Arc::new(bound))
    }

    fn slot(&self, header: Vec<String>) -> Arc<OriginSlot> {
        self.slot_of(origin_of(self.planned, header))
    }

    fn slot_of(&self, origin: Origin) -> Arc<OriginSlot> {
        Arc::new(OriginSlot { origin: Arc::new(origin), index: self.index as u32, number: Arc::default(), lines: None })
    }

    fn send(&self, work: Work<'a>) -> Result<(), Stop> {
        self.began.set(true);
        if self.shared.context.meter.stopped() {
            return Err(Stop::Run(RunError::Interrupted));
        }
        if self.shared.failed.load(Ordering::Relaxed) || self.sender.send(work).is_err() {
            // The worker's own error is the one that is shown.
            return Err(Stop::Run(RunError::Interrupted));
        }
        Ok(())
    }

    fn trouble(&self, error: &FormatError) -> Trouble {
        match error {
            FormatError::Io(error) => Trouble::Stop(RunError::io("read", &self.planned.file.path, error).into()),
            error => Trouble::Text(error.to_string()),
        }
    }

    fn refuse(&self, error: &FormatError) -> Stop {
        match self.trouble(error) {
            Trouble::Text(reason) => self.refuse_for(reason),
            Trouble::Stop(stop) => stop,
        }
    }

    fn refuse_for(&self, reason: String) -> Stop {
        Stop::File(Refusal { index: self.index, reason })
    }
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

/// Most quarantined lines that are read together.
const REPLAYED_TOGETHER: usize = 4096;

/// Whether a record takes one line in whatever company: no line end, nothing that could begin or end a quotation, not
/// blank, no mark of an encoding.
fn is_one_line(raw: &[u8], format: Format, csv: &CsvOptions) -> bool {
    let plain = raw.first().is_some_and(u8::is_ascii_graphic) && memchr::memchr2(b'\n', b'\r', raw).is_none();
    match format {
        Format::Csv | Format::Parquet => {
            let signs = [csv.quote, csv.escape, csv.comment];
            plain && !signs.into_iter().flatten().any(|sign| memchr::memchr(sign, raw).is_some())
        }
        Format::Ndjson => plain,
        Format::Fhir | Format::Hl7v2 | Format::Ccda | Format::X12 | Format::Notes | Format::Dicom => false,
    }
}

/// Text of documents that are taken apart together.
const DOCUMENT_BATCH: usize = 4 << 20;

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
