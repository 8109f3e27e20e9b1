use std::collections::HashSet;

use cordon_phi::{Token, TokenStore as _};
use cordon_vault::{TokenVault, VaultError, VaultKeys, VaultOptions};

use crate::{files, keys, name, open, same, scratch, subjects, tiny, tokens};

#[test]
fn equal_values_get_equal_tokens_also_within_a_batch() {
    let dir = scratch();
    let vault = open(dir.path());
    let first = tokens(&vault, "mrn", [1, 2, 1, 3, 3, 1]);
    assert!(first[0] == first[2] && first[0] == first[5] && first[3] == first[4]);
    assert!(first[0] != first[1] && first[1] != first[3]);
    same(&tokens(&vault, "mrn", [3, 2, 1]), &[first[3], first[1], first[0]]);
}

#[test]
fn a_domain_is_a_world_of_its_own() {
    let dir = scratch();
    let vault = open(dir.path());
    assert!(tokens(&vault, "mrn", [1]) != tokens(&vault, "ssn", [1]));
    assert_eq!(vault.stats().unwrap().domains, [("mrn".to_owned(), 1), ("ssn".to_owned(), 1)]);
}

#[test]
fn output_is_appended() {
    let dir = scratch();
    let vault = open(dir.path());
    let mut out = vec![Token([9; 16])];
    vault.get_or_create("d", &[b"x"], &mut out).unwrap();
    vault.get_or_create("d", &[], &mut out).unwrap();
    assert!(out.len() == 2 && out[0] == Token([9; 16]));
}

#[test]
fn tokens_outlive_flushes_merges_segments_and_reopening() {
    let dir = scratch();
    let mut expected = Vec::new();
    {
        let vault = open(dir.path());
        for batch in 0..40_u64 {
            // A third of each batch was seen before.
            let got = tokens(&vault, "mrn", batch * 200..batch * 200 + 300);
            if batch > 0 {
                same(&got[..100], &expected[expected.len() - 100..]);
                expected.extend_from_slice(&got[100..]);
            } else {
                expected.extend_from_slice(&got);
            }
        }
        same(&tokens(&vault, "mrn", 0..expected.len() as u64), &expected);
        let stats = vault.stats().unwrap();
        assert!(stats.runs > 1 && files(dir.path(), "log-").len() > 3);
        assert_eq!(files(dir.path(), "run-").len(), stats.runs);
    }
    for options in [tiny(), VaultOptions::default(), VaultOptions { cache_entries: 0, ..tiny() }] {
        let vault = TokenVault::open(dir.path(), keys(), subjects(dir.path()), options).unwrap();
        same(&tokens(&vault, "mrn", 0..expected.len() as u64), &expected);
        let report = vault.verify().unwrap();
        assert_eq!(report.tokens, expected.len() as u64);
        assert_eq!(vault.stats().unwrap().domains, [("mrn".to_owned(), report.tokens)]);
    }
    assert_eq!(expected.iter().map(|t| t.0).collect::<HashSet<_>>().len(), expected.len());
}

#[test]
fn a_batch_larger_than_everything_is_taken_in_parts() {
    let dir = scratch();
    let vault = open(dir.path());
    let got = tokens(&vault, "d", (0..150_000).map(|n| n % 70_000));
    same(&got[70_000..140_000], &got[..70_000]);
    vault.verify().unwrap();
}

#[test]
fn empty_and_long_values_are_values() {
    let dir = scratch();
    let long = vec![b'x'; 9 << 20];
    let mut first = Vec::new();
    let values: [&[u8]; 3] = [b"", &long, b"x"];
    open(dir.path()).get_or_create("d", &values, &mut first).unwrap();
    let vault = open(dir.path());
    let mut again = Vec::new();
    vault.get_or_create("d", &values, &mut again).unwrap();
    same(&first, &again);
    let value = vault.reveal("d", &first[1]).unwrap().unwrap();
    assert!(value.expose_phi().len() == long.len());
}

#[test]
fn reveal_finds_the_value_in_its_domain_only() {
    let dir = scratch();
    let vault = open(dir.path());
    let got = tokens(&vault, "mrn", 0..2_000);
    for n in [0, 999, 1_999] {
        let value = vault.reveal("mrn", &got[n]).unwrap().unwrap();
        assert!(*value.expose_phi() == name(n as u64));
    }
    assert!(vault.reveal("ssn", &got[0]).unwrap().is_none());
    assert!(vault.reveal("mrn", &Token([7; 16])).unwrap().is_none());
}

#[test]
fn another_key_is_refused_by_name() {
    let dir = scratch();
    tokens(&open(dir.path()), "d", [1]);
    let blind = VaultKeys { blind: cordon_crypto::BlindIndexKey::generate(), ..keys() };
    let values = VaultKeys { values: cordon_crypto::VaultKey::generate(), ..keys() };
    for (wrong, which) in [(blind, "blind-index"), (values, "vault")] {
        let error = TokenVault::open(dir.path(), wrong, subjects(dir.path()), tiny()).err().unwrap();
        assert!(matches!(&error, VaultError::WrongKey { which: w, .. } if *w == which), "{error}");
    }
    open(dir.path());
}

#[test]
fn nothing_is_in_clear_on_disk() {
    let dir = scratch();
    let vault = open(dir.path());
    let got = tokens(&vault, "medical-record", 0..1_200);
    vault.sync().unwrap();
    let mut tokens_in_log = 0;
    for file in files(dir.path(), "") {
        let bytes = std::fs::read(&file).unwrap();
        for text in ["canary", "medical", "record"] {
            assert!(memchr_find(&bytes, text.as_bytes()).is_none(), "{}", file.display());
        }
        if file.file_name().unwrap().to_str().unwrap().starts_with("log-") {
            tokens_in_log += got.iter().filter(|t| memchr_find(&bytes, &t.0).is_some()).count();
        }
    }
    assert_eq!(tokens_in_log, 0);
}

fn memchr_find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[test]
fn domain_names_have_limits() {
    let dir = scratch();
    let vault = open(dir.path());
    let long = "d".repeat(2_000);
    for domain in ["", &long] {
        let mut out = vec![Token([9; 16])];
        assert!(vault.get_or_create(domain, &[b"x"], &mut out).is_err());
        assert_eq!(out.len(), 1);
    }
}
