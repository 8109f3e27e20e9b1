//! Deterministic authenticated encryption: AES-SIV (RFC 5297). Equal values give equal ciphertexts, and that is all
//! they show. For lookup columns and joins; anything else takes [`crate::seal()`].

use aes_siv::siv::CmacSiv;
use aes_siv::{KeyInit, siv};
use zeroize::Zeroizing;

use crate::{CryptoError, PurposeKey, kdf};

/// A key made ready for [`Siv::encrypt`] and [`Siv::decrypt`].
pub struct Siv(Zeroizing<Vec<u8>>);

type Aes192Siv = CmacSiv<aes::Aes192>;

macro_rules! with_cipher {
    ($self:ident, $cipher:ident => $call:expr) => {
        match $self.0.len() {
            32 => siv::Aes128Siv::new_from_slice(&$self.0).ok().and_then(|mut $cipher| $call.ok()),
            48 => Aes192Siv::new_from_slice(&$self.0).ok().and_then(|mut $cipher| $call.ok()),
            _ => siv::Aes256Siv::new_from_slice(&$self.0).ok().and_then(|mut $cipher| $call.ok()),
        }
    };
}

impl Siv {
    /// With two AES keys side by side: 32, 48 or 64 bytes (RFC 5297, section 2.2).
    pub fn new(key: &[u8]) -> Result<Self, CryptoError> {
        if matches!(key.len(), 32 | 48 | 64) {
            Ok(Self(Zeroizing::new(key.to_vec())))
        } else {
            Err(CryptoError::KeyLength { algorithm: "AES-SIV", found: key.len() })
        }
    }

    /// AES-256-SIV under the two keys that HKDF makes of one.
    pub fn for_key<K: PurposeKey>(key: &K) -> Result<Self, CryptoError> {
        let mut pair = Zeroizing::new(vec![0; 64]);
        kdf::hkdf_sha256(key.dangerous_expose(), b"", b"cordon/aes-siv/v1", &mut pair)?;
        Self::new(&pair)
    }

    /// Synthetic IV (16) ‖ ciphertext. At most 126 pieces of associated data (RFC 5297, section 2.6).
    pub fn encrypt(&self, associated: &[&[u8]], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        with_cipher!(self, cipher => cipher.encrypt(associated, plaintext))
            .ok_or(CryptoError::TooLong { what: "AES-SIV" })
    }

    pub fn decrypt(&self, associated: &[&[u8]], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        with_cipher!(self, cipher => cipher.decrypt(associated, sealed)).ok_or(CryptoError::Authentication)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::SealKey;

    #[test]
    fn equal_values_give_equal_bytes_in_one_context_only() {
        let siv = Siv::for_key(&SealKey::from_bytes([1; 32])).unwrap();
        let sealed = siv.encrypt(&[b"column"], b"value").unwrap();
        assert_eq!(sealed, siv.encrypt(&[b"column"], b"value").unwrap());
        assert_ne!(sealed, siv.encrypt(&[b"other"], b"value").unwrap());
        assert_eq!(siv.decrypt(&[b"column"], &sealed).unwrap(), b"value");
        assert_eq!(siv.decrypt(&[b"other"], &sealed), Err(CryptoError::Authentication));
        assert_eq!(siv.decrypt(&[], b"short"), Err(CryptoError::Authentication));
    }

    #[test]
    fn other_key_lengths_are_refused() {
        assert!(Siv::new(&[0; 16]).is_err());
        assert!(Siv::new(&[0; 33]).is_err());
    }
}
