//! What a policy's X12 section is compiled to: a rule for each meaning, and for each segment those of its paths.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};
use cordon_formats::x12::{Segment as Sent, tables};
use cordon_phi::KeyClass;
use hashbrown::HashMap;

use super::meaning::Meaning;
use super::path::{Name, Place, segment_name, text_of};
use crate::fhir::recipe::{GatherRule, Gathered, RuleLine, Settled};
use crate::kernel::Kernel;
use crate::policy::file::Undeclared;
use crate::recipe::{KEY_CLASS_KEY, with_subject};
use crate::tally::Class;

/// Compiled rules for X12 transaction sets.
pub struct X12Recipe {
    /// Segments that X12 or a rule names.
    pub(super) segments: HashMap<Name, Segment>,
    /// The rule of each meaning, by its number.
    pub(super) types: Vec<Option<Ruling>>,
    /// Rules of identifiers by qualifier.
    pub(super) identifiers: HashMap<Box<[u8]>, Ruling>,
    /// The schema of each table that can come out.
    pub(super) tables: BTreeMap<String, SchemaRef>,
    pub(super) kernels: Vec<GatherRule>,
    pub(super) lenient: Vec<bool>,
    pub(super) subject: Place,
    /// Places whose identifiers mean the person, each with the number of its namespace.
    pub(super) identities: Vec<(Place, u16)>,
    pub(super) namespaces: Vec<String>,
    pub(super) undeclared: Undeclared,
    /// What surrogates and shifts are seeded with: a random token; `None` for the identity itself.
    pub(super) seed_by_token: bool,
    /// Some rule asks whose a value is.
    pub(super) needs_subject: bool,
    /// Some rule makes up values, so that it matters whose name a name is.
    pub(super) has_surrogates: bool,
    pub(crate) lines: Vec<RuleLine>,
}

/// What is done with a value.
#[derive(Clone, Copy)]
pub(super) struct Ruling {
    pub settled: Settled,
    pub class: Class,
    /// What may stay is listed, or a reason is given: its form is not looked at.
    pub reasoned: bool,
    /// The meanings of which the rule says too little: such a value is left out.
    pub refused: u128,
}

/// A kind of segment.
#[derive(Default)]
pub(super) struct Segment {
    /// Which of them are left out whole.
    pub excluded: Vec<Place>,
    /// Rules by path by the number of their element, the narrowest first; those of the whole segment are at 0.
    pub elements: Vec<Vec<(Place, Ruling)>>,
}

impl X12Recipe {
    /// What happens to values and segments that no rule reaches.
    pub fn undeclared(&self) -> Undeclared {
        self.undeclared
    }

    /// Whose records a claim, member or benefit is.
    pub(crate) fn subject_text(&self) -> String {
        let Place { loop_id, segment, qualifier, element, .. } = &self.subject;
        let loop_id = loop_id.as_ref().map(|loop_id| format!("{loop_id}/")).unwrap_or_default();
        let qualifier = qualifier.as_ref().map(|qualifier| format!("*{qualifier}")).unwrap_or_default();
        format!("{loop_id}{}{qualifier}-{:02}", text_of(*segment), element.unwrap_or(1))
    }

    /// Every table that can come out, with its schema.
    pub fn schemas(&self) -> Vec<(String, SchemaRef)> {
        self.tables.iter().map(|(name, schema)| (name.clone(), Arc::clone(schema))).collect()
    }

    pub(super) fn is_surrogate(&self, column: Gathered) -> bool {
        let rule = self.kernels.get(usize::from(column));
        rule.is_some_and(|rule| matches!(rule.kernel, Kernel::Surrogate(_)))
    }

    pub(super) fn asks_whose(&self, column: Gathered) -> bool {
        self.kernels.get(usize::from(column)).is_some_and(|rule| rule.needs_subject)
    }

    pub(super) fn type_rule(&self, meaning: Meaning) -> Option<Ruling> {
        self.types.get(meaning as usize).copied().flatten()
    }
}

/// The number of the element that paths name a segment by.
pub(super) fn qualifier_of(name: Name) -> usize {
    if name == *b"HL " { 3 } else { 1 }
}

impl Place {
    /// Whether a segment is one of the place's, its element left aside.
    pub(super) fn is_of(&self, segment: &Sent<'_>, loop_id: &str) -> bool {
        self.loop_id.as_deref().is_none_or(|wanted| wanted == loop_id)
            && self.qualifier.as_deref().is_none_or(|wanted| segment.is(qualifier_of(self.segment), wanted.as_bytes()))
    }
}

/// The tables, with the class of the key that protects each column. `class_of` gives it for so many components of an element.
pub(super) fn tables_of(class_of: impl Fn(Name, u16, u16) -> KeyClass) -> BTreeMap<String, SchemaRef> {
    let classed = |name: &str| {
        let schema = tables::table_schema(name)?;
        let sources: Vec<_> = tables::columns(name)?.collect();
        let class = |column: &str| {
            let sources = sources.iter().find(|known| known.name == column).map(|known| known.sources);
            match (column, sources) {
                ("segment" | "subject" | "loop" | "level" | "name", _) => KeyClass::Clinical,
                // All that the policy lets pass may stand there.
                (_, None | Some([])) => KeyClass::Direct,
                (_, Some(sources)) => {
                    let classes = sources.iter().filter_map(|(segment, element)| {
                        // Columns are of codes and their modifiers; but for one they leave descriptions and dates aside.
                        let parts = match (name, column, *segment) {
                            ("eligibility", "procedure", _) => u16::MAX,
                            (_, _, "HI") => 2,
                            _ => 6,
                        };
                        Some(class_of(segment_name(segment.as_bytes())?, u16::from(*element), parts))
                    });
                    classes.min().unwrap_or(KeyClass::Direct)
                }
            }
        };
        let fields: Vec<Field> = schema
            .fields()
            .iter()
            .map(|field| {
                let class = class(field.name()).name().to_owned();
                field.as_ref().clone().with_metadata([(KEY_CLASS_KEY.to_owned(), class)].into())
            })
            .collect();
        let subject = if name == "member" { "member_id" } else { "patient_id" };
        Some(Arc::new(with_subject(&Schema::new(fields), subject)))
    };
    tables::TABLES.iter().filter_map(|name| Some(((*name).to_owned(), classed(name)?))).collect()
}
