//! Plain text files, each of them one row.
//!
//! A note has no columns, but its file's name often says whose it is and of which day: a [`NameTemplate`] takes the
//! name apart. Names hold PHI, so nothing here says one in an error. Notes are small and many; their rows are
//! gathered over files, and each keeps its file's bytes for quarantine.
//!
//! What is no text is a [`Reject`] and never half read: a file in an encoding that nobody declared would hide names
//! from whoever looks for them.

use std::borrow::Cow;
use std::io::Read;
use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_schema::SchemaRef;
use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use memchr::memchr;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::columns::{Origin, RowOrigins, text_schema};
use crate::error::{FormatError, Reject, RejectReason};
use crate::lines::DEFAULT_MAX_LINE_BYTES;

/// The columns that every note has: the name of its file and its text.
const FILE_NAME: &str = "file_name";
const TEXT: &str = "text";

/// How files of notes are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NotesOptions {
    /// How files are named: `{mrn}_{number}_{date}.txt` gives the columns `mrn`, `number` and `date`. A value ends where the
    /// text behind its placeholder first occurs. A file of another name is refused.
    pub name: Option<String>,
    /// The encoding of files without a byte-order mark.
    pub encoding: NoteEncoding,
    /// A larger file is set aside.
    #[schemars(range(min = 1, max = 268_435_456))]
    pub max_bytes: usize,
}

impl Default for NotesOptions {
    fn default() -> Self {
        Self { name: None, encoding: NoteEncoding::Utf8, max_bytes: DEFAULT_MAX_LINE_BYTES }
    }
}

/// How the text of a note is spelled in bytes. A byte-order mark of UTF-8 or UTF-16 says it for its own file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NoteEncoding {
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "windows-1252")]
    Windows1252,
}

/// How a file's name is taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameTemplate {
    text: String,
    /// In front of the first placeholder.
    front: String,
    /// Each placeholder with the text behind it.
    parts: Vec<(String, String)>,
}

impl NameTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// Says what is wrong with it: it stands in a configuration and holds nobody's values.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (front, mut rest) = text.split_once('{').ok_or("it has no `{placeholder}`")?;
        let mut parts: Vec<(String, String)> = Vec::new();
        loop {
            let (column, behind) = rest.split_once('}').ok_or("a `{` is never closed")?;
            let is_name = column.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && column.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !is_name {
                return Err("a placeholder is the name of a column: letters, digits and `_`");
            }
            if [FILE_NAME, TEXT].contains(&column) || parts.iter().any(|(known, _)| known == column) {
                return Err("two columns have the same name (every note has `file_name` and `text`)");
            }
            let (literal, next) = match behind.split_once('{') {
                None => (behind, None),
                Some(("", _)) => return Err("text must stand between two placeholders, to tell where one ends"),
                Some((literal, next)) => (literal, Some(next)),
            };
            if literal.contains('}') {
                return Err("a `}` closes nothing");
            }
            parts.push((column.to_owned(), literal.to_owned()));
            match next {
                Some(next) => rest = next,
                None => break,
            }
        }
        if front.contains('}') || text.contains(['/', '\\']) {
            return Err("it is the name of a file, without folders");
        }
        Ok(Self { text: text.to_owned(), front: front.to_owned(), parts })
    }

    /// The template as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The columns that it gives, in its order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|(column, _)| column.as_str())
    }

    /// The value of each column; `None` for a name of another form. No value is empty.
    pub fn values<'a>(&self, name: &'a str) -> Option<Vec<&'a str>> {
        let mut rest = name.strip_prefix(self.front.as_str())?;
        let mut values = Vec::with_capacity(self.parts.len());
        for (at, (_, literal)) in self.parts.iter().enumerate() {
            let (value, behind) = if at + 1 == self.parts.len() {
                (rest.strip_suffix(literal.as_str())?, "")
            } else {
                rest.split_once(literal.as_str())?
            };
            if value.is_empty() {
                return None;
            }
            values.push(value);
            rest = behind;
        }
        Some(values)
    }
}

/// Gathers notes into batches.
pub struct NotesReader {
    options: NotesOptions,
    template: Option<NameTemplate>,
    header: Vec<String>,
    schema: SchemaRef,
    columns: Vec<StringViewBuilder>,
    /// The files' own bytes, one behind the other.
    raw: Vec<u8>,
    records: Vec<Origin>,
    /// The file at hand.
    file: Vec<u8>,
}

/// Some notes. It holds PHI: no `Debug`.
pub struct NotesBatch {
    /// `Utf8View` columns: `file_name`, `text`, and those of the template.
    pub batch: RecordBatch,
    /// The bytes of each row's file, any compression taken off.
    pub rows: RowOrigins,
}

impl NotesReader {
    /// # Errors
    /// When the template or the bound of size cannot be used.
    pub fn new(options: NotesOptions) -> Result<Self, FormatError> {
        let problem = match options.max_bytes {
            0 => Some("must not be 0"),
            size if size > 1 << 28 => Some("must be at most 268435456 (256 MiB)"),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(FormatError::Options { option: "max-bytes", problem });
        }
        let template = options.name.as_deref().map(NameTemplate::parse).transpose();
        let template = template.map_err(|problem| FormatError::Options { option: "name", problem })?;
        let mut header = vec![FILE_NAME.to_owned(), TEXT.to_owned()];
        header.extend(template.iter().flat_map(NameTemplate::columns).map(str::to_owned));
        Ok(Self {
            schema: text_schema(&header),
            columns: header.iter().map(|_| StringViewBuilder::new()).collect(),
            options,
            template,
            header,
            raw: Vec::new(),
            records: Vec::new(),
            file: Vec::new(),
        })
    }

    /// The names of the columns.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// How many notes wait for [`Self::take`], and how large they are.
    pub fn waiting(&self) -> (usize, usize) {
        (self.records.len(), self.raw.len())
    }

    /// Reads one file to its end; gives back a note that could not become a row. `name` is that of the file, without
    /// folders and without the sign of a compression.
    ///
    /// # Errors
    /// When the source fails, or the file's name is not of the template's form. The note is then not in the batch.
    pub fn read(&mut self, name: &str, mut input: impl Read) -> Result<Option<Reject>, FormatError> {
        let values = match &self.template {
            None => Vec::new(),
            Some(template) => template
                .values(name)
                .ok_or_else(|| FormatError::NameOutsideTemplate { template: template.text.clone() })?,
        };
        let limit = self.options.max_bytes;
        self.file.clear();
        input.by_ref().take(limit as u64).read_to_end(&mut self.file)?;
        let cut = std::io::copy(&mut input, &mut std::io::sink())?;
        if cut > 0 {
            let reason = RejectReason::RecordTooLong { limit };
            return Ok(Some(Reject { line: 1, raw: std::mem::take(&mut self.file), cut, reason }));
        }
        let text = match decoded(&self.file, self.options.encoding) {
            Ok(text) => text,
            Err(reason) => return Ok(Some(Reject { line: 1, raw: std::mem::take(&mut self.file), cut: 0, reason })),
        };
        for (column, value) in self.columns.iter_mut().zip([name, &*text].into_iter().chain(values)) {
            column.append_value(value);
        }
        let start = self.raw.len();
        self.raw.extend_from_slice(&self.file);
        self.records.push(Origin::new(1, start, self.raw.len()));
        Ok(None)
    }

    /// The notes since the last call; `None` where there are none.
    pub fn take(&mut self) -> Result<Option<NotesBatch>, FormatError> {
        if self.records.is_empty() {
            return Ok(None);
        }
        let columns = self.columns.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|_| FormatError::Batch { doing: "joining the columns" })?;
        let text = Buffer::from_vec(std::mem::take(&mut self.raw));
        Ok(Some(NotesBatch { batch, rows: RowOrigins::new(text, std::mem::take(&mut self.records)) }))
    }
}

/// The text of a file. A NUL is in no text: it is what UTF-16 without its mark, or UTF-32, looks like.
fn decoded(bytes: &[u8], declared: NoteEncoding) -> Result<Cow<'_, str>, RejectReason> {
    let declared = match declared {
        NoteEncoding::Utf8 => UTF_8,
        NoteEncoding::Windows1252 => WINDOWS_1252,
    };
    decoded_from(bytes, declared)
}

/// The text of bytes in an encoding that something says; a byte-order mark says it better, and so do bytes that are
/// UTF-8, which those of no other encoding are by chance.
pub(crate) fn decoded_from<'a>(bytes: &'a [u8], declared: &'static Encoding) -> Result<Cow<'a, str>, RejectReason> {
    let (encoding, mark) = Encoding::for_bom(bytes).unwrap_or_else(|| {
        let is_utf8 = declared.is_ascii_compatible() && std::str::from_utf8(bytes).is_ok();
        (if is_utf8 { UTF_8 } else { declared }, 0)
    });
    let bytes = bytes.get(mark..).unwrap_or_default();
    match encoding.decode_without_bom_handling_and_without_replacement(bytes) {
        Some(text) if memchr(0, text.as_bytes()).is_none() => Ok(text),
        None if encoding == UTF_8 => Err(RejectReason::InvalidUtf8 { column: 0 }),
        _ => Err(RejectReason::NotText),
    }
}
