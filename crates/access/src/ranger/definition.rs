//! A service definition made ready: levels of resources by number, hierarchies, accesses and what they imply.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::RangerError;
use super::matcher::MatcherOptions;
use super::model::{AccessTypeDef, ConditionDef, PolicyType, ResourceDef, ServiceDef};

/// Levels by number: sets of them are one word.
const MAX_LEVELS: usize = 62;
/// The bit of a level the definition does not have.
pub(crate) const UNKNOWN: u64 = 1 << 63;

/// A service definition that has been checked.
#[derive(Debug)]
pub struct Definition {
    pub(crate) name: String,
    pub(crate) levels: Vec<Arc<str>>,
    kinds: [Kind; 3],
    pub(crate) access_types: Vec<Arc<str>>,
    pub(crate) mask_types: Option<Vec<String>>,
    implied: BTreeMap<String, Vec<Arc<str>>>,
    /// False where deny items and exceptions are switched off.
    pub(crate) denies: bool,
    pub(crate) conditions: BTreeMap<String, ConditionDef>,
}

/// What resources of one type of policy look like.
#[derive(Debug, Default)]
pub(crate) struct Kind {
    pub(crate) levels: Vec<Option<Level>>,
    pub(crate) hierarchies: Vec<Hierarchy>,
}

#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) def: ResourceDef,
    pub(crate) options: Arc<MatcherOptions>,
}

/// The levels from the outermost to one that may be the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) levels: Vec<u8>,
    pub(crate) mask: u64,
}

impl Hierarchy {
    /// True where the levels in `mask` are its first ones, without a gap.
    pub(crate) fn starts_with(&self, mask: u64) -> bool {
        let mut left = mask;
        for level in &self.levels {
            let bit = 1 << level;
            if left & bit == 0 {
                break;
            }
            left &= !bit;
        }
        left == 0
    }
}

/// The condition that is always there: an expression.
pub(crate) const IMPLICIT_EXPRESSION: &str = "_expression";
const SCRIPT_EVALUATOR: &str = "org.apache.ranger.plugin.conditionevaluator.RangerScriptConditionEvaluator";

impl Definition {
    /// Checks the levels: names that are used twice, parents that are not there and levels that are above themselves
    /// are errors.
    pub fn new(def: &ServiceDef) -> Result<Self, RangerError> {
        let at = |what: &str| format!("serviceDef `{}`.{what}", def.name);
        let mut levels: Vec<Arc<str>> = Vec::new();
        for resource in &def.resources {
            if levels.iter().any(|level| **level == *resource.name) {
                return Err(RangerError::new(at("resources"), format!("`{}` is there twice", resource.name)));
            }
            levels.push(Arc::from(resource.name.as_str()));
        }
        let masks = def.data_mask_def.as_ref();
        let filters = def.row_filter_def.as_ref();
        let mask_resources = masks.map(|masks| merged(&def.resources, &masks.resources)).unwrap_or_default();
        let filter_resources = filters.map(|filters| merged(&def.resources, &filters.resources)).unwrap_or_default();
        for resource in mask_resources.iter().chain(&filter_resources) {
            if !levels.iter().any(|level| **level == *resource.name) {
                levels.push(Arc::from(resource.name.as_str()));
            }
        }
        if levels.len() > MAX_LEVELS {
            return Err(RangerError::new(at("resources"), format!("more than {MAX_LEVELS} levels")));
        }
        let kind = |resources: &[ResourceDef], what: &str| {
            Kind::new(resources, &levels).map_err(|error| RangerError::new(at(what), error))
        };
        let kinds = [
            kind(&def.resources, "resources")?,
            kind(&mask_resources, "dataMaskDef.resources")?,
            kind(&filter_resources, "rowFilterDef.resources")?,
        ];
        let markers = if def.marker_access_types.is_empty() {
            AccessTypeDef::markers(&def.access_types)
        } else {
            def.marker_access_types.clone()
        };
        let mut implied: BTreeMap<String, Vec<Arc<str>>> = BTreeMap::new();
        for access in def.access_types.iter().chain(&markers).filter(|access| !access.implied_grants.is_empty()) {
            let grants = implied.entry(access.name.to_lowercase()).or_default();
            grants.extend(access.implied_grants.iter().map(|grant| Arc::from(grant.to_lowercase())));
        }
        let option = |name: &str| def.options.get(name).is_none_or(|value| value.trim().eq_ignore_ascii_case("true"));
        let implicit_expression = option("enableImplicitConditionExpression");
        let mut conditions: BTreeMap<String, ConditionDef> =
            def.policy_conditions.iter().map(|condition| (condition.name.clone(), condition.clone())).collect();
        if implicit_expression {
            conditions.entry(IMPLICIT_EXPRESSION.to_owned()).or_insert_with(|| ConditionDef {
                name: IMPLICIT_EXPRESSION.to_owned(),
                evaluator: SCRIPT_EVALUATOR.to_owned(),
                evaluator_options: BTreeMap::new(),
            });
        }
        Ok(Self {
            name: def.name.clone(),
            kinds,
            access_types: def.access_types.iter().map(|access| Arc::from(access.name.to_lowercase())).collect(),
            mask_types: masks.map(|masks| masks.mask_types.clone()),
            implied,
            denies: option("enableDenyAndExceptionsInPolicies"),
            conditions,
            levels,
        })
    }

    pub(crate) fn kind(&self, kind: PolicyType) -> &Kind {
        let [access, mask, filter] = &self.kinds;
        match kind {
            PolicyType::Access => access,
            PolicyType::DataMask => mask,
            PolicyType::RowFilter => filter,
        }
    }

    pub(crate) fn level(&self, name: &str) -> Option<u8> {
        self.levels.iter().position(|level| **level == *name).map(|at| at as u8)
    }

    /// What the access implies, in lower case.
    pub(crate) fn implied(&self, access: &str) -> &[Arc<str>] {
        self.implied.get(access).map_or(&[], Vec::as_slice)
    }

    /// True for an access that the definition names, or implies by a marker.
    pub(crate) fn knows_access(&self, access: &str) -> bool {
        let access = access.to_lowercase();
        self.access_types.iter().any(|known| **known == *access) || self.implied.contains_key(&access)
    }
}

/// The levels of `changes`, each on top of the level of the same name.
fn merged(base: &[ResourceDef], changes: &[ResourceDef]) -> Vec<ResourceDef> {
    changes
        .iter()
        .map(|change| {
            let Some(base) = base.iter().find(|base| base.name == change.name) else { return change.clone() };
            let mut options = base.matcher_options.clone();
            options.extend(change.matcher_options.iter().map(|(name, value)| (name.clone(), value.clone())));
            ResourceDef {
                mandatory: if change.mandatory == Some(true) { Some(true) } else { base.mandatory },
                recursive_supported: change.recursive_supported.or(base.recursive_supported),
                excludes_supported: change.excludes_supported.or(base.excludes_supported),
                matcher: change.matcher.clone().or_else(|| base.matcher.clone()),
                matcher_options: options,
                is_valid_leaf: change.is_valid_leaf,
                ..base.clone()
            }
        })
        .collect()
}

impl Kind {
    fn new(resources: &[ResourceDef], names: &[Arc<str>]) -> Result<Self, String> {
        let id = |name: &str| names.iter().position(|known| **known == *name);
        let mut levels: Vec<Option<Level>> = names.iter().map(|_| None).collect();
        let mut parents: Vec<Option<usize>> = vec![None; names.len()];
        let mut has_child = vec![false; names.len()];
        for resource in resources {
            let Some(at) = id(&resource.name) else { continue };
            if let Some(parent) = &resource.parent {
                let parent = id(parent)
                    .filter(|_| resources.iter().any(|other| other.name == *parent))
                    .ok_or_else(|| format!("the parent of `{}` is not there", resource.name))?;
                if let Some(slot) = parents.get_mut(at) {
                    *slot = Some(parent);
                }
                if let Some(slot) = has_child.get_mut(parent) {
                    *slot = true;
                }
            }
            if let Some(slot) = levels.get_mut(at) {
                *slot = Some(Level { options: Arc::new(MatcherOptions::of(resource)), def: resource.clone() });
            }
        }
        let mut hierarchies = Vec::new();
        for resource in resources {
            let Some(at) = id(&resource.name) else { continue };
            let leaf = !has_child.get(at).copied().unwrap_or(false);
            let mut path = vec![at as u8];
            let mut above = parents.get(at).copied().flatten();
            while let Some(parent) = above {
                if path.len() > names.len() {
                    return Err(format!("`{}` is above itself", resource.name));
                }
                path.push(parent as u8);
                above = parents.get(parent).copied().flatten();
            }
            if leaf && resource.is_valid_leaf == Some(false) {
                return Err(format!("`{}` has no level below and may not be the last", resource.name));
            }
            if leaf || resource.is_valid_leaf == Some(true) {
                path.reverse();
                let mask = path.iter().fold(0, |mask, level| mask | 1 << level);
                hierarchies.push(Hierarchy { levels: path, mask });
            }
        }
        // Where levels go round in a circle none of them is last, and no path would be walked.
        for at in 0..names.len() {
            let mut above = parents.get(at).copied().flatten();
            let mut steps = 0;
            while let Some(parent) = above {
                steps += 1;
                if steps > names.len() {
                    return Err("levels are above themselves".to_owned());
                }
                above = parents.get(parent).copied().flatten();
            }
        }
        Ok(Self { levels, hierarchies })
    }

    pub(crate) fn level(&self, id: u8) -> Option<&Level> {
        self.levels.get(usize::from(id)).and_then(Option::as_ref)
    }

    /// The shortest hierarchy that holds all levels of `mask`.
    pub(crate) fn shortest(&self, mask: u64) -> Option<&Hierarchy> {
        self.hierarchies
            .iter()
            .filter(|hierarchy| hierarchy.mask & mask == mask)
            .min_by_key(|hierarchy| hierarchy.levels.len())
    }
}
