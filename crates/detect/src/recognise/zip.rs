//! ZIP codes behind a state (`IL 62704`, `Illinois 62704-1234`); behind their label they are found by that.

use cordon_phi::IdentifierKind::PostalCode;

use super::Context;
use crate::lexicon::Tags;
use crate::scan::Case;
use crate::span::Span;

pub(super) fn at_number(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    if !cx.digits(index, 5) || cx.figure_before(index) {
        return;
    }
    let before = if cx.marks(index.wrapping_sub(1), b",.") { 2 } else { 1 };
    let state = cx.back(index, before);
    let written = state.case == Case::Upper && state.len() == 2 || state.len() > 2 && state.is_capitalised();
    let military = cx.one_of(index.wrapping_sub(before), &["AP", "AE", "AA"]);
    if !(state.tags.has(Tags::STATE) && written || military) {
        return;
    }
    let end = if cx.glue(index + 1, b'-') && cx.digits(index + 2, 4) { index + 3 } else { index + 1 };
    if !cx.unit_after(end) {
        cx.add(out, index, end, PostalCode, 0.9, "zip-after-state");
    }
}
