//! Where the truth says that somebody is named, they are: in every format that carries notes.

use std::collections::{HashMap, HashSet};
use std::fs;

use cordon_formats::{ccda, hl7v2};
use serde_json::Value;

use crate::exchange::{HOSPITAL, folder, messages, text, truth};
use crate::read::{csv, fhir};

/// The texts of a file by record and field.
fn texts(file: &str) -> HashMap<(String, String), String> {
    let mut found = HashMap::new();
    let path = HOSPITAL.dir.path().join(file);
    let (folder, name) = file.split_once('/').unwrap();
    match folder {
        "csv" | "parquet" => {
            for row in csv(&HOSPITAL, "notes") {
                found.insert((row["note_id"].clone(), "text".to_owned()), row["text"].clone());
            }
        }
        "fhir" => {
            for document in fhir(&HOSPITAL, name.strip_suffix(".ndjson").unwrap()) {
                let data = text(&document, "/content/0/attachment/data").as_bytes();
                let data = String::from_utf8(data_encoding::BASE64.decode(data).unwrap()).unwrap();
                found.insert((text(&document, "/id").to_owned(), "content[0].attachment.data".to_owned()), data);
            }
        }
        "hl7v2" => {
            for bytes in messages(&path) {
                let message = hl7v2::parse(&bytes).unwrap();
                let control = message.header().unwrap().field(10).unwrap().text().into_owned();
                let mut counts: HashMap<Vec<u8>, u32> = HashMap::new();
                for segment in message.segments() {
                    let place = counts.entry(segment.name().to_vec()).or_default();
                    *place += 1;
                    for (name, number) in [("OBX", 5), ("NTE", 3)] {
                        if segment.name() == name.as_bytes()
                            && let Some(value) = segment.field(number)
                        {
                            let key = (control.clone(), format!("{name}[{place}]-{number}"));
                            found.insert(key, value.text().into_owned());
                        }
                    }
                }
            }
        }
        "ccda" => {
            let xml = fs::read_to_string(path).unwrap();
            let title = xml.split_once("<title>").unwrap().1.split_once("</title>").unwrap().0;
            found.insert((String::new(), "title".to_owned()), ccda::unescape(title).into_owned());
            for piece in xml.split(" ID=\"").skip(1) {
                let (id, rest) = piece.split_once("\">").unwrap();
                let inner = rest.split_once("</").unwrap().0.replace("<br/>", "\n");
                found.insert((String::new(), format!("#{id}")), ccda::unescape(&inner).into_owned());
            }
        }
        "x12" => {
            let mut claim = String::new();
            for segment in fs::read_to_string(path).unwrap().split('~') {
                let elements: Vec<&str> = segment.trim_start().split('*').collect();
                match elements[..] {
                    ["REF", "D9", id] => id.clone_into(&mut claim),
                    ["NTE", _, note] => {
                        found.insert((claim.clone(), "NTE-2".to_owned()), note.to_owned());
                    }
                    _ => {}
                }
            }
        }
        _ => {
            found.insert((String::new(), String::new()), fs::read_to_string(path).unwrap());
        }
    }
    found
}

#[test]
fn every_mention_stands_where_the_truth_says() {
    let people: HashMap<String, Value> =
        truth("patients").map(|one| (text(&one, "/patient_id").to_owned(), one)).collect();
    let mut by_file: HashMap<String, Vec<Value>> = HashMap::new();
    for mention in truth("mentions") {
        by_file.entry(text(&mention, "/file").to_owned()).or_default().push(mention);
    }
    let (mut folders, mut forms, mut kinds) =
        (HashMap::<String, u32>::new(), HashMap::<String, u32>::new(), HashSet::new());
    let mut misspelt = 0;
    for (file, mentions) in &by_file {
        let folder = file.split('/').next().unwrap();
        let texts = texts(file);
        for mention in mentions {
            // Files of one document, or paragraphs by their IDs, are found without the record's key.
            let record = if matches!(folder, "notes" | "ccda") { "" } else { text(mention, "/record") };
            let whole = &texts[&(record.to_owned(), text(mention, "/field").to_owned())];
            let place = |end: &str| mention[end].as_u64().unwrap() as usize;
            let spelt = whole.get(place("start")..place("end")).expect("a mention ends between letters");
            assert_eq!(spelt, text(mention, "/text"), "{file}");
            let person = &people[text(mention, "/patient_id")];
            if text(mention, "/role") == "patient" {
                assert_eq!(text(mention, "/subject"), text(mention, "/patient_id"));
                let value = text(mention, "/value");
                match text(mention, "/kind") {
                    "name" => {
                        assert_eq!(value, format!("{} {}", text(person, "/first_name"), text(person, "/last_name")));
                    }
                    "ssn" => assert_eq!(value, text(person, "/ssn")),
                    "birth-date" => assert_eq!(value, text(person, "/birth_date")),
                    "health-plan-id" => assert_eq!(value, text(person, "/member_id")),
                    "medical-record-number" => {
                        let older = person["older_mrns"].as_array().unwrap();
                        assert!(value == text(person, "/mrn") || older.iter().any(|old| text(old, "/mrn") == value));
                    }
                    _ => {}
                }
                let wrong = mention["misspelt"] == true;
                misspelt += u32::from(wrong);
                match text(mention, "/form") {
                    "first" => assert_eq!(spelt != text(person, "/first_name"), wrong, "{spelt}"),
                    "full" => assert_eq!(spelt != value, wrong, "{spelt}"),
                    "nickname" => assert_eq!(spelt != text(person, "/nickname"), wrong, "{spelt}"),
                    "title-last" => assert_eq!(!spelt.ends_with(text(person, "/last_name")), wrong, "{spelt}"),
                    "full-capitals" if folder == "notes" => assert_eq!(spelt, value.to_uppercase()),
                    "last-four" => assert!(spelt.len() == 4 && value.ends_with(spelt)),
                    _ => {}
                }
                *forms.entry(text(mention, "/form").to_owned()).or_default() += 1;
            }
            kinds.insert((text(mention, "/role").to_owned(), text(mention, "/kind").to_owned()));
        }
        *folders.entry(folder.to_owned()).or_default() += mentions.len() as u32;
    }
    assert!(misspelt > 50, "{misspelt}");
    for folder in ["csv", "parquet", "fhir", "hl7v2", "ccda", "x12", "notes"] {
        assert!(folders.get(folder).is_some_and(|count| *count > 100), "{folder}");
    }
    // The same notes in all that carry all of them, line by line or whole.
    let visits = people.values().map(|one| one["encounters"].as_array().unwrap().len() as u32).sum::<u32>();
    assert_eq!(folders["ccda"], folders["notes"] + visits + people.len() as u32);
    assert!(folders["hl7v2"] > folders["notes"]);
    for form in [
        "full",
        "full-middle",
        "full-initial",
        "full-capitals",
        "last-first",
        "last-first-initial",
        "last-first-capitals",
        "title-last",
        "title-last-capitals",
        "first",
        "nickname",
        "initials",
        "last-four",
        "date",
        "exact",
    ] {
        assert!(forms.get(form).is_some_and(|count| *count > 5), "{form}");
    }
    for (role, kind) in [
        ("patient", "name"),
        ("patient", "street-address"),
        ("patient", "health-plan-id"),
        ("patient", "account-number"),
        ("relative", "name"),
        ("relative", "phone"),
        ("provider", "name"),
        ("organisation", "name"),
        ("organisation", "organization"),
    ] {
        assert!(kinds.contains(&(role.to_owned(), kind.to_owned())), "{role} {kind}");
    }
}

/// A name that nobody marked would be counted as kept although nobody could know.
#[test]
fn no_name_stands_in_a_note_unmarked() {
    let people: HashMap<String, Value> =
        truth("patients").map(|one| (text(&one, "/patient_id").to_owned(), one)).collect();
    let mut marked: HashMap<String, (String, Vec<(usize, usize)>)> = HashMap::new();
    for mention in truth("mentions").filter(|one| text(one, "/file").starts_with("notes/")) {
        let place = |end: &str| mention[end].as_u64().unwrap() as usize;
        let entry = marked.entry(text(&mention, "/file").to_owned()).or_default();
        text(&mention, "/patient_id").clone_into(&mut entry.0);
        entry.1.push((place("start"), place("end")));
    }
    assert_eq!(marked.len(), folder("notes").len());
    for (file, (patient, spans)) in marked {
        let note = fs::read_to_string(HOSPITAL.dir.path().join(&file)).unwrap();
        let person = &people[&patient];
        for part in ["/last_name", "/mrn", "/ssn", "/phone", "/street", "/contact/phone", "/email"] {
            let part = text(person, part);
            // Hodgkin's lymphoma and the drain of Jackson and Pratt are nobody's names.
            if part.len() < 6 || ["Graves", "Hodgkin", "Jackson", "Murphy", "Parkinson", "Wilson"].contains(&part) {
                continue;
            }
            for (start, _) in note.match_indices(part) {
                let end = start + part.len();
                assert!(spans.iter().any(|(from, to)| *from <= start && end <= *to), "{file} at {start}");
            }
        }
    }
}
