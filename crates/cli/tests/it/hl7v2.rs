//! HL7 v2 messages from a folder to answers: nothing is lost, and nothing that identifies is written.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::{Folder, assert_encrypted, finder, leaks, shared};

fn copy_messages(from: &Path, to: &Path, count: &mut usize) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        if entry.path().is_dir() {
            copy_messages(&entry.path(), &to.join(entry.file_name()), count);
        } else if entry.path().extension().is_some_and(|extension| extension == "hl7") {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            *count += 1;
        }
    }
}

/// Names of patients, their numbers and phones, from the text itself: PID-3.1, PID-5.1 and .2, PID-13.
fn identifiers(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            identifiers(&entry.path(), found);
            continue;
        }
        let text = String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned();
        for line in text.split(['\r', '\n']).filter(|line| line.starts_with("PID|")) {
            let fields: Vec<&str> = line.split('|').collect();
            for (number, parts) in [(3, 1), (5, 2), (11, 1), (13, 1), (19, 1)] {
                let field = fields.get(number).copied().unwrap_or_default();
                for part in field.split('~').flat_map(|repetition| repetition.split('^').take(parts)) {
                    if part.len() >= 7 && part.is_ascii() {
                        found.insert(part.to_owned());
                    }
                }
            }
        }
    }
}

#[test]
fn real_messages_become_tables_and_leave_nothing_that_identifies() {
    let Some(data) = shared("hl7v2") else { return };
    let folder = Folder::init("hl7v2");
    let mut files = 0;
    copy_messages(&data, &folder.path().join("data/hl7"), &mut files);
    let report = folder.run_json("nightly", 0);
    assert_eq!(report["files_read"].as_u64().unwrap() as usize, files);
    assert_eq!(report["rows_in"], report["rows_out"]);
    let messages = folder.count("SELECT count(*) FROM hl7_message");
    assert_eq!(messages as u64, report["rows_out"].as_u64().unwrap());
    assert!(folder.count("SELECT count(*) FROM hl7_obx") > 100);
    // Results join their patient, and a message its segments, by tokens.
    let joined =
        "SELECT count(*) FROM hl7_obx o JOIN hl7_pid p ON o.patient = p.patient AND o.control_id = p.control_id";
    assert!(folder.count(joined) > 100);

    let mut secrets = BTreeSet::new();
    identifiers(&folder.path().join("data/hl7"), &mut secrets);
    // Made-up names that a system and a hospital in the same messages have too.
    secrets.retain(|secret| !["PROSOLV", "RADIANT"].contains(&secret.as_str()));
    assert!(secrets.len() > 50, "{}", secrets.len());
    let finder = finder(&secrets);
    let written = folder.written();
    let parts: Vec<_> =
        written.iter().filter(|file| file.extension().is_some_and(|e| e == "parquet")).cloned().collect();
    assert_encrypted(&parts);
    for file in &written {
        let found = leaks(&fs::read(file).unwrap(), &secrets, &finder);
        assert!(found.is_empty(), "{} holds {:?}", file.display(), found.first());
    }
    // The table of messages holds all that is in the others, in the messages' own spelling.
    for table in ["hl7_message", "hl7_pid", "hl7_nk1", "hl7_gt1", "hl7_in1", "hl7_obx", "hl7_nte"] {
        let text = folder.csv(&format!("SELECT * FROM {table}"));
        let found = leaks(text.as_bytes(), &secrets, &finder);
        assert!(found.is_empty(), "{table} holds {:?}", found.first());
    }
    folder.cordon(&["audit", "verify"]).ok();
}

#[test]
fn a_message_that_fails_is_put_aside_and_replayed_when_the_rule_is_mended() {
    let folder = Folder::init("hl7v2");
    let policy = folder.read("policies/safe-harbor-hl7v2.yaml");
    let strict = policy.replace("kind: birth-date, action: year, otherwise: blank", "kind: birth-date, action: year");
    assert_ne!(policy, strict);
    folder.write("policies/safe-harbor-hl7v2.yaml", &strict);
    let text = "MSH|^~\\&|A|B|||20250101||ADT^A01|1|P|2.5\rPID|1||7||Doe^Jane||19570301\r\
                MSH|^~\\&|A|B|||20250101||ADT^A01|2|P|2.5\rPID|1||8||Roe^Ann||spring of 57\r\
                PID without a header\rMSH|^~\\&|A|B|||20250101||ADT^A01|3|P|2.5\rPID|1||9||Poe^Eve||19600301\r";
    folder.write("data/hl7/archive.hl7", text);
    let report = folder.run_json("nightly", 3);
    assert_eq!((report["rows_in"].as_u64(), report["rows_out"].as_u64()), (Some(3), Some(2)));
    let list = folder.cordon(&["quarantine", "list", "--format", "json"]).ok().json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["field"], "PID-7");
    let id = list[0]["id"].as_str().unwrap().to_owned();
    let shown = folder.cordon(&[
        "quarantine",
        "show",
        &id,
        "--as",
        "engineer",
        "--purpose",
        "operations",
        "--reason",
        "to mend the rule",
    ]);
    assert!(shown.ok().out.contains("spring of 57"));

    folder.write("policies/safe-harbor-hl7v2.yaml", &policy);
    folder.cordon(&["quarantine", "replay", "nightly"]).ok();
    assert_eq!(folder.count("SELECT count(*) FROM hl7_message"), 3);
    assert_eq!(folder.count("SELECT count(DISTINCT patient) FROM hl7_pid"), 3);
    let left = folder.cordon(&["quarantine", "list", "--format", "json"]).ok().json();
    assert!(left.as_array().unwrap().is_empty());
}

#[test]
fn files_of_another_format_are_refused_with_a_reason() {
    let folder = Folder::init("hl7v2");
    folder.write("data/hl7/table.hl7", "mrn,name\n7,Doe\n");
    folder.write("data/hl7/empty.hl7", "");
    let said = folder.cordon(&["run", "nightly"]).exits(3);
    assert!(said.all().contains("the file is empty"), "{}", said.all());
    assert!(!said.all().contains("Doe"));
    let list = folder.cordon(&["quarantine", "list"]).ok();
    assert!(list.out.contains("no MSH segment"), "{}", list.out);
}
