//! One record as bytes with positions: segments at once, what is in them when it is asked for.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use memchr::{memchr, memchr_iter};
use thiserror::Error;

use crate::segments;

/// An ISA segment is 106 bytes long; so many are looked at, for senders that do not fill its elements with blanks.
pub(crate) const HEADER_BYTES: usize = 512;

/// So much of a GS segment is kept for the records that it governs.
const GROUP_BYTES: usize = 1024;

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// Positions are 32 bits wide.
    #[error("the record is larger than 4 GiB")]
    TooLarge,
    /// A batch has no record of this number.
    #[error("no such record")]
    NoRecord,
}

/// The characters that part an interchange: what the ISA segment shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delimiters {
    /// The character behind `ISA`.
    pub element: u8,
    /// ISA-11, from 00402 on.
    pub repetition: Option<u8>,
    /// ISA-16.
    pub component: Option<u8>,
    /// The character behind ISA-16.
    pub segment: u8,
}

impl Delimiters {
    /// `*^:~`, as most send.
    pub const USUAL: Self = Self { element: b'*', repetition: Some(b'^'), component: Some(b':'), segment: b'~' };

    /// The delimiters that bytes show which begin with an ISA segment.
    pub fn of_header(bytes: &[u8]) -> Option<Self> {
        header(bytes).map(|(delimiters, _)| delimiters)
    }

    /// Whether a byte parts anything.
    pub(crate) fn has(self, byte: u8) -> bool {
        byte == self.element || byte == self.segment || [self.repetition, self.component].contains(&Some(byte))
    }
}

fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii() && !byte.is_ascii_alphanumeric() && !matches!(byte, b' ' | b'\r' | b'\n')
}

/// The delimiters of an ISA segment, and where its terminator stands.
pub(crate) fn header(bytes: &[u8]) -> Option<(Delimiters, usize)> {
    let [b'I', b'S', b'A', element, ..] = bytes else {
        return None;
    };
    let element = *element;
    let head = bytes.get(..bytes.len().min(HEADER_BYTES)).unwrap_or_default();
    if !is_delimiter(element) {
        return None;
    }
    // The fifteenth separator ends ISA-14 and so on: between the eleventh and the twelfth stands ISA-11.
    let mut separators = memchr_iter(element, head).skip(10);
    let (before_11, before_12, before_13) = (separators.next()?, separators.next()?, separators.next()?);
    let last = separators.nth(2)?;
    let component = head.get(last + 1).copied();
    let terminator = head.get(last + 2).copied();
    let may_end = |byte: u8| is_delimiter(byte) || matches!(byte, b'\r' | b'\n');
    let (component, segment, end) = match (component, terminator) {
        // Nothing stands in ISA-16, or nothing at all behind it.
        (Some(byte), None) if byte != b'~' && is_delimiter(byte) => (Some(byte), b'~', last + 2),
        (Some(byte), None) if may_end(byte) => (None, byte, last + 1),
        (Some(byte), _) if matches!(byte, b'\r' | b'\n') => (None, byte, last + 1),
        (Some(byte), Some(next)) if is_delimiter(byte) => {
            let is_terminator = !may_end(next) || next == element || is_line_of(head.get(last + 2..), byte);
            if is_terminator { (None, byte, last + 1) } else { (Some(byte), next, last + 2) }
        }
        _ => return None,
    };
    if segment == element {
        return None;
    }
    let repetition = match head.get(before_11 + 1..before_12) {
        Some([byte]) if is_delimiter(*byte) => Some(*byte),
        _ => None,
    };
    let repeats = head.get(before_12 + 1..before_13).is_some_and(|version| version >= &b"00402"[..]);
    let component = component.filter(|byte| ![element, segment].contains(byte));
    let repetition =
        repetition.filter(|byte| repeats && ![element, segment].contains(byte) && component != Some(*byte));
    Some((Delimiters { element, repetition, component, segment }, end))
}

/// Whether behind a line end stands a segment that ends with this byte, and then a line end: the byte ends segments.
fn is_line_of(rest: Option<&[u8]>, byte: u8) -> bool {
    let Some([b'\r' | b'\n', line @ ..]) = rest else {
        return false;
    };
    let line = line.strip_prefix(b"\n").unwrap_or(line);
    let end = memchr(b'\n', line).unwrap_or(line.len());
    let line = line.get(..end).unwrap_or_default().trim_ascii_end();
    [&b"GS"[..], b"TA1", b"IEA"].iter().any(|name| line.starts_with(name)) && line.last() == Some(&byte)
}

/// Where text begins behind byte-order mark, blanks and line ends.
pub(crate) fn indent(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match bytes.get(at..).unwrap_or_default() {
            [0xEF, 0xBB, 0xBF, ..] => at += 3,
            [b' ' | b'\t' | b'\r' | b'\n' | 0 | 0x1A, ..] => at += 1,
            _ => return at,
        }
    }
}

/// Behind a terminator at `end`: the line end that belongs to the segment.
pub(crate) fn behind(bytes: &[u8], end: usize) -> usize {
    let mut next = end + 1;
    if bytes.get(next) == Some(&b'\r') {
        next += 1;
    }
    if bytes.get(next) == Some(&b'\n') {
        next += 1;
    }
    next.min(bytes.len())
}

/// The text of a segment without what only lines end with.
pub(crate) fn text_end(bytes: &[u8], text: usize, end: usize, has_terminator: bool, segment: u8) -> usize {
    let value = bytes.get(text..end).unwrap_or_default();
    let kept = match (has_terminator, segment) {
        (true, b'\n') => value.strip_suffix(b"\r").unwrap_or(value).len(),
        (true, _) => value.len(),
        (false, _) => {
            value.len() - value.iter().rev().take_while(|byte| matches!(byte, b'\r' | b'\n' | 0x1A | 0)).count()
        }
    };
    text + kept
}

/// The name of a segment: what stands before its first element.
pub(crate) fn name_of(text: &[u8], element: u8) -> &[u8] {
    let name = text.get(..text.len().min(4)).unwrap_or_default();
    let name = memchr(element, name).and_then(|end| name.get(..end)).unwrap_or(name);
    match name {
        [first, rest @ ..]
            if first.is_ascii_alphabetic()
                && matches!(rest.len(), 1 | 2)
                && rest.iter().all(u8::is_ascii_alphanumeric)
                && text.get(name.len()).is_none_or(|byte| *byte == element) =>
        {
            name
        }
        _ => &[],
    }
}

/// What governs a record: the ISA and the GS segment before it. It holds identifiers of senders: no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    delimiters: Delimiters,
    isa: Vec<u8>,
    gs: Vec<u8>,
}

impl Envelope {
    /// An envelope of an ISA and a GS segment; what stands around them is left out. Nothing for `gs` outside of groups.
    /// `None` when `isa` does not begin with an ISA segment.
    pub fn new(isa: &[u8], gs: &[u8]) -> Option<Self> {
        let isa = isa.get(indent(isa)..)?;
        let (delimiters, end) = header(isa)?;
        let this = Self { delimiters, isa: isa.get(..end)?.to_vec(), gs: Vec::new() };
        Some(this.with_group(gs))
    }

    /// The same interchange with another group.
    pub(crate) fn with_group(&self, gs: &[u8]) -> Self {
        let gs = gs.get(indent(gs)..).unwrap_or_default();
        let end = memchr(self.delimiters.segment, gs).unwrap_or(gs.len()).min(GROUP_BYTES);
        Self { delimiters: self.delimiters, isa: self.isa.clone(), gs: gs.get(..end).unwrap_or_default().to_vec() }
    }

    pub fn delimiters(&self) -> &Delimiters {
        &self.delimiters
    }

    /// ISA-6, ISA-13 and the like, without the blanks that fill it; nothing when it is empty.
    pub fn interchange(&self, number: usize) -> Option<Cow<'_, str>> {
        self.element(&self.isa, number)
    }

    /// GS-2, GS-8 and the like; nothing when it is empty or there is no group.
    pub fn group(&self, number: usize) -> Option<Cow<'_, str>> {
        self.element(&self.gs, number)
    }

    /// The ISA and the GS segment with their terminators, one behind the other.
    pub fn header(&self) -> Vec<u8> {
        let segment = self.delimiters.segment;
        let mut out = Vec::with_capacity(self.isa.len() + self.gs.len() + 2);
        for text in [&self.isa, &self.gs].into_iter().filter(|text| !text.is_empty()) {
            out.extend_from_slice(text);
            out.push(segment);
        }
        out
    }

    /// An interchange of these transaction sets, with the counts and control numbers that its trailers must have.
    pub fn interchange_of<'s>(&self, sets: impl IntoIterator<Item = &'s [u8]>) -> Vec<u8> {
        let Delimiters { element, segment, .. } = self.delimiters;
        let mut out = self.header();
        let mut count = 0_usize;
        for set in sets {
            out.extend_from_slice(set);
            count += 1;
        }
        let mut trailer = |name: &str, count: usize, control: Option<Cow<'_, str>>| {
            out.extend_from_slice(name.as_bytes());
            out.push(element);
            out.extend_from_slice(count.to_string().as_bytes());
            out.push(element);
            // A number that is not in UTF-8 was no number.
            out.extend_from_slice(control.unwrap_or_default().as_bytes());
            out.push(segment);
        };
        if !self.gs.is_empty() {
            trailer("GE", count, self.group(6));
        }
        trailer("IEA", usize::from(!self.gs.is_empty()), self.interchange(13));
        out
    }

    fn element<'e>(&self, segment: &'e [u8], number: usize) -> Option<Cow<'e, str>> {
        let element = segment.split(|byte| *byte == self.delimiters.element).nth(number)?.trim_ascii();
        (!element.is_empty() && number > 0).then(|| decode(element))
    }
}

/// UTF-8, or what is not is taken for Latin-1.
pub(crate) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect()),
    }
}

/// What values are read by.
#[derive(Clone, Copy)]
pub struct Syntax {
    pub(crate) delimiters: Delimiters,
    pub(crate) is_utf8: bool,
}

/// Where a segment is.
#[derive(Clone, Copy)]
struct Spot {
    /// With what stands before its name, and with its terminator and line end.
    start: u32,
    text: u32,
    end: u32,
    next: u32,
    name: u8,
}

/// A record: a transaction set from ST to SE, or one segment of the envelope. It holds PHI: no `Debug`.
pub struct Transaction<'a> {
    bytes: &'a [u8],
    envelope: Arc<Envelope>,
    syntax: Syntax,
    spots: Vec<Spot>,
}

/// Finds the segments of one record by the delimiters of its envelope.
///
/// # Errors
/// When it is larger than positions count.
pub fn parse<'a>(bytes: &'a [u8], envelope: &Arc<Envelope>) -> Result<Transaction<'a>, ParseError> {
    if u32::try_from(bytes.len()).is_err() {
        return Err(ParseError::TooLarge);
    }
    let syntax = Syntax { delimiters: *envelope.delimiters(), is_utf8: std::str::from_utf8(bytes).is_ok() };
    let Delimiters { segment, element, .. } = syntax.delimiters;
    let mut spots: Vec<Spot> = Vec::with_capacity(bytes.len() / 32 + 1);
    let (mut start, mut at) = (0, 0);
    while at < bytes.len() {
        let text = at + indent(bytes.get(at..).unwrap_or_default());
        let rest = bytes.get(text..).unwrap_or_default();
        let found = header(rest).map(|(_, end)| end).or_else(|| memchr(segment, rest)).map(|end| text + end);
        let end = found.unwrap_or(bytes.len());
        at = found.map_or(bytes.len(), |end| behind(bytes, end));
        let end = text_end(bytes, text, end, found.is_some(), segment);
        if end <= text {
            // Blanks, or a terminator without a segment: a part of the one before it.
            if let Some(last) = spots.last_mut() {
                last.next = at as u32;
                start = at;
            }
            continue;
        }
        let name = name_of(bytes.get(text..end).unwrap_or_default(), element).len() as u8;
        spots.push(Spot { start: start as u32, text: text as u32, end: end as u32, next: at as u32, name });
        start = at;
    }
    Ok(Transaction { bytes, envelope: Arc::clone(envelope), syntax, spots })
}

impl<'a> Transaction<'a> {
    /// All of it, as it was given.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn delimiters(&self) -> &Delimiters {
        &self.syntax.delimiters
    }

    /// The ISA and GS segments that govern it.
    pub fn envelope(&self) -> &Arc<Envelope> {
        &self.envelope
    }

    /// How many segments there are, texts that are none included.
    pub fn len(&self) -> usize {
        self.spots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.spots.is_empty()
    }

    /// All segments in order, texts that are none included.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = Segment<'_>> + ExactSizeIterator {
        self.spots.iter().enumerate().map(|(index, spot)| self.at(index, *spot))
    }

    /// The segment of this number, from 0.
    pub fn segment(&self, index: usize) -> Option<Segment<'_>> {
        self.spots.get(index).map(|spot| self.at(index, *spot))
    }

    /// The first segment of this name.
    pub fn find(&self, name: impl AsRef<[u8]>) -> Option<Segment<'_>> {
        self.segments().find(|segment| segment.name() == name.as_ref())
    }

    /// ST-1: `837`; nothing for a segment of the envelope.
    pub fn set(&self) -> &[u8] {
        self.st(1).map(|set| set.bytes().trim_ascii()).unwrap_or_default()
    }

    /// ST-2, the number that the set has in its group.
    pub fn control(&self) -> Option<Cow<'_, str>> {
        self.st(2).filter(|control| !control.is_empty()).map(|control| control.text())
    }

    /// The implementation guide that ST-3 names, or GS-8, or in a 4010 claim REF-2.
    pub fn version(&self) -> Option<Cow<'_, str>> {
        let own = self.st(3).filter(|version| !version.is_empty()).map(|version| version.text());
        let told = || self.envelope.group(8).filter(|version| version.contains('X'));
        let referred = || {
            let mut head = self.segments().take(4).filter(|segment| segment.name() == b"REF");
            let version = head.find(|segment| segment.is(1, b"87"))?.element(2)?;
            (!version.is_empty()).then(|| version.text())
        };
        own.or_else(told).or_else(referred).or_else(|| self.envelope.group(8))
    }

    fn st(&self, number: usize) -> Option<Value<'_>> {
        self.segment(0).filter(|segment| segment.name() == b"ST")?.element(number)
    }

    fn at(&self, index: usize, spot: Spot) -> Segment<'_> {
        let text = self.bytes.get(spot.text as usize..spot.end as usize).unwrap_or_default();
        Segment { text, spot, index, syntax: &self.syntax }
    }
}

/// A segment, or a text between terminators that is none. It holds PHI: no `Debug`.
#[derive(Clone, Copy)]
pub struct Segment<'m> {
    text: &'m [u8],
    spot: Spot,
    index: usize,
    syntax: &'m Syntax,
}

impl<'m> Segment<'m> {
    /// Its number in the record, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// `NM1`, as it is spelled in the record; empty for a text that is no segment. It comes from the data.
    pub fn name(&self) -> &'m [u8] {
        self.text.get(..usize::from(self.spot.name)).unwrap_or_default()
    }

    /// Whether this is no segment: something between terminators that begins with no name. All of it is element 1, which is
    /// not parted.
    pub fn is_text(&self) -> bool {
        self.spot.name == 0
    }

    /// From its name to its last element, without terminator.
    pub fn span(&self) -> Range<usize> {
        self.spot.text as usize..self.spot.end as usize
    }

    /// What goes when it is removed: also its terminator and line end, and blanks before it.
    pub fn line_span(&self) -> Range<usize> {
        self.spot.start as usize..self.spot.next as usize
    }

    pub fn bytes(&self) -> &'m [u8] {
        self.text
    }

    /// Its elements in order, also empty ones.
    pub fn elements(&self) -> Elements<'m> {
        let is_header = self.name() == b"ISA";
        let whole = Value {
            bytes: self.text,
            start: self.spot.text as usize,
            is_whole: is_header || self.is_text(),
            syntax: self.syntax,
        };
        let rest = if self.is_text() {
            Some(whole)
        } else {
            let first = usize::from(self.spot.name);
            (self.text.len() > first).then(|| whole.part(first + 1..self.text.len()))
        };
        Elements { rest, number: 0, is_text: self.is_text() }
    }

    /// The element of this number, from 1, when the segment is so long.
    pub fn element(&self, number: usize) -> Option<Value<'m>> {
        self.elements().nth(number.checked_sub(1)?).map(|element| element.value)
    }

    /// Whether an element, or its first component, is this code.
    pub fn is(&self, number: usize, code: &[u8]) -> bool {
        self.code(number) == code
    }

    /// The first component of an element without blanks around it; empty where there is none.
    pub fn code(&self, number: usize) -> &'m [u8] {
        let first = self.element(number).and_then(|element| element.component(1));
        first.map(|code| code.bytes.trim_ascii()).unwrap_or_default()
    }
}

/// An element and its number, from 1. It holds PHI: no `Debug`.
#[derive(Clone, Copy)]
pub struct Element<'m> {
    pub number: usize,
    pub value: Value<'m>,
}

/// The elements of a segment.
#[derive(Clone)]
pub struct Elements<'m> {
    rest: Option<Value<'m>>,
    number: usize,
    is_text: bool,
}

impl<'m> Iterator for Elements<'m> {
    type Item = Element<'m>;

    #[inline]
    fn next(&mut self) -> Option<Element<'m>> {
        let rest = self.rest.take()?;
        self.number += 1;
        let end = if self.is_text { None } else { memchr(rest.syntax.delimiters.element, rest.bytes) };
        let value = rest.part(0..end.unwrap_or(rest.bytes.len()));
        self.rest = end.map(|end| rest.part(end + 1..rest.bytes.len()));
        Some(Element { number: self.number, value })
    }
}

/// An element, repetition or component: bytes and their place. It holds PHI: no `Debug`.
pub type Value<'m> = segments::Value<'m, Syntax>;

/// Parts of a value in order, also empty ones; always at least one.
pub type Split<'m> = segments::Split<'m, Syntax>;

/// A smallest part of an element and where it stands in it; numbers count from 1. It holds PHI: no `Debug`.
#[derive(Clone, Copy)]
pub struct Leaf<'m> {
    pub repetition: usize,
    pub component: usize,
    pub value: Value<'m>,
}

impl<'m> segments::Value<'m, Syntax> {
    /// Its text: UTF-8, or Latin-1 where it is not. Delimiters in it stay; X12 has no escapes.
    pub fn text(&self) -> Cow<'m, str> {
        decode(self.bytes)
    }

    /// All components of all repetitions of an element, also empty ones.
    pub fn leaves(&self) -> impl Iterator<Item = Leaf<'m>> + use<'m> {
        (1..).zip(self.repetitions()).flat_map(|(repetition, value)| {
            (1..).zip(value.components()).map(move |(component, value)| Leaf { repetition, component, value })
        })
    }
}
