//! What people of a given name are called.

use std::sync::LazyLock;

use hashbrown::HashMap;

static LINES: LazyLock<HashMap<String, Vec<&'static str>>> = LazyLock::new(|| {
    let mut lines: HashMap<String, Vec<&'static str>> = HashMap::new();
    let mut folded = Vec::new();
    let mut key = |word: &str| {
        super::word::fold(word, &mut folded);
        String::from_utf8_lossy(&folded).into_owned()
    };
    for line in include_str!("nicknames.txt").lines().filter(|line| !line.starts_with('#')) {
        let Some((name, called)) = line.split_once(':') else { continue };
        for word in called.split_whitespace().chain([name]) {
            lines.entry(key(word)).or_default().push(line);
        }
    }
    lines
});

/// The names that somebody of this (folded) name may go by: `peggy` for `margaret`, and the other way round.
pub(super) fn of(name: &str) -> impl Iterator<Item = &'static str> {
    let lines = LINES.get(name).map(Vec::as_slice).unwrap_or_default();
    lines.iter().flat_map(|line| line.split([':', ' ']).filter(|word| !word.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        for (one, other) in [("william", "bill"), ("margaret", "peggy"), ("francisco", "paco"), ("antonio", "toño")] {
            assert!(of(one).any(|word| word == other), "{one}");
        }
        assert!(of("bill").any(|word| word == "william"));
        assert!(of("tono").any(|word| word == "antonio"));
        assert_eq!(of("zzz").count(), 0);
    }
}
