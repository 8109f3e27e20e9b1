//! Dates in the spellings of notes and systems, with the time and the day of the week that stand beside them, and holidays.
//! A year alone may stay (164.514(b)(2)(i)(C)) and a time alone is none.

use cordon_phi::IdentifierKind::{self, BirthDate, DeathDate, ServiceDate};

use super::{Context, digits};
use crate::lexicon::{Phrase, Tags};
use crate::scan::{Class, Gap};
use crate::span::Span;

fn year4(value: u32) -> bool {
    (1880..2100).contains(&value)
}

/// Month and day in either order.
fn month_day(a: u32, b: u32) -> bool {
    (1..=31).contains(&a) && (1..=31).contains(&b) && a.min(b) <= 12
}

/// Any year, as written: four digits, two, or two behind an apostrophe. Returns the index behind it.
fn year_at(cx: &Context<'_>, index: usize) -> Option<usize> {
    let index = if cx.mark(index, b'\'') { index + 1 } else { index };
    let two = cx.digits(index, 2) && cx.mark(index.wrapping_sub(1), b'\'');
    let four = cx.digits(index, 4) && cx.number(index).is_some_and(year4);
    ((two || four) && !cx.figure_after(index + 1)).then_some(index + 1)
}

/// The length of the numeric date at `index` in tokens, and how sure.
fn numeric(cx: &Context<'_>, index: usize) -> Option<(usize, f32)> {
    let mark = *[b'/', b'-', b'.'].iter().find(|mark| cx.glue(index + 1, **mark))?;
    let (a, b) = (cx.number(index)?, cx.number(index + 2));
    let (first, second) = (cx.at(index).len(), cx.at(index + 2).len());
    let third = cx.glue(index + 3, mark).then(|| cx.at(index + 4));
    // 2021-03-04, and with the time glued to it: 2021-03-04T05:06.
    if first == 4 && year4(a) {
        let b = b.filter(|month| (1..=12).contains(month))?;
        let Some(third) = third else {
            return (second == 2 && mark != b'.' && b > 0).then_some((3, 0.6));
        };
        let day = cx.bytes(index + 4);
        let (day, rest) = day.split_at_checked(2).unwrap_or((day, b""));
        let valid =
            digits(day).is_some_and(|day| (1..=31).contains(&day)) && (rest.is_empty() || rest.starts_with(b"T"));
        return (valid && third.class != Class::Word).then_some((5, 0.95));
    }
    if first > 2 {
        return None;
    }
    let b = b?;
    match third {
        Some(third) if second <= 2 && third.class == Class::Number => {
            let c = cx.number(index + 4)?;
            let plausible = month_day(a, b);
            match third.len() {
                4 if plausible && year4(c) => Some((5, 0.95)),
                // 3/4/21 is a date, 3.4.21 a version or a figure unless written with two digits each.
                2 if plausible && mark == b'/' => Some((5, 0.85)),
                2 if plausible && (first == 2 && second == 2 || mark == b'-') => Some((5, 0.7)),
                // 31/12/99 and typing slips such as 13/32/2021 with a full year.
                4 if year4(c) && a < 100 && b < 100 && mark == b'/' => Some((5, 0.7)),
                _ => None,
            }
        }
        // 03/2021
        None if second == 4 && (1..=12).contains(&a) && year4(b) && mark != b'.' => Some((3, 0.85)),
        _ => None,
    }
}

/// The tokens `index..end` are a numeric date and nothing more.
pub(super) fn is_numeric(cx: &Context<'_>, index: usize, end: usize) -> bool {
    numeric(cx, index).is_some_and(|(length, _)| index + length == end)
}

pub(super) fn at_number(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    let token = cx.at(index);
    let second =
        cx.mark(index.wrapping_sub(1), b'-') && cx.glue(index + 1, b'/') && cx.glue(index.wrapping_sub(3), b'/');
    if let Some((length, score)) = numeric(cx, index).filter(|_| second || !cx.figure_before(index)) {
        let end = index + length;
        let last = cx.at(end - 1);
        let open = cx.glued(end) && cx.marks(end, b"/-") && cx.glued(end + 1) && cx.at(end + 1).class == Class::Number;
        // A range (3/4/21-3/9/21) goes on as another date.
        let range = open && numeric(cx, end + 1).is_some();
        if (!open || range) && !cx.unit_after(end) {
            let end = if last.class == Class::Mixed { time_tail(cx, end) } else { time(cx, end) };
            emit(cx, index, end, score, "date-numeric", out);
            return;
        }
    }
    if cx.figure_before(index) && !cx.mark(index.wrapping_sub(1), b'-') {
        return;
    }
    // 4 Mar 2021, 4-Mar-2021, 4. March, 4 of March
    if let Some(day) = cx.number(index).filter(|day| (1..=31).contains(day) && token.len() <= 2) {
        let mut month = index + 1;
        if cx.marks(month, b"-./") && cx.near(month) {
            month += 1;
        }
        if cx.one_of(month, &["of"]) {
            month += 1;
        }
        if cx.is(month, Tags::MONTH) && cx.near(month) && day > 0 && plausible_month(cx, month) {
            day_month(cx, index, month, out);
        }
        slash(cx, index, day, out);
    }
    // HL7 and file names: 20210304, 202103040506
    if matches!(token.len(), 8 | 12 | 14) && compact(cx.bytes(index)) && !cx.figure_before(index) {
        emit(cx, index, index + 1, 0.6, "date-compact", out);
    }
    let year = token.len() == 4 && cx.number(index).is_some_and(|year| (1900..2050).contains(&year));
    let alone = !cx.unit_after(index + 1) && !cx.figure_after(index + 1) && !cx.figure_before(index);
    if cx.options.bare_years && year && alone {
        emit(cx, index, index + 1, 0.55, "year", out);
    }
}

fn compact(bytes: &[u8]) -> bool {
    let part = |from: usize, to: usize| bytes.get(from..to).and_then(digits).unwrap_or(0);
    let time = bytes.len() == 8 || part(8, 10) < 24 && part(10, 12) < 60;
    (1900..2100).contains(&part(0, 4)) && (1..=12).contains(&part(4, 6)) && (1..=31).contains(&part(6, 8)) && time
}

/// `on 3/4`, `since 12/25`, `3/4-3/9`: a fraction, a strength or a murmur without such a word before it.
fn slash(cx: &Context<'_>, index: usize, a: u32, out: &mut Vec<Span>) {
    let Some(b) = cx.number(index + 2).filter(|_| cx.glue(index + 1, b'/') && cx.at(index + 2).len() <= 2) else {
        return;
    };
    let end = index + 3;
    let longer = cx.glue(end, b'/') || cx.unit_after(end) || cx.figure_after(end) && !cx.glue(end, b'-');
    let of = [
        "strength",
        "systolic",
        "diastolic",
        "murmur",
        "tablet",
        "tablets",
        "tab",
        "of",
        "pain",
        "power",
        "sem",
        "pulses",
        "weakness",
    ];
    if longer || !month_day(a, b) || cx.one_of(end, &of) {
        return;
    }
    let cues = [
        "on",
        "since",
        "until",
        "til",
        "till",
        "from",
        "through",
        "thru",
        "dated",
        "date",
        "starting",
        "due",
        "seen",
        "before",
        "after",
        "admitted",
        "discharged",
        "returned",
        "dos",
        "ending",
        "beginning",
        "scheduled",
        "appt",
        "appointment",
        "service",
        "comparison",
    ];
    // A line of its own, also with the hour behind it, or behind `NOTE`.
    let hour = usize::from(cx.digits(end, 4));
    let ends_line = cx.at(end + hour).class == Class::None || cx.at(end + hour).gap >= Gap::Line;
    let begins_line = cx.at(index.wrapping_sub(1)).class == Class::None || cx.at(index).gap >= Gap::Line;
    let headed = cx.one_of(index.wrapping_sub(1), &["note"]) && cx.near(index);
    if ends_line && (begins_line || headed) && a > 0 && b > 0 {
        emit(cx, index, time(cx, end), 0.6, "date-line", out);
        return;
    }
    let back = index.wrapping_sub(if cx.marks(index.wrapping_sub(1), b":(,.") { 2 } else { 1 });
    let cued = cx.near(index) && cx.one_of(back, &cues) || cx.is(back, Tags::WEEKDAY) && cx.at(back).len() > 2;
    let second = cx.glue(end, b'-') && cx.glue(end + 2, b'/') && cx.number(end + 3).is_some_and(|d| d <= 31);
    if cued || second && a <= 12 && b > 4 {
        let end = if second { end + 4 } else { end };
        emit(cx, index, time(cx, end), 0.65, "date-slash", out);
    }
}

/// `12th`, `4TH`: a day that its ending shows.
fn ordinal(cx: &Context<'_>, index: usize) -> bool {
    let bytes = cx.bytes(index);
    let Some((number, ending)) = bytes.split_at_checked(bytes.len().saturating_sub(2)) else { return false };
    [&b"st"[..], b"nd", b"rd", b"th"].iter().any(|known| ending.eq_ignore_ascii_case(known))
        && digits(number).is_some_and(|day| (1..=31).contains(&day))
}

fn day_at(cx: &Context<'_>, index: usize) -> bool {
    let number = cx.number(index).is_some_and(|day| (1..=31).contains(&day)) && cx.at(index).len() <= 2;
    number || ordinal(cx, index)
}

/// `may`, `march`, `mar`, `sat` are words too: they are dates with a capital only.
fn plausible_month(cx: &Context<'_>, index: usize) -> bool {
    let token = cx.at(index);
    token.is_capitalised() || !cx.one_of(index, &["may", "march", "mar", "dec"])
}

pub(super) fn at_mixed(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    // 4th of March 2021, 4th March
    if ordinal(cx, index) {
        let month = if cx.one_of(index + 1, &["of"]) { index + 2 } else { index + 1 };
        if cx.is(month, Tags::MONTH) && cx.near(month) && plausible_month(cx, month) {
            day_month(cx, index, month, out);
        } else if cx.one_of(index.wrapping_sub(1), &["the"])
            && cx.one_of(index.wrapping_sub(2), &["on", "until", "since", "by"])
        {
            let what = cx.at(index + 1);
            if what.class != Class::Word || !cx.near(index + 1) {
                emit(cx, index, index + 1, 0.55, "date-day", out);
            }
        }
        return;
    }
    // 12MAR2021, 04Mar21, 20210304T0506, Mar2021
    let bytes = cx.bytes(index);
    let lead = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (day, rest) = bytes.split_at(lead);
    let middle = rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let (word, year) = rest.split_at(middle);
    let month = cx.lexicon.look_up(word).1.has(Tags::MONTH);
    let dated = digits(day).is_none_or(|day| (1..=31).contains(&day)) && lead <= 2;
    if month && dated && year.iter().all(u8::is_ascii_digit) && matches!(year.len(), 2 | 4) {
        emit(cx, index, time(cx, index + 1), 0.85, "date-compact", out);
    } else if month && lead > 0 && dated && year.is_empty() {
        day_month(cx, index, index, out);
    } else if lead == 8 && compact(day) && word.eq_ignore_ascii_case(b"T") {
        emit(cx, index, time_tail(cx, index + 1), 0.8, "date-compact", out);
    }
}

/// Day `from`, then the month; a year and a time may follow.
fn day_month(cx: &Context<'_>, from: usize, month: usize, out: &mut Vec<Span>) {
    let mut end = month + 1;
    let mut score = 0.8;
    let mut next = end;
    while next < end + 2 && cx.marks(next, b".,-/") && cx.near(next) {
        next += 1;
    }
    if let Some(behind) = year_at(cx, next).filter(|_| cx.near(next)) {
        (end, score) = (behind, 0.95);
    } else if cx.glue(month + 1, b'-') && cx.digits(month + 2, 2) || cx.glue(month + 1, b'/') && cx.digits(month + 2, 2)
    {
        (end, score) = (month + 3, 0.9);
    }
    emit(cx, from, time(cx, end), score, "date-day-month", out);
}

/// At the name of a month or of a day of the week.
pub(super) fn at_word(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    if cx.is(index, Tags::WEEKDAY) && !cx.is(index, Tags::MONTH) {
        if cx.options.weekdays && cx.at(index).is_capitalised() && cx.at(index).len() > 3 {
            emit(cx, index, index + 1, 0.55, "weekday", out);
        }
        return;
    }
    if !plausible_month(cx, index) && !day_at(cx, index + 1) {
        return;
    }
    let mut next = index + 1;
    if cx.mark(next, b'.') && cx.glued(next) {
        next += 1;
    }
    let hyphen = cx.marks(next, b"-/") && cx.glued(next);
    let comma = cx.mark(next, b',') && cx.near(next);
    if comma || hyphen {
        next += 1;
    }
    if cx.one_of(next, &["of"]) {
        next += 1;
    }
    if cx.one_of(next, &["the"]) && ordinal(cx, next + 1) {
        next += 1;
    }
    if !cx.near(next) {
        return month_alone(cx, index, out);
    }
    // March 2021, Mar '21, March of 2021, Mar-21
    if let Some(end) = year_at(cx, next) {
        return emit(cx, index, time(cx, end), 0.9, "date-month-year", out);
    }
    if !day_at(cx, next) || comma {
        return month_alone(cx, index, out);
    }
    // `may 5 mg`, `Mar 10 days`; `March 4.5`
    let mut end = next + 1;
    if cx.unit_after(end) && !hyphen && !cx.one_of(end, &["x"]) {
        return month_alone(cx, index, out);
    }
    let mut score = if cx.at(index).is_capitalised() { 0.85 } else { 0.6 };
    // Ranges: March 4-6, March 4th and 6th
    let between = cx.mark(end, b'-') || cx.one_of(end, &["and", "to", "through", "thru"]);
    if between && day_at(cx, end + 1) && cx.near(end + 1) && !cx.unit_after(end + 2) {
        end += 2;
    }
    let mut year = end;
    while year < end + 2 && (cx.marks(year, b",.-/") || cx.one_of(year, &["of", "in"])) && cx.near(year) {
        year += 1;
    }
    if let Some(behind) = year_at(cx, year).filter(|_| cx.near(year)) {
        (end, score) = (behind, 0.95);
    } else if cx.mark(end, b',') && cx.digits(end + 1, 2) && cx.near(end + 1) && !cx.unit_after(end + 2) {
        (end, score) = (end + 2, 0.9);
    }
    emit(cx, index, time(cx, end), score, "date-month-day", out);
}

/// `in March`, `since early May`: an element of a date, though the day is missing.
fn month_alone(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    let token = cx.at(index);
    let cues = [
        "in", "since", "until", "till", "last", "this", "next", "early", "late", "mid", "of", "by", "during", "from",
        "through", "before", "after", "between", "past", "previous", "around",
    ];
    let back = if cx.mark(index.wrapping_sub(1), b'-') { 2 } else { 1 };
    // `Jan`, `April`, `June` are names also.
    let behind = cx.at(index + 1);
    let named = behind.is_capitalised() && cx.near(index + 1) && !behind.tags.has(Tags::COMMON);
    let safe = token.len() > 3 || cx.one_of(index, &["Dec", "Feb", "Oct", "Nov", "Sep", "Aug", "Jul"]);
    if token.is_capitalised() && safe && !named && cx.near(index) && cx.one_of(index.wrapping_sub(back), &cues) {
        emit(cx, index, index + 1, 0.55, "date-month", out);
    }
}

pub(super) fn at_holiday(cx: &Context<'_>, from: usize, end: usize, out: &mut Vec<Span>) {
    if !cx.at(from).is_capitalised() && cx.at(from).class == Class::Word {
        return;
    }
    let year = if cx.mark(end, b',') || cx.one_of(end, &["of"]) { end + 1 } else { end };
    let end = year_at(cx, year).filter(|_| cx.near(year)).unwrap_or(end);
    emit(cx, from, end, 0.7, "holiday", out);
}

/// Behind `DOB`, `born on`, `died`: any date, also a short one, is of that kind.
pub(super) fn at_cue(cx: &Context<'_>, end: usize, kind: IdentifierKind, out: &mut Vec<Span>) {
    let mut index = end;
    while index < end + 4 && (cx.marks(index, b".:-=(|#") || cx.one_of(index, &["is", "was", "of", "on", "in"])) {
        index += 1;
    }
    if cx.at(index).gap == Gap::Blank {
        return;
    }
    if let Some((length, _)) = numeric(cx, index) {
        let last = time(cx, index + length);
        return cx.add(out, index, last, kind, 0.97, "date-cue");
    }
    let eight = cx.digits(index, 8) && compact(cx.bytes(index));
    let six = cx.digits(index, 6) && kind == BirthDate;
    if eight || six {
        cx.add(out, index, index + 1, kind, 0.9, "date-cue");
    }
}

/// What kind a date is by the words before it.
fn kind_of(cx: &Context<'_>, from: usize) -> IdentifierKind {
    for by in 1..=5 {
        let index = from.wrapping_sub(by);
        if cx.at(index).class == Class::None || cx.marks(index, b".;") {
            break;
        }
        if cx.is(index, Tags::STARTS_PHRASE) {
            if let Some((Phrase::DateCue(kind), _)) = cx.lexicon.phrase_at(cx.tokens, index) {
                return kind;
            }
            if cx.one_of(index, &["dob", "born", "birthdate", "birthday"]) {
                return BirthDate;
            }
            if cx.one_of(index, &["died", "deceased", "expired"]) {
                return DeathDate;
            }
        }
    }
    ServiceDate
}

/// Adds the date with a day of the week before it.
fn emit(cx: &Context<'_>, from: usize, end: usize, score: f32, rule: &'static str, out: &mut Vec<Span>) {
    let mut start = from;
    let mut back = 1;
    while back <= 3 && (cx.marks(from.wrapping_sub(back), b",.(") || cx.one_of(from.wrapping_sub(back), &["the", "on"]))
    {
        back += 1;
    }
    let day = from.wrapping_sub(back);
    let long = cx.at(day).len() > 3 || cx.at(day).is_capitalised();
    if cx.is(day, Tags::WEEKDAY) && long && cx.near(from) && rule != "weekday" {
        start = day;
    }
    cx.add(out, start, end, kind_of(cx, start), score, rule);
}

/// The index behind a time of day that stands at `index`, as ` 14:30`, `, at 2:30 pm`, `T05:06:07Z`; `index` when none does.
fn time(cx: &Context<'_>, index: usize) -> usize {
    let mut at = index;
    while at < index + 3 && (cx.marks(at, b",@-") && cx.near(at) || cx.one_of(at, &["at", "around", "about", "t"])) {
        at += 1;
    }
    if !cx.near(at) {
        return index;
    }
    let hour = cx.number(at).filter(|hour| *hour < 25 && cx.at(at).len() <= 2);
    let clock = hour.is_some() && cx.glue(at + 1, b':') && cx.number(at + 2).is_some_and(|minute| minute < 60);
    if clock {
        return time_tail(cx, at + 1);
    }
    let half = |place: usize| cx.one_of(place, &["am", "pm"]) && cx.near(place);
    if hour.is_some() && half(at + 1) {
        return at + 2;
    }
    // 1430 hrs, 0600h
    let military = cx.digits(at, 4) && cx.one_of(at + 1, &["h", "hrs", "hours"]);
    if military { at + 2 } else { index }
}

/// Minutes, seconds, a half of the day and a zone, from the colon on.
fn time_tail(cx: &Context<'_>, index: usize) -> usize {
    let mut end = index;
    while end < index + 6
        && cx.glued(end)
        && cx.marks(end, b":.")
        && cx.glued(end + 1)
        && cx.at(end + 1).class != Class::Punct
    {
        if cx.at(end + 1).class == Class::Word {
            break;
        }
        end += 2;
    }
    if cx.near(end) && cx.one_of(end, &["am", "pm", "a", "p"]) {
        let points = cx.mark(end + 1, b'.') && cx.one_of(end + 2, &["m"]);
        end += if points { 3 } else { 1 };
    }
    if cx.glued(end) && cx.marks(end, b"+-") && cx.glued(end + 1) && (cx.digits(end + 1, 2) || cx.digits(end + 1, 4)) {
        end += 2;
        if cx.glue(end, b':') && cx.digits(end + 1, 2) {
            end += 2;
        }
    } else if cx.near(end)
        && cx.one_of(end, &["est", "edt", "cst", "cdt", "mst", "mdt", "pst", "pdt", "utc", "gmt", "z"])
    {
        end += 1;
    }
    end
}
