//! Mail addresses, by RFC 5321's lengths.

use cordon_phi::IdentifierKind::Email;

use super::Context;
use crate::scan::Class;
use crate::span::Span;

/// Returns the index behind the address, which nothing else needs to look at for mail or web addresses.
pub(super) fn at(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) -> usize {
    let mut from = index;
    while from > 0 && index - from < 32 && cx.at(index).start - cx.at(from - 1).start <= 64 && cx.glued(from) {
        let part = cx.at(from - 1);
        if part.class == Class::Punct && !b".-_+%'&".contains(&part.byte) {
            break;
        }
        from -= 1;
    }
    while from < index && cx.at(from).class == Class::Punct {
        from += 1;
    }
    let mut end = index + 1;
    let mut points = 0;
    while end - index < 64 && cx.glued(end) && cx.at(end).end - cx.at(index).end <= 255 {
        match cx.at(end).class {
            Class::Word | Class::Number | Class::Mixed => {}
            Class::Punct if cx.marks(end, b".-") => points += usize::from(cx.mark(end, b'.')),
            _ => break,
        }
        end += 1;
    }
    while end > index + 1 && cx.at(end - 1).class == Class::Punct {
        points -= usize::from(cx.mark(end - 1, b'.'));
        end -= 1;
    }
    if from == index || end == index + 1 || cx.at(index + 1).class == Class::Punct {
        return index + 1;
    }
    // `name@host` within a hospital is one too; `5@10 mg` is not.
    let score = if points > 0 { 0.95 } else { 0.5 };
    if points > 0 || cx.at(index + 1).class == Class::Word && cx.at(index + 1).len() > 2 {
        cx.add(out, from, end, Email, score, "email");
    }
    end
}
