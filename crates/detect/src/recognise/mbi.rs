//! Medicare beneficiary identifiers: eleven characters in the pattern that CMS published, hyphens allowed (1EG4-TE5-MK73).

use cordon_phi::IdentifierKind::HealthPlanId;

use super::Context;
use crate::scan::Class;
use crate::span::Span;

/// `C A AN N A AN N A A N N`, without S, L, O, I, B, Z.
pub(crate) fn is_mbi(text: &[u8]) -> bool {
    const PATTERN: &[u8; 11] = b"CAXNAXNAANN";
    let letter = |byte: u8| byte.is_ascii_uppercase() && !b"SLOIBZ".contains(&byte);
    text.len() == PATTERN.len()
        && text.iter().map(u8::to_ascii_uppercase).zip(PATTERN).all(|(byte, place)| match place {
            b'C' => (b'1'..=b'9').contains(&byte),
            b'A' => letter(byte),
            b'N' => byte.is_ascii_digit(),
            _ => letter(byte) || byte.is_ascii_digit(),
        })
}

pub(super) fn at(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    let token = cx.at(index);
    if token.class == Class::Mixed && token.len() == 11 && is_mbi(cx.bytes(index)) {
        cx.add(out, index, index + 1, HealthPlanId, 0.9, "mbi");
        return;
    }
    let parts = [4, 3, 4];
    let hyphened = token.len() == 4
        && (0..3).all(|part| cx.at(index + 2 * part).len() == parts.get(part).copied().unwrap_or(0))
        && cx.glue(index + 1, b'-')
        && cx.glue(index + 3, b'-');
    if hyphened && is_mbi(&[cx.bytes(index), cx.bytes(index + 2), cx.bytes(index + 4)].concat()) {
        cx.add(out, index, index + 5, HealthPlanId, 0.95, "mbi");
    }
}
