//! Access tokens of a real provider, and all that only look like one.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use data_encoding::{BASE64URL_NOPAD as BASE64, HEXLOWER};
use serde_json::{Value, json};

use super::flight;
use super::site::{Got, Site, folder};
use crate::servers::{Pki, Running, absent, free_port, output};

pub struct Provider {
    _running: Running,
    port: u16,
    ca: String,
    public: PathBuf,
}

impl Provider {
    pub fn start(pki: &Pki, port: u16, algorithm: &str) -> Option<Self> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || Path::new(env!("CARGO_BIN_EXE_cordon")).ancestors().nth(2).unwrap().to_path_buf(),
            PathBuf::from,
        );
        let module = target.join("test-oidc/node_modules/oidc-provider/lib/index.js");
        if !module.is_file() {
            return absent("oidc-provider");
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/server/provider.mjs");
        let public = pki.dir.join("provider-public.pem");
        let mut child = Command::new("node")
            .args([
                script,
                module.to_str().unwrap(),
                &port.to_string(),
                &pki.path("server.key"),
                &pki.path("server.pem"),
            ])
            .args([public.to_str().unwrap(), algorithm])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let running = Running(child);
        assert!(lines.any(|line| line.is_ok_and(|line| line.contains("listening"))), "the provider does not start");
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { _running: running, port, ca: pki.path("ca.pem"), public })
    }

    pub fn token(&self, client: &str, resource: &str) -> String {
        let said = output(Command::new("curl").args([
            "-sS",
            "--noproxy",
            "*",
            "--cacert",
            &self.ca,
            "-d",
            "grant_type=client_credentials",
            "-d",
            "scope=read",
            "-d",
            &format!("client_id={client}"),
            "-d",
            &format!("resource={resource}"),
            "--data-urlencode",
            &format!("client_secret=secret of {client} that is long enough"),
            &format!("https://localhost:{}/token", self.port),
        ]));
        let said: Value = serde_json::from_str(&said).unwrap();
        said["access_token"].as_str().unwrap_or_else(|| panic!("{said}")).to_owned()
    }
}

fn parts(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|part| BASE64.decode(part.as_bytes()).unwrap());
    let mut part = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
    (part(), part())
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string().as_bytes()), BASE64.encode(claims.to_string().as_bytes()))
}

fn openssl(args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success());
    out.stdout
}

/// A project that trusts a provider which is not started yet.
pub fn site(port: u16, more: &str) -> Option<Site> {
    let project = folder("");
    project.write("denied.yaml", "{}");
    let ca = project.dir.path().join("pki/ca.pem");
    let log_in = format!(
        "    denied: denied.yaml\n    oidc:\n      - {{ issuer: 'https://localhost:{port}', audience: 'urn:cordon', ca-file: {}, \
         leeway-seconds: 0 }}\n{more}",
        ca.display()
    );
    Site::start_in(project, &log_in, "")
}

fn status(site: &Site, token: &str) -> Got {
    site.curl(&["-H", &format!("Authorization: Bearer {token}"), &site.url("/v1/status")])
}

#[test]
fn a_token_of_the_provider_lets_in_and_forgeries_do_not() {
    let port = free_port();
    let Some(site) = site(port, "    mfa: { roles: [auditing, engineering], amr: [mfa] }") else { return };
    // Nobody to ask: nobody is let in, and nobody is told that the token is wrong.
    let early = unsigned(&json!({ "alg": "RS256" }), &json!({ "iss": format!("https://localhost:{port}") }));
    status(&site, &format!("{early}.AAAA")).is(503);
    let Some(provider) = Provider::start(&site.pki, port, "RS256") else { return };
    sleep(Duration::from_secs(10));

    let token = provider.token("ana", "urn:cordon");
    assert_eq!(status(&site, &token).is(200).json()["method"], "access token");
    let question = json!({ "sql": "SELECT count(*) AS n FROM visits", "purpose": "research" });
    let bearer = format!("Authorization: Bearer {token}");
    assert_eq!(site.ask_as(&["-H", &bearer], &question, &[]).is(200).lines(), [json!({ "n": 400 })]);

    let (header, claims) = parts(&token);
    let changed = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let signature = token.rsplit_once('.').unwrap().1;
    let kid = &header["kid"];
    let key = site.pki.dir.join("wrong.key");
    output(Command::new("openssl").args(["genrsa", "-out", key.to_str().unwrap(), "2048"]));
    let signed_by_another = |header: &Value, claims: &Value| {
        let text = unsigned(header, claims);
        let signature = openssl(&["dgst", "-sha256", "-sign", key.to_str().unwrap()], text.as_bytes());
        format!("{text}.{}", BASE64.encode(&signature))
    };
    let hmac = |secret: &[u8], header: &Value| {
        let text = unsigned(header, &claims);
        let option = format!("hexkey:{}", HEXLOWER.encode(secret));
        let tag = openssl(&["dgst", "-sha256", "-mac", "HMAC", "-macopt", &option, "-binary"], text.as_bytes());
        format!("{text}.{}", BASE64.encode(&tag))
    };
    let public = fs::read(&provider.public).unwrap();
    // After twenty from one address in a quarter of an hour more are only counted: what is looked for on the record comes first.
    let forgeries = [
        ("another audience", provider.token("ana", "urn:others")),
        ("another key under the name of the right one", signed_by_another(&header, &claims)),
        ("alg none", format!("{}.", unsigned(&json!({ "alg": "none", "kid": kid }), &claims))),
        (
            "alg none with the signature",
            format!("{}.{signature}", unsigned(&json!({ "alg": "None", "kid": kid }), &claims)),
        ),
        ("no signature", format!("{}.", token.rsplit_once('.').unwrap().0)),
        ("another principal", format!("{}.{signature}", unsigned(&header, &changed("sub", json!("engineer"))))),
        ("a later end", format!("{}.{signature}", unsigned(&header, &changed("exp", json!(4_000_000_000_u64))))),
        ("another key under another name", signed_by_another(&json!({ "alg": "RS256", "kid": "mine" }), &claims)),
        (
            "another key that the token brings",
            signed_by_another(
                &json!({ "alg": "RS256", "kid": kid, "jwk": { "kty": "RSA" }, "jku": "https://localhost:1/keys" }),
                &claims,
            ),
        ),
        ("HS256 with the public key", hmac(&public, &json!({ "alg": "HS256", "kid": kid, "typ": "at+jwt" }))),
        ("HS256 with the public key's text", hmac(public.trim_ascii_end(), &json!({ "alg": "HS256", "kid": kid }))),
        ("RS256 with an HMAC", hmac(&public, &json!({ "alg": "RS256", "kid": kid }))),
        ("an end that is no number", signed_by_another(&header, &changed("exp", json!("4000000000")))),
        ("not a token", "eyJhbGciOiJub25lIn0".to_owned()),
    ];
    for (what, forgery) in &forgeries {
        let got = status(&site, forgery);
        assert!(matches!(got.status, 401 | 429), "{what}: {} {}", got.status, got.body);
        assert!(!got.body.contains("engineer") && !got.headers.contains(forgery.as_str()), "{what}");
        let got = flight::call(&site, &flight::bearer(forgery), "ListActions", &[]);
        assert!(matches!(got.status, 8 | 16), "{what}: {} {}", got.status, got.words);
    }
    // The one that holds goes on holding meanwhile.
    status(&site, &token).is(200);
    flight::call(&site, &flight::bearer(&token), "ListActions", &[]).is(0);
    let failed = site.folder.audit("log_in_failed");
    for what in
        ["for another audience", "no key of its issuer signed it", "not an access token of an algorithm that is taken"]
    {
        assert!(failed.iter().any(|event| event["what"] == what), "{what}: {failed:?}");
    }
}

#[test]
fn a_token_ends_by_time_by_revocation_and_by_missing_factors_and_keys_may_change() {
    let port = free_port();
    let Some(site) = site(port, "    mfa: { roles: [auditing, engineering], amr: [mfa] }") else { return };
    let Some(provider) = Provider::start(&site.pki, port, "ES256") else { return };
    // `ida` shows two factors. By her password alone she is not let in.
    status(&site, &provider.token("ida", "urn:cordon")).is(200);
    site.get("ida", "/v1/status").is(401);
    assert!(
        site.folder
            .audit("log_in_failed")
            .iter()
            .any(|event| { event["what"] == "more than one factor is needed" && event["principal"] == "ida" })
    );

    let short = provider.token("short", "urn:cordon");
    status(&site, &short).is(200);
    site.until("the token is over", 30, |site| status(site, &short).status == 401);

    let (ana, again) = (provider.token("ana", "urn:cordon"), provider.token("ana", "urn:cordon"));
    status(&site, &ana).is(200);
    let jti = parts(&ana).1["jti"].clone();
    site.folder.write("denied.yaml", format!("tokens: [{jti}]"));
    site.until("the token is revoked", 10, |site| status(site, &ana).status == 401);
    status(&site, &again).is(200);

    // The provider signs with another key from now on: it is found, and tokens of before are of no more use once it is.
    drop(provider);
    let Some(provider) = Provider::start(&site.pki, port, "EdDSA") else { return };
    sleep(Duration::from_secs(11));
    status(&site, &provider.token("ben", "urn:cordon")).is(200);
}

#[test]
fn a_provider_with_another_certificate_is_not_asked() {
    let port = free_port();
    let project = folder("");
    let elsewhere = project.dir.path().join("elsewhere");
    let Some(pki) = Pki::make(&elsewhere) else { return };
    project.write("denied.yaml", "{}");
    let ca = project.dir.path().join("pki/ca.pem");
    let log_in = format!(
        "    oidc:\n      - {{ issuer: 'https://localhost:{port}', audience: 'urn:cordon', ca-file: {} }}",
        ca.display()
    );
    let Some(site) = Site::start_in(project, &log_in, "") else { return };
    let Some(provider) = Provider::start(&pki, port, "RS256") else { return };
    status(&site, &provider.token("ana", "urn:cordon")).is(503);
}
