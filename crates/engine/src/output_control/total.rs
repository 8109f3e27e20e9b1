//! Expressions that have a value for every row.
//!
//! Whether a query fails tells of a person where only that person's row makes it fail. Times are the trap: `date_trunc` works on nanoseconds,
//! which reach from 1677 to 2262, and a date of 9999-12-31 ("without end") is an ordinary one. Outside there is no value instead.

use arrow_schema::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::{Cast, TryCast};
use datafusion::logical_expr::{Expr, ExprSchemable, lit, when};

use super::allowed::is_text;

/// 1678-01-02 and 2261-12-30 in seconds since 1970: what begins a year, quarter, month or week there is a time of nanoseconds too.
const FIRST: i64 = -9_214_473_600;
const LAST: i64 = 9_214_473_600;

/// The expression with nulls where it would have failed. It may be named otherwise.
pub(crate) fn total(expr: Expr, schema: &DFSchema) -> Result<Expr, DataFusionError> {
    let made = expr.transform_up(|expr| match expr {
        Expr::Cast(Cast { expr, field })
            if !matches!(expr.as_ref(), Expr::Literal(..))
                && expr.get_type(schema)? == DataType::Date32
                && (field.data_type().is_temporal() || is_text(field.data_type())) =>
        {
            Ok(Transformed::yes(Expr::TryCast(TryCast { expr, field })))
        }
        Expr::ScalarFunction(function) if function.func.name() == "date_trunc" => {
            let Some(time) = function.args.get(1).cloned() else {
                return Ok(Transformed::no(Expr::ScalarFunction(function)));
            };
            let Some((first, last)) = bounds(&time.get_type(schema)?) else {
                return Ok(Transformed::no(Expr::ScalarFunction(function)));
            };
            let fits = time.clone().gt_eq(lit(first)).and(time.lt_eq(lit(last)));
            Ok(Transformed::yes(when(fits, Expr::ScalarFunction(function)).end()?))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(made.data)
}

fn bounds(data_type: &DataType) -> Option<(ScalarValue, ScalarValue)> {
    let DataType::Timestamp(unit, zone) = data_type else { return None };
    let at = |seconds: i64| match unit {
        TimeUnit::Second => ScalarValue::TimestampSecond(Some(seconds), zone.clone()),
        TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(Some(seconds * 1_000), zone.clone()),
        TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(Some(seconds * 1_000_000), zone.clone()),
        TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(Some(seconds * 1_000_000_000), zone.clone()),
    };
    Some((at(FIRST), at(LAST)))
}
