//! Changes to a document, written into its text at their places; everything else stays byte for byte.

use std::cmp::Reverse;
use std::ops::Range;

use thiserror::Error;

use super::tape::{Attribute, Document, Kind, Ns, is_allowed};
use super::types::{name, stays_when_masked};

/// Changes that are to be made, in any order. It holds what replaces PHI and may be PHI: no `Debug`.
#[derive(Clone, Default)]
pub struct Edits {
    list: Vec<Edit>,
}

#[derive(Clone)]
struct Edit {
    start: usize,
    end: usize,
    text: String,
}

/// Changes that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EditError {
    /// Two changes at one place, neither of which contains the other.
    #[error("two changes at byte {at} of the document contradict each other")]
    Overlap { at: usize },
    /// A place that is not one of the text.
    #[error("a change at byte {at}, which is no place of the document")]
    NoPlace { at: usize },
}

impl Edits {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Writes markup, as it is, in the place of a span.
    pub fn replace(&mut self, span: Range<usize>, markup: String) {
        self.list.push(Edit { start: span.start, end: span.end, text: markup });
    }

    /// Gives an attribute another value.
    pub fn set_attribute(&mut self, document: &Document, attribute: &Attribute, value: &str) {
        let span = attribute.value();
        let quote = document.raw(span.start.saturating_sub(1)..span.start);
        self.replace(span, escape_attribute(value, if quote == "'" { '\'' } else { '"' }));
    }

    /// Takes an attribute away, with the white space before it.
    pub fn remove_attribute(&mut self, attribute: &Attribute) {
        self.replace(attribute.span(), String::new());
    }

    /// Adds an attribute to an element that has none of this name.
    pub fn add_attribute(&mut self, document: &Document, event: usize, name: &str, value: &str) {
        if let Some(element) = document.event(event).filter(|element| element.is_element()) {
            let at = element.inner().end;
            self.replace(at..at, format!(" {name}=\"{}\"", escape_attribute(value, '"')));
        }
    }

    /// Replaces one text or CDATA section.
    pub fn set_piece(&mut self, document: &Document, event: usize, text: &str) {
        match document.event(event) {
            Some(piece) if matches!(piece.kind, Kind::Text | Kind::CData) => {
                self.replace(piece.span(), escape_text(text));
            }
            _ => {}
        }
    }

    /// Replaces all that stands in an element with a text.
    pub fn set_content(&mut self, document: &Document, event: usize, text: &str) {
        let Some(element) = document.event(event) else {
            return;
        };
        if let Some(content) = document.content_span(event) {
            if !content.is_empty() || !text.is_empty() {
                self.replace(content, escape_text(text));
            }
        } else if element.kind == Kind::Empty && !text.is_empty() {
            let end = element.end as usize;
            self.replace(end - 2..end, format!(">{}</{}>", escape_text(text), document.raw(element.inner())));
        }
    }

    /// Leaves nothing in an element.
    pub fn empty(&mut self, document: &Document, event: usize) {
        self.set_content(document, event, "");
    }

    /// Takes an element, comment or processing instruction away whole.
    pub fn remove(&mut self, document: &Document, event: usize) {
        let Some(piece) = document.event(event) else {
            return;
        };
        let span = document.element_span(event).unwrap_or(piece.span());
        self.replace(span, String::new());
    }

    /// Leaves of an element that it was there and is not said: `nullFlavor="MSK"`, no value, nothing in it.
    ///
    /// Not for narrative, where the schema has no `nullFlavor`, nor for elements that only hold others.
    pub fn mask(&mut self, document: &Document, event: usize) {
        let null_flavor = name("nullFlavor");
        let mut has_one = false;
        for attribute in document.attributes(event) {
            if attribute.ns == Ns::None && attribute.name == null_flavor {
                has_one = true;
                self.set_attribute(document, attribute, "MSK");
            } else if !stays_when_masked(attribute.ns, attribute.name) {
                self.remove_attribute(attribute);
            }
        }
        if !has_one {
            self.add_attribute(document, event, "nullFlavor", "MSK");
        }
        self.empty(document, event);
    }

    /// The text with all changes made. A change within a place that is replaced whole is dropped.
    ///
    /// # Errors
    /// When two changes overlap otherwise, or replace one place with different texts.
    pub fn apply(mut self, text: &str) -> Result<String, EditError> {
        // Insertions come before what is replaced at the same place, and outer changes before inner ones.
        self.list.sort_by_key(|edit| (edit.start, edit.start != edit.end, Reverse(edit.end)));
        let added: usize = self.list.iter().map(|edit| edit.text.len()).sum();
        let mut out = String::with_capacity(text.len() + added);
        let mut at = 0;
        let mut last: Option<&Edit> = None;
        for edit in &self.list {
            if let Some(last) = last
                && edit.start < at
            {
                let is_same = (last.start, last.end) == (edit.start, edit.end);
                if edit.end > at || (is_same && last.text != edit.text) {
                    return Err(EditError::Overlap { at: edit.start });
                }
                continue;
            }
            let kept = text.get(at..edit.start).filter(|_| text.is_char_boundary(edit.end));
            out.push_str(kept.ok_or(EditError::NoPlace { at: edit.start })?);
            out.push_str(&edit.text);
            at = edit.end;
            last = Some(edit);
        }
        out.push_str(text.get(at..).unwrap_or_default());
        Ok(out)
    }
}

/// Text as an element's content. What XML forbids becomes U+FFFD.
pub fn escape_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c if is_allowed(c) => out.push(c),
            _ => out.push(char::REPLACEMENT_CHARACTER),
        }
    }
    out
}

/// Text as an attribute's value between such quotes. White space other than spaces is written so that it stays.
pub fn escape_attribute(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' if quote == '"' => out.push_str("&quot;"),
            '\'' if quote == '\'' => out.push_str("&apos;"),
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            c if is_allowed(c) => out.push(c),
            _ => out.push(char::REPLACEMENT_CHARACTER),
        }
    }
    out
}
