//! Small files that are never in clear: sealed whole, or as a journal of sealed frames.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use cordon_crypto::{SealKey, open, seal};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::RunError;

/// Replaces `path` by the sealed `value`: readers see the old content or the new, never half.
pub fn write_sealed<T: Serialize>(path: &Path, key: &SealKey, value: &T) -> Result<(), RunError> {
    let text = serde_json::to_vec(value).map_err(|_| RunError::damaged(path, "could not be encoded"))?;
    let sealed = seal(key.dangerous_expose(), &label(path), &text)?;
    write_atomically(path, &sealed)
}

/// Reads what [`write_sealed`] wrote; `None` when there is no such file.
pub fn read_sealed<T: DeserializeOwned>(path: &Path, key: &SealKey) -> Result<Option<T>, RunError> {
    let sealed = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RunError::io("read", path, &error)),
    };
    let text = open(key.dangerous_expose(), &label(path), &sealed)
        .map_err(|_| RunError::damaged(path, "does not open under the project's key"))?;
    serde_json::from_slice(&text).map(Some).map_err(|_| RunError::damaged(path, "was written by another version"))
}

/// Writes `bytes` beside `path`, flushes them to the disk and renames.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|error| RunError::io("create", folder, &error))?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = folder.join(name);
    let written = File::create(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| sync_folder(folder));
    written.map_err(|error| {
        // Best effort: what remains is sealed, and the next run clears it.
        let _ = fs::remove_file(&beside);
        RunError::io("write", path, &error)
    })
}

/// A rename is durable once its folder is.
pub fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The file's name is bound to its content: one sealed file cannot stand in for another.
fn label(path: &Path) -> Vec<u8> {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned().into_bytes()
}

/// An append-only journal: each entry is durable when `append` returns; a torn tail is dropped.
pub struct Journal {
    path: PathBuf,
    file: File,
    key: SealKey,
    /// Position of the next frame, bound into each frame so that none can be moved.
    next: u64,
}

impl Journal {
    /// Opens or creates the journal and returns what stands in it.
    pub fn open<T: DeserializeOwned>(path: &Path, key: SealKey) -> Result<(Self, Vec<T>), RunError> {
        let failed = |error: std::io::Error| RunError::io("open", path, &error);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let mut entries = Vec::new();
        let mut rest = bytes.as_slice();
        let mut good = 0u64;
        while let Some((length, body)) = rest.split_first_chunk::<4>() {
            let Some((sealed, after)) = body.split_at_checked(u32::from_le_bytes(*length) as usize) else { break };
            let Ok(text) = open(key.dangerous_expose(), &frame_label(path, good), sealed) else {
                if after.is_empty() {
                    break; // killed while writing the last frame
                }
                return Err(RunError::damaged(path, "holds a frame that does not open under the project's key"));
            };
            let entry =
                serde_json::from_slice(&text).map_err(|_| RunError::damaged(path, "was written by another version"))?;
            entries.push(entry);
            good += 4 + sealed.len() as u64;
            rest = after;
        }
        file.set_len(good).map_err(failed)?;
        file.seek(SeekFrom::Start(good)).map_err(failed)?;
        Ok((Self { path: path.to_path_buf(), file, key, next: good }, entries))
    }

    pub fn append<T: Serialize>(&mut self, entry: &T) -> Result<(), RunError> {
        let text = serde_json::to_vec(entry).map_err(|_| RunError::damaged(&self.path, "could not be encoded"))?;
        let sealed = seal(self.key.dangerous_expose(), &frame_label(&self.path, self.next), &text)?;
        let mut frame = Vec::with_capacity(4 + sealed.len());
        frame.extend_from_slice(&(sealed.len() as u32).to_le_bytes());
        frame.extend_from_slice(&sealed);
        let written = self.file.write_all(&frame).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Back to the last good frame, so that a later run can append.
            let _ = self.file.set_len(self.next);
            let _ = self.file.seek(SeekFrom::Start(self.next));
            return Err(RunError::io("write", &self.path, &error));
        }
        self.next += frame.len() as u64;
        Ok(())
    }

    /// Forgets everything: its content has been taken over.
    pub fn clear(&mut self) -> Result<(), RunError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .and_then(|_| self.file.sync_all())
            .map_err(|error| RunError::io("clear", &self.path, &error))?;
        self.next = 0;
        Ok(())
    }
}

fn frame_label(path: &Path, position: u64) -> Vec<u8> {
    let mut label = label(path);
    label.extend_from_slice(&position.to_le_bytes());
    label
}
