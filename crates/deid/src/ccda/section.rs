//! The C-CDA part of a policy, as it is written.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::file::FieldSection;
use crate::yaml::At;

/// The rules of CDA R2 documents (C-CDA R1.1 to R5, CCD, eICR), sdtc's extensions included.
///
/// What is settled without a rule: elements that hold others stay, and so do templates and the words of the standard in
/// `classCode`, `moodCode`, `nullFlavor`, `use` and the like. Values that no rule reaches are masked; what CDA does not
/// define, comments, processing instructions, `xsi:schemaLocation` and foreign vocabularies are left out. The title of a
/// document or section stays where it is the LOINC name of its code.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CcdaSection {
    /// What is left out whole.
    pub exclude: CcdaExclude,
    /// Whose document it is, as a path (default `recordTarget/patientRole/id`): the first identifier there that has an
    /// extension.
    pub subject: Option<At<String>>,
    /// Rules for every value of a data type (`PN`, `AD`, `II`, `TS`, `CD`, `ED`, `NARRATIVE`), or for a part of it (`AD.state`,
    /// `II.root`, `TS.value`), wherever it stands. The rule of a type holds for its parts of the same sort (the bounds of an
    /// interval, the lines of an address), save those that have a rule of their own; parts of another sort (the
    /// `originalText` of a code, the `period` of a time) go by their own type, unless the rule drops. A type without a rule
    /// goes by what it is a sort of: `IVL_TS` by `TS`, `CE` by `CD`, `IVL_PQ` by `PQ`, `SC` by `ST`.
    pub types: IndexMap<String, At<FieldSection>>,
    /// Rules by path; a path beats a type, and of two the narrower holds. `recordTarget//name`, `section/text`,
    /// `//patientRole/id/@extension`, `section[@code='10164-2']//text`, `comment()`, `processing-instruction()`.
    pub elements: IndexMap<String, At<FieldSection>>,
    /// Identifiers (`II`) by their root, as in `2.16.840.1.113883.4.1` for social security numbers. They beat the rule of
    /// `II` and every path that does not name the root itself, as `id[@root='…']` does.
    pub identifiers: IndexMap<String, At<FieldSection>>,
}

/// What is left out whole, with everything in it.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CcdaExclude {
    /// Sections, by their LOINC code: `10164-2`.
    pub sections: Vec<At<String>>,
    /// Sections and entries that are marked with one of these codes of confidentiality (`R`, `V`) or of sensitivity (`ETH`,
    /// `PSY`, `HIV`), as HL7's Data Segmentation for Privacy does. A marked document loses all its sections.
    pub sensitivities: Vec<At<String>>,
    /// Elements that hold others, by name: `author`, `informant`, `participant`, `guardian`.
    pub participants: Vec<At<String>>,
}
