//! OpenLDAP in a folder, over TLS, on a free port, stopped when it is dropped.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fmt::Write as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::servers::{Pki, absent};

/// Of who asks.
pub const PASSWORD: &str = "only in this test";

pub struct Slapd {
    dir: tempfile::TempDir,
    pub port: u16,
    running: Option<Child>,
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(program: &str, args: &[&str], at: &Path) {
    let done = Command::new(program).args(args).current_dir(at).output().unwrap();
    assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Slapd {
    pub fn start(entries: &str) -> Option<Self> {
        for program in ["/usr/sbin/slapd", "/usr/bin/openssl"] {
            if !Path::new(program).exists() {
                return absent(program);
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        // `other` issued nothing.
        Pki::make(at)?.authority("other");
        fs::create_dir(at.join("db")).unwrap();
        let w = at.display();
        let settings = format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\ninclude /etc/ldap/schema/inetorgperson.schema\n\
             include /etc/ldap/schema/nis.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {w}/slapd.pid\n\
             TLSCACertificateFile {w}/ca.pem\nTLSCertificateFile {w}/server.pem\nTLSCertificateKeyFile {w}/server.key\n\
             security tls=1\nsizelimit unlimited\n\
             database mdb\nsuffix \"dc=clinic,dc=example\"\nrootdn \"cn=admin,dc=clinic,dc=example\"\nrootpw \"{PASSWORD}\"\n\
             directory {w}/db\nindex objectClass,uid,member eq\n\
             access to attrs=userPassword by anonymous auth by * none\naccess to * by users read by * none\n"
        );
        fs::write(at.join("slapd.conf"), settings).unwrap();
        fs::write(at.join("entries.ldif"), entries).unwrap();
        run("/usr/sbin/slapadd", &["-f", "slapd.conf", "-l", "entries.ldif"], at);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut slapd = Self { dir, port, running: None };
        slapd.resume();
        Some(slapd)
    }

    pub fn resume(&mut self) {
        let urls = format!("ldaps://127.0.0.1:{}", self.port);
        let config = self.path("slapd.conf");
        let mut slapd = Command::new("/usr/sbin/slapd");
        slapd.args(["-d", "0", "-h", &urls, "-f"]).arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        self.running = Some(slapd.spawn().unwrap());
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "slapd does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.kill();
            let _ = running.wait();
        }
    }

    /// Changes entries (LDIF) while it is not running.
    pub fn change(&mut self, ldif: &str) {
        self.stop();
        fs::write(self.path("change.ldif"), ldif).unwrap();
        run("/usr/sbin/slapmodify", &["-f", "slapd.conf", "-l", "change.ldif"], self.dir.path());
        self.resume();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// People, and groups in groups: `ward` with ada in `clinicians` with bob in `readers`.
pub fn entries() -> String {
    let mut all =
        "dn: dc=clinic,dc=example\nobjectClass: dcObject\nobjectClass: organization\ndc: clinic\no: Clinic\n\n"
            .to_owned();
    for unit in ["people", "groups", "services", "elsewhere"] {
        write!(all, "dn: ou={unit},dc=clinic,dc=example\nobjectClass: organizationalUnit\nou: {unit}\n\n").unwrap();
    }
    let mut person = |place: &str, uid: &str, more: &str| {
        write!(
            all,
            "dn: uid={uid},ou={place},dc=clinic,dc=example\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid}\nsn: x\n{more}\n"
        )
        .unwrap();
    };
    person("services", "cordon", &format!("userPassword: {PASSWORD}\n"));
    for name in ["ada", "bob", "carl", "o(ddly)*named", "twin"] {
        person("people", name, "");
    }
    person("elsewhere", "eve", "");
    // The same name again, as another entry below the same place.
    all.push_str(
        "dn: cn=twin two,ou=people,dc=clinic,dc=example\nobjectClass: inetOrgPerson\nuid: twin\ncn: twin two\nsn: x\n\n",
    );
    let mut group = |name: &str, members: &[&str]| {
        write!(all, "dn: cn={name},ou=groups,dc=clinic,dc=example\nobjectClass: groupOfNames\ncn: {name}\n").unwrap();
        for member in members {
            let place = if member.starts_with("cn=") { "groups" } else { "people" };
            writeln!(all, "member: {member},ou={place},dc=clinic,dc=example").unwrap();
        }
        all.push('\n');
    };
    group("ward", &["uid=ada"]);
    group("clinicians", &["cn=ward", "uid=bob"]);
    group("readers", &["cn=clinicians"]);
    group("nobody", &["uid=not-there"]);
    // A circle.
    group("left", &["cn=right", "uid=carl"]);
    group("right", &["cn=left"]);
    group("odd", &["uid=o(ddly)*named"]);
    all.push_str("dn: uid=pat,ou=people,dc=clinic,dc=example\nobjectClass: account\nobjectClass: posixAccount\nuid: pat\ncn: pat\n");
    all.push_str("uidNumber: 1\ngidNumber: 1\nhomeDirectory: /home/pat\n\n");
    all.push_str("dn: cn=nurses,ou=groups,dc=clinic,dc=example\nobjectClass: posixGroup\ncn: nurses\ngidNumber: 7\nmemberUid: pat\n\n");
    all
}
