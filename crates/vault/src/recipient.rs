//! Tokens of a recipient: what one research project is given, and no other can join with its own.
//!
//! A recipient's token is a random token of the project's own token, remembered in the same vault under a domain that names the
//! recipient. So who is who is known once, below; what is published differs, and only the vault leads from one to the other.
//! What follows from a person (shifts, made-up names) follows from the project's own token, under keys of the recipient, and dossiers
//! stand under it; how a made-up name is drawn depends on the recipient's keys too and so stands under the recipient's token.

use std::{collections::HashMap, sync::Arc};

use cordon_phi::{Dossiers, KnownFacts, NameDraw, RECIPIENT_DOMAINS, Token, TokenError, TokenStore};

use crate::{seam::Vault, store::VaultError};

/// So often a batch is asked for again when persons are destroyed meanwhile.
const ATTEMPTS: usize = 8;

/// The domain of a recipient's tokens.
pub fn domain_of(recipient: &str) -> String {
    format!("{RECIPIENT_DOMAINS}{recipient}")
}

/// Whose tokens a domain holds, where it is a recipient's.
pub fn recipient_of(domain: &str) -> Option<&str> {
    domain.strip_prefix(RECIPIENT_DOMAINS)
}

/// One token that a recipient was given.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    pub recipient: &'a str,
    pub token: Token,
    /// The project's own token, as it was then.
    pub own: Token,
}

impl<'a> Given<'a> {
    /// Of an entry of the vault: the value is a token.
    pub(crate) fn of(domain: &'a str, token: Token, value: &[u8]) -> Option<Self> {
        Some(Self { recipient: recipient_of(domain)?, token, own: Token(value.try_into().ok()?) })
    }
}

/// The project's own token behind each of `tokens`, and whose they are; `None` where a token is no recipient's. Reads all tokens of all
/// recipients.
pub fn owners(vault: &dyn Vault, tokens: &[Token]) -> Result<Vec<Option<(String, Token)>>, VaultError> {
    let mut found: HashMap<Token, Option<(String, Token)>> = tokens.iter().map(|token| (*token, None)).collect();
    vault.each_given(None, &mut |given| {
        if let Some(place) = found.get_mut(&given.token) {
            *place = Some((given.recipient.to_owned(), given.own));
        }
    })?;
    Ok(tokens.iter().map(|token| found.get(token).cloned().flatten()).collect())
}

/// The project's own tokens in the place of those that recipients were given. Reads all tokens of all recipients.
pub(crate) fn own_of(vault: &dyn Vault, tokens: &[Token]) -> Result<Vec<Token>, VaultError> {
    let mut own = tokens.to_vec();
    vault.each_given(None, &mut |given| {
        own.iter_mut().filter(|token| **token == given.token).for_each(|token| *token = given.own);
    })?;
    Ok(own)
}

/// The token that a recipient has of the person of each of `own`; `None` where it has none, and none is made. Reads all tokens of
/// the recipient.
pub fn given_to(vault: &dyn Vault, recipient: &str, own: &[Token]) -> Result<Vec<Option<Token>>, TokenError> {
    let mut roots = own.to_vec();
    vault.roots(&mut roots)?;
    let mut wanted: HashMap<Token, Vec<u32>> = HashMap::with_capacity(own.len());
    vault.members_of(&roots, &mut |number, member| wanted.entry(member).or_default().push(number))?;
    let mut found: Vec<Option<Token>> = vec![None; own.len()];
    vault.each_given(Some(recipient), &mut |given| {
        for number in wanted.get(&given.own).into_iter().flatten() {
            let (Some(place), Some(root)) = (found.get_mut(*number as usize), roots.get(*number as usize)) else {
                continue;
            };
            // What is written now is of the token that stands for the person; an older one may be left where files are gone.
            if place.is_none() || given.own == *root {
                *place = Some(given.token);
            }
        }
    })?;
    Ok(found)
}

/// A vault that gives out the tokens of one recipient.
pub struct RecipientTokens {
    vault: Arc<dyn Vault>,
    domain: String,
}

impl RecipientTokens {
    pub fn new(vault: Arc<dyn Vault>, recipient: &str) -> Self {
        Self { vault, domain: domain_of(recipient) }
    }

    /// Appends the recipient's token of each of the project's own.
    fn give(&self, own: &[Token], out: &mut Vec<Token>) -> Result<(), TokenError> {
        let values: Vec<&[u8]> = own.iter().map(|Token(bits)| bits.as_slice()).collect();
        self.vault.get_or_create(&self.domain, &values, out)
    }
}

impl TokenStore for RecipientTokens {
    fn get_or_create(&self, domain: &str, values: &[&[u8]], out: &mut Vec<Token>) -> Result<(), TokenError> {
        let before = out.len();
        let mut own = Vec::with_capacity(values.len());
        for _ in 0..ATTEMPTS {
            own.clear();
            out.truncate(before);
            let shreds = self.vault.shreds()?;
            self.vault.get_or_create(domain, values, &mut own)?;
            self.give(&own, out)?;
            // Of somebody who was destroyed in between, the second step made a token of what nothing stands behind any more:
            // nobody has seen it, and nobody will.
            if self.vault.shreds()? == shreds {
                return Ok(());
            }
        }
        out.truncate(before);
        Err(TokenError::Unavailable("persons are being destroyed without a pause; run it again".to_owned()))
    }

    fn get_or_create_own(&self, domain: &str, values: &[&[u8]], out: &mut Vec<Token>) -> Result<(), TokenError> {
        self.vault.get_or_create(domain, values, out)
    }
}

/// Dossiers as they are used for one recipient: its made-up names are drawn by its own keys.
pub struct RecipientDossiers {
    dossiers: Arc<dyn Dossiers>,
    tokens: Arc<RecipientTokens>,
}

impl RecipientDossiers {
    pub fn new(dossiers: Arc<dyn Dossiers>, tokens: Arc<RecipientTokens>) -> Self {
        Self { dossiers, tokens }
    }

    fn given(&self, subjects: &[Token]) -> Result<Vec<Token>, TokenError> {
        let mut given = Vec::with_capacity(subjects.len());
        self.tokens.give(subjects, &mut given)?;
        Ok(given)
    }
}

impl Dossiers for RecipientDossiers {
    fn add(&self, subjects: &[Token], facts: &KnownFacts) -> Result<(), TokenError> {
        self.dossiers.add(subjects, facts)
    }

    fn known(&self, subjects: &[Token], out: &mut Vec<KnownFacts>) -> Result<(), TokenError> {
        self.dossiers.known(subjects, out)
    }

    fn draws(&self, subjects: &[Token], out: &mut Vec<Option<NameDraw>>) -> Result<(), TokenError> {
        self.dossiers.draws(&self.given(subjects)?, out)
    }

    fn decide(&self, subjects: &[Token], draws: &mut [NameDraw]) -> Result<(), TokenError> {
        self.dossiers.decide(&self.given(subjects)?, draws)
    }
}
