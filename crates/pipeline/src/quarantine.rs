//! Records that could not be processed: kept whole, encrypted, with the reason, until they are replayed.
//!
//! One file holds what one unit of a run put aside. Its frames are `length, JSON, length, raw bytes`; the stream is
//! authenticated as a whole, so a file that was cut or changed is refused and never half believed.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use cordon_crypto::{CryptoError, SealKeys, SealedWriter};
use cordon_formats::{CsvOptions, NotesOptions};
use serde::{Deserialize, Serialize};

use crate::config::Format;
use crate::error::RunError;
use crate::sealed::unopened;
use crate::state::QuarantineRef;

/// Where a quarantined record came from; enough to read it again.
#[derive(Clone, Serialize, Deserialize)]
pub struct Origin {
    pub dataset: String,
    /// The file's name as the run knew it.
    pub file: String,
    /// Keyed hash of the file's name, as in manifests.
    pub source_id: String,
    pub format: Format,
    pub csv: CsvOptions,
    #[serde(default)]
    pub notes: NotesOptions,
    /// The columns of the file, for formats that have them.
    pub header: Vec<String>,
}

impl Origin {
    /// Of a file that is named and not read again from here.
    pub(crate) fn of_file(dataset: &str, file: &str, source_id: &str) -> Self {
        Self {
            dataset: dataset.to_owned(),
            file: file.to_owned(),
            source_id: source_id.to_owned(),
            format: Format::Csv,
            csv: CsvOptions::default(),
            notes: NotesOptions::default(),
            header: Vec::new(),
        }
    }
}

/// One record, or one whole file, that could not be processed.
#[derive(Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Which [`Origin`] of the file it belongs to.
    origin: usize,
    /// Physical line, or position among a bundle's entries, from one; zero for a file as a whole.
    pub line: u64,
    /// The field, column or element path, where one is to blame.
    pub field: Option<String>,
    /// What is wrong, in words that hold no value.
    pub reason: String,
    /// The record was longer than the limit, and what is kept is its beginning.
    pub cut: bool,
}

/// A record as it stands in quarantine.
pub struct Quarantined {
    /// Stable name: file and number.
    pub id: String,
    /// Its number in the file.
    pub number: u64,
    pub origin: Origin,
    pub entry: Entry,
    /// The record's own bytes: PHI.
    raw: Vec<u8>,
}

impl Quarantined {
    /// The record as it was read. Showing it is an access to PHI and goes on the record.
    pub fn expose_phi(&self) -> &[u8] {
        &self.raw
    }

    /// A file as a whole, which no quarantine file holds: the next run reads it again.
    pub(crate) fn of_file(id: String, origin: Origin, reason: String) -> Self {
        let entry = Entry { origin: 0, line: 0, field: None, reason, cut: false };
        Self { id, number: 0, origin, entry, raw: Vec::new() }
    }

    pub(crate) fn into_raw(self) -> Vec<u8> {
        self.raw
    }
}

#[derive(Serialize, Deserialize)]
enum Frame {
    Origin(Origin),
    Entry(Entry),
}

const SUB_KEY: &str = "cordon/quarantine/v1";

/// Bound to pipeline and name, so that no file can stand in for another.
fn info(path: &Path) -> Vec<u8> {
    [b"cordon quarantine v2".to_vec(), crate::sealed::label(path)].join(&0)
}

/// Writes one quarantine file; nothing is on disk until the first entry.
pub struct QuarantineWriter {
    path: PathBuf,
    key: SealKeys,
    out: Option<SealedWriter<BufWriter<File>>>,
    origins: usize,
    pub count: u64,
}

impl QuarantineWriter {
    pub fn new(path: PathBuf, key: SealKeys) -> Self {
        Self { path, key, out: None, origins: 0, count: 0 }
    }

    /// Registers a file and returns its number for [`Self::put`].
    pub fn origin(&mut self, origin: &Origin) -> Result<usize, RunError> {
        self.frame(&Frame::Origin(origin.clone()), &[])?;
        self.origins += 1;
        Ok(self.origins - 1)
    }

    pub fn put(
        &mut self,
        origin: usize,
        line: u64,
        field: Option<String>,
        reason: String,
        cut: bool,
        raw: &[u8],
    ) -> Result<(), RunError> {
        self.count += 1;
        self.frame(&Frame::Entry(Entry { origin, line, field, reason, cut }), raw)
    }

    fn frame(&mut self, frame: &Frame, raw: &[u8]) -> Result<(), RunError> {
        let head = serde_json::to_vec(frame).map_err(|_| RunError::Internal("a quarantine frame"))?;
        if self.out.is_none() {
            crate::sealed::make_folder(self.path.parent().unwrap_or(Path::new(".")))?;
            let file = File::create(&self.path).map_err(|error| RunError::io("create", &self.path, &error))?;
            let sealed = self
                .key
                .writer(BufWriter::new(file), SUB_KEY, &info(&self.path))
                .map_err(|error| RunError::io("write", &self.path, &error))?;
            self.out = Some(sealed);
        }
        let Some(out) = &mut self.out else { return Err(RunError::Internal("quarantine")) };
        out.write_all(&(head.len() as u32).to_le_bytes())
            .and_then(|()| out.write_all(&head))
            .and_then(|()| out.write_all(&(raw.len() as u32).to_le_bytes()))
            .and_then(|()| out.write_all(raw))
            .map_err(|error| RunError::io("write", &self.path, &error))
    }

    /// Makes the file durable. Returns its name and how much it holds, or `None` when nothing was put aside.
    pub fn finish(mut self) -> Result<Option<QuarantineRef>, RunError> {
        let failed = |error: std::io::Error| RunError::io("write", &self.path, &error);
        let Some(out) = self.out.take() else { return Ok(None) };
        let buffered = out.finish().map_err(failed)?;
        let file = buffered.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        if let Some(folder) = self.path.parent() {
            crate::sealed::sync_folder(folder).map_err(failed)?;
        }
        if self.count == 0 {
            fs::remove_file(&self.path).map_err(failed)?;
            return Ok(None);
        }
        let file = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Some(QuarantineRef { file, entries: self.count, since: None }))
    }
}

/// Reads one quarantine file, entry by entry.
pub fn read(
    folder: &Path,
    held: &QuarantineRef,
    key: &SealKeys,
    mut each: impl FnMut(Quarantined) -> Result<(), RunError>,
) -> Result<(), RunError> {
    let path = folder.join(&held.file);
    let path = path.as_path();
    let file = File::open(path).map_err(|error| RunError::io("open", path, &error))?;
    let mut input =
        key.reader(BufReader::new(file), SUB_KEY, &info(path)).map_err(|error| unopened_stream(path, &error))?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut origins: Vec<Origin> = Vec::new();
    let mut number = 0u64;
    while let Some(head) = block(path, &mut input, true)? {
        let raw = block(path, &mut input, false)?.unwrap_or_default();
        let frame =
            serde_json::from_slice(&head).map_err(|_| RunError::damaged(path, "was written by another version"))?;
        match frame {
            Frame::Origin(origin) => origins.push(origin),
            Frame::Entry(entry) => {
                let Some(origin) = origins.get(entry.origin).cloned() else {
                    return Err(RunError::damaged(path, "names a source that it does not hold"));
                };
                number += 1;
                each(Quarantined { id: format!("{stem}-{number}"), number, origin, entry, raw })?;
            }
        }
    }
    if number != held.entries {
        return Err(RunError::damaged(path, "does not hold as many records as were put aside"));
    }
    Ok(())
}

fn unopened_stream(path: &Path, error: &std::io::Error) -> RunError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<CryptoError>()) {
        Some(error) => unopened(path, error),
        None => RunError::damaged(path, "does not open under the project's key"),
    }
}

/// Seals a quarantine file again under the newest version. `false` where it is under it already. Its owner holds the pipeline's lock.
pub(crate) fn reseal(path: &Path, keys: &SealKeys) -> Result<bool, RunError> {
    if crate::sealed::version_of(path, false)? == Some(keys.newest()) {
        return Ok(false);
    }
    let file = File::open(path).map_err(|error| RunError::io("open", path, &error))?;
    let mut input =
        keys.reader(BufReader::new(file), SUB_KEY, &info(path)).map_err(|error| unopened_stream(path, &error))?;
    let beside = crate::sealed::beside(path);
    let written = File::create(&beside).and_then(|file| {
        let mut out = keys.writer(BufWriter::new(file), SUB_KEY, &info(path))?;
        std::io::copy(&mut input, &mut out)?;
        let file = out.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        path.parent().map_or(Ok(()), crate::sealed::sync_folder)
    });
    written.map(|()| true).map_err(|error| {
        // Best effort: the old file is as it was.
        let _ = fs::remove_file(&beside);
        match error.kind() {
            std::io::ErrorKind::InvalidData => unopened_stream(path, &error),
            _ => RunError::io("write", path, &error),
        }
    })
}

/// One length-prefixed block; `None` at the end, where an end may be.
fn block(path: &Path, input: &mut impl Read, may_end: bool) -> Result<Option<Vec<u8>>, RunError> {
    let damaged = || RunError::damaged(path, "is cut short or was changed");
    let mut length = [0; 4];
    let mut have = 0;
    while have < 4 {
        let rest = length.get_mut(have..).unwrap_or_default();
        match input.read(rest).map_err(|_| damaged())? {
            0 if have == 0 && may_end => return Ok(None),
            0 => return Err(damaged()),
            count => have += count,
        }
    }
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    input.read_exact(&mut bytes).map_err(|_| damaged())?;
    Ok(Some(bytes))
}
