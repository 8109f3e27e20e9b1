//! gRPC of a client: messages out; messages and a status in (the protocol's `PROTOCOL-HTTP2.md`).
//!
//! Messages are never compressed, in neither direction: what is small on the line and large in memory does not come in.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use data_encoding::BASE64_NOPAD;
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prost::Message;

use crate::endpoint::Endpoint;
use crate::error::{SparkError, line, python_told};
use crate::proto::{ErrorInfo, RpcStatus};

/// Of one message, in either direction: what Spark takes too.
pub(crate) const LARGEST: usize = 128 * 1024 * 1024;
/// Of the headers and trailers of an answer, which hold what Spark says of an error.
pub(crate) const LARGEST_HEADERS: u32 = 64 * 1024;
/// Letters of a foreign message that are told.
const LONGEST: usize = 300;

/// A message as it goes on the line.
pub(crate) fn framed(message: &impl Message) -> Result<Bytes, SparkError> {
    let length = message.encoded_len();
    if length > LARGEST {
        return Err(SparkError::input(format!(
            "{} MiB at once are more than Spark takes, which is {} MiB",
            length >> 20,
            LARGEST >> 20
        )));
    }
    let mut out = BytesMut::with_capacity(length + 5);
    out.put_u8(0);
    out.put_u32(length as u32);
    // The room that it takes is there.
    let _ = message.encode(&mut out);
    Ok(out.freeze())
}

/// prost's own words say more of the program than of the message.
pub(crate) fn decoded<M: Message + Default>(bytes: Bytes) -> Result<M, SparkError> {
    M::decode(bytes).map_err(|_| SparkError::protocol("what came is no message of Spark Connect"))
}

/// What a server answers to one call.
pub(crate) struct Messages {
    body: Incoming,
    buffer: BytesMut,
    /// Where the answer is nothing but a status.
    headers: Option<HeaderMap>,
    endpoint: Endpoint,
}

impl Messages {
    pub(crate) fn begin(response: Response<Incoming>, endpoint: &Endpoint) -> Result<Self, SparkError> {
        let (parts, body) = response.into_parts();
        match parts.status.as_u16() {
            200 => {}
            401 | 403 => return Err(SparkError::Refused),
            // What stands before the server says that it is not there.
            status @ (502..=504) => return Err(SparkError::unreachable(format!("HTTP {status}"))),
            status => return Err(SparkError::protocol(format!("HTTP {status}"))),
        }
        let kind = parts.headers.get(http::header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
        if !kind.starts_with(b"application/grpc") {
            return Err(SparkError::protocol("it is not gRPC"));
        }
        let headers = parts.headers.contains_key("grpc-status").then_some(parts.headers);
        Ok(Self { body, buffer: BytesMut::new(), headers, endpoint: endpoint.clone() })
    }

    /// Nothing at the end of an answer that went well. Nothing is lost when this is dropped half-way.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, SparkError> {
        loop {
            if let Some(message) = taken(&mut self.buffer)? {
                return Ok(Some(message));
            }
            if let Some(headers) = self.headers.take() {
                return self.end(&headers);
            }
            match self.body.frame().await {
                None => return Err(SparkError::unreachable("the answer ended too early")),
                Some(Err(error)) => return Err(transport(&error)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            return self.end(&trailers);
                        }
                    }
                },
            }
        }
    }

    /// The only message of an answer.
    pub(crate) async fn only<M: Message + Default>(&mut self) -> Result<M, SparkError> {
        let mut found = None;
        while let Some(message) = self.next().await? {
            if found.replace(message).is_some() {
                return Err(SparkError::protocol("there are several answers to one question"));
            }
        }
        decoded(found.ok_or_else(|| SparkError::protocol("the answer is empty"))?)
    }

    fn end(&self, trailers: &HeaderMap) -> Result<Option<Bytes>, SparkError> {
        let status = trailers.get("grpc-status").and_then(|status| status.to_str().ok()?.parse::<u16>().ok());
        match status {
            Some(0) if self.buffer.is_empty() => Ok(None),
            Some(0) => Err(SparkError::protocol("a message is cut short")),
            Some(code) => Err(failed(code, trailers, &self.endpoint)),
            None => Err(SparkError::protocol("an answer ends without a status")),
        }
    }
}

/// A message that is whole; its length counts before it has come.
fn taken(buffer: &mut BytesMut) -> Result<Option<Bytes>, SparkError> {
    let Some([compressed, length @ ..]) = buffer.first_chunk::<5>().copied() else { return Ok(None) };
    if compressed != 0 {
        return Err(SparkError::protocol("a message is compressed, which nobody asked for"));
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > LARGEST {
        return Err(SparkError::protocol(format!("a message is longer than {} MiB", LARGEST >> 20)));
    }
    if buffer.len() - 5 < length {
        return Ok(None);
    }
    buffer.advance(5);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// What the trailers say of an error. Spark's whole message is there, and in it a plan, a traceback or a value: all but its first
/// line is only looked through for what the executors' Python is.
fn failed(code: u16, trailers: &HeaderMap, endpoint: &Endpoint) -> SparkError {
    let details = trailers.get("grpc-status-details-bin").and_then(|value| {
        let text = value.to_str().ok()?.trim_end_matches('=');
        RpcStatus::decode(Bytes::from(BASE64_NOPAD.decode(text.as_bytes()).ok()?)).ok()
    });
    let info = details.as_ref().and_then(|status| {
        let any = status.details.iter().find(|any| any.type_url.ends_with("/google.rpc.ErrorInfo"))?;
        ErrorInfo::decode(any.value.clone()).ok()
    });
    let told = |name: &str| info.as_ref().and_then(|info| info.metadata.get(name)).map_or("", String::as_str);
    let message = match &details {
        Some(status) if !status.message.is_empty() => status.message.clone(),
        _ => trailers.get("grpc-message").map(|value| unescaped(value.as_bytes())).unwrap_or_default(),
    };
    match code {
        1 => return SparkError::Cancelled,
        16 => return SparkError::Refused,
        _ if told("errorClass") == "OPERATION_CANCELED" => return SparkError::Cancelled,
        14 => return SparkError::unreachable("it says that it is not available"),
        12 => return SparkError::protocol("it does not know what it is asked"),
        _ => {}
    }
    let python = python_told(&message).or_else(|| python_told(told("messageParameters")));
    let mut what = line(&message, LONGEST);
    // What would follow is not told.
    if let Some(shorter) = what.strip_suffix(": Traceback (most recent call last):") {
        what.truncate(shorter.len());
    }
    let class = line(told("errorClass"), 100);
    if !class.is_empty() && !what.contains(&class) {
        what = format!("[{class}] {what}");
    }
    let state = line(told("sqlState"), 5);
    if !state.is_empty() && !what.contains("SQLSTATE") {
        what = format!("{what} (SQLSTATE {state})");
    }
    if what.is_empty() {
        what = format!("an error without words, code {code} of gRPC");
    }
    SparkError::Failed { what: endpoint.without_token(what), python }
}

/// Percent-encoded UTF-8.
fn unescaped(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.first_chunk::<2>().and_then(|pair| std::str::from_utf8(pair).ok());
        let escaped = digits.filter(|_| *byte == b'%').and_then(|pair| u8::from_str_radix(pair, 16).ok());
        out.push(escaped.unwrap_or(*byte));
        rest = after.get(if escaped.is_some() { 2 } else { 0 }..).unwrap_or_default();
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// How a connection went wrong: cut, or never one of HTTP/2.
pub(crate) fn transport(error: &hyper::Error) -> SparkError {
    let mut source = std::error::Error::source(error);
    while let Some(found) = source {
        if let Some(found) = found.downcast_ref::<h2::Error>() {
            if found.is_library() {
                return no_http2();
            }
            break;
        }
        source = found.source();
    }
    SparkError::unreachable("the connection was cut")
}

pub(crate) fn no_http2() -> SparkError {
    SparkError::protocol("it is not HTTP/2 that it speaks")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::proto::{Any, KeyValue};

    fn endpoint() -> Endpoint {
        Endpoint::parse("sc://localhost", &|_| Some("hush-7".to_owned())).unwrap()
    }

    #[test]
    fn messages_are_taken_whole_and_what_is_too_large_before_it_comes() {
        let sent = framed(&KeyValue { key: "k".to_owned(), value: Some("v".to_owned()) }).unwrap();
        for cut in 0..sent.len() {
            assert!(taken(&mut BytesMut::from(&sent[..cut])).unwrap().is_none());
        }
        let mut buffer = BytesMut::from(&[&sent[..], &sent[..]].concat()[..]);
        assert_eq!(decoded::<KeyValue>(taken(&mut buffer).unwrap().unwrap()).unwrap().key, "k");
        assert!(taken(&mut buffer).unwrap().is_some() && buffer.is_empty());
        for bad in [[0, 0xff, 0xff, 0xff, 0xff], [1, 0, 0, 0, 0]] {
            assert!(matches!(taken(&mut BytesMut::from(&bad[..])), Err(SparkError::Protocol { .. })));
        }
        let large = KeyValue { key: "k".repeat(LARGEST), value: None };
        assert!(matches!(framed(&large), Err(SparkError::Input { .. })));
    }

    #[test]
    fn of_an_error_class_and_first_line_are_told_and_no_token() {
        let info = ErrorInfo {
            reason: "org.apache.spark.sql.AnalysisException".to_owned(),
            metadata: [("errorClass", "A.B"), ("sqlState", "42703")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        };
        let any =
            Any { type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(), value: info.encode_to_vec().into() };
        let message = "[A.B] no column for hush-7\n'Project ['secret]".to_owned();
        let details = BASE64_NOPAD.encode(&RpcStatus { message, details: vec![any] }.encode_to_vec());
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status-details-bin", details.parse().unwrap());
        let error = failed(13, &trailers, &endpoint());
        assert_eq!(error.to_string(), "Spark: [A.B] no column for … (SQLSTATE 42703)");
        assert!(matches!(failed(16, &trailers, &endpoint()), SparkError::Refused));
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-message", "50 %25 of %C3%A9%0Asecret".parse().unwrap());
        assert_eq!(failed(2, &trailers, &endpoint()).to_string(), "Spark: 50 % of é");
        assert!(matches!(failed(1, &trailers, &endpoint()), SparkError::Cancelled));
        assert!(matches!(failed(14, &trailers, &endpoint()), SparkError::Unreachable { .. }));
        assert!(failed(2, &HeaderMap::new(), &endpoint()).to_string().contains("code 2"));
    }
}
