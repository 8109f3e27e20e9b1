//! The SQL of policies: row filters and masks as expressions that no value can make fail.
//!
//! An error in the middle of a query tells of the value that caused it, also when it is the policy that fails (`cast(code as
//! int) > 3` over a row that was to be hidden). What of a policy can fail is evaluated by [`Guarded`], where a row that fails
//! is NULL: hidden by a filter, masked as NULL.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::compute::concat;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use cordon_access::Mask;
use cordon_crypto::KeyedHash;
use datafusion::common::{Column, DFSchema, DFSchemaRef, ExprSchema};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
    try_cast,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::scalar::ScalarValue;

use crate::errors::EngineError;
use crate::leakproof::is_leakproof;
use crate::mask;

/// Row filter and masks as expressions over the table's real columns.
pub(crate) struct Policy {
    pub(crate) filter: Option<Expr>,
    pub(crate) masks: BTreeMap<String, Expr>,
}

/// What policies are read with.
pub(crate) struct PolicyReader<'a> {
    /// Knows the mask functions, which queries do not have.
    pub(crate) state: &'a SessionState,
    pub(crate) hash: &'a Arc<KeyedHash>,
}

impl PolicyReader<'_> {
    /// Anything that cannot be understood is an error: a view that cannot be enforced is none.
    pub(crate) fn read(
        &self,
        table: &str,
        schema: &SchemaRef,
        row_filter: Option<&str>,
        masks: &BTreeMap<String, Mask>,
    ) -> Result<Policy, EngineError> {
        let fields = DFSchema::try_from_qualified_schema(table, schema).map_err(|_| EngineError::Policy)?;
        let filter = row_filter.map(|sql| self.filter(sql, table, &fields)).transpose()?;
        let mut read = BTreeMap::new();
        for (name, mask) in masks {
            let Ok(field) = schema.field_with_name(name) else {
                continue;
            };
            let column = || vec![Expr::Column(Column::new(Some(table), name))];
            let masked = match mask {
                Mask::None => continue,
                Mask::Null => lit(ScalarValue::try_new_null(field.data_type()).map_err(|_| EngineError::Policy)?),
                Mask::Redact => mask::redact().call(column()),
                Mask::ShowLast4 => mask::show_last_4().call(column()),
                Mask::ShowFirst4 => mask::show_first_4().call(column()),
                Mask::ShowYear => mask::show_year().call(column()),
                Mask::Hash => mask::hash(self.hash).call(column()),
                Mask::Custom(sql) => self.custom(sql, table, &fields, field)?,
                _ => return Err(EngineError::Policy),
            };
            read.insert(name.clone(), masked);
        }
        Ok(Policy { filter, masks: read })
    }

    fn expr(&self, sql: &str, fields: &DFSchema) -> Result<Expr, EngineError> {
        let read = || {
            let expr = self.state.create_logical_expr(sql, fields)?;
            let context = SimplifyContext::builder()
                .with_schema(Arc::new(fields.clone()))
                .with_config_options(Arc::clone(self.state.config_options()))
                .build();
            let simplifier = ExprSimplifier::new(context);
            simplifier.simplify(simplifier.coerce(expr, fields)?)
        };
        read().map_err(|_| EngineError::Policy)
    }

    /// Conditions that cannot fail stand as they are, and prune; the others are guarded.
    fn filter(&self, sql: &str, table: &str, fields: &DFSchema) -> Result<Expr, EngineError> {
        let filter = self.expr(sql, fields)?;
        match filter.get_type(fields).map_err(|_| EngineError::Policy)? {
            DataType::Boolean | DataType::Null => {}
            _ => return Err(EngineError::Policy),
        }
        let mut conditions = Vec::new();
        for condition in split_conjunction_owned(filter) {
            conditions.push(if is_leakproof(&condition, fields, &|_| true) {
                condition
            } else {
                guarded(condition, table, fields, &DataType::Boolean)?
            });
        }
        conjunction(conditions).ok_or(EngineError::Policy)
    }

    fn custom(&self, sql: &str, table: &str, fields: &DFSchema, field: &Field) -> Result<Expr, EngineError> {
        let column = format!("\"{}\"", field.name().replace('"', "\"\""));
        let mut sql = sql.replace("{col}", &column);
        if sql.contains("{type}") {
            sql = sql.replace("{type}", &sql_type(field.data_type()).ok_or(EngineError::Policy)?);
        }
        // Of the same type as before, so that a query cannot tell by its type error which columns are masked.
        guarded(self.expr(&sql, fields)?, table, fields, field.data_type())
    }
}

impl Policy {
    /// Columns that the policy reads, visible or not.
    pub(crate) fn columns(&self) -> impl Iterator<Item = String> + '_ {
        self.filter
            .iter()
            .chain(self.masks.values())
            .flat_map(|expr| expr.column_refs().into_iter().map(|column| column.name.clone()).collect::<Vec<_>>())
    }
}

/// As it is written in a cast.
fn sql_type(data_type: &DataType) -> Option<String> {
    Some(match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "varchar".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "tinyint".to_owned(),
        DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::UInt8 => "tinyint unsigned".to_owned(),
        DataType::UInt16 => "smallint unsigned".to_owned(),
        DataType::UInt32 => "int unsigned".to_owned(),
        DataType::UInt64 => "bigint unsigned".to_owned(),
        DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision}, {scale})"),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(TimeUnit::Second, None) => "timestamp(0)".to_owned(),
        DataType::Timestamp(TimeUnit::Millisecond, None) => "timestamp(3)".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, None) => "timestamp(6)".to_owned(),
        DataType::Timestamp(TimeUnit::Nanosecond, None) => "timestamp(9)".to_owned(),
        _ => return None,
    })
}

/// The expression with each row on which it fails as NULL.
fn guarded(expr: Expr, table: &str, fields: &DFSchema, data_type: &DataType) -> Result<Expr, EngineError> {
    let build = || {
        let expr = if expr.get_type(fields)? == *data_type { expr } else { try_cast(expr, data_type.clone()) };
        let mut columns: Vec<Column> = expr.column_refs().into_iter().cloned().collect();
        columns.sort();
        if columns.is_empty() {
            return Ok(expr); // the same for every row: it tells of none
        }
        let mut inner = Vec::new();
        for column in &columns {
            inner.push(Field::new(&column.name, fields.field_from_column(column)?.data_type().clone(), true));
        }
        let types = inner.iter().map(|field| field.data_type().clone()).collect();
        let schema = Arc::new(DFSchema::try_from_qualified_schema(table, &Schema::new(inner))?);
        let mut function = Guarded {
            expr,
            schema,
            data_type: data_type.clone(),
            bound: None,
            signature: Signature::exact(types, Volatility::Immutable),
        };
        // Checked now, so that a policy that cannot be run at all is refused and does not hide everything.
        function.bind(&SimplifyContext::builder().with_current_time().build())?;
        function.bound = None;
        let args = columns.into_iter().map(Expr::Column).collect();
        Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function.into()), args)))
    };
    build().map_err(|_: datafusion::error::DataFusionError| EngineError::Policy)
}

/// An expression of a policy, closed to the optimiser, as a function of the columns that it reads.
#[derive(Clone)]
struct Guarded {
    expr: Expr,
    schema: DFSchemaRef,
    data_type: DataType,
    /// Made for each query, which has its own `now()`.
    bound: Option<Arc<dyn PhysicalExpr>>,
    signature: Signature,
}

impl Guarded {
    fn bind(&mut self, info: &SimplifyContext) -> Result<Arc<dyn PhysicalExpr>> {
        let context = SimplifyContext::builder()
            .with_schema(Arc::clone(&self.schema))
            .with_config_options(Arc::clone(info.config_options()))
            .with_query_execution_start_time(info.query_execution_start_time())
            .build();
        let expr = ExprSimplifier::new(context).simplify(self.expr.clone())?;
        let physical =
            create_physical_expr(&expr, &self.schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
        self.bound = Some(Arc::clone(&physical));
        Ok(physical)
    }

    /// Halves a batch that fails until the rows that fail stand alone.
    fn evaluate(&self, physical: &dyn PhysicalExpr, batch: &RecordBatch) -> Result<ArrayRef> {
        let rows = batch.num_rows();
        let whole = physical.evaluate(batch).and_then(|value| value.into_array(rows));
        match whole {
            Ok(array) if *array.data_type() == self.data_type => Ok(array),
            _ if rows <= 1 => Ok(new_null_array(&self.data_type, rows)),
            _ => {
                let (first, second) = (batch.slice(0, rows / 2), batch.slice(rows / 2, rows - rows / 2));
                let (first, second) = (self.evaluate(physical, &first)?, self.evaluate(physical, &second)?);
                Ok(concat(&[first.as_ref(), second.as_ref()])?)
            }
        }
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guarded")
    }
}

impl PartialEq for Guarded {
    fn eq(&self, other: &Self) -> bool {
        self.expr == other.expr
            && self.data_type == other.data_type
            && self.schema == other.schema
            && self.bound.is_some() == other.bound.is_some()
    }
}

impl Eq for Guarded {}

impl std::hash::Hash for Guarded {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.expr.hash(state);
        self.bound.is_some().hash(state);
    }
}

impl ScalarUDFImpl for Guarded {
    fn name(&self) -> &'static str {
        "policy"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        if self.bound.is_some() {
            return Ok(ExprSimplifyResult::Original(args));
        }
        let mut function = self.clone();
        function.bind(info)?;
        let function = ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), args);
        Ok(ExprSimplifyResult::Simplified(Expr::ScalarFunction(function)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let physical = match &self.bound {
            Some(physical) => Arc::clone(physical),
            None => self.clone().bind(&SimplifyContext::default())?,
        };
        let arrays: Vec<ArrayRef> =
            args.args.into_iter().map(|value| value.into_array(args.number_rows)).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(args.number_rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(self.schema.inner()), arrays, &options)?;
        self.evaluate(physical.as_ref(), &batch).map(ColumnarValue::Array)
    }
}
