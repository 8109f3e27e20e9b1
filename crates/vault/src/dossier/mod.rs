//! What records say of each person, kept until notes are read: names, addresses, numbers, and whose they are. In a folder
//! ([`DossierStore`]), beside a vault in one, or in the database of a vault ([`crate::PostgresDossiers`]); here is what both do alike, and the folder:
//!
//! | file | what | if it is damaged |
//! |---|---|---|
//! | `run-NNNNNNNN` | people in order of their tokens, in sealed blocks | an error |
//! | `MANIFEST` | which runs there are | an error |
//! | `lock` | empty; held (`flock`) by the process that writes | |
//!
//! Facts are added to memory (bounded); when that is full, or at a [`DossierStore::sync`], they become a run. Runs of one
//! size are merged, and of equal facts one stays. (In a database they are added to the rows of their people.) Of a person the 512 newest facts are kept, and at most 64 KiB of them: a
//! number that thousands of records share by mistake must not cost more with every record. Those that come again with each
//! record, as names do, stay new. A text of more than 1 KiB is no identifier and is not kept.
//!
//! Facts stand under the token that stood for the person when they were added. What is known of a person is what
//! stands under any token that was ever theirs, which the vault knows.
//!
//! Beside the facts stands how the person's made-up name is drawn, decided when the person is first written. It belongs to the one
//! token that the name follows from: when two people turn out to be one, the name of the token that stands for both stays. Where two
//! processes decide it at the same time in a folder, the second to write fails ([`crate::VaultError::Overtaken`]); in a database it takes
//! over what the first decided.
//!
//! Nothing is in clear on disk, neither texts nor tokens. Files are sealed under keys that derive from the vault's, for this one
//! vault; in them what is known of a person is under a key of that person's own, which [`crate::TokenVault::shred`] destroys.
//!
//! ```
//! # use cordon_crypto::{BlindIndexKey, VaultKey};
//! use cordon_phi::{Dossiers, IdentifierKind, KnownFacts, TokenStore, Whose};
//! use cordon_vault::{DossierOptions, DossierStore, TokenVault, VaultKeys, VaultOptions};
//!
//! # let scratch = tempfile::tempdir()?;
//! # let subjects = std::sync::Arc::new(cordon_vault::SubjectKeys::create(
//! #     &scratch.path().join("subject-keys"), &cordon_crypto::SubjectSealKey::generate())?);
//! # let keys = VaultKeys { blind: BlindIndexKey::generate(), values: VaultKey::generate() };
//! # let vault = TokenVault::open(&scratch.path().join("vault"), keys, subjects, VaultOptions::default())?;
//! let vault = std::sync::Arc::new(vault);
//! let dossiers = DossierStore::open(&scratch.path().join("dossiers"), vault.clone(), DossierOptions::default())?;
//!
//! let mut subjects = Vec::new();
//! vault.get_or_create("mrn", &[b"A-17"], &mut subjects)?;
//! let mut facts = KnownFacts::default();
//! facts.push(IdentifierKind::City, Whose::Subject, "Springfield");
//! dossiers.add(&subjects, &facts)?;
//!
//! let mut known = Vec::new();
//! dossiers.known(&subjects, &mut known)?;
//! assert_eq!(known[0].len(), 1);
//! dossiers.sync()?; // before the records count as read
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod buffer;
pub(crate) mod facts;
mod folder;
pub(crate) mod keeper;
mod manifest;
pub(crate) mod pieces;
mod rekey;
mod run;

use serde::{Deserialize, Serialize};

pub use self::folder::Folder;
use self::keeper::Keeper;

/// Sizes.
#[derive(Clone, Debug)]
pub struct DossierOptions {
    /// Facts not yet on disk, in bytes of memory, or so. At most 2 GiB.
    pub memory_bytes: usize,
    /// So many runs of one size become one of the next.
    pub fan_in: usize,
}

impl Default for DossierOptions {
    fn default() -> Self {
        Self { memory_bytes: 64 << 20, fan_in: 6 }
    }
}

/// What a store holds, without naming anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DossierStats {
    pub runs: usize,
    /// Dossiers in all runs: a person who is in two counts twice.
    pub people: u64,
    pub bytes: u64,
}

/// A place in the history of one store.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DossierMark {
    store: String,
    generation: u64,
}

/// Dossiers in a folder, beside a vault in one.
pub type DossierStore = Keeper<Folder>;
