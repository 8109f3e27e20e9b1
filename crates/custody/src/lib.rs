//! A project's key ring, vault and record, opened.
//!
//! This crate exists so that a run, a Python process and an executor of a cluster make the same bytes of the same rows: whoever
//! de-identifies gets its keys, tokens and dossiers here, and nowhere else. It knows of `cordon.yaml` what says where these are, and
//! refuses to know of tables, sources or queries.
//!
//! | module | what it is |
//! |---|---|
//! | [`config`] | the sections of `cordon.yaml` that say where keys, vault and record are |
//! | [`root`] | the root secret, from wherever it is kept |
//! | [`vaults`] | the vault and the dossiers, in a folder or in PostgreSQL |
//! | [`env`](mod@env) | what kernels need, for the project itself or for a recipient |
//! | [`mark`] | how far the record had come |
//! | [`sealed`] | small files that are never in clear |
//! | [`project`] | all of it, for programs that need no more |

pub mod config;
pub mod env;
pub mod error;
pub mod mark;
pub mod project;
pub mod root;
pub mod sealed;
pub mod vaults;

pub use error::CustodyError;
pub use mark::AuditMark;
pub use project::{Custody, Place, Record};
