//! One batch of new tokens, as it stands in the log.
//!
//! ```text
//! header (32)   magic "CVF1" | sealed length u32 | sequence u64 | tag of the frame before (16)
//! sealed        nonce (12) | AES-256-GCM ciphertext | tag (16)
//! plaintext     count u32 | domain length u32 | blind indexes 16·n | tokens 16·n | value lengths 4·n | domain | values | zeros
//! ```
//!
//! The frame is sealed as a whole (one pass of AES-GCM over half a megabyte costs a few nanoseconds a value). The
//! associated data are the vault's id, the place in the log and the header: a frame that is moved, repeated, left out
//! or taken from another vault does not open or does not chain. Domain and values are padded together, so that
//! a frame's length tells a value's length only to 64 bytes.

use cordon_crypto::Sealer;
use cordon_phi::Token;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    error::VaultError,
    table::{Entry, Key},
};

pub(super) const MAGIC: [u8; 4] = *b"CVF1";
pub(super) const HEADER: usize = 32;
/// Nonce and tag of AES-256-GCM.
pub(super) const SEAL_OVERHEAD: usize = 28;
const PREFIX: usize = 8;
const PADDING: usize = 64;
/// What a frame holds at most, unless a single value is longer.
pub(super) const TARGET_BYTES: usize = 8 << 20;
pub(super) const MAX_VALUE: usize = 64 << 20;
pub(super) const MAX_DOMAIN: usize = 1 << 10;
pub(super) const MAX_SEALED: usize = MAX_VALUE + TARGET_BYTES + (1 << 20);

/// A place between two frames: where the next one goes and what it must chain to.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    pub segment: u32,
    pub offset: u32,
    /// Frames before this place.
    pub sequence: u64,
    /// The tag of the frame before; zeros before the first.
    pub tag: [u8; 16],
}

impl Position {
    /// The place as one number, in the order of the log, never zero.
    pub fn place(&self) -> u64 {
        u64::from(self.segment) << 32 | u64::from(self.offset)
    }
}

/// What seals the frames of one segment. Each segment has a key of its own, so that random nonces stay far below the
/// 2³² that SP 800-38D allows one key.
pub(super) struct FrameSeal {
    pub vault: [u8; 16],
    pub sealer: Sealer,
}

impl FrameSeal {
    /// The frame that stands at `at` (header and sealed part), and the place after it.
    pub fn encode(&self, at: &Position, plain: &[u8]) -> Result<(Vec<u8>, Vec<u8>, Position), VaultError> {
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&((plain.len() + SEAL_OVERHEAD) as u32).to_le_bytes());
        header.extend_from_slice(&at.sequence.to_le_bytes());
        header.extend_from_slice(&at.tag);
        let sealed = self.sealer.seal(&self.associated(at.place(), &header), plain)?;
        let next = Position {
            segment: at.segment,
            offset: at.offset + (HEADER + sealed.len()) as u32,
            sequence: at.sequence + 1,
            tag: sealed.last_chunk().copied().unwrap_or_default(),
        };
        Ok((header, sealed, next))
    }

    pub fn open(&self, place: u64, header: &[u8], sealed: &[u8]) -> Option<Frame> {
        let plain = self.sealer.open(&self.associated(place, header), sealed).ok()?;
        Frame::new(place, Zeroizing::new(plain))
    }

    fn associated(&self, place: u64, header: &[u8]) -> Vec<u8> {
        [&self.vault, &place.to_le_bytes()[..], header].concat()
    }
}

/// The clear part of a frame.
pub(super) struct Header {
    pub sealed: usize,
    pub sequence: u64,
    pub previous: [u8; 16],
}

impl Header {
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (sealed, rest) = rest.split_first_chunk::<4>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let sealed = u32::from_le_bytes(*sealed) as usize;
        (SEAL_OVERHEAD + PREFIX..=MAX_SEALED).contains(&sealed).then_some(())?;
        Some(Self { sealed, sequence: u64::from_le_bytes(*sequence), previous: *rest.first_chunk()? })
    }
}

/// Plaintext of a frame with these new entries.
pub(super) fn plaintext<'a>(
    domain: &str,
    new: impl ExactSizeIterator<Item = (Key, Token, &'a [u8])> + Clone,
) -> Zeroizing<Vec<u8>> {
    let values: usize = new.clone().map(|(_, _, value)| value.len()).sum();
    let exact = PREFIX + new.len() * 36 + domain.len() + values;
    let mut plain = Zeroizing::new(Vec::with_capacity(exact.next_multiple_of(PADDING)));
    plain.extend_from_slice(&(new.len() as u32).to_le_bytes());
    plain.extend_from_slice(&(domain.len() as u32).to_le_bytes());
    for (key, _, _) in new.clone() {
        plain.extend_from_slice(&key.to_bytes());
    }
    for (_, token, _) in new.clone() {
        plain.extend_from_slice(&token.0);
    }
    for (_, _, value) in new.clone() {
        plain.extend_from_slice(&(value.len() as u32).to_le_bytes());
    }
    plain.extend_from_slice(domain.as_bytes());
    for (_, _, value) in new {
        plain.extend_from_slice(value);
    }
    let padded = plain.len().next_multiple_of(PADDING);
    plain.resize(padded, 0);
    plain
}

/// A frame that was opened. Holds values: wiped when dropped.
pub(super) struct Frame {
    pub place: u64,
    pub count: usize,
    domain: usize,
    plain: Zeroizing<Vec<u8>>,
}

impl Frame {
    fn new(place: u64, plain: Zeroizing<Vec<u8>>) -> Option<Self> {
        let (count, rest) = plain.split_first_chunk::<4>()?;
        let domain = u32::from_le_bytes(*rest.first_chunk()?) as usize;
        let count = u32::from_le_bytes(*count) as usize;
        let frame = Self { place, count, domain, plain };
        let bytes: usize = frame.lengths().sum();
        let shape = PREFIX.checked_add(count.checked_mul(36)?)?.checked_add(domain)?.checked_add(bytes)?;
        (frame.plain.len() == shape.next_multiple_of(PADDING) && frame.domain().is_some()).then_some(frame)
    }

    pub fn domain(&self) -> Option<&str> {
        let bytes = self.plain.get(PREFIX + self.count * 36..)?.get(..self.domain)?;
        std::str::from_utf8(bytes).ok()
    }

    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        let keys = self.part(PREFIX, 16).as_chunks::<16>().0.iter();
        let tokens = self.tokens();
        keys.zip(tokens).map(|(key, token)| Entry { key: Key::from_bytes(*key), token, place: self.place })
    }

    pub fn tokens(&self) -> impl Iterator<Item = Token> {
        self.part(PREFIX + self.count * 16, 16).as_chunks::<16>().0.iter().map(|token| Token(*token))
    }

    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.plain.get(PREFIX + self.count * 36 + self.domain..).unwrap_or_default();
        self.lengths().map_while(move |len| {
            let (value, after) = rest.split_at_checked(len)?;
            rest = after;
            Some(value)
        })
    }

    fn lengths(&self) -> impl Iterator<Item = usize> {
        let lengths = self.part(PREFIX + self.count * 32, 4).as_chunks::<4>().0.iter();
        lengths.map(|len| u32::from_le_bytes(*len) as usize)
    }

    fn part(&self, from: usize, width: usize) -> &[u8] {
        self.plain.get(from..).and_then(|rest| rest.get(..self.count * width)).unwrap_or_default()
    }
}
