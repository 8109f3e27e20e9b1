//! A realm in a folder, on a free port, stopped when it is dropped.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const NAME: &str = "CLINIC.EXAMPLE";

pub struct Realm {
    dir: tempfile::TempDir,
    centre: Child,
}

impl Drop for Realm {
    fn drop(&mut self) {
        let _ = self.centre.kill();
        let _ = self.centre.wait();
    }
}

impl Realm {
    /// With the services HTTP, ldap and postgres at localhost, and the users ada, bob and `ada/admin`. `services.keytab` is that of HTTP and
    /// postgres. None, with a word about it, where it is not installed.
    pub fn start() -> Option<Self> {
        for program in ["/usr/sbin/krb5kdc", "/usr/sbin/kadmin.local", "/usr/bin/kinit", "/usr/bin/curl"] {
            if !Path::new(program).exists() {
                assert!(std::env::var_os("CORDON_TEST_NO_SKIP").is_none(), "{program} is not installed");
                eprintln!("skipped: {program} is not installed; `cargo xtask test` installs it");
                return None;
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = dir.path().display();
        let client = format!(
            "[libdefaults]\n default_realm = {NAME}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n rdns = false\n \
             dns_canonicalize_hostname = false\n udp_preference_limit = 1\n[realms]\n {NAME} = {{\n  kdc = 127.0.0.1:{port}\n }}\n\
             [domain_realm]\n localhost = {NAME}\n"
        );
        let server = format!(
            "[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n[realms]\n {NAME} = {{\n  \
             database_name = {at}/principal\n  key_stash_file = {at}/stash\n  max_life = 10h\n }}\n[logging]\n kdc = FILE:{at}/kdc.log\n"
        );
        fs::write(dir.path().join("krb5.conf"), client).unwrap();
        fs::write(dir.path().join("kdc.conf"), server).unwrap();
        let run = |program: &str, args: &[&str]| {
            let done = environment(dir.path(), Command::new(program)).args(args).output().unwrap();
            assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
        };
        run("/usr/sbin/kdb5_util", &["-r", NAME, "create", "-s", "-P", "only in this test"]);
        let administer = |query: &str| run("/usr/sbin/kadmin.local", &["-r", NAME, "-q", query]);
        for (principal, keytab) in [
            ("HTTP/localhost", "http"),
            ("ldap/localhost", "ldap"),
            ("postgres/localhost", "postgres"),
            ("ada", "ada"),
            ("bob", "bob"),
            ("ada/admin", "admin"),
        ] {
            administer(&format!("addprinc -randkey {principal}"));
            administer(&format!("ktadd -k {at}/{keytab}.keytab {principal}"));
        }
        administer(&format!("ktadd -norandkey -k {at}/services.keytab HTTP/localhost postgres/localhost"));
        let mut centre = environment(dir.path(), Command::new("/usr/sbin/krb5kdc"));
        let centre = centre.args(["-n", "-r", NAME]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let realm = Self { dir, centre };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the realm does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(realm)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn run(&self, program: &str, args: &[&str]) {
        let done = self.command(program).args(args).output().unwrap();
        assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// A program that is a client of this realm.
    pub fn command(&self, program: &str) -> Command {
        environment(self.dir.path(), Command::new(program))
    }

    /// A new ticket for so long.
    pub fn ticket(&self, name: &str, keytab: &str, life: &str) {
        let (keytab, cache) = (self.path(keytab), self.path("cache"));
        self.run(
            "/usr/bin/kinit",
            &["-l", life, "-k", "-t", keytab.to_str().unwrap(), "-c", cache.to_str().unwrap(), name],
        );
    }

    /// The token that curl sends for the service at localhost.
    pub fn token(&self) -> Option<Vec<u8>> {
        self.token_for("HTTP")
    }

    pub fn token_for(&self, service: &str) -> Option<Vec<u8>> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        let mut curl = environment(self.dir.path(), Command::new("/usr/bin/curl"));
        let mut curl = curl
            .args(["--silent", "--max-time", "20", "--negotiate", "-u", ":", "--noproxy", "*"])
            .args(["--service-name", service, &address])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let asks = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let (mut first, _) = listener.accept().unwrap();
        let mut found = token_in(&mut first);
        first.write_all(asks.as_bytes()).unwrap();
        drop(first);
        // Without a ticket it does not come back.
        listener.set_nonblocking(true).unwrap();
        while found.is_none() {
            match listener.accept() {
                Ok((mut stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    found = token_in(&mut stream);
                    stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
                    break;
                }
                Err(_) if curl.try_wait().unwrap().is_some() => break,
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        let _ = curl.wait();
        found
    }
}

/// Of one request.
fn token_in(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut request, mut piece) = (Vec::new(), [0; 4096]);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "curl went away");
        request.extend(&piece[..count]);
    }
    let request = String::from_utf8(request).unwrap();
    let token = request.lines().find_map(|line| line.strip_prefix("Authorization: Negotiate "))?;
    Some(data_encoding::BASE64.decode(token.as_bytes()).unwrap())
}

/// Of this realm, and without a ticket of whoever runs the tests.
fn environment(dir: &Path, mut command: Command) -> Command {
    command
        .env("KRB5_CONFIG", dir.join("krb5.conf"))
        .env("KRB5_KDC_PROFILE", dir.join("kdc.conf"))
        .env("KRB5CCNAME", format!("FILE:{}", dir.join("cache").display()))
        .env("KRB5_CLIENT_KTNAME", dir.join("none"));
    command
}
