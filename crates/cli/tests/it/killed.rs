//! Kill -9 at any instant: what an undisturbed run would have written is there in the end, and nothing is in clear.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::support::{Folder, assert_encrypted, binary};

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

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
    let mut hit = 0;
    for _ in 0..kills {
        hit += usize::from(kill_after(&killed, Duration::from_millis(random.below(whole + whole / 4))));
        let files = killed.written();
        if files.iter().any(|file| {
            file.extension().is_some_and(|e| e == "parquet") && file.components().any(|c| c.as_os_str() == "data")
        }) {
            let done: Vec<_> =
                files.into_iter().filter(|file| file.components().any(|c| c.as_os_str() == "data")).collect();
            assert_encrypted(&done);
        }
    }
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
