//! What was written, and what is wrong with it on purpose.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// What was done to a row so that it cannot be read as the catalog says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A field too few or one too many.
    RaggedRow,
    InvalidUtf8,
    /// Such as 2023-02-30.
    ImpossibleDate,
    TextInNumber,
}

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Self::RaggedRow => "ragged-row",
            Self::InvalidUtf8 => "invalid-utf8",
            Self::ImpossibleDate => "impossible-date",
            Self::TextInNumber => "text-in-number",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A row of a CSV file that was spoiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// The table.
    pub dataset: &'static str,
    /// The line of the file at which the row begins; the header is line 1.
    pub line: u64,
    /// The row after the header; the first is 1. Not `line - 1` where notes have lines of their own.
    pub row: u64,
    /// The column spoiled; none for a ragged row.
    pub column: Option<&'static str>,
    pub fault: Fault,
}

/// A second record of one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    pub patient_id: String,
    /// The person's first record.
    pub of: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenFile {
    /// Relative to the directory given. A folder of a file a document ends in `/`: its rows are files.
    pub path: String,
    /// Rows, resources, messages or transaction sets, bad ones and the header's not counted apart: bad rows count, the header does not.
    pub rows: u64,
    pub bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub patients: u64,
    pub files: Vec<WrittenFile>,
    pub bad_rows: Vec<BadRow>,
    pub duplicates: Vec<Duplicate>,
}

impl Summary {
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The rows of a file such as `csv/patients.csv`.
    pub fn rows(&self, path: &str) -> Option<u64> {
        self.files.iter().find(|file| file.path == path).map(|file| file.rows)
    }
}

/// How far the writing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub patients: u64,
    pub of: u64,
    pub bytes: u64,
}

#[derive(Debug, Error)]
pub enum SynthError {
    #[error("cannot generate: {0}")]
    Options(&'static str),
    #[error("cannot write {}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("cannot write Parquet to {}", path.display())]
    Parquet { path: PathBuf, source: parquet::errors::ParquetError },
    #[error("a worker thread stopped before its patients were written")]
    Worker,
}
