//! An XML text as a flat list of events with their places in the text.
//!
//! A document is checked once, here, and walked afterwards without looking at a byte that is not needed: XML 1.0 with
//! namespaces, no recursion, bounds on depth and number, no document type and no entity beyond the five of XML itself
//! (so nothing can be expanded or fetched), and no attribute twice. What this passes, every other XML parser reads the
//! same way; that is what a de-identified copy needs more than speed.
//!
//! `quick-xml` is not what this stands on, but what the tests compare it with: it tells the place of an event but not
//! that of an attribute or its white space, and lets pass what must not leave: forbidden characters, names that are
//! none, text beside the root, `<` in attributes, prefixes that are not bound.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr3, memmem};
use serde::Serialize;
use thiserror::Error;

use super::types::{NameId, name_id, name_text};

/// Bounds of one document.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How deep elements may nest.
    pub max_depth: usize,
    /// How many events and attributes a document may have: they take more room than the text that makes them.
    pub max_nodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_depth: 256, max_nodes: 8 << 20 }
    }
}

/// The longest text whose places fit the tape.
const MAX_TEXT: usize = u32::MAX as usize - 1;
/// How many namespace declarations may be in force at one place: each name with a prefix looks through them.
const MAX_BINDINGS: usize = 256;

/// Which vocabulary a name belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ns {
    /// `urn:hl7-org:v3`.
    V3,
    /// `urn:hl7-org:sdtc`, HL7's extensions of CDA for the US.
    Sdtc,
    /// `http://www.w3.org/2001/XMLSchema-instance`.
    Xsi,
    /// The prefix `xml`.
    Xml,
    /// A namespace declaration.
    Xmlns,
    /// No namespace: of an attribute, that of its element.
    None,
    /// Any other.
    Other,
}

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `<name …>`
    Open,
    /// `</name>`
    Close,
    /// `<name …/>`
    Empty,
    /// Text between markup; with character references where [`Event::escaped`] says so.
    Text,
    /// `<![CDATA[…]]>`
    CData,
    /// `<!--…-->`
    Comment,
    /// `<?target …?>`
    Instruction,
    /// `<?xml …?>`
    Declaration,
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: Kind,
    /// Of an element, the vocabulary of its name.
    pub ns: Ns,
    /// Whether a text contains `&`.
    pub escaped: bool,
    /// The local name of an element; [`NameId::UNKNOWN`] outside the dictionary.
    pub name: NameId,
    /// Where it begins, with its brackets.
    pub start: u32,
    /// Where it ends, with its brackets.
    pub end: u32,
    /// Of an element, its name as written, with prefix; of others, what stands between the brackets.
    pub inner_start: u32,
    pub inner_end: u32,
    /// Of `Open`, the event behind its `Close`; of others, the next.
    pub next: u32,
    attributes: u32,
    attribute_count: u32,
}

impl Event {
    /// The place with brackets.
    pub fn span(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The place of the name, or of what stands between the brackets.
    pub fn inner(&self) -> Range<usize> {
        self.inner_start as usize..self.inner_end as usize
    }

    /// Whether an element begins here.
    pub fn is_element(&self) -> bool {
        matches!(self.kind, Kind::Open | Kind::Empty)
    }
}

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute {
    pub ns: Ns,
    /// Its local name; [`NameId::UNKNOWN`] outside the dictionary.
    pub name: NameId,
    /// Whether its value is written otherwise than it reads.
    pub escaped: bool,
    /// Where the white space before it begins.
    pub start: u32,
    pub name_start: u32,
    pub name_end: u32,
    /// Behind the opening quote.
    pub value_start: u32,
    /// Before the closing quote.
    pub value_end: u32,
}

impl Attribute {
    /// The place with the white space before it.
    pub fn span(&self) -> Range<usize> {
        self.start as usize..self.value_end as usize + 1
    }

    /// The place of the value, without quotes.
    pub fn value(&self) -> Range<usize> {
        self.value_start as usize..self.value_end as usize
    }
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum XmlProblem {
    #[error("a document type declaration, which is refused")]
    Doctype,
    #[error("an entity that XML itself does not have, which is refused")]
    UnknownEntity,
    #[error("a character reference that is none")]
    BadReference,
    #[error("a character that XML forbids")]
    BadCharacter,
    #[error("a name that is none")]
    BadName,
    #[error("markup that is none")]
    BadMarkup,
    #[error("an attribute that is none")]
    BadAttribute,
    #[error("an attribute that stands twice")]
    DuplicateAttribute,
    #[error("a namespace declaration that is none")]
    BadNamespace,
    #[error("an end tag that does not fit")]
    EndTag,
    #[error("the document ends early")]
    EndsEarly,
    #[error("text outside of the root element")]
    OutsideRoot,
    #[error("no root element")]
    NoRoot,
    #[error("`]]>` in text")]
    CDataEnd,
    #[error("nested deeper than allowed")]
    TooDeep,
    #[error("more elements and attributes than allowed")]
    TooMany,
}

/// What is wrong, and where in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error, Serialize)]
#[error("{problem} (byte {offset})")]
pub struct XmlError {
    pub problem: XmlProblem,
    /// Bytes from the start of the document.
    pub offset: usize,
}

/// An XML document and its events. It holds PHI: no `Debug`.
#[derive(Clone)]
pub struct Document {
    text: String,
    tape: Tape,
    /// The line of its file on which it begins, from 1.
    pub line: u64,
    /// The encoding that it came in, where that was not UTF-8; `text` then says that it is UTF-8.
    pub converted_from: Option<&'static str>,
}

#[derive(Clone, Default)]
pub(super) struct Tape {
    events: Vec<Event>,
    attributes: Vec<Attribute>,
    root: usize,
    unqualified: bool,
}

impl Document {
    /// Takes apart a text that is one document and nothing else.
    pub fn parse(text: String, limits: Limits) -> Result<Self, XmlError> {
        let (tape, end) = tape(&text, limits).map_err(|broken| broken.error)?;
        if end < text.len() {
            return Err(XmlError { problem: XmlProblem::OutsideRoot, offset: end });
        }
        Ok(Self::new(text, tape, 1, None))
    }

    pub(super) fn new(text: String, tape: Tape, line: u64, converted_from: Option<&'static str>) -> Self {
        Self { text, tape, line, converted_from }
    }

    /// The document as it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn into_text(self) -> String {
        self.text
    }

    /// All events, in the order of the text; their spans join without a gap.
    pub fn events(&self) -> &[Event] {
        &self.tape.events
    }

    pub fn event(&self, index: usize) -> Option<&Event> {
        self.tape.events.get(index)
    }

    /// The event of the root element.
    pub fn root(&self) -> usize {
        self.tape.root
    }

    /// Whether the root element has no namespace: its elements are then taken for CDA's, as senders of mere parts mean.
    pub fn is_unqualified(&self) -> bool {
        self.tape.unqualified
    }

    /// The attributes of an element.
    pub fn attributes(&self, event: usize) -> &[Attribute] {
        let of = |event: &Event| {
            let first = event.attributes as usize;
            self.tape.attributes.get(first..first + event.attribute_count as usize)
        };
        self.event(event).and_then(of).unwrap_or_default()
    }

    /// One attribute of an element.
    pub fn attribute(&self, event: usize, ns: Ns, name: NameId) -> Option<&Attribute> {
        self.attributes(event).iter().find(|attribute| attribute.ns == ns && attribute.name == name)
    }

    /// What an attribute without prefix says.
    pub fn attribute_value(&self, event: usize, name: NameId) -> Option<Cow<'_, str>> {
        self.attribute(event, Ns::None, name).map(|attribute| self.value(attribute))
    }

    /// What is written at a place.
    pub fn raw(&self, span: Range<usize>) -> &str {
        self.text.get(span).unwrap_or_default()
    }

    /// What an attribute says: references resolved, white space as spaces (XML 1.0, 3.3.3).
    pub fn value(&self, attribute: &Attribute) -> Cow<'_, str> {
        let raw = self.raw(attribute.value());
        if attribute.escaped { Cow::Owned(unescape_attribute(raw)) } else { Cow::Borrowed(raw) }
    }

    /// What a text or CDATA section says; nothing for other events.
    pub fn piece(&self, event: &Event) -> Cow<'_, str> {
        match event.kind {
            Kind::Text if event.escaped => unescape(self.raw(event.inner())),
            Kind::Text | Kind::CData => Cow::Borrowed(self.raw(event.inner())),
            _ => Cow::Borrowed(""),
        }
    }

    /// The text that stands directly in an element, its pieces joined.
    pub fn own_text(&self, event: usize) -> Cow<'_, str> {
        let mut joined = Cow::Borrowed("");
        for (_, piece) in self.direct(event) {
            match piece.kind {
                Kind::Text | Kind::CData if joined.is_empty() => joined = self.piece(piece),
                Kind::Text | Kind::CData => joined.to_mut().push_str(&self.piece(piece)),
                _ => {}
            }
        }
        joined
    }

    /// Whether nothing but white space and comments stands in an element.
    pub fn is_blank(&self, event: usize) -> bool {
        self.direct(event).all(|(_, piece)| match piece.kind {
            Kind::Text | Kind::CData => self.piece(piece).trim_ascii().is_empty(),
            Kind::Open | Kind::Empty => false,
            _ => true,
        })
    }

    /// The elements directly in an element.
    pub fn children(&self, event: usize) -> impl Iterator<Item = usize> + '_ {
        self.direct(event).filter(|(_, child)| child.is_element()).map(|(index, _)| index)
    }

    /// The elements of one name, of CDA's own vocabulary, directly in an element.
    pub fn children_named(&self, event: usize, name: NameId) -> impl Iterator<Item = usize> + '_ {
        self.direct(event)
            .filter(move |(_, child)| child.is_element() && child.ns == Ns::V3 && child.name == name)
            .map(|(index, _)| index)
    }

    /// The first element reached by names of CDA's own vocabulary.
    pub fn descend(&self, event: usize, names: &[NameId]) -> Option<usize> {
        names.iter().try_fold(event, |at, name| self.children_named(at, *name).next())
    }

    /// The events directly in an element.
    fn direct(&self, event: usize) -> impl Iterator<Item = (usize, &Event)> + '_ {
        let content = self.content(event);
        let mut at = content.start;
        std::iter::from_fn(move || {
            let index = at;
            let piece = (index < content.end).then(|| self.event(index)).flatten()?;
            at = (piece.next as usize).max(index + 1);
            Some((index, piece))
        })
    }

    /// The events within an element.
    pub fn content(&self, event: usize) -> Range<usize> {
        match self.event(event) {
            Some(open) if open.kind == Kind::Open => event + 1..(open.next as usize).saturating_sub(1).max(event + 1),
            _ => event..event,
        }
    }

    /// The place between an element's tags; `None` for one written `<name/>`.
    pub fn content_span(&self, event: usize) -> Option<Range<usize>> {
        let open = self.event(event).filter(|open| open.kind == Kind::Open)?;
        let close = self.event((open.next as usize).checked_sub(1)?)?;
        Some(open.end as usize..close.start as usize)
    }

    /// The place of a whole element.
    pub fn element_span(&self, event: usize) -> Option<Range<usize>> {
        let open = self.event(event).filter(|open| open.is_element())?;
        let last = self.event((open.next as usize).checked_sub(1)?)?;
        Some(open.start as usize..last.end as usize)
    }
}

/// A text without a tape.
pub(super) struct Broken {
    pub(super) error: XmlError,
    /// How far the text was looked at: to look for a next document before this would cost a square of the length.
    pub(super) seen: usize,
}

/// The tape of the document that a text begins with, and where that document ends: at the end of the text or where
/// another begins.
pub(super) fn tape(text: &str, limits: Limits) -> Result<(Tape, usize), Broken> {
    let mut pass = Pass {
        text: text.as_bytes(),
        at: 0,
        tape: Tape::default(),
        open: Vec::new(),
        bindings: Vec::new(),
        default_ns: Ns::None,
        limits,
        keys: Vec::new(),
    };
    let outcome = if text.len() > MAX_TEXT { Err(XmlProblem::TooMany) } else { pass.document() };
    match outcome {
        Ok(()) => {
            let end = pass.at;
            match forbidden(text.as_bytes().get(..end).unwrap_or_default()) {
                Some(offset) => {
                    Err(Broken { error: XmlError { problem: XmlProblem::BadCharacter, offset }, seen: end })
                }
                None => Ok((pass.tape, end)),
            }
        }
        Err(problem) => {
            let offset = pass.at.min(text.len());
            let seen = if problem == XmlProblem::EndsEarly { text.len() } else { offset };
            Err(Broken { error: XmlError { problem, offset }, seen })
        }
    }
}

/// The first character of a text that XML 1.0 forbids (2.2).
fn forbidden(bytes: &[u8]) -> Option<usize> {
    const CHUNK: usize = 4096;
    let is_control = |byte: u8| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r');
    let chunk_has = |chunk: &[u8]| chunk.iter().fold(false, |found, byte| found | is_control(*byte));
    let chunk = bytes.chunks(CHUNK).position(chunk_has);
    let control = chunk.and_then(|chunk| {
        let from = chunk * CHUNK;
        Some(from + bytes.get(from..)?.iter().position(|byte| is_control(*byte))?)
    });
    // U+FFFE and U+FFFF.
    let noncharacter = memmem::find_iter(bytes, b"\xEF\xBF").find(|at| matches!(bytes.get(at + 2), Some(0xBE | 0xBF)));
    match (control, noncharacter) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A namespace that a prefix stands for.
struct Binding {
    /// Where its prefix is written; empty for the default namespace.
    prefix: Range<usize>,
    ns: Ns,
    /// Hash of its address, to tell others apart.
    hash: u64,
}

struct OpenElement {
    event: usize,
    bindings: usize,
    default_ns: Ns,
}

struct Pass<'a> {
    text: &'a [u8],
    at: usize,
    tape: Tape,
    open: Vec<OpenElement>,
    bindings: Vec<Binding>,
    default_ns: Ns,
    limits: Limits,
    /// A number for each attribute of the element that is read.
    keys: Vec<u64>,
}

type Outcome<T = ()> = Result<T, XmlProblem>;

impl Pass<'_> {
    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    fn skip_white(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    fn document(&mut self) -> Outcome {
        let mut has_root = false;
        let mut has_declaration = false;
        loop {
            let start = self.at;
            if self.open.is_empty() && self.rest().starts_with("\u{FEFF}".as_bytes()) {
                match start {
                    0 => self.at = 3,
                    _ if has_root => return Ok(()),
                    _ => return Err(XmlProblem::OutsideRoot),
                }
            }
            if self.open.is_empty() {
                self.skip_white();
                if self.at > start {
                    // The byte-order mark and white space in front of the document.
                    self.push(Kind::Text, start, start..self.at)?;
                }
            } else if self.peek() != b'<' || self.at >= self.text.len() {
                self.text_piece()?;
            }
            if self.at >= self.text.len() {
                break;
            }
            if self.peek() != b'<' {
                return Err(XmlProblem::OutsideRoot);
            }
            match self.text.get(self.at + 1).copied().unwrap_or(0) {
                b'/' => self.close()?,
                b'!' => self.special()?,
                b'?' => {
                    let is_declaration = self.is_declaration();
                    if is_declaration && has_root && self.open.is_empty() {
                        return Ok(());
                    }
                    if is_declaration && (has_root || has_declaration) {
                        return Err(XmlProblem::BadMarkup);
                    }
                    has_declaration |= is_declaration;
                    self.instruction(is_declaration)?;
                }
                _ => {
                    if self.open.is_empty() {
                        if has_root {
                            return Ok(());
                        }
                        has_root = true;
                    }
                    self.element()?;
                }
            }
        }
        if !self.open.is_empty() {
            return Err(XmlProblem::EndsEarly);
        }
        if has_root { Ok(()) } else { Err(XmlProblem::NoRoot) }
    }

    #[inline]
    fn push(&mut self, kind: Kind, start: usize, inner: Range<usize>) -> Outcome {
        let next = self.tape.events.len() + 1;
        if next + self.tape.attributes.len() > self.limits.max_nodes {
            return Err(XmlProblem::TooMany);
        }
        self.tape.events.push(Event {
            kind,
            ns: Ns::None,
            escaped: false,
            name: NameId::UNKNOWN,
            start: start as u32,
            end: self.at as u32,
            inner_start: inner.start as u32,
            inner_end: inner.end as u32,
            next: next as u32,
            attributes: self.tape.attributes.len() as u32,
            attribute_count: 0,
        });
        Ok(())
    }

    /// Text up to the next markup.
    fn text_piece(&mut self) -> Outcome {
        let start = self.at;
        let mut escaped = false;
        loop {
            let Some(found) = memchr3(b'<', b'&', b'>', self.rest()) else {
                self.at = self.text.len();
                break;
            };
            self.at += found;
            match self.peek() {
                b'&' => {
                    escaped = true;
                    self.reference()?;
                }
                b'>' => {
                    if self.text.get(start..self.at).unwrap_or_default().ends_with(b"]]") {
                        return Err(XmlProblem::CDataEnd);
                    }
                    self.at += 1;
                }
                _ => break,
            }
        }
        if self.at > start {
            self.push(Kind::Text, start, start..self.at)?;
            if let Some(event) = self.tape.events.last_mut() {
                event.escaped = escaped;
            }
        }
        Ok(())
    }

    /// Over a reference that stands for one character.
    fn reference(&mut self) -> Outcome {
        let rest = self.rest();
        // Leading zeros make a reference as long as one likes; nobody sends them.
        let head = rest.get(..rest.len().min(32)).unwrap_or_default();
        let end = memchr(b';', head).ok_or(XmlProblem::BadReference)?;
        let name = head.get(1..end).unwrap_or_default();
        match name {
            [b'#', ..] => {
                character(name).ok_or(XmlProblem::BadReference)?;
            }
            b"amp" | b"lt" | b"gt" | b"quot" | b"apos" => {}
            _ if is_name(name) => return Err(XmlProblem::UnknownEntity),
            _ => return Err(XmlProblem::BadReference),
        }
        self.at += end + 1;
        Ok(())
    }

    fn special(&mut self) -> Outcome {
        let start = self.at;
        let rest = self.rest();
        if rest.starts_with(b"<!--") {
            let end = memmem::find(rest.get(4..).unwrap_or_default(), b"-->").ok_or(XmlProblem::EndsEarly)?;
            self.at += 4 + end + 3;
            return self.push(Kind::Comment, start, start + 4..start + 4 + end);
        }
        if rest.starts_with(b"<![CDATA[") && !self.open.is_empty() {
            let end = memmem::find(rest.get(9..).unwrap_or_default(), b"]]>").ok_or(XmlProblem::EndsEarly)?;
            self.at += 9 + end + 3;
            return self.push(Kind::CData, start, start + 9..start + 9 + end);
        }
        let doctype = rest.get(..9).is_some_and(|head| head.eq_ignore_ascii_case(b"<!DOCTYPE"));
        Err(if doctype { XmlProblem::Doctype } else { XmlProblem::BadMarkup })
    }

    fn is_declaration(&self) -> bool {
        self.rest().starts_with(b"<?xml") && matches!(self.text.get(self.at + 5), Some(b' ' | b'\t' | b'\r' | b'\n'))
    }

    fn instruction(&mut self, is_declaration: bool) -> Outcome {
        let start = self.at;
        let rest = self.rest();
        let end = memmem::find(rest, b"?>").ok_or(XmlProblem::EndsEarly)?;
        let inner = rest.get(2..end).unwrap_or_default();
        let target = inner.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).unwrap_or(inner.len());
        let target = inner.get(..target).unwrap_or_default();
        if !is_name(target) {
            return Err(XmlProblem::BadName);
        }
        if !is_declaration && target.eq_ignore_ascii_case(b"xml") {
            return Err(XmlProblem::BadMarkup);
        }
        self.at += end + 2;
        let kind = if is_declaration { Kind::Declaration } else { Kind::Instruction };
        self.push(kind, start, start + 2..start + end)
    }

    fn close(&mut self) -> Outcome {
        let start = self.at;
        let Some(open) = self.open.pop() else {
            return Err(XmlProblem::EndTag);
        };
        let Some(opened) = self.tape.events.get(open.event).copied() else {
            return Err(XmlProblem::EndTag);
        };
        let name = self.text.get(opened.inner()).unwrap_or_default();
        let after = self.text.get(start + 2..).unwrap_or_default();
        if !after.starts_with(name) {
            return Err(XmlProblem::EndTag);
        }
        let inner = start + 2..start + 2 + name.len();
        self.at = inner.end;
        self.skip_white();
        if self.peek() != b'>' {
            return Err(if self.at >= self.text.len() { XmlProblem::EndsEarly } else { XmlProblem::EndTag });
        }
        self.at += 1;
        self.push(Kind::Close, start, inner)?;
        let next = self.tape.events.len() as u32;
        if let Some(event) = self.tape.events.last_mut() {
            event.ns = opened.ns;
            event.name = opened.name;
        }
        if let Some(event) = self.tape.events.get_mut(open.event) {
            event.next = next;
        }
        self.bindings.truncate(open.bindings);
        self.default_ns = open.default_ns;
        Ok(())
    }

    /// A start tag.
    fn element(&mut self) -> Outcome {
        let start = self.at;
        self.at += 1;
        let qualified = self.name()?;
        let event = self.tape.events.len();
        let first = self.tape.attributes.len();
        let (bindings, default_ns) = (self.bindings.len(), self.default_ns);
        self.push(Kind::Open, start, qualified.clone())?;
        let is_empty = self.attribute_list()?;
        self.declare_and_resolve(first)?;
        let count = self.tape.attributes.len() - first;

        let (ns, name, _) = self.resolve(qualified, true)?;
        let is_root = self.open.is_empty();
        if is_root {
            self.tape.root = event;
            self.tape.unqualified = ns == Ns::None;
        }
        let ns = if ns == Ns::None && self.tape.unqualified { Ns::V3 } else { ns };
        let end = self.at as u32;
        if let Some(element) = self.tape.events.get_mut(event) {
            element.kind = if is_empty { Kind::Empty } else { Kind::Open };
            (element.ns, element.name, element.end) = (ns, name, end);
            (element.attributes, element.attribute_count) = (first as u32, count as u32);
        }
        if self.open.len() >= self.limits.max_depth {
            self.at = start;
            return Err(XmlProblem::TooDeep);
        }
        if is_empty {
            self.bindings.truncate(bindings);
            self.default_ns = default_ns;
        } else {
            self.open.push(OpenElement { event, bindings, default_ns });
        }
        Ok(())
    }

    /// A name with at most one colon, inside it.
    #[inline]
    fn name(&mut self) -> Outcome<Range<usize>> {
        let start = self.at;
        let length = self.rest().iter().position(|byte| NAME_BYTE.get(usize::from(*byte)) != Some(&true));
        self.at += length.unwrap_or(self.text.len() - start);
        let name = self.text.get(start..self.at).unwrap_or_default();
        let is_plain = name.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_')
            && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        if is_plain || is_qualified(name) {
            Ok(start..self.at)
        } else {
            self.at = start;
            Err(if start >= self.text.len() { XmlProblem::EndsEarly } else { XmlProblem::BadName })
        }
    }

    /// The attributes up to the end of the tag; whether the tag is that of an empty element.
    fn attribute_list(&mut self) -> Outcome<bool> {
        loop {
            let start = self.at;
            self.skip_white();
            match self.peek() {
                b'>' => {
                    self.at += 1;
                    return Ok(false);
                }
                b'/' if self.text.get(self.at + 1) == Some(&b'>') => {
                    self.at += 2;
                    return Ok(true);
                }
                _ if self.at >= self.text.len() => return Err(XmlProblem::EndsEarly),
                _ if self.at == start => return Err(XmlProblem::BadMarkup),
                _ => self.attribute(start)?,
            }
        }
    }

    fn attribute(&mut self, start: usize) -> Outcome {
        let name = self.name()?;
        self.skip_white();
        if self.peek() != b'=' {
            return Err(XmlProblem::BadAttribute);
        }
        self.at += 1;
        self.skip_white();
        let quote = self.peek();
        if !matches!(quote, b'"' | b'\'') {
            return Err(XmlProblem::BadAttribute);
        }
        self.at += 1;
        let value_start = self.at;
        let mut escaped = false;
        loop {
            let Some(found) = memchr3(quote, b'<', b'&', self.rest()) else {
                self.at = self.text.len();
                return Err(XmlProblem::EndsEarly);
            };
            self.at += found;
            match self.peek() {
                b'&' => {
                    escaped = true;
                    self.reference()?;
                }
                b'<' => return Err(XmlProblem::BadAttribute),
                _ => break,
            }
        }
        let value = self.text.get(value_start..self.at).unwrap_or_default();
        escaped = escaped || memchr3(b'\n', b'\t', b'\r', value).is_some();
        if self.tape.events.len() + self.tape.attributes.len() >= self.limits.max_nodes {
            return Err(XmlProblem::TooMany);
        }
        self.tape.attributes.push(Attribute {
            ns: Ns::None,
            name: NameId::UNKNOWN,
            escaped,
            start: start as u32,
            name_start: name.start as u32,
            name_end: name.end as u32,
            value_start: value_start as u32,
            value_end: self.at as u32,
        });
        self.at += 1;
        Ok(())
    }

    /// Namespaces first, since they hold for the tag that declares them, then the names of the attributes.
    fn declare_and_resolve(&mut self, first: usize) -> Outcome {
        let last = self.tape.attributes.len();
        self.keys.clear();
        for at in first..last {
            let Some(attribute) = self.tape.attributes.get(at).copied() else {
                break;
            };
            let name = attribute.name_start as usize..attribute.name_end as usize;
            let written = self.text.get(name.clone()).unwrap_or_default();
            let prefix = match written {
                b"xmlns" => name.end..name.end,
                _ if written.starts_with(b"xmlns:") => name.start + 6..name.end,
                _ => continue,
            };
            self.declare(prefix, attribute)?;
        }
        for at in first..last {
            let Some(attribute) = self.tape.attributes.get(at).copied() else {
                break;
            };
            let (ns, name, key) = self.resolve(attribute.name_start as usize..attribute.name_end as usize, false)?;
            self.keys.push(key);
            if let Some(attribute) = self.tape.attributes.get_mut(at) {
                (attribute.ns, attribute.name) = (ns, name);
            }
        }
        if has_twins(&mut self.keys) { Err(XmlProblem::DuplicateAttribute) } else { Ok(()) }
    }

    fn declare(&mut self, prefix: Range<usize>, attribute: Attribute) -> Outcome {
        let raw = self.text.get(attribute.value()).unwrap_or_default();
        let unescaped;
        let mut address = raw;
        if attribute.escaped {
            unescaped = unescape_attribute(std::str::from_utf8(raw).unwrap_or_default());
            address = unescaped.as_bytes();
        }
        let ns = match address {
            b"urn:hl7-org:v3" => Ns::V3,
            b"urn:hl7-org:sdtc" => Ns::Sdtc,
            b"http://www.w3.org/2001/XMLSchema-instance" => Ns::Xsi,
            XML_ADDRESS => Ns::Xml,
            b"" => Ns::None,
            _ => Ns::Other,
        };
        let hash = fnv(address);
        let is_default = prefix.is_empty();
        let is_xml = self.text.get(prefix.clone()) == Some(b"xml");
        let is_xmlns = self.text.get(prefix.clone()) == Some(b"xmlns") || address == XMLNS_ADDRESS;
        if is_xmlns || is_xml != (ns == Ns::Xml) || (ns == Ns::None && !is_default) {
            return Err(XmlProblem::BadNamespace);
        }
        if self.bindings.len() >= MAX_BINDINGS {
            return Err(XmlProblem::TooMany);
        }
        self.bindings.push(Binding { prefix, ns, hash });
        if is_default {
            self.default_ns = ns;
        }
        Ok(())
    }

    /// Vocabulary and local name of a name as written, and a number for both together.
    fn resolve(&self, written: Range<usize>, is_element: bool) -> Outcome<(Ns, NameId, u64)> {
        let name = self.text.get(written).unwrap_or_default();
        let colon = memchr(b':', name);
        let Some(colon) = colon else {
            let (id, hash) = name_id(name);
            return Ok(match name {
                b"xmlns" if !is_element => (Ns::Xmlns, NameId::UNKNOWN, hash),
                _ if is_element => (self.default_ns, id, hash),
                _ => (Ns::None, id, hash),
            });
        };
        let (prefix, local) = (name.get(..colon).unwrap_or_default(), name.get(colon + 1..).unwrap_or_default());
        let (id, hash) = name_id(local);
        let bound = self.bindings.iter().rev().find(|binding| self.text.get(binding.prefix.clone()) == Some(prefix));
        let (ns, space) = match (bound, prefix) {
            (_, b"xml") => (Ns::Xml, 1),
            (_, b"xmlns") if !is_element => (Ns::Xmlns, 2),
            (_, b"xmlns") => return Err(XmlProblem::BadNamespace),
            (Some(binding), _) => (binding.ns, binding.hash),
            // Parts of documents are sent without the declarations of the whole.
            (None, b"sdtc") => (Ns::Sdtc, fnv(b"urn:hl7-org:sdtc")),
            (None, b"xsi") => (Ns::Xsi, fnv(b"http://www.w3.org/2001/XMLSchema-instance")),
            (None, _) => (Ns::Other, fnv(prefix)),
        };
        Ok((ns, id, hash ^ space.rotate_left(17).wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }
}

const XML_ADDRESS: &[u8] = b"http://www.w3.org/XML/1998/namespace";
const XMLNS_ADDRESS: &[u8] = b"http://www.w3.org/2000/xmlns/";

/// Bytes that a name may hold; of those that begin a longer character, all.
#[expect(clippy::indexing_slicing, reason = "evaluated when compiled")]
const NAME_BYTE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let ascii = byte as u8;
        table[byte] = ascii.is_ascii_alphanumeric() || matches!(ascii, b'_' | b':' | b'-' | b'.') || byte >= 0x80;
        byte += 1;
    }
    table
};

/// XML 1.0, 2.3.
fn is_name(name: &[u8]) -> bool {
    let starts = |c: char| {
        matches!(c, ':' | '_' | 'A'..='Z' | 'a'..='z' | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}'
            | '\u{F8}'..='\u{2FF}' | '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}'
            | '\u{2070}'..='\u{218F}' | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}' | '\u{F900}'..='\u{FDCF}'
            | '\u{FDF0}'..='\u{FFFD}' | '\u{10000}'..='\u{EFFFF}')
    };
    let goes_on = |c: char| {
        starts(c) || matches!(c, '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
    };
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    let mut characters = name.chars();
    characters.next().is_some_and(starts) && characters.all(goes_on)
}

/// A name with at most one colon, and that between two names (Namespaces in XML 1.0, 4).
fn is_qualified(name: &[u8]) -> bool {
    match memchr(b':', name) {
        None => is_name(name),
        Some(colon) => {
            let (prefix, local) = (name.get(..colon).unwrap_or_default(), name.get(colon + 1..).unwrap_or_default());
            is_name(prefix) && is_name(local) && memchr(b':', local).is_none()
        }
    }
}

/// The character of `#65` or `#x41`.
fn character(reference: &[u8]) -> Option<char> {
    let digits = std::str::from_utf8(reference.get(1..)?).ok()?;
    let (digits, radix) = match digits.strip_prefix('x') {
        Some(hex) => (hex, 16),
        None => (digits, 10),
    };
    // `from_str_radix` takes a sign.
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    char::from_u32(u32::from_str_radix(digits, radix).ok()?).filter(|c| is_allowed(*c))
}

/// XML 1.0, 2.2.
pub(super) fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// What a text with references says. Only for what a tape was made of: what is no reference stays as it is.
pub fn unescape(text: &str) -> Cow<'_, str> {
    if memchr(b'&', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    resolve_into(text, &mut out);
    Cow::Owned(out)
}

fn resolve_into(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some((plain, tail)) = rest.split_once('&') {
        out.push_str(plain);
        let end = tail.bytes().take(32).position(|byte| byte == b';');
        let resolved = end.and_then(|end| {
            let (name, after) = (tail.get(..end)?, tail.get(end + 1..)?);
            let c = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                _ if name.starts_with('#') => character(name.as_bytes())?,
                _ => return None,
            };
            Some((c, after))
        });
        if let Some((c, after)) = resolved {
            out.push(c);
            rest = after;
        } else {
            out.push('&');
            rest = tail;
        }
    }
    out.push_str(rest);
}

/// What an attribute's value says: white space that is written as itself is a space, that by reference itself.
pub(super) fn unescape_attribute(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr3(b'\n', b'\t', b'\r', rest.as_bytes()) {
        let (plain, tail) = rest.split_at(at);
        resolve_into(plain, &mut out);
        out.push(' ');
        rest = tail.strip_prefix("\r\n").unwrap_or_else(|| tail.get(1..).unwrap_or_default());
    }
    resolve_into(rest, &mut out);
    out
}

/// Whether a number stands twice. Few are compared pair by pair; many are sorted.
fn has_twins(keys: &mut [u64]) -> bool {
    if keys.len() > 16 {
        keys.sort_unstable();
        return keys.windows(2).any(|pair| pair.first() == pair.last());
    }
    let mut rest = &*keys;
    while let Some((key, others)) = rest.split_first() {
        if others.contains(key) {
            return true;
        }
        rest = others;
    }
    false
}

pub(super) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Document {
    /// The local name of an element as written.
    pub fn local_name(&self, event: usize) -> &str {
        let Some(event) = self.event(event).filter(|event| event.is_element()) else {
            return "";
        };
        if event.name != NameId::UNKNOWN {
            return name_text(event.name);
        }
        let written = self.raw(event.inner());
        written.split_once(':').map_or(written, |(_, local)| local)
    }
}
