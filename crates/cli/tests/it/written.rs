//! Every kind of file that the program writes anywhere, by its name: what has a name that does not stand here fails the tests.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cordon_storage::Store;

use sha2::Digest as _;

use crate::stores::wire::{Look, of_text};
use crate::support::{Folder, Said, binary, collect, said};

#[derive(Clone, Copy, Debug)]
enum Form {
    /// Parquet, encrypted from its first byte to its last.
    Part,
    /// A part that may not be finished: of a run that was killed.
    Begun,
    /// Sealed whole: the number of the key's version, and noise.
    Sealed,
    /// Sealed frames, each behind its length; none where nothing is to be remembered.
    Journal,
    /// A sealed stream behind the number of the key's version.
    Stream,
    /// Of a format of the house with its sign in front or behind, all else sealed or random.
    Signed(&'static [u8; 8]),
    Ends(&'static [u8; 8]),
    /// Of a commit that was killed: a part, or sealed.
    Draft,
    /// JSON of these members only: wrapped keys, digests, counts.
    Json(&'static [&'static str]),
    /// Hexadecimal digits.
    Hex,
    /// What a person wrote or is to read, and what describes it to editors. No program puts data there.
    Text,
    Empty,
    /// The data that the project is given.
    Input,
}

const RING: &[&str] = &["format", "version", "ring_id", "root", "checksum", "keys", "seal"];
const BACKUP: &[&str] = &[
    "format",
    "version",
    "cordon",
    "created",
    "ring",
    "verifying_key",
    "audit_seq",
    "audit_hash",
    "tables",
    "subject_keys",
    "database",
    "files",
];
const CERTIFICATE: &[&str] = &["statement", "verifying_key", "signature"];

/// In a project.
const PROJECT: &[(&str, Form)] = &[
    ("cordon.yaml", Form::Text),
    (".gitignore", Form::Text),
    ("policies/*.yaml", Form::Text),
    ("pipelines/*.yaml", Form::Text),
    (".cordon/schema/*.json", Form::Text),
    ("secrets/root.key", Form::Hex),
    (".cordon/keyring.json", Form::Json(RING)),
    (".cordon/subject-keys", Form::Signed(b"CORDSUBK")),
    (".cordon/subject-keys.lock", Form::Empty),
    (".cordon/vault/MANIFEST", Form::Signed(b"CORDVLTM")),
    (".cordon/vault/log-*", Form::Signed(b"CORDVLTL")),
    (".cordon/vault/merges-*", Form::Signed(b"CORDVLTL")),
    (".cordon/vault/run-*", Form::Ends(b"CORDVLTR")),
    (".cordon/vault/lock", Form::Empty),
    (".cordon/dossiers/MANIFEST", Form::Signed(b"CORDDOSM")),
    (".cordon/dossiers/run-*", Form::Ends(b"CORDDOSR")),
    (".cordon/dossiers/lock", Form::Empty),
    (".cordon/vault/CURRENT", Form::Signed(b"CORDVLTC")),
    (".cordon/vault/rekeyed-*/MANIFEST", Form::Signed(b"CORDVLTM")),
    (".cordon/vault/rekeyed-*/log-*", Form::Signed(b"CORDVLTL")),
    (".cordon/vault/rekeyed-*/merges-*", Form::Signed(b"CORDVLTL")),
    (".cordon/vault/rekeyed-*/run-*", Form::Ends(b"CORDVLTR")),
    (".cordon/vault/rekeyed-*/lock", Form::Empty),
    (".cordon/dossiers/rekeyed-*/MANIFEST", Form::Signed(b"CORDDOSM")),
    (".cordon/dossiers/rekeyed-*/run-*", Form::Ends(b"CORDDOSR")),
    (".cordon/audit/audit-*.log", Form::Signed(b"CORDAUD2")),
    (".cordon/audit/head", Form::Signed(b"CORDHED1")),
    (".cordon/audit/lock", Form::Empty),
    (".cordon/state/*.sealed", Form::Sealed),
    (".cordon/state/*.lock", Form::Empty),
    (".cordon/state/*/lock", Form::Empty),
    (".cordon/state/*/done.sealed", Form::Sealed),
    (".cordon/state/*/report-*.sealed", Form::Sealed),
    (".cordon/state/*/journal.sealed", Form::Journal),
    (".cordon/quarantine/*/*.sealed", Form::Stream),
    (".cordon/requests/*.sealed", Form::Sealed),
    (".cordon/requests/lock", Form::Empty),
    (".cordon/staging/*/_staging/*/*.parquet", Form::Begun),
    (".cordon/staging/*/_staging/*/_KEY_MATERIAL_FOR_*.json", Form::Json(&[])),
    (".cordon/staging/*/_staging/*/.lock", Form::Empty),
    ("data/*", Form::Input),
    ("data/*/*", Form::Input),
];

/// In a warehouse, wherever it is.
const WAREHOUSE: &[(&str, Form)] = &[
    ("*/_manifest/v*.sealed", Form::Sealed),
    ("*/_manifest/.lock", Form::Empty),
    ("*/_manifest/.draft-*", Form::Draft),
    ("*/data/*.parquet", Form::Part),
    ("*/data/.draft-*", Form::Draft),
    ("*/data/_KEY_MATERIAL_FOR_*.json", Form::Json(&[])),
    ("*/_staging/*/*.parquet", Form::Begun),
    ("*/_staging/*/_KEY_MATERIAL_FOR_*.json", Form::Json(&[])),
    ("*/_staging/*/.lock", Form::Empty),
];

/// Beside a project, where somebody asked for it.
const BESIDE: &[(&str, Form)] = &[
    ("backup/BACKUP.json", Form::Json(BACKUP)),
    ("backup/BACKUP.sig", Form::Hex),
    ("certificate.json", Form::Json(CERTIFICATE)),
];

fn is_like(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            let most = rest.find('/').unwrap_or(rest.len());
            (1..=most).any(|end| rest.is_char_boundary(end) && is_like(after, &rest[end..]))
        }),
    }
}

/// What a name means, from the top of a folder that a project is in.
fn form(name: &str) -> Option<Form> {
    let of = |kinds: &[(&str, Form)], name: &str| {
        kinds.iter().find(|(pattern, _)| is_like(pattern, name)).map(|(_, form)| *form)
    };
    let of_project = |name: &str| match name.strip_prefix("warehouse/") {
        Some(name) => of(WAREHOUSE, name),
        None => of(PROJECT, name),
    };
    for place in ["project/", "backup/data/", "backup/keys/", "backup/tables/"] {
        if let Some(name) = name.strip_prefix(place) {
            return of_project(name);
        }
    }
    of(BESIDE, name)
}

/// Neither words nor anything that can be made shorter.
fn is_noise(bytes: &[u8]) -> bool {
    let printable = |byte: &u8| matches!(byte, b' '..=b'~');
    let words = bytes.split(|byte| !printable(byte)).any(|run| run.len() >= 32);
    !words && (bytes.len() < 1024 || zstd::bulk::compress(bytes, 1).unwrap().len() * 100 >= bytes.len() * 97)
}

fn is_sealed(bytes: &[u8]) -> bool {
    // A version, a nonce and a tag.
    bytes.len() > 4 + 12 + 16 && bytes[..3] == [0; 3] && bytes[3] > 0 && is_noise(&bytes[4..])
}

fn is_journal(mut bytes: &[u8]) -> bool {
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        if length > rest.len() || !is_sealed(&rest[..length]) {
            return false;
        }
        bytes = &rest[length..];
    }
    bytes.is_empty()
}

fn is_as(form: Form, bytes: &[u8]) -> bool {
    let text = || std::str::from_utf8(bytes).unwrap_or("\0");
    let begun = |bytes: &[u8]| bytes.is_empty() || bytes.starts_with(b"PARE") || b"PARE".starts_with(bytes);
    match form {
        Form::Part => bytes.len() > 12 && bytes.starts_with(b"PARE") && bytes.ends_with(b"PARE"),
        Form::Begun => begun(bytes),
        Form::Sealed => is_sealed(bytes),
        Form::Journal => is_journal(bytes),
        Form::Stream => bytes.get(4..12) == Some(b"CORDSEAL") && is_noise(&bytes[12..]),
        Form::Signed(sign) => bytes.starts_with(sign) && !has_words(&bytes[8..]),
        Form::Ends(sign) => bytes.ends_with(sign) && !has_words(&bytes[..bytes.len() - 8]),
        Form::Draft => begun(bytes) || is_sealed(bytes),
        Form::Json(members) => match serde_json::from_str::<serde_json::Value>(text()) {
            Ok(serde_json::Value::Object(object)) => {
                members.is_empty() || object.keys().all(|key| members.contains(&key.as_str()))
            }
            _ => false,
        },
        Form::Hex => text().trim().bytes().all(|byte| byte.is_ascii_hexdigit()) && bytes.len() > 60,
        Form::Text => text().chars().all(|sign| sign == '\n' || !sign.is_control()),
        Form::Empty => bytes.is_empty(),
        Form::Input => true,
    }
}

fn has_words(bytes: &[u8]) -> bool {
    bytes.split(|byte| !matches!(byte, b' '..=b'~')).any(|run| run.len() >= 32)
}

#[track_caller]
fn judge(name: &str, bytes: &[u8]) -> Form {
    let Some(form) = form(name) else { panic!("`{name}` is a new kind of file: say in {} what it is", file!()) };
    assert!(is_as(form, bytes), "`{name}` is not {form:?}: {} bytes", bytes.len());
    form
}

/// All of a warehouse in an object store.
#[track_caller]
pub fn of_store(store: &Store, warehouse: &str) -> usize {
    let mut count = 0;
    for object in store.list(warehouse) {
        let object = object.unwrap();
        let mut bytes = Vec::new();
        store.reader(&object).unwrap().read_to_end(&mut bytes).unwrap();
        let name = object.key.strip_prefix(warehouse).unwrap().trim_start_matches('/');
        judge(&format!("project/warehouse/{name}"), &bytes);
        count += 1;
    }
    count
}

/// All of the warehouses in a folder.
#[track_caller]
pub fn below(folder: &Path) -> usize {
    let mut files = Vec::new();
    collect(folder, &mut files);
    for file in &files {
        let (_, name) = file.strip_prefix(folder).unwrap().to_str().unwrap().split_once('/').unwrap();
        judge(&format!("project/warehouse/{name}"), &fs::read(file).unwrap());
    }
    files.len()
}

#[test]
fn a_form_is_told_from_another() {
    let noise: Vec<u8> = (0..4000_u32).flat_map(|i| sha2::Sha256::digest(i.to_be_bytes())).collect();
    let sealed = [&[0, 0, 0, 1][..], &noise].concat();
    assert!(
        is_noise(&noise) && is_sealed(&sealed) && is_journal(&[&(100_u32).to_le_bytes()[..], &sealed[..100]].concat())
    );
    let mut with_name = sealed.clone();
    with_name[500..540].copy_from_slice(b"Zq00001x Wv00001y, Zq00001x Wv00001y, ok");
    assert!(!is_sealed(&with_name), "words");
    assert!(!is_sealed(&[&[0, 0, 0, 1][..], &[7; 4000]].concat()), "what can be made shorter");
    assert!(!is_as(Form::Part, b"PAR1............PAR1") && !is_as(Form::Part, b"PARE............PAR1"));
    assert!(!is_as(Form::Begun, b"PAR1") && is_as(Form::Begun, b"PA"));
    assert!(is_like("*/data/*.parquet", "visits/data/a.parquet") && !is_like("*/data/*.parquet", "a/b/data/c.parquet"));
    for unknown in ["tmp/x", "project/.cordon/vault/notes.txt", "project/warehouse/visits/data/x.csv", "home/.cordon"] {
        assert!(form(unknown).is_none(), "{unknown}");
    }
}

/// A project whose commands know one place for what is temporary.
struct Broad {
    folder: Folder,
}

impl Broad {
    fn root(&self) -> &Path {
        self.folder.dir.path()
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = binary();
        command.args(args).current_dir(self.folder.path());
        command.env("TMPDIR", self.root().join("tmp")).env("HOME", self.root().join("home"));
        command
    }

    fn cordon(&self, args: &[&str]) -> Said {
        said(self.command(args).output().unwrap())
    }

    /// Every identifier of the export that is long enough to prove anything.
    fn identifiers(&self) -> BTreeSet<String> {
        let mut reader = csv::Reader::from_path(self.folder.path().join("data/csv/patients.csv")).unwrap();
        let header = reader.headers().unwrap().clone();
        let identifying = ["patient_id", "mrn", "ssn", "email", "phone", "address"];
        let records: Vec<_> = reader.records().flatten().collect();
        let values = records.iter().flat_map(|record| header.iter().zip(record.iter()));
        let values = values.filter(|(column, value)| identifying.contains(column) && value.len() >= 8);
        values.map(|(_, value)| value.to_owned()).collect()
    }

    /// Of known kinds, and nobody is in any of them.
    fn walk(&self, planted: &Look) -> usize {
        let mut files = Vec::new();
        collect(self.root(), &mut files);
        for file in &files {
            let name = file.strip_prefix(self.root()).unwrap().to_str().unwrap();
            let bytes = fs::read(file).unwrap();
            if !matches!(judge(name, &bytes), Form::Input) {
                assert_eq!(planted.found(&bytes), BTreeSet::new(), "{name}");
            }
        }
        files.len()
    }

    /// What a query spills has no name: it is looked at where the system shows what a process holds open.
    fn spills(&self) -> Vec<Vec<u8>> {
        let query =
            "SELECT o.*, p.* FROM observations o CROSS JOIN patients p ORDER BY p.patient_id DESC, o.patient_id";
        let args = ["sql", query, "--as", "engineer", "--purpose", "operations", "--format", "csv"];
        let mut child = self.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let open = PathBuf::from(format!("/proc/{}/fd", child.id()));
        let mut seen = Vec::new();
        while child.try_wait().unwrap().is_none() {
            for entry in fs::read_dir(&open).into_iter().flatten().flatten() {
                let Ok(target) = fs::read_link(entry.path()) else { continue };
                let temporary = target.starts_with(self.root().join("project/.cordon/tmp"));
                assert!(!temporary || target.to_string_lossy().ends_with("(deleted)"), "{}", target.display());
                if temporary && seen.len() < 8 {
                    let mut bytes = Vec::new();
                    let read = fs::File::open(entry.path()).and_then(|file| file.take(1 << 20).read_to_end(&mut bytes));
                    seen.extend(read.is_ok().then_some(bytes).filter(|bytes| bytes.len() > 4096));
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(child.wait().unwrap().success());
        seen
    }
}

#[test]
fn every_file_that_is_written_anywhere_is_sealed_or_listed_as_plain() {
    let broad = Broad { folder: Folder::init("research") };
    broad.folder.synth(60, &[]);
    for folder in ["tmp", "home"] {
        fs::create_dir(broad.root().join(folder)).unwrap();
    }
    let settings = broad.folder.read("cordon.yaml").replace("memory: 1GiB", "memory: 128MiB");
    let settings =
        settings.replace("  state: .cordon/state", "  encryption: { key-material: external }\n  state: .cordon/state");
    broad.folder.write("cordon.yaml", settings);
    let planted = Look::for_any(broad.identifiers().iter().flat_map(|value| of_text(value)));

    // Killed among units, with parts in staging and a journal.
    let killed = broad.command(&["run", "nightly", "-q"]).env("CORDON_FAIL_AT", "journaled").output().unwrap();
    assert!(!killed.status.success());
    let mut staged = Vec::new();
    collect(&broad.root().join("project/warehouse"), &mut staged);
    assert!(staged.iter().any(|file| file.extension().is_some_and(|name| name == "parquet")), "{staged:?}");
    broad.walk(&planted);

    // Tables, quarantine, a report, requests, keys of two versions, a person destroyed, a backup.
    broad.cordon(&["run", "nightly", "-q"]).exits(3);
    broad.walk(&planted);
    let one = "SELECT patient_id FROM patients LIMIT 1";
    let rows =
        broad.cordon(&["sql", one, "--as", "engineer", "--purpose", "operations", "--format", "json"]).ok().json();
    let token = rows[0]["patient_id"].as_str().unwrap().to_owned();
    let who = ["--as", "privacy-officer", "--purpose", "required-by-law", "--reason", "the patient asked"];
    for shred in [None, Some("--shred")] {
        let ask = [&["token", "request", "--domain", "patient", &token][..], &who, shred.as_slice()].concat();
        let id = broad.cordon(&ask).ok().out.trim().to_owned();
        broad
            .cordon(&["token", "approve", &id, "--as", "compliance-officer", "--reason", "checked with the ward"])
            .ok();
        let certificate = broad.root().join("certificate.json");
        match shred {
            None => broad.cordon(&["token", "reveal", &id, "--as", "privacy-officer"]).ok(),
            Some(_) => broad
                .cordon(&[
                    "vault",
                    "shred",
                    &id,
                    "--as",
                    "privacy-officer",
                    "--certificate",
                    certificate.to_str().unwrap(),
                ])
                .ok(),
        };
    }
    broad.cordon(&["keys", "rotate", "--all"]).ok();
    // Killed with all of the vault written twice.
    let killed = broad.command(&["vault", "rekey", "-q"]).env("CORDON_FAIL_AT", "rekey-switching").output().unwrap();
    assert!(!killed.status.success());
    broad.walk(&planted);
    broad.cordon(&["vault", "rekey", "-q"]).ok();
    broad.walk(&planted);
    let hold = ["--as", "privacy-officer", "--reason", "litigation, case 7"];
    broad.cordon(&[&["hold", "place", "case-7", "--tables", "*"][..], &hold].concat()).ok();
    broad.cordon(&[&["hold", "release", "case-7"][..], &hold].concat()).ok();
    let replayed = broad.cordon(&["quarantine", "replay", "nightly"]);
    assert!(matches!(replayed.code, 0 | 3), "{}", replayed.err);
    broad.cordon(&["retain", "-q"]).ok();
    broad.cordon(&["report", "nightly"]).ok();
    let backup = broad.root().join("backup");
    broad.cordon(&["backup", "create", backup.to_str().unwrap(), "--tables"]).ok();
    let spilled = broad.spills();
    // What a process that keeps its memory holds open is shown to root only.
    assert!(!spilled.is_empty() || fs::read_dir("/proc/1/fd").is_err(), "no query had to spill");
    for bytes in spilled {
        assert!(is_noise(&bytes), "a spill file is in clear");
    }
    let files = broad.walk(&planted);
    assert!(files > 150, "{files}");
    // The walk finds who is in clear.
    broad.folder.write("policies/control.yaml", broad.identifiers().first().unwrap());
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| broad.walk(&planted)));
    assert!(found.is_err(), "the same walk finds what is in clear");
}
