//! Tokens and the secrets behind them, kept on local disk or in PostgreSQL.
//!
//! This crate exists because a Safe Harbor pseudonym must not be derived from the person it stands for (164.514(c)):
//! somebody has to remember which random token was given to whom, for years, for a hundred million people, and
//! without ever giving one person two. [`TokenVault`] is that memory: one directory, no server beside it, several
//! processes at once. [`PostgresVault`] is the same in a database, for several machines. A vault also knows which identifiers are one person's ([`cordon_phi::IdentityStore`]), and a
//! [`DossierStore`] beside it, or [`PostgresDossiers`], what records say of that person. [`KeyRing`] holds the keys of this and every other room, wrapped under one root.
//!
//! It refuses to derive a token from a value, to write a value or a domain's name in clear, to go on over damage in
//! its log, and to name a value in an error.
//!
//! ```
//! use cordon_crypto::{BlindIndexKey, SubjectSealKey, VaultKey};
//! use cordon_phi::TokenStore;
//! use cordon_vault::{SubjectKeys, TokenVault, VaultKeys, VaultOptions};
//!
//! # let scratch = tempfile::tempdir()?;
//! # let dir = scratch.path().join("vault");
//! let subjects = SubjectKeys::create(&scratch.path().join("subject-keys"), &SubjectSealKey::generate())?;
//! let keys = VaultKeys { blind: BlindIndexKey::generate(), values: VaultKey::generate() };
//! let vault = TokenVault::open(&dir, keys, subjects.into(), VaultOptions::default())?;
//!
//! let mut tokens = Vec::new();
//! vault.get_or_create("mrn", &[b"A-17", b"B-42", b"A-17"], &mut tokens)?;
//! assert!(tokens[0] == tokens[2] && tokens[0] != tokens[1]);
//!
//! vault.sync()?; // before anything that holds these tokens is handed out
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod dossier;
pub mod keyring;
pub mod recipient;
mod seam;
mod store;
pub mod subject_keys;

pub use dossier::{DossierMark, DossierOptions, DossierStats, DossierStore};
pub use keyring::{KeyRing, KeyRingError, KeyStatus, KeyVersion, RootSecret, StoredRoot, TABLE_MASTER_KEYS};
pub use seam::{DossierKeeper, Mark, Vault};
pub use store::postgres::{self, PostgresConfig, PostgresDossiers, PostgresVault};
pub use store::{RekeyStep, Rekeyed};
pub use store::{Shredded, TokenVault, VaultError, VaultKeys, VaultMark, VaultOptions, VaultStats, VerifyReport};
pub use subject_keys::{SubjectKeys, SubjectKeysHead};
