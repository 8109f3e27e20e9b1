//! How the made-up name of each subject is drawn: a woman's given name for a woman, and never a name of her own.
//!
//! What a subject's records say is asked once, when the first of the subject's names is made up; what follows from it stays in the
//! dossier, so that no later record, run or merge changes a name. Where there are no dossiers, and for people who are no subjects,
//! given names are drawn from all.

use arrow_array::builder::StringViewBuilder;
use arrow_array::{Array, StringViewArray};
use cordon_crypto::KeyedHash;
use cordon_phi::{Dossiers, IdentifierKind, KnownFacts, NameDraw, Sex, Token, TokenError, Whose};
use hashbrown::{HashMap, HashSet};

use super::narrative::person::{OTHERS, fold_words};
use super::surrogate::{family_name, given_name};
use super::text::trimmed;
use super::{Column, Env, KernelError, base32, tokens_of};

/// Draws that may be passed over. That all give a name of the subject's own does not happen by chance.
const MOST_SKIPS: u8 = 16;

/// Stands behind the token of somebody who is no subject: there is no dossier to ask.
const OTHER: char = '+';

/// What the made-up values of people who are not subjects follow from, by their identities.
pub(crate) fn seeds_of_others(identities: &StringViewArray, env: &Env) -> Result<StringViewArray, KernelError> {
    let tokens = tokens_of(identities, OTHERS, env)?;
    let mut out = StringViewBuilder::with_capacity(tokens.len());
    let mut seed = String::new();
    for token in &tokens {
        seed.clear();
        seed.extend(token);
        seed.push(OTHER);
        out.append_option(token.map(|_| &seed));
    }
    Ok(out.finish())
}

/// How names are drawn, by subject.
#[derive(Default)]
pub(super) struct Draws<'a>(HashMap<&'a str, NameDraw>);

impl<'a> Draws<'a> {
    /// Of all whose values stand in a column.
    pub(super) fn of(column: &Column<'a>, env: &Env) -> Result<Self, KernelError> {
        let Some(dossiers) = &env.dossiers else { return Ok(Self::default()) };
        let mut seen: HashSet<&str> = HashSet::new();
        let (mut subjects, mut tokens) = (Vec::new(), Vec::new());
        let mut last = "";
        for (row, value) in column.values.iter().enumerate() {
            if value.is_none_or(|value| trimmed(value).is_empty()) {
                continue;
            }
            let Some(subject) = column.subject(row).filter(|subject| *subject != last) else { continue };
            last = subject;
            if let Some(bits) = base32::read(subject)
                && seen.insert(subject)
            {
                subjects.push(subject);
                tokens.push(Token(bits));
            }
        }
        let draws = decided(&tokens, dossiers.as_ref(), &env.keys.surrogate)?;
        Ok(Self(subjects.into_iter().zip(draws).collect()))
    }

    pub(super) fn get(&self, subject: &str) -> NameDraw {
        self.0.get(subject).copied().unwrap_or_default()
    }
}

/// How the name of each subject is drawn; decides where that is not yet.
pub(super) fn decided(
    subjects: &[Token],
    dossiers: &dyn Dossiers,
    key: &KeyedHash,
) -> Result<Vec<NameDraw>, KernelError> {
    let lost = || TokenError::Damaged("it gave another number of dossiers than it was asked for".to_owned());
    let mut draws = Vec::with_capacity(subjects.len());
    dossiers.draws(subjects, &mut draws)?;
    if draws.len() != subjects.len() {
        return Err(lost().into());
    }
    let asked = subjects.iter().zip(&draws);
    let new: Vec<Token> = asked.filter(|(_, draw)| draw.is_none()).map(|(token, _)| *token).collect();
    let mut fresh = Vec::with_capacity(new.len());
    if !new.is_empty() {
        let mut known = Vec::with_capacity(new.len());
        dossiers.known(&new, &mut known)?;
        if known.len() != new.len() {
            return Err(lost().into());
        }
        fresh.extend(new.iter().zip(&known).map(|(token, known)| first_draw(*token, known, key)));
        dossiers.decide(&new, &mut fresh)?;
    }
    let mut fresh = fresh.into_iter();
    Ok(draws.into_iter().map(|draw| draw.or_else(|| fresh.next()).unwrap_or_default()).collect())
}

fn first_draw(token: Token, known: &KnownFacts, key: &KeyedHash) -> NameDraw {
    let mut own: HashSet<String> = HashSet::new();
    let (mut female, mut male) = (false, false);
    for fact in known.iter().filter(|fact| fact.whose == Whose::Subject) {
        match fact.kind {
            IdentifierKind::Name => fold_words(fact.text, |word| {
                own.insert(word.to_owned());
            }),
            IdentifierKind::Demographic => {
                female |= fact.text == Sex::Female.text();
                male |= fact.text == Sex::Male.text();
            }
            _ => {}
        }
    }
    // Records that do not agree say nothing.
    let sex = match (female, male) {
        (true, false) => Some(Sex::Female),
        (false, true) => Some(Sex::Male),
        _ => None,
    };
    let spelled = base32::spell(token.0);
    let subject = std::str::from_utf8(&spelled).unwrap_or_default();
    let skips = |name: &dyn Fn(u8) -> &'static str| {
        let is_own = |skips: u8| own.contains(&name(skips).to_ascii_lowercase());
        (0..MOST_SKIPS).find(|skips| !is_own(*skips)).unwrap_or(MOST_SKIPS)
    };
    NameDraw {
        sex,
        given_skips: skips(&|given_skips| given_name(key, subject, NameDraw { sex, given_skips, family_skips: 0 })),
        family_skips: skips(&|family_skips| family_name(key, subject, NameDraw { sex, given_skips: 0, family_skips })),
    }
}
