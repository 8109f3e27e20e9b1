//! Ranger's own records, as its Admin hands them out: names are Ranger's terms in snake case.
//!
//! Every record is read with `from_json`. What a record does not name is ignored; a field of the wrong type is an error
//! that names the policy and the field, never its value. Ids that are missing are -1, as Ranger has it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::RangerError;
use super::read::{At, Fields, flag, integer, list, text, text_map, texts};

/// What a policy decides on: Ranger's `policyType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyType {
    /// 0: may it be done.
    Access,
    /// 1: how a value is hidden.
    DataMask,
    /// 2: which rows are seen.
    RowFilter,
}

/// A kind of service: what its resources are and what may be done with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceDef {
    pub name: String,
    pub resources: Vec<ResourceDef>,
    pub access_types: Vec<AccessTypeDef>,
    /// `_READ`, `_CREATE` and so on. Where the record has none they follow from the categories of the access types.
    pub marker_access_types: Vec<AccessTypeDef>,
    pub policy_conditions: Vec<ConditionDef>,
    pub context_enrichers: Vec<EnricherDef>,
    pub data_mask_def: Option<DataMaskDef>,
    pub row_filter_def: Option<RowFilterDef>,
    /// Among them `enableDenyAndExceptionsInPolicies` and `enableImplicitConditionExpression`, both `true` where
    /// absent.
    pub options: BTreeMap<String, String>,
    /// Default values of a service's configuration, by name.
    pub config_defaults: BTreeMap<String, String>,
}

/// One level of a resource, such as a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceDef {
    pub name: String,
    pub level: i64,
    pub parent: Option<String>,
    pub mandatory: Option<bool>,
    pub recursive_supported: Option<bool>,
    pub excludes_supported: Option<bool>,
    /// Class of the matcher; the default one where absent or unknown.
    pub matcher: Option<String>,
    pub matcher_options: BTreeMap<String, String>,
    pub is_valid_leaf: Option<bool>,
    pub access_type_restrictions: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessTypeDef {
    pub name: String,
    pub implied_grants: Vec<String>,
    /// `CREATE`, `READ`, `UPDATE`, `DELETE` or `MANAGE`.
    pub category: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConditionDef {
    pub name: String,
    /// Class of the evaluator.
    pub evaluator: String,
    pub evaluator_options: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnricherDef {
    pub name: String,
    pub enricher: String,
    pub enricher_options: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataMaskDef {
    pub mask_types: Vec<String>,
    pub access_types: Vec<AccessTypeDef>,
    pub resources: Vec<ResourceDef>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowFilterDef {
    pub access_types: Vec<AccessTypeDef>,
    pub resources: Vec<ResourceDef>,
}

/// The values of one level of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyResource {
    pub values: Vec<String>,
    pub is_excludes: bool,
    pub is_recursive: bool,
}

/// A resource: its levels by name, in the record's order.
pub type PolicyResources = Vec<(String, PolicyResource)>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub id: i64,
    pub name: String,
    pub version: Option<i64>,
    /// Ranger's number, so that one that is unknown is told and not guessed: [`Policy::kind`].
    pub policy_type: i64,
    /// 0 normal, 1 override.
    pub policy_priority: i64,
    pub is_enabled: bool,
    pub is_audit_enabled: bool,
    pub is_deny_all_else: bool,
    pub resources: PolicyResources,
    pub additional_resources: Vec<PolicyResources>,
    /// All of them must hold before any item is looked at.
    pub conditions: Vec<PolicyCondition>,
    pub policy_items: Vec<PolicyItem>,
    pub deny_policy_items: Vec<PolicyItem>,
    pub allow_exceptions: Vec<PolicyItem>,
    pub deny_exceptions: Vec<PolicyItem>,
    pub data_mask_policy_items: Vec<PolicyItem>,
    pub row_filter_policy_items: Vec<PolicyItem>,
    pub validity_schedules: Vec<ValiditySchedule>,
    pub zone_name: Option<String>,
    /// Kind of the service: tells deltas of tag policies from others.
    pub service_type: Option<String>,
}

/// Who may do what, under which conditions; of a mask or row filter policy also what follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyItem {
    pub accesses: Vec<ItemAccess>,
    pub users: Vec<String>,
    pub groups: Vec<String>,
    pub roles: Vec<String>,
    pub conditions: Vec<PolicyCondition>,
    pub delegate_admin: bool,
    pub data_mask_info: Option<DataMaskInfo>,
    pub filter_expr: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemAccess {
    pub access_type: String,
    pub is_allowed: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyCondition {
    /// Name of the condition's definition.
    pub condition_type: String,
    pub values: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataMaskInfo {
    pub data_mask_type: String,
    pub condition_expr: Option<String>,
    pub value_expr: Option<String>,
}

/// When a policy or a tag is valid. Times are `yyyy/MM/dd HH:mm:ss`, in the schedule's time zone or else the engine's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValiditySchedule {
    pub start_time: Option<String>,
    pub end_time: Option<String>,
    pub time_zone: Option<String>,
    pub recurrences: Vec<Recurrence>,
}

/// From each moment of the schedule on, for the interval. Fields are lists of numbers and ranges, `*` for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recurrence {
    pub minute: String,
    pub hour: String,
    pub day_of_month: String,
    /// 1 is Sunday.
    pub day_of_week: String,
    /// 1 is January.
    pub month: String,
    pub year: String,
    pub days: i64,
    pub hours: i64,
    pub minutes: i64,
}

/// What the Admin answers to a download of policies: everything an engine is made of, or the changes since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePolicies {
    pub service_name: String,
    pub service_def: ServiceDef,
    pub policies: Vec<Policy>,
    pub policy_version: Option<i64>,
    pub tag_policies: Option<TagPolicies>,
    pub security_zones: Vec<SecurityZone>,
    pub audit_mode: Option<String>,
    pub service_config: BTreeMap<String, String>,
    pub policy_deltas: Vec<PolicyDelta>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagPolicies {
    pub service_name: String,
    pub service_def: Option<ServiceDef>,
    pub policies: Vec<Policy>,
    pub audit_mode: Option<String>,
    pub service_config: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityZone {
    pub name: String,
    pub resources: Vec<Vec<(String, Vec<String>)>>,
    pub policies: Vec<Policy>,
    pub policy_deltas: Vec<PolicyDelta>,
    pub contains_associated_tag_service: bool,
}

/// One change of the policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDelta {
    pub change: Change,
    /// Of a deletion only the id counts.
    pub policy: Policy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Create,
    Update,
    Delete,
}

/// The tags of a service's resources, as the Admin hands them out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceTags {
    pub service_name: String,
    pub tags: BTreeMap<i64, Tag>,
    pub service_resources: Vec<ServiceResource>,
    pub resource_to_tag_ids: BTreeMap<i64, Vec<i64>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// Name of the kind of tag, which tag policies name.
    pub tag_type: String,
    pub attributes: BTreeMap<String, String>,
    pub validity_periods: Vec<ValiditySchedule>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceResource {
    pub id: i64,
    pub resource_elements: PolicyResources,
}

/// Who belongs to a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    pub name: String,
    pub users: Vec<String>,
    pub groups: Vec<String>,
    /// Roles whose members belong to this role too.
    pub roles: Vec<String>,
}

/// Attributes of users and groups, for conditions and macros.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserStore {
    pub user_attributes: BTreeMap<String, BTreeMap<String, String>>,
    pub group_attributes: BTreeMap<String, BTreeMap<String, String>>,
}

/// Which accesses are written to the audit log, whatever the policies say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub access_result: Option<AccessResult>,
    pub resources: PolicyResources,
    pub access_types: Vec<String>,
    pub actions: Vec<String>,
    pub users: Vec<String>,
    pub groups: Vec<String>,
    pub roles: Vec<String>,
    pub is_audited: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessResult {
    Denied,
    Allowed,
    NotDetermined,
}

impl Policy {
    /// What it decides on; none where Ranger's number is unknown.
    pub fn kind(&self) -> Option<PolicyType> {
        match self.policy_type {
            0 => Some(PolicyType::Access),
            1 => Some(PolicyType::DataMask),
            2 => Some(PolicyType::RowFilter),
            _ => None,
        }
    }

    pub fn from_json(value: &Value) -> Result<Self, RangerError> {
        Self::read(value, &At::root("policy"))
    }

    pub(crate) fn read(value: &Value, at: &At<'_>) -> Result<Self, RangerError> {
        let fields = Fields::of(value, at)?;
        let id = fields.get("id", integer)?;
        let name = fields.get("name", text)?.unwrap_or_default();
        let at =
            At::named(format!("policy {} `{}`", id.map_or_else(|| "without id".to_owned(), |id| id.to_string()), name));
        let fields = Fields::of(value, &at)?;
        let items = |name: &str| fields.each(name, PolicyItem::read);
        Ok(Self {
            id: id.unwrap_or(-1),
            version: fields.get("version", integer)?,
            policy_type: fields.get("policyType", integer)?.unwrap_or(0),
            policy_priority: fields.get("policyPriority", integer)?.unwrap_or(0),
            is_enabled: fields.get("isEnabled", flag)?.unwrap_or(true),
            is_audit_enabled: fields.get("isAuditEnabled", flag)?.unwrap_or(true),
            is_deny_all_else: fields.get("isDenyAllElse", flag)?.unwrap_or(false),
            resources: fields.with("resources", resources)?,
            additional_resources: fields.each("additionalResources", resources)?,
            conditions: fields.each("conditions", PolicyCondition::read)?,
            policy_items: items("policyItems")?,
            deny_policy_items: items("denyPolicyItems")?,
            allow_exceptions: items("allowExceptions")?,
            deny_exceptions: items("denyExceptions")?,
            data_mask_policy_items: items("dataMaskPolicyItems")?,
            row_filter_policy_items: items("rowFilterPolicyItems")?,
            validity_schedules: fields.each("validitySchedules", ValiditySchedule::read)?,
            zone_name: fields.get("zoneName", text)?.filter(|zone| !zone.is_empty()),
            service_type: fields.get("serviceType", text)?,
            name,
        })
    }

    pub(crate) fn items_mut(&mut self) -> [&mut Vec<PolicyItem>; 6] {
        [
            &mut self.policy_items,
            &mut self.deny_policy_items,
            &mut self.allow_exceptions,
            &mut self.deny_exceptions,
            &mut self.data_mask_policy_items,
            &mut self.row_filter_policy_items,
        ]
    }
}

/// Levels of a resource: `{"table": {"values": ["a*"]}}`.
pub fn resources_from_json(value: &Value) -> Result<PolicyResources, RangerError> {
    resources(value, &At::root("resources"))
}

pub(crate) fn resources(value: &Value, at: &At<'_>) -> Result<PolicyResources, RangerError> {
    let fields = Fields::of(value, at)?;
    fields.entries().map(|(name, value)| Ok((name.to_owned(), PolicyResource::read(value, &at.field(name))?))).collect()
}

impl PolicyResource {
    pub fn from_json(value: &Value) -> Result<Self, RangerError> {
        Self::read(value, &At::root("resource"))
    }

    fn read(value: &Value, at: &At<'_>) -> Result<Self, RangerError> {
        let fields = Fields::of(value, at)?;
        Ok(Self {
            values: fields.with("values", texts)?,
            is_excludes: fields.get("isExcludes", flag)?.unwrap_or(false),
            is_recursive: fields.get("isRecursive", flag)?.unwrap_or(false),
        })
    }
}

impl PolicyItem {
    fn read(value: &Value, at: &At<'_>) -> Result<Self, RangerError> {
        let fields = Fields::of(value, at)?;
        Ok(Self {
            accesses: fields.each("accesses", |value, at| {
                let fields = Fields::of(value, at)?;
                Ok(ItemAccess {
                    access_type: fields.get("type", text)?.unwrap_or_default(),
                    is_allowed: fields.get("isAllowed", flag)?.unwrap_or(true),
                })
            })?,
            users: fields.with("users", texts)?,
            groups: fields.with("groups", texts)?,
            roles: fields.with("roles", texts)?,
            conditions: fields.each("conditions", PolicyCondition::read)?,
            delegate_admin: fields.get("delegateAdmin", flag)?.unwrap_or(false),
            data_mask_info: fields.with("dataMaskInfo", |value, at| {
                if value.is_null() {
                    return Ok(None);
                }
                let fields = Fields::of(value, at)?;
                Ok(Some(DataMaskInfo {
                    data_mask_type: fields.get("dataMaskType", text)?.unwrap_or_default(),
                    condition_expr: fields.get("conditionExpr", text)?,
                    value_expr: fields.get("valueExpr", text)?,
                }))
            })?,
            filter_expr: fields.with("rowFilterInfo", |value, at| Fields::of(value, at)?.get("filterExpr", text))?,
        })
    }
}

impl PolicyCondition {
    fn read(value: &Value, at: &At<'_>) -> Result<Self, RangerError> {
        let fields = Fields::of(value, at)?;
        Ok(Self {
            condition_type: fields.get("type", text)?.unwrap_or_default(),
            values: fields.with("values", texts)?,
        })
    }
}

impl ValiditySchedule {
    pub fn from_json(value: &Value) -> Result<Self, RangerError> {
        Self::read(value, &At::root("validitySchedule"))
    }

    pub(crate) fn read(value: &Value, at: &At<'_>) -> Result<Self, RangerError> {
        let fields = Fields::of(value, at)?;
        let filled = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        Ok(Self {
            start_time: filled(fields.get("startTime", text)?),
            end_time: filled(fields.get("endTime", text)?),
            time_zone: filled(fields.get("timeZone", text)?),
            recurrences: fields.each("recurrences", |value, at| {
                let fields = Fields::of(value, at)?;
                let schedule = |name: &str| -> Result<String, RangerError> {
                    fields.with("schedule", |value, at| Ok(Fields::of(value, at)?.get(name, text)?.unwrap_or_default()))
                };
                let interval = |name: &str| -> Result<i64, RangerError> {
                    fields.with("interval", |value, at| Ok(Fields::of(value, at)?.get(name, integer)?.unwrap_or(0)))
                };
                Ok(Recurrence {
                    minute: schedule("minute")?,
                    hour: schedule("hour")?,
                    day_of_month: schedule("dayOfMonth")?,
                    day_of_week: schedule("dayOfWeek")?,
                    month: schedule("month")?,
                    year: schedule("year")?,
                    days: interval("days")?,
                    hours: interval("hours")?,
                    minutes: interval("minutes")?,
                })
            })?,
        })
    }
}

impl ServiceDef {
    pub fn from_json(value: &Value) -> Result<Self, RangerError> {
        Self::read(value, &At::root("serviceDef"))
    }

    fn read(value: &Value, at: &At<'_>) -> Result<Self, RangerError> {
        let fields = Fields::of(value, at)?;
        let access_types = fields.each("accessTypes", AccessTypeDef::read)?;
        let mut markers = fields.each("markerAccessTypes", AccessTypeDef::read)?;
        if markers.is_empty() {
            markers = AccessTypeDef::markers(&access_types);
        }
        Ok(Self {
            name: fields.get("name", text)?.unwrap_or_default(),
            resources: fields.each("resources", ResourceDef::read)?,
            access_types,
            marker_access_types: markers,
            policy_conditions: fields.each("policyConditions", |value, at| {
                let fields = Fields::of(value, at)?;
                Ok(ConditionDef {
                    name: fields.get("name", text)?.unwrap_or_default(),
                    evaluator: fields.get("evaluator", text)?.unwrap_or_default(),
                    evaluator_options: fields.with("evaluatorOptions", text_map)?,
                })
            })?,
            context_enrichers: fields.each("contextEnrichers", |value, at| {
                let fields = Fields::of(value, at)?;
                Ok(EnricherDef {
                    name: fields.get("name", text)?.unwrap_or_default(),
                    enricher: fields.get("enricher", text)?.unwrap_or_default(),
                    enricher_options: fields.with("enricherOptions", text_map)?,
                })
            })?,
            data_mask_def: fields.with("dataMaskDef", |value, at| {
                let fields = Fields::of(value, at)?;
                Ok((!value.is_null()).then_some(DataMaskDef {
                    mask_types: fields.each("maskTypes", |value, at| {
                        Ok(Fields::of(value, at)?.get("name", text)?.unwrap_or_default())
                    })?,
                    access_types: fields.each("accessTypes", AccessTypeDef::read)?,
                    resources: fields.each("resources", ResourceDef::read)?,
                }))
            })?,
            row_filter_def: fields.with("rowFilterDef", |value, at| {
                let fields = Fields::of(value, at)?;
                Ok((!value.is_null()).then_some(RowFilterDef {
                    access_types: fields.each("accessTypes", AccessTypeDef::read)?,
                    resources: fields.each("resources", ResourceDef::read)?,
                }))
            })?,
            options: fields.with("options", text_map)?,
            config_defaults: fields
                .each("configs", |value, at| {
                    let fields = Fields::of(value, at)?;
                    Ok((fields.get("name", text)?, fields.get("defaultValue", text)?))
                })?
                .into_iter()
                .filter_map(|(name, value)| Some((name?, value?)))
                .collect(),
        })
    }
}

impl ResourceDef {
    pub fn from_json(value: &Value) -> Result<Self, RangerError> {
        Self::read(value, &At::root("resourceDef"))
    }

    fn read(value: &Value, at: &At<'_>) -> Result<Self, RangerError> {
        let fields = Fields::of(value, at)?;
        Ok(Self {
            name: fields.get("name", text)?.unwrap_or_default(),
            level: fields.get("level", integer)?.unwrap_or(0),
            parent: fields.get("parent", text)?.filter(|parent| !parent.is_empty()),
            mandatory: fields.get("mandatory", flag)?,
            recursive_supported: fields.get("recursiveSupported", flag)?,
            excludes_supported: fields.get("excludesSupported", flag)?,
            matcher: fields.get("matcher", text)?.filter(|class| !class.is_empty()),
            matcher_options: fields.with("matcherOptions", text_map)?,
            is_valid_leaf: fields.get("isValidLeaf", flag)?,
            access_type_restrictions: fields.with("accessTypeRestrictions", texts)?,
        })
    }
}

impl AccessTypeDef {
    fn read(value: &Value, at: &At<'_>) -> Result<Self, RangerError> {
        let fields = Fields::of(value, at)?;
        Ok(Self {
            name: fields.get("name", text)?.unwrap_or_default(),
            implied_grants: fields.with("impliedGrants", texts)?,
            category: fields.get("category", text)?,
        })
    }

    /// `_CREATE`, `_READ`, `_UPDATE`, `_DELETE`, `_MANAGE` and `_ALL`, from the categories of `access_types`.
    pub fn markers(access_types: &[Self]) -> Vec<Self> {
        let of = |marker: &str, wanted: &dyn Fn(&Self) -> bool| Self {
            name: marker.to_owned(),
            implied_grants: access_types.iter().filter(|def| wanted(def)).map(|def| def.name.clone()).collect(),
            category: None,
        };
        let mut markers: Vec<Self> = ["CREATE", "READ", "UPDATE", "DELETE", "MANAGE"]
            .iter()
            .map(|category| of(&format!("_{category}"), &|def| def.category.as_deref() == Some(*category)))
            .collect();
        markers.push(of("_ALL", &|_| true));
        markers
    }
}

impl ServicePolicies {
    pub fn from_json(value: &Value) -> Result<Self, RangerError> {
        let at = At::root("servicePolicies");
        let fields = Fields::of(value, &at)?;
        Ok(Self {
            service_name: fields.get("serviceName", text)?.unwrap_or_default(),
            service_def: fields.with("serviceDef", ServiceDef::read)?,
            policies: fields.each("policies", Policy::read)?,
            policy_version: fields.get("policyVersion", integer)?,
            tag_policies: fields.with("tagPolicies", |value, at| {
                (!value.is_null()).then(|| TagPolicies::read(value, at)).transpose()
            })?,
            security_zones: fields.with("securityZones", zones)?,
            audit_mode: fields.get("auditMode", text)?,
            service_config: fields.with("serviceConfig", text_map)?,
            policy_deltas: fields.with("policyDeltas", deltas)?,
        })
    }
}

impl TagPolicies {
    pub fn from_json(value: &Value) -> Result<Self, RangerError> {
        Self::read(value, &At::root("tagPolicies"))
    }

    fn read(value: &Value, at: &At<'_>) -> Result<Self, RangerError> {
        let fields = Fields::of(value, at)?;
        Ok(Self {
            service_name: fields.get("serviceName", text)?.unwrap_or_default(),
            service_def: fields
                .with("serviceDef", |value, at| (!value.is_null()).then(|| ServiceDef::read(value, at)).transpose())?,
            policies: fields.each("policies", Policy::read)?,
            audit_mode: fields.get("auditMode", text)?,
            service_config: fields.with("serviceConfig", text_map)?,
        })
    }
}

/// Security zones by name: `{"zone1": {"resources": […], "policies": […]}}`.
pub fn zones_from_json(value: &Value) -> Result<Vec<SecurityZone>, RangerError> {
    zones(value, &At::root("securityZones"))
}

fn zones(value: &Value, at: &At<'_>) -> Result<Vec<SecurityZone>, RangerError> {
    let fields = Fields::of(value, at)?;
    fields
        .entries()
        .map(|(name, value)| {
            let at = at.field(name);
            let fields = Fields::of(value, &at)?;
            Ok(SecurityZone {
                name: name.to_owned(),
                resources: fields.each("resources", |value, at| {
                    let fields = Fields::of(value, at)?;
                    fields
                        .entries()
                        .map(|(level, value)| Ok((level.to_owned(), texts(value, &at.field(level))?)))
                        .collect()
                })?,
                policies: fields.each("policies", Policy::read)?,
                policy_deltas: fields.with("policyDeltas", deltas)?,
                contains_associated_tag_service: fields.get("containsAssociatedTagService", flag)?.unwrap_or(false),
            })
        })
        .collect()
}

/// Changes of policies: `[{"changeType": 1, "policy": {…}}]`. Changes that are not of policies are refused: they ask
/// for a full download.
pub fn deltas_from_json(value: &Value) -> Result<Vec<PolicyDelta>, RangerError> {
    deltas(value, &At::root("policyDeltas"))
}

fn deltas(value: &Value, at: &At<'_>) -> Result<Vec<PolicyDelta>, RangerError> {
    list(value, at)?
        .iter()
        .enumerate()
        .map(|(index, value)| {
            let at = at.index(index);
            let fields = Fields::of(value, &at)?;
            let change = match fields.get("changeType", integer)? {
                Some(0) => Change::Create,
                Some(1) => Change::Update,
                Some(2) => Change::Delete,
                _ => {
                    return Err(RangerError::new(
                        at.field("changeType").to_string(),
                        "not a change of a policy: all policies have to be read anew",
                    ));
                }
            };
            let policy = fields.with("policy", |value, at| {
                if value.is_null() {
                    return Err(RangerError::new(at.to_string(), "missing"));
                }
                Policy::read(value, at)
            })?;
            Ok(PolicyDelta { change, policy })
        })
        .collect()
}

impl ServiceTags {
    pub fn from_json(value: &Value) -> Result<Self, RangerError> {
        let at = At::root("serviceTags");
        let fields = Fields::of(value, &at)?;
        let id = |text: &str, at: &At<'_>| {
            text.parse::<i64>().map_err(|_| RangerError::new(at.to_string(), "the id is no number"))
        };
        Ok(Self {
            service_name: fields.get("serviceName", text)?.unwrap_or_default(),
            tags: fields.with("tags", |value, at| {
                let fields = Fields::of(value, at)?;
                fields.entries().map(|(key, value)| Ok((id(key, at)?, Tag::read(value, &at.field(key))?))).collect()
            })?,
            service_resources: fields.each("serviceResources", |value, at| {
                let fields = Fields::of(value, at)?;
                Ok(ServiceResource {
                    id: fields.get("id", integer)?.unwrap_or(-1),
                    resource_elements: fields.with("resourceElements", resources)?,
                })
            })?,
            resource_to_tag_ids: fields.with("resourceToTagIds", |value, at| {
                let fields = Fields::of(value, at)?;
                fields
                    .entries()
                    .map(|(key, value)| {
                        let at = at.field(key);
                        let ids: Result<Vec<Option<i64>>, RangerError> =
                            list(value, &at)?.iter().map(|value| integer(value, &at)).collect();
                        Ok((id(key, &at)?, ids?.into_iter().flatten().collect()))
                    })
                    .collect()
            })?,
        })
    }
}

impl Tag {
    pub fn from_json(value: &Value) -> Result<Self, RangerError> {
        Self::read(value, &At::root("tag"))
    }

    fn read(value: &Value, at: &At<'_>) -> Result<Self, RangerError> {
        let fields = Fields::of(value, at)?;
        let mut periods = fields.each("validityPeriods", ValiditySchedule::read)?;
        // Tags may carry their periods as a text in an option.
        let option = fields.with("options", |value, at| Fields::of(value, at)?.get("TAG_VALIDITY_PERIODS", text))?;
        if let (true, Some(option)) = (periods.is_empty(), option) {
            let at = at.field("options").to_string();
            let value = super::json::parse(&option).map_err(|error| RangerError::new(at.clone(), error.what))?;
            let at = At::root(&at);
            periods =
                list(&value, &at)?.iter().map(|value| ValiditySchedule::read(value, &at)).collect::<Result<_, _>>()?;
        }
        Ok(Self {
            tag_type: fields.get("type", text)?.unwrap_or_default(),
            attributes: fields.with("attributes", text_map)?,
            validity_periods: periods,
        })
    }
}

impl Role {
    /// `[{"name": "r", "users": [{"name": "u"}], "groups": […], "roles": […]}]`.
    pub fn list_from_json(value: &Value) -> Result<Vec<Self>, RangerError> {
        let at = At::root("rangerRoles");
        list(value, &at)?
            .iter()
            .enumerate()
            .map(|(index, value)| {
                let at = at.index(index);
                let fields = Fields::of(value, &at)?;
                let members = |name: &str| -> Result<Vec<String>, RangerError> {
                    Ok(fields
                        .each(name, |value, at| Fields::of(value, at)?.get("name", text))?
                        .into_iter()
                        .flatten()
                        .collect())
                };
                Ok(Self {
                    name: fields.get("name", text)?.unwrap_or_default(),
                    users: members("users")?,
                    groups: members("groups")?,
                    roles: members("roles")?,
                })
            })
            .collect()
    }
}

impl UserStore {
    pub fn from_json(value: &Value) -> Result<Self, RangerError> {
        let at = At::root("userStore");
        let fields = Fields::of(value, &at)?;
        Ok(Self {
            user_attributes: fields.with("userAttrMapping", attributes)?,
            group_attributes: fields.with("groupAttrMapping", attributes)?,
        })
    }
}

/// Attributes by name: `{"ada": {"dept": "x"}}`.
pub fn attributes_from_json(value: &Value) -> Result<BTreeMap<String, BTreeMap<String, String>>, RangerError> {
    attributes(value, &At::root("attributes"))
}

fn attributes(value: &Value, at: &At<'_>) -> Result<BTreeMap<String, BTreeMap<String, String>>, RangerError> {
    let fields = Fields::of(value, at)?;
    fields.entries().map(|(name, value)| Ok((name.to_owned(), text_map(value, &at.field(name))?))).collect()
}

impl AuditFilter {
    /// The filters of `ranger.plugin.audit.filters`, a text with a list in it.
    pub fn list_from_text(config: &str) -> Result<Vec<Self>, RangerError> {
        let value = super::json::parse(config)?;
        let at = At::root("ranger.plugin.audit.filters");
        let mut filters = Vec::new();
        for (index, value) in list(&value, &at)?.iter().enumerate() {
            if value.is_null() {
                continue;
            }
            let at = at.index(index);
            let fields = Fields::of(value, &at)?;
            filters.push(Self {
                access_result: match fields.get("accessResult", text)?.as_deref() {
                    None => None,
                    Some("DENIED") => Some(AccessResult::Denied),
                    Some("ALLOWED") => Some(AccessResult::Allowed),
                    Some("NOT_DETERMINED") => Some(AccessResult::NotDetermined),
                    Some(_) => {
                        return Err(RangerError::new(
                            at.field("accessResult").to_string(),
                            "DENIED, ALLOWED or NOT_DETERMINED is expected",
                        ));
                    }
                },
                resources: fields.with("resources", resources)?,
                access_types: fields.with("accessTypes", texts)?,
                actions: fields.with("actions", texts)?,
                users: fields.with("users", texts)?,
                groups: fields.with("groups", texts)?,
                roles: fields.with("roles", texts)?,
                is_audited: fields.get("isAudited", flag)?,
            });
        }
        Ok(filters)
    }
}
