//! Jobs: read → de-identify → write → commit → audit, with checkpoints, quarantine and progress.
//!
//! This crate exists so that a run can be killed at any instant and nothing is lost, done twice or left in clear. It
//! refuses to write anything that is not encrypted, to pass on a field that the policy does not name, and to put a
//! value of the data into a message.
//!
//! ```
//! // What the configuration says about memory.
//! assert_eq!(cordon_pipeline::project::parse_bytes("1GiB"), Some(1 << 30));
//! ```

pub mod accept;
pub mod backup;
pub mod break_glass;
pub mod cluster;
pub mod config;
mod documents;
pub mod error;
pub mod evidence;
mod from_log;
pub mod holds;
pub mod init;
pub mod inspect;
mod masters;
mod output_memory;
mod people;
mod places;
pub mod plan;
pub mod policies;
pub mod progress;
pub mod project;
pub mod quarantine;
pub mod recipient;
pub mod rekey;
pub mod replay;
pub mod report;
pub mod retain;
pub mod retention;
pub mod reveal;
pub mod rotate;
pub mod run;
pub mod sealed;
pub mod server_config;
pub mod shred;
pub mod source;
pub mod state;
mod stores;
mod unit;
mod vaults;
