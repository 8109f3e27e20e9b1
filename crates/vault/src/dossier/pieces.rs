//! What was found of several people, out of memory and of where dossiers stand.

use cordon_phi::Token;
use hashbrown::HashMap;
use zeroize::Zeroizing;

use super::buffer::Buffer;

#[derive(Default)]
pub struct Pieces {
    bytes: Zeroizing<Vec<u8>>,
    /// Whose, how old, from where to where.
    spans: Vec<(u32, u32, usize, usize)>,
    /// Of those who stand somewhere.
    slots: HashMap<u32, u64>,
}

impl Pieces {
    pub fn take(&mut self, buffer: &Buffer, age: u32, wanted: &[(Token, u32)]) {
        let mut facts = Vec::new();
        for (token, number) in wanted {
            if let Some(person) = buffer.find(token) {
                buffer.facts(person, &mut facts);
                let start = self.bytes.len();
                for fact in &facts {
                    self.bytes.extend_from_slice(fact);
                }
                self.spans.push((*number, age, start, self.bytes.len()));
            }
        }
    }

    /// A piece of the person of `number`, under the key of `slot`; older ones have a smaller `age`.
    pub fn push(&mut self, number: u32, age: u32, slot: u64, piece: &[u8]) {
        self.slots.insert(number, slot);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(piece);
        self.spans.push((number, age, start, self.bytes.len()));
    }

    pub fn sort(&mut self) {
        self.spans.sort_unstable();
    }

    /// Of one person, the oldest first.
    pub fn of(&self, person: u32) -> Vec<&[u8]> {
        let start = self.spans.partition_point(|(of, ..)| *of < person);
        let spans = self.spans.get(start..).unwrap_or_default().iter().take_while(|(of, ..)| *of == person);
        spans.filter_map(|(_, _, from, to)| self.bytes.get(*from..*to)).collect()
    }

    /// The slot of a person who stands somewhere.
    pub fn slot(&self, person: u32) -> Option<u64> {
        self.slots.get(&person).copied()
    }
}
