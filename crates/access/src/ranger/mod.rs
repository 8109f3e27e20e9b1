//! The policy model of Apache Ranger, complete and as its own engine defines it: policies and a request in, a decision
//! out.
//!
//! An [`Engine`] is made of what a Ranger Admin hands out ([`ServicePolicies`], tags, roles) and answers [`Request`]s.
//! It does no I/O, reads no clock and keeps nothing between two requests: the time of an access comes with the request.
//!
//! Names are Ranger's. What is covered, and where the answer differs from Ranger's on purpose, stands in
//! `docs/ranger.md`.

mod acl;
mod audit;
mod condition;
mod definition;
mod engine;
mod expr;
mod index;
pub mod json;
mod lint;
mod matcher;
mod model;
mod policy;
mod read;
mod request;
mod resource;
mod script;
mod tags;
mod time;
mod wildcard;
mod zones;

pub use acl::{AccessAcl, AclAccess, MaskAcl, ResourceAcls, RowFilterAcl};
pub use definition::Definition;
pub use engine::{Engine, Options};
pub use lint::lint;
pub use matcher::ElementMatcher;
pub use model::{
    AccessResult, AccessTypeDef, AuditFilter, Change, ConditionDef, DataMaskDef, DataMaskInfo, EnricherDef, ItemAccess,
    Policy, PolicyCondition, PolicyDelta, PolicyItem, PolicyResource, PolicyResources, PolicyType, Recurrence,
    ResourceDef, Role, RowFilterDef, SecurityZone, ServiceDef, ServicePolicies, ServiceResource, ServiceTags, Tag,
    TagPolicies, UserStore, ValiditySchedule, attributes_from_json, deltas_from_json, resources_from_json,
    zones_from_json,
};
pub use request::{
    Basis, Decision, ElementScope, Item, ItemList, MatchType, MatchingScope, Request, RequestTag, Resource,
    ResourceAccessInfo,
};
pub use resource::ResourceMatcher;
pub(crate) use script::is_plain;
pub use time::Zone;

use std::fmt;

/// What is wrong with a record, and where: the policy and the field, never a value of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{at}: {what}")]
pub struct RangerError {
    pub at: String,
    pub what: String,
}

impl RangerError {
    pub(crate) fn new(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self { at: at.into(), what: what.into() }
    }
}

/// A fault of a policy that does not keep the others from being used: the policy is then read so that it grants nothing
/// by mistake.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub policy_id: i64,
    pub policy: String,
    /// Such as `policyItems[0].conditions[1]`.
    pub field: String,
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy {} `{}`, {}: {}", self.policy_id, self.policy, self.field, self.what)
    }
}
