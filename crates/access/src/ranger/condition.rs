//! Conditions of policies and items, each with its own kind of evaluator.

use std::sync::Arc;

use super::definition::Definition;
use super::expr::{Fault, Program};
use super::matcher::Tokens;
use super::model::{ConditionDef, PolicyCondition, PolicyResource, PolicyType, ValiditySchedule};
use super::resource::{ResourceMatcher, View};
use super::script::Scene;
use super::time::{self, Schedule};
use super::wildcard::Case;
use super::{engine::Options, json};

/// A condition made ready.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Always,
    /// It cannot be evaluated: what is wrong was told when the policies were read.
    Broken,
    Script {
        program: Program,
        reversed: bool,
    },
    Ip {
        any: bool,
        exact: Vec<String>,
        prefixes: Vec<String>,
    },
    TimeOfDay(Vec<(u32, u32)>),
    Accessed {
        together: bool,
        matchers: Vec<ResourceMatcher>,
    },
    Tags {
        how: TagTest,
        names: Vec<String>,
    },
    Attribute {
        name: String,
        values: Vec<String>,
        inside: bool,
    },
    Simple {
        name: String,
        patterns: Vec<String>,
    },
    Action(Vec<String>),
    Cluster {
        of_type: bool,
        values: Vec<String>,
        inside: bool,
    },
    Schedules(Vec<Schedule>),
}

#[derive(Clone, Copy, Debug)]
enum TagTest {
    All,
    Any,
    None,
}

impl Condition {
    /// The condition under its definition; what is wrong with it is told to `fault`, and it is then one that cannot be
    /// evaluated.
    pub(crate) fn new(
        condition: &PolicyCondition,
        definition: &Arc<Definition>,
        resources: Option<&Arc<Definition>>,
        options: &Options,
        fault: &mut dyn FnMut(String),
    ) -> Self {
        let Some(def) = definition.conditions.get(&condition.condition_type) else {
            fault(format!("the service definition has no condition `{}`", condition.condition_type));
            return Self { test: Test::Broken };
        };
        let test = Test::new(def, condition, resources.unwrap_or(definition), options).unwrap_or_else(|what| {
            fault(what);
            Test::Broken
        });
        Self { test }
    }

    /// True, false, or what kept it from being told.
    pub(crate) fn holds(&self, scene: &Scene<'_>) -> Result<bool, Fault> {
        let request = scene.request;
        Ok(match &self.test {
            Test::Always => true,
            Test::Broken => return Err(Fault::Unsupported("the condition cannot be read".to_owned())),
            Test::Script { program, reversed } => scene.condition(program)? != *reversed,
            Test::Ip { any, exact, prefixes } => match scene.client_ip {
                _ if *any => true,
                None | Some("") => true,
                Some(ip) => {
                    exact.iter().any(|value| value == ip)
                        || prefixes.iter().any(|prefix| ip.starts_with(prefix.as_str()))
                }
            },
            Test::TimeOfDay(spans) => {
                let Some(now) = request.access_time.and_then(|time| time::minute_of_day(time, scene.options.time_zone))
                else {
                    return Err(Fault::Unsupported("the request has no time".to_owned()));
                };
                spans.is_empty()
                    || spans.iter().any(|(from, to)| {
                        if from <= to { (from..=to).contains(&&now) } else { now >= *from || now <= *to }
                    })
            }
            Test::Accessed { together, matchers } => {
                let apart = || {
                    let Some(all) = request.requested_resources.as_ref().filter(|all| all.len() > 1) else {
                        return true;
                    };
                    let tokens: &dyn Tokens = scene;
                    let named = |resource: &&super::Resource| {
                        matchers.iter().any(|matcher| matcher.covers_resource(resource, tokens))
                    };
                    all.iter().filter(named).count() < 2
                };
                let requested = request.requested_resources.as_ref().is_some_and(|all| !all.is_empty());
                if *together { requested && !apart() } else { !requested || apart() }
            }
            Test::Tags { how, names } => {
                let has = |name: &String| scene.tags.iter().any(|tag| tag.tag_type == *name);
                match how {
                    TagTest::All => names.iter().all(has),
                    TagTest::Any => names.iter().any(has),
                    TagTest::None => !names.iter().any(has),
                }
            }
            Test::Attribute { name, values, inside } => match request.context.get(name) {
                None => true,
                Some(value) => values.contains(value) == *inside,
            },
            Test::Simple { name, patterns } => {
                patterns.is_empty()
                    || request.context.get(name).is_some_and(|value| {
                        patterns.iter().any(|pattern| Case { ignored: false }.matches(pattern, value))
                    })
            }
            Test::Action(values) => match &request.action {
                _ if values.is_empty() => true,
                None => false,
                Some(action) => {
                    let action = action.to_lowercase();
                    values.iter().any(|value| match value.strip_suffix('*') {
                        Some(prefix) => action.starts_with(prefix),
                        None => *value == action,
                    })
                }
            },
            Test::Cluster { of_type, values, inside } => {
                let cluster = if *of_type { request.cluster_type.as_ref() } else { request.cluster_name.as_ref() };
                values.is_empty() || cluster.is_some_and(|cluster| values.contains(cluster)) == *inside
            }
            Test::Schedules(schedules) => match request.access_time {
                None => return Err(Fault::Unsupported("the request has no time".to_owned())),
                Some(time) => {
                    schedules.is_empty()
                        || schedules.iter().any(|schedule| schedule.applies(time, scene.options.time_zone))
                }
            },
        })
    }
}

fn script(source: &str, reversed: bool) -> Result<Test, String> {
    let source = source.trim();
    if source.is_empty() {
        return Ok(Test::Always);
    }
    Ok(Test::Script {
        program: Program::parse(source).map_err(|what| format!("the expression cannot be read: {what}"))?,
        reversed,
    })
}

impl Test {
    fn new(
        def: &ConditionDef,
        condition: &PolicyCondition,
        resources: &Arc<Definition>,
        options: &Options,
    ) -> Result<Self, String> {
        let values = condition.values.clone();
        let class = def.evaluator.rsplit('.').next().unwrap_or("");
        let option = |name: &str| def.evaluator_options.get(name).cloned().unwrap_or_default();
        Ok(match class {
            "RangerScriptConditionEvaluator" => script(values.first().map_or("", String::as_str), false)?,
            "RangerScriptTemplateConditionEvaluator" => {
                let value = values.first().map_or("", |value| value.trim()).to_lowercase();
                script(&option("scriptTemplate"), value == "false" || value == "no")?
            }
            "RangerIpMatcher" => {
                let mut any = values.is_empty();
                let (mut exact, mut prefixes) = (Vec::new(), Vec::new());
                for value in values.iter().map(|value| value.trim()).filter(|value| !value.is_empty()) {
                    if value == "*" {
                        any = true;
                    } else if value.ends_with(".*") || value.ends_with(":*") {
                        prefixes.push(value.trim_end_matches('*').to_owned());
                    } else {
                        exact.push(value.to_owned());
                    }
                }
                Self::Ip { any, exact, prefixes }
            }
            "RangerTimeOfDayMatcher" => Self::TimeOfDay(
                values
                    .iter()
                    .map(|value| time::time_of_day(value).ok_or("a time of day is not of the form 9am-5pm".to_owned()))
                    .collect::<Result<_, _>>()?,
            ),
            "RangerHiveResourcesAccessedTogetherCondition" | "RangerHiveResourcesNotAccessedTogetherCondition" => {
                if !["database", "table", "column"]
                    .iter()
                    .all(|name| resources.levels.iter().any(|level| **level == **name))
                {
                    return Err("resources accessed together are of databases, tables and columns".to_owned());
                }
                let matchers = values
                    .iter()
                    .map(|value| {
                        let mut parts = value.split('.').map(str::trim);
                        let mut next = |level: &str| {
                            let value = parts.next().filter(|part| !part.is_empty()).unwrap_or("*").to_owned();
                            (
                                level.to_owned(),
                                PolicyResource { values: vec![value], is_excludes: false, is_recursive: false },
                            )
                        };
                        let levels = vec![next("database"), next("table"), next("column")];
                        ResourceMatcher::new(resources, PolicyType::Access, &levels).map_err(|error| error.to_string())
                    })
                    .collect::<Result<_, _>>()?;
                Self::Accessed { together: class == "RangerHiveResourcesAccessedTogetherCondition", matchers }
            }
            "RangerTagsAllPresentConditionEvaluator" => Self::Tags { how: TagTest::All, names: values },
            "RangerAnyOfExpectedTagsPresentConditionEvaluator" => Self::Tags { how: TagTest::Any, names: values },
            "RangerNoneOfExpectedTagsPresentConditionEvaluator" => Self::Tags { how: TagTest::None, names: values },
            "RangerContextAttributeValueInCondition" | "RangerContextAttributeValueNotInCondition" => {
                let name = option("attributeName");
                if name.is_empty() {
                    return Err("the condition's definition names no attributeName".to_owned());
                }
                Self::Attribute { name, values, inside: class == "RangerContextAttributeValueInCondition" }
            }
            "RangerSimpleMatcher" => {
                let name = option("CONTEXT_NAME");
                if name.is_empty() {
                    return Err("the condition's definition names no CONTEXT_NAME".to_owned());
                }
                Self::Simple { name, patterns: values }
            }
            "RangerActionMatcher" => Self::Action(values.iter().map(|value| value.to_lowercase()).collect()),
            "RangerAccessedFromClusterCondition" => Self::Cluster { of_type: false, values, inside: true },
            "RangerAccessedNotFromClusterCondition" => Self::Cluster { of_type: false, values, inside: false },
            "RangerAccessedFromClusterTypeCondition" => Self::Cluster { of_type: true, values, inside: true },
            "RangerAccessedNotFromClusterTypeCondition" => Self::Cluster { of_type: true, values, inside: false },
            "RangerValidityScheduleConditionEvaluator" => {
                let mut schedules = Vec::new();
                for value in &values {
                    let value = json::parse(value).map_err(|error| error.to_string())?;
                    let schedule = ValiditySchedule::from_json(&value).map_err(|error| error.to_string())?;
                    schedules.push(Schedule::of(&schedule, options.time_zone)?);
                }
                Self::Schedules(schedules)
            }
            _ => return Err(format!("the evaluator `{class}` is unknown")),
        })
    }
}

impl ResourceMatcher {
    fn covers_resource(&self, resource: &super::Resource, tokens: &dyn Tokens) -> bool {
        let definition = self.definition();
        self.covers(&View::of(definition, resource), tokens)
    }
}
