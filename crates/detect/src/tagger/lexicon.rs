//! What is known about a word: a table of hashed words with flags. The words themselves are not shipped.

/// What a list says of a word. A word can be on several.
pub mod flag {
    pub const FIRST: u32 = 1;
    pub const FIRST_RARE: u32 = 1 << 1;
    pub const NICK: u32 = 1 << 2;
    pub const LAST: u32 = 1 << 3;
    pub const LAST_MID: u32 = 1 << 4;
    pub const LAST_RARE: u32 = 1 << 5;
    /// A given name or surname of a country other than the United States.
    pub const WORLD: u32 = 1 << 6;
    pub const CITY_BIG: u32 = 1 << 7;
    pub const CITY: u32 = 1 << 8;
    /// A part of a town's name of several words. The whole of it is a word of its own, see [`super::joined`].
    pub const CITY_PART: u32 = 1 << 9;
    pub const COUNTY: u32 = 1 << 10;
    pub const STATE: u32 = 1 << 11;
    pub const STATE_CODE: u32 = 1 << 12;
    pub const DRUG: u32 = 1 << 13;
    pub const CLINICAL: u32 = 1 << 14;
    pub const EPONYM: u32 = 1 << 15;
    pub const COMMON: u32 = 1 << 16;
    pub const ENGLISH: u32 = 1 << 17;
    pub const TITLE: u32 = 1 << 18;
    pub const CREDENTIAL: u32 = 1 << 19;
    pub const RELATION: u32 = 1 << 20;
    pub const ORG_HEAD: u32 = 1 << 21;
    pub const STREET: u32 = 1 << 22;
    pub const CALENDAR: u32 = 1 << 23;
    pub const PLACE_PREFIX: u32 = 1 << 24;
    pub const LABEL: u32 = 1 << 25;
    pub const PARTICLE: u32 = 1 << 26;
    pub const ORG_PART: u32 = 1 << 27;
    pub const ABBREVIATION: u32 = 1 << 28;
    pub const MULTI_CITY: u32 = 1 << 29;
}

const EMPTY: (u32, u32) = (0, 0);
/// Bounds a look-up even in a table that was made to be slow.
const LONGEST_RUN: usize = 64;

/// Open addressing, at most half full.
pub struct Lexicon {
    slots: Vec<(u32, u32)>,
    mask: usize,
}

impl Lexicon {
    pub fn new(entries: impl ExactSizeIterator<Item = (u32, u32)>) -> Self {
        let size = (entries.len() * 2).max(16).next_power_of_two();
        let mut lexicon = Self { slots: vec![EMPTY; size], mask: size - 1 };
        for (key, flags) in entries {
            lexicon.insert(key, flags);
        }
        lexicon
    }

    fn insert(&mut self, key: u32, flags: u32) {
        let start = key as usize;
        for at in start..start + self.slots.len() {
            if let Some(slot) = self.slots.get_mut(at & self.mask)
                && (slot.1 == 0 || slot.0 == key)
            {
                *slot = (key, slot.1 | flags);
                return;
            }
        }
    }

    /// The flags of a word by its [`super::features::key`]; 0 for a word on no list.
    #[inline]
    pub fn flags(&self, key: u32) -> u32 {
        let start = key as usize;
        for at in start..start + LONGEST_RUN {
            match self.slots.get(at & self.mask) {
                Some(&(found, flags)) if flags != 0 && found == key => return flags,
                Some(&(_, flags)) if flags != 0 => (),
                _ => return 0,
            }
        }
        0
    }
}

/// The key of a name of two words, from the keys of its parts; of three, joined again.
pub fn joined(left: u32, right: u32) -> u32 {
    (left.rotate_left(9) ^ right).wrapping_mul(0x9e37_79b1) ^ 0x5bd1
}
