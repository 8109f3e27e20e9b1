//! From a question to rows, in the order that keeps the promise: no row before its record.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::ArrayRef;
use arrow_schema::SchemaRef;
use cordon_access::{Decision, Principal, Purpose, PurposeOfUse};
use cordon_audit::DatasetAccess;
use cordon_engine::{AuthorizedSession, AuthorizedView, Described, QueryCluster, QueryEngine, QueryOptions};
use cordon_pipeline::error::RunError;
use cordon_pipeline::project::OpenProject;

use crate::answer::{Answer, Record};
use crate::asked::Asked;
use crate::{QueryError, Stored, rights};

/// What is asked, by whom and what for.
#[derive(Clone)]
pub struct Question {
    pub principal: Principal,
    pub usage: PurposeOfUse,
    pub sql: String,
}

/// A table that exists for somebody.
pub struct Visible {
    pub table: String,
    pub schema: SchemaRef,
    pub decision: Decision,
}

/// Answers questions about one project's tables. One for the process; clones share the engine and its memory.
#[derive(Clone)]
pub struct Questions {
    project: Arc<OpenProject>,
    engine: Arc<Mutex<Option<Arc<QueryEngine>>>>,
    cluster: Option<(Arc<dyn QueryCluster>, u64)>,
}

impl Questions {
    pub fn new(project: Arc<OpenProject>) -> Self {
        Self { project, engine: Arc::default(), cluster: None }
    }

    /// Questions about tables of so many bytes are answered with the help of a cluster. Who may see what is decided here, as ever.
    #[must_use]
    pub fn on_cluster(self, cluster: Arc<dyn QueryCluster>, from: u64) -> Self {
        Self { cluster: Some((cluster, from)), ..self }
    }

    pub fn project(&self) -> &Arc<OpenProject> {
        &self.project
    }

    /// Decides, plans and puts the question on the record, which is durable when this returns. Every way in which it ends is on the
    /// record too, whichever comes first.
    pub async fn ask(&self, question: Question) -> Result<Answer, QueryError> {
        self.ask_with(question, &[]).await
    }

    /// The same with values for the parameters `$1`, `$2` … of the text, each the only one of its array.
    pub async fn ask_with(&self, question: Question, parameters: &[ArrayRef]) -> Result<Answer, QueryError> {
        let questions = self.clone();
        let (asked, session) = blocking(move || questions.begin(question)).await?;
        let planned = match session.plan_with(asked.sql(), parameters).await {
            Ok(planned) => planned,
            Err(error) => {
                return blocking(move || Err(asked.not_planned(error)?)).await;
            }
        };
        let asked = blocking(move || {
            let touched = planned.touched();
            let access = touched.iter().map(|touched| DatasetAccess {
                dataset: touched.table.clone(),
                columns: touched.columns.clone(),
                why: asked.why(&touched.table),
            });
            // Durable before the first row leaves.
            asked.started(access.collect())?;
            asked.for_one_recipient(touched)?;
            asked.together(touched)?;
            asked.break_glass(touched)?;
            let still_allowed = asked.watch(touched)?;
            Ok((asked, planned.while_allowed(Arc::clone(&still_allowed)), still_allowed))
        });
        let (asked, planned, still_allowed) = asked.await?;
        let record = Record::new(asked, still_allowed);
        let rule = planned.output_rule();
        match planned.execute() {
            Ok(rows) => Ok(Answer::new(rows, record, rule)),
            Err(error) => Err(record.failed(error).await),
        }
    }

    /// What a question would answer, in names and types: no row is looked at, and nothing is told of what does not exist for the asker,
    /// whose attempts are on the record.
    pub async fn describe(&self, question: Question) -> Result<Described, QueryError> {
        let questions = self.clone();
        let (asked, session) = blocking(move || questions.begin(question)).await?;
        match session.describe(asked.sql()).await {
            Ok(described) => Ok(described),
            Err(error) => blocking(move || Err(asked.not_planned(error)?)).await,
        }
    }

    /// The tables that exist for somebody, as they look to them, and what decided it. Blocks.
    pub fn visible(&self, principal: &Principal, usage: &PurposeOfUse) -> Result<Vec<Visible>, QueryError> {
        self.has_reason(principal, usage)?;
        let stored = Stored::read(&self.project)?;
        let (policies, time) = (self.project.policies()?, cordon_pipeline::policies::now());
        let open = stored.authorise(&policies, principal, usage, time);
        let views = views(&open);
        if views.is_empty() {
            return Ok(Vec::new());
        }
        let mut schemas =
            self.engine()?.session(&views).and_then(|session| session.schemas()).map_err(QueryError::Engine)?;
        let visible = |(table, decision)| Some(Visible { schema: schemas.remove(&table)?, table, decision });
        Ok(open.into_iter().filter_map(visible).collect())
    }

    /// An emergency says why. One that does not is an access that was asked for and not given.
    fn has_reason(&self, principal: &Principal, usage: &PurposeOfUse) -> Result<(), QueryError> {
        if usage.purpose == Purpose::Emergency && !rights::says_why(usage.reason.as_deref().unwrap_or_default()) {
            rights::denied(&self.project, &principal.name, Some(usage.purpose), "*", Vec::new())?;
            return Err(QueryError::NoReason);
        }
        Ok(())
    }

    /// What exists for the asker, and a session that knows only that.
    fn begin(&self, question: Question) -> Result<(Asked, AuthorizedSession), QueryError> {
        self.has_reason(&question.principal, &question.usage)?;
        let stored = Stored::read(&self.project)?;
        let (policies, unknown) = match self.project.policies() {
            Ok(policies) => (Some(policies), None),
            Err(error) => (None, Some(error)),
        };
        let time = cordon_pipeline::policies::now();
        let asked = Asked::new(Arc::clone(&self.project), stored, policies, time, question);
        if let Some(error) = unknown {
            return Err(asked.not_decided(error)?);
        }
        if asked.open().is_empty() {
            return Err(asked.nothing_granted()?);
        }
        let mut views = views(asked.open());
        for view in &mut views {
            view.output = asked.output_control(&view.table)?;
        }
        let engine = match self.engine() {
            Ok(engine) => engine,
            Err(error) => return Err(asked.not_decided(error)?),
        };
        match engine.session(&views) {
            Ok(session) => Ok((asked, self.placed(session))),
            Err(error) => Err(asked.not_planned(error)?),
        }
    }

    fn placed(&self, session: AuthorizedSession) -> AuthorizedSession {
        match &self.cluster {
            Some((cluster, from)) => session.on_cluster(Arc::clone(cluster), *from),
            None => session,
        }
    }

    /// What computes answers, for whoever carries out stages of questions that were decided elsewhere.
    pub fn engine(&self) -> Result<Arc<QueryEngine>, RunError> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = &*engine {
            return Ok(Arc::clone(engine));
        }
        let project = &self.project;
        let options = QueryOptions {
            memory_limit: project.project.memory,
            tmp_dir: project.tmp_folder(),
            threads: project.project.threads,
            mask_key: Some(project.mask_key()?),
            ..QueryOptions::default()
        };
        let options = with_broadcast_of_tests(options);
        let made = Arc::new(QueryEngine::new(options, project.tables().clone())?);
        *engine = Some(Arc::clone(&made));
        Ok(made)
    }
}

/// Tests have small tables, and joins of large ones to look at.
fn with_broadcast_of_tests(options: QueryOptions) -> QueryOptions {
    let rows = cfg!(debug_assertions).then(|| std::env::var("CORDON_BROADCAST_ROWS").ok()?.parse().ok()).flatten();
    QueryOptions { broadcast_rows: rows.unwrap_or(options.broadcast_rows), ..options }
}

fn views(open: &BTreeMap<String, Decision>) -> Vec<AuthorizedView> {
    open.iter().filter_map(|(table, decision)| AuthorizedView::from_decision(table.clone(), decision.clone())).collect()
}

/// Waits for disks and stores where waiting holds up nobody else.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, QueryError> + Send + 'static,
) -> Result<T, QueryError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(QueryError::Run(RunError::Internal("a step of a query"))))
}
