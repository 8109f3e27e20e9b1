//! Retention of tables in an object store: rows go with a new manifest, and their objects after it.

use super::{Clinic, S3, SOURCES, rows};
use crate::servers::Pki;
use crate::support::{Said, said};

fn at(clinic: &Clinic, now: &str, fail: &str, args: &[&str]) -> Said {
    said(clinic.command(args).env("CORDON_NOW", now).env("CORDON_FAIL_AT", fail).output().unwrap())
}

#[test]
fn rows_and_their_objects_go_from_a_bucket_and_a_hold_keeps_both() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(&scratch.path().join("pki")) else { return };
    let Some(s3) = S3::start(&pki) else { return };
    let clinic = Clinic::new("s3://lake/tables", &s3.yaml(3), SOURCES);
    let settings = clinic.folder.read("cordon.yaml") + "\nretention:\n  tables:\n    visits: { keep: 1y }\n";
    clinic.folder.write("cordon.yaml", settings);
    let objects = || s3.store_as(super::ADMIN, "lake").list("tables/visits/data").count();
    s3.put("in/a.csv", rows(0..300).as_bytes());
    at(&clinic, "2027-01-01T00:00:00Z", "", &["run", "test", "-q"]).ok();
    s3.put("in/b.csv", rows(300..400).as_bytes());
    at(&clinic, "2028-06-01T00:00:00Z", "", &["run", "test", "-q"]).ok();
    let before = objects();
    let who = ["--as", "privacy-officer", "--reason", "litigation, case 7"];
    at(&clinic, "2028-06-02T00:00:00Z", "", &[&["hold", "place", "case-7", "--tables", "*"], &who[..]].concat()).ok();
    at(&clinic, "2028-06-02T00:00:00Z", "", &["retain", "-q"]).ok();
    assert_eq!((clinic.count("SELECT count(*) FROM visits"), objects()), (400, before));
    at(&clinic, "2028-06-02T00:00:00Z", "", &[&["hold", "release", "case-7"], &who[..]].concat()).ok();
    for step in ["prepared", "committing", "committed"] {
        let killed = at(&clinic, "2028-06-02T00:00:00Z", step, &["retain", "-q"]);
        assert_eq!(killed.code, -1, "{step}: {}", killed.err);
    }
    at(&clinic, "2028-06-02T00:00:00Z", "", &["retain", "-q"]).ok();
    assert_eq!(clinic.count("SELECT count(*) FROM visits"), 100);
    assert!(objects() < before, "the objects of rows that went are gone");
    clinic.cordon(&["audit", "verify"]).ok();
    clinic.cordon(&["tables", "verify"]).ok();
    let again = at(&clinic, "2028-06-02T00:00:00Z", "", &["run", "test", "--format", "json", "-q"]).ok().json();
    assert_eq!(again["files_read"], 0, "what went does not come back");
}
