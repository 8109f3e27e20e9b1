//! Files that are not what was written.

use std::path::Path;

use cordon_phi::{Token, TokenError};
use cordon_vault::{TokenVault, VaultError};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{files, keys, open, same, scratch, subjects, tiny, tokens, try_open, try_tokens};

const VALUES: u64 = 3_000;

fn filled(dir: &Path, sync: bool) -> Vec<Token> {
    let vault = open(dir);
    let mut all = Vec::new();
    for from in (0..VALUES).step_by(150) {
        all.extend(tokens(&vault, "mrn", from..from + 150));
    }
    if sync {
        vault.sync().unwrap();
    }
    all
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).unwrap();
    for file in files(from, "") {
        std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

fn damaged(vault: Result<TokenVault, VaultError>) -> bool {
    match vault {
        Ok(vault) => {
            let verified = vault.verify();
            matches!(verified, Err(VaultError::Damaged { .. }))
        }
        Err(VaultError::Damaged { .. }) => true,
        Err(other) => panic!("not said to be damage: {other}"),
    }
}

#[test]
fn a_flipped_bit_anywhere_never_makes_a_wrong_token() {
    let home = scratch();
    let (good, bad) = (home.path().join("good"), home.path().join("bad"));
    let expected = filled(&good, true);
    let mut rng = StdRng::seed_from_u64(3);
    let (mut refused, mut healed) = (0, 0);
    for _ in 0..60 {
        copy(&good, &bad);
        let all = files(&bad, "");
        let file = loop {
            let file = &all[rng.random_range(0..all.len())];
            if file.metadata().unwrap().len() > 0 {
                break file;
            }
        };
        let mut bytes = std::fs::read(file).unwrap();
        let at = rng.random_range(0..bytes.len());
        bytes[at] ^= 1 << rng.random_range(0..8);
        std::fs::write(file, bytes).unwrap();
        let what = format!("{} at {at}", file.display());

        let derived = file.file_name().unwrap().to_str().unwrap().starts_with("run-");
        match try_open(&bad) {
            Err(VaultError::Damaged { .. } | VaultError::Version { .. }) => {
                assert!(!derived, "{what}");
                refused += 1;
            }
            Err(error) => panic!("{what}: {error}"),
            Ok(vault) => {
                match try_tokens(&vault, "mrn", 0..VALUES) {
                    Ok(got) => same(&got, &expected),
                    Err(TokenError::Damaged(_)) => assert!(!derived, "{what}"),
                    Err(error) => panic!("{what}: {error}"),
                }
                if derived {
                    assert_eq!(vault.stats().unwrap().rebuilt_runs, 1, "{what}");
                    vault.verify().unwrap();
                    healed += 1;
                } else {
                    assert!(matches!(vault.verify(), Err(VaultError::Damaged { .. })), "{what}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 8 && healed > 8, "{refused} refused, {healed} healed");
}

#[test]
fn a_torn_end_that_was_not_synced_is_cut_off() {
    let home = scratch();
    let (good, bad) = (home.path().join("good"), home.path().join("bad"));
    let expected = filled(&good, true);
    // One frame more, not synced.
    let more = tokens(&open(&good), "mrn", VALUES..VALUES + 40);
    let last = files(&good, "log-").pop().unwrap();
    let whole = last.metadata().unwrap().len();
    for cut in [1, 15, 16, 28, 500, 1_000] {
        copy(&good, &bad);
        let file = bad.join(last.file_name().unwrap());
        std::fs::File::options().write(true).open(file).unwrap().set_len(whole - cut).unwrap();
        let vault = open(&bad);
        same(&tokens(&vault, "mrn", 0..VALUES), &expected);
        let new = tokens(&vault, "mrn", VALUES..VALUES + 40);
        assert!(new.iter().zip(&more).all(|(new, old)| new != old));
        vault.verify().unwrap();
    }
}

#[test]
fn a_log_shorter_than_its_last_sync_is_damage() {
    let home = scratch();
    let (good, bad) = (home.path().join("good"), home.path().join("bad"));
    filled(&good, true);
    for file in files(&good, "log-") {
        let length = file.metadata().unwrap().len();
        for keep in [0, 10, 64, 100, length / 2, length - 1] {
            copy(&good, &bad);
            let file = bad.join(file.file_name().unwrap());
            std::fs::File::options().write(true).open(&file).unwrap().set_len(keep).unwrap();
            assert!(damaged(try_open(&bad)), "{} cut to {keep}", file.display());
            assert_eq!(file.metadata().unwrap().len(), keep, "a damaged file is left as it is");
        }
        copy(&good, &bad);
        std::fs::remove_file(bad.join(file.file_name().unwrap())).unwrap();
        assert!(damaged(try_open(&bad)), "{} removed", file.display());
    }
    copy(&good, &bad);
    std::fs::remove_file(bad.join("MANIFEST")).unwrap();
    assert!(damaged(try_open(&bad)));
}

#[test]
fn damage_before_an_intact_frame_is_not_taken_for_a_torn_end() {
    let home = scratch();
    let dir = home.path().join("vault");
    let vault = open(&dir);
    tokens(&vault, "mrn", 0..50);
    vault.sync().unwrap();
    let log = files(&dir, "log-").pop().unwrap();
    let synced = log.metadata().unwrap().len();
    tokens(&vault, "mrn", 50..60);
    tokens(&vault, "mrn", 60..70);
    drop(vault);
    let good = std::fs::read(&log).unwrap();
    for offset in [0, 4, 20, 100] {
        let mut bad = good.clone();
        bad[synced as usize + offset] ^= 1;
        std::fs::write(&log, &bad).unwrap();
        assert!(damaged(try_open(&dir)));
        assert!(std::fs::read(&log).unwrap() == bad);
    }
}

#[test]
fn a_missing_or_exchanged_run_is_written_again() {
    let home = scratch();
    let (good, bad) = (home.path().join("good"), home.path().join("bad"));
    let expected = filled(&good, true);
    let runs = files(&good, "run-");
    assert!(runs.len() > 1);
    for run in &runs {
        copy(&good, &bad);
        std::fs::remove_file(bad.join(run.file_name().unwrap())).unwrap();
        let vault = open(&bad);
        assert_eq!(vault.stats().unwrap().rebuilt_runs, 1);
        same(&tokens(&vault, "mrn", 0..VALUES), &expected);
        vault.verify().unwrap();
    }
    copy(&good, &bad);
    std::fs::copy(&runs[0], bad.join(runs[1].file_name().unwrap())).unwrap();
    let vault = open(&bad);
    assert_eq!(vault.stats().unwrap().rebuilt_runs, 1);
    same(&tokens(&vault, "mrn", 0..VALUES), &expected);
}

#[test]
fn errors_name_the_file_and_no_value() {
    let home = scratch();
    let dir = home.path().join("vault");
    filled(&dir, true);
    let log = files(&dir, "log-").pop().unwrap();
    std::fs::File::options().write(true).open(log).unwrap().set_len(70).unwrap();
    let error = try_open(&dir).err().unwrap().to_string();
    assert!(error.contains("log-") && error.contains("damaged at byte"), "{error}");
    assert!(!error.contains("canary") && !error.contains("mrn"), "{error}");
}

#[test]
fn a_mark_tells_an_older_copy_and_another_vault() {
    let dir = scratch();
    let (vault, copy) = (dir.path().join("vault"), dir.path().join("copy"));
    let first = {
        let vault = open(&vault);
        tokens(&vault, "mrn", 0..300);
        vault.sync().unwrap();
        vault.mark().unwrap()
    };
    std::fs::create_dir(&copy).unwrap();
    for file in std::fs::read_dir(&vault).unwrap().flatten() {
        std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let vault = open(&vault);
    // Over several segments, so that marks stand in the middle of one and at its end.
    let mut marks = vec![first.clone()];
    for batch in 1..40 {
        tokens(&vault, "mrn", batch * 300..batch * 300 + 300);
        marks.push(vault.mark().unwrap());
    }
    assert!(files(&dir.path().join("vault"), "log-").len() > 3);
    for mark in &marks {
        assert!(vault.contains(mark).unwrap());
    }
    let copy = open(&copy);
    assert!(copy.contains(&first).unwrap());
    assert!(!copy.contains(&marks[1]).unwrap(), "an older copy");
    for batch in 100..160 {
        tokens(&copy, "mrn", batch * 300..batch * 300 + 300);
    }
    assert!(copy.contains(&first).unwrap());
    assert!(marks[1..].iter().all(|mark| !copy.contains(mark).unwrap()), "it went another way since");
    let other = open(&dir.path().join("other"));
    assert!(!other.contains(&first).unwrap());
}

#[test]
fn only_a_vault_that_is_there_is_opened_as_an_existing_one() {
    let dir = scratch();
    let place = dir.path().join("vault");
    let opened = TokenVault::open_existing(&place, keys(), subjects(&place), tiny());
    assert!(matches!(opened, Err(VaultError::Missing { .. })));
    assert!(!place.exists());
    drop(open(&place));
    TokenVault::open_existing(&place, keys(), subjects(&place), tiny()).map(drop).unwrap();
    // Its log alone is damage, not absence.
    std::fs::remove_file(place.join("MANIFEST")).unwrap();
    assert!(!matches!(
        TokenVault::open_existing(&place, keys(), subjects(&place), tiny()),
        Err(VaultError::Missing { .. })
    ));
}
