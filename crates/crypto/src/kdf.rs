//! Keys from keys (HKDF-SHA256, RFC 5869) and from passphrases (Argon2id, RFC 9106).

use argon2::{Algorithm, Argon2, Params, Version};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{CryptoError, RootKey};

/// Fills `out` with key material for the use that `info` names. At most 8,160 bytes (RFC 5869, section 2.3).
pub fn hkdf_sha256(ikm: &[u8], salt: &[u8], info: &[u8], out: &mut [u8]) -> Result<(), CryptoError> {
    Hkdf::<Sha256>::new(Some(salt), ikm).expand(info, out).map_err(|_| CryptoError::TooLong { what: "HKDF" })
}

/// A 32-byte key by HKDF-SHA256: cannot fail, wiped when dropped.
pub fn hkdf_key(ikm: &[u8], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    fill_one_block(&Hkdf::<Sha256>::new(Some(salt), ikm), info, &mut out);
    out
}

/// HKDF-Expand of a pseudo-random key.
pub(crate) fn expand_key(prk: &[u8; 32], info: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    if let Ok(hkdf) = Hkdf::<Sha256>::from_prk(prk) {
        fill_one_block(&hkdf, info, &mut out);
    }
    debug_assert_ne!(out, [0; 32]);
    out
}

#[expect(clippy::expect_used, reason = "RFC 5869 allows 255 blocks; this is one")]
fn fill_one_block(hkdf: &Hkdf<Sha256>, info: &[u8], out: &mut [u8; 32]) {
    hkdf.expand(info, out).expect("one block");
}

/// What a guess of a passphrase costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2Params {
    pub memory_kib: u32,
    pub passes: u32,
    pub lanes: u32,
}

impl Default for Argon2Params {
    /// The second recommendation of RFC 9106, section 4 (64 MiB, 3 passes), with one lane.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 }
    }
}

/// The root key behind a passphrase. The parameters may come from a file that somebody changed, so what would
/// exhaust the machine (over 2 GiB, 64 passes, 16 lanes) is refused.
pub fn argon2id(passphrase: &[u8], salt: &[u8], params: Argon2Params) -> Result<RootKey, CryptoError> {
    const REFUSED: CryptoError = CryptoError::Parameters { algorithm: "Argon2id" };
    if params.memory_kib > 2 * 1024 * 1024 || params.passes > 64 || params.lanes > 16 {
        return Err(REFUSED);
    }
    let checked = Params::new(params.memory_kib, params.passes, params.lanes, Some(32)).map_err(|_| REFUSED)?;
    let mut out = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, checked)
        .hash_password_into(passphrase, salt, out.as_mut_slice())
        .map_err(|_| REFUSED)?;
    Ok(RootKey::from_bytes(*out))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const CHEAP: Argon2Params = Argon2Params { memory_kib: 32, passes: 3, lanes: 4 };

    #[test]
    fn a_passphrase_gives_one_key_for_one_salt() {
        let key = argon2id(b"a passphrase", &[2; 16], CHEAP).unwrap();
        let again = argon2id(b"a passphrase", &[2; 16], CHEAP).unwrap();
        let salted = argon2id(b"a passphrase", &[3; 16], CHEAP).unwrap();
        assert_eq!(key.dangerous_expose(), again.dangerous_expose());
        assert_ne!(key.dangerous_expose(), salted.dangerous_expose());
    }

    /// From the test suite of the reference implementation (phc-winner-argon2): m=64 MiB, t=2, p=1, version 0x13.
    #[test]
    fn agrees_with_the_reference_implementation() {
        let params = Argon2Params { memory_kib: 64 * 1024, passes: 2, lanes: 1 };
        let key = argon2id(b"password", b"somesalt", params).unwrap();
        assert_eq!(
            data_encoding::HEXLOWER.encode(key.dangerous_expose()),
            "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"
        );
    }

    #[test]
    fn absurd_parameters_are_refused() {
        for params in [
            Argon2Params { memory_kib: u32::MAX, ..CHEAP },
            Argon2Params { memory_kib: 0, ..CHEAP },
            Argon2Params { passes: 0, ..CHEAP },
            Argon2Params { passes: 65, ..CHEAP },
            Argon2Params { lanes: 0, ..CHEAP },
            Argon2Params { lanes: 17, ..CHEAP },
        ] {
            assert!(argon2id(b"p", &[0; 16], params).is_err());
        }
        assert!(argon2id(b"p", &[0; 4], CHEAP).is_err());
    }

    #[test]
    fn the_infallible_way_is_the_other_one() {
        let mut out = [0; 32];
        hkdf_sha256(b"ikm", b"salt", b"info", &mut out).unwrap();
        assert_eq!(*hkdf_key(b"ikm", b"salt", b"info"), out);
        assert!(hkdf_sha256(b"ikm", b"", b"", &mut vec![0; 255 * 32 + 1]).is_err());
    }
}
