//! The X12 part of a policy, as it is written.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::file::FieldSection;
use crate::yaml::At;

/// The rules of X12 transaction sets: 837, 835, 834, 270/271, 276/277, 820, in 4010 and 5010.
///
/// What is settled without a rule: values and segments that no rule reaches are left out, and so is every segment that X12 does
/// not have. What holds an interchange together stays, whatever a rule says: versions, control numbers, counts and levels.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct X12Section {
    /// Segments that are left out whole: `K3`, `NTE`, `REF*SY`, `2310B/REF`.
    pub exclude: Vec<At<String>>,
    /// Who the person of a claim, member or benefit is, as a path (default `NM1-09`): the first value there of a segment
    /// that is about that person.
    pub subject: Option<At<String>>,
    /// Rules for what values mean, wherever they stand: `name`, `address.postal-code`, `date.birth`, `id.member`, `code`,
    /// `amount`, `text`. A name with a dot beats the part before it: `date.birth` beats `date`.
    pub types: IndexMap<String, At<FieldSection>>,
    /// Rules by path; a path beats a type, and the narrower path the wider. `NM1*IL-09`, `2010BA/N3-01`, `REF*SY-02`,
    /// `SV1-01.2`, `CLM-01`; without an element (`NM1*IL`) for all values of the segment but its codes.
    pub elements: IndexMap<String, At<FieldSection>>,
    /// Rules of identifiers by the qualifier that stands before them, in NM1, N1, REF and others: `MI`, `SY`, `EI`. They beat
    /// types, and a path beats them.
    pub identifiers: IndexMap<String, At<FieldSection>>,
}
