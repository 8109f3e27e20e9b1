//! Small files that are never in clear, sealed whole.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use cordon_crypto::{CryptoError, SealKeys};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::CustodyError;

/// State and journals have a key of their own below the seal key.
pub const SUB_KEY: &str = "cordon/state/v1";

/// Replaces `path` by the sealed `value`: readers see the old content or the new, never half.
pub fn write_sealed<T: Serialize>(path: &Path, key: &SealKeys, value: &T) -> Result<(), CustodyError> {
    let text = serde_json::to_vec(value).map_err(|_| CustodyError::damaged(path, "could not be encoded"))?;
    let sealed = key.seal(SUB_KEY, &label(path), &text)?;
    write_atomically(path, &sealed)
}

/// Reads what [`write_sealed`] wrote; `None` when there is no such file.
pub fn read_sealed<T: DeserializeOwned>(path: &Path, key: &SealKeys) -> Result<Option<T>, CustodyError> {
    let sealed = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CustodyError::io("read", path, &error)),
    };
    let text = key.open(SUB_KEY, &label(path), &sealed).map_err(|error| unopened(path, &error))?;
    serde_json::from_slice(&text).map(Some).map_err(|_| CustodyError::damaged(path, "was written by another version"))
}

/// Why something sealed does not open: another version of the key asks for another remedy than damage.
pub fn unopened(path: &Path, error: &CryptoError) -> CustodyError {
    match error {
        CryptoError::UnknownVersion { .. } => CustodyError::OtherVersion { path: path.to_path_buf() },
        _ => CustodyError::damaged(path, "does not open under the project's key"),
    }
}

/// Writes `bytes` beside `path`, flushes them to the disk and renames.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), CustodyError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    make_folder(folder)?;
    let beside = beside(path);
    let written = File::create(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| sync_folder(folder));
    written.map_err(|error| {
        // Best effort: what remains is sealed, and the next run of the pipeline clears it.
        let _ = fs::remove_file(&beside);
        CustodyError::io("write", path, &error)
    })
}

/// The name under which a file is written before it takes its place. By chance: processes of several machines, which may have the same
/// number, write to one folder.
pub fn beside(path: &Path) -> PathBuf {
    let mut random = [0; 8];
    // Without randomness the process's number must do, as on one machine it does.
    if cordon_crypto::random_bytes(&mut random).is_err() {
        random = u64::from(std::process::id()).to_le_bytes();
    }
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{:016x}{TEMPORARY}", u64::from_le_bytes(random)));
    path.with_file_name(name)
}

/// How such names end.
pub const TEMPORARY: &str = ".tmp";

/// A rename is durable once its folder is.
pub fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder, and its name and its parent's durable.
pub fn make_folder(folder: &Path) -> Result<(), CustodyError> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder)
        .and_then(|()| folder.ancestors().skip(1).take(2).filter(|above| above.is_dir()).try_for_each(sync_folder))
        .map_err(|error| CustodyError::io("create", folder, &error))
}

/// The file's name and its folder's, which is the pipeline's, are bound to its content: one sealed file cannot stand in
/// for another.
pub fn label(path: &Path) -> Vec<u8> {
    let name = |path: Option<&std::ffi::OsStr>| path.unwrap_or_default().as_encoded_bytes().to_vec();
    [name(path.parent().and_then(Path::file_name)), name(path.file_name())].join(&0)
}
