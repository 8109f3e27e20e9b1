//! Where rows of a cluster come back into a plan.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_schema::SchemaRef;
use cordon_crypto::SealKeys;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::cut::{Stage, cut};
use super::exchange::{Between, Queue, Seal, Waiting};
use super::order::{Order, failure};
use super::source::{Source, SourceExec};
use super::{Job, JobStage, QueryCluster};
use crate::errors::EngineError;
use crate::spill::SealedSpills;

/// To where stages are carried out, for one query.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) cluster: Arc<dyn QueryCluster>,
    pub(crate) seal: Arc<Seal>,
    pub(crate) spills: Arc<SealedSpills>,
}

impl Way {
    /// The plan with what is computed elsewhere gathered; `None` where nothing of it can be.
    pub(crate) fn gathered(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        order: &Order,
        keys: &SealKeys,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>, EngineError> {
        let places = cut(plan, &mut |_, instead| Arc::clone(instead))?.places;
        if places.is_empty() {
            return Ok(None);
        }
        let job = |place: usize, stages: &[Stage]| -> Result<Job, EngineError> {
            let sealed = |(number, stage): (usize, &Stage)| {
                let order = order.at(place, number).seal(keys)?;
                let tasks = u32::try_from(stage.tasks()).map_err(|_| EngineError::Internal("too many tasks"))?;
                Ok(JobStage { order, inputs: stage.inputs.clone(), tasks })
            };
            Ok(Job { stages: stages.iter().enumerate().map(sealed).collect::<Result<_, EngineError>>()? })
        };
        let jobs = places.iter().enumerate().map(|(place, stages)| job(place, stages));
        let mut jobs = jobs.collect::<Result<Vec<Job>, _>>()?.into_iter();
        let gathered = cut(plan, &mut |place, instead| match jobs.next() {
            Some(job) => SourceExec::instead_of(instead, Gather::new(instead, self.clone(), job, place)),
            None => Arc::clone(instead),
        })?;
        Ok(Some(gathered.plan))
    }
}

/// The rows of a job, partition by partition, in the place of the node that it computes. The job begins with the first partition that is
/// asked for, and ends early when nobody waits for any.
pub(crate) struct Gather {
    way: Way,
    partitions: usize,
    job: Mutex<Option<Job>>,
    place: usize,
    /// The job's last.
    stage: usize,
    running: Mutex<Option<Arc<Running>>>,
}

/// Somebody waits for rows.
struct Running {
    queues: Vec<Arc<Queue>>,
    over: Arc<AtomicBool>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

impl Gather {
    pub(crate) fn new(instead: &Arc<dyn ExecutionPlan>, way: Way, job: Job, place: usize) -> Self {
        let stage = job.stages.len().saturating_sub(1);
        Self {
            way,
            partitions: instead.output_partitioning().partition_count(),
            job: Mutex::new(Some(job)),
            place,
            stage,
            running: Mutex::default(),
        }
    }

    fn run(&self) -> Result<Arc<Running>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*running {
            return Ok(Arc::clone(running));
        }
        let twice = || EngineError::Internal("a job of a query is begun twice").into_datafusion();
        let job = self.job.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or_else(twice)?;
        let waiting = Waiting::new(&self.way.spills);
        let queues: Vec<Arc<Queue>> = (0..self.partitions).map(|_| Queue::new(&waiting)).collect();
        let over = Arc::new(AtomicBool::new(false));
        let begun = Arc::new(Running { queues: queues.clone(), over: Arc::clone(&over) });
        let way = self.way.clone();
        let work = move || {
            let ended = Ended(queues);
            let done = carry_out(&way, &job, &over, &ended.0);
            ended.all(&done);
        };
        std::thread::Builder::new()
            .name("query-cluster".to_owned())
            .spawn(work)
            .map_err(|_| EngineError::Internal("no thread for a query on a cluster").into_datafusion())?;
        *running = Some(Arc::clone(&begun));
        Ok(begun)
    }
}

/// Nobody waits for ever, also where something panics.
struct Ended(Vec<Arc<Queue>>);

impl Ended {
    fn all(&self, how: &Result<(), EngineError>) {
        for queue in &self.0 {
            queue.end(how.clone());
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.all(&Err(EngineError::Internal("a query on a cluster")));
    }
}

fn carry_out(way: &Way, job: &Job, over: &AtomicBool, queues: &[Arc<Queue>]) -> Result<(), EngineError> {
    let goes_on = || !over.load(Ordering::Relaxed);
    way.cluster.carry_out(job, &goes_on, &mut |piece| {
        if piece.side == super::task::FAILED {
            return Err(failure(&way.seal, &piece.sealed));
        }
        // What it is sealed for is its task: a piece in another's place does not open.
        match queues.get(piece.task as usize) {
            Some(queue) => queue.push(piece.sealed),
            None => Err(EngineError::Internal("rows of a task that is not there")),
        }
    })
}

impl Source for Gather {
    const NAME: &'static str = "GatherExec";

    fn rows(&self, partition: usize, schema: SchemaRef) -> Result<SendableRecordBatchStream> {
        let running = self.run()?;
        let missing = || EngineError::Internal("a partition that is not there").into_datafusion();
        let queue = running.queues.get(partition).cloned().ok_or_else(missing)?;
        let task = u32::try_from(partition).map_err(|_| missing())?;
        let between = Between { place: self.place, stage: self.stage, task };
        queue.rows(Arc::clone(&self.way.seal), between, task..task + 1, schema, running)
    }
}
