//! Tables of the same people for two recipients, which neither can join with the other's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use chrono::NaiveDate;
use serde_json::Value;

use crate::support::{Folder, Said, binary, copy_tree};

const PEOPLE: usize = 200;

const POLICY: &str = "
policy: test
method: expert-determination
expert: { name: x, document: y }
datasets:
  visits:
    subject: mrn
    fields:
      mrn: { kind: medical-record-number, action: token, domain: mrn }
      encounter: { kind: unique-id, action: token, domain: encounter }
      account: { kind: account-number, action: hash }
      plan: { kind: health-plan-id, action: encrypt, alphabet: digits }
      first: { kind: name, action: surrogate, surrogate: first-name }
      last: { kind: name, action: surrogate, surrogate: last-name }
      born: { kind: birth-date, action: shift-date }
      day: { kind: service-date, action: shift-date }
      row: { kind: operational }
  texts:
    subject: mrn
    fields:
      mrn: { kind: medical-record-number, action: token, domain: mrn }
      note: { kind: free-text, action: scrub, with: surrogate }
      row: { kind: operational }
  members:
    subject: member
    fields:
      mrn: { kind: medical-record-number, action: token, domain: mrn, optional: true }
      member: { kind: health-plan-id, action: token, domain: member }
      day: { kind: service-date, action: shift-date }
      row: { kind: operational }
";

const SOURCES: &str = "sources:
  - { dataset: visits, path: \"in/visits*.csv\", identity: { mrn: mrn } }
  - { dataset: texts, path: \"in/texts*.csv\", optional: true, identity: { mrn: mrn } }
  - { dataset: members, path: \"in/members*.csv\", optional: true, identity: { mrn: mrn, member: member } }
";

/// Five pipelines over the same files: for the project itself, and two for each of two recipients.
fn project() -> Folder {
    let folder = Folder::init("hospital");
    folder.write("policies/test.yaml", POLICY);
    folder.write("pipelines/plain.yaml", format!("pipeline: plain\npolicy: test\nsink: {{ prefix: p_ }}\n{SOURCES}"));
    for (name, recipient) in [("a", "study-a"), ("b", "study-b"), ("more_a", "study-a"), ("more_b", "study-b")] {
        folder.write(
            &format!("pipelines/{name}.yaml"),
            format!("pipeline: {name}\npolicy: test\nrecipient: {recipient}\nsink: {{ prefix: {name}_ }}\n{SOURCES}"),
        );
    }
    let config = folder.read("cordon.yaml");
    folder.write(
        "cordon.yaml",
        format!("{config}\nrecipients:\n  study-a: {{ description: one project }}\n  study-b: {{}}\n"),
    );
    folder
}

/// Two visits of each.
fn visits(folder: &Folder) {
    let mut text = "mrn,encounter,account,plan,first,last,born,day,row\n".to_owned();
    for n in 0..PEOPLE * 2 {
        let (person, month) = (n % PEOPLE, 1 + n % 12);
        text.push_str(&format!(
            "M{person:04},E-{n:05},AC-{person:06},90{person:014},Ann,Smith,19{:02}-03-04,2020-{month:02}-17,{n:05}\n",
            40 + person % 50,
        ));
    }
    folder.write("in/visits.csv", text);
}

/// The day of each visit in words.
fn texts(folder: &Folder) {
    let line = |n: usize| format!("M{:04},Seen on 2020-{:02}-17 for a cough.,{n:05}\n", n % PEOPLE, 1 + n % 12);
    folder.write("in/texts.csv", format!("mrn,note,row\n{}", (0..PEOPLE * 2).map(line).collect::<String>()));
}

/// Members whose number nothing ties to a record yet.
fn members(folder: &Folder) {
    let lines = (0..PEOPLE).map(|n| format!(",H{n:04},2020-05-06,{n:05}\n"));
    folder.write("in/members.csv", format!("mrn,member,day,row\n{}", lines.collect::<String>()));
}

/// A column by the number of the row.
fn column(folder: &Folder, table: &str, column: &str) -> BTreeMap<String, String> {
    let rows = folder.sql(&format!("SELECT row, CAST({column} AS VARCHAR) AS v FROM {table}"));
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    rows.iter().map(|row| (text(row, "row"), text(row, "v"))).collect()
}

fn distinct(values: &BTreeMap<String, String>) -> BTreeSet<&str> {
    values.values().map(String::as_str).collect()
}

fn days(values: &BTreeMap<String, String>) -> Vec<NaiveDate> {
    values.values().map(|day| day.parse().unwrap()).collect()
}

fn started(folder: &Folder, pipeline: &str) -> Child {
    let mut command = binary();
    command.args(["run", pipeline, "-q"]).current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

#[test]
fn nothing_but_what_the_policy_keeps_is_the_same_for_two_recipients() {
    let folder = project();
    visits(&folder);
    texts(&folder);
    for pipeline in ["plain", "a", "b", "more_a"] {
        assert_eq!(folder.run_json(pipeline, 0)["rows_out"], PEOPLE * 4);
    }
    let tables = ["p_visits", "a_visits", "b_visits"];
    for (one, other) in [(0, 1), (0, 2), (1, 2)].map(|(one, other)| (tables[one], tables[other])) {
        let all = folder.csv(&format!("SELECT * FROM {other}"));
        for name in ["mrn", "encounter", "account", "plan"] {
            let values = column(&folder, one, name);
            let expected = if name == "encounter" { PEOPLE * 2 } else { PEOPLE };
            assert_eq!(distinct(&values).len(), expected, "{one}.{name}");
            for value in distinct(&values) {
                assert!(value.len() >= 16 && !all.contains(value), "a value of {one}.{name} stands in {other}");
            }
        }
        // A person may move by the same days for both, or be called the same, by chance: few are.
        let (here, there) = (column(&folder, one, "day"), column(&folder, other, "day"));
        let shifts: Vec<i64> = days(&here).iter().zip(days(&there)).map(|(a, b)| (*a - b).num_days()).collect();
        assert_eq!(shifts[..PEOPLE], shifts[PEOPLE..], "each is moved by days of their own, in every row");
        assert!(shifts[..PEOPLE].iter().filter(|shift| **shift == 0).count() < 15, "{one} and {other} move alike");
        assert!(shifts.iter().collect::<BTreeSet<_>>().len() > PEOPLE / 2, "by more than one number of days");
        let texts = |table: &str| table.replace("visits", "texts");
        for (one, other, name) in [(one, other, "first"), (one, other, "last"), (&texts(one), &texts(other), "note")] {
            let (here, there) = (column(&folder, one, name), column(&folder, other, name));
            let same = here.iter().filter(|(row, value)| there[*row] == **value).count();
            assert!(same < PEOPLE / 5, "{same} of {one}.{name} are as in {other}");
        }
    }
    for table in tables {
        // What a text says moves with what a column says.
        let texts = table.replace("visits", "texts");
        let (day, note) = (column(&folder, table, "day"), column(&folder, &texts, "note"));
        assert_eq!(distinct(&column(&folder, &texts, "mrn")), distinct(&column(&folder, table, "mrn")));
        assert!(note.iter().all(|(row, note)| note.contains(&day[row])), "{table}");
        let stay = |day: &BTreeMap<String, String>, born: &BTreeMap<String, String>| -> Vec<i64> {
            days(day).iter().zip(days(born)).map(|(day, born)| (*day - born).num_days()).collect()
        };
        let ages = stay(&day, &column(&folder, table, "born"));
        assert_eq!(ages, stay(&column(&folder, "p_visits", "day"), &column(&folder, "p_visits", "born")), "{table}");
    }
    // One recipient's pipelines join, in everything.
    for name in ["mrn", "encounter", "account", "plan", "first", "last", "born", "day"] {
        assert_eq!(column(&folder, "a_visits", name), column(&folder, "more_a_visits", name), "{name}");
    }
    let made = folder.cordon(&["tables", "history", "a_visits", "--format", "json"]).ok().json();
    assert_eq!(made[0]["provenance"]["recipient"], "study-a");
    folder.cordon(&["vault", "verify"]).ok();
}

#[test]
fn in_six_formats_two_recipients_share_no_token_and_each_has_its_people_joined() {
    const PATIENTS: usize = 10;
    let folder = Folder::init("research");
    let formats = ["--formats", "csv,fhir,hl7v2,ccda,x12,notes", "--seed", "12", "--clean"];
    folder.synth(PATIENTS as u32, &formats);
    let nightly = folder.read("pipelines/nightly.yaml");
    let config = folder.read("cordon.yaml");
    folder.write("cordon.yaml", format!("{config}\nrecipients: {{ study-a: {{}}, study-b: {{}} }}\n"));
    for name in ["a", "b"] {
        assert!(nightly.contains("pipeline: nightly\n") && !nightly.contains("sink:"));
        let named = nightly.replace("pipeline: nightly\n", &format!("pipeline: {name}\nrecipient: study-{name}\n"));
        folder.write(&format!("pipelines/{name}.yaml"), format!("{named}\nsink: {{ prefix: {name}_ }}\n"));
    }
    // Both at once, over one vault and its dossiers.
    for mut run in ["a", "b"].map(|name| started(&folder, name)) {
        assert!(run.wait().unwrap().success());
    }
    let [a, b] = ["a_", "b_"].map(|prefix| {
        // Whole documents of each format, and tables.
        let tables = [
            "patients",
            "encounters",
            "observations",
            "claims",
            "notes",
            "text_notes",
            "fhir_patient",
            "fhir_encounter",
            "fhir_documentreference",
            "hl7_message",
            "hl7_pid",
            "ccda_document",
            "x12_transaction",
            "x12_segment",
        ];
        tables.map(|table| folder.csv(&format!("SELECT * FROM {prefix}{table}"))).concat()
    });
    let tokens = |text: &'_ str| -> BTreeSet<String> {
        let is_of_token = |c: char| c.is_ascii_lowercase() || ('2'..='7').contains(&c);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        words.filter(|word| word.len() == 26 && word.chars().all(is_of_token)).map(str::to_owned).collect()
    };
    let (of_a, of_b) = (tokens(&a), tokens(&b));
    assert!(of_a.len() > 500 && of_a.len() == of_b.len(), "{} and {}", of_a.len(), of_b.len());
    let shared: Vec<_> = of_a.intersection(&of_b).collect();
    assert!(shared.is_empty(), "{} tokens are in both", shared.len());

    for prefix in ["a_", "b_"] {
        let count = |query: &str| folder.count(&query.replace('~', prefix));
        let everybody = PATIENTS as i64;
        assert_eq!(
            count("SELECT count(DISTINCT p.patient_id) FROM ~patients p JOIN ~fhir_patient f ON f.id = p.patient_id"),
            everybody
        );
        assert_eq!(
            count("SELECT count(DISTINCT p.patient_id) FROM ~patients p JOIN ~hl7_pid h ON h.patient = p.patient_id"),
            everybody
        );
        assert_eq!(
            count(
                "SELECT count(DISTINCT p.patient_id) FROM ~patients p JOIN ~ccda_document d ON d.patient = p.patient_id"
            ),
            everybody
        );
        let moved = count(
            "SELECT count(*) FROM ~encounters e JOIN ~fhir_encounter f ON f.id = e.encounter_id \
             WHERE CAST(e.start AS VARCHAR) LIKE substr(f.start, 1, 10) || '%'",
        );
        assert_eq!(moved, count("SELECT count(*) FROM ~encounters"));
        // Made-up names are one in tables and messages.
        let unlike = count(
            "SELECT count(*) FROM ~patients p JOIN ~hl7_pid h ON h.patient = p.patient_id \
             WHERE lower(h.pid_5_2_given_name) <> lower(p.first_name)",
        );
        assert_eq!(unlike, 0);
    }
    folder.cordon(&["vault", "verify"]).ok();
}

#[test]
fn people_who_turn_out_to_be_one_are_one_for_every_recipient() {
    let folder = project();
    visits(&folder);
    members(&folder);
    let pipelines = ["a", "b"];
    let joined = |name: &str| {
        folder.count(&format!(
            "SELECT count(DISTINCT v.mrn) FROM {name}_visits v JOIN {name}_members m ON m.member = v.mrn"
        ))
    };
    for name in pipelines {
        folder.run_json(name, 0);
        assert_eq!(joined(name), 0);
    }
    let lines = (0..PEOPLE).map(|n| format!("M{n:04},H{n:04},2020-05-06,1{n:04}\n"));
    folder.write("in/members2.csv", format!("mrn,member,day,row\n{}", lines.collect::<String>()));
    for (name, merged) in pipelines.into_iter().zip([PEOPLE, 0]) {
        assert_eq!(folder.run_json(name, 0)["people_joined"], merged, "{name}");
        assert_eq!(joined(name), PEOPLE as i64, "{name}");
        let (old, new) = (
            column(&folder, &format!("{name}_members"), "day"),
            days(&column(&folder, &format!("{name}_visits"), "day")),
        );
        assert_eq!(old["00000"], old["10000"], "one shift");
        assert_eq!(new.len(), 2 * PEOPLE);
    }
    let of = |table: &str, name: &str| column(&folder, table, name);
    assert!(distinct(&of("a_members", "member")).is_disjoint(&distinct(&of("b_members", "member"))));
}

fn ask(folder: &Folder, act: &[&str], tokens: &[&str]) -> Said {
    let mut args = vec!["token", "request", "--as", "privacy-officer", "--purpose", "required-by-law"];
    args.extend(["--reason", "a reviewer asked for it"]);
    args.extend(act);
    args.extend(tokens);
    folder.cordon(&args)
}

fn decide(folder: &Folder, verb: &str, id: &str) -> Said {
    folder.cordon(&["token", verb, id, "--as", "compliance-officer", "--reason", "checked with the board"])
}

fn approved(folder: &Folder, act: &[&str], tokens: &[&str]) -> String {
    let id = ask(folder, act, tokens).ok().out.trim().to_owned();
    decide(folder, "approve", &id).ok();
    id
}

const A_TO_B: [&str; 5] = ["--translate", "--from", "study-a", "--to", "study-b"];

/// Visits for the project and both recipients, and the tokens that each has of the persons, in their order.
fn published() -> (Folder, [Vec<String>; 3]) {
    let folder = project();
    visits(&folder);
    let tokens = ["plain", "a", "b"].map(|name| {
        folder.run_json(name, 0);
        let prefix = if name == "plain" { "p" } else { name };
        column(&folder, &format!("{prefix}_visits"), "mrn").into_values().take(PEOPLE).collect::<Vec<_>>()
    });
    (folder, tokens)
}

fn revealed(folder: &Folder, token: &str) -> Said {
    let id = approved(folder, &["--domain", "mrn"], &[token]);
    folder.cordon(&["token", "reveal", &id, "--as", "privacy-officer"])
}

#[test]
fn any_recipients_token_leads_back_by_two_persons() {
    let (folder, [own, a, b]) = published();
    for token in [&own[3], &a[3], &b[3]] {
        assert_eq!(revealed(&folder, token).ok().out, format!("{token}\tM0003\n"));
    }
    // What the second level is made of is nobody's to see.
    let said = ask(&folder, &["--domain", "recipient:study-a"], &[&a[3]]).exits(2);
    assert!(said.err.contains("no domain of a policy"), "{}", said.err);
}

#[test]
fn tokens_of_one_recipient_become_those_of_another_by_two_persons_only() {
    let (folder, [own, a, b]) = published();
    let none = || assert!(folder.audit("tokens_translated").is_empty());
    let translate = |id: &str, user: &str| folder.cordon(&["token", "translate", id, "--as", user]);

    // Who has not the right, what does not exist, what is not approved.
    let analyst = ["token", "request", "--as", "analyst", "--purpose", "research", "--reason", "I want to join them"];
    let said = folder.cordon(&[&analyst[..], &A_TO_B, &[a[0].as_str()]].concat()).exits(4);
    assert!(said.err.contains("translate"), "{}", said.err);
    ask(&folder, &["--translate", "--from", "study-a", "--to", "study-c"], &[&a[0]]).exits(2);
    ask(&folder, &["--translate", "--from", "study-a", "--to", "study-a"], &[&a[0]]).exits(2);
    ask(&folder, &["--translate", "--from", "study-a"], &[&a[0]]).exits(2);
    let id = ask(&folder, &A_TO_B, &[&a[0]]).ok().out.trim().to_owned();
    assert!(translate(&id, "privacy-officer").exits(4).err.contains("not approved yet"));
    decide(&folder, "approve", &id).ok();
    translate(&id, "compliance-officer").exits(4);
    // Approved for one thing is not approved for another.
    folder.cordon(&["token", "reveal", &id, "--as", "privacy-officer"]).exits(4);
    folder.cordon(&["vault", "shred", &id, "--as", "privacy-officer", "--certificate", "x.json"]).exits(4);
    decide(&folder, "revoke", &id).ok();
    translate(&id, "privacy-officer").exits(4);
    let brief = approved(&folder, &[&A_TO_B[..], &["--for", "1s"]].concat(), &[&a[0]]);
    std::thread::sleep(Duration::from_millis(1100));
    assert!(translate(&brief, "privacy-officer").exits(4).err.contains("expired"));
    let refused = ask(&folder, &A_TO_B, &[&a[0]]).ok().out.trim().to_owned();
    decide(&folder, "reject", &refused).ok();
    translate(&refused, "privacy-officer").exits(4);
    none();

    // A file of a whole table, with a token that is another recipient's and one that is nobody's.
    let file = folder.path().join("tokens.txt");
    let nobody = "a".repeat(26);
    let lines: Vec<&str> = a.iter().chain([&b[5], &nobody]).map(String::as_str).collect();
    fs::write(&file, lines.join("\n")).unwrap();
    let id = approved(
        &folder,
        &[&A_TO_B[..], &["--times", "1", "--tokens-file", &file.display().to_string()]].concat(),
        &[],
    );
    let said = translate(&id, "privacy-officer").ok();
    let expected: String = a.iter().zip(&b).map(|(a, b)| format!("{a}\t{b}\n")).collect();
    assert_eq!(said.out, expected);
    assert!(said.err.contains(&format!("2 of {}", PEOPLE + 2)), "{}", said.err);
    assert!(translate(&id, "privacy-officer").exits(4).err.contains("as often"));
    let event = &folder.audit("tokens_translated")[0];
    assert_eq!(
        (&event["crosswalk"]["from"], &event["crosswalk"]["to"], &event["found"]),
        (&"study-a".into(), &"study-b".into(), &PEOPLE.into())
    );
    let show = folder.cordon(&["token", "show", &id, "--as", "compliance-officer", "--format", "json"]).ok().json();
    assert_eq!(
        (&show["act"], &show["count"], &show["from"], &show["revealed"]),
        (&"translate".into(), &(PEOPLE + 2).into(), &"study-a".into(), &1.into())
    );

    // To the project's own and from them.
    for (from, to, token, expected) in [
        ("study-a", "project", &a[7], &own[7]),
        ("project", "study-b", &own[7], &b[7]),
        ("study-b", "study-a", &b[7], &a[7]),
    ] {
        let id = approved(&folder, &["--translate", "--from", from, "--to", to], &[token]);
        let said =
            folder.cordon(&["token", "translate", &id, "--as", "privacy-officer", "--format", "json"]).ok().json();
        assert_eq!(
            (&said["tokens"][0]["from"], &said["tokens"][0]["to"]),
            (&token.as_str().into(), &expected.as_str().into())
        );
    }
    // The record holds no token, nor does anything else in clear.
    let log = folder.cordon(&["audit", "list", "-n", "1000", "--format", "json"]).ok();
    assert!(!a.iter().chain(&b).chain(&own).any(|token| log.out.contains(token)));
    folder.cordon(&["audit", "verify"]).ok();
}

#[test]
fn a_request_whose_tokens_were_changed_is_not_carried_out() {
    let (folder, [_, a, _]) = published();
    let [one, other] = [0, 1].map(|n| approved(&folder, &A_TO_B, &[&a[n]]));
    let file = |id: &str| folder.path().join(format!(".cordon/requests/{id}.sealed"));
    fs::copy(file(&one), file(&other)).unwrap();
    folder.cordon(&["token", "translate", &other, "--as", "privacy-officer"]).exits(7);
    fs::remove_file(file(&one)).unwrap();
    folder.cordon(&["token", "translate", &one, "--as", "privacy-officer"]).exits(7);
    assert!(folder.audit("tokens_translated").is_empty());
}

#[test]
fn whoever_is_destroyed_is_gone_for_every_recipient_also_from_an_old_copy() {
    let (folder, [own, a, b]) = published();
    let copy = folder.path().join("copy-of-the-vault");
    copy_tree(&folder.path().join(".cordon/vault"), &copy);
    let id = approved(&folder, &["--domain", "mrn", "--shred"], &[&b[3]]);
    let certificate = folder.path().join("certificate.json").display().to_string();
    folder.cordon(&["vault", "shred", &id, "--as", "privacy-officer", "--certificate", &certificate]).ok();
    folder.cordon(&["vault", "check-certificate", &certificate]).ok();
    let said: Value = serde_json::from_str(&folder.read("certificate.json")).unwrap();
    let destroyed = serde_json::json!([["mrn", 1], ["recipient:study-a", 1], ["recipient:study-b", 1]]);
    assert_eq!(said["statement"]["destroyed"], destroyed);
    for restored in [false, true] {
        if restored {
            fs::remove_dir_all(folder.path().join(".cordon/vault")).unwrap();
            copy_tree(&copy, &folder.path().join(".cordon/vault"));
        }
        for token in [&own[3], &a[3], &b[3]] {
            revealed(&folder, token).exits(1);
        }
        assert_eq!(revealed(&folder, &a[4]).ok().out, format!("{}\tM0004\n", a[4]));
        let id = approved(&folder, &A_TO_B, &[&a[3], &a[4]]);
        let said = folder.cordon(&["token", "translate", &id, "--as", "privacy-officer"]).ok();
        assert_eq!(said.out, format!("{}\t{}\n", a[4], b[4]), "the rows of the person lead to each other no more");
        folder.cordon(&["vault", "verify"]).ok();
    }
}

#[test]
fn runs_that_are_killed_come_to_one_token_a_person_and_recipient() {
    let (calm, [_, a, _]) = published();
    let kept = |folder: &Folder| {
        folder.everything().into_iter().filter(|line| line.starts_with("a_")).collect::<BTreeSet<_>>()
    };
    let expected = kept(&calm);

    // Other tables over the same vault and keys, so that rows can be compared.
    let again = project();
    fs::remove_dir_all(again.path().join(".cordon")).unwrap();
    for part in [".cordon", "secrets", "in"] {
        copy_tree(&calm.path().join(part), &again.path().join(part));
    }
    for part in [".cordon/state", ".cordon/quarantine"] {
        let _ = fs::remove_dir_all(again.path().join(part));
    }
    for step in ["unit", "journaled", "prepared", "committing", "committed"] {
        let killed =
            binary().args(["run", "a", "-q"]).current_dir(again.path()).env("CORDON_FAIL_AT", step).output().unwrap();
        assert!(!killed.status.success(), "{step}");
    }
    again.cordon(&["run", "a", "-q"]).ok();
    assert!(expected == kept(&again), "what was killed ended with other rows");

    // From nothing, both at once, each killed at some instants.
    let folder = project();
    visits(&folder);
    for round in 0..6_u64 {
        let mut runs = ["a", "b"].map(|name| started(&folder, name));
        for (run, delay) in runs.iter_mut().zip([60 + 53 * round, 20 + 31 * round]) {
            std::thread::sleep(Duration::from_millis(delay));
            run.kill().unwrap();
            run.wait().unwrap();
        }
    }
    for mut run in ["a", "b"].map(|name| started(&folder, name)) {
        assert!(run.wait().unwrap().success());
    }
    for name in ["more_a", "more_b"] {
        folder.run_json(name, 0);
    }
    for name in ["a", "b"] {
        let tokens = column(&folder, &format!("{name}_visits"), "mrn");
        assert_eq!((tokens.len(), distinct(&tokens).len()), (PEOPLE * 2, PEOPLE), "{name}");
        assert_eq!(tokens, column(&folder, &format!("more_{name}_visits"), "mrn"), "{name}");
    }
    let status = folder.cordon(&["vault", "status", "--format", "json"]).ok().json();
    let domains: BTreeMap<&str, &Value> = status["domains"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["domain"].as_str().unwrap(), &one["tokens"]))
        .collect();
    // Persons and visits.
    for domain in ["recipient:study-a", "recipient:study-b"] {
        assert_eq!(domains[domain], &Value::from(PEOPLE * 3), "no orphan");
    }
    folder.cordon(&["vault", "verify"]).ok();
    assert_eq!(a.len(), PEOPLE);
}

#[test]
fn tables_of_two_recipients_are_not_queried_together_without_the_right() {
    let (folder, _) = published();
    let ask = |user: &str, purpose: &str, query: &str| {
        folder.cordon(&["sql", query, "--as", user, "--purpose", purpose, "--format", "csv"])
    };
    for query in [
        "SELECT count(*) FROM a_visits a JOIN b_visits b ON a.row = b.row",
        "SELECT row FROM a_visits WHERE row IN (SELECT row FROM b_visits)",
        "WITH b AS (SELECT row FROM b_visits) SELECT a.row FROM a_visits a, b",
        "SELECT row FROM a_visits UNION ALL SELECT row FROM b_visits",
        "SELECT (SELECT max(row) FROM b_visits), row FROM a_visits",
        "SELECT a.row FROM a_visits a, p_visits p WHERE a.row = p.row",
        "EXPLAIN SELECT a.row FROM a_visits a JOIN b_visits b USING (row)",
    ] {
        let said = ask("engineer", "operations", query).exits(4);
        assert!(said.out.is_empty() && said.err.contains("join-recipients"), "{query}: {}", said.all());
    }
    assert_eq!(folder.audit("access_denied").len(), 7);
    assert!(
        folder.audit("query_finished").iter().all(|done| done["rows"].as_u64().unwrap() > 0),
        "only what was allowed"
    );
    folder.run_json("more_a", 0);
    ask("engineer", "operations", "SELECT count(*) FROM a_visits a JOIN more_a_visits b ON a.mrn = b.mrn").ok();

    let config = folder.read("cordon.yaml");
    let granted = config
        .replace("allow: [read-quarantine, unwrap-keys]", "allow: [read-quarantine, unwrap-keys, join-recipients]");
    assert_ne!(config, granted);
    folder.write("cordon.yaml", granted);
    let said = ask("engineer", "operations", "SELECT count(*) FROM a_visits a JOIN b_visits b ON a.mrn = b.mrn").ok();
    assert_eq!(said.out.lines().last(), Some("0"), "and tokens do not join");
    ask("analyst", "research", "SELECT count(*) FROM a_visits a JOIN b_visits b ON a.row = b.row").exits(4);
}

#[test]
fn a_table_is_one_recipients() {
    let (folder, [_, a, b]) = published();
    let pipeline = folder.read("pipelines/a.yaml");
    // A record that waits must not be written for one beside rows for another.
    folder.write("in/visits2.csv", "mrn,encounter,account,plan,first,last,born,day,row\nM0001,E-1,AC-1,9000000000000001,Ann,Smith,no day,2020-01-17,90000\n");
    folder.run_json("a", 3);
    folder.write("pipelines/a.yaml", pipeline.replace("study-a", "study-b"));
    let said = folder.cordon(&["quarantine", "replay", "a"]).exits(2);
    assert!(said.err.contains("another recipient"), "{}", said.err);
    folder.run_json("a", 3);
    let now: Vec<String> = column(&folder, "a_visits", "mrn").into_values().take(PEOPLE).collect();
    assert!(now == b && now != a, "all rows are made again");

    // Where a file is gone its rows cannot be, and none is.
    folder.write("pipelines/a.yaml", &pipeline);
    fs::remove_file(folder.path().join("in/visits.csv")).unwrap();
    let said = folder.cordon(&["run", "a"]).exits(2);
    assert!(said.err.contains("recipient"), "{}", said.err);
    assert_eq!(column(&folder, "a_visits", "mrn").into_values().take(PEOPLE).collect::<Vec<_>>(), b);

    folder.write("pipelines/a.yaml", pipeline.replace("study-a", "study-d"));
    assert!(folder.cordon(&["run", "a"]).exits(2).err.contains("did you mean"));
    let config = folder.read("cordon.yaml");
    for name in ["project", "Study", "a b", "recipient:x"] {
        folder.write("cordon.yaml", config.replace("  study-b: {}", &format!("  study-b: {{}}\n  \"{name}\": {{}}")));
        assert!(folder.cordon(&["run", "plain"]).exits(2).err.contains("cannot name a recipient"), "{name}");
    }
    folder.write("cordon.yaml", &config);
    for (from, to) in [
        ("domain: encounter", "domain: \"recipient:study-a\""),
        ("method:", "subject: { domain: \"recipient:x\" }\nmethod:"),
    ] {
        folder.write("policies/test.yaml", POLICY.replacen(from, to, 1));
        assert!(folder.cordon(&["run", "plain"]).exits(2).err.contains("holds the tokens of recipients"), "{to}");
    }
    folder.write("policies/test.yaml", POLICY);
    folder.write(
        "pipelines/plain.yaml",
        folder.read("pipelines/plain.yaml").replace("{ mrn: mrn }", "{ mrn: \"recipient:study-a\" }"),
    );
    assert!(folder.cordon(&["run", "plain"]).exits(2).err.contains("holds the tokens of recipients"));
}
