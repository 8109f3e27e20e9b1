//! The only room that names DataFusion: encrypted Parquet, tables with manifests, authorised SQL.
//!
//! This crate exists so that a plan can be run in one place only, over views that were authorised before, on files that
//! are encrypted from their first byte. It refuses to run anything but a question, to write a file or a temporary file in
//! clear, to open a part whose footer is not the one that the manifest names, and to pass on an error text of DataFusion,
//! Arrow or Parquet, which print cell values (see [`errors`]). Who may see what is decided elsewhere (`cordon-access`);
//! what comes here as an [`AuthorizedView`] is all that exists for the session.
//!
//! ```
//! # use std::sync::Arc;
//! # use arrow_array::{Int64Array, RecordBatch};
//! # use cordon_crypto::{LocalMasterKeys, SealKey, TableMasterKey};
//! use cordon_engine::{AuthorizedView, Commit, KeyTools, PartOptions, Provenance, QueryEngine, QueryOptions, TableStore};
//! # use futures::TryStreamExt;
//! # let dir = tempfile::tempdir()?;
//! # let masters = ["footer", "direct"].into_iter().fold(LocalMasterKeys::new(), |keys, name| {
//! #     keys.with(format!("cordon-{name}.v1"), &TableMasterKey::generate())
//! # });
//! # let rows = RecordBatch::try_from_iter([("age", Arc::new(Int64Array::from(vec![40, 50])) as _)])?;
//! let store = TableStore::open(dir.path(), KeyTools::new(Arc::new(masters)), SealKey::generate())?;
//!
//! // Parts are staged, then published together.
//! let staging = store.stage("patients", "run-1")?;
//! let mut part = staging.part(&rows.schema(), &PartOptions::default())?;
//! part.write(&rows)?;
//! let part = part.finish(vec![])?;
//! let commit = Commit {
//!     id: "run-1/patients".into(), base: None, schema: rows.schema(), add: vec![part],
//!     remove_parts: vec![], replace: false, provenance: Provenance::default(),
//! };
//! assert_eq!(store.commit("patients", &commit)?, 1);
//!
//! // A session sees the views that it is given. Plan, write the audit entry, then execute.
//! let engine = QueryEngine::new(QueryOptions::default(), store)?;
//! let session = engine.session(&[AuthorizedView::only("patients", ["age"])])?;
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let query = session.plan("SELECT avg(age) FROM patients WHERE age > 10").await?;
//! assert_eq!(query.touched()[0].columns, ["age"]);
//! let batches: Vec<RecordBatch> = query.execute()?.try_collect().await?;
//! assert_eq!(batches[0].num_rows(), 1);
//! # Ok::<(), cordon_engine::EngineError>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod barrier;
mod bounds;
pub mod cluster;
pub mod errors;
mod explain;
pub mod inputs;
pub mod keytools;
mod leakproof;
mod limits;
mod mask;
pub mod output;
mod output_control;
mod planned;
mod policy;
mod session;
mod spill;
mod sql;
pub mod tables;
mod view;
mod weight;

pub use bounds::STACK;
pub use cluster::{Job, JobStage, Piece, QueryCluster};
pub use errors::{EngineError, ExecutionProblem, Fault, PlanProblem, PlanProblemKind, QueryLimit};
pub use inputs::{InputKeys, ParquetInput};
pub use keytools::{CordonEncryptionFactory, EncryptionLayout, KEY_CLASS_METADATA, KeyTools, MasterKeyNames};
pub use limits::{QueryLimits, StillAllowed};
pub use output::{OutputFormat, write_result};
pub use output_control::{OutputControl, OutputRule, ReleaseMemory, SUBJECT_METADATA, Withheld};
pub use session::{
    AuthorizedSession, AuthorizedView, Described, QueryEngine, QueryOptions, QueryRun, QueryStream, Touched,
    VisibleColumns,
};
pub use tables::{
    AuditAnchor, Commit, ENTROPY_METADATA, Manifest, PartCompression, PartInfo, PartOptions, PartWriter, Provenance,
    SourceRef, Staging, TableStore, TableVersion,
};
