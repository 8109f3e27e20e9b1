//! AES-256 in counter mode (SP 800-38A, section 6.5), for keys that serve one small thing each: a leaf of a
//! [`crate::PuncturableKey`] masks one entry of a vault. It hides and does not authenticate: what holds the masked bytes is
//! sealed as a whole.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes256Enc, Block};
use zeroize::Zeroize;

/// A key made ready. Wiped when dropped.
pub struct CounterStream(Aes256Enc);

impl CounterStream {
    #[inline]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Enc::new(key.into()))
    }

    /// Masks `data`, or takes the mask off, with the stream of `nonce` from its block number `first` on. No part of a stream may
    /// mask two different things.
    pub fn apply(&self, nonce: [u8; 12], first: u32, data: &mut [u8]) {
        const AT_ONCE: usize = 8;
        let mut blocks = [Block::default(); AT_ONCE];
        let mut counter = first;
        for part in data.chunks_mut(AT_ONCE * 16) {
            let used = blocks.get_mut(..part.len().div_ceil(16)).unwrap_or_default();
            for block in used.iter_mut() {
                let (head, tail) = block.split_at_mut(nonce.len());
                head.copy_from_slice(&nonce);
                tail.copy_from_slice(&counter.to_be_bytes());
                counter = counter.wrapping_add(1);
            }
            self.0.encrypt_blocks(used);
            for (part, mask) in part.chunks_mut(16).zip(used.iter()) {
                part.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
            }
        }
        for block in &mut blocks {
            block.as_mut_slice().zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use data_encoding::HEXLOWER;

    use super::*;

    /// SP 800-38A, appendix F.5.5: its counter blocks begin with twelve bytes that stay.
    #[test]
    fn agrees_with_the_standard() {
        let hex = |text: &str| HEXLOWER.decode(text.as_bytes()).unwrap();
        let key = hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
        let mut data = hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
        let nonce = hex("f0f1f2f3f4f5f6f7f8f9fafb").try_into().unwrap();
        CounterStream::new(&key.try_into().unwrap()).apply(nonce, 0xfcfd_feff, &mut data);
        assert_eq!(HEXLOWER.encode(&data), "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5");
    }

    #[test]
    fn parts_are_the_whole() {
        let stream = CounterStream::new(&[3; 32]);
        let mut whole = [0; 1000];
        stream.apply([1; 12], 5, &mut whole);
        for from in [0, 1, 7, 8, 9, 61] {
            let mut part = vec![0; 1000 - from * 16];
            stream.apply([1; 12], 5 + from as u32, &mut part);
            assert_eq!(part, whole[from * 16..]);
        }
        stream.apply([1; 12], 5, &mut whole);
        assert_eq!(whole, [0; 1000]);
    }
}
