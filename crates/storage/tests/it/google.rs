//! Google Cloud Storage, against a server of this test's own that holds requests to the documented XML interface: never against
//! Google. (The emulators that can be had speak the JSON interface, which is not the one that is used here.)

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cordon_storage::{Location, ServerEncryption, Store, StoreSettings, Trouble};

use crate::bucket::{Bucket, Dialect, fault};
use crate::servers::{Pki, output, private_file};
use crate::tls::{Reply, serve};

struct Google {
    dir: tempfile::TempDir,
    pki: Pki,
    bucket: Arc<Bucket>,
    endpoint: String,
    /// How many tokens were asked for.
    tokens: Arc<AtomicUsize>,
    /// Whether tokens are given.
    gives: Arc<AtomicBool>,
}

impl Google {
    /// Tokens are good for so long, and then refused.
    fn start(seconds: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::make(&dir.path().join("pki"))?;
        let bucket = Bucket::new(Dialect::Google);
        let (tokens, gives) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
        let issued = std::sync::Mutex::new(std::collections::BTreeMap::new());
        let (serves, counted, giving) = (Arc::clone(&bucket), Arc::clone(&tokens), Arc::clone(&gives));
        let endpoint = serve(&pki, move |request| {
            if request.path == "/token" {
                let body = String::from_utf8(request.body.clone()).unwrap();
                assert!(
                    body.starts_with("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=")
                );
                if !giving.load(Ordering::SeqCst) {
                    return Reply::text(503, "CANARY");
                }
                let token = format!("token-{}", counted.fetch_add(1, Ordering::SeqCst));
                issued.lock().unwrap().insert(token.clone(), std::time::Instant::now());
                return Reply::text(
                    200,
                    format!(r#"{{"access_token":"{token}","expires_in":{seconds},"token_type":"Bearer"}}"#),
                );
            }
            let token = request.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
            let good = issued.lock().unwrap().get(token).is_some_and(|since| since.elapsed().as_secs() < seconds);
            if good { serves.answer(request) } else { fault(401, "AuthenticationRequired") }
        });
        let openssl = |args: &[&str]| output(Command::new("openssl").args(args).current_dir(dir.path()));
        openssl(&["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key.pem"]);
        let account = serde_json::json!({
            "type": "service_account", "private_key": fs::read_to_string(dir.path().join("key.pem")).unwrap(),
            "client_email": "cordon@hospital.iam.gserviceaccount.com", "token_uri": format!("{endpoint}/token"),
        });
        private_file(&dir.path().join("account.json"), &account.to_string());
        Some(Self { dir, pki, bucket, endpoint, tokens, gives })
    }

    fn open(&self, settings: StoreSettings) -> Store {
        let account = self.dir.path().join("account.json").to_str().unwrap().to_owned();
        self.open_as(settings, &[("GOOGLE_APPLICATION_CREDENTIALS", &account)]).unwrap()
    }

    fn open_as(&self, settings: StoreSettings, env: &[(&str, &str)]) -> Result<Store, cordon_storage::StorageError> {
        let settings =
            StoreSettings { endpoint: Some(self.endpoint.clone()), ca_file: Some(self.pki.path("ca.pem")), ..settings };
        let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Store::open_in(&Location::parse("gs://lake/clinic").unwrap(), &settings, Path::new("/"), &env)
    }
}

#[test]
fn it_is_source_and_sink_and_a_name_is_taken_once() {
    let Some(google) = Google::start(3600) else { return };
    let store = google.open(StoreSettings::default());
    let long = google.dir.path().join("long");
    let bytes: Vec<u8> = (0..20_u32 << 18).flat_map(u32::to_le_bytes).collect();
    fs::write(&long, &bytes).unwrap();
    store.upload("data/part one#1.parquet", &long).unwrap_or_else(|error| panic!("{error}"));
    store.put_new("manifests/1", b"PARE".to_vec()).unwrap();
    assert_eq!(store.put_new("manifests/1", b"other".to_vec()).unwrap_err().trouble, Trouble::Exists);

    // Of many who come at once one gets it.
    let won: usize = std::thread::scope(|scope| {
        let many: Vec<_> = (0..8)
            .map(|at| {
                let store = store.clone();
                scope.spawn(move || store.put_new("manifests/2", vec![at; 100]).is_ok())
            })
            .collect();
        many.into_iter().map(|one| usize::from(one.join().unwrap())).sum()
    });
    assert_eq!(won, 1);

    let object = store.find("data/part one#1.parquet").unwrap().unwrap();
    assert_eq!(object.size, bytes.len() as u64);
    let mut read = Vec::new();
    store.reader(&object).unwrap().read_to_end(&mut read).unwrap();
    assert!(read == bytes);
    assert_eq!(store.tail("manifests/1", 2).unwrap(), (b"RE".to_vec().into(), 4));
    assert_eq!(store.range("manifests/1", 1..3).unwrap(), b"AR".to_vec());
    assert_eq!(store.find("manifests/3").unwrap(), None);
    let mut listed: Vec<String> = store.list("").map(|object| object.unwrap().key).collect();
    listed.sort();
    assert_eq!(listed, ["data/part one#1.parquet", "manifests/1", "manifests/2"]);
    let (files, folders) = store.names("").unwrap();
    assert!(files.is_empty());
    assert_eq!(folders, ["data", "manifests"]);
    store.remove("manifests/2").unwrap();
    store.remove("manifests/2").unwrap();
    assert_eq!(google.bucket.objects().len(), 2);
    assert_eq!(google.tokens.load(Ordering::SeqCst), 1, "a token is used as long as it is good");

    // An object that changes while it is read is an error.
    store.remove("manifests/1").unwrap();
    store.put_new("manifests/1", b"other".to_vec()).unwrap();
    let stale = cordon_storage::Object { key: "manifests/1".to_owned(), ..object };
    assert_eq!(store.reader(&stale).err().map(|error| error.trouble), Some(Trouble::Changed));
}

/// A run may take longer than a token lives.
#[test]
fn tokens_are_renewed_while_a_run_goes_on() {
    let Some(google) = Google::start(6) else { return };
    let start = std::time::Instant::now();
    let store = google.open(StoreSettings { retry_seconds: Some(2), ..StoreSettings::default() });
    for at in 0..40 {
        store.put_new(&format!("part-{at}"), vec![1; 100]).unwrap_or_else(|error| panic!("{at}: {error}"));
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
    let tokens = google.tokens.load(Ordering::SeqCst);
    // Each is used for half of its life at the least.
    let most = start.elapsed().as_secs() / 3 + 2;
    assert!(tokens >= 3 && tokens as u64 <= most, "{tokens}");
    // Who gives tokens is away: what is held is used to its end, then it is said, and then all is well again.
    google.gives.store(false, Ordering::SeqCst);
    std::thread::sleep(std::time::Duration::from_millis(6_100));
    let error = store.put_new("none", vec![1]).unwrap_err();
    assert!(matches!(&error.trouble, Trouble::Credentials { passes: true, .. }), "{error:?}");
    assert!(error.is_passing() && !error.to_string().contains("CANARY"), "{error}");
    google.gives.store(true, Ordering::SeqCst);
    store.put_new("back", vec![1]).unwrap();
}

#[test]
fn credentials_that_are_none_are_said_and_no_token_goes_elsewhere() {
    let Some(google) = Google::start(3600) else { return };
    let store =
        google.open_as(StoreSettings::default(), &[("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent")]).unwrap();
    let error = store.put_new("a", vec![1]).unwrap_err();
    assert!(matches!(&error.trouble, Trouble::Credentials { passes: false, .. }), "{error:?}");
    // Somebody else's certificate.
    google.pki.authority("stranger");
    let store = google.open(StoreSettings { retry_seconds: Some(1), ..StoreSettings::default() });
    let account = google.dir.path().join("account.json").to_str().unwrap().to_owned();
    let settings = StoreSettings {
        endpoint: Some(google.endpoint.clone()),
        ca_file: Some(google.pki.path("stranger.pem")),
        retry_seconds: Some(1),
        ..StoreSettings::default()
    };
    let env = |name: &str| (name == "GOOGLE_APPLICATION_CREDENTIALS").then(|| account.clone());
    let stranger = Store::open_in(&Location::parse("gs://lake").unwrap(), &settings, Path::new("/"), &env).unwrap();
    assert!(stranger.put_new("a", vec![1]).is_err());
    assert_eq!(google.tokens.load(Ordering::SeqCst), 0);
    store.put_new("a", vec![1]).unwrap();
}

/// What nobody finishes is given up, page by page.
#[test]
fn uploads_that_nobody_finishes_are_given_up() {
    let Some(google) = Google::start(3600) else { return };
    let store = google.open(StoreSettings::default());
    google.bucket.begin(&["clinic/visits/data/a b", "clinic/visits/data/b", "clinic/visits2/c", "other/d"]);
    // They are years old.
    assert_eq!(store.give_up_uploads("visits", std::time::Duration::from_hours(24 * 365 * 100)).unwrap(), 0);
    assert_eq!(store.give_up_uploads("visits/", std::time::Duration::ZERO).unwrap(), 2);
    assert_eq!(google.bucket.uploads(), 2);
    assert_eq!(store.give_up_uploads("", std::time::Duration::ZERO).unwrap(), 1);
    assert_eq!(google.bucket.uploads(), 1);
}

#[test]
fn a_key_of_its_kms_is_asked_for_and_looked_at() {
    let Some(google) = Google::start(3600) else { return };
    let long = google.dir.path().join("long");
    fs::write(&long, vec![42; 20 << 20]).unwrap();
    let key = "projects/hospital/locations/europe-west1/keyRings/phi/cryptoKeys/lake";
    let store = google.open(StoreSettings {
        server_encryption: Some(ServerEncryption::GoogleKms(key.to_owned())),
        ..StoreSettings::default()
    });
    store.put_new("whole", vec![1; 10]).unwrap();
    store.upload("parts", &long).unwrap();
    for (name, kept) in google.bucket.objects() {
        assert_eq!(kept.sealed["x-goog-encryption-kms-key-name"], key, "{name}");
    }
    let deaf = Bucket::made(Dialect::Google, |_| false);
    let answers = Arc::clone(&deaf);
    let endpoint = serve(&google.pki, move |request| answers.answer(request));
    let google = Google { endpoint, ..google };
    let store = google.open(StoreSettings {
        server_encryption: Some(ServerEncryption::GoogleKms(key.to_owned())),
        ..StoreSettings::default()
    });
    assert_eq!(store.put_new("whole", vec![1; 10]).unwrap_err().trouble, Trouble::NotSealed { removed: true });
    assert_eq!(store.upload("parts", &long).unwrap_err().trouble, Trouble::NotSealed { removed: true });
    assert!(deaf.objects().is_empty());
}
