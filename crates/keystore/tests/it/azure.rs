//! Against a stand-in that holds requests to the documented interface (Key Vault REST, version 7.4): not against Azure.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cordon_keystore::{KeyStore, StoreConfig, Trouble, open};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::servers::{free_port, private_file};
use crate::standin::{Request, again_with, serve};

const RING: &str = "00112233445566778899aabbccddeeff";
const KEY: [u8; 32] = *b"\x01\x93\xd5made-up root key, 32 bytes\x00\xff\x7f";

fn store(port: u16, key: &str) -> Arc<dyn KeyStore> {
    let vault = format!("http://127.0.0.1:{port}/");
    let config: StoreConfig =
        serde_json::from_value(json!({ "azure-key-vault": { "vault": vault, "key": key, "timeout-seconds": 2 } }))
            .unwrap();
    open(&config, Path::new("/")).unwrap()
}

#[track_caller]
fn trouble<T>(result: Result<T, cordon_keystore::KeyStoreError>) -> Trouble {
    let error = result.err().expect("refused");
    let said = format!("{error} {error:?}");
    assert!(said.contains("azure-key-vault key") && !said.contains("canary"), "{said}");
    error.trouble
}

fn fault(status: u16, code: &str, inner: Option<&str>) -> (u16, String) {
    let mut error = json!({ "code": code, "message": "canary" });
    if let Some(inner) = inner {
        error["innererror"] = json!({ "code": inner });
    }
    (status, json!({ "error": error }).to_string())
}

/// "Wraps" by turning bits round; what it wrapped with one version it unwraps with that.
fn vault(versions: &'static AtomicUsize) -> u16 {
    serve(0, move |request: &Request| {
        if request.header("authorization") != "Bearer made-up-token" {
            return fault(401, "Unauthorized", None);
        }
        let (path, query) = request.path.split_once('?').unwrap();
        assert_eq!(query, "api-version=7.4");
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let newest = format!("{:032x}", versions.load(Ordering::SeqCst));
        let kid = |name: &str, version: &str| format!("https://hospital.vault.azure.net/keys/{name}/{version}");
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["keys", name]) => {
                let modulus = BASE64URL_NOPAD.encode(&[0x81; 256]);
                let mut key = json!({
                    "key": { "kid": kid(name, &newest), "kty": "RSA-HSM", "key_ops": ["wrapKey", "unwrapKey"], "n": modulus, "e": "AQAB" },
                    "attributes": { "enabled": true, "created": 1_493_942_451, "recoveryLevel": "Recoverable+Purgeable" },
                });
                match *name {
                    "cordon" => {}
                    "ec" => key["key"]["kty"] = json!("EC"),
                    "off" => key["attributes"]["enabled"] = json!(false),
                    "signs" => key["key"]["key_ops"] = json!(["sign", "verify"]),
                    "small" => key["key"]["n"] = json!(BASE64URL_NOPAD.encode(&[0x81; 128])),
                    "leaves" => key["attributes"]["exportable"] = json!(true),
                    "locked" => return fault(403, "Forbidden", Some("ForbiddenByRbac")),
                    _ => return fault(404, "KeyNotFound", None),
                }
                (200, key.to_string())
            }
            ("POST", ["keys", name, version, operation]) => {
                assert_eq!(request.header("content-type"), "application/json");
                let body = request.json();
                let fields: Vec<&String> = body.as_object().unwrap().keys().collect();
                assert!(fields == ["alg", "value"] && body["alg"] == "RSA-OAEP-256", "{fields:?}");
                let number = u8::from_str_radix(&version[30..], 16).unwrap();
                let value = BASE64URL_NOPAD.decode(body["value"].as_str().unwrap().as_bytes()).unwrap();
                if *operation == "unwrapkey" && *version == format!("{:032x}", 0xdd) {
                    return fault(403, "Forbidden", Some("KeyDisabled"));
                }
                if value.len() != 32 {
                    return fault(400, "BadParameter", None);
                }
                let turned: Vec<u8> = value.iter().map(|byte| byte ^ 0x5a ^ number).collect();
                (200, json!({ "kid": kid(name, version), "value": BASE64URL_NOPAD.encode(&turned) }).to_string())
            }
            other => panic!("{other:?}"),
        }
    })
}

static VERSIONS: AtomicUsize = AtomicUsize::new(1);

#[test]
fn requests_are_as_documented_and_refusals_are_told_apart() {
    let port = free_port();
    let variables = [
        ("AZURE_TENANT_ID", "tenant-1".to_owned()),
        ("AZURE_CLIENT_ID", "client-1".to_owned()),
        ("AZURE_CLIENT_SECRET", "canary secret&=+".to_owned()),
        ("AZURE_AUTHORITY_HOST", format!("http://127.0.0.1:{port}/")),
        ("CORDON_TEST_PORT", port.to_string()),
    ];
    if !again_with("azure::requests_are_as_documented_and_refusals_are_told_apart", &variables) {
        return;
    }
    serve(std::env::var("CORDON_TEST_PORT").unwrap().parse().unwrap(), |request| {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/tenant-1/oauth2/v2.0/token"));
        assert_eq!(request.header("content-type"), "application/x-www-form-urlencoded");
        let form = request.form();
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        assert_eq!((field("grant_type"), field("client_id")), ("client_credentials", "client-1"));
        assert_eq!((field("client_secret"), field("scope")), ("canary secret&=+", "https://vault.azure.net/.default"));
        (200, json!({ "token_type": "Bearer", "expires_in": 3599, "access_token": "made-up-token" }).to_string())
    });
    let port = vault(&VERSIONS);
    let cordon = store(port, "cordon");
    let wrapped = cordon.wrap_proven(&KEY, RING).unwrap();
    assert!(wrapped.starts_with(&format!("azure-key-vault:v1:{:032x}:", 1)));
    VERSIONS.store(2, Ordering::SeqCst);
    assert_eq!(*cordon.unwrap(&wrapped, RING).unwrap(), KEY);
    let status = cordon.status(&wrapped).unwrap();
    assert_eq!((status.version, status.newest), (Some(format!("{:032x}", 1)), Some(format!("{:032x}", 2))));
    assert_eq!(status.about, "RSA 2048 in an HSM");
    assert!(cordon.wrap_proven(&KEY, RING).unwrap().starts_with(&format!("azure-key-vault:v1:{:032x}:", 2)));

    for damaged in ["", "azure-key-vault:v1:", "azure-key-vault:v1:../secrets/x:AAAA", &wrapped[..wrapped.len() - 8]] {
        assert_eq!(trouble(cordon.unwrap(damaged, RING)), Trouble::WrongKey, "{damaged}");
    }
    let disabled = wrapped.replacen(&format!("{:032x}", 1), &format!("{:032x}", 0xdd), 1);
    assert!(matches!(trouble(cordon.unwrap(&disabled, RING)), Trouble::KeyUnusable { .. }));
    for name in ["ec", "off", "signs", "small"] {
        assert!(matches!(trouble(store(port, name).wrap(&KEY, RING)), Trouble::KeyUnusable { .. }), "{name}");
    }
    assert_eq!(trouble(store(port, "leaves").wrap(&KEY, RING)), Trouble::Exportable);
    assert_eq!(trouble(store(port, "none").wrap(&KEY, RING)), Trouble::KeyMissing);
    assert!(matches!(trouble(store(port, "locked").wrap(&KEY, RING)), Trouble::Forbidden { .. }));
}

#[test]
fn a_workload_and_a_machine_have_identities() {
    let dir = tempfile::tempdir().unwrap();
    let token_file = private_file(&dir.path().join("token"), "federated.made.up\n");
    let port = free_port();
    let here = format!("http://127.0.0.1:{port}");
    let name = "azure::a_workload_and_a_machine_have_identities";
    // The outer process runs three of them, one after the other.
    let ways = [
        vec![
            ("AZURE_TENANT_ID", "t".to_owned()),
            ("AZURE_CLIENT_ID", "c".to_owned()),
            ("AZURE_FEDERATED_TOKEN_FILE", token_file),
            ("AZURE_AUTHORITY_HOST", here.clone()),
        ],
        vec![("IDENTITY_ENDPOINT", format!("{here}/msi/token")), ("IDENTITY_HEADER", "header-1".to_owned())],
        vec![("AZURE_POD_IDENTITY_AUTHORITY_HOST", here), ("AZURE_CLIENT_ID", "user-assigned".to_owned())],
    ];
    for mut way in ways {
        way.push(("CORDON_TEST_PORT", port.to_string()));
        if again_with(name, &way) {
            break;
        }
    }
    let Ok(port) = std::env::var("CORDON_TEST_PORT") else { return };
    serve(port.parse().unwrap(), |request| {
        let resource = "resource=https%3A%2F%2Fvault.azure.net";
        let right = match request.path.split('?').next().unwrap() {
            "/t/oauth2/v2.0/token" => {
                let form = request.form();
                form["client_assertion"] == "federated.made.up"
                    && form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            }
            "/msi/token" => {
                request.header("x-identity-header") == "header-1"
                    && request.path.ends_with(&format!("?api-version=2019-08-01&{resource}"))
            }
            "/metadata/identity/oauth2/token" => {
                request.header("metadata") == "true"
                    && request.path.ends_with(&format!("?api-version=2018-02-01&{resource}&client_id=user-assigned"))
            }
            _ => false,
        };
        let token: Value = json!({ "access_token": "made-up-token", "expires_in": "3599" });
        if right { (200, token.to_string()) } else { (400, request.path.clone()) }
    });
    store(vault(&VERSIONS), "cordon").wrap_proven(&KEY, RING).unwrap();
}
