//! Rounding of what is shown.

/// To the nearest multiple of `base`, halves away from zero. The same number is always rounded the same way, so that asking again gives
/// nothing to average.
pub fn round_to(value: f64, base: u32) -> f64 {
    let base = f64::from(base.max(1));
    (value / base).round() * base
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_the_nearest_multiple() {
        for (value, rounded) in [(11.0, 10.0), (12.0, 10.0), (13.0, 15.0), (17.5, 20.0), (0.0, 0.0), (100.0, 100.0)] {
            assert!((round_to(value, 5) - rounded).abs() < f64::EPSILON, "{value}");
        }
        assert!((round_to(7.0, 0) - 7.0).abs() < f64::EPSILON);
    }
}
