//! What stands in a row: sealed under the key of the row's slot, padded to one of a few sizes.
//!
//! ```text
//! name 16 | number 8 | length of the value 4 | value | zeros, up to 64, 128, 256, … bytes
//! ```
//!
//! Name and number are a token and its origin; of a dossier, the list of kinds that its facts are numbered by, and nothing.
//!
//! The associated data are the vault, the kind of row, and all that stands beside it in clear: a row that is moved to another
//! place, another vault or another slot does not open.

use std::error::Error;

use bytes::BytesMut;
use cordon_crypto::{Sealer, open};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use zeroize::Zeroizing;

use crate::store::{VaultError, table::Key};

const HEAD: usize = 28;
const SMALLEST: usize = 64;
/// What one row takes.
pub(super) const MAX_VALUE: usize = 16 << 20;

/// What a row is bound to.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "as its neighbours are")]
pub(super) fn associated(vault: &[u8; 16], kind: &[u8; 8], name: &[u8; 16], more: u64, slot: u64) -> [u8; 56] {
    let mut all = [0; 56];
    let parts = vault.iter().chain(kind).chain(name).copied().chain(more.to_le_bytes()).chain(slot.to_le_bytes());
    all.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    all
}

/// A row, opened.
pub(super) struct Opened {
    pub name: [u8; 16],
    pub number: u64,
    plain: Zeroizing<Vec<u8>>,
}

impl Opened {
    pub fn value(&self) -> &[u8] {
        let length = self.plain.get(24..HEAD).and_then(|bytes| bytes.first_chunk());
        let length = length.map_or(0, |bytes| u32::from_le_bytes(*bytes)) as usize;
        self.plain.get(HEAD..HEAD + length).unwrap_or_default()
    }
}

/// `nonce` is random: a sequence that was set back with its database gives slots twice, and a dossier keeps its slot.
pub(super) fn seal_row(
    key: &[u8; 32],
    nonce: [u8; 12],
    aad: &[u8],
    name: &[u8; 16],
    number: u64,
    value: &[u8],
) -> Result<Vec<u8>, VaultError> {
    let mut plain = Zeroizing::new(Vec::with_capacity(size_class(HEAD + value.len())));
    plain.extend_from_slice(name);
    plain.extend_from_slice(&number.to_le_bytes());
    plain.extend_from_slice(&(value.len() as u32).to_le_bytes());
    plain.extend_from_slice(value);
    Ok(Sealer::new(key).dangerous_seal_with_nonce(nonce, aad, &padded(plain))?)
}

/// `None` where it is not authentic.
pub(super) fn open_row(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Option<Opened> {
    let plain = Zeroizing::new(open(key, aad, sealed).ok()?);
    let (name, rest) = plain.split_first_chunk::<16>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    (rest.len() >= u32::from_le_bytes(*length) as usize).then_some(())?;
    Some(Opened { name: *name, number: u64::from_le_bytes(*number), plain })
}

fn padded(mut plain: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let size = size_class(plain.len());
    plain.resize(size, 0);
    plain
}

fn size_class(bytes: usize) -> usize {
    bytes.next_power_of_two().max(SMALLEST)
}

/// Sixteen bytes, which PostgreSQL calls a `uuid`: of a fixed length, compared fast.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Id(pub [u8; 16]);

impl std::fmt::Debug for Id {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Id")
    }
}

impl From<Key> for Id {
    fn from(key: Key) -> Self {
        Self(key.to_bytes())
    }
}

impl ToSql for Id {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::UUID
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Id {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw.try_into()?))
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::UUID
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn rows_open_where_they_were_put_and_their_lengths_tell_little() {
        let (key, vault, name) = ([7; 32], [1; 16], [2; 16]);
        let aad = associated(&vault, b"token\0\0\0", &name, 3, 4);
        let mut lengths = Vec::new();
        for value in ["", "x", "123-45-6789", "somebody.with.a.long.name@hospital.example"] {
            let sealed = seal_row(&key, [5; 12], &aad, &[9; 16], 11, value.as_bytes()).unwrap();
            let opened = open_row(&key, &aad, &sealed).unwrap();
            assert!(opened.value() == value.as_bytes() && opened.name == [9; 16] && opened.number == 11);
            lengths.push(sealed.len());
            for other in [
                associated(&[0; 16], b"token\0\0\0", &name, 3, 4),
                associated(&vault, b"merge\0\0\0", &name, 3, 4),
                associated(&vault, b"token\0\0\0", &[0; 16], 3, 4),
                associated(&vault, b"token\0\0\0", &name, 0, 4),
                associated(&vault, b"token\0\0\0", &name, 3, 0),
            ] {
                assert!(open_row(&key, &other, &sealed).is_none());
            }
        }
        assert!(lengths[0] == lengths[1] && lengths[1] == lengths[2] && lengths[2] < lengths[3]);
    }
}
