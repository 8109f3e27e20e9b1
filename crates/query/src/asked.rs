//! One question, for the record.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cordon_access::{Decision, Privilege, Purpose, Reason};
use cordon_audit::{DatasetAccess, Event, Label, Statement, WithheldGroups};
use cordon_engine::{EngineError, PlanProblemKind, Withheld};
use cordon_pipeline::error::{RunError, engine_exit};
use cordon_pipeline::project::OpenProject;
use cordon_pipeline::run::new_run_id;

use crate::{QueryError, Question, Stored, rights};

/// A question with what was decided about it.
pub(crate) struct Asked {
    project: Arc<OpenProject>,
    stored: Stored,
    open: BTreeMap<String, Decision>,
    id: String,
    question: Question,
    /// With every name that exists, also where the user may not know of it: the record is not for the user.
    statement: Statement,
    /// All names in the text, in small letters.
    named: BTreeSet<String>,
}

impl Asked {
    pub(crate) fn new(
        project: Arc<OpenProject>,
        stored: Stored,
        open: BTreeMap<String, Decision>,
        question: Question,
    ) -> Self {
        let tables = stored.columns.keys().chain(stored.damaged.keys());
        let known: BTreeSet<String> =
            tables.chain(stored.columns.values().flatten()).map(|name| name.to_lowercase()).collect();
        let named = RefCell::new(BTreeSet::new());
        let statement = Statement::without_literals(&question.sql, |name| {
            let name = name.to_lowercase();
            let is_known = known.contains(&name);
            named.borrow_mut().insert(name);
            is_known
        });
        Self { project, stored, open, id: new_run_id(), question, statement, named: named.into_inner() }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn sql(&self) -> &str {
        &self.question.sql
    }

    pub(crate) fn open(&self) -> &BTreeMap<String, Decision> {
        &self.open
    }

    /// What in the policy opened the table.
    pub(crate) fn why(&self, table: &str) -> Vec<Reason> {
        self.open.get(table).map(|decision| decision.why.clone()).unwrap_or_default()
    }

    pub(crate) fn user(&self) -> &str {
        &self.question.principal.name
    }

    fn purpose(&self) -> Purpose {
        self.question.usage.purpose
    }

    /// Nothing at all is open: the question and its denial go on the record.
    pub(crate) fn nothing_granted(&self) -> Result<QueryError, RunError> {
        self.started(Vec::new())?;
        self.deny_named()?;
        self.failed("denied")?;
        Ok(QueryError::NothingGranted { user: self.user().to_owned(), purpose: self.purpose() })
    }

    pub(crate) fn finished(&self, rows: u64, withheld: Option<Withheld>) -> Result<(), RunError> {
        let withheld = withheld.map(|withheld| WithheldGroups {
            released: withheld.released as u64,
            small: withheld.sensitive as u64,
            complementary: withheld.complements as u64,
        });
        self.project.audit(&Event::QueryFinished { query: self.id.clone(), rows, withheld })?;
        Ok(())
    }

    pub(crate) fn started(&self, access: Vec<DatasetAccess>) -> Result<(), RunError> {
        self.project.audit(&Event::QueryStarted {
            query: self.id.clone(),
            principal: self.user().to_owned(),
            purpose: self.purpose(),
            research_project: self.question.usage.project.clone(),
            client: self.question.principal.client,
            statement_tag: self.project.audit_log().tag("statement", self.question.sql.as_bytes()),
            statement: self.statement.clone(),
            access,
        })?;
        Ok(())
    }

    /// In an emergency somebody else has to look at it afterwards: on the list before the first row.
    pub(crate) fn break_glass(&self, datasets: Vec<String>) -> Result<(), RunError> {
        if self.purpose() == Purpose::Emergency {
            let reason = self.question.usage.reason.clone().unwrap_or_default();
            let (query, principal) = (self.id.clone(), self.user().to_owned());
            self.project.audit(&Event::BreakGlass { query, principal, reason, datasets })?;
        }
        Ok(())
    }

    pub(crate) fn failed(&self, what: &'static str) -> Result<(), RunError> {
        self.project.audit(&Event::QueryFailed { query: self.id.clone(), what: Label::new(what) })?;
        Ok(())
    }

    fn deny(&self, dataset: &str, columns: Vec<String>) -> Result<(), RunError> {
        rights::denied(&self.project, self.user(), Some(self.purpose()), dataset, columns)
    }

    /// Tables that were made for different recipients are not put together, in whatever way: what their tokens hide, their other columns
    /// may show. It takes an action of its own.
    pub(crate) fn for_one_recipient<'t>(
        &self,
        tables: impl Iterator<Item = &'t str> + Clone,
    ) -> Result<(), QueryError> {
        let recipients: BTreeSet<Option<&str>> =
            tables.clone().map(|table| self.stored.recipients.get(table).and_then(Option::as_deref)).collect();
        if recipients.len() < 2 {
            return Ok(());
        }
        let about = tables.collect::<Vec<_>>().join(", ");
        let Question { principal, usage, .. } = &self.question;
        rights::require(&self.project, principal, usage, Privilege::JoinRecipients, &about).or_else(|refused| {
            self.failed("denied")?;
            Err(refused)
        })
    }

    /// The tables that the text names, each with the columns that it names and that `hidden` is true of.
    fn named_tables(&self, hidden: impl Fn(&str, &str) -> bool) -> Vec<(String, Vec<String>)> {
        let tables = self.stored.columns.iter().filter(|(table, _)| self.named.contains(*table));
        tables
            .map(|(table, columns)| {
                let named = columns
                    .iter()
                    .filter(|column| self.named.contains(&column.to_lowercase()) && hidden(table, column))
                    .cloned();
                (table.clone(), named.collect())
            })
            .collect()
    }

    /// Denials of all that the text names and that exists.
    fn deny_named(&self) -> Result<(), RunError> {
        let named = self.named_tables(|_, _| true);
        if named.is_empty() {
            return self.deny("*", Vec::new());
        }
        named.into_iter().try_for_each(|(table, columns)| self.deny(&table, columns))
    }

    /// Why there is no plan. What exists and looks absent to the user is a denial on the record, although the answer
    /// does not tell it from a slip of the pen.
    pub(crate) fn not_planned(mut self, error: EngineError) -> Result<QueryError, RunError> {
        let (what, _) = engine_exit(&error);
        if matches!(error, EngineError::Refused { .. } | EngineError::Disclosure { .. }) {
            self.deny_named()?;
        } else if matches!(error, EngineError::Planning(_) | EngineError::NoSuchTable) {
            let sees = |table: &str, column: &str| {
                self.open.get(table).is_some_and(|decision| decision.columns.iter().any(|seen| seen == column))
            };
            let mut denied = self.named_tables(|table, column| !sees(table, column));
            denied.retain(|(table, columns)| !columns.is_empty() || !self.open.contains_key(table));
            let nothing_hidden = denied.is_empty();
            for (table, columns) in denied {
                self.deny(&table, columns)?;
            }
            if nothing_hidden && is_unknown_table(&error) {
                if let Some(damage) = self.damaged_and_granted() {
                    self.failed(damage.kind())?;
                    return Ok(damage.into());
                }
                self.deny("_", Vec::new())?;
            }
        }
        self.failed(what)?;
        Ok(QueryError::Engine(error))
    }

    /// A table that the text names, that the user may see something of, and that cannot be opened.
    fn damaged_and_granted(&mut self) -> Option<RunError> {
        let grants = &self.project.project.grants;
        let (user, purpose) = (&self.question.principal.name, self.question.usage.purpose);
        let mut damaged = self.stored.damaged.keys();
        let table =
            damaged.find(|table| self.named.contains(*table) && grants.covers(user, purpose, table)).cloned()?;
        self.stored.damaged.remove(&table)
    }
}

fn is_unknown_table(error: &EngineError) -> bool {
    match error {
        EngineError::NoSuchTable => true,
        EngineError::Planning(problem) => problem.kind == PlanProblemKind::UnknownTable,
        _ => false,
    }
}
