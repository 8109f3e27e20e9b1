//! Record keys that look like what an EHR exports: RFC 9562 version 8 UUIDs ("custom"), made from the seed,
//! the kind of record and its number, and never from anything about the person.

use crate::rng::mix;

/// The 36 characters of a UUID, ready to be copied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Id([u8; 36]);

#[derive(Clone, Copy)]
pub enum Thing {
    Patient = 1,
    Encounter,
    Condition,
    Observation,
    Medication,
    Procedure,
    Claim,
    Device,
    Note,
    Practitioner,
    Organization,
    Photo,
    Bench,
}

const HEX: [[u8; 2]; 256] = hex_pairs();

#[expect(clippy::indexing_slicing, reason = "constant evaluation: a wrong index does not compile")]
const fn hex_pairs() -> [[u8; 2]; 256] {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    table
}

impl Id {
    pub fn new(seed: u64, thing: Thing, number: u64, part: u64) -> Self {
        let base = mix(seed ^ (thing as u64) << 56)
            .wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
            .wrapping_add(part.wrapping_mul(0xC2B2_AE3D_27D4_EB4F));
        let high = mix(base);
        let low = mix(base ^ 0xA076_1D64_78BD_642F);
        let bits = (u128::from(high) << 64) | u128::from(low);
        // Version 8, variant 10.
        let bits = bits & !(0xF << 76) & !(0x3 << 62) | (0x8 << 76) | (0x2 << 62);
        let mut text = [b'-'; 36];
        let mut slots = text.chunks_mut(1);
        for (index, byte) in bits.to_be_bytes().into_iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                slots.next();
            }
            for digit in HEX.get(usize::from(byte)).into_iter().flatten() {
                if let Some([slot]) = slots.next() {
                    *slot = *digit;
                }
            }
        }
        Self(text)
    }

    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    #[inline]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn shaped_as_rfc_9562_says_and_distinct() {
        let mut seen = HashSet::new();
        for number in 0..200 {
            for part in 0..50 {
                let id = Id::new(1, Thing::Observation, number, part);
                let text = id.text().to_owned();
                let groups: Vec<usize> = text.split('-').map(str::len).collect();
                assert_eq!(groups, [8, 4, 4, 4, 12], "{text}");
                assert_eq!(text.as_bytes().get(14), Some(&b'8'), "{text}");
                assert!(matches!(text.as_bytes().get(19), Some(b'8' | b'9' | b'a' | b'b')), "{text}");
                assert!(seen.insert(text));
            }
        }
    }
}
