//! What a policy's HL7 v2 section is compiled to: a node for each field, by the type that it has in a version.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};
use cordon_formats::hl7v2::tables;
use cordon_phi::KeyClass;
use hashbrown::HashMap;

use super::path::Place;
use crate::fhir::recipe::{GatherRule, RuleLine, Settled};
use crate::policy::file::Undeclared;
use crate::recipe::{KEY_CLASS_KEY, with_subject};
use crate::tally::Class;

/// The number of a node in [`Hl7v2Recipe::nodes`].
pub(super) type NodeId = u32;

/// Compiled rules for HL7 v2 messages.
pub struct Hl7v2Recipe {
    pub(super) nodes: Vec<Node>,
    pub(super) segments: HashMap<[u8; 3], Segment>,
    /// The schema of each table that can come out.
    pub(super) tables: BTreeMap<String, SchemaRef>,
    pub(super) kernels: Vec<GatherRule>,
    pub(super) lenient: Vec<bool>,
    /// Rules of identifiers by type code, or `authority^code`.
    pub(super) identifiers: HashMap<Box<str>, (Settled, Class)>,
    pub(super) subject: Place,
    /// Places whose identifiers mean the person, each with the number of its namespace.
    pub(super) identities: Vec<(Place, u16)>,
    pub(super) namespaces: Vec<String>,
    pub(super) undeclared: Undeclared,
    /// What surrogates and shifts are seeded with: a random token; `None` for the identity itself.
    pub(super) seed_by_token: bool,
    /// Some rule makes up values, so that it matters whose name a name is.
    pub(super) has_surrogates: bool,
    pub(crate) lines: Vec<RuleLine>,
}

/// What is done with a field, component or sub-component.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Node {
    /// One value.
    Value(Settled, Class),
    /// No rule reaches it.
    Undeclared,
    /// A value that stays when it looks like the entry of a table (ID, IS).
    Word(Class),
    /// A date or time that stays.
    Time(Class),
    /// Parts with nodes of their own; further ones are undeclared.
    Parts {
        nodes: Box<[NodeId]>,
        /// A CX, whose first component goes by [`Hl7v2Recipe::identifiers`] where that names it.
        is_identifier: bool,
        /// An XCN or CN: a person who is not the patient.
        is_provider: bool,
        /// A CE, CWE or CNE that stays as far as it is coded.
        is_coded: bool,
    },
}

/// A kind of segment.
pub(super) struct Segment {
    pub excluded: bool,
    /// From field 1.
    pub fields: Vec<FieldNodes>,
    /// The class of the key of each field's columns.
    pub classes: Vec<KeyClass>,
    pub is_relative: bool,
}

/// The nodes of a field by data type, that of the newest version first.
#[derive(Clone, Default)]
pub(super) struct FieldNodes {
    pub by_type: Vec<(&'static str, NodeId)>,
    /// Of a field whose type another field tells (OBX-5): by that type.
    pub varies: bool,
    /// For a type that is not listed.
    pub otherwise: Option<NodeId>,
}

impl Hl7v2Recipe {
    /// What happens to fields and segments that no rule reaches.
    pub fn undeclared(&self) -> Undeclared {
        self.undeclared
    }

    /// Whose records a message is.
    pub(crate) fn subject_text(&self) -> String {
        let name = String::from_utf8_lossy(&self.subject.segment);
        let numbers: Vec<String> = self.subject.numbers.iter().map(u16::to_string).collect();
        format!("{name}-{}", numbers.join("."))
    }

    /// Every table that can come out, with its schema.
    pub fn schemas(&self) -> Vec<(String, SchemaRef)> {
        self.tables.iter().map(|(name, schema)| (name.clone(), Arc::clone(schema))).collect()
    }
}

/// The tables of the segments that may stay, and of messages.
pub(super) fn tables_of(segments: &HashMap<[u8; 3], Segment>) -> BTreeMap<String, SchemaRef> {
    let staying = segments.iter().filter(|(_, segment)| !segment.excluded);
    staying
        .map(|(name, segment)| (String::from_utf8_lossy(name).to_ascii_lowercase(), Some(segment)))
        .chain([(tables::MESSAGE.to_owned(), None)])
        .filter_map(|(name, segment)| {
            let schema = classed(&tables::table_schema(&name)?, segment);
            Some((name, schema))
        })
        .collect()
}

/// The schema with the class of key that protects each column.
fn classed(schema: &SchemaRef, segment: Option<&Segment>) -> SchemaRef {
    let class_of = |name: &str| match segment {
        // The message as a whole may hold all that the policy lets pass; its header names systems and times.
        None if matches!(name, "message" | "patient" | "control_id") => KeyClass::Direct,
        None => KeyClass::Clinical,
        Some(_) if matches!(name, "patient" | "control_id") => KeyClass::Direct,
        Some(_) if matches!(name, "segment" | "parent") => KeyClass::Clinical,
        Some(segment) => {
            let number = tables::column_field(name);
            number
                .and_then(|number| segment.classes.get(usize::from(number).checked_sub(1)?))
                .copied()
                .unwrap_or(KeyClass::Direct)
        }
    };
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            let class = class_of(field.name()).name().to_owned();
            field.as_ref().clone().with_metadata([(KEY_CLASS_KEY.to_owned(), class)].into())
        })
        .collect();
    Arc::new(with_subject(&Schema::new(fields), "patient"))
}
