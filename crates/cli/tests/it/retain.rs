//! Retention and legal holds: nothing younger than its retention goes, nothing under a hold goes, and nothing comes back.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Folder, Said, assert_encrypted, binary, said};

const POLICY: &str = "
policy: test
method: safe-harbor
datasets:
  visits:
    subject: patient
    fields:
      patient: { kind: medical-record-number }
      day: { kind: service-date }
      code: { kind: clinical }
  labs:
    subject: patient
    fields:
      patient: { kind: medical-record-number }
      value: { kind: clinical, type: decimal }
";
const SOURCES: &str = "  - { dataset: visits, path: \"in/v*.csv\" }\n  - { dataset: labs, path: \"in/l*.csv\" }";

fn clinic(retention: &str) -> Folder {
    let folder = Folder::with(POLICY, SOURCES);
    fs::remove_file(folder.path().join("pipelines/nightly.yaml")).unwrap();
    folder.write("cordon.yaml", format!("{}\nretention:\n{retention}", folder.read("cordon.yaml")));
    folder.write("in/v1.csv", "patient,day,code\nP1,2014-01-02,a\nP2,2024-05-06,b\nP3,,c\n");
    folder.write("in/v2.csv", "patient,day,code\nP4,2015-03-04,d\nP5,2016-03-04,e\n");
    folder.write("in/l1.csv", "patient,value\nP1,1.5\nP3,CANARYmuch\n");
    folder
}

fn at(folder: &Folder, now: &str, args: &[&str]) -> Said {
    said(binary().args(args).current_dir(folder.path()).env("CORDON_NOW", now).output().unwrap())
}

fn killed(folder: &Folder, now: &str, point: &str, args: &[&str]) {
    let mut command = binary();
    command.args(args).current_dir(folder.path()).env("CORDON_NOW", now).env("CORDON_FAIL_AT", point);
    assert_eq!(said(command.output().unwrap()).code, -1, "{point} is never reached");
}

fn retain(folder: &Folder, now: &str) -> Value {
    at(folder, now, &["retain", "--format", "json", "-q"]).ok().json()
}

fn codes(folder: &Folder) -> String {
    let csv = folder.csv("SELECT code FROM visits ORDER BY code");
    csv.lines().skip(1).collect()
}

fn parts(folder: &Folder, table: &str) -> Vec<PathBuf> {
    let data = folder.path().join("warehouse").join(table).join("data");
    fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()).collect()
}

const PLACE: [&str; 9] =
    ["hold", "place", "case-7", "--as", "privacy-officer", "--reason", "litigation, case 7", "--tables", "visits"];
const RELEASE: [&str; 7] = ["hold", "release", "case-7", "--as", "privacy-officer", "--reason", "case 7 is closed"];
const RULE: &str = "  tables:\n    visits: { keep: 7y, by: day }\n";

#[test]
fn rows_past_their_retention_go_and_do_not_come_back() {
    let folder = clinic(RULE);
    at(&folder, "2021-01-01T00:00:00Z", &["run", "test", "-q"]).exits(3);
    let before = folder.everything();
    let dry = at(&folder, "2026-06-01T00:00:00Z", &["retain", "--dry-run", "--format", "json"]).ok().json();
    let told = &dry["tables"][0];
    assert_eq!((&told["past"], &told["rows"], &told["version"]), (&3.into(), &5.into(), &Value::Null));
    assert_eq!(folder.everything(), before, "a dry run changes nothing");
    assert!(folder.audit("rows_retired").is_empty());
    // What is not past it yet can be looked at, and not removed.
    let later = at(&folder, "2026-06-01T00:00:00Z", &["retain", "--dry-run", "--at", "2040-01-01", "--format", "json"]);
    assert_eq!(later.ok().json()["tables"][0]["past"], 5);
    at(&folder, "2026-06-01T00:00:00Z", &["retain", "--at", "2040-01-01"]).exits(2);

    retain(&folder, "2026-06-01T00:00:00Z");
    assert_eq!(codes(&folder), "bc", "a row without a date is as old as its commit");
    let event = &folder.audit("rows_retired")[0];
    assert_eq!((&event["rows"], &event["staying"], &event["by"]), (&3.into(), &2.into(), &"day".into()));
    assert_eq!(retain(&folder, "2026-06-01T00:00:00Z")["tables"][0]["past"], 0);
    folder.cordon(&["audit", "verify"]).ok();
    folder.cordon(&["tables", "verify"]).ok();
    // Files of old rows go from the disk in their time.
    let old = parts(&folder, "visits").len();
    retain(&folder, "2027-06-01T00:00:00Z");
    let new = parts(&folder, "visits");
    assert!(new.len() < old, "{old}");
    assert_encrypted(&new);
    assert_eq!(codes(&folder), "bc");

    // Neither with a run, nor when all is made again under another policy, nor when a file changes.
    let run = |day: &str, expected: &str| {
        let report = at(&folder, &format!("{day}T00:00:00Z"), &["run", "test", "--format", "json", "-q"]);
        assert!(matches!(report.code, 0 | 3), "{}", report.err);
        assert_eq!(codes(&folder), expected);
        report.json()
    };
    assert_eq!(run("2027-06-02", "bc")["files_read"], 0);
    folder.write("policies/test.yaml", format!("{POLICY}# edited\n"));
    let report = run("2027-06-02", "bc");
    assert_eq!(
        (&report["expired"]["visits"], &report["files_read"]),
        (&1.into(), &2.into()),
        "one file has nothing to read"
    );
    folder.write("in/v2.csv", "patient,day,code\nP4,2015-03-04,d\nP6,2026-01-01,f\n");
    assert_eq!(run("2027-06-02", "bcf")["expired"]["visits"], 1);
    // Content that stays as it was is as old as when it first came, and then is not read again.
    retain(&folder, "2032-06-01T00:00:00Z");
    assert_eq!(codes(&folder), "f");
    folder.write("policies/test.yaml", format!("{POLICY}# edited again\n"));
    fs::remove_file(folder.path().join("in/v1.csv")).unwrap();
    assert_eq!(run("2032-06-02", "f")["files_read"], 2);
    folder.cordon(&["audit", "verify"]).ok();
}

#[test]
fn a_removal_killed_at_each_of_its_steps_is_carried_on_from_there() {
    for (number, point) in
        ["copied", "prepared", "committing", "committed", "state", "recorded"].into_iter().enumerate()
    {
        let folder = clinic(RULE);
        at(&folder, "2021-01-01T00:00:00Z", &["run", "test", "-q"]).exits(3);
        killed(&folder, "2026-06-01T00:00:00Z", point, &["retain", "-q"]);
        let left = codes(&folder);
        assert!(left == "abcde" || left == "bc", "{point}: {left}");
        // Either command carries it on.
        if number % 2 == 0 {
            retain(&folder, "2026-06-01T00:00:00Z");
        } else {
            at(&folder, "2026-06-01T00:00:00Z", &["run", "test", "-q"]);
        }
        retain(&folder, "2026-06-01T00:00:00Z");
        assert_eq!(codes(&folder), "bc", "{point}");
        assert_eq!(
            at(&folder, "2026-06-01T00:00:00Z", &["run", "test", "--format", "json", "-q"]).ok().json()["files_read"],
            0
        );
        folder.cordon(&["audit", "verify"]).ok();
        folder.cordon(&["tables", "verify"]).ok();
    }
}

#[test]
fn a_hold_keeps_everything_and_no_file_ends_it() {
    let folder = clinic("  tables:\n    \"*\": { keep: 1y }\n  quarantine: 90d\n  run-reports: 90d\n");
    at(&folder, "2025-01-01T00:00:00Z", &["run", "test", "-q"]).exits(3);
    let copy = fs::read_dir(folder.path().join(".cordon/state")).unwrap().count();
    for (name, code) in [("engineer", 4), ("nobody", 4)] {
        let args: Vec<&str> = PLACE.iter().map(|word| if *word == "privacy-officer" { name } else { word }).collect();
        at(&folder, "2026-06-01T00:00:00Z", &args).exits(code);
        at(&folder, "2026-06-01T00:00:00Z", &["retain", "--as", name]).exits(code);
    }
    let misspelt: Vec<&str> = PLACE.iter().map(|word| if *word == "visits" { "vissits" } else { word }).collect();
    assert!(at(&folder, "2026-06-01T00:00:00Z", &misspelt).exits(2).err.contains("did you mean `visits`"));
    at(&folder, "2026-06-01T00:00:00Z", &PLACE).ok();
    at(&folder, "2026-06-01T00:00:00Z", &PLACE).exits(2);
    assert_eq!(
        at(&folder, "2026-06-01T00:00:00Z", &["hold", "list", "--format", "json"]).ok().json()[0]["name"],
        "case-7"
    );

    // Rows and old files, and what was put aside or told on the way there.
    folder.write("in/v2.csv", "patient,day,code\nP5,2012-03-04,z\n");
    at(&folder, "2026-06-01T00:00:00Z", &["run", "test", "-q"]).exits(0);
    let held = parts(&folder, "visits");
    let report = retain(&folder, "2029-06-01T00:00:00Z");
    for told in [&report["tables"][1], &report["quarantine"][0], &report["run_reports"][0]] {
        assert_eq!(told["held_by"][0], "case-7", "{report}");
    }
    assert_eq!(report["tables"][0]["version"], 2, "labs are under no hold");
    assert_eq!((codes(&folder).as_str(), parts(&folder, "visits")), ("abcz", held.clone()));
    assert_eq!(folder.cordon(&["quarantine", "list", "--format", "json"]).ok().json().as_array().unwrap().len(), 1);
    // Sealed state gone or put back to before the hold: the log is what counts.
    let state = folder.path().join(".cordon/state/holds.sealed");
    assert!(state.is_file() && copy > 0);
    fs::remove_file(&state).unwrap();
    retain(&folder, "2029-06-01T00:00:00Z");
    fs::write(&state, b"nothing").unwrap();
    retain(&folder, "2029-06-01T00:00:00Z");
    assert_eq!((codes(&folder).as_str(), parts(&folder, "visits")), ("abcz", held));
    // Settings do not end it either, and a run makes no exception.
    folder.write("cordon.yaml", folder.read("cordon.yaml").replace("keep: 1y", "keep: 1d"));
    folder.write("policies/test.yaml", format!("{POLICY}# edited\n"));
    at(&folder, "2029-06-02T00:00:00Z", &["run", "test", "-q"]).exits(3);
    assert_eq!(codes(&folder), "abcz");

    at(&folder, "2029-06-03T00:00:00Z", &RELEASE).ok();
    at(&folder, "2029-06-03T00:00:00Z", &RELEASE).exits(2);
    let report = retain(&folder, "2030-06-03T00:00:00Z");
    assert_eq!(
        (report["quarantine"][0]["removed"].as_bool(), report["run_reports"][0]["removed"].as_bool()),
        (Some(true), Some(true))
    );
    assert_eq!(folder.count("SELECT count(*) FROM visits"), 0);
    assert_eq!(folder.cordon(&["quarantine", "list", "--format", "json"]).ok().json().as_array().unwrap().len(), 0);
    assert_eq!(fs::read_dir(folder.path().join(".cordon/quarantine/test")).unwrap().count(), 0);
    let event = &folder.audit("quarantine_retired")[0];
    assert_eq!(event["records"], 1);
    assert_eq!(event["reasons"].as_object().unwrap().values().next().unwrap(), 1);
    assert!(!event.to_string().contains("CANARY"));
    folder.cordon(&["audit", "verify"]).ok();
}

#[test]
fn a_hold_that_comes_after_the_decision_stops_it() {
    for point in ["prepared", "committing"] {
        for next in [&["retain", "-q"][..], &["run", "test", "-q"]] {
            let folder = clinic(RULE);
            at(&folder, "2021-01-01T00:00:00Z", &["run", "test", "-q"]).exits(3);
            killed(&folder, "2026-06-01T00:00:00Z", point, &["retain", "-q"]);
            at(&folder, "2026-06-01T00:00:00Z", &PLACE).ok();
            at(&folder, "2026-06-01T00:00:00Z", next);
            assert_eq!(codes(&folder), "abcde", "{point} {next:?}");
            folder.cordon(&["audit", "verify"]).ok();
            at(&folder, "2026-06-01T00:00:00Z", &RELEASE).ok();
            retain(&folder, "2026-06-01T00:00:00Z");
            assert_eq!(codes(&folder), "bc", "{point} {next:?}");
            folder.cordon(&["audit", "verify"]).ok();
        }
    }
}

#[test]
fn a_log_that_was_changed_lets_nothing_go() {
    let folder = clinic(RULE);
    at(&folder, "2021-01-01T00:00:00Z", &["run", "test", "-q"]).exits(3);
    at(&folder, "2026-06-01T00:00:00Z", &PLACE).ok();
    for _ in 0..3 {
        at(&folder, "2026-06-01T00:00:00Z", &["hold", "list"]).ok();
    }
    let log = folder.path().join(".cordon/audit/audit-00000001.log");
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, bytes).unwrap();
    at(&folder, "2026-06-01T00:00:00Z", &["retain"]).exits(7);
    assert_eq!(codes(&folder), "abcde");
}

#[test]
fn settings_that_cannot_be_meant_are_refused() {
    let refused = |retention: &str, words: &[&str]| {
        let folder = clinic(retention);
        let said = folder.cordon(&["policy", "check"]).exits(2);
        for word in words {
            assert!(said.err.contains(word), "{word}: {}", said.err);
        }
        folder.cordon(&["retain", "--dry-run"]).exits(2);
    };
    refused("  audit: 5y\n", &["cordon.yaml:", "164.316(b)(2)(i)", "164.528(a)(1)"]);
    refused("  tables:\n    vissits: { keep: 7y }\n", &["no table `vissits`", "visits"]);
    refused("  tables:\n    visits: { keep: 7y, by: date }\n", &["no column `date`", "day"]);
    refused("  tables:\n    visits: { keep: seven years }\n", &["write a number and a unit"]);
    refused("  tables:\n    Visits: { keep: 7y }\n", &["names no table"]);
    refused("  versions: 1y\n", &["hours or days"]);
    // Of a column that is no date that is said once there is one.
    let folder = clinic("  tables:\n    visits: { keep: 7y, by: patient }\n");
    at(&folder, "2021-01-01T00:00:00Z", &["run", "test", "-q"]).exits(2);
}

/// What a clock, settings and holds say of each row, by an account of its own.
#[test]
fn nothing_younger_than_its_retention_ever_goes() {
    let mut seed = 20_261_126_u64;
    let mut below = |limit: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % limit
    };
    let folder = clinic("  tables:\n    visits: { keep: 3y, by: day }\n    labs: { keep: 2y }\n");
    let (mut visits, mut labs) = (Vec::new(), Vec::new());
    for name in ["in/v1.csv", "in/v2.csv", "in/l1.csv"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    let mut held: Option<u64> = None;
    for year in 2018..2026 {
        let mut text = "patient,day,code\n".to_owned();
        for row in 0..=below(8) {
            let code = format!("c{year}x{row}");
            let of = (below(5) > 0).then(|| year - below(6));
            let day = of.map_or_else(String::new, |of| format!("{of}-{:02}-{:02}", 1 + below(12), 1 + below(28)));
            text += &format!("P{row},{day},{code}\n");
            // What is past it when it comes is not written, unless a hold is on the table.
            let of = of.unwrap_or(year);
            if held.is_some() || of + 3 >= year {
                visits.push((code, of));
            }
        }
        folder.write(&format!("in/v{year}.csv"), text);
        folder.write(&format!("in/l{year}.csv"), format!("patient,value\nP1,{year}\n"));
        labs.push(year);
        let now = format!("{year}-12-31T00:00:00Z");
        at(&folder, &now, &["run", "test", "-q"]).ok();
        match (held, below(3)) {
            (None, 0) => {
                at(&folder, &now, &PLACE).ok();
                held = Some(year);
            }
            (Some(_), 0) => {
                at(&folder, &now, &RELEASE).ok();
                held = None;
            }
            _ => {}
        }
        retain(&folder, &now);
        // All dates end with their year, as commits do: of the year three years back the last day is not past yet.
        if held.is_none() {
            visits.retain(|(_, of)| of + 3 >= year);
        }
        labs.retain(|of| of + 2 >= year);
        let got: BTreeSet<String> = folder.csv("SELECT code FROM visits").lines().skip(1).map(str::to_owned).collect();
        let young: BTreeSet<String> = visits.iter().map(|(code, _)| code.clone()).collect();
        assert_eq!(got, young, "{year}, held: {held:?}");
        assert_eq!(folder.count("SELECT count(*) FROM labs"), labs.len() as i64, "{year}");
    }
    folder.cordon(&["audit", "verify"]).ok();
    folder.cordon(&["tables", "verify"]).ok();
}
