//! Authorised SQL: plan, tell what it will touch, and only then run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow_schema::SchemaRef;
use cordon_access::{Decision, Mask};
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::config::ConfigOptions;
use datafusion::datasource::MemTable;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::parquet_encryption::EncryptionFactory;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{ObjectName, ShowStatementIn, Statement};
use futures::Stream;

use crate::barrier::{BarrierPlanner, GuardedTable, Policy, SecurityBarrier};
use crate::errors::{EngineError, PlanProblem, PlanProblemKind};
use crate::explain;
use crate::keytools::CordonEncryptionFactory;
use crate::output_control::shape::{Controlled, ControlledTables};
use crate::output_control::{self, HIDDEN, Outcome, OutputControl, OutputRule, WithSubject, Withheld, subject_column};
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
#[derive(Clone, Debug)]
pub struct QueryOptions {
    /// Bytes that all queries of one engine may hold together before they spill.
    pub memory_limit: usize,
    /// Where sealed temporary files are made.
    pub tmp_dir: PathBuf,
    pub tmp_limit: u64,
    pub threads: usize,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self {
            memory_limit: 1 << 30,
            tmp_dir: std::env::temp_dir(),
            tmp_limit: 100 << 30,
            threads: std::thread::available_parallelism().map_or(1, Into::into),
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
        Ok(Self { store, runtime: Arc::new(runtime), spills, keys, options })
    }

    /// A session that knows the given views and nothing else: what is not among them is absent, not forbidden.
    /// It sees one version of each table for as long as it lives.
    pub fn session(&self, views: &[AuthorizedView]) -> Result<AuthorizedSession, EngineError> {
        let state = self.state();
        let schema = MemorySchemaProvider::new();
        let mut visible = VisibleNames::new();
        let mut versions = BTreeMap::new();
        let mut controlled = ControlledTables::new();
        for view in views {
            let Some(version) = self.store.current(&view.table)? else {
                continue;
            };
            let all = version.schema.fields().iter().map(|field| field.name().clone());
            let columns: Vec<String> = match &view.columns {
                VisibleColumns::All => all.collect(),
                VisibleColumns::Only(only) => all.filter(|name| only.contains(name)).collect(),
            };
            if columns.is_empty() {
                continue;
            }
            versions.insert(view.table.clone(), version.manifest.version);
            if let Some(control) = &view.output {
                let table = self.controlled(&state, view, &version, &columns, control.clone())?;
                controlled.insert(view.table.clone(), table);
            }
            schema
                .register_table(view.table.clone(), self.provider(&state, view, version, &columns, None)?)
                .map_err(|_| EngineError::Internal("two views of one table"))?;
            visible.insert(view.table.clone(), columns);
        }
        let catalog = state.catalog_list().catalog(CATALOG).ok_or(EngineError::Internal("catalog"))?;
        let information = information_schema(&visible, &schema)?;
        for (name, provider) in [(SCHEMA, schema), (INFORMATION_SCHEMA, information)] {
            catalog.register_schema(name, Arc::new(provider)).map_err(|error| EngineError::execution(&error))?;
        }
        Ok(AuthorizedSession { state, visible, versions, controlled })
    }

    /// A view of a table of which only statistics leave, with its subject behind its columns.
    fn controlled(
        &self,
        state: &SessionState,
        view: &AuthorizedView,
        version: &TableVersion,
        columns: &[String],
        control: OutputControl,
    ) -> Result<Controlled, EngineError> {
        let subject = subject_column(&version.schema);
        let is_seen = |subject: &String| columns.contains(subject) && !view.masks.contains_key(subject);
        let provider = match &subject {
            Some(subject) => Some(self.provider(state, view, version.clone(), columns, Some(subject))?),
            None => None,
        };
        Ok(Controlled { provider, visible_subject: subject.filter(is_seen), control })
    }

    fn provider(
        &self,
        state: &SessionState,
        view: &AuthorizedView,
        version: TableVersion,
        columns: &[String],
        subject: Option<&String>,
    ) -> Result<Arc<dyn TableProvider>, EngineError> {
        let policy = if view.row_filter.is_none() && view.masks.is_empty() {
            None
        } else {
            Some(Policy::read(state, &view.table, &version.schema, view.row_filter.as_deref(), &view.masks)?)
        };
        let mut read: Vec<String> = columns.to_vec();
        read.extend(policy.iter().flat_map(Policy::columns).filter(|name| !columns.contains(name)));
        read.sort();
        read.dedup();
        if policy.is_none() {
            read = columns.to_vec();
        }
        let all: Vec<String> = read.iter().chain(subject).cloned().collect();
        let mut inner: Arc<dyn TableProvider> = Arc::new(VisibleTable::new(version, &all, Arc::clone(&self.keys)));
        let mut shown = columns.to_vec();
        if let Some(subject) = subject {
            inner = Arc::new(WithSubject::new(&view.table, inner, &read, subject)?);
            shown.push(HIDDEN.to_owned());
        }
        match policy {
            None => Ok(inner),
            Some(policy) => Ok(Arc::new(GuardedTable::new(&view.table, inner, &shown, &policy)?)),
        }
    }

    /// Most bytes of sealed temporary files that were in use at one time.
    pub fn peak_spill_bytes(&self) -> u64 {
        self.spills.peak_bytes()
    }

    fn state(&self) -> SessionState {
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
            .with_table_factories(std::collections::HashMap::new())
            .with_file_formats(Vec::new());
        if let Some(functions) = builder.scalar_functions() {
            functions.retain(|function| !WITHHELD_FUNCTIONS.contains(&function.name()));
        }
        builder.build()
    }
}

/// Plans queries over what it was given.
pub struct AuthorizedSession {
    state: SessionState,
    visible: VisibleNames,
    versions: BTreeMap<String, u64>,
    controlled: ControlledTables,
}

/// A query that is planned and not run: write the record, then [`QueryRun::execute`].
pub struct QueryRun {
    schema: SchemaRef,
    touched: Vec<Touched>,
    work: Work,
    output: Option<(OutputRule, Outcome)>,
}

enum Work {
    Plan { plan: Arc<dyn ExecutionPlan>, context: Arc<TaskContext> },
    Ready(RecordBatch),
}

impl AuthorizedSession {
    /// The tables that the session sees, and their columns.
    pub fn visible(&self) -> &BTreeMap<String, Vec<String>> {
        &self.visible
    }

    /// Checks and plans one statement. Nothing is read but footers.
    pub async fn plan(&self, sql: &str) -> Result<QueryRun, EngineError> {
        let gated = sql::gate(sql, &self.visible)?;
        if let Some(batch) = self.about_tables(&gated.statement)? {
            return Ok(QueryRun {
                schema: batch.schema(),
                touched: Vec::new(),
                work: Work::Ready(batch),
                output: None,
            });
        }
        let known_functions = || {
            let state = &self.state;
            state
                .scalar_functions()
                .keys()
                .chain(state.aggregate_functions().keys())
                .chain(state.window_functions().keys())
        };
        let logical = self
            .state
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
        let controlled = self.only_statistics(&logical, gated.explain).await?;
        let mut optimized = self.state.optimize(&logical).map_err(|error| EngineError::execution(&error))?;
        let touched = self.touched(&optimized)?;
        let mut output = None;
        if let Some((plan, rule)) = controlled {
            output = Some(rule);
            // What is explained is the query as it was asked.
            optimized = plan.unwrap_or(optimized);
        }
        if gated.explain {
            let batch = explain::render(&optimized, &self.visible)?;
            return Ok(QueryRun { schema: batch.schema(), touched, work: Work::Ready(batch), output });
        }
        let plan = self.physical(&optimized).await?;
        let work = Work::Plan { plan: Arc::clone(&plan), context: self.state.task_ctx() };
        Ok(QueryRun { schema: plan.schema(), touched, work, output })
    }

    async fn physical(&self, optimized: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>, EngineError> {
        let planner = self.state.query_planner();
        planner.create_physical_plan(optimized, &self.state).await.map_err(|error| EngineError::execution(&error))
    }

    /// What is run in the place of a query over tables of which only statistics leave; `None` when it reads no such table.
    async fn only_statistics(
        &self,
        logical: &LogicalPlan,
        explain: bool,
    ) -> Result<Option<(Option<LogicalPlan>, (OutputRule, Outcome))>, EngineError> {
        use output_control::{release, shape};
        if self.controlled.is_empty() {
            return Ok(None);
        }
        let failed = |error| EngineError::execution(&error);
        let analyzed = self
            .state
            .analyzer()
            .execute_and_check(logical.clone(), self.state.config_options(), |_, _| {})
            .map_err(failed)?;
        let Some(aggregate) = shape::cut(&analyzed, &self.controlled)? else {
            return Ok(None);
        };
        let below = shape::release(aggregate, &self.controlled)?;
        let rule = OutputRule { smallest: below.control.rules.smallest(), rounding: below.control.rounding };
        let outcome = Outcome::default();
        if explain {
            return Ok(Some((None, (rule, outcome))));
        }
        let plan = self.physical(&self.state.optimize(&below.plan).map_err(failed)?).await?;
        let leaf = release::leaf(below, plan, Arc::clone(&outcome))?;
        let whole = self.state.optimize(&shape::put(&analyzed, aggregate, &leaf)?).map_err(failed)?;
        Ok(Some((Some(whole), (rule, outcome))))
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

    fn described(&self, table: &str) -> Result<RecordBatch, EngineError> {
        let provider = self
            .state
            .catalog_list()
            .catalog(CATALOG)
            .and_then(|catalog| catalog.schema(SCHEMA))
            .ok_or(EngineError::Internal("catalog"))?;
        let schema =
            futures::executor::block_on(provider.table(table)).ok().flatten().ok_or_else(unknown_table)?.schema();
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
                columns.entry(barrier.table.clone()).or_default().extend(shown);
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
                let version = *self.versions.get(&table)?;
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

    /// Starts the query. The caller has made its audit entry durable before.
    pub fn execute(self) -> Result<QueryStream, EngineError> {
        let rows = match self.work {
            Work::Ready(batch) => Rows::Ready(Some(batch)),
            Work::Plan { plan, context } => {
                Rows::Plan(execute_stream(plan, context).map_err(|error| EngineError::execution(&error))?)
            }
        };
        Ok(QueryStream { schema: self.schema, rows, outcome: self.output.map(|(_, outcome)| outcome) })
    }
}

/// The rows of a query. Its errors hold no value.
pub struct QueryStream {
    schema: SchemaRef,
    rows: Rows,
    outcome: Option<Outcome>,
}

enum Rows {
    Plan(SendableRecordBatchStream),
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

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.rows {
            Rows::Ready(batch) => Poll::Ready(batch.take().map(Ok)),
            Rows::Plan(stream) => stream
                .as_mut()
                .poll_next(context)
                .map(|next| next.map(|batch| batch.map_err(|error| EngineError::execution(&error)))),
        }
    }
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

fn last_name(name: &ObjectName) -> Option<String> {
    let ident = name.0.last()?.as_ident()?;
    Some(if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() })
}

fn unknown_table() -> EngineError {
    EngineError::Planning(PlanProblem { kind: PlanProblemKind::UnknownTable, position: None, did_you_mean: None })
}
