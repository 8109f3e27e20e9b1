//! The nouns of protected health information (PHI) that every other room shares.
//!
//! This crate exists so that "what kind of identifier is this" and "which HIPAA method applies" are
//! types, decided once, and never strings that two rooms spell differently. It refuses to hold any
//! rule about *what is done* with an identifier (that is `cordon-deid`), to do I/O, and to show a
//! protected value: [`Phi`] has no `Debug`, `Display` or `Serialize`.
//!
//! ```
//! use cordon_phi::{IdentifierKind, KeyClass, Phi, SafeHarborClause};
//!
//! let kind: IdentifierKind = "birth-date".parse()?;
//! assert_eq!(kind.clause(), Some(SafeHarborClause::C));
//! assert_eq!(kind.key_class(), KeyClass::Quasi);
//!
//! let name = Phi::new(String::from("value"));
//! assert_eq!(name.expose_phi().len(), 5); // the one visible point of use
//! # Ok::<(), cordon_phi::UnknownKind>(())
//! ```

mod kind;
mod known;
mod method;
mod secret;
mod token;

pub use kind::{IdentifierKind, KeyClass, SafeHarborClause, UnknownKind};
pub use known::{Dossiers, Identifier, IdentityStore, Known, KnownFacts, Linked, NameDraw, Sex, Whose};
pub use method::Method;
pub use secret::{Phi, SubjectId};
pub use token::{RECIPIENT_DOMAINS, Token, TokenError, TokenStore};
