//! Authorised SQL: plan, tell what it will touch, and only then run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, SchemaRef};
use cordon_access::{Decision, Mask};
use cordon_crypto::{KeyedHash, SealKey};
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider, TableProvider};
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::datasource::MemTable;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::parquet_encryption::EncryptionFactory;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, ScalarUDF};
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{ObjectName, ShowStatementIn, Statement};
use futures::Stream;

use crate::barrier::{BarrierPlanner, SecurityBarrier, guarded};
use crate::cluster::{Asked, Order, Partitions, QueryCluster, Spread, Way};
use crate::errors::{EngineError, Fault, PlanProblemKind};
use crate::explain;
use crate::keytools::{CordonEncryptionFactory, KeyTools};
use crate::leakproof::PushDownToBarriers;
use crate::limits::{QueryLimits, StillAllowed, Watch};
use crate::mask;
use crate::output_control::shape::{Controlled, ControlledTables};
use crate::output_control::{self, HIDDEN, Outcome, OutputControl, OutputRule, Withheld, subject_column, with_subject};
use crate::policy::{Policy, PolicyReader};
use crate::spill::SealedSpills;
use crate::sql::{self, VisibleNames};
use crate::tables::{TableStore, TableVersion};
use crate::view::{STORE_URL, VisibleTable};

const CATALOG: &str = "cordon";
pub(crate) const SCHEMA: &str = "main";
const INFORMATION_SCHEMA: &str = "information_schema";
/// Functions that tell where rows are stored or how a column was made.
const WITHHELD_FUNCTIONS: [&str; 4] = ["input_file_name", "file_row_index", "arrow_metadata", "version"];

/// What queries may use.
#[derive(Clone)]
pub struct QueryOptions {
    /// Bytes that all queries of one engine may hold together before they spill.
    pub memory_limit: usize,
    /// Where sealed temporary files are made.
    pub tmp_dir: PathBuf,
    pub tmp_limit: u64,
    pub threads: usize,
    /// What MASK_HASH hashes under. Without one it is a key of this engine's own: hashes then fit each other for as long as it
    /// lives.
    pub mask_key: Option<KeyedHash>,
    /// Most rows that one query may give.
    pub max_rows: Option<u64>,
    /// How long one query may take from its planning on.
    pub max_time: Option<Duration>,
    /// On a cluster, how many rows of one side of a join every task reads by itself at most; above, both sides are parted by the key.
    pub broadcast_rows: usize,
}

impl fmt::Debug for QueryOptions {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryOptions")
            .field("memory_limit", &self.memory_limit)
            .field("tmp_dir", &self.tmp_dir)
            .field("tmp_limit", &self.tmp_limit)
            .field("threads", &self.threads)
            .field("max_rows", &self.max_rows)
            .field("max_time", &self.max_time)
            .field("broadcast_rows", &self.broadcast_rows)
            .finish_non_exhaustive()
    }
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self {
            memory_limit: 1 << 30,
            tmp_dir: std::env::temp_dir(),
            tmp_limit: 100 << 30,
            threads: std::thread::available_parallelism().map_or(1, Into::into),
            mask_key: None,
            max_rows: None,
            max_time: None,
            broadcast_rows: 128 * 1024,
        }
    }
}

/// One table as someone is authorised to see it.
#[derive(Clone, Debug)]
pub struct AuthorizedView {
    pub table: String,
    pub columns: VisibleColumns,
    /// A condition in SQL over all columns of the table; rows without it do not exist for the session.
    pub row_filter: Option<String>,
    /// Visible columns whose values are replaced.
    pub masks: BTreeMap<String, Mask>,
    /// Of the table only statistics may leave.
    pub output: Option<OutputControl>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VisibleColumns {
    All,
    Only(BTreeSet<String>),
}

impl AuthorizedView {
    pub fn all(table: impl Into<String>) -> Self {
        Self {
            table: table.into(),
            columns: VisibleColumns::All,
            row_filter: None,
            masks: BTreeMap::new(),
            output: None,
        }
    }

    /// What a policy engine has decided; `None` when the dataset must look absent.
    pub fn from_decision(table: impl Into<String>, decision: Decision) -> Option<Self> {
        let columns = VisibleColumns::Only(decision.columns.into_iter().collect());
        decision.allowed.then(|| Self {
            table: table.into(),
            columns,
            row_filter: decision.row_filter,
            masks: decision.masks,
            output: None,
        })
    }

    pub fn only<S: Into<String>>(table: impl Into<String>, columns: impl IntoIterator<Item = S>) -> Self {
        let columns = VisibleColumns::Only(columns.into_iter().map(Into::into).collect());
        Self { columns, ..Self::all(table) }
    }
}

/// What a query reads, for the record that is written before its first row leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    pub table: String,
    pub version: u64,
    /// Sorted. Empty when only rows are counted.
    pub columns: Vec<String>,
}

/// Runs queries over the tables of one store.
pub struct QueryEngine {
    store: TableStore,
    runtime: Arc<RuntimeEnv>,
    spills: Arc<SealedSpills>,
    keys: Arc<dyn EncryptionFactory>,
    mask_key: Arc<KeyedHash>,
    options: QueryOptions,
}

impl QueryEngine {
    pub fn new(options: QueryOptions, store: TableStore) -> Result<Self, EngineError> {
        let spills = Arc::new(SealedSpills::new(&options.tmp_dir, options.tmp_limit));
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(options.memory_limit)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_temp_file_factory(spills.clone()))
            .build()
            .map_err(|error| EngineError::execution(&error))?;
        let url = ObjectStoreUrl::parse(STORE_URL).map_err(|error| EngineError::execution(&error))?;
        runtime.register_object_store(url.as_ref(), store.objects()?);
        // No plan of ours names it; without it no plan can.
        let _ = runtime.deregister_object_store(ObjectStoreUrl::local_filesystem().as_ref());
        let keys = Arc::new(CordonEncryptionFactory::new(store.clone()));
        let mask_key = match &options.mask_key {
            Some(key) => key.clone(),
            None => KeyedHash::new(SealKey::generate().dangerous_expose()),
        };
        Ok(Self { store, runtime: Arc::new(runtime), spills, keys, mask_key: Arc::new(mask_key), options })
    }

    /// A session that knows the given views and nothing else: what is not among them is absent, not forbidden.
    /// It sees one version of each table for as long as it lives.
    pub fn session(&self, views: &[AuthorizedView]) -> Result<AuthorizedSession, EngineError> {
        self.session_at(views, None)
    }

    /// The same with tables as they were at these versions.
    pub(crate) fn session_at(
        &self,
        views: &[AuthorizedView],
        at: Option<&BTreeMap<String, (u64, String)>>,
    ) -> Result<AuthorizedSession, EngineError> {
        let state = self.state(Vec::new());
        // Made only where a policy is read.
        let mut policies = None;
        let schema = MemorySchemaProvider::new();
        let mut visible = VisibleNames::new();
        let mut versions = BTreeMap::new();
        let mut controlled = ControlledTables::new();
        for view in views {
            let version = match at {
                None => self.store.current(&view.table)?,
                Some(at) => at.get(&view.table).map(|at| self.version_of(&view.table, at)).transpose()?,
            };
            let Some(version) = version else { continue };
            let all = version.schema.fields().iter().map(|field| field.name().clone());
            let columns: Vec<String> = match &view.columns {
                VisibleColumns::All => all.collect(),
                VisibleColumns::Only(only) => all.filter(|name| only.contains(name)).collect(),
            };
            if columns.is_empty() {
                continue;
            }
            versions.insert(view.table.clone(), version.clone());
            if let Some(control) = &view.output {
                let table = self.controlled(&mut policies, view, &version, &columns, control.clone())?;
                controlled.insert(view.table.clone(), table);
            }
            schema
                .register_table(view.table.clone(), self.provider(&mut policies, view, version, &columns, None)?)
                .map_err(|_| EngineError::Internal("two views of one table"))?;
            visible.insert(view.table.clone(), columns);
        }
        let catalog = state.catalog_list().catalog(CATALOG).ok_or(EngineError::Internal("catalog"))?;
        let information = information_schema(&visible, &schema)?;
        for (name, provider) in [(SCHEMA, schema), (INFORMATION_SCHEMA, information)] {
            catalog.register_schema(name, Arc::new(provider)).map_err(|error| EngineError::execution(&error))?;
        }
        let limits = (self.options.max_rows, self.options.max_time);
        Ok(AuthorizedSession {
            state,
            visible,
            versions,
            limits,
            controlled,
            views: views.to_vec(),
            store: self.store.clone(),
            spills: Arc::clone(&self.spills),
            broadcast_rows: self.options.broadcast_rows,
            cluster: None,
        })
    }

    /// A view of a table of which only statistics leave, with its subject behind its columns.
    fn controlled(
        &self,
        policies: &mut Option<SessionState>,
        view: &AuthorizedView,
        version: &TableVersion,
        columns: &[String],
        control: OutputControl,
    ) -> Result<Controlled, EngineError> {
        let subject = subject_column(&version.schema);
        let is_seen = |subject: &String| columns.contains(subject) && !view.masks.contains_key(subject);
        let provider = match &subject {
            Some(subject) => Some(self.provider(policies, view, version.clone(), columns, Some(subject))?),
            None => None,
        };
        Ok(Controlled { provider, visible_subject: subject.filter(is_seen), control })
    }

    fn provider(
        &self,
        policies: &mut Option<SessionState>,
        view: &AuthorizedView,
        version: TableVersion,
        columns: &[String],
        subject: Option<&String>,
    ) -> Result<Arc<dyn TableProvider>, EngineError> {
        let policy = if view.row_filter.is_none() && view.masks.is_empty() {
            None
        } else {
            let state = policies.get_or_insert_with(|| self.state(mask::for_policies(&self.mask_key)));
            let reader = PolicyReader { state, hash: &self.mask_key };
            Some(reader.read(&view.table, &version.schema, view.row_filter.as_deref(), &view.masks)?)
        };
        let mut read = columns.to_vec();
        read.extend(policy.iter().flat_map(Policy::columns).filter(|name| !columns.contains(name)));
        let all: Vec<String> = read.iter().chain(subject).cloned().collect();
        let mut inner: Arc<dyn TableProvider> = Arc::new(VisibleTable::new(version, &all, Arc::clone(&self.keys)));
        let mut shown = columns.to_vec();
        if let Some(subject) = subject {
            read.sort();
            read.dedup();
            inner = Arc::new(with_subject(&view.table, inner, &read, subject)?);
            shown.push(HIDDEN.to_owned());
        }
        match policy {
            None => Ok(inner),
            Some(policy) => Ok(Arc::new(guarded(&view.table, inner, &shown, &policy)?)),
        }
    }

    /// The very version, and not one that only has its number.
    fn version_of(&self, table: &str, (number, parts): &(u64, String)) -> Result<TableVersion, EngineError> {
        let version = self.store.version(table, *number)?;
        if version.parts_digest() == *parts {
            return Ok(version);
        }
        Err(EngineError::Elsewhere {
            fault: Fault::Usage,
            text: "a table is not the one that the query is about\n  help: executors need the project's folder, or a copy that has the same \
                   tables"
                .to_owned(),
        })
    }

    pub(crate) fn store(&self) -> &TableStore {
        &self.store
    }

    pub(crate) fn spills(&self) -> &Arc<SealedSpills> {
        &self.spills
    }

    /// Most bytes of sealed temporary files that were in use at one time.
    pub fn peak_spill_bytes(&self) -> u64 {
        self.spills.peak_bytes()
    }

    /// Bytes that queries hold now.
    pub fn memory_in_use(&self) -> usize {
        self.runtime.memory_pool.reserved()
    }

    /// Bytes of sealed temporary files that are in use now.
    pub fn spill_bytes(&self) -> u64 {
        self.spills.used_bytes()
    }

    fn state(&self, more_functions: Vec<Arc<ScalarUDF>>) -> SessionState {
        let mut options = ConfigOptions::default();
        options.execution.target_partitions = self.options.threads.max(1);
        options.execution.parquet.bloom_filter_on_read = false; // none are written
        // The default suits a gigabyte; under a small limit it would be all there is.
        options.execution.sort_spill_reservation_bytes =
            (self.options.memory_limit / (16 * self.options.threads.max(1))).min(10 << 20);
        options.catalog.default_catalog = CATALOG.into();
        options.catalog.default_schema = SCHEMA.into();
        options.catalog.information_schema = false; // it shows settings and paths; see `information_schema`
        let mut builder = SessionStateBuilder::new()
            .with_config(SessionConfig::from(options))
            .with_runtime_env(Arc::clone(&self.runtime))
            .with_default_features()
            .with_query_planner(Arc::new(BarrierPlanner))
            .with_table_factories(HashMap::new())
            .with_file_formats(Vec::new());
        if let Some(functions) = builder.scalar_functions() {
            functions.retain(|function| !WITHHELD_FUNCTIONS.contains(&function.name()));
            functions.extend(more_functions);
        }
        let rule = |rule: Arc<dyn OptimizerRule + Send + Sync>| -> Arc<dyn OptimizerRule + Send + Sync> {
            if rule.name() == PushDownFilter::new().name() { Arc::new(PushDownToBarriers::default()) } else { rule }
        };
        builder.with_optimizer_rules(Optimizer::new().rules.into_iter().map(rule).collect()).build()
    }
}

/// Plans queries over what it was given.
pub struct AuthorizedSession {
    state: SessionState,
    visible: VisibleNames,
    versions: BTreeMap<String, TableVersion>,
    limits: (Option<u64>, Option<Duration>),
    controlled: ControlledTables,
    views: Vec<AuthorizedView>,
    store: TableStore,
    spills: Arc<SealedSpills>,
    broadcast_rows: usize,
    /// Where queries are computed that read so many bytes.
    cluster: Option<(Arc<dyn QueryCluster>, u64)>,
}

/// What a statement answers, and the types of its parameters where it tells them.
pub struct Described {
    pub schema: SchemaRef,
    pub parameters: Vec<Option<DataType>>,
}

/// A query that is planned and not run: write the record, then [`QueryRun::execute`].
pub struct QueryRun {
    schema: SchemaRef,
    touched: Vec<Touched>,
    work: Work,
    limits: QueryLimits,
    allowed: Option<StillAllowed>,
    output: Option<(OutputRule, Outcome)>,
}

enum Work {
    Plan { plan: Arc<dyn ExecutionPlan>, context: Arc<TaskContext>, keys: KeyTools },
    Ready(RecordBatch),
}

impl AuthorizedSession {
    /// Queries that read tables of so many bytes are carried out by a cluster, as far as they can be. What they answer is the same.
    #[must_use]
    pub fn on_cluster(mut self, cluster: Arc<dyn QueryCluster>, from: u64) -> Self {
        self.cluster = Some((cluster, from));
        self
    }

    /// The tables that the session sees, and their columns.
    pub fn visible(&self) -> &BTreeMap<String, Vec<String>> {
        &self.visible
    }

    /// What each table that the session sees looks like.
    pub fn schemas(&self) -> Result<BTreeMap<String, SchemaRef>, EngineError> {
        self.visible.keys().map(|table| Ok((table.clone(), self.schema_of(table)?))).collect()
    }

    /// Checks and plans one statement. Nothing is read but footers.
    pub async fn plan(&self, sql: &str) -> Result<QueryRun, EngineError> {
        self.plan_with(sql, &[]).await
    }

    /// The same for a statement with parameters `$1`, `$2` …, each the only value of its array. They take the places of the plan's
    /// placeholders and are never part of a text.
    pub async fn plan_with(&self, sql: &str, parameters: &[ArrayRef]) -> Result<QueryRun, EngineError> {
        let (rows, time) = self.limits;
        let limits = QueryLimits { rows, deadline: time.map(|time| Instant::now() + time) };
        let ready = |batch: RecordBatch, touched, output| QueryRun {
            schema: batch.schema(),
            touched,
            work: Work::Ready(batch),
            limits,
            allowed: None,
            output,
        };
        let gated = sql::gate(sql, &self.visible)?;
        if let Some(batch) = self.about_tables(&gated.statement)? {
            return Ok(ready(batch, Vec::new(), None));
        }
        // A query has one `now()`, which is that of its planning.
        let mut state = self.state.clone();
        state.mark_start_execution();
        let logical = bound(self.logical(&state, &gated).await?, parameters)?;
        let controlled = self.only_statistics(&state, &logical, gated.explain).await?;
        let mut optimized = state.optimize(&logical).map_err(|error| EngineError::execution(&error))?;
        let touched = self.touched(&optimized)?;
        // What is released of statistics is decided here.
        if controlled.is_none()
            && !gated.explain
            && let Some((plan, context)) = self.spread(&state, &gated, sql, parameters, &touched).await?
        {
            let schema = plan.schema();
            let work = Work::Plan { plan, context, keys: self.store.keys().clone() };
            return Ok(QueryRun { schema, touched, work, limits, allowed: None, output: None });
        }
        let mut output = None;
        if let Some((plan, rule)) = controlled {
            output = Some(rule);
            // What is explained is the query as it was asked.
            optimized = plan.unwrap_or(optimized);
        }
        if gated.explain {
            let batch = explain::render(&optimized, &self.visible)?;
            return Ok(ready(batch, touched, output));
        }
        let plan = physical(&state, &optimized).await?;
        let (schema, context) = (plan.schema(), state.task_ctx());
        Ok(QueryRun {
            schema,
            touched,
            work: Work::Plan { plan, context, keys: self.store.keys().clone() },
            limits,
            allowed: None,
            output,
        })
    }

    /// The plan with what a cluster computes of it, where there is one and it is worth it.
    async fn spread(
        &self,
        state: &SessionState,
        gated: &sql::Gated,
        sql: &str,
        parameters: &[ArrayRef],
        touched: &[Touched],
    ) -> Result<Option<(Arc<dyn ExecutionPlan>, Arc<TaskContext>)>, EngineError> {
        let Some((cluster, from)) = &self.cluster else { return Ok(None) };
        let read: Vec<&TableVersion> = touched.iter().filter_map(|touched| self.versions.get(&touched.table)).collect();
        let bytes: u64 = read.iter().flat_map(|version| &version.manifest.parts).map(|part| part.bytes).sum();
        if read.is_empty() || bytes < *from {
            return Ok(None);
        }
        let groups = read.iter().map(|version| Spread::groups(version.manifest.parts.iter()).len());
        let partitions = Partitions { count: Spread::partitions(groups), broadcast_rows: self.broadcast_rows };
        let time = state.execution_props().query_execution_start_time.and_then(|time| time.timestamp_nanos_opt());
        let time = time.ok_or(EngineError::Internal("the time of a query"))?;
        let (plan, context) = self.plan_for_tasks(sql, parameters, time, partitions, false).await?;
        let named = |view: &&AuthorizedView| gated.tables.contains(&view.table);
        let views: Vec<&AuthorizedView> = self.views.iter().filter(named).collect();
        let versions = gated.tables.iter().filter_map(|table| Some((table.clone(), self.versions.get(table)?)));
        let named = |version: &TableVersion| (version.manifest.version, version.parts_digest());
        let versions = versions.map(|(table, version)| (table, named(version))).collect();
        let asked = Asked::new(sql, parameters, &views, versions, time, partitions)?;
        let order = Order::new(asked, Spread::fingerprint(&plan), self.limits.1.unwrap_or(LONGEST))?;
        let way =
            Way { cluster: Arc::clone(cluster), seal: Arc::new(order.pieces()?), spills: Arc::clone(&self.spills) };
        Ok(way.gathered(&plan, &order, self.store.seal_keys())?.map(|plan| (plan, context)))
    }

    pub(crate) fn versions(&self) -> Vec<TableVersion> {
        self.versions.values().cloned().collect()
    }

    /// How a question is planned for tasks, the same wherever it is.
    pub(crate) async fn plan_for_tasks(
        &self,
        sql: &str,
        parameters: &[ArrayRef],
        time: i64,
        partitions: Partitions,
        unchecked: bool,
    ) -> Result<(Arc<dyn ExecutionPlan>, Arc<TaskContext>), EngineError> {
        let gated = sql::gate(sql, &self.visible)?;
        let mut state = Spread::state(&self.state, partitions, unchecked);
        state.mark_start_execution();
        state.execution_props_mut().query_execution_start_time = Some(chrono::DateTime::from_timestamp_nanos(time));
        let logical = bound(self.logical(&state, &gated).await?, parameters)?;
        let optimized = state.optimize(&logical).map_err(|error| EngineError::execution(&error))?;
        Ok((physical(&state, &optimized).await?, state.task_ctx()))
    }

    /// What is run in the place of a query over tables of which only statistics leave; `None` when it reads no such table.
    async fn only_statistics(
        &self,
        state: &SessionState,
        logical: &LogicalPlan,
        explain: bool,
    ) -> Result<Option<(Option<LogicalPlan>, (OutputRule, Outcome))>, EngineError> {
        use output_control::{release, shape};
        if self.controlled.is_empty() {
            return Ok(None);
        }
        let failed = |error| EngineError::execution(&error);
        let analyzed =
            state.analyzer().execute_and_check(logical.clone(), state.config_options(), |_, _| {}).map_err(failed)?;
        let Some(aggregate) = shape::cut(&analyzed, &self.controlled)? else {
            return Ok(None);
        };
        let below = shape::release(aggregate, &self.controlled)?;
        let rule = OutputRule { smallest: below.control.rules.smallest(), rounding: below.control.rounding };
        let outcome = Outcome::default();
        if explain {
            return Ok(Some((None, (rule, outcome))));
        }
        let plan = physical(state, &state.optimize(&below.plan).map_err(failed)?).await?;
        let leaf = release::leaf(below, plan, Arc::clone(&outcome))?;
        let whole = state.optimize(&shape::put(&analyzed, aggregate, &leaf)?).map_err(failed)?;
        Ok(Some((Some(whole), (rule, outcome))))
    }

    /// What a statement would answer and takes, without a look at any row.
    pub async fn describe(&self, sql: &str) -> Result<Described, EngineError> {
        let gated = sql::gate(sql, &self.visible)?;
        if let Some(batch) = self.about_tables(&gated.statement)? {
            return Ok(Described { schema: batch.schema(), parameters: Vec::new() });
        }
        let logical = self.logical(&self.state, &gated).await?;
        let mut found =
            logical.get_parameter_types().map_err(|error| gated.problem(&error, &self.visible, [].iter()))?;
        cast_parameters(&logical, &mut found)?;
        let highest = found.keys().filter_map(|name| name.strip_prefix('$')?.parse::<usize>().ok()).max().unwrap_or(0);
        if highest > MAX_PARAMETERS || found.keys().any(|name| !is_parameter(name)) {
            return Err(EngineError::planning(PlanProblemKind::Parameters));
        }
        let parameters = (1..=highest).map(|number| found.get(&format!("${number}")).cloned().flatten()).collect();
        let schema = if gated.explain {
            explain::render(&logical, &self.visible)?.schema()
        } else {
            Arc::new(logical.schema().as_arrow().clone())
        };
        Ok(Described { schema, parameters })
    }

    async fn logical(&self, state: &SessionState, gated: &sql::Gated) -> Result<LogicalPlan, EngineError> {
        let known_functions = || {
            let state = &self.state;
            state
                .scalar_functions()
                .keys()
                .chain(state.aggregate_functions().keys())
                .chain(state.window_functions().keys())
        };
        let logical = state
            .statement_to_plan(gated.statement.clone())
            .await
            .map_err(|error| gated.problem(&error, &self.visible, known_functions()))?;
        // The gate has refused these before; should it ever miss one, this does not.
        SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false)
            .verify_plan(&logical)
            .map_err(|_| EngineError::Refused { reason: "only questions may run" })?;
        Ok(logical)
    }

    /// SHOW TABLES, SHOW COLUMNS and DESCRIBE, answered from what the session sees.
    fn about_tables(&self, statement: &DfStatement) -> Result<Option<RecordBatch>, EngineError> {
        let DfStatement::Statement(statement) = statement else {
            return Ok(None);
        };
        let name = match statement.as_ref() {
            Statement::ShowTables { .. } => {
                let names: ArrayRef = Arc::new(StringArray::from_iter_values(self.visible.keys()));
                return batch([("table_name", names)]).map(Some);
            }
            Statement::ShowColumns { show_options, .. } => match &show_options.show_in {
                Some(ShowStatementIn { parent_name: Some(name), .. }) => name,
                _ => return Err(unknown_table()),
            },
            Statement::ExplainTable { table_name, .. } => table_name,
            _ => return Ok(None),
        };
        let table = last_name(name).filter(|name| self.visible.contains_key(name)).ok_or_else(unknown_table)?;
        self.described(&table).map(Some)
    }

    fn schema_of(&self, table: &str) -> Result<SchemaRef, EngineError> {
        let provider = self
            .state
            .catalog_list()
            .catalog(CATALOG)
            .and_then(|catalog| catalog.schema(SCHEMA))
            .ok_or(EngineError::Internal("catalog"))?;
        Ok(futures::executor::block_on(provider.table(table)).ok().flatten().ok_or_else(unknown_table)?.schema())
    }

    fn described(&self, table: &str) -> Result<RecordBatch, EngineError> {
        let schema = self.schema_of(table)?;
        let names: ArrayRef = Arc::new(StringArray::from_iter_values(schema.fields().iter().map(|field| field.name())));
        let types: ArrayRef =
            Arc::new(StringArray::from_iter_values(schema.fields().iter().map(|field| field.data_type().to_string())));
        batch([("column_name", names), ("data_type", types)])
    }

    fn touched(&self, plan: &LogicalPlan) -> Result<Vec<Touched>, EngineError> {
        let mut columns: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::Extension(node) = node
                && let Some(barrier) = node.node.as_any().downcast_ref::<SecurityBarrier>()
            {
                // What the policy reads below is not what the query asked for.
                let shown = barrier.input.schema().fields().iter().map(|field| field.name().clone());
                let passed = barrier.passed.iter().flat_map(Expr::column_refs).map(|column| column.name.clone());
                columns.entry(barrier.table.clone()).or_default().extend(shown.chain(passed));
                return Ok(TreeNodeRecursion::Jump);
            }
            if let LogicalPlan::TableScan(scan) = node
                && scan.table_name.schema().is_none_or(|schema| schema == SCHEMA)
            {
                let of_table = columns.entry(scan.table_name.table().to_owned()).or_default();
                of_table.extend(scan.projected_schema.fields().iter().map(|field| field.name().clone()));
                let filters = scan.filters.iter().flat_map(|filter| filter.column_refs());
                of_table.extend(filters.map(|column| column.name.clone()));
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .map_err(|error| EngineError::execution(&error))?;
        Ok(columns
            .into_iter()
            .filter_map(|(table, columns)| {
                let version = self.versions.get(&table)?.manifest.version;
                Some(Touched { table, version, columns: columns.into_iter().collect() })
            })
            .collect())
    }
}

impl QueryRun {
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What the optimised plan reads.
    pub fn touched(&self) -> &[Touched] {
        &self.touched
    }

    /// The rule under which the answer stands, where only statistics may leave.
    pub fn output_rule(&self) -> Option<OutputRule> {
        self.output.as_ref().map(|(rule, _)| *rule)
    }

    /// Limits of the caller's own; those of the engine stay.
    #[must_use]
    pub fn with_limits(mut self, limits: QueryLimits) -> Self {
        self.limits = self.limits.and(limits);
        self
    }

    /// The query ends with [`EngineError::Revoked`] before the first batch at which this says no.
    #[must_use]
    pub fn while_allowed(mut self, allowed: StillAllowed) -> Self {
        self.allowed = Some(allowed);
        self
    }

    /// Starts the query. The caller has made its audit entry durable before.
    pub fn execute(self) -> Result<QueryStream, EngineError> {
        let rows = match self.work {
            Work::Ready(batch) => Rows::Ready(Some(batch)),
            Work::Plan { plan, context, keys } => {
                let begun = Instant::now();
                let stream = execute_stream(plan, context);
                let stream = stream.map_err(|error| keys.explained(EngineError::execution(&error), begun))?;
                Rows::Plan { stream, keys, begun }
            }
        };
        let outcome = self.output.map(|(_, outcome)| outcome);
        Ok(QueryStream { schema: self.schema, rows, watch: Watch::new(self.limits, self.allowed), outcome })
    }
}

/// The rows of a query. Its errors hold no value. Dropped, or at the first error, it lets go of memory and temporary files.
pub struct QueryStream {
    schema: SchemaRef,
    rows: Rows,
    watch: Watch,
    outcome: Option<Outcome>,
}

enum Rows {
    Plan { stream: SendableRecordBatchStream, keys: KeyTools, begun: Instant },
    Ready(Option<RecordBatch>),
}

impl QueryStream {
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What was withheld, once that is decided. For the record and not for whoever asks.
    pub fn withheld(&self) -> impl Fn() -> Option<Withheld> + Send + 'static {
        let outcome = self.outcome.clone();
        move || outcome.as_ref().and_then(|outcome| outcome.get().copied())
    }
}

impl Stream for QueryStream {
    type Item = Result<RecordBatch, EngineError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = match (&mut this.rows, this.watch.time(context)) {
            (Rows::Ready(None), _) => return Poll::Ready(None),
            (_, Err(over)) => Some(Err(over)),
            (Rows::Ready(batch), _) => batch.take().map(Ok),
            (Rows::Plan { stream, keys, begun }, _) => match stream.as_mut().poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(next) => {
                    next.map(|batch| batch.map_err(|error| keys.explained(EngineError::execution(&error), *begun)))
                }
            },
        };
        let next = next.map(|batch| batch.and_then(|batch| this.watch.rows(batch.num_rows()).map(|()| batch)));
        if !matches!(next, Some(Ok(_))) {
            this.rows = Rows::Ready(None);
        }
        Poll::Ready(next)
    }
}

async fn physical(state: &SessionState, optimized: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>, EngineError> {
    state.query_planner().create_physical_plan(optimized, state).await.map_err(|error| EngineError::execution(&error))
}

/// For tools that ask: the same names as everywhere else, and no settings, paths or definitions.
fn information_schema(
    visible: &VisibleNames,
    tables: &MemorySchemaProvider,
) -> Result<MemorySchemaProvider, EngineError> {
    let mut table_names = Vec::new();
    let mut column_tables = Vec::new();
    let mut column_names = Vec::new();
    let mut positions = Vec::new();
    let mut types = Vec::new();
    for table in visible.keys() {
        table_names.push(table.as_str());
        let provider = futures::executor::block_on(tables.table(table)).ok().flatten();
        let schema = provider.ok_or(EngineError::Internal("view"))?.schema();
        for (position, field) in (1u64..).zip(schema.fields()) {
            column_tables.push(table.as_str());
            column_names.push(field.name().clone());
            positions.push(position);
            types.push(field.data_type().to_string());
        }
    }
    let constant = |text: &str, len: usize| -> ArrayRef { Arc::new(StringArray::from(vec![text; len])) };
    let (tables_len, columns_len) = (table_names.len(), column_names.len());
    let tables = batch([
        ("table_catalog", constant(CATALOG, tables_len)),
        ("table_schema", constant(SCHEMA, tables_len)),
        ("table_name", Arc::new(StringArray::from(table_names))),
        ("table_type", constant("BASE TABLE", tables_len)),
    ])?;
    let columns = batch([
        ("table_catalog", constant(CATALOG, columns_len)),
        ("table_schema", constant(SCHEMA, columns_len)),
        ("table_name", Arc::new(StringArray::from(column_tables))),
        ("column_name", Arc::new(StringArray::from(column_names))),
        ("ordinal_position", Arc::new(UInt64Array::from(positions))),
        ("data_type", Arc::new(StringArray::from(types))),
    ])?;
    let provider = MemorySchemaProvider::new();
    for (name, rows) in [("tables", tables), ("columns", columns)] {
        let table = MemTable::try_new(rows.schema(), vec![vec![rows]])
            .and_then(|table| provider.register_table(name.to_owned(), Arc::new(table)));
        table.map_err(|error| EngineError::execution(&error))?;
    }
    Ok(provider)
}

fn batch<const N: usize>(columns: [(&str, ArrayRef); N]) -> Result<RecordBatch, EngineError> {
    RecordBatch::try_from_iter(columns).map_err(|error| EngineError::arrow(&error))
}

const MAX_PARAMETERS: usize = 1000;
/// How long a query on a cluster may take where nothing else is said.
const LONGEST: Duration = Duration::from_hours(24);

fn is_parameter(name: &str) -> bool {
    name.strip_prefix('$').and_then(|number| number.parse::<usize>().ok()).is_some_and(|number| number > 0)
}

/// `CAST($1 AS DATE)` says what `$1` is, where nothing else does.
fn cast_parameters(plan: &LogicalPlan, found: &mut HashMap<String, Option<DataType>>) -> Result<(), EngineError> {
    let mut tell = |inner: &Expr, data_type: &DataType| {
        if let Expr::Placeholder(placeholder) = inner {
            found.entry(placeholder.id.clone()).or_default().get_or_insert_with(|| data_type.clone());
        }
    };
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                match expr {
                    Expr::Cast(cast) => tell(&cast.expr, cast.field.data_type()),
                    Expr::TryCast(cast) => tell(&cast.expr, cast.field.data_type()),
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map(drop)
    .map_err(|error| EngineError::execution(&error))
}

/// The plan with values for its placeholders. One that is left without would fail later, in words of the engine.
fn bound(plan: LogicalPlan, parameters: &[ArrayRef]) -> Result<LogicalPlan, EngineError> {
    let names = plan.get_parameter_names().map_err(|error| EngineError::execution(&error))?;
    let known = |name: &String| {
        is_parameter(name)
            && name
                .strip_prefix('$')
                .and_then(|number| number.parse().ok())
                .is_some_and(|at: usize| at <= parameters.len())
    };
    if !names.iter().all(known) {
        return Err(EngineError::planning(PlanProblemKind::Parameters));
    }
    if names.is_empty() {
        return Ok(plan);
    }
    let values = parameters
        .iter()
        .map(|array| ScalarValue::try_from_array(array, 0).map(ScalarAndMetadata::from))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| EngineError::execution(&error))?;
    plan.with_param_values(ParamValues::List(values)).map_err(|error| EngineError::execution(&error))
}

fn last_name(name: &ObjectName) -> Option<String> {
    let ident = name.0.last()?.as_ident()?;
    Some(if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() })
}

fn unknown_table() -> EngineError {
    EngineError::planning(PlanProblemKind::UnknownTable)
}
