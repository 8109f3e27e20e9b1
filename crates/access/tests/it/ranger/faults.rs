//! What is wrong in policies is told with its place, and never allows anything.

use cordon_access::ranger::{
    Decision, Engine, Options, Policy, PolicyType, Request, Resource, Role, ServiceDef, ServicePolicies, lint,
};
use serde_json::{Value, json};

fn definition() -> Value {
    json!({
        "name": "hive",
        "resources": [{"name": "database"}, {"name": "table", "parent": "database", "excludesSupported": false}],
        "accessTypes": [{"name": "select"}, {"name": "update"}],
        "dataMaskDef": {
            "maskTypes": [{"name": "MASK"}, {"name": "MASK_NONE"}], "accessTypes": [{"name": "select"}],
            "resources": [{"name": "database"}, {"name": "table"}],
        },
        "rowFilterDef": {"accessTypes": [{"name": "select"}], "resources": [{"name": "database"}, {"name": "table"}]},
    })
}

fn policies(policies: &Value) -> ServicePolicies {
    ServicePolicies::from_json(&json!({"serviceName": "s", "serviceDef": definition(), "policies": policies})).unwrap()
}

fn engine(list: &Value) -> Engine {
    Engine::new(&policies(list), Options::default()).unwrap()
}

fn decide(engine: &Engine, user: &str, database: &str, kind: PolicyType) -> Decision {
    let request = Request {
        resource: Resource::of([("database", database), ("table", "t")]),
        access_type: "select".to_owned(),
        user: Some(user.to_owned()),
        access_time: Some(1_700_000_000_000),
        ..Request::default()
    };
    engine.decide(&request, kind)
}

fn item(condition: &str) -> Value {
    let conditions =
        if condition.is_empty() { json!([]) } else { json!([{"type": "_expression", "values": [condition]}]) };
    json!({"accesses": [{"type": "select"}], "groups": ["public"], "conditions": conditions})
}

fn policy(id: i64, more: &Value) -> Value {
    let mut policy = json!({"id": id, "name": format!("p{id}"), "resources": {"database": {"values": ["db"]}, "table": {"values": ["*"]}}});
    policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    policy
}

fn allowed(more: &Value) -> bool {
    decide(&engine(&json!([policy(1, more)])), "ada", "db", PolicyType::Access).allowed
}

#[test]
fn what_cannot_be_interpreted_counts_against_the_asker() {
    let open = item("");
    for broken in ["for (;;) {}", "new Date() > 1", "USER.name.match(/x/)", "(("] {
        let broken = item(broken);
        assert!(!allowed(&json!({"policyItems": [broken]})));
        assert!(!allowed(&json!({"policyItems": [open], "denyPolicyItems": [broken]})));
        assert!(!allowed(&json!({"policyItems": [open], "denyPolicyItems": [open], "denyExceptions": [broken]})));
        assert!(!allowed(&json!({"policyItems": [open], "allowExceptions": [broken]})));
        assert!(!allowed(&json!({"policyItems": [open], "conditions": broken["conditions"]})));
        assert!(!allowed(
            &json!({"policyItems": [open], "denyPolicyItems": [open], "conditions": broken["conditions"]})
        ));
    }
    // An error that JavaScript itself would throw is false, as with Ranger.
    let thrown = item("null.x == 1");
    assert!(!allowed(&json!({"policyItems": [thrown]})));
    assert!(allowed(&json!({"policyItems": [open], "denyPolicyItems": [thrown]})));
    // A condition that nobody knows is not left out.
    let unknown = json!({"accesses": [{"type": "select"}], "groups": ["public"], "conditions": [{"type": "moon", "values": ["full"]}]});
    assert!(!allowed(&json!({"policyItems": [unknown]})));
    assert!(!allowed(&json!({"policyItems": [open], "denyPolicyItems": [unknown]})));
    // A schedule that cannot be read leaves the denials.
    let schedule = json!([{"startTime": "tomorrow"}]);
    assert!(!allowed(&json!({"policyItems": [open], "validitySchedules": schedule})));
    let both = json!([
        policy(1, &json!({"policyItems": [open]})),
        policy(2, &json!({"denyPolicyItems": [open], "validitySchedules": [{"timeZone": "Mars/Olympus"}]})),
    ]);
    assert!(!decide(&engine(&both), "ada", "db", PolicyType::Access).allowed);
}

#[test]
fn masks_and_filters_in_doubt_hide_everything() {
    let broken = json!([{"type": "_expression", "values": ["for (;;) {}"]}]);
    let mask = |kind: &str, conditions: &Value| json!({"accesses": [{"type": "select"}], "groups": ["public"], "conditions": conditions, "dataMaskInfo": {"dataMaskType": kind}});
    let masks = engine(&json!([policy(
        1,
        &json!({"policyType": 1, "dataMaskPolicyItems": [mask("MASK_NONE", &broken), mask("MASK", &broken)]})
    )]));
    let decision = decide(&masks, "ada", "db", PolicyType::DataMask);
    assert_eq!(decision.mask.unwrap().data_mask_type, "MASK_NULL");
    let filter = |text: &str, conditions: &Value| json!({"accesses": [{"type": "select"}], "groups": ["public"], "conditions": conditions, "rowFilterInfo": {"filterExpr": text}});
    for item in [filter("dept = 1", &broken), filter("dept = '${{new Date()}}'", &json!([]))] {
        let filters = engine(&json!([policy(1, &json!({"policyType": 2, "rowFilterPolicyItems": [item]}))]));
        let decision = decide(&filters, "ada", "db", PolicyType::RowFilter);
        assert_eq!(decision.row_filter.as_deref(), Some("1 = 0"));
        assert!(!filters.problems().is_empty());
    }
}

#[test]
fn a_name_that_looks_like_a_wildcard_is_a_name() {
    let policy = json!([{
        "id": 1, "name": "homes", "resources": {"database": {"values": ["home_{USER}", "*_${{USER._name}}_x"]}, "table": {"values": ["*"]}},
        "policyItems": [item("")],
    }]);
    let engine = engine(&policy);
    assert!(decide(&engine, "ada", "home_ada", PolicyType::Access).allowed);
    assert!(decide(&engine, "ada", "old_ada_x", PolicyType::Access).allowed);
    for user in ["*", "a*", "???", "{USER}"] {
        assert!(!decide(&engine, user, "home_ada", PolicyType::Access).allowed, "{user}");
        assert!(!decide(&engine, user, "old_ada_x", PolicyType::Access).allowed, "{user}");
    }
}

#[test]
fn faults_are_told_with_their_place() {
    let wrong =
        ServicePolicies::from_json(&json!({"policies": [{"id": 7, "name": "x", "policyItems": [{"users": 3}]}]}))
            .unwrap_err();
    assert_eq!(wrong.to_string(), "policy 7 `x`.policyItems[0].users: a list is expected");
    for resources in [
        json!([{"name": "a", "parent": "b"}, {"name": "b", "parent": "a"}]),
        json!([{"name": "a", "parent": "nobody"}]),
        json!([{"name": "a"}, {"name": "a"}]),
    ] {
        let policies =
            ServicePolicies::from_json(&json!({"serviceDef": {"name": "s", "resources": resources}})).unwrap();
        assert!(Engine::new(&policies, Options::default()).is_err());
    }
    let list = json!([
        policy(1, &json!({"policyItems": [item("((")]})),
        {"id": 2, "name": "p2", "resources": {"moon": {"values": ["x"]}}},
    ]);
    let mut engine = engine(&list);
    let role = |name: &str, of: &str| Role { name: name.to_owned(), roles: vec![of.to_owned()], ..Role::default() };
    engine.set_roles(&[role("a", "b"), role("b", "a"), role("c", "nobody")]);
    let problems: Vec<String> = engine.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "policy 1 `p1`, policyItems[0].conditions[0]: the expression cannot be read: the expression ends too early",
            "policy 2 `p2`, resources.moon: the service definition has no such level",
            "policy -1 `role a`, roles: is in itself, by `b`",
            "policy -1 `role b`, roles: is in itself, by `a`",
            "policy -1 `role c`, roles: `nobody` is not there",
        ]
    );
}

#[test]
fn lint_finds_what_is_likely_not_meant() {
    let public = item("");
    let list = json!([
        policy(1, &json!({"denyPolicyItems": [public]})),
        policy(2, &json!({"policyItems": [{"accesses": [{"type": "select"}], "users": ["ada"]}]})),
        policy(3, &json!({"policyItems": [{"accesses": [{"type": "fly"}], "users": ["ada"]}, {"accesses": [], "groups": []}]})),
        policy(4, &json!({"policyType": 1, "dataMaskPolicyItems": [
            {"accesses": [{"type": "select"}], "groups": ["public"], "dataMaskInfo": {"dataMaskType": "MASK"}},
            {"accesses": [{"type": "select"}], "users": ["ada"], "dataMaskInfo": {"dataMaskType": "BLUR"}},
        ]})),
        policy(5, &json!({
            "policyItems": [{"accesses": [{"type": "update"}], "users": ["ada"]}], "validitySchedules": [{"endTime": "2020/01/01 00:00:00"}],
        })),
        {"id": 6, "name": "p5", "isAuditEnabled": false,
         "resources": {"database": {"values": ["db"]}, "table": {"values": ["t"], "isExcludes": true}}},
    ]);
    let list: Vec<Policy> = list.as_array().unwrap().iter().map(|policy| Policy::from_json(policy).unwrap()).collect();
    let def = ServiceDef::from_json(&definition()).unwrap();
    let found = lint(&list, &def, Some(1_700_000_000_000), &Options::default()).unwrap();
    let found: Vec<String> =
        found.iter().map(|problem| format!("{} {}: {}", problem.policy_id, problem.field, problem.what)).collect();
    assert_eq!(
        found,
        [
            "1 denyPolicyItems[0]: denies `public` without an exception, administrators among them",
            "3 policyItems[0].accesses: the service definition has no access `fly`",
            "3 policyItems[1]: names nobody",
            "3 policyItems[1]: names no access",
            "4 dataMaskPolicyItems[1].dataMaskInfo: the service definition has no mask `BLUR`",
            "4 dataMaskPolicyItems[1]: is never reached: items before it are for everybody",
            "5 validitySchedules: all have ended",
            "6 name: policy 5 has the same",
            "6 policyItems: there are none, and the policy is not audited: it does nothing",
            "6 resources.table: excludes, which the service definition does not support",
            "2 policyItems: are never reached: policy 1 denies the same to everybody",
        ]
    );
}
