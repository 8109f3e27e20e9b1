//! A project in a temporary folder, and the program run in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

pub struct Folder {
    pub dir: TempDir,
}

/// What the program said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("not JSON: {}\n{}", self.out, self.err))
    }

    pub fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cordon"));
    command.env_remove("CORDON_PASSPHRASE").env("NO_COLOR", "1");
    command
}

impl Folder {
    /// An initialised project.
    pub fn init(template: &str) -> Self {
        let folder = Self { dir: tempfile::tempdir().unwrap() };
        Self::cordon_at(folder.dir.path(), &["init", "project", "--template", template]).ok();
        folder
    }

    /// A project with one table of its own: a policy's dataset section and the pipeline's source line.
    pub fn with(policy: &str, sources: &str) -> Self {
        let folder = Self::init("hospital");
        folder.write("policies/test.yaml", policy);
        folder.write("pipelines/test.yaml", format!("pipeline: test\npolicy: test\nsources:\n{sources}\n"));
        folder
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// Who may see what, in the place of the template's.
    pub fn access(&self, access: &str) {
        let config = self.read("cordon.yaml");
        let (head, _) = config.split_once("\naccess:").unwrap();
        self.write("cordon.yaml", format!("{head}\n{access}"));
    }

    pub fn cordon(&self, args: &[&str]) -> Said {
        Self::cordon_at(&self.path(), args)
    }

    fn cordon_at(place: &Path, args: &[&str]) -> Said {
        said(binary().args(args).current_dir(place).output().unwrap())
    }

    pub fn synth(&self, patients: u32, more: &[&str]) {
        let count = patients.to_string();
        let mut args = vec!["synth", "data", "--patients", &count];
        args.extend(more);
        self.cordon(&args).ok();
    }

    pub fn run_json(&self, pipeline: &str, code: i32) -> Value {
        self.cordon(&["run", pipeline, "--format", "json", "-q"]).exits(code).json()
    }

    /// A query by the engineer, who may see all columns.
    pub fn sql(&self, query: &str) -> Vec<Value> {
        let said = self.cordon(&["sql", query, "--as", "engineer", "--purpose", "operations", "--format", "json"]).ok();
        if said.out.trim().is_empty() { Vec::new() } else { said.json().as_array().unwrap().clone() }
    }

    pub fn csv(&self, query: &str) -> String {
        self.cordon(&["sql", query, "--as", "engineer", "--purpose", "operations", "--format", "csv"]).ok().out
    }

    pub fn count(&self, query: &str) -> i64 {
        self.sql(query)[0].as_object().unwrap().values().next().unwrap().as_i64().unwrap()
    }

    pub fn tables(&self) -> Vec<String> {
        let said = self.cordon(&["tables", "--as", "engineer", "--purpose", "operations", "--format", "json"]);
        if said.code != 0 {
            return Vec::new();
        }
        said.json().as_array().unwrap().iter().map(|row| row["table"].as_str().unwrap().to_owned()).collect()
    }

    /// The entries of one kind, the newest last.
    pub fn audit(&self, kind: &str) -> Vec<Value> {
        let said = self.cordon(&["audit", "list", "-n", "1000", "--kind", kind, "--format", "json"]).ok();
        said.json().as_array().unwrap().iter().map(|entry| entry["event"].clone()).collect()
    }

    /// All rows of all tables, decrypted, as sorted lines.
    pub fn everything(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for table in self.tables() {
            for (number, line) in self.csv(&format!("SELECT * FROM {table}")).lines().enumerate() {
                all.insert(format!("{table}|{}|{line}", if number == 0 { "header" } else { "row" }));
            }
        }
        all
    }

    /// Every file that the program wrote: all but the input and the configuration.
    pub fn written(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for part in [".cordon", "warehouse"] {
            collect(&self.path().join(part), &mut files);
        }
        files
    }
}

/// A disk of a few megabytes, mounted for one test.
pub struct SmallDisk(pub PathBuf);

impl SmallDisk {
    pub fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(at)
            .status()
            .is_ok_and(|status| status.success());
        if !done {
            assert!(
                std::env::var_os("CORDON_MUST_MOUNT").is_none(),
                "CORDON_MUST_MOUNT is set, and a small disk cannot be mounted here"
            );
            eprintln!("skipped: no right to mount a small disk here; set CORDON_MUST_MOUNT where there should be");
        }
        done.then(|| Self(at.to_path_buf()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A copy of a folder and all below it.
pub fn copy_tree(from: &Path, to: &Path) {
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

/// Every file of a folder with its content.
pub fn snapshot(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    collect(folder, &mut files);
    files.sort();
    files.into_iter().map(|file| (file.clone(), fs::read(&file).unwrap())).collect()
}

pub fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

pub fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Third-party data beside the project's root; `None`, said aloud, where it is absent.
pub fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CORDON_SHARED_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not here", path.display());
    None
}

/// Finds any of `needles` in `text`; needles that stand alone only (not inside a longer word or number).
pub fn leaks<'a>(text: &[u8], needles: &'a BTreeSet<String>, finder: &aho_corasick::AhoCorasick) -> BTreeSet<&'a str> {
    let list: Vec<&String> = needles.iter().collect();
    let letter = |at: Option<&u8>| at.is_some_and(u8::is_ascii_alphanumeric);
    finder
        .find_overlapping_iter(text)
        .filter(|hit| {
            let before = hit.start().checked_sub(1).and_then(|at| text.get(at));
            !letter(before) && !letter(text.get(hit.end()))
        })
        .map(|hit| list[hit.pattern().as_usize()].as_str())
        .collect()
}

pub fn finder(needles: &BTreeSet<String>) -> aho_corasick::AhoCorasick {
    aho_corasick::AhoCorasick::builder().build(needles).unwrap()
}

/// Every Parquet file begins and ends with the magic of an encrypted footer.
pub fn assert_encrypted(files: &[PathBuf]) {
    let mut parts = 0;
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "parquet")) {
        let bytes = fs::read(file).unwrap();
        assert!(bytes.starts_with(b"PARE") && bytes.ends_with(b"PARE"), "{} is not encrypted", file.display());
        parts += 1;
    }
    assert!(parts > 0, "no part was written");
}
