//! `cordon sql --engine spark` and a server with a cluster: the answers of queries here, and nothing of them in what a cluster writes.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cluster::{Cluster, processes};
use super::runs::{at_work, installed, killed_during, none_of, program, secrets};
use crate::server::site::Site;
use crate::servers::free_port;
use crate::support::{Folder, Said, copy_tree, said};

const POLICY: &str = "
policy: test
method: expert-determination
expert: { name: x, document: y }
datasets:
  people:
    subject: id
    fields:
      id: { kind: unique-id, action: token, domain: patient }
      ssn: { kind: ssn, action: hash }
      born: { kind: birth-date, action: shift-date }
      town: { kind: operational }
      row: { kind: operational, type: integer }
  stays:
    subject: id
    fields:
      id: { kind: unique-id, action: token, domain: patient }
      ward: { kind: operational }
      days: { kind: operational, type: integer }
";
const SOURCES: &str = "
  - { dataset: people, path: \"in/people*.csv\" }
  - { dataset: stays, path: \"in/stays*.csv\" }
";
/// The engineer sees all; the researcher some rows, and hardly a value as it is.
fn policies() -> Value {
    let resources = |table: &str, columns: &[&str]| {
        let mut resources = json!({ "database": { "values": ["cordon"] }, "table": { "values": [table] } });
        if !columns.is_empty() {
            resources["column"] = json!({ "values": columns });
        }
        resources
    };
    let item = |user: &str, purpose: &str, more: Value| {
        let conditions = json!([{ "type": "purpose-of-use", "values": [purpose] }]);
        let mut item =
            json!({ "users": [user], "accesses": [{ "type": "select", "isAllowed": true }], "conditions": conditions });
        item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        item
    };
    let engineer = || item("engineer", "operations", json!({}));
    let ana = || item("ana", "research", json!({}));
    let mask = |kind: &str| json!({ "dataMaskInfo": { "dataMaskType": kind } });
    let rows = |filter: &str| json!({ "rowFilterInfo": { "filterExpr": filter } });
    json!({ "serviceName": "clinic", "policyVersion": 1, "policies": [
        { "id": 1, "name": "all", "policyType": 0, "resources": resources("*", &["*"]), "policyItems": [engineer()] },
        { "id": 2, "name": "people", "policyType": 0, "resources": resources("people", &["id", "born", "town", "row"]), "policyItems": [ana()] },
        { "id": 3, "name": "stays", "policyType": 0, "resources": resources("stays", &["*"]), "policyItems": [ana()] },
        { "id": 4, "name": "ids", "policyType": 1, "resources": resources("people", &["id"]), "dataMaskPolicyItems": [item("ana", "research", mask("MASK_HASH"))] },
        { "id": 5, "name": "ids too", "policyType": 1, "resources": resources("stays", &["id"]), "dataMaskPolicyItems": [item("ana", "research", mask("MASK_HASH"))] },
        { "id": 6, "name": "born", "policyType": 1, "resources": resources("people", &["born"]), "dataMaskPolicyItems": [item("ana", "research", mask("MASK_DATE_SHOW_YEAR"))] },
        { "id": 7, "name": "rows", "policyType": 2, "resources": resources("people", &[]),
          "rowFilterPolicyItems": [item("ana", "research", rows("town <> 'CANARYHIDDEN' and cast(row as int) % 5 <> 1"))] },
        { "id": 8, "name": "days", "policyType": 2, "resources": resources("stays", &[]), "rowFilterPolicyItems": [item("ana", "research", rows("days < 9"))] },
    ] })
}

const ROUNDS: usize = 5;

/// Two tables of five parts each, of 3,000 people and 6,000 stays.
fn folder() -> Folder {
    let folder = Folder::with(POLICY, SOURCES);
    folder.access("access:\n  ranger: { service: clinic, policies: ranger/policies.json }\n");
    folder.write("ranger/policies.json", policies().to_string());
    for round in 0..ROUNDS {
        let people = (round * 600..(round + 1) * 600).map(|n| {
            let town = ["Salem", "Dover", "CANARYHIDDEN"][n % 3];
            format!(
                "CANARYP{n:05},{:03}-{:02}-{:04},19{:02}-03-04,{town},{n}\n",
                100 + n % 800,
                10 + n % 80,
                1000 + n,
                30 + n % 60
            )
        });
        folder.write(&format!("in/people{round}.csv"), format!("id,ssn,born,town,row\n{}", people.collect::<String>()));
        let stays = (round * 1200..(round + 1) * 1200)
            .map(|n| format!("CANARYP{:05},{},{}\n", (n * 7) % 3300, ["icu", "er", "lab", "onc"][n % 4], n % 11));
        folder.write(&format!("in/stays{round}.csv"), format!("id,ward,days\n{}", stays.collect::<String>()));
        folder.run_json("test", 0);
    }
    folder
}

fn command(folder: &Folder, who: [&str; 2], sql: &str, more: &[&str]) -> Command {
    let mut command = Command::new(program());
    let args = ["sql", sql, "--as", who[0], "--purpose", who[1], "--format", "csv", "-q"];
    command.args(args).args(more).current_dir(folder.path()).env("NO_COLOR", "1").env_remove("SPARK_REMOTE");
    command
}

pub fn ask(folder: &Folder, who: [&str; 2], sql: &str, more: &[&str]) -> Said {
    said(command(folder, who, sql, more).output().unwrap())
}

pub fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if let Some(rows) = lines.get_mut(1..) {
        rows.sort();
    }
    lines
}

pub const ENGINEER: [&str; 2] = ["engineer", "operations"];
const ANA: [&str; 2] = ["ana", "research"];
const QUERIES: [&str; 9] = [
    "SELECT town, count(*) AS n, avg(row) AS mean FROM people GROUP BY town",
    "SELECT * FROM people",
    "SELECT p.town, s.ward, count(*) AS n, sum(s.days) AS days FROM people p JOIN stays s ON p.id = s.id GROUP BY p.town, s.ward ORDER BY 3 DESC, 1, 2",
    "SELECT p.row, s.ward FROM people p FULL JOIN stays s ON p.id = s.id AND s.days > 4 WHERE p.row < 400 OR p.row IS NULL",
    "SELECT id, row FROM people ORDER BY row DESC LIMIT 7 OFFSET 2",
    "SELECT ward, days, count(*) OVER (PARTITION BY ward) AS n, row_number() OVER (PARTITION BY ward ORDER BY days, id) AS at FROM stays",
    "SELECT town FROM people WHERE row > (SELECT avg(row) FROM people) AND town <> 'CANARYLITERAL' GROUP BY town HAVING count(DISTINCT born) > 1",
    "SELECT id FROM people WHERE row % 7 = 0 UNION SELECT id FROM stays WHERE days = 3",
    "SELECT count(*) AS n FROM people WHERE id IN (SELECT id FROM stays WHERE ward = 'icu')",
];

#[test]
fn queries_on_a_cluster_are_answered_as_here_and_show_nothing_to_it() {
    let Some(cluster) = Cluster::start(&installed()) else { return };
    let folder = folder();
    let on = ["--engine", "spark", "--remote", &cluster.remote, "--installed"];
    let mut asked = 0;
    for (who, queries) in [(ENGINEER, &QUERIES[..]), (ANA, &QUERIES[..4])] {
        for sql in queries {
            asked += 1;
            let here = ask(&folder, who, sql, &[]).ok();
            assert!(here.out.lines().count() > 1, "{sql}: {}", here.out);
            let mut there = command(&folder, who, sql, &on);
            if sql.contains("JOIN") {
                // As tables are joined that are too large to be read by every task: parted by the key, both of them.
                there.env("CORDON_BROADCAST_ROWS", "0");
            }
            let there = said(there.output().unwrap()).ok();
            if sql.contains("ORDER BY") && !sql.contains("OVER") {
                assert_eq!(here.out, there.out, "{who:?}: {sql}");
            } else {
                assert_eq!(sorted(&here.out), sorted(&there.out), "{who:?}: {sql}");
            }
        }
    }
    // What goes wrong is told as here, and so is what may not be asked.
    for (who, sql, code) in [
        (ENGINEER, "SELECT town, max(1 / (row - row)) FROM people GROUP BY town", 1),
        (ENGINEER, "SELECT nothing FROM people", 2),
        (ANA, "SELECT ssn FROM people", 2),
        (ANA, "SELECT * FROM secrets", 4),
    ] {
        let (here, there) = (ask(&folder, who, sql, &[]).exits(code), ask(&folder, who, sql, &on).exits(code));
        assert_eq!(here.err, there.err, "{sql}");
    }
    let asked = 2 * (asked + 4);
    assert_eq!(folder.audit("query_started").len(), asked, "each is on the record once, wherever it was computed");
    folder.cordon(&["audit", "verify"]).ok();

    // Without the program, and with it sent.
    let bare = ask(&folder, ENGINEER, QUERIES[0], &["--engine", "spark", "--remote", &cluster.remote]).ok();
    assert_eq!(sorted(&bare.out), sorted(&ask(&folder, ENGINEER, QUERIES[0], &[]).ok().out));
    // Another project's folder answers nothing, and says why.
    let stranger = Folder::init("hospital");
    let place = stranger.path().display().to_string();
    let refused = ask(&folder, ENGINEER, QUERIES[0], &[&on[..], &["--executor-project", &place]].concat()).exits(2);
    assert!(refused.err.contains("does not open under the key"), "{}", refused.err);
    let refused = ask(&folder, ENGINEER, QUERIES[0], &[&on[..], &["--executor-project", "/nowhere"]].concat()).exits(6);
    assert!(refused.err.contains("on an executor"), "{}", refused.err);
    // A copy reads as the folder does: it holds the same tables under the same keys.
    let copy = Folder { dir: tempfile::tempdir().unwrap() };
    copy_tree(&folder.path(), &copy.path());
    let place = copy.path().display().to_string();
    ask(&folder, ENGINEER, QUERIES[0], &[&on[..], &["--executor-project", &place]].concat()).ok();
    let gone = format!("sc://127.0.0.1:{}", free_port());
    ask(&folder, ENGINEER, QUERIES[0], &["--engine", "spark", "--remote", &gone]).exits(6);
    ask(&folder, ENGINEER, QUERIES[0], &["--remote", &gone]).exits(2);

    let mut secrets = secrets(&folder);
    secrets.extend(["Salem", "Dover", "onc,", "stays", "GROUP BY"].map(|word| word.as_bytes().to_vec()));
    none_of(&secrets, &cluster.files().join("events"));
    none_of(&super::runs::secrets(&folder), cluster.files());
    let control = BTreeSet::from([b"MapInArrow".to_vec()]);
    let seen = std::panic::catch_unwind(|| none_of(&control, &cluster.files().join("events")));
    assert!(seen.is_err(), "there were event logs to look through");
}

#[test]
fn killed_executors_change_no_answer_and_an_interrupt_ends_it_there_too() {
    let Some(cluster) = Cluster::start(&format!("spark.task.maxFailures 8\n{}", installed())) else { return };
    let folder = folder();
    let on = ["--engine", "spark", "--remote", &cluster.remote, "--installed"];
    // Enough to compute that something can happen meanwhile.
    let sql = "SELECT p.town, s.ward, count(*) AS n, sum(CASE WHEN a.row > s.days * 100 THEN 1 ELSE 0 END) AS m \
               FROM people p JOIN stays s ON p.id = s.id JOIN people a ON a.row <> p.row GROUP BY p.town, s.ward";
    let here = ask(&folder, ENGINEER, sql, &[]).ok();
    let (there, killed) =
        killed_during(&cluster, &folder, &["program", "machine"], || ask(&folder, ENGINEER, sql, &on));
    assert_eq!(sorted(&here.out), sorted(&there.ok().out));
    assert_eq!(killed, 2);

    let endless =
        "SELECT count(*) FROM people a, people b, people c, people d WHERE a.row * b.row + c.row * d.row = -1";
    let mut child =
        command(&folder, ENGINEER, endless, &on).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while at_work(&folder).is_empty() && begun.elapsed() < Duration::from_mins(1) {
        sleep(Duration::from_millis(50));
    }
    sleep(Duration::from_secs(3));
    assert!(child.try_wait().unwrap().is_none());
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(30), "an interrupted query ends");
        sleep(Duration::from_millis(50));
    }
    assert_eq!(child.wait().unwrap().code(), Some(1));
    while !busy(&folder).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(40), "executors go on for a query that nobody asks any more");
        sleep(Duration::from_millis(200));
    }
    assert!(folder.audit("query_failed").iter().any(|event| event["what"] == "abandoned"));
}

/// Programs of executors that compute.
fn busy(folder: &Folder) -> Vec<String> {
    let ticks = |id: &String| -> u64 {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit(") ")
            .next()
            .unwrap_or_default()
            .split(' ')
            .skip(11)
            .take(2)
            .filter_map(|n| n.parse::<u64>().ok())
            .sum()
    };
    let before: Vec<(String, u64)> = processes(&["executor --threads", &folder.path().display().to_string()])
        .into_iter()
        .map(|id| (id.clone(), ticks(&id)))
        .collect();
    sleep(Duration::from_secs(1));
    before.into_iter().filter(|(id, before)| ticks(id) > before + 20).map(|(id, _)| id).collect()
}

#[test]
fn a_server_has_large_queries_computed_by_a_cluster() {
    let Some(mut cluster) = Cluster::start(&installed()) else { return };
    let spark = |from: &str| format!("  spark: {{ remote: \"{}\", from: {from}, installed: true }}", cluster.remote);
    let Some(site) = Site::start("", &spark("1B")) else { return };
    let sql = "SELECT code, count(*) AS n, sum(points) AS points FROM visits GROUP BY code ORDER BY code";
    assert!(processes(&["executor --threads", &site.folder.path().display().to_string()]).is_empty());
    let answers: Vec<_> = (0..3).map(|_| site.ask("ana", sql, "research").is(200).body).collect();
    assert!(!processes(&["executor --threads", &site.folder.path().display().to_string()]).is_empty());
    assert!(answers.iter().all(|answer| *answer == answers[0]) && answers[0].lines().count() == 20, "{answers:?}");
    site.ask("ana", "SELECT amount FROM costs", "research").is(404);
    // Several at a time, in one session.
    scope(|scope| {
        let asked: Vec<_> = (0..4).map(|_| scope.spawn(|| site.ask("ana", sql, "research").is(200).body)).collect();
        for answer in asked {
            assert_eq!(answer.join().unwrap(), answers[0]);
        }
    });
    // A cluster that was started anew knows no session of before.
    cluster.restart();
    assert_eq!(site.ask("ana", sql, "research").is(200).body, answers[0]);
    // Without the cluster large queries are refused, and small ones are not touched.
    drop(cluster);
    let refused = site.ask("ana", sql, "research");
    assert!(refused.status >= 500, "{} {}", refused.status, refused.body);
    site.ask("ana", "SELECT 1 AS one", "research").is(200);
    let (folder, code) = site.stop();
    assert_eq!(code, 0);
    assert!(folder.audit("query_failed").iter().any(|event| event["what"] == "cluster"));
}
