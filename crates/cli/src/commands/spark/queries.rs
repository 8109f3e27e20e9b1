//! Queries on Apache Spark: stages are jobs of it, and what one stage sends to the next goes through its shuffle, sealed.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, BinaryArray, Int32Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use cordon_engine::{EngineError, Fault, Job, Piece, QueryCluster};
use cordon_pipeline::error::ExitKind;
use cordon_spark::{Argument, Flow, PythonFunction, SparkError, Told, partition_keys};

use super::{Opened, Spark, Trouble};

/// A piece: by which integer Spark finds its partition, for which task and as what it is, and the sealed rows. Below 0 stand failures.
const PIECES: &str = r#"{"type":"struct","fields":[{"name":"key","type":"integer","nullable":false,"metadata":{}},{"name":"task","type":"integer","nullable":false,"metadata":{}},{"name":"side","type":"integer","nullable":false,"metadata":{}},{"name":"piece","type":"binary","nullable":true,"metadata":{}}]}"#;
/// What a task came to instead, sealed.
const FAILED: i32 = -1;
/// Its program did not even come to that: an exit code as the task, and a text.
const TROUBLE: i32 = -2;

/// Carries out queries of a project's tables.
pub struct Queries {
    spark: Spark,
    /// How many tasks are done, and of how many.
    progress: Box<dyn Fn(u64, u64) + Send + Sync>,
}

impl Queries {
    pub fn new(spark: Spark, progress: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        Self { spark, progress: Box::new(progress) }
    }

    /// Ends what is still done there.
    pub fn close(&self) {
        self.spark.close();
    }

    fn flow<'a>(
        job: &Job,
        functions: &'a [PythonFunction<'a>],
        tasks: &'a [RecordBatch],
        number: usize,
    ) -> Option<Flow<'a>> {
        let stage = job.stages.get(number)?;
        let input = if stage.inputs.is_empty() {
            Flow::Rows(tasks.get(number)?)
        } else {
            let of = stage.inputs.iter().map(|input| Self::flow(job, functions, tasks, *input));
            Flow::Parted { of: of.collect::<Option<_>>()?, by: "key", partitions: stage.tasks }
        };
        Some(Flow::Mapped(Box::new(input), functions.get(number)?))
    }

    fn run(
        &self,
        opened: &Opened,
        job: &Job,
        goes_on: &(dyn Fn() -> bool + Sync),
        came: &mut dyn FnMut(Piece) -> Result<(), EngineError>,
    ) -> Result<Result<(), EngineError>, SparkError> {
        let python = opened.python();
        let strange = || EngineError::Internal("a stage of a query on a cluster");
        // Where each stage's pieces go, as integers that Spark puts there.
        let keys: Vec<Vec<u8>> = (0..job.stages.len())
            .map(|number| {
                let takes = job.stages.iter().find(|stage| stage.inputs.contains(&number));
                let keys = takes.map(|stage| partition_keys(stage.tasks)).unwrap_or_default();
                keys.iter().flat_map(|key| key.to_le_bytes()).collect()
            })
            .collect();
        let arguments: Vec<[Argument<'_>; 5]> = job
            .stages
            .iter()
            .zip(&keys)
            .map(|(stage, keys)| {
                [
                    Argument::Text(&opened.name),
                    Argument::Text(&opened.digest),
                    Argument::Text(&self.spark.project),
                    Argument::Bytes(&stage.order),
                    Argument::Bytes(keys),
                ]
            })
            .collect();
        let functions: Vec<PythonFunction<'_>> =
            arguments.iter().map(|arguments| super::function("stage", arguments, PIECES, &python)).collect();
        let tasks = job.stages.iter().map(|stage| of_tasks(if stage.inputs.is_empty() { stage.tasks } else { 0 }));
        let Some(tasks) = tasks.collect::<Option<Vec<RecordBatch>>>() else { return Ok(Err(strange())) };
        let Some(flow) = Self::flow(job, &functions, &tasks, job.stages.len().saturating_sub(1)) else {
            return Ok(Err(strange()));
        };
        let mut outcome = Ok(());
        opened.session.execute(&flow, goes_on, &mut |told| {
            match told {
                Told::Tasks { done, all, .. } => (self.progress)(done, all),
                Told::Batch(batch) => outcome = pieces(&batch, came),
            }
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(outcome)
    }
}

impl QueryCluster for Queries {
    fn carry_out(
        &self,
        job: &Job,
        goes_on: &(dyn Fn() -> bool + Sync),
        came: &mut dyn FnMut(Piece) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let have_come = Cell::new(false);
        let mut came = |piece| {
            have_come.set(true);
            came(piece)
        };
        let mut is_fresh = false;
        loop {
            let known = self.spark.is_open();
            let Some(opened) = self.spark.open(goes_on).map_err(elsewhere)? else { return Ok(()) };
            is_fresh |= !known;
            let python = opened.python();
            let error = match self.run(&opened, job, goes_on, &mut came) {
                Ok(outcome) => return outcome,
                Err(_) if !goes_on() => return Ok(()),
                Err(error) => error,
            };
            // Until executors have the right Python no piece comes.
            if opened.has_learned(&error, &python).map_err(elsewhere)? {
                continue;
            }
            if is_over(&error) {
                self.spark.forget(&opened);
                // A session that was not used for long, or whose server was started anew.
                if !is_fresh && !have_come.get() {
                    continue;
                }
            }
            return Err(elsewhere(self.spark.trouble(&error)));
        }
    }
}

/// Whether a session is not to be used any more.
fn is_over(error: &SparkError) -> bool {
    match error {
        SparkError::Failed { what, .. } => what.contains("SESSION") || what.contains("INVALID_HANDLE"),
        _ => true,
    }
}

fn elsewhere(Trouble { exit, text }: Trouble) -> EngineError {
    let fault = match exit {
        ExitKind::Usage => Fault::Usage,
        ExitKind::Denied => Fault::Denied,
        ExitKind::Keys => Fault::Keys,
        ExitKind::Storage => Fault::Storage,
        ExitKind::Integrity => Fault::Integrity,
        _ => Fault::Failure,
    };
    EngineError::Elsewhere { fault, text }
}

/// A row for each task, and nothing in it but its number.
fn of_tasks(tasks: u32) -> Option<RecordBatch> {
    let tasks = i32::try_from(tasks).ok()?;
    let field = |name: &str, data_type, nullable| Field::new(name, data_type, nullable);
    let schema = Schema::new(vec![
        field("key", DataType::Int32, false),
        field("task", DataType::Int32, false),
        field("side", DataType::Int32, false),
        field("piece", DataType::Binary, true),
    ]);
    let zeros: ArrayRef = Arc::new(Int32Array::from_iter_values((0..tasks).map(|_| 0)));
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..tasks));
    let none: ArrayRef = Arc::new(BinaryArray::new_null(usize::try_from(tasks).ok()?));
    RecordBatch::try_new(Arc::new(schema), vec![Arc::clone(&zeros), numbers, zeros, none]).ok()
}

/// Hands on the pieces of a batch.
fn pieces(batch: &RecordBatch, came: &mut dyn FnMut(Piece) -> Result<(), EngineError>) -> Result<(), EngineError> {
    let strange = || EngineError::Internal("a piece of a query from a cluster");
    let integers = |name| batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<Int32Type>());
    let (tasks, sides) = (integers("task").ok_or_else(strange)?, integers("side").ok_or_else(strange)?);
    let sealed = batch.column_by_name("piece").and_then(|column| column.as_binary_opt::<i32>()).ok_or_else(strange)?;
    for row in 0..batch.num_rows() {
        if sealed.is_null(row) {
            return Err(strange());
        }
        let (task, bytes) = (tasks.value(row), sealed.value(row));
        let side = match sides.value(row) {
            TROUBLE => return Err(elsewhere(super::on_executor(task, std::str::from_utf8(bytes).ok()))),
            FAILED => u32::MAX,
            side => u32::try_from(side).map_err(|_| strange())?,
        };
        let task = u32::try_from(task).map_err(|_| strange())?;
        came(Piece { task, side, sealed: bytes.to_vec() })?;
    }
    Ok(())
}
