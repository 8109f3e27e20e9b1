//! A policy's resource against the one that is asked for, over all levels.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::RangerError;
use super::definition::{Definition, Hierarchy, Kind, UNKNOWN};
use super::matcher::{ElementMatcher, Tokens};
use super::model::{PolicyResource, PolicyResources, PolicyType};
use super::request::{ElementScope, MatchType, MatchingScope, Resource};

/// A resource by the numbers of its levels.
#[derive(Debug, Default)]
pub(crate) struct View<'r> {
    pub(crate) values: Vec<Option<&'r [String]>>,
    pub(crate) scopes: Vec<(u8, ElementScope)>,
    pub(crate) mask: u64,
}

impl<'r> View<'r> {
    pub(crate) fn of(definition: &Definition, resource: &'r Resource) -> Self {
        let mut view = Self { values: vec![None; definition.levels.len()], scopes: Vec::new(), mask: 0 };
        for (name, values) in &resource.elements {
            match definition.level(name) {
                Some(level) => {
                    view.mask |= 1 << level;
                    if let Some(slot) = view.values.get_mut(usize::from(level)) {
                        *slot = Some(values);
                    }
                }
                None => view.mask |= UNKNOWN,
            }
        }
        view
    }

    pub(crate) fn scoped(mut self, definition: &Definition, scopes: &[(String, ElementScope)]) -> Self {
        self.scopes = scopes.iter().filter_map(|(name, scope)| Some((definition.level(name)?, *scope))).collect();
        self
    }

    pub(crate) fn value(&self, level: u8) -> Option<&'r [String]> {
        self.values.get(usize::from(level)).copied().flatten()
    }

    pub(crate) fn scope(&self, level: u8) -> ElementScope {
        self.scopes.iter().find(|(of, _)| *of == level).map_or(ElementScope::SelfOnly, |(_, scope)| *scope)
    }
}

/// A policy's resource, ready to be compared.
#[derive(Clone, Debug)]
pub struct ResourceMatcher {
    definition: Arc<Definition>,
    kind: PolicyType,
    levels: Vec<(u8, ElementMatcher)>,
    mask: u64,
    count: usize,
    /// The one hierarchy the levels can belong to.
    valid: Option<usize>,
}

impl ResourceMatcher {
    /// A resource whose levels do not follow one another in the definition is an error.
    pub fn new(
        definition: &Arc<Definition>,
        kind: PolicyType,
        resources: &PolicyResources,
    ) -> Result<Self, RangerError> {
        let mut levels = Vec::new();
        let mut mask = 0;
        let of_kind = definition.kind(kind);
        for (name, resource) in resources {
            let level = definition.level(name).and_then(|id| Some((id, of_kind.level(id)?)));
            let Some((id, level)) = level else {
                return Err(RangerError::new(format!("resources.{name}"), "the service definition has no such level"));
            };
            levels.push((id, ElementMatcher::with(&level.options, resource)));
            mask |= 1 << id;
        }
        let fitting: Vec<usize> = of_kind
            .hierarchies
            .iter()
            .enumerate()
            .filter(|(_, hierarchy)| hierarchy.mask & mask == mask && hierarchy.starts_with(mask))
            .map(|(index, _)| index)
            .collect();
        if fitting.is_empty() {
            return Err(RangerError::new(
                "resources",
                "the levels do not follow one another in the service definition",
            ));
        }
        let valid = match fitting.as_slice() {
            [only] => Some(*only),
            _ => None,
        };
        Ok(Self { definition: Arc::clone(definition), kind, count: levels.len(), levels, mask, valid })
    }

    pub(crate) fn definition(&self) -> &Definition {
        &self.definition
    }

    fn of_kind(&self) -> &Kind {
        self.definition.kind(self.kind)
    }

    pub(crate) fn level(&self, id: u8) -> Option<&ElementMatcher> {
        self.levels.iter().find(|(level, _)| *level == id).map(|(_, matcher)| matcher)
    }

    pub(crate) fn mask(&self) -> u64 {
        self.mask
    }

    /// The levels in the order in which an index takes them.
    pub(crate) fn path(&self) -> Vec<(u8, &ElementMatcher)> {
        let Some(hierarchy) = self.of_kind().shortest(self.mask) else { return Vec::new() };
        hierarchy.levels.iter().filter_map(|level| Some((*level, self.level(*level)?))).collect()
    }

    pub(crate) fn is_dynamic(&self) -> bool {
        self.levels.iter().any(|(_, matcher)| matcher.is_dynamic())
    }

    /// True where an expression among the values cannot be read.
    pub(crate) fn is_broken(&self) -> bool {
        self.levels.iter().any(|(_, matcher)| matcher.is_broken())
    }

    /// The same with `*` for whatever depends on the request; none where nothing does.
    pub(crate) fn widened(&self) -> Option<Self> {
        let mut widened = self.clone();
        let mut changed = false;
        for (_, matcher) in &mut widened.levels {
            if let Some(wide) = matcher.widened() {
                *matcher = wide;
                changed = true;
            }
        }
        changed.then_some(widened)
    }

    /// How the policy's resource lies to this one. `tokens` are named as in Ranger, `token:USER`.
    pub fn match_type(&self, resource: &Resource, tokens: &BTreeMap<String, String>) -> MatchType {
        self.lies(&View::of(&self.definition, resource), tokens)
    }

    fn hierarchy(&self, resource: u64) -> Option<&Hierarchy> {
        let kind = self.of_kind();
        let valid = self.valid.and_then(|at| kind.hierarchies.get(at));
        if resource == 0 {
            return valid.or_else(|| kind.shortest(self.mask));
        }
        if resource & UNKNOWN != 0 {
            return None;
        }
        let found = match valid {
            Some(valid) => Some(valid).filter(|valid| valid.mask & resource == resource),
            None if self.mask & resource == resource => kind.shortest(self.mask),
            None if resource & self.mask == self.mask => kind.shortest(resource),
            None => None,
        };
        found.filter(|hierarchy| hierarchy.starts_with(resource))
    }

    pub(crate) fn lies(&self, view: &View<'_>, tokens: &dyn Tokens) -> MatchType {
        if self.levels.is_empty() {
            return if view.mask == 0 { MatchType::SelfMatch } else { MatchType::None };
        }
        let Some(hierarchy) = self.hierarchy(view.mask) else { return MatchType::None };
        let mut last = -1;
        for (index, level) in hierarchy.levels.iter().enumerate() {
            match self.level(*level) {
                Some(matcher) if !matcher.is_match_any() => last = index as i64,
                Some(_) => {}
                None => break,
            }
        }
        let keys = i64::from(view.mask.count_ones());
        let mut lies = if keys == 0 { MatchType::SelfMatch } else { MatchType::None };
        for level in &hierarchy.levels {
            let value = view.value(*level);
            let Some(matcher) = self.level(*level) else {
                if value.is_some() {
                    lies = MatchType::Ancestor;
                }
                break;
            };
            let matched = match value {
                Some(values) => matcher.matches(values, view.scope(*level), tokens),
                None if matcher.is_match_any() => matcher.matches_one("", ElementScope::SelfOnly, tokens),
                None => continue,
            };
            if !matched {
                lies = MatchType::None;
                break;
            }
            lies = MatchType::SelfMatch;
        }
        if lies == MatchType::SelfMatch && keys < self.count as i64 {
            lies = if keys > last { MatchType::SelfAndAllDescendants } else { MatchType::Descendant };
        }
        lies
    }

    /// Whether the resource is one of the policy's, level by level: for delegated administration and the like.
    pub(crate) fn covers(&self, view: &View<'_>, tokens: &dyn Tokens) -> bool {
        if view.mask & self.mask != view.mask {
            return false;
        }
        self.levels.iter().all(|(level, matcher)| match view.value(*level) {
            Some(values) if !values.is_empty() => {
                values.iter().all(|value| matcher.matches_one(value, ElementScope::SelfOnly, tokens))
            }
            _ => matcher.is_match_any(),
        })
    }

    /// How this lies to another policy's resource of the same kind, by the first value of each level that matches.
    pub fn match_type_of_policy(
        &self,
        kind: PolicyType,
        resources: &PolicyResources,
        tokens: &BTreeMap<String, String>,
    ) -> MatchType {
        if kind != self.kind {
            return MatchType::None;
        }
        let mut mask = 0;
        for (name, _) in resources.iter().filter(|(_, values)| !values.values.is_empty()) {
            mask |= self.definition.level(name).map_or(UNKNOWN, |level| 1 << level);
        }
        let Some(hierarchy) =
            self.of_kind().shortest(mask).filter(|hierarchy| mask != 0 && hierarchy.starts_with(mask))
        else {
            return MatchType::None;
        };
        let mut resource = Resource::default();
        let mut lies = MatchType::None;
        for level in &hierarchy.levels {
            let Some(name) = self.definition.levels.get(usize::from(*level)) else { break };
            let Some((_, values)) = resources.iter().find(|(of, _)| **of == **name) else { break };
            let mut found = None;
            for value in &values.values {
                let mut candidate = resource.clone();
                candidate.elements.push((name.to_string(), vec![value.clone()]));
                let at = self.match_type(&candidate, tokens);
                if at != MatchType::None {
                    found = Some((candidate, at));
                    break;
                }
            }
            match found {
                Some((candidate, at)) => (resource, lies) = (candidate, at),
                None => return MatchType::None,
            }
        }
        lies
    }
}

/// Whether a policy that lies so decides on a request of that scope.
pub(crate) fn counts(lies: MatchType, any: bool, scope: MatchingScope, tag: bool) -> bool {
    match lies {
        MatchType::SelfMatch | MatchType::SelfAndAllDescendants => true,
        MatchType::Descendant => any || scope == MatchingScope::SelfOrDescendants,
        MatchType::Ancestor => tag,
        MatchType::None => false,
    }
}

/// A resource as a policy would name it, for zones and tags.
pub(crate) fn plain(elements: &[(String, Vec<String>)], definition: &Definition, kind: PolicyType) -> PolicyResources {
    elements
        .iter()
        .map(|(name, values)| {
            let recursive = definition
                .level(name)
                .and_then(|id| definition.kind(kind).level(id))
                .is_some_and(|level| level.def.recursive_supported == Some(true));
            (name.clone(), PolicyResource { values: values.clone(), is_excludes: false, is_recursive: recursive })
        })
        .collect()
}
