//! A project that is served over TLS on free ports, and curl.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::servers::{Pki, Running, output};
use crate::support::{Folder, binary};

pub const PASSWORD: &str = "seven horses in one stable";

/// Some hundred visits of which `ana` may see two columns for research, and costs that only the engineer may see.
pub fn folder(server: &str) -> Folder {
    let policy = "
policy: test
method: safe-harbor
datasets:
  visits:
    subject: patient
    fields:
      patient: { kind: medical-record-number }
      day: { kind: service-date }
      code: { kind: clinical }
      points: { kind: clinical, type: integer }
  costs:
    fields:
      amount: { kind: financial, type: decimal }
";
    let folder = Folder::with(
        policy,
        "  - { dataset: visits, path: in/visits.csv }\n  - { dataset: costs, path: in/costs.csv }",
    );
    let mut visits = String::from("patient,day,code,points\n");
    for number in 0..400 {
        visits.push_str(&format!("p{number},20{:02}-01-02,E{:02},{number}\n", 10 + number % 10, number % 20));
    }
    folder.write("in/visits.csv", visits);
    folder.write("in/costs.csv", "amount\n10.5\n");
    configure(&folder, server);
    folder.run_json("test", 0);
    folder
}

fn configure(folder: &Folder, server: &str) {
    folder.access(&format!(
        "access:
  roles:
    - name: research
      grants:
        - {{ datasets: [visits], columns: [day, code, points], purposes: [research] }}
    - name: engineering
      grants:
        - {{ datasets: [\"*\"], columns: [\"*\"], purposes: [operations] }}
    - name: auditing
      grants:
        - {{ datasets: [costs], columns: [amount], purposes: [oversight] }}
      actions:
        - {{ allow: [read-audit], purposes: [oversight] }}
  users:
    - {{ name: ana, roles: [research] }}
    - {{ name: ada, roles: [research] }}
    - {{ name: ben, roles: [research] }}
    - {{ name: engineer, roles: [engineering] }}
    - {{ name: ida, roles: [auditing] }}
{server}
"
    ));
}

/// A project and its server.
pub struct Site {
    pub folder: Folder,
    pub pki: Pki,
    pub running: Running,
    pub http: u16,
    pub postgres: u16,
    pub flight: u16,
    pub metrics: u16,
}

/// What curl got.
pub struct Got {
    pub status: u16,
    pub headers: String,
    pub body: String,
    pub curl: i32,
}

impl Got {
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "curl {}: {}\n{}", self.curl, self.headers, self.body);
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    pub fn lines(&self) -> Vec<Value> {
        self.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let find = |line: &'_ str| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        self.headers
            .lines()
            .find(|line| find(line))
            .and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim())
    }
}

impl Site {
    /// With local users; `log_in` and `limits` are lines of YAML under those sections.
    pub fn start(log_in: &str, limits: &str) -> Option<Self> {
        Self::start_in(folder(""), log_in, limits)
    }

    pub fn start_in(folder: Folder, log_in: &str, limits: &str) -> Option<Self> {
        Self::start_with(folder, log_in, limits, &[])
    }

    /// With variables of the environment.
    pub fn start_with(folder: Folder, log_in: &str, limits: &str, variables: &[(&str, &str)]) -> Option<Self> {
        let pki = Pki::make(&folder.dir.path().join("pki"))?;
        let pki_folder = pki.dir.display();
        let config = folder.read("cordon.yaml");
        folder.write(
            "cordon.yaml",
            format!(
                "{config}
server:
  http: 127.0.0.1:0
  postgres: 127.0.0.1:0
  flight: 127.0.0.1:0
  metrics: 127.0.0.1:0
  tls: {{ certificate: {pki_folder}/server.pem, key: {pki_folder}/server.key }}
  limits:
    session-lifetime: 1h
{limits}
  log-in:
    local-users: {{ file: .cordon/users.yaml }}
{log_in}
"
            ),
        );
        for name in ["ana", "ben", "engineer", "ida"] {
            add_user(&folder, name, &format!("{PASSWORD} of {name}"));
        }
        let (running, [http, postgres, flight, metrics]) =
            serve_at(&folder, ["http", "postgres", "flight", "metrics"], variables);
        Some(Self { folder, pki, running, http, postgres, flight, metrics })
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.http)
    }

    pub fn curl(&self, args: &[&str]) -> Got {
        let ca = self.pki.path("ca.pem");
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "60", "--noproxy", "*", "-D", "/dev/stderr", "--cacert", &ca]).args(args);
        got(command.output().unwrap())
    }

    pub fn get(&self, user: &str, path: &str) -> Got {
        let credential = format!("{user}:{PASSWORD} of {user}");
        self.curl(&["-u", &credential, &self.url(path)])
    }

    pub fn ask_as(&self, credential: &[&str], question: &Value, more: &[&str]) -> Got {
        let (text, url) = (question.to_string(), self.url("/v1/query"));
        let args = [credential, &["-H", "content-type: application/json", "-d", &text, &url], more].concat();
        self.curl(&args)
    }

    pub fn ask(&self, user: &str, sql: &str, purpose: &str) -> Got {
        let credential = format!("{user}:{PASSWORD} of {user}");
        self.ask_as(&["-u", &credential], &json!({ "sql": sql, "purpose": purpose }), &[])
    }

    pub fn metrics(&self) -> String {
        let url = format!("http://127.0.0.1:{}/metrics", self.metrics);
        output(Command::new("curl").args(["-sS", "--noproxy", "*", &url]))
    }

    pub fn metric(&self, name: &str) -> f64 {
        let text = self.metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    pub fn count(&self, name: &str) -> u64 {
        self.metric(name) as u64
    }

    /// Waits for something that is to come.
    #[track_caller]
    pub fn until(&self, what: &str, seconds: u64, is: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(seconds);
        while !is(self) {
            assert!(Instant::now() < end, "not within {seconds} s: {what}\n{}", self.metrics());
            sleep(Duration::from_millis(100));
        }
    }

    /// Stops it as an operator would, and says how it ended.
    pub fn stop(mut self) -> (Folder, i32) {
        self.running.signal("-TERM");
        let status = self.running.0.wait().unwrap();
        (self.folder, status.code().unwrap_or(-1))
    }
}

pub fn got(out: Output) -> Got {
    let headers = String::from_utf8_lossy(&out.stderr).into_owned();
    let status =
        headers.lines().filter_map(|line| line.strip_prefix("HTTP/")?.split(' ').nth(1)?.parse().ok()).next_back();
    Got {
        status: status.unwrap_or(0),
        headers,
        body: String::from_utf8_lossy(&out.stdout).into_owned(),
        curl: out.status.code().unwrap_or(-1),
    }
}

pub fn add_user(folder: &Folder, name: &str, password: &str) {
    use std::io::Write;
    let mut child = binary()
        .args(["serve", "user", "add", name, "-q"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// The server, and the ports of HTTP, PostgreSQL's protocol and metrics.
pub fn serve(folder: &Folder) -> (Running, [u16; 3]) {
    serve_at(folder, ["http", "postgres", "metrics"], &[])
}

/// The server, and where it speaks what.
fn serve_at<const N: usize>(folder: &Folder, what: [&str; N], variables: &[(&str, &str)]) -> (Running, [u16; N]) {
    let log = fs::File::create(folder.dir.path().join("server.log")).unwrap();
    let mut child = binary()
        .args(["serve", "--format", "json"])
        .envs(variables.iter().copied())
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let running = Running(child);
    let said: Value = serde_json::from_str(&line)
        .unwrap_or_else(|_| panic!("{}", fs::read_to_string(folder.dir.path().join("server.log")).unwrap()));
    let port = |name: &str| {
        let at = said["listening"][name].as_str().unwrap_or("-:0");
        at.rsplit_once(':').unwrap().1.parse().unwrap()
    };
    (running, what.map(port))
}

/// A certificate for a client, of an authority of [`Pki`]: the paths of it and of its key.
pub fn client_certificate(pki: &Pki, authority: &str, name: &str, subject: &str, extensions: &str) -> [PathBuf; 2] {
    let [key, csr, pem, ext] = ["key", "csr", "pem", "ext"].map(|kind| pki.dir.join(format!("{name}.{kind}")));
    let openssl = |args: &[&str]| drop(output(Command::new("openssl").args(args).current_dir(&pki.dir)));
    let path = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let usage = if extensions.contains("extendedKeyUsage") { "" } else { "extendedKeyUsage=clientAuth\n" };
    fs::write(&ext, format!("{usage}{extensions}")).unwrap();
    let new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject];
    openssl(&[&new[..], &["-keyout", &path(&key), "-out", &path(&csr)]].concat());
    let (ca, ca_key) = (format!("{authority}.pem"), format!("{authority}.key"));
    let sign = ["x509", "-req", "-in", &path(&csr), "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial", "-days", "2"];
    openssl(&[&sign[..], &["-out", &path(&pem), "-extfile", &path(&ext)]].concat());
    [pem, key]
}
