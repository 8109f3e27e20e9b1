//! The cryptography that every other room uses, so that none of them chooses a nonce, a mode or a key length.
//!
//! This crate exists so that a key is a *type* ([`VaultKey`] is never taken for [`FpeKey`]), every
//! construction is one that a standard names, and the fast way to do it to a million values is the only
//! way offered. It refuses to do I/O (a [`SealedWriter`] writes to what it is given), to read a clock, to
//! print a key, and to say in an error what the value was.
//!
//! | for | module | standard |
//! |---|---|---|
//! | keyed hashes | [`KeyedHash`] | HMAC-SHA256, RFC 2104, FIPS 198-1 |
//! | keys from keys and from passphrases | [`kdf`] | HKDF, RFC 5869; Argon2id, RFC 9106 |
//! | values and files at rest | [`seal()`], [`SealedWriter`], [`Versions`] | AES-256-GCM, SP 800-38D; STREAM |
//! | equal ciphertexts for equal values | [`siv`] | AES-SIV, RFC 5297 |
//! | nonces that may repeat | [`gcm_siv`] | AES-GCM-SIV, RFC 8452 |
//! | keys that can be destroyed one by one | [`PuncturableKey`], [`CounterStream`] | Boneh, Waters 2013; CTR, SP 800-38A |
//! | keys under keys | [`wrap()`] | AES-KW, AES-KWP, RFC 3394, RFC 5649, SP 800-38F |
//! | ciphertexts that look like the value | [`Ff1`] | FF1, SP 800-38G |
//! | signatures | [`SigningKey`] | Ed25519, RFC 8032 |
//! | data keys of encrypted Parquet | [`MasterKeys`] | the key-tools interface of parquet-java |
//!
//! ```
//! use cordon_crypto::{KeyedHash, SealKey, HashKey, PurposeKey, open, seal};
//!
//! let key = SealKey::generate();
//! let sealed = seal(key.dangerous_expose(), b"what it is", b"value")?;
//! assert_eq!(open(key.dangerous_expose(), b"what it is", &sealed)?, b"value");
//! assert!(open(key.dangerous_expose(), b"something else", &sealed).is_err());
//!
//! let hash = KeyedHash::for_key(&HashKey::generate());
//! assert_eq!(hash.tag128(b"value"), hash.tag128(b"value"));
//! # Ok::<(), cordon_crypto::CryptoError>(())
//! ```
#![forbid(unsafe_code)]

mod counter;
mod error;
mod ff1;
pub mod gcm_siv;
mod hash;
pub mod kdf;
mod keys;
mod master;
pub mod password;
mod prp;
mod puncture;
mod seal;
mod sign;
pub mod siv;
mod stream;
mod versions;
mod wrap;

pub use counter::CounterStream;
pub use error::CryptoError;
pub use ff1::{Ff1, MIN_DOMAIN};
pub use hash::{KeyedHash, same_tag, sub_key};
pub use kdf::{Argon2Params, argon2id, hkdf_sha256};
pub use keys::{
    AuditSealKey, AuditSigningSeed, BlindIndexKey, DateShiftKey, FpeKey, HashKey, PurposeKey, RootKey, SealKey,
    SubjectSealKey, SurrogateKey, TableMasterKey, VaultKey, random_bytes,
};
pub use master::{LocalMasterKeys, MasterKeys};
pub use prp::BlockPermutation;
pub use puncture::{Leaves, PuncturableKey};
pub use seal::{Sealer, open, seal};
pub use sign::{SigningKey, SigningKeys, VerifyingKey};
pub use stream::{SealedReader, SealedWriter};
pub use versions::{SealKeys, Versions, sealed_version};
pub use wrap::{unwrap, unwrap_kw, wrap, wrap_kw};
