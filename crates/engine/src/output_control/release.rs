//! From who contributes what to the groups that may leave.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::compute::cast;
use arrow::row::{OwnedRow, RowConverter, SortField};
use arrow_array::{
    Array, ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringViewArray, UInt64Array,
    new_null_array,
};
use arrow_schema::{DataType, SchemaRef};
use cordon_crypto::KeyedHash;
use cordon_risk::{Cell, Entry, Kind, Moments, Partition, Quantity, Shown, Table, round_to};
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;

use super::shape::{Asked, Release, nullable};
use super::{Outcome, OutputControl, Withheld, refused};
use crate::errors::{EngineError, ExecutionProblem};

/// Groups and subjects that are held in memory while a release is decided on.
const MAX_ENTRIES: usize = 8 << 20;
const TOO_LARGE: &str =
    "too many groups over a table of which only aggregates leave: group by fewer columns or in fewer ways";

/// The released groups as a leaf of the plan: what stands above the aggregate is run over them.
pub(crate) fn leaf(
    release: Release,
    plan: Arc<dyn ExecutionPlan>,
    outcome: Outcome,
) -> Result<LogicalPlan, EngineError> {
    let schema: SchemaRef = Arc::new(nullable(&release.schema));
    let names: Vec<Expr> = schema
        .fields()
        .iter()
        .zip(release.schema.iter())
        .map(|(ours, (relation, theirs))| col(ours.name()).alias_qualified(relation.cloned(), theirs.name()))
        .collect();
    let partition = Arc::new(Released { schema: Arc::clone(&schema), plan, release: Arc::new(release), outcome });
    let build = || {
        let table: Arc<dyn TableProvider> = Arc::new(StreamingTable::try_new(schema, vec![partition])?);
        let name = TableReference::bare("__cordon_released");
        LogicalPlanBuilder::scan(name, provider_as_source(table), None)?.project(names)?.build()
    };
    build().map_err(|error: DataFusionError| EngineError::execution(&error))
}

struct Released {
    schema: SchemaRef,
    plan: Arc<dyn ExecutionPlan>,
    release: Arc<Release>,
    outcome: Outcome,
}

impl fmt::Debug for Released {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Released")
    }
}

impl PartitionStream for Released {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (plan, release, schema, outcome) =
            (Arc::clone(&self.plan), Arc::clone(&self.release), Arc::clone(&self.schema), Arc::clone(&self.outcome));
        let batch = async move {
            let mut gathered = Gathered::new(&release, &plan.schema())?;
            let mut rows = execute_stream(plan, context).map_err(|error| EngineError::execution(&error))?;
            while let Some(batch) = rows.next().await {
                gathered.take(&batch.map_err(|error| EngineError::execution(&error))?)?;
            }
            drop(rows);
            let decide = move || decide(&release, gathered, &schema, &outcome);
            tokio::task::spawn_blocking(decide).await.map_err(|_| EngineError::Internal("output control"))?
        };
        let stream = futures::stream::once(async move { batch.await.map_err(EngineError::into_datafusion) });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream))
    }
}

/// The distinct values of one column of the grouping.
struct Values {
    converter: RowConverter,
    numbers: HashMap<OwnedRow, u32>,
}

/// Who contributes what, by group.
struct Gathered {
    columns: Vec<Values>,
    groups: HashMap<Vec<u32>, Vec<Entry>>,
    entries: usize,
    hash: KeyedHash,
    measures: usize,
}

impl Gathered {
    fn new(release: &Release, schema: &SchemaRef) -> Result<Self, EngineError> {
        let types = schema.fields().iter().take(release.groups).map(|field| field.data_type().clone());
        let columns = types
            .map(|data_type| {
                let converter =
                    RowConverter::new(vec![SortField::new(data_type)]).map_err(|error| EngineError::arrow(&error))?;
                Ok(Values { converter, numbers: HashMap::new() })
            })
            .collect::<Result<_, EngineError>>()?;
        let hash = release.control.subjects.clone();
        Ok(Self { columns, groups: HashMap::new(), entries: 0, hash, measures: release.measures.len() })
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<(), EngineError> {
        self.entries += batch.num_rows();
        if self.entries > MAX_ENTRIES {
            return Err(EngineError::Execution(ExecutionProblem::Memory));
        }
        let width = self.columns.len();
        let mut numbered: Vec<Vec<u32>> = Vec::new();
        for (values, array) in self.columns.iter_mut().zip(batch.columns()) {
            numbered.push(values.number(array)?);
        }
        let subjects = as_type(batch, width, &DataType::Utf8View)?;
        let subjects = subjects.as_any().downcast_ref::<StringViewArray>().ok_or(EngineError::Internal("subject"))?;
        let counts = |at: usize| -> Result<Int64Array, EngineError> {
            let array = as_type(batch, at, &DataType::Int64)?;
            array.as_any().downcast_ref::<Int64Array>().cloned().ok_or(EngineError::Internal("count"))
        };
        let numbers = |at: usize| -> Result<Float64Array, EngineError> {
            let array = as_type(batch, at, &DataType::Float64)?;
            array.as_any().downcast_ref::<Float64Array>().cloned().ok_or(EngineError::Internal("sum"))
        };
        let rows = counts(width + 1)?;
        let moments = (0..self.measures)
            .map(|measure| {
                let at = width + 2 + 3 * measure;
                Ok((counts(at)?, numbers(at + 1)?, numbers(at + 2)?))
            })
            .collect::<Result<Vec<_>, EngineError>>()?;
        let number = |array: &Float64Array, row: usize| if array.is_valid(row) { array.value(row) } else { 0.0 };
        for row in 0..batch.num_rows() {
            let key: Vec<u32> = numbered.iter().filter_map(|column| column.get(row).copied()).collect();
            // Rows of nobody that is known are taken to be one person's: that can only withhold more.
            let subject = if subjects.is_valid(row) {
                first_bytes(self.hash.tag(subjects.value(row).as_bytes()))
            } else {
                first_bytes(self.hash.derive("nobody").tag(b""))
            };
            let of = |(count, sum, squares): &(Int64Array, Float64Array, Float64Array)| Moments {
                count: count.value(row) as u64,
                sum: number(sum, row),
                squares: number(squares, row),
            };
            let entry = Entry { subject, rows: rows.value(row) as u64, moments: moments.iter().map(of).collect() };
            self.groups.entry(key).or_default().push(entry);
        }
        Ok(())
    }
}

impl Values {
    fn number(&mut self, array: &ArrayRef) -> Result<Vec<u32>, EngineError> {
        let rows = self.converter.convert_columns(&[Arc::clone(array)]).map_err(|error| EngineError::arrow(&error))?;
        let next = &mut self.numbers;
        Ok(rows
            .iter()
            .map(|row| {
                let free = next.len() as u32;
                *next.entry(row.owned()).or_insert(free)
            })
            .collect())
    }

    /// The values in their order, and for each number as it was given its place there.
    fn ordered(&self) -> (Vec<&OwnedRow>, Vec<u32>) {
        let mut values: Vec<(&OwnedRow, u32)> = self.numbers.iter().map(|(value, number)| (value, *number)).collect();
        values.sort_unstable();
        let mut places = vec![0; values.len()];
        for (place, (_, number)) in (0..).zip(&values) {
            if let Some(slot) = places.get_mut(*number as usize) {
                *slot = place;
            }
        }
        (values.into_iter().map(|(value, _)| value).collect(), places)
    }
}

fn as_type(batch: &RecordBatch, at: usize, data_type: &DataType) -> Result<ArrayRef, EngineError> {
    let array = batch.columns().get(at).ok_or(EngineError::Internal("columns by subject"))?;
    cast(array, data_type).map_err(|error| EngineError::arrow(&error))
}

fn first_bytes(tag: [u8; 32]) -> u64 {
    tag.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Decides, remembers, and only then gives out.
fn decide(
    release: &Release,
    gathered: Gathered,
    schema: &SchemaRef,
    outcome: &Outcome,
) -> Result<RecordBatch, EngineError> {
    let Gathered { columns, groups, hash, .. } = gathered;
    let (values, places): (Vec<_>, Vec<_>) = columns.iter().map(Values::ordered).unzip();
    // By the order of the values and not of their coming, so that the same question has the same answer.
    let mut finest: Vec<(Vec<u32>, Cell)> = groups
        .into_iter()
        .map(|(key, entries)| {
            let place = |(number, places): (&u32, &Vec<u32>)| places.get(*number as usize).copied().unwrap_or(u32::MAX);
            (key.iter().zip(&places).map(place).collect(), Cell::new(entries))
        })
        .collect();
    finest.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let shown = quantities(release);
    let mut table = Table::new(&finest, &release.sets).ok_or_else(|| refused(TOO_LARGE))?;
    table.protect(&release.control.rules, &shown).map_err(|_| refused(TOO_LARGE))?;
    let released: Vec<Shown<'_>> = table.released().collect();
    remember(release, &released, &shown, &hash)?;
    let (sensitive, complements) = table.withheld();
    let _ = outcome.set(Withheld { released: released.len(), sensitive, complements });
    batch(release, &released, &columns, &values, schema)
}

/// What the answer tells of each group; where no number is asked for, that its subjects are there.
fn quantities(release: &Release) -> Vec<Quantity> {
    let mut shown = Vec::new();
    for asked in &release.asked {
        match *asked {
            Asked::GroupingId => {}
            Asked::Rows => shown.push(Quantity::Rows),
            Asked::Subjects => shown.push(Quantity::Subjects),
            Asked::Count(of) => shown.push(Quantity::Count(of)),
            Asked::Sum(of) | Asked::Mean(of) => shown.extend([Quantity::Count(of), Quantity::Sum(of)]),
            Asked::Variance { of, .. } => shown.extend([Quantity::Count(of), Quantity::Sum(of), Quantity::Squares(of)]),
        }
    }
    if shown.is_empty() {
        shown.push(Quantity::Subjects);
    }
    shown.sort_unstable();
    shown.dedup();
    shown
}

fn remember(
    release: &Release,
    released: &[Shown<'_>],
    shown: &[Quantity],
    hash: &KeyedHash,
) -> Result<(), EngineError> {
    let column = |of: usize, what: &str| {
        let (table, name) = release.measures.get(of).map_or(("", ""), |(table, name)| (table.as_str(), name.as_str()));
        first_bytes(hash.derive("columns").tag_parts(&[table.as_bytes(), name.as_bytes(), what.as_bytes()]))
    };
    let mut partitions = Vec::new();
    for set in 0..release.sets.len() {
        for quantity in shown {
            let kind = match *quantity {
                Quantity::Rows | Quantity::Subjects | Quantity::Count(_) => Kind::Counts,
                Quantity::Sum(of) => Kind::Values(column(of, "sum")),
                Quantity::Squares(of) => Kind::Values(column(of, "squares")),
            };
            let cells = released.iter().filter(|shown| shown.set == set);
            let cells = cells.map(|shown| shown.cell.contributions(*quantity)).collect();
            partitions.push(Partition { kind, set, cells });
        }
    }
    if released.is_empty() {
        return Ok(());
    }
    release.control.memory.admit(partitions, release.control.rules.smallest())
}

fn batch(
    release: &Release,
    released: &[Shown<'_>],
    columns: &[Values],
    values: &[Vec<&OwnedRow>],
    schema: &SchemaRef,
) -> Result<RecordBatch, EngineError> {
    let arrow = |error| EngineError::arrow(&error);
    // The one row of a query over all rows is there whatever may be told in it.
    let rows = if release.is_total { 1 } else { released.len() };
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (at, (column, values)) in columns.iter().zip(values).enumerate() {
        let data_type = schema.fields().get(at).map_or(DataType::Null, |field| field.data_type().clone());
        let nothing = column.converter.convert_columns(&[new_null_array(&data_type, 1)]).map_err(arrow)?;
        let keys = released.iter().map(|shown| {
            let number = shown.key.get(at).copied().flatten();
            number.and_then(|number| values.get(number as usize)).map_or_else(|| nothing.row(0), |value| value.row())
        });
        let made = column.converter.convert_rows(keys).map_err(arrow)?;
        arrays.extend(made);
    }
    let asked = schema.fields().iter().skip(columns.len());
    for (asked, field) in release.asked.iter().zip(asked) {
        let array: ArrayRef = if matches!(asked, Asked::GroupingId) {
            Arc::new(released.iter().map(|shown| Some(grouping_id(shown.key))).collect::<UInt64Array>())
        } else {
            let value = |row: usize| released.get(row).and_then(|shown| number(*asked, shown.cell, &release.control));
            Arc::new((0..rows).map(value).collect::<Float64Array>())
        };
        arrays.push(cast(&array, field.data_type()).map_err(arrow)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options).map_err(arrow)
}

/// A bit for each column, the first the highest: set where the column is summed over.
fn grouping_id(key: &[Option<u32>]) -> u64 {
    key.iter().fold(0, |id, value| id << 1 | u64::from(value.is_none()))
}

/// What is told of a released cell. Under rounding an average stays and the sum follows from it and from the rounded count, so that one divided
/// by the other gives nothing more exact.
fn number(asked: Asked, cell: &Cell, control: &OutputControl) -> Option<f64> {
    let total = |quantity: Quantity| cell.total(quantity);
    let rounded = |count: f64| control.rounding.map_or(count, |base| round_to(count, base));
    let mean = |of: usize| {
        let count = total(Quantity::Count(of));
        (count > 0.0).then(|| total(Quantity::Sum(of)) / count)
    };
    match asked {
        Asked::Rows => Some(rounded(total(Quantity::Rows))),
        Asked::Subjects => Some(rounded(total(Quantity::Subjects))),
        Asked::Count(of) => Some(rounded(total(Quantity::Count(of)))),
        Asked::Sum(of) if control.rounding.is_none() => mean(of).map(|_| total(Quantity::Sum(of))),
        Asked::Sum(of) => mean(of).map(|mean| mean * rounded(total(Quantity::Count(of)))),
        Asked::Mean(of) => mean(of),
        Asked::Variance { of, sample, root } => {
            let (count, sum) = (total(Quantity::Count(of)), total(Quantity::Sum(of)));
            let freedom = if sample { count - 1.0 } else { count };
            if freedom <= 0.0 {
                return None;
            }
            let variance = ((total(Quantity::Squares(of)) - sum * sum / count) / freedom).max(0.0);
            Some(if root { variance.sqrt() } else { variance })
        }
        Asked::GroupingId => None,
    }
}
