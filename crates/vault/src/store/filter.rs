//! A split-block Bloom filter: "surely not here" for one cache line a question.
//!
//! The layout is that of Parquet's filters (256-bit blocks, one bit in each of eight words; Putze, Sanders, Singler
//! 2007), without their hash: a blind index is uniform already. Blocks follow the order of keys, so that a sorted
//! batch walks through the filter in order.

use super::table::Key;

const WORDS: usize = 8;
pub(crate) const BLOCK_BYTES: usize = WORDS * 4;
/// About 0.7 % false positives.
const BITS_PER_KEY: u64 = 12;

pub(crate) struct Filter {
    blocks: Vec<[u32; WORDS]>,
}

impl Filter {
    pub fn for_entries(n: u64) -> Self {
        Self { blocks: vec![[0; WORDS]; (n * BITS_PER_KEY / (WORDS as u64 * 32) + 1) as usize] }
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let blocks = bytes.chunks_exact(BLOCK_BYTES).map(|block| {
            let mut words = [0; WORDS];
            for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(*bytes);
            }
            words
        });
        bytes.len().is_multiple_of(BLOCK_BYTES).then(|| Self { blocks: blocks.collect() })
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.blocks.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
    }

    pub fn add(&mut self, key: Key) {
        let at = key.scale(self.blocks.len() as u64) as usize;
        if let Some(block) = self.blocks.get_mut(at) {
            for (word, bit) in block.iter_mut().zip(Bits::of(key).0) {
                *word |= bit;
            }
        }
    }

    /// `bits` are those of the key: the same for every filter, so they are made once.
    #[inline]
    pub fn may_hold(&self, key: Key, bits: &Bits) -> bool {
        let at = key.scale(self.blocks.len() as u64) as usize;
        self.blocks.get(at).is_some_and(|block| {
            let missing = block.iter().zip(&bits.0).fold(0, |missing, (word, bit)| missing | !word & bit);
            missing == 0
        })
    }
}

/// One bit for each word of a block, from the low half of the key; the high half chooses the block.
pub(crate) struct Bits([u32; WORDS]);

impl Bits {
    pub fn of(key: Key) -> Self {
        Self(std::array::from_fn(|i| 1 << (key.lo >> (i * 5) & 31)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn holds_what_was_added_and_little_else() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut key = || Key { hi: rng.random(), lo: rng.random() };
        let mut filter = Filter::for_entries(50_000);
        let inside: Vec<_> = (0..50_000).map(|_| key()).collect();
        for key in &inside {
            filter.add(*key);
        }
        let filter = Filter::from_bytes(&filter.to_bytes()).unwrap();
        assert!(inside.iter().all(|k| filter.may_hold(*k, &Bits::of(*k))));
        let outside: Vec<_> = (0..100_000).map(|_| key()).collect();
        let wrong = outside.iter().filter(|k| filter.may_hold(**k, &Bits::of(**k))).count();
        assert!(wrong < 1_500, "{wrong} of 100,000");
    }
}
