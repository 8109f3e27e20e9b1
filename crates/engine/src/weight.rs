//! How large the plan of a text becomes. A name of WITH stands for its whole query wherever it is used, so a short text can stand for a plan that nobody could
//! ever walk: forty names, each used twice by the next, are a million million tables.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Query, Select, Statement, Visit, Visitor};

/// Queries and tables of a plan, each counted as often as it stands in it. Planning takes seconds at this.
const MOST: u64 = 10_000;
/// How many of them may stand one in another, joined and united ones too: what works on a plan, and be it to free it, calls itself at each step.
const DEEPEST: u64 = 2_000;

/// Whether the plan of the statement has a size that can be worked with.
pub(crate) fn is_bearable(statement: &Statement) -> bool {
    Visit::visit(statement, &mut Weigher::default()).is_continue()
}

#[derive(Clone, Copy)]
struct Weight {
    size: u64,
    depth: u64,
}

/// A query that is being read.
struct Open {
    weight: Weight,
    /// Of the deepest that stands in it.
    deepest: u64,
    /// The queries of its WITH, by where they are, with their names.
    named: Vec<(*const Query, String)>,
    known: BTreeMap<String, Weight>,
}

#[derive(Default)]
struct Weigher(Vec<Open>);

impl Weigher {
    fn add(&mut self, weight: Weight) -> ControlFlow<()> {
        let Some(open) = self.0.last_mut() else { return ControlFlow::Continue(()) };
        open.weight.size = open.weight.size.saturating_add(weight.size);
        // One more that is joined or united with what is there, and what stands deepest in any of them.
        let beside = open.weight.depth - open.deepest + 1;
        open.deepest = open.deepest.max(weight.depth);
        open.weight.depth = beside + open.deepest;
        if open.weight.size > MOST || open.weight.depth > DEEPEST {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// As planning compares names.
fn folded(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_ascii_lowercase() }
}

impl Visitor for Weigher {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let of_with = query.with.iter().flat_map(|with| &with.cte_tables);
        let named = of_with.map(|cte| (std::ptr::from_ref(&*cte.query), folded(&cte.alias.name))).collect();
        self.0.push(Open { weight: Weight { size: 1, depth: 1 }, deepest: 0, named, known: BTreeMap::new() });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let Some(done) = self.0.pop() else { return ControlFlow::Continue(()) };
        let at =
            |around: &Open| around.named.iter().find(|(at, _)| std::ptr::eq(*at, query)).map(|(_, name)| name.clone());
        let name = self.0.last().and_then(at);
        if let (Some(name), Some(around)) = (name, self.0.last_mut()) {
            // It counts where it is used.
            around.known.insert(name, done.weight);
            return ControlFlow::Continue(());
        }
        self.add(done.weight)
    }

    fn pre_visit_select(&mut self, _: &Select) -> ControlFlow<()> {
        self.add(Weight { size: 1, depth: 0 })
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let name = relation.0.last().and_then(|part| part.as_ident()).map(folded).unwrap_or_default();
        let known = self.0.iter().rev().find_map(|open| open.known.get(&name).copied());
        self.add(known.unwrap_or(Weight { size: 1, depth: 0 }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::fmt::Write as _;

    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn bearable(sql: &str) -> bool {
        is_bearable(&Parser::parse_sql(&GenericDialect {}, sql).unwrap()[0])
    }

    /// `last` after a chain of names, each made of the one before by `step`.
    fn chain(length: usize, step: impl Fn(&str) -> String) -> String {
        let mut with = "WITH c0 AS (SELECT 1 AS x)".to_owned();
        for number in 1..=length {
            let _ = write!(with, ", C{number} AS ({})", step(&format!("c{}", number - 1)));
        }
        format!("{with} SELECT count(*) FROM c{length}")
    }

    #[test]
    fn what_a_name_stands_for_counts_each_time_it_is_used() {
        assert!(bearable("SELECT 1"));
        assert!(bearable(&chain(100, |before| format!("SELECT * FROM {before}"))));
        let two = |before: &str| format!("SELECT * FROM {before} UNION ALL SELECT * FROM {before}");
        assert!(bearable(&chain(8, two)));
        assert!(!bearable(&chain(40, two)));
        for twice in [
            |before: &str| format!("SELECT * FROM {before} a, (SELECT * FROM (SELECT * FROM {before}) b) c"),
            |before: &str| format!("SELECT * FROM {before} WHERE x IN (SELECT x FROM {before})"),
            |before: &str| format!("SELECT (SELECT max(x) FROM {before}) AS x FROM {before}"),
            |before: &str| format!("WITH i AS (SELECT * FROM {before}) SELECT * FROM i UNION ALL SELECT * FROM I"),
            |before: &str| {
                format!("WITH i AS (SELECT * FROM {before}), j AS (SELECT * FROM i JOIN i k ON true) SELECT * FROM j")
            },
        ] {
            assert!(!bearable(&chain(40, twice)), "{}", twice("t"));
        }
        assert!(
            !bearable(&chain(1000, |before| format!("SELECT * FROM {before}"))),
            "one in another, too many of them"
        );
        let tables: Vec<String> = (0..3000).map(|number| format!("t t{number}")).collect();
        assert!(!bearable(&format!("SELECT 1 FROM {}", tables.join(", "))), "each joined with all before it");
        let united = " UNION ALL SELECT 1".repeat(900);
        assert!(bearable(&format!("SELECT 1{united}")));
    }
}
