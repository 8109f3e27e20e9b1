//! What statistics about persons may leave: small cells, what gives them away, and differences of queries.
//!
//! This crate exists so that "may this number leave" is answered by pure functions over who contributes what to it, the same way for every
//! caller. It refuses to do I/O, to read a clock, and to count rows where persons are meant: a [`Cell`] holds for each of its subjects
//! what the subject adds, and every rule counts subjects.
//!
//! - [`Rules`]: when a cell is *sensitive*: fewer subjects than the smallest group (CMS cell size suppression policy: 11), a part of the
//!   cell that small, two of its numbers that differ by that few, or one subject's share that another contributor could estimate (p%-rule).
//! - [`Table`]: cells with their margins, and which more must be withheld so that no sensitive one follows from a total (Cox 1980).
//! - [`Memory`]: what was released to somebody before, and whether a new release differs from it, or in itself, by a few subjects.
//!
//! ```
//! use cordon_risk::{Cell, Entry, Quantity, Rules, Table};
//!
//! // 30 persons in one district, 4 in another, 20 in a third, and the total of all.
//! let people = |from: u64, to: u64| Cell::new((from..to).map(|subject| Entry { subject, rows: 1, moments: vec![] }).collect());
//! let finest = vec![(vec![0], people(0, 30)), (vec![1], people(30, 34)), (vec![2], people(34, 54))];
//! let mut table = Table::new(&finest, &[vec![true], vec![false]]).ok_or("too large")?;
//! table.protect(&Rules::default(), &[Quantity::Rows])?;
//! let shown: Vec<usize> = table.released().map(|shown| shown.cell.subjects()).collect();
//! // The district of 4 is withheld, and that of 20 too: otherwise the total would give the 4 away.
//! assert_eq!(shown, [30, 54]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cell;
mod complement;
mod linear;
mod memory;
mod rounding;
mod rules;
mod work;

pub use cell::{Cell, Contributions, Entry, Moments, Quantity};
pub use complement::{Shown, Table};
pub use memory::{Kind, Memory, MemoryError, Partition, Refusal};
pub use rounding::round_to;
pub use rules::{BadRules, Rules};
pub use work::TooMuchWork;
