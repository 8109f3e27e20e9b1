//! FF1 on machine words, many values in step.

use aes::Block;

use super::{Direction, Prf};

/// Values whose rounds go in step: enough to fill the processor's AES pipeline, few enough to stay in its first cache.
const LANES: usize = 64;

/// How numbers of one radix and length split into halves that fit words.
pub(super) struct Halves {
    radix: Modulus,
    length: usize,
    /// Of the first half, radix^u.
    first: Modulus,
    /// Of the second half, radix^v.
    second: Modulus,
}

impl Halves {
    /// `None` when a half does not fit 64 bits.
    pub(super) fn of(radix: u32, length: usize) -> Option<Self> {
        let power = |digits: usize| u64::from(radix).checked_pow(u32::try_from(digits).ok()?);
        let u = length / 2;
        Some(Self {
            radix: Modulus::new(u64::from(radix)),
            length,
            first: Modulus::new(power(u)?),
            second: Modulus::new(power(length - u)?),
        })
    }
}

/// Division by a number known beforehand (Barrett 1986): a multiplication instead of a division.
#[derive(Clone, Copy)]
struct Modulus {
    value: u64,
    inverse: u64,
    /// 2^64 modulo the value.
    word: u64,
}

impl Modulus {
    fn new(value: u64) -> Self {
        let inverse = u64::MAX / value;
        let word = (u64::MAX - inverse * value + 1) % value;
        Self { value, inverse, word }
    }

    #[inline]
    fn divide(self, x: u64) -> (u64, u64) {
        // inverse > 2^64 / value − 1 − 2^-63, so the estimate is short of the quotient by at most 2.
        let mut quotient = ((u128::from(x) * u128::from(self.inverse)) >> 64) as u64;
        let mut rest = x - quotient * self.value;
        for _ in 0..2 {
            let over = u64::from(rest >= self.value);
            quotient += over;
            rest -= self.value & over.wrapping_neg();
        }
        (quotient, rest)
    }

    #[inline]
    fn reduce(self, x: u64) -> u64 {
        self.divide(x).1
    }

    /// Of a number of up to 96 bits.
    #[inline]
    fn reduce_wide(self, x: u128) -> u64 {
        if u32::try_from(self.value).is_ok() {
            let high = (x >> 64) as u64 * self.word; // 32 bits by 32 bits
            self.add(self.reduce(high), self.reduce(x as u64))
        } else {
            (x % u128::from(self.value)) as u64
        }
    }

    /// Of two numbers below the modulus.
    #[inline]
    fn add(self, a: u64, b: u64) -> u64 {
        let (sum, over) = a.overflowing_add(b);
        if over || sum >= self.value { sum.wrapping_sub(self.value) } else { sum }
    }

    #[inline]
    fn subtract(self, a: u64, b: u64) -> u64 {
        let (difference, under) = a.overflowing_sub(b);
        if under { difference.wrapping_add(self.value) } else { difference }
    }
}

pub(super) fn run(halves: &Halves, prf: &Prf<'_>, direction: Direction, digits: &mut [u16]) {
    let rounds = Rounds::new(prf);
    for group in digits.chunks_mut(LANES * halves.length) {
        let lanes = group.len() / halves.length;
        let (mut first, mut second) = ([0; LANES], [0; LANES]);
        for ((value, first), second) in group.chunks_exact(halves.length).zip(&mut first).zip(&mut second) {
            let (high, low) = value.split_at(halves.length / 2);
            *first = number(halves.radix, high);
            *second = number(halves.radix, low);
        }
        if let (Some(first), Some(second)) = (first.get_mut(..lanes), second.get_mut(..lanes)) {
            rounds.run(halves, direction, first, second);
        }
        for ((value, first), second) in group.chunks_exact_mut(halves.length).zip(first).zip(second) {
            let (high, low) = value.split_at_mut(halves.length / 2);
            put_digits(halves.radix, first, high);
            put_digits(halves.radix, second, low);
        }
    }
}

#[inline]
fn number(radix: Modulus, digits: &[u16]) -> u64 {
    digits.iter().fold(0, |number, digit| number * radix.value + u64::from(*digit))
}

#[inline]
fn put_digits(radix: Modulus, mut number: u64, digits: &mut [u16]) {
    for digit in digits.iter_mut().rev() {
        let (quotient, rest) = radix.divide(number);
        *digit = rest as u16;
        number = quotient;
    }
}

/// The pseudo-random function when NUM(B) has at most 8 bytes: the round and the value stand in one last block, so
/// that one AES call is left for each round of each value.
struct Rounds<'a> {
    prf: &'a Prf<'a>,
    /// What the last block is before the round and the value are put in.
    base: u128,
    /// Where the round stands, in bits from the right.
    round_at: u32,
    /// Bits of `R` that are not of the number.
    beyond: u32,
    /// The number that is added fits 64 bits.
    narrow: bool,
}

impl<'a> Rounds<'a> {
    fn new(prf: &'a Prf<'a>) -> Self {
        debug_assert!(prf.b <= 8 && prf.d <= 12 && prf.tail.len() == 16);
        let tail = prf.tail.first_chunk().copied().unwrap_or_default();
        Self {
            prf,
            base: u128::from_be_bytes(prf.prefix) ^ u128::from_be_bytes(tail),
            round_at: 8 * prf.b as u32,
            beyond: 8 * (16 - prf.d as u32),
            narrow: prf.d <= 8,
        }
    }

    fn run(&self, halves: &Halves, direction: Direction, first: &mut [u64], second: &mut [u64]) {
        let mut blocks = [Block::default(); LANES];
        let Some(blocks) = blocks.get_mut(..first.len()) else {
            return;
        };
        for round in direction.rounds() {
            // Rather than to swap the halves each round, name them: A is the one that is changed.
            if round.is_multiple_of(2) {
                self.round(halves.first, round, direction, first, second, blocks);
            } else {
                self.round(halves.second, round, direction, second, first, blocks);
            }
        }
    }

    #[inline]
    fn round(&self, modulus: Modulus, round: u8, direction: Direction, a: &mut [u64], b: &[u64], blocks: &mut [Block]) {
        let base = self.base ^ (u128::from(round) << self.round_at);
        for (block, b) in blocks.iter_mut().zip(b) {
            *block = Block::from((base ^ u128::from(*b)).to_be_bytes());
        }
        self.prf.cipher.encrypt(blocks);
        let y = |block: &Block| u128::from_be_bytes((*block).into()) >> self.beyond;
        // Decided here and not in the loops.
        match (direction, self.narrow) {
            (Direction::Encrypt, true) => apply(a, blocks, |a, block| modulus.add(a, modulus.reduce(y(block) as u64))),
            (Direction::Encrypt, false) => apply(a, blocks, |a, block| modulus.add(a, modulus.reduce_wide(y(block)))),
            (Direction::Decrypt, true) => {
                apply(a, blocks, |a, block| modulus.subtract(a, modulus.reduce(y(block) as u64)));
            }
            (Direction::Decrypt, false) => {
                apply(a, blocks, |a, block| modulus.subtract(a, modulus.reduce_wide(y(block))));
            }
        }
    }
}

#[inline]
fn apply(a: &mut [u64], blocks: &[Block], change: impl Fn(u64, &Block) -> u64) {
    for (a, block) in a.iter_mut().zip(blocks) {
        *a = change(*a, block);
    }
}

#[cfg(test)]
mod tests {
    use super::Modulus;

    #[test]
    fn division_is_exact() {
        let interesting = [0, 1, 2, 9, 10, 99_999, 100_000, 1 << 32, u64::MAX / 2, u64::MAX - 1, u64::MAX];
        for value in [1, 2, 3, 10, 36, 62, 100_000, 65_536, 10_u64.pow(10), 10_u64.pow(19), 1 << 63, u64::MAX] {
            let modulus = Modulus::new(value);
            for around in interesting {
                for x in [around, around.wrapping_mul(value), around.wrapping_mul(value).wrapping_sub(1)] {
                    assert_eq!(modulus.divide(x), (x / value, x % value));
                    let wide = (u128::from(x) << 32) | 0xffff_ffff;
                    assert_eq!(u128::from(modulus.reduce_wide(wide)), wide % u128::from(value));
                }
            }
            let (a, b) = (value - 1, value / 2);
            assert_eq!(u128::from(modulus.add(a, b)), (u128::from(a) + u128::from(b)) % u128::from(value));
            assert_eq!(modulus.subtract(modulus.add(a, b), b), a);
            assert_eq!(modulus.add(modulus.subtract(b, a), a), b);
        }
    }
}
