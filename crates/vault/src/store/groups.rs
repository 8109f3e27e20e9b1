//! What a batch of groups means for a vault: who is whom, what is new, and which people are one.

use std::collections::HashMap;

use cordon_crypto::KeyedHash;
use cordon_phi::{Identifier, Token};

use super::{
    Answer, Asked, NONE,
    frame::New,
    table::{Entry, Key},
};

/// A token and where in the log it was first given.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub token: Token,
    pub origin: u64,
}

impl Found {
    /// Smaller is older.
    fn age(&self) -> (u64, Token) {
        (self.origin, self.token)
    }
}

impl Answer for Found {
    const NONE: Self = Self { token: NONE, origin: 0 };

    fn of(entry: &Entry) -> Self {
        Self { token: entry.token, origin: entry.place }
    }

    fn is_none(&self) -> bool {
        self.origin == 0
    }
}

/// Groups of identifiers, ready to be looked up.
pub(super) struct Batch<'a> {
    identifiers: &'a [Identifier<'a>],
    pub keys: Vec<Key>,
    /// Names of namespaces, each once, and of each identifier which it is.
    pub spaces: Vec<&'a str>,
    space_of: Vec<u32>,
    group_of: Vec<u32>,
    /// Identifiers of each group.
    sizes: Vec<u32>,
}

/// What has to be written, and what is given out.
pub(super) struct Plan<'a> {
    /// By number of namespace.
    pub new: Vec<(u32, Vec<New<'a>>)>,
    /// Tokens for which another stands from now on, each with that other.
    pub merges: Vec<(Token, Found)>,
    pub tokens: Vec<Option<Token>>,
}

impl<'a> Batch<'a> {
    pub fn new(blind: &KeyedHash, identifiers: &'a [Identifier<'a>], ends: &[usize], start: usize) -> Self {
        let mut spaces: Vec<&str> = Vec::new();
        let mut hashes = Vec::new();
        let mut numbers: HashMap<&str, u32> = HashMap::new();
        let mut keys = Vec::with_capacity(identifiers.len());
        let mut space_of = Vec::with_capacity(identifiers.len());
        for identifier in identifiers {
            let number = *numbers.entry(identifier.namespace).or_insert_with(|| {
                spaces.push(identifier.namespace);
                hashes.push(blind.derive(identifier.namespace));
                spaces.len() as u32 - 1
            });
            space_of.push(number);
            let hash = hashes.get(number as usize).unwrap_or(blind);
            keys.push(Key::from_bytes(hash.tag128(identifier.value)));
        }
        let mut group_of = Vec::with_capacity(identifiers.len());
        let mut sizes = Vec::with_capacity(ends.len());
        let mut from = start;
        for (number, end) in (0..).zip(ends) {
            sizes.push((end - from) as u32);
            group_of.extend(std::iter::repeat_n(number, end - from));
            from = *end;
        }
        Self { identifiers, keys, spaces, space_of, group_of, sizes }
    }

    pub fn groups(&self) -> usize {
        self.sizes.len()
    }

    fn group(&self, place: u32) -> u32 {
        self.group_of.get(place as usize).copied().unwrap_or_default()
    }

    /// Whether all is known and as it is known; then the answer is given.
    pub fn nothing_new(&self, found: &[Found], out: &mut Vec<Option<Token>>) -> bool {
        let before = out.len();
        let mut rest = found;
        for size in &self.sizes {
            let (group, later) = rest.split_at_checked(*size as usize).unwrap_or((rest, &[]));
            rest = later;
            let first = group.first();
            if group.iter().any(|of| of.is_none() || first.is_some_and(|first| first.token != of.token)) {
                out.truncate(before);
                return false;
            }
            out.push(first.map(|first| first.token));
        }
        true
    }

    /// `found` are roots; `fresh` are as many as there are groups.
    pub fn plan(&self, asked: &Asked<Found>, found: &[Found], mut fresh: impl Iterator<Item = Found>) -> Plan<'a> {
        // Groups that share an identifier which nobody has seen are one.
        let mut people = Forest::new(self.groups());
        let mut last: Option<(Key, u32)> = None;
        for (key, place) in &asked.missing {
            let group = self.group(*place);
            match last {
                Some((same, first)) if same == *key => people.join(first, group),
                _ => last = Some((*key, group)),
            }
        }
        let person_of: Vec<u32> = (0..self.groups() as u32).map(|group| people.find(group)).collect();
        let person = |group: u32| person_of.get(group as usize).copied().unwrap_or_default() as usize;

        let mut tokens = vec![Found::NONE; self.groups()];
        let mut roots = Roots::default();
        for (group, found) in self.group_of.iter().zip(found).filter(|(_, found)| !found.is_none()) {
            match tokens.get_mut(person(*group)) {
                Some(token) if token.is_none() => *token = *found,
                Some(token) if token.token != found.token => roots.join(token, found),
                _ => {}
            }
        }
        let merges = roots.merges();
        let winners: HashMap<Token, Found> = merges.iter().copied().collect();
        for token in &mut tokens {
            if let Some(winner) = winners.get(&token.token) {
                *token = *winner;
            }
        }

        let mut places: Vec<(u32, Key, u32)> = Vec::new();
        for ((key, place), answer) in asked.unique.iter().zip(&asked.answers) {
            if answer.is_none() {
                places.push((self.space_of.get(*place as usize).copied().unwrap_or_default(), *key, *place));
            }
        }
        // They are in the order of keys, as the table likes them.
        places.sort_by_key(|(space, ..)| *space);
        let mut new: Vec<(u32, Vec<New<'a>>)> = Vec::new();
        for (space, key, place) in places {
            let Some(token) = tokens.get_mut(person(self.group(place))) else { continue };
            if token.is_none() {
                *token = fresh.next().unwrap_or(Found::NONE);
            }
            let value = self.identifiers.get(place as usize).map_or(&[][..], |of| of.value);
            let entry = New { key, token: token.token, value, origin: Some(token.origin) };
            match new.last_mut().filter(|(of, _)| *of == space) {
                Some((_, entries)) => entries.push(entry),
                None => new.push((space, vec![entry])),
            }
        }
        let given = |(group, size): (u32, &u32)| {
            let token = tokens.get(person(group)).filter(|_| *size > 0)?;
            Some(token.token)
        };
        let tokens = (0..).zip(&self.sizes).map(given).collect();
        Plan { new, merges, tokens }
    }
}

/// Disjoint sets of small numbers.
#[derive(Default)]
struct Forest(Vec<u32>);

impl Forest {
    fn new(count: usize) -> Self {
        Self((0..count as u32).collect())
    }

    fn find(&mut self, of: u32) -> u32 {
        let mut at = of;
        while let Some(above) = self.above(at).filter(|above| *above != at) {
            // Halving the path keeps it short.
            let further = self.above(above).unwrap_or(above);
            if let Some(slot) = self.0.get_mut(at as usize) {
                *slot = further;
            }
            at = further;
        }
        at
    }

    fn join(&mut self, one: u32, other: u32) {
        let (one, other) = (self.find(one), self.find(other));
        if let Some(slot) = self.0.get_mut(one.max(other) as usize) {
            *slot = one.min(other);
        }
    }

    fn above(&self, at: u32) -> Option<u32> {
        self.0.get(at as usize).copied()
    }
}

/// Different tokens that turned out to be one person's. They are few in any batch but the first of a new source.
#[derive(Default)]
struct Roots {
    numbers: HashMap<Token, u32>,
    found: Vec<Found>,
    forest: Forest,
}

impl Roots {
    fn join(&mut self, one: &Found, other: &Found) {
        let (one, other) = (self.number(one), self.number(other));
        self.forest.join(one, other);
    }

    fn number(&mut self, of: &Found) -> u32 {
        *self.numbers.entry(of.token).or_insert_with(|| {
            let number = self.found.len() as u32;
            self.found.push(*of);
            self.forest.0.push(number);
            number
        })
    }

    /// Each token that another stands for from now on, with that other.
    fn merges(mut self) -> Vec<(Token, Found)> {
        let sets: Vec<u32> = (0..self.found.len() as u32).map(|number| self.forest.find(number)).collect();
        let mut oldest = self.found.clone();
        for (set, found) in sets.iter().zip(&self.found) {
            if let Some(oldest) = oldest.get_mut(*set as usize).filter(|oldest| found.age() < oldest.age()) {
                *oldest = *found;
            }
        }
        let merge = |(set, found): (&u32, &Found)| {
            let oldest = oldest.get(*set as usize).filter(|oldest| oldest.token != found.token)?;
            Some((found.token, *oldest))
        };
        sets.iter().zip(&self.found).filter_map(merge).collect()
    }
}
