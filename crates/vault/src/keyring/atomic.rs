//! A file that is there in its old form or in its new one, whenever the machine stops.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::KeyRingError;

/// A ring is a few kilobytes; what is larger is something else.
const LARGEST: u64 = 1024 * 1024;

pub(super) fn read(path: &Path) -> Result<Vec<u8>, KeyRingError> {
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => KeyRingError::Missing { path: path.to_owned() },
        _ => KeyRingError::Io { doing: "read the key ring", path: path.to_owned(), source },
    };
    if fs::metadata(path).map_err(io)?.len() > LARGEST {
        let what = "it is far larger than a key ring".to_owned();
        return Err(KeyRingError::Damaged { path: path.to_owned(), what });
    }
    fs::read(path).map_err(io)
}

/// The new form of a file, durable under another name, and not yet in its place.
pub(super) struct Replacement {
    path: PathBuf,
    temporary: PathBuf,
    committed: bool,
    /// Held until the file is in its place, so that two processes do not replace it at once.
    _lock: Option<File>,
}

impl Replacement {
    /// Writes the new form beside the old one. `old` is what must stand in the place now, `None` for nothing.
    pub(super) fn prepare(path: &Path, bytes: &[u8], old: Option<&[u8]>) -> Result<Self, KeyRingError> {
        let io = |source| KeyRingError::NotReplaced { path: path.to_owned(), source };
        // A file system without locks (some network ones) still has the comparison below.
        let directory = File::open(directory_of(path)).map_err(io)?;
        let lock = directory.lock().is_ok().then_some(directory);
        match (old, fs::symlink_metadata(path)) {
            (None, Err(error)) if error.kind() == io::ErrorKind::NotFound => {}
            (None, Ok(_)) => {
                return Err(KeyRingError::Exists { path: path.to_owned() });
            }
            (Some(old), Ok(_)) if read(path)? == old => {}
            (Some(_), Ok(_)) => {
                return Err(KeyRingError::Changed { path: path.to_owned() });
            }
            (_, Err(error)) => return Err(io(error)),
        }
        let temporary = temporary_name(path);
        // What a killed process left: its keys are wrapped, its root may not be ours.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        let replacement = Self { path: path.to_owned(), temporary, committed: false, _lock: lock };
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&replacement.temporary).map_err(io)?;
        file.write_all(bytes).map_err(io)?;
        file.sync_all().map_err(io)?;
        Ok(replacement)
    }

    /// Puts the new form in its place: rename(2) is atomic, and durable when the directory is synced.
    pub(super) fn commit(mut self) -> Result<(), KeyRingError> {
        fs::rename(&self.temporary, &self.path)
            .map_err(|source| KeyRingError::NotReplaced { path: self.path.clone(), source })?;
        self.committed = true;
        sync_directory(&self.path).map_err(|source| KeyRingError::Io {
            doing: "write the directory of the key ring",
            path: self.path.clone(),
            source,
        })
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing depends on it: the next replacement removes it too.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}
