//! Re-identification takes two persons, a reason and a time, and nothing that is done to files opens it.

use std::fs;
use std::process::{Command, Stdio};

use crate::support::{Folder, Said, binary, copy_tree, said};

const CANARY: &str = "CANARY-MRN-7";
const REASON: &str = "a patient's own request";

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

/// Three people, their tokens in the order of their visits. `steward` may ask and approve, `deputy` approve.
fn folder() -> (Folder, Vec<String>) {
    let folder = Folder::with(POLICY, "  - { dataset: visits, path: in/a.csv }");
    folder.write("in/a.csv", format!("patient,day\n{CANARY},2019-01-02\np-0002,2020-01-03\np-0003,2021-01-04\n"));
    let config = folder.read("cordon.yaml").replace(
        "  users:\n",
        "  users:\n    - { name: steward, roles: [privacy, compliance] }\n    - { name: deputy, roles: [compliance] }\n",
    );
    folder.write("cordon.yaml", config);
    folder.run_json("test", 0);
    let rows = folder.sql("SELECT patient FROM visits ORDER BY day");
    let tokens = rows.iter().map(|row| row["patient"].as_str().unwrap().to_owned()).collect();
    (folder, tokens)
}

fn ask(folder: &Folder, user: &str, tokens: &[&str], more: &[&str]) -> Said {
    let mut args = vec!["token", "request", "--domain", "patient", "--as", user];
    args.extend(["--purpose", "treatment", "--reason", REASON]);
    args.extend(more);
    args.extend(tokens);
    folder.cordon(&args)
}

fn id(said: Said) -> String {
    said.ok().out.trim().to_owned()
}

fn decide(folder: &Folder, verb: &str, id: &str, user: &str) -> Said {
    folder.cordon(&["token", verb, id, "--as", user, "--reason", "checked with the ward"])
}

fn reveal(folder: &Folder, id: &str, user: &str) -> Said {
    folder.cordon(&["token", "reveal", id, "--as", user])
}

/// A request by the privacy officer, approved by the compliance officer.
fn approved(folder: &Folder, token: &str, more: &[&str]) -> String {
    let id = id(ask(folder, "privacy-officer", &[token], more));
    decide(folder, "approve", &id, "compliance-officer").ok();
    id
}

/// Refused with this code, without the value, and with no entry of a reveal.
#[track_caller]
fn nothing(folder: &Folder, said: Said, code: i32) -> Said {
    let said = said.exits(code);
    assert!(!said.all().contains(CANARY), "{}", said.all());
    assert!(folder.audit("token_revealed").is_empty());
    said
}

#[test]
fn one_asks_another_approves_and_who_asked_sees_it_on_the_record() {
    let (folder, tokens) = folder();
    let request = id(ask(&folder, "privacy-officer", &[&tokens[0], &tokens[1], &tokens[0]], &["--for", "8h"]));
    let said = nothing(&folder, reveal(&folder, &request, "privacy-officer"), 4);
    assert!(said.err.contains("not approved yet"), "{}", said.err);
    let said = decide(&folder, "approve", &request, "compliance-officer").ok();
    assert!(said.out.contains("approved until"), "{}", said.out);
    let revealed = reveal(&folder, &request, "privacy-officer").ok();
    assert_eq!(revealed.out, format!("{}\t{CANARY}\n{}\tp-0002\n", tokens[0], tokens[1]));
    let only = folder.cordon(&["token", "reveal", &request, &tokens[1].to_uppercase(), "--as", "privacy-officer"]).ok();
    assert_eq!(only.out, format!("{}\tp-0002\n", tokens[1]));

    let object =
        folder.cordon(&["token", "reveal", &request, "--as", "privacy-officer", "--format", "json"]).ok().json();
    assert_eq!(object["tokens"][0]["values"][0], CANARY);
    let show =
        folder.cordon(&["token", "show", &request, "--as", "compliance-officer", "--format", "json"]).ok().json();
    assert_eq!((&show["state"], &show["count"], &show["revealed"]), (&"approved".into(), &2.into(), &5.into()));
    assert_eq!(
        (&show["asked"]["by"], &show["approvals"][0]["by"]),
        (&"privacy-officer".into(), &"compliance-officer".into())
    );
    assert_eq!(show["lifetime_seconds"], 8 * 3600);
    let list = folder.cordon(&["token", "list", "--as", "steward", "--format", "json"]).ok().json();
    assert_eq!((&list[0]["request"], list[0].get("tokens")), (&request.as_str().into(), None));
    assert!(folder.cordon(&["token", "show", &request, "--as", "deputy"]).ok().out.contains(&tokens[1]));

    let kinds = ["token_requested", "request_approved", "token_revealed"];
    assert_eq!(kinds.map(|kind| folder.audit(kind).len()), [1, 1, 5]);
    let event = &folder.audit("token_revealed")[0];
    assert_eq!((&event["principal"], &event["found"]), (&"privacy-officer".into(), &true.into()));
    assert_eq!(event["token"], folder.audit("token_requested")[0]["tokens"][0]);
    let log = folder.cordon(&["audit", "list", "--format", "json"]).ok();
    assert!(!log.out.contains(CANARY) && tokens.iter().all(|token| !log.out.contains(token)));
    for file in folder.written() {
        let bytes = fs::read(&file).unwrap();
        for word in [CANARY, &tokens[0], REASON] {
            assert!(!bytes.windows(word.len()).any(|window| window == word.as_bytes()), "{}", file.display());
        }
    }
    folder.cordon(&["audit", "verify"]).ok();
}

#[test]
fn nobody_is_both_persons() {
    let (folder, tokens) = folder();
    let request = id(ask(&folder, "steward", &[&tokens[0]], &[]));
    let said = nothing(&folder, decide(&folder, "approve", &request, "steward"), 4);
    assert!(said.err.contains("who asks cannot approve"), "{}", said.err);
    for name in ["Steward", "STEWARD", " steward", "steward ", "analyst", "engineer", "privacy-officer", "nobody"] {
        nothing(&folder, decide(&folder, "approve", &request, name), 4);
    }
    nothing(&folder, reveal(&folder, &request, "steward"), 4);
    assert!(folder.audit("request_approved").is_empty());
    let denied = folder.audit("access_denied");
    assert_eq!(denied.len(), 10);
    assert!(denied[0]["dataset"].as_str().unwrap().ends_with("own request"), "{}", denied[0]);
    decide(&folder, "approve", &request, "deputy").ok();
    assert!(reveal(&folder, &request, "steward").ok().out.contains(CANARY));
}

#[test]
fn who_has_no_part_in_a_request_cannot_tell_it_from_none() {
    let (folder, tokens) = folder();
    let request = approved(&folder, &tokens[0], &[]);
    for user in ["analyst", "engineer", "nobody"] {
        let there = nothing(&folder, folder.cordon(&["token", "show", &request, "--as", user]), 4);
        let absent = nothing(&folder, folder.cordon(&["token", "show", "aaaaaaaaaaaaaaaa", "--as", user]), 4);
        assert_eq!(there.all(), absent.all());
        for verb in ["approve", "reject", "revoke"] {
            assert_eq!(nothing(&folder, decide(&folder, verb, &request, user), 4).all(), absent.all());
        }
        assert_eq!(nothing(&folder, reveal(&folder, &request, user), 4).all(), absent.all());
        assert_eq!(
            folder.cordon(&["token", "list", "--as", user, "--format", "json"]).ok().json(),
            serde_json::json!([])
        );
    }
    // Who may approve it, and who has the right to reveal, are not who asked.
    for user in ["compliance-officer", "steward", "deputy", "Privacy-Officer"] {
        nothing(&folder, reveal(&folder, &request, user), 4);
    }
    for name in ["../requests/x", CANARY, "", "AAAAAAAAAAAAAAAA"] {
        nothing(&folder, reveal(&folder, name, "privacy-officer"), 4);
    }
    let log = folder.cordon(&["audit", "list", "-n", "1000", "--format", "json"]).ok();
    assert!(!log.out.contains(CANARY), "what is no request is not repeated on the record");
    assert!(reveal(&folder, &request, "privacy-officer").ok().out.contains(CANARY));
}

#[test]
fn only_what_was_asked_for_by_who_may_ask() {
    let (folder, tokens) = folder();
    for (user, purpose) in
        [("analyst", "treatment"), ("compliance-officer", "treatment"), ("privacy-officer", "research")]
    {
        let args = [
            "token",
            "request",
            &tokens[0],
            "--domain",
            "patient",
            "--as",
            user,
            "--purpose",
            purpose,
            "--reason",
            REASON,
        ];
        let said = nothing(&folder, folder.cordon(&args), 4);
        assert!(said.err.contains("allow: [reveal]"), "{}", said.err);
    }
    let request = approved(&folder, &tokens[1], &[]);
    let other = folder.cordon(&["token", "reveal", &request, &tokens[0], "--as", "privacy-officer"]);
    assert!(nothing(&folder, other, 4).err.contains("not asked for"));
    let both = folder.cordon(&["token", "reveal", &request, &tokens[1], &tokens[0], "--as", "privacy-officer"]);
    nothing(&folder, both, 4);
    // What is no token is not repeated.
    for tokens in [[CANARY], ["short"]] {
        nothing(&folder, ask(&folder, "privacy-officer", &tokens, &[]), 2);
    }
    nothing(&folder, ask(&folder, "privacy-officer", &[&tokens[0]], &["--for", "25h"]), 2);
    nothing(&folder, ask(&folder, "privacy-officer", &[&tokens[0]], &["--for", "soon"]), 2);
    nothing(&folder, ask(&folder, "privacy-officer", &[], &[]), 2);
    let args = [
        "token",
        "request",
        &tokens[0],
        "--domain",
        "patient",
        "--as",
        "privacy-officer",
        "--purpose",
        "treatment",
        "--reason",
        "why",
    ];
    nothing(&folder, folder.cordon(&args), 2);
    folder.write("tokens.txt", format!("{}\n\n {} \n", tokens[0], tokens[1]));
    let said = ask(&folder, "privacy-officer", &[], &["--tokens-file", "tokens.txt", "--format", "json"]).ok().json();
    assert_eq!((&said["count"], &said["state"]), (&2.into(), &"pending".into()));
    folder.write("tokens.txt", format!("{}\n{CANARY}\n", tokens[0]));
    nothing(&folder, ask(&folder, "privacy-officer", &[], &["--tokens-file", "tokens.txt"]), 2);

    let none = approved(&folder, "aaaaaaaaaaaaaaaaaaaaaaaaaa", &[]);
    reveal(&folder, &none, "privacy-officer").exits(1);
    assert_eq!(folder.audit("token_revealed")[0]["found"], false, "that it was tried is on the record");
    // Who lost the right since.
    let config = folder.read("cordon.yaml");
    folder.write(
        "cordon.yaml",
        config.replace("{ name: privacy-officer, roles: [privacy] }", "{ name: privacy-officer, roles: [research] }"),
    );
    reveal(&folder, &request, "privacy-officer").exits(4);
}

#[test]
fn what_is_over_stays_over() {
    let (folder, tokens) = folder();
    let brief = approved(&folder, &tokens[0], &["--for", "1s"]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let said = nothing(&folder, reveal(&folder, &brief, "privacy-officer"), 4);
    assert!(said.err.contains("expired"), "{}", said.err);
    nothing(&folder, decide(&folder, "approve", &brief, "deputy"), 4);

    for by in ["privacy-officer", "compliance-officer", "deputy"] {
        let request = approved(&folder, &tokens[0], &[]);
        decide(&folder, "revoke", &request, by).ok();
        let said = nothing(&folder, reveal(&folder, &request, "privacy-officer"), 4);
        assert!(said.err.contains("revoked"), "{}", said.err);
        nothing(&folder, decide(&folder, "approve", &request, "deputy"), 4);
        nothing(&folder, decide(&folder, "revoke", &request, "deputy"), 4);
    }
    let request = id(ask(&folder, "privacy-officer", &[&tokens[0]], &[]));
    decide(&folder, "reject", &request, "deputy").ok();
    nothing(&folder, decide(&folder, "approve", &request, "compliance-officer"), 4);
    nothing(&folder, reveal(&folder, &request, "privacy-officer"), 4);
    let request = id(ask(&folder, "privacy-officer", &[&tokens[0]], &[]));
    nothing(&folder, decide(&folder, "reject", &request, "privacy-officer"), 4);

    let once = approved(&folder, &tokens[0], &["--times", "1"]);
    assert!(reveal(&folder, &once, "privacy-officer").ok().out.contains(CANARY));
    let said = reveal(&folder, &once, "privacy-officer").exits(4);
    assert!(said.out.is_empty() && said.err.contains("as often as"), "{}", said.err);
}

#[test]
fn the_project_says_for_how_long_and_by_how_many() {
    let (folder, tokens) = folder();
    let config = folder.read("cordon.yaml");
    folder.write("cordon.yaml", config.replace("lifetime: 24h, approvals: 1", "lifetime: 2h, approvals: 2"));
    let said = ask(&folder, "privacy-officer", &[&tokens[0]], &["--format", "json"]).ok().json();
    assert_eq!(said["lifetime_seconds"], 2 * 3600);
    let request = said["request"].as_str().unwrap();
    let said = decide(&folder, "approve", request, "compliance-officer").ok();
    assert!(said.out.contains("1 approval missing"), "{}", said.out);
    nothing(&folder, decide(&folder, "approve", request, "compliance-officer"), 4);
    nothing(&folder, reveal(&folder, request, "privacy-officer"), 4);
    decide(&folder, "approve", request, "deputy").ok();
    assert!(reveal(&folder, request, "privacy-officer").ok().out.contains(CANARY));
    for wrong in ["lifetime: 31d, approvals: 1", "lifetime: 24h, approvals: 0", "lifetime: 24h, approval: 1"] {
        folder.write("cordon.yaml", config.replace("lifetime: 24h, approvals: 1", wrong));
        ask(&folder, "privacy-officer", &[&tokens[0]], &[]).exits(2);
    }
    folder.write("cordon.yaml", config.replace("approvals: 1 }", "approvals: 1, system-users-apart: true }"));
    let request = id(ask(&folder, "privacy-officer", &[&tokens[0]], &[]));
    let said = decide(&folder, "approve", &request, "compliance-officer").exits(4);
    assert!(said.err.contains("user of the operating system"), "{}", said.err);
}

#[test]
fn a_file_that_is_put_back_edited_swapped_or_gone_opens_nothing() {
    let (folder, tokens) = folder();
    let requests = folder.path().join(".cordon/requests");
    let file = |id: &str| requests.join(format!("{id}.sealed"));
    // Put back to when it was approved, after it was revoked.
    let request = approved(&folder, &tokens[0], &[]);
    let before = fs::read(file(&request)).unwrap();
    decide(&folder, "revoke", &request, "deputy").ok();
    fs::write(file(&request), &before).unwrap();
    assert!(nothing(&folder, reveal(&folder, &request, "privacy-officer"), 4).err.contains("revoked"));

    let request = approved(&folder, &tokens[1], &[]);
    let whole = fs::read(file(&request)).unwrap();
    let mut edited = whole.clone();
    let middle = edited.len() / 2;
    edited[middle] ^= 1;
    let other = id(ask(&folder, "privacy-officer", &[&tokens[0]], &[]));
    let swapped = fs::read(file(&other)).unwrap();
    for bytes in [&edited, &swapped, &whole[..20].to_vec(), &Vec::new()] {
        fs::write(file(&request), bytes).unwrap();
        nothing(&folder, reveal(&folder, &request, "privacy-officer"), 7);
        nothing(&folder, decide(&folder, "approve", &request, "deputy"), 7);
    }
    fs::remove_file(file(&request)).unwrap();
    assert!(nothing(&folder, reveal(&folder, &request, "privacy-officer"), 7).err.contains("missing"));
    // A file for which the log has no request.
    fs::write(file("bbbbbbbbbbbbbbbb"), &whole).unwrap();
    nothing(&folder, reveal(&folder, "bbbbbbbbbbbbbbbb", "privacy-officer"), 4);
    fs::remove_file(file("bbbbbbbbbbbbbbbb")).unwrap();
    fs::write(file(&request), &whole).unwrap();
    assert!(reveal(&folder, &request, "privacy-officer").ok().out.contains("p-0002"));
}

#[test]
fn a_log_that_is_set_back_to_before_the_revocation_opens_nothing() {
    let (folder, tokens) = folder();
    let request = approved(&folder, &tokens[0], &[]);
    let kept = folder.dir.path().join("kept");
    copy_tree(&folder.path().join(".cordon/audit"), &kept.join("audit"));
    copy_tree(&folder.path().join(".cordon/state"), &kept.join("state"));
    decide(&folder, "revoke", &request, "deputy").ok();
    let revoked = folder.dir.path().join("revoked");
    copy_tree(&folder.path().join(".cordon"), &revoked);
    // The log alone.
    copy_tree(&kept.join("audit"), &folder.path().join(".cordon/audit"));
    assert!(!reveal(&folder, &request, "privacy-officer").exits(7).all().contains(CANARY));
    // And the mark of how far it had come: the request's own file still knows better.
    copy_tree(&kept.join("state"), &folder.path().join(".cordon/state"));
    let said = reveal(&folder, &request, "privacy-officer").exits(7);
    assert!(!said.all().contains(CANARY) && said.err.contains("set back"), "{}", said.err);
    copy_tree(&revoked, &folder.path().join(".cordon"));
    reveal(&folder, &request, "privacy-officer").exits(4);
    // A damaged entry.
    let log = folder.path().join(".cordon/audit/audit-00000001.log");
    let mut bytes = fs::read(&log).unwrap();
    let end = bytes.len();
    bytes[end - 200] ^= 1;
    fs::write(&log, bytes).unwrap();
    assert!(!reveal(&folder, &request, "privacy-officer").exits(7).all().contains(CANARY));
}

#[test]
fn no_value_leaves_when_its_entry_cannot_be_written() {
    let (folder, tokens) = folder();
    let request = approved(&folder, &tokens[0], &[]);
    let log = folder.path().join(".cordon/audit");
    // A folder where the head's next version would be written: root writes to read-only files too.
    fs::create_dir(log.join("head.new")).unwrap();
    let said = reveal(&folder, &request, "privacy-officer").exits(6);
    assert!(said.out.is_empty() && !said.all().contains(CANARY), "{}", said.all());
    for said in [ask(&folder, "privacy-officer", &[&tokens[0]], &[]), decide(&folder, "revoke", &request, "deputy")] {
        assert_ne!(said.code, 0);
    }
    fs::remove_dir(log.join("head.new")).unwrap();
    assert!(reveal(&folder, &request, "privacy-officer").ok().out.contains(CANARY));
}

#[test]
fn of_two_at_once_only_one_gets_what_may_be_had_once() {
    let (folder, tokens) = folder();
    let spawn = |args: &[&str]| {
        let mut command = binary();
        command.args(args).current_dir(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let once = approved(&folder, &tokens[0], &["--times", "1"]);
    let children: Vec<_> = (0..4).map(|_| spawn(&["token", "reveal", &once, "--as", "privacy-officer"])).collect();
    let all: Vec<_> = children.into_iter().map(|child| said(child.wait_with_output().unwrap())).collect();
    assert_eq!(all.iter().filter(|said| said.code == 0).count(), 1);
    assert!(all.iter().all(|said| (said.code == 0) == said.out.contains(CANARY)));
    assert_eq!(folder.audit("token_revealed").len(), 1);

    // Approved and rejected at once: one of both stands, and the other is told.
    let request = id(ask(&folder, "privacy-officer", &[&tokens[1]], &[]));
    let children: Vec<_> = [("approve", "compliance-officer"), ("reject", "deputy")]
        .map(|(verb, user)| spawn(&["token", verb, &request, "--as", user, "--reason", "checked with the ward"]))
        .into_iter()
        .collect();
    let codes: Vec<_> = children.into_iter().map(|child| said(child.wait_with_output().unwrap()).code).collect();
    let decided = folder.audit("request_approved").len() + folder.audit("request_rejected").len();
    assert!(codes.contains(&0) && codes.contains(&4), "{codes:?}");
    assert_eq!(decided, 2, "the approval of before, and one of these");

    // Requests made at once are all there.
    let children: Vec<_> = (0..4)
        .map(|at: usize| {
            let token = &tokens[at % 3];
            spawn(&[
                "token",
                "request",
                token,
                "--domain",
                "patient",
                "--as",
                "privacy-officer",
                "--purpose",
                "treatment",
                "--reason",
                REASON,
            ])
        })
        .collect();
    for child in children {
        let id = id(said(child.wait_with_output().unwrap()));
        decide(&folder, "approve", &id, "deputy").ok();
        reveal(&folder, &id, "privacy-officer").ok();
    }
    folder.cordon(&["audit", "verify"]).ok();
}

/// Killed between the tokens and the entry that makes them a request: there is none, and what is left goes.
#[test]
fn what_never_became_a_request_is_cleared_away() {
    let (folder, tokens) = folder();
    ask(&folder, "privacy-officer", &[&tokens[0]], &[]).ok();
    let count = || fs::read_dir(folder.path().join(".cordon/requests")).unwrap().count();
    let before = count();
    // The kernel kills who makes a file longer than this: the log is the longest that is written.
    let longest = fs::metadata(folder.path().join(".cordon/audit/audit-00000001.log")).unwrap().len();
    let mut killed = Command::new("prlimit");
    killed.arg(format!("--fsize={longest}")).arg(env!("CARGO_BIN_EXE_cordon"));
    killed.args(["token", "request", &tokens[0], "--domain", "patient", "--as", "privacy-officer"]);
    killed.args(["--purpose", "treatment", "--reason", REASON]).current_dir(folder.path());
    assert_ne!(said(killed.output().unwrap()).code, 0);
    assert_eq!(count(), before + 1, "the tokens were written");
    assert_eq!(folder.audit("token_requested").len(), 1);
    ask(&folder, "privacy-officer", &[&tokens[0]], &[]).ok();
    assert_eq!(count(), before + 1);
    assert_eq!(folder.audit("token_requested").len(), 2);
}

#[test]
fn nobody_turns_tokens_back_alone() {
    let (folder, tokens) = folder();
    let old = [
        "vault",
        "reveal",
        &tokens[0],
        "--domain",
        "patient",
        "--as",
        "privacy-officer",
        "--purpose",
        "treatment",
        "--reason",
        REASON,
    ];
    let said = nothing(&folder, folder.cordon(&old), 2);
    assert!(said.err.contains("cordon token request"), "{}", said.err);
}
