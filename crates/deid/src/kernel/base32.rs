//! How a 128-bit pseudonym is spelled: 26 characters of RFC 4648 base32, lower case, without padding.

use arrow_array::{Array as _, StringArray, StringViewArray};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

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

/// The bits of a spelled pseudonym; `None` for any other text.
pub(super) fn read(text: &str) -> Option<[u8; 16]> {
    let bytes: &[u8; LENGTH] = text.as_bytes().try_into().ok()?;
    let mut number = 0_u128;
    for (place, byte) in bytes.iter().enumerate() {
        let five = u128::from(match byte {
            b'a'..=b'z' => byte - b'a',
            b'2'..=b'7' => byte - b'2' + 26,
            _ => return None,
        });
        // The last character holds three bits and two zeros.
        number = if place == 25 { number << 3 | five >> 2 } else { number << 5 | five };
        if place == 25 && five & 3 != 0 {
            return None;
        }
    }
    Some(number.to_be_bytes())
}

/// A pseudonym for each value that is there, white space around it apart; the empty string is none. `None` when the
/// spellings are more than an array can hold, at 82 million of them.
///
/// All spellings are written one behind the other and checked to be text at once: value by value that costs more than
/// the spelling.
#[inline]
pub(super) fn spell_column(
    values: &StringViewArray,
    mut bits_of: impl FnMut(&[u8]) -> [u8; 16],
) -> Option<StringViewArray> {
    let mut text: Vec<u8> = Vec::with_capacity(values.len() * LENGTH);
    let mut ends: Vec<i32> = Vec::with_capacity(values.len() + 1);
    let mut there = BooleanBufferBuilder::new(values.len());
    ends.push(0);
    for value in values {
        let value = value.map(trimmed).filter(|text| !text.is_empty());
        if let Some(value) = value {
            text.extend_from_slice(&spell(bits_of(value.as_bytes())));
        }
        there.append(value.is_some());
        ends.push(i32::try_from(text.len()).ok()?);
    }
    let nulls = NullBuffer::new(there.finish());
    let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
    let spelled = StringArray::try_new(offsets, Buffer::from_vec(text), Some(nulls)).ok()?;
    Some(StringViewArray::from(&spelled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_as_the_rfc_does() {
        let lower = |bits: [u8; 16]| data_encoding::BASE32_NOPAD.encode(&bits).to_lowercase();
        for bits in [[0; 16], [0xff; 16], std::array::from_fn(|place| (place * 37 + 1) as u8)] {
            assert_eq!(spell(bits).as_slice(), lower(bits).as_bytes());
            assert_eq!(read(&lower(bits)), Some(bits));
        }
        for text in
            ["", "p1", "aaaaaaaaaaaaaaaaaaaaaaaaab", "AAAAAAAAAAAAAAAAAAAAAAAAAA", "aaaaaaaaaaaaaaaaaaaaaaaaaaa"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
