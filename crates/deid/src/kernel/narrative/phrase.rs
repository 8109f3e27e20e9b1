//! Several words that mean something together: a street, a town, an employer, a birth date.

use super::build::{Glue, Phrase, PhraseWord, Use, is_direction, is_suffix, is_unit, short_form};
use super::names::stands_alone;
use super::word::{self, Class, Gap, NONE, Tok};
use super::{Desk, Hit, Matcher};

impl Matcher {
    pub(super) fn phrases(&self, text: &str, desk: &mut Desk, out: &mut Vec<Hit>) {
        let Desk { toks, folded, .. } = desk;
        for at in 0..toks.len() {
            let Some(tok) = toks.get(at).copied().filter(|tok| tok.word != NONE) else { continue };
            let Some(known) = self.words.get(tok.word as usize) else { continue };
            let mut best: Option<Hit> = None;
            for used in &known.uses {
                let Use::Phrase(number) = used else { continue };
                let Some(phrase) = self.phrases.get(*number as usize) else { continue };
                let Some((first, last, count)) = stretch(phrase, at, toks, text, folded) else { continue };
                if count < phrase.least || count == 1 && !may_stand(phrase, at, toks, text) {
                    continue;
                }
                let (Some(first), Some(last)) = (toks.get(first), toks.get(last)) else { continue };
                let hit = Hit {
                    start: first.start as usize,
                    end: last.end as usize,
                    kind: phrase.kind,
                    what: phrase.what,
                    group: 0,
                };
                if best.is_none_or(|best| hit.end - hit.start > best.end - best.start) {
                    best = Some(hit);
                }
            }
            out.extend(best);
        }
    }
}

/// Whether a single word is meant here: `Orange` is a town and a fruit.
fn may_stand(phrase: &Phrase, at: usize, toks: &[Tok], text: &str) -> bool {
    let (Some(tok), Some(word)) = (toks.get(at), phrase.words.get(phrase.anchor)) else { return false };
    if phrase.glue != Glue::Loose {
        return true;
    }
    let flags = word::flags(&word.folded);
    if tok.slip {
        let mut folded = Vec::new();
        word::fold(text.get(tok.span()).unwrap_or_default(), &mut folded);
        return word.folded.len() > 5 && !word::is_frequent(word::flags(&folded));
    }
    !word::is_ordinary(flags, true) && (word.folded.len() > 3 || tok.case != word::Case::Lower)
        || stands_alone(toks, at, flags, text)
}

/// From where to where the phrase goes whose anchor stands at `at`, and how many of its words are there.
fn stretch(
    phrase: &Phrase,
    at: usize,
    toks: &[Tok],
    text: &str,
    folded: &mut Vec<u8>,
) -> Option<(usize, usize, usize)> {
    let mut slips = usize::from(toks.get(at)?.slip);
    let mut count = 1;
    let mut ends = [at, at];
    for (end, forward) in ends.iter_mut().zip([false, true]) {
        let mut here = *end;
        let mut place = phrase.anchor;
        loop {
            let next_place = if forward { Some(place + 1) } else { place.checked_sub(1) };
            let Some((at, word)) = next_place.and_then(|at| phrase.words.get(at).map(|word| (at, word))) else { break };
            place = at;
            let mut next = neighbour(phrase, toks, here, forward, text);
            let mut meets = false;
            // A part of a house or a kind of street may be named where the record names none.
            for _ in 0..3 {
                let Some((index, tok)) = next.and_then(|index| toks.get(index).map(|tok| (index, tok))) else { break };
                if is(word, tok, text, folded, &mut slips) {
                    (meets, here) = (true, index);
                    break;
                }
                let form = short_form(tok.hash);
                let may_stand_there = if phrase.is_street {
                    is_unit(form) || is_direction(form) || is_suffix(form)
                } else {
                    phrase.glue == Glue::Loose && is_link(text.get(tok.span()).unwrap_or_default())
                };
                if !may_stand_there {
                    break;
                }
                next = neighbour(phrase, toks, index, forward, text);
            }
            if meets {
                count += 1;
                *end = here;
            } else if !word.optional {
                return None;
            }
        }
    }
    let [first, mut last] = ends;
    // `123 Elm`, on record without its `Street`.
    if phrase.is_street
        && let Some(next) = neighbour(phrase, toks, last, true, text)
        && toks
            .get(next)
            .is_some_and(|tok| tok.class == Class::Word && is_suffix(short_form(tok.hash)) && tok.gap <= Gap::Space)
    {
        last = next;
    }
    Some((first, last, count))
}

/// What stands between words of a name as a mark does.
fn is_link(run: &str) -> bool {
    ["and", "of", "the", "at"].iter().any(|word| run.eq_ignore_ascii_case(word))
}

fn is(word: &PhraseWord, tok: &Tok, text: &str, folded: &mut Vec<u8>, slips: &mut usize) -> bool {
    if short_form(tok.hash) == word.hash {
        return true;
    }
    if *slips > 0 || tok.class != Class::Word || word.folded.len() < 5 {
        return false;
    }
    word::fold(text.get(tok.span()).unwrap_or_default(), folded);
    let near = word::is_near(&word.folded, folded);
    *slips += usize::from(near);
    near
}

/// The run beside the one at `at`, over what may stand between words of the phrase.
fn neighbour(phrase: &Phrase, toks: &[Tok], at: usize, forward: bool, text: &str) -> Option<usize> {
    let (marks, most, widest): (&[u8], _, _) = match phrase.glue {
        Glue::Loose => (b",.#-/()&'", 2, Gap::Line),
        Glue::Tight => (b".-_@:/?=&%+~#", 3, Gap::Glued),
        Glue::Date => (b"/-.,'", 2, Gap::Space),
    };
    let mut count = 0;
    let mut here = at;
    loop {
        let next = if forward { here + 1 } else { here.checked_sub(1)? };
        let tok = toks.get(next)?;
        let gap = if forward { tok.gap } else { toks.get(here)?.gap };
        if gap > widest {
            return None;
        }
        here = next;
        if tok.class == Class::Gone {
            continue;
        }
        if tok.is_run() {
            let filler = phrase.glue == Glue::Date
                && text
                    .get(tok.span())
                    .is_some_and(|run| run.eq_ignore_ascii_case("of") || run.eq_ignore_ascii_case("the"));
            if filler {
                continue;
            }
            return Some(next);
        }
        count += 1;
        if count > most || !tok.is_mark(marks) {
            return None;
        }
    }
}
