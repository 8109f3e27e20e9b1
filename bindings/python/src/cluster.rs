//! The same on an executor of a cluster: a handle says what is to be done and where the keys are, and holds none of them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use arrow_array::RecordBatch;
use cordon_deid::kernel::Env;
use cordon_deid::recipe;
use pyo3::prelude::*;
use pyo3::types::PyIterator;
use pyo3_arrow::PyRecordBatch;
use serde::{Deserialize, Serialize};

use crate::apply::{Failures, Fitted};
use crate::errors::{DataError, KeysError, PolicyError, of_custody};
use crate::project::custody;
use crate::recipe::{Recipe, Written, table};

/// Where an executor finds the project, when that is not where the driver has it.
const PROJECT: &str = "CORDON_PROJECT";

/// What goes to executors, in plans and event logs: nothing secret.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Handle {
    written: Written,
    /// Of the policy's text: a plan that was changed on its way is not followed.
    hash: String,
    dataset: String,
    /// The columns of the table, of which only those travel that a rule reads.
    columns: Vec<String>,
    recipient: Option<String>,
    project: PathBuf,
    /// The key ring that the driver has.
    ring: String,
    keep_failures: bool,
}

/// All that executors need to know, and no key.
pub(crate) fn handle(
    of: &Recipe,
    dataset: &str,
    columns: Vec<String>,
    (project, ring): (PathBuf, String),
    recipient: Option<String>,
    keep_failures: bool,
) -> PyResult<Vec<u8>> {
    of.table(dataset)?;
    let (written, hash, dataset) = (of.written.clone(), of.recipe.hash.clone(), dataset.to_owned());
    let handle = Handle { written, hash, dataset, columns, recipient, project, ring, keep_failures };
    serde_json::to_vec(&handle).map_err(|_| PolicyError::new_err("the policy cannot be handed on"))
}

/// What a process has opened, by project, ring and recipient. Its workers do one task after the other.
static OPENED: LazyLock<Mutex<HashMap<Opened, Env>>> = LazyLock::new(Mutex::default);

type Opened = (PathBuf, String, Option<String>);

struct Work {
    recipe: recipe::Recipe,
    dataset: String,
    columns: Vec<String>,
    env: Env,
    failures: Failures,
}

fn open(handle: &[u8]) -> PyResult<Work> {
    let handle: Handle = serde_json::from_slice(handle)
        .map_err(|_| PolicyError::new_err("the handle is of another version of Cordon"))?;
    let recipe = handle.written.compile()?;
    if recipe.hash != handle.hash {
        return Err(PolicyError::new_err("the policy was changed on its way"));
    }
    let project = std::env::var_os(PROJECT).map_or(handle.project, PathBuf::from);
    let key = (project, handle.ring, handle.recipient);
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let env = if let Some(env) = opened.get(&key) {
        env.clone()
    } else {
        let custody = custody(&key.0, None)?;
        if custody.ring_id() != key.1 {
            return Err(KeysError::new_err(
                "the project that this executor has is under another key ring than the driver's\n  help: give executors the same \
                 project folder, or say where it is by the environment variable `CORDON_PROJECT`",
            ));
        }
        let env = custody.env(key.2.as_deref()).map_err(|error| of_custody(&error))?;
        opened.insert(key, env.clone());
        env
    };
    let failures = if handle.keep_failures { Failures::Kept } else { Failures::Aside };
    Ok(Work { recipe, dataset: handle.dataset, columns: handle.columns, env, failures })
}

/// De-identifies one batch after the other, for `mapInArrow`.
#[pyfunction]
pub(crate) fn apply_to_batches(handle: &[u8], batches: &Bound<'_, PyAny>) -> PyResult<Batches> {
    let work = batches.py().detach(|| open(handle))?;
    Ok(Batches { work: Arc::new(work), batches: batches.try_iter()?.unbind() })
}

#[pyclass(frozen, module = "cordon._cordon")]
pub(crate) struct Batches {
    work: Arc<Work>,
    batches: Py<PyIterator>,
}

#[pymethods]
impl Batches {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(batch) = self.batches.bind(py).clone().next() else { return Ok(None) };
        let batch = batch?.extract::<PyRecordBatch>()?.into_inner();
        PyRecordBatch::new(py.detach(|| self.work.apply(&batch))?).into_pyarrow(py).map(Some)
    }
}

impl Work {
    fn apply(&self, batch: &RecordBatch) -> PyResult<RecordBatch> {
        let rules = table(&self.recipe, &self.dataset)?;
        let fitted = Fitted::without(rules, self.columns.clone(), &batch.schema(), self.failures)?;
        let made = fitted.apply(batch, &self.env, 0, self.failures, 1)?;
        if self.failures == Failures::Aside
            && let Some(failed) = made.iter().flat_map(|made| &made.failed).next()
        {
            return Err(DataError::new_err(format!(
                "a rule could not handle a row: `{}`: {}\n  help: `failures=\"keep\"` keeps such rows, empty but for the reason",
                failed.field, failed.reason
            )));
        }
        let batches: Vec<RecordBatch> = made.into_iter().map(|made| made.batch).collect();
        arrow_select::concat::concat_batches(&fitted.schema(), &batches)
            .map_err(|_| PolicyError::new_err("internal error in a batch"))
    }
}
