//! DICOM by policy: every row of the table, and laws.

mod laws;
mod table;

use std::path::Path;

use arrow_array::cast::AsArray;
use cordon_deid::dicom::DicomRecipe;
use cordon_deid::document::{DocumentOutput, Documents};
use cordon_deid::policy::check::{CompileOptions, compile};
use cordon_deid::yaml::Issues;
use cordon_formats::dicom::{Document, Limits, Pixels, Tag, VR, read};
use dicom_core::PrimitiveValue;
use dicom_core::value::DataSetSequence;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

pub const SHIPPED: &str = include_str!("../../../policies/dicom.yaml");
pub const LIMITED: &str = include_str!("../../../policies/dicom-limited-data-set.yaml");

pub type Element = dicom_object::mem::InMemElement;

pub fn recipe(policy: &str) -> Result<DicomRecipe, Issues> {
    recipe_of(policy, &[])
}

/// A recipe with declared identities: places and their namespaces.
pub fn recipe_of(policy: &str, identities: &[(&str, &str)]) -> Result<DicomRecipe, Issues> {
    let run_date = "2026-01-01".parse().unwrap();
    let places = identities.iter().map(|(place, namespace)| ((*place).to_owned(), (*namespace).to_owned())).collect();
    let all = [("dicom".to_owned(), places)].into_iter().collect();
    let options = CompileOptions { identities: Some(&all), ..CompileOptions::on(run_date) };
    let mut recipe = compile(policy, Path::new("policies/test.yaml"), options)?;
    match recipe.documents.shift_remove("dicom") {
        Some(Documents::Dicom(recipe)) => Ok(*recipe),
        _ => panic!("the policy has a dataset `dicom`"),
    }
}

/// What a policy is refused for.
pub fn refusal(policy: &str) -> String {
    match recipe(policy) {
        Ok(_) => panic!("must be refused"),
        Err(issues) => issues.to_string(),
    }
}

pub fn text(tag: Tag, vr: VR, value: &str) -> Element {
    Element::new(tag, vr, PrimitiveValue::from(value))
}

pub fn object(elements: impl IntoIterator<Item = Element>) -> InMemDicomObject {
    InMemDicomObject::from_element_iter(elements)
}

pub fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> Element {
    Element::new(tag, VR::SQ, DataSetSequence::from(items))
}

pub fn file(object: InMemDicomObject) -> Vec<u8> {
    file_in(object, "1.2.840.10008.1.2.1")
}

pub fn file_in(object: InMemDicomObject, syntax: &str) -> Vec<u8> {
    let instance = object.element(Tag(0x0008, 0x0018)).map(|element| element.to_str().unwrap().into_owned());
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(syntax)
        .media_storage_sop_class_uid("1.2.840.10008.5.1.4.1.1.2")
        .media_storage_sop_instance_uid(instance.unwrap_or_else(|_| "1.2.3".to_owned()))
        .source_application_entity_title("CANARYSENDER");
    let mut out = Vec::new();
    object.with_meta(meta).unwrap().write_all(&mut out).unwrap();
    out
}

pub fn parse(bytes: &[u8]) -> Document {
    match read(bytes, Limits::default(), |_| Pixels::Keep) {
        Ok(document) => document,
        Err(error) => panic!("{error}"),
    }
}

pub fn run(recipe: &DicomRecipe, files: &[Vec<u8>]) -> DocumentOutput {
    let documents: Vec<Document> = files.iter().map(|bytes| parse(bytes)).collect();
    recipe.apply(&documents, &crate::fhir::env()).unwrap_or_else(|error| panic!("{error}"))
}

/// The files that came out.
pub fn files(output: &DocumentOutput) -> Vec<Vec<u8>> {
    let (_, rows) = output.tables.iter().find(|(name, _)| name == "instance").unwrap();
    rows.column_by_name("file").unwrap().as_binary::<i32>().iter().map(|file| file.unwrap().to_vec()).collect()
}

/// The file that came of one.
pub fn one(recipe: &DicomRecipe, bytes: Vec<u8>) -> Vec<u8> {
    let output = run(recipe, &[bytes]);
    assert_eq!(output.failures, []);
    files(&output).remove(0)
}

pub fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// An attribute of the data set as text; `None` where it is missing.
pub fn value(bytes: &[u8], tag: Tag) -> Option<String> {
    let document = parse(bytes);
    document.find(tag).map(|_| document.text(tag).unwrap_or_default().into_owned())
}
