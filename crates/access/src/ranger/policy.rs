//! A policy made ready to be asked.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeSet;
use std::sync::Arc;

use super::Problem;
use super::condition::Condition;
use super::definition::Definition;
use super::engine::Options;
use super::expr::Fault;
use super::model::{DataMaskInfo, Policy, PolicyCondition, PolicyItem, PolicyResources, PolicyType};
use super::request::{Item as ItemRef, ItemList, MatchType};
use super::resource::{ResourceMatcher, View};
use super::script::{Scene, Template};
use super::time::Schedule;

/// The group everybody is in.
pub(crate) const PUBLIC: &str = "public";
/// The access of a delegated administrator.
pub(crate) const ADMIN: &str = "_admin";

#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) version: Option<i64>,
    pub(crate) priority: i64,
    pub(crate) kind: PolicyType,
    pub(crate) audited: bool,
    pub(crate) deny_all_else: bool,
    pub(crate) zone: Option<String>,
    /// For the policy's resource and its additional ones.
    pub(crate) matchers: Vec<ResourceMatcher>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) schedules: Vec<Schedule>,
    /// Something of the policy cannot be read: it denies what it can and allows nothing.
    pub(crate) doubtful: bool,
    pub(crate) allow: Vec<Item>,
    pub(crate) deny: Vec<Item>,
    pub(crate) allow_exceptions: Vec<Item>,
    pub(crate) deny_exceptions: Vec<Item>,
    order: i64,
}

#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct Item {
    pub(crate) at: ItemRef,
    /// In lower case, with what they imply, sorted.
    pub(crate) accesses: Vec<Arc<str>>,
    pub(crate) users: Vec<Box<str>>,
    pub(crate) groups: Vec<Box<str>>,
    pub(crate) roles: Vec<Box<str>>,
    pub(crate) for_all: bool,
    pub(crate) for_any_user: bool,
    pub(crate) for_owner: bool,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) delegate_admin: bool,
    pub(crate) mask: Option<Mask>,
    pub(crate) filter: Option<Template>,
    /// As it is written.
    pub(crate) filter_text: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Mask {
    pub(crate) info: DataMaskInfo,
    value: Option<Template>,
}

/// A match, or one that hangs on what cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    No,
    Yes,
    Doubtful,
}

/// What a policy says to one access.
pub(crate) struct Verdict {
    pub(crate) allowed: bool,
    pub(crate) item: ItemRef,
    pub(crate) mask: Option<DataMaskInfo>,
    pub(crate) filter: Option<String>,
}

fn sorted(values: &[String]) -> Vec<Box<str>> {
    let mut out: Vec<Box<str>> = values.iter().map(|value| Box::from(value.as_str())).collect();
    out.sort();
    out.dedup();
    out
}

pub(crate) fn has(sorted: &[Box<str>], value: &str) -> bool {
    sorted.binary_search_by(|probe| probe.as_ref().cmp(value)).is_ok()
}

impl Item {
    fn new(
        item: &PolicyItem,
        at: ItemRef,
        definition: &Definition,
        conditions: Vec<Condition>,
        fault: &mut dyn FnMut(String, String),
    ) -> Self {
        let mut accesses: Vec<Arc<str>> = Vec::new();
        for access in item.accesses.iter().filter(|access| access.is_allowed) {
            let name = access.access_type.to_lowercase();
            accesses.extend(definition.implied(&name).iter().cloned());
            accesses.push(Arc::from(name));
        }
        accesses.sort();
        accesses.dedup();
        let field = format!("{}[{}]", at.list.field(), at.index);
        let mask = item.data_mask_info.as_ref().map(|info| Mask {
            info: info.clone(),
            value: info
                .value_expr
                .as_ref()
                .map(|text| Template::of(text, &mut |what| fault(format!("{field}.dataMaskInfo.valueExpr"), what))),
        });
        let filter = item
            .filter_expr
            .as_ref()
            .map(|text| Template::of(text, &mut |what| fault(format!("{field}.rowFilterInfo.filterExpr"), what)));
        let special = |name: &str| item.users.iter().any(|user| user == name);
        Self {
            at,
            accesses,
            users: sorted(&item.users),
            groups: sorted(&item.groups),
            roles: sorted(&item.roles),
            for_all: item.groups.iter().any(|group| group == PUBLIC),
            for_any_user: special("{USER}"),
            for_owner: special("{OWNER}"),
            conditions,
            delegate_admin: item.delegate_admin,
            mask,
            filter,
            filter_text: item.filter_expr.clone(),
        }
    }

    pub(crate) fn who(&self, scene: &Scene<'_>) -> bool {
        if self.for_all {
            return true;
        }
        if let Some(user) = scene.request.user.as_deref() {
            let owner = self.for_owner && scene.request.resource.owner.as_deref() == Some(user);
            if owner || self.for_any_user || has(&self.users, user) {
                return true;
            }
        }
        scene.groups.iter().any(|group| has(&self.groups, group))
            || scene.roles.iter().any(|role| has(&self.roles, role))
    }

    pub(crate) fn what(&self, access: &str) -> bool {
        if access == ADMIN {
            self.delegate_admin
        } else {
            self.accesses.binary_search_by(|probe| probe.as_ref().cmp(access)).is_ok()
        }
    }

    fn matches(&self, access: &str, scene: &Scene<'_>, policy: &Compiled) -> Match {
        if !self.who(scene) || !self.what(access) {
            return Match::No;
        }
        if access == ADMIN || self.conditions.is_empty() {
            return Match::Yes;
        }
        all_hold(&self.conditions, scene, policy, self.at.list.field(), Some(self.at.index))
    }
}

/// All of the conditions: no where one fails, doubtful where none fails and one cannot be told.
fn all_hold(
    conditions: &[Condition],
    scene: &Scene<'_>,
    policy: &Compiled,
    field: &str,
    index: Option<usize>,
) -> Match {
    let mut all = Match::Yes;
    for condition in conditions {
        let fault = match condition.holds(scene) {
            Ok(true) => continue,
            Ok(false) => return Match::No,
            Err(fault) => fault,
        };
        let (what, thrown) = match fault {
            Fault::Thrown(what) => (what, true),
            Fault::Unsupported(what) => (what, false),
        };
        let field = index.map_or_else(|| field.to_owned(), |index| format!("{field}[{index}].conditions"));
        policy.trouble(scene, field, what);
        // An error of the language itself: the condition fails, as with Ranger.
        if thrown {
            return Match::No;
        }
        all = Match::Doubtful;
    }
    all
}

impl Compiled {
    /// What is wrong with the policy goes to `problems`; one that is switched off or of an unknown type is none at all.
    pub(crate) fn new(
        policy: &Policy,
        definition: &Arc<Definition>,
        resources: Option<&Arc<Definition>>,
        options: &Options,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let mut fault = |field: String, what: String| {
            problems.push(Problem { policy_id: policy.id, policy: policy.name.clone(), field, what });
        };
        let Some(kind) = policy.kind() else {
            fault("policyType".to_owned(), "is unknown".to_owned());
            return None;
        };
        if !policy.is_enabled {
            return None;
        }
        let mut doubtful = false;
        let mut matchers = Vec::new();
        let mut add = |field: &str, resources: &PolicyResources, fault: &mut dyn FnMut(String, String)| {
            match ResourceMatcher::new(definition, kind, resources) {
                Ok(matcher) => {
                    if matcher.is_broken() {
                        fault(field.to_owned(), "an expression cannot be read".to_owned());
                        doubtful = true;
                        matchers.extend(matcher.widened());
                    } else {
                        matchers.push(matcher);
                    }
                }
                Err(error) => fault(error.at.replacen("resources", field, 1), error.what),
            }
        };
        add("resources", &policy.resources, &mut fault);
        for (index, more) in policy.additional_resources.iter().enumerate() {
            add(&format!("additionalResources[{index}]"), more, &mut fault);
        }
        let mut schedules = Vec::new();
        for (index, schedule) in policy.validity_schedules.iter().enumerate() {
            match Schedule::of(schedule, options.time_zone) {
                Ok(schedule) => schedules.push(schedule),
                Err(what) => {
                    fault(format!("validitySchedules[{index}]"), what);
                    doubtful = true;
                }
            }
        }
        // A schedule that cannot be read leaves the policy valid at all times, for what it denies.
        if doubtful {
            schedules.clear();
        }
        let conditions =
            |of: &[PolicyCondition], field: &str, fault: &mut dyn FnMut(String, String)| -> Vec<Condition> {
                of.iter()
                    .enumerate()
                    .map(|(index, condition)| {
                        Condition::new(condition, definition, resources, options, &mut |what| {
                            fault(format!("{field}[{index}]"), what);
                        })
                    })
                    .collect()
            };
        let own = conditions(&policy.conditions, "conditions", &mut fault);
        let mut items = |list: ItemList, of: &[PolicyItem]| -> Vec<Item> {
            of.iter()
                .enumerate()
                .map(|(index, item)| {
                    let field = format!("{}[{index}].conditions", list.field());
                    let conditions = conditions(&item.conditions, &field, &mut fault);
                    Item::new(item, ItemRef { list, index }, definition, conditions, &mut fault)
                })
                .collect()
        };
        let (mut deny, mut allow_exceptions, mut deny_exceptions) = (Vec::new(), Vec::new(), Vec::new());
        let allow = match kind {
            PolicyType::Access => {
                if definition.denies {
                    deny = items(ItemList::Deny, &policy.deny_policy_items);
                    allow_exceptions = items(ItemList::AllowExceptions, &policy.allow_exceptions);
                    deny_exceptions = items(ItemList::DenyExceptions, &policy.deny_exceptions);
                }
                items(ItemList::Allow, &policy.policy_items)
            }
            PolicyType::DataMask => items(ItemList::DataMask, &policy.data_mask_policy_items),
            PolicyType::RowFilter => items(ItemList::RowFilter, &policy.row_filter_policy_items),
        };
        let mut compiled = Self {
            id: policy.id,
            name: policy.name.clone(),
            version: policy.version,
            priority: policy.policy_priority,
            kind,
            audited: policy.is_audit_enabled,
            deny_all_else: policy.is_deny_all_else,
            zone: policy.zone_name.clone(),
            matchers,
            conditions: own,
            schedules,
            doubtful,
            allow,
            deny,
            allow_exceptions,
            deny_exceptions,
            order: 0,
        };
        compiled.order = compiled.order(policy, definition);
        Some(compiled)
    }

    pub(crate) fn trouble(&self, scene: &Scene<'_>, field: String, what: String) {
        scene.troubles.borrow_mut().push(Problem { policy_id: self.id, policy: self.name.clone(), field, what });
    }

    pub(crate) fn has_deny(&self) -> bool {
        self.kind == PolicyType::Access && (!self.deny.is_empty() || self.deny_all_else)
    }

    pub(crate) fn is_dynamic(&self) -> bool {
        self.matchers.iter().any(ResourceMatcher::is_dynamic)
    }

    pub(crate) fn is_valid_at(&self, time: Option<i64>, options: &Options) -> bool {
        self.schedules.is_empty()
            || time.is_some_and(|time| self.schedules.iter().any(|schedule| schedule.applies(time, options.time_zone)))
    }

    fn items(&self) -> impl Iterator<Item = &Item> {
        self.allow.iter().chain(&self.deny).chain(&self.allow_exceptions).chain(&self.deny_exceptions)
    }

    /// The place of the policy among those of its priority: what is likely to decide for many comes first.
    fn order(&self, policy: &Policy, definition: &Definition) -> i64 {
        let mut levels = 0;
        for resource in policy.resources.iter().map(|(_, resource)| resource) {
            if resource.values.iter().any(|value| value.is_empty() || value == "*") {
                levels += 25;
                continue;
            }
            if resource.values.iter().any(|value| value.contains('*')) {
                levels += 10;
            } else if resource.values.iter().any(|value| value.contains('?')) {
                levels += 5;
            }
            levels += 5 * i64::from(resource.is_excludes) + 5 * i64::from(resource.is_recursive);
        }
        let mut names: BTreeSet<&str> = BTreeSet::new();
        let mut accesses: BTreeSet<&str> = BTreeSet::new();
        let mut all = self.deny_all_else;
        let mut conditions = self.conditions.len() as i64;
        for item in self.items() {
            all |= item.for_all || item.for_any_user;
            names.extend(item.users.iter().chain(&item.groups).map(AsRef::as_ref));
            accesses.extend(item.accesses.iter().map(AsRef::as_ref));
            conditions += item.conditions.len() as i64;
        }
        let who = if all { 25 } else { 25.min(names.len() as i64) };
        let known = definition.access_types.len().max(1) as f64;
        let what = (25.0 * accesses.len() as f64 / known).round() as i64;
        10_000 - levels.min(100) + if self.is_dynamic() { 20 } else { 0 } - who - what - (25 - 5 * conditions).max(0)
    }

    /// The order in which policies are asked.
    pub(crate) fn before(&self, other: &Self) -> Ordering {
        (Reverse(self.priority), Reverse(self.has_deny()), self.order, &self.name, self.id).cmp(&(
            Reverse(other.priority),
            Reverse(other.has_deny()),
            other.order,
            &other.name,
            other.id,
        ))
    }

    /// The same order, with `closeness` before the name.
    pub(crate) fn before_then(&self, other: &Self, closeness: Ordering) -> Ordering {
        (Reverse(self.priority), Reverse(self.has_deny()), self.order)
            .cmp(&(Reverse(other.priority), Reverse(other.has_deny()), other.order))
            .then(closeness)
            .then_with(|| self.before(other))
    }

    /// The order in which masks and filters of tags are asked.
    pub(crate) fn before_by_name(&self, other: &Self) -> Ordering {
        (Reverse(self.priority), Reverse(self.has_deny()), &self.name, self.id).cmp(&(
            Reverse(other.priority),
            Reverse(other.has_deny()),
            &other.name,
            other.id,
        ))
    }

    pub(crate) fn conditions_hold(&self, scene: &Scene<'_>) -> Match {
        if self.conditions.is_empty() {
            return Match::Yes;
        }
        all_hold(&self.conditions, scene, self, "conditions", None)
    }

    /// How the policy lies to the resource, by the closest of its resources.
    pub(crate) fn lies(&self, view: &View<'_>, scene: &Scene<'_>) -> MatchType {
        let mut best = MatchType::None;
        for matcher in &self.matchers {
            let lies = matcher.lies(view, scene);
            best = closer(best, lies);
            if best == MatchType::SelfMatch {
                break;
            }
        }
        best
    }

    /// What the policy says to the access; `doubtful` where its conditions cannot be told.
    pub(crate) fn verdict(&self, access: &str, scene: &Scene<'_>, lies: MatchType, doubtful: bool) -> Option<Verdict> {
        let doubtful = doubtful || self.doubtful;
        let decided = |allowed: bool, item: &Item| Verdict { allowed, item: item.at, mask: None, filter: None };
        match self.kind {
            PolicyType::Access => {
                let denies = !(lies == MatchType::Descendant && scene.request.ignore_descendant_deny);
                if let Some(item) = self.deny.iter().find(|item| item.matches(access, scene, self) != Match::No)
                    && !self
                        .deny_exceptions
                        .iter()
                        .any(|item| !doubtful && item.matches(access, scene, self) == Match::Yes)
                {
                    // What is denied below does not deny here, but neither is it allowed.
                    return denies.then(|| decided(false, item));
                }
                if !doubtful
                    && let Some(item) = self.allow.iter().find(|item| item.matches(access, scene, self) == Match::Yes)
                    && !self.allow_exceptions.iter().any(|item| item.matches(access, scene, self) != Match::No)
                {
                    return Some(decided(true, item));
                }
                (self.deny_all_else && denies).then_some(Verdict {
                    allowed: false,
                    item: ItemRef { list: ItemList::DenyAllElse, index: 0 },
                    mask: None,
                    filter: None,
                })
            }
            PolicyType::DataMask => self.allow.iter().find_map(|item| {
                let mask = item.mask.as_ref()?;
                let certain = item.matches(access, scene, self);
                let unsure = doubtful || certain == Match::Doubtful;
                if certain == Match::No || (unsure && mask.info.data_mask_type == MASK_NONE) {
                    return None;
                }
                Some(Verdict { mask: Some(self.mask(item, mask, unsure, scene)), ..decided(true, item) })
            }),
            PolicyType::RowFilter => self.allow.iter().find_map(|item| {
                let filter = item.filter.as_ref()?;
                let certain = item.matches(access, scene, self);
                if certain == Match::No {
                    return None;
                }
                let text = if doubtful || certain == Match::Doubtful {
                    NO_ROWS.to_owned()
                } else {
                    filter.text(scene).unwrap_or_else(|fault| {
                        self.trouble(scene, format!("{}[{}]", item.at.list.field(), item.at.index), describe(fault));
                        NO_ROWS.to_owned()
                    })
                };
                Some(Verdict { filter: Some(text), ..decided(true, item) })
            }),
        }
    }

    fn mask(&self, item: &Item, mask: &Mask, unsure: bool, scene: &Scene<'_>) -> DataMaskInfo {
        let hidden = || DataMaskInfo { data_mask_type: MASK_NULL.to_owned(), condition_expr: None, value_expr: None };
        if unsure {
            return hidden();
        }
        let mut info = mask.info.clone();
        if let Some(value) = &mask.value {
            match value.text(scene) {
                Ok(text) => info.value_expr = Some(text),
                Err(fault) => {
                    self.trouble(scene, format!("{}[{}]", item.at.list.field(), item.at.index), describe(fault));
                    return hidden();
                }
            }
        }
        info
    }
}

/// The mask that hides nothing.
pub(crate) const MASK_NONE: &str = "MASK_NONE";
/// The mask for values that no readable mask is for.
pub(crate) const MASK_NULL: &str = "MASK_NULL";
/// The filter that lets no row through, for a filter that cannot be made.
const NO_ROWS: &str = "1 = 0";

fn describe(fault: Fault) -> String {
    match fault {
        Fault::Thrown(what) | Fault::Unsupported(what) => what,
    }
}

/// The one of two matches that is the closer. Of one above and one below, the latter counts for more requests.
pub(crate) fn closer(left: MatchType, right: MatchType) -> MatchType {
    let rank = |lies: MatchType| match lies {
        MatchType::SelfMatch => 0,
        MatchType::SelfAndAllDescendants => 1,
        MatchType::Descendant => 2,
        MatchType::Ancestor => 3,
        MatchType::None => 4,
    };
    if rank(right) < rank(left) { right } else { left }
}
