//! What was given and is taken back while it is in use: sessions, rights, certificates, places, purposes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::postgres::psql;
use super::site::{PASSWORD, Site, add_user, client_certificate, folder, serve};
use super::wire::Wire;
use crate::servers::{Running, output};
use crate::support::Folder;

/// A server of this machine, without TLS: the ports of HTTP and of PostgreSQL's protocol.
fn plain(limits: &str) -> (Folder, Running, [u16; 2]) {
    let section = format!(
        "server:\n  http: 127.0.0.1:0\n  postgres: 127.0.0.1:0\n  limits: {{ {limits} }}\n  log-in: {{ local-users: {{ file: \
         .cordon/users.yaml }}, denied: denied.yaml }}"
    );
    let project = folder(&section);
    project.write("denied.yaml", "{}");
    for name in ["ana", "ben"] {
        add_user(&project, name, &format!("{PASSWORD} of {name}"));
    }
    let (running, [http, postgres, _]) = serve(&project);
    (project, running, [http, postgres])
}

fn connect(port: u16, user: &str) -> Wire {
    let (wire, told) = Wire::connect(port, user, &format!("{PASSWORD} of {user}"));
    assert!(told.code.is_none() && !told.over, "{:?}", told.code);
    wire
}

fn change(project: &Folder, from: &str, to: &str) {
    let text = project.read("cordon.yaml");
    assert!(text.contains(from), "{text}");
    project.write("cordon.yaml", text.replacen(from, to, 1));
}

const ALL: &str = "SELECT points FROM visits";

#[test]
fn a_request_to_cancel_ends_what_runs_whenever_it_comes_and_nothing_that_comes_later() {
    let (project, _running, [_, port]) = plain("queries: 8");
    let long = "SELECT a.code, b.points FROM visits a, visits b, visits c";
    let connect = || Wire::connect(port, "ana", &format!("{PASSWORD} of ana"));
    let mut told_so = 0;
    for round in 1..=12 {
        let (mut wire, told) = connect();
        wire.begin(long, 137 * round);
        Wire::cancel(port, &told.key);
        let told = wire.told();
        // Where half a message had left there is nothing more that could be said.
        assert!(told.over || told.code.as_deref() == Some("57014"), "{:?} after {} rows", told.code, told.rows);
        told_so += u32::from(told.code.is_some());
    }
    eprintln!("{told_so} of 12 were told so");
    assert!(told_so > 0);
    let (mut wire, told) = connect();
    for _ in 0..3 {
        Wire::cancel(port, &told.key);
        let told = wire.simple(ALL);
        assert!(told.code.is_none() && !told.over && told.rows == 400, "{:?}", told.code);
    }
    let failed = project.audit("query_failed");
    assert!(failed.len() == 12 && failed.iter().all(|event| event["what"] == "cancelled"), "{failed:?}");
}

#[test]
fn rows_that_wait_for_their_client_are_not_handed_out_to_who_may_not_have_them_any_more() {
    let (project, _running, [_, port]) = plain("queries: 8");
    // All rows of the table are one batch, of which all but one wait.
    let mut of_session = connect(port, "ana");
    let mut of_right = connect(port, "ben");
    for wire in [&mut of_session, &mut of_right] {
        let told = wire.open(ALL, 1);
        assert_eq!((told.rows, told.code), (1, None));
        assert_eq!(wire.more(1).rows, 1);
    }
    change(&project, "{ name: ben, roles: [research] }", "{ name: ben, roles: [engineering] }");
    project.write("denied.yaml", "principals: [ANA]");
    // The connection of a session that is over is closed, also while it waits.
    let told = of_session.told();
    assert_eq!((told.rows, told.code.as_deref(), told.over), (0, Some("57P01"), true));
    let end = Instant::now() + Duration::from_secs(30);
    let told = loop {
        let told = of_right.more(1);
        if told.code.is_some() {
            break told;
        }
        assert!(Instant::now() < end, "rows go on to be handed out");
        sleep(Duration::from_millis(200));
    };
    assert_eq!((told.rows, told.code.as_deref()), (0, Some("42501")));
    let failed = project.audit("query_failed");
    assert_eq!(failed.len(), 2, "{failed:?}");
    assert!(failed.iter().all(|event| event["rows"] == 400), "what was computed for them: {failed:?}");
}

#[test]
fn a_portal_that_waits_holds_its_place_no_longer_than_a_query_may_take() {
    let (project, _running, [_, port]) = plain("query-timeout: 10s, queries-per-principal: 1");
    let mut waiting = connect(port, "ana");
    assert_eq!(waiting.open(ALL, 1).rows, 1);
    let mut other = connect(port, "ana");
    assert_eq!(other.simple("SELECT 1").code.as_deref(), Some("53300"));
    let given_back = |other: &mut Wire| {
        let end = Instant::now() + Duration::from_secs(40);
        while other.simple("SELECT 1").code.is_some() {
            assert!(Instant::now() < end, "the place is not given back");
            sleep(Duration::from_millis(200));
        }
    };
    given_back(&mut other);
    assert_eq!(waiting.more(1).code.as_deref(), Some("57014"));
    assert!(waiting.simple("ROLLBACK").code.is_none());
    assert_eq!(waiting.simple("SELECT 1").rows, 1);
    // Nor does one whose client takes nothing.
    waiting.send(b'Q', b"SELECT a.code, b.code, c.points FROM visits a, visits b, visits c\0");
    // Seen by the record: a question of the other could take the place that it is to have.
    let is_it = |event: &serde_json::Value| event["statement"].as_str().is_some_and(|text| text.contains("visits _"));
    let end = Instant::now() + Duration::from_secs(30);
    while !project.audit("query_started").iter().any(is_it) {
        assert!(Instant::now() < end, "it does not begin");
    }
    given_back(&mut other);
    assert!(waiting.told().over, "half an answer is not one");
    let failed = project.audit("query_failed");
    assert!(failed.iter().filter(|event| event["what"] == "late").count() >= 2, "{failed:?}");
}

#[test]
fn one_connection_and_one_client_keep_so_much_and_no_more() {
    let (_project, _running, [http, port]) = plain("connections: 8, request: 64KiB");
    let mut wires: Vec<Wire> = (0..3).map(|_| connect(port, "ana")).collect();
    let wire = &mut wires[0];
    let long = format!("SELECT '{}'", "x".repeat(60_000));
    let mut refused = None;
    for number in 0..20 {
        wire.send(b'P', &[format!("s{number}").as_bytes(), b"\0", long.as_bytes(), b"\0\0\0"].concat());
        wire.send(b'S', b"");
        if let Some(code) = wire.told().code {
            refused = Some((number, code));
            break;
        }
    }
    assert_eq!(refused, Some((4, "53200".to_owned())));
    assert_eq!(wire.simple(&format!("SET a.b = '{}'", "x".repeat(10_000))).code.as_deref(), Some("54000"));
    assert!(wire.simple("DEALLOCATE ALL").code.is_none());
    wire.send(b'P', &[b"s\0", long.as_bytes(), b"\0\0\0"].concat());
    wire.send(b'S', b"");
    assert!(wire.told().code.is_none());
    // Half of the connections are not one address's, and the others are not held by it.
    wires.push(connect(port, "ben"));
    let mut more = TcpStream::connect(("127.0.0.1", http)).unwrap();
    more.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let _ = more.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut answer = Vec::new();
    let _ = more.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 503"), "{}", String::from_utf8_lossy(&answer));
    drop(wires);
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let mut again = TcpStream::connect(("127.0.0.1", http)).unwrap();
        again.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let _ = again.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        answer.clear();
        let _ = again.read_to_end(&mut answer);
        if answer.starts_with(b"HTTP/1.1 200") {
            break;
        }
        assert!(Instant::now() < end, "the places are not given back");
    }
}

#[test]
fn a_connection_on_which_nobody_logs_in_does_not_last() {
    let (_project, _running, [http, _]) = plain("queries: 8");
    let basic = data_encoding::BASE64.encode(format!("ana:{PASSWORD} of ana").as_bytes());
    let login = format!("GET /v1/status HTTP/1.1\r\nhost: x\r\nauthorization: Basic {basic}\r\n\r\n");
    let ask = |socket: &mut TcpStream, request: &str| {
        let mut buffer = [0; 4096];
        socket.write_all(request.as_bytes()).is_ok() && socket.read(&mut buffer).is_ok_and(|read| read > 0)
    };
    let connect = || {
        let socket = TcpStream::connect(("127.0.0.1", http)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        socket
    };
    let (mut stranger, mut known, begun) = (connect(), connect(), Instant::now());
    assert!(ask(&mut known, &login));
    while ask(&mut stranger, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n") {
        assert!(begun.elapsed() < Duration::from_secs(90), "it lasts");
        sleep(Duration::from_secs(2));
        assert!(ask(&mut known, &login));
    }
    assert!(begun.elapsed() > Duration::from_secs(25), "{:?}", begun.elapsed());
    sleep(Duration::from_secs(2));
    assert!(ask(&mut known, &login), "who has logged in stays");
}

#[test]
fn what_one_user_of_a_connection_said_does_not_hold_for_the_next() {
    let Some(site) = Site::start("", "") else { return };
    let count = "SELECT count(*) FROM visits";
    let run = |options: &str, statements: &[&str]| {
        let args: Vec<&str> = statements.iter().flat_map(|sql| ["-c", *sql]).collect();
        psql(&site, "ana", options, &args)
    };
    let set = "SET cordon.purpose = 'research'";
    let Some(kept) = run("", &[set, count]) else { return };
    assert_eq!(kept.ok().out, "SET\n400\n");
    for reset in ["DISCARD ALL", "RESET ALL", "RESET cordon.purpose"] {
        let said = run("", &[set, reset, count]).unwrap();
        assert!(said.code != 0 && said.err.contains("22023"), "{reset}: {}", said.all());
        // What the connection began with comes back.
        let began = "-c cordon.purpose=research";
        let said = run(began, &["SET cordon.purpose = 'operations'", reset, count]).unwrap().ok();
        assert!(said.out.ends_with("\n400\n"), "{reset}: {}", said.out);
    }
    let local = "SET LOCAL cordon.purpose = 'research'";
    assert_eq!(run("", &["BEGIN", local, count]).unwrap().ok().out, "BEGIN\nSET\n400\n");
    for statements in [
        &["BEGIN", local, "COMMIT", count][..],
        &["BEGIN", local, "ROLLBACK", count],
        &["BEGIN", set, "ROLLBACK", count],
        &[local, count],
    ] {
        let said = run("", statements).unwrap();
        assert!(said.code != 0 && said.err.contains("22023"), "{statements:?}: {}", said.all());
    }
    for other in ["SET ROLE engineer", "SET SESSION AUTHORIZATION engineer", "SET role = engineer", "SET role = on"] {
        let said = run("", &[other]).unwrap();
        assert!(said.code != 0 && said.err.contains("42501"), "{other}: {}", said.all());
    }
    let said = run("", &["BEGIN", "DISCARD ALL"]).unwrap();
    assert!(said.code != 0 && said.err.contains("25001"), "{}", said.all());
}

#[test]
fn a_role_of_mfa_that_is_renamed_lets_nobody_in_by_one_factor() {
    let Some(site) = Site::start("    mfa: { roles: [auditing], amr: [mfa] }", "") else { return };
    site.get("ana", "/v1/status").is(200);
    site.get("ida", "/v1/status").is(401);
    change(&site.folder, "- name: auditing", "- name: audits");
    change(&site.folder, "{ name: ida, roles: [auditing] }", "{ name: ida, roles: [audits] }");
    site.until("ana's session ends", 30, |site| site.get("ana", "/v1/status").status == 401);
    site.get("ida", "/v1/status").is(401);
    let log = site.folder.dir.path().join("server.log");
    site.until("the operator is told", 15, |_| std::fs::read_to_string(&log).unwrap().contains("not defined any more"));
    change(&site.folder, "- name: audits", "- name: auditing");
    change(&site.folder, "{ name: ida, roles: [audits] }", "{ name: ida, roles: [auditing] }");
    site.until("ana is back", 30, |site| site.get("ana", "/v1/status").status == 200);
    site.get("ida", "/v1/status").is(401);
}

/// HTTP/1.1 over one connection of TLS with a certificate.
struct Kept {
    client: Running,
    answers: std::sync::mpsc::Receiver<String>,
}

impl Kept {
    fn open(site: &Site, [pem, key]: &[std::path::PathBuf; 2]) -> Self {
        let at = format!("127.0.0.1:{}", site.http);
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-connect", &at, "-CAfile", &site.pki.path("ca.pem"), "-cert"])
            .arg(pem)
            .arg("-key")
            .arg(key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (told, answers) = std::sync::mpsc::channel();
        let mut out = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut buffer) {
                let _ = told.send(String::from_utf8_lossy(&buffer[..read]).into_owned());
            }
        });
        Self { client: Running(child), answers }
    }

    fn status(&mut self) -> String {
        let input = self.client.0.stdin.as_mut().unwrap();
        input.write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        input.flush().unwrap();
        let mut answer = String::new();
        loop {
            answer += &self.answers.recv_timeout(Duration::from_secs(30)).unwrap();
            let Some((head, body)) = answer.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return answer.split(' ').nth(1).unwrap_or_default().to_owned();
            }
        }
    }
}

#[test]
fn a_certificate_that_is_revoked_is_of_no_use_to_a_connection_that_is_open() {
    let project = folder("");
    let dir = project.dir.path().join("pki");
    std::fs::create_dir_all(&dir).unwrap();
    let Some(pki) = crate::servers::Pki::make(&dir) else { return };
    pki.authority("clients");
    let ana = client_certificate(&pki, "clients", "ana", "/CN=ana", "");
    let ben = client_certificate(&pki, "clients", "ben", "/CN=ben", "");
    std::fs::write(dir.join("index.txt"), "").unwrap();
    std::fs::write(dir.join("crlnumber"), "01\n").unwrap();
    let settings =
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\ndefault_crl_days=2\n";
    std::fs::write(dir.join("ca.cnf"), settings).unwrap();
    let ca = |args: &[&str]| {
        let keys = ["ca", "-config", "ca.cnf", "-cert", "clients.pem", "-keyfile", "clients.key"];
        drop(output(Command::new("openssl").args(keys).args(args).current_dir(&dir)));
    };
    ca(&["-gencrl", "-out", "clients.crl"]);
    let log_in = format!("    certificates: {{ ca-file: {0}/clients.pem, crl-file: {0}/clients.crl }}", dir.display());
    let Some(site) = Site::start_in(project, &log_in, "") else { return };

    // Whoever tries wrong passwords behind the same address keeps nobody with a certificate out, nor who came in lately.
    site.get("ida", "/v1/status").is(200);
    let guess = |number: usize| site.curl(&["-u", &format!("name{number}:wrong"), &site.url("/v1/status")]).status;
    assert!((0..40).any(|number| guess(number) == 429), "guesses are slowed down");
    assert_eq!(Kept::open(&site, &ana).status(), "200");
    add_user(&site.folder, "ida", &format!("{PASSWORD} of ida"));
    site.get("ida", "/v1/status").is(200);
    for _ in 0..30 {
        site.curl(&["-H", "Authorization: Bearer abc", &site.url("/v1/status")]).is(401);
    }
    let failed = site.folder.audit("log_in_failed");
    let of_tokens: Vec<_> = failed.iter().filter(|event| event["method"] == "access token").collect();
    assert_eq!(of_tokens.len(), 20, "the record is not filled by what costs nothing");
    assert!(of_tokens[19]["what"].as_str().unwrap().contains("only counted"));

    let (mut of_ana, mut again, mut of_ben) =
        (Kept::open(&site, &ana), Kept::open(&site, &ana), Kept::open(&site, &ben));
    assert_eq!([of_ana.status(), again.status(), of_ben.status()], ["200", "200", "200"]);
    ca(&["-revoke", "ana.pem"]);
    ca(&["-gencrl", "-out", "clients.crl"]);
    let begun = Instant::now();
    while of_ana.status() == "200" {
        assert!(begun.elapsed() < Duration::from_secs(30), "it is let in still");
        assert_eq!(of_ben.status(), "200");
        let _ = again.status();
        sleep(Duration::from_millis(500));
    }
    assert_eq!([of_ana.status(), again.status(), of_ben.status()], ["401", "401", "200"]);
}
