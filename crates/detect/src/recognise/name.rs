//! Names of people where something tells that one is: a title, a label, a relation, a credential, a known given name. What was found
//! once is found again wherever the same text says it.

use cordon_phi::IdentifierKind::Name;
use hashbrown::HashSet;

use super::Context;
use crate::lexicon::Tags;
use crate::scan::{Case, Class, Gap, Token};
use crate::span::Span;

/// How much the surroundings vouch for a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trust {
    /// Every part must be no other word.
    None,
    /// A title or label stands before it: the first part may be an eponym.
    Cue,
}

/// A name as read: index behind it, parts that are words, parts known as given or family names, initials.
struct Read {
    end: usize,
    words: usize,
    known: usize,
    initials: usize,
}

const NOT_NAME: Tags = Tags::COMMON
    .or(Tags::DRUG)
    .or(Tags::EPONYM_NOUN)
    .or(Tags::CREDENTIAL)
    .or(Tags::FACILITY)
    .or(Tags::MEASURE)
    .or(Tags::MONTH)
    .or(Tags::WEEKDAY);

const KNOWN: Tags = Tags::GIVEN.or(Tags::SURNAME);

fn part(token: Token, trust: Trust, first: bool) -> bool {
    if !token.is_capitalised() || token.end - token.start < 2 {
        return false;
    }
    let known = token.tags.has(KNOWN);
    let other = token.tags.has(NOT_NAME) && !(known && trust == Trust::Cue && !token.tags.has(Tags::FACILITY));
    let eponym = token.tags.has(Tags::EPONYM) && !known && trust == Trust::None && first;
    let short = token.case == Case::Upper && token.end - token.start <= 3 && !known && trust == Trust::None;
    !other && !eponym && !short
}

/// Reads a name that begins at `from`.
fn read(cx: &Context<'_>, from: usize, trust: Trust) -> Option<Read> {
    let mut name = Read { end: from, words: 0, known: 0, initials: 0 };
    let mut at = from;
    while at < from + 12 && name.words + name.initials < 5 {
        let token = cx.at(at);
        if at > from && token.gap >= Gap::Line {
            break;
        }
        if token.is_capitalised() && token.len() == 1 {
            // `O'Neil`, `D'Angelo`
            if cx.glue(at + 1, b'\'') && cx.at(at + 2).is_capitalised() && cx.at(at + 2).len() > 2 {
                (at, name.words) = (at + 3, name.words + 1);
                while cx.glue(at, b'-') && cx.at(at + 1).is_capitalised() && at < from + 12 {
                    at += 2;
                }
                name.end = at;
                continue;
            }
            let pointed = cx.mark(at + 1, b'.') && cx.glued(at + 1);
            let alone = name.initials + name.words == 0;
            if alone && !pointed {
                break;
            }
            name.initials += 1;
            at += 1 + usize::from(pointed);
            name.end = at;
            // Initials close up: `J.D.`
            if cx.at(at).gap == Gap::Glued && cx.at(at).class == Class::Punct {
                break;
            }
            continue;
        }
        let begun = name.words + name.initials > 0 || trust == Trust::Cue;
        let particle = token.tags.has(Tags::PARTICLE) && begun && token.len() <= 4;
        let next = cx.at(at + 1);
        let goes_on =
            part(next, Trust::Cue, false) || next.tags.has(Tags::PARTICLE) && part(cx.at(at + 2), Trust::Cue, false);
        if particle && goes_on && next.gap == Gap::Space {
            at += 1;
            continue;
        }
        if particle && cx.mark(at + 1, b'.') && part(cx.at(at + 2), Trust::Cue, false) && cx.near(at + 2) {
            at += 2;
            continue;
        }
        // Jr., Sr., III
        if name.words > 0 && cx.one_of(at, &["jr", "sr", "ii", "iii", "iv"]) {
            name.end = at + 1;
            break;
        }
        // Behind a known given name a family name may be a word: `Arthur King`.
        let trust = if name.known > 0 && token.tags.has(Tags::SURNAME) && token.case == Case::Title {
            Trust::Cue
        } else {
            trust
        };
        if !part(token, trust, name.words == 0) {
            break;
        }
        name.words += 1;
        name.known += usize::from(token.tags.has(KNOWN));
        at += 1;
        name.end = at;
        while cx.glue(at, b'-') && cx.at(at + 1).is_capitalised() && at < from + 12 {
            at += 2;
            name.end = at;
        }
        // `"Bob"`, `(Bob)`: a nickname between.
        if cx.marks(at, b"\"(")
            && cx.at(at + 1).tags.has(Tags::GIVEN)
            && cx.marks(at + 2, b"\")")
            && part(cx.at(at + 3), trust, false)
        {
            at += 3;
            name.words += 1;
        }
    }
    (name.end > from && !medical(cx, name.end)).then_some(name)
}

/// `Gehrig's disease`, `Foley catheter`: what ends at `end` is a word of medicine.
fn medical(cx: &Context<'_>, end: usize) -> bool {
    let mut at = end;
    if cx.mark(at, b'\'') {
        at += 1 + usize::from(cx.one_of(at + 1, &["s"]));
    }
    let noun = |index: usize| cx.is(index, Tags::EPONYM_NOUN) && cx.near(index);
    let eponym = cx.is(end.wrapping_sub(1), Tags::EPONYM);
    noun(at)
        || cx.mark(at, b'-') && eponym
        || eponym && cx.near(at) && cx.one_of(at, &["risk", "coma", "non"]) && noun(at + 1)
}

/// Something that ends a name here, so that `Dr. Smith, Jane` is not more than one.
fn add(cx: &Context<'_>, from: usize, end: usize, score: f32, rule: &'static str, out: &mut Vec<Span>) {
    cx.add(out, from, end, Name, score, rule);
}

pub(super) fn at_title(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    let token = cx.at(index);
    if !token.tags.has(Tags::TITLE) {
        return;
    }
    let mut at = index + 1;
    if cx.mark(at, b'.') && cx.glued(at) {
        at += 1;
    }
    if !cx.near(at) || cx.one_of(index.wrapping_sub(1), &["oak"]) {
        return;
    }
    // `Dr. and Mrs. Smith`, `Drs. Smith and Jones`
    let rank = cx.one_of(
        index,
        &[
            "judge", "officer", "nurse", "sister", "father", "captain", "doctor", "sr", "fr", "lt", "col", "hon",
            "mother", "miss",
        ],
    );
    if rank && token.case == Case::Lower && !(part(cx.at(at), Trust::None, true)) {
        return;
    }
    let Some(name) = read(cx, at, Trust::Cue) else { return };
    let from = if cx.options.titles { index } else { at };
    let score = if rank { 0.7 } else { 0.95 };
    add(cx, from, name.end, score, "name-title", out);
    // `Dr. Smith and Jones`
    if cx.one_of(name.end, &["and"]) && part(cx.at(name.end + 1), Trust::None, true) && cx.one_of(index, &["drs"]) {
        add(cx, name.end + 1, name.end + 2, 0.8, "name-title", out);
    }
}

/// `son Robert`, `wife, Mary Jones`, `daughter (Ann)`
pub(super) fn at_relation(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    let at = index + 1 + usize::from(cx.marks(index + 1, b",(:-"));
    let at = at + usize::from(cx.one_of(at, &["named", "is", "called", "name"]));
    let at = at + usize::from(cx.one_of(at, &["is"]));
    if !cx.near(at) {
        return;
    }
    let Some(name) = read(cx, at, Trust::None) else { return };
    if name.words > 0 {
        let known = name.known > 0 || name.initials > 0;
        add(cx, at, name.end, if known { 0.9 } else { 0.6 }, "name-relation", out);
    }
}

/// Behind `Patient:`, `Attending:`, `signed by`, `named`.
pub(super) fn at_cue(cx: &Context<'_>, from: usize, end: usize, strong: bool, out: &mut Vec<Span>) {
    let mut at = end;
    let mut pointed = false;
    while at < end + 4
        && cx.near(at)
        && (cx.marks(at, b":-|=,(\"") || cx.one_of(at, &["is", "was", "name", "named", "by", "like"]))
    {
        pointed |= cx.marks(at, b":=|") || cx.one_of(at, &["named", "name"]);
        at += 1;
    }
    let title = usize::from(cx.is(at, Tags::TITLE)) * (1 + usize::from(cx.mark(at + 1, b'.')));
    at += title;
    let label = cx.one_of(end - 1, &["name"]) || cx.one_of(from, &["name", "patient"]);
    let next_line = pointed && cx.at(at).gap == Gap::Line && strong;
    if cx.glued(from) && cx.mark(from.wrapping_sub(1), b'-') || !(cx.near(at) || next_line) {
        return;
    }
    if pointed && strong && label && !cx.at(at).is_capitalised() {
        return lower(cx, at, out);
    }
    let trust = if strong && pointed { Trust::Cue } else { Trust::None };
    if let Some(end) = reversed(cx, at, pointed) {
        return add(cx, at, end, 0.9, "name-cue", out);
    }
    let Some(name) = read(cx, at, trust) else { return };
    let parts = name.words + name.initials;
    let score = match (strong, pointed) {
        (_, true) if name.words > 0 => 0.9,
        (_, true) => 0.6,
        (true, false) if name.known > 0 || parts > 1 => 0.8,
        (true, false) => 0.45,
        (false, false) if parts > 1 && name.words > 0 => {
            match name.known {
                1.. => 0.85,
                // `for Quality Weekly`
                _ if cx.one_of(from, &["for", "per", "under", "by", "like"])
                    && end == from + 1
                    && name.initials == 0 =>
                {
                    0.45
                }
                _ => 0.6,
            }
        }
        (false, false) if name.known > 0 => 0.55,
        // `patient J.D.`
        (false, false) if name.initials > 1 && cx.one_of(from, &["patient", "pt", "client"]) => 0.7,
        _ => return,
    };
    add(cx, at, name.end, score, "name-cue", out);
}

/// `name: jane q. doe` in a form that nobody typed capitals in: up to four words to the end of the line.
fn lower(cx: &Context<'_>, from: usize, out: &mut Vec<Span>) {
    let mut end = from;
    while end < from + 6 && (end == from || cx.near(end)) {
        let token = cx.at(end);
        let word = token.class == Class::Word && (token.len() == 1 || !token.tags.has(NOT_NAME));
        let mark = end > from && cx.marks(end, b".-'");
        if !(word || mark) {
            break;
        }
        end += 1;
    }
    let closed = cx.at(end).gap >= Gap::Line || cx.marks(end, b",;|") || cx.at(end).class == Class::None;
    if end > from && closed && cx.near(from) {
        add(cx, from, end, 0.7, "name-cue", out);
    }
}

/// `Doe, Jane Q.`, `DOE, JANE`: the index behind it.
fn reversed(cx: &Context<'_>, from: usize, cued: bool) -> Option<usize> {
    let trust = if cued { Trust::Cue } else { Trust::None };
    let first = cx.at(from);
    if !part(first, trust, true) {
        return None;
    }
    let mut comma = from + 1;
    while cx.glue(comma, b'-') && cx.at(comma + 1).is_capitalised() && comma < from + 6 {
        comma += 2;
    }
    let given = comma + 1;
    if !cx.mark(comma, b',') || !cx.near(given) || !part(cx.at(given), trust, true) {
        return None;
    }
    let known = cx.at(given).tags.has(Tags::GIVEN) && !cx.at(given).tags.has(Tags::COMMON);
    let place = cx.at(given).tags.has(Tags::STATE);
    if !(known || cued && !place) {
        return None;
    }
    let mut end = given + 1;
    if cx.at(end).is_capitalised() && cx.at(end).len() == 1 && cx.near(end) {
        end += 1 + usize::from(cx.mark(end + 1, b'.'));
    } else if part(cx.at(end), Trust::None, false) && cx.near(end) && cx.at(end).tags.has(KNOWN) {
        end += 1;
    }
    Some(end)
}

/// At any word with a capital: titles, credentials behind a name, known given names.
pub(super) fn at_capital(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    let token = cx.at(index);
    if token.tags.has(Tags::TITLE) {
        at_title(cx, index, out);
    }
    if cx.glued(index) && !cx.marks(index.wrapping_sub(1), b"(\"'[:/,.") {
        return;
    }
    let continues =
        cx.near(index) && part(cx.back(index, 1), Trust::None, false) && !cx.is(index.wrapping_sub(1), Tags::EPONYM);
    // `J. Smith, MD`
    if token.len() == 1 && cx.mark(index + 1, b'.') && !continues {
        let Some(name) = read(cx, index, Trust::None) else { return };
        let score = if credential(cx, name.end) {
            0.9
        } else if name.words > 0 && name.known > 0 {
            0.7
        } else {
            0.0
        };
        if score > 0.0 {
            add(cx, index, name.end, score, "name-initial", out);
        }
        return;
    }
    if !part(token, Trust::None, true) {
        return;
    }
    let Some(name) = read(cx, index, Trust::None) else { return };
    if credential(cx, name.end) && name.words + name.initials > 1 {
        return add(cx, index, name.end, 0.9, "name-credential", out);
    }
    if continues {
        return;
    }
    if let Some(end) = reversed(cx, index, false) {
        return add(cx, index, end, 0.7, "name-reversed", out);
    }
    let given = token.tags.has(Tags::GIVEN);
    let place = cx.is(name.end, Tags::FACILITY.or(Tags::COMPANY).or(Tags::STREET)) && cx.near(name.end);
    let score = match (given, name.words, name.initials) {
        (true, 2.., _) if !place => {
            if name.known > 1 {
                0.85
            } else {
                0.75
            }
        }
        (true, _, 1..) => 0.85,
        (false, 2.., _) if name.known > 0 && name.words <= 3 && !place => 0.5,
        // `Hanne I. Lindqvist`, `Hanne I Lindqvist`
        (false, 2.., 1..) if token.case == Case::Title && !place => 0.6,
        // `Xiomara T.,` behind a comma
        (false, 1, 1..) if cx.marks(index.wrapping_sub(1), b",(") || token.tags.has(Tags::SURNAME) => 0.6,
        // A known given name alone, where no sentence begins.
        (true, 1, 0) if !place && !token.tags.has(Tags::STATE) && within(cx, index) => 0.55,
        _ => return,
    };
    add(cx, index, name.end, score, "name-known", out);
}

/// In the midst of a sentence, so that the capital says something.
fn within(cx: &Context<'_>, index: usize) -> bool {
    let before = cx.back(index, 1);
    cx.near(index)
        && (before.class == Class::Word && before.case == Case::Lower
            || before.class == Class::Punct && before.byte == b',')
}

/// `, MD`, ` RN`, `, M.D.`
fn credential(cx: &Context<'_>, end: usize) -> bool {
    let comma = cx.mark(end, b',');
    let at = end + usize::from(comma);
    let token = cx.at(at);
    let spelled = cx.one_of(at, &["m", "d", "r", "p"]) && cx.glue(at + 1, b'.') && cx.at(at + 2).case == Case::Title;
    cx.near(at)
        && (token.tags.has(Tags::CREDENTIAL) && token.is_capitalised() && token.case != Case::Title || spelled && comma)
}

/// Marks every other place where a part of a name stands that was surely found in this text, from span `first` on
/// or among `names`.
pub(super) fn again(cx: &Context<'_>, first: usize, names: impl Iterator<Item = (usize, usize)>, out: &mut Vec<Span>) {
    let mut parts: HashSet<&[u8]> = HashSet::new();
    let mut next = 0;
    let mut sure: Vec<(usize, usize)> = out
        .iter()
        .skip(first)
        .filter(|span| span.kind == Name && span.score >= 0.7)
        .map(|span| (span.start, span.end))
        .chain(names)
        .collect();
    sure.sort_unstable();
    for (start, end) in sure {
        while next < cx.tokens.len() && (cx.at(next).start as usize) < start {
            next += 1;
        }
        let mut at = next;
        while at < cx.tokens.len() && (cx.at(at).end as usize) <= end {
            let token = cx.at(at);
            let distinct =
                token.len() >= 3 && !token.tags.has(NOT_NAME) && !token.tags.has(Tags::EPONYM.or(Tags::TITLE));
            if token.is_capitalised() && distinct {
                parts.insert(cx.bytes(at));
            }
            at += 1;
        }
    }
    if parts.is_empty() {
        return;
    }
    for index in 0..cx.tokens.len() {
        let token = cx.at(index);
        if token.is_capitalised() && token.len() >= 3 && parts.contains(cx.bytes(index)) && !medical(cx, index + 1) {
            add(cx, index, index + 1, 0.6, "name-again", out);
        }
    }
}
