//! Which keys the files of a table stand under: what decides whether an old version of a key may go.

use std::collections::{BTreeMap, BTreeSet};

use cordon_crypto::sealed_version;

use super::{TableStore, check_name};
use crate::errors::EngineError;

/// Numbers of files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyUse {
    /// Parts by the id of a master key that opens some of their columns: a part counts for several.
    pub parts: BTreeMap<String, u64>,
    /// Manifests by the version of the seal key.
    pub manifests: BTreeMap<u32, u64>,
}

impl KeyUse {
    pub fn add(&mut self, other: Self) {
        for (id, count) in other.parts {
            *self.parts.entry(id).or_default() += count;
        }
        for (version, count) in other.manifests {
            *self.manifests.entry(version).or_default() += count;
        }
    }
}

impl TableStore {
    /// Of all versions of a table whose files are still there: parts of earlier ones stay for a while.
    pub fn key_use(&self, table: &str) -> Result<KeyUse, EngineError> {
        check_name("table", table)?;
        let mut found = KeyUse::default();
        for (name, _) in self.0.place.manifests(table)? {
            if super::manifest_version(&name).is_some()
                && let Some(version) = sealed_version(&self.0.place.manifest(table, &name)?)
            {
                *found.manifests.entry(version).or_default() += 1;
            }
        }
        let there: BTreeSet<String> = self.0.place.parts(table)?.into_iter().map(|(name, _)| name).collect();
        let mut counted = BTreeSet::new();
        for version in self.history(table)? {
            for part in &version.manifest.parts {
                if there.contains(&part.file) && counted.insert(part.file.clone()) {
                    for id in &part.key_ids {
                        *found.parts.entry(id.clone()).or_default() += 1;
                    }
                }
            }
        }
        Ok(found)
    }
}
