//! Writing results for people and programs.

use std::io::{self, Write};
use std::str::FromStr;

use arrow::util::pretty::pretty_format_batches_with_options;
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::StreamExt;

use crate::errors::EngineError;
use crate::session::QueryStream;

/// How a result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// Aligned text. Rows beyond [`TABLE_ROWS`] are counted and not shown: the table is laid out in memory.
    Table,
    /// RFC 4180, with a header line.
    Csv,
    /// One JSON array of objects.
    Json,
    /// One JSON object a line.
    NdJson,
    /// Arrow IPC stream.
    Arrow,
}

/// What [`OutputFormat::Table`] shows at most.
pub const TABLE_ROWS: usize = 10_000;

impl FromStr for OutputFormat {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "table" => Ok(Self::Table),
            "csv" => Ok(Self::Csv),
            "json" => Ok(Self::Json),
            "ndjson" => Ok(Self::NdJson),
            "arrow" => Ok(Self::Arrow),
            _ => Err("known formats are table, csv, json, ndjson and arrow"),
        }
    }
}

/// Writes the whole stream and returns the number of rows. Nothing is written before the first batch is there, so that a
/// query that fails at once leaves no half-written result.
pub async fn write_result(
    mut stream: QueryStream,
    format: OutputFormat,
    output: &mut (dyn Write + Send),
) -> Result<u64, EngineError> {
    let schema = stream.schema().clone();
    let first = stream.next().await.transpose()?;
    let mut sink = Sink::new(format, &schema, &mut *output)?;
    let mut rows = 0;
    let mut batch = first;
    while let Some(now) = batch {
        rows += now.num_rows() as u64;
        sink.write(&now)?;
        batch = stream.next().await.transpose()?;
    }
    sink.finish(rows)?;
    // A buffered writer that is dropped tells nobody that the disk was full.
    output.flush().map_err(|error| EngineError::io("write the result", std::path::Path::new("output"), &error))?;
    Ok(rows)
}

enum Sink<'a> {
    Table { schema: SchemaRef, batches: Vec<RecordBatch>, rows: usize, output: &'a mut (dyn Write + Send) },
    Csv(Box<arrow_csv::Writer<&'a mut (dyn Write + Send)>>),
    Json(arrow_json::ArrayWriter<&'a mut (dyn Write + Send)>),
    NdJson(arrow_json::LineDelimitedWriter<&'a mut (dyn Write + Send)>),
    Arrow(Box<arrow_ipc::writer::StreamWriter<&'a mut (dyn Write + Send)>>),
}

impl<'a> Sink<'a> {
    fn new(format: OutputFormat, schema: &SchemaRef, output: &'a mut (dyn Write + Send)) -> Result<Self, EngineError> {
        let json = || arrow_json::WriterBuilder::new().with_explicit_nulls(true);
        Ok(match format {
            OutputFormat::Table => Self::Table { schema: schema.clone(), batches: Vec::new(), rows: 0, output },
            OutputFormat::Csv => {
                let mut writer = arrow_csv::WriterBuilder::new().with_header(true).build(output);
                // The header stands also above an empty result.
                writer.write(&RecordBatch::new_empty(schema.clone())).map_err(|error| EngineError::arrow(&error))?;
                Self::Csv(Box::new(writer))
            }
            OutputFormat::Json => Self::Json(json().build(output)),
            OutputFormat::NdJson => Self::NdJson(json().build(output)),
            OutputFormat::Arrow => Self::Arrow(Box::new(
                arrow_ipc::writer::StreamWriter::try_new(output, schema).map_err(|error| EngineError::arrow(&error))?,
            )),
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), EngineError> {
        match self {
            Self::Table { batches, rows, .. } => {
                let room = TABLE_ROWS.saturating_sub(*rows).min(batch.num_rows());
                if room > 0 {
                    batches.push(batch.slice(0, room));
                    *rows += room;
                }
                Ok(())
            }
            Self::Csv(writer) => writer.write(batch).map_err(|error| EngineError::arrow(&error)),
            Self::Json(writer) => writer.write(batch).map_err(|error| EngineError::arrow(&error)),
            Self::NdJson(writer) => writer.write(batch).map_err(|error| EngineError::arrow(&error)),
            Self::Arrow(writer) => writer.write(batch).map_err(|error| EngineError::arrow(&error)),
        }
    }

    fn finish(self, total: u64) -> Result<(), EngineError> {
        let io = |error: io::Error| EngineError::io("write the result", std::path::Path::new("output"), &error);
        match self {
            Self::Table { schema, batches, rows, output } => {
                let options = arrow::util::display::FormatOptions::default().with_null("");
                let batches = if batches.is_empty() { vec![RecordBatch::new_empty(schema)] } else { batches };
                let text = pretty_format_batches_with_options(&batches, &options)
                    .map_err(|error| EngineError::arrow(&error))?;
                writeln!(output, "{text}").map_err(io)?;
                if total > rows as u64 {
                    writeln!(output, "({rows} of {total} rows shown; the other formats write all)").map_err(io)?;
                }
                Ok(())
            }
            Self::Csv(writer) => writer.into_inner().flush().map_err(io),
            Self::Json(mut writer) => writer.finish().map_err(|error| EngineError::arrow(&error)),
            Self::NdJson(mut writer) => writer.finish().map_err(|error| EngineError::arrow(&error)),
            Self::Arrow(mut writer) => writer.finish().map_err(|error| EngineError::arrow(&error)),
        }
    }
}
