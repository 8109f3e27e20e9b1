//! The best sequence of labels (Viterbi), in 16-bit integers, eight lanes at a time.

use super::model::{LANES, Model, NEVER, Scores};

/// What a token is. `B` opens a span, `I` goes on with it.
pub mod label {
    pub const O: u8 = 0;
    pub const B_NAME: u8 = 1;
    pub const I_NAME: u8 = 2;
    pub const B_PLACE: u8 = 3;
    pub const I_PLACE: u8 = 4;
    pub const B_ORG: u8 = 5;
    pub const I_ORG: u8 = 6;
    pub const COUNT: usize = 7;

    /// Name, place or organisation as 0, 1, 2; `None` outside.
    pub fn class(label: u8) -> Option<u8> {
        label.checked_sub(1).map(|at| at / 2)
    }

    /// Whether `to` may follow `from`.
    pub fn follows(from: u8, to: u8) -> bool {
        to == O || to % 2 == 1 || class(from) == class(to)
    }
}

/// A token has some eighty rows at the most, so 16 bits hold any sum of them.
#[inline]
pub fn add(mut sum: Scores, row: &[i8; LANES]) -> Scores {
    for (to, from) in sum.iter_mut().zip(row) {
        *to = to.wrapping_add(i16::from(*from));
    }
    sum
}

#[inline]
pub fn both(mut one: Scores, other: &Scores) -> Scores {
    for (to, from) in one.iter_mut().zip(other) {
        *to = to.wrapping_add(*from);
    }
    one
}

/// Labels for `scores` into `labels`; `back` is working space.
pub fn viterbi(model: &Model, scores: &[Scores], back: &mut Vec<[i16; LANES]>, labels: &mut Vec<u8>) {
    labels.clear();
    back.clear();
    let Some((first, rest)) = scores.split_first() else { return };
    let mut best = model.starts;
    for (to, from) in best.iter_mut().zip(first) {
        *to = to.saturating_add(*from);
    }
    for here in rest {
        let mut next = [i16::MIN; LANES];
        let mut from_which = [0i16; LANES];
        for (from, (so_far, transitions)) in (0i16..).zip(best.iter().zip(&model.transitions)) {
            for ((next, which), step) in next.iter_mut().zip(&mut from_which).zip(transitions) {
                let sum = so_far.saturating_add(*step);
                let better = sum > *next;
                *which = if better { from } else { *which };
                *next = if better { sum } else { *next };
            }
        }
        for (to, from) in next.iter_mut().zip(here) {
            *to = to.saturating_add(*from);
        }
        // Only differences matter: the best path stands at 0, the impossible stays within range.
        let top = next.iter().copied().max().unwrap_or(0);
        for score in &mut next {
            *score = score.saturating_sub(top).max(NEVER);
        }
        best = next;
        back.push(from_which);
    }
    let mut at = (0u8..).zip(best).max_by_key(|(lane, score)| (*score, u8::MAX - lane)).map_or(0, |(lane, _)| lane);
    labels.push(at);
    for from_which in back.iter().rev() {
        at = from_which.get(usize::from(at)).map_or(0, |which| *which as u8);
        labels.push(at);
    }
    labels.reverse();
}
