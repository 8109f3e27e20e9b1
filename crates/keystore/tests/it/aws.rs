use std::fs;
use std::path::Path;
use std::sync::Arc;

use cordon_keystore::{KeyStore, StoreConfig, Trouble, open};
use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::servers::{Moto, free_port, private_file};
use crate::standin::{Request, again_with, serve};

const RING: &str = "00112233445566778899aabbccddeeff";
const KEY: [u8; 32] = *b"\x01\x93\xd5made-up root key, 32 bytes\x00\xff\x7f";

fn store(config: Value) -> Arc<dyn KeyStore> {
    let config: StoreConfig = serde_json::from_value(json!({ "aws-kms": config })).unwrap();
    open(&config, Path::new("/")).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn trouble<T>(result: Result<T, cordon_keystore::KeyStoreError>) -> Trouble {
    let error = result.err().expect("refused");
    assert!(error.to_string().contains("aws-kms key"), "{error}");
    error.trouble
}

/// moto checks signatures and policies once it is told to.
#[test]
fn a_kms_wraps_for_its_ring_and_says_what_is_wrong() {
    let home = tempfile::tempdir().unwrap();
    let name = "aws::a_kms_wraps_for_its_ring_and_says_what_is_wrong";
    let variables =
        [("HOME", home.path().to_str().unwrap().to_owned()), ("AWS_EC2_METADATA_DISABLED", "true".to_owned())];
    if !again_with(name, &variables) {
        return;
    }
    let Some(moto) = Moto::start() else { return };
    let made = moto.python(
        r#"
kms, iam = client("kms"), client("iam")
def key(spec): return kms.create_key(KeySpec=spec, KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]
first, other, rsa = key("SYMMETRIC_DEFAULT"), key("SYMMETRIC_DEFAULT"), key("RSA_2048")
kms.create_alias(AliasName="alias/cordon", TargetKeyId=first["KeyId"])
def user(name, actions):
    iam.create_user(UserName=name)
    text = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(text))
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return [made["AccessKeyId"], made["SecretAccessKey"]]
print(json.dumps({
    "first": first["KeyId"], "arn": first["Arn"], "other": other["KeyId"], "rsa": rsa["KeyId"],
    "least": user("least", ["kms:DescribeKey", "kms:Encrypt", "kms:Decrypt"]),
    "half": user("half", ["kms:DescribeKey", "kms:Encrypt"]),
}))
"#,
    );
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let profile = |name: &str, access: &str, secret: &str| {
        format!("[{name}]\naws_access_key_id = {access}\n aws_secret_access_key={secret}\n\n")
    };
    let pair = |name: &str| (made[name][0].as_str().unwrap(), made[name][1].as_str().unwrap());
    let aws = Path::new(&std::env::var("HOME").unwrap()).join(".aws");
    fs::create_dir_all(&aws).unwrap();
    let credentials = [
        profile("least", pair("least").0, pair("least").1),
        profile("half", pair("half").0, pair("half").1),
        profile("stranger", "AKIAIOSFODNN7EXAMPLE", "canary-secret"),
        profile("wrong", pair("least").0, "canary-secret"),
    ];
    private_file(&aws.join("credentials"), &credentials.concat());
    fs::write(aws.join("config"), "[profile role]\nrole_arn = arn:aws:iam::1:role/x\n[profile least]\nregion = x\n")
        .unwrap();
    let with = |key: &str, profile: &str| {
        let ca = moto.pki.path("ca.pem");
        store(json!({
            "key": key, "region": "us-east-1", "endpoint": moto.address, "ca-file": ca, "profile": profile, "timeout-seconds": 5,
        }))
    };
    moto.check_signatures();

    let cordon = with(&text("first"), "least");
    let wrapped = cordon.wrap_proven(&KEY, RING).unwrap();
    assert_eq!(*cordon.unwrap(&wrapped, RING).unwrap(), KEY);
    assert_eq!(*with(&text("arn"), "least").unwrap(&wrapped, RING).unwrap(), KEY);
    let alias = with("alias/cordon", "least");
    assert_eq!(*alias.unwrap(&wrapped, RING).unwrap(), KEY);
    assert_eq!(trouble(cordon.unwrap(&wrapped, "ff")), Trouble::WrongKey);
    for damaged in ["", "aws-kms:v1:AAAA:x", "nonsense", &wrapped.replacen(':', "", 1)] {
        let said = trouble(cordon.unwrap(damaged, RING));
        assert!(matches!(said, Trouble::WrongKey | Trouble::Refused { .. }), "{damaged}: {said:?}");
    }
    let status = cordon.status(&wrapped).unwrap();
    assert_eq!((status.version, status.newest), (Some(text("first")), Some(text("first"))));
    assert_eq!(status.about, "symmetric, Enabled");

    // Who may not, who is not known, who has none.
    let half = with(&text("first"), "half");
    half.wrap(&KEY, RING).unwrap();
    assert_eq!(
        trouble(half.wrap_proven(&KEY, RING)),
        Trouble::Forbidden { what: "decrypt with this key (kms:Decrypt)" }
    );
    for profile in ["stranger", "wrong"] {
        let error = with(&text("first"), profile).unwrap(&wrapped, RING).err().unwrap();
        assert!(matches!(error.trouble, Trouble::CredentialsRefused { .. }), "{profile}: {error}");
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
    assert!(matches!(trouble(with(&text("first"), "none").unwrap(&wrapped, RING)), Trouble::NoCredentials { .. }));
    let role = trouble(with(&text("first"), "role").unwrap(&wrapped, RING));
    assert!(matches!(&role, Trouble::NoCredentials { what } if what.contains("role to assume")), "{role:?}");
    let ca = moto.pki.path("ca.pem");
    let config = json!({ "key": text("first"), "region": "us-east-1", "endpoint": moto.address, "ca-file": ca });
    assert!(matches!(trouble(store(config.clone()).unwrap(&wrapped, RING)), Trouble::NoCredentials { .. }));
    moto.pki.authority("stranger");
    let mut untrusted = config;
    untrusted["ca-file"] = json!(moto.pki.path("stranger.pem"));
    untrusted["profile"] = json!("least");
    assert!(matches!(trouble(store(untrusted).unwrap(&wrapped, RING)), Trouble::NotTrusted { .. }));

    // Other keys.
    // AWS says IncorrectKeyException, moto AccessDeniedException.
    let other = trouble(with(&text("other"), "least").unwrap(&wrapped, RING));
    assert!(matches!(other, Trouble::WrongKey | Trouble::Forbidden { .. }), "{other:?}");
    assert!(matches!(trouble(with(&text("rsa"), "least").wrap(&KEY, RING)), Trouble::KeyUnusable { .. }));
    let missing = "00000000-0000-4000-8000-000000000000";
    assert_eq!(trouble(with(missing, "least").wrap(&KEY, RING)), Trouble::KeyMissing);

    // An alias that points elsewhere opens what the first key wrapped, and wraps with the second.
    moto.skip_signatures();
    moto.python(&format!(
        r#"client("kms").update_alias(AliasName="alias/cordon", TargetKeyId="{}"); print("{{}}")"#,
        text("other")
    ));
    assert_eq!(*alias.unwrap(&wrapped, RING).unwrap(), KEY);
    let status = alias.status(&wrapped).unwrap();
    assert_eq!((status.version, status.newest), (Some(text("first")), Some(text("other"))));
    let newer = alias.wrap_proven(&KEY, RING).unwrap();
    assert!(newer.ends_with(&text("other")));

    // Disabled, then waiting for deletion.
    moto.python(&format!(r#"client("kms").disable_key(KeyId="{}"); print("{{}}")"#, text("first")));
    assert!(matches!(trouble(cordon.wrap(&KEY, RING)), Trouble::KeyUnusable { how } if how.contains("Disabled")));
    moto.python(&format!(r#"client("kms").schedule_key_deletion(KeyId="{}"); print("{{}}")"#, text("first")));
    assert!(
        matches!(trouble(cordon.wrap(&KEY, RING)), Trouble::KeyUnusable { how } if how.contains("PendingDeletion"))
    );
}

/// A KMS that says who asked, and unwraps everything to one key.
fn kms(credentials: &'static str, session: &'static str) -> u16 {
    serve(0, move |request: &Request| {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/"));
        assert_eq!(request.header("content-type"), "application/x-amz-json-1.1");
        assert_eq!(request.header("x-amz-target"), "TrentService.Decrypt");
        let known = request.header("authorization").starts_with(&format!("AWS4-HMAC-SHA256 Credential={credentials}/"));
        if !known || request.header("x-amz-security-token") != session {
            return (400, json!({ "__type": "UnrecognizedClientException", "message": "canary" }).to_string());
        }
        assert_eq!(request.json()["EncryptionContext"], json!({ "cordon-key-ring": RING }));
        (200, json!({ "KeyId": "k", "Plaintext": BASE64.encode(&KEY) }).to_string())
    })
}

fn at(port: u16) -> Arc<dyn KeyStore> {
    store(
        json!({ "key": "k", "region": "eu-west-3", "endpoint": format!("http://127.0.0.1:{port}"), "timeout-seconds": 2 }),
    )
}

#[test]
fn credentials_of_the_environment_are_taken_first() {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "AKIDENV".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "canary-secret".to_owned()),
        ("AWS_SESSION_TOKEN", "session-env".to_owned()),
        ("AWS_REGION", "eu-west-3".to_owned()),
    ];
    if !again_with("aws::credentials_of_the_environment_are_taken_first", &variables) {
        return;
    }
    assert_eq!(*at(kms("AKIDENV", "session-env")).unwrap("aws-kms:v1:AAAA:k", RING).unwrap(), KEY);
    let said = at(kms("OTHER", "session-env")).unwrap("aws-kms:v1:AAAA:k", RING).err().unwrap();
    assert!(matches!(said.trouble, Trouble::CredentialsRefused { .. }) && !format!("{said:?}").contains("canary"));
}

#[test]
fn credentials_of_a_container_are_found() {
    let port = free_port();
    let variables = [
        ("HOME", "/nonexistent".to_owned()),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://127.0.0.1:{port}/v1/credentials?x=1")),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic made-up".to_owned()),
        ("CORDON_TEST_PORT", port.to_string()),
    ];
    if !again_with("aws::credentials_of_a_container_are_found", &variables) {
        return;
    }
    let port = std::env::var("CORDON_TEST_PORT").unwrap().parse().unwrap();
    serve(port, |request| {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/v1/credentials?x=1"));
        assert_eq!(request.header("authorization"), "Basic made-up");
        let given = json!({
            "AccessKeyId": "ASIACONT", "SecretAccessKey": "s", "Token": "session-cont", "Expiration": "2030-01-01T00:00:00Z",
        });
        (200, given.to_string())
    });
    assert_eq!(*at(kms("ASIACONT", "session-cont")).unwrap("aws-kms:v1:AAAA:k", RING).unwrap(), KEY);
}

#[test]
fn credentials_of_a_machine_are_found() {
    let port = free_port();
    let variables = [
        ("HOME", "/nonexistent".to_owned()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://127.0.0.1:{port}/")),
        ("CORDON_TEST_PORT", port.to_string()),
    ];
    if !again_with("aws::credentials_of_a_machine_are_found", &variables) {
        return;
    }
    let port = std::env::var("CORDON_TEST_PORT").unwrap().parse().unwrap();
    serve(port, |request| match (request.method.as_str(), request.path.as_str()) {
        ("PUT", "/latest/api/token") if request.header("x-aws-ec2-metadata-token-ttl-seconds") == "300" => {
            (200, "metadata-token".to_owned())
        }
        _ if request.header("x-aws-ec2-metadata-token") != "metadata-token" => (401, String::new()),
        ("GET", "/latest/meta-data/iam/security-credentials/") => (200, "cordon-role\n".to_owned()),
        ("GET", "/latest/meta-data/iam/security-credentials/cordon-role") => {
            let given = json!({ "Code": "Success", "AccessKeyId": "ASIAROLE", "SecretAccessKey": "s", "Token": "session-role" });
            (200, given.to_string())
        }
        _ => (404, String::new()),
    });
    assert_eq!(*at(kms("ASIAROLE", "session-role")).unwrap("aws-kms:v1:AAAA:k", RING).unwrap(), KEY);
}

#[test]
fn where_no_credentials_are_it_says_so_soon() {
    let variables = [
        ("HOME", "/nonexistent".to_owned()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://127.0.0.1:{}", free_port())),
    ];
    if !again_with("aws::where_no_credentials_are_it_says_so_soon", &variables) {
        return;
    }
    let said = trouble(at(1).unwrap("aws-kms:v1:AAAA:k", RING));
    assert!(matches!(said, Trouble::NoCredentials { .. }), "{said:?}");
}

#[test]
fn a_region_is_needed_and_an_arn_has_one() {
    if !again_with("aws::a_region_is_needed_and_an_arn_has_one", &[]) {
        return;
    }
    let opened = |config: Value| {
        let config: StoreConfig = serde_json::from_value(json!({ "aws-kms": config })).unwrap();
        open(&config, Path::new("/")).map(|store| store.place().to_string()).map_err(|error| error.trouble)
    };
    let arn = "arn:aws:kms:ca-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    assert!(opened(json!({ "key": arn })).unwrap().ends_with("at ca-central-1"));
    assert!(matches!(opened(json!({ "key": "k" })), Err(Trouble::Configuration { .. })));
    for region in ["", "eu west", "evil.example/", "a.b"] {
        assert!(
            matches!(opened(json!({ "key": "k", "region": region })), Err(Trouble::Configuration { .. })),
            "{region}"
        );
    }
}
