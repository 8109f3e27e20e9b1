//! HTTP: log-in by password and by certificate, forms of answers, refusals.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::site::{PASSWORD, Site, add_user, client_certificate, folder, serve};
use crate::servers::output;

#[test]
fn a_server_without_a_way_to_log_in_does_not_start() {
    let project = folder("");
    let said = project.cordon(&["serve"]).exits(2);
    assert!(said.err.contains("nobody could log in"), "{}", said.err);
    let project = folder("server: { http: '127.0.0.1:0' }");
    let said = project.cordon(&["serve"]).exits(2);
    assert!(said.err.contains("no way to log in"), "{}", said.err);
    let project = folder("server: { http: '0.0.0.0:0', log-in: { local-users: { file: users.yaml } } }");
    let said = project.cordon(&["serve"]).exits(2);
    assert!(said.err.contains("without TLS"), "{}", said.err);
}

#[test]
fn who_logs_in_gets_rows_in_the_form_that_is_asked_for_and_nothing_that_is_not_granted() {
    let Some(site) = Site::start("", "    rows: 300") else { return };
    let count = "SELECT count(*) AS n FROM visits";
    assert_eq!(site.ask("ana", count, "research").is(200).lines(), [json!({ "n": 400 })]);

    let ana = format!("ana:{PASSWORD} of ana");
    let form = |kind: &str| {
        let question =
            json!({ "sql": "SELECT code, points FROM visits ORDER BY points LIMIT 2", "purpose": "research" });
        site.ask_as(&["-u", &ana], &question, &["-H", &format!("accept: {kind}")])
    };
    assert_eq!(form("text/csv").is(200).body, "code,points\nE00,0\nE01,1\n");
    let rows = json!([{ "code": "E00", "points": 0 }, { "code": "E01", "points": 1 }]);
    assert_eq!(form("application/json").is(200).json(), rows);
    let arrow = form("application/vnd.apache.arrow.stream").is(200);
    assert_eq!(arrow.header("content-type"), Some("application/vnd.apache.arrow.stream"));
    form("text/html").is(406);
    // An empty answer is one.
    let none = json!({ "sql": "SELECT code FROM visits WHERE false", "purpose": "research" });
    assert_eq!(site.ask_as(&["-u", &ana], &none, &["-H", "accept: application/json"]).is(200).body, "[]");

    let with = |parameters| {
        let question = json!({
            "sql": "SELECT count(*) AS n FROM visits WHERE code = $1 AND points < $2", "purpose": "research",
            "parameters": parameters,
        });
        site.ask_as(&["-u", &ana], &question, &[])
    };
    assert_eq!(with(json!(["E00", 100])).is(200).lines(), [json!({ "n": 5 })]);
    assert_eq!(with(json!(["' OR true --", 100])).is(200).lines(), [json!({ "n": 0 })]);
    with(json!(["E00"])).is(400);
    with(json!(["E00", {}])).is(400);

    for (sql, status) in [
        ("SELECT patient FROM visits", 400),
        ("SELECT * FROM costs", 404),
        ("DROP TABLE visits", 403),
        ("SELECT 1; SELECT 2", 403),
        ("SELEC 1", 400),
        ("SELECT points / 0 FROM visits", 422),
        // More rows than an answer may have.
        ("SELECT points FROM visits", 422),
    ] {
        site.ask("ana", sql, "research").is(status);
    }
    site.ask("ana", count, "operations").is(403);
    site.ask("ana", count, "curiosity").is(400);
    site.ask_as(&["-u", &ana], &json!({ "sql": count }), &[]).is(400);

    // No answer that a browser would keep, show, or hand to a page.
    let got = site.get("ana", "/v1/status").is(200);
    assert_eq!(got.header("cache-control"), Some("no-store"));
    assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
    assert!(got.header("strict-transport-security").is_some() && got.header("content-security-policy").is_some());
    assert!(got.header("server").is_none() && got.header("access-control-allow-origin").is_none());
    assert_eq!(got.json()["principal"], "ana");

    let tables = site.get("ana", "/v1/tables?purpose=research").is(200).json();
    assert_eq!(tables.as_array().unwrap().len(), 1, "{tables}");
    assert!(!tables.to_string().contains("patient"));
    let mine = site.get("ana", "/v1/policies?purpose=research").is(200).json();
    assert_eq!(mine["tables"][0]["columns"], json!(["day", "code", "points"]));
    site.get("ana", "/v1/tables").is(400);
    site.get("ana", "/v1/tables?purpose=research&purpose=operations").is(400);

    // The record is for who may read it.
    site.get("ana", "/v1/audit?purpose=research").is(403);
    let entries = site.get("ida", "/v1/audit?purpose=oversight&kind=query_started&last=5").is(200).json();
    assert!(entries.as_array().unwrap().iter().all(|entry| entry["event"]["principal"] == "ana"), "{entries}");
    site.get("ida", "/v1/audit?purpose=oversight&kind=moon_landed").is(400);

    site.get("ana", "/nowhere").is(404);
    site.get("ana", "/v1/query").is(405);
    let url = site.url("/v1/query");
    site.curl(&["-u", &ana, "-H", "content-type: text/plain", "-d", "{}", &url]).is(415);
    let large = format!("{{\"sql\":\"{}\"}}", "x".repeat(2 << 20));
    let file = site.folder.dir.path().join("large.json");
    fs::write(&file, large).unwrap();
    site.curl(&["-u", &ana, "-H", "content-type: application/json", "-d", &format!("@{}", file.display()), &url])
        .is(413);

    let (folder, code) = site.stop();
    assert_eq!(code, 0);
    let logged_in = folder.audit("logged_in");
    assert_eq!(logged_in.iter().filter(|event| event["principal"] == "ana").count(), 1, "one session, many requests");
    assert_eq!(logged_in[0]["client"], "127.0.0.1");
    assert!(folder.audit("query_finished").iter().any(|event| event["rows"] == 2));
    let denied = folder.audit("access_denied");
    assert!(denied.iter().any(|event| event["dataset"] == "costs"));
    // A question that is not well put is no denial: of `visits` there are those of a column that is hidden, and of what is no question.
    let of_visits = denied.iter().filter(|event| event["dataset"] == "visits");
    assert_eq!(of_visits.filter(|event| event["columns"] == json!(["code", "points"])).count(), 0, "{denied:?}");
    assert!(folder.audit("query_failed").iter().any(|event| event["what"] == "not a valid query"));
    assert!(folder.audit("query_failed").iter().any(|event| event["what"] == "too many rows"));
}

#[test]
fn who_does_not_know_the_password_is_on_the_record_and_waits() {
    let Some(site) = Site::start("", "") else { return };
    let status = site.url("/v1/status");
    assert_eq!(
        site.curl(&[&status]).is(401).header("www-authenticate"),
        Some("Basic realm=\"cordon\", charset=\"UTF-8\"")
    );
    for credential in ["ana:wrong", "nobody-here:canary-password-4711"] {
        site.curl(&["-u", credential, &status]).is(401);
    }
    for header in
        ["Authorization: Basic !!!!", "Authorization: Basic", "Authorization: Digest x", "Authorization: Bearer abc"]
    {
        site.curl(&["-H", header, &status]).is(401);
    }
    let mut throttled = None;
    for _ in 0..8 {
        let got = site.curl(&["-u", "ana:still wrong", &status]);
        if got.status == 429 {
            throttled = Some(got);
            break;
        }
        got.is(401);
    }
    let throttled = throttled.expect("guesses are slowed down");
    assert!(throttled.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    // Not even with the password, while it lasts; another is not kept waiting.
    site.get("ben", "/v1/status").is(200);
    let failed = site.folder.audit("log_in_failed");
    assert!(failed.iter().any(|event| event["principal"] == "ana" && event["method"] == "password"));
    assert!(failed.iter().any(|event| event["principal"].is_null()));
    let all = format!("{}{failed:?}", site.metrics());
    for secret in ["canary-password-4711", "nobody-here", "still wrong", "ana\""] {
        assert!(!site.metrics().contains(secret) && (secret == "ana\"" || !all.contains(secret)), "{secret}");
    }
}

#[test]
fn a_session_ends_when_its_user_is_removed_changed_or_denied() {
    let project = folder("");
    project.write("denied.yaml", "{}");
    let Some(site) = Site::start_in(project, "    denied: denied.yaml", "") else { return };
    for user in ["ana", "ben", "engineer"] {
        site.get(user, "/v1/status").is(200);
    }
    site.folder.cordon(&["serve", "user", "remove", "ana"]).ok();
    site.get("ana", "/v1/status").is(401);
    add_user(&site.folder, "ben", "another sentence of his");
    site.get("ben", "/v1/status").is(401);
    site.folder.write("denied.yaml", "principals: [engineer]");
    site.until("the list is read again", 10, |site| site.get("engineer", "/v1/status").status == 401);
    // A list that cannot be read may name anybody.
    site.folder.write("denied.yaml", "principals: engineer: [");
    site.until("a broken list denies", 10, |site| site.get("ida", "/v1/status").status == 401);
    let changed = site.folder.audit("local_user_changed");
    assert!(changed.iter().any(|event| event["user"] == "ana" && event["what"] == "removed"), "{changed:?}");
}

#[test]
fn a_hangup_has_files_read_again_at_once_whatever_their_times_say() {
    let project = folder("");
    project.write("denied.yaml", "principals: [none]");
    let Some(site) = Site::start_in(project, "    denied: denied.yaml", "") else { return };
    let log = site.folder.dir.path().join("server.log");
    let told = || fs::read_to_string(&log).unwrap();
    for user in ["ana", "ben"] {
        site.get(user, "/v1/status").is(200);
    }
    // The same length and the same time as before: only whoever reads it sees that it is another.
    let denied = site.folder.path().join("denied.yaml");
    let time = fs::metadata(&denied).unwrap().modified().unwrap();
    fs::write(&denied, "principals: [ana ]").unwrap();
    fs::File::options().append(true).open(&denied).unwrap().set_modified(time).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    site.get("ana", "/v1/status").is(200);
    site.running.signal("-HUP");
    site.until("the denied are read again", 10, |site| site.get("ana", "/v1/status").status == 401);
    site.get("ben", "/v1/status").is(200);
    site.until("the operator is told", 10, |_| told().contains("the rules were read again"));
    assert!(told().contains("certificates were read again"), "{}", told());
    // What cannot be read is told, and the process goes on.
    site.folder.write("cordon.yaml", "access: [");
    site.running.signal("-HUP");
    site.until("the operator is told of it", 10, |_| told().contains("the rules cannot be read"));
    site.get("ben", "/healthz").is(200);
}

#[test]
fn certificates_say_who_it_is_and_those_of_others_are_refused() {
    let project = folder("");
    project.write("denied.yaml", "{}");
    let dir = project.dir.path().join("pki");
    let log_in = format!(
        "    denied: denied.yaml\n    certificates: {{ ca-file: {0}/clients.pem, crl-file: {0}/clients.crl, principal: email }}",
        dir.display()
    );
    // The authority of clients is another than that of the server, and exists before the server starts.
    fs::create_dir_all(&dir).unwrap();
    let Some(pki) = crate::servers::Pki::make(&dir) else { return };
    pki.authority("clients");
    pki.authority("strangers");
    let ana = client_certificate(&pki, "clients", "ana", "/CN=x", "subjectAltName=email:ana");
    let gone = client_certificate(&pki, "clients", "gone", "/CN=x", "subjectAltName=email:ben");
    let nameless = client_certificate(&pki, "clients", "nameless", "/CN=ana", "");
    let two = client_certificate(&pki, "clients", "two", "/CN=x", "subjectAltName=email:ana,email:ben");
    let strange = client_certificate(&pki, "strangers", "strange", "/CN=x", "subjectAltName=email:ana");
    fs::write(dir.join("index.txt"), "").unwrap();
    fs::write(dir.join("crlnumber"), "01\n").unwrap();
    fs::write(
        dir.join("ca.cnf"),
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\ndefault_crl_days=2\n",
    )
    .unwrap();
    let ca = |args: &[&str]| {
        let keys = ["ca", "-config", "ca.cnf", "-cert", "clients.pem", "-keyfile", "clients.key"];
        drop(output(Command::new("openssl").args(keys).args(args).current_dir(&dir)));
    };
    ca(&["-revoke", "gone.pem"]);
    ca(&["-gencrl", "-out", "clients.crl"]);
    let Some(site) = Site::start_in(project, &log_in, "") else { return };
    let with = |[pem, key]: &[std::path::PathBuf; 2]| {
        site.curl(&["--cert", pem.to_str().unwrap(), "--key", key.to_str().unwrap(), &site.url("/v1/status")])
    };
    assert_eq!(with(&ana).is(200).json()["method"], "client certificate");
    for wrong in [&gone, &strange] {
        let got = with(wrong);
        assert!(got.status == 0 && got.curl != 0, "the handshake fails: {} {}", got.status, got.headers);
    }
    with(&nameless).is(401);
    with(&two).is(401);
    // Passwords do beside certificates, and nobody without either.
    site.get("ben", "/v1/status").is(200);
    site.curl(&[&site.url("/v1/status")]).is(401);
    let print = output(Command::new("openssl").args([
        "x509",
        "-in",
        ana[0].to_str().unwrap(),
        "-noout",
        "-fingerprint",
        "-sha256",
    ]));
    site.folder.write("denied.yaml", format!("certificates: [\"{}\"]", print.trim().split_once('=').unwrap().1));
    site.until("a certificate on the list", 10, |_| with(&ana).status == 401);
    let failed = site.folder.audit("log_in_failed");
    assert!(
        failed
            .iter()
            .any(|event| event["method"] == "client certificate" && event["what"] == "on the list of the denied")
    );
}

#[test]
fn tls_is_new_enough_and_its_certificate_is_read_again() {
    let Some(site) = Site::start("", "") else { return };
    let at = format!("127.0.0.1:{}", site.http);
    for old in ["-tls1", "-tls1_1"] {
        let out = Command::new("openssl")
            .args(["s_client", "-connect", &at, old, "-cipher", "ALL:@SECLEVEL=0"])
            .output()
            .unwrap();
        assert!(!out.status.success(), "{old} was taken");
    }
    let serial = || {
        let shell = format!("openssl s_client -connect {at} </dev/null 2>/dev/null | openssl x509 -noout -serial");
        output(Command::new("sh").args(["-c", &shell]))
    };
    let before = serial();
    // What cannot be used leaves the old one in place.
    let (pem, key) = (site.pki.dir.join("server.pem"), site.pki.dir.join("server.key"));
    let good = fs::read(&key).unwrap();
    fs::write(&key, "not a key").unwrap();
    let log = site.folder.dir.path().join("server.log");
    site.until("the operator is told", 15, |_| fs::read_to_string(&log).unwrap().contains("cannot be used"));
    assert_eq!(serial(), before);
    fs::write(&key, good).unwrap();
    let [new, new_key] = client_certificate(
        &site.pki,
        "ca",
        "next",
        "/CN=next",
        "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth",
    );
    fs::copy(new_key, &key).unwrap();
    fs::copy(new, &pem).unwrap();
    site.until("the new certificate", 15, |_| serial() != before);
    site.get("ana", "/v1/status").is(200);
    // HTTP/1.1 as well as HTTP/2, and nothing in clear.
    for version in ["--http1.1", "--http2"] {
        site.curl(&[version, &site.url("/healthz")]).is(200);
    }
    let plain = site.curl(&[&format!("http://{at}/healthz")]);
    assert_eq!(plain.status, 0);
}

#[test]
fn without_tls_it_serves_this_machine_and_tells_probes() {
    let project = folder("server:\n  http: 127.0.0.1:0\n  log-in: { local-users: { file: .cordon/users.yaml } }");
    add_user(&project, "ana", &format!("{PASSWORD} of ana"));
    let (_running, [http, postgres, _]) = serve(&project);
    assert_eq!(postgres, 0);
    let curl = |path: &str, more: &[&str]| {
        let url = format!("http://127.0.0.1:{http}{path}");
        super::site::got(
            Command::new("curl")
                .args(["-sS", "--noproxy", "*", "-D", "/dev/stderr"])
                .args(more)
                .arg(url)
                .output()
                .unwrap(),
        )
    };
    curl("/healthz", &[]).is(200);
    curl("/readyz", &[]).is(200);
    let described = curl("/openapi.json", &[]).is(200);
    let checked_in = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    if std::env::var_os("CORDON_UPDATE").is_some() {
        fs::write(checked_in, format!("{}\n", described.body)).unwrap();
    }
    assert_eq!(
        fs::read_to_string(checked_in).unwrap_or_default().trim_end(),
        described.body,
        "CORDON_UPDATE=1 writes it"
    );
    curl("/metrics", &[]).is(404);
    let got = curl("/v1/status", &["-u", &format!("ana:{PASSWORD} of ana")]).is(200);
    assert!(got.header("strict-transport-security").is_none());
    curl("/v1/status", &[]).is(401);
}
