//! What Cordon's runs are measured against: DataFusion copying a CSV file to Parquet and doing nothing else.
//!
//! `copy SOURCE.csv TARGET_FOLDER THREADS [text|inferred]`: `text` reads every column as text, as Cordon's own reader
//! does before a rule gives it a type; `inferred` lets DataFusion choose types. Compressed as Cordon's parts are.
#![allow(clippy::print_stderr, reason = "a program for a developer's terminal")]

use std::process::ExitCode;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::config::TableParquetOptions;
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::error::DataFusionError;
use datafusion::prelude::{CsvReadOptions, SessionConfig, SessionContext};

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [source, target, threads, types @ ..] = args.as_slice() else {
        eprintln!("usage: copy SOURCE.csv TARGET_FOLDER THREADS [text|inferred]");
        return ExitCode::from(2);
    };
    let as_text = types.first().is_none_or(|types| types == "text");
    match copy(source, target, threads.parse().unwrap_or(0), as_text).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("copy: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn copy(source: &str, target: &str, threads: usize, as_text: bool) -> Result<(), DataFusionError> {
    let config = SessionConfig::new().with_target_partitions(threads.max(1));
    let session = SessionContext::new_with_config(config);
    let inferred = session.read_csv(source, CsvReadOptions::new()).await?;
    let text = Schema::new(
        inferred
            .schema()
            .fields()
            .iter()
            .map(|field| Field::new(field.name(), DataType::Utf8View, true))
            .collect::<Vec<_>>(),
    );
    let table = if as_text { session.read_csv(source, CsvReadOptions::new().schema(&text)).await? } else { inferred };
    let mut options = TableParquetOptions::default();
    options.global.compression = Some("zstd(1)".to_owned());
    table.write_parquet(target, DataFrameWriteOptions::new(), Some(options)).await?;
    Ok(())
}
