//! Clients of PostgreSQL: psql, JDBC, BI tools. Protocol 3.0, questions only.
//!
//! Written here and not with `pgwire`: see `docs/decisions/0031-a-server-of-few-parts.md`.

pub(crate) mod catalog;
mod connection;
mod settings;
mod statement;
mod types;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use crate::log_in::{Credential, certificate};
use crate::service::{Service, Trouble};
use crate::session::{Busy, Session};
use crate::stream::Stalling;
pub use connection::Cancels;
use connection::Connection;
use wire::{Broken, Fields, Out, Reader, Wrong};

/// How long until it is known who it is.
const LOG_IN: Duration = Duration::from_secs(20);
/// As PostgreSQL's own MAX_STARTUP_PACKET_LENGTH.
const MOST_AT_START: usize = 10_000;
/// As PostgreSQL's own PG_MAX_AUTH_TOKEN_LENGTH: a ticket that lists groups is the longest.
const MOST_CREDENTIAL: usize = 65_535;

const SSL: i32 = 80_877_103;
const GSS: i32 = 80_877_104;
const CANCEL: i32 = 80_877_102;

/// Plain to this machine, TLS to all others.
enum Stream {
    Plain(Stalling<TcpStream>),
    Tls(Box<Stalling<TlsStream<TcpStream>>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// One connection, from its first byte to its last.
pub async fn connection(
    service: Arc<Service>,
    tls: Option<Arc<ServerConfig>>,
    socket: TcpStream,
    address: SocketAddr,
    drained: watch::Receiver<bool>,
    full: bool,
) {
    let Ok(Ok(Some(begun))) = timeout(LOG_IN, begin(&service, tls, socket, address)).await else {
        return service.metrics.count("handshakes", "failed");
    };
    let (mut stream, certificate, parameters) = begun;
    if full {
        let (mut out, words) = (Out::default(), Trouble::Busy(Busy::Connections).words());
        out.error(&Wrong { fatal: true, code: "53300", message: &words, hint: None });
        let _ = stream.write_all(&out.0).await;
        let _ = stream.shutdown().await;
        return;
    }
    let (read, mut write) = tokio::io::split(stream);
    let mut reader = Reader::new(read, MOST_CREDENTIAL);
    let logged_in = timeout(LOG_IN, log_in(&service, &mut reader, &mut write, certificate, &parameters, address)).await;
    let session = match logged_in {
        Ok(Ok(Ok(session))) => session,
        Ok(Ok(Err(trouble))) => {
            let mut out = Out::default();
            let words = trouble.words();
            out.error(&Wrong { fatal: true, code: connection::code(&trouble), message: &words, hint: None });
            let _ = write.write_all(&out.0).await;
            let _ = write.shutdown().await;
            return;
        }
        Ok(Err(_)) | Err(_) => return service.metrics.count("handshakes", "failed"),
    };
    let Some(_place) = service.clients.take(session.principal.name.as_str()) else {
        service.metrics.count("shed", "connection");
        let mut out = Out::default();
        let message = "as many of your connections are open as may be; close some";
        out.error(&Wrong { fatal: true, code: "53300", message, hint: None });
        let _ = write.write_all(&out.0).await;
        let _ = write.shutdown().await;
        return;
    };
    reader.allow(service.limits().request);
    Connection::new(service, session, reader, write, drained, parameters).run().await;
}

type Begun = (Stream, Option<Vec<u8>>, BTreeMap<String, String>);

/// The negotiation before any message: TLS, and what the client says of itself. `None` where nothing more is to come.
async fn begin(
    service: &Service,
    tls: Option<Arc<ServerConfig>>,
    socket: TcpStream,
    _: SocketAddr,
) -> Result<Option<Begun>, Broken> {
    let stall = service.limits().stall_timeout;
    let mut first = [0];
    let direct = socket.peek(&mut first).await? == 1 && first == [0x16];
    let mut plain = socket;
    let mut certificate = None;
    let mut stream = None;
    if direct {
        // PostgreSQL 17's `sslnegotiation=direct`, for which it asks the protocol's name.
        let config = tls.clone().ok_or(Broken::Malformed)?;
        let accepted = TlsAcceptor::from(config).accept(plain).await?;
        if accepted.get_ref().1.alpn_protocol() != Some(b"postgresql") {
            return Err(Broken::Malformed);
        }
        certificate = shown(&accepted);
        stream = Some(Stream::Tls(Box::new(Stalling::new(accepted, stall))));
    } else {
        // At most one refusal of GSSAPI and one of TLS before the first packet.
        for _ in 0..3 {
            let head = peeked(&plain).await?;
            match head {
                SSL => {
                    // Exactly these eight bytes: what came with them unencrypted is part of the handshake, where it fails.
                    plain.read_exact(&mut [0; 8]).await?;
                    let Some(config) = tls.clone() else {
                        plain.write_all(b"N").await?;
                        continue;
                    };
                    plain.write_all(b"S").await?;
                    let accepted = TlsAcceptor::from(config).accept(plain).await?;
                    certificate = shown(&accepted);
                    stream = Some(Stream::Tls(Box::new(Stalling::new(accepted, stall))));
                    break;
                }
                GSS => {
                    plain.read_exact(&mut [0; 8]).await?;
                    plain.write_all(b"N").await?;
                }
                _ => {
                    stream = Some(Stream::Plain(Stalling::new(plain, stall)));
                    break;
                }
            }
            if stream.is_some() {
                break;
            }
        }
    }
    let mut stream = stream.ok_or(Broken::Malformed)?;
    let length = usize::try_from(stream.read_i32().await?).map_err(|_| Broken::Malformed)?;
    if !(8..=MOST_AT_START).contains(&length) {
        return Err(Broken::TooLarge);
    }
    let version = stream.read_i32().await?;
    let mut body = BytesMut::zeroed(length - 8);
    stream.read_exact(&mut body).await?;
    let mut fields = Fields(body);
    if version == CANCEL {
        let (process, key) = (fields.i32()?, fields.i32()?);
        service.cancels.cancel(process, key);
        return Ok(None);
    }
    let mut out = Out::default();
    let fatal = |out: &mut Out, code, message| out.error(&Wrong { fatal: true, code, message, hint: None });
    if version >> 16 != 3 {
        fatal(&mut out, "0A000", "only version 3 of the protocol is spoken here");
        stream.write_all(&out.0).await?;
        return Ok(None);
    }
    if tls.is_some() && matches!(stream, Stream::Plain(_)) {
        fatal(&mut out, "28000", "this server takes TLS: connect with sslmode=verify-full");
        stream.write_all(&out.0).await?;
        return Ok(None);
    }
    let mut parameters = BTreeMap::new();
    let mut unknown = Vec::new();
    loop {
        let name = fields.text()?;
        if name.is_empty() {
            break;
        }
        let value = fields.text()?;
        if name.starts_with("_pq_.") {
            unknown.push(name);
        } else {
            parameters.insert(name, value);
        }
    }
    if version != 3 << 16 || !unknown.is_empty() {
        out.message(b'v', |out| {
            use bytes::BufMut;
            out.put_i32(3 << 16);
            out.put_i32(unknown.len() as i32);
            for name in &unknown {
                wire::put_text(out, name);
            }
        });
        stream.write_all(&out.0).await?;
    }
    Ok(Some((stream, certificate, parameters)))
}

/// The code of the packet that comes first, without taking it.
async fn peeked(socket: &TcpStream) -> Result<i32, Broken> {
    let mut head = [0; 8];
    loop {
        match socket.peek(&mut head).await? {
            8 => break,
            0 => return Err(Broken::Gone),
            // `readable` would return at once for what is there already.
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    let [_, _, _, _, code @ ..] = head;
    Ok(i32::from_be_bytes(code))
}

fn shown(stream: &TlsStream<TcpStream>) -> Option<Vec<u8>> {
    certificate::shown(stream.get_ref().1)
}

/// The setting by which a client says that it has a password or an access token where it would be asked for a ticket.
const HOW: &str = "cordon.log_in";

/// One way is asked for in each connection: a certificate that was shown is the credential; else a ticket, where tickets are taken here,
/// unless the client says `cordon.log_in=password`; else a password, or an access token in its place. The principal must be whom the
/// client said.
async fn log_in<R, W>(
    service: &Arc<Service>,
    reader: &mut Reader<R>,
    write: &mut W,
    certificate: Option<Vec<u8>>,
    parameters: &BTreeMap<String, String>,
    address: SocketAddr,
) -> Result<Result<Arc<Session>, Trouble>, Broken>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Some(user) = parameters.get("user").filter(|user| !user.is_empty()) else {
        return Ok(Err(Trouble::NoCredential));
    };
    let tickets = service.settings.kerberos.as_ref().is_some_and(|kerberos| kerberos.postgres_service.is_some());
    let credential = if let Some(der) = certificate {
        Credential::Certificate(der)
    } else if tickets && connection::setting(parameters, HOW).as_deref() != Some("password") {
        let mut out = Out::default();
        out.authentication(7);
        write.write_all(&out.0).await?;
        write.flush().await?;
        let message = reader.message().await?;
        if message.kind != b'p' {
            return Err(Broken::Malformed);
        }
        Credential::PostgresTicket(message.body.to_vec())
    } else {
        let mut out = Out::default();
        // In clear within TLS, or on this machine: a hash that both ends know would be one to steal.
        out.authentication(3);
        write.write_all(&out.0).await?;
        write.flush().await?;
        let message = reader.message().await?;
        if message.kind != b'p' {
            return Err(Broken::Malformed);
        }
        let shown = Zeroizing::new(Fields(message.body).text()?);
        let is_token = !service.settings.oidc.is_empty()
            && shown.starts_with("eyJ")
            && shown.bytes().filter(|byte| *byte == b'.').count() == 2;
        if is_token { Credential::Token(shown) } else { Credential::Password { name: user.clone(), password: shown } }
    };
    let logged_in = service.log_in_as(user, credential, address.ip()).await;
    if let Ok(session) = &logged_in
        && !session.reply().is_empty()
    {
        // AuthenticationGSSContinue: a log-in by Kerberos has one round, so that is the last word.
        let mut out = Out::default();
        out.message(b'R', |out| {
            use bytes::BufMut;
            out.put_i32(8);
            out.put_slice(session.reply());
        });
        write.write_all(&out.0).await?;
    }
    Ok(logged_in)
}
