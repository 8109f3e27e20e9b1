//! Ids of resources, what refers to them, and resources inside of resources.

use std::borrow::Cow;

use cordon_formats::fhir::{Kind, Token, TypeId};

use super::super::emit;
use super::super::plan::{Cell, Key, Op};
use super::super::recipe::{Entry, IdentifierAct, Settled, StateId};
use super::{Fate, RENAMED, Scope, Walk, is_value};
use crate::tally::{Class, Values};

/// What a reference points to.
enum Pointed<'t> {
    Resource(TypeId, &'t str),
    /// The resource itself, or one that it contains.
    Contained(Option<u32>),
    Search {
        type_id: TypeId,
        system: &'t str,
        value: &'t str,
    },
    Unknown,
}

impl<'a> Walk<'a> {
    pub(super) fn resource_id(&mut self, number: StateId, key: Token, at: usize) -> Fate {
        let (value, class) = (self.token(at), self.recipe.id_class);
        if value.kind != Kind::Text {
            self.undeclared(number, key);
            return self.gone(at, Class::UNDECLARED);
        }
        if let Some(place) = self.scope.place {
            let (start, end) = self.literal(|own| {
                own.push_str("\"id\":\"c");
                own.push_str(&place.to_string());
                own.push('"');
            });
            self.told.push(Values::one(RENAMED));
            self.ops.push(Op::Literal { start, end });
            return Fate::Partly;
        }
        let id = self.meant(value);
        let settled = self.recipe.id_rule(self.scope.type_id);
        let column = if self.nested {
            match settled {
                Settled::Gather(column) => Some((column, self.add(column, &id))),
                _ => None,
            }
        } else {
            match self.note_id(&id) {
                Some(Cell::Slot { column, row }) => Some((column, row)),
                _ => None,
            }
        };
        match (settled, column) {
            (Settled::Keep, _) => self.stays(value, class),
            (_, Some((column, row))) => {
                self.ops.push(Op::Slot { key: Key::of(key), column, bare: false, row, before: (0, 0), class });
                Fate::Partly
            }
            _ => self.gone(at, class.dropped()),
        }
    }

    /// The resource's own id, for its row; that of a patient is also whose record it is.
    pub(super) fn note_id(&mut self, id: &str) -> Option<Cell> {
        let type_id = self.scope.type_id;
        let cell = self.id_cell(type_id, id)?;
        self.id = Some(cell);
        if self.recipe.definitions.get(type_id).name == "Patient" {
            self.note_subject(0, cell, id);
        }
        Some(cell)
    }

    fn id_cell(&mut self, type_id: TypeId, id: &str) -> Option<Cell> {
        match self.recipe.id_rule(type_id) {
            Settled::Gather(column) => Some(Cell::Slot { column, row: self.add(column, id) }),
            Settled::Keep => {
                let (start, end) = self.literal(|own| own.push_str(id));
                Some(Cell::Own { start, end })
            }
            Settled::Drop => None,
        }
    }

    pub(super) fn note_subject(&mut self, rank: u8, cell: Cell, identity: &str) {
        if self.subject.as_ref().is_some_and(|(known, ..)| *known <= rank) {
            return;
        }
        let start = self.identities.len() as u32;
        self.identities.push_str(identity);
        self.subject = Some((rank, cell, (start, self.identities.len() as u32)));
    }

    /// `Reference.reference`; `parent` is the element that refers.
    pub(super) fn reference_value(&mut self, parent: &Entry, key: Token, value: Token) -> Fate {
        let class = self.recipe.id_class;
        let text = self.meant(value);
        match self.pointed(&text, parent.target) {
            Pointed::Resource(type_id, id) => {
                let Some(cell) = self.id_cell(type_id, id) else {
                    self.told.push(Values::one(class.dropped()));
                    return Fate::Gone;
                };
                self.refers(parent, type_id, cell, id);
                let before = self.recipe.prefix_spans.get(usize::from(type_id.0)).copied().unwrap_or_default();
                match cell {
                    Cell::Slot { column, row } => {
                        self.ops.push(Op::Slot { key: Key::of(key), column, bare: false, row, before, class });
                    }
                    Cell::Own { .. } | Cell::Text { .. } => {
                        let name = self.recipe.definitions.get(type_id).name;
                        let (start, end) = self.literal(|own| {
                            own.push_str("\"reference\":\"");
                            own.push_str(name);
                            own.push('/');
                            own.push_str(id);
                            own.push('"');
                        });
                        self.told.push(Values::one(class));
                        self.ops.push(Op::Literal { start, end });
                    }
                }
                Fate::Partly
            }
            Pointed::Contained(place) => {
                let (start, end) = self.literal(|own| {
                    own.push_str("\"reference\":\"#");
                    if let Some(place) = place {
                        own.push('c');
                        own.push_str(&place.to_string());
                    }
                    own.push('"');
                });
                self.told.push(Values::one(RENAMED));
                self.ops.push(Op::Literal { start, end });
                Fate::Partly
            }
            Pointed::Search { type_id, system, value } => {
                let (system, value) = (decoded(system), decoded(value));
                let rule = self.recipe.identifiers.get(&*system);
                let class = rule.map_or(Class::UNDECLARED, |rule| rule.class);
                let gathered = match rule.map(|rule| rule.settled) {
                    Some(IdentifierAct::Settled(settled)) => settled,
                    Some(IdentifierAct::AsId) => self.recipe.id_rule(type_id),
                    None => Settled::Drop,
                };
                let Settled::Gather(column) = gathered else {
                    self.unresolved += 1;
                    let class = if class.is_emptied() { class } else { class.dropped() };
                    self.told.push(Values::one(class));
                    return Fate::Gone;
                };
                let row = self.add(column, &value);
                if gathered == self.recipe.id_rule(type_id) {
                    // Its tokens are those of the ids of this type, so it joins as an id does.
                    self.refers(parent, type_id, Cell::Slot { column, row }, &value);
                }
                let name = self.recipe.definitions.get(type_id).name;
                let before = self.literal(|own| {
                    own.push_str(name);
                    own.push_str("?identifier=");
                    emit::escape(own, &system);
                    own.push('|');
                });
                self.ops.push(Op::Slot { key: Key::of(key), column, bare: false, row, before, class });
                Fate::Partly
            }
            Pointed::Unknown => {
                self.unresolved += 1;
                self.told.push(Values { class: class.left_empty(), count: u32::from(is_value(&value)) });
                Fate::Gone
            }
        }
    }

    /// Notes for the row what an element of it refers to.
    pub(super) fn refers(&mut self, parent: &Entry, type_id: TypeId, cell: Cell, id: &str) {
        if self.nested {
            return;
        }
        if parent.subject > 0 && self.recipe.definitions.get(type_id).name == "Patient" {
            self.note_subject(parent.subject, cell, id);
        }
        if !self.muted {
            self.cells.extend(parent.captures.iter().map(|capture| (capture.column, cell)));
        }
    }

    /// Whether ids behind a base address are those of this policy.
    pub(super) fn is_own(&self, base: &str) -> bool {
        let servers = &self.recipe.servers;
        base.is_empty() || servers.is_empty() || servers.iter().any(|server| **server == *base)
    }

    /// R4, references.html#literal: relative, absolute, versioned, `urn:`, contained; bundles also know searches.
    fn pointed<'t>(&mut self, text: &'t str, target: Option<TypeId>) -> Pointed<'t>
    where
        'a: 't,
    {
        if let Some(local) = text.strip_prefix('#') {
            return match (local.is_empty(), self.contained_place(local)) {
                (true, _) => Pointed::Contained(None),
                (false, Some(place)) => Pointed::Contained(Some(place)),
                (false, None) => Pointed::Unknown,
            };
        }
        if text.starts_with("urn:") {
            if let Some((type_id, id)) = self.links.and_then(|links| links.resolve(text)) {
                return Pointed::Resource(type_id, id);
            }
            let bare = text.strip_prefix("urn:uuid:").or_else(|| text.strip_prefix("urn:oid:"));
            return match (target, bare) {
                (Some(type_id), Some(id)) if is_id(id) => Pointed::Resource(type_id, id),
                _ => Pointed::Unknown,
            };
        }
        if let Some((path, query)) = text.split_once('?') {
            let (base, name) = path.rsplit_once('/').unwrap_or(("", path));
            if !self.is_own(base) {
                return Pointed::Unknown;
            }
            let search = query.strip_prefix("identifier=").filter(|search| !search.contains('&')).and_then(|search| {
                let split = |bar| search.split_once(bar);
                split("|").or_else(|| split("%7C")).or_else(|| split("%7c"))
            });
            return match (self.recipe.definitions.resource_type(name), search) {
                (Some(type_id), Some((system, value))) if !value.is_empty() => {
                    Pointed::Search { type_id, system, value }
                }
                _ => Pointed::Unknown,
            };
        }
        let path = text.split_once("/_history/").map_or(text, |(path, _)| path);
        let Some((front, id)) = path.rsplit_once('/') else { return Pointed::Unknown };
        let (base, name) = front.rsplit_once('/').map_or(("", front), |(base, name)| (base, name));
        let is_web = base.starts_with("http://") || base.starts_with("https://");
        if !self.is_own(base) || !(base.is_empty() || is_web) {
            return Pointed::Unknown;
        }
        match self.recipe.definitions.resource_type(name) {
            Some(type_id) if is_id(id) => Pointed::Resource(type_id, id),
            _ => Pointed::Unknown,
        }
    }

    /// The number of the contained resource that has this id; `None` where there is none, or it does not stay.
    pub(super) fn contained_place(&mut self, id: &str) -> Option<u32> {
        let array = self.scope.contained;
        if array == 0 {
            return None;
        }
        if self.indexed != array {
            self.index_contained(array);
        }
        *self.contained.get(id)?
    }

    /// Notes the places of contained resources once, for any number of references to them.
    pub(super) fn index_contained(&mut self, array: usize) {
        let recipe = self.recipe;
        self.indexed = array;
        self.contained.clear();
        let end = self.token(array).next as usize;
        let mut item = array + 1;
        let mut place = 0;
        while item < end {
            let value = self.token(item);
            if value.kind == Kind::Object
                && let Some(at) = self.member(item, recipe.names.id)
            {
                let stays = self.type_of(item).is_some_and(|(type_id, _)| !recipe.is_excluded(type_id));
                self.contained.entry(self.meant(self.token(at))).or_insert(stays.then_some(place));
            }
            place += 1;
            item = value.next as usize;
        }
    }

    /// The type that a resource in a resource says it is of, and the state for it.
    pub(super) fn type_of(&self, at: usize) -> Option<(TypeId, StateId)> {
        let token = self.token(self.member(at, self.recipe.names.resource_type)?);
        if token.kind != Kind::Text {
            return None;
        }
        let type_id = self.recipe.definitions.resource_type(&self.meant(token))?;
        Some((type_id, self.recipe.root(type_id)?))
    }

    /// A resource in a resource, by the rules of its own type. `place` is its number among the contained ones.
    pub(super) fn inner_resource(
        &mut self,
        number: StateId,
        at: usize,
        key: Option<Token>,
        place: Option<u32>,
    ) -> Fate {
        let recipe = self.recipe;
        let Some((type_id, state)) = self.type_of(at) else {
            let unknown = Token { name: recipe.names.contained, underscore: false, ..self.token(at) };
            self.undeclared(number, unknown);
            return self.gone(at, Class::UNDECLARED);
        };
        if recipe.is_excluded(type_id) {
            return self.gone(at, Class::EXCLUDED);
        }
        let outer_scope = self.scope;
        let was_nested = std::mem::replace(&mut self.nested, true);
        self.scope = match place {
            // References in a contained resource are to its siblings.
            Some(_) => Scope { type_id, place, ..outer_scope },
            None => self.scope_of(type_id, at, None),
        };
        let fate = self.object(state, at, key, None);
        self.scope = outer_scope;
        self.nested = was_nested;
        fate
    }
}

/// A part of a web address without its `%XX` (RFC 3986, 2.1).
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return text.into();
    }
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        match (first, digit(behind.first()), digit(behind.get(1))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = behind.get(2..).unwrap_or_default();
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).map_or(text.into(), Cow::Owned)
}

/// R4, datatypes.html#id.
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}
