//! What rows are, whatever their order and however they are parted: to compare what two runs made without reading it again.
//!
//! Each row has a fingerprint of 128 bits, XXH3 (Yann Collet) of its values under seeds of a key of the project; AES under another key
//! makes of it what nobody without the key can tell from chance; and these are added up, so that digests of parts add up to that of a
//! table. Two projects with the same keys and the same rows agree. It finds differences; what proves that a part is as it was written is
//! its SHA-256.

use arrow::compute::cast;
use arrow::row::{RowConverter, SortField};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType};
use cordon_crypto::{BlockPermutation, KeyedHash};
use data_encoding::HEXLOWER;
use twox_hash::XxHash3_64;

use crate::errors::EngineError;

#[derive(Clone)]
pub(crate) struct RowDigest {
    seed: u64,
    permutation: BlockPermutation,
    sums: [u128; 2],
    /// Fingerprints of the rows of a batch, kept for the next.
    rows: Vec<[u64; 2]>,
}

/// What tells the two halves of a digest apart.
const OTHER: u128 = 1 << 127;

impl RowDigest {
    pub(crate) fn new(key: &KeyedHash) -> Self {
        let seed = key.tag(b"seed").first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let permutation = BlockPermutation::new(&key.tag(b"permutation"));
        Self { seed, permutation, sums: [0; 2], rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<(), EngineError> {
        let mut rows = std::mem::take(&mut self.rows);
        rows.clear();
        rows.resize(batch.num_rows(), [0; 2]);
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let seed = XxHash3_64::oneshot_with_seed(self.seed, field.name().as_bytes());
            add_column(column, seed, &mut rows).map_err(|error| EngineError::arrow(&error))?;
        }
        let [first, second] = &mut self.sums;
        for [low, high] in &rows {
            let row = (u128::from(*high) << 64 | u128::from(*low)) & !OTHER;
            *first = first.wrapping_add(self.permutation.of(row));
            *second = second.wrapping_add(self.permutation.of(row | OTHER));
        }
        self.rows = rows;
        Ok(())
    }

    pub(crate) fn hex(&self) -> String {
        hex(self.sums)
    }
}

fn hex(sums: [u128; 2]) -> String {
    let bytes: Vec<u8> = sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
    HEXLOWER.encode(&bytes)
}

/// Of all rows of several parts; `None` where one does not say.
pub fn rows_digest<'p>(parts: impl IntoIterator<Item = Option<&'p str>>) -> Option<String> {
    let mut sums = [0_u128; 2];
    for part in parts {
        let bytes = HEXLOWER.decode(part?.as_bytes()).ok().filter(|bytes| bytes.len() == 32)?;
        for (sum, bytes) in sums.iter_mut().zip(bytes.chunks_exact(16)) {
            *sum = sum.wrapping_add(u128::from_le_bytes(*bytes.first_chunk()?));
        }
    }
    Some(hex(sums))
}

/// The finaliser of `SplitMix64`.
fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn add_column(column: &ArrayRef, seed: u64, rows: &mut [[u64; 2]]) -> Result<(), ArrowError> {
    let other = mixed(seed ^ 1);
    let null = [mixed(seed), mixed(other)];
    let hash = |value: &[u8]| [seed, other].map(|seed| XxHash3_64::oneshot_with_seed(seed, value));
    let add = |row: &mut [u64; 2], hash: [u64; 2]| {
        for (lane, hash) in row.iter_mut().zip(hash) {
            *lane = lane.wrapping_add(hash);
        }
    };
    macro_rules! each {
        ($values:expr, $bytes:expr) => {
            for (row, value) in rows.iter_mut().zip($values) {
                add(row, value.map_or(null, |value| hash($bytes(value))));
            }
        };
    }
    match column.data_type() {
        DataType::Utf8 => each!(column.as_string::<i32>().iter(), str::as_bytes),
        DataType::LargeUtf8 => each!(column.as_string::<i64>().iter(), str::as_bytes),
        DataType::Utf8View => each!(column.as_string_view().iter(), str::as_bytes),
        DataType::Binary => each!(column.as_binary::<i32>().iter(), |value| value),
        DataType::Boolean => each!(column.as_boolean().iter(), |value| if value { &[1][..] } else { &[0][..] }),
        DataType::Dictionary(_, values) => return add_column(&cast(column, values)?, seed, rows),
        data_type => {
            if let Some(width) = data_type.primitive_width() {
                let data = column.to_data();
                let values = data.buffers().first().map_or(&[][..], |buffer| buffer.as_slice());
                let values = values.get(data.offset() * width..).unwrap_or_default().chunks_exact(width);
                let values = values.enumerate().map(|(at, value)| column.is_valid(at).then_some(value));
                each!(values, |value| value);
            } else {
                let converter = RowConverter::new(vec![SortField::new(data_type.clone())])?;
                let encoded = converter.convert_columns(std::slice::from_ref(column))?;
                for (row, value) in rows.iter_mut().zip(encoded.iter()) {
                    add(row, hash(value.as_ref()));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::sync::Arc;

    use arrow::compute::concat_batches;
    use arrow_array::types::Int32Type;
    use arrow_array::{
        BooleanArray, Date32Array, Decimal128Array, Int64Array, ListArray, StringArray, StringViewArray,
    };

    use super::*;

    fn batch() -> RecordBatch {
        let texts = vec![Some("a"), None, Some(""), Some("b"), Some("a")];
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1)]),
            None,
            Some(vec![]),
            Some(vec![None]),
            Some(vec![Some(1)]),
        ]);
        let columns: [(&str, ArrayRef); 7] = [
            ("text", Arc::new(StringArray::from(texts.clone()))),
            ("other", Arc::new(StringViewArray::from(texts))),
            ("number", Arc::new(Int64Array::from(vec![Some(1), None, Some(0), Some(-1), Some(1)]))),
            ("day", Arc::new(Date32Array::from(vec![Some(1), Some(2), None, Some(4), Some(1)]))),
            ("cost", Arc::new(Decimal128Array::from(vec![Some(100), None, Some(0), Some(5), Some(100)]))),
            ("yes", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true), Some(true)]))),
            ("list", Arc::new(list)),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    }

    fn of(batches: &[RecordBatch]) -> String {
        let mut digest = RowDigest::new(&KeyedHash::new(&[7; 32]));
        for batch in batches {
            digest.add(batch).unwrap();
        }
        digest.hex()
    }

    #[test]
    fn neither_order_nor_parts_matter() {
        let batch = batch();
        let whole = of(std::slice::from_ref(&batch));
        let parts: Vec<RecordBatch> = [3, 0, 4, 1, 2].map(|row| batch.slice(row, 1)).to_vec();
        assert_eq!(of(&parts), whole);
        assert_eq!(of(&[concat_batches(&batch.schema(), &parts).unwrap()]), whole);
        let (one, other) = (of(&parts[..2]), of(&parts[2..]));
        assert_eq!(rows_digest([Some(one.as_str()), Some(&other)]), Some(whole));
        assert_eq!(rows_digest([Some(one.as_str()), None]), None);
        assert_eq!(rows_digest([]), Some(of(&[])));
    }

    #[test]
    fn every_value_matters_and_so_does_how_often_it_is_there() {
        let batch = batch();
        let mut seen = std::collections::BTreeSet::from([of(std::slice::from_ref(&batch))]);
        for row in 0..5 {
            // A row less, and a row twice.
            let rest = [batch.slice(0, row), batch.slice(row + 1, 4 - row)];
            assert!(seen.insert(of(&rest)) || row == 4, "{row}: the first and the last are the same");
            assert!(seen.insert(of(&[batch.clone(), batch.slice(row, 1)])) || row == 4);
        }
        for column in 0..7 {
            // One value in another row's place.
            let mut columns = batch.columns().to_vec();
            let order = arrow_array::UInt32Array::from(vec![1, 0, 2, 3, 4]);
            columns[column] = arrow::compute::take(&columns[column], &order, None).unwrap();
            assert!(seen.insert(of(&[RecordBatch::try_new(batch.schema(), columns).unwrap()])), "{column}");
        }
        // The same text in another column.
        let swapped = batch.project(&[1, 0, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(of(&[swapped]), of(std::slice::from_ref(&batch)), "the order of columns is nothing");
        let mut other = RowDigest::new(&KeyedHash::new(&[8; 32]));
        other.add(&batch).unwrap();
        assert!(seen.insert(other.hex()), "without the key nobody can try out rows");
    }
}
