//! Delimited text.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use cordon_formats::{CsvBatch, CsvOptions, CsvReader, Reject, RejectReason};

use crate::pieces::{Dribble, sizes};

#[derive(PartialEq)]
struct Row {
    line: u64,
    raw: Vec<u8>,
    cells: Vec<Option<String>>,
}

#[derive(Default, PartialEq)]
struct Seen {
    header: Vec<String>,
    rows: Vec<Row>,
    rejects: Vec<Reject>,
}

/// `None` when there is no header that could be used.
fn read_all(bytes: &[u8], chunk: usize, options: &CsvOptions) -> Option<Seen> {
    let mut reader = CsvReader::new(Dribble(bytes, chunk), options.clone()).ok()?;
    let mut seen = Seen { header: reader.header().to_vec(), ..Seen::default() };
    while let Some(batch) = reader.next_batch().expect("memory cannot fail") {
        take(&batch, &mut seen.rows);
        seen.rejects.extend(batch.rejects);
    }
    assert!(reader.next_batch().expect("the end stays").is_none());
    Some(seen)
}

fn take(batch: &CsvBatch, rows: &mut Vec<Row>) {
    assert_eq!(batch.batch.num_rows(), batch.rows.len());
    for row in 0..batch.rows.len() {
        let cell = |column: &arrow_array::ArrayRef| {
            let column = column.as_string_view();
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        rows.push(Row {
            line: batch.rows.line(row).expect("a line"),
            raw: batch.rows.raw(row).expect("its bytes").to_vec(),
            cells: batch.batch.columns().iter().map(cell).collect(),
        });
    }
}

fn quoted(cells: &[Option<String>]) -> String {
    let cell = |cell: &Option<String>| {
        cell.as_ref().map_or_else(String::new, |text| format!("\"{}\"", text.replace('"', "\"\"")))
    };
    cells.iter().map(cell).collect::<Vec<_>>().join(",")
}

pub fn read(data: &[u8]) {
    let plain = CsvOptions { max_record_bytes: 4096, batch_bytes: 1 << 16, ..CsvOptions::default() };
    let odd = CsvOptions {
        delimiter: b';',
        escape: Some(b'\\'),
        comment: Some(b'#'),
        trim: true,
        null_values: vec!["NULL".to_owned()],
        has_header: false,
        ..plain.clone()
    };
    let (chunk, batch_bytes) = sizes(data);
    for options in [&plain, &odd, &CsvOptions { quote: None, ..plain.clone() }] {
        let Some(whole) = read_all(data, usize::MAX, options) else { continue };
        let small = CsvOptions { batch_bytes, batch_rows: 3, ..options.clone() };
        assert!(read_all(data, chunk, &small).as_ref() == Some(&whole), "other rows in pieces");
        check(data, &whole, options);
    }
    // What was read can be written and read again.
    let Some(seen) = read_all(data, usize::MAX, &plain) else { return };
    let header: Vec<Option<String>> = seen.header.iter().cloned().map(Some).collect();
    let mut text = quoted(&header) + "\n";
    let rows: Vec<&Row> = seen.rows.iter().filter(|row| quoted(&row.cells).len() <= plain.max_record_bytes).collect();
    for row in &rows {
        text += &(quoted(&row.cells) + "\n");
    }
    // A row of one null is a blank line, which is none.
    if seen.header.len() > 1 && quoted(&header).len() <= plain.max_record_bytes {
        let again = read_all(text.as_bytes(), usize::MAX, &plain).expect("a header");
        assert!(again.header == seen.header && again.rejects.is_empty());
        assert!(
            again.rows.iter().map(|row| &row.cells).eq(rows.iter().map(|row| &row.cells)),
            "other cells when written"
        );
    }
}

fn check(data: &[u8], seen: &Seen, options: &CsvOptions) {
    let mut line = 0;
    for (index, row) in seen.rows.iter().enumerate() {
        assert!(row.line > line || row.line == line && line == 0, "lines ascend");
        line = row.line;
        assert!(row.cells.len() == seen.header.len() && row.raw.len() <= options.max_record_bytes);
        // As the documentation of `RowOrigins::raw` says. A mark of byte order at the start of a text is none of its own.
        if index >= 32 || row.raw.starts_with(b"\xEF\xBB\xBF") {
            continue;
        }
        let mut alone = CsvReader::with_header(&row.raw[..], options.clone(), seen.header.clone()).expect("options");
        let batch = alone.next_batch().expect("memory cannot fail").expect("a row");
        let mut rows = Vec::new();
        take(&batch, &mut rows);
        assert!(rows.len() == 1 && rows[0].cells == row.cells, "a row's bytes give another row");
    }
    let taken: usize = seen.rows.iter().map(|row| row.raw.len()).sum::<usize>()
        + seen.rejects.iter().map(|reject| reject.raw.len() + reject.cut as usize).sum::<usize>();
    assert!(taken <= data.len());
    for reject in &seen.rejects {
        let too_long = matches!(reject.reason, RejectReason::RecordTooLong { .. });
        assert!(reject.raw.len() <= options.max_record_bytes && (reject.cut == 0 || too_long));
    }
}
