//! The directory of a log: names, the lock, and writes that survive a power cut.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::AuditError;

pub(crate) const HEAD: &str = "head";
const LOCK: &str = "lock";

pub(crate) struct Dir {
    path: PathBuf,
}

/// Released when dropped.
pub(crate) struct Lock {
    _file: File,
}

pub(crate) fn segment_name(segment: u32) -> String {
    format!("audit-{segment:08}.log")
}

fn segment_of(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("audit-")?.strip_suffix(".log")?;
    let segment = digits.parse().ok()?;
    (segment_name(segment) == name).then_some(segment)
}

impl Dir {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Whether there is such a folder.
    pub(crate) fn is_there(&self) -> bool {
        self.path.is_dir()
    }

    pub(crate) fn create(path: &Path) -> Result<Self, AuditError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(path).map_err(AuditError::io("create", &path.display().to_string()))?;
        Ok(Self::new(path))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Only one writer at a time, of all threads and processes.
    pub(crate) fn lock(&self) -> Result<Lock, AuditError> {
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(self.file(LOCK))
                .map_err(AuditError::io("open", LOCK))?;
            uninterrupted(|| file.lock()).map_err(AuditError::io("lock", LOCK))?;
            // A lock on a file that was meanwhile removed excludes nobody.
            let held = file.metadata().map_err(AuditError::io("lock", LOCK))?;
            match fs::metadata(self.file(LOCK)) {
                Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => {
                    return Ok(Lock { _file: file });
                }
                _ => {}
            }
        }
    }

    /// Keeps writers out for a moment. A copy of a log, or one that may only be read, has no writers to keep out.
    pub(crate) fn lock_shared(&self) -> Result<Option<Lock>, AuditError> {
        match File::open(self.file(LOCK)) {
            Ok(file) => {
                uninterrupted(|| file.lock_shared()).map_err(AuditError::io("lock", LOCK))?;
                Ok(Some(Lock { _file: file }))
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Ok(None),
            Err(error) => Err(AuditError::io("open", LOCK)(error)),
        }
    }

    pub(crate) fn names(&self) -> Result<Vec<String>, AuditError> {
        let doing = || AuditError::io("list", "the directory");
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(doing())? {
            names.extend(entry.map_err(doing())?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Numbers and lengths, in order.
    pub(crate) fn segments(&self) -> Result<Vec<(u32, u64)>, AuditError> {
        let mut segments = Vec::new();
        for name in self.names()? {
            if let Some(segment) = segment_of(&name) {
                let metadata = fs::metadata(self.file(&name)).map_err(AuditError::io("look at", &name))?;
                segments.push((segment, metadata.len()));
            }
        }
        segments.sort_unstable();
        Ok(segments)
    }

    pub(crate) fn has(&self, name: &str) -> Result<bool, AuditError> {
        self.file(name).try_exists().map_err(AuditError::io("look for", name))
    }

    /// `None` if there is no such file.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, AuditError> {
        match fs::read(self.file(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(AuditError::io("read", name)(error)),
        }
    }

    /// All or nothing, also across a power cut: new file, fdatasync, rename, fsync of the directory.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), AuditError> {
        let new = format!("{name}.new");
        let mut file = self.create_new(&new)?;
        file.write_all(bytes).map_err(AuditError::io("write", &new))?;
        sync_data(&file, &new)?;
        self.rename(&new, name)
    }

    /// A file of ours, empty.
    pub(crate) fn create_new(&self, name: &str) -> Result<File, AuditError> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.file(name))
            .map_err(AuditError::io("create", name))
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), AuditError> {
        fs::rename(self.file(from), self.file(to)).map_err(AuditError::io("rename to", to))?;
        let dir = File::open(&self.path).map_err(AuditError::io("open", "the directory"))?;
        dir.sync_all().map_err(AuditError::io(SYNC, "the directory"))
    }
}

/// What was being done when an error leaves unknown what is on disk.
pub(crate) const SYNC: &str = "make durable";

pub(crate) fn sync_data(file: &File, name: &str) -> Result<(), AuditError> {
    file.sync_data().map_err(AuditError::io(SYNC, name))
}

fn uninterrupted(mut wait: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match wait() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_name_is_a_segment() {
        assert_eq!(segment_of("audit-00000012.log"), Some(12));
        for name in ["audit-12.log", "audit-00000012.log.new", "audit-+0000012.log", "torn-00000012.log", "audit-.log"]
        {
            assert_eq!(segment_of(name), None);
        }
        assert_eq!(segment_of("audit-123456789.log"), Some(123_456_789));
    }
}
