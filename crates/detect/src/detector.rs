//! What a caller holds: the options, and one call a text.

use cordon_phi::IdentifierKind;

use crate::lexicon::Lexicon;
use crate::recognise::{self, Context};
use crate::scan::{Gap, Token, scan};
use crate::span::{Span, resolve};
use crate::tagger::{Session, Tagger, Widen, widen};

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
    /// Takes time in proportion to the length of the text, whatever it holds. For many texts see [`Detector::finder`].
    pub fn find(&self, text: &str, out: &mut Vec<Span>) {
        self.finder().find(text, out);
    }

    /// Working space for one text after another.
    pub fn finder(&self) -> Finder<'_> {
        let tagger = self.options.tagger.then(|| Tagger::shipped().session());
        Finder { detector: self, tagger, tokens: Vec::new(), names: Vec::new() }
    }

    fn wants(&self, kind: IdentifierKind) -> bool {
        self.options.organizations || kind != IdentifierKind::Organization
    }
}

/// Finds in one text after another, faster than [`Detector::find`] where texts are short. What is found in a text does not
/// depend on the texts before it.
pub struct Finder<'d> {
    detector: &'d Detector,
    tagger: Option<Session<'d>>,
    tokens: Vec<Token>,
    /// Where the tagger found names.
    names: Vec<(usize, usize)>,
}

impl Finder<'_> {
    /// As [`Detector::find`].
    pub fn find(&mut self, text: &str, out: &mut Vec<Span>) {
        let from = out.len();
        self.tag(text, out);
        self.recognise(text, out);
        let options = &self.detector.options;
        resolve(text, out, from, options.min_score);
        let how = Widen { titles: options.titles, states: options.states };
        if how != Widen::default() {
            widen(text, how, out.get_mut(from..).unwrap_or_default());
        }
    }

    fn tag(&mut self, text: &str, out: &mut Vec<Span>) {
        self.names.clear();
        let Some(tagger) = &mut self.tagger else { return };
        let from = out.len();
        tagger.tag(text, out);
        for span in out.iter_mut().skip(from) {
            if span.kind == IdentifierKind::Name && span.score >= SURE {
                self.names.push((span.start, span.end));
            }
            // It was taken for the best reading of the whole line: a weak word in its midst does not unmake it.
            span.score = 0.5 + span.score / 2.0;
            if span.kind == IdentifierKind::PostalCode {
                // Digits in an address: where the recognisers know a ZIP code, it is theirs.
                span.score = 0.5;
            }
        }
        retain_from(out, from, |span| self.detector.wants(span.kind));
    }

    /// Appends every finding of the recognisers, overlapping and unsorted as they come.
    fn recognise(&mut self, text: &str, out: &mut Vec<Span>) {
        let (first, lexicon) = (out.len(), self.detector.lexicon);
        let mut begin = 0;
        let mut named = 0;
        while begin < text.len() {
            let end = cut(text, begin + WINDOW);
            let window = text.get(begin..end).unwrap_or_default();
            self.tokens.clear();
            scan(window, lexicon, &mut self.tokens);
            if let Some(first) = self.tokens.first_mut().filter(|_| begin > 0) {
                first.gap = Gap::Space;
            }
            let context = Context { text: window, tokens: &self.tokens, options: &self.detector.options, lexicon };
            named += self.names.iter().skip(named).take_while(|(start, _)| *start < begin).count();
            let names = self.names.iter().skip(named).take_while(|(_, after)| *after <= end);
            let names = names.map(|(start, after)| (start - begin, after - begin));
            let from = out.len();
            recognise::all(&context, names, out);
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
        retain_from(out, first, |span| self.detector.wants(span.kind));
    }
}

/// A name of the tagger that is this sure is looked for in the rest of the text.
const SURE: f32 = 0.8;

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
