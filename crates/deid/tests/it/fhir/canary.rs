//! Attempts to smuggle a value out, and to have it shown in a message.

use std::sync::LazyLock;

use cordon_deid::fhir::FhirRecipe;
use cordon_formats::fhir::{TypeId, TypeKind, r4};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Ran, run, shipped};

const CANARY: &str = "Canary42";

/// A patient with something in most places.
fn seed() -> Value {
    json!({
        "resourceType": "Patient", "id": "p1",
        "meta": {"profile": ["http://example.org/p"], "tag": [{"system": "s", "code": "c"}]},
        "name": [{"family": "F", "given": ["G", "H"], "_given": [null, {"id": "x"}]}],
        "birthDate": "1980-02-03", "_birthDate": {"extension": [{"url": "u", "valueDateTime": "1980-02-03T01:02:03Z"}]},
        "gender": "female", "active": true, "multipleBirthInteger": 2,
        "address": [{"state": "MA", "postalCode": "02139", "line": ["1 St"], "period": {"start": "2001"}}],
        "contact": [{"relationship": [{"coding": [{"code": "N"}]}], "name": {"family": "K"}}],
        "generalPractitioner": [{"reference": "Practitioner/1", "display": "Dr"}],
        "extension": [{"url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race",
            "extension": [{"url": "ombCategory", "valueCoding": {"code": "1"}}]}],
        "contained": [{"resourceType": "Organization", "id": "o", "name": "Org", "active": false}],
    })
}

/// Where a canary is planted: along a path of member numbers, as a new member, a new value, or another type of value.
#[derive(Clone, Debug)]
enum Plant {
    Member(String),
    Object,
    Array,
    Wrapped,
}

fn plant() -> impl Strategy<Value = (Vec<usize>, Plant)> {
    let key = prop_oneof![
        Just("secret".to_owned()),
        Just("_x".to_owned()),
        Just("fhir_comments".to_owned()),
        Just("Patient".to_owned()),
        Just("valueString".to_owned()),
        Just("name\u{0}".to_owned()),
        Just(CANARY.to_owned()),
        "[a-z]{1,6}",
    ];
    let how = prop_oneof![key.prop_map(Plant::Member), Just(Plant::Object), Just(Plant::Array), Just(Plant::Wrapped)];
    (prop::collection::vec(0usize..20, 0..6), how)
}

/// Plants below `path`; says whether it found a place.
fn put(value: &mut Value, path: &[usize], how: &Plant) {
    let inner = match (path.split_first(), &mut *value) {
        (Some((at, rest)), Value::Object(members)) if !members.is_empty() => {
            let at = at % members.len();
            members.values_mut().nth(at).map(|inner| (inner, rest))
        }
        (Some((at, rest)), Value::Array(items)) if !items.is_empty() => {
            let at = at % items.len();
            items.get_mut(at).map(|inner| (inner, rest))
        }
        _ => None,
    };
    if let Some((inner, rest)) = inner {
        return put(inner, rest, how);
    }
    match (how, &mut *value) {
        (Plant::Member(key), Value::Object(members)) => {
            members.insert(key.clone(), CANARY.into());
        }
        (Plant::Object, _) => *value = json!({ "family": CANARY, CANARY: CANARY, "div": CANARY }),
        (Plant::Array, _) => *value = json!([[CANARY], { CANARY: 1 }, CANARY]),
        (Plant::Member(_) | Plant::Wrapped, _) => {
            *value = json!([value.clone(), { "extension": [{ "url": CANARY, "valueString": CANARY }] }]);
        }
    }
}

/// Elements in which the shipped policy keeps a text, so that a canary there is no leak: codes and their displays.
fn kept_texts(value: &Value, def: TypeId, out: &mut Vec<String>) {
    let Some(members) = value.as_object() else { return };
    for (key, member) in members {
        let Some(element) = r4().get(def).element(key) else { continue };
        let items = member.as_array().cloned().unwrap_or_else(|| vec![member.clone()]);
        for item in items {
            match r4().get(element.type_id).kind {
                TypeKind::Primitive(_) => out.extend(item.as_str().map(str::to_owned)),
                TypeKind::AnyResource => {
                    if let Some(id) = item["resourceType"].as_str().and_then(|name| r4().resource_type(name)) {
                        kept_texts(&item, id, out);
                    }
                }
                _ => kept_texts(&item, element.type_id, out),
            }
        }
    }
}

fn shown(ran: &Ran) -> String {
    let mut out = String::new();
    for failure in &ran.failures {
        out += &format!("{} {} {failure:?}\n", failure.path, failure.reason);
    }
    for reject in &ran.rejects {
        out += &format!("{reject} {reject:?}\n");
    }
    for path in ran.undeclared.keys() {
        out += path;
    }
    out
}

fn with(recipe: &FhirRecipe, document: &Value) -> Ran {
    run(recipe, document.to_string().as_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn what_is_planted_in_undeclared_places_never_leaks((path, how) in plant(), again in plant()) {
        static RECIPE: LazyLock<FhirRecipe> = LazyLock::new(shipped);
        let recipe = &*RECIPE;
        let mut document = seed();
        put(&mut document, &path, &how);
        put(&mut document, &again.0, &again.1);
        let ran = with(recipe, &document);
        prop_assert!(!shown(&ran).contains(CANARY));
        for (_, json) in ran.resources() {
            let value: Value = serde_json::from_str(&json).unwrap();
            // A canary that is the text of a declared and kept element (a code) is where the policy lets text be.
            let mut kept = Vec::new();
            kept_texts(&value, r4().resource_type("Patient").unwrap(), &mut kept);
            let declared = kept.iter().filter(|text| text.contains(CANARY)).count();
            prop_assert_eq!(json.matches(CANARY).count(), declared, "{}", json);
        }
    }
}

#[test]
fn every_string_element_of_every_type_is_settled() {
    // A resource of each type with the canary in every element that is text: only kept types may show it.
    let recipe = shipped();
    for (_, def) in r4().types().filter(|(_, def)| def.is_resource()) {
        let mut document = Map::new();
        document.insert("resourceType".to_owned(), def.name.into());
        for element in &def.elements {
            let kind = r4().get(element.type_id).name;
            if [
                "string",
                "markdown",
                "uri",
                "url",
                "oid",
                "uuid",
                "base64Binary",
                "xhtml",
                "id",
                "date",
                "dateTime",
                "instant",
            ]
            .contains(&kind)
                && !["date", "dateTime"].contains(&kind)
            {
                let value = Value::from(CANARY);
                document.insert(element.name.to_owned(), if element.many { json!([value]) } else { value });
            }
        }
        let ran = with(&recipe, &document.into());
        assert!(ran.failures.is_empty(), "{}: {:?}", def.name, ran.failures);
        for (_, json) in ran.resources() {
            assert!(!json.contains(CANARY), "{json}");
        }
    }
}
