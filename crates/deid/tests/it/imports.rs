//! Configurations of the Microsoft FHIR anonymizer as policies: they compile, take away at least as much, and say the rest.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cordon_deid::policy::import::{ImportOptions, Imported, Line, Status, import};
use cordon_phi::Method;
use serde_json::{Value, json};

use crate::fhir::{recipe, run};

const METHODS: [Method; 3] = [Method::SafeHarbor, Method::LimitedDataSet, Method::ExpertDetermination];

fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("CORDON_SHARED_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3)?.join("shared/data");
    let folder = named.unwrap_or(beside).join("ms-anonymizer");
    if !folder.is_dir() {
        eprintln!("skipped: {} is not here", folder.display());
        return None;
    }
    Some(folder)
}

fn imported(text: &str, method: Method) -> Imported {
    let options = ImportOptions { name: "imported", method, run_date: "2026-01-01".parse().unwrap() };
    import(text, &options).unwrap_or_else(|error| panic!("{error}"))
}

fn of_rules(rules: &Value, parameters: &Value, method: Method) -> Imported {
    let made = imported(&json!({ "fhirPathRules": rules, "parameters": parameters }).to_string(), method);
    assert!(made.problems.is_empty(), "{:?}\n{}", made.problems, made.policy);
    made
}

fn line<'a>(made: &'a Imported, path: &str) -> &'a Line {
    made.lines.iter().find(|line| line.path == path).unwrap_or_else(|| panic!("no line of {path}: {:#?}", made.lines))
}

/// What came of one resource.
fn out(made: &Imported, resource: &Value) -> Value {
    let recipe = recipe(&made.policy).unwrap_or_else(|issues| panic!("{issues}\n{}", made.policy));
    let ran = run(&recipe, resource.to_string().as_bytes());
    ran.resources().pop().map_or(Value::Null, |(_, json)| serde_json::from_str(&json).unwrap())
}

/// Each text and number of a resource with the path of its elements, those of resources in it by themselves.
fn leaves(value: &Value, path: &str, out: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Object(members) => {
            let path = members.get("resourceType").and_then(Value::as_str).unwrap_or(path);
            members.iter().for_each(|(key, value)| leaves(value, &format!("{path}.{key}"), out));
        }
        Value::Array(items) => items.iter().for_each(|item| leaves(item, path, out)),
        Value::Null => {}
        single => {
            out.insert((path.to_owned(), single.to_string()));
        }
    }
}

#[test]
fn all_shared_configurations_become_policies_that_compile() {
    let Some(folder) = folder() else { return };
    let mut count = 0;
    for entry in fs::read_dir(folder.join("configurations")).unwrap().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap();
        for method in METHODS {
            let made = imported(&text, method);
            assert!(made.problems.is_empty(), "{}: {:?}\n{}", entry.path().display(), made.problems, made.policy);
            recipe(&made.policy).unwrap_or_else(|issues| panic!("{}: {issues}", entry.path().display()));
            let rules = serde_json::from_str::<Value>(text.trim_start_matches('\u{feff}')).unwrap();
            let rules = rules["fhirPathRules"].as_array().unwrap();
            for rule in rules {
                assert!(made.lines.iter().any(|line| rule["path"] == line.path.as_str() && line.line > 0), "{rule}");
            }
            let counts =
                [Status::Mapped, Status::Stricter, Status::Forbidden, Status::Unmapped, Status::NoEffect, Status::Note]
                    .map(|status| made.lines.iter().filter(|line| line.status == status).count());
            eprintln!("{} by {}: {} rules, {counts:?}", entry.file_name().display(), method.name(), rules.len());
            // A key of the samples.
            assert!(!made.policy.contains("123\"") && !made.policy.contains("cryptoHashKey"));
        }
        count += 1;
    }
    assert_eq!(count, 13);
}

#[test]
fn nothing_that_the_targets_lost_stands_in_ours() {
    let Some(folder) = folder() else { return };
    let read = |name: &str| -> Value {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        serde_json::from_str(text.trim_start_matches('\u{feff}')).unwrap()
    };
    let (mut pairs, mut lost, mut stayed) = (0, 0, 0);
    for (input, target, config) in [
        ("Account-R4", "Account-R4", "configuration-sample"),
        ("Contract-R4", "Contract-R4", "configuration-sample"),
        ("DeviceComponent", "DeviceComponent", "configuration-sample"),
        ("OrganizationAffiliation", "OrganizationAffiliation", "configuration-sample"),
        ("bundle-basic", "bundle-basic", "common-config"),
        ("bundle-without-entry-resource", "bundle-without-entry-resource", "common-config"),
        ("contained-basic", "contained-basic", "common-config"),
        ("contained-basic", "contained-redact-all", "redact-all-config"),
        ("contained-substitute", "contained-substitute", "substitute-multiple"),
        ("patient-basic", "patient-basic", "common-config"),
        ("patient-generalize", "patient-generalize", "generalize-patient-config"),
        ("patient-no-partial", "patient-no-partial", "common-no-partial-config"),
        ("patient-null-date", "patient-null-date", "common-config"),
        ("patient-substitute-complex", "patient-substitute-complex", "substitute-complex"),
        ("patient-substitute-multiple", "patient-substitute-multiple", "substitute-multiple"),
        ("patient-substitute-primitive", "patient-substitute-primitive", "substitute-primitive"),
    ] {
        let config = fs::read_to_string(folder.join(format!("configurations/{config}.json"))).unwrap();
        let (sent, target) = (read(&format!("{input}.json")), read(&format!("{target}-target.json")));
        let (mut before, mut theirs) = (BTreeSet::new(), BTreeSet::new());
        leaves(&sent, "", &mut before);
        leaves(&target, "", &mut theirs);
        let gone: BTreeSet<_> = before.difference(&theirs).collect();
        for method in METHODS {
            let made = imported(&config, method);
            let recipe = recipe(&made.policy).unwrap_or_else(|issues| panic!("{issues}"));
            let ran = run(&recipe, sent.to_string().as_bytes());
            // A contract is nobody's, so its dates cannot be shifted: it is put aside whole.
            assert!(ran.failures.is_empty() || method != Method::SafeHarbor, "{:?}", ran.failures);
            let mut ours = BTreeSet::new();
            for (_, json) in ran.resources() {
                leaves(&serde_json::from_str(&json).unwrap(), "", &mut ours);
            }
            for leaf in &gone {
                assert!(!ours.contains(*leaf), "{input} by {}: {leaf:?}\n{}", method.name(), made.policy);
            }
            stayed += ours.intersection(&before).count();
        }
        lost += gone.len();
        pairs += 1;
    }
    eprintln!("{pairs} pairs, {lost} values that the targets lost, {stayed} that stay here by three methods");
    assert!(pairs == 16 && lost > 200 && stayed > 50);
}

#[test]
fn what_safe_harbor_forbids_is_said_with_its_clause() {
    let rules = json!([
        { "path": "nodesByType('date')", "method": "dateShift" },
        { "path": "Patient.id", "method": "cryptoHash" },
        { "path": "nodesByType('HumanName')", "method": "keep" },
        { "path": "Patient.address.postalCode", "method": "keep" },
        { "path": "Patient.gender", "method": "keep" },
    ]);
    let made =
        of_rules(&rules, &json!({ "cryptoHashKey": "CANARYKEY", "dateShiftKey": "CANARYKEY" }), Method::SafeHarbor);
    assert!(!made.policy.contains("CANARYKEY"));
    assert!(!format!("{:?}", made.lines).contains("CANARYKEY"));
    assert_eq!(line(&made, "cryptoHashKey").status, Status::Note);
    for (path, clause) in [
        ("nodesByType('date')", "164.514(b)(2)(i)(C)"),
        ("Patient.id", "164.514(c)(1)"),
        ("nodesByType('HumanName')", "164.514(b)(2)(i)(A)"),
        ("Patient.address.postalCode", "164.514(b)(2)(i)(B)"),
        ("ContactPoint", "164.514(b)(2)(i)(D)"),
    ] {
        let line = line(&made, path);
        assert_eq!((line.status, line.clause.as_deref()), (Status::Forbidden, Some(clause)), "{line:?}");
    }
    assert_eq!(line(&made, "Patient.gender").status, Status::Mapped);
    let patient = json!({ "resourceType": "Patient", "id": "p", "name": [{ "family": "Doe", "use": "official" }],
        "gender": "male", "birthDate": "1980-02-03", "address": [{ "postalCode": "02139" }] });
    let out = out(&made, &patient);
    assert_eq!(out["gender"], "male");
    assert_eq!(out["birthDate"], "1980");
    assert_eq!(out["address"][0]["postalCode"], "021");
    assert!(out["name"][0].get("family").is_none());
}

#[test]
fn an_expert_may_keep_shift_and_hash() {
    let rules = json!([
        { "path": "nodesByType('date')", "method": "dateShift" },
        { "path": "nodesByType('HumanName').family", "method": "cryptoHash" },
        { "path": "Patient.address", "method": "keep" },
        { "path": "Resource.id", "method": "cryptoHash" },
        { "path": "Patient.name.given", "method": "substitute", "replaceWith": "X" },
    ]);
    let made = of_rules(&rules, &json!({}), Method::ExpertDetermination);
    let patient = json!({ "resourceType": "Patient", "id": "p", "name": [{ "family": "Doe", "given": ["Jane"], "text": "Jane Doe" }],
        "birthDate": "1980-02-03", "address": [{ "postalCode": "02139", "line": ["1 Elm St"], "city": "Boston" }] });
    let out = out(&made, &patient);
    assert_eq!(out["address"], patient["address"]);
    let born = out["birthDate"].as_str().unwrap();
    assert!(born.len() == 10 && born != "1980-02-03");
    let name = out["name"][0].as_object().unwrap();
    assert_eq!(name["given"], json!(["X"]));
    assert!(!name.contains_key("text") && name["family"] != "Doe" && name["family"].as_str().unwrap().len() == 26);
    assert!(out["id"] != "p");
}

#[test]
fn the_first_rule_that_matches_settles_and_nothing_comes_back_by_another_order() {
    for (rules, kept) in [
        (
            json!([{ "path": "Patient.address", "method": "redact" }, { "path": "Patient.address.state", "method": "keep" }]),
            false,
        ),
        (
            json!([{ "path": "Patient.address.state", "method": "keep" }, { "path": "Patient.address", "method": "redact" }]),
            true,
        ),
        (
            json!([{ "path": "nodesByType('Address')", "method": "redact" }, { "path": "Patient.nodesByType('Address').state", "method": "keep" }]),
            false,
        ),
        (
            json!([{ "path": "nodesByType('Address').state", "method": "keep" }, { "path": "nodesByType('Address')", "method": "redact" }]),
            true,
        ),
        (
            json!([{ "path": "nodesByType('string')", "method": "redact" }, { "path": "nodesByType('Address').state", "method": "keep" }]),
            false,
        ),
        (
            json!([{ "path": "nodesByType('string')", "method": "redact" }, { "path": "Patient.address", "method": "keep" }]),
            false,
        ),
        (json!([{ "path": "nodesByName('state')", "method": "redact" }]), false),
        (json!([{ "path": "Patient.address.where(use='home')", "method": "redact" }]), false),
        (
            json!([{ "path": "Patient.address.where(use='home')", "method": "keep" }, { "path": "Patient.address", "method": "redact" }]),
            false,
        ),
        (json!([{ "path": "Patient", "method": "redact" }]), false),
        (json!([{ "path": "nodesByType('Patient')", "method": "redact" }]), false),
        (json!([{ "path": "nodesByType('Patient').address", "method": "redact" }]), false),
        (json!([{ "path": "nodesByType('Element')", "method": "redact" }]), false),
        (json!([{ "path": "Resource", "method": "redact" }]), false),
        (json!([{ "path": "Patient.address.repeat(x)", "method": "redact" }]), false),
        (json!([{ "path": "descendants().where($this is string)", "method": "redact" }]), false),
        (
            json!([{ "path": "Patient.address.state", "method": "generalize", "cases": { "$this = 'MA'": "'X'" }, "otherValues": "keep" }]),
            false,
        ),
        (json!([{ "path": "Patient.address.state", "method": "perturb", "span": 1 }]), false),
        (json!([{ "path": "Patient.address.state", "method": "shred" }]), false),
        (json!([{ "path": "Resource", "method": "keep" }]), true),
        (json!([]), true),
    ] {
        for method in METHODS {
            let made = of_rules(&rules, &json!({}), method);
            let patient = json!({ "resourceType": "Patient", "id": "p", "active": true, "address": [{ "use": "home", "state": "MA" }] });
            let stays = out(&made, &patient)["address"][0]["state"] == "MA";
            assert!(stays <= kept, "{rules} by {}: it stays\n{}", method.name(), made.policy);
            assert!(
                stays || !kept || method == Method::ExpertDetermination,
                "{rules} by {}: it goes\n{}",
                method.name(),
                made.policy
            );
        }
    }
}

#[test]
fn constants_and_first_characters_are_generalized_and_partial_values_stay() {
    let rules = json!([
        { "path": "Patient.name.family", "method": "generalize", "cases": { "true": "'family'" } },
        { "path": "Patient.communication.preferred", "method": "generalize", "cases": { "true": "true" } },
        { "path": "nodesByType('Age')", "method": "redact" },
        { "path": "nodesByType('Address')", "method": "redact" },
        { "path": "nodesByType('dateTime')", "method": "redact" },
    ]);
    let parameters = json!({ "enablePartialAgesForRedact": true, "enablePartialDatesForRedact": true,
        "enablePartialZipCodesForRedact": true, "restrictedZipCodeTabulationAreas": ["036"] });
    let made = of_rules(&rules, &parameters, Method::SafeHarbor);
    assert_eq!(line(&made, "restrictedZipCodeTabulationAreas").clause.as_deref(), Some("164.514(b)(2)(i)(B)"));
    assert_eq!(line(&made, "Patient.communication.preferred").status, Status::Unmapped);
    let patient = json!({ "resourceType": "Patient", "name": [{ "family": "Doe" }], "deceasedDateTime": "2020-02-03",
        "communication": [{ "preferred": true }], "address": [{ "postalCode": "02139", "state": "MA" }] });
    assert_eq!(
        out(&made, &patient),
        json!({ "resourceType": "Patient", "name": [{ "family": "family" }], "deceasedDateTime": "2020",
                "address": [{ "postalCode": "021" }] })
    );
    let condition = json!({ "resourceType": "Condition", "onsetAge": { "value": 95, "code": "a" } });
    assert_eq!(out(&made, &condition)["onsetAge"]["value"], 90);
}

#[test]
fn what_is_no_configuration_is_said_by_its_place() {
    let options = ImportOptions { name: "x", method: Method::SafeHarbor, run_date: "2026-01-01".parse().unwrap() };
    for text in
        ["", "{", "[]", "{}", "{\"fhirPathRules\": \"CANARY\"}", "{\"fhirPathRules\": [{\"path\": 7}]}", "CANARY"]
    {
        let error = import(text, &options).err().unwrap();
        assert!(!error.to_string().contains("CANARY") && error.to_string().contains("line"), "{error}");
    }
    // Hostile paths and many rules.
    let many: Vec<Value> = (0..2000).map(|n| json!({ "path": format!("Patient.x{n}"), "method": "redact" })).collect();
    assert_eq!(
        of_rules(&json!(many), &json!({}), Method::SafeHarbor).lines.iter().filter(|line| line.line > 0).count(),
        2000
    );
    let odd = json!([{ "path": "((((", "method": "keep" }, { "path": "nodesByType('\"}: x')", "method": "redact" },
        { "path": "Patient.name\n  evil: { kind: clinical }", "method": "keep" }]);
    of_rules(&odd, &json!({}), Method::SafeHarbor);
}

#[test]
fn what_is_nested_goes_with_its_type() {
    let made = of_rules(
        &json!([{ "path": "nodesByType('BackboneElement')", "method": "redact" }]),
        &json!({}),
        Method::SafeHarbor,
    );
    let component = json!([{ "code": { "coding": [{ "system": "http://loinc.org", "code": "8480-6" }] }, "valueQuantity": { "value": 120 } }]);
    let observation = json!({ "resourceType": "Observation", "status": "final", "component": component });
    assert_eq!(out(&made, &observation), json!({ "resourceType": "Observation", "status": "final" }));
}
