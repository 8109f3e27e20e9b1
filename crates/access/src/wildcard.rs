//! Name patterns as Ranger's resource matcher has them: `*` any run of characters, `?` exactly one.

/// A pattern of the policy file, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wildcard(Vec<char>);

impl Wildcard {
    pub(crate) fn new(pattern: &str) -> Self {
        Self(pattern.chars().collect())
    }

    /// The same pattern for names that went through [`fold`].
    pub(crate) fn folded(pattern: &str) -> Self {
        Self::new(&fold(pattern))
    }

    /// Linear in practice: on a mismatch only the last `*` is widened, which is enough for this language.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut at, mut in_name) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while in_name < name.len() {
            match self.0.get(at) {
                Some('*') => {
                    star = Some((at, in_name));
                    at += 1;
                }
                Some(c) if *c == '?' || name.get(in_name) == Some(c) => {
                    at += 1;
                    in_name += 1;
                }
                _ => match star {
                    Some((star_at, taken)) => {
                        star = Some((star_at, taken + 1));
                        at = star_at + 1;
                        in_name = taken + 1;
                    }
                    None => return false,
                },
            }
        }
        self.0.iter().skip(at).all(|c| *c == '*')
    }
}

/// Names that differ only by case become equal.
pub(crate) fn fold(name: &str) -> String {
    name.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_run_and_a_question_mark_is_one_character() {
        for (pattern, name, expected) in [
            ("patients", "patients", true),
            ("patients", "patients2", false),
            ("patients", "Patients", false),
            ("patients", "", false),
            ("*", "", true),
            ("*", "anything", true),
            ("fhir_*", "fhir_", true),
            ("fhir_*", "fhir_patient", true),
            ("fhir_*", "xfhir_patient", false),
            ("*_id", "patient_id_id", true),
            ("*_id", "patient_idx", false),
            ("a*b*c", "a__b__b_c", true),
            ("a*b*c", "a__c__b", false),
            ("?", "é", true),
            ("?", "", false),
            ("a?*", "a", false),
            ("**", "x", true),
        ] {
            assert_eq!(Wildcard::new(pattern).matches(name), expected, "{pattern} on {name}");
        }
        assert!(Wildcard::folded("SSN").matches(&fold("ssn")));
    }
}
