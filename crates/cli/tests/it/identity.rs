//! One person under many identifiers: one token, one shift and one name in every format and run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::Folder;

const POLICY: &str = "
policy: test
method: expert-determination
expert: { name: x, document: y }
datasets:
  people:
    subject: id
    fields:
      id: { kind: unique-id, action: token, domain: patient }
      mrn: { kind: medical-record-number, action: token, domain: mrn, optional: true }
      ssn: { kind: ssn, action: drop, optional: true }
      first: { kind: name, action: surrogate, surrogate: first-name }
      born: { kind: birth-date, action: shift-date }
      row: { kind: operational }
  visits:
    subject: mrn
    fields:
      mrn: { kind: medical-record-number, action: token, domain: mrn }
      day: { kind: service-date, action: shift-date }
      row: { kind: operational }
  hl7:
    hl7v2:
      types:
        XPN.2: { kind: name, action: surrogate, surrogate: first-name }
        CX: { kind: medical-record-number, action: token, domain: mrn }
        CX.5: { kind: operational }
        TS.1: { kind: service-date, action: shift-date }
      elements:
        MSH-10: { kind: operational, action: keep, because: numbers of a test }
";

const SOURCES: &str = "
  - { dataset: people, path: \"in/people*.csv\", identity: { id: patient, mrn: mrn, ssn: ssn } }
  - { dataset: visits, path: \"in/visits*.csv\", optional: true, identity: { mrn: mrn } }
  - { dataset: hl7, path: \"in/*.hl7\", optional: true, identity: { \"PID-3[MR]\": mrn, PID-19: ssn, \"MRG-1\": mrn } }
";

fn message(number: &str, kind: &str, pid: &str, more: &str) -> String {
    format!("MSH|^~\\&|||||||{kind}|{number}||2.5\r{pid}\r{more}")
}

fn text(row: &Value, column: &str) -> String {
    row[column].as_str().unwrap_or_else(|| panic!("no {column} in {row}")).to_owned()
}

/// Of each row its subject's token.
fn tokens(folder: &Folder, query: &str) -> BTreeMap<String, String> {
    folder.sql(query).iter().map(|row| (text(row, "row"), text(row, "token"))).collect()
}

const PEOPLE: &str = "SELECT row, id AS token FROM people";
const VISITS: &str = "SELECT row, mrn AS token FROM visits";
#[test]
fn identifiers_of_one_person_give_one_token_one_shift_and_one_name() {
    let folder = Folder::with(POLICY, SOURCES);
    folder.write("in/people.csv", "id,mrn,ssn,first,born,row\np1,M-1,219-09-9999,Ann,1950-01-01,a\np2,M-2,000-00-0000,Bob,1960-01-01,b\np3,,000-00-0000,Cy,1970-01-01,c\n");
    folder.write(
        "in/visits.csv",
        "mrn,day,row\nM-1,2020-01-01,a\nM1,2020-01-01,a2\nM-2,2020-01-01,b\nM-9,2020-01-01,z\n",
    );
    // Only the number of the social security says that this is p1.
    folder
        .write("in/a.hl7", message("a", "ADT^A01", "PID|||M-77^^^H^MR||Doe^Annie||19500101||||||||||||219099999", ""));
    let report = folder.run_json("test", 0);
    assert_eq!((&report["quarantined"], &report["people_joined"]), (&Value::from(0), &Value::from(0)));
    let people = tokens(&folder, PEOPLE);
    let visits = tokens(&folder, VISITS);
    assert_eq!(people.values().collect::<BTreeSet<_>>().len(), 3, "a missing number joins nobody");
    assert_eq!((&visits["a"], &visits["a2"]), (&people["a"], &people["a"]));
    assert_eq!(visits["b"], people["b"]);
    assert!(!people.values().any(|token| *token == visits["z"]));
    let pid = folder.sql(
        "SELECT pid_3_patient_identifier_list AS id, pid_5_2_given_name AS first, pid_7_date_time_of_birth AS born FROM hl7_pid",
    );
    assert!(text(&pid[0], "id").contains(&people["a"]));

    // The same shift and the same name, which no identifier alone seeds.
    let shifted = |query: &str| text(&folder.sql(query)[0], "v");
    let born = shifted("SELECT CAST(born AS VARCHAR) AS v FROM people WHERE row = 'a'").replace('-', "");
    assert_eq!(text(&pid[0], "born"), born);
    assert_ne!(born, "19500101");
    assert_eq!(text(&pid[0], "first"), shifted("SELECT first AS v FROM people WHERE row = 'a'"));
    let a = shifted("SELECT CAST(day AS VARCHAR) AS v FROM visits WHERE row = 'a'");
    assert_eq!(a, shifted("SELECT CAST(day AS VARCHAR) AS v FROM visits WHERE row = 'a2'"));
    assert_ne!(a, shifted("SELECT CAST(day AS VARCHAR) AS v FROM visits WHERE row = 'b'"));

    let again = folder.run_json("test", 0);
    assert_eq!(again["files_read"], 0, "nothing is made again for nothing");
}

#[test]
fn a_link_that_comes_later_joins_what_was_written_before() {
    for merge in [
        message("m", "ADT^A40", "PID|||M-1^^^H^MR", "MRG|M-2^^^H^MR\r"),
        message("m", "ADT^A34", "PID|||M-2^^^H^MR", "MRG|M-1^^^H^MR\r"),
    ] {
        let folder = Folder::with(POLICY, SOURCES);
        folder.write(
            "in/people.csv",
            "id,mrn,ssn,first,born,row\np1,M-1,,Ann,1950-01-01,a\np2,M-2,,Ann,1950-01-01,b\np3,M-3,,Ann,1950-01-01,c\n",
        );
        folder.write("in/visits.csv", "mrn,day,row\nM-1,2020-01-01,a\nM-2,2020-01-01,b\nM-3,2020-01-01,c\n");
        folder.run_json("test", 0);
        let before = tokens(&folder, PEOPLE);
        assert_eq!(before.values().collect::<BTreeSet<_>>().len(), 3);

        folder.write("in/later.hl7", &merge);
        let report = folder.run_json("test", 0);
        assert_eq!(report["people_joined"], 1, "{report}");
        let (people, visits) = (tokens(&folder, PEOPLE), tokens(&folder, VISITS));
        assert_eq!(people["a"], people["b"]);
        assert_eq!((&visits["a"], &visits["b"]), (&people["a"], &people["a"]));
        assert!([&before["a"], &before["b"]].contains(&&people["a"]), "one of the tokens that were known stays");
        assert_eq!((&people["c"], &visits["c"]), (&before["c"], &before["c"]));
        let days = folder.sql("SELECT DISTINCT CAST(day AS VARCHAR) AS v FROM visits WHERE row IN ('a', 'b')");
        assert_eq!(days.len(), 1, "dates move by the one person's days");
        assert_eq!(folder.count("SELECT count(*) FROM people"), 3, "no row came twice");
        folder.cordon(&["audit", "verify"]).ok();
    }
}

#[test]
fn rows_of_files_that_are_gone_stay_and_are_told_of() {
    let folder = Folder::with(POLICY, SOURCES);
    folder.write("in/people1.csv", "id,mrn,ssn,first,born,row\np1,M-1,,Ann,1950-01-01,a\n");
    folder.write("in/people2.csv", "id,mrn,ssn,first,born,row\np2,M-2,,Ann,1950-01-01,b\n");
    folder.run_json("test", 0);
    std::fs::remove_file(folder.path().join("in/people1.csv")).unwrap();
    folder.write("in/later.hl7", message("m", "ADT^A40", "PID|||M-1^^^H^MR", "MRG|M-2^^^H^MR\r"));
    let report = folder.run_json("test", 0);
    assert_eq!((&report["people_joined"], &report["files_unjoined"]), (&Value::from(1), &Value::from(1)));
    assert_eq!(folder.count("SELECT count(*) FROM people"), 2);
    // The file is put back, and its rows are joined.
    folder.write("in/people1.csv", "id,mrn,ssn,first,born,row\np1,M-1,,Ann,1950-01-01,a\n");
    let report = folder.run_json("test", 0);
    assert_eq!(report["files_unjoined"], 0);
    assert_eq!(folder.count("SELECT count(*) FROM people"), 2);
    assert_eq!(folder.count("SELECT count(DISTINCT id) FROM people"), 1);
}

#[test]
fn another_pipeline_that_shares_the_vault_follows() {
    let folder =
        Folder::with(POLICY, "  - { dataset: people, path: \"in/people*.csv\", identity: { id: patient, mrn: mrn } }");
    folder.write(
        "pipelines/other.yaml",
        "pipeline: other\npolicy: test\nsink: { prefix: o_ }\nsources:\n  - { dataset: visits, path: \"in/visits*.csv\" }\n",
    );
    folder.write("in/people.csv", "id,mrn,ssn,first,born,row\np1,M-1,,Ann,1950-01-01,a\np2,M-2,,Ann,1950-01-01,b\n");
    folder.write("in/visits.csv", "mrn,day,row\nM-1,2020-01-01,a\nM-2,2020-01-01,b\n");
    folder.run_json("other", 0);
    folder.run_json("test", 0);
    folder.write("in/people3.csv", "id,mrn,ssn,first,born,row\np1,M-2,,Ann,1950-01-01,c\n");
    assert_eq!(folder.run_json("test", 0)["people_joined"], 1);
    folder.run_json("other", 0);
    let of = |query: &str| tokens(&folder, query).into_values().collect::<BTreeSet<_>>();
    assert_eq!(of("SELECT row, mrn AS token FROM o_visits"), of(PEOPLE));
    assert_eq!(of(PEOPLE).len(), 1);
}

#[test]
fn mistakes_say_what_would_be_right() {
    for (identity, want) in [
        ("{ id: patient, mrnn: mrn }", "did you mean `mrn`"),
        ("{ mrn: mrn }", "leaves out `id`"),
        ("{ id: person }", "one person would have two tokens"),
    ] {
        let sources = format!("  - {{ dataset: people, path: \"in/*.csv\", identity: {identity} }}");
        let folder = Folder::with(POLICY, &sources);
        let said = folder.cordon(&["run", "test"]).exits(2);
        assert!(said.err.contains(want), "{identity}: {}", said.err);
    }
}

#[test]
fn a_run_that_is_killed_at_any_step_comes_to_the_same() {
    let fill = |folder: &Folder| {
        folder
            .write("in/people.csv", "id,mrn,ssn,first,born,row\np1,M-1,,Ann,1950-01-01,a\np2,M-2,,Bob,1960-01-01,b\n");
        folder.write("in/visits.csv", "mrn,day,row\nM-1,2020-01-01,a\nM-2,2020-01-01,b\n");
        folder.write("in/later.hl7", message("m", "ADT^A40", "PID|||M-1^^^H^MR", "MRG|M-2^^^H^MR\r"));
    };
    for step in ["learned", "unit", "journaled", "prepared"] {
        let folder = Folder::with(POLICY, SOURCES);
        fill(&folder);
        let killed = crate::support::binary()
            .args(["run", "test", "-q"])
            .current_dir(folder.path())
            .env("CORDON_FAIL_AT", step)
            .output()
            .unwrap();
        assert!(!killed.status.success(), "{step}");
        // Read is on the record, whether or not anything was written.
        let (read, begun) = (folder.audit("learning_started"), folder.audit("run_started"));
        assert_eq!((read.len(), begun.len()), (1, usize::from(step != "learned")), "{step}");
        assert_eq!(read[0]["sources"]["count"], 3, "{step}");
        assert!(begun.iter().all(|begun| begun["run"] == read[0]["run"]), "{step}");
        folder.run_json("test", 0);
        let (people, visits) = (tokens(&folder, PEOPLE), tokens(&folder, VISITS));
        assert_eq!(people.values().chain(visits.values()).collect::<BTreeSet<_>>().len(), 1, "{step}");
        assert_eq!(folder.count("SELECT count(*) FROM visits"), 2, "{step}");
    }
}

#[test]
fn what_nobody_could_put_on_the_record_is_not_read() {
    let folder = Folder::with(POLICY, SOURCES);
    folder.write("in/people.csv", "id,mrn,ssn,first,born,row\np1,M-1,,Ann,1950-01-01,a\n");
    let audit = folder.path().join(".cordon/audit");
    std::fs::rename(&audit, folder.path().join("moved")).unwrap();
    std::fs::write(&audit, "no folder").unwrap();
    assert_ne!(folder.cordon(&["run", "test"]).code, 0);
    std::fs::remove_file(&audit).unwrap();
    std::fs::rename(folder.path().join("moved"), &audit).unwrap();
    assert!(folder.audit("learning_started").is_empty());
    assert_eq!(folder.run_json("test", 0)["rows_in"], 1);
}

#[test]
fn messages_of_one_person_are_found_by_any_of_their_numbers() {
    let folder = Folder::with(POLICY, SOURCES);
    folder.write("in/people.csv", "id,mrn,ssn,first,born,row\np1,M-1,219-09-9999,Ann,1950-01-01,a\n");
    let all = [
        message("1", "ADT^A01", "PID|||M-1^^^H^MR||D^A", ""),
        message("2", "ADT^A01", "PID|||M-5^^^H^MR||D^A||||||||||||||219-09-9999", ""),
        message("3", "ADT^A01", "PID|||M-5^^^H^MR||D^A", ""),
        message("4", "ADT^A01", "PID|||M-6^^^H^MR||D^A", ""),
    ];
    folder.write("in/all.hl7", all.concat());
    folder.run_json("test", 0);
    let rows: BTreeSet<String> =
        folder.sql("SELECT pid_3_patient_identifier_list AS v FROM hl7_pid").iter().map(|row| text(row, "v")).collect();
    let token = &tokens(&folder, PEOPLE)["a"];
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows.iter().any(|row| row.contains(token.as_str())), "{rows:?}");
}
