//! Random numbers by counter, so that patient 7,000,000 needs no patient before it.
//!
//! SplitMix64 (Steele, Lea, Flood 2014): one multiply-xorshift round a number. Not for secrets; the data are public.

/// What a stream of numbers is for. Each aspect of a patient has its own stream, so that adding a draw to
/// one of them leaves the others as they were.
#[derive(Clone, Copy)]
pub enum Stream {
    Person = 1,
    Home = 2,
    Family = 3,
    Record = 4,
    Duplicate = 5,
    Notes = 6,
    Provider = 7,
    Bench = 8,
    /// And the two behind it.
    Chart = 16,
    /// One a table: added to the table's number.
    Dirt = 64,
}

#[derive(Clone)]
pub struct Rng(u64);

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

#[inline]
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Rng {
    pub fn of(seed: u64, stream: Stream, number: u64) -> Self {
        Self::sub(seed, stream, 0, number)
    }

    pub fn sub(seed: u64, stream: Stream, part: u64, number: u64) -> Self {
        let lane = mix(seed ^ GOLDEN).wrapping_add((stream as u64 + part).wrapping_mul(0xD1B5_4A32_D192_ED03));
        Self(mix(mix(lane) ^ number.wrapping_mul(GOLDEN)))
    }

    #[inline]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Uniform below `n`. Multiply-shift: the bias is below n / 2^32.
    #[inline]
    pub fn below(&mut self, n: u32) -> u32 {
        (((self.next() >> 32) * u64::from(n)) >> 32) as u32
    }

    /// Uniform in `from..=to`.
    #[inline]
    pub fn between(&mut self, from: i64, to: i64) -> i64 {
        if to <= from {
            return from;
        }
        let span = (to - from + 1) as u64;
        from + ((u128::from(self.next()) * u128::from(span)) >> 64) as i64
    }

    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    #[inline]
    pub fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// Near enough to a standard normal: four 16-bit uniforms of one draw (Irwin-Hall), within ±3.47.
    #[inline]
    pub fn normal(&mut self) -> f64 {
        let bits = self.next();
        let sum = (bits & 0xFFFF) + ((bits >> 16) & 0xFFFF) + ((bits >> 32) & 0xFFFF) + (bits >> 48);
        (sum as f64 - 131_070.0) / 37_837.0
    }

    #[inline]
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        at(list, self.below(list.len() as u32) as usize)
    }

    pub fn word<'a>(&mut self, list: &[&'a str]) -> &'a str {
        self.pick::<&'a str>(list)
    }
}

/// An item of a list that is never empty, counted round.
#[inline]
#[expect(clippy::indexing_slicing, reason = "every list is a constant of this crate with at least one item")]
pub fn at<T>(list: &[T], index: usize) -> &T {
    &list[index % list.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn streams_do_not_run_in_step() {
        let mut a = Rng::of(1, Stream::Person, 7);
        let mut b = Rng::of(1, Stream::Home, 7);
        let mut c = Rng::of(1, Stream::Person, 8);
        let same = (0..1000).filter(|_| {
            let (x, y, z) = (a.next(), b.next(), c.next());
            x == y || y == z || x == z
        });
        assert_eq!(same.count(), 0);
    }

    #[test]
    fn normal_has_mean_zero_and_deviation_one() {
        let mut rng = Rng::of(3, Stream::Person, 1);
        let draws: Vec<f64> = (0..100_000).map(|_| rng.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 1e5;
        let variance = draws.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.02, "{mean}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
    }

    #[test]
    fn between_reaches_both_ends() {
        let mut rng = Rng::of(3, Stream::Person, 1);
        let mut seen = [false; 3];
        for _ in 0..100 {
            seen[rng.between(0, 2) as usize] = true;
        }
        assert_eq!(seen, [true; 3]);
        assert_eq!(rng.between(5, 4), 5);
    }
}
