//! A Ranger service as Cordon asks it: tables are `database`/`table`/`column`, reading is `select`, the purpose is an attribute
//! of the request, and what a column was made from is a tag.

use std::collections::{BTreeMap, BTreeSet};

use cordon_phi::{IdentifierKind, KeyClass};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decision::{Mask, Reason, Request};
use crate::policies::{ColumnSight, MaskSight, RowSight, Sight};
use crate::ranger::{
    self, Basis, DataMaskInfo, Engine, MatchingScope, Options, Policy, PolicyDelta, PolicyItem, PolicyType, Problem,
    RangerError, RequestTag, Resource, Role, SecurityZone, ServiceDef, ServicePolicies, ServiceTags, UserStore, json,
};
use crate::wildcard::Wildcard;

/// The definition of Cordon's own kind of service, for a Ranger Admin to import.
pub const SERVICE_DEF: &str = include_str!("../service-defs/ranger-servicedef-cordon.json");
/// Of tag policies, where a file of policies of Cordon's own kind has none.
const TAG_SERVICE_DEF: &str = include_str!("../service-defs/ranger-servicedef-tag.json");

/// The attribute of each request that holds its purpose.
pub const PURPOSE: &str = "PURPOSE";
/// The attribute of each request that holds its research project; empty where it names none, so that a condition on it fails.
pub const RESEARCH_PROJECT: &str = "RESEARCH_PROJECT";

const SELECT: &str = "select";

/// What a Ranger Admin hands out, each part as its download or file has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Documents {
    pub policies: Value,
    pub tags: Option<Value>,
    pub roles: Option<Value>,
    pub users: Option<Value>,
}

/// The same, read.
#[derive(Clone, Debug)]
pub struct Records {
    policies: ServicePolicies,
    tags: Option<ServiceTags>,
    roles: Vec<Role>,
    users: UserStore,
    groups: BTreeMap<String, BTreeSet<String>>,
}

/// What is known of a stored column besides its name, from the metadata of its table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnFacts {
    /// The identifier kind that it was made from.
    pub kind: Option<String>,
    /// The class of the key that protects it: `direct`, `quasi` or `clinical`. Without one it counts as direct.
    pub class: Option<String>,
    /// What was done with it.
    pub action: Option<String>,
    /// The HIPAA method of the policy that made it.
    pub method: Option<String>,
}

impl ColumnFacts {
    /// `PHI` with what is known as attributes, and one of `PHI_DIRECT`, `PHI_QUASI`, `PHI_CLINICAL`.
    fn tags(&self) -> [RequestTag; 2] {
        let known = |class: &&KeyClass| self.class.as_deref() == Some(class.name());
        let class = KeyClass::ALL.iter().find(known).copied().unwrap_or(KeyClass::Direct);
        let clause = self.kind.as_ref().and_then(|kind| kind.parse::<IdentifierKind>().ok()?.clause());
        let mut attributes = BTreeMap::from([("class".to_owned(), class.name().to_owned())]);
        let more = [("kind", &self.kind), ("action", &self.action), ("method", &self.method)];
        attributes.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?))));
        attributes.extend(clause.map(|clause| ("clause".to_owned(), clause.to_string())));
        let of_class = match class {
            KeyClass::Direct => "PHI_DIRECT",
            KeyClass::Quasi => "PHI_QUASI",
            KeyClass::Clinical => "PHI_CLINICAL",
        };
        let tag = |tag_type: &str| RequestTag {
            tag_type: tag_type.to_owned(),
            attributes: attributes.clone(),
            ..RequestTag::default()
        };
        [tag("PHI"), tag(of_class)]
    }
}

/// Policies made ready, for one service.
#[derive(Clone, Debug)]
pub struct Service {
    name: String,
    database: String,
    engine: Engine,
    /// The policies' names, by id.
    names: BTreeMap<i64, String>,
    users: BTreeSet<String>,
    /// Groups that policies and roles name.
    named_groups: BTreeSet<String>,
    groups: BTreeMap<String, BTreeSet<String>>,
    attributes: BTreeMap<String, BTreeMap<String, String>>,
    /// Some condition looks at what else a query reads.
    looks_around: bool,
}

fn own_def(text: &str) -> Result<ServiceDef, RangerError> {
    ServiceDef::from_json(&json::parse(text)?)
}

impl Records {
    /// Errors name the policy and the field. The service must be the one that is meant: policies of another are for other data.
    pub fn read(documents: &Documents, service: &str) -> Result<Self, RangerError> {
        let error = |at: &str, what: String| RangerError { at: at.to_owned(), what };
        if !documents.policies.is_object() {
            return Err(error("servicePolicies", "an object is expected".to_owned()));
        }
        let mut policies = ServicePolicies::from_json(&documents.policies)?;
        if policies.service_name != service {
            let what = format!("the policies are of another service, and not of `{service}`");
            return Err(error("servicePolicies.serviceName", what));
        }
        if policies.service_def.name.is_empty() {
            policies.service_def = own_def(SERVICE_DEF)?;
        }
        let own = own_def(SERVICE_DEF)?.name;
        if let Some(tags) = &mut policies.tag_policies
            && tags.service_def.is_none()
            && policies.service_def.name == own
        {
            tags.service_def = Some(own_def(TAG_SERVICE_DEF)?);
        }
        for level in ["database", "table", "column"] {
            if !policies.service_def.resources.iter().any(|resource| resource.name == level) {
                let what = format!("there is no level `{level}`: tables need a service such as Hive's or Cordon's own");
                return Err(error("serviceDef.resources", what));
            }
        }
        if !policies.service_def.access_types.iter().any(|access| access.name.eq_ignore_ascii_case(SELECT)) {
            return Err(error("serviceDef.accessTypes", format!("there is no access `{SELECT}`")));
        }
        let tags = documents.tags.as_ref().filter(|tags| !tags.is_null()).map(ServiceTags::from_json).transpose()?;
        let roles = match &documents.roles {
            None | Some(Value::Null) => Vec::new(),
            // The download has a list in it, exports are one.
            Some(Value::Object(roles)) => match roles.get("rangerRoles") {
                None | Some(Value::Null) => Vec::new(),
                Some(list) => Role::list_from_json(list)?,
            },
            Some(list) => Role::list_from_json(list)?,
        };
        let (users, groups) = match &documents.users {
            None | Some(Value::Null) => (UserStore::default(), BTreeMap::new()),
            Some(users) => (UserStore::from_json(users)?, groups_of(users)?),
        };
        Ok(Self { policies, tags, roles, users, groups })
    }

    pub fn version(&self) -> Option<i64> {
        self.policies.policy_version
    }

    fn all(&self) -> impl Iterator<Item = &Policy> {
        let tags = self.policies.tag_policies.iter().flat_map(|tags| &tags.policies);
        let zones = self.policies.security_zones.iter().flat_map(|zone| &zone.policies);
        let changed = self.policies.policy_deltas.iter().map(|delta| &delta.policy);
        self.policies.policies.iter().chain(tags).chain(zones).chain(changed)
    }

    /// All that looks wrong with the policies: what cannot be evaluated, what can never come to effect, and, where it is known what there
    /// is, names that fit nothing. `now` is in milliseconds since 1970.
    pub fn lint(
        &self,
        service: &Service,
        datasets: &[crate::Dataset<'_>],
        now: i64,
    ) -> Result<Vec<Problem>, RangerError> {
        let mut problems = service.engine.problems();
        let options = Options::default();
        problems.extend(ranger::lint(&self.policies.policies, &self.policies.service_def, Some(now), &options)?);
        for zone in &self.policies.security_zones {
            problems.extend(ranger::lint(&zone.policies, &self.policies.service_def, Some(now), &options)?);
        }
        for policy in
            self.policies.policies.iter().chain(self.policies.security_zones.iter().flat_map(|zone| &zone.policies))
        {
            if policy.is_enabled && !datasets.is_empty() {
                unmatched(policy, &service.database, datasets, &mut problems);
            }
        }
        problems.sort();
        problems.dedup();
        Ok(problems)
    }
}

/// Which groups a user is in, by the user store.
fn groups_of(users: &Value) -> Result<BTreeMap<String, BTreeSet<String>>, RangerError> {
    let wrong = |at: String| RangerError { at, what: "a list of names is expected".to_owned() };
    let mut all = BTreeMap::new();
    let Some(mapping) = users.get("userGroupMapping").filter(|mapping| !mapping.is_null()) else { return Ok(all) };
    let mapping = mapping.as_object().ok_or_else(|| RangerError {
        at: "userStore.userGroupMapping".to_owned(),
        what: "an object is expected".to_owned(),
    })?;
    for (user, groups) in mapping {
        let at = || format!("userStore.userGroupMapping.{user}");
        let groups = groups.as_array().ok_or_else(|| wrong(at()))?;
        let names: Option<BTreeSet<String>> = groups.iter().map(|name| name.as_str().map(str::to_owned)).collect();
        all.insert(user.clone(), names.ok_or_else(|| wrong(at()))?);
    }
    Ok(all)
}

/// Names of a policy's resources that fit nothing that there is.
fn unmatched(policy: &Policy, database: &str, datasets: &[crate::Dataset<'_>], problems: &mut Vec<Problem>) {
    let mut tell = |level: &str, value: &str| {
        let field = format!("resources.{level}");
        let what = match level {
            "database" => format!("`{value}` is not the project's database, which is `{database}`"),
            "table" => format!("no dataset is named `{value}`"),
            _ => format!("no column is named `{value}`"),
        };
        problems.push(Problem { policy_id: policy.id, policy: policy.name.clone(), field, what });
    };
    for resources in std::iter::once(&policy.resources).chain(&policy.additional_resources) {
        let level = |name: &str| {
            resources.iter().find(|(level, resource)| level == name && !resource.is_excludes).map(|(_, of)| &of.values)
        };
        // What is put in from the request can be anything.
        let fixed = |value: &&String| !value.contains('{') && !value.is_empty();
        let fits = |pattern: &str, name: &str| Wildcard::folded(pattern).matches(&name.to_lowercase());
        for value in level("database").into_iter().flatten().filter(fixed) {
            if !fits(value, database) {
                tell("database", value);
            }
        }
        let tables = level("table");
        for value in tables.into_iter().flatten().filter(fixed) {
            if !datasets.iter().any(|dataset| fits(value, dataset.name)) {
                tell("table", value);
            }
        }
        let covered: Vec<_> = datasets
            .iter()
            .filter(|dataset| tables.is_none_or(|tables| tables.iter().any(|table| fits(table, dataset.name))))
            .collect();
        if covered.is_empty() {
            continue;
        }
        for value in level("column").into_iter().flatten().filter(fixed) {
            if !covered.iter().any(|dataset| dataset.columns.iter().any(|column| fits(value, column))) {
                tell("column", value);
            }
        }
    }
}

impl Service {
    pub fn new(records: &Records, database: &str) -> Result<Self, RangerError> {
        let mut engine = Engine::new(&records.policies, Options::default())?;
        if let Some(tags) = &records.tags {
            engine.set_tags(tags);
        }
        engine.set_roles(&records.roles);
        engine.set_users(records.users.clone());
        let mut service = Self {
            name: records.policies.service_name.clone(),
            database: database.to_owned(),
            engine,
            names: BTreeMap::new(),
            users: records.users.user_attributes.keys().chain(records.groups.keys()).cloned().collect(),
            named_groups: BTreeSet::new(),
            groups: records.groups.clone(),
            attributes: records.users.user_attributes.clone(),
            looks_around: defines_together(&records.policies.service_def)
                || records.policies.tag_policies.iter().flat_map(|tags| &tags.service_def).any(defines_together),
        };
        service.users.extend(records.roles.iter().flat_map(|role| role.users.iter().cloned()));
        service.named_groups.extend(records.roles.iter().flat_map(|role| role.groups.iter().cloned()));
        records.all().for_each(|policy| service.know(policy));
        Ok(service)
    }

    /// The service after some policies changed: as if it had been made anew, without compiling the others.
    #[must_use]
    pub fn changed(&self, deltas: &[PolicyDelta], zones: Option<&[SecurityZone]>) -> Self {
        let mut service = self.clone();
        service.engine.update(deltas, zones);
        let of_zones = zones
            .into_iter()
            .flatten()
            .flat_map(|zone| zone.policies.iter().chain(zone.policy_deltas.iter().map(|delta| &delta.policy)));
        deltas.iter().map(|delta| &delta.policy).chain(of_zones).for_each(|policy| service.know(policy));
        service
    }

    fn know(&mut self, policy: &Policy) {
        if !policy.name.is_empty() {
            self.names.insert(policy.id, policy.name.clone());
        }
        let items = [
            &policy.policy_items,
            &policy.deny_policy_items,
            &policy.allow_exceptions,
            &policy.deny_exceptions,
            &policy.data_mask_policy_items,
            &policy.row_filter_policy_items,
        ];
        for item in items.into_iter().flatten() {
            let PolicyItem { users, groups, .. } = item;
            // `{USER}` and its like are nobody's name.
            self.users.extend(users.iter().filter(|user| !user.starts_with('{')).cloned());
            self.named_groups.extend(groups.iter().filter(|group| *group != "public").cloned());
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn database(&self) -> &str {
        &self.database
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The users whom policies, roles and the user store name.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.iter().map(String::as_str)
    }

    /// The groups that policies and roles name.
    pub fn named_groups(&self) -> impl Iterator<Item = &str> {
        self.named_groups.iter().map(String::as_str)
    }

    /// The groups of a user by the user store.
    pub fn groups(&self, user: &str) -> impl Iterator<Item = &str> {
        self.groups.get(user).into_iter().flatten().map(String::as_str)
    }

    fn resource(&self, dataset: &str, column: Option<&str>) -> Resource {
        let levels = [("database", self.database.as_str()), ("table", dataset)];
        Resource::of(levels.into_iter().chain(column.map(|column| ("column", column))))
    }

    /// All of Ranger's request but its resource.
    fn asked(&self, request: &Request<'_>) -> ranger::Request {
        let principal = request.principal;
        let mut groups = principal.groups.clone();
        groups.extend(self.groups(&principal.name).map(str::to_owned));
        // What came with a log-in is put into filters as it is: no text that could end a literal there.
        let plain = |value: &String| ranger::is_plain(value);
        // Whoever asks says it, so that it holds nothing but a name, in or out of a literal.
        let named = |project: &&String| project.chars().all(|c| c.is_alphanumeric() || "._-:/".contains(c));
        let project = request.usage.project.as_ref().filter(named).cloned().unwrap_or_default();
        let told: BTreeMap<String, String> = principal
            .attributes
            .iter()
            .filter(|(_, value)| plain(value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let user_attributes = if told.is_empty() {
            BTreeMap::new()
        } else {
            let mut all = self.attributes.get(&principal.name).cloned().unwrap_or_default();
            all.extend(told);
            BTreeMap::from([(principal.name.clone(), all)])
        };
        ranger::Request {
            access_type: SELECT.to_owned(),
            action: Some(SELECT.to_owned()),
            user: Some(principal.name.clone()),
            user_groups: groups.into_iter().collect(),
            access_time: Some(request.time),
            // Whoever comes from no network is on this machine; without an address every condition on it would hold.
            client_ip_address: Some(principal.client.map_or_else(|| "127.0.0.1".to_owned(), |ip| ip.to_string())),
            context: BTreeMap::from([
                (PURPOSE.to_owned(), request.usage.purpose.name().to_owned()),
                (RESEARCH_PROJECT.to_owned(), project),
            ]),
            user_attributes,
            ..ranger::Request::default()
        }
    }

    fn reason(&self, decision: &ranger::Decision) -> Reason {
        match &decision.basis {
            Basis::Nothing => Reason::NoGrant,
            Basis::SuperUser => Reason::RangerSuperUser,
            Basis::Policy { id, version, item, .. } => Reason::Ranger {
                policy: *id,
                name: self.names.get(id).cloned().unwrap_or_default(),
                version: *version,
                item: item.to_string(),
            },
        }
    }

    pub(crate) fn explain(&self, request: &Request<'_>) -> Sight {
        let mut asked = self.asked(request);
        let mut troubles = BTreeSet::new();
        let mut ask = |asked: &ranger::Request, kind: PolicyType| {
            let decision = self.engine.decide(asked, kind);
            troubles.extend(decision.troubles.iter().map(ToString::to_string));
            decision
        };
        asked.resource = self.resource(request.dataset, None);
        let rows = ask(&asked, PolicyType::RowFilter);
        let filter = rows.row_filter.as_ref().filter(|filter| rows.allowed && !filter.trim().is_empty());
        let row_filter = filter.map(|filter| RowSight { filter: filter.clone(), why: self.reason(&rows) });
        let mut columns = Vec::with_capacity(request.columns.len());
        for (at, name) in request.columns.iter().enumerate() {
            asked.resource = self.resource(request.dataset, Some(name));
            asked.more_tags = tags_at(request, at);
            let access = ask(&asked, PolicyType::Access);
            let visible = access.allowed && access.determined;
            let mut mask = None;
            if visible {
                let masked = ask(&asked, PolicyType::DataMask);
                let found = masked.mask.as_ref().filter(|_| masked.allowed).and_then(|info| mask_of(info, name));
                mask = found.map(|mask| MaskSight { mask, why: self.reason(&masked) });
            }
            columns.push(ColumnSight { name: (*name).to_owned(), visible, why: vec![self.reason(&access)], mask });
        }
        Sight { dataset: request.dataset.to_owned(), columns, row_filter, troubles: troubles.into_iter().collect() }
    }

    pub(crate) fn covers(&self, request: &Request<'_>) -> bool {
        let mut asked = self.asked(request);
        asked.resource = self.resource(request.dataset, None);
        asked.matching_scope = MatchingScope::SelfOrDescendants;
        let decision = self.engine.decide(&asked, PolicyType::Access);
        decision.allowed && decision.determined
    }

    /// Asks again for all columns that a query reads, now that it is known what it reads together. What is masked or filtered otherwise
    /// than when it was asked for alone counts as refused: the plan is made already.
    pub(crate) fn together(&self, requests: &[Request<'_>]) -> bool {
        if !self.looks_around {
            return true;
        }
        let all: Vec<Resource> = requests
            .iter()
            .flat_map(|request| request.columns.iter().map(|column| self.resource(request.dataset, Some(column))))
            .collect();
        requests.iter().all(|request| {
            let mut alone = self.asked(request);
            let mut together = ranger::Request { requested_resources: Some(all.clone()), ..alone.clone() };
            let mut same = |column: Option<(usize, &str)>, kind: PolicyType| {
                for asked in [&mut alone, &mut together] {
                    asked.resource = self.resource(request.dataset, column.map(|(_, name)| name));
                    asked.more_tags = column.map_or_else(Vec::new, |(at, _)| tags_at(request, at));
                }
                let (before, now) = (self.engine.decide(&alone, kind), self.engine.decide(&together, kind));
                match kind {
                    PolicyType::Access => now.allowed && now.determined,
                    PolicyType::DataMask => before.mask == now.mask,
                    PolicyType::RowFilter => before.row_filter == now.row_filter,
                }
            };
            same(None, PolicyType::RowFilter)
                && request.columns.iter().enumerate().all(|(at, name)| {
                    same(Some((at, *name)), PolicyType::Access) && same(Some((at, *name)), PolicyType::DataMask)
                })
        })
    }
}

/// The tags of one of the request's columns.
fn tags_at(request: &Request<'_>, at: usize) -> Vec<RequestTag> {
    request.facts.get(at).unwrap_or(&ColumnFacts::default()).tags().into()
}

fn defines_together(def: &ServiceDef) -> bool {
    def.policy_conditions.iter().any(|condition| condition.evaluator.ends_with("AccessedTogetherCondition"))
}

/// Ranger's mask as the engine applies it; `None` leaves the value as it is. What is unknown hides everything.
fn mask_of(info: &DataMaskInfo, column: &str) -> Option<Mask> {
    Some(match info.data_mask_type.to_ascii_uppercase().as_str() {
        "MASK_NONE" => return None,
        "MASK" => Mask::Redact,
        "MASK_SHOW_LAST_4" => Mask::ShowLast4,
        "MASK_SHOW_FIRST_4" => Mask::ShowFirst4,
        "MASK_HASH" => Mask::Hash,
        "MASK_DATE_SHOW_YEAR" => Mask::ShowYear,
        "CUSTOM" => match info.value_expr.as_deref().map(str::trim).filter(|value| !value.is_empty()) {
            Some(value) => Mask::Custom(value.replace("{col}", &format!("\"{}\"", column.replace('"', "\"\"")))),
            None => Mask::Null,
        },
        _ => Mask::Null,
    })
}

/// Puts the changes of a download into the document that they are changes of. Of another order than full downloads have it, which does
/// not matter: policies are asked by id and priority.
pub fn apply_deltas(full: &mut Value, download: &Value) -> Result<(), RangerError> {
    let wrong = |at: &str, what: &str| RangerError { at: at.to_owned(), what: what.to_owned() };
    let deltas = download.get("policyDeltas").cloned().unwrap_or_default();
    let tag_service = full.pointer("/tagPolicies/serviceDef/name").and_then(Value::as_str).map(str::to_owned);
    let full = full.as_object_mut().ok_or_else(|| wrong("servicePolicies", "an object is expected"))?;
    for delta in deltas.as_array().into_iter().flatten() {
        let of = delta.pointer("/policy/serviceType").and_then(Value::as_str);
        let list = if of.is_some() && of == tag_service.as_deref() {
            full.get_mut("tagPolicies")
                .and_then(Value::as_object_mut)
                .map(|tags| tags.entry("policies").or_insert(Value::Null))
        } else {
            Some(full.entry("policies").or_insert(Value::Null))
        };
        change(list.ok_or_else(|| wrong("tagPolicies", "missing"))?, delta)?;
    }
    // Zones come whole but for their policies.
    let old = full.remove("securityZones").unwrap_or_default();
    let mut zones = serde_json::Map::new();
    for (name, zone) in download.get("securityZones").and_then(Value::as_object).into_iter().flatten() {
        let mut zone = zone.clone();
        let given = zone.get("policies").and_then(Value::as_array).is_some_and(|policies| !policies.is_empty());
        if let Some(fields) = zone.as_object_mut() {
            let deltas = fields.remove("policyDeltas").unwrap_or_default();
            if !given {
                fields.insert(
                    "policies".to_owned(),
                    old.get(name).and_then(|old| old.get("policies")).cloned().unwrap_or_default(),
                );
            }
            for delta in deltas.as_array().into_iter().flatten() {
                change(fields.entry("policies").or_insert(Value::Null), delta)?;
            }
        }
        zones.insert(name.clone(), zone);
    }
    full.insert("securityZones".to_owned(), Value::Object(zones));
    if let Some(version) = download.get("policyVersion") {
        full.insert("policyVersion".to_owned(), version.clone());
    }
    Ok(())
}

fn change(list: &mut Value, delta: &Value) -> Result<(), RangerError> {
    let wrong = |at: &str, what: &str| RangerError { at: format!("policyDeltas.{at}"), what: what.to_owned() };
    if list.is_null() {
        *list = Value::Array(Vec::new());
    }
    let policies = list.as_array_mut().ok_or_else(|| wrong("policies", "a list is expected"))?;
    let policy = delta.get("policy").filter(|policy| policy.is_object()).ok_or_else(|| wrong("policy", "missing"))?;
    let id = policy.get("id").and_then(Value::as_i64).ok_or_else(|| wrong("policy.id", "missing"))?;
    let at = policies.iter().position(|known| known.get("id").and_then(Value::as_i64) == Some(id));
    match (delta.get("changeType").and_then(Value::as_i64), at) {
        (Some(0 | 1), Some(at)) => {
            if let Some(known) = policies.get_mut(at) {
                *known = policy.clone();
            }
        }
        (Some(0 | 1), None) => policies.push(policy.clone()),
        (Some(2), Some(at)) => drop(policies.remove(at)),
        (Some(2), None) => {}
        _ => return Err(wrong("changeType", "not a change of a policy: all policies have to be read anew")),
    }
    Ok(())
}
