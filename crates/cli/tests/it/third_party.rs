//! Real exports that nobody here made: all records in or in quarantine, and nothing that identifies in anything written.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::support::{Folder, assert_encrypted, finder, leaks, shared};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// What identifies in Synthea's CSV export, taken from the input itself.
fn identifiers_of_csv(folder: &Path) -> BTreeSet<String> {
    let wanted: &[(&str, &[&str])] = &[
        (
            "patients",
            &[
                "Id",
                "BIRTHDATE",
                "DEATHDATE",
                "SSN",
                "DRIVERS",
                "PASSPORT",
                "FIRST",
                "LAST",
                "MAIDEN",
                "ADDRESS",
                "ZIP",
                "LAT",
                "LON",
            ],
        ),
        ("providers", &["Id", "NAME", "ADDRESS", "ZIP"]),
        ("organizations", &["Id", "ADDRESS", "ZIP", "PHONE"]),
        ("payers", &["ADDRESS", "ZIP", "PHONE"]),
        ("payer_transitions", &["MEMBERID", "OWNERNAME", "START_YEAR", "END_YEAR"]),
        ("encounters", &["Id", "START", "STOP"]),
        ("devices", &["UDI"]),
        ("observations", &["DATE"]),
        ("claims", &["SERVICEDATE"]),
    ];
    let mut found = BTreeSet::new();
    for (table, columns) in wanted {
        let mut reader = csv::Reader::from_path(folder.join(format!("{table}.csv"))).unwrap();
        let header = reader.headers().unwrap().clone();
        for record in reader.records() {
            let record = record.unwrap();
            for column in *columns {
                let at = header.iter().position(|name| name == *column).unwrap();
                // A full date is a leak wherever it stands, with or without its time.
                let value = record[at].trim();
                for value in [value, value.get(..10).filter(|_| value.contains('T')).unwrap_or(value)] {
                    if value.len() >= 5 {
                        found.insert(value.to_owned());
                    }
                }
            }
        }
    }
    found
}

#[test]
fn synthea_csv_by_safe_harbor_leaves_nothing_that_identifies() {
    let Some(data) = shared("synthea-csv") else { return };
    let folder = Folder::init("synthea");
    copy(&data, &folder.path().join("data/csv"));
    let report = folder.run_json("nightly", 0);

    let mut records = 0;
    for entry in fs::read_dir(&data).unwrap().flatten() {
        records += csv::Reader::from_path(entry.path()).unwrap().records().count() as u64;
    }
    assert_eq!(report["rows_in"], records, "every record is accounted for");
    assert_eq!(
        report["rows_out"].as_u64().unwrap() + report["quarantined"].as_u64().unwrap(),
        records,
        "in a table or in quarantine"
    );
    assert_eq!(report["quarantined"], 0);

    let needles = identifiers_of_csv(&data);
    assert!(needles.len() > 1000);
    let finder = finder(&needles);
    let files = folder.written();
    assert_encrypted(&files);
    for file in &files {
        let found = leaks(&fs::read(file).unwrap(), &needles, &finder);
        assert!(found.is_empty(), "{}: {} identifiers", file.display(), found.len());
    }
    let tables = folder.tables();
    assert_eq!(tables.len(), 18);
    for table in &tables {
        let rows = folder.csv(&format!("SELECT * FROM {table}"));
        let found = leaks(rows.as_bytes(), &needles, &finder);
        assert!(found.is_empty(), "{table} shows {found:?}");
    }

    // What analysts need is still there.
    let joined = folder.count("SELECT count(*) FROM encounters e JOIN patients p ON e.\"PATIENT\" = p.\"Id\"");
    assert_eq!(joined, folder.count("SELECT count(*) FROM encounters"), "every encounter joins its patient");
    let labs = folder.count("SELECT count(DISTINCT \"CODE\") FROM observations WHERE \"VALUE\" IS NOT NULL");
    assert!(labs > 20, "laboratory values and codes stay");
    let analysis =
        folder.sql("SELECT \"GENDER\", count(*) AS n, avg(\"AGE\") AS age FROM patients GROUP BY \"GENDER\"");
    assert_eq!(analysis.iter().map(|row| row["n"].as_i64().unwrap()).sum::<i64>(), 27);
}

fn unzip(path: &Path) -> String {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

/// Every resource of a folder of NDJSON files or bundles.
fn resources(folder: &Path) -> Vec<Value> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("log") {
            continue;
        }
        let text = unzip(&entry.path());
        for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
            let value = value.unwrap();
            match value.get("entry") {
                Some(entries) => all.extend(entries.as_array().unwrap().iter().map(|entry| entry["resource"].clone())),
                None => all.push(value),
            }
        }
    }
    all
}

/// Names, addresses, telecoms, identifiers and ids of people, and their full dates.
fn identifiers_of_fhir(resources: &[Value]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut add = |value: &Value| {
        if let Some(text) = value.as_str().filter(|text| text.len() >= 5) {
            found.insert(text.to_owned());
        }
    };
    for resource in resources {
        let kind = resource["resourceType"].as_str().unwrap();
        add(&resource["id"]);
        for date in [
            "birthDate",
            "deceasedDateTime",
            "effectiveDateTime",
            "issued",
            "recordedDate",
            "authoredOn",
            "onsetDateTime",
        ] {
            add(&resource[date]);
        }
        add(&resource["period"]["start"]);
        if !matches!(kind, "Patient" | "Practitioner") {
            continue;
        }
        let each = |key: &str| resource[key].as_array().cloned().unwrap_or_default();
        for name in each("name") {
            add(&name["family"]);
            for given in name["given"].as_array().into_iter().flatten() {
                add(given);
            }
        }
        for address in each("address") {
            add(&address["postalCode"]);
            for line in address["line"].as_array().into_iter().flatten() {
                add(line);
            }
        }
        for telecom in each("telecom") {
            add(&telecom["value"]);
        }
        for identifier in each("identifier") {
            add(&identifier["value"]);
        }
    }
    found
}

fn fhir_leaves_nothing(name: &str) {
    let Some(data) = shared(name) else { return };
    let folder = Folder::init("synthea");
    copy(&data, &folder.path().join("data/fhir"));
    // The export's own log is not a resource.
    let _ = fs::remove_file(folder.path().join("data/fhir/log.ndjson.gz"));
    let said = folder.cordon(&["run", "nightly", "--format", "json", "-q"]);
    assert!(said.code == 0 || said.code == 3, "{}", said.err);
    let report = said.json();
    let resources = resources(&data);
    assert_eq!(report["rows_in"], resources.len() as u64);
    let count = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(count("rows_out") + count("quarantined") + count("excluded"), resources.len() as u64);
    assert_eq!(report["quarantined"], 0, "{}", folder.cordon(&["quarantine", "list"]).out);

    let needles = identifiers_of_fhir(&resources);
    assert!(needles.len() > 100);
    let finder = finder(&needles);
    let files = folder.written();
    assert_encrypted(&files);
    for file in &files {
        let found = leaks(&fs::read(file).unwrap(), &needles, &finder);
        assert!(found.is_empty(), "{}: {} identifiers", file.display(), found.len());
    }
    for table in folder.tables() {
        let rows = folder.csv(&format!("SELECT * FROM {table}"));
        let found = leaks(rows.as_bytes(), &needles, &finder);
        assert!(found.is_empty(), "{table} shows {found:?}");
    }
    let encounters = folder.count("SELECT count(*) FROM fhir_encounter");
    let joined = folder.count("SELECT count(*) FROM fhir_encounter e JOIN fhir_patient p ON e.subject = p.id");
    assert!(encounters > 0);
    assert_eq!(joined, encounters, "references still join");
}

#[test]
fn fhir_bulk_export_by_safe_harbor_leaves_nothing_that_identifies() {
    fhir_leaves_nothing("fhir-bulk-10");
}

#[test]
fn fhir_bundles_by_safe_harbor_leave_nothing_that_identifies() {
    fhir_leaves_nothing("fhir-bundles");
}
