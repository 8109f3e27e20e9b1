//! What leads back to persons takes a right of its own, which no grant to read implies.

use std::io::Write;
use std::process::Stdio;

use crate::support::{Folder, Said, binary, said};

const POLICY: &str = "
policy: test
method: safe-harbor
datasets:
  visits:
    subject: patient
    fields:
      patient: { kind: medical-record-number }
      day: { kind: service-date }
";

/// With the roles that every new project has. The analyst sees all there is: only documents have a column to hide.
fn folder(rows: &str) -> Folder {
    let folder = Folder::with(POLICY, "  - { dataset: visits, path: in/a.csv }");
    folder.write("in/a.csv", format!("patient,day\n{rows}"));
    folder
}

fn unwrap_dek(folder: &Folder, user: &str, purpose: &str, wrapped: &str) -> Said {
    let mut child = binary()
        .args(["keys", "unwrap-dek", "--master-key", "cordon-footer.v1", "--as", user, "--purpose", purpose])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who is denied does not wait for the key.
    let _ = child.stdin.take().unwrap().write_all(wrapped.as_bytes());
    said(child.wait_with_output().unwrap())
}

/// Asking is where the right is needed; who approves is in `token.rs`.
fn ask(folder: &Folder, token: &str, user: &str, purpose: &str) -> Said {
    let reason = "a patient's own request";
    let about = ["token", "request", token, "--domain", "patient", "--reason", reason];
    folder.cordon(&[&about[..], &["--as", user, "--purpose", purpose]].concat())
}

fn token(folder: &Folder) -> String {
    let rows = folder.sql("SELECT patient FROM visits ORDER BY day LIMIT 1");
    rows[0]["patient"].as_str().unwrap().to_owned()
}

#[test]
fn reading_every_column_of_every_table_leads_back_to_nobody() {
    let folder = folder("p-0001,2020-01-02\np-0002,not a day\n");
    folder.run_json("test", 3);
    let seen = folder.cordon(&["sql", "SELECT * FROM visits", "--as", "analyst", "--purpose", "research"]).ok();
    assert!(seen.out.contains("patient") && seen.out.contains("day"), "the analyst sees all columns: {}", seen.out);
    let token = token(&folder);
    let list = folder.cordon(&["quarantine", "list", "--format", "json"]).ok().json();
    let id = list[0]["id"].as_str().unwrap();
    for (user, purpose) in [("analyst", "research"), ("analyst", "public-health"), ("nobody", "operations")] {
        let asked = ask(&folder, &token, user, purpose).exits(4);
        assert!(!asked.all().contains("p-0001"), "{}", asked.all());
        let reason = "out of curiosity";
        let shown =
            folder.cordon(&["quarantine", "show", id, "--as", user, "--purpose", purpose, "--reason", reason]).exits(4);
        assert!(!shown.all().contains("p-0002") && shown.err.contains("read-quarantine"), "{}", shown.all());
        assert!(unwrap_dek(&folder, user, purpose, "").exits(4).out.is_empty());
    }
    let denied = folder.audit("access_denied");
    let datasets: Vec<_> = denied.iter().map(|event| event["dataset"].as_str().unwrap()).take(3).collect();
    assert_eq!(
        datasets,
        ["reveal: patient: no right", "read-quarantine: quarantine", "unwrap-keys: master key cordon-footer.v1"]
    );
    assert_eq!(denied.len(), 9);
    assert!(folder.audit("token_requested").is_empty() && folder.audit("dek_unwrapped").is_empty());
}

#[test]
fn a_token_is_asked_about_by_who_has_the_right_for_the_purpose() {
    let folder = folder("p-0001,2020-01-02\n");
    folder.run_json("test", 0);
    let token = token(&folder);
    // The engineer reads everything and unwraps keys; re-identification is another right.
    ask(&folder, &token, "engineer", "operations").exits(4);
    ask(&folder, &token, "privacy-officer", "research").exits(4);
    ask(&folder, &token, "privacy-officer", "treatment").ok();
    ask(&folder, "no token", "privacy-officer", "treatment").exits(2);
    let events = folder.audit("token_requested");
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["purpose"], &events[0]["principal"]), (&"treatment".into(), &"privacy-officer".into()));
    let log = folder.cordon(&["audit", "list", "--format", "json"]).ok();
    assert!(!log.out.contains("p-0001") && !log.out.contains(&token));
}

/// The first run is when the quarantine is needed most: there is no table yet that a grant could be about.
#[test]
fn the_quarantine_can_be_seen_when_every_row_has_failed() {
    let folder = folder("p-0001,not a day\np-0002,neither\n");
    let report = folder.run_json("test", 3);
    assert_eq!((&report["rows_out"], &report["quarantined"]), (&0.into(), &2.into()));
    let list = folder.cordon(&["quarantine", "list", "--format", "json"]).ok().json();
    let id = list[0]["id"].as_str().unwrap();
    let show =
        ["quarantine", "show", id, "--as", "engineer", "--purpose", "operations", "--reason", "to mend the dates"];
    let shown = folder.cordon(&show).ok();
    assert_eq!(shown.out, "p-0001,not a day\n");
    let object = folder.cordon(&[&show[..], &["--format", "json"]].concat()).ok().json();
    assert_eq!((&object["record"], &object["line"]), (&"p-0001,not a day".into(), &2.into()));
    let events = folder.audit("quarantine_shown");
    assert_eq!((events.len(), &events[0]["purpose"]), (2, &"operations".into()));
}

#[test]
fn a_key_that_does_not_unwrap_is_on_the_record_too() {
    let folder = folder("p-0001,2020-01-02\n");
    folder.run_json("test", 0);
    let said = unwrap_dek(&folder, "engineer", "operations", "bm90IGEga2V5IGF0IGFsbA==").exits(5);
    assert!(said.out.is_empty());
    let events = folder.audit("dek_unwrapped");
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["outcome"], &events[0]["purpose"]), (&"failed".into(), &"operations".into()));
}
