//! Columns of public exports against a truth made by hand from their standards: `cases/inspect/*.yaml`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use cordon_detect::{ColumnVerdict, ProfileBuilder};
use cordon_formats::{CsvOptions, CsvReader};
use cordon_phi::IdentifierKind;

type Truth = BTreeMap<String, BTreeMap<String, String>>;

/// What a verdict is worth.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Right,
    /// Another identifier than it is: it does not pass either.
    Other,
    /// Something harmless taken for an identifier.
    Cautious,
    /// An identifier taken for something harmless.
    Leaked,
    /// One harmless kind for another.
    Harmless,
}

fn mark(found: IdentifierKind, truth: &[IdentifierKind]) -> Mark {
    let is_identifier = truth.iter().all(|kind| kind.clause().is_some());
    match (truth.contains(&found), is_identifier, found.clause().is_some()) {
        (true, ..) => Mark::Right,
        (false, true, true) => Mark::Other,
        (false, true, false) => Mark::Leaked,
        (false, false, true) => Mark::Cautious,
        (false, false, false) => Mark::Harmless,
    }
}

fn shared(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CORDON_SHARED_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let folder = root.join(folder);
    if !folder.is_dir() {
        eprintln!("skipped: no third-party data at {}", folder.display());
        return None;
    }
    Some(folder)
}

fn profile(file: &Path, delimiter: u8) -> Vec<(String, ColumnVerdict)> {
    let options = CsvOptions { delimiter, ..CsvOptions::default() };
    let mut reader = CsvReader::new(File::open(file).unwrap(), options).unwrap();
    let mut columns: Vec<_> =
        reader.header().iter().map(|name| (name.trim().to_owned(), ProfileBuilder::new(name))).collect();
    while let Some(batch) = reader.next_batch().unwrap() {
        for ((_, profile), column) in columns.iter_mut().zip(batch.batch.columns()) {
            let text = column.as_string_view();
            let values: Vec<_> = (0..text.len()).map(|row| text.is_valid(row).then(|| text.value(row))).collect();
            profile.update(&values);
        }
    }
    columns.into_iter().map(|(name, profile)| (name, profile.finish())).collect()
}

/// All columns of a folder's files against the truth of the same name; the least share of right kinds.
fn check(name: &str, delimiter: u8, least: f64) {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/inspect").join(format!("{name}.yaml"));
    let truth: Truth = serde_saphyr::from_str(&std::fs::read_to_string(cases).unwrap()).unwrap();
    let Some(folder) = shared(name) else { return };
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut counts: BTreeMap<Mark, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for file in &files {
        let table = file.file_stem().unwrap().to_string_lossy().to_lowercase();
        for (column, verdict) in profile(file, delimiter) {
            let written = truth.get(&table).and_then(|columns| columns.get(&column));
            let written = written.unwrap_or_else(|| panic!("no truth for {table}.{column}"));
            let kinds: Vec<IdentifierKind> = written.split('|').map(|kind| kind.trim().parse().unwrap()).collect();
            let mark = mark(verdict.kind, &kinds);
            *counts.entry(mark).or_insert(0) += 1;
            if mark != Mark::Right {
                let how = ["right", "another identifier", "over-cautious", "LEAKED", "another harmless kind"];
                wrong.push(format!(
                    "{table}.{column}: {} for {written} ({}; {:.0} %, {:?})",
                    verdict.kind.name(),
                    how[mark as usize],
                    verdict.confidence * 100.0,
                    verdict.reasons
                ));
            }
        }
    }
    let all: usize = counts.values().sum();
    let count = |mark: Mark| counts.get(&mark).copied().unwrap_or(0);
    let right = count(Mark::Right) as f64 / all as f64;
    let table = format!(
        "{name}: {all} columns, {} right ({:.1} %), {} another identifier, {} over-cautious, {} another harmless kind, {} leaked\n{}",
        count(Mark::Right),
        right * 100.0,
        count(Mark::Other),
        count(Mark::Cautious),
        count(Mark::Harmless),
        count(Mark::Leaked),
        wrong.join("\n")
    );
    eprintln!("{table}");
    assert!(count(Mark::Leaked) == 0 && right >= least, "{table}");
}

#[test]
fn columns_of_synthea_are_what_its_dictionary_says() {
    check("synthea-csv", b',', 0.97);
}

#[test]
fn columns_of_omop_are_what_its_specification_says() {
    check("omop-100", b'\t', 0.94);
}
