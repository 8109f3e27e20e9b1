//! One batch of new tokens, as it stands in the log.
//!
//! ```text
//! header (32)   magic "CVF3" or "CVF4" | sealed length u32 | sequence u64 | tag of the frame before (16)
//! sealed        nonce (12) | AES-256-GCM ciphertext | tag (16)
//! plaintext     count u32 | domain length u32 | first slot u64 | blind indexes 16·n | tokens 16·n | classes of values n |
//!               domain | values | zeros
//! ```
//!
//! Entries have slots one after the other, and token and value of each are masked with the key of its slot
//! ([`super::mask`]): who has the keys of the vault and not the key of the slot has neither. In a `CVF4` frame, of linked
//! identifiers, each token is followed by its origin, masked with it: the place in the log where the person's token was first
//! given, which tells whose token is older.
//!
//! The frame is sealed as a whole (one pass of AES-GCM over half a megabyte costs a few nanoseconds a value). The
//! associated data are the vault's id, the place in the log and the header: a frame that is moved, repeated, left out
//! or taken from another vault does not open or does not chain.

use cordon_crypto::{KeyedHash, Sealer, random_bytes};
use cordon_phi::Token;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    error::VaultError,
    mask::{MARKS, Mask, class_bytes, class_of},
    table::{Entry, Key},
};
use crate::subject_keys::LeafReader;

const MAGIC: [u8; 4] = *b"CVF3";
const MAGIC_LINKED: [u8; 4] = *b"CVF4";
/// What every frame begins with.
pub(super) const MAGIC_ANY: &[u8] = b"CVF";
pub(super) const HEADER: usize = 32;
/// Nonce and tag of AES-256-GCM.
pub(super) const SEAL_OVERHEAD: usize = 28;
const PREFIX: usize = 16;
const PADDING: usize = 64;
/// What a frame holds at most, unless a single value is longer.
pub(super) const TARGET_BYTES: usize = 8 << 20;
pub(super) const MAX_VALUE: usize = 64 << 20;
pub(super) const MAX_DOMAIN: usize = 1 << 10;
pub(super) const MAX_SEALED: usize = MAX_VALUE / 8 * 9 + TARGET_BYTES + (1 << 20);

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
    pub fn encode(&self, at: &Position, plain: &Plain) -> Result<(Vec<u8>, Vec<u8>, Position), VaultError> {
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(if plain.linked { &MAGIC_LINKED } else { &MAGIC });
        let plain = &plain.bytes;
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
        Frame::new(place, Zeroizing::new(plain), header.starts_with(&MAGIC_LINKED))
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
        let rest = bytes.strip_prefix(&MAGIC).or_else(|| bytes.strip_prefix(&MAGIC_LINKED))?;
        let (sealed, rest) = rest.split_first_chunk::<4>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let sealed = u32::from_le_bytes(*sealed) as usize;
        (SEAL_OVERHEAD + PREFIX..=MAX_SEALED).contains(&sealed).then_some(())?;
        Some(Self { sealed, sequence: u64::from_le_bytes(*sequence), previous: *rest.first_chunk()? })
    }
}

/// What goes into a frame for one value.
#[derive(Clone, Copy)]
pub(super) struct New<'a> {
    pub key: Key,
    pub token: Token,
    pub value: &'a [u8],
    /// Where the token was first given; of an identifier that was not linked, the frame itself.
    pub origin: Option<u64>,
}

impl New<'_> {
    /// In the frame, but for padding.
    pub fn bytes(&self) -> usize {
        width(self.origin.is_some()) + class_bytes(class_of(self.value.len()))
    }
}

/// Of token and origin.
fn marks(linked: bool) -> usize {
    if linked { MARKS } else { 16 }
}

fn width(linked: bool) -> usize {
    16 + marks(linked) + 1
}

/// The content of a frame, before it is sealed.
pub(super) struct Plain {
    bytes: Zeroizing<Vec<u8>>,
    linked: bool,
    marks: Vec<[u8; MARKS]>,
}

impl Plain {
    /// Of new entries, which have all an origin or none, in the slots from `first` on, for a frame at `place`. Nothing where one of
    /// these is destroyed.
    pub fn new(domain: &str, new: &[New<'_>], first: u64, place: u64, leaves: &mut LeafReader<'_>) -> Option<Self> {
        let linked = new.first().is_some_and(|new| new.origin.is_some());
        let exact = PREFIX + domain.len() + new.iter().map(New::bytes).sum::<usize>();
        let mut plain = Zeroizing::new(Vec::with_capacity(exact.next_multiple_of(PADDING)));
        plain.extend_from_slice(&(new.len() as u32).to_le_bytes());
        plain.extend_from_slice(&(domain.len() as u32).to_le_bytes());
        plain.extend_from_slice(&first.to_le_bytes());
        for new in new {
            plain.extend_from_slice(&new.key.to_bytes());
        }
        let values: usize = new.iter().map(|new| class_bytes(class_of(new.value.len()))).sum();
        let mut masked = Zeroizing::new(Vec::with_capacity(values + MARKS.next_multiple_of(16)));
        let mut all_marks = Vec::with_capacity(new.len());
        for (slot, new) in (first..).zip(new) {
            let mask = Mask::new(leaves.leaf(slot)?);
            let marks_of = mask.push(&new.token, new.origin.unwrap_or(place), new.value, &mut masked);
            plain.extend_from_slice(marks_of.get(..marks(linked))?);
            all_marks.push(marks_of);
        }
        plain.extend(new.iter().map(|new| class_of(new.value.len())));
        plain.extend_from_slice(domain.as_bytes());
        plain.extend_from_slice(&masked);
        let padded = plain.len().next_multiple_of(PADDING);
        plain.resize(padded, 0);
        Some(Self { bytes: plain, linked, marks: all_marks })
    }

    /// Token and place of each entry, masked, as they stand in a run.
    pub fn marks(&self) -> &[[u8; MARKS]] {
        &self.marks
    }
}

/// A frame that was opened. What it says of people is still masked.
pub(super) struct Frame {
    pub place: u64,
    pub count: usize,
    /// The slot of its first entry.
    pub first: u64,
    domain: usize,
    linked: bool,
    plain: Zeroizing<Vec<u8>>,
}

impl Frame {
    fn new(place: u64, plain: Zeroizing<Vec<u8>>, linked: bool) -> Option<Self> {
        let (count, rest) = plain.split_first_chunk::<4>()?;
        let (domain, rest) = rest.split_first_chunk::<4>()?;
        let first = u64::from_le_bytes(*rest.first_chunk()?);
        let domain = u32::from_le_bytes(*domain) as usize;
        let count = u32::from_le_bytes(*count) as usize;
        let frame = Self { place, count, first, domain, linked, plain };
        let bytes: usize = frame.classes().iter().map(|class| class_bytes(*class)).sum();
        let shape = PREFIX.checked_add(count.checked_mul(width(linked))?)?.checked_add(domain)?.checked_add(bytes)?;
        (frame.plain.len() == shape.next_multiple_of(PADDING) && frame.domain().is_some()).then_some(frame)
    }

    pub fn domain(&self) -> Option<&str> {
        let bytes = self.plain.get(self.head()..)?.get(..self.domain)?;
        std::str::from_utf8(bytes).ok()
    }

    /// The slot behind its last entry.
    pub fn end(&self) -> u64 {
        self.first.saturating_add(self.count as u64)
    }

    /// All entries in their order; nothing in the place of one that was destroyed.
    pub fn entries(&self, leaves: &mut LeafReader<'_>) -> impl Iterator<Item = Option<Entry>> {
        self.masked().map(|(key, slot, masked, _)| {
            let mask = Mask::new(leaves.leaf(slot)?);
            Some(self.entry(key, slot, masked, &mask))
        })
    }

    /// The same, with their values. Nothing also where what came out is no value.
    pub fn with_values(
        &self,
        leaves: &mut LeafReader<'_>,
    ) -> impl Iterator<Item = Option<(Entry, Zeroizing<Vec<u8>>)>> {
        let mut rest = self.plain.get(self.head() + self.domain..).unwrap_or_default();
        self.masked().map(move |(key, slot, masked, class)| {
            let (value, after) = rest.split_at_checked(class_bytes(class))?;
            rest = after;
            let mask = Mask::new(leaves.leaf(slot)?);
            Some((self.entry(key, slot, masked, &mask), mask.read_value(value)?))
        })
    }

    /// The same frame under other blind indexes, those of the domain's `hash`, or as it is where its entries have none; and how many
    /// entries are not destroyed. Of those that are, noise stands in the place of all. Nothing where what came out is no value.
    pub fn under(&self, hash: Option<&KeyedHash>, leaves: &mut LeafReader<'_>) -> Option<(Plain, u64)> {
        let mut bytes = self.plain.clone();
        let (mut live, mut all_marks) = (0, Vec::with_capacity(self.count));
        let (marks_at, width) = (PREFIX + 16 * self.count, marks(self.linked));
        let mut value_at = self.head() + self.domain;
        for (number, (_, slot, _, class)) in self.masked().enumerate() {
            let value = value_at..value_at + class_bytes(class);
            value_at = value.end;
            let (key, marks) = (PREFIX + 16 * number, marks_at + width * number);
            if let Some(leaf) = leaves.leaf(slot) {
                live += 1;
                if let Some(hash) = hash {
                    let value = Mask::new(leaf).read_value(self.plain.get(value)?)?;
                    bytes.get_mut(key..key + 16)?.copy_from_slice(&hash.tag128(&value));
                }
            } else {
                if hash.is_some() {
                    random_bytes(bytes.get_mut(key..key + 16)?).ok()?;
                }
                random_bytes(bytes.get_mut(marks..marks + width)?).ok()?;
                random_bytes(bytes.get_mut(value)?).ok()?;
            }
            let mut kept = [0; MARKS];
            kept.iter_mut().zip(bytes.get(marks..marks + width)?).for_each(|(mark, byte)| *mark = *byte);
            all_marks.push(kept);
        }
        Some((Plain { bytes, linked: self.linked, marks: all_marks }, live))
    }

    /// What whoever has the key of the log sees.
    #[cfg(test)]
    pub fn below_the_seal(&self) -> &[u8] {
        &self.plain
    }

    fn entry(&self, key: Key, slot: u64, masked: &[u8], mask: &Mask) -> Entry {
        let (token, origin) = mask.read_marks(masked);
        Entry { key, token, place: if self.linked { origin } else { self.place }, slot }
    }

    /// Blind index, slot, masked token and origin, and class of the value of each entry.
    fn masked(&self) -> impl Iterator<Item = (Key, u64, &[u8], u8)> {
        let keys = self.part(0, 16).as_chunks::<16>().0.iter().map(|key| Key::from_bytes(*key));
        let marks = self.part(16, marks(self.linked)).chunks_exact(marks(self.linked));
        keys.zip(self.first..)
            .zip(marks.zip(self.classes()))
            .map(|((key, slot), (marks, class))| (key, slot, marks, *class))
    }

    fn classes(&self) -> &[u8] {
        self.part(16 + marks(self.linked), 1)
    }

    /// Bytes before the domain's name.
    fn head(&self) -> usize {
        PREFIX.saturating_add(self.count.saturating_mul(width(self.linked)))
    }

    /// The column that stands behind `before` bytes an entry.
    fn part(&self, before: usize, width: usize) -> &[u8] {
        let from = PREFIX.saturating_add(self.count.saturating_mul(before));
        self.plain.get(from..).and_then(|rest| rest.get(..self.count * width)).unwrap_or_default()
    }
}
