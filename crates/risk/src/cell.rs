//! Who contributes what to a number.

use std::cmp::Ordering;

use crate::work::{TooMuchWork, Work};

/// What one subject adds to the cell by one column: how many values, their sum, the sum of their squares.
#[derive(Clone, Copy, Default, PartialEq)]
pub struct Moments {
    pub count: u64,
    pub sum: f64,
    pub squares: f64,
}

/// What one subject adds to the cell. `subject` is a keyed hash, never the token.
#[derive(Clone, PartialEq)]
pub struct Entry {
    pub subject: u64,
    pub rows: u64,
    /// One for each column that the query measures.
    pub moments: Vec<Moments>,
}

/// A group of a query, as its subjects make it. No `Debug`: it holds what is not to be shown.
#[derive(Clone, Default, PartialEq)]
pub struct Cell {
    /// Ascending by subject, each once.
    entries: Vec<Entry>,
}

/// A number that can be asked of a cell. The columns are numbered as in [`Entry::moments`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quantity {
    Rows,
    Subjects,
    /// Values that are not null.
    Count(usize),
    Sum(usize),
    Squares(usize),
}

/// A number's parts by subject, ascending, without zeros: what two queries are compared by.
#[derive(Clone, Default, PartialEq)]
pub struct Contributions(pub(crate) Vec<(u64, f64)>);

impl Cell {
    /// Entries of one subject become one.
    pub fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_by_key(|entry| entry.subject);
        entries.dedup_by(|next, kept| {
            if next.subject != kept.subject {
                return false;
            }
            kept.rows += next.rows;
            for (kept, next) in kept.moments.iter_mut().zip(&next.moments) {
                kept.count += next.count;
                kept.sum += next.sum;
                kept.squares += next.squares;
            }
            true
        });
        Self { entries }
    }

    /// All of them together.
    pub fn union<'a>(cells: impl Iterator<Item = &'a Self>) -> Self {
        Self::new(cells.flat_map(|cell| cell.entries.iter().cloned()).collect())
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn subjects(&self) -> usize {
        self.entries.len()
    }

    pub fn total(&self, quantity: Quantity) -> f64 {
        self.entries.iter().map(|entry| entry.part(quantity)).sum()
    }

    pub fn contributions(&self, quantity: Quantity) -> Contributions {
        let parts = self.entries.iter().map(|entry| (entry.subject, entry.part(quantity)));
        Contributions(parts.filter(|(_, part)| *part != 0.0).collect())
    }
}

impl Entry {
    pub fn part(&self, quantity: Quantity) -> f64 {
        let of = |column: usize| self.moments.get(column).copied().unwrap_or_default();
        match quantity {
            Quantity::Rows => self.rows as f64,
            Quantity::Subjects => 1.0,
            Quantity::Count(column) => of(column).count as f64,
            Quantity::Sum(column) => of(column).sum,
            Quantity::Squares(column) => of(column).squares,
        }
    }
}

impl Contributions {
    /// Sorted here; zeros go.
    pub fn new(mut parts: Vec<(u64, f64)>) -> Self {
        parts.retain(|(_, part)| *part != 0.0);
        parts.sort_by_key(|(subject, _)| *subject);
        Self(parts)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many subjects add another amount there than here; counting ends at `enough`.
    pub(crate) fn differing(&self, other: &Self, enough: usize, work: &mut Work) -> Result<usize, TooMuchWork> {
        let (mut mine, mut theirs) = (self.0.as_slice(), other.0.as_slice());
        let (mut differing, mut steps) = (0, 1);
        while differing < enough {
            let (a, b) = (mine.split_first(), theirs.split_first());
            let order = match (a, b) {
                (None, None) => break,
                (Some((a, _)), Some((b, _))) => a.0.cmp(&b.0),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
            };
            let is_same = match (a, b) {
                (Some((a, _)), Some((b, _))) => order == Ordering::Equal && same(a.1, b.1),
                _ => false,
            };
            differing += usize::from(!is_same);
            if let Some((_, rest)) = a.filter(|_| order != Ordering::Greater) {
                mine = rest;
            }
            if let Some((_, rest)) = b.filter(|_| order != Ordering::Less) {
                theirs = rest;
            }
            steps += 1;
        }
        work.spend(steps)?;
        Ok(differing)
    }

    /// Whether all its subjects are among those of `other`.
    pub(crate) fn within(&self, other: &Self, work: &mut Work) -> Result<bool, TooMuchWork> {
        let mut theirs = other.0.as_slice();
        let mut steps = 1;
        let mut is_within = self.0.len() <= other.0.len();
        // Few among many are looked up, others met on the way.
        let is_far = other.0.len() / 16 > self.0.len();
        for (subject, _) in &self.0 {
            if !is_within {
                break;
            }
            let (passed, taken) = if is_far {
                (theirs.partition_point(|(with, _)| with < subject), theirs.len().checked_ilog2().unwrap_or(0) as usize)
            } else {
                let passed = theirs.iter().take_while(|(with, _)| with < subject).count();
                (passed, passed)
            };
            steps += taken + 1;
            theirs = theirs.get(passed..).unwrap_or_default();
            is_within = theirs.first().is_some_and(|(with, _)| with == subject);
        }
        work.spend(steps)?;
        Ok(is_within)
    }

    /// What is left without the part; `None` where it does not lie within.
    pub(crate) fn without(&self, part: &Self, work: &mut Work) -> Result<Option<Self>, TooMuchWork> {
        if part.is_empty() || !part.within(self, work)? {
            return Ok(None);
        }
        work.spend(self.len())?;
        let mut gone = part.0.iter().peekable();
        let left = self.0.iter().filter_map(|(subject, amount)| match gone.next_if(|(of, _)| of == subject) {
            Some((_, taken)) if same(*amount, *taken) => None,
            Some((_, taken)) => Some((*subject, amount - taken)),
            None => Some((*subject, *amount)),
        });
        Ok(Some(Self(left.collect())))
    }

    pub(crate) fn sum<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
        let mut parts: Vec<(u64, f64)> = all.flat_map(|one| one.0.iter().copied()).collect();
        parts.sort_by_key(|(subject, _)| *subject);
        parts.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        Self(parts)
    }
}

/// Sums of the same values in another order differ in their last digits.
pub(crate) fn same(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 * one.abs().max(other.abs())
}
