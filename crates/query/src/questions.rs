//! From a question to rows, in the order that keeps the promise: no row before its record.

use std::sync::{Arc, Mutex, PoisonError};

use cordon_access::{Principal, Purpose, PurposeOfUse};
use cordon_audit::DatasetAccess;
use cordon_engine::{AuthorizedSession, AuthorizedView, QueryEngine, QueryOptions};
use cordon_pipeline::error::RunError;
use cordon_pipeline::project::OpenProject;

use crate::answer::{Answer, Record};
use crate::asked::Asked;
use crate::{QueryError, Stored};

/// Characters of a reason that says something.
const LEAST_REASON: usize = 8;

/// What is asked, by whom and what for.
#[derive(Clone)]
pub struct Question {
    pub principal: Principal,
    pub usage: PurposeOfUse,
    pub sql: String,
}

/// Answers questions about one project's tables. One for the process; clones share the engine and its memory.
#[derive(Clone)]
pub struct Questions {
    project: Arc<OpenProject>,
    engine: Arc<Mutex<Option<Arc<QueryEngine>>>>,
}

impl Questions {
    pub fn new(project: Arc<OpenProject>) -> Self {
        Self { project, engine: Arc::default() }
    }

    pub fn project(&self) -> &Arc<OpenProject> {
        &self.project
    }

    /// Decides, plans and puts the question on the record, which is durable when this returns. Every way in which it ends is on the
    /// record too, whichever comes first.
    pub async fn ask(&self, question: Question) -> Result<Answer, QueryError> {
        let questions = self.clone();
        let (asked, session) = blocking(move || questions.begin(question)).await?;
        let planned = match session.plan(asked.sql()).await {
            Ok(planned) => planned,
            Err(error) => {
                return blocking(move || {
                    asked.started(Vec::new())?;
                    Err(asked.not_planned(error)?)
                })
                .await;
            }
        };
        let asked = blocking(move || {
            let access = planned.touched().iter().map(|touched| DatasetAccess {
                dataset: touched.table.clone(),
                columns: touched.columns.clone(),
                why: asked.why(&touched.table),
            });
            // Durable before the first row leaves.
            asked.started(access.collect())?;
            asked.for_one_recipient(planned.touched().iter().map(|touched| touched.table.as_str()))?;
            asked.break_glass(planned.touched().iter().map(|touched| touched.table.clone()).collect())?;
            Ok((asked, planned))
        });
        let (asked, planned) = asked.await?;
        let record = Record::new(asked);
        let rule = planned.output_rule();
        match planned.execute() {
            Ok(rows) => Ok(Answer::new(rows, record, rule)),
            Err(error) => Err(record.failed(error).await),
        }
    }

    /// What exists for the asker, and a session that knows only that.
    fn begin(&self, question: Question) -> Result<(Asked, AuthorizedSession), QueryError> {
        let reason = question.usage.reason.as_deref().unwrap_or_default();
        if question.usage.purpose == Purpose::Emergency && reason.trim().chars().count() < LEAST_REASON {
            return Err(QueryError::NoReason);
        }
        let stored = Stored::read(&self.project)?;
        let open = stored.authorise(&self.project, &question.principal, &question.usage);
        let asked = Asked::new(Arc::clone(&self.project), stored, open, question);
        if asked.open().is_empty() {
            return Err(asked.nothing_granted()?);
        }
        let mut views: Vec<AuthorizedView> = asked
            .open()
            .iter()
            .filter_map(|(table, decision)| AuthorizedView::from_decision(table.clone(), decision.clone()))
            .collect();
        for view in &mut views {
            view.output = self.project.output_control(&view.table, asked.user())?;
        }
        let engine = match self.engine() {
            Ok(engine) => engine,
            Err(error) => {
                asked.started(Vec::new())?;
                asked.failed(error.kind())?;
                return Err(error.into());
            }
        };
        match engine.session(&views) {
            Ok(session) => Ok((asked, session)),
            Err(error) => {
                asked.started(Vec::new())?;
                Err(asked.not_planned(error)?)
            }
        }
    }

    fn engine(&self) -> Result<Arc<QueryEngine>, RunError> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = &*engine {
            return Ok(Arc::clone(engine));
        }
        let project = &self.project;
        let options = QueryOptions {
            memory_limit: project.project.memory,
            tmp_dir: project.tmp_folder(),
            threads: project.project.threads,
            ..QueryOptions::default()
        };
        let made = Arc::new(QueryEngine::new(options, project.tables().clone())?);
        *engine = Some(Arc::clone(&made));
        Ok(made)
    }
}

/// Waits for disks and stores where waiting holds up nobody else.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, QueryError> + Send + 'static,
) -> Result<T, QueryError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(QueryError::Run(RunError::Internal("a step of a query"))))
}
