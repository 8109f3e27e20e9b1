//! C-CDA documents from a folder to answers: nothing is lost, and nothing that identifies is written.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Folder, assert_encrypted, collect, finder, leaks, shared};

/// Texts of names, streets and phones in the header of a document, long enough to prove something.
fn identifiers(text: &str, found: &mut BTreeSet<String>) {
    let header = text.split("<component").next().unwrap_or_default();
    for tag in ["family", "streetAddressLine"] {
        for piece in header.split(&format!("<{tag}>")).skip(1) {
            let value = piece.split('<').next().unwrap_or_default().trim();
            // A made-up name that is a word of the standard's own displays too.
            if value.len() >= 6 && value.is_ascii() && !value.contains('&') && value != "Primary" {
                found.insert(value.to_owned());
            }
        }
    }
    for piece in header.split("tel:").skip(1) {
        let value = piece.split('"').next().unwrap_or_default().trim();
        if value.len() >= 10 {
            found.insert(value.to_owned());
        }
    }
}

#[test]
fn real_documents_become_tables_and_leave_nothing_that_identifies() {
    let Some(data) = shared("ccda") else { return };
    let mut files = Vec::new();
    collect(&data, &mut files);
    let files: Vec<PathBuf> =
        files.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "xml")).collect();
    let folder = Folder::init("ccda");
    let target = folder.path().join("data/ccda");
    fs::create_dir_all(&target).unwrap();
    let mut secrets = BTreeSet::new();
    for (number, file) in files.iter().enumerate() {
        let bytes = fs::read(file).unwrap();
        identifiers(&String::from_utf8_lossy(&bytes), &mut secrets);
        fs::write(target.join(format!("{number}.xml")), bytes).unwrap();
    }
    assert!(secrets.len() > 20, "{}", secrets.len());
    let report = folder.cordon(&["run", "nightly", "--format", "json", "-q"]);
    assert!(report.code == 0 || report.code == 3, "{}", report.err);
    let report = report.json();
    let count = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(count("rows_in"), count("rows_out") + count("quarantined"));
    assert!(count("rows_out") as usize >= files.len() * 9 / 10, "{report}");
    assert_eq!(folder.count("SELECT count(*) FROM ccda_document") as u64, count("rows_out"));
    assert!(folder.count("SELECT count(*) FROM ccda_entry WHERE code IS NOT NULL") > 100);

    let finder = finder(&secrets);
    let written = folder.written();
    let is_part = |file: &&PathBuf| file.extension().is_some_and(|extension| extension == "parquet");
    assert_encrypted(&written.iter().filter(is_part).cloned().collect::<Vec<_>>());
    for file in &written {
        nothing_in(&fs::read(file).unwrap(), file, &secrets, &finder);
    }
    for table in folder.tables() {
        nothing_in(folder.csv(&format!("SELECT * FROM {table}")).as_bytes(), Path::new(&table), &secrets, &finder);
    }
    folder.cordon(&["audit", "verify"]).ok();
}

fn nothing_in(bytes: &[u8], place: &Path, secrets: &BTreeSet<String>, finder: &aho_corasick::AhoCorasick) {
    let found = leaks(bytes, secrets, finder);
    assert!(found.is_empty(), "{} holds {:?}", place.display(), found.first());
}

#[test]
fn what_is_no_document_is_put_aside_with_its_reason() {
    let folder = Folder::init("ccda");
    folder.write("data/ccda/cut.xml", "<ClinicalDocument xmlns=\"urn:hl7-org:v3\"><recordTarget><name>Doe");
    folder.write("data/ccda/bomb.xml", "<!DOCTYPE x [<!ENTITY a \"Doe\">]><ClinicalDocument>&a;</ClinicalDocument>");
    let said = folder.cordon(&["run", "nightly"]).exits(3);
    assert!(!said.all().contains("Doe"));
    let list = folder.cordon(&["quarantine", "list", "--format", "json"]).ok();
    assert_eq!(list.json().as_array().unwrap().len(), 2, "{}", list.out);
    assert!(!list.out.contains("Doe"));
}
