//! A file's bytes and its elements.

use std::borrow::Cow;
use std::ops::Range;

use dicom_core::{Tag, VR};

use super::charset::Charset;

/// How the data set is written (0002,0010).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syntax {
    /// Value representations are not written.
    pub implicit: bool,
    pub big_endian: bool,
    pub deflated: bool,
}

/// What an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Value,
    /// A sequence; its items come next.
    Sequence,
    /// An item of a sequence; its elements come next.
    Item,
    /// Encapsulated pixel data: an offset table and fragments, undefined in length.
    Fragments,
}

/// What became of the pixel data of the data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelData {
    None,
    /// There are some, and they were not read.
    LeftOut,
    Present,
}

/// An element, an item, or a sequence. Elements come in the order of the file, each before what stands in it.
#[derive(Clone, Copy)]
pub struct Element {
    pub tag: Tag,
    /// As written; by the dictionary where it is not written.
    pub vr: VR,
    pub kind: Kind,
    /// How many sequences and items it stands in.
    pub depth: u16,
    pub(super) is_undefined: bool,
    /// The length is a field of two bytes.
    pub(super) is_short: bool,
    /// Numbers have their most significant byte first.
    pub(super) is_big: bool,
    pub(super) start: u32,
    pub(super) value: u32,
    /// Where the value ends, what delimits it excluded.
    pub(super) end: u32,
    /// Where what delimits it ends.
    pub(super) stop: u32,
    pub(super) next: u32,
}

impl Element {
    /// The number of the element behind it and all that stands in it.
    pub fn next(&self) -> usize {
        self.next as usize
    }

    /// Where it stands in the file, with its header; behind the meta group in the inflated data set, where that is deflated.
    pub fn span(&self) -> Range<usize> {
        self.start as usize..self.stop as usize
    }

    pub fn length(&self) -> usize {
        (self.end - self.value) as usize
    }
}

/// A file. It holds PHI: no `Debug`.
pub struct Document {
    pub(super) bytes: Vec<u8>,
    pub(super) elements: Vec<Element>,
    /// Where the data set begins.
    pub(super) data_set: u32,
    /// How many elements are of the meta group.
    pub(super) meta: usize,
    pub(super) syntax: Syntax,
    pub(super) pixel_data: PixelData,
}

impl Document {
    pub fn elements(&self) -> &[Element] {
        &self.elements
    }

    pub fn element(&self, number: usize) -> Option<&Element> {
        self.elements.get(number)
    }

    /// The number of the first element of the data set.
    pub fn first(&self) -> usize {
        self.meta
    }

    pub fn syntax(&self) -> Syntax {
        self.syntax
    }

    pub fn pixel_data(&self) -> PixelData {
        self.pixel_data
    }

    /// What is held in memory.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.elements.len() * size_of::<Element>()
    }

    /// The bytes of an element's value.
    pub fn value(&self, element: &Element) -> &[u8] {
        self.bytes.get(element.value as usize..element.end as usize).unwrap_or_default()
    }

    /// The elements of an item, or of the data set, without what stands deeper.
    pub fn siblings(&self, first: usize, end: usize) -> Siblings<'_> {
        Siblings { document: self, at: first, end }
    }

    /// The elements of the data set.
    pub fn top(&self) -> Siblings<'_> {
        self.siblings(self.meta, self.elements.len())
    }

    /// The first element of the data set with this tag.
    pub fn find(&self, tag: Tag) -> Option<&Element> {
        self.top().find(|(_, element)| element.tag == tag).map(|(_, element)| element)
    }

    /// The character set of the data set, where an item does not say another.
    pub fn charset(&self) -> Charset {
        self.find(Tag(0x0008, 0x0005)).map_or_else(Charset::default, |element| Charset::of(self.value(element)))
    }

    /// The text of an attribute of the data set, without padding; of several values all, with backslashes.
    pub fn text(&self, tag: Tag) -> Option<Cow<'_, str>> {
        let element = self.find(tag).filter(|element| element.kind == Kind::Value)?;
        Some(trimmed(self.charset().decode(self.value(element))))
    }

    /// The value of an attribute of the meta group.
    pub fn meta_text(&self, tag: Tag) -> Option<&str> {
        let element = self.elements.get(..self.meta)?.iter().find(|element| element.tag == tag)?;
        std::str::from_utf8(self.value(element)).ok().map(|text| text.trim_matches(PADDING))
    }
}

const PADDING: [char; 2] = [' ', '\0'];

/// A text without the blanks and zeros around it.
pub fn trimmed(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_matches(PADDING)),
        Cow::Owned(text) => Cow::Owned(text.trim_matches(PADDING).to_owned()),
    }
}

/// Elements one behind the other, with their numbers.
pub struct Siblings<'a> {
    document: &'a Document,
    at: usize,
    end: usize,
}

impl<'a> Iterator for Siblings<'a> {
    type Item = (usize, &'a Element);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let at = self.at;
        let element = self.document.elements.get(at)?;
        self.at = element.next().max(at + 1);
        Some((at, element))
    }
}
