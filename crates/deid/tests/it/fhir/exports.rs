//! Real exports through the shipped policy: all of them come out, and nobody can be found in them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Read;
use std::path::PathBuf;

use cordon_formats::fhir::{TypeKind, r4};
use cordon_formats::open_decoded;
use serde_json::Value;

use super::{LIMITED, recipe, run, shipped, token_text};

fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("CORDON_SHARED_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no third-party data at {}", folder.display());
    None
}

fn files(folder: &str) -> Option<Vec<Vec<u8>>> {
    let mut paths: Vec<_> =
        std::fs::read_dir(shared()?.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let mut text = Vec::new();
        open_decoded(std::fs::File::open(path).unwrap()).unwrap().read_to_end(&mut text).unwrap();
        text
    };
    Some(paths.iter().map(read).collect())
}

/// What may be found of a person, by element, in any resource of the input.
fn secrets(value: &Value, within: &str, out: &mut HashSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| secrets(item, within, out)),
        Value::Object(members) => {
            for (key, member) in members {
                if let Value::String(text) = member {
                    let is_date = text.len() >= 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
                    let secret = match key.as_str() {
                        "family" | "line" | "city" | "display" if within != "coding" => {
                            matches!(key.as_str(), "family" | "city")
                        }
                        "value" => within == "telecom" || within == "identifier",
                        "id" | "div" | "data" | "fullUrl" => true,
                        "valueString" | "serialNumber" | "lotNumber" | "distinctIdentifier" | "carrierHRF" => true,
                        "postalCode" => true,
                        _ => is_date,
                    };
                    if secret && text.len() > 3 {
                        out.insert(text.clone());
                        if is_date {
                            out.insert(text[..10].to_owned());
                            out.insert(text[..7].to_owned());
                        }
                    }
                }
                if matches!(key.as_str(), "given" | "line") {
                    let texts = member.as_array().into_iter().flatten().filter_map(Value::as_str);
                    out.extend(texts.filter(|text| text.len() > 3).map(str::to_owned));
                }
                let inner = if key.starts_with("value") { within } else { key };
                secrets(member, inner, out);
            }
        }
        _ => {}
    }
}

/// Every text in a document, the text of kept codes apart: "Normal pregnancy" may name a town.
fn texts<'a>(value: &'a Value, key: &str, out: &mut Vec<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| texts(item, key, out)),
        Value::Object(members) => members.iter().for_each(|(key, member)| texts(member, key, out)),
        Value::String(text) if key != "display" && key != "state" => out.push(text),
        _ => {}
    }
}

fn input_resources(files: &[Vec<u8>]) -> Vec<Value> {
    let mut out = Vec::new();
    for bytes in files {
        match serde_json::from_slice::<Value>(bytes) {
            Ok(bundle) if bundle["resourceType"] == "Bundle" => {
                out.extend(bundle["entry"].as_array().unwrap().iter().map(|entry| entry["resource"].clone()));
            }
            _ => {
                let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                let values = lines.map(|line| serde_json::from_slice::<Value>(line).unwrap());
                out.extend(values.filter(|value| value.get("resourceType").is_some()));
            }
        }
    }
    out
}

#[test]
fn everybody_comes_out_and_nobody_is_found() {
    for folder in ["fhir-bulk-10", "fhir-bundles"] {
        let Some(files) = files(folder) else { return };
        let recipe = shipped();
        let inputs = input_resources(&files);
        let mut secret = HashSet::new();
        for resource in &inputs {
            secrets(resource, "", &mut secret);
        }
        let secret: BTreeSet<&str> = secret.iter().map(String::as_str).collect();
        assert!(secret.len() > 1000, "{folder}: {} secrets", secret.len());

        let (mut count, mut undeclared, mut joins, mut measured) = (0, BTreeSet::new(), 0, Vec::new());
        let mut ids: HashMap<String, HashSet<String>> = HashMap::new();
        let mut refers: Vec<(String, String)> = Vec::new();
        for bytes in &files {
            let ran = run(&recipe, bytes.as_slice());
            assert!(ran.failures.is_empty(), "{:?}", ran.failures);
            count += ran.resources().len() + ran.excluded as usize;
            undeclared.extend(ran.undeclared.keys().cloned());
            assert_eq!(ran.unresolved, 0);
            for (name, ()) in ran.tables.iter().map(|(name, _)| (name.clone(), ())).collect::<HashSet<_>>() {
                let column = ran.column(&name, "id");
                assert!(column.iter().all(Option::is_some), "{name}");
                ids.entry(name.clone()).or_default().extend(column.into_iter().flatten());
                if name == "Encounter" {
                    assert!(ran.column(&name, "provider").iter().all(Option::is_some), "an encounter without provider");
                }
                if !["Location", "Organization", "Practitioner", "PractitionerRole"].contains(&name.as_str()) {
                    assert!(ran.column(&name, "subject").iter().all(Option::is_some), "{name} without subject");
                }
            }
            for (name, json) in ran.resources() {
                let value: Value = serde_json::from_str(&json).unwrap_or_else(|_| panic!("{name} is no JSON"));
                declared(&value, &name);
                // These two add up to the age, over 89 too.
                assert!(!json.contains("adjusted-life-years"), "{name} holds what shows an age");
                assert_eq!(hidden(&json, &secret), None, "{name} holds a date or an id within a text");
                measured.extend(results(&value));
                let mut found = Vec::new();
                texts(&value, "", &mut found);
                for text in found {
                    assert!(!secret.contains(text), "{name} holds a value of the input");
                    // A secret inside a longer text: only texts that may hold anything are long.
                    if let Some((kind, id)) =
                        text.split_once('/').filter(|(kind, _)| r4().resource_type(kind).is_some())
                    {
                        refers.push((kind.to_owned(), id.to_owned()));
                    }
                }
            }
        }
        assert_eq!(count, inputs.len(), "{folder}");
        assert!(undeclared.is_empty(), "{folder}: {undeclared:?}");
        for (kind, id) in &refers {
            // An export may refer to what it does not hold; what it holds must be met.
            if ids.get(kind).is_some_and(|ids| ids.contains(id)) {
                joins += 1;
            }
        }
        assert!(joins * 10 >= refers.len() * 9, "{folder}: {joins} of {} references join", refers.len());
        // Laboratory values and codes stay to the letter.
        let mut wanted: Vec<String> = inputs.iter().flat_map(results).collect();
        wanted.sort();
        measured.sort();
        assert!(wanted == measured, "{folder}: results differ");
        let patient = inputs.iter().find(|resource| resource["resourceType"] == "Patient").unwrap();
        let id = patient["id"].as_str().unwrap();
        assert!(ids["Patient"].contains(&token_text("patient", id)));
    }
}

/// The first full date, or id of the input, that stands anywhere in a text.
fn hidden<'a>(text: &'a str, secret: &BTreeSet<&str>) -> Option<&'a str> {
    let shape = |text: &[u8], shape: &str| {
        text.iter().zip(shape.bytes()).all(|(byte, wanted)| match wanted {
            b'0' => byte.is_ascii_digit(),
            b'x' => byte.is_ascii_hexdigit(),
            other => *byte == other,
        })
    };
    const ID: &str = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    text.match_indices('-').find_map(|(at, _)| {
        let candidate = |before: usize, pattern: &str| {
            let found = text.get(at.checked_sub(before)?..)?.get(..pattern.len())?;
            shape(found.as_bytes(), pattern).then_some(found)
        };
        candidate(4, "0000-00-00").or_else(|| candidate(8, ID).filter(|id| secret.contains(id)))
    })
}

/// What an analysis is made of.
fn results(resource: &Value) -> Vec<String> {
    let mut out = vec![resource["code"]["coding"].to_string()];
    if resource["resourceType"] == "Observation" {
        out.push(resource["valueQuantity"].to_string());
        out.push(resource["valueCodeableConcept"]["coding"].to_string());
    }
    out
}

/// Holds a document to FHIR's own definitions.
fn declared(resource: &Value, type_name: &str) {
    let def = r4().get(r4().type_id(type_name).unwrap());
    let members = resource.as_object().unwrap();
    assert!(!members.is_empty(), "{type_name} is empty");
    for (key, value) in members {
        if key == "resourceType" && def.is_resource() {
            continue;
        }
        let bare = key.strip_prefix('_').unwrap_or(key);
        let element = def.element(bare).unwrap_or_else(|| panic!("{type_name} has no such element"));
        let inner = r4().get(element.type_id);
        let items = if element.many { value.as_array().unwrap().clone() } else { vec![value.clone()] };
        assert!(!items.is_empty(), "{type_name}.{bare} is empty");
        for item in items.iter().filter(|item| !item.is_null()) {
            match inner.kind {
                _ if key.starts_with('_') => declared(item, "Element"),
                TypeKind::Primitive(_) => assert!(!item.is_object() && !item.is_array()),
                TypeKind::AnyResource => declared(item, item["resourceType"].as_str().unwrap()),
                _ => declared(item, inner.name),
            }
        }
    }
}

/// What a limited data set may not hold: names, lines of addresses, telecommunication, identifiers, pictures, texts.
fn direct(value: &Value, within: &str, out: &mut HashSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| direct(item, within, out)),
        Value::Object(members) => {
            for (key, member) in members {
                if let Value::String(text) = member {
                    let is_direct = match key.as_str() {
                        "value" => matches!(within, "telecom" | "identifier"),
                        "family" | "id" | "div" | "data" | "fullUrl" | "valueString" | "serialNumber" | "lotNumber"
                        | "distinctIdentifier" | "carrierHRF" => true,
                        _ => false,
                    };
                    if is_direct && text.len() > 3 {
                        out.insert(text.clone());
                    }
                }
                if matches!(key.as_str(), "given" | "line") {
                    let texts = member.as_array().into_iter().flatten().filter_map(Value::as_str);
                    out.extend(texts.filter(|text| text.len() > 3).map(str::to_owned));
                }
                direct(member, if key.starts_with("value") { within } else { key }, out);
            }
        }
        _ => {}
    }
}

/// Dates, towns and postal codes of a resource, but for what goes with an identifier.
fn places_and_dates(value: &Value, out: &mut [BTreeSet<String>; 3]) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| places_and_dates(item, out)),
        Value::Object(members) => {
            for (key, member) in members {
                match (key.as_str(), member) {
                    (
                        "birthDate" | "deceasedDateTime" | "effectiveDateTime" | "start" | "recordedDate",
                        Value::String(text),
                    ) => {
                        out[0].insert(text.clone());
                    }
                    ("city", Value::String(text)) => {
                        out[1].insert(text.clone());
                    }
                    ("postalCode", Value::String(text)) => {
                        out[2].insert(text.clone());
                    }
                    ("identifier", _) => {}
                    _ => places_and_dates(member, out),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn a_limited_data_set_has_no_direct_identifier_and_its_dates_and_towns() {
    let Some(files) = files("fhir-bulk-10") else { return };
    let recipe = recipe(LIMITED).unwrap_or_else(|issues| panic!("{issues}"));
    let inputs = input_resources(&files);
    let mut secret = HashSet::new();
    let mut sent = <[BTreeSet<String>; 3]>::default();
    for resource in &inputs {
        direct(resource, "", &mut secret);
        places_and_dates(resource, &mut sent);
    }
    assert!(secret.len() > 1000, "{}", secret.len());
    let mut came = <[BTreeSet<String>; 3]>::default();
    for bytes in &files {
        let ran = run(&recipe, bytes.as_slice());
        assert!(ran.failures.is_empty(), "{:?}", ran.failures);
        assert!(ran.undeclared.is_empty(), "{:?}", ran.undeclared);
        for (name, json) in ran.resources() {
            let value: Value = serde_json::from_str(&json).unwrap();
            declared(&value, &name);
            places_and_dates(&value, &mut came);
            let mut found = Vec::new();
            texts(&value, "", &mut found);
            // A town may be a person's name too.
            let towns = &sent[1];
            for text in found {
                assert!(!secret.contains(text) || towns.contains(text), "{name} holds a direct identifier");
            }
        }
    }
    for (sent, came) in sent.iter().zip(&came) {
        assert!(sent.len() > 3 && came.is_subset(sent));
        assert!(came.len() * 100 >= sent.len() * 95, "{} of {}", came.len(), sent.len());
    }
}
