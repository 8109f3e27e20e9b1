//! FF1 digit by digit: any length, no number larger than a word.

use super::{Direction, Prf, xor};

/// `b` of algorithm 7, step 3: the bytes that hold any number of `length` digits, from the bits of radix^length − 1.
pub(super) fn bytes_of_half(radix: u32, length: usize) -> usize {
    // Enough words for 16 bits a digit.
    let mut words = vec![0_u32; length.div_ceil(2)];
    for _ in 0..length {
        multiply_add(&mut words, radix, radix - 1);
    }
    let leading = words.iter().take_while(|word| **word == 0).count();
    let bits = words.get(leading).map_or(0, |word| 32 - word.leading_zeros() as usize);
    (bits + 32 * words.len().saturating_sub(leading + 1)).div_ceil(8)
}

/// `number = number * factor + term`; the first word is the highest. What does not fit is dropped.
fn multiply_add(number: &mut [u32], factor: u32, term: u32) {
    let mut carry = u64::from(term);
    for word in number.iter_mut().rev() {
        carry += u64::from(*word) * u64::from(factor);
        *word = carry as u32;
        carry >>= 32;
    }
}

pub(super) fn run(radix: u32, prf: &Prf<'_>, direction: Direction, value: &mut [u16]) {
    let (first, second) = value.split_at_mut(value.len() / 2);
    let mut number = vec![0_u32; prf.b.div_ceil(4)];
    for round in direction.rounds() {
        // Rather than to swap the halves each round, name them: A is the one that is changed.
        let even = round.is_multiple_of(2);
        let (a, b) = if even { (&mut *first, &*second) } else { (&mut *second, &*first) };
        number.fill(0);
        for digit in b {
            multiply_add(&mut number, radix, u32::from(*digit));
        }
        let y = prf.bytes(round, &number);
        let y = low_digits(radix, &y, a.len());
        add(radix, a, &y, direction);
    }
}

impl Prf<'_> {
    /// `S` of algorithm 7, step 6.iii.
    fn bytes(&self, round: u8, number: &[u32]) -> Vec<u8> {
        let number: Vec<u8> = number.iter().flat_map(|word| word.to_be_bytes()).collect();
        let mut message = self.tail.clone();
        let fixed = message.len() - 1 - self.b;
        let (_, end) = message.split_at_mut(fixed);
        let low = number.get(number.len() - self.b..).unwrap_or_default();
        for (to, from) in end.iter_mut().zip(std::iter::once(&round).chain(low)) {
            *to = *from;
        }
        let mut r = self.prefix;
        for block in message.as_chunks().0 {
            r = self.cipher.encrypt_one(xor(r, *block));
        }
        let mut out = r.to_vec();
        for j in 1..self.d.div_ceil(16) as u128 {
            out.extend_from_slice(&self.cipher.encrypt_one(xor(r, j.to_be_bytes())));
        }
        out.truncate(self.d);
        out
    }
}

/// The lowest `length` digits of a number: the number modulo radix^length.
fn low_digits(radix: u32, number: &[u8], length: usize) -> Vec<u16> {
    let mut digits = vec![0_u16; length];
    for word in number.as_chunks().0 {
        let mut carry = u64::from(u32::from_be_bytes(*word));
        for digit in digits.iter_mut().rev() {
            carry += u64::from(*digit) << 32;
            *digit = (carry % u64::from(radix)) as u16;
            carry /= u64::from(radix);
        }
    }
    digits
}

/// Adds or takes away, modulo radix^length.
fn add(radix: u32, to: &mut [u16], term: &[u16], direction: Direction) {
    let mut carry = 0;
    for (digit, term) in to.iter_mut().zip(term).rev() {
        let (old, term) = (u32::from(*digit), u32::from(*term) + carry);
        let sum = match direction {
            Direction::Encrypt => old + term,
            Direction::Decrypt => old + 2 * radix - term,
        };
        *digit = (sum % radix) as u16;
        carry = match direction {
            Direction::Encrypt => sum / radix,
            Direction::Decrypt => 2 - sum / radix,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::bytes_of_half;

    #[test]
    fn bytes_are_the_logarithm_rounded_up() {
        for (radix, length, bytes) in [
            (2, 8, 1),
            (2, 9, 2),
            (10, 2, 1),
            (10, 3, 2),
            (10, 5, 3),
            (10, 19, 8),
            (10, 20, 9),
            (256, 1, 1),
            (257, 1, 2),
            (65_536, 1, 2),
            (65_536, 7, 14),
        ] {
            assert_eq!(bytes_of_half(radix, length), bytes, "{radix}^{length}");
        }
    }
}
