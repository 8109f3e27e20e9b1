//! Each of the 621 rows of table E.1-1 under the shipped policies: what the table says is what happened.

use cordon_formats::dicom::confidentiality::{Code, Column, OptionCode, Row, rows};
use cordon_formats::dicom::{Document, Element as Read, Kind, Tag, VR, attribute};
use dicom_core::PrimitiveValue;
use dicom_object::InMemDicomObject;

use super::{Element, LIMITED, SHIPPED, file, file_in, files, holds, object, one, parse, recipe, run, sequence, text};

/// Rows for which the policy says something else: the year of four dates, a token, and no typed characteristics.
const RULED: [&str; 11] = [
    "StudyDate",
    "SeriesDate",
    "AcquisitionDate",
    "ContentDate",
    "AccessionNumber",
    "Allergies",
    "PatientState",
    "PreMedication",
    "SpecialNeeds",
    "EthnicGroup",
    "PatientID",
];

/// A tag for a row: one of those that a form of tags holds for.
fn tag_of(row: &Row) -> Tag {
    match (row.tag.group(), row.tag.element()) {
        (0x0001, _) => Tag(0x0019, 0x1001),
        (0x5000, _) => Tag(0x5002, 0x3000),
        (0x6000, element) => Tag(0x6004, element),
        _ => row.tag,
    }
}

fn vr_of(tag: Tag) -> VR {
    attribute(tag).map_or(VR::LO, |attribute| attribute.vr)
}

/// A value that stands for somebody's, and what to look for of it.
fn canary(number: usize, vr: VR) -> (PrimitiveValue, Vec<String>) {
    let text = |text: String| (PrimitiveValue::from(text.clone()), vec![text]);
    match vr {
        VR::DA => text(format!("19{:02}{:02}{:02}", 40 + number % 50, 1 + number / 50 % 12, 2 + number % 27)),
        VR::DT => text(format!("197803{:02}1122{:02}", 2 + number % 27, number % 60)),
        VR::TM => text(format!("2217{:02}.{number:06}", number % 60)),
        VR::AS => text("093Y".to_owned()),
        VR::UI => text(format!("1.2.826.0.1.{number}.77")),
        VR::IS => text(format!("77{number:04}77")),
        VR::DS => text(format!("77{number:04}77.5")),
        VR::CS => text(format!("CANARY{number:04}")),
        VR::US => (PrimitiveValue::from(0x7A5B_u16), vec![]),
        VR::UL => (PrimitiveValue::from(0x7A5B_7A5B_u32), vec!["[z[z".to_owned()]),
        VR::FL => (PrimitiveValue::from(f32::from_bits(0x7A5B_7A5B)), vec!["[z[z".to_owned()]),
        VR::FD => (PrimitiveValue::from(f64::from_bits(0x6A5B_7A5B_7A5B_7A5B)), vec!["[z[z".to_owned()]),
        VR::SS => (PrimitiveValue::from(0x7A5B_i16), vec![]),
        VR::SL => (PrimitiveValue::from(0x7A5B_7A5B_i32), vec!["[z[z".to_owned()]),
        VR::AT => (PrimitiveValue::from(Tag(0x5B7A, 0x5B7A)), vec!["z[z[".to_owned()]),
        VR::UV => (PrimitiveValue::from(0x7A5B_7A5B_7A5B_7A5B_u64), vec!["[z[z".to_owned()]),
        VR::SV => (PrimitiveValue::from(0x7A5B_7A5B_7A5B_7A5B_i64), vec!["[z[z".to_owned()]),
        VR::OB | VR::OW | VR::UN | VR::OF | VR::OD | VR::OL | VR::OV => {
            let bytes = format!("CANARY{number:06}CANA");
            (PrimitiveValue::from(bytes.as_bytes()), vec!["CANARY".to_owned()])
        }
        _ => text(format!("CANARY{number:04}")),
    }
}

/// Every attribute of the table, each with a canary of its representation, and what to look for.
fn everything() -> (InMemDicomObject, Vec<String>) {
    let mut all = object([
        text(Tag(0x0008, 0x0016), VR::UI, "1.2.840.10008.5.1.4.1.1.2"),
        text(Tag(0x0008, 0x0060), VR::CS, "MR"),
        text(Tag(0x0019, 0x0010), VR::LO, "CANARYCREATOR"),
    ]);
    let mut secrets = vec!["CANARY".to_owned()];
    for (number, row) in rows().iter().enumerate() {
        let tag = tag_of(row);
        if tag == Tag(0x0002, 0x0003) {
            continue;
        }
        let vr = vr_of(tag);
        if vr == VR::SQ {
            let item = object([
                text(Tag(0x0008, 0x0104), VR::LO, "CANARY MEANING"),
                text(Tag(0x0008, 0x1155), VR::UI, &format!("1.2.826.0.2.{number}")),
                text(Tag(0x0010, 0x0010), VR::PN, "CANARY^IN^ITEM"),
                text(Tag(0x0040, 0xA160), VR::UT, "CANARY TEXT"),
            ]);
            secrets.push(format!("1.2.826.0.2.{number}"));
            all.put(sequence(tag, vec![item]));
            continue;
        }
        let (value, found_by) = canary(number, vr);
        secrets.extend(found_by);
        all.put(Element::new(tag, vr, value));
    }
    (all, secrets)
}

fn found(document: &Document, tag: Tag) -> Option<&Read> {
    if tag.group() == 2 {
        return document.elements().iter().find(|element| element.tag == tag);
    }
    document.find(tag)
}

#[derive(Debug, PartialEq)]
enum Fate {
    Gone,
    Empty,
    Replaced,
    Kept,
    Items,
}

fn fate(document: &Document, original: &Document, tag: Tag) -> Fate {
    let Some(element) = found(document, tag) else { return Fate::Gone };
    if element.length() == 0 {
        return Fate::Empty;
    }
    if element.kind == Kind::Sequence {
        return Fate::Items;
    }
    let before = found(original, tag).map(|element| original.value(element));
    if before == Some(document.value(element)) { Fate::Kept } else { Fate::Replaced }
}

/// What the table says, with the options in force.
fn told(row: &Row, options: &[Column]) -> Fate {
    let is_sequence = vr_of(row.tag) == VR::SQ;
    if options.iter().any(|column| row.option(*column) == Some(OptionCode::K)) {
        return if is_sequence { Fate::Items } else { Fate::Kept };
    }
    match row.basic {
        Code::X => Fate::Gone,
        Code::XD if is_sequence => Fate::Gone,
        Code::Z | Code::XZ => Fate::Empty,
        Code::ZD | Code::XZD if is_sequence => Fate::Empty,
        Code::D if is_sequence => Fate::Items,
        Code::XZU => Fate::Items,
        Code::D | Code::XD | Code::ZD | Code::XZD | Code::U => Fate::Replaced,
    }
}

fn follows_the_table(policy: &str, options: &[Column], ruled: &[&str]) -> (Vec<u8>, Vec<String>) {
    let (all, secrets) = everything();
    let bytes = file(all);
    let out = one(&recipe(policy).unwrap_or_else(|issues| panic!("{issues}")), bytes.clone());
    let (before, after) = (parse(&bytes), parse(&out));
    let mut seen = 0;
    for row in rows() {
        let tag = tag_of(row);
        let keyword = attribute(tag).map_or("?", |attribute| attribute.keyword);
        assert!(found(&before, tag).is_some(), "{keyword} is in the file");
        seen += 1;
        if ruled.contains(&keyword) {
            continue;
        }
        let wanted = match told(row, options) {
            // An age of 93 years may not stay as it is.
            Fate::Kept if vr_of(tag) == VR::AS && options.len() == 1 => Fate::Replaced,
            wanted => wanted,
        };
        assert_eq!(fate(&after, &before, tag), wanted, "{keyword} {}", row.basic.text());
    }
    assert_eq!(seen, 621);
    (out, secrets)
}

#[test]
fn safe_harbor_does_what_the_table_says_and_leaves_no_canary() {
    let (out, secrets) = follows_the_table(SHIPPED, &[Column::PatientCharacteristics], &RULED);
    // Characteristics stay: the canaries of coded strings and numbers among them are meant to.
    let kept: Vec<&Row> =
        rows().iter().filter(|row| row.option(Column::PatientCharacteristics) == Some(OptionCode::K)).collect();
    assert_eq!(kept.len(), 9);
    let document = parse(&out);
    let mut allowed = Vec::new();
    for row in kept {
        if let Some(element) = document.find(row.tag) {
            allowed.push(String::from_utf8_lossy(document.value(element)).trim().to_owned());
        }
    }
    let mut rest = out.clone();
    for text in allowed.iter().filter(|text| !text.is_empty()) {
        while let Some(at) = rest.windows(text.len()).position(|window| window == text.as_bytes()) {
            rest.drain(at..at + text.len());
        }
    }
    for secret in &secrets {
        assert!(!holds(&rest, secret), "{secret}");
    }
    let text = |tag| document.text(tag).unwrap().into_owned();
    assert_eq!(text(Tag(0x0010, 0x1010)), "090Y");
    assert_eq!(text(Tag(0x0012, 0x0062)), "YES");
    assert_eq!(text(Tag(0x0028, 0x0303)), "MODIFIED");
    assert!(text(Tag(0x0008, 0x0018)).starts_with("2.25."));
    assert_eq!(document.meta_text(Tag(0x0002, 0x0003)), Some(text(Tag(0x0008, 0x0018)).as_str()));
    assert_eq!(text(Tag(0x0010, 0x0020)).len(), 26);
    assert!(text(Tag(0x0008, 0x0020)).ends_with("0101"));
    let codes: Vec<_> = document
        .elements()
        .iter()
        .filter(|element| element.tag == Tag(0x0008, 0x0100))
        .map(|element| document.value(element).to_vec())
        .collect();
    assert_eq!(codes, [b"113100".to_vec(), b"113108".to_vec()]);
    assert!(dicom_object::from_reader(out.as_slice()).is_ok());
}

#[test]
fn a_limited_data_set_keeps_dates_and_nothing_else_more() {
    let options = [Column::PatientCharacteristics, Column::FullDates];
    let ruled: Vec<&str> =
        RULED.iter().copied().filter(|name| !name.ends_with("Date")).chain(["PatientBirthDate"]).collect();
    let (out, _) = follows_the_table(LIMITED, &options, &ruled);
    let document = parse(&out);
    assert_eq!(document.text(Tag(0x0028, 0x0303)).unwrap(), "UNMODIFIED");
    assert!(document.text(Tag(0x0010, 0x0030)).unwrap().starts_with("19"));
    for name in ["CANARY^IN^ITEM", "CANARYSENDER", "CANARYCREATOR", "1.2.826.0.1"] {
        assert!(!holds(&out, name), "{name}");
    }
}

#[test]
fn the_bare_profile_leaves_no_canary_at_any_depth_and_in_any_syntax() {
    let policy = SHIPPED.replace("options: [retain-patient-characteristics]", "options: []");
    let recipe = recipe(&policy).unwrap_or_else(|issues| panic!("{issues}"));
    let (all, secrets) = everything();
    // Within sequences that the table does not list: ReferencedSeriesSequence and others.
    let mut nested = all;
    for tag in [Tag(0x0008, 0x1115), Tag(0x0040, 0x9096), Tag(0x0020, 0x9221)] {
        nested = object([sequence(tag, vec![nested])]);
    }
    for syntax in ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"] {
        let bytes = file_in(nested.clone(), syntax);
        assert!(holds(&bytes, "CANARY"));
        let output = run(&recipe, &[bytes]);
        let out = files(&output).remove(0);
        for secret in &secrets {
            assert!(!holds(&out, secret), "{secret} in {syntax}");
        }
        // What the tables say is what the files hold.
        for (name, rows) in &output.tables {
            let shown = format!("{:?}", rows.columns());
            assert!(!shown.contains("CANARY") && !shown.contains("1.2.826"), "{name}");
        }
        let document = parse(&out);
        assert!(document.elements().iter().filter(|element| element.depth >= 6).count() > 100);
    }
}
