//! Telephone and fax numbers: the North American plan in its usual spellings with extensions, and international ones.

use cordon_phi::IdentifierKind::{self, Fax, Phone};

use super::Context;
use crate::lexicon::Tags;
use crate::scan::{Class, Gap};
use crate::span::Span;

/// The plan's areas and exchanges begin with 2 to 9; `123-456-7890` is still written for a number, and less sure.
fn sure(cx: &Context<'_>, area: usize, base: f32) -> f32 {
    let valid = cx.bytes(area).first().is_some_and(|digit| *digit >= b'2');
    if valid { base } else { base - 0.15 }
}

/// Phone or fax, by the words before it.
fn kind_of(cx: &Context<'_>, from: usize) -> IdentifierKind {
    let fax = (1..=4_usize)
        .take_while(|by| !cx.marks(from.wrapping_sub(*by), b";,") && cx.at(from.wrapping_sub(by - 1)).gap < Gap::Line)
        .any(|by| cx.one_of(from.wrapping_sub(by), &["fax", "facsimile", "fx", "faxed"]));
    if fax { Fax } else { Phone }
}

/// `x123`, `ext. 123`, `extension 123`
fn extension(cx: &Context<'_>, end: usize) -> usize {
    let at = if cx.mark(end, b',') { end + 1 } else { end };
    if cx.one_of(at, &["x", "ext", "extn", "extension"]) && cx.near(at) {
        let point = at + 1 + usize::from(cx.marks(at + 1, b".:#"));
        if cx.at(point).class == Class::Number && cx.at(point).len() <= 6 {
            return point + 1;
        }
    }
    let bytes = cx.bytes(at);
    let glued = cx.at(at).class == Class::Mixed
        && bytes.len() <= 7
        && bytes
            .split_first()
            .is_some_and(|(x, rest)| x.eq_ignore_ascii_case(&b'x') && rest.iter().all(u8::is_ascii_digit));
    // `(898)666-3621x0135`: the run before the x is the number's end.
    if glued { at + 1 } else { end }
}

/// `call Ann at 555-0199`: a word of telephones a few words before.
fn called(cx: &Context<'_>, index: usize) -> bool {
    cx.one_of(index.wrapping_sub(1), &["at", "on"])
        && (2..=6_usize)
            .take_while(|by| cx.at(index.wrapping_sub(by - 1)).gap < Gap::Line)
            .any(|by| cx.is(index.wrapping_sub(by), Tags::PHONE))
}

/// A mark or blank that may stand between groups. Returns the index of the next group.
fn between(cx: &Context<'_>, end: usize) -> Option<usize> {
    if cx.marks(end, b"-./") && cx.near(end) && cx.near(end + 1) && cx.at(end + 1).class != Class::Punct {
        return Some(end + 1);
    }
    (cx.at(end).gap == Gap::Space && cx.at(end).class != Class::Punct).then_some(end)
}

/// Four digits, also with an extension glued to them.
fn line(cx: &Context<'_>, index: usize) -> bool {
    let bytes = cx.bytes(index);
    let (head, tail) = bytes.split_at_checked(4).unwrap_or((bytes, b"x"));
    let extension = tail.split_first().is_none_or(|(x, rest)| {
        x.eq_ignore_ascii_case(&b'x') && !rest.is_empty() && rest.len() <= 6 && rest.iter().all(u8::is_ascii_digit)
    });
    head.len() == 4 && head.iter().all(u8::is_ascii_digit) && extension
}

/// Area, exchange and line from `index` on: the index behind them, and whether marks (not blanks) part them.
fn three(cx: &Context<'_>, index: usize) -> Option<(usize, bool)> {
    if !cx.digits(index, 3) {
        return None;
    }
    let exchange = between(cx, index + 1).filter(|place| cx.digits(*place, 3))?;
    let last = between(cx, exchange + 1).filter(|place| line(cx, *place))?;
    Some((last + 1, exchange > index + 1 || last > exchange + 1))
}

pub(super) fn at_number(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    if cx.figure_before(index) {
        return;
    }
    // 1-800-555-0199
    let long = cx.digits(index, 1) && cx.bytes(index) == b"1";
    let area = if long { between(cx, index + 1).unwrap_or(index) } else { index };
    if let Some((end, marks)) = three(cx, area) {
        let end = extension(cx, end);
        if !cx.figure_after(end) {
            let score = sure(cx, area, if marks || long { 0.85 } else { 0.7 });
            cx.add(out, index, end, kind_of(cx, index), score, "phone");
        }
        return;
    }
    // 555-0199 (home), pager 555-0199
    if cx.digits(index, 3) && cx.glue(index + 1, b'-') && line(cx, index + 2) && !cx.figure_after(index + 3) {
        let end = extension(cx, index + 3);
        let score = if spoken(cx, index, end) || called(cx, index) { 0.8 } else { 0.45 };
        cx.add(out, index, end, kind_of(cx, index), score, "phone-local");
        return;
    }
    // 07700 900 123: with a leading nought, in groups
    let bytes = cx.bytes(index);
    let national = bytes.first() == Some(&b'0') && (3..=6).contains(&bytes.len());
    if let Some((end, digits)) = groups(cx, index).filter(|_| national)
        && (10..=12).contains(&digits)
        && end > index + 1
    {
        cx.add(out, index, end, kind_of(cx, index), 0.6, "phone-national");
    }
}

/// `(617) 555-0199`, `(617)555.0199x12`; other countries: `(64) 3591-3246`
pub(super) fn at_bracket(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    if !cx.glued(index + 1) || !cx.mark(index + 2, b')') || cx.at(index + 1).class != Class::Number {
        return;
    }
    let exchange = index + 3 + usize::from(cx.marks(index + 3, b"-./"));
    if !cx.near(exchange) {
        return;
    }
    if cx.digits(index + 1, 3)
        && cx.digits(exchange, 3)
        && let Some(last) = between(cx, exchange + 1).filter(|place| line(cx, *place))
    {
        let prefix = cx.digits(index.wrapping_sub(1), 1) && cx.near(index);
        let from = if prefix { index - 1 } else { index };
        let end = extension(cx, last + 1);
        cx.add(out, from, end, kind_of(cx, from), sure(cx, index + 1, 0.95), "phone");
        return;
    }
    let short = (2..=5).contains(&cx.at(index + 1).len()) && cx.near(exchange);
    if let Some((end, digits)) = groups(cx, exchange).filter(|_| short)
        && (7..=9).contains(&digits)
    {
        cx.add(out, index, end, kind_of(cx, index), 0.6, "phone-national");
    }
}

/// `+44 20 7946 0958`, `+41 (0)62 585 51 90`
pub(super) fn at_plus(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    if !cx.glued(index + 1) || cx.at(index + 1).class != Class::Number {
        return;
    }
    let Some((end, digits)) = groups(cx, index + 1) else { return };
    if (9..=15).contains(&digits) && !cx.unit_after(end) {
        cx.add(out, index, extension(cx, end), kind_of(cx, index), 0.9, "phone-international");
    }
}

/// Groups of digits from `index` on, with blanks, hyphens, points and bracketed parts between: the index behind the last, and
/// how many digits.
fn groups(cx: &Context<'_>, index: usize) -> Option<(usize, usize)> {
    let mut end = index;
    let mut digits = 0;
    let mut at = index;
    while at < index + 16 && (at == index || cx.near(at)) {
        let token = cx.at(at);
        match token.class {
            Class::Number if digits + token.len() <= 15 => {
                digits += token.len();
                end = at + 1;
            }
            Class::Mixed if line(cx, at) => {
                digits += 4;
                end = at + 1;
                break;
            }
            Class::Punct if b"-./()".contains(&token.byte) => {}
            _ => break,
        }
        at += 1;
    }
    (end > index).then_some((end, digits))
}

/// Behind `Tel:`, `fax`, `call`, `pager #`.
pub(super) fn labelled(cx: &Context<'_>, index: usize, kind: IdentifierKind, pointed: bool, out: &mut Vec<Span>) {
    let open = usize::from(cx.marks(index, b"+("));
    let from = index - usize::from(cx.marks(index.wrapping_sub(1), b"(+") && open == 0);
    let Some((end, digits)) = groups(cx, index + open) else { return };
    let date = super::date::is_numeric(cx, index, end);
    // A pager or an extension of four or five digits needs a mark: `pager: 12345`.
    let enough = if pointed { 4..=15 } else { 7..=15 };
    if enough.contains(&digits) && !date && !cx.unit_after(end) {
        let score = if digits >= 7 { 0.9 } else { 0.6 };
        cx.add(out, from, extension(cx, end), kind, score, "phone-label");
    }
}

/// `555-0199 (home)`: a word behind or before that speaks of telephones.
fn spoken(cx: &Context<'_>, from: usize, end: usize) -> bool {
    let label = |index: usize| cx.is(index, Tags::PHONE) && cx.near(index);
    label(end) || label(end + 1) || (1..=3).any(|by| label(from.wrapping_sub(by)))
}
