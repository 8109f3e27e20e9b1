//! Social security numbers: `123-45-6789`, also with blanks or points. Nine digits alone need a label.

use cordon_phi::IdentifierKind::Ssn;

use super::Context;
use crate::scan::Gap;
use crate::span::Span;

/// The administration never issued these: area 000, 666 and from 900, group 00, serial 0000.
pub(crate) fn never_issued(area: u32, group: u32, serial: u32) -> bool {
    area == 0 || area == 666 || area >= 900 || group == 0 || serial == 0
}

pub(super) fn at_number(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    if !cx.digits(index, 3) || cx.figure_before(index) {
        return;
    }
    let hyphened = [b'-', b'.'].into_iter().any(|mark| {
        cx.glue(index + 1, mark) && cx.digits(index + 2, 2) && cx.glue(index + 3, mark) && cx.digits(index + 4, 4)
    });
    let spaced = cx.digits(index + 1, 2)
        && cx.digits(index + 2, 4)
        && cx.at(index + 1).gap == Gap::Space
        && cx.at(index + 2).gap == Gap::Space;
    let (group, serial, end, shape) = match (hyphened, spaced) {
        (true, _) => (index + 2, index + 4, index + 5, 0.85),
        (_, true) => (index + 1, index + 2, index + 3, 0.6),
        _ => return,
    };
    if cx.figure_after(end) {
        return;
    }
    let parts = cx.number(index).zip(cx.number(group)).zip(cx.number(serial));
    // A number that was never issued is still what somebody typed for one: less sure, not let through.
    let issued = parts.is_some_and(|((area, group), serial)| !never_issued(area, group, serial));
    cx.add(out, index, end, Ssn, if issued { shape } else { shape - 0.2 }, "ssn");
}
