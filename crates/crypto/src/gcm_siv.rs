//! Authenticated encryption that survives a repeated nonce: AES-GCM-SIV (RFC 8452). For a key that seals more than
//! the 2³² values of AES-GCM, or whose machine may be restored from a snapshot and draw the same randomness twice.

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes128GcmSiv, Aes256GcmSiv, KeyInit, Nonce};

use crate::{CryptoError, PurposeKey, random_bytes};

const NONCE: usize = 12;

enum Cipher {
    Aes128(Box<Aes128GcmSiv>),
    Aes256(Box<Aes256GcmSiv>),
}

/// A key made ready for any number of values.
pub struct GcmSiv(Cipher);

impl GcmSiv {
    /// With a key of 16 or 32 bytes.
    pub fn new(key: &[u8]) -> Result<Self, CryptoError> {
        let wrong = |_| CryptoError::KeyLength { algorithm: "AES-GCM-SIV", found: key.len() };
        Ok(Self(if key.len() == 16 {
            Cipher::Aes128(Box::new(Aes128GcmSiv::new_from_slice(key).map_err(wrong)?))
        } else {
            Cipher::Aes256(Box::new(Aes256GcmSiv::new_from_slice(key).map_err(wrong)?))
        }))
    }

    pub fn for_key<K: PurposeKey>(key: &K) -> Result<Self, CryptoError> {
        Self::new(key.dangerous_expose())
    }

    /// Nonce (12, random) ‖ ciphertext ‖ tag (16).
    pub fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let mut nonce = [0; NONCE];
        random_bytes(&mut nonce)?;
        self.seal_with_nonce(nonce, aad, plaintext)
    }

    /// With a nonce of the caller's. One that repeats shows only whether the same value was sealed twice.
    pub fn seal_with_nonce(&self, nonce: [u8; NONCE], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let payload = Payload { msg: plaintext, aad };
        let body = match &self.0 {
            Cipher::Aes128(cipher) => cipher.encrypt(&Nonce::from(nonce), payload),
            Cipher::Aes256(cipher) => cipher.encrypt(&Nonce::from(nonce), payload),
        }
        .map_err(|_| CryptoError::TooLong { what: "AES-GCM-SIV" })?;
        Ok([nonce.as_slice(), &body].concat())
    }

    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let (nonce, msg) =
            sealed.split_first_chunk::<NONCE>().ok_or(CryptoError::Malformed { what: "sealed value" })?;
        let payload = Payload { msg, aad };
        match &self.0 {
            Cipher::Aes128(cipher) => cipher.decrypt(&Nonce::from(*nonce), payload),
            Cipher::Aes256(cipher) => cipher.decrypt(&Nonce::from(*nonce), payload),
        }
        .map_err(|_| CryptoError::Authentication)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn opens_only_with_its_key_and_its_context() {
        let cipher = GcmSiv::new(&[1; 32]).unwrap();
        let sealed = cipher.seal(b"context", b"value").unwrap();
        assert_eq!(cipher.open(b"context", &sealed).unwrap(), b"value");
        assert_eq!(cipher.open(b"other", &sealed), Err(CryptoError::Authentication));
        let other = GcmSiv::new(&[2; 32]).unwrap();
        assert_eq!(other.open(b"context", &sealed), Err(CryptoError::Authentication));
        assert!(cipher.open(b"", b"short").is_err());
        assert!(GcmSiv::new(&[0; 24]).is_err());
    }
}
