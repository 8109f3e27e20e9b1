//! From a principal to a user.

use std::collections::BTreeSet;

/// The realms whose people are users here under their own name.
#[derive(Clone, Debug, Default)]
pub struct Realms(BTreeSet<String>);

impl Realms {
    /// Names of realms are compared to the letter (RFC 4120, section 6.1).
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }

    /// `ada@CLINIC.EXAMPLE` is `ada` where that realm is one of these. Nobody of another realm is a user, and no `host/…` or
    /// `ada/admin`: a second part makes another principal, which must not pass for the first.
    pub fn user<'p>(&self, principal: &'p str) -> Option<&'p str> {
        // What is quoted with `\` is no name of a person.
        if principal.contains(['\\', '/']) || principal.chars().any(char::is_control) {
            return None;
        }
        let (name, realm) = principal.split_once('@')?;
        (!name.is_empty() && self.0.contains(realm)).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_people_of_these_realms_are_users() {
        let realms = Realms::new(["CLINIC.EXAMPLE"]);
        assert_eq!(realms.user("ada@CLINIC.EXAMPLE"), Some("ada"));
        for other in [
            "ada@OTHER.EXAMPLE",
            "ada@clinic.example",
            "ada/admin@CLINIC.EXAMPLE",
            "host/a.example@CLINIC.EXAMPLE",
            "@CLINIC.EXAMPLE",
            "ada",
            "ada@",
            "ada\\@CLINIC.EXAMPLE@OTHER.EXAMPLE",
            "ada@OTHER.EXAMPLE@CLINIC.EXAMPLE",
            "a\nda@CLINIC.EXAMPLE",
            "",
        ] {
            assert_eq!(realms.user(other), None, "{other}");
        }
        assert_eq!(Realms::default().user("ada@CLINIC.EXAMPLE"), None);
    }
}
