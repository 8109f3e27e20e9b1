//! The only room that names DataFusion.

pub mod errors;
pub mod inputs;
pub mod keytools;
pub mod tables;

pub use errors::{EngineError, ExecutionProblem, PlanProblem, PlanProblemKind};
pub use inputs::{InputKeys, ParquetInput};
pub use keytools::{CordonEncryptionFactory, KEY_CLASS_METADATA, KeyTools, MasterKeyNames};
pub use tables::{
    AuditAnchor, Commit, ENTROPY_METADATA, Manifest, PartInfo, PartOptions, PartWriter, Provenance, SourceRef, Staging,
    TableStore, TableVersion,
};
