//! Every kind of store that is asked over HTTP fails in every way there is, over TLS: what it says, and that it works again
//! afterwards. (Sealed and stopped for real: `transit.rs`; an HSM: `pkcs11.rs`.)

use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cordon_keystore::{KeyStore, KeyStoreError, StoreConfig, Trouble, open};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Value, json};

use crate::servers::{Pki, absent, free_port, output, private_file};
use crate::standin::again_with;
use crate::tls::{Reply, Request, serve_at};

const RING: &str = "00112233445566778899aabbccddeeff";
const KEY: [u8; 32] = *b"\x01\x93\xd5made-up root key, 32 bytes\x00\xff\x7f";
const GOOGLE: &str = "projects/hospital/locations/europe-west1/keyRings/phi/cryptoKeys/cordon";
const VERSION: &str = "78deebed173b48e48f55abf87ed4cf71";

/// A busy machine may not shake hands within the one second that a store has here.
fn patiently<T>(mut ask: impl FnMut() -> Result<T, KeyStoreError>) -> Result<T, KeyStoreError> {
    for _ in 0..5 {
        match ask() {
            Err(error) if matches!(error.trouble, Trouble::Slow { .. }) => {}
            answer => return answer,
        }
    }
    ask()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Well,
    Late,
    Cut,
    Gone,
    Broken,
    Throttled,
    NoJson,
    OtherJson,
    Page,
    ShortKey,
    OtherKey,
    Retired,
    Unknown,
}

const MODES: [Mode; 13] = [
    Mode::Well,
    Mode::Late,
    Mode::Cut,
    Mode::Gone,
    Mode::Broken,
    Mode::Throttled,
    Mode::NoJson,
    Mode::OtherJson,
    Mode::Page,
    Mode::ShortKey,
    Mode::OtherKey,
    Mode::Retired,
    Mode::Unknown,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Transit,
    Aws,
    Azure,
    Google,
}

impl Kind {
    fn config(self, address: &str, dir: &Path) -> Value {
        let (ca, token) = (dir.join("pki/ca.pem"), dir.join("token"));
        match self {
            Self::Transit => json!({ "transit": {
                "address": address, "key": "cordon", "ca-file": ca, "timeout-seconds": 1, "auth": { "token-file": token },
            }}),
            Self::Aws => json!({ "aws-kms": {
                "endpoint": address, "key": "cordon", "region": "eu-west-3", "ca-file": ca, "timeout-seconds": 1,
            }}),
            Self::Azure => json!({ "azure-key-vault": {
                "vault": address, "key": "cordon", "ca-file": ca, "timeout-seconds": 1,
            }}),
            Self::Google => json!({ "google-kms": {
                "endpoint": address, "key": GOOGLE, "ca-file": ca, "timeout-seconds": 1,
            }}),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Transit => "transit key `cordon`",
            Self::Aws => "aws-kms key `cordon`",
            Self::Azure => "azure-key-vault key `cordon`",
            Self::Google => "google-kms key `projects/",
        }
    }

    /// What was wrapped, as the store of this kind writes it.
    fn wrapped(self) -> String {
        match self {
            Self::Transit => "vault:v1:AAAA".to_owned(),
            Self::Aws => "aws-kms:v1:AAAA:cordon".to_owned(),
            Self::Azure => format!("azure-key-vault:v1:{VERSION}:AAAA"),
            Self::Google => "google-kms:v1:1:AAAA".to_owned(),
        }
    }

    /// What the store answers that unwraps everything to this key.
    fn answer(self, request: &Request, key: &[u8]) -> Value {
        let (wraps, about) = match self {
            Self::Transit => (request.path.contains("/encrypt/"), request.method == "GET"),
            Self::Aws => {
                let target = request.header("x-amz-target");
                (target.ends_with(".Encrypt"), target.ends_with(".DescribeKey"))
            }
            Self::Azure => (request.path.ends_with("/wrapkey"), request.method == "GET"),
            Self::Google => (request.path.ends_with(":encrypt"), request.method == "GET"),
        };
        let kid = format!("https://hospital.vault.azure.net/keys/cordon/{VERSION}");
        match (self, about, wraps) {
            (Self::Transit, true, _) => json!({ "data": { "type": "aes256-gcm96", "latest_version": 1 } }),
            (Self::Transit, _, true) => json!({ "data": { "ciphertext": "vault:v1:AAAA" } }),
            (Self::Transit, ..) => json!({ "data": { "plaintext": BASE64.encode(key) } }),
            (Self::Aws, true, _) => json!({ "KeyMetadata": {
                "KeyId": "cordon", "KeySpec": "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT", "KeyState": "Enabled",
            }}),
            (Self::Aws, _, true) => json!({ "CiphertextBlob": "AAAA", "KeyId": "cordon" }),
            (Self::Aws, ..) => json!({ "KeyId": "cordon", "Plaintext": BASE64.encode(key) }),
            (Self::Azure, true, _) => json!({
                "key": { "kid": kid, "kty": "RSA", "key_ops": ["wrapKey", "unwrapKey"], "n": BASE64URL_NOPAD.encode(&[0x81; 256]) },
                "attributes": { "enabled": true },
            }),
            (Self::Azure, _, true) => json!({ "kid": kid, "value": "AAAA" }),
            (Self::Azure, ..) => json!({ "kid": kid, "value": BASE64URL_NOPAD.encode(key) }),
            (Self::Google, true, _) => {
                let version = json!({ "name": format!("{GOOGLE}/cryptoKeyVersions/1"), "state": "ENABLED" });
                json!({ "name": GOOGLE, "purpose": "ENCRYPT_DECRYPT", "primary": version })
            }
            (Self::Google, _, true) => json!({ "name": format!("{GOOGLE}/cryptoKeyVersions/1"), "ciphertext": "AAAA" }),
            (Self::Google, ..) => json!({ "plaintext": BASE64.encode(key) }),
        }
    }

    /// That the version which wrapped is not to be used any more.
    fn retired(self) -> Reply {
        let (status, body) = match self {
            Self::Transit => {
                (400, json!({ "errors": ["ciphertext or signature version is disallowed by policy (too old)"] }))
            }
            Self::Aws => (400, json!({ "__type": "DisabledException", "message": "canary" })),
            Self::Azure => (
                403,
                json!({ "error": { "code": "Forbidden", "message": "canary", "innererror": { "code": "KeyDisabled" } } }),
            ),
            Self::Google => (400, json!({ "error": { "status": "FAILED_PRECONDITION", "message": "canary" } })),
        };
        Reply::text(status, body.to_string())
    }

    /// That another key wrapped it.
    fn unknown(self) -> Reply {
        let (status, body) = match self {
            Self::Transit => (400, json!({ "errors": ["cipher: message authentication failed"] })),
            Self::Aws => (400, json!({ "__type": "IncorrectKeyException", "message": "canary" })),
            Self::Azure => (400, json!({ "error": { "code": "BadParameter", "message": "canary" } })),
            Self::Google => (400, json!({ "error": { "status": "INVALID_ARGUMENT", "message": "canary" } })),
        };
        Reply::text(status, body.to_string())
    }
}

fn fits(mode: Mode, trouble: &Trouble) -> bool {
    match mode {
        Mode::Well => false,
        Mode::Late => matches!(trouble, Trouble::Slow { seconds: 1 }),
        Mode::Cut | Mode::Gone => matches!(trouble, Trouble::Down { .. } | Trouble::Answer { .. }),
        Mode::Broken => *trouble == Trouble::Broken { status: 503 },
        Mode::Throttled => matches!(trouble, Trouble::Throttled { .. }),
        Mode::NoJson | Mode::OtherJson | Mode::Page => matches!(trouble, Trouble::Answer { .. }),
        Mode::ShortKey | Mode::Unknown => *trouble == Trouble::WrongKey,
        Mode::OtherKey => *trouble == Trouble::Answer { what: "it unwraps another key than it wrapped" },
        Mode::Retired => matches!(trouble, Trouble::VersionRetired | Trouble::KeyUnusable { .. }),
    }
}

#[test]
fn every_kind_fails_closed_says_what_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let here = dir.path().to_str().unwrap().to_owned();
    let variables = [
        ("HOME", "/nonexistent".to_owned()),
        ("AWS_ACCESS_KEY_ID", "AKIAMADEUP".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "canary-secret".to_owned()),
        ("AZURE_TENANT_ID", "tenant".to_owned()),
        ("AZURE_CLIENT_ID", "client".to_owned()),
        ("AZURE_CLIENT_SECRET", "canary-secret".to_owned()),
        ("AZURE_AUTHORITY_HOST", format!("https://localhost:{port}")),
        ("GOOGLE_APPLICATION_CREDENTIALS", format!("{here}/account.json")),
        ("CORDON_TEST_PORT", port.to_string()),
        ("CORDON_TEST_DIR", here),
    ];
    if !again_with("failing::every_kind_fails_closed_says_what_and_goes_on", &variables) {
        return;
    }
    let dir = std::env::var("CORDON_TEST_DIR").unwrap();
    let dir = Path::new(&dir);
    let port: u16 = std::env::var("CORDON_TEST_PORT").unwrap().parse().unwrap();
    let Some(pki) = Pki::make(&dir.join("pki")) else { return absent("openssl").unwrap_or_default() };
    private_file(&dir.join("token"), "s.canary-token");
    let key = output(std::process::Command::new("openssl").args(["genpkey", "-quiet", "-algorithm", "RSA"]));
    let account = json!({
        "type": "service_account", "client_email": "cordon@hospital.iam.gserviceaccount.com", "private_key": key,
        "token_uri": format!("https://localhost:{port}/token"),
    });
    private_file(&dir.join("account.json"), &account.to_string());

    let (mode, kind) = (Arc::new(AtomicU8::new(0)), Arc::new(Mutex::new(Kind::Transit)));
    let (now, which) = (Arc::clone(&mode), Arc::clone(&kind));
    let address = serve_at(&pki, port, move |request| {
        if request.path.ends_with("/token") {
            return Reply::text(200, r#"{"access_token":"canary-token","expires_in":3600}"#);
        }
        let kind = *which.lock().unwrap();
        let good = |key: &[u8]| Reply::text(200, kind.answer(request, key).to_string());
        match MODES[usize::from(now.load(Ordering::SeqCst))] {
            Mode::Well => good(&KEY),
            Mode::Late => Reply::Late(Duration::from_secs(3), Box::new(good(&KEY))),
            Mode::Cut => Reply::Cut(Box::new(good(&KEY)), 9),
            Mode::Gone => Reply::Nothing,
            Mode::Broken => Reply::text(503, "canary"),
            Mode::Throttled if kind == Kind::Aws => Reply::text(400, r#"{"__type":"ThrottlingException"}"#),
            Mode::Throttled => Reply::text(429, "canary"),
            Mode::NoJson => Reply::text(200, "canary"),
            Mode::OtherJson => Reply::text(200, r#"{"canary":{"data":[]}}"#),
            Mode::Page => Reply::text(200, "<html>canary</html>"),
            Mode::ShortKey => good(&KEY[..31]),
            Mode::OtherKey => good(&[7; 32]),
            Mode::Retired => kind.retired(),
            Mode::Unknown => kind.unknown(),
        }
    });
    for one in [Kind::Transit, Kind::Aws, Kind::Azure, Kind::Google] {
        *kind.lock().unwrap() = one;
        let config: StoreConfig = serde_json::from_value(one.config(&address, dir)).unwrap();
        let store: Arc<dyn KeyStore> = open(&config, Path::new("/")).unwrap_or_else(|error| panic!("{error}"));
        for (number, wrong) in MODES.into_iter().enumerate().skip(1) {
            // All is well before, ill then, and well again with the same store: what is asked again goes on.
            mode.store(0, Ordering::SeqCst);
            assert_eq!(*patiently(|| store.unwrap(&one.wrapped(), RING)).unwrap(), KEY, "{one:?} before {wrong:?}");
            mode.store(u8::try_from(number).unwrap(), Ordering::SeqCst);
            let ask = || {
                let start = Instant::now();
                let error = match wrong {
                    // What is no key at all is given away by what wrapped it; another key, by who proves it.
                    Mode::OtherKey => store.wrap_proven(&KEY, RING).err(),
                    _ => store.unwrap(&one.wrapped(), RING).err(),
                };
                (error.unwrap_or_else(|| panic!("{one:?} {wrong:?} is taken")), start.elapsed())
            };
            let (mut error, mut took) = ask();
            // A busy machine may not shake hands within the one second that a store has here.
            for _ in 0..5 {
                if wrong != Mode::Late && matches!(error.trouble, Trouble::Slow { .. }) {
                    (error, took) = ask();
                }
            }
            assert!(fits(wrong, &error.trouble), "{one:?} {wrong:?}: {error:?}");
            let said = format!("{error} {error:?}");
            assert!(said.contains(one.name()) && said.contains(&address) && said.contains("help:"), "{said}");
            assert!(!said.contains("canary"), "{said}");
            assert!(took < Duration::from_secs(3), "{one:?} {wrong:?}: {took:?}");
        }
        mode.store(0, Ordering::SeqCst);
        assert_eq!(*patiently(|| store.unwrap(&one.wrapped(), RING)).unwrap(), KEY);
        // Somebody else's certificate.
        pki.authority("stranger");
        let mut config = one.config(&address, dir);
        for section in config.as_object_mut().unwrap().values_mut() {
            section["ca-file"] = json!(pki.path("stranger.pem"));
        }
        let config: StoreConfig = serde_json::from_value(config).unwrap();
        let store = open(&config, Path::new("/")).unwrap();
        let error = patiently(|| store.unwrap(&one.wrapped(), RING)).err().unwrap();
        assert!(matches!(error.trouble, Trouble::NotTrusted { .. }), "{one:?}: {error:?}");
    }
}
