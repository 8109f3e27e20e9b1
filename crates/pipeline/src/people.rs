//! Who people are, before anything of theirs is written.
//!
//! A pipeline whose sources declare an `identity` reads what is new twice: once to link identifiers that mean one person and to
//! note what records say of people, and once to write. So the first row of a person is written with the same token as the last,
//! in whatever format they came.

use cordon_deid::survey::Survey;
use cordon_phi::{Dossiers, Identifier, IdentityStore, KnownFacts, Token};

use crate::error::RunError;

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
