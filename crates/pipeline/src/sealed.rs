//! Small files that are never in clear: sealed whole, or as a journal of sealed frames.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use cordon_crypto::{CryptoError, SealKeys, sealed_version};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::error::RunError;

use cordon_custody::sealed::{self as custody, SUB_KEY, TEMPORARY};
pub use cordon_custody::sealed::{beside, label, sync_folder};

/// Replaces `path` by the sealed `value`: readers see the old content or the new, never half.
pub fn write_sealed<T: Serialize>(path: &Path, key: &SealKeys, value: &T) -> Result<(), RunError> {
    Ok(custody::write_sealed(path, key, value)?)
}

/// Reads what [`write_sealed`] wrote; `None` when there is no such file.
pub fn read_sealed<T: DeserializeOwned>(path: &Path, key: &SealKeys) -> Result<Option<T>, RunError> {
    Ok(custody::read_sealed(path, key)?)
}

pub(crate) fn unopened(path: &Path, error: &CryptoError) -> RunError {
    custody::unopened(path, error).into()
}

/// Writes `bytes` beside `path`, flushes them to the disk and renames.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    Ok(custody::write_atomically(path, bytes)?)
}

/// Makes a folder, and its name and its parent's durable.
pub fn make_folder(folder: &Path) -> Result<(), RunError> {
    Ok(custody::make_folder(folder)?)
}

/// Removes what a killed [`write_atomically`] left in the folder. Its owner holds the lock of what is written there.
pub fn clear_temporary(folder: &Path) -> Result<(), RunError> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().ends_with(TEMPORARY.as_bytes()) {
            fs::remove_file(entry.path()).map_err(|error| RunError::io("remove", &entry.path(), &error))?;
        }
    }
    Ok(())
}

/// An append-only journal: each entry is durable when `append` returns; a torn tail is dropped.
pub struct Journal {
    path: PathBuf,
    file: File,
    key: SealKeys,
    /// Position of the next frame, bound into each frame so that none can be moved.
    next: u64,
}

impl Journal {
    /// Opens or creates the journal and returns what stands in it.
    pub fn open<T: DeserializeOwned>(path: &Path, key: SealKeys) -> Result<(Self, Vec<T>), RunError> {
        let failed = |error: std::io::Error| RunError::io("open", path, &error);
        let folder = path.parent().unwrap_or(Path::new("."));
        make_folder(folder)?;
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        let (entries, good) = read_frames(path, &mut file, &key)?;
        file.set_len(good).map_err(failed)?;
        // What is appended is durable only where the file's name is.
        sync_folder(folder).map_err(failed)?;
        file.seek(SeekFrom::Start(good)).map_err(failed)?;
        Ok((Self { path: path.to_path_buf(), file, key, next: good }, entries))
    }

    /// What stands in it now.
    pub fn entries<T: DeserializeOwned>(&self) -> Result<Vec<T>, RunError> {
        let mut file = File::open(&self.path).map_err(|error| RunError::io("open", &self.path, &error))?;
        Ok(read_frames(&self.path, &mut file, &self.key)?.0)
    }

    pub fn append<T: Serialize>(&mut self, entry: &T) -> Result<(), RunError> {
        let text = serde_json::to_vec(entry).map_err(|_| RunError::damaged(&self.path, "could not be encoded"))?;
        let sealed = self.key.seal(SUB_KEY, &frame_label(&self.path, self.next), &text)?;
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

/// What stands in a journal that nobody has open; nothing where there is none.
pub(crate) fn entries<T: DeserializeOwned>(path: &Path, key: &SealKeys) -> Result<Vec<T>, RunError> {
    match File::open(path) {
        Ok(mut file) => Ok(read_frames(path, &mut file, key)?.0),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(RunError::io("open", path, &error)),
    }
}

/// The entries, and where the last whole one ends.
fn read_frames<T: DeserializeOwned>(path: &Path, file: &mut File, key: &SealKeys) -> Result<(Vec<T>, u64), RunError> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| RunError::io("read", path, &error))?;
    let mut entries = Vec::new();
    let mut rest = bytes.as_slice();
    let mut good = 0u64;
    while let Some((length, body)) = rest.split_first_chunk::<4>() {
        let Some((sealed, after)) = body.split_at_checked(u32::from_le_bytes(*length) as usize) else { break };
        let text = match key.open(SUB_KEY, &frame_label(path, good), sealed) {
            Ok(text) => text,
            // Whole, and of a rotation that this process does not know of: not to be taken for the end.
            Err(error @ CryptoError::UnknownVersion { .. }) if is_likely_version(sealed) => {
                return Err(unopened(path, &error));
            }
            Err(_) if after.is_empty() => break, // killed while writing the last frame
            Err(_) => {
                return Err(RunError::damaged(path, "holds a frame that does not open under the project's key"));
            }
        };
        let entry =
            serde_json::from_slice(&text).map_err(|_| RunError::damaged(path, "was written by another version"))?;
        entries.push(entry);
        good += 4 + sealed.len() as u64;
        rest = after;
    }
    Ok((entries, good))
}

/// What a torn frame holds is zeros or chance.
fn is_likely_version(sealed: &[u8]) -> bool {
    sealed_version(sealed).is_some_and(|version| (1..1 << 16).contains(&version))
}

/// Seals a file of this module again under the newest version. `false` where it is under it already. Its owner holds the lock of what
/// is written there. A frame keeps its length, and with it the places of those behind it.
pub(crate) fn reseal(path: &Path, keys: &SealKeys, is_journal: bool) -> Result<bool, RunError> {
    let bytes = fs::read(path).map_err(|error| RunError::io("read", path, &error))?;
    let again = |label: &[u8], sealed: &[u8]| -> Result<Vec<u8>, RunError> {
        let text = Zeroizing::new(keys.open(SUB_KEY, label, sealed).map_err(|error| unopened(path, &error))?);
        Ok(keys.seal(SUB_KEY, label, &text)?)
    };
    let is_newest = |sealed: &[u8]| sealed_version(sealed) == Some(keys.newest());
    if !is_journal {
        if is_newest(&bytes) {
            return Ok(false);
        }
        write_atomically(path, &again(&label(path), &bytes)?)?;
        return Ok(true);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut changed = false;
    let mut rest = bytes.as_slice();
    while let Some((length, body)) = rest.split_first_chunk::<4>() {
        // What is behind the last whole frame is left to whoever opens the journal.
        let Some((sealed, after)) = body.split_at_checked(u32::from_le_bytes(*length) as usize) else { break };
        let torn = after.is_empty() && !is_likely_version(sealed);
        if torn {
            break;
        }
        let frame_label = frame_label(path, out.len() as u64);
        let frame = if is_newest(sealed) {
            sealed.to_vec()
        } else {
            match again(&frame_label, sealed) {
                Ok(frame) => frame,
                Err(RunError::Damaged { .. }) if after.is_empty() => break,
                Err(error) => return Err(error),
            }
        };
        changed |= frame != sealed;
        out.extend_from_slice(length);
        out.extend_from_slice(&frame);
        rest = after;
    }
    if changed {
        write_atomically(path, &out)?;
    }
    Ok(changed)
}

/// Under which version of the seal key the file says to stand; of a journal, the oldest of its frames.
pub(crate) fn version_of(path: &Path, is_journal: bool) -> Result<Option<u32>, RunError> {
    let failed = |error: std::io::Error| RunError::io("read", path, &error);
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut oldest = None;
    loop {
        let mut head = Vec::new();
        let most = if is_journal { 8 } else { 4 };
        Read::by_ref(&mut file).take(most).read_to_end(&mut head).map_err(failed)?;
        let skip = if is_journal { head.first_chunk().map(|length| u32::from_le_bytes(*length)) } else { Some(0) };
        let version = head.get(head.len().saturating_sub(4)..).and_then(sealed_version);
        let (Some(skip), Some(version)) = (skip, version.filter(|_| head.len() as u64 == most)) else {
            return Ok(oldest);
        };
        oldest = Some(oldest.map_or(version, |oldest: u32| oldest.min(version)));
        if !is_journal {
            return Ok(oldest);
        }
        file.seek(SeekFrom::Current(i64::from(skip) - 4)).map_err(failed)?;
    }
}

fn frame_label(path: &Path, position: u64) -> Vec<u8> {
    let mut label = label(path);
    label.extend_from_slice(&position.to_le_bytes());
    label
}
