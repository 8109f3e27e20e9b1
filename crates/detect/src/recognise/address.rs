//! Street addresses of the United States (number, name, suffix, unit; post boxes; military ones) and the usual forms of
//! European ones (`Hauptstrasse 12`). Towns, states and ZIP codes are recognisers of their own.

use cordon_phi::IdentifierKind::StreetAddress;

use super::{Context, looks_proper};
use crate::lexicon::Tags;
use crate::scan::{Case, Class, Gap};
use crate::span::Span;

/// `742 Evergreen Terrace`, `12B N. 5th Ave. SW`, `1600 Martin Luther King Jr. Blvd`
pub(super) fn at_number(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    let token = cx.at(index);
    let house = token.byte.is_ascii_digit() && token.len() <= 6 && (token.class == Class::Number || token.len() <= 5);
    if !house || cx.figure_before(index) && !cx.mark(index.wrapping_sub(1), b'-') {
        return;
    }
    let mut at = index + 1;
    let mut words = 0;
    let mut lower = 0;
    while at <= index + 8 && cx.near(at) && words <= 5 {
        let next = cx.at(at);
        match next.class {
            Class::Punct if b".'-".contains(&next.byte) && words > 0 => {}
            Class::Word if next.tags.has(Tags::STREET) && words > 0 && suffix(cx, at, lower) => {
                let end = tail(cx, at + 1);
                let score = if lower > 0 { 0.6 } else { 0.9 };
                cx.add(out, index, end, StreetAddress, score, "street");
                return;
            }
            Class::Word if next.is_capitalised() || next.tags.has(Tags::PARTICLE) => words += 1,
            // `12 main street`
            Class::Word if !next.tags.has(Tags::COMMON.or(Tags::MEASURE).or(Tags::DRUG)) => {
                words += 1;
                lower += 1;
            }
            Class::Mixed if next.byte.is_ascii_digit() => words += 1,
            Class::Number if words == 0 && next.len() <= 4 => {}
            _ => return,
        }
        at += 1;
    }
}

/// The word ends a street's name here: `St` does not before `Mary's`, and only whole words do in lower case.
fn suffix(cx: &Context<'_>, index: usize, lower: usize) -> bool {
    let token = cx.at(index);
    if lower > 0 || token.case == Case::Lower {
        let sure =
            ["street", "avenue", "ave", "road", "boulevard", "blvd", "lane", "drive", "court", "rd", "st", "terrace"];
        return cx.one_of(index, &sure) && lower <= 2;
    }
    // `12 Lake Park Drive`: a later suffix is the one that counts.
    let next = index + 1 + usize::from(cx.mark(index + 1, b'.'));
    !(cx.is(next, Tags::STREET) && cx.at(next).is_capitalised() && cx.near(next) && next == index + 1)
}

/// Behind the suffix: its point, a direction, a unit (`Apt 4B`, `Suite 200`, `#12`).
fn tail(cx: &Context<'_>, end: usize) -> usize {
    let mut end = end;
    if cx.mark(end, b'.') && cx.glued(end) && (cx.at(end + 1).gap > Gap::Glued || cx.marks(end + 1, b",")) {
        end += 1;
    }
    if cx.is(end, Tags::DIRECTION) && cx.near(end) && cx.at(end).case == Case::Upper && cx.at(end).len() <= 2
        || cx.at(end).len() == 1 && cx.at(end).is_capitalised() && cx.is(end, Tags::DIRECTION)
    {
        end += 1;
    }
    let next = end + usize::from(cx.mark(end, b','));
    unit(cx, next).filter(|_| cx.at(next).gap < Gap::Blank).unwrap_or(end)
}

fn unit(cx: &Context<'_>, index: usize) -> Option<usize> {
    let named = cx.is(index, Tags::UNIT);
    if !named && !cx.mark(index, b'#') {
        return None;
    }
    let mut at = index + 1;
    while at < index + 3 && cx.marks(at, b".#:") {
        at += 1;
    }
    let value = cx.at(at);
    let shaped = matches!(value.class, Class::Number | Class::Mixed) && value.len() <= 6
        || value.class == Class::Word && value.len() == 1 && value.is_capitalised();
    (shaped && cx.near(at)).then(|| if cx.glue(at + 1, b'-') && cx.at(at + 2).len() <= 3 { at + 3 } else { at + 1 })
}

/// `Apt. 4B`, `Suite 321` that stands on a line of its own; `Unit 4526 Box 0671` of the armed forces.
pub(super) fn at_unit(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    // `APO AP 96522`: post offices of the armed forces.
    if cx.one_of(index, &["apo", "fpo", "dpo"]) {
        if cx.one_of(index + 1, &["aa", "ae", "ap"]) && cx.near(index + 1) {
            cx.add(out, index, index + 2, StreetAddress, 0.85, "military-office");
        }
        return;
    }
    let Some(end) = unit(cx, index) else { return };
    let boxed = cx.one_of(end + usize::from(cx.mark(end, b',')), &["box"]);
    if boxed {
        let number = end + 1 + usize::from(cx.mark(end, b','));
        cx.add(out, index, number + 1, StreetAddress, 0.85, "military-box");
    } else if cx.one_of(index, &["apt", "apartment", "suite", "ste"]) {
        cx.add(out, index, end, StreetAddress, 0.7, "unit");
    }
}

/// At a suffix with a capital and no house number before: `on Elm Street`, `5th Avenue`.
pub(super) fn at_street(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    let whole = [
        "street",
        "avenue",
        "boulevard",
        "road",
        "lane",
        "drive",
        "court",
        "terrace",
        "parkway",
        "highway",
        "crescent",
        "ave",
        "blvd",
        "rd",
    ];
    if !cx.at(index).is_capitalised() || !cx.one_of(index, &whole) || !cx.near(index) {
        return;
    }
    let mut from = index;
    while from > 0 && index - from < 3 && cx.near(from) {
        let before = cx.at(from - 1);
        let ordinal = before.class == Class::Mixed && before.byte.is_ascii_digit();
        if !(looks_proper(before) || ordinal) {
            break;
        }
        from -= 1;
    }
    if from < index && !cx.is(index + 1, Tags::FACILITY.or(Tags::SPECIALTY)) {
        cx.add(out, from, tail(cx, index + 1), StreetAddress, 0.6, "street-name");
    }
}

/// `Via Roma 131`, `31 rue des Fleurs`, `ul. Cicha 86`: the kind of street first, and a number before or behind.
pub(super) fn at_first(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    if !cx.at(index).is_capitalised() && !cx.one_of(index, &["rue", "ul", "rua", "calle", "avenida"]) {
        return;
    }
    let first = index + 1 + usize::from(cx.mark(index + 1, b'.'));
    let mut end = first;
    let mut words = 0;
    while end < first + 6 && cx.near(end) {
        let token = cx.at(end);
        if token.is_capitalised() {
            words += 1;
        } else if !(token.tags.has(Tags::PARTICLE) || cx.one_of(end, &["des", "e", "dei", "delle", "du"])) {
            break;
        }
        end += 1;
    }
    let number = |place: usize| {
        let token = cx.at(place);
        matches!(token.class, Class::Number | Class::Mixed) && token.byte.is_ascii_digit() && token.len() <= 5
    };
    let before = number(index.wrapping_sub(1)) && cx.near(index);
    let after = end + usize::from(cx.mark(end, b','));
    let behind = number(after) && cx.near(after) && !cx.unit_after(after + 1);
    if words == 0 || !(before || behind) {
        return;
    }
    cx.add(out, index - usize::from(before), if behind { after + 1 } else { end }, StreetAddress, 0.7, "street-first");
}

/// `Vesterskovvej 79`, `Hauptstraße 12a`: words that end as streets do elsewhere, before a number.
pub(super) fn foreign(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    const ENDS: &[&str] = &[
        "strasse", "straße", "straat", "gatan", "gata", "gade", "katu", "tie", "vej", "veien", "laan", "weg", "plein",
        "gasse", "vägen", "utca",
    ];
    let number = cx.at(index + 1);
    if !matches!(number.class, Class::Number | Class::Mixed)
        || !number.byte.is_ascii_digit()
        || number.len() > 5
        || !cx.near(index + 1)
    {
        return;
    }
    let token = cx.at(index);
    let word = cx.bytes(index);
    let ends = token.is_capitalised()
        && word.len() > 6
        && ENDS.iter().any(|end| word.len() > end.len() + 2 && word.ends_with(end.as_bytes()));
    if ends && !token.tags.has(Tags::COMMON) && !cx.unit_after(index + 2) {
        cx.add(out, index, index + 2, StreetAddress, 0.7, "street-foreign");
    }
}
