//! One pass over the events of each document, driven by the compiled rules.

use std::borrow::Cow;
use std::collections::BTreeMap;

use cordon_formats::ccda::{
    Attribute, AttributeType, CdaType, Document, Event, Family, Kind, Matcher, NameId, Ns, Stack, types,
};
use cordon_phi::IdentifierKind;
use hashbrown::{HashMap, HashSet};

use super::place::{Disposal, Labels, Leaf, Names, Node, Spelling, Spot, Target, What};
use super::recipe::{CcdaRecipe, RuleId};
use super::{floor, form};
use crate::document::{Person, Plan, Rule};
use crate::fhir::FailureReason;
use crate::fhir::form as words;
use crate::fhir::recipe::Settled;
use crate::kernel::narrative::person::{PROVIDER, RELATIVE};
use crate::kernel::{Kernel, SpanUnit};
use crate::policy::file::{Action, Undeclared};
use crate::survey::is_placeholder;
use crate::tally::{Class, Values};

/// The code system of LOINC.
const LOINC: &str = "2.16.840.1.113883.6.1";

/// Codes of observations whose value is an age: LOINC, and SNOMED CT as C-CDA has it.
const AGES: [&str; 14] = [
    "30525-0",
    "21611-9",
    "21612-7",
    "29553-5",
    "63900-5",
    "39016-1",
    "35659-2",
    "21112-8",
    "45396-9",
    "45397-7",
    "45400-9",
    "45401-7",
    "445518008",
    "397659008",
];

/// The pass over a batch. It holds no PHI but numbers of places.
pub(super) struct Walk<'r> {
    recipe: &'r CcdaRecipe,
    /// Some rule makes up values, so that it matters whose name a name is.
    has_surrogates: bool,
    names: Names,
    undeclared: HashMap<Spot, u64>,
    /// What changes are marked with.
    pub targets: Vec<Target>,
    pub nodes: Vec<Node>,
    /// Where each document's nodes end.
    pub node_ends: Vec<usize>,
}

impl CcdaRecipe {
    /// The identifiers of the person whose document it is: namespace and value. All are of one person, number 0.
    pub fn identities(&self, document: &Document, mut each: impl FnMut(usize, &str, &str)) {
        self.people_of(document, |namespace, value| {
            each(0, self.namespaces.get(usize::from(namespace)).map(String::as_str).unwrap_or_default(), value);
        });
    }

    pub(super) fn people_of(&self, document: &Document, mut each: impl FnMut(u16, &str)) {
        let (extension, root) = (types::name("extension"), types::name("root"));
        let mut matcher = self.people.matcher(document);
        for (at, event) in document.events().iter().enumerate() {
            matcher.follow(at);
            if !event.is_element() {
                continue;
            }
            for path in matcher.elements() {
                let (place, namespace) = match self.identities.get(path) {
                    Some((place, namespace)) => (Some(place), *namespace),
                    None => (self.subject.as_ref(), 0),
                };
                let wanted = place.and_then(|place| place.root.as_deref());
                let own = document.attribute_value(at, root).unwrap_or_default();
                if wanted.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(own.trim())) {
                    continue;
                }
                let value = document.attribute_value(at, extension).unwrap_or_default();
                if !value.trim().is_empty() && (self.identities.is_empty() || !is_placeholder(&value)) {
                    each(namespace, value.trim());
                }
            }
        }
    }
}

impl<'r> Walk<'r> {
    pub(super) fn new(recipe: &'r CcdaRecipe) -> Self {
        Self {
            recipe,
            has_surrogates: recipe.kernels.iter().any(|rule| matches!(rule.kernel, Kernel::Surrogate(_))),
            names: Names::new(),
            undeclared: HashMap::new(),
            targets: Vec::new(),
            nodes: Vec::new(),
            node_ends: Vec::new(),
        }
    }

    pub(super) fn document(&mut self, document: &Document, plan: &mut Plan<'_>) {
        if self.recipe.kernels.iter().any(|rule| rule.needs_subject) {
            self.recipe.people_of(document, |namespace, value| plan.subject(0, namespace, value));
        }
        let recipe = self.recipe;
        let excluded = self.excluded(document);
        let mut pass = Pass {
            walk: self,
            plan,
            document,
            excluded,
            stack: Stack::new(document),
            matcher: recipe.paths.matcher(document),
            frames: Vec::new(),
        };
        pass.run();
        self.node_ends.push(self.nodes.len());
        plan.end();
    }

    /// The elements that the policy leaves out by section or mark.
    fn excluded(&self, document: &Document) -> HashSet<usize> {
        let exclude = &self.recipe.exclude;
        if exclude.sections.is_empty() && exclude.sensitivities.is_empty() {
            return HashSet::new();
        }
        let listed = |set: &HashSet<Box<str>>, code: Option<&str>| code.is_some_and(|code| set.contains(code.trim()));
        let marked: HashSet<usize> = document
            .marks()
            .filter(|mark| listed(&exclude.sensitivities, mark.code.as_deref()))
            .map(|mark| mark.marked)
            .collect();
        let of_document = marked.contains(&document.root());
        let mut wanted: HashSet<usize> = marked.into_iter().filter(|event| *event != document.root()).collect();
        for section in document.sections() {
            if of_document
                || listed(&exclude.sections, section.code.as_deref())
                || listed(&exclude.sensitivities, section.effective.as_deref())
            {
                wanted.insert(section.event);
            }
        }
        if wanted.is_empty() {
            return wanted;
        }
        let mut open: Vec<usize> = Vec::new();
        let mut out = HashSet::new();
        for (at, event) in document.events().iter().enumerate() {
            if wanted.contains(&at) {
                let around = open.last().copied();
                let carrier = around.filter(|around| {
                    document.event(*around).is_some_and(|event| self.names.carriers.contains(&event.name))
                });
                out.insert(carrier.unwrap_or(at));
            }
            match event.kind {
                Kind::Open => open.push(at),
                Kind::Close => {
                    open.pop();
                }
                _ => {}
            }
        }
        out
    }

    pub(super) fn place(&self, mark: u32) -> String {
        self.targets.get(mark as usize).map_or_else(|| "?".to_owned(), |target| target.spot.name())
    }

    pub(super) fn report(&self) -> BTreeMap<String, u64> {
        let mut out = BTreeMap::new();
        for (spot, count) in &self.undeclared {
            *out.entry(spot.name()).or_insert(0) += count;
        }
        out
    }
}

/// A rule in force, and whether a path says so.
#[derive(Clone, Copy)]
struct Governing {
    rule: RuleId,
    by_path: bool,
}

/// An element that is open.
#[derive(Clone, Copy)]
struct Frame {
    of: CdaType,
    name: NameId,
    event: usize,
    /// Of values: what is done with them.
    rule: Option<Governing>,
    node: Option<u32>,
    /// Whose names are meant, where they are not the patient's.
    other: Option<Person>,
    /// Whether numbers in it are ages.
    of_age: bool,
    /// The child that its other children are judged by: an address's country, a section's code.
    judge: Judge,
}

/// A child that is looked for once, when somebody asks.
#[derive(Clone, Copy)]
enum Judge {
    Unasked,
    Found(Option<usize>),
}

struct Pass<'w, 'r, 'p, 'd> {
    walk: &'w mut Walk<'r>,
    plan: &'w mut Plan<'p>,
    document: &'d Document,
    excluded: HashSet<usize>,
    stack: Stack<'d>,
    matcher: Matcher<'d>,
    frames: Vec<Frame>,
}

/// Whether the walk goes into an element.
#[derive(PartialEq, Eq)]
enum Then {
    Enter,
    Skip,
}

/// Types that one rule suits: what a rule on a value says holds in it for these.
fn sort(of: CdaType) -> Family {
    match of.family() {
        Family::NamePart => Family::Name,
        Family::AddressPart => Family::Address,
        Family::Qualifier => Family::Code,
        family => family,
    }
}

impl<'r, 'd> Pass<'_, 'r, '_, 'd>
where
    'r: 'd,
{
    fn run(&mut self) {
        let document = self.document;
        let mut at = 0;
        while let Some(event) = document.event(at) {
            self.stack.follow(at);
            self.matcher.follow(at);
            match event.kind {
                Kind::Open | Kind::Empty => {
                    let then = self.element(at, event);
                    if then == Then::Skip && event.kind == Kind::Open {
                        let close = (event.next as usize).saturating_sub(1).max(at + 1);
                        self.stack.follow(close);
                        self.matcher.follow(close);
                        at = close;
                    } else if then == Then::Enter && event.kind == Kind::Empty {
                        self.frames.pop();
                    }
                }
                Kind::Close => {
                    self.frames.pop();
                }
                Kind::Text | Kind::CData => self.text(at, event),
                Kind::Comment => self.aside(at, self.walk.recipe.comments, Leaf::Comment),
                Kind::Instruction => {
                    if form::is_local_stylesheet(document.raw(event.inner())) {
                        self.plan.keep(Values::one(Class::STRUCTURE));
                    } else {
                        self.aside(at, self.walk.recipe.instructions, Leaf::Instruction);
                    }
                }
                Kind::Declaration => {
                    if !form::is_bare_declaration(document.raw(event.inner())) {
                        let spot = self.spot(Leaf::Instruction);
                        self.undeclared(spot);
                        let values = Values { class: Class::STRUCTURE, count: 0 };
                        self.change(What::Declaration { event: at }, None, spot, values);
                    }
                }
            }
            at += 1;
        }
    }

    fn rule(&self, rule: RuleId) -> Option<Rule> {
        self.walk.recipe.rules.get(usize::from(rule)).copied()
    }

    fn allows(&self, rule: RuleId, floor: Option<IdentifierKind>) -> bool {
        self.walk.recipe.fits.get(usize::from(rule)).is_some_and(|fits| fits.allows(floor))
    }

    fn spot(&self, leaf: Leaf) -> Spot {
        let name = |back: usize| {
            let event = self.stack.elements().iter().rev().nth(back);
            event.and_then(|event| self.document.event(*event)).map(|event| event.name)
        };
        // A parent without a name is none: the empty name of what is unknown.
        Spot { parent: name(1).unwrap_or(NameId::UNKNOWN), element: name(0).unwrap_or(NameId::UNKNOWN), leaf }
    }

    fn undeclared(&mut self, spot: Spot) {
        *self.walk.undeclared.entry(spot).or_insert(0) += 1;
        if self.walk.recipe.undeclared == Undeclared::Fail {
            self.plan.fail(|| spot.name(), FailureReason::Undeclared);
        }
    }

    fn target(&mut self, what: What, node: Option<u32>, spot: Spot) -> u32 {
        self.walk.targets.push(Target { what, node, spot });
        (self.walk.targets.len() - 1) as u32
    }

    /// Something goes.
    fn change(&mut self, what: What, node: Option<u32>, spot: Spot, values: Values) {
        let mark = self.target(what, node, spot);
        self.plan.remove((0, 0), false, mark, values);
        self.lost(node);
    }

    fn lost(&mut self, node: Option<u32>) {
        if let Some(node) = node.and_then(|node| self.walk.nodes.get_mut(node as usize)) {
            node.lost = true;
        }
    }

    fn stays(&mut self, node: Option<u32>) {
        if let Some(node) = node.and_then(|node| self.walk.nodes.get_mut(node as usize)) {
            node.alive = true;
        }
    }

    /// A value goes to its kernel.
    fn gather(&mut self, what: What, frame: &Frame, value: &str, settled: Settled, leaf: Leaf, values: Values) {
        let spot = self.spot(leaf);
        let mark = self.target(what, frame.node, spot);
        self.lost(frame.node);
        let value = value.trim();
        match (settled, frame.other) {
            (Settled::Gather(column), Some(other)) if self.is_surrogate(column) => {
                self.plan.value_of(other, (0, 0), value, settled, mark, values);
            }
            _ => self.plan.value((0, 0), value, settled, mark, values),
        }
    }

    fn kernel(&self, column: u16) -> Option<&Kernel> {
        self.walk.recipe.kernels.get(usize::from(column)).map(|rule| &rule.kernel)
    }

    fn is_surrogate(&self, column: u16) -> bool {
        matches!(self.kernel(column), Some(Kernel::Surrogate(_)))
    }

    /// A comment or processing instruction.
    fn aside(&mut self, at: usize, rule: Option<RuleId>, leaf: Leaf) {
        let spot = self.spot(leaf);
        let class = match rule.and_then(|rule| self.rule(rule)) {
            Some(rule) if rule.settled == Settled::Keep => return self.plan.keep(Values::one(rule.class())),
            Some(rule) => rule.class().dropped(),
            None => {
                self.undeclared(spot);
                Class::UNDECLARED
            }
        };
        self.change(What::Whole { event: at }, None, spot, Values::one(class));
    }

    fn element(&mut self, at: usize, event: &Event) -> Then {
        let of = self.stack.cda_type();
        let parent = self.frames.last().copied();
        let spot = self.spot(Leaf::Element);
        if self.excluded.contains(&at) {
            self.leave_out(at, spot, Class::EXCLUDED);
            return Then::Skip;
        }
        match of.family() {
            Family::Unknown => {
                self.undeclared(spot);
                let values = all_of(self.document, at..event.next as usize, Class::UNDECLARED);
                self.change(What::Whole { event: at }, parent.and_then(|parent| parent.node), spot, values);
                Then::Skip
            }
            Family::Structure | Family::Template => {
                let by_path = self.matcher.elements().next();
                let by_path = by_path.and_then(|path| self.walk.recipe.path_rules.get(path)).copied();
                let drops = by_path.and_then(|by| self.rule(by.rule)).filter(|rule| rule.settled == Settled::Drop);
                if drops.is_some()
                    || (event.ns == Ns::V3 && self.walk.recipe.exclude.participants.contains(&event.name))
                {
                    self.leave_out(at, spot, drops.map_or(Class::EXCLUDED, |rule| rule.class()));
                    return Then::Skip;
                }
                let frame = Frame {
                    of,
                    name: event.name,
                    event: at,
                    rule: None,
                    node: None,
                    other: self.whose(at, event, parent.as_ref()),
                    of_age: self.is_age(at, event),
                    judge: Judge::Unasked,
                };
                self.attributes(at, &frame);
                self.frames.push(frame);
                Then::Enter
            }
            _ => self.value(at, event, of, parent.as_ref()),
        }
    }

    /// By the policy, and so not counted. A document has its root.
    fn leave_out(&mut self, at: usize, spot: Spot, class: Class) {
        let document = self.document;
        let content = document.content(at);
        if at == document.root() {
            self.plan.keep(all_of(document, at..at + 1, Class::STRUCTURE));
            self.change(What::Content { event: at }, None, spot, all_of(document, content, class));
        } else {
            self.change(What::Whole { event: at }, None, spot, all_of(document, at..content.end, class));
        }
    }

    fn is_age(&self, at: usize, event: &Event) -> bool {
        let names = &self.walk.names;
        if event.name != names.observation {
            return false;
        }
        let code = self.document.children_named(at, names.code).next();
        code.and_then(|code| self.document.attribute_value(code, names.code))
            .is_some_and(|code| AGES.contains(&code.trim()))
    }

    /// Whose the names in a role are.
    fn whose(&mut self, at: usize, event: &Event, parent: Option<&Frame>) -> Option<Person> {
        let names = &self.walk.names;
        let is_relative = names.relatives.contains(&event.name);
        if !self.walk.has_surrogates || !(is_relative || names.providers.contains(&event.name)) {
            return parent.and_then(|parent| parent.other);
        }
        let document = self.document;
        let (name, id, extension) = (names.name, names.id, names.extension);
        let named = document.content(at).find(|inner| {
            document.event(*inner).is_some_and(|inner| inner.is_element() && inner.ns == Ns::V3 && inner.name == name)
        });
        let known = named.map(|named| all_text(document, named)).filter(|text| !text.is_empty()).or_else(|| {
            let mut ids = document.children_named(at, id);
            ids.find_map(|id| document.attribute_value(id, extension)).map(Cow::into_owned)
        });
        let role = if is_relative { RELATIVE } else { PROVIDER };
        Some(self.plan.other(role, is_relative, &known.unwrap_or_default()))
    }

    /// An element with a value.
    fn value(&mut self, at: usize, event: &Event, of: CdaType, parent: Option<&Frame>) -> Then {
        let rule = self.governing(at, event, of, parent);
        let node = self.node(at, of, parent);
        let (other, of_age) = parent.map_or((None, false), |parent| (parent.other, parent.of_age));
        let frame =
            Frame { of, name: event.name, event: at, rule, node: Some(node), other, of_age, judge: Judge::Unasked };
        self.attributes(at, &frame);
        let found = rule.and_then(|rule| self.rule(rule.rule));
        let settled = found.map(|rule| rule.settled);
        let class = found.map_or(Class::UNDECLARED, |rule| rule.class());
        match of.family() {
            Family::Narrative if !matches!(settled, Some(Settled::Keep | Settled::Gather(_))) => {
                let recipe = self.walk.recipe;
                let anchor = self.walk.names.anchor;
                let ruled = recipe.parts.get(of as usize).is_some_and(|parts| parts.keys().any(|part| *part != anchor));
                if !recipe.paths_in_narrative && !ruled {
                    let content = self.document.content(at);
                    if self.document.is_blank(at) {
                        self.plan.keep(all_of(self.document, content, Class::STRUCTURE));
                    } else {
                        if settled.is_none() {
                            let spot = self.spot(Leaf::Text);
                            self.undeclared(spot);
                        }
                        self.lost(frame.node);
                        let spot = self.spot(Leaf::Element);
                        let values = all_of(self.document, content, class);
                        self.change(What::Content { event: at }, frame.node, spot, values);
                    }
                    return Then::Skip;
                }
            }
            Family::Name | Family::Address => {
                if let Some(settled @ Settled::Gather(_)) = settled
                    && !self.has_ruled_parts(at, of)
                {
                    // The parts together are one value.
                    let text = all_text(self.document, at);
                    let content = self.document.content(at);
                    if text.is_empty() {
                        self.plan.keep(all_of(self.document, content, Class::STRUCTURE));
                    } else {
                        let values = all_of(self.document, content, class);
                        self.gather(What::Content { event: at }, &frame, &text, settled, Leaf::Element, values);
                    }
                    return Then::Skip;
                }
                self.own_text(at, &frame);
            }
            Family::NamePart | Family::AddressPart | Family::Text => self.own_text(at, &frame),
            _ => {}
        }
        self.frames.push(frame);
        Then::Enter
    }

    fn node(&mut self, at: usize, of: CdaType, parent: Option<&Frame>) -> u32 {
        let around = parent.and_then(|parent| parent.node);
        let disposal = match (of.family(), parent.map(|parent| parent.of.family())) {
            (Family::Narrative, Some(Family::Narrative)) => {
                // Markup is no value of its own.
                if let Some(around) = around {
                    return around;
                }
                Disposal::Empty
            }
            (Family::Narrative, _) => Disposal::Empty,
            (_, Some(Family::Name | Family::Address | Family::Code | Family::Qualifier | Family::Text)) => {
                Disposal::Remove
            }
            _ => Disposal::Mask,
        };
        self.walk.nodes.push(Node {
            event: at,
            parent: around,
            alive: false,
            lost: false,
            disposal,
            labels: Labels::default(),
        });
        (self.walk.nodes.len() - 1) as u32
    }

    /// What is done with a value: by its path, by what it is a part of, or by its type.
    fn governing(&self, at: usize, event: &Event, of: CdaType, parent: Option<&Frame>) -> Option<Governing> {
        let recipe = self.walk.recipe;
        let floor = floor::of_element(of, event.name);
        let by_path = self.matcher.elements().filter_map(|path| recipe.path_rules.get(path));
        let is_text = matches!(of.family(), Family::Text | Family::Narrative);
        let by_path = by_path.copied().find(|path| {
            let is_scrub = self.rule(path.rule).is_some_and(|rule| rule.action == Action::Scrub);
            self.allows(path.rule, floor) && (is_text || !is_scrub)
        });
        if of == CdaType::Ii
            && !by_path.is_some_and(|path| path.names_root)
            && let Some(root) = self.document.attribute_value(at, self.walk.names.root)
            && let Some(rule) = recipe.identifiers.get(root.trim())
        {
            return Some(Governing { rule: *rule, by_path: true });
        }
        if let Some(path) = by_path {
            return Some(Governing { rule: path.rule, by_path: true });
        }
        let own = recipe.types.get(of as usize).copied().flatten().map(|rule| Governing { rule, by_path: false });
        let Some(parent) = parent.filter(|parent| parent.node.is_some()) else { return own };
        let same = sort(parent.of) == sort(of);
        let handed = parent.rule.filter(|handed| {
            let settled = self.rule(handed.rule).map(|rule| rule.settled);
            settled == Some(Settled::Drop) || (same && self.allows(handed.rule, floor))
        });
        if let Some(handed) = handed.filter(|handed| handed.by_path) {
            return Some(handed);
        }
        let part = recipe.parts.get(parent.of as usize).and_then(|parts| parts.get(&event.name)).copied();
        let part = part.filter(|rule| self.allows(*rule, floor)).map(|rule| Governing { rule, by_path: false });
        part.or(handed).or(if same && parent.rule.is_some() { None } else { own })
    }

    /// Whether parts of a name or address may have rules of their own.
    fn has_ruled_parts(&self, at: usize, of: CdaType) -> bool {
        let recipe = self.walk.recipe;
        let parts = recipe.parts.get(of as usize);
        recipe.paths_in_names
            || self
                .document
                .children(at)
                .filter_map(|child| self.document.event(child))
                .any(|child| parts.is_some_and(|parts| parts.contains_key(&child.name)))
    }

    /// The text that stands directly in a value that has text.
    fn own_text(&mut self, at: usize, frame: &Frame) {
        let text = self.document.own_text(at);
        if text.trim().is_empty() {
            return;
        }
        let what = What::OwnText { event: at };
        let count = self.own_pieces(at);
        let rule = frame.rule.and_then(|rule| self.rule(rule.rule).map(|found| (found, rule.by_path)));
        let is_part = matches!(frame.of.family(), Family::NamePart | Family::AddressPart);
        if frame.name == self.walk.names.title
            && !rule.is_some_and(|(rule, by_path)| by_path && rule.settled == Settled::Drop)
            && self.is_display(&text)
        {
            self.stays(frame.node);
            self.plan.keep(Values { class: Class::STRUCTURE, count });
            return;
        }
        match rule.map(|(rule, _)| (rule, rule.settled)) {
            None => {
                let spot = self.spot(Leaf::Text);
                self.undeclared(spot);
                self.change(what, frame.node, spot, Values { class: Class::UNDECLARED, count });
            }
            Some((rule, Settled::Keep)) => {
                if frame.of.family() == Family::AddressPart && !rule.reasoned && !is_place_form(frame.name, &text) {
                    let spot = self.spot(Leaf::Text);
                    self.undeclared(spot);
                    self.change(what, frame.node, spot, Values { class: Class::UNDECLARED, count });
                } else {
                    self.stays(frame.node);
                    self.plan.keep(Values { class: rule.class(), count });
                }
            }
            Some((rule, Settled::Drop)) => {
                let spot = self.spot(Leaf::Text);
                self.change(what, frame.node, spot, Values { class: rule.class(), count });
            }
            Some((rule, settled @ Settled::Gather(column))) => {
                let shared = is_part
                    && self.frames.last().is_some_and(|parent| {
                        // The rule of a whole name is not done to each of its parts.
                        parent.rule.map(|rule| rule.rule) == frame.rule.map(|rule| rule.rule)
                    });
                let is_zip = matches!(self.kernel(column), Some(Kernel::Zip3(_)));
                let foreign = is_zip && !self.is_domestic(frame);
                // What is in an encoding cannot be looked through.
                let opaque = matches!(self.kernel(column), Some(Kernel::Scrub(_))) && !self.is_plain(at);
                if shared || foreign || opaque {
                    let spot = self.spot(Leaf::Text);
                    let class = if shared { rule.class().dropped() } else { rule.class().left_empty() };
                    self.change(what, frame.node, spot, Values { class, count });
                } else {
                    self.gather(what, frame, &text, settled, Leaf::Text, Values { class: rule.class(), count });
                }
            }
        }
    }

    /// How many pieces of text stand directly in an element.
    fn own_pieces(&self, at: usize) -> u32 {
        let content = self.document.content(at);
        let (mut inner, mut count) = (content.start, 0);
        while let Some(event) = self.document.event(inner).filter(|_| inner < content.end) {
            count += u32::from(is_text(self.document, inner));
            inner = (event.next as usize).max(inner + 1);
        }
        count
    }

    /// Whether a text is one, and no document in an encoding.
    fn is_plain(&self, at: usize) -> bool {
        let says = |name: NameId| self.document.attribute_value(at, name);
        let names = &self.walk.names;
        says(names.representation).is_none_or(|how| how == "TXT")
            && says(names.compression).is_none()
            && says(names.media_type).is_none_or(|media| media.trim().eq_ignore_ascii_case("text/plain"))
    }

    /// The first digits of another country's postal codes stand for another number of people.
    fn is_domestic(&mut self, frame: &Frame) -> bool {
        if frame.name != self.walk.names.postal_code {
            return true;
        }
        let country = self.judge(self.walk.names.country);
        country.is_none_or(|country| words::has_zip_codes(&self.document.own_text(country)))
    }

    /// Whether a title is the LOINC name of what it is the title of.
    fn is_display(&mut self, title: &str) -> bool {
        if self.frames.last().is_none_or(|parent| parent.of != CdaType::Structure) {
            return false;
        }
        let code = self.judge(self.walk.names.code);
        let (document, names) = (self.document, &self.walk.names);
        let says = |name: NameId| code.and_then(|code| document.attribute_value(code, name));
        says(names.code_system).as_deref() == Some(LOINC)
            && says(names.display_name).is_some_and(|display| display.trim().eq_ignore_ascii_case(title.trim()))
    }

    /// The first child of a name of the element around, looked for once.
    fn judge(&mut self, name: NameId) -> Option<usize> {
        let document = self.document;
        let around = self.frames.last_mut()?;
        if let Judge::Found(known) = around.judge {
            return known;
        }
        let found = document.children_named(around.event, name).next();
        around.judge = Judge::Found(found);
        found
    }

    /// A piece of text: of narrative, or where none may stand.
    fn text(&mut self, at: usize, event: &Event) {
        let Some(frame) = self.frames.last().copied() else { return };
        match frame.of.family() {
            Family::Name | Family::NamePart | Family::Address | Family::AddressPart | Family::Text => return,
            _ => {}
        }
        let text = self.document.piece(event);
        if text.trim().is_empty() {
            return;
        }
        let what = What::Piece { event: at };
        let rule = frame.rule.and_then(|rule| self.rule(rule.rule)).filter(|_| frame.of == CdaType::Narrative);
        let values = Values::one(rule.map_or(Class::UNDECLARED, |rule| rule.class()));
        match rule.map(|rule| rule.settled) {
            Some(Settled::Keep) => {
                self.stays(frame.node);
                self.plan.keep(values);
            }
            Some(settled @ Settled::Gather(_)) => self.gather(what, &frame, &text, settled, Leaf::Text, values),
            Some(Settled::Drop) => {
                let spot = self.spot(Leaf::Text);
                self.change(what, frame.node, spot, values);
            }
            None => {
                let spot = self.spot(Leaf::Text);
                self.undeclared(spot);
                self.change(what, frame.node, spot, values);
            }
        }
    }

    fn attributes(&mut self, at: usize, frame: &Frame) {
        let document = self.document;
        for (number, attribute) in document.attributes(at).iter().enumerate() {
            let of = self.stack.attribute_type(attribute);
            let stays = match of {
                AttributeType::Namespace => is_vocabulary(&document.value(attribute)),
                AttributeType::Structural => {
                    form::is_structural(types::name_text(attribute.name), &document.value(attribute))
                }
                AttributeType::Unknown => false,
                _ => {
                    self.attribute(at, number, attribute, of, frame);
                    continue;
                }
            };
            if stays {
                self.label(at, attribute, frame, true);
            } else {
                self.drop_attribute(at, number, attribute, frame, None);
            }
        }
    }

    /// An attribute that stays and means nothing alone.
    fn label(&mut self, at: usize, attribute: &Attribute, frame: &Frame, is_structure: bool) {
        if !is_said(self.document, attribute) {
            return;
        }
        match frame.node.and_then(|node| self.walk.nodes.get_mut(node as usize)) {
            None => self.plan.keep(Values::one(Class::STRUCTURE)),
            Some(node) if node.event != at => node.labels.inner += 1,
            Some(node) if is_structure => node.labels.structure += 1,
            Some(node) => node.labels.own += 1,
        }
    }

    /// `class`: of the rule that drops it; `None` where none reaches it.
    fn drop_attribute(&mut self, at: usize, number: usize, attribute: &Attribute, frame: &Frame, class: Option<Class>) {
        let spot = self.spot(Leaf::Attribute(attribute.ns, attribute.name));
        if class.is_none() {
            self.undeclared(spot);
        }
        let class = class.unwrap_or(Class::UNDECLARED);
        let values = Values { class, count: u32::from(is_said(self.document, attribute)) };
        self.change(What::Attribute { event: at, at: number, spelling: Spelling::Plain }, frame.node, spot, values);
    }

    /// An attribute with a value.
    fn attribute(&mut self, at: usize, number: usize, attribute: &Attribute, of: AttributeType, frame: &Frame) {
        let document = self.document;
        let value = document.value(attribute);
        let coded = self.coded(at);
        let chosen = self.chosen(at, attribute, of, frame, &value);
        let Some(Chosen { rule, is_own, spelling }) = chosen else {
            // Templates are the standard's own.
            let is_template = frame.of == CdaType::Template
                && match of {
                    AttributeType::Root => form::is_oid(&value),
                    AttributeType::Extension => form::is_version(&value),
                    _ => false,
                };
            if is_template {
                self.label(at, attribute, frame, true);
            } else if !value.trim().is_empty() {
                self.drop_attribute(at, number, attribute, frame, None);
            }
            return;
        };
        let bears = matches!(
            of,
            AttributeType::Extension
                | AttributeType::Value
                | AttributeType::Code
                | AttributeType::Display
                | AttributeType::Link
                | AttributeType::Text
        ) || (of == AttributeType::Root && spelling == Spelling::Uuid)
            || (of == AttributeType::Root && document.attribute_value(at, self.walk.names.extension).is_none());
        let values = Values { class: rule.class(), count: u32::from(!value.trim().is_empty()) };
        match rule.settled {
            Settled::Drop => self.drop_attribute(at, number, attribute, frame, Some(rule.class())),
            Settled::Keep => {
                if !rule.reasoned && !has_form(attribute, of, frame, &value, coded) {
                    self.drop_attribute(at, number, attribute, frame, None);
                } else if let Some(column) = self.span(at, of, frame) {
                    let what = What::Attribute { event: at, at: number, spelling: Spelling::Plain };
                    let leaf = Leaf::Attribute(attribute.ns, attribute.name);
                    let values = Values { class: Class::of(IdentifierKind::Age, Action::AgeCap), ..values };
                    self.gather(what, frame, &value, Settled::Gather(column), leaf, values);
                } else if bears {
                    self.stays(frame.node);
                    self.plan.keep(values);
                } else {
                    self.label(at, attribute, frame, false);
                }
            }
            settled @ Settled::Gather(_) if is_own => {
                let leaf = Leaf::Attribute(attribute.ns, attribute.name);
                let bare = if spelling == Spelling::Link { value.trim_start_matches('#') } else { &value };
                self.gather(What::Attribute { event: at, at: number, spelling }, frame, bare, settled, leaf, values);
            }
            // Beside what a kernel makes stays what says how it is to be read.
            Settled::Gather(_) => {
                let stays = match of {
                    AttributeType::Unit => form::is_unit(&value),
                    AttributeType::Root | AttributeType::CodeSystem => form::is_oid(&value),
                    AttributeType::Layout => form::is_look(&value),
                    _ => false,
                };
                if stays {
                    self.label(at, attribute, frame, false);
                } else {
                    self.drop_attribute(at, number, attribute, frame, Some(rule.class().dropped()));
                }
            }
        }
    }

    /// Whether an element has a code, and whether the code's system is known.
    fn coded(&self, at: usize) -> Coded {
        let names = &self.walk.names;
        let says = |name: NameId| self.document.attribute_value(at, name);
        Coded {
            code: says(names.code).is_some_and(|code| form::is_code(&code)),
            system: says(names.code_system).is_some_and(|system| form::is_oid(&system)),
        }
    }

    /// The rule of an attribute.
    fn chosen(
        &self,
        at: usize,
        attribute: &Attribute,
        of: AttributeType,
        frame: &Frame,
        value: &str,
    ) -> Option<Chosen> {
        let recipe = self.walk.recipe;
        let floor = floor::of_attribute(frame.of, frame.name, of);
        let link = of == AttributeType::Link && value.starts_with('#');
        let spelling = match of {
            AttributeType::NarrativeId => Spelling::Anchor,
            AttributeType::Link if link => Spelling::Link,
            _ => Spelling::Plain,
        };
        let own = |rule: RuleId| self.rule(rule).map(|rule| Chosen { rule, is_own: true, spelling });
        let by_path = self.matcher.attributes(attribute).filter_map(|path| recipe.path_rules.get(path));
        if let Some(path) = by_path.copied().find(|path| self.allows(path.rule, floor)) {
            return own(path.rule);
        }
        let part =
            |of: CdaType, name: NameId| recipe.parts.get(of as usize).and_then(|parts| parts.get(&name)).copied();
        if of == AttributeType::NarrativeId || link {
            // Names of places and what points to them go one way.
            if let Some(rule) = part(CdaType::Narrative, self.walk.names.anchor) {
                return own(rule);
            }
        }
        frame.node?;
        let is_id = of == AttributeType::Root && frame.of == CdaType::Ii && !self.is_authority(at, value);
        let (name, spelling) =
            if is_id { (self.walk.names.extension, Spelling::Uuid) } else { (attribute.name, spelling) };
        if !frame.rule.is_some_and(|rule| rule.by_path)
            && let Some(rule) = part(frame.of, name).filter(|rule| self.allows(*rule, floor))
        {
            return self.rule(rule).map(|rule| Chosen { rule, is_own: true, spelling });
        }
        let rule = frame.rule.and_then(|rule| self.rule(rule.rule))?;
        let is_own = is_id
            || match of {
                AttributeType::Extension | AttributeType::Value | AttributeType::Code => true,
                AttributeType::Link => frame.of == CdaType::Reference && !link,
                _ => false,
            };
        Some(Chosen { rule, is_own, spelling })
    }

    /// Whether a root names who numbers, and not what is numbered.
    fn is_authority(&self, at: usize, root: &str) -> bool {
        let extension = self.document.attribute_value(at, self.walk.names.extension);
        form::is_oid(root) && extension.is_some_and(|extension| !extension.trim().is_empty())
    }

    /// The column that caps a number which is a span of time.
    fn span(&self, at: usize, of: AttributeType, frame: &Frame) -> Option<u16> {
        let spans = self.walk.recipe.spans.as_ref()?;
        if of != AttributeType::Value || frame.of.family() != Family::Quantity {
            return None;
        }
        let unit = self.document.attribute_value(at, self.walk.names.unit);
        let unit = unit.as_deref().map(str::trim).filter(|unit| !matches!(*unit, "" | "1"));
        let unit = match unit {
            Some(unit) => SpanUnit::of(unit)?,
            None if frame.of_age => SpanUnit::Years,
            None => return None,
        };
        SpanUnit::ALL.iter().position(|known| *known == unit).and_then(|at| spans.get(at)).copied()
    }
}

#[derive(Clone, Copy)]
struct Coded {
    code: bool,
    system: bool,
}

struct Chosen {
    rule: Rule,
    /// The rule is done to this very attribute, and not to another of its element.
    is_own: bool,
    spelling: Spelling,
}

/// Whether what is kept looks like what it is.
fn has_form(attribute: &Attribute, of: AttributeType, frame: &Frame, value: &str, coded: Coded) -> bool {
    match of {
        AttributeType::Value => match frame.of.family() {
            Family::Time => form::is_time(value),
            Family::Quantity => form::is_quantity(value),
            Family::Boolean => form::is_truth(value),
            _ => true,
        },
        AttributeType::Unit => form::is_unit(value),
        AttributeType::Code if frame.of == CdaType::Cs => words::is_word(value),
        AttributeType::Code => coded.system && form::is_code(value),
        AttributeType::Display => coded.system && coded.code && form::is_display(value),
        AttributeType::CodeSystem => match types::name_text(attribute.name) {
            "codeSystem" | "valueSet" => form::is_oid(value),
            "codeSystemName" => coded.system && form::is_system_name(value),
            _ => form::is_version(value),
        },
        AttributeType::NarrativeId => form::is_anchor(value),
        AttributeType::Link => value.strip_prefix('#').is_some_and(form::is_anchor),
        AttributeType::Layout => form::is_look(value),
        _ => true,
    }
}

/// Vocabularies whose declaration says nothing of a document.
fn is_vocabulary(address: &str) -> bool {
    matches!(
        address,
        "" | "urn:hl7-org:v3"
            | "urn:hl7-org:sdtc"
            | "urn:hl7-org:v3/voc"
            | "http://www.w3.org/2001/XMLSchema-instance"
            | "http://www.w3.org/XML/1998/namespace"
    )
}

/// Whether what is kept of an address looks like what its name says.
fn is_place_form(name: NameId, text: &str) -> bool {
    match types::name_text(name) {
        "state" | "country" | "city" | "county" => words::is_place(text.trim()),
        "postalCode" => form::is_postal_code(text),
        _ => true,
    }
}

/// Whether an attribute has a value.
fn is_said(document: &Document, attribute: &Attribute) -> bool {
    !document.value(attribute).trim().is_empty()
}

/// Whether an event is a text that says something.
fn is_text(document: &Document, at: usize) -> bool {
    let text = document.event(at).filter(|event| matches!(event.kind, Kind::Text | Kind::CData));
    text.is_some_and(|text| !document.piece(text).trim().is_empty())
}

/// The values of some events: attributes, pieces of text, comments and processing instructions.
fn all_of(document: &Document, events: std::ops::Range<usize>, class: Class) -> Values {
    let of = |at: usize| match document.event(at).map(|event| event.kind) {
        Some(Kind::Open | Kind::Empty) => {
            document.attributes(at).iter().filter(|attribute| is_said(document, attribute)).count()
        }
        Some(Kind::Text | Kind::CData) => usize::from(is_text(document, at)),
        Some(Kind::Comment | Kind::Instruction) => 1,
        _ => 0,
    };
    Values { class, count: events.map(of).sum::<usize>() as u32 }
}

/// All text in an element, its pieces apart.
pub(super) fn all_text(document: &Document, event: usize) -> String {
    let mut out = String::new();
    for piece in document.content(event).filter_map(|index| document.event(index)) {
        for word in document.piece(piece).split_ascii_whitespace() {
            if !out.is_empty() {
                out.push(' ');
            }
            out.push_str(word);
        }
    }
    out
}
