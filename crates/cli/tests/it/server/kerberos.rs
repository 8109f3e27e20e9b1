//! Kerberos: curl over HTTP, psql and JDBC as clients of PostgreSQL, with a realm.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use super::clients::{CLASSES, DRIVER};
use super::realm::Realm;
use super::site::{PASSWORD, Site, add_user, folder, serve};
use crate::servers::absent;
use crate::support::{Said, said};

/// Lines of `log-in`.
pub fn log_in(realm: &Realm, more: &str) -> String {
    let keytab = realm.path("services.keytab");
    format!("    kerberos: {{ keytab: {}, realms: [CLINIC.EXAMPLE]{more} }}", keytab.display())
}

const FOR_POSTGRES: &str = ", postgres-service: postgres";

#[test]
fn a_ticket_lets_in_the_people_of_the_realm_once() {
    let Some(realm) = Realm::start() else { return };
    let Some(site) = Site::start_in(folder(""), &log_in(&realm, ""), "") else { return };
    let (url, ca) = (format!("https://localhost:{}/v1/status", site.http), site.pki.path("ca.pem"));
    let out = site.folder.dir.path().join("answer.json");
    let negotiate = || {
        let args =
            ["-sS", "--negotiate", "-u", ":", "--noproxy", "*", "--cacert", &ca, "-o", out.to_str().unwrap(), &url];
        realm.run("/usr/bin/curl", &args);
        serde_json::from_slice::<serde_json::Value>(&fs::read(&out).unwrap()).unwrap()
    };
    realm.ticket("ada", "ada.keytab", "5m");
    let said = negotiate();
    assert_eq!((said["principal"].as_str(), said["method"].as_str()), (Some("ada"), Some("Kerberos")), "{said}");
    // Another principal of the same person is not that person.
    realm.ticket("ada/admin", "admin.keytab", "5m");
    assert_eq!(negotiate()["status"], 401);
    realm.ticket("ada", "ada.keytab", "5m");
    let token = data_encoding::BASE64.encode(&realm.token().unwrap());
    let shown = || site.curl(&["-H", &format!("Authorization: Negotiate {token}"), &site.url("/v1/status")]);
    assert!(shown().is(200).header("www-authenticate").is_some_and(|reply| reply.starts_with("Negotiate ")));
    shown().is(401);
    // NTLM, what is nothing, and a ticket for another service of the same keytab.
    let other = data_encoding::BASE64.encode(&realm.token_for("postgres").unwrap());
    for other in ["TlRMTVNTUAABAAAABoIIAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "AAAA", "!", &other] {
        site.curl(&["-H", &format!("Authorization: Negotiate {other}"), &site.url("/v1/status")]).is(401);
    }
    let failed = site.folder.audit("log_in_failed");
    assert!(failed.iter().any(|event| event["what"] == "used before"), "{failed:?}");
    let other = ["for another service or key", "not a ticket that is taken"];
    assert!(failed.iter().any(|event| other.iter().any(|what| event["what"] == *what)), "{failed:?}");
}

/// psql with the tickets of the realm.
fn psql(realm: &Realm, site: &Site, user: &str, more: &str, options: &str) -> Said {
    let place = format!(
        "host=localhost port={} user={user} dbname=cordon gssencmode=disable sslmode=verify-full sslrootcert={} {more}",
        site.postgres,
        site.pki.path("ca.pem")
    );
    let mut psql = realm.command("psql");
    psql.args(["-X", "-A", "-t", "-w", "-d", &place, "-c", "SELECT count(*) FROM visits"]);
    said(psql.env("PGOPTIONS", format!("-c cordon.purpose=research {options}")).output().unwrap())
}

fn has(program: &str) -> bool {
    std::process::Command::new(program).arg("--version").output().is_ok() || absent::<()>(program).is_some()
}

#[test]
fn psql_is_let_in_by_a_ticket_for_the_service_and_its_user_alone() {
    let Some(realm) = Realm::start().filter(|_| has("psql")) else { return };
    let project = folder("");
    project.write("denied.yaml", "principals: [bob]");
    let more = "    denied: denied.yaml\n    mfa: { roles: [engineering], amr: [mfa] }";
    let log_in = format!("{}\n{more}", log_in(&realm, FOR_POSTGRES));
    let Some(site) = Site::start_in(project, &log_in, "") else { return };
    let nobody = psql(&realm, &site, "ada", "", "");
    assert!(nobody.code != 0 && nobody.err.contains("GSSAPI"), "without a ticket: {}", nobody.err);
    realm.ticket("ada", "ada.keytab", "5m");
    assert_eq!(psql(&realm, &site, "ada", "", "").ok().out, "400\n");
    // As where nothing is said: libpq asks for encryption by GSSAPI first, which there is not.
    assert_eq!(psql(&realm, &site, "ada", "gssencmode=prefer", "").ok().out, "400\n");
    for (user, more, options, why) in [
        ("ana", "", "", "another's name"),
        ("ada", "krbsrvname=ldap", "", "a ticket for another service"),
        ("ada", "krbsrvname=HTTP", "", "a ticket for another service of the same keytab"),
        ("ada", "sslmode=disable", "", "without TLS"),
        ("ada", "", "-c cordon.log_in=password", "a password, of which she has none"),
    ] {
        let refused = psql(&realm, &site, user, more, options);
        assert!(refused.code != 0 && refused.out.is_empty(), "{why}: {}", refused.all());
    }
    for (user, keytab) in [("ada/admin", "admin.keytab"), ("bob", "bob.keytab")] {
        realm.ticket(user, keytab, "5m");
        for said in [user, "ada"] {
            assert_ne!(psql(&realm, &site, said, "", "").code, 0, "{user} as {said}");
        }
    }
    let failed = site.folder.audit("log_in_failed");
    let why = |what: &str| failed.iter().filter(|event| event["method"] == "Kerberos" && event["what"] == what).count();
    assert_eq!(why("for another service or key") + why("not a ticket that is taken"), 2, "{failed:?}");
    assert_eq!(why("of another realm, or no person"), 2, "{failed:?}");
    assert_eq!(why("on the list of the denied"), 2, "{failed:?}");
    let logged_in = site.folder.audit("logged_in");
    assert!(logged_in.iter().any(|event| event["principal"] == "ada" && event["method"] == "Kerberos"));
    // Who has a password says so; the ticket of another is not looked at then.
    let place = format!(
        "host=localhost port={} user=ana dbname=cordon sslmode=verify-full sslrootcert={}",
        site.postgres,
        site.pki.path("ca.pem")
    );
    let ana = |options: &str| {
        let mut psql = realm.command("psql");
        psql.args(["-X", "-A", "-t", "-w", "-d", &place, "-c", "SELECT count(*) FROM visits"]);
        said(psql.env("PGPASSWORD", format!("{PASSWORD} of ana")).env("PGOPTIONS", options).output().unwrap())
    };
    assert_eq!(ana("-c cordon.purpose=research -c cordon.log_in=password").ok().out, "400\n");
    assert_ne!(ana("-c cordon.purpose=research").code, 0);
}

#[test]
fn roles_that_take_more_than_one_factor_are_not_let_in_by_a_ticket() {
    let Some(realm) = Realm::start().filter(|_| has("psql")) else { return };
    let log_in = format!("{}\n    mfa: {{ roles: [research], amr: [mfa] }}", log_in(&realm, FOR_POSTGRES));
    let Some(site) = Site::start_in(folder(""), &log_in, "") else { return };
    realm.ticket("ada", "ada.keytab", "5m");
    let refused = psql(&realm, &site, "ada", "", "");
    assert!(refused.code != 0 && refused.err.contains("more than one factor"), "{}", refused.err);
}

/// A connection in clear, which is for this machine only: every message is seen.
struct Raw(TcpStream);

impl Raw {
    fn begin(port: u16, user: &str) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut body = 196_608_i32.to_be_bytes().to_vec();
        body.extend(format!("user\0{user}\0\0").as_bytes());
        let mut raw = Self(socket);
        raw.0.write_all(&(body.len() as i32 + 4).to_be_bytes()).unwrap();
        raw.0.write_all(&body).unwrap();
        raw
    }

    /// The kind of a message and what is in it; nothing where the connection ends.
    fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.0.read_exact(&mut head).ok()?;
        let length = i32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4;
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        Some((head[0], body))
    }

    fn show(&mut self, token: &[u8]) -> Option<(u8, Vec<u8>)> {
        let _ = self.0.write_all(&[b"p".as_slice(), &(token.len() as i32 + 4).to_be_bytes(), token].concat());
        self.next()
    }
}

#[test]
fn what_a_client_shows_for_a_ticket_is_good_once_and_unchanged() {
    let Some(realm) = Realm::start() else { return };
    let keytab = realm.path("services.keytab");
    let project = folder(&format!(
        "server:\n  postgres: 127.0.0.1:0\n  log-in:\n    kerberos: {{ keytab: {}, realms: [CLINIC.EXAMPLE]{FOR_POSTGRES} }}\n    \
         local-users: {{ file: .cordon/users.yaml }}",
        keytab.display()
    ));
    add_user(&project, "ana", &format!("{PASSWORD} of ana"));
    let (_running, [_, port, _]) = serve(&project);
    realm.ticket("ada", "ada.keytab", "5m");
    let shown = |token: &[u8]| {
        let mut raw = Raw::begin(port, "ada");
        // AuthenticationGSS, and no other way beside it.
        assert_eq!(raw.next(), Some((b'R', 7_i32.to_be_bytes().to_vec())));
        (raw.show(token), raw)
    };
    let token = realm.token_for("postgres").unwrap();
    let (first, mut raw) = shown(&token);
    let (kind, body) = first.unwrap();
    assert_eq!((kind, &body[..4]), (b'R', 8_i32.to_be_bytes().as_slice()), "the server shows who it is");
    assert!(body.len() > 4);
    assert_eq!(raw.next(), Some((b'R', 0_i32.to_be_bytes().to_vec())));
    drop(raw);
    let refused = |token: &[u8], what: &str| {
        let (answer, mut raw) = shown(token);
        if let Some((kind, body)) = answer {
            let said = String::from_utf8_lossy(&body).into_owned();
            assert!(kind == b'E' && said.contains("28P01") && said.contains("the log-in failed"), "{what}: {said}");
        }
        assert_eq!(raw.next(), None, "{what}: the connection ends");
    };
    refused(&token, "used before");
    let fresh = || realm.token_for("postgres").unwrap();
    let mut changed = fresh();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    refused(&changed, "changed");
    let cut = fresh();
    refused(&cut[..cut.len() - 9], "cut off");
    // Now somebody who guesses waits, and whoever waits is told so.
    let (answer, _) = shown(&realm.token_for("HTTP").unwrap());
    assert!(answer.is_some_and(|(kind, _)| kind == b'E'), "a ticket for another service");
    refused_all(&shown);
    let failed = project.audit("log_in_failed");
    for what in ["used before", "for another service or key"] {
        assert!(
            failed.iter().any(|event| event["what"] == what && event["method"] == "Kerberos"),
            "{what}: {failed:?}"
        );
    }
    assert!(failed.iter().all(|event| event["principal"].is_null()), "what was not proven is nobody's: {failed:?}");
}

/// The message that came, and the connection.
type Answered = (Option<(u8, Vec<u8>)>, Raw);

/// Nothing, noise, a password, and what is larger than may be.
fn refused_all(shown: &dyn Fn(&[u8]) -> Answered) {
    for token in [
        b"".as_slice(),
        &[0; 4096],
        b"NTLMSSP\0\x01\0\0\0",
        b"seven horses in one stable of ana\0",
        &vec![0x60; 70_000],
    ] {
        let (answer, _) = shown(token);
        assert!(answer.is_none_or(|(kind, _)| kind == b'E'), "{} bytes", token.len());
    }
}

#[test]
fn jdbc_is_let_in_by_a_ticket() {
    if !Path::new(DRIVER).is_file() || !has("java") {
        return absent("Java with the JDBC driver of PostgreSQL").unwrap_or_default();
    }
    let Some(realm) = Realm::start() else { return };
    let Some(site) = Site::start_in(folder(""), &log_in(&realm, FOR_POSTGRES), "") else { return };
    realm.ticket("ada", "ada.keytab", "5m");
    // The driver takes the ticket from where kinit put it.
    let jaas = realm.path("jaas.conf");
    let cache = realm.path("cache");
    fs::write(
        &jaas,
        format!(
            "pgjdbc {{ com.sun.security.auth.module.Krb5LoginModule required useTicketCache=true doNotPrompt=true \
             ticketCache=\"{}\"; }};",
            cache.display()
        ),
    )
    .unwrap();
    let url = format!(
        "jdbc:postgresql://localhost:{}/cordon?sslmode=verify-full&sslrootcert={}&gssEncMode=disable",
        site.postgres,
        site.pki.path("ca.pem")
    );
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/server/Ticket.java");
    let mut java = realm.command("java");
    java.arg(format!("-Djava.security.krb5.conf={}", realm.path("krb5.conf").display()))
        .arg(format!("-Djava.security.auth.login.config={}", jaas.display()))
        .args(["-cp", &CLASSES.join(":"), source, &url]);
    let run = |user: &str| said(java_for(&realm, &java, user).output().unwrap());
    assert_eq!(run("ada").ok().out, "rows 400\n");
    let other = run("ana");
    assert!(other.code != 0 && !other.out.contains("rows"), "{}", other.all());
}

/// The same command with the user behind it.
fn java_for(realm: &Realm, java: &std::process::Command, user: &str) -> std::process::Command {
    let mut again = realm.command("java");
    again.args(java.get_args()).arg(user);
    again
}
