//! OpenLDAP, over TLS.

use std::fmt::Write as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cordon_directory::{Directory, DirectoryConfig, DirectoryError, Kind};
use zeroize::Zeroizing;

use crate::servers::{Pki, absent};
use crate::settings::config;

const PASSWORD: &str = "only in this test";

struct Slapd {
    dir: tempfile::TempDir,
    port: u16,
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
    fn start(entries: &str) -> Option<Self> {
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

    fn resume(&mut self) {
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

    fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.kill();
            let _ = running.wait();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self) -> DirectoryConfig {
        DirectoryConfig {
            ca_file: Some(self.path("ca.pem")),
            bind: Some("uid=cordon,ou=services,dc=clinic,dc=example".to_owned()),
            users: "ou=people,dc=clinic,dc=example".to_owned(),
            groups: Some("ou=groups,dc=clinic,dc=example".to_owned()),
            ..config(&format!("ldaps://localhost:{}", self.port))
        }
    }

    fn open(&self, config: DirectoryConfig, password: &str) -> Directory {
        Directory::open(config, self.dir.path(), Some(Zeroizing::new(password.to_owned()))).unwrap()
    }
}

fn entries() -> String {
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

#[tokio::test]
async fn groups_in_groups_count_and_nothing_is_guessed() {
    let Some(mut slapd) = Slapd::start(&entries()) else { return };
    let directory = slapd.open(slapd.config(), PASSWORD);
    for (user, groups) in [
        ("ada", vec!["clinicians", "readers", "ward"]),
        ("bob", vec!["clinicians", "readers"]),
        ("carl", vec!["left", "right"]),
        ("o(ddly)*named", vec!["odd"]),
    ] {
        let found = directory.groups_of(user).await.unwrap().unwrap();
        assert_eq!(found.groups.iter().map(String::as_str).collect::<Vec<_>>(), groups, "{user}");
    }
    // Names are names and no patterns; who is below another place, or not there, is nobody.
    // Nor is one who is written in another way, whom the directory finds: all else tells them apart.
    for nobody in ["*", "a*", "ada)(uid=*", "eve", "cordon", "", "ad", "ada\0", "uid=ada", "Ada", "ADA", "ada ", " ada"]
    {
        assert_eq!(directory.groups_of(nobody).await, Ok(None), "{nobody:?}");
    }
    assert_eq!(directory.groups_of("twin").await, Err(DirectoryError::Ambiguous));
    let posix = slapd.open(DirectoryConfig { kind: Kind::Posix, ..slapd.config() }, PASSWORD);
    assert!(posix.groups_of("pat").await.unwrap().unwrap().groups.contains("nurses"));
    assert_eq!(posix.groups_of("Pat").await, Ok(None));

    // Kept for a second, and not for longer: who is down is not believed by what was said before.
    slapd.stop();
    directory.groups_of("bob").await.ok();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(directory.groups_of("ada").await, Err(DirectoryError::Down));
    slapd.resume();
    assert!(directory.groups_of("ada").await.unwrap().is_some());
}

#[tokio::test]
async fn a_directory_that_is_not_trusted_or_does_not_trust_is_told_as_that() {
    let Some(slapd) = Slapd::start(&entries()) else { return };
    let of = |change: &dyn Fn(&mut DirectoryConfig), password: &str| {
        let mut config = slapd.config();
        change(&mut config);
        slapd.open(config, password)
    };
    let wrong = of(&|_| {}, "CANARY");
    assert_eq!(wrong.groups_of("ada").await, Err(DirectoryError::Refused));
    let stranger = of(&|config| config.bind = Some("uid=ada,ou=people,dc=clinic,dc=example".to_owned()), PASSWORD);
    assert_eq!(stranger.groups_of("ada").await, Err(DirectoryError::Refused));
    // Whoever does not bind sees nothing here; that is not taken for "in no group".
    let unbound = of(&|config| config.bind = None, PASSWORD).groups_of("ada").await;
    assert!(!matches!(unbound, Ok(Some(_))), "{unbound:?}");
    let other = of(&|config| config.ca_file = Some(slapd.path("other.pem")), PASSWORD);
    assert_eq!(other.groups_of("ada").await, Err(DirectoryError::NotTrusted));
    let name = of(&|config| config.url = format!("ldaps://127.0.0.2:{}", slapd.port), PASSWORD);
    assert!(matches!(name.groups_of("ada").await, Err(DirectoryError::NotTrusted | DirectoryError::Down)));
    // Somebody who says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let slow = of(
        &|config| {
            config.url = format!("ldaps://localhost:{port}");
            config.timeout_seconds = 1;
        },
        PASSWORD,
    );
    assert_eq!(slow.groups_of("ada").await, Err(DirectoryError::Slow));
}
