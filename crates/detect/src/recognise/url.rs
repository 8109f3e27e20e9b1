//! Web addresses: with a scheme, with `www`, or a host name under a well-known domain.

use cordon_phi::IdentifierKind::Url;

use super::Context;
use crate::lexicon::Tags;
use crate::scan::Class;
use crate::span::Span;

const LONGEST: u32 = 2000;

/// `scheme://…`: returns the index behind it.
pub(super) fn at_colon(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) -> usize {
    let scheme = cx.back(index, 1);
    let opens = cx.glue(index, b':') && cx.mark(index + 1, b'/') && cx.mark(index + 2, b'/') && cx.glued(index + 2);
    if !opens || scheme.class != Class::Word || !cx.glued(index + 3) {
        return index;
    }
    let end = rest(cx, index + 3);
    cx.add(out, index - 1, end, Url, 0.95, "url");
    end
}

/// `www.…`, or the last label of `clinic.example.com/path`.
pub(super) fn at_word(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) -> usize {
    if cx.one_of(index, &["www"]) && cx.glue(index + 1, b'.') {
        let end = rest(cx, index + 2);
        cx.add(out, index, end, Url, 0.95, "url");
        return end;
    }
    if !cx.is(index, Tags::DOMAIN) || !cx.glued(index) || !cx.mark(index.wrapping_sub(1), b'.') {
        return index;
    }
    let mut from = index;
    while from >= 2 && index - from < 12 && cx.glue(from - 1, b'.') {
        let mut label = from - 2;
        if cx.at(label).class == Class::Punct {
            break;
        }
        while label >= 2 && index - label < 16 && cx.glue(label - 1, b'-') && cx.at(label - 2).class != Class::Punct {
            label -= 2;
        }
        from = label;
    }
    let letters = cx.at(from).class != Class::Number || from + 2 < index;
    let more = cx.glue(index + 1, b'.') && cx.is(index + 2, Tags::DOMAIN);
    let sentence = cx.at(index).is_capitalised() && !cx.at(from).is_capitalised();
    if from == index || !letters || more || sentence || cx.mark(from.wrapping_sub(1), b'@') && cx.glued(from) {
        return index;
    }
    let end = if cx.glue(index + 1, b'/') { rest(cx, index + 1) } else { index + 1 };
    // `us`, `me`, `ca` are words and states as well.
    let plain = cx.one_of(index, &["com", "org", "net", "edu", "gov", "mil", "io"]);
    cx.add(out, from, end, Url, if plain { 0.85 } else { 0.5 }, "url");
    end
}

/// Up to the next blank, without the marks that end a sentence.
fn rest(cx: &Context<'_>, from: usize) -> usize {
    let mut end = from;
    while cx.glued(end) && cx.at(end).end - cx.at(from).start <= LONGEST && !cx.marks(end, b"<>\"|") {
        if cx.at(end).class == Class::None {
            break;
        }
        end += 1;
    }
    while end > from && cx.marks(end - 1, b".,;:!?)]}'") {
        end -= 1;
    }
    end
}
