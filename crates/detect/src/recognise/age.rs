//! Ages over 89 (164.514(b)(2)(i)(C)): `92 y/o`, `92-year-old`, `aged 101`, `ninety-two year old`, `in her 90s`. Younger ones
//! may stay, and are found when the options ask for all.

use cordon_phi::IdentifierKind::Age;

use super::{Context, digits};
use crate::lexicon::Tags;
use crate::scan::Class;
use crate::span::Span;

fn wanted(cx: &Context<'_>, years: u32) -> bool {
    (90..=125).contains(&years) || cx.options.all_ages && years <= 125
}

/// The index behind `years old`, `-year-old`, `y/o`, `yo`, `y.o.`, `yrs of age`.
fn old(cx: &Context<'_>, index: usize) -> Option<usize> {
    let mut at = index + usize::from(cx.mark(index, b'-'));
    if cx.one_of(at, &["yo", "yof", "yom", "y0"]) && cx.near(at) {
        return Some(at + 1);
    }
    if !cx.one_of(at, &["year", "years", "yr", "yrs", "y"]) || !cx.near(at) {
        return None;
    }
    at += 1;
    while cx.marks(at, b"-/.") && at < index + 5 {
        at += 1;
    }
    if cx.one_of(at, &["old", "o"]) {
        return Some(at + 1);
    }
    (cx.one_of(at, &["of"]) && cx.one_of(at + 1, &["age"])).then_some(at + 2)
}

fn cued(cx: &Context<'_>, index: usize) -> bool {
    let back = index.wrapping_sub(1 + usize::from(cx.marks(index.wrapping_sub(1), b":=")));
    cx.one_of(back, &["age", "aged", "turned", "turning"])
        || cx.one_of(back, &["of", "is"]) && cx.one_of(back.wrapping_sub(1), &["age"])
}

pub(super) fn at_number(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    let Some(years) = cx.number(index).filter(|years| cx.at(index).len() <= 3 && wanted(cx, *years)) else { return };
    if cx.figure_before(index) {
        return;
    }
    if old(cx, index + 1).is_some() {
        cx.add(out, index, index + 1, Age, 0.9, "age");
    } else if cued(cx, index)
        && !cx.figure_after(index + 1)
        && !cx.one_of(index + 1, &["days", "months", "weeks", "percent"])
    {
        cx.add(out, index, index + 1, Age, 0.8, "age");
    } else if cx.one_of(index + 1, &["m", "f", "male", "female"])
        && cx.near(index + 1)
        && years >= 90
        && cx.at(index + 1).is_capitalised()
    {
        cx.add(out, index, index + 1, Age, 0.55, "age");
    }
}

/// `92yo`, `92y`, `90s` behind `in her`.
pub(super) fn at_mixed(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    let bytes = cx.bytes(index);
    let lead = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = bytes.split_at(lead);
    let Some(years) = digits(number).filter(|years| wanted(cx, *years)) else { return };
    let known = |words: &[&str]| words.iter().any(|word| rest.eq_ignore_ascii_case(word.as_bytes()));
    let decade =
        known(&["s"]) && cx.one_of(index.wrapping_sub(1), &["her", "his", "their", "the", "late", "early", "mid"]);
    let apart = known(&["y", "yr"])
        && (cx.marks(index + 1, b"/.") && cx.one_of(index + 2, &["o"])
            || cx.one_of(index + 1, &["o", "old", "male", "female"]));
    if known(&["yo", "yof", "yom", "yrold", "yearold"]) || apart || decade && years % 10 == 0 {
        cx.add(out, index, index + 1, Age, 0.9, "age");
    }
}

/// `ninety-two year old`, `one hundred and one years old`
pub(super) fn at_word(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    const UNITS: &[&str] =
        &["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
    let hundred = cx.one_of(index, &["hundred"]);
    let from = if hundred && cx.one_of(index.wrapping_sub(1), &["one", "a"]) { index - 1 } else { index };
    let mut end = index + 1;
    let mut next = end + usize::from(cx.mark(end, b'-'));
    next += usize::from(hundred && cx.one_of(next, &["and"]));
    if cx.one_of(next, UNITS) && cx.near(next) {
        end = next + 1;
    }
    if cx.at(from).class == Class::Word && (old(cx, end).is_some() || cued(cx, from)) && !cx.is(from, Tags::MEASURE) {
        cx.add(out, from, end, Age, 0.85, "age-words");
    }
}
