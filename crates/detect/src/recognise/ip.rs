//! Internet addresses of both versions, and hardware (MAC) addresses.

use core::net::Ipv6Addr;

use cordon_phi::IdentifierKind::{DeviceId, IpAddress};

use super::Context;
use crate::lexicon::Tags;
use crate::scan::{Class, Token};
use crate::span::Span;

pub(super) fn at_number(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    at_word(cx, index, out);
    if cx.figure_before(index) || cx.at(index).len() > 3 || !cx.glue(index + 1, b'.') {
        return;
    }
    let octets = (0..4).all(|part| {
        let place = index + 2 * part;
        cx.number(place).is_some_and(|value| value < 256) && (part == 3 || cx.glue(place + 1, b'.'))
    });
    let end = index + 7;
    if octets && !cx.figure_after(end) && !cx.is(index.wrapping_sub(1), Tags::CODE) {
        let end = if cx.glue(end, b':') && cx.number(end + 1).is_some() { end + 2 } else { end };
        cx.add(out, index, end, IpAddress, 0.85, "ipv4");
    }
}

fn hex(cx: &Context<'_>, token: Token, index: usize, most: usize) -> bool {
    token.class != Class::Punct
        && (1..=most).contains(&token.len())
        && cx.bytes(index).iter().all(u8::is_ascii_hexdigit)
}

/// At the first group of a run of groups with colons (or hyphens) between.
pub(super) fn at_word(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    let token = cx.at(index);
    if token.len() > 4 || !cx.marks(index + 1, b":-") || !cx.glued(index + 1) || !hex(cx, token, index, 4) {
        return;
    }
    if cx.glued(index) && cx.marks(index.wrapping_sub(1), b":-") {
        return;
    }
    let mac = [b':', b'-'].into_iter().any(|mark| {
        (0..6).all(|part| {
            let place = index + 2 * part;
            cx.at(place).len() == 2 && hex(cx, cx.at(place), place, 2) && (part == 5 || cx.glue(place + 1, mark))
        })
    });
    if mac && !cx.figure_after(index + 11) {
        cx.add(out, index, index + 11, DeviceId, 0.85, "mac");
        return;
    }
    let mut end = index + 1;
    let mut colons = 0;
    while end < index + 24 && cx.glued(end) {
        if cx.mark(end, b':') {
            colons += 1;
        } else if !hex(cx, cx.at(end), end, 4) && !cx.mark(end, b'.') {
            break;
        }
        end += 1;
    }
    while end > index && cx.mark(end - 1, b'.') {
        end -= 1;
    }
    let bytes = cx.text.get(cx.at(index).start as usize..cx.at(end - 1).end as usize).unwrap_or_default();
    if colons >= 3 && bytes.parse::<Ipv6Addr>().is_ok() {
        cx.add(out, index, end, IpAddress, 0.9, "ipv6");
    }
}
