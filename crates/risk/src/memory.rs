//! What was released to somebody before, and the differences that a new release would make.
//!
//! Two numbers of which one covers a few subjects more than the other tell of these few by subtraction. So for each released number it
//! is remembered which subject added how much, under keyed hashes, and a new number is refused when 1 to k-1 subjects make its difference to
//! another, or are what is left of a whole less up to three parts of it (all cells of a grouping that lie within the
//! whole are one part). The others are what was released before and the other groupings of the same release. A refusal tells
//! something as well (Kenthapadi, Mishra and Nissim, Simulatable auditing, 2005): after [`MAX_REFUSALS`] within the time that is remembered
//! nothing more is answered. What is not found: combinations of overlapping groups and longer sums, and what two users know together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::cell::Contributions;
use crate::work::{TooMuchWork, Work};

/// What a number counts or adds up. One number less another means something whatever the two are, a column of zeros and ones counts rows;
/// parts are subtracted from a whole only where both are of one kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Subjects, rows, or values that are not null.
    Counts,
    /// The values of a column, which is named by a keyed hash.
    Values(u64),
}

/// The released cells of one grouping set, for one number: no row is in two of them.
#[derive(Clone)]
pub struct Partition {
    pub kind: Kind,
    /// Which of the release's grouping sets. Its cells are of different rows, and the numbers of one cell were held against each other when it
    /// was found fit to be shown: within a release only cells of different sets are compared.
    pub set: usize,
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
/// What all comparisons of a release may take together. Where this does not suffice, nothing leaves.
const MAX_STEPS: usize = 1 << 28;

const MAGIC: &[u8; 8] = b"CORDOM02";

/// One user's memory. No `Debug`: it holds who contributed.
#[derive(Default)]
pub struct Memory {
    released: Vec<Remembered>,
    refused: Vec<i64>,
}

struct Remembered {
    /// Seconds since 1970.
    at: i64,
    /// The smallest group of the tables that it is of.
    smallest: usize,
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
        self.admit_within(release, smallest, at, since, bytes, &mut Work::new(MAX_STEPS))
    }

    fn admit_within(
        &mut self,
        release: Vec<Partition>,
        smallest: usize,
        at: i64,
        since: i64,
        bytes: usize,
        work: &mut Work,
    ) -> Result<(), Refusal> {
        self.released.retain(|remembered| remembered.at >= since);
        self.refused.retain(|refused| *refused >= since);
        if self.refused.len() >= MAX_REFUSALS {
            return Err(Refusal::TooManyRefusals);
        }
        let is_same = |one: &Partition, other: &Partition| one.kind == other.kind && one.cells == other.cells;
        let mut new: Vec<Partition> = Vec::new();
        let mut again: Vec<usize> = Vec::new();
        for partition in release.into_iter().filter(|partition| !partition.cells.is_empty()) {
            // Asked again, it is known already.
            match self.released.iter().position(|old| is_same(&old.partition, &partition)) {
                Some(old) => again.push(old),
                None if new.iter().any(|other| is_same(other, &partition)) => {}
                None => new.push(partition),
            }
        }
        if Comparison::new(&new, &self.released, smallest).tells_of_few(work)? {
            self.refused.push(at);
            return Err(Refusal::Difference);
        }
        let before = self.released.len();
        self.released.extend(new.into_iter().map(|partition| Remembered { at, smallest, partition }));
        if self.len() > bytes {
            self.released.truncate(before);
            return Err(Refusal::Full);
        }
        for old in again {
            if let Some(old) = self.released.get_mut(old) {
                old.at = old.at.max(at);
                old.smallest = old.smallest.max(smallest);
            }
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
            put(old.smallest as u64, 4);
            let (kind, column) = match old.partition.kind {
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
            let (at, smallest) = (reader.take(8)? as i64, reader.take(4)? as usize);
            let kind = match (reader.take(1)?, reader.take(8)?) {
                (1, 0) => Kind::Counts,
                (2, column) => Kind::Values(column),
                _ => return Err(MemoryError),
            };
            let mut partition = Partition { kind, set: 0, cells: Vec::new() };
            for _ in 0..reader.take(4)? {
                let (parts, ones) = (reader.take(4)?, reader.take(1)? == 1);
                let mut cell = Vec::new();
                for _ in 0..parts {
                    let subject = subjects.get(reader.take(4)? as usize).ok_or(MemoryError)?;
                    cell.push((*subject, if ones { 1.0 } else { f64::from_bits(reader.take(8)?) }));
                }
                partition.cells.push(Contributions(cell));
            }
            memory.released.push(Remembered { at, smallest, partition });
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

impl From<TooMuchWork> for Refusal {
    fn from(_: TooMuchWork) -> Self {
        Self::Full
    }
}

/// A partition in the comparison.
struct Side<'a> {
    kind: Kind,
    /// The grouping set within the new release; `None` for what was before.
    set: Option<usize>,
    smallest: usize,
    cells: &'a [Contributions],
}

/// A cell by its partition and its place there.
type Place = (usize, usize);

/// A new release, what was before, and what they tell of together.
struct Comparison<'a> {
    /// The new ones first.
    sides: Vec<Side<'a>>,
    new: usize,
    /// The largest of the smallest groups.
    widest: usize,
}

/// What may be subtracted from a whole in one step.
enum Part {
    Cell(Place),
    /// Those cells of the partition that lie within what is left.
    Within(usize, Vec<usize>),
}

/// Cells of one kind by their first subject.
#[derive(Default)]
struct ByFirst(HashMap<u64, Vec<Place>>);

impl<'a> Comparison<'a> {
    fn new(new: &'a [Partition], old: &'a [Remembered], smallest: usize) -> Self {
        let side = |partition: &'a Partition, set, smallest| Side {
            kind: partition.kind,
            set,
            smallest,
            cells: &partition.cells,
        };
        let before = old.iter().map(|old| side(&old.partition, None, old.smallest));
        let sides: Vec<_> =
            new.iter().map(|partition| side(partition, Some(partition.set), smallest)).chain(before).collect();
        let widest = sides.iter().map(|side| side.smallest).max().unwrap_or(smallest);
        Self { sides, new: new.len(), widest }
    }

    fn tells_of_few(&self, work: &mut Work) -> Result<bool, TooMuchWork> {
        Ok(self.has_near_cells(work)? || self.leaves_few(work)?)
    }

    fn cell(&self, place: Place) -> Option<&'a Contributions> {
        self.sides.get(place.0)?.cells.get(place.1)
    }

    fn smallest(&self, side: usize) -> usize {
        self.sides.get(side).map_or(self.widest, |side| side.smallest)
    }

    fn cells(&self, sides: std::ops::Range<usize>) -> impl Iterator<Item = (Place, &'a Contributions)> {
        let of = move |(at, side): (usize, &Side<'a>)| {
            side.cells.iter().enumerate().map(move |(cell, parts)| ((at, cell), parts))
        };
        self.sides.iter().enumerate().take(sides.end).skip(sides.start).flat_map(of)
    }

    /// Cells of one grouping of the release, or of one that was released.
    fn are_of_one_set(&self, one: usize, other: usize) -> bool {
        let set = |side: usize| self.sides.get(side).and_then(|side| side.set);
        one == other || (set(one).is_some() && set(one) == set(other))
    }

    /// Whether a new cell differs from another by a few subjects. Two that differ by fewer than k have one of their first k subjects in common,
    /// or both have fewer: only such pairs are looked at.
    fn has_near_cells(&self, work: &mut Work) -> Result<bool, TooMuchWork> {
        let mut by_subject: HashMap<u64, Vec<Place>> = HashMap::new();
        let mut short: Vec<Place> = Vec::new();
        for (place, cell) in self.cells(0..self.new) {
            work.spend(1 + cell.len().min(self.widest))?;
            if cell.len() < self.widest {
                short.push(place);
            }
            for (subject, _) in cell.0.iter().take(self.widest) {
                by_subject.entry(*subject).or_default().push(place);
            }
        }
        let mut near: BTreeSet<Place> = BTreeSet::new();
        for (place, cell) in self.cells(0..self.sides.len()) {
            near.clear();
            let firsts = cell.0.iter().take(self.widest).filter_map(|(subject, _)| by_subject.get(subject));
            let shorts = (cell.len() < self.widest).then_some(&short);
            for others in firsts.chain(shorts) {
                // Each is looked up and put in order.
                work.spend(4 + 4 * others.len())?;
                near.extend(others.iter().filter(|other| **other < place && !self.are_of_one_set(other.0, place.0)));
            }
            work.spend(1 + cell.len().min(self.widest))?;
            for other in &near {
                let smallest = self.smallest(other.0).max(self.smallest(place.0));
                let Some(other) = self.cell(*other).filter(|other| other.len().abs_diff(cell.len()) < smallest) else {
                    continue;
                };
                if (1..smallest).contains(&cell.differing(other, smallest, work)?) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether a whole less up to [`DEPTH`] parts is of a few subjects, where the whole or one of the parts is new.
    fn leaves_few(&self, work: &mut Work) -> Result<bool, TooMuchWork> {
        let kinds: BTreeSet<Kind> = self.sides.iter().take(self.new).map(|side| side.kind).collect();
        for kind in kinds {
            let (mut new, mut all) = (ByFirst::default(), ByFirst::default());
            for (place, cell) in self.cells(0..self.sides.len()) {
                work.spend(1)?;
                let Some((first, _)) = cell.0.first().filter(|_| self.is_of(place.0, kind)) else { continue };
                all.0.entry(*first).or_default().push(place);
                if place.0 < self.new {
                    new.0.entry(*first).or_default().push(place);
                }
            }
            for side in (0..self.sides.len()).filter(|side| self.is_of(*side, kind)) {
                let cells = self.sides.get(side).map(|side| side.cells).unwrap_or_default();
                let sum = if cells.len() > 1 {
                    work.spend(cells.iter().map(Contributions::len).sum())?;
                    Some(Contributions::sum(cells.iter()))
                } else {
                    None
                };
                let wholes = cells.iter().enumerate().map(|(at, cell)| (Some(at), cell));
                for (at, whole) in wholes.chain(sum.iter().map(|sum| (None, sum))) {
                    // Of what was before only what a new part lies within tells anything new.
                    if side >= self.new && self.within(whole, (side, at), &new, work)?.is_empty() {
                        continue;
                    }
                    let within = self.within(whole, (side, at), &all, work)?;
                    if self.parts_leave_few(whole, side, &within, work)? {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    fn is_of(&self, side: usize, kind: Kind) -> bool {
        self.sides.get(side).is_some_and(|side| side.kind == kind)
    }

    /// The cells that lie within the whole: not itself, nor what the rules for one cell were held against.
    fn within(
        &self,
        whole: &Contributions,
        (side, at): (usize, Option<usize>),
        cells: &ByFirst,
        work: &mut Work,
    ) -> Result<Vec<Place>, TooMuchWork> {
        let mut found = Vec::new();
        work.spend(whole.len())?;
        for place in whole.0.iter().filter_map(|(subject, _)| cells.0.get(subject)).flatten() {
            work.spend(1)?;
            let is_of_it = match at {
                Some(at) if side >= self.new => (side, at) == *place,
                Some(_) => self.are_of_one_set(side, place.0),
                None => side != place.0 && self.are_of_one_set(side, place.0),
            };
            if !is_of_it
                && let Some(cell) = self.cell(*place)
                && cell.within(whole, work)?
            {
                found.push(*place);
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn parts_leave_few(
        &self,
        whole: &Contributions,
        side: usize,
        within: &[Place],
        work: &mut Work,
    ) -> Result<bool, TooMuchWork> {
        let len = |place: &Place| self.cell(*place).map_or(0, Contributions::len);
        let mut parts: Vec<(usize, Part)> = Vec::new();
        for of_one in within.chunk_by(|one, other| one.0 == other.0) {
            // All cells of a grouping less all of them are nothing.
            if let ([first, _, ..], all) = (of_one, of_one.iter().map(len).sum())
                && first.0 != side
            {
                parts.push((all, Part::Within(first.0, of_one.iter().map(|place| place.1).collect())));
            }
            parts.extend(of_one.iter().map(|place| (len(place), Part::Cell(*place))));
        }
        // The largest first: what is left may be too much for all that follow.
        parts.sort_by_key(|(len, _)| std::cmp::Reverse(*len));
        if side < self.new {
            return self.less(whole, &parts, 0, DEPTH, self.smallest(side), work);
        }
        let largest = parts.first().map_or(0, |(len, _)| *len);
        for (len, part) in &parts {
            let of = match part {
                Part::Cell((of, _)) | Part::Within(of, _) => *of,
            };
            if of >= self.new || whole.len() >= self.widest + len + (DEPTH - 1) * largest {
                continue;
            }
            let smallest = self.smallest(side).max(self.smallest(of));
            let Some(left) = self.without(whole, part, work)?.filter(|left| !left.is_empty()) else { continue };
            if left.len() < smallest || self.less(&left, &parts, 0, DEPTH - 1, smallest, work)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether subtracting up to `depth` of the parts leaves a few subjects.
    fn less(
        &self,
        whole: &Contributions,
        parts: &[(usize, Part)],
        from: usize,
        depth: usize,
        smallest: usize,
        work: &mut Work,
    ) -> Result<bool, TooMuchWork> {
        for (at, (len, part)) in parts.iter().enumerate().skip(from) {
            if whole.len() >= self.widest + depth * len {
                break;
            }
            let of = match part {
                Part::Cell((of, _)) | Part::Within(of, _) => *of,
            };
            let smallest = smallest.max(self.smallest(of));
            let Some(left) = self.without(whole, part, work)?.filter(|left| !left.is_empty()) else { continue };
            if left.len() < smallest || (depth > 1 && self.less(&left, parts, at + 1, depth - 1, smallest, work)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn without(
        &self,
        whole: &Contributions,
        part: &Part,
        work: &mut Work,
    ) -> Result<Option<Contributions>, TooMuchWork> {
        match part {
            Part::Cell(place) => self.cell(*place).map_or(Ok(None), |cell| whole.without(cell, work)),
            Part::Within(side, cells) => {
                let mut within = Vec::new();
                for cell in cells.iter().filter_map(|cell| self.cell((*side, *cell))) {
                    if cell.within(whole, work)? {
                        within.push(cell);
                    }
                }
                if within.is_empty() {
                    return Ok(None);
                }
                work.spend(within.iter().map(|cell| cell.len()).sum())?;
                whole.without(&Contributions::sum(within.into_iter()), work)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    fn cell(subjects: impl IntoIterator<Item = u64>) -> Contributions {
        Contributions::new(subjects.into_iter().map(|subject| (subject, 1.0)).collect())
    }

    fn one(cells: Vec<Contributions>) -> Vec<Partition> {
        vec![Partition { kind: Kind::Counts, set: 0, cells }]
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
        let mut admit = |cells, steps| memory.admit_within(one(cells), 11, 1, 0, 1 << 26, &mut Work::new(steps));
        for at in 0..700 {
            // Parts that are apart are no work.
            assert_eq!(admit(vec![cell((at * 20)..(at * 20 + 20))], 1 << 20), Ok(()));
        }
        assert_eq!(admit(vec![cell(0..14_000)], 1 << 20), Ok(()));
        // Thirds of it in many ways are.
        let third = |way: u64, of: u64| cell((0..14_000).filter(move |n| (n / (way + 20)) % 3 == of));
        let answers: Vec<_> = (0..40).map(|way| admit((0..3).map(|of| third(way, of)).collect(), 1 << 20)).collect();
        assert_eq!(answers.last(), Some(&Err(Refusal::Full)));
        assert!(answers.iter().all(|answer| *answer != Err(Refusal::Difference)));
    }

    /// Not each is held against each: that would be 60 million pairs.
    #[test]
    fn many_groups_are_held_against_many() {
        let mut memory = Memory::default();
        let groups = |from: u64, count: u64, size: u64| -> Vec<Contributions> {
            (0..count).map(|at| cell((from + at * size)..(from + (at + 1) * size))).collect()
        };
        assert_eq!(memory.admit_within(one(groups(0, 30_000, 12)), 11, 1, 0, 1 << 26, &mut Work::new(1 << 25)), Ok(()));
        let mut work = Work::new(1 << 25);
        assert_eq!(memory.admit_within(one(groups(0, 2000, 24)), 11, 1, 0, 1 << 26, &mut work), Ok(()));
        let mut few = groups(0, 2000, 36);
        few.push(cell(100_000..100_014));
        few.push(cell(200_004..200_016));
        assert_eq!(memory.admit_within(one(few), 11, 1, 0, 1 << 26, &mut Work::new(1 << 25)), Err(Refusal::Difference));
    }

    fn sets(sets: Vec<Vec<Contributions>>) -> Vec<Partition> {
        (0..).zip(sets).map(|(set, cells)| Partition { kind: Kind::Counts, set, cells }).collect()
    }

    #[test]
    fn the_sets_of_one_release_are_held_against_each_other() {
        let admit = |release| Memory::default().admit(release, 11, 1, 0, 1 << 20);
        // Women, and women and one man.
        assert_eq!(
            admit(sets(vec![vec![cell(0..40), cell(40..100)], vec![cell(0..41), cell(41..100)]])),
            Err(Refusal::Difference)
        );
        assert_eq!(admit(sets(vec![vec![cell(0..40), cell(40..100)], vec![cell(0..60), cell(60..100)]])), Ok(()));
        // A whole less two parts that stand in other sets.
        let three = |last: u64| sets(vec![vec![cell(0..60)], vec![cell(0..30)], vec![cell(30..last)]]);
        assert_eq!(admit(three(56)), Err(Refusal::Difference));
        assert_eq!(admit(three(60)), Ok(()));
        assert_eq!(admit(three(49)), Ok(()));
        // Sums are held against counts.
        let mut flag = sets(vec![vec![cell(0..40)], vec![cell(0..43)]]);
        flag[1].kind = Kind::Values(7);
        assert_eq!(admit(flag), Err(Refusal::Difference));
    }

    #[test]
    fn months_of_the_same_persons_are_one_answer() {
        // Each has a row in each month, but for three.
        let release = vec![
            Partition { kind: Kind::Counts, set: 0, cells: vec![cell(0..60), cell(3..60)] },
            Partition { kind: Kind::Values(1), set: 0, cells: vec![cell(0..60), cell(3..60)] },
        ];
        let mut memory = Memory::default();
        for _ in 0..2 {
            assert_eq!(memory.admit(release.clone(), 11, 1, 0, 1 << 20), Ok(()));
        }
        assert_eq!(memory.released.len(), 2);
    }

    #[test]
    fn the_wider_of_two_smallest_groups_holds() {
        for (first, second, refused) in [(20, 11, true), (11, 20, true), (11, 11, false)] {
            let mut memory = Memory::default();
            assert_eq!(memory.admit(one(vec![cell(0..60)]), first, 1, 0, 1 << 20), Ok(()));
            let mut memory = Memory::decode(&memory.encode()).unwrap();
            let expected = if refused { Err(Refusal::Difference) } else { Ok(()) };
            assert_eq!(memory.admit(one(vec![cell(0..45)]), second, 1, 0, 1 << 20), expected, "{first} {second}");
        }
        for (second, refused) in [(11, true), (5, true)] {
            let mut memory = Memory::default();
            assert_eq!(memory.admit(one(vec![cell(0..30), cell(30..60)]), 20, 1, 0, 1 << 20), Ok(()));
            let expected = if refused { Err(Refusal::Difference) } else { Ok(()) };
            assert_eq!(memory.admit(one(vec![cell(0..75)]), second, 1, 0, 1 << 20), expected);
        }
    }

    #[test]
    fn an_older_form_is_refused() {
        let mut bytes = Memory::default().encode();
        bytes[7] = b'1';
        assert!(Memory::decode(&bytes).is_err());
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
