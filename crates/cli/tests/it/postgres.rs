//! Projects whose vault and dossiers are in a real PostgreSQL, over TLS and with a client certificate.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::postgres_server::{Server, is_installed};
use crate::support::{Folder, Said, binary, copy_tree, said};

const IN_FOLDER: &str = "vault: { path: .cordon/vault }";

/// Who people are by three numbers; names are made up, so that dossiers decide how they are drawn.
const POLICY: &str = "
policy: test
method: expert-determination
expert: { name: x, document: y }
datasets:
  people:
    subject: id
    fields:
      id: { kind: unique-id, action: token, domain: patient }
      mrn: { kind: medical-record-number, action: token, domain: mrn }
      ssn: { kind: ssn, action: drop }
      first: { kind: name, action: surrogate, surrogate: first-name }
      row: { kind: operational }
  visits:
    subject: mrn
    fields:
      mrn: { kind: medical-record-number, action: token, domain: mrn }
      day: { kind: service-date, action: shift-date }
      row: { kind: operational }
";

fn sources(prefix: &str) -> String {
    format!(
        "  - {{ dataset: people, path: \"in/{prefix}people*.csv\", identity: {{ id: patient, mrn: mrn, ssn: ssn }} }}\n  \
         - {{ dataset: visits, path: \"in/{prefix}visits*.csv\", optional: true, identity: {{ mrn: mrn }} }}"
    )
}

/// The CSV of people; everything of person `n` follows from `n`.
fn people(range: std::ops::Range<usize>) -> String {
    let names = ["Ann", "Bob", "Cyd", "Dee", "Eve"];
    let lines = range.map(|n| {
        // Without signs: each spelling is an entry of its own.
        let ssn = format!("{:03}{:02}{:04}", 100 + n / 9000, 10 + n % 80, 1000 + n % 9000);
        format!("CANARYp{n:05},CANARYm{n:05},{ssn},{},r{n}\n", names[n % 5])
    });
    format!("id,mrn,ssn,first,row\n{}", lines.collect::<String>())
}

fn visits(range: std::ops::Range<usize>) -> String {
    format!("mrn,day,row\n{}", range.map(|n| format!("CANARYm{n:05},2020-01-01,r{n}\n")).collect::<String>())
}

/// What `cordon.yaml` says of a vault in the server's database.
fn section(server: &Server, more: &str) -> String {
    let dir = server.dir.path().display();
    format!(
        "vault:\n  postgres:\n    host: 127.0.0.1\n    port: {}\n    database: vault\n    user: cert_user\n    ca-file: {dir}/ca.crt\n    \
         client-certificate: {dir}/client.crt\n    client-key: {dir}/client.key\n{more}",
        server.port
    )
}

fn put_vault(folder: &Folder, section: &str) {
    let config = folder.read("cordon.yaml");
    assert!(config.contains(IN_FOLDER));
    folder.write("cordon.yaml", config.replace(IN_FOLDER, section));
}

fn migrate(folder: &Folder) -> Said {
    let args = ["vault", "migrate", "--owner", "vault_owner", "--password-env", "CORDON_TEST_OWNER"];
    said(binary().args(args).env("CORDON_TEST_OWNER", "owner-pw").current_dir(folder.path()).output().unwrap())
}

/// Puts the project's vault into the server's database.
pub fn move_in(folder: &Folder, server: &Server) {
    put_vault(folder, &section(server, ""));
    migrate(folder).ok();
}

fn start(folder: &Folder, pipeline: &str) -> Child {
    binary()
        .args(["run", pipeline, "-q"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn text(row: &Value, column: &str) -> String {
    row[column].as_str().unwrap_or_else(|| panic!("no {column}")).to_owned()
}

/// Of each row of a table, which has every person once, the other columns.
fn rows(folder: &Folder, table: &str, columns: &str) -> BTreeMap<String, String> {
    let all = folder.csv(&format!("SELECT row, {columns} FROM {table}"));
    let lines: Vec<(String, String)> = all
        .lines()
        .skip(1)
        .map(|line| line.split_once(',').unwrap())
        .map(|(row, rest)| (row.into(), rest.into()))
        .collect();
    let map: BTreeMap<String, String> = lines.iter().cloned().collect();
    assert_eq!(map.len(), lines.len(), "{table}: a row came twice");
    map
}

/// A small generator of its own: the instants are the same for the same seed.
struct Seeded(u64);

impl Seeded {
    fn of_the_environment() -> (u64, usize, Self) {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let seed = number("CORDON_KILL_SEED").unwrap_or(20_261_127);
        (seed, number("CORDON_KILLS").unwrap_or(5) as usize, Self(seed))
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn ask(folder: &Folder, domain: &str, tokens: &[&str], shred: bool) -> String {
    let mut args =
        vec!["token", "request", "--domain", domain, "--as", "privacy-officer", "--reason", "it was asked for"];
    args.extend(["--purpose", "required-by-law"]);
    args.extend(shred.then_some("--shred"));
    args.extend(tokens);
    let id = folder.cordon(&args).ok().out.trim().to_owned();
    folder.cordon(&["token", "approve", &id, "--as", "compliance-officer", "--reason", "checked with the ward"]).ok();
    id
}

/// What stands behind each of these tokens; nothing for those behind which nothing does.
fn revealed(folder: &Folder, domain: &str, tokens: &BTreeSet<String>) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    for tokens in tokens.chunks(1000) {
        let id = ask(folder, domain, tokens, false);
        let said = folder.cordon(&["token", "reveal", &id, "--as", "privacy-officer", "--format", "json"]);
        assert!(said.code == 0 || said.code == 1, "{}", said.err);
        for one in said.json()["tokens"].as_array().unwrap() {
            let values = one["values"].as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned());
            found.insert(text(one, "token"), values.collect());
        }
    }
    found
}

fn tokens_by_domain(status: &Value) -> BTreeMap<String, u64> {
    let domains = status["domains"].as_array().unwrap();
    domains.iter().map(|one| (text(one, "domain"), one["tokens"].as_u64().unwrap())).collect()
}

fn json(folder: &Folder, args: &[&str]) -> Value {
    folder.cordon(&[args, &["--format", "json"]].concat()).ok().json()
}

#[test]
fn a_hospital_in_four_formats_is_the_same_with_either_vault() {
    if !is_installed() {
        return;
    }
    let server = Server::start();
    let (embedded, shared) = (Folder::init("research"), Folder::init("research"));
    move_in(&shared, &server);
    let all = [&embedded, &shared];
    let formats = ["--formats", "csv,fhir,hl7v2,notes", "--seed", "5", "--clean"];
    let reports = all.map(|folder| {
        folder.synth(15, &formats);
        folder.run_json("nightly", 0)
    });
    for number in ["rows_in", "rows_out", "quarantined", "people_joined", "files_read"] {
        assert_eq!(reports[0][number], reports[1][number], "{number}");
    }
    for (dataset, found) in reports[0]["found"].as_object().unwrap() {
        let there = &reports[1]["found"][dataset];
        assert_eq!((&found["records"], &found["values"]), (&there["records"], &there["values"]), "{dataset}");
        // What was replaced in texts because records say it of their subjects; that is known from dossiers only. (How many names and
        // dates a text holds varies with what is made up.)
        for kind in ["ssn", "email", "street-address", "health-plan-id", "account-number", "medical-record-number"] {
            let known = |found: &Value| found["spans"][kind]["known"].as_u64();
            assert_eq!(known(found), known(there), "{dataset}: {kind}");
            let must = dataset == "text_notes" && kind == "medical-record-number";
            assert!(!must || known(there) > Some(0), "{dataset}: {kind}");
        }
    }
    let tables = all.map(Folder::tables);
    assert_eq!(tables[0], tables[1]);
    let mut questions: Vec<(String, bool)> =
        tables[0].iter().map(|table| (format!("SELECT count(*) AS n FROM {table}"), false)).collect();
    for join in [
        "SELECT count(DISTINCT patient_id) AS n FROM patients",
        "SELECT count(*) AS n FROM patients p JOIN fhir_patient f ON f.id = p.patient_id",
        "SELECT count(*) AS n FROM encounters e JOIN patients p ON p.patient_id = e.patient_id",
        "SELECT count(*) AS n FROM patients p JOIN hl7_pid h ON p.patient_id = h.patient AND \
         lower(h.pid_5_2_given_name) = lower(p.first_name)",
    ] {
        questions.push((join.to_owned(), true));
    }
    let texts = questions
        .iter()
        .enumerate()
        .map(|(number, (question, _))| format!("SELECT {number} AS number, n FROM ({question}) AS q{number}"));
    let all_at_once = format!("{} ORDER BY 1", texts.collect::<Vec<_>>().join(" UNION ALL "));
    let answers = all.map(|folder| folder.sql(&all_at_once));
    assert_eq!(answers[0].len(), questions.len());
    for ((one, other), (question, must)) in answers[0].iter().zip(&answers[1]).zip(&questions) {
        assert_eq!(one["n"], other["n"], "{question}");
        assert!(!must || one["n"].as_i64() > Some(0), "{question}");
    }
    let [one, other] = all.map(|folder| json(folder, &["vault", "status"]));
    assert_eq!((&one["domains"], &one["merges"]), (&other["domains"], &other["merges"]));
    assert!(other["dossiers"]["people"].as_u64().unwrap() >= 15 && other["dossiers"]["bytes"].as_u64() > Some(0));
    assert_eq!(
        one.as_object().unwrap().keys().collect::<Vec<_>>(),
        other.as_object().unwrap().keys().collect::<Vec<_>>()
    );
    let [one, other] = all.map(|folder| json(folder, &["vault", "verify"]));
    for number in ["tokens", "destroyed", "merges"] {
        assert_eq!(one[number], other[number], "{number}");
    }
    assert!(shared.cordon(&["vault", "verify"]).ok().out.contains("and so are the dossiers"));
    let again = shared.run_json("nightly", 0);
    assert_eq!((&again["files_read"], &again["rows_in"]), (&0.into(), &0.into()));
    // Everything is in the database, and nothing of it beside.
    assert!(!shared.path().join(".cordon/dossiers").exists());
    shared.cordon(&["audit", "verify"]).ok();
}

/// Two projects of two machines: one key ring and one file of subject keys, which both reach, and one database.
fn two_machines(server: &Server) -> [Folder; 2] {
    let one = Folder::with(POLICY, &sources(""));
    let common = server.dir.path().join("common");
    fs::create_dir(&common).unwrap();
    for (from, to) in [
        (".cordon/keyring.json", "keyring.json"),
        ("secrets/root.key", "root.key"),
        (".cordon/subject-keys", "subject-keys"),
    ] {
        fs::rename(one.path().join(from), common.join(to)).unwrap();
    }
    let config = one.read("cordon.yaml");
    let at = common.display();
    one.write(
        "cordon.yaml",
        config
            .replace("keyring: .cordon/keyring.json", &format!("keyring: {at}/keyring.json"))
            .replace("root: { key-file: secrets/root.key }", &format!("root: {{ key-file: {at}/root.key }}")),
    );
    move_in(&one, server);
    let other = Folder { dir: tempfile::tempdir().unwrap() };
    copy_tree(&one.path(), &other.path());
    [one, other]
}

/// All that a killed and resumed run, and the one beside it, must have come to. Of each table, which people are in it.
fn same_everywhere(tables: &[(&Folder, &str, BTreeSet<usize>)], status: &Value, seed: u64) {
    let everybody = tables.iter().flat_map(|(.., who)| who.clone()).collect::<BTreeSet<usize>>();
    let mut of: BTreeMap<String, String> = BTreeMap::new();
    for (folder, prefix, who) in tables {
        let people = rows(folder, &format!("{prefix}people"), "id, mrn, first");
        assert_eq!(
            people.keys().cloned().collect::<BTreeSet<_>>(),
            who.iter().map(|n| format!("r{n}")).collect(),
            "seed {seed}"
        );
        let visits = rows(folder, &format!("{prefix}visits"), "mrn");
        assert_eq!(visits.len(), people.len(), "seed {seed}");
        for (row, said) in people {
            let (id, rest) = said.split_once(',').unwrap();
            assert_eq!(
                (rest.split(',').next(), visits.get(&row).map(String::as_str)),
                (Some(id), Some(id)),
                "seed {seed}"
            );
            // The same token, and the same made-up name, wherever the person is.
            let before = of.entry(row).or_insert_with(|| said.clone());
            assert_eq!(*before, said, "seed {seed}");
        }
    }
    assert_eq!(of.len(), everybody.len());
    let expected = ["mrn", "patient", "ssn"].map(|domain| (domain.to_owned(), everybody.len() as u64));
    assert_eq!(tokens_by_domain(status), BTreeMap::from(expected), "seed {seed}: a value has two tokens, or none");
    let tokens: BTreeMap<String, String> =
        of.iter().map(|(row, said)| (said.split(',').next().unwrap().to_owned(), row.clone())).collect();
    assert_eq!(tokens.len(), everybody.len(), "seed {seed}: two people share a token");
    // Some of them, since to reveal one reads them all.
    let some: BTreeMap<&String, &String> = tokens.iter().step_by(25).collect();
    let found = revealed(tables[0].0, "patient", &some.keys().map(|token| (*token).clone()).collect());
    for (token, row) in some {
        let number: usize = row[1..].parse().unwrap();
        assert_eq!(found.get(token), Some(&BTreeSet::from([format!("CANARYp{number:05}")])), "seed {seed}: an orphan");
    }
}

#[test]
fn of_two_machines_that_read_the_same_people_at_once_one_is_killed_and_resumed() {
    if !is_installed() {
        return;
    }
    let (seed, kills, mut random) = Seeded::of_the_environment();
    let server = Server::start();
    let [one, other] = two_machines(&server);
    // How long a run takes, with people whom nobody else has.
    let began = Instant::now();
    for (folder, range) in [(&one, 0..150), (&other, 100..250)] {
        folder.write("in/people0.csv", people(range.clone()));
        folder.write("in/visits0.csv", visits(range));
    }
    one.run_json("test", 0);
    let whole = began.elapsed().as_millis() as u64;
    let (mut hit, mut last) = (0, 250);
    for round in 1..=kills {
        let (mine, theirs) = (last..last + 150, last + 50..last + 200);
        last += 200;
        for (folder, range) in [(&one, mine), (&other, theirs)] {
            folder.write(&format!("in/people{round}.csv"), people(range.clone()));
            folder.write(&format!("in/visits{round}.csv"), visits(range));
        }
        let (mut whole_run, mut cut) = (start(&one, "test"), start(&other, "test"));
        sleep(Duration::from_millis(random.below(whole)));
        cut.kill().unwrap();
        hit += usize::from(!cut.wait().unwrap().success());
        assert_eq!(whole_run.wait().unwrap().code(), Some(0), "seed {seed}, round {round}");
    }
    assert!(hit > 0, "no run was hit: seed {seed}");
    other.run_json("test", 0);
    let all = |from: usize, rounds: usize| {
        let mut all: BTreeSet<usize> = (from..from + 150).collect();
        let first = if from == 0 { 250 } else { 300 };
        all.extend((0..rounds).flat_map(|round| first + round * 200..first + round * 200 + 150));
        all
    };
    let status = json(&one, &["vault", "status"]);
    same_everywhere(&[(&one, "", all(0, kills)), (&other, "", all(100, kills))], &status, seed);
    for folder in [&one, &other] {
        folder.cordon(&["vault", "verify"]).ok();
        folder.cordon(&["audit", "verify"]).ok();
        assert_eq!(folder.run_json("test", 0)["rows_in"], 0);
    }
    assert_eq!(status["dossiers"]["people"], status["domains"][0]["tokens"]);
}

#[test]
fn of_two_pipelines_that_share_a_folder_and_people_one_is_killed_and_resumed() {
    let (seed, kills, mut random) = Seeded::of_the_environment();
    let folder = Folder::with(POLICY, &sources("a-"));
    folder.write(
        "pipelines/other.yaml",
        format!("pipeline: other\npolicy: test\nsink: {{ prefix: o_ }}\nsources:\n{}\n", sources("b-")),
    );
    let write = |name: &str, round: usize, range: std::ops::Range<usize>| {
        folder.write(&format!("in/{name}-people{round}.csv"), people(range.clone()));
        folder.write(&format!("in/{name}-visits{round}.csv"), visits(range));
    };
    let began = Instant::now();
    write("a", 0, 0..150);
    write("b", 0, 100..250);
    folder.run_json("test", 0);
    let whole = began.elapsed().as_millis() as u64;
    let (mut hit, mut last) = (0, 250);
    for round in 1..=kills {
        write("a", round, last..last + 150);
        write("b", round, last + 50..last + 200);
        last += 200;
        let (mut whole_run, mut cut) = (start(&folder, "test"), start(&folder, "other"));
        sleep(Duration::from_millis(random.below(whole)));
        cut.kill().unwrap();
        hit += usize::from(!cut.wait().unwrap().success());
        assert_eq!(whole_run.wait().unwrap().code(), Some(0), "seed {seed}, round {round}");
    }
    assert!(hit > 0, "no run was hit: seed {seed}");
    folder.run_json("other", 0);
    let all = |from: usize| {
        let mut all: BTreeSet<usize> = (from..from + 150).collect();
        let first = if from == 0 { 250 } else { 300 };
        all.extend((0..kills).flat_map(|round| first + round * 200..first + round * 200 + 150));
        all
    };
    let status = json(&folder, &["vault", "status"]);
    same_everywhere(&[(&folder, "", all(0)), (&folder, "o_", all(100))], &status, seed);
    folder.cordon(&["vault", "verify"]).ok();
    folder.cordon(&["audit", "verify"]).ok();
}

/// Waits until a run has given tokens.
fn until_tokens(server: &Server, run: &mut Child, more_than: usize) {
    let until = Instant::now() + Duration::from_mins(2);
    loop {
        let count: usize = server.admin("vault", "SELECT count(*) FROM cordon.tokens").parse().unwrap();
        if count > more_than {
            return;
        }
        assert!(Instant::now() < until && run.try_wait().unwrap().is_none(), "the run gave no token");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_server_that_stops_in_a_run_is_said_and_the_run_is_carried_on() {
    const PEOPLE: usize = 12_000;
    const ALL: usize = 18_000;
    if !is_installed() {
        return;
    }
    let server = Server::start();
    let folder = Folder::with(POLICY, &sources(""));
    put_vault(&folder, &section(&server, "    retry-seconds: 1\n"));
    migrate(&folder).ok();
    folder.write("in/people.csv", people(0..PEOPLE));
    let mut run = Command::new(env!("CARGO_BIN_EXE_cordon"))
        .args(["run", "test", "-q", "--format", "json"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until_tokens(&server, &mut run, 0);
    server.down("immediate");
    let stopped = said(run.wait_with_output().unwrap()).exits(6);
    let error: Value = serde_json::from_str(&stopped.err).unwrap_or_else(|_| panic!("{}", stopped.err));
    assert_eq!(error["exit_code"], 6);
    // Refused, closed or stopping: whatever the last attempt met.
    assert!(stopped.err.contains("the token vault is not available: PostgreSQL 127.0.0.1"), "{}", stopped.err);
    assert!(!stopped.all().contains("CANARY"));
    let refused = folder.cordon(&["run", "test"]).exits(6);
    assert!(refused.err.contains("refused"), "{}", refused.err);
    assert!(folder.tables().is_empty());

    server.up();
    // And for less long than `retry-seconds` says: nobody notices.
    let config = folder.read("cordon.yaml").replace("retry-seconds: 1\n", "retry-seconds: 60\n");
    folder.write("cordon.yaml", config);
    let before: usize = server.admin("vault", "SELECT count(*) FROM cordon.tokens").parse().unwrap();
    folder.write("in/people2.csv", people(PEOPLE..ALL));
    let mut run = start(&folder, "test");
    until_tokens(&server, &mut run, before);
    server.down("immediate");
    sleep(Duration::from_millis(500));
    server.up();
    assert_eq!(run.wait().unwrap().code(), Some(0));
    assert_eq!(folder.count("SELECT count(*) FROM people"), ALL as i64);
    assert_eq!(folder.count("SELECT count(DISTINCT id) FROM people"), ALL as i64);
    let status = json(&folder, &["vault", "status"]);
    assert!(tokens_by_domain(&status).values().all(|count| *count == ALL as u64), "{status}");
    folder.cordon(&["vault", "verify"]).ok();
}

#[test]
fn who_is_not_let_in_hears_why_and_nothing_is_written() {
    if !is_installed() {
        return;
    }
    let server = Server::start();
    let folder = Folder::with(POLICY, &sources(""));
    folder.write("in/people.csv", people(0..3));
    put_vault(&folder, &section(&server, "    retry-seconds: 1\n"));
    let good = folder.read("cordon.yaml");
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        folder.write("cordon.yaml", good.replace(from, to));
    };
    let refused = |code: i32, says: &str| {
        for args in [&["run", "test"][..], &["vault", "status"]] {
            let said = folder.cordon(args).exits(code);
            assert!(said.err.contains(says), "{says}: {}", said.err);
            assert!(!said.all().contains("-pw") && !said.all().contains("CANARY"), "{}", said.all());
        }
        assert!(folder.tables().is_empty());
    };
    refused(6, "cordon vault migrate");
    let args = ["vault", "migrate", "--owner", "vault_owner", "--password-env", "CORDON_TEST_OWNER"];
    let wrong = binary().args(args).env("CORDON_TEST_OWNER", "guess-pw").current_dir(folder.path()).output().unwrap();
    let wrong = said(wrong).exits(6);
    assert!(
        wrong.err.contains("does not let the role `vault_owner` in") && !wrong.err.contains("guess"),
        "{}",
        wrong.err
    );
    let same = ["vault", "migrate", "--owner", "cert_user", "--password-env", "CORDON_TEST_OWNER"];
    let same = binary().args(same).env("CORDON_TEST_OWNER", "owner-pw").current_dir(folder.path()).output().unwrap();
    assert!(said(same).exits(2).err.contains("must not be the one that runs work"));
    migrate(&folder).ok();

    let dir = server.dir.path().display().to_string();
    let certificate = format!("    client-certificate: {dir}/client.crt\n    client-key: {dir}/client.key\n");
    // The certificate is another role's; a certificate of an authority that the server does not trust; none at all.
    with("user: cert_user", "user: cordon");
    refused(6, "asks the role `cordon` for a password, and none is configured");
    with(&certificate, &certificate.replace("client.", "stranger."));
    refused(6, "PostgreSQL 127.0.0.1");
    with(&certificate, "");
    refused(6, "PostgreSQL 127.0.0.1");
    let by_password = good.replace("user: cert_user", "user: cordon");
    folder.write("cordon.yaml", by_password.replace(&certificate, &format!("    pgpass: {dir}/wrong.pgpass\n")));
    refused(6, "does not let the role `cordon` in");
    folder.write("cordon.yaml", by_password.replace(&certificate, "    password-env: CORDON_TEST_NOT_SET\n"));
    refused(2, "CORDON_TEST_NOT_SET");
    // A role that was let in and granted nothing.
    folder.write("cordon.yaml", by_password.replace(&certificate, &format!("    pgpass: {dir}/work.pgpass\n")));
    refused(6, "may not see it");
    with("ca.crt", "other.crt");
    refused(6, "not trusted");
    folder.write("cordon.yaml", &good);
    folder.run_json("test", 0);
    assert_eq!(folder.count("SELECT count(*) FROM people"), 3);
}

#[test]
fn one_of_a_thousand_is_gone_from_a_dump_of_before_and_a_run_sees_that_it_was_put_back() {
    const PEOPLE: usize = 1000;
    if !is_installed() {
        return;
    }
    let server = Server::start();
    let folder = Folder::with(POLICY, &sources(""));
    move_in(&folder, &server);
    folder.write("in/people.csv", people(0..PEOPLE));
    folder.run_json("test", 0);
    let early = server.dump();
    folder.write("in/visits.csv", visits(0..PEOPLE));
    folder.run_json("test", 0);
    let late = server.dump();
    let before: Vec<String> = {
        let rows = rows(&folder, "people", "id");
        (0..PEOPLE).map(|n| rows[&format!("r{n}")].clone()).collect()
    };
    let some: BTreeSet<String> = before.iter().step_by(100).chain(&before[6..9]).cloned().collect();

    let id = ask(&folder, "patient", &[&before[7]], true);
    let shred = |id: &str, file: &str| {
        let file = folder.path().join(file).display().to_string();
        folder.cordon(&["vault", "shred", id, "--as", "privacy-officer", "--certificate", &file])
    };
    let done = shred(&id, "certificate.json").ok();
    assert!(done.out.contains("behind 3 tokens any more"), "{}", done.out);
    let certificate: Value = serde_json::from_str(&folder.read("certificate.json")).unwrap();
    assert_eq!(certificate["statement"]["destroyed"], serde_json::json!([["mrn", 1], ["patient", 1], ["ssn", 1]]));
    let verified = json(&folder, &["vault", "verify"]);
    assert_eq!((&verified["tokens"], &verified["destroyed"]), (&(3 * PEOPLE - 3).into(), &3.into()));
    folder.cordon(&["vault", "check-certificate", &folder.path().join("certificate.json").display().to_string()]).ok();

    let gone = |when: &str| {
        for (domain, letter) in [("patient", 'p'), ("mrn", 'm')] {
            let found = revealed(&folder, domain, &some);
            for (n, token) in before.iter().enumerate().filter(|(_, token)| some.contains(*token)) {
                let expected = (n != 7).then(|| BTreeSet::from([format!("CANARY{letter}{n:05}")]));
                let is = found.get(token).filter(|values| !values.is_empty());
                assert_eq!(is, expected.as_ref(), "{when}: {n}");
            }
        }
    };
    gone("after");
    // The copy knows nothing of the later run: tables may hold tokens that it would give to others.
    server.restore(&early);
    gone("in the early copy");
    folder.cordon(&["vault", "verify"]).ok();
    assert!(!server.dump().windows(6).any(|bytes| bytes == b"CANARY"));
    folder.write("in/visits2.csv", visits(0..PEOPLE).replace("-01,r", "-01,s"));
    let said = folder.cordon(&["run", "test"]).exits(7);
    assert!(said.err.contains("older copy") && said.err.contains("PostgreSQL 127.0.0.1"), "{}", said.err);

    // This one lacks nothing but that somebody was destroyed: the run goes on, the others are who they were, and whoever comes
    // with that person's number is somebody else.
    server.restore(&late);
    gone("in the late copy");
    folder.run_json("test", 0);
    let after = rows(&folder, "visits", "mrn");
    for (n, token) in before.iter().enumerate() {
        assert_eq!(after[&format!("s{n}")] == *token, n != 7, "{n}");
    }
    assert!(!before.contains(&after["s7"]));
    folder.cordon(&["vault", "verify"]).ok();
    folder.cordon(&["audit", "verify"]).ok();
}

#[test]
fn a_destruction_in_the_database_that_was_killed_is_carried_on() {
    if !is_installed() {
        return;
    }
    let server = Server::start();
    let folder = Folder::with(POLICY, &sources(""));
    move_in(&folder, &server);
    folder.write("in/people.csv", people(0..20));
    folder.run_json("test", 0);
    let tokens = rows(&folder, "people", "id");
    for (n, at) in ["shred-begun", "shredded"].into_iter().enumerate() {
        let token = &tokens[&format!("r{n}")];
        let id = ask(&folder, "patient", &[token], true);
        let file = folder.path().join(format!("{at}.json")).display().to_string();
        let args = ["vault", "shred", &id, "--as", "privacy-officer", "--certificate", &file];
        let killed = said(binary().args(args).current_dir(folder.path()).env("CORDON_FAIL_AT", at).output().unwrap());
        assert_ne!(killed.code, 0, "{at}");
        folder.cordon(&args).ok();
        folder.cordon(&["vault", "check-certificate", &file]).ok();
        let found = revealed(&folder, "patient", &BTreeSet::from([token.clone(), tokens["r9"].clone()]));
        assert!(found.get(token).is_none_or(BTreeSet::is_empty) && found[&tokens["r9"]].len() == 1, "{at}");
    }
    folder.run_json("test", 0);
}
