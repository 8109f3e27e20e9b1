//! Known identifiers found in narrative: whatever the records of a subject say of names, numbers and places is looked for in the
//! subject's texts, in any usual spelling, case and order, and with one slip of the hand.
//!
//! A dossier becomes a [`Matcher`] once for each subject of a batch. A text is cut into words once; each word is looked up by its
//! hash, and by the hashes of what is left of it without one letter, so that the cost does not grow with the dossier. Then
//! what was looked up is judged by what stands around it: `Brown` and `Parkinson` are names of people and words of medicine.
//!
//! Words that mean somebody in one place and nobody in another are replaced where a name, an initial or a title stands beside
//! them, where they stand with a capital in the midst of a sentence, and where a person's doing follows them.

mod build;
mod names;
mod nickname;
mod numbers;
pub(crate) mod person;
mod phrase;
mod word;

use cordon_phi::IdentifierKind as Kind;

use build::{Id, Person, Phrase, Word};
use word::{Index, NONE, Tok};
use zeroize::Zeroize;

/// What of a dossier is looked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// Towns, ZIP codes and dates.
    pub places: bool,
    pub organizations: bool,
}

/// What is known of a subject, ready to be looked for. It holds PHI: no `Debug`.
pub(super) struct Matcher {
    words: Vec<Word>,
    exact: Index,
    /// Words and what is left of them without one letter.
    near: Index,
    /// The lengths of words that slips are looked for in, a bit for each.
    lengths: u64,
    /// The subject first.
    people: Vec<Person>,
    phrases: Vec<Phrase>,
    ids: Vec<Id>,
    exact_ids: Index,
    near_ids: Index,
    id_lengths: u64,
    /// The last four digits of social security numbers, as hashes of numbers.
    last_four: Vec<u64>,
}

/// Which part of a name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The first given name, or a nickname of it.
    Given,
    /// Another given name.
    Further,
    Family,
    /// Given name and family name in one, as accounts are called.
    Whole,
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Name {
        person: u32,
        part: Part,
        /// The known word; [`NONE`] of a word that stands within a name.
        word: u32,
        /// Only the first letter stands there.
        initial: bool,
    },
    /// Initials of the subject: of the first given name first, of the family name last.
    Initials,
    /// A value of the subject's.
    Own,
    /// The last so many characters of a value of the subject's.
    Tail(u8),
    /// Of somebody or something else.
    Other,
}

/// A finding: bytes of the text, on character boundaries.
#[derive(Clone, Copy)]
pub(super) struct Hit {
    pub start: usize,
    pub end: usize,
    pub kind: Kind,
    pub what: What,
    /// Parts of one name share a number.
    pub group: u32,
}

/// Working space of one text after another.
#[derive(Default)]
pub(super) struct Desk {
    toks: Vec<Tok>,
    folded: Vec<u8>,
    digits: Vec<u8>,
}

impl Matcher {
    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty() && self.ids.is_empty()
    }

    /// Whose names are looked for, the subject's apart: role and name.
    pub(super) fn other(&self, person: u32) -> Option<(&'static str, &str)> {
        let person = self.people.get(person as usize)?;
        Some((person.role?, &person.name))
    }

    /// The folded word, as the name of a subject that surrogates follow.
    pub(super) fn word(&self, word: u32) -> Option<&str> {
        std::str::from_utf8(&self.words.get(word as usize)?.folded).ok()
    }

    /// Appends what is found in `text`: sorted and disjoint.
    pub(super) fn find(&self, text: &str, desk: &mut Desk, out: &mut Vec<Hit>) {
        // A text of more than 4 GiB does not fit into a column.
        let from = out.len();
        desk.toks.clear();
        if self.is_empty() || u32::try_from(text.len()).is_err() {
            return;
        }
        word::scan(text, &mut desk.toks, &mut desk.folded, |folded, tok| self.look_up(folded, tok));
        self.join(&mut desk.toks);
        self.numbers(text, desk, out);
        self.phrases(text, desk, out);
        self.names(text, desk, out);
        resolve(out, from);
    }

    #[inline]
    fn look_up(&self, folded: &[u8], tok: &mut Tok) {
        let is = |word: u32, wanted: &[u8]| self.words.get(word as usize).is_some_and(|word| *word.folded == *wanted);
        self.exact.get(tok.hash, |word| {
            if is(word, folded) {
                tok.word = word;
            }
        });
        let len = folded.len();
        if tok.word != NONE || tok.class != word::Class::Word || !(4..=word::LONGEST).contains(&len) {
            return;
        }
        if (self.lengths >> (len - 1)).trailing_zeros() > 2 {
            return;
        }
        let mut found = NONE;
        let mut candidate = |hash: u64| {
            self.near.get(hash, |word| {
                let known = self.words.get(word as usize);
                if word < found && known.is_some_and(|known| word::is_near(&known.folded, folded)) {
                    found = word;
                }
            });
        };
        candidate(tok.hash);
        word::shorter(folded, candidate);
        if found != NONE && !word::is_word(word::flags(folded)) {
            tok.word = found;
            tok.slip = true;
        }
    }

    /// Puts words together that a blank, a hyphen at the end of a line or an apostrophe parts: `O Brien`, `Hernan-` `dez`.
    fn join(&self, toks: &mut [Tok]) {
        for at in 0..toks.len() {
            let Some(first) = toks.get(at).copied().filter(|tok| tok.class == word::Class::Word) else { continue };
            let Some(next) = toks.get(at + 1).copied() else { continue };
            let hyphened = next.is_mark(b"-")
                && next.gap == word::Gap::Glued
                && toks.get(at + 2).is_some_and(|tok| tok.gap == word::Gap::Line && tok.class == word::Class::Word);
            if !hyphened && (first.len > 4 || first.word != NONE || !build::is_before_names(first.hash)) {
                continue;
            }
            let (mut hash, mut parts) = (first.hash, 1);
            for last in at + 1..(at + 4).min(toks.len()) {
                let Some(tok) = toks.get(last).copied() else { break };
                if tok.is_mark(b"-'") && tok.end - tok.start < 4 {
                    continue;
                }
                if tok.class != word::Class::Word || tok.gap > word::Gap::Line {
                    break;
                }
                hash = word::joined(hash, tok.hash, usize::from(tok.len));
                parts += 1;
                if parts > 3 {
                    break;
                }
                let known = self.exact.first(hash).filter(|word| {
                    // By its length, for what was parted is not compared letter by letter.
                    let len: usize =
                        toks.get(at..=last).unwrap_or_default().iter().map(|tok| usize::from(tok.len)).sum();
                    self.words.get(*word as usize).is_some_and(|word| word.folded.len() == len && word.is_name())
                });
                if let Some(word) = known {
                    for tok in toks.get_mut(at + 1..=last).unwrap_or_default() {
                        tok.class = word::Class::Gone;
                    }
                    if let Some(first) = toks.get_mut(at) {
                        first.end = tok.end;
                        first.word = word;
                        first.slip = false;
                        first.len = first.len.max(5);
                    }
                    break;
                }
                if hyphened {
                    break;
                }
            }
        }
    }
}

impl Drop for Matcher {
    fn drop(&mut self) {
        self.words.iter_mut().for_each(|word| word.folded.zeroize());
        self.people.iter_mut().for_each(|person| person.name.zeroize());
        self.ids.iter_mut().for_each(|id| id.canonical.zeroize());
        let words = self.phrases.iter_mut().flat_map(|phrase| &mut phrase.words);
        words.for_each(|word| word.folded.zeroize());
    }
}

/// Sorts what was found and makes it disjoint; nothing that was found is uncovered.
fn resolve(hits: &mut Vec<Hit>, from: usize) {
    let mut found = hits.split_off(from.min(hits.len()));
    found.sort_by(|a, b| a.start.cmp(&b.start).then(b.end.cmp(&a.end)));
    for hit in found {
        match hits.get_mut(from..).and_then(<[Hit]>::last_mut).filter(|last| hit.start < last.end) {
            Some(last) => {
                if hit.end - hit.start > last.end - last.start {
                    *last = Hit { start: last.start, ..hit };
                }
                last.end = last.end.max(hit.end);
            }
            None => hits.push(hit),
        }
    }
}
