//! Vehicle identification numbers: seventeen characters with a check digit.

use cordon_phi::IdentifierKind::VehicleId;

use super::Context;
use crate::checksum;
use crate::span::Span;

pub(super) fn at(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    if cx.at(index).len() == 17 && checksum::vin(cx.bytes(index)) {
        cx.add(out, index, index + 1, VehicleId, 0.95, "vin");
    }
}
