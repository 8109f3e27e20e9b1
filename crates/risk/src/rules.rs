//! When a cell is sensitive by itself.

use std::collections::BTreeMap;

use crate::cell::{Cell, Entry, Quantity, same};
use crate::work::{TooMuchWork, Work};

/// What is held against every cell before it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    smallest: usize,
    percent: u32,
}

/// A rule that would protect nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a smallest group has from 2 to 1000 subjects")]
pub struct BadRules;

/// CMS cell size suppression policy: no cell of 1 to 10.
const CMS_SMALLEST: usize = 11;
/// Nobody may come within a tenth of another's value by subtracting his own from the total.
const PERCENT: u32 = 10;

impl Default for Rules {
    fn default() -> Self {
        Self { smallest: CMS_SMALLEST, percent: PERCENT }
    }
}

impl Rules {
    pub fn new(smallest: u32) -> Result<Self, BadRules> {
        if !(2..=1000).contains(&smallest) {
            return Err(BadRules);
        }
        Ok(Self { smallest: smallest as usize, percent: PERCENT })
    }

    /// The fewest subjects that a group may have.
    pub fn smallest(&self) -> usize {
        self.smallest
    }

    /// Of two rules on one release the narrower.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { smallest: self.smallest.max(other.smallest), percent: self.percent.max(other.percent) }
    }

    /// Whether the cell may not be shown, given the numbers that would be shown of it.
    pub fn is_sensitive(&self, cell: &Cell, shown: &[Quantity]) -> bool {
        self.judge(cell, shown, &mut Work::new(usize::MAX)).unwrap_or(true)
    }

    /// The same within bounds.
    pub(crate) fn judge(&self, cell: &Cell, shown: &[Quantity], work: &mut Work) -> Result<bool, TooMuchWork> {
        if cell.subjects() < self.smallest {
            return Ok(true);
        }
        work.spend(cell.subjects() * shown.len())?;
        let by_one = shown.iter().any(|quantity| match *quantity {
            Quantity::Rows | Quantity::Subjects => false,
            Quantity::Count(column) => self.splits(cell, column),
            Quantity::Sum(column) => self.splits(cell, column) || self.gives_away(cell, column, *quantity),
            Quantity::Squares(column) => {
                self.splits(cell, column)
                    || self.gives_away(cell, column, Quantity::Sum(column))
                    || self.gives_away(cell, column, *quantity)
            }
        });
        Ok(by_one || self.tells_by_difference(cell, shown, work)?)
    }

    /// Whether one shown number less another, or less two or three others of its sort, is that of a few subjects: rows less subjects counts who
    /// has several, values less values who has another number of them.
    fn tells_by_difference(&self, cell: &Cell, shown: &[Quantity], work: &mut Work) -> Result<bool, TooMuchWork> {
        let mut distinct: Vec<Quantity> = Vec::new();
        for quantity in shown {
            let mut is_known = false;
            for other in &distinct {
                let differing = self.differing(cell, *quantity, &[*other], work)?;
                if self.is_small(differing) {
                    return Ok(true);
                }
                is_known |= differing == 0;
            }
            if !is_known {
                distinct.push(*quantity);
            }
        }
        let sorts: [fn(&Quantity) -> bool; 3] = [
            |quantity| matches!(quantity, Quantity::Rows | Quantity::Subjects | Quantity::Count(_)),
            |quantity| matches!(quantity, Quantity::Sum(_)),
            |quantity| matches!(quantity, Quantity::Squares(_)),
        ];
        for sort in sorts {
            let of: Vec<Quantity> = distinct.iter().copied().filter(sort).collect();
            for whole in &of {
                let parts: Vec<Quantity> = of.iter().copied().filter(|part| part != whole).collect();
                for (at, one) in parts.iter().enumerate() {
                    for (next, other) in parts.iter().enumerate().skip(at + 1) {
                        if self.is_small(self.differing(cell, *whole, &[*one, *other], work)?) {
                            return Ok(true);
                        }
                        for third in parts.iter().skip(next + 1) {
                            if self.is_small(self.differing(cell, *whole, &[*one, *other, *third], work)?) {
                                return Ok(true);
                            }
                        }
                    }
                }
            }
        }
        Ok(false)
    }

    /// Of how many subjects the parts do not add up to the whole; counting ends where they are enough.
    fn differing(
        &self,
        cell: &Cell,
        whole: Quantity,
        parts: &[Quantity],
        work: &mut Work,
    ) -> Result<usize, TooMuchWork> {
        let (mut differing, mut steps) = (0, 1);
        for entry in cell.entries() {
            steps += 1;
            let sum: f64 = parts.iter().map(|part| entry.part(*part)).sum();
            differing += usize::from(!same(entry.part(whole), sum));
            if differing >= self.smallest {
                break;
            }
        }
        work.spend(steps)?;
        Ok(differing)
    }

    fn is_small(&self, subjects: usize) -> bool {
        (1..self.smallest).contains(&subjects)
    }

    /// The number of values parts the cell into those with and those without; neither may be small.
    fn splits(&self, cell: &Cell, column: usize) -> bool {
        let (mut with, mut without) = (0, 0);
        for entry in cell.entries() {
            let count = entry.moments.get(column).map_or(0, |moments| moments.count);
            with += usize::from(count > 0);
            without += usize::from(count < entry.rows);
        }
        self.is_small(with) || self.is_small(without)
    }

    /// Whether the sum of the values, or of their squares, tells of single subjects.
    fn gives_away(&self, cell: &Cell, column: usize, sum: Quantity) -> bool {
        let has_values = |entry: &&Entry| entry.moments.get(column).is_some_and(|moments| moments.count > 0);
        let parts: Vec<f64> = cell.entries().iter().filter(has_values).map(|entry| entry.part(sum)).collect();
        // Zeros add nothing: it is a sum of the others.
        self.is_small(parts.iter().filter(|part| **part != 0.0).count())
            || self.tells_a_category(&parts)
            || self.is_dominated(&parts)
    }

    /// A column of few different values is a category written as a number: its sum counts them (a flag's sum is the number of those who
    /// have it). Each value must be that of enough subjects.
    fn tells_a_category(&self, parts: &[f64]) -> bool {
        let mut held: BTreeMap<u64, usize> = BTreeMap::new();
        for part in parts {
            *held.entry(part.to_bits()).or_default() += 1;
            if held.len() >= self.smallest {
                return false;
            }
        }
        held.values().any(|subjects| self.is_small(*subjects))
    }

    /// The p%-rule (Willenborg and de Waal, Elements of Statistical Disclosure Control, 2001): the second largest contributor, who knows his
    /// own part, may not know the largest to within p percent.
    fn is_dominated(&self, parts: &[f64]) -> bool {
        let (mut largest, mut second, mut total) = (0.0_f64, 0.0_f64, 0.0_f64);
        for part in parts.iter().map(|part| part.abs()) {
            total += part;
            if part > largest {
                second = largest;
                largest = part;
            } else if part > second {
                second = part;
            }
        }
        // A sum that is no number says nothing that could be weighed.
        !total.is_finite() || (largest > 0.0 && total - largest - second < largest * f64::from(self.percent) / 100.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cell::Moments;

    fn cell(values: &[f64]) -> Cell {
        let entry = |(subject, value): (u64, &f64)| Entry {
            subject,
            rows: 1,
            moments: vec![Moments {
                count: u64::from(!value.is_nan()),
                sum: if value.is_nan() { 0.0 } else { *value },
                squares: if value.is_nan() { 0.0 } else { value * value },
            }],
        };
        Cell::new((0..).zip(values).map(entry).collect())
    }

    #[test]
    fn ten_persons_are_too_few_and_eleven_are_enough() {
        let rules = Rules::default();
        assert!(rules.is_sensitive(&cell(&[1.0; 10]), &[Quantity::Rows]));
        assert!(!rules.is_sensitive(&cell(&[1.0; 11]), &[Quantity::Rows]));
        assert!(rules.is_sensitive(&cell(&[]), &[Quantity::Rows]));
        assert_eq!(Rules::new(1), Err(BadRules));
    }

    #[test]
    fn rows_do_not_make_persons() {
        let many = Cell::new((0..1000).map(|row| Entry { subject: row % 5, rows: 1, moments: vec![] }).collect());
        assert!(Rules::default().is_sensitive(&many, &[Quantity::Rows]));
        assert!((many.total(Quantity::Rows) - 1000.0).abs() < 1e-9);
    }

    #[test]
    fn a_flag_of_three_is_a_small_cell_and_so_is_what_three_lack() {
        let rules = Rules::default();
        let flag = |ones: usize| {
            let mut values = vec![0.0; 100];
            values.iter_mut().take(ones).for_each(|value| *value = 1.0);
            cell(&values)
        };
        for (ones, sensitive) in [(3, true), (97, true), (50, false), (0, false)] {
            assert_eq!(rules.is_sensitive(&flag(ones), &[Quantity::Sum(0)]), sensitive, "{ones}");
            assert!(!rules.is_sensitive(&flag(ones), &[Quantity::Count(0)]));
        }
        // Coded as 1 and 2, the sum less the count says the same.
        let coded: Vec<f64> = (0..100).map(|n| if n < 3 { 2.0 } else { 1.0 }).collect();
        assert!(rules.is_sensitive(&cell(&coded), &[Quantity::Sum(0)]));
    }

    #[test]
    fn missing_values_split_a_cell() {
        let missing = |without: usize| {
            cell(&(0..60).map(|n| if n < without { f64::NAN } else { f64::from(n as u8) }).collect::<Vec<_>>())
        };
        for (without, sensitive) in [(0, false), (1, true), (10, true), (11, false), (55, true), (60, false)] {
            assert_eq!(Rules::default().is_sensitive(&missing(without), &[Quantity::Count(0)]), sensitive, "{without}");
        }
    }

    #[test]
    fn one_large_bill_is_not_hidden_by_forty_small_ones() {
        let mut bills: Vec<f64> = (0..40).map(|n| 10.0 + f64::from(n)).collect();
        assert!(!Rules::default().is_sensitive(&cell(&bills), &[Quantity::Sum(0)]));
        bills.push(1e6);
        assert!(Rules::default().is_sensitive(&cell(&bills), &[Quantity::Sum(0)]));
        assert!(!Rules::default().is_sensitive(&cell(&bills), &[Quantity::Rows]));
        bills.push(f64::INFINITY);
        assert!(Rules::default().is_sensitive(&cell(&bills), &[Quantity::Sum(0)]));
    }

    /// Subjects with rows, and of each column how many values and their sum.
    fn counted(subjects: impl Iterator<Item = (u64, Vec<(u64, f64)>)>) -> Cell {
        let moments = |of: Vec<(u64, f64)>| {
            of.into_iter().map(|(count, sum)| Moments { count, sum, squares: sum * sum }).collect::<Vec<_>>()
        };
        let entry = |(subject, (rows, of))| Entry { subject, rows, moments: moments(of) };
        Cell::new((0..).zip(subjects).map(entry).collect())
    }

    #[test]
    fn rows_less_persons_count_who_came_twice() {
        let rules = Rules::default();
        for (twice, sensitive) in [(0, false), (1, true), (10, true), (11, false), (40, false)] {
            let cell = counted((0..40).map(|n| (1 + u64::from(n < twice), vec![])));
            assert_eq!(rules.is_sensitive(&cell, &[Quantity::Rows, Quantity::Subjects]), sensitive, "{twice}");
            assert!(!rules.is_sensitive(&cell, &[Quantity::Rows]) && !rules.is_sensitive(&cell, &[Quantity::Subjects]));
        }
    }

    #[test]
    fn columns_of_one_cell_are_held_against_each_other() {
        let rules = Rules::default();
        // 60 persons; one column is of 30, another of these and 3 more.
        let cell = counted((0..60).map(|n| (1, vec![(u64::from(n < 30), 0.0), (u64::from(n < 33), 0.0)])));
        assert!(!rules.is_sensitive(&cell, &[Quantity::Rows, Quantity::Count(0)]));
        assert!(!rules.is_sensitive(&cell, &[Quantity::Rows, Quantity::Count(1)]));
        assert!(rules.is_sensitive(&cell, &[Quantity::Count(0), Quantity::Count(1)]));
        // The same column joined twice, once without the rows of two persons.
        let cost = |n: u32| 100.0 + f64::from(n);
        let cell =
            counted((0..60).map(|n| (1, vec![(2, cost(n) * 2.0), (2, if n < 2 { cost(n) } else { cost(n) * 2.0 })])));
        assert!(!rules.is_sensitive(&cell, &[Quantity::Sum(0)]) && !rules.is_sensitive(&cell, &[Quantity::Sum(1)]));
        assert!(rules.is_sensitive(&cell, &[Quantity::Sum(0), Quantity::Sum(1)]));
        // All less those of two columns are 4.
        let cell =
            counted((0..60).map(|n| (1, vec![(u64::from(n < 30), 0.0), (u64::from((30..56).contains(&n)), 0.0)])));
        assert!(!rules.is_sensitive(&cell, &[Quantity::Rows, Quantity::Count(0)]));
        assert!(rules.is_sensitive(&cell, &[Quantity::Rows, Quantity::Count(0), Quantity::Count(1)]));
    }

    #[test]
    fn an_ordinary_mean_beside_its_count_is_shown() {
        let cell = counted((0..60).map(|n| (1 + n % 3, vec![(1 + n % 3, 20.0 + n as f64)])));
        let shown = [Quantity::Rows, Quantity::Count(0), Quantity::Sum(0), Quantity::Squares(0)];
        assert!(!Rules::default().is_sensitive(&cell, &shown));
        assert!(!Rules::default().is_sensitive(&cell, &[Quantity::Rows, Quantity::Subjects, Quantity::Sum(0)]));
    }

    #[test]
    fn the_largest_is_not_told_by_squares() {
        // A bill of 1000 and a thousand of about 1: half of the sum, and nearly all of the squares.
        let bills: Vec<f64> =
            std::iter::once(1000.0).chain((0..1000).map(|n| 1.0 + f64::from(n % 50) / 100.0)).collect();
        assert!(!Rules::default().is_sensitive(&cell(&bills), &[Quantity::Sum(0)]));
        assert!(Rules::default().is_sensitive(&cell(&bills), &[Quantity::Sum(0), Quantity::Squares(0)]));
        // And what was booked and cancelled again.
        let mut entries: Vec<Entry> = cell(&bills).entries().iter().skip(1).cloned().collect();
        entries.push(Entry { subject: 5000, rows: 2, moments: vec![Moments { count: 2, sum: 0.0, squares: 2e12 }] });
        assert!(!Rules::default().is_sensitive(&Cell::new(entries.clone()), &[Quantity::Sum(0)]));
        assert!(Rules::default().is_sensitive(&Cell::new(entries), &[Quantity::Squares(0)]));
    }

    #[test]
    fn a_sum_of_ten_among_many_zeros_is_theirs() {
        let values =
            |some: u32| -> Vec<f64> { (0..100).map(|n| if n < some { 50.0 + f64::from(n) } else { 0.0 }).collect() };
        assert!(Rules::default().is_sensitive(&cell(&values(10)), &[Quantity::Sum(0)]));
        assert!(!Rules::default().is_sensitive(&cell(&values(11)), &[Quantity::Sum(0)]));
    }
}
