//! Destroying what stands behind one person's token, and the certificate that says so.
//!
//! What is destroyed are keys: of the person's entries in the vault, of merges and of dossiers, in every copy of them (decision
//! 0016). The file that holds them is then sealed under a new key of the ring, so that a copy of it from before opens nothing with the
//! ring that is in use. The certificate is signed by the key that signs the audit log and names the entry that says the same; it can be checked
//! without the project ([`check`]).

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use chrono::{DateTime, Utc};
use cordon_audit::{KeyOperationKind, Outcome, Receipt, Tag};
use cordon_crypto::{SubjectSealKey, VerifyingKey};
use cordon_phi::Token;
use cordon_vault::SubjectKeys;
use cordon_vault::keyring::{KeyVersion, RootSecret};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

use crate::error::RunError;
use crate::project::OpenProject;
use crate::reveal::{Case, Said};
use crate::rotate;
use crate::run::{fail_point, now};

const FORMAT: &str = "cordon-shred-certificate";
const VERSION: u32 = 2;
/// No certificate is larger.
const MOST_BYTES: u64 = 1 << 20;

/// What destroying keys does not reach.
const REMAINS: [&str; 4] = [
    "rows of tables under the token, which nothing leads back to the person from; keyed hashes, encrypted values and shifted dates in them follow \
     from the person's values and the project's keys",
    "the sources that were read, which are not this project's",
    "quarantined records that name the person, until they are replayed or past their retention",
    "what left the project before: query results, revealed values",
];

/// Copies of key material that would undo it.
const TO_DESTROY: &str = "A copy of the file `subject-keys` of an earlier epoch opens what was destroyed here, but only together with a copy of \
                          the key ring from before and its root secret: the key that it is sealed under leaves the ring. Destroy \
                          such copies of the ring, or rotate the root (cordon keys rotate-root) and destroy the old root secret.";

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    format: String,
    version: u32,
    pub project: String,
    pub key_ring: String,
    pub request: String,
    pub domain: String,
    /// Keyed: who has the project can tell of a token whether it is this one, nobody else can.
    pub subject: Tag,
    pub purpose: String,
    pub requested: Act,
    pub approved: Vec<Act>,
    /// Tokens that nothing stands behind any more, by domain.
    pub destroyed: Vec<(String, u64)>,
    /// Of the subject keys: a copy of an earlier one would undo it.
    pub epoch: u64,
    /// The entry of the audit log that says that it was done.
    pub audit_entry: Receipt,
    pub remains: Vec<String>,
    pub older_key_copies: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    pub by: String,
    pub at: DateTime<Utc>,
}

impl From<&Said> for Act {
    fn from(said: &Said) -> Self {
        Self { by: said.by.clone(), at: said.at }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    statement: Statement,
    /// Ed25519, hexadecimal; the key that `cordon audit head` printed then.
    verifying_key: String,
    /// Over the statement as compact JSON in this order of its fields.
    signature: String,
}

/// What destroying somebody came to.
pub(crate) struct Destroyed {
    /// Tokens that nothing stands behind any more, by domain.
    pub domains: Vec<(String, u64)>,
    /// Of the subject keys afterwards.
    pub epoch: u64,
}

impl OpenProject {
    /// Destroys the person behind a token.
    pub(crate) fn destroy(&self, token: Token) -> Result<Destroyed, RunError> {
        let domains = self.open_vault()?.destroy(&self.vault_places(), token)?;
        Ok(Destroyed { domains, epoch: self.subject_keys()?.epoch() })
    }

    pub(crate) fn subject_keys(&self) -> Result<SubjectKeys, RunError> {
        Ok(SubjectKeys::open_with(&self.subject_keys_file(), &self.ring.versions::<SubjectSealKey>()?)?)
    }
}

/// What became of the key that seals the subject keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// There is a new one, and these versions have left the ring: copies of the file from before are of no use with it.
    Done(Vec<String>),
    /// Nobody was destroyed since it was new.
    NotDue,
    /// Something goes on that would write under the key it knows, or has to be finished first.
    Waits(&'static str),
}

/// Seals the subject keys under a new key of the ring, once somebody was destroyed, and removes the key before from the ring. Each step
/// can be repeated: killed at any instant, it is carried on by the next call, and in between everything works.
pub fn renew_subject_keys(project: &mut OpenProject, root: &RootSecret) -> Result<Renewal, RunError> {
    let _locks = match rotate::lock_all(project) {
        Ok(locks) => locks,
        Err(RunError::Busy { .. } | RunError::Occupied { .. }) => {
            return Ok(Renewal::Waits("a run or a backup is going on"));
        }
        Err(error) => return Err(error),
    };
    if project.interrupted_rotation()?.is_some() {
        return Ok(Renewal::Waits("a rotation of keys was interrupted"));
    }
    let keys = project.subject_keys()?;
    if keys.is_renewal_due() && keys.key_version() == project.ring.versions::<SubjectSealKey>()?.newest() {
        let versions = project.ring.next_versions(SubjectSealKey::PURPOSE)?;
        rotate::record(project, KeyOperationKind::Rotated, &versions, Outcome::Begun)?;
        fail_point("renew-begun");
        if let Err(error) = project.ring.rotate(root, &versions, &now()) {
            rotate::record(project, KeyOperationKind::Rotated, &versions, Outcome::Failed)?;
            return Err(error.into());
        }
        fail_point("renew-added");
        rotate::record(project, KeyOperationKind::Rotated, &versions, Outcome::Done)?;
    }
    drop(keys);
    let gone = reseal_subject_keys(project, root)?;
    let names = gone.iter().map(KeyVersion::name).collect::<Vec<_>>();
    Ok(if names.is_empty() { Renewal::NotDue } else { Renewal::Done(names) })
}

/// Seals the file under the newest version of its key in the ring, and removes the others. Whoever calls it keeps runs out.
pub(crate) fn reseal_subject_keys(project: &mut OpenProject, root: &RootSecret) -> Result<Vec<KeyVersion>, RunError> {
    project.subject_keys()?.reseal(&project.ring.versions::<SubjectSealKey>()?)?;
    fail_point("renew-resealed");
    let older = project.ring.older_versions(SubjectSealKey::PURPOSE);
    rotate::remove(project, root, &older)?;
    fail_point("renew-retired");
    Ok(older)
}

/// The certificate of a request that was carried out, as text.
pub fn certificate(project: &OpenProject, case: &Case) -> Result<String, RunError> {
    let (Some(done), [subject]) = (case.done, case.tags.as_slice()) else {
        return Err(RunError::Internal("a certificate of what is not done"));
    };
    let statement = Statement {
        format: FORMAT.to_owned(),
        version: VERSION,
        project: project.project.file.project.value.clone(),
        key_ring: project.ring.id().to_owned(),
        request: case.id.clone(),
        domain: case.domain.clone(),
        subject: subject.clone(),
        purpose: case.purpose.to_string(),
        requested: Act::from(&case.asked),
        approved: case.approvals.iter().map(Act::from).collect(),
        destroyed: case.destroyed.clone(),
        epoch: case.epoch,
        audit_entry: done,
        remains: REMAINS.map(str::to_owned).to_vec(),
        older_key_copies: TO_DESTROY.to_owned(),
    };
    let key = project.ring.audit_signing_key()?;
    let signature = HEXLOWER.encode(&key.sign(&bytes(&statement)?));
    let verifying_key = HEXLOWER.encode(&key.verifying_key().0);
    let signed = Signed { statement, verifying_key, signature };
    let mut text = serde_json::to_string_pretty(&signed).map_err(|_| RunError::Internal("a certificate"))?;
    text.push('\n');
    Ok(text)
}

/// Writes a certificate to a file that must not exist.
pub fn write(path: &Path, text: &str) -> Result<(), RunError> {
    let failed = |error: std::io::Error| RunError::io("write the certificate", path, &error);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

/// Reads a certificate and checks its signature; with `key`, that this key made it. Needs no project.
pub fn check(path: &Path, key: Option<VerifyingKey>) -> Result<Statement, RunError> {
    let length = fs::metadata(path).map_err(|error| RunError::io("open", path, &error))?.len();
    if length > MOST_BYTES {
        return Err(RunError::damaged(path, "is no certificate"));
    }
    let text = fs::read_to_string(path).map_err(|error| RunError::io("read", path, &error))?;
    let signed: Signed = serde_json::from_str(&text).map_err(|_| RunError::damaged(path, "is no certificate"))?;
    if signed.statement.format != FORMAT || signed.statement.version != VERSION {
        return Err(RunError::damaged(path, "is no certificate that this program knows"));
    }
    let named = HEXLOWER_PERMISSIVE.decode(signed.verifying_key.as_bytes()).ok().and_then(|key| key.try_into().ok());
    let named = named.map(VerifyingKey).ok_or_else(|| RunError::damaged(path, "names no verifying key"))?;
    if key.is_some_and(|key| key != named) {
        return Err(RunError::damaged(path, "was signed by another key"));
    }
    let signature = HEXLOWER_PERMISSIVE.decode(signed.signature.as_bytes()).unwrap_or_default();
    if named.verify(&bytes(&signed.statement)?, &signature).is_err() {
        return Err(RunError::damaged(path, "is not as it was signed"));
    }
    Ok(signed.statement)
}

fn bytes(statement: &Statement) -> Result<Vec<u8>, RunError> {
    serde_json::to_vec(statement).map_err(|_| RunError::Internal("a certificate"))
}
