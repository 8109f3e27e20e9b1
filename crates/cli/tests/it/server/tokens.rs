//! Turning tokens back over HTTP: two persons, who are those that logged in.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::site::{Got, PASSWORD, Site, add_user, folder};

const CANARY: &str = "p7";
const WHY: &str = "a patient's own request";

/// As in the site's project, with two who may ask and two who may approve; `pia` both.
fn site() -> Option<Site> {
    let project = folder("");
    let config = project.read("cordon.yaml");
    let config = config.replace(
        "  users:\n",
        "    - name: privacy
      actions:
        - { allow: [reveal], purposes: [treatment] }
    - name: compliance
      actions:
        - { allow: [approve-reveal], purposes: [treatment] }
  users:
    - { name: pia, roles: [privacy, compliance] }
    - { name: otto, roles: [privacy] }
    - { name: cora, roles: [compliance] }
    - { name: carl, roles: [compliance] }
",
    );
    project.write("cordon.yaml", config);
    let site = Site::start_in(project, "", "")?;
    for user in ["pia", "otto", "cora", "carl"] {
        add_user(&site.folder, user, &format!("{PASSWORD} of {user}"));
    }
    Some(site)
}

fn post(site: &Site, user: &str, path: &str, body: &Value) -> Got {
    let (credential, text) = (format!("{user}:{PASSWORD} of {user}"), body.to_string());
    site.curl(&["-u", &credential, "-H", "content-type: application/json", "-d", &text, &site.url(path)])
}

fn token(site: &Site, patient: usize) -> String {
    // Visits are in the order of the file.
    let sql = format!("SELECT patient FROM visits WHERE points = {patient}");
    site.ask("engineer", &sql, "operations").is(200).lines()[0]["patient"].as_str().unwrap().to_owned()
}

fn new(tokens: &[&str]) -> Value {
    json!({ "domain": "patient", "tokens": tokens, "purpose": "treatment", "reason": WHY })
}

fn asked(site: &Site, user: &str, body: &Value) -> String {
    post(site, user, "/v1/tokens", body).is(200).json()["request"].as_str().unwrap().to_owned()
}

fn decide(site: &Site, user: &str, id: &str, verb: &str) -> Got {
    post(site, user, &format!("/v1/tokens/{id}/{verb}"), &json!({ "reason": "checked with the ward" }))
}

fn reveal(site: &Site, user: &str, id: &str) -> Got {
    post(site, user, &format!("/v1/tokens/{id}/reveal"), &json!({}))
}

/// Nothing of it, and no entry of a reveal.
#[track_caller]
fn refused(site: &Site, got: Got, status: u16) -> String {
    let got = got.is(status);
    assert_eq!(got.header("cache-control"), Some("no-store"));
    assert!(!got.body.contains(CANARY) && site.folder.audit("token_revealed").is_empty(), "{}", got.body);
    got.body
}

#[test]
fn one_asks_another_approves_and_nobody_else_sees_it() {
    let Some(site) = site() else { return };
    let (seven, eight) = (token(&site, 7), token(&site, 8));
    let url = site.url("/v1/tokens");
    for credential in [&["-u", "pia:wrong"][..], &[]] {
        let body = new(&[&seven]).to_string();
        let args = [credential, &["-H", "content-type: application/json", "-d", &body, &url]].concat();
        refused(&site, site.curl(&args), 401);
    }
    assert!(site.folder.audit("token_requested").is_empty());
    for (user, body, status) in [
        ("ana", new(&[&seven]), 403),
        ("cora", new(&[&seven]), 403),
        ("pia", json!({ "domain": "patient", "tokens": [&seven], "purpose": "research", "reason": WHY }), 403),
        ("pia", json!({ "domain": "patient", "tokens": [&seven], "purpose": "curiosity", "reason": WHY }), 400),
        ("pia", json!({ "domain": "patient", "tokens": [&seven], "reason": WHY }), 400),
        ("pia", json!({ "domain": "patient", "tokens": [&seven], "purpose": "treatment", "reason": "why" }), 400),
        ("pia", json!({ "domain": "patient", "tokens": [&seven], "purpose": "treatment" }), 400),
        ("pia", json!({ "tokens": [&seven], "purpose": "treatment", "reason": WHY }), 400),
        ("pia", new(&[]), 400),
        ("pia", new(&[CANARY]), 400),
        (
            "pia",
            json!({ "domain": "patient", "tokens": [&seven], "purpose": "treatment", "reason": WHY, "by": "cora" }),
            400,
        ),
        (
            "pia",
            json!({ "domain": "patient", "tokens": [&seven], "purpose": "treatment", "reason": WHY, "lifetime": "31d" }),
            400,
        ),
        (
            "pia",
            json!({ "domain": "patient", "tokens": [&seven], "purpose": "treatment", "reason": WHY, "times": 0 }),
            400,
        ),
    ] {
        refused(&site, post(&site, user, "/v1/tokens", &body), status);
    }
    let id = asked(&site, "pia", &new(&[&seven, &eight, &seven]));
    assert!(refused(&site, reveal(&site, "pia", &id), 409).contains("not approved yet"));
    // Who asks is not the second person, whatever else they may; who has no part in it cannot tell it from none.
    assert!(refused(&site, decide(&site, "pia", &id, "approve"), 403).contains("who asks cannot approve"));
    let absent = refused(&site, decide(&site, "ana", "aaaaaaaaaaaaaaaa", "approve"), 404);
    for user in ["ana", "otto", "engineer"] {
        assert_eq!(refused(&site, decide(&site, user, &id, "approve"), 404), absent);
        assert_eq!(refused(&site, site.get(user, &format!("/v1/tokens/{id}")), 404), absent);
        assert_eq!(refused(&site, reveal(&site, user, &id), 404), absent);
        assert_eq!(site.get(user, "/v1/tokens").is(200).json(), json!([]));
    }
    let approved = decide(&site, "cora", &id, "approve").is(200).json();
    assert_eq!((&approved["state"], &approved["approvals"][0]["by"]), (&json!("approved"), &json!("cora")));
    refused(&site, decide(&site, "carl", &id, "approve"), 409);
    for user in ["cora", "carl", "otto"] {
        refused(&site, reveal(&site, user, &id), 404);
    }
    let other = token(&site, 9);
    let path = format!("/v1/tokens/{id}/reveal");
    refused(&site, post(&site, "pia", &path, &json!({ "tokens": [other] })), 403);

    let got = reveal(&site, "pia", &id).is(200);
    assert_eq!(got.header("cache-control"), Some("no-store"));
    assert_eq!(
        got.json(),
        json!({ "request": id, "tokens": [{ "token": seven, "values": [CANARY] }, { "token": eight, "values": ["p8"] }] })
    );
    let only = post(&site, "pia", &path, &json!({ "tokens": [eight] })).is(200).json();
    assert_eq!(only["tokens"], json!([{ "token": eight, "values": ["p8"] }]));
    let shown = site.get("cora", &format!("/v1/tokens/{id}")).is(200).json();
    assert_eq!((&shown["revealed"], &shown["tokens"]), (&json!(3), &json!([seven, eight])));
    // The command says the same of it, and goes on where this began.
    let by_command = site.folder.cordon(&["token", "show", &id, "--as", "cora", "--format", "json"]).ok().json();
    assert_eq!(by_command, shown);
    let list = site.get("pia", "/v1/tokens").is(200).json();
    assert!(list[0]["request"] == json!(id) && list[0].get("tokens").is_none(), "{list}");

    let revoked = decide(&site, "cora", &id, "revoke").is(200).json();
    assert_eq!(revoked["state"], "revoked");
    let after = reveal(&site, "pia", &id).is(409);
    assert!(!after.body.contains(CANARY));
    for (path, status) in [("/v1/tokens/", 404), ("/v1/tokens/x/y/z", 404), ("/v1/tokensx", 404)] {
        site.get("pia", path).is(status);
    }
    site.get("pia", &format!("/v1/tokens/{id}/reveal")).is(405);
    site.get("pia", "/v1/tokens?as=cora").is(400);
    let pia = format!("pia:{PASSWORD} of pia");
    let url = site.url(&path);
    site.curl(&["-u", &pia, "-H", "content-type: text/plain", "-d", "{}", &url]).is(415);

    let log = std::fs::read_to_string(site.folder.dir.path().join("server.log")).unwrap();
    let said = format!("{log}{}", site.metrics());
    for word in [CANARY, &seven, WHY] {
        assert!(!said.contains(word), "{word}");
    }
    let (folder, _) = site.stop();
    let revealed = folder.audit("token_revealed");
    assert_eq!(revealed.len(), 3);
    assert!(revealed.iter().all(|event| event["principal"] == "pia" && event["purpose"] == "treatment"));
    let approved = folder.audit("request_approved");
    assert!(approved.len() == 1 && approved[0]["principal"] == "cora", "{approved:?}");
    assert!(
        folder.audit("access_denied").iter().any(|event| event["dataset"].as_str().unwrap().ends_with("own request"))
    );
    folder.cordon(&["audit", "verify"]).ok();
}

#[test]
fn an_approval_ends_by_its_time_by_its_count_and_with_the_right() {
    let Some(site) = site() else { return };
    let seven = token(&site, 7);
    let mut short = new(&[&seven]);
    short["lifetime"] = json!("2s");
    let id = asked(&site, "pia", &short);
    decide(&site, "cora", &id, "approve").is(200);
    sleep(Duration::from_secs(3));
    assert!(refused(&site, reveal(&site, "pia", &id), 409).contains("expired"));

    let rejected = asked(&site, "pia", &new(&[&seven]));
    decide(&site, "cora", &rejected, "reject").is(200);
    refused(&site, decide(&site, "carl", &rejected, "approve"), 409);
    refused(&site, reveal(&site, "pia", &rejected), 409);

    let mut once = new(&[&seven]);
    once["times"] = json!(1);
    let id = asked(&site, "otto", &once);
    decide(&site, "pia", &id, "approve").is(200);
    assert_eq!(reveal(&site, "otto", &id).is(200).json()["tokens"][0]["values"], json!([CANARY]));
    let spent = reveal(&site, "otto", &id).is(409);
    assert!(!spent.body.contains(CANARY) && spent.body.contains("as often as"), "{}", spent.body);

    // A right that is taken back closes what was approved, also in a session that is open.
    let id = asked(&site, "otto", &new(&[&seven]));
    decide(&site, "cora", &id, "approve").is(200);
    let config = site
        .folder
        .read("cordon.yaml")
        .replace("{ name: otto, roles: [privacy] }", "{ name: otto, roles: [research] }");
    site.folder.write("cordon.yaml", config);
    let begun = Instant::now();
    while reveal(&site, "otto", &id).status != 403 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the right holds on");
        sleep(Duration::from_millis(200));
    }
}
