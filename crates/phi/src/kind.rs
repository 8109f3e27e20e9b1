//! What a field says about a person, in the terms of 164.514(b)(2)(i).

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One of the eighteen identifiers of 164.514(b)(2)(i), by its letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum SafeHarborClause {
    A,
    B,
    C,
    D,
    E,
    F,
    G,
    H,
    I,
    J,
    K,
    L,
    M,
    N,
    O,
    P,
    Q,
    R,
}

impl SafeHarborClause {
    pub const ALL: [Self; 18] = [
        Self::A,
        Self::B,
        Self::C,
        Self::D,
        Self::E,
        Self::F,
        Self::G,
        Self::H,
        Self::I,
        Self::J,
        Self::K,
        Self::L,
        Self::M,
        Self::N,
        Self::O,
        Self::P,
        Self::Q,
        Self::R,
    ];

    /// What the clause names, in the words of the rule's own list.
    pub fn title(self) -> &'static str {
        match self {
            Self::A => "names",
            Self::B => "geographic subdivisions smaller than a state",
            Self::C => "dates directly related to the individual; ages over 89",
            Self::D => "telephone numbers",
            Self::E => "fax numbers",
            Self::F => "e-mail addresses",
            Self::G => "social security numbers",
            Self::H => "medical record numbers",
            Self::I => "health plan beneficiary numbers",
            Self::J => "account numbers",
            Self::K => "certificate and licence numbers",
            Self::L => "vehicle identifiers and plates",
            Self::M => "device identifiers and serial numbers",
            Self::N => "web addresses (URLs)",
            Self::O => "internet (IP) addresses",
            Self::P => "biometric identifiers",
            Self::Q => "full-face photographs and comparable images",
            Self::R => "any other unique identifying number, characteristic or code",
        }
    }
}

impl fmt::Display for SafeHarborClause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Which master key protects a column: a reader may hold one and not the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyClass {
    /// Born from direct identifiers: tokens, hashes, surrogates.
    Direct,
    /// Born from quasi-identifiers: dates, ages, geography, demographics.
    Quasi,
    /// Clinical, financial and operational facts.
    Clinical,
}

impl KeyClass {
    pub const ALL: [Self; 3] = [Self::Direct, Self::Quasi, Self::Clinical];

    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Quasi => "quasi",
            Self::Clinical => "clinical",
        }
    }
}

/// The text is not the name of an identifier kind.
#[derive(Debug, Error)]
#[error("unknown identifier kind; known are: {}", IdentifierKind::names().join(", "))]
pub struct UnknownKind;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $clause:expr, $class:ident;)*) => {
        /// What a field holds. Every declared field has exactly one kind.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum IdentifierKind {
            $($(#[$doc])* $variant,)*
        }

        impl IdentifierKind {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name as written in a policy.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The clause of 164.514(b)(2)(i) that lists this kind; `None` for what the rule does not list.
            pub fn clause(self) -> Option<SafeHarborClause> {
                use SafeHarborClause::*;
                match self { $(Self::$variant => $clause,)* }
            }

            /// Which column key protects what is made of such a field.
            pub fn key_class(self) -> KeyClass {
                match self { $(Self::$variant => KeyClass::$class,)* }
            }

            fn names() -> Vec<&'static str> {
                vec![$($name,)*]
            }
        }

        impl FromStr for IdentifierKind {
            type Err = UnknownKind;
            fn from_str(text: &str) -> Result<Self, UnknownKind> {
                match text { $($name => Ok(Self::$variant),)* _ => Err(UnknownKind) }
            }
        }
    };
}

kinds! {
    /// A name of the individual, a relative, an employer or a household member, or a part of one.
    Name = "name", Some(A), Direct;
    /// Street, house number, unit, building.
    StreetAddress = "street-address", Some(B), Direct;
    /// Town or city, or a place of birth that names one.
    City = "city", Some(B), Quasi;
    /// County, precinct, parish, district.
    County = "county", Some(B), Quasi;
    /// ZIP or ZIP+4.
    PostalCode = "postal-code", Some(B), Quasi;
    /// Latitude, longitude, geohash or another geocode.
    GeoCoordinate = "geo-coordinate", Some(B), Quasi;
    /// Date of birth.
    BirthDate = "birth-date", Some(C), Quasi;
    /// Date of death.
    DeathDate = "death-date", Some(C), Quasi;
    /// Admission, discharge, service, or any other date directly related to the individual.
    ServiceDate = "service-date", Some(C), Quasi;
    /// An age in years.
    Age = "age", Some(C), Quasi;
    Phone = "phone", Some(D), Direct;
    Fax = "fax", Some(E), Direct;
    Email = "email", Some(F), Direct;
    Ssn = "ssn", Some(G), Direct;
    /// The number under which an institution keeps the individual's record.
    MedicalRecordNumber = "medical-record-number", Some(H), Direct;
    /// Member, subscriber or beneficiary number, Medicare's MBI among them.
    HealthPlanId = "health-plan-id", Some(I), Direct;
    AccountNumber = "account-number", Some(J), Direct;
    /// Driver's licence, passport, DEA, NPI or another certificate of the individual.
    LicenceNumber = "licence-number", Some(K), Direct;
    VehicleId = "vehicle-id", Some(L), Direct;
    /// Device identifier or serial number, the production part of a UDI included.
    DeviceId = "device-id", Some(M), Direct;
    Url = "url", Some(N), Direct;
    IpAddress = "ip-address", Some(O), Direct;
    Biometric = "biometric", Some(P), Direct;
    Photo = "photo", Some(Q), Direct;
    /// Any other number, characteristic or code that is unique to the individual: encounter, claim and order numbers.
    UniqueId = "unique-id", Some(R), Direct;
    /// Text that a person typed: it may hold any of the kinds above.
    FreeText = "free-text", Some(R), Direct;
    /// State, province or country, which Safe Harbor lets stay.
    State = "state", None, Quasi;
    /// Gender, race, ethnicity, marital status, language.
    Demographic = "demographic", None, Quasi;
    /// Diagnoses, procedures, results, medications: codes, their standard texts, values and units.
    Clinical = "clinical", None, Clinical;
    /// Charges, payments, costs.
    Financial = "financial", None, Clinical;
    /// An organisation or a place of care that is not the individual's employer.
    Organization = "organization", None, Clinical;
    /// A number of a provider or organisation that is not the individual's.
    ProviderId = "provider-id", None, Clinical;
    /// Status flags, sequence numbers, versions: about the record and not the person.
    Operational = "operational", None, Clinical;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_clause_of_the_rule_has_a_kind() {
        let covered: BTreeSet<_> = IdentifierKind::ALL.iter().filter_map(|kind| kind.clause()).collect();
        assert_eq!(covered, SafeHarborClause::ALL.into_iter().collect());
    }

    #[test]
    fn names_are_what_serde_reads() {
        for kind in IdentifierKind::ALL {
            assert_eq!(kind.name().parse::<IdentifierKind>().unwrap(), *kind);
            let deserializer = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(kind.name());
            assert_eq!(IdentifierKind::deserialize(deserializer).unwrap(), *kind);
        }
    }
}
