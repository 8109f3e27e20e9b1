//! One question, for the record.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cordon_access::{
    Action, Authorizer, ColumnFacts, Decision, OutputLimits, Policies, Principal, Privilege, Purpose, PurposeOfUse,
    Reason, Request,
};
use cordon_audit::{DatasetAccess, DeniedToo, Event, Label, Statement, WithheldGroups};
use cordon_engine::{EngineError, OutputControl, PlanProblemKind, StillAllowed, Touched, Withheld};
use cordon_pipeline::error::{RunError, engine_exit};
use cordon_pipeline::project::OpenProject;
use cordon_pipeline::run::new_run_id;

use crate::{QueryError, Question, Stored, rights};

/// How often it is looked whether a decision still holds where no rule changed.
const AGAIN: Duration = Duration::from_secs(5);

/// What was decided about a table that a query reads.
struct Seen {
    table: String,
    /// The columns that the query reads.
    read: Vec<String>,
    columns: Vec<String>,
    facts: Vec<ColumnFacts>,
    decision: Decision,
    /// What its statistics are held to.
    output: Option<OutputLimits>,
}

impl Seen {
    /// Whether the same columns would be shown now, in the same way, and the same rows, or the same statistics of them.
    fn holds(&self, policies: &Policies, principal: &Principal, usage: &PurposeOfUse) -> bool {
        let columns: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        let now = policies.decide(&Request {
            principal,
            usage,
            time: cordon_pipeline::policies::now(),
            dataset: &self.table,
            columns: &columns,
            facts: &self.facts,
            action: Action::Read,
        });
        let old = &self.decision;
        now.allowed
            && policies.roles().output_limits(&self.table) == self.output
            && now.row_filter == old.row_filter
            && self.read.iter().all(|name| now.columns.contains(name) && now.masks.get(name) == old.masks.get(name))
    }
}

/// A question with what was decided about it. Where its beginning is on the record and nobody says how it ended, because whoever asked
/// went away, that is what is written when it is dropped, wherever and however that is.
pub(crate) struct Asked {
    project: Arc<OpenProject>,
    stored: Stored,
    /// The rules under which it was asked; none where they are not known.
    policies: Option<Arc<Policies>>,
    time: i64,
    open: BTreeMap<String, Decision>,
    id: String,
    question: Question,
    /// With every name that exists, also where the user may not know of it: the record is not for the user.
    statement: Statement,
    /// All names in the text, in small letters.
    named: BTreeSet<String>,
    /// Whether its beginning is on the record, and its end is not.
    is_going: AtomicBool,
    /// Rows that left so far, as far as it was said.
    left: Option<u64>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.is_going.load(Ordering::Relaxed) {
            // Nobody is left who could be told that this entry is not there; the one of its beginning is.
            let _ = self.failed("abandoned");
        }
    }
}

impl Asked {
    pub(crate) fn new(
        project: Arc<OpenProject>,
        stored: Stored,
        policies: Option<Arc<Policies>>,
        time: i64,
        question: Question,
    ) -> Self {
        let open = policies.as_ref().map_or_else(BTreeMap::new, |policies| {
            stored.authorise(policies, &question.principal, &question.usage, time)
        });
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
        Self {
            project,
            stored,
            policies,
            time,
            open,
            id: new_run_id(),
            question,
            statement,
            named: named.into_inner(),
            is_going: AtomicBool::new(false),
            left: None,
        }
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

    /// How the statistics of a table are controlled, by the rules that decided what is open.
    pub(crate) fn output_control(&self, table: &str) -> Result<Option<OutputControl>, RunError> {
        match &self.policies {
            Some(policies) => self.project.output_control(policies, table, self.user()),
            None => Ok(None),
        }
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

    /// Nobody can be asked what is open: the question and that go on the record.
    pub(crate) fn not_decided(&self, error: RunError) -> Result<QueryError, RunError> {
        self.started(Vec::new())?;
        self.failed(error.kind())?;
        Ok(error.into())
    }

    pub(crate) fn finished(&self, rows: u64, withheld: Option<Withheld>) -> Result<(), RunError> {
        let withheld = withheld.map(|withheld| WithheldGroups {
            released: withheld.released as u64,
            small: withheld.sensitive as u64,
            complementary: withheld.complements as u64,
        });
        self.is_going.store(false, Ordering::Relaxed);
        self.project.audit(&Event::QueryFinished { query: self.id.clone(), rows, withheld })?;
        Ok(())
    }

    pub(crate) fn started(&self, access: Vec<DatasetAccess>) -> Result<(), RunError> {
        // An entry that could not be written to its end may still come to stand: one too many of an end is better than none.
        self.is_going.store(true, Ordering::Relaxed);
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

    /// Whether the asker may still see what the query reads as it was decided: asked at each batch, answered anew when rules changed,
    /// and every few seconds, since rules may hold for a time only.
    pub(crate) fn watch(&self, touched: &[Touched]) -> Result<StillAllowed, RunError> {
        let source = self.project.policy_source()?;
        let rules = self.policies.as_deref();
        let decided: Vec<_> = touched
            .iter()
            .filter_map(|Touched { table, columns: read, .. }| {
                let (columns, facts) = (self.stored.columns.get(table)?.clone(), self.stored.facts.get(table)?.clone());
                let decision = self.open.get(table)?.clone();
                let output = rules.and_then(|rules| rules.roles().output_limits(table));
                Some(Seen { table: table.clone(), read: read.clone(), columns, facts, decision, output })
            })
            .collect();
        let Question { principal, usage, .. } = self.question.clone();
        // The rules may have changed since the decision: the first batch asks anew.
        let last: Mutex<Option<(u64, Instant, bool)>> = Mutex::new(None);
        Ok(Arc::new(move || {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            let now = source.generation();
            match *last {
                Some((_, _, false)) => return false,
                Some((generation, asked, true)) if generation == now && asked.elapsed() <= AGAIN => return true,
                _ => {}
            }
            let policies = source.current();
            let allowed = decided.iter().all(|seen| seen.holds(&policies, &principal, &usage));
            *last = Some((now, Instant::now(), allowed));
            allowed
        }))
    }

    /// In an emergency somebody else has to look at it afterwards: on the list before the first row.
    pub(crate) fn break_glass(&self, touched: &[Touched]) -> Result<(), RunError> {
        if self.purpose() == Purpose::Emergency {
            let datasets: Vec<String> = touched.iter().map(|touched| touched.table.clone()).collect();
            let reason = self.question.usage.reason.clone().unwrap_or_default();
            let (query, principal) = (self.id.clone(), self.user().to_owned());
            let told = (query.clone(), principal.clone(), datasets.clone());
            self.project.audit(&Event::BreakGlass { query, principal, reason, datasets })?;
            let (query, user, datasets) = told;
            let alert = Alert { project: Arc::clone(&self.project), query, user, datasets };
            // Nobody who is in an emergency waits for the watchman.
            drop(tokio::task::spawn_blocking(move || drop(alert)));
        }
        Ok(())
    }

    /// So many rows have left by now: where it ends early, that is on the record.
    pub(crate) fn left(&mut self, rows: u64) {
        self.left = Some(rows);
    }

    pub(crate) fn failed(&self, what: &'static str) -> Result<(), RunError> {
        self.is_going.store(false, Ordering::Relaxed);
        let (query, what) = (self.id.clone(), Label::new(what));
        self.project.audit(&Event::QueryFailed { query, what, rows: self.left })?;
        Ok(())
    }

    /// One entry, whatever it is and however much of it exists: how long a refusal takes tells nothing.
    fn deny(&self, all: Vec<DeniedToo>) -> Result<(), RunError> {
        rights::denied_all(&self.project, self.user(), Some(self.purpose()), all)
    }

    /// Tables that were made for different recipients are not put together, in whatever way: what their tokens hide, their other columns
    /// may show. It takes an action of its own.
    pub(crate) fn for_one_recipient(&self, touched: &[Touched]) -> Result<(), QueryError> {
        let tables = || touched.iter().map(|touched| touched.table.as_str());
        let recipients: BTreeSet<Option<&str>> =
            tables().map(|table| self.stored.recipients.get(table).and_then(Option::as_deref)).collect();
        if recipients.len() < 2 {
            return Ok(());
        }
        let about = tables().collect::<Vec<_>>().join(", ");
        let Question { principal, usage, .. } = &self.question;
        rights::require(&self.project, principal, usage, Privilege::JoinRecipients, &about).or_else(|refused| {
            self.failed("denied")?;
            Err(refused)
        })
    }

    fn request<'r>(&'r self, dataset: &'r str, columns: &'r [&'r str], facts: &'r [ColumnFacts]) -> Request<'r> {
        let Question { principal, usage, .. } = &self.question;
        Request { principal, usage, time: self.time, dataset, columns, facts, action: Action::Read }
    }

    /// What policies allow apart they may forbid in one query.
    pub(crate) fn together(&self, touched: &[Touched]) -> Result<(), QueryError> {
        let read: Vec<(&str, Vec<&str>, Vec<ColumnFacts>)> = touched
            .iter()
            .map(|Touched { table, columns, .. }| {
                let all = self.stored.columns.get(table).into_iter().flatten();
                let facts = self.stored.facts.get(table).into_iter().flatten();
                let read = all.zip(facts).filter(|(name, _)| columns.contains(name));
                let (columns, facts) = read.map(|(name, facts)| (name.as_str(), facts.clone())).unzip();
                (table.as_str(), columns, facts)
            })
            .collect();
        let requests: Vec<Request<'_>> =
            read.iter().map(|(table, columns, facts)| self.request(table, columns, facts)).collect();
        if self.policies.as_ref().is_some_and(|policies| policies.together(&requests)) {
            return Ok(());
        }
        let denied = touched
            .iter()
            .map(|Touched { table, columns, .. }| DeniedToo { dataset: table.clone(), columns: columns.clone() });
        self.deny(denied.collect())?;
        self.failed("denied")?;
        Err(QueryError::NotTogether { user: self.user().to_owned() })
    }

    /// The tables that the text names, each with the columns that it names and that `hidden` is true of.
    fn named_tables(&self, hidden: impl Fn(&str, &str) -> bool) -> Vec<DeniedToo> {
        let tables = self.stored.columns.iter().filter(|(table, _)| self.named.contains(*table));
        tables
            .map(|(table, columns)| {
                let named = columns
                    .iter()
                    .filter(|column| self.named.contains(&column.to_lowercase()) && hidden(table, column))
                    .cloned();
                DeniedToo { dataset: table.clone(), columns: named.collect() }
            })
            .collect()
    }

    /// Denials of all that the text names and that exists.
    fn deny_named(&self) -> Result<(), RunError> {
        let mut named = self.named_tables(|_, _| true);
        if named.is_empty() {
            named.push(DeniedToo { dataset: "*".to_owned(), columns: Vec::new() });
        }
        self.deny(named)
    }

    /// Why there is no plan. What exists and looks absent to the user is a denial on the record, although the answer
    /// does not tell it from a slip of the pen.
    pub(crate) fn not_planned(mut self, error: EngineError) -> Result<QueryError, RunError> {
        self.started(Vec::new())?;
        let (what, _) = engine_exit(&error);
        if matches!(error, EngineError::Refused { .. } | EngineError::Disclosure { .. }) {
            self.deny_named()?;
        } else if matches!(error, EngineError::Planning(_) | EngineError::NoSuchTable) {
            let sees = |table: &str, column: &str| {
                self.open.get(table).is_some_and(|decision| decision.columns.iter().any(|seen| seen == column))
            };
            let mut denied = self.named_tables(|table, column| !sees(table, column));
            denied.retain(|one| !one.columns.is_empty() || !self.open.contains_key(&one.dataset));
            if denied.is_empty()
                && is_unknown_table(&error)
                && let Some(damage) = self.damaged_and_granted()
            {
                self.failed(damage.kind())?;
                return Ok(damage.into());
            }
            // Also of a slip of the pen, which names nothing that exists: it takes as long.
            self.deny(denied)?;
        }
        self.failed(what)?;
        Ok(QueryError::Engine(error))
    }

    /// A table that the text names, that the user may see something of, and that cannot be opened.
    fn damaged_and_granted(&mut self) -> Option<RunError> {
        let policies = self.policies.as_ref()?;
        let mut damaged = self.stored.damaged.keys();
        let covers = |table: &str| policies.covers(&self.request(table, &[], &[]));
        let table = damaged.find(|table| self.named.contains(*table) && covers(table)).cloned()?;
        self.stored.damaged.remove(&table)
    }
}

/// Tells the watchman when it is dropped, wherever that is: a runtime that is being shut down drops what waits for a thread. What becomes of it
/// is on the record; where even that fails, the list of what is to be reviewed has it all the same.
struct Alert {
    project: Arc<OpenProject>,
    query: String,
    user: String,
    datasets: Vec<String>,
}

impl Drop for Alert {
    fn drop(&mut self) {
        let _ = self.project.alert_emergency(&self.query, &self.user, &self.datasets);
    }
}

fn is_unknown_table(error: &EngineError) -> bool {
    match error {
        EngineError::NoSuchTable => true,
        EngineError::Planning(problem) => problem.kind == PlanProblemKind::UnknownTable,
        _ => false,
    }
}
