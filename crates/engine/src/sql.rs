//! Which statements may run, what may be said about them, and where in them something is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::common::utils::datafusion_strsim::normalized_levenshtein;
use datafusion::error::DataFusionError;
use datafusion::sql::parser::{DFParserBuilder, Statement as DfStatement};
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr,
    Statement, TableAlias, TableFactor, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Location;

use crate::bounds;
use crate::errors::{EngineError, PlanProblem, PlanProblemKind, parser_position};
use crate::weight;

/// Deep enough for any query that a person writes; the parser recurses.
const MAX_DEPTH: usize = 50;

/// Tables and their columns, as the session may see them.
pub(crate) type VisibleNames = BTreeMap<String, Vec<String>>;

/// A statement that may be planned.
pub(crate) struct Gated {
    pub statement: DfStatement,
    pub explain: bool,
    /// Tables that the text names, as far as they are visible.
    pub tables: BTreeSet<String>,
    /// Where each name stands, for errors.
    names: Vec<Named>,
}

struct Named {
    text: String,
    kind: NameKind,
    position: (u64, u64),
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum NameKind {
    Table,
    Column,
    Function,
}

const ONLY: &str = "only a single SELECT, EXPLAIN, SHOW TABLES, SHOW COLUMNS or DESCRIBE statement may run";

/// Parses and refuses everything that is not a question.
pub(crate) fn gate(sql: &str, visible: &VisibleNames) -> Result<Gated, EngineError> {
    bounds::check(sql)?;
    let statements = DFParserBuilder::new(sql)
        .with_recursion_limit(MAX_DEPTH)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| {
            let position = parser_position(&error);
            let kind = crate::errors::planning_kind(&error);
            EngineError::Planning(PlanProblem { kind, position, did_you_mean: None })
        })?;
    let mut statements = statements.into_iter();
    let (Some(statement), None) = (statements.next(), statements.next()) else {
        return Err(EngineError::Refused { reason: ONLY });
    };
    let (mut statement, explain) = match statement {
        DfStatement::Explain(explain) => {
            let plain = explain.to_string();
            let options = plain.strip_suffix(&explain.statement.to_string()).unwrap_or(&plain).to_ascii_uppercase();
            // ANALYZE runs the query past the audit, VERBOSE shows the plan of the stored tables.
            if options.trim() != "EXPLAIN" {
                return Err(EngineError::Refused { reason: "only plain EXPLAIN may run" });
            }
            (*explain.statement, true)
        }
        other => (other, false),
    };
    let DfStatement::Statement(inner) = &mut statement else {
        return Err(EngineError::Refused { reason: ONLY });
    };
    match inner.as_ref() {
        Statement::Query(query) => {
            check_query(query)?;
            if !weight::is_bearable(inner) {
                return Err(bounds::too_much());
            }
        }
        Statement::ShowTables { .. } | Statement::ShowColumns { .. } | Statement::ExplainTable { .. } if !explain => {}
        _ => return Err(EngineError::Refused { reason: ONLY }),
    }
    let mut reader = NameReader::default();
    let _ = VisitMut::visit(inner.as_mut(), &mut reader);
    if reader.names.iter().filter(|named| named.kind == NameKind::Table).count() > bounds::RELATIONS {
        return Err(bounds::too_much());
    }
    let tables: BTreeSet<String> = reader
        .names
        .iter()
        .filter(|named| named.kind == NameKind::Table)
        .filter(|named| visible.contains_key(&named.text))
        .map(|named| named.text.clone())
        .collect();
    let mut spellings = Spellings::of(&tables, visible);
    let _ = VisitMut::visit(inner.as_mut(), &mut spellings);
    Ok(Gated { statement, explain, tables, names: reader.names })
}

fn check_query(query: &Query) -> Result<(), EngineError> {
    if let Some(with) = &query.with {
        with.cte_tables.iter().try_for_each(|cte| check_query(&cte.query))?;
    }
    if !query.locks.is_empty() {
        return Err(EngineError::Refused { reason: "tables cannot be locked" });
    }
    check_body(&query.body)
}

fn check_body(body: &SetExpr) -> Result<(), EngineError> {
    match body {
        SetExpr::Select(select) if select.into.is_some() => {
            Err(EngineError::Refused { reason: "SELECT INTO would write a table" })
        }
        SetExpr::Select(_) | SetExpr::Values(_) => Ok(()),
        SetExpr::Query(query) => check_query(query),
        SetExpr::SetOperation { left, right, .. } => check_body(left).and_then(|()| check_body(right)),
        _ => Err(EngineError::Refused { reason: ONLY }),
    }
}

/// Collects names with their places.
#[derive(Default)]
struct NameReader {
    names: Vec<Named>,
}

impl NameReader {
    fn name(&mut self, ident: &Ident, kind: NameKind) {
        let text = if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() };
        self.names.push(Named { text, kind, position: position(ident.span.start) });
    }
}

fn position(at: Location) -> (u64, u64) {
    (at.line, at.column)
}

impl VisitorMut for NameReader {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        if let Some(ident) = relation.0.last().and_then(|part| part.as_ident()) {
            self.name(ident, NameKind::Table);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => self.name(ident, NameKind::Column),
            Expr::CompoundIdentifier(idents) => {
                if let Some(ident) = idents.last() {
                    self.name(ident, NameKind::Column);
                }
            }
            Expr::Function(function) => {
                if let Some(ident) = function.name.0.last().and_then(|part| part.as_ident()) {
                    self.name(ident, NameKind::Function);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Exports write `BIRTHDATE`, people write `birthdate`, and SQL folds what is not quoted to small letters: a name without
/// quotes that fits one visible column but for its case is spelt as the column, wherever in the query it stands. Names
/// that the query makes are spelt in the same way, so that they go on fitting each other.
struct Spellings(BTreeMap<String, String>);

impl Spellings {
    fn of(tables: &BTreeSet<String>, visible: &VisibleNames) -> Self {
        let mut spellings: BTreeMap<String, BTreeSet<&String>> = BTreeMap::new();
        for column in tables.iter().filter_map(|table| visible.get(table)).flatten() {
            spellings.entry(column.to_ascii_lowercase()).or_default().insert(column);
        }
        let only = |(folded, spelt): (String, BTreeSet<&String>)| match spelt.first() {
            Some(spelling) if spelt.len() == 1 && **spelling != folded => Some((folded, (*spelling).clone())),
            _ => None,
        };
        Self(spellings.into_iter().filter_map(only).collect())
    }

    fn spell(&self, ident: &mut Ident) {
        if ident.quote_style.is_none()
            && let Some(spelling) = self.0.get(&ident.value.to_ascii_lowercase())
        {
            ident.value.clone_from(spelling);
            ident.quote_style = Some('"');
        }
    }

    fn spell_alias(&self, alias: &mut TableAlias) {
        alias.columns.iter_mut().for_each(|column| self.spell(&mut column.name));
    }

    fn spell_using(&self, join: &mut JoinOperator) {
        let (JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::LeftSemi(constraint)
        | JoinOperator::RightSemi(constraint)
        | JoinOperator::LeftAnti(constraint)
        | JoinOperator::RightAnti(constraint)) = join
        else {
            return;
        };
        if let JoinConstraint::Using(names) = constraint {
            for part in names.iter_mut().flat_map(|name| &mut name.0) {
                if let ObjectNamePart::Identifier(ident) = part {
                    self.spell(ident);
                }
            }
        }
    }
}

impl VisitorMut for Spellings {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(with) = &mut query.with {
            with.cte_tables.iter_mut().for_each(|cte| self.spell_alias(&mut cte.alias));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.spell(alias);
            }
        }
        for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
            self.spell_using(&mut join.join_operator);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
                self.spell_alias(alias);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => self.spell(ident),
            Expr::CompoundIdentifier(idents) => {
                if let Some(ident) = idents.last_mut() {
                    self.spell(ident);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Gated {
    /// What is wrong with the plan, with the place of the name that is not known and the closest one that is.
    pub(crate) fn problem<'a>(
        &self,
        error: &DataFusionError,
        visible: &VisibleNames,
        functions: impl Iterator<Item = &'a String>,
    ) -> EngineError {
        let kind = crate::errors::planning_kind(error);
        let of = |kind: NameKind| self.names.iter().filter(move |named| named.kind == kind);
        let known_columns: BTreeSet<&String> = if self.tables.is_empty() {
            visible.values().flatten().collect()
        } else {
            self.tables.iter().filter_map(|table| visible.get(table)).flatten().collect()
        };
        let (mut position, mut did_you_mean) = (None, None);
        match kind {
            PlanProblemKind::UnknownTable => {
                if let Some(named) = of(NameKind::Table).find(|named| !visible.contains_key(&named.text)) {
                    position = Some(named.position);
                    did_you_mean = closest(&named.text, visible.keys());
                }
            }
            PlanProblemKind::UnknownColumn => {
                let unknown =
                    |named: &&Named| !known_columns.iter().any(|known| known.eq_ignore_ascii_case(&named.text));
                if let Some(named) = of(NameKind::Column).find(unknown) {
                    position = Some(named.position);
                    did_you_mean = closest(&named.text, known_columns.into_iter());
                }
            }
            PlanProblemKind::UnknownFunction => {
                let known: BTreeSet<&String> = functions.collect();
                if let Some(named) = of(NameKind::Function).find(|named| !known.contains(&named.text)) {
                    position = Some(named.position);
                    did_you_mean = closest(&named.text, known.into_iter());
                }
            }
            _ => {}
        }
        EngineError::Planning(PlanProblem { kind, position, did_you_mean })
    }
}

fn closest<'a>(text: &str, known: impl Iterator<Item = &'a String>) -> Option<String> {
    let text = text.to_ascii_lowercase();
    known
        .map(|name| (normalized_levenshtein(&text, &name.to_ascii_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[test]
    fn only_questions_pass() {
        let visible = VisibleNames::from([("t".to_owned(), vec!["a".to_owned()])]);
        for sql in include_str!("../tests/cases/refused.sql").lines().filter(|line| !line.is_empty()) {
            let result = gate(sql, &visible);
            assert!(matches!(result, Err(EngineError::Refused { .. } | EngineError::Planning(_))), "{sql}");
        }
        for sql in include_str!("../tests/cases/allowed.sql").lines().filter(|line| !line.is_empty()) {
            assert!(gate(sql, &visible).is_ok(), "{sql}");
        }
    }
}
