//! Notes in plain text files: one row a file, many files a part, and nothing lost that could not be read.

use std::fs;

use serde_json::Value;

use crate::support::{Folder, assert_encrypted};

fn list(folder: &Folder) -> Vec<Value> {
    folder.cordon(&["quarantine", "list", "--format", "json"]).ok().json().as_array().unwrap().clone()
}

/// UTF-16 as Windows writes it.
fn wide(text: &str) -> Vec<u8> {
    [0xFF, 0xFE].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect()
}

#[test]
fn many_small_files_are_few_parts_and_no_name_gets_out() {
    let folder = Folder::init("notes");
    for note in 0..700 {
        let text = format!("Patient CANARYSON, Jane (MRN 88{note:05}) called from 617-555-01{:02}.", note % 100);
        folder.write(&format!("data/notes/88{:05}_{note}_2024-03-{:02}.txt", note % 50, note % 28 + 1), text);
    }
    folder.write("data/notes/sub/8800001_900_2023-12-31.txt", wide("Mr. Canaryson seen 12/31/2023. BP 120/80."));
    let report = folder.run_json("nightly", 0);
    assert_eq!((report["rows_in"].as_u64(), report["rows_out"].as_u64()), (Some(701), Some(701)));
    assert_eq!(folder.count("SELECT count(*) FROM notes"), 701);
    assert_eq!(folder.count("SELECT count(DISTINCT mrn) FROM notes"), 50);
    assert_eq!(folder.count("SELECT count(DISTINCT file_name) FROM notes"), 701);
    assert_eq!(folder.count("SELECT count(*) FROM notes WHERE date = 2024"), 700);
    let parts: Vec<_> =
        folder.written().into_iter().filter(|file| file.extension().is_some_and(|e| e == "parquet")).collect();
    assert!(parts.len() <= 8, "{} parts of 701 notes", parts.len());
    assert_encrypted(&parts);
    let rows = folder.csv("SELECT * FROM notes");
    assert!(rows.contains("BP 120/80"), "what is no identifier stays");
    for secret in ["CANARYSON", "Canaryson", "88000", "617-555", "2024-03", "12/31"] {
        assert!(!rows.contains(secret), "{secret} is in the table");
        for file in folder.written() {
            let bytes = fs::read(&file).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{}", file.display());
        }
    }
    // Nothing changed, nothing is read.
    assert_eq!(folder.run_json("nightly", 0)["files_read"], 0);
    // One file changed: its row alone is made again.
    folder.write("data/notes/sub/8800001_900_2023-12-31.txt", "Another text.");
    assert_eq!(folder.run_json("nightly", 0)["files_read"], 1);
    assert_eq!(folder.count("SELECT count(*) FROM notes"), 701);
    assert_eq!(folder.count("SELECT count(*) FROM notes WHERE text = 'Another text.'"), 1);
}

#[test]
fn what_is_no_text_or_fits_no_rule_waits_until_it_can_be_read() {
    let folder = Folder::init("notes");
    folder.write("data/notes/7_1_2024-01-05.txt", "A good note.");
    folder.write("data/notes/7_2_05.01.2023 CANARY.txt", "Its day is written otherwise.");
    folder.write("data/notes/7_3_2024-01-05.txt", b"Temperature 38 \xB0C");
    folder.write("data/notes/CANARY Doe.txt", "A file of another name.");
    folder.write("data/notes/7_4_2024-01-05.txt", "");
    let said = folder.cordon(&["run", "nightly", "--format", "json"]).exits(3);
    let report = said.json();
    assert_eq!((report["rows_in"].as_u64(), report["rows_out"].as_u64()), (Some(3), Some(1)));
    let reasons: Vec<String> = list(&folder).iter().map(|line| line["reason"].as_str().unwrap().to_owned()).collect();
    assert_eq!(reasons.len(), 4, "{reasons:?}");
    assert!(!reasons.concat().contains("CANARY"), "a reason says a name");
    for reason in ["not a date", "not UTF-8", "`{mrn}_{number}_{date}.txt`", "the file is empty"] {
        assert!(reasons.iter().any(|said| said.contains(reason)), "{reason} is not in {reasons:?}");
    }
    // With the form of its day the one note passes; the other is no text yet.
    let policy = folder.read("policies/safe-harbor-notes.yaml");
    let mended = policy.replace(
        "{ kind: service-date, action: year }",
        "{ kind: service-date, action: year, formats: [\"%d.%m.%Y CANARY\"] }",
    );
    assert_ne!(policy, mended);
    folder.write("policies/safe-harbor-notes.yaml", mended);
    folder.cordon(&["quarantine", "replay", "nightly"]).exits(3);
    assert_eq!(folder.count("SELECT count(*) FROM notes WHERE date = 2023"), 1);
    assert_eq!(list(&folder).len(), 3);
    folder.write("policies/safe-harbor-notes.yaml", policy);
    // Said to be of Windows, it is read again.
    let pipeline = folder.read("pipelines/nightly.yaml");
    folder.write("pipelines/nightly.yaml", pipeline.replace(".txt\" }", ".txt\", encoding: windows-1252 }"));
    folder.cordon(&["run", "nightly"]).exits(3);
    assert_eq!(folder.count("SELECT count(*) FROM notes"), 2);
    assert_eq!(folder.count("SELECT count(*) FROM notes WHERE text LIKE '%38 °C%'"), 1);
}

#[test]
fn equal_notes_of_two_persons_stay_two() {
    let folder = Folder::init("notes");
    folder.write("data/notes/1_1_2024-01-05.txt", "No complaints.");
    folder.run_json("nightly", 0);
    // The first goes, and another person's note of the same words comes: that is no file that was renamed.
    fs::remove_file(folder.path().join("data/notes/1_1_2024-01-05.txt")).unwrap();
    folder.write("data/notes/2_1_2024-01-05.txt", "No complaints.");
    folder.run_json("nightly", 0);
    assert_eq!(folder.count("SELECT count(DISTINCT mrn) FROM notes"), 2);
    // One that is moved as it is named is the same.
    fs::create_dir_all(folder.path().join("data/notes/old")).unwrap();
    let (from, to) = ("data/notes/2_1_2024-01-05.txt", "data/notes/old/2_1_2024-01-05.txt");
    fs::rename(folder.path().join(from), folder.path().join(to)).unwrap();
    folder.run_json("nightly", 0);
    assert_eq!(folder.count("SELECT count(*) FROM notes"), 2);
}

#[test]
fn a_template_that_cannot_be_used_is_said_before_anything_is_read() {
    let folder = Folder::init("notes");
    let pipeline = folder.read("pipelines/nightly.yaml");
    for (bad, says) in
        [("{mrn}{number}", "text must stand between"), ("{text}_{mrn}", "same name"), ("note", "placeholder")]
    {
        folder.write("pipelines/nightly.yaml", pipeline.replace("{mrn}_{number}_{date}.txt", bad));
        let said = folder.cordon(&["policy", "check"]).exits(2);
        assert!(said.all().contains(says) && said.all().contains("nightly.yaml"), "{}", said.all());
    }
}
