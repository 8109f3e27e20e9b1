//! `cordon run --engine spark`: the rows of a run here, whatever happens to executors; nothing of patients or keys in what a cluster
//! writes; other folders, programs and servers are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::cluster::{Cluster, kill_one, processes};
use crate::postgres;
use crate::postgres_server::{self, Server};
use crate::servers::free_port;
use crate::support::{Folder, Said, collect, copy_tree, said};

/// By the method of an expert, with a key in most columns.
const KEYED: &str = "
policy: test
method: expert-determination
expert: { name: x, document: y }
datasets:
  people:
    subject: id
    fields:
      id: { kind: unique-id, action: token, domain: patient }
      mrn: { kind: medical-record-number, action: token, domain: mrn }
      ssn: { kind: ssn, action: hash }
      first: { kind: name, action: surrogate, surrogate: first-name }
      born: { kind: birth-date, action: shift-date }
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

const KEYED_SOURCES: &str = "
  - { dataset: people, path: \"in/people*.csv\", identity: { id: patient, mrn: mrn, ssn: ssn } }
  - { dataset: hl7, path: \"in/*.hl7\", identity: { \"PID-3[MR]\": mrn, PID-19: ssn } }
";

/// The program as it is handed out, without what is there for debuggers: it is sent to the executors.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let whole = Path::new(env!("CARGO_BIN_EXE_cordon"));
        let stripped = whole.with_file_name("cordon-stripped");
        let written = |path: &Path| fs::metadata(path).and_then(|file| file.modified());
        if written(&stripped).is_ok_and(|stripped| stripped > written(whole).unwrap()) {
            return stripped;
        }
        let draft = whole.with_file_name(format!("cordon-stripped.{}", std::process::id()));
        let done = Command::new("strip").arg("-o").arg(&draft).arg(whole).status();
        if !done.is_ok_and(|status| status.success()) {
            return whole.to_path_buf();
        }
        fs::rename(&draft, &stripped).unwrap();
        stripped
    })
}

/// A setting by which executors have the program.
pub fn installed() -> String {
    format!("spark.executorEnv.CORDON_PROGRAM {}", program().display())
}

fn command(folder: &Folder, remote: &str, more: &[&str]) -> Command {
    let mut command = Command::new(program());
    let args = ["run", pipeline(folder), "--engine", "spark", "--remote", remote, "--format", "json", "-q"];
    command.args(args).args(more).current_dir(folder.path()).env("NO_COLOR", "1").env_remove("SPARK_REMOTE");
    command
}

pub fn on_spark(folder: &Folder, remote: &str, more: &[&str]) -> Said {
    said(command(folder, remote, more).output().unwrap())
}

pub fn pipeline(folder: &Folder) -> &'static str {
    if folder.path().join("pipelines/test.yaml").is_file() { "test" } else { "nightly" }
}

/// The same project with the same keys and tokens, which has read nothing yet.
pub fn twin(of: &Folder) -> Folder {
    let folder = Folder { dir: tempfile::tempdir().unwrap() };
    copy_tree(&of.path(), &folder.path());
    let state = format!(".cordon/state/{}", pipeline(of));
    for made in [&state, ".cordon/staging", ".cordon/quarantine", "warehouse"] {
        let _ = fs::remove_dir_all(folder.path().join(made));
    }
    folder
}

fn hospital(patients: u32) -> Folder {
    let folder = Folder::init("hospital");
    folder.synth(patients, &[]);
    // What is put aside is the same too.
    let csv = folder.read("data/csv/patients.csv") + "CANARYBAD,row\n";
    folder.write("data/csv/patients.csv", csv);
    folder
}

pub fn keyed() -> Folder {
    let folder = Folder::with(KEYED, KEYED_SOURCES);
    let ssn = |n: usize| format!("{:03}{:02}{:04}", 100 + n / 9000, 10 + n % 80, 1000 + n % 9000);
    for file in 0..4 {
        let people = (file * 500..(file + 1) * 500).map(|n| {
            format!("CANARYP{n:05},CANARYM{n:05},{},CANARYFIRST{n},19{:02}-03-04,r{n}\n", ssn(n), 30 + n % 60)
        });
        folder.write(
            &format!("in/people{file}.csv"),
            format!("id,mrn,ssn,first,born,row\n{}", people.collect::<String>()),
        );
    }
    let messages = (0..400).map(|n| {
        format!(
            "MSH|^~\\&|||||||ADT^A01|{n}||2.5\rPID|||CANARYM{n:05}^^^^MR||CANARYLAST^CANARYFIRST{n}||||||||||||||{}\r",
            ssn(n)
        )
    });
    folder.write("in/CANARYFILE.hl7", messages.collect::<String>());
    folder
}

/// What a run tells, but for what is its own.
pub fn counts(report: &Value) -> Value {
    let mut counts = report.clone();
    for own in ["run", "seconds", "resumed", "tables"] {
        counts.as_object_mut().unwrap().remove(own);
    }
    counts
}

/// Nothing of a run stays but what tables, state and quarantine name, as of a run `here`.
#[track_caller]
fn is_tidy(folder: &Folder, here: &Folder) {
    let files_of = |folder: &Folder, place: &str| {
        let mut files = Vec::new();
        collect(&folder.path().join(place), &mut files);
        files
    };
    let files = |place: &str| files_of(folder, place);
    let parquet = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "parquet");
    assert_eq!(files(".cordon/staging").into_iter().filter(parquet).collect::<Vec<_>>(), Vec::<PathBuf>::new());
    let parts: Vec<_> = files("warehouse").into_iter().filter(parquet).collect();
    let whole = folder.cordon(&["tables", "verify", "--format", "json"]).ok().json();
    let known: u64 = whole["whole"].as_array().unwrap().iter().map(|table| table["parts"].as_u64().unwrap()).sum();
    assert_eq!(parts.len() as u64, known, "{parts:?}");
    assert_eq!(files(".cordon/quarantine").len(), files_of(here, ".cordon/quarantine").len());
    let state = files(".cordon/state");
    let odd = |file: &&PathBuf| file.ends_with("meeting.sealed") || file.to_string_lossy().ends_with(".tmp");
    assert_eq!(state.iter().filter(odd).count(), 0, "{state:?}");
}

/// Whether the program carries out orders for this project, on whatever machine.
pub fn at_work(folder: &Folder) -> Vec<String> {
    processes(&["executor --threads", &folder.path().display().to_string()])
}

/// Kills these one after the other, each when programs are at work, and says how many it could while that was being done.
pub fn killed_during<T>(cluster: &Cluster, folder: &Folder, victims: &[&str], doing: impl FnOnce() -> T) -> (T, usize) {
    let over = AtomicBool::new(false);
    let place = folder.path().display().to_string();
    let killed = |victim: &str| match victim {
        _ if at_work(folder).is_empty() => false,
        "machine" => cluster.kill_an_executor(),
        "program" => kill_one(&["executor --threads", &place]),
        _ => panic!("{victim}"),
    };
    scope(|scope| {
        let killer = scope.spawn(|| {
            let mut count = 0;
            for victim in victims {
                while !killed(victim) {
                    if over.load(Ordering::Relaxed) {
                        return count;
                    }
                    sleep(Duration::from_millis(20));
                }
                count += 1;
            }
            count
        });
        let done = doing();
        over.store(true, Ordering::Relaxed);
        (done, killer.join().unwrap())
    })
}

/// What stands for patients and keys: none of it is in what a cluster wrote.
pub fn secrets(folder: &Folder) -> BTreeSet<Vec<u8>> {
    let mut all: BTreeSet<Vec<u8>> = BTreeSet::from([b"CANARY".to_vec()]);
    if let Ok(patients) = fs::read_to_string(folder.path().join("data/csv/patients.csv")) {
        let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(patients.as_bytes());
        let header = rows.headers().unwrap().clone();
        for row in rows.records().map(Result::unwrap) {
            for (name, value) in header.iter().zip(&row) {
                if ["ssn", "mrn", "last_name", "phone", "email", "patient_id"].contains(&name) && value.len() > 6 {
                    all.insert(value.as_bytes().to_vec());
                }
            }
        }
    }
    for file in ["in/people0.csv", "in/people3.csv"] {
        let people = fs::read_to_string(folder.path().join(file)).unwrap_or_default();
        all.extend(people.lines().skip(1).map(|line| line.split(',').nth(2).unwrap().as_bytes().to_vec()));
    }
    let key = fs::read_to_string(folder.path().join("secrets/root.key")).unwrap().trim().to_lowercase();
    let raw = data_encoding::HEXLOWER.decode(key.as_bytes()).unwrap();
    all.insert(data_encoding::BASE64.encode(&raw).into_bytes());
    all.insert(key.to_uppercase().into_bytes());
    all.insert(key.into_bytes());
    all.insert(raw);
    all
}

/// Looks through all that the cluster wrote. Returns how many bytes that was.
pub fn none_of(secrets: &BTreeSet<Vec<u8>>, folder: &Path) -> usize {
    let look = aho_corasick::AhoCorasick::new(secrets).unwrap();
    let mut files = Vec::new();
    collect(folder, &mut files);
    let mut bytes = 0;
    for file in files {
        // Some go while executors are at work.
        let Ok(content) = fs::read(&file) else { continue };
        bytes += content.len();
        // The program that was sent is no secret, by whatever name it is kept.
        if content.len() as u64 == fs::metadata(program()).unwrap().len() {
            continue;
        }
        assert!(look.find(&content).is_none(), "{}", file.display());
    }
    bytes
}

#[test]
fn a_run_on_a_cluster_makes_the_rows_of_a_run_here_and_shows_nothing_to_it() {
    let Some(cluster) = Cluster::start("") else { return };
    let database = postgres_server::is_installed().then(Server::start);
    for (what, first, code) in [("hospital", hospital(150), 3), ("keyed", keyed(), 0)] {
        // With a vault that is empty: executors make the tokens, in a folder and in PostgreSQL.
        let here = twin(&first);
        if let (Some(database), "keyed") = (&database, what) {
            postgres::move_in(&first, database);
        }
        if code == 0 {
            let refused = on_spark(&first, &cluster.remote, &["--installed"]).exits(2);
            assert!(refused.err.contains("CORDON_PROGRAM"), "{}", refused.err);
        }
        let report = on_spark(&first, &cluster.remote, &[]).exits(code).json();
        assert!(report["rows_in"].as_u64().unwrap() > 400, "{what}: {report}");
        let embedded = here.run_json(pipeline(&here), code);
        assert_eq!(counts(&report), counts(&embedded), "{what}");
        // And once more here, with the tokens that executors made.
        let again = twin(&first);
        let once_more = again.run_json(pipeline(&again), code);
        assert_eq!(digests(&report), digests(&once_more), "{what}");
        assert_eq!(on_record(&first), on_record(&again), "{what}");
        let rows = first.everything();
        assert!(rows.len() > 400 && rows == again.everything(), "{what}: other rows than those of a run here");
        assert_eq!(token_counts(&first), token_counts(&here), "{what}");
        is_tidy(&first, &here);
        first.cordon(&["audit", "verify"]).ok();
        first.cordon(&["vault", "verify"]).ok();
        if code == 3 {
            let aside = |folder: &Folder| {
                let list = folder.cordon(&["quarantine", "list", "--format", "json"]).ok().json();
                list.as_array().unwrap().iter().map(|entry| entry["reason"].clone()).collect::<Vec<_>>()
            };
            assert_eq!(aside(&first), aside(&again));
            assert!(!aside(&first).is_empty());
        }
        // Nothing to do: nobody is asked.
        let report = on_spark(&first, &format!("sc://127.0.0.1:{}", free_port()), &[]).exits(0).json();
        assert_eq!(report["files_read"], 0);
        none_of(&secrets(&first), cluster.files());
        let control = BTreeSet::from([b"MapInArrow".to_vec()]);
        let seen = std::panic::catch_unwind(|| none_of(&control, &cluster.files().join("events")));
        assert!(seen.is_err(), "there were event logs to look through");
    }
}

/// Of the rows of each table, in whatever order.
pub fn digests(report: &Value) -> BTreeMap<String, String> {
    let tables = report["tables"].as_array().unwrap().iter();
    tables.map(|table| (table["table"].to_string(), table["rows_digest"].as_str().unwrap().to_owned())).collect()
}

/// The same of what the last run added, as the record has it.
fn on_record(folder: &Folder) -> BTreeMap<String, String> {
    let committed = folder.audit("table_committed");
    committed
        .iter()
        .map(|event| (event["table"].to_string(), event["rows_digest"].as_str().unwrap().to_owned()))
        .collect()
}

/// How many tokens there are, by domain.
fn token_counts(folder: &Folder) -> Vec<(String, u64)> {
    let status = folder.cordon(&["vault", "status", "--format", "json"]).ok().json();
    let domains = status["domains"].as_array().unwrap().iter();
    domains.map(|of| (of["domain"].as_str().unwrap().to_owned(), of["tokens"].as_u64().unwrap())).collect()
}

#[test]
fn killed_executors_retries_and_duplicates_change_nothing_and_a_stopped_run_goes_on() {
    let speculative = "spark.speculation true\nspark.speculation.interval 100ms\nspark.speculation.multiplier 1.01\n\
                       spark.speculation.quantile 0.1\nspark.speculation.minTaskRuntime 100ms\nspark.task.maxFailures 8";
    let Some(cluster) = Cluster::start(&format!("{speculative}\n{}", installed())) else { return };
    let first = hospital(600);
    let here = twin(&first);
    // Stopped by its user: what is done is kept.
    let mut child = command(&first, &cluster.remote, &["--installed"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let journal = first.path().join(".cordon/state/nightly/journal.sealed");
    let kept = || fs::metadata(&journal).map_or(0, |file| file.len());
    let waited = Instant::now();
    // That it has begun is a few hundred bytes, and each unit that is done a few more.
    while kept() < 2000 && waited.elapsed() < Duration::from_mins(2) {
        sleep(Duration::from_millis(20));
    }
    let before = kept();
    assert!(before >= 2000 && child.try_wait().unwrap().is_none());
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let stopped = said(child.wait_with_output_in(Duration::from_mins(1)));
    assert_eq!(stopped.code, 1, "{}", stopped.err);
    assert!(stopped.err.contains("interrupted"), "{}", stopped.err);
    assert!(kept() >= before, "what is done is kept");
    let ended = Instant::now();
    while !at_work(&first).is_empty() {
        assert!(ended.elapsed() < Duration::from_secs(30), "executors go on for a run that is over");
        sleep(Duration::from_millis(100));
    }

    let (report, killed) = killed_during(&cluster, &first, &["program", "machine", "program"], || {
        on_spark(&first, &cluster.remote, &["--installed"])
    });
    let report = report.exits(3).json();
    assert!(killed >= 2, "{killed} were killed");
    assert_eq!(report["resumed"], true);
    let embedded = here.run_json("nightly", 3);
    assert_eq!(counts(&report)["rows_in"], counts(&embedded)["rows_in"]);
    let again = twin(&first);
    let once_more = again.run_json("nightly", 3);
    assert_eq!(digests(&report), digests(&once_more));
    assert!(first.everything() == again.everything(), "other rows than those of a run here");
    assert_eq!(token_counts(&first), token_counts(&here), "each value has one token");
    is_tidy(&first, &here);
    first.cordon(&["audit", "verify"]).ok();
    none_of(&secrets(&first), cluster.files());
}

trait Waiting {
    fn wait_with_output_in(&mut self, most: Duration) -> std::process::Output;
}

impl Waiting for std::process::Child {
    /// Ends it where it does not end by itself.
    fn wait_with_output_in(&mut self, most: Duration) -> std::process::Output {
        let begun = Instant::now();
        while self.try_wait().unwrap().is_none() && begun.elapsed() < most {
            sleep(Duration::from_millis(50));
        }
        let _ = self.kill();
        let status = self.wait().unwrap();
        let mut stderr = Vec::new();
        if let Some(mut pipe) = self.stderr.take() {
            std::io::Read::read_to_end(&mut pipe, &mut stderr).unwrap();
        }
        std::process::Output { status, stdout: Vec::new(), stderr }
    }
}

#[test]
fn what_is_not_the_run_s_own_is_refused() {
    let folder = keyed();
    let told = |said: Said, words: &[&str]| {
        for word in words {
            assert!(said.err.contains(word), "`{word}`: {}", said.err);
        }
        assert!(!said.all().contains("CANARY"), "{}", said.all());
    };
    // Before anything is opened.
    told(on_spark(&folder, "sc://cluster.example.org", &[]).exits(2), &["use_ssl=true"]);
    told(on_spark(&folder, "sc://127.0.0.1/;token=abc", &[]).exits(2), &["SPARK_CONNECT_AUTHENTICATE_TOKEN"]);
    let alone = folder.cordon(&["run", "test", "--remote", "sc://127.0.0.1"]).exits(2);
    told(alone, &["--engine spark"]);
    told(on_spark(&folder, &format!("sc://127.0.0.1:{}", free_port()), &[]).exits(6), &["127.0.0.1"]);

    let Some(cluster) = Cluster::start(&installed()) else { return };
    let on_it = |more: &[&str]| on_spark(&folder, &cluster.remote, &[&["--installed"], more].concat());
    let copy = twin(&folder);
    let place = copy.path().display().to_string();
    told(on_it(&["--executor-project", &place]).exits(2), &["copy", "very folder"]);
    let stranger = Folder::init("hospital");
    let place = stranger.path().display().to_string();
    told(on_it(&["--executor-project", &place]).exits(2), &["does not open under the key"]);
    told(on_it(&["--executor-project", "/nowhere"]).exits(6), &["on an executor", "/nowhere"]);
    // By another name it is the same folder, and nothing of all that is in the way.
    let link = folder.dir.path().join("link");
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    let report = on_it(&["--executor-project", &link.display().to_string()]).exits(0).json();
    assert_eq!(report["rows_in"], 2400);
    assert_eq!(folder.run_json("test", 0)["files_read"], 0);
    none_of(&secrets(&folder), cluster.files());
}
