//! Where a project keeps its tokens, and what records say of people.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cordon_crypto::SubjectSealKey;
use cordon_phi::Token;
use cordon_vault::keyring::KeyRing;
use cordon_vault::{DossierKeeper, DossierOptions, DossierStore, TokenVault, Vault, VaultError, VaultOptions};
use cordon_vault::{PostgresConfig, PostgresDossiers, PostgresVault, SubjectKeys};

use crate::config::VaultSection;
use crate::error::CustodyError;

/// Whether audit log, vault and dossiers must be there already. Only a new project makes them: where one is missing later, its disk
/// is not mounted or somebody removed it, and a new one in its place would hide that.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    Must,
    New,
}

/// Where vault, dossiers and subject keys are, and with how much memory they are opened.
pub struct VaultPlaces<'a> {
    pub root: &'a Path,
    pub section: &'a VaultSection,
    pub keyring: PathBuf,
    /// What the whole process may use, in bytes.
    pub memory: usize,
}

impl VaultPlaces<'_> {
    pub fn folder(&self) -> PathBuf {
        self.root.join(&self.section.path)
    }

    pub fn dossiers(&self) -> PathBuf {
        self.root.join(&self.section.dossiers)
    }

    /// Beside the key ring, and not with the data.
    pub fn subject_keys(&self) -> PathBuf {
        self.keyring.with_file_name("subject-keys")
    }

    /// With so much memory, and in PostgreSQL with another log-in. Gives the version of the keys that it is under too: while these are
    /// changed it may be an older one.
    pub fn open_as(
        &self,
        ring: &KeyRing,
        change: &dyn Fn(&mut PostgresConfig),
        memory: usize,
    ) -> Result<(OpenVault, u32), CustodyError> {
        let mut options = VaultOptions::default();
        // The defaults fit a quarter of a gibibyte; with less to use, more is looked up on the disk.
        let scale = |entries: usize| (entries / 1024 * (memory >> 20)).clamp(1 << 15, entries);
        options.memory_entries = scale(options.memory_entries);
        options.cache_entries = scale(options.cache_entries);
        let subjects = Arc::new(SubjectKeys::open_with(&self.subject_keys(), &ring.versions::<SubjectSealKey>()?)?);
        let keys = ring.vault_keys()?;
        if let Some(config) = &self.section.postgres {
            let mut config = config.clone();
            change(&mut config);
            let cached = options.memory_entries + options.cache_entries;
            let vault = PostgresVault::open_with(&config, self.root, &keys, subjects, cached)?;
            let version = vault.key_version();
            return Ok((OpenVault::Postgres(Arc::new(vault)), version));
        }
        let (vault, version) = TokenVault::open_with(&self.folder(), &keys, &subjects, &options)?;
        Ok((OpenVault::Embedded(Arc::new(vault)), version))
    }

    pub fn open(&self, ring: &KeyRing) -> Result<OpenVault, CustodyError> {
        self.open_as(ring, &|_| {}, self.memory).map(|(vault, _)| vault)
    }

    fn options(&self) -> DossierOptions {
        DossierOptions { memory_bytes: self.memory / 16, ..DossierOptions::default() }
    }

    /// The dossiers in the project's folder, where there are any.
    pub fn dossiers_in_folder(&self, vault: &Arc<TokenVault>) -> Result<Option<DossierStore>, CustodyError> {
        match DossierStore::open_existing(&self.dossiers(), Arc::clone(vault), self.options()) {
            Ok(dossiers) => Ok(Some(dossiers)),
            Err(VaultError::NoDossiers { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A project's vault. Dossiers are opened beside it.
pub enum OpenVault {
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

    pub fn dossiers(
        &self,
        places: &VaultPlaces<'_>,
        existing: Existing,
    ) -> Result<Arc<dyn DossierKeeper>, CustodyError> {
        let options = places.options();
        Ok(match self {
            Self::Embedded(vault) => {
                let open = match existing {
                    Existing::New => DossierStore::open,
                    Existing::Must => DossierStore::open_existing,
                };
                Arc::new(open(&places.dossiers(), Arc::clone(vault), options)?)
            }
            // Their table is made with the vault's.
            Self::Postgres(vault) => Arc::new(PostgresDossiers::open(Arc::clone(vault), options)?),
        })
    }

    /// Nothing where no pipeline has made any yet.
    pub fn dossiers_if_any(&self, places: &VaultPlaces<'_>) -> Result<Option<Arc<dyn DossierKeeper>>, CustodyError> {
        Ok(match self {
            Self::Embedded(vault) => places.dossiers_in_folder(vault)?.map(|dossiers| Arc::new(dossiers) as _),
            Self::Postgres(vault) => {
                let dossiers = PostgresDossiers::open(Arc::clone(vault), places.options())?;
                if dossiers.is_begun()? { Some(Arc::new(dossiers)) } else { None }
            }
        })
    }

    /// Destroys the keys of all that is kept of the person of a token. Says how many tokens nothing stands behind any more, by domain.
    pub fn destroy(&self, places: &VaultPlaces<'_>, token: Token) -> Result<Vec<(String, u64)>, CustodyError> {
        let done = match self {
            Self::Embedded(vault) => vault.shred(&[token], places.dossiers_in_folder(vault)?.as_ref())?,
            Self::Postgres(vault) => vault.shred(&[token])?,
        };
        Ok(done.domains)
    }
}
