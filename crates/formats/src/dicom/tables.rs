//! Files as two tables: instances, and attributes.
//!
//! For files that are de-identified already: what is in them is copied. All columns are text but the numbers that
//! `docs/formats/dicom.md` names and the file itself.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, Int32Builder, StringViewBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use dicom_core::{Tag, VR};

use super::charset::Charset;
use super::dictionary::{keyword, spell};
use super::document::{Document, Element, Kind, PixelData, trimmed};
use crate::error::FormatError;

/// One row a file.
pub const INSTANCE: &str = "instance";
/// One row an element.
pub const ATTRIBUTE: &str = "attribute";

/// The columns of `instance` that are attributes of the data set.
const ATTRIBUTES: [(&str, Tag); 20] = [
    ("patient", Tag(0x0010, 0x0020)),
    ("study", Tag(0x0020, 0x000D)),
    ("series", Tag(0x0020, 0x000E)),
    ("instance", Tag(0x0008, 0x0018)),
    ("sop_class", Tag(0x0008, 0x0016)),
    ("modality", Tag(0x0008, 0x0060)),
    ("body_part", Tag(0x0018, 0x0015)),
    ("laterality", Tag(0x0020, 0x0060)),
    ("manufacturer", Tag(0x0008, 0x0070)),
    ("model", Tag(0x0008, 0x1090)),
    ("study_date", Tag(0x0008, 0x0020)),
    ("series_date", Tag(0x0008, 0x0021)),
    ("acquisition_date", Tag(0x0008, 0x0022)),
    ("patient_sex", Tag(0x0010, 0x0040)),
    ("patient_age", Tag(0x0010, 0x1010)),
    ("study_description", Tag(0x0008, 0x1030)),
    ("series_description", Tag(0x0008, 0x103E)),
    ("image_type", Tag(0x0008, 0x0008)),
    ("photometric_interpretation", Tag(0x0028, 0x0004)),
    ("frames", Tag(0x0028, 0x0008)),
];

/// Those that are whole numbers of two bytes.
const NUMBERS: [(&str, Tag); 3] =
    [("rows", Tag(0x0028, 0x0010)), ("columns", Tag(0x0028, 0x0011)), ("bits", Tag(0x0028, 0x0100))];

const ATTRIBUTE_COLUMNS: [&str; 8] = ["patient", "instance", "position", "path", "tag", "vr", "length", "value"];

/// Of a longer value of numbers no text is made.
const MOST_NUMBERS: usize = 1024;

/// The tables with their schemas.
pub fn schemas() -> [(&'static str, SchemaRef); 2] {
    let text = |name: &str| Field::new(name, DataType::Utf8View, true);
    let number = |name: &str| Field::new(name, DataType::Int32, true);
    let instance = ATTRIBUTES
        .iter()
        .map(|(name, _)| text(name))
        .chain(NUMBERS.iter().map(|(name, _)| number(name)))
        .chain([text("transfer_syntax"), text("pixel_data"), Field::new("file", DataType::Binary, true)]);
    let attribute = ATTRIBUTE_COLUMNS
        .iter()
        .map(|name| if matches!(*name, "position" | "length") { number(name) } else { text(name) });
    [
        (INSTANCE, Arc::new(Schema::new(instance.collect::<Vec<_>>()))),
        (ATTRIBUTE, Arc::new(Schema::new(attribute.collect::<Vec<_>>()))),
    ]
}

/// The tables of some files, each with its bytes and what became of its pixel data.
pub fn flatten<'a>(
    files: impl IntoIterator<Item = (&'a Document, &'a [u8], PixelData)>,
) -> Result<Vec<(&'static str, RecordBatch)>, FormatError> {
    let mut instances = Instances::default();
    let mut attributes = Attributes::default();
    for (document, bytes, pixels) in files {
        instances.add(document, bytes, pixels);
        attributes.add(document);
    }
    let [(instance, instance_schema), (attribute, attribute_schema)] = schemas();
    let batch = |schema, columns| {
        RecordBatch::try_new(schema, columns).map_err(|_| FormatError::Batch { doing: "making tables of DICOM files" })
    };
    Ok(vec![
        (instance, batch(instance_schema, instances.finish())?),
        (attribute, batch(attribute_schema, attributes.finish())?),
    ])
}

#[derive(Default)]
struct Instances {
    texts: [StringViewBuilder; ATTRIBUTES.len()],
    numbers: [Int32Builder; NUMBERS.len()],
    syntax: StringViewBuilder,
    pixels: StringViewBuilder,
    file: BinaryBuilder,
}

impl Instances {
    fn add(&mut self, document: &Document, bytes: &[u8], pixels: PixelData) {
        for (builder, (_, tag)) in self.texts.iter_mut().zip(&ATTRIBUTES) {
            builder.append_option(document.text(*tag).filter(|text| !text.is_empty()));
        }
        for (builder, (_, tag)) in self.numbers.iter_mut().zip(&NUMBERS) {
            let element = document.find(*tag).filter(|element| element.vr == VR::US);
            builder.append_option(element.and_then(|element| {
                let value: [u8; 2] = document.value(element).try_into().ok()?;
                let number = if element.is_big { u16::from_be_bytes(value) } else { u16::from_le_bytes(value) };
                Some(i32::from(number))
            }));
        }
        self.syntax.append_option(document.meta_text(Tag(0x0002, 0x0010)));
        self.pixels.append_value(match pixels {
            PixelData::None => "none",
            PixelData::LeftOut => "left-out",
            PixelData::Present => "present",
        });
        self.file.append_value(bytes);
    }

    fn finish(mut self) -> Vec<ArrayRef> {
        let texts = self.texts.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef);
        let numbers = self.numbers.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef);
        let rest: [ArrayRef; 3] =
            [Arc::new(self.syntax.finish()), Arc::new(self.pixels.finish()), Arc::new(self.file.finish())];
        texts.chain(numbers).chain(rest).collect()
    }
}

#[derive(Default)]
struct Attributes {
    patient: StringViewBuilder,
    instance: StringViewBuilder,
    position: Int32Builder,
    path: StringViewBuilder,
    tag: StringViewBuilder,
    vr: StringViewBuilder,
    length: Int32Builder,
    value: StringViewBuilder,
}

impl Attributes {
    fn add(&mut self, document: &Document) {
        let text = |tag| document.text(tag).filter(|text| !text.is_empty());
        let (patient, instance) = (text(Tag(0x0010, 0x0020)), text(Tag(0x0008, 0x0018)));
        let mut path = String::new();
        let mut value = String::new();
        // Where what is open ends, how long its path is, its character set, and how many items it had.
        let mut open: Vec<(usize, usize, Charset, u32)> = Vec::new();
        let outermost = document.charset();
        for (number, element) in document.elements().iter().enumerate() {
            while open.last().is_some_and(|(end, ..)| *end <= number) {
                open.pop();
            }
            let charset = open.last().map_or(outermost, |(_, _, charset, _)| *charset);
            path.truncate(open.last().map_or(0, |(_, length, ..)| *length));
            if element.kind == Kind::Item {
                if let Some((.., items)) = open.last_mut() {
                    *items += 1;
                    // Writing to a string does not fail.
                    let _ = write!(path, "[{items}].");
                }
                let own =
                    document.siblings(number + 1, element.next()).take_while(|(_, own)| own.tag <= CHARSET).last();
                let own = own.filter(|(_, own)| own.tag == CHARSET).map(|(_, own)| Charset::of(document.value(own)));
                open.push((element.next(), path.len(), own.unwrap_or(charset), 0));
                continue;
            }
            match keyword(element.tag) {
                Some(keyword) => path.push_str(keyword),
                None => path.push_str(&spell(element.tag)),
            }
            self.patient.append_option(patient.as_deref());
            self.instance.append_option(instance.as_deref());
            self.position.append_value(number as i32 + 1);
            self.path.append_value(&path);
            self.tag.append_value(spell(element.tag));
            self.vr.append_value(element.vr.to_string());
            if element.kind == Kind::Sequence {
                self.length.append_null();
                self.value.append_null();
                open.push((element.next(), path.len(), charset, 0));
                continue;
            }
            self.length.append_value(element.length() as i32);
            value.clear();
            let is_shown = show(document, element, charset, &mut value);
            self.value.append_option(is_shown.then_some(&value));
        }
    }

    fn finish(mut self) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.patient.finish()),
            Arc::new(self.instance.finish()),
            Arc::new(self.position.finish()),
            Arc::new(self.path.finish()),
            Arc::new(self.tag.finish()),
            Arc::new(self.vr.finish()),
            Arc::new(self.length.finish()),
            Arc::new(self.value.finish()),
        ]
    }
}

const CHARSET: Tag = Tag(0x0008, 0x0005);

/// Writes a value as text; says whether it has a text.
fn show(document: &Document, element: &Element, charset: Charset, out: &mut String) -> bool {
    let bytes = document.value(element);
    if bytes.is_empty() || element.kind != Kind::Value {
        return false;
    }
    let big = element.is_big;
    macro_rules! numbers {
        ($type:ty) => {{
            const SIZE: usize = size_of::<$type>();
            if bytes.len() > MOST_NUMBERS * SIZE {
                return false;
            }
            for (at, chunk) in bytes.chunks_exact(SIZE).enumerate() {
                let Ok(chunk) = chunk.try_into() else { return false };
                let number = if big { <$type>::from_be_bytes(chunk) } else { <$type>::from_le_bytes(chunk) };
                let _ = write!(out, "{}{number}", if at > 0 { "\\" } else { "" });
            }
        }};
    }
    match element.vr {
        VR::US => numbers!(u16),
        VR::SS => numbers!(i16),
        VR::UL => numbers!(u32),
        VR::SL => numbers!(i32),
        VR::UV => numbers!(u64),
        VR::SV => numbers!(i64),
        VR::FL => numbers!(f32),
        VR::FD => numbers!(f64),
        VR::AT => {
            for (at, pair) in bytes.chunks_exact(4).take(MOST_NUMBERS).enumerate() {
                let half = |from: usize| -> u16 {
                    let half = pair.get(from..from + 2).and_then(|half| half.try_into().ok()).unwrap_or([0; 2]);
                    if big { u16::from_be_bytes(half) } else { u16::from_le_bytes(half) }
                };
                let _ = write!(out, "{}{}", if at > 0 { "\\" } else { "" }, spell(Tag(half(0), half(2))));
            }
        }
        VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::UN | VR::SQ => return false,
        _ => out.push_str(&trimmed(charset.decode(bytes))),
    }
    true
}
