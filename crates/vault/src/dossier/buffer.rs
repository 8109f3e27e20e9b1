//! Facts that were added lately and are not on disk yet.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use cordon_phi::{Known, NameDraw, Token};
use hashbrown::{HashTable, hash_table};
use zeroize::Zeroizing;

use super::facts;

/// No fact, no person.
const NOBODY: u32 = u32::MAX;

pub struct Buffer {
    people: Vec<Person>,
    facts: Vec<Fact>,
    bytes: Zeroizing<Vec<u8>>,
    /// Numbers in `people`, by token.
    by_token: HashTable<u32>,
    /// Numbers in `facts`, by person and bytes. Texts come from outside: their hash is keyed.
    by_fact: HashTable<u32>,
    hasher: RandomState,
    last: u32,
    clock: u32,
}

struct Person {
    token: Token,
    /// Where the chain of facts begins.
    newest: u32,
}

struct Fact {
    at: u32,
    len: u32,
    person: u32,
    before: u32,
    /// When it was added last.
    seen: u32,
    hash: u32,
}

impl Fact {
    fn range(&self) -> std::ops::Range<usize> {
        self.at as usize..(self.at + self.len) as usize
    }

    /// A table looks at the first bits and at the last ones.
    fn spread_hash(&self) -> u64 {
        u64::from(self.hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

impl Buffer {
    /// Most that numbers of 32 bits can count.
    pub const MOST_BYTES: usize = 1 << 30;

    /// With room for as much as in `before`.
    pub fn like(before: Option<&Self>) -> Self {
        let count = |of: fn(&Self) -> usize| before.map_or(0, of);
        let (people, facts) = (count(|of| of.people.len()), count(|of| of.facts.len()));
        Self {
            people: Vec::with_capacity(people),
            facts: Vec::with_capacity(facts),
            bytes: Zeroizing::new(Vec::with_capacity(count(|of| of.bytes.len()))),
            by_token: HashTable::with_capacity(people),
            by_fact: HashTable::with_capacity(facts),
            hasher: RandomState::new(),
            last: NOBODY,
            clock: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// Bytes of memory, or so.
    pub fn used(&self) -> usize {
        /// A slot of a table that is not full.
        const SLOT: usize = 8;
        self.bytes.len()
            + self.facts.len() * (size_of::<Fact>() + SLOT)
            + self.people.len() * (size_of::<Person>() + SLOT)
    }

    pub fn add(&mut self, token: Token, fact: &Known<'_>) {
        let at = self.bytes.len();
        if facts::push(&mut self.bytes, fact) {
            self.pushed(token, at);
        }
    }

    /// How the person's made-up name is drawn; of two that are added the first counts.
    pub fn decide(&mut self, token: Token, draw: NameDraw) {
        let at = self.bytes.len();
        facts::push_draw(&mut self.bytes, draw);
        self.pushed(token, at);
    }

    /// The fact whose bytes begin at `at`.
    fn pushed(&mut self, token: Token, at: usize) {
        let person = self.person(token);
        let Self { people, facts, bytes, by_fact, hasher, clock, .. } = self;
        let of = |fact: &Fact| bytes.get(fact.range()).unwrap_or_default();
        let mut new =
            Fact { at: at as u32, len: (bytes.len() - at) as u32, person, before: NOBODY, seen: *clock, hash: 0 };
        *clock = clock.wrapping_add(1);
        let mut hashing = hasher.build_hasher();
        hashing.write(of(&new));
        new.hash = hashing.finish() as u32 ^ person.wrapping_mul(0x9E37_79B9);
        let same = |number: &u32| {
            let known = facts.get(*number as usize).filter(|known| known.hash == new.hash && known.person == person);
            known.is_some_and(|known| of(known) == of(&new))
        };
        let again = |number: &u32| facts.get(*number as usize).map_or(0, Fact::spread_hash);
        match by_fact.entry(new.spread_hash(), same, again) {
            hash_table::Entry::Occupied(known) => {
                if let Some(known) = facts.get_mut(*known.get() as usize) {
                    known.seen = new.seen;
                }
                bytes.truncate(at);
            }
            hash_table::Entry::Vacant(free) => {
                let number = facts.len() as u32;
                free.insert(number);
                let before =
                    people.get_mut(person as usize).map_or(NOBODY, |of| std::mem::replace(&mut of.newest, number));
                facts.push(Fact { before, ..new });
            }
        }
    }

    fn person(&mut self, token: Token) -> u32 {
        let Self { people, by_token, last, .. } = self;
        let same = |number: &u32| people.get(*number as usize).is_some_and(|person| person.token == token);
        if !same(last) {
            let again = |number: &u32| people.get(*number as usize).map_or(0, |person| hash(&person.token));
            *last = match by_token.entry(hash(&token), same, again) {
                hash_table::Entry::Occupied(known) => *known.get(),
                hash_table::Entry::Vacant(free) => {
                    let number = people.len() as u32;
                    free.insert(number);
                    people.push(Person { token, newest: NOBODY });
                    number
                }
            };
        }
        *last
    }

    /// Tokens and numbers of all people, in order of tokens.
    pub fn people(&self) -> Vec<(Token, u32)> {
        let mut all: Vec<_> = self.people.iter().map(|person| person.token).zip(0..).collect();
        all.sort_unstable();
        all
    }

    pub fn find(&self, token: &Token) -> Option<u32> {
        let same = |number: &u32| self.people.get(*number as usize).is_some_and(|person| person.token == *token);
        self.by_token.find(hash(token), same).copied()
    }

    /// The facts of one person, the newest last; as many as may be kept.
    pub fn facts<'a>(&'a self, person: u32, out: &mut Vec<&'a [u8]>) {
        let first = self.people.get(person as usize).map(|person| person.newest);
        let chain = std::iter::successors(first.and_then(|at| self.facts.get(at as usize)), |fact| {
            self.facts.get(fact.before as usize)
        });
        let mut chain: Vec<&Fact> = chain.collect();
        chain.sort_unstable_by_key(|fact| fact.seen);
        out.clear();
        out.extend(chain.iter().filter_map(|fact| self.bytes.get(fact.range())));
        facts::keep_newest(out);
    }
}

/// Tokens are random.
fn hash(token: &Token) -> u64 {
    token.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
