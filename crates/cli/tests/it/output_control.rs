//! Datasets of which only aggregates leave, from the pipeline that marks whose a row is to the record of what was withheld.

use std::fmt::Write as _;
use std::fs;

use crate::support::Folder;

/// Thirty persons in ward a, three in b, fifteen in c; each has two stays.
fn folder(control: &str) -> Folder {
    let policy = "
policy: test
method: safe-harbor
datasets:
  stays:
    subject: patient
    fields:
      patient: { kind: medical-record-number }
      ward: { kind: clinical }
      days: { kind: clinical, type: integer }
  wards:
    fields:
      ward: { kind: clinical }
";
    let folder =
        Folder::with(policy, "  - { dataset: stays, path: in/stays.csv }\n  - { dataset: wards, path: in/wards.csv }");
    let mut stays = "patient,ward,days\n".to_owned();
    let mut number = 0;
    for (ward, count) in [("a", 30), ("b", 3), ("c", 15)] {
        for _ in 0..count {
            number += 1;
            writeln!(stays, "mrn{number},{ward},{}\nmrn{number},{ward},{}", number % 14 + 1, number % 9 + 1).unwrap();
        }
    }
    folder.write("in/stays.csv", stays);
    folder.write("in/wards.csv", "ward\na\nb\nc\n");
    folder.access(&format!(
        "access:
  roles:
    - name: research
      grants:
        - {{ datasets: [\"*\"], columns: [ward, days], purposes: [research] }}
    - name: engineering
      grants:
        - {{ datasets: [\"*\"], columns: [\"*\"], purposes: [operations, research] }}
  users:
    - {{ name: ana, roles: [research] }}
    - {{ name: ben, roles: [research] }}
    - {{ name: engineer, roles: [engineering] }}
  output-control:
{control}"
    ));
    folder.run_json("test", 0);
    folder
}

const STAYS: &str = "    - { datasets: [stays] }\n";

fn ask(folder: &Folder, user: &str, sql: &str) -> crate::support::Said {
    folder.cordon(&["sql", sql, "--as", user, "--purpose", "research", "--format", "csv"])
}

#[test]
fn small_groups_stay_and_the_record_says_so() {
    let folder = folder(STAYS);
    let by_ward = "SELECT ward, count(*) AS stays, avg(days) AS days FROM stays GROUP BY ward ORDER BY ward";
    let said = ask(&folder, "ana", by_ward).ok();
    let wards: Vec<&str> = said.out.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(wards, ["a", "c"], "{}", said.out);
    assert!(said.out.contains("a,60,") && said.out.contains("c,30,"), "{}", said.out);
    // The same is told whether there was anything to withhold or not.
    let table = |sql: &str| folder.cordon(&["sql", sql, "--as", "ana", "--purpose", "research"]).ok().err;
    let told = table(by_ward);
    assert!(told.contains("fewer than 11 persons"), "{told}");
    assert_eq!(told, table("SELECT ward, count(*) FROM stays WHERE ward = 'a' GROUP BY ward"));
    let finished = folder.audit("query_finished");
    let first = &finished[0]["withheld"];
    assert_eq!((&first["released"], &first["small"], &first["complementary"]), (&2.into(), &1.into(), &0.into()));
    // Of other datasets rows leave, and nothing is said.
    let free = folder.cordon(&["sql", "SELECT ward FROM wards", "--as", "ana", "--purpose", "research"]).ok();
    assert!(!free.err.contains("persons"), "{}", free.err);
    assert!(folder.audit("query_finished").last().unwrap()["withheld"].is_null());
}

#[test]
fn rows_and_differences_are_refused_and_that_is_on_the_record() {
    let folder = folder(STAYS);
    let refused = ask(&folder, "ana", "SELECT * FROM stays").exits(4);
    assert!(refused.err.contains("only aggregates may leave"), "{}", refused.err);
    assert_eq!(folder.audit("query_failed").last().unwrap()["what"], "output control");
    assert_eq!(folder.audit("access_denied").last().unwrap()["dataset"], "stays");
    // Nobody is exempt, for whatever purpose.
    ask(&folder, "engineer", "SELECT patient FROM stays").exits(4);
    folder.cordon(&["sql", "SELECT patient FROM stays", "--as", "engineer", "--purpose", "operations"]).exits(4);

    assert_eq!(ask(&folder, "ana", "SELECT count(*) AS n FROM stays").ok().out, "n\n96\n");
    let refused = ask(&folder, "ana", "SELECT count(*) AS n FROM stays WHERE ward <> 'b'").exits(4);
    assert!(refused.err.contains("differ from an earlier one") && refused.out.is_empty(), "{}", refused.all());
    assert_eq!(folder.audit("query_failed").last().unwrap()["what"], "output control: difference");
    // Another user's memory is another.
    assert_eq!(ask(&folder, "ben", "SELECT count(*) AS n FROM stays WHERE ward <> 'b'").ok().out, "n\n90\n");
    ask(&folder, "ben", "SELECT count(*) AS n FROM stays").exits(4);
}

#[test]
fn what_is_remembered_is_sealed_and_without_it_nothing_leaves() {
    let folder = folder(STAYS);
    ask(&folder, "ana", "SELECT count(*) FROM stays").ok();
    // New keys: what was remembered is sealed again and still held against.
    folder.cordon(&["keys", "rotate", "--purpose", "seal"]).ok();
    ask(&folder, "ana", "SELECT count(*) FROM stays WHERE ward <> 'b'").exits(4);
    assert_eq!(folder.audit("query_failed").last().unwrap()["what"], "output control: difference");
    let memories: Vec<_> = folder
        .written()
        .into_iter()
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("output-memory-"))
        .collect();
    let [memory] = memories.as_slice() else { panic!("{memories:?}") };
    assert!(!memory.to_string_lossy().contains("ana"));
    let mut bytes = fs::read(memory).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(memory, &bytes).unwrap();
    let refused = ask(&folder, "ana", "SELECT count(*) FROM stays").exits(4);
    assert!(refused.err.contains("cannot be read") && refused.out.is_empty(), "{}", refused.all());
    assert_eq!(folder.audit("query_failed").last().unwrap()["what"], "output control: memory");
    ask(&folder, "ben", "SELECT count(*) FROM stays").ok();
}

/// One user's memory that is long compared keeps nobody else waiting, and a rotation of keys waits for all of them.
#[test]
fn each_user_has_a_lock() {
    let folder = folder(STAYS);
    ask(&folder, "ana", "SELECT count(*) FROM stays").ok();
    let name = |path: &std::path::Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let written = folder.written();
    let of = |start: &str| -> Vec<_> {
        written.iter().filter(|path| name(path).starts_with(start) && name(path).ends_with("lock")).collect()
    };
    let (locks, all) = (of("output-memory."), of("output-memory.lock"));
    let [lock] = locks.iter().filter(|path| !all.contains(path)).collect::<Vec<_>>()[..] else { panic!("{locks:?}") };
    let held = fs::File::open(lock).unwrap();
    held.lock().unwrap();
    ask(&folder, "ben", "SELECT count(*) FROM stays").ok();
    let refused = ask(&folder, "ana", "SELECT count(*) FROM stays").exits(4);
    assert!(refused.err.contains("is in use"), "{}", refused.err);
    drop(held);
    ask(&folder, "ana", "SELECT count(*) FROM stays").ok();
    // Shared with no one while keys are changed.
    let held = fs::File::open(all[0]).unwrap();
    held.lock_shared().unwrap();
    ask(&folder, "ben", "SELECT count(*) FROM stays").ok();
    folder.cordon(&["keys", "rotate", "--purpose", "seal"]).exits(8);
    drop(held);
    folder.cordon(&["keys", "rotate", "--purpose", "seal"]).ok();
}

#[test]
fn tables_without_a_subject_have_no_answer_and_rules_are_checked() {
    let folder = folder("    - { datasets: [\"*\"], smallest-group: 20, rounding: 5, remember: 7d }\n");
    let refused = ask(&folder, "ana", "SELECT count(*) FROM wards").exits(4);
    assert!(refused.err.contains("which column says whose a row is"), "{}", refused.err);
    // Thirty have sixty stays; fifteen are fewer than twenty.
    assert_eq!(ask(&folder, "ana", "SELECT ward, count(*) AS n FROM stays GROUP BY ward").ok().out, "ward,n\na,60\n");
    let config = folder.read("cordon.yaml");
    for (wrong, said) in [
        ("smallest-group: 1", "from 2 to 1000"),
        ("smallest-group: 20, rounding: 1", "multiples of 2 to 100"),
        ("smallest-group: 20, rounding: 5, remember: 99d", ""),
        ("exempt: [ana]", "exempt"),
    ] {
        folder.write("cordon.yaml", config.replace("smallest-group: 20, rounding: 5, remember: 7d", wrong));
        let refused = ask(&folder, "ana", "SELECT count(*) FROM stays").exits(2);
        assert!(refused.err.contains(said), "{wrong}: {}", refused.err);
    }
}
