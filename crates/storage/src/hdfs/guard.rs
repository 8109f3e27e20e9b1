//! What stands between the client and a name node, and lets nothing pass in clear.
//!
//! The client takes the best protection that a server offers, and none where none is offered: whoever answers in a name node's place
//! could have it speak in clear. So it is given an address on this machine. What it sends there is looked at and passed on: requests
//! to log in by Kerberos to the service that the cluster's configuration names, and then only messages that Kerberos has sealed
//! (RFC 4121, 4.2.6.2). Anything else ends the connection before it left.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::error::Trouble;

const CONNECT: Duration = Duration::from_secs(10);
/// Hadoop's own limit of a message is 128 MiB.
const MOST_FRAME: u32 = 256 << 20;
/// How a connection begins: version 9, any class of service, and SASL.
const HELLO: [u8; 5] = *b"hrpc\x09";
const SASL: u8 = 0xDF;
/// The call that everything sealed is part of.
const SASL_CALL: i32 = -33;

const NEGOTIATE: i32 = 1;
const INITIATE: i32 = 2;
const RESPONSE: i32 = 4;
const WRAP: i32 = 5;

/// A name node and whom it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NameNode {
    pub host: String,
    pub port: u16,
    pub service: Service,
}

/// The principal of a name node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// As the cluster's configuration has it: the service and the host.
    Named(String, String),
    /// Any service of the host that the address names.
    OfHost,
}

impl NameNode {
    fn is(&self, service: &str, host: &str) -> bool {
        let local = |name: &str| cordon_keystore::is_loopback(name);
        let same = |expected: &str| expected.eq_ignore_ascii_case(host) || local(expected) && local(host);
        match &self.service {
            Service::Named(expected, of) => expected == service && same(of),
            Service::OfHost => same(&self.host),
        }
    }
}

/// Why the last connection ended, for whoever is told only that it did.
pub(super) type Verdict = Arc<Mutex<Option<Trouble>>>;

pub(super) fn verdict(verdict: &Verdict) -> Option<Trouble> {
    verdict.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn say(verdict: &Verdict, trouble: Option<Trouble>) {
    *verdict.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
}

/// Listens as long as it lives.
#[derive(Debug)]
pub(super) struct Guard {
    pub address: SocketAddr,
    task: AbortHandle,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Guard {
    pub(super) fn start(handle: &Handle, node: NameNode, verdict: &Verdict) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let entered = handle.enter();
        let listener = TcpListener::from_std(listener)?;
        drop(entered);
        let verdict = Arc::clone(verdict);
        let task = handle.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (node, verdict) = (node.clone(), Arc::clone(&verdict));
                tokio::spawn(async move {
                    if let Err(trouble) = relay(client, &node, &verdict).await {
                        say(&verdict, Some(trouble));
                    }
                });
            }
        });
        Ok(Self { address, task: task.abort_handle() })
    }
}

async fn relay(client: TcpStream, node: &NameNode, verdict: &Verdict) -> Result<(), Trouble> {
    let host = node.host.trim_start_matches('[').trim_end_matches(']');
    let connected = timeout(CONNECT, TcpStream::connect((host, node.port))).await;
    // The client's end closes only after the reason is known.
    let Ok(Ok(server)) = connected else { return refuse(client, Trouble::Unreachable, verdict) };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let outcome = tokio::select! {
        outcome = requests(&mut from_client, &mut to_server, node, verdict) => outcome,
        outcome = answers(&mut from_server, &mut to_client) => outcome,
    };
    match outcome {
        Ok(()) => Ok(()),
        Err(trouble) => {
            say(verdict, Some(trouble.clone()));
            Err(trouble)
        }
    }
}

fn refuse(client: TcpStream, trouble: Trouble, verdict: &Verdict) -> Result<(), Trouble> {
    say(verdict, Some(trouble.clone()));
    drop(client);
    Err(trouble)
}

async fn requests(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    node: &NameNode,
    verdict: &Verdict,
) -> Result<(), Trouble> {
    let mut hello = [0; 7];
    if from.read_exact(&mut hello).await.is_err() {
        return Ok(());
    }
    if !hello.starts_with(&HELLO) || hello.last() != Some(&SASL) {
        return Err(Trouble::InClear);
    }
    to.write_all(&hello).await.map_err(|_| Trouble::Interrupted)?;
    while let Some(frame) = read(from).await? {
        if checked_request(&frame, node)? {
            say(verdict, None);
        }
        write(to, &frame).await?;
    }
    Ok(())
}

async fn answers(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> Result<(), Trouble> {
    let mut sealed = false;
    while let Some(frame) = read(from).await? {
        sealed = checked_answer(&frame, sealed)?;
        write(to, &frame).await?;
    }
    // A name node that closes without a word is away, or is being stopped.
    Err(Trouble::Interrupted)
}

async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Vec<u8>>, Trouble> {
    let Ok(length) = from.read_u32().await else { return Ok(None) };
    if length > MOST_FRAME {
        return Err(Trouble::InClear);
    }
    let mut frame = vec![0; length as usize];
    from.read_exact(&mut frame).await.map_err(|_| Trouble::Interrupted)?;
    Ok(Some(frame))
}

async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> Result<(), Trouble> {
    let length = u32::try_from(frame.len()).map_err(|_| Trouble::InClear)?;
    let written = async {
        to.write_u32(length).await?;
        to.write_all(frame).await?;
        to.flush().await
    };
    written.await.map_err(|_| Trouble::Interrupted)
}

/// Whether what the client sends is sealed; an error where it may not pass.
fn checked_request(frame: &[u8], node: &NameNode) -> Result<bool, Trouble> {
    let mut frame = frame;
    let header = RequestHeader::decode_length_delimited(&mut frame).map_err(|_| Trouble::InClear)?;
    let message = SaslMessage::decode_length_delimited(&mut frame).map_err(|_| Trouble::InClear)?;
    if header.call_id != SASL_CALL {
        return Err(Trouble::InClear);
    }
    match message.state {
        NEGOTIATE | RESPONSE => Ok(false),
        INITIATE => match message.auths.as_slice() {
            [auth] if auth.method != "KERBEROS" => Err(Trouble::InClear),
            [auth] if node.is(&auth.protocol, &auth.server_id) => Ok(false),
            _ => Err(Trouble::Impostor),
        },
        WRAP if is_sealed(&message.token) => Ok(true),
        _ => Err(Trouble::InClear),
    }
}

/// Whether the server has begun to seal; what comes after that is sealed, or the error with which it ends a connection.
fn checked_answer(frame: &[u8], sealed: bool) -> Result<bool, Trouble> {
    let mut frame = frame;
    let header = AnswerHeader::decode_length_delimited(&mut frame).map_err(|_| Trouble::InClear)?;
    if header.status != 0 {
        return Ok(sealed);
    }
    let message = SaslMessage::decode_length_delimited(&mut frame).map_err(|_| Trouble::InClear)?;
    match message.state {
        WRAP if is_sealed(&message.token) => Ok(true),
        WRAP => Err(Trouble::InClear),
        _ if sealed => Err(Trouble::InClear),
        _ => Ok(false),
    }
}

/// A wrap token of RFC 4121 whose content is encrypted and not only signed. Older ones, of DES and RC4, have another form.
fn is_sealed(token: &[u8]) -> bool {
    matches!(token, [0x05, 0x04, flags, 0xFF, ..] if flags & 0x02 != 0)
}

/// `RpcRequestHeaderProto`, as far as it is looked at.
#[derive(Clone, PartialEq, Message)]
struct RequestHeader {
    #[prost(sint32, tag = "3")]
    call_id: i32,
}

/// `RpcResponseHeaderProto`.
#[derive(Clone, PartialEq, Message)]
struct AnswerHeader {
    #[prost(int32, tag = "2")]
    status: i32,
}

/// `RpcSaslProto`.
#[derive(Clone, PartialEq, Message)]
struct SaslMessage {
    #[prost(int32, tag = "2")]
    state: i32,
    #[prost(bytes = "vec", tag = "3")]
    token: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    auths: Vec<SaslAuth>,
}

/// `RpcSaslProto.SaslAuth`.
#[derive(Clone, PartialEq, Message)]
struct SaslAuth {
    #[prost(string, tag = "1")]
    method: String,
    #[prost(string, tag = "3")]
    protocol: String,
    #[prost(string, tag = "4")]
    server_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NameNode {
        NameNode {
            host: "nn.example".to_owned(),
            port: 8020,
            service: Service::Named("nn".to_owned(), "nn.example".to_owned()),
        }
    }

    fn frame(header: &impl Message, message: &SaslMessage) -> Vec<u8> {
        let mut frame = header.encode_length_delimited_to_vec();
        frame.extend(message.encode_length_delimited_to_vec());
        frame
    }

    fn asked(call_id: i32, state: i32, token: &[u8], auth: Option<(&str, &str, &str)>) -> Result<bool, Trouble> {
        let auths = auth.map(|(method, protocol, server_id)| SaslAuth {
            method: method.to_owned(),
            protocol: protocol.to_owned(),
            server_id: server_id.to_owned(),
        });
        let message = SaslMessage { state, token: token.to_vec(), auths: auths.into_iter().collect() };
        checked_request(&frame(&RequestHeader { call_id }, &message), &node())
    }

    const SEALED: [u8; 6] = [5, 4, 2, 0xFF, 0, 0];
    const SIGNED: [u8; 6] = [5, 4, 0, 0xFF, 0, 0];

    #[test]
    fn only_what_kerberos_has_sealed_leaves() {
        assert_eq!(asked(SASL_CALL, NEGOTIATE, &[], None), Ok(false));
        assert_eq!(asked(SASL_CALL, INITIATE, &[1], Some(("KERBEROS", "nn", "NN.example"))), Ok(false));
        assert_eq!(asked(SASL_CALL, WRAP, &SEALED, None), Ok(true));
        for (call, state, token, auth) in [
            (SASL_CALL, WRAP, &SIGNED[..], None),
            (SASL_CALL, WRAP, &[][..], None),
            // A call that is no part of SASL: a request in clear.
            (0, WRAP, &SEALED[..], None),
            (-3, 0, &[][..], None),
            (SASL_CALL, INITIATE, &[][..], Some(("SIMPLE", "", ""))),
            (SASL_CALL, INITIATE, &[][..], Some(("TOKEN", "nn", "nn.example"))),
            (SASL_CALL, 3, &[][..], None),
        ] {
            assert_eq!(asked(call, state, token, auth), Err(Trouble::InClear), "{call} {state}");
        }
        assert_eq!(checked_request(&[1, 2, 3], &node()), Err(Trouble::InClear));
        assert_eq!(checked_request(&[], &node()), Err(Trouble::InClear));
    }

    #[test]
    fn another_service_is_no_name_node() {
        for (service, host) in [("nn", "evil.example"), ("HTTP", "nn.example"), ("", "")] {
            let asked = asked(SASL_CALL, INITIATE, &[1], Some(("KERBEROS", service, host)));
            assert_eq!(asked, Err(Trouble::Impostor), "{service}/{host}");
        }
        assert_eq!(asked(SASL_CALL, INITIATE, &[1], None), Err(Trouble::Impostor));
        let of_host = NameNode { service: Service::OfHost, ..node() };
        assert!(of_host.is("hdfs", "nn.example") && !of_host.is("hdfs", "other.example"));
        let here = NameNode { host: "127.0.0.1".to_owned(), ..of_host };
        assert!(here.is("nn", "localhost") && !here.is("nn", "nn.example"));
    }

    #[test]
    fn an_answer_in_clear_is_refused_once_answers_are_sealed() {
        let answer = |status: i32, state: i32, token: &[u8], sealed: bool| {
            let message = SaslMessage { state, token: token.to_vec(), auths: Vec::new() };
            checked_answer(&frame(&AnswerHeader { status }, &message), sealed)
        };
        assert_eq!(answer(0, NEGOTIATE, &[], false), Ok(false));
        assert_eq!(answer(0, WRAP, &SEALED, false), Ok(true));
        assert_eq!(answer(2, 0, &[], true), Ok(true));
        assert_eq!(answer(0, WRAP, &SIGNED, false), Err(Trouble::InClear));
        assert_eq!(answer(0, NEGOTIATE, &[], true), Err(Trouble::InClear));
        assert_eq!(checked_answer(&[0xFF; 4], false), Err(Trouble::InClear));
    }
}
