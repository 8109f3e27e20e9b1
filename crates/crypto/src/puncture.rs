//! Two to the forty keys out of one, of which any can be destroyed: a puncturable pseudo-random function.
//!
//! The tree of Goldreich, Goldwasser and Micali (1986), with sixteen children a node and ten levels: a node's children
//! are what AES-256 under the node makes of a counter, and the leaf below a *slot* is that slot's key. To *puncture* a slot
//! (Boneh, Waters 2013) is to keep, instead of the nodes on its path, the nodes beside the path: every other leaf is
//! where it was, and from what is kept this one cannot be had, by nobody and with no other key.
//!
//! A punctured slot costs at most 150 nodes of 40 bytes; of n slots punctured among N used ones, each costs about
//! 15·log₁₆(N/n) nodes.

use std::sync::Arc;

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes256Enc, Block};
use zeroize::{Zeroize, Zeroizing};

use crate::{CryptoError, random_bytes};

const BITS: u32 = 4;
const ARITY: usize = 1 << BITS;
const DEPTH: u8 = 10;
const NODE: usize = 32;
/// Of a node in bytes: depth and first slot in one number, and the node.
const ENCODED: usize = 8 + NODE;
/// Of a state: 160 MiB, a hundred thousand punctures. A file that says more was not written by this program.
const MOST_NODES: usize = 1 << 22;
const MALFORMED: CryptoError = CryptoError::Malformed { what: "puncturable key" };

type Node = [u8; NODE];

/// A node that is kept, and what it covers: the slots from `start` on that its depth leaves.
#[derive(Clone, Zeroize)]
struct Kept {
    start: u64,
    depth: u8,
    node: Node,
}

impl Kept {
    fn end(&self) -> u64 {
        self.start + width(self.depth)
    }
}

/// Slots below a node.
fn width(depth: u8) -> u64 {
    1 << (BITS * u32::from(DEPTH.saturating_sub(depth)))
}

/// A key for each slot, but for those that were punctured. Wiped when dropped.
///
/// ```
/// use cordon_crypto::PuncturableKey;
///
/// let mut key = PuncturableKey::generate()?;
/// let (gone, kept) = (key.leaf(7), key.leaf(8));
/// assert!(gone.is_some() && gone != kept);
///
/// key.puncture(&[7])?;
/// assert!(key.leaf(7).is_none());
/// assert_eq!(key.leaf(8), kept);
/// # Ok::<(), cordon_crypto::CryptoError>(())
/// ```
pub struct PuncturableKey {
    /// In order; no two cover the same slot.
    kept: Zeroizing<Vec<Kept>>,
}

impl PuncturableKey {
    /// Slots are numbers below this.
    pub const SLOTS: u64 = 1 << (BITS * DEPTH as u32);

    /// A new random key with all its slots.
    pub fn generate() -> Result<Self, CryptoError> {
        let mut root = Zeroizing::new([0; NODE]);
        random_bytes(root.as_mut_slice())?;
        Ok(Self::from_root(&root))
    }

    fn from_root(root: &Node) -> Self {
        Self { kept: Zeroizing::new(vec![Kept { start: 0, depth: 0, node: *root }]) }
    }

    /// The key of a slot; `None` for one that was punctured, or that is none.
    pub fn leaf(&self, slot: u64) -> Option<Zeroizing<[u8; 32]>> {
        let kept = self.above(slot)?;
        Some(down(&kept.node, kept.depth, slot, DEPTH))
    }

    /// Whether the slot's key can still be had.
    pub fn holds(&self, slot: u64) -> bool {
        self.above(slot).is_some()
    }

    /// Whether no slot was punctured.
    pub fn is_whole(&self) -> bool {
        self.kept.first().is_some_and(|kept| kept.depth == 0)
    }

    /// Makes the keys of these slots impossible to have. Those that are punctured already stay so.
    pub fn puncture(&mut self, slots: &[u64]) -> Result<(), CryptoError> {
        let mut slots = slots.to_vec();
        slots.sort_unstable();
        slots.dedup();
        if slots.last().is_some_and(|last| *last >= Self::SLOTS) {
            return Err(CryptoError::Parameters { algorithm: "a puncturable key" });
        }
        slots.retain(|slot| self.holds(*slot));
        let most = usize::from(DEPTH) * (ARITY - 1) * slots.len() + self.kept.len();
        // With room for all, so that no growing vector leaves a copy of nodes behind.
        let mut now = Zeroizing::new(Vec::with_capacity(most));
        let mut rest = slots.as_slice();
        for kept in self.kept.iter() {
            let (inside, after) = rest.split_at(rest.partition_point(|slot| *slot < kept.end()));
            rest = after;
            split(kept, inside, &mut now);
        }
        if now.len() > MOST_NODES {
            return Err(CryptoError::TooLong { what: "a puncturable key" });
        }
        self.kept = now;
        Ok(())
    }

    /// For sealing: it is all the keys in clear. One state has one form.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(4 + self.kept.len() * ENCODED));
        out.extend_from_slice(&(self.kept.len() as u32).to_le_bytes());
        for kept in self.kept.iter() {
            out.extend_from_slice(&(kept.start | u64::from(kept.depth) << 56).to_le_bytes());
            out.extend_from_slice(&kept.node);
        }
        out
    }

    /// What [`Self::to_bytes`] made; anything else is refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CryptoError> {
        let (count, rest) = bytes.split_first_chunk::<4>().ok_or(MALFORMED)?;
        let count = u32::from_le_bytes(*count) as usize;
        let (nodes, after) = rest.as_chunks::<ENCODED>();
        if count > MOST_NODES || nodes.len() != count || !after.is_empty() {
            return Err(MALFORMED);
        }
        let mut kept = Zeroizing::new(Vec::with_capacity(count));
        let mut covered = 0;
        for bytes in nodes {
            let (head, node) = bytes.split_first_chunk::<8>().ok_or(MALFORMED)?;
            let head = u64::from_le_bytes(*head);
            let (depth, start) = ((head >> 56) as u8, head & (u64::MAX >> 8));
            let node = node.first_chunk().ok_or(MALFORMED)?;
            let fits = depth <= DEPTH && start >= covered && start.is_multiple_of(width(depth));
            if !fits || start + width(depth) > Self::SLOTS {
                return Err(MALFORMED);
            }
            covered = start + width(depth);
            kept.push(Kept { start, depth, node: *node });
        }
        Ok(Self { kept })
    }

    /// The kept node above a slot.
    fn above(&self, slot: u64) -> Option<&Kept> {
        let after = self.kept.partition_point(|kept| kept.start <= slot);
        self.kept.get(after.checked_sub(1)?).filter(|kept| slot < kept.end())
    }
}

/// Puts into `out` what covers the slots of `kept` without those in `punctured`, all of which lie in it.
fn split(kept: &Kept, punctured: &[u64], out: &mut Vec<Kept>) {
    if punctured.is_empty() {
        out.push(kept.clone());
        return;
    }
    if kept.depth >= DEPTH {
        return;
    }
    let depth = kept.depth + 1;
    let mut nodes = Zeroizing::new([[0; NODE]; ARITY]);
    children(&kept.node, kept.depth, &mut nodes);
    let mut rest = punctured;
    for (number, node) in (0..).zip(nodes.iter()) {
        let start = kept.start + number * width(depth);
        let (inside, after) = rest.split_at(rest.partition_point(|slot| *slot < start + width(depth)));
        rest = after;
        let mut child = Kept { start, depth, node: *node };
        split(&child, inside, out);
        child.zeroize();
    }
}

/// What AES encrypts for one half of a child: where the node stands, so that no block serves two purposes.
fn block(depth: u8, half: u8) -> Block {
    let mut block = *b"cordon/ggm/v1\0\0\0";
    let [.., level, counter] = &mut block;
    (*level, *counter) = (depth, half);
    block.into()
}

fn cipher(node: &Node) -> Aes256Enc {
    Aes256Enc::new(node.into())
}

fn join(halves: &[Block; 2], out: &mut Node) {
    let [first, second] = halves;
    let (low, high) = out.split_at_mut(NODE / 2);
    low.copy_from_slice(first);
    high.copy_from_slice(second);
}

/// All children of a node at `depth`.
fn children(node: &Node, depth: u8, out: &mut [Node; ARITY]) {
    let mut blocks: [Block; 2 * ARITY] = std::array::from_fn(|half| block(depth, half as u8));
    cipher(node).encrypt_blocks(&mut blocks);
    for (halves, out) in blocks.as_chunks::<2>().0.iter().zip(out) {
        join(halves, out);
    }
    for block in &mut blocks {
        block.as_mut_slice().zeroize();
    }
}

/// The node at depth `to` above `slot`, from the one at depth `from`.
fn down(node: &Node, from: u8, slot: u64, to: u8) -> Zeroizing<Node> {
    let mut at = Zeroizing::new(*node);
    for depth in from..to {
        let child = (slot >> (BITS * u32::from(DEPTH - 1 - depth))) as u8 % ARITY as u8;
        let mut halves = [block(depth, 2 * child), block(depth, 2 * child + 1)];
        cipher(&at).encrypt_blocks(&mut halves);
        join(&halves, &mut at);
        for half in &mut halves {
            half.as_mut_slice().zeroize();
        }
    }
    at
}

/// Leaves of one state of a key, fast: upper nodes are remembered, a bounded number of them, and slots that come one
/// after the other are made sixteen at a time. Not shared between threads; at most 2.8 MB, wiped when dropped.
pub struct Leaves {
    key: Arc<PuncturableKey>,
    /// Nodes with 256 and with 65,536 slots below them, each in the place that its number leaves it.
    near: Remembered,
    far: Remembered,
    /// The sixteen slots that were made together last, and their leaves.
    row: u64,
    made: Zeroizing<[Node; ARITY]>,
    single: Zeroizing<Node>,
    last: u64,
}

const NEAR: u8 = DEPTH - 2;
const FAR: u8 = DEPTH - 4;
const NO_ROW: u64 = u64::MAX;

impl Leaves {
    pub fn new(key: Arc<PuncturableKey>) -> Self {
        Self {
            key,
            near: Remembered::new(1 << 16),
            far: Remembered::new(1 << 12),
            row: NO_ROW,
            made: Zeroizing::new([[0; NODE]; ARITY]),
            single: Zeroizing::new([0; NODE]),
            last: NO_ROW,
        }
    }

    /// As [`PuncturableKey::leaf`].
    #[inline]
    pub fn leaf(&mut self, slot: u64) -> Option<&[u8; 32]> {
        let row = slot >> BITS;
        let child = (slot % ARITY as u64) as usize;
        if row != self.row {
            let follows = child == 0 || slot.wrapping_sub(1) == self.last;
            self.last = slot;
            if !self.make(slot, follows)? {
                return Some(&self.single);
            }
        }
        self.last = slot;
        self.made.get(child)
    }

    /// Whether the slot's key can still be had.
    pub fn holds(&self, slot: u64) -> bool {
        self.key.holds(slot)
    }

    /// Makes the leaf, or the whole row that it is in: `true`.
    fn make(&mut self, slot: u64, whole: bool) -> Option<bool> {
        let near = slot >> (2 * BITS);
        let parent = if let Some(node) = self.near.get(near) {
            Some(down(node, NEAR, slot, DEPTH - 1))
        } else {
            let kept = self.key.above(slot)?;
            if kept.depth > NEAR {
                // Somebody beside it was punctured.
                (kept.depth < DEPTH).then(|| down(&kept.node, kept.depth, slot, DEPTH - 1))
            } else {
                let node = if kept.depth > FAR {
                    down(&kept.node, kept.depth, slot, NEAR)
                } else {
                    let far = slot >> (4 * BITS);
                    if self.far.get(far).is_none() {
                        self.far.put(far, &down(&kept.node, kept.depth, slot, FAR));
                    }
                    down(self.far.get(far)?, FAR, slot, NEAR)
                };
                self.near.put(near, &node);
                Some(down(&node, NEAR, slot, DEPTH - 1))
            }
        };
        let Some(parent) = parent else {
            self.single = self.key.leaf(slot)?;
            return Some(false);
        };
        if whole {
            children(&parent, DEPTH - 1, &mut self.made);
            self.row = slot >> BITS;
        } else {
            self.single = down(&parent, DEPTH - 1, slot, DEPTH);
        }
        Some(whole)
    }
}

/// Nodes by number; one that comes to a taken place takes it. Begins small: most who ask, ask little.
struct Remembered {
    numbers: Vec<u64>,
    nodes: Zeroizing<Vec<Node>>,
    most: usize,
    /// Since it has this size.
    put: usize,
}

impl Remembered {
    fn new(most: usize) -> Self {
        Self::sized(most.min(1 << 6), most)
    }

    fn sized(places: usize, most: usize) -> Self {
        Self { numbers: vec![u64::MAX; places], nodes: Zeroizing::new(vec![[0; NODE]; places]), most, put: 0 }
    }

    fn place(&self, number: u64) -> usize {
        number as usize % self.numbers.len().max(1)
    }

    #[inline]
    fn get(&self, number: u64) -> Option<&Node> {
        let place = self.place(number);
        (self.numbers.get(place) == Some(&number)).then(|| self.nodes.get(place))?
    }

    fn put(&mut self, number: u64, node: &Node) {
        if self.put > self.numbers.len() && self.numbers.len() < self.most {
            *self = Self::sized((self.numbers.len() * 8).min(self.most), self.most);
        }
        self.put += 1;
        let place = self.place(number);
        if let (Some(known), Some(kept)) = (self.numbers.get_mut(place), self.nodes.get_mut(place)) {
            (*known, *kept) = (number, *node);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const LAST: u64 = PuncturableKey::SLOTS - 1;

    fn key() -> PuncturableKey {
        PuncturableKey::from_root(&[7; 32])
    }

    /// The tree walked by hand, one AES block after the other.
    fn by_definition(root: &Node, slot: u64) -> Node {
        let mut node = *root;
        for depth in 0..10_u8 {
            let child = (slot >> (36 - 4 * u32::from(depth))) as u8 & 15;
            let aes = Aes256Enc::new(&node.into());
            let mut halves = [2 * child, 2 * child + 1].map(|counter| {
                let mut block = Block::from(*b"cordon/ggm/v1\0\0\0");
                (block[14], block[15]) = (depth, counter);
                aes.encrypt_block(&mut block);
                block
            });
            node = std::array::from_fn(|at| halves[at / 16][at % 16]);
            halves.fill(Block::default());
        }
        node
    }

    /// Slots that share paths and such that do not.
    fn slots() -> impl Strategy<Value = u64> {
        prop_oneof![0..600_u64, Just(LAST), (LAST - 300)..=LAST, 0..PuncturableKey::SLOTS]
    }

    #[test]
    fn a_leaf_is_the_end_of_its_path() {
        for slot in [0, 1, 15, 16, 255, 256, 0x12_3456_789a, LAST] {
            assert_eq!(*key().leaf(slot).unwrap(), by_definition(&[7; 32], slot));
        }
        assert!(key().leaf(LAST + 1).is_none() && key().leaf(u64::MAX).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn punctured_leaves_are_gone_and_all_others_stay(
            rounds in prop::collection::vec(prop::collection::vec(slots(), 0..6), 1..5),
            asked in prop::collection::vec(slots(), 40),
        ) {
            let whole = key();
            let mut key = key();
            let mut gone = BTreeSet::new();
            for round in rounds {
                key.puncture(&round).unwrap();
                gone.extend(round);
                let beside = gone.iter().flat_map(|slot| [slot.saturating_sub(1), *slot, (slot + 1).min(LAST), slot ^ 16]);
                let asked: Vec<u64> = asked.iter().copied().chain(beside).collect();
                let mut leaves = Leaves::new(Arc::new(PuncturableKey::from_bytes(&key.to_bytes()).unwrap()));
                for slot in asked {
                    let expected = whole.leaf(slot).filter(|_| !gone.contains(&slot));
                    let expected = expected.as_deref().copied();
                    prop_assert_eq!(key.leaf(slot).as_deref().copied(), expected);
                    prop_assert_eq!(leaves.leaf(slot).copied(), expected);
                    prop_assert_eq!(key.holds(slot), expected.is_some());
                }
                // No node above a punctured leaf is in what is kept, nor the leaf itself.
                let state = key.to_bytes();
                for slot in &gone {
                    for depth in 0..=DEPTH {
                        let node = down(&[7; 32], 0, *slot, depth);
                        prop_assert!(!state.windows(NODE).any(|bytes| bytes == node.as_slice()));
                    }
                }
                // All the rest is covered: as many slots as there were.
                let covered: u64 = key.kept.iter().map(|kept| width(kept.depth)).sum();
                prop_assert_eq!(covered, PuncturableKey::SLOTS - gone.len() as u64);
            }
        }

        #[test]
        fn remembered_leaves_are_the_leaves(slots in prop::collection::vec(slots(), 1..50), run in 1..70_u64) {
            let key = Arc::new(key());
            let mut leaves = Leaves::new(Arc::clone(&key));
            for slot in slots.into_iter().flat_map(|slot| slot..(slot + run).min(LAST)) {
                prop_assert_eq!(leaves.leaf(slot).copied(), key.leaf(slot).as_deref().copied());
            }
        }

        #[test]
        fn hostile_bytes_are_refused_or_are_a_state(mut bytes in prop::collection::vec(any::<u8>(), 0..200), fix: bool) {
            if fix && bytes.len() >= 4 {
                let count = ((bytes.len() - 4) / ENCODED) as u32;
                bytes[..4].copy_from_slice(&count.to_le_bytes());
                bytes.truncate(4 + count as usize * ENCODED);
            }
            if let Ok(key) = PuncturableKey::from_bytes(&bytes) {
                prop_assert_eq!(&*key.to_bytes(), &bytes);
            }
        }
    }

    #[test]
    fn a_state_that_is_not_in_order_is_refused() {
        let mut key = key();
        key.puncture(&[3, 70_000]).unwrap();
        let bytes = key.to_bytes().to_vec();
        assert!(PuncturableKey::from_bytes(&bytes).is_ok());
        let nodes = (bytes.len() - 4) / ENCODED;
        assert!(nodes < 300);
        for at in 1..nodes {
            let mut swapped = bytes.clone();
            let (one, other) = (4 + (at - 1) * ENCODED, 4 + at * ENCODED);
            swapped[one..one + ENCODED].copy_from_slice(&bytes[other..other + ENCODED]);
            swapped[other..other + ENCODED].copy_from_slice(&bytes[one..one + ENCODED]);
            assert!(PuncturableKey::from_bytes(&swapped).is_err());
        }
        for cut in 0..bytes.len() {
            assert!(PuncturableKey::from_bytes(&bytes[..cut]).is_err());
        }
        let mut deep = bytes.clone();
        deep[11] = DEPTH + 1;
        assert!(PuncturableKey::from_bytes(&deep).is_err());
        assert!(PuncturableKey::from_bytes(&[0; 4]).unwrap().leaf(0).is_none());
        assert!(key.puncture(&[PuncturableKey::SLOTS]).is_err() && key.leaf(4).is_some());
    }

    #[test]
    fn a_puncture_costs_a_few_kilobytes() {
        let mut key = key();
        assert!(key.is_whole());
        key.puncture(&[5]).unwrap();
        assert!(!key.is_whole() && key.to_bytes().len() <= 4 + 150 * ENCODED);
        let before = key.to_bytes();
        key.puncture(&[5, 5]).unwrap();
        assert_eq!(*before, *key.to_bytes());
        key.puncture(&(0..256).collect::<Vec<_>>()).unwrap();
        assert!(key.to_bytes().len() < before.len());
    }

    /// `cargo test -p cordon-crypto --release -- --ignored --nocapture cost_of`.
    #[test]
    #[ignore = "a measurement"]
    #[expect(clippy::print_stderr, reason = "a measurement")]
    fn cost_of_leaves() {
        let mut leaves = Leaves::new(Arc::new(key()));
        let mut sum = 0;
        for (name, step) in [("in order", 1), ("out of order", 7_919)] {
            for round in 0..2 {
                let started = std::time::Instant::now();
                for n in 0..10_000_000_u64 {
                    sum += u64::from(leaves.leaf(n * step % 10_000_000).unwrap()[0]);
                }
                eprintln!("{name}, round {round}: {} ns a leaf", started.elapsed().as_nanos() / 10_000_000);
            }
        }
        let started = std::time::Instant::now();
        for n in 0..10_000_000_u64 {
            let leaf = leaves.leaf(n).unwrap();
            let mut token = [0; 24];
            crate::CounterStream::new(leaf).apply([0; 12], 0, &mut token);
            sum += u64::from(token[0]);
        }
        eprintln!("in order, with a token: {} ns ({sum})", started.elapsed().as_nanos() / 10_000_000);
    }
}
