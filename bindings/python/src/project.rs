//! A project's keys, opened by a program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{RecordBatch, StringArray, UInt64Array};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use cordon_audit::{Digest, Event, Label};
use cordon_custody::{Custody, Place, Record};
use cordon_deid::kernel::Env;
use pyo3::prelude::*;
use pyo3_arrow::PyTable;
use pyo3_arrow::input::AnyRecordBatch;
use zeroize::Zeroizing;

use crate::apply::{Failed, Failures, Fitted};
use crate::errors::{CordonError, KeysError, PolicyError, of_custody};
use crate::recipe::Recipe;

#[pyclass(frozen, module = "cordon._cordon")]
pub(crate) struct Project {
    custody: Custody,
    record: Record,
    /// By recipient; opened when it is first needed.
    envs: Mutex<BTreeMap<Option<String>, Env>>,
}

/// Finds the project at a folder or above it, and opens its keys.
pub(crate) fn custody(start: &Path, passphrase: Option<String>) -> PyResult<Custody> {
    let place = Place::find(start).map_err(|error| of_custody(&error))?.ok_or_else(|| {
        KeysError::new_err(
            "there is no `cordon.yaml` in this folder or above\n  help: say where the project is: `project=…`",
        )
    })?;
    let passphrase = passphrase.map(Zeroizing::new);
    let ask = || passphrase.clone().ok_or_else(|| std::io::ErrorKind::NotFound.into());
    place.open(&ask).map_err(|error| of_custody(&error))
}

impl Project {
    /// Where it is, and which key ring it has.
    pub(crate) fn place(&self) -> (PathBuf, String) {
        (self.custody.root().to_path_buf(), self.custody.ring_id())
    }

    fn env(&self, recipient: Option<&str>) -> PyResult<Env> {
        let mut envs = self.envs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(env) = envs.get(&recipient.map(str::to_owned)) {
            return Ok(env.clone());
        }
        let env = self.custody.env(recipient).map_err(|error| of_custody(&error))?;
        envs.insert(recipient.map(str::to_owned), env.clone());
        Ok(env)
    }

    fn event(&self, recipe: &Recipe, dataset: &str, recipient: Option<&str>, by: &'static str) -> PyResult<Event> {
        let policy_hash: Digest =
            recipe.recipe.hash.parse().map_err(|_| CordonError::new_err("internal error in a policy's hash"))?;
        Ok(Event::RowsDeidentified {
            policy_hash,
            dataset: dataset.to_owned(),
            recipient: recipient.map(str::to_owned),
            by: Label::new(by),
            rows_read: None,
            rows_written: None,
            failed: None,
            key_ids: self.custody.key_ids(),
        })
    }

    fn put_on_record(&self, event: &Event) -> PyResult<()> {
        self.record.append(event).map(drop).map_err(|error| of_custody(&error))
    }
}

#[pymethods]
#[allow(clippy::needless_pass_by_value, reason = "what Python hands over is owned")]
impl Project {
    /// `passphrase` is for a project whose `keys.root` is `prompt`.
    #[new]
    #[pyo3(signature = (start, user, passphrase=None))]
    fn new(py: Python<'_>, start: PathBuf, user: &str, passphrase: Option<String>) -> PyResult<Self> {
        py.detach(|| {
            let custody = custody(&start, passphrase)?;
            let record = custody.record(user).map_err(|error| of_custody(&error))?;
            Ok(Self { custody, record, envs: Mutex::default() })
        })
    }

    #[getter]
    fn name(&self) -> &str {
        self.custody.name()
    }

    #[getter]
    fn root(&self) -> PathBuf {
        self.custody.root().to_path_buf()
    }

    /// The key ring's own name.
    #[getter]
    fn ring(&self) -> String {
        self.custody.ring_id()
    }

    /// The newest keys, by name and version.
    #[getter]
    fn key_ids(&self) -> Vec<String> {
        self.custody.key_ids()
    }

    /// De-identifies the rows of whatever gives them by the Arrow C stream interface. Gives a `pyarrow.Table` of the rows and one of
    /// those that a rule could not handle: `row`, `field`, `reason`.
    fn apply<'py>(
        &self,
        py: Python<'py>,
        recipe: &Recipe,
        dataset: &str,
        data: AnyRecordBatch,
        recipient: Option<&str>,
        threads: usize,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let table = recipe.table(dataset)?;
        let reader = data.into_reader()?;
        let env = self.env(recipient)?;
        let (schema, batches, failed) = py.detach(|| {
            let fitted = Fitted::new(table, &reader.schema(), Failures::Aside)?;
            let (mut batches, mut failed, mut read) = (Vec::new(), Vec::new(), 0u64);
            for batch in reader {
                let batch: RecordBatch = batch.map_err(|error| unread(&error))?;
                for made in fitted.apply(&batch, &env, read, Failures::Aside, threads)? {
                    failed.extend(made.failed);
                    batches.push(made.batch);
                }
                read += batch.num_rows() as u64;
            }
            let mut event = self.event(recipe, dataset, recipient, "python")?;
            if let Event::RowsDeidentified { rows_read, rows_written, failed: of_failed, .. } = &mut event {
                *rows_read = Some(read);
                *rows_written = Some(batches.iter().map(|batch| batch.num_rows() as u64).sum());
                *of_failed = Some(failed.len() as u64);
            }
            self.put_on_record(&event)?;
            Ok::<_, PyErr>((fitted.schema(), batches, failed))
        })?;
        let rows = PyTable::try_new(batches, schema)?;
        Ok((rows.into_pyarrow(py)?, table_of(&failed)?.into_pyarrow(py)?))
    }

    /// Puts on the record that a cluster is about to de-identify rows of a dataset.
    fn record_cluster(&self, py: Python<'_>, recipe: &Recipe, dataset: &str, recipient: Option<&str>) -> PyResult<()> {
        recipe.table(dataset)?;
        py.detach(|| {
            // Refused here rather than on an executor.
            if recipient.is_some() {
                self.env(recipient)?;
            }
            self.put_on_record(&self.event(recipe, dataset, recipient, "spark")?)
        })
    }
}

/// The source's own words may hold values.
fn unread(error: &ArrowError) -> PyErr {
    let what = match error {
        ArrowError::CDataInterface(_) => "the source of the rows gave an error",
        _ => "the rows cannot be read",
    };
    PolicyError::new_err(what)
}

fn table_of(failed: &[Failed]) -> PyResult<PyTable> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("row", DataType::UInt64, false),
        Field::new("field", DataType::Utf8, false),
        Field::new("reason", DataType::Utf8, false),
    ]));
    let rows: UInt64Array = failed.iter().map(|failed| Some(failed.row)).collect();
    let fields = StringArray::from_iter_values(failed.iter().map(|failed| &failed.field));
    let reasons = StringArray::from_iter_values(failed.iter().map(|failed| &failed.reason));
    RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(rows), Arc::new(fields), Arc::new(reasons)])
        .map_err(|_| CordonError::new_err("internal error in a table of failures"))
        .and_then(|batch| PyTable::try_new(vec![batch], schema))
}
