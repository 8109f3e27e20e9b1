//! What new entries have on disk of token and place, from when they were put into the log until they are written as a run.
//!
//! It is the same in both. A run is in the order of blind indexes, which is none for slots: making it again would cost three AES
//! key schedules an entry, most of what a new token costs. It tells nothing without the keys of the slots.

use super::mask::MARKS;

#[derive(Default)]
pub(super) struct Marks {
    /// Slots in a row, ascending: the first, the one behind the last, and where the marks of the first are.
    ranges: Vec<(u64, u64, usize)>,
    marks: Vec<[u8; MARKS]>,
}

impl Marks {
    /// Of the slots from `first` on, which is above all that are here.
    pub fn extend(&mut self, first: u64, marks: &[[u8; MARKS]]) {
        let end = first + marks.len() as u64;
        match self.ranges.last_mut() {
            Some((_, last, _)) if *last == first => *last = end,
            _ => self.ranges.push((first, end, self.marks.len())),
        }
        self.marks.extend_from_slice(marks);
    }

    pub fn get(&self, slot: u64) -> Option<&[u8; MARKS]> {
        let after = self.ranges.partition_point(|(first, ..)| *first <= slot);
        let (first, end, at) = self.ranges.get(after.checked_sub(1)?)?;
        (slot < *end).then(|| self.marks.get(at + (slot - first) as usize))?
    }

    /// Forgets all and keeps the memory.
    pub fn clear(&mut self) {
        self.ranges.clear();
        self.marks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_has_its_own_and_gaps_have_none() {
        let mut marks = Marks::default();
        let of = |slot: u64| [slot as u8; MARKS];
        for (first, count) in [(3, 4), (7, 2), (20, 1), (30, 5)] {
            let all: Vec<_> = (first..first + count).map(of).collect();
            marks.extend(first, &all);
        }
        let known = |slot| (3..9).contains(&slot) || slot == 20 || (30..35).contains(&slot);
        for slot in 0..40 {
            assert!(marks.get(slot).copied() == known(slot).then(|| of(slot)), "{slot}");
        }
        marks.clear();
        assert!((0..40).all(|slot| marks.get(slot).is_none()));
        marks.extend(5, &[of(5)]);
        assert!(marks.get(5) == Some(&of(5)) && marks.get(4).is_none());
    }
}
