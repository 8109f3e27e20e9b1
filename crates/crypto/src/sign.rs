//! Signatures: Ed25519 (RFC 8032). Verified without the secret, so that an auditor needs nothing of ours.

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::{AuditSigningSeed, CryptoError};

/// Signs. Made from a 32-byte seed, which is what a key ring keeps. As [`crate::Sealer`], not wiped when dropped.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    #[expect(clippy::expect_used, reason = "ring refuses only seeds of another length")]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("32 bytes"))
    }

    pub fn for_audit(seed: &AuditSigningSeed) -> Self {
        Self::from_seed(seed.dangerous_expose())
    }

    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        for (to, from) in out.iter_mut().zip(self.0.sign(message).as_ref()) {
            *to = *from;
        }
        out
    }

    pub fn verifying_key(&self) -> VerifyingKey {
        let mut out = [0; 32];
        for (to, from) in out.iter_mut().zip(self.0.public_key().as_ref()) {
            *to = *from;
        }
        VerifyingKey(out)
    }
}

/// The key that signs now, and those before it: whoever changes keys has the old one vouch for the new one.
pub struct SigningKeys {
    older: Vec<SigningKey>,
    newest: SigningKey,
}

impl SigningKeys {
    /// The oldest first; `None` where there is none.
    pub fn new(keys: impl IntoIterator<Item = SigningKey>) -> Option<Self> {
        let mut older: Vec<SigningKey> = keys.into_iter().collect();
        let newest = older.pop()?;
        Some(Self { older, newest })
    }

    pub fn newest(&self) -> &SigningKey {
        &self.newest
    }

    /// The key whose signatures `verifying` verifies.
    pub fn of(&self, verifying: &VerifyingKey) -> Option<&SigningKey> {
        self.older.iter().chain([&self.newest]).find(|key| key.verifying_key() == *verifying)
    }

    /// The oldest first.
    pub fn verifying_keys(&self) -> Vec<VerifyingKey> {
        self.older.iter().chain([&self.newest]).map(SigningKey::verifying_key).collect()
    }
}

impl From<SigningKey> for SigningKeys {
    fn from(newest: SigningKey) -> Self {
        Self { older: Vec::new(), newest }
    }
}

/// What may be published: tells whether a signature is the signer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyingKey(pub [u8; 32]);

impl VerifyingKey {
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).map_err(|_| CryptoError::Authentication)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use data_encoding::HEXLOWER;

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn agrees_with_the_rfc() {
        let seed = HEXLOWER.decode(b"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap();
        let key = SigningKey::from_seed(seed.as_slice().try_into().unwrap());
        assert_eq!(
            HEXLOWER.encode(&key.verifying_key().0),
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
        );
        assert_eq!(
            HEXLOWER.encode(&key.sign(&[0x72])),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
    }

    #[test]
    fn verifies_only_what_was_signed_by_whom() {
        let key = SigningKey::from_seed(&[1; 32]);
        let signature = key.sign(b"message");
        assert_eq!(key.verifying_key().verify(b"message", &signature), Ok(()));
        assert!(key.verifying_key().verify(b"massage", &signature).is_err());
        let other = SigningKey::from_seed(&[2; 32]).verifying_key();
        assert!(other.verify(b"message", &signature).is_err());
        assert!(key.verifying_key().verify(b"message", &[0; 63]).is_err());
    }
}
