//! Byte streams to Arrow batches and documents; no network, no files, only `std::io::Read`.

mod columns;
mod compression;
mod csv;
mod error;
mod lines;
mod ndjson;
mod text;

pub use columns::RowOrigins;
pub use compression::{Decoded, open_decoded};
pub use csv::{CsvBatch, CsvOptions, CsvReader, csv_header};
pub use error::{Codec, FormatError, HeaderProblem, Reject, RejectReason};
pub use lines::{DEFAULT_MAX_LINE_BYTES, LineBatch, LineReader};
pub use ndjson::{NdjsonBatch, NdjsonOptions, NdjsonReader};
pub use text::text_columns;
