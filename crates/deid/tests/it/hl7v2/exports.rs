//! Real messages under the shipped policy: nothing that identifies the patient, a relative or a provider is left.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cordon_formats::hl7v2::{Message, MessageReader, ReadOptions, RecordKind};

use super::{LIMITED, SHIPPED, messages, recipe, run};

fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("CORDON_SHARED_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3)?.join("shared/data");
    let folder = named.unwrap_or(beside).join("hl7v2");
    folder.is_dir().then_some(folder)
}

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "hl7") {
            out.push(path);
        }
    }
}

/// Fields whose text identifies somebody.
const IDENTIFYING: [(&[u8; 3], &[usize]); 7] = [
    (b"PID", &[2, 3, 4, 5, 6, 9, 11, 13, 14, 18, 19, 20, 21]),
    (b"NK1", &[2, 4, 5, 6, 30, 31, 32, 33, 37]),
    (b"GT1", &[2, 3, 4, 5, 6, 7, 12, 16, 17, 18, 19]),
    (b"IN1", &[16, 19, 36, 49]),
    (b"IN2", &[1, 2, 3, 6, 8]),
    (b"PV1", &[5, 19, 50]),
    (b"MRG", &[1, 2, 3, 4, 5, 6, 7]),
];

/// Made-up names that are also the name of a system or a hospital in the same message.
const ELSEWHERE: [(&str, &str); 2] = [("MDM-T", "PROSOLV"), ("REF-I14", "RADIANT")];

/// Components of an address (XAD) that a limited data set keeps: town, postal code.
const TOWN_AND_ZIP: [usize; 2] = [2, 4];

/// Made-up names and streets that are also the town of the same message.
const TOWNS_TOO: [(&str, &str); 2] = [("ADT04-23", "TOADSTOOL"), ("OUL-R22-01", "AAAAAA")];

/// Texts long enough to be nobody else's; `limited`: without towns, postal codes and dates.
fn identifiers(message: &Message<'_>, limited: bool) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for segment in message.segments() {
        for (_, fields) in IDENTIFYING.iter().filter(|(name, _)| segment.name() == *name) {
            for &number in *fields {
                let Some(field) = segment.field(number) else { continue };
                for repetition in field.repetitions() {
                    for (component, part) in repetition.components().enumerate() {
                        // Codes, authorities, states and countries are nobody's name.
                        let is_address = [4, 11, 17, 19, 32].contains(&number) && segment.name() != b"MRG";
                        if component > if is_address { 2 } else { 1 } {
                            continue;
                        }
                        if limited && is_address && TOWN_AND_ZIP.contains(&component) {
                            continue;
                        }
                        let text = part.text().into_owned();
                        if text.len() >= 5 && text != "UNKNOWN" {
                            out.insert(text);
                        }
                    }
                }
            }
        }
        if segment.name() == b"PID"
            && !limited
            && let Some(born) = segment.field(7)
            && born.bytes().len() >= 8
        {
            out.insert(born.text().chars().take(8).collect());
        }
    }
    out
}

#[test]
fn nothing_of_the_shared_messages_is_left_under_the_shipped_policy() {
    nothing_is_left(SHIPPED, false);
}

#[test]
fn no_direct_identifier_of_the_shared_messages_is_left_in_a_limited_data_set_and_dates_and_towns_are() {
    let Some(kept) = nothing_is_left(LIMITED, true) else { return };
    let [dates, towns, zips] = kept;
    eprintln!("dates {dates:?}, towns {towns:?}, postal codes {zips:?} of those sent");
    for (sent, came) in kept {
        assert!(sent > 20 && came * 100 >= sent * 95, "{came} of {sent}");
    }
}

/// Dates of birth, towns and postal codes of patients (PID-7, PID-11): how many were sent, and how many came out.
type Kept = [(usize, usize); 3];

fn kept(messages: &Message<'_>, out: &mut [Vec<String>; 3]) {
    for segment in messages.segments().filter(|segment| segment.name() == b"PID") {
        let born = segment.field(7).map(|field| field.text().into_owned());
        out[0].extend(born.filter(|text| text.bytes().filter(u8::is_ascii_digit).count() >= 8));
        let Some(field) = segment.field(11) else { continue };
        for address in field.repetitions() {
            let part = |number: usize| address.components().nth(number).map(|part| part.text().into_owned());
            out[1].extend(part(2).filter(|text| !text.is_empty()));
            out[2].extend(part(4).filter(|text| !text.is_empty()));
        }
    }
}

fn nothing_is_left(policy: &str, limited: bool) -> Option<Kept> {
    let Some(folder) = folder() else {
        eprintln!("skipped: no shared data");
        return None;
    };
    let recipe = recipe(policy).unwrap_or_else(|issues| panic!("{issues}"));
    let mut paths = Vec::new();
    files(&folder, &mut paths);
    assert!(paths.len() >= 80, "{}", paths.len());
    let (mut wanted, mut came) = (0, 0);
    let (mut sent, mut stayed) = (<[Vec<String>; 3]>::default(), <[Vec<String>; 3]>::default());
    let mut left = Vec::new();
    for path in &paths {
        let text = fs::read(path).unwrap();
        let mut reader = MessageReader::new(text.as_slice(), ReadOptions::default());
        let mut secrets = BTreeSet::new();
        while let Some(batch) = reader.next_batch(1 << 20).unwrap() {
            for (index, record) in batch.records.iter().enumerate() {
                if record.kind == RecordKind::Message {
                    wanted += 1;
                    let message = batch.parse(index).unwrap();
                    secrets.extend(identifiers(&message, limited));
                    kept(&message, &mut sent);
                }
            }
        }
        let outputs = run(&recipe, &text);
        came += outputs.iter().map(|output| output.documents + output.failures.len() as u64).sum::<u64>();
        for output in &outputs {
            assert!(output.failures.is_empty(), "{}: {:?}", path.display(), output.failures);
        }
        for message in messages(&outputs) {
            let mut reader = MessageReader::new(message.as_bytes(), ReadOptions::default());
            while let Some(batch) = reader.next_batch(1 << 20).unwrap() {
                (0..batch.records.len()).for_each(|index| kept(&batch.parse(index).unwrap(), &mut stayed));
            }
        }
        let all = messages(&outputs).join("\n");
        let name = path.file_name().unwrap().display().to_string();
        let towns_too: &[_] = if limited { &TOWNS_TOO } else { &[] };
        let is_elsewhere =
            |secret: &str| ELSEWHERE.iter().chain(towns_too).any(|(file, text)| name.contains(file) && secret == *text);
        for secret in secrets.iter().filter(|secret| all.contains(secret.as_str()) && !is_elsewhere(secret)) {
            let line = all.split(['\r', '\n']).find(|line| line.contains(secret.as_str())).unwrap_or_default();
            left.push(format!("{name}: {secret} in {line}"));
        }
    }
    assert_eq!(wanted, came);
    assert!(left.is_empty(), "{} of {} messages: {left:#?}", left.len(), wanted);
    Some([0, 1, 2].map(|at| {
        let stays = stayed[at].iter().filter(|text| sent[at].contains(text)).count();
        (sent[at].len(), stays)
    }))
}
