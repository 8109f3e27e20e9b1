//! Kill -9 at any instant: what an undisturbed run would have written is there in the end, and nothing is in clear.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use crate::support::{Folder, Said, binary, copy_tree, finder, leaks, said};

/// A small generator of its own: the instants must be the same for the same seed.
pub struct Seeded(pub u64);

impl Seeded {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn kill_after(folder: &Folder, delay: Duration) -> bool {
    let mut child = binary()
        .args(["run", "nightly", "-q"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(delay);
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

/// What names the patients of the CSV export, as far as it is long enough to prove anything.
fn identifiers(folder: &Folder) -> BTreeSet<String> {
    let mut reader = csv::Reader::from_path(folder.path().join("data/csv/patients.csv")).unwrap();
    let header = reader.headers().unwrap().clone();
    let mut needles = BTreeSet::new();
    for record in reader.records().flatten() {
        for (name, value) in header.iter().zip(record.iter()) {
            let identifies = ["patient_id", "mrn", "ssn", "email", "phone", "address", "birth_date"].contains(&name);
            if identifies && value.trim().len() >= 8 {
                needles.insert(value.trim().to_owned());
            }
        }
    }
    assert!(needles.len() > 500);
    needles
}

/// Every file that a killed run left, staging included. Returns how many parts it had staged.
fn nothing_is_in_clear(folder: &Folder, needles: &BTreeSet<String>) -> usize {
    let finder = finder(needles);
    let mut staged = 0;
    for file in folder.written() {
        let Ok(bytes) = fs::read(&file) else { continue };
        let found = leaks(&bytes, needles, &finder);
        assert!(found.is_empty(), "{} holds {:?}", file.display(), found.first());
        if file.extension().is_some_and(|extension| extension == "parquet") {
            let magic = bytes.get(..4).unwrap_or_default();
            assert!(magic.is_empty() || magic == b"PARE", "{} does not begin as an encrypted part", file.display());
            if file.components().any(|part| part.as_os_str() == "_staging") {
                staged += 1;
            } else {
                assert!(bytes.ends_with(b"PARE"), "{} was published unfinished", file.display());
            }
        }
    }
    staged
}

#[test]
fn a_run_killed_at_random_instants_ends_with_the_rows_of_an_undisturbed_one() {
    let seed = std::env::var("CORDON_KILL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_260_101);
    let kills: usize = std::env::var("CORDON_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(12);
    let mut random = Seeded(seed);

    let calm = Folder::init("hospital");
    calm.synth(400, &[]);
    // Tokens are random: the other run gets the keys and the vault of this one, so that rows can be compared.
    let began = std::time::Instant::now();
    let report = calm.run_json("nightly", 3);
    let whole = began.elapsed().as_millis() as u64;
    let expected = calm.everything();
    assert!(expected.len() > 1000);

    let killed = Folder::init("hospital");
    fs::remove_dir_all(killed.path().join(".cordon")).unwrap();
    for part in [".cordon/vault", ".cordon/audit", "secrets", "data"] {
        copy_tree(&calm.path().join(part), &killed.path().join(part));
    }
    for file in [".cordon/keyring.json", ".cordon/subject-keys"] {
        fs::copy(calm.path().join(file), killed.path().join(file)).unwrap();
    }
    let needles = identifiers(&killed);
    // One end at a known step, so that there is something in staging to look at whenever the others strike.
    let ended = binary()
        .args(["run", "nightly", "-q"])
        .current_dir(killed.path())
        .env("CORDON_FAIL_AT", "journaled")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(!ended.unwrap().success());
    let mut staged = nothing_is_in_clear(&killed, &needles);
    let mut hit = 0;
    for _ in 0..kills {
        hit += usize::from(kill_after(&killed, Duration::from_millis(random.below(whole + whole / 4))));
        staged += nothing_is_in_clear(&killed, &needles);
    }
    assert!(staged > 0, "nothing was ever in staging: seed {seed}");
    assert!(hit > 0, "no run was hit: seed {seed}");
    let said = killed.cordon(&["run", "nightly", "-q"]);
    assert!(said.code == 3 || said.code == 0, "seed {seed}: {}", said.err);
    let rows = killed.everything();
    let missing: Vec<_> = expected.difference(&rows).take(3).collect();
    let added: Vec<_> = rows.difference(&expected).take(3).collect();
    assert!(missing.is_empty() && added.is_empty(), "seed {seed}: missing {missing:?}, added {added:?}");
    let counts = |folder: &Folder| -> BTreeSet<(String, i64)> {
        folder
            .tables()
            .into_iter()
            .map(|table| {
                let n = folder.count(&format!("SELECT count(*) FROM {table}"));
                (table, n)
            })
            .collect()
    };
    assert_eq!(counts(&killed), counts(&calm), "seed {seed}: no row twice");
    let list = killed.cordon(&["quarantine", "list", "--format", "json"]).ok().json();
    assert_eq!(list.as_array().unwrap().len() as u64, report["quarantined"].as_u64().unwrap(), "seed {seed}");
    killed.cordon(&["audit", "verify"]).ok();
    killed.cordon(&["vault", "verify"]).ok();
}

#[test]
fn a_killed_run_gives_each_value_one_token_in_a_fresh_vault() {
    let folder = Folder::init("hospital");
    folder.synth(300, &["--clean", "--formats", "csv,fhir"]);
    let mut random = Seeded(7);
    for _ in 0..6 {
        kill_after(&folder, Duration::from_millis(300 + random.below(3000)));
    }
    folder.run_json("nightly", 0);
    assert_eq!(folder.count("SELECT count(DISTINCT patient_id) FROM patients"), 300);
    assert_eq!(folder.count("SELECT count(*) FROM patients p JOIN fhir_patient f ON f.id = p.patient_id"), 300);
    let encounters = folder.count("SELECT count(*) FROM encounters");
    assert_eq!(
        folder.count("SELECT count(*) FROM encounters e JOIN patients p ON p.patient_id = e.patient_id"),
        encounters
    );
}

#[test]
fn two_runs_of_one_pipeline_do_not_mix() {
    let folder = Folder::init("hospital");
    folder.synth(400, &["--clean"]);
    let start = || {
        binary()
            .args(["run", "nightly", "-q"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let (mut one, mut other) = (start(), start());
    let codes = [one.wait().unwrap().code(), other.wait().unwrap().code()];
    assert!(codes.contains(&Some(0)), "{codes:?}");
    assert!(codes.iter().all(|code| matches!(code, Some(0 | 8))), "{codes:?}");
    assert_eq!(folder.count("SELECT count(*) FROM patients"), 400);
}

const POLICY: &str = "
policy: test
method: safe-harbor
datasets:
  visits:
    subject: patient
    fields:
      patient: { kind: medical-record-number }
      day: { kind: service-date }
  labs:
    subject: patient
    fields:
      patient: { kind: medical-record-number }
      value: { kind: clinical, type: decimal }
";

/// Two tables from three files, with a record for quarantine in each table.
fn two_tables() -> Folder {
    let sources = "  - { dataset: visits, path: \"in/v*.csv\" }\n  - { dataset: labs, path: in/l.csv }";
    let folder = Folder::with(POLICY, sources);
    folder.write("in/v1.csv", "patient,day\nCANARYP1,2020-01-02\nCANARYP2,2021-13-06\n");
    folder.write("in/v2.csv", "patient,day\nCANARYP3,2022-01-02\n");
    folder.write("in/l.csv", "patient,value\nCANARYP1,1.5\nCANARYP3,much\n");
    folder
}

fn killed_at(folder: &Folder, point: &str, args: &[&str]) -> Said {
    said(binary().args(args).current_dir(folder.path()).env("CORDON_FAIL_AT", point).output().unwrap())
}

fn events(folder: &Folder, kind: &str) -> Vec<serde_json::Value> {
    let list = folder.cordon(&["audit", "list", "-n", "500", "--kind", kind, "--format", "json"]).ok().json();
    list.as_array().unwrap().iter().map(|entry| entry["event"].clone()).collect()
}

fn nothing_in_clear(folder: &Folder, point: &str) {
    for file in folder.written() {
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(6).any(|found| found == b"CANARY"), "{point}: {} is in clear", file.display());
    }
}

#[test]
fn a_run_killed_at_each_of_its_steps_is_carried_on_from_there() {
    for point in ["unit", "journaled", "prepared", "committing", "committed", "state", "recorded"] {
        let folder = two_tables();
        assert_eq!(killed_at(&folder, point, &["run", "test", "-q"]).code, -1, "{point} is never reached");
        nothing_in_clear(&folder, point);
        let report = folder.run_json("test", 3);
        assert_eq!(report["resumed"], true, "{point}");
        assert_eq!(
            (&report["rows_in"], &report["rows_out"], &report["quarantined"]),
            (&5.into(), &3.into(), &2.into()),
            "{point}"
        );
        assert_eq!(folder.count("SELECT count(*) FROM visits"), 2, "{point}");
        assert_eq!(folder.count("SELECT count(*) FROM labs"), 1, "{point}");
        let list = folder.cordon(&["quarantine", "list", "--format", "json"]).ok().json();
        assert_eq!(list.as_array().unwrap().len(), 2, "{point}");
        let finished = events(&folder, "run_finished");
        assert!(finished.iter().any(|event| event["rows_read"] == 5 && event["quarantined"] == 2), "{point}");
        assert_eq!(folder.run_json("test", 0)["rows_in"], 0, "{point}");
        folder.cordon(&["audit", "verify"]).ok();
    }
}

#[test]
fn a_replay_killed_at_each_of_its_steps_is_carried_on_from_there() {
    for point in ["prepared", "committing", "committed", "state", "recorded"] {
        let folder = two_tables();
        folder.run_json("test", 3);
        folder.write("policies/test.yaml", POLICY.replace("service-date }", "service-date, formats: [\"%Y-%d-%m\"] }"));
        assert_eq!(killed_at(&folder, point, &["quarantine", "replay", "test"]).code, -1, "{point} is never reached");
        nothing_in_clear(&folder, point);
        folder.write("policies/test.yaml", POLICY);
        let said = folder.cordon(&["run", "test", "-q"]);
        assert_eq!(said.code, 3, "{point}: {}", said.err);
        assert!(!events(&folder, "quarantine_replayed").is_empty(), "{point}");
        folder.cordon(&["audit", "verify"]).ok();
    }
}

#[test]
fn what_was_decided_under_one_policy_is_not_committed_under_another() {
    let folder = two_tables();
    killed_at(&folder, "prepared", &["run", "test", "-q"]);
    // Other columns, so that the decided parts do not fit the edited policy at all.
    folder.write("policies/test.yaml", POLICY.replace("service-date }", "service-date, action: drop }"));
    folder.run_json("test", 3);
    assert_eq!(folder.csv("SELECT count(*) AS n FROM visits"), "n\n3\n");
    let started = events(&folder, "run_started");
    let committed = events(&folder, "table_committed");
    let of = |events: &[serde_json::Value], run: &serde_json::Value| {
        events.iter().filter(|event| event["run"] == *run).map(|event| event["policy_hash"].clone()).collect::<Vec<_>>()
    };
    assert_eq!((started.len(), committed.len()), (2, 4));
    for run in started.iter().map(|event| &event["run"]) {
        assert!(
            of(&committed, run).iter().all(|hash| *hash == of(&started, run)[0]),
            "each under the policy it was made by"
        );
    }
    assert_ne!(started[0]["policy_hash"], started[1]["policy_hash"]);
}

#[test]
fn a_decided_commit_that_cannot_be_carried_out_says_so_once_and_can_be_dropped() {
    let folder = two_tables();
    killed_at(&folder, "prepared", &["run", "test", "-q"]);
    fs::remove_dir_all(folder.path().join("warehouse/visits/_staging")).unwrap();
    folder.cordon(&["run", "test", "-q"]).exits(6);
    assert!(events(&folder, "table_committed").is_empty(), "no entry about what did not happen");
    folder.cordon(&["run", "test", "-q", "--restart"]).exits(3);
    assert_eq!(folder.count("SELECT count(*) FROM visits"), 2);
    // Once a table has changed, the rest is carried out.
    let folder = two_tables();
    killed_at(&folder, "committed", &["run", "test", "-q"]);
    folder.cordon(&["run", "test", "-q", "--restart"]).exits(3);
    assert_eq!((folder.count("SELECT count(*) FROM visits"), folder.count("SELECT count(*) FROM labs")), (2, 1));
}
