//! Sections, how secret they say they are, and their narrative as text.
//!
//! HL7's Data Segmentation for Privacy (DS4P, R1) marks documents, sections and entries with templates below
//! [`DS4P`] and with codes of confidentiality (N, R, V) and of sensitivity (ETH, PSY, HIV …).

use std::borrow::Cow;
use std::ops::Range;

use super::tape::{Document, Kind, Ns};
use super::types::{NameId, name};

/// The root below which the templates of DS4P lie.
pub const DS4P: &str = "2.16.840.1.113883.3.3251.1.";
/// HL7's code system of confidentiality.
const CONFIDENTIALITY: &str = "2.16.840.1.113883.5.25";

/// A section of a document. It holds PHI: no `Debug`.
pub struct Section<'a> {
    /// The event of its element.
    pub event: usize,
    /// How many sections it lies in.
    pub depth: usize,
    pub code: Option<Cow<'a, str>>,
    pub code_system: Option<Cow<'a, str>>,
    /// Where its title stands, without tags.
    pub title: Option<Range<usize>>,
    /// Its own code of confidentiality.
    pub confidentiality: Option<Cow<'a, str>>,
    /// What holds for it: its own, or that of what it lies in (CDA R2, context conduction).
    pub effective: Option<Cow<'a, str>>,
    /// The roots of its templates.
    pub template_ids: Vec<Cow<'a, str>>,
    /// Whether a template of DS4P is among them.
    pub is_segmented: bool,
}

impl Section<'_> {
    /// Whether it says of itself, or of what it lies in, that it is restricted or very restricted.
    pub fn is_restricted(&self) -> bool {
        self.effective.as_deref().is_some_and(is_restricted)
    }
}

/// A mark of DS4P on an entry. It holds PHI: no `Debug`.
pub struct Mark<'a> {
    /// The event of the observation that marks.
    pub event: usize,
    /// The event of the act that is marked, or of its section or the document when no act is.
    pub marked: usize,
    /// The template's root.
    pub template: Cow<'a, str>,
    /// The code of its value: a confidentiality, sensitivity, obligation, refrain policy or purpose of use.
    pub code: Option<Cow<'a, str>>,
    pub code_system: Option<Cow<'a, str>>,
}

impl Mark<'_> {
    /// Whether it says that what it marks is restricted or very restricted.
    pub fn is_restricted(&self) -> bool {
        self.code_system.as_deref() == Some(CONFIDENTIALITY) && self.code.as_deref().is_some_and(is_restricted)
    }
}

/// Whether a code of confidentiality is R or V.
pub fn is_restricted(code: &str) -> bool {
    matches!(code, "R" | "V")
}

impl Document {
    /// The sections in the order of the document, outer before inner.
    pub fn sections(&self) -> impl Iterator<Item = Section<'_>> + '_ {
        let section = name("section");
        let of_document = self.confidentiality(self.root());
        let mut at = 0;
        // Where the open sections and bodies end, and what holds in them.
        let mut open: Vec<(usize, bool, Option<Cow<'_, str>>)> = Vec::new();
        let body = name("structuredBody");
        std::iter::from_fn(move || {
            while let Some(event) = self.event(at) {
                let index = at;
                at += 1;
                if !event.is_element() || event.ns != Ns::V3 || (event.name != section && event.name != body) {
                    continue;
                }
                while open.last().is_some_and(|(end, ..)| *end <= index) {
                    open.pop();
                }
                let depth = open.iter().filter(|(_, is_section, _)| *is_section).count();
                let own = self.confidentiality(index);
                let around = open.last().map_or(&of_document, |(.., effective)| effective);
                let effective = own.clone().or_else(|| around.clone());
                open.push((event.next as usize, event.name == section, effective.clone()));
                if event.name == section {
                    return Some(self.section(index, depth, own, effective));
                }
            }
            None
        })
    }

    fn section<'a>(
        &'a self,
        event: usize,
        depth: usize,
        confidentiality: Option<Cow<'a, str>>,
        effective: Option<Cow<'a, str>>,
    ) -> Section<'a> {
        let code = self.children_named(event, name("code")).next();
        let title = self.children_named(event, name("title")).next();
        let template_ids = self.template_ids(event);
        let is_segmented = template_ids.iter().any(|root| root.starts_with(DS4P));
        Section {
            event,
            depth,
            code: code.and_then(|code| self.attribute_value(code, name("code"))),
            code_system: code.and_then(|code| self.attribute_value(code, name("codeSystem"))),
            title: title.and_then(|title| self.content_span(title)),
            confidentiality,
            effective,
            template_ids,
            is_segmented,
        }
    }

    /// The marks of DS4P in entries, in the order of the document.
    pub fn marks(&self) -> impl Iterator<Item = Mark<'_>> + '_ {
        let observation = name("observation");
        let carriers = ["organizer", "entryRelationship", "component", "entry"].map(name);
        let mut open: Vec<usize> = Vec::new();
        let mut at = 0;
        std::iter::from_fn(move || {
            while let Some(event) = self.event(at) {
                let index = at;
                at += 1;
                match event.kind {
                    Kind::Open => open.push(index),
                    Kind::Close => {
                        open.pop();
                    }
                    _ => {}
                }
                if event.kind != Kind::Open || event.ns != Ns::V3 || event.name != observation {
                    continue;
                }
                let Some(template) = self.template_ids(index).into_iter().find(|root| root.starts_with(DS4P)) else {
                    continue;
                };
                let value = self.children_named(index, name("value")).next();
                let is_carrier = |event: &&usize| {
                    self.event(**event).is_some_and(|event| event.ns == Ns::V3 && carriers.contains(&event.name))
                };
                let marked = open.iter().rev().skip(1).find(|event| !is_carrier(event)).copied().unwrap_or(self.root());
                return Some(Mark {
                    event: index,
                    marked,
                    template,
                    code: value.and_then(|value| self.attribute_value(value, name("code"))),
                    code_system: value.and_then(|value| self.attribute_value(value, name("codeSystem"))),
                });
            }
            None
        })
    }

    /// The roots of the templates that an element says it follows.
    pub fn template_ids(&self, event: usize) -> Vec<Cow<'_, str>> {
        let root = name("root");
        self.children_named(event, name("templateId")).filter_map(|id| self.attribute_value(id, root)).collect()
    }

    /// The code of confidentiality that stands in a document, body or section.
    pub fn confidentiality(&self, event: usize) -> Option<Cow<'_, str>> {
        let code = self.children_named(event, name("confidentialityCode")).next()?;
        self.attribute_value(code, name("code"))
    }

    /// The text of an element with markup in it, in reading order.
    pub fn narrative(&self, event: usize) -> Narrative {
        let mut narrative = Narrative { text: String::new(), pieces: Vec::new() };
        for index in self.content(event) {
            let Some(piece) = self.event(index) else {
                break;
            };
            match piece.kind {
                Kind::Text | Kind::CData => {
                    let start = narrative.text.len();
                    narrative.text.push_str(&self.piece(piece));
                    narrative.pieces.push((start..narrative.text.len(), index));
                }
                Kind::Open | Kind::Empty | Kind::Close => {
                    narrative.text.push_str(separator(piece.name, piece.kind));
                }
                _ => {}
            }
        }
        narrative
    }
}

/// Text in reading order, and where each part of it stands. It holds PHI: no `Debug`.
#[derive(Clone)]
pub struct Narrative {
    /// The pieces as they are, with a line end between blocks and a tab between cells; inline markup leaves nothing,
    /// so that a word that is half bold is one word.
    pub text: String,
    /// A place in `text` and the event of the text or CDATA section that it comes from.
    pub pieces: Vec<(Range<usize>, usize)>,
}

impl Narrative {
    /// The text as one would print it: white space runs as one space, cells behind tabs, blocks on their lines.
    pub fn plain(&self) -> String {
        let mut marked = String::with_capacity(self.text.len());
        let mut at = 0;
        for (place, _) in &self.pieces {
            marked.push_str(self.text.get(at..place.start).unwrap_or_default());
            let piece = self.text.get(place.clone()).unwrap_or_default();
            marked.extend(piece.chars().map(|c| if c.is_ascii_whitespace() { ' ' } else { c }));
            at = place.end;
        }
        marked.push_str(self.text.get(at..).unwrap_or_default());
        let mut out = String::with_capacity(marked.len());
        for line in marked.split('\n') {
            let cells: Vec<String> = line
                .split('\t')
                .map(|cell| cell.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
                .collect();
            let line = cells.join("\t");
            let line = line.trim_matches('\t');
            if !line.is_empty() {
                if !out.is_empty() {
                    out.push('\n');
                }
                out.push_str(line);
            }
        }
        out
    }
}

/// What lies between what is left and right of a tag.
fn separator(tag: NameId, kind: Kind) -> &'static str {
    use super::types::name_text;

    match (name_text(tag), kind) {
        ("td" | "th", Kind::Close | Kind::Empty) => "\t",
        ("paragraph" | "item" | "list" | "table" | "tr" | "caption" | "br" | "thead" | "tbody" | "tfoot", _) => "\n",
        ("footnote" | "renderMultiMedia", _) => " ",
        _ => "",
    }
}
