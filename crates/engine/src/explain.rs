//! A plan for people: which tables and columns, in which order, with no literal, path, key or policy in it.
//!
//! Written from the plan's structure and never from DataFusion's own text, which shows literals (also inside the names of
//! columns) and files.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use datafusion::common::Column;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{Alias, Cast, InList, ScalarFunction, TryCast};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};

use crate::barrier::SecurityBarrier;
use crate::errors::EngineError;
use crate::sql::VisibleNames;

pub(crate) fn render(plan: &LogicalPlan, visible: &VisibleNames) -> Result<RecordBatch, EngineError> {
    let mut writer = Writer { names: visible.values().flatten().map(String::as_str).collect(), lines: Vec::new() };
    writer.plan(plan, 0);
    let lines: ArrayRef = Arc::new(StringArray::from(writer.lines));
    RecordBatch::try_from_iter([("plan", lines)]).map_err(|error| EngineError::arrow(&error))
}

fn barrier(plan: &LogicalPlan) -> Option<&SecurityBarrier> {
    let LogicalPlan::Extension(extension) = plan else {
        return None;
    };
    extension.node.as_any().downcast_ref()
}

struct Writer<'a> {
    names: BTreeSet<&'a str>,
    lines: Vec<String>,
}

impl Writer<'_> {
    fn plan(&mut self, plan: &LogicalPlan, depth: usize) {
        let line = self.node(plan);
        self.lines.push(format!("{}{line}", "  ".repeat(depth)));
        if barrier(plan).is_some() {
            return; // below stands the policy
        }
        for input in plan.inputs() {
            self.plan(input, depth + 1);
        }
        let mut subqueries = Vec::new();
        for expr in plan.expressions() {
            let _ = expr.apply(|expr| {
                match expr {
                    Expr::ScalarSubquery(subquery) => {
                        subqueries.push(Arc::clone(&subquery.subquery));
                    }
                    Expr::Exists(exists) => subqueries.push(Arc::clone(&exists.subquery.subquery)),
                    Expr::InSubquery(within) => {
                        subqueries.push(Arc::clone(&within.subquery.subquery));
                    }
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            });
        }
        for subquery in subqueries {
            self.lines.push(format!("{}Subquery", "  ".repeat(depth + 1)));
            self.plan(&subquery, depth + 2);
        }
    }

    fn node(&self, plan: &LogicalPlan) -> String {
        match plan {
            LogicalPlan::Projection(node) => format!("Project {}", self.list(&node.expr)),
            LogicalPlan::Filter(node) => format!("Filter {}", self.expr(&node.predicate)),
            LogicalPlan::Aggregate(node) => {
                format!("Aggregate by [{}]: {}", self.list(&node.group_expr), self.list(&node.aggr_expr))
            }
            LogicalPlan::Sort(node) => {
                let keys: Vec<String> = node
                    .expr
                    .iter()
                    .map(|key| format!("{}{}", self.expr(&key.expr), if key.asc { "" } else { " desc" }))
                    .collect();
                format!("Sort {}", keys.join(", "))
            }
            LogicalPlan::Join(node) => {
                let on: Vec<String> =
                    node.on.iter().map(|(l, r)| format!("{} = {}", self.expr(l), self.expr(r))).collect();
                format!("{} join on {}", node.join_type, on.join(" and "))
            }
            LogicalPlan::TableScan(node) => {
                let columns: Vec<&str> =
                    node.projected_schema.fields().iter().map(|field| self.known(field.name())).collect();
                let filter = if node.filters.is_empty() {
                    String::new()
                } else {
                    let filters: Vec<String> = node.filters.iter().map(|filter| self.expr(filter)).collect();
                    format!(" pruned by {}", filters.join(" and "))
                };
                format!("Scan {} [{}]{filter}", node.table_name.table(), columns.join(", "))
            }
            LogicalPlan::Extension(_) if barrier(plan).is_some() => {
                let columns: Vec<&str> = plan.schema().fields().iter().map(|field| self.known(field.name())).collect();
                let table = barrier(plan);
                let passed: Vec<String> =
                    table.iter().flat_map(|table| &table.passed).map(|passed| self.expr(passed)).collect();
                let filter =
                    if passed.is_empty() { String::new() } else { format!(" pruned by {}", passed.join(" and ")) };
                format!(
                    "Scan {} [{}]{filter}",
                    table.map(|table| table.table.as_str()).unwrap_or_default(),
                    columns.join(", ")
                )
            }
            LogicalPlan::SubqueryAlias(_) => "Named subquery".to_owned(),
            other => {
                // The word before the first separator is DataFusion's own name of the node.
                let text = other.display().to_string();
                text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or("Node").to_owned()
            }
        }
    }

    fn list(&self, exprs: &[Expr]) -> String {
        exprs.iter().map(|expr| self.expr(expr)).collect::<Vec<_>>().join(", ")
    }

    fn known<'b>(&self, name: &'b str) -> &'b str {
        if self.names.contains(name) { name } else { "(computed)" }
    }

    fn expr(&self, expr: &Expr) -> String {
        match expr {
            Expr::Alias(Alias { expr, .. }) => self.expr(expr),
            Expr::Column(Column { name, .. }) => self.known(name).to_owned(),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let nested = matches!(op, Operator::And | Operator::Or);
                let text = format!("{} {op} {}", self.expr(left), self.expr(right));
                if nested { format!("({text})") } else { text }
            }
            Expr::Not(inner) => format!("not {}", self.expr(inner)),
            Expr::IsNull(inner) => format!("{} is null", self.expr(inner)),
            Expr::IsNotNull(inner) => format!("{} is not null", self.expr(inner)),
            Expr::Cast(Cast { expr, .. }) => format!("cast({})", self.expr(expr)),
            Expr::TryCast(TryCast { expr, .. }) => format!("try_cast({})", self.expr(expr)),
            Expr::Between(between) => {
                format!("{}{} between ? and ?", self.expr(&between.expr), if between.negated { " not" } else { "" })
            }
            Expr::InList(InList { expr, negated, .. }) => {
                format!("{}{} in (?)", self.expr(expr), if *negated { " not" } else { "" })
            }
            Expr::ScalarFunction(ScalarFunction { func, args }) => {
                format!("{}({})", func.name(), self.list(args))
            }
            Expr::AggregateFunction(function) => {
                format!("{}({})", function.func.name(), self.list(&function.params.args))
            }
            // Literals, and whatever a later version brings.
            _ => "?".to_owned(),
        }
    }
}
