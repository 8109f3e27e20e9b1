//! Time of one decision, by the number of policies; the goal is less than a microsecond.
//!
//! `cargo bench -p cordon-access`

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use cordon_access::ranger::{Engine, Options, PolicyType, Request, Resource, ServicePolicies};
use divan::{Bencher, black_box};
use serde_json::{Value, json};

fn main() {
    divan::main();
}

const TABLES: usize = 50;

fn level(name: &str, parent: Option<&str>) -> Value {
    json!({"name": name, "parent": parent, "matcherOptions": {"wildCard": true, "ignoreCase": true}, "excludesSupported": true})
}

fn access(name: &str) -> Value {
    json!({"name": name})
}

/// A warehouse: a policy for each table, one in twenty for tables by a prefix, one in a hundred with a denial for a whole database.
fn policies(count: usize) -> ServicePolicies {
    let all: Vec<Value> = (0..count)
        .map(|n| {
            let (database, table) = (n / TABLES, n % TABLES);
            let tables = if n % 20 == 7 { format!("t{table}_*") } else { format!("t{table}") };
            let deny = if n % 100 == 3 {
                json!([{"accesses": [{"type": "drop"}], "groups": ["public"], "users": []}])
            } else {
                json!([])
            };
            let tables = if n % 100 == 3 { "*".to_owned() } else { tables };
            json!({
                "id": n, "name": format!("policy {n}"), "isEnabled": true, "isAuditEnabled": true,
                "resources": {
                    "database": {"values": [format!("db{database}")]}, "table": {"values": [tables]}, "column": {"values": ["*"]},
                },
                "policyItems": [
                    {"accesses": [{"type": "select"}], "users": [format!("user{}", n % 97)], "groups": [format!("group{}", n % 13)]},
                    {"accesses": [{"type": "select"}, {"type": "update"}], "users": [], "groups": ["engineers"], "roles": ["writers"]},
                ],
                "denyPolicyItems": deny,
            })
        })
        .collect();
    let document = json!({
        "serviceName": "warehouse", "policies": all,
        "serviceDef": {
            "name": "hive",
            "resources": [level("database", None), level("table", Some("database")), level("column", Some("table"))],
            "accessTypes": [access("select"), access("update"), access("create"), access("drop"), access("alter"), access("all")],
        },
    });
    ServicePolicies::from_json(&document).unwrap()
}

fn requests(count: usize) -> Vec<Request> {
    (0..256)
        .map(|n| {
            let policy = n * 7919 % count;
            Request {
                resource: Resource::of([
                    ("database", format!("db{}", policy / TABLES)),
                    ("table", format!("t{}", policy % TABLES)),
                    ("column", format!("c{}", n % 31)),
                ]),
                access_type: if n % 4 == 0 { "update" } else { "select" }.to_owned(),
                user: Some(format!("user{}", policy % 97)),
                user_groups: vec![format!("group{}", n % 13), "staff".to_owned()],
                access_time: Some(1_700_000_000_000),
                ..Request::default()
            }
        })
        .collect()
}

#[divan::bench(args = [100, 10_000, 100_000], sample_count = 40, sample_size = 2000)]
fn decide(bencher: Bencher<'_, '_>, count: usize) {
    let engine = Engine::new(&policies(count), Options::default()).unwrap();
    let requests = requests(count);
    let mut at = 0;
    bencher.bench_local(|| {
        at = (at + 1) % requests.len();
        engine.decide(black_box(&requests[at]), PolicyType::Access)
    });
}

/// Making an engine: what a change of all policies costs.
#[divan::bench(args = [100, 10_000], sample_count = 10)]
fn load(bencher: Bencher<'_, '_>, count: usize) {
    let policies = policies(count);
    bencher.bench_local(|| Engine::new(black_box(&policies), Options::default()).unwrap());
}
