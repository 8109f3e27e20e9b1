//! `test_resourcematcher_*.json` and `test_defaultpolicyresourcematcher_*.json`: values and resources against those of
//! policies.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use cordon_access::ranger::{
    Definition, ElementMatcher, MatchType, Policy, PolicyResource, PolicyType, Resource, ResourceDef, ResourceMatcher,
    ServiceDef, resources_from_json,
};
use serde_json::Value;

use super::{data, files, finish, list, name, read, report, text};

fn tokens(value: &Value) -> BTreeMap<String, String> {
    value.as_object().into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}

fn of(prefix: &str) -> Vec<PathBuf> {
    data().map(|folder| files(&folder.join("resourcematcher"), prefix)).unwrap_or_default()
}

#[test]
fn every_case_of_single_levels() {
    let mut all = Vec::new();
    for path in of("test_resourcematcher_") {
        let (mut passed, mut failures) = (0, Vec::new());
        for case in read(&path)["testCases"].as_array().unwrap() {
            let def = ResourceDef::from_json(&case["resourceDef"]).unwrap();
            let resource = PolicyResource::from_json(&case["policyResource"]).unwrap();
            let matcher = ElementMatcher::new(&def, &resource);
            for test in case["tests"].as_array().unwrap().iter().filter(|test| !test.is_null()) {
                let input = match &test["input"] {
                    Value::Array(_) => list(&test["input"]),
                    other => text(other).into_iter().collect(),
                };
                let got = matcher.is_match(&input, &tokens(&test["evalContext"]));
                if got == test["result"].as_bool().unwrap_or(false) {
                    passed += 1;
                } else {
                    failures.push(format!("{} / {}: {got}", case["name"], test["name"]));
                }
            }
        }
        report(&name(&path), passed, &failures, &mut all);
    }
    finish(&all);
}

fn is(wanted: &str, lies: MatchType) -> bool {
    use MatchType::{Ancestor, Descendant, None, SelfAndAllDescendants, SelfMatch};
    match wanted {
        "exactMatch" | "selfMatch" => matches!(lies, SelfMatch | SelfAndAllDescendants),
        "ancestorMatch" => lies == Ancestor,
        "descendantMatch" => lies == Descendant,
        "selfOrAncestorMatch" => matches!(lies, SelfMatch | SelfAndAllDescendants | Ancestor),
        "selfOrDescendantMatch" => matches!(lies, SelfMatch | SelfAndAllDescendants | Descendant),
        // Ranger's test does not tell this scope from any match.
        "anyMatch" | "selfAndAllDescendants" => lies != None,
        other => panic!("{other}"),
    }
}

#[test]
fn every_case_of_whole_resources() {
    let mut all = Vec::new();
    for path in of("test_defaultpolicyresourcematcher") {
        let (mut passed, mut failures) = (0, Vec::new());
        let file = read(&path);
        for case in file["testCases"].as_array().unwrap() {
            let def = if case["serviceDef"].is_null() { &file["serviceDef"] } else { &case["serviceDef"] };
            let definition = Arc::new(Definition::new(&ServiceDef::from_json(def).unwrap()).unwrap());
            let resources = resources_from_json(&case["policyResources"]).unwrap();
            let kind = match case["policyType"].as_i64() {
                Some(1) => PolicyType::DataMask,
                Some(2) => PolicyType::RowFilter,
                _ => PolicyType::Access,
            };
            let matcher = ResourceMatcher::new(&definition, kind, &resources).ok();
            for test in case["tests"].as_array().unwrap().iter().filter(|test| !test.is_null()) {
                let tokens = tokens(&test["evalContext"]);
                let lies = match &matcher {
                    None => MatchType::None,
                    Some(matcher) if !test["policy"].is_null() => {
                        let policy = Policy::from_json(&test["policy"]).unwrap();
                        matcher.match_type_of_policy(policy.kind().unwrap(), &policy.resources, &tokens)
                    }
                    Some(matcher) => {
                        let elements = test["resource"]["elements"].as_object().into_iter().flatten();
                        let elements = elements
                            .map(|(name, value)| {
                                let values = match value {
                                    Value::Array(_) => list(value),
                                    other => text(other).into_iter().collect(),
                                };
                                (name.clone(), values)
                            })
                            .collect();
                        matcher.match_type(&Resource { elements, owner: None }, &tokens)
                    }
                };
                let got = is(test["type"].as_str().unwrap(), lies);
                if got == test["result"].as_bool().unwrap_or(false) {
                    passed += 1;
                } else {
                    failures.push(format!("{} / {}: {lies:?}", case["name"], test["name"]));
                }
            }
        }
        report(&name(&path), passed, &failures, &mut all);
    }
    finish(&all);
}
