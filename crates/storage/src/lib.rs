//! Object stores as sources and sinks: S3, Azure Blob, Google Cloud Storage and HDFS behind one type.
//!
//! This crate exists so that nobody else opens a connection to a store: here TLS, or what Kerberos seals, is required unless the endpoint is this machine,
//! credentials come from the places where each cloud's own tools look and never from a project's files, an address that holds a
//! secret is refused, and an error says which store, what went wrong and what to do, but not the name of an object, which can
//! name a patient.
//!
//! It is synchronous for its callers: requests run on a small runtime of their own.
//!
//! ```
//! use cordon_storage::Location;
//!
//! let lake = Location::parse("s3://lake/clinic/tables")?;
//! assert_eq!((lake.root().as_str(), lake.prefix()), ("s3://lake", "clinic/tables"));
//! assert!(Location::parse("s3://key:secret@lake/clinic").is_err());
//! assert!(!Location::is_url("exports/*.csv"));
//! # Ok::<(), cordon_storage::LocationError>(())
//! ```

mod connect;
mod error;
#[expect(clippy::large_futures, reason = "few at a time, and each on the heap of a task")]
mod hdfs;
mod identity;
mod location;
mod reader;
mod runtime;
mod sealing;
mod settings;
mod store;
mod uploads;

pub use error::{Kerberos, StorageError, Trouble};
pub use location::{Location, LocationError, Scheme};
pub use object_store::ObjectStore;
pub use reader::ObjectReader;
pub use runtime::close;
pub use settings::{KmsKey, ServerEncryption, StoreSettings};
pub use store::{Object, Store};
