//! Patients in runs of [`RUN`], each run made by one of the worker threads, all written in order by this one.
//!
//! Worker `t` of `n` makes the runs `t`, `t + n`, `t + 2n` … and may be two ahead, so memory is bounded and
//! the bytes do not depend on how many threads there are.

mod ccda;
mod columns;
pub mod csv;
mod fhir;
mod hl7v2;
mod papers;
mod truth;
mod x12;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use crate::catalog::{TABLES, TableSpec};
use crate::ink::Ink;
use crate::options::SynthOptions;
use crate::record::Record;
use crate::rows;
use crate::summary::{Duplicate, Progress, Summary, SynthError, WrittenFile};
use crate::world::staff::Staff;
use arrow_array::RecordBatch;
use columns::Columns;
use csv::CsvTable;
use fhir::FhirFile;
use hl7v2::Feed;
use papers::Papers;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use truth::{At, Truth};
use x12::Exchange;

/// Patients a run. Part of the format: page bounds of Parquet follow it.
const RUN: u64 = 256;

/// What a worker hands over: the bytes of a run. Sent back when written, to be filled again.
struct Run {
    number: u64,
    patients: u64,
    csv: Option<[CsvTable; 9]>,
    fhir: Option<[FhirFile; 9]>,
    parquet: Option<[Columns; 9]>,
    /// What `parquet` held, one a table.
    batches: Vec<RecordBatch>,
    hl7v2: Option<[Feed; 4]>,
    ccda: Option<Papers>,
    x12: Option<Exchange>,
    notes: Option<Papers>,
    truth: Option<Truth>,
    duplicates: Vec<Duplicate>,
    spans: Vec<u8>,
    span_count: u64,
}

impl Run {
    fn new(options: &SynthOptions) -> Self {
        Self {
            number: 0,
            patients: 0,
            csv: options.formats.csv.then(|| csv::tables(&options.dirt)),
            fhir: options.formats.fhir.then(Default::default),
            parquet: options.formats.parquet.then(columns::tables),
            batches: Vec::new(),
            hl7v2: options.formats.hl7v2.then(Default::default),
            ccda: options.formats.ccda.then(Default::default),
            x12: options.formats.x12.then(Default::default),
            notes: options.formats.notes.then(Default::default),
            truth: options.truth.then(Default::default),
            duplicates: Vec::new(),
            spans: Vec::new(),
            span_count: 0,
        }
    }

    fn clear(&mut self) {
        self.patients = 0;
        self.csv.iter_mut().flatten().for_each(CsvTable::clear);
        self.fhir.iter_mut().flatten().for_each(FhirFile::clear);
        self.batches.clear();
        self.hl7v2.iter_mut().flatten().for_each(Feed::clear);
        self.ccda.iter_mut().chain(&mut self.notes).for_each(Papers::clear);
        self.truth.iter_mut().for_each(Truth::clear);
        self.duplicates.clear();
        self.spans.clear();
        self.span_count = 0;
    }

    fn fill(&mut self, run: u64, options: &SynthOptions, staff: &Staff, record: &mut Record, scratch: &mut String) {
        self.clear();
        self.number = run;
        if let Some(exchange) = &mut self.x12 {
            exchange.start(run);
        }
        let from = run * RUN;
        for number in from..(from + RUN).min(options.patients) {
            record.generate(number, options, staff);
            self.patients += 1;
            if let Some(tables) = &mut self.csv {
                for table in tables.iter_mut() {
                    table.start_patient(options.seed, number);
                }
                rows::all(tables, record, staff, scratch);
            }
            if let Some(files) = &mut self.fhir {
                fhir::all(files, record, staff);
            }
            if let Some(tables) = &mut self.parquet {
                rows::all(tables, record, staff, scratch);
            }
            self.documents(run, options, staff, record);
            if let Some(of) = &record.person.duplicate_of {
                let patient_id = record.person.id.text().to_owned();
                self.duplicates.push(Duplicate { patient_id, of: of.text().to_owned() });
            }
            for note in &record.notes {
                for span in record.note_spans(note) {
                    let out = &mut self.spans;
                    out.extend_from_slice(note.id.bytes());
                    out.push(b',');
                    out.int(u64::from(span.start));
                    out.push(b',');
                    out.int(u64::from(span.end));
                    out.push(b',');
                    out.put(span.kind);
                    out.push(b',');
                    out.put(span.who.role());
                    out.push(b'\n');
                    self.span_count += 1;
                }
            }
        }
        // A batch that Arrow refuses is missing, which the writer sees.
        let batches = self.parquet.iter_mut().flatten().map_while(|table| table.take().ok());
        self.batches.extend(batches);
        for (feed, name) in self.hl7v2.iter_mut().flatten().zip(hl7v2::FEEDS) {
            feed.finish(name, run);
        }
        if let Some(exchange) = &mut self.x12 {
            exchange.finish(options.as_of);
        }
    }

    /// What is neither a table nor a line, and the truth about all notes.
    fn documents(&mut self, run: u64, options: &SynthOptions, staff: &Staff, record: &Record) {
        if let Some(feeds) = &mut self.hl7v2 {
            hl7v2::all(feeds, self.truth.as_mut(), record, staff, run);
        }
        if let Some(papers) = &mut self.ccda {
            ccda::document(papers, self.truth.as_mut(), record, staff, options);
        }
        if let Some(exchange) = &mut self.x12 {
            x12::all(exchange, self.truth.as_mut(), record, staff, options.as_of);
        }
        if let Some(papers) = &mut self.notes {
            papers::notes(papers, self.truth.as_mut(), record, staff);
        }
        let Some(truth) = &mut self.truth else { return };
        truth.patient(record);
        let tables = [
            (self.csv.is_some(), "csv/notes.csv", "text"),
            (self.parquet.is_some(), "parquet/notes.parquet", "text"),
            (self.fhir.is_some(), "fhir/DocumentReference.ndjson", "content[0].attachment.data"),
        ];
        for (_, file, field) in tables.into_iter().filter(|(written, ..)| *written) {
            for note in &record.notes {
                let at = At { file, record: note.id.text(), field };
                truth.whole(record, staff, at, record.note_text(note), record.note_spans(note));
            }
        }
    }
}

/// A file being written, and what was.
struct Output {
    file: File,
    path: PathBuf,
    written: WrittenFile,
    lines: u64,
}

impl Output {
    fn create(dir: &Path, relative: String, header: &[u8]) -> Result<Self, SynthError> {
        let path = dir.join(&relative);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|source| SynthError::Io { path: parent.to_owned(), source })?;
        }
        let file = File::create(&path).map_err(|source| SynthError::Io { path: path.clone(), source })?;
        let written = WrittenFile { path: relative, rows: 0, bytes: 0 };
        let mut output = Self { file, path, written, lines: u64::from(!header.is_empty()) };
        output.write(header, 0)?;
        Ok(output)
    }

    fn write(&mut self, bytes: &[u8], rows: u64) -> Result<(), SynthError> {
        self.written.rows += rows;
        self.written.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|source| SynthError::Io { path: self.path.clone(), source })
    }
}

/// A Parquet file being written: Snappy, row groups of at most 128 Ki rows so that the notes fit in memory.
struct ParquetOutput {
    writer: ArrowWriter<File>,
    path: PathBuf,
    relative: String,
    rows: u64,
}

impl ParquetOutput {
    fn create(dir: &Path, table: &TableSpec) -> Result<Self, SynthError> {
        let relative = format!("parquet/{}.parquet", table.name);
        let Output { file, path, .. } = Output::create(dir, relative.clone(), b"")?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(128 << 10))
            .set_created_by("cordon-synth".to_owned())
            .build();
        let writer = ArrowWriter::try_new(file, columns::schema(table), Some(properties))
            .map_err(|source| SynthError::Parquet { path: path.clone(), source })?;
        Ok(Self { writer, path, relative, rows: 0 })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), SynthError> {
        self.rows += batch.num_rows() as u64;
        self.writer.write(batch).map_err(|source| SynthError::Parquet { path: self.path.clone(), source })
    }

    fn finish(self) -> Result<WrittenFile, SynthError> {
        let Self { writer, path, relative, rows } = self;
        let failed = |source| SynthError::Parquet { path: path.clone(), source };
        let mut writer = writer;
        writer.finish().map_err(failed)?;
        let file = writer.inner();
        let io = |source| SynthError::Io { path: path.clone(), source };
        let bytes = file.metadata().map_err(io)?.len();
        Ok(WrittenFile { path: relative, rows, bytes })
    }
}

/// Everything that is open for writing.
struct Outputs {
    csv: Vec<Output>,
    fhir: Vec<Output>,
    parquet: Vec<ParquetOutput>,
    duplicates: Output,
    bad_rows: Option<Output>,
    spans: Option<Output>,
    /// Patients and mentions.
    truth: Option<[Output; 2]>,
    dir: PathBuf,
    /// Files of HL7 v2 and X12: one of a kind a run.
    runs: Vec<WrittenFile>,
    /// Folders of a file a thing.
    folders: Vec<WrittenFile>,
    summary: Summary,
}

impl Outputs {
    fn create(dir: &Path, options: &SynthOptions) -> Result<Self, SynthError> {
        let mut csv = Vec::new();
        for table in TABLES.iter().filter(|_| options.formats.csv) {
            let mut header = Vec::new();
            CsvTable::header(table, &mut header);
            csv.push(Output::create(dir, format!("csv/{}.csv", table.name), &header)?);
        }
        let mut fhir = Vec::new();
        for kind in fhir::PER_PATIENT.iter().filter(|_| options.formats.fhir) {
            fhir.push(Output::create(dir, format!("fhir/{kind}.ndjson"), b"")?);
        }
        let mut parquet = Vec::new();
        for table in TABLES.iter().filter(|_| options.formats.parquet) {
            parquet.push(ParquetOutput::create(dir, table)?);
        }
        let bad_rows = options
            .formats
            .csv
            .then(|| Output::create(dir, "truth/bad_rows.csv".into(), b"dataset,line,row,column,fault\n"));
        let spans =
            options.notes.then(|| Output::create(dir, "truth/note_spans.csv".into(), b"note_id,start,end,kind,role\n"));
        Ok(Self {
            csv,
            fhir,
            parquet,
            duplicates: Output::create(dir, "truth/duplicates.csv".into(), b"patient_id,of\n")?,
            bad_rows: bad_rows.transpose()?,
            spans: spans.transpose()?,
            truth: options.truth.then(|| truth_files(dir)).transpose()?,
            dir: dir.to_owned(),
            runs: Vec::new(),
            folders: Vec::new(),
            summary: Summary::default(),
        })
    }

    /// A whole file, which nothing is added to.
    fn file(&mut self, name: &str, bytes: &[u8], rows: u64) -> Result<(), SynthError> {
        let mut output = Output::create(&self.dir, name.to_owned(), b"")?;
        output.write(bytes, rows)?;
        self.runs.push(output.written);
        Ok(())
    }

    fn papers(&mut self, folder: &str, papers: &Papers) -> Result<(), SynthError> {
        let path = self.dir.join(folder);
        fs::create_dir_all(&path).map_err(|source| SynthError::Io { path, source })?;
        for (name, bytes) in papers.each() {
            let path = self.dir.join(name);
            fs::write(&path, bytes).map_err(|source| SynthError::Io { path, source })?;
        }
        let (rows, bytes) = (papers.files.len() as u64, papers.bytes.len() as u64);
        match self.folders.iter_mut().find(|one| one.path == folder) {
            Some(one) => {
                one.rows += rows;
                one.bytes += bytes;
            }
            None => self.folders.push(WrittenFile { path: folder.to_owned(), rows, bytes }),
        }
        Ok(())
    }

    fn documents(&mut self, run: &Run) -> Result<(), SynthError> {
        for (feed, name) in run.hl7v2.iter().flatten().zip(hl7v2::FEEDS) {
            if feed.count() > 0 {
                self.file(&hl7v2::file_name(name, run.number), &feed.bytes, feed.count())?;
            }
        }
        for (name, bytes, sets) in run.x12.iter().flat_map(|exchange| &exchange.files) {
            self.file(name, bytes, *sets)?;
        }
        for (folder, papers) in [("ccda/", &run.ccda), ("notes/", &run.notes)] {
            if let Some(papers) = papers {
                self.papers(folder, papers)?;
            }
        }
        if let (Some([people, mentions]), Some(truth)) = (&mut self.truth, &run.truth) {
            people.write(&truth.people, truth.patients)?;
            mentions.write(&truth.mentions, truth.count)?;
        }
        Ok(())
    }

    fn write(&mut self, run: &Run) -> Result<(), SynthError> {
        self.summary.patients += run.patients;
        for (output, table) in self.csv.iter_mut().zip(run.csv.iter().flatten()) {
            for bad in &table.bad_rows {
                // The lines before the run and the one that begins here.
                let (line, row) = (bad.line + output.lines + 1, bad.row + output.written.rows + 1);
                let bad = crate::summary::BadRow { line, row, ..*bad };
                if let Some(list) = &mut self.bad_rows {
                    let text = format!("{},{line},{row},{},{}\n", bad.dataset, bad.column.unwrap_or(""), bad.fault);
                    list.write(text.as_bytes(), 1)?;
                }
                self.summary.bad_rows.push(bad);
            }
            output.write(&table.bytes, table.rows)?;
            output.lines += table.lines;
        }
        for (output, file) in self.fhir.iter_mut().zip(run.fhir.iter().flatten()) {
            output.write(&file.bytes, file.rows)?;
        }
        if run.batches.len() != self.parquet.len() {
            return Err(SynthError::Worker);
        }
        for (output, batch) in self.parquet.iter_mut().zip(&run.batches) {
            output.write(batch)?;
        }
        for duplicate in &run.duplicates {
            self.duplicates.write(format!("{},{}\n", duplicate.patient_id, duplicate.of).as_bytes(), 1)?;
            self.summary.duplicates.push(duplicate.clone());
        }
        if let Some(spans) = &mut self.spans {
            spans.write(&run.spans, run.span_count)?;
        }
        self.documents(run)
    }

    fn bytes(&self) -> u64 {
        let text: u64 = self.csv.iter().chain(&self.fhir).map(|output| output.written.bytes).sum();
        let parquet = self.parquet.iter().map(|output| output.writer.bytes_written() as u64);
        let files: u64 = self.runs.iter().chain(&self.folders).map(|file| file.bytes).sum();
        text + parquet.sum::<u64>() + files
    }

    fn finish(mut self) -> Result<Summary, SynthError> {
        let truth = self.truth.into_iter().flatten();
        let outputs = self.csv.into_iter().chain(self.fhir).chain([self.duplicates]).chain(self.bad_rows);
        let outputs = outputs.chain(self.spans).chain(truth);
        // No fsync: what is lost can be made again from the seed.
        self.summary.files.extend(outputs.map(|output| output.written));
        self.summary.files.extend(self.runs.into_iter().chain(self.folders));
        for output in self.parquet {
            self.summary.files.push(output.finish()?);
        }
        Ok(self.summary)
    }
}

fn truth_files(dir: &Path) -> Result<[Output; 2], SynthError> {
    let create = |name: &str| Output::create(dir, format!("truth/{name}.ndjson"), b"");
    Ok([create("patients")?, create("mentions")?])
}

pub fn write(
    dir: &Path,
    options: &SynthOptions,
    staff: &Staff,
    progress: &dyn Fn(Progress),
) -> Result<Summary, SynthError> {
    fs::create_dir_all(dir).map_err(|source| SynthError::Io { path: dir.to_owned(), source })?;
    let readme = dir.join("README.txt");
    fs::write(&readme, README).map_err(|source| SynthError::Io { path: readme, source })?;
    let mut outputs = Outputs::create(dir, options)?;
    if options.formats.fhir {
        for (kind, file) in fhir::staff_files(staff) {
            let mut output = Output::create(dir, format!("fhir/{kind}.ndjson"), b"")?;
            output.write(&file.bytes, file.rows)?;
            outputs.fhir.push(output);
        }
    }

    let runs = options.patients.div_ceil(RUN);
    let threads = match options.threads {
        0 => thread::available_parallelism().map_or(1, usize::from),
        given => given,
    };
    let threads = threads.clamp(1, 256).min(runs.max(1) as usize);
    thread::scope(|scope| {
        let mut workers: Vec<(Receiver<Run>, Sender<Run>)> = Vec::new();
        for worker in 0..threads as u64 {
            let (full, take) = sync_channel::<Run>(1);
            let (give_back, empty) = channel::<Run>();
            workers.push((take, give_back));
            scope.spawn(move || work(worker, threads as u64, runs, options, staff, &full, &empty));
        }
        for run_number in 0..runs {
            let (take, give_back) = crate::rng::at(&workers, (run_number % threads as u64) as usize);
            let run = take.recv().map_err(|_| SynthError::Worker)?;
            outputs.write(&run)?;
            progress(Progress { patients: outputs.summary.patients, of: options.patients, bytes: outputs.bytes() });
            // A worker that is through with its runs takes nothing back.
            let _ = give_back.send(run);
        }
        outputs.finish()
    })
}

fn work(
    worker: u64,
    of: u64,
    runs: u64,
    options: &SynthOptions,
    staff: &Staff,
    full: &SyncSender<Run>,
    empty: &Receiver<Run>,
) {
    let mut record = Record::default();
    let mut scratch = String::new();
    let mut number = worker;
    while number < runs {
        let mut run = empty.try_recv().unwrap_or_else(|_| Run::new(options));
        run.fill(number, options, staff, &mut record, &mut scratch);
        if full.send(run).is_err() {
            // The writer met an error and has gone.
            return;
        }
        number += of;
    }
}

const README: &str = "\
SYNTHETIC DATA. NOBODY IN THESE FILES EXISTS.

Made by Cordon's generator from a seed. Names are drawn from lists; no record describes a person, living or
dead. Social security numbers are of areas that were never issued (900-999, 000, 666), telephone numbers of
the range 555-0100 to 555-0199, e-mail and web addresses of domains reserved by RFC 2606, IP addresses of the
documentation ranges of RFC 5737 and RFC 3849, National Provider Identifiers and Medicare Beneficiary
Identifiers of shapes that are never issued. Towns, ZIP codes and clinical codes are real.

csv/      one file a table, RFC 4180 quoting, lines ended by LF, UTF-8 but for the rows spoiled on purpose
parquet/  the same tables, typed, without the dirt
fhir/     the same hospital as FHIR R4 NDJSON, one file a resource type
hl7v2/    what interfaces send, as batches in the order of time: adt, lab, doc and vax
ccda/     a Continuity of Care Document a patient, by record number
x12/      claims (837), payments (835), enrollment (834) and coverage (271), an interchange a payer
notes/    plain text: record number, number of the note, day; more of them than tables and FHIR have
truth/    what a test may compare with: rows spoiled on purpose, second records of one person, and where
          in each note an identifier stands (bytes of the UTF-8 text, end excluded); with --truth also who
          everybody is (patients.ndjson) and all mentions in the notes of every format (mentions.ndjson)
";
