//! What can go wrong with a whole stream, and what can be wrong with one record.
//!
//! The two are kept apart on purpose: a [`FormatError`] ends the stream, a [`Reject`] is one record that
//! goes to quarantine while the rest carries on. Neither says anything of a value: positions, lengths
//! and kinds only, because both end up in logs (architecture: no value in words). That holds for header
//! names too: a file without a header, read as if it had one, makes a patient's row the header.

use std::fmt;
use std::io;

use serde::Serialize;
use thiserror::Error;

/// Why a stream cannot be read (further).
#[derive(Debug, Error)]
pub enum FormatError {
    /// The source itself failed. Nothing that the operating system or the network says is swallowed.
    #[error("the source could not be read ({})", .0.kind())]
    Io(#[source] io::Error),
    /// The source failed at an earlier call: where the next record begins is not known any more.
    #[error("the source failed before and cannot be read further")]
    FailedBefore,
    /// A compressed stream ends before its end mark: rows are missing.
    #[error("the {codec} stream ends early: the file is truncated")]
    Truncated {
        /// Which compression.
        codec: Codec,
    },
    /// A compressed stream does not decode, or its checksum does not agree.
    #[error("the {codec} stream is corrupt")]
    CorruptCompressed {
        /// Which compression.
        codec: Codec,
    },
    /// The text begins with a byte-order mark of UTF-16 or UTF-32.
    #[error("the text is UTF-16 or UTF-32; convert it to UTF-8 first")]
    NotUtf8Text,
    /// The first record, which names the columns, cannot be used.
    #[error("the header cannot be used: {0}")]
    Header(#[from] HeaderProblem),
    /// The options contradict each other or are out of bounds.
    #[error("option `{option}`: {problem}")]
    Options {
        /// The option's name as it is spelled in a pipeline file.
        option: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A file of notes whose name, which may be a person's, has not the declared form.
    #[error("the file's name is not of the form `{template}`")]
    NameOutsideTemplate {
        /// The form as the pipeline file declares it.
        template: String,
    },
    /// A column of a type that has no lossless text form.
    #[error("column {column} has the type {data_type}, which has no text form")]
    NoTextForm {
        /// Position of the top-level column, from 1.
        column: usize,
        /// The Arrow type's name, without field names.
        data_type: &'static str,
    },
    /// Arrow refused what was built; its own message may quote a cell and is therefore dropped.
    #[error("an internal batch was refused while {doing}")]
    Batch {
        /// What was being built.
        doing: &'static str,
    },
}

/// Why a header is refused. Columns are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderProblem {
    /// There is no record at all.
    #[error("the file is empty")]
    Missing,
    /// A column without a name.
    #[error("column {column} has no name")]
    EmptyName {
        /// Which column.
        column: usize,
    },
    /// Two columns with one name.
    #[error("columns {first} and {second} have the same name")]
    Duplicate {
        /// The first column of that name.
        first: usize,
        /// The second column of that name.
        second: usize,
    },
    /// A name that is not UTF-8.
    #[error("the name of column {column} is not UTF-8")]
    InvalidUtf8 {
        /// Which column.
        column: usize,
    },
    /// The header record is longer than a record may be.
    #[error("it is longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// A quote is opened and never closed.
    #[error("a quote is never closed")]
    UnterminatedQuote,
}

/// A compression that [`open_decoded`](crate::open_decoded) knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// RFC 1952, one or more members.
    Gzip,
    /// RFC 8878, one or more frames.
    Zstd,
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// A typed error that travelled through a `Read` inside an `io::Error` comes out as itself.
impl From<io::Error> for FormatError {
    fn from(error: io::Error) -> Self {
        match error.downcast::<FormatError>() {
            Ok(typed) => typed,
            Err(error) => Self::Io(error),
        }
    }
}

/// One record that was set aside. It holds PHI: no `Debug`, no `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct Reject {
    /// The physical line on which the record begins, from 1.
    pub line: u64,
    /// The record's bytes without its line end, up to the reader's limit for one record.
    pub raw: Vec<u8>,
    /// How many bytes of the record were dropped behind `raw`; 0 when it is whole.
    pub cut: u64,
    /// What is wrong with it.
    pub reason: RejectReason,
}

/// What is wrong with one record. Columns are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum RejectReason {
    /// Another number of fields than the header has.
    #[error("{found} fields where the header has {expected}")]
    Ragged {
        /// Fields in the header.
        expected: usize,
        /// Fields in the record.
        found: usize,
    },
    /// Bytes that are not UTF-8.
    #[error("{}", if *column == 0 { "not UTF-8".to_owned() } else { format!("column {column} is not UTF-8") })]
    InvalidUtf8 {
        /// The first such column; 0 when the record has no columns (a line of JSON, a note).
        column: usize,
    },
    /// A file that is no text in its encoding, or holds NUL characters.
    #[error("not text in the declared encoding, or text with NUL characters (UTF-16 needs its byte-order mark)")]
    NotText,
    /// Longer than a record may be.
    #[error("the record is longer than {limit} bytes")]
    RecordTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// A quote is still open at the end of the file.
    #[error("a quote is open at the end of the file")]
    UnterminatedQuote,
    /// A line that is not one JSON value (RFC 8259).
    #[error("the line is not JSON (byte {offset})")]
    NotJson {
        /// Where in the line the parser stopped, from 0.
        offset: usize,
    },
    /// JSON, but not an object.
    #[error("the line is JSON but not an object")]
    NotAnObject,
    /// Nested deeper than allowed.
    #[error("nested deeper than {limit} levels")]
    TooDeep {
        /// The limit in levels.
        limit: usize,
    },
    /// The same key twice, directly or by flattening: which one is meant cannot be known.
    #[error("a key stands twice in one object")]
    DuplicateKey,
}
