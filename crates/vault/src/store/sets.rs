//! Which tokens are one person's: disjoint sets, each with the token that stands for it.
//!
//! A token's set is one look-up away, always: of two sets that become one, the smaller is told its new number, so that n
//! merges cost O(n log n) in all and a look-up writes nothing. Only tokens that were merged are in here, each with 40 bytes and
//! a slot of the hash table.

use cordon_phi::Token;
use hashbrown::{HashTable, hash_table};

#[derive(Default)]
pub(super) struct Sets {
    tokens: Vec<Member>,
    people: Vec<Set>,
    /// Numbers in `tokens`. Tokens are random, so that their first bytes are their hash.
    numbers: HashTable<u32>,
}

struct Member {
    token: Token,
    set: u32,
    /// The next of the same set, in a ring.
    next: u32,
}

struct Set {
    root: u32,
    size: u32,
    /// Where in the log the root was first given.
    origin: u64,
}

impl Sets {
    /// The token that stands for the person of `token`, and its origin. `None` for a token that was never merged.
    pub fn root(&self, token: &Token) -> Option<(Token, u64)> {
        let set = self.set_of(token)?;
        Some((self.tokens.get(set.root as usize)?.token, set.origin))
    }

    /// All tokens of the person of `token`, itself among them; none for a token that was never merged.
    pub fn members(&self, token: &Token) -> impl Iterator<Item = Token> {
        let first = self.number(token);
        std::iter::successors(first, move |at| {
            let next = self.tokens.get(*at as usize)?.next;
            (Some(next) != first).then_some(next)
        })
        .filter_map(|at| Some(self.tokens.get(at as usize)?.token))
    }

    /// Makes one of the people of `token` and of `root`, for whom `root` stands from now on.
    pub fn merge(&mut self, token: Token, root: Token, origin: u64) {
        let (one, other) = (self.number_or_new(token), self.number_or_new(root));
        let Some((one_set, other_set)) = self.set_number(one).zip(self.set_number(other)) else { return };
        let size = |number: u32| self.people.get(number as usize).map_or(0, |set| set.size);
        let (smaller, larger, member) =
            if size(one_set) < size(other_set) { (one_set, other_set, one) } else { (other_set, one_set, other) };
        if smaller != larger {
            let sum = size(smaller).saturating_add(size(larger));
            self.renumber(member, larger);
            // Two rings become one when two of their links change places.
            let links = self.tokens.get_disjoint_mut([one as usize, other as usize]);
            if let Ok([one, other]) = links {
                std::mem::swap(&mut one.next, &mut other.next);
            }
            if let Some(set) = self.people.get_mut(larger as usize) {
                set.size = sum;
            }
        }
        if let Some(set) = self.people.get_mut(larger as usize) {
            (set.root, set.origin) = (other, origin);
        }
    }

    fn renumber(&mut self, first: u32, set: u32) {
        let mut at = first;
        while let Some(member) = self.tokens.get_mut(at as usize) {
            member.set = set;
            at = member.next;
            if at == first {
                return;
            }
        }
    }

    fn set_of(&self, token: &Token) -> Option<&Set> {
        self.people.get(self.set_number(self.number(token)?)? as usize)
    }

    fn set_number(&self, number: u32) -> Option<u32> {
        Some(self.tokens.get(number as usize)?.set)
    }

    fn number(&self, token: &Token) -> Option<u32> {
        let same = |number: &u32| self.tokens.get(*number as usize).is_some_and(|member| member.token == *token);
        self.numbers.find(hash(token), same).copied()
    }

    fn number_or_new(&mut self, token: Token) -> u32 {
        let Self { tokens, people, numbers } = self;
        let same = |number: &u32| tokens.get(*number as usize).is_some_and(|member| member.token == token);
        let again = |number: &u32| tokens.get(*number as usize).map_or(0, |member| hash(&member.token));
        match numbers.entry(hash(&token), same, again) {
            hash_table::Entry::Occupied(known) => *known.get(),
            hash_table::Entry::Vacant(free) => {
                // A file of merges is too small for 2³² of them.
                let number = tokens.len() as u32;
                free.insert(number);
                tokens.push(Member { token, set: number, next: number });
                people.push(Set { root: number, size: 1, origin: 0 });
                number
            }
        }
    }
}

fn hash(token: &Token) -> u64 {
    token.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::collections::BTreeSet;

    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn agrees_with_plain_sets() {
        let mut rng = StdRng::seed_from_u64(11);
        let tokens: Vec<Token> = (0..300).map(|_| Token(rng.random())).collect();
        // Of each token the number of the one that stands for it.
        let mut model: Vec<usize> = (0..300).collect();
        let mut sets = Sets::default();
        for round in 0..600_u64 {
            let (one, other) = (rng.random_range(0..300), rng.random_range(0..300));
            let (loser, root) = (model[one].max(model[other]), model[one].min(model[other]));
            sets.merge(tokens[loser], tokens[root], round);
            for of in &mut model {
                if *of == loser {
                    *of = root;
                }
            }
            for (number, token) in tokens.iter().enumerate() {
                let root = sets.root(token).map_or(*token, |(root, _)| root);
                assert!(root == tokens[model[number]]);
            }
            assert_eq!(sets.root(&tokens[root]).unwrap().1, round);
        }
        for (number, token) in tokens.iter().enumerate() {
            let same = (0..300).filter(|of| model[*of] == model[number]).map(|of| tokens[of]);
            let expected: BTreeSet<Token> = same.collect();
            let found: Vec<Token> = sets.members(token).collect();
            assert!(found.is_empty() || found.len() == expected.len());
            assert!(found.is_empty() || found.iter().copied().collect::<BTreeSet<_>>() == expected);
        }
    }

    #[test]
    fn a_long_row_of_merges_is_not_quadratic() {
        let mut sets = Sets::default();
        let token = |n: u32| Token(std::array::from_fn(|i| (n.wrapping_mul(0x9E37_79B9) >> (i % 4 * 8)) as u8));
        for n in (1..200_000).rev() {
            sets.merge(token(n), token(n - 1), u64::from(n));
        }
        assert!(sets.root(&token(199_999)).unwrap().0 == token(0));
        assert_eq!(sets.members(&token(5)).count(), 200_000);
    }
}
