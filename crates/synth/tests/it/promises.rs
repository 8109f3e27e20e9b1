use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use cordon_synth::{
    ColumnType, Day, Dirt, Formats, Hospital, People, SynthError, SynthOptions, bench_patients, catalog,
};
use proptest::prelude::*;

use crate::read::{TABLES, clean, csv, raw_csv, write};

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(
                files(&path).into_iter().map(|(name, bytes)| (Path::new(path.file_name().unwrap()).join(name), bytes)),
            );
        } else {
            all.insert(path.file_name().unwrap().into(), fs::read(&path).unwrap());
        }
    }
    all
}

#[test]
fn same_seed_same_bytes_with_any_number_of_threads() {
    let options = |threads, seed| SynthOptions {
        patients: 520,
        formats: Formats::ALL,
        truth: true,
        threads,
        seed,
        ..Default::default()
    };
    let (one, three) = (write(options(1, 5)), write(options(3, 5)));
    assert_eq!(one.summary, three.summary);
    let (one, three) = (files(one.dir.path()), files(three.dir.path()));
    assert_eq!(one.keys().collect::<Vec<_>>(), three.keys().collect::<Vec<_>>());
    for (name, bytes) in &one {
        assert!(three[name] == *bytes, "{}", name.display());
    }
    let other = write(options(2, 6));
    assert!(files(other.dir.path())[Path::new("csv/patients.csv")] != one[Path::new("csv/patients.csv")]);
}

#[test]
fn other_formats_and_the_truth_change_no_byte_of_tables_and_fhir() {
    let tables = Formats { csv: true, parquet: true, fhir: true, ..Formats::NONE };
    let few = write(SynthOptions { patients: 300, formats: tables, ..Default::default() });
    let all = write(SynthOptions { patients: 300, formats: Formats::ALL, truth: true, ..Default::default() });
    let (few, all) = (files(few.dir.path()), files(all.dir.path()));
    assert!(few.len() > 25 && all.len() > few.len());
    for (name, bytes) in &few {
        assert!(all[name] == *bytes, "{}", name.display());
    }
}

#[test]
fn summary_lists_every_file_with_its_length() {
    let written = write(SynthOptions { patients: 40, formats: Formats::ALL, ..Default::default() });
    let mut listed: BTreeMap<PathBuf, u64> =
        written.summary.files.iter().map(|file| (PathBuf::from(&file.path), file.bytes)).collect();
    for (name, bytes) in files(written.dir.path()) {
        let folder = PathBuf::from(format!("{}/", name.parent().unwrap().display()));
        if let Some(left) = listed.get_mut(&folder).filter(|_| folder != Path::new("/")) {
            *left -= bytes.len() as u64;
        } else if name != Path::new("README.txt") {
            assert_eq!(listed.remove(&name), Some(bytes.len() as u64), "{}", name.display());
        }
    }
    // What is left are folders, and all of their bytes were found.
    assert_eq!(listed.into_values().collect::<Vec<_>>(), [0, 0]);
    assert_eq!(written.summary.rows("ccda/"), Some(40));
    assert_eq!(written.summary.rows("fhir/Patient.ndjson"), Some(40));
    assert_eq!(written.summary.rows("fhir/Practitioner.ndjson"), Some(360));
}

#[test]
fn progress_ends_with_every_patient() {
    let dir = tempfile::tempdir().unwrap();
    let last = std::cell::Cell::new(None);
    let options = SynthOptions { patients: 300, formats: Formats::ALL, ..Default::default() };
    Hospital::new(options).write(dir.path(), &|progress| last.set(Some(progress))).unwrap();
    let last = last.get().unwrap();
    assert_eq!((last.patients, last.of), (300, 300));
    assert!(last.bytes > 0);
}

#[test]
fn catalog_names_every_column_in_order() {
    let written = write(clean(3, Formats::CSV));
    let catalog = catalog();
    for table in TABLES {
        let path = written.dir.path().join(format!("csv/{table}.csv"));
        let header: Vec<String> =
            raw_csv(&path)[0].fields.iter().map(|field| String::from_utf8(field.clone()).unwrap()).collect();
        let named: Vec<&str> = catalog.iter().filter(|entry| entry.table == table).map(|entry| entry.column).collect();
        assert_eq!(header, named, "{table}");
    }
}

/// The kinds are written as text here because this crate stands alone; they must be those of the policy language.
#[test]
fn catalog_kinds_are_kinds_of_the_policy_language() {
    let source = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../phi/src/kind.rs")).unwrap();
    for entry in catalog() {
        assert!(
            source.contains(&format!(" = \"{}\", ", entry.kind)),
            "{}.{}: {}",
            entry.table,
            entry.column,
            entry.kind
        );
        assert!(!entry.description.is_empty());
    }
}

#[test]
fn every_identifier_of_the_rule_is_there() {
    let written = write(clean(200, Formats::CSV));
    let mut filled: HashSet<&str> = HashSet::new();
    let catalog = catalog();
    for table in TABLES {
        let rows = csv(&written, table);
        for entry in catalog.iter().filter(|entry| entry.table == table) {
            if rows.iter().any(|row| !row[entry.column].is_empty()) {
                filled.insert(entry.kind);
            }
        }
    }
    // A to R of 164.514(b)(2)(i); ages stand in the notes.
    for kind in [
        "name",
        "street-address",
        "city",
        "county",
        "postal-code",
        "geo-coordinate",
        "birth-date",
        "death-date",
        "service-date",
        "phone",
        "fax",
        "email",
        "ssn",
        "medical-record-number",
        "health-plan-id",
        "account-number",
        "licence-number",
        "vehicle-id",
        "device-id",
        "url",
        "ip-address",
        "biometric",
        "photo",
        "unique-id",
        "free-text",
    ] {
        assert!(filled.contains(kind), "{kind}");
    }
}

#[test]
fn without_dirt_every_row_reads_as_the_catalog_says() {
    let written = write(clean(400, Formats::CSV));
    assert!(written.summary.bad_rows.is_empty() && written.summary.duplicates.is_empty());
    let types: HashMap<(&str, &str), ColumnType> =
        catalog().into_iter().map(|entry| ((entry.table, entry.column), entry.column_type)).collect();
    for table in TABLES {
        let rows = csv(&written, table);
        assert_eq!(written.summary.rows(&format!("csv/{table}.csv")), Some(rows.len() as u64));
        for row in rows {
            for (column, value) in row.iter().filter(|(_, value)| !value.is_empty()) {
                let fine = match types[&(table, column.as_str())] {
                    ColumnType::Text => column == "text" || (value.trim() == value && !value.contains('\u{A0}')),
                    ColumnType::Integer => value.parse::<i64>().is_ok(),
                    ColumnType::Decimal => value.parse::<f64>().is_ok(),
                    ColumnType::Date => value.parse::<Day>().is_ok(),
                    ColumnType::Timestamp => {
                        value.len() == 20 && value.ends_with('Z') && value[..10].parse::<Day>().is_ok()
                    }
                };
                assert!(fine, "{table}.{column}");
            }
        }
    }
}

#[test]
fn every_reference_has_its_row_and_nothing_comes_before_birth_or_after_the_end() {
    let written = write(clean(400, Formats::CSV));
    let patients: HashMap<String, _> =
        csv(&written, "patients").into_iter().map(|row| (row["patient_id"].clone(), row)).collect();
    assert_eq!(patients.len(), 400);
    let encounters: HashMap<String, _> =
        csv(&written, "encounters").into_iter().map(|row| (row["encounter_id"].clone(), row)).collect();
    let mut keys = HashSet::new();
    for table in TABLES.iter().skip(1) {
        let key = catalog().iter().find(|entry| entry.table == *table).unwrap().column;
        for row in csv(&written, table) {
            let patient = &patients[&row["patient_id"]];
            let encounter = &encounters[&row["encounter_id"]];
            assert_eq!(encounter["patient_id"], row["patient_id"], "{table}");
            assert!(keys.insert(row[key].clone()), "{table}: a key twice");
            assert!(encounter["start"][..10] >= patient["birth_date"][..]);
            assert!(encounter["start"] <= encounter["stop"]);
            let end = if patient["death_date"].is_empty() { "2026-01-01" } else { &patient["death_date"] };
            assert!(encounter["stop"][..10] <= *end, "{table}");
        }
    }
}

#[test]
fn the_old_the_rural_and_the_foreign_are_there() {
    let rows = csv(&write(clean(3_000, Formats::CSV)), "patients");
    let as_of = Day::from_ymd(2026, 1, 1);
    let old = rows.iter().filter(|row| row["birth_date"].parse::<Day>().unwrap().age_on(as_of) > 89).count();
    assert!((30..100).contains(&old), "{old}");
    let small = ["036", "059", "102", "203", "556", "692", "821", "878", "893"];
    let rural = rows.iter().filter(|row| small.contains(&&row["zip"][..3])).count();
    assert!((15..100).contains(&rural), "{rural}");
    for name in ["O’Brien", "Nguyễn", "李", "García"] {
        assert!(rows.iter().any(|row| row["last_name"].contains(name)), "{name}");
    }
    assert!(rows.iter().all(|row| row["zip"].len() == 5));
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let bad = |options: SynthOptions| {
        let dir = tempfile::tempdir().unwrap();
        matches!(Hospital::new(options).write(dir.path(), &|_| ()), Err(SynthError::Options(_)))
    };
    assert!(bad(SynthOptions { dirt: Dirt { empty: 1.5, ..Dirt::none() }, ..Default::default() }));
    assert!(bad(SynthOptions { people: People { shared_address: 1.0, ..People::default() }, ..Default::default() }));
    assert!(bad(SynthOptions { people: People { encounters: 0, ..People::default() }, ..Default::default() }));
    assert!(bad(SynthOptions { dirt: Dirt { bad_row: f64::NAN, ..Dirt::none() }, ..Default::default() }));
}

#[test]
fn no_patients_is_a_hospital_too() {
    let written = write(SynthOptions { patients: 0, formats: Formats::ALL, ..Default::default() });
    assert_eq!(written.summary.patients, 0);
    assert_eq!(raw_csv(&written.dir.path().join("csv/patients.csv")).len(), 1);
}

#[test]
fn bench_file_has_ten_columns_and_about_120_bytes_a_row() {
    let mut out = Vec::new();
    let bytes = bench_patients(2_000, 3, &mut out).unwrap();
    assert_eq!(bytes, out.len() as u64);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count(), 2_001);
    assert!(text.lines().all(|line| line.split(',').count() == 10));
    assert!((110..140).contains(&(text.len() / 2_001)), "{}", text.len() / 2_001);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// The first patients are the same whether few or many are asked for, dirt and all.
    #[test]
    fn prefix_stable(seed: u64, few in 1u64..300, more in 0u64..300) {
        let options = |patients| SynthOptions { patients, seed, threads: 1, notes: false, ..Default::default() };
        let (small, large) = (write(options(few)), write(options(few + more)));
        for table in TABLES {
            let name = format!("csv/{table}.csv");
            let (small, large) = (fs::read(small.dir.path().join(&name)).unwrap(), fs::read(large.dir.path().join(&name)).unwrap());
            prop_assert!(large.starts_with(&small), "{}", table);
        }
        prop_assert_eq!(&large.summary.bad_rows.iter().filter(|bad| small.summary.bad_rows.contains(bad)).count(), &small.summary.bad_rows.len());
    }
}
