//! HMAC-SHA256 (RFC 2104, FIPS 198-1) for millions of short values.
//!
//! The two padded-key blocks are compressed once per key; a value of up to 55 bytes then costs two
//! compressions and no set-up. Over [`sha2`]'s compression function, which uses the SHA extensions of the
//! processor where there are any.

use sha2::block_api::compress256;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::kdf;
use crate::{CryptoError, PurposeKey};

const BLOCK: usize = 64;

/// FIPS 180-4, section 5.3.3.
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// What sub-keys are extracted under. Part of what pseudonyms depend on: never change it.
const DERIVE_SALT: &[u8] = b"cordon/keyed-hash/derive/v1";

/// A keyed hash, ready to be used on any number of values.
#[derive(Clone, ZeroizeOnDrop)]
pub struct KeyedHash {
    inner: [u32; 8],
    outer: [u32; 8],
    /// HKDF-Extract of the key, so that no tag of any message is a sub-key.
    derivation: [u8; 32],
}

impl KeyedHash {
    pub fn new(key: &[u8; 32]) -> Self {
        Self::from_slice(key)
    }

    pub fn for_key<K: PurposeKey>(key: &K) -> Self {
        Self::new(key.dangerous_expose())
    }

    /// With a key of any length, as RFC 2104 allows; shorter than 32 bytes is weaker than the hash.
    pub fn from_slice(key: &[u8]) -> Self {
        let (inner, outer) = padded_states(key);
        let mut keyed = Self { inner, outer, derivation: [0; 32] };
        let (salt_inner, salt_outer) = padded_states(DERIVE_SALT);
        keyed.derivation = tag(salt_inner, salt_outer, &[key]);
        keyed
    }

    /// HMAC-SHA256 of the message.
    #[inline]
    pub fn tag(&self, message: &[u8]) -> [u8; 32] {
        if message.len() <= SHORT {
            tag_short(self.inner, self.outer, message)
        } else {
            tag(self.inner, self.outer, &[message])
        }
    }

    /// The first 128 bits of the tag (RFC 2104, section 5): enough for pseudonyms, half the space.
    #[inline]
    pub fn tag128(&self, message: &[u8]) -> [u8; 16] {
        let [head @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = self.tag(message);
        head
    }

    /// The tag of several parts. Each is preceded by its length, so `["ab", "c"]` and `["a", "bc"]` differ.
    pub fn tag_parts(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut message = Message::new(self.inner);
        for part in parts {
            message.update(&(part.len() as u64).to_le_bytes());
            message.update(part);
        }
        finish_outer(self.outer, message.finish())
    }

    /// Whether `expected` is the tag, or the beginning (16 bytes or more) of the tag, in constant time.
    pub fn verify(&self, message: &[u8], expected: &[u8]) -> Result<(), CryptoError> {
        let tag = self.tag(message);
        let head = tag.get(..expected.len()).filter(|head| head.len() >= 16);
        let head = head.ok_or(CryptoError::Malformed { what: "tag" })?;
        if bool::from(head.ct_eq(expected)) { Ok(()) } else { Err(CryptoError::Authentication) }
    }

    /// An independent hash for a domain of its own: no tag of this one is a tag or a key of that one.
    #[must_use]
    pub fn derive(&self, label: &str) -> Self {
        let mut key = kdf::expand_key(&self.derivation, label.as_bytes());
        let derived = Self::new(&key);
        key.zeroize();
        derived
    }
}

/// A key of its own for one use of a purpose key, so that no two constructions work under the same one.
pub fn sub_key<K: PurposeKey>(key: &K, label: &str) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(KeyedHash::for_key(key).derive(label).tag(b"sub-key"))
}

/// Whether two tags are the same, in a time that says nothing about where they differ.
pub fn same_tag(one: &[u8], other: &[u8]) -> bool {
    bool::from(one.ct_eq(other))
}

/// The longest message that fits one block with its padding (FIPS 180-4, section 5.1.1).
const SHORT: usize = BLOCK - 9;

fn padded_states(key: &[u8]) -> ([u32; 8], [u32; 8]) {
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        let digest = Sha256::digest(key);
        copy(&mut block, &digest);
    } else {
        copy(&mut block, key);
    }
    let state_of = |pad: u8| {
        let mut state = INITIAL;
        let mut padded = block.map(|byte| byte ^ pad);
        compress256(&mut state, &[padded]);
        padded.zeroize();
        state
    };
    let states = (state_of(0x36), state_of(0x5c));
    block.zeroize();
    states
}

#[inline]
fn tag_short(mut inner: [u32; 8], outer: [u32; 8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    copy(&mut block, message);
    if let Some(end) = block.get_mut(message.len()) {
        *end = 0x80;
    }
    put_length(&mut block, BLOCK as u64 + message.len() as u64);
    compress256(&mut inner, &[block]);
    finish_outer(outer, inner)
}

fn tag(inner: [u32; 8], outer: [u32; 8], parts: &[&[u8]]) -> [u8; 32] {
    let mut message = Message::new(inner);
    for part in parts {
        message.update(part);
    }
    finish_outer(outer, message.finish())
}

#[inline]
fn finish_outer(mut outer: [u32; 8], inner: [u32; 8]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    copy(&mut block, &to_bytes(inner));
    block[32] = 0x80;
    put_length(&mut block, BLOCK as u64 + 32);
    compress256(&mut outer, &[block]);
    to_bytes(outer)
}

/// SHA-256 that goes on after the padded key.
struct Message {
    state: [u32; 8],
    pending: [u8; BLOCK],
    filled: usize,
    length: u64,
}

impl Message {
    fn new(state: [u32; 8]) -> Self {
        Self { state, pending: [0; BLOCK], filled: 0, length: BLOCK as u64 }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        self.length = self.length.wrapping_add(bytes.len() as u64);
        if self.filled > 0 {
            let (head, rest) = bytes.split_at(bytes.len().min(BLOCK - self.filled));
            self.pend(head);
            bytes = rest;
            if self.filled < BLOCK {
                return;
            }
            compress256(&mut self.state, &[self.pending]);
            self.filled = 0;
        }
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        compress256(&mut self.state, blocks);
        self.pend(rest);
    }

    fn pend(&mut self, bytes: &[u8]) {
        if let Some(space) = self.pending.get_mut(self.filled..) {
            copy(space, bytes);
            self.filled += bytes.len();
        }
    }

    fn finish(mut self) -> [u32; 8] {
        if let Some(space) = self.pending.get_mut(self.filled..) {
            space.fill(0);
            if let Some(end) = space.first_mut() {
                *end = 0x80;
            }
        }
        if self.filled > SHORT {
            compress256(&mut self.state, &[self.pending]);
            self.pending = [0; BLOCK];
        }
        put_length(&mut self.pending, self.length);
        compress256(&mut self.state, &[self.pending]);
        self.state
    }
}

#[inline]
fn put_length(block: &mut [u8; BLOCK], bytes: u64) {
    if let Some(field) = block.last_chunk_mut() {
        *field = bytes.wrapping_mul(8).to_be_bytes();
    }
}

#[inline]
fn to_bytes(state: [u32; 8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (bytes, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    out
}

/// To the beginning; callers have made sure that there is room.
#[inline]
fn copy(to: &mut [u8], from: &[u8]) {
    if let Some(to) = to.get_mut(..from.len()) {
        to.copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use hmac::{Hmac, KeyInit, Mac};

    fn reference(key: &[u8], message: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    #[test]
    fn agrees_with_the_hmac_crate_at_every_length_around_the_block_borders() {
        let text: Vec<u8> = (0..300_u32).map(|i| (i * 7) as u8).collect();
        let keyed = KeyedHash::new(&[9; 32]);
        for length in 0..text.len() {
            assert_eq!(keyed.tag(&text[..length]), reference(&[9; 32], &text[..length]), "{length}");
        }
        for length in [0, 1, 16, 63, 64, 65, 200] {
            let key = &text[..length];
            assert_eq!(KeyedHash::from_slice(key).tag(b"m"), reference(key, b"m"), "{length}");
        }
    }

    #[test]
    fn parts_are_framed_by_their_lengths() {
        let keyed = KeyedHash::new(&[1; 32]);
        let long = [5; 200];
        let mut framed = Vec::new();
        for part in [b"ab".as_slice(), b"", &long] {
            framed.extend_from_slice(&(part.len() as u64).to_le_bytes());
            framed.extend_from_slice(part);
        }
        assert_eq!(keyed.tag_parts(&[b"ab", b"", &long]), keyed.tag(&framed));
        assert_ne!(keyed.tag_parts(&[b"ab", b"c"]), keyed.tag_parts(&[b"a", b"bc"]));
        assert_ne!(keyed.tag_parts(&[b"a"]), keyed.tag_parts(&[b"a", b""]));
    }

    #[test]
    fn derived_hashes_are_stable_and_distinct() {
        let keyed = KeyedHash::new(&[1; 32]);
        assert_eq!(keyed.derive("a").tag(b"m"), keyed.derive("a").tag(b"m"));
        assert_ne!(keyed.derive("a").tag(b"m"), keyed.derive("b").tag(b"m"));
        assert_ne!(keyed.derive("a").tag(b"m"), keyed.tag(b"m"));
    }

    #[test]
    fn verify_takes_the_tag_and_its_half_and_nothing_else() {
        let keyed = KeyedHash::new(&[1; 32]);
        let tag = keyed.tag(b"m");
        assert_eq!(keyed.verify(b"m", &tag), Ok(()));
        assert_eq!(keyed.verify(b"m", &tag[..16]), Ok(()));
        assert_eq!(keyed.tag128(b"m"), tag[..16]);
        assert!(keyed.verify(b"m", &tag[..15]).is_err());
        assert!(keyed.verify(b"m", &[tag.as_slice(), &[0]].concat()).is_err());
        assert_eq!(keyed.verify(b"n", &tag), Err(CryptoError::Authentication));
    }
}
