//! Cells with their margins: what more must be withheld so that no sensitive cell follows from the rest.
//!
//! After Cox, Suppression Methodology and Statistical Disclosure Control, JASA 75 (1980), and Willenborg and de Waal (2001), chapter 6: in
//! each equation "a total is the sum of its parts" whose total is known, what is withheld is at least two cells and together no smaller than
//! the smallest group; the cheapest cell, by subjects, is taken as the complement. Then the whole system is solved: a sensitive cell, or a
//! sum of sensitive cells, that
//! linear combinations of several equations determine (Cox's cells on no circuit) gets a further complement, until there is none. What is
//! chosen follows from the table alone, so that asking again shows nothing new. The choice is small, not proven minimal: that is NP-hard.

use std::collections::{BTreeMap, BTreeSet};

use crate::cell::{Cell, Quantity};
use crate::linear::{self, MINUS_ONE, ONE};
use crate::rules::Rules;
use crate::work::{TooMuchWork, Work};

/// Grouping sets that are worked out together.
const MAX_SETS: usize = 64;
const MAX_CELLS: usize = 200_000;
/// Entries of all cells together; each stands in every grouping set once.
const MAX_ENTRIES: usize = 32 << 20;
/// Multiplications that solving once may take, and what all of it may; a larger table loses its margins instead.
const MAX_SOLVING: usize = 50_000_000;
const MAX_SOLVING_TOGETHER: usize = 400_000_000;
/// What else deciding may take: entries and parts that are looked at. Beyond it nothing leaves.
const MAX_WORK: usize = 1 << 30;
/// Sums of withheld cells that are tried out in a system that was solved.
const MAX_SUMS: usize = 20_000;
/// Equations among sensitive cells up to which sums of many subjects are tried out too, for the sake of their values.
const EVERY_SUM: usize = 10;

/// A cell's place: for each column the number of its value, or that the column is summed over.
type Key = Vec<Option<u32>>;

/// The cells of one query in all its grouping sets.
pub struct Table {
    cells: Vec<Place>,
    equations: Vec<Equation>,
    /// Sets that were asked for; behind them stand their common margins, which nobody asked for and anybody may know.
    asked: usize,
}

struct Place {
    set: usize,
    key: Key,
    cell: Cell,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Released,
    Sensitive,
    Complement,
}

struct Equation {
    total: usize,
    parts: Vec<usize>,
}

/// A cell that may leave.
pub struct Shown<'a> {
    /// Which of the grouping sets.
    pub set: usize,
    /// The numbers of its values; `None` for columns that are summed over.
    pub key: &'a [Option<u32>],
    pub cell: &'a Cell,
}

impl Table {
    /// `finest` are the cells by all columns, in an order that follows from their values; `sets` says for each grouping set which columns it
    /// groups by. `None` when there are more sets or cells than can be worked out.
    pub fn new(finest: &[(Vec<u32>, Cell)], sets: &[Vec<bool>]) -> Option<Self> {
        let mut all: Vec<Vec<bool>> = sets.to_vec();
        // The common margin of two sets follows from each of them, so each gives the other away.
        let mut next = 0;
        while next < all.len() && all.len() <= MAX_SETS {
            let shared: Vec<Vec<bool>> = all
                .iter()
                .take(next)
                .zip(std::iter::repeat(all.get(next)?))
                .map(|(one, other)| one.iter().zip(other).map(|(one, other)| *one && *other).collect())
                .collect();
            for set in shared {
                if !all.contains(&set) {
                    all.push(set);
                }
            }
            next += 1;
        }
        if all.len() > MAX_SETS {
            return None;
        }
        let mut cells = Vec::new();
        let mut keys: Vec<BTreeMap<Key, usize>> = Vec::new();
        let mut entries = 0;
        for (set, columns) in all.iter().enumerate() {
            let mut groups: BTreeMap<Key, Vec<&Cell>> = BTreeMap::new();
            for (key, cell) in finest {
                let kept = key.iter().zip(columns).map(|(value, kept)| kept.then_some(*value)).collect();
                groups.entry(kept).or_default().push(cell);
            }
            let mut places = BTreeMap::new();
            for (key, parts) in groups {
                places.insert(key.clone(), cells.len());
                entries += parts.iter().map(|part| part.subjects()).sum::<usize>();
                if entries > MAX_ENTRIES {
                    return None;
                }
                let cell = Cell::union(parts.into_iter());
                cells.push(Place { set, key, cell, fate: Fate::Released });
            }
            if cells.len() > MAX_CELLS {
                return None;
            }
            keys.push(places);
        }
        let equations = equations(&all, &keys);
        Some(Self { cells, equations, asked: sets.len() })
    }

    /// Decides on every cell, given the numbers that would be shown of it.
    pub fn protect(&mut self, rules: &Rules, shown: &[Quantity]) -> Result<(), TooMuchWork> {
        self.protect_within(rules, shown, &mut Work::new(MAX_WORK), &mut Work::new(MAX_SOLVING_TOGETHER))
    }

    fn protect_within(
        &mut self,
        rules: &Rules,
        shown: &[Quantity],
        work: &mut Work,
        solving: &mut Work,
    ) -> Result<(), TooMuchWork> {
        for place in &mut self.cells {
            let is_sensitive = rules.judge(&place.cell, shown, work)?;
            place.fate = if is_sensitive { Fate::Sensitive } else { Fate::Released };
        }
        let mut of_cell: Vec<Vec<usize>> = vec![Vec::new(); self.cells.len()];
        for (number, equation) in self.equations.iter().enumerate() {
            for cell in equation.parts.iter().chain([&equation.total]) {
                if let Some(of) = of_cell.get_mut(*cell) {
                    of.push(number);
                }
            }
        }
        let mut open: BTreeSet<usize> = (0..self.equations.len()).collect();
        loop {
            self.complement_equations(rules, shown, &of_cell, open, work)?;
            let taken = self.complement_the_determined(rules, shown, work, solving)?;
            if taken.is_empty() {
                return Ok(());
            }
            open = taken.iter().filter_map(|cell| of_cell.get(*cell)).flatten().copied().collect();
        }
    }

    /// What may leave, by grouping set and then by key.
    pub fn released(&self) -> impl Iterator<Item = Shown<'_>> {
        let shown = self.cells.iter().filter(|place| place.fate == Fate::Released && place.set < self.asked);
        shown.map(|place| Shown { set: place.set, key: &place.key, cell: &place.cell })
    }

    /// How many cells that were asked for are sensitive, and how many more are withheld for their sake.
    pub fn withheld(&self) -> (usize, usize) {
        let of = |fate: Fate| self.cells.iter().filter(|place| place.set < self.asked && place.fate == fate).count();
        (of(Fate::Sensitive), of(Fate::Complement))
    }

    fn is_released(&self, cell: usize) -> bool {
        self.cells.get(cell).is_some_and(|place| place.fate == Fate::Released)
    }

    fn withhold(&mut self, cell: usize) -> bool {
        match self.cells.get_mut(cell) {
            Some(place) if place.fate == Fate::Released => {
                place.fate = Fate::Complement;
                true
            }
            _ => false,
        }
    }

    /// The released cell with the fewest subjects; among equals the first.
    fn cheapest(&self, cells: impl Iterator<Item = usize>) -> Option<usize> {
        let cost = |cell: usize| self.cells.get(cell).map_or(usize::MAX, |place| place.cell.subjects());
        cells.filter(|cell| self.is_released(*cell)).min_by_key(|cell| (cost(*cell), *cell))
    }

    /// Whether what the cells are together may be known.
    fn may_be_known(
        &self,
        cells: &[usize],
        rules: &Rules,
        shown: &[Quantity],
        work: &mut Work,
    ) -> Result<bool, TooMuchWork> {
        let of = || cells.iter().filter_map(|cell| self.cells.get(*cell));
        // Where subjects alone count, more cells are more subjects.
        let counts_only = shown.iter().all(|quantity| matches!(quantity, Quantity::Rows))
            || shown.iter().all(|quantity| matches!(quantity, Quantity::Subjects));
        work.spend(cells.len())?;
        if counts_only && of().any(|place| place.cell.subjects() >= rules.smallest()) {
            return Ok(true);
        }
        work.spend(of().map(|place| place.cell.subjects()).sum())?;
        Ok(!rules.judge(&Cell::union(of().map(|place| &place.cell)), shown, work)?)
    }

    /// Goes round the equations that are open, and those that a complement opens again, until each hides its cells well.
    fn complement_equations(
        &mut self,
        rules: &Rules,
        shown: &[Quantity],
        of_cell: &[Vec<usize>],
        mut open: BTreeSet<usize>,
        work: &mut Work,
    ) -> Result<(), TooMuchWork> {
        let mut next = 0;
        while let Some(number) = open.range(next..).next().or(open.first()).copied() {
            open.remove(&number);
            next = number;
            let Some(cell) = self.complement_of(number, rules, shown, work)? else { continue };
            if self.withhold(cell) {
                open.extend(of_cell.get(cell).into_iter().flatten());
            }
        }
        Ok(())
    }

    /// A cell that has to go for the equation's sake.
    fn complement_of(
        &self,
        equation: usize,
        rules: &Rules,
        shown: &[Quantity],
        work: &mut Work,
    ) -> Result<Option<usize>, TooMuchWork> {
        let Some(equation) = self.equations.get(equation) else { return Ok(None) };
        work.spend(1 + equation.parts.len())?;
        let hidden: Vec<usize> = equation.parts.iter().copied().filter(|part| !self.is_released(*part)).collect();
        let is_hidden_well = if self.is_released(equation.total) {
            hidden.is_empty() || (hidden.len() > 1 && self.may_be_known(&hidden, rules, shown, work)?)
        } else {
            !hidden.is_empty()
        };
        // With no part left to withhold, the total says what the parts together are.
        Ok((!is_hidden_well).then(|| self.cheapest(equation.parts.iter().copied()).unwrap_or(equation.total)))
    }

    /// Solves the system in what is withheld. Returns what had to be withheld as well.
    fn complement_the_determined(
        &mut self,
        rules: &Rules,
        shown: &[Quantity],
        work: &mut Work,
        solving: &mut Work,
    ) -> Result<Vec<usize>, TooMuchWork> {
        let mut unknown: Vec<usize> = (0..self.cells.len()).filter(|cell| !self.is_released(*cell)).collect();
        // The sensitive ones last: rows whose pivot is sensitive have no other cell, and all that is known of sensitive cells alone is made of
        // these rows.
        unknown.sort_by_key(|cell| (self.is_sensitive(*cell), *cell));
        let number: BTreeMap<usize, usize> = unknown.iter().copied().enumerate().map(|(at, cell)| (cell, at)).collect();
        let parts = self.equations.iter().map(|equation| 1 + equation.parts.len()).sum();
        work.spend(parts)?;
        let open: Vec<&Equation> = self
            .equations
            .iter()
            .filter(|equation| {
                number.contains_key(&equation.total) || equation.parts.iter().any(|part| number.contains_key(part))
            })
            .collect();
        if open.is_empty() {
            return Ok(Vec::new());
        }
        let multiplications = open.len().saturating_mul(open.len()).saturating_mul(unknown.len());
        if multiplications > MAX_SOLVING || solving.spend(multiplications).is_err() {
            return Ok(self.withhold_margins());
        }
        let rows = open
            .iter()
            .map(|equation| {
                let mut row = vec![0; unknown.len()];
                let mut put = |cell: &usize, sign: u64| {
                    if let Some(value) = number.get(cell).and_then(|at| row.get_mut(*at)) {
                        *value = sign;
                    }
                };
                for part in &equation.parts {
                    put(part, ONE);
                }
                put(&equation.total, MINUS_ONE);
                row
            })
            .collect();
        let rows = linear::reduced(rows, unknown.len());
        let Some(told) = self.told(&rows, &unknown, rules, shown, work)? else { return Ok(Vec::new()) };
        work.spend(parts)?;
        let of_them = open
            .iter()
            .filter(|equation| told.contains(&equation.total) || equation.parts.iter().any(|part| told.contains(part)))
            .flat_map(|equation| equation.parts.iter().copied().chain([equation.total]));
        Ok(match self.cheapest(of_them) {
            Some(cell) if self.withhold(cell) => vec![cell],
            _ => self.withhold_margins(),
        })
    }

    fn is_sensitive(&self, cell: usize) -> bool {
        self.cells.get(cell).is_some_and(|place| place.fate == Fate::Sensitive)
    }

    /// Withheld cells of which the reduced equations tell what may not be known: a sum that is known is as good as a cell.
    fn told(
        &self,
        rows: &[Row],
        unknown: &[usize],
        rules: &Rules,
        shown: &[Quantity],
        work: &mut Work,
    ) -> Result<Option<BTreeSet<usize>>, TooMuchWork> {
        let cell = |at: &usize| unknown.get(*at).copied();
        let cells_of = |row: &[(usize, u64)]| row.iter().filter_map(|(at, _)| cell(at)).collect::<Vec<_>>();
        let is_told = |cells: &[usize], work: &mut Work| -> Result<bool, TooMuchWork> {
            Ok(cells.iter().any(|cell| self.is_sensitive(*cell))
                && (cells.len() == 1 || !self.may_be_known(cells, rules, shown, work)?))
        };
        for row in rows {
            if row.iter().all(|(_, sign)| *sign == ONE) {
                let cells = cells_of(row);
                if is_told(&cells, work)? {
                    return Ok(Some(cells.into_iter().collect()));
                }
            }
        }
        // A sum of sensitive cells has of each pivot one or none, and the pivot stands in no other row: so it is a sum of rows, each taken once.
        let of_sensitive: Vec<&Row> = rows
            .iter()
            .filter(|row| row.first().and_then(|(pivot, _)| cell(pivot)).is_some_and(|cell| self.is_sensitive(cell)))
            .collect();
        let mut tried = 0;
        for component in components(&of_sensitive) {
            if component.len() < 2 {
                continue;
            }
            let every_sum = component.len() <= EVERY_SUM;
            // Sums to which a further row may be added, with that row's place and the subjects of the pivots.
            let mut sums: Vec<(usize, BTreeSet<u64>, BTreeMap<usize, u64>)> =
                vec![(0, BTreeSet::new(), BTreeMap::new())];
            while let Some((next, subjects, sum)) = sums.pop() {
                for (at, row) in component.iter().enumerate().skip(next) {
                    tried += 1;
                    work.spend(sum.len() + row.len())?;
                    if tried > MAX_SUMS {
                        return Ok(Some(component.iter().flat_map(|row| cells_of(row)).collect()));
                    }
                    let mut sum = sum.clone();
                    for (unknown, sign) in *row {
                        let value = sum.entry(*unknown).or_insert(0);
                        *value = linear::plus(*value, *sign);
                        if *value == 0 {
                            sum.remove(unknown);
                        }
                    }
                    if !subjects.is_empty() && sum.values().all(|sign| *sign == ONE) {
                        let cells: Vec<usize> = sum.keys().filter_map(cell).collect();
                        if is_told(&cells, work)? {
                            return Ok(Some(cells.into_iter().collect()));
                        }
                    }
                    let pivot = row.first().and_then(|(pivot, _)| cell(pivot)).and_then(|cell| self.cells.get(cell));
                    let of_pivot = pivot.map(|place| place.cell.entries()).unwrap_or_default();
                    let more = of_pivot.iter().take(rules.smallest()).map(|entry| entry.subject);
                    let subjects: BTreeSet<u64> = subjects.iter().copied().chain(more).collect();
                    work.spend(subjects.len())?;
                    // Whatever is added, it will not be small.
                    if every_sum || subjects.len() < rules.smallest() {
                        sums.push((at + 1, subjects, sum));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The last resort: without totals there are no equations. Returns which were still there.
    fn withhold_margins(&mut self) -> Vec<usize> {
        let totals: BTreeSet<usize> =
            self.equations.iter().map(|equation| equation.total).filter(|total| self.is_released(*total)).collect();
        for total in &totals {
            self.withhold(*total);
        }
        totals.into_iter().collect()
    }
}

/// A reduced equation.
type Row = Vec<(usize, u64)>;

/// The rows that have unknowns in common.
fn components<'a>(rows: &[&'a Row]) -> Vec<Vec<&'a Row>> {
    let mut found: Vec<(BTreeSet<usize>, Vec<&Row>)> = Vec::new();
    for row in rows {
        let mut unknowns: BTreeSet<usize> = row.iter().map(|(unknown, _)| *unknown).collect();
        let mut together = vec![*row];
        found.retain_mut(|(others, of)| {
            if others.is_disjoint(&unknowns) {
                return true;
            }
            unknowns.append(others);
            together.append(of);
            false
        });
        found.push((unknowns, together));
    }
    found.into_iter().map(|(_, together)| together).collect()
}

/// Each total with its parts, for every pair of sets of which one is finer.
fn equations(sets: &[Vec<bool>], keys: &[BTreeMap<Key, usize>]) -> Vec<Equation> {
    let mut equations = Vec::new();
    for (coarse, totals) in sets.iter().zip(keys) {
        for (fine, parts) in sets.iter().zip(keys) {
            if coarse == fine || coarse.iter().zip(fine).any(|(coarse, fine)| *coarse && !*fine) {
                continue;
            }
            let mut of: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for (key, part) in parts {
                let key: Key = key.iter().zip(coarse).map(|(value, kept)| value.filter(|_| *kept)).collect();
                if let Some(total) = totals.get(&key) {
                    of.entry(*total).or_default().push(*part);
                }
            }
            equations.extend(of.into_iter().map(|(total, parts)| Equation { total, parts }));
        }
    }
    equations
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cell::Entry;

    /// Each complement opens only the equations that it stands in.
    #[test]
    fn many_margins_are_gone_through_once() {
        let mut next = 0;
        let mut people = |count: u64| {
            next += count;
            Cell::new((next - count..next).map(|subject| Entry { subject, rows: 1, moments: vec![] }).collect())
        };
        let finest: Vec<(Vec<u32>, Cell)> =
            (0..4000).map(|at| (vec![at / 2, at % 2], people(if at % 2 == 0 { 20 } else { 3 }))).collect();
        let mut table = Table::new(&finest, &[vec![true, true], vec![true, false], vec![false, false]]).unwrap();
        // 46,000 persons in three groupings; from the first equation again after each complement it would be 12 million parts.
        table
            .protect_within(
                &Rules::default(),
                &[Quantity::Rows],
                &mut Work::new(2_000_000),
                &mut Work::new(MAX_SOLVING),
            )
            .unwrap();
        assert_eq!(table.withheld().0, 2000);
        let few = table.protect_within(&Rules::default(), &[Quantity::Rows], &mut Work::new(1000), &mut Work::new(0));
        assert_eq!(few, Err(TooMuchWork));
    }
}
