//! Places of care, schools and companies, by the word that ends their name (`St. Mary's Hospital`, `Elm Clinic`, `Acme Inc.`), and
//! systems of care that everybody knows by a bare name.

use cordon_phi::IdentifierKind::Organization;

use super::{Context, looks_proper};
use crate::lexicon::Tags;
use crate::scan::{Case, Class, Gap};
use crate::span::Span;

pub(super) fn at_known(cx: &Context<'_>, from: usize, end: usize, out: &mut Vec<Span>) {
    let written = cx.at(from).is_capitalised();
    let noun = end + 2 * usize::from(cx.mark(end, b'\''));
    if !written || cx.is(noun, Tags::EPONYM_NOUN) && cx.near(noun) {
        return;
    }
    cx.add(out, from, forward(cx, end), Organization, 0.75, "organization-known");
}

/// Goes on over `Medical Center`, `Hospital`, `of Philadelphia`.
fn forward(cx: &Context<'_>, end: usize) -> usize {
    let mut end = end;
    let mut at = end;
    while at < end + 4 && cx.near(at) {
        if cx.mark(at, b'\'') && cx.one_of(at + 1, &["s"]) && cx.glued(at + 1) {
            at += 2;
            end = at;
            continue;
        }
        let token = cx.at(at);
        if token.tags.has(Tags::FACILITY) && !(token.case == Case::Lower && at > end) {
            end = at + 1;
        } else if !(token.tags.has(Tags::SPECIALTY) && token.is_capitalised() || cx.marks(at, b"&.")) {
            break;
        }
        at += 1;
    }
    if cx.one_of(end, &["of", "at"])
        && (looks_proper(cx.at(end + 1)) || cx.is(end + 1, Tags::STATE) && cx.at(end + 1).is_capitalised())
    {
        end += 2;
        while looks_proper(cx.at(end))
            && cx.at(end).gap == Gap::Space
            && cx.at(end).tags.has(Tags::SPECIALTY.or(Tags::STATE))
        {
            end += 1;
        }
    }
    end
}

/// At a word that ends a name, walks back over what belongs to it.
pub(super) fn at_capital(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    let token = cx.at(index);
    if saint(cx, index, out) {
        return;
    }
    let home = cx.one_of(index, &["home", "village"])
        && cx.one_of(index.wrapping_sub(1), &["nursing", "care", "retirement", "funeral", "group", "convalescent"])
        && token.is_capitalised();
    let tail = cx.one_of(
        index,
        &[
            "general",
            "memorial",
            "presbyterian",
            "methodist",
            "baptist",
            "adventist",
            "lutheran",
            "gen",
            "regional",
            "med",
        ],
    );
    let facility = token.tags.has(Tags::FACILITY) || home;
    let company = token.tags.has(Tags::COMPANY) && token.len() > 1 && !token.tags.has(Tags::COMMON);
    if !(facility || tail && token.is_capitalised() || company && token.is_capitalised()) || !cx.near(index) {
        return;
    }
    // Of `Mercy Medical Center` the last word speaks.
    let next = cx.at(index + 1);
    if !company && next.tags.has(Tags::FACILITY) && next.is_capitalised() && cx.near(index + 1) {
        return;
    }
    let (from, proper) = back(cx, index);
    if from == index {
        return;
    }
    let lower = token.case == Case::Lower;
    // `at City Hospital`, `to Central Clinic`: a place to be at is a certain one when it is written with capitals.
    let before = from.wrapping_sub(1 + usize::from(cx.one_of(from.wrapping_sub(1), &["the", "our"])));
    let certain =
        cx.one_of(before, &["at", "in", "to", "from", "by", "with", "of"]) && cx.at(before).case == Case::Lower;
    let named = cx.one_of(index.wrapping_sub(1), &["general", "memorial", "university", "community"]) || certain;
    let general = named && (facility || tail && cx.one_of(from, &["county", "city"])) && !lower;
    let close = !lower || index - from == 1 || cx.is(index.wrapping_sub(1), Tags::SPECIALTY);
    let end = forward(cx, index + 1);
    let of = end > index + 1 && cx.one_of(index + 1, &["of", "at"]) && !lower;
    let proper = proper || of;
    if !(proper || general && cx.at(from).is_capitalised()) || tail && !facility && !(proper || general) || !close {
        return;
    }
    let score = match (company, tail && !facility, lower) {
        (true, ..) => 0.7,
        (_, true, _) => 0.6,
        (_, _, true) => 0.55,
        _ => 0.8,
    };
    cx.add(out, from, end, Organization, score, "organization");
}

/// The first token of the name that ends at `index`, and whether a word of its own stands in it.
fn back(cx: &Context<'_>, index: usize) -> (usize, bool) {
    let mut from = index;
    let mut at = index;
    let mut proper = false;
    while at > 0 && index - at < 9 {
        let before = at - 1;
        if cx.at(at).gap >= Gap::Line {
            break;
        }
        let token = cx.at(before);
        let abbreviation =
            cx.mark(before, b'.') && cx.one_of(before.wrapping_sub(1), &["st", "mt", "ft", "dr", "med", "univ", "gen"]);
        if cx.one_of(before, &["and"]) && cx.is(before.wrapping_sub(1), Tags::FACILITY) {
            break;
        }
        if cx.marks(before, b"-'&") || abbreviation || cx.one_of(before, &["of", "and", "the", "for"]) && from > before
        {
            // Only between words of the name.
            at = before;
            continue;
        }
        if cx.mark(before, b',') && company_list(cx, index, before) {
            at = before;
            continue;
        }
        let possessive = cx.one_of(before, &["s"]) && cx.mark(before.wrapping_sub(1), b'\'');
        let own = looks_proper(token)
            || token.is_capitalised()
                && token.len() > 1
                && (token.tags.has(Tags::STATE) && token.case == Case::Upper
                    || token.tags.has(Tags::STREET) && token.case == Case::Title)
            || cx.one_of(
                before,
                &[
                    "st",
                    "saint",
                    "mount",
                    "mt",
                    "new",
                    "north",
                    "south",
                    "east",
                    "west",
                    "northwestern",
                    "southern",
                    "good",
                    "holy",
                    "sacred",
                    "mercy",
                    "grace",
                    "hope",
                    "cedar",
                    "valley",
                ],
            ) && token.is_capitalised();
        let acronym = token.case == Case::Upper && (2..=6).contains(&token.len()) && !token.tags.has(Tags::COMMON);
        if possessive {
            at = before;
            continue;
        }
        if (own || acronym) && !(token.tags.has(Tags::SPECIALTY) || token.tags.has(Tags::FACILITY)) {
            proper = true;
        } else if !(token.is_capitalised() && token.tags.has(Tags::SPECIALTY.or(Tags::FACILITY))) {
            break;
        }
        at = before;
        from = before;
    }
    (from, proper)
}

/// `Henderson, Hicks and Brown LLC`
fn company_list(cx: &Context<'_>, index: usize, comma: usize) -> bool {
    cx.is(index, Tags::COMPANY) && comma + 1 < index && looks_proper(cx.back(comma, 1))
}

/// `St. Vincent's`: a saint with a possessive is a place. Returns whether it was one.
fn saint(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) -> bool {
    if !cx.one_of(index, &["st", "saint"]) || !cx.at(index).is_capitalised() {
        return false;
    }
    let name = index + 1 + usize::from(cx.mark(index + 1, b'.'));
    let possessive =
        looks_proper(cx.at(name)) && cx.mark(name + 1, b'\'') && cx.one_of(name + 2, &["s"]) && cx.glued(name + 2);
    let plain = cx.at(name).class == Class::Word && cx.at(name).gap == Gap::Space;
    if possessive && plain {
        cx.add(out, index, forward(cx, name + 3), Organization, 0.7, "organization-saint");
    }
    possessive && plain
}
