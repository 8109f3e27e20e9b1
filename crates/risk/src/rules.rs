//! When a cell is sensitive by itself.

use std::collections::BTreeMap;

use crate::cell::{Cell, Quantity};

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
        if cell.subjects() < self.smallest {
            return true;
        }
        shown.iter().any(|quantity| match *quantity {
            Quantity::Rows | Quantity::Subjects => false,
            Quantity::Count(column) => self.splits(cell, column),
            Quantity::Sum(column) | Quantity::Squares(column) => {
                self.splits(cell, column) || self.gives_values_away(cell, column)
            }
        })
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

    fn gives_values_away(&self, cell: &Cell, column: usize) -> bool {
        let parts: Vec<f64> = cell
            .entries()
            .iter()
            .filter_map(|entry| entry.moments.get(column).filter(|moments| moments.count > 0))
            .map(|moments| moments.sum)
            .collect();
        self.tells_a_category(&parts) || self.is_dominated(&parts)
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
    use crate::cell::{Entry, Moments};

    fn cell(values: &[f64]) -> Cell {
        let entry = |(subject, value): (u64, &f64)| Entry {
            subject,
            rows: 1,
            moments: vec![Moments {
                count: u64::from(!value.is_nan()),
                sum: if value.is_nan() { 0.0 } else { *value },
                squares: 0.0,
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
}
