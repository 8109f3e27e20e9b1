//! Newline-delimited JSON.

use std::collections::BTreeMap;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use cordon_formats::{NdjsonOptions, NdjsonReader, Reject};
use serde_json::Value;

use crate::pieces::{Dribble, sizes};

const FIELDS: [&str; 5] = ["id", "name", "a.b", "a.c.d", "list"];

type Row = (u64, Vec<u8>, Vec<Option<String>>);

#[derive(Default, PartialEq)]
struct Seen {
    rows: Vec<Row>,
    rejects: Vec<Reject>,
    undeclared: BTreeMap<String, u64>,
}

fn read_all(bytes: &[u8], chunk: usize, options: NdjsonOptions) -> Option<Seen> {
    let fields = FIELDS.map(str::to_owned);
    let mut reader = NdjsonReader::new(Dribble(bytes, chunk), &fields, options).expect("options");
    let mut seen = Seen::default();
    // UTF-16 is said to be so.
    while let Some(batch) = reader.next_batch().ok()? {
        for row in 0..batch.rows.len() {
            let cells = batch.batch.columns().iter().map(|column| {
                let column = column.as_string_view();
                column.is_valid(row).then(|| column.value(row).to_owned())
            });
            let raw = batch.rows.raw(row).expect("its bytes").to_vec();
            seen.rows.push((batch.rows.line(row).expect("a line"), raw, cells.collect()));
        }
        seen.rejects.extend(batch.rejects);
        for (key, count) in batch.undeclared {
            assert!(key.split('.').all(|part| part == "?" || FIELDS.iter().any(|field| field.contains(part))));
            *seen.undeclared.entry(key).or_insert(0) += count;
        }
    }
    Some(seen)
}

pub fn read(data: &[u8]) {
    let options = NdjsonOptions { max_line_bytes: 4096, ..NdjsonOptions::default() };
    let whole = read_all(data, usize::MAX, options.clone());
    let (chunk, batch_bytes) = sizes(data);
    let pieces = read_all(data, chunk, NdjsonOptions { batch_bytes, batch_rows: 3, ..options });
    assert!(whole == pieces, "other rows in pieces");
    let Some(whole) = whole else { return };
    for (_, raw, cells) in &whole.rows {
        serde_json::from_slice::<serde::de::IgnoredAny>(raw).expect("what became a row is JSON");
        // Another parser reads the same; where it can, for its depth and its numbers are smaller.
        let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(raw) else { continue };
        for (field, cell) in FIELDS.iter().zip(cells) {
            let value = field.split('.').try_fold(&object, |at, part| match at.get(part) {
                Some(Value::Object(inner)) if *field != part => Some(inner),
                _ => None,
            });
            if value.is_some() || field.contains('.') {
                continue;
            }
            match object.get(*field) {
                None | Some(Value::Null) => assert!(cell.is_none()),
                Some(Value::String(text)) => assert!(cell.as_ref() == Some(text)),
                Some(Value::Bool(truth)) => assert!(cell.as_deref() == Some(if *truth { "true" } else { "false" })),
                Some(_) => assert!(cell.is_some()),
            }
        }
    }
}
