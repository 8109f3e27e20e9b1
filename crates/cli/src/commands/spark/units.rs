//! A run's units on Apache Spark.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, BinaryArray, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use cordon_pipeline::cluster::{Cluster, SealedOrder};
use cordon_pipeline::error::RunError;
use cordon_pipeline::progress::{Meter, Over};
use cordon_spark::{Argument, SparkError, Told};

use super::{Opened, Spark};

const RETURNS: &str = r#"{"type":"struct","fields":[{"name":"answer","type":"binary","nullable":true,"metadata":{}},{"name":"code","type":"integer","nullable":true,"metadata":{}},{"name":"trouble","type":"string","nullable":true,"metadata":{}}]}"#;
/// Orders that go out together: a server takes messages of 128 MiB.
const TOGETHER: usize = 32 << 20;

/// Carries out units of runs.
pub struct Units<'a>(pub &'a Spark);

impl Cluster for Units<'_> {
    fn carry_out(
        &self,
        run: &str,
        orders: Vec<SealedOrder>,
        meter: &Meter,
        answered: &mut dyn FnMut(&[u8]) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let over = AtomicBool::new(false);
        let Some(opened) = self.0.open(&|| !meter.stopped())? else { return Err(RunError::Interrupted) };
        let groups = grouped(&orders);
        let queue = Mutex::new(groups.into_iter());
        std::thread::scope(|scope| {
            let _over = Over(&over);
            let canceller = opened.session.canceller();
            scope.spawn({
                let (over, canceller) = (&over, canceller.clone());
                move || {
                    while !over.load(Ordering::Relaxed) {
                        if meter.stopped() {
                            return canceller.cancel();
                        }
                        std::thread::sleep(LOOK);
                    }
                }
            });
            let (sender, answers) = mpsc::sync_channel(0);
            for _ in 0..AT_ONCE {
                let (opened, queue, over, sender) = (&opened, &queue, &over, sender.clone());
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let group = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some(group) = group else { return };
                        let mut hand_over = |batch| {
                            if sender.send(Ok(batch)).is_ok() {
                                ControlFlow::Continue(())
                            } else {
                                ControlFlow::Break(())
                            }
                        };
                        if let Err(error) = self.job(opened, run, group, meter, &mut hand_over) {
                            let _ = sender.send(Err(error));
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let mut outcome = Ok(());
            for batch in answers {
                // What is wrong with one job ends them all. What others had answered by then is kept.
                let Err(error) = batch.and_then(|batch| take(&batch, answered)) else { continue };
                canceller.cancel();
                if matches!(outcome, Ok(()) | Err(RunError::Interrupted)) {
                    outcome = Err(error);
                }
            }
            if meter.stopped() && outcome.is_ok() { Err(RunError::Interrupted) } else { outcome }
        })
    }
}

/// Jobs that a session has going at a time.
const AT_ONCE: usize = 8;
/// Tasks of a job, at least where there are so many of about one size; of very many more, so that there are enough to do.
const TASKS: usize = 16;
/// Tasks are about of one size where the largest has at most so many times the bytes of the smallest,
const ALIKE: u64 = 4;
/// or none of them has more than this.
const SMALL: u64 = 1 << 20;
/// How soon a stop is noticed.
const LOOK: Duration = Duration::from_millis(200);

/// Orders in groups that go out together, in their order, which is by size, the largest first. Spark hands over what a job came to in the
/// order of its tasks: with several jobs, each of tasks about of one size, nothing that is done waits long for what is not, and a run that
/// is stopped keeps it.
fn grouped(orders: &[SealedOrder]) -> Vec<&[SealedOrder]> {
    let most = TASKS.max(orders.len().div_ceil(2 * AT_ONCE));
    let mut groups = Vec::new();
    let mut rest = orders;
    while let Some(first) = rest.first() {
        let mut bytes = 0;
        let fits = rest.iter().take(most).take_while(|order| {
            bytes += order.sealed.len();
            bytes <= TOGETHER && order.bytes.max(SMALL).saturating_mul(ALIKE) >= first.bytes
        });
        let (group, after) = rest.split_at(fits.count().max(1));
        groups.push(group);
        rest = after;
    }
    groups
}

impl Units<'_> {
    /// One job, with a task for each order.
    fn job(
        &self,
        opened: &Opened,
        run: &str,
        orders: &[SealedOrder],
        meter: &Meter,
        hand_over: &mut dyn FnMut(RecordBatch) -> ControlFlow<()>,
    ) -> Result<(), RunError> {
        let schema = Arc::new(Schema::new(vec![Field::new("order", DataType::Binary, false)]));
        // The smallest first: it is done first, and what is done behind one that is not would wait for it.
        let column = BinaryArray::from_iter_values(orders.iter().rev().map(|order| &order.sealed));
        let input = RecordBatch::try_new(schema, vec![Arc::new(column)])
            .map_err(|_| RunError::Internal("orders for a cluster"))?;
        let arguments = [
            Argument::Text(&opened.name),
            Argument::Text(&opened.digest),
            Argument::Text(&self.0.project),
            Argument::Text(run),
        ];
        loop {
            let python = opened.python();
            let function = super::function("carry_out", &arguments, RETURNS, &python);
            let mapped = opened.session.map_in_arrow(&input, &function, &mut |told| match told {
                Told::Tasks { .. } => ControlFlow::Continue(()),
                Told::Batch(batch) => hand_over(batch),
            });
            let Err(error) = mapped else { return Ok(()) };
            if meter.stopped() || matches!(error, SparkError::Cancelled) {
                return Err(RunError::Interrupted);
            }
            if !opened.has_learned(&error, &python)? {
                return Err(self.0.trouble(&error).into());
            }
        }
    }
}

/// Hands on the answers of a batch.
fn take(batch: &RecordBatch, answered: &mut dyn FnMut(&[u8]) -> Result<(), RunError>) -> Result<(), RunError> {
    let strange = || RunError::Internal("an answer of the cluster");
    let answers =
        batch.column_by_name("answer").and_then(|column| column.as_binary_opt::<i32>()).ok_or_else(strange)?;
    let codes =
        batch.column_by_name("code").and_then(|column| column.as_primitive_opt::<Int32Type>()).ok_or_else(strange)?;
    let troubles =
        batch.column_by_name("trouble").and_then(|column| column.as_string_opt::<i32>()).ok_or_else(strange)?;
    for row in 0..batch.num_rows() {
        if answers.is_valid(row) {
            answered(answers.value(row))?;
            continue;
        }
        let text = Some(troubles).filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row));
        return Err(super::on_executor(codes.value(row), text).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(sizes: &[u64]) -> Vec<Vec<u64>> {
        let orders: Vec<_> = sizes.iter().map(|&bytes| SealedOrder { bytes, sealed: vec![0] }).collect();
        grouped(&orders).into_iter().map(|group| group.iter().map(|order| order.bytes).collect()).collect()
    }

    #[test]
    fn what_goes_out_together_is_of_about_one_size() {
        let mib = 1 << 20;
        assert_eq!(
            sizes(&[64 * mib, 60 * mib, 15 * mib, 4 * mib, mib, 10, 0]),
            [vec![64 * mib, 60 * mib], vec![15 * mib, 4 * mib], vec![mib, 10, 0]]
        );
        assert!(sizes(&[]).is_empty());
        let many = sizes(&vec![64 * mib; 10_000]);
        assert!(many.iter().all(|group| group.len() <= 10_000 / 16) && many.concat().len() == 10_000);
        let huge = SealedOrder { bytes: 1, sealed: vec![0; TOGETHER + 1] };
        assert_eq!(grouped(&[huge]).len(), 1);
    }
}
