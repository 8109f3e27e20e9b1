//! Whom stores are asked as: roles, web identities and machines, and what becomes of it while a run goes on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cordon_storage::{Location, ServerEncryption, StorageError, Store, StoreSettings, Trouble};

use crate::bucket::{Bucket, Dialect, fault};
use crate::servers::{Moto, Pki, Running, absent, free_port, output, private_file, python, wait_for};
use crate::standin;
use crate::tls::{Reply, serve};

fn open(address: &str, settings: StoreSettings, env: &[(&str, &str)]) -> Result<Store, StorageError> {
    let env: BTreeMap<String, String> =
        env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let look = |name: &str| env.get(name).cloned();
    Store::open_in(&Location::parse(address).unwrap(), &settings, Path::new("/"), &look)
}

/// moto checks signatures and policies once it is told to.
#[test]
fn roles_are_taken_by_the_right_of_a_profile() {
    let Some(moto) = Moto::start() else { return };
    let made = moto.python(
        r#"
iam, s3 = client("iam"), client("s3")
s3.create_bucket(Bucket="lake")
def policy(action): return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]})
def user(name, action):
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy(action))
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return [made["AccessKeyId"], made["SecretAccessKey"]]
def role(name, action):
    trust = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]})
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy(action))
    return made
print(json.dumps({"base": user("base", "sts:AssumeRole"), "weak": user("weak", "s3:ListBucket"),
    "lake": role("lake", ["s3:*"]), "hop": role("hop", ["sts:AssumeRole"])}))
"#,
    );
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".aws")).unwrap();
    let keys = |name: &str| {
        let (access, secret) = (text(&made[name][0]), text(&made[name][1]));
        format!("[{name}]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n")
    };
    let wrong = "[wrong]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = canary-secret\n";
    let (lake, hop) = (text(&made["lake"]), text(&made["hop"]));
    private_file(&home.path().join(".aws/credentials"), &(keys("base") + &keys("weak") + wrong));
    let config = format!(
        "[profile lake]\nrole_arn = {lake}\nsource_profile = base\nrole_session_name = cordon-test\nduration_seconds = 900\n\
         [profile hop]\nrole_arn = {hop}\nsource_profile = base\n\
         [profile two-hops]\nrole_arn = {lake}\nsource_profile = hop\nregion = us-east-1\n\
         [profile weak-role]\nrole_arn = {lake}\nsource_profile = weak\n\
         [profile wrong-role]\nrole_arn = {lake}\nsource_profile = wrong\n\
         [profile round]\nrole_arn = {lake}\nsource_profile = about\n[profile about]\nrole_arn = {lake}\nsource_profile = round\n\
         [profile code]\nrole_arn = {lake}\nsource_profile = base\nmfa_serial = arn:aws:iam::1:mfa/x\n\
         [profile program]\ncredential_process = /bin/echo canary\n\
         [profile from-env]\nrole_arn = {lake}\ncredential_source = Environment\n"
    );
    fs::write(home.path().join(".aws/config"), config).unwrap();
    let home = home.path().to_str().unwrap().to_owned();
    let base = (text(&made["base"][0]), text(&made["base"][1]));
    let by = |profile: Option<&str>, more: &[(&str, &str)]| {
        let settings = StoreSettings {
            endpoint: Some(moto.address.clone()),
            ca_file: Some(moto.pki.path("ca.pem")),
            profile: profile.map(str::to_owned),
            retry_seconds: Some(2),
            ..StoreSettings::default()
        };
        let sts = moto.address.clone();
        let env =
            [&[("HOME", home.as_str()), ("AWS_ENDPOINT_URL_STS", &sts), ("AWS_EC2_METADATA_DISABLED", "true")], more]
                .concat();
        open("s3://lake", settings, &env)
    };
    moto.check_signatures();
    for profile in ["lake", "two-hops"] {
        let store = by(Some(profile), &[]).unwrap();
        store.put_new(profile, vec![1; 10]).unwrap_or_else(|error| panic!("{profile}: {error}"));
        assert_eq!(store.small(profile, 100).unwrap().unwrap(), vec![1; 10]);
    }
    // Of the environment, too, and there a profile may be named.
    by(None, &[("AWS_PROFILE", "lake")]).unwrap().put_new("named", vec![1]).unwrap();
    let env = [("AWS_ACCESS_KEY_ID", base.0.as_str()), ("AWS_SECRET_ACCESS_KEY", base.1.as_str())];
    by(Some("from-env"), &env).unwrap().put_new("from-env", vec![1]).unwrap();
    // The user alone may not.
    assert_eq!(by(Some("base"), &[]).unwrap().put_new("x", vec![1]).unwrap_err().trouble, Trouble::Denied);
    for (profile, says) in [
        ("weak-role", "take that role"),
        ("wrong-role", "not known"),
        ("round", "its own `source_profile`"),
        ("code", "one-time code"),
        ("program", "a program gives"),
    ] {
        let error = by(Some(profile), &[]).unwrap().put_new("x", vec![1]).unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(matches!(error.trouble, Trouble::Credentials { passes: false, .. }), "{profile}: {said}");
        assert!(said.contains(says) && said.contains("s3://lake") && !said.contains("canary"), "{profile}: {said}");
    }
    assert!(by(Some("nobody"), &[]).is_err());

    // A token that the platform puts into a file.
    moto.skip_signatures();
    let token = private_file(&PathBuf::from(&home).join("token"), "header.claims.signature\n");
    let web = [("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_str()), ("AWS_ROLE_ARN", lake.as_str())];
    by(None, &web).unwrap().put_new("web", vec![1]).unwrap();
    let error = by(None, &web[..1]).unwrap().put_new("x", vec![1]).unwrap_err();
    assert!(matches!(&error.trouble, Trouble::Credentials { what, .. } if what.contains("AWS_ROLE_ARN")), "{error}");
    // An STS without TLS that is not this machine is not asked.
    let elsewhere = [web.as_slice(), &[("AWS_ENDPOINT_URL_STS", "http://sts.example")]].concat();
    let error = by(None, &elsewhere).unwrap().put_new("x", vec![1]).unwrap_err();
    assert!(matches!(&error.trouble, Trouble::Credentials { what, .. } if what.contains("write `https`")), "{error}");
}

/// A bucket that knows only keys that were given out and have not ended.
struct Expiring {
    endpoint: String,
    issued: Arc<Mutex<BTreeMap<String, Instant>>>,
}

const LIFE: Duration = Duration::from_secs(6);

/// Renewed, and each used for half of its life at the least.
fn is_renewed(count: usize, since: Instant) -> bool {
    count >= 3 && count as u64 <= since.elapsed().as_secs() / (LIFE.as_secs() / 2) + 2
}

impl Expiring {
    fn start(pki: &Pki) -> Self {
        let issued: Arc<Mutex<BTreeMap<String, Instant>>> = Arc::default();
        let (known, bucket) = (Arc::clone(&issued), Bucket::new(Dialect::S3));
        let endpoint = serve(pki, move |request| {
            let key =
                request.header("authorization").split("Credential=").nth(1).and_then(|rest| rest.split('/').next());
            let good =
                key.and_then(|key| known.lock().unwrap().get(key).copied()).is_some_and(|since| since.elapsed() < LIFE);
            if good && request.header("x-amz-security-token") == "session" {
                bucket.answer(request)
            } else {
                fault(400, "ExpiredToken")
            }
        });
        Self { endpoint, issued }
    }
}

/// A run may take longer than credentials live.
#[test]
fn keys_of_a_container_are_renewed_while_a_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(dir.path()) else { return };
    let expiring = Expiring::start(&pki);
    let issued = Arc::clone(&expiring.issued);
    let gives = Arc::new(AtomicBool::new(true));
    let giving = Arc::clone(&gives);
    let port = standin::serve(0, move |request| {
        assert_eq!((request.path.as_str(), request.header("authorization")), ("/role", "container-token"));
        if !giving.load(Ordering::SeqCst) {
            return (500, "CANARY".to_owned());
        }
        let mut issued = issued.lock().unwrap();
        let key = format!("ASIA{}", issued.len());
        issued.insert(key.clone(), Instant::now());
        let ends = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now() + LIFE).to_rfc3339();
        (200, format!(r#"{{"AccessKeyId":"{key}","SecretAccessKey":"s","Token":"session","Expiration":"{ends}"}}"#))
    });
    let token = private_file(&dir.path().join("token"), "container-token");
    let settings = StoreSettings {
        endpoint: Some(expiring.endpoint.clone()),
        ca_file: Some(pki.path("ca.pem")),
        retry_seconds: Some(2),
        ..StoreSettings::default()
    };
    let url = format!("http://127.0.0.1:{port}/role");
    let env = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token),
        ("HOME", "/nonexistent"),
    ];
    let store = open("s3://lake", settings, &env).unwrap();
    let start = Instant::now();
    // Many at once ask once.
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = store.clone();
            scope.spawn(move || {
                for at in 0..40 {
                    store
                        .put_new(&format!("{thread}-{at}"), vec![1; 100])
                        .unwrap_or_else(|error| panic!("{at}: {error}"));
                    std::thread::sleep(Duration::from_millis(250));
                }
            });
        }
    });
    let renewed = expiring.issued.lock().unwrap().len();
    assert!(is_renewed(renewed, start), "{renewed}");
    gives.store(false, Ordering::SeqCst);
    std::thread::sleep(LIFE);
    let error = store.put_new("none", vec![1]).unwrap_err();
    assert!(matches!(error.trouble, Trouble::Credentials { passes: true, .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("CANARY"));
    gives.store(true, Ordering::SeqCst);
    store.put_new("back", vec![1]).unwrap();
}

/// Entra's log-in and the machine's, against servers that hold requests to the documented interface: never against Azure.
#[test]
fn tokens_of_azure_are_for_storage_and_are_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(dir.path()) else { return };
    let issued: Arc<Mutex<BTreeMap<String, Instant>>> = Arc::default();
    let issue = {
        let issued = Arc::clone(&issued);
        move || {
            let mut issued = issued.lock().unwrap();
            let token = format!("token-{}", issued.len());
            issued.insert(token.clone(), Instant::now());
            format!(r#"{{"access_token":"{token}","expires_in":"{}","token_type":"Bearer"}}"#, LIFE.as_secs())
        }
    };
    let (known, logs_in, puts) = (Arc::clone(&issued), issue.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&puts);
    let address = serve(&pki, move |request| {
        if request.path == "/tenant/oauth2/v2.0/token" {
            let form = String::from_utf8(request.body.clone()).unwrap();
            let scope = "scope=https%3A%2F%2Fstorage.azure.com%2F.default";
            assert!(form.contains("grant_type=client_credentials&client_id=client") && form.contains(scope), "{form}");
            let known = form.contains("client_secret=hunter2") || form.contains("client_assertion=federated.token");
            return if known { Reply::text(200, logs_in()) } else { Reply::text(401, "CANARY") };
        }
        let token = request.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        if known.lock().unwrap().get(token).is_none_or(|since| since.elapsed() >= LIFE) {
            return Reply::text(401, "CANARY");
        }
        assert_eq!((request.method.as_str(), request.header("x-ms-blob-type")), ("PUT", "BlockBlob"));
        assert_eq!(request.header("if-none-match"), "*");
        counted.fetch_add(1, Ordering::SeqCst);
        Reply::empty(201).with("etag", "\"1\"").with("last-modified", "Fri, 27 Nov 2026 08:00:00 GMT")
    });
    let machine = standin::serve(0, move |request| {
        assert_eq!(request.header("metadata"), "true");
        assert!(
            request.path.ends_with("&resource=https%3A%2F%2Fstorage.azure.com&client_id=assigned"),
            "{}",
            request.path
        );
        (200, issue())
    });
    let federated = private_file(&dir.path().join("federated"), "federated.token\n");
    let (here, machine) = (format!("http://127.0.0.1:{machine}"), format!("{address}/"));
    let client =
        [("AZURE_TENANT_ID", "tenant"), ("AZURE_CLIENT_ID", "client"), ("AZURE_AUTHORITY_HOST", machine.as_str())];
    let with = |more: &[(&str, &str)]| {
        let settings = StoreSettings {
            endpoint: Some(address.clone()),
            ca_file: Some(pki.path("ca.pem")),
            account: Some("acc".to_owned()),
            retry_seconds: Some(2),
            ..StoreSettings::default()
        };
        open("az://tables", settings, more)
    };
    let secret = [&client[..], &[("AZURE_CLIENT_SECRET", "hunter2")]].concat();
    let store = with(&secret).unwrap();
    let start = Instant::now();
    for at in 0..40 {
        store.put_new(&format!("part-{at}"), vec![1; 10]).unwrap_or_else(|error| panic!("{at}: {error}"));
        std::thread::sleep(Duration::from_millis(250));
    }
    let renewed = issued.lock().unwrap().len();
    assert!(is_renewed(renewed, start), "{renewed}");
    with(&[&client[..], &[("AZURE_FEDERATED_TOKEN_FILE", federated.as_str())]].concat())
        .unwrap()
        .put_new("w", vec![1])
        .unwrap();
    with(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", here.as_str()), ("AZURE_CLIENT_ID", "assigned")])
        .unwrap()
        .put_new("m", vec![1])
        .unwrap();
    let wrong = with(&[&client[..], &[("AZURE_CLIENT_SECRET", "hunter3")]].concat())
        .unwrap()
        .put_new("x", vec![1])
        .unwrap_err();
    let said = format!("{wrong} {wrong:?}");
    assert!(matches!(wrong.trouble, Trouble::Credentials { passes: false, .. }), "{said}");
    assert!(!said.contains("CANARY") && !said.contains("hunter3"), "{said}");
    assert_eq!(puts.load(Ordering::SeqCst), 42);
}

/// Azurite checks the signature, with the header in it, and knows no encryption scopes: it is refused.
#[test]
fn an_encryption_scope_is_signed_and_looked_at() {
    const ACCOUNT: (&str, &str) = ("clinicdata", "Q0FOQVJZLWEtbWFkZS11cC1rZXktb2YtYXp1cml0ZQ==");
    let target = Path::new(&python()).ancestors().nth(3).unwrap().to_path_buf();
    let program = target.join("test-node/node_modules/azurite/dist/src/blob/main.js");
    if !program.is_file() {
        return absent("azurite").unwrap_or_default();
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(&dir.path().join("pki")) else { return };
    let (port, log) = (free_port(), dir.path().join("log"));
    let mut child = Command::new("node")
        .arg(program)
        .args([
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            &port.to_string(),
            "--skipApiVersionCheck",
            "--disableTelemetry",
        ])
        .args(["--cert", &pki.path("server.pem"), "--key", &pki.path("server.key"), "--location"])
        .arg(dir.path().join("data"))
        .env("AZURITE_ACCOUNTS", format!("{}:{}", ACCOUNT.0, ACCOUNT.1))
        .stdout(Stdio::from(fs::File::create(&log).unwrap()))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(port, &mut child, &log);
    let _running = Running(child);
    let endpoint = format!("https://localhost:{port}/{}", ACCOUNT.0);
    let script = r#"
import base64, email.utils, hashlib, hmac, ssl, sys, urllib.request
endpoint, account, key, ca = sys.argv[1:]
day = email.utils.formatdate(usegmt=True)
text = "PUT" + "\n" * 12 + f"x-ms-date:{day}\nx-ms-version:2021-08-06\n" + f"/{account}/{account}/tables\nrestype:container"
signature = base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()
headers = {"x-ms-date": day, "x-ms-version": "2021-08-06", "Authorization": f"SharedKey {account}:{signature}", "Content-Length": "0"}
request = urllib.request.Request(f"{endpoint}/tables?restype=container", method="PUT", headers=headers)
urllib.request.urlopen(request, context=ssl.create_default_context(cafile=ca)).read()
"#;
    output(Command::new(python()).args(["-c", script, &endpoint, ACCOUNT.0, ACCOUNT.1, &pki.path("ca.pem")]));
    let with = |scope: Option<&str>| {
        let settings = StoreSettings {
            endpoint: Some(endpoint.clone()),
            ca_file: Some(pki.path("ca.pem")),
            account: Some(ACCOUNT.0.to_owned()),
            server_encryption: scope.map(|scope| ServerEncryption::AzureScope(scope.to_owned())),
            retry_seconds: Some(5),
            ..StoreSettings::default()
        };
        open("az://tables", settings, &[("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT.1)]).unwrap()
    };
    let long = dir.path().join("long");
    fs::write(&long, vec![42; 20 << 20]).unwrap();
    with(None).put_new("plain", vec![1; 10]).unwrap();
    let scoped = with(Some("phi"));
    assert_eq!(scoped.put_new("whole", vec![1; 10]).unwrap_err().trouble, Trouble::NotSealed { removed: true });
    assert_eq!(scoped.upload("parts", &long).unwrap_err().trouble, Trouble::NotSealed { removed: true });
    let left: Vec<String> = with(None).list("").map(|object| object.unwrap().key).collect();
    assert_eq!(left, ["plain"]);
}
