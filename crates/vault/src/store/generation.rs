//! Which folder of a vault is in use. The first is the vault's own; each change of its keys makes another below it, and `CURRENT`, which
//! is only ever replaced as a whole, says which one counts:
//!
//! ```text
//! magic 8 | version 4 | number 4 | checksum 16
//! ```
//!
//! Dossiers beside the vault have folders of the same numbers and no such file: the one of the vault switches both. A number that is
//! not in use is what a change of keys that was killed had begun, or what one that was done had not yet removed.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use super::{
    error::VaultError,
    manifest::{Fields, checksum, replace},
};

const FILE: &str = "CURRENT";
const MAGIC: [u8; 8] = *b"CORDVLTC";
const VERSION: u32 = 1;
const PREFIX: &str = "rekeyed-";
/// What stands in a folder that is in use.
const CONTENTS: [&str; 4] = ["log-", "run-", "merges-", "MANIFEST"];

/// How often the keys of the vault in `top` were changed.
pub(crate) fn current(top: &Path) -> Result<u32, VaultError> {
    let path = top.join(FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(VaultError::io("read", &path)(error)),
    };
    let parse = || {
        let mut from = Fields(&bytes);
        let (magic, version, number) = (from.array::<8>()?, from.u32()?, from.u32()?);
        let sum = checksum(bytes.get(..16)?);
        (magic == MAGIC && from.array()? == sum && from.0.is_empty()).then_some((version, number))
    };
    match parse() {
        Some((VERSION, number)) if number > 0 => Ok(number),
        Some((found, _)) if found != VERSION => Err(VaultError::Version { dir: top.to_owned(), found, known: VERSION }),
        _ => Err(VaultError::damaged(&path, 0, "it does not say which folder is in use")),
    }
}

pub(crate) fn folder(top: &Path, number: u32) -> PathBuf {
    if number == 0 { top.to_owned() } else { top.join(format!("{PREFIX}{number:04}")) }
}

/// Makes an empty folder of that number; what was begun before is removed.
pub(crate) fn begin(top: &Path, number: u32) -> Result<PathBuf, VaultError> {
    let folder = folder(top, number);
    discard(&folder)?;
    DirBuilder::new().mode(0o700).create(&folder).map_err(VaultError::io("create", &folder))?;
    Ok(folder)
}

pub(crate) fn discard(folder: &Path) -> Result<(), VaultError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(VaultError::io("remove", folder)(error)),
        _ => Ok(()),
    }
}

/// The one step: from here on the folder of that number is the vault, and dossiers.
pub(super) fn switch(top: &Path, number: u32) -> Result<(), VaultError> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&checksum(&bytes));
    replace(top, FILE, &bytes)
}

/// Removes what is older than the folder in use.
pub(crate) fn remove_before(top: &Path, number: u32) -> Result<(), VaultError> {
    let mut any = false;
    for (path, of) in contents(top)?.into_iter().filter(|(_, of)| *of < number) {
        any = true;
        if of == 0 {
            fs::remove_file(&path).map_err(VaultError::io("remove", &path))?;
        } else {
            discard(&path)?;
        }
    }
    if any { sync(top) } else { Ok(()) }
}

/// Whether something stands here of another number, and nothing of this one.
pub(crate) fn is_of_another(top: &Path, number: u32) -> Result<bool, VaultError> {
    let manifest = folder(top, number).join("MANIFEST");
    if manifest.try_exists().map_err(VaultError::io("look for", &manifest))? {
        return Ok(false);
    }
    Ok(contents(top)?.iter().any(|(_, of)| *of != number))
}

/// What stands in `top`, with the number that it is of.
fn contents(top: &Path) -> Result<Vec<(PathBuf, u32)>, VaultError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(top).map_err(VaultError::io("list", top))? {
        let path = entry.map_err(VaultError::io("list", top))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = match name.strip_prefix(PREFIX) {
            Some(number) => number.parse().ok().filter(|number| *number > 0),
            None => CONTENTS.iter().any(|prefix| name.starts_with(prefix)).then_some(0),
        };
        found.extend(number.map(|number| (path, number)));
    }
    Ok(found)
}

/// Puts a folder and its files on disk.
pub(crate) fn sync_all(folder: &Path) -> Result<(), VaultError> {
    for entry in fs::read_dir(folder).map_err(VaultError::io("list", folder))? {
        let path = entry.map_err(VaultError::io("list", folder))?.path();
        File::open(&path).and_then(|file| file.sync_all()).map_err(VaultError::io("sync", &path))?;
    }
    sync(folder)?;
    folder.parent().map_or(Ok(()), sync)
}

fn sync(folder: &Path) -> Result<(), VaultError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(VaultError::io("sync", folder))
}
