//! Users whom the project keeps itself: names and Argon2id hashes in a file that only its owner can read.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use cordon_crypto::password::{LONGEST_PASSWORD, PasswordHash, SHORTEST_PASSWORD};
use serde::Deserialize;
use thiserror::Error;
use zeroize::Zeroizing;

use super::{Known, Method, Refusal, Stamp, is_name};
use crate::tls::stamp;

#[derive(Debug, Error)]
pub enum UsersError {
    #[error("{0}")]
    Unreadable(String),
    #[error("{path} is not a file of users; `cordon serve user add` writes it", path = .0.display())]
    Malformed(PathBuf),
    #[error("cannot write {path}: {kind}", path = .0.display(), kind = .1)]
    Write(PathBuf, std::io::ErrorKind),
    #[error("this cannot be a user's name: 1 to 128 characters, none of them of control, nor `:`")]
    Name,
    #[error(
        "a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters; a sentence is easier to keep in mind than signs"
    )]
    Password,
    #[error("there is no user of this name")]
    Unknown,
    #[error("the hash cannot be made")]
    Hash,
    #[error("another command is changing it")]
    Busy,
}

/// A name and the hash of a password; the file says `{ users: { NAME: HASH } }`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    users: BTreeMap<String, String>,
}

type Users = BTreeMap<String, PasswordHash>;
/// When, and how long it is.
type Written = (SystemTime, u64);

pub struct LocalUsers {
    path: PathBuf,
    nobody: PasswordHash,
    current: Mutex<(Option<Written>, Arc<Users>)>,
}

impl LocalUsers {
    pub fn open(path: &Path) -> Result<Self, UsersError> {
        let at = stamp(path);
        let users = read(path)?;
        let nobody = PasswordHash::of_nobody().map_err(|_| UsersError::Hash)?;
        Ok(Self { path: path.to_owned(), nobody, current: Mutex::new((at, Arc::new(users))) })
    }

    /// As the file is now. One that cannot be read lets nobody in.
    fn users(&self) -> Arc<Users> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(&self.path);
        if now != current.0 || now.is_none() {
            // What could not be read is tried again, also when the file stays what it is.
            *current = match read(&self.path) {
                Ok(users) => (now, Arc::new(users)),
                Err(_) => (None, Arc::default()),
            };
        }
        Arc::clone(&current.1)
    }

    /// Reads the file again, whatever its stamp says.
    pub fn look_again(&self) {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).0 = None;
    }

    pub fn knows(&self, name: &str) -> bool {
        self.users().contains_key(name)
    }

    /// Whether the password of a log-in is that of the user still.
    pub fn still(&self, name: &str, hash: &PasswordHash) -> bool {
        self.users().get(name) == Some(hash)
    }

    /// Takes as long for names that nobody has.
    pub fn check(&self, name: &str, password: &str) -> Result<Known, Refusal> {
        let users = self.users();
        let hash = users.get(name);
        let fits = hash.unwrap_or(&self.nobody).accepts(password);
        match (hash, fits) {
            (Some(hash), Ok(true)) => Ok(Known {
                name: name.to_owned(),
                groups: Vec::new(),
                method: Method::Password,
                until: None,
                factors: Vec::new(),
                stamp: Stamp { password: Some(hash.clone()), ..Stamp::default() },
                reply: Vec::new(),
            }),
            _ => Err(Refusal::Credential("wrong name or password")),
        }
    }
}

fn read(path: &Path) -> Result<Users, UsersError> {
    let bytes = cordon_keystore::fetch::private_file(path).map_err(UsersError::Unreadable)?;
    let malformed = || UsersError::Malformed(path.to_owned());
    let text = std::str::from_utf8(&bytes).map_err(|_| malformed())?;
    // What the parser says of it could quote a hash.
    let file: File = cordon_deid::yaml::parse(text, path).map_err(|_| malformed())?;
    file.users
        .into_iter()
        .map(|(name, hash)| Ok((name, PasswordHash::parse(&Zeroizing::new(hash)).map_err(|_| malformed())?)))
        .collect()
}

/// The names in a file of users.
pub fn names(path: &Path) -> Result<Vec<String>, UsersError> {
    Ok(read(path)?.into_keys().collect())
}

/// Whether there can be such a user with such a password.
pub fn check(name: &str, password: &str) -> Result<(), UsersError> {
    if !is_name(name) || name.contains(':') {
        return Err(UsersError::Name);
    }
    if password.chars().count() < SHORTEST_PASSWORD || password.len() > LONGEST_PASSWORD {
        return Err(UsersError::Password);
    }
    Ok(())
}

/// Adds a user, or gives one another password. A file that is not there is made.
pub fn put(path: &Path, name: &str, password: &str) -> Result<(), UsersError> {
    check(name, password)?;
    let hash = PasswordHash::of(password).map_err(|_| UsersError::Hash)?;
    change(path, |users| {
        users.insert(name.to_owned(), hash);
        Ok(())
    })
}

/// Takes a user out; sessions of that user end.
pub fn remove(path: &Path, name: &str) -> Result<(), UsersError> {
    change(path, |users| users.remove(name).map(drop).ok_or(UsersError::Unknown))
}

/// Under a lock file, and by one rename: whoever reads sees the users of before or those of after.
fn change(path: &Path, make: impl FnOnce(&mut Users) -> Result<(), UsersError>) -> Result<(), UsersError> {
    let wrong = |error: std::io::Error| UsersError::Write(path.to_owned(), error.kind());
    let beside = |end: &str| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(end);
        path.with_file_name(name)
    };
    let lock =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(beside(".lock")).map_err(wrong)?;
    lock.try_lock().map_err(|_| UsersError::Busy)?;
    let mut users = if path.exists() { read(path)? } else { Users::new() };
    make(&mut users)?;
    let mut text = Zeroizing::new(String::from(
        "# Written by `cordon serve user`. Argon2id hashes: keep it from others.\nusers:\n",
    ));
    if users.is_empty() {
        text.pop();
        text.push_str(" {}\n");
    }
    for (name, hash) in &users {
        // A JSON string is one of YAML.
        let name = serde_json::to_string(name).map_err(|_| UsersError::Name)?;
        let hash = hash.dangerous_text();
        for part in ["  ", &name, ": \"", &hash, "\"\n"] {
            text.push_str(part);
        }
    }
    let new = beside(".new");
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new).map_err(wrong)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(wrong)?;
    fs::rename(&new, path).map_err(wrong)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(wrong)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_user_comes_changes_and_goes_while_it_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.yaml");
        assert!(matches!(put(&path, "ana", "short"), Err(UsersError::Password)));
        assert!(matches!(put(&path, "a\nna", "a sentence of its own"), Err(UsersError::Name)));
        put(&path, "ana", "a sentence of its own").unwrap();
        let users = LocalUsers::open(&path).unwrap();
        let known = users.check("ana", "a sentence of its own").unwrap_or_else(|_| unreachable!());
        let hash = known.stamp.password.unwrap();
        assert!(users.still("ana", &hash));
        assert!(users.check("ana", "a sentence of its owm").is_err());
        assert!(users.check("ben", "a sentence of its own").is_err());
        put(&path, "ben \"b\" #", "another sentence of its own").unwrap();
        assert!(users.check("ben \"b\" #", "another sentence of its own").is_ok());
        assert!(users.still("ana", &hash));
        remove(&path, "ana").unwrap();
        assert!(!users.still("ana", &hash) && users.check("ana", "a sentence of its own").is_err());
        assert!(matches!(remove(&path, "ana"), Err(UsersError::Unknown)));
        remove(&path, "ben \"b\" #").unwrap();
        assert!(names(&path).unwrap().is_empty());
    }

    #[test]
    fn a_file_that_others_can_read_or_that_is_broken_opens_for_nobody() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.yaml");
        put(&path, "ana", "a sentence of its own").unwrap();
        let users = LocalUsers::open(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(LocalUsers::open(&path).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "users: { ana: plain }").unwrap();
        assert!(matches!(LocalUsers::open(&path), Err(UsersError::Malformed(_))));
        assert!(users.check("ana", "plain").is_err() && users.check("ana", "a sentence of its own").is_err());
        // A file that could not be read for a while, and did not change.
        put(&dir.path().join("other.yaml"), "ana", "a sentence of its own").unwrap();
        fs::rename(dir.path().join("other.yaml"), &path).unwrap();
        assert!(users.check("ana", "a sentence of its own").is_ok());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        *users.current.lock().unwrap() = (None, Arc::default());
        assert!(users.check("ana", "a sentence of its own").is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(users.check("ana", "a sentence of its own").is_ok());
    }
}
