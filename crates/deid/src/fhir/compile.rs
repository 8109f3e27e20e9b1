//! From the FHIR section of a policy to states: every rule is checked here, and nowhere else.
//!
//! A rule by type holds everywhere, a rule by path in one place. Both are folded into states: a type, entered with
//! the paths that are still open, gives the acts of its elements. Types that are entered alike share one state, so
//! recursive types (items of questionnaires) give a finite graph.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};
use cordon_formats::fhir::{Definitions, ElementDef, Json, TypeDef, TypeId, TypeKind, r4};
use cordon_phi::{IdentifierKind, KeyClass, Method, SafeHarborClause};
use hashbrown::HashMap;
use indexmap::IndexMap;

use super::floor::{self, Floor};
use super::form::Form;
use super::path::Path;
use super::recipe::{
    Act, Capture, Entry, ExtensionRule, FhirRecipe, GatherRule, Gathered, Guard, IdentifierAct, IdentifierRule, Names,
    RuleLine, Settled, Source, Span, State, StateId, Table, TableColumn,
};
use super::section::{ColumnSection, FhirSection, ModifierExtensions};
use crate::kernel::{Kernel, Parse, SpanUnit};
use crate::policy::check::{Common, Subject, derives, limits_of, rule_kernel};
use crate::policy::file::{Action, FieldSection, Undeclared};
use crate::policy::method;
use crate::recipe::{Allow, Limits, SUBJECT_KEY, column_metadata};
use crate::tally::Class;
use crate::yaml::{At, Position, nearest};

/// What is wrong with a section: where, what, and what would be right.
pub(crate) type Issue = (Position, String, Option<String>);

/// The elements that say whose record a resource is, the surest first (R4, compartmentdefinition-patient.html).
const SUBJECTS: [&str; 6] = ["patient", "subject", "beneficiary", "individual", "candidate", "for"];

/// Checks and compiles the FHIR section of one dataset.
pub(crate) fn compile(
    dataset: &str,
    section: &FhirSection,
    undeclared: Undeclared,
    identities: &IndexMap<String, String>,
    common: &Common,
) -> Result<FhirRecipe, Vec<Issue>> {
    let mut compiler = Compiler {
        definitions: r4(),
        dataset,
        common,
        issues: Vec::new(),
        types: HashMap::new(),
        patterns: Vec::new(),
        kernels: Vec::new(),
        states: Vec::new(),
        known: HashMap::new(),
        columns: HashMap::new(),
        lines: Vec::new(),
        conditions: Vec::new(),
        guards: Vec::new(),
    };
    let mut recipe = compiler.section(section, undeclared);
    match super::identity::systems(identities, &common.subject_domain) {
        Ok(systems) => recipe.identities = systems,
        Err(problems) => {
            for (message, help) in problems {
                compiler.issue(Position::default(), message, Some(help));
            }
        }
    }
    if compiler.issues.is_empty() { Ok(recipe) } else { Err(compiler.issues) }
}

/// A rule after its check.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rule {
    settled: Settled,
    kind: IdentifierKind,
    action: Action,
    /// The rule says why, or what alone may stay.
    reasoned: bool,
    /// The rule lists what alone may stay.
    listed: bool,
    /// The number of the rule's condition.
    condition: Option<u16>,
    position: Position,
}

impl Rule {
    fn class(&self) -> Class {
        Class::of(self.kind, self.action)
    }
}

/// Why a single value without a rule of its own stays or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Flavor {
    /// By the rule of its type.
    ByType,
    /// Something around it is kept, with a reason or without.
    Kept(IdentifierKind, Action, bool),
    /// Something around it is dropped.
    Dropped,
}

struct Pattern {
    text: String,
    path: Path,
    target: Target,
    position: Position,
    used: bool,
}

#[derive(Clone, Debug)]
enum Target {
    Rule(Rule),
    /// A column of a type's table; with a rule of its own.
    Column {
        type_id: TypeId,
        column: u16,
        own: Option<Rule>,
    },
}

/// The patterns that lead through a type, and how many of their steps are spent on the way there.
type Open = Vec<(u16, u16)>;

struct ColumnFacts {
    source: Source,
    kind: IdentifierKind,
    action: Action,
}

struct Compiler<'a> {
    definitions: &'static Definitions,
    dataset: &'a str,
    common: &'a Common,
    issues: Vec<Issue>,
    types: HashMap<TypeId, Rule>,
    patterns: Vec<Pattern>,
    kernels: Vec<GatherRule>,
    states: Vec<Option<State>>,
    known: HashMap<(TypeId, Flavor, Open), StateId>,
    columns: HashMap<(TypeId, u16), ColumnFacts>,
    lines: Vec<RuleLine>,
    /// Conditions of rules as written: paths and texts.
    conditions: Vec<Vec<(String, Vec<String>)>>,
    guards: Vec<Guard>,
}

impl Compiler<'_> {
    fn issue(&mut self, position: Position, message: impl Into<String>, help: Option<String>) {
        let issue = (position, message.into(), help);
        if !self.issues.contains(&issue) {
            self.issues.push(issue);
        }
    }

    fn section(&mut self, section: &FhirSection, undeclared: Undeclared) -> FhirRecipe {
        let count = self.definitions.types().count();
        let mut excluded = vec![false; count];
        for name in &section.exclude {
            if let Some(id) = self.resource_type(&name.value, name.position) {
                self.line(
                    &name.value,
                    IdentifierKind::FreeText,
                    Action::Drop,
                    Some("the type is excluded".to_owned()),
                    None,
                    Limits::default(),
                );
                if let Some(flag) = excluded.get_mut(usize::from(id.0)) {
                    *flag = true;
                }
            }
        }
        let (ids, id_rule) = self.ids(section, count);
        self.type_rules(section);
        self.element_rules(section);
        self.column_patterns(section);
        let identifiers = self.identifiers(section);
        let (extensions, extension_rules) = self.extensions(section);
        let mut roots = vec![None; count];
        let resources: Vec<TypeId> =
            self.definitions.types().filter(|(_, def)| def.is_resource()).map(|(id, _)| id).collect();
        for &id in &resources {
            let open = self.entering(id);
            let state = self.state(id, Flavor::ByType, open, self.definitions.get(id).name.to_owned());
            if let Some(root) = roots.get_mut(usize::from(id.0)) {
                *root = Some(state);
            }
        }
        let element = self.data_type_state("Element");
        let extension = self.data_type_state("Extension");
        let spans = SpanUnit::ALL.map(|unit| self.gather(Kernel::SpanCap { unit }, None));
        self.report_unused();
        let tables = self.tables(section, &resources, &excluded, &ids, id_rule);
        let mut prefixes = String::new();
        let mut prefix_spans = Vec::with_capacity(count);
        for (_, def) in self.definitions.types() {
            let start = prefixes.len() as u32;
            if def.is_resource() {
                prefixes.push_str(def.name);
                prefixes.push('/');
            }
            prefix_spans.push((start, prefixes.len() as u32));
        }
        let name = |text: &str| self.definitions.name_id(text.as_bytes());
        FhirRecipe {
            definitions: self.definitions,
            names: Names {
                resource_type: name("resourceType"),
                id: name("id"),
                contained: name("contained"),
                url: name("url"),
                system: name("system"),
                code: name("code"),
                country: name("country"),
                extension: name("extension"),
                unit: name("unit"),
                content_type: name("contentType"),
            },
            states: std::mem::take(&mut self.states).into_iter().flatten().collect(),
            roots,
            excluded,
            element,
            extension,
            has_surrogates: self.kernels.iter().any(|rule| matches!(rule.kernel, Kernel::Surrogate(_))),
            kernels: std::mem::take(&mut self.kernels),
            ids,
            id_class: Class::of(id_rule.0, id_rule.1),
            identifiers,
            extensions,
            extension_rules,
            guards: std::mem::take(&mut self.guards),
            spans,
            tables,
            prefixes,
            prefix_spans,
            undeclared,
            canonicals: section.canonicals.iter().map(|start| start.as_str().into()).collect(),
            servers: section.servers.iter().map(|base| base.trim_end_matches('/').into()).collect(),
            modifier_fails: section.modifier_extensions == ModifierExtensions::Fail,
            seed_domain: (self.common.method != Method::ExpertDetermination || self.common.linked)
                .then(|| self.common.subject_domain.clone()),
            linked: self.common.linked,
            identities: Vec::new(),
            lines: std::mem::take(&mut self.lines),
        }
    }

    fn line(
        &mut self,
        place: &str,
        kind: IdentifierKind,
        action: Action,
        because: Option<String>,
        column: Option<String>,
        limits: Limits,
    ) {
        self.lines.push(RuleLine { place: place.to_owned(), kind, action, because, limits, column });
    }

    fn resource_type(&mut self, name: &str, position: Position) -> Option<TypeId> {
        let id = self.definitions.resource_type(name);
        if id.is_none() {
            let known = self.definitions.types().filter(|(_, def)| def.is_resource()).map(|(_, def)| def.name);
            let help = nearest(name, known).map(|near| format!("did you mean `{near}`?"));
            self.issue(position, format!("`{name}` is no resource type of FHIR R4"), help);
        }
        id
    }

    /// Checks one rule against the method. `domain` is that of its tokens when it names none.
    fn rule(&mut self, place: &str, at: &At<FieldSection>, domain: &str) -> Option<Rule> {
        let mut field = at.value.clone();
        if field.from.is_some() || field.output.is_some() || field.optional {
            let message = format!("`{place}`: `from`, `as` and `optional` are for tables");
            self.issue(at.position, message, None);
        }
        if field.value_type.is_some() || field.unit.is_some() {
            let message = format!("`{place}`: `type` and `unit` are for tables: FHIR says them of each element");
            self.issue(at.position, message, None);
        }
        let action = field.action.unwrap_or_else(|| method::default_action(self.common.method, field.kind));
        if matches!(action, Action::Token | Action::Hash | Action::Encrypt) && field.domain.is_none() {
            field.domain = Some(domain.to_owned());
        }
        if action == Action::ShiftDate {
            // A document keeps the spelling and precision of its dates.
            field.value_type = Some(crate::policy::file::ValueType::Text);
        }
        match rule_kernel(&format!("{}.{place}", self.dataset), &field, action, false, Subject::OfDocument, self.common)
        {
            Ok(kernel) => {
                if let Some(kernel) = &kernel {
                    self.common.note_shift(self.dataset, at.position, kernel);
                }
                let limits = limits_of(&field);
                let settled = match kernel {
                    None | Some(Kernel::Null(_)) => Settled::Drop,
                    Some(Kernel::Keep(_)) if limits.allow.is_none() => Settled::Keep,
                    Some(kernel) => Settled::Gather(self.gather(kernel, limits.allow.clone())),
                };
                let listed = limits.allow.is_some();
                let condition = (!limits.blank_where.is_empty()).then(|| {
                    self.conditions.push(limits.blank_where.clone());
                    (self.conditions.len() - 1) as u16
                });
                self.line(place, field.kind, action, field.because.clone(), None, limits);
                let reasoned = listed || field.because.is_some();
                Some(Rule { settled, kind: field.kind, action, reasoned, listed, condition, position: at.position })
            }
            Err((message, help)) => {
                self.issue(at.position, format!("`{place}`: {message}"), help);
                None
            }
        }
    }

    /// A condition looks at what stands beside an element, and only some texts are running text: both belong to the rule
    /// of a path.
    fn without_condition(&mut self, place: &str, rule: &Rule) {
        if rule.action == Action::Scrub {
            self.not_by_path(place, rule.position);
        }
        if rule.condition.is_some() {
            let message = format!("`{place}`: `blank-where` belongs to a rule under `elements`");
            self.issue(rule.position, message, None);
        }
    }

    fn not_by_path(&mut self, place: &str, position: Position) {
        let message = format!("`{place}`: what is scrubbed is named by its path");
        self.issue(position, message, Some("such as `Observation.note.text` under `elements`".to_owned()));
    }

    /// Whether a rule goes below what its element is. A place or a date stays one whatever it is called; of another
    /// identifier every kind that is listed is good enough, for its rules are as strict; but to scrub is to hope that what
    /// stands there is recognised.
    fn is_beneath(&self, rule: &Rule, floor: Floor) -> bool {
        let in_place_or_time = matches!(floor.kind.clause(), Some(SafeHarborClause::B | SafeHarborClause::C));
        (rule.kind.clause().is_none() || in_place_or_time || rule.action == Action::Scrub)
            && floor.refuses(self.common.method, rule.action, rule.reasoned)
    }

    fn hold_to_floor(&mut self, what: &str, rule: &Rule, floor: Option<Floor>) {
        let Some(floor) = floor.filter(|floor| self.is_beneath(rule, *floor)) else { return };
        let (method, kind) = (self.common.method.name(), floor.kind.name());
        let refused = method::refusal(self.common.method, floor.kind, rule.action).is_some();
        let message = if refused {
            format!(
                "`{what}` is `{kind}` by FHIR's own definition, and {method} does not allow `{}` of it",
                rule.action.name()
            )
        } else {
            format!("`{what}` is `{kind}` by FHIR's own definition: a direct identifier is kept without a reason")
        };
        let help = if floor.may_be_lifted {
            "list what may stay with `allow: […]`, or say with `because: \"…\"` why nothing of a person stands there"
        } else {
            "give it the kind that it is, or leave it to the rule of its type"
        };
        self.issue(rule.position, message, Some(help.to_owned()));
    }

    fn gather(&mut self, kernel: Kernel, allow: Option<Allow>) -> Gathered {
        if let Some(known) = self.kernels.iter().position(|rule| rule.is(&kernel, allow.as_ref())) {
            return known as Gathered;
        }
        self.kernels.push(GatherRule::new(kernel, allow));
        (self.kernels.len() - 1) as Gathered
    }

    /// What becomes of the ids of each resource type.
    fn ids(&mut self, section: &FhirSection, count: usize) -> (Vec<Settled>, (IdentifierKind, Action)) {
        let default = serde_json::from_value::<FieldSection>(serde_json::json!({ "kind": "unique-id" })).ok();
        let default = default.map(At::unplaced);
        let Some(at) = section.types.get("id").or(default.as_ref()) else {
            return (Vec::new(), (IdentifierKind::UniqueId, Action::Drop));
        };
        if at.value.domain.is_some() {
            self.issue(at.position, "the domains of ids are those of `references`", None);
        }
        for (name, domain) in &section.references {
            self.resource_type(name, domain.position);
        }
        let mut ids = vec![Settled::Drop; count];
        let mut facts = (at.value.kind, Action::Drop);
        let lines = self.lines.len();
        for (id, def) in self.definitions.types().filter(|(_, def)| def.is_resource()) {
            let domain = match section.references.get(def.name) {
                Some(domain) => domain.value.clone(),
                None if def.name == "Patient" => self.common.subject_domain.clone(),
                None => def.name.to_lowercase(),
            };
            let Some(rule) = self.rule("types.id", at, &domain) else { break };
            self.without_condition("types.id", &rule);
            self.hold_to_floor("id", &rule, floor::of_type("id"));
            facts.1 = rule.action;
            if let Some(settled) = ids.get_mut(usize::from(id.0)) {
                *settled = rule.settled;
            }
        }
        self.lines.truncate(lines);
        self.line("ids and references", facts.0, facts.1, None, Some("id".to_owned()), Limits::default());
        (ids, facts)
    }

    fn type_rules(&mut self, section: &FhirSection) {
        for (name, at) in section.types.iter().filter(|(name, _)| *name != "id") {
            let id = self.definitions.type_id(name);
            let kind = id.map(|id| self.definitions.get(id).kind);
            let (Some(id), Some(TypeKind::Primitive(_) | TypeKind::Complex)) = (id, kind) else {
                let known = self.definitions.types().map(|(_, def)| def.name);
                let help = nearest(name, known).map(|near| format!("did you mean `{near}`?"));
                self.issue(at.position, format!("`{name}` is no data type of FHIR R4"), help);
                continue;
            };
            let Some(rule) = self.rule(&format!("types.{name}"), at, name) else { continue };
            self.without_condition(&format!("types.{name}"), &rule);
            self.hold_to_floor(name, &rule, floor::of_type(name));
            if kind == Some(TypeKind::Complex) && matches!(rule.settled, Settled::Gather(_)) {
                self.issue(
                    at.position,
                    format!("`{name}` has parts, so it can be kept or dropped, and nothing else"),
                    Some(format!("give a rule to its elements, as `{name}.…` under `elements`")),
                );
                continue;
            }
            self.types.insert(id, rule);
        }
    }

    fn element_rules(&mut self, section: &FhirSection) {
        for (text, at) in &section.elements {
            let path = match Path::rooted(text) {
                Ok(path) => path,
                Err(problem) => {
                    self.issue(at.position, format!("`{text}`: {problem}"), None);
                    continue;
                }
            };
            if let Some(root) = &path.root
                && self.definitions.type_id(root).is_none_or(|id| self.definitions.get(id).elements.is_empty())
            {
                let known =
                    self.definitions.types().filter(|(_, def)| !def.elements.is_empty()).map(|(_, def)| def.name);
                let help = nearest(root, known).map(|near| format!("did you mean `{near}`?"));
                self.issue(at.position, format!("`{text}`: `{root}` is no type of FHIR R4"), help);
                continue;
            }
            let Some(rule) = self.rule(text, at, text) else { continue };
            self.patterns.push(Pattern {
                text: text.clone(),
                path,
                target: Target::Rule(rule),
                position: at.position,
                used: false,
            });
        }
    }

    fn column_patterns(&mut self, section: &FhirSection) {
        for (type_name, columns) in &section.columns {
            let Some(type_id) = self.resource_type(type_name, columns.position) else { continue };
            for (column, (name, written)) in (0..).zip(&columns.value) {
                let (written, position) = (&written.value, written.position);
                let place = format!("columns.{type_name}.{name}");
                if ["id", "subject", "resource"].contains(&name.as_str()) {
                    self.issue(position, format!("`{place}`: every table has a column of this name"), None);
                }
                let (text, own) = match written {
                    ColumnSection::Path(text) => (text.clone(), None),
                    ColumnSection::Made(field) => {
                        let mut field = (**field).clone();
                        let Some(from) = field.from.take() else {
                            self.issue(
                                position,
                                format!("`{place}` does not say what it is made from"),
                                Some("add `from: PATH`".to_owned()),
                            );
                            continue;
                        };
                        let Some(rule) = self.made(&place, &field, name, position) else { continue };
                        (from, Some(rule))
                    }
                };
                match Path::within(type_name, &text) {
                    Ok(path) => self.patterns.push(Pattern {
                        text: place,
                        path,
                        target: Target::Column { type_id, column, own },
                        position,
                        used: false,
                    }),
                    Err(problem) => self.issue(position, format!("`{place}`: {problem}"), None),
                }
            }
        }
    }

    /// The rule of a column of its own; what it keeps is gathered too, for the element itself may be dropped.
    fn made(&mut self, place: &str, field: &FieldSection, name: &str, position: Position) -> Option<Rule> {
        if field.output.is_some() || field.optional || field.unit.is_some() || field.blank_where.is_some() {
            let message = format!("`{place}`: `as`, `optional`, `unit` and `blank-where` mean nothing to a column");
            self.issue(position, message, None);
        }
        let action = field.action.unwrap_or_else(|| method::default_action(self.common.method, field.kind));
        match rule_kernel(&format!("{}.{place}", self.dataset), field, action, false, Subject::OfDocument, self.common)
        {
            Ok(None) => {
                self.issue(position, format!("`{place}`: a column that is dropped is none"), None);
                None
            }
            Ok(Some(Kernel::Scrub(_))) => {
                self.not_by_path(place, position);
                None
            }
            Ok(Some(kernel)) => {
                self.common.note_shift(self.dataset, position, &kernel);
                let limits = limits_of(field);
                let settled = Settled::Gather(self.gather(kernel, limits.allow.clone()));
                let listed = limits.allow.is_some();
                self.line(place, field.kind, action, field.because.clone(), Some(name.to_owned()), limits);
                let reasoned = listed || field.because.is_some();
                Some(Rule { settled, kind: field.kind, action, reasoned, listed, condition: None, position })
            }
            Err((message, help)) => {
                self.issue(position, format!("`{place}`: {message}"), help);
                None
            }
        }
    }

    fn identifiers(&mut self, section: &FhirSection) -> HashMap<Box<str>, IdentifierRule> {
        let mut out = HashMap::new();
        for (system, at) in &section.identifiers {
            let place = format!("identifiers.{system}");
            let Some(rule) = self.rule(&place, at, system) else { continue };
            self.without_condition(&place, &rule);
            let as_id = rule.action == Action::Token && at.value.domain.is_none();
            let settled = if as_id { IdentifierAct::AsId } else { IdentifierAct::Settled(rule.settled) };
            out.insert(system.as_str().into(), IdentifierRule { settled, class: rule.class() });
        }
        out
    }

    fn extensions(&mut self, section: &FhirSection) -> (HashMap<Box<str>, u16>, Vec<ExtensionRule>) {
        let (mut urls, mut rules) = (HashMap::new(), Vec::new());
        for (url, written) in &section.extensions {
            let (written, position) = (&written.value, written.position);
            if written.value.is_none() && written.parts.is_empty() {
                self.issue(position, format!("extension `{url}` has neither `value` nor `parts`"), None);
            }
            let place = format!("extensions.{url}");
            let mut parts = HashMap::new();
            for (part, at) in &written.parts {
                let Some(rule) = self.extension_rule(&format!("{place}.{part}"), at, &place) else { continue };
                parts.insert(part.as_str().into(), rules.len() as u16);
                rules.push(rule);
            }
            let rule = written.value.as_ref().and_then(|at| self.extension_rule(&place, at, &place));
            let rule = rule.unwrap_or(ExtensionRule {
                settled: Settled::Drop,
                class: Class::EXCLUDED,
                of_any_type: false,
                parts: HashMap::new(),
            });
            urls.insert(url.as_str().into(), rules.len() as u16);
            rules.push(ExtensionRule { parts, ..rule });
        }
        (urls, rules)
    }

    fn extension_rule(&mut self, place: &str, at: &At<FieldSection>, domain: &str) -> Option<ExtensionRule> {
        let rule = self.rule(place, at, domain)?;
        self.without_condition(place, &rule);
        let of_any_type = rule.listed || rule.kind.clause().is_some();
        Some(ExtensionRule { settled: rule.settled, class: rule.class(), of_any_type, parts: HashMap::new() })
    }

    fn report_unused(&mut self) {
        for pattern in std::mem::take(&mut self.patterns) {
            if pattern.used {
                continue;
            }
            let message = match &pattern.target {
                Target::Rule(_) => format!("no element of FHIR R4 is at `{}`", pattern.text),
                Target::Column { .. } => format!("`{}`: the policy lets no element through at this path", pattern.text),
            };
            let of_id = pattern.path.steps.last().is_some_and(|step| step.name == "id");
            let help = of_id.then(|| "the ids of resources are settled by `types: { id: … }`".to_owned());
            self.issue(pattern.position, message, help);
        }
    }

    /// The patterns that begin at this type.
    fn entering(&self, id: TypeId) -> Open {
        let def = self.definitions.get(id);
        (0..).zip(&self.patterns).filter_map(|(at, pattern)| Some((at, pattern.path.enters(def)? as u16))).collect()
    }

    fn data_type_state(&mut self, name: &str) -> StateId {
        let id = self.definitions.type_id(name).unwrap_or(TypeId(u16::MAX));
        self.state(id, Flavor::ByType, Open::new(), name.to_owned())
    }

    fn state(&mut self, id: TypeId, flavor: Flavor, mut open: Open, path: String) -> StateId {
        open.sort_unstable();
        open.dedup();
        if let Some(known) = self.known.get(&(id, flavor, open.clone())) {
            return *known;
        }
        let number = self.states.len() as StateId;
        self.states.push(None);
        self.known.insert((id, flavor, open.clone()), number);
        let def = self.definitions.get(id);
        let mut entries: Vec<Entry> =
            def.elements.iter().map(|element| self.entry(def, flavor, &open, element, &path)).collect();
        if entries.iter().any(|entry| entry.form == Form::Attached) {
            // They would be those of what was sent (R4, datatypes.html#Attachment).
            let of_bytes = ["size", "hash"].map(|name| self.definitions.name_id(name.as_bytes()));
            for entry in entries.iter_mut().filter(|entry| of_bytes.contains(&entry.name)) {
                (entry.act, entry.captures) = (Act::Drop, Box::default());
            }
        }
        if def.is_resource() {
            entries.push(Entry {
                name: self.definitions.name_id(b"resourceType"),
                many: false,
                json: Some(Json::Text),
                act: Act::Label,
                form: Form::Any,
                target: None,
                subject: 0,
                captures: Box::default(),
                span: Span::No,
                guard: None,
                class: Class::STRUCTURE,
            });
        }
        if let Some(slot) = self.states.get_mut(number as usize) {
            *slot = Some(State::new(path, entries));
        }
        number
    }

    fn entry(
        &mut self,
        def: &'static TypeDef,
        flavor: Flavor,
        open: &Open,
        element: &'static ElementDef,
        path: &str,
    ) -> Entry {
        let kind = self.definitions.get(element.type_id);
        let own_id = def.is_resource() && element.name == "id";
        let mut found: Option<(u16, Rule)> = None;
        let (mut through, mut columns) = (Open::new(), Vec::new());
        for &(at, spent) in open {
            let Some(pattern) = self.patterns.get_mut(usize::from(at)) else { continue };
            let Some(step) = pattern.path.steps.get(usize::from(spent)) else { continue };
            if !step.means(element, kind.name) || own_id {
                continue;
            }
            if usize::from(spent) + 1 < pattern.path.steps.len() {
                through.push((at, spent + 1));
                continue;
            }
            match &pattern.target {
                Target::Rule(rule) => {
                    let rule = *rule;
                    pattern.used = true;
                    if found.is_none_or(|(best, _)| self.beats(at, best)) {
                        found = Some((at, rule));
                    }
                }
                Target::Column { .. } => columns.push(at),
            }
        }
        let found = found.map(|(_, rule)| rule);
        let floor = floor::of(def, element, kind.name);
        if let Some(rule) = &found {
            self.hold_to_floor(&format!("{}.{}", def.name, element.name), rule, floor);
            if rule.action == Action::Scrub
                && !["string", "markdown"].contains(&kind.name)
                && Form::of_document(def, element, kind.name).is_none()
            {
                let message = format!(
                    "`{}.{}` is of type `{}`, and `scrub` reads `string`, `markdown`, `xhtml` and `Attachment.data`",
                    def.name, element.name, kind.name
                );
                self.issue(
                    rule.position,
                    message,
                    Some("name such a text within it, or use another action".to_owned()),
                );
            }
        }
        // What is kept around an element does not reach below what the element is: it goes by its type.
        let flavor = match (flavor, floor) {
            (Flavor::Kept(.., reasoned), Some(floor)) if floor.refuses(self.common.method, Action::Keep, reasoned) => {
                Flavor::ByType
            }
            (flavor, _) => flavor,
        };
        let (mut act, facts) = match kind.kind {
            _ if own_id => (Act::ResourceId, None),
            TypeKind::Primitive(json) => self.single(def, flavor, element, json, found),
            _ => (self.with_parts(flavor, element, kind, found, through, path), None),
        };
        let class = match (facts, found) {
            (Some((kind, action)), _) => Class::of(kind, action),
            (None, Some(rule)) => rule.class(),
            (None, None) if element.name == "id" => Class::of(IdentifierKind::UniqueId, Action::Drop),
            (None, None) if let (Flavor::Dropped, Some(floor)) = (flavor, floor) => Class::of(floor.kind, Action::Drop),
            (None, None) => self.types.get(&element.type_id).map_or(Class::EXCLUDED, Rule::class),
        };
        let made_from = MadeFrom { act, facts, floor, listed: found.is_some_and(|rule| rule.listed) };
        let document =
            found.filter(|rule| rule.action == Action::Scrub).and_then(|_| Form::of_document(def, element, kind.name));
        if document.is_some() {
            for at in &columns {
                let Some(pattern) = self.patterns.get_mut(usize::from(*at)) else { continue };
                pattern.used = true;
                let message = format!("`{}`: a document is scrubbed in its resource, and is no column", pattern.text);
                let issue = (pattern.position, message, None);
                if !self.issues.contains(&issue) {
                    self.issues.push(issue);
                }
            }
            columns.clear();
        }
        let captures: Box<[Capture]> =
            columns.into_iter().filter_map(|at| self.capture(at, element, kind, made_from)).collect();
        if act == Act::Unruled && !captures.is_empty() {
            act = Act::Drop;
        }
        let zips =
            |column| self.kernels.get(usize::from(column)).is_some_and(|rule| matches!(rule.kernel, Kernel::Zip3(_)));
        let form = match act {
            _ if let Some(document) = document => document,
            Act::Keep | Act::Label => Form::of(def, element, kind.name, found.is_some()),
            _ => Form::Any,
        };
        let form = match act {
            _ if def.name != "Address" => form,
            Act::Gather(column) if zips(column) => Form::Zip,
            _ if captures.iter().any(|capture| capture.own.is_some_and(zips)) => Form::Zip,
            _ => form,
        };
        let guard = found.and_then(|rule| self.guard(def, &rule));
        let is_subject = kind.name == "Reference"
            && def.is_resource()
            && (element.targets.is_empty()
                || element.targets.iter().any(|id| self.definitions.get(*id).name == "Patient"));
        let rank = SUBJECTS.iter().position(|name| is_subject && *name == element.name);
        Entry {
            name: element.name_id,
            many: element.many,
            json: match kind.kind {
                TypeKind::Primitive(json) => Some(json),
                _ => None,
            },
            act,
            form,
            target: match element.targets.as_slice() {
                [only] => Some(*only),
                _ => None,
            },
            subject: rank.map_or(0, |rank| rank as u8 + 1),
            captures,
            span: self.span(def, element, act),
            guard,
            class,
        }
    }

    /// Whether a value may be an age, or another span of somebody's life.
    fn span(&self, def: &TypeDef, element: &ElementDef, act: Act) -> Span {
        let safe_harbor = self.common.method == Method::SafeHarbor;
        let caps_ages = |column| {
            self.kernels.get(usize::from(column)).is_some_and(|rule| matches!(rule.kernel, Kernel::AgeCap { .. }))
        };
        match (def.name, act) {
            _ if element.name != "value" => Span::No,
            ("Age", Act::Keep) if safe_harbor => Span::Age,
            ("Age", Act::Gather(column)) if caps_ages(column) => Span::Age,
            ("Quantity" | "SimpleQuantity" | "Duration" | "Count", Act::Keep) if safe_harbor => Span::Quantity,
            _ => Span::No,
        }
    }

    /// The condition of a rule, with the names that its paths are made of. The paths begin at the object that holds the
    /// element.
    fn guard(&mut self, def: &'static TypeDef, rule: &Rule) -> Option<u16> {
        let written = self.conditions.get(usize::from(rule.condition?))?.clone();
        let mut guard = Guard::new();
        for (path, texts) in written {
            let mut within = Some(def);
            let mut names = Vec::new();
            for part in path.split('.') {
                let Some(element) = within.and_then(|def| def.element(part)) else {
                    let message = format!("`blank-where`: no element `{path}` stands in `{}`", def.name);
                    self.issue(rule.position, message, None);
                    return None;
                };
                names.push(element.name_id);
                within = Some(self.definitions.get(element.type_id));
            }
            guard.push((names.into(), texts.into()));
        }
        if let Some(known) = self.guards.iter().position(|known| *known == guard) {
            return Some(known as u16);
        }
        self.guards.push(guard);
        Some((self.guards.len() - 1) as u16)
    }

    fn beats(&self, challenger: u16, holder: u16) -> bool {
        let rank = |at: u16| self.patterns.get(usize::from(at)).map(|pattern| pattern.path.rank(self.definitions));
        rank(challenger) > rank(holder)
    }

    /// What is done with an element that is a single value.
    fn single(
        &mut self,
        def: &TypeDef,
        flavor: Flavor,
        element: &ElementDef,
        json: Json,
        found: Option<Rule>,
    ) -> (Act, Option<(IdentifierKind, Action)>) {
        let structural = match (def.name, element.name) {
            (_, "id") => Some(Act::Drop),
            ("Reference", "reference") => Some(Act::ReferenceValue),
            ("Reference", "type") | ("Identifier", "system") | ("Extension", "url") => Some(Act::Label),
            ("Identifier", "value") if !matches!(flavor, Flavor::Kept(..)) => Some(Act::IdentifierValue),
            _ => None,
        };
        let rule = match (found, flavor) {
            (Some(rule), _) => rule,
            (None, Flavor::Dropped) => return (Act::Drop, None),
            (None, _) if structural.is_some() => return (structural.unwrap_or(Act::Drop), None),
            (None, Flavor::Kept(kind, action, _)) => return (Act::Keep, Some((kind, action))),
            (None, Flavor::ByType) => match self.types.get(&element.type_id) {
                Some(rule) => *rule,
                None => return (Act::Unruled, None),
            },
        };
        let facts = Some((rule.kind, rule.action));
        match rule.settled {
            Settled::Keep => (Act::Keep, facts),
            Settled::Drop => (Act::Drop, facts),
            Settled::Gather(column) => {
                let numbers = self.kernels.get(usize::from(column)).is_some_and(|kernel| kernel.gives_numbers);
                if json == Json::Boolean || (json == Json::Number && !numbers) {
                    self.issue(
                        rule.position,
                        format!(
                            "`{}` would put text where FHIR has a {}",
                            rule.action.name(),
                            match json {
                                Json::Number => "number",
                                _ => "truth value",
                            }
                        ),
                        Some("use `keep` or `drop`".to_owned()),
                    );
                }
                (Act::Gather(column), facts)
            }
        }
    }

    /// What is done with an element that has parts.
    fn with_parts(
        &mut self,
        flavor: Flavor,
        element: &ElementDef,
        kind: &'static TypeDef,
        found: Option<Rule>,
        mut through: Open,
        path: &str,
    ) -> Act {
        if let Some(rule) = found
            && matches!(rule.settled, Settled::Gather(_))
        {
            self.issue(
                rule.position,
                format!("`{path}.{}` has parts, so it can be kept or dropped, and nothing else", element.name),
                Some("give the rule to its parts".to_owned()),
            );
        }
        let dropped = match (found, flavor) {
            (Some(rule), _) => rule.settled == Settled::Drop,
            (None, Flavor::Dropped) => true,
            (None, _) => self.types.get(&element.type_id).is_some_and(|rule| rule.settled == Settled::Drop),
        };
        match kind.name {
            "Extension" | "Resource" if dropped => return Act::Drop,
            "Extension" => return Act::Extensions { modifier: element.name == "modifierExtension" },
            "Resource" => return Act::Resource { contained: element.name == "contained" },
            _ => {}
        }
        let carried = !through.is_empty();
        // What is dropped by its path goes with all its parts; what is dropped by its type keeps what the type's paths say.
        let dropped_here = found.is_some() && dropped;
        if flavor != Flavor::Dropped && !dropped_here {
            through.extend(self.entering(element.type_id));
        }
        let child = match (found, self.types.get(&element.type_id)) {
            _ if dropped => {
                // Left in place only for what a deeper path says.
                let spoken = |(at, _): &(u16, u16)| {
                    self.patterns.get(usize::from(*at)).is_some_and(|pattern| matches!(pattern.target, Target::Rule(_)))
                };
                if !through.iter().any(spoken) {
                    return Act::Drop;
                }
                Flavor::Dropped
            }
            (Some(rule), _) => Flavor::Kept(rule.kind, rule.action, rule.reasoned),
            // What identifies and what refers is settled by its own rules, also within what is kept.
            (None, _) if kind.name == "Identifier" => Flavor::ByType,
            (None, Some(rule)) if flavor == Flavor::ByType => Flavor::Kept(rule.kind, rule.action, rule.reasoned),
            (None, _) => flavor,
        };
        let label = if kind.kind == TypeKind::Complex && !carried {
            kind.name.to_owned()
        } else {
            format!("{path}.{}", element.name)
        };
        let state = self.state(element.type_id, child, through, label);
        match (kind.name, child) {
            ("Reference", Flavor::ByType | Flavor::Kept(..)) => Act::Reference(state),
            ("Identifier", Flavor::ByType) => Act::Identifier(state),
            _ => Act::Object(state),
        }
    }

    /// Notes what a table's column is made of; `None` when nothing comes through here.
    fn capture(&mut self, at: u16, element: &ElementDef, kind: &TypeDef, from: MadeFrom) -> Option<Capture> {
        let MadeFrom { act, facts, .. } = from;
        let pattern = self.patterns.get_mut(usize::from(at))?;
        let Target::Column { type_id, column, own } = pattern.target.clone() else { return None };
        let (source, (kind, action)) = match (own, act, kind.kind) {
            (Some(Rule { settled: Settled::Gather(gathered), kind, action, .. }), _, TypeKind::Primitive(_)) => {
                (Source::Gathered(gathered), (kind, action))
            }
            (None, Act::Keep, TypeKind::Primitive(_)) => (Source::Kept(Kernel::Keep(parse(kind.name))), facts?),
            (None, Act::Gather(gathered), _) => (Source::Gathered(gathered), facts?),
            (None, Act::Reference(_), _) => (Source::Reference, (IdentifierKind::UniqueId, Action::Token)),
            _ => return None,
        };
        pattern.used = true;
        let refusal = own.and_then(|rule| from.refuses(&rule));
        let (place, position) = (pattern.text.clone(), pattern.position);
        let capture = Capture {
            column,
            own: match own {
                Some(Rule { settled: Settled::Gather(gathered), .. }) => Some(gathered),
                _ => None,
            },
        };
        if let Some((message, help)) = refusal {
            self.issue(position, format!("`{place}` {message}"), Some(help.to_owned()));
        }
        let known = self.columns.entry((type_id, column)).or_insert_with(|| ColumnFacts {
            source: source.clone(),
            kind,
            action,
        });
        if known.source != source {
            let help = format!("name one type of the choice, as in `{}`", element.name);
            self.issue(
                position,
                format!("`{place}`: the types of this choice make columns of different types"),
                Some(help),
            );
        }
        Some(capture)
    }

    fn tables(
        &mut self,
        section: &FhirSection,
        resources: &[TypeId],
        excluded: &[bool],
        ids: &[Settled],
        (id_kind, id_action): (IdentifierKind, Action),
    ) -> Vec<Option<Table>> {
        let mut tables: Vec<Option<Table>> = ids.iter().map(|_| None).collect();
        for &id in resources {
            if excluded.get(usize::from(id.0)).copied().unwrap_or(true) {
                continue;
            }
            let name = self.definitions.get(id).name;
            let id_field = |name: &str| {
                Field::new(name, DataType::Utf8View, true).with_metadata(column_metadata(id_kind, id_action))
            };
            let subject = id_field("subject");
            let mut marked = subject.metadata().clone();
            marked.insert(SUBJECT_KEY.to_owned(), "true".to_owned());
            let mut fields = vec![id_field("id"), subject.with_metadata(marked)];
            let mut columns = Vec::new();
            let written = section.columns.get(name).into_iter().flat_map(|columns| columns.value.keys());
            for (at, name) in (0..).zip(written) {
                let Some(facts) = self.columns.get(&(id, at)) else { continue };
                let data_type = match &facts.source {
                    Source::Kept(kernel) => kernel.output_type(),
                    Source::Gathered(gathered) => self
                        .kernels
                        .get(usize::from(*gathered))
                        .map_or(DataType::Utf8View, |rule| rule.kernel.output_type()),
                    Source::Reference => DataType::Utf8View,
                };
                fields.push(Field::new(name, data_type, true).with_metadata(column_metadata(facts.kind, facts.action)));
                columns.push(TableColumn { name: name.clone(), source: facts.source.clone() });
            }
            // The whole resource holds tokens, dates and codes: it is read with the key of the most protected of them.
            fields.push(
                Field::new("resource", DataType::Utf8View, true)
                    .with_metadata(column_metadata(IdentifierKind::UniqueId, Action::Token)),
            );
            if let Some(table) = tables.get_mut(usize::from(id.0)) {
                *table = Some(Table { name, schema: Arc::new(Schema::new(fields)), columns });
            }
        }
        tables
    }
}

/// What a column is made from.
#[derive(Clone, Copy)]
struct MadeFrom {
    act: Act,
    facts: Option<(IdentifierKind, Action)>,
    floor: Option<Floor>,
    /// The element's rule lists what alone may stay.
    listed: bool,
}

impl MadeFrom {
    /// What is wrong with a column's own rule; the same as with a derived column of a table.
    fn refuses(self, own: &Rule) -> Option<(String, &'static str)> {
        if self.listed && own.action == Action::Keep && !own.listed {
            return Some((
                "keeps all of an element of which only listed values may stay".to_owned(),
                "name the path alone, or add `allow`",
            ));
        }
        let floor = self.floor.map(|floor| floor.kind);
        let source = match self.facts {
            // The rule of a type says less than what the element is: a date, of which FHIR knows that it is a birth's.
            Some((ruled, _)) => floor.filter(|floor| floor.clause() == ruled.clause()).unwrap_or(ruled),
            None => floor?,
        };
        let any = matches!(source, IdentifierKind::FreeText | IdentifierKind::Url | IdentifierKind::UniqueId);
        let is_fit = if any {
            own.kind == source || (own.kind.clause().is_some() && own.kind.key_class() == KeyClass::Direct)
        } else {
            derives(source, own.kind)
        };
        (!is_fit).then(|| {
            let message =
                format!("is of kind `{}` but made from an element that is `{}`", own.kind.name(), source.name());
            (message, "give it the kind of the element that it is made from")
        })
    }
}

/// The type of a column that holds kept values of a FHIR type.
fn parse(type_name: &str) -> Parse {
    match type_name {
        "boolean" => Parse::Boolean,
        "integer" | "positiveInt" | "unsignedInt" => Parse::Integer,
        "decimal" => Parse::Decimal,
        _ => Parse::Text,
    }
}
