//! Unique device identifiers in the forms of the three issuing agencies (21 CFR 830): GS1 `(01)…(21)…`, HIBCC `+A99…`,
//! ICCBBA `=/…`.

use cordon_phi::IdentifierKind::DeviceId;

use super::Context;
use crate::checksum;
use crate::scan::{Class, Gap};
use crate::span::Span;

const LONGEST: usize = 40;

pub(super) fn at(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    if !glued_run(cx, index) {
        return;
    }
    let end = run(cx, index);
    let length = (cx.at(end.wrapping_sub(1)).end - cx.at(index).start) as usize;
    let rule = match cx.at(index).byte {
        b'(' => {
            let gtin = cx.digits(index + 1, 2) && cx.bytes(index + 1) == b"01" && cx.mark(index + 2, b')');
            if !gtin || !cx.glued(index + 3) {
                return;
            }
            let digits = cx.bytes(index + 3);
            if digits.len() != 14 || cx.at(index + 3).class != Class::Number {
                return;
            }
            if checksum::gs1(digits) { 0.95 } else { 0.75 }
        }
        b'+' if cx.at(index + 1).class == Class::Mixed
            && cx.at(index + 1).byte.is_ascii_uppercase()
            && length >= 8
            && cx.at(index).gap != Gap::Glued =>
        {
            0.7
        }
        b'=' if cx.mark(index + 1, b'/') && length >= 8 => 0.7,
        _ => return,
    };
    cx.add(out, index, end, DeviceId, rule, "udi");
}

fn glued_run(cx: &Context<'_>, index: usize) -> bool {
    cx.at(index + 1).gap == Gap::Glued && cx.at(index + 1).class != Class::None
}

fn run(cx: &Context<'_>, index: usize) -> usize {
    let mut end = index + 1;
    while end < index + LONGEST && cx.glued(end) && cx.at(end).class != Class::None && !cx.marks(end, b",;\"") {
        end += 1;
    }
    while end > index + 1 && cx.marks(end - 1, b".)(") && !cx.glued(end) {
        end -= 1;
    }
    end
}
