//! Groups in groups of a directory decide which rows somebody gets, and for how long.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::kerberos::log_in;
use super::realm::Realm;
use super::site::{Got, PASSWORD, Site, add_user, folder};
use super::slapd::{self, Slapd};
use crate::support::said;

pub(super) const COUNT: &str = "SELECT count(*) AS n FROM visits";
const KEEP: u64 = 2;

fn item(group: &str, more: Value) -> Value {
    let mut item = json!({ "accesses": [{ "type": "select", "isAllowed": true }], "groups": [group] });
    if let (Some(item), Value::Object(more)) = (item.as_object_mut(), more) {
        item.extend(more);
    }
    item
}

/// Readers see visits; of those in the ward ten, of other readers a hundred.
pub(super) fn policies() -> Value {
    let resources = |columns: bool| {
        let mut all = json!({ "database": { "values": ["cordon"] }, "table": { "values": ["visits"] } });
        if columns {
            all["column"] = json!({ "values": ["points", "code"] });
        }
        all
    };
    let rows = |filter: &str| json!({ "rowFilterInfo": { "filterExpr": filter } });
    json!({ "serviceName": "clinic", "policyVersion": 1, "policies": [
        { "id": 1, "name": "visits", "policyType": 0, "resources": resources(true), "policyItems": [item("readers", json!({}))] },
        { "id": 2, "name": "rows", "policyType": 2, "resources": resources(false),
          "rowFilterPolicyItems": [item("ward", rows("points < 10")), item("readers", rows("points < 100"))] },
    ] })
}

fn site(realm: &Realm, directory: &Slapd) -> Option<Site> {
    let project = folder("");
    project.access("access:\n  ranger: { service: clinic, policies: ranger/policies.json }\n");
    project.write("ranger/policies.json", policies().to_string());
    let log_in = format!(
        "{}
    directory:
      url: ldaps://localhost:{}
      ca-file: {}
      bind: uid=cordon,ou=services,dc=clinic,dc=example
      users: ou=people,dc=clinic,dc=example
      groups: ou=groups,dc=clinic,dc=example
      keep-seconds: {KEEP}
      timeout-seconds: 3
    directory-for: [kerberos, passwords]",
        log_in(realm, ", postgres-service: postgres"),
        directory.port,
        directory.path("ca.pem").display()
    );
    let site = Site::start_with(project, &log_in, "", &[("CORDON_LDAP_PASSWORD", slapd::PASSWORD)])?;
    for user in ["bob", "carl", "eve"] {
        add_user(&site.folder, user, &format!("{PASSWORD} of {user}"));
    }
    Some(site)
}

/// By a ticket, over HTTP.
fn by_ticket(realm: &Realm, site: &Site, user: &str) -> Got {
    realm.ticket(user, &format!("{user}.keytab"), "5m");
    let token = data_encoding::BASE64.encode(&realm.token().unwrap());
    let question = json!({ "sql": COUNT, "purpose": "treatment" });
    site.ask_as(&["-H", &format!("Authorization: Negotiate {token}")], &question, &[])
}

/// A group without one member. `groupOfNames` keeps another.
fn without(group: &str, member: &str) -> String {
    format!(
        "dn: cn={group},ou=groups,dc=clinic,dc=example\nchangetype: modify\nadd: member\nmember: \
         uid=not-there,ou=people,dc=clinic,dc=example\n-\ndelete: member\nmember: {member},dc=clinic,dc=example\n-\n"
    )
}

#[test]
fn groups_in_groups_decide_about_rows_and_a_directory_that_is_down_lets_nobody_in() {
    let Some(realm) = Realm::start() else { return };
    let Some(mut directory) = Slapd::start(&slapd::entries()) else { return };
    let Some(site) = site(&realm, &directory) else { return };
    // The ward is in the clinicians, and those in the readers.
    assert_eq!(by_ticket(&realm, &site, "ada").is(200).lines(), [json!({ "n": 10 })]);
    assert_eq!(by_ticket(&realm, &site, "bob").is(200).lines(), [json!({ "n": 100 })]);
    assert_eq!(site.ask("bob", COUNT, "treatment").is(200).lines(), [json!({ "n": 100 })]);
    let groups = site.get("bob", "/v1/policies?purpose=treatment").is(200).json()["groups"].clone();
    assert_eq!(groups, json!(["clinicians", "readers"]));
    site.ask("carl", COUNT, "treatment").is(403);
    // With a password and not below the place where people are.
    site.get("eve", "/v1/status").is(401);
    let place = format!(
        "host=localhost port={} user=bob dbname=cordon gssencmode=disable sslmode=verify-full sslrootcert={}",
        site.postgres,
        site.pki.path("ca.pem")
    );
    let psql = || {
        realm.ticket("bob", "bob.keytab", "5m");
        let mut psql = realm.command("psql");
        psql.args(["-X", "-A", "-t", "-w", "-d", &place, "-c", COUNT]).env("PGOPTIONS", "-c cordon.purpose=treatment");
        said(psql.output().unwrap())
    };
    assert_eq!(psql().ok().out, "100\n");

    directory.stop();
    let down = Instant::now();
    sleep(Duration::from_secs(KEEP + 1));
    let refused = by_ticket(&realm, &site, "ada").is(503);
    assert!(
        refused.header("retry-after").is_some() && refused.body.contains("cannot be asked now"),
        "{}",
        refused.body
    );
    let refused = psql();
    assert!(refused.code != 0 && refused.err.contains("cannot be asked now"), "{}", refused.err);
    // A session of before holds for a while and is over then.
    site.until("the session ends", 3 * KEEP + 10, |site| site.get("bob", "/v1/status").status == 503);
    assert!(down.elapsed() > Duration::from_secs(KEEP));
    directory.resume();
    assert_eq!(by_ticket(&realm, &site, "ada").is(200).lines(), [json!({ "n": 10 })]);
    assert_eq!(site.ask("bob", COUNT, "treatment").is(200).lines(), [json!({ "n": 100 })]);
    assert_eq!(psql().ok().out, "100\n");
    let failed = site.folder.audit("log_in_failed");
    for (principal, what) in [("ada", "the directory cannot be asked"), ("eve", "not in the directory")] {
        assert!(failed.iter().any(|event| event["what"] == what && event["principal"] == principal), "{failed:?}");
    }
}

#[test]
fn a_group_that_is_taken_away_cuts_what_runs() {
    let Some(realm) = Realm::start() else { return };
    let Some(mut directory) = Slapd::start(&slapd::entries()) else { return };
    let Some(site) = site(&realm, &directory) else { return };
    assert_eq!(by_ticket(&realm, &site, "ada").is(200).lines(), [json!({ "n": 10 })]);
    // A hundred million rows, which a slow client takes for minutes.
    let question =
        json!({ "sql": "SELECT a.points FROM visits a, visits b, visits c, visits d", "purpose": "treatment" })
            .to_string();
    let running = Command::new("curl")
        .args(["-sS", "--noproxy", "*", "--limit-rate", "400K", "--cacert", &site.pki.path("ca.pem")])
        .args(["-u", &format!("bob:{PASSWORD} of bob"), "-H", "content-type: application/json", "-d", &question])
        .arg(site.url("/v1/query"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    site.until("the query runs", 20, |site| {
        site.count("cordon_queries_running") == 1 && site.count("cordon_rows_total") > 100
    });
    directory.change(&without("clinicians", "uid=bob,ou=people"));
    site.until("the query is cut", 2 * KEEP + 20, |site| site.count("cordon_queries_running") == 0);
    // What is on the way to the client comes there still.
    let cut = running.wait_with_output().unwrap();
    assert!(!cut.status.success(), "the answer is not taken for all");
    site.until("he sees nothing any more", 10, |site| site.ask("bob", COUNT, "treatment").status == 403);
    assert_eq!(by_ticket(&realm, &site, "ada").is(200).lines(), [json!({ "n": 10 })]);
    // The group in between: who was in it through another is out as well.
    directory.change(&without("readers", "cn=clinicians,ou=groups"));
    site.until("nor does she", KEEP + 10, |site| by_ticket(&realm, site, "ada").status == 403);
}
