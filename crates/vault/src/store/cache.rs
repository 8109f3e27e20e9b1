//! Entries that are in a run and were wanted lately.
//!
//! Two kinds, because they live differently: windows of the log that were read ahead are used once, soon, and should
//! stay in the processor's own cache; entries that were looked up one by one are worth memory for as long as there is
//! some.

use super::table::{Entry, Key, Lookup, Table};

/// Room for three or four windows of read-ahead.
const WINDOWS: usize = 1 << 17;

pub(super) struct Cache {
    pub windows: Generations,
    pub found: Generations,
    /// Of the subject keys that the entries were read under.
    pub epoch: u64,
}

impl Cache {
    pub fn new(entries: usize) -> Self {
        Self { windows: Generations::new(WINDOWS.min(entries)), found: Generations::new(entries), epoch: 0 }
    }

    /// Forgets all: somebody was destroyed.
    pub fn clear(&mut self, epoch: u64) {
        for kept in [&mut self.windows, &mut self.found] {
            kept.young.clear();
            kept.old.clear();
        }
        self.epoch = epoch;
    }
}

/// When the young generation is full, the old one goes.
pub(super) struct Generations {
    young: Table,
    old: Table,
    half: usize,
}

impl Generations {
    pub fn new(entries: usize) -> Self {
        Self { young: Table::new(), old: Table::new(), half: entries / 2 }
    }

    pub fn insert(&mut self, entry: Entry) {
        if self.half == 0 {
            return;
        }
        if self.young.len() >= self.half {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(entry);
    }
}

impl Lookup for Generations {
    fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    fn warm(&self, keys: impl Iterator<Item = Key> + Clone) {
        self.young.warm(keys.clone());
        self.old.warm(keys);
    }

    fn get(&self, key: Key) -> Option<&Entry> {
        self.young.get(key).or_else(|| self.old.get(key))
    }
}
