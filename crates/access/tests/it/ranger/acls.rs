//! `test_aclprovider_*.json`: who may do what with a resource.

use std::collections::BTreeMap;

use cordon_access::ranger::{AccessAcl, AclAccess, Engine, MatchingScope, ServicePolicies};
use serde_json::Value;

use super::{data, files, finish, list, name, options, read, report, resource, tags, text};

type Plain = BTreeMap<String, BTreeMap<String, (i64, bool)>>;

fn wanted(value: &Value) -> Plain {
    let mut out = Plain::new();
    for (name, of) in value.as_object().into_iter().flatten() {
        for (access, acl) in of.as_object().into_iter().flatten() {
            let acl = (acl["result"].as_i64().unwrap_or(0), acl["isFinal"].as_bool().unwrap_or(false));
            out.entry(name.clone()).or_default().insert(access.clone(), acl);
        }
    }
    out
}

fn got(acls: &BTreeMap<String, BTreeMap<String, AccessAcl>>) -> Plain {
    let plain = |acl: &AccessAcl| {
        let result = match acl.access {
            AclAccess::Denied => -1,
            AclAccess::Allowed => 1,
            AclAccess::Conditional => 2,
        };
        (result, acl.is_final)
    };
    acls.iter()
        .map(|(name, of)| (name.clone(), of.iter().map(|(access, acl)| (access.clone(), plain(acl))).collect()))
        .collect()
}

/// A mask or a filter in one line, for comparison.
fn line(value: &Value, what: &str) -> String {
    let sorted = |key: &str| {
        let mut names = list(&value[key]);
        names.sort();
        names
    };
    let conditional = value["isConditional"].as_bool().unwrap_or(false);
    format!(
        "{what} {:?} {:?} {:?} {:?} {conditional}",
        sorted("users"),
        sorted("groups"),
        sorted("roles"),
        sorted("accessTypes")
    )
}

#[test]
fn every_case_of_acls() {
    let Some(folder) = data() else { return };
    let mut all = Vec::new();
    for path in files(&folder.join("policyengine"), "test_aclprovider_") {
        let (mut passed, mut failures) = (0, Vec::new());
        for case in read(&path)["testCases"].as_array().unwrap() {
            let policies = &case["servicePolicies"];
            let mut engine = Engine::new(&ServicePolicies::from_json(policies).unwrap(), options("")).unwrap();
            if let Some(tags) = tags(&folder, &[&policies["serviceDef"], &policies["tagPolicies"]["serviceDef"]]) {
                engine.set_tags(&tags);
            }
            for test in case["tests"].as_array().unwrap() {
                let scope = if test["resourceMatchingScope"] == "SELF_OR_DESCENDANTS" {
                    MatchingScope::SelfOrDescendants
                } else {
                    MatchingScope::SelfOnly
                };
                let acls = engine.resource_acls(&resource(&test["resource"]), scope);
                let masks: Vec<String> = acls
                    .data_masks
                    .iter()
                    .map(|acl| {
                        let what = format!("{} {:?}", acl.mask.data_mask_type, acl.mask.value_expr);
                        format!(
                            "{what} {:?} {:?} {:?} {:?} {}",
                            acl.users, acl.groups, acl.roles, acl.access_types, acl.is_conditional
                        )
                        .replace('{', "[")
                        .replace('}', "]")
                    })
                    .collect();
                let filters: Vec<String> = acls
                    .row_filters
                    .iter()
                    .map(|acl| {
                        let who = format!(
                            "{:?} {:?} {:?} {:?} {}",
                            acl.users, acl.groups, acl.roles, acl.access_types, acl.is_conditional
                        );
                        format!("{} {}", acl.filter_expr, who.replace('{', "[").replace('}', "]"))
                    })
                    .collect();
                let of = |key: &str| test[key].as_array().cloned().unwrap_or_default();
                let wanted_masks: Vec<String> = of("dataMasks")
                    .iter()
                    .map(|acl| {
                        line(
                            acl,
                            &format!(
                                "{} {:?}",
                                text(&acl["maskInfo"]["dataMaskType"]).unwrap(),
                                text(&acl["maskInfo"]["valueExpr"])
                            ),
                        )
                    })
                    .collect();
                let wanted_filters: Vec<String> = of("rowFilters")
                    .iter()
                    .map(|acl| line(acl, &text(&acl["filterInfo"]["filterExpr"]).unwrap()))
                    .collect();
                let mut wrong = Vec::new();
                for (what, got, wanted) in [
                    ("users", got(&acls.users), wanted(&test["userPermissions"])),
                    ("groups", got(&acls.groups), wanted(&test["groupPermissions"])),
                    ("roles", got(&acls.roles), wanted(&test["rolePermissions"])),
                ] {
                    if got != wanted {
                        wrong.push(format!("{what} are {got:?}, not {wanted:?}"));
                    }
                }
                for (what, got, wanted) in [("masks", &masks, &wanted_masks), ("filters", &filters, &wanted_filters)] {
                    if got != wanted {
                        wrong.push(format!("{what} are {got:?}, not {wanted:?}"));
                    }
                }
                if wrong.is_empty() {
                    passed += 1;
                } else {
                    failures.push(format!("{}: {}", test["name"], wrong.join("; ")));
                }
            }
        }
        report(&name(&path), passed, &failures, &mut all);
    }
    finish(&all);
}
