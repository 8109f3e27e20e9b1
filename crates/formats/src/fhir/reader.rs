//! Streams of resources, whatever file they come in.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{Cursor, Read};
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use thiserror::Error;

use super::definitions::{Definitions, NameId, TypeId, r4};
use super::document::{self, Broken, Found, Links, More, Outline, Shape};
use super::tape::{Kind, Taper, Token, Trouble, unescape};
use crate::error::FormatError;
use crate::lines::{DEFAULT_MAX_LINE_BYTES, LineBatch, LineReader, drop_byte_order_mark};

/// How much of a stream is looked at to tell lines from a document.
const HEAD_BYTES: usize = 64 << 10;

/// How much of a document is read at first; as much again whenever it does not end there.
const GROW_BYTES: usize = 8 << 20;

/// What a record that was set aside costs besides its bytes.
const REJECT_BYTES: usize = 128;

/// Of a resource's bytes, the least that its values have on average; more values are made to fill memory.
const BYTES_A_TOKEN: usize = 8;

/// Bounds of what is read.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// The longest line of NDJSON, and the largest resource of a Bundle or array.
    pub max_line_bytes: usize,
    /// The largest Bundle, array or single resource in a file of its own; it is held in memory, as its `urn:` addresses
    /// may stand behind what refers to them.
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
    #[error("the document is larger than {limit} bytes; export it as NDJSON, or give it more memory")]
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
    #[error("more than {limit} values in one record")]
    TooManyValues { limit: usize },
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

    /// The resource of this number so that it says the same without its Bundle: what an `urn:` address means there, and the
    /// id that its entry gives it, are written into it.
    pub fn standalone(&self, index: usize) -> Cow<'_, str> {
        let Some(resource) = self.resources.get(index) else { return "".into() };
        let raw = self.raw(resource);
        if resource.links.is_none() && resource.fallback_id.is_none() {
            return raw.into();
        }
        let (mut out, mut copied) = (String::with_capacity(raw.len() + 64), 0);
        let shift = resource.span.start;
        let (id, reference) = (r4().name_id(b"id"), r4().name_id(b"reference"));
        let root = resource.token as usize;
        let end = self.tape.get(root).map_or(root, |token| token.next as usize);
        let mut at = root + 1;
        let mut has_id = false;
        while at < end {
            let Some(key) = self.tape.get(at) else { break };
            has_id |= key.kind == Kind::Key && key.name == id && !key.underscore;
            at = self.tape.get(at + 1).map_or(end, |value| value.next as usize);
        }
        let plain = |text: &str| !text.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\');
        if let Some(id) = resource.fallback_id.as_deref().filter(|id| !has_id && plain(id)) {
            out.push_str("{\"id\":\"");
            out.push_str(id);
            out.push_str("\",");
            copied = 1;
        }
        let tokens = self.tape.get(root..end).unwrap_or_default();
        for (key, value) in tokens.iter().zip(tokens.iter().skip(1)) {
            if key.kind != Kind::Key || key.name != reference || key.underscore || value.kind != Kind::Text {
                continue;
            }
            let (from, to) = (value.start as usize - shift, value.end as usize - shift);
            let spelled = raw.get(from..to).unwrap_or_default();
            let unescaped;
            let url = if value.escaped {
                unescaped = unescape(spelled.as_bytes());
                unescaped.as_str()
            } else {
                spelled
            };
            let target = resource.links.as_ref().and_then(|links| links.resolve(url));
            if let Some((type_id, id)) = target.filter(|(_, id)| plain(id)) {
                out.push_str(raw.get(copied..from).unwrap_or_default());
                out.push_str(r4().get(type_id).name);
                out.push('/');
                out.push_str(id);
                copied = to;
            }
        }
        out.push_str(raw.get(copied..).unwrap_or_default());
        out.into()
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
    Document(Document<Headed<R>>),
    Done,
}

/// Values that need not end where their line does.
struct Document<R> {
    reader: R,
    /// What has been read and not yet passed.
    bytes: Vec<u8>,
    /// All of the stream has been read.
    ended: bool,
    failed: bool,
    /// Each value has a line of its own.
    by_line: bool,
    /// Where the next value begins.
    at: usize,
    /// Where `at` was when its line was counted, and the number of the line.
    counted: (usize, u64),
    line: u64,
    waiting: VecDeque<Found>,
    more: Option<More>,
    /// Bytes that were read, and bytes that were looked at in vain.
    read: usize,
    wasted: usize,
}

impl<R: Read> ResourceReader<R> {
    pub fn new(reader: R, options: ReadOptions) -> Self {
        Self {
            source: Source::Unread(reader),
            options,
            taper: Taper::new(r4(), options.max_depth, options.most_values()),
            definitions: r4(),
        }
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
                        set_aside: 0,
                    }
                    .take_document(document, max_bytes)?;
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
        let shape = document::shape(&shown);
        self.source = match shape {
            Shape::Lines => Source::Lines(LineReader::with_max_line_bytes(
                Cursor::new(head).chain(reader),
                self.options.max_line_bytes,
            )),
            Shape::LongLines | Shape::Document => Source::Document(Document {
                ended: head.len() < HEAD_BYTES,
                failed: false,
                by_line: shape == Shape::LongLines,
                read: shown.len(),
                bytes: shown,
                reader: Cursor::new(Vec::new()).chain(reader),
                at: 0,
                counted: (0, 1),
                line: 1,
                waiting: VecDeque::new(),
                more: None,
                wasted: 0,
            }),
        };
        Ok(())
    }

    fn lines(&mut self, lines: LineBatch) -> ResourceBatch {
        let mut gather = Gather {
            batch: ResourceBatch::default(),
            taper: &mut self.taper,
            definitions: self.definitions,
            options: self.options,
            set_aside: 0,
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
    /// What rejects cost in memory.
    set_aside: usize,
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
        let mut odd = Vec::new();
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
                        odd.push((raw.to_vec(), line));
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
                    self.salvage(&raw, line, reason);
                }
            }
        }
        for (raw, line) in odd {
            self.salvage(&raw, line, RejectReason::NotUtf8);
        }
    }

    /// A line that is no good as a whole. Where it is a Bundle, one bad entry costs one entry.
    fn salvage(&mut self, raw: &[u8], line: u64, reason: RejectReason) {
        let outline = document::resources(self.definitions, raw, 0).ok();
        let whole = |outline: &Outline| raw.get(outline.end..).unwrap_or_default().trim_ascii().is_empty();
        match outline.filter(|outline| outline.is_bundle && !outline.found.is_empty() && whole(outline)) {
            Some(outline) => {
                let (mut found, mut more) = (outline.found, outline.more);
                loop {
                    for entry in found {
                        self.add_found(raw, line, entry);
                    }
                    let Some(rest) = more else { break };
                    (found, more) = document::further(self.definitions, raw, rest);
                }
            }
            None => self.reject(raw, Origin { line, entry: None }, reason),
        }
    }

    /// Sets a record aside; of what is too long, its beginning.
    fn reject(&mut self, raw: &[u8], origin: Origin, reason: RejectReason) {
        let (kept, cut) = raw.split_at(raw.len().min(self.options.max_line_bytes));
        self.set_aside += kept.len() + REJECT_BYTES;
        let cut = cut.len() as u64;
        self.batch.rejects.push(Reject { origin, raw: kept.to_vec(), cut, reason });
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
            Trouble::TooMany => RejectReason::TooManyValues { limit: self.options.most_values() },
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
        let Ok(Outline { mut found, mut more, .. }) = document::resources(self.definitions, whole.as_bytes(), 0) else {
            let raw = whole.as_bytes().to_vec();
            return self.reject(&raw, Origin { line, entry: None }, RejectReason::NotAnObject);
        };
        loop {
            for entry in found {
                let origin = Origin { line, entry: entry.entry };
                let place = span.start + entry.span.start..span.start + entry.span.end;
                let outcome = match self.unfit(&entry) {
                    Some(reason) => Err(reason),
                    None => self.add(place.clone(), Entry { origin, fallback_id: entry.id, links: entry.links }),
                };
                if let Err(reason) = outcome {
                    let raw = self.batch.text.get(place).unwrap_or_default();
                    let raw = raw.as_bytes().to_vec();
                    self.reject(&raw, origin, reason);
                }
            }
            let Some(rest) = more else { return };
            let whole = self.batch.text.get(span.clone()).unwrap_or_default();
            (found, more) = document::further(self.definitions, whole.as_bytes(), rest);
        }
    }

    /// Why an entry is none, as far as can be told before it is read.
    fn unfit(&self, found: &Found) -> Option<RejectReason> {
        let limit = self.options.max_line_bytes;
        if found.odd {
            return Some(RejectReason::NotAnObject);
        }
        if found.empty {
            return Some(RejectReason::EmptyEntry);
        }
        (found.span.len() > limit).then_some(RejectReason::TooLong { limit })
    }

    fn add_found(&mut self, bytes: &[u8], line: u64, found: Found) {
        let origin = Origin { line, entry: found.entry };
        let span = found.span.clone();
        let outcome = match self.unfit(&found) {
            Some(reason) => Err(reason),
            None => self.add_text(bytes, span.clone(), Entry { origin, fallback_id: found.id, links: found.links }),
        };
        if let Err(reason) = outcome {
            self.reject(bytes.get(span).unwrap_or_default(), origin, reason);
        }
    }

    fn take_document<R: Read>(
        mut self,
        document: &mut Document<R>,
        max_bytes: usize,
    ) -> Result<Option<ResourceBatch>, ReadError> {
        while self.batch.text.len() + self.set_aside < max_bytes {
            if let Some(found) = document.waiting.pop_front() {
                self.add_found(&document.bytes, document.line, found);
            } else if let Some(more) = document.more.take() {
                let (found, more) = document::further(self.definitions, &document.bytes, more);
                (document.waiting, document.more) = (found.into(), more);
            } else if !self.next_value(document)? {
                break;
            }
        }
        let empty = self.batch.resources.is_empty() && self.batch.rejects.is_empty();
        Ok((!empty).then_some(self.batch))
    }

    /// Goes on to the next value of a stream; false at its end.
    fn next_value<R: Read>(&mut self, document: &mut Document<R>) -> Result<bool, ReadError> {
        let limit = self.options.max_document_bytes;
        loop {
            let rest = document.bytes.get(document.at..).unwrap_or_default();
            let white = rest.len() - rest.trim_ascii_start().len();
            document.at += white;
            if white == rest.len() {
                if !document.grow(limit)? {
                    return Ok(false);
                }
                continue;
            }
            let start = document.at;
            let end = match memchr::memchr(b'\n', document.bytes.get(start..).unwrap_or_default()) {
                Some(length) if document.by_line => start + length,
                _ if document.by_line && document.grow(limit)? => continue,
                _ => document.bytes.len(),
            };
            document.count_lines();
            let value = document.bytes.get(..end).unwrap_or_default();
            let outcome = match document::resources(self.definitions, value, start) {
                Ok(outline) if document.by_line => {
                    let behind = value.get(outline.end..).unwrap_or_default();
                    let white = behind.len() - behind.trim_ascii_start().len();
                    if white == behind.len() { Ok(outline) } else { Err(Broken::NotJson(outline.end + white)) }
                }
                other => other,
            };
            match outcome {
                Ok(outline) if outline.end - start > limit => {
                    document.failed = true;
                    return Err(ReadError::DocumentTooLarge { limit });
                }
                Ok(outline) => {
                    document.at = outline.end;
                    (document.waiting, document.more) = (outline.found.into(), outline.more);
                    return Ok(true);
                }
                // Cut off where reading stopped.
                Err(Broken::NotJson(at)) if at >= end && !document.by_line && document.grow(limit)? => {}
                Err(broken) => {
                    self.pass_broken(document, end, broken)?;
                    return Ok(true);
                }
            }
        }
    }

    /// Sets a broken value aside, up to the next line that may begin one.
    fn pass_broken<R: Read>(
        &mut self,
        document: &mut Document<R>,
        end: usize,
        broken: Broken,
    ) -> Result<(), ReadError> {
        let start = document.at;
        let (looked_at, reason) = match broken {
            Broken::NotJson(at) => (at - start, RejectReason::NotJson { offset: at - start }),
            Broken::DuplicateKey => (end - start, RejectReason::DuplicateKey),
            Broken::NotAnObject => (0, RejectReason::NotAnObject),
        };
        document.wasted += looked_at;
        let origin = Origin { line: document.line, entry: None };
        // What is broken over and over is not worth looking for its parts.
        let patient = document.wasted <= document.read * 4 + GROW_BYTES;
        let behind = document.bytes.get(start..end).unwrap_or_default();
        let next = memchr::memmem::find(behind, b"\n{").filter(|_| patient);
        let stop = match next {
            _ if document.by_line => end,
            Some(next) => start + next + 1,
            None => document.bytes.len(),
        };
        let raw = document.bytes.get(start..stop).unwrap_or_default();
        self.reject(raw, origin, reason);
        document.at = stop;
        if next.is_none() && !document.by_line {
            let dropped = document.skip(patient)?;
            if let Some(reject) = self.batch.rejects.last_mut() {
                reject.cut += dropped;
            }
        }
        Ok(())
    }
}

impl<R: Read> Document<R> {
    /// Reads on, and forgets what has been passed; false when there is nothing more to read.
    fn grow(&mut self, limit: usize) -> Result<bool, ReadError> {
        if self.failed {
            return Err(FormatError::FailedBefore.into());
        }
        if self.ended {
            return Ok(false);
        }
        self.count_lines();
        self.bytes.drain(..self.at);
        self.at = 0;
        self.counted = (0, self.line);
        if self.bytes.len() > limit {
            self.failed = true;
            return Err(ReadError::DocumentTooLarge { limit });
        }
        let want = self.bytes.len().max(GROW_BYTES).min(limit.saturating_add(1) - self.bytes.len());
        let outcome = self.reader.by_ref().take(want as u64).read_to_end(&mut self.bytes);
        self.failed = outcome.is_err();
        let read = outcome?;
        self.read += read;
        self.ended = read < want;
        Ok(true)
    }

    /// Reads on without keeping anything, up to the next line that may begin a value where there is patience for one; says
    /// how much that was. All that was read before has been passed.
    fn skip(&mut self, patient: bool) -> Result<u64, ReadError> {
        let mut dropped = 0;
        loop {
            let after_line = self.bytes.last() == Some(&b'\n');
            self.at = self.bytes.len();
            if !self.grow(usize::MAX)? {
                return Ok(dropped);
            }
            let next = if after_line && self.bytes.first() == Some(&b'{') {
                Some(0)
            } else {
                memchr::memmem::find(&self.bytes, b"\n{").map(|at| at + 1)
            };
            let passed = next.filter(|_| patient).unwrap_or(self.bytes.len());
            dropped += passed as u64;
            self.at = passed;
            if patient && next.is_some() {
                return Ok(dropped);
            }
        }
    }

    fn count_lines(&mut self) {
        let (from, line) = self.counted;
        let between = self.bytes.get(from..self.at).unwrap_or_default();
        self.line = line + memchr::memchr_iter(b'\n', between).count() as u64;
        self.counted = (self.at, self.line);
    }
}

impl ReadOptions {
    /// So many values may be in one resource.
    fn most_values(&self) -> usize {
        (self.max_line_bytes / BYTES_A_TOKEN).max(1024)
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

    /// A Bundle on one line, longer than the head of a stream.
    fn long_bundle(number: usize, more: &str) -> String {
        let padding = "x".repeat(100_000);
        format!(
            r#"{{"resourceType":"Bundle","entry":[{{"resource":{{"resourceType":"Patient","id":"p{number}","x":"{padding}"}}}}{more}]}}"#
        )
    }

    #[test]
    fn lines_of_large_bundles_are_read_one_by_one() {
        let mut lines: Vec<String> = (0..30).map(|number| long_bundle(number, "")).collect();
        lines[7].truncate(90_000);
        let text = lines.join("\n");
        let options = ReadOptions { max_document_bytes: 1 << 20, ..ReadOptions::default() };
        assert!(text.len() > 2 << 20);
        let mut reader = ResourceReader::new(text.as_bytes(), options);
        let (mut read, mut rejects) = (Vec::new(), Vec::new());
        while let Some(batch) = reader.next_batch(300_000).unwrap() {
            read.extend(batch.resources.iter().map(|resource| resource.origin.line));
            rejects.extend(batch.rejects.iter().map(|reject| (reject.origin, reject.raw.len())));
        }
        assert_eq!(read, (1..=30).filter(|line| *line != 8).collect::<Vec<_>>());
        assert_eq!(rejects, [(at(8, None), 90_000)]);
    }

    #[test]
    fn a_first_line_that_is_cut_costs_that_line() {
        let good = r#"{"resourceType":"Patient","id":"2"}"#;
        for cut in [r#"{"resourceType":"Patient","#, r#"{"resourceType":"Patient","name":[{"family":"x","#, "{"] {
            for rest in [good.to_owned(), format!("{good}\n{good}\n"), format!("{good}\n").repeat(4000)] {
                let (resources, rejects) = read(format!("{cut}\n{rest}").as_bytes());
                assert_eq!(resources.len(), rest.matches("Patient").count(), "{cut}");
                assert_eq!(resources[0].1, at(2, None));
                assert_eq!(rejects.len(), 1);
                assert_eq!(rejects[0].0, at(1, None));
            }
        }
        let spread = format!(
            "{{\"resourceType\":\"Bundle\",\"entry\":[\n{{\"resource\":{good}}},\n{{\"resource\":{good}}}\n]}}"
        );
        assert_eq!(read(spread.as_bytes()).0.len(), 2, "entries on lines of their own are one document");
    }

    #[test]
    fn a_bad_entry_of_a_bundle_on_one_line_costs_that_entry() {
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        for (bad, reason) in [
            (r#"{"id":1,"id":2}"#.as_bytes(), RejectReason::DuplicateKey),
            (b"{\"id\":\"\xff\"}", RejectReason::NotUtf8),
            (deep.as_bytes(), RejectReason::TooDeep { limit: 64 }),
            (br#"{"id":01}"#, RejectReason::NotJson { offset: 7 }),
        ] {
            let good = br#"{"resource":{"resourceType":"Patient","id":"1"}}"#;
            let line = [
                b"{\"resourceType\":\"Bundle\",\"entry\":[".as_slice(),
                good,
                b",{\"resource\":",
                bad,
                b"},",
                good,
                b"]}\n{\"resourceType\":\"Group\"}",
            ]
            .concat();
            let (resources, rejects) = read(&line);
            let mut places: Vec<_> = resources.iter().map(|(_, origin, _)| *origin).collect();
            places.sort();
            assert_eq!(places, [at(1, Some(0)), at(1, Some(2)), at(2, None)]);
            assert_eq!(rejects, [(at(1, Some(1)), reason)]);
        }
    }

    #[test]
    fn memory_is_bounded_whatever_a_document_holds() {
        // Millions of numbers are one thing that is no resource.
        let zeros = format!("[{}0]", "0,".repeat(4 << 20));
        let (resources, rejects) = read(zeros.as_bytes());
        assert!(resources.is_empty());
        assert_eq!(rejects, [(at(1, Some(0)), RejectReason::NotAnObject)]);
        // A resource is held to what a line is held to, and to values that its length can be made of.
        let options = ReadOptions { max_line_bytes: 100_000, ..ReadOptions::default() };
        let limit = options.most_values();
        let long = long_bundle(1, "");
        let many = format!(r#"[{{"resourceType":"Patient","x":[{}0]}}]"#, "0,".repeat(limit));
        for (text, want) in
            [(long, RejectReason::TooLong { limit: 100_000 }), (many, RejectReason::TooManyValues { limit })]
        {
            let mut reader = ResourceReader::new(text.as_bytes(), options);
            let batch = reader.next_batch(1 << 20).unwrap().unwrap();
            let reject = &batch.rejects[0];
            assert_eq!((reject.reason, batch.rejects.len(), batch.len()), (want, 1, 0));
            assert!(reject.raw.len() <= 100_000);
        }
        // More entries than are noted at once come in their order, and rejects count for the size of a batch.
        let entries = 3 * (1 << 14);
        let text = format!("[{}{{}}]", "{},".repeat(entries - 1));
        let mut reader = ResourceReader::new(text.as_bytes(), ReadOptions::default());
        let (mut next, mut batches) = (0, 0);
        while let Some(batch) = reader.next_batch(64 << 10).unwrap() {
            batches += 1;
            for reject in &batch.rejects {
                assert_eq!(reject.origin, at(1, Some(next)));
                next += 1;
            }
        }
        assert!(next == entries as u64 && batches > 10, "{next} {batches}");
    }

    #[test]
    fn what_is_broken_over_and_over_takes_no_longer_for_it() {
        let text = "{\"a\":[[\n".repeat(200_000);
        let (resources, rejects) = read(text.as_bytes());
        assert!(resources.is_empty() && !rejects.is_empty());
    }

    #[test]
    fn a_resource_stands_alone_with_what_its_bundle_says() {
        let text = r#"{"resourceType":"Bundle","entry":[{"fullUrl":"urn:uuid:a","resource":{"resourceType":"Patient","id":"p"}},
            {"fullUrl":"urn:uuid:b","resource":{ "resourceType":"Condition","subject":{"reference":"urn:uuid:a"},
            "note":[{"text":"urn:uuid:a"}],"encounter":{"reference":"urn:uuid:c"}}}]}"#;
        let mut reader = ResourceReader::new(text.as_bytes(), ReadOptions::default());
        let batch = reader.next_batch(1 << 20).unwrap().unwrap();
        assert_eq!(batch.standalone(0), r#"{"resourceType":"Patient","id":"p"}"#);
        assert_eq!(
            batch.standalone(1),
            r#"{"id":"b","resourceType":"Condition","subject":{"reference":"Patient/p"},"note":[{"text":"urn:uuid:a"}],"encounter":{"reference":"urn:uuid:c"}}"#
        );
        assert_eq!(batch.standalone(9), "");
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
