//! Byte streams to Arrow batches and documents.
//!
//! This crate exists so that everything above it sees columns, whatever a hospital's export looks like, and
//! so that one broken record neither stops a night's run nor disappears: it comes out as a [`Reject`], with
//! its line, its bytes and a reason, for quarantine.
//!
//! It refuses to open files or sockets (every reader takes a `std::io::Read`), to guess what a column means
//! or which type it has (that is the policy's to say), to end quietly where a file is cut off, and to say
//! any value in an error.
//!
//! ```
//! use cordon_formats::{CsvOptions, CsvReader, RejectReason, open_decoded};
//!
//! let file = b"mrn,born\n0007,1957-03-01\n0008\n";
//! let mut reader = CsvReader::new(open_decoded(&file[..])?, CsvOptions::default())?;
//! assert_eq!(reader.header(), ["mrn", "born"]);
//!
//! let batch = reader.next_batch()?.expect("one batch");
//! assert_eq!(batch.batch.num_rows(), 1);
//! assert_eq!(batch.rows.raw(0), Some(&b"0007,1957-03-01"[..]));
//! assert_eq!(batch.rejects[0].line, 3);
//! assert_eq!(batch.rejects[0].reason, RejectReason::Ragged { expected: 2, found: 1 });
//! assert!(reader.next_batch()?.is_none());
//! # Ok::<(), cordon_formats::FormatError>(())
//! ```

pub mod ccda;
mod columns;
mod compression;
mod csv;
pub mod dicom;
mod error;
pub mod fhir;
pub mod hl7v2;
mod lines;
pub mod markup;
mod ndjson;
mod notes;
pub mod segments;
mod text;
pub mod x12;

pub use columns::RowOrigins;
pub use compression::{Decoded, open_decoded};
pub use csv::{CsvBatch, CsvOptions, CsvReader, csv_header};
pub use error::{Codec, FormatError, HeaderProblem, Reject, RejectReason};
pub use lines::{DEFAULT_MAX_LINE_BYTES, LineBatch, LineReader};
pub use ndjson::{NdjsonBatch, NdjsonOptions, NdjsonReader};
pub use notes::{NameTemplate, NoteEncoding, NotesBatch, NotesOptions, NotesReader};
pub use text::{TextColumns, filled, text_columns, text_names};
