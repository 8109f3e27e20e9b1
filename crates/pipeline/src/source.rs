//! Which files a source means, and whether they changed.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use cordon_deid::yaml::{Issue, Issues};
use cordon_engine::{EngineError, InputKeys, ParquetInput};
use cordon_formats::{CsvOptions, NotesOptions, open_decoded};
use cordon_storage::{Location, Object, StorageError, Store};
use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use crate::config::{Format, SourceSection};
use crate::error::RunError;
use crate::stores::{self, Stores};

/// One file to read.
#[derive(Clone)]
pub struct SourceFile {
    pub dataset: String,
    pub format: Format,
    pub csv: Arc<CsvOptions>,
    pub notes: Arc<NotesOptions>,
    /// What opens it, where it is an encrypted Parquet file.
    pub keys: Arc<InputKeys>,
    /// Of an object store its address.
    pub path: PathBuf,
    pub object: Option<Arc<StoredObject>>,
    /// The path as the state knows it: relative to the project folder where it is inside.
    pub name: String,
    /// The name's own bytes: two names that are not UTF-8 may look the same.
    pub key: Vec<u8>,
    pub stamp: Stamp,
}

/// A file in an object store.
pub struct StoredObject {
    store: Store,
    object: Object,
}

impl SourceFile {
    /// The file's bytes as they stand.
    pub fn open(&self) -> Result<Box<dyn Read + Send>, RunError> {
        match &self.object {
            Some(stored) => Ok(Box::new(stored.store.reader(&stored.object)?)),
            None => match fs::File::open(&self.path) {
                Ok(file) => Ok(Box::new(file)),
                Err(error) => Err(RunError::io("open", &self.path, &error)),
            },
        }
    }

    pub fn parquet(&self, batch_rows: usize) -> Result<ParquetInput, EngineError> {
        match &self.object {
            Some(stored) => ParquetInput::open_object(&stored.store, &stored.object, &self.keys, batch_rows),
            None => ParquetInput::open(&self.path, &self.keys, batch_rows),
        }
    }
}

/// What tells without reading that a file is the same as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub size: u64,
    pub modified_ns: u128,
    /// Of the version that an object store gives its objects; 0 for files.
    #[serde(default)]
    pub version: u64,
}

impl Stamp {
    pub fn of(path: &Path) -> Result<Self, RunError> {
        let failed = |error: std::io::Error| RunError::io("read", path, &error);
        let data = fs::metadata(path).map_err(failed)?;
        let modified = data.modified().map_err(failed)?;
        let modified_ns = modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        Ok(Self { size: data.len(), modified_ns, version: 0 })
    }

    fn of_object(object: &Object) -> Self {
        let modified_ns = object.modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let version = object.version.as_ref().map(|version| Sha256::digest(version.as_bytes()));
        let version = version.and_then(|digest| digest.first_chunk().copied()).map_or(0, u64::from_be_bytes);
        Self { size: object.size, modified_ns, version }
    }
}

/// A file that a source means.
struct Found {
    path: PathBuf,
    object: Option<Arc<StoredObject>>,
    stamp: Stamp,
}

impl Found {
    fn object(bucket: &Store, object: Object) -> Self {
        Self {
            path: format!("{}/{}", bucket.location(), object.key).into(),
            stamp: Stamp::of_object(&object),
            object: Some(Arc::new(StoredObject { store: bucket.clone(), object })),
        }
    }
}

/// Lists the files of one source, sorted by name.
pub(crate) fn list(
    root: &Path,
    stores: &Stores,
    file: &Path,
    section: &SourceSection,
    keys: &Arc<InputKeys>,
) -> Result<Vec<SourceFile>, RunError> {
    let pattern = &section.path.value;
    let wrong = |message: String, help: &str| {
        RunError::Config(Issues(vec![Issue {
            file: file.to_path_buf(),
            position: section.path.position,
            message,
            help: Some(help.to_owned()),
        }]))
    };
    let glob = |pattern: &str| {
        let built = GlobBuilder::new(pattern).literal_separator(true).build();
        let built = built
            .map_err(|_| wrong(format!("`{pattern}` is not a valid glob"), "use `*`, `**`, `?`, `[…]` or `{a,b}`"));
        built.map(|glob| glob.compile_matcher())
    };
    let mut found = if Location::is_url(pattern) {
        let location = Location::parse(pattern).map_err(|error| {
            RunError::Config(Issues(vec![stores::wrong(file, section.path.position, "path", error)]))
        })?;
        objects(&stores.open(&location.with_prefix(""))?, location.prefix(), glob)?
    } else {
        files(&root.join(pattern), glob)?
    };
    if found.is_empty() && !section.optional {
        return Err(wrong(
            format!("no file matches `{pattern}`"),
            "mend the path (it is relative to the project folder, or an address in an object store), or say `optional: true`",
        ));
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    let said = Said::by(section, keys);
    let described = found.into_iter().map(|found| {
        said.of(root, found).ok_or_else(|| {
            wrong(
                format!("the format of the files of `{pattern}` cannot be told from their names"),
                "add `format: csv`, `parquet`, `ndjson`, `fhir`, `hl7v2`, `ccda`, `x12`, `dicom` or `notes`",
            )
        })
    });
    described.collect()
}

/// What a section says of its files.
struct Said<'a> {
    section: &'a SourceSection,
    csv: Arc<CsvOptions>,
    notes: Arc<NotesOptions>,
    keys: &'a Arc<InputKeys>,
}

impl<'a> Said<'a> {
    fn by(section: &'a SourceSection, keys: &'a Arc<InputKeys>) -> Self {
        let csv = Arc::new(section.csv.clone().unwrap_or_default());
        let notes = Arc::new(section.notes.as_ref().map(|notes| notes.value.clone()).unwrap_or_default());
        Self { section, csv, notes, keys }
    }

    /// `None` where nothing tells the format.
    fn of(&self, root: &Path, Found { path, object, stamp }: Found) -> Option<SourceFile> {
        let format = self.section.format.or_else(|| format_of(&path))?;
        let mut csv = Arc::clone(&self.csv);
        if self.section.csv.is_none() && extension(&path).as_deref() == Some("tsv") {
            Arc::make_mut(&mut csv).delimiter = b'\t';
        }
        let relative = path.strip_prefix(root).unwrap_or(&path);
        let name = relative.to_string_lossy().into_owned();
        let key = relative.as_os_str().as_encoded_bytes().to_vec();
        let (dataset, notes) = (self.section.dataset.value.clone(), Arc::clone(&self.notes));
        let keys = Arc::clone(self.keys);
        Some(SourceFile { dataset, format, csv, notes, keys, path, object, name, key, stamp })
    }
}

/// Where a file of a source is, for a process that has the same project and does not list its sources itself.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Whereabouts {
    /// Bytes of the path, below the project folder where it is inside.
    File {
        path: Vec<u8>,
        stamp: Stamp,
    },
    Object {
        key: String,
        size: u64,
        modified: SystemTime,
        version: Option<String>,
    },
}

impl Whereabouts {
    pub fn of(file: &SourceFile) -> Self {
        match &file.object {
            None => Self::File { path: file.key.clone(), stamp: file.stamp },
            Some(stored) => {
                let Object { key, size, modified, version } = stored.object.clone();
                Self::Object { key, size, modified, version }
            }
        }
    }

    /// The file as [`list`] describes it, with nothing looked at.
    pub fn file(
        self,
        root: &Path,
        stores: &Stores,
        section: &SourceSection,
        keys: &Arc<InputKeys>,
    ) -> Result<SourceFile, RunError> {
        let found = match self {
            Self::File { path, stamp } => {
                let path = root.join(OsString::from_vec(path));
                Found { path, object: None, stamp }
            }
            Self::Object { key, size, modified, version } => {
                let location =
                    Location::parse(&section.path.value).map_err(|_| RunError::Internal("a source's address"))?;
                let bucket = stores.open(&location.with_prefix(""))?;
                Found::object(&bucket, Object { key, size, modified, version })
            }
        };
        Said::by(section, keys).of(root, found).ok_or(RunError::Internal("a file's format"))
    }
}

fn has_signs(pattern: &str) -> bool {
    pattern.contains(['*', '?', '[', '{'])
}

/// Files of the file system.
fn files(pattern: &Path, glob: impl Fn(&str) -> Result<GlobMatcher, RunError>) -> Result<Vec<Found>, RunError> {
    let mut paths = Vec::new();
    if has_signs(&pattern.to_string_lossy()) {
        let glob = glob(&pattern.to_string_lossy())?;
        let start = fixed_part(pattern);
        // No deeper than the pattern: a folder that it cannot mean may be closed to us.
        let depth = if pattern.to_string_lossy().contains("**") {
            usize::MAX
        } else {
            pattern.components().count() - start.components().count()
        };
        for entry in WalkDir::new(&start).follow_links(true).max_depth(depth) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if is_harmless(&error, |path| glob.is_match(path)) => continue,
                Err(error) => {
                    let path = error.path().unwrap_or(&start).to_path_buf();
                    // A loop of links has no error of the system's behind it.
                    let source = error.into_io_error().unwrap_or_else(|| std::io::ErrorKind::InvalidInput.into());
                    return Err(RunError::io("list", &path, &source));
                }
            };
            if entry.file_type().is_file() && glob.is_match(entry.path()) {
                paths.push(entry.into_path());
            }
        }
    } else if pattern.is_file() {
        paths.push(pattern.to_path_buf());
    }
    let stamped = paths.into_iter().map(|path| Ok(Found { stamp: Stamp::of(&path)?, object: None, path }));
    stamped.collect()
}

/// Objects of a bucket, by a pattern of their keys.
fn objects(
    bucket: &Store,
    pattern: &str,
    glob: impl Fn(&str) -> Result<GlobMatcher, RunError>,
) -> Result<Vec<Found>, RunError> {
    let found = |object| Found::object(bucket, object);
    if !has_signs(pattern) {
        return Ok(bucket.find(pattern)?.map(found).into_iter().collect());
    }
    let (glob, start) = (glob(pattern)?, fixed_part(Path::new(pattern)));
    let mut all = Vec::new();
    for object in bucket.list(&start.to_string_lossy()) {
        let object = object?;
        if glob.is_match(&object.key) {
            all.push(found(object));
        }
    }
    Ok(all)
}

/// A folder that does not exist is a source without files; a link to nowhere harms only where it is meant.
fn is_harmless(error: &walkdir::Error, is_meant: impl Fn(&Path) -> bool) -> bool {
    let missing = error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    missing && (error.depth() == 0 || !error.path().is_some_and(is_meant))
}

/// The longest folder that holds no glob sign.
fn fixed_part(pattern: &Path) -> PathBuf {
    let mut fixed = PathBuf::new();
    for part in pattern.components() {
        if part.as_os_str().to_string_lossy().contains(['*', '?', '[', '{']) {
            break;
        }
        fixed.push(part);
    }
    fixed
}

/// The extension in lower case, that of a compression left aside.
fn extension(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    uncompressed(&name).rsplit_once('.').map(|(_, extension)| extension.to_owned())
}

pub(crate) fn format_of(path: &Path) -> Option<Format> {
    match extension(path)?.as_str() {
        "csv" | "tsv" | "txt" => Some(Format::Csv),
        "parquet" => Some(Format::Parquet),
        "ndjson" | "jsonl" => Some(Format::Ndjson),
        "hl7" => Some(Format::Hl7v2),
        "dcm" => Some(Format::Dicom),
        _ => None,
    }
}

/// The name without the sign of a compression.
pub fn uncompressed(name: &str) -> &str {
    name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name)
}

/// A reader that counts what it passes, for the progress bar.
pub struct Metered<R> {
    inner: R,
    passed: Arc<AtomicU64>,
}

impl<R: Read> Metered<R> {
    pub fn new(inner: R, passed: Arc<AtomicU64>) -> Self {
        Self { inner, passed }
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.passed.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// A reader that hashes what it passes, for the manifest.
pub struct Hashed<R> {
    inner: R,
    hash: RunningHash,
}

/// The SHA-256 of what a [`Hashed`] reader has passed so far.
#[derive(Clone, Default)]
pub struct RunningHash(Arc<Mutex<Sha256>>);

impl RunningHash {
    /// Hexadecimal.
    pub fn hex(&self) -> String {
        let hash = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        data_encoding::HEXLOWER.encode(&hash.finalize())
    }
}

impl<R: Read> Hashed<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, hash: RunningHash::default() }
    }

    pub fn hash(&self) -> RunningHash {
        self.hash.clone()
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.0.lock().unwrap_or_else(PoisonError::into_inner).update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// SHA-256 of a file's content, any compression taken off; `None` where that fails. A Parquet file is its own content.
pub fn hash_file(source: &SourceFile) -> Result<Option<String>, RunError> {
    let failed = |error: std::io::Error| RunError::io("read", &source.path, &error);
    let file = source.open()?;
    let mut hashed: Hashed<Box<dyn Read>> = Hashed::new(match source.format {
        Format::Parquet => Box::new(file),
        _ => match open_decoded(file) {
            Ok(decoded) => Box::new(decoded),
            Err(_) => return Ok(None),
        },
    });
    let mut buffer = vec![0; 1 << 20];
    loop {
        match hashed.read(&mut buffer) {
            Ok(0) => return Ok(Some(hashed.hash().hex())),
            Ok(_) => {}
            Err(error) if error.raw_os_error().is_some() || is_of_store(&error) => return Err(failed(error)),
            Err(_) => return Ok(None),
        }
    }
}

fn is_of_store(error: &std::io::Error) -> bool {
    matches!(error.get_ref(), Some(inner) if inner.is::<StorageError>())
}
