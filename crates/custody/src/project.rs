//! A project's keys, vault and record without its tables: for a Python process, and for executors of a cluster.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cordon_audit::{AuditLog, Event, Receipt, StoreUse, WriterInfo};
use cordon_crypto::{AuditSealKey, SealKey};
use cordon_deid::kernel::Env;
use cordon_deid::yaml;
use cordon_vault::DossierKeeper;
use cordon_vault::keyring::KeyRing;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::config::{AuditSection, KeysSection, VaultSection};
use crate::env;
use crate::error::CustodyError;
use crate::mark::AuditMark;
use crate::root::{AskPassphrase, secret_of};
use crate::vaults::VaultPlaces;

/// What of `cordon.yaml` is needed here. All sections are named, so that one that is misspelt is not passed over.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ProjectFile {
    project: String,
    keys: KeysSection,
    #[serde(default)]
    vault: VaultSection,
    #[serde(default)]
    audit: AuditSection,
    #[serde(default)]
    storage: StateSection,
    #[serde(default)]
    recipients: BTreeMap<String, serde_json::Value>,
    #[serde(default, rename = "run")]
    _run: IgnoredAny,
    #[serde(default, rename = "retention")]
    _retention: IgnoredAny,
    #[serde(default, rename = "access")]
    _access: IgnoredAny,
    #[serde(default, rename = "server")]
    _server: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(default)]
struct StateSection {
    state: String,
}

impl Default for StateSection {
    fn default() -> Self {
        Self { state: ".cordon/state".to_owned() }
    }
}

/// Memory for what is kept of the vault: a process of Python or of a cluster has other work too.
const MEMORY: usize = 512 << 20;

/// A project folder that has been found. No key has been touched.
pub struct Place {
    root: PathBuf,
    file: ProjectFile,
}

/// A project's key ring, opened.
pub struct Custody {
    place: Place,
    ring: KeyRing,
}

/// Its record, opened: for whoever acts on his own, and not for executors of what is on the record already.
pub struct Record {
    log: AuditLog,
    mark: AuditMark,
}

impl Place {
    /// Reads `cordon.yaml` in `start` or in the nearest folder above; `None` where there is none.
    pub fn find(start: &Path) -> Result<Option<Self>, CustodyError> {
        let start = start.canonicalize().map_err(|error| CustodyError::io("open", start, &error))?;
        let Some(root) = start.ancestors().find(|folder| folder.join("cordon.yaml").is_file()) else {
            return Ok(None);
        };
        let path = root.join("cordon.yaml");
        let text = fs::read_to_string(&path).map_err(|error| CustodyError::io("read", &path, &error))?;
        Ok(Some(Self { root: root.to_path_buf(), file: yaml::parse(&text, Path::new("cordon.yaml"))? }))
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn name(&self) -> &str {
        &self.file.project
    }

    /// Opens the key ring. Where a store keeps the key that wraps its root, it is asked.
    pub fn open(self, ask: AskPassphrase<'_>) -> Result<Custody, CustodyError> {
        let root = secret_of(&self.root, &self.file.keys.root, ask)?;
        let ring = KeyRing::open(&self.root.join(&self.file.keys.keyring), &root)?;
        Ok(Custody { place: self, ring })
    }
}

impl Custody {
    pub fn root(&self) -> &Path {
        &self.place.root
    }

    pub fn name(&self) -> &str {
        &self.place.file.project
    }

    /// The ring's own name: two processes with the same have the same keys.
    pub fn ring_id(&self) -> String {
        self.ring.id().to_string()
    }

    /// The newest keys, by name and version.
    pub fn key_ids(&self) -> Vec<String> {
        self.ring.newest().into_iter().map(|key| key.name()).collect()
    }

    /// Opens the vault and makes what kernels need, for the project itself or for a `recipient` of `cordon.yaml`. Where a policy is about
    /// people that a pipeline `linked`, the dossiers must be there: texts would be scrubbed with less knowledge than was promised.
    pub fn env(&self, recipient: Option<&str>) -> Result<Env, CustodyError> {
        if let Some(recipient) = recipient
            && !self.place.file.recipients.contains_key(recipient)
        {
            return Err(CustodyError::usage(
                "there is no recipient of this name",
                "name it under `recipients:` in cordon.yaml",
            ));
        }
        let places = VaultPlaces {
            root: &self.place.root,
            section: &self.place.file.vault,
            keyring: self.place.root.join(&self.place.file.keys.keyring),
            memory: MEMORY,
        };
        let opened = places.open(&self.ring)?;
        let dossiers: Option<Arc<dyn DossierKeeper>> = opened.dossiers_if_any(&places)?;
        env::env(&self.ring, &opened.vault(), dossiers, recipient)
    }

    /// Opens the record on behalf of a user. One that was put back to an older copy is refused.
    pub fn record(&self, user: &str) -> Result<Record, CustodyError> {
        let file = &self.place.file;
        let mark = AuditMark::new(&self.place.root.join(&file.storage.state), self.ring.versions::<SealKey>()?);
        // Before the log is opened: what others append meanwhile is in it then.
        let reached = mark.read()?;
        let log = AuditLog::open_existing(
            &self.place.root.join(&file.audit.path),
            self.ring.versions::<AuditSealKey>()?,
            self.ring.audit_signing_keys()?,
            WriterInfo::for_user(user),
        )?;
        let entries = log.head()?.seq;
        let record = Record { log, mark };
        match reached {
            Some(anchor) => record.log.reaches(&anchor)?,
            None => drop(record.append(&Event::AnchorMissing { entries })?),
        }
        if let Some(place) = self.ring.root_place() {
            record.append(&Event::KeyStoreUsed { store: place.to_string(), what: StoreUse::Unwrapped })?;
        }
        Ok(record)
    }
}

impl Record {
    /// Puts an event on the record; it is durable when this returns.
    pub fn append(&self, event: &Event) -> Result<Receipt, CustodyError> {
        let receipt = self.log.append(event)?;
        self.mark.raise(receipt.into())?;
        Ok(receipt)
    }
}
