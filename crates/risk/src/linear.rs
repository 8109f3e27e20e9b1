//! Which unknowns a system of linear equations determines.

/// A Mersenne prime: arithmetic modulo it has no rounding. That a combination of small integers vanishes modulo it and not over the
/// rationals could only make us believe that an unknown is determined less often; with coefficients of 0, 1 and -1 and minors far below
/// it, it does not happen in tables of a size that is solved here.
const PRIME: u64 = (1 << 61) - 1;

/// The reduced equations over the unknowns, each as (unknown, coefficient) with the pivot first.
pub(crate) fn reduced(mut rows: Vec<Vec<u64>>, unknowns: usize) -> Vec<Vec<(usize, u64)>> {
    let mut rank = 0;
    for column in 0..unknowns {
        let Some(pivot) = (rank..rows.len()).find(|row| at(&rows, *row, column) != 0) else { continue };
        rows.swap(rank, pivot);
        let inverse = power(at(&rows, rank, column), PRIME - 2);
        let Some(row) = rows.get_mut(rank) else { break };
        for value in row.iter_mut() {
            *value = times(*value, inverse);
        }
        let row = row.clone();
        for (index, other) in rows.iter_mut().enumerate() {
            let factor = other.get(column).copied().unwrap_or(0);
            if index != rank && factor != 0 {
                for (value, pivot) in other.iter_mut().zip(&row) {
                    *value = minus(*value, times(factor, *pivot));
                }
            }
        }
        rank += 1;
    }
    rows.truncate(rank);
    let sparse = |row: Vec<u64>| row.into_iter().enumerate().filter(|(_, value)| *value != 0).collect();
    rows.into_iter().map(sparse).collect()
}

pub(crate) const ONE: u64 = 1;
pub(crate) const MINUS_ONE: u64 = PRIME - 1;

fn at(rows: &[Vec<u64>], row: usize, column: usize) -> u64 {
    rows.get(row).and_then(|row| row.get(column)).copied().unwrap_or(0)
}

fn times(one: u64, other: u64) -> u64 {
    (u128::from(one) * u128::from(other) % u128::from(PRIME)) as u64
}

pub(crate) fn plus(one: u64, other: u64) -> u64 {
    let sum = one + other;
    if sum >= PRIME { sum - PRIME } else { sum }
}

fn minus(one: u64, other: u64) -> u64 {
    if one >= other { one - other } else { one + PRIME - other }
}

fn power(mut base: u64, mut exponent: u64) -> u64 {
    let mut result = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = times(result, base);
        }
        base = times(base, base);
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_between_two_squares_is_determined() {
        // Rows 0..4 and columns 0..4; two squares of unknowns, and one unknown at (1, 2) that joins them.
        let cells = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 2), (2, 3), (3, 2), (3, 3)];
        let line =
            |wanted: &dyn Fn(&(usize, usize)) -> bool| cells.iter().map(|cell| u64::from(wanted(cell))).collect();
        let mut rows: Vec<Vec<u64>> = Vec::new();
        for number in 0..4 {
            rows.push(line(&|cell| cell.0 == number));
            rows.push(line(&|cell| cell.1 == number));
        }
        let alone: Vec<usize> = reduced(rows, cells.len())
            .into_iter()
            .filter(|row| row.len() == 1)
            .flat_map(|row| row.into_iter().map(|(unknown, _)| unknown))
            .collect();
        assert_eq!(alone, [4]);
    }
}
