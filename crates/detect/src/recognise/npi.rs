//! National provider identifiers: ten digits whose check digit is right. One in ten numbers checks by chance, so without a
//! label it is no more than likely.

use cordon_phi::IdentifierKind::LicenceNumber;

use super::Context;
use crate::checksum;
use crate::span::Span;

pub(super) fn at_number(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    if cx.digits(index, 10) && !cx.figure_before(index) && !cx.figure_after(index + 1) && checksum::npi(cx.bytes(index))
    {
        cx.add(out, index, index + 1, LicenceNumber, 0.6, "npi");
    }
}
