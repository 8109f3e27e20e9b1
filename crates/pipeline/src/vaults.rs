//! Where a project keeps its tokens, and what records say of people.

use std::path::PathBuf;
use std::sync::Arc;

use cordon_crypto::SubjectSealKey;
use cordon_phi::Token;
use cordon_vault::postgres::{Migrated, migrate};
use cordon_vault::{DossierKeeper, DossierOptions, DossierStore, TokenVault, Vault, VaultError, VaultOptions};
use cordon_vault::{PostgresConfig, PostgresDossiers, PostgresVault, SubjectKeys};

use crate::error::RunError;
use crate::project::{Existing, OpenProject};

/// A project's vault. Dossiers are opened beside it.
pub(crate) enum OpenVault {
    Embedded(Arc<TokenVault>),
    Postgres(Arc<PostgresVault>),
}

impl OpenVault {
    pub fn vault(&self) -> Arc<dyn Vault> {
        match self {
            Self::Embedded(vault) => vault.clone(),
            Self::Postgres(vault) => vault.clone(),
        }
    }

    pub fn dossiers(&self, project: &OpenProject, existing: Existing) -> Result<Arc<dyn DossierKeeper>, RunError> {
        let options = options(project);
        Ok(match self {
            Self::Embedded(vault) => {
                let open = match existing {
                    Existing::New => DossierStore::open,
                    Existing::Must => DossierStore::open_existing,
                };
                Arc::new(open(&project.dossier_folder(), Arc::clone(vault), options)?)
            }
            // Their table is made with the vault's.
            Self::Postgres(vault) => Arc::new(PostgresDossiers::open(Arc::clone(vault), options)?),
        })
    }

    /// Nothing where no pipeline has made any yet.
    pub fn dossiers_if_any(&self, project: &OpenProject) -> Result<Option<Arc<dyn DossierKeeper>>, RunError> {
        Ok(match self {
            Self::Embedded(vault) => in_folder(project, vault)?.map(|dossiers| Arc::new(dossiers) as _),
            Self::Postgres(vault) => {
                let dossiers = PostgresDossiers::open(Arc::clone(vault), options(project))?;
                if dossiers.is_begun()? { Some(Arc::new(dossiers)) } else { None }
            }
        })
    }

    /// Destroys the keys of all that is kept of the person of a token. Says how many tokens nothing stands behind any more, by domain.
    pub fn destroy(&self, project: &OpenProject, token: Token) -> Result<Vec<(String, u64)>, RunError> {
        let done = match self {
            Self::Embedded(vault) => vault.shred(&[token], in_folder(project, vault)?.as_ref())?,
            Self::Postgres(vault) => vault.shred(&[token])?,
        };
        Ok(done.domains)
    }
}

fn options(project: &OpenProject) -> DossierOptions {
    DossierOptions { memory_bytes: project.project.memory / 16, ..DossierOptions::default() }
}

/// The dossiers in the project's folder, where there are any.
pub(crate) fn in_folder(project: &OpenProject, vault: &Arc<TokenVault>) -> Result<Option<DossierStore>, RunError> {
    match DossierStore::open_existing(&project.dossier_folder(), Arc::clone(vault), options(project)) {
        Ok(dossiers) => Ok(Some(dossiers)),
        Err(VaultError::NoDossiers { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl OpenProject {
    pub(crate) fn open_vault(&self) -> Result<OpenVault, RunError> {
        self.open_vault_as(&|_| {}, self.project.memory).map(|(vault, _)| vault)
    }

    /// With so much memory, and in PostgreSQL with another log-in. Gives the version of the keys that it is under too: while these are
    /// changed it may be an older one.
    pub(crate) fn open_vault_as(
        &self,
        change: &dyn Fn(&mut PostgresConfig),
        memory: usize,
    ) -> Result<(OpenVault, u32), RunError> {
        let mut options = VaultOptions::default();
        // The defaults fit a quarter of a gibibyte; with less to use, more is looked up on the disk.
        let scale = |entries: usize| (entries / 1024 * (memory >> 20)).clamp(1 << 15, entries);
        options.memory_entries = scale(options.memory_entries);
        options.cache_entries = scale(options.cache_entries);
        let subjects =
            Arc::new(SubjectKeys::open_with(&self.subject_keys_file(), &self.ring.versions::<SubjectSealKey>()?)?);
        let keys = self.ring.vault_keys()?;
        if let Some(config) = &self.project.file.vault.postgres {
            let mut config = config.clone();
            change(&mut config);
            let cached = options.memory_entries + options.cache_entries;
            let vault = PostgresVault::open_with(&config, &self.root, &keys, subjects, cached)?;
            let version = vault.key_version();
            return Ok((OpenVault::Postgres(Arc::new(vault)), version));
        }
        let (vault, version) = TokenVault::open_with(&self.vault_folder(), &keys, &subjects, &options)?;
        Ok((OpenVault::Embedded(Arc::new(vault)), version))
    }

    /// The version of its keys that the vault is under, and in how many stores: vault and dossiers.
    pub(crate) fn vault_key_use(&self) -> Result<Option<(u32, u64)>, RunError> {
        let keys = self.ring.vault_keys()?;
        if self.project.file.vault.postgres.is_some() {
            let (vault, version) = self.open_vault_as(&|_| {}, 0)?;
            return Ok(Some((version, 1 + u64::from(vault.dossiers_if_any(self)?.is_some()))));
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
        self.project.keyring_path().with_file_name("subject-keys")
    }

    pub(crate) fn vault_folder(&self) -> PathBuf {
        self.root.join(&self.project.file.vault.path)
    }

    pub(crate) fn dossier_folder(&self) -> PathBuf {
        self.root.join(&self.project.file.vault.dossiers)
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
