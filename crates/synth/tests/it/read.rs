//! Reading the files back, with nothing of the writer.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use cordon_synth::{Dirt, Formats, Hospital, Summary, SynthOptions};
use serde_json::Value;
use tempfile::TempDir;

pub struct Written {
    pub dir: TempDir,
    pub summary: Summary,
}

pub fn write(options: SynthOptions) -> Written {
    let dir = tempfile::tempdir().unwrap();
    let summary = Hospital::new(options).write(dir.path(), &|_| ()).unwrap();
    Written { dir, summary }
}

pub fn clean(patients: u64, formats: Formats) -> SynthOptions {
    SynthOptions { patients, formats, dirt: Dirt::none(), threads: 2, ..Default::default() }
}

/// A CSV record with the line at which it begins.
pub struct Raw {
    pub line: u64,
    pub fields: Vec<Vec<u8>>,
}

pub fn raw_csv(path: &Path) -> Vec<Raw> {
    let bytes = fs::read(path).unwrap();
    let mut reader = csv_core::Reader::new();
    let (mut output, mut ends) = (vec![0; bytes.len() + 1], vec![0; 128]);
    let (mut from, mut records) = (0, Vec::new());
    loop {
        let line = reader.line();
        let (result, read, _, count) = reader.read_record(&bytes[from..], &mut output, &mut ends);
        from += read;
        match result {
            csv_core::ReadRecordResult::Record => {
                let starts = std::iter::once(0).chain(ends[..count].iter().copied());
                let fields = starts.zip(&ends[..count]).map(|(start, end)| output[start..*end].to_vec());
                records.push(Raw { line, fields: fields.collect() });
            }
            // At the end of the input, an empty slice ends the last record.
            csv_core::ReadRecordResult::InputEmpty => {}
            csv_core::ReadRecordResult::End => return records,
            other => panic!("{other:?}"),
        }
    }
}

pub type Row = HashMap<String, String>;

/// The rows of a clean table by column.
pub fn csv(written: &Written, table: &str) -> Vec<Row> {
    let records = raw_csv(&written.dir.path().join(format!("csv/{table}.csv")));
    let text = |field: &Vec<u8>| String::from_utf8(field.clone()).unwrap();
    let header: Vec<String> = records[0].fields.iter().map(text).collect();
    records[1..]
        .iter()
        .map(|record| {
            assert_eq!(record.fields.len(), header.len(), "{table} line {}", record.line);
            header.iter().cloned().zip(record.fields.iter().map(text)).collect()
        })
        .collect()
}

pub fn fhir(written: &Written, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(written.dir.path().join(format!("fhir/{kind}.ndjson"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub const TABLES: [&str; 9] =
    ["patients", "encounters", "conditions", "observations", "medications", "procedures", "claims", "devices", "notes"];
