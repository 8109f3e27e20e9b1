//! Who is not let in any more, whatever they show.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use cordon_deid::yaml::{self, Issues};
use serde::Deserialize;

use super::Known;
use crate::tls::stamp;

/// How old what is known of the file may be.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    principals: BTreeSet<String>,
    /// `jti`.
    tokens: BTreeSet<String>,
    /// SHA-256 of certificates.
    certificates: BTreeSet<String>,
}

pub struct Denied {
    path: PathBuf,
    current: Mutex<Current>,
}

struct Current {
    looked: Instant,
    stamp: Option<(SystemTime, u64)>,
    list: Arc<File>,
    readable: bool,
    /// Whatever its stamp says.
    again: bool,
}

impl Denied {
    pub fn open(path: &Path) -> Result<Self, Issues> {
        let stamp = stamp(path);
        let list = read(path)?;
        let current = Current { looked: Instant::now(), stamp, list: Arc::new(list), readable: true, again: false };
        Ok(Self { path: path.to_owned(), current: Mutex::new(current) })
    }

    /// The file is read again when somebody is looked up next.
    pub fn look_again(&self) {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).again = true;
    }

    /// Whether this is on the list. Two principals may not differ by case alone, so neither do they here. A list that became unreadable lets nobody in: it may name anybody.
    pub fn names(&self, name: &str, known: &Known) -> bool {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.again || current.looked.elapsed() >= FRESH {
            let now = stamp(&self.path);
            if std::mem::take(&mut current.again) || now != current.stamp || now.is_none() {
                // What could not be read is tried again, also when the file stays what it is.
                if let Ok(list) = read(&self.path) {
                    (current.list, current.readable, current.stamp) = (Arc::new(list), true, now);
                } else {
                    (current.readable, current.stamp) = (false, None);
                }
            }
            current.looked = Instant::now();
        }
        if !current.readable {
            return true;
        }
        let list = Arc::clone(&current.list);
        drop(current);
        list.principals.contains(&name.to_lowercase())
            || known.stamp.token.as_ref().is_some_and(|token| list.tokens.contains(token))
            || known.stamp.certificate.as_ref().is_some_and(|print| {
                list.certificates.iter().any(|listed| listed.replace(':', "").eq_ignore_ascii_case(print))
            })
    }
}

fn read(path: &Path) -> Result<File, Issues> {
    let unreadable = |error: std::io::Error| {
        Issues(vec![yaml::Issue {
            file: path.to_owned(),
            position: yaml::Position::default(),
            message: format!("cannot be read: {}", error.kind()),
            help: Some("an empty list is `{}`".to_owned()),
        }])
    };
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let mut file: File = yaml::parse(&text, path)?;
    file.principals = file.principals.iter().map(|name| name.to_lowercase()).collect();
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Method, Stamp};
    use super::*;

    #[test]
    fn a_name_is_denied_however_it_is_written_and_a_failed_look_does_not_stick() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("denied.yaml");
        fs::write(&path, "principals: [Ana]").unwrap();
        let denied = Denied::open(&path).unwrap();
        let names = |name: &str| {
            let mut current = denied.current.lock().unwrap();
            current.looked = current.looked.checked_sub(FRESH).unwrap();
            drop(current);
            let (groups, factors, reply, stamp) = (Vec::new(), Vec::new(), Vec::new(), Stamp::default());
            let known =
                Known { name: name.to_owned(), groups, method: Method::Token, until: None, factors, stamp, reply };
            denied.names(name, &known)
        };
        assert!(names("Ana") && names("ana") && names("ANA") && !names("ben"));
        // Broken, and mended so that it looks as when it was broken.
        fs::write(&path, "principals: [Ana ").unwrap();
        let then = SystemTime::now() + Duration::from_secs(10);
        let set_modified = || fs::File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        set_modified();
        assert!(names("ben"), "it may name anybody");
        fs::write(&path, "principals: [Ana]").unwrap();
        set_modified();
        assert!(!names("ben") && names("ana"));
    }
}
