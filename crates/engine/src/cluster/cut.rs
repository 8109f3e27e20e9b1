//! Where a plan is cut.
//!
//! A physical plan is a tree whose nodes work on partitions. As long as a node's partition needs nothing but the same partition of what is
//! below, one task can compute it. Partitions come together at `RepartitionExec`, by the hash of a key: there one stage ends and the next
//! begins. Only nodes that are named here are let into a stage, and only with expressions that are the same wherever they are evaluated.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::JoinType;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode, SortMergeJoinExec,
};
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::partial_sort::PartialSortExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use serde::{Deserialize, Serialize};

use crate::barrier::BarrierExec;
use crate::errors::EngineError;
use crate::tables::PartInfo;
use crate::view::STORE_URL;

/// What one task reads of a table, unless a part is larger.
const TASK_BYTES: u64 = 64 << 20;
/// What every task may read of one side of a join that has no key to part it by.
const WHOLE_BYTES: u64 = 64 << 20;
/// Tasks that there are at least, where there are as many parts.
const TASKS: usize = 16;
/// Partitions that rows are parted into at most, by the hash of a key.
const PARTITIONS: usize = 256;

/// What DataFusion's own thresholds say that a row takes.
const ROW_BYTES: usize = 8;

/// Into how many partitions rows are parted by a key, and up to how many rows of one side of a join are read by every task instead.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Partitions {
    pub(crate) count: usize,
    pub(crate) broadcast_rows: usize,
}

/// Planning for a cluster. In the session's configuration, where a scan finds it.
pub(crate) struct Spread {
    /// Footers of parts are checked where they are read, and not here.
    pub(crate) unchecked: bool,
}

impl Spread {
    /// The same state, so that it plans for tasks and not for threads.
    pub(crate) fn state(state: &SessionState, how: Partitions, unchecked: bool) -> SessionState {
        let mut state = state.clone();
        let config = state.config_mut();
        config.set_extension(Arc::new(Self { unchecked }));
        let options = config.options_mut();
        options.execution.target_partitions = how.count;
        // A task reads what is its own, whether others are slow or not here at all.
        options.execution.enable_file_stream_work_stealing = false;
        let optimizer = &mut options.optimizer;
        optimizer.hash_join_single_partition_threshold_rows = how.broadcast_rows;
        optimizer.hash_join_single_partition_threshold = how.broadcast_rows.saturating_mul(ROW_BYTES);
        optimizer.enable_round_robin_repartition = false;
        optimizer.repartition_file_scans = false;
        // Such a filter is made of what all partitions of a join have seen, and a task sees one.
        optimizer.enable_dynamic_filter_pushdown = false;
        optimizer.enable_topk_dynamic_filter_pushdown = false;
        optimizer.enable_join_dynamic_filter_pushdown = false;
        optimizer.enable_aggregate_dynamic_filter_pushdown = false;
        state
    }

    pub(crate) fn of(session: &dyn Session) -> Option<Arc<Self>> {
        session.config().get_extension()
    }

    /// A table's parts for so many tasks, the same ones for everybody.
    pub(crate) fn groups<'p>(parts: impl Iterator<Item = &'p PartInfo>) -> Vec<Vec<&'p PartInfo>> {
        let mut parts: Vec<&PartInfo> = parts.filter(|part| part.rows > 0).collect();
        let bytes: u64 = parts.iter().map(|part| part.bytes).sum();
        let wanted = usize::try_from(bytes.div_ceil(TASK_BYTES)).unwrap_or(usize::MAX).max(TASKS);
        let mut groups: Vec<(u64, Vec<&PartInfo>)> = vec![(0, Vec::new()); wanted.min(parts.len()).max(1)];
        // The largest first, each to who has the least.
        parts.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.file.cmp(&b.file)));
        for part in parts {
            if let Some(least) = groups.iter_mut().min_by_key(|(bytes, _)| *bytes) {
                least.0 += part.bytes;
                least.1.push(part);
            }
        }
        groups.into_iter().map(|(_, parts)| parts).collect()
    }

    /// Into how many partitions rows are parted where tables have so many groups.
    pub(crate) fn partitions(groups: impl Iterator<Item = usize>) -> usize {
        groups.max().unwrap_or(1).clamp(1, PARTITIONS)
    }
}

/// A part of a plan that tasks compute, one partition each.
pub(crate) struct Stage {
    /// With the nodes of the stages below it, which [`Stage::with_inputs`] replaces.
    pub(crate) root: Node,
    /// Stages that send to it, in the order of their sides.
    pub(crate) inputs: Vec<usize>,
    /// How its rows go on, and as which side; `None` where they come back.
    pub(crate) onward: Option<(Partitioning, u32)>,
}

impl Stage {
    pub(crate) fn tasks(&self) -> usize {
        self.root.output_partitioning().partition_count()
    }

    /// The stage's plan with something else in the place of each input.
    pub(crate) fn with_inputs(&self, make: &mut Receive<'_>) -> Result<Node, EngineError> {
        with_inputs(&self.root, &mut 0, make).map_err(|error| EngineError::execution(&error))
    }

    /// The files that the task of this number reads.
    pub(crate) fn files(&self, task: usize) -> Vec<String> {
        let mut files = Vec::new();
        read_by(&self.root, Some(task), &mut files);
        files
    }
}

/// Makes what stands for the place of this number, at which rows of the node come back.
pub(crate) type Gather<'a> = dyn FnMut(usize, &Node) -> Node + 'a;
/// Makes what stands for the node whose rows come as this side.
pub(crate) type Receive<'a> = dyn FnMut(u32, &Node) -> Node + 'a;
pub(crate) type Node = Arc<dyn ExecutionPlan>;

/// What of a plan is carried out elsewhere: the stages of each place at which rows come back.
pub(crate) struct Cut {
    /// The plan with `GatherExec`s in it, made by who asked for the cut.
    pub(crate) plan: Node,
    /// Of each place its stages, those that others take from first.
    pub(crate) places: Vec<Vec<Stage>>,
}

/// Cuts a plan. `gather` makes the node that stands for a place: its number, and the node whose rows come.
pub(crate) fn cut(plan: &Node, gather: &mut Gather<'_>) -> Result<Cut, EngineError> {
    let mut places = Vec::new();
    let plan = replaced(plan, &mut places, gather).map_err(|error| EngineError::execution(&error))?;
    Ok(Cut { plan, places })
}

fn replaced(plan: &Node, places: &mut Vec<Vec<Stage>>, gather: &mut Gather<'_>) -> Result<Node> {
    // It is computed round by round, from the beginning each time.
    if plan.is::<RecursiveQueryExec>() {
        return Ok(Arc::clone(plan));
    }
    // Rows that come back anyway need not be parted before.
    if !plan.is::<RepartitionExec>() && is_stage(plan) {
        let mut stages = Vec::new();
        stages_of(plan, None, &mut stages);
        places.push(stages);
        return Ok(gather(places.len() - 1, plan));
    }
    let children: Vec<Node> =
        plan.children().into_iter().map(|child| replaced(child, places, gather)).collect::<Result<_>>()?;
    if children.is_empty() { Ok(Arc::clone(plan)) } else { with_children(plan, children) }
}

fn with_children(plan: &Node, children: Vec<Node>) -> Result<Node> {
    use datafusion::physical_plan::{ChildrenPropertiesMode::Recompute, ReplaceChildrenOptions};
    Arc::clone(plan).replace_children(children, ReplaceChildrenOptions::new(Recompute))
}

/// Puts the stages of a tree that is one, and returns the number of its last.
fn stages_of(plan: &Node, onward: Option<(Partitioning, u32)>, stages: &mut Vec<Stage>) -> usize {
    let mut below = Vec::new();
    inputs_of(plan, &mut below);
    let mut inputs = Vec::new();
    for (side, parted) in (0..).zip(below) {
        let onward = Some((parted.partitioning().clone(), side));
        inputs.push(stages_of(parted.input(), onward, stages));
    }
    stages.push(Stage { root: Arc::clone(plan), inputs, onward });
    stages.len() - 1
}

/// What is found in a tree that a task computes.
#[derive(Default)]
struct Found {
    inputs: bool,
    scans: bool,
}

/// Whether tasks can compute the node, each a partition of it.
fn is_stage(plan: &Node) -> bool {
    let mut found = Found::default();
    // A task of a stage that takes pieces is carried out where some come, so it must not have parts of its own to read.
    is_local(plan, &mut found) && found.inputs != found.scans
}

fn is_local(plan: &Node, found: &mut Found) -> bool {
    if let Some(parted) = plan.downcast_ref::<RepartitionExec>() {
        found.inputs = true;
        return matches!(parted.partitioning(), Partitioning::Hash(..))
            && !parted.preserve_order()
            && is_stage(parted.input());
    }
    if let Some(scan) = scan_of(plan) {
        found.scans = true;
        return reads_alike(scan);
    }
    if let Some(union) = plan.downcast_ref::<UnionExec>() {
        // Its partitions are those of one child after the other.
        let mut below = Found::default();
        let local = union.children().into_iter().all(|child| is_local(child, &mut below));
        found.scans |= below.scans;
        return local && !below.inputs;
    }
    let Some((whole, local)) = parts_of(plan) else { return false };
    is_told_alike(plan)
        && whole.into_iter().all(|child| is_whole(child) && bytes_below(child) <= WHOLE_BYTES)
        && local.into_iter().all(|child| is_local(child, found))
}

/// The children that a partition of the node needs the whole of, and those that it needs the same partition of; `None` where a node is
/// not known to be so.
fn parts_of(plan: &Node) -> Option<Below<'_>> {
    let children = plan.children();
    let one = plan.is::<FilterExec>()
        || plan.is::<ProjectionExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<BarrierExec>()
        || plan.is::<AggregateExec>()
        || plan.is::<PartialSortExec>()
        || plan.is::<SortExec>()
        || plan.is::<LocalLimitExec>()
        || plan.is::<GlobalLimitExec>()
        || plan.is::<BoundedWindowAggExec>()
        || plan.is::<WindowAggExec>()
        || plan.is::<SortMergeJoinExec>();
    if one {
        return Some((Vec::new(), children));
    }
    // A row of the left side that found no partner is known only when all tasks are done: such joins are not for tasks.
    let by_right = |join: &JoinType| {
        matches!(
            join,
            JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark
        )
    };
    let collects = if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        match join.partition_mode() {
            PartitionMode::Partitioned if !join.null_aware => return Some((Vec::new(), children)),
            PartitionMode::CollectLeft => by_right(join.join_type()) && !join.null_aware,
            _ => false,
        }
    } else if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        by_right(join.join_type())
    } else {
        plan.is::<CrossJoinExec>()
    };
    match (collects, children.as_slice()) {
        (true, [left, right]) => Some((vec![*left], vec![*right])),
        _ => None,
    }
}

/// What is needed whole, and what partition by partition.
type Below<'p> = (Vec<&'p Node>, Vec<&'p Node>);

/// Whether one task can compute all of the node by itself.
fn is_whole(plan: &Node) -> bool {
    if let Some(scan) = scan_of(plan) {
        return reads_alike(scan);
    }
    let known = plan.is::<RepartitionExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<SortPreservingMergeExec>()
        || plan.is::<UnionExec>()
        || plan.is::<HashJoinExec>()
        || plan.is::<NestedLoopJoinExec>()
        || parts_of(plan).is_some();
    known && is_told_alike(plan) && !plan.children().is_empty() && plan.children().into_iter().all(is_whole)
}

/// The scan of a stored table, and of nothing that only this process has.
fn scan_of(plan: &Node) -> Option<&FileScanConfig> {
    let source = plan.downcast_ref::<DataSourceExec>()?.data_source();
    source.downcast_ref::<FileScanConfig>().filter(|config| config.object_store_url.as_str().starts_with(STORE_URL))
}

/// What is computed while it is read.
fn reads_alike(scan: &FileScanConfig) -> bool {
    scan.file_source().projection().is_none_or(|projection| projection.iter().all(|one| is_alike(&one.expr)))
}

/// Bytes of the parts that are read below a node.
fn bytes_below(plan: &Node) -> u64 {
    match scan_of(plan) {
        Some(scan) => scan.file_groups.iter().flat_map(FileGroup::iter).map(|file| file.object_meta.size).sum(),
        None => plan.children().into_iter().map(bytes_below).sum(),
    }
}

/// Whether all its expressions are the same wherever they are evaluated: none draws a random number, none waits for a subquery.
fn is_told_alike(plan: &Node) -> bool {
    let mut alike = true;
    let looked = plan.apply_expressions(&mut |expr| {
        alike &= is_alike(expr);
        Ok(if alike { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    alike && looked.is_ok()
}

fn is_alike(expr: &Arc<dyn PhysicalExpr>) -> bool {
    !expr.is_volatile_node() && !expr.is::<ScalarSubqueryExpr>() && expr.children().into_iter().all(is_alike)
}

/// The nodes at which other stages end, in the order in which they are met.
fn inputs_of<'p>(plan: &'p Node, inputs: &mut Vec<&'p RepartitionExec>) {
    if let Some(parted) = plan.downcast_ref::<RepartitionExec>() {
        inputs.push(parted);
    } else if let Some((_, local)) = parts_of(plan) {
        for child in local {
            inputs_of(child, inputs);
        }
    }
}

fn with_inputs(plan: &Node, next: &mut u32, make: &mut Receive<'_>) -> Result<Node> {
    if plan.is::<RepartitionExec>() {
        *next += 1;
        return Ok(make(*next - 1, plan));
    }
    let Some((whole, _)) = parts_of(plan) else { return Ok(Arc::clone(plan)) };
    // What is needed whole comes first, where there is any.
    let whole = whole.len();
    let mut children = Vec::new();
    for (at, child) in plan.children().into_iter().enumerate() {
        children.push(if at < whole { Arc::clone(child) } else { with_inputs(child, next, make)? });
    }
    if children.is_empty() { Ok(Arc::clone(plan)) } else { with_children(plan, children) }
}

/// The files that a partition of the node reads, or all.
fn read_by(plan: &Node, partition: Option<usize>, files: &mut Vec<String>) {
    if let Some(scan) = scan_of(plan) {
        let groups = scan.file_groups.iter().enumerate().filter(|(at, _)| partition.is_none_or(|one| one == *at));
        files.extend(groups.flat_map(|(_, group)| group.iter()).map(|file| file.object_meta.location.to_string()));
        return;
    }
    if let (Some(union), Some(mut partition)) = (plan.downcast_ref::<UnionExec>(), partition) {
        for child in union.children() {
            let count = child.output_partitioning().partition_count();
            if partition < count {
                return read_by(child, Some(partition), files);
            }
            partition -= count;
        }
        return;
    }
    match parts_of(plan).filter(|_| partition.is_some()) {
        Some((whole, local)) => {
            for child in whole {
                read_by(child, None, files);
            }
            for child in local {
                read_by(child, partition, files);
            }
        }
        // Below it are other stages, or it is needed whole.
        None if partition.is_some() => {}
        None => plan.children().into_iter().for_each(|child| read_by(child, None, files)),
    }
}
