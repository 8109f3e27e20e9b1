//! Finds the resources of a document (a single resource, an array, a Bundle) without holding a tree of it.
//!
//! One pass notes where each entry's resource is, and what the document's `urn:` addresses stand for: inside a Bundle a
//! reference may name an entry by its `fullUrl` (R4, bundle.html#references). The resources themselves are checked later,
//! each on its own, so that one bad entry costs one entry.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::definitions::{Definitions, TypeId};
use super::tape::unescape;

/// What the `urn:` addresses of one Bundle stand for. It holds PHI: no `Debug`.
#[derive(Default)]
pub struct Links {
    by_url: HashMap<Box<str>, (TypeId, Box<str>)>,
}

impl Links {
    /// The type and id of the entry that has this `fullUrl`.
    pub fn resolve(&self, url: &str) -> Option<(TypeId, &str)> {
        let (type_id, id) = self.by_url.get(url)?;
        Some((*type_id, id))
    }
}

/// A resource in a document.
pub(super) struct Found {
    pub span: Range<usize>,
    /// The number of the entry in its Bundle or array, from 0.
    pub entry: Option<u64>,
    /// The id that the entry's `fullUrl` gives to a resource that has none of its own.
    pub id: Option<Box<str>>,
    pub links: Option<Arc<Links>>,
    /// An entry without a resource: a deletion, or the answer to one.
    pub empty: bool,
    /// No object, or several of what are none.
    pub odd: bool,
}

/// The document cannot be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    NotJson(usize),
    DuplicateKey,
    NotAnObject,
}

/// So many entries of one document are noted at once; the further ones are looked up when these are done.
const MOST_NOTED: usize = 1 << 14;

/// What a value of a stream is made of.
pub(super) struct Outline {
    /// Its first resources.
    pub found: Vec<Found>,
    pub more: Option<More>,
    pub is_bundle: bool,
    /// Where it ends.
    pub end: usize,
}

/// The entries of a Bundle or array that have not been noted yet.
pub(super) struct More {
    at: usize,
    entry: u64,
    links: Option<Arc<Links>>,
}

/// The resources of the value that begins at `start`.
pub(super) fn resources(definitions: &'static Definitions, bytes: &[u8], start: usize) -> Result<Outline, Broken> {
    let mut scan = Scan { bytes, at: start, closers: Vec::new() };
    scan.white();
    let mut entries = Entries::default();
    let mut is_bundle = false;
    match scan.peek() {
        b'{' => {
            let outer = scan.at;
            is_bundle = scan.bundle(definitions, &mut entries)?;
            if !is_bundle {
                entries = Entries { found: vec![alone(outer..scan.at, None)], more: None };
            }
        }
        b'[' => {
            let mut number = 0;
            scan.items(|scan| {
                scan.item(None, number, &mut Links::default(), &mut entries)?;
                number += 1;
                Ok(())
            })?;
        }
        _ => return Err(Broken::NotAnObject),
    }
    Ok(Outline { found: entries.found, more: entries.more, is_bundle, end: scan.at })
}

/// The next entries of a document that [`resources`] has been over.
pub(super) fn further(definitions: &'static Definitions, bytes: &[u8], more: More) -> (Vec<Found>, Option<More>) {
    let More { at, mut entry, links } = more;
    let mut scan = Scan { bytes, at, closers: Vec::new() };
    let mut entries = Entries::default();
    let in_bundle = links.is_some().then_some(definitions);
    // What is behind these was found to be well formed before.
    while entries.more.is_none() && scan.item(in_bundle, entry, &mut Links::default(), &mut entries).is_ok() {
        entry += 1;
        scan.white();
        if scan.expect(b',').is_err() {
            break;
        }
        scan.white();
    }
    entries.belong_to(links.as_ref());
    (entries.found, entries.more)
}

/// Entries while they are noted.
#[derive(Default)]
struct Entries {
    found: Vec<Found>,
    more: Option<More>,
}

impl Entries {
    fn belong_to(&mut self, links: Option<&Arc<Links>>) {
        for found in &mut self.found {
            found.links = links.cloned();
        }
        if let Some(more) = &mut self.more {
            more.links = links.cloned();
        }
    }

    fn note(&mut self, found: Found, at: usize) {
        if self.more.is_some() {
            return;
        }
        let is_room = self.found.len() < MOST_NOTED;
        match self.found.last_mut() {
            // A run of numbers is one thing that is no resource, and not a million.
            Some(last) if last.odd && found.odd => last.span.end = found.span.end,
            _ if is_room => self.found.push(found),
            _ => self.more = Some(More { at, entry: found.entry.unwrap_or(0), links: None }),
        }
    }
}

fn alone(span: Range<usize>, entry: Option<u64>) -> Found {
    Found { span, entry, id: None, links: None, empty: false, odd: false }
}

/// What the head of a stream says about the whole of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One JSON value a line.
    Lines,
    /// One JSON value a line, the first of them a Bundle that a line reader's limit might not hold.
    LongLines,
    /// Values over many lines.
    Document,
}

/// Looks at the first bytes of a stream.
pub(super) fn shape(head: &[u8]) -> Shape {
    let mut scan = Scan { bytes: head, at: 0, closers: Vec::new() };
    scan.white();
    let start = scan.at;
    if scan.peek() == b'[' {
        return Shape::Document;
    }
    let line_end = memchr::memchr(b'\n', head.get(start..).unwrap_or_default());
    let first_line = line_end.map_or(head, |end| head.get(..start + end).unwrap_or(head));
    if is_value(first_line) || scan.peek() != b'{' {
        return Shape::Lines;
    }
    if line_end.is_some() {
        // Either an object that goes on in the next line, or a line that is no JSON. Where a writer breaks lines tells.
        let behind = head.get(first_line.len()..).unwrap_or_default().trim_ascii_start();
        if !behind.starts_with(b"{") {
            return Shape::Document;
        }
        let second_end = memchr::memchr(b'\n', behind);
        let second = second_end.and_then(|end| behind.get(..end)).unwrap_or(behind);
        let third = behind.get(second.len()..).unwrap_or_default().trim_ascii_start();
        // An object on a line of its own, with another one or nothing behind it, is no part of anything.
        if is_value(second) && (third.is_empty() || third.starts_with(b"{")) {
            return Shape::Lines;
        }
        let broken_at = [b"[", b"{", b","].iter().any(|end| first_line.trim_ascii_end().ends_with(*end));
        return if broken_at { Shape::Document } else { Shape::Lines };
    }
    let mut bundle = false;
    // The head is cut off somewhere, so this ends in an error, which says nothing.
    let _ = scan.members(|scan, key| {
        match scan.text(key).as_str() {
            "resourceType" => bundle |= scan.text_or_skip()?.as_deref() == Some("Bundle"),
            "entry" => bundle = true,
            _ => {
                scan.value()?;
            }
        }
        Ok(())
    });
    if bundle { Shape::LongLines } else { Shape::Lines }
}

/// Whether a text is one value, as far as brackets and strings say.
fn is_value(text: &[u8]) -> bool {
    let mut scan = Scan { bytes: text, at: 0, closers: Vec::new() };
    scan.value().is_ok() && {
        scan.white();
        scan.at == text.len()
    }
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    closers: Vec<u8>,
}

impl Scan<'_> {
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn white(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    fn wrong<T>(&self) -> Result<T, Broken> {
        Err(Broken::NotJson(self.at))
    }

    fn expect(&mut self, byte: u8) -> Result<(), Broken> {
        if self.peek() != byte {
            return self.wrong();
        }
        self.at += 1;
        Ok(())
    }

    /// Behind the closing quote; gives what is between the quotes.
    fn string(&mut self) -> Result<Range<usize>, Broken> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(stop) = memchr::memchr2(b'"', b'\\', rest) else {
                self.at = self.bytes.len();
                return self.wrong();
            };
            self.at += stop + 1;
            if rest.get(stop) == Some(&b'"') {
                return Ok(start..self.at - 1);
            }
            self.at += 1;
        }
    }

    /// Over one value of any depth; only brackets and strings are looked at.
    fn value(&mut self) -> Result<Range<usize>, Broken> {
        self.white();
        let start = self.at;
        self.closers.clear();
        loop {
            match self.peek() {
                b'{' => self.closers.push(b'}'),
                b'[' => self.closers.push(b']'),
                b'"' => {
                    self.string()?;
                    if self.closers.is_empty() {
                        return Ok(start..self.at);
                    }
                    continue;
                }
                closer @ (b'}' | b']') => {
                    if self.closers.pop() != Some(closer) {
                        return self.wrong();
                    }
                    if self.closers.is_empty() {
                        self.at += 1;
                        return Ok(start..self.at);
                    }
                }
                0 => return self.wrong(),
                b',' | b':' if self.closers.is_empty() => return self.wrong(),
                _ if self.closers.is_empty() => {
                    let rest = self.bytes.get(self.at..).unwrap_or_default();
                    let end = rest
                        .iter()
                        .position(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.'));
                    let length = end.unwrap_or(rest.len());
                    self.at += length;
                    return if length == 0 { self.wrong() } else { Ok(start..self.at) };
                }
                _ => {
                    let rest = self.bytes.get(self.at..).unwrap_or_default();
                    let dull = rest.iter().position(|byte| matches!(byte, b'{' | b'}' | b'[' | b']' | b'"' | 0));
                    self.at += dull.unwrap_or(rest.len());
                    continue;
                }
            }
            self.at += 1;
        }
    }

    /// Calls back at each key of the object that begins here; the callback moves over the value.
    fn members(&mut self, mut member: impl FnMut(&mut Self, Range<usize>) -> Result<(), Broken>) -> Result<(), Broken> {
        self.expect(b'{')?;
        self.white();
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.white();
            let key = self.string()?;
            self.white();
            self.expect(b':')?;
            self.white();
            member(self, key)?;
            self.white();
            if self.peek() == b'}' {
                self.at += 1;
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// Calls back at each item of the array that begins here; the callback moves over the item.
    fn items(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Broken>) -> Result<(), Broken> {
        self.expect(b'[')?;
        self.white();
        if self.peek() == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.white();
            item(self)?;
            self.white();
            if self.peek() == b']' {
                self.at += 1;
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    fn text(&self, span: Range<usize>) -> String {
        unescape(self.bytes.get(span).unwrap_or_default())
    }

    /// Reads a string's value, or skips what is none.
    fn text_or_skip(&mut self) -> Result<Option<String>, Broken> {
        if self.peek() != b'"' {
            self.value()?;
            return Ok(None);
        }
        let span = self.string()?;
        Ok(Some(self.text(span)))
    }

    /// Takes an object for a Bundle; false when it says that it is something else.
    fn bundle(&mut self, definitions: &'static Definitions, entries: &mut Entries) -> Result<bool, Broken> {
        let mut resource_type = None;
        let mut seen_entries = false;
        let mut links = Links::default();
        let mut other = false;
        self.members(|scan, key| {
            match scan.text(key).as_str() {
                "resourceType" => {
                    let text = scan.text_or_skip()?;
                    other |= text.as_deref() != Some("Bundle");
                    if resource_type.replace(text).is_some() {
                        return Err(Broken::DuplicateKey);
                    }
                }
                "entry" if scan.peek() == b'[' && !other => {
                    if std::mem::replace(&mut seen_entries, true) {
                        return Err(Broken::DuplicateKey);
                    }
                    let mut number = 0;
                    scan.items(|scan| {
                        scan.item(Some(definitions), number, &mut links, entries)?;
                        number += 1;
                        Ok(())
                    })?;
                }
                "entry" if !other => {
                    // No array of entries: whoever reads it as a resource says what is wrong.
                    let span = scan.value()?;
                    entries.note(alone(span, Some(0)), scan.at);
                }
                _ => {
                    scan.value()?;
                }
            }
            Ok(())
        })?;
        if resource_type.flatten().as_deref() != Some("Bundle") {
            return Ok(false);
        }
        entries.belong_to(Some(&Arc::new(links)));
        Ok(true)
    }

    /// One item of an array, or (`in_bundle`) one entry of a Bundle.
    fn item(
        &mut self,
        in_bundle: Option<&'static Definitions>,
        number: u64,
        links: &mut Links,
        entries: &mut Entries,
    ) -> Result<(), Broken> {
        let at = self.at;
        let found = match (self.peek(), in_bundle) {
            (b'{', Some(definitions)) => self.entry(definitions, number, links)?,
            (first, _) => {
                let span = self.value()?;
                Found { odd: first != b'{', ..alone(span, Some(number)) }
            }
        };
        entries.note(found, at);
        Ok(())
    }

    fn entry(&mut self, definitions: &'static Definitions, number: u64, links: &mut Links) -> Result<Found, Broken> {
        let start = self.at;
        let mut url = None;
        let mut resource = None;
        let mut known = (None, None);
        self.members(|scan, key| {
            match scan.text(key).as_str() {
                "fullUrl" => {
                    if url.replace(scan.text_or_skip()?).is_some() {
                        return Err(Broken::DuplicateKey);
                    }
                }
                "resource" => {
                    let start = scan.at;
                    if scan.peek() == b'{' {
                        known = scan.type_and_id()?;
                    } else {
                        scan.value()?;
                    }
                    if resource.replace(start..scan.at).is_some() {
                        return Err(Broken::DuplicateKey);
                    }
                }
                _ => {
                    scan.value()?;
                }
            }
            Ok(())
        })?;
        let (type_name, own_id) = known;
        let url = url.flatten();
        let url_id = url.as_deref().and_then(id_of_url);
        let type_id = type_name.and_then(|name| definitions.resource_type(&name));
        let id = own_id.as_deref().or(url_id).map(Box::<str>::from);
        if let (Some(url), Some(type_id), Some(id)) = (&url, type_id, &id)
            && url.starts_with("urn:")
        {
            links.by_url.insert(url.as_str().into(), (type_id, id.clone()));
        }
        let empty = resource.is_none();
        Ok(Found {
            span: resource.unwrap_or(start..self.at),
            entry: Some(number),
            id: if own_id.is_some() { None } else { id },
            links: None,
            empty,
            odd: false,
        })
    }

    fn type_and_id(&mut self) -> Result<(Option<String>, Option<String>), Broken> {
        let (mut type_name, mut id) = (None, None);
        self.members(|scan, key| {
            match scan.bytes.get(key) {
                Some(b"resourceType") => type_name = scan.text_or_skip()?,
                Some(b"id") => id = scan.text_or_skip()?,
                _ => {
                    scan.value()?;
                }
            }
            Ok(())
        })?;
        Ok((type_name, id))
    }
}

/// The id that an entry's address gives: the UUID or OID of a `urn:`, the last part of a web address.
fn id_of_url(url: &str) -> Option<&str> {
    let id = url
        .strip_prefix("urn:uuid:")
        .or_else(|| url.strip_prefix("urn:oid:"))
        .or_else(|| Some(url.rsplit_once('/')?.1))?;
    (!id.is_empty()).then_some(id)
}
