//! Rows from elsewhere, in the place of the node that would have computed them here.

use std::fmt;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};

/// Has the rows of a node's partitions.
pub(crate) trait Source: Send + Sync + 'static {
    const NAME: &'static str;

    fn rows(&self, partition: usize, schema: SchemaRef) -> Result<SendableRecordBatchStream>;
}

/// Has the properties of the node that it stands for, and nothing below it.
pub(crate) struct SourceExec<S> {
    properties: Arc<PlanProperties>,
    source: S,
}

impl<S: Source> SourceExec<S> {
    pub(crate) fn instead_of(node: &Arc<dyn ExecutionPlan>, source: S) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { properties: Arc::clone(node.properties()), source })
    }
}

impl<S: Source> fmt::Debug for SourceExec<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(S::NAME)
    }
}

impl<S: Source> DisplayAs for SourceExec<S> {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(S::NAME)
    }
}

impl<S: Source> ExecutionPlan for SourceExec<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.source.rows(partition, Arc::clone(self.properties.eq_properties.schema()))
    }
}
