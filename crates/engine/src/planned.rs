//! A table that is a plan and nothing else.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;

use crate::errors::EngineError;

/// What a session gets in the place of a table: the planner puts the plan where the table is named.
pub(crate) struct PlannedTable {
    schema: SchemaRef,
    plan: LogicalPlan,
}

impl PlannedTable {
    pub(crate) fn new(plan: LogicalPlan) -> Self {
        Self { schema: Arc::clone(plan.schema().inner()), plan }
    }
}

impl fmt::Debug for PlannedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlannedTable")
    }
}

#[async_trait]
impl TableProvider for PlannedTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// A table like any other: nothing tells what stands before it.
    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_logical_plan(&'_ self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // The planner puts the plan above in the place of this table; if it ever does not, there is no way round.
        Err(EngineError::Internal("a table that is a plan is scanned directly").into_datafusion())
    }
}
