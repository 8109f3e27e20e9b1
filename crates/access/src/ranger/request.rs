//! What is asked and what is answered.

use std::collections::BTreeMap;
use std::fmt;

use super::model::{DataMaskInfo, ValiditySchedule};

/// A resource: values by level. A level may have several values; it matches where one of them does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    pub elements: Vec<(String, Vec<String>)>,
    /// For `{OWNER}`.
    pub owner: Option<String>,
}

impl Resource {
    /// A resource of single values: `Resource::of([("database", "db"), ("table", "t")])`.
    pub fn of<N: Into<String>, V: Into<String>>(elements: impl IntoIterator<Item = (N, V)>) -> Self {
        Self {
            elements: elements.into_iter().map(|(name, value)| (name.into(), vec![value.into()])).collect(),
            owner: None,
        }
    }
}

/// Which resources around the one that is asked for count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MatchingScope {
    #[default]
    SelfOnly,
    /// A policy for something below counts too.
    SelfOrDescendants,
}

/// How far the value of one level reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ElementScope {
    #[default]
    SelfOnly,
    /// Of paths: also where the policy is for something right below.
    SelfOrChild,
    /// Also where the policy is for something that starts with the value.
    SelfOrPrefix,
}

/// How a policy's resource lies to the one that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MatchType {
    /// The policy is for this very resource.
    SelfMatch,
    /// The policy is for this and for all below.
    SelfAndAllDescendants,
    /// The policy is for something above.
    Ancestor,
    /// The policy is for something below.
    Descendant,
    None,
}

/// May this user do this with this resource at this time.
#[derive(Clone, Debug)]
pub struct Request {
    pub resource: Resource,
    /// Empty: any access at all. `_admin` asks for delegated administration.
    pub access_type: String,
    pub action: Option<String>,
    pub user: Option<String>,
    pub user_groups: Vec<String>,
    /// Roles are those of the engine's store where this is empty.
    pub user_roles: Vec<String>,
    /// Milliseconds since 1970, UTC. Where there is none, whatever depends on the time counts as not valid.
    pub access_time: Option<i64>,
    pub client_ip_address: Option<String>,
    pub remote_ip_address: Option<String>,
    pub forwarded_addresses: Vec<String>,
    pub client_type: Option<String>,
    pub request_data: Option<String>,
    pub session_id: Option<String>,
    pub cluster_name: Option<String>,
    pub cluster_type: Option<String>,
    pub matching_scope: MatchingScope,
    pub element_matching_scopes: Vec<(String, ElementScope)>,
    /// A denial of something below does not count against what is above.
    pub ignore_descendant_deny: bool,
    /// In place of the tags the engine knows of the resource.
    pub tags: Option<Vec<RequestTag>>,
    /// Besides those tags.
    pub more_tags: Vec<RequestTag>,
    /// All resources the same statement asks for.
    pub requested_resources: Option<Vec<Resource>>,
    /// Accesses that are asked for together, instead of `access_type` alone: Ranger's `ACCESSTYPES`.
    pub all_access_types: Vec<String>,
    /// One of each group is enough.
    pub all_access_type_groups: Vec<Vec<String>>,
    /// Accesses that count as allowed unless they are denied.
    pub ignore_if_not_denied: Vec<String>,
    /// Any of the accesses is enough.
    pub is_any_access: bool,
    /// Whatever else conditions look at.
    pub context: BTreeMap<String, String>,
    /// In place of the engine's.
    pub user_attributes: BTreeMap<String, BTreeMap<String, String>>,
    pub group_attributes: BTreeMap<String, BTreeMap<String, String>>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            resource: Resource::default(),
            access_type: String::new(),
            action: None,
            user: None,
            user_groups: Vec::new(),
            user_roles: Vec::new(),
            access_time: None,
            client_ip_address: None,
            remote_ip_address: None,
            forwarded_addresses: Vec::new(),
            client_type: None,
            request_data: None,
            session_id: None,
            cluster_name: None,
            cluster_type: None,
            matching_scope: MatchingScope::SelfOnly,
            element_matching_scopes: Vec::new(),
            ignore_descendant_deny: true,
            tags: None,
            more_tags: Vec::new(),
            requested_resources: None,
            all_access_types: Vec::new(),
            all_access_type_groups: Vec::new(),
            ignore_if_not_denied: Vec::new(),
            is_any_access: false,
            context: BTreeMap::new(),
            user_attributes: BTreeMap::new(),
            group_attributes: BTreeMap::new(),
        }
    }
}

/// A tag that the asker found on the resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestTag {
    pub tag_type: String,
    pub attributes: BTreeMap<String, String>,
    pub validity_periods: Vec<ValiditySchedule>,
    pub match_type: Option<MatchType>,
}

/// The answer, with what made it.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools)]
pub struct Decision {
    /// Only where it is also determined; what is not determined is for the asker's own rules, or refused.
    pub allowed: bool,
    pub determined: bool,
    /// Whether the access is written to the audit log.
    pub audited: bool,
    pub audit_determined: bool,
    /// The policy that asks for the audit.
    pub audit_policy_id: Option<i64>,
    pub basis: Basis,
    pub mask: Option<DataMaskInfo>,
    /// The expression rows have to satisfy.
    pub row_filter: Option<String>,
    /// The zone the resource lies in, where it lies in one.
    pub zone: Option<String>,
    /// What could not be evaluated on the way, by policy.
    pub troubles: Vec<super::Problem>,
}

/// What a decision rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// No policy says anything.
    Nothing,
    SuperUser,
    Policy {
        id: i64,
        version: Option<i64>,
        priority: i64,
        item: Item,
    },
}

impl Decision {
    /// The policy that determined the decision.
    pub fn policy_id(&self) -> Option<i64> {
        match &self.basis {
            Basis::Policy { id, .. } => Some(*id),
            _ => None,
        }
    }
}

/// An item of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    pub list: ItemList,
    /// Its place in the list.
    pub index: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemList {
    Allow,
    Deny,
    AllowExceptions,
    DenyExceptions,
    DataMask,
    RowFilter,
    /// No item: the policy denies all that it does not allow.
    DenyAllElse,
}

impl fmt::Display for Item {
    /// Such as `policyItems[0]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.list {
            ItemList::DenyAllElse => f.write_str(self.list.field()),
            list => write!(f, "{}[{}]", list.field(), self.index),
        }
    }
}

impl ItemList {
    /// The field of a policy's record.
    pub fn field(self) -> &'static str {
        match self {
            Self::Allow => "policyItems",
            Self::Deny => "denyPolicyItems",
            Self::AllowExceptions => "allowExceptions",
            Self::DenyExceptions => "denyExceptions",
            Self::DataMask => "dataMaskPolicyItems",
            Self::RowFilter => "rowFilterPolicyItems",
            Self::DenyAllElse => "isDenyAllElse",
        }
    }
}

/// Who may do something with a resource, whoever asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceAccessInfo {
    pub allowed_users: std::collections::BTreeSet<String>,
    pub allowed_groups: std::collections::BTreeSet<String>,
    pub denied_users: std::collections::BTreeSet<String>,
    pub denied_groups: std::collections::BTreeSet<String>,
}
