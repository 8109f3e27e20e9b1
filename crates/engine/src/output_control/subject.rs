//! A table with its subject in a column that no query can name.

use std::sync::Arc;

use arrow_schema::Schema;
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::datasource::provider_as_source;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};

use super::SUBJECT_METADATA;
use crate::errors::EngineError;
use crate::planned::PlannedTable;

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
pub(crate) fn with_subject(
    table: &str,
    inner: Arc<dyn TableProvider>,
    columns: &[String],
    subject: &str,
) -> Result<PlannedTable, EngineError> {
    let build = || {
        let column = |name: &str| Expr::Column(Column::new(Some(table), name));
        let hidden = column(subject).alias_qualified(Some(table), HIDDEN);
        let shown = columns.iter().map(|name| column(name)).chain([hidden]);
        LogicalPlanBuilder::scan(table, provider_as_source(inner), None)?.project(shown)?.build()
    };
    build().map(PlannedTable::new).map_err(|_: DataFusionError| EngineError::Policy)
}
