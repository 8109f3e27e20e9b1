//! The one place where errors of DataFusion, Arrow and Parquet become ours.
//!
//! Their texts carry cell values ("Cannot cast string 'Mrs Jones' …"), literals of the query and paths, so none of
//! their text passes: an error is classified by its type, and where the type says too little, by words that the
//! libraries write themselves and whose presence alone is kept. What comes out says where and what kind.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use cordon_crypto::CryptoError;
use cordon_storage::StorageError;
use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use parquet::errors::ParquetError;
use serde::{Deserialize, Serialize};

use crate::keytools::KeyError;

/// Why the engine did not do it. No variant carries a value of the data or a literal of a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    #[error("no space left to {what} at {}", path.display())]
    NoSpace { what: &'static str, path: PathBuf },
    #[error("may not {what} at {}: read-only or not permitted", path.display())]
    ReadOnly { what: &'static str, path: PathBuf },
    #[error("could not {what} at {}: {kind}", path.display())]
    Io { what: &'static str, path: PathBuf, kind: io::ErrorKind },
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the {what} at {} is damaged, was changed, or belongs to another key", path.display())]
    Damaged { what: &'static str, path: PathBuf },
    #[error("{} is not an encrypted Parquet file", path.display())]
    NotEncrypted { path: PathBuf },
    #[error("not supported: {what}")]
    Unsupported { what: &'static str },
    #[error("the master key {master} is not available: {reason}")]
    KeyDenied { master: String, reason: CryptoError },
    #[error("the keys of the file cannot be had: {reason}")]
    KeyMaterial { reason: String },
    #[error("another commit to {table} was published first (version {version})")]
    Conflict { table: String, version: u64 },
    #[error("the name of a {what} must start with a small letter and hold only small letters, digits and _")]
    InvalidName { what: &'static str },
    #[error("the new parts of {table} do not have the table's schema")]
    SchemaMismatch { table: String },
    #[error("no such table")]
    NoSuchTable,
    #[error("the operating system gave no random bytes")]
    Randomness,
    #[error("refused: {reason}")]
    Refused { reason: &'static str },
    /// Statistics that would say too much. `kind` is for the record.
    #[error("refused: {reason}")]
    Disclosure { kind: &'static str, reason: &'static str },
    #[error("the row filter or a mask of the access policy cannot be enforced on the table")]
    Policy,
    #[error("{0}")]
    Planning(PlanProblem),
    #[error("the query failed: {0}")]
    Execution(ExecutionProblem),
    #[error("{0}")]
    Limit(QueryLimit),
    #[error("the rights that the query began with have changed meanwhile; what was given until then is not the whole")]
    Revoked,
    #[error("an internal error of the engine ({0})")]
    Internal(&'static str),
    /// Of a cluster, or of a machine of it. The text says where.
    #[error("{text}")]
    Elsewhere { fault: Fault, text: String },
}

/// What kind of trouble it is, where more than that and a text does not come from another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    Failure,
    Usage,
    Denied,
    Keys,
    Storage,
    Integrity,
}

/// What a query used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryLimit {
    #[error("the query gives more than {limit} rows, the most that one may give here; select less, or aggregate")]
    Rows { limit: u64 },
    #[error("the query took longer than one may take here; select less")]
    Time,
}

/// What is wrong with a query, in names that its author may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanProblem {
    pub kind: PlanProblemKind,
    /// Line and column in the text of the query, from 1.
    pub position: Option<(u64, u64)>,
    /// The closest name of those that the author is authorised to see.
    pub did_you_mean: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanProblemKind {
    Syntax,
    UnknownTable,
    UnknownColumn,
    UnknownFunction,
    AmbiguousColumn,
    WrongTypes,
    NotGrouped,
    TooDeep,
    Parameters,
    NotSupported,
    Other,
}

impl PlanProblemKind {
    fn sentence(self) -> &'static str {
        match self {
            Self::Syntax => "the SQL is not well-formed",
            Self::UnknownTable => "unknown table",
            Self::UnknownColumn => "unknown column",
            Self::UnknownFunction => "unknown function",
            Self::AmbiguousColumn => "the column's name is ambiguous",
            Self::WrongTypes => "an operator or function does not take values of these types",
            Self::NotGrouped => "a column is neither grouped by nor aggregated",
            Self::TooDeep => "the query is nested too deeply, or uses its own parts too often",
            Self::Parameters => "parameters are `$1`, `$2` and so on, each with its value",
            Self::NotSupported => "the query uses something that is not supported",
            Self::Other => "the query cannot be planned",
        }
    }
}

impl fmt::Display for PlanProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.sentence())?;
        if let Some((line, column)) = self.position {
            write!(f, " at line {line}, column {column}")?;
        }
        if let Some(name) = &self.did_you_mean {
            write!(f, "; did you mean {name}?")?;
        }
        Ok(())
    }
}

/// What went wrong while rows were computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ExecutionProblem {
    #[error("a value could not be converted to the type that was asked for")]
    Conversion,
    #[error("division by zero")]
    DivisionByZero,
    #[error("a number grew too large for its type")]
    Overflow,
    #[error("an argument of a function is not valid")]
    InvalidArgument,
    #[error("a subquery gave more than one row")]
    ManyRows,
    #[error("the memory limit does not suffice; raise it or select less")]
    Memory,
    #[error("no space left for temporary files")]
    TemporarySpace,
    #[error("a temporary file could not be written or read")]
    TemporaryFile,
    #[error("a stored part could not be read")]
    Storage,
    #[error("a stored part does not have the form it should")]
    StoredForm,
    #[error("the engine does not support an operation of the query")]
    NotSupported,
    #[error("an operation of the query failed")]
    Other,
}

impl EngineError {
    /// What is left of it for another machine.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoSpace { .. } | Self::ReadOnly { .. } | Self::Io { .. } | Self::Storage(_) => Fault::Storage,
            Self::Damaged { .. } | Self::NotEncrypted { .. } => Fault::Integrity,
            Self::KeyDenied { .. } | Self::KeyMaterial { .. } => Fault::Keys,
            Self::NoSuchTable | Self::Refused { .. } | Self::Disclosure { .. } | Self::Revoked => Fault::Denied,
            Self::Planning(problem) if problem.kind == PlanProblemKind::UnknownTable => Fault::Denied,
            Self::Planning(_) => Fault::Usage,
            Self::Elsewhere { fault, .. } => *fault,
            _ => Fault::Failure,
        }
    }

    /// An error of the file system: the kind is kept, the text is not.
    pub fn io(what: &'static str, path: &Path, error: &io::Error) -> Self {
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<StorageError>()) {
            return Self::Storage(error.clone());
        }
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { what, path },
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly { what, path },
            kind => Self::Io { what, path, kind },
        }
    }

    pub(crate) fn parquet(error: &ParquetError) -> Self {
        deepest(error).unwrap_or(match error {
            ParquetError::NYI(text) => Self::Unsupported { what: unsupported_parquet(text) },
            ParquetError::General(text) if text.contains("not yet") || text.contains("not supported") => {
                Self::Unsupported { what: unsupported_parquet(text) }
            }
            _ => Self::Execution(ExecutionProblem::StoredForm),
        })
    }

    /// Like [`Self::parquet`], for a file whose path may be named.
    pub(crate) fn parquet_at(what: &'static str, path: &Path, error: &ParquetError) -> Self {
        if let Some(io) = find::<io::Error>(error) {
            return Self::io(what, path, io);
        }
        match Self::parquet(error) {
            Self::Execution(_) => Self::Damaged { what: "Parquet file", path: path.to_owned() },
            other => other,
        }
    }

    /// A fault of a query whose place is not known.
    pub(crate) fn planning(kind: PlanProblemKind) -> Self {
        Self::Planning(PlanProblem { kind, position: None, did_you_mean: None })
    }

    pub(crate) fn key(error: &CryptoError, master: &str) -> Self {
        Self::KeyDenied { master: master.to_owned(), reason: error.clone() }
    }

    pub(crate) fn arrow(error: &ArrowError) -> Self {
        deepest(error).unwrap_or_else(|| Self::Execution(arrow_problem(error)))
    }

    /// An error that was met while rows were computed.
    pub(crate) fn execution(error: &DataFusionError) -> Self {
        deepest(error).unwrap_or_else(|| Self::Execution(datafusion_problem(error)))
    }

    /// Through DataFusion and back: [`Self::execution`] finds it again.
    pub(crate) fn into_datafusion(self) -> DataFusionError {
        DataFusionError::External(Box::new(self))
    }
}

impl From<KeyError> for EngineError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Denied { master, source } => Self::KeyDenied { master, reason: source },
            other => Self::KeyMaterial { reason: other.to_string() },
        }
    }
}

/// The typed error of ours that hides below an error of a library.
fn deepest(error: &(dyn StdError + 'static)) -> Option<EngineError> {
    if let Some(ours) = find::<EngineError>(error) {
        return Some(ours.clone());
    }
    if let Some(storage) = find::<StorageError>(error) {
        return Some(storage.clone().into());
    }
    find::<KeyError>(error).map(|key| key.clone().into())
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    if let Some(found) = error.downcast_ref::<T>() {
        return Some(found);
    }
    // The libraries do not agree on whether `source` is the boxed error itself or what stands below it.
    let boxed: Option<&'a (dyn StdError + 'static)> = if let Some(error) = error.downcast_ref::<DataFusionError>() {
        match error {
            DataFusionError::ArrowError(inner, _) => Some(inner.as_ref()),
            DataFusionError::ParquetError(inner) => Some(inner.as_ref()),
            DataFusionError::ObjectStore(inner) => Some(inner.as_ref()),
            DataFusionError::IoError(inner) => Some(inner),
            DataFusionError::External(inner) => Some(inner.as_ref()),
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => Some(inner.as_ref()),
            DataFusionError::Shared(inner) => Some(inner.as_ref()),
            DataFusionError::Collection(inner) => inner.first().map(|first| first as _),
            _ => None,
        }
    } else if let Some(ParquetError::External(inner)) = error.downcast_ref::<ParquetError>() {
        Some(inner.as_ref())
    } else if let Some(error) = error.downcast_ref::<ArrowError>() {
        match error {
            ArrowError::ExternalError(inner) => Some(inner.as_ref()),
            ArrowError::IoError(_, inner) => Some(inner),
            _ => None,
        }
    } else if let Some(error) = error.downcast_ref::<io::Error>() {
        error.get_ref().map(|inner| inner as _)
    } else {
        error.source()
    };
    boxed.and_then(find::<T>)
}

fn unsupported_parquet(text: &str) -> &'static str {
    if text.contains("CTR") {
        "Parquet encryption with AES_GCM_CTR_V1 (only AES_GCM_V1)"
    } else {
        "a feature of this Parquet file"
    }
}

fn arrow_problem(error: &ArrowError) -> ExecutionProblem {
    match error {
        ArrowError::CastError(_) | ArrowError::ParseError(_) => ExecutionProblem::Conversion,
        ArrowError::DivideByZero => ExecutionProblem::DivisionByZero,
        ArrowError::ArithmeticOverflow(_)
        | ArrowError::DictionaryKeyOverflowError
        | ArrowError::RunEndIndexOverflowError
        | ArrowError::OffsetOverflowError(_) => ExecutionProblem::Overflow,
        ArrowError::InvalidArgumentError(_) | ArrowError::ComputeError(_) => ExecutionProblem::InvalidArgument,
        ArrowError::MemoryError(_) => ExecutionProblem::Memory,
        ArrowError::NotYetImplemented(_) => ExecutionProblem::NotSupported,
        ArrowError::ParquetError(_) => ExecutionProblem::StoredForm,
        ArrowError::IoError(_, error) => io_problem(error),
        ArrowError::IpcError(_) => ExecutionProblem::TemporaryFile,
        ArrowError::ExternalError(inner) => match inner.downcast_ref::<DataFusionError>() {
            Some(inner) => datafusion_problem(inner),
            None => ExecutionProblem::Other,
        },
        _ => ExecutionProblem::Other,
    }
}

fn io_problem(error: &io::Error) -> ExecutionProblem {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ExecutionProblem::TemporarySpace,
        _ => ExecutionProblem::TemporaryFile,
    }
}

fn datafusion_problem(error: &DataFusionError) -> ExecutionProblem {
    match error {
        DataFusionError::ArrowError(inner, _) => arrow_problem(inner),
        DataFusionError::ParquetError(_) => ExecutionProblem::StoredForm,
        DataFusionError::ObjectStore(_) => ExecutionProblem::Storage,
        DataFusionError::IoError(inner) => io_problem(inner),
        DataFusionError::NotImplemented(_) => ExecutionProblem::NotSupported,
        DataFusionError::ResourcesExhausted(_) => ExecutionProblem::Memory,
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => datafusion_problem(inner),
        DataFusionError::Shared(inner) => datafusion_problem(inner),
        DataFusionError::Collection(inner) => inner.first().map_or(ExecutionProblem::Other, datafusion_problem),
        DataFusionError::External(inner) => {
            if let Some(inner) = inner.downcast_ref::<DataFusionError>() {
                datafusion_problem(inner)
            } else if let Some(inner) = inner.downcast_ref::<ArrowError>() {
                arrow_problem(inner)
            } else {
                ExecutionProblem::Other
            }
        }
        // DataFusion's own texts: only the presence of its fixed words is used.
        DataFusionError::Execution(text) | DataFusionError::Plan(text) | DataFusionError::Internal(text) => {
            let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
            if any(&["more than one row"]) {
                ExecutionProblem::ManyRows
            } else if any(&["ivide by zero", "ivision by zero"]) {
                ExecutionProblem::DivisionByZero
            } else if any(&["verflow"]) {
                ExecutionProblem::Overflow
            } else if any(&["parsing", "parse", "cast", "convert"]) {
                ExecutionProblem::Conversion
            } else {
                ExecutionProblem::InvalidArgument
            }
        }
        _ => ExecutionProblem::Other,
    }
}

/// What kind of planning error this is; names and positions are added by who knows the query.
pub(crate) fn planning_kind(error: &DataFusionError) -> PlanProblemKind {
    match error {
        DataFusionError::SQL(inner, _) => match inner.as_ref() {
            datafusion::sql::sqlparser::parser::ParserError::RecursionLimitExceeded => PlanProblemKind::TooDeep,
            _ => PlanProblemKind::Syntax,
        },
        DataFusionError::SchemaError(inner, _) => match inner.as_ref() {
            SchemaError::FieldNotFound { .. } => PlanProblemKind::UnknownColumn,
            SchemaError::AmbiguousReference { .. } => PlanProblemKind::AmbiguousColumn,
            _ => PlanProblemKind::Other,
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => planning_kind(inner),
        DataFusionError::Shared(inner) => planning_kind(inner),
        DataFusionError::Collection(inner) => inner.first().map_or(PlanProblemKind::Other, planning_kind),
        DataFusionError::NotImplemented(_) => PlanProblemKind::NotSupported,
        DataFusionError::Plan(text) | DataFusionError::Execution(text) | DataFusionError::Internal(text) => {
            let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
            if any(&["Invalid function", "table function"]) {
                PlanProblemKind::UnknownFunction
            } else if any(&["not found", "No table named"]) {
                PlanProblemKind::UnknownTable
            } else if any(&["must be in GROUP BY", "in the GROUP BY", "must appear in the GROUP BY"]) {
                PlanProblemKind::NotGrouped
            } else if any(&["oerc", "signature", "data type", "type", "arguments"]) {
                PlanProblemKind::WrongTypes
            } else {
                PlanProblemKind::Other
            }
        }
        DataFusionError::ArrowError(..) => PlanProblemKind::WrongTypes,
        _ => PlanProblemKind::Other,
    }
}

/// Line and column that sqlparser writes at the end of its messages; nothing else of the text is used.
pub(crate) fn parser_position(error: &DataFusionError) -> Option<(u64, u64)> {
    let text = match error {
        DataFusionError::SQL(inner, _) => inner.to_string(),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            return parser_position(inner);
        }
        _ => return None,
    };
    let (_, tail) = text.rsplit_once("Line: ")?;
    let (line, column) = tail.split_once(", Column: ")?;
    let digits: String = column.chars().take_while(char::is_ascii_digit).collect();
    Some((line.parse().ok()?, digits.parse().ok()?))
}
