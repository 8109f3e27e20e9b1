//! One pass over the tokens of each resource, driven by the compiled states.
//!
//! Nothing is written here but a plan: what stays is named by its span, what a kernel will make has a place. An element
//! that no state knows, or whose JSON is not of the form that FHIR gives it, is left out and counted.

mod extension;
mod refer;
mod value;

use std::borrow::Cow;

use cordon_formats::fhir::{Json, Kind, Links, NameId, Resource, ResourceBatch, Token, TypeId, unescape};
use cordon_phi::IdentifierKind;
use hashbrown::HashMap;

use super::form::Form;
use super::gather::Gather;
use super::output::FailureReason;
use super::plan::{Cell, Key, Op, Piece, Planned};
use super::recipe::{Act, Entry, FhirRecipe, Gathered, Span, State, StateId};
use crate::kernel::narrative::person::{PROVIDER, RELATIVE};
use crate::kernel::{Kernel, SpanUnit};
use crate::policy::file::{Action, Undeclared};
use crate::tally::{Class, Counter, Values};

/// What marks the number of somebody else than a resource's subject, in a column of whose values are whose.
pub(super) const OTHER: u32 = 1 << 31;

/// What came of an element.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It stays as it stands; no operation was pushed for it.
    Whole,
    /// Operations were pushed for it.
    Partly,
    /// It goes; no operation was pushed for it.
    Gone,
}

/// A walk over a batch.
pub(super) struct Walk<'a> {
    recipe: &'a FhirRecipe,
    text: &'a str,
    tape: &'a [Token],
    pub(super) ops: Vec<Op>,
    /// The plan's own text; the prefixes of references stand first.
    pub(super) own: String,
    /// What composed texts are made of.
    pub(super) pieces: Vec<Piece>,
    pub(super) gathers: Vec<Gather>,
    pub(super) planned: Vec<Planned>,
    /// Cells of further columns: column and cell.
    pub(super) cells: Vec<(u16, Cell)>,
    /// The identity of each resource's subject, a span of `identities`.
    pub(super) subjects: Vec<Option<(u32, u32)>>,
    pub(super) identities: String,
    /// People who are not the subject: the resource that names them, role and name.
    pub(super) others: Vec<(u32, &'static str, String)>,
    pub(super) undeclared: HashMap<(StateId, NameId, bool), u64>,
    /// Extensions, identifiers and addresses of definitions that the policy does not list.
    pub(super) unlisted: HashMap<(StateId, NameId), u64>,
    pub(super) unresolved: u64,
    pub(super) counter: Counter,
    // Of the resource at hand:
    number: u32,
    /// What became of its values, but for those that kernels make.
    told: Vec<Values>,
    /// Whose names are meant, where they are not the subject's: a number among `others`.
    other: Option<u32>,
    links: Option<&'a Links>,
    scope: Scope,
    /// Where each contained resource is by its id; `None` where it does not stay. Of the array at `indexed`.
    contained: HashMap<Cow<'a, str>, Option<u32>>,
    indexed: usize,
    /// An earlier item of the same array has given the table's columns: those of one row belong together.
    muted: bool,
    /// Inside another resource: it has no row of its own.
    nested: bool,
    subject: Option<(u8, Cell, (u32, u32))>,
    id: Option<Cell>,
    failed: Option<(String, FailureReason)>,
}

/// Where an element begins in what was planned and told.
#[derive(Clone, Copy)]
struct Mark {
    ops: usize,
    told: usize,
}

/// How the unit of a value bears on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spanning {
    /// Not at all.
    ByRule,
    /// It is capped in this column.
    Column(Gathered),
    /// It is an age in a unit that nobody knows.
    Unknown,
}

/// The resource that `#ids` and ids are of.
#[derive(Clone, Copy)]
struct Scope {
    type_id: TypeId,
    /// Its `contained` array; 0 when there is none.
    contained: usize,
    /// Its own number among the contained ones.
    place: Option<u32>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(recipe: &'a FhirRecipe, batch: &'a ResourceBatch) -> Self {
        Self {
            recipe,
            text: &batch.text,
            tape: &batch.tape,
            ops: Vec::with_capacity(batch.tape.len() / 4),
            own: recipe.prefixes.clone(),
            pieces: Vec::new(),
            gathers: recipe.kernels.iter().map(Gather::new).collect(),
            planned: Vec::with_capacity(batch.resources.len()),
            cells: Vec::new(),
            subjects: Vec::with_capacity(batch.resources.len()),
            identities: String::new(),
            others: Vec::new(),
            undeclared: HashMap::new(),
            unlisted: HashMap::new(),
            unresolved: 0,
            counter: Counter::default(),
            number: 0,
            told: Vec::new(),
            other: None,
            links: None,
            scope: Scope { type_id: TypeId(0), contained: 0, place: None },
            contained: HashMap::new(),
            indexed: 0,
            muted: false,
            nested: false,
            subject: None,
            id: None,
            failed: None,
        }
    }

    /// Plans one resource.
    pub(super) fn resource(&mut self, resource: &'a Resource) {
        self.links = resource.links.as_deref();
        self.nested = false;
        self.muted = false;
        self.subject = None;
        self.id = None;
        let root = resource.token as usize;
        self.scope = self.scope_of(resource.type_id, root, None);
        self.other = match self.recipe.definitions.get(resource.type_id).name {
            "RelatedPerson" => self.somebody(RELATIVE, root),
            "Practitioner" => self.somebody(PROVIDER, root),
            _ => None,
        };
        if let Some(state) = self.recipe.root(resource.type_id) {
            self.ops.push(Op::Open { key: Key::default(), array: false, aligned: false });
            let recipe = self.recipe;
            if let Some(state_ref) = recipe.states.get(state as usize) {
                self.members(state, state_ref, root, None);
            }
            self.ops.push(Op::Close);
        }
        if self.id.is_none()
            && let Some(id) = &resource.fallback_id
        {
            self.note_id(id);
        }
        let counts_end = self.end_counts();
        self.planned.push(Planned {
            ops_end: self.ops.len(),
            id: self.id,
            subject: self.subject.map(|(_, cell, _)| cell),
            cells_end: self.cells.len(),
            counts_end,
            failed: self.failed.take(),
        });
        self.subjects.push(self.subject.map(|(_, _, identity)| identity));
        self.number += 1;
    }

    /// Plans nothing for a resource that is left out.
    pub(super) fn skip(&mut self, resource: &Resource) {
        self.gone(resource.token as usize, Class::EXCLUDED);
        let counts_end = self.end_counts();
        self.planned.push(Planned {
            ops_end: self.ops.len(),
            id: None,
            subject: None,
            cells_end: self.cells.len(),
            counts_end,
            failed: None,
        });
        self.subjects.push(None);
        self.number += 1;
    }

    fn end_counts(&mut self) -> usize {
        for values in self.told.drain(..) {
            self.counter.count(values);
        }
        self.counter.end()
    }

    /// How many values stand in an element.
    fn values_in(&self, at: usize, class: Class) -> Values {
        let end = (self.token(at).next as usize).max(at + 1);
        let tokens = self.tape.get(at..end).unwrap_or_default();
        let count = tokens.iter().filter(|token| is_value(token)).count();
        Values { class, count: count as u32 }
    }

    /// All of an element goes.
    fn gone(&mut self, at: usize, class: Class) -> Fate {
        let values = self.values_in(at, class);
        self.told.push(values);
        Fate::Gone
    }

    /// A single value stays.
    fn stays(&mut self, value: Token, class: Class) -> Fate {
        self.told.push(Values { class, count: u32::from(is_value(&value)) });
        Fate::Whole
    }

    fn mark(&self) -> Mark {
        Mark { ops: self.ops.len(), told: self.told.len() }
    }

    fn token(&self, at: usize) -> Token {
        const NOTHING: Token = Token {
            kind: Kind::Null,
            escaped: false,
            underscore: false,
            name: NameId::UNKNOWN,
            start: 0,
            end: 0,
            next: u32::MAX,
        };
        self.tape.get(at).copied().unwrap_or(NOTHING)
    }

    fn spelled(&self, token: Token) -> &'a str {
        self.text.get(token.start as usize..token.end as usize).unwrap_or_default()
    }

    /// What a text means; allocates only where it is escaped.
    fn meant(&self, token: Token) -> Cow<'a, str> {
        let spelled = self.spelled(token);
        if token.escaped { unescape(spelled.as_bytes()).into() } else { spelled.into() }
    }

    /// The value of an object's member.
    fn member(&self, object: usize, name: NameId) -> Option<usize> {
        let end = self.token(object).next as usize;
        let mut at = object + 1;
        while at < end {
            let key = self.token(at);
            if key.name == name && !key.underscore {
                return Some(at + 1);
            }
            at = self.token(at + 1).next as usize;
        }
        None
    }

    /// Somebody who is not the subject, whom an element names: a patient's contact, whoever a reference points to.
    fn named_in(&mut self, found: &Entry, at: usize) -> Option<u32> {
        if !self.recipe.has_surrogates {
            return None;
        }
        let definitions = self.recipe.definitions;
        if matches!(found.act, Act::Reference(_)) {
            let text = |walk: &Self, name: &str| {
                let member = walk.member(at, definitions.name_id(name.as_bytes()))?;
                Some(walk.meant(walk.token(member)))
            };
            let display = text(self, "display")?;
            let role = match text(self, "reference")?.rsplit_once('/')?.0.rsplit('/').next()? {
                "Practitioner" | "PractitionerRole" => PROVIDER,
                "RelatedPerson" => RELATIVE,
                _ => return None,
            };
            return Some(self.other_of(role, display.into_owned()));
        }
        let is_contact = definitions.name(found.name) == Some("contact");
        (is_contact && definitions.get(self.scope.type_id).name == "Patient").then(|| self.somebody(RELATIVE, at))?
    }

    /// Somebody by the names of an object.
    fn somebody(&mut self, role: &'static str, object: usize) -> Option<u32> {
        if !self.recipe.has_surrogates {
            return None;
        }
        let name = |text: &str| self.recipe.definitions.name_id(text.as_bytes());
        let first = |at: usize| if self.token(at).kind == Kind::Array { at + 1 } else { at };
        let named = self.member(object, name("name")).map(first).filter(|at| self.token(*at).kind == Kind::Object);
        let mut spelled = String::new();
        for part in
            named.into_iter().flat_map(|named| ["given", "family"].map(|part| self.member(named, name(part)))).flatten()
        {
            let mut at = first(part);
            let end = self.token(part).next as usize;
            while at < end && self.token(at).kind == Kind::Text {
                spelled.push(' ');
                spelled.push_str(&self.meant(self.token(at)));
                at = self.token(at).next as usize;
            }
        }
        if spelled.is_empty()
            && let Some(text) = named.and_then(|named| self.member(named, name("text")))
        {
            spelled.push_str(&self.meant(self.token(text)));
        }
        Some(self.other_of(role, spelled))
    }

    fn other_of(&mut self, role: &'static str, name: String) -> u32 {
        self.others.push((self.number, role, name));
        self.others.len() as u32 - 1
    }

    fn scope_of(&self, type_id: TypeId, object: usize, place: Option<u32>) -> Scope {
        let recipe = self.recipe;
        let contained = self.member(object, recipe.names.contained).filter(|at| {
            let state = recipe.root(type_id).and_then(|state| recipe.states.get(state as usize));
            let entry = state.and_then(|state| state.find(recipe.names.contained));
            // Where the policy drops what is contained, a reference to it leads nowhere.
            self.token(*at).kind == Kind::Array && entry.is_some_and(|entry| matches!(entry.act, Act::Resource { .. }))
        });
        let contained = contained.unwrap_or(0);
        Scope { type_id, contained, place }
    }

    fn undeclared(&mut self, state: StateId, key: Token) {
        *self.undeclared.entry((state, key.name, key.underscore)).or_insert(0) += 1;
        if self.recipe.undeclared == Undeclared::Fail {
            let path = self.recipe.element_path(state, key.name, key.underscore);
            self.fail(path, FailureReason::Undeclared);
        }
    }

    fn unlisted(&mut self, state: StateId, name: NameId) {
        *self.unlisted.entry((state, name)).or_insert(0) += 1;
        if self.recipe.undeclared == Undeclared::Fail {
            let path = self.recipe.element_path(state, name, false);
            self.fail(path, FailureReason::Unlisted);
        }
    }

    fn fail(&mut self, path: String, reason: FailureReason) {
        if self.failed.is_none() {
            self.failed = Some((path, reason));
        }
    }

    /// An object in a state. `key` is that of its member; nothing is pushed unless it stays in parts.
    fn object(&mut self, state: StateId, at: usize, key: Option<Token>, entry: Option<&'a Entry>) -> Fate {
        let recipe = self.recipe;
        let Some(state_ref) = recipe.states.get(state as usize) else { return self.gone(at, Class::UNDECLARED) };
        let mark = self.mark();
        self.ops.push(Op::Open { key: key.map_or_else(Key::default, Key::of), array: false, aligned: false });
        let fate = self.members(state, state_ref, at, entry);
        self.end(mark, fate)
    }

    /// Closes what was opened at `mark`, or takes it back.
    fn end(&mut self, mark: Mark, fate: Fate) -> Fate {
        match fate {
            Fate::Partly => self.ops.push(Op::Close),
            Fate::Whole => {
                // Labels within what stays whole stay.
                let labels = self.ops.get(mark.ops..).unwrap_or_default().iter().filter_map(|op| match op {
                    Op::Label { count, .. } => Some(*count),
                    _ => None,
                });
                let count = labels.sum();
                self.told.push(Values { class: Class::STRUCTURE, count });
                self.ops.truncate(mark.ops);
            }
            Fate::Gone => {
                // What means nothing alone goes too.
                for values in self.told.get_mut(mark.told..).unwrap_or_default() {
                    if !values.class.is_emptied() {
                        values.class = values.class.dropped();
                    }
                }
                let left = self.ops.get(mark.ops..).unwrap_or_default().iter().filter_map(|op| match op {
                    Op::Label { count, .. } => Some(Values { class: Class::STRUCTURE.dropped(), count: *count }),
                    Op::Slot { class, .. } | Op::Composed { class, .. } => Some(Values::one(class.dropped())),
                    _ => None,
                });
                self.told.extend(left);
                self.ops.truncate(mark.ops);
            }
        }
        fate
    }

    /// The members of an object, behind its `Open`.
    fn members(&mut self, number: StateId, state: &'a State, object: usize, entry: Option<&'a Entry>) -> Fate {
        let end = self.token(object).next as usize;
        let (mut whole, mut content) = (true, false);
        // Arrays that keep places for a sibling `_name`, and the siblings that stay.
        let (mut aligned, mut siblings): (Vec<(NameId, usize)>, Vec<NameId>) = (Vec::new(), Vec::new());
        let mut at = object + 1;
        while at < end {
            let key = self.token(at);
            let value = self.token(at + 1);
            let mark = self.mark();
            let fate = match state.find(key.name) {
                None => {
                    self.undeclared(number, key);
                    self.gone(at + 1, Class::UNDECLARED)
                }
                Some(found) if key.underscore => self.extended(number, found, key, at + 1),
                Some(found) if found.act == Act::Label => {
                    if value.kind == Kind::Text && self.formed(found.form, value, object) {
                        let (start, end) = span_of(key, value);
                        self.keep(start, end, u32::from(is_value(&value)), true);
                    } else {
                        self.undeclared(number, key);
                        self.gone(at + 1, Class::UNDECLARED);
                        whole = false;
                    }
                    at = value.next as usize;
                    continue;
                }
                Some(found) => self.element(number, found, key, at + 1, object, entry),
            };
            match fate {
                Fate::Whole => {
                    let (start, end) = span_of(key, value);
                    self.keep(start, end, 0, false);
                    content = true;
                }
                Fate::Partly => (whole, content) = (false, true),
                Fate::Gone => whole = false,
            }
            if value.kind == Kind::Array && fate != Fate::Gone {
                if key.underscore {
                    siblings.push(key.name);
                } else if matches!(self.ops.get(mark.ops), Some(Op::Open { aligned: true, .. })) {
                    aligned.push((key.name, mark.ops));
                }
            }
            at = value.next as usize;
        }
        for (name, mark) in aligned {
            // Where the sibling has gone, a `null` would hold a place for nothing.
            if !siblings.contains(&name)
                && let Some(Op::Open { aligned, .. }) = self.ops.get_mut(mark)
            {
                *aligned = false;
            }
        }
        match (whole, content) {
            (_, false) => Fate::Gone,
            (true, true) => Fate::Whole,
            (false, true) => Fate::Partly,
        }
    }

    /// Keeps a span; neighbours with only a comma between them become one.
    ///
    /// `count`: so many values are in it that are not told otherwise.
    fn keep(&mut self, start: u32, end: u32, count: u32, label: bool) {
        match self.ops.last_mut() {
            Some(Op::Copy { end: last, .. }) if *last + 1 == start => {
                *last = end;
                self.told.push(Values { class: Class::STRUCTURE, count });
            }
            Some(Op::Label { start: first, end: last, count: before }) if *last + 1 == start => {
                let start = *first;
                if label {
                    *last = end;
                    *before += count;
                } else {
                    let count = *before + count;
                    self.told.push(Values { class: Class::STRUCTURE, count });
                    self.ops.pop();
                    self.ops.push(Op::Copy { start, end });
                }
            }
            _ if label => self.ops.push(Op::Label { start, end, count }),
            _ => {
                self.told.push(Values { class: Class::STRUCTURE, count });
                self.ops.push(Op::Copy { start, end });
            }
        }
    }

    /// One declared member.
    fn element(
        &mut self,
        number: StateId,
        found: &'a Entry,
        key: Token,
        at: usize,
        object: usize,
        parent: Option<&'a Entry>,
    ) -> Fate {
        let value = self.token(at);
        if value.kind == Kind::Null {
            return Fate::Gone;
        }
        if found.many != (value.kind == Kind::Array) {
            if found.act == (Act::Extensions { modifier: true }) && self.recipe.modifier_fails {
                let path = self.recipe.element_path(number, key.name, false);
                self.fail(path, FailureReason::ModifierExtension);
            }
            self.undeclared(number, key);
            return self.gone(at, Class::UNDECLARED);
        }
        if self.guarded(found, object) {
            return self.gone(at, found.class.left_empty());
        }
        if found.form != Form::Any && !found.many && value.kind == Kind::Text {
            match found.form {
                Form::Canonical if found.act == Act::Keep => return self.canonical(number, found, Some(key), value),
                Form::Mime => return self.mime(number, found, key, at),
                Form::Attached | Form::Narrative => return self.document(number, found, key, at, object),
                _ if self.formed(found.form, value, object) => {}
                Form::Zip => return self.foreign_zip(number, found, key, value),
                _ => {
                    self.undeclared(number, key);
                    return self.gone(at, Class::UNDECLARED);
                }
            }
        }
        let spanning = self.spanning(found, object, value);
        if !found.captures.is_empty() && found.json.is_some() {
            self.capture(found, at, spanning);
        }
        match spanning {
            Spanning::ByRule => {}
            Spanning::Column(column) => {
                let class = Class::of(IdentifierKind::Age, Action::AgeCap);
                self.slot(Key::of(key), column, found.json, value, class);
                return Fate::Partly;
            }
            Spanning::Unknown => return self.gone(at, found.class.left_empty()),
        }
        match found.act {
            Act::Drop | Act::IdentifierValue => self.gone(at, found.class.dropped()),
            Act::Unruled => {
                self.undeclared(number, key);
                self.gone(at, Class::UNDECLARED)
            }
            Act::Extensions { modifier } => self.extensions(number, at, key, None, modifier),
            Act::ResourceId => self.resource_id(number, key, at),
            _ if found.many => self.items(number, found, key, at, object),
            Act::Keep => {
                if fits(found.json, value.kind) {
                    return self.stays(value, found.class);
                }
                self.undeclared(number, key);
                self.gone(at, Class::UNDECLARED)
            }
            Act::Gather(column) => {
                if !fits(found.json, value.kind) {
                    self.undeclared(number, key);
                    return self.gone(at, Class::UNDECLARED);
                }
                self.slot(Key::of(key), column, found.json, value, found.class);
                Fate::Partly
            }
            Act::ReferenceValue => match parent {
                Some(parent) if value.kind == Kind::Text => self.reference_value(parent, key, value),
                _ => self.gone(at, Class::UNDECLARED),
            },
            Act::Object(_) | Act::Reference(_) | Act::Identifier(_) | Act::Resource { .. } | Act::Label => {
                if value.kind != Kind::Object {
                    self.undeclared(number, key);
                    return self.gone(at, Class::UNDECLARED);
                }
                self.with_parts(number, found, at, Some(key), 0, parent)
            }
        }
    }

    /// Whether something beside the element says that it goes.
    fn guarded(&self, found: &Entry, object: usize) -> bool {
        let guard = found.guard.and_then(|guard| self.recipe.guards.get(usize::from(guard)));
        guard.is_some_and(|guard| guard.iter().any(|(path, texts)| self.leads_to(object, path, texts)))
    }

    fn leads_to(&self, at: usize, path: &[NameId], texts: &[String]) -> bool {
        let token = self.token(at);
        match (token.kind, path.split_first()) {
            (Kind::Array, _) => {
                let mut item = at + 1;
                while item < token.next as usize {
                    let value = self.token(item);
                    // FHIR has no array in an array; none is followed, however deep a document nests them.
                    if value.kind != Kind::Array && self.leads_to(item, path, texts) {
                        return true;
                    }
                    item = value.next as usize;
                }
                false
            }
            (Kind::Object, Some((name, rest))) => {
                self.member(at, *name).is_some_and(|member| self.leads_to(member, rest, texts))
            }
            (Kind::Text | Kind::Number | Kind::True | Kind::False, None) => {
                let meant = self.meant(token);
                texts.iter().any(|text| text.eq_ignore_ascii_case(meant.trim()))
            }
            _ => false,
        }
    }

    /// What becomes of a value that may be a span of time: 1,100 months are an age over 89, and 1,100 grams are not.
    fn spanning(&self, found: &Entry, object: usize, value: Token) -> Spanning {
        if found.span == Span::No || !fits(found.json, value.kind) || !matches!(found.act, Act::Keep | Act::Gather(_)) {
            return Spanning::ByRule;
        }
        let names = &self.recipe.names;
        let texts = [names.code, names.unit].map(|name| self.member(object, name).map(|at| self.token(at)));
        let unit = texts.iter().flatten().find_map(|token| SpanUnit::of(&self.meant(*token)));
        let unit = match (found.span, unit) {
            (Span::Age, None) if texts.iter().flatten().next().is_some() => return Spanning::Unknown,
            // `age-cap` counts in years.
            (Span::Age, Some(SpanUnit::Years) | None) if found.act != Act::Keep => return Spanning::ByRule,
            (Span::Age, None) => SpanUnit::Years,
            (_, None) => return Spanning::ByRule,
            (_, Some(unit)) => unit,
        };
        let column = self.recipe.spans.get(unit as usize).copied();
        column.map_or(Spanning::Unknown, Spanning::Column)
    }

    /// An object that is a member (`key`) or an item.
    fn with_parts(
        &mut self,
        number: StateId,
        found: &'a Entry,
        at: usize,
        key: Option<Token>,
        place: u32,
        parent: Option<&'a Entry>,
    ) -> Fate {
        match found.act {
            Act::Object(state) | Act::Reference(state) => {
                let around = self.other;
                if let Some(other) = self.named_in(found, at) {
                    self.other = Some(other);
                }
                let fate = self.object(state, at, key, Some(found));
                self.other = around;
                fate
            }
            Act::Identifier(state) => {
                // On a resource it names the resource; in a reference, what the reference points to.
                let named = match parent {
                    Some(parent) if matches!(parent.act, Act::Reference(_)) => parent.target,
                    _ => Some(self.scope.type_id),
                };
                if let Some(fate) = self.identifier(state, at, key, named) {
                    return fate;
                }
                self.unlisted(number, found.name);
                self.gone(at, Class::UNDECLARED)
            }
            Act::Resource { contained } => self.inner_resource(number, at, key, contained.then_some(place)),
            _ => self.gone(at, found.class.dropped()),
        }
    }

    /// The items of an array.
    fn items(&mut self, number: StateId, found: &'a Entry, key: Token, at: usize, object: usize) -> Fate {
        let array = self.token(at);
        let mark = self.mark();
        let aligned = found.json.is_some() && self.has_sibling(object, key);
        self.ops.push(Op::Open { key: Key::of(key), array: true, aligned });
        let (mut whole, mut content) = (true, false);
        let mut place = 0;
        let (was_muted, cells) = (self.muted, self.cells.len());
        let mut item = at + 1;
        while item < array.next as usize {
            let value = self.token(item);
            let mut fate = Fate::Gone;
            if found.json.is_some() {
                match found.act {
                    _ if value.kind == Kind::Null => {}
                    _ if !fits(found.json, value.kind) => {
                        self.undeclared(number, key);
                        fate = self.gone(item, Class::UNDECLARED);
                    }
                    Act::Keep if found.form == Form::Canonical => fate = self.canonical(number, found, None, value),
                    Act::Keep if !self.formed(found.form, value, object) => {
                        self.undeclared(number, key);
                        fate = self.gone(item, Class::UNDECLARED);
                    }
                    Act::Keep => fate = self.stays(value, found.class),
                    Act::Gather(column) => {
                        self.slot(Key::default(), column, found.json, value, found.class);
                        fate = Fate::Partly;
                    }
                    _ => fate = self.gone(item, found.class.dropped()),
                }
            } else if value.kind == Kind::Object {
                fate = self.with_parts(number, found, item, None, place, None);
                self.muted = was_muted || self.cells.len() > cells;
            } else {
                self.undeclared(number, key);
                fate = self.gone(item, Class::UNDECLARED);
            }
            match fate {
                Fate::Whole => {
                    let (start, end) = outer(value);
                    self.keep(start, end, 0, false);
                    content = true;
                }
                Fate::Partly => (whole, content) = (false, true),
                Fate::Gone => {
                    whole = false;
                    if aligned {
                        self.ops.push(Op::Null);
                    }
                }
            }
            place += 1;
            item = value.next as usize;
        }
        self.muted = was_muted;
        let fate = match (whole, content) {
            (_, false) => Fate::Gone,
            (true, true) => Fate::Whole,
            (false, true) => Fate::Partly,
        };
        self.end(mark, fate)
    }

    fn add(&mut self, column: Gathered, value: &str) -> u32 {
        let surrogate = self.recipe.kernels.get(usize::from(column)).map(|rule| &rule.kernel);
        let other = self.other.filter(|_| matches!(surrogate, Some(Kernel::Surrogate(_))));
        let whose = other.map_or(self.number, |other| OTHER | other);
        self.gathers.get_mut(usize::from(column)).map_or(0, |gather| gather.add(value, whose))
    }

    fn slot(&mut self, key: Key, column: Gathered, json: Option<Json>, value: Token, class: Class) {
        let row = self.add(column, &self.meant(value));
        self.ops.push(Op::Slot { key, column, bare: json != Some(Json::Text), row, before: (0, 0), class });
    }

    /// Takes single values for the table's columns: of an array, the first.
    fn capture(&mut self, found: &Entry, at: usize, spanning: Spanning) {
        if self.nested || self.muted || spanning == Spanning::Unknown {
            return;
        }
        let first = if found.many { at + 1 } else { at };
        let value = self.token(first);
        if !fits(found.json, value.kind) || (found.many && self.token(at).next as usize <= first) {
            return;
        }
        for capture in &found.captures {
            let gathered = match (capture.own, found.act) {
                // A rule of the column's own does not know the unit.
                (Some(_), _) if spanning != Spanning::ByRule => continue,
                _ if let Spanning::Column(column) = spanning => Some(column),
                (Some(own), _) | (None, Act::Gather(own)) => Some(own),
                _ => None,
            };
            let cell = match gathered {
                Some(column) => Cell::Slot { column, row: self.add(column, &self.meant(value)) },
                None if value.escaped => {
                    let start = self.own.len() as u32;
                    self.own.push_str(&unescape(self.spelled(value).as_bytes()));
                    Cell::Own { start, end: self.own.len() as u32 }
                }
                None => Cell::Text { start: value.start, end: value.end },
            };
            self.cells.push((capture.column, cell));
        }
    }

    fn literal(&mut self, write: impl FnOnce(&mut String)) -> (u32, u32) {
        let start = self.own.len() as u32;
        write(&mut self.own);
        (start, self.own.len() as u32)
    }
}

impl Key {
    fn of(token: Token) -> Self {
        Self { start: token.start, end: token.end }
    }
}

/// The name of what is contained, or of a reference to it: a number stands in its place.
const RENAMED: Class = Class::of(IdentifierKind::UniqueId, Action::Redact);

/// A text that is not empty, a number or a truth value.
fn is_value(token: &Token) -> bool {
    match token.kind {
        Kind::Text => token.end > token.start,
        Kind::Number | Kind::True | Kind::False => true,
        _ => false,
    }
}

/// A value with its quotes.
fn outer(value: Token) -> (u32, u32) {
    if value.kind == Kind::Text { (value.start - 1, value.end + 1) } else { (value.start, value.end) }
}

/// A member from the quote of its key to the end of its value.
fn span_of(key: Token, value: Token) -> (u32, u32) {
    (key.start - 1, outer(value).1)
}

fn fits(json: Option<Json>, kind: Kind) -> bool {
    match json {
        Some(Json::Text) => kind == Kind::Text,
        Some(Json::Number) => kind == Kind::Number,
        Some(Json::Boolean) => matches!(kind, Kind::True | Kind::False),
        None => false,
    }
}
