//! The tables as Arrow columns, typed as the catalog says, for Parquet.

use std::sync::Arc;

use arrow_array::builder::{Date32Builder, Float64Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::catalog::{ColumnType, TABLES, TableSpec};
use crate::day::Day;
use crate::id::Id;
use crate::rows::Sink;

enum Builder {
    Text(StringBuilder),
    Integer(Int64Builder),
    Decimal(Float64Builder),
    Date(Date32Builder),
    Time(TimestampMicrosecondBuilder),
}

/// A table for a run of patients.
pub struct Columns {
    builders: Vec<Builder>,
    /// The column that the next field goes to.
    next: usize,
    schema: SchemaRef,
}

fn data_type(column_type: ColumnType) -> DataType {
    match column_type {
        ColumnType::Text => DataType::Utf8,
        ColumnType::Integer => DataType::Int64,
        ColumnType::Decimal => DataType::Float64,
        ColumnType::Date => DataType::Date32,
        ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    }
}

pub fn schema(table: &TableSpec) -> SchemaRef {
    let fields = table.columns.iter().map(|column| Field::new(column.name, data_type(column.column_type), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

pub fn tables() -> [Columns; 9] {
    TABLES.each_ref().map(|table| {
        let builders = table.columns.iter().map(|column| match column.column_type {
            ColumnType::Text => Builder::Text(StringBuilder::new()),
            ColumnType::Integer => Builder::Integer(Int64Builder::new()),
            ColumnType::Decimal => Builder::Decimal(Float64Builder::new()),
            ColumnType::Date => Builder::Date(Date32Builder::new()),
            ColumnType::Timestamp => Builder::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
        });
        Columns { builders: builders.collect::<Vec<_>>(), next: 0, schema: schema(table) }
    })
}

impl Columns {
    /// The rows so far; the builders start anew.
    pub fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        let columns = self.builders.iter_mut().map(|builder| -> ArrayRef {
            match builder {
                Builder::Text(builder) => Arc::new(builder.finish()),
                Builder::Integer(builder) => Arc::new(builder.finish()),
                Builder::Decimal(builder) => Arc::new(builder.finish()),
                Builder::Date(builder) => Arc::new(builder.finish()),
                Builder::Time(builder) => Arc::new(builder.finish()),
            }
        });
        RecordBatch::try_new(self.schema.clone(), columns.collect())
    }

    /// A field whose type is not its column's leaves that column short, and `take` refuses the rows.
    #[inline]
    fn column(&mut self) -> Option<&mut Builder> {
        self.next += 1;
        self.builders.get_mut(self.next - 1)
    }

    #[inline]
    fn put(&mut self, text: &str) {
        if let Some(Builder::Text(builder)) = self.column() {
            // An empty field of the CSV is a null here.
            builder.append_option((!text.is_empty()).then_some(text));
        }
    }
}

impl Sink for Columns {
    fn id(&mut self, id: &Id) {
        self.put(id.text());
    }

    fn code(&mut self, code: &str) {
        self.put(code);
    }

    fn fixed_code(&mut self, code: &str) {
        self.put(code);
    }

    fn text(&mut self, text: &str) {
        self.put(text);
    }

    fn long_text(&mut self, text: &str) {
        self.put(text);
    }

    fn date(&mut self, day: Option<Day>) {
        if let Some(Builder::Date(builder)) = self.column() {
            builder.append_option(day.map(|day| day.0));
        }
    }

    fn time(&mut self, at: Option<i64>) {
        if let Some(Builder::Time(builder)) = self.column() {
            builder.append_option(at.map(|seconds| seconds * 1_000_000));
        }
    }

    fn integer(&mut self, value: u32) {
        if let Some(Builder::Integer(builder)) = self.column() {
            builder.append_value(i64::from(value));
        }
    }

    fn decimal(&mut self, units: i64, scale: u32) {
        if let Some(Builder::Decimal(builder)) = self.column() {
            // Division by a power of ten is correctly rounded: the value that the CSV's text parses to.
            builder.append_value(units as f64 / 10f64.powi(scale as i32));
        }
    }

    fn end(&mut self) {
        self.next = 0;
    }
}
