//! Policies made ready, and the decision.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;

use super::audit::{self, AuditFilters};
use super::definition::Definition;
use super::index::Index;
use super::model::{
    Change, DataMaskInfo, Policy, PolicyDelta, PolicyType, Role, SecurityZone, ServiceDef, ServicePolicies,
    ServiceTags, UserStore,
};
use super::policy::{Compiled, Match, Verdict};
use super::request::{Basis, Decision, MatchType, MatchingScope, Request, Resource, ResourceAccessInfo};
use super::resource::{View, counts};
use super::script::Scene;
use super::tags::{self, TagForEval, TagStore};
use super::time::Zone;
use super::zones::Zones;
use super::{Problem, RangerError};

/// What an engine is told besides the policies.
#[derive(Clone, Debug)]
pub struct Options {
    /// For schedules and times of day that name none. Ranger takes that of the machine it runs on.
    pub time_zone: Zone,
    /// Take the first forwarded address for the client's where the remote one is a trusted proxy's, or where there are
    /// none.
    pub use_forwarded_ip_address: bool,
    pub trusted_proxy_addresses: Vec<String>,
    pub super_users: BTreeSet<String>,
    pub super_groups: BTreeSet<String>,
    pub audit_excluded_users: BTreeSet<String>,
    pub audit_excluded_groups: BTreeSet<String>,
    pub audit_excluded_roles: BTreeSet<String>,
    /// More forms of dates in tags' attributes, in Java's letters.
    pub date_formats: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            time_zone: Zone::UTC,
            use_forwarded_ip_address: false,
            trusted_proxy_addresses: Vec::new(),
            super_users: BTreeSet::new(),
            super_groups: BTreeSet::new(),
            audit_excluded_users: BTreeSet::new(),
            audit_excluded_groups: BTreeSet::new(),
            audit_excluded_roles: BTreeSet::new(),
            date_formats: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AuditMode {
    All,
    None,
    Default,
}

impl AuditMode {
    fn of(mode: Option<&str>) -> Self {
        match mode {
            Some("audit-all") => Self::All,
            Some("audit-none") => Self::None,
            _ => Self::Default,
        }
    }
}

/// Policies of one type, in the order in which they are asked, and the way to find them.
///
/// The tree is shared by all engines that came of one by changes: what was changed since it was grown is known beside it, and asked
/// always. It is grown anew when that has become too much.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) policies: Vec<Arc<Compiled>>,
    tree: Arc<Tree>,
    /// Where each policy of the tree stands now; [`GONE`] where it is not there any more.
    places: Vec<u32>,
    /// Where those stand that are not in the tree.
    fresh: Vec<u32>,
}

/// An index and the policies it was made of.
#[derive(Debug, Default)]
struct Tree {
    policies: Vec<Arc<Compiled>>,
    index: Index,
}

const GONE: u32 = u32::MAX;
/// So many policies may be asked always.
const MOST_FRESH: usize = 32;

impl Group {
    fn new(mut policies: Vec<Arc<Compiled>>, by_name: bool) -> Self {
        Self::sort(&mut policies, by_name);
        let index = Index::new(
            policies
                .iter()
                .enumerate()
                .flat_map(|(at, policy)| policy.matchers.iter().map(move |matcher| (at as u32, matcher))),
        );
        let places = (0..policies.len() as u32).collect();
        Self { tree: Arc::new(Tree { policies: policies.clone(), index }), policies, places, fresh: Vec::new() }
    }

    fn sort(policies: &mut [Arc<Compiled>], by_name: bool) {
        if by_name {
            policies.sort_by(|left, right| left.before_by_name(right));
        } else {
            policies.sort_by(|left, right| left.before(right));
        }
    }

    /// The same group with other policies, most of them those of before.
    fn changed(&self, mut policies: Vec<Arc<Compiled>>, by_name: bool) -> Self {
        Self::sort(&mut policies, by_name);
        let address = |policy: &Arc<Compiled>| Arc::as_ptr(policy).addr();
        let mut now: HashMap<usize, u32> =
            policies.iter().enumerate().map(|(at, policy)| (address(policy), at as u32)).collect();
        let places: Vec<u32> =
            self.tree.policies.iter().map(|policy| now.remove(&address(policy)).unwrap_or(GONE)).collect();
        let mut fresh: Vec<u32> = now.into_values().collect();
        if fresh.len() > MOST_FRESH || places.iter().filter(|place| **place == GONE).count() > policies.len() / 2 {
            return Self::new(policies, by_name);
        }
        fresh.sort_unstable();
        Self { policies, tree: Arc::clone(&self.tree), places, fresh }
    }

    /// What may match, in order.
    pub(crate) fn find(&self, view: &View<'_>, below: bool, naive: bool) -> Vec<u32> {
        let mut out = Vec::new();
        if naive {
            out.extend(0..self.policies.len() as u32);
        } else if !self.policies.is_empty() {
            self.tree.index.find(view, below, &mut out);
            if !self.is_as_grown() {
                let place = |at: &u32| self.places.get(*at as usize).copied().filter(|place| *place != GONE);
                out = out.iter().filter_map(place).chain(self.fresh.iter().copied()).collect();
                out.sort_unstable();
            }
        }
        out
    }

    fn is_as_grown(&self) -> bool {
        self.fresh.is_empty() && self.policies.len() == self.places.len()
    }
}

#[derive(Clone, Debug)]
struct Record {
    id: i64,
    policy: Option<Arc<Compiled>>,
    problems: Vec<Problem>,
}

/// The policies of a service, of a zone of it, or of its tags.
#[derive(Clone, Debug)]
pub(crate) struct Repo {
    definition: Arc<Definition>,
    /// Of a tag service: the definition of the service its policies are used for.
    resources: Option<Arc<Definition>>,
    records: Vec<Record>,
    groups: [Group; 3],
}

impl Repo {
    fn new(
        policies: &[Policy],
        definition: &Arc<Definition>,
        resources: Option<&Arc<Definition>>,
        options: &Options,
    ) -> Self {
        let mut repo = Self {
            definition: Arc::clone(definition),
            resources: resources.cloned(),
            records: Vec::new(),
            groups: Default::default(),
        };
        for policy in policies {
            let record = repo.compile(policy, options);
            repo.records.push(record);
        }
        let tag = repo.resources.is_some();
        let mut kinds = repo.kinds().into_iter();
        repo.groups = std::array::from_fn(|at| Group::new(kinds.next().unwrap_or_default(), tag && at > 0));
        repo
    }

    fn compile(&self, policy: &Policy, options: &Options) -> Record {
        let mut problems = Vec::new();
        let narrowed = match &self.resources {
            None => Some(policy.clone()),
            Some(resources) => tags::policy_for(policy, &resources.name),
        };
        let compiled = narrowed.and_then(|policy| {
            Compiled::new(&policy, &self.definition, self.resources.as_ref(), options, &mut problems)
        });
        Record { id: policy.id, policy: compiled.map(Arc::new), problems }
    }

    /// The policies by what they decide on.
    fn kinds(&self) -> [Vec<Arc<Compiled>>; 3] {
        [PolicyType::Access, PolicyType::DataMask, PolicyType::RowFilter].map(|kind| {
            let ready = self.records.iter().filter_map(|record| record.policy.as_ref());
            ready.filter(|policy| policy.kind == kind).cloned().collect()
        })
    }

    fn apply(&mut self, deltas: &[&PolicyDelta], options: &Options) {
        for delta in deltas {
            let at = self.records.iter().position(|record| record.id == delta.policy.id);
            match delta.change {
                Change::Delete => {
                    if let Some(at) = at {
                        self.records.remove(at);
                    }
                }
                Change::Create | Change::Update => {
                    let record = self.compile(&delta.policy, options);
                    match at.and_then(|at| self.records.get_mut(at)) {
                        Some(old) => *old = record,
                        None => self.records.push(record),
                    }
                }
            }
        }
        if !deltas.is_empty() {
            // Of access policies of tags the order is that of all others; masks and filters of tags go by name.
            let tag = self.resources.is_some();
            let mut kinds = self.kinds().into_iter();
            self.groups = std::array::from_fn(|at| {
                let policies = kinds.next().unwrap_or_default();
                self.groups.get(at).map_or_else(Group::default, |old| old.changed(policies, tag && at > 0))
            });
        }
    }

    pub(crate) fn group(&self, kind: PolicyType) -> &Group {
        let [access, mask, filter] = &self.groups;
        match kind {
            PolicyType::Access => access,
            PolicyType::DataMask => mask,
            PolicyType::RowFilter => filter,
        }
    }

    fn is_empty(&self) -> bool {
        self.records.iter().all(|record| record.policy.is_none())
    }
}

#[derive(Clone, Debug)]
struct ZoneRepo {
    name: String,
    repo: Repo,
    /// Tag policies of the zone only, and not those without a zone.
    tags: bool,
}

/// Which roles users and groups have.
#[derive(Clone, Debug, Default)]
struct Roles {
    of_user: BTreeMap<String, BTreeSet<String>>,
    of_group: BTreeMap<String, BTreeSet<String>>,
}

impl Roles {
    /// A role has the members of the roles in it too, and of those in them; a role in itself adds nothing but a
    /// problem.
    fn new(roles: &[Role], problems: &mut Vec<Problem>) -> Self {
        let by_name: BTreeMap<&str, &Role> = roles.iter().map(|role| (role.name.as_str(), role)).collect();
        let mut out = Self::default();
        let mut tell = |role: &Role, what: String| {
            problems.push(Problem {
                policy_id: -1,
                policy: format!("role {}", role.name),
                field: "roles".to_owned(),
                what,
            });
        };
        for role in roles {
            let mut open = vec![role];
            let mut seen: BTreeSet<&str> = BTreeSet::new();
            while let Some(inner) = open.pop() {
                if !seen.insert(&inner.name) {
                    continue;
                }
                for user in &inner.users {
                    out.of_user.entry(user.clone()).or_default().insert(role.name.clone());
                }
                for group in &inner.groups {
                    out.of_group.entry(group.clone()).or_default().insert(role.name.clone());
                }
                if inner.roles.contains(&role.name) {
                    tell(role, format!("is in itself, by `{}`", inner.name));
                }
                open.extend(inner.roles.iter().filter_map(|name| by_name.get(name.as_str())));
            }
            for name in role.roles.iter().filter(|name| !by_name.contains_key(name.as_str())) {
                tell(role, format!("`{name}` is not there"));
            }
        }
        out
    }

    fn of(&self, user: Option<&str>, groups: &[String]) -> Vec<String> {
        if self.of_user.is_empty() && self.of_group.is_empty() {
            return Vec::new();
        }
        let mut out: BTreeSet<&String> = user.and_then(|user| self.of_user.get(user)).into_iter().flatten().collect();
        for group in groups.iter().map(String::as_str).chain([super::policy::PUBLIC]) {
            out.extend(self.of_group.get(group).into_iter().flatten());
        }
        out.into_iter().cloned().collect()
    }
}

/// Ranger's policy engine for one service.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) definition: Arc<Definition>,
    pub(crate) options: Options,
    repo: Repo,
    /// Kept though there may be no tag policies yet: changes can bring some.
    tag_definition: Option<Arc<Definition>>,
    tag_repo: Option<Repo>,
    zones: Vec<ZoneRepo>,
    zone_matcher: Option<Zones>,
    audit_mode: AuditMode,
    filters: AuditFilters,
    tag_filters: Option<AuditFilters>,
    super_users: BTreeSet<String>,
    super_groups: BTreeSet<String>,
    excluded_users: BTreeSet<String>,
    excluded_groups: BTreeSet<String>,
    excluded_roles: BTreeSet<String>,
    tags: Option<TagStore>,
    roles: Roles,
    users: UserStore,
    problems: Vec<Problem>,
    tag_problems: Vec<Problem>,
    zone_problems: Vec<Problem>,
    role_problems: Vec<Problem>,
    naive: bool,
}

/// Names in a configuration, between commas.
fn names(config: &BTreeMap<String, String>, key: &str, more: &BTreeSet<String>) -> BTreeSet<String> {
    let mut out = more.clone();
    if let Some(value) = config.get(key) {
        out.extend(value.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned));
    }
    out
}

impl Engine {
    /// An engine for these policies. Errors are of the service definition and of what every decision hangs on; what is
    /// wrong with a single policy is among [`Engine::problems`], and that policy allows nothing.
    pub fn new(policies: &ServicePolicies, options: Options) -> Result<Self, RangerError> {
        let definition = Arc::new(Definition::new(&policies.service_def)?);
        let mut problems = Vec::new();
        let tag_def: Option<(Arc<Definition>, &super::TagPolicies)> = match &policies.tag_policies {
            Some(tags) => match &tags.service_def {
                Some(def) => {
                    let def: ServiceDef = tags::definition_for(def, &definition.name);
                    Some((Arc::new(Definition::new(&def)?), tags))
                }
                None if tags.policies.is_empty() => None,
                None => return Err(RangerError::new("tagPolicies.serviceDef", "missing")),
            },
            None => None,
        };
        let repo = Repo::new(&policies.policies, &definition, None, &options);
        let tag_repo = tag_def
            .as_ref()
            .filter(|(_, tags)| !tags.policies.is_empty())
            .map(|(def, tags)| Repo::new(&tags.policies, def, Some(&definition), &options));
        let config = &policies.service_config;
        let filters = AuditFilters::new(config.get(audit::CONFIG).map(String::as_str), &definition, &mut problems)?;
        let tag_filters = match &tag_def {
            Some((def, tags)) => {
                Some(AuditFilters::new(tags.service_config.get(audit::CONFIG).map(String::as_str), def, &mut problems)?)
            }
            None => None,
        };
        let mut engine = Self {
            audit_mode: AuditMode::of(policies.audit_mode.as_deref()),
            super_users: names(config, "ranger.plugin.super.users", &options.super_users),
            super_groups: names(config, "ranger.plugin.super.groups", &options.super_groups),
            excluded_users: names(config, "ranger.plugin.audit.exclude.users", &options.audit_excluded_users),
            excluded_groups: names(config, "ranger.plugin.audit.exclude.groups", &options.audit_excluded_groups),
            excluded_roles: names(config, "ranger.plugin.audit.exclude.roles", &options.audit_excluded_roles),
            zones: Vec::new(),
            zone_matcher: None,
            tags: None,
            roles: Roles::default(),
            users: UserStore::default(),
            tag_problems: Vec::new(),
            zone_problems: Vec::new(),
            role_problems: Vec::new(),
            naive: false,
            tag_definition: tag_def.map(|(def, _)| def),
            definition,
            options,
            repo,
            tag_repo,
            filters,
            tag_filters,
            problems,
        };
        engine.set_zones(&policies.security_zones);
        if !policies.policy_deltas.is_empty() {
            engine.update(&policies.policy_deltas, None);
        }
        Ok(engine)
    }

    fn set_zones(&mut self, zones: &[SecurityZone]) {
        self.zone_problems.clear();
        self.zone_matcher = (!zones.is_empty()).then(|| Zones::new(zones, &self.definition, &mut self.zone_problems));
        let mut old: Vec<ZoneRepo> = std::mem::take(&mut self.zones);
        for zone in zones {
            let known = old.iter().position(|known| known.name == zone.name).map(|at| old.swap_remove(at));
            let mut repo = match known {
                // A zone that comes with changes only keeps its other policies.
                Some(known) if zone.policies.is_empty() => known.repo,
                _ => Repo::new(&zone.policies, &self.definition, None, &self.options),
            };
            repo.apply(&zone.policy_deltas.iter().collect::<Vec<_>>(), &self.options);
            self.zones.push(ZoneRepo { name: zone.name.clone(), repo, tags: zone.contains_associated_tag_service });
        }
    }

    /// Changes some policies and leaves the others as they are. Zones that are given replace those of before.
    pub fn update(&mut self, deltas: &[PolicyDelta], zones: Option<&[SecurityZone]>) {
        let tag_service = self.tag_definition.as_ref().map(|definition| definition.name.clone());
        let of_tags = |delta: &&PolicyDelta| tag_service.is_some() && delta.policy.service_type == tag_service;
        let resource: Vec<&PolicyDelta> = deltas.iter().filter(|delta| !of_tags(delta)).collect();
        let tag: Vec<&PolicyDelta> = deltas.iter().filter(of_tags).collect();
        self.repo.apply(&resource, &self.options);
        if let Some(tag_definition) = &self.tag_definition
            && !tag.is_empty()
        {
            let (definition, options) = (&self.definition, &self.options);
            self.tag_repo
                .get_or_insert_with(|| Repo::new(&[], tag_definition, Some(definition), options))
                .apply(&tag, options);
        }
        if let Some(zones) = zones {
            self.set_zones(zones);
        }
    }

    /// The tags of the service's resources.
    pub fn set_tags(&mut self, tags: &ServiceTags) {
        self.tag_problems.clear();
        self.tags = Some(TagStore::new(tags, &self.definition, &self.options, &mut self.tag_problems));
    }

    pub fn set_roles(&mut self, roles: &[Role]) {
        self.role_problems.clear();
        self.roles = Roles::new(roles, &mut self.role_problems);
    }

    pub fn set_users(&mut self, users: UserStore) {
        self.users = users;
    }

    /// Asks every policy instead of those the index finds. Slow; to check the index against.
    #[must_use]
    pub fn without_index(mut self) -> Self {
        self.naive = true;
        self
    }

    pub fn definition(&self) -> &Arc<Definition> {
        &self.definition
    }

    /// What is wrong with policies, tags and zones, by policy.
    pub fn problems(&self) -> Vec<Problem> {
        let repos = std::iter::once(&self.repo).chain(&self.tag_repo).chain(self.zones.iter().map(|zone| &zone.repo));
        let of_policies = repos.flat_map(|repo| repo.records.iter().flat_map(|record| &record.problems));
        of_policies
            .chain(&self.problems)
            .chain(&self.tag_problems)
            .chain(&self.zone_problems)
            .chain(&self.role_problems)
            .cloned()
            .collect()
    }

    fn client_ip<'a>(&self, request: &'a Request) -> Option<&'a str> {
        let given = request.client_ip_address.as_deref().or(request.remote_ip_address.as_deref());
        if !self.options.use_forwarded_ip_address {
            return given;
        }
        let remote = request.remote_ip_address.as_deref();
        let trusted = &self.options.trusted_proxy_addresses;
        let believed = trusted.is_empty() || remote.is_some_and(|remote| trusted.iter().any(|proxy| proxy == remote));
        match request.forwarded_addresses.first() {
            Some(forwarded) if believed => Some(forwarded),
            _ => remote.or(given),
        }
    }

    /// Runs `with` with all that is known about the request.
    pub(crate) fn scene<T>(
        &self,
        request: &Request,
        any: bool,
        with: impl FnOnce(&Scene<'_>, &View<'_>, &RefCell<Vec<Problem>>) -> T,
    ) -> T {
        let troubles = RefCell::new(Vec::new());
        let view =
            View::of(&self.definition, &request.resource).scoped(&self.definition, &request.element_matching_scopes);
        let found;
        let roles: &[String] = if request.user_roles.is_empty() {
            found = self.roles.of(request.user.as_deref(), &request.user_groups);
            &found
        } else {
            &request.user_roles
        };
        let bare = Scene {
            request,
            options: &self.options,
            users: &self.users,
            groups: &request.user_groups,
            roles,
            client_ip: self.client_ip(request),
            tags: &[],
            current: None,
            zones: &[],
            troubles: &troubles,
        };
        let zones = self.zone_matcher.as_ref().map(|zones| zones.find(&view, &bare)).unwrap_or_default();
        let mut tags: Vec<TagForEval> = match (&request.tags, &self.tags) {
            (Some(tags), _) => tags
                .iter()
                .map(|tag| TagForEval::of_request(tag, &self.options))
                .filter(|tag| tag.is_valid_at(request.access_time, &self.options))
                .collect(),
            (None, Some(store)) => store.find(&view, request, any, &bare),
            (None, None) => Vec::new(),
        };
        tags.extend(
            request
                .more_tags
                .iter()
                .map(|tag| TagForEval::of_request(tag, &self.options))
                .filter(|tag| tag.is_valid_at(request.access_time, &self.options)),
        );
        let scene = Scene { tags: &tags, zones: &zones, ..bare };
        with(&scene, &view, &troubles)
    }

    /// May it be done, how is it masked or filtered, is it audited, and because of what.
    pub fn decide(&self, request: &Request, kind: PolicyType) -> Decision {
        let any = request.access_type.is_empty() || request.access_type == "_any";
        self.scene(request, any, |scene, view, troubles| {
            let asked = Asked::of(self, request, any);
            let mut state = self.zoned(&asked, scene, view, kind);
            state.settle(&asked);
            let mut decision = state.decision;
            self.audit(&mut decision, scene, view, any);
            decision.troubles = troubles.take();
            decision
        })
    }

    fn zoned(&self, asked: &Asked<'_>, scene: &Scene<'_>, view: &View<'_>, kind: PolicyType) -> State {
        let zones = scene.zones;
        let mut state = if self.zone_matcher.is_none() || zones.is_empty() || (zones.len() > 1 && !asked.any) {
            self.evaluate(asked, scene, view, kind, None)
        } else {
            let mut state = None;
            for zone in zones {
                let of = self.evaluate(asked, scene, view, kind, Some(zone.as_str()).filter(|zone| !zone.is_empty()));
                let allowed = of.decision.allowed;
                state = Some(of);
                if allowed {
                    break;
                }
            }
            state.unwrap_or_else(|| self.evaluate(asked, scene, view, kind, None))
        };
        if asked.any && view.mask == 0 && !state.decision.allowed {
            for zone in &self.zones {
                let of = self.evaluate(asked, scene, view, kind, Some(&zone.name));
                if of.decision.allowed {
                    state = of;
                    break;
                }
            }
        }
        state
    }

    fn initial(&self, scene: &Scene<'_>, repo: &Repo) -> Decision {
        let mut decision = Decision {
            allowed: false,
            determined: false,
            audited: false,
            audit_determined: false,
            audit_policy_id: None,
            basis: Basis::Nothing,
            mask: None,
            row_filter: None,
            zone: None,
            troubles: Vec::new(),
        };
        (decision.audited, decision.audit_determined) = match self.audit_mode {
            AuditMode::All => (true, true),
            AuditMode::None => (false, true),
            AuditMode::Default => {
                let nothing = repo.is_empty() && self.tag_repo.is_none();
                (nothing, nothing)
            }
        };
        if self.is_excluded(scene) {
            (decision.audited, decision.audit_determined) = (false, true);
        }
        if self.is_super(scene) {
            decision.allowed = true;
            decision.determined = true;
            decision.basis = Basis::SuperUser;
        }
        decision
    }

    fn is_excluded(&self, scene: &Scene<'_>) -> bool {
        scene.request.user.as_ref().is_some_and(|user| self.excluded_users.contains(user))
            || scene.groups.iter().any(|group| self.excluded_groups.contains(group))
            || scene.roles.iter().any(|role| self.excluded_roles.contains(role))
    }

    fn is_super(&self, scene: &Scene<'_>) -> bool {
        scene.request.user.as_ref().is_some_and(|user| self.super_users.contains(user))
            || scene.groups.iter().any(|group| self.super_groups.contains(group))
    }

    fn repo_of(&self, zone: Option<&str>) -> (Option<&ZoneRepo>, &Repo) {
        let zone = zone.and_then(|name| self.zones.iter().find(|zone| zone.name == name));
        (zone, zone.map_or(&self.repo, |zone| &zone.repo))
    }

    fn evaluate(
        &self,
        asked: &Asked<'_>,
        scene: &Scene<'_>,
        view: &View<'_>,
        kind: PolicyType,
        name: Option<&str>,
    ) -> State {
        let (zone, repo) = self.repo_of(name);
        let mut state = State::new(self.initial(scene, &self.repo));
        state.decision.zone = name.map(str::to_owned);
        self.by_tags(&mut state, asked, scene, kind, zone);
        self.by_resource(&mut state, asked, scene, view, kind, repo);
        state
    }

    /// Tag policies that are for the tags of the request, in the order in which they are asked.
    fn of_tags<'s>(
        &'s self,
        scene: &Scene<'s>,
        kind: PolicyType,
        zone: Option<&ZoneRepo>,
    ) -> Vec<(&'s Arc<Compiled>, &'s TagForEval)> {
        let Some(repo) = &self.tag_repo else { return Vec::new() };
        let group = repo.group(kind);
        let mut found: Vec<(u32, usize)> = Vec::new();
        for (at, tag) in scene.tags.iter().enumerate() {
            let resource = Resource::of([("tag", tag.tag_type.as_str())]);
            let view = View::of(&repo.definition, &resource);
            for policy in group.find(&view, false, self.naive) {
                let Some(compiled) = group.policies.get(policy as usize) else { continue };
                let of_zone = match zone {
                    Some(zone) if zone.tags => compiled.zone.as_deref() == Some(zone.name.as_str()),
                    _ => compiled.zone.is_none(),
                };
                if of_zone && compiled.lies(&view, scene) != MatchType::None {
                    found.push((policy, at));
                }
            }
        }
        // A mask of the closest tag goes before one of a tag further up; of accesses the policies' own order decides.
        let closeness = |at: usize| scene.tags.get(at).map(|tag| tag.match_type);
        let priority = |at: u32| group.policies.get(at as usize).map(|policy| std::cmp::Reverse(policy.priority));
        if kind == PolicyType::Access {
            found.sort_by_key(|(policy, tag)| (*policy, closeness(*tag), *tag));
        } else {
            found.sort_by_key(|(policy, tag)| (priority(*policy), closeness(*tag), *policy, *tag));
        }
        found
            .into_iter()
            .filter_map(|(policy, tag)| Some((group.policies.get(policy as usize)?, scene.tags.get(tag)?)))
            .collect()
    }

    fn by_tags(
        &self,
        state: &mut State,
        asked: &Asked<'_>,
        scene: &Scene<'_>,
        kind: PolicyType,
        zone: Option<&ZoneRepo>,
    ) {
        for (policy, tag) in self.of_tags(scene, kind, zone) {
            if !policy.is_valid_at(scene.request.access_time, &self.options) {
                continue;
            }
            let scene = scene.with_tag(tag);
            let before = state.decision.clone();
            state.ask(policy, asked, &scene, tag.match_type, true);
            let decision = &mut state.decision;
            if decision.allowed && !policy.has_deny() {
                decision.determined = true;
            }
            if before.determined || (!decision.determined && (before.allowed || !decision.allowed)) {
                let audit = (decision.audited, decision.audit_determined, decision.audit_policy_id);
                *decision = before;
                (decision.audited, decision.audit_determined, decision.audit_policy_id) = audit;
            }
            if decision.determined && decision.audit_determined {
                break;
            }
        }
        state.decision.determined |= state.decision.allowed;
    }

    fn by_resource(
        &self,
        state: &mut State,
        asked: &Asked<'_>,
        scene: &Scene<'_>,
        view: &View<'_>,
        kind: PolicyType,
        repo: &Repo,
    ) {
        let empty = repo.is_empty();
        if empty {
            return;
        }
        let allowed_by_tags = state.decision.allowed;
        let denied_by_tags = state.decision.determined && !state.decision.allowed;
        state.decision.determined = false;
        let group = repo.group(kind);
        let below = asked.any || scene.request.matching_scope == MatchingScope::SelfOrDescendants;
        for policy in group.find(view, below, self.naive).into_iter().filter_map(|at| group.policies.get(at as usize)) {
            let lies = policy.lies(view, scene);
            if !counts(lies, asked.any, scene.request.matching_scope, false) {
                continue;
            }
            if !policy.is_valid_at(scene.request.access_time, &self.options) {
                continue;
            }
            let priority = state.priority();
            let decision = &mut state.decision;
            if denied_by_tags {
                decision.determined |= priority >= policy.priority;
            } else if decision.allowed {
                decision.determined |=
                    priority > policy.priority || (kind != PolicyType::Access && priority == policy.priority);
            }
            state.ask(policy, asked, scene, lies, false);
            let decision = &mut state.decision;
            if decision.allowed && !policy.has_deny() {
                decision.determined = true;
            }
            if decision.determined && decision.audit_determined {
                break;
            }
        }
        let decision = &mut state.decision;
        if !decision.determined {
            if denied_by_tags {
                decision.allowed = false;
            } else if allowed_by_tags {
                decision.allowed = true;
            }
            // What no policy allows is denied: there is nobody else to ask.
            decision.determined = true;
        }
    }

    fn audit(&self, decision: &mut Decision, scene: &Scene<'_>, view: &View<'_>, any: bool) {
        if self.is_excluded(scene) {
            return;
        }
        if let (Some(filters), Some(repo)) = (&self.tag_filters, &self.tag_repo)
            && !filters.is_empty()
        {
            for tag in scene.tags {
                let resource = Resource::of([("tag", tag.tag_type.as_str())]);
                let view = View::of(&repo.definition, &resource);
                if let Some(audited) = filters.audited(decision, &view, &scene.with_tag(tag), any, Some(tag.match_type))
                {
                    (decision.audited, decision.audit_determined) = (audited, true);
                    return;
                }
            }
        }
        if let Some(audited) = self.filters.audited(decision, view, scene, any, None) {
            (decision.audited, decision.audit_determined) = (audited, true);
        }
    }

    /// Who may do what is asked for, whoever asks: the users and groups that policies name.
    pub fn resource_access_info(&self, request: &Request) -> ResourceAccessInfo {
        let any = request.access_type.is_empty() || request.access_type == "_any";
        self.scene(request, any, |scene, view, _| {
            let asked = Asked::of(self, request, any);
            let mut info = ResourceAccessInfo::default();
            let mut zones: Vec<Option<&str>> =
                scene.zones.iter().map(|zone| Some(zone.as_str()).filter(|zone| !zone.is_empty())).collect();
            if zones.is_empty() {
                zones.push(None);
            }
            for name in zones {
                let (zone, repo) = self.repo_of(name);
                for (policy, tag) in self.of_tags(scene, PolicyType::Access, zone) {
                    tell(policy, &asked, &scene.with_tag(tag), tag.match_type, &mut info);
                }
                let group = repo.group(PolicyType::Access);
                for policy in
                    group.find(view, true, self.naive).into_iter().filter_map(|at| group.policies.get(at as usize))
                {
                    let lies = policy.lies(view, scene);
                    if lies != MatchType::None {
                        tell(policy, &asked, scene, lies, &mut info);
                    }
                }
            }
            info.allowed_users = &info.allowed_users - &info.denied_users;
            info.allowed_groups = &info.allowed_groups - &info.denied_groups;
            info
        })
    }

    pub(crate) fn default_repo(&self) -> &Repo {
        &self.repo
    }

    pub(crate) fn repos_of(&self, zones: &[String]) -> Vec<(&Repo, Option<&str>, bool)> {
        let mut out = Vec::new();
        for name in zones.iter().map(String::as_str) {
            let (zone, repo) = self.repo_of(Some(name).filter(|name| !name.is_empty()));
            out.push((repo, zone.map(|zone| zone.name.as_str()), zone.is_some_and(|zone| zone.tags)));
        }
        if out.is_empty() {
            out.push((self.default_repo(), None, false));
        }
        out
    }

    pub(crate) fn tag_policies_of<'s>(
        &'s self,
        scene: &Scene<'s>,
        kind: PolicyType,
        zone: Option<&str>,
    ) -> Vec<(&'s Arc<Compiled>, &'s TagForEval)> {
        let (zone, _) = self.repo_of(zone);
        self.of_tags(scene, kind, zone)
    }

    pub(crate) fn is_naive(&self) -> bool {
        self.naive
    }
}

/// Adds whom one policy allows and denies.
fn tell(policy: &Compiled, asked: &Asked<'_>, scene: &Scene<'_>, lies: MatchType, info: &mut ResourceAccessInfo) {
    if policy.conditions_hold(scene) != Match::Yes {
        return;
    }
    let of = |items: &[super::policy::Item], exceptions: &[super::policy::Item]| {
        let mut users: BTreeSet<String> = BTreeSet::new();
        let mut groups: BTreeSet<String> = BTreeSet::new();
        let fits = |item: &&super::policy::Item| {
            asked.accesses.iter().any(|access| item.what(access))
                && item.conditions.iter().all(|condition| condition.holds(scene) == Ok(true))
        };
        for item in items.iter().filter(fits) {
            users.extend(item.users.iter().map(ToString::to_string));
            groups.extend(item.groups.iter().map(ToString::to_string));
        }
        for item in exceptions.iter().filter(fits) {
            for user in &item.users {
                users.remove(user.as_ref());
            }
            for group in &item.groups {
                groups.remove(group.as_ref());
            }
        }
        (users, groups)
    };
    let (users, groups) = of(&policy.allow, &policy.allow_exceptions);
    info.allowed_users.extend(users);
    info.allowed_groups.extend(groups);
    if lies != MatchType::Descendant {
        let (users, groups) = of(&policy.deny, &policy.deny_exceptions);
        info.denied_users.extend(users);
        info.denied_groups.extend(groups);
    }
}

/// The accesses that are asked for, in lower case.
pub(crate) struct Asked<'a> {
    pub(crate) any: bool,
    /// One of the accesses will do.
    either: bool,
    pub(crate) accesses: Vec<Arc<str>>,
    groups: Vec<Vec<Arc<str>>>,
    ignored: Vec<Arc<str>>,
    request: &'a Request,
}

impl<'a> Asked<'a> {
    fn of(engine: &Engine, request: &'a Request, any: bool) -> Self {
        let lower =
            |names: &[String]| -> Vec<Arc<str>> { names.iter().map(|name| Arc::from(name.to_lowercase())).collect() };
        let accesses = if !request.all_access_types.is_empty() {
            lower(&request.all_access_types)
        } else if any {
            engine.definition.access_types.clone()
        } else {
            vec![Arc::from(request.access_type.to_lowercase())]
        };
        let groups = if any && !request.ignore_descendant_deny {
            accesses.iter().map(|access| vec![Arc::clone(access)]).collect()
        } else {
            request.all_access_type_groups.iter().map(|group| lower(group)).collect()
        };
        Self {
            any,
            either: any || request.is_any_access,
            accesses,
            groups,
            ignored: lower(&request.ignore_if_not_denied),
            request,
        }
    }
}

/// What is decided for one access.
#[derive(Clone)]
struct Part {
    allowed: bool,
    priority: i64,
    basis: Basis,
    mask: Option<DataMaskInfo>,
    filter: Option<String>,
}

/// The decision while policies are asked.
struct State {
    decision: Decision,
    parts: Vec<(Arc<str>, Part)>,
}

impl State {
    fn new(decision: Decision) -> Self {
        Self { decision, parts: Vec::new() }
    }

    fn priority(&self) -> i64 {
        match &self.decision.basis {
            Basis::Nothing => 0,
            Basis::SuperUser => i64::MAX,
            Basis::Policy { priority, .. } => *priority,
        }
    }

    fn ask(&mut self, policy: &Compiled, asked: &Asked<'_>, scene: &Scene<'_>, lies: MatchType, tag: bool) {
        if !counts(lies, asked.any, scene.request.matching_scope, tag) {
            return;
        }
        let certain = policy.conditions_hold(scene);
        if certain == Match::No {
            return;
        }
        if !self.decision.audit_determined && policy.audited {
            self.decision.audited = true;
            self.decision.audit_determined = true;
            self.decision.audit_policy_id = Some(policy.id);
        }
        if self.decision.determined {
            return;
        }
        for access in &asked.accesses {
            let Some(verdict) = policy.verdict(access, scene, lies, certain == Match::Doubtful) else { continue };
            let allowed = verdict.allowed;
            self.take(access, policy, verdict, asked);
            if asked.either && allowed == asked.request.ignore_descendant_deny {
                break;
            }
        }
        if let Some(part) = self.composite(asked) {
            let decision = &mut self.decision;
            decision.allowed = part.allowed;
            // A denial settles it.
            decision.determined |= !part.allowed;
            decision.basis = part.basis;
            decision.mask = part.mask;
            decision.row_filter = part.filter;
        }
    }

    fn take(&mut self, access: &Arc<str>, policy: &Compiled, verdict: Verdict, asked: &Asked<'_>) {
        let part = Part {
            allowed: verdict.allowed,
            priority: policy.priority,
            basis: Basis::Policy {
                id: policy.id,
                version: policy.version,
                priority: policy.priority,
                item: verdict.item,
            },
            mask: verdict.mask,
            filter: verdict.filter,
        };
        let Some((_, old)) = self.parts.iter_mut().find(|(known, _)| known == access) else {
            self.parts.push((Arc::clone(access), part));
            return;
        };
        let higher = part.priority > old.priority;
        let same = part.priority == old.priority;
        let replaces = match (old.allowed, part.allowed) {
            (true, false) => higher || same,
            (true, true) => higher || (same && policy.kind != PolicyType::Access),
            (false, true) => higher || (same && asked.either),
            (false, false) => higher,
        };
        if replaces {
            *old = part;
        }
    }

    fn part(&self, access: &str) -> Option<&Part> {
        self.parts.iter().find(|(known, _)| known.as_ref() == access).map(|(_, part)| part)
    }

    /// What the accesses of a group come to: one that is allowed is enough, and denied is what all are denied.
    fn group(&self, group: &[Arc<str>]) -> Option<&Part> {
        let mut denied = None;
        let mut open = false;
        for access in group {
            match self.part(access) {
                Some(part) if part.allowed => return Some(part),
                Some(part) => denied = denied.or(Some(part)),
                None => open = true,
            }
        }
        if open { None } else { denied }
    }

    fn composite(&self, asked: &Asked<'_>) -> Option<Part> {
        if asked.groups.is_empty() {
            return self.group(&asked.accesses).cloned();
        }
        let mut first = None;
        let mut open = false;
        for group in &asked.groups {
            match self.group(group) {
                Some(part) if !part.allowed => return Some(part.clone()),
                Some(part) => first = first.or(Some(part)),
                None if group.iter().all(|access| asked.ignored.contains(access)) => {}
                None => open = true,
            }
        }
        if open { None } else { first.cloned() }
    }

    /// Accesses that count as allowed unless they are denied, once all policies have been asked.
    fn settle(&mut self, asked: &Asked<'_>) {
        if asked.ignored.is_empty() || self.decision.allowed {
            return;
        }
        let denied = self.parts.iter().any(|(_, part)| !part.allowed);
        if !denied && !asked.accesses.is_empty() && asked.accesses.iter().all(|access| asked.ignored.contains(access)) {
            self.decision.allowed = true;
            self.decision.determined = true;
        }
    }
}
