//! Reading one file of a unit, in its own format, and handing on what is in it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use cordon_deid::ccda::CcdaRecipe;
use cordon_deid::dicom::DicomRecipe;
use cordon_deid::document::Documents;
use cordon_deid::fhir::FhirRecipe;
use cordon_deid::hl7v2::Hl7v2Recipe;
use cordon_deid::recipe::{BoundTable, TableRecipe};
use cordon_deid::x12::X12Recipe;
use cordon_engine::EngineError;
use cordon_formats::ccda::{self, DocumentReader};
use cordon_formats::dicom;
use cordon_formats::fhir::{ReadError, ReadOptions, ResourceReader};
use cordon_formats::hl7v2::{self, MessageReader};
use cordon_formats::x12::{self, TransactionReader};
use cordon_formats::{
    CsvOptions, CsvReader, FormatError, NdjsonOptions, NdjsonReader, NotesReader, Reject, open_decoded, text_columns,
    text_names,
};
use crossbeam_channel::Sender;

use super::rows::{ParquetRows, Rows, parquet_record};
use super::{NOTES_BYTES, NOTES_TOGETHER, OriginSlot, Refusal, Shared, Stop, WaitingNotes, Work, send_notes};
use crate::config::Format;
use crate::documents::{DocumentBatch, position};
use crate::error::RunError;
use crate::plan::{Content, PlannedFile, ReplayInput};
use crate::quarantine::Origin;
use crate::source::{Hashed, Metered, uncompressed};

/// Reads one file to its end and sends its batches. Returns its SHA-256 and the number of records put aside.
pub(super) fn read_file(reader: &Reader<'_, '_, '_>) -> Result<(String, u64), Stop> {
    let planned = reader.planned;
    if let Content::Quarantine(replay) = &planned.content {
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

pub(super) struct Reader<'a, 'b, 's> {
    pub(super) shared: &'s Shared<'a, 'b>,
    pub(super) index: usize,
    pub(super) planned: &'s PlannedFile,
    pub(super) sender: &'s Sender<Work<'a>>,
    /// Something of the file has gone to a worker or to quarantine.
    pub(super) began: Cell<bool>,
    /// Notes of this and earlier files that have not gone to a worker yet.
    pub(super) notes: &'s RefCell<Option<WaitingNotes<'a>>>,
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

    /// A store that cannot be reached is no fault of the file, and neither are keys that were named for it and do not open it.
    fn parquet_trouble(&self, error: EngineError) -> Stop {
        match error {
            EngineError::Storage(error) => RunError::from(error).into(),
            EngineError::KeyDenied { .. } | EngineError::KeyMaterial { .. } if self.planned.file.keys.are_named() => {
                RunError::from(error).into()
            }
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

/// Text of documents that are taken apart together.
const DOCUMENT_BATCH: usize = 4 << 20;

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
