//! Ranger policies decide what a query sees: from files, and from a Ranger Admin. The Admin here is a server of the test's own that answers as
//! Ranger documents it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use cordon_pipeline::project::Project;
use serde_json::{Value, json};

use crate::support::{Folder, Said, binary, collect, said};

const PIPELINE_POLICY: &str = "
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

fn item(who: &Value, more: &Value) -> Value {
    let mut item = json!({ "accesses": [{ "type": "select", "isAllowed": true }] });
    for part in [who, more] {
        for (name, value) in part.as_object().unwrap() {
            item[name] = value.clone();
        }
    }
    item
}

fn resources(table: &str, columns: &[&str]) -> Value {
    let mut resources = json!({ "database": { "values": ["cordon"] }, "table": { "values": [table] } });
    if !columns.is_empty() {
        resources["column"] = json!({ "values": columns });
    }
    resources
}

fn purposes(names: &[&str]) -> Value {
    json!({ "conditions": [{ "type": "purpose-of-use", "values": names }] })
}

/// Staff reads visits for treatment, masked and filtered, and nothing that was made from direct identifiers.
fn policies() -> Value {
    let staff = json!({ "roles": ["staff"] });
    let mask = json!({ "dataMaskInfo": { "dataMaskType": "CUSTOM", "valueExpr": "concat('c-', {col})" } });
    json!({
        "serviceName": "clinic", "policyVersion": 1,
        "policies": [
            { "id": 1, "name": "zebra quartz visits", "version": 3, "policyType": 0, "resources": resources("visits", &["*"]),
              "policyItems": [item(&staff, &purposes(&["treatment"])), item(&json!({ "users": ["engineer"] }), &purposes(&["operations"]))] },
            { "id": 2, "name": "codes", "policyType": 1, "resources": resources("visits", &["code"]),
              "dataMaskPolicyItems": [item(&staff, &mask)] },
            { "id": 3, "name": "rows", "policyType": 2, "resources": resources("visits", &[]),
              "rowFilterPolicyItems": [item(&staff, &json!({ "rowFilterInfo": { "filterExpr": "code <> 'I10'" } }))] },
            { "id": 4, "name": "costs of a month long ago", "policyType": 0, "resources": resources("costs", &["*"]),
              "validitySchedules": [{ "startTime": "2020/01/01 00:00:00", "endTime": "2020/02/01 00:00:00", "timeZone": "UTC" }],
              "policyItems": [item(&json!({ "users": ["temp"] }), &json!({}))] },
        ],
        "tagPolicies": { "serviceName": "tags", "policies": [
            { "id": 5, "name": "nothing direct", "policyType": 0, "resources": { "tag": { "values": ["PHI_DIRECT"] } },
              "denyPolicyItems": [{ "accesses": [{ "type": "cordon:select" }], "roles": ["staff"] }] },
        ] },
    })
}

fn roles() -> Value {
    json!({ "serviceName": "clinic", "roleVersion": 1, "rangerRoles": [
        { "name": "nurses", "users": [{ "name": "ana" }], "groups": [], "roles": [] },
        { "name": "staff", "users": [], "groups": [], "roles": [{ "name": "nurses" }] },
    ] })
}

fn folder(ranger: &str) -> Folder {
    let folder = Folder::with(
        PIPELINE_POLICY,
        "  - { dataset: visits, path: in/visits.csv }\n  - { dataset: costs, path: in/costs.csv }",
    );
    folder.write("in/visits.csv", "patient,day,code\np1,2020-01-02,E11\np2,2021-05-06,I10\n");
    folder.write("in/costs.csv", "amount\n10.5\n");
    folder.access(&format!("access:\n  ranger: {ranger}\n"));
    folder.run_json("test", 0);
    folder
}

fn with_files() -> Folder {
    let folder = folder("{ service: clinic, policies: ranger/policies.json, roles: ranger/roles.json }");
    put(&folder, &policies());
    folder.write("ranger/roles.json", roles().to_string());
    folder
}

fn put(folder: &Folder, policies: &Value) {
    folder.write("ranger/policies.json", policies.to_string());
}

fn sql(folder: &Folder, user: &str, purpose: &str, query: &str) -> Said {
    folder.cordon(&["sql", query, "--as", user, "--purpose", purpose, "--format", "csv"])
}

#[test]
fn policies_of_a_file_hide_columns_and_rows_and_mask_values() {
    let folder = with_files();
    let ana = |query: &str| sql(&folder, "ana", "treatment", query);
    // By a nested role; the token is of a direct identifier, which a tag policy denies.
    assert_eq!(ana("SELECT * FROM visits").ok().out, "day,code\n2020,c-E11\n");
    assert_eq!(ana("SELECT count(*) AS n FROM visits WHERE code = 'E11'").ok().out, "n\n0\n");
    assert_eq!(ana("SELECT day FROM visits WHERE code = 'c-I10'").ok().out.lines().count(), 1);
    for absent in ["SELECT patient FROM visits", "SELECT * FROM costs", "SELECT amount FROM costs"] {
        assert_ne!(ana(absent).code, 0, "{absent}");
    }
    assert_eq!(
        sql(&folder, "engineer", "operations", "SELECT code FROM visits ORDER BY code").ok().out,
        "code\nE11\nI10\n"
    );
    // Another purpose, another user, a validity that is over.
    for (user, purpose) in [
        ("ana", "payment"),
        ("ana", "emergency"),
        ("nobody", "treatment"),
        ("temp", "operations"),
        ("staff", "treatment"),
    ] {
        let mut args = vec!["sql", "SELECT * FROM visits", "--as", user, "--purpose", purpose];
        if purpose == "emergency" {
            args.extend(["--reason", "the ward is on fire"]);
        }
        let said = folder.cordon(&args).exits(4);
        assert_eq!(said.out, "");
    }
    let why = folder.audit("query_started").iter().map(ToString::to_string).collect::<String>();
    assert!(why.contains("zebra quartz visits") && why.contains("rowFilterPolicyItems[0]"), "{why}");
    let listed = folder.cordon(&["tables", "--as", "ana", "--purpose", "treatment"]).ok();
    assert!(listed.out.contains("visits") && !listed.out.contains("costs") && !listed.out.contains("patient"));
}

#[test]
fn tags_of_a_file_count_beside_those_of_the_classification() {
    let folder = with_files();
    folder.write(
        "ranger/tags.json",
        json!({ "serviceName": "clinic", "tagVersion": 1,
        "tags": { "1": { "type": "PART2" } },
        "serviceResources": [{ "id": 5, "resourceElements": resources("visits", &["code"]) }],
        "resourceToTagIds": { "5": [1] } })
        .to_string(),
    );
    let config = folder.read("cordon.yaml").replace("roles: ranger", "tags: ranger/tags.json, roles: ranger");
    folder.write("cordon.yaml", config);
    let mut changed = policies();
    changed["tagPolicies"]["policies"].as_array_mut().unwrap().push(json!({
        "id": 6, "name": "part 2", "resources": { "tag": { "values": ["PART2"] } },
        "denyPolicyItems": [{ "accesses": [{ "type": "cordon:select" }], "groups": ["public"] }] }));
    put(&folder, &changed);
    assert_eq!(sql(&folder, "ana", "treatment", "SELECT * FROM visits").ok().out, "day\n2020\n");
}

/// Nothing is opened where the rules cannot be read, and the error names policy and field.
#[test]
fn a_broken_file_closes_everything() {
    let folder = with_files();
    let refused = |said: Said, word: &str| {
        assert!(said.err.contains(word), "{word}: {}", said.err);
        assert_eq!(said.out, "");
    };
    let mut wrong = policies();
    wrong["policies"][0]["policyItems"][0]["roles"] = json!("staff");
    put(&folder, &wrong);
    let place = "policy 1 `zebra quartz visits`.policyItems[0].roles";
    refused(sql(&folder, "ana", "treatment", "SELECT * FROM visits").exits(2), place);
    refused(folder.cordon(&["tables", "--as", "ana", "--purpose", "treatment"]).exits(2), place);
    refused(folder.cordon(&["access", "lint"]).exits(2), place);
    assert_eq!(folder.audit("query_started").len(), 1);
    let mut other = policies();
    other["serviceName"] = json!("payroll");
    put(&folder, &other);
    refused(sql(&folder, "ana", "treatment", "SELECT * FROM visits").exits(2), "another service");
    folder.write("ranger/policies.json", "{ \"serviceName\": ");
    refused(sql(&folder, "ana", "treatment", "SELECT * FROM visits").exits(2), "no JSON");
    std::fs::remove_file(folder.path().join("ranger/policies.json")).unwrap();
    refused(sql(&folder, "ana", "treatment", "SELECT * FROM visits").exits(6), "ranger/policies.json");
    // A filter that the engine cannot read shows nothing either.
    let mut unread = policies();
    unread["policies"][2]["rowFilterPolicyItems"][0]["rowFilterInfo"]["filterExpr"] = json!("code rlike_maybe 'x'");
    put(&folder, &unread);
    let said = sql(&folder, "ana", "treatment", "SELECT * FROM visits");
    assert!(said.code != 0 && said.out.is_empty(), "{}", said.out);
}

#[test]
fn a_project_says_in_one_place_who_decides() {
    let folder = with_files();
    let config = folder.read("cordon.yaml");
    for (section, word) in [
        ("{ service: clinic }", "the policies are nowhere"),
        ("{ service: \"../x\", policies: p.json }", "other signs"),
        ("{ service: clinic, policies: p.json, admin: { url: \"https://r.example\" } }", "in a file and with an Admin"),
        ("{ service: clinic, admin: { url: \"https://r.example\", poll: 2h, max-age: 1h } }", "out of force before"),
        ("{ service: clinic, policies: p.json, polices: p.json }", "polices"),
        (
            "{ service: clinic, policies: p.json }\n  roles:\n    - { name: r, grants: [{ datasets: [a], columns: [b], purposes: [research] }] }",
            "grants have no effect",
        ),
    ] {
        let (head, _) = config.split_once("  ranger:").unwrap();
        folder.write("cordon.yaml", format!("{head}  ranger: {section}\n"));
        let said = folder.cordon(&["policy", "check"]).exits(2);
        assert!(said.err.contains(word), "{word}: {}", said.err);
    }
}

#[test]
fn lint_and_explain_tell_what_the_rules_come_to() {
    let folder = with_files();
    let lint = folder.cordon(&["access", "lint", "--format", "json"]).exits(2).json();
    let told: Vec<&str> =
        lint["problems"].as_array().unwrap().iter().map(|it| it["problem"].as_str().unwrap()).collect();
    assert_eq!(told, ["all have ended"], "{lint}");
    assert_eq!(lint["problems"][0]["policy_id"], 4);
    let mut mended = policies();
    mended["policies"].as_array_mut().unwrap().remove(3);
    put(&folder, &mended);
    folder.cordon(&["access", "lint"]).ok();
    put(&folder, &policies());

    let one =
        folder.cordon(&["explain-access", "ana", "visits", "--purpose", "treatment", "--format", "json"]).ok().json();
    let columns = one[0]["columns"].as_array().unwrap();
    let of = |name: &str| columns.iter().find(|column| column["name"] == name).unwrap();
    assert_eq!(of("patient")["visible"], false);
    assert_eq!(of("patient")["why"][0]["ranger"]["policy"], 5);
    assert_eq!(
        of("day")["why"][0]["ranger"],
        json!({ "policy": 1, "name": "zebra quartz visits", "version": 3, "item": "policyItems[0]" })
    );
    assert_eq!(of("code")["mask"]["why"]["ranger"]["policy"], 2);
    assert_eq!(one[0]["row_filter"]["filter"], "code <> 'I10'");
    let people = folder.cordon(&["explain-access", "ana", "visits"]).ok().out;
    assert!(
        people.contains("sees this of visits, for treatment") && people.contains("ana sees nothing of visits"),
        "{people}"
    );
    let group = folder.cordon(&["explain-access", "x", "visits", "--groups", "public,staff"]).ok().out;
    assert!(!group.contains("yes"), "{group}");
    folder.cordon(&["explain-access", "ana", "vists"]).exits(2);

    let all = folder.cordon(&["explain-access", "--all"]).ok().out;
    for word in
        ["(anyone else)", "Open to nobody: claims, ", "ana", "temp", "rows of ana T: code <> 'I10' (policy 3 `rows`"]
    {
        assert!(all.contains(word), "{word}: {all}");
    }
    let matrix = folder.cordon(&["explain-access", "--all", "--format", "json"]).ok().json();
    let entries = matrix["entries"].as_array().unwrap().iter();
    let cells: usize = entries
        .filter(|entry| entry["dataset"] == "visits" || entry["dataset"] == "costs")
        .map(|entry| entry["purposes"].as_array().unwrap().len())
        .sum();
    // ana, engineer, temp, anyone else; visits and costs; nine purposes.
    assert_eq!(cells, 4 * 2 * 9);

    let mut next = policies();
    next["policies"][1]["dataMaskPolicyItems"][0]["dataMaskInfo"]["dataMaskType"] = json!("MASK_NULL");
    next["policies"][0]["policyItems"].as_array_mut().unwrap().pop();
    folder.write("next.json", next.to_string());
    let changes = folder.cordon(&["explain-access", "--diff", "next.json"]).ok().out;
    assert!(changes.contains("engineer loses visits.code (operations)"), "{changes}");
    assert!(
        changes.contains("ana sees visits.code otherwise") && changes.contains("null now (treatment)"),
        "{changes}"
    );
    // The same by another project's file, and none between a set and itself.
    folder.write("other/cordon.yaml", folder.read("cordon.yaml"));
    folder.write("other/ranger/policies.json", next.to_string());
    folder.write("other/ranger/roles.json", roles().to_string());
    assert_eq!(folder.cordon(&["explain-access", "--diff", "other/cordon.yaml"]).ok().out, changes);
    put(&folder, &next);
    assert!(folder.cordon(&["explain-access", "--diff", "next.json"]).ok().out.contains("Nobody would see"));
    assert!(folder.audit("inspected").iter().any(|event| event["what"] == "access rules"));

    let def: Value = serde_json::from_str(&folder.cordon(&["schema", "ranger-service-def"]).ok().out).unwrap();
    assert_eq!(def["name"], "cordon");
}

/// A Ranger Admin as its REST interface is documented: full downloads, changes, 304, 401, 404.
struct Admin {
    state: Arc<Mutex<Answers>>,
    port: u16,
}

#[derive(Default)]
struct Answers {
    policies: Value,
    /// Sent to whoever knows the version before.
    deltas: Option<Value>,
    roles: Value,
    down: bool,
    gone: bool,
    asked: Vec<String>,
}

impl Admin {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(Answers { policies: policies(), roles: roles(), ..Answers::default() }));
        let answers = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &answers);
            }
        });
        Self { state, port }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    fn set(&self, change: impl FnOnce(&mut Answers)) {
        change(&mut self.state.lock().unwrap());
    }

    fn folder(&self, more: &str) -> Folder {
        folder(&format!(
            "{{ service: clinic, admin: {{ url: \"http://127.0.0.1:{}\", timeout-seconds: 1{more} }} }}",
            self.port
        ))
    }
}

fn answer(mut stream: TcpStream, answers: &Mutex<Answers>) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend(&buffer[..read]),
        }
    }
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let mut answers = answers.lock().unwrap();
    if answers.down {
        return;
    }
    answers.asked.push(path.clone());
    let secure = path.contains("/secure/");
    let known = request.to_lowercase().contains("authorization: basic cm9ib3q6em9ub2xpdgg=");
    let asked: i64 = path
        .split(['?', '&'])
        .find_map(|part| part.split_once('=').filter(|(name, _)| name.starts_with("lastKnown")))
        .map_or(-1, |(_, version)| version.parse().unwrap());
    let newer = |document: &Value, field: &str| {
        if document.is_null() || document[field].as_i64() == Some(asked) {
            ("304 Not Modified", String::new())
        } else {
            ("200 OK", document.to_string())
        }
    };
    let (status, body) = match path.split("/download/").next().unwrap() {
        _ if secure && !known => ("401 Unauthorized", "{}".to_owned()),
        _ if answers.gone => {
            ("404 Not Found", "{\"msgDesc\":\"RANGER_ERROR_SERVICE_NOT_FOUND: ServiceName=clinic\"}".to_owned())
        }
        "/service/plugins/secure/policies" | "/service/plugins/policies" => match &answers.deltas {
            Some(deltas) if asked >= 0 && deltas["policyVersion"].as_i64() == Some(asked + 1) => {
                ("200 OK", deltas.to_string())
            }
            _ => newer(&answers.policies, "policyVersion"),
        },
        "/service/roles/secure" | "/service/roles" => newer(&answers.roles, "roleVersion"),
        "/service/tags/secure" | "/service/tags" => ("304 Not Modified", String::new()),
        "/service/xusers/secure" | "/service/xusers" => ("404 Not Found", String::new()),
        _ => ("400 Bad Request", String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}

fn ask(folder: &Folder, login: Option<(&str, &str)>) -> Said {
    let mut command = binary();
    command.env_remove("CORDON_RANGER_USER").env_remove("CORDON_RANGER_PASSWORD");
    if let Some((user, password)) = login {
        command.env("CORDON_RANGER_USER", user).env("CORDON_RANGER_PASSWORD", password);
    }
    let query = ["sql", "SELECT * FROM visits", "--as", "ana", "--purpose", "treatment", "--format", "csv"];
    said(command.args(query).current_dir(folder.path()).output().unwrap())
}

const LOGIN: Option<(&str, &str)> = Some(("robot", "zonolith"));
const SEEN: &str = "day,code\n2020,c-E11\n";

#[test]
fn an_admin_hands_out_policies_and_changes_and_is_asked_for_what_is_newer() {
    let admin = Admin::start();
    let folder = admin.folder("");
    assert!(admin.asked().is_empty(), "a run reads nothing that policies decide about");
    assert_eq!(ask(&folder, LOGIN).ok().out, SEEN);
    let asked = admin.asked();
    assert_eq!(asked.len(), 4, "{asked:?}");
    let first = &asked[0];
    assert!(first.starts_with("/service/plugins/secure/policies/download/clinic?lastKnownVersion=-1&lastActivationTime=0&pluginId=cordon%40"), "{first}");
    assert!(first.ends_with("-clinic&clusterName=&supportsPolicyDeltas=true"), "{first}");
    assert!(asked[2].starts_with("/service/roles/secure/download/clinic?lastKnownRoleVersion=-1&"), "{asked:?}");
    assert_eq!(ask(&folder, LOGIN).ok().out, SEEN);
    let asked = admin.asked();
    assert!(asked[0].contains("lastKnownVersion=1&") && !asked[0].contains("lastActivationTime=0&"), "{asked:?}");
    assert!(asked[2].contains("lastKnownRoleVersion=1&"), "{asked:?}");

    // A change of one policy, and then a right that is taken away by another.
    let mut codes = policies()["policies"][1].clone();
    codes["dataMaskPolicyItems"][0]["dataMaskInfo"] = json!({ "dataMaskType": "MASK_NULL" });
    let deltas =
        json!({ "serviceName": "clinic", "policyVersion": 2, "policyDeltas": [{ "changeType": 1, "policy": codes }] });
    admin.set(|it| {
        it.deltas = Some(deltas);
        it.policies["policyVersion"] = json!(2);
    });
    assert_eq!(ask(&folder, LOGIN).ok().out, "day,code\n2020,\n");
    let gone = json!({ "serviceName": "clinic", "policyVersion": 3, "policyDeltas": [{ "changeType": 2, "policy": { "id": 1 } }] });
    admin.set(|it| {
        it.deltas = Some(gone);
        it.policies["policyVersion"] = json!(3);
    });
    ask(&folder, LOGIN).exits(4);
    admin.asked();
    ask(&folder, LOGIN).exits(4);
    assert!(admin.asked()[0].contains("lastKnownVersion=3&"));
    // Changes that are of no policy ask for all of them.
    let odd = json!({ "serviceName": "clinic", "policyVersion": 4, "policyDeltas": [{ "changeType": 5, "policy": { "id": 1 } }] });
    admin.set(|it| {
        it.deltas = Some(odd);
        it.policies["policyVersion"] = json!(4);
    });
    assert_eq!(ask(&folder, LOGIN).ok().out, SEEN);

    // The role, and with it the right.
    admin.set(|it| it.roles = json!({ "roleVersion": 2, "rangerRoles": [] }));
    ask(&folder, LOGIN).exits(4);
}

#[test]
fn what_an_admin_said_is_kept_sealed_and_counts_for_a_while_when_it_does_not_answer() {
    let admin = Admin::start();
    let folder = admin.folder(", poll: 1s, max-age: 15s");
    // Without a log-in, with a wrong one, and never heard before: nothing is known.
    let said = ask(&folder, None).exits(2);
    assert!(said.err.contains("CORDON_RANGER_USER"), "{}", said.err);
    let said = ask(&folder, Some(("robot", "wrong-canary"))).exits(4);
    assert!(said.err.contains("does not take these credentials") && !said.err.contains("canary"), "{}", said.err);
    admin.set(|it| it.down = true);
    let said = ask(&folder, LOGIN).exits(4);
    assert!(said.err.contains("are not known") && said.out.is_empty(), "{}", said.err);

    admin.set(|it| it.down = false);
    let said = ask(&folder, LOGIN).ok();
    assert!(said.out == SEEN && !said.err.contains("did not answer"), "{}", said.err);
    let heard = Instant::now();
    admin.set(|it| it.down = true);
    let said = ask(&folder, LOGIN);
    if heard.elapsed() < Duration::from_secs(12) {
        let said = said.ok();
        assert_eq!(said.out, SEEN);
        assert!(said.err.contains("did not answer") && said.err.contains(" s ago"), "{}", said.err);
    }
    let mut files = Vec::new();
    collect(&folder.path().join(".cordon"), &mut files);
    let sealed = files.iter().filter(|file| file.to_string_lossy().contains("ranger-clinic")).count();
    assert_eq!(sealed, 2);
    for file in &files {
        let bytes = std::fs::read(file).unwrap();
        for word in ["zebra quartz", "rowFilter", "zonolith", "policyItems"] {
            assert!(!bytes.windows(word.len()).any(|part| part == word.as_bytes()), "{}", file.display());
        }
    }
    thread::sleep(Duration::from_secs(16).saturating_sub(heard.elapsed()));
    let said = ask(&folder, LOGIN).exits(4);
    assert!(said.err.contains("are not known") && said.out.is_empty(), "{}", said.err);

    // One that was put together from another time counts for nothing.
    admin.set(|it| it.down = false);
    ask(&folder, LOGIN).ok();
    let kept = folder.path().join(".cordon/state/ranger-clinic.sealed");
    let before = std::fs::read(&kept).unwrap();
    admin.set(|it| {
        it.policies["policyVersion"] = json!(9);
        it.policies["policies"] = json!([]);
    });
    ask(&folder, LOGIN).exits(4);
    std::fs::write(&kept, before).unwrap();
    admin.set(|it| it.down = true);
    ask(&folder, LOGIN).exits(4);
}

#[test]
fn a_service_that_is_gone_opens_nothing_at_once() {
    let admin = Admin::start();
    let folder = admin.folder("");
    assert_eq!(ask(&folder, LOGIN).ok().out, SEEN);
    admin.set(|it| it.gone = true);
    let said = ask(&folder, LOGIN).exits(4);
    assert!(said.err.contains("no such service"), "{}", said.err);
    admin.set(|it| it.down = true);
    ask(&folder, LOGIN).exits(4);
}

/// Whoever stays sees a revocation within the poll interval, and that something changed by the generation's number.
#[test]
fn a_process_that_stays_sees_a_revocation_within_the_interval() {
    let admin = Admin::start();
    let folder = admin.folder(", poll: 1s, certificate: c.pem, key: k.pem");
    let open = |path: &Path| {
        let ask = || Err(std::io::ErrorKind::Unsupported.into());
        Project::find(path).unwrap().open(&ask, "test").unwrap()
    };
    let project = open(&folder.path());
    let source = project.policy_source().unwrap();
    let _watch = source.watch();
    let before = source.generation();
    assert!(source.current().service().is_some());
    let started = source.current();
    admin.set(|it| {
        it.policies["policyVersion"] = json!(2);
        it.policies["policies"] = json!([]);
    });
    let begun = Instant::now();
    while source.generation() == before {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", source.trouble());
        thread::sleep(Duration::from_millis(20));
    }
    // Those who began under the old rules hold them still, and see that they are old.
    assert!(!Arc::ptr_eq(&started, &source.current()));
    admin.set(|it| it.gone = true);
    while !source.current().is_unknown() {
        assert!(begun.elapsed() < Duration::from_secs(40));
        thread::sleep(Duration::from_millis(20));
    }
    assert!(source.in_force().is_err());
    assert!(admin.asked().iter().all(|path| !path.contains("/secure/")), "a certificate asks at the other address");
}
