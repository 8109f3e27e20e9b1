//! Attempts to smuggle a value out, and to have it shown in a message.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use cordon_deid::fhir::FhirRecipe;
use cordon_formats::fhir::{Json, TypeId, TypeKind, r4};
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

/// Where the shipped policy lets a text stay that is one word: `Type.element`. Every element of the type `code` besides.
const KEPT: [&str; 16] = [
    "Address.country",
    "Address.state",
    "Age.system",
    "Age.unit",
    "Coding.display",
    "Coding.system",
    "Coding.version",
    "Count.system",
    "Count.unit",
    "Distance.system",
    "Distance.unit",
    "Duration.system",
    "Duration.unit",
    "Quantity.system",
    "Quantity.unit",
    "QuestionnaireResponse.item.linkId",
];

/// Where a sentence may stay: beside the code that it is the words for.
const KEPT_SENTENCES: [&str; 6] =
    ["Age.unit", "Coding.display", "Count.unit", "Distance.unit", "Duration.unit", "Quantity.unit"];

/// The places of a resource that hold `canary`, as `Type.element` and whether the element's type is `code`.
fn places(value: &Value, def: TypeId, canary: &str, out: &mut BTreeSet<(String, bool)>) {
    let Some(members) = value.as_object() else { return };
    let def = r4().get(def);
    for (key, member) in members {
        let Some(element) = def.element(key) else {
            if member.to_string().contains(canary) || key.contains(canary) {
                out.insert((format!("{}.{key}", def.name), false));
            }
            continue;
        };
        let inner = r4().get(element.type_id);
        let items = member.as_array().cloned().unwrap_or_else(|| vec![member.clone()]);
        for item in items {
            match inner.kind {
                TypeKind::Primitive(_) => {
                    if item.to_string().contains(canary) {
                        out.insert((format!("{}.{key}", def.name), inner.name == "code"));
                    }
                }
                TypeKind::AnyResource => {
                    if let Some(id) = item["resourceType"].as_str().and_then(|name| r4().resource_type(name)) {
                        places(&item, id, canary, out);
                    }
                }
                _ => places(&item, element.type_id, canary, out),
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
            let mut found = BTreeSet::new();
            places(&value, r4().resource_type("Patient").unwrap(), CANARY, &mut found);
            for (place, is_code) in found {
                prop_assert!(is_code || KEPT.contains(&place.as_str()), "{place} in {json}");
            }
        }
    }
}

/// An object of a type with `text` in every text of it, at every depth, and a full date in every date.
fn planted(id: TypeId, text: &str, inside: &mut Vec<TypeId>) -> Value {
    let def = r4().get(id);
    let mut members = Map::new();
    for element in &def.elements {
        let inner = r4().get(element.type_id);
        let value = match (inner.kind, inner.name) {
            _ if ["extension", "modifierExtension", "contained"].contains(&element.name) => continue,
            (TypeKind::AnyResource, _) => continue,
            (TypeKind::Primitive(_), "date") => json!("2019-03-04"),
            (TypeKind::Primitive(_), "dateTime" | "instant") => json!("2019-03-04T05:06:07Z"),
            (TypeKind::Primitive(Json::Text), _) => match (def.name, element.name) {
                // A listed one, so that its other elements are reached.
                ("Identifier", "system") => json!("http://hospital.smarthealthit.org"),
                _ => json!(text),
            },
            (TypeKind::Primitive(Json::Number), _) => json!(42),
            (TypeKind::Primitive(Json::Boolean), _) => json!(true),
            _ if inside.contains(&element.type_id) || inside.len() >= 5 => continue,
            _ => {
                inside.push(element.type_id);
                let value = planted(element.type_id, text, inside);
                inside.pop();
                value
            }
        };
        members.insert(element.name.to_owned(), if element.many { json!([value]) } else { value });
    }
    members.into()
}

/// Runs a resource of every type with `text` at every path; gives the places where it stayed.
fn kept_of(text: &str, canary: &str) -> BTreeSet<(String, bool)> {
    let recipe = shipped();
    let mut found = BTreeSet::new();
    for (id, def) in r4().types().filter(|(_, def)| def.is_resource()) {
        let mut document = planted(id, text, &mut vec![id]);
        document["resourceType"] = def.name.into();
        // In an array a Bundle is a resource as any other.
        let ran = with(&recipe, &json!([document]));
        assert!(ran.failures.is_empty() && ran.rejects.is_empty(), "{}: {}", def.name, shown(&ran));
        assert!(!shown(&ran).contains(canary));
        for (_, json) in ran.resources() {
            assert!(!json.contains("2019-03") && !json.contains("05:06"), "{} keeps a date", def.name);
            places(&serde_json::from_str(&json).unwrap(), id, canary, &mut found);
        }
        for (name, batch) in &ran.tables {
            for column in batch.schema().fields().iter().filter(|column| column.name() != "resource") {
                for value in ran.column(name, column.name()).into_iter().flatten() {
                    assert!(!value.contains("2019-03"), "{name}.{}", column.name());
                }
            }
        }
    }
    assert!(!found.is_empty());
    found
}

#[test]
fn a_word_stays_where_the_policy_lets_words_stay() {
    for (place, is_code) in kept_of("Canarytown", "Canarytown") {
        assert!(is_code || KEPT.contains(&place.as_str()), "{place}");
    }
}

#[test]
fn a_sentence_stays_only_beside_its_code() {
    let places: Vec<String> =
        kept_of("Canary 42, 999-94-5397 of 2019", "Canary").into_iter().map(|(place, _)| place).collect();
    assert!(places.iter().all(|place| KEPT_SENTENCES.contains(&place.as_str())), "{places:?}");
}

#[test]
fn a_number_stays_in_no_code_of_fhirs_own() {
    for (place, is_code) in kept_of("999945397", "999945397") {
        let (_, element) = place.rsplit_once('.').unwrap();
        let listed = KEPT.contains(&place.as_str()) && !place.starts_with("Address.");
        assert!(listed || (is_code && element == "code"), "{place}");
    }
}
