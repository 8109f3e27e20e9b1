//! One batch of new tokens, as it stands in the log.
//!
//! ```text
//! header (32)   magic "CVF1" or "CVF2" | sealed length u32 | sequence u64 | tag of the frame before (16)
//! sealed        nonce (12) | AES-256-GCM ciphertext | tag (16)
//! plaintext     count u32 | domain length u32 | blind indexes 16·n | tokens 16·n | value lengths 4·n | domain | values | zeros
//! ```
//!
//! In a `CVF2` frame, of linked identifiers, the origins of the tokens (8·n) stand before the value lengths: the place in the
//! log where the person's token was first given, which tells whose token is older.
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

const MAGIC: [u8; 4] = *b"CVF1";
const MAGIC_LINKED: [u8; 4] = *b"CVF2";
/// What every frame begins with.
pub(super) const MAGIC_ANY: &[u8] = b"CVF";
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
        width(self.origin.is_some()) + self.value.len()
    }
}

fn width(linked: bool) -> usize {
    if linked { 44 } else { 36 }
}

/// The content of a frame, before it is sealed.
pub(super) struct Plain {
    bytes: Zeroizing<Vec<u8>>,
    linked: bool,
}

impl Plain {
    /// Of new entries, which have all an origin or none.
    pub fn new(domain: &str, new: &[New<'_>]) -> Self {
        let linked = new.first().is_some_and(|new| new.origin.is_some());
        let exact = PREFIX + domain.len() + new.iter().map(New::bytes).sum::<usize>();
        let mut plain = Zeroizing::new(Vec::with_capacity(exact.next_multiple_of(PADDING)));
        plain.extend_from_slice(&(new.len() as u32).to_le_bytes());
        plain.extend_from_slice(&(domain.len() as u32).to_le_bytes());
        for new in new {
            plain.extend_from_slice(&new.key.to_bytes());
        }
        for new in new {
            plain.extend_from_slice(&new.token.0);
        }
        if linked {
            for new in new {
                plain.extend_from_slice(&new.origin.unwrap_or_default().to_le_bytes());
            }
        }
        for new in new {
            plain.extend_from_slice(&(new.value.len() as u32).to_le_bytes());
        }
        plain.extend_from_slice(domain.as_bytes());
        for new in new {
            plain.extend_from_slice(new.value);
        }
        let padded = plain.len().next_multiple_of(PADDING);
        plain.resize(padded, 0);
        Self { bytes: plain, linked }
    }
}

/// A frame that was opened. Holds values: wiped when dropped.
pub(super) struct Frame {
    pub place: u64,
    pub count: usize,
    domain: usize,
    linked: bool,
    plain: Zeroizing<Vec<u8>>,
}

impl Frame {
    fn new(place: u64, plain: Zeroizing<Vec<u8>>, linked: bool) -> Option<Self> {
        let (count, rest) = plain.split_first_chunk::<4>()?;
        let domain = u32::from_le_bytes(*rest.first_chunk()?) as usize;
        let count = u32::from_le_bytes(*count) as usize;
        let frame = Self { place, count, domain, linked, plain };
        let bytes: usize = frame.lengths().sum();
        let shape = PREFIX.checked_add(count.checked_mul(width(linked))?)?.checked_add(domain)?.checked_add(bytes)?;
        (frame.plain.len() == shape.next_multiple_of(PADDING) && frame.domain().is_some()).then_some(frame)
    }

    pub fn domain(&self) -> Option<&str> {
        let bytes = self.plain.get(self.head()..)?.get(..self.domain)?;
        std::str::from_utf8(bytes).ok()
    }

    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        let keys = self.part(0, 16).as_chunks::<16>().0.iter();
        let mut origins = self.part(32, if self.linked { 8 } else { 0 }).as_chunks::<8>().0.iter();
        keys.zip(self.tokens()).map(move |(key, token)| {
            let place = origins.next().map_or(self.place, |origin| u64::from_le_bytes(*origin));
            Entry { key: Key::from_bytes(*key), token, place }
        })
    }

    pub fn tokens(&self) -> impl Iterator<Item = Token> {
        self.part(16, 16).as_chunks::<16>().0.iter().map(|token| Token(*token))
    }

    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.plain.get(self.head() + self.domain..).unwrap_or_default();
        self.lengths().map_while(move |len| {
            let (value, after) = rest.split_at_checked(len)?;
            rest = after;
            Some(value)
        })
    }

    fn lengths(&self) -> impl Iterator<Item = usize> {
        let lengths = self.part(width(self.linked) - 4, 4).as_chunks::<4>().0.iter();
        lengths.map(|len| u32::from_le_bytes(*len) as usize)
    }

    /// Bytes before the domain's name.
    fn head(&self) -> usize {
        PREFIX + self.count * width(self.linked)
    }

    /// The column that stands behind `before` bytes an entry.
    fn part(&self, before: usize, width: usize) -> &[u8] {
        let from = PREFIX + self.count * before;
        self.plain.get(from..).and_then(|rest| rest.get(..self.count * width)).unwrap_or_default()
    }
}
