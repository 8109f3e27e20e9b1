//! DICOM files, and the shipped policy on them.

use std::sync::OnceLock;

use arrow_array::cast::AsArray;
use cordon_deid::dicom::DicomRecipe;
use cordon_deid::document::Documents;
use cordon_formats::dicom::{
    Change, DicomError, Document, Element, Kind, Limits, New, NewValue, PixelData, Pixels, Problem, ReadError, Tag, VR,
    attribute, read as read_file, tables,
};

use crate::kernels::{env, shipped};
use crate::pieces::{Dribble, dice, sizes};

/// A file of some hundred bytes may say that it inflates to gigabytes.
const LIMITS: Limits = Limits { max_bytes: 8 << 20, max_elements: 1 << 16, max_depth: 32 };

fn parse_within(bytes: &[u8], chunk: usize, pixels: Pixels, limits: Limits) -> Result<Document, DicomError> {
    match read_file(Dribble(bytes, chunk), limits, |_| pixels) {
        Ok(document) => Ok(document),
        Err(ReadError::Broken(error)) => Err(error),
        Err(ReadError::Source(error)) => panic!("memory does not fail: {error}"),
    }
}

fn parse(bytes: &[u8], pixels: Pixels) -> Result<Document, DicomError> {
    parse_within(bytes, usize::MAX, pixels, LIMITS)
}

/// What an element says, without its place.
type Said<'d> = (Tag, VR, Kind, u16, &'d [u8]);

/// An element that stays, and what its value is.
type Kept<'d> = (Tag, Option<&'d [u8]>);

fn said<'d>(document: &'d Document, element: &Element) -> Said<'d> {
    let value: &[u8] =
        if matches!(element.kind, Kind::Value | Kind::Fragments) { document.value(element) } else { &[] };
    (element.tag, element.vr, element.kind, element.depth, value)
}

fn all_said(document: &Document) -> Vec<Said<'_>> {
    document.elements().iter().map(|element| said(document, element)).collect()
}

/// The element of the data set that holds its picture.
fn is_pixels(element: &Element) -> bool {
    let tag = element.tag;
    element.depth == 0 && tag.group() == 0x7FE0 && matches!(tag.element(), 0x0008..=0x0010) && element.length() > 0
}

pub fn read(data: &[u8]) {
    let whole = parse(data, Pixels::Keep);
    let pieces = parse_within(data, sizes(data).0, Pixels::Keep, LIMITS);
    match (&whole, &pieces) {
        (Ok(whole), Ok(pieces)) => assert!(all_said(whole) == all_said(pieces), "another file in pieces"),
        (Err(whole), Err(pieces)) => assert!(whole == pieces, "{whole} in whole, {pieces} in pieces"),
        _ => panic!("a file in pieces or as a whole only"),
    }
    let small = Limits { max_bytes: 1 + data.len() / 2, max_elements: 4, max_depth: 2 };
    if let Ok(some) = parse_within(data, usize::MAX, Pixels::LeaveOut, small) {
        assert!(some.elements().len() <= 4 && some.elements().iter().all(|element| element.depth <= 2));
    }
    without_pixels(data, &whole);
    let Ok(document) = whole else { return };
    places(&document);
    unchanged(data, &document);
    changed(&document, dice(data) as usize);
    let flat = tables::flatten([(&document, data, document.pixel_data())]).expect("tables");
    let items = document.elements().iter().filter(|element| element.kind == Kind::Item).count();
    for (table, rows) in flat {
        let wanted = if table == tables::INSTANCE { 1 } else { document.elements().len() - items };
        assert!(rows.num_rows() == wanted, "an element is in no table");
    }
}

/// Left out or refused, pixel data change nothing of the rest.
fn without_pixels(data: &[u8], whole: &Result<Document, DicomError>) {
    match (whole, parse(data, Pixels::LeaveOut)) {
        (Ok(whole), Ok(rest)) => {
            let left: Vec<Said<'_>> = whole
                .elements()
                .iter()
                .filter(|element| !is_pixels(element))
                .map(|element| said(whole, element))
                .collect();
            assert!(all_said(&rest) == left, "something else is left out");
            let has_pixels = left.len() < whole.elements().len();
            assert!((rest.pixel_data() == PixelData::LeftOut) == has_pixels);
        }
        // What is passed over counts for no bound, and is not walked as closely.
        (Err(error), _) if matches!(error.problem, Problem::TooLong { .. } | Problem::TooManyElements { .. }) => {}
        (Err(kept), Err(left_out)) => assert!(kept.problem == left_out.problem, "{kept} kept, {left_out} left out"),
        _ => panic!("a file with or without its pixel data only"),
    }
    let is_refused = matches!(parse(data, Pixels::Refuse), Err(DicomError { problem: Problem::PixelData, .. }));
    if let Ok(whole) = whole {
        assert!(is_refused == whole.elements().iter().any(is_pixels), "pixel data are not refused");
    }
}

/// Elements lie one behind the other, and what stands in another within it.
fn places(document: &Document) {
    let all = document.elements();
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    for (number, element) in all.iter().enumerate() {
        let (span, next) = (element.span(), element.next());
        while open.last().is_some_and(|(end, _)| *end <= number) {
            open.pop();
        }
        assert!(next > number && next <= all.len() && usize::from(element.depth) == open.len());
        assert!(span.start >= at && span.start + 8 + element.length() <= span.end, "elements overlap");
        assert!(open.last().is_none_or(|(end, stop)| next <= *end && span.end <= *stop), "it leaves what it stands in");
        match element.kind {
            // Behind its header, of eight bytes or twelve, what stands in it begins.
            Kind::Sequence | Kind::Item => {
                at = span.start + 8;
                open.push((next, span.end));
            }
            Kind::Value | Kind::Fragments => {
                assert!(next == number + 1);
                at = span.end;
            }
        }
        if element.kind == Kind::Item {
            assert!(element.tag == Tag(0xFFFE, 0xE000) && number > 0);
        }
    }
    let top: usize = document.top().map(|(number, element)| element.next() - number).sum();
    assert!(top + document.first() == all.len(), "an element of the data set is nowhere");
}

fn again(bytes: &[u8], limits: Limits) -> Document {
    parse_within(bytes, usize::MAX, Pixels::Keep, limits)
        .unwrap_or_else(|error| panic!("what was written is no file: {error}"))
}

/// What nobody changes is what it was.
fn unchanged(data: &[u8], document: &Document) {
    let bytes = document.write(&[], &[]).expect("no change");
    if document.syntax().deflated {
        assert!(all_said(&again(&bytes, LIMITS)) == all_said(document), "deflated anew it is another file");
    } else {
        assert!(bytes == data, "what nobody changes stays");
    }
}

/// Some elements removed, some emptied, some with another value, and a new one: the rest stays.
fn changed(document: &Document, dice: usize) {
    const VALUE: &[u8] = b"A 1 ";
    // Behind the meta group elements of its group would be of it.
    let is_meta = |element: &Element| matches!(element.tag.group(), 0x0002 | 0x0200);
    if document.top().any(|(_, element)| is_meta(element)) {
        return;
    }
    let mut changes: Vec<(usize, Change<'_>)> = Vec::new();
    let mut wanted: Vec<Kept<'_>> = Vec::new();
    let mut number = 0;
    while let Some(element) = document.element(number) {
        let roll = (dice >> (number % 48)).wrapping_add(number) % 7;
        let is_length = element.tag.element() == 0;
        let change = match (roll, element.kind) {
            _ if number < document.first() || is_length || element.kind == Kind::Item => None,
            (0, _) => Some(Change::Removed),
            (1, Kind::Value | Kind::Sequence) if !is_pixels(element) => Some(Change::Value(&[])),
            (2, Kind::Value) => Some(Change::Value(VALUE)),
            _ => None,
        };
        let own = matches!(element.kind, Kind::Value | Kind::Fragments).then(|| document.value(element));
        match change {
            None => wanted.push((element.tag, own)),
            Some(Change::Removed) => {}
            Some(Change::Value(value)) => wanted.push((element.tag, Some(value))),
        }
        if let Some(change) = change {
            changes.push((number, change));
        }
        number = if change.is_some() { element.next() } else { number + 1 };
    }
    let mark = Tag(0x0012, 0x0062);
    let item = || vec![New { tag: Tag(0x0008, 0x0100), vr: VR::SH, value: NewValue::Bytes(b"113100".to_vec()) }];
    let new = [
        New { tag: mark, vr: VR::CS, value: NewValue::Bytes(b"YES ".to_vec()) },
        New { tag: Tag(0x0012, 0x0064), vr: VR::SQ, value: NewValue::Items(vec![item(), item()]) },
    ];
    let bytes = document.write(&changes, &new).expect("short values");
    let limits = Limits { max_bytes: LIMITS.max_bytes + 1024, max_elements: LIMITS.max_elements + 8, max_depth: 34 };
    let after = again(&bytes, limits);
    // What was added stands together, and nothing of it within what was there.
    let all = after.elements();
    let added = after.top().filter(|(_, element)| matches!(element.tag, Tag(0x0012, 0x0062 | 0x0064)));
    let added: Vec<usize> = added.map(|(number, _)| number).collect();
    assert!(added.iter().any(|at| all[*at].tag == mark && after.value(&all[*at]) == b"YES "), "an element is missing");
    if changes.is_empty() || document.find(mark).is_some() || document.find(Tag(0x0012, 0x0064)).is_some() {
        return;
    }
    let skip = |number: usize| added.iter().any(|at| (*at..all[*at].next()).contains(&number));
    let left = all.iter().enumerate().filter(|(number, _)| !skip(*number)).map(|(_, element)| {
        let own = matches!(element.kind, Kind::Value | Kind::Fragments).then(|| after.value(element));
        (element.tag, own)
    });
    let same = |(one, other): (&Kept<'_>, Kept<'_>)| {
        // Group lengths are counted anew; a sequence without items has no value either.
        one.0 == other.0 && (one.0.element() == 0 || one.1.unwrap_or_default() == other.1.unwrap_or_default())
    };
    let left: Vec<_> = left.collect();
    assert!(left.len() == wanted.len() && wanted.iter().zip(left).all(same), "something else has changed");
}

fn recipe() -> &'static DicomRecipe {
    static RECIPE: OnceLock<Documents> = OnceLock::new();
    let documents = RECIPE.get_or_init(|| shipped(include_str!("../../crates/deid/policies/dicom.yaml"), "dicom"));
    documents.dicom().expect("a policy for DICOM")
}

pub fn warm() {
    recipe();
    attribute(Tag(0x0010, 0x0010));
}

/// The files that came out, and where rules failed.
type Out = (Vec<Vec<u8>>, Vec<(usize, String, String)>);

fn out(documents: &[Document]) -> Out {
    let output = recipe().apply(documents, &env()).unwrap_or_else(|error| panic!("{error}"));
    assert!(output.documents as usize + output.failures.len() == documents.len(), "a file is nowhere");
    let instances = output.tables.iter().filter(|(table, _)| table == tables::INSTANCE);
    let files = instances.flat_map(|(_, rows)| {
        let column = rows.column_by_name("file").expect("the column").as_binary::<i32>();
        column.iter().map(|file| file.expect("a file").to_vec()).collect::<Vec<_>>()
    });
    let failures = output.failures.iter().map(|one| (one.index, one.path.clone(), one.reason.to_string()));
    (files.collect(), failures.collect())
}

/// What comes out is a file of attributes that the standard has, each of its representation, without names and what else the
/// profile takes away; and a file gives among others what it gives alone.
pub fn apply(data: &[u8]) {
    for pixels in [Pixels::Keep, Pixels::LeaveOut] {
        let Ok(document) = parse(data, pixels) else { continue };
        let Ok(other) = parse(&crate::seeds::dicom_files()[0], Pixels::LeaveOut) else { panic!("a seed is no file") };
        let alone = out(std::slice::from_ref(&document));
        for bytes in &alone.0 {
            after(
                &document,
                &again(bytes, Limits { max_bytes: LIMITS.max_bytes * 2, max_elements: 1 << 17, max_depth: 40 }),
            );
        }
        let seed = out(std::slice::from_ref(&other));
        let (files, failures) = out(&[other, document]);
        assert!(files == [seed.0, alone.0].concat(), "another file among others");
        let shifted: Vec<_> = alone.1.into_iter().map(|(index, path, reason)| (index + 1, path, reason)).collect();
        assert!(failures == shifted, "it fails otherwise among others");
    }
}

fn after(before: &Document, document: &Document) {
    for (number, element) in document.elements().iter().enumerate() {
        let tag = element.tag;
        if element.kind == Kind::Item || tag.element() == 0 {
            continue;
        }
        assert!(tag.group() % 2 == 0, "a private attribute passed");
        let known = attribute(tag).expect("an attribute that the standard does not have passed");
        assert!(
            number < document.first() || known.is_either || known.vr == element.vr,
            "one of another representation"
        );
        // What a dummy replaces says nothing.
        let is_blank = matches!(document.value(element), b"" | b"ANONYMIZED");
        assert!(!matches!(known.vr, VR::PN | VR::LT | VR::ST | VR::UT) || is_blank, "a name or a free text passed");
    }
    let id = |document: &Document| document.text(Tag(0x0010, 0x0020)).unwrap_or_default().into_owned();
    assert!(id(before).is_empty() || id(before) != id(document), "the patient's number passed");
    assert!(document.text(Tag(0x0012, 0x0062)).as_deref() == Some("YES"), "it does not say that it is de-identified");
}
