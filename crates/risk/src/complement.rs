//! Cells with their margins: what more must be withheld so that no sensitive cell follows from the rest.
//!
//! After Cox, Suppression Methodology and Statistical Disclosure Control, JASA 75 (1980), and Willenborg and de Waal (2001), chapter 6: in
//! each equation "a total is the sum of its parts" whose total is known, what is withheld is at least two cells and together no smaller than
//! the smallest group; the cheapest cell, by subjects, is taken as the complement. Then the whole system is solved: a sensitive cell that
//! linear combinations of several equations determine (Cox's cells on no circuit) gets a further complement, until there is none. What is
//! chosen follows from the table alone, so that asking again shows nothing new. The choice is small, not proven minimal: that is NP-hard.

use std::collections::BTreeMap;

use crate::cell::{Cell, Quantity};
use crate::linear::{self, MINUS_ONE, ONE};
use crate::rules::Rules;

/// Grouping sets that are worked out together.
const MAX_SETS: usize = 64;
const MAX_CELLS: usize = 200_000;
/// Multiplications that solving may take; a larger table loses its margins instead.
const MAX_WORK: usize = 50_000_000;

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
        for (set, columns) in all.iter().enumerate() {
            let mut groups: BTreeMap<Key, Vec<&Cell>> = BTreeMap::new();
            for (key, cell) in finest {
                let kept = key.iter().zip(columns).map(|(value, kept)| kept.then_some(*value)).collect();
                groups.entry(kept).or_default().push(cell);
            }
            let mut places = BTreeMap::new();
            for (key, parts) in groups {
                places.insert(key.clone(), cells.len());
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
    pub fn protect(&mut self, rules: &Rules, shown: &[Quantity]) {
        for place in &mut self.cells {
            place.fate = if rules.is_sensitive(&place.cell, shown) { Fate::Sensitive } else { Fate::Released };
        }
        loop {
            while self.complement_an_equation(rules, shown) {}
            if !self.complement_the_determined(rules, shown) {
                break;
            }
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
    fn may_be_known(&self, cells: &[usize], rules: &Rules, shown: &[Quantity]) -> bool {
        let cells = cells.iter().filter_map(|cell| self.cells.get(*cell)).map(|place| &place.cell);
        !rules.is_sensitive(&Cell::union(cells), shown)
    }

    fn complement_an_equation(&mut self, rules: &Rules, shown: &[Quantity]) -> bool {
        let next = self.equations.iter().find_map(|equation| {
            let hidden: Vec<usize> = equation.parts.iter().copied().filter(|part| !self.is_released(*part)).collect();
            let is_hidden_well = if self.is_released(equation.total) {
                hidden.is_empty() || (hidden.len() > 1 && self.may_be_known(&hidden, rules, shown))
            } else {
                !hidden.is_empty()
            };
            // With no part left to withhold, the total says what the parts together are.
            (!is_hidden_well).then(|| self.cheapest(equation.parts.iter().copied()).unwrap_or(equation.total))
        });
        next.is_some_and(|cell| self.withhold(cell))
    }

    /// Solves the system in what is withheld. Returns whether a complement was found to be needed.
    fn complement_the_determined(&mut self, rules: &Rules, shown: &[Quantity]) -> bool {
        let unknown: Vec<usize> = (0..self.cells.len()).filter(|cell| !self.is_released(*cell)).collect();
        let number: BTreeMap<usize, usize> = unknown.iter().copied().enumerate().map(|(at, cell)| (cell, at)).collect();
        let open: Vec<&Equation> = self
            .equations
            .iter()
            .filter(|equation| {
                number.contains_key(&equation.total) || equation.parts.iter().any(|part| number.contains_key(part))
            })
            .collect();
        if open.is_empty() {
            return false;
        }
        if open.len().saturating_mul(open.len()).saturating_mul(unknown.len()) > MAX_WORK {
            return self.withhold_margins();
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
        let told = linear::reduced(rows, unknown.len()).into_iter().find_map(|row| {
            // A sum of withheld cells that is known is as good as a cell.
            if row.iter().any(|(_, sign)| *sign != ONE) {
                return None;
            }
            let cells: Vec<usize> = row.iter().filter_map(|(at, _)| unknown.get(*at).copied()).collect();
            let is_sensitive = |cell: &usize| self.cells.get(*cell).is_some_and(|place| place.fate == Fate::Sensitive);
            (cells.iter().any(is_sensitive) && (cells.len() == 1 || !self.may_be_known(&cells, rules, shown)))
                .then_some(cells)
        });
        let Some(told) = told else { return false };
        let of_them = open
            .iter()
            .filter(|equation| told.contains(&equation.total) || equation.parts.iter().any(|part| told.contains(part)))
            .flat_map(|equation| equation.parts.iter().copied().chain([equation.total]));
        match self.cheapest(of_them) {
            Some(cell) => self.withhold(cell),
            None => self.withhold_margins(),
        }
    }

    /// The last resort: without totals there are no equations. Returns whether there were any.
    fn withhold_margins(&mut self) -> bool {
        let totals: Vec<usize> =
            self.equations.iter().map(|equation| equation.total).filter(|total| self.is_released(*total)).collect();
        for total in &totals {
            self.withhold(*total);
        }
        !totals.is_empty()
    }
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
