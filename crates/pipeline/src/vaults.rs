//! Where a project keeps its tokens, and what records say of people.

use std::path::PathBuf;
use std::sync::Arc;

use cordon_vault::{DossierKeeper, DossierOptions, DossierStore, TokenVault, Vault, VaultError, VaultOptions};

use crate::error::RunError;
use crate::project::{Existing, OpenProject};

/// A project's vault. Dossiers are opened beside it.
pub(crate) enum OpenVault {
    Embedded(Arc<TokenVault>),
}

impl OpenVault {
    pub fn vault(&self) -> Arc<dyn Vault> {
        match self {
            Self::Embedded(vault) => vault.clone(),
        }
    }

    pub fn dossiers(&self, project: &OpenProject, existing: Existing) -> Result<Arc<dyn DossierKeeper>, RunError> {
        let options = DossierOptions { memory_bytes: project.project.memory / 16, ..DossierOptions::default() };
        match self {
            Self::Embedded(vault) => {
                let open = match existing {
                    Existing::New => DossierStore::open,
                    Existing::Must => DossierStore::open_existing,
                };
                Ok(Arc::new(open(&project.dossier_folder(), Arc::clone(vault), options)?))
            }
        }
    }

    /// Nothing where no pipeline has made any yet.
    pub fn dossiers_if_any(&self, project: &OpenProject) -> Result<Option<Arc<dyn DossierKeeper>>, RunError> {
        match self {
            Self::Embedded(vault) => {
                let options = DossierOptions::default();
                match DossierStore::open_existing(&project.dossier_folder(), Arc::clone(vault), options) {
                    Ok(dossiers) => Ok(Some(Arc::new(dossiers))),
                    Err(VaultError::NoDossiers { .. }) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }
}

impl OpenProject {
    pub(crate) fn open_vault(&self) -> Result<OpenVault, RunError> {
        let mut options = VaultOptions::default();
        // The defaults fit a quarter of a gibibyte; with less to use, more is looked up on the disk.
        let scale = |entries: usize| (entries / 1024 * (self.project.memory >> 20)).clamp(1 << 15, entries);
        options.memory_entries = scale(options.memory_entries);
        options.cache_entries = scale(options.cache_entries);
        let vault = TokenVault::open_existing(&self.vault_folder(), self.vault_keys()?, options)?;
        Ok(OpenVault::Embedded(Arc::new(vault)))
    }

    /// A run says so at once when the vault is not there, also one that will not need it.
    pub(crate) fn need_vault(&self) -> Result<(), RunError> {
        Ok(TokenVault::must_exist(&self.vault_folder())?)
    }

    pub(crate) fn vault_folder(&self) -> PathBuf {
        self.root.join(&self.project.file.vault.path)
    }

    pub(crate) fn dossier_folder(&self) -> PathBuf {
        self.root.join(&self.project.file.vault.dossiers)
    }

    /// Where the vault is, for messages.
    pub(crate) fn vault_place(&self) -> PathBuf {
        self.vault_folder()
    }

    /// Where the dossiers are, for messages.
    pub(crate) fn dossier_place(&self) -> PathBuf {
        self.dossier_folder()
    }
}
