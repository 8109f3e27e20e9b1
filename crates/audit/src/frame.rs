//! The bytes of a segment: its header and its frames. Layout in the crate's documentation.

use std::io::{self, Read};

use cordon_crypto::{SigningKey, VerifyingKey};

use crate::Digest;

const MAGIC: &[u8; 8] = b"CORDAUD2";
const SIGNATURE: usize = 64;
const SIGNED_HEADER: usize = 8 + 16 + 4 + 8 + 32 + 4 + 32 + 32;
pub(crate) const HEADER: usize = SIGNED_HEADER + 2 * SIGNATURE;
/// Of logs whose segments did not name their keys.
pub(crate) const OLD_MAGIC: &[u8; 8] = b"CORDAUD1";

/// Nonce and tag: a sealed entry is never shorter.
const MIN_SEALED: usize = 12 + 16;
/// Bounds what a damaged length can make a reader allocate.
pub(crate) const MAX_SEALED: usize = 1 << 20;
const PREFIX: usize = 4 + 8;
const SUFFIX: usize = 32 + SIGNATURE;

/// Where a log begins: the "entry before" of its first entry.
pub(crate) fn genesis(log_id: &[u8; 16]) -> Digest {
    Digest::of(&[b"cordon audit genesis v1\0", log_id])
}

/// Takes fixed-size fields off the front.
pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (field, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*field)
}

/// What a segment begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) log_id: [u8; 16],
    pub(crate) segment: u32,
    pub(crate) first_seq: u64,
    pub(crate) prev: Digest,
    /// The version of the key that seals the segment's entries.
    pub(crate) seal: u32,
    /// Verifies the segment's entries.
    pub(crate) key: VerifyingKey,
    /// That of the segment before; in the first the segment's own.
    pub(crate) key_before: VerifyingKey,
}

impl Header {
    /// The key before vouches for the segment's own, and that signs what it takes over.
    pub(crate) fn encode(&self, before: &SigningKey, own: &SigningKey) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.log_id);
        out.extend_from_slice(&self.segment.to_be_bytes());
        out.extend_from_slice(&self.first_seq.to_be_bytes());
        out.extend_from_slice(&self.prev.0);
        out.extend_from_slice(&self.seal.to_be_bytes());
        out.extend_from_slice(&self.key.0);
        out.extend_from_slice(&self.key_before.0);
        let signatures = [before.sign(&out), own.sign(&out)];
        out.extend(signatures.as_flattened());
        out
    }

    /// `None` if it is short, of another kind, or not signed by the keys that it names. Whether those can be believed is for
    /// [`crate::chain::Chain`].
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (signed, mut signatures) = bytes.split_at_checked(SIGNED_HEADER)?;
        let mut rest = signed;
        if take::<8>(&mut rest)? != *MAGIC {
            return None;
        }
        let header = Self {
            log_id: take(&mut rest)?,
            segment: u32::from_be_bytes(take(&mut rest)?),
            first_seq: u64::from_be_bytes(take(&mut rest)?),
            prev: Digest(take(&mut rest)?),
            seal: u32::from_be_bytes(take(&mut rest)?),
            key: VerifyingKey(take(&mut rest)?),
            key_before: VerifyingKey(take(&mut rest)?),
        };
        let (before, own) = (take::<SIGNATURE>(&mut signatures)?, take::<SIGNATURE>(&mut signatures)?);
        let is_signed = header.key_before.verify(signed, &before).is_ok() && header.key.verify(signed, &own).is_ok();
        is_signed.then_some(header)
    }

    pub(crate) fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut bytes = Vec::with_capacity(HEADER);
        from.take(HEADER as u64).read_to_end(&mut bytes)?;
        Ok(Self::decode(&bytes))
    }
}

/// One entry as it stands on disk.
pub(crate) struct Frame {
    pub(crate) seq: u64,
    pub(crate) sealed: Vec<u8>,
    pub(crate) hash: Digest,
    signature: [u8; SIGNATURE],
}

/// What stands at a place of a segment.
pub(crate) enum Next {
    Frame(Frame),
    End,
    /// Bytes that are no whole frame.
    Broken,
}

impl Frame {
    pub(crate) fn new(seq: u64, prev: &Digest, sealed: Vec<u8>, key: &SigningKey) -> Self {
        let hash = entry_hash(seq, prev, &sealed);
        Self { seq, sealed, hash, signature: key.sign(&hash.0) }
    }

    /// Bytes on disk.
    pub(crate) fn size(&self) -> u64 {
        (PREFIX + self.sealed.len() + SUFFIX) as u64
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PREFIX + self.sealed.len() + SUFFIX);
        out.extend_from_slice(&(self.sealed.len() as u32).to_be_bytes());
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.sealed);
        out.extend_from_slice(&self.hash.0);
        out.extend_from_slice(&self.signature);
        out
    }

    pub(crate) fn read(from: &mut impl Read) -> io::Result<Next> {
        let mut prefix = Vec::with_capacity(PREFIX);
        from.by_ref().take(PREFIX as u64).read_to_end(&mut prefix)?;
        if prefix.is_empty() {
            return Ok(Next::End);
        }
        let mut fields = prefix.as_slice();
        let (Some(len), Some(seq)) = (take::<4>(&mut fields), take::<8>(&mut fields)) else {
            return Ok(Next::Broken);
        };
        let len = u32::from_be_bytes(len) as usize;
        if !(MIN_SEALED..=MAX_SEALED).contains(&len) {
            return Ok(Next::Broken);
        }
        let mut sealed = Vec::with_capacity(len);
        from.by_ref().take(len as u64).read_to_end(&mut sealed)?;
        let mut suffix = Vec::with_capacity(SUFFIX);
        from.by_ref().take(SUFFIX as u64).read_to_end(&mut suffix)?;
        let mut fields = suffix.as_slice();
        let (Some(hash), Some(signature)) = (take::<32>(&mut fields), take::<SIGNATURE>(&mut fields)) else {
            return Ok(Next::Broken);
        };
        Ok(Next::Frame(Self { seq: u64::from_be_bytes(seq), sealed, hash: Digest(hash), signature }))
    }

    pub(crate) fn follows(&self, prev: &Digest) -> bool {
        self.hash == entry_hash(self.seq, prev, &self.sealed)
    }

    pub(crate) fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        key.verify(&self.hash.0, &self.signature).is_ok()
    }
}

fn entry_hash(seq: u64, prev: &Digest, sealed: &[u8]) -> Digest {
    let len = (sealed.len() as u32).to_be_bytes();
    Digest::of(&[b"cordon audit entry v1\0", &prev.0, &seq.to_be_bytes(), &len, sealed])
}
