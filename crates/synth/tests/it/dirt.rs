use std::collections::HashMap;

use cordon_synth::{BadRow, ColumnType, Day, Dirt, Fault, Formats, SynthOptions, catalog};

use crate::read::{TABLES, raw_csv, write};

fn dirty(dirt: Dirt) -> SynthOptions {
    SynthOptions { patients: 600, dirt, formats: Formats::CSV, ..Default::default() }
}

/// A date in one of the documented spellings, or the date part of a timestamp.
fn reads_as_date(value: &str) -> bool {
    let day = |year: &str, month: &str, day: &str| format!("{year}-{month}-{day}").parse::<Day>().is_ok();
    if !value.is_ascii() || value.len() < 8 {
        return false;
    }
    match value.as_bytes() {
        [_, _, b'/', _, _, b'/', ..] => value.len() >= 10 && day(&value[6..10], &value[..2], &value[3..5]),
        [_, _, _, _, b'-', ..] => value.get(..10).is_some_and(|text| text.parse::<Day>().is_ok()),
        _ => matches!(value.len(), 8 | 14) && day(&value[..4], &value[4..6], &value[6..8]),
    }
}

/// The row's fault, found by reading it.
fn fault(table: &str, fields: &[Vec<u8>]) -> Option<Fault> {
    let columns: Vec<_> = catalog().into_iter().filter(|entry| entry.table == table).collect();
    if fields.len() != columns.len() {
        return Some(Fault::RaggedRow);
    }
    columns.iter().zip(fields).find_map(|(column, field)| {
        let Ok(text) = std::str::from_utf8(field) else {
            return Some(Fault::InvalidUtf8);
        };
        if text.is_empty() {
            return None;
        }
        match column.column_type {
            ColumnType::Text => None,
            ColumnType::Integer | ColumnType::Decimal => text.parse::<f64>().is_err().then_some(Fault::TextInNumber),
            ColumnType::Date | ColumnType::Timestamp => (!reads_as_date(text)).then_some(Fault::ImpossibleDate),
        }
    })
}

#[test]
fn bad_rows_are_those_listed_and_no_others() {
    let written = write(dirty(Dirt { bad_row: 0.01, ..Dirt::default() }));
    let mut listed: HashMap<(&str, u64), BadRow> =
        written.summary.bad_rows.iter().map(|bad| ((bad.dataset, bad.line), *bad)).collect();
    let mut rows = 0;
    for table in TABLES {
        for (number, record) in raw_csv(&written.dir.path().join(format!("csv/{table}.csv"))).iter().enumerate().skip(1)
        {
            rows += 1;
            match (fault(table, &record.fields), listed.remove(&(table, record.line))) {
                (None, None) => {}
                (found, Some(bad)) => {
                    assert_eq!(found, Some(bad.fault), "{table} line {}", record.line);
                    assert_eq!(bad.row, number as u64);
                }
                (Some(found), None) => panic!("{table} line {}: {found} not listed", record.line),
            }
        }
    }
    assert!(listed.is_empty());
    let share = written.summary.bad_rows.len() as f64 / f64::from(rows);
    assert!((0.008..0.012).contains(&share), "{share}");
    for fault in [Fault::RaggedRow, Fault::InvalidUtf8, Fault::ImpossibleDate, Fault::TextInNumber] {
        assert!(written.summary.bad_rows.iter().any(|bad| bad.fault == fault), "{fault}");
    }
    let list = raw_csv(&written.dir.path().join("truth/bad_rows.csv"));
    assert_eq!(list.len() - 1, written.summary.bad_rows.len());
}

/// The share of an observation's cells for which `is` holds, in the columns named.
fn share(dirt: Dirt, columns: &[usize], is: impl Fn(&str) -> bool) -> f64 {
    let written = write(dirty(dirt));
    let records = raw_csv(&written.dir.path().join("csv/observations.csv"));
    let cells = records.iter().skip(1).flat_map(|record| columns.iter().map(|column| record.fields[*column].clone()));
    let (mut all, mut hits) = (0, 0);
    for cell in cells {
        all += 1;
        hits += i32::from(is(std::str::from_utf8(&cell).unwrap()));
    }
    f64::from(hits) / f64::from(all)
}

#[test]
fn rates_are_those_asked_for() {
    // 3 observed_at, 6 description, 7 value: never empty when clean.
    let near = |found: f64, asked: f64| {
        assert!((found - asked).abs() < asked * 0.15, "{found} for {asked}");
    };
    near(share(Dirt { empty: 0.05, ..Dirt::none() }, &[3, 6, 7], str::is_empty), 0.05);
    near(
        share(Dirt { date_spelling: 0.2, ..Dirt::none() }, &[3], |cell| {
            cell.as_bytes()[4] != b'-' || !cell.ends_with('Z')
        }),
        0.2,
    );
    near(share(Dirt { trailing_space: 0.1, ..Dirt::none() }, &[6], |cell| cell.ends_with(' ')), 0.1);
    near(share(Dirt { unicode: 0.1, ..Dirt::none() }, &[6], |cell| !cell.is_ascii()), 0.1);
    let written = write(SynthOptions {
        patients: 4_000,
        notes: false,
        ..dirty(Dirt { zip_plus4: 0.3, duplicate: 0.05, ..Dirt::none() })
    });
    let patients = raw_csv(&written.dir.path().join("csv/patients.csv"));
    near(patients.iter().skip(1).filter(|record| record.fields[18].len() == 10).count() as f64 / 4_000.0, 0.3);
    near(written.summary.duplicates.len() as f64 / 4_000.0, 0.05);
}

#[test]
fn a_duplicate_is_the_same_person_with_another_id() {
    let written =
        write(SynthOptions { patients: 2_000, notes: false, ..dirty(Dirt { duplicate: 0.1, ..Dirt::none() }) });
    let rows: HashMap<String, crate::read::Row> =
        crate::read::csv(&written, "patients").into_iter().map(|row| (row["patient_id"].clone(), row)).collect();
    let mut typos = 0;
    for duplicate in &written.summary.duplicates {
        let (second, first) = (&rows[&duplicate.patient_id], &rows[&duplicate.of]);
        assert_ne!(second["mrn"], first["mrn"]);
        assert!(second["ssn"].is_empty() || second["ssn"] == first["ssn"]);
        assert_eq!(second["street"], first["street"]);
        assert_eq!(second["email"], first["email"]);
        let differs = ["first_name", "middle_name", "last_name", "birth_date", "ssn"]
            .iter()
            .any(|column| second[*column] != first[*column]);
        typos += usize::from(differs);
        assert!(!written.summary.duplicates.iter().any(|other| other.patient_id == duplicate.of), "of a first record");
    }
    assert!(typos * 10 > written.summary.duplicates.len() * 8);
}
