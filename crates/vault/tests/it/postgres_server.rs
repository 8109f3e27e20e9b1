//! A PostgreSQL of the test's own: TLS with certificates of its own, on a free port of this machine.
#![allow(clippy::unwrap_used, clippy::panic, dead_code)]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

pub struct Server {
    pub dir: tempfile::TempDir,
    pub port: u16,
}

/// Where Debian's package puts what is not in the path.
fn programs() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|e| e.path().join("bin")).collect();
    found.retain(|bin| bin.join("initdb").is_file());
    found.sort();
    found.pop()
}

/// Whether there is a PostgreSQL to test with.
pub fn is_installed() -> bool {
    let there = programs().is_some();
    let must = std::env::var("CORDON_TEST_NO_SKIP").is_ok_and(|value| value == "1");
    assert!(there || !must, "PostgreSQL is not installed (apt-get install postgresql-15)");
    if !there {
        eprintln!("skipped: PostgreSQL is not installed (apt-get install postgresql-15)");
    }
    there
}

fn run(command: &mut Command) -> Output {
    let out = command.stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{}: {}", command.get_program().display(), String::from_utf8_lossy(&out.stderr));
    out
}

/// Servers refuse to run as root; tests may.
fn unprivileged(program: &Path) -> Command {
    let root = String::from_utf8_lossy(&run(Command::new("id").arg("-u")).stdout).trim() == "0";
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(program);
    command.env("HOME", "/tmp").current_dir("/tmp");
    command
}

impl Server {
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { dir, port };
        let root = server.dir.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
        let inner = root.join("server");
        fs::create_dir(&inner).unwrap();
        certificates(root);
        for file in ["server.crt", "server.key", "ca.crt"] {
            fs::copy(root.join(file), inner.join(file)).unwrap();
        }
        fs::set_permissions(inner.join("server.key"), fs::Permissions::from_mode(0o600)).unwrap();
        if String::from_utf8_lossy(&run(Command::new("id").arg("-u")).stdout).trim() == "0" {
            run(Command::new("chown").arg("-R").arg("65534:65534").arg(&inner));
        }
        fs::write(root.join("password"), "admin-pw").unwrap();
        let bin = programs().unwrap();
        let data = inner.join("data");
        run(unprivileged(&bin.join("initdb"))
            .args(["-U", "postgres", "-A", "scram-sha-256", "--locale=C", "-E", "UTF8", "--no-sync", "--pwfile"])
            .arg(root.join("password"))
            .arg("-D")
            .arg(&data));
        let config = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\nssl = on\nssl_cert_file = '{d}/server.crt'\n\
             ssl_key_file = '{d}/server.key'\nssl_ca_file = '{d}/ca.crt'\nssl_min_protocol_version = 'TLSv1.3'\n",
            d = inner.display()
        );
        let hba = "hostssl all cert_user 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256\n\
                   hostnossl all plain_user 127.0.0.1/32 scram-sha-256\n";
        let extend = |file: &str, text: &str, add: bool| {
            let path = data.join(file);
            let before = if add { fs::read_to_string(&path).unwrap() } else { String::new() };
            fs::write(path, before + text).unwrap();
        };
        extend("postgresql.conf", &config, true);
        extend("pg_hba.conf", hba, false);
        server.up();
        server.sql(
            "CREATE ROLE vault_owner LOGIN PASSWORD 'owner-pw'; CREATE ROLE cordon LOGIN PASSWORD 'work-pw'; \
             CREATE ROLE cert_user LOGIN; CREATE ROLE plain_user LOGIN PASSWORD 'plain-pw'",
        );
        server.sql("CREATE DATABASE vault OWNER vault_owner");
        for (name, user, password) in [
            ("owner.pgpass", "vault_owner", "owner-pw"),
            ("work.pgpass", "cordon", "work-pw"),
            ("wrong.pgpass", "cordon", "other-pw"),
            ("plain.pgpass", "plain_user", "plain-pw"),
        ] {
            server.secret(name, &format!("*:*:*:{user}:{password}\n"));
        }
        server
    }

    fn secret(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("server/data")
    }

    pub fn up(&self) {
        let log = self.dir.path().join("server/log");
        let bin = programs().unwrap();
        run(unprivileged(&bin.join("pg_ctl"))
            .args(["-w", "-t", "60", "start", "-D"])
            .arg(self.data())
            .arg("-l")
            .arg(log));
        let until = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < until, "PostgreSQL does not start");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// `immediate` is as a crash.
    pub fn down(&self, mode: &str) {
        let bin = programs().unwrap();
        run(unprivileged(&bin.join("pg_ctl")).args(["-w", "-m", mode, "stop", "-D"]).arg(self.data()));
    }

    fn tool(&self, name: &str, user: &str, password: &str, database: &str) -> Command {
        let mut command = Command::new(programs().unwrap().join(name));
        command.env("PGPASSWORD", password).env("PGSSLMODE", "verify-full").env("PGCONNECT_TIMEOUT", "20");
        command.env("PGSSLROOTCERT", self.dir.path().join("ca.crt")).env_remove("PGSSLCERT");
        command.args(["-h", "127.0.0.1", "-U", user, "-p"]).arg(self.port.to_string()).args(["-d", database]);
        command
    }

    /// As the server's administrator.
    pub fn sql(&self, text: &str) {
        self.admin("postgres", text);
    }

    pub fn admin(&self, database: &str, text: &str) -> String {
        let mut psql = self.tool("psql", "postgres", "admin-pw", database);
        let out = run(psql.args(["-v", "ON_ERROR_STOP=1", "-At", "-X", "-c", text]));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    /// Whether the working role may do it.
    pub fn may(&self, text: &str) -> bool {
        let mut psql = self.tool("psql", "cordon", "work-pw", "vault");
        psql.args(["-v", "ON_ERROR_STOP=1", "-At", "-X", "-c", text]).output().unwrap().status.success()
    }

    /// What `pg_dump` says of the vault, for [`Self::restore`].
    pub fn backup(&self, file: &Path) {
        run(self.tool("pg_dump", "postgres", "admin-pw", "vault").arg("-f").arg(file));
    }

    /// Puts a backup in the place of the vault that is there.
    pub fn restore(&self, file: &Path) {
        self.admin("vault", "DROP SCHEMA cordon CASCADE");
        run(self
            .tool("psql", "postgres", "admin-pw", "vault")
            .args(["-v", "ON_ERROR_STOP=1", "-q", "-X", "-f"])
            .arg(file));
    }

    pub fn dump(&self) -> Vec<u8> {
        run(self.tool("pg_dump", "postgres", "admin-pw", "vault").arg("--inserts")).stdout
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(bin) = programs() {
            let _ = unprivileged(&bin.join("pg_ctl"))
                .args(["-w", "-m", "immediate", "stop", "-D"])
                .arg(self.data())
                .output();
        }
    }
}

/// An authority, a server's certificate, one of a client, and another authority that nobody trusts.
fn certificates(dir: &Path) {
    let openssl = |args: &str| {
        run(Command::new("openssl").args(args.split_whitespace()).current_dir(dir));
    };
    for ca in ["ca", "other"] {
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test-{ca} -keyout {ca}.key -out {ca}.crt"
        ));
    }
    for (name, subject, extra) in [
        ("server", "db.test", "subjectAltName=IP:127.0.0.1"),
        ("client", "cert_user", "extendedKeyUsage=clientAuth"),
        ("stranger", "cert_user", "extendedKeyUsage=clientAuth"),
    ] {
        let ca = if name == "stranger" { "other" } else { "ca" };
        fs::write(dir.join(format!("{name}.ext")), extra).unwrap();
        openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={subject} -keyout {name}.key -out {name}.csr"
        ));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA {ca}.crt -CAkey {ca}.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.crt"
        ));
        fs::set_permissions(dir.join(format!("{name}.key")), fs::Permissions::from_mode(0o600)).unwrap();
    }
}
