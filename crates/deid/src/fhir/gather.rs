//! Columns of values on their way to a kernel.

use std::hash::BuildHasher;

use arrow_array::{StringArray, StringViewArray};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use hashbrown::{DefaultHashBuilder, HashTable};

use super::recipe::GatherRule;

/// The values that one rule touches in a batch. It holds PHI: no `Debug`.
pub(crate) struct Gather {
    text: String,
    ends: Vec<i32>,
    /// For each value the number of its resource; only where the kernel asks whose value it is.
    resources: Option<Vec<u32>>,
    /// Where each value stands, so that a value is gathered once.
    seen: Option<(HashTable<u32>, DefaultHashBuilder)>,
}

impl Gather {
    pub(crate) fn new(rule: &GatherRule) -> Self {
        Self {
            text: String::new(),
            ends: vec![0],
            resources: rule.needs_subject.then(Vec::new),
            seen: rule.once.then(Default::default),
        }
    }

    /// Adds a value and says in which row it stands.
    pub(crate) fn add(&mut self, value: &str, resource: u32) -> u32 {
        let Self { text, ends, resources, seen } = self;
        let row = (ends.len() - 1) as u32;
        if let Some((table, hasher)) = seen {
            let hash = hasher.hash_one(value);
            if let Some(known) = table.find(hash, |row| stored(text, ends, *row) == value) {
                return *known;
            }
            table.insert_unique(hash, row, |row| hasher.hash_one(stored(text, ends, *row)));
        }
        text.push_str(value);
        ends.push(text.len() as i32);
        if let Some(resources) = resources {
            resources.push(resource);
        }
        row
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.len() == 1
    }

    /// The column, and whose each value is.
    pub(crate) fn finish(self) -> (StringViewArray, Option<Vec<u32>>) {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        let text = StringArray::try_new(offsets, Buffer::from(self.text.into_bytes()), None);
        // Offsets and text were made together above, so they fit.
        let text = text.unwrap_or_else(|_| StringArray::new_null(0));
        (StringViewArray::from(&text), self.resources)
    }
}

fn stored<'a>(text: &'a str, ends: &[i32], row: u32) -> &'a str {
    let end = |at: usize| ends.get(at).copied().unwrap_or(0) as usize;
    text.get(end(row as usize)..end(row as usize + 1)).unwrap_or_default()
}
