//! One unit of a run: its files are read here, de-identified by workers, and written as encrypted parts.
//!
//! Readers hand batches to workers through a bounded channel, so memory is bounded by the channel's depth and by one
//! row group for each worker and table. A file that turns out to be broken half-way is refused as a whole: what was
//! written of the unit is thrown away and the unit starts again without it, so a table never holds half a file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use cordon_deid::fhir::FhirRecipe;
use cordon_deid::kernel::Env;
use cordon_deid::recipe::{BoundTable, TableRecipe};
use cordon_engine::tables::{PartInfo, PartOptions, PartWriter, SourceRef};
use cordon_engine::{InputKeys, ParquetInput};
use cordon_formats::fhir::{ReadError, ReadOptions, ResourceBatch, ResourceReader};
use cordon_formats::{
    CsvBatch, CsvOptions, CsvReader, FormatError, NdjsonBatch, NdjsonOptions, NdjsonReader, Reject, open_decoded,
    text_columns, text_names,
};
use crossbeam_channel::{Receiver, Sender, bounded};
use serde::Serialize;

use crate::config::Format;
use crate::error::RunError;
use crate::plan::{PlannedFile, ReplayInput, Unit};
use crate::progress::Progress;
use crate::quarantine::{Origin, QuarantineWriter};
use crate::run::Context;
use crate::source::Metered;
use crate::state::{FileRecord, UnitRecord};

/// Fields that did not pass because the policy does not name them, by dataset.
pub type Undeclared = BTreeMap<String, BTreeSet<String>>;

/// What was left out of FHIR resources as the policy wants it, by path or resource type.
#[derive(Clone, Default, Serialize)]
pub struct LeftOut {
    /// Elements that FHIR does not define, that have another form than it gives them, or that no rule is for.
    pub elements: BTreeMap<String, u64>,
    /// Extensions, identifiers and addresses of definitions that the policy does not list.
    pub unlisted: BTreeMap<String, u64>,
    /// References that do not say what they point to, or point to what is left out.
    pub references: u64,
    /// Resources of types that the policy excludes.
    pub excluded: BTreeMap<String, u64>,
}

impl LeftOut {
    /// Adds what another part of the run left out.
    pub fn add(&mut self, other: Self) {
        for (all, more) in [
            (&mut self.elements, other.elements),
            (&mut self.unlisted, other.unlisted),
            (&mut self.excluded, other.excluded),
        ] {
            for (path, count) in more {
                *all.entry(path).or_insert(0) += count;
            }
        }
        self.references += other.references;
    }

    /// Whether nothing was left out.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty() && self.unlisted.is_empty() && self.excluded.is_empty() && self.references == 0
    }
}

/// What a run tells of what did not pass.
#[derive(Clone, Default)]
pub struct Noticed {
    pub undeclared: Undeclared,
    /// By dataset.
    pub left_out: BTreeMap<String, LeftOut>,
}

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

/// Reads, de-identifies and writes one unit. When this returns, all of it is durable but not yet visible.
pub fn process(context: &Context<'_>, unit: &Unit, made_under: &str) -> Result<(UnitRecord, Noticed), RunError> {
    (context.tell)(Progress::Reading { dataset: &unit.dataset, files: unit.files.len() });
    let (vault, env) = context.project.env()?;
    let mut refused: BTreeMap<usize, String> = BTreeMap::new();
    loop {
        let passed = context.meter.bytes.load(Ordering::Relaxed);
        let rows = context.meter.rows.load(Ordering::Relaxed);
        let put_aside = context.meter.quarantined.load(Ordering::Relaxed);
        match attempt(context, unit, &env, &refused) {
            Ok(attempt) => {
                vault.sync()?;
                return Ok(attempt.into_record(unit, made_under, &refused));
            }
            Err(Stop::Run(error)) => return Err(error),
            Err(Stop::File(refusal)) => {
                context.meter.bytes.store(passed, Ordering::Relaxed);
                context.meter.rows.store(rows, Ordering::Relaxed);
                context.meter.quarantined.store(put_aside, Ordering::Relaxed);
                if let Some(planned) = unit.files.get(refusal.index) {
                    (context.tell)(Progress::Refused { file: &planned.file.name, reason: &refusal.reason });
                }
                refused.insert(refusal.index, refusal.reason);
            }
        }
    }
}

/// What a successful attempt leaves.
struct Attempt {
    hashes: BTreeMap<usize, String>,
    parts: Vec<(String, PartInfo)>,
    quarantine: Option<String>,
    rows_in: u64,
    rows_out: u64,
    quarantined: u64,
    excluded: u64,
    noticed: Noticed,
}

impl Attempt {
    fn into_record(self, unit: &Unit, made_under: &str, refused: &BTreeMap<usize, String>) -> (UnitRecord, Noticed) {
        let files: Vec<FileRecord> = unit
            .files
            .iter()
            .enumerate()
            .map(|(index, planned)| FileRecord {
                name: planned.file.name.clone(),
                source_id: planned.source_id.clone(),
                stamp: planned.file.stamp,
                sha256: self.hashes.get(&index).cloned().unwrap_or_default(),
                refused: refused.get(&index).cloned(),
            })
            .collect();
        let record = UnitRecord {
            made_under: made_under.to_owned(),
            dataset: unit.dataset.clone(),
            files,
            parts: self.parts,
            quarantine: self.quarantine,
            rows_in: self.rows_in,
            rows_out: self.rows_out,
            quarantined: self.quarantined,
            excluded: self.excluded,
        };
        (record, self.noticed)
    }
}

/// A batch on its way to a worker.
enum Work<'a> {
    Table { origin: Arc<OriginSlot>, bound: Arc<BoundTable<'a>>, batch: Box<dyn Rows> },
    Documents { origin: Arc<OriginSlot>, recipe: &'a FhirRecipe, batch: Box<ResourceBatch> },
}

/// Text columns with a way back to the record that each row came from.
trait Rows: Send {
    fn batch(&self) -> &RecordBatch;
    fn line(&self, row: usize) -> u64;
    fn raw(&self, row: usize) -> Vec<u8>;
    fn rejects(&mut self) -> Vec<Reject>;
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

impl ParquetRows {
    fn place(&self, row: usize) -> usize {
        self.kept.as_ref().map_or(row, |kept| kept.get(row).copied().unwrap_or(row))
    }
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

/// A file's place in the quarantine, taken when its first record is put aside.
struct OriginSlot {
    origin: Origin,
    number: Mutex<Option<usize>>,
    /// What is replayed keeps the line it had in its file.
    replay: Option<Arc<ReplayInput>>,
}

impl OriginSlot {
    fn line(&self, line: u64) -> u64 {
        self.replay.as_ref().and_then(|replay| replay.lines.get(&line).copied()).unwrap_or(line)
    }
}

/// What workers share.
struct Shared<'a, 'b> {
    context: &'a Context<'b>,
    env: &'a Env,
    quarantine: Mutex<QuarantineWriter>,
    noticed: Mutex<Noticed>,
    /// Files read to their end: what every part of the unit is made of.
    sources: Mutex<Vec<SourceRef>>,
    failed: AtomicBool,
    part_options: PartOptions,
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
        let mut quarantine = lock(&self.quarantine);
        let mut number = lock(&slot.number);
        let origin = match *number {
            Some(origin) => origin,
            None => *number.insert(quarantine.origin(&slot.origin)?),
        };
        quarantine.put(origin, slot.line(line), field, reason, cut, raw)?;
        self.context.meter.add_quarantined(1);
        Ok(())
    }

    fn put_aside_rejects(&self, slot: &OriginSlot, rejects: Vec<Reject>) -> Result<u64, RunError> {
        let count = rejects.len() as u64;
        for reject in rejects {
            self.put_aside(slot, reject.line, None, reject.reason.to_string(), reject.cut > 0, &reject.raw)?;
        }
        Ok(count)
    }

    fn report_undeclared(&self, dataset: &str, fields: Vec<String>) {
        if fields.is_empty() {
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

#[derive(Default)]
struct Counts {
    rows_in: u64,
    rows_out: u64,
    excluded: u64,
}

fn attempt(context: &Context<'_>, unit: &Unit, env: &Env, refused: &BTreeMap<usize, String>) -> Result<Attempt, Stop> {
    let project = context.project;
    let threads = project.project.threads.max(1);
    let quarantine_name = format!("{}-{}.sealed", context.run, unit.id);
    let tables = context.recipe.documents.get(&unit.dataset).map_or(1, FhirRecipe::open_writers);
    let shared = Shared {
        context,
        env,
        quarantine: Mutex::new(QuarantineWriter::new(
            project.quarantine_folder().join(&quarantine_name),
            project.seal_key()?,
        )),
        noticed: Mutex::default(),
        sources: Mutex::new(Vec::new()),
        failed: AtomicBool::new(false),
        part_options: PartOptions {
            row_group_bytes: (project.project.memory / 4 / threads / tables).clamp(4 << 20, 64 << 20),
            ..PartOptions::default()
        },
    };
    let (sender, receiver) = bounded::<Work<'_>>(threads * 2);
    let mut hashes = BTreeMap::new();
    let (read, worked) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (shared, receiver) = (&shared, receiver.clone());
                scope.spawn(move || {
                    let outcome = worker(shared, &receiver);
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
        let mut read = Ok(0);
        for (index, planned) in unit.files.iter().enumerate() {
            if refused.contains_key(&index) {
                continue;
            }
            match read_file(&shared, index, planned, &sender) {
                Ok((hash, rejected)) => {
                    lock(&shared.sources).push(SourceRef { id: planned.source_id.clone(), sha256: hash.clone() });
                    hashes.insert(index, hash);
                    read = read.map(|total| total + rejected);
                }
                Err(stop) => {
                    read = Err(stop);
                    break;
                }
            }
        }
        drop(sender);
        let worked: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        (read, worked)
    });
    let mut parts = Vec::new();
    let mut counts = Counts::default();
    let mut failure = None;
    for outcome in worked {
        match outcome {
            Ok(Ok((mine, more))) => {
                parts.extend(mine);
                counts.rows_in += more.rows_in;
                counts.rows_out += more.rows_out;
                counts.excluded += more.excluded;
            }
            Ok(Err(error)) => failure = Some(error),
            Err(_) => return Err(Stop::Run(RunError::Internal("a worker"))),
        }
    }
    if let Some(error) = failure {
        return Err(Stop::Run(error));
    }
    let rejected = read?;
    let mut quarantine = shared.quarantine.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (index, reason) in refused {
        if let Some(planned) = unit.files.get(*index) {
            let origin = quarantine.origin(&origin_of(planned, Vec::new()))?;
            quarantine.put(origin, 0, None, reason.clone(), false, &[])?;
        }
    }
    let quarantined = quarantine.count - refused.len() as u64;
    Ok(Attempt {
        hashes,
        parts,
        quarantine: quarantine.finish()?,
        rows_in: counts.rows_in + rejected,
        rows_out: counts.rows_out,
        quarantined,
        excluded: counts.excluded,
        noticed: shared.noticed.into_inner().unwrap_or_else(PoisonError::into_inner),
    })
}

fn origin_of(planned: &PlannedFile, header: Vec<String>) -> Origin {
    Origin {
        dataset: planned.file.dataset.clone(),
        file: planned.file.name.clone(),
        source_id: planned.source_id.clone(),
        format: planned.file.format,
        csv: (*planned.file.csv).clone(),
        header,
    }
}

/// Reads one file to its end and sends its batches. Returns its SHA-256 and the number of records put aside.
fn read_file<'a>(
    shared: &Shared<'a, '_>,
    index: usize,
    planned: &PlannedFile,
    sender: &Sender<Work<'a>>,
) -> Result<(String, u64), Stop> {
    let path = &planned.file.path;
    let file: Box<dyn Read + '_> = match &planned.replay {
        Some(replay) => Box::new(replay.bytes.as_slice()),
        None => Box::new(File::open(path).map_err(|error| RunError::io("open", path, &error))?),
    };
    let metered = Metered::new(file, Arc::clone(&shared.context.meter.bytes));
    let hash = metered.hash();
    let reader = Reader { shared, index, planned, sender };
    if planned.file.stamp.size == 0 && matches!(planned.file.format, Format::Ndjson | Format::Fhir) {
        // Neither form has a header that could be missed: a transfer that failed would pass for a day without records.
        return Err(reader.refuse_for("the file is empty".to_owned()));
    }
    let rejected = match planned.file.format {
        Format::Parquet => {
            // Parquet is read at random: its hash is taken in a pass of its own.
            std::io::copy(&mut BufReader::with_capacity(1 << 20, metered), &mut std::io::sink())
                .map_err(|error| RunError::io("read", path, &error))?;
            reader.parquet()?
        }
        Format::Csv => reader.csv(metered)?,
        Format::Ndjson => reader.ndjson(metered)?,
        Format::Fhir => reader.fhir(metered)?,
    };
    Ok((hash.hex(), rejected))
}

struct Reader<'a, 'b, 's> {
    shared: &'s Shared<'a, 'b>,
    index: usize,
    planned: &'s PlannedFile,
    sender: &'s Sender<Work<'a>>,
}

impl<'a> Reader<'a, '_, '_> {
    fn csv(&self, input: impl Read) -> Result<u64, Stop> {
        let decoded = open_decoded(input).map_err(|error| self.refuse(&error))?;
        let options = (*self.planned.file.csv).clone();
        let mut reader = CsvReader::new(decoded, options).map_err(|error| self.refuse(&error))?;
        let header = reader.header().to_vec();
        let bound = self.bind(&header)?;
        let origin = self.slot(header);
        let mut rejected = 0;
        while let Some(mut batch) = reader.next_batch().map_err(|error| self.refuse(&error))? {
            rejected += self.shared.put_aside_rejects(&origin, batch.rejects())?;
            self.send(Work::Table { origin: Arc::clone(&origin), bound: Arc::clone(&bound), batch: Box::new(batch) })?;
        }
        Ok(rejected)
    }

    fn ndjson(&self, input: impl Read) -> Result<u64, Stop> {
        let decoded = open_decoded(input).map_err(|error| self.refuse(&error))?;
        let recipe = self.table()?;
        let mut declared: Vec<String> = recipe.rules.iter().map(|rule| rule.input.clone()).collect();
        declared.sort();
        declared.dedup();
        let mut reader =
            NdjsonReader::new(decoded, &declared, NdjsonOptions::default()).map_err(|error| self.refuse(&error))?;
        let bound = self.bind(&declared)?;
        let origin = self.slot(declared);
        let mut rejected = 0;
        while let Some(mut batch) = reader.next_batch().map_err(|error| self.refuse(&error))? {
            rejected += self.shared.put_aside_rejects(&origin, batch.rejects())?;
            let undeclared: Vec<String> = batch.undeclared.keys().cloned().collect();
            if !undeclared.is_empty() && recipe.undeclared == cordon_deid::policy::file::Undeclared::Fail {
                return Err(self.refuse_for("the file has keys that the policy does not declare".to_owned()));
            }
            self.shared.report_undeclared(&self.planned.file.dataset, undeclared);
            self.send(Work::Table { origin: Arc::clone(&origin), bound: Arc::clone(&bound), batch: Box::new(batch) })?;
        }
        Ok(rejected)
    }

    fn parquet(&self) -> Result<u64, Stop> {
        let reader = ParquetInput::open(&self.planned.file.path, &InputKeys::default(), 8192)
            .map_err(|error| self.refuse_for(error.to_string()))?;
        let mut fitted: Option<(Arc<BoundTable<'a>>, Arc<OriginSlot>, Vec<String>)> = None;
        let (mut first, mut rejected) = (1, 0);
        for batch in reader {
            let whole = batch.map_err(|error| self.refuse_for(error.to_string()))?;
            if fitted.is_none() {
                let header = text_names(whole.schema_ref()).map_err(|error| self.refuse(&error))?;
                let bound = self.bind(&header)?;
                let mut slot = origin_of(self.planned, header.clone());
                // What is put aside of a Parquet file is kept, and replayed, as CSV.
                slot.format = Format::Csv;
                slot.csv = CsvOptions::default();
                let slot = OriginSlot { origin: slot, number: Mutex::new(None), replay: None };
                fitted = Some((bound, Arc::new(slot), header));
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

    fn fhir(&self, input: impl Read) -> Result<u64, Stop> {
        let decoded = open_decoded(input).map_err(|error| self.refuse(&error))?;
        let dataset = &self.planned.file.dataset;
        let recipe = self.shared.context.recipe.documents.get(dataset).ok_or_else(|| {
            self.refuse_for(format!("the policy declares `{dataset}` as a table and the files are FHIR"))
        })?;
        let origin = self.slot(Vec::new());
        // A document is held in memory until it has been read; everything else of the run has the other three quarters.
        let project = &self.shared.context.project.project;
        let options = ReadOptions { max_document_bytes: project.memory / 4, ..ReadOptions::default() };
        let mut reader = ResourceReader::new(decoded, options);
        let broken = |error: ReadError| {
            match error {
            ReadError::Format(error) => self.refuse(&error),
            ReadError::DocumentTooLarge { limit } => self.refuse_for(format!(
                "the document is larger than {limit} bytes; export it as NDJSON, or raise `run.memory` in cordon.yaml, of \
                 which a quarter may hold it"
            )),
        }
        };
        let mut rejected = 0;
        while let Some(mut batch) = reader.next_batch(DOCUMENT_BATCH).map_err(broken)? {
            for reject in std::mem::take(&mut batch.rejects) {
                let (line, reason) = (position(reject.origin), reject.reason.to_string());
                self.shared.put_aside(&origin, line, None, reason, reject.cut > 0, &reject.raw)?;
                rejected += 1;
            }
            self.send(Work::Documents { origin: Arc::clone(&origin), recipe, batch: Box::new(batch) })?;
        }
        Ok(rejected)
    }

    fn table(&self) -> Result<&'a TableRecipe, Stop> {
        let dataset = &self.planned.file.dataset;
        self.shared.context.recipe.tables.get(dataset).ok_or_else(|| {
            self.refuse_for(format!("the policy declares `{dataset}` as FHIR documents and the files are tables"))
        })
    }

    fn bind(&self, header: &[String]) -> Result<Arc<BoundTable<'a>>, Stop> {
        let bound = self.table()?.bind(header).map_err(|error| self.refuse_for(error.to_string()))?;
        self.shared.report_undeclared(&self.planned.file.dataset, bound.undeclared.clone());
        Ok(Arc::new(bound))
    }

    fn slot(&self, header: Vec<String>) -> Arc<OriginSlot> {
        Arc::new(OriginSlot {
            origin: origin_of(self.planned, header),
            number: Mutex::new(None),
            replay: self.planned.replay.clone(),
        })
    }

    fn send(&self, work: Work<'a>) -> Result<(), Stop> {
        if self.shared.context.meter.stopped() {
            return Err(Stop::Run(RunError::Interrupted));
        }
        if self.shared.failed.load(Ordering::Relaxed) || self.sender.send(work).is_err() {
            // The worker's own error is the one that is shown.
            return Err(Stop::Run(RunError::Interrupted));
        }
        Ok(())
    }

    fn refuse(&self, error: &FormatError) -> Stop {
        if let FormatError::Io(error) = error {
            return Stop::Run(RunError::io("read", &self.planned.file.path, error));
        }
        self.refuse_for(error.to_string())
    }

    fn refuse_for(&self, reason: String) -> Stop {
        Stop::File(Refusal { index: self.index, reason })
    }
}

/// Text of documents that are taken apart together.
const DOCUMENT_BATCH: usize = 4 << 20;

/// Where a resource stood: its line, or its place among a bundle's entries, from one.
fn position(origin: cordon_formats::fhir::Origin) -> u64 {
    origin.entry.map_or(origin.line, |entry| entry + 1)
}

/// Takes batches until there are no more; returns its parts.
fn worker<'a>(
    shared: &Shared<'a, '_>,
    receiver: &Receiver<Work<'a>>,
) -> Result<(Vec<(String, PartInfo)>, Counts), RunError> {
    let mut writers: HashMap<String, PartWriter> = HashMap::new();
    let mut counts = Counts::default();
    while let Ok(work) = receiver.recv() {
        if shared.failed.load(Ordering::Relaxed) {
            break;
        }
        match work {
            Work::Table { origin, bound, batch } => {
                let applied = bound.apply(batch.batch(), shared.env)?;
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
                counts.rows_in += batch.batch().num_rows() as u64;
                counts.rows_out += applied.batch.num_rows() as u64;
                write(shared, &mut writers, &table, &bound.schema(), &applied.batch)?;
            }
            Work::Documents { origin, recipe, batch } => {
                let output = recipe.apply(&batch, shared.env)?;
                for failure in &output.failures {
                    shared.put_aside(
                        &origin,
                        batch.origin(failure.index).map_or(0, position),
                        Some(failure.path.clone()),
                        failure.reason.to_string(),
                        false,
                        batch.standalone(failure.index).as_bytes(),
                    )?;
                }
                let dataset = &origin.origin.dataset;
                shared.report_undeclared(dataset, output.undeclared.keys().cloned().collect());
                counts.excluded += output.excluded.values().sum::<u64>();
                let left_out = LeftOut {
                    elements: output.undeclared,
                    unlisted: output.unlisted,
                    references: output.unresolved_references,
                    excluded: output.excluded,
                };
                if !left_out.is_empty() {
                    lock(&shared.noticed).left_out.entry(dataset.clone()).or_default().add(left_out);
                }
                counts.rows_in += batch.len() as u64;
                for (kind, rows) in &output.tables {
                    let table = shared.context.pipeline.document_table(&origin.origin.dataset, kind);
                    counts.rows_out += rows.num_rows() as u64;
                    write(shared, &mut writers, &table, &rows.schema(), rows)?;
                }
            }
        }
    }
    let sources = lock(&shared.sources).clone();
    let mut parts = Vec::new();
    for (table, writer) in writers {
        parts.push((table, writer.finish(sources.clone())?));
    }
    Ok((parts, counts))
}

fn write(
    shared: &Shared<'_, '_>,
    writers: &mut HashMap<String, PartWriter>,
    table: &str,
    schema: &SchemaRef,
    rows: &RecordBatch,
) -> Result<(), RunError> {
    shared.context.meter.add_rows(rows.num_rows());
    if rows.num_rows() == 0 {
        return Ok(());
    }
    if !writers.contains_key(table) {
        let writer = shared.context.staging(table)?.part(schema, &shared.part_options)?;
        writers.insert(table.to_owned(), writer);
    }
    if let Some(writer) = writers.get_mut(table) {
        writer.write(rows)?;
    }
    Ok(())
}
