//! What is to be done elsewhere: what was asked, as whom, and which stage of its plan is meant.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use cordon_access::Mask;
use cordon_crypto::SealKeys;
use data_encoding::BASE64;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::cut::Partitions;
use super::exchange::Seal;
use crate::errors::{EngineError, ExecutionProblem, Fault};
use crate::session::{AuthorizedView, VisibleColumns};

const SUB_KEY: &str = "cordon/query-stage/v1";
const LABEL: &[u8] = b"cordon order of a query v1";
const FAILURE: &[u8] = b"cordon failure of a query v1";

/// One stage of one query.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// Of the program.
    version: String,
    pub(crate) query: String,
    /// Of the query's pieces.
    key: String,
    pub(crate) asked: Asked,
    /// Of the whole plan: who plans another one carries out nothing.
    pub(crate) plan: String,
    /// In seconds from 1970; after it nobody waits for what it would come to.
    until: i64,
    pub(crate) place: usize,
    pub(crate) stage: usize,
}

/// A question, and all that its plan depends on.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    pub(crate) sql: String,
    /// As a batch of one row in Arrow's stream format.
    parameters: Option<String>,
    views: Vec<View>,
    /// Of the tables: the number, and what tells its parts from others'.
    pub(crate) versions: BTreeMap<String, (u64, String)>,
    /// What `now()` is, in nanoseconds from 1970.
    pub(crate) time: i64,
    pub(crate) partitions: Partitions,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct View {
    table: String,
    /// None: all.
    columns: Option<BTreeSet<String>>,
    row_filter: Option<String>,
    masks: BTreeMap<String, Mask>,
}

impl Asked {
    pub(crate) fn new(
        sql: &str,
        parameters: &[ArrayRef],
        views: &[&AuthorizedView],
        versions: BTreeMap<String, (u64, String)>,
        time: i64,
        partitions: Partitions,
    ) -> Result<Self, EngineError> {
        let view = |view: &&AuthorizedView| View {
            table: view.table.clone(),
            columns: match &view.columns {
                VisibleColumns::All => None,
                VisibleColumns::Only(only) => Some(only.clone()),
            },
            row_filter: view.row_filter.clone(),
            masks: view.masks.clone(),
        };
        let parameters = if parameters.is_empty() { None } else { Some(told(parameters)?) };
        let views = views.iter().map(view).collect();
        Ok(Self { sql: sql.to_owned(), parameters, views, versions, time, partitions })
    }

    pub(crate) fn parameters(&self) -> Result<Vec<ArrayRef>, EngineError> {
        let Some(told) = &self.parameters else { return Ok(Vec::new()) };
        let wrong = |_| EngineError::Internal("parameters in an order");
        let bytes = BASE64.decode(told.as_bytes()).map_err(|_| EngineError::Internal("parameters in an order"))?;
        let mut reader = StreamReader::try_new(bytes.as_slice(), None).map_err(wrong)?;
        let batch = reader.next().transpose().map_err(wrong)?;
        Ok(batch.map_or_else(Vec::new, |batch| batch.columns().to_vec()))
    }

    pub(crate) fn views(&self) -> Vec<AuthorizedView> {
        let view = |view: &View| AuthorizedView {
            columns: view.columns.clone().map_or(VisibleColumns::All, VisibleColumns::Only),
            row_filter: view.row_filter.clone(),
            masks: view.masks.clone(),
            ..AuthorizedView::all(&view.table)
        };
        self.views.iter().map(view).collect()
    }
}

fn told(parameters: &[ArrayRef]) -> Result<String, EngineError> {
    let columns = parameters.iter().enumerate().map(|(at, array)| (format!("p{at}"), array.clone(), true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns);
    let write = |batch: RecordBatch| {
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
        writer.write(&batch)?;
        writer.into_inner()
    };
    batch.and_then(write).map(|bytes| BASE64.encode(&bytes)).map_err(|error| EngineError::arrow(&error))
}

impl Order {
    /// For the first stage of the first place; others differ in these numbers only.
    pub(crate) fn new(asked: Asked, plan: String, lasts: Duration) -> Result<Self, EngineError> {
        let until = chrono::Utc::now().timestamp().saturating_add_unsigned(lasts.as_secs());
        let mut random = Zeroizing::new([0; 48]);
        cordon_crypto::random_bytes(random.as_mut_slice()).map_err(|_| EngineError::Randomness)?;
        let (query, key) = random.split_at(16);
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            query: data_encoding::HEXLOWER.encode(query),
            key: BASE64.encode(key),
            asked,
            plan,
            until,
            place: 0,
            stage: 0,
        })
    }

    /// The same for another stage of the query.
    pub(crate) fn at(&self, place: usize, stage: usize) -> Self {
        let mut other = self.clone();
        (other.place, other.stage) = (place, stage);
        other
    }

    pub(crate) fn seal(&self, keys: &SealKeys) -> Result<Vec<u8>, EngineError> {
        let text = serde_json::to_vec(self).map(Zeroizing::new).map_err(|_| EngineError::Internal("an order"))?;
        keys.seal(SUB_KEY, LABEL, &text).map_err(|error| EngineError::key(&error, "seal"))
    }

    pub(crate) fn open(keys: &SealKeys, sealed: &[u8]) -> Result<Self, EngineError> {
        let other = |text: &str| EngineError::Elsewhere { fault: Fault::Usage, text: text.to_owned() };
        let text = keys.open(SUB_KEY, LABEL, sealed).map(Zeroizing::new).map_err(|_| {
            other(
                "an order does not open under the key of the project that this executor has\n  help: executors need the project's folder as \
                 it is on the machine that asks; `CORDON_PROJECT` says where",
            )
        })?;
        match serde_json::from_slice::<Self>(&text) {
            Ok(order) if order.version == env!("CARGO_PKG_VERSION") => {
                if chrono::Utc::now().timestamp() <= order.until {
                    return Ok(order);
                }
                Err(other("an order of a query came too late\n  help: see that the clocks of executors are right"))
            }
            _ => Err(other("an order is of another version of Cordon\n  help: give executors the program that asks")),
        }
    }

    pub(crate) fn pieces(&self) -> Result<Seal, EngineError> {
        let key = BASE64.decode(self.key.as_bytes()).ok().map(Zeroizing::new);
        let key: Option<&[u8; 32]> = key.as_ref().and_then(|key| key.as_slice().try_into().ok());
        key.map(|key| Seal::new(key, &self.query)).ok_or(EngineError::Internal("the key in an order"))
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// What tells one plan from another.
pub(crate) fn fingerprint(plan: &dyn ExecutionPlan) -> String {
    let mut text = String::new();
    let _ = write!(text, "{}", displayable(plan).set_show_schema(true).indent(false));
    data_encoding::HEXLOWER.encode(&Sha256::digest(text.as_bytes()))
}

/// How a task failed, on its way back.
#[derive(Serialize, Deserialize)]
enum Failure {
    Execution(ExecutionProblem),
    Other { fault: Fault, text: String },
}

pub(crate) fn sealed_failure(seal: &Seal, error: &EngineError) -> Result<Vec<u8>, EngineError> {
    let failure = match error {
        EngineError::Execution(problem) => Failure::Execution(*problem),
        other => Failure::Other { fault: other.fault(), text: other.to_string() },
    };
    let text = serde_json::to_vec(&failure).map_err(|_| EngineError::Internal("a failure"))?;
    seal.seal_as(FAILURE, &text)
}

pub(crate) fn failure(seal: &Seal, sealed: &[u8]) -> EngineError {
    let strange = || EngineError::Internal("a failure came that is not of this query");
    let Ok(text) = seal.open_as(FAILURE, sealed) else { return strange() };
    match serde_json::from_slice(&text) {
        Ok(Failure::Execution(problem)) => EngineError::Execution(problem),
        Ok(Failure::Other { fault, text }) => EngineError::Elsewhere { fault, text: format!("on an executor: {text}") },
        Err(_) => strange(),
    }
}
