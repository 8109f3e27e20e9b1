//! Entries in memory, always in order.
//!
//! A blind index is a pseudo-random number, so its own leading bits say where it belongs. A linear-probing table that
//! keeps each cluster sorted is therefore sorted as a whole: writing it out as a run needs no sort and no copy, an
//! absent key is known after two or three neighbours, and a batch that comes in order walks through memory in order.

use cordon_phi::Token;

/// A blind index: 128 bits of HMAC-SHA256 under the domain's key, as a big-endian number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Key {
    pub hi: u64,
    pub lo: u64,
}

impl Key {
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let n = u128::from_be_bytes(bytes);
        Self { hi: (n >> 64) as u64, lo: n as u64 }
    }

    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.hi) << 64 | u128::from(self.lo)).to_be_bytes()
    }

    /// Maps the key to `0..n`, keeping the order.
    pub fn scale(self, n: u64) -> u64 {
        ((u128::from(self.hi) * u128::from(n)) >> 64) as u64
    }
}

/// A blind index, its token, and where in the log the token was first given (never zero): the frame that made the entry, or
/// of an identifier that was linked to a person, an older one.
/// Its slot is where its key on disk comes from.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub key: Key,
    pub token: Token,
    pub place: u64,
    pub slot: u64,
}

impl Entry {
    const EMPTY: Self = Self { key: Key { hi: 0, lo: 0 }, token: Token([0; 16]), place: 0, slot: 0 };

    fn is_empty(&self) -> bool {
        self.place == 0
    }
}

/// Where a key's token may be found in memory.
pub(crate) trait Lookup {
    fn is_empty(&self) -> bool;

    /// Loads what `keys` will need, without a branch between them: the processor fetches it all at once, where the
    /// look-ups themselves would wait for one after the other. For a few dozen keys at a time.
    fn warm(&self, keys: impl Iterator<Item = Key> + Clone);

    fn get(&self, key: Key) -> Option<&Entry>;
}

/// A sorted linear-probing table. It does not wrap: what overflows its end is pushed behind it.
pub(crate) struct Table {
    slots: Vec<Entry>,
    homes: u64,
    len: usize,
}

impl Table {
    const SMALLEST: u64 = 1 << 10;

    pub fn new() -> Self {
        Self { slots: Vec::new(), homes: 0, len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Entries in ascending order of key.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().filter(|slot| !slot.is_empty())
    }

    /// Forgets all entries and keeps the memory.
    pub fn clear(&mut self) {
        if self.len > 0 {
            self.slots.truncate(self.homes as usize);
            self.slots.fill(Entry::EMPTY);
            self.len = 0;
        }
    }

    /// Puts an entry in. If its key is there already, nothing changes and its token is given back.
    pub fn insert(&mut self, entry: Entry) -> Option<Token> {
        if (self.len as u64 + 1) * 4 > self.homes * 3 {
            self.grow();
        }
        let mut at = self.home(entry.key);
        loop {
            match self.slots.get_mut(at) {
                None => {
                    self.slots.push(entry);
                    break;
                }
                Some(slot) if slot.is_empty() => {
                    *slot = entry;
                    break;
                }
                Some(slot) if slot.key == entry.key => return Some(slot.token),
                Some(slot) if slot.key > entry.key => {
                    self.shift_in(at, entry);
                    break;
                }
                Some(_) => at += 1,
            }
        }
        self.len += 1;
        None
    }

    /// Moves the cluster's rest, from `at` to its end, one slot on.
    fn shift_in(&mut self, at: usize, entry: Entry) {
        let mut carried = entry;
        let tail = self.slots.get_mut(at..).unwrap_or_default();
        for slot in tail {
            std::mem::swap(slot, &mut carried);
            if carried.is_empty() {
                return;
            }
        }
        self.slots.push(carried);
    }

    fn home(&self, key: Key) -> usize {
        key.scale(self.homes) as usize
    }

    fn grow(&mut self) {
        let homes = (self.homes * 2).max(Self::SMALLEST);
        let mut slots = vec![Entry::EMPTY; homes as usize];
        let mut next = 0;
        for entry in self.iter() {
            let at = (entry.key.scale(homes) as usize).max(next);
            match slots.get_mut(at) {
                Some(slot) => *slot = *entry,
                None => slots.push(*entry),
            }
            next = at + 1;
        }
        self.slots = slots;
        self.homes = homes;
    }
}

impl Lookup for Table {
    fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn warm(&self, keys: impl Iterator<Item = Key> + Clone) {
        let mut seen = 0;
        for key in keys {
            if let Some(slot) = self.slots.get(self.home(key)) {
                seen ^= slot.key.lo;
            }
        }
        std::hint::black_box(seen);
    }

    fn get(&self, key: Key) -> Option<&Entry> {
        for slot in self.slots.get(self.home(key)..)? {
            if slot.is_empty() || slot.key > key {
                return None;
            }
            if slot.key == key {
                return Some(slot);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::collections::BTreeMap;

    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn agrees_with_an_ordered_map() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut table = Table::new();
        let mut model = BTreeMap::new();
        for round in 0..20_000_u64 {
            // Some keys crowd at the very end and some repeat.
            let hi = match round % 3 {
                0 => u64::MAX - rng.random_range(0..50),
                1 => rng.random_range(0..500),
                _ => rng.random(),
            };
            let key = Key { hi, lo: rng.random_range(0..3) };
            let token = Token(rng.random());
            let before = model.get(&key).copied();
            assert!(table.get(key).map(|entry| entry.token) == before);
            assert!(table.insert(Entry { key, token, place: round + 1, slot: round }) == before);
            model.entry(key).or_insert(token);
        }
        assert_eq!(table.len(), model.len());
        assert!(table.iter().map(|e| (e.key, e.token)).eq(model.iter().map(|(k, t)| (*k, *t))));
        table.clear();
        assert!(table.is_empty() && table.iter().next().is_none());
    }
}
