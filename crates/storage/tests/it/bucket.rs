//! A bucket that speaks the XML interfaces of S3 and of Google Cloud Storage, held to what they document
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/>, <https://docs.cloud.google.com/storage/docs/xml-api/reference>). For what no
//! server that can be had here does: Google's own, and stores that do not keep what they promise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use crate::tls::{Reply, Request};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    S3,
    Google,
}

#[derive(Clone)]
pub struct Kept {
    pub bytes: Vec<u8>,
    generation: u64,
    /// Of encryption, as it was asked for.
    pub sealed: BTreeMap<String, String>,
}

struct Begun {
    key: String,
    parts: BTreeMap<u32, Vec<u8>>,
    sealed: BTreeMap<String, String>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Kept>,
    uploads: BTreeMap<String, Begun>,
    last: u64,
}

/// A bucket `lake`.
pub struct Bucket {
    dialect: Dialect,
    /// Names of a page of a listing.
    pub page: usize,
    /// Whether it does what it is asked for of encryption, by way of writing.
    pub seals: fn(in_parts: bool) -> bool,
    state: Mutex<State>,
}

const TIME: &str = "Fri, 27 Nov 2026 08:00:00 GMT";
const ENCRYPTION: [&str; 4] = [
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
    "x-goog-encryption-kms-key-name",
];

impl Bucket {
    pub fn new(dialect: Dialect) -> Arc<Self> {
        Self::made(dialect, |_| true)
    }

    pub fn made(dialect: Dialect, seals: fn(bool) -> bool) -> Arc<Self> {
        Arc::new(Self { dialect, page: 1000, seals, state: Mutex::default() })
    }

    pub fn objects(&self) -> BTreeMap<String, Kept> {
        self.state.lock().unwrap().objects.clone()
    }

    pub fn uploads(&self) -> usize {
        self.state.lock().unwrap().uploads.len()
    }

    /// Uploads that somebody began and left.
    pub fn begin(&self, keys: &[&str]) {
        let mut state = self.state.lock().unwrap();
        for key in keys {
            let id = state.number().to_string();
            let begun = Begun { key: (*key).to_owned(), parts: BTreeMap::new(), sealed: BTreeMap::new() };
            state.uploads.insert(id, begun);
        }
    }

    pub fn answer(&self, request: &Request) -> Reply {
        let mut state = self.state.lock().unwrap();
        let Some(key) = request.path.strip_prefix("/lake").map(|rest| rest.trim_start_matches('/').to_owned()) else {
            return fault(404, "NoSuchBucket");
        };
        let upload = request.query.get("uploadId").cloned();
        match (request.method.as_str(), upload) {
            ("GET", None) if key.is_empty() && request.has("uploads") => state.begun(request),
            ("GET", None) if key.is_empty() => self.listed(&state, request),
            ("POST", None) if request.has("uploads") => {
                self.expects_type(request);
                let id = state.number().to_string();
                let begun = Begun { key: key.clone(), parts: BTreeMap::new(), sealed: self.sealed(request, true) };
                state.uploads.insert(id.clone(), begun);
                let inner = format!("<Bucket>lake</Bucket><Key>{key}</Key><UploadId>{id}</UploadId>");
                Reply::text(200, xml("InitiateMultipartUploadResult", &inner))
            }
            ("PUT", Some(id)) => {
                let number = request.query["partNumber"].parse().unwrap();
                assert!((1..=10_000).contains(&number), "{number}");
                let Some(begun) = state.uploads.get_mut(&id) else { return fault(404, "NoSuchUpload") };
                begun.parts.insert(number, request.body.clone());
                Reply::empty(200).with("etag", format!("\"{id}-{number}\""))
            }
            ("POST", Some(id)) => {
                let Some(begun) = state.uploads.remove(&id) else { return fault(404, "NoSuchUpload") };
                let text = String::from_utf8(request.body.clone()).unwrap();
                for number in begun.parts.keys() {
                    let named = text.contains(&format!("<PartNumber>{number}</PartNumber>"));
                    assert!(named && text.contains(&format!("{id}-{number}")), "{text}");
                }
                let shortest = begun.parts.values().rev().skip(1).map(Vec::len).min();
                assert!(shortest.is_none_or(|length| length >= 5 << 20), "parts of 5 MiB and more, but the last");
                let bytes = begun.parts.into_values().flatten().collect();
                let generation = state.keep(&begun.key, bytes, begun.sealed);
                let inner = format!("<Bucket>lake</Bucket><Key>{key}</Key><ETag>\"{generation}\"</ETag>");
                let answer = Reply::text(200, xml("CompleteMultipartUploadResult", &inner));
                answer.with("x-goog-generation", generation.to_string())
            }
            ("DELETE", Some(id)) => match state.uploads.remove(&id) {
                Some(_) => Reply::empty(204),
                None => fault(404, "NoSuchUpload"),
            },
            ("POST", None) if request.has("delete") => {
                let text = String::from_utf8(request.body.clone()).unwrap();
                let mut inner = String::new();
                for key in text.split("<Key>").skip(1).filter_map(|rest| rest.split('<').next()) {
                    state.objects.remove(key);
                    inner.push_str(&format!("<Deleted><Key>{key}</Key></Deleted>"));
                }
                Reply::text(200, xml("DeleteResult", &inner))
            }
            ("PUT", None) => {
                self.expects_type(request);
                let only_new = match self.dialect {
                    Dialect::S3 => request.header("if-none-match") == "*",
                    Dialect::Google => request.header("x-goog-if-generation-match") == "0",
                };
                if only_new && state.objects.contains_key(&key) {
                    return fault(412, "PreconditionFailed");
                }
                let sealed = self.sealed(request, false);
                let generation = state.keep(&key, request.body.clone(), sealed);
                let answer = Reply::empty(200).with("etag", format!("\"{generation}\""));
                answer.with("x-goog-generation", generation.to_string())
            }
            ("DELETE", None) => match state.objects.remove(&key) {
                None if self.dialect == Dialect::Google => fault(404, "NoSuchKey"),
                _ => Reply::empty(204),
            },
            ("GET" | "HEAD", None) => {
                let Some(kept) = state.objects.get(&key) else { return fault(404, "NoSuchKey") };
                let tag = format!("\"{}\"", kept.generation);
                if !matches!(request.header("if-match"), "") && request.header("if-match") != tag {
                    return fault(412, "PreconditionFailed");
                }
                let mut answer = ranged(request, &kept.bytes).with("etag", tag).with("last-modified", TIME);
                answer = answer.with("x-goog-generation", kept.generation.to_string());
                kept.sealed.iter().fold(answer, |answer, (name, value)| {
                    // Google names the version of the key.
                    let version = if name.starts_with("x-goog") { "/cryptoKeyVersions/1" } else { "" };
                    answer.with(name, format!("{value}{version}"))
                })
            }
            other => panic!("{other:?} {}", request.target),
        }
    }

    fn expects_type(&self, request: &Request) {
        // Google wants to know what it is; S3 does without.
        assert!(self.dialect == Dialect::S3 || !request.header("content-type").is_empty());
    }

    fn sealed(&self, request: &Request, in_parts: bool) -> BTreeMap<String, String> {
        let asked =
            ENCRYPTION.into_iter().filter_map(|name| Some((name.to_owned(), request.headers.get(name)?.clone())));
        if (self.seals)(in_parts) { asked.collect() } else { BTreeMap::new() }
    }

    fn listed(&self, state: &State, request: &Request) -> Reply {
        assert_eq!(request.query["list-type"], "2");
        let text = |name: &str| request.query.get(name).map_or("", String::as_str);
        let (prefix, delimiter) = (text("prefix"), text("delimiter"));
        let from = match text("continuation-token") {
            "" => String::new(),
            token => token.strip_prefix("after ").unwrap().to_owned(),
        };
        let (mut inner, mut folders, mut count, mut next) = (String::new(), BTreeSet::new(), 0, None);
        for (key, kept) in
            state.objects.range(from.clone()..).filter(|(key, _)| **key > from && key.starts_with(prefix))
        {
            if count == self.page {
                next = Some(inner.rsplit("<Key>").next().and_then(|rest| rest.split('<').next()).unwrap().to_owned());
                break;
            }
            let below = &key[prefix.len()..];
            if !delimiter.is_empty()
                && let Some((folder, _)) = below.split_once(delimiter)
            {
                folders.insert(format!("{prefix}{folder}{delimiter}"));
                continue;
            }
            count += 1;
            inner.push_str(&format!(
                "<Contents><Key>{key}</Key><LastModified>2026-11-27T08:00:00.000Z</LastModified><ETag>\"{}\"</ETag><Size>{}</Size></Contents>",
                kept.generation,
                kept.bytes.len()
            ));
        }
        for folder in &folders {
            inner.push_str(&format!("<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>"));
        }
        if let Some(next) = next {
            inner.push_str(&format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>after {next}</NextContinuationToken>"
            ));
        }
        Reply::text(200, xml("ListBucketResult", &inner))
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn keep(&mut self, key: &str, bytes: Vec<u8>, sealed: BTreeMap<String, String>) -> u64 {
        let generation = self.number();
        self.objects.insert(key.to_owned(), Kept { bytes, generation, sealed });
        generation
    }

    /// One a page.
    fn begun(&self, request: &Request) -> Reply {
        let text = |name: &str| request.query.get(name).map_or("", String::as_str);
        let mut all: Vec<(&String, &Begun)> =
            self.uploads.iter().filter(|(_, begun)| begun.key.starts_with(text("prefix"))).collect();
        all.sort_by_key(|(id, begun)| (begun.key.clone(), (*id).clone()));
        let from = (text("key-marker").to_owned(), text("upload-id-marker").to_owned());
        let mut rest = all.into_iter().filter(|(id, begun)| (begun.key.clone(), (*id).clone()) > from).peekable();
        let mut inner = String::new();
        if let Some((id, begun)) = rest.next() {
            let key = &begun.key;
            inner.push_str(&format!(
                "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>2024-11-27T08:00:00.000Z</Initiated></Upload>\
                 <NextKeyMarker>{key}</NextKeyMarker><NextUploadIdMarker>{id}</NextUploadIdMarker>"
            ));
        }
        inner.push_str(&format!("<IsTruncated>{}</IsTruncated>", rest.peek().is_some()));
        Reply::text(200, xml("ListMultipartUploadsResult", &inner))
    }
}

fn ranged(request: &Request, bytes: &[u8]) -> Reply {
    let answer = |status, bytes: &[u8]| Reply::Answer { status, headers: Vec::new(), body: bytes.to_vec() };
    let Some(range) = request.header("range").strip_prefix("bytes=") else {
        let whole = answer(200, bytes);
        return if request.method == "HEAD" { whole.with("content-length", bytes.len().to_string()) } else { whole };
    };
    let (start, end) = range.split_once('-').unwrap();
    let (start, end) = match (start, end) {
        ("", most) => (bytes.len().saturating_sub(most.parse().unwrap()), bytes.len()),
        (start, "") => (start.parse().unwrap(), bytes.len()),
        (start, end) => (start.parse().unwrap(), (end.parse::<usize>().unwrap() + 1).min(bytes.len())),
    };
    let shown = format!("bytes {start}-{}/{}", end - 1, bytes.len());
    answer(206, &bytes[start..end]).with("content-range", shown)
}

pub fn xml(name: &str, inner: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><{name} xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</{name}>"
    )
}

pub fn fault(status: u16, code: &str) -> Reply {
    Reply::text(status, format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>CANARY</Message></Error>"))
}
