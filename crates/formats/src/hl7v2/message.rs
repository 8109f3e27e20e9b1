//! One message as bytes with positions: segments at once, what is in them when it is asked for.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr2, memchr3};
use thiserror::Error;

use super::charset::{Charset, Width};
use super::dictionary::Version;
use super::escape::unescape;
use crate::segments;

/// Ends an MLLP frame (0x1C 0x0D).
const FRAME_END: u8 = 0x1C;

/// Begins an MLLP frame.
const FRAME_START: u8 = 0x0B;

/// Why bytes are not one message. Positions and kinds only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// Without MSH, FHS or BHS there are no delimiters.
    #[error("no MSH, FHS or BHS segment")]
    NoHeader,
    /// Several messages at once: their delimiters may differ. A [`MessageReader`](super::MessageReader) parts them.
    #[error("a second header segment at byte {offset}")]
    SecondHeader {
        /// Where it begins.
        offset: usize,
    },
    /// Positions are 32 bits wide.
    #[error("the message is larger than 4 GiB")]
    TooLarge,
}

/// The characters that part a message (MSH-1 and MSH-2). What is not declared does not part anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delimiters {
    pub field: u8,
    pub component: Option<u8>,
    pub repetition: Option<u8>,
    pub escape: Option<u8>,
    pub subcomponent: Option<u8>,
    /// Since 2.7: stands at the end of a text that was cut.
    pub truncation: Option<u8>,
}

impl Delimiters {
    /// `|^~\&`, as the standard recommends.
    pub const USUAL: Self = Self {
        field: b'|',
        component: Some(b'^'),
        repetition: Some(b'~'),
        escape: Some(b'\\'),
        subcomponent: Some(b'&'),
        truncation: None,
    };

    /// The delimiters that a line declares, when it is an MSH, FHS or BHS segment.
    ///
    /// An MSH-2 that is empty or begins with a letter or digit declares nothing; then the usual ones are meant. Of
    /// characters that stand in it twice the first use counts.
    pub fn of_header(line: &[u8]) -> Option<Self> {
        let [a, b, c, field, declared @ ..] = line else {
            return None;
        };
        let is_header = matches!(&[*a, *b, *c], b"MSH" | b"FHS" | b"BHS");
        if !is_header || !is_delimiter(*field) {
            return None;
        }
        let declared = declared.split(|byte| byte == field).next().unwrap_or_default();
        if !declared.first().copied().is_some_and(is_delimiter) {
            return Some(Self { field: *field, ..Self::USUAL }.without(*field));
        }
        let at = |index: usize| {
            let byte = declared.get(index).copied().filter(|byte| is_delimiter(*byte))?;
            (!declared.iter().take(index).any(|earlier| *earlier == byte)).then_some(byte)
        };
        Some(Self {
            field: *field,
            component: at(0),
            repetition: at(1),
            escape: at(2),
            subcomponent: at(3),
            truncation: at(4),
        })
    }

    /// A usual delimiter that is the field separator already is none other.
    fn without(self, field: u8) -> Self {
        let other = |delimiter: Option<u8>| delimiter.filter(|byte| *byte != field);
        Self {
            field,
            component: other(self.component),
            repetition: other(self.repetition),
            escape: other(self.escape),
            subcomponent: other(self.subcomponent),
            truncation: other(self.truncation),
        }
    }
}

/// Letters, digits, blanks, line ends and frame characters part nothing; nor do bytes that are a part of a character.
fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii() && !byte.is_ascii_alphanumeric() && !matches!(byte, b' ' | b'\r' | b'\n' | FRAME_START | FRAME_END)
}

/// What values are read by.
#[derive(Clone, Copy)]
pub struct Syntax {
    pub(crate) delimiters: Delimiters,
    pub(crate) charset: Charset,
    pub(crate) width: Width,
}

impl Syntax {
    pub(crate) fn new(delimiters: Delimiters, charset: Charset) -> Self {
        Self { delimiters, charset, width: charset.width() }
    }
}

/// A line: where it begins, where its text begins and ends, where the next one begins.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    pub(crate) start: usize,
    pub(crate) text: usize,
    pub(crate) end: usize,
    pub(crate) next: usize,
}

/// Where the text of a line begins behind byte-order mark, frame character and blanks.
pub(crate) fn indent(line: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match line.get(at..).unwrap_or_default() {
            [0xEF, 0xBB, 0xBF, ..] => at += 3,
            [b' ' | b'\t' | FRAME_START, ..] => at += 1,
            _ => return at,
        }
    }
}

/// Where the first line of these bytes ends, and the next one begins: behind CR, LF or CRLF. The end of a frame is an end of
/// a line too, but no part of it.
pub(crate) fn line_end(bytes: &[u8]) -> (usize, usize) {
    let Some(end) = memchr3(b'\r', b'\n', FRAME_END, bytes) else {
        return (bytes.len(), bytes.len());
    };
    match bytes.get(end..).unwrap_or_default() {
        [b'\r', b'\n', ..] => (end, end + 2),
        _ => (end, end + 1),
    }
}

struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for Lines<'_> {
    type Item = Line;

    #[inline]
    fn next(&mut self) -> Option<Line> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let (end, next) = line_end(rest);
        let start = self.at;
        let text = indent(rest.get(..end).unwrap_or_default());
        self.at += next;
        Some(Line { start, text: start + text, end: start + end, next: self.at })
    }
}

/// Where a segment is.
#[derive(Clone, Copy)]
struct Place {
    /// Its line, with what stands before its name and its line end.
    line: u32,
    text: u32,
    end: u32,
    next: u32,
    is_text: bool,
}

/// A message. It holds PHI: no `Debug`.
pub struct Message<'a> {
    bytes: &'a [u8],
    syntax: Syntax,
    places: Vec<Place>,
    /// Which segment declares the delimiters; none in a trailer that is read by its header's.
    header: Option<usize>,
}

/// Finds the segments of one message.
///
/// # Errors
/// Without a header, or with more than one.
pub fn parse(bytes: &[u8]) -> Result<Message<'_>, ParseError> {
    let (header, delimiters) = Lines { bytes, at: 0 }
        .find_map(|line| Some((line, Delimiters::of_header(bytes.get(line.text..line.end)?)?)))
        .ok_or(ParseError::NoHeader)?;
    let mut message = Message::read(bytes, Syntax::new(delimiters, Charset::default()), Some(header.text))?;
    message.syntax = Syntax::new(delimiters, message.declared_charset());
    Ok(message)
}

impl<'a> Message<'a> {
    /// Finds segments by delimiters declared elsewhere, as those of a BTS segment are in its BHS.
    pub(crate) fn read(bytes: &'a [u8], syntax: Syntax, header_at: Option<usize>) -> Result<Self, ParseError> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(ParseError::TooLarge);
        }
        let mut places = Vec::with_capacity(16);
        let mut header = None;
        for line in (Lines { bytes, at: 0 }) {
            let text = bytes.get(line.text..line.end).unwrap_or_default();
            if text.trim_ascii().is_empty() {
                continue;
            }
            if matches!(text.first(), Some(b'M' | b'F' | b'B')) && Delimiters::of_header(text).is_some() {
                if header_at != Some(line.text) {
                    return Err(ParseError::SecondHeader { offset: line.text });
                }
                header = Some(places.len());
            }
            let ends_frame = bytes.get(line.end) == Some(&FRAME_END);
            places.push(Place {
                line: line.start as u32,
                text: line.text as u32,
                end: line.end as u32,
                next: if ends_frame { line.end } else { line.next } as u32,
                is_text: !is_segment(text, syntax.delimiters.field),
            });
        }
        Ok(Self { bytes, syntax, places, header })
    }

    fn declared_charset(&self) -> Charset {
        let declared = self.header().filter(|header| header.name() == b"MSH").and_then(|msh| msh.field(18));
        let names = declared.iter().flat_map(Value::repetitions).map(|name| name.bytes);
        Charset::of_message(names, self.bytes)
    }

    /// All of it, as it was given.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn delimiters(&self) -> &Delimiters {
        &self.syntax.delimiters
    }

    pub fn charset(&self) -> Charset {
        self.syntax.charset
    }

    /// How many segments there are, lines that are none included.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// All segments in the order of the message, lines that are none included.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = Segment<'_>> + ExactSizeIterator {
        self.places.iter().enumerate().map(|(index, place)| self.at(index, *place))
    }

    /// The segment of this number, from 0.
    pub fn segment(&self, index: usize) -> Option<Segment<'_>> {
        self.places.get(index).map(|place| self.at(index, *place))
    }

    /// The first segment of this name.
    pub fn find(&self, name: &[u8]) -> Option<Segment<'_>> {
        self.segments().find(|segment| segment.name() == name)
    }

    /// The segment that declares the delimiters: MSH, FHS or BHS.
    pub fn header(&self) -> Option<Segment<'_>> {
        self.segment(self.header?)
    }

    /// What MSH-12 says; the newest version where it says nothing that is one.
    pub fn version(&self) -> Version {
        let declared = self.header().and_then(|header| header.field(12)).and_then(|field| field.component(1));
        declared.map_or(Version::NEWEST, |version| Version::of(version.bytes))
    }

    fn at(&self, index: usize, place: Place) -> Segment<'_> {
        let text = self.bytes.get(place.text as usize..place.end as usize).unwrap_or_default();
        Segment { text, place, index, is_header: self.header == Some(index), syntax: &self.syntax }
    }
}

/// Three letters or digits, and then a field or the end.
fn is_segment(text: &[u8], field: u8) -> bool {
    match text {
        [a, b, c, rest @ ..] => {
            [a, b, c].iter().all(|byte| byte.is_ascii_alphanumeric())
                && rest.first().is_none_or(|byte| *byte == field || rest.trim_ascii().is_empty())
        }
        _ => false,
    }
}

/// A segment, or a line that is none. It holds PHI: no `Debug`.
#[derive(Clone, Copy)]
pub struct Segment<'m> {
    text: &'m [u8],
    place: Place,
    index: usize,
    is_header: bool,
    syntax: &'m Syntax,
}

impl<'m> Segment<'m> {
    /// Its number in the message, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// `PID`, as it is spelled in the message; empty for a line that is no segment. It comes from the data: a line of
    /// three letters has a name as well.
    pub fn name(&self) -> &'m [u8] {
        if self.place.is_text { &[] } else { self.text.get(..3).unwrap_or_default() }
    }

    /// Whether this line is no segment: a value that was broken by a line end, or something between segments. All of it is
    /// field 1, which is not parted; a new text for it has its delimiters escaped.
    pub fn is_text(&self) -> bool {
        self.place.is_text
    }

    /// From its name to its last field, without line end.
    pub fn span(&self) -> Range<usize> {
        self.place.text as usize..self.place.end as usize
    }

    /// What goes when it is removed: its line and the line end, but for the character that ends a frame.
    pub fn line_span(&self) -> Range<usize> {
        self.place.line as usize..self.place.next as usize
    }

    pub fn bytes(&self) -> &'m [u8] {
        self.text
    }

    /// Its fields in order, also empty ones. MSH-1 is the field separator itself, MSH-2 is not parted.
    pub fn fields(&self) -> Fields<'m> {
        let whole = Value { bytes: self.text, start: self.place.text as usize, is_whole: true, syntax: self.syntax };
        let rest = if self.place.is_text {
            Some(whole)
        } else {
            // A name and nothing but blanks is a segment without fields.
            let has_fields = self.text.get(3) == Some(&self.syntax.delimiters.field);
            has_fields.then(|| whole.part(if self.is_header { 3 } else { 4 }..self.text.len()))
        };
        Fields { rest, number: 0, is_text: self.place.is_text, is_header: self.is_header }
    }

    /// The field of this number, from 1, when the segment is so long.
    pub fn field(&self, number: usize) -> Option<Value<'m>> {
        self.fields().nth(number.checked_sub(1)?).map(|field| field.value)
    }
}

/// A field and its number, from 1. It holds PHI: no `Debug`.
#[derive(Clone, Copy)]
pub struct Field<'m> {
    pub number: usize,
    pub value: Value<'m>,
}

/// The fields of a segment.
#[derive(Clone)]
pub struct Fields<'m> {
    rest: Option<Value<'m>>,
    number: usize,
    is_text: bool,
    is_header: bool,
}

impl<'m> Iterator for Fields<'m> {
    type Item = Field<'m>;

    #[inline]
    fn next(&mut self) -> Option<Field<'m>> {
        let rest = self.rest.take()?;
        self.number += 1;
        let mut value = rest;
        if !self.is_text {
            let separator = rest.syntax.delimiters.field;
            if self.is_header && self.number == 1 {
                value = rest.part(0..1);
                self.rest = Some(rest.part(1..rest.bytes.len()));
            } else {
                let end = rest.syntax.width.find(separator, rest.bytes);
                value = rest.part(0..end.unwrap_or(rest.bytes.len()));
                self.rest = end.map(|end| rest.part(end + 1..rest.bytes.len()));
            }
            value.is_whole = self.is_header && self.number <= 2;
        }
        Some(Field { number: self.number, value })
    }
}

/// A field, repetition, component or sub-component: bytes and their place. It holds PHI: no `Debug`.
pub type Value<'m> = segments::Value<'m, Syntax>;

/// Parts of a value in order, also empty ones; always at least one.
pub type Split<'m> = segments::Split<'m, Syntax>;

/// A smallest part of a field and where it stands in it; numbers count from 1. It holds PHI: no `Debug`.
#[derive(Clone, Copy)]
pub struct Leaf<'m> {
    pub repetition: usize,
    pub component: usize,
    pub subcomponent: usize,
    pub value: Value<'m>,
}

impl<'m> segments::Value<'m, Syntax> {
    /// HL7's null, two quotes: what the receiver knows is to be deleted.
    pub fn is_null(&self) -> bool {
        self.bytes == b"\"\""
    }

    /// Its text: decoded and unescaped. Delimiters in it stay.
    pub fn text(&self) -> Cow<'m, str> {
        let delimiters = &self.syntax.delimiters;
        match self.syntax.charset.decode(self.bytes) {
            Cow::Borrowed(text) => unescape(text, delimiters, self.syntax.charset),
            Cow::Owned(text) => match unescape(&text, delimiters, self.syntax.charset) {
                Cow::Borrowed(_) => Cow::Owned(text),
                Cow::Owned(meant) => Cow::Owned(meant),
            },
        }
    }

    /// Its text decoded, with escape sequences as they are: what [`Edits::replace_raw`](super::Edits::replace_raw) takes.
    pub fn raw_text(&self) -> Cow<'m, str> {
        self.syntax.charset.decode(self.bytes)
    }

    /// The sub-components of a component.
    pub fn subcomponents(&self) -> Split<'m> {
        self.split(self.syntax.delimiters.subcomponent)
    }

    /// The sub-component of this number, from 1.
    pub fn subcomponent(&self, number: usize) -> Option<Self> {
        self.subcomponents().nth(number.checked_sub(1)?)
    }

    /// All sub-components of all components of all repetitions of a field, also empty ones.
    pub fn leaves(&self) -> impl Iterator<Item = Leaf<'m>> + use<'m> {
        (1..).zip(self.repetitions()).flat_map(|(repetition, value)| {
            (1..).zip(value.components()).flat_map(move |(component, value)| {
                (1..).zip(value.subcomponents()).map(move |(subcomponent, value)| Leaf {
                    repetition,
                    component,
                    subcomponent,
                    value,
                })
            })
        })
    }
}

/// Whether bytes hold a line end.
pub(crate) fn has_line_end(bytes: &[u8]) -> bool {
    memchr2(b'\r', b'\n', bytes).is_some()
}
