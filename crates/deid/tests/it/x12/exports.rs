//! Real interchanges: nothing that identifies is left under the shipped policies, and all of it under one that keeps all.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cordon_formats::x12::{RecordKind, Transaction};

use super::{LIMITED, SHIPPED, batches, column, everything, keep_everything, recipe, run, sets};

pub fn files() -> Option<Vec<PathBuf>> {
    let named = std::env::var_os("CORDON_SHARED_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3)?.join("shared/data");
    let entries = fs::read_dir(named.unwrap_or(beside).join("x12")).ok()?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    Some(files)
}

/// Elements whose text identifies somebody, a person's or a sender's.
const IDENTIFYING: [(&[u8], &[usize]); 17] = [
    (b"NM1", &[3, 4, 5, 9, 12]),
    (b"N1", &[2, 4]),
    (b"N2", &[1, 2]),
    (b"N3", &[1, 2]),
    (b"N4", &[1, 3]),
    (b"REF", &[2, 3]),
    (b"DMG", &[2]),
    (b"PER", &[2, 4, 6, 8, 9]),
    (b"CLM", &[1]),
    (b"CLP", &[1, 7]),
    (b"TRN", &[2, 3, 4]),
    (b"BHT", &[3]),
    (b"SBR", &[3, 4]),
    (b"NTE", &[2]),
    (b"MSG", &[1]),
    (b"K3", &[1]),
    (b"BPR", &[7, 9, 10, 13, 15]),
];

/// Texts long enough to be nobody else's. `is_limited`: towns, ZIP codes and dates may stay.
fn identifiers(set: &Transaction<'_>, is_limited: bool) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    // The number of the set holds it together and stays; some senders give the whole submission the same.
    let control = set.segments().find(|segment| segment.name() == b"ST").and_then(|segment| segment.element(2));
    let control = control.map(|value| value.text().into_owned()).unwrap_or_default();
    for segment in set.segments() {
        for (name, elements) in IDENTIFYING.iter().filter(|(name, _)| segment.name() == *name) {
            if is_limited && (*name == b"N4" || *name == b"DMG") || segment.is(1, b"87") {
                continue;
            }
            for value in elements.iter().filter_map(|number| segment.element(*number)) {
                let text = value.text().trim().to_owned();
                if text.len() >= 5 && text != control {
                    out.insert(text);
                }
            }
        }
    }
    out
}

#[test]
fn nothing_of_the_shared_interchanges_is_left_under_the_shipped_policies() {
    let Some(files) = files() else {
        eprintln!("skipped: no shared data");
        return;
    };
    assert!(files.len() >= 15, "{}", files.len());
    for (name, policy, is_limited) in [("safe-harbor", SHIPPED, false), ("limited-data-set", LIMITED, true)] {
        let recipe = recipe(policy).unwrap_or_else(|issues| panic!("{issues}"));
        let (mut wanted, mut came, mut asked) = (0, 0, 0);
        for path in &files {
            let text = fs::read(path).unwrap();
            let mut secrets = BTreeSet::new();
            for batch in batches(&text) {
                for (index, _) in sets_of(&batch) {
                    wanted += 1;
                    secrets.extend(identifiers(&batch.parse(index).unwrap(), is_limited));
                }
            }
            let outputs = run(&recipe, &text);
            came += outputs.iter().map(|output| output.documents).sum::<u64>();
            let all = everything(&outputs);
            asked += secrets.len();
            for secret in &secrets {
                let line = all.lines().find(|line| line.contains(secret.as_str()));
                assert!(line.is_none(), "{name}, {}: {secret} in {line:?}", path.display());
            }
        }
        assert_eq!(wanted, came);
        assert!(asked > 200, "{asked}");
    }
}

fn sets_of(
    batch: &cordon_formats::x12::TransactionBatch,
) -> impl Iterator<Item = (usize, &cordon_formats::x12::Record)> {
    batch.records.iter().enumerate().filter(|(_, record)| record.kind == RecordKind::Transaction)
}

#[test]
fn what_is_kept_stays_to_the_byte() {
    let Some(files) = files() else {
        eprintln!("skipped: no shared data");
        return;
    };
    let recipe = recipe(&keep_everything()).unwrap_or_else(|issues| panic!("{issues}"));
    for path in &files {
        let text = fs::read(path).unwrap();
        let outputs = run(&recipe, &text);
        let all = batches(&text);
        let sent: Vec<String> = all
            .iter()
            .flat_map(|batch| sets_of(batch).map(|(index, _)| String::from_utf8_lossy(batch.raw(index)).into_owned()))
            .collect();
        let headers: Vec<String> = all
            .iter()
            .flat_map(|batch| sets_of(batch).map(|(_, record)| String::from_utf8(record.envelope.header()).unwrap()))
            .collect();
        let undeclared: Vec<_> = outputs.iter().map(|output| &output.undeclared).collect();
        assert!(sets(&outputs) == sent, "{}: {undeclared:?}", path.display());
        let came: Vec<String> = column(&outputs, "transaction", "header").into_iter().map(Option::unwrap).collect();
        assert_eq!(came, headers, "{}", path.display());
    }
}
