//! Streams of resources, whatever file they come in.

use std::collections::VecDeque;
use std::io::{Cursor, Read};
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use thiserror::Error;

use super::definitions::{Definitions, NameId, TypeId, r4};
use super::document::{self, Broken, Found, Links, Shape};
use super::tape::{Kind, Taper, Token, Trouble};
use crate::error::FormatError;
use crate::lines::{DEFAULT_MAX_LINE_BYTES, LineBatch, LineReader, drop_byte_order_mark};

/// How much of a stream is looked at to tell lines from a document.
const HEAD_BYTES: usize = 64 << 10;

/// Bounds of what is read.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// The longest line of NDJSON.
    pub max_line_bytes: usize,
    /// The largest Bundle, array or single resource in a file of its own; such a file is held in memory.
    pub max_document_bytes: usize,
    /// How deep a resource may nest.
    pub max_depth: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { max_line_bytes: DEFAULT_MAX_LINE_BYTES, max_document_bytes: 256 << 20, max_depth: 64 }
    }
}

/// Why a stream cannot be read (further).
#[derive(Debug, Error)]
pub enum ReadError {
    #[error(transparent)]
    Format(#[from] FormatError),
    /// One document that does not fit in memory as configured.
    #[error("the document is larger than {limit} bytes; export it as NDJSON or raise `max_document_bytes`")]
    DocumentTooLarge { limit: usize },
}

impl From<std::io::Error> for ReadError {
    fn from(error: std::io::Error) -> Self {
        Self::Format(error.into())
    }
}

/// Where in its file a resource stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Origin {
    /// The line on which its line, Bundle or array begins, from 1.
    pub line: u64,
    /// The number of its entry in a Bundle or array, from 0.
    pub entry: Option<u64>,
}

/// What is wrong with one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum RejectReason {
    #[error("not UTF-8")]
    NotUtf8,
    /// RFC 8259; the byte from the start of the record where the parser stopped.
    #[error("not JSON (byte {offset})")]
    NotJson { offset: usize },
    #[error("JSON, but not an object")]
    NotAnObject,
    #[error("nested deeper than {limit} levels")]
    TooDeep { limit: usize },
    /// Of two values under one key, a check may see one and the reader of the output the other.
    #[error("a key stands twice in one object")]
    DuplicateKey,
    #[error("no resourceType")]
    NoResourceType,
    #[error("the resourceType is none of FHIR R4")]
    UnknownResourceType,
    #[error("an entry without a resource")]
    EmptyEntry,
    #[error("the record is longer than {limit} bytes")]
    TooLong { limit: usize },
}

/// One record that was set aside. It holds PHI: no `Debug`, no `Serialize`.
pub struct Reject {
    pub origin: Origin,
    /// The record as it was, up to the reader's limit.
    pub raw: Vec<u8>,
    /// How many bytes were dropped behind `raw`; 0 when it is whole.
    pub cut: u64,
    pub reason: RejectReason,
}

/// A resource in a [`ResourceBatch`]. It holds PHI: no `Debug`.
pub struct Resource {
    pub type_id: TypeId,
    /// Where it is in the batch's text, without white space between tokens.
    pub span: Range<usize>,
    /// Its first token on the batch's tape, an object.
    pub token: u32,
    pub origin: Origin,
    /// The id that its Bundle entry's `fullUrl` gives it, when it has none of its own.
    pub fallback_id: Option<Box<str>>,
    /// What `urn:` addresses mean in its Bundle.
    pub links: Option<Arc<Links>>,
}

/// Some resources, taken apart. It holds PHI: no `Debug`.
#[derive(Default)]
pub struct ResourceBatch {
    /// What spans and tokens point into.
    pub text: String,
    pub tape: Vec<Token>,
    pub resources: Vec<Resource>,
    pub rejects: Vec<Reject>,
}

impl ResourceBatch {
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// Where the resource of this number stood.
    pub fn origin(&self, index: usize) -> Option<Origin> {
        self.resources.get(index).map(|resource| resource.origin)
    }

    /// The resource of this number as it was read, but for white space.
    pub fn resource(&self, index: usize) -> &str {
        self.resources.get(index).map_or("", |resource| self.raw(resource))
    }

    /// A resource as it was read, but for white space.
    pub fn raw(&self, resource: &Resource) -> &str {
        self.text.get(resource.span.clone()).unwrap_or_default()
    }
}

/// Reads FHIR R4 resources from NDJSON, Bundles, arrays and single files; which of them, the first bytes tell.
///
/// A line or array item that is itself a Bundle is opened as well; a Bundle in a Bundle is a resource as any other.
pub struct ResourceReader<R> {
    source: Source<R>,
    options: ReadOptions,
    taper: Taper,
    definitions: &'static Definitions,
}

type Headed<R> = std::io::Chain<Cursor<Vec<u8>>, R>;

enum Source<R> {
    Unread(R),
    Lines(LineReader<Headed<R>>),
    Document(Document),
    Done,
}

struct Document {
    bytes: Vec<u8>,
    /// Where the next value begins.
    at: usize,
    /// Where `at` was when its line was counted, and the number of the line.
    counted: (usize, u64),
    line: u64,
    waiting: VecDeque<Found>,
}

impl<R: Read> ResourceReader<R> {
    pub fn new(reader: R, options: ReadOptions) -> Self {
        Self { source: Source::Unread(reader), options, taper: Taper::new(r4(), options.max_depth), definitions: r4() }
    }

    /// The next resources, about `max_bytes` of them; `None` at the end of the stream.
    pub fn next_batch(&mut self, max_bytes: usize) -> Result<Option<ResourceBatch>, ReadError> {
        loop {
            match &mut self.source {
                Source::Unread(_) => self.start()?,
                Source::Lines(lines) => {
                    let Some(lines) = lines.next_batch(max_bytes)? else {
                        self.source = Source::Done;
                        return Ok(None);
                    };
                    return Ok(Some(self.lines(lines)));
                }
                Source::Document(document) => {
                    let batch = Gather {
                        batch: ResourceBatch::default(),
                        taper: &mut self.taper,
                        definitions: self.definitions,
                        options: self.options,
                    }
                    .take_document(document, max_bytes);
                    if batch.is_none() {
                        self.source = Source::Done;
                    }
                    return Ok(batch);
                }
                Source::Done => return Ok(None),
            }
        }
    }

    fn start(&mut self) -> Result<(), ReadError> {
        let Source::Unread(mut reader) = std::mem::replace(&mut self.source, Source::Done) else {
            return Ok(());
        };
        let mut head = Vec::new();
        reader.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
        let mut shown = head.clone();
        drop_byte_order_mark(&mut shown)?;
        self.source = match document::shape(&shown) {
            Shape::Lines => Source::Lines(LineReader::with_max_line_bytes(
                Cursor::new(head).chain(reader),
                self.options.max_line_bytes,
            )),
            Shape::Document => {
                let limit = self.options.max_document_bytes;
                let mut bytes = shown;
                let room = (limit + 1).saturating_sub(bytes.len());
                reader.take(room as u64).read_to_end(&mut bytes)?;
                if bytes.len() > limit {
                    return Err(ReadError::DocumentTooLarge { limit });
                }
                Source::Document(Document { bytes, at: 0, counted: (0, 1), line: 1, waiting: VecDeque::new() })
            }
        };
        Ok(())
    }

    fn lines(&mut self, lines: LineBatch) -> ResourceBatch {
        let mut gather = Gather {
            batch: ResourceBatch::default(),
            taper: &mut self.taper,
            definitions: self.definitions,
            options: self.options,
        };
        gather.take_lines(lines);
        gather.batch
    }
}

/// What is known of a resource besides its text.
struct Entry {
    origin: Origin,
    fallback_id: Option<Box<str>>,
    links: Option<Arc<Links>>,
}

/// A batch while it is filled.
struct Gather<'a> {
    batch: ResourceBatch,
    taper: &'a mut Taper,
    definitions: &'static Definitions,
    options: ReadOptions,
}

impl Gather<'_> {
    fn take_lines(&mut self, lines: LineBatch) {
        let LineBatch { bytes, mut spans, lines: mut numbers, rejects } = lines;
        for reject in rejects {
            let reason = RejectReason::TooLong { limit: self.options.max_line_bytes };
            self.batch.rejects.push(Reject {
                origin: Origin { line: reject.line, entry: None },
                raw: reject.raw,
                cut: reject.cut,
                reason,
            });
        }
        self.batch.text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let bytes = error.into_bytes();
                let (mut text, mut good, mut good_numbers) = (String::new(), Vec::new(), Vec::new());
                for (span, line) in spans.drain(..).zip(numbers.drain(..)) {
                    let raw = bytes.get(span).unwrap_or_default();
                    if let Ok(valid) = std::str::from_utf8(raw) {
                        good.push(text.len()..text.len() + valid.len());
                        good_numbers.push(line);
                        text.push_str(valid);
                    } else {
                        self.reject(raw.to_vec(), Origin { line, entry: None }, RejectReason::NotUtf8);
                    }
                }
                (spans, numbers) = (good, good_numbers);
                text
            }
        };
        for (span, line) in spans.into_iter().zip(numbers) {
            let origin = Origin { line, entry: None };
            let entry = Entry { origin, fallback_id: None, links: None };
            match self.add(span.clone(), entry) {
                Ok(true) => self.open_bundle(span, line),
                Ok(false) => {}
                Err(reason) => {
                    let raw = self.batch.text.get(span).unwrap_or_default();
                    let raw = raw.as_bytes().to_vec();
                    self.reject(raw, origin, reason);
                }
            }
        }
    }

    fn reject(&mut self, raw: Vec<u8>, origin: Origin, reason: RejectReason) {
        self.batch.rejects.push(Reject { origin, raw, cut: 0, reason });
    }

    /// Takes in the resource at `span` of the batch's own text.
    fn add(&mut self, span: Range<usize>, entry: Entry) -> Result<bool, RejectReason> {
        let first = self.batch.tape.len();
        // With white space between tokens, the text moves behind all that is there.
        let moved = self.batch.text.len();
        let text = self.batch.text.as_bytes();
        let mut tape = std::mem::take(&mut self.batch.tape);
        let outcome = self.taper.tape(text, span.clone(), span.start, &mut tape);
        self.batch.tape = tape;
        outcome.map_err(|trouble| self.reason(trouble))?;
        let place = match self.taper.pieces() {
            [whole] if *whole == span => span,
            pieces => {
                for piece in pieces {
                    self.batch.text.extend_from_within(piece.clone());
                }
                let by = (moved - span.start) as u32;
                for token in self.batch.tape.get_mut(first..).unwrap_or_default() {
                    token.start += by;
                    token.end += by;
                }
                moved..self.batch.text.len()
            }
        };
        self.take(first, place, entry)
    }

    /// Takes in a resource that stands elsewhere.
    fn add_text(&mut self, bytes: &[u8], span: Range<usize>, entry: Entry) -> Result<bool, RejectReason> {
        let raw = bytes.get(span.clone()).unwrap_or_default();
        if std::str::from_utf8(raw).is_err() {
            return Err(RejectReason::NotUtf8);
        }
        let first = self.batch.tape.len();
        let start = self.batch.text.len();
        let outcome = self.taper.tape(bytes, span, start, &mut self.batch.tape);
        outcome.map_err(|trouble| self.reason(trouble))?;
        for piece in self.taper.pieces() {
            let text = std::str::from_utf8(bytes.get(piece.clone()).unwrap_or_default());
            self.batch.text.push_str(text.unwrap_or_default());
        }
        self.take(first, start..self.batch.text.len(), entry)
    }

    /// Takes in what has been taped. True when it is a Bundle on a line of its own, which is to be opened instead.
    fn take(&mut self, first: usize, span: Range<usize>, entry: Entry) -> Result<bool, RejectReason> {
        let checked = self.resource_type(first);
        if let Ok(type_id) = checked
            && !(entry.origin.entry.is_none() && self.definitions.get(type_id).name == "Bundle")
        {
            let Entry { origin, fallback_id, links } = entry;
            self.batch.resources.push(Resource { type_id, span, token: first as u32, origin, fallback_id, links });
            return Ok(false);
        }
        self.batch.tape.truncate(first);
        checked.map(|_| true)
    }

    fn reason(&self, trouble: Trouble) -> RejectReason {
        match trouble {
            Trouble::NotJson(offset) => RejectReason::NotJson { offset },
            Trouble::DuplicateKey => RejectReason::DuplicateKey,
            Trouble::TooDeep => RejectReason::TooDeep { limit: self.options.max_depth },
        }
    }

    fn resource_type(&self, root: usize) -> Result<TypeId, RejectReason> {
        let tape = &self.batch.tape;
        let wanted = self.definitions.name_id(b"resourceType");
        let object = tape.get(root).filter(|token| token.kind == Kind::Object);
        let end = object.ok_or(RejectReason::NotAnObject)?.next as usize;
        let mut at = root + 1;
        while at < end {
            let (Some(key), Some(value)) = (tape.get(at), tape.get(at + 1)) else {
                break;
            };
            if key.name == wanted && wanted != NameId::UNKNOWN && !key.underscore {
                let text = self.batch.text.get(value.start as usize..value.end as usize);
                return match (value.kind, text) {
                    (Kind::Text, Some(name)) => {
                        self.definitions.resource_type(name).ok_or(RejectReason::UnknownResourceType)
                    }
                    _ => Err(RejectReason::NoResourceType),
                };
            }
            at = value.next as usize;
        }
        Err(RejectReason::NoResourceType)
    }

    /// The entries of a Bundle that stands on one line.
    fn open_bundle(&mut self, span: Range<usize>, line: u64) {
        let whole = self.batch.text.get(span.clone()).unwrap_or_default();
        // The line has been taped, so it is JSON; only a key that stands twice could be left, and is not.
        let Ok((found, _)) = document::resources(self.definitions, whole.as_bytes(), 0) else {
            let raw = whole.as_bytes().to_vec();
            let origin = Origin { line, entry: None };
            return self.reject(raw, origin, RejectReason::NotAnObject);
        };
        for entry in found {
            let origin = Origin { line, entry: entry.entry };
            let place = span.start + entry.span.start..span.start + entry.span.end;
            let outcome = if entry.empty {
                Err(RejectReason::EmptyEntry)
            } else {
                self.add(place.clone(), Entry { origin, fallback_id: entry.id, links: entry.links })
            };
            if let Err(reason) = outcome {
                let raw = self.batch.text.get(place).unwrap_or_default();
                let raw = raw.as_bytes().to_vec();
                self.reject(raw, origin, reason);
            }
        }
    }

    fn take_document(mut self, document: &mut Document, max_bytes: usize) -> Option<ResourceBatch> {
        while self.batch.text.len() < max_bytes {
            if let Some(found) = document.waiting.pop_front() {
                self.add_found(document, found);
                continue;
            }
            let rest = document.bytes.get(document.at..).unwrap_or_default();
            let white = rest.len() - rest.trim_ascii_start().len();
            if white == rest.len() {
                break;
            }
            document.at += white;
            document.count_lines();
            match document::resources(self.definitions, &document.bytes, document.at) {
                Ok((found, end)) => {
                    document.waiting = found.into();
                    document.at = end;
                }
                Err(broken) => {
                    let start = document.at;
                    let raw = document.bytes.split_off(start);
                    document.at = document.bytes.len();
                    let reason = match broken {
                        Broken::NotJson(at) => RejectReason::NotJson { offset: at - start },
                        Broken::DuplicateKey => RejectReason::DuplicateKey,
                        Broken::NotAnObject => RejectReason::NotAnObject,
                    };
                    let origin = Origin { line: document.line, entry: None };
                    self.reject(raw, origin, reason);
                    break;
                }
            }
        }
        let empty = self.batch.resources.is_empty() && self.batch.rejects.is_empty();
        (!empty).then_some(self.batch)
    }

    fn add_found(&mut self, document: &Document, found: Found) {
        let origin = Origin { line: document.line, entry: found.entry };
        let outcome = if found.empty {
            Err(RejectReason::EmptyEntry)
        } else {
            let entry = Entry { origin, fallback_id: found.id, links: found.links };
            self.add_text(&document.bytes, found.span.clone(), entry)
        };
        if let Err(reason) = outcome {
            let raw = document.bytes.get(found.span).unwrap_or_default();
            self.reject(raw.to_vec(), origin, reason);
        }
    }
}

impl Document {
    fn count_lines(&mut self) {
        let (from, line) = self.counted;
        let between = self.bytes.get(from..self.at).unwrap_or_default();
        self.line = line + memchr::memchr_iter(b'\n', between).count() as u64;
        self.counted = (self.at, self.line);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    /// What came out: type, origin and text of each resource; origin and reason of each reject.
    type Seen = (Vec<(String, Origin, String)>, Vec<(Origin, RejectReason)>);

    fn read(bytes: &[u8]) -> Seen {
        read_in(bytes, 1 << 20)
    }

    fn read_in(bytes: &[u8], max_bytes: usize) -> Seen {
        let mut reader = ResourceReader::new(bytes, ReadOptions::default());
        let (mut resources, mut rejects) = (Vec::new(), Vec::new());
        while let Some(batch) = reader.next_batch(max_bytes).unwrap() {
            for resource in &batch.resources {
                let name = r4().get(resource.type_id).name.to_owned();
                let root = batch.tape[resource.token as usize];
                assert_eq!((root.start as usize, root.end as usize), (resource.span.start, resource.span.end));
                resources.push((name, resource.origin, batch.raw(resource).to_owned()));
            }
            rejects.extend(batch.rejects.iter().map(|r| (r.origin, r.reason)));
        }
        (resources, rejects)
    }

    fn at(line: u64, entry: Option<u64>) -> Origin {
        Origin { line, entry }
    }

    #[test]
    fn lines_that_are_no_resource_are_set_aside() {
        use RejectReason::*;

        let mut text = Vec::from(
            "\u{FEFF}{\"resourceType\":\"Patient\",\"id\":\"1\"}\r\n\n{\"id\":\"2\"}\n{\"resourceType\":\"Pizza\"}\n[]\n7\n\
             {\"resourceType\":\"Patient\",\"id\":\"1\",\"id\":\"2\"}\n{\"resourceType\":7}\n{oops}\n",
        );
        text.extend(b"{\"resourceType\":\"Patient\",\"id\":\"\xff\"}\n{ \"resourceType\" : \"Group\" }");
        let (resources, mut rejects) = read(&text);
        let want = [
            ("Patient".to_owned(), at(1, None), r#"{"resourceType":"Patient","id":"1"}"#.to_owned()),
            ("Group".to_owned(), at(11, None), r#"{"resourceType":"Group"}"#.to_owned()),
        ];
        assert_eq!(resources, want);
        rejects.sort_by_key(|(origin, _)| *origin);
        let reasons: Vec<_> = rejects.iter().map(|(origin, reason)| (origin.line, *reason)).collect();
        let want = [
            (3, NoResourceType),
            (4, UnknownResourceType),
            (5, NotAnObject),
            (6, NotAnObject),
            (7, DuplicateKey),
            (8, NoResourceType),
            (9, NotJson { offset: 1 }),
            (10, NotUtf8),
        ];
        assert_eq!(reasons, want);
    }

    fn bundle() -> serde_json::Value {
        serde_json::json!({"resourceType": "Bundle", "type": "transaction", "entry": [
            {"fullUrl": "urn:uuid:a", "resource": {"resourceType": "Patient", "id": "p"}},
            {"fullUrl": "urn:uuid:b", "resource": {"resourceType": "Encounter"}, "request": {"method": "POST"}},
            {"request": {"method": "DELETE", "url": "Patient/3"}},
            {"resource": "no"},
            {"resource": {"resourceType": "Bundle", "entry": []}},
        ]})
    }

    #[test]
    fn a_bundle_gives_its_entries_however_it_is_written() {
        let pretty = serde_json::to_string_pretty(&bundle()).unwrap();
        let line = bundle().to_string();
        let head = format!("{}\n{line}\n", r#"{"resourceType":"Patient"}"#);
        for (text, first) in [(&pretty, 1), (&line, 1), (&head, 2)] {
            let (mut resources, rejects) = read(text.as_bytes());
            if first == 2 {
                resources.remove(0);
            }
            let names: Vec<_> = resources.iter().map(|(name, origin, _)| (name.as_str(), *origin)).collect();
            let want =
                [("Patient", at(first, Some(0))), ("Encounter", at(first, Some(1))), ("Bundle", at(first, Some(4)))];
            assert_eq!(names, want);
            assert_eq!(resources[0].2, r#"{"resourceType":"Patient","id":"p"}"#);
            let want =
                [(at(first, Some(2)), RejectReason::EmptyEntry), (at(first, Some(3)), RejectReason::NotAnObject)];
            assert_eq!(rejects, want);
        }
    }

    #[test]
    fn addresses_in_a_bundle_lead_to_ids() {
        let text = serde_json::to_string_pretty(&bundle()).unwrap();
        let mut reader = ResourceReader::new(text.as_bytes(), ReadOptions::default());
        let batch = reader.next_batch(1 << 20).unwrap().unwrap();
        let links = batch.resources[0].links.as_ref().unwrap();
        let (type_id, id) = links.resolve("urn:uuid:a").unwrap();
        assert_eq!((r4().get(type_id).name, id), ("Patient", "p"));
        assert_eq!(links.resolve("urn:uuid:b").unwrap().1, "b");
        assert!(links.resolve("urn:uuid:c").is_none());
        assert!(batch.resources[0].fallback_id.is_none());
        assert_eq!(batch.resources[1].fallback_id.as_deref(), Some("b"));
    }

    #[test]
    fn arrays_and_single_files_are_read() {
        let (resources, rejects) = read(b"[{\"resourceType\":\"Patient\"},\n 3]");
        assert_eq!(resources[0].1, at(1, Some(0)));
        assert_eq!(rejects, [(at(1, Some(1)), RejectReason::NotAnObject)]);
        let (resources, rejects) = read(b"\n{\n\"resourceType\":\n\"Patient\"}\n\n{\"resourceType\":\"Group\"}");
        assert_eq!(resources.len(), 2);
        assert_eq!((resources[0].1, resources[1].1), (at(2, None), at(6, None)));
        assert!(rejects.is_empty());
        let (resources, rejects) = read(b"{\"resourceType\":\"Bundle\",\"entry\":{}}");
        assert!(resources.is_empty());
        assert_eq!(rejects, [(at(1, Some(0)), RejectReason::NoResourceType)]);
        assert_eq!(read(b""), (vec![], vec![]));
        assert_eq!(read(b" \n "), (vec![], vec![]));
    }

    #[test]
    fn a_bundle_nested_10_000_deep_is_an_error_and_no_crash() {
        for depth in [10_000, 1_000_000] {
            let deep =
                format!("{}{}", r#"{"resourceType":"Bundle","entry":[{"resource":"#.repeat(depth), "}]}".repeat(depth));
            let broken = deep.replace("\"resource\":}", "\"resource\":{}}");
            for text in [broken.clone(), broken.replacen("[{", "[\n{", 1)] {
                let (resources, rejects) = read(text.as_bytes());
                assert!(resources.is_empty());
                assert_eq!(rejects.len(), 1);
                let limit = RejectReason::TooDeep { limit: 64 };
                let too_long = RejectReason::TooLong { limit: DEFAULT_MAX_LINE_BYTES };
                assert!(rejects[0].1 == limit || rejects[0].1 == too_long, "{}", rejects[0].1);
            }
        }
    }

    #[test]
    fn a_cut_off_document_is_one_reject() {
        let pretty = serde_json::to_string_pretty(&bundle()).unwrap();
        for cut in [2, 50, pretty.len() - 1] {
            let (resources, rejects) = read(&pretty.as_bytes()[..cut]);
            assert!(resources.is_empty());
            assert!(matches!(rejects[..], [(_, RejectReason::NotJson { .. })]), "{cut}");
        }
    }

    #[test]
    fn a_document_beyond_the_limit_is_refused() {
        let options = ReadOptions { max_document_bytes: 100, ..ReadOptions::default() };
        let pretty = serde_json::to_string_pretty(&bundle()).unwrap();
        let mut reader = ResourceReader::new(pretty.as_bytes(), options);
        assert!(matches!(reader.next_batch(1 << 20), Err(ReadError::DocumentTooLarge { limit: 100 })));
    }

    #[test]
    fn a_long_first_line_is_a_line() {
        let long = "x".repeat(HEAD_BYTES * 2);
        let line = format!("{{\"resourceType\":\"Patient\",\"id\":\"{long}\"}}\n");
        let (resources, _) = read(line.repeat(3).as_bytes());
        assert_eq!(resources.len(), 3);
        assert_eq!(resources[2].1, at(3, None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            read(&bytes);
        }

        #[test]
        fn any_cut_and_damage_is_survived(cut in 0usize..900, at in 0usize..900, byte in any::<u8>(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&bundle()).unwrap() } else { bundle().to_string() };
            let mut bytes = text.into_bytes();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(cut.max(1));
            read(&bytes);
        }

        #[test]
        fn batch_sizes_do_not_show(size in 64usize..2000) {
            let pretty = serde_json::to_string_pretty(&bundle()).unwrap();
            prop_assert_eq!(read_in(pretty.as_bytes(), size), read(pretty.as_bytes()));
            let lines = "{\"resourceType\":\"Patient\"}\n{}\n".repeat(20);
            prop_assert_eq!(read_in(lines.as_bytes(), size), read(lines.as_bytes()));
        }
    }
}
