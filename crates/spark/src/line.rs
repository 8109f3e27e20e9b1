//! The connection to a server: HTTP/2, over TLS or on this machine, made anew where it has ended between two calls.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, TE, USER_AGENT};
use http::{Request, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::endpoint::Endpoint;
use crate::error::SparkError;
use crate::grpc::{LARGEST_HEADERS, Messages, framed, no_http2, transport};

pub(crate) const AGENT: &str = concat!("cordon/", env!("CARGO_PKG_VERSION"));
/// For the connection and for the handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// What may be on its way in one answer, and in all. A reader that takes its time holds up its own answer and not the others.
const WINDOW: u32 = 2 * 1024 * 1024;
const WINDOWS: u32 = 32 * 1024 * 1024;

/// The source of an artifact ended before its time; the call ends with it.
#[derive(Debug, thiserror::Error)]
#[error("given up")]
pub(crate) struct GivenUp;

pub(crate) type Body = UnsyncBoxBody<Bytes, GivenUp>;

pub(crate) struct Line {
    endpoint: Endpoint,
    authorization: Option<HeaderValue>,
    tls: Option<TlsConnector>,
    connection: Mutex<Option<Connection>>,
}

#[derive(Clone)]
struct Connection {
    sender: SendRequest<Body>,
    /// Whether it ended with what is no HTTP/2, once it has.
    end: watch::Receiver<Option<bool>>,
}

impl Connection {
    /// Why a call could not be made: the connection itself knows better.
    async fn trouble(mut self, error: &hyper::Error) -> SparkError {
        if let Ok(Ok(end)) = timeout(Duration::from_secs(1), self.end.wait_for(Option::is_some)).await
            && *end == Some(true)
        {
            return no_http2();
        }
        transport(error)
    }
}

impl Line {
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Self, SparkError> {
        let tls = endpoint.tls().then(|| connector(endpoint.ca_file())).transpose()?;
        let authorization = endpoint.authorization()?;
        Ok(Self { endpoint: endpoint.clone(), authorization, tls, connection: Mutex::new(None) })
    }

    /// One message there, one back.
    pub(crate) async fn ask<M: Message + Default>(
        &self,
        method: &str,
        message: &impl Message,
        patience: Duration,
    ) -> Result<M, SparkError> {
        let message = framed(message)?;
        let asking = async {
            self.begin(method, Full::new(message).map_err(|never| match never {}).boxed_unsync()).await?.only().await
        };
        timeout(patience, asking)
            .await
            .map_err(|_| SparkError::unreachable(format!("no answer in {} seconds", patience.as_secs())))?
    }

    /// An answer that has begun.
    pub(crate) async fn begin(&self, method: &str, body: Body) -> Result<Messages, SparkError> {
        let mut connection = self.connection().await?;
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut request =
            Request::post(format!("{scheme}://{}/spark.connect.SparkConnectService/{method}", self.endpoint.at()))
                .version(Version::HTTP_2)
                .header(CONTENT_TYPE, "application/grpc")
                .header(TE, "trailers")
                .header(USER_AGENT, AGENT)
                .header("grpc-accept-encoding", "identity");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let request = request.body(body).map_err(|_| SparkError::protocol("its address is none that HTTP can name"))?;
        match connection.sender.send_request(request).await {
            Ok(response) => Messages::begin(response, &self.endpoint),
            Err(error) => Err(connection.trouble(&error).await),
        }
    }

    async fn connection(&self) -> Result<Connection, SparkError> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = held.as_mut()
            && connection.sender.ready().await.is_ok()
        {
            return Ok(connection.clone());
        }
        let mut connection = Box::pin(self.connected()).await?;
        if let Err(error) = connection.sender.ready().await {
            return Err(connection.trouble(&error).await);
        }
        *held = Some(connection.clone());
        Ok(connection)
    }

    async fn connected(&self) -> Result<Connection, SparkError> {
        let late = |_| SparkError::unreachable("no connection in time");
        let to = (self.endpoint.host(), self.endpoint.port());
        let stream =
            timeout(CONNECT, TcpStream::connect(to)).await.map_err(late)?.map_err(|error| io_trouble(&error))?;
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            // Names of this machine are whatever a resolver says.
            if !stream.peer_addr().as_ref().map(SocketAddr::ip).is_ok_and(|address| address.is_loopback()) {
                return Err(SparkError::unreachable(
                    "its name leads to another machine, and it would be spoken to in clear",
                ));
            }
            return begun(TokioIo::new(stream)).await;
        };
        let name = ServerName::try_from(self.endpoint.host().to_owned())
            .map_err(|_| SparkError::NotTrusted { how: "the address names no host that a certificate could" })?;
        let stream =
            timeout(CONNECT, tls.connect(name, stream)).await.map_err(late)?.map_err(|error| tls_trouble(&error))?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(SparkError::protocol("its TLS does not offer HTTP/2"));
        }
        begun(TokioIo::new(stream)).await
    }
}

async fn begun<T: Read + Write + Unpin + Send + 'static>(stream: T) -> Result<Connection, SparkError> {
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOWS)
        .max_header_list_size(LARGEST_HEADERS)
        .handshake(stream)
        .await
        .map_err(|error| transport(&error))?;
    let (ended, end) = watch::channel(None);
    tokio::spawn(async move {
        let trouble = connection.await.err().map(|error| transport(&error));
        ended.send_replace(Some(matches!(trouble, Some(SparkError::Protocol { .. }))));
    });
    Ok(Connection { sender, end })
}

fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, SparkError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        let wrong = |how: &str| SparkError::Endpoint {
            message: format!("`ca_file` {} {how}", path.display()),
            help: "name a file that holds the certificate of the server's authority in PEM".to_owned(),
        };
        let found = CertificateDer::pem_file_iter(path).map_err(|_| wrong("cannot be read"))?;
        for certificate in found {
            let certificate = certificate.map_err(|_| wrong("is not PEM"))?;
            roots.add(certificate).map_err(|_| wrong("holds what is no certificate"))?;
        }
        if roots.is_empty() {
            return Err(wrong("holds no certificate in PEM"));
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(SparkError::NotTrusted { how: "this machine trusts no certificate authority at all" });
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| SparkError::NotTrusted { how: "no version of TLS can be spoken" })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn io_trouble(error: &io::Error) -> SparkError {
    SparkError::unreachable(match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there",
        io::ErrorKind::TimedOut => "no connection in time",
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => "there is no way to its network",
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            "the connection was cut"
        }
        _ => "its name is not known, or it cannot be connected to",
    })
}

fn tls_trouble(error: &io::Error) -> SparkError {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return io_trouble(error);
    };
    let how = match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer => "nobody who is trusted here issued it",
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "it is for another host"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it is expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet",
            CertificateError::Revoked => "it is revoked",
            _ => "it is not valid",
        },
        rustls::Error::InvalidMessage(_) => return SparkError::protocol("it does not speak TLS"),
        rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)
        | rustls::Error::NoApplicationProtocol => return SparkError::protocol("its TLS does not offer HTTP/2"),
        _ => "the handshake failed",
    };
    SparkError::NotTrusted { how }
}
