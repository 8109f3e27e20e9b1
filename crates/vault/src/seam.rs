//! What the rooms above ask of a vault and of dossiers, wherever these are kept.

use cordon_phi::{Dossiers, IdentityStore, Phi, Token};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    dossier::{DossierMark, DossierStats, DossierStore},
    recipient::Given,
    store::{TokenVault, VaultError, VaultMark, VaultStats, VerifyReport},
};

/// A place in the history of a vault or of dossiers, in the words of the kind that made it. Those who keep it give it back later,
/// to hear whether the store is still the same and no older copy.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    kind: String,
    at: serde_json::Value,
}

impl Mark {
    pub(crate) fn new(kind: &str, at: &impl Serialize) -> Self {
        // What cannot be written down is found nowhere again.
        Self { kind: kind.to_owned(), at: serde_json::to_value(at).unwrap_or_default() }
    }

    /// Nothing of a mark that another kind of store made.
    pub(crate) fn read<T: DeserializeOwned>(&self, kind: &str) -> Option<T> {
        (self.kind == kind).then(|| serde_json::from_value(self.at.clone()).ok()).flatten()
    }
}

/// Random tokens for values, remembered; one token for all identifiers of one person.
pub trait Vault: IdentityStore {
    /// Returns when every token that this vault has given out is on disk. Call it before anything that holds these tokens
    /// is handed out.
    fn sync(&self) -> Result<(), VaultError>;

    /// Where the vault stands.
    fn mark(&self) -> Result<Mark, VaultError>;

    /// Whether everything that was in the vault when `mark` was taken is in it.
    fn contains(&self, mark: &Mark) -> Result<bool, VaultError>;

    /// Every value that `token` stands for in `domain`, in the order in which they were seen, under whichever token of the
    /// person they were. Reads all that the domain has: a rare act of two persons, not a query. Whoever calls it writes the
    /// audit entry first.
    fn reveal_all(&self, domain: &str, token: &Token) -> Result<Vec<Phi<String>>, VaultError>;

    /// The first of [`Self::reveal_all`].
    fn reveal(&self, domain: &str, token: &Token) -> Result<Option<Phi<String>>, VaultError> {
        Ok(self.reveal_all(domain, token)?.into_iter().next())
    }

    /// Shows every token that a recipient, or any, was given, with what it was made of. Reads all of them.
    fn each_given(&self, recipient: Option<&str>, each: &mut dyn FnMut(Given<'_>)) -> Result<(), VaultError>;

    /// Shows every token of the person of each of `tokens`: `each` gets the number of the one and the other.
    fn members_of(&self, tokens: &[Token], each: &mut dyn FnMut(u32, Token)) -> Result<(), VaultError>;

    /// Goes up whenever persons are destroyed.
    fn shreds(&self) -> Result<u64, VaultError>;

    fn stats(&self) -> Result<VaultStats, VaultError>;

    /// Reads everything and checks it; the first damage is the error.
    fn verify(&self) -> Result<VerifyReport, VaultError>;
}

/// What records say of each person, kept beside a vault.
pub trait DossierKeeper: Dossiers {
    /// Returns when everything that was added is on disk: records count as read after this.
    fn sync(&self) -> Result<(), VaultError>;

    /// Where the dossiers stand, after a [`Self::sync`].
    fn mark(&self) -> Result<Mark, VaultError>;

    /// Whether everything that was in the dossiers when `mark` was taken is in them, as far as this kind can tell.
    fn contains(&self, mark: &Mark) -> Result<bool, VaultError>;

    fn stats(&self) -> Result<DossierStats, VaultError>;

    /// Reads everything and checks it; the first damage is the error.
    fn verify(&self) -> Result<DossierStats, VaultError>;
}

const EMBEDDED: &str = "embedded";

impl Vault for TokenVault {
    fn sync(&self) -> Result<(), VaultError> {
        self.sync()
    }

    fn mark(&self) -> Result<Mark, VaultError> {
        Ok(Mark::new(EMBEDDED, &self.mark()?))
    }

    fn contains(&self, mark: &Mark) -> Result<bool, VaultError> {
        mark.read::<VaultMark>(EMBEDDED).map_or(Ok(false), |mark| self.contains(&mark))
    }

    fn reveal_all(&self, domain: &str, token: &Token) -> Result<Vec<Phi<String>>, VaultError> {
        self.reveal_all(domain, token)
    }

    fn reveal(&self, domain: &str, token: &Token) -> Result<Option<Phi<String>>, VaultError> {
        self.reveal(domain, token)
    }

    fn each_given(&self, recipient: Option<&str>, each: &mut dyn FnMut(Given<'_>)) -> Result<(), VaultError> {
        self.each_given(recipient, each)
    }

    fn members_of(&self, tokens: &[Token], each: &mut dyn FnMut(u32, Token)) -> Result<(), VaultError> {
        self.see_merges()?;
        self.members(tokens, each);
        Ok(())
    }

    fn shreds(&self) -> Result<u64, VaultError> {
        self.subjects.refresh()
    }

    fn stats(&self) -> Result<VaultStats, VaultError> {
        self.stats()
    }

    fn verify(&self) -> Result<VerifyReport, VaultError> {
        self.verify()
    }
}

impl DossierKeeper for DossierStore {
    fn sync(&self) -> Result<(), VaultError> {
        self.sync()
    }

    fn mark(&self) -> Result<Mark, VaultError> {
        Ok(Mark::new(EMBEDDED, &self.mark()?))
    }

    fn contains(&self, mark: &Mark) -> Result<bool, VaultError> {
        mark.read::<DossierMark>(EMBEDDED).map_or(Ok(false), |mark| self.contains(&mark))
    }

    fn stats(&self) -> Result<DossierStats, VaultError> {
        self.stats()
    }

    fn verify(&self) -> Result<DossierStats, VaultError> {
        self.verify()
    }
}
