//! Names of people, and who somebody is that is not the subject.

use cordon_phi::Known;

/// The token domain of people who are not subjects: relatives, providers.
pub(crate) const OTHERS: &str = "other people";

/// The role of those who are the same to all their patients.
pub(crate) const PROVIDER: &str = "provider";
/// The role of those who are somebody to one subject.
pub(crate) const RELATIVE: &str = "relative";

/// The identity of somebody by what the records of a subject say: a relative, a provider. It means the same person in every
/// format and in notes. `subject`: what the subject is seeded with, where two subjects' relatives of one name are two people;
/// else nothing.
pub(crate) fn identity_of_other(role: &str, subject: &str, name: &str) -> String {
    let between = Known::BETWEEN_NAMES;
    format!("{role}{between}{subject}{between}{}", key_of(name))
}

/// A name in any spelling and order as one: its words folded and sorted, without titles, degrees, generations and initials.
/// Of what has nothing else, all words.
pub(crate) fn key_of(name: &str) -> String {
    let mut folded = Vec::new();
    let mut key = |only_telling: bool| {
        let mut words: Vec<String> = Vec::new();
        for word in words_of(name) {
            super::word::fold(word, &mut folded);
            let word = String::from_utf8_lossy(&folded).into_owned();
            if !word.is_empty() && !(only_telling && (word.chars().count() == 1 || is_affix(&word))) {
                words.push(word);
            }
        }
        words.sort_unstable();
        words.dedup();
        words.join(" ")
    };
    let telling = key(true);
    if telling.is_empty() { key(false) } else { telling }
}

/// The words of a name as notes are searched for them: small, without accents and signs.
pub(crate) fn fold_words(name: &str, mut each: impl FnMut(&str)) {
    let mut folded = Vec::new();
    for word in words_of(name) {
        super::word::fold(word, &mut folded);
        each(&String::from_utf8_lossy(&folded));
    }
}

/// The words of a name; an apostrophe is within one.
pub(super) fn words_of(name: &str) -> impl Iterator<Item = &str> {
    let within = |c: char| {
        c.is_alphanumeric()
            || matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{02BC}' | '\u{300}'..='\u{36f}' | '\u{AD}' | '\u{200B}'..='\u{200F}')
    };
    name.split(move |c| !within(c))
        .map(|word| word.trim_matches(['\'', '\u{2018}', '\u{2019}']))
        .filter(|word| !word.is_empty())
}

/// What stands before or behind a name and is none of it (folded).
pub(super) fn is_affix(word: &str) -> bool {
    const AFFIXES: [&str; 47] = [
        "jr",
        "sr",
        "ii",
        "iii",
        "iv",
        "mr",
        "mrs",
        "ms",
        "miss",
        "mx",
        "dr",
        "prof",
        "professor",
        "doctor",
        "rev",
        "md",
        "do",
        "phd",
        "rn",
        "np",
        "pa",
        "pac",
        "dds",
        "dmd",
        "pharmd",
        "lpn",
        "aprn",
        "crnp",
        "dnp",
        "facs",
        "facp",
        "mph",
        "msw",
        "lcsw",
        "dpt",
        "mbbs",
        "psyd",
        "fnp",
        "cnm",
        "bsn",
        "msn",
        "esq",
        "sra",
        "srta",
        "don",
        "dona",
        "mba",
    ];
    AFFIXES.contains(&word)
}

/// A word within family names that names nobody alone (folded).
pub(super) fn is_particle(word: &str) -> bool {
    const PARTICLES: [&str; 26] = [
        "de", "la", "las", "los", "del", "van", "von", "der", "den", "della", "da", "di", "dos", "das", "du", "le",
        "el", "al", "bin", "ibn", "ben", "y", "e", "ter", "ten", "zu",
    ];
    PARTICLES.contains(&word)
}

/// Given names and family name of a fact: of one without an order, the family name stands before a comma or last.
pub(super) fn split<'a>(known: &Known<'a>) -> (&'a str, &'a str) {
    let (given, family) = known.names();
    if known.text.contains(Known::BETWEEN_NAMES) {
        return (given, family);
    }
    if let Some((family, given)) = given.split_once(',') {
        return (given.trim(), family.trim());
    }
    let whole = given.trim();
    // A generation or degree at the end is no family name.
    let mut end = whole.len();
    let mut folded = Vec::new();
    while let Some(last) = whole.get(..end).and_then(|whole| words_of(whole).last()) {
        super::word::fold(last, &mut folded);
        let at = whole.get(..end).and_then(|whole| whole.rfind(last)).unwrap_or(0);
        if is_affix(&String::from_utf8_lossy(&folded)) && at > 0 {
            end = at;
            continue;
        }
        return (whole.get(..at).unwrap_or_default().trim(), whole.get(at..end).unwrap_or_default().trim());
    }
    (whole, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use cordon_phi::{IdentifierKind, Whose};

    #[test]
    fn a_name_is_one_in_any_order_and_spelling() {
        for spelled in [
            "HERNANDEZ^JUAN",
            "Juan Hernández",
            "Hernandez, Juan A., MD",
            "Dr. Juan Hernandez Jr",
            "Juan\u{1f}Hernandez",
        ] {
            assert_eq!(key_of(spelled), "hernandez juan", "{spelled}");
        }
        assert_eq!(key_of("Shawn O\u{2019}Brien"), key_of("OBRIEN^SHAWN"));
        assert_eq!(key_of("Dr. A"), "a dr");
        assert_ne!(identity_of_other("relative", "p1", "Ana Ruiz"), identity_of_other("relative", "p2", "Ana Ruiz"));
    }

    #[test]
    fn names_without_an_order_are_split() {
        let split =
            |text: &'static str| super::split(&Known { kind: IdentifierKind::Name, whose: Whose::Subject, text });
        assert_eq!(split("Ruiz, Ana Maria"), ("Ana Maria", "Ruiz"));
        assert_eq!(split("Ana Maria Ruiz Jr."), ("Ana Maria", "Ruiz"));
        assert_eq!(split("Ana\u{1f}Ruiz Vega"), ("Ana", "Ruiz Vega"));
        assert_eq!(split("Cher"), ("", "Cher"));
        assert_eq!(split(""), ("", ""));
    }
}
