//! Stand-ins with the signatures of `cordon_crypto`, until that crate is merged; then this file goes.
#![allow(dead_code, clippy::needless_pass_by_value)]

use thiserror::Error;

#[derive(Debug, Error)]
pub enum CryptoError {
    #[error("the domain is too small for format-preserving encryption")]
    DomainTooSmall,
}

pub struct FpeKey([u8; 32]);

impl FpeKey {
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub fn dangerous_expose(&self) -> &[u8; 32] {
        &self.0
    }
}

pub struct KeyedHash([u8; 32]);

impl KeyedHash {
    pub fn new(key: &[u8; 32]) -> Self {
        Self(*key)
    }

    pub fn tag(&self, message: &[u8]) -> [u8; 32] {
        let mut out = [0; 32];
        for (lane, chunk) in out.chunks_mut(8).enumerate() {
            let mut state = 0xcbf2_9ce4_8422_2325_u64 ^ lane as u64;
            for byte in self.0.iter().chain(message) {
                state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
                state ^= state >> 29;
            }
            chunk.copy_from_slice(&state.to_le_bytes());
        }
        out
    }

    pub fn tag128(&self, message: &[u8]) -> [u8; 16] {
        let mut out = [0; 16];
        for (to, from) in out.iter_mut().zip(self.tag(message)) {
            *to = from;
        }
        out
    }

    pub fn tag_parts(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut message = Vec::new();
        for part in parts {
            message.extend_from_slice(&(part.len() as u64).to_le_bytes());
            message.extend_from_slice(part);
        }
        self.tag(&message)
    }

    pub fn derive(&self, label: &str) -> Self {
        Self(self.tag(label.as_bytes()))
    }
}
