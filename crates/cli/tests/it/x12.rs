//! X12 interchanges from a folder to answers: nothing is lost, and nothing that identifies is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Folder, assert_encrypted, collect, copy_tree, finder, leaks, shared};

/// What stands behind each ISA: three letters at the beginning of a segment, and not the end of LISA.
fn interchanges(text: &str) -> Vec<&str> {
    let begins = |at: &usize| {
        !text[..*at].ends_with(char::is_alphanumeric) && !text[at + 3..].starts_with(char::is_alphanumeric)
    };
    let starts: Vec<usize> = text.match_indices("ISA").map(|(at, _)| at).filter(begins).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().zip(ends).map(|(start, end)| &text[start + 3..end]).collect()
}

/// Segments of an interchange, cut by its own delimiters.
fn segments(text: &str) -> Vec<Vec<String>> {
    let mut out = Vec::new();
    for part in interchanges(text) {
        let element = part.chars().next().unwrap();
        let end = part.match_indices(element).nth(15).map(|(at, _)| at + 2).unwrap();
        let terminator = part[end..].chars().next().unwrap();
        let segments = part.split(terminator).map(|segment| segment.trim_matches(['\r', '\n', ' ']));
        out.extend(segments.map(|segment| segment.split(element).map(str::to_owned).collect()));
    }
    out
}

/// Names, addresses, numbers, birth dates and notes, long enough to be nobody else's.
fn identifiers(text: &str, found: &mut BTreeSet<String>) {
    for segment in segments(text) {
        let elements: &[usize] = match segment.first().map(String::as_str) {
            Some("NM1") => &[3, 4, 5, 9],
            Some("N1") => &[2, 4],
            Some("N3") => &[1, 2],
            Some("N4") => &[1, 3],
            Some("REF") if segment.get(1).is_none_or(|qualifier| qualifier != "87") => &[2],
            Some("DMG" | "NTE") => &[2],
            Some("PER") => &[2, 4, 6, 8],
            Some("CLM" | "CLP" | "MSG" | "K3") => &[1],
            Some("TRN") => &[2, 3],
            Some("BPR") => &[7, 9, 13, 15],
            _ => &[],
        };
        for value in elements.iter().filter_map(|number| segment.get(*number)) {
            // Five digits may be the number of a segment.
            let least = if value.bytes().all(|byte| byte.is_ascii_digit()) { 6 } else { 5 };
            if value.len() >= least && value.is_ascii() {
                found.insert(value.clone());
            }
        }
    }
}

fn sets(text: &str) -> usize {
    segments(text).iter().filter(|segment| segment[0] == "ST").count()
}

#[test]
fn real_interchanges_become_tables_and_leave_nothing_that_identifies() {
    let Some(data) = shared("x12") else { return };
    let folder = Folder::init("x12");
    copy_tree(&data, &folder.path().join("data/x12"));
    let mut files = Vec::new();
    collect(&data, &mut files);
    let (mut secrets, mut wanted, mut claims, mut lines) = (BTreeSet::new(), 0, 0, 0);
    for file in &files {
        let text = String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
        identifiers(&text, &mut secrets);
        wanted += sets(&text);
        let all = segments(&text);
        claims += all.iter().filter(|segment| ["CLM", "CLP"].contains(&segment[0].as_str())).count();
        lines += all.iter().filter(|segment| ["SV1", "SV2", "SV3"].contains(&segment[0].as_str())).count();
    }
    // What holds an interchange together stays, and some senders write the same into what names a submission.
    for file in &files {
        let text = String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
        for segment in segments(&text) {
            let control = match segment[0].as_str() {
                "ST" | "IEA" => segment.get(2),
                "GS" => segment.get(6),
                _ => None,
            };
            secrets.remove(control.map_or("", String::as_str));
        }
    }
    // A note and a message of our own: the shared ones have none.
    folder.write("data/x12/own.837", NOTED);
    identifiers(NOTED, &mut secrets);
    assert!(secrets.len() > 200, "{}", secrets.len());
    let report = folder.run_json("nightly", 0);
    assert_eq!(report["files_read"].as_u64().unwrap() as usize, files.len() + 1);
    assert_eq!(
        (report["rows_in"].as_u64(), report["rows_out"].as_u64()),
        (Some(wanted as u64 + 1), Some(wanted as u64 + 1))
    );
    assert_eq!(folder.count("SELECT count(*) FROM x12_transaction"), wanted as i64 + 1);
    assert_eq!(folder.count("SELECT count(*) FROM x12_claim"), claims as i64 + 1);
    assert!(folder.count("SELECT count(*) FROM x12_service_line") >= lines as i64);
    // Claims and their lines join by tokens, and amounts are still amounts.
    let joined = "SELECT count(*) FROM x12_service_line l JOIN x12_claim c ON l.claim_id = c.claim_id WHERE CAST(c.total_charge AS DOUBLE) > 0";
    assert!(folder.count(joined) > 100);
    assert!(folder.count("SELECT count(*) FROM x12_claim WHERE principal_diagnosis IS NOT NULL") >= 5);

    let finder = finder(&secrets);
    let written = folder.written();
    let is_part = |file: &&PathBuf| file.extension().is_some_and(|extension| extension == "parquet");
    assert_encrypted(&written.iter().filter(is_part).cloned().collect::<Vec<_>>());
    for file in &written {
        // Short numbers stand in ciphertexts and hashes by chance.
        let long: BTreeSet<String> = secrets.iter().filter(|secret| secret.len() >= 8).cloned().collect();
        nothing_in(&fs::read(file).unwrap(), file, &long, &crate::support::finder(&long));
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

const NOTED: &str = "ISA*00*          *00*          *ZZ*OWNSENDER      *ZZ*OWNRECEIVER    *240102*1200*^*00501*000000007*1*P*:~\
    GS*HC*OWNSENDER*OWNRECEIVER*20240102*1200*1*X*005010X222A1~ST*837*0001*005010X222A1~BHT*0019*00*OWNBATCH*20240102*1200*CH~\
    HL*1**20*1~NM1*85*1*GREENFELD*DAVIDOFF****XX*1999996666~HL*2*1*22*0~SBR*P*18*******CI~NM1*IL*1*OSTERBERG*JAMESON****MI*OWN000777~\
    DMG*D8*19470421*M~CLM*OWNCLAIM1*77.50***11:B:1*Y*A*Y*Y~NTE*ADD*Mr. Osterberg was seen on 3/4/2021~K3*JAMESON OSTERBERG~HI*ABK:E119~\
    LX*1~SV1*HC:99213*77.50*UN*1***1~DTP*472*D8*20240105~SE*16*0001~GE*1*1~IEA*1*000000007~";

/// A policy by which everything stays, each with its reason.
fn keep_everything() -> String {
    let types = [
        "name",
        "organization",
        "address",
        "date",
        "time",
        "phone",
        "fax",
        "email",
        "url",
        "id",
        "code",
        "demographic",
        "clinical",
        "amount",
        "number",
        "text",
    ];
    let rules = types.map(|name| format!("        {name}: {{ kind: free-text, action: keep, because: a test }}\n"));
    format!(
        "policy: safe-harbor-x12\nmethod: expert-determination\nexpert: {{ name: x, document: y }}\ndatasets:\n  x12:\n    x12:\n      types:\n{}",
        rules.concat()
    )
}

#[test]
fn what_is_kept_comes_out_to_the_byte() {
    let Some(data) = shared("x12") else { return };
    let folder = Folder::init("x12");
    copy_tree(&data, &folder.path().join("data/x12"));
    folder.write("policies/safe-harbor-x12.yaml", keep_everything());
    folder.run_json("nightly", 0);
    let mut files = Vec::new();
    collect(&data, &mut files);
    let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
    for file in &files {
        let text = String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
        // From each ST to what ends its SE, line end included.
        for part in interchanges(&text) {
            let element = part.chars().next().unwrap();
            let end = part.match_indices(element).nth(15).map(|(at, _)| at + 2).unwrap();
            let terminator = part[end..].chars().next().unwrap();
            let mut open: Option<String> = None;
            for segment in part.split_inclusive(terminator) {
                let name = segment.trim_start().split(element).next().unwrap();
                if name == "ST" {
                    open = Some(String::new());
                }
                if let Some(set) = &mut open {
                    set.push_str(segment);
                    if name == "SE" {
                        *wanted.entry(open.take().unwrap().trim().to_owned()).or_default() += 1;
                    }
                }
            }
        }
    }
    let mut came: BTreeMap<String, usize> = BTreeMap::new();
    for row in folder.sql("SELECT text FROM x12_transaction") {
        *came.entry(row["text"].as_str().unwrap().trim().to_owned()).or_default() += 1;
    }
    assert_eq!(came.len(), wanted.len());
    for (set, count) in &wanted {
        assert!(came.get(set) == Some(count), "a set of {} bytes came out changed", set.len());
    }
}

#[test]
fn a_set_that_fails_is_put_aside_and_replayed_when_the_rule_is_mended() {
    let folder = Folder::init("x12");
    let policy = folder.read("policies/safe-harbor-x12.yaml");
    let strict = policy.replace("kind: birth-date, action: year, otherwise: blank", "kind: birth-date, action: year");
    assert_ne!(policy, strict);
    folder.write("policies/safe-harbor-x12.yaml", &strict);
    let set = |number: &str, born: &str| {
        let start = NOTED.find("ST*837").unwrap();
        let end = NOTED.find("GE*1").unwrap();
        NOTED[start..end].replace("0001", number).replace("19470421", born)
    };
    let (header, _) = NOTED.split_at(NOTED.find("ST*837").unwrap());
    let text = format!(
        "{header}{}{}{}GE*3*1~IEA*1*000000007~lost JANE DOE~",
        set("0001", "19470421"),
        set("0002", "spring of 47"),
        set("0003", "19480421")
    );
    folder.write("data/x12/own.837", text);
    folder.write("data/x12/table.txt", "mrn,name\n7,Doe\n");
    let report = folder.run_json("nightly", 3);
    assert_eq!((report["rows_in"].as_u64(), report["rows_out"].as_u64()), (Some(4), Some(2)));
    let list = folder.cordon(&["quarantine", "list", "--format", "json"]).ok();
    assert!(!list.all().contains("spring") && !list.all().contains("Doe"));
    let list = list.json();
    let entries = list.as_array().unwrap();
    assert_eq!(entries.len(), 2);
    let failed = entries.iter().find(|entry| entry["field"] == "DMG-02").unwrap();
    let id = failed["id"].as_str().unwrap().to_owned();
    let show =
        ["quarantine", "show", &id, "--as", "engineer", "--purpose", "operations", "--reason", "to mend the rule"];
    let shown = folder.cordon(&show).ok();
    assert!(shown.out.contains("spring of 47") && shown.out.contains("ISA*00*"), "with its envelope");

    folder.write("policies/safe-harbor-x12.yaml", &policy);
    // What has no ISA before it stays where it is.
    folder.cordon(&["quarantine", "replay", "nightly"]);
    assert_eq!(folder.count("SELECT count(*) FROM x12_transaction"), 3);
    assert_eq!(folder.count("SELECT count(DISTINCT set_control) FROM x12_claim"), 3);
    assert_eq!(folder.count("SELECT count(DISTINCT interchange_control) FROM x12_claim"), 1);
    let left = folder.cordon(&["quarantine", "list", "--format", "json"]).ok().json();
    assert_eq!(left.as_array().unwrap().len(), 1);
}

#[test]
fn an_empty_file_is_refused_with_a_reason() {
    let folder = Folder::init("x12");
    folder.write("data/x12/empty.837", "");
    let said = folder.cordon(&["run", "nightly"]).exits(3);
    assert!(said.all().contains("the file is empty"), "{}", said.all());
}
