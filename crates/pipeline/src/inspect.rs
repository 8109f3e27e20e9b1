//! What the columns of tables and the paths of documents seem to hold, and a draft of a policy for them. Nothing is written but what
//! the caller writes.

mod documents;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write as _};
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use cordon_detect::{ColumnVerdict, ProfileBuilder};
use cordon_engine::{InputKeys, ParquetInput};
use cordon_formats::{CsvOptions, CsvReader, NdjsonOptions, NdjsonReader, open_decoded, text_columns};
use cordon_phi::IdentifierKind;
use walkdir::WalkDir;

use self::documents::{Paths, Walker, shipped};
use crate::config::Format;
use crate::error::RunError;
use crate::source::{format_of, uncompressed};

/// A file of a table, or all documents of one format, looked at.
pub struct Inspected {
    pub path: PathBuf,
    pub format: Format,
    /// A name for it in a policy: that of the file, as a table may be named; of documents, that of their format.
    pub dataset: String,
    /// Rows, or documents.
    pub rows: u64,
    /// Records that could not become a row or a document.
    pub rejected: u64,
    /// Columns, or paths.
    pub columns: Vec<(String, ColumnVerdict)>,
    /// Paths that no rule of the shipped policy reaches.
    pub undeclared: BTreeSet<String>,
}

impl Inspected {
    pub fn is_table(&self) -> bool {
        matches!(self.format, Format::Csv | Format::Parquet | Format::Ndjson)
    }
}

/// Below this a person has to look; until then the column counts as text that may hold anything.
pub const SURE: f32 = 0.5;

/// Looks at a file, or at all files of a folder whose names say that they are tables or documents. At most `rows` rows of each table,
/// and as many documents of each format.
pub fn inspect(path: &Path, rows: u64) -> Result<Vec<Inspected>, RunError> {
    let mut found = Vec::new();
    let mut files = Vec::new();
    for entry in WalkDir::new(path).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let at = error.path().unwrap_or(path).to_path_buf();
            RunError::io(
                "read",
                &at,
                &error.into_io_error().unwrap_or_else(|| std::io::Error::other("a loop of links")),
            )
        })?;
        if entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    let alone = files.len() == 1;
    let mut names = BTreeSet::new();
    let mut documents: Vec<(Format, Walker, Paths)> = Vec::new();
    for file in files {
        match kind_of(&file)? {
            Some(format @ (Format::Csv | Format::Parquet | Format::Ndjson)) => {
                let mut one = one_file(&file, format, rows)?;
                // Parts of one table are named alike but for a number.
                while !names.insert(one.dataset.clone()) {
                    one.dataset.push('_');
                }
                found.push(one);
            }
            Some(format) => {
                if !documents.iter().any(|(of, ..)| *of == format) {
                    documents.push((format, Walker::new(format), Paths::new(rows)));
                }
                if let Some((_, walker, paths)) = documents.iter_mut().find(|(of, ..)| *of == format) {
                    walker.file(&file, paths)?;
                }
            }
            None if alone => {
                return Err(RunError::usage(
                    format!("{} is no table and no document that can be told by its name", file.display()),
                    "inspect `.csv`, `.tsv`, `.txt`, `.parquet`, `.ndjson`, `.jsonl`, `.hl7`, `.json` (FHIR) or `.xml` (CDA) files, \
                     plain or compressed",
                ));
            }
            None => {}
        }
    }
    for (format, _, paths) in documents {
        found.push(of_documents(path, format, paths));
    }
    if found.is_empty() {
        return Err(RunError::usage(
            format!("{} holds no table and no document", path.display()),
            "name a file or folder with `.csv`, `.tsv`, `.txt`, `.parquet`, `.ndjson`, `.jsonl`, `.hl7`, `.json` or `.xml` files",
        ));
    }
    Ok(found)
}

/// What a file is by its name; of JSON, by its first bytes whether it is FHIR.
fn kind_of(path: &Path) -> Result<Option<Format>, RunError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = uncompressed(&name);
    let ends = |end: &str| Path::new(name).extension().is_some_and(|extension| extension == end);
    if ends("xml") {
        return Ok(Some(Format::Ccda));
    }
    let format = format_of(path);
    if format != Some(Format::Ndjson) && !ends("json") {
        return Ok(format);
    }
    let mut head = Vec::new();
    let file = File::open(path).map_err(|error| RunError::io("open", path, &error))?;
    // A file that cannot be decoded says so when it is read.
    if let Ok(decoded) = open_decoded(file) {
        let _ = decoded.take(4096).read_to_end(&mut head);
    }
    let is_fhir = memchr::memmem::find(&head, b"\"resourceType\"").is_some();
    Ok(if is_fhir { Some(Format::Fhir) } else { format })
}

fn of_documents(path: &Path, format: Format, paths: Paths) -> Inspected {
    let (rows, rejected) = (paths.documents, paths.rejected);
    let (mut columns, mut undeclared) = (Vec::new(), BTreeSet::new());
    for found in paths.finish() {
        if found.is_undeclared {
            undeclared.insert(found.path.clone());
        }
        columns.push((found.path, found.verdict));
    }
    let dataset = shipped(format).map_or_else(String::new, |shipped| shipped.dataset.to_owned());
    Inspected { path: path.to_path_buf(), format, dataset, rows, rejected, columns, undeclared }
}

struct Profiles {
    columns: Vec<(String, ProfileBuilder)>,
    rows: u64,
    rejected: u64,
    most: u64,
}

impl Profiles {
    fn new(names: &[String], most: u64) -> Self {
        let columns = names.iter().map(|name| (name.clone(), ProfileBuilder::new(name))).collect();
        Self { columns, rows: 0, rejected: 0, most }
    }

    /// Takes a batch of text columns; says whether there is room for more.
    fn take(&mut self, batch: &RecordBatch, rejected: usize) -> bool {
        self.rejected += rejected as u64;
        let rows = (batch.num_rows() as u64).min(self.most - self.rows) as usize;
        for ((_, profile), column) in self.columns.iter_mut().zip(batch.columns()) {
            let Some(text) = column.as_string_view_opt() else { continue };
            let values: Vec<Option<&str>> = (0..rows).map(|row| text.is_valid(row).then(|| text.value(row))).collect();
            profile.update(&values);
        }
        self.rows += rows as u64;
        self.rows < self.most
    }
}

fn one_file(path: &Path, format: Format, most: u64) -> Result<Inspected, RunError> {
    let unreadable =
        |what: String| RunError::usage(format!("{}: {what}", path.display()), "mend the file, or leave it out");
    let open = || -> Result<File, RunError> { File::open(path).map_err(|error| RunError::io("open", path, &error)) };
    let profiles = match format {
        Format::Parquet => {
            let reader = ParquetInput::open(path, &InputKeys::default(), 8192)?;
            let mut profiles: Option<Profiles> = None;
            for batch in reader {
                let text = text_columns(&batch?, |_| true).map_err(|error| unreadable(error.to_string()))?.batch;
                let names: Vec<String> = text.schema().fields().iter().map(|field| field.name().clone()).collect();
                if !profiles.get_or_insert_with(|| Profiles::new(&names, most)).take(&text, 0) {
                    break;
                }
            }
            profiles.unwrap_or_else(|| Profiles::new(&[], most))
        }
        Format::Ndjson => {
            let names = keys(open()?).map_err(&unreadable)?;
            let decoded = open_decoded(open()?).map_err(|error| unreadable(error.to_string()))?;
            let mut reader = NdjsonReader::new(decoded, &names, NdjsonOptions::default())
                .map_err(|error| unreadable(error.to_string()))?;
            let mut profiles = Profiles::new(&names, most);
            while let Some(batch) = reader.next_batch().map_err(|error| unreadable(error.to_string()))? {
                if !profiles.take(&batch.batch, batch.rejects.len()) {
                    break;
                }
            }
            profiles
        }
        _ => {
            let decoded = open_decoded(open()?).map_err(|error| unreadable(error.to_string()))?;
            let first = open_decoded(open()?).map_err(|error| unreadable(error.to_string()))?;
            let options = CsvOptions { delimiter: delimiter_of(first), ..CsvOptions::default() };
            let mut reader = CsvReader::new(decoded, options).map_err(|error| unreadable(error.to_string()))?;
            // A row that is taken for the header would be shown as names of columns.
            if reader.header().iter().any(|name| is_value(name)) {
                return Err(unreadable("its first line holds values and not the names of columns".to_owned()));
            }
            let mut profiles = Profiles::new(reader.header(), most);
            while let Some(batch) = reader.next_batch().map_err(|error| unreadable(error.to_string()))? {
                if !profiles.take(&batch.batch, batch.rejects.len()) {
                    break;
                }
            }
            profiles
        }
    };
    let Profiles { columns, rows, rejected, .. } = profiles;
    let columns = columns.into_iter().map(|(name, profile)| (name, profile.finish())).collect();
    let dataset = dataset_name(path);
    Ok(Inspected { path: path.to_path_buf(), format, dataset, rows, rejected, columns, undeclared: BTreeSet::new() })
}

/// The sign that parts the header: of those in use, the one that stands there most often.
fn delimiter_of(file: impl Read) -> u8 {
    const LONGEST: u64 = 64 << 10;
    let mut line = Vec::new();
    // A file that cannot be read says so when its rows are.
    let _ = BufReader::new(file.take(LONGEST)).read_until(b'\n', &mut line);
    let count = |sign: u8| memchr::memchr_iter(sign, &line).count();
    // Of equals the last: a comma.
    [b'|', b';', b'\t', b','].into_iter().max_by_key(|sign| count(*sign)).unwrap_or(b',')
}

/// Whether a text is a value rather than the name of a column: a date, a number of somebody, an address of mail.
fn is_value(name: &str) -> bool {
    name.contains('@') || name.bytes().filter(u8::is_ascii_digit).count() >= 5
}

/// The keys of the first lines. One that does not look like a column's name is data, and is left to the policy's refusal.
fn keys(file: File) -> Result<Vec<String>, String> {
    const LINES: usize = 1000;
    const LONGEST: u64 = 16 << 20;
    let decoded = open_decoded(file).map_err(|error| error.to_string())?;
    let mut reader = BufReader::new(decoded.take(LONGEST));
    let mut names = BTreeSet::new();
    let mut line = Vec::new();
    for _ in 0..LINES {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(|_| "it cannot be read".to_owned())? == 0 {
            break;
        }
        if let Ok(serde_json::Value::Object(object)) = serde_json::from_slice(&line) {
            let is_name = |key: &&String| {
                key.len() <= 64
                    && key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                    && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' '))
            };
            names.extend(
                object
                    .iter()
                    .filter(|(_, value)| !value.is_object() && !value.is_array())
                    .map(|(key, _)| key)
                    .filter(is_name)
                    .cloned(),
            );
        }
    }
    Ok(names.into_iter().collect())
}

/// The file's name as a table may be named.
fn dataset_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let stem = name.split('.').next().unwrap_or_default();
    let mut out: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if !out.starts_with(|c: char| c.is_ascii_lowercase()) {
        out.insert_str(0, "t_");
    }
    out
}

/// The field by which the rows of a table are a person's: the surest number of a record, where one has a person's name.
fn subject(columns: &[(String, ColumnVerdict)]) -> Option<&str> {
    let of_person = |name: &str| {
        let name = name.to_lowercase();
        ["patient", "person", "member", "mrn", "subject"].iter().any(|word| name.contains(word))
    };
    let is_number = |verdict: &ColumnVerdict| {
        matches!(verdict.kind, IdentifierKind::MedicalRecordNumber | IdentifierKind::UniqueId) && verdict.nulls == 0
    };
    let mut numbers = columns.iter().filter(|(name, verdict)| is_number(verdict) && of_person(name));
    numbers.next().map(|(name, _)| name.as_str())
}

/// The dataset of the shipped policy with a line for each path that it does not reach. Those stay left out, as they would without
/// a line; the comment says what they look like, for whoever wants to let one pass.
fn draft_documents(file: &Inspected, out: &mut String) {
    let Some(text) = shipped(file.format).map(|shipped| shipped.text) else { return };
    const ELEMENTS: &str = "      elements:\n";
    let Some((_, datasets)) = text.split_once("\ndatasets:\n") else { return };
    let Some((before, after)) = datasets.split_once(ELEMENTS) else { return };
    out.push_str(before);
    out.push_str(ELEMENTS);
    // What the format does not know cannot be named in a rule: it never passes.
    let can_be_named = |path: &str| file.format == Format::Hl7v2 && documents::is_hl7v2_field(path);
    for (path, verdict) in file.columns.iter().filter(|(path, _)| file.undeclared.contains(path)) {
        let looks = format!("{}, {:.0} % sure", verdict.kind.name(), verdict.confidence * 100.0);
        let _ = if can_be_named(path) {
            writeln!(
                out,
                "        {path}: {{ kind: free-text, action: drop }}   # undeclared so far; looks like {looks}"
            )
        } else {
            writeln!(out, "        # left out, as no rule reaches it: {path}; looks like {looks}")
        };
    }
    out.push_str(after);
    if !out.ends_with('\n') {
        out.push('\n');
    }
}

/// A draft by Safe Harbor, to be read by a privacy officer before it is used. What is not sure counts as text that may
/// hold anything: it is scrubbed where it is prose, else dropped.
pub fn draft(found: &[Inspected]) -> String {
    let mut out = String::from(
        "# Drafted by `cordon inspect` from what the files look like. It is a draft: read each line, and above all those with a\n\
         # comment, before anything runs under it. What is not named never passes.\n\
         policy: draft\nmethod: safe-harbor\nsubject: { domain: patient }\nundeclared: drop\n\ndatasets:\n",
    );
    for file in found {
        if shipped(file.format).is_some() {
            draft_documents(file, &mut out);
            continue;
        }
        let _ = writeln!(out, "  {}:", file.dataset);
        if let Some(subject) = subject(&file.columns) {
            let _ = writeln!(out, "    subject: {}", quoted(subject));
        }
        let _ = writeln!(out, "    fields:");
        for (name, verdict) in &file.columns {
            let sure = verdict.confidence >= SURE;
            let rule = match verdict.kind {
                IdentifierKind::FreeText if verdict.prose > 0.2 => "{ kind: free-text, action: scrub }".to_owned(),
                kind if sure => format!("{{ kind: {} }}", kind.name()),
                _ => "{ kind: free-text, action: drop }".to_owned(),
            };
            let doubt = if sure {
                String::new()
            } else {
                format!("   # looks like {}, {:.0} % sure: look at it", verdict.kind.name(), verdict.confidence * 100.0)
            };
            let _ = writeln!(out, "      {}: {rule}{doubt}", quoted(name));
        }
    }
    out
}

/// Writes the draft to a file of its own: a policy that somebody has read is never written over.
pub fn write_draft(found: &[Inspected], path: &Path) -> Result<(), RunError> {
    let written = OpenOptions::new().write(true).create_new(true).open(path);
    match written.and_then(|mut file| file.write_all(draft(found).as_bytes())) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(RunError::usage(
            format!("{} is there already", path.display()),
            "name a file that does not exist: what somebody has read is not written over",
        )),
        written => written.map_err(|error| RunError::io("write", path, &error)),
    }
}

/// A YAML key: plain where that is safe.
fn quoted(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&name.to_lowercase().as_str());
    if plain { name.to_owned() } else { serde_json::to_string(name).unwrap_or_default() }
}
