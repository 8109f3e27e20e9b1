//! What is sent between systems, read by the readers that read what is really sent, and compared with the tables.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use cordon_formats::ccda::{CdaType, Document, Limits, Stack};
use cordon_formats::hl7v2::{self, MessageReader, RecordKind};
use cordon_formats::x12::{self, Outline, TransactionReader};
use cordon_synth::{Formats, SynthOptions};
use serde_json::Value;

use crate::read::{Row, Written, clean, csv, write};

const PATIENTS: u64 = 400;

/// One hospital for all of these tests: nobody writes to it.
pub static HOSPITAL: LazyLock<Written> =
    LazyLock::new(|| write(SynthOptions { truth: true, ..clean(PATIENTS, Formats::ALL) }));

pub fn truth(name: &str) -> impl Iterator<Item = Value> {
    let text = fs::read_to_string(HOSPITAL.dir.path().join(format!("truth/{name}.ndjson"))).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.into_iter().map(|line| serde_json::from_str(&line).unwrap())
}

pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

fn people() -> HashMap<String, Value> {
    truth("patients").map(|one| (text(&one, "/patient_id").to_owned(), one)).collect()
}

fn by(table: &str, key: &str) -> HashMap<String, Row> {
    csv(&HOSPITAL, table).into_iter().map(|row| (row[key].clone(), row)).collect()
}

pub fn folder(name: &str) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(HOSPITAL.dir.path().join(name)).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path))
        .collect()
}

/// `2019-03-04T05:06:07Z` as `20190304050607`.
fn packed(time: &str) -> String {
    time.chars().filter(char::is_ascii_digit).collect()
}

fn digits(value: &str) -> String {
    value.chars().filter(char::is_ascii_digit).collect()
}

/// Every message of a file, whole.
pub fn messages(path: &PathBuf) -> Vec<Vec<u8>> {
    let mut reader = MessageReader::new(fs::File::open(path).unwrap(), hl7v2::ReadOptions::default());
    let (mut found, mut trailer) = (Vec::new(), None);
    while let Some(batch) = reader.next_batch(1 << 20).unwrap() {
        assert!(batch.rejects.is_empty());
        for (index, record) in batch.records.iter().enumerate() {
            match record.kind {
                RecordKind::Message => found.push(batch.raw(index).to_vec()),
                RecordKind::BatchTrailer => trailer = Some(String::from_utf8(batch.raw(index).to_vec()).unwrap()),
                _ => {}
            }
        }
    }
    assert_eq!(trailer.unwrap().trim_end(), format!("BTS|{}", found.len()));
    found
}

fn field(message: &hl7v2::Message<'_>, segment: &str, number: usize) -> String {
    message
        .find(segment.as_bytes())
        .and_then(|one| one.field(number))
        .map_or(String::new(), |one| one.text().into_owned())
}

fn part(value: &hl7v2::Value<'_>, number: usize) -> String {
    value.component(number).map_or(String::new(), |one| one.text().into_owned())
}

fn plain(name: &str) -> String {
    name.to_uppercase()
}

#[test]
fn hl7v2_says_who_and_when_as_the_tables_do() {
    let people = people();
    let by_mrn: HashMap<String, &Value> = people
        .values()
        .flat_map(|one| {
            let older = one["older_mrns"].as_array().unwrap().iter().map(|old| text(old, "/mrn"));
            older.chain([text(one, "/mrn")]).map(|mrn| (mrn.to_owned(), one)).collect::<Vec<_>>()
        })
        .collect();
    let encounters = by("encounters", "encounter_id");
    let dictionary = hl7v2::Dictionary::get();
    let (mut kinds, mut versions, mut visits) = (HashMap::<String, u32>::new(), HashSet::new(), HashSet::new());
    // When a number was last used, and when it was merged away.
    let (mut used, mut merged) = (HashMap::<String, String>::new(), HashMap::<String, String>::new());
    for (name, path) in folder("hl7v2") {
        let mut before = String::new();
        for bytes in messages(&path) {
            let message = hl7v2::parse(&bytes).unwrap();
            let header = message.header().unwrap();
            let kind = header.field(9).unwrap();
            let trigger = part(&kind, 2);
            *kinds.entry(format!("{}^{trigger}", part(&kind, 1))).or_default() += 1;
            let version = field(&message, "MSH", 12);
            for segment in message.segments() {
                assert!(!segment.is_text() && dictionary.segment(segment.name()).is_some(), "{name}");
            }
            let when = packed(&field(&message, "MSH", 7))[..14].to_owned();
            assert!(when >= before, "{name} is not in the order of time");
            before.clone_from(&when);

            let pid = message.find(b"PID").unwrap();
            let numbers: HashMap<String, hl7v2::Value<'_>> =
                pid.field(3).unwrap().repetitions().map(|one| (part(&one, 5), one)).collect();
            let mrn = part(&numbers["MR"], 1);
            let person = by_mrn[&mrn];
            assert!(part(&numbers["MR"], 4).starts_with("CRH"));
            let member = numbers.get("MB").or(numbers.get("MC")).unwrap();
            assert_eq!(part(member, 1), text(person, "/member_id"));
            let ssn = numbers.get("SS").map_or_else(|| field(&message, "PID", 19), |one| part(one, 1));
            assert_eq!(digits(&ssn), digits(text(person, "/ssn")));
            assert_eq!(field(&message, "PID", 7), digits(text(person, "/birth_date")));
            let legal = pid.field(5).unwrap();
            let (family, given) = (part(&legal, 1), part(&legal, 2));
            if version == "2.3" && name.starts_with("adt") {
                assert!(bytes.is_ascii() && field(&message, "MSH", 18).is_empty());
                assert_eq!(
                    (family.as_str(), given.as_str()),
                    (text(person, "/x12_name/last"), text(person, "/x12_name/first"))
                );
            } else {
                assert_eq!(plain(&family), plain(text(person, "/last_name")));
                assert_eq!(plain(&given), plain(text(person, "/first_name")));
            }
            assert_eq!(digits(&part(&pid.field(11).unwrap(), 5)), digits(text(person, "/zip")));
            let phone = pid.field(13).unwrap();
            let all = format!("{}{}{}", part(&phone, 1), part(&phone, 6), part(&phone, 7));
            assert!(
                digits(&all).contains(&digits(text(person, "/phone"))[digits(text(person, "/phone")).len() - 10..])
            );
            // Nobody is dead before they die.
            let death = field(&message, "PID", 29);
            assert!(death.is_empty() || (death == digits(text(person, "/death_date")) && death <= when));

            if trigger == "A40" || trigger == "A34" {
                assert_eq!(trigger == "A34", version == "2.3");
                let old = part(&message.find(b"MRG").unwrap().field(1).unwrap(), 1);
                assert_eq!(text(by_mrn[&old], "/patient_id"), text(person, "/patient_id"));
                assert_ne!(old, mrn);
                merged.insert(old, when.clone());
            } else {
                let last = used.entry(mrn).or_default();
                *last = std::mem::take(last).max(when);
            }
            if let Some(visit) = message.find(b"PV1") {
                let encounter = &encounters[&part(&visit.field(19).unwrap(), 1)];
                assert_eq!(encounter["patient_id"], text(person, "/patient_id"));
                assert_eq!(packed(&field(&message, "PV1", 44))[..14], packed(&encounter["start"]));
                let end = field(&message, "PV1", 45);
                assert!(end.is_empty() || packed(&end)[..14] == packed(&encounter["stop"]));
                assert_eq!(part(&visit.field(7).unwrap(), 1), encounter["provider_npi"]);
                visits.insert(encounter["encounter_id"].clone());
            }
            versions.insert(version);
        }
    }
    assert_eq!(visits.len(), encounters.len());
    assert_eq!(versions, HashSet::from(["2.3".to_owned(), "2.5.1".to_owned(), "2.8".to_owned()]));
    for kind in ["ADT^A01", "ADT^A03", "ADT^A04", "ADT^A08", "ADT^A34", "ADT^A40", "ORU^R01", "MDM^T02", "VXU^V04"] {
        assert!(kinds.get(kind).is_some_and(|count| *count > 2), "{kind}");
    }
    let older: HashSet<String> = people
        .values()
        .flat_map(|one| one["older_mrns"].as_array().unwrap())
        .map(|old| text(old, "/mrn").to_owned())
        .collect();
    assert_eq!(merged.keys().cloned().collect::<HashSet<_>>(), older);
    for (old, when) in &merged {
        assert!(used[old] < *when, "a number is used after it was merged");
    }
}

#[test]
fn hl7v2_results_are_those_of_the_tables() {
    let mut rows: HashMap<(String, String, String), Vec<String>> = HashMap::new();
    for row in csv(&HOSPITAL, "observations") {
        let key = (row["encounter_id"].clone(), row["code"].clone(), packed(&row["observed_at"]));
        rows.entry(key).or_default().push(row["value"].clone());
    }
    let all: usize = rows.values().map(Vec::len).sum();
    let mut found = 0;
    for (_, path) in folder("hl7v2").into_iter().filter(|(name, _)| name.starts_with("lab")) {
        for bytes in messages(&path) {
            let message = hl7v2::parse(&bytes).unwrap();
            let encounter = part(&message.find(b"PV1").unwrap().field(19).unwrap(), 1);
            for segment in message.segments().filter(|segment| segment.name() == b"OBX") {
                let of = |number| segment.field(number).unwrap().text().into_owned();
                let key = (encounter.clone(), part(&segment.field(3).unwrap(), 1), packed(&of(14))[..14].to_owned());
                assert!(rows[&key].contains(&of(5)));
                found += 1;
            }
        }
    }
    assert_eq!(found, all);
}

#[test]
fn ccda_is_of_the_vocabulary_and_says_what_the_tables_say() {
    let people = people();
    let files = folder("ccda");
    assert_eq!(files.len() as u64, PATIENTS);
    for person in people.values() {
        let xml = fs::read_to_string(&files[&format!("{}.xml", text(person, "/mrn"))]).unwrap();
        let document = Document::parse(xml, Limits::default()).unwrap();
        let mut stack = Stack::new(&document);
        let mut sections = HashSet::new();
        for event in 0..document.events().len() {
            stack.follow(event);
            if document.events()[event].is_element() {
                let name = document.local_name(event);
                assert_ne!(stack.cda_type(), CdaType::Unknown, "{name}");
                if name == "section" {
                    sections.insert(event);
                }
            }
        }
        assert!(sections.len() >= 6);
        let xml = document.text();
        let has =
            |root: &str, extension: &str| xml.contains(&format!("<id root=\"{root}\" extension=\"{extension}\"/>"));
        assert!(has("2.999.4270.1", text(person, "/mrn")));
        assert!(has("2.16.840.1.113883.4.1", text(person, "/ssn")));
        assert!(
            has("2.999.4270.4", text(person, "/member_id"))
                || has("2.16.840.1.113883.4.927", text(person, "/member_id"))
        );
        for old in person["older_mrns"].as_array().unwrap() {
            assert!(has("2.999.4270.1", text(old, "/mrn")));
        }
        assert!(xml.contains(&format!("<birthTime value=\"{}\"/>", digits(text(person, "/birth_date")))));
        assert!(xml.contains(&format!("<given>{}</given>", text(person, "/first_name"))));
        assert!(xml.contains(&format!("<family>{}</family>", text(person, "/last_name"))));
        for encounter in person["encounters"].as_array().unwrap() {
            assert!(has("2.999.4270.3", text(encounter, "/encounter_id")));
            for (end, tag) in [("/start", "low"), ("/stop", "high")] {
                assert!(xml.contains(&format!("<{tag} value=\"{}+0000\"/>", packed(text(encounter, end)))));
            }
        }
    }
}

/// The sets of a file, and what its envelopes count.
fn sets(path: &PathBuf) -> Vec<(Vec<u8>, std::sync::Arc<x12::Envelope>)> {
    let mut reader = TransactionReader::new(fs::File::open(path).unwrap(), x12::ReadOptions::default());
    let mut found = Vec::new();
    let (mut in_group, mut groups, mut interchanges) = (0, 0, 0);
    while let Some(batch) = reader.next_batch(1 << 20).unwrap() {
        assert!(batch.rejects.is_empty());
        for (index, record) in batch.records.iter().enumerate() {
            let raw = String::from_utf8(batch.raw(index).to_vec()).unwrap();
            let elements: Vec<&str> = raw.trim_end().trim_end_matches('~').split('*').collect();
            match record.kind {
                x12::RecordKind::InterchangeHeader => {
                    assert_eq!(raw.trim_end().len(), 106);
                    (groups, interchanges) = (0, interchanges + 1);
                }
                x12::RecordKind::GroupHeader => (in_group, groups) = (0, groups + 1),
                x12::RecordKind::Transaction => {
                    in_group += 1;
                    found.push((batch.raw(index).to_vec(), record.envelope.clone()));
                }
                x12::RecordKind::GroupTrailer => assert_eq!(elements[1], in_group.to_string()),
                x12::RecordKind::InterchangeTrailer => assert_eq!(elements[1], groups.to_string()),
                x12::RecordKind::Other => panic!("a segment outside of all sets"),
            }
        }
    }
    assert!(interchanges > 1, "several interchanges a file");
    found
}

/// A segment by its elements.
type Elements = Vec<String>;

fn read_sets(each: &mut dyn FnMut(&str, &[Elements], &Outline)) {
    for (name, path) in folder("x12") {
        for (bytes, envelope) in sets(&path) {
            let set = x12::parse(&bytes, &envelope).unwrap();
            let outline = Outline::of(&set);
            assert!(outline.guide.is_some(), "{name}");
            let segments: Vec<Elements> = set
                .segments()
                .map(|one| {
                    one.bytes().split(|byte| *byte == b'*').map(|e| String::from_utf8(e.to_vec()).unwrap()).collect()
                })
                .collect();
            for (segment, place) in segments.iter().zip(&outline.places) {
                assert!(place.is_expected, "{name}: {} {:?} in {}", segment[0], segment.get(1), place.loop_id);
            }
            let (first, last) = (&segments[0], segments.last().unwrap());
            assert_eq!((last[0].as_str(), last[1].clone()), ("SE", segments.len().to_string()));
            assert_eq!(first[2], last[2]);
            each(&name, &segments, &outline);
        }
    }
}

#[test]
fn x12_claims_are_those_of_the_tables() {
    let people = people();
    let claims = by("claims", "claim_id");
    let mut billed: HashSet<String> = HashSet::new();
    let (mut dependents, mut institutional, mut paid, mut enrolled, mut answered) = (0, 0, 0, HashSet::new(), 0);
    let accounts: HashMap<&str, &Value> = people.values().map(|one| (text(one, "/account_number"), one)).collect();
    let members: HashMap<&str, &Value> = people.values().map(|one| (text(one, "/member_id"), one)).collect();
    let named = |segment: &Elements, person: &Value| {
        assert_eq!(segment[3], text(person, "/x12_name/last"));
        assert_eq!(segment.get(4).map_or("", String::as_str), text(person, "/x12_name/first"));
        assert_eq!(segment.get(5).map_or("", String::as_str), text(person, "/x12_name/middle"));
    };
    read_sets(&mut |name, segments, _| {
        let (mut subscriber, mut patient, mut born): (Elements, Option<Elements>, Elements) = Default::default();
        let (mut claim, mut amount) = (String::new(), String::new());
        for segment in segments {
            let is = |id: &str, first: &str| segment[0] == id && (first.is_empty() || segment[1] == first);
            match name.split('_').next().unwrap() {
                "professional" | "institutional" => {
                    if is("NM1", "IL") {
                        (subscriber, patient) = (segment.clone(), None);
                    } else if is("NM1", "QC") {
                        patient = Some(segment.clone());
                    } else if is("DMG", "") {
                        born.clone_from(segment);
                    } else if is("CLM", "") {
                        (claim, amount) = (segment[1].clone(), segment[2].clone());
                    } else if is("REF", "D9") {
                        let row = &claims[&segment[2]];
                        let person = &people[&row["patient_id"]];
                        assert_eq!(claim, row["account_number"]);
                        assert!(
                            (amount.parse::<f64>().unwrap() - row["billed_amount"].parse::<f64>().unwrap()).abs()
                                < 1e-9
                        );
                        assert_eq!(subscriber[9], row["member_id"]);
                        assert_eq!(born[2], digits(text(person, "/birth_date")));
                        match &patient {
                            Some(child) => {
                                named(child, person);
                                assert_eq!(person["guardian"]["is_subscriber"], true);
                                assert_ne!(subscriber[4], child[4]);
                                dependents += 1;
                            }
                            None => named(&subscriber, person),
                        }
                        assert!(billed.insert(segment[2].clone()));
                        institutional += i32::from(name.starts_with("institutional"));
                    } else if is("REF", "EA") {
                        assert_eq!(segment[2], text(accounts[claim.as_str()], "/mrn"));
                    } else if is("REF", "SY") {
                        assert_eq!(segment[2], digits(text(members[subscriber[9].as_str()], "/ssn")));
                    }
                }
                "remittance" => {
                    if is("CLP", "") {
                        claim.clone_from(&segment[1]);
                        paid += (segment[4].parse::<f64>().unwrap() * 100.0).round() as i64;
                    } else if is("NM1", "QC") {
                        named(segment, accounts[claim.as_str()]);
                        assert_eq!(segment[9], text(accounts[claim.as_str()], "/member_id"));
                    } else if is("BPR", "") {
                        paid -= (segment[2].parse::<f64>().unwrap() * 100.0).round() as i64;
                    }
                }
                "enrollment" => {
                    if is("REF", "0F") {
                        enrolled.insert(text(members[segment[2].as_str()], "/patient_id").to_owned());
                    }
                }
                "eligibility" => answered += i32::from(is("TRN", "")),
                other => panic!("{other}"),
            }
        }
        assert_eq!(paid, 0, "what is paid is the sum of the claims");
    });
    let due: HashSet<String> =
        claims.values().filter(|row| row["payer"] != "Self-pay").map(|row| row["claim_id"].clone()).collect();
    assert_eq!(billed, due);
    assert!(dependents > 50 && institutional > 20 && enrolled.len() > 100 && answered > 200);
}
