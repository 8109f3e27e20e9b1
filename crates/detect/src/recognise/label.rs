//! Numbers that a label names: `MRN: 123`, `MRN# 12-34`, `acct no. 99`, `member id is AB 1234`, `DL#`.

use cordon_phi::IdentifierKind::{
    self, BirthDate, DeviceId, Fax, LicenceNumber, Phone, Photo, PostalCode, Ssn, StreetAddress, VehicleId,
};

use super::number::run;
use super::{Context, date, phone};
use crate::checksum;
use crate::lexicon::Tags;
use crate::scan::{Class, Gap};
use crate::span::Span;

/// What may stand between a label and its number. Returns the index of the number and whether a mark pointed at it.
fn bridge(cx: &Context<'_>, end: usize) -> (usize, bool) {
    let mut at = end;
    let mut pointed = false;
    while at < end + 6 && cx.near(at) {
        if cx.marks(at, b":#=") {
            pointed = true;
        } else if cx
            .one_of(at, &["number", "no", "num", "nr", "is", "was", "id", "code", "of", "on", "file", "ending", "in"])
        {
            pointed |= cx.one_of(at, &["number", "no", "num", "id", "is"]);
        } else if !cx.marks(at, b".-([|\"'*") {
            break;
        }
        at += 1;
    }
    (at, pointed)
}

pub(super) fn at(
    cx: &Context<'_>,
    from: usize,
    label_end: usize,
    kind: IdentifierKind,
    weak: bool,
    out: &mut Vec<Span>,
) {
    // `discharge.MRN`, `preMRN` are no labels; `x-ray order` is no mail order.
    if cx.glued(from) && matches!(cx.back(from, 1).class, Class::Number | Class::Mixed) {
        return;
    }
    let (index, pointed) = bridge(cx, label_end);
    let token = cx.at(index);
    if !(cx.near(index) || pointed && token.gap == Gap::Line) || token.class == Class::None {
        return;
    }
    match kind {
        BirthDate => return date::at_cue(cx, label_end, BirthDate, out),
        Phone | Fax => return phone::labelled(cx, index, kind, pointed, out),
        Photo => return file(cx, index, out),
        PostalCode => return zip(cx, index, out),
        StreetAddress => {
            if token.class == Class::Number || token.class == Class::Mixed {
                cx.add(out, from, index + 1, StreetAddress, 0.9, "po-box");
            }
            return;
        }
        _ => {}
    }
    let (mut end, mut digits, letters) = run(cx, index);
    if end == index {
        return;
    }
    // Groups with blanks between: `123 45 6789`.
    while letters == 0 && cx.at(end).class == Class::Number && cx.at(end).gap == Gap::Space && digits < 20 {
        let (next, more, other) = run(cx, end);
        if other > 0 || more < 2 || next > end + 1 || cx.unit_after(next) {
            break;
        }
        (end, digits) = (next, digits + more);
    }
    // `AB 1234567`: a prefix of capitals.
    if digits == 0 && letters <= 4 && cx.at(end).gap == Gap::Space {
        let (next, more, _) = run(cx, end);
        if more >= 4 && token.is_capitalised() && !token.tags.has(Tags::COMMON) {
            (end, digits) = (next, more);
        }
    }
    let masked = cx.marks(index.wrapping_sub(1), b"*");
    let least = if weak && !pointed { 5 } else { 2 };
    let public = cx.code_before(index) && kind != LicenceNumber;
    if digits < least && !(masked && digits > 0) || digits + letters < 3 && !pointed || public {
        return plate(cx, index, kind, pointed, out);
    }
    // A measurement, a span of time or a date is not the number: `order 500 mg`, `visit 03/04/2021`, `policy 2021`.
    let year = cx.number(index).is_some_and(|value| (1900..2100).contains(&value)) && end == index + 1 && !pointed;
    if cx.unit_after(end) && digits < 7 || year || date::is_numeric(cx, index, end) {
        return;
    }
    let bytes = cx.bytes(index);
    let checked = match kind {
        LicenceNumber => checksum::npi(bytes) || checksum::dea(bytes),
        VehicleId => checksum::vin(bytes),
        DeviceId => checksum::gs1(bytes),
        Ssn => digits == 9 || digits == 4,
        _ => false,
    };
    let score = match (weak, pointed || checked) {
        (_, true) => 0.95,
        (false, false) => 0.85,
        (true, false) => 0.6,
    };
    let start = if cx.mark(index.wrapping_sub(1), b'#') && cx.glued(index) { index - 1 } else { index };
    cx.add(out, start, end, kind, score, "label");
}

/// A plate may be all letters (`plate: HLO KTY`), and so may a mark that says `pointed`.
fn plate(cx: &Context<'_>, index: usize, kind: IdentifierKind, pointed: bool, out: &mut Vec<Span>) {
    let token = cx.at(index);
    let shaped = token.class == Class::Word && (2..=8).contains(&token.len()) && !token.tags.has(Tags::COMMON);
    if kind == VehicleId && pointed && shaped && cx.bytes(index).iter().all(u8::is_ascii_uppercase) {
        let (end, _, _) = run(cx, index);
        let end = if cx.at(end).gap == Gap::Space && cx.at(end).class == Class::Number { end + 1 } else { end };
        cx.add(out, index, end, kind, 0.7, "plate");
    }
}

/// `photo: IMG_0001.jpg`
fn file(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    let (end, digits, letters) = run(cx, index);
    let named = [&b"jpg"[..], b"jpeg", b"png", b"gif", b"bmp", b"tif", b"tiff", b"heic", b"dcm"];
    let picture = end > index + 1 && named.iter().any(|name| cx.bytes(end - 1).eq_ignore_ascii_case(name));
    if picture || digits >= 4 && letters + digits >= 6 {
        cx.add(out, index, end, Photo, 0.85, "photo");
    }
}

/// Behind the word any code of digits is one, foreign ones too (`zip code is 610`, `postcode B0J 2H0`).
fn zip(cx: &Context<'_>, index: usize, out: &mut Vec<Span>) {
    let token = cx.at(index);
    let (mut end, digits, letters) = run(cx, index);
    if digits == 0 || digits + letters > 12 || letters > 4 {
        return;
    }
    let next = cx.at(end);
    if token.class == Class::Mixed && next.class == Class::Mixed && next.gap == Gap::Space && next.len() <= 4
        || digits <= 4 && next.class == Class::Number && next.gap == Gap::Space && next.len() <= 3
    {
        end += 1;
    }
    cx.add(out, index, end, PostalCode, 0.9, "zip-label");
}
