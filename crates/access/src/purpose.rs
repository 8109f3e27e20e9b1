//! Why somebody asks.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Purpose of use: stated on every request, because minimum necessary (164.502(b)) is always relative to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Providing or coordinating care, 164.506(c).
    Treatment,
    /// Obtaining or providing reimbursement, 164.506(c).
    Payment,
    /// Health care operations, such as quality assessment, 164.506(c).
    Operations,
    /// Research, 164.512(i).
    Research,
    /// Public health activities, 164.512(b).
    PublicHealth,
    /// Health oversight by an agency, 164.512(d).
    Oversight,
    /// Uses and disclosures that a law requires, 164.512(a).
    RequiredByLaw,
    /// The person's own access to the record, 164.524.
    IndividualAccess,
    /// Break-glass: emergency access, 164.312(a)(2)(ii). Reviewed afterwards.
    Emergency,
}

/// The text names no purpose.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not a purpose of use; one of: {}", Purpose::ALL.map(Purpose::name).join(", "))]
pub struct UnknownPurpose;

impl Purpose {
    pub const ALL: [Self; 9] = [
        Self::Treatment,
        Self::Payment,
        Self::Operations,
        Self::Research,
        Self::PublicHealth,
        Self::Oversight,
        Self::RequiredByLaw,
        Self::IndividualAccess,
        Self::Emergency,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Treatment => "treatment",
            Self::Payment => "payment",
            Self::Operations => "operations",
            Self::Research => "research",
            Self::PublicHealth => "public-health",
            Self::Oversight => "oversight",
            Self::RequiredByLaw => "required-by-law",
            Self::IndividualAccess => "individual-access",
            Self::Emergency => "emergency",
        }
    }

    /// As a matrix shows it.
    pub fn letter(self) -> char {
        match self {
            Self::Treatment => 'T',
            Self::Payment => 'P',
            Self::Operations => 'O',
            Self::Research => 'R',
            Self::PublicHealth => 'H',
            Self::Oversight => 'V',
            Self::RequiredByLaw => 'L',
            Self::IndividualAccess => 'I',
            Self::Emergency => 'E',
        }
    }

    /// The clause that allows a use for this purpose.
    pub fn clause(self) -> &'static str {
        match self {
            Self::Treatment | Self::Payment | Self::Operations => "45 CFR 164.506(c)",
            Self::Research => "45 CFR 164.512(i)",
            Self::PublicHealth => "45 CFR 164.512(b)",
            Self::Oversight => "45 CFR 164.512(d)",
            Self::RequiredByLaw => "45 CFR 164.512(a)",
            Self::IndividualAccess => "45 CFR 164.524",
            Self::Emergency => "45 CFR 164.312(a)(2)(ii)",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Purpose {
    type Err = UnknownPurpose;

    fn from_str(text: &str) -> Result<Self, UnknownPurpose> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == text).ok_or(UnknownPurpose)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_file_the_command_line_and_the_log_spell_a_purpose_the_same_way() {
        for purpose in Purpose::ALL {
            assert_eq!(purpose.name().parse(), Ok(purpose));
            assert_eq!(serde_saphyr::from_str::<Purpose>(purpose.name()).unwrap(), purpose);
        }
        assert_eq!("curiosity".parse::<Purpose>(), Err(UnknownPurpose));
    }
}
