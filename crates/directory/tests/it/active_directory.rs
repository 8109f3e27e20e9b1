//! Samba's Active Directory. Its ports cannot be chosen, so it runs in a network of its own, and so does who asks it.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cordon_directory::{Directory, DirectoryConfig, Kind};
use zeroize::Zeroizing;

use crate::servers::{Pki, absent};
use crate::settings::config;

const FOLDER: &str = "CORDON_TEST_SAMBA";
const PASSWORD: &str = "Only-in-this-test-1";

#[test]
fn nested_groups_of_active_directory() {
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
    inside.args(["active_directory::inside", "--exact", "--ignored", "--nocapture"]).env(FOLDER, dir.path());
    let said = inside.output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && text.contains("1 passed"), "{text}");
}

struct Samba(Child);

impl Drop for Samba {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
#[ignore = "run by the test above, in a network of its own"]
async fn inside() {
    let dir = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let run = |program: &str, args: &[&str]| {
        let done = Command::new(program).args(args).current_dir(&dir).output().unwrap();
        assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    run("ip", &["link", "set", "lo", "up"]);
    run(
        "samba-tool",
        &[
            "domain",
            "provision",
            "--realm=CLINIC.TEST",
            "--domain=CLINIC",
            &format!("--adminpass={PASSWORD}"),
            "--server-role=dc",
            "--dns-backend=NONE",
            "--targetdir=d",
            "--host-name=dc1",
            "--host-ip=127.0.0.1",
            "--option=interfaces=lo",
            "--option=bind interfaces only=yes",
            "--option=tls enabled=yes",
        ],
    );
    let settings = dir.join("d/etc/smb.conf").display().to_string();
    // Its own certificate names nobody in the way that is asked for today.
    Pki::make(&dir).unwrap();
    fs::set_permissions(dir.join("server.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let tls = [("keyfile", "server.key"), ("certfile", "server.pem"), ("cafile", "ca.pem")];
    let tls = tls.map(|(what, file)| format!("--option=tls {what}={}", dir.join(file).display()));
    let samba = Command::new("/usr/sbin/samba")
        .args(["-i", "-M", "single", &format!("--configfile={settings}"), "--option=interfaces=lo"])
        .args(tls)
        .args(["--option=bind interfaces only=yes", "--option=server services=ldap, kdc, rpc, cldap"])
        .stdin(Stdio::null())
        .stdout(fs::File::create(dir.join("samba.log")).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _samba = Samba(samba);
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", 636)).is_err() {
        assert!(begun.elapsed() < Duration::from_mins(1), "{}", fs::read_to_string(dir.join("samba.log")).unwrap());
        std::thread::sleep(Duration::from_millis(100));
    }
    let tool = |args: &[&str]| run("samba-tool", &[args, &[&format!("--configfile={settings}")]].concat());
    for user in ["ada", "gone"] {
        tool(&["user", "create", user, PASSWORD]);
    }
    for group in ["ward", "clinicians", "readers", "others"] {
        tool(&["group", "add", group]);
    }
    tool(&["group", "addmembers", "ward", "ada,gone"]);
    tool(&["group", "addmembers", "clinicians", "ward"]);
    tool(&["group", "addmembers", "readers", "clinicians"]);
    tool(&["user", "disable", "gone"]);
    // Another group whose `cn` is that of `readers`, in another place.
    tool(&["ou", "create", "OU=projects,DC=clinic,DC=test"]);
    tool(&["group", "add", "project-readers", "--groupou=OU=projects"]);
    tool(&["group", "rename", "project-readers", "--force-new-cn=others-readers"]);
    tool(&["group", "addmembers", "project-readers", "ada"]);

    let asked = DirectoryConfig {
        kind: Kind::ActiveDirectory,
        ca_file: Some(dir.join("ca.pem")),
        bind: Some("ada@clinic.test".to_owned()),
        users: "DC=clinic,DC=test".to_owned(),
        timeout_seconds: 20,
        ..config("ldaps://localhost")
    };
    let directory = Directory::open(asked, &dir, Some(Zeroizing::new(PASSWORD.to_owned()))).unwrap();
    let found = directory.groups_of("ada").await.unwrap().unwrap();
    assert_eq!(
        found.groups.iter().map(String::as_str).collect::<Vec<_>>(),
        ["clinicians", "project-readers", "readers", "ward"]
    );
    assert_eq!(directory.groups_of("gone").await, Ok(None), "an account that is disabled");
    assert_eq!(directory.groups_of("nobody").await, Ok(None));
    assert_eq!(directory.groups_of("*").await, Ok(None));
    assert_eq!(directory.groups_of("Ada").await, Ok(None), "another name, whatever the directory thinks");
}
