//! Columns of known truth.

use cordon_detect::{ColumnVerdict, ProfileBuilder};
use cordon_phi::IdentifierKind as K;

fn verdict(name: &str, values: &[&str]) -> ColumnVerdict {
    let mut builder = ProfileBuilder::new(name);
    for batch in values.chunks(3) {
        builder.update(&batch.iter().map(|value| Some(*value)).collect::<Vec<_>>());
    }
    builder.finish()
}

#[test]
fn names_of_columns_speak() {
    for (name, values, kind) in [
        ("Id", &["b58731cc-2d8b-4c2d-b327-4cab771af3ef", "2ffe9369-24e4-414b-8973-258fad09313e"][..], K::UniqueId),
        ("BIRTHDATE", &["1952-04-17", "2001-11-30"], K::BirthDate),
        ("DEATHDATE", &["2012-04-17", ""], K::DeathDate),
        ("SSN", &["999-12-3456", "999-55-1234"], K::Ssn),
        ("DRIVERS", &["S99912345", "S99954321"], K::LicenceNumber),
        ("FIRST", &["Damon455", "Thi53"], K::Name),
        ("RACE", &["white", "asian"], K::Demographic),
        ("BIRTHPLACE", &["Middleborough  Massachusetts  US", "Boston  Massachusetts  US"], K::City),
        ("ADDRESS", &["620 Lynch Tunnel Apt 0", "972 Bashirian Bypass"], K::StreetAddress),
        ("CITY", &["Springfield", "Boston"], K::City),
        ("ZIP", &["01104", "02118"], K::PostalCode),
        ("LAT", &["42.12345678", "41.98765"], K::GeoCoordinate),
        ("TOTAL_CLAIM_COST", &["129.16", "85.55"], K::Financial),
        ("REASONDESCRIPTION", &["Normal pregnancy", "Acute bronchitis (disorder)"], K::Clinical),
        ("drug_concept_id", &["19078461", "1127433"], K::Clinical),
        ("person_id", &["1", "2"], K::UniqueId),
        ("year_of_birth", &["1956", "1971"], K::BirthDate),
        ("note_text", &["Patient seen today with her daughter, doing well on current medications."], K::FreeText),
        ("PID-5", &["DOE^JANE", "ROE^RICHARD"], K::Name),
        ("fax", &["(617) 555-0199", "617-555-0123"], K::Fax),
        ("CODE", &["E11.9", "I10"], K::Clinical),
    ] {
        let found = verdict(name, values);
        assert_eq!(found.kind, kind, "{name}: {found:?}");
    }
}

#[test]
fn values_speak_where_the_name_is_silent() {
    for (values, kind) in [
        (&["219-09-9999", "457-55-5462", "078-05-1120"][..], K::Ssn),
        (&["a.b@example.com", "c@example.org"], K::Email),
        (&["(617) 555-0199", "617-555-0123", "617.555.0188"], K::Phone),
        (&["03/04/2021", "12/25/1999"], K::ServiceDate),
        (&["20210304", "19991225"], K::ServiceDate),
        (&["James Okafor", "Maria Garcia", "Linda Smith"], K::Name),
        (&["12 Elm Street", "1600 Pennsylvania Ave NW"], K::StreetAddress),
        (&["10.0.0.1", "2001:db8::1"], K::IpAddress),
        (&["https://example.com/a", "http://example.org"], K::Url),
        (&["1M8GDM9AXKP042788", "1M8GDM9AXKP042788"], K::VehicleId),
        (&["1EG4-TE5-MK73", "1EG4TE5MK73"], K::HealthPlanId),
        (&["MA", "NY", "CA"], K::State),
        (&["4548-4", "718-7", "2345-7"], K::Clinical),
        (
            &["The patient was seen and examined today", "No acute distress was noted by the staff on rounds"],
            K::FreeText,
        ),
    ] {
        let found = verdict("col_x", values);
        assert_eq!(found.kind, kind, "{found:?}");
        assert!(!found.reasons.is_empty());
    }
}

#[test]
fn a_column_of_prose_under_a_harmless_name_is_free_text() {
    let notes =
        ["Called Mrs Okafor at home and left a message", "Patient asked for records to be sent to her new address"];
    assert_eq!(verdict("code", &notes).kind, K::FreeText);
    assert_eq!(verdict("misc", &notes).kind, K::FreeText);
}

#[test]
fn an_ssn_under_another_name_is_still_one() {
    let found = verdict("employee_ref", &["219-09-9999", "457-55-5462"]);
    assert_eq!(found.kind, K::Ssn);
    assert_eq!(found.reasons, ["value-ssn"]);
}

#[test]
fn nothing_of_a_value_is_in_the_verdict() {
    let found = verdict("misc", &["Zebediah Quartermain", "zq-31415926", "7 Xyzzy Lane"]);
    let shown = format!("{found:?}").to_lowercase();
    for secret in ["zebediah", "quartermain", "31415926", "xyzzy", "zq"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn an_empty_column_is_counted_and_not_guessed_high() {
    let mut builder = ProfileBuilder::new("whatever");
    builder.update(&[None, Some("  "), None]);
    let found = builder.finish();
    assert_eq!((found.rows, found.nulls, found.distinct, found.lengths), (3, 3, 0, (0, 0)));
    assert!(found.confidence <= 0.3);
}

#[test]
fn distinct_values_are_estimated_within_a_few_percent() {
    let mut builder = ProfileBuilder::new("n");
    let values: Vec<String> = (0..200_000).map(|n| format!("{}", n % 100_000)).collect();
    for batch in values.chunks(8192) {
        builder.update(&batch.iter().map(|value| Some(value.as_str())).collect::<Vec<_>>());
    }
    let distinct = builder.finish().distinct as f64;
    assert!((distinct / 100_000.0 - 1.0).abs() < 0.06, "{distinct}");
}
