//! What looks wrong in policies though it can be evaluated: for whoever keeps them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::definition::Definition;
use super::engine::Options;
use super::model::{Policy, PolicyItem, PolicyType, ServiceDef};
use super::policy::{Compiled, Item, PUBLIC};
use super::request::{ItemList, Resource};
use super::resource::View;
use super::{Problem, RangerError};

/// Policies whose resources are many are compared with others by this many combinations of values only.
const MAX_RESOURCES: usize = 256;

/// What is wrong with the policies, in their order: what cannot be read, what can never come to effect and what is
/// likely not meant. Schedules that have ended are told where `now` is given, in milliseconds since 1970.
pub fn lint(
    policies: &[Policy],
    service_def: &ServiceDef,
    now: Option<i64>,
    options: &Options,
) -> Result<Vec<Problem>, RangerError> {
    let definition = Arc::new(Definition::new(service_def)?);
    let mut problems = Vec::new();
    let mut compiled: Vec<(&Policy, Compiled)> = Vec::new();
    let mut names: BTreeMap<&str, i64> = BTreeMap::new();
    let mut ids: BTreeSet<i64> = BTreeSet::new();
    for policy in policies {
        let mut tell = |field: &str, what: String| {
            problems.push(Problem { policy_id: policy.id, policy: policy.name.clone(), field: field.to_owned(), what });
        };
        if let Some(other) = names.insert(&policy.name, policy.id) {
            tell("name", format!("policy {other} has the same"));
        }
        if !ids.insert(policy.id) {
            tell("id", "another policy has the same".to_owned());
        }
        if !policy.is_enabled {
            continue;
        }
        one(policy, service_def, &definition, &mut tell);
        let ready = Compiled::new(policy, &definition, None, options, &mut problems);
        if let Some(ready) = ready {
            let ended = |end: Option<i64>| end.zip(now).is_some_and(|(end, now)| end < now);
            if !ready.schedules.is_empty() && ready.schedules.iter().all(|schedule| ended(schedule.end())) {
                problems.push(problem(policy, "validitySchedules", "all have ended".to_owned()));
            }
            within(policy, &ready, &mut problems);
            compiled.push((policy, ready));
        }
    }
    across(&compiled, &definition, &mut problems);
    Ok(problems)
}

fn problem(policy: &Policy, field: &str, what: String) -> Problem {
    Problem { policy_id: policy.id, policy: policy.name.clone(), field: field.to_owned(), what }
}

fn lists(policy: &Policy) -> [(ItemList, &Vec<PolicyItem>); 6] {
    [
        (ItemList::Allow, &policy.policy_items),
        (ItemList::Deny, &policy.deny_policy_items),
        (ItemList::AllowExceptions, &policy.allow_exceptions),
        (ItemList::DenyExceptions, &policy.deny_exceptions),
        (ItemList::DataMask, &policy.data_mask_policy_items),
        (ItemList::RowFilter, &policy.row_filter_policy_items),
    ]
}

/// Faults that one policy shows by itself, in its record.
fn one(policy: &Policy, def: &ServiceDef, definition: &Definition, tell: &mut dyn FnMut(&str, String)) {
    let kind = policy.kind();
    let used = |list: ItemList| match kind {
        Some(PolicyType::DataMask) => list == ItemList::DataMask,
        Some(PolicyType::RowFilter) => list == ItemList::RowFilter,
        _ => !matches!(list, ItemList::DataMask | ItemList::RowFilter),
    };
    let mut any = policy.is_deny_all_else;
    for (list, items) in lists(policy) {
        let field = list.field();
        if items.is_empty() {
            continue;
        }
        if !used(list) {
            tell(field, "are not looked at in a policy of this type".to_owned());
            continue;
        }
        any = true;
        if !definition.denies && list != ItemList::Allow && kind == Some(PolicyType::Access) {
            tell(field, "are not looked at: the service definition has denials switched off".to_owned());
        }
        for (index, item) in items.iter().enumerate() {
            let at = format!("{field}[{index}]");
            if item.users.is_empty() && item.groups.is_empty() && item.roles.is_empty() {
                tell(&at, "names nobody".to_owned());
            }
            if item.accesses.iter().all(|access| !access.is_allowed) && !item.delegate_admin {
                tell(&at, "names no access".to_owned());
            }
            for access in item.accesses.iter().filter(|access| !definition.knows_access(&access.access_type)) {
                tell(
                    &format!("{at}.accesses"),
                    format!("the service definition has no access `{}`", access.access_type),
                );
            }
            let mask = item.data_mask_info.as_ref().map(|mask| mask.data_mask_type.as_str());
            match (list, mask, &definition.mask_types) {
                (ItemList::DataMask, None, _) => tell(&at, "has no mask".to_owned()),
                (ItemList::DataMask, Some(mask), Some(types)) if !types.iter().any(|known| known == mask) => {
                    tell(&format!("{at}.dataMaskInfo"), format!("the service definition has no mask `{mask}`"));
                }
                _ => {}
            }
            if list == ItemList::RowFilter && item.filter_expr.as_deref().is_none_or(|filter| filter.trim().is_empty())
            {
                tell(&at, "has no filter".to_owned());
            }
        }
    }
    if !any && !policy.is_audit_enabled {
        tell("policyItems", "there are none, and the policy is not audited: it does nothing".to_owned());
    }
    for (name, resource) in policy.resources.iter().chain(policy.additional_resources.iter().flatten()) {
        let level = def.resources.iter().find(|level| level.name == *name);
        if resource.is_excludes && level.is_some_and(|level| level.excludes_supported == Some(false)) {
            tell(&format!("resources.{name}"), "excludes, which the service definition does not support".to_owned());
        }
        if resource.is_recursive && level.is_some_and(|level| level.recursive_supported == Some(false)) {
            tell(
                &format!("resources.{name}"),
                "is recursive, which the service definition does not support".to_owned(),
            );
        }
        if resource.values.iter().all(String::is_empty) {
            tell(&format!("resources.{name}"), "has no value, which matches everything".to_owned());
        }
    }
}

/// True where the item is for everybody, whatever the conditions.
fn for_everybody(item: &Item) -> bool {
    (item.for_all || item.for_any_user) && item.conditions.is_empty()
}

/// Items that others of the same policy leave nothing to.
fn within(policy: &Policy, ready: &Compiled, problems: &mut Vec<Problem>) {
    if ready.kind != PolicyType::Access {
        for (index, item) in ready.allow.iter().enumerate() {
            let before = ready.allow.get(..index).unwrap_or(&[]);
            let covered = item
                .accesses
                .iter()
                .all(|access| before.iter().any(|other| for_everybody(other) && other.what(access)));
            if covered && !item.accesses.is_empty() {
                problems.push(problem(
                    policy,
                    &format!("{}[{index}]", item.at.list.field()),
                    "is never reached: items before it are for everybody".to_owned(),
                ));
            }
        }
        return;
    }
    for item in ready.deny.iter().filter(|item| for_everybody(item)) {
        if ready.deny_exceptions.is_empty() {
            problems.push(problem(
                policy,
                &format!("{}[{}]", item.at.list.field(), item.at.index),
                format!("denies `{PUBLIC}` without an exception, administrators among them"),
            ));
        }
    }
    for item in &ready.allow {
        if !item.accesses.is_empty() && blocked(ready, item) {
            problems.push(problem(
                policy,
                &format!("{}[{}]", item.at.list.field(), item.at.index),
                "is never reached: the policy denies the same to everybody".to_owned(),
            ));
        }
    }
}

/// True where the policy denies everybody, without exception, all that the item allows.
fn blocked(by: &Compiled, item: &Item) -> bool {
    by.conditions.is_empty()
        && by.schedules.is_empty()
        && by.deny_exceptions.is_empty()
        && item.accesses.iter().all(|access| by.deny.iter().any(|deny| for_everybody(deny) && deny.what(access)))
}

/// The policy's resources as requests would name them, unless there are too many.
fn resources(policy: &Policy) -> Option<Vec<Resource>> {
    let mut out = Vec::new();
    for levels in std::iter::once(&policy.resources).chain(&policy.additional_resources) {
        let mut all = vec![Resource::default()];
        for (name, level) in levels {
            if level.is_excludes || all.len() * level.values.len() > MAX_RESOURCES {
                return None;
            }
            all = all
                .iter()
                .flat_map(|resource| {
                    level.values.iter().map(|value| {
                        let mut resource = resource.clone();
                        resource.elements.push((name.clone(), vec![value.clone()]));
                        resource
                    })
                })
                .collect();
        }
        out.extend(all);
    }
    Some(out)
}

/// Policies that others, of the same priority or a higher one, leave nothing to allow.
fn across(compiled: &[(&Policy, Compiled)], definition: &Definition, problems: &mut Vec<Problem>) {
    let blocking: Vec<&Compiled> = compiled
        .iter()
        .map(|(_, ready)| ready)
        .filter(|ready| ready.kind == PolicyType::Access && !ready.is_dynamic() && ready.deny.iter().any(for_everybody))
        .collect();
    if blocking.is_empty() {
        return;
    }
    let nothing: BTreeMap<String, String> = BTreeMap::new();
    for (policy, ready) in compiled {
        if ready.kind != PolicyType::Access || ready.allow.is_empty() || ready.is_dynamic() {
            continue;
        }
        let Some(resources) = resources(policy) else { continue };
        let over = blocking.iter().find(|other| {
            other.id != ready.id
                && other.zone == ready.zone
                && other.priority >= ready.priority
                && ready.allow.iter().all(|item| blocked(other, item))
                && resources.iter().all(|resource| {
                    let view = View::of(definition, resource);
                    other.matchers.iter().any(|matcher| matcher.mask() == view.mask && matcher.covers(&view, &nothing))
                })
        });
        if let Some(other) = over {
            problems.push(problem(
                policy,
                "policyItems",
                format!("are never reached: policy {} denies the same to everybody", other.id),
            ));
        }
    }
}
