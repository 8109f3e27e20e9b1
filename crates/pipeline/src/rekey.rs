//! New keys for the vault: the key of its files and the one of its blind index, with all that stands under them.
//!
//! Apart from the rotation of other keys ([`crate::rotate`]): those begin to be used and leave what is older as it is; here all is
//! written anew, which takes as long as the vault is large and, in PostgreSQL, the role that owns the tables.
//!
//! 1. The plan, sealed: which versions. On the record. The vault must be the one that the tables' tokens came from, as runs ask too: how far
//!    it had come under each key is all that it will know of its own past.
//! 2. The ring holds the new versions too. Whoever opens the vault takes those that it is under.
//! 3. Vault and dossiers are written under them, and one step makes the new ones those in use ([`cordon_vault::TokenVault::rekey`],
//!    [`cordon_vault::PostgresVault::rekey`]).
//! 4. The versions before leave the ring, and the plan goes.
//!
//! Killed at any instant, everything works under the keys that the vault is under, and the next call carries it on. No run goes on
//! meanwhile, and whoever else has the vault open is refused afterwards.

use std::fs;
use std::path::PathBuf;

use cordon_audit::{KeyOperationKind, Outcome};
use cordon_vault::keyring::{KeyVersion, REKEYED, RootSecret};
use cordon_vault::{PostgresConfig, RekeyStep, Rekeyed};
use serde::{Deserialize, Serialize};

use crate::error::RunError;
use crate::people::Marks;
use crate::project::OpenProject;
use crate::retain::with_state;
use crate::rotate::{self, lock_all, record};
use crate::run::{fail_point, now};
use crate::sealed::{self, read_sealed, write_sealed};
use crate::state::Done;
use crate::vaults::OpenVault;

/// Of the memory that the project may use, the part for each of the two indexes that are held.
const SHARE: usize = 3;

/// What a change of the vault's keys came to.
#[derive(Debug, Serialize)]
pub struct RekeyReport {
    /// One that had been interrupted was carried on.
    pub resumed: bool,
    /// The versions that the vault is under now.
    pub versions: Vec<String>,
    /// Nothing where it had been done before the interruption.
    pub values: Option<u64>,
    pub merges: Option<u64>,
    pub dossiers: Option<u64>,
    /// Entries of people who were destroyed: what was left of them is gone.
    pub destroyed: Option<u64>,
    /// Dossiers that stood under no token.
    pub unknown: Option<u64>,
    /// Versions that left the ring.
    pub retired: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Plan {
    begun: String,
    versions: Vec<KeyVersion>,
}

/// What turns the working role's log-in into that of the role that owns the tables.
pub type AsOwner<'a> = &'a dyn Fn(&mut PostgresConfig);

impl OpenProject {
    fn rekey_file(&self) -> PathBuf {
        self.state_root().join("rekey.sealed")
    }

    /// The versions that an interrupted change of the vault's keys was to lead to.
    pub fn interrupted_rekey(&self) -> Result<Option<Vec<String>>, RunError> {
        let plan: Option<Plan> = read_sealed(&self.rekey_file(), &self.seal_key()?)?;
        Ok(plan.map(|plan| plan.versions.iter().map(KeyVersion::name).collect()))
    }
}

/// Puts vault and dossiers under new keys, or carries on what was interrupted. `owner` is for a vault in PostgreSQL, and only for that.
/// With `keep`, the versions before stay in the ring until `keys retire`.
pub fn rekey(
    project: &mut OpenProject,
    root: &RootSecret,
    owner: Option<AsOwner<'_>>,
    keep: bool,
    tell: &mut dyn FnMut(RekeyStep),
) -> Result<RekeyReport, RunError> {
    match (&project.project.file.vault.postgres, owner) {
        (Some(_), None) => {
            return Err(RunError::usage(
                "the vault is in PostgreSQL, where only the role that owns the tables can put others in their place",
                "name it: `cordon vault rekey --owner ROLE`, as for `cordon vault migrate`",
            ));
        }
        (None, Some(_)) => {
            return Err(RunError::usage("the vault of this project is in a folder", "leave out `--owner`"));
        }
        _ => {}
    }
    let _locks = lock_all(project)?;
    if project.interrupted_rotation()?.is_some() {
        return Err(RunError::usage("a rotation was interrupted", "finish it first:  cordon keys rotate"));
    }
    let pending: Option<Plan> = read_sealed(&project.rekey_file(), &project.seal_key()?)?;
    let resumed = pending.is_some();
    let plan = if let Some(plan) = pending {
        plan
    } else {
        is_that_of_the_tables(project)?;
        let mut versions = Vec::new();
        for purpose in REKEYED {
            versions.extend(project.ring.next_versions(purpose)?);
        }
        let plan = Plan { begun: now(), versions };
        write_sealed(&project.rekey_file(), &project.seal_key()?, &plan)?;
        plan
    };
    fail_point("rekey-planned");
    if !resumed || plan.versions.iter().any(|version| !holds(project, version)) {
        record(project, KeyOperationKind::Rotated, &plan.versions, Outcome::Begun)?;
        if let Err(error) = project.ring.rotate(root, &plan.versions, &now()) {
            record(project, KeyOperationKind::Rotated, &plan.versions, Outcome::Failed)?;
            return Err(error.into());
        }
        record(project, KeyOperationKind::Rotated, &plan.versions, Outcome::Done)?;
    }
    fail_point("rekey-added");
    let done = write_anew(project, &plan, owner.unwrap_or(&|_| {}), tell)?;
    fail_point("rekey-written");
    let mut retired = Vec::new();
    if !keep {
        retired = REKEYED.iter().flat_map(|purpose| project.ring.older_versions(purpose)).collect();
        rotate::remove(project, root, &retired)?;
    }
    fail_point("rekey-retired");
    fs::remove_file(project.rekey_file())
        .and_then(|()| sealed::sync_folder(&project.state_root()))
        .map_err(|error| RunError::io("remove", &project.rekey_file(), &error))?;
    Ok(RekeyReport {
        resumed,
        versions: plan.versions.iter().map(KeyVersion::name).collect(),
        values: done.map(|done| done.values),
        merges: done.map(|done| done.merges),
        dossiers: done.map(|done| done.dossiers),
        destroyed: done.map(|done| done.destroyed),
        unknown: done.map(|done| done.unknown),
        retired: retired.iter().map(KeyVersion::name).collect(),
    })
}

fn holds(project: &OpenProject, version: &KeyVersion) -> bool {
    project.ring.status().iter().any(|key| key.key_version() == *version)
}

/// Refuses a vault that runs would refuse.
fn is_that_of_the_tables(project: &OpenProject) -> Result<(), RunError> {
    let vault = project.vault()?;
    for pipeline in with_state(project)? {
        let done: Done = read_sealed(&project.state_file(&pipeline), &project.seal_key()?)?.unwrap_or_default();
        if let Some(mark) = Marks::of(&done).vault
            && !vault.contains(&mark)?
        {
            return Err(RunError::damaged(
                &project.vault_place(),
                "is another vault than the tables' tokens came from, or an older copy of it; restore the latest, or accept it \
                 (`cordon vault accept-older`), before its keys are changed",
            ));
        }
    }
    Ok(())
}

/// Nothing where vault and dossiers are under the planned versions already.
fn write_anew(
    project: &OpenProject,
    plan: &Plan,
    owner: AsOwner<'_>,
    tell: &mut dyn FnMut(RekeyStep),
) -> Result<Option<Rekeyed>, RunError> {
    let target = plan.versions.first().map_or(0, |version| version.version);
    let (vault, version) = project.open_vault_as(owner, project.project.memory / SHARE)?;
    if version == target {
        // What was under the old keys, and left by whoever was killed, goes when these are opened.
        if let OpenVault::Embedded(vault) = &vault {
            project.vault_places().dossiers_in_folder(vault)?;
        }
        record(project, KeyOperationKind::Resealed, &plan.versions, Outcome::Done)?;
        return Ok(None);
    }
    let keys = project.ring.vault_keys()?;
    let new = keys.iter().find(|(version, _)| *version == target).map(|(_, keys)| keys);
    let new = new.ok_or(RunError::Internal("new keys of the vault"))?;
    record(project, KeyOperationKind::Resealed, &plan.versions, Outcome::Begun)?;
    let mut tell = |step| {
        tell(step);
        match step {
            RekeyStep::Values { done, of } if done * 2 >= of => fail_point("rekey-values"),
            RekeyStep::Index => fail_point("rekey-index"),
            RekeyStep::Dossiers { .. } => fail_point("rekey-dossiers"),
            RekeyStep::Switching => fail_point("rekey-switching"),
            RekeyStep::Switched => fail_point("rekey-switched"),
            RekeyStep::Values { .. } | RekeyStep::Removed => {}
        }
    };
    let done = match &vault {
        OpenVault::Embedded(vault) => {
            let dossiers = project.vault_places().dossiers_in_folder(vault)?;
            vault.rekey(dossiers.as_ref(), new, &mut tell)
        }
        OpenVault::Postgres(vault) => {
            let role = project.project.file.vault.postgres.as_ref().map_or("", |config| config.user.as_str());
            vault.rekey(role, new, &mut tell)
        }
    };
    let outcome = if done.is_ok() { Outcome::Done } else { Outcome::Failed };
    // The first error is the one to show.
    let recorded = record(project, KeyOperationKind::Resealed, &plan.versions, outcome);
    let done = done?;
    recorded?;
    Ok(Some(done))
}
