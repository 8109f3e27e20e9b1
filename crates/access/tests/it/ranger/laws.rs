//! What holds for all policies and requests: the index loses nothing, changes come to what a new engine is, wildcards
//! are what they seem, and no record brings the engine down.

use cordon_access::ranger::{
    Change, ElementMatcher, ElementScope, Engine, MatchingScope, Options, Policy, PolicyDelta, PolicyResource,
    PolicyType, Request, Resource, ResourceDef, ServicePolicies, lint,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn definition() -> Value {
    let level = |name: &str, parent: Option<&str>, class: &str| json!({"name": name, "parent": parent, "matcher": format!("org.apache.ranger.plugin.resourcematcher.{class}")});
    json!({
        "name": "hive",
        "resources": [
            level("database", None, "RangerDefaultResourceMatcher"), level("table", Some("database"), "RangerDefaultResourceMatcher"),
            level("column", Some("table"), "RangerDefaultResourceMatcher"), level("udf", Some("database"), "RangerDefaultResourceMatcher"),
            level("path", None, "RangerPathResourceMatcher"), level("url", None, "RangerURLResourceMatcher"),
        ],
        "accessTypes": [{"name": "select"}, {"name": "update"}, {"name": "all", "impliedGrants": ["select", "update"]}],
    })
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[abAB]{1,2}",
        2 => "[ab]{0,1}[*?][ab*]{0,2}",
        1 => Just("*".to_owned()),
        1 => Just("{USER}".to_owned()),
        1 => Just("${{USER.x}}".to_owned()),
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof!["(/[ab*]{1,2}){1,3}/?", "s://[ab*]{1,2}(/[ab*]{1,2}){0,2}", Just("*".to_owned())]
}

fn level(values: impl Strategy<Value = String>) -> impl Strategy<Value = Value> {
    (prop::collection::vec(values, 0..3), prop::bool::weighted(0.2), any::<bool>()).prop_map(
        |(values, excludes, recursive)| json!({"values": values, "isExcludes": excludes, "isRecursive": recursive}),
    )
}

fn resources() -> impl Strategy<Value = Value> {
    prop_oneof![
        level(value()).prop_map(|a| json!({"database": a})),
        (level(value()), level(value())).prop_map(|(a, b)| json!({"database": a, "table": b})),
        (level(value()), level(value()), level(value()))
            .prop_map(|(a, b, c)| json!({"database": a, "table": b, "column": c})),
        (level(value()), level(value())).prop_map(|(a, b)| json!({"database": a, "udf": b})),
        level(path()).prop_map(|a| json!({"path": a})),
        level(path()).prop_map(|a| json!({"url": a})),
        Just(json!({})),
    ]
}

fn items() -> impl Strategy<Value = Value> {
    let item = (
        prop::sample::subsequence(vec!["select", "update", "all"], 0..3),
        prop::sample::subsequence(vec!["a", "b", "{USER}", "{OWNER}"], 0..3),
        prop::sample::subsequence(vec!["g", "public"], 0..2),
        prop::option::weighted(0.2, prop::sample::select(vec!["USER._name == 'a'", "null.x", "for(;;){}", "UGNAMES.includes('g')"])),
        any::<bool>(),
    )
        .prop_map(|(accesses, users, groups, condition, admin)| {
            let accesses: Vec<Value> = accesses.into_iter().map(|name| json!({"type": name})).collect();
            let conditions: Vec<Value> = condition.into_iter().map(|text| json!({"type": "_expression", "values": [text]})).collect();
            json!({"accesses": accesses, "users": users, "groups": groups, "conditions": conditions, "delegateAdmin": admin})
        });
    prop::collection::vec(item, 0..3).prop_map(Value::Array)
}

fn policy(id: i64) -> impl Strategy<Value = Policy> {
    (resources(), prop::collection::vec(resources(), 0..2), items(), items(), items(), 0..2_i64, prop::bool::weighted(0.1), any::<bool>()).prop_map(
        move |(resources, more, allow, deny, except, priority, else_denied, audited)| {
            Policy::from_json(&json!({
                "id": id, "name": format!("p{id}"), "resources": resources, "additionalResources": more, "policyItems": allow,
                "denyPolicyItems": deny, "denyExceptions": except, "policyPriority": priority, "isDenyAllElse": else_denied,
                "isAuditEnabled": audited,
            }))
            .unwrap()
        },
    )
}

fn policies() -> impl Strategy<Value = Vec<Policy>> {
    (0..8_usize).prop_flat_map(|count| (0..count).map(|id| policy(id as i64)).collect::<Vec<_>>())
}

fn request() -> impl Strategy<Value = Request> {
    let one = || prop_oneof![3 => "[abAB]{1,3}".prop_map(Some), 1 => Just(Some("*".to_owned())), 1 => Just(None)];
    let elements = prop_oneof![
        (one(), one(), one()).prop_map(|(a, b, c)| [("database", a), ("table", b), ("column", c)].to_vec()),
        (one(), one()).prop_map(|(a, b)| [("database", a), ("udf", b)].to_vec()),
        prop::option::of("(/[ab]{1,2}){1,4}/?").prop_map(|a| [("path", a)].to_vec()),
        prop::option::of("s://[ab]{1,2}(/[ab]{1,2}){0,3}").prop_map(|a| [("url", a)].to_vec()),
    ];
    (
        elements,
        prop::sample::select(vec!["select", "update", "", "_any", "_admin", "other"]),
        prop::option::of(prop::sample::select(vec!["a", "b", "c"])),
        prop::sample::subsequence(vec!["g", "h"], 0..2),
        any::<bool>(),
        any::<bool>(),
        prop::sample::select(vec![
            ElementScope::SelfOnly,
            ElementScope::SelfOnly,
            ElementScope::SelfOrChild,
            ElementScope::SelfOrPrefix,
        ]),
    )
        .prop_map(|(elements, access, user, groups, below, ignore, scope)| Request {
            element_matching_scopes: elements.iter().map(|(name, _)| ((*name).to_owned(), scope)).collect(),
            resource: Resource {
                elements: elements
                    .into_iter()
                    .filter_map(|(name, value)| Some((name.to_owned(), vec![value?])))
                    .collect(),
                owner: Some("b".to_owned()),
            },
            access_type: access.to_owned(),
            user: user.map(str::to_owned),
            user_groups: groups.into_iter().map(str::to_owned).collect(),
            access_time: Some(1_700_000_000_000),
            matching_scope: if below { MatchingScope::SelfOrDescendants } else { MatchingScope::SelfOnly },
            ignore_descendant_deny: ignore,
            ..Request::default()
        })
}

fn engine(policies: &[Policy]) -> Engine {
    let mut all = ServicePolicies::from_json(&json!({"serviceName": "s", "serviceDef": definition()})).unwrap();
    all.policies = policies.to_vec();
    Engine::new(&all, Options::default()).unwrap()
}

/// The wildcard as a sentence: tried every way there is.
fn reference(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['*', rest @ ..], _) => reference(rest, text) || (!text.is_empty() && reference(pattern, &text[1..])),
        (['?', rest @ ..], [_, after @ ..]) => reference(rest, after),
        ([wanted, rest @ ..], [got, after @ ..]) => wanted == got && reference(rest, after),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_decides_as_asking_every_policy_does(policies in policies(), requests in prop::collection::vec(request(), 4)) {
        let indexed = engine(&policies);
        let naive = engine(&policies).without_index();
        for request in &requests {
            prop_assert_eq!(indexed.decide(request, PolicyType::Access), naive.decide(request, PolicyType::Access));
            prop_assert_eq!(indexed.resource_access_info(request), naive.resource_access_info(request));
            let scope = request.matching_scope;
            prop_assert_eq!(indexed.resource_acls(&request.resource, scope), naive.resource_acls(&request.resource, scope));
        }
    }

    #[test]
    fn changes_come_to_what_a_new_engine_is(
        policies in policies(),
        changes in prop::collection::vec((0..10_i64).prop_flat_map(|id| (policy(id), 0..3_u8)), 0..6),
        requests in prop::collection::vec(request(), 3),
    ) {
        let mut changed = engine(&policies);
        let mut list = policies.clone();
        for (policy, change) in changes {
            let change = match change {
                0 => Change::Create,
                1 => Change::Update,
                _ => Change::Delete,
            };
            list.retain(|known| known.id != policy.id);
            if change != Change::Delete {
                list.push(policy.clone());
            }
            changed.update(&[PolicyDelta { change, policy }], None);
        }
        let fresh = engine(&list);
        for request in &requests {
            prop_assert_eq!(changed.decide(request, PolicyType::Access), fresh.decide(request, PolicyType::Access));
        }
        let sorted = |engine: &Engine| { let mut all = engine.problems(); all.sort(); all };
        prop_assert_eq!(sorted(&changed), sorted(&fresh));
    }

    #[test]
    fn wildcards_are_what_they_seem(pattern in "[abä*?]{1,8}", text in "[abä]{1,10}") {
        let def = ResourceDef { name: "x".to_owned(), ..ResourceDef::default() };
        let resource = PolicyResource { values: vec![pattern.clone()], ..PolicyResource::default() };
        let (pattern, chars): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
        prop_assert_eq!(ElementMatcher::new(&def, &resource).is_match(&[text], &BTreeMap::new()), reference(&pattern, &chars));
    }

    #[test]
    fn paths_are_what_their_beginnings_are(pattern in "(/[ab*?]{1,3}){1,4}", path in "(/[ab]{1,2}){1,9}") {
        let class = "org.apache.ranger.plugin.resourcematcher.RangerPathResourceMatcher".to_owned();
        let def = ResourceDef { name: "x".to_owned(), matcher: Some(class), ..ResourceDef::default() };
        prop_assume!(pattern.contains(['*', '?']));
        let resource = PolicyResource { values: vec![pattern.clone()], is_recursive: true, ..PolicyResource::default() };
        let got = ElementMatcher::new(&def, &resource).is_match(std::slice::from_ref(&path), &BTreeMap::new());
        let elements: Vec<&str> = path.split('/').skip(1).collect();
        let chars: Vec<char> = pattern.chars().collect();
        let literal: Vec<&str> = pattern.split('/').skip(1).take_while(|part| !part.contains(['*', '?'])).collect();
        let starts = elements.iter().zip(&literal).all(|(a, b)| a == b) && elements.len() > literal.len();
        let any = (1..=elements.len()).any(|count| {
            let head: Vec<char> = format!("/{}", elements[..count].join("/")).chars().collect();
            count > literal.len() && reference(&chars, &head)
        });
        prop_assert_eq!(got, starts && any, "{} {}", pattern, path);
    }

    #[test]
    fn no_record_brings_it_down(steps in prop::collection::vec(any::<u16>(), 1..12), to in 0..8_u8, request in request()) {
        let mut document = json!({
            "serviceName": "s", "serviceDef": definition(), "auditMode": "audit-default",
            "policies": [{
                "id": 1, "name": "p", "resources": {"database": {"values": ["a*"], "isRecursive": true}, "table": {"values": ["b"]}},
                "conditions": [{"type": "_expression", "values": ["REQ.user == 'a'"]}],
                "policyItems": [{"accesses": [{"type": "select", "isAllowed": true}], "users": ["a"], "conditions": []}],
                "validitySchedules": [{"startTime": "2020/01/01 00:00:00", "timeZone": "UTC",
                    "recurrences": [{"schedule": {"minute": "0", "hour": "1", "dayOfWeek": "1-5"}, "interval": {"minutes": 1}}]}],
            }],
            "securityZones": {"z": {"resources": [{"database": ["z"]}], "policies": []}},
        });
        let new = [
            Value::Null, json!(true), json!(-1), json!(1e300), json!("x"), json!([[[]]]), json!({"a": {"b": []}}), json!("${{(((("),
        ][usize::from(to)].clone();
        fn replace(value: &mut Value, steps: &[u16], new: Value) {
            let Some((step, rest)) = steps.split_first() else { *value = new; return };
            let size = match value { Value::Array(list) => list.len(), Value::Object(map) => map.len(), _ => 0 };
            if size == 0 { *value = new; return }
            let at = usize::from(*step) % size;
            match value {
                Value::Array(list) => replace(&mut list[at], rest, new),
                Value::Object(map) => replace(map.values_mut().nth(at).unwrap(), rest, new),
                _ => {}
            }
        }
        replace(&mut document, &steps, new);
        if let Ok(policies) = ServicePolicies::from_json(&document)
            && let Ok(engine) = Engine::new(&policies, Options::default())
        {
            let _ = (engine.decide(&request, PolicyType::Access), engine.problems());
            let _ = lint(&policies.policies, &policies.service_def, request.access_time, &Options::default());
        }
    }

    #[test]
    fn no_expression_brings_it_down(words in prop::collection::vec(prop::sample::select(vec![
        "(", ")", "[", "]", "{", "}", "a", "'b'", "1", "+", "==", "=>", "?", ":", "!", ".", ",", ";", "var ", "if", "else ", "return ", "ctx",
        ".result", "=", "REQ", "USER", ".x", "&&", "||", "typeof ", "function", "-", "in ", "`", "/", "\\", "ä", "TAGS", "GET_TAG_NAMES()",
    ]), 0..30)) {
        let policy = Policy::from_json(&json!({
            "id": 1, "name": "p", "resources": {"database": {"values": ["*"]}},
            "policyItems": [{"accesses": [{"type": "select"}], "groups": ["public"], "conditions": [{"type": "_expression", "values": [words.concat()]}]}],
        })).unwrap();
        let request = Request { resource: Resource::of([("database", "a")]), access_type: "select".to_owned(), ..Request::default() };
        let _ = engine(&[policy]).decide(&request, PolicyType::Access);
    }
}
