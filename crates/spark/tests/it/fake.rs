//! A server of HTTP/2 that says what a test wants.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::cluster::listening;

/// What is answered to a call.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub kind: &'static str,
    pub body: Vec<u8>,
    pub trailers: Option<Vec<(&'static str, String)>>,
    /// Before the trailers.
    pub wait: Duration,
}

impl Answer {
    /// Bytes, and that all is well.
    pub fn of(body: Vec<u8>) -> Self {
        let trailers = Some(vec![("grpc-status", "0".to_owned())]);
        Self { status: 200, kind: "application/grpc", body, trailers, wait: Duration::ZERO }
    }

    pub fn http(status: u16, kind: &'static str) -> Self {
        Self { status, kind, ..Self::of(Vec::new()) }
    }

    pub fn failed(code: u16, words: &str) -> Self {
        let trailers = vec![("grpc-status", code.to_string()), ("grpc-message", words.to_owned())];
        Self { trailers: Some(trailers), ..Self::of(Vec::new()) }
    }
}

/// Answers by the method's name; gives the address.
pub fn serve(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> String {
    serve_for(Duration::from_mins(10), answer)
}

/// No connection is longer than this.
pub fn serve_for(longest: Duration, answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> String {
    let answer = Arc::new(answer);
    let port = listening(move |stream| {
        let answer = Arc::clone(&answer);
        async move {
            let service = service_fn(move |request: http::Request<Incoming>| {
                let answer = Arc::clone(&answer);
                async move {
                    let (parts, body) = request.into_parts();
                    let method = parts.uri.path().rsplit('/').next().unwrap().to_owned();
                    let _ = body.collect().await;
                    Ok::<_, Infallible>(response(answer(&method)))
                }
            });
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            let _ = tokio::time::timeout(longest, serving).await;
            Ok(())
        }
    });
    format!("sc://127.0.0.1:{port}")
}

fn response(answer: Answer) -> Response<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>> {
    let trailers = answer.trailers.map(|pairs| {
        let pairs = pairs.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        pairs.collect::<HeaderMap>()
    });
    let wait = answer.wait;
    let end = stream::once(async move {
        tokio::time::sleep(wait).await;
        trailers.map(|trailers| Ok(Frame::trailers(trailers)))
    });
    let frames = stream::iter([Some(Ok(Frame::data(Bytes::from(answer.body))))]).chain(end);
    let frames = frames.filter_map(std::future::ready);
    Response::builder()
        .status(answer.status)
        .header("content-type", answer.kind)
        .body(StreamBody::new(frames).boxed_unsync())
        .unwrap()
}

/// One field of a message: its number and bytes.
pub fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, u64::from(number << 3 | 2));
    varint(&mut out, bytes.len() as u64);
    out.extend(bytes);
    out
}

pub fn number(field: u32, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, u64::from(field << 3));
    varint(&mut out, value);
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A message as it goes on the line.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    out.extend((message.len() as u32).to_be_bytes());
    out.extend(message);
    out
}

/// That it is Spark 4.3.0.
pub fn version() -> Answer {
    Answer::of(framed(&[field(15, b"server-1"), field(8, &field(1, b"4.3.0"))].concat()))
}
