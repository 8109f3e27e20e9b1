//! A project whose root key only a key store can unwrap.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::servers::{Bao, Moto, SoftHsm, TRANSIT_POLICY};
use crate::support::{Said, binary, said};

/// A project under a store, with a table to be.
struct Kept {
    dir: TempDir,
    token: String,
    /// Variables that an HSM's module reads.
    hsm: Option<std::path::PathBuf>,
    pin: String,
}

impl Kept {
    fn init(root: &str, token: &str) -> Self {
        Self::init_with(root, token, None)
    }

    fn init_with(root: &str, token: &str, hsm: Option<std::path::PathBuf>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kept = Self { dir, token: token.to_owned(), hsm, pin: "4711".to_owned() };
        kept.at(kept.dir.path(), &["init", "p", "--root", root]).ok();
        let names = "mrn,name,seen\nM-1,Canary Quillfeather,2026-01-02\nM-2,Zebulon Canary,2026-02-03\n";
        fs::create_dir(kept.dir.path().join("p/data")).unwrap();
        fs::write(kept.dir.path().join("p/data/visits.csv"), names).unwrap();
        let policy = "policy: visits\nmethod: safe-harbor\ndatasets:\n  visits:\n    subject: mrn\n    fields:\n      mrn: { kind: \
                      medical-record-number }\n      name: { kind: name }\n      seen: { kind: service-date }\n";
        let pipeline = "pipeline: visits\npolicy: visits\nsources:\n  - { dataset: visits, path: data/visits.csv }\n";
        fs::write(kept.dir.path().join("p/policies/visits.yaml"), policy).unwrap();
        fs::write(kept.dir.path().join("p/pipelines/visits.yaml"), pipeline).unwrap();
        kept
    }

    fn command(&self, place: &Path, args: &[&str]) -> Command {
        let mut command = binary();
        command.args(args).current_dir(place).env("BAO_TOKEN", &self.token).env_remove("VAULT_TOKEN");
        command.env("AWS_ACCESS_KEY_ID", "AKIAMADEUP").env("AWS_SECRET_ACCESS_KEY", "made-up-secret-canary");
        if let Some(config) = &self.hsm {
            command.env("SOFTHSM2_CONF", config).env("CORDON_TEST_PIN", &self.pin);
        }
        command
    }

    fn at(&self, place: &Path, args: &[&str]) -> Said {
        let output: Output = self.command(place, args).output().unwrap();
        said(output)
    }

    fn cordon(&self, args: &[&str]) -> Said {
        self.at(&self.dir.path().join("p"), args)
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("p").join(name)
    }

    fn rows(&self) -> Said {
        let question = "SELECT count(*) AS n, count(DISTINCT mrn) AS m FROM visits";
        self.cordon(&["sql", question, "--as", "engineer", "--purpose", "operations", "--format", "json"])
    }

    fn set_root(&self, root: &str) {
        let text = fs::read_to_string(self.file("cordon.yaml")).unwrap();
        let lines = text
            .lines()
            .map(|line| if line.starts_with("  root: ") { format!("  root: {root}") } else { line.to_owned() });
        fs::write(self.file("cordon.yaml"), lines.collect::<Vec<_>>().join("\n")).unwrap();
    }

    fn events(&self, kind: &str) -> Vec<Value> {
        let said = self.cordon(&["audit", "list", "-n", "1000", "--kind", kind, "--format", "json"]).ok();
        said.json().as_array().unwrap().iter().map(|entry| entry["event"].clone()).collect()
    }
}

pub fn transit(bao: &Bao, key: &str) -> String {
    let ca = bao.pki.path("ca.pem");
    format!("{{ transit: {{ address: \"{}\", key: {key}, ca-file: \"{ca}\", timeout-seconds: 2 }} }}", bao.address)
}

#[test]
fn a_project_under_transit_works_and_stops_with_its_store() {
    let Some(mut bao) = Bao::start() else { return };
    let token = fs::read_to_string(bao.token("least", TRANSIT_POLICY)).unwrap();
    let mut kept = Kept::init(&transit(&bao, "cordon"), &token);
    assert!(!kept.file("secrets").exists());
    kept.cordon(&["run", "visits"]).ok();
    assert_eq!(kept.rows().ok().json()[0], serde_json::json!({ "n": 2, "m": 2 }));

    // Who used which key is on the record; the token is nowhere.
    let place = format!("transit key `cordon` at {}/transit", bao.address);
    let used = kept.events("key_store_used");
    assert!(used.iter().all(|event| event["store"] == *place), "{used:?}");
    assert_eq!(used[0]["what"], "wrapped");
    assert!(used.iter().skip(1).all(|event| event["what"] == "unwrapped") && used.len() >= 3);
    for entry in walk(&kept.file("")) {
        let bytes = fs::read(&entry).unwrap();
        assert!(!contains(&bytes, token.as_bytes()), "{}", entry.display());
    }

    // A wrong token, none, a sealed store, none at all, and back.
    let right = std::mem::replace(&mut kept.token, "s.wrong-canary-token".to_owned());
    let refused = kept.rows().exits(5);
    assert!(refused.err.contains(&place) && refused.err.contains("does not take these credentials"), "{}", refused.err);
    assert!(!refused.all().contains("canary"));
    kept.token = String::new();
    assert!(kept.rows().exits(5).err.contains("BAO_TOKEN"));
    kept.token = right;
    bao.seal();
    assert!(kept.cordon(&["run", "visits"]).exits(5).err.contains("sealed"));
    bao.stop();
    let down = kept.cordon(&["run", "visits", "--format", "json"]).exits(5).err;
    assert!(down.contains("cannot be reached") && down.contains(&bao.address), "{down}");
    bao.restart();
    bao.unseal();
    fs::write(kept.file("data/visits.csv"), "mrn,name,seen\nM-3,Canary,2026-01-02\n").unwrap();
    kept.cordon(&["run", "visits"]).ok();
    assert_eq!(kept.rows().ok().json()[0]["n"], 1);

    // Rotated in the store: the ring opens, status says so, rotate-root takes it up.
    bao.run(&["write", "-f", "transit/keys/cordon/rotate"]);
    let status = kept.cordon(&["keys", "status", "--format", "json"]).ok().json();
    assert_eq!((&status[0]["version"], &status[0]["newest"]), (&"1".into(), &"2".into()));
    assert!(kept.cordon(&["keys", "status"]).ok().all().contains("rotate-root"));
    let before = fs::read_to_string(kept.file(".cordon/keyring.json")).unwrap();
    kept.cordon(&["keys", "rotate-root"]).ok();
    let status = kept.cordon(&["keys", "status", "--format", "json"]).ok().json();
    assert_eq!(status[0]["version"], "2");
    assert_ne!(before, fs::read_to_string(kept.file(".cordon/keyring.json")).unwrap());
    assert_eq!(kept.rows().ok().json()[0]["n"], 1);

    // The ring of another project of the same store belongs to other tables and another log.
    let other = Kept::init(&transit(&bao, "cordon"), &token);
    let own = fs::read(other.file(".cordon/keyring.json")).unwrap();
    fs::copy(kept.file(".cordon/keyring.json"), other.file(".cordon/keyring.json")).unwrap();
    assert_ne!(other.cordon(&["keys", "status"]).code, 0);
    fs::write(other.file(".cordon/keyring.json"), own).unwrap();
    other.cordon(&["keys", "status"]).ok();

    // To a key file and to another key of the store; the old one opens nothing then.
    kept.cordon(&["keys", "rotate-root", "--new-root", "{ key-file: root.key }"]).ok();
    assert!(kept.rows().exits(5).err.contains("key file"));
    kept.set_root("{ key-file: root.key }");
    assert_eq!(kept.rows().ok().json()[0]["n"], 1);
    bao.run(&["write", "-f", "transit/keys/second", "type=aes256-gcm96"]);
    kept.token = fs::read_to_string(bao.token("second", &TRANSIT_POLICY.replace("cordon", "second"))).unwrap();
    kept.cordon(&["keys", "rotate-root", "--new-root", &transit(&bao, "third")]).exits(5);
    assert_eq!(kept.rows().ok().json()[0]["n"], 1);
    kept.cordon(&["keys", "rotate-root", "--new-root", &transit(&bao, "second")]).ok();
    kept.set_root(&transit(&bao, "cordon"));
    kept.token.clone_from(&bao.root_token);
    let wrong = kept.rows().exits(5).err;
    assert!(
        wrong.contains("was not wrapped by this key") && wrong.contains("wrapped by transit key `second`"),
        "{wrong}"
    );
    kept.set_root(&transit(&bao, "second"));
    assert_eq!(kept.rows().ok().json()[0]["n"], 1);
    kept.cordon(&["audit", "verify"]).ok();

    // The store's record shows no more of what it wrapped than the store's own hashes of it.
    let record = bao.audit_file();
    let plain = |text: &str| record.contains(&format!("\"plaintext\":\"{text}"));
    assert!(
        plain("hmac-sha256:")
            && record.matches("\"plaintext\":\"").count() == record.matches("\"plaintext\":\"hmac").count()
    );
}

#[test]
fn a_project_under_an_hsm_works_and_stops_with_it() {
    let Some(hsm) = SoftHsm::make() else { return };
    hsm.aes("cordon", 32, "01", "");
    hsm.aes("newer", 32, "02", "");
    let root = |key: &str| {
        format!("{{ pkcs11: {{ module: \"{}\", token: hospital, key: {key}, pin-env: CORDON_TEST_PIN }} }}", hsm.module)
    };
    let mut kept = Kept::init_with(&root("cordon"), "", Some(hsm.config()));
    kept.cordon(&["run", "visits"]).ok();
    assert_eq!(kept.rows().ok().json()[0]["n"], 2);
    let status = kept.cordon(&["keys", "status", "--format", "json"]).ok().json();
    assert_eq!((&status[0]["store"], &status[0]["about"]), (&"pkcs11".into(), &"AES-256-GCM".into()));
    let used = kept.events("key_store_used");
    assert!(used[0]["store"].as_str().unwrap().starts_with("pkcs11 key `cordon` at token `hospital`"));

    kept.pin = "999988".to_owned();
    let wrong = kept.rows().exits(5).err;
    assert!(wrong.contains("the PIN is wrong") && !wrong.contains("999988"), "{wrong}");
    kept.pin = String::new();
    assert!(kept.rows().exits(5).err.contains("CORDON_TEST_PIN"));
    kept.pin = "4711".to_owned();

    // Two keys of one module in one process.
    kept.cordon(&["keys", "rotate-root", "--new-root", &root("newer")]).ok();
    assert!(kept.rows().exits(5).err.contains("was not wrapped by this key"));
    kept.set_root(&root("newer"));
    assert_eq!(kept.rows().ok().json()[0]["n"], 2);
    kept.cordon(&["keys", "rotate-root"]).ok();
    assert_eq!(kept.rows().ok().json()[0]["n"], 2);
    hsm.delete("02");
    assert!(kept.rows().exits(5).err.contains("there is no such key"));
}

#[test]
fn a_project_under_a_kms_works_and_stops_with_its_key() {
    let Some(mut moto) = Moto::start() else { return };
    let made = moto.python(
        r#"
made = client("kms").create_key(KeySpec="SYMMETRIC_DEFAULT", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["KeyId"]
print(json.dumps(made))
"#,
    );
    let (key, ca) = (made.as_str().unwrap(), moto.pki.path("ca.pem"));
    let root = format!(
        "{{ aws-kms: {{ key: {key}, region: us-east-1, endpoint: \"{}\", ca-file: \"{ca}\", timeout-seconds: 5 }} }}",
        moto.address
    );
    let kept = Kept::init(&root, "");
    kept.cordon(&["run", "visits"]).ok();
    assert_eq!(kept.rows().ok().json()[0]["n"], 2);
    let status = kept.cordon(&["keys", "status", "--format", "json"]).ok().json();
    assert_eq!((&status[0]["store"], &status[0]["version"]), (&"aws-kms".into(), &key.into()));
    kept.cordon(&["keys", "rotate-root"]).ok();
    moto.python(&format!(r#"client("kms").disable_key(KeyId="{key}"); print("{{}}")"#));
    // moto goes on decrypting with a key that is disabled, AWS does not: only wrapping shows it here.
    let before = fs::read(kept.file(".cordon/keyring.json")).unwrap();
    let off = kept.cordon(&["keys", "rotate-root"]).exits(5);
    assert!(off.err.contains("cannot be used") && off.err.contains(key), "{}", off.err);
    assert!(!off.all().contains("canary"));
    assert_eq!(fs::read(kept.file(".cordon/keyring.json")).unwrap(), before);
    assert_eq!(kept.events("key_operation").last().unwrap()["outcome"], "failed");
    moto.stop();
    let down = kept.rows().exits(5).err;
    assert!(down.contains("cannot be reached") && down.contains(&moto.address), "{down}");
}

#[test]
fn a_store_that_says_no_leaves_no_half_of_a_project() {
    let Some(bao) = Bao::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let init = |root: &str, token: &str| {
        let mut command = binary();
        command.args(["init", "p", "--root", root]).current_dir(dir.path()).env("BAO_TOKEN", token);
        said(command.env_remove("VAULT_TOKEN").output().unwrap())
    };
    for (root, token, code) in [
        (transit(&bao, "typo"), bao.root_token.as_str(), 5),
        (transit(&bao, "cordon"), "s.wrong", 5),
        (transit(&bao, "cordon").replace("ca.pem", "none.pem"), bao.root_token.as_str(), 5),
        (
            transit(&bao, "cordon").replace("https:", "http:").replace("localhost", "bao.example"),
            bao.root_token.as_str(),
            5,
        ),
        (transit(&bao, "cordon").replace("address", "adress"), bao.root_token.as_str(), 2),
        ("{ transit: { address: \"https://localhost\" } }".to_owned(), bao.root_token.as_str(), 2),
        ("{ key-file: x }".to_owned(), bao.root_token.as_str(), 2),
    ] {
        let said = init(&root, token).exits(code);
        assert!(!said.all().contains(&bao.root_token));
        assert!(!dir.path().join("p").exists(), "{root}");
    }
    init(&transit(&bao, "cordon"), &bao.root_token).ok();
    let kept = fs::read_to_string(dir.path().join("p/cordon.yaml")).unwrap();
    assert!(kept.contains(&format!("  root: {}", transit(&bao, "cordon"))));
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|at| at == part)
}
