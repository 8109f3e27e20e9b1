//! `test_base_plugin_hbase.json`: policies, tags and roles of a whole plugin, and changes of them.

use cordon_access::ranger::{Engine, PolicyType, Role, ServicePolicies, ServiceTags, deltas_from_json};
use serde_json::Value;

use super::{data, finish, options, read, report, request, text};

#[test]
fn every_case_of_the_plugin() {
    let Some(folder) = data() else { return };
    let folder = folder.join("policyengine");
    let file = "test_base_plugin_hbase.json";
    if !folder.join(file).is_file() {
        eprintln!("skipped: {file} is not there");
        return;
    }
    let case = read(&folder.join(file));
    let mut policies = read(&folder.join("hbase-test-policies.json"));
    policies["serviceDef"] = read(&folder.join("ranger-servicedef-hbase.json"));
    if !policies["tagPolicies"].is_null() {
        policies["tagPolicies"]["serviceDef"] = read(&folder.join("ranger-servicedef-tag.json"));
    }
    let mut engine = Engine::new(&ServicePolicies::from_json(&policies).unwrap(), options(file)).unwrap();
    engine.set_tags(&ServiceTags::from_json(&read(&folder.join("hbaseTags.json"))).unwrap());
    engine.set_roles(&Role::list_from_json(&case["roles"]["rangerRoles"]).unwrap());
    let (mut passed, mut failures) = (0, Vec::new());
    let tests = case["tests"].as_array().unwrap();
    for test in tests.iter().filter(|test| !test["result"].is_null()) {
        let decision = engine.decide(&request(&test["request"]), PolicyType::Access);
        let result = &test["result"];
        let got = (decision.allowed, decision.determined, decision.policy_id().unwrap_or(-1));
        let wanted = (
            text(&result["isAllowed"]).as_deref() == Some("true"),
            text(&result["isAccessDetermined"]).as_deref() == Some("true"),
            result["policyId"].as_i64().unwrap_or(-1),
        );
        if got == wanted {
            passed += 1;
        } else {
            failures.push(format!("{}: {got:?}, not {wanted:?}", test["name"]));
        }
    }
    let mut all = Vec::new();
    report(file, passed, &failures, &mut all);

    // A change of one policy does to the engine what a new engine would be.
    let update = read(&folder.join("updated-hbase-test-policies.json"));
    let deltas = deltas_from_json(&update["policyDeltas"]).unwrap();
    engine.update(&deltas, None);
    let mut renewed = policies.clone();
    for delta in update["policyDeltas"].as_array().unwrap() {
        let list = renewed["policies"].as_array_mut().unwrap();
        list.retain(|policy: &Value| policy["id"] != delta["policy"]["id"]);
        list.push(delta["policy"].clone());
    }
    let mut fresh = Engine::new(&ServicePolicies::from_json(&renewed).unwrap(), options(file)).unwrap();
    fresh.set_tags(&ServiceTags::from_json(&read(&folder.join("hbaseTags.json"))).unwrap());
    fresh.set_roles(&Role::list_from_json(&case["roles"]["rangerRoles"]).unwrap());
    for test in tests {
        let request = request(&test["request"]);
        assert_eq!(
            engine.decide(&request, PolicyType::Access),
            fresh.decide(&request, PolicyType::Access),
            "{}",
            test["name"]
        );
    }
    finish(&all);
}
