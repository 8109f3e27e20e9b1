//! How a 128-bit pseudonym is spelled: 26 characters of RFC 4648 base32, lower case, without padding.

use arrow_array::builder::StringViewBuilder;
use arrow_array::{Array, StringViewArray};

use super::text::trimmed;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The length of a spelled pseudonym.
pub(super) const LENGTH: usize = 26;

/// Spells 128 bits, most significant first; the last character holds three bits and two zeros.
#[inline]
pub(super) fn spell(bits: [u8; 16]) -> [u8; LENGTH] {
    let number = u128::from_be_bytes(bits);
    let mut out = [0; LENGTH];
    for (place, character) in (0_u32..).zip(out.iter_mut()) {
        let five = if place == 25 { number << 2 } else { number >> (123 - 5 * place) } as usize & 31;
        *character = ALPHABET.get(five).copied().unwrap_or(b'a');
    }
    out
}

/// A pseudonym for each value that is there, white space around it apart; the empty string is none.
#[inline]
pub(super) fn spell_column(values: &StringViewArray, mut bits_of: impl FnMut(&[u8]) -> [u8; 16]) -> StringViewArray {
    // One block for all spellings: 26 bytes never fit into a view.
    let block = u32::try_from(values.len() * LENGTH).unwrap_or(u32::MAX).clamp(1, 1 << 30);
    let mut out = StringViewBuilder::with_capacity(values.len()).with_fixed_block_size(block);
    for value in values {
        let spelled = value.map(trimmed).filter(|text| !text.is_empty()).map(|text| spell(bits_of(text.as_bytes())));
        out.append_option(spelled.as_ref().and_then(|spelled| str::from_utf8(spelled).ok()));
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_as_the_rfc_does() {
        let lower = |bits: [u8; 16]| data_encoding::BASE32_NOPAD.encode(&bits).to_lowercase();
        for bits in [[0; 16], [0xff; 16], std::array::from_fn(|place| (place * 37 + 1) as u8)] {
            assert_eq!(spell(bits).as_slice(), lower(bits).as_bytes());
        }
    }
}
