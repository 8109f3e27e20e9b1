//! Payment cards (12 to 19 digits with a Luhn digit, in one run or in groups) and bank accounts by IBAN.

use cordon_phi::IdentifierKind::AccountNumber;

use super::Context;
use crate::checksum;
use crate::scan::{Class, Gap};
use crate::span::Span;

pub(super) fn at_number(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    let token = cx.at(index);
    if cx.figure_before(index) {
        return;
    }
    if (12..=19).contains(&token.len()) {
        if checksum::luhn(cx.bytes(index)) {
            cx.add(out, index, index + 1, AccountNumber, 0.85, "card");
        }
        return;
    }
    if token.len() != 4 {
        return;
    }
    let mut whole = cx.bytes(index).to_vec();
    let mut end = index + 1;
    while whole.len() < 19 {
        let next = if cx.glue(end, b'-') { end + 1 } else { end };
        let token = cx.at(next);
        let near = next > end || token.gap == Gap::Space;
        if token.class != Class::Number || !near || !(3..=6).contains(&token.len()) {
            break;
        }
        whole.extend_from_slice(cx.bytes(next));
        end = next + 1;
    }
    if (13..=19).contains(&whole.len()) && checksum::luhn(&whole) {
        cx.add(out, index, end, AccountNumber, 0.9, "card");
    }
}

/// `GB82WEST12345698765432`, also in groups of four.
pub(super) fn at_mixed(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    let first = cx.bytes(index);
    let head = first.first().is_some_and(u8::is_ascii_alphabetic)
        && first.get(1).is_some_and(u8::is_ascii_alphabetic)
        && first.get(2).is_some_and(u8::is_ascii_digit);
    if !head {
        return;
    }
    if first.len() >= 15 {
        if checksum::iban(first) {
            cx.add(out, index, index + 1, AccountNumber, 0.95, "iban");
        }
        return;
    }
    if first.len() != 4 {
        return;
    }
    let mut whole = first.to_vec();
    let mut end = index + 1;
    while whole.len() < 34 && cx.at(end).gap == Gap::Space && cx.at(end).class != Class::Punct && cx.at(end).len() <= 4
    {
        whole.extend_from_slice(cx.bytes(end));
        end += 1;
        if whole.len() >= 15 && checksum::iban(&whole) {
            cx.add(out, index, end, AccountNumber, 0.95, "iban");
        }
    }
}
