//! A table with its subject in a column that no query can name.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Column;
use datafusion::datasource::{TableType, provider_as_source};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;

use super::SUBJECT_METADATA;
use crate::errors::EngineError;

/// Never part of what a query is planned over.
pub(crate) const HIDDEN: &str = "__cordon_subject";

/// The column that says whose a row is. A table that names none, or two, has none that could be relied on.
pub(crate) fn subject_column(schema: &Schema) -> Option<String> {
    let marked = |metadata: &std::collections::HashMap<String, String>| {
        metadata.get(SUBJECT_METADATA).is_some_and(|value| value == "true")
    };
    let mut subjects = schema.fields().iter().filter(|field| marked(field.metadata()));
    match (subjects.next(), subjects.next()) {
        (Some(subject), None) if subject.name() != HIDDEN => Some(subject.name().clone()),
        _ => None,
    }
}

/// The columns of a table and, behind them, its subject.
pub(crate) struct WithSubject {
    schema: SchemaRef,
    plan: LogicalPlan,
}

impl WithSubject {
    pub(crate) fn new(
        table: &str,
        inner: Arc<dyn TableProvider>,
        columns: &[String],
        subject: &str,
    ) -> Result<Self, EngineError> {
        let build = || {
            let column = |name: &str| Expr::Column(Column::new(Some(table), name));
            let hidden = column(subject).alias_qualified(Some(table), HIDDEN);
            let shown = columns.iter().map(|name| column(name)).chain([hidden]);
            LogicalPlanBuilder::scan(table, provider_as_source(inner), None)?.project(shown)?.build()
        };
        let plan = build().map_err(|_: DataFusionError| EngineError::Policy)?;
        Ok(Self { schema: Arc::clone(plan.schema().inner()), plan })
    }
}

impl fmt::Debug for WithSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WithSubject")
    }
}

#[async_trait]
impl TableProvider for WithSubject {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

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
        Err(EngineError::Internal("a table with its subject is scanned directly").into_datafusion())
    }
}
