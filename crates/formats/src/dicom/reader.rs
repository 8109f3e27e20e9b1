//! From bytes to elements, without recursion and within bounds.

use std::fmt;
use std::io::{self, Read};

use dicom_core::{Tag, VR};
use flate2::read::DeflateDecoder;
use serde::Serialize;
use thiserror::Error;

use super::dictionary::{attribute, show};
use super::document::{Document, Element, Kind, PixelData, Syntax};
use crate::error::FormatError;

/// Bounds of what is read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes of a file that are held in memory; pixel data that are left out do not count.
    pub max_bytes: usize,
    pub max_elements: usize,
    /// How deep sequences and items may stand in each other.
    pub max_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, max_elements: 1 << 19, max_depth: 32 }
    }
}

/// What is done with pixel data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pixels {
    /// The file is refused; nothing behind is read.
    Refuse,
    /// They are passed over.
    LeaveOut,
    Keep,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Problem {
    #[error("no DICOM file: the mark `DICM` is missing behind the preamble")]
    NotPart10,
    #[error("the meta group has no transfer syntax")]
    NoTransferSyntax,
    #[error("a transfer syntax that is not known")]
    UnknownTransferSyntax,
    #[error("the file ends within an element")]
    Truncated,
    #[error("an element is longer than what it stands in")]
    Overrun,
    #[error("sequences are nested deeper than {limit}")]
    TooDeep { limit: usize },
    #[error("there are more than {limit} elements")]
    TooManyElements { limit: usize },
    #[error("the file holds more than {limit} bytes besides pixel data that are left out")]
    TooLong { limit: usize },
    #[error("a value representation that is not known")]
    UnknownVr,
    #[error("an undefined length where none may be")]
    UndefinedLength,
    #[error("something else than an item stands in a sequence")]
    NotAnItem,
    #[error("a delimiter that ends nothing")]
    StrayDelimiter,
    #[error("the deflated data set is corrupt")]
    Inflate,
    #[error(
        "it has pixel data, and the policy does not say that no text is burned into pictures of such a device \
         (`pixel-data`)"
    )]
    PixelData,
}

/// Where a file is wrong, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DicomError {
    #[serde(flatten)]
    pub problem: Problem,
    /// In bytes from the start of the file; in a deflated data set, as if it were not.
    pub offset: u64,
    /// The attribute, where it is known which, and the standard has it.
    #[serde(skip)]
    pub tag: Option<Tag>,
}

impl fmt::Display for DicomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (byte {}", self.problem, self.offset)?;
        if let Some(tag) = self.tag {
            write!(f, ", {}", show(tag))?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for DicomError {}

/// Why there is no document.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error(transparent)]
    Source(#[from] FormatError),
    #[error(transparent)]
    Broken(#[from] DicomError),
}

const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);
const PIXELS: [Tag; 3] = [Tag(0x7FE0, 0x0008), Tag(0x7FE0, 0x0009), Tag(0x7FE0, 0x0010)];
const UNDEFINED: u32 = u32::MAX;
const NO_ELEMENT: u32 = u32::MAX;
/// So much more than asked for is read at once.
const AHEAD: usize = 64 << 10;
/// Inflated, a data set is no longer than its longest element could be; beyond, it is a bomb.
const MOST_INFLATED: u64 = 8 << 30;

/// Reads a file. Where pixel data begin, `pixels` says from what stands before them what is to be done.
///
/// # Errors
/// When the source fails, or the file is none of DICOM, broken, too large or refused.
pub fn read(
    input: impl Read,
    limits: Limits,
    mut pixels: impl FnMut(&Document) -> Pixels,
) -> Result<Document, ReadError> {
    let mut parser = Parser::new(Box::new(input), limits);
    parser.meta()?;
    parser.data_set(&mut pixels)?;
    Ok(parser.document)
}

/// A sequence or an item that is open.
struct Frame {
    element: usize,
    /// Where it ends by its length, and what it stands in.
    bound: Option<usize>,
    is_undefined: bool,
    is_sequence: bool,
    dialect: Dialect,
}

/// How headers are written.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Dialect {
    implicit: bool,
    big: bool,
}

struct Parser<'r> {
    input: Box<dyn Read + 'r>,
    /// Of the source nothing more comes.
    is_dry: bool,
    document: Document,
    at: usize,
    limits: Limits,
    /// Bytes that were passed over.
    passed: u64,
    is_inflated: bool,
}

/// A header.
struct Header {
    tag: Tag,
    vr: VR,
    length: u32,
    is_short: bool,
    is_big: bool,
    value: usize,
}

impl<'r> Parser<'r> {
    fn new(input: Box<dyn Read + 'r>, limits: Limits) -> Self {
        Self {
            input,
            is_dry: false,
            document: Document {
                bytes: Vec::new(),
                elements: Vec::new(),
                data_set: 0,
                meta: 0,
                syntax: Syntax { implicit: false, big_endian: false, deflated: false },
                pixel_data: PixelData::None,
            },
            at: 0,
            // Places are numbers of four bytes.
            limits: Limits { max_bytes: limits.max_bytes.min(u32::MAX as usize - AHEAD), ..limits },
            passed: 0,
            is_inflated: false,
        }
    }

    fn wrong<T>(&self, problem: Problem, at: usize, tag: Option<Tag>) -> Result<T, ReadError> {
        Err(DicomError { problem, offset: at as u64 + self.passed, tag }.into())
    }

    /// Sees to it that so many bytes are there; says whether they are.
    fn has(&mut self, length: usize) -> Result<bool, ReadError> {
        while self.document.bytes.len() < length && !self.is_dry {
            let most = (length - self.document.bytes.len()).clamp(AHEAD, 1 << 20) as u64;
            let before = self.document.bytes.len();
            let got = (&mut self.input).take(most).read_to_end(&mut self.document.bytes);
            self.is_dry = self.came(got)? == 0;
            debug_assert!(self.document.bytes.len() >= before, "reading only adds");
        }
        Ok(self.document.bytes.len() >= length)
    }

    fn came(&self, got: io::Result<usize>) -> Result<usize, ReadError> {
        match got {
            Ok(count) => Ok(count),
            Err(error)
                if self.is_inflated
                    && matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) =>
            {
                self.wrong(Problem::Inflate, self.document.bytes.len(), None)
            }
            Err(error) if self.is_inflated && error.kind() == io::ErrorKind::UnexpectedEof => {
                self.wrong(Problem::Truncated, self.document.bytes.len(), None)
            }
            Err(error) => Err(FormatError::from(error).into()),
        }
    }

    /// So many bytes must be there, within what they stand in and the bounds of memory.
    fn need(&mut self, length: usize, bound: Option<usize>, tag: Option<Tag>) -> Result<(), ReadError> {
        if bound.is_some_and(|bound| length > bound) {
            return self.wrong(Problem::Overrun, self.at, tag);
        }
        if length > self.limits.max_bytes {
            return self.wrong(Problem::TooLong { limit: self.limits.max_bytes }, self.at, tag);
        }
        if self.has(length)? { Ok(()) } else { self.wrong(Problem::Truncated, self.document.bytes.len(), tag) }
    }

    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        let slice = self.document.bytes.get(at..at + N);
        slice.and_then(|slice| slice.try_into().ok()).unwrap_or([0; N])
    }

    fn u16(&self, at: usize, big: bool) -> u16 {
        if big { u16::from_be_bytes(self.bytes(at)) } else { u16::from_le_bytes(self.bytes(at)) }
    }

    fn u32(&self, at: usize, big: bool) -> u32 {
        if big { u32::from_be_bytes(self.bytes(at)) } else { u32::from_le_bytes(self.bytes(at)) }
    }

    fn tag(&self, big: bool) -> Tag {
        Tag(self.u16(self.at, big), self.u16(self.at + 2, big))
    }

    fn meta(&mut self) -> Result<(), ReadError> {
        let start = if self.has(132)? && self.bytes(128) == *b"DICM" {
            132
        } else if self.has(4)? && self.bytes(0) == *b"DICM" {
            4
        } else {
            return self.wrong(Problem::NotPart10, 0, None);
        };
        self.at = start;
        let dialect = Dialect { implicit: false, big: false };
        while self.has(self.at + 2)? && self.u16(self.at, false) == 0x0002 {
            let header = self.header(dialect, None)?;
            if header.length == UNDEFINED {
                return self.wrong(Problem::UndefinedLength, self.at, Some(header.tag));
            }
            let end = header.value + header.length as usize;
            self.need(end, None, Some(header.tag))?;
            self.push(&header, Kind::Value, 0, end)?;
            self.at = end;
        }
        self.document.meta = self.document.elements.len();
        self.document.data_set = self.at as u32;
        let Some(uid) = self.document.meta_text(Tag(0x0002, 0x0010)) else {
            return self.wrong(Problem::NoTransferSyntax, self.at, None);
        };
        let Some(syntax) = syntax_of(uid) else {
            return self.wrong(Problem::UnknownTransferSyntax, self.at, None);
        };
        self.document.syntax = syntax;
        if syntax.deflated {
            let deflated = self.document.bytes.split_off(self.at);
            let rest = std::mem::replace(&mut self.input, Box::new(io::empty()));
            self.input = Box::new(DeflateDecoder::new(io::Cursor::new(deflated).chain(rest)).take(MOST_INFLATED));
            (self.is_dry, self.is_inflated) = (false, true);
        }
        Ok(())
    }

    fn header(&mut self, dialect: Dialect, bound: Option<usize>) -> Result<Header, ReadError> {
        self.need(self.at + 8, bound, None)?;
        let tag = self.tag(dialect.big);
        let named = attribute(tag).map(|_| tag);
        if tag.group() == 0xFFFE || dialect.implicit {
            let vr = attribute(tag).map_or(VR::UN, |attribute| attribute.vr);
            let vr = if is_creator(tag) { VR::LO } else { vr };
            let length = self.u32(self.at + 4, dialect.big);
            return Ok(Header { tag, vr, length, is_short: false, is_big: dialect.big, value: self.at + 8 });
        }
        let Some(vr) = VR::from_binary(self.bytes(self.at + 4)) else {
            return self.wrong(Problem::UnknownVr, self.at + 4, named);
        };
        if !is_long(vr) {
            let length = u32::from(self.u16(self.at + 6, dialect.big));
            return Ok(Header { tag, vr, length, is_short: true, is_big: dialect.big, value: self.at + 8 });
        }
        self.need(self.at + 12, bound, named)?;
        let length = self.u32(self.at + 8, dialect.big);
        Ok(Header { tag, vr, length, is_short: false, is_big: dialect.big, value: self.at + 12 })
    }

    fn push(&mut self, header: &Header, kind: Kind, depth: usize, end: usize) -> Result<usize, ReadError> {
        let number = self.document.elements.len();
        if number >= self.limits.max_elements {
            let problem = Problem::TooManyElements { limit: self.limits.max_elements };
            return self.wrong(problem, self.at, None);
        }
        self.document.elements.push(Element {
            tag: header.tag,
            vr: header.vr,
            kind,
            depth: depth as u16,
            is_undefined: header.length == UNDEFINED,
            is_short: header.is_short,
            is_big: header.is_big,
            start: self.at as u32,
            value: header.value as u32,
            end: end as u32,
            stop: end as u32,
            next: if matches!(kind, Kind::Value | Kind::Fragments) { number as u32 + 1 } else { NO_ELEMENT },
        });
        Ok(number)
    }

    fn close(&mut self, frame: &Frame, end: usize, stop: usize) {
        let next = self.document.elements.len() as u32;
        if let Some(element) = self.document.elements.get_mut(frame.element) {
            (element.end, element.stop, element.next) = (end as u32, stop as u32, next);
        }
    }

    fn data_set(&mut self, pixels: &mut impl FnMut(&Document) -> Pixels) -> Result<(), ReadError> {
        let syntax = self.document.syntax;
        let outermost = Dialect { implicit: syntax.implicit, big: syntax.big_endian };
        let mut frames: Vec<Frame> = Vec::new();
        loop {
            while let Some(frame) = frames.last()
                && !frame.is_undefined
                && frame.bound == Some(self.at)
            {
                if let Some(frame) = frames.pop() {
                    self.close(&frame, self.at, self.at);
                }
            }
            let (bound, dialect, in_sequence) =
                frames.last().map_or((None, outermost, false), |frame| (frame.bound, frame.dialect, frame.is_sequence));
            if frames.is_empty() && !self.has(self.at + 1)? {
                return Ok(());
            }
            let header = self.header(dialect, bound)?;
            let named = attribute(header.tag).map(|_| header.tag);
            if matches!(header.tag, ITEM_END | SEQUENCE_END) {
                let ends_sequence = header.tag == SEQUENCE_END;
                match frames.pop() {
                    Some(frame) if frame.is_undefined && frame.is_sequence == ends_sequence && header.length == 0 => {
                        self.close(&frame, self.at, header.value);
                        self.at = header.value;
                    }
                    _ => return self.wrong(Problem::StrayDelimiter, self.at, None),
                }
                continue;
            }
            if in_sequence != (header.tag == ITEM) {
                let problem = if in_sequence { Problem::NotAnItem } else { Problem::StrayDelimiter };
                return self.wrong(problem, self.at, None);
            }
            let is_undefined = header.length == UNDEFINED;
            let depth = frames.len();
            if in_sequence || is_sequence(&header, dialect) {
                if depth >= self.limits.max_depth {
                    return self.wrong(Problem::TooDeep { limit: self.limits.max_depth }, self.at, named);
                }
                let end = if is_undefined { bound } else { Some(header.value + header.length as usize) };
                if let (Some(end), Some(bound)) = (end, bound)
                    && end > bound
                {
                    return self.wrong(Problem::Overrun, self.at, named);
                }
                // What is of undefined length and unknown representation is written as in implicit VR (PS3.5, 6.2.2).
                let is_unknown = !in_sequence && !dialect.implicit && header.vr == VR::UN;
                let dialect = if is_unknown { Dialect { implicit: true, big: false } } else { dialect };
                let kind = if in_sequence { Kind::Item } else { Kind::Sequence };
                let element = self.push(&header, kind, depth, header.value)?;
                frames.push(Frame { element, bound: end, is_undefined, is_sequence: !in_sequence, dialect });
                self.at = header.value;
                continue;
            }
            if depth == 0 && PIXELS.contains(&header.tag) {
                self.pixel_data(&header, outermost, pixels)?;
                continue;
            }
            if is_undefined {
                if !matches!(header.vr, VR::OB | VR::OW) {
                    return self.wrong(Problem::UndefinedLength, self.at, named);
                }
                let start = self.at;
                let (end, stop) = self.fragments(header.value, bound, dialect)?;
                self.at = start;
                let element = self.push(&header, Kind::Fragments, depth, end)?;
                if let Some(element) = self.document.elements.get_mut(element) {
                    element.stop = stop as u32;
                }
                self.at = stop;
                continue;
            }
            let end = header.value + header.length as usize;
            self.need(end, bound, named)?;
            self.push(&header, Kind::Value, depth, end)?;
            self.at = end;
        }
    }

    fn pixel_data(
        &mut self,
        header: &Header,
        dialect: Dialect,
        pixels: &mut impl FnMut(&Document) -> Pixels,
    ) -> Result<(), ReadError> {
        let (start, is_undefined) = (self.at, header.length == UNDEFINED);
        let what = if header.length == 0 { Pixels::Keep } else { pixels(&self.document) };
        match what {
            Pixels::Refuse => self.wrong(Problem::PixelData, start, Some(header.tag)),
            Pixels::Keep => {
                let (end, stop) = if is_undefined {
                    self.fragments(header.value, None, dialect)?
                } else {
                    let end = header.value + header.length as usize;
                    self.need(end, None, Some(header.tag))?;
                    (end, end)
                };
                self.at = start;
                let kind = if is_undefined { Kind::Fragments } else { Kind::Value };
                let element = self.push(header, kind, 0, end)?;
                if let Some(element) = self.document.elements.get_mut(element) {
                    element.stop = stop as u32;
                }
                self.document.pixel_data = PixelData::Present;
                self.at = stop;
                Ok(())
            }
            Pixels::LeaveOut => {
                if is_undefined {
                    self.pass_over_fragments(start, header.value, dialect)?;
                } else {
                    self.at = header.value;
                    self.pass_over(start, u64::from(header.length), Some(header.tag))?;
                }
                self.forget(start);
                self.document.pixel_data = PixelData::LeftOut;
                Ok(())
            }
        }
    }

    /// Forgets what was read from `start` on; what was read ahead moves up.
    fn forget(&mut self, start: usize) {
        self.document.bytes.drain(start..self.at);
        self.passed += (self.at - start) as u64;
        self.at = start;
    }

    /// Passes over what stands at `at`: what is in memory of it, and then what is not. Of what is left out from `start` on no
    /// more than [`AHEAD`] is held for long.
    fn pass_over(&mut self, start: usize, length: u64, tag: Option<Tag>) -> Result<(), ReadError> {
        let there = (self.document.bytes.len().saturating_sub(self.at) as u64).min(length);
        self.at += there as usize;
        let rest = length - there;
        if rest > 0 || self.at - start > AHEAD {
            self.forget(start);
        }
        let got = io::copy(&mut (&mut self.input).take(rest), &mut io::sink());
        let got = self.came(got.map(|count| count as usize))? as u64;
        self.passed += got;
        if got < rest { self.wrong(Problem::Truncated, self.at, tag) } else { Ok(()) }
    }

    fn pass_over_fragments(&mut self, start: usize, value: usize, dialect: Dialect) -> Result<(), ReadError> {
        self.at = value;
        loop {
            if !self.has(self.at + 8)? {
                return self.wrong(Problem::Truncated, self.at, None);
            }
            let (tag, length) = (self.tag(dialect.big), self.u32(self.at + 4, dialect.big));
            if tag == SEQUENCE_END && length == 0 {
                self.at += 8;
                return Ok(());
            }
            if tag != ITEM || length == UNDEFINED {
                return self.wrong(Problem::NotAnItem, self.at, None);
            }
            self.at += 8;
            self.pass_over(start, u64::from(length), None)?;
        }
    }

    /// Walks over fragments; where they end, without and with their delimiter.
    fn fragments(&mut self, value: usize, bound: Option<usize>, dialect: Dialect) -> Result<(usize, usize), ReadError> {
        self.at = value;
        loop {
            self.need(self.at + 8, bound, None)?;
            let (tag, length) = (self.tag(dialect.big), self.u32(self.at + 4, dialect.big));
            let content = self.at + 8;
            match tag {
                ITEM if length != UNDEFINED => {
                    let end = content + length as usize;
                    self.need(end, bound, None)?;
                    self.at = end;
                }
                SEQUENCE_END if length == 0 => {
                    let end = self.at;
                    self.at = content;
                    return Ok((end, content));
                }
                _ => return self.wrong(Problem::NotAnItem, self.at, None),
            }
        }
    }
}

fn is_sequence(header: &Header, dialect: Dialect) -> bool {
    let is_undefined = header.length == UNDEFINED;
    header.vr == VR::SQ
        || (header.vr == VR::UN && is_undefined)
        || (dialect.implicit && is_undefined && !is_bulk(header))
}

/// Values that may be encapsulated, and are then no sequence.
fn is_bulk(header: &Header) -> bool {
    PIXELS.contains(&header.tag)
}

/// (gggg,0010-00FF) of a private group: whose the block of elements is.
pub(super) fn is_creator(tag: Tag) -> bool {
    tag.group() % 2 == 1 && (0x10..=0xFF).contains(&tag.element())
}

/// Representations whose length is written with four bytes.
pub(super) fn is_long(vr: VR) -> bool {
    use VR::{OB, OD, OF, OL, OV, OW, SQ, SV, UC, UN, UR, UT, UV};
    matches!(vr, OB | OD | OF | OL | OV | OW | SQ | SV | UC | UN | UR | UT | UV)
}

fn syntax_of(uid: &str) -> Option<Syntax> {
    let explicit = Syntax { implicit: false, big_endian: false, deflated: false };
    Some(match uid {
        "1.2.840.10008.1.2" => Syntax { implicit: true, ..explicit },
        "1.2.840.10008.1.2.1" => explicit,
        "1.2.840.10008.1.2.2" => Syntax { big_endian: true, ..explicit },
        // The second and third: JPIP, whose data sets are deflated too.
        "1.2.840.10008.1.2.1.99" | "1.2.840.10008.1.2.4.95" | "1.2.840.10008.1.2.4.205" => {
            Syntax { deflated: true, ..explicit }
        }
        // Whatever pixel data are compressed by, the data set is in explicit VR (PS3.5, A.4).
        other if other.starts_with("1.2.840.10008.1.2.") && super::dictionary::is_standard_uid(other) => explicit,
        _ => return None,
    })
}
