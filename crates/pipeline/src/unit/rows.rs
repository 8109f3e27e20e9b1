//! Rows of tables on their way to a worker, each with a way back to the record it came from.

use arrow_array::{Array, RecordBatch, StringViewArray};
use arrow_buffer::NullBuffer;
use cordon_formats::{CsvBatch, NdjsonBatch, Reject, filled, text_columns, text_names};

/// Text columns with a way back to the record that each row came from.
pub(super) trait Rows: Send {
    fn batch(&self) -> &RecordBatch;
    fn line(&self, row: usize) -> u64;
    fn raw(&self, row: usize) -> Vec<u8>;
    fn rejects(&mut self) -> Vec<Reject>;
    /// Of columns that no rule reads, and that were not decoded: where they hold something, by row as they were read.
    fn unread(&self) -> Option<Vec<Option<NullBuffer>>> {
        None
    }
    /// Which row of what was read a row is.
    fn place(&self, row: usize) -> usize {
        row
    }
}

impl Rows for CsvBatch {
    fn batch(&self) -> &RecordBatch {
        &self.batch
    }
    fn line(&self, row: usize) -> u64 {
        self.rows.line(row).unwrap_or(0)
    }
    fn raw(&self, row: usize) -> Vec<u8> {
        self.rows.raw(row).unwrap_or_default().to_vec()
    }
    fn rejects(&mut self) -> Vec<Reject> {
        std::mem::take(&mut self.rejects)
    }
}

impl Rows for NdjsonBatch {
    fn batch(&self) -> &RecordBatch {
        &self.batch
    }
    fn line(&self, row: usize) -> u64 {
        self.rows.line(row).unwrap_or(0)
    }
    fn raw(&self, row: usize) -> Vec<u8> {
        self.rows.raw(row).unwrap_or_default().to_vec()
    }
    fn rejects(&mut self) -> Vec<Reject> {
        std::mem::take(&mut self.rejects)
    }
}

/// Rows of a Parquet file; a row that is put aside is kept as a CSV record of its columns' text.
pub(super) struct ParquetRows {
    /// The columns that rules read, as text; the others are null.
    pub(super) batch: RecordBatch,
    /// All columns as they are in the file.
    pub(super) whole: RecordBatch,
    pub(super) first: u64,
    /// The rows of `whole` that are rows of `batch`, where some were put aside.
    pub(super) kept: Option<Vec<usize>>,
}

/// A row as CSV, with what has a text form: what no rule reads may be of any type.
pub(super) fn parquet_record(whole: &RecordBatch, row: usize) -> Vec<u8> {
    if row >= whole.num_rows() {
        return Vec::new();
    }
    let row = whole.slice(row, 1);
    let text = text_columns(&row, |_| true).map(|text| text.batch).or_else(|_| {
        let readable = |column: &usize| text_columns(&row, |at| at == *column).is_ok();
        let columns = text_names(row.schema_ref()).map_or(0, |names| names.len());
        let readable: Vec<usize> = (0..columns).filter(readable).collect();
        text_columns(&row, |column| readable.contains(&column)).map(|text| text.batch)
    });
    text.map_or_else(|_| Vec::new(), |text| csv_record(&text, 0))
}

impl Rows for ParquetRows {
    fn batch(&self) -> &RecordBatch {
        &self.batch
    }
    fn line(&self, row: usize) -> u64 {
        self.first + self.place(row) as u64
    }
    fn raw(&self, row: usize) -> Vec<u8> {
        parquet_record(&self.whole, self.place(row))
    }
    fn rejects(&mut self) -> Vec<Reject> {
        Vec::new()
    }
    fn unread(&self) -> Option<Vec<Option<NullBuffer>>> {
        Some(filled(&self.whole))
    }
    fn place(&self, row: usize) -> usize {
        self.kept.as_ref().map_or(row, |kept| kept.get(row).copied().unwrap_or(row))
    }
}

fn csv_record(batch: &RecordBatch, row: usize) -> Vec<u8> {
    let mut record = Vec::new();
    for (number, column) in batch.columns().iter().enumerate() {
        if number > 0 {
            record.push(b',');
        }
        let Some(text) = column.as_any().downcast_ref::<StringViewArray>().filter(|text| text.is_valid(row)) else {
            continue;
        };
        record.push(b'"');
        for byte in text.value(row).bytes() {
            if byte == b'"' {
                record.push(b'"');
            }
            record.push(byte);
        }
        record.push(b'"');
    }
    record
}
