//! vault

pub mod keyring;

pub use keyring::{KeyRing, KeyRingError, KeyStatus, RootSecret, TABLE_MASTER_KEYS};
