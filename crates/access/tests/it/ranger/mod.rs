//! Apache Ranger's own test cases, read from the shared data where they are there: `CORDON_SHARED_DATA/ranger`.

mod acls;
mod faults;
mod hbase;
mod laws;
mod matchers;
mod policyengine;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use cordon_access::ranger::{
    ElementScope, Engine, MatchType, MatchingScope, Options, Request, RequestTag, Resource, Role, ServicePolicies,
    ServiceTags, Tag, Zone, json,
};
use serde_json::{Value, json};

/// The folder with the cases; none, with a word about it, where it is not there.
pub fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("CORDON_SHARED_DATA").map(|base| Path::new(&base).join("ranger"));
    let found = folder.filter(|folder| folder.is_dir());
    if found.is_none() {
        eprintln!("skipped: CORDON_SHARED_DATA names no folder with ranger/ in it");
    }
    found
}

pub fn read(path: &Path) -> Value {
    json::parse(&std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files of a folder whose names start so, in order.
pub fn files(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().to_lowercase().starts_with(prefix))
        .collect();
    out.sort();
    assert!(!out.is_empty(), "{prefix}* in {}", folder.display());
    out
}

pub fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

pub fn list(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(text).collect()
}

fn resource(value: &Value) -> Resource {
    let elements = value["elements"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let values = match value {
                Value::Array(_) => list(value),
                other => text(other).into_iter().collect(),
            };
            (name.clone(), values)
        })
        .collect();
    Resource { elements, owner: text(&value["ownerUser"]) }
}

/// A request as Ranger's tests write it.
pub fn request(value: &Value) -> Request {
    let mut request = Request {
        resource: resource(&value["resource"]),
        access_type: text(&value["accessType"]).unwrap_or_default(),
        action: text(&value["action"]),
        user: text(&value["user"]),
        user_groups: list(&value["userGroups"]),
        user_roles: list(&value["userRoles"]),
        access_time: Some(match text(&value["accessTime"]) {
            Some(time) => DateTime::parse_from_str(&time, "%Y%m%d-%H:%M:%S%.3f%z").unwrap().timestamp_millis(),
            None => i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap(),
        }),
        client_ip_address: text(&value["clientIPAddress"]),
        remote_ip_address: text(&value["remoteIPAddress"]),
        forwarded_addresses: list(&value["forwardedAddresses"]),
        client_type: text(&value["clientType"]),
        request_data: text(&value["requestData"]),
        session_id: text(&value["sessionId"]),
        cluster_name: text(&value["clusterName"]),
        cluster_type: text(&value["clusterType"]),
        ignore_descendant_deny: value["isDescendantDenyIgnored"].as_bool().unwrap_or(true),
        ..Request::default()
    };
    if value["resourceMatchingScope"] == "SELF_OR_DESCENDANTS" {
        request.matching_scope = MatchingScope::SelfOrDescendants;
    }
    for (level, scope) in value["resourceElementMatchingScopes"].as_object().into_iter().flatten() {
        let scope = match scope.as_str() {
            Some("SELF_OR_CHILD") => ElementScope::SelfOrChild,
            Some("SELF_OR_PREFIX") => ElementScope::SelfOrPrefix,
            _ => ElementScope::SelfOnly,
        };
        request.element_matching_scopes.push((level.clone(), scope));
    }
    for (key, value) in value["context"].as_object().into_iter().flatten() {
        match key.as_str() {
            "TAGS" => {
                let tags = json::parse(value.as_str().unwrap()).unwrap();
                request.tags = Some(
                    tags.as_array()
                        .unwrap()
                        .iter()
                        .map(|tag| {
                            let read = Tag::from_json(tag).unwrap();
                            RequestTag {
                                tag_type: read.tag_type,
                                attributes: read.attributes,
                                validity_periods: read.validity_periods,
                                match_type: match tag["matchType"].as_str() {
                                    Some("ANCESTOR") => Some(MatchType::Ancestor),
                                    Some("DESCENDANT") => Some(MatchType::Descendant),
                                    _ => None,
                                },
                            }
                        })
                        .collect(),
                );
            }
            "REQUESTED_RESOURCES" => {
                let resources = json::parse(value.as_str().unwrap()).unwrap();
                let all = resources["requestedResources"].as_array().unwrap();
                request.requested_resources = Some(all.iter().map(resource).collect());
            }
            "ALLACCESSTYPES" | "ACCESSTYPES" => request.all_access_types = list(value),
            "ALLACCESSTYPEGROUPS" | "ACCESSTYPEGROUPS" => {
                request.all_access_type_groups = value.as_array().into_iter().flatten().map(list).collect();
            }
            "IGNOREIFNOTDENIEDACCESSTYPES" => request.ignore_if_not_denied = list(value),
            "ISANYACCESS" => request.is_any_access = value.as_bool().unwrap_or(false),
            _ => {
                if let Some(value) = text(value) {
                    request.context.insert(key.clone(), value);
                }
            }
        }
    }
    // Ranger's tests make such a request anew, without these.
    if request.tags.is_some() || request.requested_resources.is_some() {
        request.matching_scope = MatchingScope::SelfOnly;
        request.user_roles.clear();
    }
    request
}

/// What an enricher by location would add to a request. Its file is not among the cases: these addresses lie somewhere,
/// others nowhere.
pub fn locate(request: &mut Request, def: &Value) {
    let options = options("");
    let remote = request.remote_ip_address.clone();
    let trusted = remote.as_ref().is_some_and(|remote| options.trusted_proxy_addresses.contains(remote));
    let forwarded = request.forwarded_addresses.first().filter(|_| trusted).cloned();
    let Some(ip) = request.client_ip_address.clone().or(forwarded).or(remote) else { return };
    let country = match ip.as_str() {
        "128.101.101.101" | "255.255.255.255" => "US",
        "1.0.32.1" => "CN",
        _ => return,
    };
    for enricher in def["contextEnrichers"].as_array().into_iter().flatten() {
        if text(&enricher["enricher"]).is_some_and(|class| class.ends_with("RangerFileBasedGeolocationProvider")) {
            let prefix = text(&enricher["enricherOptions"]["geolocation.meta.prefix"]).unwrap_or_default();
            request.context.insert(format!("LOCATION_{prefix}COUNTRY_CODE"), country.to_owned());
        }
    }
}

/// How Ranger's tests set their engines up.
pub fn options(file: &str) -> Options {
    Options {
        time_zone: if file.starts_with("test_policyengine_temporary") {
            Zone::named("PST").unwrap()
        } else {
            Zone::UTC
        },
        use_forwarded_ip_address: true,
        trusted_proxy_addresses: ["255.255.255.255", "128.101.101.101", "128.101.101.99"].map(String::from).to_vec(),
        date_formats: ["abcd", "xyz", "yyyy/MM/dd'T'HH:mm:ss.SSS'Z'"].map(String::from).to_vec(),
        ..Options::default()
    }
}

/// The policies of a case as the Admin would hand them out.
pub fn service_policies(case: &Value) -> ServicePolicies {
    let tags = &case["tagPolicyInfo"];
    let mut document = json!({
        "serviceName": case["serviceName"], "serviceDef": case["serviceDef"], "policies": case["policies"],
        "securityZones": case["securityZones"], "auditMode": case["auditMode"], "serviceConfig": case["serviceConfig"],
    });
    if !tags.is_null() {
        document["tagPolicies"] = json!({
            "serviceName": tags["serviceName"], "serviceDef": tags["serviceDef"], "policies": tags["tagPolicies"],
            "auditMode": case["auditMode"], "serviceConfig": tags["serviceConfig"],
        });
    }
    ServicePolicies::from_json(&document).unwrap()
}

/// Roles from the three maps of Ranger's tests: members by kind, each with its roles.
pub fn roles(case: &Value) -> Vec<Role> {
    let mut roles: Vec<Role> = Vec::new();
    for key in ["userRoles", "groupRoles", "roleRoles"] {
        for (member, of) in case[key].as_object().into_iter().flatten() {
            for role in list(of) {
                let at = roles.iter().position(|known| known.name == role).unwrap_or_else(|| {
                    roles.push(Role { name: role.clone(), ..Role::default() });
                    roles.len() - 1
                });
                let members = match key {
                    "userRoles" => &mut roles[at].users,
                    "groupRoles" => &mut roles[at].groups,
                    _ => &mut roles[at].roles,
                };
                members.push(member.clone());
            }
        }
    }
    roles
}

/// The tags that the enrichers of these definitions would read from a file.
pub fn tags(folder: &Path, defs: &[&Value]) -> Option<ServiceTags> {
    for def in defs {
        for enricher in def["contextEnrichers"].as_array().into_iter().flatten() {
            let options = &enricher["enricherOptions"];
            let by_file = text(&options["tagRetrieverClassName"])
                .is_some_and(|class| class.ends_with("RangerFileBasedTagRetriever"));
            if let (true, Some(file)) = (by_file, text(&options["serviceTagsFileName"])) {
                let path = folder.join(file.trim_start_matches('/'));
                return Some(ServiceTags::from_json(&read(&path)).unwrap());
            }
        }
    }
    None
}

/// An engine for a case of Ranger's.
pub fn engine(folder: &Path, file: &str, case: &Value) -> Engine {
    let mut options = options(file);
    options.super_users.extend(list(&case["superUsers"]));
    options.super_groups.extend(list(&case["superGroups"]));
    options.audit_excluded_users.extend(list(&case["auditExcludedUsers"]));
    options.audit_excluded_groups.extend(list(&case["auditExcludedGroups"]));
    options.audit_excluded_roles.extend(list(&case["auditExcludedRoles"]));
    let mut engine = Engine::new(&service_policies(case), options).unwrap();
    engine.set_roles(&roles(case));
    if let Some(tags) = tags(folder, &[&case["serviceDef"], &case["tagPolicyInfo"]["serviceDef"]]) {
        engine.set_tags(&tags);
    }
    engine
}

/// Prints the count of a file and fails with what failed.
pub fn report(file: &str, passed: usize, failures: &[String], all: &mut Vec<String>) {
    eprintln!("{file}: {passed} of {}", passed + failures.len());
    all.extend(failures.iter().map(|failure| format!("{file}: {failure}")));
}

pub fn finish(all: &[String]) {
    assert!(all.is_empty(), "{} failed:\n{}", all.len(), all.join("\n"));
}
