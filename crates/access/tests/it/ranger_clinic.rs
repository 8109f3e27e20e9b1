//! A clinic under Ranger policies: who sees what as one golden matrix, and what a request, a change and a slip of the pen come to.

use std::collections::{BTreeMap, BTreeSet};

use cordon_access::ranger::{deltas_from_json, json, zones_from_json};
use cordon_access::{
    AccessFile, Action, Authorizer, ColumnFacts, Dataset, Decision, Documents, Grants, Known, Mask, Matrix, Policies,
    Principal, Privilege, Purpose, PurposeOfUse, Reason, Records, Request, Service, apply_deltas, compare,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{cases, check_golden};

/// 2026-01-01.
const NOW: i64 = 1_767_225_600_000;

#[derive(Deserialize)]
struct Table {
    name: String,
    columns: Vec<Column>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
    kind: Option<String>,
    class: Option<String>,
    action: Option<String>,
}

fn read(name: &str) -> String {
    std::fs::read_to_string(cases().join("ranger-clinic").join(name)).unwrap()
}

fn value(name: &str) -> Value {
    json::parse(&read(name)).unwrap()
}

fn documents(policies: &str) -> Documents {
    Documents {
        policies: value(policies),
        tags: Some(value("tags.json")),
        roles: Some(value("roles.json")),
        users: Some(value("users.json")),
    }
}

fn roles() -> Grants {
    Grants::check(AccessFile::default()).unwrap()
}

fn service(documents: &Documents) -> Service {
    Service::new(&Records::read(documents, "clinic").unwrap(), "cordon").unwrap()
}

fn policies(name: &str) -> Policies {
    Policies::of_ranger(roles(), service(&documents(name)))
}

fn datasets() -> Vec<Known> {
    let tables: Vec<Table> = serde_saphyr::from_str(&read("datasets.yaml")).unwrap();
    let facts = |column: &Column| ColumnFacts {
        kind: column.kind.clone(),
        class: column.class.clone(),
        action: column.action.clone(),
        method: Some("safe-harbor".to_owned()),
    };
    let known = |table: Table| Known {
        facts: table.columns.iter().map(facts).collect(),
        columns: table.columns.into_iter().map(|column| column.name).collect(),
        name: table.name,
    };
    tables.into_iter().map(known).collect()
}

fn decide(policies: &Policies, principal: &Principal, usage: &PurposeOfUse, dataset: &str) -> Decision {
    let known = datasets().into_iter().find(|known| known.name == dataset).unwrap();
    let columns: Vec<&str> = known.columns.iter().map(String::as_str).collect();
    let facts = &known.facts;
    policies.decide(&Request { principal, usage, time: NOW, dataset, columns: &columns, facts, action: Action::Read })
}

fn plain(policies: &Policies, user: &str, purpose: Purpose, dataset: &str) -> Decision {
    decide(policies, &Principal::named(user), &purpose.into(), dataset)
}

/// One a line.
fn lines(told: &[impl ToString]) -> String {
    let mut lines: Vec<String> = told.iter().map(ToString::to_string).collect();
    lines.push(String::new());
    lines.join("\n")
}

#[test]
fn the_golden_matrix() {
    let policies = policies("policies.json");
    let matrix = Matrix::new(&policies, &policies.principals(), &datasets(), NOW);
    check_golden(&cases().join("ranger-clinic/matrix.txt"), &matrix.to_string());
}

#[test]
fn what_changes_between_two_versions() {
    let (before, after) = (policies("policies.json"), policies("policies-next.json"));
    let changes = compare(&before, &after, &before.principals(), &datasets(), NOW);
    check_golden(&cases().join("ranger-clinic/changes.txt"), &lines(&changes));
    assert!(compare(&before, &before, &before.principals(), &datasets(), NOW).is_empty());
}

#[test]
fn a_decision_says_no_more_than_it_opens_and_names_its_policies() {
    let policies = policies("policies.json");
    for principal in policies.principals() {
        for known in datasets() {
            for purpose in Purpose::ALL {
                let decision = decide(&policies, &principal, &purpose.into(), &known.name);
                if decision.columns.is_empty() {
                    assert_eq!(decision, Decision::denied());
                    continue;
                }
                assert!(decision.allowed && !decision.why.contains(&Reason::NoGrant));
                assert!(decision.masks.keys().all(|name| decision.columns.contains(name)));
                assert!(decision.why.iter().all(|why| matches!(why, Reason::Ranger { name, .. } if !name.is_empty())));
            }
        }
    }
    let seen = plain(&policies, "ada", Purpose::Treatment, "patients");
    assert_eq!(seen.masks, BTreeMap::from([("ssn".to_owned(), Mask::ShowLast4)]));
    let told: Vec<String> = seen.why.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "policy 1 `patients for those who treat`, policyItems[0]",
            "policy 10 `social security numbers`, dataMaskPolicyItems[0]"
        ]
    );
}

/// Ranger's condition holds where the attribute is not there; a request without a project must not pass for any.
#[test]
fn a_study_is_open_to_its_own_project_only() {
    let policies = policies("policies.json");
    let rita = Principal::named("rita");
    let study = |project: Option<&str>| PurposeOfUse {
        project: project.map(str::to_owned),
        ..PurposeOfUse::from(Purpose::Research)
    };
    let seen = decide(&policies, &rita, &study(Some("IRB-7")), "patients");
    assert_eq!(seen.columns, ["patient", "ssn", "birth_date", "city"]);
    assert_eq!(seen.masks["ssn"], Mask::Null);
    assert_eq!(seen.masks["birth_date"], Mask::ShowYear);
    for other in [None, Some(""), Some("IRB-8"), Some("irb-7")] {
        assert_eq!(decide(&policies, &rita, &study(other), "patients"), Decision::denied(), "{other:?}");
    }
    let wrong = PurposeOfUse { project: Some("IRB-7".to_owned()), ..Purpose::Operations.into() };
    assert_eq!(decide(&policies, &rita, &wrong, "patients"), Decision::denied());
}

#[test]
fn what_a_column_was_made_from_is_a_tag() {
    let policies = policies("policies.json");
    let seen = plain(&policies, "quinn", Purpose::Operations, "encounters");
    assert_eq!(seen.masks["patient"], Mask::Hash);
    assert!(!seen.masks.contains_key("ward"), "{:?}", seen.masks);
    assert_eq!(plain(&policies, "bill", Purpose::Payment, "claims").columns, ["amount", "paid"]);
    // What nobody classified counts as direct.
    let (principal, usage) = (Principal::named("bill"), Purpose::Payment.into());
    let request = Request {
        principal: &principal,
        usage: &usage,
        time: NOW,
        dataset: "claims",
        columns: &["claim", "amount"],
        facts: &[],
        action: Action::Read,
    };
    assert_eq!(policies.decide(&request), Decision::denied());
}

#[test]
fn a_filter_reads_attributes_and_one_that_ends_a_literal_is_left_out() {
    let policies = policies("policies.json");
    let filter = |principal: &Principal| {
        decide(&policies, principal, &Purpose::Treatment.into(), "encounters").row_filter.unwrap()
    };
    assert_eq!(filter(&Principal::named("ada")), "ward = 'north'");
    let with = |ward: &str| Principal {
        attributes: BTreeMap::from([("ward".to_owned(), ward.to_owned())]),
        ..Principal::named("ada")
    };
    assert_eq!(filter(&with("east")), "ward = 'east'");
    assert_eq!(filter(&with("x' or 'a' = 'a")), "ward = 'north'");
    let doctor = Principal { groups: BTreeSet::from(["doctors".to_owned()]), ..with("x' or 1=1") };
    let doctor = Principal { name: "dora".to_owned(), ..doctor };
    assert_eq!(filter(&doctor), "ward = ''");
}

#[test]
fn what_is_not_known_or_not_readable_opens_nothing() {
    let policies = policies("policies.json");
    let sight = |user: &str| {
        let known = datasets().into_iter().find(|known| known.name == "claims").unwrap();
        known.sight(&policies, &Principal::named(user), &Purpose::Payment.into(), NOW)
    };
    assert!(!sight("odd").is_open() && sight("odd").troubles[0].contains("policy 8"), "{:?}", sight("odd").troubles);
    assert!(!sight("temp").is_open());
    assert_eq!(plain(&policies, "bill", Purpose::Operations, "claims").masks["amount"], Mask::Null);
    let unknown = Policies::unknown(roles());
    for purpose in Purpose::ALL {
        assert_eq!(plain(&unknown, "ada", purpose, "patients"), Decision::denied());
    }
}

#[test]
fn reading_opens_no_privileged_action_and_roles_of_the_file_decide_about_those() {
    let file: AccessFile = serde_saphyr::from_str(
        "{ ranger: { service: clinic, policies: p.json }, users: [{ name: eve, roles: [officer] }], \
         roles: [{ name: officer, actions: [{ allow: [reveal], purposes: [oversight] }] }] }",
    )
    .unwrap();
    let policies = Policies::of_ranger(Grants::check(file).unwrap(), service(&documents("policies.json")));
    let reveal = |user: &str| {
        let (principal, usage) = (Principal::named(user), Purpose::Oversight.into());
        let action = Action::Privileged(Privilege::Reveal);
        let request =
            Request { principal: &principal, usage: &usage, time: NOW, dataset: "t", columns: &[], facts: &[], action };
        policies.decide(&request).allowed
    };
    assert!(reveal("eve") && !reveal("boris"));
}

#[test]
fn changes_come_to_what_a_full_download_is() {
    let (before, after) = (documents("policies.json"), documents("policies-next.json"));
    let of = |document: &Documents| -> BTreeMap<i64, Value> {
        let list = document.policies["policies"].as_array().unwrap();
        list.iter().map(|policy| (policy["id"].as_i64().unwrap(), policy.clone())).collect()
    };
    let (old, new) = (of(&before), of(&after));
    let mut deltas = Vec::new();
    for (id, policy) in &new {
        if old.get(id) != Some(policy) {
            deltas.push(json!({ "changeType": 1, "policy": policy }));
        }
    }
    for id in old.keys().filter(|id| !new.contains_key(id)) {
        deltas.push(json!({ "changeType": 2, "policy": { "id": id } }));
    }
    deltas.push(json!({ "changeType": 0, "policy": { "id": 99, "serviceType": "tag", "name": "new",
        "resources": { "tag": { "values": ["PHI_QUASI"] } }, "denyPolicyItems": [
            { "accesses": [{ "type": "cordon:select" }], "roles": ["researchers"] }] } }));
    let download = json!({ "serviceName": "clinic", "policyVersion": 8, "policyDeltas": deltas });
    let mut full = before.policies.clone();
    // Only with a definition of the tag service is it told which changes are of tag policies.
    full["tagPolicies"]["serviceDef"] = json!({ "name": "tag", "resources": [{ "name": "tag", "level": 1, "isValidLeaf": true }],
        "accessTypes": [{ "name": "cordon:select" }] });
    let start = Documents { policies: full.clone(), ..before.clone() };
    apply_deltas(&mut full, &download).unwrap();
    assert_eq!(full["policyVersion"], 8);
    let anew = Policies::of_ranger(roles(), service(&Documents { policies: full, ..before.clone() }));
    let deltas = deltas_from_json(&download["policyDeltas"]).unwrap();
    let changed = service(&start).changed(&deltas, Some(&zones_from_json(&Value::Null).unwrap()));
    let changed = Policies::of_ranger(roles(), changed);
    assert_eq!(compare(&anew, &changed, &anew.principals(), &datasets(), NOW), []);
    let old = Policies::of_ranger(roles(), service(&start));
    assert!(compare(&old, &changed, &old.principals(), &datasets(), NOW).len() > 5);
    let odd = json!({ "policyDeltas": [{ "changeType": 3, "policy": { "id": 1 } }] });
    assert!(apply_deltas(&mut before.policies.clone(), &odd).is_err());
}

/// What the asker says of himself stands in a filter as a literal, whatever he says.
#[test]
fn nobody_writes_into_a_row_filter() {
    let mut documents = documents("policies.json");
    let filter = "study = '${{ctx.getRequestContextAttribute('RESEARCH_PROJECT')}}' and owner = '${{USER._name}}'";
    documents.policies["policies"].as_array_mut().unwrap().push(json!({
        "id": 51, "name": "own study", "policyType": 2, "policyPriority": 1,
        "resources": { "database": { "values": ["cordon"] }, "table": { "values": ["claims"] } },
        "rowFilterPolicyItems": [{ "accesses": [{ "type": "select" }], "users": ["bill", "o'brien"], "groups": ["billing"],
            "rowFilterInfo": { "filterExpr": filter } }]
    }));
    let policies = Policies::of_ranger(roles(), service(&documents));
    let filter = |user: &str, project: &str| {
        let principal = Principal { groups: ["billing".to_owned()].into(), ..Principal::named(user) };
        let usage = PurposeOfUse { project: Some(project.to_owned()), ..Purpose::Operations.into() };
        decide(&policies, &principal, &usage, "claims").row_filter
    };
    assert_eq!(filter("bill", "heart-2.a").unwrap(), "study = 'heart-2.a' and owner = 'bill'");
    for project in ["x' OR 'a'='a", "1 OR TRUE", "a;b", "x\\"] {
        assert_eq!(filter("bill", project).unwrap(), "study = '' and owner = 'bill'");
    }
    let nobody = filter("o'brien", "heart").unwrap();
    assert!(!nobody.contains("brien") && !nobody.contains("study"), "{nobody}");
}

#[test]
fn columns_that_may_not_be_read_together() {
    let mut documents = documents("policies.json");
    documents.policies["policies"].as_array_mut().unwrap().push(json!({
        "id": 50, "name": "apart", "resources": { "database": { "values": ["cordon"] }, "table": { "values": ["claims"] },
        "column": { "values": ["amount"] } }, "denyPolicyItems": [{ "accesses": [{ "type": "select" }], "groups": ["billing"],
        "conditions": [{ "type": "accessed-together", "values": ["cordon.claims.claim", "cordon.claims.amount"] }] }]
    }));
    let policies = Policies::of_ranger(roles(), service(&documents));
    let (principal, usage) = (Principal::named("bill"), PurposeOfUse::from(Purpose::Operations));
    let ask = |columns: &[&str]| {
        let request = Request {
            principal: &principal,
            usage: &usage,
            time: NOW,
            dataset: "claims",
            columns,
            facts: &[],
            action: Action::Read,
        };
        (policies.decide(&request).columns.len(), policies.together(&[request]))
    };
    assert_eq!(ask(&["claim"]), (1, true));
    assert_eq!(ask(&["amount", "paid"]), (2, true));
    assert_eq!(ask(&["claim", "amount"]), (2, false));
}

#[test]
fn documents_of_another_service_or_of_wrong_types_are_refused_by_policy_and_field() {
    let told = |change: &dyn Fn(&mut Documents)| {
        let mut documents = documents("policies.json");
        change(&mut documents);
        Records::read(&documents, "clinic").err().unwrap().to_string()
    };
    for (said, change) in [
        (
            "another service",
            &(|it: &mut Documents| it.policies["serviceName"] = json!("hr")) as &dyn Fn(&mut Documents),
        ),
        ("policy 1 `patients for those who treat`.policyItems[0].users", &|it| {
            it.policies["policies"][0]["policyItems"][0]["users"] = json!("ada");
        }),
        ("policy 3 `patients for statistics`.isEnabled", &|it| it.policies["policies"][2]["isEnabled"] = json!("no")),
        ("no level `table`", &|it| {
            it.policies["serviceDef"] = json!({ "name": "hdfs", "resources": [{ "name": "database" }] });
        }),
        ("rangerRoles[0].users", &|it| it.roles = Some(json!([{ "name": "r", "users": 7 }]))),
        ("userGroupMapping.bill", &|it| it.users = Some(json!({ "userGroupMapping": { "bill": "billing" } }))),
        ("servicePolicies: an object", &|it| it.policies = json!([])),
    ] {
        let error = told(change);
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[test]
fn lint_names_policy_and_field() {
    let mut documents = documents("policies.json");
    let list = documents.policies["policies"].as_array_mut().unwrap();
    list.push(json!({ "id": 60, "name": "slip", "resources": { "database": { "values": ["cordn"] },
        "table": { "values": ["pateints"] }, "column": { "values": ["*"] } },
        "policyItems": [{ "accesses": [{ "type": "selekt" }], "users": ["ada"] }] }));
    list.push(json!({ "id": 61, "name": "slip two", "resources": { "database": { "values": ["cordon"] },
        "table": { "values": ["patients"] }, "column": { "values": ["SSN", "snn"] } },
        "policyItems": [{ "accesses": [{ "type": "select" }], "users": ["ada"] }] }));
    let records = Records::read(&documents, "clinic").unwrap();
    let service = service(&documents);
    let known = datasets();
    let columns: Vec<Vec<&str>> =
        known.iter().map(|known| known.columns.iter().map(String::as_str).collect()).collect();
    let datasets: Vec<Dataset<'_>> =
        known.iter().zip(&columns).map(|(known, columns)| Dataset { name: &known.name, columns }).collect();
    let told = lines(&records.lint(&service, &datasets, NOW).unwrap());
    check_golden(&cases().join("ranger-clinic/lint.txt"), &told);
}
