//! DICOM files: read as another writer makes them, written back as they were, and hostile ones refused.

use std::io::Write as _;

use cordon_formats::dicom::confidentiality::{Column, OptionCode, rows};
use cordon_formats::dicom::{
    Change, DicomError, Document, Kind, Limits, New, NewValue, PixelData, Pixels, Problem, ReadError, Tag, VR, read,
    tables,
};
use dicom_core::smallvec::smallvec;
use dicom_core::value::{DataSetSequence, PrimitiveValue, Value};
use dicom_core::{DataElement, dicom_value};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use proptest::prelude::*;

const IMPLICIT: &str = "1.2.840.10008.1.2";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const BIG: &str = "1.2.840.10008.1.2.2";
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";

fn text(tag: Tag, vr: VR, value: &str) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, vr, PrimitiveValue::from(value))
}

fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::SQ, Value::Sequence(DataSetSequence::from(items)))
}

fn object() -> InMemDicomObject {
    let code = InMemDicomObject::from_element_iter([
        text(Tag(0x0008, 0x0100), VR::SH, "T-D3000"),
        text(Tag(0x0008, 0x0104), VR::LO, "Chest"),
    ]);
    let inner = InMemDicomObject::from_element_iter([sequence(Tag(0x0040, 0xA168), vec![code.clone(), code])]);
    InMemDicomObject::from_element_iter([
        text(Tag(0x0008, 0x0005), VR::CS, "ISO_IR 100"),
        text(Tag(0x0008, 0x0016), VR::UI, "1.2.840.10008.5.1.4.1.1.2"),
        text(Tag(0x0008, 0x0018), VR::UI, "1.2.3.4"),
        text(Tag(0x0008, 0x0060), VR::CS, "CT"),
        text(Tag(0x0010, 0x0010), VR::PN, "M\u{fc}ller^Jos\u{e9}"),
        text(Tag(0x0010, 0x0020), VR::LO, "0007"),
        DataElement::new(Tag(0x0018, 0x0050), VR::DS, PrimitiveValue::from("1.5")),
        DataElement::new(Tag(0x0028, 0x0010), VR::US, dicom_value!(U16, [512])),
        DataElement::new(Tag(0x0009, 0x0010), VR::LO, PrimitiveValue::from("ACME")),
        DataElement::new(Tag(0x0009, 0x1001), VR::LO, PrimitiveValue::from("secret")),
        sequence(Tag(0x0040, 0xA730), vec![inner]),
    ])
}

fn file(object: InMemDicomObject, syntax: &str) -> Vec<u8> {
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(syntax)
        .media_storage_sop_class_uid("1.2.840.10008.5.1.4.1.1.2")
        .media_storage_sop_instance_uid("1.2.3.4");
    let mut out = Vec::new();
    object.with_meta(meta).unwrap().write_all(&mut out).unwrap();
    out
}

/// A file of explicit VR whose data set is deflated.
fn deflated(object: InMemDicomObject) -> Vec<u8> {
    let plain = file(object, EXPLICIT);
    let document = parse(&plain).unwrap();
    let start = document.element(document.first()).unwrap().span().start;
    let mut encoder = flate2::write::DeflateEncoder::new(raw(DEFLATED, b""), flate2::Compression::fast());
    encoder.write_all(&plain[start..]).unwrap();
    encoder.finish().unwrap()
}

fn parse(bytes: &[u8]) -> Result<Document, DicomError> {
    parse_with(bytes, |_| Pixels::Keep)
}

fn parse_with(bytes: &[u8], pixels: impl FnMut(&Document) -> Pixels) -> Result<Document, DicomError> {
    match read(bytes, Limits::default(), pixels) {
        Ok(document) => Ok(document),
        Err(ReadError::Broken(error)) => Err(error),
        Err(ReadError::Source(error)) => panic!("memory does not fail: {error}"),
    }
}

fn problem(bytes: &[u8]) -> Problem {
    match parse(bytes) {
        Ok(_) => panic!("must be refused"),
        Err(error) => error.problem,
    }
}

/// The meta group of a file in this syntax, and then bytes.
fn raw(syntax: &str, data_set: &[u8]) -> Vec<u8> {
    let mut meta = explicit((0x0002, 0x0002), *b"UI", b"1.2.840.10008.5.1.4.1.1.2\0");
    meta.extend(explicit((0x0002, 0x0003), *b"UI", b"1.2.3.4\0"));
    let mut syntax = syntax.as_bytes().to_vec();
    cordon_formats::dicom::pad(&mut syntax, VR::UI);
    meta.extend(explicit((0x0002, 0x0010), *b"UI", &syntax));
    let length = explicit((0x0002, 0x0000), *b"UL", &(meta.len() as u32).to_le_bytes());
    [&[0; 128][..], b"DICM", &length, &meta, data_set].concat()
}

fn explicit(tag: (u16, u16), vr: [u8; 2], value: &[u8]) -> Vec<u8> {
    let mut out = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
    out.extend_from_slice(&vr);
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    out
}

const UNDEFINED: [u8; 4] = [0xFF; 4];
const ITEM: [u8; 4] = [0xFE, 0xFF, 0x00, 0xE0];
const ITEM_END: [u8; 8] = [0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0];
const SEQUENCE_END: [u8; 8] = [0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0];

#[test]
fn files_of_another_writer_are_read_in_every_syntax() {
    for bytes in [file(object(), IMPLICIT), file(object(), EXPLICIT), file(object(), BIG), deflated(object())] {
        let document = parse(&bytes).unwrap();
        assert_eq!(document.text(Tag(0x0010, 0x0010)).unwrap(), "M\u{fc}ller^Jos\u{e9}");
        assert_eq!(document.text(Tag(0x0010, 0x0020)).unwrap(), "0007");
        let items = document.elements().iter().filter(|element| element.kind == Kind::Item).count();
        assert_eq!(items, 3);
        let deepest = document.elements().iter().map(|element| element.depth).max();
        assert_eq!(deepest, Some(4));
        let flat = tables::flatten([(&document, bytes.as_slice(), PixelData::None)]).unwrap();
        let rows = flat[0].1.column_by_name("rows").unwrap();
        assert_eq!(arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int32Type>(rows).value(0), 512);
    }
}

#[test]
fn what_is_not_changed_comes_back_byte_for_byte() {
    let mut files = vec![file(object(), IMPLICIT), file(object(), EXPLICIT), file(object(), BIG)];
    // Lengths that no one would write, an odd one, group lengths that are wrong, a preamble with something in it.
    let mut odd = raw(EXPLICIT, &explicit((0x0008, 0x0000), *b"UL", &[9, 0, 0, 0]));
    odd[..4].copy_from_slice(b"II*\0");
    odd.extend(explicit((0x0008, 0x0060), *b"CS", b"MRX"));
    odd.extend(
        [
            &[0x40, 0, 0x30, 0xA7][..],
            b"SQ\0\0",
            &UNDEFINED,
            &ITEM,
            &UNDEFINED,
            &ITEM_END,
            &ITEM,
            &[0; 4],
            &SEQUENCE_END,
        ]
        .concat(),
    );
    odd.extend(
        [&[0xE0, 0x7F, 0x10, 0][..], b"OB\0\0", &UNDEFINED, &ITEM, &[0; 4], &ITEM, &[2, 0, 0, 0, 1, 2], &SEQUENCE_END]
            .concat(),
    );
    files.push(odd);
    for bytes in files {
        assert!(parse(&bytes).unwrap().write(&[], &[]).unwrap() == bytes);
    }
    // A deflated data set is deflated anew; what is in it is the same.
    let bytes = deflated(object());
    let again = parse(&bytes).unwrap().write(&[], &[]).unwrap();
    let (first, second) = (parse(&bytes).unwrap(), parse(&again).unwrap());
    assert_eq!(first.elements().len(), second.elements().len());
    assert!(first.elements().iter().zip(second.elements()).all(|(a, b)| first.value(a) == second.value(b)));
}

#[test]
fn changes_are_read_by_another_reader() {
    for syntax in [IMPLICIT, EXPLICIT, BIG] {
        let bytes = file(object(), syntax);
        let document = parse(&bytes).unwrap();
        let number = |tag| document.elements().iter().position(|element| element.tag == tag).unwrap();
        let new = [
            New { tag: Tag(0x0012, 0x0062), vr: VR::CS, value: NewValue::Bytes(b"YES ".to_vec()) },
            New {
                tag: Tag(0x0012, 0x0064),
                vr: VR::SQ,
                value: NewValue::Items(vec![vec![New {
                    tag: Tag(0x0008, 0x0100),
                    vr: VR::SH,
                    value: NewValue::Bytes(b"113100".to_vec()),
                }]]),
            },
        ];
        let mut changes = [
            (number(Tag(0x0009, 0x1001)), Change::Removed),
            (number(Tag(0x0010, 0x0010)), Change::Value(b"")),
            (number(Tag(0x0010, 0x0020)), Change::Value(b"a longer identifier ")),
            // Two levels deep: the lengths around it change too.
            (number(Tag(0x0008, 0x0100)), Change::Removed),
        ];
        changes.sort_by_key(|(number, _)| *number);
        let out = document.write(&changes, &new).unwrap();
        let read = dicom_object::from_reader(out.as_slice()).unwrap();
        assert_eq!(read.element(Tag(0x0010, 0x0020)).unwrap().to_str().unwrap(), "a longer identifier");
        assert_eq!(read.element(Tag(0x0010, 0x0010)).unwrap().to_str().unwrap(), "");
        assert!(read.element(Tag(0x0009, 0x1001)).is_err());
        assert_eq!(read.element(Tag(0x0012, 0x0062)).unwrap().to_str().unwrap(), "YES");
        let content = read.element(Tag(0x0040, 0xA730)).unwrap().items().unwrap();
        let codes = content[0].element(Tag(0x0040, 0xA168)).unwrap().items().unwrap();
        assert_eq!(codes.len(), 2);
        assert!(codes[0].element(Tag(0x0008, 0x0100)).is_err() && codes[1].element(Tag(0x0008, 0x0100)).is_ok());
    }
}

#[test]
fn group_lengths_are_counted_again() {
    let mut data_set = explicit((0x0008, 0x0000), *b"UL", &[0, 0, 0, 0]);
    data_set.extend(explicit((0x0008, 0x0060), *b"CS", b"MR"));
    data_set.extend(explicit((0x0010, 0x0000), *b"UL", &[0, 0, 0, 0]));
    data_set.extend(explicit((0x0010, 0x0010), *b"PN", b"Doe^John"));
    let bytes = raw(EXPLICIT, &data_set);
    let document = parse(&bytes).unwrap();
    let name = document.elements().iter().position(|element| element.tag == Tag(0x0010, 0x0010)).unwrap();
    let out = document.write(&[(name, Change::Value(b"X "))], &[]).unwrap();
    let document = parse(&out).unwrap();
    let length = |tag| document.find(tag).map(|element| document.value(element).to_vec());
    assert_eq!(length(Tag(0x0008, 0x0000)), Some(vec![10, 0, 0, 0]));
    assert_eq!(length(Tag(0x0010, 0x0000)), Some(vec![10, 0, 0, 0]));
    assert!(dicom_object::from_reader(out.as_slice()).is_ok());
    assert!(out[..128].iter().all(|byte| *byte == 0));
}

/// Pixel data of this many bytes that nobody holds, and then an element.
struct Endless {
    head: std::io::Cursor<Vec<u8>>,
    pixels: u64,
    tail: std::io::Cursor<Vec<u8>>,
}

impl std::io::Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let got = self.head.read(out)?;
        if got > 0 || out.is_empty() {
            return Ok(got);
        }
        if self.pixels > 0 {
            let count = out.len().min(self.pixels as usize);
            out[..count].fill(7);
            self.pixels -= count as u64;
            return Ok(count);
        }
        self.tail.read(out)
    }
}

#[test]
fn pixel_data_that_are_left_out_are_not_held() {
    let length: u32 = 1 << 30;
    let mut head = raw(EXPLICIT, &explicit((0x0008, 0x0060), *b"CS", b"MR"));
    head.extend([&[0xE0, 0x7F, 0x10, 0][..], b"OW\0\0", &length.to_le_bytes()].concat());
    let tail = explicit((0x7FE1, 0x0010), *b"LO", b"ACME");
    let input = || Endless {
        head: std::io::Cursor::new(head.clone()),
        pixels: length.into(),
        tail: std::io::Cursor::new(tail.clone()),
    };
    let limits = Limits { max_bytes: 1 << 20, ..Limits::default() };
    let Ok(document) = read(input(), limits, |_| Pixels::LeaveOut) else { panic!("must be read") };
    assert_eq!(document.pixel_data(), PixelData::LeftOut);
    assert!(document.find(Tag(0x7FE0, 0x0010)).is_none() && document.find(Tag(0x7FE1, 0x0010)).is_some());
    assert!(document.size() < 1 << 20);
    let refused = read(input(), limits, |document| {
        assert_eq!(document.text(Tag(0x0008, 0x0060)).unwrap(), "MR");
        Pixels::Refuse
    });
    assert!(matches!(refused, Err(ReadError::Broken(DicomError { problem: Problem::PixelData, .. }))));
    let kept = read(input(), limits, |_| Pixels::Keep);
    assert!(matches!(kept, Err(ReadError::Broken(DicomError { problem: Problem::TooLong { .. }, .. }))));
}

#[test]
fn fragments_are_passed_over_in_one_pass() {
    let mut bytes = raw(EXPLICIT, &[&[0xE0, 0x7F, 0x10, 0][..], b"OB\0\0", &UNDEFINED].concat());
    for _ in 0..1_000_000 {
        bytes.extend_from_slice(&ITEM);
        bytes.extend_from_slice(&[0; 4]);
    }
    bytes.extend_from_slice(&SEQUENCE_END);
    bytes.extend(explicit((0x7FE1, 0x0010), *b"LO", b"ACME"));
    let begun = std::time::Instant::now();
    let document = parse_with(&bytes, |_| Pixels::LeaveOut).unwrap();
    assert!(document.find(Tag(0x7FE1, 0x0010)).is_some());
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn broken_files_are_told_where_and_how() {
    assert_eq!(problem(b""), Problem::NotPart10);
    assert_eq!(problem(b"mrn,name\n7,Doe\n"), Problem::NotPart10);
    assert_eq!(problem(&[&[0; 128][..], b"DICM"].concat()), Problem::NoTransferSyntax);
    assert_eq!(problem(&raw("1.2.840.113619.5.2", b"")), Problem::UnknownTransferSyntax);
    assert_eq!(problem(&raw(EXPLICIT, &explicit((0x0010, 0x0010), *b"??", b""))), Problem::UnknownVr);
    assert_eq!(problem(&raw(EXPLICIT, &ITEM_END)), Problem::StrayDelimiter);
    assert_eq!(problem(&raw(EXPLICIT, &[&ITEM[..], &[0; 4]].concat())), Problem::StrayDelimiter);
    let undefined = [&[0x10, 0, 0x10, 0][..], b"UT\0\0", &UNDEFINED].concat();
    assert_eq!(problem(&raw(EXPLICIT, &undefined)), Problem::UndefinedLength);
    let sequence =
        |inside: &[u8]| [&[0x40, 0, 0x30, 0xA7][..], b"SQ\0\0", &(inside.len() as u32).to_le_bytes(), inside].concat();
    assert_eq!(problem(&raw(EXPLICIT, &sequence(&explicit((0x0010, 0x0010), *b"PN", b"Doe ")))), Problem::NotAnItem);
    assert_eq!(problem(&raw(EXPLICIT, &sequence(&[&ITEM[..], &[99, 0, 0, 0]].concat()))), Problem::Overrun);
    let endless = [&[0x40, 0, 0x30, 0xA7][..], b"SQ\0\0", &UNDEFINED, &ITEM, &UNDEFINED].concat();
    assert_eq!(problem(&raw(EXPLICIT, &endless)), Problem::Truncated);
    assert_eq!(problem(&raw(DEFLATED, b"\xFF\xFF\xFF\xFF")), Problem::Inflate);
    let huge = [&[0x10, 0, 0x10, 0][..], b"UT\0\0", &0x7FFF_FFFF_u32.to_le_bytes()].concat();
    assert!(matches!(problem(&raw(EXPLICIT, &huge)), Problem::TooLong { .. }));
    // What stands where a tag should be may be a part of a name: only tags of the standard are said.
    let error = parse(&raw(EXPLICIT, b"Doe^John??")).err().unwrap().to_string();
    assert!(!error.contains("Doe") && !error.contains("6F44"), "{error}");
    let mut cut = raw(EXPLICIT, &explicit((0x0010, 0x0010), *b"PN", b"Doe^John"));
    cut.pop();
    let error = parse(&cut).err().unwrap();
    assert_eq!((error.problem, error.tag), (Problem::Truncated, Some(Tag(0x0010, 0x0010))));
    assert!(error.to_string().contains("PatientName"));
}

#[test]
fn depth_and_number_are_bounded() {
    let mut deep = Vec::new();
    for _ in 0..100_000 {
        deep.extend([&[0x40, 0, 0x30, 0xA7][..], b"SQ\0\0", &UNDEFINED, &ITEM, &UNDEFINED].concat());
    }
    assert_eq!(problem(&raw(EXPLICIT, &deep)), Problem::TooDeep { limit: 32 });
    let one = explicit((0x0008, 0x0060), *b"CS", b"");
    let many = one.repeat(Limits::default().max_elements);
    assert!(matches!(problem(&raw(EXPLICIT, &many)), Problem::TooManyElements { .. }));
    // A bomb: a gigabyte of zeros deflated.
    let mut encoder = flate2::write::DeflateEncoder::new(raw(DEFLATED, b""), flate2::Compression::best());
    encoder.write_all(&[&[0x10, 0, 0x10, 0][..], b"UT\0\0", &(1_u32 << 30).to_le_bytes()].concat()).unwrap();
    for _ in 0..1 << 8 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    assert!(matches!(problem(&encoder.finish().unwrap()), Problem::TooLong { .. }));
}

#[test]
fn every_cut_of_a_file_is_an_error_or_a_shorter_file() {
    for bytes in [file(object(), IMPLICIT), file(object(), EXPLICIT), file(object(), BIG), deflated(object())] {
        for length in 0..bytes.len() {
            if let Ok(document) = parse(&bytes[..length]) {
                assert!(document.elements().len() < parse(&bytes).unwrap().elements().len(), "{length}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(changed in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12), which in 0..4_usize) {
        let mut bytes = match which {
            0 => file(object(), IMPLICIT),
            1 => file(object(), EXPLICIT),
            2 => file(object(), BIG),
            _ => deflated(object()),
        };
        for (at, byte) in changed {
            let at = 132 + at.index(bytes.len() - 132);
            bytes[at] = byte;
        }
        if let Ok(document) = parse(&bytes) {
            let again = document.write(&[], &[]).unwrap();
            if !document.syntax().deflated {
                prop_assert!(again == bytes);
            }
            let _ = tables::flatten([(&document, bytes.as_slice(), document.pixel_data())]).unwrap();
            // Every element can be removed.
            let all: Vec<_> = (document.first()..document.elements().len()).map(|number| (number, Change::Removed)).collect();
            prop_assert!(document.write(&all, &[]).is_ok());
        }
    }
}

#[test]
fn the_table_is_that_of_the_standard() {
    let folder = std::env::var_os("CORDON_SHARED_DATA")
        .map_or_else(|| std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), Into::into);
    let path = folder.join("dicom/confidentiality_profile_attributes.json");
    let Ok(bytes) = std::fs::read(&path) else {
        eprintln!("skipped: no third-party data at {}", path.display());
        return;
    };
    let listed: Vec<serde_json::Value> = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((listed.len(), rows().len()), (621, 621));
    let names = [
        "rtnSafePrivOpt",
        "rtnUIDsOpt",
        "rtnDevIdOpt",
        "rtnInstIdOpt",
        "rtnPatCharsOpt",
        "rtnLongFullDatesOpt",
        "rtnLongModifDatesOpt",
        "cleanDescOpt",
        "cleanStructContOpt",
        "cleanGraphOpt",
    ];
    for row in listed {
        let id = row["id"].as_str().unwrap();
        let tag = if id.contains("odd") {
            Tag(1, 0)
        } else {
            cordon_formats::dicom::parse_tag(&id.replace('x', "0")).unwrap()
        };
        let ours = rows().iter().find(|row| row.tag == tag).unwrap_or_else(|| panic!("{id}"));
        assert_eq!(ours.basic.text(), row["basicProfile"].as_str().unwrap(), "{id}");
        assert_eq!(ours.is_pattern(), id.contains('x') || id.contains("odd"), "{id}");
        for (column, name) in Column::ALL.into_iter().zip(names) {
            let code = ours.option(column).map(|code| if code == OptionCode::K { "K" } else { "C" });
            assert_eq!(code, row[name].as_str(), "{id} {name}");
        }
    }
}

#[test]
fn values_of_several_numbers_are_text_in_the_table() {
    let object = InMemDicomObject::from_element_iter([
        DataElement::new(Tag(0x0028, 0x3002), VR::US, PrimitiveValue::U16(smallvec![256, 0, 16])),
        text(Tag(0x0020, 0x0032), VR::DS, "1.5\\-2\\3"),
    ]);
    let bytes = file(object, BIG);
    let document = parse(&bytes).unwrap();
    let flat = tables::flatten([(&document, bytes.as_slice(), PixelData::None)]).unwrap();
    let values = arrow_array::cast::AsArray::as_string_view(flat[1].1.column_by_name("value").unwrap());
    let values: Vec<_> = values.iter().flatten().collect();
    assert!(values.contains(&"256\\0\\16") && values.contains(&"1.5\\-2\\3"), "{values:?}");
}
