//! How fast delimited text becomes columns, in bytes of text a second on one core.
//!
//! `cargo bench -p cordon-formats`; the goal is 400 MB/s for ten columns of patient-like text.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use cordon_formats::{CsvOptions, CsvReader};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

const ROWS: usize = 400_000;

/// Ten columns of the lengths that an export of patients has, 120 bytes a row.
fn patients(quote: &str) -> String {
    let mut text = String::from("id,mrn,first,last,birth,sex,zip,city,ssn,note\n");
    let mut x = 0x2545_F491_4F6C_DD1D_u64;
    for row in 0..ROWS {
        // xorshift: the lengths must not be predictable.
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        let name = |n: u64| {
            let letters = "abcdefghijklmnopqrstuvwxyz";
            let from = (x >> n) as usize % 12;
            letters.get(from..from + 4 + (x >> (n + 8)) as usize % 9).unwrap()
        };
        let cells = [
            format!("{row:08}-{:012x}", x & 0xFFFF_FFFF_FFFF),
            format!("{:09}", x % 1_000_000_000),
            name(3).to_owned(),
            name(11).to_owned(),
            format!("{}-{:02}-{:02}", 1920 + x % 100, 1 + x % 12, 1 + x % 28),
            if x & 1 == 0 { "F" } else { "M" }.to_owned(),
            format!("{:05}", x % 100_000),
            name(23).to_owned(),
            format!("{:03}-{:02}-{:04}", x % 899, x % 97, x % 9973),
            format!("{} {}", name(31), name(37)),
        ];
        for (i, cell) in cells.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(text, "{comma}{quote}{cell}{quote}").unwrap();
        }
        text.push('\n');
    }
    text
}

fn read(bencher: Bencher<'_, '_>, text: &str, options: &CsvOptions) {
    bencher.counter(BytesCount::of_str(text)).bench(|| {
        let mut reader = CsvReader::new(text.as_bytes(), options.clone()).unwrap();
        let mut rows = 0;
        while let Some(batch) = reader.next_batch().unwrap() {
            rows += black_box(batch).batch.num_rows();
        }
        assert_eq!(rows, ROWS);
    });
}

#[divan::bench]
fn unquoted(bencher: Bencher<'_, '_>) {
    read(bencher, &patients(""), &CsvOptions::default());
}

#[divan::bench]
fn all_quoted(bencher: Bencher<'_, '_>) {
    read(bencher, &patients("\""), &CsvOptions::default());
}

#[divan::bench]
fn null_values_and_trim(bencher: Bencher<'_, '_>) {
    let options =
        CsvOptions { null_values: vec!["NULL".to_owned(), "N/A".to_owned()], trim: true, ..CsvOptions::default() };
    read(bencher, &patients(""), &options);
}

/// What finding the fields alone costs with the reference state machine, without building any column.
#[divan::bench]
fn csv_core_fields_only(bencher: Bencher<'_, '_>) {
    let text = patients("");
    bencher.counter(BytesCount::of_str(&text)).bench(|| {
        let mut reader = csv_core::Reader::new();
        let (mut fields, mut ends) = (vec![0; 4096], vec![0; 64]);
        let mut rest = text.as_bytes();
        let mut rows = 0;
        loop {
            let (result, read, ..) = reader.read_record(rest, &mut fields, &mut ends);
            rest = rest.get(read..).unwrap();
            match result {
                csv_core::ReadRecordResult::Record => rows += 1,
                csv_core::ReadRecordResult::End => break,
                _ => {}
            }
        }
        assert_eq!(rows, ROWS + 1);
    });
}
