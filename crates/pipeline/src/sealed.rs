//! Small files that are never in clear: sealed whole, or as a journal of sealed frames.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use cordon_crypto::{SealKey, open, seal, sub_key};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::RunError;

/// State and journals have a key of their own below the seal key.
const SUB_KEY: &str = "cordon/state/v1";

/// Replaces `path` by the sealed `value`: readers see the old content or the new, never half.
pub fn write_sealed<T: Serialize>(path: &Path, key: &SealKey, value: &T) -> Result<(), RunError> {
    let text = serde_json::to_vec(value).map_err(|_| RunError::damaged(path, "could not be encoded"))?;
    let sealed = seal(&sub_key(key, SUB_KEY), &label(path), &text)?;
    write_atomically(path, &sealed)
}

/// Reads what [`write_sealed`] wrote; `None` when there is no such file.
pub fn read_sealed<T: DeserializeOwned>(path: &Path, key: &SealKey) -> Result<Option<T>, RunError> {
    let sealed = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RunError::io("read", path, &error)),
    };
    let text = open(&sub_key(key, SUB_KEY), &label(path), &sealed)
        .map_err(|_| RunError::damaged(path, "does not open under the project's key"))?;
    serde_json::from_slice(&text).map(Some).map_err(|_| RunError::damaged(path, "was written by another version"))
}

/// Writes `bytes` beside `path`, flushes them to the disk and renames.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    make_folder(folder)?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}{TEMPORARY}", std::process::id()));
    let beside = folder.join(name);
    let written = File::create(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| sync_folder(folder));
    written.map_err(|error| {
        // Best effort: what remains is sealed, and the next run of the pipeline clears it.
        let _ = fs::remove_file(&beside);
        RunError::io("write", path, &error)
    })
}

const TEMPORARY: &str = ".tmp";

/// Removes what a killed [`write_atomically`] left in the folder. Its owner holds the lock of what is written there.
pub fn clear_temporary(folder: &Path) -> Result<(), RunError> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().ends_with(TEMPORARY.as_bytes()) {
            fs::remove_file(entry.path()).map_err(|error| RunError::io("remove", &entry.path(), &error))?;
        }
    }
    Ok(())
}

/// A rename is durable once its folder is.
pub fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder, and its name and its parent's durable.
pub fn make_folder(folder: &Path) -> Result<(), RunError> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder)
        .and_then(|()| folder.ancestors().skip(1).take(2).filter(|above| above.is_dir()).try_for_each(sync_folder))
        .map_err(|error| RunError::io("create", folder, &error))
}

/// The file's name and its folder's, which is the pipeline's, are bound to its content: one sealed file cannot stand in
/// for another.
pub fn label(path: &Path) -> Vec<u8> {
    let name = |path: Option<&std::ffi::OsStr>| path.unwrap_or_default().as_encoded_bytes().to_vec();
    [name(path.parent().and_then(Path::file_name)), name(path.file_name())].join(&0)
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
        let sealed = seal(&sub_key(&self.key, SUB_KEY), &frame_label(&self.path, self.next), &text)?;
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

/// The entries, and where the last whole one ends.
fn read_frames<T: DeserializeOwned>(path: &Path, file: &mut File, key: &SealKey) -> Result<(Vec<T>, u64), RunError> {
    let sub = sub_key(key, SUB_KEY);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| RunError::io("read", path, &error))?;
    let mut entries = Vec::new();
    let mut rest = bytes.as_slice();
    let mut good = 0u64;
    while let Some((length, body)) = rest.split_first_chunk::<4>() {
        let Some((sealed, after)) = body.split_at_checked(u32::from_le_bytes(*length) as usize) else { break };
        let Ok(text) = open(&sub, &frame_label(path, good), sealed) else {
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
    Ok((entries, good))
}

fn frame_label(path: &Path, position: u64) -> Vec<u8> {
    let mut label = label(path);
    label.extend_from_slice(&position.to_le_bytes());
    label
}
