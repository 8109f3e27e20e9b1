//! Arrow Flight SQL: ADBC with pandas and Polars, pyarrow's client, and calls that no client would make.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::oidc;
use super::realm::Realm;
use super::site::{PASSWORD, Site, client_certificate, folder};
use crate::servers::{Running, absent, free_port, python};
use crate::support::{Folder, said};

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/server/flight.py");

fn password(user: &str) -> String {
    format!("{PASSWORD} of {user}")
}

/// Where Python has the clients; `None`, said aloud, where not.
fn clients() -> Option<()> {
    let modules = "import adbc_driver_flightsql, pandas, polars, pyarrow.flight";
    let ready = Command::new(python()).args(["-c", modules]).output();
    if ready.is_ok_and(|out| out.status.success()) { Some(()) } else { absent("Python with adbc-driver-flightsql") }
}

fn client(site: &Site, what: &str, user: &str, more: &[&str]) -> Command {
    let uri = format!("grpc+tls://127.0.0.1:{}", site.flight);
    let mut command = Command::new(python());
    command.args([CLIENTS, what, &uri, &site.pki.path("ca.pem"), user, &password(user)]).args(more);
    // A proxy of the environment is none of this machine.
    command.env("no_proxy", "*").env("NO_PROXY", "*").env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// The lines of JSON that a client prints.
#[track_caller]
fn run(site: &Site, what: &str, user: &str, more: &[&str]) -> Vec<Value> {
    let said = said(client(site, what, user, more).output().unwrap()).ok();
    said.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// What a call got.
pub struct Called {
    /// gRPC's; 0 is well.
    pub status: i32,
    pub words: String,
    pub headers: String,
    pub body: Vec<u8>,
}

impl Called {
    #[track_caller]
    pub fn is(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.words, self.headers);
        self
    }

    fn header(&self, name: &str) -> Option<&str> {
        let line = self.headers.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
        Some(line.split_once(':')?.1.trim())
    }
}

pub fn bearer(token: &str) -> [String; 2] {
    ["-H".to_owned(), format!("authorization: Bearer {token}")]
}

fn basic(user: &str) -> [String; 2] {
    ["-u".to_owned(), format!("{user}:{}", password(user))]
}

fn frame(message: &[u8]) -> Vec<u8> {
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

/// A call by curl, for research.
pub fn call(site: &Site, credential: &[String], method: &str, message: &[u8]) -> Called {
    sent(site, credential, method, "application/grpc", &frame(message))
}

fn sent(site: &Site, credential: &[String], method: &str, kind: &str, bytes: &[u8]) -> Called {
    let file = site.folder.dir.path().join("sent.bin");
    fs::write(&file, bytes).unwrap();
    let out = Command::new("curl")
        .args(["-sS", "--max-time", "60", "--noproxy", "*", "--http2", "-D", "/dev/stderr"])
        .args(["--cacert", &site.pki.path("ca.pem"), "-H", "x-cordon-purpose: research", "-H", "te: trailers"])
        .args(["-H", &format!("content-type: {kind}"), "--data-binary", &format!("@{}", file.display())])
        .args(credential)
        .arg(format!("https://127.0.0.1:{}/arrow.flight.protocol.FlightService/{method}", site.flight))
        .output()
        .unwrap();
    let headers = String::from_utf8_lossy(&out.stderr).into_owned();
    let mut called = Called { status: -1, words: String::new(), headers, body: out.stdout };
    called.status = called.header("grpc-status").and_then(|status| status.parse().ok()).unwrap_or(-1);
    called.words = called.header("grpc-message").unwrap_or_default().to_owned();
    called
}

/// A field of protobuf that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut length) = (vec![number << 3 | 2], bytes.len());
    while length > 127 {
        out.push((length & 127) as u8 | 128);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(bytes);
    out
}

fn any(name: &str, message: &[u8]) -> Vec<u8> {
    let url = format!("type.googleapis.com/arrow.flight.protocol.sql.{name}");
    [field(1, url.as_bytes()), field(2, message)].concat()
}

fn descriptor(name: &str, message: &[u8]) -> Vec<u8> {
    [&[8, 2][..], &field(2, &any(name, message))].concat()
}

fn asks(sql: &str) -> Vec<u8> {
    descriptor("CommandStatementQuery", &field(1, sql.as_bytes()))
}

/// The ticket that stands in an answer to `GetFlightInfo`: the last 32 bytes of a `TicketStatementQuery`.
fn ticket(info: &[u8]) -> Vec<u8> {
    let name = b"TicketStatementQuery";
    let at = info.windows(name.len()).rposition(|window| window == name).unwrap() + name.len();
    let handle = &info[at + 4..at + 36];
    field(1, &any("TicketStatementQuery", &field(1, handle)))
}

/// Ranger's policies: codes are masked for `ana`, and visits of 200 points and more do not exist for her.
fn masked() -> Folder {
    let item = |more: Value| {
        let mut item = json!({ "accesses": [{ "type": "select", "isAllowed": true }], "users": ["ana", "ben"],
            "conditions": [{ "type": "purpose-of-use", "values": ["research"] }] });
        for (name, value) in more.as_object().unwrap() {
            item[name] = value.clone();
        }
        item
    };
    let resources = |columns: &[&str]| {
        let mut all = json!({ "database": { "values": ["cordon"] }, "table": { "values": ["visits"] } });
        if !columns.is_empty() {
            all["column"] = json!({ "values": columns });
        }
        all
    };
    let mask = json!({ "dataMaskInfo": { "dataMaskType": "CUSTOM", "valueExpr": "concat('c-', {col})" } });
    let filter = json!({ "rowFilterInfo": { "filterExpr": "points < 200" } });
    let folder = folder("");
    let policies = json!({
        "serviceName": "clinic", "serviceId": 1, "policyVersion": 1,
        "policies": [
            { "id": 1, "name": "visits", "version": 1, "policyType": 0, "resources": resources(&["day", "code", "points"]),
              "policyItems": [item(json!({}))] },
            { "id": 2, "name": "codes", "policyType": 1, "resources": resources(&["code"]), "dataMaskPolicyItems": [item(mask)] },
            { "id": 3, "name": "rows", "policyType": 2, "resources": resources(&[]), "rowFilterPolicyItems": [item(filter)] },
        ],
    });
    folder.write("ranger/policies.json", policies.to_string());
    folder.access("access:\n  ranger: { service: clinic, policies: ranger/policies.json }\n");
    folder
}

#[test]
fn pandas_and_polars_get_what_http_gives_and_see_nothing_else() {
    let (Some(()), Some(site)) = (clients(), Site::start_in(masked(), "", "    rows: 300000")) else { return };
    let said = run(&site, "answers", "ana", &[]);
    let (got, purposes) = (&said[0], &said[1]);
    let rows = site.ask("ana", "SELECT * FROM visits ORDER BY points", "research").is(200).lines();
    assert_eq!(rows.len(), 200);
    assert_eq!(rows[7]["code"], "c-E07");
    assert_eq!(got["polars"], Value::from(rows.clone()));
    assert_eq!(got["pandas"], Value::from(rows));
    let by_command =
        ["sql", "SELECT * FROM visits ORDER BY points", "--as", "ana", "--purpose", "research", "--format", "json"];
    assert_eq!(got["polars"], site.folder.cordon(&by_command).ok().json());

    assert_eq!(got["none"], json!(["points"]));
    assert_eq!(got["large"], 300_000);
    assert_eq!(got["parameters"], json!([[[90]], [[0]], [[2]]]));
    assert_eq!(got["injected"], json!([[0]]));
    assert_eq!(got["missing"]["status"], "INVALID_ARGUMENT");
    assert_eq!(got["prepared"], json!(["int64", "int64"]));
    assert_eq!(got["schema"], json!(["day", "code", "points"]));
    assert_eq!(got["objects"], json!([["cordon", "main", "visits", ["day", "code", "points"]]]));
    assert_eq!(got["table"], json!(["day", "code", "points"]));
    assert_eq!(got["hidden"]["status"], "NOT_FOUND");
    assert_eq!((&got["types"], &got["info"]), (&json!(["TABLE"]), &json!("Cordon")));
    let errors = got["errors"].as_object().unwrap();
    let statuses: Vec<&str> = errors.values().map(|error| error["status"].as_str().unwrap_or("none")).collect();
    assert_eq!(
        statuses,
        [
            "INVALID_ARGUMENT",
            "NOT_FOUND",
            "NOT_FOUND",
            "UNAUTHORIZED",
            "UNAUTHORIZED",
            "INVALID_ARGUMENT",
            "UNKNOWN",
            "UNKNOWN"
        ],
        "{errors:?}"
    );
    // A table that is hidden and one that is not there are told alike.
    let words = |sql: &str| errors[sql]["error"].as_str().unwrap().replace("costs", "T").replace("nothing", "T");
    assert_eq!(words("SELECT * FROM costs"), words("SELECT * FROM nothing"));
    assert_eq!(got["ingest"]["status"], "NOT_IMPLEMENTED");
    assert_eq!(got["many"]["status"], "NOT_IMPLEMENTED");
    assert!(purposes[""]["error"].as_str().unwrap().contains("x-cordon-purpose"), "{purposes}");
    assert_eq!(purposes["curiosity"]["status"], "INVALID_ARGUMENT");
    assert_eq!(purposes["operations"]["status"], "UNAUTHORIZED");

    site.until("nothing runs any more", 20, |site| site.count("cordon_queries_running") == 0);
    let metrics = site.metrics();
    for outcome in ["answered", "denied", "not a valid query", "no such table", "not supported", "request"] {
        assert!(
            metrics.contains(&format!("cordon_flight_calls_total{{outcome=\"{outcome}\"}}")),
            "{outcome}: {metrics}"
        );
    }
    let finished = site.folder.audit("query_finished");
    assert!(finished.iter().any(|event| event["rows"] == 200) && finished.iter().any(|event| event["rows"] == 300_000));
}

#[test]
fn the_manual_says_how() {
    let (Some(()), Some(site)) = (clients(), Site::start("", "")) else { return };
    let manual = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/server.md")).unwrap();
    let (_, rest) = manual.split_once("```python\n").unwrap();
    let (script, _) = rest.split_once("```").unwrap();
    let at = format!("127.0.0.1:{}", site.flight);
    let script = script
        .replace("cordon.example:32010", &at)
        .replace("\"ca.pem\"", &format!("{:?}", site.pki.path("ca.pem")))
        .replace("PASSWORD", &format!("{:?}", password("ana")));
    let script = format!("{script}\nprint(len(counts), counts['n'].sum(), visits.height)");
    let out = Command::new(python()).args(["-W", "error", "-c", &script]).env("no_proxy", "*").output().unwrap();
    assert_eq!(crate::support::said(out).ok().out, "20 400 400\n");
}

#[test]
fn tickets_are_for_one_session_and_one_time_and_sessions_can_be_closed() {
    let (Some(()), Some(site)) = (clients(), Site::start("", "    idle-timeout: 30s")) else { return };
    let got = &run(&site, "raw", "ana", &[])[0];
    assert_eq!((&got["schema"], &got["others"]), (&json!(["points"]), &json!(["points"])));
    assert_eq!((&got["once"], &got["cancelled"], &got["closed"]), (&json!(400), &json!(["0801"]), &json!(["0801"])));
    for (what, status) in [
        ("again", "ArrowKeyError"),
        ("stolen", "ArrowKeyError"),
        ("unused", "ArrowKeyError"),
        ("cut", "FlightCancelledError"),
        ("after", "FlightUnauthenticatedError"),
        ("wrong", "FlightUnauthenticatedError"),
        ("exchange", "ArrowNotImplementedError"),
        ("flights", "ArrowNotImplementedError"),
    ] {
        assert_eq!(got[what]["status"], status, "{what}: {}", got[what]);
    }
    assert_eq!(got["actions"].as_array().unwrap().len(), 5);
    site.until("nothing runs any more", 20, |site| site.count("cordon_queries_running") == 0);

    // Of another principal, with a password in every call.
    let info = call(&site, &basic("ana"), "GetFlightInfo", &asks("SELECT points FROM visits")).is(0);
    let mine = ticket(&info.body);
    let stolen = call(&site, &basic("ben"), "DoGet", &mine).is(5);
    assert!(stolen.body.is_empty());
    assert!(call(&site, &basic("ana"), "DoGet", &mine).is(0).body.len() > 3200);
    call(&site, &basic("ana"), "DoGet", &mine).is(5);

    // The token of a session ends with it, with its user, and with time.
    let open = |user: &str| {
        let shaken = call(&site, &basic(user), "Handshake", &[]).is(0);
        let token = shaken.header("authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned();
        assert!(token.starts_with("cordon-") && token.len() == 50, "unguessable");
        bearer(&token)
    };
    let [ana, again, ben] = ["ana", "ana", "ben"].map(open);
    for token in [&ana, &again, &ben] {
        call(&site, token, "ListActions", &[]).is(0);
    }
    call(&site, &ana, "DoAction", &field(1, b"CloseSession")).is(0);
    call(&site, &ana, "ListActions", &[]).is(16);
    call(&site, &again, "ListActions", &[]).is(0);
    site.folder.cordon(&["serve", "user", "remove", "ben"]).ok();
    call(&site, &ben, "ListActions", &[]).is(16);
    sleep(Duration::from_secs(31));
    call(&site, &again, "ListActions", &[]).is(16);
    let failed = site.folder.audit("log_in_failed");
    assert!(!failed.iter().any(|event| event.to_string().contains("cordon-")), "no token is on the record");
}

#[test]
fn every_credential_of_http_is_one_here_and_forgeries_are_not() {
    let (Some(()), Some(realm)) = (clients(), Realm::start()) else { return };
    let project = folder("");
    let dir = project.dir.path().join("pki");
    fs::create_dir_all(&dir).unwrap();
    let Some(pki) = crate::servers::Pki::make(&dir) else { return };
    pki.authority("clients");
    pki.authority("strangers");
    let own = client_certificate(&pki, "clients", "ana", "/CN=x", "subjectAltName=email:ana");
    let strange = client_certificate(&pki, "strangers", "strange", "/CN=x", "subjectAltName=email:ana");
    let port = free_port();
    project.write("denied.yaml", "{}");
    let log_in = format!(
        "    denied: denied.yaml\n    kerberos: {{ keytab: {}, realms: [CLINIC.EXAMPLE] }}\n    certificates: {{ ca-file: {}/clients.pem, \
         principal: email }}\n    mfa: {{ roles: [auditing], amr: [mfa] }}\n    oidc:\n      - {{ issuer: 'https://localhost:{port}', audience: \
         'urn:cordon', ca-file: {}/ca.pem, leeway-seconds: 0 }}",
        realm.path("http.keytab").display(),
        dir.display(),
        dir.display()
    );
    let Some(site) = Site::start_in(project, &log_in, "") else { return };
    let Some(provider) = oidc::Provider::start(&site.pki, port, "ES256") else { return };
    let counted = [json!([[400]]), json!([[400]])];

    let token = provider.token("ana", "urn:cordon");
    assert_eq!(run(&site, "header", "", &[&format!("Bearer {token}")]), counted);
    let [pem, key] = own.map(|path| path.to_str().unwrap().to_owned());
    assert_eq!(run(&site, "certificate", "", &[&pem, &key]), counted);
    let [pem, key] = strange.map(|path| path.to_str().unwrap().to_owned());
    assert!(!client(&site, "certificate", "", &[&pem, &key]).output().unwrap().stdout.starts_with(b"[["));
    // The client goes on with the token of the session that its ticket has opened.
    realm.ticket("ada", "ada.keytab", "5m");
    let negotiate = format!("Negotiate {}", BASE64.encode(&realm.token().unwrap()));
    assert_eq!(run(&site, "header", "", &[&negotiate]), counted);
    let replayed = call(&site, &["-H".to_owned(), format!("authorization: {negotiate}")], "Handshake", &[]).is(16);
    assert!(replayed.header("authorization").is_none());
    assert!(site.folder.audit("log_in_failed").iter().any(|event| event["what"] == "used before"));
    let fresh = BASE64.encode(&realm.token().unwrap());
    let shaken = call(&site, &["-H".to_owned(), format!("authorization: Negotiate {fresh}")], "Handshake", &[]).is(0);
    assert!(shaken.header("www-authenticate").unwrap().starts_with("Negotiate "));

    // Two factors, as over HTTP, and who is denied is.
    call(&site, &bearer(&provider.token("ida", "urn:cordon")), "ListActions", &[]).is(0);
    call(&site, &basic("ida"), "Handshake", &[]).is(16);
    for forged in ["cordon-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "eyJhbGciOiJub25lIn0.e30.", ""] {
        call(&site, &bearer(forged), "ListActions", &[]).is(16);
    }
    call(&site, &[], "GetFlightInfo", &asks("SELECT 1")).is(16);
    call(&site, &[bearer(&token), bearer(&token)].concat(), "ListActions", &[]).is(16);
    let ben = call(&site, &basic("ben"), "Handshake", &[]).is(0);
    let ben = bearer(ben.header("authorization").unwrap().strip_prefix("Bearer ").unwrap());
    call(&site, &ben, "ListActions", &[]).is(0);
    site.folder.write("denied.yaml", "principals: [ben]");
    site.until("the list is read again", 10, |site| call(site, &ben, "ListActions", &[]).status == 16);
}

/// A client that reads rows of `ana` until it is told to read all.
fn following(site: &Site) -> (Running, ChildStdin, BufReader<ChildStdout>) {
    let mut child = client(site, "follow", "ana", &[]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (input, mut lines) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let running = Running(child);
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "true\n");
    (running, input, lines)
}

#[test]
fn a_right_that_is_taken_away_cuts_and_a_client_that_goes_makes_room() {
    let limits = "    queries: 2\n    queries-per-principal: 1";
    let (Some(()), Some(site)) = (clients(), Site::start("", limits)) else { return };
    let gone = following(&site);
    site.until("it runs", 20, |site| site.count("cordon_queries_running") == 1);
    // Who takes nothing has rows in a few buffers and no more.
    sleep(Duration::from_secs(2));
    let rows = site.count("cordon_rows_total");
    sleep(Duration::from_secs(3));
    assert!(site.count("cordon_rows_total") - rows < 100_000, "rows are computed that nobody takes");
    // Too much of one principal; another is served.
    let ask = |user: &str| call(&site, &basic(user), "GetFlightInfo", &asks("SELECT points FROM visits"));
    let shed = ask("ana").is(8);
    assert!(shed.header("grpc-retry-pushback-ms").is_some());
    let info = ask("ben").is(0);
    call(&site, &basic("ben"), "DoGet", &ticket(&info.body)).is(0);
    drop(gone);
    site.until("it is gone", 20, |site| site.count("cordon_queries_running") == 0);
    site.until("the record says so", 10, |site| {
        site.folder.audit("query_failed").iter().any(|event| event["what"] == "abandoned")
    });

    let (_running, mut input, mut lines) = following(&site);
    let config = site.folder.read("cordon.yaml");
    site.folder.write("cordon.yaml", config.replace("name: ana, roles: [research]", "name: ana, roles: [engineering]"));
    // Also where no batch is asked for meanwhile.
    sleep(Duration::from_secs(3));
    input.write_all(b"\n").unwrap();
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let cut: Value = serde_json::from_str(&line).unwrap();
    assert!(cut["error"].as_str().unwrap().contains("PermissionDenied"), "{cut}");
    site.until("nothing runs any more", 20, |site| site.count("cordon_queries_running") == 0);
    assert!(site.folder.audit("query_failed").iter().any(|event| event["what"] == "revoked"));
}

#[test]
fn what_no_client_would_send_is_refused_and_does_no_harm() {
    let Some(site) = Site::start("", "") else { return };
    let ana = basic("ana");
    let query = field(1, b"SELECT points FROM visits");
    for (what, method, message, status) in [
        ("nothing", "GetFlightInfo", vec![], 3),
        ("no protobuf", "GetFlightInfo", vec![0xff; 40], 3),
        ("no command", "GetFlightInfo", field(2, b"garbage"), 3),
        ("a path", "GetFlightInfo", field(3, b"visits"), 3),
        (
            "another's message",
            "GetFlightInfo",
            field(2, &[field(1, b"type.googleapis.com/x.Y"), field(2, b"")].concat()),
            3,
        ),
        ("an update", "GetFlightInfo", descriptor("CommandStatementUpdate", &query), 12),
        ("Substrait", "GetFlightInfo", descriptor("CommandStatementSubstraitPlan", b""), 12),
        (
            "a transaction",
            "GetFlightInfo",
            descriptor("CommandStatementQuery", &[query.clone(), field(2, b"t")].concat()),
            12,
        ),
        ("text that is none", "GetFlightInfo", descriptor("CommandStatementQuery", &field(1, &[0xff, 0xfe])), 3),
        ("no such statement", "GetFlightInfo", descriptor("CommandPreparedStatementQuery", &field(1, &[7; 32])), 5),
        ("the command as its own ticket", "DoGet", field(1, &any("CommandStatementQuery", &query)), 3),
        ("a ticket that is made up", "DoGet", field(1, &any("TicketStatementQuery", &field(1, &[7; 32]))), 5),
        ("a short ticket", "DoGet", field(1, &any("TicketStatementQuery", &field(1, b"7"))), 5),
        ("no ticket", "DoGet", field(1, b"7"), 3),
        ("an update that is put", "DoPut", field(1, &descriptor("CommandStatementUpdate", &query)), 12),
        ("a table that is put", "DoPut", field(1, &descriptor("CommandStatementIngest", b"")), 12),
        ("a put of nothing", "DoPut", vec![], 3),
        ("BEGIN", "DoAction", field(1, b"BeginTransaction"), 12),
        ("a savepoint", "DoAction", field(1, b"BeginSavepoint"), 12),
        ("an action that is not there", "DoAction", field(1, b"Shutdown"), 12),
        ("a method that is not there", "Nothing", vec![], 12),
        ("an exchange", "DoExchange", vec![], 12),
        ("polling", "PollFlightInfo", asks("SELECT 1"), 12),
        ("columns that are hidden", "GetSchema", asks("SELECT patient FROM visits"), 3),
    ] {
        let got = call(&site, &ana, method, &message);
        assert_eq!(got.status, status, "{what}: {}", got.words);
        assert!(got.body.is_empty() && !got.words.contains("prost"), "{what}: {}", got.words);
    }
    // Parameters that are none, of a statement that there is.
    let create = [
        field(1, b"CreatePreparedStatement"),
        field(2, &any("ActionCreatePreparedStatementRequest", &field(1, b"SELECT $1"))),
    ]
    .concat();
    let created = call(&site, &ana, "DoAction", &create).is(0).body;
    let at = created.windows(2).position(|window| window == [0x0a, 32]).unwrap() + 2;
    let of_it = descriptor("CommandPreparedStatementQuery", &field(1, &created[at..at + 32]));
    for header in [&b""[..], b"garbage", &[0xff; 64], &[0; 64]] {
        let put = [field(1, &of_it), field(2, header)].concat();
        call(&site, &ana, "DoPut", &put).is(3);
    }
    // Too large, compressed, cut short, or not gRPC.
    let grpc = "application/grpc";
    sent(&site, &ana, "GetFlightInfo", grpc, &frame(&asks(&"x".repeat(2 << 20)))).is(8);
    sent(&site, &ana, "GetFlightInfo", grpc, &[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]).is(8);
    sent(&site, &ana, "GetFlightInfo", grpc, &[1, 0, 0, 0, 1, 0]).is(12);
    sent(&site, &ana, "GetFlightInfo", grpc, &[0, 0, 0, 0, 9, 1]).is(3);
    sent(&site, &ana, "GetFlightInfo", grpc, &[]).is(3);
    assert!(sent(&site, &ana, "GetFlightInfo", "application/json", b"{}").headers.contains("415"));
    let twice = [&ana[..], &["-H".to_owned(), "x-cordon-purpose: operations".to_owned()]].concat();
    call(&site, &twice, "GetFlightInfo", &asks("SELECT 1")).is(3);
    for version in ["--http1.1", "--http1.0"] {
        let out = Command::new("curl")
            .args(["-sS", "-k", "--noproxy", "*", version, "-d", "x", &format!("https://127.0.0.1:{}/", site.flight)])
            .output()
            .unwrap();
        assert!(!out.status.success(), "HTTP/2 alone is spoken here");
    }
    let info = call(&site, &ana, "GetFlightInfo", &asks("SELECT points FROM visits")).is(0);
    call(&site, &ana, "DoGet", &ticket(&info.body)).is(0);
    assert_eq!(site.count("cordon_queries_running"), 0);
    assert!(!fs::read_to_string(site.folder.dir.path().join("server.log")).unwrap().contains("visits"));
}
