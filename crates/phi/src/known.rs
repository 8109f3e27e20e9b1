//! What records say of a person, and who a person is: the seams of identity and of dossiers.

use zeroize::Zeroize;

use crate::{IdentifierKind, Token, TokenError, TokenStore};

/// Whose identifier a fact is, seen from the subject in whose records it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Whose {
    Subject,
    /// Next of kin, guarantor, emergency contact, subscriber of a dependent.
    Relative,
    Provider,
    /// Employer, hospital, insurer.
    Organization,
}

impl Whose {
    pub const ALL: [Self; 4] = [Self::Subject, Self::Relative, Self::Provider, Self::Organization];
}

/// One identifier that a record gives.
///
/// The text of a name is `given names U+001F family name`, either of which may be empty; a name of unknown order has no
/// U+001F. A date is `YYYY-MM-DD`. All else stands as it was sent.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    pub kind: IdentifierKind,
    pub whose: Whose,
    pub text: &'a str,
}

impl<'a> Known<'a> {
    /// What stands between the given names and the family name.
    pub const BETWEEN_NAMES: char = '\u{1f}';

    /// Given names and family name; of a name of unknown order, all of it and nothing.
    pub fn names(&self) -> (&'a str, &'a str) {
        self.text.split_once(Self::BETWEEN_NAMES).unwrap_or((self.text, ""))
    }
}

/// Facts in a row, wiped when dropped. They hold PHI: no `Debug`.
#[derive(Default)]
pub struct KnownFacts {
    entries: Vec<(IdentifierKind, Whose, u32)>,
    text: String,
}

impl KnownFacts {
    /// A fact without text is none.
    pub fn push(&mut self, kind: IdentifierKind, whose: Whose, text: &str) -> bool {
        let text = text.trim();
        let end = u32::try_from(self.text.len() + text.len());
        let (false, Ok(end)) = (text.is_empty(), end) else { return false };
        self.text.push_str(text);
        self.entries.push((kind, whose, end));
        true
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = Known<'_>> {
        let starts = std::iter::once(0).chain(self.entries.iter().map(|(.., end)| *end));
        self.entries.iter().zip(starts).map(|(&(kind, whose, end), start)| Known {
            kind,
            whose,
            text: self.text.get(start as usize..end as usize).unwrap_or_default(),
        })
    }

    /// Forgets all, and keeps the memory.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.text.zeroize();
    }
}

impl Drop for KnownFacts {
    fn drop(&mut self) {
        self.text.zeroize();
    }
}

/// What a record says of a person's sex, as the text of a fact of kind [`IdentifierKind::Demographic`]: `f`, `m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sex {
    Female,
    Male,
}

impl Sex {
    /// In the codes and words of records: `F`, `male`, an OMOP concept. All else says nothing.
    pub fn read(text: &str) -> Option<Self> {
        const FEMALE: [&str; 5] = ["f", "female", "woman", "w", "8532"];
        const MALE: [&str; 4] = ["m", "male", "man", "8507"];
        let is = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(text.trim()));
        is(&FEMALE).then_some(Self::Female).or_else(|| is(&MALE).then_some(Self::Male))
    }

    pub fn text(self) -> &'static str {
        match self {
            Self::Female => "f",
            Self::Male => "m",
        }
    }
}

/// How a subject's made-up name is drawn, decided when the subject is first written and never again: or a name would change
/// with what later records say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameDraw {
    /// Whose given names it is drawn from; of all, where nothing was known.
    pub sex: Option<Sex>,
    /// So many draws are passed over, which gave a name of the subject's own.
    pub given_skips: u8,
    pub family_skips: u8,
}

/// What is known of each subject, for the narrative: filled while records are read, asked when notes are. Of a person with
/// very many facts it holds the newest, and of a text too long to be an identifier nothing.
pub trait Dossiers: Send + Sync {
    /// Adds facts, the first of the subject with the first token and so on; what a dossier holds already is not added
    /// again.
    fn add(&self, subjects: &[Token], facts: &KnownFacts) -> Result<(), TokenError>;

    /// Appends to `out` the dossier of each of `subjects`, in order: all that was added under any token of the person.
    fn known(&self, subjects: &[Token], out: &mut Vec<KnownFacts>) -> Result<(), TokenError>;

    /// Appends to `out` how the name of each of `subjects` is drawn; `None` where that is not decided.
    fn draws(&self, subjects: &[Token], out: &mut Vec<Option<NameDraw>>) -> Result<(), TokenError>;

    /// Decides how names are drawn, of the first subject by the first of `draws` and so on. Where it was decided before, that
    /// stands, and takes the place of the one in `draws`.
    fn decide(&self, subjects: &[Token], draws: &mut [NameDraw]) -> Result<(), TokenError>;
}

/// An identifier that means a person within its namespace.
#[derive(Clone, Copy)]
pub struct Identifier<'a> {
    /// A token domain: `patient`, `mrn`, `member`.
    pub namespace: &'a str,
    pub value: &'a [u8],
}

/// What linking did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Linked {
    /// Pairs of people who turned out to be one.
    pub merged: u64,
}

/// A store of tokens that knows which identifiers are one person's. The person's token is the token of each of them, in
/// every namespace.
pub trait IdentityStore: TokenStore {
    /// Takes the identifiers of each group for those of one person; `ends` says where each group ends in `identifiers`. Appends to
    /// `out` the token of each group, and of an empty group `None`.
    ///
    /// Where none of a group is known it gets a new token. Where they had different tokens, the oldest (of two that were first
    /// given in one call, the one with the smaller bytes) stands for all from now on, in [`TokenStore::get_or_create`] too.
    /// Groups that share an identifier are one.
    fn link(
        &self,
        identifiers: &[Identifier<'_>],
        ends: &[usize],
        out: &mut Vec<Option<Token>>,
    ) -> Result<Linked, TokenError>;

    /// The token that stands for the person of each token now.
    fn roots(&self, tokens: &mut [Token]) -> Result<(), TokenError>;

    /// How many pairs of people turned out to be one since the store was made: what was written under a smaller number may
    /// hold tokens that are no longer given.
    fn merges(&self) -> Result<u64, TokenError>;
}
