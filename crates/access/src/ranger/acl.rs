//! Who may do what with a resource, for askers that keep such lists: users, groups and roles by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::definition::Definition;
use super::engine::Engine;
use super::model::{DataMaskInfo, PolicyType};
use super::policy::{ADMIN, Compiled, Item, PUBLIC};
use super::request::{MatchType, MatchingScope, Request, Resource};
use super::resource::View;
use super::script::Scene;

/// What the policies come to for somebody and one access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclAccess {
    Denied,
    Allowed,
    /// It hangs on conditions, on the time or on who asks.
    Conditional,
}

/// An access of somebody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessAcl {
    pub access: AclAccess,
    /// No other policy, of the service's or another's, can change it.
    pub is_final: bool,
    /// The policy that it came from first.
    pub policy_id: i64,
}

/// A mask and for whom it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskAcl {
    pub users: BTreeSet<String>,
    pub groups: BTreeSet<String>,
    pub roles: BTreeSet<String>,
    pub access_types: BTreeSet<String>,
    pub mask: DataMaskInfo,
    pub is_conditional: bool,
    pub policy_id: i64,
}

/// A row filter and for whom it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFilterAcl {
    pub users: BTreeSet<String>,
    pub groups: BTreeSet<String>,
    pub roles: BTreeSet<String>,
    pub access_types: BTreeSet<String>,
    /// As the policy has it: expressions in it are left as they are.
    pub filter_expr: String,
    pub is_conditional: bool,
    pub policy_id: i64,
}

type Acls = BTreeMap<String, BTreeMap<String, AccessAcl>>;

/// All that the policies say about a resource: accesses by name and access type, masks and filters in the order in
/// which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceAcls {
    pub users: Acls,
    pub groups: Acls,
    pub roles: Acls,
    pub data_masks: Vec<MaskAcl>,
    pub row_filters: Vec<RowFilterAcl>,
}

/// A policy that is for the resource.
struct Found<'s> {
    policy: &'s Arc<Compiled>,
    lies: MatchType,
    conditional: bool,
}

impl Engine {
    /// Who may do what with the resource, at whatever time.
    pub fn resource_acls(&self, resource: &Resource, scope: MatchingScope) -> ResourceAcls {
        let request = Request { resource: resource.clone(), matching_scope: scope, ..Request::default() };
        self.scene(&request, true, |scene, view, _| {
            let mut acls = ResourceAcls::default();
            for (_, found) in self.found(scene, view, PolicyType::Access) {
                for found in &found {
                    acls.add(found, &self.definition);
                }
                // What comes after is of a lower priority.
                acls.finish();
            }
            for (_, found) in self.found(scene, view, PolicyType::DataMask) {
                for found in found {
                    acls.data_masks.extend(found.policy.allow.iter().filter_map(|item| mask(item, &found)));
                }
            }
            for (_, found) in self.found(scene, view, PolicyType::RowFilter) {
                for found in found {
                    acls.row_filters.extend(found.policy.allow.iter().filter_map(|item| filter(item, &found)));
                }
            }
            acls
        })
    }

    /// The policies for the resource, those of one priority together, the highest first.
    fn found<'s>(&'s self, scene: &Scene<'s>, view: &View<'_>, kind: PolicyType) -> Vec<(i64, Vec<Found<'s>>)> {
        let hierarchies = &self.definition.kind(kind).hierarchies;
        let fits = hierarchies.iter().any(|hierarchy| {
            if kind == PolicyType::Access {
                hierarchy.mask & view.mask == view.mask
            } else {
                hierarchy.mask == view.mask
            }
        });
        if !fits {
            return Vec::new();
        }
        let below = scene.request.matching_scope == MatchingScope::SelfOrDescendants;
        let is_match = |lies: MatchType| match lies {
            MatchType::SelfMatch | MatchType::SelfAndAllDescendants => true,
            MatchType::Descendant => below,
            _ => false,
        };
        let mut all: Vec<(Found<'s>, bool)> = Vec::new();
        for (repo, zone, _) in self.repos_of(scene.zones) {
            for (policy, tag) in self.tag_policies_of(scene, kind, zone) {
                let lies = if tag.match_type == MatchType::Ancestor { MatchType::SelfMatch } else { tag.match_type };
                if !is_match(lies) {
                    continue;
                }
                let conditional = !policy.conditions.is_empty() || !policy.schedules.is_empty() || tag.has_periods();
                match all.iter_mut().find(|(found, of_tag)| *of_tag && Arc::ptr_eq(found.policy, policy)) {
                    Some((found, _)) => {
                        found.lies = found.lies.min(tag.match_type);
                        found.conditional |= conditional;
                    }
                    None => all.push((Found { policy, lies: tag.match_type, conditional }, true)),
                }
            }
            let group = repo.group(kind);
            for policy in
                group.find(view, below, self.is_naive()).into_iter().filter_map(|at| group.policies.get(at as usize))
            {
                let mut conditional = !policy.conditions.is_empty() || !policy.schedules.is_empty();
                let mut lies = policy.lies(view, scene);
                if !is_match(lies) {
                    conditional = true;
                    lies = policy
                        .matchers
                        .iter()
                        .filter_map(super::ResourceMatcher::widened)
                        .map(|matcher| matcher.lies(view, scene))
                        .find(|lies| is_match(*lies))
                        .unwrap_or(MatchType::None);
                }
                if is_match(lies) {
                    all.push((Found { policy, lies, conditional }, false));
                }
            }
        }
        all.sort_by(|(left, of_tag), (right, other)| {
            if kind == PolicyType::Access {
                left.policy.before_then(right.policy, left.lies.cmp(&right.lies))
            } else {
                right
                    .policy
                    .priority
                    .cmp(&left.policy.priority)
                    .then(other.cmp(of_tag))
                    .then(left.policy.before(right.policy))
            }
        });
        let mut out: Vec<(i64, Vec<Found<'s>>)> = Vec::new();
        for (found, _) in all {
            let priority = found.policy.priority;
            match out.last_mut() {
                Some((of, list)) if *of == priority => list.push(found),
                _ => out.push((priority, vec![found])),
            }
        }
        out
    }
}

fn names(values: &[Box<str>]) -> BTreeSet<String> {
    values.iter().map(ToString::to_string).filter(|name| name != "{USER}").collect()
}

fn groups(item: &Item) -> BTreeSet<String> {
    let mut out = names(&item.groups);
    if item.for_any_user {
        out.insert(PUBLIC.to_owned());
    }
    out
}

fn accesses(item: &Item) -> BTreeSet<String> {
    item.accesses.iter().map(ToString::to_string).collect()
}

fn mask(item: &Item, found: &Found<'_>) -> Option<MaskAcl> {
    Some(MaskAcl {
        users: names(&item.users),
        groups: groups(item),
        roles: names(&item.roles),
        access_types: accesses(item),
        mask: item.mask.as_ref()?.info.clone(),
        is_conditional: found.conditional || found.policy.doubtful || !item.conditions.is_empty() || item.for_owner,
        policy_id: found.policy.id,
    })
}

fn filter(item: &Item, found: &Found<'_>) -> Option<RowFilterAcl> {
    Some(RowFilterAcl {
        users: names(&item.users),
        groups: groups(item),
        roles: names(&item.roles),
        access_types: accesses(item),
        filter_expr: item.filter_text.clone()?,
        is_conditional: found.conditional || found.policy.doubtful || !item.conditions.is_empty() || item.for_owner,
        policy_id: found.policy.id,
    })
}

/// What one policy says about somebody's access: -1 denied, 0 undetermined, 1 allowed, 2 conditional.
type Sums = BTreeMap<String, BTreeMap<String, i8>>;

const DENIED: i8 = -1;
const OPEN: i8 = 0;
const ALLOWED: i8 = 1;
const CONDITIONAL: i8 = 2;

#[derive(Default)]
struct Summary {
    users: Sums,
    groups: Sums,
    roles: Sums,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    Deny,
    DenyExceptions,
    Allow,
    AllowExceptions,
}

impl Summary {
    fn of(policy: &Compiled, definition: &Definition) -> Self {
        let mut summary = Self::default();
        summary.side(&policy.deny, &policy.deny_exceptions, List::Deny, List::DenyExceptions);
        if !policy.doubtful {
            summary.side(&policy.allow, &policy.allow_exceptions, List::Allow, List::AllowExceptions);
        }
        summary.close(policy.deny_all_else, definition);
        summary
    }

    /// Items and their exceptions. Exceptions that hang on more than names make what the items say conditional.
    fn side(&mut self, items: &[Item], exceptions: &[Item], list: List, of_exceptions: List) {
        let hangs = exceptions.iter().any(|item| {
            !item.conditions.is_empty() || item.for_owner || item.groups.iter().any(|group| group.as_ref() != PUBLIC)
        });
        let everybody = |items: &[Item]| items.iter().any(|item| item.for_all || item.for_any_user);
        let somebody = exceptions.iter().any(|item| !item.users.is_empty() || !item.roles.is_empty());
        let unclear = hangs || (everybody(items) && somebody && !everybody(exceptions));
        for item in items {
            self.item(item, list, unclear || !item.conditions.is_empty());
        }
        if !unclear {
            for item in exceptions {
                self.item(item, of_exceptions, false);
            }
        }
    }

    fn item(&mut self, item: &Item, list: List, conditional: bool) {
        let value = match (conditional, list) {
            (true, _) => CONDITIONAL,
            (false, List::Deny | List::AllowExceptions) => DENIED,
            (false, List::Allow | List::DenyExceptions) => ALLOWED,
        };
        let mut accesses: Vec<&str> = item.accesses.iter().map(AsRef::as_ref).collect();
        if item.delegate_admin {
            accesses.push(ADMIN);
        }
        for access in accesses {
            for user in item.users.iter().filter(|user| user.as_ref() != "{USER}") {
                add(&mut self.users, user, access, value, list);
            }
            for group in groups(item) {
                add(&mut self.groups, &group, access, value, list);
            }
            for role in &item.roles {
                add(&mut self.roles, role, access, value, list);
            }
        }
    }

    fn close(&mut self, deny_all_else: bool, definition: &Definition) {
        let public = self.groups.get(PUBLIC).cloned().unwrap_or_default();
        for (access, value) in public.iter().filter(|(_, value)| matches!(**value, DENIED | ALLOWED)) {
            for sums in [&mut self.users, &mut self.groups, &mut self.roles] {
                for (name, of) in sums.iter_mut() {
                    // What everybody may not, nobody may; what everybody may, those may who are not denied it.
                    let own = of.get(access).copied();
                    if name != PUBLIC && (*value == DENIED || own != Some(DENIED)) {
                        of.remove(access);
                    }
                }
            }
        }
        if !deny_all_else {
            return;
        }
        let all = definition.access_types.iter().filter(|access| access.as_ref() != "all");
        for access in all {
            let mut everybody = true;
            for (sums, public) in [(&mut self.users, false), (&mut self.groups, true), (&mut self.roles, false)] {
                for (_, of) in sums.iter_mut().filter(|(name, _)| !public || *name != PUBLIC) {
                    let value = of.entry(access.to_string()).or_insert(DENIED);
                    if *value == OPEN {
                        *value = DENIED;
                    }
                    everybody &= *value == DENIED;
                }
            }
            let public = self.groups.entry(PUBLIC.to_owned()).or_default();
            let value = public.entry(access.to_string()).or_insert(OPEN);
            if *value == OPEN {
                *value = if everybody { DENIED } else { CONDITIONAL };
            }
        }
    }
}

fn add(sums: &mut Sums, name: &str, access: &str, value: i8, list: List) {
    let grants = matches!(list, List::Deny | List::Allow);
    // An exception alone says nothing, but names somebody.
    let of = sums.entry(name.to_owned()).or_default();
    if !grants && !of.contains_key(access) {
        return;
    }
    let Some(old) = of.get_mut(access) else {
        of.insert(access.to_owned(), value);
        return;
    };
    *old = match (value, *old, list) {
        (DENIED, CONDITIONAL, _) => DENIED,
        (DENIED, old, List::Deny) => (old - 1).max(DENIED),
        (ALLOWED, CONDITIONAL, List::Allow) => ALLOWED,
        (ALLOWED, old, List::Allow) => (old + 1).min(ALLOWED),
        (DENIED, ALLOWED, _) | (ALLOWED, DENIED, _) => OPEN,
        (ALLOWED, CONDITIONAL, _) | (CONDITIONAL, OPEN, _) => CONDITIONAL,
        (_, old, _) => old,
    };
}

impl ResourceAcls {
    fn add(&mut self, found: &Found<'_>, definition: &Definition) {
        let summary = Summary::of(found.policy, definition);
        for (sums, acls) in
            [(&summary.users, &mut self.users), (&summary.groups, &mut self.groups), (&summary.roles, &mut self.roles)]
        {
            for (name, of) in sums {
                for (access, value) in of {
                    let access_is = match *value {
                        _ if found.conditional => AclAccess::Conditional,
                        CONDITIONAL => AclAccess::Conditional,
                        ALLOWED => AclAccess::Allowed,
                        _ => AclAccess::Denied,
                    };
                    let known = acls.entry(name.clone()).or_default().entry(access.clone()).or_insert(AccessAcl {
                        access: access_is,
                        is_final: false,
                        policy_id: found.policy.id,
                    });
                    if !known.is_final {
                        known.access = access_is;
                        known.is_final = access_is == AclAccess::Denied;
                    }
                }
            }
        }
    }

    /// What everybody may or may not stands for all whose own is not settled.
    fn finish(&mut self) {
        let public = self.groups.get(PUBLIC).cloned().unwrap_or_default();
        for acls in [&mut self.users, &mut self.groups, &mut self.roles] {
            for (name, of) in acls.iter_mut() {
                if name != PUBLIC {
                    of.retain(|access, acl| {
                        let settled = public.get(access).is_some_and(|public| public.access != AclAccess::Conditional);
                        acl.is_final || !settled
                    });
                }
                for acl in of.values_mut() {
                    acl.is_final = true;
                }
            }
            acls.retain(|_, of| !of.is_empty());
        }
    }
}
