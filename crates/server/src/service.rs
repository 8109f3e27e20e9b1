//! What every front end translates to: a session asks, and rows come, within the limits that hold for all.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use cordon_access::{Privilege, Purpose, PurposeOfUse};
use cordon_audit::{Entry, Event, Filter, Label};
use cordon_engine::{Described, EngineError, ExecutionProblem, PlanProblemKind, QueryCluster, QueryLimit};
use cordon_pipeline::error::RunError;
use cordon_pipeline::project::OpenProject;
use cordon_pipeline::reveal::{Decided, Desk, Refusal as DeskRefusal};
use cordon_query::{QueryError, Question, Questions, Record, Rows, Visible, rights};
use futures::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{timeout, timeout_at};

use crate::flight::Kept;
use crate::log_in::{Credential, LogIn, Refusal};
use crate::metrics::Metrics;
use crate::pg::Cancels;
use crate::places::Places;
use crate::session::{Busy, Ended, Permit, Session, Sessions};
use crate::settings::{Limits, Settings};

/// Why there is no answer, in the words that whoever asked is told. No value of the data and no literal of the question is in it.
#[derive(Debug)]
pub enum Trouble {
    LogIn(Refusal),
    /// No credential at all.
    NoCredential,
    SessionOver(Ended),
    Busy(Busy),
    Draining,
    /// What the client sent is not what this takes.
    Request(String),
    /// No purpose of use was stated, or none that there is.
    Purpose(String),
    TooLarge,
    NotFound,
    /// It took longer than a query may.
    Late,
    /// More rows than an answer may have.
    TooMany(u64),
    /// Somebody else asked that it end.
    Cancelled,
    /// Of what takes two persons.
    Desk(DeskRefusal),
    Query(QueryError),
}

/// Kinds of trouble, each of which front ends have their own code for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Unauthenticated,
    Forbidden,
    NotFound,
    Request,
    Syntax,
    UnknownTable,
    UnknownColumn,
    Unsupported,
    Data,
    TooLarge,
    TooMany,
    Throttled,
    Busy,
    BusyPrincipal,
    Late,
    Cancelled,
    Stopping,
    Memory,
    Unavailable,
    Internal,
}

impl Trouble {
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoCredential | Self::SessionOver(_) => Kind::Unauthenticated,
            Self::LogIn(refusal) => match refusal {
                Refusal::Throttled(_) => Kind::Throttled,
                Refusal::Unavailable(_) => Kind::Unavailable,
                _ => Kind::Unauthenticated,
            },
            Self::Busy(Busy::Server | Busy::Connections) => Kind::Busy,
            Self::Busy(Busy::Principal) => Kind::BusyPrincipal,
            Self::Draining => Kind::Stopping,
            Self::Request(_) | Self::Purpose(_) => Kind::Request,
            Self::TooLarge => Kind::TooLarge,
            Self::NotFound => Kind::NotFound,
            Self::Late => Kind::Late,
            Self::TooMany(_) => Kind::TooMany,
            Self::Cancelled => Kind::Cancelled,
            Self::Desk(refusal) => match refusal {
                DeskRefusal::Absent => Kind::NotFound,
                DeskRefusal::NoRight(..)
                | DeskRefusal::Own
                | DeskRefusal::SameSystemUser
                | DeskRefusal::NotRequested => Kind::Forbidden,
                _ => Kind::Request,
            },
            Self::Query(error) => query_kind(error),
        }
    }

    /// When to come again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::LogIn(Refusal::Throttled(wait)) => Some((*wait).max(Duration::from_secs(1))),
            Self::Busy(_) => Some(Duration::from_secs(1)),
            Self::Draining | Self::LogIn(Refusal::Unavailable(_)) => Some(Duration::from_secs(5)),
            _ => None,
        }
    }

    /// What the client is told. Of a log-in that failed only that it did.
    pub fn words(&self) -> String {
        match self {
            Self::LogIn(Refusal::Throttled(_)) => "too many log-ins failed; come again later".to_owned(),
            Self::LogIn(Refusal::Unavailable(_)) => "whoever knows the credential cannot be asked now".to_owned(),
            Self::LogIn(Refusal::Factor) => "this principal logs in with more than one factor".to_owned(),
            Self::LogIn(_) => "the log-in failed".to_owned(),
            Self::NoCredential => "log in first".to_owned(),
            Self::SessionOver(Ended(why)) => format!("the session is over: {why}"),
            Self::Busy(Busy::Server) => "as many queries run as may at one time; come again".to_owned(),
            Self::Busy(Busy::Principal) => {
                "as many of your queries run as may at one time; come again when one has ended".to_owned()
            }
            Self::Busy(Busy::Connections) => "as many connections are open as may be; come again".to_owned(),
            Self::Draining => "the server is being stopped".to_owned(),
            Self::Request(what) | Self::Purpose(what) => what.clone(),
            Self::TooLarge => "the request is larger than may be".to_owned(),
            Self::NotFound => "there is nothing here".to_owned(),
            Self::Late => "the query took longer than may be; select less".to_owned(),
            Self::TooMany(most) => {
                format!("the answer has more than {most} rows, which is as many as may be; select less")
            }
            Self::Cancelled => "the query was cancelled".to_owned(),
            // What would help is said in commands, which are not for this client.
            Self::Desk(refusal) => refusal.to_string().split("\n  help: ").next().unwrap_or_default().to_owned(),
            Self::Query(error) => match query_kind(error) {
                // Names of files and key stores are for the operator, who finds the kind in the audit log.
                Kind::Internal | Kind::Unavailable => "the server cannot answer this now".to_owned(),
                _ => error.to_string(),
            },
        }
    }

    /// For metrics and the record.
    pub fn label(&self) -> &'static str {
        match self.kind() {
            Kind::Unauthenticated => "log-in",
            Kind::Forbidden => "denied",
            Kind::NotFound => "not found",
            Kind::Request => "request",
            Kind::Syntax | Kind::Unsupported => "not a valid query",
            Kind::UnknownTable => "no such table",
            Kind::UnknownColumn => "no such column",
            Kind::Data => "failed on its data",
            Kind::TooLarge => "too large",
            Kind::TooMany => "too many rows",
            Kind::Throttled => "throttled",
            Kind::Busy | Kind::BusyPrincipal => "shed",
            Kind::Late => "late",
            Kind::Cancelled => "cancelled",
            Kind::Stopping => "stopping",
            Kind::Memory => "memory",
            Kind::Unavailable => "unavailable",
            Kind::Internal => "internal",
        }
    }
}

fn query_kind(error: &QueryError) -> Kind {
    match error {
        QueryError::Engine(error) => match error {
            EngineError::Planning(problem) => match problem.kind {
                PlanProblemKind::UnknownTable => Kind::UnknownTable,
                PlanProblemKind::UnknownColumn => Kind::UnknownColumn,
                PlanProblemKind::NotSupported => Kind::Unsupported,
                _ => Kind::Syntax,
            },
            EngineError::NoSuchTable => Kind::UnknownTable,
            EngineError::Refused { .. } | EngineError::Disclosure { .. } | EngineError::Revoked => Kind::Forbidden,
            EngineError::Limit(QueryLimit::Time) => Kind::Late,
            EngineError::Limit(_) => Kind::TooMany,
            EngineError::Unsupported { .. } => Kind::Unsupported,
            EngineError::Execution(problem) => match problem {
                ExecutionProblem::Memory | ExecutionProblem::TemporarySpace => Kind::Memory,
                ExecutionProblem::Storage | ExecutionProblem::StoredForm | ExecutionProblem::TemporaryFile => {
                    Kind::Unavailable
                }
                ExecutionProblem::Other => Kind::Internal,
                ExecutionProblem::NotSupported => Kind::Unsupported,
                _ => Kind::Data,
            },
            EngineError::Internal(_) => Kind::Internal,
            _ => Kind::Unavailable,
        },
        QueryError::Run(RunError::Engine(error)) => query_kind(&QueryError::Engine(error.clone())),
        QueryError::Run(RunError::Internal(_)) => Kind::Internal,
        QueryError::Run(_) => Kind::Unavailable,
        QueryError::NoReason => Kind::Request,
        _ if error.exit() == cordon_pipeline::error::ExitKind::Denied => Kind::Forbidden,
        _ => Kind::Unavailable,
    }
}

impl From<QueryError> for Trouble {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

impl From<RunError> for Trouble {
    fn from(error: RunError) -> Self {
        Self::Query(error.into())
    }
}

/// The server behind its front ends.
pub struct Service {
    pub settings: Settings,
    pub metrics: Arc<Metrics>,
    pub sessions: Arc<Sessions>,
    pub cancels: Cancels,
    pub flight: Kept,
    /// Connections of clients of PostgreSQL, by principal.
    pub clients: Arc<Places<String>>,
    project: Arc<OpenProject>,
    questions: Questions,
    /// Where queries are computed, so that one that computes for long holds up no clock and no other client.
    queries: Handle,
    checking: Checking,
    draining: AtomicBool,
    stop: watch::Sender<bool>,
}

/// Credentials that are looked at, by what holds them up: who is slow about one kind stops no other.
struct Checking {
    /// Hashed in 64 MiB each.
    passwords: Arc<Semaphore>,
    /// Whose issuer may have to be asked.
    tokens: Arc<Semaphore>,
    /// For which a directory may have to be asked.
    others: Arc<Semaphore>,
}

const PASSWORDS_AT_ONCE: usize = 2;
const OTHERS_AT_ONCE: usize = 32;
/// Who waits longer than this for the check of a credential comes again.
const CHECK_WAIT: Duration = Duration::from_secs(10);

impl Checking {
    fn new() -> Self {
        Self {
            passwords: Arc::new(Semaphore::new(PASSWORDS_AT_ONCE)),
            tokens: Arc::new(Semaphore::new(OTHERS_AT_ONCE)),
            others: Arc::new(Semaphore::new(OTHERS_AT_ONCE)),
        }
    }

    fn of(&self, credential: &Credential) -> Arc<Semaphore> {
        Arc::clone(match credential {
            Credential::Password { .. } => &self.passwords,
            Credential::Token(_) => &self.tokens,
            _ => &self.others,
        })
    }
}

impl Service {
    pub fn new(
        project: Arc<OpenProject>,
        settings: Settings,
        metrics: Arc<Metrics>,
        log_in: LogIn,
        key: &[u8; 32],
        queries: Handle,
        cluster: Option<Arc<dyn QueryCluster>>,
    ) -> Self {
        let limits = settings.limits.clone();
        let mut questions = Questions::new(Arc::clone(&project));
        if let (Some(cluster), Some(spark)) = (cluster, &settings.spark) {
            questions = questions.on_cluster(cluster, spark.from);
        }
        let sessions = Sessions::new(Arc::clone(&project), Arc::new(log_in), limits, Arc::clone(&metrics), key);
        Self {
            clients: Places::new(settings.limits.connections, settings.limits.connections_of_one),
            settings,
            metrics,
            sessions: Arc::new(sessions),
            cancels: Cancels::default(),
            flight: Kept::default(),
            questions,
            queries,
            project,
            checking: Checking::new(),
            draining: AtomicBool::new(false),
            stop: watch::Sender::new(false),
        }
    }

    pub fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// New queries are refused from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Reads again who may log in and who may see what. Blocks.
    pub fn read_again(&self) -> Result<(), RunError> {
        self.sessions.log_in.look_again();
        self.project.policy_source()?.refresh().map(drop)
    }

    /// Ends what is still running.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// A session for a credential: that of before, where it still holds and `again` may use it, or a new one.
    pub async fn log_in(
        self: &Arc<Self>,
        credential: Credential,
        client: IpAddr,
        again: bool,
    ) -> Result<Arc<Session>, Trouble> {
        if again && let Some(session) = self.sessions.remembered(&credential, client) {
            return Ok(session);
        }
        self.let_in(credential, client, again, None).await
    }

    /// The same for who says beforehand who it is: the credential of another is none.
    pub async fn log_in_as(
        self: &Arc<Self>,
        user: &str,
        credential: Credential,
        client: IpAddr,
    ) -> Result<Arc<Session>, Trouble> {
        self.let_in(credential, client, false, Some(user.to_owned())).await
    }

    async fn let_in(
        self: &Arc<Self>,
        credential: Credential,
        client: IpAddr,
        again: bool,
        user: Option<String>,
    ) -> Result<Arc<Session>, Trouble> {
        let permit = timeout(CHECK_WAIT, self.checking.of(&credential).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            self.metrics.count("shed", "log-in");
            return Err(Trouble::Busy(Busy::Server));
        };
        // Of many requests that came with the same credential at one time the first was checked for all.
        if again && let Some(session) = self.sessions.remembered(&credential, client) {
            return Ok(session);
        }
        let sessions = Arc::clone(&self.sessions);
        let checked = tokio::task::spawn_blocking(move || {
            // A check goes on when its client has gone, and holds its place until it is done.
            let _permit = permit;
            let known = sessions.log_in.check_as(&credential, client, user.as_deref()).map_err(Trouble::LogIn)?;
            let session = sessions.open(known, client)?;
            if again {
                sessions.remember(&credential, client, &session);
            }
            Ok(session)
        });
        checked.await.unwrap_or(Err(Trouble::Query(RunError::Internal("a log-in").into())))
    }

    /// Reads what somebody says the data are for. A purpose that there is not is an access that was asked for and not given.
    pub async fn usage(
        &self,
        session: &Session,
        purpose: Option<&str>,
        project: Option<String>,
        reason: Option<String>,
    ) -> Result<PurposeOfUse, Trouble> {
        let stated = purpose.map(str::parse::<Purpose>);
        match stated {
            Some(Ok(purpose)) => Ok(PurposeOfUse { purpose, project, reason }),
            other => {
                let permit = self.sessions.permit(session).map_err(Trouble::Busy)?;
                let (questions, name) = (self.questions.clone(), session.principal.name.clone());
                let denied = move || {
                    let _permit = permit;
                    rights::denied(questions.project(), &name, None, "*", Vec::new())
                };
                run_blocking(denied).await?;
                let known = Purpose::ALL.map(Purpose::name).join(", ");
                Err(Trouble::Purpose(if other.is_some() {
                    format!("there is no such purpose of use; one of: {known}")
                } else {
                    format!("say what the data are for: one of {known}")
                }))
            }
        }
    }

    /// Asks; the entry is durable when this returns. What comes of it holds its place among the running queries until it is dropped.
    pub async fn ask(
        self: &Arc<Self>,
        session: &Arc<Session>,
        usage: PurposeOfUse,
        sql: String,
        parameters: Vec<ArrayRef>,
    ) -> Result<Running, Trouble> {
        let began = Instant::now();
        let asked = self.begin(session, usage, sql, parameters, began).await;
        if let Err(trouble) = &asked {
            self.metrics.count(if trouble.label() == "shed" { "shed" } else { "queries" }, trouble.label());
        }
        asked
    }

    async fn begin(
        self: &Arc<Self>,
        session: &Arc<Session>,
        usage: PurposeOfUse,
        sql: String,
        parameters: Vec<ArrayRef>,
        began: Instant,
    ) -> Result<Running, Trouble> {
        let question = self.question(session, usage, sql).await?;
        let permit = self.sessions.permit(session).map_err(Trouble::Busy)?;
        let until = began + self.limits().query_timeout;
        let questions = self.questions.clone();
        // Goes on to its end although nobody waits any more, so that the record is whole, and keeps its place for as long: a plan that is being
        // made looks up from its work only when it is.
        let asked = self.queries.spawn(async move {
            let (rows, record) = questions.ask_with(question, &parameters).await?.into_parts();
            if Instant::now() >= until {
                drop(rows);
                record.ended(Trouble::Late.label()).await?;
                return Err(Trouble::Late);
            }
            Ok((rows, record, permit))
        });
        let answer = timeout_at(until.into(), asked).await.map_err(|_| Trouble::Late)?;
        let (rows, record, permit) = answer.map_err(|_| QueryError::Engine(BROKEN))??;
        Ok(Running {
            service: Arc::clone(self),
            session: Arc::clone(session),
            schema: rows.schema().clone(),
            rows: Some(Work::begin(rows, &self.queries)),
            record: Some(record),
            sent: 0,
            began,
            until,
            stop: self.stop.subscribe(),
            permit: Some(permit),
        })
    }

    /// Names and types of an answer.
    pub async fn describe(&self, session: &Session, usage: PurposeOfUse, sql: String) -> Result<Described, Trouble> {
        let question = self.question(session, usage, sql).await?;
        let permit = self.sessions.permit(session).map_err(Trouble::Busy)?;
        let questions = self.questions.clone();
        let described = self.queries.spawn(async move {
            let described = questions.describe(question).await;
            drop(permit);
            described
        });
        let described = timeout(self.limits().query_timeout, described).await.map_err(|_| Trouble::Late)?;
        Ok(described.map_err(|_| QueryError::Engine(BROKEN))??)
    }

    async fn question(&self, session: &Session, usage: PurposeOfUse, sql: String) -> Result<Question, Trouble> {
        self.may_begin(session).await?;
        Ok(Question { principal: session.principal.clone(), usage, sql })
    }

    async fn may_begin(&self, session: &Session) -> Result<(), Trouble> {
        if self.is_draining() {
            return Err(Trouble::Draining);
        }
        self.sessions.check(session).map_err(Trouble::SessionOver)?;
        self.sessions.ask_about(session).await.map_err(Trouble::SessionOver)?;
        session.touch();
        Ok(())
    }

    /// What exists for the session; that it looked is on the record.
    pub async fn visible(
        &self,
        session: &Session,
        usage: PurposeOfUse,
        what: &'static str,
    ) -> Result<Vec<Visible>, Trouble> {
        self.may_begin(session).await?;
        let permit = self.sessions.permit(session).map_err(Trouble::Busy)?;
        let (questions, principal) = (self.questions.clone(), session.principal.clone());
        run_blocking(move || {
            let _permit = permit;
            questions.project().audit(&Event::Inspected {
                what: Label::new(what),
                subject: None,
                principal: Some(principal.name.clone()),
                purpose: Some(usage.purpose),
            })?;
            questions.visible(&principal, &usage)
        })
        .await
    }

    /// What somebody does about what takes two persons. That, or why not, is on the record when this returns.
    pub async fn at_desk<T: Send + 'static>(
        &self,
        session: &Session,
        work: impl FnOnce(&Desk<'_>, &OpenProject, &str) -> Decided<T> + Send + 'static,
    ) -> Result<T, Trouble> {
        self.may_begin(session).await?;
        let permit = self.sessions.permit(session).map_err(Trouble::Busy)?;
        let (project, by) = (Arc::clone(&self.project), session.principal.name.clone());
        run_blocking(move || -> Result<T, Trouble> {
            let _permit = permit;
            match work(&Desk::new(&project, chrono::Utc::now()), &project, &by) {
                Ok(decided) => decided.map_err(Trouble::Desk),
                Err(RunError::Usage { message, .. }) => Err(Trouble::Request(message)),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Entries of the audit log, for who has a right to read it; that they were read is on it first.
    pub async fn audit(&self, session: &Session, usage: PurposeOfUse, filter: Filter) -> Result<Vec<Entry>, Trouble> {
        self.may_begin(session).await?;
        let permit = self.sessions.permit(session).map_err(Trouble::Busy)?;
        let (project, principal) = (Arc::clone(&self.project), session.principal.clone());
        run_blocking(move || -> Result<_, QueryError> {
            let _permit = permit;
            rights::require(&project, &principal, &usage, Privilege::ReadAudit, "audit log")?;
            project.audit(&Event::Inspected {
                what: Label::new("audit log"),
                subject: None,
                principal: Some(principal.name),
                purpose: Some(usage.purpose),
            })?;
            let read = project.audit_log().list(filter).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            Ok(read.map_err(RunError::from)?)
        })
        .await
    }
}

/// Waits for disks where waiting holds up nobody else.
async fn run_blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Trouble>
where
    T: Send + 'static,
    E: Into<Trouble> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(RunError::Internal("a step of a request").into()),
    }
}

/// A task of a query ended in a panic.
const BROKEN: EngineError = EngineError::Internal("a query's task");

type Next = Option<Result<RecordBatch, EngineError>>;

/// Rows that are computed elsewhere, a batch each time one is wanted. Dropped, it ends that.
struct Work {
    wanted: mpsc::Sender<oneshot::Sender<Next>>,
    task: AbortHandle,
}

impl Work {
    fn begin(mut rows: Rows, queries: &Handle) -> Self {
        let (wanted, mut orders) = mpsc::channel::<oneshot::Sender<Next>>(1);
        let task = queries.spawn(async move {
            while let Some(order) = orders.recv().await {
                // Nobody is left who could want it: that is seen at the next order.
                let _ = order.send(rows.next().await);
            }
        });
        Self { wanted, task: task.abort_handle() }
    }

    async fn next(&self) -> Next {
        let (order, batch) = oneshot::channel();
        match self.wanted.send(order).await {
            Ok(()) => batch.await.unwrap_or(Some(Err(BROKEN))),
            Err(_) => Some(Err(BROKEN)),
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A query that runs. Dropped before its end it stops, frees what it held, and is on the record as abandoned.
pub struct Running {
    service: Arc<Service>,
    session: Arc<Session>,
    schema: SchemaRef,
    rows: Option<Work>,
    record: Option<Record>,
    sent: u64,
    began: Instant,
    until: Instant,
    stop: watch::Receiver<bool>,
    /// Given back before the end is told: whoever has a whole answer may ask again at once.
    permit: Option<Permit>,
}

impl Running {
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// The next rows, when the front end has room for them: nothing is computed ahead. After `None` the answer is whole and on the
    /// record as that.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, Trouble> {
        let next = self.step().await;
        match &next {
            Ok(Some(batch)) => {
                self.sent += batch.num_rows() as u64;
                if let Some(record) = &mut self.record {
                    record.left(self.sent);
                }
                self.service.metrics.rows(batch.num_rows() as u64);
                self.session.touch();
            }
            Ok(None) => self.ended("finished"),
            Err(_) => {}
        }
        match next {
            Err(trouble) => Err(self.end(trouble).await),
            next => next,
        }
    }

    /// When it is over, whether its client has taken everything or not.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Whether what came some time ago may still leave.
    pub async fn still(&mut self) -> Result<(), Trouble> {
        let trouble = match self.service.sessions.check(&self.session) {
            Err(ended) => Trouble::SessionOver(ended),
            Ok(()) if Instant::now() >= self.until => Trouble::Late,
            Ok(()) if self.record.as_ref().is_some_and(|record| !record.still_allowed()) => {
                QueryError::Engine(EngineError::Revoked).into()
            }
            Ok(()) => return Ok(()),
        };
        Err(self.end(trouble).await)
    }

    /// Ends it for this reason, which is on the record when this returns, with the rows that had left.
    pub async fn end(&mut self, trouble: Trouble) -> Trouble {
        let why = match &trouble {
            Trouble::SessionOver(_) => "session over",
            other => other.label(),
        };
        self.ended(why);
        let recorded = match self.record.take() {
            Some(record) => match trouble {
                Trouble::Query(QueryError::Engine(error)) => return record.failed(error).await.into(),
                _ => record.ended(why).await,
            },
            None => Ok(()),
        };
        recorded.map_or_else(Trouble::from, |()| trouble)
    }

    async fn step(&mut self) -> Result<Option<RecordBatch>, Trouble> {
        let Some(rows) = &self.rows else { return Ok(None) };
        if let Err(ended) = self.service.sessions.check(&self.session) {
            return Err(Trouble::SessionOver(ended));
        }
        let next = tokio::select! {
            next = timeout_at(self.until.into(), rows.next()) => next.map_err(|_| Trouble::Late)?,
            _ = self.stop.wait_for(|stop| *stop) => return Err(Trouble::Draining),
        };
        match next {
            Some(Ok(batch)) => {
                // It may have taken long.
                self.service.sessions.check(&self.session).map_err(Trouble::SessionOver)?;
                match self.service.limits().rows {
                    Some(most) if self.sent + batch.num_rows() as u64 > most => Err(Trouble::TooMany(most)),
                    _ => Ok(Some(batch)),
                }
            }
            Some(Err(error)) => Err(QueryError::Engine(error).into()),
            None => {
                if let Some(record) = self.record.take() {
                    record.finished(self.sent).await?;
                }
                Ok(None)
            }
        }
    }

    fn ended(&mut self, how: &'static str) {
        self.permit = None;
        if self.rows.take().is_some() {
            self.service.metrics.count("queries", how);
            self.service.metrics.took(self.began.elapsed());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ended("abandoned");
    }
}
