//! DEA registration numbers: two letters and seven digits with a check digit.

use cordon_phi::IdentifierKind::LicenceNumber;

use super::Context;
use crate::checksum;
use crate::span::Span;

pub(super) fn at(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    if cx.at(index).len() == 9 && checksum::dea(cx.bytes(index)) {
        cx.add(out, index, index + 1, LicenceNumber, 0.9, "dea");
    }
}
