//! Who may see what, on every path that a query has, and that it is on the record.

use serde_json::Value;

use crate::support::{Folder, SmallDisk};

fn folder() -> Folder {
    let policy = "
policy: test
method: safe-harbor
datasets:
  visits:
    subject: patient
    fields:
      patient: { kind: medical-record-number }
      day: { kind: service-date }
      code: { kind: clinical }
  costs:
    fields:
      amount: { kind: financial, type: decimal }
";
    let folder = Folder::with(
        policy,
        "  - { dataset: visits, path: in/visits.csv }\n  - { dataset: costs, path: in/costs.csv }",
    );
    folder.write("in/visits.csv", "patient,day,code\np1,2020-01-02,E11\np2,2021-05-06,I10\n");
    folder.write("in/costs.csv", "amount\n10.5\n");
    folder.access(
        "access:
  roles:
    - name: research
      grants:
        - { datasets: [visits], columns: [day, code], purposes: [research] }
    - name: engineering
      grants:
        - { datasets: [\"*\"], columns: [\"*\"], purposes: [operations] }
  users:
    - { name: ana, roles: [research] }
    - { name: engineer, roles: [engineering] }
",
    );
    folder.run_json("test", 0);
    folder
}

#[test]
fn columns_that_are_not_granted_look_absent_on_every_path() {
    let folder = folder();
    let ana = |query: &str| folder.cordon(&["sql", query, "--as", "ana", "--purpose", "research", "--format", "csv"]);
    assert_eq!(ana("SELECT * FROM visits ORDER BY day").ok().out, "day,code\n2020,E11\n2021,I10\n");
    for query in [
        "SELECT patient FROM visits",
        "SELECT v.patient FROM visits v",
        "SELECT count(*) FROM visits WHERE patient IS NOT NULL",
        "WITH x AS (SELECT patient FROM visits) SELECT * FROM x",
        "SELECT day FROM visits ORDER BY patient",
        "SELECT max(patient) OVER () FROM visits",
        "SELECT day FROM visits WHERE EXISTS (SELECT 1 FROM visits i WHERE i.patient = 'x')",
        "SELECT day FROM visits UNION ALL SELECT patient FROM visits",
        "SELECT * FROM costs",
        "SELECT (SELECT max(amount) FROM costs) FROM visits",
        "SELECT * FROM visits NATURAL JOIN costs",
        "SELECT * FROM cordon.main.costs",
        "SELECT * FROM main.costs",
        "SELECT patient FROM cordon.main.visits",
    ] {
        let said = ana(query);
        assert!(said.code != 0, "{query} was answered: {}", said.out);
        assert!(!said.err.contains("did you mean `patient`"), "{query}: {}", said.err);
    }
    assert_eq!(ana("SELECT * FROM cordon.main.visits ORDER BY day").ok().out, "day,code\n2020,E11\n2021,I10\n");
    let seen = ana("SELECT * FROM information_schema.columns").ok();
    assert!(seen.out.contains("visits") && seen.out.contains("code"), "{}", seen.out);
    for hidden in ["patient", "amount", "costs"] {
        assert!(!seen.out.contains(hidden), "{}", seen.out);
    }
    let described = ana("DESCRIBE visits");
    assert!(!described.out.contains("patient"), "{}", described.out);
    let explained = ana("EXPLAIN SELECT day FROM visits");
    assert!(!explained.all().contains("amount") && !explained.all().contains(".parquet"), "{}", explained.all());
    let listed = folder.cordon(&["tables", "--as", "ana", "--purpose", "research"]).ok();
    assert!(!listed.out.contains("patient") && !listed.out.contains("costs"), "{}", listed.out);
}

#[test]
fn without_a_grant_there_is_no_answer_and_the_denial_is_on_the_record() {
    let folder = folder();
    let ask = |user: &str, purpose: &str| {
        folder.cordon(&["sql", "SELECT day FROM visits", "--as", user, "--purpose", purpose]).code
    };
    assert_eq!(ask("ana", "research"), 0);
    assert_eq!(ask("ana", "payment"), 4);
    assert_eq!(ask("nobody", "research"), 4);
    assert_eq!(ask("ana", "curiosity"), 2);
    let denied = folder.audit("access_denied");
    let told: Vec<_> = denied.iter().map(|event| (&event["principal"], &event["purpose"], &event["dataset"])).collect();
    assert_eq!(
        told,
        [
            (&"ana".into(), &"payment".into(), &"visits".into()),
            (&"nobody".into(), &"research".into(), &"visits".into()),
            (&"ana".into(), &Value::Null, &"*".into()),
        ]
    );
    // What was asked stands beside each denial.
    assert_eq!(folder.audit("query_started").len(), 3);
}

/// Each probe is told apart on the record, whatever the answer gives away.
#[test]
fn a_probe_is_on_the_record_with_what_it_was_after() {
    let folder = folder();
    for (query, code, dataset, columns) in [
        ("SELECT * FROM costs", 4, "costs", &[][..]),
        ("SELECT amount FROM cordon.main.costs WHERE amount > 3", 4, "costs", &["amount"][..]),
        ("SELECT patient FROM visits", 2, "visits", &["patient"][..]),
        ("SELECT PATIENT FROM visits v WHERE v.\"day\" = 2020", 2, "visits", &["patient"][..]),
        ("SELECT day FROM visits UNION ALL SELECT amount FROM costs", 4, "costs", &["amount"][..]),
        ("COPY visits TO 'out.csv'", 4, "visits", &[][..]),
        ("COPY (SELECT amount FROM costs) TO 'out.csv'", 4, "costs", &["amount"][..]),
        ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", 4, "*", &[][..]),
        ("SELECT * FROM Smith", 4, "_", &[][..]),
    ] {
        let before = (folder.audit("access_denied").len(), folder.audit("query_started").len());
        folder.cordon(&["sql", query, "--as", "ana", "--purpose", "research"]).exits(code);
        let denied = folder.audit("access_denied");
        assert_eq!(denied.len(), before.0 + 1, "{query}: {denied:?}");
        let event = denied.last().unwrap();
        assert_eq!((&event["dataset"], &event["columns"]), (&dataset.into(), &Value::from(columns)), "{query}");
        let started = folder.audit("query_started");
        assert_eq!(started.len(), before.1 + 1, "{query}");
        let statement = started.last().unwrap()["statement"].as_str().unwrap().to_owned();
        for column in columns {
            assert!(statement.contains(column), "{query}: {statement}");
        }
        assert!(!statement.to_lowercase().contains("smith") && !statement.contains("passwd"), "{statement}");
    }
    // A slip of the pen leaves as many entries as a name that is hidden, and so do several that are: how long it takes tells nothing.
    for query in
        ["SELECT dya FROM visits", "SELECT patient, amount FROM visits, costs", "SELECT FROM", "SELECT x FROM y"]
    {
        let before = (folder.audit("access_denied").len(), folder.audit("query_failed").len());
        folder.cordon(&["sql", query, "--as", "ana", "--purpose", "research"]);
        let denied = folder.audit("access_denied");
        assert_eq!((denied.len(), folder.audit("query_failed").len()), (before.0 + 1, before.1 + 1), "{query}");
        let event = denied.last().unwrap();
        let hidden = || serde_json::json!([{ "dataset": "visits", "columns": ["patient"] }]);
        let (dataset, others) = if query.contains("patient") { ("costs", hidden()) } else { ("_", Value::Null) };
        assert_eq!((&event["dataset"], &event["others"]), (&dataset.into(), &others), "{query}");
    }
}

#[test]
fn every_query_is_on_the_record_before_its_rows_without_its_literals() {
    let folder = folder();
    folder.cordon(&["sql", "SELECT day FROM visits WHERE code = 'E11'", "--as", "ana", "--purpose", "research"]).ok();
    let audit = folder.cordon(&["audit", "list", "--format", "json"]).ok();
    assert!(!audit.out.contains("E11"));
    let kinds: Vec<String> = audit
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["event"]["type"].as_str().or(entry["event"]["kind"].as_str()).unwrap_or_default().to_owned())
        .collect();
    for kind in
        ["project_initialised", "run_started", "table_committed", "run_finished", "query_started", "query_finished"]
    {
        assert!(kinds.iter().any(|known| known == kind), "{kind} is missing: {kinds:?}");
    }
}

#[test]
fn no_row_leaves_when_its_entry_cannot_be_written() {
    let folder = folder();
    let audit = folder.path().join(".cordon/audit");
    // The log as a plain file where its folder should be: nothing can be appended.
    std::fs::rename(&audit, folder.path().join("moved")).unwrap();
    std::fs::write(&audit, b"").unwrap();
    let said = folder.cordon(&["sql", "SELECT day FROM visits", "--as", "ana", "--purpose", "research"]);
    assert_ne!(said.code, 0);
    assert!(!said.out.contains("2020"), "{}", said.out);
}

/// The log can be opened, and the disk is full when the entry is to be written: after the plan, before the rows.
#[test]
fn no_row_leaves_when_the_disk_is_full_at_the_entry() {
    let folder = folder();
    let audit = folder.path().join(".cordon/audit");
    let kept = folder.path().join("kept");
    std::fs::rename(&audit, &kept).unwrap();
    let Some(disk) = SmallDisk::mount(&audit, "200k") else { return };
    crate::support::copy_tree(&kept, &audit);
    let mut ballast = std::fs::File::create(audit.join("ballast")).unwrap();
    while std::io::Write::write_all(&mut ballast, &[0; 512]).is_ok() {}
    drop(ballast);
    for format in ["text", "csv", "json", "arrow"] {
        let said = folder
            .cordon(&["sql", "SELECT day FROM visits", "--as", "ana", "--purpose", "research", "--format", format])
            .exits(6);
        assert!(said.out.is_empty(), "{}", said.out);
        assert!(said.err.contains("audit"), "{}", said.err);
    }
    std::fs::remove_file(audit.join("ballast")).unwrap();
    folder.cordon(&["sql", "SELECT day FROM visits", "--as", "ana", "--purpose", "research"]).ok();
    folder.cordon(&["audit", "verify"]).ok();
    drop(disk);
}

#[test]
fn a_changed_or_cut_log_is_found_even_when_its_head_was_put_back_too() {
    let folder = folder();
    let audit = folder.path().join(".cordon/audit");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().flatten() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    folder.cordon(&["audit", "verify"]).ok();
    let early = folder.path().join("early");
    copy(&audit, &early);
    folder.write("in/costs.csv", "amount\n10.5\n99.5\n");
    folder.run_json("test", 0);
    folder.cordon(&["audit", "verify"]).ok();
    // Everything since is taken out of the log and its head: only the tables still remember.
    std::fs::remove_dir_all(&audit).unwrap();
    copy(&early, &audit);
    let said = folder.cordon(&["audit", "verify"]).exits(7);
    assert!(["anchor", "missing", "shorter", "removed"].iter().any(|word| said.err.contains(word)), "{}", said.err);
}
