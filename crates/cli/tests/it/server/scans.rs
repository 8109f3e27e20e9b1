//! What those who look for holes use: testssl.sh and sslyze at the sockets, schemathesis at the API. A finding fails the test unless it is
//! listed here with its reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::site::{PASSWORD, Site};
use crate::servers::absent;

const OPENAPI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

/// A program of the environment that `cargo xtask test` makes for scanners.
fn scanner(site: &Site, program: &str) -> Option<Command> {
    let python = std::env::var("CORDON_TEST_SCANNERS").unwrap_or_default();
    let found = Path::new(&python).with_file_name(program);
    if python.is_empty() || !found.is_file() {
        return absent(program);
    }
    let mut command = Command::new(found);
    command.current_dir(site.folder.dir.path()).env("NO_PROXY", "*").env_remove("REQUESTS_CA_BUNDLE");
    Some(command)
}

/// What testssl.sh holds against the tests' own certificates, or did not look at. All else from LOW up is a finding.
const EXPECTED: [(&str, &str); 5] = [
    ("cert_expirationStatus", "the certificate of a test lasts two days"),
    ("cert_notAfter", "the same"),
    ("cert_revocation", "a private authority, in the tests as in hospitals, names no place for lists or OCSP"),
    ("engine_problem", "of the scanner's OpenSSL"),
    ("RC4", "the scanner's OpenSSL has no RC4 to try; the lists of ciphers below are told over sockets"),
];

/// The findings of testssl.sh by their names, once none is left that nobody expected.
fn testssl(site: &Site, port: u16, args: &[&str]) -> Option<Vec<Value>> {
    if Command::new("testssl").arg("--version").output().is_err() {
        return absent("testssl.sh");
    }
    let told = site.folder.dir.path().join(format!("testssl-{port}.json"));
    let mut command = Command::new("testssl");
    command.args(["--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--fast"]).args(args);
    command.args(["--add-ca", &site.pki.path("ca.pem"), "--jsonfile"]).arg(&told).arg(format!("127.0.0.1:{port}"));
    let out = command.output().unwrap();
    let text = fs::read_to_string(&told).unwrap_or_default();
    let found: Vec<Value> =
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}\n{}", String::from_utf8_lossy(&out.stdout)));
    let unexpected: Vec<&Value> = found
        .iter()
        .filter(|finding| !["OK", "INFO"].contains(&finding["severity"].as_str().unwrap()))
        .filter(|finding| !EXPECTED.iter().any(|(id, _)| finding["id"] == *id))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    Some(found)
}

/// That the scan reached what it is about: each of these was looked at, and found to be so.
#[track_caller]
fn all_said(found: &[Value], expected: &[(&str, &str)]) {
    for (id, says) in expected {
        let finding = found.iter().find(|finding| finding["id"] == *id);
        let finding = finding.unwrap_or_else(|| panic!("{id} was not looked at"))["finding"].as_str().unwrap();
        assert!(finding.contains(says), "{id}: {finding}");
    }
}

const OF_TLS: [(&str, &str); 14] = [
    ("SSLv2", "not offered"),
    ("SSLv3", "not offered"),
    ("TLS1", "not offered"),
    ("TLS1_1", "not offered"),
    ("TLS1_2", "offered"),
    ("TLS1_3", "offered"),
    ("cipherlist_aNULL", "not offered"),
    ("cipherlist_AVERAGE", "not offered"),
    ("cipherlist_STRONG", "offered"),
    ("PFS", "offered"),
    ("cipher_order", "server"),
    ("sessionresumption_ID", "no resumption"),
    ("sessionresumption_ticket", "not supported"),
    ("CRIME_TLS", "not vulnerable"),
];

#[test]
fn testssl_finds_nothing_over_http() {
    let Some(site) = Site::start("", "") else { return };
    let parts = ["-p", "-s", "-f", "-P", "-S", "-h", "-R", "-C", "-W", "-Z", "-L"];
    let Some(found) = testssl(&site, site.http, &parts) else { return };
    all_said(&found, &OF_TLS);
    all_said(&found, &[("HSTS_time", "730"), ("X-Frame-Options", "DENY"), ("X-Content-Type-Options", "nosniff")]);
    all_said(&found, &[("secure_client_renego", "not vulnerable"), ("secure_renego", "supported")]);
    all_said(&found, &[("ALPN_HTTP2", "h2"), ("cookie_count", "0"), ("Referrer-Policy", "no-referrer")]);
}

#[test]
fn testssl_finds_nothing_behind_the_start_of_tls_for_postgresql() {
    let Some(site) = Site::start("", "") else { return };
    let parts = ["-t", "postgres", "-p", "-s", "-f", "-P", "-S", "-C"];
    let Some(found) = testssl(&site, site.postgres, &parts) else { return };
    all_said(&found, &OF_TLS);
}

/// What sslyze found, by the name of each scan; all of them were carried out.
fn sslyze(site: &Site, port: u16, args: &[&str]) -> Option<Value> {
    let told = site.folder.dir.path().join(format!("sslyze-{port}.json"));
    let scans = [
        "--sslv2",
        "--sslv3",
        "--tlsv1",
        "--tlsv1_1",
        "--tlsv1_2",
        "--tlsv1_3",
        "--certinfo",
        "--compression",
        "--elliptic_curves",
        "--ems",
        "--fallback",
        "--heartbleed",
        "--openssl_ccs",
        "--reneg",
        "--resum",
        "--robot",
    ];
    // What does not comply with Mozilla's advice ends it with another code than 0.
    let out = scanner(site, "sslyze")?
        .args(scans)
        .args(args)
        .args(["--mozilla_config", "intermediate", "--certinfo_ca_file", &site.pki.path("ca.pem"), "--json_out"])
        .arg(&told)
        .arg(format!("127.0.0.1:{port}"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && said.contains("OK - Compliant"), "{said}{}", String::from_utf8_lossy(&out.stderr));
    let told: Value = serde_json::from_str(&fs::read_to_string(&told).unwrap()).unwrap();
    let mut found = told["server_scan_results"][0]["scan_result"].clone();
    for (name, scan) in found.as_object_mut().unwrap() {
        if scan["status"] == "COMPLETED" {
            *scan = scan["result"].take();
        } else {
            // What is asked within HTTP has no answer from PostgreSQL.
            let of_http = ["http_headers", "tls_1_3_early_data"].contains(&name.as_str());
            assert!(scan["status"] == "NOT_SCHEDULED" && of_http, "{name}: {scan}");
        }
    }
    for old in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] {
        assert_eq!(found[format!("{old}_cipher_suites")]["accepted_cipher_suites"], json!([]), "{old}");
    }
    let suites = |version: &str| -> BTreeSet<String> {
        let accepted = found[format!("{version}_cipher_suites")]["accepted_cipher_suites"].as_array().unwrap();
        accepted.iter().map(|suite| suite["cipher_suite"]["name"].as_str().unwrap().to_owned()).collect()
    };
    // Forward secrecy and authenticated encryption, all of them.
    let (older, newer) = (suites("tls_1_2"), suites("tls_1_3"));
    assert!(!older.is_empty() && !newer.is_empty());
    for suite in &older {
        assert!(
            suite.starts_with("TLS_ECDHE_") && (suite.contains("_GCM_") || suite.contains("_CHACHA20_")),
            "{suite}"
        );
    }
    let expected = json!({
        "tls_compression": { "supports_compression": false },
        "openssl_ccs_injection": { "is_vulnerable_to_ccs_injection": false },
        "heartbleed": { "is_vulnerable_to_heartbleed": false },
        "tls_fallback_scsv": { "supports_fallback_scsv": true },
        "tls_extended_master_secret": { "supports_ems_extension": true },
        "robot": { "robot_result": "NOT_VULNERABLE_RSA_NOT_SUPPORTED" },
        "session_renegotiation": {
            "supports_secure_renegotiation": true, "is_vulnerable_to_client_renegotiation_dos": false,
            "client_renegotiations_success_count": 0,
        },
    });
    for (scan, says) in expected.as_object().unwrap() {
        assert_eq!(found[scan], *says, "{scan}");
    }
    for kind in ["session_id", "tls_ticket"] {
        // A session that goes on would outlive a certificate that was revoked meanwhile.
        assert_eq!(found["session_resumption"][format!("{kind}_successful_resumptions_count")], 0, "{kind}");
    }
    let ours = &found["certificate_info"]["certificate_deployments"][0]["path_validation_results"];
    assert!(ours.as_array().unwrap().iter().any(|result| result["was_validation_successful"] == true), "{ours}");
    Some(found)
}

#[test]
fn sslyze_finds_both_ports_as_mozilla_advises() {
    let Some(site) = Site::start("", "") else { return };
    let Some(over_http) = sslyze(&site, site.http, &["--http_headers", "--early_data"]) else { return };
    let hsts = &over_http["http_headers"]["strict_transport_security_header"];
    assert!(hsts["max_age"].as_u64().unwrap() >= 31_536_000, "{hsts}");
    assert_eq!(over_http["tls_1_3_early_data"]["supports_early_data"], false);
    sslyze(&site, site.postgres, &["--starttls", "postgres"]);
    // Who looks so closely has held up nobody.
    site.get("ana", "/v1/status").is(200);
}

/// Runs schemathesis over the document; fails with what it says.
fn schemathesis(site: &Site, config: &str, args: &[&str]) -> Option<Vec<Value>> {
    let (config_file, told) =
        (site.folder.dir.path().join("schemathesis.toml"), site.folder.dir.path().join("schemathesis.ndjson"));
    fs::write(&config_file, config).unwrap();
    let _ = fs::remove_file(&told);
    let out = scanner(site, "schemathesis")?
        .arg("--config-file")
        .arg(&config_file)
        .args(["run", OPENAPI, "--url", &site.url(""), "--tls-verify", &site.pki.path("ca.pem"), "--no-color"])
        .args(["--seed", "20261126", "--generation-database", "none", "--continue-on-failure"])
        .args(["--report", "ndjson", "--report-ndjson-path"])
        .arg(&told)
        .args(args)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    let told = fs::read_to_string(&told).unwrap();
    Some(told.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// How many answers had each status, of each operation.
fn statuses(events: &[Value]) -> BTreeSet<(String, u64)> {
    fn walk(value: &Value, path: &str, found: &mut BTreeSet<(String, u64)>) {
        match value {
            Value::Object(fields) => {
                let path = match fields.get("request").and_then(|request| request["uri"].as_str()) {
                    Some(uri) => uri.split(['?', '#']).next().unwrap_or_default().to_owned(),
                    None => path.to_owned(),
                };
                if let Some(status) = fields.get("status_code").and_then(Value::as_u64) {
                    found.insert((path.clone(), status));
                }
                fields.values().for_each(|value| walk(value, &path, found));
            }
            Value::Array(all) => all.iter().for_each(|value| walk(value, path, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    for event in events {
        walk(event, "", &mut found);
    }
    found
}

#[test]
fn schemathesis_finds_the_server_to_be_as_it_is_documented() {
    let Some(site) = Site::start("", "") else { return };
    let [ana, ida] = ["ana", "ida"].map(|user| format!("{user}:{PASSWORD} of {user}"));
    // That not every text is a query, and that an emergency takes a reason, is more than a schema says: the second run has another purpose.
    let checks = ["--auth", &ana, "--max-examples", "15", "--exclude-checks", "positive_data_acceptance"];
    let Some(events) = schemathesis(&site, "", &checks) else { return };
    let found = statuses(&events);
    assert!(found.iter().all(|(_, status)| *status < 500), "{found:?}");
    let answered = |found: &BTreeSet<(String, u64)>, path: &str| {
        assert!(
            found.iter().any(|(at, status)| at.ends_with(path) && *status == 200),
            "{path} was never answered: {found:?}"
        );
    };
    for path in ["/v1/query", "/v1/tables", "/v1/policies", "/v1/status", "/healthz", "/readyz", "/openapi.json"] {
        answered(&found, path);
    }
    let oversight = "[parameters]\npurpose = \"oversight\"\n";
    let only = [
        "--auth",
        &ida,
        "--max-examples",
        "15",
        "--include-method",
        "GET",
        "--mode",
        "positive",
        "--checks",
        "positive_data_acceptance,not_a_server_error,status_code_conformance,response_schema_conformance",
    ];
    answered(&statuses(&schemathesis(&site, oversight, &only).unwrap_or_default()), "/v1/audit");
}

#[test]
fn schemathesis_gets_nothing_without_logging_in() {
    let Some(site) = Site::start("", "") else { return };
    // What a server refuses to all it also refuses to those who ask wrongly.
    let checks = [
        "--max-examples",
        "25",
        "--generation-with-security-parameters",
        "false",
        "--exclude-checks",
        "positive_data_acceptance,negative_data_rejection,missing_required_header",
    ];
    let Some(events) = schemathesis(&site, "", &checks) else { return };
    let found = statuses(&events);
    let open = ["/healthz", "/readyz", "/openapi.json"];
    assert!(found.iter().any(|(path, status)| path.ends_with("/v1/query") && *status == 401), "{found:?}");
    for (path, status) in &found {
        let is_open = open.iter().any(|open| path.ends_with(open));
        assert!(*status < 500 && (is_open || *status >= 400), "{path}: {status}");
    }
    assert!(site.folder.audit("query_started").is_empty());
}
