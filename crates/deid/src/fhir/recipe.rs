//! What a policy's FHIR section is compiled to: one state for each type in each place where its rules differ.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::{DataType, SchemaRef};
use cordon_formats::fhir::{Definitions, Json, NameId, TypeId};
use cordon_phi::IdentifierKind;
use hashbrown::HashMap;

use super::form::Form;
use crate::kernel::{Kernel, SpanUnit};
use crate::policy::file::{Action, Undeclared};
use crate::recipe::{Allow, Limits};
use crate::tally::Class;

/// The number of a state in [`FhirRecipe::states`].
pub(super) type StateId = u32;
/// The number of a column of gathered values in [`FhirRecipe::kernels`].
pub(crate) type Gathered = u16;

/// Compiled rules for FHIR R4 resources.
pub struct FhirRecipe {
    pub(super) definitions: &'static Definitions,
    pub(super) names: Names,
    pub(super) states: Vec<State>,
    /// The state of each resource type; `None` for what is no resource type.
    pub(super) roots: Vec<Option<StateId>>,
    pub(super) excluded: Vec<bool>,
    /// What happens to extensions of primitives, and to ids of elements: `_birthDate`.
    pub(super) element: StateId,
    pub(super) extension: StateId,
    pub(super) kernels: Vec<GatherRule>,
    /// What becomes of the id of each resource type, and of references to it.
    pub(super) ids: Vec<Settled>,
    /// What ids and references count as.
    pub(super) id_class: Class,
    pub(super) identifiers: HashMap<Box<str>, IdentifierRule>,
    pub(super) extensions: HashMap<Box<str>, u16>,
    pub(super) extension_rules: Vec<ExtensionRule>,
    pub(super) guards: Vec<Guard>,
    /// The columns that cap spans of time, in the order of [`SpanUnit::ALL`].
    pub(super) spans: [Gathered; SpanUnit::ALL.len()],
    pub(super) tables: Vec<Option<Table>>,
    /// `Patient/`, `Encounter/` …: what stands before the token of a reference.
    pub(super) prefixes: String,
    pub(super) prefix_spans: Vec<(u32, u32)>,
    pub(super) undeclared: Undeclared,
    /// What the addresses of definitions that stay begin with.
    pub(super) canonicals: Box<[Box<str>]>,
    /// The servers whose ids are those of this policy; empty: every server's.
    pub(super) servers: Box<[Box<str>]>,
    pub(super) modifier_fails: bool,
    /// What surrogates are seeded with: the subject's random token; `None` for the identity itself.
    pub(super) seed_domain: Option<String>,
    /// A pipeline declares who people are: shifted dates and scrubbed text follow from the token too.
    pub(super) linked: bool,
    /// The systems whose identifiers mean the patient, each with its namespace.
    pub(super) identities: Vec<(Box<str>, String)>,
    /// Some rule makes up values, so that it matters whose name a name is.
    pub(super) has_surrogates: bool,
    pub(super) lines: Vec<RuleLine>,
}

/// Names that the walk knows by heart.
pub(super) struct Names {
    pub resource_type: NameId,
    pub id: NameId,
    pub contained: NameId,
    pub url: NameId,
    pub system: NameId,
    pub code: NameId,
    pub country: NameId,
    pub extension: NameId,
    pub unit: NameId,
    pub content_type: NameId,
}

/// A kernel, and what its column of values needs.
pub(crate) struct GatherRule {
    pub kernel: Kernel,
    /// What alone may stay.
    pub allow: Option<Allow>,
    pub needs_subject: bool,
    /// Equal values give equal results, and values repeat: each is gathered once.
    pub once: bool,
    /// Results are numbers, as JSON spells them.
    pub gives_numbers: bool,
}

impl GatherRule {
    pub(crate) fn new(kernel: Kernel, allow: Option<Allow>) -> Self {
        Self {
            needs_subject: kernel.needs_subject(),
            // A kept number is spelled as it was.
            gives_numbers: matches!(kernel, Kernel::SpanCap { .. } | Kernel::Keep(_))
                || matches!(kernel.output_type(), DataType::Int32 | DataType::Int64 | DataType::Float64),
            once: matches!(
                kernel,
                Kernel::Token { .. }
                    | Kernel::Hash { .. }
                    | Kernel::Fpe(_)
                    | Kernel::Zip3(_)
                    | Kernel::FirstChars { .. }
            ),
            kernel,
            allow,
        }
    }

    /// Whether it does the same to a value.
    pub(crate) fn is(&self, kernel: &Kernel, allow: Option<&Allow>) -> bool {
        self.kernel == *kernel && self.allow.as_ref() == allow
    }
}

/// What is done with a single value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Settled {
    Keep,
    Drop,
    Gather(Gathered),
}

/// What is done with an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// A single value that stays.
    Keep,
    /// A single value that stays only when something else of its object does.
    Label,
    Drop,
    /// It goes because no rule is for it, which is counted.
    Unruled,
    Gather(Gathered),
    Object(StateId),
    Reference(StateId),
    Identifier(StateId),
    Extensions {
        modifier: bool,
    },
    Resource {
        contained: bool,
    },
    /// The id of a resource.
    ResourceId,
    /// `Reference.reference`.
    ReferenceValue,
    /// `Identifier.value`, by its system.
    IdentifierValue,
}

/// A type in a place: what is done with each of its elements there.
pub(super) struct State {
    /// A path that a person understands; for messages.
    pub path: Box<str>,
    pub entries: Box<[Entry]>,
    /// A hash table from name to the position of its entry.
    slots: Box<[u16]>,
    mask: u16,
}

/// An element in a [`State`].
pub(super) struct Entry {
    pub name: NameId,
    pub many: bool,
    /// The JSON form of a single value; `None` for what has parts.
    pub json: Option<Json>,
    pub act: Act,
    /// How a kept text must look.
    pub form: Form,
    /// The only type that a reference here may point to.
    pub target: Option<TypeId>,
    /// Whether it may say whose record this is, and how surely: the lowest number wins. 0: it does not.
    pub subject: u8,
    /// The table columns that are taken from here.
    pub captures: Box<[Capture]>,
    pub span: Span,
    /// The condition under which it goes: a number in [`FhirRecipe::guards`].
    pub guard: Option<u16>,
    /// What its values count as.
    pub class: Class,
}

/// Whether a value may be a span of time, which its unit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    No,
    /// Of a quantity of anything.
    Quantity,
    /// Of an age, which is always one.
    Age,
}

/// An element goes where any of these paths, from the object around it, leads to one of the texts.
pub(super) type Guard = Vec<(Box<[NameId]>, Box<[String]>)>;

/// A column of a table that is filled from an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capture {
    /// Position among the table's further columns.
    pub column: u16,
    /// A rule of the column's own, in place of the element's.
    pub own: Option<Gathered>,
}

impl State {
    pub(super) fn new(path: String, entries: Vec<Entry>) -> Self {
        let size = (entries.len() * 2).next_power_of_two().max(4);
        let mask = (size - 1) as u16;
        let mut slots = vec![u16::MAX; size];
        for (position, entry) in (0..).zip(&entries) {
            let mut at = Self::slot(entry.name, mask);
            while slots.get(usize::from(at)).is_some_and(|taken| *taken != u16::MAX) {
                at = at.wrapping_add(1) & mask;
            }
            if let Some(slot) = slots.get_mut(usize::from(at)) {
                *slot = position;
            }
        }
        Self { path: path.into(), entries: entries.into(), slots: slots.into(), mask }
    }

    fn slot(name: NameId, mask: u16) -> u16 {
        (name.0.wrapping_mul(0x9E37) >> 3) & mask
    }

    pub(super) fn find(&self, name: NameId) -> Option<&Entry> {
        let mut at = Self::slot(name, self.mask);
        loop {
            let position = *self.slots.get(usize::from(at))?;
            let entry = self.entries.get(usize::from(position))?;
            if entry.name == name {
                return Some(entry);
            }
            at = at.wrapping_add(1) & self.mask;
        }
    }
}

pub(super) struct IdentifierRule {
    pub settled: IdentifierAct,
    pub class: Class,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdentifierAct {
    Settled(Settled),
    /// A token in the domain of the resource that it names.
    AsId,
}

pub(super) struct ExtensionRule {
    pub settled: Settled,
    pub class: Class,
    /// The rule's kind is an identifier's, or the rule lists what may stay: it may take a value of any type. Another goes
    /// no further than the rule of the value's type.
    pub of_any_type: bool,
    pub parts: HashMap<Box<str>, u16>,
}

/// The table of one resource type.
pub(super) struct Table {
    pub name: &'static str,
    pub schema: SchemaRef,
    pub columns: Vec<TableColumn>,
}

#[derive(Clone, Debug)]
pub(super) struct TableColumn {
    pub name: String,
    pub source: Source,
}

/// How a further column of a table gets its values.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    /// Kept text, read as this type by a `Keep` kernel.
    Kept(Kernel),
    /// The results of one gathered column, in their own type.
    Gathered(Gathered),
    /// Tokens of references, whose columns differ by the type that is pointed to.
    Reference,
}

/// A rule as `cordon policy explain` shows it.
#[derive(Clone, Debug)]
pub(crate) struct RuleLine {
    pub place: String,
    pub kind: IdentifierKind,
    pub action: Action,
    pub because: Option<String>,
    pub limits: Limits,
    pub column: Option<String>,
}

impl FhirRecipe {
    /// What happens to elements that FHIR R4 does not define.
    pub fn undeclared(&self) -> Undeclared {
        self.undeclared
    }

    /// How many tables an export commonly fills at once.
    pub fn open_writers(&self) -> usize {
        16
    }

    /// Every table that can come out, by its resource type, with its schema.
    pub fn schemas(&self) -> Vec<(String, SchemaRef)> {
        self.tables.iter().flatten().map(|table| (table.name.to_owned(), Arc::clone(&table.schema))).collect()
    }

    /// The schema of one resource type's table.
    pub fn schema(&self, resource_type: &str) -> Option<SchemaRef> {
        let id = self.definitions.resource_type(resource_type)?;
        self.table(id).map(|table| Arc::clone(&table.schema))
    }

    pub(super) fn table(&self, id: TypeId) -> Option<&Table> {
        self.tables.get(usize::from(id.0))?.as_ref()
    }

    pub(super) fn root(&self, id: TypeId) -> Option<StateId> {
        *self.roots.get(usize::from(id.0))?
    }

    /// The path of an element, for reports. A key that no element of FHIR has shows as `?`: keys are data too.
    pub(super) fn element_path(&self, state: StateId, name: NameId, underscore: bool) -> String {
        let place = self.states.get(state as usize).map_or("?", |state| &state.path);
        let name = self.definitions.name(name).unwrap_or("?");
        format!("{place}.{}{name}", if underscore { "_" } else { "" })
    }

    pub(super) fn is_excluded(&self, id: TypeId) -> bool {
        self.excluded.get(usize::from(id.0)).copied().unwrap_or(true)
    }

    pub(super) fn id_rule(&self, id: TypeId) -> Settled {
        self.ids.get(usize::from(id.0)).copied().unwrap_or(Settled::Drop)
    }
}

/// Counts by path.
pub(super) type Counts = BTreeMap<String, u64>;
