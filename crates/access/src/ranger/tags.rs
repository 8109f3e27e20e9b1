//! Tags of resources, and tag policies as the service they are used for reads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::definition::Definition;
use super::engine::Options;
use super::index::Index;
use super::model::{AccessTypeDef, Policy, PolicyItem, PolicyType, ServiceDef, ServiceTags, Tag};
use super::request::{MatchType, Request, RequestTag};
use super::resource::{ResourceMatcher, View, counts};
use super::script::Scene;
use super::time::Schedule;
use super::{MatchingScope, Problem};

/// A tag on the resource that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct TagForEval {
    pub(crate) tag_type: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) match_type: MatchType,
    schedules: Arc<Vec<Schedule>>,
}

impl TagForEval {
    fn new(tag: &Tag, match_type: MatchType, options: &Options, fault: &mut dyn FnMut(String)) -> Self {
        let mut schedules = Vec::new();
        let mut broken = false;
        for period in &tag.validity_periods {
            match Schedule::of(period, options.time_zone) {
                Ok(schedule) => schedules.push(schedule),
                Err(what) => {
                    fault(what);
                    broken = true;
                }
            }
        }
        // A period that cannot be read does not take the tag off.
        if broken {
            schedules.clear();
        }
        Self {
            tag_type: tag.tag_type.clone(),
            attributes: tag.attributes.clone(),
            match_type,
            schedules: Arc::new(schedules),
        }
    }

    pub(crate) fn has_periods(&self) -> bool {
        !self.schedules.is_empty()
    }

    pub(crate) fn is_valid_at(&self, time: Option<i64>, options: &Options) -> bool {
        self.schedules.is_empty()
            || time.is_some_and(|time| self.schedules.iter().any(|schedule| schedule.applies(time, options.time_zone)))
    }

    pub(crate) fn of_request(tag: &RequestTag, options: &Options) -> Self {
        let record = Tag {
            tag_type: tag.tag_type.clone(),
            attributes: tag.attributes.clone(),
            validity_periods: tag.validity_periods.clone(),
        };
        Self::new(&record, tag.match_type.unwrap_or(MatchType::SelfMatch), options, &mut |_| {})
    }
}

/// Which resources carry which tags.
#[derive(Clone, Debug)]
pub(crate) struct TagStore {
    tags: Vec<TagForEval>,
    entries: Vec<Entry>,
    index: Index,
}

#[derive(Clone, Debug)]
struct Entry {
    matcher: ResourceMatcher,
    tags: Vec<u32>,
}

impl TagStore {
    pub(crate) fn new(
        tags: &ServiceTags,
        definition: &Arc<Definition>,
        options: &Options,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut numbers: BTreeMap<i64, u32> = BTreeMap::new();
        let mut all = Vec::new();
        let mut tell = |id: i64, name: &str, field: String, what: String| {
            problems.push(Problem { policy_id: id, policy: name.to_owned(), field, what });
        };
        for (id, tag) in &tags.tags {
            numbers.insert(*id, all.len() as u32);
            all.push(TagForEval::new(tag, MatchType::SelfMatch, options, &mut |what| {
                tell(*id, &tag.tag_type, "tag.validityPeriods".to_owned(), what);
            }));
        }
        let mut entries = Vec::new();
        for resource in &tags.service_resources {
            let Some(of) = tags.resource_to_tag_ids.get(&resource.id).filter(|of| !of.is_empty()) else { continue };
            let kinds = [PolicyType::Access, PolicyType::DataMask, PolicyType::RowFilter];
            let matcher =
                kinds.iter().find_map(|kind| ResourceMatcher::new(definition, *kind, &resource.resource_elements).ok());
            let Some(matcher) = matcher else {
                tell(
                    resource.id,
                    "",
                    "serviceResource".to_owned(),
                    "the levels do not follow one another in the service definition".to_owned(),
                );
                continue;
            };
            let tags = of.iter().filter_map(|id| numbers.get(id).copied()).collect();
            entries.push(Entry { matcher, tags });
        }
        let index = Index::new(entries.iter().enumerate().map(|(at, entry)| (at as u32, &entry.matcher)));
        Self { tags: all, entries, index }
    }

    /// The tags of a resource at a time; `any` where any access will do.
    pub(crate) fn find(&self, view: &View<'_>, request: &Request, any: bool, scene: &Scene<'_>) -> Vec<TagForEval> {
        let options = scene.options;
        let valid = |tag: &TagForEval| tag.is_valid_at(request.access_time, options) || request.access_time.is_none();
        if view.mask == 0 && any {
            return self
                .tags
                .iter()
                .filter(|tag| valid(tag))
                .map(|tag| TagForEval { match_type: MatchType::Descendant, ..tag.clone() })
                .collect();
        }
        let below = any || request.matching_scope == MatchingScope::SelfOrDescendants;
        let mut found = Vec::new();
        self.index.find(view, below, &mut found);
        let mut seen: Vec<(u32, MatchType)> = Vec::new();
        for entry in found.iter().filter_map(|at| self.entries.get(*at as usize)) {
            let lies = entry.matcher.lies(view, scene);
            if !counts(lies, any, request.matching_scope, true) {
                continue;
            }
            for tag in &entry.tags {
                if !seen.contains(&(*tag, lies)) {
                    seen.push((*tag, lies));
                }
            }
        }
        seen.into_iter()
            .filter_map(|(tag, lies)| self.tags.get(tag as usize).map(|tag| (tag, lies)))
            .filter(|(tag, _)| valid(tag))
            .map(|(tag, lies)| TagForEval { match_type: lies, ..tag.clone() })
            .collect()
    }
}

/// A name of another service's kind, or this service's own without its prefix.
fn own<'n>(name: &'n str, service: &str) -> Option<&'n str> {
    match name.split_once(':') {
        None => Some(name),
        Some((of, name)) => (of == service).then_some(name),
    }
}

/// The tag definition with the accesses of one kind of service only.
pub(crate) fn definition_for(def: &ServiceDef, service: &str) -> ServiceDef {
    let narrowed = |defs: &[AccessTypeDef]| -> Vec<AccessTypeDef> {
        defs.iter()
            .filter_map(|access| {
                let grants =
                    access.implied_grants.iter().filter_map(|grant| own(grant, service).map(str::to_owned)).collect();
                Some(AccessTypeDef {
                    name: own(&access.name, service)?.to_owned(),
                    implied_grants: grants,
                    category: access.category.clone(),
                })
            })
            .collect()
    };
    let mut def = def.clone();
    def.access_types = narrowed(&def.access_types);
    def.marker_access_types = narrowed(&def.marker_access_types);
    if let Some(masks) = &mut def.data_mask_def {
        masks.access_types = narrowed(&masks.access_types);
        masks.mask_types = masks.mask_types.iter().filter_map(|name| own(name, service).map(str::to_owned)).collect();
    }
    if let Some(filters) = &mut def.row_filter_def {
        filters.access_types = narrowed(&filters.access_types);
    }
    def
}

/// A tag policy with what concerns one kind of service only; none where nothing is left of it.
pub(crate) fn policy_for(policy: &Policy, service: &str) -> Option<Policy> {
    let mut policy = policy.clone();
    let mut left = false;
    for items in policy.items_mut() {
        items.retain_mut(|item| keep(item, service));
        left |= !items.is_empty();
    }
    (left || policy.is_audit_enabled).then_some(policy)
}

fn keep(item: &mut PolicyItem, service: &str) -> bool {
    let had = !item.accesses.is_empty();
    item.accesses.retain_mut(|access| match own(&access.access_type, service) {
        Some(name) => {
            access.access_type = name.to_owned();
            true
        }
        None => false,
    });
    if let Some(mask) = &mut item.data_mask_info {
        match own(&mask.data_mask_type, service) {
            Some(name) => mask.data_mask_type = name.to_owned(),
            None => return false,
        }
    }
    !(had && item.accesses.is_empty()) || item.delegate_admin
}
