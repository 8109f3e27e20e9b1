//! gRPC over the server's own HTTP/2: messages in; messages and a status out (the protocol's `PROTOCOL-HTTP2.md`).
//!
//! Messages are never compressed, in neither direction: what is small on the line and large in memory does not come in.

use std::fmt::Write;
use std::time::Duration;

use ::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use ::http::{Response, StatusCode};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::stream;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::http::{Body, Cut};
use crate::log_in::Refusal;
use crate::service::{Kind, Trouble};

/// How long a message may take to come.
const PATIENCE: Duration = Duration::from_secs(15);
/// Clients bound the metadata that they take.
const LONGEST_WORDS: usize = 1500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Cancelled = 1,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// How a call went wrong, in the words that the client is told.
#[derive(Debug)]
pub struct Status {
    pub code: Code,
    words: String,
    pub label: &'static str,
    again: Option<Duration>,
}

impl Status {
    /// Something about the call itself.
    pub fn new(code: Code, words: impl Into<String>) -> Self {
        let label = match code {
            Code::Unimplemented => "not supported",
            Code::ResourceExhausted => "too large",
            Code::NotFound => "not found",
            _ => "request",
        };
        Self { code, words: words.into(), label, again: None }
    }

    fn trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert(STATUS, (self.code as u16).into());
        if let Ok(words) = HeaderValue::try_from(escaped(&self.words)) {
            trailers.insert(HeaderName::from_static("grpc-message"), words);
        }
        if let Some(again) = self.again {
            trailers.insert(HeaderName::from_static("grpc-retry-pushback-ms"), (again.as_millis() as u64).into());
        }
        trailers
    }

    /// The answer to a call of which nothing else has been sent.
    pub fn response(&self) -> Response<Body> {
        let mut response = begun(Empty::new().map_err(|never| match never {}).boxed_unsync());
        response.headers_mut().extend(self.trailers());
        response
    }
}

impl From<Trouble> for Status {
    fn from(trouble: Trouble) -> Self {
        let code = match trouble.kind() {
            Kind::Unauthenticated => Code::Unauthenticated,
            Kind::Forbidden => Code::PermissionDenied,
            Kind::NotFound | Kind::UnknownTable => Code::NotFound,
            Kind::Request | Kind::Syntax | Kind::UnknownColumn => Code::InvalidArgument,
            Kind::Unsupported => Code::Unimplemented,
            Kind::Data => Code::FailedPrecondition,
            Kind::TooMany => Code::OutOfRange,
            Kind::TooLarge | Kind::Throttled | Kind::BusyPrincipal | Kind::Memory => Code::ResourceExhausted,
            Kind::Busy | Kind::Stopping | Kind::Unavailable => Code::Unavailable,
            Kind::Late => Code::DeadlineExceeded,
            Kind::Cancelled => Code::Cancelled,
            Kind::Internal => Code::Internal,
        };
        Self { code, words: trouble.words(), label: trouble.label(), again: trouble.retry_after() }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Trouble::LogIn(refusal).into()
    }
}

const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Printable ASCII stays, all else is percent-encoded UTF-8.
fn escaped(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for byte in words.bytes().take(LONGEST_WORDS) {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// What a client sends in one call.
pub struct Messages {
    body: Incoming,
    buffer: BytesMut,
    /// Bytes that may come yet.
    left: usize,
}

impl Messages {
    /// Of `most` bytes all together.
    pub fn new(body: Incoming, most: usize) -> Self {
        Self { body, buffer: BytesMut::new(), left: most }
    }

    pub async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = taken(&mut self.buffer, &mut self.left)? {
                return Ok(Some(message));
            }
            match timeout(PATIENCE, self.body.frame()).await {
                Err(_) => return Err(Status::new(Code::DeadlineExceeded, "the request did not come in time")),
                Ok(None) if self.buffer.is_empty() => return Ok(None),
                Ok(None | Some(Err(_))) => return Err(Status::new(Code::InvalidArgument, "the request broke off")),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    /// The only message of a call.
    pub async fn only<M: Message + Default>(&mut self) -> Result<M, Status> {
        let message = self.next().await?.ok_or_else(|| Status::new(Code::InvalidArgument, "the request is empty"))?;
        decoded(&message)
    }

    /// Reads what a refused client still sends, within reason, and throws it away: some look for an answer only then.
    pub async fn discard(mut self, patience: Duration) {
        let reading = async {
            while let Some(Ok(frame)) = self.body.frame().await {
                let seen = frame.data_ref().map_or(0, Bytes::len);
                self.left = self.left.saturating_sub(seen / 16);
                if self.left == 0 {
                    break;
                }
            }
        };
        let _ = timeout(patience, reading).await;
    }
}

/// A message that is whole; its length counts before it has come.
fn taken(buffer: &mut BytesMut, left: &mut usize) -> Result<Option<Bytes>, Status> {
    let Some([compressed, length @ ..]) = buffer.first_chunk::<5>().copied() else { return Ok(None) };
    if compressed != 0 {
        return Err(Status::new(Code::Unimplemented, "messages are taken as they are, without compression"));
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > *left {
        return Err(Trouble::TooLarge.into());
    }
    if buffer.len() - 5 < length {
        return Ok(None);
    }
    *left -= length;
    buffer.advance(5);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// prost's own words say more of the program than of the message.
pub fn decoded<M: Message + Default>(bytes: &Bytes) -> Result<M, Status> {
    M::decode(bytes.clone())
        .map_err(|_| Status::new(Code::InvalidArgument, "the request is not a message of Arrow Flight"))
}

/// A message as it goes on the line.
pub fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(length + 5);
    out.put_u8(0);
    out.put_u32(length as u32);
    // The room that it takes is there.
    let _ = message.encode(&mut out);
    out.freeze()
}

/// A part of an answer.
pub enum Part {
    Message(Bytes),
    End(Result<(), Status>),
}

fn begun(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
        .headers_mut()
        .insert(HeaderName::from_static("grpc-accept-encoding"), HeaderValue::from_static("identity"));
    response
}

/// The answer of a call that went well.
pub fn whole(messages: Vec<Bytes>) -> Response<Body> {
    let parts = messages.into_iter().map(|message| Ok(Frame::data(message)));
    let end = std::iter::once(Ok(Frame::trailers(finished())));
    begun(StreamBody::new(stream::iter(parts.chain(end))).boxed_unsync())
}

/// An answer whose parts come as the client takes them. A channel that closes before its end is an answer that ended early.
pub fn streamed(parts: mpsc::Receiver<Part>) -> Response<Body> {
    let frames = stream::unfold(Some(parts), |parts| async move {
        let mut parts = parts?;
        match parts.recv().await {
            Some(Part::Message(bytes)) => Some((Ok(Frame::data(bytes)), Some(parts))),
            Some(Part::End(Ok(()))) => Some((Ok(Frame::trailers(finished())), None)),
            Some(Part::End(Err(status))) => Some((Ok(Frame::trailers(status.trailers())), None)),
            None => Some((Err(Cut), None)),
        }
    });
    begun(StreamBody::new(frames).boxed_unsync())
}

fn finished() -> HeaderMap {
    HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))])
}

/// For what is not gRPC at all.
pub fn no_grpc(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::flight::proto::Ticket;

    #[test]
    fn words_are_escaped_and_bounded() {
        assert_eq!(escaped("50 % of `Zoë`\n"), "50 %25 of `Zo%C3%AB`%0A");
        assert_eq!(escaped(&"x".repeat(5000)).len(), LONGEST_WORDS);
    }

    #[test]
    fn messages_are_taken_whole_and_what_is_too_large_before_it_comes() {
        let sent = framed(&Ticket { ticket: Bytes::from_static(b"abc") });
        let mut left = 10;
        for cut in 0..sent.len() {
            let mut buffer = BytesMut::from(&sent[..cut]);
            assert!(taken(&mut buffer, &mut left).unwrap().is_none());
        }
        let mut buffer = BytesMut::from(&[&sent[..], &sent[..]].concat()[..]);
        let message = taken(&mut buffer, &mut left).unwrap().unwrap();
        assert_eq!(decoded::<Ticket>(&message).unwrap().ticket, "abc");
        assert!(taken(&mut buffer, &mut left).unwrap().is_some() && buffer.is_empty() && left == 0);
        let mut buffer = BytesMut::from(&[0, 0xff, 0xff, 0xff, 0xff][..]);
        assert_eq!(taken(&mut buffer, &mut 1000).unwrap_err().code, Code::ResourceExhausted);
        let mut buffer = BytesMut::from(&[1, 0, 0, 0, 0][..]);
        assert_eq!(taken(&mut buffer, &mut 1000).unwrap_err().code, Code::Unimplemented);
        assert!(decoded::<Ticket>(&Bytes::from_static(b"\x0a\xff\xff")).is_err());
    }
}
