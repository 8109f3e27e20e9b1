//! Newline-delimited JSON objects as columns of text.
//!
//! The columns are declared, never guessed: a key that nobody declared does not become a column by
//! appearing in the millionth line. It is counted instead, so that the pipeline can refuse or drop it.
//!
//! A value keeps its own spelling: a number every digit, `true` and `false` as they are. A nested object
//! counts as its members under `parent.member`, unless `parent` itself is declared; then, like an array, it
//! is its own JSON text. JSON's `null` and an absent key are both null.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_schema::SchemaRef;
use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, Peek};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::columns::{BLOCK_ROWS, BatchBuilder, Meaning, Origin, RowOrigins, Span, text_schema};
use crate::error::{FormatError, HeaderProblem, Reject, RejectReason};
use crate::lines::{DEFAULT_MAX_LINE_BYTES, LineReader};

/// Jiter's own bound of nesting, behind the levels that declared names go down.
const MAX_DEPTH: usize = 200;

/// What a key that nobody declared is called: files use names and numbers of persons as keys.
const UNKNOWN: &str = "?";

/// How newline-delimited JSON is cut into batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NdjsonOptions {
    /// Most rows of one batch.
    #[schemars(range(min = 1))]
    pub batch_rows: usize,
    /// How much text is read at once.
    #[schemars(range(min = 1, max = 268_435_456))]
    pub batch_bytes: usize,
    /// A longer line is set aside.
    #[schemars(range(min = 1, max = 268_435_456))]
    pub max_line_bytes: usize,
}

impl Default for NdjsonOptions {
    fn default() -> Self {
        Self { batch_rows: 32_768, batch_bytes: 8 << 20, max_line_bytes: DEFAULT_MAX_LINE_BYTES }
    }
}

impl NdjsonOptions {
    /// Refuses sizes that cannot be counted.
    pub fn check(&self) -> Result<(), FormatError> {
        for (option, size, most) in [
            ("batch-rows", self.batch_rows, usize::MAX),
            ("batch-bytes", self.batch_bytes, 1 << 28),
            ("max-line-bytes", self.max_line_bytes, 1 << 28),
        ] {
            let problem = match size {
                0 => "must not be 0",
                size if size > most => "must be at most 268435456 (256 MiB)",
                _ => continue,
            };
            return Err(FormatError::Options { option, problem });
        }
        Ok(())
    }
}

/// Reads lines of JSON into batches.
pub struct NdjsonReader<R> {
    lines: LineReader<R>,
    options: NdjsonOptions,
    schema: SchemaRef,
    fields: Fields,
    pending: Pending,
}

/// Some rows. It holds PHI: no `Debug`.
pub struct NdjsonBatch {
    /// One `Utf8View` column for each declared field; it may have no rows.
    pub batch: RecordBatch,
    /// Where each row came from.
    pub rows: RowOrigins,
    /// The lines between these rows that could not become one.
    pub rejects: Vec<Reject>,
    /// Keys of these rows that are not declared, with the number of times. They come from the data and may hold
    /// anything, so only where they stand is said: `?`, `address.?`.
    pub undeclared: BTreeMap<String, u64>,
}

/// Lines that were read and not yet parsed.
struct Pending {
    text: Buffer,
    lines: std::vec::IntoIter<Origin>,
    rejects: Vec<Reject>,
    is_suspect: bool,
}

impl<R: Read> NdjsonReader<R> {
    /// Reads the declared fields, `address.city` for the member of a member.
    ///
    /// # Errors
    /// When a field is declared twice or has no name, or an option is out of bounds.
    pub fn new(reader: R, fields: &[String], options: NdjsonOptions) -> Result<Self, FormatError> {
        options.check()?;
        Ok(Self {
            lines: LineReader::with_max_line_bytes(reader, options.max_line_bytes),
            options,
            schema: text_schema(fields),
            fields: Fields::new(fields)?,
            pending: Pending {
                text: Buffer::from_vec(Vec::<u8>::new()),
                lines: Vec::new().into_iter(),
                rejects: Vec::new(),
                is_suspect: false,
            },
        })
    }

    /// The schema of every batch: the declared fields, all `Utf8View`.
    pub fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    /// The next rows; `None` at the end of the file. A batch may hold rejects alone.
    pub fn next_batch(&mut self) -> Result<Option<NdjsonBatch>, FormatError> {
        if self.pending.lines.as_slice().is_empty() {
            let Some(lines) = self.lines.next_batch(self.options.batch_bytes)? else {
                return Ok(None);
            };
            let origins = lines.spans.iter().zip(&lines.lines);
            let origins: Vec<_> = origins.map(|(span, line)| Origin::new(*line, span.start, span.end)).collect();
            self.pending = Pending {
                lines: origins.into_iter(),
                rejects: lines.rejects,
                is_suspect: std::str::from_utf8(&lines.bytes).is_err(),
                text: Buffer::from_vec(lines.bytes),
            };
        }
        self.parse_pending().map(Some)
    }

    fn parse_pending(&mut self) -> Result<NdjsonBatch, FormatError> {
        let text = self.pending.text.clone();
        let width = self.fields.width;
        let rows = self.options.batch_rows;
        let expected = rows.min(self.pending.lines.as_slice().len());
        let mut batch = BatchBuilder::new(width, expected);
        let mut records = Vec::with_capacity(expected);
        let mut rejects = std::mem::take(&mut self.pending.rejects);
        let mut undeclared = Undeclared::default();
        let meaning = Meaning::none();
        let mut in_block = 0;
        let mut block = 0;
        for origin in self.pending.lines.by_ref().take(expected) {
            let range = origin.range();
            let line = text.get(range.clone()).unwrap_or_default();
            let spans = batch.spans.len();
            let side = batch.side.len();
            batch.spans.resize(spans + width, Span::null());
            let mut row = Row {
                text: line,
                start: range.start,
                cells: batch.spans.get_mut(spans..).unwrap_or_default(),
                side: &mut batch.side,
                fields: &mut self.fields,
                undeclared: &mut undeclared,
            };
            let parsed = if self.pending.is_suspect && std::str::from_utf8(line).is_err() {
                Err(RejectReason::InvalidUtf8 { column: 0 })
            } else {
                row.parse()
            };
            match parsed {
                Ok(()) => {
                    undeclared.keep();
                    records.push(origin);
                    in_block += 1;
                    if in_block == BLOCK_ROWS {
                        batch.end_block(&text, block..range.end, &meaning);
                        in_block = 0;
                        block = range.end;
                    }
                }
                Err(reason) => {
                    undeclared.forget();
                    batch.spans.truncate(spans);
                    batch.side.truncate(side);
                    rejects.push(Reject { line: origin.line(), raw: line.to_vec(), cut: 0, reason });
                }
            }
        }
        batch.end_block(&text, block..text.len(), &meaning);
        rejects.sort_by_key(|reject| reject.line);
        let (batch, rows) = batch.finish(&self.schema, &text, records)?;
        Ok(NdjsonBatch { batch, rows, rejects, undeclared: undeclared.counts })
    }
}

/// What is declared, by its whole name.
struct Fields {
    width: usize,
    places: HashMap<String, Place>,
    /// The row in which each place was last seen.
    seen: Vec<u64>,
    row: u64,
}

#[derive(Clone, Copy)]
struct Place {
    /// Counts columns first, then the objects on the way to one.
    id: usize,
    is_column: bool,
}

impl Fields {
    fn new(fields: &[String]) -> Result<Self, HeaderProblem> {
        let mut places = HashMap::new();
        for (id, name) in fields.iter().enumerate() {
            if name.is_empty() {
                return Err(HeaderProblem::EmptyName { column: id + 1 });
            }
            let is_column = true;
            if let Some(first) = places.insert(name.clone(), Place { id, is_column }) {
                return Err(HeaderProblem::Duplicate { first: first.id + 1, second: id + 1 });
            }
        }
        for name in fields {
            for (dot, _) in name.match_indices('.') {
                let id = places.len();
                let parent = name.get(..dot).unwrap_or_default().to_owned();
                places.entry(parent).or_insert(Place { id, is_column: false });
            }
        }
        Ok(Self { width: fields.len(), seen: vec![0; places.len()], places, row: 0 })
    }

    /// Notes that a place occurs in the row; whether for the second time.
    fn is_repeated(&mut self, place: Place) -> bool {
        let before = self.seen.get_mut(place.id);
        before.is_some_and(|seen| std::mem::replace(seen, self.row) == self.row)
    }
}

/// Counts keys that nobody declared, in rows that are kept.
#[derive(Default)]
struct Undeclared {
    counts: BTreeMap<String, u64>,
    /// Those of the current row.
    current: Vec<String>,
}

impl Undeclared {
    fn keep(&mut self) {
        for name in self.current.drain(..) {
            if let Some(count) = self.counts.get_mut(&name) {
                *count += 1;
            } else {
                self.counts.insert(name, 1);
            }
        }
    }

    fn forget(&mut self) {
        self.current.clear();
    }
}

/// One line on its way into a row.
struct Row<'a> {
    text: &'a [u8],
    /// Where the line is in the batch's text.
    start: usize,
    cells: &'a mut [Span],
    side: &'a mut Vec<u8>,
    fields: &'a mut Fields,
    undeclared: &'a mut Undeclared,
}

impl<'a> Row<'a> {
    fn parse(&mut self) -> Result<(), RejectReason> {
        self.fields.row += 1;
        let text: &'a [u8] = self.text;
        let mut json = Jiter::new(text);
        let first = json.peek().map_err(reason)?;
        if first != Peek::Object {
            json.known_skip(first).map_err(reason)?;
            json.finish().map_err(reason)?;
            return Err(RejectReason::NotAnObject);
        }
        self.object(&mut json, &mut String::new())?;
        json.finish().map_err(reason)
    }

    /// The members of an object; `path` is its own name with a dot behind it, or empty.
    fn object(&mut self, json: &mut Jiter<'a>, path: &mut String) -> Result<(), RejectReason> {
        let stem = path.len();
        let mut key = json.known_object().map_err(reason)?;
        while let Some(name) = key {
            path.push_str(name);
            self.member(json, path, stem)?;
            path.truncate(stem);
            key = json.next_key().map_err(reason)?;
        }
        Ok(())
    }

    /// One member; its key stands in `path` behind `stem`.
    fn member(&mut self, json: &mut Jiter<'a>, path: &mut String, stem: usize) -> Result<(), RejectReason> {
        let peek = json.peek().map_err(reason)?;
        let Some(place) = self.fields.places.get(path.as_str()).copied() else {
            self.undeclared.current.push(path.get(..stem).unwrap_or_default().to_owned() + UNKNOWN);
            return json.known_skip(peek).map_err(reason);
        };
        if self.fields.is_repeated(place) {
            return Err(RejectReason::DuplicateKey);
        }
        if place.is_column {
            let cell = self.cell(json, peek)?;
            if let Some(slot) = self.cells.get_mut(place.id) {
                *slot = cell;
            }
            Ok(())
        } else if peek == Peek::Object {
            path.push('.');
            self.object(json, path)
        } else {
            // Only its members are declared. Null has none of them, anything else is more than declared.
            if peek != Peek::Null {
                self.undeclared.current.push(path.clone());
            }
            json.known_skip(peek).map_err(reason)
        }
    }

    fn cell(&mut self, json: &mut Jiter<'a>, peek: Peek) -> Result<Span, RejectReason> {
        let from = json.current_index();
        if peek == Peek::String {
            let text = json.known_str().map_err(reason)?;
            let len = text.len();
            let written = self.side.len();
            self.side.extend_from_slice(text.as_bytes());
            if json.current_index() == from + len + 2 {
                self.side.truncate(written);
                return Ok(Span::quoted(self.start + from + 1, len));
            }
            return Ok(Span::unescaped(written, len));
        }
        json.known_skip(peek).map_err(reason)?;
        Ok(if peek == Peek::Null {
            Span::null()
        } else {
            Span::unquoted(self.start + from, json.current_index() - from)
        })
    }
}

/// What the parser says without what it quotes.
#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn reason(error: JiterError) -> RejectReason {
    match error.error_type {
        JiterErrorType::JsonError(JsonErrorType::RecursionLimitExceeded) => RejectReason::TooDeep { limit: MAX_DEPTH },
        _ => RejectReason::NotJson { offset: error.index },
    }
}
