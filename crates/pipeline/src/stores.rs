//! The object stores that a project reads from and writes to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cordon_deid::yaml::{Issue, Issues, Position};
use cordon_storage::{Location, LocationError, Store, StoreSettings};

use crate::config::StorageSection;
use crate::error::RunError;

/// How each store is reached.
pub(crate) struct Stores {
    root: PathBuf,
    /// By the address of the bucket.
    settings: BTreeMap<String, StoreSettings>,
}

impl Stores {
    /// Checks the addresses of the project's file.
    pub fn new(root: &Path, file: &Path, section: &StorageSection) -> Result<Self, Issues> {
        let mut settings = BTreeMap::new();
        let mut issues = Vec::new();
        for (address, of_store) in &section.stores {
            match Location::parse(address) {
                Ok(location) if location.prefix().is_empty() => {
                    settings.insert(location.root(), of_store.value.clone());
                }
                Ok(location) => issues.push(Issue {
                    file: file.to_path_buf(),
                    position: of_store.position,
                    message: "`storage.stores` names a place within a bucket".to_owned(),
                    help: Some(format!("settings are those of a whole bucket: write `{}`", location.root())),
                }),
                Err(error) => issues.push(wrong(file, of_store.position, "storage.stores", error)),
            }
        }
        if Location::is_url(&section.warehouse.value)
            && let Err(error) = Location::parse(&section.warehouse.value)
        {
            issues.push(wrong(file, section.warehouse.position, "storage.warehouse", error));
        }
        if issues.is_empty() { Ok(Self { root: root.to_path_buf(), settings }) } else { Err(Issues(issues)) }
    }

    pub fn open(&self, location: &Location) -> Result<Store, RunError> {
        let none = StoreSettings::default();
        let settings = self.settings.get(&location.root()).unwrap_or(&none);
        Ok(Store::open(location, settings, &self.root)?)
    }
}

/// An address that means no store, told without repeating it.
pub(crate) fn wrong(file: &Path, position: Position, what: &str, error: LocationError) -> Issue {
    Issue {
        file: file.to_path_buf(),
        position,
        message: format!("`{what}`: {error}"),
        help: Some(
            "credentials and settings have their places: see `storage.stores` in cordon.yaml and docs/storage.md"
                .to_owned(),
        ),
    }
}
