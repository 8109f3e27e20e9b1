//! A vault that was set back, accepted by an operator: after a restore that nothing newer could be had for, runs go on with it.
//!
//! The state of each pipeline remembers where vault and dossiers stood when its tables were last changed, and its runs refuse older ones:
//! people whom the vault does not know any more would get second tokens. Whoever accepts that says who he is and why, on the record first. Then the
//! state takes the stores as they are, and counts all rows as written before people turned out to be one: they are made again from
//! their sources where those are there, so that everybody has one token again, and else stay.

use cordon_audit::Event;
use serde::Serialize;

use crate::error::RunError;
use crate::people::Marks;
use crate::project::OpenProject;
use crate::retain::with_state;
use crate::rotate::lock_all;
use crate::run::{OpenJournal, fail_point};
use crate::sealed::{read_sealed, write_sealed};
use crate::state::Done;

/// Of how many joined people no vault has heard: rows that were made by another history.
const ANOTHER_HISTORY: u64 = u64::MAX;

/// What was accepted.
#[derive(Debug, Serialize)]
pub struct Accepted {
    /// The pipelines whose runs go on with the vault as it is.
    pub pipelines: Vec<String>,
    pub vault: bool,
    pub dossiers: bool,
}

/// Takes vault and dossiers for what they are now. Killed at any instant, the same call carries it on.
pub fn accept_older(project: &OpenProject, user: &str, reason: &str) -> Result<Accepted, RunError> {
    let _locks = lock_all(project)?;
    let opened = project.open_vault()?;
    let (vault, dossiers) = (opened.vault(), opened.dossiers_if_any(&project.vault_places())?);
    let mut accepted = Accepted { pipelines: Vec::new(), vault: false, dossiers: false };
    let mut behind = Vec::new();
    for pipeline in with_state(project)? {
        let done: Done = read_sealed(&project.state_file(&pipeline), &project.seal_key()?)?.unwrap_or_default();
        let Marks { vault: known, dossiers: told } = Marks::of(&done);
        let old_vault = known.map_or(Ok(false), |mark| vault.contains(&mark).map(|there| !there))?;
        let old_dossiers = match (&dossiers, told) {
            (_, None) => false,
            // Gone: the next run makes new ones, as it reads its sources again.
            (None, Some(_)) => true,
            (Some(dossiers), Some(mark)) => !dossiers.contains(&mark)?,
        };
        if !old_vault && !old_dossiers {
            continue;
        }
        if !OpenJournal::open(project, &pipeline)?.is_empty() {
            return Err(RunError::usage(
                format!("a run of `{pipeline}` was interrupted: it gave out tokens that this vault does not know"),
                format!("restore the vault that the run had, or remove {}", project.journal_file(&pipeline).display()),
            ));
        }
        accepted.vault |= old_vault;
        accepted.dossiers |= old_dossiers;
        accepted.pipelines.push(pipeline.clone());
        behind.push((pipeline, done));
    }
    if behind.is_empty() {
        return Err(RunError::usage(
            "no pipeline refuses vault or dossiers as they are",
            "there is nothing to accept; `cordon run` says what it refuses",
        ));
    }
    project.audit(&Event::OlderVaultAccepted {
        principal: user.to_owned(),
        reason: reason.to_owned(),
        pipelines: accepted.pipelines.clone(),
        vault: accepted.vault,
        dossiers: accepted.dossiers,
    })?;
    fail_point("accept-recorded");
    for (pipeline, mut done) in behind {
        done.vault = Some(vault.mark()?);
        done.dossiers = dossiers.as_ref().map(|dossiers| dossiers.mark()).transpose()?;
        for unit in done.units.values_mut() {
            unit.merges = ANOTHER_HISTORY;
        }
        write_sealed(&project.state_file(&pipeline), &project.seal_key()?, &done)?;
        fail_point("accepted");
    }
    Ok(accepted)
}
