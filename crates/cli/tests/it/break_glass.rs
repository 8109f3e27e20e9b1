//! Reading in an emergency: at once, with a reason, on the record, and reviewed by somebody else.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use serde_json::Value;

use crate::support::Folder;

const EMERGENCY: [&str; 9] = [
    "sql",
    "SELECT day, code FROM visits ORDER BY day",
    "--as",
    "dana",
    "--purpose",
    "emergency",
    "--reason",
    "unconscious in the emergency room",
    "--format=csv",
];

fn folder() -> Folder {
    let policy = "
policy: test
method: safe-harbor
datasets:
  visits:
    subject: patient
    fields:
      patient: { kind: medical-record-number }
      day: { kind: service-date }
      code: { kind: clinical }
";
    let folder = Folder::with(policy, "  - { dataset: visits, path: in/visits.csv }");
    folder.write("in/visits.csv", "patient,day,code\np1,2020-01-02,E11\np2,2021-05-06,I10\n");
    folder.access(
        "access:
  roles:
    - name: clinician
      grants:
        - { datasets: [visits], columns: [code], purposes: [treatment] }
        - { datasets: [visits], columns: [code, day], purposes: [emergency] }
    - name: clerk
      grants:
        - { datasets: [visits], columns: [code], purposes: [payment] }
    - name: reviewer
      actions:
        - { allow: [review-access], purposes: [operations] }
  users:
    - { name: dana, roles: [clinician, reviewer] }
    - { name: carl, roles: [clerk] }
    - { name: rita, roles: [reviewer] }
  break-glass: { review-within: 1s }
",
    );
    folder.run_json("test", 0);
    folder
}

fn open_reviews(folder: &Folder) -> Vec<Value> {
    let listed = folder.cordon(&["access", "review", "--format", "json"]).ok().json();
    listed.as_array().unwrap().clone()
}

fn close<'a>(query: &'a str, user: &'a str) -> [&'a str; 10] {
    let reason = "looked at the chart with the ward";
    ["access", "review", "close", query, "--as", user, "--outcome", "justified", "--reason", reason]
}

#[test]
fn an_emergency_opens_what_is_granted_for_it_and_is_reviewed_by_another() {
    let folder = folder();
    // Without the emergency the day is not there, and it takes a reason.
    let treatment = ["sql", "SELECT day FROM visits", "--as", "dana", "--purpose", "treatment"];
    assert_eq!(folder.cordon(&treatment).code, 2);
    for reason in [None, Some("help"), Some("        ")] {
        let mut args: Vec<&str> = EMERGENCY[..6].to_vec();
        args.extend(reason.iter().flat_map(|reason| ["--reason", reason]));
        let said = folder.cordon(&args);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{}", said.err);
    }
    assert!(open_reviews(&folder).is_empty());

    assert_eq!(folder.cordon(&EMERGENCY).ok().out, "day,code\n2020,E11\n2021,I10\n");
    let open = open_reviews(&folder);
    let query = open[0]["query"].as_str().unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0]["user"].as_str(), open[0]["datasets"][0].as_str()), (Some("dana"), Some("visits")));
    assert_eq!(open[0]["reason"], "unconscious in the emergency room");
    let entries = folder.cordon(&["audit", "list", "--kind", "break_glass", "--format", "json"]).ok().json();
    assert_eq!(entries[0]["event"]["query"], query);

    // Nobody closes their own, whoever has no right closes none, and what does not exist is not closed.
    assert_eq!(folder.cordon(&close(query, "dana")).code, 4);
    assert_eq!(folder.cordon(&close(query, "DANA")).code, 4);
    assert_eq!(folder.cordon(&close(query, "carl")).code, 4);
    assert_eq!(folder.cordon(&close("no-such-query", "rita")).code, 4);
    let mut without_reason = close(query, "rita");
    without_reason[9] = "ok";
    assert_eq!(folder.cordon(&without_reason).code, 2);
    assert_eq!(open_reviews(&folder).len(), 1);

    folder.cordon(&close(query, "rita")).ok();
    assert!(open_reviews(&folder).is_empty());
    assert_eq!(folder.cordon(&close(query, "rita")).code, 4, "closed once");
    let all = folder.cordon(&["access", "review", "--all", "--format", "json"]).ok().json();
    assert_eq!(
        (all[0]["review"]["by"].as_str(), all[0]["review"]["outcome"].as_str()),
        (Some("rita"), Some("justified"))
    );
}

#[test]
fn the_watchman_is_told_at_once_and_holds_nobody_up() {
    let folder = folder();
    let watchman = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = watchman.local_addr().unwrap().port();
    let config = folder.read("cordon.yaml");
    let with = |port: u16| {
        let alert = format!("review-within: 1s, alert: {{ url: \"http://127.0.0.1:{port}/alerts\" }}");
        folder.write("cordon.yaml", config.replace("review-within: 1s", &alert));
    };
    with(port);
    let told = thread::spawn(move || {
        let (mut stream, _) = watchman.accept().unwrap();
        let mut text = String::new();
        let mut piece = [0; 4096];
        while !text.ends_with('}') {
            let count = stream.read(&mut piece).unwrap();
            assert!(count > 0, "{text}");
            text.push_str(std::str::from_utf8(&piece[..count]).unwrap());
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
        text
    });
    folder.cordon(&EMERGENCY).ok();
    let told = told.join().unwrap();
    let (head, body) = told.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /alerts"), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((body["event"].as_str(), body["user"].as_str()), (Some("break_glass"), Some("dana")));
    assert_eq!(
        (&body["query"], &body["datasets"]),
        (&open_reviews(&folder)[0]["query"], &serde_json::json!(["visits"]))
    );
    assert!(!told.contains("unconscious"), "a reason may name a patient");
    // A watchman who is away, or not to be trusted with it: the rows come all the same, and the record says that nobody was told.
    with(1);
    assert_eq!(folder.cordon(&EMERGENCY).ok().out, "day,code\n2020,E11\n2021,I10\n");
    folder.write("cordon.yaml", folder.read("cordon.yaml").replace("127.0.0.1:1", "watch.example"));
    folder.cordon(&EMERGENCY).ok();
    let entries = folder.cordon(&["audit", "list", "--kind", "alerted", "--format", "json"]).ok().json();
    let outcomes: Vec<&str> =
        entries.as_array().unwrap().iter().map(|entry| entry["event"]["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["done", "failed", "failed"]);
}

#[test]
fn a_grant_for_other_purposes_opens_nothing_in_an_emergency() {
    let folder = folder();
    let mut carl = EMERGENCY;
    carl[3] = "carl";
    let said = folder.cordon(&carl);
    assert_eq!((said.code, said.out.as_str()), (4, ""), "{}", said.err);
    assert!(open_reviews(&folder).is_empty(), "nothing was read");
}

#[test]
fn what_waits_too_long_is_overdue_and_no_file_takes_it_off_the_list() {
    let folder = folder();
    folder.cordon(&EMERGENCY).ok();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(open_reviews(&folder)[0]["overdue"], true);
    assert_eq!(folder.cordon(&["access", "review", "--check"]).code, 4);
    let state = folder.path().join(".cordon/state/emergencies.sealed");
    let older = std::fs::read(&state).unwrap();
    let query = open_reviews(&folder)[0]["query"].as_str().unwrap().to_owned();
    folder.cordon(&close(&query, "rita")).ok();
    folder.cordon(&["access", "review", "--check"]).ok();
    // Put back to before the review, or gone: the log is what counts.
    std::fs::write(&state, older).unwrap();
    assert!(open_reviews(&folder).is_empty());
    std::fs::remove_file(&state).unwrap();
    assert!(open_reviews(&folder).is_empty());
}
