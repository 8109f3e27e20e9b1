//! The server: people and programs log in and ask, over HTTP, as clients of PostgreSQL or of Arrow Flight SQL.
//!
//! This crate exists so that every way in is the same way: a front end carries a credential to [`log_in`], gets a
//! [`session`], and asks through [`service`], which is where `cordon-query` decides, records and answers. It refuses to start without a way
//! to log in, to listen beyond this machine without TLS, to answer without a purpose of use, and to queue what it cannot do now.
//!
//! | module | what it is |
//! |---|---|
//! | [`settings`] | the section `server` of `cordon.yaml`, checked |
//! | [`log_in`] | a credential in, a principal out; throttling, the list of the denied, factors, the record |
//! | [`session`] | who it is, for how long, and how much at one time |
//! | [`service`] | asking, within the limits that hold for all |
//! | [`http`] | the HTTP front end |
//! | [`pg`] | the front end for clients of PostgreSQL |
//! | [`flight`] | the front end for clients of Arrow Flight SQL |

pub mod flight;
pub mod http;
pub mod log_in;
pub mod metrics;
pub mod pg;
mod places;
pub mod service;
pub mod session;
pub mod settings;
mod stream;
pub mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cordon_deid::yaml::Issues;
use cordon_directory::DirectoryError;
use cordon_engine::QueryCluster;
use cordon_kerberos::KerberosError;
use cordon_pipeline::error::RunError;
use cordon_pipeline::policies::Watch;
use cordon_pipeline::project::OpenProject;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::http::{Body, Peer};
use crate::log_in::local::UsersError;
use crate::log_in::throttle::network;
use crate::log_in::{LogIn, certificate};
use crate::metrics::Metrics;
use crate::places::Places;
use crate::service::Service;
use crate::settings::Settings;
use crate::stream::Stalling;
use crate::tls::{Inside, Tls, TlsError};

/// Why the server does not start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("{0}")]
    Settings(#[from] Issues),
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[error("users: {0}")]
    Users(#[from] UsersError),
    #[error("cannot listen at {0}: {1}")]
    Listen(SocketAddr, io::ErrorKind),
    #[error("Kerberos' keytab: {0}")]
    Keytab(String),
    #[error("Kerberos: {0}")]
    Kerberos(#[from] KerberosError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("the operating system gives no random bytes")]
    Randomness,
}

/// How long a handshake, and the head of a request, may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection over HTTP may last without a log-in.
const LOG_IN: Duration = Duration::from_secs(30);
/// So many connections beyond the limit are told so at one time, each in its own protocol; what is more is cut off.
const TOLD_AT_ONCE: usize = 256;
/// How often files that may change are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What happens that the operator may want to know; no value and no name of a principal is in it.
pub type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// A server that listens and does not serve yet.
pub struct Server {
    service: Arc<Service>,
    tls: Option<Arc<Tls>>,
    http: Option<TcpListener>,
    postgres: Option<TcpListener>,
    flight: Option<TcpListener>,
    metrics: Option<TcpListener>,
    tell: Tell,
    again: Arc<Notify>,
    /// Users, roles and policies are read again while it is there.
    _rules: Watch,
}

impl Server {
    /// `queries` is where queries are computed, and `cluster` where large ones are as far as they can be; what answers clients runs where
    /// this does.
    pub async fn bind(
        project: Arc<OpenProject>,
        settings: Settings,
        tell: Tell,
        queries: Handle,
        cluster: Option<Arc<dyn QueryCluster>>,
    ) -> Result<Self, StartError> {
        let tls = match &settings.tls {
            Some(files) => Some(Arc::new(Tls::open(files.clone(), settings.certificates.clone())?)),
            None => None,
        };
        let rules = project.policy_source()?.watch();
        let metrics = Arc::new(Metrics::default());
        let log_in = LogIn::open(Arc::clone(&project), &settings, tls.clone(), Arc::clone(&metrics))?;
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|_| StartError::Randomness)?;
        let http = listen(settings.http).await?;
        let postgres = listen(settings.postgres).await?;
        let flight = listen(settings.flight).await?;
        let for_metrics = listen(settings.metrics).await?;
        let service = Arc::new(Service::new(project, settings, metrics, log_in, &key, queries, cluster));
        let again = Arc::default();
        Ok(Self { service, tls, http, postgres, flight, metrics: for_metrics, tell, again, _rules: rules })
    }

    /// Where it listens, by what is spoken there: a port 0 of the configuration is another by now.
    pub fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        [("http", &self.http), ("postgres", &self.postgres), ("flight", &self.flight), ("metrics", &self.metrics)]
            .into_iter()
            .filter_map(|(what, listener)| Some((what, listener.as_ref()?.local_addr().ok()?)))
            .collect()
    }

    /// Notified, it reads certificates, users, the list of the denied, and the rules again at once.
    pub fn again(&self) -> Arc<Notify> {
        Arc::clone(&self.again)
    }

    /// Serves until `stop` comes; then takes nothing new, lets what runs end within the time that is set for it, and ends the rest.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (drained, _) = watch::channel(false);
        let limits = self.service.limits();
        let room = Places::new(limits.connections, limits.connections_of_one);
        let told = Arc::new(Semaphore::new(TOLD_AT_ONCE));
        let mut accepting = JoinSet::new();
        let fronts = [(self.http, Inside::Http), (self.postgres, Inside::Postgres), (self.flight, Inside::Flight)];
        for (listener, inside) in fronts {
            let Some(listener) = listener else { continue };
            let front = Front {
                service: Arc::clone(&self.service),
                tls: self.tls.clone(),
                room: Arc::clone(&room),
                told: Arc::clone(&told),
                drained: drained.subscribe(),
                inside,
            };
            accepting.spawn(accept(listener, front));
        }
        // Health and metrics are told while everything else is being stopped.
        let watching = tokio::spawn({
            let (service, listener) = (Arc::clone(&self.service), self.metrics);
            async move {
                match listener {
                    Some(listener) => tell_metrics(listener, service).await,
                    None => std::future::pending().await,
                }
            }
        });
        let looking =
            tokio::spawn(look(Arc::clone(&self.service), self.tls.clone(), Arc::clone(&self.tell), self.again));
        let confirming = tokio::spawn({
            let sessions = Arc::clone(&self.service.sessions);
            async move {
                loop {
                    tokio::time::sleep(LOOK).await;
                    sessions.confirm().await;
                }
            }
        });
        stop.await;
        self.service.drain();
        drained.send_replace(true);
        let until = Instant::now() + self.service.limits().drain;
        while self.service.sessions.running() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.service.stop();
        // What was told to end puts that on the record and says so to its client.
        let _ = timeout(Duration::from_secs(5), async { while accepting.join_next().await.is_some() {} }).await;
        accepting.shutdown().await;
        looking.abort();
        confirming.abort();
        watching.abort();
    }
}

async fn listen(address: Option<SocketAddr>) -> Result<Option<TcpListener>, StartError> {
    match address {
        None => Ok(None),
        Some(address) => match TcpListener::bind(address).await {
            Ok(listener) => Ok(Some(listener)),
            Err(error) => Err(StartError::Listen(address, error.kind())),
        },
    }
}

/// What every connection of one listener has in common.
#[derive(Clone)]
struct Front {
    service: Arc<Service>,
    tls: Option<Arc<Tls>>,
    room: Arc<Places<IpAddr>>,
    told: Arc<Semaphore>,
    drained: watch::Receiver<bool>,
    inside: Inside,
}

/// Takes connections until the server is being stopped, and waits for those that it took.
async fn accept(listener: TcpListener, front: Front) {
    let mut connections = JoinSet::new();
    let mut drained = front.drained.clone();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = drained.wait_for(|drained| *drained) => break,
        };
        let Ok((socket, address)) = accepted else {
            // Out of file descriptors, most likely: some will be given back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let place = front.room.take(&network(address.ip()));
        let full = place.is_none();
        let told = if full {
            front.service.metrics.count("shed", "connection");
            // Nobody is waited for here: those of one address would hold up all others.
            let Ok(told) = Arc::clone(&front.told).try_acquire_owned() else { continue };
            Some(told)
        } else {
            None
        };
        let _ = socket.set_nodelay(true);
        let front = front.clone();
        connections.spawn(async move {
            let service = Arc::clone(&front.service);
            let _present = service.metrics.connection();
            let patience = if full { HANDSHAKE } else { Duration::MAX };
            let served = async {
                match front.inside {
                    Inside::Http | Inside::Flight => http_connection(front, socket, address, full).await,
                    Inside::Postgres => {
                        let config = front.tls.as_ref().map(|tls| tls.config(Inside::Postgres));
                        pg::connection(front.service, config, socket, address, front.drained, full).await;
                    }
                }
            };
            let _ = timeout(patience, served).await;
            drop((place, told));
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn http_connection(front: Front, socket: TcpStream, address: SocketAddr, full: bool) {
    let stall = front.service.limits().stall_timeout;
    let Some(tls) = &front.tls else {
        let peer = Peer::new(address.ip(), false, None, full);
        let stream = Stalling::new(socket, stall);
        return match front.inside {
            Inside::Flight => http2_connection(front, stream, peer).await,
            _ => http1_connection(front, stream, peer).await,
        };
    };
    let acceptor = TlsAcceptor::from(tls.config(front.inside));
    let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(socket)).await else {
        return front.service.metrics.count("handshakes", "failed");
    };
    let (_, connection) = stream.get_ref();
    let certificate = certificate::shown(connection);
    let http2 = front.inside == Inside::Flight || connection.alpn_protocol() == Some(b"h2");
    let peer = Peer::new(address.ip(), true, certificate, full);
    let stream = Stalling::new(stream, stall);
    if http2 { http2_connection(front, stream, peer).await } else { http1_connection(front, stream, peer).await }
}

type Answered = Result<::http::Response<Body>, Infallible>;

/// Serves a connection until it ends: by itself, because the server stops, or because nobody has logged in on it for too long. Those of HTTP/1
/// and HTTP/2 end alike and have no trait of it.
macro_rules! until_over {
    ($connection:ident, $drained:expr, $stranger:expr) => {{
        let mut drained = $drained;
        let is_overdue = tokio::select! {
            _ = $connection.as_mut() => return,
            _ = drained.wait_for(|drained| *drained) => false,
            () = overdue(&$stranger) => true,
        };
        $connection.as_mut().graceful_shutdown();
        // Who logs in at the last moment may have an answer.
        if is_overdue && (timeout(HANDSHAKE, $connection.as_mut()).await.is_ok() || !$stranger.has_logged_in()) {
            return;
        }
        let _ = $connection.await;
    }};
}

async fn http1_connection<S>(front: Front, stream: S, peer: Peer)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (service, peer) = (front.service, Arc::new(peer));
    let (stranger, full) = (Arc::clone(&peer), peer.full);
    let answer = service_fn(move |request| -> Pin<Box<dyn Future<Output = Answered> + Send>> {
        Box::pin(http::answer(Arc::clone(&service), Arc::clone(&peer), request))
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(!full)
            .header_read_timeout(HANDSHAKE)
            .max_buf_size(64 * 1024)
            .max_headers(64)
            .serve_connection(TokioIo::new(stream), answer)
    );
    until_over!(connection, front.drained, stranger);
}

async fn http2_connection<S>(front: Front, stream: S, peer: Peer)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (service, peer, inside) = (front.service, Arc::new(peer), front.inside);
    let stranger = Arc::clone(&peer);
    let answer = service_fn(move |request| -> Pin<Box<dyn Future<Output = Answered> + Send>> {
        let (service, peer) = (Arc::clone(&service), Arc::clone(&peer));
        match inside {
            Inside::Flight => Box::pin(flight::answer(service, peer, request)),
            _ => Box::pin(http::answer(service, peer, request)),
        }
    });
    let mut connection = pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(Duration::from_secs(20)))
            .keep_alive_timeout(Duration::from_secs(20))
            .max_concurrent_streams(32)
            .max_header_list_size(32 * 1024)
            .max_send_buf_size(256 * 1024)
            .serve_connection(TokioIo::new(stream), answer)
    );
    until_over!(connection, front.drained, stranger);
}

async fn tell_metrics(listener: TcpListener, service: Arc<Service>) {
    let room = Arc::new(Semaphore::new(8));
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let response = http::metrics(&service, &request);
                async move { Ok::<_, Infallible>(response) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HANDSHAKE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(socket), answer);
            let _ = timeout(HANDSHAKE, served).await;
            drop(place);
        });
    }
}

/// Returns when a connection has lasted without a log-in for as long as it may.
async fn overdue(peer: &Peer) {
    tokio::time::sleep(LOG_IN).await;
    if peer.has_logged_in() {
        std::future::pending::<()>().await;
    }
}

/// Reads certificates again when their files change, and forgets sessions that are over.
async fn look(service: Arc<Service>, tls: Option<Arc<Tls>>, tell: Tell, again: Arc<Notify>) {
    let mut said = String::new();
    let mut lost = None;
    loop {
        let told = tokio::select! {
            () = tokio::time::sleep(LOOK) => false,
            () = again.notified() => true,
        };
        if told {
            said.clear();
            let service = Arc::clone(&service);
            match tokio::task::spawn_blocking(move || service.read_again()).await {
                Ok(Ok(())) => tell("users, the list of the denied, and the rules were read again"),
                Ok(Err(error)) => tell(&format!("the rules cannot be read: {error}")),
                Err(_) => {}
            }
        }
        let now = service.sessions.log_in.lost_role().map(str::to_owned);
        if now != lost
            && let Some(role) = &now
        {
            tell(&format!(
                "`mfa` names the role `{role}`, which is not defined any more: until it is, everybody takes more than one factor"
            ));
        }
        lost = now;
        let (kept, tls) = (Arc::clone(&service), tls.clone());
        let looked = tokio::task::spawn_blocking(move || {
            kept.sessions.sweep();
            kept.flight.sweep();
            tls.map_or(Ok(false), |tls| tls.refresh(told))
        });
        match looked.await {
            Ok(Ok(true)) => {
                said.clear();
                service.metrics.count("certificates", "read again");
                tell("certificates were read again");
            }
            Ok(Err(error)) => {
                service.metrics.count("certificates", "unreadable");
                let text = format!("certificates changed and cannot be used; those of before are: {error}");
                if text != said {
                    tell(&text);
                    said = text;
                }
            }
            Ok(Ok(false)) | Err(_) => {}
        }
    }
}
