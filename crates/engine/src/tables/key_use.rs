//! Which keys the files of a table stand under: what decides whether an old version of a key may go. Asked are the files, and
//! what stands beside them, and not the manifests: material may have been wrapped anew since a part was written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use cordon_crypto::sealed_version;

use super::place::read_material;
use super::{DATA, PartFile, PartInfo, TableStore, check_name};
use crate::errors::EngineError;
use crate::keytools::{MasterVersion, masters_in, material_name};

/// Numbers of files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyUse {
    /// Parts by the master key that opens some of their columns: a part counts for several.
    pub parts: BTreeMap<MasterVersion, PartCount>,
    /// Manifests by the version of the seal key.
    pub manifests: BTreeMap<u32, u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartCount {
    pub files: u64,
    /// Of these, how many have their key material inside, so that only writing them again changes it.
    pub inside: u64,
}

impl KeyUse {
    pub fn add(&mut self, other: Self) {
        for (master, count) in other.parts {
            let all = self.parts.entry(master).or_default();
            (all.files, all.inside) = (all.files + count.files, all.inside + count.inside);
        }
        for (version, count) in other.manifests {
            *self.manifests.entry(version).or_default() += count;
        }
    }

    fn part(&mut self, masters: BTreeSet<MasterVersion>, is_inside: bool) {
        for master in masters {
            let count = self.parts.entry(master).or_default();
            count.files += 1;
            count.inside += u64::from(is_inside);
        }
    }
}

impl TableStore {
    /// Of all versions of a table whose files are still there: parts of earlier ones stay for a while.
    pub fn key_use(&self, table: &str) -> Result<KeyUse, EngineError> {
        check_name("table", table)?;
        let mut found = self.key_use_of(table, &self.parts_there(table)?)?;
        for (name, _) in self.0.place.manifests(table)? {
            if super::manifest_version(&name).is_some()
                && let Some(version) = sealed_version(&self.0.place.manifest(table, &name)?)
            {
                *found.manifests.entry(version).or_default() += 1;
            }
        }
        Ok(found)
    }

    /// Of parts that are the table's, or are waiting for that.
    pub fn key_use_of(&self, table: &str, parts: &[PartInfo]) -> Result<KeyUse, EngineError> {
        let found = Mutex::new(KeyUse::default());
        self.each_of(parts, |part| {
            let masters = self.masters_of(table, part)?;
            found.lock().unwrap_or_else(PoisonError::into_inner).part(masters, part.external_keys.is_none());
            Ok(())
        })?;
        Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// The parts of all versions whose files are still there.
    pub(super) fn parts_there(&self, table: &str) -> Result<Vec<PartInfo>, EngineError> {
        let there: BTreeSet<String> = self.0.place.parts(table)?.into_iter().map(|(name, _)| name).collect();
        let mut parts = BTreeMap::new();
        for version in self.history(table)? {
            for part in version.manifest.parts.iter().filter(|part| there.contains(&part.file)) {
                parts.entry(part.file.clone()).or_insert_with(|| part.clone());
            }
        }
        Ok(parts.into_values().collect())
    }

    fn masters_of(&self, table: &str, part: &PartInfo) -> Result<BTreeSet<MasterVersion>, EngineError> {
        let staged = self.staged_part(table, part);
        if part.external_keys.is_some() {
            let mut masters = BTreeSet::new();
            // A commit that was cut off may have it in both places.
            let beside = read_material(&staged.with_file_name(material_name(&part.file)))?;
            for external in [self.0.place.material(table, &part.file)?, beside].into_iter().flatten() {
                masters.extend(masters_in(&external)?);
            }
            if !masters.is_empty() {
                return Ok(masters);
            }
        } else if self.0.place.part_len(table, &part.file)?.is_some() {
            let path = self.0.place.shown(table, DATA, &part.file);
            let file = self.0.place.open_part(table, part)?;
            return self.0.keys.masters_within(&file, &path, &part.key_ids);
        } else if let Ok(file) = File::open(&staged) {
            let file = PartFile::Local(Arc::new(file));
            return self.0.keys.masters_within(&file, &staged, &part.key_ids);
        }
        // Gone, or going: as it was when it was written.
        Ok(part.key_ids.iter().map(|id| MasterVersion { id: id.clone(), stored: None }).collect())
    }

    /// Where a part waits before it is the table's.
    pub(super) fn staged_part(&self, table: &str, part: &PartInfo) -> PathBuf {
        self.staging(table).join(&part.run).join(&part.file)
    }
}
