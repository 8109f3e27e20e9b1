//! Credentials of AWS from where its own tools leave them, for a KMS.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cordon_keystore::Trouble;
use cordon_keystore::credentials::{AwsIdentity, Surroundings};
use serde_json::json;

use crate::servers::{Pki, private_file};
use crate::tls::{Reply, serve};

fn milliseconds(from_now: i64) -> i64 {
    chrono::Utc::now().timestamp_millis() + from_now
}

/// Built to the documented interface of the access portal: never against AWS.
#[test]
fn who_signed_in_by_a_browser_needs_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(&dir.path().join("pki")) else { return };
    let cache = dir.path().join(".aws/sso/cache");
    fs::create_dir_all(&cache).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let portal = serve(&pki, move |request| {
        count.fetch_add(1, Ordering::SeqCst);
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/federation/credentials"));
        assert_eq!(
            (request.query["account_id"].as_str(), request.query["role_name"].as_str()),
            ("111122223333", "Data Reader")
        );
        match request.header("x-amz-sso_bearer_token") {
            "signed-in" => Reply::text(
                200,
                json!({ "roleCredentials": {
                    "accessKeyId": "ASIASSO", "secretAccessKey": "canary-secret", "sessionToken": "session",
                    "expiration": milliseconds(3_600_000),
                }})
                .to_string(),
            ),
            _ => Reply::text(401, "canary"),
        }
    });
    let config = "[profile sso]\nsso_session = hospital\nsso_account_id = 111122223333\nsso_role_name = Data Reader\n\
                  [sso-session hospital]\nsso_start_url = https://hospital.awsapps.com/start\nsso_region = eu-west-1\n\
                  [profile old]\nsso_start_url = https://hospital.awsapps.com/start\nsso_region = eu-west-1\n\
                  sso_account_id = 111122223333\nsso_role_name = Data Reader\n\
                  [profile half]\nsso_session = hospital\nsso_role_name = x\n";
    fs::write(dir.path().join(".aws/config"), config).unwrap();
    // SHA-1 of the session's name, and of the older form's address.
    let name = |text: &str| {
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        cache.join(format!("{}.json", data_encoding::HEXLOWER.encode(digest.as_ref())))
    };
    let sign_in = |session: &str, token: &str, ends: &str| {
        private_file(&name(session), &json!({ "accessToken": token, "expiresAt": ends }).to_string());
    };
    let home = dir.path().to_str().unwrap().to_owned();
    let ca = pki.path("ca.pem");
    let identity = |profile: &str| {
        let env = |name: &str| match name {
            "HOME" => Some(home.clone()),
            "AWS_ENDPOINT_URL_SSO" => Some(portal.clone()),
            _ => None,
        };
        AwsIdentity::new(Surroundings::of(&env).trusting(Some(Path::new(&ca).to_owned())), Some(profile), None)
    };
    let says = |profile: &str, words: &str| {
        let trouble = identity(profile).credentials().err().unwrap();
        assert!(matches!(&trouble, Trouble::NoCredentials { what } if what.contains(words)), "{profile}: {trouble:?}");
    };
    says("sso", "aws sso login");
    says("half", "sso_account_id");
    sign_in("hospital", "signed-in", "2020-01-01T00:00:00Z");
    says("sso", "aws sso login");
    assert_eq!(asked.load(Ordering::SeqCst), 0, "what has ended is not sent");
    sign_in("hospital", "revoked", "2099-01-01T00:00:00Z");
    says("sso", "aws sso login");
    sign_in("hospital", "signed-in", "2099-01-01T00:00:00Z");
    sign_in("https://hospital.awsapps.com/start", "signed-in", "2099-01-01T00:00:00Z");
    for profile in ["sso", "old"] {
        let identity = identity(profile);
        let keys = identity.credentials().unwrap();
        assert_eq!((keys.access(), keys.expose_session()), ("ASIASSO", Some("session")));
        let before = asked.load(Ordering::SeqCst);
        assert!(Arc::ptr_eq(&keys, &identity.credentials().unwrap()));
        assert_eq!(asked.load(Ordering::SeqCst), before, "kept while it is good");
    }
    fs::set_permissions(name("hospital"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    says("sso", "0600");
}
