//! Names, places and organisations in clinical text, by a linear-chain conditional random field.
//!
//! Recognisers find what has a form: numbers, dates, addresses. This finds what has none. It reads the text
//! once, weighs for each word what it looks like, what public lists say of it and what stands around it, and
//! takes the best sequence of labels. Weights and hashed lists are in the program (`docs/models/tagger.md`
//! says how they were made and where they fail); `cordon-trainer` makes them.
//!
//! Titles ("Dr.", "Mrs.") and credentials are not part of a name here, nor is a state part of a place: Safe
//! Harbor lets both stay. [`widen`] takes them in for callers who want them gone.
//!
//! ```
//! use cordon_detect::tagger::Tagger;
//!
//! let text = "Mr. Okafor from Duluth has Parkinson disease; Foley removed at Mercy Hospital.";
//! let mut spans = Vec::new();
//! Tagger::shipped().tag(text, &mut spans);
//! let found: Vec<_> = spans.iter().filter_map(|span| text.get(span.start..span.end)).collect();
//! assert_eq!(found, ["Okafor", "Duluth", "Mercy Hospital"]);
//! ```

pub mod decode;
pub mod features;
pub mod lexicon;
pub mod model;
pub mod tokens;
mod widen;

use std::sync::LazyLock;

use crate::Span;
use cordon_phi::IdentifierKind;
use decode::label;
use features::{Around, Brief, CONTEXT_ROWS, Place, REACH, Word, context_rows, places, word_rows};
use lexicon::flag;
use model::{LANES, Model, ModelError, Row, SCALE, Scores};
use tokens::{Token, TokenKind, Tokens};
pub use widen::{Widen, widen};

/// The name of this finder in [`Span::source`].
pub const SOURCE: &str = "tagger";

/// The model that ships, as a file.
pub const SHIPPED: &[u8] = include_bytes!("model.bin");

/// Tokens that are labelled together. A stretch ends at an empty line when it can, at a line end when it must
/// soon, anywhere at the last.
const STRETCH: usize = 512;
const SOON: usize = 384;
const EARLY: usize = 48;

static TAGGER: LazyLock<Tagger> = LazyLock::new(|| {
    // A test reads the shipped file; were it damaged all the same, nothing would be found rather than a panic,
    // and `is_empty` says so.
    Tagger::read(SHIPPED).unwrap_or_else(|_| Tagger { model: Model::empty() })
});

pub struct Tagger {
    model: Model,
}

/// A word of the cache: what it is, and what it adds to the scores of the tokens around it.
#[derive(Clone, Copy)]
struct Known {
    hash: u64,
    brief: Brief,
    key: u32,
    flags: u32,
    adds: [Scores; 2 * REACH + 1],
}

const UNKNOWN: Known = Known { hash: 0, brief: Brief::EDGE, key: 0, flags: 0, adds: [[0; LANES]; 2 * REACH + 1] };

/// Working space of one text after another; its size is bounded whatever the texts. Of a text it keeps hashes of words.
struct Desk {
    /// Bytes of all texts so far.
    seen: usize,
    cache: Vec<Known>,
    tokens: Vec<Token>,
    words: Vec<(Brief, u32)>,
    flags: Vec<u32>,
    places: Vec<Place>,
    scores: Vec<Scores>,
    back: Vec<[i16; LANES]>,
    labels: Vec<u8>,
    letters: Vec<u8>,
}

impl Desk {
    fn new() -> Self {
        Self {
            seen: 0,
            cache: Vec::new(),
            tokens: Vec::new(),
            words: Vec::new(),
            flags: Vec::new(),
            places: Vec::new(),
            scores: Vec::new(),
            back: Vec::new(),
            labels: Vec::new(),
            letters: Vec::new(),
        }
    }

    /// Makes room for what `len` more bytes bring. A cache that grows starts anew, which happens a few times.
    fn expect(&mut self, len: usize) {
        self.seen = self.seen.saturating_add(len);
        let slots = (self.seen / 12).clamp(16, MOST_SLOTS).next_power_of_two();
        if self.cache.len() < slots {
            let slots = if self.cache.is_empty() { slots } else { (slots * 4).min(MOST_SLOTS) };
            self.cache.clear();
            self.cache.resize(slots, UNKNOWN);
        }
    }
}

/// Words that are remembered at the most: a megabyte.
const MOST_SLOTS: usize = 8192;

/// Tags one text after another, and remembers words between them: short texts take a third of the time.
pub struct Session<'t> {
    tagger: &'t Tagger,
    desk: Desk,
}

impl Session<'_> {
    /// As [`Tagger::tag`]; what is found in a text does not depend on the texts before it.
    pub fn tag(&mut self, text: &str, out: &mut Vec<Span>) {
        if !self.tagger.is_empty() && !text.is_empty() {
            self.tagger.tag_on(&mut self.desk, text, out);
        }
    }
}

impl Tagger {
    /// The tagger whose weights are in the program.
    pub fn shipped() -> &'static Self {
        &TAGGER
    }

    pub fn read(file: &[u8]) -> Result<Self, ModelError> {
        Model::read(file).map(|model| Self { model })
    }

    /// Whether there is no model: nothing can be found.
    pub fn is_empty(&self) -> bool {
        self.model.rows.is_empty()
    }

    /// What the lists say of a word as [`features::fold`] gives it, a set of [`lexicon::flag`]; 0 for a word on no list.
    pub fn flags(&self, folded: &[u8]) -> u32 {
        self.model.lexicon.flags(features::key(folded))
    }

    /// Appends what it finds in `text` to `out`: spans in order, disjoint, on character boundaries. Time is
    /// linear in the text and memory bounded, apart from `out`.
    pub fn tag(&self, text: &str, out: &mut Vec<Span>) {
        self.session().tag(text, out);
    }

    pub fn session(&self) -> Session<'_> {
        Session { tagger: self, desk: Desk::new() }
    }

    fn tag_on(&self, desk: &mut Desk, text: &str, out: &mut Vec<Span>) {
        desk.expect(text.len());
        let mut tokens = Tokens::new(text);
        loop {
            desk.tokens.clear();
            for token in tokens.by_ref() {
                desk.tokens.push(token);
                let count = desk.tokens.len();
                let ends = token.kind == TokenKind::Newline && (count >= SOON || token.blank && count >= EARLY);
                if ends || count >= STRETCH {
                    break;
                }
            }
            if desk.tokens.is_empty() {
                return;
            }
            self.label(text, desk);
            collect(text, desk, out);
        }
    }

    /// Labels the tokens on the desk.
    fn label(&self, text: &str, desk: &mut Desk) {
        let count = desk.tokens.len();
        desk.words.clear();
        desk.flags.clear();
        desk.scores.clear();
        desk.scores.resize(count, [0; LANES]);
        let mask = desk.cache.len() - 1;
        for (at, token) in desk.tokens.iter().enumerate() {
            let Some(word) = text.get(token.start..token.end) else { continue };
            let hash = features::hash(word.as_bytes()).wrapping_add(token.kind as u64) | 1;
            let slot = (hash >> 20) as usize & mask;
            let Some(known) = desk.cache.get_mut(slot) else { continue };
            if known.hash != hash {
                *known = self.know(hash, word, token.kind, &mut desk.letters);
            }
            desk.words.push((known.brief, known.key));
            desk.flags.push(known.flags);
            // `adds[REACH + d]` speaks about the token d places before.
            let from = at.saturating_sub(REACH);
            let skipped = from + REACH - at;
            let scores = desk.scores.iter_mut().skip(from);
            for (score, adds) in scores.zip(known.adds.iter().rev().skip(skipped)) {
                *score = decode::both(*score, adds);
            }
        }
        places(&desk.tokens, &desk.words, &self.model.lexicon, &mut desk.places);

        let mut around = Around { words: [Brief::EDGE; 7] };
        let mut ahead = desk.words.iter().map(|(brief, _)| *brief);
        for slot in around.words.iter_mut().skip(4) {
            *slot = ahead.next().unwrap_or(Brief::EDGE);
        }
        for (score, place) in desk.scores.iter_mut().zip(&desk.places) {
            around.words.rotate_left(1);
            around.words[6] = ahead.next().unwrap_or(Brief::EDGE);
            let (mut rows, mut count) = ([0u32; CONTEXT_ROWS], 0);
            context_rows(&around, place, |row| {
                if let Some(slot) = rows.get_mut(count) {
                    *slot = row;
                }
                count += 1;
            });
            *score = self.sum(*score, &rows);
        }
        decode::viterbi(&self.model, &desk.scores, &mut desk.back, &mut desk.labels);
    }

    fn know(&self, hash: u64, text: &str, kind: TokenKind, letters: &mut Vec<u8>) -> Known {
        let word = Word::new(text, kind, &self.model.lexicon, letters);
        let mut known = Known { hash, brief: word.brief, key: word.key, flags: word.flags, ..UNKNOWN };
        for (offset, adds) in known.adds.iter_mut().enumerate() {
            word_rows(&word, offset, |row| *adds = self.sum(*adds, &[row]));
        }
        known
    }

    #[inline]
    fn sum(&self, start: Scores, rows: &[u32]) -> Scores {
        const NONE: Row = [0; LANES];
        rows.iter().fold(start, |sum, row| decode::add(sum, self.model.rows.get(*row as usize).unwrap_or(&NONE)))
    }
}

/// Labels to spans.
fn collect(text: &str, desk: &Desk, out: &mut Vec<Span>) {
    let mut open: Option<Open> = None;
    for ((token, &label), (scores, flags)) in
        desk.tokens.iter().zip(&desk.labels).zip(desk.scores.iter().zip(&desk.flags))
    {
        let class = label::class(label);
        if open.as_ref().is_some_and(|open| label % 2 == 1 || class != Some(open.class)) {
            out.extend(open.take().and_then(|open| open.close(text)));
        }
        let Some(class) = class else { continue };
        let open = open.get_or_insert(Open { class, words: None, flags: 0, margin: f32::MAX });
        // A title in front is not part of the name, whatever the labels say.
        let titled = class == 0 && open.words.is_none() && flags & flag::TITLE != 0;
        if token.kind == TokenKind::Word && !titled {
            let (start, _) = open.words.unwrap_or((token.start, 0));
            open.words = Some((start, token.end));
            open.flags |= flags;
            let here = scores.get(usize::from(label)).copied().unwrap_or(0);
            let outside = scores.first().copied().unwrap_or(0);
            open.margin = open.margin.min((f32::from(here) - f32::from(outside)) / SCALE);
        }
    }
    out.extend(open.and_then(|open| open.close(text)));
}

struct Open {
    class: u8,
    /// Bytes from its first to its last word: punctuation and line ends at its edges are not part of it.
    words: Option<(usize, usize)>,
    flags: u32,
    margin: f32,
}

impl Open {
    fn close(self, text: &str) -> Option<Span> {
        let (start, end) = self.words?;
        let found = text.get(start..end)?;
        let digit = found.bytes().any(|byte| byte.is_ascii_digit());
        if !digit && !found.chars().any(char::is_alphabetic) {
            return None;
        }
        let kind = match self.class {
            0 => IdentifierKind::Name,
            1 if digit && !found.chars().any(char::is_alphabetic) => IdentifierKind::PostalCode,
            1 if digit || self.flags & flag::STREET != 0 => IdentifierKind::StreetAddress,
            1 if ends_in(found, "county") || ends_in(found, "parish") => IdentifierKind::County,
            1 => IdentifierKind::City,
            _ => IdentifierKind::Organization,
        };
        let score = 1.0 / (1.0 + (-self.margin.clamp(-20.0, 20.0)).exp());
        Some(Span { start, end, kind, score, source: SOURCE })
    }
}

fn ends_in(text: &str, word: &str) -> bool {
    text.len().checked_sub(word.len()).and_then(|at| text.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(word))
}
