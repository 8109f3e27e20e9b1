//! What a policy's C-CDA section is compiled to: rules by type, by part of a type, and by path.

use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};
use cordon_formats::ccda::{NameId, Path, PathSet, tables};
use cordon_phi::{IdentifierKind as Kind, KeyClass};
use hashbrown::{HashMap, HashSet};

use super::floor::Fits;
use crate::document::Rule;
use crate::fhir::recipe::{GatherRule, Gathered, RuleLine};
use crate::kernel::SpanUnit;
use crate::policy::file::Undeclared;
use crate::recipe::{KEY_CLASS_KEY, with_subject};

/// The number of a rule in [`CcdaRecipe::rules`].
pub(super) type RuleId = u16;

/// Compiled rules for CDA R2 documents.
pub struct CcdaRecipe {
    pub(super) rules: Vec<Rule>,
    /// Of each rule, for which kinds it may be used.
    pub(super) fits: Vec<Fits>,
    /// By the number of a type.
    pub(super) types: Vec<Option<RuleId>>,
    /// By the number of a type: its parts that have a rule of their own.
    pub(super) parts: Vec<HashMap<NameId, RuleId>>,
    pub(super) paths: PathSet,
    /// Of each path of `paths`.
    pub(super) path_rules: Vec<PathRule>,
    /// Some path names an element within a name or an address, so that these cannot be handled as a whole.
    pub(super) paths_in_names: bool,
    /// Some path names an element within narrative.
    pub(super) paths_in_narrative: bool,
    pub(super) comments: Option<RuleId>,
    pub(super) instructions: Option<RuleId>,
    /// Rules of identifiers by root.
    pub(super) identifiers: HashMap<Box<str>, RuleId>,
    pub(super) exclude: Exclude,
    /// Whose document it is; it has a path, or the policy does not compile.
    pub(super) subject: Option<IdentityPath>,
    /// What is written where identifiers mean the person, each with the number of its namespace.
    pub(super) identities: Vec<(IdentityPath, u16)>,
    /// The paths of `identities`, or the subject's where there are none, matched together.
    pub(super) people: PathSet,
    pub(super) namespaces: Vec<String>,
    pub(super) kernels: Vec<GatherRule>,
    pub(super) lenient: Vec<bool>,
    /// The columns that cap spans of time, in the order of [`SpanUnit::ALL`]; `None` where ages over 89 may stay.
    pub(super) spans: Option<[Gathered; SpanUnit::ALL.len()]>,
    pub(super) undeclared: Undeclared,
    /// What surrogates and shifts are seeded with: a random token, or the identity itself.
    pub(super) seed_by_token: bool,
    /// The class of the key of columns that may hold texts.
    pub(super) text_class: KeyClass,
    pub(crate) lines: Vec<RuleLine>,
}

#[derive(Clone, Copy)]
pub(super) struct PathRule {
    pub rule: RuleId,
    /// It says which root an identifier has.
    pub names_root: bool,
}

/// What is left out whole.
#[derive(Default)]
pub(super) struct Exclude {
    pub sections: HashSet<Box<str>>,
    pub sensitivities: HashSet<Box<str>>,
    pub participants: HashSet<NameId>,
}

/// Where identifiers of the person stand.
pub(super) struct IdentityPath {
    pub text: String,
    pub path: Path,
    /// Only identifiers of this root.
    pub root: Option<String>,
}

impl CcdaRecipe {
    /// What happens to what no rule reaches.
    pub fn undeclared(&self) -> Undeclared {
        self.undeclared
    }

    /// Whose records a document is.
    pub(crate) fn subject_text(&self) -> String {
        self.subject.as_ref().map(|subject| subject.text.clone()).unwrap_or_default()
    }

    /// Every table that can come out, with its schema.
    pub fn schemas(&self) -> Vec<(String, SchemaRef)> {
        tables::TABLES
            .iter()
            .map(|(name, columns)| ((*name).to_owned(), self.classed(&tables::schema(columns))))
            .collect()
    }

    /// The schema with the class of key that protects each column.
    pub(super) fn classed(&self, schema: &SchemaRef) -> SchemaRef {
        let fields: Vec<Field> = schema
            .fields()
            .iter()
            .map(|field| {
                let class = self.class_of(field.name()).name().to_owned();
                field.as_ref().clone().with_metadata([(KEY_CLASS_KEY.to_owned(), class)].into())
            })
            .collect();
        Arc::new(with_subject(&Schema::new(fields), "patient"))
    }

    fn class_of(&self, column: &str) -> KeyClass {
        match column {
            // The document as a whole may hold all that the policy lets pass.
            "document" | "set_id" | "patient" | "id" | "title" | "narrative" | "xml" => KeyClass::Direct,
            "birth_time" => Kind::BirthDate.key_class(),
            "effective_time" | "author_time" | "encounter_start" | "encounter_end" | "start" | "end" => {
                Kind::ServiceDate.key_class()
            }
            "gender" | "race" | "ethnicity" | "marital_status" | "language" => Kind::Demographic.key_class(),
            "patient_state" => Kind::State.key_class(),
            "patient_zip" => Kind::PostalCode.key_class(),
            // What a code means may come from its originalText, and a value may be text.
            "display" | "type_display" | "code_display" | "value" | "value_display" => self.text_class,
            _ => KeyClass::Clinical,
        }
    }
}
