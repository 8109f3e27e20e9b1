//! Identifiers by their system and extensions by their address: what the policy does not list goes.

use cordon_formats::fhir::{Json, Kind, Token, TypeId};
use cordon_phi::IdentifierKind;
use hashbrown::HashMap;

use super::super::output::FailureReason;
use super::super::plan::{Key, Op};
use super::super::recipe::{Act, Entry, ExtensionRule, Gathered, IdentifierAct, Settled, StateId};
use super::{Fate, Walk, fits, is_value, outer, span_of};
use crate::policy::file::Action;
use crate::tally::{Class, Values};

impl<'a> Walk<'a> {
    /// An identifier stays when its system is listed, and only with its value.
    /// `None` when it is not listed.
    pub(super) fn identifier(
        &mut self,
        state: StateId,
        at: usize,
        key: Option<Token>,
        named: Option<TypeId>,
    ) -> Option<Fate> {
        let recipe = self.recipe;
        let state_ref = recipe.states.get(state as usize)?;
        let system =
            self.member(at, recipe.names.system).map(|at| self.token(at)).filter(|token| token.kind == Kind::Text);
        let rule = system.and_then(|token| recipe.identifiers.get(&*self.meant(token)));
        let settled = match rule.map(|rule| rule.settled) {
            None => return None,
            Some(IdentifierAct::Settled(settled)) => settled,
            Some(IdentifierAct::AsId) => named.map_or(Settled::Drop, |named| recipe.id_rule(named)),
        };
        let class = rule.map_or(Class::UNDECLARED, |rule| rule.class);
        let mark = self.mark();
        self.ops.push(Op::Open { key: key.map_or_else(Key::default, Key::of), array: false, aligned: false });
        let end = self.token(at).next as usize;
        let (mut whole, mut content) = (true, false);
        let mut member = at + 1;
        while member < end {
            let key = self.token(member);
            let value = self.token(member + 1);
            let found = state_ref.find(key.name);
            let fate = match found {
                Some(found) if found.act == Act::IdentifierValue && !key.underscore => match (settled, value.kind) {
                    (Settled::Gather(column), Kind::Text) => {
                        self.slot(Key::of(key), column, Some(Json::Text), value, class);
                        content = true;
                        Fate::Partly
                    }
                    (Settled::Keep, Kind::Text) => {
                        let (start, end) = span_of(key, value);
                        self.keep(start, end, 0, false);
                        self.stays(value, class);
                        content = true;
                        member = value.next as usize;
                        continue;
                    }
                    _ => self.gone(member + 1, class.dropped()),
                },
                Some(found) if self.guarded(found, at) => self.gone(member + 1, found.class.left_empty()),
                Some(found)
                    if found.json.is_some() && matches!(found.act, Act::Keep | Act::Label) && !key.underscore =>
                {
                    if fits(found.json, value.kind) && self.formed(found.form, value, at) {
                        // Its use and system are nothing without its value.
                        let (start, end) = span_of(key, value);
                        self.keep(start, end, u32::from(is_value(&value)), true);
                        member = value.next as usize;
                        continue;
                    }
                    self.undeclared(state, key);
                    self.gone(member + 1, Class::UNDECLARED)
                }
                Some(found) if key.underscore => self.extended(state, found, key, member + 1),
                Some(found) => self.element(state, found, key, member + 1, at, None),
                None => {
                    self.undeclared(state, key);
                    self.gone(member + 1, Class::UNDECLARED)
                }
            };
            match fate {
                Fate::Whole => {
                    let (start, end) = span_of(key, value);
                    self.keep(start, end, 0, true);
                }
                Fate::Partly | Fate::Gone => whole = false,
            }
            member = value.next as usize;
        }
        let fate = match (content, whole) {
            (false, _) => Fate::Gone,
            (true, true) => Fate::Whole,
            (true, false) => Fate::Partly,
        };
        Some(self.end(mark, fate))
    }

    /// `_name`: the extensions of a single value, or of each of many.
    pub(super) fn extended(&mut self, number: StateId, found: &Entry, key: Token, at: usize) -> Fate {
        let value = self.token(at);
        let expected = if found.many { Kind::Array } else { Kind::Object };
        if found.json.is_none() || value.kind != expected {
            self.undeclared(number, key);
            return self.gone(at, Class::UNDECLARED);
        }
        if !found.many {
            return self.object(self.recipe.element, at, Some(key), None);
        }
        let mark = self.mark();
        self.ops.push(Op::Open { key: Key::of(key), array: true, aligned: true });
        let (mut whole, mut content) = (true, false);
        let mut item = at + 1;
        while item < value.next as usize {
            let one = self.token(item);
            let fate = match one.kind {
                Kind::Object => self.object(self.recipe.element, item, None, None),
                _ => self.gone(item, Class::UNDECLARED),
            };
            match fate {
                Fate::Whole => {
                    let (start, end) = outer(one);
                    self.keep(start, end, 0, false);
                    content = true;
                }
                Fate::Partly => (whole, content) = (false, true),
                Fate::Gone => {
                    whole = whole && one.kind == Kind::Null;
                    self.ops.push(Op::Null);
                }
            }
            item = one.next as usize;
        }
        let fate = match (whole, content) {
            (_, false) => Fate::Gone,
            (true, true) => Fate::Whole,
            (false, true) => Fate::Partly,
        };
        self.end(mark, fate)
    }

    /// Extensions by their `url`; `within` lists those that an extension may have inside.
    pub(super) fn extensions(
        &mut self,
        number: StateId,
        at: usize,
        key: Token,
        within: Option<&'a HashMap<Box<str>, u16>>,
        modifier: bool,
    ) -> Fate {
        let recipe = self.recipe;
        let array = self.token(at);
        let mark = self.mark();
        self.ops.push(Op::Open { key: Key::of(key), array: true, aligned: false });
        let (mut whole, mut content) = (true, false);
        let mut item = at + 1;
        while item < array.next as usize {
            let value = self.token(item);
            let url = (value.kind == Kind::Object)
                .then(|| self.member(item, recipe.names.url))
                .flatten()
                .map(|at| self.token(at))
                .filter(|token| token.kind == Kind::Text);
            let rule = url.and_then(|token| within.unwrap_or(&recipe.extensions).get(&*self.meant(token))).copied();
            let fate = if let Some(rule) = rule {
                self.extension(rule, item)
            } else {
                self.unlisted(number, key.name);
                if modifier && recipe.modifier_fails {
                    let path = recipe.element_path(number, key.name, false);
                    self.fail(path, FailureReason::ModifierExtension);
                }
                self.gone(item, Class::UNDECLARED)
            };
            match fate {
                Fate::Whole => {
                    let (start, end) = outer(value);
                    self.keep(start, end, 0, false);
                    content = true;
                }
                Fate::Partly => (whole, content) = (false, true),
                Fate::Gone => whole = false,
            }
            item = value.next as usize;
        }
        let fate = match (whole, content) {
            (_, false) => Fate::Gone,
            (true, true) => Fate::Whole,
            (false, true) => Fate::Partly,
        };
        self.end(mark, fate)
    }

    fn extension(&mut self, rule: u16, at: usize) -> Fate {
        let recipe = self.recipe;
        let number = recipe.extension;
        let (Some(rule), Some(state)) =
            (recipe.extension_rules.get(usize::from(rule)), recipe.states.get(number as usize))
        else {
            return self.gone(at, Class::UNDECLARED);
        };
        let mark = self.mark();
        self.ops.push(Op::Open { key: Key::default(), array: false, aligned: false });
        let end = self.token(at).next as usize;
        let (mut whole, mut content) = (true, false);
        let mut member = at + 1;
        while member < end {
            let key = self.token(member);
            let value = self.token(member + 1);
            let fate = match state.find(key.name) {
                None => {
                    self.undeclared(number, key);
                    self.gone(member + 1, Class::UNDECLARED)
                }
                Some(found) if key.underscore => self.extended(number, found, key, member + 1),
                Some(found) if found.act == Act::Label => {
                    let (start, end) = span_of(key, value);
                    let values = self.values_in(member + 1, Class::STRUCTURE);
                    self.keep(start, end, values.count, true);
                    member = value.next as usize;
                    continue;
                }
                Some(_) if key.name == recipe.names.extension && value.kind == Kind::Array => {
                    self.extensions(number, member + 1, key, Some(&rule.parts), false)
                }
                // Its id.
                Some(found) if found.json.is_some() && key.name == recipe.names.id => {
                    self.gone(member + 1, Class::of(IdentifierKind::UniqueId, Action::Drop))
                }
                Some(_) if rule.settled == Settled::Drop => self.gone(member + 1, rule.class.dropped()),
                Some(found) if found.json.is_some() && fits(found.json, value.kind) => {
                    self.extension_value(rule, found, key, value)
                }
                Some(found) => self.element(number, found, key, member + 1, at, None),
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
            member = value.next as usize;
        }
        let fate = match (whole, content) {
            (_, false) => Fate::Gone,
            (true, true) => Fate::Whole,
            (false, true) => Fate::Partly,
        };
        self.end(mark, fate)
    }

    /// A single value of an extension, by the extension's rule. Which type it has is known only here: a rule that means to
    /// keep a code does not keep the text or the date that stands in its place.
    fn extension_value(&mut self, rule: &ExtensionRule, found: &Entry, key: Token, value: Token) -> Fate {
        let fate = match (rule.settled, found.act) {
            (Settled::Drop, _) => Fate::Gone,
            (Settled::Keep, Act::Keep) => return self.stays(value, rule.class),
            (Settled::Gather(column), _) if rule.of_any_type || found.act == Act::Keep => {
                self.extension_slot(column, found, key, value, rule.class)
            }
            (_, Act::Gather(column)) => self.extension_slot(column, found, key, value, found.class),
            _ => Fate::Gone,
        };
        if fate == Fate::Gone {
            let class = rule.class.left_empty();
            self.told.push(Values { class, count: u32::from(is_value(&value)) });
        }
        fate
    }

    fn extension_slot(&mut self, column: Gathered, found: &Entry, key: Token, value: Token, class: Class) -> Fate {
        let numbers = self.recipe.kernels.get(usize::from(column)).is_some_and(|rule| rule.gives_numbers);
        if found.json != Some(Json::Text) && !(found.json == Some(Json::Number) && numbers) {
            return Fate::Gone;
        }
        self.slot(Key::of(key), column, found.json, value, class);
        Fate::Partly
    }
}
