//! Files of requests go after their retention once they are closed; the audit log keeps what was asked, by whom, and what became of it.

use std::fs;

use crate::shred::{approve, ask, folder as thousand, revealed, shred};
use crate::support::{Folder, Said, binary, said};

fn later(folder: &Folder, days: i64, args: &[&str], fail_at: Option<&str>) -> Said {
    let now = (chrono::Utc::now() + chrono::Duration::days(days)).to_rfc3339();
    let mut command = binary();
    command.args(args).current_dir(folder.path()).env("CORDON_NOW", now);
    if let Some(at) = fail_at {
        command.env("CORDON_FAIL_AT", at);
    }
    said(command.output().unwrap())
}

fn files(folder: &Folder) -> usize {
    let sealed = |entry: &fs::DirEntry| entry.path().extension().is_some_and(|extension| extension == "sealed");
    fs::read_dir(folder.path().join(".cordon/requests")).unwrap().flatten().filter(sealed).count()
}

#[test]
fn closed_requests_go_after_their_retention_and_the_log_keeps_them() {
    let (folder, tokens) = thousand();
    folder.write("cordon.yaml", format!("{}\nretention:\n  requests: 1y\n", folder.read("cordon.yaml")));
    let rejected = ask(&folder, &tokens[1], false);
    folder
        .cordon(&["token", "reject", &rejected, "--as", "compliance-officer", "--reason", "no reason was given"])
        .ok();
    revealed(&folder, &tokens[2]).ok();
    let pending = ask(&folder, &tokens[3], false);
    let destroyed = ask(&folder, &tokens[4], true);
    approve(&folder, &destroyed, "compliance-officer").ok();
    shred(&folder, &destroyed, "privacy-officer", "one.json").ok();
    assert_eq!(files(&folder), 4);

    let retain = ["retain", "--format", "json", "-q"];
    let of = |said: Said| said.ok().json()["requests"].clone();
    assert_eq!(of(later(&folder, 300, &retain, None))["requests"], 0);
    let dry = of(later(&folder, 300, &["retain", "--dry-run", "--at", "2099-01-01", "--format", "json", "-q"], None));
    assert_eq!((&dry["requests"], &dry["removed"]), (&3.into(), &false.into()));
    let hold =
        ["hold", "place", "lawsuit", "--tables", "visits", "--as", "privacy-officer", "--reason", "a lawsuit is near"];
    folder.cordon(&hold).ok();
    let held = of(later(&folder, 400, &retain, None));
    assert_eq!((&held["requests"], &held["held_by"][0]), (&3.into(), &"lawsuit".into()));
    assert_eq!(files(&folder), 4);
    folder.cordon(&["hold", "release", "lawsuit", "--as", "privacy-officer", "--reason", "it was settled"]).ok();

    // Killed between the record and the removal: the next one removes them.
    assert_ne!(later(&folder, 400, &retain, Some("requests-recorded")).code, 0);
    assert_eq!(files(&folder), 4);
    let gone = of(later(&folder, 400, &retain, None));
    assert_eq!((&gone["requests"], &gone["removed"]), (&3.into(), &true.into()));
    assert_eq!(files(&folder), 1, "who waits for an answer keeps waiting");
    let told = folder.audit("requests_retired");
    assert_eq!((told.len(), told[0]["requests"].as_array().unwrap().len()), (1, 3));
    assert_eq!(of(later(&folder, 400, &retain, None))["requests"], 0);

    // What was asked and decided is told from the log; the tokens are not known any more.
    let listed = folder.cordon(&["token", "list", "--as", "privacy-officer", "--format", "json"]).ok().json();
    assert_eq!(listed.as_array().unwrap().len(), 4);
    let shown = folder.cordon(&["token", "show", &rejected, "--as", "privacy-officer"]).ok();
    assert!(shown.out.contains("no reason was given") && !shown.all().contains(&tokens[1]), "{}", shown.all());
    shred(&folder, &destroyed, "privacy-officer", "again.json").ok();
    folder.cordon(&["token", "show", &pending, "--as", "privacy-officer"]).ok();
    // A file that was lost is another thing.
    fs::remove_file(folder.path().join(format!(".cordon/requests/{pending}.sealed"))).unwrap();
    folder.cordon(&["token", "show", &pending, "--as", "privacy-officer"]).exits(7);
    folder.cordon(&["audit", "verify"]).ok();
}
