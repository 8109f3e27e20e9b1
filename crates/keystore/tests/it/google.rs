//! Against a stand-in that holds requests to the documented interface (Cloud KMS REST, v1): not against Google.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use cordon_keystore::{KeyStore, StoreConfig, Trouble, open};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Value, json};

use crate::servers::{absent, free_port, output, private_file};
use crate::standin::{Request, again_with, serve};

const RING: &str = "00112233445566778899aabbccddeeff";
const KEY: [u8; 32] = *b"\x01\x93\xd5made-up root key, 32 bytes\x00\xff\x7f";
const NAME: &str = "projects/hospital/locations/europe-west1/keyRings/phi/cryptoKeys/";

fn store(port: u16, key: &str) -> Arc<dyn KeyStore> {
    let endpoint = format!("http://127.0.0.1:{port}");
    let config = json!({ "google-kms": { "key": format!("{NAME}{key}"), "endpoint": endpoint, "timeout-seconds": 2 } });
    let config: StoreConfig = serde_json::from_value(config).unwrap();
    open(&config, Path::new("/")).unwrap()
}

#[track_caller]
fn trouble<T>(result: Result<T, cordon_keystore::KeyStoreError>) -> Trouble {
    let error = result.err().expect("refused");
    let said = format!("{error} {error:?}");
    assert!(said.contains("google-kms key") && !said.contains("canary"), "{said}");
    error.trouble
}

fn fault(code: u16, status: &str) -> (u16, String) {
    (code, json!({ "error": { "code": code, "message": "canary", "status": status } }).to_string())
}

/// "Encrypts" by putting the associated data in front.
fn kms() -> u16 {
    serve(0, |request: &Request| {
        if request.header("authorization") != "Bearer made-up-token" {
            return fault(401, "UNAUTHENTICATED");
        }
        let path = request.path.strip_prefix(&format!("/v1/{NAME}")).expect("a key's name");
        let bytes = |value: &Value| BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap();
        match (request.method.as_str(), path) {
            ("GET", name) => {
                let version = json!({
                    "name": format!("{NAME}{name}/cryptoKeyVersions/4"), "state": "ENABLED", "protectionLevel": "HSM",
                    "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION",
                });
                let mut key =
                    json!({ "name": format!("{NAME}{name}"), "purpose": "ENCRYPT_DECRYPT", "primary": version });
                match name {
                    "cordon" => {}
                    "signs" => key["purpose"] = json!("ASYMMETRIC_SIGN"),
                    "off" => key["primary"]["state"] = json!("DISABLED"),
                    "bare" => drop(key.as_object_mut().unwrap().remove("primary")),
                    "locked" => return fault(403, "PERMISSION_DENIED"),
                    _ => return fault(404, "NOT_FOUND"),
                }
                (200, key.to_string())
            }
            ("POST", "cordon:encrypt") => {
                let body = request.json();
                let fields: Vec<&String> = body.as_object().unwrap().keys().collect();
                assert_eq!(fields, ["plaintext", "additionalAuthenticatedData"]);
                let sealed = [bytes(&body["additionalAuthenticatedData"]), bytes(&body["plaintext"])].concat();
                let answer = json!({ "name": format!("{NAME}cordon/cryptoKeyVersions/3"), "ciphertext": BASE64.encode(&sealed) });
                (200, answer.to_string())
            }
            ("POST", "cordon:decrypt") => {
                let body = request.json();
                let (sealed, aad) = (bytes(&body["ciphertext"]), bytes(&body["additionalAuthenticatedData"]));
                if sealed == b"destroyed" {
                    return fault(400, "FAILED_PRECONDITION");
                }
                match sealed.strip_prefix(aad.as_slice()) {
                    // As Google's encoder writes it.
                    Some(key) => (200, format!(r#"{{"plaintext":"{}"}}"#, BASE64.encode(key).replace('=', "\\u003d"))),
                    None => fault(400, "INVALID_ARGUMENT"),
                }
            }
            other => panic!("{other:?}"),
        }
    })
}

#[test]
fn a_service_account_signs_in_and_requests_are_as_documented() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let file = dir.path().join("account.json");
    let variables =
        [("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().unwrap().to_owned()), ("CORDON_TEST_PORT", port.to_string())];
    if !again_with("google::a_service_account_signs_in_and_requests_are_as_documented", &variables) {
        return;
    }
    if Command::new("openssl").arg("version").output().is_err() {
        return absent("openssl").unwrap_or_default();
    }
    let file = std::env::var("GOOGLE_APPLICATION_CREDENTIALS").unwrap();
    let folder = Path::new(&file).parent().unwrap().to_owned();
    let port: u16 = std::env::var("CORDON_TEST_PORT").unwrap().parse().unwrap();
    let openssl = |args: &[&str]| output(Command::new("openssl").args(args).current_dir(&folder));
    openssl(&["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key.pem"]);
    openssl(&["rsa", "-in", "key.pem", "-RSAPublicKey_out", "-outform", "DER", "-out", "public.der"]);
    let pem = std::fs::read_to_string(folder.join("key.pem")).unwrap();
    let token_uri = format!("http://127.0.0.1:{port}/token");
    let account = json!({
        "type": "service_account", "project_id": "hospital", "private_key_id": "key-1", "private_key": pem,
        "client_email": "cordon@hospital.iam.gserviceaccount.com", "client_id": "1", "token_uri": token_uri,
    });
    private_file(Path::new(&file), &account.to_string());

    let public = std::fs::read(folder.join("public.der")).unwrap();
    serve(port, move |request| {
        let form = request.form();
        assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
        let (signed, signature) = form["assertion"].rsplit_once('.').unwrap();
        let part = |at: usize| -> Value {
            let part = signed.split('.').nth(at).unwrap();
            serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
        };
        assert_eq!(part(0), json!({ "alg": "RS256", "typ": "JWT", "kid": "key-1" }));
        let claims = part(1);
        assert_eq!(claims["iss"], "cordon@hospital.iam.gserviceaccount.com");
        assert_eq!(claims["scope"], "https://www.googleapis.com/auth/cloudkms");
        assert!(claims["aud"].as_str().unwrap().ends_with("/token"));
        let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
        assert!((1..=3600).contains(&life));
        let key = ring::signature::UnparsedPublicKey::new(&ring::signature::RSA_PKCS1_2048_8192_SHA256, &public);
        key.verify(signed.as_bytes(), &BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap()).unwrap();
        (200, json!({ "access_token": "made-up-token", "expires_in": 3599, "token_type": "Bearer" }).to_string())
    });

    let port = kms();
    let cordon = store(port, "cordon");
    let wrapped = cordon.wrap_proven(&KEY, RING).unwrap();
    assert!(wrapped.starts_with("google-kms:v1:3:"));
    let status = cordon.status(&wrapped).unwrap();
    assert_eq!((status.version.as_deref(), status.newest.as_deref()), (Some("3"), Some("4")));
    assert_eq!(status.about, "symmetric, HSM");
    assert_eq!(trouble(cordon.unwrap(&wrapped, "ff")), Trouble::WrongKey);
    assert_eq!(trouble(cordon.unwrap("nonsense", RING)), Trouble::WrongKey);
    let destroyed = format!("google-kms:v1:1:{}", BASE64.encode(b"destroyed"));
    assert!(matches!(trouble(cordon.unwrap(&destroyed, RING)), Trouble::KeyUnusable { .. }));
    for name in ["signs", "off", "bare"] {
        assert!(matches!(trouble(store(port, name).wrap(&KEY, RING)), Trouble::KeyUnusable { .. }), "{name}");
    }
    assert_eq!(trouble(store(port, "none").wrap(&KEY, RING)), Trouble::KeyMissing);
    assert!(matches!(trouble(store(port, "locked").wrap(&KEY, RING)), Trouble::Forbidden { .. }));

    // Files of credentials that are none, or of another kind, or of everybody.
    for (text, mode) in [
        ("{", 0o600),
        (r#"{"type":"external_account","audience":"canary"}"#, 0o600),
        (
            r#"{"type":"service_account","client_email":"a","private_key":"canary","token_uri":"https://x.example"}"#,
            0o600,
        ),
        ("{}", 0o644),
    ] {
        private_file(Path::new(&file), text);
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let said = trouble(store(port, "cordon").unwrap(&wrapped, RING));
        assert!(matches!(said, Trouble::NoCredentials { .. }), "{text}: {said:?}");
    }
}

#[test]
fn a_machine_has_a_service_account() {
    let port = free_port();
    let variables = [
        ("HOME", "/nonexistent".to_owned()),
        ("GCE_METADATA_HOST", format!("127.0.0.1:{port}")),
        ("CORDON_TEST_PORT", port.to_string()),
    ];
    if !again_with("google::a_machine_has_a_service_account", &variables) {
        return;
    }
    serve(std::env::var("CORDON_TEST_PORT").unwrap().parse().unwrap(), |request| {
        let path = request.path.split('?').next().unwrap();
        assert_eq!(path, "/computeMetadata/v1/instance/service-accounts/default/token");
        assert_eq!(request.header("metadata-flavor"), "Google");
        (200, json!({ "access_token": "made-up-token", "expires_in": 3599, "token_type": "Bearer" }).to_string())
    });
    store(kms(), "cordon").wrap_proven(&KEY, RING).unwrap();
}
