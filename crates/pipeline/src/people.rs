//! Who people are, before anything of theirs is written.
//!
//! A pipeline whose sources declare an `identity` reads what is new twice: once to link identifiers that mean one person and to
//! note what records say of people, and once to write. So the first row of a person is written with the same token as the last,
//! in whatever format they came.

use std::sync::Arc;

use cordon_deid::kernel::Env;
use cordon_deid::survey::Survey;
use cordon_phi::{Dossiers, Identifier, IdentityStore, KnownFacts, Token};

use cordon_vault::{DossierKeeper, Mark, Vault};
use serde::{Deserialize, Serialize};

use crate::error::RunError;
use crate::project::{Existing, OpenProject, Pipeline};
use crate::state::Done;

/// The vault, the dossiers where the pipeline has an identity, and what kernels need of both.
#[derive(Clone)]
pub(crate) struct People {
    pub vault: Arc<dyn Vault>,
    pub dossiers: Option<Arc<dyn DossierKeeper>>,
    pub env: Env,
}

/// Where the stores stood when tables were last changed: another one, or an older copy, would give known people second tokens, or
/// know less of them than it should.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marks {
    pub vault: Option<Mark>,
    pub dossiers: Option<Mark>,
}

impl Marks {
    pub fn of(done: &Done) -> Self {
        Self { vault: done.vault.clone(), dossiers: done.dossiers.clone() }
    }

    /// Opens the stores. They must be the ones that the tables were made with.
    pub fn open(&self, project: &OpenProject, pipeline: &Pipeline) -> Result<People, RunError> {
        let asked = (!pipeline.identities().is_empty()).then_some(if self.dossiers.is_some() {
            Existing::Must
        } else {
            Existing::New
        });
        let people = project.open_people(asked, pipeline.recipient())?;
        if let Some(mark) = &self.vault
            && !people.vault.contains(mark)?
        {
            return Err(RunError::damaged(
                &project.vault_place(),
                "is another vault than the tables' tokens came from, or an older copy of it; restore the latest",
            ));
        }
        if let (Some(mark), Some(dossiers)) = (&self.dossiers, &people.dossiers)
            && !dossiers.contains(mark)?
        {
            return Err(RunError::damaged(
                &project.dossier_place(),
                "holds other dossiers than the tables were made with, or an older copy of them; restore the latest",
            ));
        }
        Ok(people)
    }
}

impl People {
    /// Where the stores stand now. The dossiers stay as they were marked where this pipeline has none.
    pub fn marks(&self, before: &Marks) -> Result<Marks, RunError> {
        let dossiers = match &self.dossiers {
            Some(dossiers) => Some(dossiers.mark()?),
            None => before.dossiers.clone(),
        };
        Ok(Marks { vault: Some(self.vault.mark()?), dossiers })
    }

    /// Nothing may be written with a token or a fact that could be lost.
    pub fn sync(&self) -> Result<(), RunError> {
        self.vault.sync()?;
        Ok(self.dossiers.as_ref().map_or(Ok(()), |dossiers| dossiers.sync())?)
    }
}

/// Links the people of a batch, and adds to their dossiers.
pub(crate) fn tell(
    survey: &Survey,
    people: &dyn IdentityStore,
    dossiers: Option<&dyn Dossiers>,
) -> Result<(), RunError> {
    let mut identifiers: Vec<Identifier<'_>> = Vec::new();
    let mut ends = Vec::new();
    let mut facts_of = Vec::new();
    let all: Vec<_> = survey.people().collect();
    for person in &all {
        let before = identifiers.len();
        identifiers.extend(person.identifiers());
        // One identifier alone links nobody, and of whom nothing else is known nothing can be noted.
        if identifiers.len() < before + 2 && (identifiers.len() == before || person.facts.is_empty()) {
            identifiers.truncate(before);
            continue;
        }
        ends.push(identifiers.len());
        facts_of.push(person.facts.clone());
    }
    if ends.is_empty() {
        return Ok(());
    }
    let mut tokens = Vec::with_capacity(ends.len());
    people.link(&identifiers, &ends, &mut tokens)?;
    let Some(dossiers) = dossiers else { return Ok(()) };
    let (mut subjects, mut facts): (Vec<Token>, KnownFacts) = (Vec::new(), KnownFacts::default());
    let mut all = survey.facts().iter().enumerate().peekable();
    for (range, token) in facts_of.into_iter().zip(tokens) {
        let Some(token) = token else { continue };
        while all.next_if(|(at, _)| *at < range.start).is_some() {}
        while let Some((_, known)) = all.next_if(|(at, _)| *at < range.end) {
            if facts.push(known.kind, known.whose, known.text) {
                subjects.push(token);
            }
        }
    }
    Ok(dossiers.add(&subjects, &facts)?)
}
