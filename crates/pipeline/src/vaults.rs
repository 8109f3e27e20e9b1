//! Where a project keeps its tokens, and what records say of people.

use std::path::PathBuf;
use std::sync::Arc;

use cordon_crypto::SubjectSealKey;
pub(crate) use cordon_custody::vaults::OpenVault;
use cordon_custody::vaults::VaultPlaces;
use cordon_vault::postgres::{Migrated, migrate};
use cordon_vault::{PostgresConfig, SubjectKeys, TokenVault};

use crate::error::RunError;
use crate::project::OpenProject;

impl OpenProject {
    pub(crate) fn vault_places(&self) -> VaultPlaces<'_> {
        VaultPlaces {
            root: &self.root,
            section: &self.project.file.vault,
            keyring: self.project.keyring_path(),
            memory: self.project.memory,
        }
    }

    pub(crate) fn open_vault(&self) -> Result<OpenVault, RunError> {
        Ok(self.vault_places().open(&self.ring)?)
    }

    /// With so much memory, and in PostgreSQL with another log-in. Gives the version of the keys that it is under too: while these are
    /// changed it may be an older one.
    pub(crate) fn open_vault_as(
        &self,
        change: &dyn Fn(&mut PostgresConfig),
        memory: usize,
    ) -> Result<(OpenVault, u32), RunError> {
        Ok(self.vault_places().open_as(&self.ring, change, memory)?)
    }

    /// The version of its keys that the vault is under, and in how many stores: vault and dossiers.
    pub(crate) fn vault_key_use(&self) -> Result<Option<(u32, u64)>, RunError> {
        let keys = self.ring.vault_keys()?;
        if self.project.file.vault.postgres.is_some() {
            let (vault, version) = self.open_vault_as(&|_| {}, 0)?;
            return Ok(Some((version, 1 + u64::from(vault.dossiers_if_any(&self.vault_places())?.is_some()))));
        }
        let version = TokenVault::key_version(&self.vault_folder(), &keys)?;
        Ok(version.map(|version| (version, 1 + u64::from(self.dossier_folder().is_dir()))))
    }

    /// A run says so at once when the vault is not there, also one that will not need it.
    pub(crate) fn need_vault(&self) -> Result<(), RunError> {
        if self.project.file.vault.postgres.is_some() {
            return self.open_vault().map(drop);
        }
        Ok(TokenVault::must_exist(&self.vault_folder())?)
    }

    /// Makes the tables of a vault in PostgreSQL, or brings them up to date. `change` turns the working role's log-in into the owner's.
    pub fn migrate_vault(&self, change: impl FnOnce(&mut PostgresConfig)) -> Result<Migrated, RunError> {
        let Some(config) = &self.project.file.vault.postgres else {
            return Err(RunError::usage(
                "the vault of this project is in a folder",
                "`vault: { postgres: { … } }` in cordon.yaml says where a database is (docs/vault.md)",
            ));
        };
        let mut owner = config.clone();
        change(&mut owner);
        let keys = self.make_subject_keys()?;
        Ok(migrate(config, &owner, &self.root, &self.vault_keys()?, &keys)?)
    }

    /// For a vault that is made now.
    pub(crate) fn make_subject_keys(&self) -> Result<Arc<SubjectKeys>, RunError> {
        let keys = self.ring.versions::<SubjectSealKey>()?;
        Ok(Arc::new(SubjectKeys::open_or_create_with(&self.subject_keys_file(), &keys)?))
    }

    /// Beside the key ring, and not with the data.
    pub(crate) fn subject_keys_file(&self) -> PathBuf {
        self.vault_places().subject_keys()
    }

    pub(crate) fn vault_folder(&self) -> PathBuf {
        self.vault_places().folder()
    }

    pub(crate) fn dossier_folder(&self) -> PathBuf {
        self.vault_places().dossiers()
    }

    /// Where the vault is, for messages.
    pub(crate) fn vault_place(&self) -> PathBuf {
        self.project.file.vault.postgres.as_ref().map_or_else(|| self.vault_folder(), |vault| vault.place().into())
    }

    /// Where the dossiers are, for messages.
    pub(crate) fn dossier_place(&self) -> PathBuf {
        if self.project.file.vault.postgres.is_some() { self.vault_place() } else { self.dossier_folder() }
    }
}
