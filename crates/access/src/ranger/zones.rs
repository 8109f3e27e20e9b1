//! Security zones: which of them a resource lies in.

use std::sync::Arc;

use super::Problem;
use super::definition::Definition;
use super::index::Index;
use super::model::{PolicyType, SecurityZone};
use super::request::MatchType;
use super::resource::{ResourceMatcher, View, plain};
use super::script::Scene;

#[derive(Clone, Debug)]
pub(crate) struct Zones {
    entries: Vec<(String, ResourceMatcher)>,
    index: Index,
}

impl Zones {
    pub(crate) fn new(zones: &[SecurityZone], definition: &Arc<Definition>, problems: &mut Vec<Problem>) -> Self {
        let mut entries = Vec::new();
        for zone in zones {
            for (at, resource) in zone.resources.iter().enumerate() {
                let resource = plain(resource, definition, PolicyType::Access);
                match ResourceMatcher::new(definition, PolicyType::Access, &resource) {
                    Ok(matcher) => entries.push((zone.name.clone(), matcher)),
                    Err(error) => problems.push(Problem {
                        policy_id: -1,
                        policy: format!("zone {}", zone.name),
                        field: format!("resources[{at}]"),
                        what: error.what,
                    }),
                }
            }
        }
        let index = Index::new(entries.iter().enumerate().map(|(at, (_, matcher))| (at as u32, matcher)));
        Self { entries, index }
    }

    /// The zones of the resource; an empty name among them stands for what lies in none.
    pub(crate) fn find(&self, view: &View<'_>, scene: &Scene<'_>) -> Vec<String> {
        let mut found = Vec::new();
        self.index.find(view, true, &mut found);
        let mut out: Vec<String> = Vec::new();
        let mut unzoned = false;
        for (zone, matcher) in found.iter().filter_map(|at| self.entries.get(*at as usize)) {
            let lies = matcher.lies(view, scene);
            if lies == MatchType::None {
                continue;
            }
            unzoned |= lies == MatchType::Descendant;
            if !out.contains(zone) {
                out.push(zone.clone());
            }
        }
        if unzoned {
            out.push(String::new());
        }
        out
    }
}
