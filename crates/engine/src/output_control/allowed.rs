//! Which expressions may choose and group the rows of a table of which only statistics leave.
//!
//! What is computed below the aggregate is computed for each person. Nothing there may fail, since whether it fails tells of a person (a
//! division by `age - 104`, a cast of a text that holds no number, and constants as well, which are evaluated only where a row comes
//! that far), nothing may be random, and nothing may ask a table of its own. So it is an allow-list.

use arrow_schema::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{Alias, BinaryExpr, Case, Cast, InList, Like, ScalarFunction, TryCast};
use datafusion::logical_expr::{Between, Expr, ExprSchemable, Operator};

use super::refused;
use super::shape::Facts;
use crate::errors::EngineError;

const EXPRESSION: &str = "only aggregates may leave this table, and its rows may be chosen and grouped only by comparisons, AND, OR, NOT, \
                          IN, LIKE, CASE, simple arithmetic and a few functions that cannot fail (docs/output-control.md lists them)";
const TOO_LONG: &str =
    "only aggregates may leave this table, and a text or pattern by which its rows are chosen has at most 1024 bytes";
pub(crate) const SUBJECT: &str = "only aggregates may leave this table, and the column that says whose a row is may only join and be \
                                  counted";

/// Units that `date_trunc` and `date_part` know; with others they fail.
const UNITS: [&str; 8] = ["year", "quarter", "month", "week", "day", "hour", "dow", "doy"];

/// A longer pattern can be too large to be made into what matches it, and that shows only where a row arrives; longer texts of many rows are too
/// large for one array.
const MAX_TEXT: usize = 1024;
/// Texts that may be put together.
const MAX_PARTS: usize = 8;

pub(crate) fn check(expr: &Expr, schema: &DFSchema, facts: &Facts) -> Result<(), EngineError> {
    let each = |exprs: &[&Expr]| exprs.iter().try_for_each(|expr| check(expr, schema, facts));
    let data_type = |expr: &Expr| expr.get_type(schema).map_err(|_| refused(EXPRESSION));
    match expr {
        Expr::Column(column) if facts.is_subject(column) => Err(refused(SUBJECT)),
        // Not all kernels know nested values.
        Expr::Column(_) if data_type(expr)?.is_nested() => Err(refused(EXPRESSION)),
        Expr::Literal(value, _) if value.try_as_str().flatten().is_some_and(|text| text.len() > MAX_TEXT) => {
            Err(refused(TOO_LONG))
        }
        Expr::Column(_) | Expr::Literal(..) => Ok(()),
        Expr::Alias(Alias { expr, .. })
        | Expr::Not(expr)
        | Expr::IsNull(expr)
        | Expr::IsNotNull(expr)
        | Expr::IsTrue(expr)
        | Expr::IsFalse(expr)
        | Expr::IsUnknown(expr)
        | Expr::IsNotTrue(expr)
        | Expr::IsNotFalse(expr)
        | Expr::IsNotUnknown(expr) => check(expr, schema, facts),
        Expr::TryCast(TryCast { expr, field }) if can_be_tried(&data_type(expr)?, field.data_type()) => {
            check(expr, schema, facts)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            each(&[left.as_ref(), right.as_ref()])?;
            let is_number = |data_type: &DataType| data_type.is_integer() || data_type.is_floating();
            match op {
                Operator::Eq
                | Operator::NotEq
                | Operator::Lt
                | Operator::LtEq
                | Operator::Gt
                | Operator::GtEq
                | Operator::And
                | Operator::Or
                | Operator::IsDistinctFrom
                | Operator::IsNotDistinctFrom => Ok(()),
                Operator::StringConcat if is_short(expr, facts) => Ok(()),
                Operator::Plus | Operator::Minus | Operator::Multiply
                    if is_number(&data_type(left)?) && is_number(&data_type(right)?) =>
                {
                    Ok(())
                }
                Operator::Divide | Operator::Modulo if is_number(&data_type(left)?) && is_positive(right) => Ok(()),
                _ => Err(refused(EXPRESSION)),
            }
        }
        Expr::Negative(inner) if matches!(inner.as_ref(), Expr::Literal(value, _) if value.arithmetic_negate().is_ok()) => {
            Ok(())
        }
        Expr::Like(Like { expr, pattern, escape_char: None, .. }) if is_literal(pattern) => {
            each(&[expr.as_ref(), pattern.as_ref()])
        }
        Expr::Between(Between { expr, low, high, .. }) => each(&[expr.as_ref(), low.as_ref(), high.as_ref()]),
        Expr::InList(InList { expr, list, .. }) => {
            check(expr, schema, facts)?;
            list.iter().try_for_each(|expr| check(expr, schema, facts))
        }
        Expr::Case(Case { expr, when_then_expr, else_expr }) => {
            let whens = when_then_expr.iter().flat_map(|(when, then)| [when.as_ref(), then.as_ref()]);
            let others = expr.iter().chain(else_expr).map(AsRef::as_ref);
            whens.chain(others).try_for_each(|expr| check(expr, schema, facts))
        }
        Expr::Cast(Cast { expr: inner, field }) => {
            check(inner, schema, facts)?;
            let to = field.data_type();
            let is_safe = match inner.as_ref() {
                Expr::Literal(value, _) => value.cast_to(to).is_ok(),
                // What is out of range becomes null (see `total`).
                Expr::Column(_) if data_type(inner)? == DataType::Date32 => to.is_temporal() || is_text(to),
                _ => cannot_fail(&data_type(inner)?, to),
            };
            if is_safe { Ok(()) } else { Err(refused(EXPRESSION)) }
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            let is_known_unit = || matches!(args.first(), Some(Expr::Literal(unit, _)) if unit_of(unit));
            let is_allowed = match func.name() {
                "lower" | "upper" | "btrim" | "ltrim" | "rtrim" | "character_length" => args.len() == 1,
                "coalesce" | "nullif" | "starts_with" => true,
                "concat" => is_short(expr, facts),
                "left" | "right" => args.get(1).is_some_and(is_literal),
                "date_trunc" | "date_part" => {
                    let time = args.get(1).map(data_type).transpose()?;
                    args.len() == 2 && is_known_unit() && time.is_some_and(|time| is_in_utc(&time))
                }
                _ => false,
            };
            if !is_allowed {
                return Err(refused(EXPRESSION));
            }
            args.iter().try_for_each(|expr| check(expr, schema, facts))
        }
        _ => Err(refused(EXPRESSION)),
    }
}

fn unit_of(value: &ScalarValue) -> bool {
    value.try_as_str().flatten().is_some_and(|unit| UNITS.contains(&unit.to_ascii_lowercase().as_str()))
}

/// Times of other zones may fall into an hour that a change of clocks leaves out.
fn is_in_utc(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, zone) => zone.as_deref().is_none_or(|zone| ["UTC", "+00:00"].contains(&zone)),
        other => other.is_temporal(),
    }
}

/// Texts put together of a few columns as they are stored: of computed ones, each of which doubles another, an array runs over.
fn is_short(expr: &Expr, facts: &Facts) -> bool {
    parts(expr, facts).is_some_and(|parts| parts <= MAX_PARTS)
}

fn parts(expr: &Expr, facts: &Facts) -> Option<usize> {
    match expr {
        Expr::Literal(..) => Some(1),
        Expr::Column(column) => facts.is_stored(column).then_some(1),
        Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. }) => parts(expr, facts),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right }) => {
            Some(parts(left, facts)? + parts(right, facts)?)
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "concat" => {
            args.iter().map(|expr| parts(expr, facts)).sum()
        }
        _ => None,
    }
}

fn is_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(..) => true,
        Expr::Cast(Cast { expr, .. }) => is_literal(expr),
        _ => false,
    }
}

/// A number above zero: dividing by it cannot fail.
fn is_positive(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => {
            matches!(value.cast_to(&DataType::Float64), Ok(ScalarValue::Float64(Some(number))) if number >= 1.0)
        }
        // Made smaller it could become nothing.
        Expr::Cast(Cast { expr, field }) => {
            is_positive(expr) && (field.data_type().is_integer() || field.data_type().is_floating())
        }
        _ => false,
    }
}

pub(crate) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Conversions that give null instead of failing. Numbers become no times: those that no calendar has fail only when they are spelled out.
fn can_be_tried(from: &DataType, to: &DataType) -> bool {
    use DataType::{Boolean, Date32, Decimal128, Timestamp};
    let is_plain = |data_type: &DataType| {
        is_text(data_type)
            || data_type.is_integer()
            || data_type.is_floating()
            || matches!(data_type, Boolean | Decimal128(..) | Date32 | Timestamp(..))
    };
    let is_time = |data_type: &DataType| matches!(data_type, Date32 | Timestamp(..));
    is_plain(from) && is_plain(to) && (!is_time(to) || is_time(from) || is_text(from))
}

/// Conversions that give every value another.
pub(crate) fn cannot_fail(from: &DataType, to: &DataType) -> bool {
    use DataType::{Boolean, Date32, Decimal128, Float32, Float64};
    let width = |data_type: &DataType| data_type.primitive_width().unwrap_or(0);
    match (from, to) {
        (from, to) if from == to => true,
        (from, to) if is_text(to) => is_text(from) || from.is_integer() || matches!(from, Boolean | Date32),
        (from, Float64) => from.is_integer() || matches!(from, Float32 | Decimal128(..)),
        (from, Float32) => from.is_integer(),
        (from, to) if from.is_integer() && to.is_integer() => {
            width(from) < width(to) && (to.is_signed_integer() || from.is_unsigned_integer())
        }
        (Decimal128(p, s), Decimal128(wider, scale)) => {
            scale >= s && i16::from(*wider) - i16::from(*scale) >= i16::from(*p) - i16::from(*s)
        }
        // A whole number of 64 bits has up to 20 digits.
        (from, Decimal128(p, s)) if from.is_integer() => i16::from(*p) - i16::from(*s) >= 20,
        _ => false,
    }
}
