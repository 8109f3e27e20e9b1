//! Elements back to bytes, with changes. Lengths are made anew where something changed, in the form that they had.

use std::io::Write as _;

use dicom_core::{Tag, VR};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use thiserror::Error;

use super::document::{Document, Element, Kind};
use super::reader::is_long;

/// What becomes of an element.
#[derive(Clone, Copy)]
pub enum Change<'a> {
    Removed,
    /// Another value, padded already; of a sequence only none at all.
    Value(&'a [u8]),
}

/// An element that the file did not have.
pub struct New {
    pub tag: Tag,
    pub vr: VR,
    pub value: NewValue,
}

pub enum NewValue {
    /// Padded already.
    Bytes(Vec<u8>),
    Items(Vec<Vec<New>>),
}

/// A value that its length field cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a value is too long for its representation")]
pub struct TooLong;

/// Fills a value up to an even length, as its representation wants it.
pub fn pad(value: &mut Vec<u8>, vr: VR) {
    if value.len() % 2 == 1 {
        value.push(if matches!(vr, VR::UI | VR::OB | VR::UN) { 0 } else { b' ' });
    }
}

/// A length that is written when what it counts is.
struct Open {
    element: usize,
    /// Where the length stands, and where what it counts begins.
    length_at: usize,
    from: usize,
    groups: Groups,
    big: bool,
}

/// The group length that stands open.
#[derive(Clone, Copy, Default)]
struct Groups(Option<(u16, usize, bool)>);

impl Groups {
    /// An element of a group begins here: the length of another one is known.
    fn begin(&mut self, group: u16, out: &mut [u8]) {
        if self.0.is_some_and(|(open, ..)| open != group) {
            self.end(out);
        }
    }

    fn end(&mut self, out: &mut [u8]) {
        if let Some((_, from, big)) = self.0.take() {
            let length = (out.len() - from) as u32;
            put_u32(out, from - 4, length, big);
        }
    }
}

fn put_u32(out: &mut [u8], at: usize, number: u32, big: bool) {
    if let Some(field) = out.get_mut(at..at + 4) {
        field.copy_from_slice(&if big { number.to_be_bytes() } else { number.to_le_bytes() });
    }
}

/// Writes the length of a value that begins at `from`.
fn set_length(element: &Element, from: usize, length: usize, out: &mut [u8]) -> Result<(), TooLong> {
    let big = element.is_big;
    if element.is_short {
        let length = u16::try_from(length).map_err(|_| TooLong)?;
        if let Some(field) = out.get_mut(from - 2..from) {
            field.copy_from_slice(&if big { length.to_be_bytes() } else { length.to_le_bytes() });
        }
    } else {
        put_u32(out, from - 4, u32::try_from(length).map_err(|_| TooLong)?, big);
    }
    Ok(())
}

impl Document {
    /// The file with changes: of each element by its number, in their order, and new elements of the data set by tag.
    ///
    /// Without any it comes back byte for byte, save that a deflated data set is deflated anew and that pixel data which
    /// were left out are missing. With some the preamble is zeros, for it may hold anything.
    ///
    /// # Errors
    /// When a value does not fit its length field.
    pub fn write(&self, changes: &[(usize, Change<'_>)], new: &[New]) -> Result<Vec<u8>, TooLong> {
        if changes.is_empty() && new.is_empty() {
            return self.deflated(self.bytes.clone());
        }
        let mut out = Vec::with_capacity(self.bytes.len() + 256);
        let start = self.elements.first().map_or(self.data_set, |first| first.start) as usize;
        if start >= 132 {
            out.resize(128, 0);
        }
        out.extend_from_slice(b"DICM");
        let mut changes = changes.iter().peekable();
        let mut new = new.iter().peekable();
        let mut open: Vec<Open> = Vec::new();
        let mut groups = Groups::default();
        let mut data_set = None;
        let mut at = 0;
        loop {
            while open.last().is_some_and(|last| self.ends(last.element) <= at) {
                if let Some(last) = open.pop() {
                    self.close(last, &mut out);
                }
            }
            if at >= self.meta && data_set.is_none() {
                groups.end(&mut out);
                data_set = Some(out.len());
            }
            let element = self.elements.get(at);
            if open.is_empty() && data_set.is_some() {
                while let Some(more) = new.next_if(|more| element.is_none_or(|element| element.tag > more.tag)) {
                    groups.begin(more.tag.group(), &mut out);
                    self.put_new(more, &mut out)?;
                }
            }
            let Some(element) = element else { break };
            while changes.next_if(|(number, _)| *number < at).is_some() {}
            let change = changes.next_if(|(number, _)| *number == at).map(|(_, change)| *change);
            if matches!(change, Some(Change::Removed)) {
                at = element.next();
                continue;
            }
            let around = open.last_mut().map_or(&mut groups, |last| &mut last.groups);
            around.begin(element.tag.group(), &mut out);
            let big = element.is_big;
            if let Some(Change::Value(value)) = change {
                let header = out.len();
                out.extend_from_slice(self.slice(element.start, element.value));
                out.extend_from_slice(value);
                set_length(element, out.len() - value.len(), value.len(), &mut out)?;
                debug_assert!(out.len() > header, "a header is written");
                at = element.next();
                continue;
            }
            match element.kind {
                Kind::Sequence | Kind::Item => {
                    out.extend_from_slice(self.slice(element.start, element.value));
                    let from = out.len();
                    open.push(Open { element: at, length_at: from - 4, from, groups: Groups::default(), big });
                    at += 1;
                }
                Kind::Value | Kind::Fragments => {
                    out.extend_from_slice(self.slice(element.start, element.stop));
                    if element.tag.element() == 0 && element.length() == 4 {
                        around.0 = Some((element.tag.group(), out.len(), big));
                    }
                    at += 1;
                }
            }
        }
        groups.end(&mut out);
        self.deflated_from(out, data_set.unwrap_or_default())
    }

    fn ends(&self, element: usize) -> usize {
        self.elements.get(element).map_or(0, Element::next)
    }

    fn slice(&self, start: u32, end: u32) -> &[u8] {
        self.bytes.get(start as usize..end as usize).unwrap_or_default()
    }

    fn close(&self, mut open: Open, out: &mut Vec<u8>) {
        open.groups.end(out);
        let Some(element) = self.elements.get(open.element) else { return };
        if element.is_undefined {
            out.extend_from_slice(self.slice(element.end, element.stop));
        } else {
            let length = (out.len() - open.from) as u32;
            put_u32(out, open.length_at, length, open.big);
        }
    }

    fn put_new(&self, new: &New, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let big = self.syntax.big_endian;
        let u16 = |number: u16| if big { number.to_be_bytes() } else { number.to_le_bytes() };
        out.extend_from_slice(&u16(new.tag.group()));
        out.extend_from_slice(&u16(new.tag.element()));
        let mut is_short = false;
        if !self.syntax.implicit {
            out.extend_from_slice(&new.vr.to_bytes());
            is_short = !is_long(new.vr);
            out.extend_from_slice(&[0; 2]);
        }
        if !is_short {
            out.extend_from_slice(&[0; 4]);
        }
        let from = out.len();
        match &new.value {
            NewValue::Bytes(bytes) => out.extend_from_slice(bytes),
            NewValue::Items(items) => {
                for item in items {
                    out.extend_from_slice(&u16(0xFFFE));
                    out.extend_from_slice(&u16(0xE000));
                    out.extend_from_slice(&[0; 4]);
                    let from = out.len();
                    for element in item {
                        self.put_new(element, out)?;
                    }
                    let length = (out.len() - from) as u32;
                    put_u32(out, from - 4, length, big);
                }
            }
        }
        let length = out.len() - from;
        if is_short {
            let length = u16(u16::try_from(length).map_err(|_| TooLong)?);
            if let Some(field) = out.get_mut(from - 2..from) {
                field.copy_from_slice(&length);
            }
        } else {
            put_u32(out, from - 4, u32::try_from(length).map_err(|_| TooLong)?, big);
        }
        Ok(())
    }

    fn deflated(&self, bytes: Vec<u8>) -> Result<Vec<u8>, TooLong> {
        self.deflated_from(bytes, self.data_set as usize)
    }

    fn deflated_from(&self, mut bytes: Vec<u8>, data_set: usize) -> Result<Vec<u8>, TooLong> {
        if !self.syntax.deflated {
            return Ok(bytes);
        }
        let plain = bytes.split_off(data_set.min(bytes.len()));
        // Into memory: nothing of it can fail.
        let mut encoder = DeflateEncoder::new(bytes, Compression::default());
        encoder.write_all(&plain).map_err(|_| TooLong)?;
        let mut bytes = encoder.finish().map_err(|_| TooLong)?;
        // Padded to an even length (PS3.5, A.5).
        if bytes.len() % 2 == 1 {
            bytes.push(0);
        }
        Ok(bytes)
    }
}
