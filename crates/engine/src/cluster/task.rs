//! One task of a stage, on whatever machine.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use datafusion::physical_plan::ExecutionPlanProperties;
use futures::StreamExt;

use super::cut::{Stage, cut};
use super::exchange::{Between, Inputs, Received, Sender};
use super::order::{Order, fingerprint, sealed_failure};
use super::source::SourceExec;
use super::{Piece, Spread};
use crate::errors::{EngineError, Fault};
use crate::session::QueryEngine;
use crate::tables::TableVersion;

/// The side of a piece that says how a task failed, and that goes back from whatever stage.
pub(crate) const FAILED: u32 = u32::MAX;
/// Where planning depends on what chance puts first, another attempt finds the plan that is meant.
const PLANNED: usize = 64;

/// Takes what a task sends.
pub type Output<'a> = dyn FnMut(Piece) -> io::Result<()> + Send + 'a;

impl QueryEngine {
    /// Carries out one task of a stage: the one of this number, or that of the pieces that came for it.
    ///
    /// What goes wrong with it is sent, sealed, as a piece of its own that goes back from whatever stage. Only what cannot be sent is an
    /// error.
    pub async fn carry_out(
        &self,
        order: &[u8],
        task: u32,
        inputs: Inputs,
        out: &mut Output<'_>,
    ) -> Result<(), EngineError> {
        let order = Order::open(self.store().seal_keys(), order)?;
        let seal = Arc::new(order.pieces()?);
        let Err(error) = self.task(&order, &seal, task, inputs, out).await else { return Ok(()) };
        let sealed = sealed_failure(&seal, &error)?;
        out(Piece { task: 0, side: FAILED, sealed }).map_err(|_| gone())
    }

    /// To take in what comes for a task.
    pub fn inputs(&self) -> Inputs {
        Inputs::new(self.spills())
    }

    async fn task(
        &self,
        order: &Order,
        seal: &Arc<super::exchange::Seal>,
        task: u32,
        mut inputs: Inputs,
        out: &mut Output<'_>,
    ) -> Result<(), EngineError> {
        let session = self.session_at(&order.asked.views(), Some(&order.asked.versions))?;
        let Planned { stage, senders, context } = session.stages(order).await?;
        let between = |stage: usize| Between { place: order.place, stage, task };
        if task as usize >= stage.tasks() {
            return Err(EngineError::Internal("a task that the stage does not have"));
        }
        let reads: BTreeSet<String> = stage.files(task as usize).into_iter().collect();
        check(session.versions(), reads).await?;
        let mut missing = false;
        let plan = stage.with_inputs(&mut |side, instead| {
            let Some((sender, senders)) = senders.get(side as usize).copied() else {
                missing = true;
                return Arc::clone(instead);
            };
            let (queue, seal, between) = (inputs.side(side), Arc::clone(seal), between(sender));
            SourceExec::instead_of(instead, Received { queue, seal, between, senders })
        })?;
        if missing {
            return Err(EngineError::Internal("a stage without what it takes"));
        }
        let begun = Instant::now();
        let keys = self.store().keys().clone();
        let failed = |error: &datafusion::error::DataFusionError| keys.explained(EngineError::execution(error), begun);
        let schema = plan.schema();
        let mut out = |piece: Piece| out(piece);
        let mut sender = Sender::new(seal, between(order.stage), stage.onward.as_ref(), schema, &mut out)
            .map_err(|error| failed(&error))?;
        debug_assert!(plan.output_partitioning().partition_count() > task as usize, "tasks are partitions");
        let mut rows = plan.execute(task as usize, context).map_err(|error| failed(&error))?;
        while let Some(batch) = rows.next().await {
            sender.send(batch.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
        }
        sender.finish().map_err(|error| failed(&error))
    }
}

/// The footers of the parts that are read, against the manifests of the tables.
async fn check(versions: Vec<TableVersion>, files: BTreeSet<String>) -> Result<(), EngineError> {
    let check = move || versions.iter().try_for_each(|version| version.check_parts(&files));
    tokio::task::spawn_blocking(check).await.map_err(|_| EngineError::Internal("check of the parts"))?
}

fn gone() -> EngineError {
    EngineError::Elsewhere { fault: Fault::Failure, text: "whoever gave the order is gone".to_owned() }
}

/// A stage as it was found in the plan of what was asked.
pub(crate) struct Planned {
    pub(crate) stage: Stage,
    /// The stages that send to it, by side, and how many tasks each has.
    pub(crate) senders: Vec<(usize, u32)>,
    pub(crate) context: Arc<datafusion::execution::TaskContext>,
}

impl crate::session::AuthorizedSession {
    async fn stages(&self, order: &Order) -> Result<Planned, EngineError> {
        let asked = &order.asked;
        for _ in 0..PLANNED {
            let (plan, context) =
                self.plan_for_tasks(&asked.sql, &asked.parameters()?, asked.time, asked.partitions, true).await?;
            if fingerprint(plan.as_ref()) != order.plan {
                continue;
            }
            let mut found = cut(&plan, &mut |_, instead| Arc::clone(instead))?.places;
            let missing = EngineError::Internal("a stage that the plan does not have");
            if order.place >= found.len() {
                return Err(missing);
            }
            let mut stages = found.swap_remove(order.place);
            if order.stage >= stages.len() {
                return Err(missing);
            }
            let stage = stages.get(order.stage).map_or(&[][..], |stage| &stage.inputs);
            let tasks = |sender: usize| stages.get(sender).and_then(|stage| u32::try_from(stage.tasks()).ok());
            let senders = stage.iter().filter_map(|sender| Some((*sender, tasks(*sender)?))).collect();
            return Ok(Planned { stage: stages.swap_remove(order.stage), senders, context });
        }
        Err(EngineError::Elsewhere {
            fault: Fault::Usage,
            text: "this executor plans the query otherwise than the machine that asks\n  help: give executors the very program that asks; \
                   if it is, report this query"
                .to_owned(),
        })
    }
}

impl Spread {
    /// How a plan is named in orders.
    pub(crate) fn fingerprint(plan: &Arc<dyn datafusion::physical_plan::ExecutionPlan>) -> String {
        fingerprint(plan.as_ref())
    }
}
