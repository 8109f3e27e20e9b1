//! Entries that were looked up lately, in two generations: when the young one is full, the old one goes.

use cordon_phi::Token;

use super::table::{Entry, Key, Table};

pub(super) struct Cache {
    young: Table,
    old: Table,
    half: usize,
}

impl Cache {
    pub fn new(entries: usize) -> Self {
        Self {
            young: Table::new(),
            old: Table::new(),
            half: entries / 2,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    pub fn warm(&self, keys: impl Iterator<Item = Key> + Clone) {
        self.young.warm(keys.clone());
        self.old.warm(keys);
    }

    pub fn get(&self, key: Key) -> Option<Token> {
        self.young.get(key).or_else(|| self.old.get(key))
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
