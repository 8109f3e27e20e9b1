//! How an entry stands on disk: its token, its origin and its value under the key of its slot, which serves nothing else.
//!
//! ```text
//! stream of the slot's key   block 0: token | block 1: origin 8, nothing | from block 2 on: length u32, value, zeros
//! ```
//!
//! Values are filled up to size classes, so that neither a file nor what is left of a destroyed entry tells a length: 16, 32,
//! up to 1,024 bytes, and eight steps in each doubling from there.

use cordon_crypto::CounterStream;
use cordon_phi::Token;
use zeroize::Zeroizing;

/// Token and origin.
pub(super) const MARKS: usize = 24;
const LENGTH: usize = 4;
const VALUE_BLOCK: u32 = 2;
const BEFORE_VALUE: usize = VALUE_BLOCK as usize * 16;
/// Classes that are doublings.
const DOUBLINGS: u8 = 7;

/// The stream of one slot.
pub(super) struct Mask(CounterStream);

impl Mask {
    pub fn new(leaf: &[u8; 32]) -> Self {
        Self(CounterStream::new(leaf))
    }

    pub fn marks(&self, token: &Token, origin: u64) -> [u8; MARKS] {
        let mut marks = [0; MARKS];
        let (first, second) = marks.split_at_mut(16);
        first.copy_from_slice(&token.0);
        second.copy_from_slice(&origin.to_le_bytes());
        self.0.apply([0; 12], 0, &mut marks);
        marks
    }

    /// Token and origin; the latter is noise where only the token was kept.
    pub fn read_marks(&self, masked: &[u8]) -> (Token, u64) {
        let mut marks = [0; MARKS];
        marks.iter_mut().zip(masked).for_each(|(mark, byte)| *mark = *byte);
        self.0.apply([0; 12], 0, &mut marks);
        let [token @ .., _, _, _, _, _, _, _, _] = marks;
        let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, origin @ ..] = marks;
        (Token(token), u64::from_le_bytes(origin))
    }

    /// Appends a value; gives token and origin as [`Self::marks`] does, in one go.
    pub fn push(&self, token: &Token, origin: u64, value: &[u8], out: &mut Vec<u8>) -> [u8; MARKS] {
        let start = out.len();
        out.extend_from_slice(&token.0);
        out.extend_from_slice(&origin.to_le_bytes());
        out.resize(start + BEFORE_VALUE, 0);
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        out.extend_from_slice(value);
        out.resize(start + BEFORE_VALUE + class_bytes(class_of(value.len())), 0);
        self.0.apply([0; 12], 0, out.get_mut(start..).unwrap_or_default());
        let marks = out.get(start..).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or([0; MARKS]);
        out.copy_within(start + BEFORE_VALUE.., start);
        out.truncate(out.len() - BEFORE_VALUE);
        marks
    }

    pub fn read_value(&self, masked: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut value = Zeroizing::new(masked.to_vec());
        self.0.apply([0; 12], VALUE_BLOCK, &mut value);
        let length = u32::from_le_bytes(*value.first_chunk()?) as usize;
        (length <= value.len() - LENGTH).then_some(())?;
        value.copy_within(LENGTH..LENGTH + length, 0);
        value.truncate(length);
        Some(value)
    }
}

/// The class of a value of so many bytes.
pub(super) fn class_of(length: usize) -> u8 {
    let bytes = (length + LENGTH).max(16);
    if bytes <= 1024 {
        return (bytes.next_power_of_two().ilog2() - 4) as u8;
    }
    // Eight steps from 8·2ᵉ to 16·2ᵉ.
    let step = (bytes - 1).ilog2() - 3;
    let eighths = ((bytes - 1) >> step) as u8 - 7;
    DOUBLINGS + (step as u8 - 7) * 8 + eighths - 1
}

/// What a value of a class takes on disk.
pub(super) fn class_bytes(class: u8) -> usize {
    match class.checked_sub(DOUBLINGS) {
        None => 16 << class,
        Some(above) => (usize::from(above % 8) + 9) << (above / 8 + 7).min(40),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn every_length_has_the_smallest_class_that_holds_it() {
        let mut before = 0;
        for class in 0..=150 {
            assert!(class_bytes(class) > before, "{class}");
            before = class_bytes(class);
        }
        for length in (0..70_000).chain([(64 << 20) - 1, 64 << 20]) {
            let class = class_of(length);
            assert!(class_bytes(class) >= length + LENGTH, "{length}");
            assert!(class == 0 || class_bytes(class - 1) < length + LENGTH, "{length}");
            assert!(length < 1024 || class_bytes(class) <= (length + LENGTH) * 9 / 8 + 1, "{length}");
        }
    }

    #[test]
    fn what_is_masked_comes_back_with_its_key_only() {
        let (mask, other) = (Mask::new(&[1; 32]), Mask::new(&[2; 32]));
        let marks = mask.marks(&Token([9; 16]), 77);
        assert!(mask.read_marks(&marks) == (Token([9; 16]), 77));
        assert!(mask.read_marks(&marks[..16]).0 == Token([9; 16]));
        assert!(other.read_marks(&marks).0 != Token([9; 16]));
        for length in [0, 1, 12, 13, 300] {
            let mut out = vec![5];
            assert!(mask.push(&Token([9; 16]), 77, &vec![7; length], &mut out) == marks);
            assert_eq!(out.len(), 1 + class_bytes(class_of(length)));
            assert_eq!(*mask.read_value(&out[1..]).unwrap(), vec![7; length]);
            assert!(!out[1..].windows(8).any(|bytes| bytes == [7; 8] || bytes == [0; 8]));
            assert!(other.read_value(&out[1..]).is_none_or(|value| *value != vec![7; length] || length == 0));
        }
    }
}
