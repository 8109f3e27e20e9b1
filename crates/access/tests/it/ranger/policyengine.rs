//! `test_policyengine_*.json`: policies, requests and what Ranger answers to them.

use cordon_access::ranger::{PolicyType, attributes_from_json, deltas_from_json, zones_from_json};
use serde_json::Value;

use super::{data, engine, files, finish, list, locate, name, read, report, request, text};
use cordon_access::ranger::Engine;

struct Run<'e> {
    engine: &'e mut Engine,
    def: &'e Value,
    passed: usize,
    failures: Vec<String>,
}

#[test]
fn every_case_of_the_policy_engine() {
    let Some(folder) = data() else { return };
    let mut all = Vec::new();
    for path in files(&folder.join("policyengine"), "test_policyengine_") {
        let file = name(&path);
        let case = read(&path);
        for naive in [false, true] {
            let mut engine = engine(&folder, &file, &case);
            if naive {
                engine = engine.without_index();
            }
            let mut run = Run { engine: &mut engine, def: &case["serviceDef"], passed: 0, failures: Vec::new() };
            if case["testsInfo"].is_null() {
                run.tests(&case["tests"], false);
                run.update(&case["updatedPolicies"]);
                run.tests(&case["updatedTests"], false);
            } else {
                run.info(&case["testsInfo"]);
            }
            if !naive || !run.failures.is_empty() {
                report(&file, run.passed, &run.failures, &mut all);
            }
        }
    }
    finish(&all);
}

impl Run<'_> {
    fn info(&mut self, info: &Value) {
        if info.is_null() {
            return;
        }
        self.tests(&info["tests"], true);
        self.update(&info["updatedPolicies"]);
        self.info(&info["updatedTestsInfo"]);
    }

    fn update(&mut self, update: &Value) {
        if update.is_null() {
            return;
        }
        let deltas = deltas_from_json(&update["policyDeltas"]).unwrap();
        let zones = (!update["securityZones"].is_null()).then(|| zones_from_json(&update["securityZones"]).unwrap());
        self.engine.update(&deltas, zones.as_deref());
    }

    fn tests(&mut self, tests: &Value, strict: bool) {
        for test in tests.as_array().into_iter().flatten().filter(|test| !test.is_null()) {
            let label = text(&test["name"]).unwrap_or_default();
            let failures = self.test(test, strict);
            if failures.is_empty() {
                self.passed += 1;
            } else {
                self.failures.push(format!("{label}: {}", failures.join("; ")));
            }
        }
    }

    fn test(&self, test: &Value, strict: bool) -> Vec<String> {
        let mut request = request(&test["request"]);
        request.user_attributes = attributes_from_json(&test["userAttributes"]).unwrap();
        request.group_attributes = attributes_from_json(&test["groupAttributes"]).unwrap();
        locate(&mut request, self.def);
        let mut failures = Vec::new();
        let mut differ = |what: &str, got: &dyn std::fmt::Debug, wanted: &dyn std::fmt::Debug| {
            let (got, wanted) = (format!("{got:?}"), format!("{wanted:?}"));
            if got != wanted {
                failures.push(format!("{what} is {got}, not {wanted}"));
            }
        };
        let result = &test["result"];
        if !result.is_null() {
            let decision = self.engine.decide(&request, PolicyType::Access);
            differ("isAllowed", &decision.allowed, &result["isAllowed"].as_bool().unwrap_or(false));
            differ("isAudited", &decision.audited, &result["isAudited"].as_bool().unwrap_or(false));
            if strict {
                differ("policyId", &decision.policy_id().unwrap_or(-1), &result["policyId"].as_i64().unwrap_or(-1));
            }
        }
        let masks = &test["dataMaskResult"];
        if !masks.is_null() {
            let decision = self.engine.decide(&request, PolicyType::DataMask);
            let info = &masks["additionalInfo"];
            let mask = decision.mask.as_ref();
            differ("maskType", &mask.map(|mask| mask.data_mask_type.clone()), &text(&info["maskType"]));
            differ("maskCondition", &mask.and_then(|mask| mask.condition_expr.clone()), &text(&info["maskCondition"]));
            differ("maskedValue", &mask.and_then(|mask| mask.value_expr.clone()), &text(&info["maskedValue"]));
            differ("mask policyId", &decision.policy_id().unwrap_or(-1), &masks["policyId"].as_i64().unwrap_or(-1));
        }
        let filters = &test["rowFilterResult"];
        if !filters.is_null() {
            let decision = self.engine.decide(&request, PolicyType::RowFilter);
            differ("filterExpr", &decision.row_filter, &text(&filters["additionalInfo"]["filterExpr"]));
            differ("filter policyId", &decision.policy_id().unwrap_or(-1), &filters["policyId"].as_i64().unwrap_or(-1));
        }
        let access = &test["resourceAccessInfo"];
        if !access.is_null() {
            let info = self.engine.resource_access_info(&request);
            let sorted = |value: &Value| list(value).into_iter().collect::<std::collections::BTreeSet<_>>();
            differ("allowedUsers", &info.allowed_users, &sorted(&access["allowedUsers"]));
            differ("allowedGroups", &info.allowed_groups, &sorted(&access["allowedGroups"]));
            differ("deniedUsers", &info.denied_users, &sorted(&access["deniedUsers"]));
            differ("deniedGroups", &info.denied_groups, &sorted(&access["deniedGroups"]));
        }
        failures
    }
}
