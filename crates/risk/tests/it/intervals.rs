//! What somebody who knows all released cells of a table can say of the others: every table of counts that fits them is looked at.

use std::collections::{BTreeMap, BTreeSet};

use cordon_risk::{Cell, Entry, Quantity, Rules, Table};
use proptest::prelude::*;

const SMALLEST: u32 = 5;

/// Counts of a table by up to three columns.
struct Counts(BTreeMap<Vec<u32>, u64>);

type Key = Vec<Option<u32>>;

impl Counts {
    fn table(&self, sets: &[Vec<bool>]) -> Table {
        let mut next = 0;
        let mut people = |count: u64| {
            let from = next;
            next += count;
            Cell::new((from..next).map(|subject| Entry { subject, rows: 1, moments: vec![] }).collect())
        };
        let finest: Vec<_> = self.0.iter().map(|(key, count)| (key.clone(), people(*count))).collect();
        let mut table = Table::new(&finest, sets).unwrap();
        table.protect(&Rules::new(SMALLEST).unwrap(), &[Quantity::Rows]).unwrap();
        table
    }

    fn margin(&self, key: &Key) -> u64 {
        self.0.iter().filter(|(cell, _)| fits(cell, key)).map(|(_, count)| count).sum()
    }

    /// Each margin that is below the smallest group.
    fn sensitive(&self, sets: &[Vec<bool>]) -> BTreeSet<Key> {
        let keys = self.0.keys().flat_map(|cell| {
            sets.iter().map(|set| cell.iter().zip(set).map(|(value, kept)| kept.then_some(*value)).collect::<Key>())
        });
        keys.filter(|key| self.margin(key) < u64::from(SMALLEST)).collect()
    }
}

fn fits(cell: &[u32], key: &Key) -> bool {
    cell.iter().zip(key).all(|(value, wanted)| wanted.is_none_or(|wanted| wanted == *value))
}

/// For each key the smallest and the largest number that it can have, given the released ones. The attacker is told even which cells of the
/// finest grouping are not empty.
fn intervals(counts: &Counts, released: &BTreeMap<Key, u64>, keys: &BTreeSet<Key>) -> BTreeMap<Key, (u64, u64)> {
    let cells: Vec<&Vec<u32>> = counts.0.keys().collect();
    let constraints: Vec<(Vec<usize>, u64)> = released
        .iter()
        .map(|(key, count)| ((0..cells.len()).filter(|at| fits(cells[*at], key)).collect(), *count))
        .collect();
    let mut found: BTreeMap<Key, (u64, u64)> = BTreeMap::new();
    let mut values = vec![0; cells.len()];
    let mut left: Vec<u64> = constraints.iter().map(|(_, count)| *count).collect();
    let mut steps = 0_u64;
    search(0, &cells, &constraints, &mut left, &mut values, &mut steps, &mut |values| {
        for key in keys {
            let sum = cells.iter().zip(values).filter(|(cell, _)| fits(cell, key)).map(|(_, value)| value).sum();
            let (low, high) = found.entry(key.clone()).or_insert((sum, sum));
            *low = sum.min(*low);
            *high = sum.max(*high);
        }
        // Enough is seen when nothing is exact any more.
        keys.iter().all(|key| found.get(key).is_some_and(|(low, high)| low < high))
    });
    found
}

fn search(
    at: usize,
    cells: &[&Vec<u32>],
    constraints: &[(Vec<usize>, u64)],
    left: &mut Vec<u64>,
    values: &mut Vec<u64>,
    steps: &mut u64,
    seen: &mut dyn FnMut(&[u64]) -> bool,
) -> bool {
    *steps += 1;
    assert!(*steps < 50_000_000, "the table is too large to be worked out");
    if at == cells.len() {
        return left.iter().all(|left| *left == 0) && seen(values);
    }
    let of: Vec<usize> = (0..constraints.len()).filter(|number| constraints[*number].0.contains(&at)).collect();
    // Without a constraint anything is possible: a few values show that.
    let most = of.iter().map(|number| left[*number]).min().unwrap_or(2);
    // The last cell of a constraint takes what is left.
    let least =
        of.iter().filter(|number| constraints[**number].0.last() == Some(&at)).map(|number| left[*number]).max();
    for value in least.unwrap_or(0)..=most {
        for number in &of {
            left[*number] -= value;
        }
        values[at] = value;
        let stop = search(at + 1, cells, constraints, left, values, steps, seen);
        for number in &of {
            left[*number] += value;
        }
        if stop {
            return true;
        }
    }
    false
}

fn check(counts: &Counts, sets: &[Vec<bool>]) {
    let table = counts.table(sets);
    let sensitive = counts.sensitive(sets);
    let released: BTreeMap<Key, u64> =
        table.released().map(|shown| (shown.key.to_vec(), shown.cell.total(Quantity::Rows) as u64)).collect();
    for (key, count) in &released {
        assert_eq!(*count, counts.margin(key));
        assert!(!sensitive.contains(key));
    }
    let found = intervals(counts, &released, &sensitive);
    for key in &sensitive {
        let (low, high) = found[key];
        assert!(low < high, "{key:?} is {low} for certain, in {:?} of which {released:?} is released", counts.0);
    }
}

fn cube(columns: usize) -> Vec<Vec<bool>> {
    (0..1 << columns).map(|mask: u32| (0..columns).map(|column| mask >> column & 1 == 1).collect()).collect()
}

fn counts(rows: &[&[u64]]) -> Counts {
    let cells = (0..)
        .zip(rows)
        .flat_map(|(row, cells)| (0..).zip(cells.iter()).map(move |(column, count)| (vec![row, column], *count)));
    Counts(cells.filter(|(_, count)| *count > 0).collect())
}

/// What two-dimensional tables are known to get wrong.
#[test]
fn known_traps() {
    // One small cell; the row, the column and both totals would give it away.
    check(&counts(&[&[3, 20, 30], &[15, 25, 9], &[12, 18, 40]]), &cube(2));
    // Small cells on a diagonal: each row and column would need another.
    check(&counts(&[&[1, 20, 30], &[15, 2, 9], &[12, 18, 3]]), &cube(2));
    // Two squares that are joined by one cell, which is on no circuit.
    check(&counts(&[&[2, 3, 20, 30], &[3, 2, 4, 30], &[20, 30, 2, 3], &[20, 30, 3, 2]]), &cube(2));
    // A row of small cells only.
    check(&counts(&[&[1, 1, 1], &[15, 25, 9]]), &cube(2));
    // Two groupings without their total.
    check(&counts(&[&[3, 20], &[15, 25]]), &[vec![true, false], vec![false, true]]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever the counts are and whichever margins are asked for, no sensitive count is certain.
    #[test]
    fn no_small_cell_is_certain(
        cells in prop::collection::vec(prop_oneof![2 => 0_u64..5, 3 => 5_u64..14], 9),
        columns in 2_usize..4,
        chosen in 1_u32..16,
    ) {
        let width = cells.len().div_ceil(3);
        let rows: Vec<&[u64]> = cells.chunks(columns.min(width)).collect();
        let sets: Vec<Vec<bool>> = cube(2).into_iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1).map(|(_, set)| set).collect();
        check(&counts(&rows), &sets);
    }

    #[test]
    fn nor_in_three_dimensions(cells in prop::collection::vec(0_u64..9, 8), chosen in 1_u32..256) {
        let finest = (0..8_u32).zip(&cells).map(|(at, count)| (vec![at & 1, at >> 1 & 1, at >> 2 & 1], *count));
        let sets: Vec<Vec<bool>> = cube(3).into_iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1).map(|(_, set)| set).collect();
        check(&Counts(finest.filter(|(_, count)| *count > 0).collect()), &sets);
    }

    /// No sum of withheld counts that is small itself follows from what is released, whatever is combined with whatever.
    #[test]
    fn no_small_sum_is_determined(
        cells in prop::collection::vec(prop_oneof![3 => 1_u64..5, 2 => 5_u64..14], 9..17),
        columns in 3_usize..5,
        chosen in 1_u32..16,
    ) {
        let rows: Vec<&[u64]> = cells.chunks_exact(columns).collect();
        let sets: Vec<Vec<bool>> = cube(2).into_iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1).map(|(_, set)| set).collect();
        no_sum_is_determined(&counts(&rows), &sets);
    }
}

/// The cells by both columns as unknowns, one equation for each released number, and each small sum of sensitive numbers tried out.
fn no_sum_is_determined(counts: &Counts, sets: &[Vec<bool>]) {
    let table = counts.table(sets);
    let cells: Vec<&Vec<u32>> = counts.0.keys().collect();
    let row = |key: &Key| -> Vec<i128> { cells.iter().map(|cell| i128::from(fits(cell, key))).collect() };
    let mut basis: Vec<Vec<i128>> = Vec::new();
    for shown in table.released() {
        let row = reduced(row(&shown.key.to_vec()), &basis);
        if row.iter().any(|value| *value != 0) {
            basis.push(row);
        }
    }
    let sensitive: Vec<(Key, u64)> =
        counts.sensitive(sets).into_iter().map(|key| (key.clone(), counts.margin(&key))).collect();
    let mut sums = vec![(0, 0, vec![0; cells.len()])];
    while let Some((next, count, sum)) = sums.pop() {
        for (at, (key, more)) in sensitive.iter().enumerate().skip(next) {
            // A sum of cells of one grouping; a cell and its total together would count persons twice.
            let sum: Vec<i128> = sum.iter().zip(row(key)).map(|(sum, more)| sum + more).collect();
            if count + more >= u64::from(SMALLEST) || sum.iter().any(|value| *value > 1) {
                continue;
            }
            let is_determined = reduced(sum.clone(), &basis).iter().all(|value| *value == 0);
            assert!(!is_determined, "{sum:?} is determined in {:?} by {sets:?}", counts.0);
            sums.push((at + 1, count + more, sum));
        }
    }
}

/// What is left of the row without the basis, in whole numbers.
fn reduced(mut row: Vec<i128>, basis: &[Vec<i128>]) -> Vec<i128> {
    for known in basis {
        let pivot = known.iter().position(|value| *value != 0).unwrap();
        let (mine, theirs) = (row[pivot], known[pivot]);
        if mine != 0 {
            row = row.iter().zip(known).map(|(value, other)| value * theirs - other * mine).collect();
        }
    }
    row
}
