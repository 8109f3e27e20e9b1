//! Samba's Active Directory. Its ports cannot be chosen, so it runs in a network of its own, and so does who asks it.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::servers::{Pki, absent};

const FOLDER: &str = "CORDON_TEST_SAMBA";
pub const PASSWORD: &str = "Only-in-this-test-1";

pub struct Samba {
    pub dir: PathBuf,
    pub pki: Pki,
    running: Option<Child>,
    settings: String,
}

impl Drop for Samba {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.kill();
            let _ = running.wait();
        }
    }
}

/// Runs an ignored test of this program in a network of its own.
pub fn in_a_network(test: &str) {
    for program in ["/usr/sbin/samba", "/usr/bin/samba-tool"] {
        if !Path::new(program).exists() {
            return absent::<()>(program).unwrap_or_default();
        }
    }
    // Its files belong to several users, so it takes the system's administrator.
    let root = Command::new("id").arg("-u").output().unwrap().stdout.trim_ascii() == b"0";
    let dir = tempfile::tempdir().unwrap();
    let mut inside = Command::new(if root { "unshare" } else { "sudo" });
    inside.args(if root { &[][..] } else { &["--preserve-env", "unshare"] });
    inside.args(["--net", "--"]).arg(std::env::current_exe().unwrap());
    inside.args([test, "--exact", "--ignored", "--nocapture"]).env(FOLDER, dir.path());
    let said = inside.output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && text.contains("1 passed"), "{text}");
}

impl Samba {
    /// A domain `CLINIC.TEST` without people, in the network that [`in_a_network`] made.
    pub fn start() -> Self {
        let dir = PathBuf::from(std::env::var_os(FOLDER).unwrap());
        run(&dir, "ip", &["link", "set", "lo", "up"]);
        let password = format!("--adminpass={PASSWORD}");
        let provision =
            ["domain", "provision", "--realm=CLINIC.TEST", "--domain=CLINIC", &password, "--server-role=dc"];
        let rest = [
            "--dns-backend=NONE",
            "--targetdir=d",
            "--host-name=dc1",
            "--host-ip=127.0.0.1",
            "--option=interfaces=lo",
            "--option=bind interfaces only=yes",
            "--option=tls enabled=yes",
        ];
        run(&dir, "samba-tool", &[&provision[..], &rest].concat());
        let settings = dir.join("d/etc/smb.conf").display().to_string();
        // Its own certificate names nobody in the way that is asked for today.
        let pki = Pki::make(&dir).unwrap();
        fs::set_permissions(dir.join("server.key"), fs::Permissions::from_mode(0o600)).unwrap();
        let tls = [("keyfile", "server.key"), ("certfile", "server.pem"), ("cafile", "ca.pem")];
        let tls = tls.map(|(what, file)| format!("--option=tls {what}={}", dir.join(file).display()));
        let running = Command::new("/usr/sbin/samba")
            .args(["-i", "-M", "single", &format!("--configfile={settings}"), "--option=interfaces=lo"])
            .args(tls)
            .args(["--option=bind interfaces only=yes", "--option=server services=ldap, kdc, rpc, cldap"])
            .stdin(Stdio::null())
            .stdout(fs::File::create(dir.join("samba.log")).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let samba = Self { dir, pki, running: Some(running), settings };
        let begun = Instant::now();
        while [88, 636].iter().any(|port| TcpStream::connect(("127.0.0.1", *port)).is_err()) {
            let log = || fs::read_to_string(samba.dir.join("samba.log")).unwrap();
            assert!(begun.elapsed() < Duration::from_mins(1), "{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        samba
    }

    pub fn tool(&self, args: &[&str]) {
        run(&self.dir, "samba-tool", &[args, &[&format!("--configfile={}", self.settings)]].concat());
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }
}

fn run(dir: &Path, program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).current_dir(dir).output().unwrap();
    assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}
