//! Authenticated encryption of one value: AES-256-GCM (SP 800-38D) with a random 96-bit nonce.
//!
//! Sealed form: nonce (12) ‖ ciphertext ‖ tag (16). One key may seal 2³² values (SP 800-38D, section 8.3):
//! a key that seals more, or whole files, goes through [`crate::SealedWriter`], which derives one per file.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::{CryptoError, PurposeKey, random_bytes};

pub(crate) const NONCE: usize = 12;
pub(crate) const TAG: usize = 16;

/// Seals `plaintext`; `aad` says what it is and must be the same to open it.
pub fn seal(key: &[u8; 32], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
    Sealer::new(key).seal(aad, plaintext)
}

/// Opens what [`seal()`] made.
pub fn open(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
    Sealer::new(key).open(aad, sealed)
}

/// A key made ready once, for many values.
///
/// The expanded key inside of ring's type is not wiped when dropped, which ring offers no way to do: whoever can read the
/// process's memory can read the key while it is in use anyway, and core dumps must be off (`docs/operations.md`).
pub struct Sealer(LessSafeKey);

impl Sealer {
    pub fn new(key: &[u8; 32]) -> Self {
        Self(aead_key(key))
    }

    pub fn for_key<K: PurposeKey>(key: &K) -> Self {
        Self::new(key.dangerous_expose())
    }

    pub fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let mut nonce = [0; NONCE];
        random_bytes(&mut nonce)?;
        self.dangerous_seal_with_nonce(nonce, aad, plaintext)
    }

    /// With a nonce of the caller's. Two values under one nonce lose both and the key's integrity with them.
    pub fn dangerous_seal_with_nonce(
        &self,
        nonce: [u8; NONCE],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let mut sealed = Vec::with_capacity(NONCE + plaintext.len() + TAG);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plaintext);
        let body = sealed.get_mut(NONCE..).unwrap_or_default();
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), body)
            .map_err(|_| CryptoError::TooLong { what: "AES-GCM" })?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let (nonce, body) = sealed.split_first_chunk().ok_or(CryptoError::Malformed { what: "sealed value" })?;
        if body.len() < TAG {
            return Err(CryptoError::Malformed { what: "sealed value" });
        }
        let mut body = body.to_vec();
        let length = self
            .0
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(aad), &mut body)
            .map_err(|_| CryptoError::Authentication)?
            .len();
        body.truncate(length);
        Ok(body)
    }
}

#[expect(clippy::expect_used, reason = "ring refuses only keys of another length")]
pub(crate) fn aead_key(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn opens_only_with_its_key_and_its_context() {
        let sealed = seal(&[1; 32], b"context", b"value").unwrap();
        assert_eq!(open(&[1; 32], b"context", &sealed).unwrap(), b"value");
        assert_eq!(open(&[2; 32], b"context", &sealed), Err(CryptoError::Authentication));
        assert_eq!(open(&[1; 32], b"other", &sealed), Err(CryptoError::Authentication));
    }

    #[test]
    fn equal_values_are_sealed_to_different_bytes() {
        assert_ne!(seal(&[1; 32], b"", b"v").unwrap(), seal(&[1; 32], b"", b"v").unwrap());
    }

    #[test]
    fn no_bit_may_change_and_no_byte_may_go() {
        let sealed = seal(&[1; 32], b"", b"value").unwrap();
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(open(&[1; 32], b"", &damaged), Err(CryptoError::Authentication));
            assert!(open(&[1; 32], b"", &sealed[..at]).is_err());
        }
    }
}
