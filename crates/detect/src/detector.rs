//! What a caller holds: the options, and one call a text.

use cordon_phi::IdentifierKind;

use crate::lexicon::Lexicon;
use crate::recognise::{self, Context};
use crate::scan::{Gap, scan};
use crate::span::{Span, resolve};
use crate::tagger::{Tagger, Widen, widen};

/// What counts as a finding.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own, set by name")]
pub struct DetectorOptions {
    /// Findings less sure than this are not reported.
    pub min_score: f32,
    /// Every age, and not only those over 89 that 164.514(b)(2)(i)(C) lists.
    pub all_ages: bool,
    /// Years without a month, which Safe Harbor lets stay.
    pub bare_years: bool,
    /// Days of the week without a date.
    pub weekdays: bool,
    /// Hospitals, clinics, insurers, employers by their names.
    pub organizations: bool,
    /// States, which Safe Harbor lets stay.
    pub states: bool,
    /// Numbers and codes that look like identifiers without a label that says so (seven digits, `AB-12345`).
    pub unlabelled_ids: bool,
    /// The title (`Dr.`) belongs to the name.
    pub titles: bool,
    /// The learned tagger for names, places and organisations beside the recognisers.
    pub tagger: bool,
}

impl Default for DetectorOptions {
    fn default() -> Self {
        Self {
            min_score: 0.5,
            all_ages: false,
            bare_years: false,
            weekdays: false,
            organizations: true,
            states: false,
            unlabelled_ids: true,
            titles: false,
            tagger: true,
        }
    }
}

/// Finds the identifiers of 164.514(b)(2)(i) in text. Cheap to share: [`Detector::find`] takes `&self`.
pub struct Detector {
    options: DetectorOptions,
    lexicon: &'static Lexicon,
}

/// A text is read in windows, so that memory stays bounded and what is read is still in the cache.
const WINDOW: usize = 256 << 10;
/// What two windows share: longer than anything that a recogniser finds.
const OVERLAP: usize = 2 << 10;

impl Detector {
    /// Reads the lexicon when it is the first of the program; later ones share it.
    pub fn new(options: DetectorOptions) -> Self {
        Self { options, lexicon: Lexicon::shipped() }
    }

    pub fn options(&self) -> &DetectorOptions {
        &self.options
    }

    /// Appends the findings of `text` to `out`: sorted, disjoint, on character boundaries, none below the least score.
    ///
    /// Takes time in proportion to the length of the text, whatever it holds.
    pub fn find(&self, text: &str, out: &mut Vec<Span>) {
        let from = out.len();
        self.candidates(text, out);
        if self.options.tagger {
            self.tag(text, out);
        }
        resolve(text, out, from, self.options.min_score);
        let how = Widen { titles: self.options.titles, states: self.options.states };
        if how != Widen::default() {
            widen(text, how, out.get_mut(from..).unwrap_or_default());
        }
    }

    /// Appends the findings of the learned tagger.
    fn tag(&self, text: &str, out: &mut Vec<Span>) {
        let from = out.len();
        Tagger::shipped().tag(text, out);
        if !self.options.organizations {
            retain_from(out, from, |span| span.kind != IdentifierKind::Organization);
        }
    }

    /// Appends every finding of the recognisers, overlapping and unsorted as they come, for a caller that adds those of
    /// another finder before it calls [`resolve`].
    pub fn candidates(&self, text: &str, out: &mut Vec<Span>) {
        let first = out.len();
        let mut tokens = Vec::new();
        let mut begin = 0;
        while begin < text.len() {
            let end = cut(text, begin + WINDOW);
            let window = text.get(begin..end).unwrap_or_default();
            tokens.clear();
            scan(window, self.lexicon, &mut tokens);
            if let Some(first) = tokens.first_mut().filter(|_| begin > 0) {
                first.gap = Gap::Space;
            }
            let context = Context { text: window, tokens: &tokens, options: &self.options, lexicon: self.lexicon };
            let from = out.len();
            recognise::all(&context, out);
            for span in out.iter_mut().skip(from) {
                span.start += begin;
                span.end += begin;
            }
            if end == text.len() {
                break;
            }
            begin = cut(text, end.saturating_sub(OVERLAP)).max(begin + 1);
            while !text.is_char_boundary(begin) {
                begin += 1;
            }
        }
        if !self.options.organizations {
            retain_from(out, first, |span| span.kind != IdentifierKind::Organization);
        }
    }
}

/// Keeps what the caller had before `from` whatever it is.
fn retain_from(spans: &mut Vec<Span>, from: usize, keep: impl Fn(&Span) -> bool) {
    let mut at = 0;
    spans.retain(|span| {
        at += 1;
        at <= from || keep(span)
    });
}

/// The last blank before `at` within reach, or the character boundary there.
fn cut(text: &str, at: usize) -> usize {
    if at >= text.len() {
        return text.len();
    }
    let mut at = at;
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let low = at.saturating_sub(512);
    let bytes = text.as_bytes().get(low..at).unwrap_or_default();
    bytes.iter().rposition(u8::is_ascii_whitespace).map_or(at, |place| low + place)
}
