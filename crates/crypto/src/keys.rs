//! Keys as types: a function that takes a [`VaultKey`] cannot be handed an [`FpeKey`].

use zeroize::Zeroize;

use crate::CryptoError;

/// A 32-byte key that is good for exactly one purpose.
pub trait PurposeKey: Sized {
    /// The name under which a key ring keeps it. Part of what is stored: never change one.
    const PURPOSE: &'static str;

    fn from_bytes(bytes: [u8; 32]) -> Self;

    /// The key itself. Whoever calls this must not let it outlive the call.
    fn dangerous_expose(&self) -> &[u8; 32];
}

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident = $purpose:literal;)*) => {
        $(
            $(#[$doc])*
            ///
            /// Wiped when dropped; not `Clone`, not `Debug`, not `Serialize`.
            pub struct $name(Box<[u8; 32]>); // boxed: moving a key leaves no copy of it on the stack

            impl $name {
                pub const PURPOSE: &'static str = $purpose;

                pub fn from_bytes(mut bytes: [u8; 32]) -> Self {
                    let key = Self(Box::new(bytes));
                    bytes.zeroize();
                    key
                }

                /// A new random key.
                ///
                /// # Panics
                /// When the operating system has no random bytes: to go on without them would be worse.
                pub fn generate() -> Self {
                    let mut key = Self(Box::new([0; 32]));
                    fill_or_stop(&mut key.0);
                    key
                }

                /// The key itself. Whoever calls this must not let it outlive the call.
                pub fn dangerous_expose(&self) -> &[u8; 32] {
                    &self.0
                }
            }

            impl PurposeKey for $name {
                const PURPOSE: &'static str = $purpose;

                fn from_bytes(bytes: [u8; 32]) -> Self {
                    Self::from_bytes(bytes)
                }

                fn dangerous_expose(&self) -> &[u8; 32] {
                    self.dangerous_expose()
                }
            }

            impl Drop for $name {
                fn drop(&mut self) {
                    self.0.zeroize();
                }
            }
        )*

        #[cfg(test)]
        const PURPOSES: &[&str] = &[$($purpose,)*];
    };
}

keys! {
    /// Everything else is wrapped under keys derived from this one; it is never stored.
    RootKey = "root";
    /// Finds a value in the token vault without showing it.
    BlindIndexKey = "blind-index";
    /// Seals the values behind the tokens.
    VaultKey = "vault";
    /// Seals the file of the keys of single persons.
    SubjectSealKey = "subject-keys";
    /// How many days each subject's dates move.
    DateShiftKey = "date-shift";
    /// Which realistic value stands for a real one.
    SurrogateKey = "surrogate";
    /// Keyed pseudonyms of `hash` actions.
    HashKey = "hash";
    /// Format-preserving encryption.
    FpeKey = "fpe";
    /// Seals state: checkpoints, quarantine, spill files.
    SealKey = "seal";
    /// Wraps the data keys of encrypted tables.
    TableMasterKey = "table-master";
    /// Seals what the audit log says about people.
    AuditSealKey = "audit-seal";
    /// The seed of the Ed25519 key that signs the audit log.
    AuditSigningSeed = "audit-signing";
}

#[expect(clippy::expect_used, reason = "no randomness, no keys")]
fn fill_or_stop(out: &mut [u8; 32]) {
    getrandom::fill(out).expect("random bytes of the operating system");
}

/// Fills `out` from the operating system: for salts, identifiers and nonces.
pub fn random_bytes(out: &mut [u8]) -> Result<(), CryptoError> {
    getrandom::fill(out).map_err(|_| CryptoError::Randomness)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_purpose_has_its_own_name() {
        let distinct: BTreeSet<_> = PURPOSES.iter().collect();
        assert_eq!(distinct.len(), PURPOSES.len());
    }

    #[test]
    fn generated_keys_differ() {
        let (one, other) = (VaultKey::generate(), VaultKey::generate());
        assert_ne!(one.dangerous_expose(), other.dangerous_expose());
        assert_ne!(one.dangerous_expose(), &[0; 32]);
    }

    #[test]
    fn bytes_in_are_bytes_out() {
        assert_eq!(FpeKey::from_bytes([7; 32]).dangerous_expose(), &[7; 32]);
    }
}
