//! Writing results for people and programs.

use std::io::{self, Write};
use std::path::Path;
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

/// Writes the whole stream and returns the number of rows that were written. Nothing is written before the first batch is
/// there, so that a query that fails at once leaves no half-written result. Whoever reads may stop reading: that ends the
/// query and is no error.
pub async fn write_result(
    stream: QueryStream,
    format: OutputFormat,
    output: &mut (dyn Write + Send),
) -> Result<u64, EngineError> {
    write_telling(stream, format, output, &mut |_| {}).await
}

/// The same; before the rows of a batch are written it is told how many will have been by then.
pub async fn write_telling(
    stream: QueryStream,
    format: OutputFormat,
    output: &mut (dyn Write + Send),
    tell: &mut (dyn FnMut(u64) + Send),
) -> Result<u64, EngineError> {
    let mut output = Remembering { inner: output, failed: None };
    let mut rows = 0;
    let written = pump(stream, format, &mut output, &mut rows, tell).await;
    // The writers turn errors of the output into errors of their own, which do not say any more what it was.
    match output.failed {
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(rows),
        Some(error) => Err(EngineError::io("write the result", Path::new("the output"), &error)),
        None => written.map(|()| rows),
    }
}

async fn pump(
    mut stream: QueryStream,
    format: OutputFormat,
    output: &mut Remembering<'_>,
    rows: &mut u64,
    tell: &mut (dyn FnMut(u64) + Send),
) -> Result<(), EngineError> {
    let schema = stream.schema().clone();
    let first = stream.next().await.transpose()?;
    let mut sink = Sink::new(format, &schema, &mut *output)?;
    let mut total = 0;
    let mut batch = first;
    while let Some(now) = batch {
        total += now.num_rows() as u64;
        tell(total);
        *rows += sink.write(&now)?;
        batch = stream.next().await.transpose()?;
    }
    sink.finish(total)?;
    // A buffered writer that is dropped tells nobody that the disk was full.
    output.flush().map_err(|error| EngineError::io("write the result", Path::new("the output"), &error))
}

/// Keeps the first error of the output itself.
struct Remembering<'a> {
    inner: &'a mut (dyn Write + Send),
    failed: Option<io::Error>,
}

impl Remembering<'_> {
    fn seen<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
        outcome.inspect_err(|error| {
            if self.failed.is_none() && error.kind() != io::ErrorKind::Interrupted {
                self.failed =
                    Some(error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error));
            }
        })
    }
}

impl Write for Remembering<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = self.inner.write(bytes);
        self.seen(outcome)
    }

    fn flush(&mut self) -> io::Result<()> {
        let outcome = self.inner.flush();
        self.seen(outcome)
    }
}

enum Sink<'a, W: Write + Send> {
    Table { schema: SchemaRef, batches: Vec<RecordBatch>, rows: usize, output: &'a mut W },
    Csv(Box<arrow_csv::Writer<&'a mut W>>),
    Json(arrow_json::ArrayWriter<&'a mut W>),
    NdJson(arrow_json::LineDelimitedWriter<&'a mut W>),
    Arrow(Box<arrow_ipc::writer::StreamWriter<&'a mut W>>),
}

impl<'a, W: Write + Send> Sink<'a, W> {
    fn new(format: OutputFormat, schema: &SchemaRef, output: &'a mut W) -> Result<Self, EngineError> {
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

    /// How many rows of the batch go out.
    fn write(&mut self, batch: &RecordBatch) -> Result<u64, EngineError> {
        let written = match self {
            Self::Table { batches, rows, .. } => {
                let room = TABLE_ROWS.saturating_sub(*rows).min(batch.num_rows());
                if room > 0 {
                    batches.push(batch.slice(0, room));
                    *rows += room;
                }
                return Ok(room as u64);
            }
            Self::Csv(writer) => writer.write(batch),
            Self::Json(writer) => writer.write(batch),
            Self::NdJson(writer) => writer.write(batch),
            Self::Arrow(writer) => writer.write(batch),
        };
        written.map_err(|error| EngineError::arrow(&error))?;
        Ok(batch.num_rows() as u64)
    }

    fn finish(self, total: u64) -> Result<(), EngineError> {
        let io = |error: io::Error| EngineError::io("write the result", Path::new("the output"), &error);
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
