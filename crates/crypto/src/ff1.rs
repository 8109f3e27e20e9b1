//! Format-preserving encryption: FF1 (NIST SP 800-38G rev. 1). A number of nine digits becomes a number of nine digits.
//!
//! A half of up to 64 bits (38 decimal digits in all) is computed on machine words: the ten rounds of up to 64 values
//! go in step, so that their AES blocks are encrypted in parallel. Everything of the pseudo-random function that does
//! not depend on the round or the value (the header block, the tweak) is encrypted once per batch. Longer values go
//! digit by digit.

mod digits;
mod words;

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256, Block};

use crate::{CryptoError, FpeKey, PurposeKey};

/// SP 800-38G rev. 1, section 5.1: where there are fewer values than this, all of them can be tried.
pub const MIN_DOMAIN: u32 = 1_000_000;

const ROUNDS: u8 = 10;

/// FF1 in one radix under one key. Digits are numbers from 0 to radix − 1.
///
/// ```
/// use cordon_crypto::{Ff1, FpeKey};
///
/// let ff1 = Ff1::for_key(&FpeKey::generate(), 10)?;
/// let mut digits = [1, 2, 3, 4, 5, 6, 7, 8, 9];
/// ff1.encrypt(b"column", &mut digits)?;
/// ff1.decrypt(b"column", &mut digits)?;
/// assert_eq!(digits, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
/// # Ok::<(), cordon_crypto::CryptoError>(())
/// ```
pub struct Ff1 {
    cipher: Cipher,
    radix: u32,
    small_domains: bool,
}

enum Cipher {
    Aes128(Box<Aes128>),
    Aes192(Box<Aes192>),
    Aes256(Box<Aes256>),
}

impl Cipher {
    fn encrypt(&self, blocks: &mut [Block]) {
        match self {
            Self::Aes128(cipher) => cipher.encrypt_blocks(blocks),
            Self::Aes192(cipher) => cipher.encrypt_blocks(blocks),
            Self::Aes256(cipher) => cipher.encrypt_blocks(blocks),
        }
    }

    fn encrypt_one(&self, block: [u8; 16]) -> [u8; 16] {
        let mut block = [Block::from(block)];
        self.encrypt(&mut block);
        let [block] = block;
        block.into()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Encrypt,
    Decrypt,
}

impl Direction {
    fn rounds(self) -> impl Iterator<Item = u8> {
        (0..ROUNDS).map(move |round| match self {
            Self::Encrypt => round,
            Self::Decrypt => ROUNDS - 1 - round,
        })
    }
}

impl Ff1 {
    /// With an AES key of 16, 24 or 32 bytes and a radix from 2 to 65536. Values of a domain under [`MIN_DOMAIN`] are
    /// refused.
    pub fn new(key: &[u8], radix: u32) -> Result<Self, CryptoError> {
        if !(2..=65_536).contains(&radix) {
            return Err(CryptoError::Radix { radix });
        }
        let wrong = |_| CryptoError::KeyLength { algorithm: "FF1", found: key.len() };
        let cipher = match key.len() {
            16 => Cipher::Aes128(Box::new(Aes128::new_from_slice(key).map_err(wrong)?)),
            24 => Cipher::Aes192(Box::new(Aes192::new_from_slice(key).map_err(wrong)?)),
            _ => Cipher::Aes256(Box::new(Aes256::new_from_slice(key).map_err(wrong)?)),
        };
        Ok(Self { cipher, radix, small_domains: false })
    }

    pub fn for_key(key: &FpeKey, radix: u32) -> Result<Self, CryptoError> {
        Self::new(PurposeKey::dangerous_expose(key), radix)
    }

    /// Also takes values of fewer than [`MIN_DOMAIN`] possibilities, of two digits or more: an attacker can try all of
    /// them. For test vectors and for reading what another system made.
    #[must_use]
    pub fn dangerous_allow_small_domains(mut self) -> Self {
        self.small_domains = true;
        self
    }

    pub fn radix(&self) -> u32 {
        self.radix
    }

    /// Whether values of this many digits are enough to hide one among them: `radix^length` >= [`MIN_DOMAIN`]. For a
    /// policy's checker, before any value is seen.
    pub fn check_domain(radix: u32, length: usize) -> Result<(), CryptoError> {
        if !(2..=65_536).contains(&radix) {
            return Err(CryptoError::Radix { radix });
        }
        if length < Self::min_length(radix) {
            return Err(CryptoError::DomainTooSmall { radix, length });
        }
        Ok(())
    }

    /// The fewest digits that [`Ff1::check_domain`] lets pass: 6 in radix 10, 4 in radix 36.
    pub fn min_length(radix: u32) -> usize {
        let powers = std::iter::successors(Some(u64::from(radix)), |power| power.checked_mul(u64::from(radix.max(2))));
        (1 + powers.take_while(|power| *power < u64::from(MIN_DOMAIN)).count()).max(2)
    }

    /// Encrypts in place. The tweak is not secret; another tweak is another permutation.
    pub fn encrypt(&self, tweak: &[u8], digits: &mut [u16]) -> Result<(), CryptoError> {
        let length = digits.len();
        self.run(Direction::Encrypt, tweak, length, digits)
    }

    pub fn decrypt(&self, tweak: &[u8], digits: &mut [u16]) -> Result<(), CryptoError> {
        let length = digits.len();
        self.run(Direction::Decrypt, tweak, length, digits)
    }

    /// Encrypts in place values of `length` digits each that stand one behind the other in `digits`. Gives what
    /// [`Ff1::encrypt`] gives for each of them, several times as fast. On an error nothing was changed.
    pub fn encrypt_batch(&self, tweak: &[u8], length: usize, digits: &mut [u16]) -> Result<(), CryptoError> {
        self.run(Direction::Encrypt, tweak, length, digits)
    }

    pub fn decrypt_batch(&self, tweak: &[u8], length: usize, digits: &mut [u16]) -> Result<(), CryptoError> {
        self.run(Direction::Decrypt, tweak, length, digits)
    }

    fn run(&self, direction: Direction, tweak: &[u8], length: usize, digits: &mut [u16]) -> Result<(), CryptoError> {
        if !self.small_domains {
            Self::check_domain(self.radix, length)?;
        }
        if length < 2 {
            return Err(CryptoError::DomainTooSmall { radix: self.radix, length });
        }
        if !digits.len().is_multiple_of(length) {
            return Err(CryptoError::Malformed { what: "batch of digits" });
        }
        let outside = |digit: &u16| u32::from(*digit) >= self.radix;
        if let Some(at) = digits.iter().position(outside) {
            return Err(CryptoError::DigitOutsideAlphabet { position: at % length });
        }
        let prf = Prf::new(&self.cipher, self.radix, length, tweak)?;
        if let Some(half) = words::Halves::of(self.radix, length) {
            words::run(&half, &prf, direction, digits);
        } else {
            for value in digits.chunks_exact_mut(length) {
                digits::run(self.radix, &prf, direction, value);
            }
        }
        Ok(())
    }
}

/// The pseudo-random function of SP 800-38G, algorithm 7, steps 3 to 6.iii, for one length and one tweak: CBC-MAC over
/// `P ‖ tweak ‖ 0… ‖ [round] ‖ [NUM(B)]^b`, continued to `d` bytes.
struct Prf<'a> {
    cipher: &'a Cipher,
    /// Bytes of NUM(B).
    b: usize,
    /// Bytes of the number that is added.
    d: usize,
    /// CBC-MAC of all blocks that hold neither the round nor the value.
    prefix: [u8; 16],
    /// The blocks behind them, with the round and the value left 0.
    tail: Vec<u8>,
}

impl<'a> Prf<'a> {
    fn new(cipher: &'a Cipher, radix: u32, length: usize, tweak: &[u8]) -> Result<Self, CryptoError> {
        let n = u32::try_from(length).map_err(|_| CryptoError::TooLong { what: "FF1" })?;
        let t = u32::try_from(tweak.len()).map_err(|_| CryptoError::TooLong { what: "FF1" })?;
        let b = digits::bytes_of_half(radix, length - length / 2);
        let d = 4 * b.div_ceil(4) + 4;
        let [_, radix @ ..] = radix.to_be_bytes();
        let mut header = [1, 2, 1, radix[0], radix[1], radix[2], ROUNDS, (length / 2) as u8]
            .into_iter()
            .chain(n.to_be_bytes())
            .chain(t.to_be_bytes());
        let header = std::array::from_fn(|_| header.next().unwrap_or_default());

        let mut q = tweak.to_vec();
        q.resize((tweak.len() + 1 + b).next_multiple_of(16), 0);
        // The round and the value end the message; what stands before their first block is the same for all.
        let tail = q.split_off((q.len() - 1 - b) / 16 * 16);
        let mut prefix = cipher.encrypt_one(header);
        for block in q.as_chunks().0 {
            prefix = cipher.encrypt_one(xor(prefix, *block));
        }
        Ok(Self { cipher, b, d, prefix, tail })
    }
}

fn xor(a: [u8; 16], b: [u8; 16]) -> [u8; 16] {
    (u128::from_ne_bytes(a) ^ u128::from_ne_bytes(b)).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    /// NIST's samples for SP 800-38G, FF1 1 to 9.
    #[test]
    fn agrees_with_the_samples_of_nist() {
        const KEY: &[u8] = b"2B7E151628AED2A6ABF7158809CF4F3CEF4359D8D580AA4F7F036D6F04FC6A94";
        let cases = [
            (16, 10, "", "0123456789", "2433477484"),
            (16, 10, "39383736353433323130", "0123456789", "6124200773"),
            (16, 36, "3737373770717273373737", "0123456789abcdefghi", "a9tv40mll9kdu509eum"),
            (24, 10, "", "0123456789", "2830668132"),
            (24, 10, "39383736353433323130", "0123456789", "2496655549"),
            (24, 36, "3737373770717273373737", "0123456789abcdefghi", "xbj3kv35jrawxv32ysr"),
            (32, 10, "", "0123456789", "6657667009"),
            (32, 10, "39383736353433323130", "0123456789", "1001623463"),
            (32, 36, "3737373770717273373737", "0123456789abcdefghi", "xs8a0azh2avyalyzuwd"),
        ];
        // The samples have three keys; the longer ones begin with the same bytes.
        let key = data_encoding::HEXUPPER.decode(KEY).unwrap();
        for (key_length, radix, tweak, plain, expected) in cases {
            let tweak = data_encoding::HEXUPPER.decode(tweak.as_bytes()).unwrap();
            let of = |text: &str| -> Vec<u16> { text.chars().map(|c| c.to_digit(radix).unwrap() as u16).collect() };
            let ff1 = Ff1::new(&key[..key_length], radix).unwrap();
            let mut digits = of(plain);
            ff1.encrypt(&tweak, &mut digits).unwrap();
            assert_eq!(digits, of(expected), "{key_length} {radix}");
            ff1.decrypt(&tweak, &mut digits).unwrap();
            assert_eq!(digits, of(plain));
        }
    }

    #[test]
    fn small_domains_are_refused_unless_asked_for() {
        assert_eq!(Ff1::min_length(10), 6);
        assert_eq!(Ff1::min_length(36), 4);
        assert_eq!(Ff1::min_length(2), 20);
        assert_eq!(Ff1::min_length(65_536), 2);
        assert!(Ff1::check_domain(10, 6).is_ok());
        let ff1 = Ff1::new(&[0; 32], 10).unwrap();
        let refused = Err(CryptoError::DomainTooSmall { radix: 10, length: 5 });
        assert_eq!(ff1.encrypt(b"", &mut [1, 2, 3, 4, 5]), refused);
        assert_eq!(Ff1::check_domain(10, 5), refused);
        let ff1 = ff1.dangerous_allow_small_domains();
        assert!(ff1.encrypt(b"", &mut [1, 2]).is_ok());
        assert!(ff1.encrypt(b"", &mut [1]).is_err());
        assert!(ff1.encrypt(b"", &mut []).is_err());
    }

    #[test]
    fn what_is_not_a_digit_is_refused_and_nothing_is_changed() {
        let ff1 = Ff1::new(&[0; 32], 10).unwrap();
        let mut digits = [1, 2, 3, 4, 5, 6, 7, 8, 10, 1, 2, 3];
        let before = digits;
        assert_eq!(ff1.encrypt_batch(b"", 6, &mut digits), Err(CryptoError::DigitOutsideAlphabet { position: 2 }));
        assert_eq!(digits, before);
        assert!(ff1.encrypt_batch(b"", 7, &mut digits).is_err());
        assert!(Ff1::new(&[0; 32], 1).is_err());
        assert!(Ff1::new(&[0; 32], 65_537).is_err());
        assert!(Ff1::new(&[0; 31], 10).is_err());
    }

    /// The two ways of computing, on lengths that both can take.
    #[test]
    fn words_and_digits_agree() {
        for (radix, lengths) in [(2, 2..=128), (10, 2..=38), (36, 2..=24), (62, 2..=20), (65_536, 2..=6)] {
            let ff1 = Ff1::new(&[7; 32], radix).unwrap().dangerous_allow_small_domains();
            for length in lengths {
                let Some(half) = words::Halves::of(radix, length) else {
                    continue;
                };
                for (seed, tweak) in [(1_u32, b"".as_slice()), (99, b"tweak"), (7, &[3; 40])] {
                    let value: Vec<u16> =
                        (0..length as u32).map(|i| ((seed * 7919 + i * 104_729) % radix) as u16).collect();
                    let prf = Prf::new(&ff1.cipher, radix, length, tweak).unwrap();
                    for direction in [Direction::Encrypt, Direction::Decrypt] {
                        let (mut one, mut other) = (value.clone(), value.clone());
                        words::run(&half, &prf, direction, &mut one);
                        digits::run(radix, &prf, direction, &mut other);
                        assert_eq!(one, other, "radix {radix}, length {length}");
                    }
                }
            }
        }
    }

    /// The largest values reach the edges of the words.
    #[test]
    fn words_and_digits_agree_on_the_largest_values() {
        for (radix, length) in [(2, 128), (10, 38), (10, 19), (10, 20), (16, 31), (65_536, 8), (65_535, 8)] {
            let ff1 = Ff1::new(&[7; 16], radix).unwrap();
            let mut value = vec![(radix - 1) as u16; length];
            let mut other = value.clone();
            ff1.encrypt(b"t", &mut value).unwrap();
            let prf = Prf::new(&ff1.cipher, radix, length, b"t").unwrap();
            digits::run(radix, &prf, Direction::Encrypt, &mut other);
            assert_eq!(value, other, "radix {radix}, length {length}");
        }
    }

    #[test]
    fn a_batch_is_its_values() {
        let ff1 = Ff1::new(&[9; 32], 10).unwrap();
        for count in [0, 1, 2, 63, 64, 65, 200] {
            for length in [6, 9, 10, 17, 38, 45] {
                let mut batch: Vec<u16> = (0..count * length).map(|i| (i * i % 10) as u16).collect();
                let before = batch.clone();
                let mut single = batch.clone();
                ff1.encrypt_batch(b"t", length, &mut batch).unwrap();
                for value in single.chunks_mut(length) {
                    ff1.encrypt(b"t", value).unwrap();
                }
                assert_eq!(batch, single);
                ff1.decrypt_batch(b"t", length, &mut batch).unwrap();
                assert_eq!(batch, before);
            }
        }
    }
}
