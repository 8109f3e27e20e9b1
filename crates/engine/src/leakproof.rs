//! Conditions of queries that may pass the barrier, as PostgreSQL lets leakproof ones pass a security barrier.
//!
//! A condition passes when nothing can be learnt from where it is evaluated: it compares a visible, unmasked column with
//! constants, by operators that cannot fail. There is no list of functions; no function passes, and no cast. What passes prunes
//! files, so that enforcement costs little.

use std::sync::Arc;

use arrow_schema::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, ExprSchema};
use datafusion::error::Result;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Extension, Filter, LogicalPlan, Operator};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::scalar::ScalarValue;

use crate::barrier::SecurityBarrier;

/// Whether no row can make the condition fail; `open` says which columns it may look at.
pub(crate) fn is_leakproof(expr: &Expr, schema: &DFSchema, open: &dyn Fn(&Column) -> bool) -> bool {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => {
            is_leakproof(left, schema, open) && is_leakproof(right, schema, open)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            compares(*op)
                && match (left.as_ref(), right.as_ref()) {
                    (Expr::Column(column), Expr::Literal(value, _))
                    | (Expr::Literal(value, _), Expr::Column(column)) => fits(column, [value], schema, open),
                    _ => false,
                }
        }
        Expr::Not(inner) => is_leakproof(inner, schema, open),
        Expr::IsNull(inner) | Expr::IsNotNull(inner) => {
            matches!(inner.as_ref(), Expr::Column(column) if open(column))
        }
        Expr::InList(InList { expr, list, .. }) => {
            let values: Option<Vec<&ScalarValue>> = list
                .iter()
                .map(|item| match item {
                    Expr::Literal(value, _) => Some(value),
                    _ => None,
                })
                .collect();
            match (expr.as_ref(), values) {
                (Expr::Column(column), Some(values)) => fits(column, values, schema, open),
                _ => false,
            }
        }
        Expr::Between(between) => match (between.expr.as_ref(), between.low.as_ref(), between.high.as_ref()) {
            (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _)) => {
                fits(column, [low, high], schema, open)
            }
            _ => false,
        },
        Expr::Column(column) => {
            open(column) && schema.field_from_column(column).is_ok_and(|field| *field.data_type() == DataType::Boolean)
        }
        Expr::Literal(ScalarValue::Boolean(_), _) => true,
        _ => false,
    }
}

fn compares(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

/// The very type of the column, so that nothing has to be converted, and one whose values can all be compared.
fn fits<'a>(
    column: &Column,
    values: impl IntoIterator<Item = &'a ScalarValue>,
    schema: &DFSchema,
    open: &dyn Fn(&Column) -> bool,
) -> bool {
    let Ok(field) = schema.field_from_column(column) else {
        return false;
    };
    let data_type = field.data_type();
    let simple = data_type.is_integer()
        || data_type.is_floating()
        || data_type.is_decimal()
        || data_type.is_temporal()
        || data_type.is_string()
        || *data_type == DataType::Boolean;
    simple && open(column) && values.into_iter().all(|value| value.data_type() == *data_type)
}

/// DataFusion's rule, except at a barrier. Its own way with a node like that lets conditions pass that name no column, such as
/// `1 / 0 = 1`, which then fails by rows that are hidden.
#[derive(Debug, Default)]
pub(crate) struct PushDownToBarriers(PushDownFilter);

impl OptimizerRule for PushDownToBarriers {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let Some((barrier, conditions)) = filters_over_barrier(&plan) else {
            return self.0.rewrite(plan, config);
        };
        let (pass, stay): (Vec<&Expr>, Vec<&Expr>) =
            conditions.into_iter().partition(|condition| barrier.lets(condition));
        let Some(passing) = conjunction(pass.iter().map(|condition| (*condition).clone())) else {
            return Ok(Transformed::no(plan));
        };
        let input = LogicalPlan::Filter(Filter::new(passing, Arc::new(barrier.input.clone())));
        let node = barrier.with_passed(pass, input);
        let mut plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        if let Some(staying) = conjunction(stay.into_iter().cloned()) {
            plan = LogicalPlan::Filter(Filter::new(staying, Arc::new(plan)));
        }
        Ok(Transformed::yes(plan))
    }
}

/// The conditions right above a barrier, those nearest to it first.
fn filters_over_barrier(plan: &LogicalPlan) -> Option<(&SecurityBarrier, Vec<&Expr>)> {
    let LogicalPlan::Filter(filter) = plan else {
        return None;
    };
    let (barrier, mut conditions) = match filter.input.as_ref() {
        LogicalPlan::Extension(extension) => (extension.node.as_any().downcast_ref()?, Vec::new()),
        below => filters_over_barrier(below)?,
    };
    conditions.extend(split_conjunction(&filter.predicate));
    Some((barrier, conditions))
}
