//! How long the log is, signed. Layout in the crate's documentation.

use cordon_crypto::{SigningKey, VerifyingKey};

use crate::Digest;
use crate::frame::take;

const MAGIC: &[u8; 8] = b"CORDHED1";
const SIGNED: usize = 8 + 16 + 4 + 8 + 8 + 8 + 32;

/// Where a log ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) log_id: [u8; 16],
    pub(crate) segment: u32,
    /// Where the last entry begins; the same as `end` in a segment that has none yet.
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// The last entry, in this segment or an earlier one; 0 for none.
    pub(crate) seq: u64,
    pub(crate) hash: Digest,
}

impl Head {
    pub(crate) fn encode(&self, key: &SigningKey) -> Vec<u8> {
        let mut out = Vec::with_capacity(SIGNED + 64);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.log_id);
        out.extend_from_slice(&self.segment.to_be_bytes());
        out.extend_from_slice(&self.start.to_be_bytes());
        out.extend_from_slice(&self.end.to_be_bytes());
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.hash.0);
        let signature = key.sign(&out);
        out.extend_from_slice(&signature);
        out
    }

    /// Signed by a key of the segment that it names, which `keys` tells.
    pub(crate) fn decode(bytes: &[u8], keys: impl FnOnce(u32) -> Vec<VerifyingKey>) -> Option<Self> {
        let head = Self::parse(bytes)?;
        let (signed, signature) = bytes.split_at_checked(SIGNED)?;
        keys(head.segment).iter().any(|key| key.verify(signed, signature).is_ok()).then_some(head)
    }

    /// What it says, whoever signed it.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (mut rest, _) = bytes.split_at_checked(SIGNED)?;
        if take::<8>(&mut rest)? != *MAGIC {
            return None;
        }
        Some(Self {
            log_id: take(&mut rest)?,
            segment: u32::from_be_bytes(take(&mut rest)?),
            start: u64::from_be_bytes(take(&mut rest)?),
            end: u64::from_be_bytes(take(&mut rest)?),
            seq: u64::from_be_bytes(take(&mut rest)?),
            hash: Digest(take(&mut rest)?),
        })
    }
}
