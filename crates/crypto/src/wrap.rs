//! Keys under keys: AES key wrap with padding (KWP, RFC 5649) and without (KW, RFC 3394), both of SP 800-38F.
//!
//! [`wrap`] is KWP. KW is here for the key stores that speak nothing else. SP 800-38F, section 5.3.1 begins at two
//! semiblocks for KW, so neither the empty key nor one of 8 bytes is wrapped by it.

use aes_kw::{KeyInit, KwAes128, KwAes192, KwAes256, KwpAes128, KwpAes192, KwpAes256};
use zeroize::Zeroizing;

use crate::CryptoError;

const SEMIBLOCK: usize = 8;
/// No key is longer; what claims to be is not one.
const LONGEST: usize = 64 * 1024;

macro_rules! with_kek {
    ($kek:expr, [$small:ident, $middle:ident, $large:ident], $cipher:ident => $call:expr) => {{
        let wrong = |_| CryptoError::KeyLength { algorithm: "AES key wrap", found: $kek.len() };
        match $kek.len() {
            16 => $small::new_from_slice($kek).map_err(wrong).map(|$cipher| $call),
            24 => $middle::new_from_slice($kek).map_err(wrong).map(|$cipher| $call),
            _ => $large::new_from_slice($kek).map_err(wrong).map(|$cipher| $call),
        }
    }};
}

/// Wraps a key of any length from 1 byte with AES-KWP. `kek` is 16, 24 or 32 bytes.
pub fn wrap(kek: &[u8], key: &[u8]) -> Result<Vec<u8>, CryptoError> {
    if key.is_empty() || key.len() > LONGEST {
        return Err(CryptoError::Malformed { what: "key to wrap" });
    }
    let mut out = vec![0; key.len().next_multiple_of(SEMIBLOCK) + SEMIBLOCK];
    with_kek!(kek, [KwpAes128, KwpAes192, KwpAes256], cipher => cipher.wrap_key(key, &mut out).is_ok())?
        .then_some(out)
        .ok_or(CryptoError::Malformed { what: "key to wrap" })
}

/// Unwraps what [`wrap`] made, and refuses everything else.
pub fn unwrap(kek: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let space = space_for(wrapped, 2)?;
    let mut out = Zeroizing::new(vec![0; space]);
    let length = with_kek!(kek, [KwpAes128, KwpAes192, KwpAes256], cipher => {
        cipher.unwrap_key(wrapped, &mut out).map(<[u8]>::len)
    })?
    .map_err(|_| CryptoError::Authentication)?;
    out.truncate(length);
    Ok(out)
}

/// Wraps a key of 16 bytes or more, a multiple of 8, with AES-KW.
pub fn wrap_kw(kek: &[u8], key: &[u8]) -> Result<Vec<u8>, CryptoError> {
    if key.len() < 2 * SEMIBLOCK || !key.len().is_multiple_of(SEMIBLOCK) || key.len() > LONGEST {
        return Err(CryptoError::Malformed { what: "key to wrap" });
    }
    let mut out = vec![0; key.len() + SEMIBLOCK];
    with_kek!(kek, [KwAes128, KwAes192, KwAes256], cipher => cipher.wrap_key(key, &mut out).is_ok())?
        .then_some(out)
        .ok_or(CryptoError::Malformed { what: "key to wrap" })
}

/// Unwraps what [`wrap_kw`] made, and refuses everything else.
pub fn unwrap_kw(kek: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let space = space_for(wrapped, 3)?;
    let mut out = Zeroizing::new(vec![0; space]);
    with_kek!(kek, [KwAes128, KwAes192, KwAes256], cipher => {
        cipher.unwrap_key(wrapped, &mut out).is_ok()
    })?
    .then_some(out)
    .ok_or(CryptoError::Authentication)
}

fn space_for(wrapped: &[u8], semiblocks: usize) -> Result<usize, CryptoError> {
    let length = wrapped.len();
    if length < semiblocks * SEMIBLOCK || !length.is_multiple_of(SEMIBLOCK) || length > LONGEST + SEMIBLOCK {
        return Err(CryptoError::Malformed { what: "wrapped key" });
    }
    Ok(length - SEMIBLOCK)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn unwraps_only_under_its_key() {
        for length in [1, 7, 8, 9, 16, 31, 32, 33] {
            let key = vec![5; length];
            let wrapped = wrap(&[1; 32], &key).unwrap();
            assert_eq!(*unwrap(&[1; 32], &wrapped).unwrap(), key);
            assert_eq!(unwrap(&[2; 32], &wrapped).err(), Some(CryptoError::Authentication));
        }
        assert!(wrap(&[1; 32], &[]).is_err());
        assert!(wrap(&[1; 20], &[1]).is_err());
    }

    #[test]
    fn no_byte_may_change() {
        let wrapped = wrap(&[1; 32], &[5; 32]).unwrap();
        for at in 0..wrapped.len() {
            let mut damaged = wrapped.clone();
            damaged[at] ^= 0x10;
            assert_eq!(unwrap(&[1; 32], &damaged).err(), Some(CryptoError::Authentication));
        }
    }

    #[test]
    fn the_two_modes_do_not_mix() {
        let wrapped = wrap(&[1; 32], &[5; 32]).unwrap();
        assert!(unwrap_kw(&[1; 32], &wrapped).is_err());
        let wrapped = wrap_kw(&[1; 32], &[5; 32]).unwrap();
        assert!(unwrap(&[1; 32], &wrapped).is_err());
        assert_eq!(*unwrap_kw(&[1; 32], &wrapped).unwrap(), [5; 32]);
    }
}
