//! The FHIR part of a policy, as it is written.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::file::FieldSection;
use crate::yaml::At;

/// The rules of FHIR R4 resources.
///
/// What is settled without a rule: ids and references become tokens in the domain of their type; identifiers and
/// extensions that are not listed, narrative and every element without a rule are dropped.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct FhirSection {
    /// Resource types that are left out whole, also where they are contained in others.
    pub exclude: Vec<At<String>>,
    /// Rules for every element of a FHIR data type, wherever it stands: `HumanName`, `dateTime`, `string`.
    ///
    /// `keep` on a data type with parts (`Coding`) keeps all of its parts; `drop` drops all but what a path keeps.
    /// The rule of `id` is that of resource ids and references.
    pub types: IndexMap<String, At<FieldSection>>,
    /// Rules for elements by path; a path beats a type. `Patient.birthDate`, `Observation.value.ofType(string)`,
    /// `Observation.value` (every type of the choice), `*.meta.source` (every resource type), `Coding.display` (every
    /// element of a data type).
    pub elements: IndexMap<String, At<FieldSection>>,
    /// Identifiers by their `system`. One that is not listed is dropped. Without a domain, an identifier that becomes a
    /// token has the domain of the resource that it names, as an id has.
    pub identifiers: IndexMap<String, At<FieldSection>>,
    /// Extensions by their `url`. One that is not listed is dropped.
    pub extensions: IndexMap<String, At<ExtensionSection>>,
    /// What the address of a definition (`canonical`: a profile, a questionnaire) begins with where it may stay. Others
    /// are dropped: an address of the hospital's own server says whose record it is.
    pub canonicals: Vec<String>,
    /// The base addresses of the servers that the resources come from. References to other servers are dropped, for an
    /// id there is not the same id here. Without it, every absolute reference is taken for one of the same server.
    pub servers: Vec<String>,
    /// What becomes of a resource that has a modifier extension which is not listed.
    pub modifier_extensions: ModifierExtensions,
    /// The token domain of the ids of each resource type, where it is not the lower-case name of the type.
    pub references: IndexMap<String, At<String>>,
    /// Further columns of each resource type's table: its name, and the path of the element from the resource's root.
    /// In place of the path, a rule with `from: PATH` makes the column by another action than the element's own.
    pub columns: IndexMap<String, At<IndexMap<String, At<ColumnSection>>>>,
}

impl Default for FhirSection {
    fn default() -> Self {
        Self {
            exclude: Vec::new(),
            types: IndexMap::new(),
            elements: IndexMap::new(),
            identifiers: IndexMap::new(),
            extensions: IndexMap::new(),
            canonicals: ["http://hl7.org/fhir/", "http://terminology.hl7.org/"].map(str::to_owned).to_vec(),
            servers: Vec::new(),
            modifier_extensions: ModifierExtensions::default(),
            references: IndexMap::new(),
            columns: IndexMap::new(),
        }
    }
}

/// What is done with an extension.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ExtensionSection {
    /// The rule of its value, when that is a single one; a value with parts goes by the rules of its type.
    pub value: Option<At<FieldSection>>,
    /// The rules of the extensions within it, by their `url`.
    pub parts: IndexMap<String, At<FieldSection>>,
}

/// A modifier extension changes what its resource means, so to leave one out may turn the meaning round.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModifierExtensions {
    /// The resource goes to quarantine.
    #[default]
    Fail,
    /// The extension is left out.
    Drop,
}

/// What a column of a resource type's table is made from.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ColumnSection {
    /// The element at this path, as it is after de-identification.
    Path(String),
    /// The element at `from`, by a rule of its own.
    Made(Box<FieldSection>),
}
