//! A server over TLS that answers what a test says, or does not answer.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::servers::Pki;

pub struct Request {
    pub method: String,
    /// Without the query, unescaped.
    pub path: String,
    pub query: BTreeMap<String, String>,
    /// As it was sent.
    pub target: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn has(&self, name: &str) -> bool {
        self.query.contains_key(name)
    }
}

pub enum Reply {
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// The connection is cut.
    Nothing,
    /// The answer is cut after so many bytes of its body.
    Cut(Box<Reply>, usize),
    Late(Duration, Box<Reply>),
}

impl Reply {
    pub fn empty(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: Vec::new() }
    }

    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self::Answer { status, headers: Vec::new(), body: text.into().into_bytes() }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.into()));
        }
        self
    }
}

pub type Answering = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

/// Until the test's process ends; gives the address.
pub fn serve(pki: &Pki, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> String {
    serve_at(pki, 0, answer)
}

/// At a port that was chosen before.
pub fn serve_at(pki: &Pki, port: u16, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> String {
    let certificate = CertificateDer::from_pem_file(pki.path("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(pki.path("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap());
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer: Answering = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (config, answer) = (Arc::clone(&config), Arc::clone(&answer));
            thread::spawn(move || {
                let stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream.unwrap());
                let mut reader = BufReader::new(stream);
                while let Some(request) = read(&mut reader) {
                    if write(reader.get_mut(), &request, answer(&request)).is_none() {
                        return;
                    }
                }
            });
        }
    });
    format!("https://localhost:{port}")
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = query.split('&').filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (unescape(name), unescape(value))
    });
    let (path, query) = (unescape(path), query.collect());
    Some(Request { method, path, query, target, headers, body })
}

/// Nothing, where the connection is not to be used again.
fn write(stream: &mut impl Write, request: &Request, reply: Reply) -> Option<()> {
    let (reply, most) = match reply {
        Reply::Late(wait, reply) => {
            thread::sleep(wait);
            return write(stream, request, *reply);
        }
        Reply::Cut(reply, most) => (*reply, Some(most)),
        reply => (reply, None),
    };
    let Reply::Answer { status, headers, body } = reply else { return None };
    let mut head = format!("HTTP/1.1 {status} X\r\n");
    // Of what is only looked at, the length is that of what would be sent.
    if headers.iter().all(|(name, _)| name != "content-length") {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    if request.method != "HEAD" {
        stream.write_all(&body[..most.unwrap_or(body.len()).min(body.len())]).ok()?;
    }
    stream.flush().ok()?;
    most.is_none().then_some(())
}

pub fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
            }
            b'+' => out.push(b' '),
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).unwrap()
}

/// What a fault does to a request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    Status(u16),
    /// It does not come there.
    Lost,
    /// It comes there, and its answer is lost.
    Answerless,
    /// It comes there, and its answer is cut.
    Cut,
    /// Its answer comes too late.
    Late(Duration),
}

/// Stands before a server without TLS on this machine, and does to requests what the function says, which gets their number.
pub fn proxy(pki: &Pki, to: u16, fault: impl Fn(usize, &Request) -> Fault + Send + Sync + 'static) -> String {
    let count = std::sync::atomic::AtomicUsize::new(0);
    serve(pki, move |request| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        match fault(number, request) {
            Fault::None => forward(to, request),
            Fault::Status(status) => Reply::text(status, "CANARY in what a server says"),
            Fault::Lost => Reply::Nothing,
            Fault::Answerless => {
                forward(to, request);
                Reply::Nothing
            }
            Fault::Cut => Reply::Cut(Box::new(forward(to, request)), 10),
            Fault::Late(wait) => Reply::Late(wait, Box::new(forward(to, request))),
        }
    })
}

fn forward(to: u16, request: &Request) -> Reply {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", to)).unwrap();
    // Of an older version, so that the answer comes in one piece and then ends.
    let mut head = format!("{} {} HTTP/1.0\r\n", request.method, request.target);
    for (name, value) in request.headers.iter().filter(|(name, _)| *name != "connection") {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&request.body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let body = answer[end + 4..].to_vec();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned()));
    let kept = headers.filter(|(name, _)| {
        !matches!(name.as_str(), "connection" | "transfer-encoding")
            && (name != "content-length" || request.method == "HEAD")
    });
    Reply::Answer { status, headers: kept.collect(), body }
}
