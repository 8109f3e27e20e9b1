//! How the data keys of new files are made, wrapped and kept.

/// Readers take every form, whatever new files have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncryptionLayout {
    pub key_bits: DataKeyBits,
    pub material: MaterialStorage,
    pub keys: KeyScope,
    /// Data keys are wrapped by a key of this process, and that by the master key: for masters that are a request away.
    pub double_wrapping: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataKeyBits {
    Bits128,
    #[default]
    Bits256,
}

impl DataKeyBits {
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Bits128 => 16,
            Self::Bits256 => 32,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaterialStorage {
    /// In the file: nothing but it is needed.
    #[default]
    Internal,
    /// Beside it, so that a new master key is a new small file.
    External,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyScope {
    /// A key for each column, under the master key of its class.
    #[default]
    Column,
    /// One key for all of the file, under the master key of direct identifiers: what DuckDB reads.
    Uniform,
}
