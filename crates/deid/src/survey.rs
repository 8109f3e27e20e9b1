//! What a batch says of who people are: read before anything is written, so that a person has one token in every format.
//!
//! A format's survey walks its records, and for each person in them gives the identifiers that the pipeline declares, and the
//! facts that notes about the person may name. It goes by what the format knows itself (a PID-5 is a name) or, of tables, by
//! the kinds of the policy; what the policy drops is a fact all the same.

use cordon_phi::{Identifier, IdentifierKind, Known, KnownFacts, Sex, Whose};
use zeroize::Zeroize;

/// People, their identifiers and facts, of a batch. It holds PHI: no `Debug`.
#[derive(Default)]
pub struct Survey {
    /// Of each person where identifiers and facts end.
    people: Vec<(u32, u32)>,
    identifiers: Vec<(u16, u32)>,
    namespaces: Vec<String>,
    values: String,
    facts: KnownFacts,
}

/// One person of a [`Survey`].
pub struct Surveyed<'s> {
    survey: &'s Survey,
    identifiers: std::ops::Range<usize>,
    /// Where the facts stand in [`Survey::facts`].
    pub facts: std::ops::Range<usize>,
}

impl Survey {
    /// The person at hand is complete; what follows is of another.
    pub fn end_person(&mut self) {
        let last = self.people.last().copied().unwrap_or_default();
        let here = (self.identifiers.len() as u32, self.facts.len() as u32);
        if here != last {
            self.people.push(here);
        }
    }

    /// An identifier of the person at hand. What stands for no number ([`is_placeholder`]) is none; one with signs between its
    /// letters and digits is one without them too, as another format would send it.
    pub fn identifier(&mut self, namespace: &str, value: &str) {
        let value = value.trim();
        if is_placeholder(value) {
            return;
        }
        let known = self.namespaces.iter().position(|known| known == namespace);
        let namespace = known.unwrap_or_else(|| {
            self.namespaces.push(namespace.to_owned());
            self.namespaces.len() - 1
        }) as u16;
        self.values.push_str(value);
        self.identifiers.push((namespace, self.values.len() as u32));
        if !value.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            let start = self.values.len();
            self.values.extend(value.chars().filter(|c| c.is_alphanumeric()));
            if self.values.len() > start {
                self.identifiers.push((namespace, self.values.len() as u32));
            }
        }
    }

    /// A fact of the person at hand, as [`Known`] spells it.
    pub fn fact(&mut self, kind: IdentifierKind, whose: Whose, text: &str) {
        self.facts.push(kind, whose, text);
    }

    /// A name of the person at hand, or of somebody around.
    pub fn name(&mut self, whose: Whose, given: &str, family: &str) {
        let (given, family) = (given.trim(), family.trim());
        if !(given.is_empty() && family.is_empty()) {
            self.facts.push(IdentifierKind::Name, whose, &format!("{given}{}{family}", Known::BETWEEN_NAMES));
        }
    }

    /// The sex of the person at hand, as records code it: the made-up given name goes with it.
    pub fn sex(&mut self, text: &str) {
        if let Some(sex) = Sex::read(text) {
            self.facts.push(IdentifierKind::Demographic, Whose::Subject, sex.text());
        }
    }

    pub fn people(&self) -> impl Iterator<Item = Surveyed<'_>> {
        let starts = std::iter::once((0, 0)).chain(self.people.iter().copied());
        self.people.iter().zip(starts).map(|(end, start)| Surveyed {
            survey: self,
            identifiers: start.0 as usize..end.0 as usize,
            facts: start.1 as usize..end.1 as usize,
        })
    }

    /// Everybody's facts, one person's after the other's.
    pub fn facts(&self) -> &KnownFacts {
        &self.facts
    }

    pub fn is_empty(&self) -> bool {
        self.people.is_empty()
    }

    /// Forgets all, and keeps the memory.
    pub fn clear(&mut self) {
        self.people.clear();
        self.identifiers.clear();
        self.values.zeroize();
        self.facts.clear();
    }
}

impl Drop for Survey {
    fn drop(&mut self) {
        self.values.zeroize();
    }
}

impl Surveyed<'_> {
    pub fn identifiers(&self) -> impl Iterator<Item = Identifier<'_>> {
        self.identifiers.clone().filter_map(|at| {
            let (namespace, end) = *self.survey.identifiers.get(at)?;
            let start =
                at.checked_sub(1).and_then(|before| self.survey.identifiers.get(before)).map_or(0, |(_, end)| *end);
            Some(Identifier {
                namespace: self.survey.namespaces.get(usize::from(namespace))?,
                value: self.survey.values.get(start as usize..end as usize)?.as_bytes(),
            })
        })
    }
}

/// `19570301` and what may stand behind it as a fact spells a day, `1957-03-01`.
pub(crate) fn compact_day(text: &str) -> Option<String> {
    let text = text.trim();
    let digits = text.get(..8).filter(|day| day.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(format!("{}-{}-{}", digits.get(..4)?, digits.get(4..6)?, digits.get(6..)?))
}

/// Whether the text stands where a number is missing: it would make one person of all whose number is not known.
pub fn is_placeholder(value: &str) -> bool {
    const WORDS: [&str; 17] = [
        "unknown",
        "unk",
        "none",
        "null",
        "nil",
        "na",
        "nan",
        "notavailable",
        "notapplicable",
        "refused",
        "declined",
        "pending",
        "test",
        "temp",
        "tbd",
        "missing",
        "nossn",
    ];
    let mut plain = value.chars().filter(|c| c.is_alphanumeric());
    let Some(first) = plain.next() else { return true };
    // `000-00-0000`, `999999999`, `X`.
    if plain.clone().all(|c| c == first) {
        return plain.next().is_some() || !first.is_ascii_digit();
    }
    let word: String = value.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).take(16).collect();
    WORDS.contains(&word.as_str()) || matches!(word.as_str(), "123456789" | "0123456789" | "987654321" | "1234567890")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(survey: &Survey) -> Vec<Vec<(String, String)>> {
        let text = |identifier: Identifier<'_>| {
            (identifier.namespace.to_owned(), String::from_utf8_lossy(identifier.value).into_owned())
        };
        survey.people().map(|person| person.identifiers().map(text).collect()).collect()
    }

    #[test]
    fn people_are_kept_apart_and_spellings_joined() {
        let mut survey = Survey::default();
        survey.identifier("mrn", " 0012 ");
        survey.identifier("ssn", "219-09-9999");
        survey.name(Whose::Subject, "Ana", "Ruiz");
        survey.end_person();
        survey.end_person();
        survey.identifier("mrn", "unknown");
        survey.identifier("ssn", "000-00-0000");
        survey.end_person();
        survey.identifier("mrn", "0013");
        survey.end_person();
        let pair = |namespace: &str, value: &str| (namespace.to_owned(), value.to_owned());
        let first = vec![pair("mrn", "0012"), pair("ssn", "219-09-9999"), pair("ssn", "219099999")];
        assert_eq!(all(&survey), [first, vec![pair("mrn", "0013")]]);
        let facts: Vec<_> = survey.people().map(|person| person.facts).collect();
        assert_eq!(facts, [0..1, 1..1]);
        assert_eq!(survey.facts().iter().map(|known| known.names()).collect::<Vec<_>>(), [("Ana", "Ruiz")]);
        survey.clear();
        assert!(survey.is_empty());
    }

    #[test]
    fn what_stands_for_no_number_links_nobody() {
        for value in
            ["", "  ", "-", "0", "000-00-0000", "999999999", "Unknown", "N/A", "none", "XXX", "123-45-6789", "no ssn"]
        {
            assert!(is_placeholder(value) || value == "0", "{value}");
        }
        for value in ["1", "7", "A1", "10000000", "MRN-00012", "219-09-9999"] {
            assert!(!is_placeholder(value), "{value}");
        }
    }
}
