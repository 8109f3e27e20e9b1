//! Readers that behave badly, and batches as plain values.

use std::io::{self, Read};

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use cordon_formats::{CsvOptions, CsvReader, FormatError, RejectReason};

/// Hands out a few bytes at a time.
pub struct Dribble<'a>(pub &'a [u8], pub usize);

impl Read for Dribble<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.1.min(buf.len()).min(self.0.len());
        buf[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

pub type Cells = Vec<Option<String>>;

pub fn cells(batch: &RecordBatch) -> Vec<Cells> {
    let columns: Vec<_> = batch.columns().iter().map(AsArray::as_string_view).collect();
    (0..batch.num_rows())
        .map(|row| {
            let cell = |c: &&arrow_array::StringViewArray| c.is_valid(row).then(|| c.value(row).to_owned());
            columns.iter().map(cell).collect()
        })
        .collect()
}

/// A whole file, read.
#[derive(Default, PartialEq, Debug)]
pub struct WholeFile {
    pub header: Vec<String>,
    pub rows: Vec<Cells>,
    pub lines: Vec<u64>,
    pub raws: Vec<Vec<u8>>,
    pub rejects: Vec<(u64, RejectReason, Vec<u8>, u64)>,
}

pub fn read_csv(text: &[u8], options: &CsvOptions) -> Result<WholeFile, FormatError> {
    read_csv_from(text, options)
}

pub fn read_csv_from(source: impl Read, options: &CsvOptions) -> Result<WholeFile, FormatError> {
    let mut reader = CsvReader::new(source, options.clone())?;
    let mut read = WholeFile { header: reader.header().to_vec(), ..WholeFile::default() };
    while let Some(batch) = reader.next_batch()? {
        assert_eq!(batch.rows.len(), batch.batch.num_rows());
        assert!(batch.rows.len() <= options.batch_rows);
        read.rows.extend(cells(&batch.batch));
        for row in 0..batch.rows.len() {
            read.lines.push(batch.rows.line(row).unwrap());
            read.raws.push(batch.rows.raw(row).unwrap().to_vec());
        }
        for r in batch.rejects {
            read.rejects.push((r.line, r.reason, r.raw, r.cut));
        }
    }
    Ok(read)
}
