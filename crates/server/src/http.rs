//! HTTP: a few paths, JSON in, rows out as they come.

pub mod api;
mod encode;
pub mod openapi;
mod tokens;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cordon_access::PurposeOfUse;
use cordon_audit::{Event, Filter};
use data_encoding::{BASE64, BASE64_NOPAD};
use futures::stream;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::log_in::{Credential, Refusal};
use crate::service::{Kind, Running, Service, Trouble};
use crate::session::{Busy, Session};
use api::{Asked, Column, Me, Problem, Rule, Status, Table};
use encode::{Encoder, Form};

pub type Body = UnsyncBoxBody<Bytes, Cut>;

/// The answer ended early: the connection is cut, so that no client takes the rows so far for all.
#[derive(Debug, thiserror::Error)]
#[error("the answer ended early")]
pub struct Cut;

/// How long a request's body may take to come.
const BODY: Duration = Duration::from_secs(15);
/// And the rest of one that is not read.
const REST: Duration = Duration::from_secs(5);
const MOST_ENTRIES: usize = 1000;

/// One client's connection.
pub struct Peer {
    pub address: IpAddr,
    pub tls: bool,
    pub certificate: Option<Vec<u8>>,
    logged_in: AtomicBool,
    /// It is one too many: all that it is told is to come again.
    pub full: bool,
}

impl Peer {
    pub fn new(address: IpAddr, tls: bool, certificate: Option<Vec<u8>>, full: bool) -> Self {
        Self { address, tls, certificate, logged_in: AtomicBool::new(false), full }
    }

    /// Whether anybody has logged in on the connection.
    pub fn has_logged_in(&self) -> bool {
        self.logged_in.load(Ordering::Relaxed)
    }
}

const GET: &[Method] = &[Method::GET];
const POST: &[Method] = &[Method::POST];
const GET_AND_POST: &[Method] = &[Method::GET, Method::POST];

const PATHS: [(&str, &[Method]); 8] = [
    ("/v1/query", POST),
    ("/v1/tables", GET),
    ("/v1/policies", GET),
    ("/v1/audit", GET),
    ("/v1/status", GET),
    ("/healthz", GET),
    ("/readyz", GET),
    ("/openapi.json", GET),
];

pub async fn answer(
    service: Arc<Service>,
    peer: Arc<Peer>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let answered = if peer.full {
        Err(Trouble::Busy(Busy::Connections).into())
    } else {
        routed(&service, &peer, &mut request).await
    };
    if answered.is_err() {
        let _ = timeout(REST, discarded(request.body_mut(), service.limits().request)).await;
    }
    let mut response = match answered {
        Ok(response) => {
            service.metrics.count("http_requests", "answered");
            response
        }
        Err(refused) => {
            service.metrics.count("http_requests", refused.trouble.label());
            refused.response(&service)
        }
    };
    harden(response.headers_mut(), peer.tls);
    Ok(response)
}

/// What is not answered, and what a header has to say of it.
struct Refused {
    trouble: Trouble,
    status: Option<StatusCode>,
    allow: Option<&'static str>,
}

impl From<Trouble> for Refused {
    fn from(trouble: Trouble) -> Self {
        Self { trouble, status: None, allow: None }
    }
}

fn with_status(status: StatusCode, what: &str) -> Refused {
    Refused { trouble: Trouble::Request(what.to_owned()), status: Some(status), allow: None }
}

async fn routed(
    service: &Arc<Service>,
    peer: &Peer,
    request: &mut Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let path = request.uri().path().to_owned();
    let known = PATHS.iter().find(|(known, _)| *known == path).map(|(_, methods)| *methods);
    let methods = known.or_else(|| tokens::methods(&path)).ok_or(Trouble::NotFound)?;
    let head = methods.contains(&Method::GET) && request.method() == Method::HEAD;
    if !methods.contains(request.method()) && !head {
        let allow = match methods {
            [Method::GET] => "GET, HEAD",
            [Method::POST] => "POST",
            _ => "GET, HEAD, POST",
        };
        let refused = with_status(StatusCode::METHOD_NOT_ALLOWED, "this method is not for this path");
        return Err(Refused { allow: Some(allow), ..refused });
    }
    match path.as_str() {
        "/healthz" => return Ok(text("alive\n")),
        "/readyz" if service.is_draining() => return Err(Trouble::Draining.into()),
        "/readyz" => return Ok(text("ready\n")),
        "/openapi.json" => return Ok(full("application/json", openapi::text().into_bytes())),
        _ => {}
    }
    let credential = credential(request.headers(), peer)?;
    // A ticket is good for one log-in, which the library keeps book of.
    let again = !matches!(credential, Credential::Ticket(_));
    let session = service.log_in(credential, peer.address, again).await?;
    peer.logged_in.store(true, Ordering::Relaxed);
    let mut response = for_session(service, &session, &path, request).await?;
    if !session.reply().is_empty()
        && let Ok(value) = HeaderValue::try_from(format!("Negotiate {}", BASE64.encode(session.reply())))
    {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    Ok(response)
}

async fn for_session(
    service: &Arc<Service>,
    session: &Arc<Session>,
    path: &str,
    request: &mut Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    if path == "/v1/query" {
        return query(service, session, request).await;
    }
    if path.starts_with(tokens::PATH) {
        return tokens::answer(service, session, path, request).await;
    }
    let asked = Parameters::of(request.uri().query())?;
    match path {
        "/v1/status" => {
            asked.only(&[])?;
            json(&Status {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                principal: session.principal.name.clone(),
                method: session.method().to_owned(),
                session: session.id.clone(),
                queries_running: service.sessions.running(),
                draining: service.is_draining(),
            })
        }
        "/v1/tables" => {
            let usage = asked.usage(service, session, &[]).await?;
            let visible = service.visible(session, usage, "tables").await?;
            let tables = visible.into_iter().map(|one| Table {
                table: one.table,
                columns: one
                    .schema
                    .fields()
                    .iter()
                    .map(|field| Column {
                        name: field.name().clone(),
                        r#type: field.data_type().to_string(),
                        masked: one.decision.masks.contains_key(field.name()),
                    })
                    .collect(),
            });
            json(&tables.collect::<Vec<_>>())
        }
        "/v1/policies" => {
            let usage = asked.usage(service, session, &[]).await?;
            let purpose = usage.purpose;
            let visible = service.visible(session, usage, "policies").await?;
            let tables = visible.into_iter().map(|one| Rule {
                table: one.table,
                columns: one.decision.columns,
                masked: one.decision.masks.into_keys().collect(),
                rows_filtered: one.decision.row_filter.is_some(),
                why: one.decision.why.iter().map(ToString::to_string).collect(),
            });
            json(&Me {
                principal: session.principal.name.clone(),
                groups: session.principal.groups.iter().cloned().collect(),
                method: session.method().to_owned(),
                purpose: purpose.name().to_owned(),
                tables: tables.collect(),
            })
        }
        _ => {
            let usage = asked.usage(service, session, &["last", "kind", "principal"]).await?;
            let last = match asked.get("last") {
                None => 100,
                Some(text) => text
                    .parse()
                    .ok()
                    .filter(|last| (1..=MOST_ENTRIES).contains(last))
                    .ok_or_else(|| Trouble::Request(format!("`last` is a number from 1 to {MOST_ENTRIES}")))?,
            };
            let kind = asked.get("kind").map(str::to_owned);
            if kind.as_ref().is_some_and(|kind| !Event::KINDS.contains(&kind.as_str())) {
                return Err(Trouble::Request("there is no such kind of entry".to_owned()).into());
            }
            let filter =
                Filter { last: Some(last), kind, user: asked.get("principal").map(str::to_owned), ..Filter::default() };
            json(&service.audit(session, usage, filter).await?)
        }
    }
}

/// What the client shows: a header before the certificate of its connection, which a proxy may share.
pub fn credential(headers: &HeaderMap, peer: &Peer) -> Result<Credential, Trouble> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = given.next() else {
        return match &peer.certificate {
            Some(certificate) => Ok(Credential::Certificate(certificate.clone())),
            None => Err(Trouble::NoCredential),
        };
    };
    let malformed = || Trouble::LogIn(Refusal::NotTaken);
    if given.next().is_some() {
        return Err(malformed());
    }
    let (scheme, shown) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(malformed)?;
    match scheme.to_ascii_lowercase().as_str() {
        "negotiate" => Ok(Credential::Ticket(BASE64.decode(shown.trim().as_bytes()).map_err(|_| malformed())?)),
        "bearer" => Ok(Credential::Token(Zeroizing::new(shown.trim().to_owned()))),
        "basic" => {
            // Clients of Flight leave the padding away.
            let shown = shown.trim().trim_end_matches('=');
            let bytes = Zeroizing::new(BASE64_NOPAD.decode(shown.as_bytes()).map_err(|_| malformed())?);
            let text = std::str::from_utf8(&bytes).map_err(|_| malformed())?;
            let (name, password) = text.split_once(':').ok_or_else(malformed)?;
            Ok(Credential::Password { name: name.to_owned(), password: Zeroizing::new(password.to_owned()) })
        }
        _ => Err(malformed()),
    }
}

/// What stands behind the `?`.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(query: Option<&str>) -> Result<Self, Refused> {
        let mut found: Vec<(String, String)> = Vec::new();
        for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (Some(name), Some(value)) = (unescaped(name), unescaped(value)) else {
                return Err(Trouble::Request("the address is not escaped as it should be".to_owned()).into());
            };
            if found.iter().any(|(known, _)| *known == name) {
                return Err(Trouble::Request("a parameter is given twice".to_owned()).into());
            }
            found.push((name, value));
        }
        Ok(Self(found))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn only(&self, known: &[&str]) -> Result<(), Refused> {
        if self.0.iter().all(|(name, _)| known.contains(&name.as_str())) {
            return Ok(());
        }
        Err(Trouble::Request(format!("parameters of this path: {}", known.join(", "))).into())
    }

    async fn usage(&self, service: &Service, session: &Session, others: &[&str]) -> Result<PurposeOfUse, Refused> {
        let known = [&["purpose", "project", "reason"], others].concat();
        self.only(&known)?;
        let text = |name| self.get(name).map(str::to_owned);
        Ok(service.usage(session, self.get("purpose"), text("project"), text("reason")).await?)
    }
}

fn unescaped(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                (digit(bytes.next())? * 16 + digit(bytes.next())?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

async fn query(
    service: &Arc<Service>,
    session: &Arc<Session>,
    request: &mut Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let form = Form::accepted(request.headers()).ok_or_else(|| {
        with_status(StatusCode::NOT_ACCEPTABLE, &format!("answers are {}", Form::ALL.map(Form::media_type).join(", ")))
    })?;
    let asked: Asked = asked_in_json(service, request).await?;
    let parameters = api::values(&asked.parameters).map_err(|what| Trouble::Request(what.to_owned()))?;
    let usage = service.usage(session, asked.purpose.as_deref(), asked.project, asked.reason).await?;
    let mut running = service.ask(session, usage, asked.sql, parameters).await?;
    // What fails at once is told by its own status.
    let first = running.next().await?;
    let mut encoder = Encoder::new(form, running.schema())?;
    let mut chunk = Vec::new();
    if let Some(batch) = &first {
        encoder.write(batch)?;
        chunk = encoder.take();
    }
    let body = match first {
        None => whole(encoder.finish()?),
        Some(_) => streamed(running, encoder, chunk, service.limits().stall_timeout),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    Ok(response)
}

/// A request's body, within what it may have of size and time.
async fn asked_in_json<T: DeserializeOwned>(service: &Service, request: &mut Request<Incoming>) -> Result<T, Refused> {
    // What a page of another origin can send without being asked is no JSON.
    let is_json =
        request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(|kind| {
            kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
        });
    if !is_json {
        return Err(with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the request comes as application/json"));
    }
    let most = service.limits().request;
    let body = match timeout(BODY, collected(request.body_mut(), most)).await {
        Err(_) => return Err(with_status(StatusCode::REQUEST_TIMEOUT, "the request did not come in time")),
        Ok(Err(_)) => return Err(Trouble::Request("the request broke off".to_owned()).into()),
        Ok(Ok(None)) => return Err(Trouble::TooLarge.into()),
        Ok(Ok(Some(body))) => body,
    };
    // serde's own words may quote what is there.
    serde_json::from_slice(&body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Trouble::Request(format!("the request is not as documented, at line {line}, column {column}")).into()
    })
}

/// `None` for what is larger than may be.
async fn collected(body: &mut Incoming, most: usize) -> Result<Option<Vec<u8>>, hyper::Error> {
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if all.len() + data.len() > most {
            return Ok(None);
        }
        all.extend_from_slice(&data);
    }
    Ok(Some(all))
}

/// Reads what a refused client still sends and throws it away, within reason: it does not look for an answer before, and over HTTP/2
/// would see a broken stream in its place.
async fn discarded(body: &mut Incoming, most: usize) {
    let mut seen = 0_usize;
    while let Some(Ok(frame)) = body.frame().await {
        seen = seen.saturating_add(frame.data_ref().map_or(0, Bytes::len));
        if seen > most.saturating_mul(16) {
            break;
        }
    }
}

/// Rows go out as the client takes them: one chunk is ahead, no more. A client that is gone, or takes nothing for too long, ends the
/// query, also while nothing is ready for it.
fn streamed(mut running: Running, mut encoder: Encoder, first: Vec<u8>, stall: Duration) -> Body {
    let (out, ready) = mpsc::channel::<Result<Bytes, Cut>>(1);
    tokio::spawn(async move {
        let mut chunk = first;
        loop {
            if !chunk.is_empty() {
                match timeout(stall, out.send(Ok(chunk.into()))).await {
                    Ok(Ok(())) => {}
                    // What lies ready is taken back by dropping the sender; the body ends in an error then.
                    Ok(Err(_)) | Err(_) => return drop(out.try_send(Err(Cut))),
                }
            }
            let next = tokio::select! {
                next = running.next() => next,
                () = out.closed() => return,
            };
            let encoded = match next {
                Ok(Some(batch)) => encoder.write(&batch).map(|()| encoder.take()),
                Ok(None) => {
                    if let Ok(rest) = encoder.finish() {
                        let _ = timeout(stall, out.send(Ok(rest.into()))).await;
                        let _ = timeout(stall, out.send(Ok(Bytes::new()))).await;
                        return;
                    }
                    Err(Trouble::Cancelled)
                }
                Err(trouble) => Err(trouble),
            };
            let Ok(bytes) = encoded else {
                let _ = timeout(stall, out.send(Err(Cut))).await;
                return;
            };
            chunk = bytes;
        }
    });
    // An empty chunk is the end; a channel that closes without one is an answer that ended early.
    let frames = stream::unfold(Some(ready), |ready| async move {
        let mut ready = ready?;
        match ready.recv().await {
            Some(Ok(bytes)) if bytes.is_empty() => None,
            Some(Ok(bytes)) => Some((Ok(Frame::data(bytes)), Some(ready))),
            Some(Err(Cut)) | None => Some((Err(Cut), None)),
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

fn whole(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync()
}

fn full(kind: &'static str, bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(whole(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn text(text: &str) -> Response<Body> {
    full("text/plain; charset=utf-8", text.as_bytes().to_vec())
}

fn json<T: Serialize>(value: &T) -> Result<Response<Body>, Refused> {
    let bytes = serde_json::to_vec(value)
        .map_err(|_| Trouble::from(cordon_pipeline::error::RunError::Internal("an answer in JSON")))?;
    Ok(full("application/json", bytes))
}

impl Refused {
    fn response(&self, service: &Service) -> Response<Body> {
        let status = self.status.unwrap_or_else(|| status_of(self.trouble.kind()));
        let problem = Problem {
            r#type: format!("urn:cordon:problem:{}", self.trouble.label().replace(' ', "-")),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: self.trouble.words(),
        };
        let mut response = full("application/problem+json", serde_json::to_vec(&problem).unwrap_or_default());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if let Some(wait) = self.trouble.retry_after() {
            headers.insert(header::RETRY_AFTER, wait.as_secs().max(1).into());
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if status == StatusCode::UNAUTHORIZED {
            if !service.settings.oidc.is_empty() {
                // RFC 6750, section 3; RFC 9470 for the factor that is missing.
                let how = match &self.trouble {
                    Trouble::LogIn(Refusal::Factor) => "Bearer error=\"insufficient_user_authentication\"",
                    Trouble::NoCredential => "Bearer",
                    _ => "Bearer error=\"invalid_token\"",
                };
                headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(how));
            }
            if service.settings.kerberos.is_some() {
                headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Negotiate"));
            }
            if service.settings.local_users.is_some() || service.settings.oidc.is_empty() {
                headers.append(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static("Basic realm=\"cordon\", charset=\"UTF-8\""),
                );
            }
        }
        response
    }
}

fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound | Kind::UnknownTable => StatusCode::NOT_FOUND,
        Kind::Request | Kind::Syntax | Kind::UnknownColumn | Kind::Unsupported => StatusCode::BAD_REQUEST,
        Kind::Data | Kind::TooMany | Kind::Cancelled => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Throttled | Kind::BusyPrincipal => StatusCode::TOO_MANY_REQUESTS,
        Kind::Busy | Kind::Stopping | Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Late => StatusCode::GATEWAY_TIMEOUT,
        Kind::Memory => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn harden(headers: &mut HeaderMap, tls: bool) {
    const ALWAYS: [(HeaderName, &str); 6] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if tls {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=63072000"));
    }
}

/// The metrics' own address: one path, nothing else.
pub fn metrics(service: &Service, request: &Request<Incoming>) -> Response<Body> {
    let mut response = if request.uri().path() == "/metrics" && request.method() == Method::GET {
        full("text/plain; version=0.0.4; charset=utf-8", service.metrics.text(service.is_draining()).into_bytes())
    } else {
        let mut response = text("not found\n");
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    };
    harden(response.headers_mut(), false);
    response
}
