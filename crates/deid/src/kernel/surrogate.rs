//! Invented values that look real.

use serde::{Deserialize, Serialize};

use cordon_crypto::KeyedHash;
use super::{Column, Outcome};

/// What is invented. One subject has one name, address, number … of each kind, everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SurrogateKind {
    FirstName,
    LastName,
    /// The first and the last name of the same subject.
    FullName,
    StreetAddress,
    City,
    /// In 555-0100 to 555-0199, which the numbering plan keeps for fiction.
    Phone,
    /// From the surrogate name, at example.org, .com or .net (RFC 2606).
    Email,
    /// With an area number of 900 to 999, which is never issued.
    Ssn,
    /// Eight digits.
    RecordNumber,
    /// Below https://example.org/ (RFC 2606).
    Url,
    Company,
}

pub(super) fn apply(_kind: SurrogateKind, column: &Column<'_>, _key: &KeyedHash) -> Outcome {
    super::pending(column.values)
}
