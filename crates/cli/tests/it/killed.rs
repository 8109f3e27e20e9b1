//! Kill -9 at any instant: what an undisturbed run would have written is there in the end, and nothing is in clear.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use crate::support::{Folder, binary, copy_tree, finder, leaks};

/// A small generator of its own: the instants must be the same for the same seed.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: u64) -> u64 {
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
    for part in [".cordon/vault", "secrets", "data"] {
        copy_tree(&calm.path().join(part), &killed.path().join(part));
    }
    fs::copy(calm.path().join(".cordon/keyring.json"), killed.path().join(".cordon/keyring.json")).unwrap();
    let needles = identifiers(&killed);
    let (mut hit, mut staged) = (0, 0);
    for _ in 0..kills {
        hit += usize::from(kill_after(&killed, Duration::from_millis(random.below(whole + whole / 4))));
        staged += nothing_is_in_clear(&killed, &needles);
    }
    assert!(staged > 0, "no kill left anything in staging: seed {seed}");
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
fn a_restart_forgets_what_a_killed_run_had_done_and_loses_no_row() {
    let folder = Folder::init("hospital");
    folder.synth(400, &["--clean", "--formats", "csv"]);
    let pipeline = folder.read("pipelines/nightly.yaml");
    let kept: Vec<_> = pipeline.lines().filter(|line| !line.contains("dataset: fhir")).collect();
    folder.write("pipelines/nightly.yaml", kept.join("\n"));
    for delay in [300, 700, 1100] {
        kill_after(&folder, Duration::from_millis(delay));
        let report = folder.cordon(&["run", "nightly", "--restart", "--format", "json", "-q"]).ok().json();
        assert!(report["tables"].is_array());
        assert_eq!(folder.count("SELECT count(*) FROM patients"), 400);
        assert_eq!(folder.count("SELECT count(DISTINCT patient_id) FROM patients"), 400);
        folder.cordon(&["audit", "verify"]).ok();
        // So that the next one has something to do.
        let patients = folder.read("data/csv/patients.csv");
        folder.write("data/csv/patients.csv", patients.replace("\r\n", "\n").trim_end().to_owned() + "\n");
        let policy = folder.read("policies/safe-harbor-hospital.yaml");
        folder.write("policies/safe-harbor-hospital.yaml", policy + "# again\n");
    }
}

/// Both come while the run is at work: the second does not wait for it.
#[test]
fn a_second_interrupt_ends_a_run_at_once() {
    use std::process::Command;
    let folder = Folder::init("hospital");
    folder.synth(1500, &["--clean"]);
    let interrupt = |child: &std::process::Child| {
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    };
    let mut codes = Vec::new();
    for delay in [400, 600, 900, 1300, 2000] {
        let mut child = binary()
            .args(["run", "nightly", "--restart", "-q"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        interrupt(&child);
        std::thread::sleep(Duration::from_millis(30));
        interrupt(&child);
        codes.push(child.wait().unwrap().code());
        if codes.contains(&Some(130)) {
            break;
        }
    }
    assert!(codes.contains(&Some(130)), "{codes:?}");
    folder.run_json("nightly", 0);
    assert_eq!(folder.count("SELECT count(*) FROM patients"), 1500);
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
