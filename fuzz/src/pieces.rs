//! Inputs in pieces, as files and sockets give them.

use std::io::Read;

/// Gives at most so many bytes at once.
pub struct Dribble<'a>(pub &'a [u8], pub usize);

impl Read for Dribble<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let len = self.0.len().min(self.1).min(out.len());
        let (now, later) = self.0.split_at(len);
        out[..len].copy_from_slice(now);
        self.0 = later;
        Ok(len)
    }
}

/// All that the checks read fits in one batch of this size.
pub const LARGE: usize = 1 << 20;

/// A number that only the input decides (FNV-1a).
pub fn dice(data: &[u8]) -> u64 {
    let hash = data
        .iter()
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3));
    hash ^ (hash >> 29)
}

/// The lengths in which to read an input a second time: a few bytes, or some hundred.
pub fn sizes(data: &[u8]) -> (usize, usize) {
    let dice = dice(data) as usize;
    // A long input in batches of a byte would measure the making of batches.
    let least = if data.len() > 16 << 10 { 1000 } else { 1 };
    (1 + dice / 256 % 61, [1, 64, 200, 1000][dice / 65_536 % 4].max(least))
}
