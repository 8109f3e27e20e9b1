//! What elements FHIR R4 has: every resource type, data type and backbone element.
//!
//! The table `r4.txt` is written by `generate_definitions.py` from HL7's definitions (4.0.1, CC0). It is read once, on
//! first use, into arrays; element names become numbers ([`NameId`]), so that whoever walks documents compares
//! numbers and never texts.

use std::sync::OnceLock;

/// The number of a type in [`Definitions::types`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(pub u16);

/// The number of an element name, one for each text that is the name of some element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameId(pub u16);

impl NameId {
    /// A key that is no element's name anywhere in FHIR R4.
    pub const UNKNOWN: Self = Self(u16::MAX);
}

/// What a type is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeKind {
    /// Can stand alone and has `resourceType`.
    Resource,
    /// A data type with elements: `HumanName`.
    Complex,
    /// Elements nested in one type alone: `Patient.contact`.
    Backbone,
    /// A single value.
    Primitive(Json),
    /// Any resource, as in `contained` and `Bundle.entry.resource`.
    AnyResource,
}

/// The JSON form of a primitive value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Json {
    Text,
    Number,
    Boolean,
}

/// A type and its elements.
#[derive(Debug)]
pub struct TypeDef {
    /// `Patient`, `HumanName`, `dateTime`; for a backbone element its path, `Patient.contact`.
    pub name: &'static str,
    pub kind: TypeKind,
    /// In the order of their names.
    pub elements: Vec<ElementDef>,
}

/// An element as it is spelled in JSON; each form of a choice is one of its own (`valueQuantity`).
#[derive(Debug)]
pub struct ElementDef {
    pub name: &'static str,
    pub name_id: NameId,
    pub type_id: TypeId,
    /// Whether it is an array in JSON.
    pub many: bool,
    /// `value` for `valueQuantity`.
    pub choice: Option<&'static str>,
    /// What a reference or canonical may point to; empty when anything.
    pub targets: Vec<TypeId>,
}

impl TypeDef {
    pub fn element(&self, name: &str) -> Option<&ElementDef> {
        let at = self.elements.binary_search_by(|element| element.name.cmp(name)).ok()?;
        self.elements.get(at)
    }

    pub fn is_resource(&self) -> bool {
        self.kind == TypeKind::Resource
    }
}

/// All of FHIR R4.
#[derive(Debug)]
pub struct Definitions {
    types: Vec<TypeDef>,
    /// Types in the order of their names.
    by_name: Vec<TypeId>,
    names: NameTable,
}

const PRIMITIVES: [(&str, Json); 20] = [
    ("base64Binary", Json::Text),
    ("boolean", Json::Boolean),
    ("canonical", Json::Text),
    ("code", Json::Text),
    ("date", Json::Text),
    ("dateTime", Json::Text),
    ("decimal", Json::Number),
    ("id", Json::Text),
    ("instant", Json::Text),
    ("integer", Json::Number),
    ("markdown", Json::Text),
    ("oid", Json::Text),
    ("positiveInt", Json::Number),
    ("string", Json::Text),
    ("time", Json::Text),
    ("unsignedInt", Json::Number),
    ("uri", Json::Text),
    ("url", Json::Text),
    ("uuid", Json::Text),
    ("xhtml", Json::Text),
];

/// The definitions of FHIR R4, read on first use.
pub fn r4() -> &'static Definitions {
    static R4: OnceLock<Definitions> = OnceLock::new();
    R4.get_or_init(|| Definitions::read(include_str!("r4.txt")))
}

impl Definitions {
    /// Reads the committed table. A line that does not fit is left out; a test holds the table to having none.
    fn read(text: &'static str) -> Self {
        let mut types: Vec<TypeDef> = PRIMITIVES
            .iter()
            .map(|&(name, json)| TypeDef { name, kind: TypeKind::Primitive(json), elements: Vec::new() })
            .collect();
        types.push(TypeDef { name: "Resource", kind: TypeKind::AnyResource, elements: Vec::new() });
        let heads = text.lines().filter(|line| !line.starts_with([' ', '#']));
        for head in heads {
            let Some((name, kind)) = head.split_once(' ') else {
                continue;
            };
            types.push(TypeDef {
                name,
                kind: match kind {
                    "resource" => TypeKind::Resource,
                    "backbone" => TypeKind::Backbone,
                    _ => TypeKind::Complex,
                },
                elements: Vec::new(),
            });
        }
        let mut by_name: Vec<TypeId> = (0..types.len()).map(|at| TypeId(at as u16)).collect();
        by_name.sort_by_key(|id| types.get(usize::from(id.0)).map(|def| def.name));
        let mut this = Self { types, by_name, names: NameTable::new(text) };
        let mut open = None;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            match line.strip_prefix(' ') {
                None => {
                    let name = line.split(' ').next().unwrap_or_default();
                    open = this.type_id(name);
                }
                Some(element) => {
                    let element = this.element_of(element);
                    let def = open.and_then(|id| this.types.get_mut(usize::from(id.0)));
                    if let (Some(element), Some(def)) = (element, def) {
                        def.elements.push(element);
                    }
                }
            }
        }
        this
    }

    fn element_of(&self, line: &'static str) -> Option<ElementDef> {
        let mut words = line.split(' ');
        let (name, type_name, max) = (words.next()?, words.next()?, words.next()?);
        let mut element = ElementDef {
            name,
            name_id: self.names.find(name.as_bytes()),
            type_id: self.type_id(type_name)?,
            many: max == "*",
            choice: None,
            targets: Vec::new(),
        };
        for word in words {
            match word.split_once('=')? {
                ("choice", base) => element.choice = Some(base),
                ("to", targets) => {
                    element.targets = targets.split(',').filter_map(|target| self.type_id(target)).collect();
                }
                _ => return None,
            }
        }
        Some(element)
    }

    /// Every type, by its [`TypeId`].
    pub fn types(&self) -> impl Iterator<Item = (TypeId, &TypeDef)> {
        (0..).map(TypeId).zip(&self.types)
    }

    /// The type of this name: `Patient`, `HumanName`, `Patient.contact`, `dateTime`.
    pub fn type_id(&self, name: &str) -> Option<TypeId> {
        let name_of = |id: &TypeId| self.types.get(usize::from(id.0)).map(|def| def.name);
        let at = self.by_name.binary_search_by(|id| name_of(id).cmp(&Some(name))).ok()?;
        self.by_name.get(at).copied()
    }

    /// The resource type of this name.
    pub fn resource_type(&self, name: &str) -> Option<TypeId> {
        self.type_id(name).filter(|id| self.get(*id).is_resource())
    }

    /// The type of a number that this table gave out; any other number gives the first type.
    pub fn get(&self, id: TypeId) -> &TypeDef {
        static NONE: TypeDef = TypeDef { name: "", kind: TypeKind::AnyResource, elements: Vec::new() };
        self.types.get(usize::from(id.0)).unwrap_or(&NONE)
    }

    /// The number of an element's name; [`NameId::UNKNOWN`] when no element is called so.
    pub fn name_id(&self, name: &[u8]) -> NameId {
        self.names.find(name)
    }

    /// The text of a name's number.
    pub fn name(&self, id: NameId) -> Option<&'static str> {
        self.names.names.get(usize::from(id.0)).copied()
    }
}

/// A closed hash table of all element names: one probe or two for each key of a document.
#[derive(Debug)]
struct NameTable {
    names: Vec<&'static str>,
    slots: Vec<u16>,
}

const SLOT_BITS: u32 = 13;

impl NameTable {
    fn new(text: &'static str) -> Self {
        let mut names: Vec<&'static str> =
            text.lines().filter_map(|line| line.strip_prefix(' ')?.split(' ').next()).chain(["resourceType"]).collect();
        names.sort_unstable();
        names.dedup();
        let mut slots = vec![u16::MAX; 1 << SLOT_BITS];
        for (number, name) in (0..).zip(&names) {
            let mut at = Self::slot(name.as_bytes());
            while slots.get(at).is_some_and(|taken| *taken != u16::MAX) {
                at = (at + 1) & ((1 << SLOT_BITS) - 1);
            }
            if let Some(slot) = slots.get_mut(at) {
                *slot = number;
            }
        }
        Self { names, slots }
    }

    /// Mixes the length with the first and the last eight bytes: enough to tell FHIR's names apart.
    fn slot(name: &[u8]) -> usize {
        let head = name.iter().take(8).fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        let tail = name.iter().rev().take(8).fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        let mixed = (head ^ tail.rotate_left(29) ^ name.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> (64 - SLOT_BITS)) as usize
    }

    fn find(&self, name: &[u8]) -> NameId {
        let mut at = Self::slot(name);
        loop {
            let number = self.slots.get(at).copied().unwrap_or(u16::MAX);
            match self.names.get(usize::from(number)) {
                None => return NameId::UNKNOWN,
                Some(known) if known.as_bytes() == name => return NameId(number),
                Some(_) => at = (at + 1) & ((1 << SLOT_BITS) - 1),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        let lines = include_str!("r4.txt").lines();
        let written = lines.filter(|line| line.starts_with(' ')).count();
        let read: usize = r4().types().map(|(_, def)| def.elements.len()).sum();
        assert_eq!(read, written);
        assert_eq!(r4().types().filter(|(_, def)| def.is_resource()).count(), 146);
    }

    #[test]
    fn every_name_is_found_under_its_number() {
        for (_, def) in r4().types() {
            for element in &def.elements {
                assert_eq!(r4().name(r4().name_id(element.name.as_bytes())), Some(element.name));
                assert_eq!(def.element(element.name).unwrap().name_id, element.name_id);
            }
        }
        assert_eq!(r4().name_id(b"fhir_comments"), NameId::UNKNOWN);
        assert_eq!(r4().name_id(b""), NameId::UNKNOWN);
    }

    #[test]
    fn choices_are_expanded_and_content_references_resolved() {
        let component = r4().get(r4().type_id("Observation.component").unwrap());
        let value = component.element("valueQuantity").unwrap();
        assert_eq!((value.choice, r4().get(value.type_id).name), (Some("value"), "Quantity"));
        let range = component.element("referenceRange").unwrap();
        assert_eq!(r4().get(range.type_id).name, "Observation.referenceRange");
        assert!(range.many);
        let subject = r4().get(r4().type_id("Encounter").unwrap()).element("subject").unwrap();
        let targets: Vec<_> = subject.targets.iter().map(|id| r4().get(*id).name).collect();
        assert_eq!(targets, ["Patient", "Group"]);
    }
}
