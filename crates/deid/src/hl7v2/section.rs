//! The HL7 v2 part of a policy, as it is written.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::file::FieldSection;
use crate::yaml::At;

/// The rules of HL7 v2 messages, 2.1 to 2.9.
///
/// What is settled without a rule: fields and segments that no rule reaches are left out, and so is every line that is no
/// segment. MSH-1, MSH-2, MSH-9, MSH-12 and MSH-18 stay, for without them nothing of a message can be read.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Hl7v2Section {
    /// Segments that are left out whole, by name.
    pub exclude: Vec<At<String>>,
    /// Whose message it is, as a path (default `PID-3`): the first identifier there that is valued.
    pub subject: Option<At<String>>,
    /// Rules for every value of an HL7 data type (`XPN`, `CX`, `DTM`, `ST`), or for a component of it (`XAD.4`), wherever it
    /// stands. The rule of a type with components holds for all of them; `token` and the like are done to the first
    /// component and leave the others out, save those that have a rule of their own. The outermost type decides.
    pub types: IndexMap<String, At<FieldSection>>,
    /// Rules by path; a path beats a type. `PID-5`, `PID-11.4`, `ZPD-3`, `OBX-5`, `OBX-5[TX]` (only where OBX-2 is `TX`).
    pub elements: IndexMap<String, At<FieldSection>>,
    /// Identifiers (`CX`) by their type code (CX-5), as in `MR`, or by authority and code, as in `GOODHEALTH^MR`. They beat the
    /// rule of `CX`, and a path beats them.
    pub identifiers: IndexMap<String, At<FieldSection>>,
}
