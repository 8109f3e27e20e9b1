//! A run that is held in its middle, so that what is done to a server then is done in its middle on any machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Clinic;
use super::wire::{mrn, name};
use crate::servers::freeze;
use crate::support::{Said, collect, said};

pub struct Midway(Option<Child>);

impl Midway {
    /// Held as soon as a part of its table is begun: sources are being read, and nothing is committed.
    pub fn of(clinic: &Clinic) -> Self {
        let before = begun(&clinic.folder.path().join(".cordon/staging"));
        let mut child = clinic
            .command(&["run", "test", "--format", "json", "-q"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let staging = clinic.folder.path().join(".cordon/staging");
        let began = Instant::now();
        while begun(&staging).is_subset(&before) {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < Duration::from_mins(1), "it ended first: {ended:?}");
            sleep(Duration::from_millis(1));
        }
        let id = child.id();
        let midway = Self(Some(child));
        freeze(id);
        midway
    }

    pub fn goes_on(mut self) -> Said {
        let child = self.0.take().unwrap();
        assert!(Command::new("kill").args(["-CONT", &child.id().to_string()]).status().unwrap().success());
        said(child.wait_with_output().unwrap())
    }
}

impl Drop for Midway {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Parts that are begun.
fn begun(staging: &Path) -> BTreeSet<PathBuf> {
    let mut files = Vec::new();
    collect(staging, &mut files);
    files.retain(|file| file.extension().is_some_and(|name| name == "parquet"));
    files.into_iter().collect()
}

/// Of people in the exports below.
pub const PEOPLE: usize = 2000;
/// Of them in the large file.
const IN_LARGE: usize = 1500;

/// Batches are small, so that not much of a file is read ahead.
pub fn source(store: &str) -> String {
    format!("  - {{ dataset: visits, path: \"{store}/in/*.csv\", csv: {{ batch-rows: 50 }} }}\n")
}

/// A file that is large by a column that no policy names, and ten small ones.
pub fn exports(filler: usize) -> Vec<(String, String)> {
    let filler = "x".repeat(filler);
    let file = |rows: std::ops::Range<usize>, filler: &str| {
        let rows = rows.map(|i| format!("{},{},19{:02}-05-06,E11.9,{filler}\n", mrn(i), name(i), 30 + i % 60));
        format!("mrn,name,born,code,filler\n{}", rows.collect::<String>())
    };
    let small = (IN_LARGE..PEOPLE).step_by(50).map(|from| (format!("b{from}.csv"), file(from..from + 50, "")));
    [("a.csv".to_owned(), file(0..IN_LARGE, &filler))].into_iter().chain(small).collect()
}
