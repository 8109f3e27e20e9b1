//! A keyed permutation of single blocks.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes256, Block};

/// AES-256 (FIPS 197) of one block at a time: to who has no key, what comes out tells nothing but which blocks were the same. Not for
/// encrypting anything that is longer.
#[derive(Clone)]
pub struct BlockPermutation(Aes256);

impl BlockPermutation {
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Aes256::new(key.into()))
    }

    #[inline]
    pub fn of(&self, block: u128) -> u128 {
        let mut block = Block::from(block.to_le_bytes());
        self.0.encrypt_block(&mut block);
        u128::from_le_bytes(block.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_aes_256() {
        // FIPS 197, appendix C.3.
        let key = std::array::from_fn(|at| at as u8);
        let block = u128::from_be_bytes(std::array::from_fn(|at| at as u8 * 0x11)).swap_bytes();
        let expected = 0x8ea2_b7ca_5167_45bf_eafc_4990_4b49_6089_u128.swap_bytes();
        assert_eq!(BlockPermutation::new(&key).of(block), expected);
    }
}
