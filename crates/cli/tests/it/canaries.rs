//! Values that stand for every patient's: they appear in no message, log, progress line, plan or panic.

use std::collections::BTreeSet;
use std::fs;

use crate::support::{Folder, finder};

const FIELDS: &[(&str, &str)] = &[
    ("patient", "kind: medical-record-number"),
    ("name", "kind: name"),
    ("ssn", "kind: ssn"),
    ("born", "kind: birth-date"),
    ("seen", "kind: service-date"),
    ("zip", "kind: postal-code"),
    ("age", "kind: age"),
    ("value", "kind: clinical, type: decimal"),
    ("count", "kind: clinical, type: integer"),
    ("flag", "kind: clinical, type: boolean"),
    ("at", "kind: free-text"),
    ("text", "kind: clinical"),
];

fn policy(method: &str, change: impl Fn(&str) -> Option<String>) -> String {
    let mut text = format!("policy: test\nmethod: {method}\ndatasets:\n  visits:\n    subject: patient\n    fields:\n");
    for (name, rule) in FIELDS {
        let rule = change(name).unwrap_or_else(|| (*rule).to_owned());
        text.push_str(&format!("      {name}: {{ {rule} }}\n"));
    }
    text
}

fn canary(field: &str) -> String {
    format!("CANARY{}VALUE", field.to_uppercase())
}

/// One row for each field, all good but for the canary in that field.
fn rows() -> String {
    let good = ["p1", "n", "s", "1950-01-02", "2020-01-02", "02139", "44", "1.5", "2", "true", "x", "y"];
    let header: Vec<_> = FIELDS.iter().map(|(name, _)| *name).collect();
    let mut text = header.join(",") + "\n";
    for (at, (name, _)) in FIELDS.iter().enumerate() {
        let mut row: Vec<String> = good.iter().map(|value| (*value).to_owned()).collect();
        row[at] = canary(name);
        text.push_str(&(row.join(",") + "\n"));
    }
    text
}

fn canaries() -> BTreeSet<String> {
    FIELDS.iter().map(|(name, _)| canary(name)).chain(["CANARYFILE".to_owned(), "CANARYHEADER".to_owned()]).collect()
}

#[track_caller]
fn assert_clean(what: &str, text: &[u8]) {
    let needles = canaries();
    let list: Vec<_> = needles.iter().collect();
    let lower = text.to_ascii_uppercase();
    let found: Vec<_> = finder(&needles).find_iter(&lower).map(|hit| list[hit.pattern().as_usize()]).collect();
    assert!(found.is_empty(), "{what} shows {found:?}");
}

#[test]
fn failing_values_are_in_no_message_and_in_no_file() {
    let folder = Folder::with(&policy("safe-harbor", |_| None), "  - { dataset: visits, path: \"in/*.csv\" }");
    folder.write("in/a.csv", rows());
    for args in [
        &["run", "test"][..],
        &["run", "test", "--format", "json"],
        &["quarantine", "list"],
        &["quarantine", "list", "--format", "json"],
        &["audit", "list"],
        &["audit", "list", "--format", "json"],
        &["audit", "verify"],
        &["vault", "status"],
        &["keys", "status"],
        &["policy", "explain", "test"],
        &["quarantine", "replay", "test"],
    ] {
        let said = folder.cordon(args);
        assert_clean(&args.join(" "), said.all().as_bytes());
    }
    let list = folder.cordon(&["quarantine", "list", "--format", "json"]).ok().json();
    assert!(list.as_array().unwrap().len() >= 6, "failures were driven");
    for file in folder.written() {
        assert_clean(&file.display().to_string(), &fs::read(&file).unwrap());
        assert_clean("a file's name", file.display().to_string().as_bytes());
    }
}

#[test]
fn queries_that_fail_on_values_do_not_show_them() {
    // By expert determination the canaries are in the table: only the query stands between them and a message.
    let kept = policy("expert-determination", |name| {
        let kind =
            FIELDS.iter().find(|(field, _)| *field == name).unwrap().1.split(", type").next().unwrap().to_owned();
        Some(format!("{kind}, action: keep, because: \"test of error messages\""))
    })
    .replace("datasets:", "expert: { name: Test, document: none }\ndatasets:");
    let folder = Folder::with(&kept, "  - { dataset: visits, path: \"in/*.csv\" }");
    folder.write("in/a.csv", rows());
    folder.run_json("test", 0);
    let text = "text";
    let queries = [
        format!("SELECT CAST({text} AS INT) FROM visits"),
        "SELECT CAST(born AS DATE) FROM visits".to_owned(),
        "SELECT arrow_cast(value, 'Float64') FROM visits".to_owned(),
        "SELECT to_timestamp(seen) FROM visits".to_owned(),
        "SELECT 1 / (CASE WHEN name LIKE 'CANARY%' THEN 0 ELSE 1 END) FROM visits".to_owned(),
        "SELECT regexp_replace('a', name || '(', 'b') FROM visits".to_owned(),
        "SELECT decode(name, 'hex') FROM visits".to_owned(),
        "SELECT CAST(name AS BOOLEAN) FROM visits".to_owned(),
        "SELECT CAST(name AS DECIMAL(5,2)) FROM visits".to_owned(),
        "SELECT to_date(born) FROM visits".to_owned(),
        "SELECT date_trunc(name, now()) FROM visits".to_owned(),
        "SELECT CAST(name AS INTERVAL) FROM visits".to_owned(),
        "SELECT repeat(name, 1000000000) FROM visits".to_owned(),
        "EXPLAIN SELECT count(*) FROM visits WHERE name = 'CANARYNAMEVALUE'".to_owned(),
        "EXPLAIN ANALYZE SELECT count(*) FROM visits WHERE name = 'CANARYNAMEVALUE'".to_owned(),
        "EXPLAIN VERBOSE SELECT * FROM visits WHERE ssn = 'CANARYSSNVALUE'".to_owned(),
        "SELECT * FROM visits WHERE nam = 'CANARYNAMEVALUE'".to_owned(),
        "SELECT 'CANARYNAMEVALUE' FROM".to_owned(),
        "SELECT no_such_function('CANARYNAMEVALUE') FROM visits".to_owned(),
        "SELECT CAST('CANARYNAMEVALUE' AS INT)".to_owned(),
        "COPY visits TO 'CANARYFILE.csv'".to_owned(),
        "CREATE VIEW v AS SELECT * FROM visits".to_owned(),
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'CANARYFILE.csv'".to_owned(),
        "SELECT * FROM 'CANARYFILE.csv'".to_owned(),
        "INSERT INTO visits VALUES ('CANARYNAMEVALUE')".to_owned(),
        "SET datafusion.execution.batch_size = 1".to_owned(),
        "SELECT 1; SELECT 2".to_owned(),
    ];
    let mut failed = 0;
    for query in &queries {
        let said = folder.cordon(&["sql", query, "--as", "engineer", "--purpose", "operations"]);
        failed += usize::from(said.code != 0);
        assert_clean(query, said.err.as_bytes());
        if query.starts_with("EXPLAIN") {
            assert_clean(query, said.out.as_bytes());
        }
    }
    assert!(failed > queries.len() / 2, "only {failed} of the failures were driven");
    let audit = folder.cordon(&["audit", "list", "-n", "500", "--format", "json"]).ok();
    assert_clean("the audit log", audit.out.as_bytes());
}

#[test]
fn hostile_documents_are_in_no_message() {
    let folder = Folder::init("hospital");
    folder.write(
        "pipelines/test.yaml",
        "pipeline: test\npolicy: safe-harbor-hospital\nsources:\n  - { dataset: fhir, path: \"in/*\", format: fhir }\nsink: { prefix: t_ }\n",
    );
    folder.write(
        "in/a.ndjson",
        concat!(
            "{\"resourceType\":\"Patient\",\"id\":\"a\",\"birthDate\":\"CANARYBORNVALUE\"}\n",
            "{\"resourceType\":\"CANARYNAMEVALUE\",\"id\":\"b\"}\n",
            "{\"resourceType\":\"Patient\",\"CANARYHEADER\":\"CANARYTEXTVALUE\",\"id\":\"c\"}\n",
            "{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"CANARYNAMEVALUE\"}],\"name\":[],\"id\":\"d\"}\n",
            "CANARYTEXTVALUE\n",
            "{\"resourceType\":\"Observation\",\"id\":\"e\",\"valueString\":\"CANARYVALUEVALUE\",\"note\":[{\"text\":\"CANARYTEXTVALUE\"}]}\n",
            "{\"resourceType\":\"Patient\",\"id\":\"f\",\"contained\":[{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"CANARYNAMEVALUE\"}]}]}\n",
        ),
    );
    let said = folder.cordon(&["run", "test"]).exits(3);
    // The name of an undeclared key may be reported, as `fails closed` asks; values never.
    let text = said.all().replace("CANARYHEADER", "");
    assert_clean("the run", text.as_bytes());
    assert_clean("the list", folder.cordon(&["quarantine", "list"]).all().as_bytes());
    for table in folder.tables() {
        assert_clean(&table, folder.csv(&format!("SELECT * FROM {table}")).as_bytes());
    }
    for file in folder.written() {
        assert_clean(&file.display().to_string(), &fs::read(&file).unwrap());
    }
}
