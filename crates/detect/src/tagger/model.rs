//! The learned numbers and the lists, and how they stand in a file.
//!
//! `CORDTAG1`, then a raw DEFLATE stream of little-endian fields: transitions, starts, the table (which rows
//! are not zero, then their weights label by label), the lists (differences of sorted keys, flags through a
//! dictionary). Reading checks every length; a damaged file is an error and never a panic.

use std::io::{Read, Write};

use super::features::ROW_BITS;
use super::lexicon::Lexicon;

/// Labels with room for one more, so that a row of weights is one machine word.
pub const LANES: usize = 8;
pub type Row = [i8; LANES];
pub type Scores = [i16; LANES];

/// What a weight of 1.0 is in the table.
pub const SCALE: f32 = 16.0;
/// What cannot be.
pub const NEVER: i16 = -12_000;

const MAGIC: &[u8; 8] = b"CORDTAG1";
/// More than any model has: what is read past it is refused.
const LARGEST: u64 = 64 << 20;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ModelError {
    #[error("not a tagger model, or of another version")]
    Magic,
    #[error("the tagger model is damaged")]
    Damaged,
}

pub struct Model {
    /// `transitions[from][to]`.
    pub transitions: [Scores; LANES],
    pub starts: Scores,
    pub rows: Vec<Row>,
    pub lexicon: Lexicon,
}

/// What a model file holds, as the trainer has it.
pub struct Parts {
    pub transitions: [Scores; LANES],
    pub starts: Scores,
    pub rows: Vec<Row>,
    /// Sorted by key, each key once, no flags zero.
    pub lexicon: Vec<(u32, u32)>,
}

impl Parts {
    pub fn write(&self) -> Vec<u8> {
        let mut raw = Vec::new();
        for scores in self.transitions.iter().chain([&self.starts]) {
            for score in scores {
                raw.extend_from_slice(&score.to_le_bytes());
            }
        }
        for eight in self.rows.chunks(8) {
            let bits = eight.iter().enumerate().map(|(at, row)| u8::from(row.iter().any(|w| *w != 0)) << at);
            raw.push(bits.fold(0, |all, bit| all | bit));
        }
        for lane in 0..LANES {
            for row in self.rows.iter().filter(|row| row.iter().any(|w| *w != 0)) {
                raw.extend(row.get(lane).map(|w| w.to_le_bytes()[0]));
            }
        }
        let mut kinds: Vec<u32> = self.lexicon.iter().map(|(_, flags)| *flags).collect();
        kinds.sort_unstable();
        kinds.dedup();
        raw.extend_from_slice(&(kinds.len() as u32).to_le_bytes());
        raw.extend_from_slice(&(self.lexicon.len() as u32).to_le_bytes());
        for kind in &kinds {
            raw.extend_from_slice(&kind.to_le_bytes());
        }
        let mut before = 0;
        for (key, _) in &self.lexicon {
            let mut gap = key.wrapping_sub(before);
            before = *key;
            while gap >= 128 {
                raw.push(gap as u8 | 128);
                gap >>= 7;
            }
            raw.push(gap as u8);
        }
        let kind = |flags: u32| kinds.binary_search(&flags).unwrap_or(0) as u16;
        for shift in [0, 8] {
            raw.extend(self.lexicon.iter().map(|(_, flags)| (kind(*flags) >> shift) as u8));
        }
        let mut file = MAGIC.to_vec();
        let mut packed = flate2::write::DeflateEncoder::new(&mut file, flate2::Compression::best());
        // Writing to memory does not fail.
        let _ = packed.write_all(&raw).and_then(|()| packed.finish().map(drop));
        file
    }
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], ModelError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(ModelError::Damaged)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ModelError> {
        self.take(N)?.try_into().map_err(|_| ModelError::Damaged)
    }

    fn scores(&mut self) -> Result<Scores, ModelError> {
        let mut scores = [0; LANES];
        for score in &mut scores {
            *score = i16::from_le_bytes(self.array()?);
        }
        Ok(scores)
    }

    fn number(&mut self) -> Result<u32, ModelError> {
        Ok(u32::from_le_bytes(self.array()?))
    }
}

impl Model {
    /// A model that finds nothing.
    pub fn empty() -> Self {
        Self {
            transitions: [[0; LANES]; LANES],
            starts: [0; LANES],
            rows: Vec::new(),
            lexicon: Lexicon::new(std::iter::empty()),
        }
    }

    pub fn read(file: &[u8]) -> Result<Self, ModelError> {
        let packed = file.strip_prefix(MAGIC).ok_or(ModelError::Magic)?;
        let mut raw = Vec::new();
        let mut reader = flate2::read::DeflateDecoder::new(packed).take(LARGEST);
        reader.read_to_end(&mut raw).map_err(|_| ModelError::Damaged)?;
        let mut fields = Fields(&raw);

        let mut transitions = [[0; LANES]; LANES];
        for scores in &mut transitions {
            *scores = fields.scores()?;
        }
        let starts = fields.scores()?;

        let mut rows = vec![[0i8; LANES]; 1 << ROW_BITS];
        let used = fields.take(rows.len() / 8)?;
        let count = used.iter().map(|bits| bits.count_ones() as usize).sum();
        for lane in 0..LANES {
            let mut weights = fields.take(count)?.iter();
            for (eight, bits) in rows.chunks_mut(8).zip(used) {
                for (at, row) in eight.iter_mut().enumerate().filter(|(at, _)| bits >> at & 1 == 1) {
                    debug_assert!(at < 8);
                    if let (Some(to), Some(from)) = (row.get_mut(lane), weights.next()) {
                        *to = i8::from_le_bytes([*from]);
                    }
                }
            }
        }

        let (kinds, entries) = (fields.number()? as usize, fields.number()? as usize);
        if entries > raw.len() || kinds > raw.len() {
            return Err(ModelError::Damaged);
        }
        let kinds = (0..kinds).map(|_| fields.number()).collect::<Result<Vec<_>, _>>()?;
        let mut keys = Vec::with_capacity(entries);
        let mut before = 0u32;
        for _ in 0..entries {
            let (mut gap, mut shift) = (0u32, 0u32);
            loop {
                let [byte] = fields.array()?;
                gap |= u32::from(byte & 127).checked_shl(shift).ok_or(ModelError::Damaged)?;
                if byte < 128 {
                    break;
                }
                shift += 7;
            }
            before = before.wrapping_add(gap);
            keys.push(before);
        }
        let low = fields.take(entries)?;
        let high = fields.take(entries)?;
        if !fields.0.is_empty() {
            return Err(ModelError::Damaged);
        }
        let mut words = Vec::with_capacity(entries);
        for ((key, low), high) in keys.iter().zip(low).zip(high) {
            let kind = usize::from(u16::from_le_bytes([*low, *high]));
            words.push((*key, *kinds.get(kind).ok_or(ModelError::Damaged)?));
        }
        Ok(Self { transitions, starts, rows, lexicon: Lexicon::new(words.into_iter()) })
    }
}
