//! Clients of `cordon serve` over TLS, half over HTTP and half over PostgreSQL's protocol, that ask without a pause and compare every
//! answer with the one that is known. They parse no more than that takes: on one machine the server is to have the processors.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response, body::Incoming, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Who asks what, of whom, and for how long.
#[derive(Clone, Deserialize)]
pub struct Load {
    pub http: u16,
    pub postgres: u16,
    pub ca: PathBuf,
    pub purpose: String,
    pub users: Vec<User>,
    pub questions: Vec<Question>,
    pub clients: usize,
    /// In which so many log in, one after the other; what is asked meanwhile is answered and not counted.
    pub ramp_seconds: f64,
    pub seconds: f64,
}

#[derive(Clone, Deserialize)]
pub struct User {
    pub name: String,
    pub password: String,
}

#[derive(Clone, Deserialize)]
pub struct Question {
    pub sql: String,
    /// Values of `$1`, `$2` … as text.
    #[serde(default)]
    pub parameters: Vec<String>,
    /// The whole answer as CSV with a header. No value of it has a comma or a quote.
    pub answer: String,
    /// How often it is asked beside the others.
    pub weight: usize,
}

/// How it went.
#[derive(Default, Serialize)]
pub struct Told {
    pub answered: u64,
    pub megabytes: f64,
    pub seconds: f64,
    /// By what went wrong.
    pub errors: BTreeMap<String, u64>,
    /// Refused for now with the code that says so, by that code.
    pub shed: BTreeMap<String, u64>,
    pub http: Latencies,
    pub postgres: Latencies,
    /// Of each question, in their order.
    pub questions: Vec<Latencies>,
}

#[derive(Default, Serialize)]
pub struct Latencies {
    pub count: usize,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub most_ms: f64,
}

impl Latencies {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        let at = |part: f64| {
            let place = ((all.len() as f64 * part).ceil() as usize).max(1) - 1;
            all.get(place).map_or(0.0, |one| one.as_secs_f64() * 1e3)
        };
        Self { count: all.len(), p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99), most_ms: at(1.0) }
    }
}

/// Why there was no answer.
enum Failed {
    /// Too much at one time, said by this code.
    Shed {
        code: String,
        wait: Duration,
    },
    Wrong(String),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Wrong(format!("connection: {}", error.kind()))
    }
}

impl From<hyper::Error> for Failed {
    fn from(error: hyper::Error) -> Self {
        Self::Wrong(format!("connection: {error}"))
    }
}

/// Longer than any answer takes that comes.
const PATIENCE: Duration = Duration::from_mins(3);

struct Server {
    http: u16,
    postgres: u16,
    purpose: String,
    tls: TlsConnector,
}

impl Server {
    fn new(load: &Load) -> io::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in authorities(&load.ca)? {
            roots.add(certificate).map_err(io::Error::other)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self { http: load.http, postgres: load.postgres, purpose: load.purpose.clone(), tls })
    }

    async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    async fn encrypted(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.tls.connect(ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST)), socket).await
    }
}

fn authorities(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(io::Error::other)
}

/// An answer as it comes, beside the one that is known.
struct Expected<'a> {
    text: &'a [u8],
    bytes: usize,
}

impl<'a> Expected<'a> {
    fn new(text: &'a str) -> Self {
        Self { text: text.as_bytes(), bytes: 0 }
    }

    fn next(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        match self.text.split_at_checked(bytes.len()) {
            Some((head, rest)) if head == bytes => {
                self.text = rest;
                self.bytes += bytes.len();
                Ok(())
            }
            _ => Err(Failed::Wrong("another answer than the known one".to_owned())),
        }
    }

    fn end(self) -> Result<usize, Failed> {
        if self.text.is_empty() { Ok(self.bytes) } else { Err(Failed::Wrong("an answer that ended early".to_owned())) }
    }
}

/// One of either kind; it connects again after its connection has ended.
enum Client {
    Http { user: User, connection: Option<SendRequest<Full<Bytes>>> },
    Postgres { user: User, connection: Option<Box<Postgres>> },
}

impl Client {
    fn new(number: usize, users: &[User]) -> Option<Self> {
        let user = users.get(number / 2 % users.len().max(1))?.clone();
        Some(if number.is_multiple_of(2) {
            Self::Http { user, connection: None }
        } else {
            Self::Postgres { user, connection: None }
        })
    }

    /// How many bytes the answer had.
    async fn ask(&mut self, server: &Server, question: &Question) -> Result<usize, Failed> {
        let answered = match timeout(PATIENCE, self.asked(server, question)).await {
            Ok(answered) => answered,
            Err(_) => Err(Failed::Wrong("no answer in three minutes".to_owned())),
        };
        if matches!(answered, Err(Failed::Wrong(_))) {
            match self {
                Self::Http { connection, .. } => *connection = None,
                Self::Postgres { connection, .. } => *connection = None,
            }
        }
        answered
    }

    async fn asked(&mut self, server: &Server, question: &Question) -> Result<usize, Failed> {
        match self {
            Self::Http { user, connection } => {
                let ready = match connection.take() {
                    Some(connection) if !connection.is_closed() => connection,
                    _ => http(server).await?,
                };
                let sender = connection.insert(ready);
                sender.ready().await?;
                let response = sender.send_request(request(server, user, question)).await?;
                if response.headers().get(header::CONNECTION).is_some_and(|is| is == "close") {
                    *connection = None;
                }
                answer_over_http(response, &question.answer).await
            }
            Self::Postgres { user, connection } => {
                let ready = match connection.take() {
                    Some(ready) => ready,
                    None => Box::new(Postgres::log_in(server, user).await?),
                };
                connection.insert(ready).ask(question).await
            }
        }
    }
}

async fn http(server: &Server) -> Result<SendRequest<Full<Bytes>>, Failed> {
    let stream = server.encrypted(server.connect(server.http).await?).await?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

fn request(server: &Server, user: &User, question: &Question) -> Request<Full<Bytes>> {
    let credential = BASE64.encode(format!("{}:{}", user.name, user.password).as_bytes());
    let body = json!({ "sql": question.sql, "purpose": server.purpose, "parameters": question.parameters });
    let mut request = Request::new(Full::new(Bytes::from(body.to_string())));
    *request.method_mut() = hyper::Method::POST;
    *request.uri_mut() = hyper::Uri::from_static("/v1/query");
    for (name, value) in [
        (header::HOST, "127.0.0.1".to_owned()),
        (header::AUTHORIZATION, format!("Basic {credential}")),
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::ACCEPT, "text/csv".to_owned()),
    ] {
        if let Ok(value) = value.parse() {
            request.headers_mut().insert(name, value);
        }
    }
    request
}

async fn answer_over_http(mut response: Response<Incoming>, answer: &str) -> Result<usize, Failed> {
    let status = response.status().as_u16();
    if status != 200 {
        let wait = response.headers().get(header::RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse().ok());
        let body = response.collect().await?.to_bytes();
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        return Err(match wait {
            Some(seconds) if [429, 503].contains(&status) && problem.get("status") == Some(&status.into()) => {
                Failed::Shed { code: status.to_string(), wait: Duration::from_secs(seconds) }
            }
            _ => Failed::Wrong(format!(
                "status {status}: {}",
                problem.get("detail").and_then(Value::as_str).unwrap_or("no problem in JSON")
            )),
        });
    }
    let mut expected = Expected::new(answer);
    while let Some(frame) = response.frame().await {
        if let Ok(data) = frame?.into_data() {
            expected.next(&data)?;
        }
    }
    expected.end()
}

/// PostgreSQL's protocol 3.0, as much of it as a question takes.
struct Postgres(BufStream<TlsStream<TcpStream>>);

impl Postgres {
    async fn log_in(server: &Server, user: &User) -> Result<Self, Failed> {
        let mut socket = server.connect(server.postgres).await?;
        socket.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await?;
        if socket.read_u8().await? != b'S' {
            return Err(Failed::Wrong("no TLS for PostgreSQL's protocol".to_owned()));
        }
        let mut client = Self(BufStream::with_capacity(16 << 10, 4 << 10, server.encrypted(socket).await?));
        let options = format!("-c cordon.purpose={}", server.purpose);
        let mut start = vec![0, 3, 0, 0];
        for text in ["user", &user.name, "database", "cordon", "options", &options, ""] {
            start.extend_from_slice(text.as_bytes());
            start.push(0);
        }
        client.0.write_i32(start.len() as i32 + 4).await?;
        client.0.write_all(&start).await?;
        client.0.flush().await?;
        loop {
            match client.message().await? {
                (b'R', body) if body == [0, 0, 0, 3] => {
                    client.send(b'p', &[user.password.as_bytes(), b"\0"].concat()).await?;
                    client.0.flush().await?;
                }
                (b'Z', _) => return Ok(client),
                (b'E', body) => return Err(refused(&body)),
                _ => {}
            }
        }
    }

    async fn send(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        self.0.write_u8(kind).await?;
        self.0.write_i32(body.len() as i32 + 4).await?;
        self.0.write_all(body).await
    }

    async fn message(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let kind = self.0.read_u8().await?;
        let length = usize::try_from(self.0.read_i32().await? - 4).map_err(|_| ErrorKind::InvalidData)?;
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        Ok((kind, body))
    }

    async fn put(&mut self, question: &Question) -> io::Result<()> {
        let text = |text: &str| [text.as_bytes(), b"\0"].concat();
        if question.parameters.is_empty() {
            self.send(b'Q', &text(&question.sql)).await?;
        } else {
            self.send(b'P', &[b"\0", &*text(&question.sql), &[0, 0]].concat()).await?;
            let mut bind = vec![0, 0, 0, 0];
            bind.extend((question.parameters.len() as i16).to_be_bytes());
            for value in &question.parameters {
                bind.extend((value.len() as i32).to_be_bytes());
                bind.extend(value.as_bytes());
            }
            bind.extend([0, 0]);
            self.send(b'B', &bind).await?;
            self.send(b'D', b"P\0").await?;
            self.send(b'E', &[0; 5]).await?;
            self.send(b'S', &[]).await?;
        }
        self.0.flush().await
    }

    async fn ask(&mut self, question: &Question) -> Result<usize, Failed> {
        self.put(question).await?;
        let (mut expected, mut line, mut failed) = (Expected::new(&question.answer), Vec::new(), None);
        loop {
            let (kind, body) = self.message().await?;
            line.clear();
            match kind {
                b'T' => names(&body, &mut line),
                b'D' => values(&body, &mut line),
                b'E' => {
                    failed = Some(refused(&body));
                    continue;
                }
                b'Z' => match failed {
                    Some(failed) => return Err(failed),
                    None => return expected.end(),
                },
                _ => continue,
            }
            .ok_or(ErrorKind::InvalidData)
            .map_err(io::Error::from)?;
            expected.next(&line)?;
        }
    }
}

/// Of a message `T` its line of a CSV.
fn names(body: &[u8], line: &mut Vec<u8>) -> Option<()> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    for number in 0..u16::from_be_bytes(*count) {
        let end = rest.iter().position(|byte| *byte == 0)?;
        if number > 0 {
            line.push(b',');
        }
        line.extend_from_slice(rest.get(..end)?);
        rest = rest.get(end + 19..)?;
    }
    line.push(b'\n');
    Some(())
}

/// The same of a message `D`.
fn values(body: &[u8], line: &mut Vec<u8>) -> Option<()> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    for number in 0..u16::from_be_bytes(*count) {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let (value, behind) = behind.split_at_checked(i32::from_be_bytes(*length).max(0) as usize)?;
        if number > 0 {
            line.push(b',');
        }
        line.extend_from_slice(value);
        rest = behind;
    }
    line.push(b'\n');
    Some(())
}

fn refused(body: &[u8]) -> Failed {
    let field = |kind: u8| {
        let found = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&kind));
        found.map_or_else(String::new, |field| String::from_utf8_lossy(field.get(1..).unwrap_or_default()).into_owned())
    };
    match field(b'C') {
        code if code == "53300" => Failed::Shed { code, wait: Duration::from_secs(1) },
        code => Failed::Wrong(format!("{code}: {}", field(b'M'))),
    }
}

#[derive(Default)]
struct Seen {
    told: Told,
    http: Vec<Duration>,
    postgres: Vec<Duration>,
    questions: Vec<Vec<Duration>>,
}

/// Asks until the time is over, and tells how it went.
pub async fn run(load: &Load) -> io::Result<Told> {
    let (server, load) = (Arc::new(Server::new(load)?), Arc::new(load.clone()));
    let seen = Arc::new(Mutex::new(Seen { questions: vec![Vec::new(); load.questions.len()], ..Seen::default() }));
    let began = Instant::now() + Duration::from_secs_f64(load.ramp_seconds);
    let until = began + Duration::from_secs_f64(load.seconds);
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..load.clients {
        let Some(client) = Client::new(number, &load.users) else { continue };
        let (server, load, seen) = (Arc::clone(&server), Arc::clone(&load), Arc::clone(&seen));
        clients.spawn(async move {
            sleep(Duration::from_secs_f64(load.ramp_seconds * number as f64 / load.clients as f64)).await;
            asks(client, number, &server, &load, &seen, began, until).await;
        });
    }
    while clients.join_next().await.is_some() {}
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let mut told = std::mem::take(&mut seen.told);
    told.seconds = began.elapsed().as_secs_f64();
    told.http = Latencies::of(std::mem::take(&mut seen.http));
    told.postgres = Latencies::of(std::mem::take(&mut seen.postgres));
    told.questions = std::mem::take(&mut seen.questions).into_iter().map(Latencies::of).collect();
    Ok(told)
}

async fn asks(
    mut client: Client,
    number: usize,
    server: &Server,
    load: &Load,
    seen: &Mutex<Seen>,
    began: Instant,
    until: Instant,
) {
    let all: usize = load.questions.iter().map(|question| question.weight).sum();
    // Each client in an order of its own, the same each time.
    let mut next = number as u64;
    while Instant::now() < until {
        next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut place = (next >> 33) as usize % all.max(1);
        let chosen = load.questions.iter().position(|question| {
            let here = place < question.weight;
            place = place.wrapping_sub(question.weight);
            here
        });
        let Some((which, question)) = chosen.and_then(|which| Some((which, load.questions.get(which)?))) else {
            return;
        };
        let asked = Instant::now();
        let answered = client.ask(server, question).await;
        let took = asked.elapsed();
        let wait = {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            match answered {
                Ok(bytes) => {
                    if asked >= began {
                        seen.told.answered += 1;
                        seen.told.megabytes += bytes as f64 / 1e6;
                        match client {
                            Client::Http { .. } => seen.http.push(took),
                            Client::Postgres { .. } => seen.postgres.push(took),
                        }
                        if let Some(all) = seen.questions.get_mut(which) {
                            all.push(took);
                        }
                    }
                    Duration::ZERO
                }
                Err(Failed::Shed { code, wait }) => {
                    *seen.told.shed.entry(code).or_default() += 1;
                    wait
                }
                // What goes wrong counts also while clients come.
                Err(Failed::Wrong(what)) => {
                    *seen.told.errors.entry(what).or_default() += 1;
                    Duration::from_secs(1)
                }
            }
        };
        sleep(wait).await;
    }
}

/// So many clients ask for more than they ever take, read a little, and are gone without a word. Says how many got as far as rows.
pub async fn vanish(load: &Load, endless: &str) -> io::Result<usize> {
    let (server, rows) = (Arc::new(Server::new(load)?), Arc::new(AtomicUsize::new(0)));
    let question = Question { sql: endless.to_owned(), parameters: Vec::new(), answer: String::new(), weight: 1 };
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..load.clients {
        let Some(client) = Client::new(number, &load.users) else { continue };
        let (server, rows, question) = (Arc::clone(&server), Arc::clone(&rows), question.clone());
        let ramp = Duration::from_secs_f64(load.ramp_seconds * number as f64 / load.clients as f64);
        clients.spawn(async move {
            sleep(ramp).await;
            if let Ok(Ok(())) = timeout(PATIENCE, gone(client, &server, &question)).await {
                rows.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while clients.join_next().await.is_some() {}
    Ok(rows.load(Ordering::Relaxed))
}

async fn gone(client: Client, server: &Server, question: &Question) -> Result<(), Failed> {
    match client {
        Client::Http { user, .. } => {
            let mut sender = http(server).await?;
            let mut response = sender.send_request(request(server, &user, question)).await?;
            if response.status() != 200 {
                return Err(Failed::Wrong(response.status().to_string()));
            }
            let first = response.frame().await;
            first.map(|frame| frame.map(drop)).transpose()?.ok_or(Failed::Wrong("no rows".to_owned()))
        }
        Client::Postgres { user, .. } => {
            let mut client = Postgres::log_in(server, &user).await?;
            client.put(question).await?;
            loop {
                match client.message().await? {
                    (b'D', _) => return Ok(()),
                    (b'E', body) => return Err(refused(&body)),
                    _ => {}
                }
            }
        }
    }
}
