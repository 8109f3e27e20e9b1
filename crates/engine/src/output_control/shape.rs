//! Which queries over tables of which only statistics leave are understood, and what is run for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_schema::{DataType, Schema};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DFSchemaRef, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::expr_fn::{count, sum};
use datafusion::logical_expr::expr::{AggregateFunction, Alias, BinaryExpr, Cast, GroupingSet};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{grouping_set_to_exprlist, split_conjunction};
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, Filter, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Operator, Projection,
    cast, lit,
};

use super::allowed::{SUBJECT, cannot_fail, check};
use super::subject::HIDDEN;
use super::total::total;
use super::{OutputControl, refused};
use crate::barrier::SecurityBarrier;
use crate::errors::EngineError;

const ONLY_AGGREGATES: &str =
    "only aggregates may leave this table: a query groups its rows, or counts or averages all of them";
const ONE_GROUPING: &str = "only aggregates may leave this table, of one grouping in a query: not of two that are joined, united or nested, \
                            and none in an expression";
const BELOW: &str = "only aggregates may leave this table, and below the grouping a query may only filter, compute columns and join tables of \
                     the same kind: no DISTINCT, LIMIT, window, set operation or grouping there";
const OTHER_TABLE: &str = "only aggregates may leave this table, and it is joined only with tables of the same kind: others could give each \
                           person a weight";
const NOT_BY_SUBJECT: &str = "only aggregates may leave these tables, and they are joined (inner, left or right) on the columns that say \
                              whose a row is, so that each row is of one person";
const FUNCTION: &str = "only count, sum, avg, stddev and var may leave this table, of a column as it stands, without FILTER and ORDER BY; \
                        DISTINCT only of the column that says whose a row is";
const NO_SUBJECT: &str = "only aggregates may leave this table, and it does not say which column says whose a row is: run its pipeline again \
                          with a policy that names the `subject`";
const TOO_MANY_GROUPINGS: &str = "too many grouping sets over a table of which only aggregates leave";

/// A table of which only statistics leave.
pub(crate) struct Controlled {
    /// The table with its subject behind its columns; `None` where it names none.
    pub provider: Option<Arc<dyn TableProvider>>,
    /// The column as queries may see it, if they see it as it is.
    pub visible_subject: Option<String>,
    pub control: OutputControl,
}

pub(crate) type ControlledTables = BTreeMap<String, Controlled>;

/// What is known of the columns of a part of the plan.
#[derive(Clone, Default)]
pub(crate) struct Facts {
    /// Columns of stored tables as they stand, with table and name.
    stored: BTreeMap<Column, (String, String)>,
    subjects: BTreeSet<Column>,
}

impl Facts {
    pub(crate) fn is_subject(&self, column: &Column) -> bool {
        self.subjects.contains(column)
    }

    pub(crate) fn is_stored(&self, column: &Column) -> bool {
        self.stored.contains_key(column)
    }

    /// The facts where each column has become another.
    fn moved<'a>(&self, moves: impl Iterator<Item = (&'a Column, Column)>) -> Self {
        let mut facts = Self::default();
        for (from, to) in moves {
            if let Some(stored) = self.stored.get(from) {
                facts.stored.insert(to.clone(), stored.clone());
            }
            if self.subjects.contains(from) {
                facts.subjects.insert(to);
            }
        }
        facts
    }
}

/// A part of the plan that carries the subject.
struct Carrying {
    plan: LogicalPlan,
    subject: Column,
    facts: Facts,
}

/// A number that the query asks for.
#[derive(Clone, Copy)]
pub(crate) enum Asked {
    Rows,
    Subjects,
    Count(usize),
    Sum(usize),
    Mean(usize),
    Variance {
        of: usize,
        sample: bool,
        root: bool,
    },
    /// DataFusion's own bit mask of the grouping set.
    GroupingId,
}

/// What is run below, and what is made of it.
pub(crate) struct Release {
    /// Gives for each group and subject: the group's values, the subject, rows, and count, sum and squares of each measure.
    pub plan: LogicalPlan,
    pub groups: usize,
    /// For each grouping set the columns that it groups by.
    pub sets: Vec<Vec<bool>>,
    /// The query is of the whole table: its answer has one row, whatever is in it.
    pub is_total: bool,
    /// Table and column of each measure.
    pub measures: Vec<(String, String)>,
    /// The columns of the aggregate behind the groups.
    pub asked: Vec<Asked>,
    pub schema: DFSchemaRef,
    pub control: OutputControl,
}

/// The scan of a controlled table.
fn controlled_scan<'a>(plan: &LogicalPlan, tables: &'a ControlledTables) -> Option<(TableReference, &'a Controlled)> {
    let name = match plan {
        LogicalPlan::TableScan(scan) => scan.table_name.clone(),
        LogicalPlan::Extension(node) => {
            TableReference::bare(node.node.as_any().downcast_ref::<SecurityBarrier>()?.table.clone())
        }
        _ => return None,
    };
    let is_ours = name.schema().is_none_or(|schema| schema == crate::session::SCHEMA);
    tables.get(name.table()).filter(|_| is_ours).map(|table| (name, table))
}

/// How many scans of controlled tables there are, in expressions too if `everywhere`.
fn scans(plan: &LogicalPlan, tables: &ControlledTables, everywhere: bool) -> Result<usize, EngineError> {
    let mut found = 0;
    let mut see = |node: &LogicalPlan| {
        if controlled_scan(node, tables).is_some() {
            found += 1;
            return Ok(TreeNodeRecursion::Jump);
        }
        Ok(TreeNodeRecursion::Continue)
    };
    use datafusion::common::tree_node::TreeNode;
    let seen = if everywhere { plan.apply_with_subqueries(&mut see) } else { plan.apply(&mut see) };
    seen.map_err(|error: DataFusionError| EngineError::execution(&error))?;
    Ok(found)
}

/// The aggregate at which an analysed plan is cut; `None` when it reads no controlled table.
pub(crate) fn cut<'a>(plan: &'a LogicalPlan, tables: &ControlledTables) -> Result<Option<&'a Aggregate>, EngineError> {
    let all = scans(plan, tables, true)?;
    if all == 0 {
        return Ok(None);
    }
    if scans(plan, tables, false)? != all {
        return Err(refused(ONE_GROUPING));
    }
    let mut node = plan;
    let mut lowest = None;
    loop {
        if let LogicalPlan::Aggregate(aggregate) = node {
            lowest = Some(aggregate);
        }
        let mut below = Vec::new();
        for input in node.inputs() {
            if scans(input, tables, false)? > 0 {
                below.push(input);
            }
        }
        match below.as_slice() {
            [only] if controlled_scan(node, tables).is_none() => node = only,
            // A join below the aggregate; with no aggregate above, it is one of rows or of several aggregates.
            _ => break,
        }
    }
    let aggregate = lowest.ok_or_else(|| refused(ONLY_AGGREGATES))?;
    Ok(Some(aggregate))
}

/// The plan with another in the place of the aggregate that [`cut`] found.
pub(crate) fn put(
    plan: &LogicalPlan,
    aggregate: &Aggregate,
    instead: &LogicalPlan,
) -> Result<LogicalPlan, EngineError> {
    if matches!(plan, LogicalPlan::Aggregate(found) if std::ptr::eq(found, aggregate)) {
        return Ok(instead.clone());
    }
    let mut inputs = Vec::new();
    for input in plan.inputs() {
        inputs.push(put(input, aggregate, instead)?);
    }
    if inputs.is_empty() {
        return Ok(plan.clone());
    }
    plan.with_new_exprs(plan.expressions(), inputs).map_err(|_| refused(ONE_GROUPING))
}

/// What is run for the aggregate.
pub(crate) fn release(aggregate: &Aggregate, tables: &ControlledTables) -> Result<Release, EngineError> {
    let Carrying { plan, subject, facts } = carry(&aggregate.input, tables)?;
    let schema = Arc::clone(plan.schema());
    let groups: Vec<Expr> = grouping_set_to_exprlist(&aggregate.group_expr)
        .map_err(|_| refused(ONLY_AGGREGATES))?
        .into_iter()
        .cloned()
        .collect();
    groups.iter().try_for_each(|group| check(group, &schema, &facts))?;
    let position = |expr: &Expr| groups.iter().position(|group| group == expr);
    let set = |exprs: &[Expr]| {
        let mut columns = vec![false; groups.len()];
        for at in exprs.iter().filter_map(position) {
            if let Some(column) = columns.get_mut(at) {
                *column = true;
            }
        }
        columns
    };
    let (sets, is_grouping_set): (Vec<Vec<bool>>, bool) = match aggregate.group_expr.as_slice() {
        [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] => (sets.iter().map(|exprs| set(exprs)).collect(), true),
        [Expr::GroupingSet(GroupingSet::Rollup(exprs))] => {
            ((0..=exprs.len()).map(|count| set(exprs.get(..count).unwrap_or_default())).collect(), true)
        }
        // More sets than are worked out anyway.
        [Expr::GroupingSet(GroupingSet::Cube(exprs))] if exprs.len() > 6 => return Err(refused(TOO_MANY_GROUPINGS)),
        [Expr::GroupingSet(GroupingSet::Cube(exprs))] => {
            let chosen = |mask: usize| {
                let kept = exprs.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1).map(|(_, expr)| expr.clone());
                set(&kept.collect::<Vec<_>>())
            };
            ((0..1_usize << exprs.len()).map(chosen).collect(), true)
        }
        _ => (vec![vec![true; groups.len()]], false),
    };
    let distinct: BTreeSet<&Vec<bool>> = sets.iter().collect();
    if distinct.len() < sets.len() || sets.len() > 64 || groups.len() > 32 {
        return Err(refused(TOO_MANY_GROUPINGS));
    }
    let mut measures: Vec<Column> = Vec::new();
    let mut asked = if is_grouping_set { vec![Asked::GroupingId] } else { Vec::new() };
    for expr in &aggregate.aggr_expr {
        asked.push(asked_for(expr, &facts, &schema, &mut measures)?);
    }
    let is_total = groups.is_empty() && !is_grouping_set;
    let names = measures.iter().filter_map(|column| facts.stored.get(column).cloned()).collect();
    let width = groups.len();
    let plan = by_subject(plan, groups, subject, &measures).map_err(|_| refused(ONLY_AGGREGATES))?;
    let control = control_of(&aggregate.input, tables)?;
    Ok(Release {
        plan,
        groups: width,
        sets,
        is_total,
        measures: names,
        asked,
        schema: Arc::clone(&aggregate.schema),
        control,
    })
}

/// Of the tables' rules the narrower each.
fn control_of(plan: &LogicalPlan, tables: &ControlledTables) -> Result<OutputControl, EngineError> {
    use datafusion::common::tree_node::TreeNode;
    let mut control: Option<OutputControl> = None;
    plan.apply(|node| {
        if let Some((_, table)) = controlled_scan(node, tables) {
            control = Some(match control.take() {
                None => table.control.clone(),
                Some(other) => OutputControl {
                    rules: other.rules.or(table.control.rules),
                    rounding: other.rounding.max(table.control.rounding),
                    ..other
                },
            });
            return Ok(TreeNodeRecursion::Jump);
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(|error| EngineError::execution(&error))?;
    control.ok_or_else(|| refused(ONLY_AGGREGATES))
}

fn asked_for(
    expr: &Expr,
    facts: &Facts,
    schema: &datafusion::common::DFSchema,
    measures: &mut Vec<Column>,
) -> Result<Asked, EngineError> {
    let expr = match expr {
        Expr::Alias(Alias { expr, .. }) => expr.as_ref(),
        other => other,
    };
    let Expr::AggregateFunction(AggregateFunction { func, params }) = expr else {
        return Err(refused(FUNCTION));
    };
    if params.filter.is_some() || !params.order_by.is_empty() || params.null_treatment.is_some() {
        return Err(refused(FUNCTION));
    }
    let [argument] = params.args.as_slice() else {
        return Err(refused(FUNCTION));
    };
    let name = func.name();
    if let (Expr::Literal(value, _), "count", false) = (argument, name, params.distinct)
        && !value.is_null()
    {
        return Ok(Asked::Rows);
    }
    let column = stored_column(argument, schema).ok_or_else(|| refused(FUNCTION))?;
    if params.distinct {
        let is_subject = name == "count" && facts.is_subject(&column);
        return if is_subject { Ok(Asked::Subjects) } else { Err(refused(FUNCTION)) };
    }
    if !facts.stored.contains_key(&column) {
        return Err(refused(FUNCTION));
    }
    let is_number = argument.get_type(schema).is_ok_and(|data_type| data_type.is_numeric());
    if name != "count" && (!is_number || facts.is_subject(&column)) {
        return Err(refused(if facts.is_subject(&column) { SUBJECT } else { FUNCTION }));
    }
    let of = measures.iter().position(|known| *known == column).unwrap_or_else(|| {
        measures.push(column);
        measures.len() - 1
    });
    match name {
        "count" => Ok(Asked::Count(of)),
        "sum" => Ok(Asked::Sum(of)),
        "avg" => Ok(Asked::Mean(of)),
        "stddev" => Ok(Asked::Variance { of, sample: true, root: true }),
        "stddev_pop" => Ok(Asked::Variance { of, sample: false, root: true }),
        "var" => Ok(Asked::Variance { of, sample: true, root: false }),
        "var_pop" => Ok(Asked::Variance { of, sample: false, root: false }),
        _ => Err(refused(FUNCTION)),
    }
}

/// A column that the planner may have made wider.
fn stored_column(expr: &Expr, schema: &datafusion::common::DFSchema) -> Option<Column> {
    match expr {
        Expr::Column(column) => Some(column.clone()),
        Expr::Cast(Cast { expr, field }) => {
            let from = expr.get_type(schema).ok()?;
            let widens = from.is_numeric() && field.data_type().is_numeric() && cannot_fail(&from, field.data_type());
            if widens { stored_column(expr, schema) } else { None }
        }
        _ => None,
    }
}

/// Rows, and count, sum and squares of each measure, by group and subject.
fn by_subject(
    plan: LogicalPlan,
    groups: Vec<Expr>,
    subject: Column,
    measures: &[Column],
) -> Result<LogicalPlan, DataFusionError> {
    let schema = Arc::clone(plan.schema());
    let mut keys = groups.into_iter().map(|group| total(group, &schema)).collect::<Result<Vec<Expr>, _>>()?;
    keys.push(Expr::Column(subject));
    let mut numbers = vec![count(lit(1_i64))];
    for column in measures {
        let value = Expr::Column(column.clone());
        numbers.push(count(value.clone()));
        if value.get_type(&schema)?.is_numeric() {
            let value = cast(value, DataType::Float64);
            numbers.push(sum(value.clone()));
            numbers.push(sum(value.clone() * value));
        } else {
            numbers.push(sum(lit(0.0_f64)).alias(format!("none of {}", numbers.len())));
            numbers.push(sum(lit(0.0_f64)).alias(format!("none of {}", numbers.len())));
        }
    }
    let plan = LogicalPlanBuilder::from(plan).aggregate(keys, numbers)?.build()?;
    let named: Vec<Expr> =
        (0..).zip(plan.schema().columns()).map(|(at, column)| Expr::Column(column).alias(format!("c{at}"))).collect();
    LogicalPlanBuilder::from(plan).project(named)?.build()
}

/// The same rows, with their subject.
fn carry(plan: &LogicalPlan, tables: &ControlledTables) -> Result<Carrying, EngineError> {
    let failed = |_: DataFusionError| refused(BELOW);
    if let Some((name, table)) = controlled_scan(plan, tables) {
        let provider = table.provider.as_ref().ok_or_else(|| refused(NO_SUBJECT))?;
        let carrying = LogicalPlanBuilder::scan(name.clone(), provider_as_source(Arc::clone(provider)), None)
            .and_then(LogicalPlanBuilder::build)
            .map_err(failed)?;
        let mut facts = Facts::default();
        for column in plan.schema().columns() {
            if table.visible_subject.as_ref() == Some(&column.name) {
                facts.subjects.insert(column.clone());
            }
            facts.stored.insert(column.clone(), (name.table().to_owned(), column.name));
        }
        return Ok(Carrying { plan: carrying, subject: Column::new(Some(name), HIDDEN), facts });
    }
    match plan {
        LogicalPlan::SubqueryAlias(alias) => {
            let below = carry(&alias.input, tables)?;
            let columns = alias.input.schema().columns();
            let facts = below.facts.moved(columns.iter().zip(alias.schema.columns()));
            let plan = LogicalPlanBuilder::from(below.plan)
                .alias(alias.alias.clone())
                .and_then(LogicalPlanBuilder::build)
                .map_err(failed)?;
            Ok(Carrying { plan, subject: Column::new(Some(alias.alias.clone()), HIDDEN), facts })
        }
        LogicalPlan::Filter(filter) => {
            let below = carry(&filter.input, tables)?;
            check(&filter.predicate, below.plan.schema(), &below.facts)?;
            let predicate = total(filter.predicate.clone(), below.plan.schema()).map_err(failed)?;
            let plan = Filter::try_new(predicate, Arc::new(below.plan)).map(LogicalPlan::Filter).map_err(failed)?;
            Ok(Carrying { plan, ..below })
        }
        LogicalPlan::Projection(projection) => {
            let below = carry(&projection.input, tables)?;
            for expr in &projection.expr {
                // A subject may be passed on as it is.
                match unaliased(expr) {
                    Expr::Column(_) => {}
                    other => check(other, below.plan.schema(), &below.facts)?,
                }
            }
            let outputs = projection.schema.columns();
            let moves = projection.expr.iter().zip(outputs).filter_map(|(expr, output)| match unaliased(expr) {
                Expr::Column(column) => Some((column, output)),
                _ => None,
            });
            let facts = below.facts.moved(moves);
            let named = |expr: &Expr| {
                let name = NamePreserver::new_for_projection().save(expr);
                total(expr.clone(), below.plan.schema()).map(|expr| name.restore(expr))
            };
            let mut exprs = projection.expr.iter().map(named).collect::<Result<Vec<_>, _>>().map_err(failed)?;
            exprs.push(Expr::Column(below.subject.clone()));
            let plan = Projection::try_new(exprs, Arc::new(below.plan)).map(LogicalPlan::Projection).map_err(failed)?;
            Ok(Carrying { plan, subject: below.subject, facts })
        }
        LogicalPlan::Join(join) => carry_join(join, tables),
        LogicalPlan::TableScan(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Extension(_) => Err(refused(OTHER_TABLE)),
        _ => Err(refused(BELOW)),
    }
}

fn carry_join(join: &Join, tables: &ControlledTables) -> Result<Carrying, EngineError> {
    let (left, right) = (carry(&join.left, tables)?, carry(&join.right, tables)?);
    let is_subject = |facts: &Facts, expr: &Expr| matches!(expr, Expr::Column(column) if facts.is_subject(column));
    let joins_persons = |one: &Expr, other: &Expr| {
        (is_subject(&left.facts, one) && is_subject(&right.facts, other))
            || (is_subject(&left.facts, other) && is_subject(&right.facts, one))
    };
    // Equalities of ON are found apart only later.
    let conditions = join.filter.as_ref().map(split_conjunction).unwrap_or_default();
    let is_of_persons = |condition: &Expr| matches!(condition, Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if joins_persons(left, right));
    let of_one_person =
        join.on.iter().any(|(l, r)| joins_persons(l, r)) || conditions.iter().any(|condition| is_of_persons(condition));
    if !of_one_person
        || !matches!(join.join_type, JoinType::Inner | JoinType::Left | JoinType::Right)
        || join.null_aware
    {
        return Err(refused(NOT_BY_SUBJECT));
    }
    for (l, r) in &join.on {
        if joins_persons(l, r) {
            continue;
        }
        check(l, left.plan.schema(), &left.facts)?;
        check(r, right.plan.schema(), &right.facts)?;
    }
    let mut facts = left.facts.clone();
    facts.stored.extend(right.facts.stored.clone());
    facts.subjects.extend(right.facts.subjects.clone());
    for condition in conditions.into_iter().filter(|condition| !is_of_persons(condition)) {
        check(condition, &join.schema, &facts)?;
    }
    // The side whose rows all stay says whose a row is.
    let (subject, other) =
        if join.join_type == JoinType::Right { (right.subject, left.subject) } else { (left.subject, right.subject) };
    let build = || {
        let on = join
            .on
            .iter()
            .map(|(l, r)| Ok((total(l.clone(), left.plan.schema())?, total(r.clone(), right.plan.schema())?)));
        let on = on.collect::<Result<Vec<_>, DataFusionError>>()?;
        let filter = join.filter.clone().map(|filter| total(filter, &join.schema)).transpose()?;
        let joined = Join::try_new(
            Arc::new(left.plan),
            Arc::new(right.plan),
            on,
            filter,
            join.join_type,
            join.join_constraint,
            join.null_equality,
            false,
        )?;
        let kept = joined.schema.columns().into_iter().filter(|column| *column != other).map(Expr::Column).collect();
        Projection::try_new(kept, Arc::new(LogicalPlan::Join(joined))).map(LogicalPlan::Projection)
    };
    let plan = build().map_err(|_: DataFusionError| refused(NOT_BY_SUBJECT))?;
    // The column of the other side is empty where it has no row; counting it would count other rows than the subject's.
    Ok(Carrying { plan, subject, facts })
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(Alias { expr, .. }) => unaliased(expr),
        other => other,
    }
}

/// The aggregate's columns, every one of them nullable: what is withheld has no value.
pub(crate) fn nullable(schema: &DFSchemaRef) -> Schema {
    let fields = (0..)
        .zip(schema.fields())
        .map(|(at, field): (usize, _)| arrow_schema::Field::new(format!("c{at}"), field.data_type().clone(), true));
    Schema::new(fields.collect::<Vec<_>>())
}
