//! Rows in, de-identified rows out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::{Array as _, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, UInt64Array, new_null_array};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::take::take_record_batch;
use cordon_deid::kernel::{Env, KernelError};
use cordon_deid::policy::file::Action;
use cordon_deid::recipe::{BoundTable, TableRecipe};
use cordon_formats::{text_columns, text_names};
use pyo3::PyErr;

use crate::errors::{PolicyError, of_kernel};

/// Rows that are worked on at one time.
const ROWS: usize = 1 << 16;

/// The column that says why a row could not be handled, where such rows stay.
pub(crate) const FAILURE: &str = "cordon_failure";

/// A row that a rule could not handle.
pub(crate) struct Failed {
    pub row: u64,
    pub field: String,
    pub reason: String,
}

/// What came of some rows.
pub(crate) struct Made {
    pub batch: RecordBatch,
    pub failed: Vec<Failed>,
}

/// What becomes of rows that a rule cannot handle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failures {
    /// They are left out and named beside.
    Aside,
    /// They stay, with nothing in them but the reason, in a column of its own.
    Kept,
}

/// A recipe fitted to the columns of one table.
pub(crate) struct Fitted<'r> {
    bound: BoundTable<'r>,
    names: Vec<String>,
    schema: SchemaRef,
    /// Where each of `names` stands in what comes in; `None` for what was left behind because no rule reads it.
    places: Vec<Option<usize>>,
}

#[derive(Debug)]
pub(crate) enum Trouble {
    Policy(String),
    Kernel(KernelError),
}

impl From<Trouble> for PyErr {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Policy(what) => PolicyError::new_err(what),
            Trouble::Kernel(error) => of_kernel(&error),
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is what errors are mapped with")]
fn policy(error: impl std::fmt::Display) -> Trouble {
    Trouble::Policy(error.to_string())
}

impl<'r> Fitted<'r> {
    pub fn new(table: &'r TableRecipe, input: &Schema, failures: Failures) -> Result<Self, Trouble> {
        let names = text_names(input).map_err(policy)?;
        Self::without(table, names, input, failures)
    }

    /// To a table of which only the columns come in that a rule reads; `names` are those of all.
    pub fn without(
        table: &'r TableRecipe,
        names: Vec<String>,
        input: &Schema,
        failures: Failures,
    ) -> Result<Self, Trouble> {
        no_floats(table, input)?;
        let bound = table.bind(&names).map_err(policy)?;
        let there = text_names(input).map_err(policy)?;
        let places: Vec<Option<usize>> =
            names.iter().map(|name| there.iter().position(|there| there == name)).collect();
        if bound.needed.iter().any(|at| places.get(*at).copied().flatten().is_none()) {
            return Err(policy("a column that a rule reads was left behind"));
        }
        let schema = output(&bound.schema(), failures);
        Ok(Self { bound, names, schema, places })
    }

    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// De-identifies a batch in pieces. `first` is the number of its first row.
    pub fn apply(
        &self,
        batch: &RecordBatch,
        env: &Env,
        first: u64,
        failures: Failures,
        threads: usize,
    ) -> Result<Vec<Made>, Trouble> {
        let rows = batch.num_rows();
        let starts: Vec<usize> = (0..rows).step_by(ROWS).collect();
        let piece = |start: &usize| {
            let piece = batch.slice(*start, ROWS.min(rows - start));
            self.piece(&piece, env, first + *start as u64, failures)
        };
        if threads < 2 || starts.len() < 2 {
            return starts.iter().map(piece).collect();
        }
        let next = AtomicUsize::new(0);
        let work = || {
            let mut made = Vec::new();
            while let Some((at, start)) = {
                let at = next.fetch_add(1, Ordering::Relaxed);
                starts.get(at).map(|start| (at, start))
            } {
                made.push((at, piece(start)));
            }
            made
        };
        let mut all: Vec<(usize, Result<Made, Trouble>)> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads.min(starts.len())).map(|_| scope.spawn(work)).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
        });
        all.sort_by_key(|(at, _)| *at);
        // A worker that came to harm took pieces with it.
        if all.len() != starts.len() {
            return Err(Trouble::Kernel(KernelError::Shape));
        }
        all.into_iter().map(|(_, made)| made).collect()
    }

    fn piece(&self, batch: &RecordBatch, env: &Env, first: u64, failures: Failures) -> Result<Made, Trouble> {
        let shape = |_| Trouble::Kernel(KernelError::Shape);
        let rows = batch.num_rows();
        let is_needed = |place: usize| self.bound.needed.iter().any(|at| self.places.get(*at) == Some(&Some(place)));
        let text = text_columns(batch, is_needed).map_err(policy)?;
        let mut why: BTreeMap<usize, (String, String)> = BTreeMap::new();
        for (row, column) in text.unreadable.into_iter().rev() {
            let at = self.places.iter().position(|place| *place == Some(column));
            let field = at.and_then(|at| self.names.get(at)).cloned().unwrap_or_default();
            why.insert(row, (field, "a value outside its type's calendar".to_owned()));
        }
        // A value without a form as text would count as none.
        let read: Vec<usize> = (0..rows).filter(|row| !why.contains_key(row)).collect();
        let mut text = self.whole(text.batch)?;
        if !why.is_empty() {
            let places: UInt64Array = read.iter().map(|row| *row as u64).collect();
            text = take_record_batch(&text, &places).map_err(shape)?;
        }
        let applied = self.bound.apply(&text, env).map_err(Trouble::Kernel)?;
        for failure in applied.failures {
            let Some(row) = read.get(failure.row) else { continue };
            why.insert(*row, (failure.field, failure.reason.to_string()));
        }
        let batch = match failures {
            Failures::Aside => recast(&applied.batch, &self.schema, None),
            Failures::Kept => {
                let mut good = 0u64..;
                let places: UInt64Array =
                    (0..rows).map(|row| if why.contains_key(&row) { None } else { good.next() }).collect();
                let batch = take_record_batch(&applied.batch, &places).map_err(shape)?;
                let reason = |row| why.get(&row).map(|(field, reason)| format!("{field}: {reason}"));
                let reasons: StringArray = (0..rows).map(reason).collect();
                recast(&batch, &self.schema, Some(&(Arc::new(reasons) as ArrayRef)))
            }
        };
        let failed = why.into_iter().map(|(row, (field, reason))| Failed { row: first + row as u64, field, reason });
        Ok(Made { batch: batch.ok_or(Trouble::Kernel(KernelError::Shape))?, failed: failed.collect() })
    }
}

impl Fitted<'_> {
    /// With nothing in the columns that were left behind.
    fn whole(&self, text: RecordBatch) -> Result<RecordBatch, Trouble> {
        if self.places.iter().enumerate().all(|(at, place)| *place == Some(at)) {
            return Ok(text);
        }
        let nothing = new_null_array(&DataType::Utf8View, text.num_rows());
        let column =
            |place: &Option<usize>| place.and_then(|place| text.columns().get(place)).unwrap_or(&nothing).clone();
        let fields: Vec<Field> = self.names.iter().map(|name| Field::new(name, DataType::Utf8View, true)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(text.num_rows()));
        let columns = self.places.iter().map(column).collect();
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
            .map_err(|_| Trouble::Kernel(KernelError::Shape))
    }
}

/// A number with missing values becomes a float in pandas, and `12345.0` is another person than `12345`.
fn no_floats(table: &TableRecipe, input: &Schema) -> Result<(), Trouble> {
    for rule in &table.rules {
        let names = matches!(rule.action, Action::Token | Action::Hash | Action::Encrypt | Action::Surrogate)
            || table.subject.as_ref() == Some(&rule.input);
        let is_float = input.field_with_name(&rule.input).is_ok_and(|field| field.data_type().is_floating());
        if names && is_float {
            return Err(Trouble::Policy(format!(
                "the column `{}` holds floating-point numbers, and is told apart by its spelling: `12345.0` is not `12345`\n  \
                 help: read it as text, or as whole numbers that may be missing (pandas: `Int64`)",
                rule.input
            )));
        }
    }
    Ok(())
}

/// Types that all who read Arrow know.
pub(crate) fn portable(schema: &Schema) -> Schema {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| match field.data_type() {
            DataType::Utf8View => field.as_ref().clone().with_data_type(DataType::Utf8),
            DataType::BinaryView => field.as_ref().clone().with_data_type(DataType::Binary),
            _ => field.as_ref().clone(),
        })
        .collect();
    Schema::new(fields)
}

fn output(schema: &Schema, failures: Failures) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = portable(schema).fields().iter().cloned().collect();
    if failures == Failures::Kept {
        fields.push(Arc::new(Field::new(FAILURE, DataType::Utf8, true)));
    }
    Arc::new(Schema::new(fields))
}

fn recast(batch: &RecordBatch, schema: &SchemaRef, more: Option<&ArrayRef>) -> Option<RecordBatch> {
    let columns: Option<Vec<ArrayRef>> = batch
        .columns()
        .iter()
        .chain(more)
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Some(Arc::clone(column));
            }
            cast(column, field.data_type()).ok()
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns?, &options).ok()
}
