use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cordon_keystore::{KeyStore, StoreConfig, Trouble, open};
use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value, json};

use crate::servers::{Bao, TRANSIT_POLICY, private_file};

const RING: &str = "00112233445566778899aabbccddeeff";
const KEY: [u8; 32] = *b"\x01\x93\xd5made-up root key, 32 bytes\x00\xff\x7f";

fn store(config: &Value) -> Arc<dyn KeyStore> {
    let config: StoreConfig = serde_json::from_value(config.clone()).unwrap();
    open(&config, Path::new("/nonexistent")).unwrap_or_else(|error| panic!("{error}"))
}

fn with(bao: &Bao, key: &str, auth: &Value) -> Arc<dyn KeyStore> {
    store(&config(bao, key, auth))
}

fn config(bao: &Bao, key: &str, auth: &Value) -> Value {
    json!({ "transit": {
        "address": bao.address, "key": key, "ca-file": bao.pki.path("ca.pem"), "auth": auth, "timeout-seconds": 3,
    }})
}

#[track_caller]
fn trouble<T>(result: Result<T, cordon_keystore::KeyStoreError>) -> Trouble {
    let error = result.err().expect("refused");
    let said = error.to_string();
    assert!(said.contains("transit key") && said.contains("help:") && said.contains(&error.place.at), "{said}");
    error.trouble
}

#[test]
fn what_it_wrapped_it_unwraps_and_nothing_else() {
    let Some(bao) = Bao::start() else { return };
    let token = json!({ "token-file": bao.token("least", TRANSIT_POLICY) });
    let cordon = with(&bao, "cordon", &token);
    let wrapped = cordon.wrap_proven(&KEY, RING).unwrap();
    assert!(wrapped.starts_with("vault:v1:"));
    assert_eq!(*cordon.unwrap(&wrapped, RING).unwrap(), KEY);

    // Another ring, another text.
    assert_eq!(trouble(cordon.unwrap(&wrapped, "ff112233445566778899aabbccddeeff")), Trouble::WrongKey);
    for damaged in ["", "vault:v1:", "vault:v1:AAAA", "vault:v1:!", "nonsense", &format!("{wrapped}AA"), &wrapped[..60]]
    {
        let trouble = trouble(cordon.unwrap(damaged, RING));
        assert!(matches!(trouble, Trouble::WrongKey | Trouble::Refused { .. }), "{damaged}: {trouble:?}");
    }
    // What the store holds of that length only is a root key.
    let short = bao.run(&[
        "write",
        "-field=ciphertext",
        "transit/encrypt/cordon",
        &format!("plaintext={}", BASE64.encode(b"short")),
        &format!("associated_data={}", BASE64.encode(format!("cordon/root/v1/{RING}").as_bytes())),
    ]);
    assert_eq!(trouble(cordon.unwrap(short.trim(), RING)), Trouble::WrongKey);

    // Rotated in the store: the old text opens, a new one is of the new version.
    bao.run(&["write", "-f", "transit/keys/cordon/rotate"]);
    let status = cordon.status(&wrapped).unwrap();
    assert_eq!((status.version.as_deref(), status.newest.as_deref()), (Some("1"), Some("2")));
    assert_eq!(status.about, "aes256-gcm96");
    assert_eq!(*cordon.unwrap(&wrapped, RING).unwrap(), KEY);
    let newer = cordon.wrap_proven(&KEY, RING).unwrap();
    assert!(newer.starts_with("vault:v2:"));
    bao.run(&["write", "transit/keys/cordon/config", "min_decryption_version=2"]);
    assert_eq!(trouble(cordon.unwrap(&wrapped, RING)), Trouble::VersionRetired);
    assert_eq!(*cordon.unwrap(&newer, RING).unwrap(), KEY);

    // Other keys.
    let root = json!({ "token-file": private_file(&bao.dir.path().join("root.token"), &bao.root_token) });
    for (name, kind) in
        [("other", "aes256-gcm96"), ("chacha", "chacha20-poly1305"), ("rsa", "rsa-2048"), ("small", "aes128-gcm96")]
    {
        bao.run(&["write", "-f", &format!("transit/keys/{name}"), &format!("type={kind}")]);
    }
    assert!(matches!(
        trouble(with(&bao, "other", &root).unwrap(&newer, RING)),
        Trouble::WrongKey | Trouble::VersionRetired
    ));
    assert_eq!(trouble(with(&bao, "other", &root).unwrap(&wrapped, RING)), Trouble::WrongKey);
    with(&bao, "chacha", &root).wrap_proven(&KEY, RING).unwrap();
    for name in ["rsa", "small"] {
        assert!(matches!(trouble(with(&bao, name, &root).wrap(&KEY, RING)), Trouble::KeyUnusable { .. }), "{name}");
    }
    bao.run(&["write", "-f", "transit/keys/derived", "derived=true"]);
    with(&bao, "derived", &root).wrap_proven(&KEY, RING).unwrap();
    bao.run(&["write", "-f", "transit/keys/open", "exportable=true"]);
    assert_eq!(trouble(with(&bao, "open", &root).wrap(&KEY, RING)), Trouble::Exportable);
    assert_eq!(trouble(with(&bao, "typo", &root).wrap(&KEY, RING)), Trouble::KeyMissing);
    assert!(!bao.run(&["list", "transit/keys"]).contains("typo"), "wrapping makes no key");

    // Deleted.
    bao.run(&["write", "transit/keys/cordon/config", "deletion_allowed=true"]);
    bao.run(&["delete", "transit/keys/cordon"]);
    assert_eq!(trouble(cordon.unwrap(&newer, RING)), Trouble::KeyMissing);
    assert_eq!(trouble(cordon.status(&newer)), Trouble::KeyMissing);

    // Of the key nothing is on the store's record.
    let record = bao.audit_file();
    assert!(record.contains("transit/encrypt/cordon") && record.contains("hmac-sha256:"));
    for form in [BASE64.encode(&KEY), HEXLOWER.encode(&KEY)] {
        assert!(!record.contains(&form));
    }
    let forms = [BASE64.encode(&KEY), HEXLOWER.encode(&KEY)];
    assert!(forms.iter().all(|form| !newer.contains(form) && !wrapped.contains(form)));
}

#[test]
fn each_way_to_log_in_works_and_its_failures_are_told_apart() {
    let Some(bao) = Bao::start() else { return };
    let least = bao.token("least", TRANSIT_POLICY);
    let good = with(&bao, "cordon", &json!({ "token-file": least }));
    let wrapped = good.wrap_proven(&KEY, RING).unwrap();

    // Tokens.
    let file = |name: &str, text: &str| json!({ "token-file": private_file(&bao.dir.path().join(name), text) });
    let wrong = with(&bao, "cordon", &file("wrong", "s.notatoken"));
    assert!(matches!(trouble(wrong.unwrap(&wrapped, RING)), Trouble::CredentialsRefused { .. }));
    let empty = with(&bao, "cordon", &file("empty", "\n"));
    assert!(matches!(trouble(empty.unwrap(&wrapped, RING)), Trouble::NoCredentials { .. }));
    let odd = with(&bao, "cordon", &file("odd", "s.a\u{7}b"));
    let Trouble::NoCredentials { what } = trouble(odd.unwrap(&wrapped, RING)) else { panic!("odd") };
    assert!(!what.contains("s.a"));
    let missing = with(&bao, "cordon", &json!({ "token-file": "/nonexistent/token" }));
    assert!(matches!(trouble(missing.unwrap(&wrapped, RING)), Trouble::NoCredentials { .. }));
    let unset = with(&bao, "cordon", &json!({ "token-env": "CORDON_TEST_UNSET" }));
    assert!(matches!(trouble(unset.unwrap(&wrapped, RING)), Trouble::NoCredentials { .. }));
    let shared = bao.dir.path().join("shared.token");
    fs::copy(&least, &shared).unwrap();
    fs::set_permissions(&shared, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let shared = with(&bao, "cordon", &json!({ "token-file": shared.to_str().unwrap() }));
    assert!(matches!(trouble(shared.unwrap(&wrapped, RING)), Trouble::NoCredentials { what } if what.contains("0600")));

    // A token that may do other things, and one that may only wrap.
    let other = bao.token("other", r#"path "transit/keys/other" { capabilities = ["read"] }"#);
    let other = with(&bao, "cordon", &json!({ "token-file": other }));
    assert_eq!(trouble(other.unwrap(&wrapped, RING)), Trouble::Forbidden { what: "decrypt with this key" });
    let no_decrypt = TRANSIT_POLICY.replace(r#"path "transit/decrypt/cordon" { capabilities = ["update"] }"#, "");
    let half = with(&bao, "cordon", &json!({ "token-file": bao.token("half", &no_decrypt) }));
    half.wrap(&KEY, RING).unwrap();
    assert!(matches!(trouble(half.wrap_proven(&KEY, RING)), Trouble::Forbidden { .. }));

    // AppRole; a token that was revoked meanwhile is renewed.
    bao.run(&["auth", "enable", "approle"]);
    bao.run(&["write", "auth/approle/role/cordon", "token_policies=least", "token_ttl=10m"]);
    let role_id = bao.run(&["read", "-field=role_id", "auth/approle/role/cordon/role-id"]);
    let secret_id = bao.run(&["write", "-f", "-field=secret_id", "auth/approle/role/cordon/secret-id"]);
    let secret_file = private_file(&bao.dir.path().join("secret-id"), secret_id.trim());
    let approle = json!({ "approle": { "role-id": role_id.trim(), "secret-id-file": secret_file } });
    let role = with(&bao, "cordon", &approle);
    assert_eq!(*role.unwrap(&wrapped, RING).unwrap(), KEY);
    bao.run(&["token", "revoke", "-mode=path", "auth/approle"]);
    assert_eq!(*role.unwrap(&wrapped, RING).unwrap(), KEY);
    private_file(&bao.dir.path().join("secret-id"), "00000000-0000-0000-0000-000000000000");
    let role = with(&bao, "cordon", &approle);
    assert!(matches!(trouble(role.unwrap(&wrapped, RING)), Trouble::CredentialsRefused { .. }));
    let twice =
        with(&bao, "cordon", &json!({ "approle": { "role-id": "a", "role-id-env": "B", "secret-id-env": "C" } }));
    assert!(matches!(trouble(twice.unwrap(&wrapped, RING)), Trouble::Configuration { .. }));

    // A client certificate.
    bao.run(&["auth", "enable", "cert"]);
    let ca = format!("certificate=@{}", bao.pki.path("ca.pem"));
    bao.run(&["write", "auth/cert/certs/cordon", "token_policies=least", &ca]);
    let certificate =
        json!({ "cert": { "certificate": bao.pki.path("client.pem"), "key": bao.pki.path("client.key") } });
    assert_eq!(*with(&bao, "cordon", &certificate).unwrap(&wrapped, RING).unwrap(), KEY);
    bao.pki.authority("stranger");
    let stranger =
        json!({ "cert": { "certificate": bao.pki.path("stranger.pem"), "key": bao.pki.path("stranger.key") } });
    assert!(matches!(
        trouble(with(&bao, "cordon", &stranger).unwrap(&wrapped, RING)),
        Trouble::CredentialsRefused { .. } | Trouble::CertificateRefused
    ));

    // Whom to trust.
    let mut untrusted = config(&bao, "cordon", &json!({ "token-file": least }));
    untrusted["transit"]["ca-file"] = json!(bao.pki.path("stranger.pem"));
    assert!(matches!(trouble(store(&untrusted).unwrap(&wrapped, RING)), Trouble::NotTrusted { .. }));
    let mut named = config(&bao, "cordon", &json!({ "token-file": least }));
    named["transit"]["address"] = json!(bao.address.replace("localhost", "127.0.0.2"));
    assert!(matches!(trouble(store(&named).unwrap(&wrapped, RING)), Trouble::NotTrusted { .. } | Trouble::Down { .. }));
    let mut plain = config(&bao, "cordon", &json!({ "token-file": least }));
    plain["transit"]["address"] = json!(bao.address.replace("https", "http"));
    assert!(store(&plain).unwrap(&wrapped, RING).is_err());
    let mut mount = config(&bao, "cordon", &json!({ "token-file": least }));
    mount["transit"]["mount"] = json!("elsewhere");
    assert!(matches!(trouble(store(&mount).unwrap(&wrapped, RING)), Trouble::Forbidden { .. } | Trouble::KeyMissing));
}

#[test]
fn sealed_stopped_and_frozen_are_said_and_pass() {
    let Some(mut bao) = Bao::start() else { return };
    let cordon = with(&bao, "cordon", &json!({ "token-file": bao.token("least", TRANSIT_POLICY) }));
    let wrapped = cordon.wrap_proven(&KEY, RING).unwrap();

    bao.freeze();
    let start = Instant::now();
    let said = trouble(cordon.unwrap(&wrapped, RING));
    assert!(matches!(said, Trouble::Slow { .. } | Trouble::Down { .. }), "{said:?}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    bao.thaw();
    assert_eq!(*cordon.unwrap(&wrapped, RING).unwrap(), KEY);

    bao.seal();
    let start = Instant::now();
    assert_eq!(trouble(cordon.unwrap(&wrapped, RING)), Trouble::Sealed);
    assert!(start.elapsed() < Duration::from_millis(2500), "nobody unseals it meanwhile: {:?}", start.elapsed());
    bao.unseal();
    assert_eq!(*cordon.unwrap(&wrapped, RING).unwrap(), KEY);

    bao.stop();
    let start = Instant::now();
    assert!(matches!(trouble(cordon.unwrap(&wrapped, RING)), Trouble::Down { .. }));
    assert!((1..10).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    bao.restart();
    assert_eq!(trouble(cordon.unwrap(&wrapped, RING)), Trouble::Sealed);
    bao.unseal();
    assert_eq!(*cordon.unwrap(&wrapped, RING).unwrap(), KEY);
}
