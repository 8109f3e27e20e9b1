//! Which key files a restored project gets: the newest that are to be had, and none that is older than what the project knew.
//!
//! With an older file of subject keys people who were destroyed since could be read again. So of several copies the newest is taken,
//! whether it is in its place already, given by hand, or in the backup; and where even that is older than what the backup's list or
//! a certificate says, nothing is restored. Told apart by what their heads say in clear: who opens the project proves it.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use cordon_crypto::SubjectSealKey;
use cordon_vault::{KeyRing, SubjectKeysHead};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::error::RunError;
use crate::sealed::sync_folder;
use crate::shred;

/// What the list of a backup says of the subject keys as they were then.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubjectKeysListed {
    id: String,
    /// How many destructions there were.
    pub epoch: u64,
}

impl SubjectKeysListed {
    /// Nothing of a file that is not there.
    pub fn of(path: &Path) -> Result<Option<Self>, RunError> {
        if !path.exists() {
            return Ok(None);
        }
        let head = SubjectKeysHead::read(path)?;
        Ok(Some(Self { id: HEXLOWER.encode(&head.id), epoch: head.epoch }))
    }
}

/// A key file, and where it comes from.
pub(super) struct Chosen {
    from: PathBuf,
    pub origin: Origin,
    pub epoch: u64,
    key_version: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// It was in its place.
    Place,
    Given,
    Backup,
}

/// Copies of one key file that there may be.
pub(super) struct Copies<'a> {
    pub place: PathBuf,
    pub given: Option<&'a Path>,
    pub backup: Option<PathBuf>,
}

impl Copies<'_> {
    /// Those that are there, that in its place last. What was given must be there.
    fn all(&self) -> Vec<(PathBuf, Origin)> {
        let there = |path: &PathBuf| path.exists();
        let backup = self.backup.clone().filter(there).map(|path| (path, Origin::Backup));
        let given = self.given.map(|path| (path.to_path_buf(), Origin::Given));
        let place = Some(self.place.clone()).filter(there).map(|path| (path, Origin::Place));
        [backup, given, place].into_iter().flatten().collect()
    }
}

/// The highest epoch that certificates of this ring speak of.
pub(super) fn certified(ring: &str, certificates: &[PathBuf]) -> Result<u64, RunError> {
    let mut epoch = 0;
    for path in certificates {
        let statement = shred::check(path, None)?;
        if statement.key_ring != ring {
            return Err(RunError::usage(
                format!("the certificate {} is of another project", path.display()),
                "give certificates of the project that is restored",
            ));
        }
        epoch = epoch.max(statement.epoch);
    }
    Ok(epoch)
}

/// The newest file of subject keys; `None` where there is none at all.
pub(super) fn newest_subject_keys(
    copies: &Copies<'_>,
    listed: Option<&SubjectKeysListed>,
    needed: u64,
) -> Result<Option<Chosen>, RunError> {
    let mut newest: Option<(u64, Chosen)> = None;
    for (from, origin) in copies.all() {
        let head = SubjectKeysHead::read(&from)?;
        if listed.is_some_and(|listed| listed.id != HEXLOWER.encode(&head.id)) {
            return Err(RunError::usage(
                format!("{} is the file of subject keys of another vault", from.display()),
                "give the newest copy of the one that belongs to this project",
            ));
        }
        let older =
            newest.as_ref().is_some_and(|(generation, best)| (best.epoch, *generation) > (head.epoch, head.generation));
        if !older {
            let (epoch, key_version) = (head.epoch, head.key_version);
            newest = Some((head.generation, Chosen { from, origin, epoch, key_version }));
        }
    }
    let Some((_, newest)) = newest else { return Ok(None) };
    let needed = needed.max(listed.map_or(0, |listed| listed.epoch));
    if newest.epoch < needed {
        return Err(RunError::usage(
            format!(
                "the newest copy of subject-keys that there is is of epoch {}, and people were destroyed up to epoch {needed}: by it they could be \
                 read again",
                newest.epoch
            ),
            "give a newer copy with `--subject-keys FILE`, and the key ring that opens it with `--keyring FILE`; nothing was put in place",
        ));
    }
    Ok(Some(newest))
}

/// The ring that opens the subject keys. One that is in its place stays.
pub(super) fn ring_for(
    copies: &Copies<'_>,
    ring: &str,
    subject_keys: Option<&Chosen>,
) -> Result<Option<Chosen>, RunError> {
    let mut without = None;
    for (from, origin) in copies.all().into_iter().rev() {
        let (id, keys) = KeyRing::told(&from)?;
        if id != ring {
            return Err(RunError::usage(
                format!("{} is the key ring of another project", from.display()),
                "give the newest copy of the one that belongs to this project",
            ));
        }
        let holds = |version| keys.iter().any(|key| key.purpose == SubjectSealKey::PURPOSE && key.version == version);
        if subject_keys.is_none_or(|chosen| holds(chosen.key_version)) {
            return Ok(Some(Chosen { from, origin, epoch: 0, key_version: 0 }));
        }
        let in_place = origin == Origin::Place;
        without = Some(from);
        if in_place {
            break;
        }
    }
    match (without, subject_keys) {
        (Some(ring), Some(chosen)) => Err(RunError::usage(
            format!(
                "the newest subject-keys are under version {} of their key, which the key ring {} does not hold",
                chosen.key_version,
                ring.display()
            ),
            "give the newest copy of the key ring with `--keyring FILE`, or put it in its place; nothing was put in place",
        )),
        _ => Ok(None),
    }
}

impl Chosen {
    /// Puts the file in its place, in one step, over an older one that may be there.
    pub fn put(&self, place: &Path) -> Result<(), RunError> {
        if self.origin == Origin::Place {
            return Ok(());
        }
        let folder = place.parent().unwrap_or(Path::new("."));
        super::make_private(folder)?;
        let beside = crate::sealed::beside(place);
        let failed = |error: std::io::Error| RunError::io("write", place, &error);
        let bytes = fs::read(&self.from).map_err(|error| RunError::io("read", &self.from, &error))?;
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside).map_err(failed)?;
        std::io::Write::write_all(&mut file, &bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&beside, place).and_then(|()| sync_folder(folder)).map_err(failed)
    }
}
