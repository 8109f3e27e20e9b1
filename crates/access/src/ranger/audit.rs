//! Audit filters of a service: which accesses are written down, whatever the policies say.

use std::sync::Arc;

use super::definition::Definition;
use super::model::{AccessResult, AuditFilter, PolicyType};
use super::policy::PUBLIC;
use super::request::{Decision, MatchType};
use super::resource::{ResourceMatcher, View, counts};
use super::script::Scene;
use super::{Problem, RangerError};

/// The configuration that holds them.
pub(crate) const CONFIG: &str = "ranger.plugin.audit.filters";

#[derive(Clone, Debug)]
pub(crate) struct AuditFilters {
    filters: Vec<Filter>,
}

#[derive(Clone, Debug)]
struct Filter {
    record: AuditFilter,
    matcher: Option<ResourceMatcher>,
    /// With what they imply, in lower case.
    accesses: Vec<Arc<str>>,
}

impl AuditFilters {
    pub(crate) fn new(
        config: Option<&str>,
        definition: &Arc<Definition>,
        problems: &mut Vec<Problem>,
    ) -> Result<Self, RangerError> {
        let Some(config) = config.filter(|config| !config.trim().is_empty()) else {
            return Ok(Self { filters: Vec::new() });
        };
        let mut filters = Vec::new();
        for (at, filter) in AuditFilter::list_from_text(config)?.into_iter().enumerate() {
            let matcher = if filter.resources.is_empty() {
                None
            } else {
                match ResourceMatcher::new(definition, PolicyType::Access, &filter.resources) {
                    Ok(matcher) => Some(matcher),
                    Err(error) => {
                        problems.push(Problem {
                            policy_id: -1,
                            policy: CONFIG.to_owned(),
                            field: format!("[{at}].{}", error.at),
                            what: error.what,
                        });
                        continue;
                    }
                }
            };
            let mut accesses = Vec::new();
            for access in &filter.access_types {
                let access = access.to_lowercase();
                accesses.extend(definition.implied(&access).iter().cloned());
                accesses.push(Arc::from(access));
            }
            filters.push(Filter { record: filter, matcher, accesses });
        }
        Ok(Self { filters })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Whether the access is written down; none where no filter says so. For a tag `lies` is how the tag's resource
    /// lies.
    pub(crate) fn audited(
        &self,
        decision: &Decision,
        view: &View<'_>,
        scene: &Scene<'_>,
        any: bool,
        tag: Option<MatchType>,
    ) -> Option<bool> {
        self.filters.iter().find_map(|filter| filter.audited(decision, view, scene, any, tag))
    }
}

impl Filter {
    fn audited(
        &self,
        decision: &Decision,
        view: &View<'_>,
        scene: &Scene<'_>,
        any: bool,
        tag: Option<MatchType>,
    ) -> Option<bool> {
        let audited = self.record.is_audited?;
        let result = match self.record.access_result {
            None => true,
            Some(AccessResult::Allowed) => decision.determined && decision.allowed,
            Some(AccessResult::Denied) => decision.determined && !decision.allowed,
            Some(AccessResult::NotDetermined) => !decision.determined,
        };
        if !result || !self.resource(view, scene, any, tag) || !self.who(scene) || !self.what(scene, any) {
            return None;
        }
        Some(audited)
    }

    fn resource(&self, view: &View<'_>, scene: &Scene<'_>, any: bool, tag: Option<MatchType>) -> bool {
        let Some(matcher) = &self.matcher else { return true };
        let lies = matcher.lies(view, scene);
        match tag {
            None => counts(lies, any, scene.request.matching_scope, false),
            Some(tag) => lies != MatchType::None && counts(tag, any, scene.request.matching_scope, true),
        }
    }

    fn who(&self, scene: &Scene<'_>) -> bool {
        let filter = &self.record;
        if filter.users.is_empty() && filter.groups.is_empty() && filter.roles.is_empty() {
            return true;
        }
        if filter.groups.iter().any(|group| group == PUBLIC) || filter.users.iter().any(|user| user == "{USER}") {
            return true;
        }
        let user = scene.request.user.as_deref();
        let owner = filter.users.iter().any(|name| name == "{OWNER}")
            && user.is_some()
            && scene.request.resource.owner.as_deref() == user;
        owner
            || user.is_some_and(|user| filter.users.iter().any(|name| name == user))
            || scene.groups.iter().any(|group| filter.groups.contains(group))
            || scene.roles.iter().any(|role| filter.roles.contains(role))
    }

    fn what(&self, scene: &Scene<'_>, any: bool) -> bool {
        let filter = &self.record;
        if filter.actions.is_empty() && filter.access_types.is_empty() {
            return true;
        }
        let action = scene.request.action.as_ref().is_some_and(|action| filter.actions.contains(action));
        let access = scene.request.access_type.to_lowercase();
        action || (!filter.access_types.is_empty() && (any || self.accesses.iter().any(|known| **known == *access)))
    }
}
