//! Towns and counties: known ones, what stands before a state (`Springfield, IL`), before `County`, or behind `lives in`.

use cordon_phi::IdentifierKind::{City, County, State};

use super::{Context, looks_proper};
use crate::lexicon::Tags;
use crate::scan::{Case, Class, Gap};
use crate::span::Span;

pub(super) fn at_city(cx: &Context<'_>, from: usize, end: usize, out: &mut Vec<Span>) {
    if !cx.at(from).is_capitalised() || (0..2).any(|by| cx.is(end + by, Tags::EPONYM_NOUN) && cx.near(end + by)) {
        return;
    }
    cx.add(out, from, end, City, 0.7, "city-known");
}

/// At a state: what stands before its comma is a town.
pub(super) fn at_state(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    let token = cx.at(index);
    let short = token.len() == 2;
    if short && token.case != Case::Upper || !token.is_capitalised() {
        return;
    }
    town_before(cx, index, short, out);
    if cx.options.states && !short && !cx.is(index + 1, Tags::FACILITY) {
        cx.add(out, index, index + 1, State, 0.6, "state");
    }
}

pub(super) fn at_state_name(cx: &Context<'_>, from: usize, end: usize, out: &mut Vec<Span>) {
    if cx.at(from).is_capitalised() {
        town_before(cx, from, false, out);
        // `from New York`: the town, when no town stands before it.
        let cue = ["in", "from", "to", "of", "our", "near", "at"];
        if cx.one_of(end - 1, &["york"]) && cx.one_of(from.wrapping_sub(1), &cue) && !cx.digits(end, 5) {
            cx.add(out, from, end, City, 0.55, "city-known");
        }
        if cx.options.states {
            cx.add(out, from, end, State, 0.7, "state");
        }
    }
}

fn town_before(cx: &Context<'_>, state: usize, short: bool, out: &mut Vec<Span>) {
    let comma = cx.mark(state.wrapping_sub(1), b',');
    let zip = cx.digits(state + 1, 5) || cx.mark(state + 1, b',') && cx.digits(state + 2, 5);
    // `MD`, `PA`, `DO`, `RN` behind a name are credentials unless a ZIP code follows.
    let credential = cx.is(state, Tags::CREDENTIAL) && !zip;
    if !(comma || zip && short) || credential || !cx.near(state) {
        return;
    }
    let end = state - usize::from(comma);
    let mut from = end;
    while from > 0 && end - from < 4 {
        let token = cx.at(from - 1);
        let saint = from >= 2 && cx.one_of(from - 2, &["st", "ft", "mt"]) && cx.mark(from - 1, b'.');
        if saint {
            from -= 2;
            break;
        }
        let part = looks_proper(token) && !token.tags.has(Tags::STREET)
            || token.is_capitalised()
                && token.len() > 1
                && from == end
                && !token.tags.has(Tags::STREET.or(Tags::TITLE))
            || cx.one_of(
                from - 1,
                &[
                    "new", "north", "south", "east", "west", "fort", "saint", "port", "lake", "mount", "san", "el",
                    "los", "las", "la", "st",
                ],
            ) && token.is_capitalised()
                && from < end
            || from < end && token.class == Class::Word && token.tags.has(Tags::PARTICLE);
        if !part || from < end && cx.at(from).gap != Gap::Space && cx.at(from).gap != Gap::Glued {
            break;
        }
        from -= 1;
    }
    if from < end {
        cx.add(out, from, end, City, if short { 0.8 } else { 0.7 }, "city-before-state");
    }
}

/// `Cook County`, and what stands behind words that tell where somebody lives.
pub(super) fn at_capital(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    let token = cx.at(index);
    if cx.one_of(index, &["county", "parish", "township", "borough"])
        && looks_proper(cx.back(index, 1))
        && cx.near(index)
    {
        if !cx.is(index + 1, Tags::FACILITY) {
            let two = looks_proper(cx.back(index, 2)) && cx.near(index - 1);
            cx.add(out, index - 1 - usize::from(two), index + 1, County, 0.7, "county");
        }
        return;
    }
    super::address::foreign(cx, index, out);
    let in_ = index.wrapping_sub(1);
    let living = [
        "lives",
        "living",
        "live",
        "lived",
        "resides",
        "residing",
        "reside",
        "resided",
        "born",
        "raised",
        "grew",
        "home",
        "house",
        "travelled",
        "traveled",
        "moved",
        "relocated",
        "resident",
        "native",
        "flew",
        "travel",
        "up",
    ];
    if !cx.one_of(in_, &["in", "from", "to", "of", "near"])
        || !cx.one_of(index.wrapping_sub(2), &living)
        || !cx.near(index)
    {
        return;
    }
    let own = looks_proper(token)
        || cx.one_of(index, &["new", "north", "south", "east", "west"]) && looks_proper(cx.at(index + 1));
    if !own || token.tags.has(Tags::STATE) {
        return;
    }
    let mut end = index + 1;
    while end < index + 3 && looks_proper(cx.at(end)) && cx.at(end).gap == Gap::Space {
        end += 1;
    }
    cx.add(out, index, end, City, 0.6, "city-cue");
}
