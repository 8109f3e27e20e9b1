//! A table as one session may see it.

use std::fmt;
use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::config::TableParquetOptions;
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::parquet_encryption::EncryptionFactory;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;

use crate::cluster::Spread;
use crate::errors::EngineError;
use crate::tables::{PartInfo, TableVersion};

/// Where the engine's own object store is registered; no other one is.
pub(crate) const STORE_URL: &str = "cordon://tables";
/// Enough for the footer of most parts in one read.
const FOOTER_HINT: usize = 64 * 1024;

/// Exactly the parts of one version and exactly the columns that may be seen. A hidden column is not hidden here, it is
/// absent: from the schema, from the statistics, from the scan.
pub(crate) struct VisibleTable {
    version: TableVersion,
    schema: SchemaRef,
    keys: Arc<dyn EncryptionFactory>,
}

impl VisibleTable {
    pub(crate) fn new(version: TableVersion, columns: &[String], keys: Arc<dyn EncryptionFactory>) -> Self {
        // Without the metadata: it says how a column was made, and SQL could ask for it.
        let fields: Vec<Field> = version
            .schema
            .fields()
            .iter()
            .filter(|field| columns.contains(field.name()))
            .map(|field| field.as_ref().clone().with_metadata(std::collections::HashMap::new()))
            .collect();
        Self { version, schema: Arc::new(Schema::new(fields)), keys }
    }

    fn files<'p>(&self, parts: impl IntoIterator<Item = &'p PartInfo>) -> FileGroup {
        let files = parts.into_iter().filter(|part| part.rows > 0).map(|part| {
            PartitionedFile::new(self.version.part_key(part), part.bytes)
                .with_statistics(Arc::new(self.row_count(part.rows)))
        });
        FileGroup::new(files.collect())
    }

    /// The number of rows is what `count(*)` may tell anyone who may see the table; values have no statistics here.
    fn row_count(&self, rows: u64) -> Statistics {
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Exact(rows as usize);
        statistics
    }
}

impl fmt::Debug for VisibleTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VisibleTable")
    }
}

#[async_trait]
impl TableProvider for VisibleTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(self.row_count(self.version.rows()))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // They prune row groups and pages; the plan keeps them for the rows.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let spread = Spread::of(state);
        if spread.as_ref().is_none_or(|spread| !spread.unchecked) {
            let version = self.version.clone();
            tokio::task::spawn_blocking(move || version.check_footers().and_then(|()| version.check_footer_key()))
                .await
                .map_err(|_| EngineError::Internal("check of the parts").into_datafusion())?
                .map_err(EngineError::into_datafusion)?;
        }
        let parts = &self.version.manifest.parts;
        let groups = match spread {
            Some(_) => Spread::groups(parts.iter()).into_iter().map(|parts| self.files(parts)).collect(),
            None => vec![self.files(parts)],
        };
        let options = TableParquetOptions {
            global: state.config_options().execution.parquet.clone(),
            ..TableParquetOptions::default()
        };
        let source = ParquetSource::new(self.schema.clone())
            .with_table_parquet_options(options)
            .with_metadata_size_hint(FOOTER_HINT)
            .with_encryption_factory(Arc::clone(&self.keys));
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::parse(STORE_URL)?, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(self.row_count(self.version.rows()))
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}
