//! What was released to somebody before, and the differences that a new release would make.
//!
//! Two releases of which one covers a few subjects more than the other tell of these few by subtraction. So for each released number it
//! is remembered which subject added how much, under keyed hashes, and a new number is refused when 1 to k-1 subjects make its difference to
//! an earlier one, or are what is left of a whole less up to three parts of it, new or earlier (all cells of a grouping that lie within the
//! whole are one part). A refusal tells
//! something as well (Kenthapadi, Mishra and Nissim, Simulatable auditing, 2005): after [`MAX_REFUSALS`] within the time that is remembered
//! nothing more is answered. What is not found: combinations of overlapping groups and longer sums, and what two users know together.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::cell::Contributions;

/// What a number counts or adds up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Subjects,
    /// Rows, or values that are not null.
    Counts,
    /// The values of a column, which is named by a keyed hash.
    Values(u64),
}

impl Kind {
    /// Whether one less the other means anything. A column of zeros and ones counts rows, so values are held against counts. How many subjects
    /// there are is not held against how many rows they have: both are told of one group at once.
    fn is_comparable(self, other: Self) -> bool {
        self == other
            || (self != Self::Subjects && other != Self::Subjects && (self == Self::Counts || other == Self::Counts))
    }
}

/// The released cells of one grouping set, for one number: no row is in two of them.
#[derive(Clone)]
pub struct Partition {
    pub kind: Kind,
    pub cells: Vec<Contributions>,
}

/// Why a release may not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the answer would differ by a few subjects from an earlier one")]
    Difference,
    #[error("too many queries were refused for their difference from earlier ones")]
    TooManyRefusals,
    /// Or holds more than can be held against a new answer.
    #[error("the memory of earlier answers is full")]
    Full,
}

/// The bytes are no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a memory of released answers, or of another version")]
pub struct MemoryError;

/// Refusals after which a refusal says too much.
pub const MAX_REFUSALS: usize = 20;

/// How many parts are subtracted from a whole. A grouping's cells within it count once.
const DEPTH: usize = 3;
/// Comparisons, each of about sixteen subjects, that the search may take. Where they do not suffice, nothing leaves.
const MAX_STEPS: usize = 4 << 20;

const MAGIC: &[u8; 8] = b"CORDOM01";

/// One user's memory. No `Debug`: it holds who contributed.
#[derive(Default)]
pub struct Memory {
    released: Vec<Remembered>,
    refused: Vec<i64>,
}

struct Remembered {
    /// Seconds since 1970.
    at: i64,
    partition: Partition,
}

impl Memory {
    /// Takes the release in, or says why it may not leave; a refusal for a difference is remembered as well. `since` is the moment before
    /// which all is forgotten, `bytes` how large the memory may become.
    pub fn admit(
        &mut self,
        release: Vec<Partition>,
        smallest: usize,
        at: i64,
        since: i64,
        bytes: usize,
    ) -> Result<(), Refusal> {
        self.released.retain(|remembered| remembered.at >= since);
        self.refused.retain(|refused| *refused >= since);
        if self.refused.len() >= MAX_REFUSALS {
            return Err(Refusal::TooManyRefusals);
        }
        for new in &release {
            if tells_of_few(new, &self.released, smallest, MAX_STEPS)? {
                self.refused.push(at);
                return Err(Refusal::Difference);
            }
        }
        let before = self.released.len();
        for partition in release {
            // Asked again, it is known already; the newer of the two is the one to keep.
            match self
                .released
                .iter_mut()
                .find(|old| old.partition.kind == partition.kind && old.partition.cells == partition.cells)
            {
                Some(old) => old.at = old.at.max(at),
                None if partition.cells.is_empty() => {}
                None => self.released.push(Remembered { at, partition }),
            }
        }
        if self.len() > bytes {
            self.released.truncate(before);
            return Err(Refusal::Full);
        }
        Ok(())
    }

    /// About how many bytes [`Self::encode`] makes.
    pub fn len(&self) -> usize {
        let cells = self
            .released
            .iter()
            .map(|old| old.partition.cells.iter().map(|cell| 16 + 12 * cell.len()).sum::<usize>() + 32);
        cells.sum::<usize>() + 8 * (self.subjects().len() + self.refused.len()) + 24
    }

    pub fn is_empty(&self) -> bool {
        self.released.is_empty() && self.refused.is_empty()
    }

    fn subjects(&self) -> BTreeSet<u64> {
        let cells = self.released.iter().flat_map(|old| &old.partition.cells);
        cells.flat_map(|cell| cell.0.iter().map(|(subject, _)| *subject)).collect()
    }

    /// The memory as bytes, to be sealed: each subject once, the cells by the subjects' numbers; ones, which most parts are, are not written.
    pub fn encode(&self) -> Vec<u8> {
        let subjects: Vec<u64> = self.subjects().into_iter().collect();
        let number: BTreeMap<u64, u32> = subjects.iter().copied().zip(0..).collect();
        let mut bytes = MAGIC.to_vec();
        let mut put = |value: u64, width: usize| bytes.extend(value.to_le_bytes().into_iter().take(width));
        put(subjects.len() as u64, 4);
        for subject in &subjects {
            put(*subject, 8);
        }
        put(self.refused.len() as u64, 4);
        for at in &self.refused {
            put(*at as u64, 8);
        }
        put(self.released.len() as u64, 4);
        for old in &self.released {
            put(old.at as u64, 8);
            let (kind, column) = match old.partition.kind {
                Kind::Subjects => (0, 0),
                Kind::Counts => (1, 0),
                Kind::Values(column) => (2, column),
            };
            put(kind, 1);
            put(column, 8);
            put(old.partition.cells.len() as u64, 4);
            for cell in &old.partition.cells {
                let ones = cell.0.iter().all(|(_, part)| part.to_bits() == 1.0_f64.to_bits());
                put(cell.len() as u64, 4);
                put(u64::from(ones), 1);
                for (subject, part) in &cell.0 {
                    put(u64::from(number.get(subject).copied().unwrap_or(u32::MAX)), 4);
                    if !ones {
                        put(part.to_bits(), 8);
                    }
                }
            }
        }
        bytes
    }

    /// What [`Self::encode`] made.
    pub fn decode(bytes: &[u8]) -> Result<Self, MemoryError> {
        let mut reader = Reader(bytes.strip_prefix(MAGIC).ok_or(MemoryError)?);
        let mut subjects = Vec::new();
        for _ in 0..reader.take(4)? {
            subjects.push(reader.take(8)?);
        }
        let mut memory = Self::default();
        for _ in 0..reader.take(4)? {
            memory.refused.push(reader.take(8)? as i64);
        }
        for _ in 0..reader.take(4)? {
            let at = reader.take(8)? as i64;
            let kind = match (reader.take(1)?, reader.take(8)?) {
                (0, 0) => Kind::Subjects,
                (1, 0) => Kind::Counts,
                (2, column) => Kind::Values(column),
                _ => return Err(MemoryError),
            };
            let mut partition = Partition { kind, cells: Vec::new() };
            for _ in 0..reader.take(4)? {
                let (parts, ones) = (reader.take(4)?, reader.take(1)? == 1);
                let mut cell = Vec::new();
                for _ in 0..parts {
                    let subject = subjects.get(reader.take(4)? as usize).ok_or(MemoryError)?;
                    cell.push((*subject, if ones { 1.0 } else { f64::from_bits(reader.take(8)?) }));
                }
                partition.cells.push(Contributions(cell));
            }
            memory.released.push(Remembered { at, partition });
        }
        if reader.0.is_empty() { Ok(memory) } else { Err(MemoryError) }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, width: usize) -> Result<u64, MemoryError> {
        let (head, rest) = self.0.split_at_checked(width).ok_or(MemoryError)?;
        self.0 = rest;
        Ok(head.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }
}

/// What may be subtracted from a number in one step.
enum Part<'a> {
    Cell(&'a Contributions),
    /// All cells of a grouping that lie within.
    Within(&'a Partition),
}

/// The search for what is left when parts are subtracted from a whole.
struct Search<'a> {
    smallest: usize,
    parts: Vec<Part<'a>>,
    /// Steps that may still be taken.
    budget: usize,
}

impl<'a> Search<'a> {
    fn new(kind: Kind, smallest: usize, old: impl Iterator<Item = &'a Partition>, budget: usize) -> Self {
        let mut parts = Vec::new();
        for partition in old.filter(|partition| partition.kind == kind) {
            if partition.cells.len() > 1 {
                parts.push(Part::Within(partition));
            }
            parts.extend(partition.cells.iter().map(Part::Cell));
        }
        Self { smallest, parts, budget }
    }

    fn is_few(&self, left: &Contributions) -> bool {
        (1..self.smallest).contains(&left.len())
    }

    /// Whether subtracting up to `depth` parts leaves a few subjects.
    fn leaves_few(&mut self, whole: &Contributions, from: usize, depth: usize) -> Result<bool, Refusal> {
        for at in from..self.parts.len() {
            self.budget = self.budget.checked_sub(1 + whole.len() / 16).ok_or(Refusal::Full)?;
            let left = match self.parts.get(at) {
                Some(Part::Cell(cell)) => whole.without(cell),
                Some(Part::Within(partition)) => without_within(whole, partition),
                None => None,
            };
            let Some(left) = left else { continue };
            if self.is_few(&left) || (depth > 1 && !left.is_empty() && self.leaves_few(&left, at + 1, depth - 1)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The whole less those cells of the grouping that lie within it; `None` where none does.
fn without_within(whole: &Contributions, partition: &Partition) -> Option<Contributions> {
    let within: Vec<&Contributions> = partition.cells.iter().filter(|cell| cell.within(whole)).collect();
    if within.is_empty() {
        return None;
    }
    whole.without(&Contributions::sum(within.into_iter()))
}

/// The cells, and all of them together.
fn wholes(partition: &Partition) -> Vec<Cow<'_, Contributions>> {
    let mut wholes: Vec<Cow<'_, Contributions>> = partition.cells.iter().map(Cow::Borrowed).collect();
    if wholes.len() > 1 {
        wholes.push(Cow::Owned(Contributions::sum(partition.cells.iter())));
    }
    wholes
}

/// Whether the new grouping's cells tell of a few subjects, given what was released before.
fn tells_of_few(new: &Partition, old: &[Remembered], smallest: usize, budget: usize) -> Result<bool, Refusal> {
    let old = || old.iter().map(|old| &old.partition);
    for before in old().filter(|before| new.kind.is_comparable(before.kind)) {
        let few = |one: &Contributions, other: &Contributions| (1..smallest).contains(&one.differing(other, smallest));
        if new.cells.iter().any(|cell| before.cells.iter().any(|before| few(cell, before))) {
            return Ok(true);
        }
    }
    let mut search = Search::new(new.kind, smallest, old(), budget);
    // What is new as the whole.
    for whole in wholes(new) {
        if search.leaves_few(&whole, 0, DEPTH)? {
            return Ok(true);
        }
    }
    // What was before as the whole, of which the new cells are parts.
    for whole in old().filter(|before| before.kind == new.kind).flat_map(wholes) {
        let all = if new.cells.len() > 1 { without_within(&whole, new) } else { None };
        for left in new.cells.iter().filter_map(|cell| whole.without(cell)).chain(all) {
            if search.is_few(&left) || (!left.is_empty() && search.leaves_few(&left, 0, DEPTH - 1)?) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn cell(subjects: impl IntoIterator<Item = u64>) -> Contributions {
        Contributions::new(subjects.into_iter().map(|subject| (subject, 1.0)).collect())
    }

    fn one(cells: Vec<Contributions>) -> Vec<Partition> {
        vec![Partition { kind: Kind::Counts, cells }]
    }

    fn admit(memory: &mut Memory, cells: Vec<Contributions>) -> Result<(), Refusal> {
        memory.admit(one(cells), 11, 100, 0, 1 << 20)
    }

    #[test]
    fn all_but_one_is_that_one() {
        for (second, refused) in [(0..50, false), (0..49, true), (0..40, true), (0..39, false), (1..51, true)] {
            let mut memory = Memory::default();
            assert_eq!(admit(&mut memory, vec![cell(0..50)]), Ok(()));
            let expected = if refused { Err(Refusal::Difference) } else { Ok(()) };
            assert_eq!(admit(&mut memory, vec![cell(second.clone())]), expected, "{second:?}");
        }
    }

    #[test]
    fn the_total_after_its_large_parts_gives_the_small_part_away() {
        let mut memory = Memory::default();
        assert_eq!(admit(&mut memory, vec![cell(0..30), cell(30..60)]), Ok(()));
        assert_eq!(admit(&mut memory, vec![cell(0..64)]), Err(Refusal::Difference));
        // And the other way round.
        let mut memory = Memory::default();
        assert_eq!(admit(&mut memory, vec![cell(0..64)]), Ok(()));
        assert_eq!(admit(&mut memory, vec![cell(0..30), cell(30..60)]), Err(Refusal::Difference));
        assert_eq!(admit(&mut memory, vec![cell(0..30), cell(30..50)]), Ok(()));
    }

    #[test]
    fn parts_of_several_queries_add_up() {
        let mut memory = Memory::default();
        for part in [cell(0..64), cell(0..30), cell(30..45)] {
            assert_eq!(admit(&mut memory, vec![part]), Ok(()));
        }
        assert_eq!(admit(&mut memory, vec![cell(45..60)]), Err(Refusal::Difference));
        assert_eq!(admit(&mut memory, vec![cell(45..64)]), Ok(()));
        // The whole comes last.
        let mut memory = Memory::default();
        for part in [cell(0..30), cell(30..45), cell(45..60)] {
            assert_eq!(admit(&mut memory, vec![part]), Ok(()));
        }
        assert_eq!(admit(&mut memory, vec![cell(0..64)]), Err(Refusal::Difference));
        assert_eq!(admit(&mut memory, vec![cell(0..75)]), Ok(()));
    }

    #[test]
    fn what_cannot_be_searched_is_refused() {
        let mut memory = Memory::default();
        for at in 0..700 {
            let release = one(vec![cell((at * 20)..(at * 20 + 20))]);
            // Parts that are apart are no work.
            assert_eq!(memory.admit(release, 11, 1, 0, 1 << 26), Ok(()));
        }
        assert_eq!(memory.admit(one(vec![cell(0..14_000)]), 11, 1, 0, 1 << 26), Err(Refusal::Full));
    }

    #[test]
    fn a_row_less_of_the_same_person_is_a_difference() {
        let mut memory = Memory::default();
        let rows =
            |of_first: f64| Contributions::new((0..50).map(|n| (n, if n == 0 { of_first } else { 2.0 })).collect());
        assert_eq!(admit(&mut memory, vec![rows(3.0)]), Ok(()));
        assert_eq!(admit(&mut memory, vec![rows(2.0)]), Err(Refusal::Difference));
        assert_eq!(admit(&mut memory, vec![rows(3.0)]), Ok(()));
    }

    #[test]
    fn it_is_forgotten_in_time_and_kept_in_bytes() {
        let mut memory = Memory::default();
        memory.admit(one(vec![cell(0..50)]), 11, 100, 0, 1 << 20).unwrap();
        let mut memory = Memory::decode(&memory.encode()).unwrap();
        assert_eq!(memory.admit(one(vec![cell(0..49)]), 11, 150, 100, 1 << 20), Err(Refusal::Difference));
        let mut memory = Memory::decode(&memory.encode()).unwrap();
        assert_eq!(memory.admit(one(vec![cell(0..49)]), 11, 201, 151, 1 << 20), Ok(()));
        let bytes = memory.encode();
        assert!(bytes.len() <= memory.len());
        for cut in 0..bytes.len() {
            assert!(Memory::decode(bytes.get(..cut).unwrap()).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_full_memory_refuses_and_so_do_many_refusals() {
        let mut memory = Memory::default();
        assert_eq!(memory.admit(one(vec![cell(0..1000)]), 11, 1, 0, 4000), Err(Refusal::Full));
        assert_eq!(memory.admit(one(vec![cell(0..100)]), 11, 1, 0, 4000), Ok(()));
        for _ in 0..MAX_REFUSALS {
            assert_eq!(admit(&mut memory, vec![cell(0..99)]), Err(Refusal::Difference));
        }
        assert_eq!(admit(&mut memory, vec![cell(0..100)]), Err(Refusal::TooManyRefusals));
    }
}
