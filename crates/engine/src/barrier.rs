//! Row filters and masks that nothing of a query can see behind.
//!
//! A filter that is only a node of the plan leaks: the optimiser may move the query's own condition below it, where an
//! error (`1/(age - 42)`, a failed cast) tells of a row that was to be hidden. Above the policy's filter and masks stands
//! a node that lets no condition pass down that could tell anything, neither in the logical plan nor in the physical one. The policy's own filter
//! still prunes the files, and columns that nobody asks for are still not read.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DFSchemaRef};
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use crate::errors::EngineError;
use crate::leakproof::is_leakproof;
use crate::planned::PlannedTable;
use crate::policy::Policy;

/// A table behind its policy. `inner` shows the columns of `visible` and those that the policy itself reads.
pub(crate) fn guarded(
    table: &str,
    inner: Arc<dyn TableProvider>,
    visible: &[String],
    policy: &Policy,
) -> Result<PlannedTable, EngineError> {
    let build = || {
        let mut plan = LogicalPlanBuilder::scan(table, provider_as_source(inner), None)?;
        if let Some(filter) = &policy.filter {
            plan = plan.filter(filter.clone())?;
        }
        let columns: Vec<Expr> = visible
            .iter()
            .map(|name| {
                let column = Expr::Column(Column::new(Some(table), name));
                policy.masks.get(name).map_or(column, |mask| mask.clone().alias_qualified(Some(table), name))
            })
            .collect();
        let input = plan.project(columns)?.build()?;
        let open = visible.iter().filter(|name| !policy.masks.contains_key(*name)).cloned().collect();
        let node = SecurityBarrier { table: table.to_owned(), open, passed: Vec::new(), input };
        Ok(PlannedTable::new(LogicalPlan::Extension(Extension { node: Arc::new(node) })))
    };
    build().map_err(|_: DataFusionError| EngineError::Policy)
}

/// Passes rows up and lets no condition down but those of [`crate::leakproof`].
#[derive(PartialEq, Eq, PartialOrd, Hash)]
pub(crate) struct SecurityBarrier {
    pub(crate) table: String,
    /// Visible columns that are not masked.
    open: BTreeSet<String>,
    /// Conditions of the query that stand below, for those who tell what it reads.
    pub(crate) passed: Vec<Expr>,
    pub(crate) input: LogicalPlan,
}

impl SecurityBarrier {
    /// Whether a condition may be evaluated on rows that are hidden.
    pub(crate) fn lets(&self, condition: &Expr) -> bool {
        is_leakproof(condition, self.input.schema(), &|column| self.open.contains(&column.name))
    }

    pub(crate) fn with_passed(&self, conditions: Vec<&Expr>, input: LogicalPlan) -> Self {
        let mut passed = self.passed.clone();
        for condition in conditions {
            if !passed.contains(condition) {
                passed.push(condition.clone());
            }
        }
        Self { table: self.table.clone(), open: self.open.clone(), passed, input }
    }
}

impl fmt::Debug for SecurityBarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecurityBarrier")
    }
}

impl UserDefinedLogicalNodeCore for SecurityBarrier {
    fn name(&self) -> &'static str {
        "SecurityBarrier"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecurityBarrier")
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut inputs = inputs.into_iter();
        match (inputs.next(), inputs.next()) {
            // What DataFusion does to put a condition below a node. `PushDownToBarriers` leaves it none; if ever it has
            // one, nothing runs.
            (Some(LogicalPlan::Filter(filter)), None) if *filter.input == self.input => {
                Err(EngineError::Internal("a condition below a barrier").into_datafusion())
            }
            (Some(input), None) => Ok(self.with_passed(Vec::new(), input)),
            _ => Err(DataFusionError::Internal("a barrier has one input".to_owned())),
        }
    }

    // `prevent_predicate_push_down_columns` is left at its default, which is all columns.

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }
}

/// DataFusion's own planner, and the barrier.
#[derive(Debug)]
pub(crate) struct BarrierPlanner;

#[async_trait]
impl QueryPlanner for BarrierPlanner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Self)]).create_physical_plan(plan, session).await
    }
}

#[async_trait]
impl ExtensionPlanner for BarrierPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        match (node.as_any().is::<SecurityBarrier>(), inputs) {
            (true, [input]) => Ok(Some(Arc::new(BarrierExec { input: Arc::clone(input) }))),
            _ => Ok(None),
        }
    }
}

/// The barrier in the physical plan. All that matters is what it leaves at the default: no filter, projection, limit or
/// statistic passes.
#[derive(Debug)]
pub(crate) struct BarrierExec {
    input: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for BarrierExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BarrierExec")
    }
}

impl ExecutionPlan for BarrierExec {
    fn name(&self) -> &'static str {
        "BarrierExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut children = children.into_iter();
        match (children.next(), children.next()) {
            (Some(input), None) => Ok(Arc::new(Self { input })),
            _ => Err(DataFusionError::Internal("a barrier has one input".to_owned())),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion::physical_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}
