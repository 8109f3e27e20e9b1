//! Byte streams to Arrow batches and documents; no network, no files, only `std::io::Read`.

mod csv;
mod error;
pub mod fhir;
mod lines;

pub use csv::{CsvBatch, CsvOptions, CsvReader, RowOrigins, csv_header};
pub use error::{Codec, FormatError, HeaderProblem, Reject, RejectReason};
pub use lines::{DEFAULT_MAX_LINE_BYTES, LineBatch, LineReader};
