//! The same hospital in every format.

use std::collections::{HashMap, HashSet};
use std::fs::File;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, TimestampMicrosecondType};
use arrow_schema::DataType::{Date32, Float64, Int64, Timestamp, Utf8};
use cordon_synth::{Day, Formats};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::read::{Row, TABLES, clean, csv, fhir, write};

fn by(rows: Vec<Row>, key: &str) -> HashMap<String, Row> {
    rows.into_iter().map(|row| (row[key].clone(), row)).collect()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

fn identifier<'a>(patient: &'a Value, code: &str) -> &'a str {
    let all = patient["identifier"].as_array().unwrap();
    all.iter().find(|one| text(one, "/type/coding/0/code") == code).map_or("", |one| text(one, "/value"))
}

#[test]
fn fhir_says_what_the_csv_says() {
    let written = write(clean(200, Formats { csv: true, fhir: true, ..Formats::NONE }));
    let patients = by(csv(&written, "patients"), "patient_id");
    let resources = fhir(&written, "Patient");
    assert_eq!(resources.len(), patients.len());
    for patient in &resources {
        let row = &patients[text(patient, "/id")];
        assert_eq!(text(patient, "/name/0/family"), row["last_name"]);
        assert_eq!(text(patient, "/name/0/given/0"), row["first_name"]);
        assert_eq!(text(patient, "/name/0/given/1"), row["middle_name"]);
        assert_eq!(text(patient, "/birthDate"), row["birth_date"]);
        assert_eq!(text(patient, "/deceasedDateTime"), row["death_date"]);
        assert_eq!(identifier(patient, "MR"), row["mrn"]);
        assert_eq!(identifier(patient, "SS"), row["ssn"]);
        assert_eq!(identifier(patient, "DL"), row["drivers_licence"]);
        assert_eq!(text(patient, "/address/0/postalCode"), row["zip"]);
        assert_eq!(text(patient, "/address/0/line/0"), row["street"]);
        assert_eq!(
            patient.pointer("/address/0/extension/0/extension/0/valueDecimal").unwrap().as_f64().unwrap(),
            row["latitude"].parse::<f64>().unwrap()
        );
        assert_eq!(text(patient, "/contact/0/name/text"), row["emergency_contact_name"]);
        assert!(text(patient, "/text/div").contains(&row["last_name"]));
        assert_eq!(text(patient, "/meta/security/0/code"), "HTEST");
        let emails: Vec<&Value> =
            patient["telecom"].as_array().unwrap().iter().filter(|one| one["system"] == "email").collect();
        assert_eq!(emails.first().map_or("", |one| text(one, "/value")), row["email"]);
    }

    let pairs = [
        (
            "Encounter",
            "encounters",
            "encounter_id",
            &[
                ("/period/start", "start"),
                ("/period/end", "stop"),
                ("/class/code", "class"),
                ("/participant/0/individual/display", "provider_name"),
            ][..],
        ),
        (
            "Condition",
            "conditions",
            "condition_id",
            &[
                ("/onsetDateTime", "onset"),
                ("/abatementDateTime", "abatement"),
                ("/code/coding/0/code", "code"),
                ("/code/coding/1/code", "icd10"),
            ],
        ),
        (
            "Observation",
            "observations",
            "observation_id",
            &[
                ("/effectiveDateTime", "observed_at"),
                ("/code/coding/0/code", "code"),
                ("/valueQuantity/unit", "unit"),
                ("/interpretation/0/coding/0/code", "abnormal"),
            ],
        ),
        (
            "MedicationRequest",
            "medications",
            "medication_id",
            &[
                ("/authoredOn", "start"),
                ("/medicationCodeableConcept/coding/0/code", "code"),
                ("/dosageInstruction/0/text", "dosage"),
            ],
        ),
        (
            "Procedure",
            "procedures",
            "procedure_id",
            &[("/performedPeriod/start", "start"), ("/code/coding/1/code", "cpt")],
        ),
        (
            "ExplanationOfBenefit",
            "claims",
            "claim_id",
            &[
                ("/billablePeriod/start", "service_from"),
                ("/insurance/0/coverage/identifier/value", "member_id"),
                ("/diagnosis/0/diagnosisCodeableConcept/coding/0/code", "icd10_1"),
            ],
        ),
        (
            "Device",
            "devices",
            "device_id",
            &[("/udiCarrier/0/carrierHRF", "udi"), ("/serialNumber", "serial"), ("/manufactureDate", "manufactured")],
        ),
        (
            "DocumentReference",
            "notes",
            "note_id",
            &[("/date", "written_at"), ("/type/coding/0/code", "loinc"), ("/author/0/display", "author")],
        ),
    ];
    for (kind, table, key, columns) in pairs {
        let rows = by(csv(&written, table), key);
        let resources = fhir(&written, kind);
        assert_eq!(resources.len(), rows.len(), "{kind}");
        for resource in &resources {
            let row = &rows[text(resource, "/id")];
            let whose = ["/subject/reference", "/patient/reference"]
                .iter()
                .map(|at| text(resource, at))
                .find(|at| !at.is_empty());
            assert_eq!(whose, Some(format!("Patient/{}", row["patient_id"]).as_str()), "{kind}");
            for (pointer, column) in columns {
                assert_eq!(text(resource, pointer), row[*column], "{kind}{pointer}");
            }
        }
    }
    for observation in fhir(&written, "Observation").iter().take(500) {
        assert!(observation.pointer("/valueQuantity/value").unwrap().is_number());
    }
}

fn walk(value: &Value, known: &HashSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(reference) = members.get("reference").and_then(Value::as_str) {
                assert!(known.contains(reference));
            }
            members.values().for_each(|value| walk(value, known));
        }
        Value::Array(items) => items.iter().for_each(|value| walk(value, known)),
        // R4 has no empty strings (ele-1).
        Value::String(text) => assert!(!text.is_empty()),
        _ => {}
    }
}

#[test]
fn fhir_references_resolve() {
    let written = write(clean(60, Formats::FHIR));
    let kinds = [
        "Patient",
        "Encounter",
        "Condition",
        "Observation",
        "MedicationRequest",
        "Procedure",
        "ExplanationOfBenefit",
        "Device",
        "DocumentReference",
        "Practitioner",
        "Organization",
    ];
    let all: Vec<Value> = kinds.iter().flat_map(|kind| fhir(&written, kind)).collect();
    let known: HashSet<String> =
        all.iter().map(|one| format!("{}/{}", text(one, "/resourceType"), text(one, "/id"))).collect();
    assert_eq!(known.len(), all.len());
    for resource in &all {
        walk(resource, &known);
    }
}

#[test]
fn notes_hold_their_spans_and_are_the_documents() {
    let written = write(clean(150, Formats { csv: true, fhir: true, ..Formats::NONE }));
    let notes = by(csv(&written, "notes"), "note_id");
    let patients = by(csv(&written, "patients"), "patient_id");
    for document in fhir(&written, "DocumentReference") {
        let data = data_encoding::BASE64.decode(text(&document, "/content/0/attachment/data").as_bytes()).unwrap();
        assert_eq!(String::from_utf8(data).unwrap(), notes[text(&document, "/id")]["text"]);
    }
    let records = crate::read::raw_csv(&written.dir.path().join("truth/note_spans.csv"));
    let mut kinds: HashSet<String> = HashSet::new();
    let mut old = 0;
    for record in &records[1..] {
        let [id, start, end, kind, role] = &record.fields[..] else { panic!("five columns") };
        let field = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
        let note = &notes[&field(id)];
        let place = |bytes: &Vec<u8>| field(bytes).parse::<usize>().unwrap();
        let spoken = note["text"].get(place(start)..place(end)).expect("a span ends between letters");
        let patient = &patients[&note["patient_id"]];
        match (field(kind).as_str(), field(role).as_str()) {
            ("medical-record-number", _) => assert_eq!(spoken, patient["mrn"]),
            ("email", _) => assert_eq!(spoken, patient["email"]),
            ("phone", "patient") => assert_eq!(spoken, patient["phone"]),
            ("phone", _) => assert_eq!(spoken, patient["emergency_contact_phone"]),
            ("age", _) => old += i32::from(spoken.parse::<i32>().unwrap() > 89),
            _ => assert!(!spoken.is_empty()),
        }
        kinds.insert(field(kind));
    }
    for kind in [
        "name",
        "service-date",
        "birth-date",
        "phone",
        "email",
        "medical-record-number",
        "street-address",
        "age",
        "ssn",
        "url",
    ] {
        assert!(kinds.contains(kind), "{kind}");
    }
    assert!(old > 0);
    assert!(
        notes.values().any(|note| note["text"].contains("Foley"))
            && notes.values().any(|note| note["text"].contains("Parkinson"))
    );
}

#[test]
fn parquet_has_the_csv_s_rows_typed() {
    let written = write(clean(300, Formats { csv: true, parquet: true, ..Formats::NONE }));
    for table in TABLES {
        let rows = csv(&written, table);
        let file = File::open(written.dir.path().join(format!("parquet/{table}.parquet"))).unwrap();
        let mut at = 0;
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                for row in 0..batch.num_rows() {
                    let expected = &rows[at + row][field.name()];
                    if column.is_null(row) {
                        assert!(expected.is_empty(), "{table}.{}", field.name());
                        continue;
                    }
                    let same = match field.data_type() {
                        Utf8 => column.as_string::<i32>().value(row) == expected,
                        Date32 => Day(column.as_primitive::<Date32Type>().value(row)).to_string() == *expected,
                        Float64 => column.as_primitive::<Float64Type>().value(row) == expected.parse::<f64>().unwrap(),
                        Int64 => {
                            column.as_primitive::<arrow_array::types::Int64Type>().value(row).to_string() == *expected
                        }
                        Timestamp(..) => {
                            let seconds = column.as_primitive::<TimestampMicrosecondType>().value(row) / 1_000_000;
                            let clock = seconds.rem_euclid(86_400);
                            let day = Day(seconds.div_euclid(86_400) as i32);
                            format!("{day}T{:02}:{:02}:{:02}Z", clock / 3_600, clock / 60 % 60, clock % 60) == *expected
                        }
                        other => panic!("{other}"),
                    };
                    assert!(same, "{table}.{} row {}", field.name(), at + row);
                }
            }
            at += batch.num_rows();
        }
        assert_eq!(at, rows.len(), "{table}");
        assert_eq!(written.summary.rows(&format!("parquet/{table}.parquet")), Some(rows.len() as u64));
    }
}
