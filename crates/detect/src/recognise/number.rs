//! Numbers and codes that look like an identifier and have no label: `UCSF-20210930`, `H678934`, nine digits in a row.

use cordon_phi::IdentifierKind::UniqueId;

use super::Context;
use crate::lexicon::Tags;
use crate::scan::{Case, Class, Gap};
use crate::span::Span;

/// The index behind a run of letters, digits and `-_/.` without blanks that begins at `index`, and how many digits and
/// letters it has.
pub(super) fn run(cx: &Context<'_>, index: usize) -> (usize, usize, usize) {
    let (mut digits, mut letters, mut end) = (0, 0, index);
    while end < index + 24 {
        let token = cx.at(end);
        if end > index && token.gap != Gap::Glued {
            break;
        }
        match token.class {
            Class::Punct if end > index && b"-_/.:#*".contains(&token.byte) => {}
            Class::Number => digits += token.len(),
            Class::Word => letters += token.len(),
            Class::Mixed => {
                let count = cx.bytes(end).iter().filter(|byte| byte.is_ascii_digit()).count();
                digits += count;
                letters += token.len() - count;
            }
            _ => break,
        }
        end += 1;
    }
    while end > index && cx.at(end - 1).class == Class::Punct {
        end -= 1;
    }
    (end, digits, letters)
}

pub(super) fn at(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    let token = cx.at(index);
    if !cx.options.unlabelled_ids || token.gap == Gap::Glued && cx.back(index, 1).class != Class::Punct {
        return;
    }
    if token.gap == Gap::Glued && !cx.marks(index.wrapping_sub(1), b"(#\"'[:=") {
        return;
    }
    if token.class == Class::Word && (!cx.glue(index + 1, b'-') || token.len() > 6 || token.case == Case::Lower) {
        return;
    }
    let (end, digits, letters) = run(cx, index);
    if cx.unit_after(end) || cx.code_before(index) || cx.mark(end, b'%') || token.tags.has(Tags::CODE) {
        return;
    }
    let number = cx.mark(index.wrapping_sub(1), b'#');
    let plain = (index..end).all(|part| cx.at(part).class != Class::Punct || cx.marks(part, b"-_"));
    let one = end == index + 1;
    let score = match (letters, digits) {
        (0, 7..) if one => 0.55,
        (0, 9..) if plain => 0.5,
        (1..=8, 5..) if plain => 0.6,
        (1..=8, 3..) if plain && number => 0.6,
        (0, 4..) if number => 0.55,
        (1.., 8..) if plain => 0.5,
        _ => return,
    };
    // `NCT01234567`, `rs1801133`, `BRCA2`: public.
    let public = [&b"NCT"[..], b"rs", b"PMID", b"PMC", b"LOINC", b"ICD", b"RFC", b"ISO", b"SNOMED"];
    let bytes = cx.bytes(index);
    if public.iter().any(|head| bytes.starts_with(head)) {
        return;
    }
    let from = if number && cx.glued(index) { index - 1 } else { index };
    cx.add(out, from, end, UniqueId, score, "identifier-shaped");
}
